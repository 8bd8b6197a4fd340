/*
 * vvclient: an encoder stream through virtio-media, as a V4L2 application has
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/host-utils.h"
#include "encode-int.h"
#include "media-caps.h"

#define OUT             0       /* of VVEncoder.queued */
#define CAP             1

/* A frame that is not queued yet */
typedef struct MediaFrame {
    unsigned resource;
    uint64_t frame;
} MediaFrame;

static bool encoder_alive(const VVEncoder *e)
{
    return !e->media.failed && !e->talk.errors->broken;
}

static unsigned encoder_unanswered(const VVEncoder *e)
{
    return ctpop32(e->queued[OUT]) + ctpop32(e->queued[CAP]) +
           e->waiting.length;
}

/*
 * Controls
 */

/* Which one the device does not want: TRY tells, S does not */
static void encoder_complain(VVEncoder *e, const GArray *controls, int error)
{
    g_autofree struct vm_ext_control *c = g_memdup2(controls->data,
        controls->len * sizeof(struct vm_ext_control));
    uint32_t bad = controls->len;
    VVControl control;

    qvm_ext_ctrls(e->talk.drv, e->media.id, VM_IOC_TRY_EXT_CTRLS, c,
                  controls->len, &bad);
    if (bad >= controls->len) {
        vv_complain(&e->talk, "controls were refused: error %d", error);
        return;
    }
    control = vv_control_of(le32_to_cpu(c[bad].id), e->opts->format);
    vv_complain(&e->talk, "the device's %s encoder refuses the %s %" PRIu64
                ": error %d", qvv_coded_format_name(e->opts->format),
                vv_control_name(control), le64_to_cpu(c[bad].value), error);
}

/* Settings from @first to before @end, at once */
static bool encoder_set_controls(VVEncoder *e, unsigned first, unsigned end)
{
    const GArray *list = e->opts->settings->list;
    g_autoptr(GArray) controls = g_array_new(false, true,
                                             sizeof(struct vm_ext_control));
    struct vm_ext_control *c;
    QVVParams taken = { };
    int ret;

    g_array_set_size(controls, end - first);
    c = &g_array_index(controls, struct vm_ext_control, 0);
    for (unsigned i = first; i < end; i++) {
        const VVSetting *s = &g_array_index(list, VVSetting, i);

        c[i - first].id = cpu_to_le32(vv_control_id(s->control,
                                                    e->opts->format));
        c[i - first].value = cpu_to_le64(s->value);
    }
    ret = qvm_ext_ctrls(e->talk.drv, e->media.id, VM_IOC_S_EXT_CTRLS, c,
                        controls->len, NULL);
    if (ret > 0 && ret != VM_EIO) {
        encoder_complain(e, controls, ret);
        return true;
    }
    for (unsigned i = 0; i < MIN(controls->len, QVV_MAX_CONTROLS); i++) {
        taken.controls[taken.n_controls].id = le32_to_cpu(c[i].id);
        taken.controls[taken.n_controls++].value = le64_to_cpu(c[i].value);
    }
    vv_encoder_compare(e, &taken, first, end);
    if (!g_array_index(list, VVSetting, first).at_start) {
        vv_encoder_note_controls(e, &taken,
                                 g_array_index(list, VVSetting, first).frame);
    }
    return vv_media_try(&e->media, ret, "S_EXT_CTRLS");
}

/* Those that have a value */
static bool encoder_read_controls(VVEncoder *e, QVVParams *p)
{
    for (unsigned i = 0; i < e->caps->n_controls; i++) {
        uint32_t value;

        if (!qvm_g_ctrl(e->talk.drv, e->media.id, e->caps->controls[i].id,
                        &value)) {
            p->controls[p->n_controls].id = e->caps->controls[i].id;
            p->controls[p->n_controls++].value = value;
        }
    }
    return true;
}

