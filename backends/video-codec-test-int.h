/*
 * Scripted video codec for protocol tests: what its decoder and its encoder
 * share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BACKENDS_VIDEO_CODEC_TEST_INT_H
#define BACKENDS_VIDEO_CODEC_TEST_INT_H

#include "system/video-codec.h"

/** test_wait: for @ms, or less if @interruptible and someone wants to go on. */
void test_wait(VideoCodecSession *s, uint32_t ms, bool interruptible);

/** test_fail: let the session fail; @args of the instruction are the reason. */
void test_fail(VideoCodecSession *s, const void *args);

/** test_encoder_init_caps: fill in @caps->encoders. */
void test_encoder_init_caps(VideoCodecCaps *caps);

extern const VideoCodecImpl test_encoder;

#endif /* BACKENDS_VIDEO_CODEC_TEST_INT_H */
