/*
 * A DMA-BUF of pages of memfds, as /dev/udmabuf makes them, where there is none
 *
 * preload.c makes them, surface.c maps them: a memfd as long as all its pages,
 * which begins with the list of them.  The memfds in the list are those of the
 * process, which has to keep them until the DMA-BUF is mapped.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef VVSW_UDMABUF_H
#define VVSW_UDMABUF_H

#include <linux/udmabuf.h>
#include <stdint.h>

#define VV_UDMABUF_MAGIC "vvsw udmabuf"

/* The kernel's defaults */
#define VV_UDMABUF_MAX_ITEMS 1024
#define VV_UDMABUF_MAX_SIZE (64 << 20)

typedef struct VvUdmabuf {
    char magic[sizeof(VV_UDMABUF_MAGIC)];
    uint32_t count;
    struct udmabuf_create_item items[VV_UDMABUF_MAX_ITEMS];
} VvUdmabuf;

#endif
