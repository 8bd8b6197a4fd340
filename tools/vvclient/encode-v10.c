/*
 * vvclient: an encoder stream of draft v10
 *
 * Coded buffers go round: they are queued again as soon as they are read.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "encode-int.h"

/* More than coded frames take, even such that can't be compressed */
#define VV_CODED_SLACK          (64 * 1024)
#define VV_LAST_US              (5 * G_USEC_PER_SEC)

typedef enum VVEncoderCommandKind {
    VV_FRAME,
    VV_CODED,
    VV_CONTROLS,
    VV_ENCODER_DRAIN,
} VVEncoderCommandKind;

/* A command that is not answered yet */
typedef struct VVEncoderCommand {
    VVEncoderCommandKind kind;
    unsigned resource;
    uint64_t frame;             /* VV_FRAME, VV_CONTROLS; next at the drain */
    unsigned generation;        /* VV_CODED */
    unsigned first, end;        /* VV_CONTROLS: of the settings */
} VVEncoderCommand;

static void v10_note(VVEncoder *e, uint32_t cookie, VVEncoderCommand cmd)
{
    g_hash_table_insert(e->commands, GUINT_TO_POINTER(cookie),
                        g_memdup2(&cmd, sizeof(cmd)));
}

static unsigned v10_unanswered(const VVEncoder *e)
{
    return e->commands ? g_hash_table_size(e->commands) : 0;
}

/*
 * Controls
 */

static bool v10_choose_coded(VVEncoder *e)
{
    g_autoptr(GByteArray) set = qvv_set_new(VIRTIO_VIDEO_TLV_CODED_SET);
    g_autoptr(QVVEvent) ev = NULL;

    vv_encoder_due_at_start(e);
    qvv_set_coded_format(set, e->opts->format);
    vv_settings_append(e->opts->settings, set, 0, e->next_setting);
    ev = vv_set(&e->talk, set, "the coded format", &e->blocked);
    if (!ev) {
        return false;
    }
    if (ev->params.coded_format != e->opts->format) {
        return vv_broken_rule(&e->talk, "the device takes %s instead of %s",
                              qvv_coded_format_name(ev->params.coded_format),
                              qvv_coded_format_name(e->opts->format));
    }
    vv_encoder_compare(e, &ev->params, 0, e->next_setting);
    return true;
}

static bool v10_read_controls(VVEncoder *e, QVVParams *p)
{
    g_autoptr(QVVEvent) ev = vv_get(&e->talk, VIRTIO_VIDEO_TLV_CODED_SET,
                                    1u << VIRTIO_VIDEO_TLV_CODED_FORMAT |
                                    1u << VIRTIO_VIDEO_TLV_V4L2_CONTROLS,
                                    "GET_PARAMS of the coded format");

    if (ev) {
        *p = ev->params;
    }
    return ev != NULL;
}

static bool v10_open(VVEncoder *e)
{
    e->id = e->talk.id;
    e->commands = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    if (!vv_do(&e->talk, qvv_open(e->talk.drv, e->talk.id,
                                  VIRTIO_VIDEO_STREAM_TYPE_ENCODER), "OPEN")) {
        return false;
    }
    e->open = true;
    return v10_choose_coded(e);
}

/*
 * Formats and buffers
 */

static bool v10_get_raw(VVEncoder *e, QVVRawFormat *raw)
{
    g_autoptr(QVVEvent) ev = vv_get(&e->talk, VIRTIO_VIDEO_TLV_RAW_SET,
                                    1u << VIRTIO_VIDEO_TLV_RAW_FORMAT,
                                    "GET_PARAMS of the raw format");

    if (ev) {
        *raw = ev->params.raw;
    }
    return ev != NULL;
}

static bool v10_detach(VVEncoder *e)
{
    g_autoptr(GByteArray) set = qvv_set_new(VIRTIO_VIDEO_TLV_RAW_SET);
    g_autoptr(QVVEvent) ev = NULL;

    if (!e->n_attached) {
        return true;
    }
    qvv_set_num_resources(set, 0);
    ev = vv_set(&e->talk, set, "detaching frame buffers", &e->blocked);
    e->n_attached = 0;
    return ev != NULL;
}

