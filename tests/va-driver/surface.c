/*
 * Surfaces: their memory, import and export, sync
 *
 * Any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"
#include "udmabuf.h"

#include <drm_fourcc.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where a surface's pixels shall be, as the client's attributes say */
typedef struct Import {
    uint32_t memory_type;
    bool linear;
    VASurfaceAttribExternalBuffers *buffers;
    VADRMPRIMESurfaceDescriptor *prime;
} Import;

VvMemory *vv_memory_ref(VvMemory *m)
{
    m->refs++;
    return m;
}

void vv_memory_unref(VvMemory *m)
{
    if (m && !--m->refs) {
        if (m->fd >= 0) {
            munmap(m->data, m->size);
            close(m->fd);
        }
        g_free(m);
    }
}

/* Takes @fd over.  Returns: NULL if it cannot be mapped */
static VvMemory *memory_of_fd(int fd, size_t size)
{
    VvMemory *m;
    void *data = size ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                             0) : MAP_FAILED;

    if (data == MAP_FAILED) {
        close(fd);
        return NULL;
    }
    m = g_new0(VvMemory, 1);
    m->refs = 1;
    m->fd = fd;
    m->data = data;
    m->size = size;
    return m;
}

static VvMemory *memory_new(size_t size)
{
    int fd = memfd_create("vvsw-surface", MFD_CLOEXEC);

    if (fd < 0) {
        return NULL;
    }
    if (ftruncate(fd, size)) {
        close(fd);
        return NULL;
    }
    return memory_of_fd(fd, size);
}

/* Put the pages where @m is mapped */
static bool map_udmabuf(VvMemory *m, const VvUdmabuf *u)
{
    uint8_t *to = m->data;

    for (unsigned i = 0; i < u->count; i++) {
        const struct udmabuf_create_item *item = &u->items[i];

        if (mmap(to, item->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                 item->memfd, item->offset) == MAP_FAILED) {
            return false;
        }
        to += item->size;
    }
    return true;
}

/* The client keeps its fd */
static VvMemory *memory_import(int fd, size_t need)
{
    g_autofree VvUdmabuf *u = g_new0(VvUdmabuf, 1);
    int copy = dup(fd);
    VvMemory *m;
    off_t size;

    if (copy < 0) {
        return NULL;
    }
    size = lseek(copy, 0, SEEK_END);
    if (size < 0 || (size_t)size < need) {
        close(copy);
        return NULL;
    }
    m = memory_of_fd(copy, size);
    if (m && pread(copy, u, sizeof(*u), 0) > 0 &&
        !memcmp(u->magic, VV_UDMABUF_MAGIC, sizeof(u->magic)) &&
        !map_udmabuf(m, u)) {
        vv_memory_unref(m);
        return NULL;
    }
    return m;
}

static VvMemory *memory_user(void *p, size_t size)
{
    VvMemory *m = g_new0(VvMemory, 1);

    m->refs = 1;
    m->fd = -1;
    m->data = p;
    m->size = size;
    return m;
}

static unsigned plane_rows(const VvFormat *f, unsigned i, unsigned height)
{
    return (height + (1u << f->shift[i]) - 1) >> f->shift[i];
}

static unsigned plane_bytes(const VvFormat *f, unsigned i, unsigned width)
{
    return ((width + (1u << f->shift[i]) - 1) >> f->shift[i]) * f->bytes[i];
}

/* Bytes up to the end of the last plane, or 0 if a line is too short for it */
static size_t layout_size(const VvSurface *s)
{
    size_t end = 0;

    for (unsigned i = 0; i < s->format->planes; i++) {
        size_t bytes = plane_bytes(s->format, i, s->width);
        size_t rows = plane_rows(s->format, i, s->height);

        if (s->pitch[i] < bytes) {
            return 0;
        }
        end = MAX(end, s->offset[i] + (rows - 1) * s->pitch[i] + bytes);
    }
    return end;
}

static VAStatus allocate(VvSurface *s)
{
    unsigned align = s->obj.drv->options.derive_pitch;
    size_t offset = 0;

    for (unsigned i = 0; i < s->format->planes; i++) {
        unsigned bytes = plane_bytes(s->format, i, (s->width + 15) & ~15u);

        s->pitch[i] = (bytes + align - 1) / align * align;
        s->offset[i] = offset;
        offset += (size_t)s->pitch[i] *
            plane_rows(s->format, i, (s->height + 15) & ~15u);
    }
    s->memory = memory_new(offset);
    if (!s->memory) {
        return VA_STATUS_ERROR_ALLOCATION_FAILED;
    }
    s->bytes = offset;
    vv_count_bytes(s->obj.drv, offset);
    return VA_STATUS_SUCCESS;
}

