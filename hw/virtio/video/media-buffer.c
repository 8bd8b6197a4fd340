/*
 * Virtio media: buffers, streaming, drains, and what the stream says
 *
 * A buffer that the guest has queued waits in MediaQueue.queued until it comes
 * back.  The stream has it ("lent") while its queue is streaming, unless a
 * drain stands in between: what is queued on OUTPUT behind a STOP waits for the
 * guest to say how to go on.  A lent buffer that the stream gives back unused,
 * because the format has changed under it, stays queued, as V4L2 has it.
 *
 * Runs in the device's context with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "media.h"
#include "trace.h"

#define NS_PER_S  1000000000u
#define NS_PER_US 1000u

static const uint32_t queue_types[VIDEO_QUEUE__MAX] = {
    [VIDEO_QUEUE_INPUT] = VM_BUF_TYPE_VIDEO_OUTPUT_MPLANE,
    [VIDEO_QUEUE_OUTPUT] = VM_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
};

uint32_t media_queue_type(const MediaQueue *q)
{
    return queue_types[q->queue];
}

MediaQueue *media_queue_of(MediaSession *s, uint32_t type)
{
    for (VideoQueue q = 0; q < VIDEO_QUEUE__MAX; q++) {
        if (queue_types[q] == type) {
            return &s->queues[q];
        }
    }
    return NULL;
}

static uint32_t buffer_index(const MediaQueue *q, const MediaBuffer *buf)
{
    return buf - q->buffers;
}

/*
 * Memory of buffers
 */

static void buffer_free(MediaSession *s, MediaQueue *q, MediaBuffer *buf)
{
    if (media_is_alive(s)) {
        video_stream_detach(media_stream(s), q->queue, buffer_index(q, buf));
    }
    if (buf->chunk) {
        media_chunk_disown(s->m, buf->chunk);
    }
    *buf = (MediaBuffer) { };
}

static bool buffer_alloc(MediaSession *s, MediaQueue *q, MediaBuffer *buf,
                         uint32_t length)
{
    Error *err = NULL;

    *buf = (MediaBuffer) { .length = length, .min_length = length };
    if (q->memory != VM_MEMORY_MMAP) {
        return true;
    }
    buf->chunk = media_chunk_new(s->m, length);
    if (!buf->chunk) {
        media_guest_error(s, "no memory for a buffer of %u bytes", length);
        return false;
    }
    if (!video_stream_attach_ram(media_stream(s), q->queue,
                                 buffer_index(q, buf), &s->m->ram,
                                 buf->chunk->offset, length, &err)) {
        media_guest_error(s, "%s", error_get_pretty(err));
        error_free(err);
        buffer_free(s, q, buf);
        return false;
    }
    return true;
}

/* Returns: how many there are of @n more */
static uint32_t queue_grow(MediaSession *s, MediaQueue *q, uint32_t n,
                           uint32_t length)
{
    uint32_t i;

    n = MIN(n, s->m->dev->ctx.max_resources - q->n_buffers);
    for (i = 0; i < n; i++) {
        if (!buffer_alloc(s, q, &q->buffers[q->n_buffers], length)) {
            break;
        }
        q->n_buffers++;
    }
    return i;
}

/* No buffer is queued or lent */
static void queue_free_buffers(MediaSession *s, MediaQueue *q)
{
    while (q->n_buffers) {
        buffer_free(s, q, &q->buffers[--q->n_buffers]);
    }
    q->memory = 0;
}

static bool session_has_buffers(const MediaSession *s)
{
    return s->queues[VIDEO_QUEUE_INPUT].n_buffers ||
           s->queues[VIDEO_QUEUE_OUTPUT].n_buffers;
}

/*
 * A session that has buffers can get a worker of the codec, which then stays
 * when the buffers go.
 */
static bool session_is_costly(const MediaSession *s)
{
    return session_has_buffers(s) ||
           (media_is_alive(s) && video_stream_has_worker(media_stream(s)));
}

