/*
 * What the fuzz target of virtio-media runs, against an ordinary QEMU: programs
 * of random bytes, and if the environment says where they are
 * (VIRTIO_VIDEO_CORPUS) those that fuzzing has kept
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../virtio-media-fixture.h"
#include "qemu/module.h"
#include "virtio_media_actions.h"

#define N_PROGRAMS  60
#define MAX_SIZE    400

static void programs_settle(void *opaque)
{
    /* Once around QEMU's main loop, and a moment for the workers */
    qtest_qmp_assert_success(opaque, "{ 'execute': 'query-version' }");
    if (!g_test_rand_int_range(0, 4)) {
        g_usleep(200);
    }
}

static void programs_pause(void *opaque, bool paused)
{
    qtest_qmp_assert_success(opaque, "{ 'execute': %s }",
                             paused ? "stop" : "cont");
}

static void run_programs(Rig *r, bool encoder)
{
    const VVAHost host = {
        .settle = programs_settle,
        .pause = programs_pause,
        .opaque = r->qts,
    };
    VMA *program = vma_new(r->v, r->alloc, r->qts, &host, encoder);
    uint8_t data[MAX_SIZE];

    for (unsigned i = 0; i < N_PROGRAMS; i++) {
        size_t size = g_test_rand_int_range(20, MAX_SIZE);

        for (size_t at = 0; at < size; at++) {
            data[at] = g_test_rand_int();
        }
        vma_run(program, data, size);
        wait_threads(r, r->threads);
    }
    vma_free(program);
    start(r, NULL);
    if (!encoder) {
        assert_media_works(r);
    }
}

static void test_programs(Rig *r)
{
    run_programs(r, false);
}

static void test_encoder_programs(Rig *r)
{
    run_programs(r, true);
}

static void replay(Rig *r, const char *target, bool encoder)
{
    const VVAHost host = {
        .settle = programs_settle,
        .pause = programs_pause,
        .opaque = r->qts,
    };
    g_autofree char *path = g_build_filename(getenv("VIRTIO_VIDEO_CORPUS"),
                                             target, NULL);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    VMA *program = vma_new(r->v, r->alloc, r->qts, &host, encoder);
    const char *name;
    unsigned n = 0;

    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);
        g_autofree char *data = NULL;
        size_t size;

        g_test_message("%s", file);
        g_assert_true(g_file_get_contents(file, &data, &size, NULL));
        vma_run(program, (const uint8_t *)data, size);
        wait_threads(r, r->threads);
        n++;
    }
    g_assert_cmpuint(n, >, 0);
    vma_free(program);
    start(r, NULL);
    if (!encoder) {
        assert_media_works(r);
    }
}

static void test_replay(Rig *r)
{
    replay(r, "virtio-media-fuzz", false);
}

static void test_replay_encoder(Rig *r)
{
    replay(r, "virtio-media-encoder-fuzz", true);
}

static const TestCase replay_cases[] = {
    { "replay/virtio-media-fuzz", test_replay, .no_start = true,
      .device = "," VMA_DEVICE },
    { "replay/virtio-media-encoder-fuzz", test_replay_encoder,
      .no_start = true, .device = "," VMA_ENCODER_DEVICE },
};

static const TestCase cases[] = {
    { "media/random-programs", test_programs, .no_start = true,
      .device = "," VMA_DEVICE },
    { "media/random-encoder-programs", test_encoder_programs, .no_start = true,
      .device = "," VMA_ENCODER_DEVICE },
};

static void register_virtio_media_programs(void)
{
    virtio_media_add_tests(cases, ARRAY_SIZE(cases));
    if (getenv("VIRTIO_VIDEO_CORPUS")) {
        virtio_media_add_tests(replay_cases, ARRAY_SIZE(replay_cases));
    }
}

libqos_init(register_virtio_media_programs);
