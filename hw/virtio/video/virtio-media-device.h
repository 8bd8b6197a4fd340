/*
 * Virtio media device: its state
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_VIRTIO_MEDIA_DEVICE_H
#define HW_VIRTIO_VIDEO_VIRTIO_MEDIA_DEVICE_H

#include "media.h"

#define TYPE_VIRTIO_MEDIA "virtio-media-device"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOMedia, VIRTIO_MEDIA)

/**
 * VirtIOMedia: a virtio-media device.
 * @role: property: decoder or encoder
 * @media: has more properties
 */
struct VirtIOMedia {
    VideoDevice parent_obj;

    char *role;
    MediaState media;
};

#endif /* HW_VIRTIO_VIDEO_VIRTIO_MEDIA_DEVICE_H */
