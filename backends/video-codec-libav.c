/*
 * Video codec in software, with libavcodec
 *
 * The codec that is always there: it needs no GPU and decodes every format
 * that the guest side knows.  A decoder keeps its frames in memory of its own;
 * they are converted to the guest's raw format while they are copied out, a
 * strip of rows at a time, so that converting costs next to nothing.
 *
 * Threads: functions named libav_* run in the worker thread of a session and
 * touch only that session's LibavDecoder.  libavcodec may have threads of its
 * own below it (threads=, libdav1d); what runs in them are libav_get_format()
 * and libav_log(), and what those leave behind is guarded by
 * LibavDecoder.lock.  Functions named video_codec_libav_* run in the main
 * thread and touch only the object.
 *
 * Guests hand over elementary streams, whole access units at a time, so
 * neither libavformat nor any of libavcodec's parsers is used.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"
#include "qemu/log.h"
#include "qemu/module.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "system/video-codec.h"

#include <libavcodec/avcodec.h>
#include <libavutil/frame.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

OBJECT_DECLARE_SIMPLE_TYPE(VideoCodecLibav, VIDEO_CODEC_LIBAV)

/* What libavcodec calls reasonable for frame threads */
#define LIBAV_MAX_THREADS 16

/*
 * libavcodec takes some more, but not with all of width, height and format at
 * once; no level of any of these formats but HEVC's and AV1's highest goes
 * beyond.
 */
#define LIBAV_MAX_SIZE 8192

/* Bytes of pixels between two looks at whether the output is still ours */
#define LIBAV_STRIP_SIZE (64 * KiB)

/*
 * Frames taken from the decoder together with the input that made them, so
 * that errors are blamed on the right input.  A VP9 superframe has 8 frames.
 */
#define LIBAV_MAX_READY 8

/* libavcodec gives up after about 40 errors without a frame in a drain */
#define LIBAV_MAX_ERRORS 256

/* Bad inputs of one stream that are logged with what libavcodec said */
#define LIBAV_MAX_LOGGED 10

#define LIBAV_MAX_MESSAGE 256

/* Bytes of headers that may come without a picture */
#define LIBAV_MAX_HEADERS (64 * KiB)

/* An AV1 sequence header is some ten bytes long */
#define AV1_MAX_SEQUENCE_HEADER 256

/* No encoder hides so many frames; see libav_limit_dav1d() */
#define AV1_MAX_WITHOUT_FRAME 1024

struct VideoCodecLibav {
    VideoCodec parent;

    VideoCodecCaps caps;
    uint32_t threads;
    bool low_delay;
};

typedef enum LibavDrain {
    LIBAV_DRAIN_NONE,
    LIBAV_DRAIN_STARTED,        /* libavcodec was told, it has frames left */
    LIBAV_DRAIN_DONE,           /* nothing was left in the first place */
} LibavDrain;

/* A session's state. */
typedef struct LibavDecoder {
    VideoCodecSession *session;
    VideoCodecParams params;
    AVCodecContext *avctx;
    AVPacket *packet;
    LibavDrain drain;

    AVFrame *ready[LIBAV_MAX_READY];
    unsigned n_ready;
    AVFrame *current;           /* has no data: there is none */
    bool current_corrupt;
    int in_flight;              /* inputs taken less frames made */
    bool no_key;                /* no key frame has come out yet */
    bool lost;                  /* an error that no input was blamed for */
    unsigned n_bad;             /* inputs */

    uint8_t *strip;             /* LIBAV_STRIP_SIZE or one row */
    size_t strip_size;
    struct SwsContext *sws;
    int sws_format, sws_colorspace;
    bool sws_full_range;
    AVFrame *rgb;

    GByteArray *headers;        /* to go before the next input */
    GByteArray *av1_header;     /* the last sequence header */
    bool av1_need_header;       /* libdav1d has forgotten it */
    unsigned av1_without_frame;

    QemuMutex lock;
    char *refusal;              /* why the stream can't be decoded at all */
    char message[LIBAV_MAX_MESSAGE];    /* the last error of libavcodec */
} LibavDecoder;

/* In order of preference; what is not in the host's libavcodec is left out */
static const struct {
    VideoCodedFormat format;
    const char *decoder;
    uint32_t max_size;
} libav_decoders[] = {
    { VIDEO_CODED_H264,  "h264",       LIBAV_MAX_SIZE },
    { VIDEO_CODED_HEVC,  "hevc",       LIBAV_MAX_SIZE },
    { VIDEO_CODED_VP9,   "vp9",        LIBAV_MAX_SIZE },
    { VIDEO_CODED_VP8,   "vp8",        LIBAV_MAX_SIZE },
    { VIDEO_CODED_AV1,   "libdav1d",   LIBAV_MAX_SIZE },
    { VIDEO_CODED_MPEG2, "mpeg2video", LIBAV_MAX_SIZE },
    /* its header has 13 bits for each */
    { VIDEO_CODED_MPEG4, "mpeg4",      LIBAV_MAX_SIZE - 1 },
};

static const uint32_t libav_raws[] = {
    DRM_FORMAT_NV12, DRM_FORMAT_P010, DRM_FORMAT_YUV420, DRM_FORMAT_XRGB8888,
};

