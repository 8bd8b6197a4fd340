/*
 * Pixel formats, and how pixels get from one to another
 *
 * Pure functions: any thread, no lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

#include <drm_fourcc.h>
#include <string.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#define YUV(name, bits) \
    { .fourcc = name, .byte_order = VA_LSB_FIRST, .bits_per_pixel = bits }
#define RGB(name, d, r, g, b, a) \
    { .fourcc = name, .byte_order = VA_LSB_FIRST, .bits_per_pixel = 32, \
      .depth = d, .red_mask = r, .green_mask = g, .blue_mask = b, \
      .alpha_mask = a }

static const VvFormat formats[] = {
    {
        VA_FOURCC_NV12, AV_PIX_FMT_NV12, VA_RT_FORMAT_YUV420,
        DRM_FORMAT_NV12, { DRM_FORMAT_R8, DRM_FORMAT_GR88 },
        2, { 1, 2 }, { 0, 1 }, YUV(VA_FOURCC_NV12, 12),
    }, {
        VA_FOURCC_P010, AV_PIX_FMT_P010LE, VA_RT_FORMAT_YUV420_10,
        DRM_FORMAT_P010, { DRM_FORMAT_R16, DRM_FORMAT_GR1616 },
        2, { 2, 4 }, { 0, 1 }, YUV(VA_FOURCC_P010, 24),
    }, {
        VA_FOURCC_I420, AV_PIX_FMT_YUV420P, VA_RT_FORMAT_YUV420,
        DRM_FORMAT_YUV420, { DRM_FORMAT_R8, DRM_FORMAT_R8, DRM_FORMAT_R8 },
        3, { 1, 1, 1 }, { 0, 1, 1 }, YUV(VA_FOURCC_I420, 12),
    }, {
        VA_FOURCC_BGRX, AV_PIX_FMT_BGR0, VA_RT_FORMAT_RGB32,
        DRM_FORMAT_XRGB8888, { DRM_FORMAT_XRGB8888 }, 1, { 4 }, { 0 },
        RGB(VA_FOURCC_BGRX, 24, 0xff0000, 0xff00, 0xff, 0),
    }, {
        VA_FOURCC_BGRA, AV_PIX_FMT_BGRA, VA_RT_FORMAT_RGB32,
        DRM_FORMAT_ARGB8888, { DRM_FORMAT_ARGB8888 }, 1, { 4 }, { 0 },
        RGB(VA_FOURCC_BGRA, 32, 0xff0000, 0xff00, 0xff, 0xff000000),
    }, {
        VA_FOURCC_RGBX, AV_PIX_FMT_RGB0, VA_RT_FORMAT_RGB32,
        DRM_FORMAT_XBGR8888, { DRM_FORMAT_XBGR8888 }, 1, { 4 }, { 0 },
        RGB(VA_FOURCC_RGBX, 24, 0xff, 0xff00, 0xff0000, 0),
    }, {
        VA_FOURCC_RGBA, AV_PIX_FMT_RGBA, VA_RT_FORMAT_RGB32,
        DRM_FORMAT_ABGR8888, { DRM_FORMAT_ABGR8888 }, 1, { 4 }, { 0 },
        RGB(VA_FOURCC_RGBA, 32, 0xff, 0xff00, 0xff0000, 0xff000000),
    },
};

const VvFormat *vv_format_at(unsigned i)
{
    return i < G_N_ELEMENTS(formats) ? &formats[i] : NULL;
}

const VvFormat *vv_format(uint32_t fourcc)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (formats[i].fourcc == fourcc) {
            return &formats[i];
        }
    }
    return NULL;
}

const VvFormat *vv_format_of_rt(uint32_t rt_format)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        if (formats[i].rt_format & rt_format) {
            return &formats[i];
        }
    }
    return NULL;
}

static void interleave8(uint8_t *restrict dst, const uint8_t *restrict u,
                        const uint8_t *restrict v, int n)
{
    for (int i = 0; i < n; i++) {
        dst[2 * i] = u[i];
        dst[2 * i + 1] = v[i];
    }
}

/* P010 has its ten bits at the top */
static void shift16(uint16_t *restrict dst, const uint16_t *restrict src, int n)
{
    for (int i = 0; i < n; i++) {
        dst[i] = src[i] << 6;
    }
}

static void interleave16(uint16_t *restrict dst, const uint16_t *restrict u,
                         const uint16_t *restrict v, int n)
{
    for (int i = 0; i < n; i++) {
        dst[2 * i] = u[i] << 6;
        dst[2 * i + 1] = v[i] << 6;
    }
}

