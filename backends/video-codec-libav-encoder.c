/*
 * Video codec in software, with libavcodec: its encoder
 *
 * Pixels are copied, and converted where the encoder wants another format,
 * out of guest memory into a private frame, once; then the guest has its
 * buffer back.  Encoding from guest memory itself would save nothing worth
 * having: an encoder reads pixels many times and keeps frames for reference,
 * while a guest may change them at any moment; and x264, x265 and libvpx make
 * a copy of their own in any case.
 *
 * Everything here runs in the worker thread of a session and touches only
 * that session's LibavEncoder.  libavcodec may have threads of its own below
 * it (threads=); they call nothing of ours but libav_log().
 *
 * No encoder can take back what it was given, few can go on when they were
 * told to finish, and fewer can change their settings.  So what was in the
 * making at a flush is thrown away when it comes out; and where a drain or new
 * settings meet frames in the making these have to come out before the encoder
 * is opened again.  The next frame is a key frame then.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qapi/error.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "system/video-codec.h"
#include "video-codec-libav-encoder.h"

#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

/*
 * More frames than any encoder has in the making with our settings: B frames,
 * the threads of two pipelines, and a few; a power of two
 */
#define LIBAV_MAX_IN_FLIGHT 128

/* Frames kept for the next pictures; an encoder may hold some for reference */
#define LIBAV_POOL_SIZE 4

/* swscale may read a little behind a row */
#define LIBAV_STRIP_PADDING 64

typedef enum LibavEncoderState {
    LIBAV_ENC_CLOSED,           /* the next frame opens it */
    LIBAV_ENC_OPEN,
    LIBAV_ENC_ENDING,           /* it was told that there is no more */
} LibavEncoderState;

/* A frame that the encoder was given */
typedef struct LibavEncFrame {
    uint64_t timestamp;
    bool prepend;               /* headers, if it is a key frame */
    bool key;                   /* it is to be one */
    bool in_making;             /* the encoder has it */
    bool lost;                  /* nothing will come; that is still to tell */
} LibavEncFrame;

/* A session's state. */
typedef struct LibavEncoder {
    const LibavEncoderInfo *info;
    const LibavEncoderOps *ops;
    void *hw;
    unsigned threads;
    VideoCodecSession *session;
    VideoCodecParams params;
    VideoControls controls;
    LibavEncoderState state;
    bool draining;              /* tell the end of a drain when it has ended */

    AVCodecContext *avctx;
    LibavSettings settings;     /* of avctx */
    uint64_t memory;            /* bytes taken for avctx and pool */

    AVFrame *pool[LIBAV_POOL_SIZE];
    unsigned next_frame;        /* in the pool */
    AVFrame *pending;           /* to be encoded; NULL: none */
    uint8_t *strip;             /* rows on their way in */
    struct SwsContext *sws;     /* from RGB */
    int sws_pix_fmt;            /* that it makes */

    /* The encoders count frames; guests may give them any timestamp */
    int64_t n_frames;
    unsigned in_flight;
    LibavEncFrame frames[LIBAV_MAX_IN_FLIGHT];
    int64_t first_frame;        /* those before were flushed */
    int64_t last_frame;         /* that has come out, in presentation order */
    unsigned n_lost;            /* of frames */

    unsigned since_key;         /* frames since the last key frame */
    bool force_key;

    AVPacket *packet;           /* the current one, if it has data */
    GByteArray *headers;        /* parameter sets that the guest has got */
    GByteArray *with_headers;   /* packet with parameter sets before it */
} LibavEncoder;

/*
 * Pixels
 */

/* Where a row of the picture begins in a row of the guest's plane, in bytes */
static size_t libav_enc_row_offset(const VideoCodecInput *in, unsigned plane)
{
    return av_image_get_linesize(libav_raw_pix_fmt(in->fourcc), in->left,
                                 plane);
}

/* Read rows of the picture from the guest's plane. */
static bool libav_enc_read(LibavEncoder *e, const VideoCodecInput *in,
                           unsigned plane, int row, int n_rows, uint8_t *dst,
                           size_t dst_stride)
{
    enum AVPixelFormat raw = libav_raw_pix_fmt(in->fourcc);
    uint32_t top = in->top >> !!plane;

    return video_codec_input_read_rows(
        e->session, in, plane, top + row, n_rows,
        in->left ? libav_enc_row_offset(in, plane) : 0, dst, dst_stride,
        av_image_get_linesize(raw, e->params.width, plane));
}

