/*
 * vvclient survive: broken files through the device, and then a good one
 *
 * For tests.  All goes through one QEMU, so what a broken stream leaves behind
 * would show.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "decode.h"
#include "options.h"

#define VV_BYTES_PER_PACKET (64 * 1024)

/* Pixels of a good file, decoded again and again */
typedef struct VVWitness {
    VVMedia *media;
    VVFrame frame;
    GChecksum *md5;
    char *expected;             /* of the first time */
} VVWitness;

/* Totals, for a line at the end */
typedef struct VVSurvival {
    unsigned runs, with_errors;
} VVSurvival;

static bool vv_witness_picture(const VVPicture *pic, void *opaque)
{
    VVWitness *w = opaque;

    if (vv_frame_convert(&w->frame, pic->raw->fourcc, 8, pic->crop.left,
                         pic->crop.top, pic->crop.width, pic->crop.height,
                         &pic->source)) {
        g_checksum_update(w->md5, w->frame.data->data, w->frame.data->len);
    }
    return true;
}

/* Does the good file still decode as it did at first? */
static bool vv_witness_check(VVWitness *w, VVGuest *g, Error **errp)
{
    VVDecodeOptions opts = {
        .streams = 1, .picture = vv_witness_picture, .opaque = w,
    };
    VVDecodeResult result;
    const char *md5;
    bool ok;

    g_checksum_reset(w->md5);
    ok = vv_decode(g, w->media, &opts, &result, errp);
    md5 = g_checksum_get_string(w->md5);
    if (ok && result.errors.n) {
        error_setg(errp, "the good file: %s",
                   (char *)result.errors.list->pdata[0]);
        ok = false;
    }
    vv_decode_result_cleanup(&result);
    if (!ok) {
        return false;
    }
    if (!w->expected) {
        w->expected = g_strdup(md5);
    } else if (strcmp(w->expected, md5)) {
        error_setg(errp, "the good file does not decode as before");
        return false;
    }
    return true;
}

/* Errors are welcome here; what must not be is that the rules are broken */
static bool vv_survive_media(VVSurvival *total, VVMedia *media, VVGuest *g,
                             Error **errp)
{
    VVDecodeOptions opts = { .streams = 1 };
    VVDecodeResult result;
    bool ok = vv_decode(g, media, &opts, &result, errp);

    total->runs++;
    total->with_errors += ok && result.errors.n;
    vv_decode_result_cleanup(&result);
    return ok;
}

/* Cut a packet somewhere and leave the rest: the sort of damage that happens */
static bool vv_survive_cut(VVSurvival *total, VVMedia *media, GRand *rand,
                           VVGuest *g, Error **errp)
{
    VVPacket *packet = &media->packets[g_rand_int_range(rand, 0,
                                                        media->n_packets)];
    size_t size = packet->size;
    bool ok;

    packet->size = size > 1 ? g_rand_int_range(rand, 1, size) : size;
    ok = vv_survive_media(total, media, g, errp);
    packet->size = size;
    return ok;
}

/* A file that no demuxer can make sense of, as coded buffers one by one */
static VVMedia *vv_media_of_bytes(const char *path, enum AVCodecID id,
                                  uint32_t format)
{
    g_autofree char *data = NULL;
    VVMedia *media;
    size_t size;

    if (!g_file_get_contents(path, &data, &size, NULL) || !size) {
        return NULL;
    }
    media = g_new0(VVMedia, 1);
    media->path = g_strdup(path);
    media->codec_id = id;
    media->coded_format = format;
    media->pix_fmt = AV_PIX_FMT_NONE;
    media->max_packet = MIN(size, VV_BYTES_PER_PACKET);
    media->n_packets = DIV_ROUND_UP(size, VV_BYTES_PER_PACKET);
    media->packets = g_new0(VVPacket, media->n_packets);
    for (unsigned i = 0; i < media->n_packets; i++) {
        VVPacket *p = &media->packets[i];
        size_t start = (size_t)i * VV_BYTES_PER_PACKET;

        p->av = av_packet_alloc();
        p->size = MIN(size - start, VV_BYTES_PER_PACKET);
        if (!p->av || av_new_packet(p->av, p->size) < 0) {
            g_assert_not_reached();     /* no memory */
        }
        memcpy(p->av->data, data + start, p->size);
        p->data = p->av->data;
    }
    return media;
}

