/*
 * vvclient: streams, formats and buffers, agreed on with the device
 *
 * Each step waits for its answer.  Events of other commands that come
 * meanwhile stay with the driver until the loop in decode.c asks for them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "decode-int.h"

#define VV_INPUTS               16
#define VV_OUTPUTS              10

/*
 * Buffers
 */

static QVVPlacement vv_placement(const VVDecode *dec)
{
    return dec->opts->scatter ? QVV_SCATTERED : QVV_CONTIGUOUS;
}

static bool vv_make_inputs(VVStream *s, const QVVCodedCaps *caps,
                           bool *blocked)
{
    VVDecode *dec = s->dec;
    uint64_t size = MAX(dec->media->max_packet, caps->resource_size.min);
    uint64_t budget = dec->guest->ram_free / 4 / dec->opts->streams;
    unsigned n;

    size = MIN(size, caps->resource_size.max);
    size = QEMU_ALIGN_UP(size, QVV_PAGE_SIZE);
    n = MIN(VV_INPUTS, MAX(budget / size, 1));
    n = MIN(n, caps->num_resources.max);
    n = MAX(n, caps->num_resources.min);
    s->inputs = qvv_pool_new(dec->drv, n, 1, &size, vv_placement(dec));
    for (unsigned i = 0; i < n; i++) {
        s->free_inputs[s->n_free_inputs++] = n - 1 - i;
    }
    return vv_attach(&s->talk, VIRTIO_VIDEO_TLV_CODED_SET, s->inputs,
                     "attaching coded buffers", blocked);
}

void vv_queue_output(VVStream *s, unsigned resource)
{
    vv_note(s, qvv_queue_output(s->dec->drv, s->id, resource), (VVCommand) {
        .kind = VV_OUTPUT, .resource = resource, .generation = s->generation,
    });
    s->n_queued_outputs++;
    s->held_outputs++;
}

/* Takes every buffer back from the device; their answers come later */
static bool vv_drop_outputs(VVStream *s, bool *blocked)
{
    g_autoptr(GByteArray) set = qvv_set_new(VIRTIO_VIDEO_TLV_RAW_SET);
    g_autoptr(QVVEvent) ev = NULL;

    if (!s->outputs) {
        return true;
    }
    if (!vv_do(&s->talk, qvv_queue_reset(s->dec->drv, s->id,
                                         VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT),
               "QUEUE_RESET of the output queue")) {
        return false;
    }
    qvv_set_num_resources(set, 0);
    ev = vv_set(&s->talk, set, "detaching frame buffers", blocked);
    if (!ev) {
        return false;
    }
    qvv_pool_free(s->dec->drv, s->outputs);
    s->outputs = NULL;
    s->n_queued_outputs = 0;
    s->held_outputs = 0;
    s->generation++;
    return true;
}

static bool vv_make_outputs(VVStream *s, bool *blocked)
{
    VVDecode *dec = s->dec;
    const QVVRawCaps *caps = qvv_caps_raw(dec->guest->caps, s->raw.fourcc);
    uint64_t budget = dec->guest->ram_free / 2 / dec->opts->streams;
    uint64_t size = 0;
    unsigned n;

    if (!caps) {
        return vv_broken_rule(&s->talk, "raw format 0x%x is not in the caps",
                              s->raw.fourcc);
    }
    for (unsigned i = 0; i < s->layout.n_buffers; i++) {
        size += QEMU_ALIGN_UP(s->layout.buffer_size[i], QVV_PAGE_SIZE);
    }
    n = MIN(VV_OUTPUTS, budget / size);
    n = MIN(n, caps->num_resources.max);
    n = MAX(n, MAX(caps->num_resources.min, 1));
    if (n * size > budget) {
        return vv_broken_rule(&s->talk, "%u frames of %ux%u do not fit into "
                              "guest memory with %u streams", n, s->raw.width,
                              s->raw.height, dec->opts->streams);
    }
    s->outputs = qvv_pool_new(dec->drv, n, s->layout.n_buffers,
                              s->layout.buffer_size, vv_placement(dec));
    return vv_attach(&s->talk, VIRTIO_VIDEO_TLV_RAW_SET, s->outputs,
                     "attaching frame buffers", blocked);
}

/* Would a frame of @layout fit into the buffers that there are? */
static bool vv_outputs_fit(const VVStream *s, const QVVLayout *layout)
{
    const QVVResource *res;

    if (!s->outputs || s->outputs->res[0].n_buffers != layout->n_buffers) {
        return false;
    }
    res = &s->outputs->res[0];
    for (unsigned i = 0; i < layout->n_buffers; i++) {
        if (res->buffer[i].size < layout->buffer_size[i]) {
            return false;
        }
    }
    return true;
}

/*
 * Formats
 */

static bool vv_use_format(VVStream *s, const QVVParams *p)
{
    s->raw = p->raw;
    if (!qvv_layout(&s->layout, &s->raw)) {
        return vv_broken_rule(&s->talk, "raw format %s of %ux%u makes no sense",
                              qvv_fourcc_name(s->raw.fourcc), s->raw.width,
                              s->raw.height);
    }
    return true;
}

static bool vv_use_crop(VVStream *s, const QVVParams *p)
{
    s->crop = p->crop;
    if (!s->crop.width || !s->crop.height || s->crop.left > s->raw.width ||
        s->crop.width > s->raw.width - s->crop.left ||
        s->crop.top > s->raw.height ||
        s->crop.height > s->raw.height - s->crop.top) {
        return vv_broken_rule(&s->talk, "crop %ux%u+%u+%u is not inside %ux%u",
                              s->crop.width,
                              s->crop.height, s->crop.left, s->crop.top,
                              s->raw.width, s->raw.height);
    }
    return true;
}

