/*
 * Encoding: libavcodec's encoders, one picture in and its bytes out
 *
 * The client decides which pictures are key frames and in which order all are
 * coded; the encoders obey, look at nothing ahead, and refer to the picture
 * before only.  They write their own headers, into the stream: those of the
 * client are read only where VA's parameters do not tell the size.
 *
 * Called by the context's worker, but for vv_encode_check().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

#include <math.h>
#include <string.h>
#include <libavutil/opt.h>

/* What the client has said so far; a change makes a new encoder */
typedef struct Settings {
    int width;
    int height;
    int qp_key;
    int qp;                     /* of other pictures */
    uint32_t bit_rate;
    uint32_t max_rate;
    uint32_t buffer_bits;
    uint32_t fps_num;
    uint32_t fps_den;
    int profile;                /* as level; MPEG-2 only */
    int level;                  /* in the codec's units; 0: the encoder's own */
} Settings;

struct VvEncoder {
    Settings set;               /* as asked for last */
    Settings opened;            /* as av has it */
    bool got_qp;                /* of a picture that is no key frame */
    AVCodecContext *av;
    AVFrame *frame;
    AVPacket *packet;
    int64_t pts;
};

static const char *encoder_name(VAProfile profile)
{
    switch (profile) {
    case VAProfileHEVCMain:
    case VAProfileHEVCMain10:
        return "libx265";
    case VAProfileVP8Version0_3:
        return "libvpx";
    case VAProfileVP9Profile0:
        return "libvpx-vp9";
    case VAProfileMPEG2Simple:
    case VAProfileMPEG2Main:
        return "mpeg2video";
    case VAProfileJPEGBaseline:
        return "mjpeg";
    default:
        return "libx264";
    }
}

#define PIC(type) vv_job_param(job, VAEncPictureParameterBufferType, \
                               sizeof(type))
#define SEQ(type) vv_job_param(job, VAEncSequenceParameterBufferType, \
                               sizeof(type))

static VABufferID coded_buffer(const VvJob *job)
{
    const VAEncPictureParameterBufferH264 *h264;
    const VAEncPictureParameterBufferHEVC *hevc;
    const VAEncPictureParameterBufferVP8 *vp8;
    const VAEncPictureParameterBufferVP9 *vp9;
    const VAEncPictureParameterBufferMPEG2 *mpeg2;
    const VAEncPictureParameterBufferJPEG *jpeg;

    switch (vv_codec_of(job->ctx->config->profile)->id) {
    case AV_CODEC_ID_H264:
        h264 = PIC(*h264);
        return h264 ? h264->coded_buf : VA_INVALID_ID;
    case AV_CODEC_ID_HEVC:
        hevc = PIC(*hevc);
        return hevc ? hevc->coded_buf : VA_INVALID_ID;
    case AV_CODEC_ID_VP8:
        vp8 = PIC(*vp8);
        return vp8 ? vp8->coded_buf : VA_INVALID_ID;
    case AV_CODEC_ID_VP9:
        vp9 = PIC(*vp9);
        return vp9 ? vp9->coded_buf : VA_INVALID_ID;
    case AV_CODEC_ID_MPEG2VIDEO:
        mpeg2 = PIC(*mpeg2);
        return mpeg2 ? mpeg2->coded_buf : VA_INVALID_ID;
    case AV_CODEC_ID_MJPEG:
        jpeg = PIC(*jpeg);
        return jpeg ? jpeg->coded_buf : VA_INVALID_ID;
    default:
        return VA_INVALID_ID;
    }
}

VAStatus vv_encode_check(VvJob *job)
{
    VvBuffer *b = vv_object(job->ctx->obj.drv, VV_BUFFER, coded_buffer(job));

    if (!b || b->type != VAEncCodedBufferType) {
        return VA_STATUS_ERROR_INVALID_BUFFER;
    }
    job->coded = vv_object_ref(b);
    return VA_STATUS_SUCCESS;
}

static void set_qp(VvEncoder *enc, bool key, int qp)
{
    if (key) {
        enc->set.qp_key = qp;
    } else {
        enc->set.qp = qp;
        enc->got_qp = true;
    }
    if (!enc->got_qp) {
        enc->set.qp = qp;
    }
}

