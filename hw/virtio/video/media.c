/*
 * Virtio media: commands and events on the virtqueues
 *
 * Every command is answered when it is taken: the guest's driver has one at a
 * time and waits only so long.  What takes its time, which is what the codec
 * does, is told by events.
 *
 * Runs in the device's context with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "media.h"
#include "trace.h"

/* No ioctl has a longer fixed part, with its planes or all controls that are */
#define MAX_FIXED_SIZE (4 * KiB)

/* The longest request that is copied: what the main loop does in a blink */
#define MAX_REQUEST_SIZE (2 * MiB)

void media_guest_error(const MediaSession *s, const char *fmt, ...)
{
    g_autofree char *msg = NULL;
    va_list ap;

    va_start(ap, fmt);
    msg = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    video_device_guest_error(s->m->dev, "session %u: %s", s->id, msg);
}

/*
 * Events
 */

void media_buffer_event(MediaSession *s, const struct vm_buffer *buffer,
                        const struct vm_plane *plane)
{
    struct virtio_media_event_dqbuf event = {
        .hdr.event = cpu_to_le32(VIRTIO_MEDIA_EVT_DQBUF),
        .hdr.session_id = cpu_to_le32(s->id),
        .buffer = *buffer,
        .planes[0] = *plane,
    };

    trace_media_dqbuf(s->m->dev, s->id, le32_to_cpu(buffer->type),
                      le32_to_cpu(buffer->index), le32_to_cpu(buffer->flags),
                      le32_to_cpu(plane->bytesused));
    video_device_add_event(s->m->dev, &event, sizeof(event));
}

void media_event(MediaSession *s, uint32_t type, uint32_t id,
                 struct vm_event *event)
{
    struct virtio_media_event_event e = {
        .hdr.event = cpu_to_le32(VIRTIO_MEDIA_EVT_EVENT),
        .hdr.session_id = cpu_to_le32(s->id),
    };

    for (guint i = 0; i < s->subscriptions->len; i++) {
        const struct vm_event_subscription *sub =
            &g_array_index(s->subscriptions, struct vm_event_subscription, i);

        if (sub->type == type && sub->id == id) {
            event->type = cpu_to_le32(type);
            event->id = cpu_to_le32(id);
            event->sequence = cpu_to_le32(s->event_sequence++);
            e.event = *event;
            trace_media_event(s->m->dev, s->id, type, id);
            video_device_add_event(s->m->dev, &e, sizeof(e));
            return;
        }
    }
}

static bool is_of_session(const uint8_t *event, size_t size, void *opaque)
{
    const struct virtio_media_event_header *hdr = (const void *)event;
    const MediaSession *s = opaque;

    return le32_to_cpu(hdr->session_id) == s->id;
}

typedef struct QueueMatch {
    MediaSession *s;
    uint32_t type;
} QueueMatch;

static bool is_of_queue(const uint8_t *event, size_t size, void *opaque)
{
    const struct virtio_media_event_dqbuf *dqbuf = (const void *)event;
    const QueueMatch *match = opaque;

    return is_of_session(event, size, match->s) && size == sizeof(*dqbuf) &&
           le32_to_cpu(dqbuf->hdr.event) == VIRTIO_MEDIA_EVT_DQBUF &&
           le32_to_cpu(dqbuf->buffer.type) == match->type;
}

void media_drop_buffer_events(MediaSession *s, const MediaQueue *q)
{
    QueueMatch match = { s, media_queue_type(q) };

    video_device_drop_events(s->m->dev, is_of_queue, &match);
}

/*
 * Sessions
 */

static MediaSession *session_find(MediaState *m, uint32_t id)
{
    MediaSession *s = m->sessions[id % MEDIA_MAX_SESSIONS];

    return s && s->id == id ? s : NULL;
}

/* Host memory that a session takes, with its stream, without its buffers */
static size_t session_host_bytes(const MediaState *m)
{
    return sizeof(MediaSession) + VIDEO_QUEUE__MAX *
           m->dev->ctx.max_resources *
           (sizeof(MediaBuffer) + sizeof(VideoResource));
}

