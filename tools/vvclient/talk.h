/*
 * vvclient: commands of one stream, their answers, and what goes wrong
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_TALK_H
#define VVCLIENT_TALK_H

#include "guest.h"

#define VV_MAX_BUFFERS          32
#define VV_SILENCE_US           (60 * G_USEC_PER_SEC)

/**
 * struct VVErrors - what went wrong with all streams of a command
 * @guest: for what QEMU has logged
 * @list: of char *, one for each thing that went wrong, in order
 * @n: their number; @list holds only the first of very many
 * @broken: the device broke a rule: stop
 */
typedef struct VVErrors {
    VVGuest *guest;
    GPtrArray *list;
    unsigned n;
    Error *broken;
} VVErrors;

void vv_errors_init(VVErrors *errors, VVGuest *g);
void vv_errors_cleanup(VVErrors *errors);

/* The device did what it must never do; only the first time counts.  False */
bool G_GNUC_PRINTF(2, 3)
vv_broken_device(VVErrors *errors, const char *fmt, ...);

/**
 * struct VVTalk - one side of the talk about a stream
 * @guest: with the device
 * @drv: its driver
 * @errors: shared by all streams
 * @id: of the stream
 * @prefix: of messages about this stream, or NULL; freed with the rest
 */
typedef struct VVTalk {
    VVGuest *guest;
    QVVDriver *drv;
    VVErrors *errors;
    unsigned id;
    char *prefix;
} VVTalk;

/* @named: messages begin with the stream's number */
void vv_talk_init(VVTalk *t, VVErrors *errors, unsigned id, bool named);
void vv_talk_cleanup(VVTalk *t);

/* A thing that went wrong with the video; the stream goes on */
void G_GNUC_PRINTF(2, 3)
vv_complain(VVTalk *t, const char *fmt, ...);

/* As vv_broken_device(), with the stream's number */
bool G_GNUC_PRINTF(2, 3)
vv_broken_rule(VVTalk *t, const char *fmt, ...);

static inline bool vv_refused(const QVVEvent *ev)
{
    return ev->flags & (VIRTIO_VIDEO_EVENT_FLAG_ERROR |
                        VIRTIO_VIDEO_EVENT_FLAG_CANCELED);
}

/*
 * What follows waits for the answer.  Events of other commands that come
 * meanwhile stay with the driver until they are asked for.  @what is for
 * messages.  False or NULL without VVErrors.broken means that the stream
 * failed meanwhile; the event that says so is still to be handled.
 */

/* The answer; NULL if it did not come or was malformed */
QVVEvent *vv_answer(VVTalk *t, uint32_t cookie, const char *what);
/* Takes note that the answer was not as it should be */
void vv_was_refused(VVTalk *t, const QVVEvent *ev, const char *what);
/* A command that has nothing to do but to succeed */
bool vv_do(VVTalk *t, uint32_t cookie, const char *what);
/* CLOSE.  A stream that fails at this very moment is closed as well */
bool vv_close(VVTalk *t);
/* SET_PARAMS on the main queue; @blocked is set, but never cleared */
QVVEvent *vv_set(VVTalk *t, GByteArray *set, const char *what, bool *blocked);
/* GET_PARAMS; @must: 1 << VIRTIO_VIDEO_TLV_* of what has to be there */
QVVEvent *vv_get(VVTalk *t, uint32_t container, uint32_t must,
                 const char *what);
/* Tells the device of all resources of a pool */
bool vv_attach(VVTalk *t, uint32_t container, const QVVPool *pool,
               const char *what, bool *blocked);
bool vv_unblock(VVTalk *t, bool blocked);

/**
 * vv_patient_next - the next event, as long as that may take
 * @stream: whose event; the others' stay with the driver; -1: of any
 * @unanswered: commands, for the message
 *
 * Returns: NULL if the device says nothing any more, and that is reported
 */
QVVEvent *vv_patient_next(VVErrors *errors, int stream, unsigned unanswered);

#endif
