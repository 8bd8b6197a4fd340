/*
 * vvclient transcode: a decoder and an encoder stream of one device at once
 *
 * Where both streams can have the same layout of frames the decoder's output
 * buffers are the encoder's input buffers: the same guest memory is attached
 * to both.  The decoder gets a buffer back only when the encoder has done with
 * it.  Else frames are copied from one stream's memory to the other's.
 *
 * When the size of the frames changes, the encoder is drained and begins anew
 * with the new size, and so does the file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "decode.h"
#include "encode.h"
#include "options.h"
#include "outcome.h"
#include "report.h"

#include <libavutil/mathematics.h>
#include <libavutil/pixdesc.h>

#define VV_DECODER_ID   0
#define VV_ENCODER_ID   1
#define VV_COPIES       6

typedef struct VVTranscode {
    const VVArgs *args;
    VVGuest *guest;
    const VVMedia *media;
    VVSettings settings;
    uint32_t format;
    uint32_t fourcc;
    AVRational frame_rate;

    VVDecode *dec;
    VVDecodeResult result;      /* its errors are those of the encoder, too */
    VVEncoderOptions opts;
    VVEncoder encoder;
    bool ready;                 /* the encoder has the frames' format */
    bool shared;                /* ... and the decoder's memory */
    QVVPool *copies;            /* if not */
    unsigned free[VV_MAX_BUFFERS];
    unsigned n_free;
    unsigned copied;            /* frames */

    uint64_t next;              /* frame */
    int64_t last_pts;
    GPtrArray *outcomes;        /* of VVOutcome, one for each size */
    int64_t started;
    double seconds;
} VVTranscode;

static VVOutcome *vv_trans_outcome(const VVTranscode *t)
{
    return t->outcomes->pdata[t->outcomes->len - 1];
}

/* The encoder is there and can be given something */
static bool vv_trans_alive(const VVTranscode *t)
{
    return !t->encoder.failing && !t->encoder.failed &&
           !t->result.errors.broken;
}

/*
 * The encoder's side
 */

static void vv_trans_released(unsigned resource, void *opaque)
{
    VVTranscode *t = opaque;

    if (t->shared) {
        vv_decode_release(t->dec, VV_DECODER_ID, resource);
    } else {
        t->free[t->n_free++] = resource;
    }
}

static void vv_trans_coded(const VVCoded *coded, void *opaque)
{
    VVTranscode *t = opaque;
    Error *err = NULL;

    if (!vv_outcome_add_coded(vv_trans_outcome(t), coded, &err)) {
        vv_broken_rule(&t->encoder.talk, "%s", error_get_pretty(err));
        error_free(err);
    }
}

/* Handles the next event of the encoder; the decoder's wait meanwhile */
static bool vv_trans_wait(VVTranscode *t)
{
    g_autoptr(QVVEvent) ev = NULL;

    qvv_flush(t->guest->driver);
    ev = vv_patient_next(&t->result.errors, VV_ENCODER_ID,
                         vv_encoder_unanswered(&t->encoder));
    return ev && vv_encoder_event(&t->encoder, ev);
}

/* Everything out of the encoder, and its buffers away from it */
static bool vv_trans_settle(void *opaque)
{
    VVTranscode *t = opaque;

    if (!t->ready) {
        return true;
    }
    t->ready = false;
    if (!vv_trans_alive(t)) {
        return true;
    }
    vv_encoder_drain(&t->encoder);
    while (!t->encoder.drained && !t->encoder.failed) {
        if (!vv_trans_wait(t)) {
            return false;
        }
    }
    if (!t->encoder.failed && !vv_encoder_detach(&t->encoder)) {
        return false;
    }
    if (t->copies) {
        qvv_pool_free(t->guest->driver, t->copies);
        t->copies = NULL;
        t->n_free = 0;
    }
    return true;
}

static bool vv_trans_event(const QVVEvent *ev, void *opaque)
{
    VVTranscode *t = opaque;

    if (ev->stream != VV_ENCODER_ID) {
        g_autofree char *text = qvv_event_str(ev);

        return vv_broken_device(&t->result.errors, "an event of no stream: %s",
                                text);
    }
    return vv_encoder_event(&t->encoder, ev);
}

/*
 * Formats
 */

static bool vv_same_layout(const QVVLayout *a, const QVVLayout *b)
{
    bool same = a->n_planes == b->n_planes && a->n_buffers == b->n_buffers;

    for (unsigned i = 0; same && i < a->n_planes; i++) {
        same = a->stride[i] == b->stride[i] && a->offset[i] == b->offset[i] &&
               a->rows[i] == b->rows[i] && a->buffer[i] == b->buffer[i];
    }
    return same;
}

