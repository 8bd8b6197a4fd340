/*
 * A video stream, whatever the protocol
 *
 * The input queue, what the session says, and the life of a stream.  Runs in
 * the device's context with the BQL held; what the codec's worker has to say
 * arrives through session_ops.
 *
 * How the input queue works: commands wait in VideoStream.commands in their
 * order.  stream_pump() gives those to the session that it can work on and
 * answers those at the head that need no session.  A command leaves the list
 * when it is answered.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "system/runstate.h"
#include "stream-internal.h"
#include "trace.h"

/* Rate control needs a frame rate, but not every protocol has one. */
#define FRAMES_PER_SECOND 30

/* Coded data that a device copies before others may use the main loop */
#define BYTES_PER_TURN (256 * KiB)
/* Pages of memory after which commands that may attach more wait for others */
#define LOOKUPS_PER_TURN 4096

static const VideoCodecSessionOps session_ops;

static void stream_pump(VideoStream *stream);

void video_stream_guest_error(const VideoStream *stream, const char *fmt, ...)
{
    g_autofree char *msg = NULL;
    va_list ap;

    va_start(ap, fmt);
    msg = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    trace_video_stream_guest_error(stream->name, msg);
    qemu_log_mask(LOG_GUEST_ERROR, "%s: %s\n", stream->name, msg);
}

/*
 * Host memory that the guest makes us hold
 */

bool video_stream_charge(VideoStream *stream, size_t bytes)
{
    if (!video_memory_take(stream->ctx->memory, bytes)) {
        video_stream_guest_error(stream, "%zu bytes more than max-mem", bytes);
        return false;
    }
    return true;
}

void video_stream_uncharge(VideoStream *stream, size_t bytes)
{
    video_memory_give(stream->ctx->memory, bytes);
}

/*
 * Answers
 */

void video_stream_count(VideoStream *stream, VideoQueue queue, bool error,
                        uint64_t bytes)
{
    VideoQueueCounters *c = &stream->counters[queue];

    if (error) {
        c->errors++;
    } else {
        c->buffers++;
        c->bytes += bytes;
    }
}

void video_stream_event(VideoStream *stream, const VideoEvent *event)
{
    if (stream->state == STREAM_ABORTED) {
        return;
    }
    stream->ops->event(stream->opaque, event);
}

void video_stream_answer(VideoStream *stream, VideoCommandType type,
                          VideoQueue queue, uint64_t cookie, bool error)
{
    VideoEvent event = {
        .type = type, .queue = queue, .cookie = cookie, .error = error,
    };

    video_stream_event(stream, &event);
}

/* @params: an empty set for SET_PARAMS and GET_PARAMS, else NULL */
void video_stream_cancel(VideoStream *stream, VideoCommandType type,
                          VideoQueue queue, uint64_t cookie,
                          const VideoParams *params)
{
    VideoEvent event = {
        .type = type, .queue = queue, .cookie = cookie, .params = params,
        .canceled = true,
    };

    video_stream_event(stream, &event);
}

