/*
 * vvclient: the same encoder with libavcodec in this process, to compare with
 *
 * What is set here must stay as in backends/video-codec-libav-settings.c:
 * then a difference in quality is the device's fault.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "native-encode.h"
#include "reader.h"

#include <linux/v4l2-controls.h>
#include <libavcodec/avcodec.h>
#include <libavutil/dict.h>
#include <libswscale/swscale.h>

#define VV_NO_GOP       (1 << 30)
#define VV_MPEG_GOP     600
#define VV_DEF_GOP      60
#define VV_DEF_BITRATE  (4 * 1000 * 1000)

/* The controls, with a value for each */
typedef struct VVValues {
    int bitrate, max_rate;
    unsigned profile;
    unsigned level;             /* of H.264 and HEVC: number in the headers */
    unsigned gop, b_frames;
    int min_qp, max_qp;
    bool deep;
} VVValues;

typedef struct VVNativeEncoder {
    const VVNativeEncoding *enc;
    VVValues values;
    VVOutcome *outcome;
    VVReader *reader;
    AVCodecContext *avctx;
    AVFrame *frame;
    AVPacket *packet;
    VVFrame pixels;
    GByteArray *rgb;            /* the same, if it is encoded from XRGB8888 */
} VVNativeEncoder;

static uint32_t vv_value(const VVNativeEncoding *enc, VVControl control,
                         uint32_t def)
{
    return enc->known & (1u << control) ? enc->controls[control] : def;
}

/* As V4L2 counts them */
static unsigned vv_level_number(const VVNativeEncoding *enc)
{
    static const uint8_t h264[] = {
        10, 9, 11, 12, 13, 20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 52, 60,
        61, 62,
    };
    static const uint8_t hevc[] = {
        10, 20, 21, 30, 31, 40, 41, 50, 51, 52, 60, 61, 62,
    };
    unsigned level = vv_value(enc, VV_LEVEL, 0);

    switch (enc->format) {
    case VIRTIO_VIDEO_CODED_FORMAT_H264:
        return h264[MIN(level, ARRAY_SIZE(h264) - 1)];
    case VIRTIO_VIDEO_CODED_FORMAT_HEVC:
        return hevc[MIN(level, ARRAY_SIZE(hevc) - 1)];
    default:
        return 0;
    }
}

static void vv_native_values(const VVNativeEncoding *enc, VVValues *v)
{
    bool vpx = enc->format == VIRTIO_VIDEO_CODED_FORMAT_VP8 ||
               enc->format == VIRTIO_VIDEO_CODED_FORMAT_VP9;
    bool mpeg4 = enc->format == VIRTIO_VIDEO_CODED_FORMAT_MPEG4;
    bool cbr = vv_value(enc, VV_BITRATE_MODE,
                        V4L2_MPEG_VIDEO_BITRATE_MODE_CBR) ==
               V4L2_MPEG_VIDEO_BITRATE_MODE_CBR;

    v->bitrate = vv_value(enc, VV_BITRATE, VV_DEF_BITRATE);
    v->max_rate = v->bitrate * (cbr ? 1 : 2);
    v->profile = vv_value(enc, VV_PROFILE, 0);
    v->level = vv_level_number(enc);
    v->gop = vv_value(enc, VV_GOP, VV_DEF_GOP);
    v->b_frames = vv_value(enc, VV_B_FRAMES, 0);
    v->min_qp = vv_value(enc, VV_MIN_QP, mpeg4 ? 1 : 0);
    v->max_qp = vv_value(enc, VV_MAX_QP, vpx ? 63 : mpeg4 ? 31 : 51);
    v->deep = enc->fourcc == DRM_FORMAT_P010;
    switch (enc->format) {
    case VIRTIO_VIDEO_CODED_FORMAT_H264:
        if (v->profile == V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE) {
            v->b_frames = 0;
        }
        v->deep |= v->profile == V4L2_MPEG_VIDEO_H264_PROFILE_HIGH_10;
        break;
    case VIRTIO_VIDEO_CODED_FORMAT_HEVC:
        v->deep |= v->profile == V4L2_MPEG_VIDEO_HEVC_PROFILE_MAIN_10;
        break;
    case VIRTIO_VIDEO_CODED_FORMAT_VP9:
        v->deep |= v->profile == V4L2_MPEG_VIDEO_VP9_PROFILE_2;
        break;
    case VIRTIO_VIDEO_CODED_FORMAT_MPEG2:
    case VIRTIO_VIDEO_CODED_FORMAT_MPEG4:
        if (!v->profile) {
            v->b_frames = 0;
        }
        break;
    }
}