static QVVEvent *vv_get_raw(VVStream *s)
{
    return vv_get(&s->talk, VIRTIO_VIDEO_TLV_RAW_SET,
                  1u << VIRTIO_VIDEO_TLV_RAW_FORMAT |
                  1u << VIRTIO_VIDEO_TLV_CROP, "GET_PARAMS of the raw format");
}

/* The fourcc that the user wants; all else stays as it is */
static bool vv_choose_raw(VVStream *s, bool *blocked)
{
    g_autoptr(GByteArray) set = qvv_set_new(VIRTIO_VIDEO_TLV_RAW_SET);
    g_autoptr(QVVEvent) now = vv_get_raw(s);
    g_autoptr(QVVEvent) ev = NULL;
    QVVRawFormat raw;

    if (!now) {
        return false;
    }
    raw = now->params.raw;
    raw.fourcc = s->dec->opts->fourcc;
    raw.modifier = 0;
    qvv_set_raw_format(set, &raw);
    ev = vv_set(&s->talk, set, "the raw format", blocked);
    if (ev && ev->params.raw.fourcc != s->dec->opts->fourcc) {
        return vv_broken_rule(&s->talk, "the device takes %s instead of %s",
                              qvv_fourcc_name(ev->params.raw.fourcc),
                              qvv_fourcc_name(s->dec->opts->fourcc));
    }
    return ev != NULL;
}

/*
 * Buffers for the format that there is before the stream has shown its own:
 * if it is the same, no event will say so.
 */
static bool vv_prepare_outputs(VVStream *s, bool *blocked)
{
    g_autoptr(QVVEvent) ev = vv_get_raw(s);

    return ev && vv_use_format(s, &ev->params) && vv_use_crop(s, &ev->params) &&
           vv_make_outputs(s, blocked);
}

void vv_queue_outputs(VVStream *s)
{
    for (unsigned i = 0; i < s->outputs->n; i++) {
        vv_queue_output(s, i);
    }
}

static bool vv_choose_coded(VVStream *s, bool *blocked)
{
    g_autoptr(GByteArray) set = qvv_set_new(VIRTIO_VIDEO_TLV_CODED_SET);
    g_autoptr(QVVEvent) ev = NULL;

    qvv_set_coded_format(set, s->dec->media->coded_format);
    ev = vv_set(&s->talk, set, "the coded format", blocked);
    if (ev && ev->params.coded_format != s->dec->media->coded_format) {
        return vv_broken_rule(&s->talk, "the device takes %s instead of %s",
                              qvv_coded_format_name(ev->params.coded_format),
                              qvv_coded_format_name(
                                  s->dec->media->coded_format));
    }
    return ev != NULL;
}

bool vv_open_stream(VVStream *s)
{
    VVDecode *dec = s->dec;
    const QVVCodedCaps *caps = qvv_caps_coder(dec->guest->caps,
        VIRTIO_VIDEO_STREAM_TYPE_DECODER, dec->media->coded_format);
    bool blocked = false;

    if (!vv_do(&s->talk, qvv_open(dec->drv, s->id,
                                  VIRTIO_VIDEO_STREAM_TYPE_DECODER), "OPEN")) {
        return false;
    }
    s->open = true;
    return vv_choose_coded(s, &blocked) &&
           (!dec->opts->fourcc || vv_choose_raw(s, &blocked)) &&
           vv_make_inputs(s, caps, &blocked) &&
           vv_prepare_outputs(s, &blocked) &&
           vv_unblock(&s->talk, blocked);
}

bool vv_format_change(VVStream *s, const QVVEvent *ev)
{
    bool blocked = ev->flags & VIRTIO_VIDEO_EVENT_FLAG_BLOCKED;
    const QVVParams *p = &ev->params;
    bool ok = true;

    s->dec->result->format_changes++;
    if (!ev->has_params) {
        return vv_broken_rule(&s->talk, "DPC without parameters");
    }
    if (qvv_params_has(p, VIRTIO_VIDEO_TLV_RAW_FORMAT)) {
        ok = vv_use_format(s, p);
    }
    if (ok && qvv_params_has(p, VIRTIO_VIDEO_TLV_CROP)) {
        ok = vv_use_crop(s, p);
    }
    if (!ok || !vv_settle(s)) {
        return false;
    }
    if (!vv_outputs_fit(s, &s->layout)) {
        if (!vv_drop_outputs(s, &blocked) || !vv_make_outputs(s, &blocked) ||
            !vv_unblock(&s->talk, blocked)) {
            return false;
        }
        qvv_hold(s->dec->drv);
        s->canceled = 0;
        vv_queue_outputs(s);
        return true;
    }
    if (!vv_unblock(&s->talk, blocked)) {
        return false;
    }
    for (unsigned i = 0; i < s->outputs->n; i++) {
        if (s->canceled & (1u << i)) {
            vv_queue_output(s, i);
        }
    }
    s->canceled = 0;
    return true;
}

bool vv_close_stream(VVStream *s)
{
    if (!s->open) {
        return true;
    }
    if (s->refused) {
        vv_complain(&s->talk, "the device refused %u frame buffers",
                    s->refused);
    }
    s->open = false;
    return vv_close(&s->talk);
}
