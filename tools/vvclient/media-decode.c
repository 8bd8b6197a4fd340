/*
 * vvclient: decoding through virtio-media, as a V4L2 application does
 *
 * One loop serves all streams.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "decode.h"
#include "media-caps.h"
#include "media-talk.h"

#define VM_INPUTS       16
#define VM_OUTPUTS      10

typedef struct MediaDecode MediaDecode;

typedef struct MediaStream {
    MediaDecode *dec;
    VVTalk talk;
    VVMediaSession session;
    unsigned index;
    bool done;
    int64_t ended;              /* microseconds, monotonic */

    QVVPool *inputs;
    unsigned free_inputs[VV_MAX_BUFFERS];
    unsigned n_free_inputs;
    unsigned next_packet;
    unsigned packets_done;
    bool stop_sent;

    QVVPool *outputs;
    QVVRawFormat raw;
    QVVLayout layout;
    QVVRect crop;
    uint64_t frames;
    uint64_t pictures;          /* with those that the edit list hides */
    VVRows rows;
} MediaStream;

struct MediaDecode {
    VVGuest *guest;
    QVVDriver *drv;
    const VVMedia *media;
    const VVDecodeOptions *opts;
    VVDecodeResult *result;
    unsigned n_packets;
    MediaStream *streams;
    unsigned n_active;
    VVProgress progress;
};

/* Nothing more comes of it */
static void media_end(MediaStream *s)
{
    if (!s->done) {
        s->done = true;
        s->ended = g_get_monotonic_time();
        s->dec->n_active--;
    }
}

/* The device has given the stream up: EIO, or empty buffers with ERROR */
static void media_failed(MediaStream *s)
{
    g_autofree char *log = NULL;

    if (s->done) {
        return;
    }
    log = vv_media_log(&s->session);
    vv_complain(&s->talk, "the device gave up after %u of %u packets, %" PRIu64
                " frames%s%s", s->packets_done, s->dec->n_packets, s->frames,
                log ? ": " : "", log ?: "");
    media_end(s);
}

/* An ioctl has told whether the stream has failed */
static bool media_tried(MediaStream *s, bool ok)
{
    if (ok && s->session.failed) {
        media_failed(s);
    }
    return ok;
}

/*
 * Coded data
 */

static bool media_start_output(MediaStream *s)
{
    MediaDecode *dec = s->dec;
    VVMediaSession *m = &s->session;
    uint32_t wanted = vv_media_pixelformat(dec->media->coded_format);
    struct vm_pix_format_mplane pix = {
        .pixelformat = cpu_to_le32(wanted),
        .width = cpu_to_le32(dec->media->width),
        .height = cpu_to_le32(dec->media->height),
        .plane_fmt[0].sizeimage = cpu_to_le32(dec->media->max_packet),
    };

    if (!vv_media_do(m, qvm_s_fmt(dec->drv, m->id, QVM_OUTPUT, &pix),
                     "S_FMT of OUTPUT")) {
        return false;
    }
    if (le32_to_cpu(pix.pixelformat) != wanted) {
        return vv_broken_rule(&s->talk, "the device cannot decode %s",
                        qvv_coded_format_name(dec->media->coded_format));
    }
    s->inputs = vv_media_new_buffers(m, QVM_OUTPUT, VM_INPUTS,
                                     le32_to_cpu(pix.plane_fmt[0].sizeimage),
                                     dec->opts->scatter);
    if (!s->inputs) {
        return media_tried(s, !s->talk.errors->broken);
    }
    for (unsigned i = s->inputs->n; i--; ) {
        s->free_inputs[s->n_free_inputs++] = i;
    }
    return media_tried(s, vv_media_stream(m, QVM_OUTPUT, true));
}

static void media_packet_done(MediaStream *s)
{
    MediaDecode *dec = s->dec;

    s->packets_done++;
    vv_decode_progress(&dec->progress, dec->opts,
                       (uint64_t)dec->n_packets * dec->opts->streams);
}

