/*
 * vvclient: coded video into a file
 *
 * The device gives coded buffers in coding order with the number of the frame
 * each is of.  Containers want a time of decoding, too: the n-th buffer is
 * decoded at the time of the (n - delay)-th frame, where delay is how far the
 * order goes astray.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/virtio/virtio-video-wire.h"
#include "muxer.h"

#include <libavcodec/avcodec.h>
#include <libavcodec/bsf.h>
#include <libavformat/avformat.h>

/* Names that libavformat does not know, or takes for something else */
static const struct {
    const char *extension;
    const char *format;
} vv_elementary[] = {
    { ".264", "h264" }, { ".avc", "h264" },
    { ".265", "hevc" }, { ".h265", "hevc" },
    { ".m2v", "mpeg2video" },
    { ".m4v", "m4v" },
};

typedef struct VVMuxer {
    const VVMuxInfo *info;
    const GArray *coded;
    AVFormatContext *format;
    AVStream *stream;
    AVPacket *packet;
    unsigned delay;             /* frames */
    int64_t step;               /* of time from frame to frame */
} VVMuxer;

static void vv_coded_clear(gpointer data)
{
    VVCoded *coded = data;

    av_packet_free(&coded->av);
}

GArray *vv_coded_array_new(void)
{
    GArray *array = g_array_new(false, false, sizeof(VVCoded));

    g_array_set_clear_func(array, vv_coded_clear);
    return array;
}

static const AVOutputFormat *vv_mux_format(const char *path)
{
    for (int i = 0; i < ARRAY_SIZE(vv_elementary); i++) {
        if (g_str_has_suffix(path, vv_elementary[i].extension)) {
            return av_guess_format(vv_elementary[i].format, NULL, NULL);
        }
    }
    return av_guess_format(NULL, path, NULL);
}

bool vv_mux_check(const char *path, enum AVCodecID codec_id, Error **errp)
{
    const AVOutputFormat *format = vv_mux_format(path);

    if (!format) {
        error_setg(errp, "%s: no format has such a name: try .mp4, .mkv, "
                   ".webm, .ivf, .h264, .hevc, .m2v or .m4v", path);
        return false;
    }
    if (avformat_query_codec(format, codec_id, FF_COMPLIANCE_NORMAL) == 0 ||
        (format->video_codec != codec_id &&
         format->flags & AVFMT_NOTIMESTAMPS)) {
        error_setg(errp, "%s: %s cannot hold %s", path, format->name,
                   avcodec_get_name(codec_id));
        return false;
    }
    return true;
}

static int64_t vv_mux_pts(const VVMuxer *m, uint64_t frame)
{
    return g_array_index(m->info->pts, int64_t, frame);
}

/*
 * How many frames later than its place in coding order says a frame must be
 * shown at most.  Frames are numbered without gaps.
 */
static unsigned vv_mux_delay(const GArray *coded)
{
    unsigned delay = 0;

    for (unsigned i = 0; i < coded->len; i++) {
        uint64_t frame = g_array_index(coded, VVCoded, i).frame;

        if (i > frame) {
            delay = MAX(delay, i - frame);
        }
    }
    return delay;
}

static int64_t vv_mux_dts(const VVMuxer *m, unsigned index)
{
    if (index < m->delay) {
        return vv_mux_pts(m, 0) - m->step * (m->delay - index);
    }
    return vv_mux_pts(m, MIN(index - m->delay, m->info->pts->len - 1));
}

/* What stands before the first frame, which containers keep apart */
static int vv_mux_extradata(VVMuxer *m)
{
    const AVBitStreamFilter *filter = av_bsf_get_by_name("extract_extradata");
    const VVCoded *first = &g_array_index(m->coded, VVCoded, 0);
    AVCodecParameters *par = m->stream->codecpar;
    const uint8_t *data;
    AVBSFContext *bsf;
    size_t size = 0;
    int ret;

    if (!filter || par->codec_id == AV_CODEC_ID_VP8 ||
        par->codec_id == AV_CODEC_ID_VP9) {
        return 0;
    }
    ret = av_bsf_alloc(filter, &bsf);
    if (ret < 0) {
        return ret;
    }
    ret = avcodec_parameters_copy(bsf->par_in, par);
    if (ret >= 0) {
        ret = av_bsf_init(bsf);
    }
    if (ret >= 0) {
        ret = av_packet_ref(m->packet, first->av);
    }
    if (ret >= 0) {
        ret = av_bsf_send_packet(bsf, m->packet);
    }
    if (ret >= 0) {
        ret = av_bsf_receive_packet(bsf, m->packet);
    }
    if (ret >= 0) {
        data = av_packet_get_side_data(m->packet, AV_PKT_DATA_NEW_EXTRADATA,
                                       &size);
        if (data && size) {
            par->extradata = av_mallocz(size + AV_INPUT_BUFFER_PADDING_SIZE);
            memcpy(par->extradata, data, size);
            par->extradata_size = size;
        }
    }
    av_packet_unref(m->packet);
    av_bsf_free(&bsf);
    return ret;
}

