/*
 * vvclient: decoding through the device, as a guest's driver does
 *
 * One loop serves all streams.  Buffers go round: a coded buffer is filled
 * again as soon as its RESOURCE_QUEUE is answered, a frame is consumed during
 * the event that brings it and queued again.  Formats are negotiated step by
 * step with waiting in between, as that happens rarely; events that come
 * meanwhile are kept by the driver and handled afterwards, in order.
 *
 * Every command is noted with its cookie until it is answered, so that an
 * answer that is missing or comes twice is found.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "decode-int.h"

#define VV_LAZY_US              (20 * 1000)
#define VV_LAST_US              (5 * G_USEC_PER_SEC)
#define VV_PROGRESS_US          (100 * 1000)

/*
 * Commands
 */

void vv_note(VVStream *s, uint32_t cookie, VVCommand cmd)
{
    cmd.stream = s;
    g_hash_table_insert(s->dec->commands, GUINT_TO_POINTER(cookie),
                        g_memdup2(&cmd, sizeof(cmd)));
}

/*
 * Coded data
 */

void vv_decode_progress(VVProgress *p, const VVDecodeOptions *opts,
                        uint64_t total)
{
    int64_t now;

    p->packets++;
    if (!opts->progress) {
        return;
    }
    now = g_get_monotonic_time();
    if (now - p->last >= VV_PROGRESS_US) {
        p->last = now;
        opts->progress(p->packets, total, opts->opaque);
    }
}

static void vv_packet_done(VVStream *s)
{
    VVDecode *dec = s->dec;

    s->packets_done++;
    vv_decode_progress(&dec->progress, dec->opts,
                       (uint64_t)dec->n_packets * dec->opts->streams *
                       (dec->opts->again ? 2 : 1));
}

static void vv_queue_packet(VVStream *s)
{
    VVDecode *dec = s->dec;
    const unsigned index = s->next_packet++;
    const VVPacket *packet = &dec->media->packets[index];
    const QVVBuffer *buf = &s->inputs->res[0].buffer[0];
    unsigned resource;

    if (packet->size > buf->size) {
        vv_complain(&s->talk, "packet %u has %zu bytes, but the device takes "
                    "no more than %" PRIu64, index, packet->size, buf->size);
        vv_packet_done(s);
        return;
    }
    resource = s->free_inputs[--s->n_free_inputs];
    qvv_buffer_write(dec->drv, &s->inputs->res[resource].buffer[0], 0,
                     packet->data, packet->size);
    vv_note(s, qvv_queue_input(dec->drv, s->id, resource, index, 0,
                               packet->size), (VVCommand) {
        .kind = VV_INPUT, .resource = resource, .packet = index,
    });
    s->held_inputs++;
}

/* Keeps the input queue full, and drains it when all has been said */
static void vv_feed(VVStream *s)
{
    if (!s->open || s->failing) {
        return;
    }
    while (s->n_free_inputs && s->next_packet < s->dec->n_packets) {
        if (s->dec->opts->in_turn && s->next_packet > s->pictures) {
            return;
        }
        vv_queue_packet(s);
    }
    if (!s->drain_sent && s->next_packet == s->dec->n_packets) {
        s->drain_sent = true;
        vv_note(s, qvv_drain(s->dec->drv, s->id), (VVCommand) {
            .kind = VV_DRAIN,
        });
    }
}

static void vv_input_done(VVStream *s, const VVCommand *cmd,
                          const QVVEvent *ev)
{
    s->free_inputs[s->n_free_inputs++] = cmd->resource;
    if (s->failed) {
        return;
    }
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_CANCELED) {
        s->failing = true;
        return;
    }
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_ERROR) {
        g_autofree char *log = vv_guest_log(s->dec->guest, NULL);

        vv_complain(&s->talk, "packet %u could not be decoded%s%s", cmd->packet,
                    log ? ": " : "", log ?: "");
    }
    vv_packet_done(s);
}

/*
 * Frames
 */

