/*
 * Video codec backends: the abstract object and its sessions
 *
 * A session is a worker thread between two queues.  This file has what all
 * codecs share: the queues, the worker's loop, the way back to the main loop,
 * and the right to read and write guest memory, which can be taken away from
 * the worker at any moment.  Functions named video_codec_worker_* run in the
 * session's worker thread, all others with the BQL held unless they say
 * otherwise.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/stats64.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qom/object_interfaces.h"
#include "system/video-codec.h"

/* Bytes written to guest memory before somebody else can have a say */
#define LONGEST_WRITE (64 * KiB)

typedef enum EventType {
    EVENT_INPUT_DONE,
    EVENT_OUTPUT_DONE,
    EVENT_FORMAT,
    EVENT_DRAINED,
    EVENT_FAILED,
    EVENT_CLOSED,
} EventType;

/* What the worker tells the main loop. */
typedef struct Event {
    EventType type;
    VideoCodecInput *in;
    VideoCodecOutput *out;
    VideoCodecFormat format;
    QTAILQ_ENTRY(Event) next;
} Event;

struct VideoCodecSession {
    /* Constant */
    VideoCodec *codec;
    VideoMemory *memory;
    const VideoCodecImpl *impl;
    VideoCodecParams params;
    const VideoCodecSessionOps *ops;
    void *opaque;
    QemuThread thread;
    QEMUBH *bh;

    /* Main loop only */
    bool closed;                /* close() or orphan() was called */
    bool orphan;
    unsigned format_seen;       /* last EVENT_FORMAT that was delivered */

    /*
     * Shared.  @lock guards all of it, and the worker sleeps on @wake.
     * Changing @current_out, @may_read or @paused takes @mem_lock too, so that
     * the worker may touch guest memory with @mem_lock alone.  @lock comes
     * first.
     *
     * What is behind @current_out is the guest side's again as soon as that is
     * NULL.  So the worker follows the pointer with @lock held only, and
     * emit() gets a copy, @emitted.  @current_in is the worker's to the end;
     * only what its planes refer to can be taken away.
     */
    QemuMutex lock;
    QemuCond wake;
    QTAILQ_HEAD(, VideoCodecInput) inputs;
    VideoCodecInput *current_in;            /* with submit() */
    bool may_read;                          /* the pixels of current_in */
    QTAILQ_HEAD(, VideoCodecOutput) outputs;
    VideoCodecOutput *current_out;          /* with emit() */
    QTAILQ_HEAD(, Event) events;
    bool notify;                /* the main loop does not know of them all */
    unsigned generation;        /* number of flushes */
    unsigned format_posted;     /* number of EVENT_FORMATs */
    bool hold;                  /* from a new format to resume() */
    bool flush;                 /* asks the worker to flush */
    bool lost;                  /* coded data: asks the worker to make up */
    bool stop;                  /* asks the worker to end */
    bool set_controls;          /* asks the worker to set @controls */
    VideoControls controls;
    bool paused;
    char *failure;
    bool failure_posted;
    VideoCodecStats stats;

    QemuMutex mem_lock;
    QemuCond mem_resumed;
    bool direct;                /* a device uses current_out, or current_in */
    bool wanted;                /* and somebody waits to take that back */
    bool overdue;               /* and nobody waits for it any more */
    QemuCond direct_done;
    Stat64 copied;              /* bytes; by the worker */

    /* Worker only */
    void *priv;
    VideoCodecOutput emitted;
    bool have_output;           /* next() has said 1 */
    int64_t idle_ns;            /* of this step: the VM was stopped */
    bool draining;              /* submit(NULL) went in, -ENODATA not out */
    VideoCodecFormat format;    /* of the current frame; encoders: zero */
    VideoCodecFormat announced; /* last EVENT_FORMAT; width 0: none */
};

/*
 * Memory.  It is taken a few times for each frame at most, so a lock will do.
 */

struct VideoMemory {
    QemuMutex lock;
    unsigned refs;
    uint64_t max, used, lost;
};

VideoMemory *video_memory_new(uint64_t max)
{
    VideoMemory *memory = g_new0(VideoMemory, 1);

    qemu_mutex_init(&memory->lock);
    memory->refs = 1;
    memory->max = max;
    return memory;
}

VideoMemory *video_memory_ref(VideoMemory *memory)
{
    qatomic_inc(&memory->refs);
    return memory;
}

void video_memory_unref(VideoMemory *memory)
{
    if (qatomic_fetch_dec(&memory->refs) == 1) {
        qemu_mutex_destroy(&memory->lock);
        g_free(memory);
    }
}

bool video_memory_take(VideoMemory *memory, uint64_t bytes)
{
    QEMU_LOCK_GUARD(&memory->lock);
    if (bytes > memory->max - memory->used) {
        return false;
    }
    memory->used += bytes;
    return true;
}

void video_memory_give(VideoMemory *memory, uint64_t bytes)
{
    QEMU_LOCK_GUARD(&memory->lock);
    assert(bytes <= memory->used);
    memory->used -= bytes;
}