static const AVCodec *libav_find_decoder(VideoCodedFormat format)
{
    for (unsigned i = 0; i < ARRAY_SIZE(libav_decoders); i++) {
        if (libav_decoders[i].format == format) {
            return avcodec_find_decoder_by_name(libav_decoders[i].decoder);
        }
    }
    return NULL;
}

/*
 * Pixels.  Frames of libavcodec are planar and in the host's byte order with
 * 10 bits in the lower part of each 16; what guests get is little endian.
 * Range and matrix of YUV are the guest's matter and never touched.
 */

typedef void LibavRowFn(uint8_t *dst, const uint8_t *a, const uint8_t *b,
                        size_t n);

static inline uint8_t depth_8_to_8(uint8_t v)
{
    return v;
}

static inline uint16_t depth_8_to_p010(uint8_t v)
{
    return cpu_to_le16(v << 8);
}

static inline uint8_t depth_10_to_8(uint16_t v)
{
    return MIN((v + 2) >> 2, 255);
}

static inline uint16_t depth_10_to_p010(uint16_t v)
{
    return cpu_to_le16(v << 6);
}

/*
 * row_*: @n samples of @a.  pair_*: @n samples of each @a and @b, by turns.
 *
 * Blocks of constant size in a function of their own are what compilers
 * vectorise at -O2.
 */
#define ROW_BLOCK 32

#define DEFINE_ROW_FNS(depth, in_t, out_t)                                  \
static inline void row_block_##depth(out_t *restrict out,                   \
                                     const in_t *restrict in)               \
{                                                                           \
    for (int i = 0; i < ROW_BLOCK; i++) {                                   \
        out[i] = depth_##depth(in[i]);                                      \
    }                                                                       \
}                                                                           \
                                                                            \
static void row_##depth(uint8_t *dst, const uint8_t *a, const uint8_t *b,   \
                        size_t n)                                           \
{                                                                           \
    const in_t *in = (const in_t *)a;                                       \
    out_t *out = (out_t *)dst;                                              \
    size_t i = 0;                                                           \
                                                                            \
    for (; i + ROW_BLOCK <= n; i += ROW_BLOCK) {                            \
        row_block_##depth(out + i, in + i);                                 \
    }                                                                       \
    for (; i < n; i++) {                                                    \
        out[i] = depth_##depth(in[i]);                                      \
    }                                                                       \
}                                                                           \
                                                                            \
static inline void pair_block_##depth(out_t *restrict out,                  \
                                      const in_t *restrict u,               \
                                      const in_t *restrict v)               \
{                                                                           \
    for (int i = 0; i < ROW_BLOCK; i++) {                                   \
        out[2 * i] = depth_##depth(u[i]);                                   \
        out[2 * i + 1] = depth_##depth(v[i]);                               \
    }                                                                       \
}                                                                           \
                                                                            \
static void pair_##depth(uint8_t *dst, const uint8_t *a, const uint8_t *b,  \
                         size_t n)                                          \
{                                                                           \
    const in_t *u = (const in_t *)a;                                        \
    const in_t *v = (const in_t *)b;                                        \
    out_t *out = (out_t *)dst;                                              \
    size_t i = 0;                                                           \
                                                                            \
    for (; i + ROW_BLOCK <= n; i += ROW_BLOCK) {                            \
        pair_block_##depth(out + 2 * i, u + i, v + i);                      \
    }                                                                       \
    for (; i < n; i++) {                                                    \
        out[2 * i] = depth_##depth(u[i]);                                   \
        out[2 * i + 1] = depth_##depth(v[i]);                               \
    }                                                                       \
}

DEFINE_ROW_FNS(8_to_8, uint8_t, uint8_t)
DEFINE_ROW_FNS(8_to_p010, uint8_t, uint16_t)
DEFINE_ROW_FNS(10_to_8, uint16_t, uint8_t)
DEFINE_ROW_FNS(10_to_p010, uint16_t, uint16_t)

static LibavRowFn *const libav_row_fns[2][2] = {    /* [10 bits][P010] */
    { row_8_to_8, row_8_to_p010 }, { row_10_to_8, row_10_to_p010 },
};

static LibavRowFn *const libav_pair_fns[2][2] = {
    { pair_8_to_8, pair_8_to_p010 }, { pair_10_to_8, pair_10_to_p010 },
};

static bool is_8_bits(int pix_fmt)
{
    /* yuvj420p is what libav calls yuv420p of full range */
    return pix_fmt == AV_PIX_FMT_YUV420P || pix_fmt == AV_PIX_FMT_YUVJ420P;
}

static bool is_10_bits(int pix_fmt)
{
    return pix_fmt == AV_PIX_FMT_YUV420P10;
}

/* The frame's plane as it is, no conversion */
static bool libav_emit_plane(LibavDecoder *d, VideoCodecOutput *out,
                             unsigned plane, const uint8_t *src, int linesize,
                             size_t bytes, uint32_t n_rows)
{
    uint32_t step = MAX(LIBAV_STRIP_SIZE / bytes, 1);

    for (uint32_t row = 0; row < n_rows; row += step) {
        if (!video_codec_output_write_rows(d->session, out, plane, row,
                                           MIN(step, n_rows - row),
                                           src + (ptrdiff_t)row * linesize,
                                           linesize, bytes)) {
            return false;
        }
    }
    return true;
}

