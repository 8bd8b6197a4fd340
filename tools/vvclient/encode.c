/*
 * vvclient: an encoder stream of the device
 *
 * The loop is the user's, see cmd-encode.c and cmd-transcode.c: this here
 * agrees on formats, sends frames and understands what comes back.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"
#include "encode-int.h"

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

bool vv_encoder_due_at_start(VVEncoder *e)
{
    const GArray *list = e->opts->settings->list;
    const unsigned first = e->next_setting;

    while (e->next_setting < list->len &&
           g_array_index(list, VVSetting, e->next_setting).at_start) {
        e->next_setting++;
    }
    return e->next_setting > first;
}

bool vv_encoder_due(VVEncoder *e, uint64_t frame)
{
    const GArray *list = e->opts->settings->list;
    const unsigned first = e->next_setting;

    while (e->next_setting < list->len &&
           g_array_index(list, VVSetting, e->next_setting).frame <= frame) {
        e->next_setting++;
    }
    return e->next_setting > first;
}

void vv_encoder_compare(VVEncoder *e, const QVVParams *p, unsigned first,
                        unsigned end)
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

void vv_encoder_note_controls(VVEncoder *e, const QVVParams *p,
                              uint64_t frame)
{
    QDict *dict;

    if (!e->opts->controls) {
        return;
    }
    dict = qdict_new();
    qdict_put_int(dict, "frame", frame);
    for (unsigned i = 0; i < p->n_controls; i++) {
        VVControl control = vv_control_of(p->controls[i].id, e->opts->format);
        uint32_t value = p->controls[i].value;
        const char *name;

        if (control == VV_CONTROL__MAX) {
            continue;
        }
        name = vv_control_value_name(control, e->opts->format, value);
        if (name) {
            qdict_put_str(dict, vv_control_name(control), name);
        } else {
            qdict_put_int(dict, vv_control_name(control), value);
        }
    }
    qlist_append(e->opts->controls, dict);
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

/*
 * What comes back
 */

void vv_encoder_bad_frame(VVEncoder *e, uint64_t frame)
{
    g_autofree char *log = vv_guest_log(e->talk.guest, NULL);

    e->frames_bad++;
    vv_complain(&e->talk, "frame %" PRIu64 " could not be encoded%s%s", frame,
                log ? ": " : "", log ?: "");
}

static bool vv_encoder_is_type(uint32_t flags)
{
    const uint32_t types = VIRTIO_VIDEO_QUEUE_FLAG_KEY_FRAME |
                           VIRTIO_VIDEO_QUEUE_FLAG_P_FRAME |
                           VIRTIO_VIDEO_QUEUE_FLAG_B_FRAME;

    return ctpop32(flags & types) == 1 && !(flags & ~types);
}

void vv_encoder_lost_frame(VVEncoder *e, uint64_t frame, uint32_t flags)
{
    g_autofree char *log = vv_guest_log(e->talk.guest, NULL);

    e->frames_bad++;
    e->lost_without_type |= !vv_encoder_is_type(flags);
    vv_complain(&e->talk, "the coded data of frame %" PRIu64 " is lost: %s",
                frame, log ?: "the device marked its buffer with ERROR");
}

void vv_encoder_gave_up(VVEncoder *e, const char *log)
{
    vv_complain(&e->talk, "the device gave up after %" PRIu64 " frames%s%s",
                e->frames_out, log ? ": " : "", log ?: "");
    e->failed = true;
}

bool vv_encoder_take_coded(VVEncoder *e, unsigned resource, uint32_t size,
                           uint64_t frame, uint32_t flags)
{
    const QVVBuffer *buf = &e->outputs->res[resource].buffer[0];
    VVCoded coded = {
        .av = av_packet_alloc(),
        .frame = frame,
        .flags = flags,
    };

    if (!size || size > buf->size) {
        return vv_broken_rule(&e->talk, "%u bytes in a coded buffer of "
                              "%" PRIu64, size, buf->size);
    }
    if (!vv_encoder_is_type(flags)) {
        return vv_broken_rule(&e->talk, "the flags 0x%x of frame %" PRIu64
                              " are not one of key, P and B", flags, frame);
    }
    if (e->lost_without_type) {
        return vv_broken_rule(&e->talk, "the flags of a frame that was lost "
                              "before frame %" PRIu64 " are not one of key, P "
                              "and B", frame);
    }
    if (!coded.av || av_new_packet(coded.av, size) < 0) {
        g_error("out of memory");
    }
    qvv_buffer_read(e->talk.drv, buf, 0, coded.av->data, size);
    e->frames_out++;
    e->opts->coded(&coded, e->opts->opaque);
    return true;
}

/*
 * What there is in both protocols
 */

bool vv_encoder_open(VVEncoder *e, VVErrors *errors, unsigned index,
                     const VVEncoderOptions *opts)
{
    *e = (VVEncoder) {
        .ops = vv_guest_is_media(errors->guest) ? &vv_encoder_media :
                                                  &vv_encoder_v10,
        .opts = opts,
        .caps = qvv_caps_coder(errors->guest->caps,
                               VIRTIO_VIDEO_STREAM_TYPE_ENCODER, opts->format),
        .rate = { VV_DEVICE_FPS, 1 },
    };
    vv_talk_init(&e->talk, errors, index, opts->share > 1);
    return e->ops->open(e);
}

bool vv_encoder_get_raw(VVEncoder *e, QVVRawFormat *raw)
{
    return e->ops->get_raw(e, raw);
}

bool vv_encoder_set_raw(VVEncoder *e, const QVVRawFormat *raw,
                        const QVVRect *crop)
{
    if (!e->ops->set_raw(e, raw, crop)) {
        return false;
    }
    if (e->raw.fourcc != raw->fourcc) {
        return vv_broken_rule(&e->talk, "the device takes %s instead of %s",
                              qvv_fourcc_name(e->raw.fourcc),
                              qvv_fourcc_name(raw->fourcc));
    }
    return true;
}

bool vv_encoder_detach(VVEncoder *e)
{
    return e->ops->detach(e);
}

QVVPool *vv_encoder_make_frames(VVEncoder *e, unsigned n)
{
    return e->ops->make_frames(e, n);
}

bool vv_encoder_start(VVEncoder *e, const QVVPool *frames)
{
    QVVParams controls = { };

    if (!e->ops->read_controls(e, &controls)) {
        return false;
    }
    vv_encoder_remember(e, &controls);
    vv_encoder_note_controls(e, &controls, e->frames_in);
    if (!e->ops->start(e, frames)) {
        return false;
    }
    e->drained = false;
    return true;
}

void vv_encoder_queue(VVEncoder *e, unsigned resource, uint64_t frame)
{
    e->frames_in++;
    e->ops->queue(e, resource, frame);
}

void vv_encoder_drain(VVEncoder *e)
{
    e->drained = false;
    e->ops->drain(e);
}

bool vv_encoder_event(VVEncoder *e, const QVVEvent *ev)
{
    return e->ops->event(e, ev);
}

unsigned vv_encoder_unanswered(const VVEncoder *e)
{
    return e->ops ? e->ops->unanswered(e) : 0;
}

void vv_encoder_abandon(VVEncoder *e)
{
    e->ops->abandon(e);
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
    ok = ok && e->ops->close(e);
    if (ok) {
        /* Else the device still has the memory; QEMU is ended next */
        qvv_pool_free(e->talk.drv, e->outputs);
    }
    vv_encoder_abandon(e);
    return ok;
}
