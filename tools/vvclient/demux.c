/*
 * vvclient: coded video out of a file
 *
 * A guest's decoder gets elementary streams whose parameter sets are in band.
 * Containers keep those elsewhere, so packets are brought into the form that
 * V4L2 asks for: Annex B for H.264 and HEVC, and for MPEG-4 part 2, MPEG-2 and
 * AV1 the headers in front of the first packet.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/virtio/virtio-video-wire.h"
#include "annexb.h"
#include "demux.h"

#include <libavcodec/bsf.h>
#include <libavformat/avformat.h>

#define VV_DEFAULT_FPS  25
#define VV_MAX_FPS      500

static const struct {
    enum AVCodecID codec_id;
    uint32_t coded_format;
    const char *filter;
} vv_codecs[] = {
    { AV_CODEC_ID_MPEG2VIDEO, VIRTIO_VIDEO_CODED_FORMAT_MPEG2 },
    { AV_CODEC_ID_MPEG4, VIRTIO_VIDEO_CODED_FORMAT_MPEG4 },
    { AV_CODEC_ID_H264, VIRTIO_VIDEO_CODED_FORMAT_H264, "h264_mp4toannexb" },
    { AV_CODEC_ID_HEVC, VIRTIO_VIDEO_CODED_FORMAT_HEVC },
    { AV_CODEC_ID_VP8, VIRTIO_VIDEO_CODED_FORMAT_VP8 },
    { AV_CODEC_ID_VP9, VIRTIO_VIDEO_CODED_FORMAT_VP9 },
    { AV_CODEC_ID_AV1, VIRTIO_VIDEO_CODED_FORMAT_AV1 },
};

typedef struct VVDemuxer {
    AVFormatContext *format;
    AVStream *stream;
    const char *filter;         /* NULL: there is none for this codec */
    AVBSFContext *bsf;
    VVHvcc hvcc;                /* headers is NULL: this is not such a file */
    GArray *packets;            /* of VVPacket */
} VVDemuxer;

static bool vv_find_codec(VVDemuxer *dm, VVMedia *media, Error **errp)
{
    for (int i = 0; i < ARRAY_SIZE(vv_codecs); i++) {
        if (vv_codecs[i].codec_id == media->codec_id) {
            media->coded_format = vv_codecs[i].coded_format;
            dm->filter = vv_codecs[i].filter;
            return true;
        }
    }
    error_setg(errp, "virtio-video has no coded format for %s",
               avcodec_get_name(media->codec_id));
    return false;
}

static bool vv_open(VVDemuxer *dm, VVMedia *media, Error **errp)
{
    AVCodecParameters *par;
    int ret;

    ret = avformat_open_input(&dm->format, media->path, NULL, NULL);
    if (ret < 0) {
        error_setg(errp, "%s", av_err2str(ret));
        return false;
    }
    ret = avformat_find_stream_info(dm->format, NULL);
    if (ret < 0) {
        error_setg(errp, "%s", av_err2str(ret));
        return false;
    }
    ret = av_find_best_stream(dm->format, AVMEDIA_TYPE_VIDEO, -1, -1, NULL, 0);
    if (ret < 0) {
        error_setg(errp, "there is no video in this file");
        return false;
    }

    dm->stream = dm->format->streams[ret];
    for (int i = 0; i < dm->format->nb_streams; i++) {
        if (i != ret) {
            dm->format->streams[i]->discard = AVDISCARD_ALL;
        }
    }
    par = dm->stream->codecpar;
    media->codec_id = par->codec_id;
    media->pix_fmt = par->format;
    media->width = par->width;
    media->height = par->height;
    media->time_base = dm->stream->time_base;
    media->frame_rate = av_guess_frame_rate(dm->format, dm->stream, NULL);
    media->sample_aspect = av_guess_sample_aspect_ratio(dm->format, dm->stream,
                                                        NULL);
    return vv_find_codec(dm, media, errp);
}

/* A filter set up for @extradata */
static int vv_open_filter(VVDemuxer *dm, const uint8_t *extradata,
                          size_t size)
{
    const AVBitStreamFilter *filter = av_bsf_get_by_name(dm->filter);
    AVCodecParameters *par;
    int ret;

    if (!filter) {
        return AVERROR_BSF_NOT_FOUND;
    }
    av_bsf_free(&dm->bsf);
    ret = av_bsf_alloc(filter, &dm->bsf);
    if (ret < 0) {
        return ret;
    }
    par = dm->bsf->par_in;
    ret = avcodec_parameters_copy(par, dm->stream->codecpar);
    if (ret < 0) {
        return ret;
    }
    av_freep(&par->extradata);
    par->extradata_size = 0;
    if (size) {
        par->extradata = av_mallocz(size + AV_INPUT_BUFFER_PADDING_SIZE);
        if (!par->extradata) {
            return AVERROR(ENOMEM);
        }
        memcpy(par->extradata, extradata, size);
        par->extradata_size = size;
    }
    dm->bsf->time_base_in = dm->stream->time_base;
    return av_bsf_init(dm->bsf);
}