static void planar_to_nv12(const VvPixels *dst, const VvPixels *src)
{
    int cw = (dst->width + 1) / 2, ch = (dst->height + 1) / 2;

    av_image_copy_plane(dst->data[0], dst->pitch[0], src->data[0],
                        src->pitch[0], dst->width, dst->height);
    for (int y = 0; y < ch; y++) {
        interleave8(dst->data[1] + (ptrdiff_t)y * dst->pitch[1],
                    src->data[1] + (ptrdiff_t)y * src->pitch[1],
                    src->data[2] + (ptrdiff_t)y * src->pitch[2], cw);
    }
}

static void planar_to_p010(const VvPixels *dst, const VvPixels *src)
{
    int cw = (dst->width + 1) / 2, ch = (dst->height + 1) / 2;

    for (int y = 0; y < dst->height; y++) {
        shift16((uint16_t *)(dst->data[0] + (ptrdiff_t)y * dst->pitch[0]),
                (uint16_t *)(src->data[0] + (ptrdiff_t)y * src->pitch[0]),
                dst->width);
    }
    for (int y = 0; y < ch; y++) {
        interleave16((uint16_t *)(dst->data[1] + (ptrdiff_t)y * dst->pitch[1]),
                     (uint16_t *)(src->data[1] + (ptrdiff_t)y * src->pitch[1]),
                     (uint16_t *)(src->data[2] + (ptrdiff_t)y * src->pitch[2]),
                     cw);
    }
}

static const int *coefficients(const VvPixels *p)
{
    return sws_getCoefficients(p->colours.bt709 ? SWS_CS_ITU709
                                                : SWS_CS_ITU601);
}

static bool is_rgb(const VvPixels *p)
{
    return av_pix_fmt_desc_get(p->format)->flags & AV_PIX_FMT_FLAG_RGB;
}

/* RGB always is */
static bool is_full(const VvPixels *p)
{
    return p->colours.full || is_rgb(p);
}

static bool scale(const VvPixels *dst, const VvPixels *src)
{
    struct SwsContext *sws =
        sws_getContext(src->width, src->height, src->format, dst->width,
                       dst->height, dst->format,
                       SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT,
                       NULL, NULL, NULL);
    bool ok;

    if (!sws) {
        return false;
    }
    if (is_rgb(src) != is_rgb(dst)) {
        sws_setColorspaceDetails(sws, coefficients(src), is_full(src),
                                 coefficients(dst), is_full(dst), 0, 1 << 16,
                                 1 << 16);
    }
    ok = sws_scale(sws, (const uint8_t *const *)src->data, src->pitch, 0,
                   src->height, dst->data, dst->pitch) == dst->height;
    sws_freeContext(sws);
    return ok;
}

/* JPEG's samples are full range, which surfaces do not know about */
static enum AVPixelFormat without_range(enum AVPixelFormat format)
{
    return format == AV_PIX_FMT_YUVJ420P ? AV_PIX_FMT_YUV420P : format;
}

bool vv_pixels(const VvPixels *dst, const VvPixels *src)
{
    enum AVPixelFormat from = without_range(src->format);

    if (dst->width != src->width || dst->height != src->height) {
        return scale(dst, src);
    }
    if (dst->format == from) {
        av_image_copy((uint8_t **)dst->data, (int *)dst->pitch,
                      (const uint8_t **)src->data, src->pitch, from,
                      dst->width, dst->height);
        return true;
    }
    if (dst->format == AV_PIX_FMT_NV12 && from == AV_PIX_FMT_YUV420P) {
        planar_to_nv12(dst, src);
        return true;
    }
    if (dst->format == AV_PIX_FMT_P010LE && from == AV_PIX_FMT_YUV420P10LE) {
        planar_to_p010(dst, src);
        return true;
    }
    return scale(dst, src);
}

void vv_pixels_crop(VvPixels *p, int x, int y, int width, int height)
{
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get(p->format);
    unsigned done = 0;

    for (int i = 0; i < d->nb_components; i++) {
        const AVComponentDescriptor *c = &d->comp[i];
        bool chroma = i == 1 || i == 2;
        int px = chroma ? x >> d->log2_chroma_w : x;
        int py = chroma ? y >> d->log2_chroma_h : y;

        if (!(done & 1u << c->plane)) {
            p->data[c->plane] += (ptrdiff_t)py * p->pitch[c->plane] +
                                 (ptrdiff_t)px * c->step;
            done |= 1u << c->plane;
        }
    }
    p->width = width;
    p->height = height;
}