/* One plane from plane @a of the frame, or from planes @a and @b by turns */
static bool libav_emit_converted(LibavDecoder *d, VideoCodecOutput *out,
                                 unsigned plane, LibavRowFn *fn,
                                 unsigned a, unsigned b,
                                 size_t samples, size_t bytes, uint32_t n_rows)
{
    const AVFrame *f = d->current;
    uint32_t step = MAX(LIBAV_STRIP_SIZE / bytes, 1);

    if (d->strip_size < step * bytes) {
        d->strip_size = step * bytes;
        g_free(d->strip);
        d->strip = g_malloc(d->strip_size);
    }

    for (uint32_t row = 0; row < n_rows; row += step) {
        uint32_t n = MIN(step, n_rows - row);

        for (uint32_t i = 0; i < n; i++) {
            fn(d->strip + i * bytes,
               f->data[a] + (ptrdiff_t)(row + i) * f->linesize[a],
               f->data[b] + (ptrdiff_t)(row + i) * f->linesize[b], samples);
        }
        if (!video_codec_output_write_rows(d->session, out, plane, row, n,
                                           d->strip, bytes, bytes)) {
            return false;
        }
    }
    return true;
}

static bool libav_emit_yuv(LibavDecoder *d, VideoCodecOutput *out,
                           uint32_t width, uint32_t height)
{
    const AVFrame *f = d->current;
    uint32_t cw = DIV_ROUND_UP(width, 2), ch = DIV_ROUND_UP(height, 2);
    bool p010 = out->fourcc == DRM_FORMAT_P010;
    bool in10 = is_10_bits(f->format);
    LibavRowFn *row = libav_row_fns[in10][p010];
    LibavRowFn *pair = libav_pair_fns[in10][p010];
    size_t sample = p010 ? 2 : 1;

    if (!in10 && !p010) {
        if (!libav_emit_plane(d, out, 0, f->data[0], f->linesize[0],
                              width, height)) {
            return false;
        }
        if (out->fourcc == DRM_FORMAT_YUV420) {
            return libav_emit_plane(d, out, 1, f->data[1], f->linesize[1],
                                    cw, ch) &&
                   libav_emit_plane(d, out, 2, f->data[2], f->linesize[2],
                                    cw, ch);
        }
    } else {
        if (!libav_emit_converted(d, out, 0, row, 0, 0,
                                  width, width * sample, height)) {
            return false;
        }
        if (out->fourcc == DRM_FORMAT_YUV420) {
            return libav_emit_converted(d, out, 1, row, 1, 1, cw, cw, ch) &&
                   libav_emit_converted(d, out, 2, row, 2, 2, cw, cw, ch);
        }
    }
    return libav_emit_converted(d, out, 1, pair, 1, 2,
                                cw, 2 * cw * sample, ch);
}

/* Have d->sws and d->rgb for frames like @f. */
static bool libav_prepare_rgb(LibavDecoder *d, const AVFrame *f)
{
    AVFrame *rgb = d->rgb;
    /* For swscale the pixel format must not imply a range */
    int format = is_10_bits(f->format) ? f->format : AV_PIX_FMT_YUV420P;
    bool full_range = f->color_range == AVCOL_RANGE_JPEG ||
                      f->format == AV_PIX_FMT_YUVJ420P;

    if (d->sws && rgb->width == f->width && rgb->height == f->height &&
        d->sws_format == format && d->sws_colorspace == f->colorspace &&
        d->sws_full_range == full_range) {
        return true;
    }

    sws_freeContext(d->sws);
    d->sws = NULL;
    av_frame_unref(rgb);

    rgb->format = AV_PIX_FMT_BGR0;
    rgb->width = f->width;
    rgb->height = f->height;
    if (av_frame_get_buffer(rgb, 0) < 0) {
        return false;
    }

    d->sws = sws_getContext(f->width, f->height, format,
                            f->width, f->height, AV_PIX_FMT_BGR0,
                            SWS_BILINEAR, NULL, NULL, NULL);
    if (!d->sws) {
        return false;
    }
    d->sws_format = format;
    d->sws_colorspace = f->colorspace;
    d->sws_full_range = full_range;
    sws_setColorspaceDetails(d->sws, sws_getCoefficients(f->colorspace),
                             full_range, sws_getCoefficients(SWS_CS_DEFAULT),
                             1, 0, 1 << 16, 1 << 16);
    return true;
}

/* Make d->rgb from the current frame. */
static bool libav_make_rgb(LibavDecoder *d)
{
    const AVFrame *f = d->current;

    return libav_prepare_rgb(d, f) &&
           sws_scale(d->sws, (const uint8_t *const *)f->data, f->linesize,
                     0, f->height, d->rgb->data, d->rgb->linesize) ==
           f->height;
}

