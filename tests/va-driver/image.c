/*
 * Images: pixels which the client may read and write
 *
 * None of these waits for a surface's picture: that is vaSyncSurface's.
 * Any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

#include <string.h>

static VAStatus query_formats(VADriverContextP va, VAImageFormat *list,
                              int *num)
{
    const VvFormat *f;

    for (*num = 0; (f = vv_format_at(*num)); ++*num) {
        list[*num] = f->image;
    }
    return VA_STATUS_SUCCESS;
}

static VvImage *image_new(VvDriver *drv, const VvFormat *format,
                          unsigned width, unsigned height)
{
    VvImage *image = vv_object_new(drv, VV_IMAGE, sizeof(*image), NULL);

    image->format = format;
    image->image = (VAImage) {
        .image_id = image->obj.id,
        .format = format->image,
        .width = width,
        .height = height,
        .num_planes = format->planes,
    };
    return image;
}

static VAStatus create_image(VADriverContextP va, VAImageFormat *want,
                             int width, int height, VAImage *out)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    const VvFormat *f = vv_format(want->fourcc);
    VvImage *image;
    VAImage *i;

    (void)locker;
    if (drv->lost) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    if (!f) {
        return VA_STATUS_ERROR_INVALID_IMAGE_FORMAT;
    }
    if (width <= 0 || height <= 0 || width > 16384 || height > 16384) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    image = image_new(drv, f, width, height);
    i = &image->image;
    /*
     * In blocks, like surfaces: GStreamer 1.22 looks for the planes of a
     * derived image where those of one that is made are
     */
    width = (width + 15) & ~15;
    height = (height + 15) & ~15;
    for (unsigned p = 0; p < f->planes; p++) {
        unsigned w = width >> f->shift[p], h = height >> f->shift[p];

        i->pitches[p] = (w * f->bytes[p] + 63) & ~63u;
        i->offsets[p] = i->data_size;
        i->data_size += i->pitches[p] * h;
    }
    i->buf = vv_buffer_new(drv, VAImageBufferType, i->data_size, 1,
                           NULL)->obj.id;
    *out = *i;
    return VA_STATUS_SUCCESS;
}

/* A copy of a surface's memory, but each 16 bytes swapped with the next 16 */
static VvBuffer *garbled(VvDriver *drv, const VvMemory *memory)
{
    VvBuffer *b = vv_buffer_new(drv, VAImageBufferType, memory->size, 1, NULL);
    const size_t step = 16;

    for (size_t at = 0; at + 2 * step <= memory->size; at += 2 * step) {
        memcpy(b->data + at, memory->data + at + step, step);
        memcpy(b->data + at + step, memory->data + at, step);
    }
    return b;
}

static VvBuffer *mapped(VvDriver *drv, VvMemory *memory)
{
    VvBuffer *b = vv_buffer_new(drv, VAImageBufferType, memory->size, 0, NULL);

    b->elements = 1;
    b->memory = vv_memory_ref(memory);
    return b;
}

static VAStatus derive_image(VADriverContextP va, VASurfaceID id, VAImage *out)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvSurface *s = vv_object(drv, VV_SURFACE, id);
    VvImage *image;
    VvBuffer *b;

    (void)locker;
    if (!s) {
        return VA_STATUS_ERROR_INVALID_SURFACE;
    }
    if (drv->options.no_derive) {
        return VA_STATUS_ERROR_UNIMPLEMENTED;
    }
    if (drv->lost || drv->options.derive_tiled) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    image = image_new(drv, s->format, s->width, s->height);
    for (unsigned p = 0; p < s->format->planes; p++) {
        image->image.pitches[p] = s->pitch[p];
        image->image.offsets[p] = s->offset[p];
    }
    image->image.data_size = s->memory->size;
    b = drv->options.derive_garbled ? garbled(drv, s->memory) :
        mapped(drv, s->memory);
    image->image.buf = b->obj.id;
    drv->stats.derived_images++;
    *out = image->image;
    return VA_STATUS_SUCCESS;
}

static VAStatus destroy_image(VADriverContextP va, VAImageID id)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvImage *image = vv_object(drv, VV_IMAGE, id);
    VvBuffer *b;

    (void)locker;
    if (!image) {
        return VA_STATUS_ERROR_INVALID_IMAGE;
    }
    b = vv_object(drv, VV_BUFFER, image->image.buf);
    if (b) {
        vv_object_remove(b);
    }
    vv_object_remove(image);
    return VA_STATUS_SUCCESS;
}

