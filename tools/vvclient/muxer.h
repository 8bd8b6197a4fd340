/*
 * vvclient: coded video into a file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_MUXER_H
#define VVCLIENT_MUXER_H

#include <libavcodec/codec_par.h>
#include <libavcodec/packet.h>
#include <libavutil/rational.h>

/**
 * struct VVCoded - a coded buffer as the device gave it
 * @av: the bytes; owned
 * @frame: number of the frame that it is of, from 0
 * @flags: VIRTIO_VIDEO_QUEUE_FLAG_*
 */
typedef struct VVCoded {
    AVPacket *av;
    uint64_t frame;
    uint32_t flags;
} VVCoded;

/* An array of VVCoded that frees them */
GArray *vv_coded_array_new(void);

/**
 * struct VVMuxInfo - what a container wants to know
 * @codec_id: AV_CODEC_ID_*
 * @width, @height: pixels
 * @depth: bits of a sample
 * @frame_rate: of the video
 * @time_base: unit of @pts
 * @pts: of each frame, int64_t by number; they grow
 * @sample_aspect: 0/1 if unknown
 * @color: where the colors are described, or NULL
 */
typedef struct VVMuxInfo {
    enum AVCodecID codec_id;
    uint32_t width;
    uint32_t height;
    unsigned depth;
    AVRational frame_rate;
    AVRational time_base;
    const GArray *pts;
    AVRational sample_aspect;
    const AVCodecParameters *color;
} VVMuxInfo;

/* False with @errp set if @path's name is of a format that can't hold it */
bool vv_mux_check(const char *path, enum AVCodecID codec_id, Error **errp);

/**
 * vv_mux_write - writes a file
 * @coded: of VVCoded, in coding order
 *
 * Its name says what it becomes: a container, or the bytes as they are.
 */
bool vv_mux_write(const char *path, const VVMuxInfo *info,
                  const GArray *coded, Error **errp);

#endif
