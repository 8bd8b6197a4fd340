/*
 * Video codec in software, with libavcodec: the object and its decoder
 *
 * The codec that is always there: it needs no GPU and decodes every format
 * that the guest side knows.  A decoder keeps its frames in memory of its own;
 * they are converted to the guest's raw format while they are copied out, a
 * strip of rows at a time, so that converting costs next to nothing.  The
 * encoder is in video-codec-libav-encoder.c.
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
#include "video-codec-libav.h"

#include <libavcodec/avcodec.h>
#include <libavcodec/bsf.h>
#include <libavutil/frame.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

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

/* No encoder hides so many frames; see libav_limit_dav1d() */
#define AV1_MAX_WITHOUT_FRAME 1024

typedef enum LibavDrain {
    LIBAV_DRAIN_NONE,
    LIBAV_DRAIN_STARTED,        /* libavcodec was told, it has frames left */
    LIBAV_DRAIN_DONE,           /* nothing was left in the first place */
} LibavDrain;

/* How strips of a frame are converted.  Ints only, so that memcmp() works */
typedef struct LibavConversion {
    int width, rows;            /* of a strip */
    int from, to;               /* enum AVPixelFormat */
    int colorspace, full_range; /* of @from, for RGB */
} LibavConversion;

/* A session's state. */
typedef struct LibavDecoder {
    VideoCodecSession *session;
    VideoCodecParams params;
    AVCodecContext *avctx;
    AVPacket *packet;
    LibavDrain drain;

    AVFrame *ready[LIBAV_MAX_READY];
    unsigned n_ready;           /* frames that the last input made */
    unsigned next_ready;        /* those before have been taken */
    AVFrame *current;           /* has no data: there is none */
    bool current_corrupt;
    int in_flight;              /* inputs taken less frames made */
    bool no_key;                /* no key frame has come out yet */
    bool lost;                  /* an error that no input was blamed for */
    unsigned n_bad;             /* inputs */

    LibavConversion conversion; /* what sws does */
    struct SwsContext *sws;
    AVFrame *strip;             /* converted rows on their way out */

    GByteArray *headers;        /* to go before the next input */
    AVBSFContext *av1_bsf;      /* finds sequence headers */
    GByteArray *av1_header;     /* the last one */
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
 * Pixels.  Between YUV formats samples are only moved and rounded: range and
 * matrix are the guest's matter.
 */

/* A frame's pixel format; yuvj420p is yuv420p that says it is of full range */
static enum AVPixelFormat libav_pix_fmt(const AVFrame *f)
{
    return f->format == AV_PIX_FMT_YUVJ420P ? AV_PIX_FMT_YUV420P : f->format;
}

static bool libav_pix_fmt_supported(enum AVPixelFormat format)
{
    return format == AV_PIX_FMT_YUV420P || format == AV_PIX_FMT_YUVJ420P ||
           format == AV_PIX_FMT_YUV420P10;
}

enum AVPixelFormat libav_raw_pix_fmt(uint32_t fourcc)
{
    switch (fourcc) {
    case DRM_FORMAT_NV12:
        return AV_PIX_FMT_NV12;
    case DRM_FORMAT_P010:
        return AV_PIX_FMT_P010LE;
    case DRM_FORMAT_YUV420:
        return AV_PIX_FMT_YUV420P;
    case DRM_FORMAT_XRGB8888:
        return AV_PIX_FMT_BGR0;
    default:
        g_assert_not_reached();
    }
}

/*
 * swscale's own way from 8 bits to P010 repeats the upper bits in the lower
 * ones, which moves white from 940 to 943 and grey from 512 to 514.
 */
static bool libav_must_widen(const LibavConversion *c)
{
    return c->from == AV_PIX_FMT_YUV420P && c->to == AV_PIX_FMT_P010LE;
}

/* Make P010 of NV12 that lies where the P010 will be. */
static void libav_widen(AVFrame *strip)
{
    for (int plane = 0; plane < 2; plane++) {
        for (int row = 0; row < strip->height >> plane; row++) {
            uint8_t *p = strip->data[plane] +
                         (ptrdiff_t)row * strip->linesize[plane];

            for (int i = strip->width - 1; i >= 0; i--) {
                stw_le_p(p + 2 * i, p[i] << 8);
            }
        }
    }
}

/*
 * The usual case has nothing to do for luma, so it goes from the frame into
 * the guest's memory without a strip in between.
 */
static bool libav_only_chroma(const LibavConversion *c)
{
    return c->from == AV_PIX_FMT_YUV420P && c->to == AV_PIX_FMT_NV12;
}

/* Have d->sws and d->strip as @c says. */
static bool libav_prepare_conversion(LibavDecoder *d, const LibavConversion *c)
{
    int width = c->width, rows = c->rows;
    enum AVPixelFormat from = c->from, to = c->to, strip = c->to;

    if (d->sws && !memcmp(c, &d->conversion, sizeof(*c))) {
        return true;
    }
    if (libav_only_chroma(c)) {
        /* A picture of its own, whose luma is not looked at */
        width /= 2;
        rows /= 2;
        from = AV_PIX_FMT_YUV444P;
        to = strip = AV_PIX_FMT_NV24;
    } else if (libav_must_widen(c)) {
        to = AV_PIX_FMT_NV12;
    }

    av_frame_unref(d->strip);
    d->strip->format = strip;
    d->strip->width = width;
    d->strip->height = rows;

    /*
     * Nearest neighbours: the only thing that is ever scaled is the chroma on
     * its way to RGB, and strips must not show.
     */
    sws_freeContext(d->sws);
    d->sws = sws_getContext(width, rows, from, width, rows, to, SWS_POINT,
                            NULL, NULL, NULL);
    d->conversion = *c;
    if (d->sws && c->to == AV_PIX_FMT_BGR0) {
        sws_setColorspaceDetails(d->sws, sws_getCoefficients(c->colorspace),
                                 c->full_range,
                                 sws_getCoefficients(SWS_CS_DEFAULT), 1,
                                 0, 1 << 16, 1 << 16);
    }
    return d->sws && av_frame_get_buffer(d->strip, 0) >= 0;
}

static void libav_fail_conversion(LibavDecoder *d, const LibavConversion *c)
{
    video_codec_session_fail(d->session,
                             "can't convert a frame of %dx%d from %s to %s",
                             d->current->width, d->current->height,
                             av_get_pix_fmt_name(c->from),
                             av_get_pix_fmt_name(c->to));
}

/*
 * Convert rows of a frame.  @data and @linesize say where they are, and then
 * where the result is: in d->strip, but for planes that are as they should be.
 */
static bool libav_convert(LibavDecoder *d, const LibavConversion *c,
                          const uint8_t *data[4], int linesize[4])
{
    AVFrame *strip = d->strip;
    int first = 0;              /* plane that is converted */

    if (libav_only_chroma(c)) {
        const uint8_t *chroma[4] = { data[1], data[1], data[2] };
        int chroma_linesize[4] = { linesize[1], linesize[1], linesize[2] };

        first = 1;
        if (sws_scale(d->sws, chroma, chroma_linesize, 0, strip->height,
                      strip->data, strip->linesize) != strip->height) {
            return false;
        }
    } else if (sws_scale(d->sws, data, linesize, 0, strip->height,
                         strip->data, strip->linesize) != strip->height) {
        return false;
    }
    if (libav_must_widen(c)) {
        libav_widen(strip);
    }
    for (int i = first; i < 4; i++) {
        data[i] = strip->data[i];
        linesize[i] = strip->linesize[i];
    }
    return true;
}

/*
 * Convert and write the current frame's @c->rows rows from @row on.
 * Returns: as VideoCodecImpl.emit()
 */
static bool libav_emit_strip(LibavDecoder *d, VideoCodecOutput *out,
                             const LibavConversion *c, int row)
{
    const AVFrame *f = d->current;
    int rows = MIN(c->rows, f->height - row);
    const uint8_t *data[4] = { NULL };
    int linesize[4] = { 0 };

    for (int i = 0; i < 3; i++) {
        linesize[i] = f->linesize[i];
        data[i] = f->data[i] + (ptrdiff_t)(row >> !!i) * linesize[i];
    }
    if (c->from != c->to && !libav_convert(d, c, data, linesize)) {
        libav_fail_conversion(d, c);
        return false;
    }

    for (unsigned i = 0; i < out->n_planes; i++) {
        if (!video_codec_output_write_rows(
                d->session, out, i, row >> !!i, (rows + !!i) >> !!i,
                data[i], linesize[i],
                av_image_get_linesize(c->to, f->width, i))) {
            return false;
        }
    }
    return true;
}

static bool libav_emit(void *priv, VideoCodecOutput *out)
{
    LibavDecoder *d = priv;
    AVFrame *f = d->current;
    enum AVPixelFormat to = libav_raw_pix_fmt(out->fourcc);
    int strip_rows = LIBAV_STRIP_SIZE / av_image_get_linesize(to, f->width, 0);
    /*
     * swscale mistreats odd sizes: it leaves out the last chroma of a P010 row
     * and takes the slow way to RGB.  The row and column too many are there:
     * libavcodec rounds what it allocates up to much more.
     */
    int height = ROUND_UP(f->height, 2);
    LibavConversion c = {
        .width = ROUND_UP(f->width, 2),
        /* 8 is the height of swscale's dither pattern */
        .rows = MIN(MAX(QEMU_ALIGN_DOWN(strip_rows, 8), 8), height),
        .from = libav_pix_fmt(f),
        .to = to,
        .colorspace = f->colorspace,
        .full_range = f->color_range == AVCOL_RANGE_JPEG ||
                      f->format == AV_PIX_FMT_YUVJ420P,
    };

    if (c.from != c.to && !libav_prepare_conversion(d, &c)) {
        libav_fail_conversion(d, &c);
        return false;
    }

    for (int row = 0; row < height; row += c.rows) {
        /* For swscale a strip is a picture, all of one size: they overlap */
        if (!libav_emit_strip(d, out, &c, MIN(row, height - c.rows))) {
            return false;
        }
    }

    out->timestamp = f->pts;
    out->corrupt = d->current_corrupt;
    av_frame_unref(f);
    return true;
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
    enum AVPixelFormat format = avcodec_default_get_format(avctx, formats);

    if (!libav_pix_fmt_supported(format)) {
        libav_refuse_pix_fmt(d, format);
        return AV_PIX_FMT_NONE;
    }
    if (!libav_size_allowed(d, avctx->width, avctx->height)) {
        libav_refuse_size(d, avctx->width, avctx->height);
        return AV_PIX_FMT_NONE;
    }
    return format;
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
    uint8_t *header = NULL;
    size_t size;

    d->packet->data = in->data;
    d->packet->size = in->size;
    if (av_bsf_send_packet(d->av1_bsf, d->packet) >= 0 &&
        av_bsf_receive_packet(d->av1_bsf, d->packet) >= 0) {
        header = av_packet_get_side_data(d->packet, AV_PKT_DATA_NEW_EXTRADATA,
                                         &size);
        if (header && size <= LIBAV_MAX_HEADERS) {
            g_byte_array_set_size(d->av1_header, 0);
            g_byte_array_append(d->av1_header, header, size);
        }
    }
    av_packet_unref(d->packet);
    return header;
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

    d->n_ready = d->next_ready = 0;
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

static int libav_submit(void *priv, const VideoCodecInput *in)
{
    LibavDecoder *d = priv;
    int ret, err;

    if (d->next_ready < d->n_ready || d->current->buf[0] || d->drain) {
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

/* Make d->current the next frame. Returns as VideoCodecImpl.next() does. */
static int libav_receive(LibavDecoder *d)
{
    if (d->next_ready < d->n_ready) {
        av_frame_move_ref(d->current, d->ready[d->next_ready++]);
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

static int libav_next(void *priv, VideoCodecFormat *format)
{
    LibavDecoder *d = priv;
    AVFrame *f = d->current;

    if (!f->buf[0]) {
        int ret = libav_receive(d);

        if (ret != 1) {
            return ret;
        }

        /* Not all decoders call get_format() for each new size and format */
        if (!libav_pix_fmt_supported(f->format)) {
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
        .fourcc = f->format == AV_PIX_FMT_YUV420P10 ? DRM_FORMAT_P010
                                                    : DRM_FORMAT_NV12,
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
    d->n_ready = d->next_ready = 0;
    av_frame_unref(d->current);
    libav_reset(d);
}

static void libav_stop(void *priv)
{
    LibavDecoder *d = priv;

    avcodec_free_context(&d->avctx);    /* ends all threads below us */
    av_packet_free(&d->packet);
    av_bsf_free(&d->av1_bsf);
    for (unsigned i = 0; i < LIBAV_MAX_READY; i++) {
        av_frame_free(&d->ready[i]);
    }
    av_frame_free(&d->current);
    av_frame_free(&d->strip);
    sws_freeContext(d->sws);
    g_byte_array_unref(d->headers);
    g_byte_array_unref(d->av1_header);
    g_free(d->refusal);
    qemu_mutex_destroy(&d->lock);
    g_free(d);
}

static bool libav_alloc_av1_bsf(LibavDecoder *d)
{
    const AVBitStreamFilter *filter = av_bsf_get_by_name("extract_extradata");

    if (!filter || av_bsf_alloc(filter, &d->av1_bsf) < 0) {
        return false;
    }
    d->av1_bsf->par_in->codec_id = AV_CODEC_ID_AV1;
    return av_bsf_init(d->av1_bsf) >= 0;
}

static bool libav_alloc(LibavDecoder *d, const AVCodec *codec)
{
    d->avctx = avcodec_alloc_context3(codec);
    d->packet = av_packet_alloc();
    d->current = av_frame_alloc();
    d->strip = av_frame_alloc();
    for (unsigned i = 0; i < LIBAV_MAX_READY; i++) {
        d->ready[i] = av_frame_alloc();
        if (!d->ready[i]) {
            return false;
        }
    }
    if (d->params.coded == VIDEO_CODED_AV1 && !libav_alloc_av1_bsf(d)) {
        return false;
    }
    return d->avctx && d->packet && d->current && d->strip;
}

unsigned libav_threads(const VideoCodecLibav *libav)
{
    unsigned threads = libav->threads ?: g_get_num_processors();

    return MIN(threads, LIBAV_MAX_THREADS);
}

static void libav_set_threads(AVCodecContext *avctx, VideoCodedFormat coded,
                              const VideoCodecLibav *libav)
{
    avctx->thread_count = libav_threads(libav);
    avctx->thread_type = FF_THREAD_SLICE;
    if (!libav->low_delay) {
        avctx->thread_type |= FF_THREAD_FRAME;
    } else if (coded != VIDEO_CODED_MPEG2 && coded != VIDEO_CODED_MPEG4) {
        /*
         * For those two the flag overrides what the stream says of itself:
         * frames would come in coding order.
         */
        avctx->flags |= AV_CODEC_FLAG_LOW_DELAY;
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
    libav_set_threads(d->avctx, params->coded, libav);
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
    video_codec_session_set_engine(s, "libavcodec %s", decoder->name);
    return d;
}

static const VideoCodecImpl libav_decoder = {
    .start = libav_start,
    .stop = libav_stop,
    .submit = libav_submit,
    .next = libav_next,
    .emit = libav_emit,
    .flush = libav_flush,
};

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
    libav_encoder_init_caps(caps);
}

static void video_codec_libav_class_init(ObjectClass *oc, void *data)
{
    VideoCodecClass *vcc = VIDEO_CODEC_CLASS(oc);

    vcc->get_caps = video_codec_libav_get_caps;
    vcc->decoder = &libav_decoder;
    vcc->encoder = &libav_encoder;

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
        "Never wait for more input than the stream itself demands "
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
