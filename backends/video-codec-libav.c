/*
 * Video codec in software, with libavcodec: the object and its decoder
 *
 * The codec that is always there: it needs no GPU and decodes every format
 * that the guest side knows.  A decoder keeps its frames in memory of its own;
 * they are converted to the guest's raw format while they are copied out, in
 * video-codec-libav-pixels.c.  The encoder is in video-codec-libav-encoder.c.
 *
 * The decoder is that of GPUs, too: what is not the same for them is in
 * LibavDecoderOps.
 *
 * Threads: functions named libav_* run in the worker thread of a session and
 * touch only that session's LibavDecoder.  libavcodec may have threads of its
 * own below it (threads=, libdav1d); what runs in them are libav_get_format(),
 * libav_get_buffer(), libav_free_buffer() and libav_log(), and what those leave
 * behind is guarded by LibavDecoder.lock.  Functions named video_codec_libav_*
 * run in the main thread and touch only the object.
 *
 * Guests hand over elementary streams, whole access units at a time, so
 * neither libavformat nor any of libavcodec's parsers is used.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"
#include "qemu/module.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "system/video-codec.h"
#include "trace.h"
#include "video-codec-libav.h"
#include "video-codec-libav-decoder.h"
#include "video-codec-libav-encoder.h"

#include <libavcodec/avcodec.h>
#include <libavcodec/bsf.h>
#include <libavutil/frame.h>
#include <libavutil/hwcontext.h>
#include <libavutil/pixdesc.h>

/* libavcodec gives up after about 40 errors without a frame in a drain */
#define LIBAV_MAX_ERRORS 256

/* Bytes of headers that may come without a picture */
#define LIBAV_MAX_HEADERS (64 * KiB)

/*
 * Frames that libdav1d holds: those to refer to, the one that is made, the one
 * that is shown; each thread may make another.
 */
#define AV1_FRAMES 10

/* No encoder hides so many frames; see libav_limit_dav1d() */
#define AV1_MAX_WITHOUT_FRAME 1024

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
#ifdef CONFIG_DAV1D
    /* Without its own library nobody knows how much memory it will take */
    { VIDEO_CODED_AV1,   "libdav1d",   LIBAV_MAX_SIZE },
#endif
    { VIDEO_CODED_MPEG2, "mpeg2video", LIBAV_MAX_SIZE },
    /* its header has 13 bits for each */
    { VIDEO_CODED_MPEG4, "mpeg4",      LIBAV_MAX_SIZE - 1 },
};

static const uint32_t libav_raws[] = {
    DRM_FORMAT_NV12, DRM_FORMAT_P010, DRM_FORMAT_YUV420, DRM_FORMAT_XRGB8888,
};

const AVCodec *libav_software_decoder(VideoCodedFormat format)
{
    for (unsigned i = 0; i < ARRAY_SIZE(libav_decoders); i++) {
        if (libav_decoders[i].format == format) {
            return avcodec_find_decoder_by_name(libav_decoders[i].decoder);
        }
    }
    return NULL;
}

bool libav_pix_fmt_supported(enum AVPixelFormat format)
{
    return format == AV_PIX_FMT_YUV420P || format == AV_PIX_FMT_YUVJ420P ||
           format == AV_PIX_FMT_YUV420P10 ||
           format == AV_PIX_FMT_NV12 || format == AV_PIX_FMT_P010LE;
}

static bool libav_is_deep(enum AVPixelFormat format)
{
    return format == AV_PIX_FMT_YUV420P10 || format == AV_PIX_FMT_P010LE;
}

/* The format of a frame's pixels, wherever they are */
static enum AVPixelFormat libav_sw_format(const AVFrame *f)
{
    return f->hw_frames_ctx ?
           ((AVHWFramesContext *)f->hw_frames_ctx->data)->sw_format :
           f->format;
}

/*
 * Write a frame that the CPU can't read; a lost one is marked, and leaves @out
 * as it is.  Returns: as libav_emit()
 */