bool video_memory_lose(VideoMemory *memory, uint64_t bytes)
{
    if (!video_memory_take(memory, bytes)) {
        return false;
    }
    QEMU_LOCK_GUARD(&memory->lock);
    memory->lost += bytes;
    return true;
}

uint64_t video_memory_lost(VideoMemory *memory)
{
    QEMU_LOCK_GUARD(&memory->lock);
    return memory->lost;
}

uint64_t video_memory_used(VideoMemory *memory)
{
    QEMU_LOCK_GUARD(&memory->lock);
    return memory->used;
}

unsigned video_memory_users(VideoMemory *memory)
{
    return qatomic_read(&memory->refs);
}

static VideoCodecInput *input_new_without_data(VideoInputType type)
{
    VideoCodecInput *in = g_new0(VideoCodecInput, 1);

    in->type = type;
    return in;
}

VideoCodecInput *video_codec_input_new(size_t size)
{
    VideoCodecInput *in;
    uint8_t *data = g_try_malloc(size + VIDEO_CODEC_INPUT_PADDING);

    if (!data) {
        return NULL;
    }
    memset(data + size, 0, VIDEO_CODEC_INPUT_PADDING);

    in = input_new_without_data(VIDEO_INPUT_CODED);
    in->data = data;
    in->size = size;
    return in;
}

VideoCodecInput *video_codec_input_new_raw(void)
{
    return input_new_without_data(VIDEO_INPUT_RAW);
}

void video_codec_input_free(VideoCodecInput *in)
{
    if (in) {
        g_free(in->data);
        g_free(in);
    }
}

/* With s->lock held; session_unlock() will tell the main loop. */
static Event *session_post(VideoCodecSession *s, EventType type)
{
    Event *event = g_new0(Event, 1);

    event->type = type;
    QTAILQ_INSERT_TAIL(&s->events, event, next);
    s->notify = true;
    return event;
}

/*
 * Unlock, and tell the main loop what was posted: after unlocking, so that it
 * does not wake up only to wait for the lock.
 */
static void session_unlock(VideoCodecSession *s)
{
    bool notify = s->notify;

    s->notify = false;
    qemu_mutex_unlock(&s->lock);
    if (notify) {
        qemu_bh_schedule(s->bh);
    }
}

/*
 * For how long the main loop may still wait for devices that hang, as of
 * @patience_at; in nanoseconds, with the BQL held.  Waiting in vain uses it
 * up, and it comes back as time goes by.  There is one for all sessions, as
 * there is one main loop: with one for each, a reset of many streams would
 * stop it that many times as long.  A device that finishes in time costs
 * nothing, so that a busy one with many sessions does not count as lost.
 */
static int64_t patience, patience_at;

static int64_t patience_now(void)
{
    int64_t now = get_clock();

    patience = MIN(patience + now - patience_at,
                   VIDEO_CODEC_DIRECT_MS * SCALE_MS);
    patience_at = now;
    return patience;
}

/* The time since the last patience_now() went by in waiting in vain. */
static void patience_use(void)
{
    int64_t now = get_clock();

    patience = MAX(patience - (now - patience_at), 0);
    patience_at = now;
}

/*
 * With s->mem_lock held: wait until no device uses guest memory.  Only the
 * worker lets a device use it, and never calls this meanwhile.
 */
static void session_wait_for_device(VideoCodecSession *s)
{
    while (s->direct && !s->overdue) {
        int64_t left = patience_now() / SCALE_MS;
        bool ended = left > 0 && qemu_cond_timedwait(&s->direct_done,
                                                     &s->mem_lock, left);

        if (!ended) {
            patience_use();
            s->overdue = s->direct;
        }
    }
}

/* Any thread, with s->lock held. */
static void session_set_current_out(VideoCodecSession *s,
                                    VideoCodecOutput *out)
{
    qemu_mutex_lock(&s->mem_lock);
    s->wanted = s->direct;
    session_wait_for_device(s);
    s->current_out = out;
    qemu_cond_broadcast(&s->mem_resumed);
    qemu_mutex_unlock(&s->mem_lock);
}

/* Any thread, with s->lock held. */
static void session_set_may_read(VideoCodecSession *s, bool may_read)
{
    qemu_mutex_lock(&s->mem_lock);
    s->wanted = s->direct;
    session_wait_for_device(s);
    s->may_read = may_read;
    qemu_mutex_unlock(&s->mem_lock);
}

/*
 * The worker is to set @controls before it takes another input.  With s->lock
 * held.
 */
static void session_request_controls(VideoCodecSession *s,
                                     const VideoControls *controls)
{
    /* Nobody has asked for the key frame in vain */
    bool key_frame = s->set_controls &&
                     s->controls.value[VIDEO_CONTROL_FORCE_KEY_FRAME];

    s->controls = *controls;
    s->controls.value[VIDEO_CONTROL_FORCE_KEY_FRAME] |= key_frame;
    s->set_controls = true;
}

