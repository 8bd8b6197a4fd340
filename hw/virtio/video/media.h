/*
 * Virtio media: V4L2 sessions on video streams
 *
 * A session is what a process in the guest has opened: V4L2's two queues of
 * buffers, its formats, controls and events.  It translates them into the
 * parameters, resources and commands of a stream, and the other way:
 *
 *   media.c          commands and events on the virtqueues
 *   media-ioctl.c    which ioctl is what, and their payloads
 *   media-buffer.c   buffers, streaming, drains, what the stream says
 *   media-format.c   formats, frame sizes, selections, frame rate
 *   media-control.c  controls
 *   media-memory.c   MMAP buffers and the shared memory region
 *
 * V4L2 names queues from the side of memory: OUTPUT is what the device reads,
 * the input queue of the stream, CAPTURE is the stream's output queue.
 *
 * Everything runs in the device's context with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_MEDIA_H
#define HW_VIRTIO_VIDEO_MEDIA_H

#include "hw/virtio/virtio-media-wire.h"
#include "video-device.h"

/* The shared memory region can have no more: vm_plane.m has 32 bits there */
#define MEDIA_MAX_HOSTMEM (4 * GiB)

/*
 * Sessions that can be open: an open file costs little, and applications open
 * many only to ask.  What costs more, buffers and a worker of the codec,
 * max_streams of them can have.
 */
#define MEDIA_MAX_SESSIONS 256

/*
 * Windows that there can be, in all devices of the VM together: each takes one
 * of an address space's 4096 sections, and is a slot of KVM and of vhost.
 */
#define MEDIA_MAX_MAPPINGS 1024

/* Of events that a session has subscribed to */
#define MEDIA_MAX_SUBSCRIPTIONS 64

typedef struct MediaState MediaState;
typedef struct MediaSession MediaSession;

/**
 * MediaChunk: a part of the memory behind the shared memory region.
 * @offset, @size: in bytes, in both
 * @owned: a buffer has it
 * @n_mapped: MMAPs of it without a MUNMAP
 * @window: makes it visible while it is mapped
 */
typedef struct MediaChunk {
    hwaddr offset;
    uint64_t size;
    bool owned;
    uint32_t n_mapped;
    MemoryRegion *window;
    QTAILQ_ENTRY(MediaChunk) next;
} MediaChunk;

/**
 * MediaBuffer: a V4L2 buffer.
 * @queued: by QBUF, without a DQBUF
 * @lent: queued, and the stream has it
 * @prepared: by PREPARE_BUF, for the next QBUF
 * @chunk: of MMAP
 * @length: bytes of its plane; of USERPTR at least @min_length, which was said
 *          when the buffers were asked for
 * @bytesused, @data_offset: from the guest, of OUTPUT
 * @userptr: what the guest calls the memory of USERPTR; it means nothing here
 * @timestamp: in nanoseconds
 */
typedef struct MediaBuffer {
    bool queued, lent, prepared;
    MediaChunk *chunk;
    uint32_t length, min_length;
    uint32_t bytesused, data_offset;
    uint64_t userptr;
    uint64_t timestamp;
    QTAILQ_ENTRY(MediaBuffer) next;
} MediaBuffer;

/**
 * MediaQueue: a V4L2 queue.
 * @queue: which it is of the stream
 * @memory: VM_MEMORY_* of its buffers
 * @buffers: max_resources of them, @n_buffers are there; resources of the
 *           stream have the same numbers
 * @queued: the queued ones, oldest first
 * @sequence: of the next buffer that comes back
 * @last_timestamp: of the last one
 */
typedef struct MediaQueue {
    VideoQueue queue;
    uint32_t memory;
    MediaBuffer *buffers;
    uint32_t n_buffers;
    QTAILQ_HEAD(, MediaBuffer) queued;
    uint32_t sequence;
    uint64_t last_timestamp;
    bool streaming;
} MediaQueue;

/**
 * MediaSession: an open session.
 * @id: how the guest calls it; its lower byte is the index in
 *      MediaState.sessions
 * @vs: its stream, NULL if that has failed
 * @refused: the stream has refused the last parameters, or drain
 * @draining: STOP was sent, and the stream is not done with it
 * @stopped: behind a drain until the guest says how to go on
 * @coded_size: bytes of a coded buffer
 * @pix: what the guest said of colours: colorspace and what goes with it
 * @rate: of an encoder: time of a frame in seconds
 * @values: of an encoder: of each of media-control.c's controls, if @chosen
 */
