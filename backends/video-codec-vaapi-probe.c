/*
 * Video codec on a GPU with VA-API: what works, and what is the fastest
 *
 * Drivers differ in what memory they take, how it must be aligned, how fast
 * the CPU can read it, and what their video processors make of colours.  Some
 * say so, and some do it wrong without a word.  So when a display is opened
 * pictures are drawn on one side and looked at on the other, and only what
 * comes out right is used.
 *
 * There are two kinds of pictures.  A texture is different in each place, so
 * that no row, plane or tile can stand for another, and it must come out as it
 * was.  Where RGB is on one side there are bars of plain colours, and each must
 * be about what it should be.
 *
 * Runs in whatever thread opens the display: see video-codec-vaapi-display.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "qemu/memfd.h"
#include "qemu/timer.h"
#include "video-codec-vaapi.h"

#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>

/* For the time that it takes; a frame that is often seen */
#define PROBE_TIMED_WIDTH 1280
#define PROBE_TIMED_HEIGHT 720
#define PROBE_ROUNDS 3

/* For everything else.  As with 1080 rows, 16 is no divisor */
#define PROBE_WIDTH 256
#define PROBE_HEIGHT 146

/* Where the picture is that the GPU reads */
#define PROBE_LEFT 18
#define PROBE_TOP 6

#define PROBE_BARS 8

/* YUV of 8 bits is so far away from the RGB that it was made of, and back */
#define PROBE_TOLERANCE 4

/* What the planes of a guest may have to be aligned to, in bytes */
#define PROBE_MAX_PITCH_ALIGN 256
#define PROBE_MAX_OFFSET_ALIGN 4096
#define PROBE_MIN_ALIGN 16
#define PROBE_ALIGN_STEP 4

/* All of them exist in YUV of any kind */
static const uint8_t probe_bars[PROBE_BARS][3] = {
    { 20, 20, 20 }, { 235, 235, 235 }, { 200, 40, 40 }, { 40, 180, 40 },
    { 50, 50, 200 }, { 180, 180, 50 }, { 60, 170, 170 }, { 170, 70, 170 },
};

/*
 * ProbePicture: what is drawn.
 * @colours: NONE: a texture; else bars, which in YUV are of this kind
 * @flip: what the texture is XORed with, so that it is not an older one
 */
typedef struct ProbePicture {
    VaapiColours colours;
    uint8_t flip;
} ProbePicture;

/* Pixels that the CPU reads or writes */
typedef struct ProbePixels {
    const AVPixFmtDescriptor *desc;
    enum AVPixelFormat format;
    int width, height;
    uint8_t *data[4];
    int linesize[4];
} ProbePixels;

/*
 * Probe: a surface, and memory of the kind that guests have.
 * @raw: NV12 or P010: what the surface holds
 * @copy: for what the CPU reads of it
 * @pages, @size, @memfd: the memory, and the file that it is of
 * @import, @read: who copies, and whether that is from memory or to it
 * @transfer: what has been found out of that, and how to try the next copy
 * @hung: one took so long that no other is tried
 */
typedef struct Probe {
    VaapiDisplay *display;
    VASurfaceID surface;
    VaapiRawIndex raw;
    int width, height;
    uint8_t *copy;
    uint8_t *pages;
    size_t size;
    int memfd;
    VaapiImport import;
    bool read;
    VaapiTransfer *transfer;
    bool hung;
} Probe;

/*
 * Pictures
 */

static uint8_t probe_texture(int component, int x, int y)
{
    return x * 7 + y * 13 + (x >> 4) * (y >> 4) + component * 101;
}

/* RGB of full range as Y, U or V of 8 bits */
static uint8_t probe_yuv(VaapiColours colours, const uint8_t *rgb,
                         int component)
{
    bool bt709 = colours & (VAAPI_COLOURS_BT709 | VAAPI_COLOURS_BT709_FULL);
    bool full = colours & (VAAPI_COLOURS_BT601_FULL |
                           VAAPI_COLOURS_BT709_FULL);
    double kr = bt709 ? 0.2126 : 0.299;
    double kb = bt709 ? 0.0722 : 0.114;
    double y = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2];
    double chroma = full ? 1 : 224.0 / 255;

    switch (component) {
    case 0:
        return lrint(full ? y : 16 + y * 219 / 255);
    case 1:
        return lrint(128 + (rgb[2] - y) / (2 - 2 * kb) * chroma);
    default:
        return lrint(128 + (rgb[0] - y) / (2 - 2 * kr) * chroma);
    }
}