const uint8_t *vv_rows_get(void *opaque, unsigned plane, uint32_t y,
                           uint32_t x, uint32_t len)
{
    VVRows *rows = opaque;
    const QVVLayout *l = rows->layout;
    const QVVBuffer *buf = &rows->res->buffer[l->buffer[plane]];
    uint64_t offset = l->offset[plane] + (uint64_t)y * l->stride[plane] + x;
    size_t reach;
    uint8_t *ptr = qvv_buffer_ptr(rows->drv, buf, offset, &reach);

    if (ptr && reach >= len) {
        return ptr;
    }
    if (rows->size[plane] < len) {
        g_free(rows->row[plane]);
        rows->row[plane] = g_malloc(len);
        rows->size[plane] = len;
    }
    qvv_buffer_read(rows->drv, buf, offset, rows->row[plane], len);
    return rows->row[plane];
}

void vv_rows_cleanup(VVRows *rows)
{
    for (unsigned p = 0; p < QVV_MAX_FRAME_PLANES; p++) {
        g_free(rows->row[p]);
    }
}

/* Offsets and sizes must be those that the format gives */
static bool vv_check_picture(VVStream *s, const QVVEvent *ev)
{
    for (unsigned i = 0; i < s->layout.n_planes; i++) {
        uint64_t size = (uint64_t)s->layout.stride[i] * s->layout.rows[i];

        if (ev->offsets[i] != s->layout.offset[i] ||
            ev->data_sizes[i] != size) {
            return vv_broken_rule(&s->talk, "plane %u has %u bytes at %u, not "
                                  "%" PRIu64 " at %" PRIu64, i,
                                  ev->data_sizes[i], ev->offsets[i], size,
                                  s->layout.offset[i]);
        }
    }
    if (ev->timestamp >= s->next_packet) {
        return vv_broken_rule(&s->talk, "a frame of packet %" PRIu64 ", which "
                              "was never sent", ev->timestamp);
    }
    return true;
}

/* Returns: true if the buffer can be filled again */
static bool vv_show(VVStream *s, const VVCommand *cmd, const QVVEvent *ev)
{
    VVDecode *dec = s->dec;
    VVPicture pic = {
        .stream = s->id,
        .number = s->frames,
        .packet = ev->timestamp,
        .pool = s->outputs,
        .resource = cmd->resource,
        .raw = &s->raw,
        .layout = &s->layout,
        .crop = s->crop,
        .source = { vv_rows_get, &s->rows },
    };

    s->rows.res = &s->outputs->res[cmd->resource];
    s->pictures++;
    if (dec->media->packets[ev->timestamp].discard) {
        dec->result->hidden++;
        return true;
    }
    s->frames++;
    dec->result->frames++;
    return !dec->opts->picture ||
           dec->opts->picture(&pic, dec->opts->opaque);
}

void vv_decode_release(VVDecode *dec, unsigned stream, unsigned resource)
{
    VVStream *s = &dec->streams[stream];

    if (!s->open || s->failing) {
        return;
    }
    if (s->settling) {
        s->canceled |= 1u << resource;
    } else {
        vv_queue_output(s, resource);
    }
}

bool vv_settle(VVStream *s)
{
    bool ok;

    if (!s->dec->opts->settle) {
        return true;
    }
    s->settling = true;
    ok = s->dec->opts->settle(s->dec->opts->opaque);
    s->settling = false;
    return ok && !s->dec->errors->broken;
}

static bool vv_output_done(VVStream *s, const VVCommand *cmd,
                           const QVVEvent *ev)
{
    if (cmd->generation != s->generation) {
        if (!(ev->flags & VIRTIO_VIDEO_EVENT_FLAG_CANCELED)) {
            return vv_broken_rule(&s->talk, "a frame in a buffer that was "
                                  "taken back");
        }
        return true;
    }
    s->n_queued_outputs--;
    if (s->failed) {
        return true;
    }
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_CANCELED) {
        /* A stream error follows, or a new format */
        s->canceled |= 1u << cmd->resource;
        return true;
    }
    if (!ev->has_buffer || !ev->data_sizes[0]) {
        if (!(ev->flags & VIRTIO_VIDEO_EVENT_FLAG_ERROR)) {
            return vv_broken_rule(&s->talk, "an empty frame");
        }
        s->refused++;
        return true;
    }
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_ERROR) {
        g_autofree char *log = vv_guest_log(s->dec->guest, NULL);

        vv_complain(&s->talk, "frame %" PRIu64 " (of packet %" PRIu64 ") is "
                    "corrupt: %s", s->frames, ev->timestamp, log ?:
                    "the device marked its buffer with ERROR");
    }
    if (!vv_check_picture(s, ev)) {
        return false;
    }
    if (vv_show(s, cmd, ev) && s->open && !s->failing) {
        vv_queue_output(s, cmd->resource);
    }
    return true;
}