struct MediaSession {
    MediaState *m;
    uint32_t id;
    VideoDeviceStream *vs;
    bool refused;
    bool draining, stopped;
    MediaQueue queues[VIDEO_QUEUE__MAX];
    uint32_t coded_size;
    struct vm_pix_format_mplane pix;
    struct vm_fract rate;
    uint32_t *values;
    bool *chosen;
    GArray *subscriptions;      /* struct vm_event_subscription, host-endian */
    uint32_t event_sequence;
};

/**
 * MediaState: what speaks virtio-media.
 * @dev: the device that has the queues
 * @direction: of all sessions
 * @sessions: MEDIA_MAX_SESSIONS of them, NULL where there is none; @n_sessions
 *            there are
 * @n_opened: counts, for ids that are not used twice in a row
 * @n_event_buffers: the most event buffers that were there at once
 * @settle_timer, @settle_bh, @settle_tries: look whether they are all there,
 *                                           so often
 * @vmstate_change: not while the machine is stopped
 * @held: the answer that waits for that, @held_size bytes
 * @has_region: there is a shared memory region
 * @ram: the memory behind it, @hostmem bytes
 * @region: what the guest sees: nothing, but where windows are
 * @chunks: parts of @ram that are in use, by their offsets
 * @n_mapped: windows; at most @max_mappings, and MEDIA_MAX_MAPPINGS with those
 *            of other devices
 */
struct MediaState {
    VideoDevice *dev;
    VideoCodecDirection direction;
    MediaSession **sessions;
    uint32_t n_sessions;
    uint32_t n_opened;

    unsigned n_event_buffers;
    QEMUTimer *settle_timer;
    QEMUBH *settle_bh;
    unsigned settle_tries;
    VMChangeStateEntry *vmstate_change;
    uint8_t *held;
    size_t held_size;

    bool has_region;
    uint64_t hostmem;
    uint32_t max_mappings;
    MemoryRegion ram;
    MemoryRegion region;
    QTAILQ_HEAD(, MediaChunk) chunks;
    uint32_t n_mapped;
};

static inline bool media_is_decoder(const MediaSession *s)
{
    return s->m->direction == VIDEO_DECODE;
}

/* Does this queue have coded data, not frames? */
static inline bool media_is_coded(const MediaSession *s, const MediaQueue *q)
{
    return (q->queue == VIDEO_QUEUE_INPUT) == media_is_decoder(s);
}

static inline VideoStream *media_stream(const MediaSession *s)
{
    return s->vs->stream;
}

/* Has the codec not given up?  Nothing else may be asked of the stream then */
static inline bool media_is_alive(const MediaSession *s)
{
    return s->vs && video_stream_is_open(s->vs->stream);
}

/*
 * media.c
 */

void G_GNUC_PRINTF(2, 3)
media_guest_error(const MediaSession *s, const char *fmt, ...);

/** media_init: @m becomes that of a realized device; until media_cleanup(). */
void media_init(MediaState *m, VideoDevice *dev, VideoCodecDirection direction);
void media_cleanup(MediaState *m);

/** media_reset: close all sessions, forget all mappings. */
void media_reset(MediaState *m);

/** media_command: see VideoDeviceClass.command. */
bool media_command(MediaState *m, VirtQueueElement *elem);

/** media_is_busy: see VideoDeviceClass.is_busy. */
bool media_is_busy(MediaState *m);

/** media_go_on: see VideoDeviceClass.go_on. */
void media_go_on(MediaState *m);

/** media_buffer_event: tell that a buffer came back. */
void media_buffer_event(MediaSession *s, const struct vm_buffer *buffer,
                        const struct vm_plane *plane);

/**
 * media_event: tell of something, if the guest wants to know it.
 * @event: little endian, but for the sequence, which is filled in here
 */
void media_event(MediaSession *s, uint32_t type, uint32_t id,
                 struct vm_event *event);

/** media_drop_buffer_events: @q's buffers are the guest's already. */
void media_drop_buffer_events(MediaSession *s, const MediaQueue *q);

/*
 * media-ioctl.c
 */

/**
 * MediaIoctl: an ioctl that is being worked on.
 * @payload: a copy of what the guest sent; the answer is written in its place
 * @size: bytes of it
 * @answer: bytes of the answer, if there is no error
 * @answer_always: also if there is one
 * @settle: answer when the guest has taken note of the events of before
 */
typedef struct MediaIoctl {
    MediaSession *s;
    uint32_t code;
    uint8_t *payload;
    size_t size;
    size_t answer;
    bool answer_always;
    bool settle;
} MediaIoctl;

