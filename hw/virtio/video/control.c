/*
 * Controls of encoders: V4L2's ids of them, which both protocols use
 *
 * Pure functions of a table, any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
/* V4L2's ids, and nothing else of it */
#include "hw/virtio/virtio-video-wire.h"
#include "control.h"

#define FORMAT(name) (1u << VIDEO_CODED_##name)
#define ANY_FORMAT   ((1u << VIDEO_CODED__MAX) - 1)

static const VideoControlInfo control_infos[] = {
    { VIRTIO_VIDEO_V4L2_CID_BITRATE, VIDEO_CONTROL_BITRATE, ANY_FORMAT },
    { VIRTIO_VIDEO_V4L2_CID_MPEG2_PROFILE, VIDEO_CONTROL_PROFILE,
      FORMAT(MPEG2) },
    { VIRTIO_VIDEO_V4L2_CID_MPEG2_LEVEL, VIDEO_CONTROL_LEVEL, FORMAT(MPEG2) },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_PROFILE, VIDEO_CONTROL_PROFILE,
      FORMAT(MPEG4) },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_LEVEL, VIDEO_CONTROL_LEVEL, FORMAT(MPEG4) },
    { VIRTIO_VIDEO_V4L2_CID_H264_PROFILE, VIDEO_CONTROL_PROFILE,
      FORMAT(H264) },
    { VIRTIO_VIDEO_V4L2_CID_H264_LEVEL, VIDEO_CONTROL_LEVEL, FORMAT(H264) },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_PROFILE, VIDEO_CONTROL_PROFILE,
      FORMAT(HEVC) },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_LEVEL, VIDEO_CONTROL_LEVEL, FORMAT(HEVC) },
    { VIRTIO_VIDEO_V4L2_CID_VP8_PROFILE, VIDEO_CONTROL_PROFILE, FORMAT(VP8) },
    { VIRTIO_VIDEO_V4L2_CID_VP9_PROFILE, VIDEO_CONTROL_PROFILE, FORMAT(VP9) },
    { VIRTIO_VIDEO_V4L2_CID_VP9_LEVEL, VIDEO_CONTROL_LEVEL, FORMAT(VP9) },

    { VIRTIO_VIDEO_V4L2_CID_BITRATE_MODE, VIDEO_CONTROL_BITRATE_MODE,
      ANY_FORMAT, true },
    { VIRTIO_VIDEO_V4L2_CID_GOP_SIZE, VIDEO_CONTROL_GOP_SIZE, ANY_FORMAT,
      true },
    { VIRTIO_VIDEO_V4L2_CID_B_FRAMES, VIDEO_CONTROL_B_FRAMES, ANY_FORMAT,
      true },
    { VIRTIO_VIDEO_V4L2_CID_FORCE_KEY_FRAME, VIDEO_CONTROL_FORCE_KEY_FRAME,
      ANY_FORMAT, true },
    { VIRTIO_VIDEO_V4L2_CID_H264_MIN_QP, VIDEO_CONTROL_MIN_QP, FORMAT(H264),
      true },
    { VIRTIO_VIDEO_V4L2_CID_H264_MAX_QP, VIDEO_CONTROL_MAX_QP, FORMAT(H264),
      true },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_MIN_QP, VIDEO_CONTROL_MIN_QP, FORMAT(HEVC),
      true },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_MAX_QP, VIDEO_CONTROL_MAX_QP, FORMAT(HEVC),
      true },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_MIN_QP, VIDEO_CONTROL_MIN_QP, FORMAT(MPEG4),
      true },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_MAX_QP, VIDEO_CONTROL_MAX_QP, FORMAT(MPEG4),
      true },
    { VIRTIO_VIDEO_V4L2_CID_VPX_MIN_QP, VIDEO_CONTROL_MIN_QP,
      FORMAT(VP8) | FORMAT(VP9), true },
    { VIRTIO_VIDEO_V4L2_CID_VPX_MAX_QP, VIDEO_CONTROL_MAX_QP,
      FORMAT(VP8) | FORMAT(VP9), true },
    { VIRTIO_VIDEO_V4L2_CID_PREPEND_SPSPPS_TO_IDR,
      VIDEO_CONTROL_PREPEND_HEADERS, FORMAT(H264) | FORMAT(HEVC), true },
};

const VideoControlInfo *video_control_get(unsigned i)
{
    return i < ARRAY_SIZE(control_infos) ? &control_infos[i] : NULL;
}

const VideoControlInfo *video_control_find_cid(uint32_t cid)
{
    for (unsigned i = 0; i < ARRAY_SIZE(control_infos); i++) {
        if (control_infos[i].cid == cid) {
            return &control_infos[i];
        }
    }
    return NULL;
}

const VideoControlInfo *video_control_find(VideoControl control,
                                           uint32_t formats)
{
    for (unsigned i = 0; i < ARRAY_SIZE(control_infos); i++) {
        if (control_infos[i].control == control &&
            (control_infos[i].formats & formats)) {
            return &control_infos[i];
        }
    }
    return NULL;
}

bool video_control_exists(VideoCodedFormat coded, VideoControl control,
                          bool extended)
{
    const VideoControlInfo *info = video_control_find(control, 1u << coded);

    return info && (extended || !info->extended);
}
