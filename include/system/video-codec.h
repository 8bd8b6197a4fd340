/*
 * Video codec backends
 *
 * The only door between the guest side of a video device and a codec.  The
 * guest side owns streams, queues and guest memory; a codec owns whatever it
 * needs to turn coded bytes into pixels, or pixels into coded bytes.  They
 * exchange messages:
 *
 *   device context (BQL)                    worker thread of the session
 *   --------------------                    ----------------------------
 *   video_codec_session_queue_input()  -->  VideoCodecImpl.submit()
 *   video_codec_session_queue_output() -->  VideoCodecImpl.emit()
 *   VideoCodecSessionOps callbacks     <--  completions, through one BH
 *
 * A session looks like a V4L2 stateful decoder or encoder: an input queue, an
 * output queue, drain, flush, and events.  Nothing in here knows of virtio, of
 * any guest's wire format, or of any codec library.
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
#define TYPE_VIDEO_CODEC_VAAPI "video-codec-vaapi"

/* NV12 and P010 have two planes, YUV420 three, XRGB8888 one. */
#define VIDEO_MAX_PLANES 3

/* Those four */
#define VIDEO_MAX_RAWS 4

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

typedef enum VideoCodecDirection {
    VIDEO_DECODE,
    VIDEO_ENCODE,
} VideoCodecDirection;

/**
 * VideoControl: what can be set on an encoder.
 * @VIDEO_CONTROL_BITRATE: bits per second
 * @VIDEO_CONTROL_PROFILE, @VIDEO_CONTROL_LEVEL: of the coded format, numbered
 *      as in the enum v4l2_mpeg_video_<format>_profile or _level
 * @VIDEO_CONTROL_BITRATE_MODE: a VideoBitrateMode
 * @VIDEO_CONTROL_GOP_SIZE: frames from one key frame to the next
 * @VIDEO_CONTROL_B_FRAMES: B frames between two others; 0: coding order is
 *      presentation order
 * @VIDEO_CONTROL_FORCE_KEY_FRAME: 1: the next frame is a key frame; is 0 again
 *      behind it
 * @VIDEO_CONTROL_MIN_QP, @VIDEO_CONTROL_MAX_QP: quantiser, in the coded
 *      format's own units
 * @VIDEO_CONTROL_PREPEND_HEADERS: 1: parameter sets go before each key frame;
 *      0: before the first one
 */
typedef enum VideoControl {
    VIDEO_CONTROL_BITRATE,
    VIDEO_CONTROL_PROFILE,
    VIDEO_CONTROL_LEVEL,
    VIDEO_CONTROL_BITRATE_MODE,
    VIDEO_CONTROL_GOP_SIZE,
    VIDEO_CONTROL_B_FRAMES,
    VIDEO_CONTROL_FORCE_KEY_FRAME,
    VIDEO_CONTROL_MIN_QP,
    VIDEO_CONTROL_MAX_QP,
    VIDEO_CONTROL_PREPEND_HEADERS,
    VIDEO_CONTROL__MAX,
} VideoControl;

/* Numbered as enum v4l2_mpeg_video_bitrate_mode */
typedef enum VideoBitrateMode {
    VIDEO_BITRATE_MODE_VBR,     /* the average is kept, peaks may be twice it */
    VIDEO_BITRATE_MODE_CBR,     /* each second takes what the bitrate says */
} VideoBitrateMode;

/** VideoControls: a value for each VideoControl. */
typedef struct VideoControls {
    uint32_t value[VIDEO_CONTROL__MAX];
} VideoControls;

/**
 * VideoControlCaps: the values that a control can have.
 * @supported: the encoder has it
 * @menu: for PROFILE, LEVEL and BITRATE_MODE: bit i is set if i is a value
 * @min, @max: for all others
 * @def: the value at the start
 */
typedef struct VideoControlCaps {
    bool supported;
    uint32_t menu;
    uint32_t min, max;
    uint32_t def;
} VideoControlCaps;

/** VideoRect: a rectangle within a frame, in pixels. */
typedef struct VideoRect {
    uint32_t left, top, width, height;
} VideoRect;

