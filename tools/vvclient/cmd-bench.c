/*
 * vvclient bench: what the way through the device costs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "decode.h"
#include "libqos/virtio-media.h"
#include "native.h"
#include "options.h"

#define VV_BENCH_STREAMS        16
#define VV_BENCH_LIMIT          300
#define VV_BENCH_SETTLE_US      (G_USEC_PER_SEC / 2)
#define VV_BENCH_IDLE_US        (1 * G_USEC_PER_SEC)

/* One round; rates in frames per second */
typedef struct VVRound {
    double native;
    double device;
    double scatter;
    double streams;
    double slowest;             /* of 16 streams, by their mean */
    double copied;              /* bytes of pixels for each frame */
    double main_thread;         /* percent of a core, contiguous */
    /* CPU time in ms for each frame, in this process or in all of QEMU */
    double native_cpu;
    double device_cpu;
    double scatter_cpu;
} VVRound;

typedef struct VVIdle {
    double rss_kib;             /* of each stream */
    double cpu_percent;         /* of a core, all together, more than none */
} VVIdle;

typedef struct VVBench {
    const VVArgs *args;
    const VVMedia *media;
    VVGuest *guest;
    AVBufferRef *device;        /* the codec object's GPU, or NULL */
    unsigned threads;
    unsigned limit;
    char *engine;
    VVRound *rounds;
    VVIdle idle;
    uint32_t sessions[VV_BENCH_STREAMS];    /* idle ones of virtio-media */
} VVBench;

static void vv_bench_say(const char *what, int round, int rounds)
{
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\rround %d of %d: %-24s\r", round + 1, rounds, what);
        fflush(stderr);
    }
}

/* threads= of the codec object; its default is 1 */
static unsigned vv_codec_threads(const VVArgs *args)
{
    const char *found = args->codec ? strstr(args->codec, ",threads=") : NULL;
    unsigned threads;

    if (!found || qemu_strtoui(found + strlen(",threads="), NULL, 0,
                               &threads) < 0) {
        return 1;
    }
    return threads;
}

/* The GPU of a codec object that has one, for native decoding */
static bool vv_bench_open_device(VVBench *b, Error **errp)
{
    const char *codec = b->args->codec;
    const char *found;
    g_autofree char *node = NULL;

    if (!codec || !g_str_has_prefix(codec, "video-codec-vaapi")) {
        return true;
    }
    found = strstr(codec, ",rendernode=");
    if (found) {
        found += strlen(",rendernode=");
        node = g_strndup(found, strcspn(found, ","));
    }
    b->device = vv_native_device(node, errp);
    return b->device;
}

static bool vv_bench_native(VVBench *b, VVRound *round, Error **errp)
{
    VVNativeResult r;

    if (!vv_native_decode_nv12(b->media, b->device, b->threads, b->limit, &r,
                               errp)) {
        return false;
    }
    if (!r.frames || r.bad) {
        error_setg(errp, "%" PRIu64 " frames, %" PRIu64 " errors natively: "
                   "nothing to measure with", r.frames, r.bad);
        return false;
    }
    round->native = r.frames / r.seconds;
    round->native_cpu = r.cpu_ns / 1e6 / r.frames;
    return true;
}

/* What QEMU said of the stream that was closed last */
static QDict *vv_bench_last_stream(VVBench *b)
{
    const QListEntry *last = NULL, *e;

    QLIST_FOREACH_ENTRY(b->guest->streams, e) {
        last = e;
    }
    return qobject_to(QDict, qlist_entry_obj(last));
}

