/*
 * virtio-media: what a hostile guest does, from bytes
 *
 * As virtio_video_actions.h, for the devices that speak V4L2.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_QTEST_VIRTIO_MEDIA_ACTIONS_H
#define TESTS_QTEST_VIRTIO_MEDIA_ACTIONS_H

#include "../libqos/virtio-media.h"
#include "virtio_video_actions.h"

/* Small limits, so that they can be reached */
#define VMA_DEVICE "codec=codec0,max-streams=3,max-events=64," \
                   "max-resources=8,max-entries=64,max-mem=4M," \
                   "max-coded-size=65536,max-width=1024,max-height=1024," \
                   "max-mappings=8"

#define VMA_ENCODER_DEVICE "role=encoder," VMA_DEVICE

typedef struct VMA VMA;

/**
 * vma_new, vma_free, vma_run: see vva_new() and its neighbours.
 * @encoder: that is what the device is
 */
VMA *vma_new(QVirtioVideo *v, QGuestAllocator *alloc, QTestState *qts,
             const VVAHost *host, bool encoder);
void vma_free(VMA *f);
void vma_run(VMA *f, const uint8_t *data, size_t size);

#endif
