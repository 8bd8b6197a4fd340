/*
 * vvclient decode: a file through the device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qobject/qlist.h"
#include "decode.h"
#include "options.h"
#include "report.h"
#include "vvclient.h"
#include "y4m.h"

#include <libavutil/pixdesc.h>

#define VV_DEFAULT_STREAMS 16

/* What is done with the frames */
typedef struct VVSink {
    const char *path;           /* of the input, for messages */
    unsigned depth;             /* of the stream; 0: unknown */
    GChecksum **md5;            /* of each stream, or NULL */
    VVY4m *y4m;                 /* of stream 0, or NULL */
    VVFrame frame;
    QVVRect size;               /* of the last frame of stream 0 */
    int64_t started;
    Error *err;                 /* the first one */
} VVSink;

static unsigned vv_stream_depth(const VVMedia *media)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(media->pix_fmt);

    return desc ? desc->comp[0].depth : 0;
}

/* 0 in *fourcc: the device's choice */
static bool vv_parse_raw(const VVArgs *args, unsigned depth, uint32_t *fourcc,
                         Error **errp)
{
    const VVRawInfo *raw;

    *fourcc = 0;
    if (!args->raw) {
        return true;
    }
    raw = vv_find_raw(args->raw, errp);
    if (!raw) {
        return false;
    }
    *fourcc = raw->fourcc;
    if (!args->md5) {
        return true;
    }
    if (raw->lossy || depth > raw->depth) {
        error_setg(errp, "--raw %s loses something of a YUV stream of %u bits: "
                   "--md5 would mean nothing", args->raw, depth ?: 8);
        return false;
    }
    if (!depth) {
        error_setg(errp, "%s does not tell its bit depth, so --raw %s may lose "
                   "something: leave it out with --md5", args->file,
                   args->raw);
        return false;
    }
    return true;
}

static bool vv_sink_picture(const VVPicture *pic, void *opaque)
{
    VVSink *sink = opaque;
    bool to_file = sink->y4m && pic->stream == 0 && !sink->err;

    if (pic->stream == 0) {
        sink->size = pic->crop;
    }
    if (!sink->md5 && !to_file) {
        return true;
    }
    if (!vv_frame_convert(&sink->frame, pic->raw->fourcc, sink->depth,
                          pic->crop.left, pic->crop.top, pic->crop.width,
                          pic->crop.height, &pic->source)) {
        if (!sink->err) {
            error_setg(&sink->err, "frame %" PRIu64 ": cannot convert it from "
                       "%s", pic->number, qvv_fourcc_name(pic->raw->fourcc));
        }
        return true;
    }
    if (sink->md5) {
        g_checksum_update(sink->md5[pic->stream], sink->frame.data->data,
                          sink->frame.data->len);
    }
    if (to_file) {
        vv_y4m_write(sink->y4m, &sink->frame, &sink->err);
    }
    return true;
}

static void vv_sink_progress(uint64_t done, uint64_t total, void *opaque)
{
    VVSink *sink = opaque;
    double seconds = (g_get_monotonic_time() - sink->started) / 1e6;

    vv_show_progress(done, total, seconds);
}

static void vv_sink_init(VVSink *sink, const VVArgs *args,
                         const VVMedia *media)
{
    memset(sink, 0, sizeof(*sink));
    sink->path = args->file;
    sink->depth = vv_stream_depth(media);
    vv_frame_init(&sink->frame);
    if (args->md5) {
        sink->md5 = g_new0(GChecksum *, args->streams);
        for (int i = 0; i < args->streams; i++) {
            sink->md5[i] = g_checksum_new(G_CHECKSUM_MD5);
        }
    }
    if (args->output) {
        sink->y4m = vv_y4m_new(args->output, media->frame_rate,
                               media->sample_aspect);
    }
    sink->started = g_get_monotonic_time();
}

static void vv_sink_cleanup(VVSink *sink, int streams)
{
    if (sink->md5) {
        for (int i = 0; i < streams; i++) {
            g_checksum_free(sink->md5[i]);
        }
        g_free(sink->md5);
    }
    vv_frame_cleanup(&sink->frame);
}

/* What went wrong, in words; each is reported, their number returned */
static unsigned vv_report_errors(const VVArgs *args, const VVMedia *media,
                                 const VVDecodeResult *r, VVSink *sink,
                                 QList *list)
{
    unsigned n = r->errors.n;
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(g_free);

    for (unsigned i = 0; i < r->errors.list->len; i++) {
        g_ptr_array_add(all, g_strdup(r->errors.list->pdata[i]));
    }
    if (r->errors.n > r->errors.list->len) {
        g_ptr_array_add(all, g_strdup_printf("and %u errors more",
                                             r->errors.n -
                                             r->errors.list->len));
    }
    if (media->trouble) {
        g_ptr_array_add(all, g_strdup(media->trouble));
        n++;
    }
    if (!r->frames && !n) {
        g_ptr_array_add(all, g_strdup("not one frame came out of it"));
        n++;
    }
    if (sink->err) {
        g_ptr_array_add(all, g_strdup(error_get_pretty(sink->err)));
        error_free(sink->err);
        n++;
    }
    for (int i = 1; sink->md5 && i < args->streams; i++) {
        if (strcmp(g_checksum_get_string(sink->md5[i]),
                   g_checksum_get_string(sink->md5[0]))) {
            g_ptr_array_add(all, g_strdup_printf("the frames of stream %d are "
                                                 "not those of stream 0", i));
            n++;
        }
    }
    for (unsigned i = 0; i < all->len; i++) {
        error_report("%s: %s", args->file, (char *)all->pdata[i]);
        qlist_append_str(list, all->pdata[i]);
    }
    return n;
}

