/*
 * A video stream: its parameters and resources
 *
 * What can be set, to what a value is moved that can't, and what else changes
 * with it.  Runs in the device's context with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/host-utils.h"
#include "qemu/main-loop.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "stream-internal.h"
#include "trace.h"

/* The coded side of a decoder is its input, that of an encoder its output. */
VideoQueue video_stream_set_queue(const VideoStream *stream, VideoSet set)
{
    return (set == VIDEO_SET_CODED) == (stream->direction == VIDEO_DECODE) ?
           VIDEO_QUEUE_INPUT : VIDEO_QUEUE_OUTPUT;
}

/*
 * Resources
 */

VideoResource *video_stream_resource(VideoStream *stream, VideoQueue queue,
                                     uint32_t id)
{
    return id < stream->num_resources[queue] ?
           &stream->resources[queue][id] : NULL;
}

static void stream_detach(VideoStream *stream, VideoResource *res)
{
    video_stream_uncharge(stream, res->host_bytes);
    video_resource_detach(res);
}

/* The caller has seen to it that none of those that go is in use. */
static void stream_set_num_resources(VideoStream *stream, VideoQueue queue,
                                     uint32_t num)
{
    for (uint32_t i = num; i < stream->num_resources[queue]; i++) {
        stream_detach(stream, &stream->resources[queue][i]);
    }
    stream->num_resources[queue] = num;
}

void video_stream_detach_all(VideoStream *stream)
{
    for (VideoQueue q = 0; q < VIDEO_QUEUE__MAX; q++) {
        stream_set_num_resources(stream, q, 0);
    }
}

/* What can be said before the memory is looked at. */
static bool stream_check_attach(VideoStream *stream, VideoQueue queue,
                                const VideoResource *res,
                                const VideoAttach *attach, Error **errp)
{
    bool coded = queue == video_stream_set_queue(stream, VIDEO_SET_CODED);

    if (!res) {
        error_setg(errp, "resource %u of %u", attach->resource_id,
                   stream->num_resources[queue]);
        return false;
    }
    if (res->queued) {
        error_setg(errp, "resource %u is in use", attach->resource_id);
        return false;
    }
    if (coded && attach->n_buffers > 1) {
        error_setg(errp, "a coded resource has one buffer");
        return false;
    }
    for (unsigned i = 0; i < attach->n_buffers; i++) {
        if (stream->ctx->contiguous && attach->num_entries[i] > 1) {
            error_setg(errp, "memory is not contiguous");
            return false;
        }
    }
    return true;
}

/* What can be said when it has been looked at; undone if it is not to be */
static bool stream_accept_attach(VideoStream *stream, VideoQueue queue,
                                 VideoResource *res, Error **errp)
{
    uint32_t max = stream->ctx->max_coded_size;
    bool coded = queue == video_stream_set_queue(stream, VIDEO_SET_CODED);

    if (!video_stream_charge(stream, res->host_bytes)) {
        video_resource_detach(res);
        error_setg(errp, "too much memory");
        return false;
    }
    if (coded && res->buffers[0].mem.size > max) {
        error_setg(errp, "%zu bytes are more than max-coded-size",
                   res->buffers[0].mem.size);
        stream_detach(stream, res);
        return false;
    }
    return true;
}

static bool stream_attach(VideoStream *stream, VideoQueue queue,
                          const VideoAttach *attach, Error **errp)
{
    VideoStreamContext *ctx = stream->ctx;
    VideoResource *res = video_stream_resource(stream, queue,
                                               attach->resource_id);
    unsigned lookups = ctx->lookups_left;
    bool ok;

    if (!stream_check_attach(stream, queue, res, attach, errp)) {
        return false;
    }
    stream_detach(stream, res);
    ok = video_resource_attach(res, ctx->as, attach,
                               queue == VIDEO_QUEUE_OUTPUT, ctx->max_entries,
                               &ctx->lookups_left, errp);
    ctx->looked_up += lookups - ctx->lookups_left;
    qemu_bh_schedule(ctx->copy_bh);
    return ok && stream_accept_attach(stream, queue, res, errp);
}