static VAStatus import_buffers(VvSurface *s, const Import *in, unsigned nth)
{
    const VASurfaceAttribExternalBuffers *b = in->buffers;
    size_t need;

    if (!b || !b->buffers || nth >= b->num_buffers ||
        b->num_planes < s->format->planes ||
        b->pixel_format != s->format->fourcc ||
        (b->flags & VA_SURFACE_EXTBUF_DESC_ENABLE_TILING)) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    for (unsigned i = 0; i < s->format->planes; i++) {
        s->pitch[i] = b->pitches[i];
        s->offset[i] = b->offsets[i];
    }
    need = layout_size(s);
    if (!need || (b->data_size && b->data_size < need)) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    s->memory = in->memory_type == VA_SURFACE_ATTRIB_MEM_TYPE_USER_PTR ?
        memory_user((void *)b->buffers[nth], need) :
        memory_import(b->buffers[nth], need);
    return s->memory ? VA_STATUS_SUCCESS : VA_STATUS_ERROR_INVALID_PARAMETER;
}

/* The planes are in one object: several of them no one here makes */
static VAStatus import_prime(VvSurface *s, const Import *in)
{
    const VADRMPRIMESurfaceDescriptor *d = in->prime;
    unsigned n = 0;
    size_t need;

    if (!d || d->num_objects != 1 || d->num_layers > 4 ||
        (d->objects[0].drm_format_modifier != DRM_FORMAT_MOD_LINEAR &&
         d->objects[0].drm_format_modifier != DRM_FORMAT_MOD_INVALID)) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    for (unsigned l = 0; l < d->num_layers; l++) {
        for (unsigned p = 0; p < d->layers[l].num_planes && p < 4; p++, n++) {
            if (n >= s->format->planes || d->layers[l].object_index[p]) {
                return VA_STATUS_ERROR_INVALID_PARAMETER;
            }
            s->pitch[n] = d->layers[l].pitch[p];
            s->offset[n] = d->layers[l].offset[p];
        }
    }
    need = n == s->format->planes ? layout_size(s) : 0;
    if (!need || (d->objects[0].size && d->objects[0].size < need)) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    s->memory = memory_import(d->objects[0].fd, need);
    return s->memory ? VA_STATUS_SUCCESS : VA_STATUS_ERROR_INVALID_PARAMETER;
}

/* Lay an imported surface out as the options say. */
static void garble(VvSurface *s, const VvOptions *o)
{
    for (unsigned i = 0; i < s->format->planes; i++) {
        s->pitch[i] = MAX(s->pitch[i] - s->pitch[i] % o->import_pitch,
                          plane_bytes(s->format, i, s->width));
        s->offset[i] -= s->offset[i] % o->import_offset;
    }
    if (o->import_garbled && s->offset[1] >= 16) {
        s->offset[1] -= 16;
    }
}

static void surface_destroy(VvObject *obj)
{
    VvSurface *s = (VvSurface *)obj;

    vv_count_bytes(obj->drv, -(int64_t)s->bytes);
    vv_memory_unref(s->memory);
    vv_job_unref(s->fence);
    vv_job_unref(s->reader);
    vv_decoder_unref(s->decoder);
}

static VAStatus create_one(VvDriver *drv, const VvFormat *format,
                           unsigned width, unsigned height, const Import *in,
                           unsigned nth, VASurfaceID *id)
{
    VvSurface *s = vv_object_new(drv, VV_SURFACE, sizeof(*s), surface_destroy);
    VAStatus status;

    s->format = format;
    s->width = width;
    s->height = height;
    s->imported = in->memory_type != VA_SURFACE_ATTRIB_MEM_TYPE_VA;
    s->linear = s->imported || in->linear;
    if (!s->imported) {
        status = allocate(s);
    } else if (drv->options.no_import) {
        status = VA_STATUS_ERROR_UNSUPPORTED_MEMORY_TYPE;
    } else if (drv->pictures && ++drv->imports == drv->options.fail_import) {
        status = VA_STATUS_ERROR_INVALID_PARAMETER;
    } else if (in->memory_type == VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2) {
        status = import_prime(s, in);
    } else {
        status = import_buffers(s, in, nth);
    }
    if (status) {
        vv_object_remove(s);
        return status;
    }
    if (s->imported) {
        garble(s, &drv->options);
    }
    drv->stats.imported += s->imported;
    *id = s->obj.id;
    return VA_STATUS_SUCCESS;
}