/*
 * The worker
 */

void video_codec_session_fail(VideoCodecSession *s, const char *fmt, ...)
{
    va_list ap;

    qemu_mutex_lock(&s->lock);
    if (!s->failure) {
        va_start(ap, fmt);
        s->failure = g_strdup_vprintf(fmt, ap);
        va_end(ap);
        qemu_cond_signal(&s->wake);     /* the worker posts it */
    }
    qemu_mutex_unlock(&s->lock);
}

static bool session_has_memory(VideoCodecSession *s, bool has, uint64_t bytes)
{
    if (!has) {
        video_codec_session_fail(s, "out of the device's memory (max-mem): %"
                                 PRIu64 " bytes more", bytes);
    }
    return has;
}

bool video_codec_session_take_memory(VideoCodecSession *s, uint64_t bytes)
{
    return session_has_memory(s, video_memory_take(s->memory, bytes), bytes);
}

bool video_codec_session_lose_memory(VideoCodecSession *s, uint64_t bytes)
{
    return session_has_memory(s, video_memory_lose(s->memory, bytes), bytes);
}

void video_codec_session_give_memory(VideoCodecSession *s, uint64_t bytes)
{
    video_memory_give(s->memory, bytes);
}

void video_codec_session_set_engine(VideoCodecSession *s, const char *fmt, ...)
{
    va_list ap;

    QEMU_LOCK_GUARD(&s->lock);
    va_start(ap, fmt);
    g_vsnprintf(s->stats.engine, sizeof(s->stats.engine), fmt, ap);
    va_end(ap);
}

bool video_codec_session_interrupted(VideoCodecSession *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    return s->flush || s->stop;
}