static void vv_bench_note(VVBench *b, VVRound *round, unsigned streams,
                          bool scatter, const VVDecodeResult *r)
{
    QDict *stream = vv_bench_last_stream(b);
    double frames = r->frames + r->hidden;
    double fps = frames / r->seconds;
    double cpu = r->qemu_ns / 1e6 / frames;

    if (streams > 1) {
        round->streams = fps;
        round->slowest = r->slowest;
    } else if (scatter) {
        round->scatter = fps;
        round->scatter_cpu = cpu;
    } else {
        round->device = fps;
        round->device_cpu = cpu;
        round->copied = qdict_get_int(stream, "pixels-copied") / frames;
        round->main_thread = r->main_thread_ns / (r->seconds * 1e9) * 100;
        g_free(b->engine);
        b->engine = g_strdup(qdict_get_try_str(stream, "engine"));
    }
}

static bool vv_bench_device(VVBench *b, VVRound *round, unsigned streams,
                            bool scatter, Error **errp)
{
    VVDecodeOptions opts = {
        .fourcc = DRM_FORMAT_NV12,
        .streams = streams,
        .scatter = scatter,
        .limit = b->limit,
    };
    VVDecodeResult r;
    bool ok = vv_decode(b->guest, b->media, &opts, &r, errp);

    if (ok && r.errors.n) {
        error_setg(errp, "%s", (char *)r.errors.list->pdata[0]);
        ok = false;
    }
    if (ok) {
        vv_bench_note(b, round, streams, scatter, &r);
    }
    vv_decode_result_cleanup(&r);
    return ok;
}

/* A command that has nothing to do but to succeed */
static bool vv_bench_command(VVBench *b, uint32_t cookie, const char *what,
                             Error **errp)
{
    g_autoptr(QVVEvent) ev = qvv_wait_cookie(b->guest->driver, cookie,
                                             QVV_TIMEOUT_US);

    if (!ev || (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_ERROR)) {
        error_setg(errp, "idle streams: %s %s", what,
                   ev ? "was refused" : "was not answered");
        return false;
    }
    return true;
}

static bool vv_bench_status(int status, const char *what, Error **errp)
{
    if (status) {
        error_setg(errp, "idle streams: %s: error %d", what, status);
    }
    return !status;
}

static bool vv_bench_open_idle(VVBench *b, Error **errp)
{
    QVVDriver *d = b->guest->driver;
    g_autoptr(GByteArray) set = qvv_set_new(VIRTIO_VIDEO_TLV_CODED_SET);

    if (vv_guest_is_media(b->guest)) {
        for (unsigned i = 0; i < VV_BENCH_STREAMS; i++) {
            if (!vv_bench_status(qvm_open(d, &b->sessions[i]), "OPEN", errp)) {
                return false;
            }
        }
        return true;
    }
    qvv_set_coded_format(set, b->media->coded_format);
    for (unsigned i = 0; i < VV_BENCH_STREAMS; i++) {
        if (!vv_bench_command(b, qvv_open(d, i,
                                          VIRTIO_VIDEO_STREAM_TYPE_DECODER),
                              "OPEN", errp) ||
            !vv_bench_command(b, qvv_set_params(d, i,
                                                VIRTIO_VIDEO_QUEUE_TYPE_MAIN,
                                                set),
                              "the coded format", errp)) {
            return false;
        }
    }
    return true;
}

/* QEMU's CPU in percent of a core while nothing is asked of it */
static double vv_bench_idle_cpu(VVBench *b)
{
    uint64_t before = vv_guest_usage(b->guest).all_threads_ns;

    g_usleep(VV_BENCH_IDLE_US);
    return (vv_guest_usage(b->guest).all_threads_ns - before) /
           (VV_BENCH_IDLE_US * 1000.0) * 100;
}

/* What streams cost that do nothing */
static bool vv_bench_idle(VVBench *b, Error **errp)
{
    double without, with;
    uint64_t rss;

    /* Let QEMU settle: it gives memory of its start back, for example */
    g_usleep(VV_BENCH_SETTLE_US);
    without = vv_bench_idle_cpu(b);
    rss = vv_guest_usage(b->guest).rss_kib;
    if (!vv_bench_open_idle(b, errp)) {
        return false;
    }
    g_usleep(VV_BENCH_SETTLE_US);
    with = vv_bench_idle_cpu(b);
    b->idle.rss_kib = ((double)vv_guest_usage(b->guest).rss_kib - rss) /
                      VV_BENCH_STREAMS;
    b->idle.cpu_percent = with - without;
    for (unsigned i = 0; i < VV_BENCH_STREAMS; i++) {
        if (vv_guest_is_media(b->guest) ?
            !vv_bench_status(qvm_close(b->guest->driver, b->sessions[i]),
                             "CLOSE", errp) :
            !vv_bench_command(b, qvv_close(b->guest->driver, i), "CLOSE",
                              errp)) {
            return false;
        }
    }
    return true;
}