static bool session_may_have_buffers(const MediaSession *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < MEDIA_MAX_SESSIONS; i++) {
        const MediaSession *other = s->m->sessions[i];

        n += other && other != s && session_is_costly(other);
    }
    if (n >= s->m->dev->max_streams) {
        media_guest_error(s, "%u sessions have buffers or the codec", n);
        return false;
    }
    return true;
}

static bool memory_supported(const MediaSession *s, uint32_t memory)
{
    return memory == VM_MEMORY_USERPTR ||
           (memory == VM_MEMORY_MMAP && s->m->has_region);
}

static uint32_t queue_capabilities(const MediaSession *s)
{
    return VM_BUF_CAP_SUPPORTS_USERPTR | VM_BUF_CAP_MAX_NUM_BUFFERS |
           (s->m->has_region ? VM_BUF_CAP_SUPPORTS_MMAP |
                               VM_BUF_CAP_SUPPORTS_ORPHANED_BUFS : 0);
}

/*
 * Lending
 */

static bool queue_may_lend(const MediaSession *s, const MediaQueue *q)
{
    return media_is_alive(s) && q->streaming && !s->stopped &&
           !(q->queue == VIDEO_QUEUE_INPUT && s->draining);
}

static void buffer_lend_coded_input(MediaSession *s, MediaQueue *q,
                                    MediaBuffer *buf)
{
    uint32_t offsets[VIDEO_MAX_PLANES] = { buf->data_offset };
    uint32_t sizes[VIDEO_MAX_PLANES] = { buf->bytesused - buf->data_offset };

    video_stream_queue_input(media_stream(s), buffer_index(q, buf), offsets,
                             sizes, buf->timestamp, buffer_index(q, buf));
}

/* A frame's planes follow each other as its format says */
static void buffer_lend_frame_input(MediaSession *s, MediaQueue *q,
                                    MediaBuffer *buf)
{
    uint32_t offsets[VIDEO_MAX_PLANES] = { };
    uint32_t sizes[VIDEO_MAX_PLANES] = { };
    VideoStreamInfo info;
    VideoLayout layout;

    video_stream_get_info(media_stream(s), &info);
    video_format_layout(&info.raw, &layout);
    for (unsigned i = 0; i < layout.n_planes; i++) {
        const VideoPlaneLayout *p = &layout.planes[i];

        offsets[i] = buf->data_offset + p->offset;
        sizes[i] = p->stride * p->rows;
    }
    if ((uint64_t)buf->data_offset + layout.buffer_size[0] > buf->bytesused) {
        /* An error, but the stream's to tell, in its order */
        media_guest_error(s, "a frame of %u bytes, its planes take %" PRIu64,
                          buf->bytesused - buf->data_offset,
                          layout.buffer_size[0]);
        memset(sizes, 0, sizeof(sizes));
    }
    video_stream_queue_input(media_stream(s), buffer_index(q, buf), offsets,
                             sizes, buf->timestamp, buffer_index(q, buf));
}

static void buffer_lend(MediaSession *s, MediaQueue *q, MediaBuffer *buf)
{
    buf->lent = true;
    if (q->queue == VIDEO_QUEUE_OUTPUT) {
        video_stream_queue_output(media_stream(s), buffer_index(q, buf),
                                  buffer_index(q, buf));
    } else if (media_is_decoder(s)) {
        buffer_lend_coded_input(s, q, buf);
    } else {
        buffer_lend_frame_input(s, q, buf);
    }
}

/* Each lending may end others, and what ends may stop all */
static void queue_lend(MediaSession *s, MediaQueue *q)
{
    g_autoptr(GPtrArray) bufs = g_ptr_array_new();
    MediaBuffer *buf;

    QTAILQ_FOREACH(buf, &q->queued, next) {
        if (!buf->lent) {
            g_ptr_array_add(bufs, buf);
        }
    }
    for (guint i = 0; i < bufs->len && queue_may_lend(s, q); i++) {
        buf = bufs->pdata[i];
        if (buf->queued && !buf->lent) {
            buffer_lend(s, q, buf);
        }
    }
}