static inline QEMU_ALWAYS_INLINE
void libav_enc_unpack8(uint8_t *dst, const uint8_t *src, int n, int step)
{
    for (int i = 0; i < n; i++) {
        dst[i] = src[i * step];
    }
}

/* 8 bits to 10 bits */
static inline QEMU_ALWAYS_INLINE
void libav_enc_widen(uint16_t *dst, const uint8_t *src, int n, int step)
{
    for (int i = 0; i < n; i++) {
        dst[i] = src[i * step] << 2;
    }
}

/* P010 has its 10 bits at the upper end */
static inline QEMU_ALWAYS_INLINE
void libav_enc_unpack10(uint16_t *dst, const uint8_t *src, int n, int step)
{
    for (int i = 0; i < n; i++) {
        dst[i] = lduw_le_p(src + 2 * i * step) >> 6;
    }
}

/*
 * To packed chroma, or to P010 of 8 bits: samples of one component to every
 * @step'th place of a row
 */
static void libav_enc_pack8(uint8_t *dst, const uint8_t *src, int n, int step)
{
    for (int i = 0; i < n; i++) {
        dst[i * step] = src[i];
    }
}

static void libav_enc_pack10(uint8_t *dst, const uint8_t *src, int n, int step)
{
    for (int i = 0; i < n; i++) {
        stw_le_p(dst + 2 * i * step, src[i] << 8);
    }
}

/* Convert rows of a YUV plane to NV12 or P010. */
static void libav_enc_pack(LibavEncoder *e, AVFrame *f, unsigned plane,
                           int row, int n_rows, size_t stride)
{
    bool deep = f->format == AV_PIX_FMT_P010LE;
    bool planar = plane && e->params.fourcc == DRM_FORMAT_YUV420;
    /* Packed chroma that only gets wider is as long as luma */
    int n = planar ? f->width >> 1 : f->width;
    size_t offset = planar ? (plane - 1) * (deep ? 2 : 1) : 0;

    for (int i = 0; i < n_rows; i++) {
        const uint8_t *src = e->strip + i * stride;
        uint8_t *dst = f->data[!!plane] + offset +
                       (ptrdiff_t)(row + i) * f->linesize[!!plane];

        if (deep) {
            libav_enc_pack10(dst, src, n, 1 + planar);
        } else {
            libav_enc_pack8(dst, src, n, 1 + planar);
        }
    }
}

/*
 * Samples of one component, every @step'th of a row, to where the encoder wants
 * them.
 */
static void libav_enc_unpack(const LibavEncoder *e, uint8_t *dst,
                             const uint8_t *src, int n, int step)
{
    bool packed = step == 2;

    if (e->params.fourcc == DRM_FORMAT_P010) {
        packed ? libav_enc_unpack10((uint16_t *)dst, src, n, 2)
               : libav_enc_unpack10((uint16_t *)dst, src, n, 1);
    } else if (e->settings.pix_fmt == AV_PIX_FMT_YUV420P10) {
        packed ? libav_enc_widen((uint16_t *)dst, src, n, 2)
               : libav_enc_widen((uint16_t *)dst, src, n, 1);
    } else {
        libav_enc_unpack8(dst, src, n, 2);
    }
}

/* Convert rows of a YUV plane that were read into e->strip. */
static void libav_enc_convert(LibavEncoder *e, AVFrame *f, unsigned plane,
                              int row, int n_rows, size_t stride)
{
    int sample = e->params.fourcc == DRM_FORMAT_P010 ? 2 : 1;
    int n = f->width >> !!plane;
    bool packed = plane && e->params.fourcc != DRM_FORMAT_YUV420;

    if (e->info->packed) {
        libav_enc_pack(e, f, plane, row, n_rows, stride);
        return;
    }
    for (int i = 0; i < n_rows; i++) {
        const uint8_t *src = e->strip + i * stride;

        for (int c = 0; c <= packed; c++) {
            uint8_t *dst = f->data[plane + c] +
                           (ptrdiff_t)(row + i) * f->linesize[plane + c];

            libav_enc_unpack(e, dst, src + c * sample, n, 1 + packed);
        }
    }
}

