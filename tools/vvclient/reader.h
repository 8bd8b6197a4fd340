/*
 * vvclient: frames to encode, out of any file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_READER_H
#define VVCLIENT_READER_H

#include <libavcodec/codec_par.h>
#include <libavutil/rational.h>
#include "frame.h"

/**
 * struct VVReader - a file that is being decoded natively
 * @width, @height: of the frames that come, even; that of the file may be one
 *                  more
 * @source_width, @source_height: that
 * @source_depth: bits of a sample in the file
 * @depth: of the frames that come, 8 or 10
 * @frame_rate: 25 if it is unknown
 * @sample_aspect: 0/1 if unknown
 * @time_base: of vv_reader_next()'s @pts
 * @n_frames: a guess; 0 if unknown
 * @color: what the file says of its colors; the device knows nothing of that
 */
typedef struct VVReader {
    uint32_t width;
    uint32_t height;
    uint32_t source_width;
    uint32_t source_height;
    unsigned source_depth;
    unsigned depth;
    AVRational frame_rate;
    AVRational sample_aspect;
    AVRational time_base;
    uint64_t n_frames;
    const AVCodecParameters *color;

    struct AVFormatContext *format;
    struct AVStream *stream;
    struct AVCodecContext *avctx;
    struct SwsContext *sws;
    struct AVPacket *packet;
    struct AVFrame *frame;
    bool at_end;
    bool pending;               /* @frame is the first one, not given out yet */
    uint64_t next;              /* number of the next frame */
    int64_t last_pts;
} VVReader;

/**
 * vv_reader_open - begins to decode the best video stream of a file
 * @depth: of the frames that are wanted: 8, 10, or 0: what loses nothing
 *
 * Returns: NULL with @errp set if there is no video that could be decoded
 */
VVReader *vv_reader_open(const char *path, unsigned depth, Error **errp);

/**
 * vv_reader_next - the next frame in output order, as planar 4:2:0
 * @pts: when it is shown; grows with each frame
 *
 * A frame of another size than the first is scaled.
 *
 * Returns: false at the end, and with @errp set if it can't be converted
 */
bool vv_reader_next(VVReader *r, VVFrame *f, int64_t *pts, Error **errp);
void vv_reader_free(VVReader *r);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VVReader, vv_reader_free)

#endif