static bool encoder_set_rate(VVEncoder *e)
{
    const AVRational rate = e->opts->frame_rate;
    struct vm_fract time = { rate.den, rate.num };

    if (!vv_media_do(&e->media, qvm_s_parm(e->talk.drv, e->media.id,
                                           QVM_OUTPUT, &time), "S_PARM")) {
        return false;
    }
    e->rate = (AVRational) { time.denominator, time.numerator };
    return true;
}

/*
 * Formats and buffers
 */

static bool encoder_open(VVEncoder *e)
{
    const uint32_t wanted = vv_media_pixelformat(e->opts->format);
    struct vm_pix_format_mplane pix = { .pixelformat = cpu_to_le32(wanted) };

    g_queue_init(&e->waiting);
    if (!vv_media_open(&e->media, &e->talk)) {
        return false;
    }
    e->id = e->media.id;
    e->open = true;
    if (!vv_media_do(&e->media, qvm_s_fmt(e->talk.drv, e->id, QVM_CAPTURE,
                                          &pix), "S_FMT of CAPTURE")) {
        return false;
    }
    if (le32_to_cpu(pix.pixelformat) != wanted) {
        return vv_broken_rule(&e->talk, "the device does not take %s",
                              qvv_coded_format_name(e->opts->format));
    }
    if (vv_encoder_due_at_start(e) &&
        !encoder_set_controls(e, 0, e->next_setting)) {
        return false;
    }
    return encoder_set_rate(e);
}

static bool encoder_get_raw(VVEncoder *e, QVVRawFormat *raw)
{
    struct vm_pix_format_mplane pix = { };
    QVVLayout layout;

    return vv_media_do(&e->media, qvm_g_fmt(e->talk.drv, e->id, QVM_OUTPUT,
                                            &pix), "G_FMT of OUTPUT") &&
           vv_media_layout(&e->media, &pix, raw, &layout);
}

static bool encoder_drop_outputs(VVEncoder *e)
{
    if (!e->outputs) {
        return true;
    }
    if (!vv_media_stream(&e->media, QVM_CAPTURE, false) ||
        !vv_media_drop_buffers(&e->media, QVM_CAPTURE, e->outputs)) {
        return false;
    }
    qvv_pool_free(e->talk.drv, e->outputs);
    e->outputs = NULL;
    e->queued[CAP] = 0;
    return true;
}

static bool encoder_detach(VVEncoder *e)
{
    if (!encoder_drop_outputs(e)) {
        return false;
    }
    if (!e->frames) {
        return true;
    }
    if (!vv_media_stream(&e->media, QVM_OUTPUT, false) ||
        !vv_media_drop_buffers(&e->media, QVM_OUTPUT, e->frames)) {
        return false;
    }
    e->frames = NULL;
    e->queued[OUT] = 0;
    return true;
}

static bool encoder_set_raw(VVEncoder *e, const QVVRawFormat *raw,
                            const QVVRect *crop)
{
    VVMediaSession *m = &e->media;
    struct vm_pix_format_mplane pix = {
        .pixelformat = cpu_to_le32(raw->fourcc),
        .width = cpu_to_le32(raw->width),
        .height = cpu_to_le32(raw->height),
    };

    if (!encoder_detach(e) ||
        !vv_media_do(m, qvm_s_fmt(e->talk.drv, m->id, QVM_OUTPUT, &pix),
                     "S_FMT of OUTPUT") ||
        !vv_media_layout(m, &pix, &e->raw, &e->layout)) {
        return false;
    }
    if (crop) {
        e->crop = *crop;
        return vv_media_do(m, qvm_s_selection(e->talk.drv, m->id, QVM_OUTPUT,
                                              VM_SEL_TGT_CROP, &e->crop),
                           "S_SELECTION");
    }
    return vv_media_do(m, qvm_g_selection(e->talk.drv, m->id, QVM_OUTPUT,
                                          VM_SEL_TGT_CROP, &e->crop),
                       "G_SELECTION");
}

static QVVPool *encoder_make_frames(VVEncoder *e, unsigned n)
{
    QVVPool *pool = vv_media_new_buffers(&e->media, QVM_OUTPUT, n,
                                         e->layout.buffer_size[0],
                                         e->opts->scatter);

    e->frames = pool;
    return pool;
}

