/*
 * A video stream, whatever the protocol
 *
 * Runs in the device's context with the BQL held; what the codec's worker has
 * to say arrives through session_ops.
 *
 * How the input queue works: commands wait in VideoStream.commands in their
 * order.  stream_pump() gives those to the session that it can work on and
 * answers those at the head that need no session.  A command leaves the list
 * when it is answered.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/log.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "stream.h"
#include "trace.h"

/* A command in the input queue. */
typedef struct VideoCommand {
    VideoCommandType type;      /* RESOURCE_QUEUE, DRAIN, SET_ or GET_PARAMS */
    uint64_t cookie;
    bool sent;                  /* the session works on it */
    uint32_t resource_id;       /* RESOURCE_QUEUE */
    VideoCodecInput *in;        /* RESOURCE_QUEUE, until sent */
    VideoParams *params;        /* SET_PARAMS, GET_PARAMS */
    bool main;                  /* SET_PARAMS, GET_PARAMS: not in order */
    bool drained;               /* SET_PARAMS: its implicit drain is over */
    size_t host_bytes;          /* charged for it */
    QTAILQ_ENTRY(VideoCommand) next;
} VideoCommand;

typedef enum VideoStreamState {
    STREAM_OPEN,
    STREAM_CLOSING,             /* CLOSE will be answered */
    STREAM_FAILED,              /* a standalone CLOSE will be sent */
    STREAM_ABORTED,             /* nothing will be said */
} VideoStreamState;

struct VideoStream {
    VideoStreamContext *ctx;
    char *name;
    const VideoStreamOps *ops;
    void *opaque;

    VideoStreamState state;
    uint64_t close_cookie;
    VideoCodecSession *session; /* from the first input on */

    /* Parameters */
    VideoCodedFormat coded;
    VideoRawFormat raw;
    bool raw_chosen;            /* the driver has set the raw format */
    VideoRect crop;
    bool known;                 /* the coded stream told @raw's size */
    VideoRect visible;          /* @known: its visible rectangle */

    /* Queues */
    VideoResource *resources[VIDEO_QUEUE__MAX];
    uint32_t num_resources[VIDEO_QUEUE__MAX];
    QTAILQ_HEAD(, VideoCommand) commands;
    uint32_t num_commands;
    bool canceling;             /* @commands are going: start none */
    QTAILQ_HEAD(, VideoResource) outputs;   /* queued, oldest first */
    bool blocked;               /* the output queue */
};

static void stream_pump(VideoStream *stream);

static void G_GNUC_PRINTF(2, 3)
stream_guest_error(const VideoStream *stream, const char *fmt, ...)
{
    g_autofree char *msg = NULL;
    va_list ap;

    va_start(ap, fmt);
    msg = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    trace_video_stream_guest_error(stream->name, msg);
    qemu_log_mask(LOG_GUEST_ERROR, "%s: %s\n", stream->name, msg);
}

/* Set of parameters <-> queue, for a decoder. */
static VideoQueue set_queue(VideoSet set)
{
    return set == VIDEO_SET_CODED ? VIDEO_QUEUE_INPUT : VIDEO_QUEUE_OUTPUT;
}

/*
 * Host memory that the guest makes us hold
 */

static bool stream_charge(VideoStream *stream, size_t bytes)
{
    VideoStreamContext *ctx = stream->ctx;

    if (bytes > ctx->max_mem - ctx->mem_used) {
        stream_guest_error(stream, "%zu bytes more than max-mem", bytes);
        return false;
    }
    ctx->mem_used += bytes;
    return true;
}

static void stream_uncharge(VideoStream *stream, size_t bytes)
{
    stream->ctx->mem_used -= bytes;
}

/*
 * Answers
 */

static void stream_event(VideoStream *stream, const VideoEvent *event)
{
    if (stream->state == STREAM_ABORTED) {
        return;
    }
    trace_video_stream_event(stream->name, event->type, event->cookie,
                             event->error, event->canceled, event->blocked);
    stream->ops->event(stream->opaque, event);
}

static void stream_answer(VideoStream *stream, VideoCommandType type,
                          VideoQueue queue, uint64_t cookie, bool error)
{
    VideoEvent event = {
        .type = type, .queue = queue, .cookie = cookie, .error = error,
    };

    stream_event(stream, &event);
}

/* @params: an empty set for SET_PARAMS and GET_PARAMS, else NULL */
static void stream_cancel(VideoStream *stream, VideoCommandType type,
                          VideoQueue queue, uint64_t cookie,
                          const VideoParams *params)
{
    VideoEvent event = {
        .type = type, .queue = queue, .cookie = cookie, .params = params,
        .canceled = true,
    };

    stream_event(stream, &event);
}

static void stream_answer_params(VideoStream *stream, VideoCommandType type,
                                 uint64_t cookie, const VideoParams *params,
                                 bool error, bool blocked)
{
    VideoEvent event = {
        .type = type, .cookie = cookie, .params = params,
        .error = error, .blocked = blocked,
    };

    stream_event(stream, &event);
}

