/*
 * vvclient: decoded frames, wherever they come from
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "frame.h"

#include <libswscale/swscale.h>

/* P010 keeps its 10 bits at the top of 16 */
#define P010_SHIFT 6
#define SLACK 64

void vv_frame_init(VVFrame *f)
{
    memset(f, 0, sizeof(*f));
    f->data = g_byte_array_new();
}

void vv_frame_cleanup(VVFrame *f)
{
    g_byte_array_unref(f->data);
}

uint32_t vv_frame_rows(const VVFrame *f, unsigned plane)
{
    return plane && !f->chroma_444 ? DIV_ROUND_UP(f->height, 2) : f->height;
}

uint32_t vv_frame_row_bytes(const VVFrame *f, unsigned plane)
{
    uint32_t samples = plane && !f->chroma_444 ? DIV_ROUND_UP(f->width, 2) :
                                                 f->width;

    return samples * (f->depth > 8 ? 2 : 1);
}

uint8_t *vv_frame_plane(const VVFrame *f, unsigned plane)
{
    uint8_t *ptr = f->data->data;

    for (unsigned i = 0; i < plane; i++) {
        ptr += (size_t)vv_frame_rows(f, i) * vv_frame_row_bytes(f, i);
    }
    return ptr;
}

void vv_frame_reset(VVFrame *f, uint32_t width, uint32_t height,
                    unsigned depth, bool chroma_444)
{
    size_t size = 0;

    f->width = width;
    f->height = height;
    f->depth = depth;
    f->chroma_444 = chroma_444;
    for (unsigned i = 0; i < VV_FRAME_PLANES; i++) {
        size += (size_t)vv_frame_rows(f, i) * vv_frame_row_bytes(f, i);
    }
    /* Some of swscale's loops write a little more than a row */
    g_byte_array_set_size(f->data, size + SLACK);
    g_byte_array_set_size(f->data, size);
}

static void vv_split_8(uint8_t *u, uint8_t *v, const uint8_t *uv, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        u[i] = uv[2 * i];
        v[i] = uv[2 * i + 1];
    }
}

/* The upper 8 bits, where P010 has those of a stream of 8 bits */
static void vv_high_8(uint8_t *dst, const uint8_t *src, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        dst[i] = src[2 * i + 1];
    }
}

static void vv_shift_10(uint8_t *dst, const uint8_t *src, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        stw_le_p(dst + 2 * i, lduw_le_p(src + 2 * i) >> P010_SHIFT);
    }
}

static void vv_split_high_8(uint8_t *u, uint8_t *v, const uint8_t *uv,
                            uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        u[i] = uv[4 * i + 1];
        v[i] = uv[4 * i + 3];
    }
}

static void vv_split_10(uint8_t *u, uint8_t *v, const uint8_t *uv, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        stw_le_p(u + 2 * i, lduw_le_p(uv + 4 * i) >> P010_SHIFT);
        stw_le_p(v + 2 * i, lduw_le_p(uv + 4 * i + 2) >> P010_SHIFT);
    }
}

static void vv_convert_nv12(VVFrame *f, uint32_t left, uint32_t top,
                            const VVSource *src)
{
    const uint32_t chroma = DIV_ROUND_UP(f->width, 2);
    uint8_t *y = vv_frame_plane(f, 0);
    uint8_t *u = vv_frame_plane(f, 1);
    uint8_t *v = vv_frame_plane(f, 2);

    for (uint32_t i = 0; i < f->height; i++, y += f->width) {
        memcpy(y, src->row(src->opaque, 0, top + i, left, f->width), f->width);
    }
    for (uint32_t i = 0; i < vv_frame_rows(f, 1);
         i++, u += chroma, v += chroma) {
        vv_split_8(u, v, src->row(src->opaque, 1, top / 2 + i, left / 2 * 2,
                                  2 * chroma), chroma);
    }
}