static void set_rate(Settings *set, uint32_t bits_per_second)
{
    if (bits_per_second) {
        set->bit_rate = set->max_rate = bits_per_second;
    }
}

static VAStatus read_h264(VvEncoder *enc, const VvJob *job, bool *key)
{
    const VAEncSequenceParameterBufferH264 *seq = SEQ(*seq);
    const VAEncPictureParameterBufferH264 *pic = PIC(*pic);
    const VAEncSliceParameterBufferH264 *slice =
        vv_job_param(job, VAEncSliceParameterBufferType, sizeof(*slice));
    Settings *set = &enc->set;

    if (!slice) {
        return VA_STATUS_ERROR_INVALID_BUFFER;
    }
    if (seq) {
        set->width = seq->picture_width_in_mbs * 16;
        set->height = seq->picture_height_in_mbs * 16;
        if (seq->frame_cropping_flag) {
            set->width -= 2 * (seq->frame_crop_left_offset +
                               seq->frame_crop_right_offset);
            set->height -= 2 * (seq->frame_crop_top_offset +
                                seq->frame_crop_bottom_offset);
        }
        set->level = seq->level_idc;
        set_rate(set, seq->bits_per_second);
    }
    *key = pic->pic_fields.bits.idr_pic_flag || slice->slice_type % 5 == 2;
    set_qp(enc, *key, CLAMP(pic->pic_init_qp + slice->slice_qp_delta, 0, 51));
    return VA_STATUS_SUCCESS;
}

/* VA's parameters do not have the conformance window, the client's SPS does */
static void crop_hevc(Settings *set, const VvJob *job)
{
    const AVCodec *codec = avcodec_find_decoder(AV_CODEC_ID_HEVC);
    AVCodecContext *av;

    for (unsigned n = 0;; n++) {
        const VAEncPackedHeaderParameterBuffer *head;
        const VvParam *p =
            vv_job_nth(job, VAEncPackedHeaderParameterBufferType, n);
        const VvParam *d = vv_job_nth(job, VAEncPackedHeaderDataBufferType, n);

        if (!p || !d || p->size < sizeof(*head)) {
            return;
        }
        head = (const void *)p->data;
        if (head->type != VAEncPackedHeaderSequence) {
            continue;
        }
        av = avcodec_alloc_context3(codec);
        av->extradata_size = MIN(head->bit_length / 8,
                                 (uint64_t)d->size * d->elements);
        av->extradata = av_mallocz(av->extradata_size +
                                   AV_INPUT_BUFFER_PADDING_SIZE);
        memcpy(av->extradata, d->data, av->extradata_size);
        if (avcodec_open2(av, codec, NULL) >= 0 && av->width && av->height) {
            set->width = MIN(set->width, av->width);
            set->height = MIN(set->height, av->height);
        }
        avcodec_free_context(&av);
        return;
    }
}

static VAStatus read_hevc(VvEncoder *enc, const VvJob *job, bool *key)
{
    const VAEncSequenceParameterBufferHEVC *seq = SEQ(*seq);
    const VAEncPictureParameterBufferHEVC *pic = PIC(*pic);
    const VAEncSliceParameterBufferHEVC *slice =
        vv_job_param(job, VAEncSliceParameterBufferType, sizeof(*slice));

    if (!slice) {
        return VA_STATUS_ERROR_INVALID_BUFFER;
    }
    if (seq) {
        enc->set.width = seq->pic_width_in_luma_samples;
        enc->set.height = seq->pic_height_in_luma_samples;
        enc->set.level = seq->general_level_idc;
        crop_hevc(&enc->set, job);
        set_rate(&enc->set, seq->bits_per_second);
    }
    *key = pic->pic_fields.bits.idr_pic_flag || slice->slice_type == 2;
    set_qp(enc, *key, CLAMP((int8_t)pic->pic_init_qp + slice->slice_qp_delta,
                            0, 51));
    return VA_STATUS_SUCCESS;
}

