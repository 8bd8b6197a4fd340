/*
 * Video codecs with libavcodec: the encoder that software and GPUs share
 *
 * Private to the codec objects that are made of libavcodec.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BACKENDS_VIDEO_CODEC_LIBAV_ENCODER_H
#define BACKENDS_VIDEO_CODEC_LIBAV_ENCODER_H

#include "video-codec-libav.h"

#include <libavcodec/avcodec.h>
#include <libavutil/dict.h>
#include <libavutil/frame.h>

/*
 * video-codec-libav-settings.c: what the controls mean to each encoder
 */

/**
 * LibavSettings: what an encoder is opened with.  Ints only, so that memcmp()
 * works.
 * @bit_rate, @max_rate: bits per second
 * @gop: frames from one key frame to the next; 0: the encoder need not know
 * @b_frames: between two others
 * @min_qp, @max_qp: in the coded format's units; 0: the encoder has no such
 *                   controls
 * @profile: index into the encoder's table
 * @level: index into the profile's table; -1: even the highest does not fit
 * @pix_fmt: enum AVPixelFormat that the encoder is given
 */
typedef struct LibavSettings {
    int bit_rate, max_rate;
    int gop;
    int b_frames;
    int min_qp, max_qp;
    int profile;
    int level;
    int pix_fmt;
} LibavSettings;

/**
 * LibavLevel: a level, and what it allows.
 * @value: V4L2's number of it
 * @number: in the bitstream; H.264 and HEVC: ten times what people call it
 * @blocks: 256 luma samples each, of a frame
 * @block_rate: @blocks per second
 * @kbit: 1000 bits per second
 * @width, @height: of a frame; 0: neither is more than sqrt(8 * @blocks)
 *                  times 16
 */
typedef struct LibavLevel {
    uint8_t value;
    uint8_t number;
    uint32_t blocks, block_rate, kbit;
    uint32_t width, height;
} LibavLevel;

/**
 * LibavProfile: a profile.
 * @value: V4L2's number of it
 * @name: x264's or x265's
 * @number: in the bitstream, of all others
 * @deep: samples have 10 bits
 * @b_frames: it has B frames
 * @levels, @n_levels: it has these
 */
typedef struct LibavProfile {
    uint8_t value;
    const char *name;
    uint8_t number;
    bool deep;
    bool b_frames;
    const LibavLevel *levels;
    unsigned n_levels;
} LibavProfile;

typedef struct LibavEncoderInfo LibavEncoderInfo;

/**
 * LibavEncoderInfo: one of libavcodec's encoders.
 * @format: what it makes
 * @name: of the encoder
 * @min_size: of width and height
 * @max_width, @max_height: in pixels
 * @profiles, @n_profiles: what it can make
 * @def_profile, @def_level: V4L2's numbers
 * @min_qp, @max_qp: of the coded format; both 0: V4L2 has no such controls
 * @max_b_frames: between two others, in profiles that have them
 * @bitrate_modes: bit i is set if it has VideoBitrateMode i; 0: it can't be
 *                 told a bitrate
 * @headers: has parameter sets outside of its frames
 * @packed: takes NV12 and P010, not the planar formats
 * @rate_changes: takes another bitrate while it is open
 * @counts_gop: has to know when the next key frame is due
 * @frames, @frames_per_b: how many frames would fill the host's memory that it
 *      takes, and as many more for each B frame between others
 * @leak: bytes that it loses each time that it is opened
 * @configure: say in @opts and @avctx what is special about it
 * @opaque: for @configure
 */
struct LibavEncoderInfo {
    VideoCodedFormat format;
    const char *name;
    uint32_t min_size, max_width, max_height;
    const LibavProfile *profiles;
    unsigned n_profiles;
    unsigned def_profile, def_level;
    int min_qp, max_qp;
    int max_b_frames;
    uint32_t bitrate_modes;
    bool headers;
    bool packed;
    bool rate_changes;
    bool counts_gop;
    unsigned frames, frames_per_b;
    unsigned leak;
    void (*configure)(const LibavEncoderInfo *info,
                      const LibavSettings *settings,
                      const LibavProfile *profile, AVCodecContext *avctx,
                      AVDictionary **opts);
    const void *opaque;
};

/** libav_encoder_info: the software encoder for @format. */
const LibavEncoderInfo *libav_encoder_info(VideoCodedFormat format);

/**
 * libav_settings: what @controls mean for a session with @params.
 * Values that don't go together are settled here: see the documentation of
 * the object.
 */
void libav_settings(const LibavEncoderInfo *info,
                    const VideoCodecParams *params,
                    const VideoControls *controls, LibavSettings *settings);