void media_lend_buffers(MediaSession *s)
{
    queue_lend(s, &s->queues[VIDEO_QUEUE_OUTPUT]);
    queue_lend(s, &s->queues[VIDEO_QUEUE_INPUT]);
}

/*
 * What the guest sees of a buffer
 */

static void buffer_describe(const MediaQueue *q, const MediaBuffer *buf,
                            uint32_t flags, struct vm_buffer *b)
{
    b->index = cpu_to_le32(buffer_index(q, buf));
    b->type = cpu_to_le32(media_queue_type(q));
    b->bytesused = 0;
    b->flags = cpu_to_le32(flags | VM_BUF_FLAG_TIMESTAMP_COPY |
        (buf->queued ? VM_BUF_FLAG_QUEUED : 0) |
        (buf->prepared ? VM_BUF_FLAG_PREPARED : 0) |
        (buf->chunk && buf->chunk->n_mapped ? VM_BUF_FLAG_MAPPED : 0));
    b->field = cpu_to_le32(VM_FIELD_NONE);
    b->tv_sec = cpu_to_le64(buf->timestamp / NS_PER_S);
    b->tv_usec = cpu_to_le64(buf->timestamp % NS_PER_S / NS_PER_US);
    b->timecode = (struct vm_timecode) { };
    b->memory = cpu_to_le32(q->memory);
    b->length = cpu_to_le32(1);
    b->reserved2 = 0;
    b->request_fd = 0;
}

static void buffer_describe_plane(const MediaBuffer *buf, struct vm_plane *p)
{
    p->bytesused = cpu_to_le32(buf->bytesused);
    p->length = cpu_to_le32(buf->length);
    p->m = cpu_to_le64(buf->chunk ? buf->chunk->offset : buf->userptr);
    p->data_offset = cpu_to_le32(buf->data_offset);
    memset(p->reserved, 0, sizeof(p->reserved));
}

/* The guest gets @buf back */
static void buffer_return(MediaSession *s, MediaQueue *q, MediaBuffer *buf,
                          uint32_t flags)
{
    struct vm_buffer b = { };
    struct vm_plane p = { };

    QTAILQ_REMOVE(&q->queued, buf, next);
    buf->queued = false;
    buf->lent = false;
    buffer_describe(q, buf, flags, &b);
    b.sequence = cpu_to_le32(q->sequence++);
    buffer_describe_plane(buf, &p);
    media_buffer_event(s, &b, &p);
    buf->timestamp = 0;
}

/*
 * What the stream says
 */

static uint32_t frame_flags(const VideoEvent *event)
{
    static const uint32_t flags[] = {
        [VIDEO_FRAME_UNKNOWN] = 0,
        [VIDEO_FRAME_KEY] = VM_BUF_FLAG_KEYFRAME,
        [VIDEO_FRAME_P] = VM_BUF_FLAG_PFRAME,
        [VIDEO_FRAME_B] = VM_BUF_FLAG_BFRAME,
    };

    return flags[event->frame_type] | (event->error ? VM_BUF_FLAG_ERROR : 0) |
           (event->last != VIDEO_LAST_NONE ? VM_BUF_FLAG_LAST : 0);
}

