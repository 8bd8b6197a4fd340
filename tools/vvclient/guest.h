/*
 * vvclient: a QEMU with a virtio-video device and no guest in it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_GUEST_H
#define VVCLIENT_GUEST_H

#include "libqos/virtio-video.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"

/* What is spoken with the device */
typedef enum VVProtocol {
    VV_V10,
    VV_MEDIA,                   /* virtio-media */
    VV_V4L2_UAPI,               /* the same through virtio-video's feature */
} VVProtocol;

/**
 * struct VVGuestConfig - what to start
 * @machine: "pc", "q35", "microvm" or "virt"; NULL: the transport's usual one
 * @transport: "pci" or "mmio"; NULL: the machine's usual one
 * @codec: type and properties of a codec object; NULL: the device's own
 * @ring: kinds of virtqueues: "packed", "indirect", "event-idx" and
 *        "in-order", with commas; NULL: none of them
 * @max_streams: of the device
 * @x_controls: controls that are not in the draft
 * @protocol: how the device is spoken to
 * @mmap: buffers are MMAP ones, which only VV_MEDIA on PCI has
 * @encoder: of V4L2, where a device is either: the encoder
 * @unsealed: of RAM that /dev/udmabuf does not take
 */
typedef struct VVGuestConfig {
    const char *machine;
    const char *transport;
    const char *codec;
    const char *ring;
    unsigned max_streams;
    bool x_controls;
    VVProtocol protocol;
    bool mmap;
    bool encoder;
    bool unsealed;
} VVGuestConfig;

/**
 * struct VVGuest - the running machine
 * @driver: started, with a mapping of guest RAM
 * @caps: what the device can do
 * @max_streams: that it can have at once
 * @protocol: it speaks that
 * @mmap: V4L2's buffers are to be MMAP ones
 * @machine: as chosen
 * @transport: as chosen
 * @ram_free: bytes of guest RAM that can be allocated
 * @device: what QEMU last said of the device, see vv_guest_note_stream()
 * @streams: the same of each stream before it was closed
 */
typedef struct VVGuest {
    QVVDriver *driver;
    QVVCaps *caps;
    unsigned max_streams;
    VVProtocol protocol;
    bool mmap;
    const char *machine;
    const char *transport;
    uint64_t ram_free;
    QDict *device;
    QList *streams;

    QTestState *qts;
    QVVRamFile *ram;
    QGuestAllocator alloc;
    QVirtioVideo video;
    struct VVTransport *bus;
    int log_fd;
    int stderr_fd;
    off_t log_seen;
} VVGuest;

/**
 * vv_guest_start - starts QEMU and brings the device up
 *
 * Only one at a time.  If QEMU ends by itself, now or later, the process
 * exits with QEMU's last words: there is nothing that could be done then.
 *
 * Returns: NULL with @errp set if the configuration makes no sense
 */
VVGuest *vv_guest_start(const VVGuestConfig *config, Error **errp);
void vv_guest_stop(VVGuest *g);

/* Does the device speak V4L2's way? */
static inline bool vv_guest_is_media(const VVGuest *g)
{
    return g->protocol != VV_V10;
}

/* "v10" and so on, as --protocol has them */
const char *vv_protocol_name(VVProtocol protocol);
/* The way back; false: there is none such */
bool vv_protocol_find(const char *name, VVProtocol *protocol);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VVGuest, vv_guest_stop)

/**
 * vv_guest_log - what QEMU has logged since the last call
 * @prefix: lines that begin so are preferred to all others; may be NULL
 *
 * Returns: the lines, or of many the first and the last ones, joined with "; ";
 * NULL if there are none; to be freed with g_free()
 */
char *vv_guest_log(VVGuest *g, const char *prefix);

/* QEMU's stderr, as above */
char *vv_guest_stderr(VVGuest *g);

/**
 * vv_guest_note_stream - asks QEMU for what it has counted
 * @id: a stream that is about to be closed
 */
void vv_guest_note_stream(VVGuest *g, unsigned id);

/* "virtio-video on pc (pci)", to be freed with g_free() */
char *vv_guest_text(const VVGuest *g);

/* Machine, transport, protocol and what was noted, for machines */
void vv_guest_json(const VVGuest *g, QDict *dict);

/**
 * struct VVUsage - what QEMU uses of the host
 * @main_thread_ns: CPU time of QEMU's main thread so far
 * @all_threads_ns: of all threads that there are now
 * @rss_kib: resident anonymous memory: neither the guest's RAM nor programs
 */
typedef struct VVUsage {
    uint64_t main_thread_ns;
    uint64_t all_threads_ns;
    uint64_t rss_kib;
} VVUsage;

VVUsage vv_guest_usage(VVGuest *g);

#endif
