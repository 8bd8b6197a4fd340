/*
 * vvclient: decoded frames, wherever they come from
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_FRAME_H
#define VVCLIENT_FRAME_H

#define VV_FRAME_PLANES 3

/**
 * struct VVFrame - the visible part of a frame as planar YUV
 * @width: pixels
 * @height: pixels
 * @depth: bits of a sample, 8 or 10; two bytes each, little endian, if not 8
 * @chroma_444: the chroma planes are as large as luma, not half as wide and
 *              half as high
 * @data: Y, U and V one after another without padding
 */
typedef struct VVFrame {
    uint32_t width;
    uint32_t height;
    unsigned depth;
    bool chroma_444;
    GByteArray *data;
} VVFrame;

void vv_frame_init(VVFrame *f);
void vv_frame_cleanup(VVFrame *f);
/* Sets the size and makes room in @data */
void vv_frame_reset(VVFrame *f, uint32_t width, uint32_t height,
                    unsigned depth, bool chroma_444);
/* Rows and bytes of a row of plane @plane, and where it starts */
uint32_t vv_frame_rows(const VVFrame *f, unsigned plane);
uint32_t vv_frame_row_bytes(const VVFrame *f, unsigned plane);
uint8_t *vv_frame_plane(const VVFrame *f, unsigned plane);

/**
 * struct VVSource - rows of a raw frame, some of which may need gathering
 * @row: returns @len bytes at @x of row @y of plane @plane; they are good
 *       until the next call with the same plane
 */
typedef struct VVSource {
    const uint8_t *(*row)(void *opaque, unsigned plane, uint32_t y,
                          uint32_t x, uint32_t len);
    void *opaque;
} VVSource;

/**
 * vv_frame_convert - a raw frame into @f
 * @fourcc: DRM_FORMAT_NV12, P010, YUV420 or XRGB8888; the latter becomes 4:4:4
 * @depth: bits of the stream; P010 of a stream of 8 bits becomes 8 bits again
 * @left: the visible part, in pixels, as @top, @width and @height
 *
 * Returns: false if @fourcc is none of those
 */
bool vv_frame_convert(VVFrame *f, uint32_t fourcc, unsigned depth,
                      uint32_t left, uint32_t top, uint32_t width,
                      uint32_t height, const VVSource *src);

/**
 * struct VVPlace - where rows of a raw frame go
 * @row: stores @len bytes at the start of row @y of plane @plane
 */
typedef struct VVPlace {
    void (*row)(void *opaque, unsigned plane, uint32_t y, const void *data,
                uint32_t len);
    void *opaque;
} VVPlace;

/**
 * vv_frame_store - the other way round: @f, which is 4:2:0, as a raw frame
 * @fourcc: DRM_FORMAT_NV12, YUV420 or XRGB8888 for 8 bits, P010 for 10
 *
 * Returns: false if @f can't be had as @fourcc
 */
bool vv_frame_store(const VVFrame *f, uint32_t fourcc, const VVPlace *place);

#endif