/* ... which every decoder gets */
static bool vv_survive_bytes(VVSurvival *total, const char *path, VVGuest *g,
                             Error **errp)
{
    static const struct {
        enum AVCodecID id;
        uint32_t format;
    } all[] = {
        { AV_CODEC_ID_H264, VIRTIO_VIDEO_CODED_FORMAT_H264 },
        { AV_CODEC_ID_HEVC, VIRTIO_VIDEO_CODED_FORMAT_HEVC },
        { AV_CODEC_ID_VP8, VIRTIO_VIDEO_CODED_FORMAT_VP8 },
        { AV_CODEC_ID_VP9, VIRTIO_VIDEO_CODED_FORMAT_VP9 },
        { AV_CODEC_ID_AV1, VIRTIO_VIDEO_CODED_FORMAT_AV1 },
        { AV_CODEC_ID_MPEG2VIDEO, VIRTIO_VIDEO_CODED_FORMAT_MPEG2 },
        { AV_CODEC_ID_MPEG4, VIRTIO_VIDEO_CODED_FORMAT_MPEG4 },
    };

    for (int i = 0; i < ARRAY_SIZE(all); i++) {
        g_autoptr(VVMedia) media = vv_media_of_bytes(path, all[i].id,
                                                     all[i].format);

        if (media && !vv_survive_media(total, media, g, errp)) {
            return false;
        }
    }
    return true;
}

static bool vv_survive_file(VVSurvival *total, VVWitness *w, const char *path,
                            const VVArgs *args, VVGuest *g, Error **errp)
{
    g_autoptr(VVMedia) media = vv_demux(path, NULL);
    g_autoptr(GRand) rand = g_rand_new_with_seed(args->seed);
    bool ok = true;

    if (!media) {
        ok = vv_survive_bytes(total, path, g, errp);
    } else if (!args->cuts) {
        ok = vv_survive_media(total, media, g, errp);
    }
    for (int i = 0; ok && media && i < args->cuts; i++) {
        ok = vv_survive_cut(total, media, rand, g, errp);
    }
    return ok && vv_witness_check(w, g, errp);
}

static int vv_survive_all(VVWitness *w, const VVArgs *args, VVGuest *g)
{
    VVSurvival total = { };
    int failed = 0;

    for (int i = 0; args->more[i]; i++) {
        Error *err = NULL;
        bool ok = vv_survive_file(&total, w, args->more[i], args, g, &err);

        printf("%sok %d %s%s\n", ok ? "" : "not ", i + 1, args->more[i],
               args->cuts ? ", truncated" : "");
        if (!ok) {
            printf("# %s\n", error_get_pretty(err));
            error_free(err);
            failed++;
        }
        fflush(stdout);
    }
    printf("# %u streams, %u of them with errors; seed %d\n", total.runs,
           total.with_errors, args->seed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int vv_cmd_survive(const VVArgs *args)
{
    VVGuestConfig config = vv_guest_options(args);
    VVWitness w = { .md5 = g_checksum_new(G_CHECKSUM_MD5) };
    g_autoptr(VVGuest) g = NULL;
    Error *err = NULL;
    int status = EXIT_FAILURE;

    config.max_streams = 1;
    vv_frame_init(&w.frame);
    w.media = vv_demux(args->file, &err);
    if (w.media) {
        g = vv_guest_start(&config, &err);
    }
    if (g && vv_witness_check(&w, g, &err)) {
        status = vv_survive_all(&w, args, g);
    }
    if (err) {
        error_reportf_err(err, "%s: ", args->file);
    }
    g_clear_pointer(&w.media, vv_media_free);
    g_checksum_free(w.md5);
    g_free(w.expected);
    vv_frame_cleanup(&w.frame);
    return status;
}
