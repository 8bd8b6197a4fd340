/*
 * vvclient: the same video with libavcodec in this process, to compare with
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_NATIVE_H
#define VVCLIENT_NATIVE_H

#include <libavutil/frame.h>
#include "demux.h"
#include "frame.h"

/**
 * typedef VVNativeFn - what is done with a frame
 * @frame: valid during the call, its cropping not applied
 * @shown: the edit list does not hide it
 */
typedef void (*VVNativeFn)(const AVFrame *frame, bool shown, void *opaque);

/**
 * struct VVNativeResult - what came of it
 * @frames: all of them, hidden ones included
 * @bad: packets that libavcodec refused and frames it called corrupt
 * @seconds: from the first packet to the last frame
 * @cpu_ns: CPU time of this process meanwhile
 */
typedef struct VVNativeResult {
    uint64_t frames;
    uint64_t bad;
    double seconds;
    uint64_t cpu_ns;
} VVNativeResult;

/**
 * vv_native_device - opens a GPU for VA-API
 * @node: its render node; NULL: the first
 *
 * Returns: to be freed with av_buffer_unref(); NULL with @errp set
 */
AVBufferRef *vv_native_device(const char *node, Error **errp);

/**
 * vv_native_decode - decodes the first packets of a file
 * @threads: as video-codec-libav's property: 0 is one for each processor
 * @limit: number of packets; 0: all
 * @side_data: AV_CODEC_EXPORT_DATA_* that frames are to have
 *
 * libavcodec gets the very bytes that the guest would, and nothing that only
 * the container knows.
 *
 * Returns: false if there is no such decoder
 */
bool vv_native_decode(const VVMedia *media, unsigned threads, unsigned limit,
                      int side_data, VVNativeFn fn, void *opaque,
                      VVNativeResult *result, Error **errp);

/* Is a frame of 4:2:0?  False with @errp set if not */
bool vv_native_check(const AVFrame *av, Error **errp);
/* The visible part of a frame */
bool vv_native_picture(const AVFrame *av, VVFrame *f, Error **errp);

/**
 * vv_native_decode_nv12 - the same, each frame converted to NV12 into one of
 * a few buffers, as the device does for its guest
 * @device: the GPU that decodes, with one thread; its frames are downloaded.
 *          NULL: in software
 */
bool vv_native_decode_nv12(const VVMedia *media, AVBufferRef *device,
                           unsigned threads, unsigned limit,
                           VVNativeResult *result, Error **errp);

#endif