/** VideoFrameLimits: the smallest and the largest frame, in pixels. */
typedef struct VideoFrameLimits {
    uint32_t min_width, min_height;
    uint32_t max_width, max_height;
} VideoFrameLimits;

/**
 * VideoCodedCaps: what a codec can do with one coded format.
 * @format: the coded format
 * @raw_mask: bit i is set if frames can be delivered, or taken, as
 *            VideoCodecCaps.raws[i]
 * @max_width, @max_height: largest frame in pixels that the codec takes
 * @min_width, @min_height: smallest frame in pixels
 * @deep: of frames of 10 bits (P010), if they have tighter limits; a
 *        max_width of 0: they have the same
 * Encoders only:
 * @size_step: width and height must be multiples of it
 * @controls: what can be set
 */
typedef struct VideoCodedCaps {
    VideoCodedFormat format;
    uint32_t raw_mask;
    uint32_t max_width, max_height;
    uint32_t min_width, min_height;
    VideoFrameLimits deep;
    uint32_t size_step;
    VideoControlCaps controls[VIDEO_CONTROL__MAX];
} VideoCodedCaps;

/**
 * VideoCodecCaps: what a codec object can do.  Asked from the codec library
 * or the driver, never assumed; constant from the object's completion on.
 * @decoders: coded formats that can be decoded, preferred ones first
 * @encoders: coded formats that can be encoded, preferred ones first
 * @raws: DRM fourccs (linear) of the raw formats, preferred ones first
 */