static bool libav_emit(void *priv, VideoCodecOutput *out)
{
    LibavDecoder *d = priv;
    AVFrame *f = d->current;
    uint32_t width = MIN(out->width, f->width);
    uint32_t height = MIN(out->height, f->height);
    bool done;

    if (out->fourcc == DRM_FORMAT_XRGB8888) {
        if (!libav_make_rgb(d)) {
            video_codec_session_fail(d->session,
                                     "can't convert a frame of %dx%d to RGB",
                                     f->width, f->height);
            return false;
        }
        done = libav_emit_plane(d, out, 0, d->rgb->data[0],
                                d->rgb->linesize[0], width * 4, height);
    } else {
        done = libav_emit_yuv(d, out, width, height);
    }

    if (done) {
        out->timestamp = f->pts;
        out->corrupt = d->current_corrupt;
        av_frame_unref(f);
    }
    return done;
}

/*
 * What libavcodec calls back.  These run in any of its threads.
 */

static void libav_refuse(LibavDecoder *d, char *reason)
{
    QEMU_LOCK_GUARD(&d->lock);
    if (d->refusal) {
        g_free(reason);
    } else {
        d->refusal = reason;
    }
}

static void libav_refuse_size(LibavDecoder *d, int width, int height)
{
    libav_refuse(d, g_strdup_printf("frame size %dx%d is beyond the limit of "
                                    "%" PRIu32 "x%" PRIu32, width, height,
                                    d->params.max_width,
                                    d->params.max_height));
}

static bool libav_size_allowed(LibavDecoder *d, int width, int height)
{
    return width <= d->params.max_width && height <= d->params.max_height;
}

static void libav_refuse_pix_fmt(LibavDecoder *d, int pix_fmt)
{
    const char *name = av_get_pix_fmt_name(pix_fmt);

    libav_refuse(d, g_strdup_printf("pixel format %s is not supported: "
                                    "only 4:2:0 of 8 or 10 bits",
                                    name ? name : "(unknown)"));
}

/*
 * The decoder has a new header and offers pixel formats, hardware's first.
 * Refusing here saves it from allocating what can't be used.
 */
static enum AVPixelFormat libav_get_format(AVCodecContext *avctx,
                                           const enum AVPixelFormat *formats)
{
    LibavDecoder *d = avctx->opaque;
    enum AVPixelFormat software = AV_PIX_FMT_NONE;

    for (; *formats != AV_PIX_FMT_NONE; formats++) {
        const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(*formats);

        if (desc && !(desc->flags & AV_PIX_FMT_FLAG_HWACCEL)) {
            software = *formats;
            break;
        }
    }

    if (!is_8_bits(software) && !is_10_bits(software)) {
        libav_refuse_pix_fmt(d, software);
        return AV_PIX_FMT_NONE;
    }
    if (!libav_size_allowed(d, avctx->width, avctx->height)) {
        libav_refuse_size(d, avctx->width, avctx->height);
        return AV_PIX_FMT_NONE;
    }
    return software;
}

/* The decoder behind a logging context, if it is one of ours */
static LibavDecoder *libav_log_decoder(void *avcl)
{
    for (int depth = 0; avcl && depth < 4; depth++) {
        const AVClass *class = *(const AVClass **)avcl;

        if (!class) {
            break;
        }
        if (class == avcodec_get_class()) {
            AVCodecContext *avctx = avcl;

            return avctx->get_format == libav_get_format ? avctx->opaque
                                                         : NULL;
        }
        if (!class->parent_log_context_offset) {
            break;
        }
        avcl = *(void **)((uint8_t *)avcl + class->parent_log_context_offset);
    }
    return NULL;
}

/*
 * Is @message about a frame that exceeds AVCodecContext.max_pixels?  There is
 * no error code for that: "Picture size 64x64 exceeds specified max pixel
 * count", "Frame size 64x64 exceeds limit".
 */
static bool libav_is_size_message(const char *message, int *width, int *height)
{
    const char *size = strstr(message, " size ");

    return size && strstr(size, " exceeds ") &&
           sscanf(size, " size %dx%d", width, height) == 2;
}

/*
 * A guest decides what libavcodec complains about, so nothing of it may reach
 * stderr by itself: errors are kept for the one who is told that an input is
 * bad, the rest is dropped.
 *
 * There is one such callback in a process.  Nothing else in QEMU uses libav;
 * were a library that QEMU loads to do so, it would lose its chatter.
 */
static void libav_log(void *avcl, int level, const char *fmt, va_list ap)
{
    LibavDecoder *d;
    char message[LIBAV_MAX_MESSAGE];
    int width, height;
    int prefix = 0;             /* none: it holds an address */

    if (level > AV_LOG_ERROR) {
        return;
    }
    d = libav_log_decoder(avcl);
    if (!d) {
        return;
    }

    av_log_format_line2(avcl, level, fmt, ap, message, sizeof(message),
                        &prefix);
    g_strchomp(message);
    if (libav_is_size_message(message, &width, &height)) {
        libav_refuse_size(d, width, height);
    }
    WITH_QEMU_LOCK_GUARD(&d->lock) {
        pstrcpy(d->message, sizeof(d->message), message);
    }
}

/*
 * The decoder
 */

/*
 * After a call into libavcodec: did it meet something that it must not or
 * can't decode?  Returns: true if the session has failed.
 */
static bool libav_failed(LibavDecoder *d, int ret)
{
    char *refusal;

    if (ret == AVERROR(ENOMEM)) {
        libav_refuse(d, g_strdup("out of memory"));
    }

    WITH_QEMU_LOCK_GUARD(&d->lock) {
        refusal = g_steal_pointer(&d->refusal);
    }
    if (!refusal) {
        return false;
    }
    video_codec_session_fail(d->session, "%s", refusal);
    g_free(refusal);
    return true;
}

