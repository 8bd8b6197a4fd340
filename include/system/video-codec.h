/*
 * Video codec backends
 *
 * The only door between the guest side of a video device and a codec.  The
 * guest side owns streams, queues and guest memory; a codec owns whatever it
 * needs to turn coded bytes into pixels.  They exchange messages:
 *
 *   device context (BQL)                    worker thread of the session
 *   --------------------                    ----------------------------
 *   video_codec_session_queue_input()  -->  VideoCodecClass.decode()
 *   video_codec_session_queue_output() -->  VideoCodecClass.emit()
 *   VideoCodecSessionOps callbacks     <--  completions, through one BH
 *
 * A session looks like a V4L2 stateful decoder: an input queue, an output
 * queue, drain, flush, and events.  Nothing in here knows of virtio, of any
 * guest's wire format, or of any codec library.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SYSTEM_VIDEO_CODEC_H
#define SYSTEM_VIDEO_CODEC_H

#include "qom/object.h"
#include "qemu/queue.h"

#define TYPE_VIDEO_CODEC "video-codec"
OBJECT_DECLARE_TYPE(VideoCodec, VideoCodecClass, VIDEO_CODEC)

#define TYPE_VIDEO_CODEC_LIBAV "video-codec-libav"
#define TYPE_VIDEO_CODEC_TEST  "video-codec-test"

/* NV12 and P010 have two planes, YUV420 three, XRGB8888 one. */
#define VIDEO_MAX_PLANES 3

typedef enum VideoCodedFormat {
    VIDEO_CODED_MPEG2,
    VIDEO_CODED_MPEG4,
    VIDEO_CODED_H264,
    VIDEO_CODED_HEVC,
    VIDEO_CODED_VP8,
    VIDEO_CODED_VP9,
    VIDEO_CODED_AV1,
    VIDEO_CODED__MAX,
} VideoCodedFormat;

/** VideoRect: a rectangle within a frame, in pixels. */
typedef struct VideoRect {
    uint32_t left, top, width, height;
} VideoRect;

/**
 * VideoCodedCaps: what a codec can do with one coded format.
 * @format: the coded format
 * @raw_mask: bit i is set if frames can be delivered as VideoCodecCaps.raws[i]
 * @max_width, @max_height: largest frame in pixels that the codec takes
 */
typedef struct VideoCodedCaps {
    VideoCodedFormat format;
    uint32_t raw_mask;
    uint32_t max_width, max_height;
} VideoCodedCaps;

/**
 * VideoCodecCaps: what a codec object can do.  Asked from the codec library
 * or the driver, never assumed; constant from the object's completion on.
 * @decoders: coded formats that can be decoded, preferred ones first
 * @raws: DRM fourccs (linear) of the raw formats, preferred ones first
 */
typedef struct VideoCodecCaps {
    VideoCodedCaps decoders[VIDEO_CODED__MAX];
    unsigned n_decoders;
    uint32_t raws[8];
    unsigned n_raws;
} VideoCodecCaps;

/**
 * VideoCodecFormat: the format of the frames a stream decodes to.
 * @fourcc: the raw format that loses nothing of the stream (NV12, P010)
 * @width, @height: the frame as the codec makes it, in pixels
 * @crop: the visible part of it
 */
typedef struct VideoCodecFormat {
    uint32_t fourcc;
    uint32_t width, height;
    VideoRect crop;
} VideoCodecFormat;

/**
 * VideoCodecMem: memory of one buffer, in pieces, as the worker sees it.
 * @iov: host addresses; neighbours in host memory are one piece
 * @offset: @offset[i] is the sum of the lengths before @iov[i]
 * @niov: number of pieces
 * @size: sum of the lengths in bytes
 *
 * Owned by the guest side, which keeps it in place and pinned as long as an
 * output that refers to it is queued on a session.
 */
typedef struct VideoCodecMem {
    struct iovec *iov;
    size_t *offset;
    unsigned niov;
    size_t size;
} VideoCodecMem;

/**
 * VideoCodecPlane: where one plane of a frame lies.
 * @mem: the buffer that holds it
 * @offset: of the first row, in bytes from the start of @mem
 * @stride: distance of two rows in bytes
 * @rows: number of rows that the plane's place has (height alignment included)
 * The guest side has checked that @offset + @stride * @rows <= @mem->size.
 */
typedef struct VideoCodecPlane {
    const VideoCodecMem *mem;
    uint32_t offset, stride, rows;
} VideoCodecPlane;

/**
 * VideoCodecInput: one coded buffer, as V4L2 defines it for the format.
 *
 * Made by video_codec_input_new(); queue_input() gives it to the session for
 * good.  The guest side sees it at most once more, in
 * VideoCodecSessionOps.input_done(); then the session frees it.
 *
 * @data: a private copy of the coded bytes, with @padding zero bytes behind
 *        them (VIDEO_CODEC_INPUT_PADDING)
 * @size: bytes in @data without the padding
 * @timestamp: any number; frames made from this input carry it
 * @opaque: for the guest side
 * @error: set by the session: the codec could not make sense of the data
 */
