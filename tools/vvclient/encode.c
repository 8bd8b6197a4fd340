/*
 * vvclient: an encoder stream of the device
 *
 * The loop is the user's, see cmd-encode.c and cmd-transcode.c: this here
 * agrees on formats, sends frames and understands what comes back.  Coded
 * buffers go round: they are queued again as soon as they are read.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"
#include "encode.h"

#define VV_CODED_BUFFERS        8
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
    uint64_t frame;             /* VV_FRAME, VV_CONTROLS */
    unsigned generation;        /* VV_CODED */
    unsigned first, end;        /* VV_CONTROLS: of the settings */
} VVEncoderCommand;

static void vv_encoder_note(VVEncoder *e, uint32_t cookie,
                            VVEncoderCommand cmd)
{
    g_hash_table_insert(e->commands, GUINT_TO_POINTER(cookie),
                        g_memdup2(&cmd, sizeof(cmd)));
}

unsigned vv_encoder_unanswered(const VVEncoder *e)
{
    return e->commands ? g_hash_table_size(e->commands) : 0;
}

bool vv_encoder_check(const VVGuest *g, const VVEncoderOptions *opts,
                      uint32_t fourcc, Error **errp)
{
    const char *name = qvv_coded_format_name(opts->format);
    const QVVCodedCaps *caps = qvv_caps_coder(g->caps,
        VIRTIO_VIDEO_STREAM_TYPE_ENCODER, opts->format);

    if (!caps) {
        error_setg(errp, "the device cannot encode %s", name);
        return false;
    }
    if (fourcc && !qvv_caps_linked(g->caps, VIRTIO_VIDEO_STREAM_TYPE_ENCODER,
                                   opts->format, fourcc)) {
        error_setg(errp, "the device cannot encode %s to %s",
                   qvv_fourcc_name(fourcc), name);
        return false;
    }
    return vv_settings_check(opts->settings, caps, errp);
}

/*
 * Controls
 */

/* What the device really took */
static void vv_encoder_compare(VVEncoder *e, const QVVParams *p,
                               unsigned first, unsigned end)
{
    for (unsigned i = first; e->opts->verbose && i < end; i++) {
        const VVSetting *s = &g_array_index(e->opts->settings->list, VVSetting,
                                            i);
        uint32_t id = vv_control_id(s->control, e->opts->format);

        for (unsigned j = 0; j < p->n_controls; j++) {
            uint32_t value = p->controls[j].value;
            const char *name = vv_control_value_name(s->control,
                                                     e->opts->format, value);

            if (p->controls[j].id == id && value != s->value) {
                error_printf("the device takes %s %s (%u) for %u\n",
                             vv_control_name(s->control), name ?: "", value,
                             s->value);
            }
        }
    }
}

static void vv_encoder_remember(VVEncoder *e, const QVVParams *p)
{
    for (unsigned i = 0; i < p->n_controls; i++) {
        VVControl control = vv_control_of(p->controls[i].id, e->opts->format);

        if (control < VV_CONTROL__MAX) {
            e->controls[control] = p->controls[i].value;
            e->known |= 1u << control;
        }
    }
}

static bool vv_encoder_choose_coded(VVEncoder *e)
{
    const GArray *list = e->opts->settings->list;
    g_autoptr(GByteArray) set = qvv_set_new(VIRTIO_VIDEO_TLV_CODED_SET);
    g_autoptr(QVVEvent) ev = NULL;
    g_autoptr(QVVEvent) all = NULL;

    while (e->next_setting < list->len &&
           g_array_index(list, VVSetting, e->next_setting).at_start) {
        e->next_setting++;
    }
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
    all = vv_get(&e->talk, VIRTIO_VIDEO_TLV_CODED_SET,
                 1u << VIRTIO_VIDEO_TLV_CODED_FORMAT |
                 1u << VIRTIO_VIDEO_TLV_V4L2_CONTROLS,
                 "GET_PARAMS of the coded format");
    if (all) {
        vv_encoder_remember(e, &all->params);
    }
    return all != NULL;
}

bool vv_encoder_open(VVEncoder *e, VVErrors *errors, unsigned id,
                     const VVEncoderOptions *opts)
{
    memset(e, 0, sizeof(*e));
    vv_talk_init(&e->talk, errors, id, opts->share > 1);
    e->opts = opts;
    e->caps = qvv_caps_coder(errors->guest->caps,
                             VIRTIO_VIDEO_STREAM_TYPE_ENCODER, opts->format);
    e->commands = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    if (!vv_do(&e->talk, qvv_open(e->talk.drv, id,
                                  VIRTIO_VIDEO_STREAM_TYPE_ENCODER), "OPEN")) {
        return false;
    }
    e->open = true;
    return vv_encoder_choose_coded(e);
}

/*
 * Formats and buffers
 */