static void libav_log_bad(LibavDecoder *d, const char *what)
{
    if (d->n_bad++ >= LIBAV_MAX_LOGGED) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&d->lock) {
        qemu_log_mask(LOG_GUEST_ERROR, "video-codec-libav: %s: %s: %s%s\n",
                      d->avctx->codec->name, what,
                      d->message[0] ? d->message : "no reason given",
                      d->n_bad == LIBAV_MAX_LOGGED ? " (enough of it)" : "");
        d->message[0] = 0;
    }
}

/* Back to the state after opening, but for the parameter sets */
static void libav_reset(LibavDecoder *d)
{
    avcodec_flush_buffers(d->avctx);
    d->drain = LIBAV_DRAIN_NONE;
    d->no_key = true;
    d->lost = false;
    d->in_flight = 0;
    d->av1_need_header = true;
    d->av1_without_frame = 0;
}

/*
 * Is there surely no frame in the making?  Then a drain need not go through
 * libavcodec, which would forget all reference frames with it.
 */
static bool libav_nothing_pending(LibavDecoder *d)
{
    AVCodecContext *avctx = d->avctx;

    if (avctx->has_b_frames || avctx->active_thread_type & FF_THREAD_FRAME) {
        return false;
    }
    switch (d->params.coded) {
    case VIDEO_CODED_VP8:
    case VIDEO_CODED_VP9:
        return true;
    case VIDEO_CODED_AV1:
        /* libdav1d has threads that libavcodec does not know of */
        return avctx->thread_count == 1;
    default:
        /* an interlaced frame may be two inputs: then this is never 0 */
        return d->in_flight == 0;
    }
}

static int libav_drain(LibavDecoder *d)
{
    int ret;

    if (libav_nothing_pending(d)) {
        d->drain = LIBAV_DRAIN_DONE;
        return 0;
    }

    d->drain = LIBAV_DRAIN_STARTED;
    ret = avcodec_send_packet(d->avctx, NULL);
    if (ret < 0 && ret != AVERROR_EOF && !libav_failed(d, ret)) {
        d->lost = true;
    }
    return 0;
}

/*
 * Does an input hold nothing but headers?  A driver may well send them in a
 * buffer of their own.  Most decoders take that; those of H.264 and MPEG-4
 * miss the picture and call it an error.
 */
static bool libav_only_headers(VideoCodedFormat coded,
                               const VideoCodecInput *in)
{
    bool found = false;

    for (size_t i = 0; i + 3 < in->size; i++) {
        unsigned code = in->data[i + 3];

        if (in->data[i] || in->data[i + 1] || in->data[i + 2] != 1) {
            continue;
        }
        if (coded == VIDEO_CODED_H264) {
            code &= 0x1f;
            if (code >= 1 && code <= 5) {
                return false;   /* a slice */
            }
            found |= code >= 6 && code <= 15;   /* SPS, PPS, SEI and more */
        } else {
            if (code == 0xb6) {
                return false;   /* VOP */
            }
            found |= code <= 0x2f || (code >= 0xb0 && code <= 0xb5);
        }
        i += 3;
    }
    return found;
}

/*
 * AV1 only: keep the last sequence header, the only parameter set there is.
 * Returns: is there one in @in?
 */
static bool libav_av1_keep_header(LibavDecoder *d, const VideoCodecInput *in)
{
    const uint8_t *p = in->data, *end = in->data + in->size;
    bool found = false;

    while (end - p >= 2) {
        const uint8_t *obu = p;
        unsigned type = (*obu >> 3) & 15, shift = 0;
        uint64_t size = 0;
        uint8_t byte;

        if (!(*obu & 2)) {
            break;              /* no size: it goes on until the end */
        }
        p += *obu & 4 ? 2 : 1;
        do {
            if (p >= end || shift > 28) {
                return found;
            }
            byte = *p++;
            size |= (uint64_t)(byte & 0x7f) << shift;
            shift += 7;
        } while (byte & 0x80);
        if (size > end - p) {
            return found;
        }
        p += size;
        if (type == 1) {
            found = true;
            if (p - obu <= AV1_MAX_SEQUENCE_HEADER) {
                g_byte_array_set_size(d->av1_header, 0);
                g_byte_array_append(d->av1_header, obu, p - obu);
            }
        }
    }
    return found;
}

/*
 * Put headers where libavcodec wants them.
 * Returns: 1 if @in was nothing but headers and waits for its picture now;
 * 0 if d->headers goes before @in; -EINVAL if there are too many headers.
 */
static int libav_sort_headers(LibavDecoder *d, const VideoCodecInput *in)
{
    switch (d->params.coded) {
    case VIDEO_CODED_H264:
    case VIDEO_CODED_MPEG4:
        if (!libav_only_headers(d->params.coded, in)) {
            return 0;
        }
        if (d->headers->len + in->size > LIBAV_MAX_HEADERS) {
            return -EINVAL;
        }
        g_byte_array_append(d->headers, in->data, in->size);
        return 1;
    case VIDEO_CODED_AV1:
        /* A flush keeps parameter sets, but libdav1d's does not */
        if (!libav_av1_keep_header(d, in) && d->av1_need_header) {
            g_byte_array_append(d->headers, d->av1_header->data,
                                d->av1_header->len);
        }
        d->av1_need_header = false;
        return 0;
    default:
        return 0;
    }
}