bool video_stream_attach(VideoStream *stream, VideoQueue queue,
                         const VideoAttach *attach, Error **errp)
{
    stream->ctx->lookups_left = VIDEO_STREAM_MAX_LOOKUPS;
    return stream_attach(stream, queue, attach, errp);
}

bool video_stream_attach_ram(VideoStream *stream, VideoQueue queue,
                             uint32_t resource_id, MemoryRegion *ram,
                             hwaddr offset, size_t size, Error **errp)
{
    VideoResource *res = video_stream_resource(stream, queue, resource_id);
    VideoAttach attach = {
        .resource_id = resource_id,
        .num_entries = { 1 },
        .n_buffers = 1,
    };

    if (!stream_check_attach(stream, queue, res, &attach, errp)) {
        return false;
    }
    stream_detach(stream, res);
    video_resource_attach_ram(res, ram, offset, size);
    return stream_accept_attach(stream, queue, res, errp);
}

void video_stream_detach(VideoStream *stream, VideoQueue queue,
                         uint32_t resource_id)
{
    VideoResource *res = video_stream_resource(stream, queue, resource_id);

    if (res) {
        assert(!res->queued);
        stream_detach(stream, res);
    }
}

/*
 * What the codec can do
 */

const VideoCodedCaps *video_stream_coded_caps(VideoStream *stream,
                                              VideoCodedFormat coded)
{
    const VideoCodecCaps *caps = &stream->ctx->caps;
    bool encode = stream->direction == VIDEO_ENCODE;
    const VideoCodedCaps *all = encode ? caps->encoders : caps->decoders;
    unsigned n = encode ? caps->n_encoders : caps->n_decoders;

    for (unsigned i = 0; i < n; i++) {
        if (all[i].format == coded) {
            return &all[i];
        }
    }
    return NULL;
}

VideoSizes video_stream_sizes(VideoStream *stream, uint32_t fourcc)
{
    return video_coded_sizes(video_stream_coded_caps(stream, stream->coded),
                             fourcc, stream->ctx->max_width,
                             stream->ctx->max_height);
}

bool video_stream_raw_fits(VideoStream *stream, uint32_t fourcc,
                           uint32_t width, uint32_t height)
{
    const VideoCodecCaps *caps = &stream->ctx->caps;
    const VideoCodedCaps *coded = video_stream_coded_caps(stream,
                                                          stream->coded);
    VideoSizes sizes = video_stream_sizes(stream, fourcc);

    for (unsigned i = 0; i < caps->n_raws; i++) {
        if (caps->raws[i] == fourcc) {
            return coded->raw_mask & (1u << i) && width <= sizes.width.max &&
                   height <= sizes.height.max;
        }
    }
    return false;
}

bool video_stream_raw_linked(VideoStream *stream, uint32_t fourcc)
{
    return video_stream_raw_fits(stream, fourcc,
                                 stream->known ? stream->raw.width : 0,
                                 stream->known ? stream->raw.height : 0);
}

/* The preferred one of the raw formats linked with the coded format. */
static uint32_t stream_first_raw(VideoStream *stream)
{
    return stream->ctx->caps.raws[
        ctz32(video_stream_coded_caps(stream, stream->coded)->raw_mask)];
}

/*
 * Moving values to the closest supported ones
 */

