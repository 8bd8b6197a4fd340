/*
 * Objects with an id, counted by reference
 *
 * Any thread, with the display's lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

void *vv_object_new(VvDriver *drv, VvType type, size_t size,
                    void (*destroy)(VvObject *obj))
{
    VvObject *obj = g_malloc0(size);

    /* An id says its type, and none comes back soon: stale ones are found */
    obj->id = (uint32_t)type << 28 | (drv->next_id++ & 0xfffffff);
    obj->type = type;
    obj->refs = 1;
    obj->drv = drv;
    obj->destroy = destroy;
    g_hash_table_insert(drv->objects, GUINT_TO_POINTER(obj->id), obj);
    return obj;
}

void *vv_object(VvDriver *drv, VvType type, uint32_t id)
{
    return id >> 28 == type ?
        g_hash_table_lookup(drv->objects, GUINT_TO_POINTER(id)) : NULL;
}

void *vv_object_ref(void *p)
{
    VvObject *obj = p;

    obj->refs++;
    return obj;
}

void vv_object_unref(void *p)
{
    VvObject *obj = p;

    if (obj && !--obj->refs) {
        if (obj->destroy) {
            obj->destroy(obj);
        }
        g_free(obj);
    }
}

void vv_object_remove(void *p)
{
    VvObject *obj = p;

    if (g_hash_table_remove(obj->drv->objects, GUINT_TO_POINTER(obj->id))) {
        vv_object_unref(obj);
    }
}

void vv_count_bytes(VvDriver *drv, int64_t bytes)
{
    drv->bytes += bytes;
    drv->stats.peak_bytes = MAX(drv->stats.peak_bytes, drv->bytes);
}