/* Buffers of the encoder's own, for the visible part of the frames */
static bool vv_trans_make_copies(VVTranscode *t, const VVPicture *pic)
{
    const QVVRawCaps *caps = qvv_caps_raw(t->guest->caps, pic->raw->fourcc);
    unsigned n = MAX(MIN(VV_COPIES, caps->num_resources.max),
                     MAX(caps->num_resources.min, 1));
    QVVRawFormat raw = *pic->raw;

    raw.width = pic->crop.width & ~1;
    raw.height = pic->crop.height & ~1;
    if (!vv_encoder_set_raw(&t->encoder, &raw, NULL)) {
        return false;
    }
    if (t->encoder.raw.width > pic->crop.width ||
        t->encoder.raw.height > pic->crop.height) {
        vv_complain(&t->encoder.talk, "the device cannot encode frames of "
                    "%ux%u, it takes %ux%u", pic->crop.width, pic->crop.height,
                    t->encoder.raw.width, t->encoder.raw.height);
        t->encoder.failing = true;
        return false;
    }
    t->copies = vv_encoder_make_frames(&t->encoder, n);
    t->n_free = 0;
    for (unsigned i = t->copies ? t->copies->n : 0; i--; ) {
        t->free[t->n_free++] = i;
    }
    return t->copies != NULL;
}

static void vv_trans_new_outcome(VVTranscode *t)
{
    VVOutcome *o = vv_outcome_new();
    const VVMedia *media = t->media;

    o->first = t->next;
    o->mux = (VVMuxInfo) {
        .codec_id = vv_codec_id(t->format),
        .width = t->encoder.crop.width,
        .height = t->encoder.crop.height,
        .depth = t->fourcc == DRM_FORMAT_P010 ? 10 : 8,
        .frame_rate = t->frame_rate,
        .time_base = media->time_base,
        .pts = o->pts,
        .sample_aspect = media->sample_aspect,
    };
    g_ptr_array_add(t->outcomes, o);
}

/* The encoder gets the format of @pic, and memory for such frames */
static bool vv_trans_begin_size(VVTranscode *t, const VVPicture *pic)
{
    if (!t->encoder.opts &&
        !vv_encoder_open(&t->encoder, &t->result.errors, VV_ENCODER_ID,
                         &t->opts)) {
        return false;
    }
    t->shared = !t->args->copy;
    if (t->shared) {
        if (!vv_encoder_set_raw(&t->encoder, pic->raw, &pic->crop)) {
            return false;
        }
        t->shared = vv_same_layout(&t->encoder.layout, pic->layout);
    }
    if (!t->shared && !vv_trans_make_copies(t, pic)) {
        return false;
    }
    vv_trans_new_outcome(t);
    t->ready = vv_encoder_start(&t->encoder, t->shared ? pic->pool :
                                                         t->copies);
    return t->ready;
}

/*
 * Frames
 */

static bool vv_trans_copy(VVTranscode *t, const VVPicture *pic,
                          const QVVResource *to)
{
    const QVVLayout *l = &t->encoder.layout;

    for (unsigned p = 0; p < l->n_planes; p++) {
        uint32_t left = (uint64_t)(pic->crop.left & ~1) * l->row_bytes[p] /
                        t->encoder.raw.width;
        uint32_t top = pic->crop.top >> (p ? 1 : 0);

        for (uint32_t y = 0; y < l->rows[p]; y++) {
            const void *row = pic->source.row(pic->source.opaque, p, top + y,
                                              left, l->row_bytes[p]);

            qvv_buffer_write(t->guest->driver, &to->buffer[l->buffer[p]],
                             l->offset[p] + (uint64_t)y * l->stride[p], row,
                             l->row_bytes[p]);
        }
    }
    t->copied++;
    return true;
}

/* As the file says; made up where it says nothing, or nothing that grows */
static int64_t vv_trans_pts(VVTranscode *t, const VVPicture *pic)
{
    int64_t pts = t->media->packets[pic->packet].av->pts;

    if (pts == AV_NOPTS_VALUE ||
        (t->last_pts != AV_NOPTS_VALUE && pts <= t->last_pts)) {
        int64_t step = av_rescale_q(1, av_inv_q(t->frame_rate),
                                    t->media->time_base);

        pts = t->last_pts == AV_NOPTS_VALUE ? 0 : t->last_pts + MAX(step, 1);
    }
    t->last_pts = pts;
    return pts;
}