/* How many samples a component has in a row, or with @vertical in a column */
static int probe_samples(const ProbePixels *px, int component, bool vertical)
{
    int shift = !component ? 0 : vertical ? px->desc->log2_chroma_h
                                          : px->desc->log2_chroma_w;

    return AV_CEIL_RSHIFT(vertical ? px->height : px->width, shift);
}

static uint16_t probe_sample(const ProbePixels *px, const ProbePicture *picture,
                             int component, int x, int y)
{
    int deeper = px->desc->comp[component].depth - 8;
    uint8_t sample;

    if (picture->colours) {
        int n = probe_samples(px, component, false);
        const uint8_t *rgb = probe_bars[x * PROBE_BARS / n];

        sample = px->desc->flags & AV_PIX_FMT_FLAG_RGB ? rgb[component] :
                 probe_yuv(picture->colours, rgb, component);
    } else {
        sample = probe_texture(component, x, y) ^ picture->flip;
    }
    return sample << deeper | sample >> (8 - deeper);
}

/* Is this at the edge of a bar, where another one may shine through? */
static bool probe_is_edge(int x, int samples)
{
    int bar = samples / PROBE_BARS;

    return x % bar < bar / 4 || x % bar >= bar - bar / 4;
}

static void probe_draw(const ProbePixels *px, const ProbePicture *picture)
{
    g_autofree uint16_t *line = g_new(uint16_t, px->width);

    /* Samples are added to what is there */
    for (int i = 0; i < av_pix_fmt_count_planes(px->format); i++) {
        int rows = probe_samples(px, i, true);

        for (int y = 0; y < rows; y++) {
            memset(px->data[i] + (ptrdiff_t)y * px->linesize[i], 0,
                   av_image_get_linesize(px->format, px->width, i));
        }
    }
    for (int c = 0; c < 3; c++) {
        int n = probe_samples(px, c, false);

        for (int y = 0; y < probe_samples(px, c, true); y++) {
            for (int x = 0; x < n; x++) {
                line[x] = probe_sample(px, picture, c, x, y);
            }
            av_write_image_line(line, (uint8_t **)px->data, px->linesize,
                                px->desc, 0, y, c, n);
        }
    }
}

static bool probe_is_same(const uint16_t *line, const ProbePixels *px,
                          const ProbePicture *picture, int component, int y)
{
    int n = probe_samples(px, component, false);

    for (int x = 0; x < n; x++) {
        int off = abs(line[x] - probe_sample(px, picture, component, x, y));

        if (picture->colours ? off > PROBE_TOLERANCE && !probe_is_edge(x, n)
                             : off) {
            return false;
        }
    }
    return true;
}

static bool probe_shows(const ProbePixels *px, const ProbePicture *picture)
{
    g_autofree uint16_t *line = g_new(uint16_t, px->width);

    for (int c = 0; c < 3; c++) {
        for (int y = 0; y < probe_samples(px, c, true); y++) {
            av_read_image_line(line, (const uint8_t **)px->data, px->linesize,
                               px->desc, 0, y, c,
                               probe_samples(px, c, false), 0);
            if (!probe_is_same(line, px, picture, c, y)) {
                return false;
            }
        }
    }
    return true;
}

/*
 * Surfaces
 */

static void probe_close(Probe *probe)
{
    vaDestroySurfaces(probe->display->dpy, &probe->surface, 1);
    qemu_vfree(probe->copy);
}

static bool probe_open(Probe *probe, VaapiDisplay *display, VaapiRawIndex raw,
                       int width, int height)
{
    const VaapiRaw *info = &vaapi_raws[raw];
    VASurfaceAttrib format = {
        .type = VASurfaceAttribPixelFormat,
        .flags = VA_SURFACE_ATTRIB_SETTABLE,
        .value.type = VAGenericValueTypeInteger,
        .value.value.i = info->va_fourcc,
    };

    probe->display = display;
    probe->raw = raw;
    probe->width = width;
    probe->height = height;
    if (vaCreateSurfaces(display->dpy, info->rt_format, width, height,
                         &probe->surface, 1, &format, 1) !=
        VA_STATUS_SUCCESS) {
        return false;
    }
    probe->copy = qemu_memalign(qemu_real_host_page_size(),
                                av_image_get_buffer_size(info->pix_fmt, width,
                                                         height, 1));
    return true;
}