void video_stream_answer_params(VideoStream *stream, VideoCommandType type,
                                 uint64_t cookie, const VideoParams *params,
                                 bool error, bool blocked)
{
    VideoEvent event = {
        .type = type, .cookie = cookie, .params = params,
        .error = error, .blocked = blocked,
    };

    video_stream_event(stream, &event);
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
    video_stream_uncharge(stream, cmd->host_bytes);
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
    if (cmd->type == VIDEO_COMMAND_RESOURCE_QUEUE && !cmd->refused) {
        stream->resources[VIDEO_QUEUE_INPUT][cmd->resource_id].queued = false;
    }
    if (cmd->params) {
        g_array_set_size(cmd->params->params, 0);
    }
    video_stream_cancel(stream, cmd->type, VIDEO_QUEUE_INPUT, cmd->cookie,
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

static void stream_answer_refused(VideoStream *stream, VideoCommandType type,
                                  const VideoParams *params, uint64_t cookie)
{
    VideoEvent event = {
        .type = type, .queue = VIDEO_QUEUE_INPUT, .cookie = cookie,
        .params = params, .error = true,
    };

    video_stream_event(stream, &event);
}

static bool stream_is_draining(const VideoStream *stream)
{
    VideoCommand *cmd;

    QTAILQ_FOREACH(cmd, &stream->commands, next) {
        if (cmd->type == VIDEO_COMMAND_DRAIN) {
            return true;
        }
    }
    return false;
}

static bool stream_is_full(const VideoStream *stream)
{
    return stream->num_commands >= stream->ctx->max_commands;
}

void video_stream_refuse(VideoStream *stream, VideoCommandType type,
                         VideoParams *params, uint64_t cookie)
{
    VideoCommand *cmd;

    if (params) {
        /* Not emptied: what it had is not charged any more, and goes */
        VideoParams *empty = video_params_new(params->set);

        video_params_free(params);
        params = empty;
    }
    if (!stream_is_draining(stream) || stream_is_full(stream)) {
        stream_answer_refused(stream, type, params, cookie);
        g_clear_pointer(&params, video_params_free);
        return;
    }
    cmd = command_new(stream, type, cookie);
    cmd->refused = true;
    cmd->params = params;
    QTAILQ_INSERT_TAIL(&stream->commands, cmd, next);
}

/* Is there room for one more command that takes @bytes? They are charged. */
static bool stream_accept(VideoStream *stream, size_t bytes)
{
    if (stream_is_full(stream)) {
        video_stream_guest_error(stream, "more than %u commands wait",
                                 stream->ctx->max_commands);
        return false;
    }
    return video_stream_charge(stream, bytes);
}

void video_stream_set_params(VideoStream *stream, VideoParams *params,
                             bool in_order, uint64_t cookie)
{
    size_t bytes = video_params_host_bytes(params);
    VideoCommand *cmd, *pos = NULL;

    if (!stream_accept(stream, bytes)) {
        if (in_order) {
            video_stream_refuse(stream, VIDEO_COMMAND_SET_PARAMS, params,
                                cookie);
        } else {
            g_array_set_size(params->params, 0);
            video_stream_answer_params(stream, VIDEO_COMMAND_SET_PARAMS,
                                       cookie, params, true, false);
            video_params_free(params);
        }
        return;
    }
    if (!in_order && !video_stream_needs_drain(stream, params, true)) {
        video_stream_apply_params(stream, params, true, cookie);
        video_params_free(params);
        video_stream_uncharge(stream, bytes);
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
        video_stream_answer_get(stream, set, cookie);
        return;
    }
    if (!stream_accept(stream, 0)) {
        video_stream_refuse(stream, VIDEO_COMMAND_GET_PARAMS,
                            video_params_new(set), cookie);
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
        video_stream_answer(stream, VIDEO_COMMAND_DRAIN, VIDEO_QUEUE_INPUT,
                            cookie, true);
        return;
    }
    cmd = command_new(stream, VIDEO_COMMAND_DRAIN, cookie);
    QTAILQ_INSERT_TAIL(&stream->commands, cmd, next);
    stream_pump(stream);
}

/* Room for a copy of the coded data. Returns: NULL if the data is not there. */
static VideoCodecInput *stream_make_input(VideoStream *stream,
                                          const VideoResource *res,
                                          uint32_t offset, uint32_t size)
{
    size_t room = res->buffers[0].mem.size;
    VideoCodecInput *in;

    if (!size || offset > room || size > room - offset) {
        video_stream_guest_error(stream, "%u bytes at %u of a resource of %zu",
                                 size, offset, room);
        return NULL;
    }
    in = video_codec_input_new(size);
    if (!in) {
        trace_video_stream_no_memory(stream->name, size);
    }
    return in;
}

void video_stream_queue_input(VideoStream *stream, uint32_t resource_id,
                              const uint32_t *offsets, const uint32_t *sizes,
                              uint64_t timestamp, uint64_t cookie)
{
    VideoResource *res = video_stream_resource(stream, VIDEO_QUEUE_INPUT,
                                               resource_id);
    VideoCodecInput *in = NULL;
    VideoCommand *cmd;
    size_t bytes = 0;

    if (!res || !res->n_buffers || res->queued) {
        video_stream_guest_error(stream, "input resource %u is %s",
                                 resource_id, res && res->queued ?
                                 "already queued" : "not attached");
        goto error;
    }
    if (stream->direction == VIDEO_DECODE) {
        in = stream_make_input(stream, res, offsets[0], sizes[0]);
        if (!in) {
            goto error;
        }
        bytes = sizes[0];
    }
    if (!stream_accept(stream, bytes)) {
        video_codec_input_free(in);
        goto error;
    }

    cmd = command_new(stream, VIDEO_COMMAND_RESOURCE_QUEUE, cookie);
    cmd->resource_id = resource_id;
    cmd->timestamp = timestamp;
    memcpy(cmd->offsets, offsets, sizeof(cmd->offsets));
    memcpy(cmd->sizes, sizes, sizeof(cmd->sizes));
    cmd->in = in;
    cmd->host_bytes = bytes;
    res->queued = true;
    QTAILQ_INSERT_TAIL(&stream->commands, cmd, next);
    stream_pump(stream);
    return;

error:
    video_stream_refuse(stream, VIDEO_COMMAND_RESOURCE_QUEUE, NULL, cookie);
}

void video_stream_unblock(VideoStream *stream, uint64_t cookie)
{
    bool was_blocked = stream->blocked;

    if (!was_blocked) {
        video_stream_guest_error(stream, "UNBLOCK, but nothing is blocked");
    }
    stream->blocked = false;
    stream->owes_last = false;
    video_stream_answer(stream, VIDEO_COMMAND_UNBLOCK, VIDEO_QUEUE_OUTPUT,
                        cookie, !was_blocked);
    if (was_blocked) {
        if (stream->session && stream->direction == VIDEO_DECODE) {
            video_codec_session_resume(stream->session);
        }
        video_stream_lend_outputs(stream);
        video_stream_continue_drain(stream);
        stream_pump(stream);
    }
}

void video_stream_reset(VideoStream *stream, VideoQueue queue, uint64_t cookie)
{
    if (queue == VIDEO_QUEUE_INPUT) {
        stream_cancel_inputs(stream);
        if (stream->state != STREAM_OPEN) {
            /* The codec's last words were that it failed */
            video_stream_cancel(stream, VIDEO_COMMAND_QUEUE_RESET, queue,
                                cookie, NULL);
            return;
        }
    } else {
        video_stream_cancel_outputs(stream);
    }
    video_stream_answer(stream, VIDEO_COMMAND_QUEUE_RESET, queue, cookie,
                        false);
}

bool video_stream_restart(VideoStream *stream)
{
    if (video_stream_must_keep_session(stream)) {
        video_stream_guest_error(stream, "too many codecs have not let go");
        return false;
    }
    stream_cancel_inputs(stream);
    if (stream->state != STREAM_OPEN) {
        return true;    /* the codec's last words were that it failed */
    }
    video_stream_cancel_outputs(stream);
    video_stream_end_session(stream);
    stream->known = false;
    stream->blocked = false;
    stream->owes_last = false;
    return true;
}

void video_stream_hold_output(VideoStream *stream)
{
    video_stream_block(stream);
}

void video_stream_set_rate(VideoStream *stream, uint32_t num, uint32_t den)
{
    stream->rate_num = num;
    stream->rate_den = den;
}

/*
 * Work on the input queue
 */

VideoCodecParams video_stream_codec_params(VideoStream *stream)
{
    VideoSizes sizes = video_stream_sizes(stream, 0);
    VideoSizes deep = video_stream_sizes(stream, DRM_FORMAT_P010);
    VideoCodecParams params = {
        .direction = stream->direction,
        .coded = stream->coded,
    };

    if (stream->direction == VIDEO_ENCODE) {
        params.fourcc = stream->raw.fourcc;
        params.width = stream->crop.width;
        params.height = stream->crop.height;
        params.rate_num = stream->rate_num;
        params.rate_den = stream->rate_den;
        params.controls = stream->controls;
    } else {
        params.max_width = sizes.width.max;
        params.max_height = sizes.height.max;
        params.deep_max_width = deep.width.max;
        params.deep_max_height = deep.height.max;
    }
    return params;
}

static void stream_start_session(VideoStream *stream)
{
    VideoCodecParams params = video_stream_codec_params(stream);

    if (stream->session) {
        return;
    }
    trace_video_stream_session(stream->name, stream->direction, params.coded,
                               params.fourcc, params.width, params.height);
    stream->session = video_codec_session_open(stream->ctx->codec,
                                               stream->ctx->memory, &params,
                                               &session_ops, stream);
    video_stream_lend_outputs(stream);
}

bool video_stream_must_keep_session(VideoStream *stream)
{
    VideoStreamContext *ctx = stream->ctx;

    /* One is the device itself */
    return stream->session &&
           video_memory_users(ctx->memory) - 1 >= ctx->max_workers;
}

void video_stream_end_session(VideoStream *stream)
{
    if (stream->session) {
        video_stream_revoke_outputs(stream);
        video_codec_session_orphan(stream->session);
        stream->session = NULL;
    }
}

static bool frame_set_plane(VideoStream *stream, const VideoCommand *cmd,
                            const VideoPlaneLayout *layout, unsigned i,
                            VideoCodecPlane *plane)
{
    VideoResource *res =
        &stream->resources[VIDEO_QUEUE_INPUT][cmd->resource_id];
    const VideoCodecMem *mem = &res->buffers[layout->buffer].mem;
    uint64_t least = (uint64_t)layout->stride * (layout->rows - 1) +
                     layout->row_bytes;
    uint32_t offset = cmd->offsets[i], size = cmd->sizes[i];

    if (size < least || (uint64_t)offset + size > mem->size) {
        video_stream_guest_error(stream, "plane %u: %u bytes at %u of a buffer "
                                 "of %zu, its rows take %" PRIu64, i, size,
                                 offset, mem->size, least);
        return false;
    }
    *plane = (VideoCodecPlane) {
        .mem = mem,
        .offset = offset,
        .stride = layout->stride,
        .rows = layout->rows,
    };
    return true;
}

/*
 * The frame that an encoder's driver has queued, where it said that the planes
 * are, in the raw format that the stream has now.
 * Returns: NULL if it is not there.
 */
static VideoCodecInput *command_make_frame(VideoStream *stream,
                                           const VideoCommand *cmd)
{
    VideoResource *res =
        &stream->resources[VIDEO_QUEUE_INPUT][cmd->resource_id];
    VideoCodecInput *in;
    VideoLayout layout;

    video_format_layout(&stream->raw, &layout);
    if (res->n_buffers != layout.n_buffers) {
        video_stream_guest_error(stream, "input resource %u has %u buffers, "
                                 "not %u", cmd->resource_id, res->n_buffers,
                                 layout.n_buffers);
        return NULL;
    }
    in = video_codec_input_new_raw();
    in->fourcc = stream->raw.fourcc;
    in->width = stream->crop.width;
    in->height = stream->crop.height;
    in->left = stream->crop.left;
    in->top = stream->crop.top;
    in->n_planes = layout.n_planes;
    for (unsigned i = 0; i < layout.n_planes; i++) {
        if (!frame_set_plane(stream, cmd, &layout.planes[i], i,
                             &in->planes[i])) {
            video_codec_input_free(in);
            return NULL;
        }
    }
    return in;
}

static void command_finish_input(VideoStream *stream, VideoCommand *cmd,
                                 bool error)
{
    stream->resources[VIDEO_QUEUE_INPUT][cmd->resource_id].queued = false;
    video_stream_answer(stream, cmd->type, VIDEO_QUEUE_INPUT, cmd->cookie,
                        error);
    command_finish(stream, cmd);
}

static void command_send_input(VideoStream *stream, VideoCommand *cmd)
{
    cmd->in->timestamp = cmd->timestamp;
    cmd->in->opaque = cmd;
    video_codec_session_queue_input(stream->session,
                                    g_steal_pointer(&cmd->in));
}

/*
 * Turns.  A guest can queue hundreds of megabytes of coded data at once, which
 * is copied, and parameter sets that attach as much.  So all streams of a
 * device together copy and attach only so much in a turn of the main loop;
 * those that have more wait for the next one in VideoStreamContext.copying.
 */

static void stream_wait_for_turn(VideoStream *stream)
{
    if (!QTAILQ_IN_USE(stream, copying)) {
        QTAILQ_INSERT_TAIL(&stream->ctx->copying, stream, copying);
    }
}

bool video_stream_turn_is_over(const VideoStreamContext *ctx)
{
    return ctx->looked_up >= LOOKUPS_PER_TURN;
}

/* The oldest input that the session gets as soon as its data is copied */
static VideoCommand *stream_to_copy(VideoStream *stream)
{
    VideoCommand *cmd;

    QTAILQ_FOREACH(cmd, &stream->commands, next) {
        if (cmd->sent && cmd->in) {
            return cmd;
        }
    }
    return NULL;
}

/* Copy as much as this turn has left. Returns: is that all of the data? */
static bool command_copy(VideoStream *stream, VideoCommand *cmd)
{
    VideoStreamContext *ctx = stream->ctx;
    VideoResource *res =
        &stream->resources[VIDEO_QUEUE_INPUT][cmd->resource_id];
    size_t n = MIN(cmd->in->size - cmd->copied, BYTES_PER_TURN - ctx->copied);

    video_resource_read(res, cmd->offsets[0] + cmd->copied,
                        cmd->in->data + cmd->copied, n);
    cmd->copied += n;
    ctx->copied += n;
    qemu_bh_schedule(ctx->copy_bh);
    return cmd->copied == cmd->in->size;
}

static void stream_copy(VideoStream *stream)
{
    VideoCommand *cmd;

    while ((cmd = stream_to_copy(stream)) && command_copy(stream, cmd)) {
        command_send_input(stream, cmd);
    }
    if (cmd) {
        stream_wait_for_turn(stream);
    }
}

static void stream_stop_copying(VideoStream *stream)
{
    if (QTAILQ_IN_USE(stream, copying)) {
        QTAILQ_REMOVE(&stream->ctx->copying, stream, copying);
    }
}

/* Another turn of the main loop */
static void context_copy_bh(void *opaque)
{
    VideoStreamContext *ctx = opaque;
    VideoStream *stream;

    ctx->copied = 0;
    ctx->looked_up = 0;
    if (!runstate_is_running()) {
        return;             /* video_stream_pause() goes on with it */
    }
    while (ctx->copied < BYTES_PER_TURN && !video_stream_turn_is_over(ctx) &&
           (stream = QTAILQ_FIRST(&ctx->copying))) {
        stream_stop_copying(stream);
        stream_copy(stream);
        stream_pump(stream);
    }
}

static bool command_start_input(VideoStream *stream, VideoCommand *cmd)
{
    if (stream->direction == VIDEO_ENCODE) {
        cmd->in = command_make_frame(stream, cmd);
        if (!cmd->in) {
            command_finish_input(stream, cmd, true);
            return true;
        }
    }
    stream_start_session(stream);
    cmd->sent = true;
    if (stream->direction == VIDEO_ENCODE) {
        command_send_input(stream, cmd);
    } else {
        stream_copy(stream);
    }
    return true;
}

/* A drain, explicit or implicit, once the session has all input before it */
static void command_send_drain(VideoStream *stream, VideoCommand *cmd)
{
    if (!stream_to_copy(stream)) {
        cmd->sent = true;
        video_codec_session_drain(stream->session);
    }
}

/*
 * All of a DRAIN is done but its answer.  If the driver wants an empty output
 * ahead of that, there must be one that may be used.
 * Returns: false if the DRAIN has to wait for that.
 */
static bool command_finish_drain(VideoStream *stream, VideoCommand *cmd)
{
    bool last = stream->ctx->last_buffers;

    cmd->drained = true;
    if (last && (stream->blocked ||
                 !video_stream_give_last(stream, VIDEO_LAST_DRAIN))) {
        return false;
    }
    video_stream_answer(stream, cmd->type, VIDEO_QUEUE_INPUT, cmd->cookie,
                        false);
    command_finish(stream, cmd);
    return true;
}

void video_stream_continue_drain(VideoStream *stream)
{
    VideoCommand *cmd = QTAILQ_FIRST(&stream->commands);

    if (cmd && cmd->type == VIDEO_COMMAND_DRAIN && cmd->drained &&
        command_finish_drain(stream, cmd)) {
        stream_pump(stream);
    }
}

static bool command_start_drain(VideoStream *stream, VideoCommand *cmd)
{
    if (stream->session) {
        command_send_drain(stream, cmd);
        return false;
    }
    cmd->sent = true;
    return command_finish_drain(stream, cmd);
}

/*
 * Try to work on @cmd, which the session does not have.
 * Returns: false if it has to wait, and all behind it.
 */
static bool command_start(VideoStream *stream, VideoCommand *cmd)
{
    bool first = cmd == QTAILQ_FIRST(&stream->commands);
    /* Drained, and empty until UNBLOCK: its parameters are the driver's */
    bool idle = stream->blocked && stream->direction == VIDEO_ENCODE;

    if (cmd->refused) {
        stream_answer_refused(stream, cmd->type, cmd->params, cmd->cookie);
        command_finish(stream, cmd);
        return true;
    }
    switch (cmd->type) {
    case VIDEO_COMMAND_RESOURCE_QUEUE:
        return !idle && command_start_input(stream, cmd);
    case VIDEO_COMMAND_DRAIN:
        return !idle && command_start_drain(stream, cmd);
    case VIDEO_COMMAND_SET_PARAMS:
        if (!first && !cmd->main) {
            return false;
        }
        if (!cmd->drained &&
            video_stream_needs_drain(stream, cmd->params, cmd->main)) {
            command_send_drain(stream, cmd);
            return false;
        }
        if (video_stream_turn_is_over(stream->ctx)) {
            stream_wait_for_turn(stream);
            return false;
        }
        video_stream_apply_params(stream, cmd->params, cmd->main, cmd->cookie);
        command_finish(stream, cmd);
        return true;
    case VIDEO_COMMAND_GET_PARAMS:
        if (!first) {
            return false;
        }
        video_stream_answer_get(stream, cmd->params->set, cmd->cookie);
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

/* Bytes of data that an input had */
static uint64_t input_bytes(const VideoCodecInput *in, const VideoCommand *cmd)
{
    uint64_t bytes = in->size;

    if (in->type == VIDEO_INPUT_RAW) {
        for (unsigned i = 0; i < in->n_planes; i++) {
            bytes += cmd->sizes[i];
        }
    }
    return bytes;
}

static void stream_input_done(void *opaque, VideoCodecInput *in)
{
    VideoStream *stream = opaque;

    if (in->error) {
        trace_video_stream_bad_input(stream->name, in->timestamp);
    }
    video_stream_count(stream, VIDEO_QUEUE_INPUT, in->error,
                       input_bytes(in, in->opaque));
    stream->controls.value[VIDEO_CONTROL_FORCE_KEY_FRAME] = 0;
    command_finish_input(stream, in->opaque, in->error);
    stream_pump(stream);
}

/* What the raw format becomes when the coded stream has @format. */
static VideoRawFormat stream_raw_for(VideoStream *stream,
                                     const VideoCodecFormat *format)
{
    VideoRawFormat raw = stream->raw;

    raw.width = format->width;
    raw.height = format->height;
    if ((!stream->raw_chosen ||
         !video_stream_raw_fits(stream, raw.fourcc, raw.width, raw.height)) &&
        video_stream_raw_fits(stream, format->fourcc, raw.width, raw.height)) {
        raw.fourcc = format->fourcc;
    }
    return raw;
}

/* The dynamic parameters change (DPC). */
static void stream_format_changed(void *opaque, const VideoCodecFormat *format)
{
    VideoStream *stream = opaque;
    VideoRawFormat raw = stream_raw_for(stream, format);
    bool tell_all = stream->ctx->tell_all;
    bool first = tell_all && !stream->known;
    bool same_crop = video_rect_equal(&stream->crop, &format->crop);
    bool changed = !video_format_equal(&raw, &stream->raw) ||
                   (tell_all && (first || !same_crop));
    g_autoptr(VideoParams) params = video_params_new(VIDEO_SET_RAW);
    VideoEvent event = {
        .type = VIDEO_COMMAND_SET_PARAMS,
        .standalone = true,
        .blocked = changed,
        .params = params,
    };

    trace_video_stream_dpc(stream->name, changed, format->fourcc,
                           format->width, format->height, format->crop.left,
                           format->crop.top, format->crop.width,
                           format->crop.height);
    stream->known = true;
    stream->visible = format->crop;
    if (!changed && same_crop) {
        goto out;       /* no change: goes on, or waits for an UNBLOCK */
    }

    stream->raw_chosen &= raw.fourcc == stream->raw.fourcc;
    stream->raw = raw;
    stream->crop = format->crop;
    video_stream_trace_format(stream);
    video_stream_add_raw(stream, params);
    if (changed) {
        video_stream_block(stream);
        /* Before the first frame there are none of which it were the last */
        stream->owes_last = stream->ctx->last_buffers && !first &&
                            !video_stream_give_last(stream, VIDEO_LAST_DPC);
    }
    video_stream_event(stream, &event);
    if (changed) {
        video_stream_cancel_unfit(stream);
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
        if (!command_finish_drain(stream, cmd)) {
            return;
        }
    } else {
        cmd->sent = false;
        cmd->drained = true;
    }
    stream_pump(stream);
}

/*
 * Open and close
 */

/* The last that the driver hears of a stream */
static void stream_say_closed(VideoStream *stream)
{
    VideoEvent event = {
        .type = VIDEO_COMMAND_CLOSE,
        .cookie = stream->close_cookie,
    };

    if (stream->state == STREAM_FAILED) {
        event.error = event.standalone = true;
    }
    video_stream_event(stream, &event);
}

static void stream_closed(void *opaque)
{
    VideoStream *stream = opaque;

    stream->session = NULL;
    timer_del(&stream->close_timer);
    stream_say_closed(stream);
    stream->ops->closed(stream->opaque);
}

/*
 * The codec hangs, and the driver is not to hang with it.  Since stream_end()
 * the worker can't reach guest memory, so all that it still has is its place
 * among the streams that are not freed.
 */
static void stream_overdue(void *opaque)
{
    VideoStream *stream = opaque;

    trace_video_stream_overdue(stream->name);
    stream_say_closed(stream);
    stream->state = STREAM_ABORTED;
    stream->ops->overdue(stream->opaque);
}

/* Of the host: with icount, the guest's clock may stand still meanwhile */
static void stream_arm_close_timer(VideoStream *stream)
{
    timer_mod(&stream->close_timer,
              qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + VIDEO_STREAM_CLOSE_MS);
}

/* End in @state: all commands are canceled, all memory is let go. */
static void stream_end(VideoStream *stream, VideoStreamState state)
{
    if (state == STREAM_ABORTED) {
        stream->state = state;      /* no word from here on */
    }
    video_stream_cancel_outputs(stream);
    if (stream->session) {
        video_codec_session_close(stream->session);
    }
    stream->state = state;
    while (!QTAILQ_EMPTY(&stream->commands)) {
        command_cancel(stream, QTAILQ_FIRST(&stream->commands));
    }
    video_stream_detach_all(stream);
    if (!stream->session) {
        stream_closed(stream);
    } else if (state != STREAM_ABORTED) {
        stream_arm_close_timer(stream);
    }
}

static void stream_failed(void *opaque, const char *reason)
{
    VideoStream *stream = opaque;

    trace_video_stream_failed(stream->name, reason);
    stream_end(stream, STREAM_FAILED);
}

static const VideoCodecSessionOps session_ops = {
    .input_done = stream_input_done,
    .output_done = video_stream_output_done,
    .format_changed = stream_format_changed,
    .drained = stream_drained,
    .failed = stream_failed,
    .closed = stream_closed,
};

VideoStream *video_stream_new(VideoStreamContext *ctx,
                              VideoCodecDirection direction, const char *name,
                              const VideoStreamOps *ops, void *opaque)
{
    VideoStream *stream = g_new0(VideoStream, 1);

    stream->ctx = ctx;
    stream->direction = direction;
    stream->name = g_strdup(name);
    stream->ops = ops;
    stream->opaque = opaque;
    stream->rate_num = FRAMES_PER_SECOND;
    stream->rate_den = 1;
    timer_init_ms(&stream->close_timer, QEMU_CLOCK_REALTIME, stream_overdue,
                  stream);
    QTAILQ_INIT(&stream->commands);
    QTAILQ_INIT(&stream->outputs);
    for (VideoQueue q = 0; q < VIDEO_QUEUE__MAX; q++) {
        stream->resources[q] = g_new0(VideoResource, ctx->max_resources);
    }

    video_stream_init_params(stream);
    return stream;
}

void video_stream_free(VideoStream *stream)
{
    VideoCommand *cmd;

    timer_del(&stream->close_timer);
    stream_stop_copying(stream);
    if (stream->session) {
        video_stream_revoke_outputs(stream);
        video_codec_session_orphan(stream->session);
    }
    while ((cmd = QTAILQ_FIRST(&stream->commands))) {
        command_finish(stream, cmd);
    }
    video_stream_detach_all(stream);
    for (VideoQueue q = 0; q < VIDEO_QUEUE__MAX; q++) {
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
        timer_del(&stream->close_timer);
    }
}

bool video_stream_has_worker(const VideoStream *stream)
{
    return stream->session;
}

void video_stream_get_info(const VideoStream *stream, VideoStreamInfo *info)
{
    const VideoCommand *cmd;
    const VideoResource *res;

    *info = (VideoStreamInfo) {
        .direction = stream->direction,
        .closing = stream->state != STREAM_OPEN,
        .blocked = stream->blocked,
        .coded = stream->coded,
        .raw = stream->raw,
        .crop = stream->crop,
        .controls = stream->controls,
    };
    QTAILQ_FOREACH(cmd, &stream->commands, next) {
        info->draining |= command_is_barrier(cmd);
        info->queued[VIDEO_QUEUE_INPUT] +=
            cmd->type == VIDEO_COMMAND_RESOURCE_QUEUE && !cmd->refused;
    }
    QTAILQ_FOREACH(res, &stream->outputs, next) {
        info->queued[VIDEO_QUEUE_OUTPUT]++;
    }
    memcpy(info->counters, stream->counters, sizeof(info->counters));
    if (stream->session) {
        video_codec_session_get_stats(stream->session, &info->codec);
    }
}

void video_stream_pause(VideoStream *stream, bool paused)
{
    if (!paused && QTAILQ_IN_USE(stream, copying)) {
        qemu_bh_schedule(stream->ctx->copy_bh);
    }
    if (!stream->session) {
        return;
    }
    video_codec_session_pause(stream->session, paused);
    if (paused) {
        timer_del(&stream->close_timer);
    } else if (stream->state == STREAM_CLOSING ||
               stream->state == STREAM_FAILED) {
        stream_arm_close_timer(stream);
    }
}

void video_stream_context_init(VideoStreamContext *ctx)
{
    QTAILQ_INIT(&ctx->copying);
    ctx->copy_bh = qemu_bh_new(context_copy_bh, ctx);
}

void video_stream_context_cleanup(VideoStreamContext *ctx)
{
    assert(QTAILQ_EMPTY(&ctx->copying));
    qemu_bh_delete(ctx->copy_bh);
}