/* Sessions that have a stream: of one that has failed, it is gone */
static uint32_t media_count_streams(const MediaState *m)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < MEDIA_MAX_SESSIONS; i++) {
        n += m->sessions[i] && m->sessions[i]->vs;
    }
    return n;
}

/* Returns: MEDIA_MAX_SESSIONS if there is no room for another session */
static uint32_t session_find_slot(const MediaState *m)
{
    uint32_t slot;

    /* Those that are closing may have a worker each */
    if (m->dev->n_live >= media_count_streams(m) + m->dev->max_streams) {
        return MEDIA_MAX_SESSIONS;
    }
    for (slot = 0; slot < MEDIA_MAX_SESSIONS; slot++) {
        if (!m->sessions[slot] && !m->dev->streams[slot]) {
            break;
        }
    }
    return slot;
}

/* What the codec still does is without consequences from here on */
static void session_close(MediaSession *s)
{
    MediaState *m = s->m;

    trace_media_close(m->dev, s->id);
    if (s->vs) {
        s->vs->opaque = NULL;
        video_device_stream_abandon(s->vs);
        s->vs = NULL;
    }
    video_device_drop_events(m->dev, is_of_session, s);
    media_close_queues(s);
    media_free_controls(s);
    g_array_unref(s->subscriptions);
    m->sessions[s->id % MEDIA_MAX_SESSIONS] = NULL;
    m->n_sessions--;
    video_memory_give(m->dev->ctx.memory, session_host_bytes(m));
    g_free(s);
}

/* Returns: 0 or VM_E* */
static int session_open(MediaState *m, uint32_t *id)
{
    uint32_t slot = session_find_slot(m);
    MediaSession *s;
    Error *err = NULL;

    if (slot == MEDIA_MAX_SESSIONS ||
        !video_memory_take(m->dev->ctx.memory, session_host_bytes(m))) {
        video_device_guest_error(m->dev, "too many sessions");
        return VM_EBUSY;
    }

    /* What the stream does for V4L2 */
    m->dev->ctx.contiguous = false;
    m->dev->ctx.last_buffers = true;
    m->dev->ctx.tell_all = true;

    s = g_new0(MediaSession, 1);
    s->m = m;
    s->id = slot + MEDIA_MAX_SESSIONS * (m->n_opened++ % (1 << 24));
    s->vs = video_device_stream_new(m->dev, slot, m->direction,
                                    &media_stream_ops, s, &err);
    if (!s->vs) {
        media_guest_error(s, "%s", error_get_pretty(err));
        error_free(err);
        g_free(s);
        video_memory_give(m->dev->ctx.memory, session_host_bytes(m));
        return VM_EBUSY;
    }
    s->subscriptions = g_array_new(false, false,
                                   sizeof(struct vm_event_subscription));
    m->sessions[slot] = s;
    m->n_sessions++;
    media_init_controls(s);
    if (!media_open_queues(s) || !media_init_format(s)) {
        media_guest_error(s, "no memory for a session");
        session_close(s);
        video_device_update_blocker(m->dev);
        return VM_EBUSY;
    }
    *id = s->id;
    trace_media_open(m->dev, s->id);
    return 0;
}

/*
 * Commands
 */

static void answer(MediaState *m, VirtQueueElement *elem, int status,
                   const void *payload, size_t size)
{
    struct virtio_media_resp_header hdr = { .status = cpu_to_le32(status) };
    size_t written;

    trace_media_answer(m->dev, status, size);
    written = iov_from_buf(elem->in_sg, elem->in_num, 0, &hdr, sizeof(hdr));
    if (size) {
        written += iov_from_buf(elem->in_sg, elem->in_num, sizeof(hdr),
                                payload, size);
    }
    virtqueue_push(m->dev->command_vq, elem, written);
}

