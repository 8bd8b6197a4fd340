/*
 * vvclient encode: a file through the device's encoder
 *
 * One loop serves all streams.  Each has a decoder of its own for the file:
 * what it gives is written into a buffer as soon as the device has given that
 * back.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qobject/qlist.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "encode.h"
#include "native-encode.h"
#include "options.h"
#include "outcome.h"
#include "reader.h"
#include "report.h"

#define VV_FRAME_BUFFERS        6
#define VV_DEFAULT_STREAMS      16
#define VV_PROGRESS_US          (100 * 1000)

typedef struct VVJob VVJob;

typedef struct VVJobStream {
    VVJob *job;
    VVEncoder encoder;
    VVEncoderOptions opts;
    VVReader *reader;
    VVFrame pixels;
    QVVPool *frames;
    unsigned free[VV_MAX_BUFFERS];
    unsigned n_free;
    unsigned storing;           /* the resource that is being filled */
    uint64_t next;              /* frame */
    bool draining;
    bool done;
    uint64_t bytes;
} VVJobStream;

struct VVJob {
    const VVArgs *args;
    VVGuest *guest;
    VVSettings settings;
    uint32_t format;
    uint32_t fourcc;
    unsigned depth;
    VVErrors errors;
    VVJobStream *streams;
    unsigned n_active;
    VVOutcome *outcome;         /* of stream 0 */
    VVOutcome *native;          /* or NULL */
    QVVRawFormat raw;
    uint64_t frames;            /* of all streams */
    double seconds;
    int64_t started;
    int64_t last_progress;
};

/*
 * Frames
 */

static void vv_job_progress(VVJob *job)
{
    int64_t now = g_get_monotonic_time();
    double seconds = (now - job->started) / 1e6;
    uint64_t total = job->streams[0].reader->n_frames * job->args->streams;

    if (job->args->limit > 0) {
        total = MIN(total, (uint64_t)job->args->limit * job->args->streams);
    }
    if (now - job->last_progress < VV_PROGRESS_US || !isatty(STDERR_FILENO)) {
        return;
    }
    job->last_progress = now;
    vv_show_progress(job->frames, total, seconds);
}

static void vv_job_released(unsigned resource, void *opaque)
{
    VVJobStream *s = opaque;

    s->free[s->n_free++] = resource;
}

static void vv_job_coded(const VVCoded *coded, void *opaque)
{
    VVJobStream *s = opaque;
    Error *err = NULL;

    s->job->frames++;
    s->bytes += coded->av->size;
    if (s == &s->job->streams[0]) {
        if (!vv_outcome_add_coded(s->job->outcome, coded, &err)) {
            vv_broken_rule(&s->encoder.talk, "%s", error_get_pretty(err));
            error_free(err);
        }
    } else {
        AVPacket *av = coded->av;

        av_packet_free(&av);
    }
    vv_job_progress(s->job);
}

static void vv_job_row(void *opaque, unsigned plane, uint32_t y,
                       const void *data, uint32_t len)
{
    VVJobStream *s = opaque;
    const QVVLayout *l = &s->encoder.layout;

    qvv_buffer_write(s->job->guest->driver,
                     &s->frames->res[s->storing].buffer[l->buffer[plane]],
                     l->offset[plane] + (uint64_t)y * l->stride[plane], data,
                     len);
}

/* False at the end of the file */
static bool vv_job_queue_frame(VVJobStream *s)
{
    VVPlace place = { vv_job_row, s };
    Error *err = NULL;
    int64_t pts;

    if ((s->job->args->limit > 0 && s->next == s->job->args->limit) ||
        !vv_reader_next(s->reader, &s->pixels, &pts, &err)) {
        if (err) {
            vv_complain(&s->encoder.talk, "%s", error_get_pretty(err));
            error_free(err);
        }
        return false;
    }
    s->storing = s->free[--s->n_free];
    if (!vv_frame_store(&s->pixels, s->job->fourcc, &place)) {
        vv_complain(&s->encoder.talk, "frame %" PRIu64 ": cannot convert it "
                    "to %s", s->next, qvv_fourcc_name(s->job->fourcc));
        return false;
    }
    if (s == &s->job->streams[0]) {
        vv_outcome_add_frame(s->job->outcome, pts);
    }
    vv_encoder_queue(&s->encoder, s->storing, s->next++);
    return true;
}

static void vv_job_feed(VVJobStream *s)
{
    if (s->done || s->encoder.failing || s->draining) {
        return;
    }
    while (s->n_free) {
        if (!vv_job_queue_frame(s)) {
            s->draining = true;
            vv_encoder_drain(&s->encoder);
            return;
        }
    }
}

/*
 * Begin
 */