/* Returns: false if there is none. */
bool video_stream_adjust_raw(VideoStream *stream, VideoRawFormat *raw)
{
    VideoSizes sizes = video_stream_sizes(stream, raw->fourcc);

    if (!video_stream_raw_linked(stream, raw->fourcc) ||
        raw->modifier != DRM_FORMAT_MOD_LINEAR) {
        return false;
    }
    if (stream->known) {
        /* A decoder does not scale */
        raw->width = stream->raw.width;
        raw->height = stream->raw.height;
    } else {
        raw->width = video_range_closest(&sizes.width, raw->width);
        raw->height = video_range_closest(&sizes.height, raw->height);
    }
    raw->stride_align = video_align_closest(raw->stride_align,
                                            VIDEO_STRIDE_ALIGN_MASK);
    raw->height_align = video_align_closest(raw->height_align,
                                            VIDEO_HEIGHT_ALIGN_MASK);
    raw->plane_align = raw->multi_buffers ? 1 :
        video_align_closest(raw->plane_align, VIDEO_PLANE_ALIGN_MASK);
    return true;
}

static VideoRect rect_of(const VideoRawFormat *raw)
{
    return (VideoRect) { .width = raw->width, .height = raw->height };
}

/*
 * The crop rectangle of an encoder is the picture to encode: a size that it
 * takes, inside the frame, at the start of a chroma sample.  A decoder shows
 * what the coded stream says is visible.
 */
static void stream_adjust_crop(VideoStream *stream, VideoRect *crop)
{
    const VideoRawFormat *raw = &stream->raw;
    VideoSizes sizes = video_stream_sizes(stream, raw->fourcc);

    if (stream->direction == VIDEO_DECODE) {
        *crop = stream->crop;
        return;
    }
    sizes.width.max = raw->width;
    sizes.height.max = raw->height;
    crop->width = video_range_closest(&sizes.width, crop->width);
    crop->height = video_range_closest(&sizes.height, crop->height);
    crop->left = MIN(crop->left, raw->width - crop->width) & ~1u;
    crop->top = MIN(crop->top, raw->height - crop->height) & ~1u;
}

static uint32_t stream_adjust_num_resources(VideoStream *stream, uint32_t num)
{
    return MIN(num, stream->ctx->max_resources);
}

/*
 * Changes
 */

static bool same_size(const VideoRect *a, const VideoRect *b)
{
    return a->width == b->width && a->height == b->height;
}

/* Would this parameter pull something from under the codec? */
static bool param_is_change(VideoStream *stream, VideoSet set,
                            const VideoParam *param)
{
    VideoQueue queue = video_stream_set_queue(stream, set);
    VideoResource *res;
    VideoRawFormat raw;
    VideoRect crop;

    switch (param->type) {
    case VIDEO_PARAM_CODED_FORMAT:
        return param->coded != stream->coded &&
               video_stream_coded_caps(stream, param->coded);
    case VIDEO_PARAM_RAW_FORMAT:
        raw = param->raw;
        return video_stream_adjust_raw(stream, &raw) &&
               !video_format_equal(&raw, &stream->raw);
    case VIDEO_PARAM_CROP:
        /* Where an encoder's picture starts can be another for each frame */
        crop = param->crop;
        stream_adjust_crop(stream, &crop);
        return !same_size(&crop, &stream->crop);
    case VIDEO_PARAM_NUM_RESOURCES:
        return stream_adjust_num_resources(stream, param->num_resources) <
               stream->num_resources[queue];
    case VIDEO_PARAM_RESOURCE:
        /* A queued output can't be had back by a drain: that is an error */
        res = video_stream_resource(stream, queue, param->attach.resource_id);
        return queue == VIDEO_QUEUE_INPUT && res && res->queued;
    default:
        return false;
    }
}

/* May this parameter, if it changes, be one that a session is opened with? */
static bool param_is_of_session(const VideoStream *stream,
                                const VideoParam *param)
{
    return param->type == VIDEO_PARAM_CODED_FORMAT ||
           (stream->direction == VIDEO_ENCODE &&
            (param->type == VIDEO_PARAM_RAW_FORMAT ||
             param->type == VIDEO_PARAM_CROP));
}

