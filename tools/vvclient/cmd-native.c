/*
 * vvclient native: the same file with libavcodec, to compare with
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "frame.h"
#include "native.h"
#include "vvclient.h"
#include "y4m.h"

typedef struct VVNativeSink {
    GChecksum *md5;
    VVY4m *y4m;
    VVFrame frame;
    uint64_t shown;
    Error *err;
} VVNativeSink;

static void vv_native_sink(const AVFrame *av, bool shown, void *opaque)
{
    VVNativeSink *sink = opaque;

    if (!shown || sink->err) {
        return;
    }
    sink->shown++;
    if (!sink->md5 && !sink->y4m) {
        vv_native_check(av, &sink->err);
        return;
    }
    if (!vv_native_picture(av, &sink->frame, &sink->err)) {
        return;
    }
    if (sink->md5) {
        g_checksum_update(sink->md5, sink->frame.data->data,
                          sink->frame.data->len);
    }
    if (sink->y4m) {
        vv_y4m_write(sink->y4m, &sink->frame, &sink->err);
    }
}

static void vv_native_report(const VVArgs *args, const VVMedia *media,
                             const VVNativeResult *r, const VVNativeSink *sink)
{
    double fps = vv_fps(r->frames, r->seconds);
    QDict *dict;

    if (!args->json) {
        if (sink->md5) {
            printf("%s\n", g_checksum_get_string(sink->md5));
        }
        fprintf(stderr, "%s: %s, %" PRIu64 " frames, %.1f frames/s natively\n",
                args->file, avcodec_get_name(media->codec_id), sink->shown,
                fps);
        return;
    }
    dict = qdict_new();
    qdict_put_str(dict, "file", args->file);
    qdict_put_int(dict, "frames", sink->shown);
    qdict_put_int(dict, "n_errors", r->bad);
    vv_put_number(dict, "seconds", r->seconds, 6);
    vv_put_number(dict, "fps", fps, 3);
    if (sink->md5) {
        qdict_put_str(dict, "md5", g_checksum_get_string(sink->md5));
    }
    vv_print_json(dict);
}

int vv_cmd_native(const VVArgs *args)
{
    Error *err = NULL;
    g_autoptr(VVMedia) media = vv_demux(args->file, &err);
    VVNativeSink sink = { 0 };
    VVNativeResult r;
    bool ok;

    if (!media) {
        error_reportf_err(err, "%s: ", args->file);
        return EXIT_FAILURE;
    }
    vv_frame_init(&sink.frame);
    sink.md5 = args->md5 ? g_checksum_new(G_CHECKSUM_MD5) : NULL;
    if (args->output) {
        sink.y4m = vv_y4m_new(args->output, media->frame_rate,
                              media->sample_aspect);
    }
    ok = vv_native_decode(media, args->threads, MAX(args->limit, 0), 0,
                          vv_native_sink, &sink, &r, &err);
    if (ok) {
        vv_native_report(args, media, &r, &sink);
        err = sink.err;
    }
    if (sink.y4m) {
        vv_y4m_close(sink.y4m, err ? NULL : &err);
    }
    if (!err && r.bad) {
        error_setg(&err, "libavcodec found %" PRIu64 " errors", r.bad);
    }
    if (!err && media->trouble) {
        error_setg(&err, "%s", media->trouble);
    }
    if (!err && !sink.shown) {
        error_setg(&err, "not one frame came out of it");
    }
    if (sink.md5) {
        g_checksum_free(sink.md5);
    }
    vv_frame_cleanup(&sink.frame);
    if (err) {
        error_reportf_err(err, "%s: ", args->file);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
