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
 * Commands
 */

/*
 * The answer to a command, waited for.  NULL if it did not come or was not
 * what it should be; @what is for the message.
 */
static QVVEvent *vv_answer(VVStream *s, uint32_t cookie, const char *what)
{
    g_autoptr(QVVEvent) ev = NULL;

    qvv_flush(s->dec->drv);
    ev = qvv_wait_cookie(s->dec->drv, cookie, VV_SILENCE_US);
    if (!ev) {
        vv_broken_rule(s->dec, "stream %u: no answer to %s", s->id, what);
        return NULL;
    }
    if (ev->malformed) {
        vv_broken_rule(s->dec, "stream %u: malformed answer to %s", s->id,
                       what);
        return NULL;
    }
    return g_steal_pointer(&ev);
}

/* A stream error that is not handled yet, as it came while we waited */
static bool vv_is_failing(const VVStream *s)
{
    for (GList *l = s->dec->drv->stash.head; l; l = l->next) {
        const QVVEvent *ev = l->data;

        if (ev->stream == s->id &&
            ev->type == VIRTIO_VIDEO_CMD_STREAM_CLOSE &&
            (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_STANDALONE)) {
            return true;
        }
    }
    return false;
}

/*
 * A command of the negotiation was refused.  That is no news when the stream
 * has failed meanwhile: then nothing is reported here, and the stream error
 * will be, when its event is handled.
 */
static void vv_was_refused(VVStream *s, const QVVEvent *ev, const char *what)
{
    g_autofree char *text = qvv_event_str(ev);

    if (!vv_is_failing(s)) {
        vv_broken_rule(s->dec, "%s was refused: %s", what, text);
    }
}

static bool vv_do(VVStream *s, uint32_t cookie, const char *what)
{
    g_autoptr(QVVEvent) ev = vv_answer(s, cookie, what);

    if (ev && vv_refused(ev)) {
        vv_was_refused(s, ev, what);
        return false;
    }
    return ev != NULL;
}

/* SET_PARAMS; @blocked is set, but never cleared */
static QVVEvent *vv_set(VVStream *s, GByteArray *set, const char *what,
                        bool *blocked)
{
    g_autoptr(QVVEvent) ev = NULL;

    ev = vv_answer(s, qvv_set_params(s->dec->drv, s->id,
                                     VIRTIO_VIDEO_QUEUE_TYPE_MAIN, set), what);
    if (!ev) {
        return NULL;
    }
    if (vv_refused(ev) || !ev->has_params) {
        vv_was_refused(s, ev, what);
        return NULL;
    }
    if (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_BLOCKED) {
        *blocked = true;
    }
    return g_steal_pointer(&ev);
}

/*
 * Buffers
 */

static QVVPlacement vv_placement(const VVDecode *dec)
{
    return dec->opts->scatter ? QVV_SCATTERED : QVV_CONTIGUOUS;
}