static bool libav_emit_hardware(LibavDecoder *d, VideoCodecOutput *out)
{
    const AVFrame *f = NULL;
    bool done = true;
    int ret;

    if (d->ops->wait(d)) {
        ret = d->ops->write(d, out);
        if (ret) {
            return ret > 0;
        }
        f = d->ops->map(d);
        if (f) {
            done = libav_pixels_write(d->pixels, out, f, true);
        }
        d->ops->unmap(d);
    }
    d->current_corrupt |= !f;
    return done;
}

static bool libav_emit(void *priv, VideoCodecOutput *out)
{
    LibavDecoder *d = priv;
    const AVFrame *f = d->current;

    if (!(f->hw_frames_ctx ? libav_emit_hardware(d, out)
                           : libav_pixels_write(d->pixels, out, f, false))) {
        return false;
    }

    out->timestamp = f->pts;
    out->corrupt = d->current_corrupt;
    av_frame_unref(d->current);
    return true;
}

/*
 * What libavcodec calls back.  These run in any of its threads.
 */

void libav_refuse(LibavDecoder *d, char *reason)
{
    QEMU_LOCK_GUARD(&d->lock);
    if (d->refusal) {
        g_free(reason);
    } else {
        d->refusal = reason;
    }
}

static uint32_t libav_max_width(LibavDecoder *d, enum AVPixelFormat format)
{
    return libav_is_deep(format) ? d->params.deep_max_width
                                 : d->params.max_width;
}

static uint32_t libav_max_height(LibavDecoder *d, enum AVPixelFormat format)
{
    return libav_is_deep(format) ? d->params.deep_max_height
                                 : d->params.max_height;
}

/* @format: NONE if it is not known yet */
static void libav_refuse_size(LibavDecoder *d, enum AVPixelFormat format,
                              int width, int height)
{
    libav_refuse(d, g_strdup_printf("frame size %dx%d is beyond the limit of "
                                    "%" PRIu32 "x%" PRIu32, width, height,
                                    libav_max_width(d, format),
                                    libav_max_height(d, format)));
}

bool libav_size_allowed(LibavDecoder *d, enum AVPixelFormat format, int width,
                        int height)
{
    return width <= libav_max_width(d, format) &&
           height <= libav_max_height(d, format);
}

void libav_refuse_pix_fmt(LibavDecoder *d, int pix_fmt)
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
    enum AVPixelFormat format = d->ops->get_format(d, avctx, formats);

    if (format != AV_PIX_FMT_NONE &&
        !libav_size_allowed(d, avctx->sw_pix_fmt, avctx->width,
                            avctx->height)) {
        libav_refuse_size(d, avctx->sw_pix_fmt, avctx->width, avctx->height);
        return AV_PIX_FMT_NONE;
    }
    return format;
}

/*
 * Memory of frames.  libavcodec keeps those that nobody refers to for the next
 * ones, until frames of another size are made.  So what was taken from the
 * device's memory stays taken until then, or until the session ends.
 */

/* A frame that is in use. */
typedef struct LibavBuffer {
    LibavDecoder *decoder;
    AVBufferRef *buf;           /* libavcodec's */
    uint64_t bytes;
} LibavBuffer;

/* One more frame of @bytes. Returns: false if the session has failed */
static bool libav_take_frame(LibavDecoder *d, uint64_t bytes)
{
    uint64_t more = 0;

    QEMU_LOCK_GUARD(&d->lock);
    if (bytes != d->frame_bytes) {
        video_codec_session_give_memory(d->session,
                                        d->mem_taken - d->mem_in_use);
        d->mem_taken = d->mem_in_use;
        d->frame_bytes = bytes;
    }
    if (d->mem_in_use + bytes > d->mem_taken) {
        more = d->mem_in_use + bytes - d->mem_taken;
        if (!video_codec_session_take_memory(d->session, more)) {
            return false;
        }
    }
    d->mem_taken += more;
    d->mem_in_use += bytes;
    return true;
}

