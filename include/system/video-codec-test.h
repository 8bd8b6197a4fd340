/*
 * The script of the video-codec-test backend
 *
 * A coded buffer for this codec is a list of instructions, so that a protocol
 * test decides with its own data what the codec does and when.  Codec and
 * tests both include this file; it needs nothing of QEMU but osdep.h.
 *
 * Everything is deterministic: instructions of a buffer run in order, buffers
 * in the order in which they were queued.
 *
 * The codec offers H264 with all its raw formats (NV12, YUV420, P010,
 * XRGB8888), VP8 with NV12 only, and VP9 with NV12 only, which can't be
 * started: opening a session for it fails.  All up to VIDEO_TEST_MAX_SIZE
 * pixels in either direction.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef SYSTEM_VIDEO_CODEC_TEST_H
#define SYSTEM_VIDEO_CODEC_TEST_H

#define VIDEO_TEST_MAGIC      0x72637376u   /* "vscr" */
#define VIDEO_TEST_MAX_SIZE   4096
#define VIDEO_TEST_MAX_FRAMES 64
#define VIDEO_TEST_MAX_WAIT   60000         /* ms, for each instruction */

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
 * @VIDEO_TEST_FORMAT: (width, height, left, top, crop width, crop height,
 *      bits per sample 8 or 10): the format of all frames from here on, the
 *      parameter set of this codec: survives drain and flush.  Frames waiting
 *      for their turn come out first.
 * @VIDEO_TEST_FRAME: (value, position, flags): a frame that is filled with
 *      video_test_byte(value, ...).  Position is its place in presentation
 *      order, lower first; it counts only with a reorder depth.  Bad data if
 *      no format was set before.
 * @VIDEO_TEST_REORDER: (depth): hold this many frames back; the one of lowest
 *      position comes out when there is one more.  0 at the start.
 * @VIDEO_TEST_BAD: the rest of the buffer is bad data: decode() fails.
 * @VIDEO_TEST_AGAIN: (n): decode() says -EAGAIN this many times, then goes on
 *      behind this instruction; frames that are ready are fetched meanwhile.
 * @VIDEO_TEST_FAIL: the session fails; args hold the reason, a string.
 * @VIDEO_TEST_DELAY: (ms): wait, unless interrupted.
 * @VIDEO_TEST_HANG: wait until interrupted, VIDEO_TEST_MAX_WAIT at most.
 * @VIDEO_TEST_HANG_HARD: (ms): wait and ignore that someone wants to go on.
 * @VIDEO_TEST_SLOW_EMIT: (ms): from here on wait this long before each strip
 *      of rows that is written to an output.
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
} VideoTestOp;

/* Flag of VIDEO_TEST_FRAME: the frame is marked as corrupt. */
#define VIDEO_TEST_FRAME_CORRUPT 1u

/* Rows that are written to an output at a time. */
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