static void probe_pixels(const Probe *probe, VaapiRawIndex raw, ProbePixels *px)
{
    px->format = vaapi_raws[raw].pix_fmt;
    px->desc = av_pix_fmt_desc_get(px->format);
    px->width = probe->width;
    px->height = probe->height;
}

/* Draw into the surface. */
static bool probe_draw_surface(const Probe *probe, const ProbePicture *picture)
{
    enum AVPixelFormat format = vaapi_raws[probe->raw].pix_fmt;
    g_auto(VaapiImage) img = { };
    ProbePixels px = { };

    if (!vaapi_image_init(&img, probe->display,
                          VIDEO_CODEC_VAAPI_PATH_GETIMAGE, NULL) ||
        vaapi_image_begin_write(&img, probe->surface, probe->width,
                                probe->height, format) != VA_STATUS_SUCCESS) {
        return false;
    }
    probe_pixels(probe, probe->raw, &px);
    for (int i = 0; i < 2; i++) {
        px.data[i] = img.frame->data[i];
        px.linesize[i] = img.frame->linesize[i];
    }
    probe_draw(&px, picture);
    return vaapi_image_end_write(&img, probe->surface) == VA_STATUS_SUCCESS;
}

/* Copy the surface to @px, which is probe->copy. */
static bool probe_read(const Probe *probe, VaapiImage *img, ProbePixels *px)
{
    const uint8_t *src[4] = { };
    int src_linesize[4] = { };
    bool ok;

    probe_pixels(probe, probe->raw, px);
    av_image_fill_arrays(px->data, px->linesize, probe->copy, px->format,
                         px->width, px->height, 1);
    ok = vaSyncSurface(img->display->dpy, probe->surface) ==
         VA_STATUS_SUCCESS &&
         vaapi_image_map(img, probe->surface, px->width, px->height,
                         px->format) == VA_STATUS_SUCCESS;
    if (ok) {
        for (int i = 0; i < 2; i++) {
            src[i] = img->frame->data[i];
            src_linesize[i] = img->frame->linesize[i];
        }
        libav_copy_uncached(px->data, px->linesize, src, src_linesize,
                            px->format, px->width, px->height);
    }
    vaapi_image_unmap(img);
    return ok;
}

static bool probe_surface_shows(const Probe *probe, const ProbePicture *picture)
{
    g_auto(VaapiImage) img = { };
    ProbePixels px = { };

    return vaapi_image_init(&img, probe->display, probe->display->copy_path,
                            NULL) &&
           probe_read(probe, &img, &px) && probe_shows(&px, picture);
}

/*
 * The ways of the CPU
 */

/* Returns: nanoseconds for a frame, or INT64_MAX if it does not work */
static int64_t probe_time_path(const Probe *probe, VideoCodecVaapiPath path,
                               const ProbePicture *picture)
{
    g_auto(VaapiImage) img = { };
    int64_t best = INT64_MAX;
    ProbePixels px = { };

    if (!vaapi_image_init(&img, probe->display, path, NULL)) {
        return INT64_MAX;
    }
    for (int i = 0; i < PROBE_ROUNDS; i++) {
        int64_t begin = get_clock();

        if (!probe_read(probe, &img, &px)) {
            return INT64_MAX;
        }
        best = MIN(best, get_clock() - begin);
    }
    return probe_shows(&px, picture) ? best : INT64_MAX;
}

static void probe_find_copy_path(VaapiDisplay *display)
{
    const ProbePicture picture = { };
    Probe probe = { };

    display->copy_path = VIDEO_CODEC_VAAPI_PATH_GETIMAGE;
    if (!probe_open(&probe, display, VAAPI_RAW_NV12, PROBE_TIMED_WIDTH,
                    PROBE_TIMED_HEIGHT)) {
        return;
    }
    if (probe_draw_surface(&probe, &picture) &&
        probe_time_path(&probe, VIDEO_CODEC_VAAPI_PATH_DERIVE, &picture) <
        probe_time_path(&probe, VIDEO_CODEC_VAAPI_PATH_GETIMAGE, &picture)) {
        display->copy_path = VIDEO_CODEC_VAAPI_PATH_DERIVE;
    }
    probe_close(&probe);
}