static bool encoder_queue_coded(VVEncoder *e, unsigned index)
{
    e->queued[CAP] |= 1u << index;
    return vv_media_queue(&e->media, QVM_CAPTURE, e->outputs, index, 0, 0);
}

/* As large as the device says that they must be for such frames */
static bool encoder_make_outputs(VVEncoder *e)
{
    uint64_t budget = e->talk.guest->ram_free / 4 / e->opts->share;
    struct vm_pix_format_mplane pix = { };
    uint64_t size;

    if (!vv_media_do(&e->media, qvm_g_fmt(e->talk.drv, e->id, QVM_CAPTURE,
                                          &pix), "G_FMT of CAPTURE")) {
        return false;
    }
    size = MAX(le32_to_cpu(pix.plane_fmt[0].sizeimage), 1);
    e->outputs = vv_media_new_buffers(&e->media, QVM_CAPTURE,
                                      MIN(VV_CODED_BUFFERS,
                                          MAX(budget / size, 1)),
                                      size, e->opts->scatter);
    for (unsigned i = 0; e->outputs && i < e->outputs->n; i++) {
        if (!encoder_queue_coded(e, i)) {
            return false;
        }
    }
    return e->outputs != NULL;
}

static bool encoder_start(VVEncoder *e, const QVVPool *frames)
{
    g_assert(frames == e->frames);
    return (e->outputs || encoder_make_outputs(e)) &&
           vv_media_stream(&e->media, QVM_CAPTURE, true) &&
           vv_media_stream(&e->media, QVM_OUTPUT, true) && encoder_alive(e);
}

/*
 * Frames
 */

/* False: they have to wait, as controls are for all frames that are queued */
static bool encoder_change(VVEncoder *e, uint64_t frame)
{
    const GArray *list = e->opts->settings->list;
    const unsigned first = e->next_setting;

    if (first < list->len && e->queued[OUT] &&
        g_array_index(list, VVSetting, first).frame <= frame) {
        return false;
    }
    return !vv_encoder_due(e, frame) ||
           (encoder_set_controls(e, first, e->next_setting) &&
            encoder_alive(e));
}

/* Whatever can be queued now, and the drain behind it */
static bool encoder_push(VVEncoder *e)
{
    const MediaFrame *f;

    while (encoder_alive(e) && (f = g_queue_peek_head(&e->waiting)) &&
           encoder_change(e, f->frame)) {
        e->queued[OUT] |= 1u << f->resource;
        e->frame_of[f->resource] = f->frame;
        vv_media_queue(&e->media, QVM_OUTPUT, e->frames, f->resource,
                       e->layout.buffer_size[0], f->frame);
        g_free(g_queue_pop_head(&e->waiting));
    }
    if (encoder_alive(e) && e->stop_wanted && !e->waiting.length) {
        e->stop_wanted = false;
        vv_media_try(&e->media, qvm_encoder_cmd(e->talk.drv, e->id,
                                                VM_CODEC_CMD_STOP), "STOP");
    }
    return !e->talk.errors->broken;
}

static void encoder_queue(VVEncoder *e, unsigned resource, uint64_t frame)
{
    MediaFrame *f = g_new(MediaFrame, 1);

    *f = (MediaFrame) { resource, frame };
    g_queue_push_tail(&e->waiting, f);
    encoder_push(e);
}

static void encoder_drain(VVEncoder *e)
{
    e->stop_wanted = true;
    encoder_push(e);
}

/*
 * Events
 */

/* The device has said something that may mean that the stream has failed */
static bool encoder_ask_failed(VVEncoder *e)
{
    if (!vv_media_ask_failed(&e->media)) {
        return false;
    }
    if (e->media.failed && !e->failed) {
        g_autofree char *log = vv_media_log(&e->media);

        vv_encoder_gave_up(e, log);
    }
    return true;
}