/* A set can have several numbers of resources: each counts from the last. */
static bool params_are_change(VideoStream *stream, const VideoParams *params)
{
    VideoQueue queue = video_stream_set_queue(stream, params->set);
    uint32_t num = stream->num_resources[queue];

    for (guint i = 0; i < params->params->len; i++) {
        const VideoParam *param = video_params_get(params, i);

        if (param_is_change(stream, params->set, param)) {
            return true;
        }
        if (param->type == VIDEO_PARAM_NUM_RESOURCES) {
            uint32_t next = stream_adjust_num_resources(stream,
                                                        param->num_resources);

            if (next < num) {
                return true;
            }
            num = next;
        }
    }
    return false;
}

/*
 * While the output is blocked, what it was blocked for has been drained.  An
 * encoder takes nothing until UNBLOCK, so there is nothing to drain.  A decoder
 * goes on until it needs an output: another drain could not end, so there is
 * none for the output's parameters on the main queue.
 */
bool video_stream_needs_drain(VideoStream *stream, const VideoParams *params,
                              bool main)
{
    bool output = video_stream_set_queue(stream, params->set) ==
                  VIDEO_QUEUE_OUTPUT;

    if (stream->blocked &&
        (stream->direction == VIDEO_ENCODE || (main && output))) {
        return false;
    }
    return stream->session && params_are_change(stream, params);
}

/*
 * Setting values.  An encoder's session is for one raw format and one size of
 * the picture, any session for one coded format.
 */

static void decoder_set_raw(VideoStream *stream, const VideoRawFormat *raw)
{
    VideoRect full = rect_of(raw), old = rect_of(&stream->raw);

    stream->raw = *raw;
    if (!same_size(&full, &old)) {
        stream->crop = full;
    }
}

void video_stream_expect_size(VideoStream *stream, uint32_t width,
                              uint32_t height)
{
    VideoRawFormat raw = stream->raw;

    assert(!stream->session && !stream->known);
    raw.fourcc = stream_first_raw(stream);
    raw.width = width;
    raw.height = height;
    video_stream_adjust_raw(stream, &raw);
    stream->raw_chosen = false;
    if (!video_format_equal(&raw, &stream->raw)) {
        decoder_set_raw(stream, &raw);
        video_stream_trace_format(stream);
    }
}

static void encoder_set_picture(VideoStream *stream, const VideoRawFormat *raw,
                                const VideoRect *crop)
{
    if (raw->fourcc != stream->raw.fourcc || !same_size(crop, &stream->crop)) {
        video_stream_end_session(stream);
    }
    stream->raw = *raw;
    stream->crop = *crop;
}

static void encoder_set_raw(VideoStream *stream, const VideoRawFormat *raw)
{
    VideoRect full = rect_of(raw), old = rect_of(&stream->raw);

    encoder_set_picture(stream, raw,
                        same_size(&full, &old) ? &stream->crop : &full);
}

static bool stream_set_raw_format(VideoStream *stream, VideoRawFormat *raw)
{
    if (!video_stream_adjust_raw(stream, raw)) {
        return false;
    }
    if (stream->direction == VIDEO_ENCODE) {
        encoder_set_raw(stream, raw);
        return true;
    }
    stream->raw_chosen = true;
    decoder_set_raw(stream, raw);
    video_stream_cancel_unfit(stream);
    return true;
}

static void stream_set_crop(VideoStream *stream, VideoRect *crop)
{
    stream_adjust_crop(stream, crop);
    if (stream->direction == VIDEO_ENCODE) {
        encoder_set_picture(stream, &stream->raw, crop);
    }
}

static void stream_reset_controls(VideoStream *stream)
{
    const VideoCodedCaps *coded = video_stream_coded_caps(stream,
                                                          stream->coded);

    for (VideoControl i = 0; i < VIDEO_CONTROL__MAX; i++) {
        stream->controls.value[i] = coded->controls[i].def;
    }
}

/* The raw format goes with the coded format where it has to. */
static VideoRawFormat stream_follow_link(VideoStream *stream)
{
    VideoRawFormat raw = stream->raw;

    if (!video_stream_raw_linked(stream, raw.fourcc)) {
        raw.fourcc = stream_first_raw(stream);
        stream->raw_chosen = false;
    }
    video_stream_adjust_raw(stream, &raw);
    return raw;
}

