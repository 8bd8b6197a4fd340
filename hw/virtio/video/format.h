/*
 * Raw frame formats: what lies where
 *
 * Pure functions of plain data, the same for every protocol.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_FORMAT_H
#define HW_VIRTIO_VIDEO_FORMAT_H

#include "system/video-codec.h"

/*
 * The alignments that can be chosen, a bit for each power of two:
 * stride 16..4096 bytes, height 1..64 rows, plane 1..65536 bytes.
 */
#define VIDEO_STRIDE_ALIGN_MASK 0x1ff0
#define VIDEO_HEIGHT_ALIGN_MASK 0x7f
#define VIDEO_PLANE_ALIGN_MASK  0x1ffff

/* The largest max-width and max-height: a frame's size fits 32 bits */
#define VIDEO_MAX_DIMENSION 16384

/**
 * VideoRawFormat: how frames lie in a resource.
 * @fourcc, @modifier: DRM format
 * @multi_buffers: each plane has a buffer of its own
 * @width, @height: of the frame in pixels
 * @stride_align: of each plane's stride, in bytes, a power of two
 * @height_align: of the first plane's height, in rows, a power of two
 * @plane_align: of the planes in a single buffer, in bytes, a power of two
 */
typedef struct VideoRawFormat {
    uint32_t fourcc;
    uint64_t modifier;
    bool multi_buffers;
    uint32_t width, height;
    uint32_t stride_align, height_align, plane_align;
} VideoRawFormat;

/**
 * VideoPlaneLayout: place of one plane.
 * @buffer: index of the buffer
 * @offset: of the first row in that buffer, in bytes
 * @stride: distance of two rows in bytes
 * @row_bytes: bytes of a row that hold pixels
 * @rows: rows with pixels
 * @padded_rows: rows with alignment
 */
typedef struct VideoPlaneLayout {
    unsigned buffer;
    uint32_t offset, stride, row_bytes, rows, padded_rows;
} VideoPlaneLayout;

/**
 * VideoLayout: place of all planes.
 * @buffer_size: bytes needed in each buffer
 */
typedef struct VideoLayout {
    VideoPlaneLayout planes[VIDEO_MAX_PLANES];
    unsigned n_planes;
    uint64_t buffer_size[VIDEO_MAX_PLANES];
    unsigned n_buffers;
} VideoLayout;

/** video_format_layout: lay out a frame; @format's fourcc is known. */
void video_format_layout(const VideoRawFormat *format, VideoLayout *layout);

/** video_format_equal: same format, size and alignments? */
bool video_format_equal(const VideoRawFormat *a, const VideoRawFormat *b);

/** video_rect_equal: same place, same size? */
bool video_rect_equal(const VideoRect *a, const VideoRect *b);

/**
 * video_align_closest: the supported alignment closest to @value.
 * @mask: the supported powers of two
 */
uint32_t video_align_closest(uint32_t value, uint32_t mask);

/** VideoRange: @min, @min + @step and so on up to @max; all are positive */
typedef struct VideoRange {
    uint32_t min, max, step;
} VideoRange;

/** VideoSizes: widths and heights of a frame, in pixels */
typedef struct VideoSizes {
    VideoRange width, height;
} VideoSizes;

/**
 * video_coded_sizes: the sizes of frames that go with a coded format.
 * @coded: what the codec can do
 * @fourcc: raw format; 0 for the one that has the most
 * @max_width, @max_height: limits that the device has besides
 *
 * Where nothing is left, max is smaller than min.
 */
VideoSizes video_coded_sizes(const VideoCodedCaps *coded, uint32_t fourcc,
                             uint32_t max_width, uint32_t max_height);

/** video_range_closest: the number in @range closest to @value, from below. */
uint32_t video_range_closest(const VideoRange *range, uint32_t value);

#endif /* HW_VIRTIO_VIDEO_FORMAT_H */
