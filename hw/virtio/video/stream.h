/*
 * A video stream, whatever the protocol
 *
 * A stream has parameters, an input and an output queue, and at most one
 * session of a codec that works on them.  This file knows the rules between
 * them: what must be answered before what, when the output is blocked, what a
 * reset cancels.  It knows nothing of how commands and events look on a
 * virtqueue; a front end translates.
 *
 * Everything runs in the device's context with the BQL held.  Every command
 * gets exactly one answer through VideoStreamOps.event(), most of them later
 * than the call returns.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_STREAM_H
#define HW_VIRTIO_VIDEO_STREAM_H

#include "qemu/units.h"
#include "params.h"
#include "resource.h"

typedef struct VideoStream VideoStream;

/**
 * VideoStreamContext: what the streams of one device share.  All but what is
 * stream.c's own is filled in by the device.
 */
typedef struct VideoStreamContext {
    VideoCodec *codec;
    VideoCodecCaps caps;        /* what of @codec's is offered */
    AddressSpace *as;           /* for guest memory */

    /* Limits; sizes in pixels and bytes */
    uint32_t max_width, max_height;
    uint32_t max_coded_size;    /* of one coded resource */
    uint32_t max_resources;     /* of one queue */
    uint32_t max_entries;       /* of one resource, and pieces of a buffer */
    uint32_t max_commands;      /* of one stream that wait in its queues */
    uint64_t max_mem;           /* what @memory was made with */
    bool contiguous;            /* a buffer must be one entry */
    bool last_buffers;          /* see VideoLast */
    uint32_t max_workers;       /* with so many, no more are left behind */
    bool tell_all;              /* the first header and CROP alone block, too */

    VideoMemory *memory;        /* host memory that a guest can make us hold */

    /* Of stream.c */
    QTAILQ_HEAD(, VideoStream) copying; /* have work for the next turn */
    size_t copied;              /* bytes, in this turn of the main loop */
    unsigned looked_up;         /* pages of guest memory, in this turn */
    unsigned lookups_left;      /* of this command */
    QEMUBH *copy_bh;
} VideoStreamContext;

/*
 * Pages of guest memory that one command can attach, where each has to be
 * looked up: all entries that a request has room for.  That takes 30 ms behind
 * intel-iommu.
 */
#define VIDEO_STREAM_MAX_LOOKUPS (128 * KiB)

/**
 * video_stream_turn_is_over: has so much memory been attached that the next
 * command has to wait until others have used the main loop?
 */
bool video_stream_turn_is_over(const VideoStreamContext *ctx);

/** video_stream_context_init: for a device that has no streams yet. */
void video_stream_context_init(VideoStreamContext *ctx);

/** video_stream_context_cleanup: when all its streams are freed. */
void video_stream_context_cleanup(VideoStreamContext *ctx);

typedef enum VideoQueue {
    VIDEO_QUEUE_INPUT,
    VIDEO_QUEUE_OUTPUT,
    VIDEO_QUEUE__MAX,
} VideoQueue;

typedef enum VideoCommandType {
    VIDEO_COMMAND_CLOSE,
    VIDEO_COMMAND_SET_PARAMS,
    VIDEO_COMMAND_GET_PARAMS,
    VIDEO_COMMAND_UNBLOCK,
    VIDEO_COMMAND_DRAIN,
    VIDEO_COMMAND_QUEUE_RESET,
    VIDEO_COMMAND_RESOURCE_QUEUE,
} VideoCommandType;

/**
 * VideoLast: why an output comes back without anything in it: as V4L2 has it,
 * to mark the end of what came before.
 * @VIDEO_LAST_DRAIN: of all that was made of the input before a DRAIN
 * @VIDEO_LAST_DPC: of all frames of the format before
 */
typedef enum VideoLast {
    VIDEO_LAST_NONE,
    VIDEO_LAST_DRAIN,
    VIDEO_LAST_DPC,
} VideoLast;

/**
 * VideoEvent: an answer, or something that no command asked for.
 * @type: the command that it answers
 * @queue: the queue that the command was for
 * @cookie: of the command; 0 if @standalone
 * @error: the command failed; for RESOURCE_QUEUE: don't trust the content
 * @standalone: CLOSE: the stream has failed; SET_PARAMS: the coded stream has
 *              changed the parameters
 * @canceled: undone by a reset, a close or a failure
 * @blocked: the output queue is blocked from now on
 * @params: of SET_PARAMS and GET_PARAMS, valid during the call
 * Of RESOURCE_QUEUE, for outputs:
 * @timestamp: of the input that it was made from
 * @n_planes, @offsets, @sizes: where the planes are in their buffers and how
 *              many bytes; of coded data there is one
 * @frame_type: of coded data
 * @last: it is empty, and the last one
 */
