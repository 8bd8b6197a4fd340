/*
 * What libva calls: open and close a display
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

#include <stdio.h>

#define CONCAT(a, b, c) a##_##b##_##c
#define INIT(major, minor) CONCAT(__vaDriverInit, major, minor)

VAStatus INIT(VA_MAJOR_VERSION, VA_MINOR_VERSION)(VADriverContextP va);

/* Contexts first, as their workers use all the others */
static void remove_all(VvDriver *drv, bool contexts)
{
    g_autoptr(GList) all = g_hash_table_get_values(drv->objects);

    for (GList *l = all; l; l = l->next) {
        VvObject *obj = l->data;

        if (!contexts) {
            vv_object_remove(obj);
        } else if (obj->type == VV_CONTEXT) {
            vv_worker_stop((VvContext *)obj);
            vv_object_remove(obj);
        }
    }
}

static VAStatus terminate(VADriverContextP va)
{
    VvDriver *drv = vv_driver(va);

    if (drv->lost) {
        g_usleep(drv->options.terminate_ms * 1000);
    }
    g_mutex_lock(&drv->lock);
    remove_all(drv, true);
    remove_all(drv, false);
    vv_stats_write(drv);
    g_mutex_unlock(&drv->lock);

    g_hash_table_unref(drv->objects);
    vv_options_clear(&drv->options);
    g_mutex_clear(&drv->lock);
    g_cond_clear(&drv->done);
    g_free(drv);
    va->pDriverData = NULL;
    return VA_STATUS_SUCCESS;
}

/* There are neither subpictures nor display attributes */

static VAStatus query_subpicture_formats(VADriverContextP va,
                                         VAImageFormat *formats,
                                         unsigned *flags, unsigned *num)
{
    *num = 0;
    return VA_STATUS_SUCCESS;
}

static VAStatus query_display_attributes(VADriverContextP va,
                                         VADisplayAttribute *attribs, int *num)
{
    *num = 0;
    return VA_STATUS_SUCCESS;
}

static VAStatus get_display_attributes(VADriverContextP va,
                                       VADisplayAttribute *attribs, int num)
{
    for (int i = 0; i < num; i++) {
        attribs[i].flags = VA_DISPLAY_ATTRIB_NOT_SUPPORTED;
    }
    return VA_STATUS_SUCCESS;
}

static VAStatus set_display_attributes(VADriverContextP va,
                                       VADisplayAttribute *attribs, int num)
{
    return VA_STATUS_ERROR_ATTR_NOT_SUPPORTED;
}

static VAStatus create_subpicture(VADriverContextP va, VAImageID image,
                                  VASubpictureID *subpicture)
{
    return VA_STATUS_ERROR_UNIMPLEMENTED;
}

static VAStatus destroy_subpicture(VADriverContextP va,
                                   VASubpictureID subpicture)
{
    return VA_STATUS_ERROR_UNIMPLEMENTED;
}

static VAStatus set_subpicture_image(VADriverContextP va,
                                     VASubpictureID subpicture, VAImageID image)
{
    return VA_STATUS_ERROR_UNIMPLEMENTED;
}

static VAStatus set_subpicture_chromakey(VADriverContextP va,
                                         VASubpictureID subpicture,
                                         unsigned min, unsigned max,
                                         unsigned mask)
{
    return VA_STATUS_ERROR_UNIMPLEMENTED;
}

static VAStatus set_subpicture_alpha(VADriverContextP va,
                                     VASubpictureID subpicture, float alpha)
{
    return VA_STATUS_ERROR_UNIMPLEMENTED;
}

static VAStatus associate_subpicture(VADriverContextP va,
                                     VASubpictureID subpicture,
                                     VASurfaceID *surfaces, int num,
                                     short src_x, short src_y,
                                     unsigned short src_width,
                                     unsigned short src_height,
                                     short dest_x, short dest_y,
                                     unsigned short dest_width,
                                     unsigned short dest_height,
                                     unsigned flags)
{
    return VA_STATUS_ERROR_UNIMPLEMENTED;
}