/**
 * media_ioctl: do it.
 * @room: bytes that an answer can have
 *
 * Returns: 0 or VM_E*
 */
int media_ioctl(MediaIoctl *io, size_t room);

/*
 * media-buffer.c
 */

extern const VideoStreamOps media_stream_ops;

/** media_queue_of: NULL if @type is none of the session's. */
MediaQueue *media_queue_of(MediaSession *s, uint32_t type);
uint32_t media_queue_type(const MediaQueue *q);

/** media_open_queues: false: there is no memory. */
bool media_open_queues(MediaSession *s);
/** media_close_queues: the stream has let go of all memory. */
void media_close_queues(MediaSession *s);

/** media_lend_buffers: let the stream have what it may have. */
void media_lend_buffers(MediaSession *s);

/* Ioctls: see media-ioctl.c.  All return 0 or VM_E*. */
int media_reqbufs(MediaSession *s, struct vm_requestbuffers *req);
int media_create_bufs(MediaSession *s, struct vm_create_buffers *create);
int media_querybuf(MediaSession *s, struct vm_buffer *b, struct vm_plane *p);
int media_qbuf(MediaSession *s, struct vm_buffer *b, struct vm_plane *p,
               const struct virtio_media_sg_entry *sg, size_t n_sg,
               bool prepare);
int media_streamon(MediaSession *s, uint32_t type);
int media_streamoff(MediaSession *s, uint32_t type);
int media_codec_cmd(MediaSession *s, uint32_t cmd, bool only_try);

/*
 * media-format.c
 */

/** media_init_format: false: there is no memory. */
bool media_init_format(MediaSession *s);

/** media_sizeimage: bytes that a buffer of the queue needs now. */
uint32_t media_sizeimage(MediaSession *s, const MediaQueue *q);

int media_enum_fmt(MediaSession *s, struct vm_fmtdesc *desc);
int media_g_fmt(MediaSession *s, struct vm_format *format);
int media_try_fmt(MediaSession *s, struct vm_format *format);
int media_s_fmt(MediaSession *s, struct vm_format *format);
int media_enum_framesizes(MediaSession *s, struct vm_frmsizeenum *size);
int media_enum_frameintervals(MediaSession *s, struct vm_frmivalenum *ival);
int media_selection(MediaSession *s, struct vm_selection *sel, bool set);
int media_parm(MediaSession *s, struct vm_streamparm *parm, bool set);

/*
 * media-control.c
 */

void media_init_controls(MediaSession *s);
void media_free_controls(MediaSession *s);
/** media_active_controls: bit by bit, those of the present coded format. */
uint64_t media_active_controls(const MediaSession *s);
/**
 * media_apply_controls: the coded format is another.
 * @active: what media_active_controls() was before
 *
 * Returns: 0 or VM_E*
 */
int media_apply_controls(MediaSession *s, uint64_t active);

int media_queryctrl(MediaSession *s, struct vm_queryctrl *q);
int media_query_ext_ctrl(MediaSession *s, struct vm_query_ext_ctrl *q);
int media_querymenu(MediaSession *s, struct vm_querymenu *q);
int media_g_ctrl(MediaSession *s, struct vm_control *c);
int media_s_ctrl(MediaSession *s, struct vm_control *c);
int media_ext_ctrls(MediaSession *s, uint32_t code, struct vm_ext_controls *ec,
                    struct vm_ext_control *c, uint32_t n);
/** media_control_event: the state of control @id; false: there is none. */
bool media_control_event(MediaSession *s, uint32_t id, struct vm_event *event);

/*
 * media-memory.c
 */

/**
 * media_init_region: make the shared memory region and the memory behind it.
 * Before media_init(); @m->hostmem is its size.
 */
bool media_init_region(MediaState *m, Object *owner, Error **errp);

/** media_chunk_new: zeroed memory for a buffer, or NULL. */
MediaChunk *media_chunk_new(MediaState *m, uint64_t size);

/** media_chunk_disown: its buffer is gone; what is mapped stays. */
void media_chunk_disown(MediaState *m, MediaChunk *chunk);

/** media_chunk_map, media_chunk_unmap: return 0 or VM_E*. */
int media_chunk_map(MediaState *m, MediaChunk *chunk);
int media_unmap(MediaState *m, uint64_t offset);

/** media_unmap_all: the guest does not know of any mapping any more. */
void media_unmap_all(MediaState *m);

#endif /* HW_VIRTIO_VIDEO_MEDIA_H */