/* libvpx counts from 0 to 63, the streams to 127 and 255 */
static VAStatus read_vp8(VvEncoder *enc, const VvJob *job, bool *key)
{
    const VAEncSequenceParameterBufferVP8 *seq = SEQ(*seq);
    const VAEncPictureParameterBufferVP8 *pic = PIC(*pic);
    const VAQMatrixBufferVP8 *q =
        vv_job_param(job, VAQMatrixBufferType, sizeof(*q));

    if (seq) {
        enc->set.width = seq->frame_width;
        enc->set.height = seq->frame_height;
        set_rate(&enc->set, seq->bits_per_second);
    }
    *key = pic->ref_flags.bits.force_kf || !pic->pic_flags.bits.frame_type;
    if (q) {
        set_qp(enc, *key, CLAMP(q->quantization_index[0] / 2, 0, 63));
    }
    return VA_STATUS_SUCCESS;
}

static VAStatus read_vp9(VvEncoder *enc, const VvJob *job, bool *key)
{
    const VAEncSequenceParameterBufferVP9 *seq = SEQ(*seq);
    const VAEncPictureParameterBufferVP9 *pic = PIC(*pic);

    enc->set.width = pic->frame_width_src;
    enc->set.height = pic->frame_height_src;
    if (seq) {
        set_rate(&enc->set, seq->bits_per_second);
    }
    *key = !pic->pic_flags.bits.frame_type || pic->pic_flags.bits.intra_only;
    set_qp(enc, *key, pic->luma_ac_qindex / 4);
    return VA_STATUS_SUCCESS;
}

static VAStatus read_mpeg2(VvEncoder *enc, const VvJob *job, bool *key)
{
    const VAEncSequenceParameterBufferMPEG2 *seq = SEQ(*seq);
    const VAEncPictureParameterBufferMPEG2 *pic = PIC(*pic);
    const VAEncSliceParameterBufferMPEG2 *slice =
        vv_job_param(job, VAEncSliceParameterBufferType, sizeof(*slice));

    if (!slice) {
        return VA_STATUS_ERROR_INVALID_BUFFER;
    }
    if (seq) {
        int both = seq->sequence_extension.bits.profile_and_level_indication;

        enc->set.width = seq->picture_width;
        enc->set.height = seq->picture_height;
        enc->set.profile = both >> 4;
        enc->set.level = both & 15;
        set_rate(&enc->set, seq->bits_per_second);
    }
    *key = pic->picture_type == VAEncPictureTypeIntra;
    set_qp(enc, *key, CLAMP(slice->quantiser_scale_code, 1, 31));
    return VA_STATUS_SUCCESS;
}

/* libjpeg's percents of the tables are libavcodec's eighths, nearly */
static VAStatus read_jpeg(VvEncoder *enc, const VvJob *job, bool *key)
{
    const VAEncPictureParameterBufferJPEG *pic = PIC(*pic);
    int quality = CLAMP((int)pic->quality, 1, 100);
    int percent = quality < 50 ? 5000 / quality : 200 - 2 * quality;

    enc->set.width = pic->picture_width;
    enc->set.height = pic->picture_height;
    *key = true;
    set_qp(enc, true, CLAMP((percent * 8 + 50) / 100, 1, 31));
    return VA_STATUS_SUCCESS;
}

static void read_misc(Settings *set, const VvParam *p)
{
    const VAEncMiscParameterBuffer *misc = (const void *)p->data;
    const VAEncMiscParameterRateControl *rc = (const void *)misc->data;
    const VAEncMiscParameterFrameRate *fps = (const void *)misc->data;
    const VAEncMiscParameterHRD *hrd = (const void *)misc->data;
    size_t size = (size_t)p->size * p->elements;

    if (size < sizeof(*misc)) {
        return;
    }
    size -= sizeof(*misc);
    if (misc->type == VAEncMiscParameterTypeRateControl &&
        size >= sizeof(*rc) && rc->bits_per_second) {
        set->max_rate = rc->bits_per_second;
        set->bit_rate = rc->target_percentage ?
            (uint64_t)rc->bits_per_second * rc->target_percentage / 100 :
            rc->bits_per_second;
    } else if (misc->type == VAEncMiscParameterTypeFrameRate &&
               size >= sizeof(*fps) && (fps->framerate & 0xffff)) {
        set->fps_num = fps->framerate & 0xffff;
        set->fps_den = MAX(fps->framerate >> 16, 1);
    } else if (misc->type == VAEncMiscParameterTypeHRD &&
               size >= sizeof(*hrd)) {
        set->buffer_bits = hrd->buffer_size;
    }
}