bool vv_encoder_get_raw(VVEncoder *e, QVVRawFormat *raw)
{
    g_autoptr(QVVEvent) ev = vv_get(&e->talk, VIRTIO_VIDEO_TLV_RAW_SET,
                                    1u << VIRTIO_VIDEO_TLV_RAW_FORMAT,
                                    "GET_PARAMS of the raw format");

    if (ev) {
        *raw = ev->params.raw;
    }
    return ev != NULL;
}

bool vv_encoder_detach(VVEncoder *e)
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

static bool vv_encoder_take_raw(VVEncoder *e, const QVVParams *p)
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

bool vv_encoder_set_raw(VVEncoder *e, const QVVRawFormat *raw,
                        const QVVRect *crop)
{
    g_autoptr(GByteArray) set = qvv_set_new(VIRTIO_VIDEO_TLV_RAW_SET);
    g_autoptr(QVVEvent) ev = NULL;
    g_autoptr(QVVEvent) now = NULL;

    if (!vv_encoder_detach(e)) {
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
    if (!now || !vv_encoder_take_raw(e, &now->params)) {
        return false;
    }
    if (e->raw.fourcc != raw->fourcc) {
        return vv_broken_rule(&e->talk, "the device takes %s instead of %s",
                              qvv_fourcc_name(e->raw.fourcc),
                              qvv_fourcc_name(raw->fourcc));
    }
    return true;
}

static void vv_encoder_queue_output(VVEncoder *e, unsigned resource)
{
    vv_encoder_note(e, qvv_queue_output(e->talk.drv, e->talk.id, resource),
                    (VVEncoderCommand) {
        .kind = VV_CODED, .resource = resource, .generation = e->generation,
    });
}

static bool vv_encoder_drop_outputs(VVEncoder *e)
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
static bool vv_encoder_make_outputs(VVEncoder *e)
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
    if (!vv_encoder_drop_outputs(e)) {
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
        vv_encoder_queue_output(e, i);
    }
    return true;
}

bool vv_encoder_start(VVEncoder *e, const QVVPool *frames)
{
    if (!vv_encoder_make_outputs(e) ||
        !vv_attach(&e->talk, VIRTIO_VIDEO_TLV_RAW_SET, frames,
                   "attaching frame buffers", &e->blocked) ||
        !vv_unblock(&e->talk, e->blocked)) {
        return false;
    }
    e->n_attached = frames->n;
    e->blocked = false;
    e->drained = false;
    return true;
}

/*
 * Frames
 */

/* Controls that change before @frame, in the input queue */
static void vv_encoder_change(VVEncoder *e, uint64_t frame)
{
    const GArray *list = e->opts->settings->list;
    g_autoptr(GByteArray) set = NULL;
    unsigned first = e->next_setting;

    while (e->next_setting < list->len &&
           g_array_index(list, VVSetting, e->next_setting).frame <= frame) {
        e->next_setting++;
    }
    if (e->next_setting == first) {
        return;
    }
    set = qvv_set_new(VIRTIO_VIDEO_TLV_CODED_SET);
    vv_settings_append(e->opts->settings, set, first, e->next_setting);
    vv_encoder_note(e, qvv_set_params(e->talk.drv, e->talk.id,
                                      VIRTIO_VIDEO_QUEUE_TYPE_INPUT, set),
                    (VVEncoderCommand) {
        .kind = VV_CONTROLS, .frame = frame, .first = first,
        .end = e->next_setting,
    });
}

void vv_encoder_queue(VVEncoder *e, unsigned resource, uint64_t frame)
{
    vv_encoder_change(e, frame);
    vv_encoder_note(e, qvv_queue_frame(e->talk.drv, e->talk.id, resource,
                                       frame, &e->layout),
                    (VVEncoderCommand) {
        .kind = VV_FRAME, .resource = resource, .frame = frame,
    });
    e->frames_in++;
}

void vv_encoder_drain(VVEncoder *e)
{
    vv_encoder_note(e, qvv_drain(e->talk.drv, e->talk.id),
                    (VVEncoderCommand) { .kind = VV_ENCODER_DRAIN });
}

static void vv_encoder_frame_done(VVEncoder *e, const VVEncoderCommand *cmd,
                                  const QVVEvent *ev)
{
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_CANCELED) {
        e->failing = true;
    } else if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_ERROR) {
        g_autofree char *log = vv_guest_log(e->talk.guest, NULL);

        e->frames_bad++;
        vv_complain(&e->talk, "frame %" PRIu64 " could not be encoded%s%s",
                    cmd->frame, log ? ": " : "", log ?: "");
    }
    e->opts->released(cmd->resource, e->opts->opaque);
}

/*
 * Coded buffers
 */

