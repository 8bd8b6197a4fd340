/*
 * vvclient: frames to encode, out of any file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "demux.h"
#include "reader.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

/* What 0 asks for: as many threads as there are processors */
#define VV_READER_THREADS 0

static bool vv_reader_open_file(VVReader *r, const char *path, Error **errp)
{
    const AVCodec *codec = NULL;
    int ret = avformat_open_input(&r->format, path, NULL, NULL);

    if (ret >= 0) {
        ret = avformat_find_stream_info(r->format, NULL);
    }
    if (ret < 0) {
        error_setg(errp, "%s", av_err2str(ret));
        return false;
    }
    ret = av_find_best_stream(r->format, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (ret < 0 || !codec) {
        error_setg(errp, "there is no video in this file that libavcodec can "
                   "decode");
        return false;
    }
    r->stream = r->format->streams[ret];
    for (int i = 0; i < r->format->nb_streams; i++) {
        if (i != ret) {
            r->format->streams[i]->discard = AVDISCARD_ALL;
        }
    }
    r->avctx = avcodec_alloc_context3(codec);
    ret = avcodec_parameters_to_context(r->avctx, r->stream->codecpar);
    if (ret >= 0) {
        r->avctx->thread_count = VV_READER_THREADS;
        r->avctx->pkt_timebase = r->stream->time_base;
        ret = avcodec_open2(r->avctx, codec, NULL);
    }
    if (ret < 0) {
        error_setg(errp, "cannot decode it: %s", av_err2str(ret));
        return false;
    }
    return true;
}

/* False at the end.  A packet that is broken is left out, as by ffmpeg */
static bool vv_reader_decode(VVReader *r)
{
    int ret;

    if (r->pending) {
        r->pending = false;
        return true;
    }
    while ((ret = avcodec_receive_frame(r->avctx, r->frame)) ==
           AVERROR(EAGAIN)) {
        if (r->at_end) {
            return false;
        }
        ret = av_read_frame(r->format, r->packet);
        if (ret < 0) {
            r->at_end = true;
            avcodec_send_packet(r->avctx, NULL);
        } else if (r->packet->stream_index == r->stream->index) {
            avcodec_send_packet(r->avctx, r->packet);
        }
        av_packet_unref(r->packet);
    }
    return ret >= 0;
}

static void vv_reader_describe(VVReader *r, unsigned depth)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(r->frame->format);
    AVRational rate = av_guess_frame_rate(r->format, r->stream, r->frame);

    r->width = r->frame->width & ~1;
    r->height = r->frame->height & ~1;
    r->source_width = r->frame->width;
    r->source_height = r->frame->height;
    r->source_depth = desc ? desc->comp[0].depth : 8;
    r->depth = depth ?: r->source_depth > 8 ? 10 : 8;
    r->frame_rate = vv_sane_rate(rate);
    r->sample_aspect = av_guess_sample_aspect_ratio(r->format, r->stream,
                                                    r->frame);
    r->time_base = r->stream->time_base;
    r->n_frames = r->stream->nb_frames;
    if (!r->n_frames && r->format->duration > 0) {
        r->n_frames = av_rescale_q(r->format->duration, AV_TIME_BASE_Q,
                                   av_inv_q(r->frame_rate));
    }
    r->color = r->stream->codecpar;
}

VVReader *vv_reader_open(const char *path, unsigned depth, Error **errp)
{
    g_autoptr(VVReader) r = g_new0(VVReader, 1);

    r->packet = av_packet_alloc();
    r->frame = av_frame_alloc();
    r->last_pts = AV_NOPTS_VALUE;
    if (!vv_reader_open_file(r, path, errp)) {
        return NULL;
    }
    if (!vv_reader_decode(r)) {
        error_setg(errp, "not one frame came out of it");
        return NULL;
    }
    r->pending = true;
    vv_reader_describe(r, depth);
    if (!r->width || !r->height) {
        error_setg(errp, "its frames of %dx%d are too small", r->frame->width,
                   r->frame->height);
        return NULL;
    }
    return g_steal_pointer(&r);
}

static void vv_reader_copy(const VVReader *r, VVFrame *f)
{
    for (unsigned p = 0; p < VV_FRAME_PLANES; p++) {
        const uint32_t len = vv_frame_row_bytes(f, p);
        uint8_t *dst = vv_frame_plane(f, p);

        for (uint32_t y = 0; y < vv_frame_rows(f, p); y++, dst += len) {
            memcpy(dst, r->frame->data[p] +
                   (ptrdiff_t)y * r->frame->linesize[p], len);
        }
    }
}

static bool vv_reader_scale(VVReader *r, VVFrame *f, enum AVPixelFormat to)
{
    uint8_t *dst[4] = {
        vv_frame_plane(f, 0), vv_frame_plane(f, 1), vv_frame_plane(f, 2)
    };
    const int strides[4] = {
        vv_frame_row_bytes(f, 0), vv_frame_row_bytes(f, 1),
        vv_frame_row_bytes(f, 2)
    };
    /* A row or column too many is cut off, not squeezed in */
    int width = r->frame->width & ~1;
    int height = r->frame->height & ~1;

    r->sws = sws_getCachedContext(r->sws, width, height, r->frame->format,
                                  r->width, r->height, to,
                                  SWS_BICUBIC | SWS_ACCURATE_RND, NULL, NULL,
                                  NULL);
    return r->sws && sws_scale(r->sws, (const uint8_t *const *)r->frame->data,
                               r->frame->linesize, 0, height, dst,
                               strides) >= 0;
}

/* Only the samples count here: what range they are of is not touched */
static bool vv_same_samples(enum AVPixelFormat a, enum AVPixelFormat b)
{
    return a == b || (a == AV_PIX_FMT_YUVJ420P && b == AV_PIX_FMT_YUV420P);
}

/* Made up where the file has none, or one that makes no sense */
static int64_t vv_reader_pts(VVReader *r)
{
    int64_t pts = r->frame->best_effort_timestamp;

    if (pts == AV_NOPTS_VALUE ||
        (r->last_pts != AV_NOPTS_VALUE && pts <= r->last_pts)) {
        int64_t step = av_rescale_q(1, av_inv_q(r->frame_rate), r->time_base);

        pts = r->last_pts == AV_NOPTS_VALUE ? 0 : r->last_pts + MAX(step, 1);
    }
    r->last_pts = pts;
    return pts;
}

bool vv_reader_next(VVReader *r, VVFrame *f, int64_t *pts, Error **errp)
{
    enum AVPixelFormat to = r->depth > 8 ? AV_PIX_FMT_YUV420P10LE :
                                           AV_PIX_FMT_YUV420P;

    if (!vv_reader_decode(r)) {
        return false;
    }
    vv_frame_reset(f, r->width, r->height, r->depth, false);
    if (vv_same_samples(r->frame->format, to) &&
        (r->frame->width & ~1) == r->width &&
        (r->frame->height & ~1) == r->height) {
        vv_reader_copy(r, f);
    } else if (!vv_reader_scale(r, f, to)) {
        error_setg(errp, "frame %" PRIu64 ": cannot convert it from %s",
                   r->next, av_get_pix_fmt_name(r->frame->format) ?: "?");
        return false;
    }
    *pts = vv_reader_pts(r);
    r->next++;
    return true;
}

void vv_reader_free(VVReader *r)
{
    if (r) {
        sws_freeContext(r->sws);
        av_frame_free(&r->frame);
        av_packet_free(&r->packet);
        avcodec_free_context(&r->avctx);
        avformat_close_input(&r->format);
        g_free(r);
    }
}