/* Does the encoder take this plane as the guest has it? */
static bool libav_enc_is_plain(const LibavEncoder *e, unsigned plane)
{
    enum AVPixelFormat raw = libav_raw_pix_fmt(e->params.fourcc);

    return raw == e->settings.pix_fmt ||
           (!plane && raw == AV_PIX_FMT_NV12 &&
            e->settings.pix_fmt == AV_PIX_FMT_YUV420P) ||
           (!plane && raw == AV_PIX_FMT_YUV420P &&
            e->settings.pix_fmt == AV_PIX_FMT_NV12);
}

static bool libav_enc_read_plane(LibavEncoder *e, const VideoCodecInput *in,
                                 AVFrame *f, unsigned plane)
{
    int height = f->height >> !!plane;
    size_t stride = av_image_get_linesize(libav_raw_pix_fmt(in->fourcc),
                                          f->width, plane);
    int strip_rows = MAX(LIBAV_STRIP_SIZE / stride, 1);
    bool plain = libav_enc_is_plain(e, plane);

    for (int row = 0; row < height; row += strip_rows) {
        int n = MIN(strip_rows, height - row);

        if (plain) {
            if (!libav_enc_read(e, in, plane, row, n, f->data[plane] +
                                (ptrdiff_t)row * f->linesize[plane],
                                f->linesize[plane])) {
                return false;
            }
            continue;
        }
        if (!libav_enc_read(e, in, plane, row, n, e->strip, stride)) {
            return false;
        }
        libav_enc_convert(e, f, plane, row, n, stride);
    }
    return true;
}

/* For a guest's RGB: the matrix and range that libav_set_format() signals */
static bool libav_enc_prepare_rgb(LibavEncoder *e, const AVFrame *f)
{
    if (e->sws && e->sws_pix_fmt == f->format) {
        return true;
    }
    sws_freeContext(e->sws);
    e->sws = sws_getContext(f->width, f->height, AV_PIX_FMT_BGR0,
                            f->width, f->height, f->format, SWS_BICUBIC,
                            NULL, NULL, NULL);
    e->sws_pix_fmt = f->format;
    if (e->sws) {
        sws_setColorspaceDetails(e->sws, sws_getCoefficients(SWS_CS_DEFAULT),
                                 1, sws_getCoefficients(SWS_CS_SMPTE170M), 0,
                                 0, 1 << 16, 1 << 16);
    }
    return e->sws;
}

static bool libav_enc_read_rgb(LibavEncoder *e, const VideoCodecInput *in,
                               AVFrame *f)
{
    int stride = f->width * 4;
    int strip_rows = MAX(QEMU_ALIGN_DOWN(LIBAV_STRIP_SIZE / stride, 2), 2);

    if (!libav_enc_prepare_rgb(e, f)) {
        video_codec_session_fail(e->session, "can't convert from RGB to %s",
                                 av_get_pix_fmt_name(f->format));
        return false;
    }
    for (int row = 0; row < f->height; row += strip_rows) {
        int n = MIN(strip_rows, f->height - row);
        const uint8_t *data[4] = { e->strip };
        int linesize[4] = { stride };

        if (!libav_enc_read(e, in, 0, row, n, e->strip, stride)) {
            return false;
        }
        if (sws_scale(e->sws, data, linesize, row, n, f->data,
                      f->linesize) < 0) {
            video_codec_session_fail(e->session, "can't convert a frame");
            return false;
        }
    }
    return true;
}

static bool libav_enc_read_frame(LibavEncoder *e, const VideoCodecInput *in,
                                 AVFrame *f)
{
    if (in->fourcc == DRM_FORMAT_XRGB8888) {
        return libav_enc_read_rgb(e, in, f);
    }
    for (unsigned i = 0; i < in->n_planes; i++) {
        if (!libav_enc_read_plane(e, in, f, i)) {
            return false;
        }
    }
    return true;
}

/*
 * A frame to put a picture into: of the pool, one that the encoder does not
 * hold, or a new one
 */
