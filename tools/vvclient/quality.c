/*
 * vvclient: how near a picture is to another
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "quality.h"

#include <math.h>

static uint64_t vv_row_error_8(const uint8_t *a, const uint8_t *b, uint32_t n)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        int d = a[i] - b[i];

        sum += d * d;
    }
    return sum;
}

static uint64_t vv_row_error_16(const uint8_t *a, const uint8_t *b, uint32_t n)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        int64_t d = lduw_le_p(a + 2 * i) - lduw_le_p(b + 2 * i);

        sum += d * d;
    }
    return sum;
}

bool vv_quality_add(VVQuality *q, const VVFrame *a, const VVFrame *b)
{
    const double peak = (1 << a->depth) - 1;

    if (a->width != b->width || a->height != b->height ||
        a->depth != b->depth || a->chroma_444 != b->chroma_444) {
        return false;
    }
    q->depth = a->depth;
    q->frames++;
    for (unsigned p = 0; p < VV_FRAME_PLANES; p++) {
        const uint32_t len = vv_frame_row_bytes(a, p);
        const uint32_t n = len / (a->depth > 8 ? 2 : 1);
        const uint8_t *x = vv_frame_plane(a, p);
        const uint8_t *y = vv_frame_plane(b, p);
        uint64_t error = 0;

        for (uint32_t i = 0; i < vv_frame_rows(a, p); i++) {
            error += (a->depth > 8 ? vv_row_error_16 : vv_row_error_8)(
                x + (size_t)i * len, y + (size_t)i * len, n);
            q->samples[p] += n;
        }
        q->error[p] += error / (peak * peak);
    }
    return true;
}

double vv_quality_psnr(const VVQuality *q, int plane)
{
    double error = 0;
    double samples = 0;

    for (int p = 0; p < VV_FRAME_PLANES; p++) {
        if (plane < 0 || plane == p) {
            error += q->error[p];
            samples += q->samples[p];
        }
    }
    if (!samples) {
        return 0;
    }
    return error > 0 ? 10 * log10(samples / error) : VV_PSNR_EQUAL;
}