static void media_buffer_done(MediaSession *s, const VideoEvent *event)
{
    MediaQueue *q = &s->queues[event->queue];
    MediaBuffer *buf;

    /* Cookies are ours, but an index is not used unchecked for that */
    if (event->cookie >= q->n_buffers ||
        !q->buffers[event->cookie].queued) {
        return;
    }
    buf = &q->buffers[event->cookie];
    if (event->canceled) {
        buf->lent = false;
        return;
    }
    if (q->queue == VIDEO_QUEUE_OUTPUT) {
        buf->timestamp = event->timestamp;
        buf->data_offset = 0;
        buf->bytesused = 0;
        for (unsigned i = 0; i < event->n_planes; i++) {
            buf->bytesused = MAX(buf->bytesused,
                                 event->offsets[i] + event->sizes[i]);
        }
    }
    if (event->last == VIDEO_LAST_DRAIN) {
        struct vm_event eos = { };

        /* Who has got the last buffer shall know why */
        s->stopped = true;
        media_event(s, VM_EVENT_EOS, 0, &eos);
    }
    if (event->last != VIDEO_LAST_NONE) {
        buf->timestamp = q->last_timestamp;
    }
    q->last_timestamp = buf->timestamp;
    buffer_return(s, q, buf, frame_flags(event));
}

static void media_source_change(MediaSession *s)
{
    struct vm_event event = {
        .src_change = cpu_to_le32(VM_EVENT_SRC_CH_RESOLUTION),
    };

    media_event(s, VM_EVENT_SOURCE_CHANGE, 0, &event);
}

static void media_drained(MediaSession *s, const VideoEvent *event)
{
    s->draining = false;
    if (event->error) {
        s->refused = true;
    }
    if (!event->canceled && !event->error) {
        s->stopped = true;
    }
}

/* Nothing of what is queued will be worked on: V4L2's way to say so */
static void media_failed(MediaSession *s)
{
    struct vm_event eos = { };

    s->m->dev->n_failed++;
    s->vs->opaque = NULL;
    s->vs = NULL;
    s->draining = false;
    for (VideoQueue i = 0; i < VIDEO_QUEUE__MAX; i++) {
        MediaQueue *q = &s->queues[i];

        while (!QTAILQ_EMPTY(&q->queued)) {
            buffer_return(s, q, QTAILQ_FIRST(&q->queued), VM_BUF_FLAG_ERROR);
        }
    }
    /* Who has no buffer there shall not wait for a format, or for more */
    media_event(s, VM_EVENT_EOS, 0, &eos);
}

static void media_stream_event(void *opaque, const VideoEvent *event)
{
    VideoDeviceStream *vs = opaque;
    MediaSession *s = vs->opaque;

    if (!s) {
        return;
    }
    switch (event->type) {
    case VIDEO_COMMAND_RESOURCE_QUEUE:
        media_buffer_done(s, event);
        break;
    case VIDEO_COMMAND_SET_PARAMS:
        if (event->standalone) {
            media_source_change(s);
        } else {
            s->refused = event->error;
        }
        break;
    case VIDEO_COMMAND_DRAIN:
        media_drained(s, event);
        break;
    case VIDEO_COMMAND_CLOSE:
        media_failed(s);
        break;
    default:
        break;
    }
}

const VideoStreamOps media_stream_ops = {
    .event = media_stream_event,
    .overdue = video_device_stream_overdue,
    .closed = video_device_stream_closed,
};

/*
 * Begin and end
 */

static bool session_set_num_resources(MediaSession *s, VideoSet set)
{
    VideoParams *params = video_params_new(set);

    video_params_add(params, (VideoParam) {
        .type = VIDEO_PARAM_NUM_RESOURCES,
        .num_resources = s->m->dev->ctx.max_resources,
    });
    s->refused = false;
    video_stream_set_params(media_stream(s), params, false, 0);
    return !s->refused;
}

bool media_open_queues(MediaSession *s)
{
    for (VideoQueue i = 0; i < VIDEO_QUEUE__MAX; i++) {
        MediaQueue *q = &s->queues[i];

        q->queue = i;
        q->buffers = g_new0(MediaBuffer, s->m->dev->ctx.max_resources);
        QTAILQ_INIT(&q->queued);
    }
    /* A buffer is a resource as soon as it has memory */
    return session_set_num_resources(s, VIDEO_SET_CODED) &&
           session_set_num_resources(s, VIDEO_SET_RAW);
}