static void vv_convert_p010(VVFrame *f, uint32_t left, uint32_t top,
                            const VVSource *src)
{
    const uint32_t chroma = DIV_ROUND_UP(f->width, 2);
    uint8_t *y = vv_frame_plane(f, 0);
    uint8_t *u = vv_frame_plane(f, 1);
    uint8_t *v = vv_frame_plane(f, 2);

    for (uint32_t i = 0; i < f->height; i++, y += vv_frame_row_bytes(f, 0)) {
        (f->depth == 8 ? vv_high_8 : vv_shift_10)(
            y, src->row(src->opaque, 0, top + i, 2 * left, 2 * f->width),
            f->width);
    }
    for (uint32_t i = 0; i < vv_frame_rows(f, 1); i++) {
        (f->depth == 8 ? vv_split_high_8 : vv_split_10)(
            u, v, src->row(src->opaque, 1, top / 2 + i, left / 2 * 4,
                           4 * chroma), chroma);
        u += vv_frame_row_bytes(f, 1);
        v += vv_frame_row_bytes(f, 2);
    }
}

static void vv_convert_planar(VVFrame *f, uint32_t left, uint32_t top,
                              const VVSource *src)
{
    for (unsigned p = 0; p < VV_FRAME_PLANES; p++) {
        const unsigned shift = p ? 1 : 0;
        const uint32_t len = vv_frame_row_bytes(f, p);
        uint8_t *dst = vv_frame_plane(f, p);

        for (uint32_t i = 0; i < vv_frame_rows(f, p); i++, dst += len) {
            memcpy(dst, src->row(src->opaque, p, (top >> shift) + i,
                                 left >> shift, len), len);
        }
    }
}

static bool vv_convert_rgb(VVFrame *f, uint32_t left, uint32_t top,
                           const VVSource *src)
{
    struct SwsContext *sws;
    uint8_t *dst[4] = {
        vv_frame_plane(f, 0), vv_frame_plane(f, 1), vv_frame_plane(f, 2)
    };
    const int width = f->width;
    const int dst_stride[4] = { width, width, width };
    const int src_stride[4] = { 4 * width };
    g_autofree uint8_t *rgb = g_malloc((size_t)4 * f->width * f->height);
    const uint8_t *src_planes[4] = { rgb };

    for (uint32_t i = 0; i < f->height; i++) {
        memcpy(rgb + (size_t)i * 4 * width,
               src->row(src->opaque, 0, top + i, 4 * left, 4 * width),
               4 * width);
    }
    sws = sws_getContext(width, f->height, AV_PIX_FMT_BGR0, width, f->height,
                         AV_PIX_FMT_YUV444P, SWS_POINT, NULL, NULL, NULL);
    if (!sws) {
        return false;
    }
    sws_scale(sws, src_planes, src_stride, 0, f->height, dst, dst_stride);
    sws_freeContext(sws);
    return true;
}

bool vv_frame_convert(VVFrame *f, uint32_t fourcc, unsigned depth,
                      uint32_t left, uint32_t top, uint32_t width,
                      uint32_t height, const VVSource *src)
{
    switch (fourcc) {
    case DRM_FORMAT_NV12:
        vv_frame_reset(f, width, height, 8, false);
        vv_convert_nv12(f, left, top, src);
        return true;
    case DRM_FORMAT_P010:
        vv_frame_reset(f, width, height, depth == 8 ? 8 : 10, false);
        vv_convert_p010(f, left, top, src);
        return true;
    case DRM_FORMAT_YUV420:
        vv_frame_reset(f, width, height, 8, false);
        vv_convert_planar(f, left, top, src);
        return true;
    case DRM_FORMAT_XRGB8888:
        vv_frame_reset(f, width, height, 8, true);
        return vv_convert_rgb(f, left, top, src);
    default:
        return false;
    }
}

/*
 * Storing
 */

static void vv_put_10(uint8_t *dst, const uint8_t *src)
{
    stw_le_p(dst, lduw_le_p(src) << P010_SHIFT);
}