static bool v10_take_raw(VVEncoder *e, const QVVParams *p)
{
    e->raw = p->raw;
    e->crop = p->crop;
    if (!qvv_layout(&e->layout, &e->raw)) {
        return vv_broken_rule(&e->talk, "raw format %s of %ux%u makes no "
                              "sense", qvv_fourcc_name(e->raw.fourcc),
                              e->raw.width, e->raw.height);
    }
    return true;
}

static bool v10_set_raw(VVEncoder *e, const QVVRawFormat *raw,
                        const QVVRect *crop)
{
    g_autoptr(GByteArray) set = qvv_set_new(VIRTIO_VIDEO_TLV_RAW_SET);
    g_autoptr(QVVEvent) ev = NULL;
    g_autoptr(QVVEvent) now = NULL;

    if (!v10_detach(e)) {
        return false;
    }
    qvv_set_raw_format(set, raw);
    if (crop) {
        qvv_set_crop(set, crop);
    }
    ev = vv_set(&e->talk, set, "the raw format", &e->blocked);
    if (!ev) {
        return false;
    }
    now = vv_get(&e->talk, VIRTIO_VIDEO_TLV_RAW_SET,
                 1u << VIRTIO_VIDEO_TLV_RAW_FORMAT |
                 1u << VIRTIO_VIDEO_TLV_CROP, "GET_PARAMS of the raw format");
    return now && v10_take_raw(e, &now->params);
}

static void v10_queue_output(VVEncoder *e, unsigned resource)
{
    v10_note(e, qvv_queue_output(e->talk.drv, e->talk.id, resource),
             (VVEncoderCommand) {
        .kind = VV_CODED, .resource = resource, .generation = e->generation,
    });
}

static bool v10_drop_outputs(VVEncoder *e)
{
    g_autoptr(GByteArray) set = qvv_set_new(VIRTIO_VIDEO_TLV_CODED_SET);
    g_autoptr(QVVEvent) ev = NULL;

    if (!e->outputs) {
        return true;
    }
    if (!vv_do(&e->talk, qvv_queue_reset(e->talk.drv, e->talk.id,
                                         VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT),
               "QUEUE_RESET of the output queue")) {
        return false;
    }
    qvv_set_num_resources(set, 0);
    ev = vv_set(&e->talk, set, "detaching coded buffers", &e->blocked);
    if (!ev) {
        return false;
    }
    qvv_pool_free(e->talk.drv, e->outputs);
    e->outputs = NULL;
    e->generation++;
    return true;
}

/* Coded buffers for any frame of the format; those that are there may do */
static bool v10_make_outputs(VVEncoder *e)
{
    const QVVCodedCaps *caps = e->caps;
    uint64_t budget = e->talk.guest->ram_free / 4 / e->opts->share;
    uint64_t size = VV_CODED_SLACK;
    unsigned n;

    for (unsigned i = 0; i < e->layout.n_planes; i++) {
        size += e->layout.size[i];
    }
    size = MIN(MAX(size, caps->resource_size.min), caps->resource_size.max);
    size = QEMU_ALIGN_UP(size, QVV_PAGE_SIZE);
    if (e->outputs && e->outputs->res[0].buffer[0].size >= size) {
        return true;
    }
    if (!v10_drop_outputs(e)) {
        return false;
    }
    n = MIN(VV_CODED_BUFFERS, MAX(budget / size, 1));
    n = MAX(MIN(n, caps->num_resources.max), caps->num_resources.min);
    e->outputs = qvv_pool_new(e->talk.drv, n, 1, &size, e->opts->scatter ?
                              QVV_SCATTERED : QVV_CONTIGUOUS);
    if (!vv_attach(&e->talk, VIRTIO_VIDEO_TLV_CODED_SET, e->outputs,
                   "attaching coded buffers", &e->blocked)) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        v10_queue_output(e, i);
    }
    return true;
}