static bool media_queue_packet(MediaStream *s)
{
    MediaDecode *dec = s->dec;
    const unsigned index = s->next_packet++;
    const VVPacket *packet = &dec->media->packets[index];
    unsigned resource = s->free_inputs[s->n_free_inputs - 1];
    QVVBuffer *buf = &s->inputs->res[resource].buffer[0];

    if (packet->size > buf->size) {
        vv_complain(&s->talk, "packet %u has %zu bytes, but the device takes "
                    "no more than %" PRIu64, index, packet->size, buf->size);
        media_packet_done(s);
        return true;
    }
    s->n_free_inputs--;
    qvv_buffer_write(dec->drv, buf, 0, packet->data, packet->size);
    return media_tried(s, vv_media_queue(&s->session, QVM_OUTPUT, s->inputs,
                                         resource, packet->size, index));
}

/* Keeps OUTPUT full, and drains when all has been said */
static bool media_feed(MediaStream *s)
{
    while (!s->done && s->n_free_inputs &&
           s->next_packet < s->dec->n_packets) {
        if (s->dec->opts->in_turn && s->next_packet > s->pictures) {
            return true;
        }
        if (!media_queue_packet(s)) {
            return false;
        }
    }
    if (!s->done && !s->stop_sent && s->next_packet == s->dec->n_packets) {
        s->stop_sent = true;
        return media_tried(s, vv_media_try(&s->session, qvm_decoder_cmd(
            s->dec->drv, s->session.id, VM_CODEC_CMD_STOP), "STOP"));
    }
    return true;
}

/*
 * Frames
 */

static bool media_queue_capture(MediaStream *s, unsigned index)
{
    return media_tried(s, vv_media_queue(&s->session, QVM_CAPTURE, s->outputs,
                                         index, 0, 0));
}

static bool media_choose_format(MediaStream *s)
{
    struct vm_pix_format_mplane pix = { };
    VVMediaSession *m = &s->session;
    QVVDriver *d = s->dec->drv;

    if (!vv_media_do(m, qvm_g_fmt(d, m->id, QVM_CAPTURE, &pix),
                     "G_FMT of CAPTURE")) {
        return false;
    }
    if (s->dec->opts->fourcc) {
        pix.pixelformat = cpu_to_le32(s->dec->opts->fourcc);
        if (!vv_media_do(m, qvm_s_fmt(d, m->id, QVM_CAPTURE, &pix),
                         "S_FMT of CAPTURE")) {
            return false;
        }
        if (le32_to_cpu(pix.pixelformat) != s->dec->opts->fourcc) {
            return vv_broken_rule(&s->talk, "the device cannot decode to %s",
                                  qvv_fourcc_name(s->dec->opts->fourcc));
        }
    }
    return vv_media_layout(m, &pix, &s->raw, &s->layout) &&
           vv_media_do(m, qvm_g_selection(d, m->id, VM_BUF_TYPE_VIDEO_CAPTURE,
                                          VM_SEL_TGT_COMPOSE, &s->crop),
                       "G_SELECTION");
}

static bool media_stop_capture(MediaStream *s)
{
    if (!s->outputs) {
        return true;
    }
    if (!vv_media_stream(&s->session, QVM_CAPTURE, false) ||
        !vv_media_drop_buffers(&s->session, QVM_CAPTURE, s->outputs)) {
        return false;
    }
    qvv_pool_free(s->dec->drv, s->outputs);
    s->outputs = NULL;
    return true;
}

