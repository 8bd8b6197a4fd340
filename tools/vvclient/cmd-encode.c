/*
 * vvclient encode: a file through the device's encoder
 *
 * One loop serves all streams.  Each has a decoder of its own for the file:
 * what it gives is written into a buffer as soon as the device has given that
 * back.  With --scribble a thread writes to all buffers meanwhile.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/atomic.h"
#include "qemu/thread.h"
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
#define VV_NOISE_SIZE           1024

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
    unsigned next_drain;        /* of VVJob.drains */
    bool draining;
    bool done;
    uint64_t bytes;
} VVJobStream;

struct VVJob {
    const VVArgs *args;
    VVGuest *guest;
    VVSettings settings;
    GArray *drains;             /* uint64_t: frames, with a drain before each */
    uint32_t format;
    uint32_t fourcc;
    unsigned depth;
    VVErrors errors;
    VVJobStream *streams;
    unsigned n_active;
    VVOutcome *outcome;         /* of stream 0 */
    VVOutcome *native;          /* or NULL */
    QVVRawFormat raw;
    QList *controls;            /* VVEncoderOptions.controls of stream 0 */
    uint64_t frames;            /* of all streams */
    double seconds;
    int64_t started;
    int64_t last_progress;
    QemuThread scribbler;
    bool scribbling;
    bool calm;                  /* the scribbler is to end; atomic */
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

static void vv_job_drain_between(VVJobStream *s)
{
    const GArray *drains = s->job->drains;

    while (s->next_drain < drains->len &&
           g_array_index(drains, uint64_t, s->next_drain) <= s->next) {
        s->next_drain++;
        vv_encoder_drain(&s->encoder);
    }
}

static void vv_job_feed(VVJobStream *s)
{
    if (s->done || s->encoder.failing || s->draining) {
        return;
    }
    while (s->n_free) {
        if (s->job->args->in_turn &&
            s->next > s->encoder.frames_out + s->encoder.frames_bad) {
            return;
        }
        vv_job_drain_between(s);
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
    n = job->args->raw_buffers ?: MIN(VV_FRAME_BUFFERS, budget / size);
    n = MAX(MIN(n, caps->num_resources.max), MAX(caps->num_resources.min, 1));
    if (n * size > budget) {
        vv_complain(&s->encoder.talk, "%u frames of %ux%u do not fit into "
                    "guest memory with %d streams", n, job->raw.width,
                    job->raw.height, job->args->streams);
        return false;
    }
    s->frames = vv_encoder_make_frames(&s->encoder, n);
    for (unsigned i = s->frames ? s->frames->n : 0; i--; ) {
        s->free[s->n_free++] = i;
    }
    return s->frames != NULL;
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
        .frame_rate = s->reader->frame_rate,
        .scatter = job->args->scatter,
        .share = job->args->streams,
        .verbose = job->args->verbose && id == 0,
        .released = vv_job_released,
        .coded = vv_job_coded,
        .opaque = s,
        .controls = id == 0 ? job->controls : NULL,
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
 * Hostility
 */

static void vv_scribble(VVJobStream *s, GRand *rand)
{
    uint32_t noise[VV_NOISE_SIZE / sizeof(uint32_t)];

    for (unsigned i = 0; i < ARRAY_SIZE(noise); i++) {
        noise[i] = g_rand_int(rand);
    }
    for (unsigned i = 0; i < s->frames->n; i++) {
        const QVVBuffer *buf = &s->frames->res[i].buffer[0];

        if (buf->size <= sizeof(noise)) {
            continue;
        }
        qvv_buffer_write(s->job->guest->driver, buf,
                         g_rand_int_range(rand, 0, buf->size - sizeof(noise)),
                         noise, sizeof(noise));
    }
}

static void *vv_job_scribble(void *opaque)
{
    VVJob *job = opaque;
    GRand *rand = g_rand_new_with_seed(1);

    while (!qatomic_read(&job->calm)) {
        for (int i = 0; i < job->args->streams; i++) {
            vv_scribble(&job->streams[i], rand);
        }
    }
    g_rand_free(rand);
    return NULL;
}

/*
 * The loop
 */

static VVJobStream *vv_job_find(VVJob *job, uint32_t id)
{
    for (int i = 0; i < job->args->streams; i++) {
        if (job->streams[i].encoder.id == id) {
            return &job->streams[i];
        }
    }
    return NULL;
}

static bool vv_job_event(VVJob *job, const QVVEvent *ev)
{
    VVJobStream *s = vv_job_find(job, ev->stream);

    if (!s) {
        g_autofree char *text = qvv_event_str(ev);

        return vv_broken_device(&job->errors, "an event of no stream: %s",
                                text);
    }
    if (!vv_encoder_event(&s->encoder, ev)) {
        return false;
    }
    if (!s->done &&
        ((s->draining && s->encoder.drained) || s->encoder.failed)) {
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
    if (ok && job->args->scribble) {
        qemu_thread_create(&job->scribbler, "scribbler", vv_job_scribble, job,
                           QEMU_THREAD_JOINABLE);
        job->scribbling = true;
    }
    while (ok && job->n_active) {
        ok = vv_job_turn(job);
    }
    job->seconds = (g_get_monotonic_time() - job->started) / 1e6;
    if (job->scribbling) {
        qatomic_set(&job->calm, true);
        qemu_thread_join(&job->scribbler);
    }
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
    g_autofree char *guest = vv_guest_text(job->guest);

    fprintf(stderr, "%s: %" PRIu64 " frames of %ux%u as %s, %.1f frames/s "
            "through %s\n", job->args->file, job->frames, job->raw.width,
            job->raw.height, qvv_fourcc_name(job->fourcc), vv_job_fps(job),
            guest);
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
    qdict_put(dict, "controls", qobject_ref(job->controls));
    if (job->native) {
        native = qdict_new();
        vv_outcome_json(job->native, native);
        qdict_put(dict, "native", native);
    }
    qdict_put_int(dict, "streams", args->streams);
    vv_guest_json(job->guest, dict);
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
        .rate = job->streams[0].encoder.rate,
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

static void vv_job_scale_bitrates(VVJob *job, double fps)
{
    if (job->args->verbose && fps != VV_DEVICE_FPS) {
        error_printf("bitrates are multiplied by %d/%.4g, as the device takes "
                     "%d frames for a second\n", VV_DEVICE_FPS, fps,
                     VV_DEVICE_FPS);
    }
    vv_settings_scale_bitrates(&job->settings, fps);
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
    if (job->args->streams > job->guest->max_streams) {
        error_setg(errp, "the device has %u streams, not %d",
                   job->guest->max_streams, job->args->streams);
        return false;
    }
    if (first->source_width != first->width ||
        first->source_height != first->height) {
        error_printf("%s: %ux%u of %ux%u are encoded, as sizes must be even\n",
                     job->args->file, first->width, first->height,
                     first->source_width, first->source_height);
    }
    if (!vv_guest_is_media(job->guest)) {
        vv_job_scale_bitrates(job, fps);
    }
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
    job->controls = qlist_new();
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
    qobject_unref(job->controls);
    return status;
}

int vv_cmd_encode(const VVArgs *args)
{
    VVGuestConfig config = vv_guest_options(args);
    VVJob job = {
        .args = args,
        .drains = g_array_new(false, false, sizeof(uint64_t)),
    };
    g_autoptr(VVReader) first = NULL;
    g_autoptr(VVGuest) g = NULL;
    Error *err = NULL;
    int status = EXIT_FAILURE;

    if (!vv_parse_coded(args, &job.format, &err) ||
        !vv_parse_settings(args, job.format, &job.settings, &err) ||
        !vv_parse_frames("--drain", args->drain, job.drains, &err) ||
        (args->output &&
         !vv_mux_check(args->output, vv_codec_id(job.format), &err))) {
        vv_settings_cleanup(&job.settings);
        g_array_unref(job.drains);
        error_report_err(err);
        return 2;
    }
    first = vv_reader_open(args->file, 0, &err);
    if (first) {
        config.max_streams = MAX(args->streams, VV_DEFAULT_STREAMS);
        config.x_controls = vv_settings_extended(&job.settings);
        config.encoder = true;
        g = job.guest = vv_guest_start(&config, &err);
    }
    if (g) {
        status = vv_job_do(&job, first, &err);
    }
    vv_settings_cleanup(&job.settings);
    g_array_unref(job.drains);
    if (err) {
        error_reportf_err(err, "%s: ", args->file);
        return EXIT_FAILURE;
    }
    return status;
}