static void vv_store_luma(const VVFrame *f, bool wide, const VVPlace *place)
{
    const uint32_t len = vv_frame_row_bytes(f, 0);
    g_autofree uint8_t *row = g_malloc(2 * f->width);
    const uint8_t *src = vv_frame_plane(f, 0);

    for (uint32_t y = 0; y < f->height; y++, src += len) {
        if (!wide) {
            place->row(place->opaque, 0, y, src, f->width);
            continue;
        }
        for (uint32_t x = 0; x < f->width; x++) {
            vv_put_10(row + 2 * x, src + 2 * x);
        }
        place->row(place->opaque, 0, y, row, 2 * f->width);
    }
}

static void vv_store_chroma(const VVFrame *f, bool wide, const VVPlace *place)
{
    const uint32_t len = vv_frame_row_bytes(f, 1);
    const uint32_t n = DIV_ROUND_UP(f->width, 2);
    g_autofree uint8_t *row = g_malloc(4 * n);
    const uint8_t *u = vv_frame_plane(f, 1);
    const uint8_t *v = vv_frame_plane(f, 2);

    for (uint32_t y = 0; y < vv_frame_rows(f, 1); y++, u += len, v += len) {
        for (uint32_t x = 0; x < n; x++) {
            if (wide) {
                vv_put_10(row + 4 * x, u + 2 * x);
                vv_put_10(row + 4 * x + 2, v + 2 * x);
            } else {
                row[2 * x] = u[x];
                row[2 * x + 1] = v[x];
            }
        }
        place->row(place->opaque, 1, y, row, (wide ? 4 : 2) * n);
    }
}

static void vv_store_planar(const VVFrame *f, const VVPlace *place)
{
    for (unsigned p = 0; p < VV_FRAME_PLANES; p++) {
        const uint32_t len = vv_frame_row_bytes(f, p);
        const uint8_t *src = vv_frame_plane(f, p);

        for (uint32_t y = 0; y < vv_frame_rows(f, p); y++, src += len) {
            place->row(place->opaque, p, y, src, len);
        }
    }
}

static bool vv_store_rgb(const VVFrame *f, const VVPlace *place)
{
    const int width = f->width;
    g_autofree uint8_t *rgb = g_malloc((size_t)4 * f->width * f->height);
    uint8_t *dst[4] = { rgb };
    const int dst_stride[4] = { 4 * width };
    const uint8_t *src[4] = {
        vv_frame_plane(f, 0), vv_frame_plane(f, 1), vv_frame_plane(f, 2)
    };
    const int src_stride[4] = {
        width, vv_frame_row_bytes(f, 1), vv_frame_row_bytes(f, 2)
    };
    struct SwsContext *sws;

    sws = sws_getContext(width, f->height, AV_PIX_FMT_YUV420P, width,
                         f->height, AV_PIX_FMT_BGR0,
                         SWS_BICUBIC | SWS_ACCURATE_RND, NULL, NULL, NULL);
    if (!sws) {
        return false;
    }
    sws_scale(sws, src, src_stride, 0, f->height, dst, dst_stride);
    sws_freeContext(sws);
    for (uint32_t y = 0; y < f->height; y++) {
        place->row(place->opaque, 0, y, rgb + (size_t)y * 4 * width,
                   4 * width);
    }
    return true;
}

bool vv_frame_store(const VVFrame *f, uint32_t fourcc, const VVPlace *place)
{
    if (f->chroma_444 || (f->depth > 8) != (fourcc == DRM_FORMAT_P010)) {
        return false;
    }
    switch (fourcc) {
    case DRM_FORMAT_NV12:
    case DRM_FORMAT_P010:
        vv_store_luma(f, fourcc == DRM_FORMAT_P010, place);
        vv_store_chroma(f, fourcc == DRM_FORMAT_P010, place);
        return true;
    case DRM_FORMAT_YUV420:
        vv_store_planar(f, place);
        return true;
    case DRM_FORMAT_XRGB8888:
        return vv_store_rgb(f, place);
    default:
        return false;
    }
}