typedef struct VideoCodecInput {
    uint8_t *data;
    size_t size;
    uint64_t timestamp;
    void *opaque;
    bool error;
    QTAILQ_ENTRY(VideoCodecInput) next;
} VideoCodecInput;

#define VIDEO_CODEC_INPUT_PADDING 64

/**
 * video_codec_input_new: room for @size coded bytes and their padding.
 * @size: bytes
 *
 * Returns: the input with zeroed padding, or NULL if there is no memory.
 * Free with video_codec_input_free() if it is not queued.
 */
VideoCodecInput *video_codec_input_new(size_t size);
void video_codec_input_free(VideoCodecInput *in);

/**
 * VideoCodecOutput: room for one frame, and then the frame.
 *
 * The guest side fills in the first part and gives it to the session with
 * queue_output(); it comes back, still owned by the guest side, through
 * VideoCodecSessionOps.output_done() or
 * video_codec_session_revoke_outputs().
 *
 * @fourcc: raw format that the frame is to have
 * @width, @height: frame size; the codec writes no more than that
 * @planes, @n_planes: where it goes
 * @opaque: for the guest side
 *
 * Set by the session:
 * @touched: the codec has had it, so its memory may have been written
 *
 * Result, valid in output_done():
 * @timestamp: of the first input that the frame was made from
 * @corrupt: the frame may show errors
 */
typedef struct VideoCodecOutput {
    uint32_t fourcc;
    uint32_t width, height;
    VideoCodecPlane planes[VIDEO_MAX_PLANES];
    unsigned n_planes;
    void *opaque;

    bool touched;

    uint64_t timestamp;
    bool corrupt;

    QTAILQ_ENTRY(VideoCodecOutput) next;
} VideoCodecOutput;

typedef struct VideoCodecSession VideoCodecSession;

/**
 * VideoCodecParams: what a session is opened with.
 * @coded: the coded format
 * @max_width, @max_height: frames larger than that are a stream error
 */
typedef struct VideoCodecParams {
    VideoCodedFormat coded;
    uint32_t max_width, max_height;
} VideoCodecParams;

/**
 * VideoCodecSessionOps: what a session has to say.  All are called from a BH
 * in the main loop with the BQL held, in the order in which things happened,
 * never while the session is paused and never after
 * video_codec_session_close() but for @closed.
 *
 * @input_done: @in was taken by the codec, @in->error says if it was bad
 * @output_done: @out holds a frame
 * @format_changed: the next frame has another format than those before (the
 *              first frame always counts as such).  The session makes no
 *              more output until video_codec_session_resume().
 * @drained: everything queued before video_codec_session_drain() has been
 *              decoded and all its frames went to outputs
 * @failed: an error that this session can't recover from; @reason is for
 *              the log.  Only close makes sense now.
 * @closed: the worker has ended and @session is about to be freed
 */
typedef struct VideoCodecSessionOps {
    void (*input_done)(void *opaque, VideoCodecInput *in);
    void (*output_done)(void *opaque, VideoCodecOutput *out);
    void (*format_changed)(void *opaque, const VideoCodecFormat *format);
    void (*drained)(void *opaque);
    void (*failed)(void *opaque, const char *reason);
    void (*closed)(void *opaque);
} VideoCodecSessionOps;

/**
 * video_codec_use, video_codec_unuse: keep @codec from being deleted by the
 * user while a device or a session needs it.  BQL.
 */
void video_codec_use(VideoCodec *codec);
void video_codec_unuse(VideoCodec *codec);

/**
 * video_codec_get_caps: what @codec can do.
 * Owned by @codec, valid as long as it lives.
 */
const VideoCodecCaps *video_codec_get_caps(VideoCodec *codec);

/**
 * video_codec_session_open: start a session and its worker thread.
 * @codec: keeps a reference until the session has ended
 * @params: copied
 * @ops: must outlive the session
 * @opaque: passed to @ops
 *
 * The codec is opened by the worker; its failure comes as ops->failed().
 */
VideoCodecSession *video_codec_session_open(VideoCodec *codec,
                                            const VideoCodecParams *params,
                                            const VideoCodecSessionOps *ops,
                                            void *opaque);

/** video_codec_session_queue_input: give @in to the session. */
void video_codec_session_queue_input(VideoCodecSession *s,
                                     VideoCodecInput *in);

/** video_codec_session_queue_output: lend @out to the session. */
void video_codec_session_queue_output(VideoCodecSession *s,
                                      VideoCodecOutput *out);

/**
 * video_codec_session_drain: finish everything queued before.
 * Takes its place in the input queue; answered by ops->drained().  Parameter
 * sets survive.
 */
void video_codec_session_drain(VideoCodecSession *s);

/**
 * video_codec_session_resume: the format of the last ops->format_changed()
 * is settled; outputs queued from now on fit it.
 */
void video_codec_session_resume(VideoCodecSession *s);