/*
 * Up to version 5 libavcodec remembers the properties of all packets since
 * libdav1d's last frame, so data that never makes a frame would take more and
 * more memory.
 */
static void libav_limit_dav1d(LibavDecoder *d)
{
    if (d->n_ready) {
        d->av1_without_frame = 0;
    } else if (++d->av1_without_frame >= AV1_MAX_WITHOUT_FRAME) {
        libav_reset(d);
    }
}

/*
 * Take the frames that the last packet completed.
 * Returns: 0, or the last error
 */
static int libav_collect(LibavDecoder *d)
{
    int errors = 0, err = 0;

    while (d->n_ready < LIBAV_MAX_READY && errors < LIBAV_MAX_ERRORS) {
        int ret = avcodec_receive_frame(d->avctx, d->ready[d->n_ready]);

        if (ret >= 0) {
            d->n_ready++;
            d->in_flight--;
        } else if (ret == AVERROR(EAGAIN)) {
            break;
        } else {
            err = ret;
            errors++;
            if (ret == AVERROR_EOF) {
                /* Nobody said so: it would not take more input now */
                libav_reset(d);
            }
        }
    }
    return err;
}

static int libav_decode(void *priv, const VideoCodecInput *in)
{
    LibavDecoder *d = priv;
    int ret, err;

    if (d->n_ready || d->current->buf[0] || d->drain) {
        return -EAGAIN;
    }
    if (!in) {
        return libav_drain(d);
    }
    if (!in->size || in->size > INT_MAX / 2) {
        return -EINVAL;         /* libavcodec takes an empty packet for EOF */
    }

    ret = libav_sort_headers(d, in);
    if (ret) {
        return MIN(ret, 0);
    }
    if (d->headers->len) {
        g_byte_array_append(d->headers, in->data,
                            in->size + VIDEO_CODEC_INPUT_PADDING);
        d->packet->data = d->headers->data;
        d->packet->size = d->headers->len - VIDEO_CODEC_INPUT_PADDING;
    } else {
        d->packet->data = in->data;
        d->packet->size = in->size;
    }

    /*
     * The presentation timestamp is the only number that all versions and all
     * decoders hand through, whatever their order, and none of them computes
     * with it.  A guest's timestamp that looks like AV_NOPTS_VALUE comes out
     * as such again.
     */
    d->packet->pts = in->timestamp;
    ret = avcodec_send_packet(d->avctx, d->packet);     /* makes a copy */
    av_packet_unref(d->packet);
    g_byte_array_set_size(d->headers, 0);

    d->in_flight++;

    err = libav_collect(d);
    if (ret >= 0) {
        ret = err;
    }

    if (d->params.coded == VIDEO_CODED_AV1) {
        libav_limit_dav1d(d);
    }
    if (libav_failed(d, ret)) {
        return -EINVAL;
    }
    if (ret < 0) {
        libav_log_bad(d, "bad input");
        return -EINVAL;
    }
    return 0;
}

static void libav_drained(LibavDecoder *d)
{
    if (d->drain == LIBAV_DRAIN_STARTED) {
        if (d->lost) {
            libav_log_bad(d, "frame lost");
        }
        libav_reset(d);
    }
    d->drain = LIBAV_DRAIN_NONE;
}

/* Make d->current the next frame. Returns as next_picture() does. */
static int libav_receive(LibavDecoder *d)
{
    if (d->n_ready) {
        AVFrame *first = d->ready[0];

        av_frame_move_ref(d->current, first);
        d->n_ready--;
        memmove(d->ready, d->ready + 1, d->n_ready * sizeof(d->ready[0]));
        d->ready[d->n_ready] = first;
        return 1;
    }

    if (d->drain == LIBAV_DRAIN_DONE) {
        libav_drained(d);
        return -ENODATA;
    }

    for (int errors = 0; errors < LIBAV_MAX_ERRORS; errors++) {
        int ret = avcodec_receive_frame(d->avctx, d->current);

        if (ret >= 0) {
            d->in_flight--;
            return 1;
        }
        if (ret == AVERROR(EAGAIN)) {
            return 0;
        }
        if (ret == AVERROR_EOF) {
            break;
        }
        if (libav_failed(d, ret)) {
            return 0;
        }
        d->lost = true;
    }

    if (d->drain) {
        libav_drained(d);
        return -ENODATA;
    }
    libav_reset(d);
    return 0;
}

static bool libav_is_key(const AVFrame *f)
{
#ifdef AV_FRAME_FLAG_KEY
    return f->flags & AV_FRAME_FLAG_KEY;
#else
    return f->key_frame;
#endif
}

/*
 * Can the current frame be wrong?  libavcodec marks most frames that it had
 * to patch up.  But where a stream does not begin with a key frame, or goes
 * on without one after a reset, some decoders invent a grey picture to start
 * from and say nothing; H.264's tells, but not in a drain.
 */
