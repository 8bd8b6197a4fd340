/*
 * For tests: what GStreamer finds in place of a GPU, if libvvsw-preload.so is
 * loaded, too
 *
 * Its plugin "va" asks libgudev for devices of the subsystem "drm", and has no
 * elements if there are none.
 *
 * Any thread; no state.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <glib-object.h>

GList *g_udev_client_query_by_subsystem(void *client, const char *subsystem);
const char *g_udev_device_get_device_file(void *device);
const char *g_udev_device_get_name(void *device);

/* The devices are the caller's, which looks at them only by what is below */
GList *g_udev_client_query_by_subsystem(void *client, const char *subsystem)
{
    return g_str_equal(subsystem, "drm") ?
        g_list_append(NULL, g_object_new(G_TYPE_OBJECT, NULL)) : NULL;
}

const char *g_udev_device_get_device_file(void *device)
{
    return "/dev/null";
}

const char *g_udev_device_get_name(void *device)
{
    return "renderD128";
}