static void image_pixels(const VvImage *image, VvBuffer *b, VvPixels *p)
{
    uint8_t *data = b->memory ? b->memory->data : b->data;

    *p = (VvPixels) {
        .format = image->format->av,
        .width = image->image.width,
        .height = image->image.height,
    };
    for (unsigned i = 0; i < image->format->planes; i++) {
        p->data[i] = data + image->image.offsets[i];
        p->pitch[i] = image->image.pitches[i];
    }
}

static bool is_inside(const VvPixels *p, int x, int y, unsigned w, unsigned h)
{
    return x >= 0 && y >= 0 && w && h && w <= (unsigned)p->width &&
        h <= (unsigned)p->height && (unsigned)x <= p->width - w &&
        (unsigned)y <= p->height - h;
}

/* Both ways are the same: find both, let the lock go, copy */
typedef struct Transfer {
    VvSurface *surface;
    VvBuffer *buffer;
    VvPixels in_surface;
    VvPixels in_image;
} Transfer;

static VAStatus begin(VvDriver *drv, VASurfaceID surface, VAImageID id,
                      Transfer *t)
{
    VvSurface *s = vv_object(drv, VV_SURFACE, surface);
    VvImage *image = vv_object(drv, VV_IMAGE, id);
    VvBuffer *b;

    if (!s) {
        return VA_STATUS_ERROR_INVALID_SURFACE;
    }
    b = image ? vv_object(drv, VV_BUFFER, image->image.buf) : NULL;
    if (!b) {
        return VA_STATUS_ERROR_INVALID_IMAGE;
    }
    if (drv->lost) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    vv_surface_pixels(s, &t->in_surface);
    image_pixels(image, b, &t->in_image);
    t->surface = vv_object_ref(s);
    t->buffer = vv_object_ref(b);
    return VA_STATUS_SUCCESS;
}

static void end(Transfer *t)
{
    vv_object_unref(t->surface);
    vv_object_unref(t->buffer);
}

static VAStatus get_image(VADriverContextP va, VASurfaceID surface, int x,
                          int y, unsigned width, unsigned height, VAImageID id)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    Transfer t;
    VAStatus status = begin(drv, surface, id, &t);

    (void)locker;
    if (status) {
        return status;
    }
    if (!is_inside(&t.in_surface, x, y, width, height) ||
        !is_inside(&t.in_image, 0, 0, width, height)) {
        status = VA_STATUS_ERROR_INVALID_PARAMETER;
    } else {
        drv->stats.get_images++;
        drv->stats.get_image_bytes += t.buffer->size;
        g_mutex_unlock(&drv->lock);
        g_usleep(drv->options.get_image_ms * 1000);
        vv_pixels_crop(&t.in_surface, x, y, width, height);
        vv_pixels_crop(&t.in_image, 0, 0, width, height);
        status = vv_pixels(&t.in_image, &t.in_surface) ? VA_STATUS_SUCCESS :
            VA_STATUS_ERROR_OPERATION_FAILED;
        g_mutex_lock(&drv->lock);
    }
    end(&t);
    return status;
}

static VAStatus put_image(VADriverContextP va, VASurfaceID surface,
                          VAImageID id, int src_x, int src_y,
                          unsigned src_width, unsigned src_height, int dest_x,
                          int dest_y, unsigned dest_width,
                          unsigned dest_height)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    Transfer t;
    VAStatus status = begin(drv, surface, id, &t);

    (void)locker;
    if (status) {
        return status;
    }
    if (!is_inside(&t.in_image, src_x, src_y, src_width, src_height) ||
        !is_inside(&t.in_surface, dest_x, dest_y, dest_width, dest_height)) {
        status = VA_STATUS_ERROR_INVALID_PARAMETER;
    } else {
        drv->stats.put_images++;
        drv->stats.put_image_bytes += t.buffer->size;
        g_mutex_unlock(&drv->lock);
        vv_pixels_crop(&t.in_image, src_x, src_y, src_width, src_height);
        vv_pixels_crop(&t.in_surface, dest_x, dest_y, dest_width, dest_height);
        status = vv_pixels(&t.in_surface, &t.in_image) ? VA_STATUS_SUCCESS :
            VA_STATUS_ERROR_OPERATION_FAILED;
        g_mutex_lock(&drv->lock);
    }
    end(&t);
    return status;
}

void vv_image_vtable(struct VADriverVTable *vtable)
{
    vtable->vaQueryImageFormats = query_formats;
    vtable->vaCreateImage = create_image;
    vtable->vaDeriveImage = derive_image;
    vtable->vaDestroyImage = destroy_image;
    vtable->vaGetImage = get_image;
    vtable->vaPutImage = put_image;
}
