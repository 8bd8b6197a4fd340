/*
 * The script of the video-codec-test backend
 *
 * What goes into this codec is a list of instructions, so that a protocol
 * test decides with its own data what the codec does and when.  Codec and
 * tests both include this file; it needs nothing of QEMU but osdep.h.
 *
 * Everything is deterministic: instructions of a buffer run in order, buffers
 * in the order in which they were queued.
 *
 * The codec decodes and encodes H264 with all its raw formats (NV12, YUV420,
 * P010, XRGB8888), VP8 with NV12 only, and VP9 with NV12 only, which can't be
 * started: opening a session for it fails.  All up to VIDEO_TEST_MAX_SIZE
 * pixels in either direction.
 *
 * Decoder: a coded buffer is instructions and nothing else.  It makes frames
 * where they say so.
 *
 * Encoder: from VIDEO_TEST_MIN_SIZE pixels on, in steps of
 * VIDEO_TEST_SIZE_STEP.  Each frame makes one coded buffer, which begins with a
 * VideoTestCoded.  The frame may hold instructions: its visible bytes of plane
 * 0, row by row without what lies between rows, are instructions as long as
 * they begin with the magic, VIDEO_TEST_MAX_INSNS at most.  Pixels are read
 * before the first of them runs.  A key frame is the first of the session, each
 * one that was asked for, the first after GOP_SIZE frames without one, the
 * first after a drain, a flush, and coded data that did not fit; all others are
 * P frames.  H264 has all controls; VP8 and VP9 have no B_FRAMES and no
 * PREPEND_HEADERS, and VP8 has no LEVEL.  But for GOP_SIZE and FORCE_KEY_FRAME
 * their values do nothing but show up in VideoTestCoded; menus have holes, see
 * VIDEO_TEST_PROFILES_H264 and others.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SYSTEM_VIDEO_CODEC_TEST_H
#define SYSTEM_VIDEO_CODEC_TEST_H

#define VIDEO_TEST_MAGIC      0x72637376u   /* "vscr" */
#define VIDEO_TEST_MAX_SIZE   4096
#define VIDEO_TEST_VP8_MAX_SIZE 2048        /* decoded; all others: MAX_SIZE */
#define VIDEO_TEST_DEEP_MAX_SIZE 1024       /* H264 of 10 bits, decoded */
#define VIDEO_TEST_MIN_SIZE   16
#define VIDEO_TEST_SIZE_STEP  2
#define VIDEO_TEST_MAX_FRAMES 64
#define VIDEO_TEST_MAX_WAIT   60000         /* ms, for each instruction */
#define VIDEO_TEST_MAX_INSNS  8             /* of a frame to encode */
#define VIDEO_TEST_MAX_CODED  (1024 * 1024) /* bytes of VIDEO_TEST_CODED */

/* Menus and ranges of the encoders' controls; bit i: value i of V4L2's enum */
#define VIDEO_TEST_PROFILES_H264 0x16u      /* 1, 2, 4 */
#define VIDEO_TEST_LEVELS_H264   0x4f00u    /* 8 to 11, 14 */
#define VIDEO_TEST_PROFILES_VP8  0x9u       /* 0, 3 */
#define VIDEO_TEST_PROFILES_VP9  0x5u       /* 0, 2 */
#define VIDEO_TEST_LEVELS_VP9    0x70u      /* 4 to 6 */
#define VIDEO_TEST_MIN_BITRATE   10000
#define VIDEO_TEST_MAX_BITRATE   100000000
#define VIDEO_TEST_DEF_BITRATE   2000000
#define VIDEO_TEST_MAX_GOP       500
#define VIDEO_TEST_DEF_GOP       60
#define VIDEO_TEST_MAX_B_FRAMES  4
#define VIDEO_TEST_MAX_QP        51         /* H264; the others have 63 */

#define VIDEO_TEST_FOURCC(a, b, c, d) \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | \
     (uint32_t)(d) << 24)
