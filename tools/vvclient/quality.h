/*
 * vvclient: how near a picture is to another
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_QUALITY_H
#define VVCLIENT_QUALITY_H

#include "frame.h"

/* PSNR of equal pictures, which has no number */
#define VV_PSNR_EQUAL 100.0

/**
 * struct VVQuality - squared errors of many pictures
 * @error: their sum, of each plane; 1 is the largest that a sample can have
 * @samples: that were compared, of each plane
 * @frames: that were compared
 * @depth: bits of a sample, of the last picture
 */
typedef struct VVQuality {
    double error[VV_FRAME_PLANES];
    uint64_t samples[VV_FRAME_PLANES];
    uint64_t frames;
    unsigned depth;
} VVQuality;

/* False if size or depth differ */
bool vv_quality_add(VVQuality *q, const VVFrame *a, const VVFrame *b);

/**
 * vv_quality_psnr - peak signal-to-noise ratio in dB
 * @plane: which; -1: all samples together
 *
 * Of the mean error of all pictures, so that one bad one counts.
 */
double vv_quality_psnr(const VVQuality *q, int plane);

#endif