/* Tells the device of all resources of a pool */
static bool vv_attach(VVStream *s, uint32_t container, const QVVPool *pool,
                      const char *what, bool *blocked)
{
    g_autoptr(GByteArray) set = qvv_set_new(container);
    g_autoptr(QVVEvent) ev = NULL;

    qvv_set_num_resources(set, pool->n);
    for (unsigned i = 0; i < pool->n; i++) {
        qvv_set_pages(set, &pool->res[i]);
    }
    ev = vv_set(s, set, what, blocked);
    if (ev && ev->params.num_resources != pool->n) {
        vv_broken_rule(s->dec, "%s: %u instead of %u resources", what,
                       ev->params.num_resources, pool->n);
        return false;
    }
    return ev != NULL;
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
    return vv_attach(s, VIRTIO_VIDEO_TLV_CODED_SET, s->inputs,
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
    if (!vv_do(s, qvv_queue_reset(s->dec->drv, s->id,
                                  VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT),
               "QUEUE_RESET of the output queue")) {
        return false;
    }
    qvv_set_num_resources(set, 0);
    ev = vv_set(s, set, "detaching frame buffers", blocked);
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
        return vv_broken_rule(dec, "raw format 0x%x is not in the caps",
                              s->raw.fourcc);
    }
    for (unsigned i = 0; i < s->layout.n_buffers; i++) {
        size += QEMU_ALIGN_UP(s->layout.buffer_size[i], QVV_PAGE_SIZE);
    }
    n = MIN(VV_OUTPUTS, budget / size);
    n = MIN(n, caps->num_resources.max);
    n = MAX(n, MAX(caps->num_resources.min, 1));
    if (n * size > budget) {
        return vv_broken_rule(dec, "%u frames of %ux%u do not fit into guest "
                              "memory with %u streams", n, s->raw.width,
                              s->raw.height, dec->opts->streams);
    }
    s->outputs = qvv_pool_new(dec->drv, n, s->layout.n_buffers,
                              s->layout.buffer_size, vv_placement(dec));
    return vv_attach(s, VIRTIO_VIDEO_TLV_RAW_SET, s->outputs,
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
        return vv_broken_rule(s->dec, "stream %u: raw format %s of %ux%u "
                              "makes no sense", s->id,
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
        return vv_broken_rule(s->dec, "stream %u: crop %ux%u+%u+%u is not "
                              "inside %ux%u", s->id, s->crop.width,
                              s->crop.height, s->crop.left, s->crop.top,
                              s->raw.width, s->raw.height);
    }
    return true;
}

static QVVEvent *vv_get_raw(VVStream *s)
{
    g_autoptr(QVVEvent) ev = NULL;

    ev = vv_answer(s, qvv_get_params(s->dec->drv, s->id,
                                     VIRTIO_VIDEO_QUEUE_TYPE_MAIN,
                                     VIRTIO_VIDEO_TLV_RAW_SET), "GET_PARAMS");
    if (!ev) {
        return NULL;
    }
    if (vv_refused(ev) || !ev->has_params ||
        !qvv_params_has(&ev->params, VIRTIO_VIDEO_TLV_RAW_FORMAT) ||
        !qvv_params_has(&ev->params, VIRTIO_VIDEO_TLV_CROP)) {
        vv_was_refused(s, ev, "GET_PARAMS of the raw format");
        return NULL;
    }
    return g_steal_pointer(&ev);
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
    ev = vv_set(s, set, "the raw format", blocked);
    if (ev && ev->params.raw.fourcc != s->dec->opts->fourcc) {
        return vv_broken_rule(s->dec, "the device takes %s instead of %s",
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
    ev = vv_set(s, set, "the coded format", blocked);
    if (ev && ev->params.coded_format != s->dec->media->coded_format) {
        return vv_broken_rule(s->dec, "the device takes %s instead of %s",
                              qvv_coded_format_name(ev->params.coded_format),
                              qvv_coded_format_name(
                                  s->dec->media->coded_format));
    }
    return ev != NULL;
}

static bool vv_unblock(VVStream *s, bool blocked)
{
    return !blocked || vv_do(s, qvv_unblock(s->dec->drv, s->id), "UNBLOCK");
}

bool vv_open_stream(VVStream *s)
{
    VVDecode *dec = s->dec;
    const QVVCodedCaps *caps = qvv_caps_coded(dec->guest->caps,
                                              dec->media->coded_format);
    bool blocked = false;

    if (!vv_do(s, qvv_open(dec->drv, s->id, VIRTIO_VIDEO_STREAM_TYPE_DECODER),
               "OPEN")) {
        return false;
    }
    s->open = true;
    return vv_choose_coded(s, &blocked) &&
           (!dec->opts->fourcc || vv_choose_raw(s, &blocked)) &&
           vv_make_inputs(s, caps, &blocked) &&
           vv_prepare_outputs(s, &blocked) &&
           vv_unblock(s, blocked);
}

bool vv_format_change(VVStream *s, const QVVEvent *ev)
{
    bool blocked = ev->flags & VIRTIO_VIDEO_EVENT_FLAG_BLOCKED;
    const QVVParams *p = &ev->params;
    bool ok = true;

    s->dec->result->format_changes++;
    if (!ev->has_params) {
        return vv_broken_rule(s->dec, "stream %u: DPC without parameters",
                              s->id);
    }
    if (qvv_params_has(p, VIRTIO_VIDEO_TLV_RAW_FORMAT)) {
        ok = vv_use_format(s, p);
    }
    if (ok && qvv_params_has(p, VIRTIO_VIDEO_TLV_CROP)) {
        ok = vv_use_crop(s, p);
    }
    if (!ok) {
        return false;
    }
    if (!vv_outputs_fit(s, &s->layout)) {
        if (!vv_drop_outputs(s, &blocked) || !vv_make_outputs(s, &blocked) ||
            !vv_unblock(s, blocked)) {
            return false;
        }
        qvv_hold(s->dec->drv);
        s->canceled = 0;
        vv_queue_outputs(s);
        return true;
    }
    if (!vv_unblock(s, blocked)) {
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
        vv_complain(s, "the device refused %u frame buffers", s->refused);
    }
    s->open = false;
    return vv_do(s, qvv_close(s->dec->drv, s->id), "CLOSE");
}