/*
 * Events
 */

static void vv_stream_failed(VVStream *s)
{
    g_autofree char *prefix = g_strdup_printf("virtio-video: stream %u: ",
                                              s->id);
    g_autofree char *log = vv_guest_log(s->dec->guest, prefix);

    vv_complain(&s->talk, "the device gave up after %u of %u packets, %" PRIu64
                " frames%s%s", s->packets_done, s->dec->n_packets, s->frames,
                log ? ": " : "", log ?: "");
    s->open = false;
    s->failed = true;
    s->dec->n_active--;
    s->ended = g_get_monotonic_time();
}

static bool vv_standalone(VVStream *s, const QVVEvent *ev)
{
    if (ev->type == VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS) {
        return !s->open || vv_format_change(s, ev);
    }
    if (ev->type == VIRTIO_VIDEO_CMD_STREAM_CLOSE &&
        (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_ERROR)) {
        vv_stream_failed(s);
        return true;
    }
    return vv_broken_rule(&s->talk, "unknown standalone event 0x%x", ev->type);
}

/* Back to the first packet */
static void vv_begin_again(VVStream *s)
{
    if (s->dec->opts->again == VV_AGAIN_SEEK &&
        !vv_do(&s->talk, qvv_queue_reset(s->dec->drv, s->id,
                                         VIRTIO_VIDEO_QUEUE_TYPE_INPUT),
               "QUEUE_RESET of the input queue")) {
        return;
    }
    s->again = true;
    s->next_packet = 0;
    s->pictures = 0;
    s->drain_sent = false;
}

static void vv_drained(VVStream *s)
{
    if (s->dec->opts->again && !s->again) {
        vv_begin_again(s);
        return;
    }
    s->done = true;
    s->ended = g_get_monotonic_time();
    s->dec->n_active--;
}

static bool vv_answered(VVDecode *dec, const VVCommand *cmd,
                        const QVVEvent *ev)
{
    VVStream *s = cmd->stream;

    switch (cmd->kind) {
    case VV_INPUT:
        vv_input_done(s, cmd, ev);
        return true;
    case VV_OUTPUT:
        return vv_output_done(s, cmd, ev);
    case VV_DRAIN:
        /* Refused: a stream error follows, or has been there */
        if (!vv_refused(ev)) {
            vv_drained(s);
        }
        return true;
    default:
        g_assert_not_reached();
    }
}

static bool vv_handle(VVDecode *dec, const QVVEvent *ev)
{
    gpointer key = GUINT_TO_POINTER(ev->cookie);
    VVCommand *found;
    VVCommand cmd;
    VVStream *s;

    if (ev->stream >= dec->opts->streams && dec->opts->event) {
        return dec->opts->event(ev, dec->opts->opaque);
    }
    if (ev->malformed || ev->stream >= dec->opts->streams) {
        g_autofree char *text = qvv_event_str(ev);

        return vv_broken_device(dec->errors, "malformed event: %s", text);
    }
    s = &dec->streams[ev->stream];
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_STANDALONE) {
        return vv_standalone(s, ev);
    }
    found = g_hash_table_lookup(dec->commands, key);
    if (!found || found->stream != s) {
        g_autofree char *text = qvv_event_str(ev);

        return vv_broken_device(dec->errors, "an answer to nothing: %s", text);
    }
    cmd = *found;
    g_hash_table_remove(dec->commands, key);
    return vv_answered(dec, &cmd, ev);
}