static int vv_mux_begin(VVMuxer *m, const char *path)
{
    const VVMuxInfo *info = m->info;
    AVCodecParameters *par;
    int ret;

    ret = avformat_alloc_output_context2(&m->format, vv_mux_format(path), NULL,
                                         path);
    if (ret < 0) {
        return ret;
    }
    m->stream = avformat_new_stream(m->format, NULL);
    m->packet = av_packet_alloc();
    if (!m->stream || !m->packet) {
        return AVERROR(ENOMEM);
    }
    par = m->stream->codecpar;
    par->codec_type = AVMEDIA_TYPE_VIDEO;
    par->codec_id = info->codec_id;
    par->width = info->width;
    par->height = info->height;
    par->format = info->depth > 8 ? AV_PIX_FMT_YUV420P10LE :
                                    AV_PIX_FMT_YUV420P;
    par->sample_aspect_ratio = info->sample_aspect;
    par->video_delay = m->delay;
    if (info->color) {
        par->color_range = info->color->color_range;
        par->color_primaries = info->color->color_primaries;
        par->color_trc = info->color->color_trc;
        par->color_space = info->color->color_space;
        par->chroma_location = info->color->chroma_location;
    }
    m->stream->time_base = info->time_base;
    m->stream->avg_frame_rate = info->frame_rate;
    m->stream->r_frame_rate = info->frame_rate;
    m->stream->sample_aspect_ratio = info->sample_aspect;
    ret = vv_mux_extradata(m);
    if (ret < 0) {
        return ret;
    }
    ret = avio_open(&m->format->pb, path, AVIO_FLAG_WRITE);
    return ret < 0 ? ret : avformat_write_header(m->format, NULL);
}

static int vv_mux_packet(VVMuxer *m, unsigned index)
{
    const VVCoded *coded = &g_array_index(m->coded, VVCoded, index);
    int ret = av_packet_ref(m->packet, coded->av);

    if (ret < 0) {
        return ret;
    }
    m->packet->stream_index = m->stream->index;
    m->packet->pts = vv_mux_pts(m, coded->frame);
    m->packet->dts = vv_mux_dts(m, index);
    m->packet->duration = coded->frame + 1 < m->info->pts->len ?
        vv_mux_pts(m, coded->frame + 1) - m->packet->pts : m->step;
    if (coded->flags & VIRTIO_VIDEO_QUEUE_FLAG_KEY_FRAME) {
        m->packet->flags |= AV_PKT_FLAG_KEY;
    }
    av_packet_rescale_ts(m->packet, m->info->time_base, m->stream->time_base);
    return av_interleaved_write_frame(m->format, m->packet);
}

bool vv_mux_write(const char *path, const VVMuxInfo *info,
                  const GArray *coded, Error **errp)
{
    VVMuxer m = {
        .info = info,
        .coded = coded,
        .delay = vv_mux_delay(coded),
        .step = MAX(1, av_rescale_q(1, av_inv_q(info->frame_rate),
                                    info->time_base)),
    };
    int ret = vv_mux_begin(&m, path);

    for (unsigned i = 0; ret >= 0 && i < coded->len; i++) {
        ret = vv_mux_packet(&m, i);
    }
    if (ret >= 0) {
        ret = av_write_trailer(m.format);
    }
    if (m.format) {
        int closed = avio_closep(&m.format->pb);

        ret = ret < 0 ? ret : closed;
    }
    avformat_free_context(m.format);
    av_packet_free(&m.packet);
    if (ret < 0) {
        error_setg(errp, "cannot write %s: %s", path, av_err2str(ret));
    }
    return ret >= 0;
}