static bool vv_encoder_check_coded(VVEncoder *e, const VVEncoderCommand *cmd,
                                   const QVVEvent *ev)
{
    const uint32_t types = VIRTIO_VIDEO_QUEUE_FLAG_KEY_FRAME |
                           VIRTIO_VIDEO_QUEUE_FLAG_P_FRAME |
                           VIRTIO_VIDEO_QUEUE_FLAG_B_FRAME;
    const QVVBuffer *buf = &e->outputs->res[cmd->resource].buffer[0];

    if (ev->offsets[0] || ev->data_sizes[0] > buf->size) {
        return vv_broken_rule(&e->talk, "%u bytes at %u in a coded buffer of "
                              "%" PRIu64, ev->data_sizes[0], ev->offsets[0],
                              buf->size);
    }
    if (ctpop32(ev->queue_flags & types) != 1 || ev->queue_flags & ~types) {
        return vv_broken_rule(&e->talk, "the flags 0x%x of frame %" PRIu64
                              " are not one of key, P and B", ev->queue_flags,
                              ev->timestamp);
    }
    return true;
}

static void vv_encoder_take_coded(VVEncoder *e, const VVEncoderCommand *cmd,
                                  const QVVEvent *ev)
{
    VVCoded coded = {
        .av = av_packet_alloc(),
        .frame = ev->timestamp,
        .flags = ev->queue_flags,
    };

    if (!coded.av || av_new_packet(coded.av, ev->data_sizes[0]) < 0) {
        g_error("out of memory");
    }
    qvv_buffer_read(e->talk.drv, &e->outputs->res[cmd->resource].buffer[0], 0,
                    coded.av->data, ev->data_sizes[0]);
    e->frames_out++;
    e->opts->coded(&coded, e->opts->opaque);
}

static bool vv_encoder_coded_done(VVEncoder *e, const VVEncoderCommand *cmd,
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
        g_autofree char *log = vv_guest_log(e->talk.guest, NULL);

        vv_complain(&e->talk, "the coded data of frame %" PRIu64 " is lost: "
                    "%s", ev->timestamp, log ?:
                    "the device marked its buffer with ERROR");
        e->frames_bad++;
    } else if (!ev->has_buffer || !ev->data_sizes[0]) {
        return vv_broken_rule(&e->talk, "an empty coded buffer");
    } else {
        if (!vv_encoder_check_coded(e, cmd, ev)) {
            return false;
        }
        vv_encoder_take_coded(e, cmd, ev);
    }
    if (e->open) {
        vv_encoder_queue_output(e, cmd->resource);
    }
    return true;
}

/*
 * Events
 */

static bool vv_encoder_standalone(VVEncoder *e, const QVVEvent *ev)
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
    vv_complain(&e->talk, "the device gave up after %" PRIu64 " frames%s%s",
                e->frames_out, log ? ": " : "", log ?: "");
    e->open = false;
    e->failed = true;
    return true;
}

static void vv_encoder_changed(VVEncoder *e, const VVEncoderCommand *cmd,
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
    }
}

bool vv_encoder_event(VVEncoder *e, const QVVEvent *ev)
{
    gpointer key = GUINT_TO_POINTER(ev->cookie);
    VVEncoderCommand *found;
    VVEncoderCommand cmd;

    if (ev->malformed) {
        g_autofree char *text = qvv_event_str(ev);

        return vv_broken_rule(&e->talk, "malformed event: %s", text);
    }
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_STANDALONE) {
        return vv_encoder_standalone(e, ev);
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
        vv_encoder_frame_done(e, &cmd, ev);
        return true;
    case VV_CODED:
        return vv_encoder_coded_done(e, &cmd, ev);
    case VV_CONTROLS:
        vv_encoder_changed(e, &cmd, ev);
        return true;
    case VV_ENCODER_DRAIN:
        /* Refused: a stream error follows, or has been there */
        e->drained = !vv_refused(ev);
        return true;
    default:
        g_assert_not_reached();
    }
}

/*
 * The end
 */

static bool vv_encoder_collect(VVEncoder *e)
{
    while (g_hash_table_size(e->commands)) {
        g_autoptr(QVVEvent) ev = qvv_next_of(e->talk.drv, e->talk.id,
                                             VV_LAST_US);

        if (!ev) {
            return vv_broken_rule(&e->talk, "%u commands were never answered",
                                  g_hash_table_size(e->commands));
        }
        if (!vv_encoder_event(e, ev)) {
            return false;
        }
    }
    return true;
}

void vv_encoder_abandon(VVEncoder *e)
{
    g_hash_table_destroy(e->commands);
    vv_talk_cleanup(&e->talk);
}

bool vv_encoder_close(VVEncoder *e)
{
    bool ok = !e->talk.errors->broken;

    if (ok && !e->failed && e->frames_out + e->frames_bad != e->frames_in) {
        vv_complain(&e->talk, "%" PRIu64 " frames went in, but %" PRIu64
                    " came out", e->frames_in, e->frames_out);
    }
    if (ok && !e->failed && e->next_setting < e->opts->settings->list->len) {
        vv_complain(&e->talk, "controls were to change at frames that never "
                    "came: there are only %" PRIu64, e->frames_in);
    }
    if (ok && e->open) {
        e->open = false;
        ok = vv_close(&e->talk);
    }
    ok = ok && vv_encoder_collect(e);
    if (ok) {
        /* Else the device still has the memory; QEMU is ended next */
        qvv_pool_free(e->talk.drv, e->outputs);
    }
    vv_encoder_abandon(e);
    return ok;
}
