/*
 * Video codecs with libavcodec: the decoder that software and GPUs share
 *
 * Private to the codec objects that are made of libavcodec.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BACKENDS_VIDEO_CODEC_LIBAV_DECODER_H
#define BACKENDS_VIDEO_CODEC_LIBAV_DECODER_H

#include "qemu/thread.h"
#include "video-codec-libav.h"

#include <libavcodec/avcodec.h>

/*
 * Frames taken from the decoder together with the input that made them, so
 * that errors are blamed on the right input.  A VP9 superframe has 8 frames.
 */
#define LIBAV_MAX_READY 8

#define LIBAV_MAX_MESSAGE 256

typedef enum LibavDrain {
    LIBAV_DRAIN_NONE,
    LIBAV_DRAIN_STARTED,        /* libavcodec was told, it has frames left */
    LIBAV_DRAIN_DONE,           /* nothing was left in the first place */
} LibavDrain;

typedef struct LibavDecoder LibavDecoder;

/**
 * LibavDecoderOps: what is not the same for software and for GPUs.
 *
 * All run in the worker thread of the session, but for @get_format.
 *
 * @open: set up d->avctx, which is about to be opened, for the first time or
 *        after @must_reopen
 * @get_format: choose one of what libavcodec offers.  AV_PIX_FMT_NONE if there
 *        is none, after libav_refuse().  Runs in any of libavcodec's threads.
 * @must_reopen: libavcodec would not notice that @in is of another size or
 *        format than what was before, so the decoder has to be opened again
 *        before it gets @in.  Only for formats whose frames never wait for
 *        more input.  NULL: never
 * @replace: after an error: is there another decoder for the stream?  Returns:
 *        true if d->codec is that one now.  NULL: never
 * @bad_input: the decoder has called @in bad, with libavcodec's @error.
 *        NULL: nothing to do
 * @good_input: it has not.  NULL: nothing to do
 * @reset: nothing of what the decoder got before comes out any more.  NULL:
 *        nothing to do
 * These are for frames that the CPU can't read, and NULL if there are none:
 * @frame_bytes: what a frame takes of the host's memory, as far as it was not
 *        taken from the device's before; in any of libavcodec's threads
 * @wait: wait until d->current is complete.  Returns: false if it is lost
 * @write: write d->current to @out without the CPU: 1: done; 0: take @map;
 *        -1: @out was taken back, or the session has failed
 * @map: make the pixels of d->current readable.
 *        Returns: a frame with pixels, valid until @unmap, whose memory may be
 *        slow to read; or NULL: it is lost
 * @unmap: the caller has done with the frame that @map returned
 * @free: free d->hw; d->avctx has gone before
 */
typedef struct LibavDecoderOps {
    bool (*open)(LibavDecoder *d, Error **errp);
    enum AVPixelFormat (*get_format)(LibavDecoder *d, AVCodecContext *avctx,
                                     const enum AVPixelFormat *formats);
    bool (*must_reopen)(LibavDecoder *d, const VideoCodecInput *in);
    bool (*replace)(LibavDecoder *d);
    void (*bad_input)(LibavDecoder *d, const VideoCodecInput *in, int error);
    void (*good_input)(LibavDecoder *d, const VideoCodecInput *in);
    void (*reset)(LibavDecoder *d);
    uint64_t (*frame_bytes)(LibavDecoder *d, const AVFrame *f);
    bool (*wait)(LibavDecoder *d);
    int (*write)(LibavDecoder *d, VideoCodecOutput *out);
    const AVFrame *(*map)(LibavDecoder *d);
    void (*unmap)(LibavDecoder *d);
    void (*free)(LibavDecoder *d);
} LibavDecoderOps;

/**
 * LibavDecoder: a session's state.
 * What comes first is for the ops, too; the rest is the decoder's own.
 * @object: the type of the codec object, for the log
 * @hw: the ops' own
 */
struct LibavDecoder {
    const char *object;
    VideoCodecSession *session;
    VideoCodecParams params;
    const LibavDecoderOps *ops;
    void *hw;
    const AVCodec *codec;
    AVCodecContext *avctx;
    AVFrame *current;           /* has no data: there is none */
    bool current_corrupt;

    AVPacket *packet;
    LibavDrain drain;
    AVFrame *ready[LIBAV_MAX_READY];
    unsigned n_ready;           /* frames that the last input made */
    unsigned next_ready;        /* those before have been taken */
    int in_flight;              /* inputs taken less frames made */
    bool no_key;                /* no key frame has come out yet */
    bool lost;                  /* an error that no input was blamed for */
    bool format_told;           /* next() has told a format */

    LibavPixels *pixels;

    GByteArray *headers;        /* to go before the next input */
    struct AVBSFContext *av1_bsf;   /* finds sequence headers */
    GByteArray *av1_header;     /* the last one */
    bool av1_new_header;        /* it differs from the one before */
    bool av1_need_header;       /* libdav1d has forgotten it */
    unsigned av1_without_frame;
    bool av1_no_key;            /* libavcodec's own: nothing to refer to */
    LibavAv1Beginning av1_begun;        /* ... and what came since then */

    QemuMutex lock;
    uint64_t mem_in_use;        /* bytes of frames that somebody refers to */
    uint64_t mem_taken;         /* from the device's, those in the pool too */
    uint64_t frame_bytes;       /* of the frames that are made now */
    char *refusal;              /* why the stream can't be decoded at all */
    char message[LIBAV_MAX_MESSAGE];    /* the last error of libavcodec */
};

/**
 * libav_decoder_start: open a decoder of libavcodec for a session.
 * @decoder: of libavcodec
 * @ops: must outlive the session
 * @hw: becomes d->hw, owned by the decoder from now on, even if this fails
 *
 * Returns: what VideoCodecImpl.start() is to return; the other callbacks are
 * those of libav_decoder.
 */
void *libav_decoder_start(VideoCodec *codec, VideoCodecSession *s,
                          const VideoCodecParams *params,
                          const AVCodec *decoder, const LibavDecoderOps *ops,
                          void *hw, Error **errp);

/** libav_software_start: the same, in software. */
void *libav_software_start(VideoCodec *codec, VideoCodecSession *s,
                           const VideoCodecParams *params,
                           const LibavOptions *options, Error **errp);

/** libav_software_decoder: libavcodec's decoder in software, or NULL. */
const AVCodec *libav_software_decoder(VideoCodedFormat format);

/** libav_refuse: the stream can't be decoded; takes @reason.  Any thread. */
void libav_refuse(LibavDecoder *d, char *reason);

/** libav_refuse_pix_fmt: the same because of @pix_fmt. */
void libav_refuse_pix_fmt(LibavDecoder *d, int pix_fmt);

/** libav_is_key: can decoding begin with this frame? */
bool libav_is_key(const AVFrame *f);

/** libav_size_allowed: does the guest's side take such frames? */
bool libav_size_allowed(LibavDecoder *d, enum AVPixelFormat format, int width,
                        int height);

/** libav_pix_fmt_supported: can libav_pixels_write() read it? */
bool libav_pix_fmt_supported(enum AVPixelFormat format);

#endif /* BACKENDS_VIDEO_CODEC_LIBAV_DECODER_H */