static AVFrame *libav_enc_begin_frame(LibavEncoder *e)
{
    AVFrame *f;

    if (e->ops->begin) {
        return e->ops->begin(e->hw);
    }
    for (unsigned i = 0; i < LIBAV_POOL_SIZE; i++) {
        f = e->pool[i];
        if (f->buf[0] && f->format == e->settings.pix_fmt &&
            av_frame_is_writable(f)) {
            return f;
        }
    }

    f = e->pool[e->next_frame++ % LIBAV_POOL_SIZE];
    av_frame_unref(f);
    f->format = e->settings.pix_fmt;
    f->width = e->params.width;
    f->height = e->params.height;
    return av_frame_get_buffer(f, 0) < 0 ? NULL : f;
}

/* The frame to encode, after that of libav_enc_begin_frame() */
static AVFrame *libav_enc_end_frame(LibavEncoder *e, AVFrame *f, bool done)
{
    if (e->ops->end) {
        return e->ops->end(e->hw, done);
    }
    return done ? f : NULL;
}

/*
 * The encoder
 */

static bool libav_enc_open(LibavEncoder *e, Error **errp)
{
    libav_settings(e->info, &e->params, &e->controls, &e->settings);
    e->memory = libav_encoder_memory(e->info, &e->params, &e->settings,
                                     e->threads);
    if (!video_codec_session_take_memory(e->session, e->memory)) {
        e->memory = 0;
        error_setg(errp, "out of memory");  /* the session said more */
        return false;
    }
    if (!video_codec_session_lose_memory(e->session, e->info->leak)) {
        error_setg(errp, "out of memory");
        return false;
    }
    e->avctx = libav_open_encoder(e->info, &e->params, &e->settings, e->ops,
                                  e->hw, errp);
    if (!e->avctx) {
        return false;
    }
    e->state = LIBAV_ENC_OPEN;
    e->force_key = true;
    return true;
}

static LibavEncFrame *libav_enc_frame(LibavEncoder *e, int64_t pts)
{
    return &e->frames[pts % LIBAV_MAX_IN_FLIGHT];
}

static void libav_enc_close(LibavEncoder *e)
{
    avcodec_free_context(&e->avctx);    /* ends all threads below us */
    for (unsigned i = 0; i < LIBAV_MAX_IN_FLIGHT; i++) {
        e->frames[i].in_making = false;
    }
    video_codec_session_give_memory(e->session, e->memory);
    e->memory = 0;
    e->state = LIBAV_ENC_CLOSED;
    e->in_flight = 0;
}

/*
 * Something has failed.  On a GPU other frames may succeed: begin again, with a
 * key frame.  All that are in the making are lost with the encoder.
 * Returns: false if the session has failed
 */
static bool libav_enc_failed(LibavEncoder *e, const char *what, int ret)
{
    if (!e->ops->recover || !e->ops->recover(e->hw, what, ret)) {
        video_codec_session_fail(e->session, "%s %s: %s", e->info->name, what,
                                 av_err2str(ret));
        return false;
    }
    for (int64_t pts = MAX(e->first_frame, e->n_frames - LIBAV_MAX_IN_FLIGHT);
         pts < e->n_frames; pts++) {
        LibavEncFrame *frame = libav_enc_frame(e, pts);

        frame->lost = frame->in_making;
        e->n_lost += frame->lost;
    }
    libav_enc_close(e);
    return true;
}

/* The next one to tell of.  There is one. */
static LibavEncFrame *libav_enc_next_lost(LibavEncoder *e)
{
    for (int64_t pts = MAX(0, e->n_frames - LIBAV_MAX_IN_FLIGHT);
         pts < e->n_frames; pts++) {
        if (libav_enc_frame(e, pts)->lost) {
            return libav_enc_frame(e, pts);
        }
    }
    g_assert_not_reached();
}

/* Let it finish what is in the making; then it will be closed. */
static void libav_enc_end(LibavEncoder *e)
{
    int ret = avcodec_send_frame(e->avctx, NULL);

    e->state = LIBAV_ENC_ENDING;
    if (ret < 0) {
        video_codec_session_fail(e->session, "%s can't finish: %s",
                                 e->avctx->codec->name, av_err2str(ret));
    }
}

/*
 * Make the open encoder do what the controls say, or open it.
 * Returns: 0; -EAGAIN while frames before have to come out first; -EIO if the
 * session has failed
 */