static bool encoder_frame_done(VVEncoder *e, const QVMEvent *ev)
{
    if (ev->flags & VM_BUF_FLAG_ERROR) {
        if (!encoder_ask_failed(e)) {
            return false;
        }
        if (!e->failed) {
            vv_encoder_bad_frame(e, e->frame_of[ev->index]);
        }
    }
    e->opts->released(ev->index, e->opts->opaque);
    return true;
}

static uint32_t coded_flags(const QVMEvent *ev)
{
    static const uint32_t flags[][2] = {
        { VM_BUF_FLAG_KEYFRAME, VIRTIO_VIDEO_QUEUE_FLAG_KEY_FRAME },
        { VM_BUF_FLAG_PFRAME, VIRTIO_VIDEO_QUEUE_FLAG_P_FRAME },
        { VM_BUF_FLAG_BFRAME, VIRTIO_VIDEO_QUEUE_FLAG_B_FRAME },
    };
    uint32_t result = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        result |= ev->flags & flags[i][0] ? flags[i][1] : 0;
    }
    return result;
}

static bool encoder_coded_done(VVEncoder *e, const QVMEvent *ev)
{
    const bool last = ev->flags & VM_BUF_FLAG_LAST;

    if (ev->flags & VM_BUF_FLAG_ERROR) {
        if (!encoder_ask_failed(e) || e->failed) {
            return !e->talk.errors->broken;
        }
        vv_encoder_lost_frame(e, ev->usec, coded_flags(ev));
    } else if ((ev->bytesused || !last) &&
               !vv_encoder_take_coded(e, ev->index, ev->bytesused, ev->usec,
                                      coded_flags(ev))) {
        return false;
    }
    if (last) {
        e->drained = true;
        return true;
    }
    return encoder_queue_coded(e, ev->index);
}

static bool encoder_buffer_done(VVEncoder *e, const QVMEvent *ev)
{
    const QVVPool *pool = ev->type == QVM_OUTPUT ? e->frames : e->outputs;
    uint32_t *queued = &e->queued[ev->type == QVM_OUTPUT ? OUT : CAP];

    if (!pool || ev->index >= pool->n || !(*queued & 1u << ev->index)) {
        return vv_broken_rule(&e->talk, "buffer %u of queue %u was never "
                              "queued", ev->index, ev->type);
    }
    *queued &= ~(1u << ev->index);
    return ev->type == QVM_OUTPUT ? encoder_frame_done(e, ev) :
                                    encoder_coded_done(e, ev);
}

static bool encoder_event(VVEncoder *e, const QVVEvent *raw)
{
    QVMEvent ev;

    qvm_parse(raw, &ev);
    if (ev.malformed || ev.event == VIRTIO_MEDIA_EVT_ERROR) {
        return vv_broken_rule(&e->talk, "an event of kind %u%s", ev.event,
                              ev.malformed ? " that is malformed" : "");
    }
    if (ev.event == VIRTIO_MEDIA_EVT_DQBUF) {
        return encoder_buffer_done(e, &ev) && encoder_push(e);
    }
    if (ev.type != VM_EVENT_EOS) {
        return vv_broken_rule(&e->talk, "event of type %u", ev.type);
    }
    /* Of a drain, whose last buffer follows, or of a stream that has failed */
    return encoder_ask_failed(e);
}

/*
 * The end
 */

static bool encoder_close(VVEncoder *e)
{
    e->open = false;
    return vv_media_close(&e->media) && vv_media_unmap(&e->media, e->frames) &&
           vv_media_unmap(&e->media, e->outputs);
}

static void encoder_abandon(VVEncoder *e)
{
    g_queue_clear_full(&e->waiting, g_free);
}

const VVEncoderOps vv_encoder_media = {
    .open = encoder_open,
    .read_controls = encoder_read_controls,
    .get_raw = encoder_get_raw,
    .set_raw = encoder_set_raw,
    .detach = encoder_detach,
    .make_frames = encoder_make_frames,
    .start = encoder_start,
    .queue = encoder_queue,
    .drain = encoder_drain,
    .event = encoder_event,
    .unanswered = encoder_unanswered,
    .close = encoder_close,
    .abandon = encoder_abandon,
};