/* What the container says of the codec decides how packets are converted */
static bool vv_use_extradata(VVDemuxer *dm, const uint8_t *extradata,
                             size_t size, Error **errp)
{
    int ret = 0;

    if (dm->filter) {
        ret = vv_open_filter(dm, extradata, size);
    } else if (dm->stream->codecpar->codec_id == AV_CODEC_ID_HEVC &&
               vv_is_hvcc(extradata, size)) {
        vv_hvcc_cleanup(&dm->hvcc);
        if (!vv_hvcc_parse(&dm->hvcc, extradata, size)) {
            ret = AVERROR_INVALIDDATA;
        }
    }
    if (ret < 0) {
        error_setg(errp, "the codec's header is broken: %s",
                   av_err2str(ret));
    }
    return ret >= 0;
}

/* Takes over what @pkt refers to */
static void vv_store(VVDemuxer *dm, AVPacket *pkt)
{
    VVPacket vp = {
        .av = av_packet_alloc(),
        .discard = pkt->flags & AV_PKT_FLAG_DISCARD,
    };

    av_packet_move_ref(vp.av, pkt);
    vp.data = vp.av->data;
    vp.size = vp.av->size;
    if (vp.size) {
        g_array_append_val(dm->packets, vp);
    } else {
        av_packet_free(&vp.av);
    }
}

static int vv_filter(VVDemuxer *dm, AVPacket *pkt)
{
    int ret = av_bsf_send_packet(dm->bsf, pkt);

    if (ret < 0) {
        return ret;
    }
    while ((ret = av_bsf_receive_packet(dm->bsf, pkt)) >= 0) {
        vv_store(dm, pkt);
    }
    return ret == AVERROR(EAGAIN) || ret == AVERROR_EOF ? 0 : ret;
}

static int vv_convert_hevc(VVDemuxer *dm, AVPacket *pkt)
{
    g_autoptr(GByteArray) out = vv_hevc_to_annexb(&dm->hvcc, pkt->data,
                                                  pkt->size);
    AVPacket *converted;

    if (!out) {
        return AVERROR_INVALIDDATA;
    }
    converted = av_packet_alloc();
    if (av_new_packet(converted, out->len) < 0) {
        av_packet_free(&converted);
        return AVERROR(ENOMEM);
    }
    memcpy(converted->data, out->data, out->len);
    converted->flags = pkt->flags;
    converted->pts = pkt->pts;
    vv_store(dm, converted);
    av_packet_free(&converted);
    av_packet_unref(pkt);
    return 0;
}

/* Stores what @pkt becomes.  Returns 0 or an AVERROR. */
static int vv_convert(VVDemuxer *dm, AVPacket *pkt)
{
    if (dm->bsf) {
        return vv_filter(dm, pkt);
    }
    if (dm->hvcc.headers) {
        return vv_convert_hevc(dm, pkt);
    }
    vv_store(dm, pkt);
    return 0;
}

/* A file may have several sample descriptions: conversion must follow */
static bool vv_follow_extradata(VVDemuxer *dm, AVPacket *pkt, Error **errp)
{
    size_t size;
    uint8_t *extradata = av_packet_get_side_data(pkt,
                                                 AV_PKT_DATA_NEW_EXTRADATA,
                                                 &size);

    return !extradata || !size ||
           vv_use_extradata(dm, extradata, size, errp);
}

static bool vv_read_packets(VVDemuxer *dm, VVMedia *media, Error **errp)
{
    AVPacket *pkt = av_packet_alloc();
    bool ok = true;
    int ret;

    while ((ret = av_read_frame(dm->format, pkt)) >= 0) {
        if (pkt->stream_index != dm->stream->index) {
            av_packet_unref(pkt);
            continue;
        }
        ok = vv_follow_extradata(dm, pkt, errp);
        if (!ok) {
            break;
        }
        ret = vv_convert(dm, pkt);
        if (ret < 0) {
            /* The packet is lost, as it is for ffmpeg; go on */
            g_free(media->trouble);
            media->trouble = g_strdup_printf("a packet before frame %u is "
                                             "broken: %s", dm->packets->len,
                                             av_err2str(ret));
            av_packet_unref(pkt);
        }
    }
    if (ok && ret < 0 && ret != AVERROR_EOF) {
        g_free(media->trouble);
        media->trouble = g_strdup_printf("the file breaks off after %u "
                                         "packets: %s", dm->packets->len,
                                         av_err2str(ret));
    }
    av_packet_free(&pkt);
    return ok;
}

static void vv_prepend(VVPacket *vp, const uint8_t *head, size_t len)
{
    AVPacket *av = av_packet_alloc();

    if (av_new_packet(av, len + vp->size) < 0) {
        g_error("out of memory");
    }
    memcpy(av->data, head, len);
    memcpy(av->data + len, vp->data, vp->size);
    av->pts = vp->av->pts;
    av_packet_free(&vp->av);
    vp->av = av;
    vp->data = av->data;
    vp->size = av->size;
}

