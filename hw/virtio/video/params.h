/*
 * Parameters of a stream, whatever the protocol
 *
 * Plain data, in the host's byte order; pure functions, any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_PARAMS_H
#define HW_VIRTIO_VIDEO_PARAMS_H

#include "format.h"

/** VideoMemEntry: a range of the device's DMA address space, in bytes. */
typedef struct VideoMemEntry {
    uint64_t addr;
    uint32_t length;
} VideoMemEntry;

/**
 * VideoAttach: backing memory for a resource, as the guest gave it.
 * @resource_id: which resource of its queue
 * @num_entries: number of @entries for each buffer, 0 behind the last buffer
 * @n_buffers: number of buffers
 * @entries: entries of all buffers, one after the other
 * @any_bytes: entries need not be whole pages
 * @never: RAM that they must not be in; may be NULL
 */
typedef struct VideoAttach {
    uint32_t resource_id;
    uint32_t num_entries[VIDEO_MAX_PLANES];
    unsigned n_buffers;
    VideoMemEntry *entries;
    bool any_bytes;
    const MemoryRegion *never;
} VideoAttach;

/* A set of parameters: the coded side's or the raw side's */
typedef enum VideoSet {
    VIDEO_SET_CODED,
    VIDEO_SET_RAW,
} VideoSet;

typedef enum VideoParamType {
    VIDEO_PARAM_CODED_FORMAT,   /* of VIDEO_SET_CODED */
    VIDEO_PARAM_RAW_FORMAT,     /* of VIDEO_SET_RAW */
    VIDEO_PARAM_NUM_RESOURCES,
    VIDEO_PARAM_RESOURCE,       /* attach memory */
    VIDEO_PARAM_CROP,           /* of VIDEO_SET_RAW */
    VIDEO_PARAM_CONTROL,        /* of VIDEO_SET_CODED, encoders only */
    VIDEO_PARAM_INVALID,        /* can't be set: what the front end refuses */
} VideoParamType;

/**
 * VideoControlParam: one control of an encoder.
 * @formats: bit i is set if it is a control of VideoCodedFormat i: a profile of
 *           one coded format is another control than that of another
 */
typedef struct VideoControlParam {
    VideoControl id;
    uint32_t formats;
    uint32_t value;
} VideoControlParam;

/**
 * VideoParam: one parameter and its value.
 * When @type is VIDEO_PARAM_RESOURCE, @attach.entries belongs to the parameter;
 * in an answer only @attach.resource_id counts.
 */
typedef struct VideoParam {
    VideoParamType type;
    union {
        VideoCodedFormat coded;
        VideoRawFormat raw;
        uint32_t num_resources;
        VideoAttach attach;
        VideoRect crop;
        VideoControlParam control;
    };
} VideoParam;

/**
 * VideoParams: a set of parameters in their order.
 * @params: of VideoParam, frees what the parameters own
 */
typedef struct VideoParams {
    VideoSet set;
    GArray *params;
} VideoParams;

/** video_params_new: an empty set. */
VideoParams *video_params_new(VideoSet set);

/** video_params_free: free the set and what its parameters own. */
void video_params_free(VideoParams *params);

/** video_params_get: parameter @i of @params->params->len. */
VideoParam *video_params_get(const VideoParams *params, guint i);

/** video_params_add: append @param, which the set then owns. */
void video_params_add(VideoParams *params, VideoParam param);

/** video_params_host_bytes: memory that the set takes. */
size_t video_params_host_bytes(const VideoParams *params);

/** video_control_is_menu: are the values of @id those of an enum? */
bool video_control_is_menu(VideoControl id);

/**
 * video_control_closest: the supported value closest to @value: of a menu the
 * next lower one, or the lowest.
 */
uint32_t video_control_closest(VideoControl id, const VideoControlCaps *caps,
                               uint32_t value);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VideoParams, video_params_free)

#endif /* HW_VIRTIO_VIDEO_PARAMS_H */