/* SOURCE_CHANGE: all frames of before have come */
static bool media_start_capture(MediaStream *s)
{
    MediaDecode *dec = s->dec;
    uint64_t budget = dec->guest->ram_free / 2 / dec->opts->streams;
    uint64_t size;

    dec->result->format_changes++;
    if (!media_stop_capture(s) || !media_choose_format(s)) {
        return false;
    }
    size = s->layout.buffer_size[0];
    s->outputs = vv_media_new_buffers(&s->session, QVM_CAPTURE,
                                      MIN(VM_OUTPUTS, MAX(budget / size, 1)),
                                      size, dec->opts->scatter);
    if (!s->outputs) {
        return media_tried(s, !s->talk.errors->broken);
    }
    for (unsigned i = 0; i < s->outputs->n; i++) {
        if (!media_queue_capture(s, i)) {
            return false;
        }
    }
    return media_tried(s, vv_media_stream(&s->session, QVM_CAPTURE, true));
}

static bool media_show(MediaStream *s, const QVMEvent *ev)
{
    MediaDecode *dec = s->dec;
    VVPicture pic = {
        .stream = s->index,
        .number = s->frames,
        .packet = ev->usec,
        .pool = s->outputs,
        .resource = ev->index,
        .raw = &s->raw,
        .layout = &s->layout,
        .crop = s->crop,
        .source = { vv_rows_get, &s->rows },
    };

    if (ev->usec >= s->next_packet) {
        return vv_broken_rule(&s->talk, "a frame of packet %" PRIu64 ", which "
                              "was never sent", ev->usec);
    }
    if (ev->bytesused != s->layout.buffer_size[0]) {
        return vv_broken_rule(&s->talk, "a frame of %u bytes, not %" PRIu64,
                              ev->bytesused, s->layout.buffer_size[0]);
    }
    s->rows.res = &s->outputs->res[ev->index];
    s->pictures++;
    if (dec->media->packets[ev->usec].discard) {
        dec->result->hidden++;
        return true;
    }
    s->frames++;
    dec->result->frames++;
    if (dec->opts->picture) {
        g_assert(dec->opts->picture(&pic, dec->opts->opaque));
    }
    return true;
}

static bool media_captured(MediaStream *s, const QVMEvent *ev)
{
    if (!s->outputs || ev->index >= s->outputs->n) {
        return vv_broken_rule(&s->talk, "buffer %u was never queued",
                              ev->index);
    }
    if (ev->flags & VM_BUF_FLAG_LAST) {
        /* Of all, or of this format */
        if (ev->bytesused) {
            return vv_broken_rule(&s->talk, "a last buffer that is not empty");
        }
        return true;
    }
    if ((ev->flags & VM_BUF_FLAG_ERROR) && !ev->bytesused) {
        media_failed(s);
        return true;
    }
    if (ev->flags & VM_BUF_FLAG_ERROR) {
        g_autofree char *log = vv_guest_log(s->dec->guest, NULL);

        vv_complain(&s->talk, "frame %" PRIu64 " (of packet %" PRIu64 ") is "
                    "corrupt%s%s", s->frames, ev->usec, log ? ": " : "",
                    log ?: "");
    }
    return media_show(s, ev) && media_queue_capture(s, ev->index);
}

static void media_consumed(MediaStream *s, const QVMEvent *ev)
{
    s->free_inputs[s->n_free_inputs++] = ev->index;
    if (ev->flags & VM_BUF_FLAG_ERROR) {
        g_autofree char *log = vv_guest_log(s->dec->guest, NULL);

        vv_complain(&s->talk, "packet %" PRIu64 " could not be decoded%s%s",
                    ev->usec, log ? ": " : "", log ?: "");
    }
    media_packet_done(s);
}

/*
 * All together
 */

static MediaStream *media_find(MediaDecode *dec, uint32_t session)
{
    for (unsigned i = 0; i < dec->opts->streams; i++) {
        if (dec->streams[i].session.open &&
            dec->streams[i].session.id == session) {
            return &dec->streams[i];
        }
    }
    return NULL;
}

