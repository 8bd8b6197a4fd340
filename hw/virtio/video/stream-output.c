/*
 * A video stream: its output queue
 *
 * The driver queues resources; the session borrows them, in their order, to
 * put frames or coded data into them.  Runs in the device's context with the
 * BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "stream-internal.h"
#include "trace.h"

/* Does what the stream makes now fit into @res? */
static bool stream_output_fits(VideoStream *stream, const VideoResource *res)
{
    VideoLayout layout;

    if (stream->direction == VIDEO_ENCODE) {
        return true;    /* whether it does is known when it is made */
    }
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

static void output_init_frame(VideoStream *stream, VideoResource *res)
{
    VideoCodecOutput *out = &res->output;
    VideoLayout layout;

    video_format_layout(&stream->raw, &layout);
    *out = (VideoCodecOutput) {
        .fourcc = stream->raw.fourcc,
        .width = stream->raw.width,
        .height = stream->raw.height,
        .n_planes = layout.n_planes,
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
}

static void output_init_coded(VideoResource *res)
{
    const VideoCodecMem *mem = &res->buffers[0].mem;

    res->output = (VideoCodecOutput) {
        .n_planes = 1,
        .planes[0] = { .mem = mem, .stride = mem->size, .rows = 1 },
    };
}

/* Lend a queued resource to the session, laid out for the current format. */
static void stream_lend_output(VideoStream *stream, VideoResource *res)
{
    if (stream->direction == VIDEO_ENCODE) {
        output_init_coded(res);
    } else {
        output_init_frame(stream, res);
    }
    res->output.opaque = res;
    res->lent = true;
    video_codec_session_queue_output(stream->session, &res->output);
}

void video_stream_lend_outputs(VideoStream *stream)
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

void video_stream_revoke_outputs(VideoStream *stream)
{
    if (stream->session) {
        video_codec_session_revoke_outputs(stream->session, stream_take_back);
    }
}

void video_stream_block(VideoStream *stream)
{
    stream->blocked = true;
    video_stream_revoke_outputs(stream);
}

static void stream_remove_output(VideoStream *stream, VideoResource *res)
{
    QTAILQ_REMOVE(&stream->outputs, res, next);
    res->queued = false;
    res->lent = false;
}

void video_stream_cancel_output(VideoStream *stream, VideoResource *res)
{
    stream_remove_output(stream, res);
    video_stream_cancel(stream, VIDEO_COMMAND_RESOURCE_QUEUE,
                        VIDEO_QUEUE_OUTPUT, res->cookie, NULL);
}

void video_stream_cancel_unfit(VideoStream *stream)
{
    VideoResource *res, *next;

    QTAILQ_FOREACH_SAFE(res, &stream->outputs, next, next) {
        if (!stream_output_fits(stream, res)) {
            video_stream_cancel_output(stream, res);
        }
    }
}

void video_stream_cancel_outputs(VideoStream *stream)
{
    VideoResource *res, *next;

    video_stream_revoke_outputs(stream);
    QTAILQ_FOREACH_SAFE(res, &stream->outputs, next, next) {
        video_stream_cancel_output(stream, res);
    }
}

bool video_stream_give_last(VideoStream *stream, VideoLast last)
{
    VideoResource *res = QTAILQ_FIRST(&stream->outputs);
    VideoEvent event = {
        .type = VIDEO_COMMAND_RESOURCE_QUEUE,
        .queue = VIDEO_QUEUE_OUTPUT,
        .last = last,
    };

    if (!res) {
        return false;
    }
    trace_video_stream_last(stream->name, last, res->cookie);
    video_stream_revoke_outputs(stream);
    stream_remove_output(stream, res);
    event.cookie = res->cookie;
    video_stream_event(stream, &event);
    video_stream_lend_outputs(stream);
    return true;
}

/* Nothing that the codec makes goes into @res: why, in the answer. */
static void stream_refuse_output(VideoStream *stream, uint32_t resource_id,
                                 uint64_t cookie)
{
    /*
     * While blocked, the driver may not know yet that the format has changed
     * under it: as if it had queued the resource before.
     */
    if (stream->blocked) {
        video_stream_cancel(stream, VIDEO_COMMAND_RESOURCE_QUEUE,
                            VIDEO_QUEUE_OUTPUT, cookie, NULL);
    } else {
        video_stream_guest_error(stream, "output resource %u is too small",
                                 resource_id);
        video_stream_answer(stream, VIDEO_COMMAND_RESOURCE_QUEUE,
                            VIDEO_QUEUE_OUTPUT, cookie, true);
    }
}

void video_stream_queue_output(VideoStream *stream, uint32_t resource_id,
                               uint64_t cookie)
{
    VideoResource *res = video_stream_resource(stream, VIDEO_QUEUE_OUTPUT,
                                               resource_id);

    if (!res || !res->n_buffers || res->queued) {
        video_stream_guest_error(stream, "output resource %u is %s",
                                 resource_id, res && res->queued ?
                                 "already queued" : "not attached");
        video_stream_answer(stream, VIDEO_COMMAND_RESOURCE_QUEUE,
                            VIDEO_QUEUE_OUTPUT, cookie, true);
        return;
    }
    if (!stream->owes_last && !stream_output_fits(stream, res)) {
        stream_refuse_output(stream, resource_id, cookie);
        return;
    }

    res->queued = true;
    res->lent = false;
    res->cookie = cookie;
    QTAILQ_INSERT_TAIL(&stream->outputs, res, next);
    if (stream->owes_last) {
        stream->owes_last = false;
        video_stream_give_last(stream, VIDEO_LAST_DPC);
        return;
    }
    video_stream_lend_outputs(stream);
    video_stream_continue_drain(stream);
}

/* Where the planes of a decoded frame are. */
static void event_set_frame(VideoEvent *event, const VideoRawFormat *raw)
{
    VideoLayout layout;

    video_format_layout(raw, &layout);
    event->n_planes = layout.n_planes;
    for (unsigned i = 0; i < layout.n_planes; i++) {
        const VideoPlaneLayout *p = &layout.planes[i];

        event->offsets[i] = p->offset;
        event->sizes[i] = p->stride * p->rows;
    }
}

void video_stream_output_done(void *opaque, VideoCodecOutput *out)
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
    uint64_t bytes = 0;

    if (out->corrupt) {
        trace_video_stream_bad_output(stream->name, out->timestamp);
    }
    if (stream->direction == VIDEO_ENCODE) {
        event.n_planes = 1;
        event.sizes[0] = out->size;
        event.frame_type = out->frame_type;
        if (!out->corrupt) {
            /* The rest of what may be a large buffer was left alone */
            res->output.planes[0].stride = out->size;
        }
    } else {
        event_set_frame(&event, &stream->raw);
    }
    for (unsigned i = 0; i < event.n_planes; i++) {
        bytes += event.sizes[i];
    }
    video_stream_count(stream, VIDEO_QUEUE_OUTPUT, out->corrupt, bytes);
    stream_set_dirty(res);
    stream_remove_output(stream, res);
    video_stream_event(stream, &event);
}