/* Returns: true if the decoder can have the buffer back at once */
static bool vv_trans_picture(const VVPicture *pic, void *opaque)
{
    VVTranscode *t = opaque;
    unsigned resource = pic->resource;

    if (!vv_trans_alive(t) || (!t->ready && !vv_trans_begin_size(t, pic))) {
        return true;
    }
    if (!t->shared) {
        while (!t->n_free && vv_trans_alive(t)) {
            if (!vv_trans_wait(t)) {
                return true;
            }
        }
        if (!t->n_free) {
            return true;
        }
        resource = t->free[--t->n_free];
        vv_trans_copy(t, pic, &t->copies->res[resource]);
    }
    vv_outcome_add_frame(vv_trans_outcome(t), vv_trans_pts(t, pic));
    vv_encoder_queue(&t->encoder, resource, t->next++);
    return !t->shared;
}

static void vv_trans_begin(VVDecode *dec, void *opaque)
{
    VVTranscode *t = opaque;

    t->dec = dec;
}

static void vv_trans_progress(uint64_t done, uint64_t total, void *opaque)
{
    VVTranscode *t = opaque;

    vv_show_progress(done, total,
                     (g_get_monotonic_time() - t->started) / 1e6);
}

/*
 * Report
 */

static bool vv_trans_finish(VVTranscode *t, Error **errp)
{
    for (unsigned i = 0; i < t->outcomes->len; i++) {
        VVOutcome *o = t->outcomes->pdata[i];

        if (!o->coded->len) {
            continue;
        }
        /* Natively frames would be scaled to one size */
        if (t->outcomes->len == 1) {
            if (!vv_outcome_measure(o, t->args->file, errp)) {
                return false;
            }
            o->mux.depth = o->quality.depth;
        }
        if (!vv_outcome_write(o, t->args->more[0], i + 1, errp)) {
            return false;
        }
    }
    if (t->media->trouble) {
        error_setg(errp, "%s", t->media->trouble);
        return false;
    }
    if (!t->next && !t->result.errors.n) {
        error_setg(errp, "not one frame came out of it");
        return false;
    }
    return true;
}

static void vv_trans_print(const VVTranscode *t)
{
    g_autofree char *guest = vv_guest_text(t->guest);

    fprintf(stderr, "%s: %" PRIu64 " frames from %s to %s as %s, %s, %.1f "
            "frames/s through %s\n", t->args->file, t->next,
            qvv_coded_format_name(t->media->coded_format),
            qvv_coded_format_name(t->format), qvv_fourcc_name(t->fourcc),
            t->copied ? "copied" : "in shared memory",
            vv_fps(t->next, t->seconds), guest);
    for (unsigned i = 0; i < t->outcomes->len; i++) {
        const VVOutcome *o = t->outcomes->pdata[i];
        g_autofree char *text = vv_outcome_text(o);
        g_autofree char *psnr = o->quality.frames ?
            vv_psnr_text(&o->quality) : g_strdup("PSNR not measured");

        fprintf(stderr, "%ux%u: %s, %s\n", o->mux.width, o->mux.height, text,
                psnr);
    }
}

static void vv_trans_print_json(const VVTranscode *t, QList *list,
                                unsigned errors)
{
    QDict *dict = qdict_new();
    QList *sizes = qlist_new();

    for (unsigned i = 0; i < t->outcomes->len; i++) {
        const VVOutcome *o = t->outcomes->pdata[i];
        QDict *size = qdict_new();

        qdict_put_int(size, "width", o->mux.width);
        qdict_put_int(size, "height", o->mux.height);
        qdict_put_int(size, "frames", o->coded->len);
        vv_outcome_json(o, size);
        qlist_append(sizes, size);
    }
    qdict_put_str(dict, "file", t->args->file);
    qdict_put_str(dict, "from", qvv_coded_format_name(t->media->coded_format));
    qdict_put_str(dict, "codec", qvv_coded_format_name(t->format));
    qdict_put_str(dict, "raw", qvv_fourcc_name(t->fourcc));
    qdict_put_int(dict, "frames", t->next);
    qdict_put_int(dict, "copied_frames", t->copied);
    qdict_put(dict, "sizes", sizes);
    vv_guest_json(t->guest, dict);
    qdict_put_bool(dict, "scatter", t->args->scatter);
    vv_put_number(dict, "seconds", t->seconds, 6);
    vv_put_number(dict, "fps", vv_fps(t->next, t->seconds), 3);
    qdict_put_int(dict, "n_errors", errors);
    qdict_put(dict, "errors", list);
    qdict_put_bool(dict, "ok", !errors);
    vv_print_json(dict);
}

static int vv_trans_report(VVTranscode *t, Error *err)
{
    QList *list = qlist_new();
    unsigned n = vv_report_all(t->args->file, &t->result.errors, err, list);

    if (t->args->json) {
        vv_trans_print_json(t, list, n);
    } else {
        vv_trans_print(t);
        qobject_unref(list);
    }
    return n ? EXIT_FAILURE : EXIT_SUCCESS;
}

