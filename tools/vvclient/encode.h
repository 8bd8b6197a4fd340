/*
 * vvclient: an encoder stream of the device
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_ENCODE_H
#define VVCLIENT_ENCODE_H

#include "controls.h"
#include "muxer.h"
#include "talk.h"

typedef struct VVEncoder VVEncoder;

/**
 * struct VVEncoderOptions - how to encode
 * @format: VIRTIO_VIDEO_CODED_FORMAT_*
 * @settings: sorted; those of the start are made at once, others when their
 *            frame is queued
 * @scatter: coded buffers are single pages all over the memory
 * @share: that many streams have to do with the memory that there is
 * @verbose: say what the device took instead of what was asked for
 * @released: the device has done with a buffer of frames
 * @coded: a coded buffer came; VVCoded.av is the callee's
 * @opaque: for both
 */
typedef struct VVEncoderOptions {
    uint32_t format;
    const VVSettings *settings;
    bool scatter;
    unsigned share;
    bool verbose;
    void (*released)(unsigned resource, void *opaque);
    void (*coded)(const VVCoded *coded, void *opaque);
    void *opaque;
} VVEncoderOptions;

/**
 * struct VVEncoder - one stream
 * @open: the device knows it
 * @failing: something was canceled, an error follows
 * @failed: the device gave it up
 * @drained: everything that was queued has come out
 * @raw: format of the frames
 * @layout: the same in bytes
 * @crop: the part of them that is encoded
 * @controls: their values at the start, by VVControl
 * @known: 1 << VVControl of those in @controls
 * @frames_in: that were queued
 * @frames_bad: of those, the ones that the device could not encode
 * @frames_out: coded buffers
 */
struct VVEncoder {
    VVTalk talk;
    const VVEncoderOptions *opts;
    const QVVCodedCaps *caps;
    bool open;
    bool failing;
    bool failed;
    bool drained;
    QVVRawFormat raw;
    QVVLayout layout;
    QVVRect crop;
    uint32_t controls[VV_CONTROL__MAX];
    uint32_t known;
    uint64_t frames_in;
    uint64_t frames_bad;
    uint64_t frames_out;

    bool blocked;
    unsigned n_attached;        /* buffers of frames */
    unsigned next_setting;
    QVVPool *outputs;
    unsigned generation;        /* of @outputs */
    GHashTable *commands;       /* cookie -> VVEncoderCommand */
};

/*
 * What returns bool or a pointer: false or NULL if the device refused
 * something that it must not, which is in VVErrors.broken, or if the stream
 * has failed, which its event will say.
 */

/* Opens stream @id; coded format and controls are set then */
bool vv_encoder_open(VVEncoder *e, VVErrors *errors, unsigned id,
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
 * vv_encoder_start - attaches buffers and lets it begin
 * @frames: for the format that was set; stays the caller's
 */
bool vv_encoder_start(VVEncoder *e, const QVVPool *frames);

/* Queues a frame with the changes of controls that come before it */
void vv_encoder_queue(VVEncoder *e, unsigned resource, uint64_t frame);
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
