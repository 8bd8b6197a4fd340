/*
 * Fixture of virtio-media's qtests: a session of a decoder, as a V4L2
 * application has it, on top of virtio-video's
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_MEDIA_FIXTURE_H
#define TESTS_VIRTIO_MEDIA_FIXTURE_H

#include "virtio-video-fixture.h"
#include "libqos/virtio-media.h"

#define N_CAPTURES 4

/**
 * Session: an open session and its buffers.
 * @memory: of both queues
 * @out, @cap: memory of USERPTR buffers, or NULL
 * @pix: of CAPTURE
 * @n_out, @n_cap: buffers that there are
 * @out_size, @cap_size: bytes of each, at least
 * @n_events: that came, but for buffers
 */
typedef struct Session {
    QVVDriver *d;
    QVirtioVideo *v;
    uint32_t id;
    uint32_t memory;
    QVVPool *out, *cap;
    struct vm_pix_format_mplane pix;
    uint32_t n_out, n_cap;
    uint32_t out_size, cap_size;
    uint32_t n_events;
} Session;

/* OPEN, and subscribe to what a decoder tells; freed with session_free() */
Session *session_open(Rig *r);
void session_free(Session *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Session, session_free)

/* H264, and OUTPUT buffers that stream */
void start_output(Session *s, uint32_t memory);
/* REQBUFS of @count USERPTR buffers; 0 frees them */
void set_buffers(Session *s, uint32_t type, uint32_t count);
/* CAPTURE buffers of the present format, queued, and they stream */
void start_capture(Session *s);
/* STREAMOFF and no buffers any more */
void stop_capture(Session *s);

/* A session that has decoded the header of @width x @height, and streams */
Session *session_start(Rig *r, uint32_t memory, uint32_t width,
                       uint32_t height);

/* Queue OUTPUT buffer @index with a script */
#define PUT_MEDIA(s, index, usec, ...) \
    put_media(s, index, usec, (VideoTestInsn[]) { __VA_ARGS__ }, \
              sizeof((VideoTestInsn[]) { __VA_ARGS__ }) / \
              sizeof(VideoTestInsn))
void put_media(Session *s, unsigned index, uint64_t usec,
               VideoTestInsn *insns, unsigned n);
/* Queue a CAPTURE buffer */
void get_media(Session *s, unsigned index);

/*
 * The next event of @s, whose fields must be right whatever it is; false if
 * there is none
 */
bool next_media(Session *s, QVMEvent *ev, int64_t timeout_us);

/*
 * The next event is a buffer of @type with just these of VM_BUF_FLAG_*, besides
 * TIMESTAMP_COPY; some of OUTPUT may come before one of CAPTURE
 */
QVMEvent expect_buffer(Session *s, uint32_t type, uint32_t flags);
/* The next event is that */
void expect_event(Session *s, uint32_t type);
/* The next buffer of CAPTURE holds that frame; others are dropped */
QVMEvent expect_media_frame(Session *s, uint32_t value, uint64_t usec);
/* Nothing comes */
void expect_quiet(Session *s);

/* Decode a frame from any state in which it streams */
void assert_session_decodes(Session *s, uint32_t value);

/* Bytes of a CAPTURE buffer, to be freed with g_free() */
uint8_t *read_capture(Session *s, unsigned index, uint32_t size);

/* A device that works: a session of its own decodes */
void assert_media_works(Rig *r);

/* VM_MEMORY_MMAP if the device has it, else USERPTR */
uint32_t best_memory(Rig *r);

#endif