/* Returns: whether this attribute is known, or may be ignored */
static bool read_attribute(const VASurfaceAttrib *a, Import *in,
                           uint32_t *fourcc)
{
    if (!(a->flags & VA_SURFACE_ATTRIB_SETTABLE)) {
        return true;
    }
    switch (a->type) {
    case VASurfaceAttribPixelFormat:
        *fourcc = a->value.value.i;
        return true;
    case VASurfaceAttribMemoryType:
        in->memory_type = a->value.value.i;
        return true;
    case VASurfaceAttribExternalBufferDescriptor:
        /* What it is depends on the memory type, which may come later */
        in->buffers = a->value.value.p;
        in->prime = a->value.value.p;
        return true;
    case VASurfaceAttribDRMFormatModifiers:
        /* Nothing else is known here, so that must be the one */
        in->linear = true;
        return true;
    case VASurfaceAttribUsageHint:
        return true;
    default:
        return false;
    }
}

static bool allows_linear(const VASurfaceAttrib *a)
{
    const VADRMFormatModifierList *list = a->value.value.p;

    if (a->type != VASurfaceAttribDRMFormatModifiers || !list) {
        return true;
    }
    for (unsigned i = 0; i < list->num_modifiers; i++) {
        if (list->modifiers[i] == DRM_FORMAT_MOD_LINEAR) {
            return true;
        }
    }
    return false;
}

static VAStatus create_surfaces2(VADriverContextP va, unsigned rt_format,
                                 unsigned width, unsigned height,
                                 VASurfaceID *ids, unsigned num,
                                 VASurfaceAttrib *attribs, unsigned num_attribs)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    Import in = { .memory_type = VA_SURFACE_ATTRIB_MEM_TYPE_VA };
    const VvFormat *format = vv_format_of_rt(rt_format);
    uint32_t fourcc = 0;
    VAStatus status = VA_STATUS_SUCCESS;
    unsigned i;

    (void)locker;
    if (drv->lost) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    if (!width || !height || width > 16384 || height > 16384) {
        return VA_STATUS_ERROR_RESOLUTION_NOT_SUPPORTED;
    }
    for (i = 0; i < num_attribs; i++) {
        if (!read_attribute(&attribs[i], &in, &fourcc)) {
            return VA_STATUS_ERROR_ATTR_NOT_SUPPORTED;
        }
        if (!allows_linear(&attribs[i])) {
            return VA_STATUS_ERROR_INVALID_PARAMETER;
        }
    }
    if (fourcc) {
        format = vv_format(fourcc);
    } else if (in.memory_type == VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2 &&
               in.prime) {
        format = vv_format(in.prime->fourcc);
    } else if (in.memory_type != VA_SURFACE_ATTRIB_MEM_TYPE_VA && in.buffers) {
        format = vv_format(in.buffers->pixel_format);
    }
    if (!format) {
        return VA_STATUS_ERROR_UNSUPPORTED_RT_FORMAT;
    }
    for (i = 0; i < num && !status; i++) {
        status = create_one(drv, format, width, height, &in, i, &ids[i]);
    }
    if (status) {
        for (i--; i > 0; i--) {
            vv_object_remove(vv_object(drv, VV_SURFACE, ids[i - 1]));
        }
    }
    return status;
}

static VAStatus create_surfaces(VADriverContextP va, int width, int height,
                                int format, int num, VASurfaceID *ids)
{
    return create_surfaces2(va, format, width, height, ids, num, NULL, 0);
}

static VAStatus destroy_surfaces(VADriverContextP va, VASurfaceID *ids, int num)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);

    (void)locker;
    for (int i = 0; i < num; i++) {
        VvSurface *s = vv_object(drv, VV_SURFACE, ids[i]);

        if (!s) {
            return VA_STATUS_ERROR_INVALID_SURFACE;
        }
        /* As with the pages that a GPU has pinned: they go when it is done */
        if (s->memory->fd < 0) {
            vv_object_ref(s);
            vv_job_wait(drv, s->fence, VA_TIMEOUT_INFINITE);
            vv_job_wait(drv, s->reader, VA_TIMEOUT_INFINITE);
            vv_object_unref(s);
        }
        vv_object_remove(s);
    }
    return VA_STATUS_SUCCESS;
}

