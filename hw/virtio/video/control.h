/*
 * Controls of encoders: V4L2's ids of them, which both protocols use
 *
 * What a codec calls a profile has an id of its own for each coded format in
 * V4L2.  Pure functions of a table, any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_CONTROL_H
#define HW_VIRTIO_VIDEO_CONTROL_H

#include "system/video-codec.h"

/**
 * VideoControlInfo: a control of V4L2.
 * @cid: its id
 * @control: what it is to a codec
 * @formats: the coded formats that have it, a bit for each
 * @extended: not in the list that draft v10 has of them
 */
typedef struct VideoControlInfo {
    uint32_t cid;
    VideoControl control;
    uint32_t formats;
    bool extended;
} VideoControlInfo;

/** video_control_get: control @i, counted from 0; NULL behind the last one. */
const VideoControlInfo *video_control_get(unsigned i);

/** video_control_find_cid: the control with V4L2's id @cid, or NULL. */
const VideoControlInfo *video_control_find_cid(uint32_t cid);

/**
 * video_control_find: V4L2's control for @control of a codec.
 * @formats: a bit for each coded format; one of them will do
 *
 * Returns: NULL if there is none
 */
const VideoControlInfo *video_control_find(VideoControl control,
                                           uint32_t formats);

/**
 * video_control_exists: has V4L2 a @control of an encoder for @coded?
 * @extended: not only the controls that draft v10 lists
 */
bool video_control_exists(VideoCodedFormat coded, VideoControl control,
                          bool extended);

#endif /* HW_VIRTIO_VIDEO_CONTROL_H */
