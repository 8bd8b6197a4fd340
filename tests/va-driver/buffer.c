/*
 * Buffers: parameters, coded data, the memory of images
 *
 * Any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

#include <string.h>

static void buffer_destroy(VvObject *obj)
{
    VvBuffer *b = (VvBuffer *)obj;

    vv_count_bytes(obj->drv, -(int64_t)b->bytes);
    g_free(b->data);
    g_slist_free_full(b->retired, g_free);
    vv_memory_unref(b->memory);
    vv_job_unref(b->fence);
}

VvBuffer *vv_buffer_new(VvDriver *drv, VABufferType type, unsigned size,
                        unsigned elements, const void *data)
{
    VvBuffer *b = vv_object_new(drv, VV_BUFFER, sizeof(*b), buffer_destroy);
    size_t bytes = (size_t)size * elements;

    b->type = type;
    b->size = size;
    b->elements = elements;
    b->data = g_malloc0(bytes + AV_INPUT_BUFFER_PADDING_SIZE);
    if (type == VAEncCodedBufferType || type == VAImageBufferType) {
        b->bytes = bytes;
        vv_count_bytes(drv, bytes);
    }
    if (data) {
        memcpy(b->data, data, bytes);
    }
    return b;
}

static VAStatus create_buffer(VADriverContextP va, VAContextID context,
                              VABufferType type, unsigned size,
                              unsigned elements, void *data, VABufferID *id)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);

    (void)locker;
    if (drv->lost) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    if (!size || !elements || (uint64_t)size * elements > 1u << 30) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    *id = vv_buffer_new(drv, type, size, elements, data)->obj.id;
    return VA_STATUS_SUCCESS;
}

static VAStatus destroy_buffer(VADriverContextP va, VABufferID id)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvBuffer *b = vv_object(drv, VV_BUFFER, id);

    (void)locker;
    if (!b) {
        return VA_STATUS_ERROR_INVALID_BUFFER;
    }
    vv_object_remove(b);
    return VA_STATUS_SUCCESS;
}

static VAStatus set_num_elements(VADriverContextP va, VABufferID id,
                                 unsigned elements)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvBuffer *b = vv_object(drv, VV_BUFFER, id);

    (void)locker;
    if (!b) {
        return VA_STATUS_ERROR_INVALID_BUFFER;
    }
    if (elements > b->elements) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    b->elements = elements;
    return VA_STATUS_SUCCESS;
}

/* What a job will read must not change any more: the client gets a copy */
static void detach(VvBuffer *b)
{
    size_t bytes = (size_t)b->size * b->elements + AV_INPUT_BUFFER_PADDING_SIZE;

    b->retired = g_slist_prepend(b->retired, b->data);
    b->data = g_memdup2(b->data, bytes);
}

static VAStatus map_coded(VvDriver *drv, VvBuffer *b, void **p)
{
    VAStatus status = vv_job_wait(drv, b->fence, VA_TIMEOUT_INFINITE);

    b->segment.buf = b->data;
    *p = &b->segment;
    return status;
}

static VAStatus map_buffer(VADriverContextP va, VABufferID id, void **p)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvBuffer *b = vv_object(drv, VV_BUFFER, id);

    (void)locker;
    if (!b) {
        return VA_STATUS_ERROR_INVALID_BUFFER;
    }
    if (drv->lost) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    if (b->type == VAEncCodedBufferType) {
        return map_coded(drv, b, p);
    }
    if (b->memory) {
        drv->stats.mapped_surface_bytes += b->size;
        *p = b->memory->data;
        return VA_STATUS_SUCCESS;
    }
    if (b->jobs) {
        detach(b);
    }
    *p = b->data;
    return VA_STATUS_SUCCESS;
}

static VAStatus unmap_buffer(VADriverContextP va, VABufferID id)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);

    (void)locker;
    return vv_object(drv, VV_BUFFER, id) ? VA_STATUS_SUCCESS :
        VA_STATUS_ERROR_INVALID_BUFFER;
}

static VAStatus sync_buffer(VADriverContextP va, VABufferID id,
                            uint64_t timeout_ns)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvBuffer *b = vv_object(drv, VV_BUFFER, id);

    (void)locker;
    if (!b) {
        return VA_STATUS_ERROR_INVALID_BUFFER;
    }
    if (vv_sync_fails(drv)) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    return vv_job_wait(drv, b->fence, timeout_ns);
}

static VAStatus buffer_info(VADriverContextP va, VABufferID id,
                            VABufferType *type, unsigned *size,
                            unsigned *elements)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvBuffer *b = vv_object(drv, VV_BUFFER, id);

    (void)locker;
    if (!b) {
        return VA_STATUS_ERROR_INVALID_BUFFER;
    }
    *type = b->type;
    *size = b->size;
    *elements = b->elements;
    return VA_STATUS_SUCCESS;
}

void vv_buffer_vtable(struct VADriverVTable *vtable)
{
    vtable->vaCreateBuffer = create_buffer;
    vtable->vaDestroyBuffer = destroy_buffer;
    vtable->vaBufferSetNumElements = set_num_elements;
    vtable->vaMapBuffer = map_buffer;
    vtable->vaUnmapBuffer = unmap_buffer;
    vtable->vaSyncBuffer = sync_buffer;
    vtable->vaBufferInfo = buffer_info;
}