static int libav_enc_prepare(LibavEncoder *e)
{
    Error *err = NULL;
    LibavSettings settings;

    if (e->state == LIBAV_ENC_OPEN) {
        libav_settings(e->info, &e->params, &e->controls, &settings);
        if (!memcmp(&settings, &e->settings, sizeof(settings))) {
            return 0;
        }
        if (e->in_flight) {
            libav_enc_end(e);
            return -EAGAIN;
        }
        if (libav_change_rate(e->info, e->avctx, &e->settings, &settings)) {
            e->settings = settings;
            return 0;
        }
        libav_enc_close(e);
    }
    if (!libav_enc_open(e, &err)) {
        video_codec_session_fail(e->session, "%s", error_get_pretty(err));
        error_free(err);
        return -EIO;
    }
    return 0;
}

/* Get the picture of @in.  Returns: as libav_enc_submit() */
static int libav_enc_take(LibavEncoder *e, const VideoCodecInput *in,
                          AVFrame **frame)
{
    int ret = e->ops->take ? e->ops->take(e->hw, in, frame) : 0;
    AVFrame *f;
    bool done;

    if (ret) {
        return ret > 0 ? 0 : -ECANCELED;
    }
    f = libav_enc_begin_frame(e);
    if (!f) {
        goto failed;
    }
    done = libav_enc_read_frame(e, in, f);
    f = libav_enc_end_frame(e, f, done);
    if (!done) {
        return -ECANCELED;
    }
    if (!f) {
        goto failed;
    }
    *frame = f;
    return 0;

failed:
    if (!e->ops->recover || !e->ops->recover(e->hw, "can't take a frame",
                                              AVERROR(ENOMEM))) {
        video_codec_session_fail(e->session, "%s can't take a frame: out of "
                                 "memory", e->info->name);
    }
    return -EIO;
}

static int libav_enc_submit(void *priv, const VideoCodecInput *in)
{
    LibavEncoder *e = priv;
    AVFrame *f = NULL;
    int ret;

    if (e->pending || e->packet->data || e->n_lost || e->draining ||
        e->state == LIBAV_ENC_ENDING) {
        return -EAGAIN;
    }
    if (!in) {
        e->draining = true;
        if (e->in_flight) {
            libav_enc_end(e);   /* and the next frame opens it again */
        }
        return 0;
    }

    ret = libav_enc_prepare(e);
    if (ret) {
        return ret;
    }
    if (e->in_flight >= LIBAV_MAX_IN_FLIGHT) {
        video_codec_session_fail(e->session, "%s keeps more than %d frames",
                                 e->avctx->codec->name, LIBAV_MAX_IN_FLIGHT);
        return -EIO;
    }
    ret = libav_enc_take(e, in, &f);
    if (ret) {
        return ret;
    }

    if (e->since_key >= e->controls.value[VIDEO_CONTROL_GOP_SIZE]) {
        e->force_key = true;
    }
    f->pict_type = e->force_key ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    e->since_key = e->force_key ? 1 : e->since_key + 1;
    e->force_key = false;
    f->pts = e->n_frames++;
    *libav_enc_frame(e, f->pts) = (LibavEncFrame) {
        .timestamp = in->timestamp,
        .prepend = e->controls.value[VIDEO_CONTROL_PREPEND_HEADERS],
        .key = f->pict_type == AV_PICTURE_TYPE_I,
    };
    e->pending = f;
    return 0;
}

/* Have the encoder take the pending frame: here it encodes. */
static bool libav_enc_send(LibavEncoder *e)
{
    int ret;

    libav_enc_frame(e, e->pending->pts)->in_making = true;
    ret = avcodec_send_frame(e->avctx, e->pending);
    e->pending = NULL;
    if (ret < 0) {
        libav_enc_failed(e, "can't encode a frame", ret);
        return false;
    }
    e->in_flight++;
    return true;
}

/* Put parameter sets before the packet where they belong. */
static void libav_enc_add_headers(LibavEncoder *e)
{
    const uint8_t *data = e->avctx->extradata;
    size_t size = e->avctx->extradata_size;
    bool known;

    g_byte_array_set_size(e->with_headers, 0);
    if (!size || !(e->packet->flags & AV_PKT_FLAG_KEY)) {
        return;
    }
    known = size == e->headers->len && !memcmp(data, e->headers->data, size);
    if (known && !libav_enc_frame(e, e->packet->pts)->prepend) {
        return;
    }
    g_byte_array_append(e->with_headers, data, size);
    g_byte_array_append(e->with_headers, e->packet->data, e->packet->size);
}

