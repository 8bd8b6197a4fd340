/*
 * Video codec in software, with libavcodec: what its decoder and its encoder
 * share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BACKENDS_VIDEO_CODEC_LIBAV_H
#define BACKENDS_VIDEO_CODEC_LIBAV_H

#include "qemu/units.h"
#include "system/video-codec.h"

#include <libavutil/pixfmt.h>

struct AVCodecContext;

OBJECT_DECLARE_SIMPLE_TYPE(VideoCodecLibav, VIDEO_CODEC_LIBAV)

/* What libavcodec calls reasonable for frame threads */
#define LIBAV_MAX_THREADS 16

/*
 * libavcodec takes some more, but not with all of width, height and format at
 * once; no level of any of these formats but HEVC's and AV1's highest goes
 * beyond.
 */
#define LIBAV_MAX_SIZE 8192

/*
 * Bytes of a strip's first plane: few enough for the cache, and for a reset
 * that waits until the strip is copied
 */
#define LIBAV_STRIP_SIZE (64 * KiB)

/**
 * VideoCodecLibav: the object.
 * @threads: per session; 0: one per host CPU
 * @low_delay: threads must not delay frames
 */
struct VideoCodecLibav {
    VideoCodec parent;

    VideoCodecCaps caps;
    uint32_t threads;
    bool low_delay;
};

/** libav_threads: threads that a session of @libav has, at least one. */
unsigned libav_threads(const VideoCodecLibav *libav);

/** libav_raw_pix_fmt: the pixel format of one of the object's raw formats. */
enum AVPixelFormat libav_raw_pix_fmt(uint32_t fourcc);

extern const VideoCodecImpl libav_encoder;

/*
 * video-codec-libav-settings.c: what the controls mean to each encoder
 */

/**
 * LibavSettings: what an encoder is opened with.  Ints only, so that memcmp()
 * works.
 * @bit_rate, @max_rate: bits per second
 * @b_frames: between two others
 * @min_qp, @max_qp: in the coded format's units; 0: the encoder has no such
 *                   controls
 * @profile: index into the encoder's table
 * @level: index into the profile's table; -1: even the highest does not fit
 * @pix_fmt: enum AVPixelFormat that the encoder is given
 */
typedef struct LibavSettings {
    int bit_rate, max_rate;
    int b_frames;
    int min_qp, max_qp;
    int profile;
    int level;
    int pix_fmt;
} LibavSettings;

/**
 * libav_settings: what @controls mean for a session with @params.
 * Values that don't go together are settled here: see the documentation of
 * the object.
 */
void libav_settings(const VideoCodecParams *params,
                    const VideoControls *controls, LibavSettings *settings);

/**
 * libav_open_encoder: open the encoder for params->coded.
 * The caller decides where key frames are: the encoder makes one for its first
 * frame and for those that say so, no other.  Parameter sets are in extradata,
 * but for MPEG-2's.
 *
 * Returns: the context, to be freed with avcodec_free_context(), or NULL with
 * @errp set.
 */
struct AVCodecContext *libav_open_encoder(const VideoCodecLibav *libav,
                                          const VideoCodecParams *params,
                                          const LibavSettings *settings,
                                          Error **errp);

/**
 * libav_change_rate: let an open encoder that has no frame in the making go
 * from settings @from to @to.
 * Returns: false if it has to be opened again.
 */
bool libav_change_rate(struct AVCodecContext *avctx, const LibavSettings *from,
                       const LibavSettings *to);

/**
 * libav_encoder_init_caps: fill in @caps->encoders from what the host's
 * libavcodec has.  @caps->raws are there already.
 */
void libav_encoder_init_caps(VideoCodecCaps *caps);

#endif /* BACKENDS_VIDEO_CODEC_LIBAV_H */