/**
 * video_codec_session_flush: forget all input and all frames in the making.
 *
 * Whatever the worker had already completed is delivered first, from in here;
 * when this returns no event from before it will come: inputs for which
 * ops->input_done() was not called are gone, and so are drains.  Outputs stay
 * queued, parameter sets survive.  Never waits for the codec.
 */
void video_codec_session_flush(VideoCodecSession *s);

/**
 * video_codec_session_revoke_outputs: take back outputs.
 * @filter: called for every output that the session has or has completed
 *          without telling yet; true takes it back.  Must not call the session.
 *
 * When this returns, the worker does not touch the memory of the outputs
 * taken.  Waits for the copy of a few rows at most, never for the codec.
 */
void video_codec_session_revoke_outputs(VideoCodecSession *s,
                                        bool (*filter)(void *opaque,
                                                       VideoCodecOutput *out));

/**
 * video_codec_session_pause: stop or restart touching guest memory.
 * While paused no byte of an output changes and no event is delivered.
 */
void video_codec_session_pause(VideoCodecSession *s, bool paused);

/**
 * video_codec_session_close: end a session.
 * Inputs that are left are freed, outputs that are left are the caller's again,
 * both without a callback, and from now on the worker touches no guest memory.
 * Returns at once; the worker ends when the codec lets it, then ops->closed()
 * is called and @s is freed.
 */
void video_codec_session_close(VideoCodecSession *s);

/**
 * video_codec_session_orphan: the guest side goes away.
 * Like video_codec_session_close() but nothing is ever called again; may be
 * called after close too.
 */
void video_codec_session_orphan(VideoCodecSession *s);

/*
 * For codecs
 */

struct VideoCodec {
    Object parent_obj;

    unsigned n_users;           /* devices and sessions whose worker lives */
};

/**
 * VideoCodecClass: what a codec implements.
 *
 * @get_caps runs in the main thread, all others in the session's worker,
 * without any lock, so they may take their time.  A worker calls, in a loop:
 * next_picture() until it says that there is none, then decode() with the
 * next input.
 *
 * @start: open the codec. Returns its state, passed as @priv to all others,
 *         or NULL with @errp set.
 * @stop: free it.
 * @decode: take one input, or with @in NULL: there is no more, make the rest
 *         available (a drain).
 *         0: taken; -EAGAIN: not taken, ask next_picture() first; other
 *         negative errno: taken, but bad; the stream goes on.  May call
 *         video_codec_session_fail() for what can't be recovered from.
 * @next_picture: make the next frame in output order the current one.
 *         1: there is one, @format, and it stays the current one until
 *         emit() or flush(); 0: needs more input; -ENODATA: a drain is
 *         complete, the codec is ready for new input.
 * @emit: write the current frame to @out with
 *         video_codec_output_write_rows(), set @out->timestamp and
 *         @out->corrupt, and let go of the frame.  @out->width/height are
 *         those of the frame's format; @out->fourcc is any of the codec's
 *         raw formats.  @out is a copy that is the worker's, but follow its
 *         pointers only through write_rows().  false if write_rows() said
 *         false: keep the frame, it will be emitted to another output.
 * @flush: forget input and frames, keep parameter sets.
 */
struct VideoCodecClass {
    ObjectClass parent_class;

    const VideoCodecCaps *(*get_caps)(VideoCodec *codec);

    void *(*start)(VideoCodec *codec, VideoCodecSession *s,
                   const VideoCodecParams *params, Error **errp);
    void (*stop)(void *priv);
    int (*decode)(void *priv, const VideoCodecInput *in);
    int (*next_picture)(void *priv, VideoCodecFormat *format);
    bool (*emit)(void *priv, VideoCodecOutput *out);
    void (*flush)(void *priv);
};

/**
 * video_codec_session_fail: the stream can't go on.
 * For the worker only; @fmt... is the reason, for a human.  Nothing is called
 * after the current callback but @stop.
 */
void video_codec_session_fail(VideoCodecSession *s, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/**
 * video_codec_session_interrupted: should a long wait in a callback end?
 * True when a flush or close is waiting for the worker.  Any thread.
 */
bool video_codec_session_interrupted(VideoCodecSession *s);

/**
 * video_codec_output_write_rows: copy pixels to guest memory.
 * @s: the session whose worker calls
 * @out: the output that emit() got
 * @plane: index into @out->planes
 * @row: first row to write
 * @n_rows: number of rows; all of them lie within the plane
 * @src: first row in private memory
 * @src_stride: distance of two rows there in bytes
 * @bytes: bytes of each row, at most the plane's stride
 *
 * The only way in which a worker writes to guest memory.  Call it for strips
 * that fit the cache, not for whole frames, so that a reset has not to wait.
 *
 * Returns: false if @out was taken back: stop and return from emit().
 */
bool video_codec_output_write_rows(VideoCodecSession *s, VideoCodecOutput *out,
                                   unsigned plane, uint32_t row,
                                   uint32_t n_rows, const uint8_t *src,
                                   size_t src_stride, size_t bytes);

#endif /* SYSTEM_VIDEO_CODEC_H */