static void libav_give_frame(LibavDecoder *d, uint64_t bytes)
{
    QEMU_LOCK_GUARD(&d->lock);
    d->mem_in_use -= bytes;
    if (bytes != d->frame_bytes) {
        video_codec_session_give_memory(d->session, bytes);
        d->mem_taken -= bytes;
    }
}

/* AVBuffer's free(): nobody refers to the frame any more. */
static void libav_free_buffer(void *opaque, uint8_t *data)
{
    LibavBuffer *b = opaque;

    av_buffer_unref(&b->buf);
    libav_give_frame(b->decoder, b->bytes);
    g_free(b);
}

static uint64_t libav_frame_bytes(LibavDecoder *d, const AVFrame *f)
{
    uint64_t bytes = 0;

    if (f->hw_frames_ctx) {
        return d->ops->frame_bytes(d, f);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(f->buf) && f->buf[i]; i++) {
        bytes += f->buf[i]->size;
    }
    /* Motion vectors and the like: HEVC has most of them */
    return bytes + bytes / 2;
}

/* Some decoders keep their surfaces whatever a new header says. */
static bool libav_fits_surface(const AVCodecContext *avctx, const AVFrame *f)
{
    const AVHWFramesContext *frames;

    if (!f->hw_frames_ctx) {
        return true;
    }
    frames = (void *)f->hw_frames_ctx->data;
    return MAX(avctx->coded_width, f->width) <= frames->width &&
           MAX(avctx->coded_height, f->height) <= frames->height;
}

/*
 * AVCodecContext.get_buffer2(): as libavcodec does it, but counted.  All planes
 * of a frame are freed together, so it is enough to watch the first.
 */