/*
 * The ways of the GPU
 */

/* A number that is at least @n, and aligned so, but not to more */
static uint32_t probe_align(uint32_t n, uint32_t align)
{
    return ROUND_UP(n, 2 * align) + align;
}

/* Planes that are not aligned to any more, and have gaps in between */
static void probe_lay_out(uint32_t pitch_align, uint32_t offset_align,
                          VaapiMemory *m)
{
    const VaapiRaw *raw = &vaapi_raws[m->raw];
    /* Planar chroma has half the pitch of luma */
    bool planar = raw->n_planes == 3;
    uint32_t pitch =
        probe_align(av_image_get_linesize(raw->pix_fmt, m->width, planar),
                    pitch_align);
    uint32_t end = 0;

    for (unsigned i = 0; i < raw->n_planes; i++) {
        m->pitch[i] = planar && !i ? 2 * pitch : pitch;
        m->offset[i] = !i && offset_align == PROBE_MAX_OFFSET_ALIGN ? 0 :
                       probe_align(ROUND_UP(end, PROBE_MAX_OFFSET_ALIGN),
                                   offset_align);
        end = m->offset[i] + (m->height >> !!i) * m->pitch[i];
    }
    m->size = ROUND_UP(end, qemu_real_host_page_size());
}

/* Those of m->region */
static void probe_memory_pixels(const Probe *probe, const VaapiMemory *m,
                                ProbePixels *px)
{
    probe_pixels(probe, m->raw, px);
    for (unsigned i = 0; i < vaapi_raws[m->raw].n_planes; i++) {
        px->data[i] = probe->pages + m->offset[i] +
                      (m->region.y >> !!i) * m->pitch[i] +
                      av_image_get_linesize(px->format, m->region.x, i);
        px->linesize[i] = m->pitch[i];
    }
}

/* Does a picture get from the surface to memory, or the other way? */
static bool probe_copy(Probe *probe, VaapiRawIndex raw, unsigned i,
                       VaapiColours colours)
{
    const VaapiTransfer *transfer = probe->transfer;
    bool read = probe->read;
    struct iovec iov = { .iov_base = probe->pages };
    ProbePicture picture = { .colours = colours, .flip = read ? 0x55 : 0xff };
    ProbePicture before = { };
    ProbePixels px = { };
    VaapiMemory m = {
        .iov = &iov,
        .niov = 1,
        .raw = raw,
        .region = {
            /* Encoders may take a part */
            .x = read ? PROBE_LEFT : 0,
            .y = read ? PROBE_TOP : 0,
            .width = PROBE_WIDTH,
            .height = PROBE_HEIGHT,
        },
        .colours = colours,
    };
    VaapiCopyResult result;

    m.width = m.region.x + PROBE_WIDTH;
    m.height = m.region.y + PROBE_HEIGHT;
    probe_lay_out(transfer->pitch_align[i], transfer->offset_align[i], &m);
    g_assert(m.size <= probe->size);
    iov.iov_len = m.size;
    probe_memory_pixels(probe, &m, &px);
    memset(probe->pages, 0, m.size);
    if (read) {
        probe_draw(&px, &picture);
    }
    if (probe->hung || !probe_draw_surface(probe, read ? &before : &picture)) {
        return false;
    }
    result = vaapi_import_copy(&probe->import, probe->surface, &m, 1u << i,
                               probe->memfd, read);
    probe->hung = result == VAAPI_COPY_HUNG;
    return result == VAAPI_COPY_DONE &&
           (read ? probe_surface_shows(probe, &picture)
                 : probe_shows(&px, &picture));
}

static bool probe_nv12(Probe *probe, unsigned i)
{
    return probe_copy(probe, VAAPI_RAW_NV12, i, VAAPI_COLOURS_NONE);
}

/* Lower @align, which is one of probe->transfer, as far as that works. */
static void probe_relax(Probe *probe, unsigned i, uint32_t *align)
{
    while (*align > PROBE_MIN_ALIGN) {
        *align /= PROBE_ALIGN_STEP;
        if (!probe_nv12(probe, i)) {
            *align *= PROBE_ALIGN_STEP;
            return;
        }
    }
}

