/*
 * Video codecs with libavcodec: frames on their way into guest memory
 *
 * Converts to the guest's raw format while copying, a strip of rows at a time,
 * so that converting costs next to nothing: the strip is in the cache.
 *
 * All of it runs in the worker thread of a session.  Between YUV formats
 * samples are only moved and rounded: range and matrix are the guest's matter.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "system/video-codec.h"
#include "video-codec-libav.h"

#include <libavutil/cpu.h>
#include <libavutil/frame.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

/* How strips of a frame are converted.  Ints only, so that memcmp() works */
typedef struct LibavConversion {
    int width, rows;            /* of a strip */
    int from, to;               /* enum AVPixelFormat */
    int colorspace, full_range; /* of @from, for RGB */
} LibavConversion;

struct LibavPixels {
    VideoCodecSession *session;
    LibavConversion conversion; /* what sws does */
    struct SwsContext *sws;
    AVFrame *strip;             /* converted rows on their way out */
    AVFrame *fetched;           /* rows from memory that is slow to read */
    AVFrame *planar;            /* rows that had packed chroma */
};

/* Rows of a frame */
typedef struct LibavRows {
    const uint8_t *data[4];
    int linesize[4];
} LibavRows;

enum AVPixelFormat libav_raw_pix_fmt(uint32_t fourcc)
{
    switch (fourcc) {
    case DRM_FORMAT_NV12:
        return AV_PIX_FMT_NV12;
    case DRM_FORMAT_P010:
        return AV_PIX_FMT_P010LE;
    case DRM_FORMAT_YUV420:
        return AV_PIX_FMT_YUV420P;
    case DRM_FORMAT_XRGB8888:
        return AV_PIX_FMT_BGR0;
    default:
        g_assert_not_reached();
    }
}

/* A frame's pixel format; yuvj420p is yuv420p that says it is of full range */
static enum AVPixelFormat libav_pix_fmt(const AVFrame *f)
{
    return f->format == AV_PIX_FMT_YUVJ420P ? AV_PIX_FMT_YUV420P : f->format;
}

/* What is converted from: frames of GPUs have packed chroma */
static enum AVPixelFormat libav_planar_pix_fmt(enum AVPixelFormat format)
{
    switch (format) {
    case AV_PIX_FMT_NV12:
        return AV_PIX_FMT_YUV420P;
    case AV_PIX_FMT_P010LE:
        return AV_PIX_FMT_YUV420P10;
    default:
        return format;
    }
}

/* Have @strip hold @rows rows. */
static bool libav_prepare_strip(AVFrame *strip, enum AVPixelFormat format,
                                int width, int rows)
{
    if (strip->buf[0] && strip->format == format && strip->width == width &&
        strip->height == rows) {
        return true;
    }
    av_frame_unref(strip);
    strip->format = format;
    strip->width = width;
    strip->height = rows;
    return av_frame_get_buffer(strip, 0) >= 0;
}

static void libav_strip_rows(const AVFrame *strip, LibavRows *rows)
{
    for (int i = 0; i < 4; i++) {
        rows->data[i] = strip->data[i];
        rows->linesize[i] = strip->linesize[i];
    }
}

/*
 * Packed chroma
 */

static void libav_split8(const uint8_t *src, uint8_t *u, uint8_t *v, int n)
{
    for (int i = 0; i < n; i++) {
        u[i] = src[2 * i];
        v[i] = src[2 * i + 1];
    }
}

/* P010 has its 10 bits at the upper end */
static void libav_split10(const uint8_t *src, uint16_t *u, uint16_t *v, int n)
{
    for (int i = 0; i < n; i++) {
        u[i] = lduw_le_p(src + 4 * i) >> 6;
        v[i] = lduw_le_p(src + 4 * i + 2) >> 6;
    }
}

static void libav_shift10(const uint8_t *src, uint16_t *dst, int n)
{
    for (int i = 0; i < n; i++) {
        dst[i] = lduw_le_p(src + 2 * i) >> 6;
    }
}

static void libav_split_chroma(AVFrame *planar, const LibavRows *rows,
                               bool deep)
{
    for (int row = 0; row < planar->height / 2; row++) {
        const uint8_t *src = rows->data[1] +
                             (ptrdiff_t)row * rows->linesize[1];
        uint8_t *u = planar->data[1] + (ptrdiff_t)row * planar->linesize[1];
        uint8_t *v = planar->data[2] + (ptrdiff_t)row * planar->linesize[2];

        if (deep) {
            libav_split10(src, (uint16_t *)u, (uint16_t *)v,
                          planar->width / 2);
        } else {
            libav_split8(src, u, v, planar->width / 2);
        }
    }
}