void media_close_queues(MediaSession *s)
{
    for (VideoQueue i = 0; i < VIDEO_QUEUE__MAX; i++) {
        queue_free_buffers(s, &s->queues[i]);
        g_free(s->queues[i].buffers);
    }
}

/*
 * Streaming
 */

/* All buffers are the guest's again, at once */
static void queue_stop(MediaSession *s, MediaQueue *q)
{
    MediaBuffer *buf;

    q->streaming = false;
    if (media_is_alive(s)) {
        video_stream_reset(media_stream(s), q->queue, 0);
    }
    while ((buf = QTAILQ_FIRST(&q->queued))) {
        QTAILQ_REMOVE(&q->queued, buf, next);
        buf->queued = false;
        buf->lent = false;
        buf->timestamp = 0;
    }
    for (uint32_t i = 0; i < q->n_buffers; i++) {
        q->buffers[i].prepared = false;
    }
    q->sequence = 0;
    s->stopped = false;
    media_drop_buffer_events(s, q);
}

int media_streamon(MediaSession *s, uint32_t type)
{
    MediaQueue *q = media_queue_of(s, type);
    VideoStreamInfo info;

    if (!q || !q->n_buffers) {
        return VM_EINVAL;
    }
    if (!media_is_alive(s)) {
        return VM_EIO;
    }
    if (q->streaming) {
        return 0;
    }
    q->streaming = true;
    video_stream_get_info(media_stream(s), &info);
    if (q->queue == VIDEO_QUEUE_OUTPUT && info.blocked) {
        video_stream_unblock(media_stream(s), 0);
    }
    media_lend_buffers(s);
    return 0;
}

int media_streamoff(MediaSession *s, uint32_t type)
{
    MediaQueue *q = media_queue_of(s, type);

    if (!q) {
        return VM_EINVAL;
    }
    queue_stop(s, q);
    media_lend_buffers(s);
    return 0;
}

/*
 * Commands
 */

static int session_stop(MediaSession *s)
{
    if (s->stopped || !s->queues[VIDEO_QUEUE_INPUT].streaming) {
        return 0;           /* V4L2 says that this is no error */
    }
    s->refused = false;
    s->draining = true;
    video_stream_drain(media_stream(s), 0);
    return s->refused ? VM_EBUSY : 0;
}

static int session_start(MediaSession *s)
{
    VideoStreamInfo info;

    s->stopped = false;
    video_stream_get_info(media_stream(s), &info);
    if (info.blocked && s->queues[VIDEO_QUEUE_OUTPUT].streaming) {
        video_stream_unblock(media_stream(s), 0);
    }
    media_lend_buffers(s);
    return 0;
}

int media_codec_cmd(MediaSession *s, uint32_t cmd, bool only_try)
{
    if (cmd != VM_CODEC_CMD_START && cmd != VM_CODEC_CMD_STOP) {
        return VM_EINVAL;
    }
    if (only_try) {
        return 0;
    }
    if (s->draining) {
        return VM_EBUSY;
    }
    return cmd == VM_CODEC_CMD_STOP ? session_stop(s) : session_start(s);
}

/*
 * Ioctls on buffers
 */

int media_reqbufs(MediaSession *s, struct vm_requestbuffers *req)
{
    MediaQueue *q = media_queue_of(s, le32_to_cpu(req->type));
    uint32_t count = le32_to_cpu(req->count);
    uint32_t memory = le32_to_cpu(req->memory);

    if (!q || !memory_supported(s, memory)) {
        return VM_EINVAL;
    }
    if (count) {
        if (!media_is_alive(s)) {
            return VM_EIO;
        }
        if (q->streaming || !session_may_have_buffers(s)) {
            return VM_EBUSY;
        }
    }
    queue_stop(s, q);
    queue_free_buffers(s, q);
    if (count && !media_is_alive(s)) {
        return VM_EIO;      /* the codec's last words were that it failed */
    }
    if (count) {
        q->memory = memory;
        count = queue_grow(s, q, count, media_sizeimage(s, q));
        if (!count) {
            q->memory = 0;
            return VM_ENOMEM;
        }
    }
    req->count = cpu_to_le32(count);
    /* What it was not told of it need not have */
    req->capabilities = cpu_to_le32(queue_capabilities(s) &
                                    ~VM_BUF_CAP_MAX_NUM_BUFFERS);
    req->flags = 0;
    memset(req->reserved, 0, sizeof(req->reserved));
    return 0;
}

