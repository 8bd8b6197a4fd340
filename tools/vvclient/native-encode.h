/*
 * vvclient: the same encoder with libavcodec in this process, to compare with
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_NATIVE_ENCODE_H
#define VVCLIENT_NATIVE_ENCODE_H

#include "controls.h"
#include "outcome.h"

/**
 * struct VVNativeEncoding - what is encoded, and how
 * @source: path of a file
 * @format: VIRTIO_VIDEO_CODED_FORMAT_*
 * @fourcc: of the frames that the device got
 * @limit: number of frames; 0: all
 * @rate: frames per second that rate control counts on
 * @controls: values at the start, by VVControl; @known: bit by bit, which of
 *            them there are; others get video-codec-libav's default
 */
typedef struct VVNativeEncoding {
    const char *source;
    uint32_t format;
    uint32_t fourcc;
    unsigned limit;
    AVRational rate;
    const uint32_t *controls;
    uint32_t known;
} VVNativeEncoding;

/**
 * vv_native_encode - encodes into @o, whose mux is filled in already
 *
 * Settings are those which backends/video-codec-libav-settings.c makes of the
 * controls.
 *
 * Returns: false with @errp set if that does not work
 */
bool vv_native_encode(const VVNativeEncoding *enc, VVOutcome *o,
                      Error **errp);

#endif
