/*
 * Video codec on a GPU with VA-API: pixels of surfaces for the CPU
 *
 * There are two ways.  A derived image is the surface itself: nothing is
 * copied, but its memory may be slow to read, and not all drivers can show a
 * surface so.  vaGetImage() makes a copy in memory that the driver chooses.
 * Which one is faster, and whether both work, is different for each driver:
 * video-codec-vaapi-probe.c finds out.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "video-codec-vaapi.h"

#include <libavutil/imgutils.h>

bool vaapi_image_init(VaapiImage *img, VaapiDisplay *display,
                      VideoCodecVaapiPath path, VideoCodecSession *session)
{
    img->display = display;
    img->path = path;
    img->session = session;
    img->image.image_id = VA_INVALID_ID;
    img->frame = av_frame_alloc();
    return img->frame;
}

static void vaapi_image_drop(VaapiImage *img)
{
    if (img->image.image_id != VA_INVALID_ID) {
        vaDestroyImage(img->display->dpy, img->image.image_id);
        img->image.image_id = VA_INVALID_ID;
    }
    if (img->memory) {
        video_codec_session_give_memory(img->session, img->memory);
        img->memory = 0;
    }
}

void vaapi_image_cleanup(VaapiImage *img)
{
    if (img->display) {
        vaapi_image_drop(img);
    }
    av_frame_free(&img->frame);
}

static uint32_t vaapi_fourcc(enum AVPixelFormat format)
{
    return format == AV_PIX_FMT_P010LE ? VA_FOURCC_P010 : VA_FOURCC_NV12;
}

/* Is the image what we think?  A driver's mistake must not become ours. */
static bool vaapi_image_valid(const VAImage *image, enum AVPixelFormat format,
                              int width, int height)
{
    if (image->format.fourcc != vaapi_fourcc(format) ||
        image->num_planes != 2 || image->width < width ||
        image->height < height) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        /* What is converted has an even number of rows */
        uint64_t rows = ROUND_UP(height, 2) >> i;
        uint64_t end = image->offsets[i] + rows * image->pitches[i];

        if (image->pitches[i] < av_image_get_linesize(format, width, i) ||
            image->pitches[i] > INT_MAX || end > image->data_size) {
            return false;
        }
    }
    return true;
}

static VAStatus vaapi_image_make(VaapiImage *img, VAImageFormat *format,
                                 int width, int height)
{
    VAStatus status = vaCreateImage(img->display->dpy, format, width, height,
                                    &img->image);

    if (status != VA_STATUS_SUCCESS) {
        img->image.image_id = VA_INVALID_ID;
        return status;
    }
    if (img->session) {
        if (!video_codec_session_take_memory(img->session,
                                             img->image.data_size)) {
            vaapi_image_drop(img);
            return VA_STATUS_ERROR_ALLOCATION_FAILED;
        }
        img->memory = img->image.data_size;
    }
    return VA_STATUS_SUCCESS;
}

static VAStatus vaapi_image_create(VaapiImage *img, int width, int height,
                                   enum AVPixelFormat format)
{
    VADisplay dpy = img->display->dpy;
    int n = vaMaxNumImageFormats(dpy);
    g_autofree VAImageFormat *formats = g_new0(VAImageFormat, MAX(n, 1));
    VAStatus status;

    if (img->image.image_id != VA_INVALID_ID && img->pix_fmt == format &&
        img->image.width == width && img->image.height == height) {
        return VA_STATUS_SUCCESS;
    }
    vaapi_image_drop(img);
    status = vaQueryImageFormats(dpy, formats, &n);
    if (status != VA_STATUS_SUCCESS) {
        return status;
    }
    for (int i = 0; i < n; i++) {
        if (formats[i].fourcc == vaapi_fourcc(format)) {
            img->pix_fmt = format;
            return vaapi_image_make(img, &formats[i], width, height);
        }
    }
    return VA_STATUS_ERROR_INVALID_IMAGE_FORMAT;
}

static VAStatus vaapi_image_fill(VaapiImage *img, VASurfaceID surface,
                                 int width, int height,
                                 enum AVPixelFormat format)
{
    VADisplay dpy = img->display->dpy;
    VAStatus status;

    if (img->path == VIDEO_CODEC_VAAPI_PATH_DERIVE) {
        vaapi_image_drop(img);
        status = vaDeriveImage(dpy, surface, &img->image);
        if (status != VA_STATUS_SUCCESS) {
            img->image.image_id = VA_INVALID_ID;
        }
        return status;
    }
    status = vaapi_image_create(img, width, height, format);
    if (status != VA_STATUS_SUCCESS) {
        return status;
    }
    return vaGetImage(dpy, surface, 0, 0, width, height, img->image.image_id);
}

/* Let the CPU at img->image. */
static VAStatus vaapi_image_open(VaapiImage *img, int width, int height,
                                 enum AVPixelFormat format)
{
    AVFrame *f = img->frame;
    VAStatus status;
    void *data;

    if (!vaapi_image_valid(&img->image, format, width, height)) {
        return VA_STATUS_ERROR_INVALID_IMAGE_FORMAT;
    }
    status = vaMapBuffer(img->display->dpy, img->image.buf, &data);
    if (status != VA_STATUS_SUCCESS) {
        return status;
    }
    img->mapped = true;

    f->format = format;
    f->width = width;
    f->height = height;
    for (int i = 0; i < 2; i++) {
        f->data[i] = (uint8_t *)data + img->image.offsets[i];
        f->linesize[i] = img->image.pitches[i];
    }
    return VA_STATUS_SUCCESS;
}

VAStatus vaapi_image_map(VaapiImage *img, VASurfaceID surface, int width,
                         int height, enum AVPixelFormat format)
{
    VAStatus status = vaapi_image_fill(img, surface, width, height, format);

    return status != VA_STATUS_SUCCESS ?
           status : vaapi_image_open(img, width, height, format);
}

VAStatus vaapi_image_begin_write(VaapiImage *img, VASurfaceID surface,
                                 int width, int height,
                                 enum AVPixelFormat format)
{
    VAStatus status;

    if (img->path == VIDEO_CODEC_VAAPI_PATH_DERIVE) {
        return vaapi_image_map(img, surface, width, height, format);
    }
    status = vaapi_image_create(img, width, height, format);
    return status != VA_STATUS_SUCCESS ?
           status : vaapi_image_open(img, width, height, format);
}

VAStatus vaapi_image_end_write(VaapiImage *img, VASurfaceID surface)
{
    const AVFrame *f = img->frame;

    vaapi_image_unmap(img);
    if (img->path == VIDEO_CODEC_VAAPI_PATH_DERIVE) {
        return VA_STATUS_SUCCESS;
    }
    return vaPutImage(img->display->dpy, surface, img->image.image_id,
                      0, 0, f->width, f->height, 0, 0, f->width, f->height);
}

void vaapi_image_unmap(VaapiImage *img)
{
    if (img->mapped) {
        vaUnmapBuffer(img->display->dpy, img->image.buf);
        img->mapped = false;
    }
    if (img->path == VIDEO_CODEC_VAAPI_PATH_DERIVE) {
        vaapi_image_drop(img);
    }
}