/* Is there a start code 00 00 01 with one of these bytes after it? */
static bool vv_has_start_code(const uint8_t *data, size_t size, uint8_t first,
                              uint8_t last)
{
    for (size_t i = 0; i + 3 < size; i++) {
        if (!data[i] && !data[i + 1] && data[i + 2] == 1 &&
            data[i + 3] >= first && data[i + 3] <= last) {
            return true;
        }
    }
    return false;
}

/* Is there an OBU of that type in a temporal unit? */
static bool vv_has_obu(const uint8_t *data, size_t size, unsigned type)
{
    while (size) {
        size_t pos = data[0] & 4 ? 2 : 1;
        uint64_t len = 0;

        if (((data[0] >> 3) & 15) == type) {
            return true;
        }
        if (!(data[0] & 2)) {
            return false;       /* no size: the last one */
        }
        for (int shift = 0; shift < 56; shift += 7) {
            uint8_t byte;

            if (pos >= size) {
                return false;
            }
            byte = data[pos++];
            len |= (uint64_t)(byte & 0x7f) << shift;
            if (!(byte & 0x80)) {
                break;
            }
        }
        if (len > size - MIN(pos, size)) {
            return false;
        }
        data += pos + len;
        size -= pos + len;
    }
    return false;
}

#define MPEG2_SEQUENCE_HEADER   0xb3
#define MPEG4_VIDEO_OBJECT      0x00    /* 00-1f, and layers 20-2f */
#define MPEG4_VIDEO_LAYER_LAST  0x2f
#define OBU_SEQUENCE_HEADER     1
#define AV1C_HEADER_SIZE        4

/* Headers that the container keeps apart go in front of the first packet */
static void vv_prepend_headers(VVDemuxer *dm)
{
    const AVCodecParameters *par = dm->stream->codecpar;
    VVPacket *first = &g_array_index(dm->packets, VVPacket, 0);
    const uint8_t *head = par->extradata;
    size_t len = par->extradata_size;
    bool in_band = true;

    if (!len) {
        return;
    }
    switch (par->codec_id) {
    case AV_CODEC_ID_MPEG4:
        in_band = vv_has_start_code(first->data, first->size,
                                    MPEG4_VIDEO_OBJECT,
                                    MPEG4_VIDEO_LAYER_LAST);
        break;
    case AV_CODEC_ID_MPEG2VIDEO:
        in_band = vv_has_start_code(first->data, first->size,
                                    MPEG2_SEQUENCE_HEADER,
                                    MPEG2_SEQUENCE_HEADER);
        break;
    case AV_CODEC_ID_AV1:
        if (len > AV1C_HEADER_SIZE && head[0] == 0x81) {
            head += AV1C_HEADER_SIZE;
            len -= AV1C_HEADER_SIZE;
            in_band = vv_has_obu(first->data, first->size,
                                 OBU_SEQUENCE_HEADER);
        }
        break;
    default:
        break;
    }
    if (!in_band) {
        vv_prepend(first, head, len);
    }
}

static void vv_demuxer_cleanup(VVDemuxer *dm)
{
    av_bsf_free(&dm->bsf);
    vv_hvcc_cleanup(&dm->hvcc);
    avformat_close_input(&dm->format);
}

static void vv_take_packets(VVMedia *media, GArray *packets)
{
    media->n_packets = packets->len;
    media->packets = (VVPacket *)g_array_free(packets, false);
    for (unsigned i = 0; i < media->n_packets; i++) {
        media->max_packet = MAX(media->max_packet, media->packets[i].size);
    }
}

VVMedia *vv_demux(const char *path, Error **errp)
{
    g_autoptr(VVMedia) media = g_new0(VVMedia, 1);
    VVDemuxer dm = { .packets = g_array_new(false, false, sizeof(VVPacket)) };
    bool ok;

    media->path = g_strdup(path);
    ok = vv_open(&dm, media, errp) &&
         vv_use_extradata(&dm, dm.stream->codecpar->extradata,
                          dm.stream->codecpar->extradata_size, errp) &&
         vv_read_packets(&dm, media, errp);
    if (ok && dm.packets->len) {
        vv_prepend_headers(&dm);
    }
    vv_take_packets(media, dm.packets);
    vv_demuxer_cleanup(&dm);
    if (ok && !media->n_packets) {
        error_setg(errp, "there is not one whole packet of video: %s",
                   media->trouble ?: "the stream is empty");
        ok = false;
    }
    return ok ? g_steal_pointer(&media) : NULL;
}

AVRational vv_sane_rate(AVRational rate)
{
    if (rate.num > 0 && rate.den > 0 && av_q2d(rate) < VV_MAX_FPS) {
        return rate;
    }
    return (AVRational) { VV_DEFAULT_FPS, 1 };
}

void vv_media_free(VVMedia *media)
{
    if (!media) {
        return;
    }
    for (unsigned i = 0; i < media->n_packets; i++) {
        av_packet_free(&media->packets[i].av);
    }
    g_free(media->packets);
    g_free(media->path);
    g_free(media->trouble);
    g_free(media);
}
