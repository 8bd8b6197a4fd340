/*
 * vvclient: what the two halves of the decoder share
 *
 * decode.c has the loop; negotiate.c opens and closes streams and agrees on
 * formats and buffers with the device, step by step.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_DECODE_INT_H
#define VVCLIENT_DECODE_INT_H

#include "decode.h"

typedef struct VVStream VVStream;

typedef enum VVCommandKind {
    VV_INPUT,
    VV_OUTPUT,
    VV_DRAIN,
} VVCommandKind;

/* A command that is not answered yet */
typedef struct VVCommand {
    VVStream *stream;
    VVCommandKind kind;
    unsigned resource;
    unsigned packet;            /* VV_INPUT */
    unsigned generation;        /* VV_OUTPUT: the pool it belongs to */
} VVCommand;

struct VVStream {
    VVDecode *dec;
    VVTalk talk;
    unsigned id;
    bool open;                  /* the device knows the stream */
    bool failing;               /* something was canceled, an error follows */
    bool failed;                /* the device gave it up */
    bool done;                  /* drained */

    QVVPool *inputs;
    unsigned free_inputs[VV_MAX_BUFFERS];
    unsigned n_free_inputs;
    unsigned next_packet;
    unsigned packets_done;
    bool drain_sent;
    bool again;                 /* for the second time */
    unsigned held_inputs;       /* queued, but the device was not notified */

    QVVPool *outputs;
    unsigned n_queued_outputs;  /* of this generation */
    unsigned held_outputs;      /* of those: not notified yet */
    unsigned generation;        /* of @outputs */
    uint32_t canceled;          /* 1 << resource: for the next format */
    bool settling;              /* buffers that come back join those */
    unsigned refused;           /* buffers that the device did not take */
    QVVRawFormat raw;
    QVVLayout layout;
    QVVRect crop;
    uint64_t frames;
    uint64_t pictures;          /* with those that the edit list hides */
    int64_t ended;              /* microseconds, monotonic */
    VVRows rows;
};

struct VVDecode {
    VVGuest *guest;
    QVVDriver *drv;
    const VVMedia *media;
    const VVDecodeOptions *opts;
    VVDecodeResult *result;
    unsigned n_packets;
    VVStream *streams;
    unsigned n_active;
    GHashTable *commands;       /* cookie -> VVCommand */
    VVProgress progress;
    VVErrors *errors;           /* those of @result */
};

/* Remembers a command that was sent until its answer comes */
void vv_note(VVStream *s, uint32_t cookie, VVCommand cmd);

/* Gets those buffers back that the user of the frames has kept */
bool vv_settle(VVStream *s);

/*
 * negotiate.c.  What returns bool: false without VVDecode.err means that the
 * stream failed meanwhile; the event that says so is still to be handled.
 */

/* Up to the point where buffers can be queued */
bool vv_open_stream(VVStream *s);
bool vv_close_stream(VVStream *s);
/* DPC: new buffers where the old ones are too small */
bool vv_format_change(VVStream *s, const QVVEvent *ev);
void vv_queue_output(VVStream *s, unsigned resource);
void vv_queue_outputs(VVStream *s);

#endif