static QVVPool *v10_make_frames(VVEncoder *e, unsigned n)
{
    return qvv_pool_new(e->talk.drv, n, e->layout.n_buffers,
                        e->layout.buffer_size, e->opts->scatter ?
                        QVV_SCATTERED : QVV_CONTIGUOUS);
}

static bool v10_start(VVEncoder *e, const QVVPool *frames)
{
    if (!v10_make_outputs(e) ||
        !vv_attach(&e->talk, VIRTIO_VIDEO_TLV_RAW_SET, frames,
                   "attaching frame buffers", &e->blocked) ||
        !vv_unblock(&e->talk, e->blocked)) {
        return false;
    }
    e->n_attached = frames->n;
    e->blocked = false;
    return true;
}

/*
 * Frames
 */

/* Controls that change before @frame, in the input queue */
static void v10_change(VVEncoder *e, uint64_t frame)
{
    g_autoptr(GByteArray) set = NULL;
    unsigned first = e->next_setting;

    if (!vv_encoder_due(e, frame)) {
        return;
    }
    set = qvv_set_new(VIRTIO_VIDEO_TLV_CODED_SET);
    vv_settings_append(e->opts->settings, set, first, e->next_setting);
    v10_note(e, qvv_set_params(e->talk.drv, e->talk.id,
                               VIRTIO_VIDEO_QUEUE_TYPE_INPUT, set),
             (VVEncoderCommand) {
        .kind = VV_CONTROLS, .frame = frame, .first = first,
        .end = e->next_setting,
    });
}

static void v10_queue(VVEncoder *e, unsigned resource, uint64_t frame)
{
    v10_change(e, frame);
    v10_note(e, qvv_queue_frame(e->talk.drv, e->talk.id, resource, frame,
                                &e->layout), (VVEncoderCommand) {
        .kind = VV_FRAME, .resource = resource, .frame = frame,
    });
}

static void v10_drain(VVEncoder *e)
{
    v10_note(e, qvv_drain(e->talk.drv, e->talk.id), (VVEncoderCommand) {
        .kind = VV_ENCODER_DRAIN, .frame = e->frames_in,
    });
    e->drains++;
}

/* Refused: a stream error follows, or has been there */
static bool v10_drain_done(VVEncoder *e, const VVEncoderCommand *cmd,
                           const QVVEvent *ev)
{
    e->drains--;
    e->drained = !e->drains && !vv_refused(ev);
    if (!vv_refused(ev) && !e->frames_bad && e->frames_out != cmd->frame) {
        return vv_broken_rule(&e->talk, "DRAIN was answered behind %" PRIu64
                              " of %" PRIu64 " frames", e->frames_out,
                              cmd->frame);
    }
    return true;
}

static void v10_frame_done(VVEncoder *e, const VVEncoderCommand *cmd,
                           const QVVEvent *ev)
{
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_CANCELED) {
        e->failing = true;
    } else if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_ERROR) {
        vv_encoder_bad_frame(e, cmd->frame);
    }
    e->opts->released(cmd->resource, e->opts->opaque);
}

/*
 * Coded buffers
 */

static bool v10_coded_done(VVEncoder *e, const VVEncoderCommand *cmd,
                           const QVVEvent *ev)
{
    if (cmd->generation != e->generation ||
        (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_CANCELED)) {
        if (!(ev->flags & VIRTIO_VIDEO_EVENT_FLAG_CANCELED)) {
            return vv_broken_rule(&e->talk, "coded data in a buffer that was "
                                  "taken back");
        }
        return true;
    }
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_ERROR) {
        vv_encoder_lost_frame(e, ev->timestamp, ev->queue_flags);
    } else if (!ev->has_buffer || ev->offsets[0]) {
        return vv_broken_rule(&e->talk, "no coded data at the beginning of a "
                              "buffer");
    } else if (!vv_encoder_take_coded(e, cmd->resource, ev->data_sizes[0],
                                      ev->timestamp, ev->queue_flags)) {
        return false;
    }
    if (e->open) {
        v10_queue_output(e, cmd->resource);
    }
    return true;
}

