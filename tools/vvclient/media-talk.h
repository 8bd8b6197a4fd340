/*
 * vvclient: a session of a device that speaks V4L2
 *
 * What decoders and encoders have in common.  Each ioctl waits for its answer,
 * as in Linux's driver; what the device does comes as events.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_MEDIA_TALK_H
#define VVCLIENT_MEDIA_TALK_H

#include "libqos/virtio-media.h"
#include "talk.h"

/**
 * struct VVMediaSession - a session
 * @talk: for what goes wrong; the user's
 * @id: what the device calls it, and events
 * @open: the device knows it
 * @failed: its stream has failed: the device answers EIO
 */
typedef struct VVMediaSession {
    VVTalk *talk;
    uint32_t id;
    bool open;
    bool failed;
} VVMediaSession;

/* What returns bool: false after VVErrors.broken was set */

/* @ret of an ioctl that must succeed */
bool vv_media_do(VVMediaSession *m, int ret, const char *what);
/* The same of a stream that may have failed: true, and @failed is set then */
bool vv_media_try(VVMediaSession *m, int ret, const char *what);

/* OPEN, and subscribe to EOS */
bool vv_media_open(VVMediaSession *m, VVTalk *talk);
/* Asks QEMU for what it has counted, CLOSE, and drops what is left to read */
bool vv_media_close(VVMediaSession *m);

/* Asks, and sets @failed: a buffer with ERROR may mean that, too */
bool vv_media_ask_failed(VVMediaSession *m);
/* What QEMU has logged of it, to be freed with g_free(); or NULL */
char *vv_media_log(const VVMediaSession *m);

/**
 * vv_media_layout - where the planes of frames are
 * @pix: as the device gave it
 * @raw: set; alignments are such that the stride is the device's
 */
bool vv_media_layout(VVMediaSession *m, const struct vm_pix_format_mplane *pix,
                     QVVRawFormat *raw, QVVLayout *layout);

/**
 * vv_media_new_buffers - REQBUFS, and memory: the guest's own or the device's
 * @type: QVM_OUTPUT or QVM_CAPTURE
 * @count: how many are wanted
 * @size: bytes of each
 *
 * Returns: those that there are; NULL if there are none, as the device broke a
 * rule or the stream has failed
 */
QVVPool *vv_media_new_buffers(VVMediaSession *m, uint32_t type, uint32_t count,
                              uint64_t size, bool scatter);
/* Of a queue that does not stream any more; @pool stays the caller's */
bool vv_media_drop_buffers(VVMediaSession *m, uint32_t type,
                           const QVVPool *pool);
/* MUNMAP of MMAP buffers, which last longer than their session; or NULL */
bool vv_media_unmap(VVMediaSession *m, const QVVPool *pool);

/* STREAMON or STREAMOFF */
bool vv_media_stream(VVMediaSession *m, uint32_t type, bool on);
/* QBUF; @bytesused and @usec are of OUTPUT */
bool vv_media_queue(VVMediaSession *m, uint32_t type, const QVVPool *pool,
                    unsigned index, uint32_t bytesused, uint64_t usec);

#endif
