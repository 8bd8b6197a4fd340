/*
 * vvclient: what came out of an encoder: a file, and how good it is
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qlist.h"
#include "hw/virtio/virtio-video-wire.h"
#include "native.h"
#include "outcome.h"
#include "reader.h"
#include "vvclient.h"

#include <libavutil/video_enc_params.h>

VVOutcome *vv_outcome_new(void)
{
    VVOutcome *o = g_new0(VVOutcome, 1);

    o->coded = vv_coded_array_new();
    o->pts = g_array_new(false, false, sizeof(int64_t));
    o->mux.pts = o->pts;
    o->qps = g_array_new(false, false, sizeof(VVRange));
    o->seen = g_byte_array_new();
    return o;
}

void vv_outcome_free(VVOutcome *o)
{
    if (o) {
        g_array_unref(o->coded);
        g_array_unref(o->pts);
        g_array_unref(o->qps);
        g_byte_array_unref(o->seen);
        g_free(o);
    }
}

void vv_outcome_add_frame(VVOutcome *o, int64_t pts)
{
    const VVRange none = { INT_MAX, INT_MIN };

    g_array_append_val(o->pts, pts);
    g_array_append_val(o->qps, none);
    g_byte_array_append(o->seen, &(uint8_t) { 0 }, 1);
}

bool vv_outcome_add_coded(VVOutcome *o, const VVCoded *coded, Error **errp)
{
    VVCoded own = *coded;

    own.frame -= o->first;
    if (coded->frame < o->first || own.frame >= o->pts->len) {
        av_packet_free(&own.av);
        error_setg(errp, "coded data of frame %" PRIu64 ", which was never "
                   "sent", coded->frame);
        return false;
    }
    if (o->seen->data[own.frame]++) {
        av_packet_free(&own.av);
        error_setg(errp, "coded data of frame %" PRIu64 " for the second "
                   "time", coded->frame);
        return false;
    }
    o->keys += !!(own.flags & VIRTIO_VIDEO_QUEUE_FLAG_KEY_FRAME);
    o->p_frames += !!(own.flags & VIRTIO_VIDEO_QUEUE_FLAG_P_FRAME);
    o->b_frames += !!(own.flags & VIRTIO_VIDEO_QUEUE_FLAG_B_FRAME);
    o->bytes += own.av->size;
    g_array_append_val(o->coded, own);
    return true;
}

double vv_outcome_bitrate(const VVOutcome *o)
{
    return o->pts->len ? o->bytes * 8.0 * av_q2d(o->mux.frame_rate) /
                         o->pts->len : 0;
}

enum AVCodecID vv_codec_id(uint32_t coded_format)
{
    switch (coded_format) {
    case VIRTIO_VIDEO_CODED_FORMAT_MPEG2:
        return AV_CODEC_ID_MPEG2VIDEO;
    case VIRTIO_VIDEO_CODED_FORMAT_MPEG4:
        return AV_CODEC_ID_MPEG4;
    case VIRTIO_VIDEO_CODED_FORMAT_H264:
        return AV_CODEC_ID_H264;
    case VIRTIO_VIDEO_CODED_FORMAT_HEVC:
        return AV_CODEC_ID_HEVC;
    case VIRTIO_VIDEO_CODED_FORMAT_VP8:
        return AV_CODEC_ID_VP8;
    case VIRTIO_VIDEO_CODED_FORMAT_VP9:
        return AV_CODEC_ID_VP9;
    default:
        return AV_CODEC_ID_NONE;
    }
}

/*
 * Quality
 */

typedef struct VVMeasure {
    VVOutcome *outcome;
    const char *path;
    VVReader *reader;           /* NULL before the first frame */
    unsigned depth;             /* that it gives */
    VVFrame source;
    VVFrame decoded;
    uint64_t read;              /* frames of the source */
    Error *err;
} VVMeasure;

static void vv_measure_qp(VVOutcome *o, VVRange *range, int qp)
{
    if (o->mux.codec_id == AV_CODEC_ID_MPEG4) {
        qp /= 2;        /* libavcodec tells it in the units of MPEG-2 */
    }
    o->min_qp = o->has_qp ? MIN(o->min_qp, qp) : qp;
    o->max_qp = o->has_qp ? MAX(o->max_qp, qp) : qp;
    range->min = MIN(range->min, qp);
    range->max = MAX(range->max, qp);
    o->has_qp = true;
}

/* The quantizer of each block, as the decoder has found it */
static void vv_measure_qps(VVOutcome *o, uint64_t frame, const AVFrame *av)
{
    VVRange *range = &g_array_index(o->qps, VVRange, frame);
    const AVFrameSideData *side =
        av_frame_get_side_data(av, AV_FRAME_DATA_VIDEO_ENC_PARAMS);
    AVVideoEncParams *par = side ? (AVVideoEncParams *)side->data : NULL;

    for (unsigned i = 0; par && i < par->nb_blocks; i++) {
        vv_measure_qp(o, range, par->qp +
                      av_video_enc_params_block(par, i)->delta_qp);
    }
    if (par && !par->nb_blocks) {
        vv_measure_qp(o, range, par->qp);
    }
}