static VAStatus read_settings(VvEncoder *enc, const VvJob *job, bool *key)
{
    Settings *set = &enc->set;
    const VvParam *p;
    VvPixels pixels;
    VAStatus status;

    switch (vv_codec_of(job->ctx->config->profile)->id) {
    case AV_CODEC_ID_H264:
        status = read_h264(enc, job, key);
        break;
    case AV_CODEC_ID_HEVC:
        status = read_hevc(enc, job, key);
        break;
    case AV_CODEC_ID_VP8:
        status = read_vp8(enc, job, key);
        break;
    case AV_CODEC_ID_VP9:
        status = read_vp9(enc, job, key);
        break;
    case AV_CODEC_ID_MPEG2VIDEO:
        status = read_mpeg2(enc, job, key);
        break;
    default:
        status = read_jpeg(enc, job, key);
        break;
    }
    for (unsigned n = 0;
         (p = vv_job_nth(job, VAEncMiscParameterBufferType, n)); n++) {
        read_misc(set, p);
    }
    vv_surface_pixels(job->target, &pixels);
    set->width = MIN(set->width, pixels.width);
    set->height = MIN(set->height, pixels.height);
    if (status == VA_STATUS_SUCCESS && (set->width < 1 || set->height < 1)) {
        status = VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    return status;
}

static void open_cqp(VvEncoder *enc, AVDictionary **opts)
{
    AVCodecContext *av = enc->av;
    const Settings *set = &enc->set;
    double ip = pow(2, (set->qp - set->qp_key) / 6.0);
    g_autofree char *x265 = NULL;

    switch (av->codec_id) {
    case AV_CODEC_ID_H264:
        av_dict_set_int(opts, "qp", set->qp, 0);
        av->i_quant_factor = 1 / ip;
        break;
    case AV_CODEC_ID_HEVC:
        av_dict_set_int(opts, "qp", set->qp, 0);
        x265 = g_strdup_printf(":ipratio=%f", ip);
        av_dict_set(opts, "x265-params", x265, AV_DICT_APPEND);
        break;
    case AV_CODEC_ID_MPEG2VIDEO:
    case AV_CODEC_ID_MJPEG:
        av->flags |= AV_CODEC_FLAG_QSCALE;
        av->qmin = 1;
        av->global_quality = set->qp_key * FF_QP2LAMBDA;
        break;
    default:
        av->qmin = MIN(set->qp, set->qp_key);
        av->qmax = MAX(set->qp, set->qp_key);
        av->bit_rate = 1000000; /* which the quantizer overrides */
        break;
    }
}

static void open_rate(VvEncoder *enc, uint32_t rate_control)
{
    AVCodecContext *av = enc->av;
    const Settings *set = &enc->set;

    av->bit_rate = set->bit_rate;
    av->rc_max_rate = set->max_rate;
    av->rc_buffer_size = set->buffer_bits ? set->buffer_bits : set->max_rate;
    if (rate_control & VA_RC_CBR) {
        av->bit_rate = av->rc_min_rate = set->max_rate;
    }
}

/* The nearest of those that MPEG-2 has: mpeg2video refuses all others */
static AVRational mpeg2_rate(AVRational rate)
{
    static const AVRational bases[] = {
        { 24000, 1001 }, { 24, 1 }, { 25, 1 }, { 30000, 1001 }, { 30, 1 },
        { 50, 1 }, { 60000, 1001 }, { 60, 1 },
    };
    AVRational best = bases[0];

    for (unsigned i = 0; i < G_N_ELEMENTS(bases) * 4 * 32; i++) {
        AVRational q = av_mul_q(bases[i / 128],
                                (AVRational) { i / 32 % 4 + 1, i % 32 + 1 });

        if (av_nearer_q(rate, best, q) < 0) {
            best = q;
        }
    }
    return best;
}

static void open_options(VvEncoder *enc, const VvConfig *config,
                         AVDictionary **opts)
{
    g_autofree char *level = NULL;

    switch (enc->av->codec_id) {
    case AV_CODEC_ID_H264:
        enc->av->level = enc->set.level ? enc->set.level : FF_LEVEL_UNKNOWN;
        av_dict_set(opts, "preset", "veryfast", 0);
        av_dict_set(opts, "tune", "zerolatency", 0);
        av_dict_set(opts, "forced-idr", "1", 0);
        av_dict_set(opts, "x264-params", "scenecut=0:log=-1", 0);
        av_dict_set(opts, "profile",
                    config->profile == VAProfileH264High ? "high" :
                    config->profile == VAProfileH264Main ? "main" : "baseline",
                    0);
        break;
    case AV_CODEC_ID_HEVC:
        av_dict_set(opts, "preset", "ultrafast", 0);
        av_dict_set(opts, "tune", "zerolatency", 0);
        av_dict_set(opts, "forced-idr", "1", 0);
        av_dict_set(opts, "x265-params", "scenecut=0:frame-threads=1:pools=none"
                    ":repeat-headers=1:info=0:log-level=none", 0);
        /* x265 promises none for constant quantizers, which may be too fine */
        if (!(config->rate_control & VA_RC_CQP)) {
            level = g_strdup_printf(":level-idc=%d", enc->set.level / 3);
            av_dict_set(opts, "x265-params", level, AV_DICT_APPEND);
        }
        break;
    case AV_CODEC_ID_VP8:
    case AV_CODEC_ID_VP9:
        av_dict_set(opts, "deadline", "realtime", 0);
        /* A positive speed of VP8 is only the first: time decides on others */
        av_dict_set(opts, "cpu-used",
                    enc->av->codec_id == AV_CODEC_ID_VP8 ? "-6" : "6", 0);
        av_dict_set(opts, "lag-in-frames", "0", 0);
        av_dict_set(opts, "auto-alt-ref", "0", 0);
        break;
    case AV_CODEC_ID_MPEG2VIDEO:
        enc->av->profile = enc->set.profile;
        enc->av->level = enc->set.level;
        enc->av->flags |= AV_CODEC_FLAG_LOW_DELAY | AV_CODEC_FLAG_CLOSED_GOP;
        enc->av->framerate = mpeg2_rate(enc->av->framerate);
        enc->av->time_base = av_inv_q(enc->av->framerate);
        enc->av->gop_size = 600;        /* it takes no more */
        av_dict_set(opts, "sc_threshold", "1000000000", 0);
        break;
    default:
        break;
    }
}

static enum AVPixelFormat encoder_format(const VvJob *job,
                                         enum AVCodecID id)
{
    if (id == AV_CODEC_ID_MJPEG) {
        return AV_PIX_FMT_YUVJ420P;
    }
    return job->ctx->config->profile == VAProfileHEVCMain10 ?
        AV_PIX_FMT_YUV420P10LE : AV_PIX_FMT_YUV420P;
}

static VAStatus encoder_open(VvEncoder *enc, const VvJob *job)
{
    const VvConfig *config = job->ctx->config;
    const Settings *set = &enc->set;
    const AVCodec *codec =
        avcodec_find_encoder_by_name(encoder_name(config->profile));
    AVDictionary *opts = NULL;
    AVCodecContext *av;
    int ret;

    avcodec_free_context(&enc->av);
    if (!codec) {
        return VA_STATUS_ERROR_ALLOCATION_FAILED;
    }
    av = enc->av = avcodec_alloc_context3(codec);
    av->width = set->width;
    av->height = set->height;
    av->pix_fmt = encoder_format(job, codec->id);
    av->framerate = (AVRational) { set->fps_num, set->fps_den };
    av->time_base = av_inv_q(av->framerate);
    av->thread_count = 1;
    av->max_b_frames = 0;
    /* Key frames are the client's business */
    av->gop_size = av->keyint_min = codec->id == AV_CODEC_ID_MJPEG ? 1 :
        1 << 20;
    open_options(enc, config, &opts);
    if (codec->id == AV_CODEC_ID_MJPEG || (config->rate_control & VA_RC_CQP)) {
        open_cqp(enc, &opts);
    } else if (set->bit_rate) {
        open_rate(enc, config->rate_control);
    } else {
        av_dict_free(&opts);
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    ret = avcodec_open2(av, codec, &opts);
    av_dict_free(&opts);
    if (ret < 0) {
        avcodec_free_context(&enc->av);
        return VA_STATUS_ERROR_ENCODING_ERROR;
    }
    enc->opened = enc->set;
    return VA_STATUS_SUCCESS;
}

/*
 * With a rate the encoder decides on quantizers, whatever the client says; and
 * some take each frame's.
 */
static bool needs_open(VvEncoder *enc, const VvConfig *config)
{
    if (!enc->av) {
        return true;
    }
    if ((config->rate_control & (VA_RC_CBR | VA_RC_VBR)) ||
        (enc->av->flags & AV_CODEC_FLAG_QSCALE)) {
        enc->opened.qp = enc->set.qp;
        enc->opened.qp_key = enc->set.qp_key;
    }
    return memcmp(&enc->opened, &enc->set, sizeof(enc->set));
}

static VAStatus load_frame(VvEncoder *enc, const VvJob *job, bool key)
{
    AVFrame *f = enc->frame;
    VvPixels src, dst = {
        .width = enc->set.width,
        .height = enc->set.height,
    };

    av_frame_unref(f);
    f->width = dst.width;
    f->height = dst.height;
    f->format = enc->av->pix_fmt;
    if (av_frame_get_buffer(f, 0) < 0) {
        return VA_STATUS_ERROR_ALLOCATION_FAILED;
    }
    /* Surfaces do not know about range: JPEG takes the samples as they are */
    dst.format = f->format == AV_PIX_FMT_YUVJ420P ? AV_PIX_FMT_YUV420P :
        f->format;
    for (unsigned i = 0; i < 4; i++) {
        dst.data[i] = f->data[i];
        dst.pitch[i] = f->linesize[i];
    }
    vv_surface_pixels(job->target, &src);
    src.width = dst.width;
    src.height = dst.height;
    if (!vv_pixels(&dst, &src)) {
        return VA_STATUS_ERROR_ENCODING_ERROR;
    }
    f->pts = enc->pts++;
    f->pict_type = key ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_P;
    f->quality = (key ? enc->set.qp_key : enc->set.qp) * FF_QP2LAMBDA;
    return VA_STATUS_SUCCESS;
}

static void store(VvBuffer *b, const AVPacket *packet)
{
    size_t room = (size_t)b->size * b->elements;

    b->segment = (VACodedBufferSegment) {
        .size = MIN((size_t)packet->size, room),
        .status = (size_t)packet->size > room ?
            VA_CODED_BUF_STATUS_SLICE_OVERFLOW_MASK : 0,
    };
    memcpy(b->data, packet->data, b->segment.size);
}

static VvEncoder *encoder_new(void)
{
    VvEncoder *enc = g_new0(VvEncoder, 1);

    enc->frame = av_frame_alloc();
    enc->packet = av_packet_alloc();
    enc->set.fps_num = 30;
    enc->set.fps_den = 1;
    return enc;
}

VAStatus vv_encode(VvContext *ctx, VvJob *job)
{
    VvEncoder *enc = ctx->encoder;
    VAStatus status;
    bool key = false;

    if (!enc) {
        enc = ctx->encoder = encoder_new();
    }
    job->coded->segment = (VACodedBufferSegment) { };
    status = read_settings(enc, job, &key);
    if (status == VA_STATUS_SUCCESS && needs_open(enc, ctx->config)) {
        status = encoder_open(enc, job);
    }
    if (status == VA_STATUS_SUCCESS) {
        status = load_frame(enc, job, key);
    }
    if (status) {
        return status;
    }
    av_packet_unref(enc->packet);
    if (avcodec_send_frame(enc->av, enc->frame) < 0 ||
        avcodec_receive_packet(enc->av, enc->packet) < 0) {
        return VA_STATUS_ERROR_ENCODING_ERROR;
    }
    store(job->coded, enc->packet);
    return VA_STATUS_SUCCESS;
}

void vv_encoder_free(VvEncoder *enc)
{
    if (enc) {
        avcodec_free_context(&enc->av);
        av_frame_free(&enc->frame);
        av_packet_free(&enc->packet);
        g_free(enc);
    }
}