/*
 * One notification for as many commands as possible: it is what costs most,
 * for QEMU as well.  The device must not run dry by that.
 */

static bool vv_runs_low(const VVStream *s)
{
    unsigned inputs = s->inputs->n - s->n_free_inputs - s->held_inputs;
    unsigned outputs = s->n_queued_outputs - s->held_outputs;

    return (s->held_inputs && inputs <= s->inputs->n / 2) ||
           (s->held_outputs && outputs <= s->outputs->n / 2) ||
           (s->drain_sent && !s->done);
}

static void vv_notify(VVDecode *dec)
{
    qvv_flush(dec->drv);
    for (unsigned i = 0; i < dec->opts->streams; i++) {
        dec->streams[i].held_inputs = 0;
        dec->streams[i].held_outputs = 0;
    }
}

static void vv_notify_if_low(VVDecode *dec)
{
    for (unsigned i = 0; i < dec->opts->streams; i++) {
        if (dec->streams[i].open && vv_runs_low(&dec->streams[i])) {
            vv_notify(dec);
            return;
        }
    }
    if (dec->opts->event) {
        qvv_flush(dec->drv);
    }
}

/* NULL: the device says nothing any more, and that is reported */
static QVVEvent *vv_next_event(VVDecode *dec)
{
    QVVEvent *ev = qvv_next(dec->drv, VV_LAZY_US);

    if (!ev) {
        vv_notify(dec);
        ev = vv_patient_next(dec->errors, -1,
                             g_hash_table_size(dec->commands));
    }
    return ev;
}

/* Everything that is there; then everything that can be sent */
static bool vv_turn(VVDecode *dec)
{
    QVVEvent *ev = vv_next_event(dec);

    while (ev && !dec->errors->broken) {
        qvv_hold(dec->drv);
        vv_handle(dec, ev);
        qvv_event_free(ev);
        ev = dec->errors->broken ? NULL : qvv_next(dec->drv, 0);
    }
    qvv_hold(dec->drv);
    for (unsigned i = 0; i < dec->opts->streams && !dec->errors->broken; i++) {
        vv_feed(&dec->streams[i]);
    }
    vv_notify_if_low(dec);
    return !dec->errors->broken;
}

/*
 * Begin and end
 */

/*
 * What was still queued has been canceled by now, and what the device has not
 * even seen when the stream failed is refused; nothing may be missing
 */
static bool vv_collect(VVDecode *dec)
{
    QVVEvent *ev;

    qvv_flush(dec->drv);
    while ((ev = qvv_next(dec->drv, g_hash_table_size(dec->commands) ?
                          VV_LAST_US : 0))) {
        bool ok = vv_handle(dec, ev);

        qvv_event_free(ev);
        if (!ok) {
            return false;
        }
    }
    if (g_hash_table_size(dec->commands)) {
        return vv_broken_device(dec->errors, "%u commands were never answered",
                                g_hash_table_size(dec->commands));
    }
    return true;
}

/* All streams have the same to do */
double vv_decode_slowest(const int64_t *times, unsigned n)
{
    double slowest = 0, sum = 0;

    for (unsigned i = 0; i < n; i++) {
        double fps = 1e6 / MAX(times[i], 1);

        slowest = i ? MIN(slowest, fps) : fps;
        sum += fps;
    }
    return slowest / (sum / n);
}