/*
 * The order within a round is turned around each time, so that a machine that
 * gets slower or faster meanwhile favours no side.
 */
static bool vv_bench_round(VVBench *b, int n, Error **errp)
{
    VVRound *round = &b->rounds[n];
    const int rounds = b->args->rounds;
    bool ok = true;

    for (int step = 0; ok && step < 3; step++) {
        switch (n % 2 ? 2 - step : step) {
        case 0:
            vv_bench_say("native", n, rounds);
            ok = vv_bench_native(b, round, errp);
            break;
        case 1:
            vv_bench_say("device", n, rounds);
            ok = vv_bench_device(b, round, 1, false, errp);
            break;
        case 2:
            vv_bench_say("device, scattered", n, rounds);
            ok = vv_bench_device(b, round, 1, true, errp);
            break;
        }
    }
    if (ok) {
        vv_bench_say("device, 16 streams", n, rounds);
        ok = vv_bench_device(b, round, VV_BENCH_STREAMS, false, errp);
    }
    return ok;
}

static int vv_compare(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;

    return (*x > *y) - (*x < *y);
}

typedef double (*VVFigure)(const VVRound *round);

static double vv_median(const VVBench *b, VVFigure figure)
{
    const int n = b->args->rounds;
    g_autofree double *values = g_new(double, n);

    for (int i = 0; i < n; i++) {
        values[i] = figure(&b->rounds[i]);
    }
    qsort(values, n, sizeof(*values), vv_compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double vv_native_fps(const VVRound *r)
{
    return r->native;
}

static double vv_device_fps(const VVRound *r)
{
    return r->device;
}

static double vv_scatter_fps(const VVRound *r)
{
    return r->scatter;
}

static double vv_streams_fps(const VVRound *r)
{
    return r->streams;
}

static double vv_main_thread(const VVRound *r)
{
    return r->main_thread;
}

static double vv_native_cpu(const VVRound *r)
{
    return r->native_cpu;
}

static double vv_device_cpu(const VVRound *r)
{
    return r->device_cpu;
}

static double vv_scatter_cpu(const VVRound *r)
{
    return r->scatter_cpu;
}

static double vv_copied(const VVRound *r)
{
    return r->copied;
}

static double vv_slowest_stream(const VVRound *r)
{
    return r->slowest;
}

static double vv_ratio(const VVRound *r)
{
    return r->device / r->native;
}

static double vv_ratio_scatter(const VVRound *r)
{
    return r->scatter / r->device;
}

static double vv_ratio_streams(const VVRound *r)
{
    return r->streams / r->device;
}

static const struct {
    const char *key;
    VVFigure figure;
    int digits;
    const char *text;
} vv_figures[] = {
    { "ratio", vv_ratio, 4, "device by native" },
    { "ratio_scatter", vv_ratio_scatter, 4, "scattered by contiguous pages" },
    { "ratio_streams16", vv_ratio_streams, 4, "16 streams by one" },
    { "slowest_streams16", vv_slowest_stream, 4, "slowest of 16 by the mean" },
    { "copied_bytes", vv_copied, 0, "bytes of pixels copied for a frame" },
    { "main_thread_percent", vv_main_thread, 2, "of QEMU's main thread" },
    { "native_fps", vv_native_fps, 2, "frames/s natively, as NV12" },
    { "device_fps", vv_device_fps, 2, "frames/s through the device" },
    { "scatter_fps", vv_scatter_fps, 2, "the same with scattered pages" },
    { "streams16_fps", vv_streams_fps, 2, "the same with 16 streams" },
    { "native_cpu_ms", vv_native_cpu, 3, "ms of CPU for a frame natively" },
    { "device_cpu_ms", vv_device_cpu, 3, "ms of QEMU's CPU for a frame" },
    { "scatter_cpu_ms", vv_scatter_cpu, 3, "the same with scattered pages" },
};

static void vv_bench_report_json(const VVBench *b)
{
    QDict *dict = qdict_new();

    for (int i = 0; i < ARRAY_SIZE(vv_figures); i++) {
        vv_put_number(dict, vv_figures[i].key,
                      vv_median(b, vv_figures[i].figure),
                      vv_figures[i].digits);
    }
    vv_put_number(dict, "rss_idle_stream_kib", b->idle.rss_kib, 1);
    vv_put_number(dict, "idle_cpu_percent", b->idle.cpu_percent, 2);
    qdict_put_str(dict, "file", b->args->file);
    qdict_put_str(dict, "engine", b->engine ?: "");
    qdict_put_int(dict, "width", b->media->width);
    qdict_put_int(dict, "height", b->media->height);
    qdict_put_int(dict, "packets", b->limit ? MIN(b->limit,
                                                  b->media->n_packets) :
                                              b->media->n_packets);
    qdict_put_int(dict, "threads", b->threads);
    qdict_put_int(dict, "rounds", b->args->rounds);
    qdict_put_int(dict, "processors", g_get_num_processors());
    vv_guest_json(b->guest, dict);
    vv_print_json(dict);
}

static void vv_bench_report(const VVBench *b)
{
    printf("%s: %s %dx%d, %u rounds, %u threads, %s\n", b->args->file,
           qvv_coded_format_name(b->media->coded_format), b->media->width,
           b->media->height, b->args->rounds, b->threads,
           b->engine ?: "no engine");
    for (int i = 0; i < ARRAY_SIZE(vv_figures); i++) {
        printf("  %-20s %10.*f  %s\n", vv_figures[i].key,
               vv_figures[i].digits, vv_median(b, vv_figures[i].figure),
               vv_figures[i].text);
    }
    printf("  %-20s %10.1f  KiB of QEMU for each open, idle stream\n",
           "rss_idle_stream_kib", b->idle.rss_kib);
    printf("  %-20s %10.2f  percent of a core more with 16 idle streams\n",
           "idle_cpu_percent", b->idle.cpu_percent);
}

static bool vv_bench_run(VVBench *b, Error **errp)
{
    if (!vv_bench_open_device(b, errp) || !vv_bench_idle(b, errp)) {
        return false;
    }
    for (int i = 0; i < b->args->rounds; i++) {
        if (!vv_bench_round(b, i, errp)) {
            return false;
        }
    }
    return true;
}

int vv_cmd_bench(const VVArgs *args)
{
    VVGuestConfig config = vv_guest_options(args);
    VVBench b = {
        .args = args,
        .threads = vv_codec_threads(args),
        .limit = args->limit < 0 ? VV_BENCH_LIMIT : args->limit,
    };
    Error *err = NULL;
    g_autoptr(VVMedia) media = vv_demux(args->file, &err);
    g_autoptr(VVGuest) g = NULL;

    config.max_streams = VV_BENCH_STREAMS;
    g = media ? vv_guest_start(&config, &err) : NULL;
    if (g) {
        b.media = media;
        b.guest = g;
        b.rounds = g_new0(VVRound, args->rounds);
        if (vv_bench_run(&b, &err)) {
            vv_bench_say("", 0, 0);
            if (args->json) {
                vv_bench_report_json(&b);
            } else {
                vv_bench_report(&b);
            }
        }
        g_free(b.rounds);
        g_free(b.engine);
        av_buffer_unref(&b.device);
    }
    if (err) {
        error_reportf_err(err, "%s: ", args->file);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