/* One kind of memory, and how it must be aligned */
static void probe_type(Probe *probe, unsigned i)
{
    VaapiTransfer *transfer = probe->transfer;

    transfer->pitch_align[i] = PROBE_MAX_PITCH_ALIGN;
    transfer->offset_align[i] = PROBE_MAX_OFFSET_ALIGN;
    if (probe_nv12(probe, i)) {
        transfer->types[VAAPI_RAW_NV12] |= 1u << i;
        probe_relax(probe, i, &transfer->pitch_align[i]);
        probe_relax(probe, i, &transfer->offset_align[i]);
    }
}

/* Another format, whose samples must stay as they are */
static void probe_format(Probe *probe, VaapiRawIndex raw)
{
    VaapiTransfer *transfer = probe->transfer;

    for (unsigned i = 0; i < VAAPI_N_IMPORT_TYPES; i++) {
        if (transfer->types[VAAPI_RAW_NV12] & 1u << i &&
            probe_copy(probe, raw, i, VAAPI_COLOURS_NONE)) {
            transfer->types[raw] |= 1u << i;
        }
    }
}

/*
 * RGB, which encoders take as BT.601 only.  All kinds of memory know the same
 * colours, or those that all know.
 */
static void probe_rgb(Probe *probe)
{
    VaapiTransfer *transfer = probe->transfer;
    unsigned n = probe->read ? 1 : VAAPI_N_COLOURS;

    transfer->colours = (1u << n) - 1;
    for (unsigned i = 0; i < VAAPI_N_IMPORT_TYPES; i++) {
        unsigned known = 0;

        for (unsigned c = 0; c < n; c++) {
            if (transfer->types[VAAPI_RAW_NV12] & 1u << i &&
                probe_copy(probe, VAAPI_RAW_XRGB8888, i, 1u << c)) {
                known |= 1u << c;
            }
        }
        if (known) {
            transfer->types[VAAPI_RAW_XRGB8888] |= 1u << i;
            transfer->colours &= known;
        }
    }
}

/* All of one direction */
static void probe_transfer(VaapiDisplay *display, Probe *probe, bool read)
{
    probe->read = read;
    probe->transfer = read ? &display->read : &display->write;
    vaapi_import_init(&probe->import, display, read);
    if (!probe->import.display) {
        return;
    }
    if (probe_open(probe, display, VAAPI_RAW_NV12, PROBE_WIDTH,
                   PROBE_HEIGHT)) {
        for (unsigned i = 0; i < VAAPI_N_IMPORT_TYPES; i++) {
            probe_type(probe, i);
        }
        probe_format(probe, VAAPI_RAW_YUV420);
        probe_rgb(probe);
        probe_close(probe);
    }
    if (vaapi_transfer_types(probe->transfer) &&
        probe_open(probe, display, VAAPI_RAW_P010, PROBE_WIDTH,
                   PROBE_HEIGHT)) {
        probe_format(probe, VAAPI_RAW_P010);
        probe_close(probe);
    }
    vaapi_import_cleanup(&probe->import);
}

void vaapi_probe(VaapiDisplay *display)
{
    /* More than enough for YUV420 that is aligned to the most */
    size_t size = ROUND_UP(PROBE_WIDTH * PROBE_HEIGHT * 16,
                           qemu_real_host_page_size());
    Probe probe = { .size = size, .memfd = -1 };

    probe_find_copy_path(display);
    probe.pages = qemu_memfd_alloc("video-codec-vaapi", size,
                                   F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL,
                                   &probe.memfd, NULL);
    if (probe.pages) {
        probe_transfer(display, &probe, false);
        probe_transfer(display, &probe, true);
        if (probe.hung) {
            close(probe.memfd);     /* the GPU may still write to it */
        } else {
            qemu_memfd_free(probe.pages, size, probe.memfd);
        }
    }
    display->path = vaapi_transfer_types(&display->write) ?
                    VIDEO_CODEC_VAAPI_PATH_IMPORT : display->copy_path;
    display->encode_path = vaapi_transfer_types(&display->read) ?
                           VIDEO_CODEC_VAAPI_PATH_IMPORT : display->copy_path;
}