static int libav_get_buffer(AVCodecContext *avctx, AVFrame *f, int flags)
{
    LibavDecoder *d = avctx->opaque;
    int ret = avcodec_default_get_buffer2(avctx, f, flags);
    uint64_t bytes;
    AVBufferRef *first;
    LibavBuffer *b;

    if (ret < 0) {
        return ret;
    }
    if (!libav_fits_surface(avctx, f)) {
        av_frame_unref(f);
        return AVERROR(EINVAL);
    }
    bytes = libav_frame_bytes(d, f);
    if (!bytes) {
        return 0;
    }
    if (!libav_take_frame(d, bytes)) {
        av_frame_unref(f);
        return AVERROR(ENOMEM);
    }

    b = g_new(LibavBuffer, 1);
    *b = (LibavBuffer) { .decoder = d, .buf = f->buf[0], .bytes = bytes };
    first = av_buffer_create(b->buf->data, b->buf->size, libav_free_buffer, b,
                             0);
    if (!first) {
        libav_give_frame(d, bytes);
        g_free(b);
        av_frame_unref(f);
        return AVERROR(ENOMEM);
    }
    f->buf[0] = first;
    return 0;
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
        libav_refuse_size(d, AV_PIX_FMT_NONE, width, height);
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

/* Something was lost: say what happened, and what libavcodec said of it */
static void libav_lost(LibavDecoder *d, const char *what)
{
    WITH_QEMU_LOCK_GUARD(&d->lock) {
        trace_video_codec_lost(d->object, d->codec->name, what,
                               d->message[0] ? d->message : "no reason given");
        d->message[0] = 0;
    }
}

/*
 * libavcodec's own decoder of AV1, which needs a GPU, crashes in version 5 if a
 * frame refers to one that is not there.  So it must begin with a key frame,
 * and does so again after a picture that has failed: its parser believes that
 * there is one, while the decoder has an older one in its place, or none.
 */
static bool libav_is_native_av1(const LibavDecoder *d)
{
    return d->params.coded == VIDEO_CODED_AV1 && !strcmp(d->codec->name, "av1");
}

/* Returns: false if @in must not get there */
static bool libav_av1_check(LibavDecoder *d, const VideoCodecInput *in)
{
    if (!d->av1_no_key ||
        libav_av1_begin(&d->av1_begun, in->data, in->size)) {
        return true;
    }
    g_byte_array_set_size(d->headers, 0);
    d->av1_need_header = true;
    WITH_QEMU_LOCK_GUARD(&d->lock) {
        pstrcpy(d->message, sizeof(d->message), "there is no key frame yet");
    }
    libav_lost(d, "bad input");
    return false;
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
    d->av1_no_key = libav_is_native_av1(d);
    d->av1_begun = LIBAV_AV1_NO_FRAME;
    if (d->ops->reset) {
        d->ops->reset(d);
    }
}

/* Make and open d->avctx. */
static bool libav_open(LibavDecoder *d, Error **errp)
{
    const VideoCodecParams *params = &d->params;
    AVCodecContext *avctx = avcodec_alloc_context3(d->codec);
    int ret;

    d->avctx = avctx;
    if (!avctx) {
        error_setg(errp, "out of memory");
        return false;
    }
    avctx->opaque = d;
    avctx->get_format = libav_get_format;
    avctx->get_buffer2 = libav_get_buffer;
    /* The guest crops: VideoCodecFormat.crop says what */
    avctx->apply_cropping = 0;
    /* Rounded up as libavcodec does; the exact limit is ours to check */
    avctx->max_pixels = (int64_t)ROUND_UP(params->max_width, 128) *
                        ROUND_UP(params->max_height, 128);
    /* Frames that can't be right are shown and marked, not swallowed */
    avctx->flags |= AV_CODEC_FLAG_OUTPUT_CORRUPT;
    if (params->coded == VIDEO_CODED_MPEG2) {
        avctx->flags2 |= AV_CODEC_FLAG2_SHOW_ALL;
    }
    if (!d->ops->open(d, errp)) {
        return false;
    }

    ret = avcodec_open2(avctx, d->codec, NULL);
    if (ret < 0) {
        error_setg(errp, "can't open libavcodec's decoder %s: %s",
                   d->codec->name, av_err2str(ret));
        return false;
    }
    return true;
}

/* Nothing is in the making.  Returns: false if the session has failed */
static bool libav_reopen(LibavDecoder *d)
{
    Error *err = NULL;

    avcodec_free_context(&d->avctx);
    if (!libav_open(d, &err)) {
        video_codec_session_fail(d->session, "%s", error_get_pretty(err));
        error_free(err);
        return false;
    }
    libav_reset(d);
    return true;
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
 * AV1 only: keep the last sequence header, the only parameter set there is,
 * with the metadata of its unit.
 * Returns: is there one in @in?  -EINVAL: all that is too large to be kept
 */
static int libav_av1_keep_header(LibavDecoder *d, const VideoCodecInput *in)
{
    uint8_t *header = NULL;
    size_t size = 0;

    d->av1_new_header = false;
    d->packet->data = in->data;
    d->packet->size = in->size;
    if (av_bsf_send_packet(d->av1_bsf, d->packet) >= 0 &&
        av_bsf_receive_packet(d->av1_bsf, d->packet) >= 0) {
        header = av_packet_get_side_data(d->packet, AV_PKT_DATA_NEW_EXTRADATA,
                                         &size);
        if (header && size <= LIBAV_MAX_HEADERS) {
            d->av1_new_header = d->av1_header->len &&
                (d->av1_header->len != size ||
                 memcmp(d->av1_header->data, header, size));
            g_byte_array_set_size(d->av1_header, 0);
            g_byte_array_append(d->av1_header, header, size);
        }
    }
    av_packet_unref(d->packet);
    return size > LIBAV_MAX_HEADERS ? -EINVAL : !!header;
}

/*
 * libdav1d only: take memory for frames of the size that @in may begin.
 * Returns: false if the session has failed
 */
static bool libav_take_dav1d_memory(LibavDecoder *d, const VideoCodecInput *in)
{
    uint64_t frames = AV1_FRAMES + d->avctx->thread_count;
    uint64_t bytes = frames * libav_av1_frame_size(in->data, in->size,
                                                   d->avctx->max_pixels);

    if (bytes <= d->mem_taken) {
        return true;
    }
    if (!video_codec_session_take_memory(d->session, bytes - d->mem_taken)) {
        return false;
    }
    d->mem_taken = bytes;
    return true;
}

/*
 * Put headers where libavcodec wants them.
 * Returns: 1 if @in was nothing but headers and waits for its picture now;
 * 0 if d->headers goes before @in; -EINVAL if there are too many headers, or
 * the session has failed.
 */
static int libav_sort_headers(LibavDecoder *d, const VideoCodecInput *in)
{
    int ret;

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
        if (!strcmp(d->codec->name, "libdav1d") &&
            !libav_take_dav1d_memory(d, in)) {
            return -EINVAL;
        }
        /* Its surfaces are those of the first header that it sees */
        if (libav_is_native_av1(d) &&
            !libav_av1_one_header(in->data, in->size)) {
            return -EINVAL;
        }
        ret = libav_av1_keep_header(d, in);
        if (libav_is_native_av1(d) && ret < 0) {
            return -EINVAL;
        }
        /* A flush keeps parameter sets, but libdav1d's does not */
        if (!ret && d->av1_need_header) {
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

bool libav_is_key(const AVFrame *f)
{
#ifdef AV_FRAME_FLAG_KEY
    return f->flags & AV_FRAME_FLAG_KEY;
#else
    return f->key_frame;
#endif
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

/* Returns: 0, or libavcodec's error */
static int libav_send(LibavDecoder *d, const VideoCodecInput *in)
{
    int ret, err;

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
    return ret < 0 ? ret : err;
}

/* Begin again with @in and the decoder that d->codec is now. */
static int libav_send_again(LibavDecoder *d, const VideoCodecInput *in)
{
    if (!libav_reopen(d)) {
        return -EIO;
    }
    if (libav_sort_headers(d, in) < 0) {
        return AVERROR(EINVAL);
    }
    return libav_send(d, in);
}

static int libav_submit(void *priv, const VideoCodecInput *in)
{
    LibavDecoder *d = priv;
    int ret;

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
    if (d->ops->must_reopen && d->ops->must_reopen(d, in) &&
        !libav_reopen(d)) {
        return -EIO;
    }
    if (!libav_av1_check(d, in)) {
        return -EINVAL;
    }
    ret = libav_send(d, in);
    if (ret < 0 && d->ops->replace && d->ops->replace(d)) {
        ret = libav_send_again(d, in);
    }
    if (d->params.coded == VIDEO_CODED_AV1) {
        libav_limit_dav1d(d);
    }
    if (libav_failed(d, ret)) {
        return -EINVAL;
    }
    if (ret < 0) {
        libav_lost(d, "bad input");
        if (libav_is_native_av1(d)) {
            libav_reset(d);
        }
        if (d->ops->bad_input) {
            d->ops->bad_input(d, in, ret);
        }
        return -EINVAL;
    }
    if (d->n_ready && libav_is_key(d->ready[0])) {
        d->av1_no_key = false;
    }
    if (d->ops->good_input) {
        d->ops->good_input(d, in);
    }
    return 0;
}

static void libav_drained(LibavDecoder *d)
{
    if (d->drain == LIBAV_DRAIN_STARTED) {
        if (d->lost) {
            libav_lost(d, "frame lost");
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

static uint32_t libav_raw_fourcc(enum AVPixelFormat format)
{
    return libav_is_deep(format) ? DRM_FORMAT_P010 : DRM_FORMAT_NV12;
}

/*
 * Before the first frame, which may wait for more input because of its place in
 * the output order: what the headers have said about it.  Later there may be
 * frames of an older format in the decoder.
 */
static void libav_tell_format(LibavDecoder *d, VideoCodecFormat *format)
{
    const AVCodecContext *avctx = d->avctx;
    int width = MAX(avctx->width, avctx->coded_width);
    int height = MAX(avctx->height, avctx->coded_height);
    /* The same format, but for frames in the GPU */
    enum AVPixelFormat pix_fmt = avctx->hwaccel ? avctx->sw_pix_fmt
                                                : avctx->pix_fmt;

    if (d->format_told || avctx->width <= 0 || avctx->height <= 0 ||
        !libav_pix_fmt_supported(pix_fmt) ||
        !libav_size_allowed(d, pix_fmt, width, height)) {
        return;
    }
    d->format_told = true;
    *format = (VideoCodecFormat) {
        .fourcc = libav_raw_fourcc(pix_fmt),
        .width = width,
        .height = height,
        .crop = { .width = avctx->width, .height = avctx->height },
    };
}

static int libav_next(void *priv, VideoCodecFormat *format)
{
    LibavDecoder *d = priv;
    AVFrame *f = d->current;

    if (!f->buf[0]) {
        int ret = libav_receive(d);

        if (ret != 1) {
            if (!ret) {
                libav_tell_format(d, format);
            }
            return ret;
        }

        /* Not all decoders call get_format() for each new size and format */
        if (!libav_pix_fmt_supported(libav_sw_format(f))) {
            libav_refuse_pix_fmt(d, libav_sw_format(f));
        } else if (!libav_size_allowed(d, libav_sw_format(f), f->width,
                                       f->height)) {
            libav_refuse_size(d, libav_sw_format(f), f->width, f->height);
        }
        if (libav_failed(d, 0)) {
            av_frame_unref(f);
            return 0;
        }

        d->current_corrupt = libav_is_corrupt(d);
    }

    d->format_told = true;
    *format = (VideoCodecFormat) {
        .fourcc = libav_raw_fourcc(libav_sw_format(f)),
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
    libav_pixels_free(d->pixels);
    if (d->ops->free) {
        d->ops->free(d);
    }
    assert(!d->mem_in_use);
    video_codec_session_give_memory(d->session, d->mem_taken);
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

static bool libav_alloc(LibavDecoder *d)
{
    d->packet = av_packet_alloc();
    d->current = av_frame_alloc();
    d->pixels = libav_pixels_new(d->session);
    for (unsigned i = 0; i < LIBAV_MAX_READY; i++) {
        d->ready[i] = av_frame_alloc();
        if (!d->ready[i]) {
            return false;
        }
    }
    if (d->params.coded == VIDEO_CODED_AV1 && !libav_alloc_av1_bsf(d)) {
        return false;
    }
    return d->packet && d->current && d->pixels;
}

void *libav_decoder_start(VideoCodec *codec, VideoCodecSession *s,
                          const VideoCodecParams *params,
                          const AVCodec *decoder, const LibavDecoderOps *ops,
                          void *hw, Error **errp)
{
    LibavDecoder *d = g_new0(LibavDecoder, 1);

    d->object = object_get_typename(OBJECT(codec));
    d->session = s;
    d->params = *params;
    d->ops = ops;
    d->hw = hw;
    d->codec = decoder;
    d->no_key = true;
    d->av1_no_key = libav_is_native_av1(d);
    d->headers = g_byte_array_new();
    d->av1_header = g_byte_array_new();
    qemu_mutex_init(&d->lock);
    if (!libav_alloc(d)) {
        error_setg(errp, "out of memory");
        libav_stop(d);
        return NULL;
    }
    if (!libav_open(d, errp)) {
        libav_stop(d);
        return NULL;
    }
    return d;
}

/*
 * In software.  LibavDecoder.hw is a LibavOptions.
 */

unsigned libav_threads(const LibavOptions *options)
{
    unsigned threads = options->threads ?: g_get_num_processors();

    return MIN(threads, LIBAV_MAX_THREADS);
}

static bool libav_software_open(LibavDecoder *d, Error **errp)
{
    const LibavOptions *options = d->hw;
    VideoCodedFormat coded = d->params.coded;
    AVCodecContext *avctx = d->avctx;

    avctx->thread_count = libav_threads(options);
    avctx->thread_type = FF_THREAD_SLICE;
    if (!options->low_delay) {
        avctx->thread_type |= FF_THREAD_FRAME;
    } else if (coded != VIDEO_CODED_MPEG2 && coded != VIDEO_CODED_MPEG4) {
        /*
         * For those two the flag overrides what the stream says of itself:
         * frames would come in coding order.
         */
        avctx->flags |= AV_CODEC_FLAG_LOW_DELAY;
    }
    if (coded == VIDEO_CODED_H264 && !options->low_delay) {
        /*
         * Where a stream does not say how far it reorders, wait as long as
         * its level allows: the alternative is to guess, and a wrong guess
         * costs frames.
         */
        avctx->strict_std_compliance = FF_COMPLIANCE_STRICT;
    }
    return true;
}

static enum AVPixelFormat
libav_software_get_format(LibavDecoder *d, AVCodecContext *avctx,
                          const enum AVPixelFormat *formats)
{
    enum AVPixelFormat format = avcodec_default_get_format(avctx, formats);

    if (!libav_pix_fmt_supported(format)) {
        libav_refuse_pix_fmt(d, format);
        return AV_PIX_FMT_NONE;
    }
    return format;
}

static void libav_software_free(LibavDecoder *d)
{
    g_free(d->hw);
}

static const LibavDecoderOps libav_software_ops = {
    .open = libav_software_open,
    .get_format = libav_software_get_format,
    .free = libav_software_free,
};

void *libav_software_start(VideoCodec *codec, VideoCodecSession *s,
                           const VideoCodecParams *params,
                           const LibavOptions *options, Error **errp)
{
    const AVCodec *decoder = libav_software_decoder(params->coded);
    LibavDecoder *d;

    if (!decoder) {
        error_setg(errp, "libavcodec has no decoder for coded format %d",
                   params->coded);
        return NULL;
    }
    d = libav_decoder_start(codec, s, params, decoder, &libav_software_ops,
                            g_memdup2(options, sizeof(*options)), errp);
    if (d) {
        video_codec_session_set_engine(s, "libavcodec %s", decoder->name);
    }
    return d;
}

static void *libav_start(VideoCodec *codec, VideoCodecSession *s,
                         const VideoCodecParams *params, Error **errp)
{
    return libav_software_start(codec, s, params,
                                &VIDEO_CODEC_LIBAV(codec)->options, errp);
}

const VideoCodecImpl libav_decoder = {
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
    visit_type_uint32(v, name, &VIDEO_CODEC_LIBAV(obj)->options.threads, errp);
}

static void video_codec_libav_set_threads(Object *obj, Visitor *v,
                                          const char *name, void *opaque,
                                          Error **errp)
{
    uint32_t value;

    if (visit_type_uint32(v, name, &value, errp) &&
        video_codec_libav_mutable(obj, name, errp)) {
        VIDEO_CODEC_LIBAV(obj)->options.threads = value;
    }
}

static bool video_codec_libav_get_low_delay(Object *obj, Error **errp)
{
    return VIDEO_CODEC_LIBAV(obj)->options.low_delay;
}

static void video_codec_libav_set_low_delay(Object *obj, bool value,
                                            Error **errp)
{
    if (video_codec_libav_mutable(obj, "low-delay", errp)) {
        VIDEO_CODEC_LIBAV(obj)->options.low_delay = value;
    }
}

void libav_software_caps(VideoCodecCaps *caps)
{
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

static void video_codec_libav_init(Object *obj)
{
    VideoCodecLibav *libav = VIDEO_CODEC_LIBAV(obj);

    libav->options.threads = 1;
    libav_software_caps(&libav->caps);
}

static void video_codec_libav_class_init(ObjectClass *oc, void *data)
{
    VideoCodecClass *vcc = VIDEO_CODEC_CLASS(oc);

    vcc->get_caps = video_codec_libav_get_caps;
    vcc->decoder = &libav_decoder;
    vcc->encoder = &libav_encoder;
    vcc->settle_controls = libav_software_settle_controls;

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