static void vv_measure_frame(const AVFrame *av, bool shown, void *opaque)
{
    VVMeasure *m = opaque;
    const GArray *coded = m->outcome->coded;
    uint64_t frame;
    int64_t pts;

    if (m->err || av->pts < 0 || av->pts >= coded->len) {
        return;
    }
    frame = g_array_index(coded, VVCoded, av->pts).frame;
    vv_measure_qps(m->outcome, frame, av);
    if (!vv_native_picture(av, &m->decoded, &m->err)) {
        return;
    }
    if (m->depth != m->decoded.depth) {
        /* To be compared at the depth that was encoded */
        vv_reader_free(m->reader);
        m->reader = vv_reader_open(m->path, m->decoded.depth, &m->err);
        m->depth = m->decoded.depth;
        m->read = 0;
    }
    while (!m->err && m->read <= frame) {
        if (!vv_reader_next(m->reader, &m->source, &pts, &m->err)) {
            if (!m->err) {
                error_setg(&m->err, "the source has no frame %" PRIu64, frame);
            }
            return;
        }
        m->read++;
    }
    if (m->err) {
        return;
    }
    if (m->read != frame + 1) {
        error_setg(&m->err, "frame %" PRIu64 " is shown too late", frame);
        return;
    }
    if (!vv_quality_add(&m->outcome->quality, &m->source, &m->decoded)) {
        error_setg(&m->err, "frame %" PRIu64 " is %ux%u of %u bits, not %ux%u "
                   "of %u", frame, m->decoded.width, m->decoded.height,
                   m->decoded.depth, m->source.width, m->source.height,
                   m->source.depth);
    }
}

static VVMedia *vv_outcome_media(const VVOutcome *o)
{
    VVMedia *media = g_new0(VVMedia, 1);

    media->codec_id = o->mux.codec_id;
    media->pix_fmt = AV_PIX_FMT_NONE;
    media->n_packets = o->coded->len;
    media->packets = g_new0(VVPacket, o->coded->len);
    for (unsigned i = 0; i < o->coded->len; i++) {
        VVPacket *p = &media->packets[i];

        p->av = av_packet_clone(g_array_index(o->coded, VVCoded, i).av);
        p->data = p->av->data;
        p->size = p->av->size;
    }
    return media;
}

bool vv_outcome_measure(VVOutcome *o, const char *source, Error **errp)
{
    g_autoptr(VVMedia) media = vv_outcome_media(o);
    VVMeasure m = { .outcome = o, .path = source };
    VVNativeResult result;
    bool ok;

    vv_frame_init(&m.source);
    vv_frame_init(&m.decoded);
    ok = vv_native_decode(media, 1, 0, AV_CODEC_EXPORT_DATA_VIDEO_ENC_PARAMS,
                          vv_measure_frame, &m, &result, errp);
    vv_reader_free(m.reader);
    vv_frame_cleanup(&m.source);
    vv_frame_cleanup(&m.decoded);
    if (ok && !m.err && (result.bad || o->quality.frames != o->coded->len)) {
        error_setg(&m.err, "%" PRIu64 " of %u frames can be decoded, with "
                   "%" PRIu64 " errors", o->quality.frames, o->coded->len,
                   result.bad);
    }
    if (m.err) {
        error_propagate_prepend(errp, m.err, "what was encoded: ");
    }
    return ok && !m.err;
}

char *vv_psnr_text(const VVQuality *q)
{
    return g_strdup_printf("PSNR %.2f dB (Y %.2f, U %.2f, V %.2f)",
                           vv_quality_psnr(q, -1), vv_quality_psnr(q, 0),
                           vv_quality_psnr(q, 1), vv_quality_psnr(q, 2));
}

static QDict *vv_psnr_json(const VVQuality *q)
{
    static const char *const names[VV_FRAME_PLANES] = { "y", "u", "v" };
    QDict *dict = qdict_new();

    vv_put_number(dict, "all", vv_quality_psnr(q, -1), 3);
    for (int i = 0; i < VV_FRAME_PLANES; i++) {
        vv_put_number(dict, names[i], vv_quality_psnr(q, i), 3);
    }
    qdict_put_int(dict, "depth", q->depth);
    return dict;
}

/*
 * Reports
 */

char *vv_outcome_text(const VVOutcome *o)
{
    return g_strdup_printf("%u key, %u P and %u B frames, %" PRIu64 " bytes, "
                           "%.1f kbit/s", o->keys, o->p_frames, o->b_frames,
                           o->bytes, vv_outcome_bitrate(o) / 1000);
}

static QList *vv_qps_json(const VVOutcome *o)
{
    QList *list = qlist_new();

    for (unsigned i = 0; i < o->qps->len; i++) {
        const VVRange *range = &g_array_index(o->qps, VVRange, i);
        QList *pair = qlist_new();

        qlist_append_int(pair, range->min);
        qlist_append_int(pair, range->max);
        qlist_append(list, pair);
    }
    return list;
}

void vv_outcome_json(const VVOutcome *o, QDict *dict)
{
    qdict_put_int(dict, "key_frames", o->keys);
    qdict_put_int(dict, "p_frames", o->p_frames);
    qdict_put_int(dict, "b_frames", o->b_frames);
    qdict_put_int(dict, "bytes", o->bytes);
    vv_put_number(dict, "bitrate", vv_outcome_bitrate(o), 1);
    if (o->quality.frames) {
        qdict_put(dict, "psnr", vv_psnr_json(&o->quality));
    }
    if (o->has_qp) {
        qdict_put_int(dict, "min_qp", o->min_qp);
        qdict_put_int(dict, "max_qp", o->max_qp);
        qdict_put(dict, "qps", vv_qps_json(o));
    }
}

/*
 * Files
 */

bool vv_outcome_write(const VVOutcome *o, const char *path, unsigned n,
                      Error **errp)
{
    const char *dot = strrchr(path, '.');
    g_autofree char *name = NULL;

    if (n < 2) {
        return vv_mux_write(path, &o->mux, o->coded, errp);
    }
    if (!dot || strchr(dot, '/')) {
        dot = path + strlen(path);
    }
    name = g_strdup_printf("%.*s-%u%s", (int)(dot - path), path, n, dot);
    return vv_mux_write(name, &o->mux, o->coded, errp);
}