static VAStatus sync_surface2(VADriverContextP va, VASurfaceID id,
                              uint64_t timeout_ns)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvSurface *s = vv_object(drv, VV_SURFACE, id);

    (void)locker;
    if (!s) {
        return VA_STATUS_ERROR_INVALID_SURFACE;
    }
    if (vv_sync_fails(drv)) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    return vv_job_wait(drv, s->fence, timeout_ns);
}

static VAStatus sync_surface(VADriverContextP va, VASurfaceID id)
{
    return sync_surface2(va, id, VA_TIMEOUT_INFINITE);
}

static VAStatus query_status(VADriverContextP va, VASurfaceID id,
                             VASurfaceStatus *status)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvSurface *s = vv_object(drv, VV_SURFACE, id);

    (void)locker;
    if (!s) {
        return VA_STATUS_ERROR_INVALID_SURFACE;
    }
    if (drv->lost) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    *status = !s->fence || s->fence->done ? VASurfaceReady : VASurfaceRendering;
    return VA_STATUS_SUCCESS;
}

static VAStatus query_error(VADriverContextP va, VASurfaceID id,
                            VAStatus error_status, void **info)
{
    static const VASurfaceDecodeMBErrors none = { .status = -1 };

    *info = (void *)&none;
    return VA_STATUS_SUCCESS;
}

static void describe(const VvSurface *s, bool separate,
                     VADRMPRIMESurfaceDescriptor *d)
{
    memset(d, 0, sizeof(*d));
    d->fourcc = s->format->fourcc;
    d->width = s->width;
    d->height = s->height;
    d->num_objects = 1;
    d->objects[0].size = s->memory->size;
    d->objects[0].drm_format_modifier = DRM_FORMAT_MOD_LINEAR;
    d->num_layers = separate ? s->format->planes : 1;
    for (unsigned i = 0; i < s->format->planes; i++) {
        unsigned layer = separate ? i : 0, plane = separate ? 0 : i;

        d->layers[layer].drm_format = separate ? s->format->drm_layers[i] :
            s->format->drm_format;
        d->layers[layer].num_planes = plane + 1;
        d->layers[layer].offset[plane] = s->offset[i];
        d->layers[layer].pitch[plane] = s->pitch[i];
    }
}

static VAStatus export_surface(VADriverContextP va, VASurfaceID id,
                               uint32_t mem_type, uint32_t flags, void *desc)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvSurface *s = vv_object(drv, VV_SURFACE, id);
    VADRMPRIMESurfaceDescriptor *d = desc;
    int fd;

    (void)locker;
    if (!s) {
        return VA_STATUS_ERROR_INVALID_SURFACE;
    }
    if (drv->lost) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    if (mem_type != VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2 ||
        s->memory->fd < 0) {
        return VA_STATUS_ERROR_UNSUPPORTED_MEMORY_TYPE;
    }
    fd = dup(s->memory->fd);
    if (fd < 0) {
        return VA_STATUS_ERROR_ALLOCATION_FAILED;
    }
    describe(s, flags & VA_EXPORT_SURFACE_SEPARATE_LAYERS, d);
    d->objects[0].fd = fd;
    drv->stats.exported++;
    return VA_STATUS_SUCCESS;
}

void vv_surface_pixels(VvSurface *s, VvPixels *p)
{
    *p = (VvPixels) {
        .format = s->format->av,
        .width = s->width,
        .height = s->height,
    };
    for (unsigned i = 0; i < s->format->planes; i++) {
        p->data[i] = s->memory->data + s->offset[i];
        p->pitch[i] = s->pitch[i];
    }
}

void vv_surface_vtable(struct VADriverVTable *vtable)
{
    vtable->vaCreateSurfaces = create_surfaces;
    vtable->vaCreateSurfaces2 = create_surfaces2;
    vtable->vaDestroySurfaces = destroy_surfaces;
    vtable->vaSyncSurface = sync_surface;
    vtable->vaSyncSurface2 = sync_surface2;
    vtable->vaQuerySurfaceStatus = query_status;
    vtable->vaQuerySurfaceError = query_error;
    vtable->vaExportSurfaceHandle = export_surface;
}