/* Make e->packet the next coded buffer. Returns as VideoCodecImpl.next() */
static int libav_enc_receive(LibavEncoder *e)
{
    int ret = AVERROR_EOF;

    while (e->state != LIBAV_ENC_CLOSED) {
        ret = avcodec_receive_packet(e->avctx, e->packet);
        if (ret < 0) {
            break;
        }
        e->in_flight--;
        libav_enc_frame(e, e->packet->pts)->in_making = false;
        if (e->ops->encoded) {
            e->ops->encoded(e->hw);
        }
        if (e->packet->pts >= e->first_frame) {
            libav_enc_add_headers(e);
            return 1;
        }
    }
    if (ret != AVERROR(EAGAIN) && ret != AVERROR_EOF) {
        if (!libav_enc_failed(e, "fails", ret)) {
            return 0;
        }
        if (e->n_lost) {
            return 1;
        }
    }
    if (e->state == LIBAV_ENC_ENDING) {
        libav_enc_close(e);
    }
    if (e->draining) {
        e->draining = false;
        return -ENODATA;
    }
    return 0;
}

static int libav_enc_next(void *priv, VideoCodecFormat *format)
{
    LibavEncoder *e = priv;

    if (e->packet->data || e->n_lost) {
        return 1;
    }
    if (e->pending && !libav_enc_send(e)) {
        return e->n_lost > 0;
    }
    return libav_enc_receive(e);
}

static VideoFrameType libav_enc_frame_type(LibavEncoder *e,
                                           const AVPacket *packet)
{
    bool behind = packet->pts < e->last_frame;
    size_t size;
    const uint8_t *stats = av_packet_get_side_data(packet,
                                                   AV_PKT_DATA_QUALITY_STATS,
                                                   &size);

    e->last_frame = MAX(e->last_frame, packet->pts);
    if (packet->flags & AV_PKT_FLAG_KEY) {
        return VIDEO_FRAME_KEY;
    }
    if (stats && size > 4) {
        return stats[4] == AV_PICTURE_TYPE_B ? VIDEO_FRAME_B : VIDEO_FRAME_P;
    }
    /* Not all tell; only B frames come after what is shown after them */
    return behind ? VIDEO_FRAME_B : VIDEO_FRAME_P;
}

static bool libav_enc_emit(void *priv, VideoCodecOutput *out)
{
    LibavEncoder *e = priv;
    const uint8_t *data = e->packet->data;
    size_t size = e->packet->size;

    if (e->n_lost) {
        LibavEncFrame *frame = libav_enc_next_lost(e);

        frame->lost = false;
        e->n_lost--;
        out->corrupt = true;
        out->timestamp = frame->timestamp;
        /* Whether it would be a B frame nobody knows */
        out->frame_type = frame->key ? VIDEO_FRAME_KEY : VIDEO_FRAME_P;
        return true;
    }
    if (e->with_headers->len) {
        data = e->with_headers->data;
        size = e->with_headers->len;
    }
    if (size > out->planes[0].stride) {
        /* What follows can't be decoded without it */
        out->corrupt = true;
        e->force_key = true;
    } else {
        if (!video_codec_output_write_rows(e->session, out, 0, 0, 1, data,
                                           size, size)) {
            return false;
        }
        out->size = size;
        if (e->with_headers->len) {
            g_byte_array_set_size(e->headers, 0);
            g_byte_array_append(e->headers, e->avctx->extradata,
                                e->avctx->extradata_size);
        }
    }
    out->timestamp = libav_enc_frame(e, e->packet->pts)->timestamp;
    out->frame_type = libav_enc_frame_type(e, e->packet);
    av_packet_unref(e->packet);
    return true;
}

static void libav_enc_flush(void *priv)
{
    LibavEncoder *e = priv;

    if (e->state == LIBAV_ENC_ENDING) {
        libav_enc_close(e);
    }
    av_packet_unref(e->packet);
    e->first_frame = e->n_frames;
    e->force_key = true;
    e->pending = NULL;
    for (unsigned i = 0; i < LIBAV_MAX_IN_FLIGHT; i++) {
        e->frames[i].lost = false;
    }
    e->n_lost = 0;
    e->draining = false;
}