/*
 * A driver may take note of an event only after it has had the answer to a
 * command that came later.  If that command was a STREAMOFF, it takes a buffer
 * for filled that is long its own again.  So such an answer waits until all
 * event buffers are back, as those of events that the driver knows are; but not
 * for long, as it may have less of them now.
 */
#define SETTLE_MS    1
#define SETTLE_TRIES 100

static bool media_is_settled(MediaState *m)
{
    unsigned n = video_device_count_event_buffers(m->dev);

    m->n_event_buffers = MAX(m->n_event_buffers, n);
    return n == m->n_event_buffers;
}

/* Of the host: with icount, the guest's clock may stand still meanwhile */
static void media_arm_settle_timer(MediaState *m)
{
    timer_mod(m->settle_timer, qemu_clock_get_ms(QEMU_CLOCK_REALTIME) +
                               SETTLE_MS);
}

/* A timer has no guard: the queue's memory may be our own BAR */
static void media_settle_timer(void *opaque)
{
    MediaState *m = opaque;

    qemu_bh_schedule(m->settle_bh);
}

static void media_settle_bh(void *opaque)
{
    MediaState *m = opaque;

    if (!m->dev->held) {
        return;             /* its queue was reset */
    }
    if (!video_device_is_running(m->dev)) {
        return;             /* media_go_on() */
    }
    if (!media_is_settled(m) && ++m->settle_tries < SETTLE_TRIES) {
        media_arm_settle_timer(m);
        return;
    }
    trace_media_settled(m->dev, m->settle_tries);
    trace_media_answer(m->dev, ldl_le_p(m->held),
                       m->held_size - sizeof(struct virtio_media_resp_header));
    video_device_answer_held(m->dev, m->held, m->held_size);
}

void media_go_on(MediaState *m)
{
    if (m->dev->held) {
        media_arm_settle_timer(m);
    }
}

/* Nothing changes while the machine is stopped, so nobody looks */
static void media_vmstate_change(void *opaque, bool running, RunState state)
{
    MediaState *m = opaque;

    if (running) {
        media_go_on(m);
    } else {
        timer_del(m->settle_timer);
    }
}

/* Keep the answer */
static void answer_later(MediaState *m, VirtQueueElement *elem, int status,
                         const void *payload, size_t size)
{
    struct virtio_media_resp_header hdr = { .status = cpu_to_le32(status) };

    g_free(m->held);
    m->held_size = sizeof(hdr) + size;
    m->held = g_malloc(m->held_size);
    memcpy(m->held, &hdr, sizeof(hdr));
    if (size) {
        memcpy(m->held + sizeof(hdr), payload, size);
    }
    m->settle_tries = 0;
    video_device_hold(m->dev, elem);
    media_arm_settle_timer(m);
}

static void command_open(MediaState *m, VirtQueueElement *elem, size_t room)
{
    struct virtio_media_resp_open resp = { };
    size_t size = sizeof(resp) - sizeof(resp.hdr);
    uint32_t id = 0;
    int ret = room < size ? VM_EINVAL : session_open(m, &id);

    media_is_settled(m);    /* takes note of how many event buffers there are */

    resp.session_id = cpu_to_le32(id);
    answer(m, elem, ret, &resp.session_id, ret ? 0 : size);
}

static void command_close(MediaState *m, VirtQueueElement *elem,
                          const uint8_t *data)
{
    const struct virtio_media_cmd_close *cmd = (const void *)data;
    MediaSession *s = session_find(m, le32_to_cpu(cmd->session_id));

    if (s) {
        session_close(s);
        video_device_update_blocker(m->dev);
    } else {
        video_device_guest_error(m->dev, "CLOSE of session %u, which is not "
                                 "open", le32_to_cpu(cmd->session_id));
    }
    /* There is no answer, but the driver waits for the descriptors */
    virtqueue_push(m->dev->command_vq, elem, 0);
}