static bool media_handle(MediaDecode *dec, const QVMEvent *ev)
{
    MediaStream *s = media_find(dec, ev->session);

    if (!s || ev->malformed) {
        return vv_broken_device(&dec->result->errors, "an event of kind %u "
                                "for session %u%s", ev->event, ev->session,
                                ev->malformed ? " that is malformed" :
                                ", which is not open");
    }
    if (ev->event == VIRTIO_MEDIA_EVT_DQBUF) {
        if (ev->type == QVM_CAPTURE) {
            return media_captured(s, ev) && media_feed(s);
        }
        media_consumed(s, ev);
        return media_feed(s);
    }
    switch (ev->type) {
    case VM_EVENT_SOURCE_CHANGE:
        return media_start_capture(s);
    case VM_EVENT_EOS:
        if (!media_tried(s, vv_media_ask_failed(&s->session))) {
            return false;
        }
        media_end(s);
        return true;
    default:
        return vv_broken_rule(&s->talk, "event of type %u", ev->type);
    }
}

static bool media_open(MediaStream *s)
{
    return vv_media_open(&s->session, &s->talk) &&
           vv_media_do(&s->session,
                       qvm_subscribe(s->dec->drv, s->session.id,
                                     VM_EVENT_SOURCE_CHANGE, 0, 0),
                       "SUBSCRIBE to SOURCE_CHANGE") &&
           media_start_output(s);
}

static void media_close(MediaStream *s)
{
    QVVDriver *d = s->dec->drv;

    if (!s->talk.errors->broken && vv_media_close(&s->session) &&
        vv_media_unmap(&s->session, s->inputs) &&
        vv_media_unmap(&s->session, s->outputs)) {
        /* Else the device still has the memory; QEMU is ended next */
        qvv_pool_free(d, s->inputs);
        qvv_pool_free(d, s->outputs);
    }
    vv_rows_cleanup(&s->rows);
    vv_talk_cleanup(&s->talk);
}

static bool media_run(MediaDecode *dec)
{
    g_autofree int64_t *times = g_new(int64_t, dec->opts->streams);
    VVUsage before, after;
    int64_t start;

    for (unsigned i = 0; i < dec->opts->streams; i++) {
        if (!media_open(&dec->streams[i])) {
            return false;
        }
    }
    before = vv_guest_usage(dec->guest);
    start = g_get_monotonic_time();
    for (unsigned i = 0; i < dec->opts->streams; i++) {
        if (!media_feed(&dec->streams[i])) {
            return false;
        }
    }
    while (dec->n_active) {
        QVMEvent ev;

        if (!qvm_next_any(dec->drv, &ev, VV_SILENCE_US)) {
            return vv_broken_device(&dec->result->errors,
                                    "the device says nothing any more");
        }
        if (!media_handle(dec, &ev)) {
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
    return true;
}

bool vv_decode_media(VVGuest *g, const VVMedia *media,
                     const VVDecodeOptions *opts, VVDecodeResult *result,
                     Error **errp)
{
    MediaDecode dec = {
        .guest = g,
        .drv = g->driver,
        .media = media,
        .opts = opts,
        .result = result,
        .n_packets = opts->limit ? MIN(opts->limit, media->n_packets) :
                                   media->n_packets,
        .streams = g_new0(MediaStream, opts->streams),
        .n_active = opts->streams,
    };
    bool ok;

    for (unsigned i = 0; i < opts->streams; i++) {
        dec.streams[i].dec = &dec;
        dec.streams[i].index = i;
        dec.streams[i].rows = (VVRows) {
            .drv = g->driver, .layout = &dec.streams[i].layout,
        };
        vv_talk_init(&dec.streams[i].talk, &result->errors, i,
                     opts->streams > 1);
    }
    ok = media_run(&dec);
    for (unsigned i = 0; i < opts->streams; i++) {
        media_close(&dec.streams[i]);
    }
    g_free(dec.streams);
    ok = ok && !result->errors.broken;
    error_propagate(errp, g_steal_pointer(&result->errors.broken));
    return ok;
}