static void decoder_follow_coded(VideoStream *stream)
{
    VideoRawFormat raw = stream_follow_link(stream);

    if (!video_format_equal(&raw, &stream->raw)) {
        stream->raw = raw;
        video_stream_block(stream);
        video_stream_cancel_unfit(stream);
    }
    stream->crop = rect_of(&raw);
}

static void encoder_follow_coded(VideoStream *stream)
{
    VideoRawFormat raw = stream_follow_link(stream);

    encoder_set_raw(stream, &raw);
    stream_adjust_crop(stream, &stream->crop);
    stream_reset_controls(stream);
}

/* Returns: false if it is not supported. */
static bool stream_set_coded_format(VideoStream *stream,
                                    VideoCodedFormat coded)
{
    if (!video_stream_coded_caps(stream, coded)) {
        return false;
    }
    if (coded == stream->coded) {
        return true;
    }
    video_stream_end_session(stream);
    stream->coded = coded;
    stream->known = false;
    if (stream->direction == VIDEO_ENCODE) {
        encoder_follow_coded(stream);
    } else {
        decoder_follow_coded(stream);
    }
    return true;
}

static void stream_shrink(VideoStream *stream, VideoQueue queue, uint32_t num)
{
    VideoResource *res, *next;

    if (queue == VIDEO_QUEUE_OUTPUT) {
        QTAILQ_FOREACH_SAFE(res, &stream->outputs, next, next) {
            if (res >= &stream->resources[queue][num]) {
                video_stream_cancel_output(stream, res);
            }
        }
    }
    stream_set_num_resources(stream, queue, num);
}

/* Input resources are in use as long as a command holds them. */
static bool stream_inputs_used_from(VideoStream *stream, uint32_t num)
{
    for (uint32_t i = num; i < stream->num_resources[VIDEO_QUEUE_INPUT]; i++) {
        if (stream->resources[VIDEO_QUEUE_INPUT][i].queued) {
            return true;
        }
    }
    return false;
}

static bool stream_set_num(VideoStream *stream, VideoQueue queue,
                           uint32_t *num, Error **errp)
{
    *num = stream_adjust_num_resources(stream, *num);
    if (queue == VIDEO_QUEUE_INPUT && stream_inputs_used_from(stream, *num)) {
        error_setg(errp, "input resources from %u on are in use", *num);
        return false;
    }
    stream_shrink(stream, queue, *num);
    return true;
}

/* The session is told when all of the set has been applied. */
static bool stream_set_control(VideoStream *stream, VideoControlParam *control,
                               Error **errp)
{
    const VideoCodedCaps *coded = video_stream_coded_caps(stream,
                                                          stream->coded);
    const VideoControlCaps *caps = &coded->controls[control->id];

    if (!caps->supported || !(control->formats & (1u << stream->coded))) {
        error_setg(errp, "no control %d with coded format %d", control->id,
                   stream->coded);
        return false;
    }
    control->value = video_control_closest(control->id, caps, control->value);
    if (control->id == VIDEO_CONTROL_FORCE_KEY_FRAME) {
        /* Not to ask for one does not take back what was asked for before */
        stream->controls.value[control->id] |= control->value;
    } else {
        stream->controls.value[control->id] = control->value;
    }
    return true;
}

/*
 * Apply one parameter and move it to the value that it really has.
 * Returns: false if it can't be mended.
 */