/*
 * Set-up
 */

/* A raw format that both streams have; one that loses nothing, if possible */
static bool vv_trans_choose_raw(VVTranscode *t, Error **errp)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(t->media->pix_fmt);
    const bool deep = desc && desc->comp[0].depth > 8;
    const uint32_t wanted[] = {
        deep ? DRM_FORMAT_P010 : DRM_FORMAT_NV12, DRM_FORMAT_NV12,
        DRM_FORMAT_YUV420,
    };
    const VVRawInfo *raw = NULL;

    if (t->args->raw) {
        raw = vv_find_raw(t->args->raw, errp);
        t->fourcc = raw ? raw->fourcc : 0;
        return raw != NULL;
    }
    for (int i = 0; i < ARRAY_SIZE(wanted); i++) {
        if (qvv_caps_linked(t->guest->caps, VIRTIO_VIDEO_STREAM_TYPE_ENCODER,
                            t->format, wanted[i]) &&
            qvv_caps_linked(t->guest->caps, VIRTIO_VIDEO_STREAM_TYPE_DECODER,
                            t->media->coded_format, wanted[i])) {
            t->fourcc = wanted[i];
            return true;
        }
    }
    t->fourcc = DRM_FORMAT_NV12;
    return true;
}

static bool vv_trans_prepare(VVTranscode *t, Error **errp)
{
    t->opts = (VVEncoderOptions) {
        .format = t->format,
        .settings = &t->settings,
        .scatter = t->args->scatter,
        .share = 2,
        .verbose = t->args->verbose,
        .released = vv_trans_released,
        .coded = vv_trans_coded,
        .opaque = t,
    };
    t->frame_rate = vv_sane_rate(t->media->frame_rate);
    t->last_pts = AV_NOPTS_VALUE;
    vv_settings_scale_bitrates(&t->settings, av_q2d(t->frame_rate));
    return vv_trans_choose_raw(t, errp) &&
           vv_encoder_check(t->guest, &t->opts, t->fourcc, errp);
}

static int vv_trans_run(VVTranscode *t, Error **errp)
{
    VVDecodeOptions opts = {
        .fourcc = t->fourcc,
        .scatter = t->args->scatter,
        .streams = 1,
        .limit = MAX(t->args->limit, 0),
        .picture = vv_trans_picture,
        .progress = vv_trans_progress,
        .begin = vv_trans_begin,
        .event = vv_trans_event,
        .settle = vv_trans_settle,
        .opaque = t,
    };
    Error *err = NULL;
    int status = EXIT_FAILURE;
    bool ok;

    t->started = g_get_monotonic_time();
    ok = vv_decode(t->guest, t->media, &opts, &t->result, errp);
    t->seconds = (g_get_monotonic_time() - t->started) / 1e6;
    vv_show_progress(0, 0, -1);
    if (t->encoder.opts && !ok) {
        vv_encoder_abandon(&t->encoder);
    } else if (t->encoder.opts) {
        ok = vv_encoder_close(&t->encoder);
        error_propagate(errp, g_steal_pointer(&t->result.errors.broken));
    }
    if (ok) {
        vv_trans_finish(t, &err);
        status = vv_trans_report(t, err);
    }
    vv_decode_result_cleanup(&t->result);
    return status;
}

static void vv_free_outcome(gpointer data)
{
    vv_outcome_free(data);
}

int vv_cmd_transcode(const VVArgs *args)
{
    const char *output = args->more[0];
    VVGuestConfig config = vv_guest_options(args);
    VVTranscode t = { .args = args };
    g_autoptr(VVMedia) media = NULL;
    g_autoptr(VVGuest) g = NULL;
    Error *err = NULL;
    int status = EXIT_FAILURE;

    t.outcomes = g_ptr_array_new_with_free_func(vv_free_outcome);
    if (!vv_parse_coded(args, &t.format, &err) ||
        !vv_parse_settings(args, t.format, &t.settings, &err) ||
        !vv_mux_check(output, vv_codec_id(t.format), &err)) {
        vv_settings_cleanup(&t.settings);
        g_ptr_array_unref(t.outcomes);
        error_report_err(err);
        return 2;
    }
    t.media = media = vv_demux(args->file, &err);
    if (media) {
        config.max_streams = 2;
        config.x_controls = vv_settings_extended(&t.settings);
        g = t.guest = vv_guest_start(&config, &err);
    }
    if (g && vv_trans_prepare(&t, &err)) {
        status = vv_trans_run(&t, &err);
    }
    vv_settings_cleanup(&t.settings);
    g_ptr_array_unref(t.outcomes);
    if (err) {
        error_reportf_err(err, "%s: ", args->file);
        return EXIT_FAILURE;
    }
    return status;
}
