/*
 * Video codecs with libavcodec: what decoders and encoders share
 *
 * Private to the codec objects that are made of libavcodec.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BACKENDS_VIDEO_CODEC_LIBAV_H
#define BACKENDS_VIDEO_CODEC_LIBAV_H

#include "qemu/units.h"
#include "system/video-codec.h"

#include <libavutil/pixfmt.h>

struct AVFrame;

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
 * LibavOptions: how sessions use the host's CPUs.
 * @threads: per session; 0: one per host CPU
 * @low_delay: threads must not delay frames
 */
typedef struct LibavOptions {
    uint32_t threads;
    bool low_delay;
} LibavOptions;

/**
 * VideoCodecLibav: the object.
 */
struct VideoCodecLibav {
    VideoCodec parent;

    VideoCodecCaps caps;
    LibavOptions options;
};

/** libav_threads: threads that a session with @options has, at least one. */
unsigned libav_threads(const LibavOptions *options);

/** libav_software_caps: what the host's libavcodec can do in software. */
void libav_software_caps(VideoCodecCaps *caps);

/*
 * video-codec-libav-av1.c
 */

/**
 * libav_av1_frame_size: what the sequence headers in coded data allow.
 * @data, @size: a temporal unit, or anything
 * @max_pixels: the decoder refuses frames that have more
 *
 * Returns: bytes of the largest frame that can follow, with what surrounds it;
 * 0: there is no sequence header.
 */
uint64_t libav_av1_frame_size(const uint8_t *data, size_t size,
                              uint64_t max_pixels);

/**
 * LibavAv1Beginning: what the units so far have, where decoding begins.
 * A key frame that is hidden at first is shown by a header, in the same unit or
 * in the next one.
 */
typedef enum LibavAv1Beginning {
    LIBAV_AV1_NO_FRAME,
    LIBAV_AV1_HIDDEN_KEY_FRAME,
    LIBAV_AV1_SHOWN_KEY_FRAME,
} LibavAv1Beginning;

/**
 * libav_av1_begin: can a unit be where decoding begins, or goes on with that?
 * @begun: how far that has come; updated
 *
 * Returns: true if it has no frame; a key frame, and no more than what shows
 * it; or what shows the one before
 */
bool libav_av1_begin(LibavAv1Beginning *begun, const uint8_t *data,
                     size_t size);

/**
 * libav_av1_one_header: are all sequence headers of a unit the same?
 * Returns: true if so, or if there is none.  One that is too large to be kept
 * counts as different.
 */
bool libav_av1_one_header(const uint8_t *data, size_t size);

extern const VideoCodecImpl libav_decoder;
extern const VideoCodecImpl libav_encoder;

/*
 * video-codec-libav-pixels.c: frames on their way into guest memory.  Worker.
 */

/** LibavPixels: a session's strips of rows. */
typedef struct LibavPixels LibavPixels;

/** libav_pixels_new: NULL if there is no memory. */
LibavPixels *libav_pixels_new(VideoCodecSession *session);
void libav_pixels_free(LibavPixels *px);

/** libav_raw_pix_fmt: the pixel format of one of the objects' raw formats. */
enum AVPixelFormat libav_raw_pix_fmt(uint32_t fourcc);

/**
 * libav_copy_uncached: copy a picture from memory that may not be cached.
 * Reads it past the cache where the CPU can, and the planes are aligned for
 * that: other arguments as of av_image_copy(), any thread.
 */
void libav_copy_uncached(uint8_t *const dst[4], const int dst_linesize[4],
                         const uint8_t *const src[4],
                         const int src_linesize[4], enum AVPixelFormat format,
                         int width, int height);

/**
 * libav_pixels_write: convert a frame and write it to guest memory.
 * @f: of 4:2:0 with 8 or 10 bits, planar or with packed chroma; readable up to
 *     an even number of rows and columns
 * @slow: its memory is slow to read, as that of a GPU that is not cached is
 *
 * Returns: false if @out was taken back, or if the session has failed
 */
bool libav_pixels_write(LibavPixels *px, VideoCodecOutput *out,
                        const struct AVFrame *f, bool slow);

#endif /* BACKENDS_VIDEO_CODEC_LIBAV_H */