typedef struct VideoEvent {
    VideoCommandType type;
    VideoQueue queue;
    uint64_t cookie;
    bool error, standalone, canceled, blocked;
    const VideoParams *params;
    uint64_t timestamp;
    unsigned n_planes;
    uint32_t offsets[VIDEO_MAX_PLANES], sizes[VIDEO_MAX_PLANES];
    VideoFrameType frame_type;
    VideoLast last;
} VideoEvent;

/* How long CLOSE, or a stream that has failed, waits for the codec's worker */
#define VIDEO_STREAM_CLOSE_MS 2000

/**
 * VideoStreamOps: the front end.
 * @event: something to tell the driver; in the order in which it happened.
 *         Must not call the stream.
 * @overdue: the codec's worker has not ended in VIDEO_STREAM_CLOSE_MS.  The
 *         CLOSE event was sent all the same, and for the driver the stream is
 *         no more; nothing else is said of it.  @closed comes later.
 * @closed: the codec's worker is gone: free the stream.  Called once, after
 *         the CLOSE event if there is one.
 */
typedef struct VideoStreamOps {
    void (*event)(void *opaque, const VideoEvent *event);
    void (*overdue)(void *opaque);
    void (*closed)(void *opaque);
} VideoStreamOps;

/**
 * VideoQueueCounters: what a queue of a stream has done.
 * @buffers: taken by the codec, or filled by it
 * @bytes: of data in them
 * @errors: buffers that the codec could not make sense of, or not fill well
 */
typedef struct VideoQueueCounters {
    uint64_t buffers;
    uint64_t bytes;
    uint64_t errors;
} VideoQueueCounters;

/**
 * VideoStreamInfo: what a stream is doing, for those who run the VM.
 * @closing: not open any more, but the codec has not let go
 * @draining: the codec works on a drain
 * @blocked: the output queue waits for an UNBLOCK
 * @queued: buffers in each queue
 * @controls: of an encoder, as they are set now
 * @codec: of the codec's session; @codec.engine is empty if there is none
 */
typedef struct VideoStreamInfo {
    VideoCodecDirection direction;
    bool closing, draining, blocked;
    VideoCodedFormat coded;
    VideoRawFormat raw;
    VideoRect crop;
    VideoControls controls;
    unsigned queued[VIDEO_QUEUE__MAX];
    VideoQueueCounters counters[VIDEO_QUEUE__MAX];
    VideoCodecStats codec;
} VideoStreamInfo;

/** video_stream_get_info: as of now. */
void video_stream_get_info(const VideoStream *stream, VideoStreamInfo *info);

/**
 * video_stream_new: open a stream.
 * @ctx: outlives the stream
 * @direction: decoder or encoder, one that @ctx->caps has formats for
 * @name: for the log
 * @ops, @opaque: the front end
 */
VideoStream *video_stream_new(VideoStreamContext *ctx,
                              VideoCodecDirection direction, const char *name,
                              const VideoStreamOps *ops, void *opaque);

/**
 * video_stream_free: free a stream at once, without any further event.
 * Its codec's worker may still be ending, but touches no guest memory.
 */
void video_stream_free(VideoStream *stream);

/** video_stream_is_open: false from CLOSE, abort or a failure on. */
bool video_stream_is_open(const VideoStream *stream);

/**
 * video_stream_has_worker: has the codec begun with it?  Its worker stays until
 * video_stream_restart(), or until the stream is not open any more.
 */
bool video_stream_has_worker(const VideoStream *stream);

/**
 * video_stream_set_params: change parameters.
 * @params: taken over
 * @in_order: after what is in the input queue, else at once
 */
void video_stream_set_params(VideoStream *stream, VideoParams *params,
                             bool in_order, uint64_t cookie);

/** video_stream_get_params: all parameters of @set; see set_params. */
void video_stream_get_params(VideoStream *stream, VideoSet set, bool in_order,
                             uint64_t cookie);

/** video_stream_unblock: let the codec use the output queue again. */
void video_stream_unblock(VideoStream *stream, uint64_t cookie);

/** video_stream_drain: answered when all input before it came out. */
void video_stream_drain(VideoStream *stream, uint64_t cookie);

/**
 * video_stream_refuse: answer a command in the input queue with an error.
 * @type: RESOURCE_QUEUE, DRAIN, SET_PARAMS or GET_PARAMS
 * @params: taken over; an empty set goes with the error.  NULL: none does
 *
 * The answer to a DRAIN before it comes first (draft v10, "Device Requirements:
 * VIRTIO_VIDEO_CMD_STREAM_DRAIN"), unless max_commands wait already.
 */
