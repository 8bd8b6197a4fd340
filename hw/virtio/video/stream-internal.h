/*
 * A video stream: what its files share
 *
 *   stream.c         input queue, what the session says, open and close
 *   stream-output.c  output queue
 *   stream-params.c  parameters and resources
 *
 * Everything runs in the device's context with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_STREAM_INTERNAL_H
#define HW_VIRTIO_VIDEO_STREAM_INTERNAL_H

#include "qemu/timer.h"
#include "stream.h"

/*
 * A command in the input queue.  One that is refused is there only behind a
 * DRAIN, which is answered first.
 */
typedef struct VideoCommand {
    VideoCommandType type;      /* RESOURCE_QUEUE, DRAIN, SET_ or GET_PARAMS */
    uint64_t cookie;
    bool sent;                  /* the session works on it, or gets it next */
    bool refused;               /* its answer is an error */
    uint32_t resource_id;       /* RESOURCE_QUEUE */
    uint64_t timestamp;         /* RESOURCE_QUEUE */
    uint32_t offsets[VIDEO_MAX_PLANES]; /* RESOURCE_QUEUE: of each plane */
    uint32_t sizes[VIDEO_MAX_PLANES];
    VideoCodecInput *in;        /* RESOURCE_QUEUE: until the session has it */
    size_t copied;              /* bytes of coded data that are in @in */
    VideoParams *params;        /* SET_PARAMS, GET_PARAMS */
    bool main;                  /* SET_PARAMS, GET_PARAMS: not in order */
    bool drained;               /* DRAIN, SET_PARAMS: the codec is done */
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
    VideoCodecDirection direction;
    char *name;
    const VideoStreamOps *ops;
    void *opaque;

    VideoStreamState state;
    uint64_t close_cookie;
    QEMUTimer close_timer;      /* CLOSING, FAILED: waits for the worker */
    VideoCodecSession *session; /* from the first input on */

    /* Parameters */
    VideoCodedFormat coded;
    VideoRawFormat raw;
    VideoRect crop;
    /* Decoder */
    bool raw_chosen;            /* the driver has set the raw format */
    bool known;                 /* the coded stream told @raw's size */
    VideoRect visible;          /* @known: its visible rectangle */
    /* Encoder */
    uint32_t rate_num, rate_den;    /* frames per second */
    VideoControls controls;     /* FORCE_KEY_FRAME: 1 until a frame went in */

    /* Queues */
    VideoResource *resources[VIDEO_QUEUE__MAX];
    uint32_t num_resources[VIDEO_QUEUE__MAX];
    QTAILQ_HEAD(, VideoCommand) commands;
    uint32_t num_commands;
    bool canceling;             /* @commands are going: start none */
    QTAILQ_HEAD(, VideoResource) outputs;   /* queued, oldest first */
    bool blocked;               /* the output queue */
    bool owes_last;             /* @blocked: the next output comes back empty */
    VideoQueueCounters counters[VIDEO_QUEUE__MAX];
    QTAILQ_ENTRY(VideoStream) copying;      /* if there is data to copy */
};

/*
 * stream.c
 */

void G_GNUC_PRINTF(2, 3)
video_stream_guest_error(const VideoStream *stream, const char *fmt, ...);

/* Host memory that the guest makes us hold: false if that is too much */
bool video_stream_charge(VideoStream *stream, size_t bytes);
void video_stream_uncharge(VideoStream *stream, size_t bytes);

/* A buffer of @queue is done: @bytes of data, if it is not bad. */
void video_stream_count(VideoStream *stream, VideoQueue queue, bool error,
                        uint64_t bytes);

void video_stream_event(VideoStream *stream, const VideoEvent *event);
void video_stream_answer(VideoStream *stream, VideoCommandType type,
                         VideoQueue queue, uint64_t cookie, bool error);
/* @params: an empty set for SET_PARAMS and GET_PARAMS, else NULL */
void video_stream_cancel(VideoStream *stream, VideoCommandType type,
                         VideoQueue queue, uint64_t cookie,
                         const VideoParams *params);
void video_stream_answer_params(VideoStream *stream, VideoCommandType type,
                                uint64_t cookie, const VideoParams *params,
                                bool error, bool blocked);

/* There is an output again: a DRAIN may wait for one. */
void video_stream_continue_drain(VideoStream *stream);

/* What a session would be opened with now. */
VideoCodecParams video_stream_codec_params(VideoStream *stream);

/*
 * Does the session have to stay, since too many workers have been left behind
 * and not ended yet?
 */
bool video_stream_must_keep_session(VideoStream *stream);

/*
 * What the session was opened for has changed: the next input starts another.
 * Its inputs and frames are lost, so it was drained before.
 */
void video_stream_end_session(VideoStream *stream);

/*
 * stream-output.c
 */

/* Let the session have all queued outputs, unless the queue is blocked. */
void video_stream_lend_outputs(VideoStream *stream);

/* From now on the codec touches no output. */
void video_stream_revoke_outputs(VideoStream *stream);

/* Block the output queue until an UNBLOCK. */
void video_stream_block(VideoStream *stream);

void video_stream_cancel_output(VideoStream *stream, VideoResource *res);
void video_stream_cancel_outputs(VideoStream *stream);

/* With the outputs revoked: cancel those that the current format can't use. */
void video_stream_cancel_unfit(VideoStream *stream);

/*
 * Give the oldest output back, empty: what came before it is complete.
 * Returns: false if there is none.
 */
bool video_stream_give_last(VideoStream *stream, VideoLast last);

/* VideoCodecSessionOps.output_done() */
void video_stream_output_done(void *opaque, VideoCodecOutput *out);

/*
 * stream-params.c
 */

/* Which queue the parameters of @set belong to. */
VideoQueue video_stream_set_queue(const VideoStream *stream, VideoSet set);

/* NULL if it has no such resource */
VideoResource *video_stream_resource(VideoStream *stream, VideoQueue queue,
                                     uint32_t id);
void video_stream_detach_all(VideoStream *stream);

/* Does raw format @fourcc go with the coded one, for frames of this size? */
bool video_stream_raw_fits(VideoStream *stream, uint32_t fourcc,
                           uint32_t width, uint32_t height);

/* Default values for everything. */
void video_stream_init_params(VideoStream *stream);

/*
 * Does a SET_PARAMS start with an implicit drain?
 * @main: it is on the main queue
 */
bool video_stream_needs_drain(VideoStream *stream, const VideoParams *params,
                              bool main);

/*
 * Apply a SET_PARAMS, with its implicit drain behind it, and answer.  The
 * parameters become the answer; what was not applied is left out.
 */
void video_stream_apply_params(VideoStream *stream, VideoParams *params,
                               bool main, uint64_t cookie);

/* Answer a GET_PARAMS. */
void video_stream_answer_get(VideoStream *stream, VideoSet set,
                             uint64_t cookie);

/* For the trace: the format is another. */
void video_stream_trace_format(const VideoStream *stream);

/* Append the raw format and crop rectangle to @params. */
void video_stream_add_raw(VideoStream *stream, VideoParams *params);

#endif /* HW_VIRTIO_VIDEO_STREAM_INTERNAL_H */