/* Make @rows, which have packed chroma, rows of the planar format. */
static void libav_make_planar(AVFrame *planar, LibavRows *rows)
{
    bool deep = planar->format == AV_PIX_FMT_YUV420P10;

    libav_split_chroma(planar, rows, deep);
    for (int row = 0; deep && row < planar->height; row++) {
        libav_shift10(rows->data[0] + (ptrdiff_t)row * rows->linesize[0],
                      (uint16_t *)(planar->data[0] +
                                   (ptrdiff_t)row * planar->linesize[0]),
                      planar->width);
    }
    for (int i = deep ? 0 : 1; i < 3; i++) {
        rows->data[i] = planar->data[i];
        rows->linesize[i] = planar->linesize[i];
    }
}

/*
 * Conversion
 */

/*
 * swscale's own way from 8 bits to P010 repeats the upper bits in the lower
 * ones, which moves white from 940 to 943 and grey from 512 to 514.
 */
static bool libav_must_widen(const LibavConversion *c)
{
    return c->from == AV_PIX_FMT_YUV420P && c->to == AV_PIX_FMT_P010LE;
}

/* Make P010 of NV12 that lies where the P010 will be. */
static void libav_widen(AVFrame *strip)
{
    for (int plane = 0; plane < 2; plane++) {
        for (int row = 0; row < strip->height >> plane; row++) {
            uint8_t *p = strip->data[plane] +
                         (ptrdiff_t)row * strip->linesize[plane];

            for (int i = strip->width - 1; i >= 0; i--) {
                stw_le_p(p + 2 * i, p[i] << 8);
            }
        }
    }
}

/*
 * The usual case has nothing to do for luma, so it goes from the frame into
 * the guest's memory without a strip in between.
 */
static bool libav_only_chroma(const LibavConversion *c)
{
    return c->from == AV_PIX_FMT_YUV420P && c->to == AV_PIX_FMT_NV12;
}

/* Have px->sws and px->strip as @c says. */
static bool libav_prepare_conversion(LibavPixels *px, const LibavConversion *c)
{
    int width = c->width, rows = c->rows;
    enum AVPixelFormat from = c->from, to = c->to, strip = c->to;

    if (px->sws && !memcmp(c, &px->conversion, sizeof(*c))) {
        return true;
    }
    if (libav_only_chroma(c)) {
        /* A picture of its own, whose luma is not looked at */
        width /= 2;
        rows /= 2;
        from = AV_PIX_FMT_YUV444P;
        to = strip = AV_PIX_FMT_NV24;
    } else if (libav_must_widen(c)) {
        to = AV_PIX_FMT_NV12;
    }

    /*
     * Nearest neighbours: the only thing that is ever scaled is the chroma on
     * its way to RGB, and strips must not show.
     */
    sws_freeContext(px->sws);
    px->sws = sws_getContext(width, rows, from, width, rows, to, SWS_POINT,
                             NULL, NULL, NULL);
    px->conversion = *c;
    if (px->sws && c->to == AV_PIX_FMT_BGR0) {
        sws_setColorspaceDetails(px->sws, sws_getCoefficients(c->colorspace),
                                 c->full_range,
                                 sws_getCoefficients(SWS_CS_DEFAULT), 1,
                                 0, 1 << 16, 1 << 16);
    }
    return px->sws && libav_prepare_strip(px->strip, strip, width, rows);
}

static void libav_fail_conversion(LibavPixels *px, const AVFrame *f,
                                  enum AVPixelFormat to)
{
    video_codec_session_fail(px->session,
                             "can't convert a frame of %dx%d from %s to %s",
                             f->width, f->height,
                             av_get_pix_fmt_name(f->format),
                             av_get_pix_fmt_name(to));
}

/*
 * Convert @rows.  Then they are in px->strip, but for planes that are as they
 * should be.
 */
static bool libav_convert(LibavPixels *px, const LibavConversion *c,
                          LibavRows *rows)
{
    AVFrame *strip = px->strip;
    int first = 0;              /* plane that is converted */

    if (libav_only_chroma(c)) {
        const uint8_t *chroma[4] = {
            rows->data[1], rows->data[1], rows->data[2]
        };
        int chroma_linesize[4] = {
            rows->linesize[1], rows->linesize[1], rows->linesize[2]
        };

        first = 1;
        if (sws_scale(px->sws, chroma, chroma_linesize, 0, strip->height,
                      strip->data, strip->linesize) != strip->height) {
            return false;
        }
    } else if (sws_scale(px->sws, rows->data, rows->linesize, 0, strip->height,
                         strip->data, strip->linesize) != strip->height) {
        return false;
    }
    if (libav_must_widen(c)) {
        libav_widen(strip);
    }
    for (int i = first; i < 4; i++) {
        rows->data[i] = strip->data[i];
        rows->linesize[i] = strip->linesize[i];
    }
    return true;
}

