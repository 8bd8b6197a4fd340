/*
 * Fuzz targets for virtio-video: one with the scripted codec, which makes every
 * order of events happen, and one with real codecs behind it; and two for
 * virtio-media with the scripted codec, a decoder and an encoder.
 *
 * Inputs are programs, see virtio_video_actions.h.  Each starts with a fresh
 * device; a device reset ends it, and then it must have let go of everything.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "hw/virtio/video/video-device.h"
#include "system/runstate.h"
#include "system/video-codec.h"
#include "tests/qtest/libqtest.h"
#include "fuzz.h"
#include "qos_fuzz.h"
#include "virtio_media_actions.h"
#include "virtio_video_actions.h"

/* A worker that takes longer is left alone */
#define SETTLE_US   (200 * 1000)
/* A worker that takes longer to end has hung */
#define END_US      (20 * G_USEC_PER_SEC)

static VVA *program;
static VideoDevice *device;

static void run_main_loop(void)
{
    while (g_main_context_pending(NULL)) {
        main_loop_wait(true);
    }
}

/* Has no session a worker?  The device is a user of its codec, too. */
static bool no_workers(void)
{
    return device->codec->n_users == 1;
}

/*
 * Until the main loop has nothing to do and all workers sleep.  They may have
 * left work for the main loop just before, so ask that last.
 */
static void fuzz_settle(void *opaque)
{
    int64_t end = g_get_monotonic_time() + SETTLE_US;

    for (;;) {
        bool idle;

        run_main_loop();
        idle = (no_workers() || vva_all_sleep(0)) &&
               !g_main_context_pending(NULL);
        if (idle || g_get_monotonic_time() >= end) {
            return;
        }
        g_usleep(20);       /* the workers may want this processor */
    }
}

static void fuzz_pause(void *opaque, bool paused)
{
    if (paused && runstate_is_running()) {
        vm_stop(RUN_STATE_PAUSED);
    } else if (!paused && !runstate_is_running()) {
        vm_start();
    }
}

static const VVAHost fuzz_host = {
    .settle = fuzz_settle,
    .pause = fuzz_pause,
};

/* Nothing of the program is left in the device. */
static void wait_for_end(void)
{
    int64_t end = g_get_monotonic_time() + END_US;

    run_main_loop();
    while (device->n_live || !no_workers()) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(20);
        run_main_loop();
    }
    g_assert_cmpuint(video_memory_used(device->ctx.memory), ==,
                     video_memory_lost(device->ctx.memory));
    g_assert_cmpuint(device->n_events, ==, 0);
    g_assert_null(device->blocker);
}

static void virtio_video_fuzz(QTestState *s, const unsigned char *data,
                              size_t size)
{
    vva_run(program, data, size);
    wait_for_end();
}

static void virtio_video_pre_fuzz(QTestState *s)
{
    qos_init_path(s);
    device = VIDEO_DEVICE(object_resolve_path_type("", TYPE_VIRTIO_VIDEO,
                                                   NULL));
    program = vva_new(fuzz_qos_obj, fuzz_qos_alloc, s, &fuzz_host);
}

static VMA *media_program;

static void virtio_media_fuzz(QTestState *s, const unsigned char *data,
                              size_t size)
{
    vma_run(media_program, data, size);
    wait_for_end();
}

static void media_pre_fuzz(QTestState *s, bool encoder)
{
    qos_init_path(s);
    device = VIDEO_DEVICE(object_resolve_path_type("", "virtio-media-device",
                                                   NULL));
    media_program = vma_new(fuzz_qos_obj, fuzz_qos_alloc, s, &fuzz_host,
                            encoder);
}

static void virtio_media_pre_fuzz(QTestState *s)
{
    media_pre_fuzz(s, false);
}

static void virtio_media_encoder_pre_fuzz(QTestState *s)
{
    media_pre_fuzz(s, true);
}

static void add_target(const char *name, const char *description,
                       const char *codec)
{
    fuzz_add_qos_target(&(FuzzTarget){
                            .name = name,
                            .description = description,
                            .pre_fuzz = virtio_video_pre_fuzz,
                            .fuzz = virtio_video_fuzz,
                        },
                        "virtio-video",
                        &(QOSGraphTestOptions){
                            .edge.extra_device_opts = VVA_DEVICE,
                            .edge.after_cmd_line = codec,
                        });
}

static void add_media_target(const char *name, const char *description,
                             void (*pre_fuzz)(QTestState *), const char *device)
{
    fuzz_add_qos_target(&(FuzzTarget){
                            .name = name,
                            .description = description,
                            .pre_fuzz = pre_fuzz,
                            .fuzz = virtio_media_fuzz,
                        },
                        "virtio-media",
                        &(QOSGraphTestOptions){
                            .edge.extra_device_opts = device,
                            .edge.after_cmd_line = VVA_CODEC_TEST,
                        });
}

static void register_virtio_video_fuzz_targets(void)
{
    add_target("virtio-video-fuzz",
               "Fuzz commands, resources and events of virtio-video",
               VVA_CODEC_TEST);
    add_target("virtio-video-libav-fuzz",
               "Fuzz virtio-video and the codecs of libavcodec behind it",
               VVA_CODEC_LIBAV);
    add_media_target("virtio-media-fuzz", "Fuzz a decoder of virtio-media",
                     virtio_media_pre_fuzz, VMA_DEVICE);
    add_media_target("virtio-media-encoder-fuzz",
                     "Fuzz an encoder of virtio-media",
                     virtio_media_encoder_pre_fuzz, VMA_ENCODER_DEVICE);
}

fuzz_target_init(register_virtio_video_fuzz_targets);
