/*
 * vvclient: what a device that speaks V4L2 can do
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_MEDIA_CAPS_H
#define VVCLIENT_MEDIA_CAPS_H

#include "libqos/virtio-media.h"

/**
 * vv_media_query_caps - asks as a V4L2 application does
 * @encoder: the device is one, else it is a decoder
 * @why: what is wrong with the answers; to be freed with g_free()
 *
 * Opens a session for that.  Of controls, it asks for those that vvclient
 * knows; those that V4L2 calls inactive with a coded format do not count.
 * Resource sizes are not limited here, as V4L2 tells them with the format.
 *
 * Returns: the capabilities, or NULL with @why set
 */
QVVCaps *vv_media_query_caps(QVVDriver *d, bool encoder, char **why);

/* V4L2's fourcc of VIRTIO_VIDEO_CODED_FORMAT_*; 0: it has none */
uint32_t vv_media_pixelformat(uint32_t coded_format);

#endif