static bool vv_job_make_frames(VVJobStream *s)
{
    VVJob *job = s->job;
    const QVVLayout *l = &s->encoder.layout;
    const QVVRawCaps *caps = qvv_caps_raw(job->guest->caps, job->fourcc);
    uint64_t budget = job->guest->ram_free / 2 / job->args->streams;
    uint64_t size = 0;
    unsigned n;

    for (unsigned i = 0; i < l->n_buffers; i++) {
        size += QEMU_ALIGN_UP(l->buffer_size[i], QVV_PAGE_SIZE);
    }
    n = MIN(VV_FRAME_BUFFERS, budget / size);
    n = MAX(MIN(n, caps->num_resources.max), MAX(caps->num_resources.min, 1));
    if (n * size > budget) {
        vv_complain(&s->encoder.talk, "%u frames of %ux%u do not fit into "
                    "guest memory with %d streams", n, job->raw.width,
                    job->raw.height, job->args->streams);
        return false;
    }
    s->frames = qvv_pool_new(job->guest->driver, n, l->n_buffers,
                             l->buffer_size, job->args->scatter ?
                             QVV_SCATTERED : QVV_CONTIGUOUS);
    for (unsigned i = 0; i < n; i++) {
        s->free[s->n_free++] = n - 1 - i;
    }
    return true;
}

static bool vv_job_set_format(VVJobStream *s)
{
    QVVRawFormat raw;

    if (!vv_encoder_get_raw(&s->encoder, &raw)) {
        return false;
    }
    raw.fourcc = s->job->fourcc;
    raw.modifier = 0;
    raw.width = s->reader->width;
    raw.height = s->reader->height;
    if (!vv_encoder_set_raw(&s->encoder, &raw, NULL)) {
        return false;
    }
    s->job->raw = s->encoder.raw;
    if (s->encoder.raw.width != raw.width ||
        s->encoder.raw.height != raw.height) {
        vv_complain(&s->encoder.talk, "the device cannot encode frames of "
                    "%ux%u, it takes %ux%u", raw.width, raw.height,
                    s->encoder.raw.width, s->encoder.raw.height);
        return false;
    }
    return true;
}

static bool vv_job_open(VVJobStream *s, unsigned id)
{
    VVJob *job = s->job;

    s->opts = (VVEncoderOptions) {
        .format = job->format,
        .settings = &job->settings,
        .scatter = job->args->scatter,
        .share = job->args->streams,
        .verbose = job->args->verbose && id == 0,
        .released = vv_job_released,
        .coded = vv_job_coded,
        .opaque = s,
    };
    if (!vv_encoder_open(&s->encoder, &job->errors, id, &s->opts) ||
        !vv_job_set_format(s) || !vv_job_make_frames(s) ||
        !vv_encoder_start(&s->encoder, s->frames)) {
        if (!job->errors.n) {
            vv_broken_rule(&s->encoder.talk, "failed before it got anything");
        }
        return false;
    }
    return true;
}

/*
 * The loop
 */

static bool vv_job_event(VVJob *job, const QVVEvent *ev)
{
    VVJobStream *s;

    if (ev->stream >= job->args->streams) {
        g_autofree char *text = qvv_event_str(ev);

        return vv_broken_device(&job->errors, "an event of no stream: %s",
                                text);
    }
    s = &job->streams[ev->stream];
    if (!vv_encoder_event(&s->encoder, ev)) {
        return false;
    }
    if (!s->done && (s->encoder.drained || s->encoder.failed)) {
        s->done = true;
        job->n_active--;
    }
    return !job->errors.broken;
}

static bool vv_job_turn(VVJob *job)
{
    unsigned unanswered = 0;
    QVVEvent *ev;

    for (int i = 0; i < job->args->streams; i++) {
        vv_job_feed(&job->streams[i]);
        unanswered += vv_encoder_unanswered(&job->streams[i].encoder);
    }
    ev = vv_patient_next(&job->errors, -1, unanswered);
    while (ev) {
        bool ok = vv_job_event(job, ev);

        qvv_event_free(ev);
        if (!ok) {
            return false;
        }
        ev = qvv_next(job->guest->driver, 0);
    }
    return !job->errors.broken;
}

static bool vv_job_run(VVJob *job)
{
    bool ok = true;

    for (int i = 0; ok && i < job->args->streams; i++) {
        ok = vv_job_open(&job->streams[i], i);
        job->n_active += ok;
    }
    job->started = g_get_monotonic_time();
    while (ok && job->n_active) {
        ok = vv_job_turn(job);
    }
    job->seconds = (g_get_monotonic_time() - job->started) / 1e6;
    for (int i = 0; i < job->args->streams; i++) {
        VVJobStream *s = &job->streams[i];

        if (s->encoder.opts && vv_encoder_close(&s->encoder)) {
            qvv_pool_free(job->guest->driver, s->frames);
        }
    }
    vv_show_progress(0, 0, -1);
    return !job->errors.broken;
}

