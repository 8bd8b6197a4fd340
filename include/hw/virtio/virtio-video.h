/*
 * Virtio video device: QOM types
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_H
#define HW_VIRTIO_VIDEO_H

#include "qom/object.h"

#define TYPE_VIRTIO_VIDEO "virtio-video-device"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOVideo, VIRTIO_VIDEO)

#endif /* HW_VIRTIO_VIDEO_H */