/*
 * Settings
 */

static void vv_configure_x264(const VVValues *v, AVCodecContext *avctx,
                              AVDictionary **opts)
{
    int offset = v->deep ? 12 : 0;

    avctx->gop_size = VV_NO_GOP;
    avctx->level = v->level;
    avctx->qmin = v->min_qp ? v->min_qp + offset : 0;
    avctx->qmax = v->max_qp + offset;
    if (v->deep) {
        av_dict_set(opts, "profile", "high10", 0);
    } else if (v->profile ==
               V4L2_MPEG_VIDEO_H264_PROFILE_CONSTRAINED_BASELINE) {
        av_dict_set(opts, "profile", "baseline", 0);
    } else if (v->profile == V4L2_MPEG_VIDEO_H264_PROFILE_MAIN) {
        av_dict_set(opts, "profile", "main", 0);
    } else {
        av_dict_set(opts, "profile", "high", 0);
    }
    av_dict_set(opts, "preset", "veryfast", 0);
    av_dict_set(opts, "forced-idr", "1", 0);
    av_dict_set(opts, "sc_threshold", "0", 0);
    av_dict_set(opts, "b_strategy", "0", 0);
    av_dict_set(opts, "b-pyramid", "0", 0);
    av_dict_set(opts, "mbtree", "0", 0);
    av_dict_set(opts, "rc-lookahead", "0", 0);
    av_dict_set(opts, "x264-params", "force-cfr=1:sync-lookahead=0", 0);
}

static void vv_configure_x265(const VVValues *v, AVCodecContext *avctx,
                              AVDictionary **opts)
{
    g_autofree char *params = g_strdup_printf(
        "log-level=none:info=0:keyint=-1:scenecut=0:open-gop=0:b-adapt=0:"
        "b-pyramid=0:cutree=0:sao=1:limit-sao=1:rc-lookahead=%d:level-idc=%u:"
        "wpp=0:lookahead-slices=0",
        v->b_frames ? v->b_frames + 1 : 0, v->level);

    avctx->qmin = v->min_qp;
    avctx->qmax = v->max_qp;
    av_dict_set(opts, "profile", v->deep ? "main10" : "main", 0);
    av_dict_set(opts, "preset", "superfast", 0);
    av_dict_set(opts, "forced-idr", "1", 0);
    av_dict_set(opts, "x265-params", params, 0);
}

static void vv_configure_vpx(const VVValues *v, AVCodecContext *avctx,
                             AVDictionary **opts)
{
    avctx->gop_size = avctx->keyint_min = VV_NO_GOP;
    avctx->qmin = v->min_qp;
    avctx->qmax = v->max_qp;
    if (v->max_rate == v->bitrate) {
        avctx->rc_min_rate = v->bitrate;
    }
    av_dict_set(opts, "deadline", "realtime", 0);
    av_dict_set(opts, "lag-in-frames", "0", 0);
    av_dict_set(opts, "auto-alt-ref", "0", 0);
    if (avctx->codec_id == AV_CODEC_ID_VP8) {
        avctx->profile = v->profile;
        av_dict_set(opts, "cpu-used", "-6", 0);
    } else {
        av_dict_set(opts, "cpu-used", "8", 0);
    }
}

static void vv_configure_mpeg(const VVValues *v, AVCodecContext *avctx,
                              AVDictionary **opts)
{
    avctx->gop_size = VV_MPEG_GOP;
    avctx->flags |= AV_CODEC_FLAG_CLOSED_GOP;
    av_dict_set(opts, "sc_threshold", "1000000000", 0);
    if (avctx->codec_id == AV_CODEC_ID_MPEG2VIDEO) {
        if (!v->b_frames) {
            avctx->flags |= AV_CODEC_FLAG_LOW_DELAY;
        }
        return;
    }
    avctx->flags |= AV_CODEC_FLAG_BITEXACT;
    avctx->qmin = v->min_qp;
    avctx->qmax = v->max_qp;
    av_dict_set_int(opts, "lmin", v->min_qp * FF_QP2LAMBDA, 0);
    av_dict_set_int(opts, "lmax", v->max_qp * FF_QP2LAMBDA, 0);
}