/*
 * Report
 */

static double vv_job_fps(const VVJob *job)
{
    return vv_fps(job->frames, job->seconds);
}

static void vv_job_print(const VVJob *job)
{
    g_autofree char *text = vv_outcome_text(job->outcome);
    g_autofree char *psnr = vv_psnr_text(&job->outcome->quality);

    fprintf(stderr, "%s: %" PRIu64 " frames of %ux%u as %s, %.1f frames/s "
            "through virtio-video on %s (%s)\n", job->args->file, job->frames,
            job->raw.width, job->raw.height, qvv_fourcc_name(job->fourcc),
            vv_job_fps(job), job->guest->machine, job->guest->transport);
    fprintf(stderr, "%s: %s, %s, %s\n", job->args->output ?: job->args->file,
            qvv_coded_format_name(job->format), text, psnr);
    if (job->native && job->native->quality.frames) {
        g_autofree char *native = vv_psnr_text(&job->native->quality);

        fprintf(stderr, "natively %" PRIu64 " bytes, %.1f kbit/s, %s\n",
                job->native->bytes, vv_outcome_bitrate(job->native) / 1000,
                native);
    }
}

static void vv_job_print_json(const VVJob *job, QList *list, unsigned errors)
{
    const VVArgs *args = job->args;
    QDict *dict = qdict_new();
    QDict *native = NULL;

    qdict_put_str(dict, "file", args->file);
    qdict_put_str(dict, "codec", qvv_coded_format_name(job->format));
    qdict_put_str(dict, "raw", qvv_fourcc_name(job->fourcc));
    qdict_put_int(dict, "width", job->raw.width);
    qdict_put_int(dict, "height", job->raw.height);
    qdict_put_int(dict, "frames", job->frames);
    vv_outcome_json(job->outcome, dict);
    if (job->native) {
        native = qdict_new();
        vv_outcome_json(job->native, native);
        qdict_put(dict, "native", native);
    }
    qdict_put_int(dict, "streams", args->streams);
    qdict_put_str(dict, "machine", job->guest->machine);
    qdict_put_str(dict, "transport", job->guest->transport);
    qdict_put_bool(dict, "scatter", args->scatter);
    vv_put_number(dict, "seconds", job->seconds, 6);
    vv_put_number(dict, "fps", vv_job_fps(job), 3);
    qdict_put_int(dict, "n_errors", errors);
    qdict_put(dict, "errors", list);
    qdict_put_bool(dict, "ok", !errors);
    vv_print_json(dict);
}

static bool vv_job_compare(VVJob *job, Error **errp)
{
    const VVNativeEncoding enc = {
        .source = job->args->file,
        .format = job->format,
        .fourcc = job->fourcc,
        .limit = MAX(job->args->limit, 0),
        .controls = job->streams[0].encoder.controls,
        .known = job->streams[0].encoder.known,
    };

    job->native = vv_outcome_new();
    job->native->mux = job->outcome->mux;
    job->native->mux.pts = job->native->pts;
    return vv_native_encode(&enc, job->native, errp) &&
           vv_outcome_measure(job->native, job->args->file, errp);
}

/* What is to be known of the coded frames, and the file */
static bool vv_job_finish(VVJob *job, Error **errp)
{
    VVOutcome *o = job->outcome;

    if (!o->coded->len) {
        if (!job->errors.n) {
            error_setg(errp, "not one frame came out of it");
        }
        return false;
    }
    if (!vv_outcome_measure(o, job->args->file, errp)) {
        return false;
    }
    o->mux.depth = o->quality.depth;
    return (!job->args->compare || vv_job_compare(job, errp)) &&
           (!job->args->output ||
            vv_outcome_write(o, job->args->output, 1, errp));
}

static int vv_job_report(VVJob *job, Error *err)
{
    QList *list = qlist_new();
    unsigned n = vv_report_all(job->args->file, &job->errors, err, list);

    if (job->args->json) {
        vv_job_print_json(job, list, n);
    } else {
        if (job->outcome->coded->len) {
            vv_job_print(job);
        }
        qobject_unref(list);
    }
    return n ? EXIT_FAILURE : EXIT_SUCCESS;
}

/*
 * Set-up
 */

/* A raw format that loses nothing of the file, if the encoder has one */
static bool vv_job_choose_raw(VVJob *job, unsigned source_depth, Error **errp)
{
    static const uint32_t deep[] = {
        DRM_FORMAT_P010, DRM_FORMAT_NV12, DRM_FORMAT_YUV420,
    };
    static const uint32_t flat[] = {
        DRM_FORMAT_NV12, DRM_FORMAT_YUV420, DRM_FORMAT_P010,
    };
    const uint32_t *wanted = source_depth > 8 ? deep : flat;

    if (job->args->raw) {
        const VVRawInfo *raw = vv_find_raw(job->args->raw, errp);

        job->fourcc = raw ? raw->fourcc : 0;
        return raw != NULL;
    }
    for (int i = 0; i < ARRAY_SIZE(deep); i++) {
        if (qvv_caps_linked(job->guest->caps, VIRTIO_VIDEO_STREAM_TYPE_ENCODER,
                            job->format, wanted[i])) {
            job->fourcc = wanted[i];
            return true;
        }
    }
    job->fourcc = DRM_FORMAT_NV12;
    return true;
}