static bool libav_is_corrupt(LibavDecoder *d)
{
    const AVFrame *f = d->current;
    bool marked = f->decode_error_flags || f->flags & AV_FRAME_FLAG_CORRUPT;
    bool lost = d->lost;

    d->lost = false;
    if (libav_is_key(f)) {
        d->no_key = false;
    }
    switch (d->params.coded) {
    case VIDEO_CODED_H264:
        if (!marked && d->drain == LIBAV_DRAIN_NONE) {
            d->no_key = false;
        }
        break;
    case VIDEO_CODED_HEVC:
    case VIDEO_CODED_MPEG2:
    case VIDEO_CODED_MPEG4:
        break;
    default:
        /* the others call it an error */
        d->no_key = false;
    }
    return marked || lost || d->no_key;
}

static int libav_next_picture(void *priv, VideoCodecFormat *format)
{
    LibavDecoder *d = priv;
    AVFrame *f = d->current;

    if (!f->buf[0]) {
        int ret = libav_receive(d);

        if (ret != 1) {
            return ret;
        }

        /* Not all decoders call get_format() for each new size and format */
        if (!is_8_bits(f->format) && !is_10_bits(f->format)) {
            libav_refuse_pix_fmt(d, f->format);
        } else if (!libav_size_allowed(d, f->width, f->height)) {
            libav_refuse_size(d, f->width, f->height);
        }
        if (libav_failed(d, 0)) {
            av_frame_unref(f);
            return 0;
        }

        d->current_corrupt = libav_is_corrupt(d);
    }

    *format = (VideoCodecFormat) {
        .fourcc = is_10_bits(f->format) ? DRM_FORMAT_P010 : DRM_FORMAT_NV12,
        .width = f->width,
        .height = f->height,
        .crop = {
            .left = f->crop_left,
            .top = f->crop_top,
            .width = f->width - f->crop_left - f->crop_right,
            .height = f->height - f->crop_top - f->crop_bottom,
        },
    };
    return 1;
}

static void libav_flush(void *priv)
{
    LibavDecoder *d = priv;

    for (unsigned i = 0; i < d->n_ready; i++) {
        av_frame_unref(d->ready[i]);
    }
    d->n_ready = 0;
    av_frame_unref(d->current);
    libav_reset(d);
}

static void libav_stop(void *priv)
{
    LibavDecoder *d = priv;

    avcodec_free_context(&d->avctx);    /* ends all threads below us */
    av_packet_free(&d->packet);
    for (unsigned i = 0; i < LIBAV_MAX_READY; i++) {
        av_frame_free(&d->ready[i]);
    }
    av_frame_free(&d->current);
    av_frame_free(&d->rgb);
    sws_freeContext(d->sws);
    g_byte_array_unref(d->headers);
    g_byte_array_unref(d->av1_header);
    g_free(d->strip);
    g_free(d->refusal);
    qemu_mutex_destroy(&d->lock);
    g_free(d);
}

static bool libav_alloc(LibavDecoder *d, const AVCodec *codec)
{
    d->avctx = avcodec_alloc_context3(codec);
    d->packet = av_packet_alloc();
    d->current = av_frame_alloc();
    d->rgb = av_frame_alloc();
    for (unsigned i = 0; i < LIBAV_MAX_READY; i++) {
        d->ready[i] = av_frame_alloc();
        if (!d->ready[i]) {
            return false;
        }
    }
    return d->avctx && d->packet && d->current && d->rgb;
}

static void libav_set_threads(AVCodecContext *avctx,
                              const VideoCodecLibav *libav)
{
    unsigned threads = libav->threads ?: g_get_num_processors();

    avctx->thread_count = MIN(threads, LIBAV_MAX_THREADS);
    avctx->thread_type = FF_THREAD_SLICE;
    if (libav->low_delay) {
        avctx->flags |= AV_CODEC_FLAG_LOW_DELAY;
    } else {
        avctx->thread_type |= FF_THREAD_FRAME;
    }
}

static void *libav_start(VideoCodec *codec, VideoCodecSession *s,
                         const VideoCodecParams *params, Error **errp)
{
    VideoCodecLibav *libav = VIDEO_CODEC_LIBAV(codec);
    const AVCodec *decoder = libav_find_decoder(params->coded);
    LibavDecoder *d;
    int ret;

    if (!decoder) {
        error_setg(errp, "libavcodec has no decoder for coded format %d",
                   params->coded);
        return NULL;
    }

    d = g_new0(LibavDecoder, 1);
    d->session = s;
    d->params = *params;
    d->no_key = true;
    d->headers = g_byte_array_new();
    d->av1_header = g_byte_array_new();
    qemu_mutex_init(&d->lock);
    if (!libav_alloc(d, decoder)) {
        error_setg(errp, "out of memory");
        libav_stop(d);
        return NULL;
    }

    d->avctx->opaque = d;
    d->avctx->get_format = libav_get_format;
    /* The guest crops: VideoCodecFormat.crop says what */
    d->avctx->apply_cropping = 0;
    /* Rounded up as libavcodec does; the exact limit is ours to check */
    d->avctx->max_pixels = (int64_t)ROUND_UP(params->max_width, 128) *
                           ROUND_UP(params->max_height, 128);
    /* Frames that can't be right are shown and marked, not swallowed */
    d->avctx->flags |= AV_CODEC_FLAG_OUTPUT_CORRUPT;
    if (params->coded == VIDEO_CODED_MPEG2) {
        d->avctx->flags2 |= AV_CODEC_FLAG2_SHOW_ALL;
    }
    libav_set_threads(d->avctx, libav);
    if (params->coded == VIDEO_CODED_H264 && !libav->low_delay) {
        /*
         * Where a stream does not say how far it reorders, wait as long as
         * its level allows: the alternative is to guess, and a wrong guess
         * costs frames.
         */
        d->avctx->strict_std_compliance = FF_COMPLIANCE_STRICT;
    }

    ret = avcodec_open2(d->avctx, decoder, NULL);
    if (ret < 0) {
        error_setg(errp, "can't open libavcodec's decoder %s: %s",
                   decoder->name, av_err2str(ret));
        libav_stop(d);
        return NULL;
    }
    return d;
}