static void vv_native_configure(VVNativeEncoder *n, AVDictionary **opts)
{
    AVCodecContext *avctx = n->avctx;
    const VVValues *v = &n->values;

    avctx->width = n->reader->width;
    avctx->height = n->reader->height;
    avctx->pix_fmt = v->deep ? AV_PIX_FMT_YUV420P10 : AV_PIX_FMT_YUV420P;
    avctx->time_base = av_inv_q(n->enc->rate);
    avctx->framerate = n->enc->rate;
    avctx->thread_count = 1;
    avctx->bit_rate = v->bitrate;
    avctx->rc_max_rate = avctx->rc_buffer_size = v->max_rate;
    avctx->max_b_frames = v->b_frames;
    if (avctx->codec_id == AV_CODEC_ID_H264 ||
        avctx->codec_id == AV_CODEC_ID_HEVC ||
        avctx->codec_id == AV_CODEC_ID_MPEG4) {
        avctx->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    }
    switch (avctx->codec_id) {
    case AV_CODEC_ID_H264:
        vv_configure_x264(v, avctx, opts);
        break;
    case AV_CODEC_ID_HEVC:
        vv_configure_x265(v, avctx, opts);
        break;
    case AV_CODEC_ID_VP8:
    case AV_CODEC_ID_VP9:
        vv_configure_vpx(v, avctx, opts);
        break;
    default:
        vv_configure_mpeg(v, avctx, opts);
        break;
    }
}

static const char *vv_native_encoder_name(uint32_t format)
{
    switch (format) {
    case VIRTIO_VIDEO_CODED_FORMAT_H264:
        return "libx264";
    case VIRTIO_VIDEO_CODED_FORMAT_HEVC:
        return "libx265";
    case VIRTIO_VIDEO_CODED_FORMAT_VP8:
        return "libvpx";
    case VIRTIO_VIDEO_CODED_FORMAT_VP9:
        return "libvpx-vp9";
    case VIRTIO_VIDEO_CODED_FORMAT_MPEG2:
        return "mpeg2video";
    default:
        return "mpeg4";
    }
}

/*
 * Encoding
 */

static bool vv_native_encoder_open(VVNativeEncoder *n, Error **errp)
{
    const char *name = vv_native_encoder_name(n->enc->format);
    const AVCodec *codec = avcodec_find_encoder_by_name(name);
    AVDictionary *opts = NULL;
    int ret;

    if (!codec) {
        error_setg(errp, "libavcodec has no encoder %s here", name);
        return false;
    }
    n->avctx = avcodec_alloc_context3(codec);
    vv_native_configure(n, &opts);
    ret = avcodec_open2(n->avctx, codec, &opts);
    av_dict_free(&opts);
    if (ret < 0) {
        error_setg(errp, "cannot open libavcodec's encoder %s: %s", name,
                   av_err2str(ret));
    }
    return ret >= 0;
}

/* Headers are not in the stream, as the device puts them there itself */
static AVPacket *vv_native_packet(VVNativeEncoder *n)
{
    const size_t size = n->avctx->extradata_size;
    AVPacket *av = av_packet_alloc();

    if (!size || !(n->packet->flags & AV_PKT_FLAG_KEY)) {
        av_packet_move_ref(av, n->packet);
        return av;
    }
    if (av_new_packet(av, size + n->packet->size) < 0) {
        g_error("out of memory");
    }
    memcpy(av->data, n->avctx->extradata, size);
    memcpy(av->data + size, n->packet->data, n->packet->size);
    av_packet_unref(n->packet);
    return av;
}

static bool vv_native_collect(VVNativeEncoder *n, Error **errp)
{
    int ret;

    while ((ret = avcodec_receive_packet(n->avctx, n->packet)) >= 0) {
        VVCoded coded = { .frame = n->packet->pts };

        coded.av = vv_native_packet(n);
        if (!vv_outcome_add_coded(n->outcome, &coded, errp)) {
            return false;
        }
    }
    if (ret != AVERROR(EAGAIN) && ret != AVERROR_EOF) {
        error_setg(errp, "%s: %s", n->avctx->codec->name, av_err2str(ret));
        return false;
    }
    return true;
}