static bool vv_job_prepare(VVJob *job, const VVReader *first, Error **errp)
{
    const VVEncoderOptions opts = {
        .format = job->format, .settings = &job->settings,
    };
    const double fps = av_q2d(first->frame_rate);

    if (!vv_job_choose_raw(job, first->source_depth, errp) ||
        !vv_encoder_check(job->guest, &opts, job->fourcc, errp)) {
        return false;
    }
    if (job->args->streams > job->guest->driver->max_streams) {
        error_setg(errp, "the device has %u streams, not %d",
                   job->guest->driver->max_streams, job->args->streams);
        return false;
    }
    if (first->source_width != first->width ||
        first->source_height != first->height) {
        error_printf("%s: %ux%u of %ux%u are encoded, as sizes must be even\n",
                     job->args->file, first->width, first->height,
                     first->source_width, first->source_height);
    }
    if (job->args->verbose && fps != 30) {
        error_printf("bitrates are multiplied by 30/%.4g, as the device takes "
                     "30 frames for a second\n", fps);
    }
    vv_settings_scale_bitrates(&job->settings, fps);
    job->depth = job->fourcc == DRM_FORMAT_P010 ? 10 : 8;
    job->outcome->mux = (VVMuxInfo) {
        .codec_id = vv_codec_id(job->format),
        .width = first->width,
        .height = first->height,
        .depth = job->depth,
        .frame_rate = first->frame_rate,
        .time_base = first->time_base,
        .pts = job->outcome->pts,
        .sample_aspect = first->sample_aspect,
        .color = first->color,
    };
    return true;
}

static bool vv_job_open_readers(VVJob *job, Error **errp)
{
    for (int i = 0; i < job->args->streams; i++) {
        VVJobStream *s = &job->streams[i];

        s->job = job;
        vv_frame_init(&s->pixels);
        s->reader = vv_reader_open(job->args->file, job->depth, errp);
        if (!s->reader) {
            return false;
        }
    }
    return true;
}

static int vv_job_do(VVJob *job, const VVReader *first, Error **errp)
{
    Error *err = NULL;
    int status = EXIT_FAILURE;

    job->outcome = vv_outcome_new();
    job->streams = g_new0(VVJobStream, job->args->streams);
    vv_errors_init(&job->errors, job->guest);
    if (vv_job_prepare(job, first, errp) && vv_job_open_readers(job, errp)) {
        if (vv_job_run(job)) {
            vv_job_finish(job, &err);
            status = vv_job_report(job, err);
        } else {
            error_propagate(errp, g_steal_pointer(&job->errors.broken));
        }
    }
    for (int i = 0; i < job->args->streams; i++) {
        if (job->streams[i].job) {
            vv_reader_free(job->streams[i].reader);
            vv_frame_cleanup(&job->streams[i].pixels);
        }
    }
    vv_errors_cleanup(&job->errors);
    g_free(job->streams);
    vv_outcome_free(job->outcome);
    vv_outcome_free(job->native);
    return status;
}

int vv_cmd_encode(const VVArgs *args)
{
    VVGuestConfig config = {
        .machine = args->machine,
        .transport = args->transport,
        .codec = args->codec,
        .max_streams = MAX(args->streams, VV_DEFAULT_STREAMS),
    };
    VVJob job = { .args = args };
    g_autoptr(VVReader) first = NULL;
    g_autoptr(VVGuest) g = NULL;
    Error *err = NULL;
    int status = EXIT_FAILURE;

    if (!vv_parse_coded(args, &job.format, &err) ||
        !vv_parse_settings(args, job.format, &job.settings, &err) ||
        (args->output &&
         !vv_mux_check(args->output, vv_codec_id(job.format), &err))) {
        vv_settings_cleanup(&job.settings);
        error_report_err(err);
        return 2;
    }
    first = vv_reader_open(args->file, 0, &err);
    if (first) {
        config.x_controls = vv_settings_extended(&job.settings);
        g = job.guest = vv_guest_start(&config, &err);
    }
    if (g) {
        status = vv_job_do(&job, first, &err);
    }
    vv_settings_cleanup(&job.settings);
    if (err) {
        error_reportf_err(err, "%s: ", args->file);
        return EXIT_FAILURE;
    }
    return status;
}