void video_stream_refuse(VideoStream *stream, VideoCommandType type,
                         VideoParams *params, uint64_t cookie);

/** video_stream_reset: cancel all of @queue, at once. */
void video_stream_reset(VideoStream *stream, VideoQueue queue,
                        uint64_t cookie);

/**
 * video_stream_queue_input: decode the coded data of a resource, or encode the
 * frame in it.
 * @offsets, @sizes: VIDEO_MAX_PLANES of each: place of each plane in its
 *                   buffer, in bytes
 *
 * The data must stay in its memory until the answer.  What is coded, which is
 * plane 0, is copied before the codec sees it: a part in each turn of the main
 * loop.
 */
void video_stream_queue_input(VideoStream *stream, uint32_t resource_id,
                              const uint32_t *offsets, const uint32_t *sizes,
                              uint64_t timestamp, uint64_t cookie);

/** video_stream_queue_output: lend a resource for a frame or coded data. */
void video_stream_queue_output(VideoStream *stream, uint32_t resource_id,
                               uint64_t cookie);

/**
 * video_stream_attach: give a resource guest memory in place of what it had.
 * The same as with set_params() in a stream where nothing has to be drained for
 * that, but answered here.
 * @errp: what is wrong; the resource has no memory then
 */
bool video_stream_attach(VideoStream *stream, VideoQueue queue,
                         const VideoAttach *attach, Error **errp);

/**
 * video_stream_attach_ram: the same with the device's own memory.
 * @ram: RAM; @size bytes from @offset of it are the resource's one buffer
 */
bool video_stream_attach_ram(VideoStream *stream, VideoQueue queue,
                             uint32_t resource_id, MemoryRegion *ram,
                             hwaddr offset, size_t size, Error **errp);

/** video_stream_detach: let go of a resource's memory; it is not queued. */
void video_stream_detach(VideoStream *stream, VideoQueue queue,
                         uint32_t resource_id);

/**
 * video_stream_restart: cancel all, and forget the coded stream.
 * Nothing is blocked afterwards, and no change of parameters needs a drain
 * until there is input again.  Parameters stay.
 *
 * Returns: false if the codec is left behind too often for its workers to end
 * meanwhile; then nothing has happened.
 */
bool video_stream_restart(VideoStream *stream);

/**
 * video_stream_expect_size: the size of a decoder's frames, as far as its
 * driver knows before the coded stream tells; for a stream as after restart().
 * The raw format is again the one that suits the coded stream.
 */
void video_stream_expect_size(VideoStream *stream, uint32_t width,
                              uint32_t height);

/**
 * video_stream_hold_output: block the output queue, as a change of format does.
 * Until UNBLOCK, the output's parameters change without a drain.
 */
void video_stream_hold_output(VideoStream *stream);

/**
 * video_stream_set_rate: frames per second of what an encoder gets, for its
 * rate control; @num and @den are not 0.  Takes effect when it starts anew.
 */
void video_stream_set_rate(VideoStream *stream, uint32_t num, uint32_t den);

/**
 * video_stream_sizes: of frames of @fourcc that go with the coded format.
 * @fourcc: as for video_coded_sizes()
 */
VideoSizes video_stream_sizes(VideoStream *stream, uint32_t fourcc);

/**
 * video_stream_raw_linked: does raw format @fourcc go with the coded one, and
 * with the size of the stream, once a decoder knows that?
 */
bool video_stream_raw_linked(VideoStream *stream, uint32_t fourcc);

/**
 * video_stream_adjust_raw: move @raw to the closest format that the stream can
 * have now.  Returns: false if there is none of its fourcc.
 */
bool video_stream_adjust_raw(VideoStream *stream, VideoRawFormat *raw);

/** video_stream_coded_caps: NULL if it does not do @coded. */
const VideoCodedCaps *video_stream_coded_caps(VideoStream *stream,
                                              VideoCodedFormat coded);

/**
 * video_stream_close: cancel all, then answer when the worker is gone, or after
 * VIDEO_STREAM_CLOSE_MS.
 */
void video_stream_close(VideoStream *stream, uint64_t cookie);

/**
 * video_stream_abort: the device is reset.
 * Like close, but without any event.  ops->closed() is called later, or before
 * this returns.
 */
void video_stream_abort(VideoStream *stream);

/** video_stream_pause: the VM stops or goes on. */
void video_stream_pause(VideoStream *stream, bool paused);

#endif /* HW_VIRTIO_VIDEO_STREAM_H */