int media_create_bufs(MediaSession *s, struct vm_create_buffers *create)
{
    const struct vm_format *format = &create->format;
    MediaQueue *q = media_queue_of(s, le32_to_cpu(format->type));
    uint32_t count = le32_to_cpu(create->count);
    uint32_t memory = le32_to_cpu(create->memory);
    uint32_t size = le32_to_cpu(format->pix_mp.plane_fmt[0].sizeimage);

    if (!q || !memory_supported(s, memory)) {
        return VM_EINVAL;
    }
    create->index = cpu_to_le32(q->n_buffers);
    create->capabilities = cpu_to_le32(queue_capabilities(s));
    create->flags = 0;
    create->max_num_buffers = cpu_to_le32(s->m->dev->ctx.max_resources);
    memset(create->reserved, 0, sizeof(create->reserved));
    if (!count) {
        return 0;
    }
    if (format->pix_mp.num_planes != 1 || size < media_sizeimage(s, q) ||
        (q->n_buffers && q->memory != memory)) {
        return VM_EINVAL;
    }
    if (!session_may_have_buffers(s)) {
        return VM_EBUSY;
    }
    if (q->n_buffers == s->m->dev->ctx.max_resources) {
        return VM_ENOBUFS;
    }
    q->memory = memory;
    count = queue_grow(s, q, count, size);
    if (!count) {
        q->memory = q->n_buffers ? memory : 0;
        return VM_ENOMEM;
    }
    create->count = cpu_to_le32(count);
    return 0;
}

int media_querybuf(MediaSession *s, struct vm_buffer *b, struct vm_plane *p)
{
    MediaQueue *q = media_queue_of(s, le32_to_cpu(b->type));
    uint32_t index = le32_to_cpu(b->index);

    if (!q || index >= q->n_buffers || !p) {
        return VM_EINVAL;
    }
    buffer_describe(q, &q->buffers[index], 0, b);
    b->sequence = 0;
    buffer_describe_plane(&q->buffers[index], p);
    return 0;
}

/*
 * The memory of a USERPTR buffer: the first @length bytes of @sg.  That of MMAP
 * buffers, which can be seen in windows, is theirs: it may become another's
 * while this one is queued.
 */
static int buffer_attach(MediaSession *s, MediaQueue *q, MediaBuffer *buf,
                         const struct virtio_media_sg_entry *sg, size_t n_sg,
                         uint32_t length)
{
    g_autofree VideoMemEntry *entries = g_new(VideoMemEntry, n_sg);
    VideoAttach attach = {
        .resource_id = buffer_index(q, buf),
        .n_buffers = 1,
        .entries = entries,
        .any_bytes = true,
        .never = &s->m->ram,
    };
    uint32_t left = length, n;
    Error *err = NULL;

    for (n = 0; n < n_sg && left; n++) {
        entries[n].addr = le64_to_cpu(sg[n].start);
        entries[n].length = MIN(left, le32_to_cpu(sg[n].len));
        left -= entries[n].length;
    }
    if (left) {
        media_guest_error(s, "%u bytes of %u have no memory", left, length);
        return VM_EINVAL;
    }
    attach.num_entries[0] = n;
    if (!video_stream_attach(media_stream(s), q->queue, &attach, &err)) {
        media_guest_error(s, "%s", error_get_pretty(err));
        error_free(err);
        return VM_EINVAL;
    }
    buf->length = length;
    return 0;
}