#define VIDEO_TEST_NV12     VIDEO_TEST_FOURCC('N', 'V', '1', '2')
#define VIDEO_TEST_YUV420   VIDEO_TEST_FOURCC('Y', 'U', '1', '2')
#define VIDEO_TEST_P010     VIDEO_TEST_FOURCC('P', '0', '1', '0')
#define VIDEO_TEST_XRGB8888 VIDEO_TEST_FOURCC('X', 'R', '2', '4')

/**
 * VideoTestOp: what an instruction does.
 * @VIDEO_TEST_NOP: nothing.  A buffer of only this makes no frame.
 *      Of an encoder's frame it changes nothing.
 * @VIDEO_TEST_FORMAT: decoder only: (width, height, left, top, crop width,
 *      crop height, bits per sample 8 or 10): the format of all frames from
 *      here on, the parameter set of this codec: survives drain and flush.
 *      Frames waiting for their turn come out first.
 * @VIDEO_TEST_FRAME: decoder only: (value, position, flags): a frame that is
 *      filled with video_test_byte(value, ...).  Position is its place in
 *      presentation order, lower first; it counts only with a reorder depth.
 *      Bad data if no format was set before.
 * @VIDEO_TEST_REORDER: (depth): hold this many frames or coded buffers back;
 *      the one of lowest position comes out when there is one more.  0 at the
 *      start.
 * @VIDEO_TEST_BAD: the rest of the buffer is bad data: submit() fails.  A frame
 *      makes no coded buffer.
 * @VIDEO_TEST_AGAIN: (n): submit() says -EAGAIN this many times, then goes on
 *      behind this instruction; what is ready is fetched meanwhile.
 * @VIDEO_TEST_FAIL: the session fails; args hold the reason, a string.
 * @VIDEO_TEST_DELAY: (ms): wait, unless interrupted.
 * @VIDEO_TEST_HANG: wait until interrupted, VIDEO_TEST_MAX_WAIT at most.
 * @VIDEO_TEST_HANG_HARD: (ms): wait and ignore that someone wants to go on.
 * @VIDEO_TEST_SLOW_EMIT: (ms): from here on wait this long before each strip
 *      of rows, or coded buffer, that is written to an output.
 * @VIDEO_TEST_SLOW_READ: encoder only: (ms): from the next frame on wait this
 *      long before each strip of rows that is read.
 * @VIDEO_TEST_CODED: encoder only: (size, position, flags, type): the coded
 *      buffer of this frame has @size bytes, but always a VideoTestCoded and
 *      never more than VIDEO_TEST_MAX_CODED; behind it come
 *      video_test_byte(sequence, 0, 0, offset).  Position is its place in
 *      coding order, with a reorder depth; without this instruction it is
 *      the sequence number.  Type is a VideoFrameType; 0: as it is.
 * @VIDEO_TEST_MEMORY: decoder only: (bytes): take them from the device's
 *      memory until the session ends
 * @VIDEO_TEST_SKIP: encoder only: the frame makes no coded buffer, and if it
 *      was to be a key frame the next one is.
 * @VIDEO_TEST_DIRECT: (ms, late): from here on a frame is written as a GPU does
 *      it: at once, and then @ms milliseconds pass; 0: no more.  Of an encoder:
 *      from the next frame on it is read so, before and after that time, and
 *      the session fails if it is not the same.  @late is how many milliseconds
 *      pass first, with the memory already taken.
 * @VIDEO_TEST_SLOW_STOP: decoder only: (ms): when the session ends, wait this
 *      long, whatever anybody wants
 */
typedef enum VideoTestOp {
    VIDEO_TEST_NOP,
    VIDEO_TEST_FORMAT,
    VIDEO_TEST_FRAME,
    VIDEO_TEST_REORDER,
    VIDEO_TEST_BAD,
    VIDEO_TEST_AGAIN,
    VIDEO_TEST_FAIL,
    VIDEO_TEST_DELAY,
    VIDEO_TEST_HANG,
    VIDEO_TEST_HANG_HARD,
    VIDEO_TEST_SLOW_EMIT,
    VIDEO_TEST_SLOW_READ,
    VIDEO_TEST_CODED,
    VIDEO_TEST_SKIP,
    VIDEO_TEST_MEMORY,
    VIDEO_TEST_DIRECT,
    VIDEO_TEST_SLOW_STOP,
} VideoTestOp;