/* The piece of @mem that holds @offset: the last that starts at or before */
static unsigned mem_find(const VideoCodecMem *mem, size_t offset)
{
    unsigned lo = 0, hi = mem->niov;

    while (hi - lo > 1) {
        unsigned mid = lo + (hi - lo) / 2;

        if (mem->offset[mid] <= offset) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    return lo;
}

/*
 * Copy @bytes to @offset of scattered memory, which is in piece @i or behind.
 * The caller checked the range.
 * Returns: the piece to begin with next, further on
 */
static unsigned mem_write(const VideoCodecMem *mem, unsigned i, size_t offset,
                          const uint8_t *src, size_t bytes)
{
    while (offset - mem->offset[i] >= mem->iov[i].iov_len) {
        i++;
    }
    offset -= mem->offset[i];
    for (;;) {
        size_t n = MIN(bytes, mem->iov[i].iov_len - offset);

        memcpy((uint8_t *)mem->iov[i].iov_base + offset, src, n);
        src += n;
        bytes -= n;
        if (!bytes) {
            return i;
        }
        offset = 0;
        i++;
        if (i + 1 < mem->niov) {
            /* Half of what scattered pages cost is to look them up */
            __builtin_prefetch(mem->iov[i + 1].iov_base, 1);
        }
    }
}

/* The same from scattered memory */
static unsigned mem_read(const VideoCodecMem *mem, unsigned i, size_t offset,
                         uint8_t *dst, size_t bytes)
{
    while (offset - mem->offset[i] >= mem->iov[i].iov_len) {
        i++;
    }
    offset -= mem->offset[i];
    for (;;) {
        size_t n = MIN(bytes, mem->iov[i].iov_len - offset);

        memcpy(dst, (uint8_t *)mem->iov[i].iov_base + offset, n);
        dst += n;
        bytes -= n;
        if (!bytes) {
            return i;
        }
        offset = 0;
        i++;
        if (i + 1 < mem->niov) {
            __builtin_prefetch(mem->iov[i + 1].iov_base);
        }
    }
}

/* With s->mem_lock held: wait until outputs may be written. */
static void session_wait_for_memory(VideoCodecSession *s)
{
    int64_t begin = get_clock();

    while (s->paused && s->current_out) {
        qemu_cond_wait(&s->mem_resumed, &s->mem_lock);
    }
    s->idle_ns += get_clock() - begin;
}

/* Rows from @offset in the memory of @p on, while it is the worker's. */
static bool output_write(VideoCodecSession *s, const VideoCodecPlane *p,
                         size_t offset, uint32_t n_rows, const uint8_t *src,
                         size_t src_stride, size_t bytes)
{
    unsigned piece;

    QEMU_LOCK_GUARD(&s->mem_lock);
    if (s->paused) {
        session_wait_for_memory(s);
    }
    if (!s->current_out) {
        return false;       /* taken back: even p->mem may be gone */
    }
    piece = mem_find(p->mem, offset);
    if (src_stride == bytes && p->stride == bytes) {
        mem_write(p->mem, piece, offset, src, n_rows * bytes);
        return true;
    }
    /* What lies between rows here is none of the guest's business */
    for (uint32_t i = 0; i < n_rows; i++) {
        piece = mem_write(p->mem, piece, offset, src, bytes);
        offset += p->stride;
        src += src_stride;
    }
    return true;
}

bool video_codec_output_write_rows(VideoCodecSession *s, VideoCodecOutput *out,
                                   unsigned plane, uint32_t row,
                                   uint32_t n_rows, const uint8_t *src,
                                   size_t src_stride, size_t bytes)
{
    const VideoCodecPlane *p = &out->planes[plane];
    size_t offset = p->offset + (size_t)row * p->stride;

    assert(out == &s->emitted && plane < out->n_planes && !s->direct &&
           n_rows && row + n_rows <= p->rows && bytes && bytes <= p->stride);

    if (out->fourcc) {
        stat64_add(&s->copied, n_rows * bytes);
    }

    if (n_rows > 1) {
        return output_write(s, p, offset, n_rows, src, src_stride, bytes);
    }
    /* Coded data is one row, and may be long: a reset shall not wait for all */
    for (size_t at = 0; at < bytes; at += LONGEST_WRITE) {
        if (!output_write(s, p, offset + at, 1, src + at, 0,
                          MIN(bytes - at, LONGEST_WRITE))) {
            return false;
        }
    }
    return true;
}

bool video_codec_output_begin_direct(VideoCodecSession *s,
                                     VideoCodecOutput *out)
{
    assert(out == &s->emitted && !s->direct);

    QEMU_LOCK_GUARD(&s->mem_lock);
    if (s->paused) {
        session_wait_for_memory(s);
    }
    s->direct = s->current_out;
    return s->direct;
}

bool video_codec_session_is_overdue(VideoCodecSession *s)
{
    QEMU_LOCK_GUARD(&s->mem_lock);
    return s->overdue;
}

bool video_codec_session_hold_direct(VideoCodecSession *s)
{
    assert(s->direct);
    qemu_mutex_lock(&s->mem_lock);
    if (s->overdue) {
        qemu_mutex_unlock(&s->mem_lock);
        return false;
    }
    return true;
}

void video_codec_session_release_direct(VideoCodecSession *s)
{
    qemu_mutex_unlock(&s->mem_lock);
}

/* Returns: false if somebody has waited, or it took too long. */
static bool session_end_direct(VideoCodecSession *s, const char *what)
{
    bool wanted, overdue;

    assert(s->direct);

    WITH_QEMU_LOCK_GUARD(&s->mem_lock) {
        s->direct = false;
        wanted = s->wanted;
        overdue = s->overdue;
        s->wanted = false;
        qemu_cond_broadcast(&s->direct_done);
    }
    if (overdue) {
        video_codec_session_fail(s, "the device has kept a frame to %s for "
                                 "longer than the machine can wait", what);
    }
    return !wanted && !overdue;
}

bool video_codec_output_end_direct(VideoCodecSession *s, VideoCodecOutput *out)
{
    assert(out == &s->emitted);
    return session_end_direct(s, "write");
}

bool video_codec_input_begin_direct(VideoCodecSession *s,
                                    const VideoCodecInput *in)
{
    assert(in == s->current_in && !s->direct);

    QEMU_LOCK_GUARD(&s->mem_lock);
    s->direct = s->may_read;
    return s->direct;
}

bool video_codec_input_end_direct(VideoCodecSession *s,
                                  const VideoCodecInput *in)
{
    assert(in == s->current_in);
    return session_end_direct(s, "read");
}

bool video_codec_input_read_rows(VideoCodecSession *s,
                                 const VideoCodecInput *in, unsigned plane,
                                 uint32_t row, uint32_t n_rows, size_t offset,
                                 uint8_t *dst, size_t dst_stride,
                                 size_t bytes)
{
    const VideoCodecPlane *p = &in->planes[plane];
    size_t from = p->offset + (size_t)row * p->stride + offset;
    unsigned piece;

    assert(in == s->current_in && plane < in->n_planes &&
           n_rows && n_rows <= p->rows && row <= p->rows - n_rows &&
           bytes && bytes <= p->stride && offset <= p->stride - bytes &&
           !s->direct);

    QEMU_LOCK_GUARD(&s->mem_lock);
    if (!s->may_read) {
        return false;       /* canceled: even p->mem may be gone */
    }
    stat64_add(&s->copied, n_rows * bytes);
    assert(from + (size_t)(n_rows - 1) * p->stride + bytes <= p->mem->size);
    piece = mem_find(p->mem, from);
    if (dst_stride == bytes && p->stride == bytes) {
        mem_read(p->mem, piece, from, dst, n_rows * bytes);
        return true;
    }
    for (uint32_t i = 0; i < n_rows; i++) {
        piece = mem_read(p->mem, piece, from, dst, bytes);
        from += p->stride;
        dst += dst_stride;
    }
    return true;
}

static bool format_equal(const VideoCodecFormat *a, const VideoCodecFormat *b)
{
    return a->fourcc == b->fourcc &&
           a->width == b->width && a->height == b->height &&
           a->crop.left == b->crop.left && a->crop.top == b->crop.top &&
           a->crop.width == b->crop.width && a->crop.height == b->crop.height;
}

/* With s->lock held. */
static void video_codec_worker_announce(VideoCodecSession *s)
{
    s->announced = s->format;
    s->hold = true;
    s->format_posted++;
    session_post(s, EVENT_FORMAT)->format = s->format;
}

/* With s->lock held; drops it meanwhile. */
static void video_codec_worker_flush(VideoCodecSession *s)
{
    s->flush = false;
    s->have_output = false;
    s->draining = false;

    qemu_mutex_unlock(&s->lock);
    s->impl->flush(s->priv);
    qemu_mutex_lock(&s->lock);
}

/* With s->lock held; drops it meanwhile. */
static void video_codec_worker_emit(VideoCodecSession *s)
{
    VideoCodecOutput *out = QTAILQ_FIRST(&s->outputs);
    unsigned generation = s->generation;
    bool done;

    QTAILQ_REMOVE(&s->outputs, out, next);
    session_set_current_out(s, out);
    out->touched = true;
    s->emitted = *out;
    s->emitted.corrupt = false;
    s->emitted.size = 0;
    s->emitted.frame_type = VIDEO_FRAME_UNKNOWN;
    assert(out->width == s->format.width && out->height == s->format.height);

    qemu_mutex_unlock(&s->lock);
    done = s->impl->emit(s->priv, &s->emitted);
    qemu_mutex_lock(&s->lock);

    s->have_output = !done;
    /* What was made of it is dropped with a flush, or if it was taken back */
    s->lost |= done && s->params.direction == VIDEO_ENCODE &&
               (s->current_out != out || generation != s->generation);
    if (s->current_out != out) {
        return;             /* the guest side has it already */
    }
    session_set_current_out(s, NULL);
    if (done && generation == s->generation) {
        out->timestamp = s->emitted.timestamp;
        out->corrupt = s->emitted.corrupt;
        out->size = s->emitted.size;
        out->frame_type = s->emitted.frame_type;
        session_post(s, EVENT_OUTPUT_DONE)->out = out;
        session_unlock(s);
        qemu_mutex_lock(&s->lock);
    } else {
        QTAILQ_INSERT_HEAD(&s->outputs, out, next);
    }
}

/* With s->lock held; drops it meanwhile. */
static void video_codec_worker_next(VideoCodecSession *s)
{
    unsigned generation = s->generation;
    int ret;

    if (s->params.direction == VIDEO_ENCODE) {
        /* Encoding may happen in here: a frame that was copied goes back */
        session_unlock(s);
    } else {
        qemu_mutex_unlock(&s->lock);
    }
    ret = s->impl->next(s->priv, &s->format);
    qemu_mutex_lock(&s->lock);

    s->have_output = ret > 0;
    if (ret == -ENODATA) {
        s->draining = false;
        if (generation == s->generation && !s->failure) {
            session_post(s, EVENT_DRAINED);
        }
    }
}

/* With s->lock held; drops it meanwhile. */
static void video_codec_worker_lost(VideoCodecSession *s)
{
    s->lost = false;
    qemu_mutex_unlock(&s->lock);
    s->impl->lost(s->priv);
    qemu_mutex_lock(&s->lock);
}

/* With s->lock held; drops it meanwhile. */
static void video_codec_worker_set_controls(VideoCodecSession *s)
{
    VideoControls controls = s->controls;

    s->set_controls = false;
    qemu_mutex_unlock(&s->lock);
    s->impl->set_controls(s->priv, &controls);
    qemu_mutex_lock(&s->lock);
}

/* With s->lock held; drops it meanwhile. */
static void video_codec_worker_submit(VideoCodecSession *s)
{
    VideoCodecInput *in = QTAILQ_FIRST(&s->inputs);
    unsigned generation = s->generation;
    bool drain = in->type == VIDEO_INPUT_DRAIN;
    int ret;

    QTAILQ_REMOVE(&s->inputs, in, next);
    if (in->type == VIDEO_INPUT_CONTROLS) {
        session_request_controls(s, &in->controls);
        video_codec_input_free(in);
        return;
    }

    s->current_in = in;
    s->draining = drain;
    session_set_may_read(s, in->type == VIDEO_INPUT_RAW);

    session_unlock(s);
    ret = s->impl->submit(s->priv, drain ? NULL : in);
    qemu_mutex_lock(&s->lock);

    s->current_in = NULL;
    session_set_may_read(s, false);
    if (generation != s->generation) {
        video_codec_input_free(in);     /* flushed meanwhile */
    } else if (ret == -EAGAIN) {
        s->draining = false;
        QTAILQ_INSERT_HEAD(&s->inputs, in, next);
    } else if (drain) {
        video_codec_input_free(in);
    } else {
        in->error = ret < 0 || s->failure;
        session_post(s, EVENT_INPUT_DONE)->in = in;
    }
}

/*
 * One step of the worker, with s->lock held.  The main loop is told before what
 * may take long, which is submit(), and an encoder's next(), and with each
 * output: a decoded frame and the input that it was made from are told
 * together.
 *
 * Returns: false if there is nothing to do.
 */
static bool video_codec_worker_step(VideoCodecSession *s)
{
    if (s->failure) {
        /* Behind the buffer that shows it */
        if (!s->failure_posted) {
            s->failure_posted = true;
            session_post(s, EVENT_FAILED);
        }
        return false;
    }
    if (s->flush) {
        video_codec_worker_flush(s);
        return true;
    }
    if (!s->have_output) {
        video_codec_worker_next(s);
        if (s->have_output || s->failure || s->flush || s->stop) {
            return true;
        }
        if (s->format.width && !format_equal(&s->format, &s->announced)) {
            video_codec_worker_announce(s);
            return true;
        }
        if (s->draining) {
            return false;
        }
        if (s->lost) {
            video_codec_worker_lost(s);
            return true;
        }
        if (s->set_controls) {
            video_codec_worker_set_controls(s);
            return true;
        }
        if (QTAILQ_EMPTY(&s->inputs)) {
            return false;
        }
        video_codec_worker_submit(s);
        return true;
    }
    if (!format_equal(&s->format, &s->announced)) {
        video_codec_worker_announce(s);
        return true;
    }
    if (s->hold || QTAILQ_EMPTY(&s->outputs)) {
        return false;
    }
    video_codec_worker_emit(s);
    return true;
}

static void *video_codec_worker(void *opaque)
{
    VideoCodecSession *s = opaque;
    Error *err = NULL;

    rcu_register_thread();
    s->priv = s->impl->start(s->codec, s, &s->params, &err);
    if (!s->priv) {
        video_codec_session_fail(s, "%s", error_get_pretty(err));
        error_free(err);
    }

    qemu_mutex_lock(&s->lock);
    while (!s->stop) {
        int64_t begin = get_clock();

        if (video_codec_worker_step(s)) {
            s->stats.busy_ns += get_clock() - begin - s->idle_ns;
            s->idle_ns = 0;
            continue;
        }
        if (s->notify) {
            session_unlock(s);
            qemu_mutex_lock(&s->lock);
        } else if (!s->stop) {
            qemu_cond_wait(&s->wake, &s->lock);
        }
    }
    qemu_mutex_unlock(&s->lock);

    if (s->priv) {
        s->impl->stop(s->priv);
    }

    qemu_mutex_lock(&s->lock);
    session_post(s, EVENT_CLOSED);
    session_unlock(s);
    rcu_unregister_thread();
    return NULL;
}

/*
 * The main loop
 */

static void session_free(VideoCodecSession *s)
{
    Event *event;

    /* Its last words were EVENT_CLOSED: this does not wait */
    qemu_thread_join(&s->thread);
    qemu_bh_delete(s->bh);

    while ((event = QTAILQ_FIRST(&s->events))) {
        QTAILQ_REMOVE(&s->events, event, next);
        video_codec_input_free(event->in);
        g_free(event);
    }
    qemu_mutex_destroy(&s->lock);
    qemu_cond_destroy(&s->wake);
    qemu_mutex_destroy(&s->mem_lock);
    qemu_cond_destroy(&s->mem_resumed);
    qemu_cond_destroy(&s->direct_done);
    g_free(s->failure);
    video_memory_unref(s->memory);
    video_codec_unuse(s->codec);
    g_free(s);
}

static void session_deliver(VideoCodecSession *s, Event *event)
{
    switch (event->type) {
    case EVENT_INPUT_DONE:
        s->ops->input_done(s->opaque, event->in);
        break;
    case EVENT_OUTPUT_DONE:
        s->ops->output_done(s->opaque, event->out);
        break;
    case EVENT_FORMAT:
        s->format_seen++;
        s->ops->format_changed(s->opaque, &event->format);
        break;
    case EVENT_DRAINED:
        s->ops->drained(s->opaque);
        break;
    case EVENT_FAILED:
        s->ops->failed(s->opaque, s->failure);
        break;
    case EVENT_CLOSED:
        g_assert_not_reached();
    }
}

/* Take the next event but for EVENT_CLOSED, which is the last and stays. */
static Event *session_take_event(VideoCodecSession *s)
{
    Event *event;

    QEMU_LOCK_GUARD(&s->lock);
    event = QTAILQ_FIRST(&s->events);
    if (!event || event->type == EVENT_CLOSED) {
        return NULL;
    }
    QTAILQ_REMOVE(&s->events, event, next);
    return event;
}

/* Deliver what has happened so far. */
static void session_deliver_all(VideoCodecSession *s)
{
    Event *event;

    while ((event = session_take_event(s))) {
        if (!s->closed) {
            session_deliver(s, event);
        }
        video_codec_input_free(event->in);
        g_free(event);
    }
}

/* Has the worker ended, and has all been delivered? */
static bool session_has_ended(VideoCodecSession *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    return !QTAILQ_EMPTY(&s->events) &&
           QTAILQ_FIRST(&s->events)->type == EVENT_CLOSED;
}

static void session_bh(void *opaque)
{
    VideoCodecSession *s = opaque;

    if (s->paused && !s->orphan) {
        return;     /* pause(false) schedules it again */
    }
    session_deliver_all(s);
    if (!session_has_ended(s)) {
        return;
    }
    if (!s->orphan) {
        s->ops->closed(s->opaque);
    }
    session_free(s);
}

VideoCodecSession *video_codec_session_open(VideoCodec *codec,
                                            VideoMemory *memory,
                                            const VideoCodecParams *params,
                                            const VideoCodecSessionOps *ops,
                                            void *opaque)
{
    VideoCodecSession *s = g_new0(VideoCodecSession, 1);
    VideoCodecClass *class = VIDEO_CODEC_GET_CLASS(codec);

    s->codec = codec;
    s->memory = video_memory_ref(memory);
    s->impl = params->direction == VIDEO_ENCODE ? class->encoder
                                                : class->decoder;
    s->params = *params;
    s->ops = ops;
    s->opaque = opaque;
    s->bh = qemu_bh_new(session_bh, s);
    qemu_mutex_init(&s->lock);
    qemu_cond_init(&s->wake);
    qemu_mutex_init(&s->mem_lock);
    qemu_cond_init(&s->mem_resumed);
    qemu_cond_init(&s->direct_done);
    stat64_init(&s->copied, 0);
    QTAILQ_INIT(&s->inputs);
    QTAILQ_INIT(&s->outputs);
    QTAILQ_INIT(&s->events);

    video_codec_use(codec);
    qemu_thread_create(&s->thread, "video-codec", video_codec_worker, s,
                       QEMU_THREAD_JOINABLE);
    return s;
}

void video_codec_session_queue_input(VideoCodecSession *s, VideoCodecInput *in)
{
    QEMU_LOCK_GUARD(&s->lock);
    QTAILQ_INSERT_TAIL(&s->inputs, in, next);
    qemu_cond_signal(&s->wake);
}

void video_codec_session_queue_output(VideoCodecSession *s,
                                      VideoCodecOutput *out)
{
    QEMU_LOCK_GUARD(&s->lock);
    QTAILQ_INSERT_TAIL(&s->outputs, out, next);
    qemu_cond_signal(&s->wake);
}

void video_codec_session_drain(VideoCodecSession *s)
{
    video_codec_session_queue_input(s,
                                    input_new_without_data(VIDEO_INPUT_DRAIN));
}

static void session_set_controls_now(VideoCodecSession *s,
                                     const VideoControls *controls)
{
    VideoCodecInput *in;

    QEMU_LOCK_GUARD(&s->lock);
    session_request_controls(s, controls);
    /* What is queued is older, but for its key frame, which has its place */
    QTAILQ_FOREACH(in, &s->inputs, next) {
        uint32_t *value = in->controls.value;

        if (in->type == VIDEO_INPUT_CONTROLS) {
            bool key_frame = value[VIDEO_CONTROL_FORCE_KEY_FRAME];

            in->controls = *controls;
            value[VIDEO_CONTROL_FORCE_KEY_FRAME] = key_frame;
        }
    }
    qemu_cond_signal(&s->wake);
}

/*
 * With no input since the last controls there, the new ones take their place: a
 * guest can't make the list longer than it has inputs.
 */
static bool session_merge_controls(VideoCodecSession *s,
                                   const VideoControls *controls)
{
    VideoCodecInput *last;
    bool key_frame;

    QEMU_LOCK_GUARD(&s->lock);
    last = QTAILQ_LAST(&s->inputs);
    if (!last || last->type != VIDEO_INPUT_CONTROLS) {
        return false;
    }
    key_frame = last->controls.value[VIDEO_CONTROL_FORCE_KEY_FRAME];
    last->controls = *controls;
    last->controls.value[VIDEO_CONTROL_FORCE_KEY_FRAME] |= key_frame;
    return true;
}

void video_codec_session_set_controls(VideoCodecSession *s,
                                      const VideoControls *controls, bool now)
{
    VideoCodecInput *in;

    assert(s->params.direction == VIDEO_ENCODE);
    if (now) {
        session_set_controls_now(s, controls);
        return;
    }
    if (!session_merge_controls(s, controls)) {
        in = input_new_without_data(VIDEO_INPUT_CONTROLS);
        in->controls = *controls;
        video_codec_session_queue_input(s, in);
    }
}

void video_codec_session_resume(VideoCodecSession *s)
{
    QEMU_LOCK_GUARD(&s->lock);
    /* A newer format may be on its way: its receiver will resume again */
    if (s->format_seen == s->format_posted) {
        s->hold = false;
        qemu_cond_signal(&s->wake);
    }
}

/*
 * Begin a new generation: nothing of the worker's work so far counts.
 * With s->lock held.
 */
static void session_drop_input(VideoCodecSession *s)
{
    VideoCodecInput *in;

    s->generation++;
    s->flush = true;
    session_set_may_read(s, false);     /* waits for a strip of rows */
    while ((in = QTAILQ_FIRST(&s->inputs))) {
        QTAILQ_REMOVE(&s->inputs, in, next);
        if (in->type == VIDEO_INPUT_CONTROLS) {
            session_request_controls(s, &in->controls);
        }
        video_codec_input_free(in);
    }
    qemu_cond_signal(&s->wake);
}

void video_codec_session_flush(VideoCodecSession *s)
{
    assert(!s->closed);
    while (true) {
        session_deliver_all(s);

        QEMU_LOCK_GUARD(&s->lock);
        if (s->closed) {
            return;     /* it had failed, and its owner has closed it */
        }
        if (QTAILQ_EMPTY(&s->events)) {
            session_drop_input(s);
            return;
        }
    }
}

void video_codec_session_revoke_outputs(VideoCodecSession *s,
                                        bool (*filter)(void *opaque,
                                                       VideoCodecOutput *out))
{
    VideoCodecOutput *out, *next_out;
    Event *event, *next_event;

    QEMU_LOCK_GUARD(&s->lock);

    /* Oldest first: completed, in the making, waiting */
    QTAILQ_FOREACH_SAFE(event, &s->events, next, next_event) {
        if (event->out && filter(s->opaque, event->out)) {
            QTAILQ_REMOVE(&s->events, event, next);
            g_free(event);
            /* Other coded data refer to it; a frame is just missed */
            s->lost = s->params.direction == VIDEO_ENCODE;
        }
    }
    if (s->current_out && filter(s->opaque, s->current_out)) {
        session_set_current_out(s, NULL);   /* waits for a strip of rows */
    }
    QTAILQ_FOREACH_SAFE(out, &s->outputs, next, next_out) {
        if (filter(s->opaque, out)) {
            QTAILQ_REMOVE(&s->outputs, out, next);
        }
    }
}

void video_codec_session_get_stats(VideoCodecSession *s,
                                   VideoCodecStats *stats)
{
    QEMU_LOCK_GUARD(&s->lock);
    *stats = s->stats;
    stats->copied = stat64_get(&s->copied);
}

void video_codec_session_pause(VideoCodecSession *s, bool paused)
{
    QEMU_LOCK_GUARD(&s->lock);
    qemu_mutex_lock(&s->mem_lock);
    if (paused && s->current_out) {
        session_wait_for_device(s);     /* one that reads harms nobody */
    }
    s->paused = paused;
    qemu_cond_broadcast(&s->mem_resumed);
    qemu_mutex_unlock(&s->mem_lock);
    if (!paused) {
        qemu_bh_schedule(s->bh);
    }
}

void video_codec_session_close(VideoCodecSession *s)
{
    s->closed = true;

    QEMU_LOCK_GUARD(&s->lock);
    session_drop_input(s);
    session_set_current_out(s, NULL);
    QTAILQ_INIT(&s->outputs);
    s->stop = true;
    qemu_cond_signal(&s->wake);
}

void video_codec_session_orphan(VideoCodecSession *s)
{
    s->orphan = true;
    video_codec_session_close(s);
    qemu_bh_schedule(s->bh);    /* it may have been paused */
}

/*
 * The object
 */

void video_codec_use(VideoCodec *codec)
{
    object_ref(OBJECT(codec));
    codec->n_users++;
}

void video_codec_unuse(VideoCodec *codec)
{
    codec->n_users--;
    object_unref(OBJECT(codec));
}

const VideoCodecCaps *video_codec_get_caps(VideoCodec *codec)
{
    return VIDEO_CODEC_GET_CLASS(codec)->get_caps(codec);
}

void video_codec_settle_controls(VideoCodec *codec,
                                 const VideoCodecParams *params,
                                 VideoControls *controls)
{
    VideoCodecClass *class = VIDEO_CODEC_GET_CLASS(codec);

    if (class->settle_controls) {
        class->settle_controls(codec, params, controls);
    }
}

static bool video_codec_can_be_deleted(UserCreatable *uc)
{
    return VIDEO_CODEC(uc)->n_users == 0;
}

static void video_codec_class_init(ObjectClass *oc, void *data)
{
    USER_CREATABLE_CLASS(oc)->can_be_deleted = video_codec_can_be_deleted;
}

static const TypeInfo video_codec_info = {
    .name = TYPE_VIDEO_CODEC,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(VideoCodec),
    .class_size = sizeof(VideoCodecClass),
    .class_init = video_codec_class_init,
    .abstract = true,
    .interfaces = (InterfaceInfo[]) {
        { TYPE_USER_CREATABLE },
        { }
    },
};

static void video_codec_register_types(void)
{
    type_register_static(&video_codec_info);
}

type_init(video_codec_register_types)
