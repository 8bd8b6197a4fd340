/*
 * Decoding: a rebuilt packet in, and the picture into its surface
 *
 * Called by the context's worker.  The decoder keeps the reference pictures
 * itself, as the packets say what it needs to know for that; what it gives out,
 * and in which order, does not matter: the picture is in the buffer which it
 * asked for last.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

#include <string.h>

static const VvCodec *const codecs[] = {
    &vv_codec_h264, &vv_codec_hevc, &vv_codec_mpeg2, &vv_codec_jpeg,
    &vv_codec_vp8, &vv_codec_vp9, &vv_codec_av1,
};

static enum AVCodecID codec_id(VAProfile profile)
{
    switch (profile) {
    case VAProfileMPEG2Simple:
    case VAProfileMPEG2Main:
        return AV_CODEC_ID_MPEG2VIDEO;
    case VAProfileH264ConstrainedBaseline:
    case VAProfileH264Main:
    case VAProfileH264High:
        return AV_CODEC_ID_H264;
    case VAProfileHEVCMain:
    case VAProfileHEVCMain10:
        return AV_CODEC_ID_HEVC;
    case VAProfileVP8Version0_3:
        return AV_CODEC_ID_VP8;
    case VAProfileVP9Profile0:
    case VAProfileVP9Profile2:
        return AV_CODEC_ID_VP9;
    case VAProfileAV1Profile0:
        return AV_CODEC_ID_AV1;
    case VAProfileJPEGBaseline:
        return AV_CODEC_ID_MJPEG;
    default:
        return AV_CODEC_ID_NONE;
    }
}

const VvCodec *vv_codec_of(VAProfile profile)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(codecs); i++) {
        if (codecs[i]->id == codec_id(profile)) {
            return codecs[i];
        }
    }
    return NULL;
}

static int get_buffer(AVCodecContext *av, AVFrame *frame, int flags)
{
    VvDecoder *dec = av->opaque;
    int ret = avcodec_default_get_buffer2(av, frame, flags);

    if (ret == 0) {
        av_frame_unref(dec->current);
        ret = av_frame_ref(dec->current, frame);
        dec->got_buffer = true;
    }
    return ret;
}

static VvDecoder *decoder_new(const VvCodec *codec)
{
    const AVCodec *av = codec->decoder ?
        avcodec_find_decoder_by_name(codec->decoder) :
        avcodec_find_decoder(codec->id);
    VvDecoder *dec;

    if (!av) {
        return NULL;
    }
    dec = g_new0(VvDecoder, 1);
    g_atomic_ref_count_init(&dec->refs);
    g_mutex_init(&dec->lock);
    dec->codec = codec;
    dec->state = g_malloc0(codec->state_size);
    dec->packet = av_packet_alloc();
    dec->current = av_frame_alloc();
    dec->frame = av_frame_alloc();
    dec->av = avcodec_alloc_context3(av);
    dec->av->opaque = dec;
    dec->av->get_buffer2 = get_buffer;
    /* More threads would give the picture only with a later packet */
    dec->av->thread_count = 1;
    dec->av->flags = AV_CODEC_FLAG_LOW_DELAY | AV_CODEC_FLAG_OUTPUT_CORRUPT;
    dec->av->flags2 = AV_CODEC_FLAG2_SHOW_ALL;
    dec->target = VA_INVALID_SURFACE;
    if (avcodec_open2(dec->av, av, NULL) < 0) {
        vv_decoder_unref(dec);
        return NULL;
    }
    return dec;
}

static void *ref_decoder(VvDecoder *dec)
{
    g_atomic_ref_count_inc(&dec->refs);
    return dec;
}

void vv_decoder_unref(VvDecoder *dec)
{
    if (dec && g_atomic_ref_count_dec(&dec->refs)) {
        avcodec_free_context(&dec->av);
        av_packet_free(&dec->packet);
        av_frame_free(&dec->current);
        av_frame_free(&dec->frame);
        g_mutex_clear(&dec->lock);
        if (dec->codec->clear) {
            dec->codec->clear(dec->state);
        }
        g_free(dec->state);
        g_free(dec);
    }
}