static QList *vv_md5s_json(const VVSink *sink, int streams)
{
    QList *list = qlist_new();

    for (int i = 0; i < streams; i++) {
        qlist_append_str(list, g_checksum_get_string(sink->md5[i]));
    }
    return list;
}

static void vv_report_json(const VVArgs *args, const VVMedia *media,
                           const VVGuest *g, const VVDecodeResult *r,
                           const VVSink *sink, unsigned errors, QList *list)
{
    QDict *dict = qdict_new();

    qdict_put_str(dict, "file", args->file);
    qdict_put_str(dict, "codec", qvv_coded_format_name(media->coded_format));
    qdict_put_str(dict, "raw", qvv_fourcc_name(r->raw.fourcc));
    qdict_put_int(dict, "width", sink->size.width);
    qdict_put_int(dict, "height", sink->size.height);
    qdict_put_int(dict, "packets", media->n_packets);
    qdict_put_int(dict, "frames", r->frames);
    qdict_put_int(dict, "hidden_frames", r->hidden);
    qdict_put_int(dict, "format_changes", r->format_changes);
    qdict_put_int(dict, "streams", args->streams);
    vv_guest_json(g, dict);
    qdict_put_bool(dict, "scatter", args->scatter);
    vv_put_number(dict, "seconds", r->seconds, 6);
    vv_put_number(dict, "fps", vv_fps(r->frames, r->seconds), 3);
    if (sink->md5) {
        qdict_put_str(dict, "md5", g_checksum_get_string(sink->md5[0]));
        qdict_put(dict, "md5s", vv_md5s_json(sink, args->streams));
    }
    qdict_put_int(dict, "n_errors", errors);
    qdict_put(dict, "errors", list);
    qdict_put_bool(dict, "ok", !errors);
    vv_print_json(dict);
}

static void vv_report(const VVArgs *args, const VVMedia *media,
                      const VVGuest *g, const VVDecodeResult *r,
                      const VVSink *sink)
{
    g_autofree char *guest = vv_guest_text(g);

    if (sink->md5) {
        printf("%s\n", g_checksum_get_string(sink->md5[0]));
    }
    fprintf(stderr, "%s: %s, %" PRIu64 " frames of %ux%u as %s, %.1f frames/s "
            "through %s\n", args->file,
            qvv_coded_format_name(media->coded_format), r->frames,
            sink->size.width, sink->size.height,
            qvv_fourcc_name(r->raw.fourcc),
            vv_fps(r->frames, r->seconds), guest);
    if (sink->y4m && vv_y4m_files(sink->y4m) > 1) {
        fprintf(stderr, "%s: the frame size changes, so there are %u files\n",
                args->output, vv_y4m_files(sink->y4m));
    }
}

static int vv_decode_file(const VVArgs *args, const VVMedia *media,
                          uint32_t fourcc, VVGuest *g, Error **errp)
{
    VVDecodeResult result;
    VVSink sink;
    VVDecodeOptions opts = {
        .fourcc = fourcc,
        .scatter = args->scatter,
        .streams = args->streams,
        .limit = MAX(args->limit, 0),
        .in_turn = args->in_turn,
        .again = !args->again ? VV_AGAIN_NO :
                 strcmp(args->again, "seek") ? VV_AGAIN_DRAIN : VV_AGAIN_SEEK,
        .picture = vv_sink_picture,
        .progress = vv_sink_progress,
        .opaque = &sink,
    };
    QList *list = qlist_new();
    unsigned errors = 1;
    bool ok;

    vv_sink_init(&sink, args, media);
    ok = vv_decode(g, media, &opts, &result, errp);
    vv_show_progress(0, 0, -1);
    if (ok) {
        errors = vv_report_errors(args, media, &result, &sink, list);
        if (args->json) {
            vv_report_json(args, media, g, &result, &sink, errors,
                           qobject_ref(list));
        } else {
            vv_report(args, media, g, &result, &sink);
        }
    } else {
        error_free(sink.err);
    }
    qobject_unref(list);
    if (sink.y4m && !vv_y4m_close(sink.y4m, ok ? errp : NULL)) {
        ok = false;
    }
    vv_sink_cleanup(&sink, args->streams);
    vv_decode_result_cleanup(&result);
    return ok && !errors ? EXIT_SUCCESS : EXIT_FAILURE;
}

int vv_cmd_decode(const VVArgs *args)
{
    VVGuestConfig config = vv_guest_options(args);
    g_autoptr(VVMedia) media = NULL;
    g_autoptr(VVGuest) g = NULL;
    uint32_t fourcc;
    Error *err = NULL;
    int status = EXIT_FAILURE;

    config.max_streams = MAX(args->streams, VV_DEFAULT_STREAMS);
    media = vv_demux(args->file, &err);
    if (media && vv_parse_raw(args, vv_stream_depth(media), &fourcc, &err)) {
        g = vv_guest_start(&config, &err);
        if (g) {
            status = vv_decode_file(args, media, fourcc, g, &err);
        }
    }
    if (err) {
        error_reportf_err(err, "%s: ", args->file);
        return EXIT_FAILURE;
    }
    return status;
}
