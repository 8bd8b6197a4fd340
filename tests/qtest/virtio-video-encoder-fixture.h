/*
 * Fixture of virtio-video's qtests: encoders
 *
 * The scripted codec's encoder puts into its coded buffers what it has seen of
 * a frame and of the controls; a frame can begin with instructions for it.  See
 * system/video-codec-test.h.
 *
 * A stream here is a TestStream like that of a decoder, with frames in @in,
 * which @raw and @layout are about, and coded buffers in @out.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_VIDEO_ENCODER_FIXTURE_H
#define TESTS_VIRTIO_VIDEO_ENCODER_FIXTURE_H

#include "system/video-codec.h"
#include "virtio-video-fixture.h"

#define H264        VIRTIO_VIDEO_CODED_FORMAT_H264
#define VP8         VIRTIO_VIDEO_CODED_FORMAT_VP8

#define KEY         VIRTIO_VIDEO_QUEUE_FLAG_KEY_FRAME
#define P_FRAME     VIRTIO_VIDEO_QUEUE_FLAG_P_FRAME
#define B_FRAME     VIRTIO_VIDEO_QUEUE_FLAG_B_FRAME

#define CID(name)   VIRTIO_VIDEO_V4L2_CID_##name

/* What a stream of encoder() has */
#define N_FRAMES    8
#define N_CODED     8
#define CODED_SIZE  4096

/*
 * Streams
 */

/* An open encoder stream without resources */
TestStream *bare_encoder(Rig *r, uint32_t id);

/* New memory for @n frames of the current format, attached and all */
void add_frames(TestStream *s, unsigned n, QVVPlacement placement);

/* Memory for @n coded buffers of @size bytes */
void add_coded(TestStream *s, unsigned n, uint64_t size);

/* A stream for frames of that format, ready to encode */
TestStream *encoder_of(Rig *r, uint32_t id, const QVVRawFormat *format,
                       QVVPlacement placement);
/* The same for NV12 of WIDTH x HEIGHT in contiguous memory */
TestStream *encoder(Rig *r, uint32_t id);

/* SET_PARAMS of a crop rectangle; what the device made of it */
QVVRect set_crop(TestStream *s, uint32_t left, uint32_t top,
                 uint32_t width, uint32_t height);

/*
 * Frames
 */

/* Plane @p of frame @value, @offset bytes into its buffer */
void store_plane(TestStream *s, unsigned res, unsigned p, uint64_t offset,
                 uint32_t value);
/* All planes of frame @value, where the layout has them */
void store_frame(TestStream *s, unsigned res, uint32_t value);

/* Queue what is in input @res */
uint32_t queue_frame(TestStream *s, unsigned res, uint64_t timestamp);
/* Queue frame @value in input @res */
uint32_t encode(TestStream *s, unsigned res, uint64_t timestamp,
                uint32_t value);
/* Queue input 0, of two planes in one buffer, with those bounds */
uint32_t queue_planes(TestStream *s, uint32_t offset0, uint32_t size0,
                      uint32_t offset1, uint32_t size1);

/* Queue a frame with these instructions in input @res */
#define ENCODE(s, res, timestamp, ...) \
    encode_script(s, res, timestamp, (VideoTestInsn[]) { __VA_ARGS__ }, \
                  sizeof((VideoTestInsn[]) { __VA_ARGS__ }) / \
                  sizeof(VideoTestInsn))

/* For ENCODE(); leaves @insns little-endian */
uint32_t encode_script(TestStream *s, unsigned res, uint64_t timestamp,
                       VideoTestInsn *insns, unsigned n);

/* A coded buffer of @size bytes, @position in coding order, @type or 0 */
VideoTestInsn coded(uint32_t size, uint32_t position, VideoFrameType type);

/* Checksum of that part of frame @value, as the codec puts it */
uint32_t picture_sum(TestStream *s, const QVVRect *rect, uint32_t value);
uint32_t frame_sum(TestStream *s, uint32_t value);

/*
 * Coded data
 */

/* @cookie, of output @res, is answered with coded data of just that @type */
VideoTestCoded expect_coded(TestStream *s, unsigned res, uint32_t cookie,
                            uint32_t type);

/* Encode frame @value; what the codec has seen */
VideoTestCoded encode_one(TestStream *s, uint32_t value, uint32_t type);

/* Does this stream encode?  From any state */
void assert_encodes(TestStream *s);

#endif
