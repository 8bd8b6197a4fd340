/*
 * Raw frame formats: what lies where
 *
 * Pure functions, any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "format.h"

/*
 * Planes of a format.  Bytes are those of one column of the plane; a chroma
 * plane of 4:2:0 has half the columns and rows, rounded up.
 */
typedef struct FormatInfo {
    uint32_t fourcc;
    unsigned n_planes;
    unsigned bytes[VIDEO_MAX_PLANES];
} FormatInfo;

static const FormatInfo format_infos[] = {
    { DRM_FORMAT_NV12,     2, { 1, 2 } },
    { DRM_FORMAT_P010,     2, { 2, 4 } },
    { DRM_FORMAT_YUV420,   3, { 1, 1, 1 } },
    { DRM_FORMAT_XRGB8888, 1, { 4 } },
};

static const FormatInfo *format_find(uint32_t fourcc)
{
    for (unsigned i = 0; i < ARRAY_SIZE(format_infos); i++) {
        if (format_infos[i].fourcc == fourcc) {
            return &format_infos[i];
        }
    }
    return NULL;
}

/*
 * V4L2 derives the strides of the chroma planes from that of luma: equal for
 * two planes, half for three.  So start from chroma, which makes all of them
 * aligned, for odd widths too.
 */
static uint32_t format_stride(const FormatInfo *info, unsigned plane,
                              uint32_t width, uint32_t align)
{
    unsigned last = info->n_planes - 1;
    uint32_t columns = last ? DIV_ROUND_UP(width, 2) : width;
    uint32_t chroma = ROUND_UP(columns * info->bytes[last], align);

    return plane == 0 && info->n_planes == 3 ? 2 * chroma : chroma;
}

void video_format_layout(const VideoRawFormat *format, VideoLayout *layout)
{
    const FormatInfo *info = format_find(format->fourcc);
    uint32_t padded = ROUND_UP(format->height, format->height_align);

    *layout = (VideoLayout) { .n_planes = info->n_planes };
    for (unsigned i = 0; i < info->n_planes; i++) {
        VideoPlaneLayout *p = &layout->planes[i];
        uint64_t *size;

        p->buffer = format->multi_buffers ? i : 0;
        p->stride = format_stride(info, i, format->width,
                                  format->stride_align);
        p->row_bytes = info->bytes[i] *
                       (i ? DIV_ROUND_UP(format->width, 2) : format->width);
        p->rows = i ? DIV_ROUND_UP(format->height, 2) : format->height;
        p->padded_rows = i ? DIV_ROUND_UP(padded, 2) : padded;

        size = &layout->buffer_size[p->buffer];
        p->offset = ROUND_UP(*size, format->plane_align);
        *size = p->offset + (uint64_t)p->stride * p->padded_rows;
        layout->n_buffers = p->buffer + 1;
    }
}

bool video_format_equal(const VideoRawFormat *a, const VideoRawFormat *b)
{
    return a->fourcc == b->fourcc && a->modifier == b->modifier &&
           a->multi_buffers == b->multi_buffers &&
           a->width == b->width && a->height == b->height &&
           a->stride_align == b->stride_align &&
           a->height_align == b->height_align &&
           a->plane_align == b->plane_align;
}

bool video_rect_equal(const VideoRect *a, const VideoRect *b)
{
    return a->left == b->left && a->top == b->top &&
           a->width == b->width && a->height == b->height;
}

uint32_t video_align_closest(uint32_t value, uint32_t mask)
{
    uint32_t low = 1u << ctz32(mask);
    uint32_t high = 1u << (31 - clz32(mask));

    return pow2ceil(MIN(MAX(value, low), high));
}

static VideoRange coded_range(uint32_t min, uint32_t max, uint32_t step)
{
    /* A decoder has no step */
    step = MAX(step, 1);
    return (VideoRange) {
        .min = QEMU_ALIGN_UP(MAX(min, 1), step),
        .max = QEMU_ALIGN_DOWN(max, step),
        .step = step,
    };
}

VideoSizes video_coded_sizes(const VideoCodedCaps *coded, uint32_t fourcc,
                             uint32_t max_width, uint32_t max_height)
{
    VideoFrameLimits limits = {
        coded->min_width, coded->min_height,
        coded->max_width, coded->max_height,
    };

    if (fourcc == DRM_FORMAT_P010 && coded->deep.max_width) {
        limits = coded->deep;
    }
    return (VideoSizes) {
        .width = coded_range(limits.min_width,
                             MIN(limits.max_width, max_width),
                             coded->size_step),
        .height = coded_range(limits.min_height,
                              MIN(limits.max_height, max_height),
                              coded->size_step),
    };
}

uint32_t video_range_closest(const VideoRange *range, uint32_t value)
{
    if (value <= range->min) {
        return range->min;
    }
    value = MIN(value, range->max);
    return value - (value - range->min) % range->step;
}
