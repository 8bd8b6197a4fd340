/*
 * vvclient reset: leave the device while it writes to guest memory
 *
 * For tests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "decode.h"
#include "options.h"
#include "vvclient.h"

#define VV_NEXT_FRAME_US    (30 * 1000)
#define VV_LOOK_AGAIN_US    (2 * G_USEC_PER_SEC)

typedef struct VVReset {
    VVGuest *guest;
    uint64_t after;
    VVDecodeResult result;
    bool done;
    bool changed;               /* a frame, after the reset */
    size_t streams;             /* that are left */
    double seconds;             /* which the reset took */
} VVReset;

static char *vv_reset_checksum(VVReset *t, const QVVPool *pool)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_MD5);

    for (unsigned i = 0; i < pool->n; i++) {
        const QVVResource *res = &pool->res[i];

        for (unsigned b = 0; b < res->n_buffers; b++) {
            const QVVBuffer *buf = &res->buffer[b];
            g_autofree uint8_t *data = g_malloc(buf->size);

            qvv_buffer_read(t->guest->driver, buf, 0, data, buf->size);
            g_checksum_update(sum, data, buf->size);
        }
    }
    return g_strdup(g_checksum_get_string(sum));
}

/*
 * The device has the other buffers, and what makes the next frame has begun.
 * The driver may use all of them for something else once a reset is over.
 */
static void vv_reset_now(VVReset *t, const VVPicture *pic)
{
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    int64_t start;

    g_usleep(VV_NEXT_FRAME_US);
    start = g_get_monotonic_time();
    qvirtio_reset(t->guest->driver->vdev);
    t->seconds = (g_get_monotonic_time() - start) / 1e6;
    before = vv_reset_checksum(t, pic->pool);
    g_usleep(VV_LOOK_AGAIN_US);
    after = vv_reset_checksum(t, pic->pool);
    t->changed = strcmp(before, after) != 0;
    vv_guest_note_stream(t->guest, 0);
    t->streams = qlist_size(qdict_get_qlist(t->guest->device, "streams"));
    t->done = true;
}

static bool vv_reset_picture(const VVPicture *pic, void *opaque)
{
    VVReset *t = opaque;

    if (pic->number + 1 == t->after) {
        vv_reset_now(t, pic);
        vv_broken_device(&t->result.errors, "it was reset");
    }
    return true;
}

static bool vv_reset_check(const VVReset *t, Error **errp)
{
    if (!t->done) {
        error_setg(errp, "there are only %" PRIu64 " frames", t->result.frames);
    } else if (t->changed) {
        error_setg(errp, "frames have changed after the reset");
    } else if (t->streams) {
        error_setg(errp, "%zu streams are left after the reset", t->streams);
    } else {
        return true;
    }
    return false;
}

int vv_cmd_reset(const VVArgs *args)
{
    VVGuestConfig config = vv_guest_options(args);
    g_autoptr(VVMedia) media = NULL;
    g_autoptr(VVGuest) g = NULL;
    VVReset t = { .after = args->after };
    VVDecodeOptions opts = {
        .streams = 1, .picture = vv_reset_picture, .opaque = &t,
    };
    Error *err = NULL;

    config.max_streams = 1;
    media = vv_demux(args->file, &err);
    g = media ? vv_guest_start(&config, &err) : NULL;
    t.guest = g;
    if (g) {
        if (!vv_decode(g, media, &opts, &t.result, &err) && t.done) {
            error_free(err);
            err = NULL;
        }
        if (t.done) {
            printf("a reset within frame %" PRIu64 " took %.3f s\n",
                   t.after + 1, t.seconds);
        }
        if (!err) {
            vv_reset_check(&t, &err);
        }
        vv_decode_result_cleanup(&t.result);
    }
    if (err) {
        error_reportf_err(err, "%s: ", args->file);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