static bool stream_set_param(VideoStream *stream, VideoSet set,
                             VideoParam *param, Error **errp)
{
    switch (param->type) {
    case VIDEO_PARAM_CODED_FORMAT:
        if (!stream_set_coded_format(stream, param->coded)) {
            error_setg(errp, "coded format %d is not supported", param->coded);
            return false;
        }
        return true;
    case VIDEO_PARAM_RAW_FORMAT:
        if (!stream_set_raw_format(stream, &param->raw)) {
            error_setg(errp, "raw format 0x%08x, modifier 0x%" PRIx64
                       " does not go with coded format %d", param->raw.fourcc,
                       param->raw.modifier, stream->coded);
            return false;
        }
        return true;
    case VIDEO_PARAM_NUM_RESOURCES:
        return stream_set_num(stream, video_stream_set_queue(stream, set),
                              &param->num_resources, errp);
    case VIDEO_PARAM_RESOURCE:
        return stream_attach(stream, video_stream_set_queue(stream, set),
                             &param->attach, errp);
    case VIDEO_PARAM_CROP:
        stream_set_crop(stream, &param->crop);
        return true;
    case VIDEO_PARAM_CONTROL:
        return stream_set_control(stream, &param->control, errp);
    default:
        error_setg(errp, "no such parameter, or no such value");
        return false;
    }
}

/* As they will be encoded: not all values go together, or with the picture. */
static VideoControls stream_settled_controls(VideoStream *stream)
{
    VideoCodecParams params = video_stream_codec_params(stream);
    VideoControls controls = stream->controls;

    video_codec_settle_controls(stream->ctx->codec, &params, &controls);
    return controls;
}

/*
 * What was asked for stays as it is, for the time when it fits: the answer says
 * what came of it, when all of the set has been applied.
 */
static void stream_settle_params(VideoStream *stream, VideoParams *params)
{
    VideoControls controls;

    if (stream->direction != VIDEO_ENCODE ||
        params->set != VIDEO_SET_CODED) {
        return;
    }
    controls = stream_settled_controls(stream);
    for (guint i = 0; i < params->params->len; i++) {
        VideoParam *param = video_params_get(params, i);

        if (param->type == VIDEO_PARAM_CONTROL &&
            param->control.id != VIDEO_CONTROL_FORCE_KEY_FRAME) {
            param->control.value = controls.value[param->control.id];
        }
    }
}

/*
 * Tell the session of the controls that were in @params.  A key frame is
 * forced once for each time that it was asked for.
 */
static void stream_send_controls(VideoStream *stream,
                                 const VideoParams *params, bool now)
{
    VideoControls controls = stream->controls;
    uint32_t *key_frame = &controls.value[VIDEO_CONTROL_FORCE_KEY_FRAME];
    bool any = false;

    *key_frame = 0;
    for (guint i = 0; i < params->params->len; i++) {
        const VideoParam *param = video_params_get(params, i);

        if (param->type == VIDEO_PARAM_CONTROL) {
            any = true;
            if (param->control.id == VIDEO_CONTROL_FORCE_KEY_FRAME) {
                *key_frame = param->control.value;
            }
        }
    }
    if (any && stream->session) {
        trace_video_stream_controls(stream->name, now, *key_frame,
                                    controls.value[VIDEO_CONTROL_BITRATE]);
        video_codec_session_set_controls(stream->session, &controls, now);
    }
}

void video_stream_trace_format(const VideoStream *stream)
{
    trace_video_stream_format(stream->name, stream->coded, stream->raw.fourcc,
                              stream->raw.width, stream->raw.height,
                              stream->crop.left, stream->crop.top,
                              stream->crop.width, stream->crop.height);
}

