/*
 * The inputs that fuzzing has found, run against an ordinary QEMU
 *
 * These tests are there only if the environment says where the inputs are:
 * VIRTIO_VIDEO_CORPUS is a folder with one folder for each fuzz target of
 * virtio_video_fuzz.c.  After each input the device must work, and have
 * no thread more than before.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../libqtest-single.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "../libqos/qgraph.h"
#include "virtio_video_actions.h"

#define SETTLE_US   (200 * 1000)

static void replay_settle(void *opaque)
{
    QTestState *qts = opaque;
    int64_t end = g_get_monotonic_time() + SETTLE_US;
    bool idle;

    do {
        /* Once around QEMU's main loop */
        qtest_qmp_assert_success(qts, "{ 'execute': 'query-version' }");
        idle = vva_all_sleep(qtest_pid(qts));
    } while (!idle && g_get_monotonic_time() < end);
}

static void replay_pause(void *opaque, bool paused)
{
    qtest_qmp_assert_success(opaque, "{ 'execute': %s }",
                             paused ? "stop" : "cont");
}

static unsigned count_threads(QTestState *qts)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", qtest_pid(qts));
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

static void assert_threads_end(QTestState *qts, unsigned before)
{
    int64_t end = g_get_monotonic_time() + QVV_TIMEOUT_US;

    while (count_threads(qts) > before) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        qtest_qmp_assert_success(qts, "{ 'execute': 'query-version' }");
        g_usleep(1000);
    }
}

static void assert_works(QVVDriver *d)
{
    g_autofree char *why = NULL;
    g_autoptr(QVVCaps) caps = NULL;

    g_assert_true(qvv_start(d, NULL));
    caps = qvv_query_caps(d, &why);
    g_assert_cmpstr(why, ==, NULL);
    g_assert_nonnull(caps);
    qvv_assert_ok(d, qvv_open(d, 0, VIRTIO_VIDEO_STREAM_TYPE_DECODER));
    qvv_assert_ok(d, qvv_close(d, 0));
    qvv_stop(d);
}

static void replay_file(VVA *program, const char *path)
{
    g_autofree char *data = NULL;
    size_t size;

    /* Whoever kills QEMU was the last to be named */
    g_test_message("%s", path);
    g_assert_true(g_file_get_contents(path, &data, &size, NULL));
    vva_run(program, (const uint8_t *)data, size);
}

static void replay_folder(void *obj, void *data, QGuestAllocator *alloc)
{
    QTestState *qts = global_qtest;
    const VVAHost host = {
        .settle = replay_settle,
        .pause = replay_pause,
        .opaque = qts,
    };
    g_autofree char *path = g_build_filename(getenv("VIRTIO_VIDEO_CORPUS"),
                                             (const char *)data, NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned threads = count_threads(qts), n = 0;
    QVVDriver *d = qvv_new(obj, alloc, qts);
    VVA *program = vva_new(obj, alloc, qts, &host);
    const char *name;

    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        replay_file(program, file);
        assert_threads_end(qts, threads);
        assert_works(d);
        assert_threads_end(qts, threads);
        n++;
    }
    g_test_message("%u inputs of %s", n, path);
    g_assert_cmpuint(n, >, 0);
    vva_free(program);
    qvv_free(d);
}

static void register_virtio_video_replay_test(void)
{
    static const struct {
        const char *target;
        const char *options;
    } targets[] = {
        { "virtio-video-fuzz", VVA_CODEC_TEST " -m 64" },
        { "virtio-video-libav-fuzz", VVA_CODEC_LIBAV " -m 64" },
    };

    if (!getenv("VIRTIO_VIDEO_CORPUS")) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(targets); i++) {
        QOSGraphTestOptions opts = {
            .arg = (void *)targets[i].target,
            .edge = {
                .extra_device_opts = VVA_DEVICE,
                .after_cmd_line = targets[i].options,
            },
        };
        g_autofree char *name = g_strdup_printf("replay/%s",
                                                targets[i].target);

        qos_add_test(name, "virtio-video", replay_folder, &opts);
    }
}

libqos_init(register_virtio_video_replay_test);