typedef struct VideoCodecCaps {
    VideoCodedCaps decoders[VIDEO_CODED__MAX];
    unsigned n_decoders;
    VideoCodedCaps encoders[VIDEO_CODED__MAX];
    unsigned n_encoders;
    uint32_t raws[VIDEO_MAX_RAWS];
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
 * input or output that refers to it is queued on a session.
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

typedef enum VideoInputType {
    VIDEO_INPUT_CODED,          /* a coded buffer as V4L2 defines it */
    VIDEO_INPUT_RAW,            /* a frame */
    VIDEO_INPUT_DRAIN,          /* the session's own, see drain() */
    VIDEO_INPUT_CONTROLS,       /* the session's own, see set_controls() */
} VideoInputType;

/**
 * VideoCodecInput: one coded buffer or one frame.
 *
 * Made by video_codec_input_new() or video_codec_input_new_raw();
 * queue_input() gives it to the session for good.  The guest side sees it at
 * most once more, in VideoCodecSessionOps.input_done(); then the session frees
 * it.
 *
 * @timestamp: any number; what is made from this input carries it
 * @opaque: for the guest side
 * @error: set by the session: the codec could not make sense of the data, or
 *         not encode the frame
 *
 * VIDEO_INPUT_CODED:
 * @data: a private copy of the coded bytes, with zero bytes behind them
 *        (VIDEO_CODEC_INPUT_PADDING)
 * @size: bytes in @data without the padding
 *
 * VIDEO_INPUT_RAW; the pixels stay in guest memory, and a guest may change
 * them at any time:
 * @fourcc: raw format of the frame
 * @width, @height: of the picture to encode, as in VideoCodecParams
 * @left, @top: where the picture starts within the planes, in pixels; even
 * @planes, @n_planes: where the pixels are
 */
typedef struct VideoCodecInput {
    VideoInputType type;
    uint64_t timestamp;
    void *opaque;
    bool error;

    uint8_t *data;
    size_t size;

    uint32_t fourcc;
    uint32_t width, height;
    uint32_t left, top;
    VideoCodecPlane planes[VIDEO_MAX_PLANES];
    unsigned n_planes;

    VideoControls controls;     /* VIDEO_INPUT_CONTROLS */
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

/** video_codec_input_new_raw: an input for a frame, all zero but its type. */
VideoCodecInput *video_codec_input_new_raw(void);
void video_codec_input_free(VideoCodecInput *in);

typedef enum VideoFrameType {
    VIDEO_FRAME_UNKNOWN,        /* of a decoder */
    VIDEO_FRAME_KEY,            /* decoding can start here */
    VIDEO_FRAME_P,
    VIDEO_FRAME_B,
} VideoFrameType;

/**
 * VideoCodecOutput: room for one frame or one coded buffer, and then what is
 * in it.
 *
 * The guest side fills in the first part and gives it to the session with
 * queue_output(); it comes back, still owned by the guest side, through
 * VideoCodecSessionOps.output_done() or
 * video_codec_session_revoke_outputs().
 *
 * @fourcc: raw format that the frame is to have; 0 for a coded buffer
 * @width, @height: frame size; the codec writes no more than that.  0 for a
 *         coded buffer
 * @planes, @n_planes: where it goes.  A coded buffer is one plane of one row,
 *         whose stride is the size of the buffer
 * @opaque: for the guest side
 *
 * Set by the session:
 * @touched: the codec has had it, so its memory may have been written
 *
 * Result, valid in output_done():
 * @timestamp: of the first input that it was made from
 * @corrupt: the frame may show errors; the coded data did not fit
 * @size: bytes of coded data; 0 for a frame
 * @frame_type: of an encoder
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
    uint32_t size;
    VideoFrameType frame_type;

    QTAILQ_ENTRY(VideoCodecOutput) next;
} VideoCodecOutput;

/**
 * VideoMemory: host memory that a guest can make us hold, and its limit.
 *
 * One for each device: what the guest side holds and the frames of all its
 * codec sessions come out of it.  Counted by references, since a session may
 * outlive the device.  All functions may be called from any thread.
 */
typedef struct VideoMemory VideoMemory;

/** video_memory_new: @max bytes in all; one reference is the caller's. */
VideoMemory *video_memory_new(uint64_t max);
VideoMemory *video_memory_ref(VideoMemory *memory);
void video_memory_unref(VideoMemory *memory);

/** video_memory_take: false, and nothing taken, if that is too much. */
bool video_memory_take(VideoMemory *memory, uint64_t bytes);
void video_memory_give(VideoMemory *memory, uint64_t bytes);
uint64_t video_memory_used(VideoMemory *memory);

/** video_memory_lose: the same as taking it, but it can't be given back. */
bool video_memory_lose(VideoMemory *memory, uint64_t bytes);
/** video_memory_lost: bytes that were lost so, part of those that are used. */
uint64_t video_memory_lost(VideoMemory *memory);

/**
 * video_memory_users: how many references there are.  Each session has one
 * until its worker has ended.
 */
unsigned video_memory_users(VideoMemory *memory);

typedef struct VideoCodecSession VideoCodecSession;

/**
 * VideoCodecParams: what a session is opened with.
 * @direction: decode or encode
 * @coded: the coded format
 * Decoders only:
 * @max_width, @max_height: frames larger than that are a stream error
 * @deep_max_width, @deep_max_height: the same of frames of 10 bits
 * Encoders only; another size, format or frame rate needs another session:
 * @fourcc: raw format of the frames
 * @width, @height: of the picture in pixels, within the codec's
 *         VideoCodedCaps
 * @rate_num, @rate_den: frames per second, for rate control
 * @controls: their values at the start
 */
typedef struct VideoCodecParams {
    VideoCodecDirection direction;
    VideoCodedFormat coded;
    uint32_t max_width, max_height;
    uint32_t deep_max_width, deep_max_height;
    uint32_t fourcc;
    uint32_t width, height;
    uint32_t rate_num, rate_den;
    VideoControls controls;
} VideoCodecParams;

/**
 * VideoCodecSessionOps: what a session has to say.  All are called from a BH
 * in the main loop with the BQL held, in the order in which things happened,
 * never while the session is paused and never after
 * video_codec_session_close() but for @closed.
 *
 * @input_done: @in was taken by the codec, @in->error says if it was bad.
 *              The codec does not look at its memory any more.
 * @output_done: @out holds a frame or coded data
 * @format_changed: the next frame has another format than those before (the
 *              first frame always counts as such, and its format is told as
 *              soon as the codec knows it).  The session makes no
 *              more output until video_codec_session_resume().  Decoders only.
 * @drained: everything queued before video_codec_session_drain() has been
 *              worked on and all that was made of it went to outputs
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
 * video_codec_settle_controls: what an encoder makes of controls.
 * Values that don't go together, or not with the picture, become those that
 * will be encoded: a level that is too low for the size is raised, say.
 * @params: of an encoder's session; its own controls do not count
 * @controls: each within its VideoControlCaps
 *
 * Main thread.
 */
void video_codec_settle_controls(VideoCodec *codec,
                                 const VideoCodecParams *params,
                                 VideoControls *controls);

/**
 * video_codec_session_open: start a session and its worker thread.
 * @codec: keeps a reference until the session has ended
 * @memory: what the codec's own frames come out of; keeps a reference, too
 * @params: copied
 * @ops: must outlive the session
 * @opaque: passed to @ops
 *
 * The codec is opened by the worker; its failure comes as ops->failed().
 */
VideoCodecSession *video_codec_session_open(VideoCodec *codec,
                                            VideoMemory *memory,
                                            const VideoCodecParams *params,
                                            const VideoCodecSessionOps *ops,
                                            void *opaque);

/**
 * video_codec_session_queue_input: give @in to the session.
 * The memory behind a raw input stays in place until ops->input_done(),
 * video_codec_session_flush() or video_codec_session_close().
 */
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
 * video_codec_session_set_controls: change an encoder's controls.
 * @controls: all of them; copied
 * @now: for all frames that the codec has not taken yet, else for those that
 *       are queued from now on
 */
void video_codec_session_set_controls(VideoCodecSession *s,
                                      const VideoControls *controls, bool now);

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
 * ops->input_done() was not called are gone, and so are drains; the worker
 * does not look at their memory any more.  Controls that were set stay set.
 * Outputs stay queued, parameter sets survive.  Waits for the copy of a few
 * rows at most, never for the codec.
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
 * VideoCodecStats: what a session tells of its work.
 * @engine: what really does it, for humans: library and codec, or driver
 * @busy_ns: time spent in the codec in nanoseconds
 * @copied: bytes of pixels that the CPU has copied to or from guest memory
 */
typedef struct VideoCodecStats {
    char engine[96];
    uint64_t busy_ns;
    uint64_t copied;
} VideoCodecStats;

/** video_codec_session_get_stats: as of now; never waits for the codec. */
void video_codec_session_get_stats(VideoCodecSession *s,
                                   VideoCodecStats *stats);

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
 * VideoCodecImpl: how a codec decodes, or encodes.
 *
 * All run in the session's worker, without any lock, so they may take their
 * time.  A worker calls, in a loop: next() until it says that there is
 * nothing, then submit() with the next input.
 *
 * @start: open the codec. Returns its state, passed as @priv to all others,
 *         or NULL with @errp set.
 * @stop: free it.
 * @submit: take one input: coded data for a decoder, a frame for an encoder,
 *         or with @in NULL: there is no more, make the rest available (a
 *         drain).  Pixels of a frame are read with
 *         video_codec_input_read_rows().
 *         0: taken; -EAGAIN: not taken, ask next() first; other negative
 *         errno: taken, but bad; the stream goes on.  After read_rows() said
 *         false any value will do.  May call video_codec_session_fail() for
 *         what can't be recovered from.
 * @next: make the next frame in output order, or the next coded buffer in
 *         coding order, the current one.
 *         1: there is one, and it stays the current one until emit() or
 *         flush(); a decoder says its @format, an encoder leaves that alone.
 *         0: needs more input; a decoder whose first frame is still to come
 *         sets @format as soon as the headers have said it.  -ENODATA: a drain
 *         is complete, the codec is ready for new input.
 * @emit: write the current frame or coded buffer to @out with
 *         video_codec_output_write_rows(), set the result part of @out, and let
 *         go of it.  For a decoder @out->width/height are those of the frame's
 *         format, and @out->fourcc is any of the codec's raw formats.
 *         @out is a copy that is the worker's, but follow its pointers only
 *         through write_rows().  false if write_rows() said false: keep what
 *         is current, it will be emitted to another output.
 * @flush: forget input and what was made of it, keep parameter sets and
 *         controls.  An encoder's next frame is a key frame, as after a drain
 *         and after coded data that did not fit.
 * @set_controls: encoders only: from the next frame on.  FORCE_KEY_FRAME stays
 *         in force until there is one, even if it is 0 in the next call.
 * @lost: encoders only: coded data that was emitted has reached nobody, so the
 *         next frame is a key frame, with all parameter sets.
 */
typedef struct VideoCodecImpl {
    void *(*start)(VideoCodec *codec, VideoCodecSession *s,
                   const VideoCodecParams *params, Error **errp);
    void (*stop)(void *priv);
    int (*submit)(void *priv, const VideoCodecInput *in);
    int (*next)(void *priv, VideoCodecFormat *format);
    bool (*emit)(void *priv, VideoCodecOutput *out);
    void (*flush)(void *priv);
    void (*set_controls)(void *priv, const VideoControls *controls);
    void (*lost)(void *priv);
} VideoCodecImpl;

/**
 * VideoCodecClass: what a codec object is.
 * @get_caps: see video_codec_get_caps(); runs in the main thread
 * @settle_controls: see video_codec_settle_controls(); NULL: all values go
 *              together
 * @decoder, @encoder: NULL if get_caps() offers none
 */
struct VideoCodecClass {
    ObjectClass parent_class;

    const VideoCodecCaps *(*get_caps)(VideoCodec *codec);
    void (*settle_controls)(VideoCodec *codec, const VideoCodecParams *params,
                            VideoControls *controls);
    const VideoCodecImpl *decoder;
    const VideoCodecImpl *encoder;
};

/**
 * video_codec_session_fail: the stream can't go on.
 * For the worker, and threads that work for it; @fmt... is the reason, for a
 * human.  Nothing is called after the current callback but @stop.  What the
 * callback has worked on is answered first: an input with an error.
 */
void video_codec_session_fail(VideoCodecSession *s, const char *fmt, ...)
    G_GNUC_PRINTF(2, 3);

/**
 * video_codec_session_take_memory: before a codec makes frames for itself.
 * @bytes: that they take, or an estimate where the codec does not tell
 *
 * Any thread that works for the session.  What was taken must be given back
 * before VideoCodecImpl.stop() returns.
 *
 * Returns: false if the device's limit is reached; the session has failed then.
 */
bool video_codec_session_take_memory(VideoCodecSession *s, uint64_t bytes);

/**
 * video_codec_session_lose_memory: before a library leaks @bytes.
 * As video_codec_session_take_memory(), but they count for as long as the
 * device lives, so that a guest can't have any amount leaked.
 */
bool video_codec_session_lose_memory(VideoCodecSession *s, uint64_t bytes);

/** video_codec_session_give_memory: @bytes of it are free again. Any thread. */
void video_codec_session_give_memory(VideoCodecSession *s, uint64_t bytes);

/**
 * video_codec_session_set_engine: say what really does the work.
 * For the worker only, in start() or when it changes.
 */
void video_codec_session_set_engine(VideoCodecSession *s, const char *fmt, ...)
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
 * The only way in which the CPU writes to guest memory.  Call it for strips
 * that fit the cache, not for whole frames, so that a reset has not to wait.
 * Coded data, which is one row, goes in one call.
 *
 * Returns: false if @out was taken back: stop and return from emit().
 */
bool video_codec_output_write_rows(VideoCodecSession *s, VideoCodecOutput *out,
                                   unsigned plane, uint32_t row,
                                   uint32_t n_rows, const uint8_t *src,
                                   size_t src_stride, size_t bytes);

/*
 * For how long the main loop waits for devices that use guest memory, in
 * milliseconds: of all sessions together, when it waits for many at once
 */
#define VIDEO_CODEC_DIRECT_MS 60

/**
 * video_codec_output_begin_direct: let a device write to guest memory.
 * @s: the session whose worker calls
 * @out: the output that emit() got
 *
 * From now on until video_codec_output_end_direct() what the planes of @out
 * refer to is nobody else's: who takes @out back, or pauses the session, waits.
 * They wait for VIDEO_CODEC_DIRECT_MS at most, in all: with many sessions that
 * hang it is no longer than with one.  A device that has not finished by then
 * counts as lost, and so does the session; it may still write, but to nothing
 * else.  As that can have happened at any
 * moment, who is to look at the planes' VideoCodecMem does so between
 * video_codec_session_hold_direct() and video_codec_session_release_direct(),
 * and who is to start the device asks video_codec_session_is_overdue() first.
 * video_codec_output_write_rows() must not be called in between.
 *
 * Returns: false if @out was taken back: stop and return from emit().
 */
bool video_codec_output_begin_direct(VideoCodecSession *s,
                                     VideoCodecOutput *out);

/**
 * video_codec_session_is_overdue: has somebody waited for as long as they do?
 * For the worker, between begin_direct() and end_direct(): as long as this is
 * false a device may take its time.  After that it must not be started.
 */
bool video_codec_session_is_overdue(VideoCodecSession *s);

/**
 * video_codec_session_hold_direct: let nobody give up waiting.
 * For the worker, between begin_direct() and end_direct(): until
 * video_codec_session_release_direct() the memory stays in place.  The main
 * loop may wait for this, whatever VIDEO_CODEC_DIRECT_MS says: so nothing in
 * between may call a driver, nor any other video_codec_ function.
 *
 * Returns: false if somebody has given up, and there is nothing to release:
 * call end_direct().
 */
bool video_codec_session_hold_direct(VideoCodecSession *s);
void video_codec_session_release_direct(VideoCodecSession *s);

/**
 * video_codec_output_end_direct: the device does not write any more.
 *
 * Returns: false if @out is being taken back, so return from emit(); or if it
 * took too long, and then the session has failed.
 */
bool video_codec_output_end_direct(VideoCodecSession *s,
                                   VideoCodecOutput *out);

/**
 * video_codec_input_read_rows: copy pixels from guest memory.
 * @s: the session whose worker calls
 * @in: the input that submit() got
 * @plane: index into @in->planes
 * @row: first row to read
 * @n_rows: number of rows; all of them lie within the plane
 * @offset: of the first byte in each row
 * @dst: first row in private memory
 * @dst_stride: distance of two rows there in bytes
 * @bytes: bytes of each row; @offset + @bytes is at most the plane's stride
 *
 * The only way in which the CPU reads pixels in guest memory; for strips that
 * fit the cache, too.  The guest may write meanwhile: read each byte once.
 *
 * Returns: false if @in was canceled: stop and return from submit().
 */
bool video_codec_input_read_rows(VideoCodecSession *s,
                                 const VideoCodecInput *in, unsigned plane,
                                 uint32_t row, uint32_t n_rows, size_t offset,
                                 uint8_t *dst, size_t dst_stride,
                                 size_t bytes);

/**
 * video_codec_input_begin_direct: let a device read guest memory.
 * @s: the session whose worker calls
 * @in: the input that submit() got
 *
 * As video_codec_output_begin_direct(): who cancels @in waits.  The guest may
 * write meanwhile, so the device makes a copy and does nothing but that.
 * video_codec_input_read_rows() must not be called in between.
 *
 * Returns: false if @in was canceled: stop and return from submit().
 */
bool video_codec_input_begin_direct(VideoCodecSession *s,
                                    const VideoCodecInput *in);

/**
 * video_codec_input_end_direct: the device does not read any more.
 *
 * Returns: false if @in is being canceled, so return from submit(); or if it
 * took too long, and then the session has failed.
 */
bool video_codec_input_end_direct(VideoCodecSession *s,
                                  const VideoCodecInput *in);

#endif /* SYSTEM_VIDEO_CODEC_H */
