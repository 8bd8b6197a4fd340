/*
 * vvclient: what the encoders of both protocols share
 *
 * encode.c has what is the same for both, encode-v10.c and media-encode.c what
 * is not.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_ENCODE_INT_H
#define VVCLIENT_ENCODE_INT_H

#include "encode.h"

#define VV_CODED_BUFFERS        8

/* What encode.h says of vv_encoder_*(), for one protocol */
struct VVEncoderOps {
    /* Opens the stream, sets the coded format and the controls of the start */
    bool (*open)(VVEncoder *e);
    /* All controls, when everything is set on which they depend */
    bool (*read_controls)(VVEncoder *e, QVVParams *p);
    bool (*get_raw)(VVEncoder *e, QVVRawFormat *raw);
    bool (*set_raw)(VVEncoder *e, const QVVRawFormat *raw,
                    const QVVRect *crop);
    bool (*detach)(VVEncoder *e);
    QVVPool *(*make_frames)(VVEncoder *e, unsigned n);
    bool (*start)(VVEncoder *e, const QVVPool *frames);
    void (*queue)(VVEncoder *e, unsigned resource, uint64_t frame);
    void (*drain)(VVEncoder *e);
    bool (*event)(VVEncoder *e, const QVVEvent *ev);
    unsigned (*unanswered)(const VVEncoder *e);
    /* Closes the stream; all buffers are ours again then */
    bool (*close)(VVEncoder *e);
    /* Frees what is left of it */
    void (*abandon)(VVEncoder *e);
};

extern const VVEncoderOps vv_encoder_v10;
extern const VVEncoderOps vv_encoder_media;

/*
 * The next settings, up to before VVEncoder.next_setting then: those of the
 * start, or those before @frame.  False if there are none.
 */
bool vv_encoder_due_at_start(VVEncoder *e);
bool vv_encoder_due(VVEncoder *e, uint64_t frame);
/* Settings @first to before @end; @p: what the device really took */
void vv_encoder_compare(VVEncoder *e, const QVVParams *p, unsigned first,
                        unsigned end);
/* For VVEncoderOptions.controls: what they are from @frame on */
void vv_encoder_note_controls(VVEncoder *e, const QVVParams *p,
                              uint64_t frame);

/*
 * A frame that was not encoded; coded data that was lost, with flags as with
 * vv_encoder_take_coded(); the stream's end
 */
void vv_encoder_bad_frame(VVEncoder *e, uint64_t frame);
void vv_encoder_lost_frame(VVEncoder *e, uint64_t frame, uint32_t flags);
void vv_encoder_gave_up(VVEncoder *e, const char *log);

/**
 * vv_encoder_take_coded - hands the contents of a coded buffer to the user
 * @flags: VIRTIO_VIDEO_QUEUE_FLAG_*
 *
 * Returns: false after VVErrors.broken was set, as there are none, or more
 * than there is room for, or the flags make no sense
 */
bool vv_encoder_take_coded(VVEncoder *e, unsigned resource, uint32_t size,
                           uint64_t frame, uint32_t flags);

#endif