/*
 * Events
 */

static bool v10_standalone(VVEncoder *e, const QVVEvent *ev)
{
    g_autofree char *prefix = g_strdup_printf("virtio-video: stream %u: ",
                                              e->talk.id);
    g_autofree char *log = NULL;

    if (ev->type != VIRTIO_VIDEO_CMD_STREAM_CLOSE ||
        !(ev->flags & VIRTIO_VIDEO_EVENT_FLAG_ERROR)) {
        return vv_broken_rule(&e->talk, "unknown standalone event 0x%x",
                              ev->type);
    }
    log = vv_guest_log(e->talk.guest, prefix);
    vv_encoder_gave_up(e, log);
    e->open = false;
    return true;
}

static void v10_changed(VVEncoder *e, const VVEncoderCommand *cmd,
                        const QVVEvent *ev)
{
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_CANCELED) {
        e->failing = true;
    } else if (vv_refused(ev) || !ev->has_params) {
        g_autofree char *log = vv_guest_log(e->talk.guest, NULL);

        vv_complain(&e->talk, "controls were refused before frame %" PRIu64
                    "%s%s", cmd->frame, log ? ": " : "", log ?: "");
    } else {
        vv_encoder_compare(e, &ev->params, cmd->first, cmd->end);
        vv_encoder_note_controls(e, &ev->params, cmd->frame);
    }
}

static bool v10_event(VVEncoder *e, const QVVEvent *ev)
{
    gpointer key = GUINT_TO_POINTER(ev->cookie);
    VVEncoderCommand *found;
    VVEncoderCommand cmd;

    if (ev->malformed) {
        g_autofree char *text = qvv_event_str(ev);

        return vv_broken_rule(&e->talk, "malformed event: %s", text);
    }
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_STANDALONE) {
        return v10_standalone(e, ev);
    }
    found = g_hash_table_lookup(e->commands, key);
    if (!found) {
        g_autofree char *text = qvv_event_str(ev);

        return vv_broken_rule(&e->talk, "an answer to nothing: %s", text);
    }
    cmd = *found;
    g_hash_table_remove(e->commands, key);
    switch (cmd.kind) {
    case VV_FRAME:
        v10_frame_done(e, &cmd, ev);
        return true;
    case VV_CODED:
        return v10_coded_done(e, &cmd, ev);
    case VV_CONTROLS:
        v10_changed(e, &cmd, ev);
        return true;
    case VV_ENCODER_DRAIN:
        return v10_drain_done(e, &cmd, ev);
    default:
        g_assert_not_reached();
    }
}

/*
 * The end
 */

static bool v10_collect(VVEncoder *e)
{
    while (g_hash_table_size(e->commands)) {
        g_autoptr(QVVEvent) ev = qvv_next_of(e->talk.drv, e->talk.id,
                                             VV_LAST_US);

        if (!ev) {
            return vv_broken_rule(&e->talk, "%u commands were never answered",
                                  g_hash_table_size(e->commands));
        }
        if (!v10_event(e, ev)) {
            return false;
        }
    }
    return true;
}

static void v10_abandon(VVEncoder *e)
{
    g_hash_table_destroy(e->commands);
}

static bool v10_close(VVEncoder *e)
{
    if (e->open) {
        e->open = false;
        if (!vv_close(&e->talk)) {
            return false;
        }
    }
    return v10_collect(e);
}

const VVEncoderOps vv_encoder_v10 = {
    .open = v10_open,
    .read_controls = v10_read_controls,
    .get_raw = v10_get_raw,
    .set_raw = v10_set_raw,
    .detach = v10_detach,
    .make_frames = v10_make_frames,
    .start = v10_start,
    .queue = v10_queue,
    .drain = v10_drain,
    .event = v10_event,
    .unanswered = v10_unanswered,
    .close = v10_close,
    .abandon = v10_abandon,
};