static void command_ioctl(MediaState *m, VirtQueueElement *elem, uint8_t *data,
                          size_t size, size_t room)
{
    const struct virtio_media_cmd_ioctl *cmd = (const void *)data;
    MediaIoctl io = {
        .s = session_find(m, le32_to_cpu(cmd->session_id)),
        .code = le32_to_cpu(cmd->code),
        .payload = data + sizeof(*cmd),
        .size = size - sizeof(*cmd),
    };
    int ret;

    trace_media_ioctl(m->dev, le32_to_cpu(cmd->session_id), io.code, io.size);
    ret = io.s ? media_ioctl(&io, room) : VM_EINVAL;
    (io.settle && !media_is_settled(m) ? answer_later : answer)(
        m, elem, ret, io.payload, ret && !io.answer_always ? 0 : io.answer);
}

/* The chunk that the session calls by that number */
static MediaChunk *session_find_chunk(const MediaSession *s, uint32_t offset,
                                      uint32_t *length)
{
    for (VideoQueue i = 0; i < VIDEO_QUEUE__MAX; i++) {
        const MediaQueue *q = &s->queues[i];

        for (uint32_t b = 0; b < q->n_buffers; b++) {
            if (q->buffers[b].chunk &&
                q->buffers[b].chunk->offset == offset) {
                *length = q->buffers[b].length;
                return q->buffers[b].chunk;
            }
        }
    }
    return NULL;
}

/*
 * Whether the guest may write is up to its page tables, whatever the flags say:
 * it is its own buffer, and a read-only window would stop nothing but CPUs
 */
static int session_map(MediaSession *s, uint32_t offset,
                       struct virtio_media_resp_mmap *resp)
{
    uint32_t length;
    MediaChunk *chunk = session_find_chunk(s, offset, &length);
    int ret;

    if (!chunk) {
        media_guest_error(s, "MMAP of 0x%x, where no buffer is", offset);
        return VM_EINVAL;
    }
    ret = media_chunk_map(s->m, chunk);
    resp->driver_addr = cpu_to_le64(chunk->offset);
    resp->len = cpu_to_le64(length);
    return ret;
}

static void command_mmap(MediaState *m, VirtQueueElement *elem,
                         const uint8_t *data, size_t room)
{
    const struct virtio_media_cmd_mmap *cmd = (const void *)data;
    MediaSession *s = session_find(m, le32_to_cpu(cmd->session_id));
    struct virtio_media_resp_mmap resp = { };
    size_t size = sizeof(resp) - sizeof(resp.hdr);
    int ret = !s || room < size ? VM_EINVAL :
              session_map(s, le32_to_cpu(cmd->offset), &resp);

    answer(m, elem, ret, &resp.driver_addr, ret ? 0 : size);
}

static void command_munmap(MediaState *m, VirtQueueElement *elem,
                           const uint8_t *data)
{
    const struct virtio_media_cmd_munmap *cmd = (const void *)data;
    int ret = media_unmap(m, le64_to_cpu(cmd->driver_addr));

    if (ret) {
        video_device_guest_error(m->dev, "MUNMAP of 0x%" PRIx64 ", where "
                                 "nothing is mapped",
                                 le64_to_cpu(cmd->driver_addr));
    }
    video_device_update_blocker(m->dev);
    answer(m, elem, ret, NULL, 0);
}

/* Bytes of a command's fixed part; 0: there is no such command */
static size_t command_size(uint32_t cmd)
{
    switch (cmd) {
    case VIRTIO_MEDIA_CMD_OPEN:
        return sizeof(struct virtio_media_cmd_header);
    case VIRTIO_MEDIA_CMD_CLOSE:
        return sizeof(struct virtio_media_cmd_close);
    case VIRTIO_MEDIA_CMD_IOCTL:
        return sizeof(struct virtio_media_cmd_ioctl);
    case VIRTIO_MEDIA_CMD_MMAP:
        return sizeof(struct virtio_media_cmd_mmap);
    case VIRTIO_MEDIA_CMD_MUNMAP:
        return sizeof(struct virtio_media_cmd_munmap);
    default:
        return 0;
    }
}