static bool vv_run(VVDecode *dec)
{
    g_autofree int64_t *times = g_new(int64_t, dec->opts->streams);
    VVUsage before, after;
    int64_t start;

    for (unsigned i = 0; i < dec->opts->streams; i++) {
        if (!vv_open_stream(&dec->streams[i])) {
            return vv_broken_rule(&dec->streams[i].talk, "failed before it "
                                  "got anything");
        }
    }
    before = vv_guest_usage(dec->guest);
    start = g_get_monotonic_time();
    qvv_hold(dec->drv);
    for (unsigned i = 0; i < dec->opts->streams; i++) {
        vv_queue_outputs(&dec->streams[i]);
        vv_feed(&dec->streams[i]);
    }
    vv_notify(dec);
    while (dec->n_active) {
        if (!vv_turn(dec)) {
            return false;
        }
    }
    dec->result->seconds = (g_get_monotonic_time() - start) / 1e6;
    after = vv_guest_usage(dec->guest);
    dec->result->main_thread_ns = after.main_thread_ns - before.main_thread_ns;
    dec->result->qemu_ns = after.all_threads_ns - before.all_threads_ns;
    for (unsigned i = 0; i < dec->opts->streams; i++) {
        times[i] = dec->streams[i].ended - start;
    }
    dec->result->slowest = vv_decode_slowest(times, dec->opts->streams);
    dec->result->raw = dec->streams[0].raw;

    for (unsigned i = 0; i < dec->opts->streams; i++) {
        if (!vv_settle(&dec->streams[i])) {
            return false;
        }
        if (!vv_close_stream(&dec->streams[i])) {
            return false;
        }
    }
    return vv_collect(dec);
}

static void vv_free_streams(VVDecode *dec)
{
    for (unsigned i = 0; i < dec->opts->streams; i++) {
        VVStream *s = &dec->streams[i];

        if (s->open && dec->errors->broken) {
            /* The device still has the memory; QEMU is ended next */
            continue;
        }
        qvv_pool_free(dec->drv, s->inputs);
        qvv_pool_free(dec->drv, s->outputs);
        vv_rows_cleanup(&s->rows);
    }
    g_free(dec->streams);
}

static bool vv_check_caps(const VVGuest *g, const VVMedia *media,
                          const VVDecodeOptions *opts, Error **errp)
{
    const char *name = qvv_coded_format_name(media->coded_format);

    if (!qvv_caps_coder(g->caps, VIRTIO_VIDEO_STREAM_TYPE_DECODER,
                        media->coded_format)) {
        error_setg(errp, "the device cannot decode %s", name);
        return false;
    }
    if (opts->fourcc &&
        !qvv_caps_linked(g->caps, VIRTIO_VIDEO_STREAM_TYPE_DECODER,
                         media->coded_format, opts->fourcc)) {
        error_setg(errp, "the device cannot decode %s to %s", name,
                   qvv_fourcc_name(opts->fourcc));
        return false;
    }
    if (opts->streams > g->max_streams) {
        error_setg(errp, "the device has %u streams, not %u",
                   g->max_streams, opts->streams);
        return false;
    }
    return true;
}

bool vv_decode(VVGuest *g, const VVMedia *media, const VVDecodeOptions *opts,
               VVDecodeResult *result, Error **errp)
{
    VVDecode dec = {
        .guest = g,
        .drv = g->driver,
        .media = media,
        .opts = opts,
        .result = result,
        .errors = &result->errors,
        .n_active = opts->streams,
    };
    bool ok;

    memset(result, 0, sizeof(*result));
    vv_errors_init(&result->errors, g);
    if (!vv_check_caps(g, media, opts, errp)) {
        return false;
    }
    if (vv_guest_is_media(g)) {
        return vv_decode_media(g, media, opts, result, errp);
    }
    dec.n_packets = opts->limit ? MIN(opts->limit, media->n_packets) :
                                  media->n_packets;
    dec.commands = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    dec.streams = g_new0(VVStream, opts->streams);
    for (unsigned i = 0; i < opts->streams; i++) {
        dec.streams[i].dec = &dec;
        dec.streams[i].id = i;
        dec.streams[i].rows = (VVRows) {
            .drv = g->driver, .layout = &dec.streams[i].layout,
        };
        vv_talk_init(&dec.streams[i].talk, &result->errors, i,
                     opts->streams > 1);
    }

    if (opts->begin) {
        opts->begin(&dec, opts->opaque);
    }
    ok = vv_run(&dec);
    for (unsigned i = 0; i < opts->streams; i++) {
        vv_talk_cleanup(&dec.streams[i].talk);
    }
    vv_free_streams(&dec);
    g_hash_table_destroy(dec.commands);
    error_propagate(errp, g_steal_pointer(&result->errors.broken));
    return ok;
}

void vv_decode_result_cleanup(VVDecodeResult *result)
{
    vv_errors_cleanup(&result->errors);
}