static void libav_enc_set_controls(void *priv, const VideoControls *controls)
{
    LibavEncoder *e = priv;

    e->controls = *controls;
    e->force_key |= controls->value[VIDEO_CONTROL_FORCE_KEY_FRAME];
}

static void libav_enc_lost(void *priv)
{
    LibavEncoder *e = priv;

    e->force_key = true;
    g_byte_array_set_size(e->headers, 0);
}

static void libav_enc_stop(void *priv)
{
    LibavEncoder *e = priv;

    libav_enc_close(e);
    av_packet_free(&e->packet);
    for (unsigned i = 0; i < LIBAV_POOL_SIZE; i++) {
        av_frame_free(&e->pool[i]);
    }
    g_free(e->strip);
    sws_freeContext(e->sws);
    g_byte_array_unref(e->headers);
    g_byte_array_unref(e->with_headers);
    if (e->ops->free) {
        e->ops->free(e->hw);
    }
    g_free(e);
}

static bool libav_enc_alloc(LibavEncoder *e)
{
    enum AVPixelFormat raw = libav_raw_pix_fmt(e->params.fourcc);
    size_t row = av_image_get_linesize(raw, e->params.width, 0);

    /* at least two rows */
    e->strip = g_try_malloc(MAX(LIBAV_STRIP_SIZE, 2 * row) +
                            LIBAV_STRIP_PADDING);
    e->packet = av_packet_alloc();
    for (unsigned i = 0; i < LIBAV_POOL_SIZE; i++) {
        e->pool[i] = av_frame_alloc();
        if (!e->pool[i]) {
            return false;
        }
    }
    return e->strip && e->packet;
}

void *libav_encoder_start(VideoCodecSession *s, const VideoCodecParams *params,
                          const LibavEncoderInfo *info,
                          const LibavEncoderOps *ops, void *hw,
                          unsigned threads, Error **errp)
{
    LibavEncoder *e = g_new0(LibavEncoder, 1);

    e->info = info;
    e->ops = ops;
    e->hw = hw;
    e->threads = threads;
    e->session = s;
    e->params = *params;
    e->controls = params->controls;
    e->headers = g_byte_array_new();
    e->with_headers = g_byte_array_new();
    if (!libav_enc_alloc(e)) {
        error_setg(errp, "out of memory");
        libav_enc_stop(e);
        return NULL;
    }
    if (!libav_enc_open(e, errp)) {
        libav_enc_stop(e);
        return NULL;
    }
    return e;
}

/*
 * In software.  LibavEncoder.hw is a LibavOptions.
 */

static bool libav_enc_software_setup(void *hw, AVCodecContext *avctx,
                                     Error **errp)
{
    const LibavOptions *options = hw;

    avctx->thread_count = libav_threads(options);
    avctx->thread_type = FF_THREAD_SLICE;
    if (!options->low_delay) {
        avctx->thread_type |= FF_THREAD_FRAME;
    }
    return true;
}

static const LibavEncoderOps libav_enc_software_ops = {
    .setup = libav_enc_software_setup,
    .free = g_free,
};

void *libav_software_encoder_start(VideoCodecSession *s,
                                   const VideoCodecParams *params,
                                   const LibavOptions *options, Error **errp)
{
    const LibavEncoderInfo *info = libav_encoder_info(params->coded);
    void *e = libav_encoder_start(s, params, info, &libav_enc_software_ops,
                                  g_memdup2(options, sizeof(*options)),
                                  libav_threads(options), errp);

    if (e) {
        video_codec_session_set_engine(s, "libavcodec %s", info->name);
    }
    return e;
}

static void *libav_enc_start(VideoCodec *codec, VideoCodecSession *s,
                             const VideoCodecParams *params, Error **errp)
{
    return libav_software_encoder_start(s, params,
                                        &VIDEO_CODEC_LIBAV(codec)->options,
                                        errp);
}

const VideoCodecImpl libav_encoder = {
    .start = libav_enc_start,
    .stop = libav_enc_stop,
    .submit = libav_enc_submit,
    .next = libav_enc_next,
    .emit = libav_enc_emit,
    .flush = libav_enc_flush,
    .set_controls = libav_enc_set_controls,
    .lost = libav_enc_lost,
};