static size_t media_max_request(const MediaState *m)
{
    return MIN(MAX_FIXED_SIZE + m->dev->ctx.max_entries *
               sizeof(struct virtio_media_sg_entry), MAX_REQUEST_SIZE);
}

/*
 * A copy of the request: the answer may go to the same memory.
 * Returns: NULL if it is too short for its command, or there is no memory.
 */
static uint8_t *request_copy(VirtQueueElement *elem, size_t size,
                             uint32_t *cmd)
{
    uint8_t *data = g_try_malloc(size);

    if (data) {
        iov_to_buf(elem->out_sg, elem->out_num, 0, data, size);
        *cmd = ldl_le_p(data);
        if (size < command_size(*cmd)) {
            g_clear_pointer(&data, g_free);
        }
    }
    return data;
}

bool media_command(MediaState *m, VirtQueueElement *elem)
{
    const size_t header = sizeof(struct virtio_media_resp_header);
    size_t size = iov_size(elem->out_sg, elem->out_num);
    size_t room = iov_size(elem->in_sg, elem->in_num);
    g_autofree uint8_t *data = NULL;
    uint32_t cmd;

    if (size < sizeof(struct virtio_media_cmd_header)) {
        return false;
    }
    if (size > media_max_request(m)) {
        video_device_guest_error(m->dev, "a command of %zu bytes", size);
        if (room < header) {
            return false;
        }
        answer(m, elem, VM_EINVAL, NULL, 0);
        return true;
    }
    data = request_copy(elem, size, &cmd);
    if (!data || (room < header && cmd != VIRTIO_MEDIA_CMD_CLOSE)) {
        return false;
    }

    trace_media_command(m->dev, cmd, size, room);
    room = room < header ? 0 : room - header;
    switch (cmd) {
    case VIRTIO_MEDIA_CMD_OPEN:
        command_open(m, elem, room);
        break;
    case VIRTIO_MEDIA_CMD_CLOSE:
        command_close(m, elem, data);
        break;
    case VIRTIO_MEDIA_CMD_IOCTL:
        command_ioctl(m, elem, data, size, room);
        break;
    case VIRTIO_MEDIA_CMD_MMAP:
        command_mmap(m, elem, data, room);
        break;
    case VIRTIO_MEDIA_CMD_MUNMAP:
        command_munmap(m, elem, data);
        break;
    default:
        video_device_guest_error(m->dev, "unknown command %u", cmd);
        answer(m, elem, VM_ENOTTY, NULL, 0);
        break;
    }
    return true;
}

/*
 * Life of what speaks virtio-media
 */

void media_init(MediaState *m, VideoDevice *dev, VideoCodecDirection direction)
{
    m->dev = dev;
    m->direction = direction;
    m->sessions = g_new0(MediaSession *, MEDIA_MAX_SESSIONS);
    m->settle_timer = timer_new_ms(QEMU_CLOCK_REALTIME, media_settle_timer, m);
    m->settle_bh = virtio_bh_new_guarded(DEVICE(dev), media_settle_bh, m);
    m->vmstate_change = qdev_add_vm_change_state_handler(
        DEVICE(dev), media_vmstate_change, m);
    QTAILQ_INIT(&m->chunks);
}

void media_reset(MediaState *m)
{
    for (uint32_t i = 0; i < MEDIA_MAX_SESSIONS; i++) {
        if (m->sessions[i]) {
            session_close(m->sessions[i]);
        }
    }
    media_unmap_all(m);
    timer_del(m->settle_timer);
    qemu_bh_cancel(m->settle_bh);
    m->n_event_buffers = 0;
}

void media_cleanup(MediaState *m)
{
    media_reset(m);
    qemu_del_vm_change_state_handler(m->vmstate_change);
    timer_free(m->settle_timer);
    qemu_bh_delete(m->settle_bh);
    g_free(m->held);
    g_free(m->sessions);
}

/* A session whose stream has failed is open, too: the guest knows its id */
bool media_is_busy(MediaState *m)
{
    return m->n_sessions || m->n_mapped;
}