/*
 * The object
 */

static const VideoCodecCaps *video_codec_libav_get_caps(VideoCodec *codec)
{
    return &VIDEO_CODEC_LIBAV(codec)->caps;
}

static bool video_codec_libav_mutable(Object *obj, const char *name,
                                      Error **errp)
{
    if (VIDEO_CODEC(obj)->n_users) {
        error_setg(errp, "property '%s' can't be changed while the codec "
                   "is in use", name);
        return false;
    }
    return true;
}

static void video_codec_libav_get_threads(Object *obj, Visitor *v,
                                          const char *name, void *opaque,
                                          Error **errp)
{
    visit_type_uint32(v, name, &VIDEO_CODEC_LIBAV(obj)->threads, errp);
}

static void video_codec_libav_set_threads(Object *obj, Visitor *v,
                                          const char *name, void *opaque,
                                          Error **errp)
{
    uint32_t value;

    if (visit_type_uint32(v, name, &value, errp) &&
        video_codec_libav_mutable(obj, name, errp)) {
        VIDEO_CODEC_LIBAV(obj)->threads = value;
    }
}

static bool video_codec_libav_get_low_delay(Object *obj, Error **errp)
{
    return VIDEO_CODEC_LIBAV(obj)->low_delay;
}

static void video_codec_libav_set_low_delay(Object *obj, bool value,
                                            Error **errp)
{
    if (video_codec_libav_mutable(obj, "low-delay", errp)) {
        VIDEO_CODEC_LIBAV(obj)->low_delay = value;
    }
}

static void video_codec_libav_init(Object *obj)
{
    VideoCodecLibav *libav = VIDEO_CODEC_LIBAV(obj);
    VideoCodecCaps *caps = &libav->caps;

    libav->threads = 1;

    QEMU_BUILD_BUG_ON(ARRAY_SIZE(libav_decoders) >
                      ARRAY_SIZE(caps->decoders));
    QEMU_BUILD_BUG_ON(ARRAY_SIZE(libav_raws) > ARRAY_SIZE(caps->raws));

    caps->n_raws = ARRAY_SIZE(libav_raws);
    memcpy(caps->raws, libav_raws, sizeof(libav_raws));
    for (unsigned i = 0; i < ARRAY_SIZE(libav_decoders); i++) {
        if (avcodec_find_decoder_by_name(libav_decoders[i].decoder)) {
            caps->decoders[caps->n_decoders++] = (VideoCodedCaps) {
                .format = libav_decoders[i].format,
                .raw_mask = (1 << ARRAY_SIZE(libav_raws)) - 1,
                .max_width = libav_decoders[i].max_size,
                .max_height = libav_decoders[i].max_size,
            };
        }
    }
}

static void video_codec_libav_class_init(ObjectClass *oc, void *data)
{
    VideoCodecClass *vcc = VIDEO_CODEC_CLASS(oc);

    vcc->get_caps = video_codec_libav_get_caps;
    vcc->start = libav_start;
    vcc->stop = libav_stop;
    vcc->decode = libav_decode;
    vcc->next_picture = libav_next_picture;
    vcc->emit = libav_emit;
    vcc->flush = libav_flush;

    object_class_property_add(oc, "threads", "uint32",
                              video_codec_libav_get_threads,
                              video_codec_libav_set_threads, NULL, NULL);
    object_class_property_set_description(oc, "threads",
        "Threads per stream, at most 16; 0: one per host CPU. Each above the "
        "first delays frames by one, unless low-delay is on (default: 1)");
    object_class_property_add_bool(oc, "low-delay",
                                   video_codec_libav_get_low_delay,
                                   video_codec_libav_set_low_delay);
    object_class_property_set_description(oc, "low-delay",
        "Deliver each frame at once: for streams without reordered frames "
        "(default: off)");

    av_log_set_callback(libav_log);
}

static const TypeInfo video_codec_libav_info = {
    .name = TYPE_VIDEO_CODEC_LIBAV,
    .parent = TYPE_VIDEO_CODEC,
    .instance_size = sizeof(VideoCodecLibav),
    .instance_init = video_codec_libav_init,
    .class_init = video_codec_libav_class_init,
};
module_obj(TYPE_VIDEO_CODEC_LIBAV);

static void video_codec_libav_register_types(void)
{
    type_register_static(&video_codec_libav_info);
}

type_init(video_codec_libav_register_types);