void libav_copy_uncached(uint8_t *const dst[4], const int dst_linesize[4],
                         const uint8_t *const src[4],
                         const int src_linesize[4], enum AVPixelFormat format,
                         int width, int height)
{
    ptrdiff_t to[4], from[4];
    uint8_t *data[4];
    const uint8_t *slow[4];
    uintptr_t bits = 0;

    for (int i = 0; i < 4; i++) {
        data[i] = dst[i];
        slow[i] = src[i];
        to[i] = dst_linesize[i];
        from[i] = src_linesize[i];
        bits |= (uintptr_t)dst[i] | (uintptr_t)src[i] | to[i] | from[i];
    }
    /* libavutil's way past the cache crashes with anything else */
    if (bits % av_cpu_max_align()) {
        av_image_copy(data, (int *)dst_linesize, slow, (int *)src_linesize,
                      format, width, height);
    } else {
        av_image_copy_uc_from(data, to, slow, from, format, width, height);
    }
}

/* Read rows once. */
static void libav_fetch(AVFrame *fetched, LibavRows *rows)
{
    libav_copy_uncached(fetched->data, fetched->linesize, rows->data,
                        rows->linesize, fetched->format, fetched->width,
                        fetched->height);
    libav_strip_rows(fetched, rows);
}

/* Convert and write @n_rows rows of @f from @row on. */
static bool libav_write_strip(LibavPixels *px, VideoCodecOutput *out,
                              const LibavConversion *c, const AVFrame *f,
                              int row, bool slow)
{
    int n_rows = MIN(c->rows, f->height - row);
    bool convert = c->from != c->to && f->format != c->to;
    LibavRows rows = { };

    for (int i = 0; i < 3; i++) {
        rows.linesize[i] = f->linesize[i];
        rows.data[i] = f->data[i] + (ptrdiff_t)(row >> !!i) * f->linesize[i];
    }
    if (slow) {
        libav_fetch(px->fetched, &rows);
    }
    if (f->format != c->to && libav_pix_fmt(f) != c->from) {
        libav_make_planar(px->planar, &rows);
    }
    if (convert && !libav_convert(px, c, &rows)) {
        libav_fail_conversion(px, f, c->to);
        return false;
    }

    for (unsigned i = 0; i < out->n_planes; i++) {
        if (!video_codec_output_write_rows(
                px->session, out, i, row >> !!i, (n_rows + !!i) >> !!i,
                rows.data[i], rows.linesize[i],
                av_image_get_linesize(c->to, f->width, i))) {
            return false;
        }
    }
    return true;
}

/* Have all strips that @c and @f need. */
static bool libav_prepare(LibavPixels *px, const LibavConversion *c,
                          const AVFrame *f, bool slow)
{
    if (slow && !libav_prepare_strip(px->fetched, libav_pix_fmt(f), c->width,
                                     c->rows)) {
        return false;
    }
    if (f->format == c->to) {
        return true;
    }
    if (libav_pix_fmt(f) != c->from &&
        !libav_prepare_strip(px->planar, c->from, c->width, c->rows)) {
        return false;
    }
    return c->from == c->to || libav_prepare_conversion(px, c);
}

bool libav_pixels_write(LibavPixels *px, VideoCodecOutput *out,
                        const AVFrame *f, bool slow)
{
    enum AVPixelFormat to = libav_raw_pix_fmt(out->fourcc);
    int strip_rows = LIBAV_STRIP_SIZE / av_image_get_linesize(to, f->width, 0);
    /*
     * swscale mistreats odd sizes: it leaves out the last chroma of a P010 row
     * and takes the slow way to RGB.  The row and column too many are there:
     * libavcodec rounds what it allocates up to much more, and drivers do.
     */
    int height = ROUND_UP(f->height, 2);
    LibavConversion c = {
        .width = ROUND_UP(f->width, 2),
        /* 8 is the height of swscale's dither pattern */
        .rows = MIN(MAX(QEMU_ALIGN_DOWN(strip_rows, 8), 8), height),
        .from = libav_planar_pix_fmt(libav_pix_fmt(f)),
        .to = to,
        .colorspace = f->colorspace,
        .full_range = f->color_range == AVCOL_RANGE_JPEG ||
                      f->format == AV_PIX_FMT_YUVJ420P,
    };

    if (!libav_prepare(px, &c, f, slow)) {
        libav_fail_conversion(px, f, to);
        return false;
    }

    for (int row = 0; row < height; row += c.rows) {
        /* For swscale a strip is a picture, all of one size: they overlap */
        if (!libav_write_strip(px, out, &c, f, MIN(row, height - c.rows),
                               slow)) {
            return false;
        }
    }
    return true;
}

LibavPixels *libav_pixels_new(VideoCodecSession *session)
{
    LibavPixels *px = g_new0(LibavPixels, 1);

    px->session = session;
    px->strip = av_frame_alloc();
    px->fetched = av_frame_alloc();
    px->planar = av_frame_alloc();
    if (!px->strip || !px->fetched || !px->planar) {
        libav_pixels_free(px);
        return NULL;
    }
    return px;
}

void libav_pixels_free(LibavPixels *px)
{
    if (!px) {
        return;
    }
    av_frame_free(&px->strip);
    av_frame_free(&px->fetched);
    av_frame_free(&px->planar);
    sws_freeContext(px->sws);
    g_free(px);
}