/**
 * libav_settle_controls: as video_codec_settle_controls(), for @info.
 */
void libav_settle_controls(const LibavEncoderInfo *info,
                           const VideoCodecParams *params,
                           VideoControls *controls);

/** libav_software_settle_controls: the same for the software encoders. */
void libav_software_settle_controls(VideoCodec *codec,
                                    const VideoCodecParams *params,
                                    VideoControls *controls);

/**
 * libav_settings_level: the level of @settings, or NULL if none fits.
 */
const LibavLevel *libav_settings_level(const LibavSettings *settings,
                                       const LibavProfile *profile);

/**
 * LibavEncoderOps: what is not the same for software and for GPUs.
 *
 * All run in the worker thread of the session.
 *
 * @setup: set up @avctx, which is about to be opened and has its size, format
 *         and settings
 * @take: get the picture of @in without the CPU: 1: done, and @frame is the
 *        frame to encode, as that of @end; 0: take @begin; -1: @in was
 *        canceled, or the session has failed.  NULL: always take @begin
 * @begin: a frame for the CPU to put a picture into.  NULL: it failed
 * @end: the picture is in the frame of @begin, if @done.
 *         Returns: the frame to encode, valid until the next @take or @begin;
 *         NULL: it failed
 * All three are NULL if the encoder takes frames in plain memory.
 * @recover: something has failed, with libavcodec's @error: can another frame
 *         succeed, after opening the encoder again?  NULL: never
 * @encoded: a frame has been encoded.  NULL: nothing to do
 * @free: free @hw; the encoder has gone before
 */
typedef struct LibavEncoderOps {
    bool (*setup)(void *hw, AVCodecContext *avctx, Error **errp);
    int (*take)(void *hw, const VideoCodecInput *in, AVFrame **frame);
    AVFrame *(*begin)(void *hw);
    AVFrame *(*end)(void *hw, bool done);
    bool (*recover)(void *hw, const char *what, int error);
    void (*encoded)(void *hw);
    void (*free)(void *hw);
} LibavEncoderOps;

/**
 * libav_open_encoder: open the encoder @info.
 * The caller decides where key frames are: the encoder makes one for its first
 * frame and for those that say so, no other.  With @info->headers parameter
 * sets are in extradata.
 *
 * Returns: the context, to be freed with avcodec_free_context(), or NULL with
 * @errp set.
 */
AVCodecContext *libav_open_encoder(const LibavEncoderInfo *info,
                                   const VideoCodecParams *params,
                                   const LibavSettings *settings,
                                   const LibavEncoderOps *ops, void *hw,
                                   Error **errp);

/**
 * libav_encoder_memory: bytes that such an encoder holds, about.
 * @threads: that it may have
 */
uint64_t libav_encoder_memory(const LibavEncoderInfo *info,
                              const VideoCodecParams *params,
                              const LibavSettings *settings, unsigned threads);

/**
 * libav_change_rate: let an open encoder that has no frame in the making go
 * from settings @from to @to.
 * Returns: false if it has to be opened again.
 */
bool libav_change_rate(const LibavEncoderInfo *info, AVCodecContext *avctx,
                       const LibavSettings *from, const LibavSettings *to);

/**
 * libav_encoder_add_caps: fill in the next of @caps->encoders with what @info
 * can do.  @caps->raws are there already.
 * @deep: with samples of 10 bits
 */
void libav_encoder_add_caps(const LibavEncoderInfo *info, bool deep,
                            VideoCodecCaps *caps);

/** libav_encoder_init_caps: the same for all that the host's libavcodec has. */
void libav_encoder_init_caps(VideoCodecCaps *caps);

/*
 * video-codec-libav-encoder.c
 */

/**
 * libav_encoder_start: open an encoder of libavcodec for a session.
 * @info, @ops: must outlive the session
 * @hw: passed to @ops, owned by the encoder from now on, even if this fails
 * @threads: that it may have
 *
 * Returns: what VideoCodecImpl.start() is to return; the other callbacks are
 * those of libav_encoder.
 */
void *libav_encoder_start(VideoCodecSession *s, const VideoCodecParams *params,
                          const LibavEncoderInfo *info,
                          const LibavEncoderOps *ops, void *hw,
                          unsigned threads, Error **errp);

/** libav_software_encoder_start: the same, in software. */
void *libav_software_encoder_start(VideoCodecSession *s,
                                   const VideoCodecParams *params,
                                   const LibavOptions *options, Error **errp);

#endif /* BACKENDS_VIDEO_CODEC_LIBAV_ENCODER_H */