/*
 * A new context may go on where another stopped, with its pictures as
 * references: the size of VP9's frames changes like that.
 */
static VvDecoder *inherit(VvContext *ctx, const VvCodec *codec, VvJob *job)
{
    VvDriver *drv = ctx->obj.drv;
    VASurfaceID refs[16];
    unsigned n = codec->references ? codec->references(job, refs) : 0;
    VvDecoder *dec = NULL;

    g_mutex_lock(&drv->lock);
    for (unsigned i = 0; i < n && !dec; i++) {
        VvSurface *s = vv_object(drv, VV_SURFACE, refs[i]);

        if (s && s->decoder && s->decoder->codec == codec) {
            dec = ref_decoder(s->decoder);
        }
    }
    g_mutex_unlock(&drv->lock);
    return dec;
}

VAStatus vv_decoder_store(VvJob *job, VvSurface *target, const AVFrame *frame)
{
    VvPixels dst, src = {
        .format = frame->format,
        .width = frame->width,
        .height = frame->height,
    };

    /* A surface may lack what is cropped, but no more */
    vv_surface_pixels(target, &dst);
    if (!frame->buf[0] || (dst.width + 15) / 16 < (src.width + 15) / 16 ||
        (dst.height + 15) / 16 < (src.height + 15) / 16) {
        return VA_STATUS_ERROR_DECODING_ERROR;
    }
    for (unsigned i = 0; i < 4; i++) {
        src.data[i] = frame->data[i];
        src.pitch[i] = frame->linesize[i];
    }
    dst.width = src.width = MIN(dst.width, src.width);
    dst.height = src.height = MIN(dst.height, src.height);
    return vv_pixels(&dst, &src) ? VA_STATUS_SUCCESS :
        VA_STATUS_ERROR_DECODING_ERROR;
}

bool vv_decoder_send(VvDecoder *dec, const GByteArray *bytes)
{
    AVFrame *next = av_frame_alloc();
    int ret;

    av_frame_unref(dec->frame);
    av_packet_unref(dec->packet);
    ret = av_new_packet(dec->packet, bytes->len);
    if (ret == 0) {
        memcpy(dec->packet->data, bytes->data, bytes->len);
        ret = avcodec_send_packet(dec->av, dec->packet);
        while (avcodec_receive_frame(dec->av, next) >= 0) {
            av_frame_unref(dec->frame);
            av_frame_move_ref(dec->frame, next);
        }
    }
    av_frame_free(&next);
    return ret >= 0;
}

static VAStatus decode_packet(VvDecoder *dec, VvJob *job)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    VAStatus status = dec->codec->build(dec->state, job, bytes);

    if (status) {
        return status;
    }
    dec->got_buffer = false;
    /* A second field is in the buffer of the first */
    if (!vv_decoder_send(dec, bytes) ||
        (!dec->got_buffer && dec->target != job->target->obj.id)) {
        return VA_STATUS_ERROR_DECODING_ERROR;
    }
    return vv_decoder_store(job, job->target, dec->current);
}

VAStatus vv_decode(VvContext *ctx, VvJob *job)
{
    VvDriver *drv = ctx->obj.drv;
    const VvCodec *codec = vv_codec_of(ctx->config->profile);
    VAStatus status;

    if (!ctx->decoder) {
        ctx->decoder = inherit(ctx, codec, job);
    }
    if (!ctx->decoder) {
        ctx->decoder = decoder_new(codec);
    }
    if (!ctx->decoder) {
        return VA_STATUS_ERROR_ALLOCATION_FAILED;
    }
    g_mutex_lock(&ctx->decoder->lock);
    status = codec->decode ? codec->decode(ctx->decoder, job) :
        decode_packet(ctx->decoder, job);
    ctx->decoder->target = job->target->obj.id;
    g_mutex_unlock(&ctx->decoder->lock);

    g_mutex_lock(&drv->lock);
    if (codec->references && job->target->decoder != ctx->decoder) {
        vv_decoder_unref(job->target->decoder);
        job->target->decoder = ref_decoder(ctx->decoder);
    }
    g_mutex_unlock(&drv->lock);
    return status;
}