/* Flag of VIDEO_TEST_FRAME and _CODED: the result is marked as corrupt. */
#define VIDEO_TEST_FRAME_CORRUPT 1u

/* Rows that are written to an output, or read from an input, at a time. */
#define VIDEO_TEST_STRIP 16

/**
 * VideoTestInsn: one instruction; all fields little endian.
 * @magic: VIDEO_TEST_MAGIC, else the data is bad
 * @op: a VideoTestOp
 * @args: see VideoTestOp; those that an op does not use are ignored
 */
typedef struct VideoTestInsn {
    uint32_t magic;
    uint32_t op;
    uint32_t args[8];
} VideoTestInsn;

#define VIDEO_TEST_CODED_MAGIC 0x646f6376u  /* "vcod" */
#define VIDEO_TEST_N_CONTROLS  10

/**
 * VideoTestCoded: what a coded buffer begins with; all fields little endian.
 * @magic: VIDEO_TEST_CODED_MAGIC
 * @size: of the coded buffer in bytes
 * @sequence: frames that the session has got before this one
 * @type: a VideoFrameType: 1 key, 2 P, 3 B
 * @timestamp: of the frame
 * @fourcc, @width, @height: of the picture that was encoded
 * @checksum: of its pixels, see video_test_checksum()
 * @controls: their values at this frame, by VideoControl; of FORCE_KEY_FRAME:
 *            whether this frame was asked to be one
 */
typedef struct VideoTestCoded {
    uint32_t magic;
    uint32_t size;
    uint32_t sequence;
    uint32_t type;
    uint64_t timestamp;
    uint32_t fourcc;
    uint32_t width, height;
    uint32_t checksum;
    uint32_t controls[VIDEO_TEST_N_CONTROLS];
} VideoTestCoded;

/**
 * video_test_checksum: add bytes to a checksum (FNV-1a).
 * @sum: VIDEO_TEST_CHECKSUM_INIT at the start
 * @data, @size: visible bytes of one row; row by row, plane by plane
 */
#define VIDEO_TEST_CHECKSUM_INIT 2166136261u

static inline uint32_t video_test_checksum(uint32_t sum, const uint8_t *data,
                                           size_t size)
{
    for (size_t i = 0; i < size; i++) {
        sum = (sum ^ data[i]) * 16777619u;
    }
    return sum;
}

/** video_test_n_planes: number of planes of a frame of format @fourcc. */
static inline unsigned video_test_n_planes(uint32_t fourcc)
{
    return fourcc == VIDEO_TEST_XRGB8888 ? 1 :
           fourcc == VIDEO_TEST_YUV420 ? 3 : 2;
}

/** video_test_row_bytes: bytes of a row of @plane that hold pixels. */
static inline uint32_t video_test_row_bytes(uint32_t fourcc, unsigned plane,
                                            uint32_t width)
{
    uint32_t half = (width + 1) / 2;

    switch (fourcc) {
    case VIDEO_TEST_XRGB8888:
        return width * 4;
    case VIDEO_TEST_YUV420:
        return plane ? half : width;
    case VIDEO_TEST_P010:
        return plane ? half * 4 : width * 2;
    default:
        return plane ? half * 2 : width;
    }
}

/** video_test_rows: rows of @plane that hold pixels. */
static inline uint32_t video_test_rows(unsigned plane, uint32_t height)
{
    return plane ? (height + 1) / 2 : height;
}

/**
 * video_test_byte: what a frame holds.
 * @value: of the VIDEO_TEST_FRAME instruction
 * @plane, @row, @column: which byte of the frame
 *
 * Differs from place to place, so that a wrong stride or offset shows.
 */
static inline uint8_t video_test_byte(uint32_t value, unsigned plane,
                                      uint32_t row, uint32_t column)
{
    return value + 85 * plane + 7 * row + column;
}

#endif /* SYSTEM_VIDEO_CODEC_TEST_H */
