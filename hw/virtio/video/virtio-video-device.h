/*
 * Virtio video device: its state
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_VIRTIO_VIDEO_DEVICE_H
#define HW_VIRTIO_VIDEO_VIRTIO_VIDEO_DEVICE_H

#include "media.h"

/**
 * VirtIOVideo: a draft-v10 device.
 * @v4l2_uapi: property: the driver may choose virtio-media's commands instead
 * @media: for those
 */
struct VirtIOVideo {
    VideoDevice parent_obj;

    bool v4l2_uapi;
    MediaState media;
};

#endif /* HW_VIRTIO_VIDEO_VIRTIO_VIDEO_DEVICE_H */
