/*
 * vvclient: an encoder stream of the device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_ENCODE_H
#define VVCLIENT_ENCODE_H

#include "qobject/qlist.h"
#include "controls.h"
#include "media-talk.h"
#include "muxer.h"

typedef struct VVEncoder VVEncoder;
typedef struct VVEncoderOps VVEncoderOps;

/**
 * struct VVEncoderOptions - how to encode
 * @format: VIRTIO_VIDEO_CODED_FORMAT_*
 * @settings: sorted; those of the start are made at once, others when their
 *            frame is queued
 * @frame_rate: of the video, which only V4L2 can tell the device
 * @scatter: buffers are single pages all over the memory
 * @share: that many streams have to do with the memory that there is
 * @verbose: say what the device took instead of what was asked for
 * @released: the device has done with a buffer of frames
 * @coded: a coded buffer came; VVCoded.av is the callee's
 * @opaque: for both
 * @controls: what the device says of controls is added to it: a QDict for the
 *            start, with all, and for each change, with those that were set; by
 *            name, and "frame" is the one from which they count.  May be NULL
 */
typedef struct VVEncoderOptions {
    uint32_t format;
    const VVSettings *settings;
    AVRational frame_rate;
    bool scatter;
    unsigned share;
    bool verbose;
    void (*released)(unsigned resource, void *opaque);
    void (*coded)(const VVCoded *coded, void *opaque);
    void *opaque;
    QList *controls;
} VVEncoderOptions;

/**
 * struct VVEncoder - one stream
 * @id: what events call it
 * @open: the device knows it
 * @failing: something was canceled, an error follows
 * @failed: the device gave it up
 * @drains: that are not answered yet, of draft v10
 * @drained: everything that was queued has come out
 * @raw: format of the frames
 * @layout: the same in bytes
 * @crop: the part of them that is encoded
 * @controls: their values at the start, by VVControl
 * @known: 1 << VVControl of those in @controls
 * @rate: frames per second that the device counts on
 * @frames_in: that were queued
 * @frames_bad: of those, the ones that the device could not encode
 * @frames_out: coded buffers
 * @lost_without_type: a coded buffer with an error had none of the flags for
 *                     key, P and B.  When a stream fails, that is a buffer that
 *                     the device has refused; else it breaks the rules
 */
struct VVEncoder {
    VVTalk talk;
    const VVEncoderOps *ops;
    const VVEncoderOptions *opts;
    const QVVCodedCaps *caps;
    uint32_t id;
    bool open;
    bool failing;
    bool failed;
    unsigned drains;
    bool drained;
    QVVRawFormat raw;
    QVVLayout layout;
    QVVRect crop;
    uint32_t controls[VV_CONTROL__MAX];
    uint32_t known;
    AVRational rate;
    uint64_t frames_in;
    uint64_t frames_bad;
    uint64_t frames_out;
    bool lost_without_type;

    unsigned next_setting;
    QVVPool *outputs;

    /* Draft v10 */
    bool blocked;
    unsigned n_attached;        /* buffers of frames */
    unsigned generation;        /* of @outputs */
    GHashTable *commands;       /* cookie -> VVEncoderCommand */

    /* V4L2 */
    VVMediaSession media;
    const QVVPool *frames;      /* buffers of OUTPUT, or NULL */
    uint32_t queued[2];         /* 1 << index: OUTPUT, CAPTURE */
    uint64_t frame_of[VV_MAX_BUFFERS];
    GQueue waiting;             /* frames that are not queued yet */
    bool stop_wanted;           /* behind those */
};

/*
 * What returns bool or a pointer: false or NULL if the device refused
 * something that it must not, which is in VVErrors.broken, or if the stream
 * has failed, which its event will say.
 */

/* Opens stream number @index; coded format and controls are set then */
bool vv_encoder_open(VVEncoder *e, VVErrors *errors, unsigned index,
                     const VVEncoderOptions *opts);

/* The raw format that there is now, to begin with */
bool vv_encoder_get_raw(VVEncoder *e, QVVRawFormat *raw);

/**
 * vv_encoder_set_raw - another format of frames
 * @crop: the part to encode; NULL: all of it
 *
 * Only before the first frame or when drained.  Takes all buffers of frames
 * away from the device.  What it took instead is in @e.
 */
bool vv_encoder_set_raw(VVEncoder *e, const QVVRawFormat *raw,
                        const QVVRect *crop);

/* Takes the buffers of frames away from the device, which must be drained */
bool vv_encoder_detach(VVEncoder *e);

/**
 * vv_encoder_make_frames - buffers for frames of the format that was set
 * @n: how many are wanted
 *
 * Returns: the caller's, to be freed with qvv_pool_free() when they are
 * detached or the stream is closed; NULL as below
 */
QVVPool *vv_encoder_make_frames(VVEncoder *e, unsigned n);

/**
 * vv_encoder_start - attaches buffers and lets it begin
 * @frames: for the format that was set; stays the caller's.  In V4L2, those
 *          that vv_encoder_make_frames() has made
 */
bool vv_encoder_start(VVEncoder *e, const QVVPool *frames);

/*
 * Queues a frame with the changes of controls that come before it.  V4L2 has no
 * queue for those: the frame waits here until those before it are consumed.
 */
void vv_encoder_queue(VVEncoder *e, unsigned resource, uint64_t frame);
/* What is queued behind it begins anew; V4L2 has to wait for the end of it */
void vv_encoder_drain(VVEncoder *e);
/* An event of this stream.  False after VVErrors.broken was set */
bool vv_encoder_event(VVEncoder *e, const QVVEvent *ev);
/* Commands that are not answered yet */
unsigned vv_encoder_unanswered(const VVEncoder *e);
/* Closes the stream and frees everything; nothing may be missing then */
bool vv_encoder_close(VVEncoder *e);
/* Only frees, when the device does not keep the rules any more */
void vv_encoder_abandon(VVEncoder *e);

/* Is there such an encoder, and does it take frames of @fourcc (0: any)? */
bool vv_encoder_check(const VVGuest *g, const VVEncoderOptions *opts,
                      uint32_t fourcc, Error **errp);

#endif