static VAStatus deassociate_subpicture(VADriverContextP va,
                                       VASubpictureID subpicture,
                                       VASurfaceID *surfaces, int num)
{
    return VA_STATUS_ERROR_UNIMPLEMENTED;
}

static VAStatus put_surface(VADriverContextP va, VASurfaceID surface,
                            void *draw, short srcx, short srcy,
                            unsigned short srcw, unsigned short srch,
                            short destx, short desty, unsigned short destw,
                            unsigned short desth, VARectangle *cliprects,
                            unsigned number_cliprects, unsigned flags)
{
    return VA_STATUS_ERROR_UNIMPLEMENTED;
}

static VAStatus set_image_palette(VADriverContextP va, VAImageID image,
                                  unsigned char *palette)
{
    return VA_STATUS_ERROR_UNIMPLEMENTED;
}

static void set_vtable(struct VADriverVTable *vtable)
{
    vtable->vaTerminate = terminate;
    vtable->vaQuerySubpictureFormats = query_subpicture_formats;
    vtable->vaCreateSubpicture = create_subpicture;
    vtable->vaDestroySubpicture = destroy_subpicture;
    vtable->vaSetSubpictureImage = set_subpicture_image;
    vtable->vaSetSubpictureChromakey = set_subpicture_chromakey;
    vtable->vaSetSubpictureGlobalAlpha = set_subpicture_alpha;
    vtable->vaAssociateSubpicture = associate_subpicture;
    vtable->vaDeassociateSubpicture = deassociate_subpicture;
    vtable->vaQueryDisplayAttributes = query_display_attributes;
    vtable->vaGetDisplayAttributes = get_display_attributes;
    vtable->vaSetDisplayAttributes = set_display_attributes;
    vtable->vaPutSurface = put_surface;
    vtable->vaSetImagePalette = set_image_palette;
    vv_config_vtable(vtable);
    vv_surface_vtable(vtable);
    vv_buffer_vtable(vtable);
    vv_image_vtable(vtable);
    vv_picture_vtable(vtable);
}

/* Is this the node that an option names? */
static bool is_node(VADriverContextP va, const char *path)
{
    const struct drm_state *drm = va->drm_state;
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d",
                                            drm ? drm->fd : -1);
    g_autofree char *file = g_file_read_link(link, NULL);

    return path && file && !strcmp(file, path);
}

/* Do the options say that the display can't be opened? */
static bool is_to_fail(VADriverContextP va, const VvOptions *o)
{
    static int times;

    return is_node(va, o->no_driver_at) ||
        (o->open_times &&
         g_atomic_int_add(&times, 1) >= (int)o->open_times);
}

VAStatus INIT(VA_MAJOR_VERSION, VA_MINOR_VERSION)(VADriverContextP va)
{
    VvDriver *drv = g_new0(VvDriver, 1);

    vv_options_init(&drv->options);
    if (is_to_fail(va, &drv->options)) {
        vv_options_clear(&drv->options);
        g_free(drv);
        return VA_STATUS_ERROR_HW_BUSY;
    }
    drv->no_codec = is_node(va, drv->options.no_codec_at);
    g_mutex_init(&drv->lock);
    g_cond_init(&drv->done);
    drv->objects = g_hash_table_new(NULL, NULL);
    drv->next_id = 1;
    snprintf(drv->vendor, sizeof(drv->vendor),
             "virtio-video software driver for tests, libavcodec %u.%u.%u",
             LIBAVCODEC_VERSION_MAJOR, LIBAVCODEC_VERSION_MINOR,
             LIBAVCODEC_VERSION_MICRO);

    va->pDriverData = drv;
    va->version_major = VA_MAJOR_VERSION;
    va->version_minor = VA_MINOR_VERSION;
    va->max_profiles = 32;
    va->max_entrypoints = 4;
    va->max_attributes = 64;
    va->max_image_formats = 16;
    va->max_subpic_formats = 1;
    va->max_display_attributes = 1;
    va->str_vendor = drv->vendor;
    set_vtable(va->vtable);
    vv_vpp_vtable(va->vtable_vpp);
    return VA_STATUS_SUCCESS;
}