/* What of a buffer is filled, if it is one for the device to read */
static int buffer_set_used(MediaQueue *q, MediaBuffer *buf, uint32_t length,
                           const struct vm_plane *p)
{
    uint32_t used = le32_to_cpu(p->bytesused);
    uint32_t offset = le32_to_cpu(p->data_offset);

    if (q->queue == VIDEO_QUEUE_OUTPUT) {
        buf->bytesused = buf->data_offset = 0;
        return 0;
    }
    if (used > length || (offset && offset >= used)) {
        return VM_EINVAL;
    }
    buf->bytesused = used ?: length;
    buf->data_offset = offset;
    return 0;
}

static int qbuf_check(MediaSession *s, const MediaQueue *q,
                      const struct vm_buffer *b, const struct vm_plane *p,
                      bool prepare)
{
    uint32_t index = le32_to_cpu(b->index);
    uint32_t field = le32_to_cpu(b->field);

    if (!q || index >= q->n_buffers || !p ||
        le32_to_cpu(b->memory) != q->memory) {
        return VM_EINVAL;
    }
    if (!media_is_alive(s)) {
        return VM_EIO;
    }
    if (le32_to_cpu(b->flags) & VM_BUF_FLAG_REQUEST_FD) {
        return VM_EBADR;
    }
    if (q->buffers[index].queued ||
        (prepare && q->buffers[index].prepared) ||
        (q->queue == VIDEO_QUEUE_INPUT && field != VM_FIELD_ANY &&
         field != VM_FIELD_NONE)) {
        return VM_EINVAL;
    }
    return 0;
}

static int qbuf_take(MediaSession *s, MediaQueue *q, MediaBuffer *buf,
                     const struct vm_plane *p,
                     const struct virtio_media_sg_entry *sg, size_t n_sg)
{
    uint32_t length = buf->length;
    int ret;

    if (buf->prepared) {
        return 0;       /* what it was prepared with counts */
    }
    if (q->memory == VM_MEMORY_USERPTR) {
        length = le32_to_cpu(p->length);
        if (length < buf->min_length) {
            return VM_EINVAL;
        }
    }
    ret = buffer_set_used(q, buf, length, p);
    if (!ret && q->memory == VM_MEMORY_USERPTR) {
        ret = buffer_attach(s, q, buf, sg, n_sg, length);
        if (!ret) {
            buf->userptr = le64_to_cpu(p->m);
        }
    }
    return ret;
}

int media_qbuf(MediaSession *s, struct vm_buffer *b, struct vm_plane *p,
               const struct virtio_media_sg_entry *sg, size_t n_sg,
               bool prepare)
{
    MediaQueue *q = media_queue_of(s, le32_to_cpu(b->type));
    int ret = qbuf_check(s, q, b, p, prepare);
    MediaBuffer *buf;

    if (ret) {
        return ret;
    }
    buf = &q->buffers[le32_to_cpu(b->index)];
    ret = qbuf_take(s, q, buf, p, sg, n_sg);
    if (ret) {
        return ret;
    }
    buf->prepared = prepare;
    if (!prepare) {
        if (q->queue == VIDEO_QUEUE_INPUT) {
            buf->timestamp = le64_to_cpu(b->tv_sec) * NS_PER_S +
                             le64_to_cpu(b->tv_usec) * NS_PER_US;
        }
        buf->queued = true;
        QTAILQ_INSERT_TAIL(&q->queued, buf, next);
    }
    buffer_describe(q, buf, 0, b);
    b->sequence = 0;
    buffer_describe_plane(buf, p);
    trace_media_qbuf(s->m->dev, s->id, media_queue_type(q),
                     buffer_index(q, buf), buf->bytesused, prepare);
    if (!prepare) {
        queue_lend(s, q);
    }
    return 0;
}