/*
 * Resources
 */

static VideoResource *stream_resource(VideoStream *stream, VideoQueue queue,
                                      uint32_t id)
{
    return id < stream->num_resources[queue] ?
           &stream->resources[queue][id] : NULL;
}

static void stream_detach(VideoStream *stream, VideoResource *res)
{
    stream_uncharge(stream, res->host_bytes);
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

static bool stream_attach(VideoStream *stream, VideoQueue queue,
                          const VideoAttach *attach, Error **errp)
{
    VideoStreamContext *ctx = stream->ctx;
    VideoResource *res = stream_resource(stream, queue, attach->resource_id);
    bool is_write = queue == VIDEO_QUEUE_OUTPUT;

    if (!res) {
        error_setg(errp, "resource %u of %u", attach->resource_id,
                   stream->num_resources[queue]);
        return false;
    }
    if (res->queued) {
        error_setg(errp, "resource %u is in use", attach->resource_id);
        return false;
    }
    if (!is_write && attach->n_buffers > 1) {
        error_setg(errp, "a coded resource has one buffer");
        return false;
    }
    for (unsigned i = 0; ctx->contiguous && i < attach->n_buffers; i++) {
        if (attach->num_entries[i] > 1) {
            error_setg(errp, "memory is not contiguous");
            return false;
        }
    }

    stream_detach(stream, res);
    if (!video_resource_attach(res, ctx->as, attach, is_write,
                               ctx->max_entries, errp)) {
        return false;
    }
    if (!stream_charge(stream, res->host_bytes)) {
        video_resource_detach(res);
        error_setg(errp, "too much memory");
        return false;
    }
    if (!is_write && res->buffers[0].mem.size > ctx->max_coded_size) {
        error_setg(errp, "%zu bytes are more than max-coded-size",
                   res->buffers[0].mem.size);
        stream_detach(stream, res);
        return false;
    }
    return true;
}

/*
 * The output queue
 */

/* Do frames of the current format fit into @res? */
static bool stream_output_fits(VideoStream *stream, const VideoResource *res)
{
    VideoLayout layout;

    video_format_layout(&stream->raw, &layout);
    if (res->n_buffers != layout.n_buffers) {
        return false;
    }
    for (unsigned i = 0; i < layout.n_buffers; i++) {
        if (res->buffers[i].mem.size < layout.buffer_size[i]) {
            return false;
        }
    }
    return true;
}

/* Lend a queued resource to the session, laid out for the current format. */
static void stream_lend_output(VideoStream *stream, VideoResource *res)
{
    VideoCodecOutput *out = &res->output;
    VideoLayout layout;

    video_format_layout(&stream->raw, &layout);
    *out = (VideoCodecOutput) {
        .fourcc = stream->raw.fourcc,
        .width = stream->raw.width,
        .height = stream->raw.height,
        .n_planes = layout.n_planes,
        .opaque = res,
    };
    for (unsigned i = 0; i < layout.n_planes; i++) {
        const VideoPlaneLayout *p = &layout.planes[i];

        out->planes[i] = (VideoCodecPlane) {
            .mem = &res->buffers[p->buffer].mem,
            .offset = p->offset,
            .stride = p->stride,
            .rows = p->padded_rows,
        };
    }
    res->lent = true;
    video_codec_session_queue_output(stream->session, out);
}

static void stream_lend_outputs(VideoStream *stream)
{
    VideoResource *res;

    if (stream->blocked || !stream->session) {
        return;
    }
    QTAILQ_FOREACH(res, &stream->outputs, next) {
        if (!res->lent) {
            stream_lend_output(stream, res);
        }
    }
}

/* The codec has written, or may have, to all planes of a resource. */
static void stream_set_dirty(VideoResource *res)
{
    const VideoCodecOutput *out = &res->output;

    for (unsigned i = 0; i < out->n_planes; i++) {
        const VideoCodecPlane *p = &out->planes[i];
        unsigned buffer = container_of(p->mem, VideoBuffer, mem) - res->buffers;

        video_resource_set_dirty(res, buffer, p->offset, p->stride * p->rows);
    }
}

static bool stream_take_back(void *opaque, VideoCodecOutput *out)
{
    VideoResource *res = out->opaque;

    res->lent = false;
    if (out->touched) {
        stream_set_dirty(res);
    }
    return true;
}

/* From now on the codec touches no output. */
static void stream_revoke_outputs(VideoStream *stream)
{
    if (stream->session) {
        video_codec_session_revoke_outputs(stream->session, stream_take_back);
    }
}

static void stream_block(VideoStream *stream)
{
    stream->blocked = true;
    stream_revoke_outputs(stream);
}

static void stream_output_cancel(VideoStream *stream, VideoResource *res)
{
    QTAILQ_REMOVE(&stream->outputs, res, next);
    res->queued = false;
    stream_cancel(stream, VIDEO_COMMAND_RESOURCE_QUEUE, VIDEO_QUEUE_OUTPUT,
                  res->cookie, NULL);
}

/* With the outputs revoked: cancel those that the current format can't use. */
static void stream_cancel_unfit(VideoStream *stream)
{
    VideoResource *res, *next;

    QTAILQ_FOREACH_SAFE(res, &stream->outputs, next, next) {
        if (!stream_output_fits(stream, res)) {
            stream_output_cancel(stream, res);
        }
    }
}

static void stream_cancel_outputs(VideoStream *stream)
{
    VideoResource *res, *next;

    stream_revoke_outputs(stream);
    QTAILQ_FOREACH_SAFE(res, &stream->outputs, next, next) {
        stream_output_cancel(stream, res);
    }
}

void video_stream_queue_output(VideoStream *stream, uint32_t resource_id,
                               uint64_t cookie)
{
    VideoResource *res = stream_resource(stream, VIDEO_QUEUE_OUTPUT,
                                         resource_id);

    if (!res || !res->n_buffers || res->queued) {
        stream_guest_error(stream, "output resource %u is %s", resource_id,
                           res && res->queued ? "already queued" :
                           "not attached");
        stream_answer(stream, VIDEO_COMMAND_RESOURCE_QUEUE,
                      VIDEO_QUEUE_OUTPUT, cookie, true);
        return;
    }
    if (!stream_output_fits(stream, res)) {
        /*
         * While blocked, the driver may not know yet that the format has
         * changed under it: as if it had queued the resource before.
         */
        if (stream->blocked) {
            stream_cancel(stream, VIDEO_COMMAND_RESOURCE_QUEUE,
                          VIDEO_QUEUE_OUTPUT, cookie, NULL);
        } else {
            stream_guest_error(stream, "output resource %u is too small",
                               resource_id);
            stream_answer(stream, VIDEO_COMMAND_RESOURCE_QUEUE,
                          VIDEO_QUEUE_OUTPUT, cookie, true);
        }
        return;
    }

    res->queued = true;
    res->lent = false;
    res->cookie = cookie;
    QTAILQ_INSERT_TAIL(&stream->outputs, res, next);
    stream_lend_outputs(stream);
}

/*
 * Parameters
 */

static const VideoCodedCaps *stream_coded_caps(VideoStream *stream,
                                               VideoCodedFormat coded)
{
    const VideoCodecCaps *caps = &stream->ctx->caps;

    for (unsigned i = 0; i < caps->n_decoders; i++) {
        if (caps->decoders[i].format == coded) {
            return &caps->decoders[i];
        }
    }
    return NULL;
}

/* Is raw format @fourcc linked with the current coded format? */
static bool stream_raw_linked(VideoStream *stream, uint32_t fourcc)
{
    const VideoCodecCaps *caps = &stream->ctx->caps;
    const VideoCodedCaps *coded = stream_coded_caps(stream, stream->coded);

    for (unsigned i = 0; i < caps->n_raws; i++) {
        if (caps->raws[i] == fourcc) {
            return coded->raw_mask & (1u << i);
        }
    }
    return false;
}

/* The preferred one of the raw formats linked with the coded format. */
static uint32_t stream_first_raw(VideoStream *stream)
{
    return stream->ctx->caps.raws[
        ctz32(stream_coded_caps(stream, stream->coded)->raw_mask)];
}

/* The largest frame of the current coded format */
static void stream_max_size(VideoStream *stream, uint32_t *width,
                            uint32_t *height)
{
    const VideoCodedCaps *coded = stream_coded_caps(stream, stream->coded);

    *width = MIN(coded->max_width, stream->ctx->max_width);
    *height = MIN(coded->max_height, stream->ctx->max_height);
}

static void stream_reset_crop(VideoStream *stream)
{
    stream->crop = stream->known ? stream->visible : (VideoRect) {
        .width = stream->raw.width, .height = stream->raw.height,
    };
}

/*
 * Move a raw format to the closest supported one.
 * Returns: false if there is none.
 */
static bool stream_adjust_raw(VideoStream *stream, VideoRawFormat *raw)
{
    uint32_t max_width, max_height;

    if (!stream_raw_linked(stream, raw->fourcc) ||
        raw->modifier != DRM_FORMAT_MOD_LINEAR) {
        return false;
    }
    if (stream->known) {
        /* A decoder does not scale */
        raw->width = stream->raw.width;
        raw->height = stream->raw.height;
    }
    stream_max_size(stream, &max_width, &max_height);
    raw->width = MIN(MAX(raw->width, 1), max_width);
    raw->height = MIN(MAX(raw->height, 1), max_height);
    raw->stride_align = video_align_closest(raw->stride_align,
                                            VIDEO_STRIDE_ALIGN_MASK);
    raw->height_align = video_align_closest(raw->height_align,
                                            VIDEO_HEIGHT_ALIGN_MASK);
    raw->plane_align = raw->multi_buffers ? 1 :
        video_align_closest(raw->plane_align, VIDEO_PLANE_ALIGN_MASK);
    return true;
}

static uint32_t stream_adjust_num_resources(VideoStream *stream, uint32_t num)
{
    return MIN(num, stream->ctx->max_resources);
}

/* Would this parameter pull something from under the codec? */
static bool param_is_change(VideoStream *stream, VideoSet set,
                            const VideoParam *param)
{
    VideoQueue queue = set_queue(set);
    VideoResource *res;
    VideoRawFormat raw;

    switch (param->type) {
    case VIDEO_PARAM_CODED_FORMAT:
        return param->coded != stream->coded;
    case VIDEO_PARAM_RAW_FORMAT:
        raw = param->raw;
        return stream_adjust_raw(stream, &raw) &&
               !video_format_equal(&raw, &stream->raw);
    case VIDEO_PARAM_NUM_RESOURCES:
        return stream_adjust_num_resources(stream, param->num_resources) <
               stream->num_resources[queue];
    case VIDEO_PARAM_RESOURCE:
        /* A queued output can't be had back by a drain: that is an error */
        res = stream_resource(stream, queue, param->attach.resource_id);
        return queue == VIDEO_QUEUE_INPUT && res && res->queued;
    default:
        return false;
    }
}

static bool params_are_change(VideoStream *stream, const VideoParams *params)
{
    for (guint i = 0; i < params->params->len; i++) {
        if (param_is_change(stream, params->set, video_params_get(params, i))) {
            return true;
        }
    }
    return false;
}

/*
 * Does a SET_PARAMS start with an implicit drain?  On the main queue and while
 * the output is blocked its parameters do not: what they were blocked for has
 * been drained already, and another drain could not end.
 */
static bool stream_needs_drain(VideoStream *stream, const VideoParams *params,
                               bool main)
{
    return stream->session &&
           !(main && stream->blocked && params->set == VIDEO_SET_RAW) &&
           params_are_change(stream, params);
}

static void stream_end_session(VideoStream *stream);

/*
 * The raw format goes with it where it has to; then the output is blocked.
 * Returns: false if it is not supported.
 */
static bool stream_set_coded_format(VideoStream *stream,
                                    VideoCodedFormat coded)
{
    VideoRawFormat raw = stream->raw;

    if (!stream_coded_caps(stream, coded)) {
        return false;
    }
    if (coded == stream->coded) {
        return true;
    }
    stream->coded = coded;
    stream->known = false;
    stream_end_session(stream);
    if (!stream_raw_linked(stream, raw.fourcc)) {
        raw.fourcc = stream_first_raw(stream);
        stream->raw_chosen = false;
    }
    stream_adjust_raw(stream, &raw);
    if (!video_format_equal(&raw, &stream->raw)) {
        stream->raw = raw;
        stream_block(stream);
        stream_cancel_unfit(stream);
    }
    stream_reset_crop(stream);
    return true;
}

static bool stream_set_raw_format(VideoStream *stream, VideoRawFormat *raw)
{
    bool resized;

    if (!stream_adjust_raw(stream, raw)) {
        return false;
    }
    resized = raw->width != stream->raw.width ||
              raw->height != stream->raw.height;
    stream->raw_chosen = true;
    stream->raw = *raw;
    if (resized) {
        stream_reset_crop(stream);
    }
    stream_cancel_unfit(stream);
    return true;
}

static void stream_shrink(VideoStream *stream, VideoQueue queue, uint32_t num)
{
    VideoResource *res, *next;

    if (queue == VIDEO_QUEUE_OUTPUT) {
        QTAILQ_FOREACH_SAFE(res, &stream->outputs, next, next) {
            if (res >= &stream->resources[queue][num]) {
                stream_output_cancel(stream, res);
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
        return stream_set_num(stream, set_queue(set), &param->num_resources,
                              errp);
    case VIDEO_PARAM_RESOURCE:
        return stream_attach(stream, set_queue(set), &param->attach, errp);
    case VIDEO_PARAM_CROP:
        /* A decoder shows what the coded stream says is visible */
        param->crop = stream->crop;
        return true;
    default:
        error_setg(errp, "no such parameter, or no such value");
        return false;
    }
}

/*
 * Apply a SET_PARAMS, with its implicit drain behind it, and answer.  The
 * parameters become the answer; what was not applied is left out.
 */
static void stream_apply_params(VideoStream *stream, VideoParams *params,
                                uint64_t cookie)
{
    bool was_blocked = stream->blocked;
    Error *err = NULL;
    guint i;

    for (i = 0; i < params->params->len; i++) {
        VideoParam *param = video_params_get(params, i);

        if (params->set == VIDEO_SET_RAW &&
            param_is_change(stream, params->set, param)) {
            stream_block(stream);
        }
        if (!stream_set_param(stream, params->set, param, &err)) {
            break;
        }
    }
    if (err) {
        g_array_set_size(params->params, i);
        stream_guest_error(stream, "SET_PARAMS: %s", error_get_pretty(err));
    }
    stream_answer_params(stream, VIDEO_COMMAND_SET_PARAMS, cookie, params,
                         err != NULL, stream->blocked && !was_blocked);
    error_free(err);
}

static void params_add_resources(VideoParams *params, VideoStream *stream)
{
    VideoQueue queue = set_queue(params->set);

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

static void params_add_raw(VideoParams *params, VideoStream *stream)
{
    video_params_add(params, (VideoParam) {
        .type = VIDEO_PARAM_RAW_FORMAT, .raw = stream->raw,
    });
    video_params_add(params, (VideoParam) {
        .type = VIDEO_PARAM_CROP, .crop = stream->crop,
    });
}

static void stream_answer_get(VideoStream *stream, VideoSet set,
                              uint64_t cookie)
{
    g_autoptr(VideoParams) params = video_params_new(set);

    if (set == VIDEO_SET_CODED) {
        video_params_add(params, (VideoParam) {
            .type = VIDEO_PARAM_CODED_FORMAT, .coded = stream->coded,
        });
    } else {
        params_add_raw(params, stream);
    }
    params_add_resources(params, stream);
    stream_answer_params(stream, VIDEO_COMMAND_GET_PARAMS, cookie, params,
                         false, false);
}

/*
 * Commands
 */

static VideoCommand *command_new(VideoStream *stream, VideoCommandType type,
                                 uint64_t cookie)
{
    VideoCommand *cmd = g_new0(VideoCommand, 1);

    cmd->type = type;
    cmd->cookie = cookie;
    stream->num_commands++;
    return cmd;
}

static void command_free(VideoStream *stream, VideoCommand *cmd)
{
    stream->num_commands--;
    stream_uncharge(stream, cmd->host_bytes);
    video_codec_input_free(cmd->in);
    if (cmd->params) {
        video_params_free(cmd->params);
    }
    g_free(cmd);
}

/* The answer was given. */
static void command_finish(VideoStream *stream, VideoCommand *cmd)
{
    QTAILQ_REMOVE(&stream->commands, cmd, next);
    command_free(stream, cmd);
}

static void command_cancel(VideoStream *stream, VideoCommand *cmd)
{
    if (cmd->type == VIDEO_COMMAND_RESOURCE_QUEUE) {
        stream->resources[VIDEO_QUEUE_INPUT][cmd->resource_id].queued = false;
    }
    if (cmd->params) {
        g_array_set_size(cmd->params->params, 0);
    }
    stream_cancel(stream, cmd->type, VIDEO_QUEUE_INPUT, cmd->cookie,
                  cmd->params);
    command_finish(stream, cmd);
}

/* Cancel all of the input queue. The session keeps its parameter sets. */
static void stream_cancel_inputs(VideoStream *stream)
{
    VideoCommand *cmd;

    stream->canceling = true;
    if (stream->session) {
        video_codec_session_flush(stream->session);
    }
    while ((cmd = QTAILQ_FIRST(&stream->commands))) {
        command_cancel(stream, cmd);
    }
    stream->canceling = false;
}

/* Is there room for one more command that takes @bytes? They are charged. */
static bool stream_accept(VideoStream *stream, size_t bytes)
{
    if (stream->num_commands >= stream->ctx->max_commands) {
        stream_guest_error(stream, "more than %u commands wait",
                           stream->ctx->max_commands);
        return false;
    }
    return stream_charge(stream, bytes);
}

void video_stream_set_params(VideoStream *stream, VideoParams *params,
                             bool in_order, uint64_t cookie)
{
    size_t bytes = video_params_host_bytes(params);
    VideoCommand *cmd, *pos = NULL;

    if (!stream_accept(stream, bytes)) {
        g_array_set_size(params->params, 0);
        stream_answer_params(stream, VIDEO_COMMAND_SET_PARAMS, cookie, params,
                             true, false);
        video_params_free(params);
        return;
    }
    if (!in_order && !stream_needs_drain(stream, params, true)) {
        stream_apply_params(stream, params, cookie);
        video_params_free(params);
        stream_uncharge(stream, bytes);
        return;
    }

    cmd = command_new(stream, VIDEO_COMMAND_SET_PARAMS, cookie);
    cmd->params = params;
    cmd->host_bytes = bytes;
    cmd->main = !in_order;
    if (!in_order) {
        /* Behind what the codec has and what was as urgent before */
        QTAILQ_FOREACH(pos, &stream->commands, next) {
            if (!pos->sent && !pos->main) {
                break;
            }
        }
    }
    if (pos) {
        QTAILQ_INSERT_BEFORE(pos, cmd, next);
    } else {
        QTAILQ_INSERT_TAIL(&stream->commands, cmd, next);
    }
    stream_pump(stream);
}

void video_stream_get_params(VideoStream *stream, VideoSet set, bool in_order,
                             uint64_t cookie)
{
    VideoCommand *cmd;

    if (!in_order) {
        stream_answer_get(stream, set, cookie);
        return;
    }
    if (!stream_accept(stream, 0)) {
        g_autoptr(VideoParams) empty = video_params_new(set);

        stream_answer_params(stream, VIDEO_COMMAND_GET_PARAMS, cookie, empty,
                             true, false);
        return;
    }
    cmd = command_new(stream, VIDEO_COMMAND_GET_PARAMS, cookie);
    cmd->params = video_params_new(set);
    QTAILQ_INSERT_TAIL(&stream->commands, cmd, next);
    stream_pump(stream);
}

void video_stream_drain(VideoStream *stream, uint64_t cookie)
{
    VideoCommand *cmd;

    if (!stream_accept(stream, 0)) {
        stream_answer(stream, VIDEO_COMMAND_DRAIN, VIDEO_QUEUE_INPUT, cookie,
                      true);
        return;
    }
    cmd = command_new(stream, VIDEO_COMMAND_DRAIN, cookie);
    QTAILQ_INSERT_TAIL(&stream->commands, cmd, next);
    stream_pump(stream);
}

/* Copy the coded data. Returns: NULL if it is not there. */
static VideoCodecInput *stream_copy_input(VideoStream *stream,
                                          VideoResource *res,
                                          uint32_t offset, uint32_t size)
{
    size_t room = res->buffers[0].mem.size;
    VideoCodecInput *in;

    if (!size || offset > room || size > room - offset) {
        stream_guest_error(stream, "%u bytes at %u of a resource of %zu",
                           size, offset, room);
        return NULL;
    }
    in = video_codec_input_new(size);
    if (!in) {
        stream_guest_error(stream, "no memory for %u bytes", size);
        return NULL;
    }
    video_resource_read(res, offset, in->data, size);
    return in;
}

void video_stream_queue_input(VideoStream *stream, uint32_t resource_id,
                              uint32_t offset, uint32_t size,
                              uint64_t timestamp, uint64_t cookie)
{
    VideoResource *res = stream_resource(stream, VIDEO_QUEUE_INPUT,
                                         resource_id);
    VideoCodecInput *in;
    VideoCommand *cmd;

    if (!res || !res->n_buffers || res->queued) {
        stream_guest_error(stream, "input resource %u is %s", resource_id,
                           res && res->queued ? "already queued" :
                           "not attached");
        goto error;
    }
    in = stream_copy_input(stream, res, offset, size);
    if (!in) {
        goto error;
    }
    if (!stream_accept(stream, size)) {
        video_codec_input_free(in);
        goto error;
    }

    in->timestamp = timestamp;
    cmd = command_new(stream, VIDEO_COMMAND_RESOURCE_QUEUE, cookie);
    cmd->resource_id = resource_id;
    cmd->in = in;
    cmd->host_bytes = size;
    in->opaque = cmd;
    res->queued = true;
    QTAILQ_INSERT_TAIL(&stream->commands, cmd, next);
    stream_pump(stream);
    return;

error:
    stream_answer(stream, VIDEO_COMMAND_RESOURCE_QUEUE, VIDEO_QUEUE_INPUT,
                  cookie, true);
}

void video_stream_unblock(VideoStream *stream, uint64_t cookie)
{
    bool was_blocked = stream->blocked;

    if (!was_blocked) {
        stream_guest_error(stream, "UNBLOCK, but nothing is blocked");
    }
    stream->blocked = false;
    stream_answer(stream, VIDEO_COMMAND_UNBLOCK, VIDEO_QUEUE_OUTPUT, cookie,
                  !was_blocked);
    if (was_blocked) {
        if (stream->session) {
            video_codec_session_resume(stream->session);
        }
        stream_lend_outputs(stream);
        stream_pump(stream);
    }
}

void video_stream_reset(VideoStream *stream, VideoQueue queue, uint64_t cookie)
{
    if (queue == VIDEO_QUEUE_INPUT) {
        stream_cancel_inputs(stream);
        if (stream->state != STREAM_OPEN) {
            /* The codec's last words were that it failed */
            stream_cancel(stream, VIDEO_COMMAND_QUEUE_RESET, queue, cookie,
                          NULL);
            return;
        }
    } else {
        stream_cancel_outputs(stream);
    }
    stream_answer(stream, VIDEO_COMMAND_QUEUE_RESET, queue, cookie, false);
}

/*
 * Work on the input queue
 */

static const VideoCodecSessionOps session_ops;

static void stream_start_session(VideoStream *stream)
{
    VideoCodecParams params = { .coded = stream->coded };

    if (!stream->session) {
        stream_max_size(stream, &params.max_width, &params.max_height);
        stream->session = video_codec_session_open(stream->ctx->codec, &params,
                                                   &session_ops, stream);
        stream_lend_outputs(stream);
    }
}

/* For another coded format: the next input starts a new one. */
static void stream_end_session(VideoStream *stream)
{
    if (stream->session) {
        stream_revoke_outputs(stream);
        video_codec_session_orphan(stream->session);
        stream->session = NULL;
    }
}

/* A drain, explicit or implicit. */
static void command_send_drain(VideoStream *stream, VideoCommand *cmd)
{
    cmd->sent = true;
    video_codec_session_drain(stream->session);
}

/*
 * Try to work on @cmd, which the session does not have.
 * Returns: false if it has to wait, and all behind it.
 */
static bool command_start(VideoStream *stream, VideoCommand *cmd)
{
    bool first = cmd == QTAILQ_FIRST(&stream->commands);

    switch (cmd->type) {
    case VIDEO_COMMAND_RESOURCE_QUEUE:
        stream_start_session(stream);
        cmd->sent = true;
        video_codec_session_queue_input(stream->session,
                                        g_steal_pointer(&cmd->in));
        return true;
    case VIDEO_COMMAND_DRAIN:
        if (stream->session) {
            command_send_drain(stream, cmd);
            return false;
        }
        stream_answer(stream, cmd->type, VIDEO_QUEUE_INPUT, cmd->cookie,
                      false);
        command_finish(stream, cmd);
        return true;
    case VIDEO_COMMAND_SET_PARAMS:
        if (!first && !cmd->main) {
            return false;
        }
        if (!cmd->drained &&
            stream_needs_drain(stream, cmd->params, cmd->main)) {
            command_send_drain(stream, cmd);
            return false;
        }
        stream_apply_params(stream, cmd->params, cmd->cookie);
        command_finish(stream, cmd);
        return true;
    case VIDEO_COMMAND_GET_PARAMS:
        if (!first) {
            return false;
        }
        stream_answer_get(stream, cmd->params->set, cmd->cookie);
        command_finish(stream, cmd);
        return true;
    default:
        g_assert_not_reached();
    }
}

/* A command that the session works on and that all behind it wait for. */
static bool command_is_barrier(const VideoCommand *cmd)
{
    return cmd->sent && cmd->type != VIDEO_COMMAND_RESOURCE_QUEUE;
}

static void stream_pump(VideoStream *stream)
{
    VideoCommand *cmd, *next;

    if (stream->canceling) {
        return;
    }
    QTAILQ_FOREACH_SAFE(cmd, &stream->commands, next, next) {
        if (command_is_barrier(cmd)) {
            return;
        }
        if (!cmd->sent && !command_start(stream, cmd)) {
            return;
        }
    }
}

/*
 * What the session says
 */

static void stream_input_done(void *opaque, VideoCodecInput *in)
{
    VideoStream *stream = opaque;
    VideoCommand *cmd = in->opaque;

    if (in->error) {
        stream_guest_error(stream, "bad coded data at timestamp %" PRIu64,
                           in->timestamp);
    }
    stream->resources[VIDEO_QUEUE_INPUT][cmd->resource_id].queued = false;
    stream_answer(stream, cmd->type, VIDEO_QUEUE_INPUT, cmd->cookie,
                  in->error);
    command_finish(stream, cmd);
    stream_pump(stream);
}

static void stream_output_done(void *opaque, VideoCodecOutput *out)
{
    VideoStream *stream = opaque;
    VideoResource *res = out->opaque;
    VideoEvent event = {
        .type = VIDEO_COMMAND_RESOURCE_QUEUE,
        .queue = VIDEO_QUEUE_OUTPUT,
        .cookie = res->cookie,
        .error = out->corrupt,
        .timestamp = out->timestamp,
    };
    VideoLayout layout;

    video_format_layout(&stream->raw, &layout);
    event.n_planes = layout.n_planes;
    for (unsigned i = 0; i < layout.n_planes; i++) {
        const VideoPlaneLayout *p = &layout.planes[i];

        event.offsets[i] = p->offset;
        event.sizes[i] = p->stride * p->rows;
    }

    if (out->corrupt) {
        stream_guest_error(stream, "the frame of timestamp %" PRIu64
                           " may be corrupt", out->timestamp);
    }
    stream_set_dirty(res);
    QTAILQ_REMOVE(&stream->outputs, res, next);
    res->queued = false;
    res->lent = false;
    stream_event(stream, &event);
}

/* What the raw format becomes when the coded stream has @format. */
static VideoRawFormat stream_raw_for(VideoStream *stream,
                                     const VideoCodecFormat *format)
{
    VideoRawFormat raw = stream->raw;

    raw.width = format->width;
    raw.height = format->height;
    if (!stream->raw_chosen && stream_raw_linked(stream, format->fourcc)) {
        raw.fourcc = format->fourcc;
    }
    return raw;
}

static bool rect_equal(const VideoRect *a, const VideoRect *b)
{
    return a->left == b->left && a->top == b->top &&
           a->width == b->width && a->height == b->height;
}

/* The dynamic parameters change (DPC). */
static void stream_format_changed(void *opaque, const VideoCodecFormat *format)
{
    VideoStream *stream = opaque;
    VideoRawFormat raw = stream_raw_for(stream, format);
    bool changed = !video_format_equal(&raw, &stream->raw);
    g_autoptr(VideoParams) params = video_params_new(VIDEO_SET_RAW);
    VideoEvent event = {
        .type = VIDEO_COMMAND_SET_PARAMS,
        .standalone = true,
        .blocked = changed,
        .params = params,
    };

    trace_video_stream_format(stream->name, format->fourcc, format->width,
                              format->height, format->crop.width,
                              format->crop.height);
    stream->known = true;
    stream->visible = format->crop;
    if (!changed && rect_equal(&stream->crop, &format->crop)) {
        goto out;       /* no change: goes on, or waits for an UNBLOCK */
    }

    stream->raw = raw;
    stream->crop = format->crop;
    params_add_raw(params, stream);
    if (changed) {
        stream_block(stream);
    }
    stream_event(stream, &event);
    if (changed) {
        stream_cancel_unfit(stream);
    }
out:
    if (!stream->blocked) {
        video_codec_session_resume(stream->session);
    }
}

static void stream_drained(void *opaque)
{
    VideoStream *stream = opaque;
    VideoCommand *cmd = QTAILQ_FIRST(&stream->commands);

    assert(command_is_barrier(cmd));
    if (cmd->type == VIDEO_COMMAND_DRAIN) {
        stream_answer(stream, cmd->type, VIDEO_QUEUE_INPUT, cmd->cookie,
                      false);
        command_finish(stream, cmd);
    } else {
        cmd->sent = false;
        cmd->drained = true;
    }
    stream_pump(stream);
}

/*
 * Open and close
 */

static void stream_closed(void *opaque)
{
    VideoStream *stream = opaque;
    VideoEvent event = {
        .type = VIDEO_COMMAND_CLOSE,
        .cookie = stream->close_cookie,
    };

    stream->session = NULL;
    if (stream->state == STREAM_FAILED) {
        event.error = event.standalone = true;
    }
    stream_event(stream, &event);
    stream->ops->closed(stream->opaque);
}

/* End in @state: all commands are canceled, all memory is let go. */
static void stream_end(VideoStream *stream, VideoStreamState state)
{
    if (state == STREAM_ABORTED) {
        stream->state = state;      /* no word from here on */
    }
    stream_cancel_outputs(stream);
    if (stream->session) {
        video_codec_session_close(stream->session);
    }
    stream->state = state;
    while (!QTAILQ_EMPTY(&stream->commands)) {
        command_cancel(stream, QTAILQ_FIRST(&stream->commands));
    }
    for (VideoQueue q = 0; q < VIDEO_QUEUE__MAX; q++) {
        stream_set_num_resources(stream, q, 0);
    }
    if (!stream->session) {
        stream_closed(stream);
    }
}

static void stream_failed(void *opaque, const char *reason)
{
    VideoStream *stream = opaque;

    stream_guest_error(stream, "%s", reason);
    stream_end(stream, STREAM_FAILED);
}

static const VideoCodecSessionOps session_ops = {
    .input_done = stream_input_done,
    .output_done = stream_output_done,
    .format_changed = stream_format_changed,
    .drained = stream_drained,
    .failed = stream_failed,
    .closed = stream_closed,
};

VideoStream *video_stream_new(VideoStreamContext *ctx, const char *name,
                              const VideoStreamOps *ops, void *opaque)
{
    VideoStream *stream = g_new0(VideoStream, 1);

    stream->ctx = ctx;
    stream->name = g_strdup(name);
    stream->ops = ops;
    stream->opaque = opaque;
    QTAILQ_INIT(&stream->commands);
    QTAILQ_INIT(&stream->outputs);
    for (VideoQueue q = 0; q < VIDEO_QUEUE__MAX; q++) {
        stream->resources[q] = g_new0(VideoResource, ctx->max_resources);
    }

    stream->coded = ctx->caps.decoders[0].format;
    stream->raw = (VideoRawFormat) {
        .fourcc = stream_first_raw(stream),
        .modifier = DRM_FORMAT_MOD_LINEAR,
        .width = 640,
        .height = 480,
        .stride_align = 64,
        .height_align = 1,
        .plane_align = 1,
    };
    stream_adjust_raw(stream, &stream->raw);
    stream_reset_crop(stream);
    return stream;
}

void video_stream_free(VideoStream *stream)
{
    VideoCommand *cmd;

    if (stream->session) {
        stream_revoke_outputs(stream);
        video_codec_session_orphan(stream->session);
    }
    while ((cmd = QTAILQ_FIRST(&stream->commands))) {
        command_finish(stream, cmd);
    }
    for (VideoQueue q = 0; q < VIDEO_QUEUE__MAX; q++) {
        stream_set_num_resources(stream, q, 0);
        g_free(stream->resources[q]);
    }
    g_free(stream->name);
    g_free(stream);
}

bool video_stream_is_open(const VideoStream *stream)
{
    return stream->state == STREAM_OPEN;
}

void video_stream_close(VideoStream *stream, uint64_t cookie)
{
    stream->close_cookie = cookie;
    stream_end(stream, STREAM_CLOSING);
}

void video_stream_abort(VideoStream *stream)
{
    if (stream->state == STREAM_OPEN) {
        stream_end(stream, STREAM_ABORTED);
    } else {
        stream->state = STREAM_ABORTED;
    }
}

void video_stream_pause(VideoStream *stream, bool paused)
{
    if (stream->session) {
        video_codec_session_pause(stream->session, paused);
    }
}