static bool vv_native_fill_yuv(VVNativeEncoder *n)
{
    for (unsigned p = 0; p < VV_FRAME_PLANES; p++) {
        const uint32_t len = vv_frame_row_bytes(&n->pixels, p);
        const uint8_t *src = vv_frame_plane(&n->pixels, p);

        for (uint32_t y = 0; y < vv_frame_rows(&n->pixels, p); y++) {
            memcpy(n->frame->data[p] + (ptrdiff_t)y * n->frame->linesize[p],
                   src + (size_t)y * len, len);
        }
    }
    return true;
}

static void vv_native_rgb_row(void *opaque, unsigned plane, uint32_t y,
                              const void *data, uint32_t len)
{
    VVNativeEncoder *n = opaque;

    g_byte_array_append(n->rgb, data, len);
}

/* What the device gets is RGB, too: to it and back costs something */
static bool vv_native_fill_rgb(VVNativeEncoder *n)
{
    const VVPlace place = { vv_native_rgb_row, n };
    AVFrame *f = n->frame;
    const int stride = 4 * f->width;
    struct SwsContext *sws;

    g_byte_array_set_size(n->rgb, 0);
    if (!vv_frame_store(&n->pixels, DRM_FORMAT_XRGB8888, &place)) {
        return false;
    }
    sws = sws_getContext(f->width, f->height, AV_PIX_FMT_BGR0, f->width,
                         f->height, f->format, SWS_BICUBIC, NULL, NULL, NULL);
    if (!sws) {
        return false;
    }
    sws_scale(sws, (const uint8_t *const[]) { n->rgb->data }, &stride, 0,
              f->height, f->data, f->linesize);
    sws_freeContext(sws);
    return true;
}

static bool vv_native_fill(VVNativeEncoder *n)
{
    return n->enc->fourcc == DRM_FORMAT_XRGB8888 ? vv_native_fill_rgb(n) :
                                                   vv_native_fill_yuv(n);
}

static bool vv_native_encode_frame(VVNativeEncoder *n, unsigned index,
                                   Error **errp)
{
    int ret;

    av_frame_unref(n->frame);
    n->frame->format = n->avctx->pix_fmt;
    n->frame->width = n->avctx->width;
    n->frame->height = n->avctx->height;
    ret = av_frame_get_buffer(n->frame, 0);
    if (ret >= 0 && !vv_native_fill(n)) {
        error_setg(errp, "libswscale cannot convert frames");
        return false;
    }
    if (ret >= 0) {
        n->frame->pts = index;
        n->frame->pict_type = index % n->values.gop ? AV_PICTURE_TYPE_NONE :
                                                      AV_PICTURE_TYPE_I;
        ret = avcodec_send_frame(n->avctx, n->frame);
    }
    if (ret < 0) {
        error_setg(errp, "%s: %s", n->avctx->codec->name, av_err2str(ret));
    }
    return ret >= 0 && vv_native_collect(n, errp);
}

static bool vv_native_encode_all(VVNativeEncoder *n, Error **errp)
{
    Error *err = NULL;
    int64_t pts;

    for (unsigned i = 0; !n->enc->limit || i < n->enc->limit; i++) {
        if (!vv_reader_next(n->reader, &n->pixels, &pts, &err)) {
            break;
        }
        vv_outcome_add_frame(n->outcome, pts);
        if (!vv_native_encode_frame(n, i, &err)) {
            break;
        }
    }
    if (err) {
        error_propagate(errp, err);
        return false;
    }
    avcodec_send_frame(n->avctx, NULL);
    return vv_native_collect(n, errp);
}

bool vv_native_encode(const VVNativeEncoding *enc, VVOutcome *o, Error **errp)
{
    VVNativeEncoder n = { .enc = enc, .outcome = o };
    bool ok;

    vv_native_values(enc, &n.values);
    n.reader = vv_reader_open(enc->source, n.values.deep ? 10 : 8, errp);
    if (!n.reader) {
        return false;
    }
    n.frame = av_frame_alloc();
    n.packet = av_packet_alloc();
    n.rgb = g_byte_array_new();
    vv_frame_init(&n.pixels);
    ok = vv_native_encoder_open(&n, errp) && vv_native_encode_all(&n, errp);
    vv_frame_cleanup(&n.pixels);
    g_byte_array_unref(n.rgb);
    av_packet_free(&n.packet);
    av_frame_free(&n.frame);
    avcodec_free_context(&n.avctx);
    vv_reader_free(n.reader);
    return ok;
}