void video_stream_apply_params(VideoStream *stream, VideoParams *params,
                               bool main, uint64_t cookie)
{
    const VideoCodedFormat coded = stream->coded;
    const VideoRawFormat raw = stream->raw;
    const VideoRect crop = stream->crop;
    bool output = video_stream_set_queue(stream, params->set) ==
                  VIDEO_QUEUE_OUTPUT;
    bool was_blocked = stream->blocked;
    Error *err = NULL;
    guint i;

    stream->ctx->lookups_left = VIDEO_STREAM_MAX_LOOKUPS;
    for (i = 0; i < params->params->len; i++) {
        VideoParam *param = video_params_get(params, i);
        bool change = param_is_change(stream, params->set, param);

        if (change && param_is_of_session(stream, param) &&
            video_stream_must_keep_session(stream)) {
            error_setg(&err, "too many codecs have not let go");
            break;
        }
        if (output && change) {
            video_stream_block(stream);
        }
        if (!stream_set_param(stream, params->set, param, &err)) {
            break;
        }
    }
    if (err) {
        g_array_set_size(params->params, i);
        video_stream_guest_error(stream, "SET_PARAMS: %s",
                                 error_get_pretty(err));
    }
    if (coded != stream->coded || !video_format_equal(&raw, &stream->raw) ||
        !video_rect_equal(&crop, &stream->crop)) {
        video_stream_trace_format(stream);
    }
    stream_send_controls(stream, params, main);
    stream_settle_params(stream, params);
    video_stream_answer_params(stream, VIDEO_COMMAND_SET_PARAMS, cookie,
                               params, err != NULL,
                               stream->blocked && !was_blocked);
    error_free(err);
}

/*
 * Reading values
 */

static void stream_add_resources(VideoStream *stream, VideoParams *params)
{
    VideoQueue queue = video_stream_set_queue(stream, params->set);

    video_params_add(params, (VideoParam) {
        .type = VIDEO_PARAM_NUM_RESOURCES,
        .num_resources = stream->num_resources[queue],
    });
    for (uint32_t i = 0; i < stream->num_resources[queue]; i++) {
        if (stream->resources[queue][i].n_buffers) {
            video_params_add(params, (VideoParam) {
                .type = VIDEO_PARAM_RESOURCE, .attach.resource_id = i,
            });
        }
    }
}

void video_stream_add_raw(VideoStream *stream, VideoParams *params)
{
    video_params_add(params, (VideoParam) {
        .type = VIDEO_PARAM_RAW_FORMAT, .raw = stream->raw,
    });
    video_params_add(params, (VideoParam) {
        .type = VIDEO_PARAM_CROP, .crop = stream->crop,
    });
}

static void stream_add_coded(VideoStream *stream, VideoParams *params)
{
    const VideoCodedCaps *coded = video_stream_coded_caps(stream,
                                                          stream->coded);
    VideoControls controls = { 0 };

    video_params_add(params, (VideoParam) {
        .type = VIDEO_PARAM_CODED_FORMAT, .coded = stream->coded,
    });
    if (stream->direction == VIDEO_ENCODE) {
        controls = stream_settled_controls(stream);
    }
    for (VideoControl i = 0; i < VIDEO_CONTROL__MAX; i++) {
        if (coded->controls[i].supported) {
            video_params_add(params, (VideoParam) {
                .type = VIDEO_PARAM_CONTROL,
                .control.id = i,
                .control.formats = 1u << stream->coded,
                .control.value = controls.value[i],
            });
        }
    }
}

void video_stream_answer_get(VideoStream *stream, VideoSet set,
                             uint64_t cookie)
{
    g_autoptr(VideoParams) params = video_params_new(set);

    if (set == VIDEO_SET_CODED) {
        stream_add_coded(stream, params);
    } else {
        video_stream_add_raw(stream, params);
    }
    stream_add_resources(stream, params);
    video_stream_answer_params(stream, VIDEO_COMMAND_GET_PARAMS, cookie,
                               params, false, false);
}

void video_stream_init_params(VideoStream *stream)
{
    const VideoCodecCaps *caps = &stream->ctx->caps;

    stream->coded = stream->direction == VIDEO_ENCODE ?
                    caps->encoders[0].format : caps->decoders[0].format;
    stream->raw = (VideoRawFormat) {
        .fourcc = stream_first_raw(stream),
        .modifier = DRM_FORMAT_MOD_LINEAR,
        .width = 640,
        .height = 480,
        .stride_align = 64,
        .height_align = 1,
        .plane_align = 1,
    };
    video_stream_adjust_raw(stream, &stream->raw);
    stream->crop = rect_of(&stream->raw);
    stream_reset_controls(stream);
}
