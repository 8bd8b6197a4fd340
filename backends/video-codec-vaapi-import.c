/*
 * Video codec on a GPU with VA-API: pixels of surfaces without the CPU
 *
 * Pages of the guest become a surface, and the GPU's video processor copies the
 * decoder's surface into it.  Decoding right into them would save that, but
 * decoders want memory of their own layout.  Frames to encode go the other way.
 * Encoding from the guest's pages would save that copy, but an encoder reads
 * them more than once, and for as long as it likes, while a guest may change
 * them.
 *
 * There are two ways to make a surface of pages.  /dev/udmabuf makes a DMA-BUF
 * of any pages of a memfd, in any order; that is for guests whose RAM is one,
 * and shared.  The other one is an address, for buffers that are contiguous in
 * the host's memory.  Each buffer goes the first way that it can.  The surface
 * lives for one frame only: as soon as the guest has its buffer back the GPU
 * can't reach it.
 *
 * A buffer that can't be imported, because it is scattered for example, or not
 * aligned as the driver wants it, says nothing about the next one.  But of a
 * driver that refuses one buffer after the other, or makes errors when it
 * copies, that way is not asked for again.
 *
 * What the guest wants in another format than the surface's is converted on
 * that way, as far as video-codec-vaapi-probe.c has found the GPU to do that
 * right.  Between 8 and 10 bits the CPU converts: drivers round differently.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "exec/cpu-common.h"
#include "exec/ramblock.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "video-codec-vaapi.h"

#include <linux/udmabuf.h>
#include <sys/ioctl.h>
#include <va/va_drmcommon.h>

/*
 * As many pages as the largest frame has.  The kernel has a limit of its own,
 * which is 1024 unless somebody has raised it.
 */
#define VAAPI_MAX_ITEMS 65536

/* The driver has refused so many in a row: all buffers that a queue has */
#define VAAPI_MAX_REFUSALS 32

#define VAAPI_POLL_US 100

/* Of the video processor's context */
#define VAAPI_CONTEXT_WIDTH 1280
#define VAAPI_CONTEXT_HEIGHT 720

/* A GPU that copies one frame for so long has hung */
#define VAAPI_HUNG_MS 5000LL

const VaapiRaw vaapi_raws[VAAPI_N_RAWS] = {
    [VAAPI_RAW_NV12] = {
        DRM_FORMAT_NV12, VA_FOURCC_NV12, VA_RT_FORMAT_YUV420,
        AV_PIX_FMT_NV12, 2
    },
    [VAAPI_RAW_P010] = {
        DRM_FORMAT_P010, VA_FOURCC_P010, VA_RT_FORMAT_YUV420_10,
        AV_PIX_FMT_P010LE, 2
    },
    [VAAPI_RAW_YUV420] = {
        DRM_FORMAT_YUV420, VA_FOURCC_I420, VA_RT_FORMAT_YUV420,
        AV_PIX_FMT_YUV420P, 3
    },
    [VAAPI_RAW_XRGB8888] = {
        DRM_FORMAT_XRGB8888, VA_FOURCC_BGRX, VA_RT_FORMAT_RGB32,
        AV_PIX_FMT_BGR0, 1
    },
};

unsigned vaapi_transfer_types(const VaapiTransfer *transfer)
{
    unsigned types = 0;

    for (int i = 0; i < VAAPI_N_RAWS; i++) {
        types |= transfer->types[i];
    }
    return types;
}

/*
 * From pages to a surface
 */

/* A DMA-BUF of pages of guest RAM, or of another memfd.  -1: can't be had */
static int vaapi_udmabuf_create(const VaapiMemory *m, int memfd)
{
    g_autofree struct udmabuf_create_list *list = NULL;
    int udmabuf, fd;

    /* Who is overdue holds no RAM any more, so that it may be unplugged */
    RCU_READ_LOCK_GUARD();

    list = g_malloc0(sizeof(*list) + m->niov * sizeof(list->list[0]));
    list->flags = UDMABUF_FLAGS_CLOEXEC;
    list->count = m->niov;
    for (unsigned i = 0; i < m->niov; i++) {
        ram_addr_t offset = 0;
        RAMBlock *rb = NULL;

        if (memfd < 0) {
            rb = qemu_ram_block_from_host(m->iov[i].iov_base, false, &offset);
            if (!rb || rb->fd < 0 || !qemu_ram_is_shared(rb)) {
                return -1;
            }
        }
        list->list[i].memfd = rb ? rb->fd : memfd;
        list->list[i].offset = offset + (rb ? rb->fd_offset : 0);
        list->list[i].size = m->iov[i].iov_len;
    }

    udmabuf = qemu_open_old("/dev/udmabuf", O_RDWR);
    if (udmabuf < 0) {
        return -1;
    }
    fd = ioctl(udmabuf, UDMABUF_CREATE_LIST, list);
    qemu_close(udmabuf);
    return fd;
}

static VaapiCopyResult vaapi_create_imported(VaapiDisplay *display,
                                             const VaapiMemory *m,
                                             int memory_type, void *descriptor,
                                             VASurfaceID *surface)
{
    const VaapiRaw *raw = &vaapi_raws[m->raw];
    VASurfaceAttrib attribs[] = {
        {
            .type = VASurfaceAttribPixelFormat,
            .flags = VA_SURFACE_ATTRIB_SETTABLE,
            .value.type = VAGenericValueTypeInteger,
            .value.value.i = raw->va_fourcc,
        }, {
            .type = VASurfaceAttribMemoryType,
            .flags = VA_SURFACE_ATTRIB_SETTABLE,
            .value.type = VAGenericValueTypeInteger,
            .value.value.i = memory_type,
        }, {
            .type = VASurfaceAttribExternalBufferDescriptor,
            .flags = VA_SURFACE_ATTRIB_SETTABLE,
            .value.type = VAGenericValueTypePointer,
            .value.value.p = descriptor,
        },
    };

    return vaCreateSurfaces(display->dpy, raw->rt_format, m->width, m->height,
                            surface, 1, attribs, ARRAY_SIZE(attribs)) ==
           VA_STATUS_SUCCESS ? VAAPI_COPY_DONE : VAAPI_COPY_REFUSED;
}

static VaapiCopyResult vaapi_import_udmabuf(VaapiDisplay *display,
                                            const VaapiMemory *m, int memfd,
                                            VASurfaceID *surface)
{
    VADRMPRIMESurfaceDescriptor d = {
        .fourcc = vaapi_raws[m->raw].va_fourcc,
        .width = m->width,
        .height = m->height,
        .num_objects = 1,
        .objects[0] = {
            .size = m->size,
            .drm_format_modifier = DRM_FORMAT_MOD_LINEAR,
        },
        .num_layers = 1,
        .layers[0] = {
            .drm_format = vaapi_raws[m->raw].fourcc,
            .num_planes = vaapi_raws[m->raw].n_planes,
            .offset = { m->offset[0], m->offset[1], m->offset[2] },
            .pitch = { m->pitch[0], m->pitch[1], m->pitch[2] },
        },
    };
    VaapiCopyResult result;

    d.objects[0].fd = vaapi_udmabuf_create(m, memfd);
    if (d.objects[0].fd < 0) {
        return VAAPI_COPY_UNFIT;
    }
    result = vaapi_create_imported(display, m,
                                   VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2,
                                   &d, surface);
    close(d.objects[0].fd);     /* the driver has its own reference */
    return result;
}

static VaapiCopyResult vaapi_import_userptr(VaapiDisplay *display,
                                            const VaapiMemory *m,
                                            VASurfaceID *surface)
{
    uintptr_t address = (uintptr_t)m->iov[0].iov_base;
    VASurfaceAttribExternalBuffers d = {
        .pixel_format = vaapi_raws[m->raw].va_fourcc,
        .width = m->width,
        .height = m->height,
        .data_size = m->size,
        .num_planes = vaapi_raws[m->raw].n_planes,
        .pitches = { m->pitch[0], m->pitch[1], m->pitch[2] },
        .offsets = { m->offset[0], m->offset[1], m->offset[2] },
        .buffers = &address,
        .num_buffers = 1,
    };

    if (m->niov != 1) {
        return VAAPI_COPY_UNFIT;
    }
    return vaapi_create_imported(display, m,
                                 VA_SURFACE_ATTRIB_MEM_TYPE_USER_PTR, &d,
                                 surface);
}

/*
 * The copy
 */

/* A GPU that others use, too, may take its time as long as nobody waits. */
static bool vaapi_import_is_overdue(VaapiImport *import, int64_t start)
{
    return get_clock() > start + VAAPI_HUNG_MS * SCALE_MS ||
           (import->session && video_codec_session_is_overdue(import->session));
}

static VAStatus vaapi_import_sync(VaapiImport *import, VASurfaceID surface)
{
    VADisplay dpy = import->display->dpy;
    VASurfaceStatus busy = VASurfaceRendering;
    int64_t start = get_clock();
    VAStatus status;

    for (;;) {
        status = vaQuerySurfaceStatus(dpy, surface, &busy);
        if (status != VA_STATUS_SUCCESS || busy == VASurfaceReady) {
            break;
        }
        if (vaapi_import_is_overdue(import, start)) {
            return VA_STATUS_ERROR_TIMEDOUT;
        }
        g_usleep(VAAPI_POLL_US);
    }
    /* It does not wait any more, but knows of errors */
    return vaSyncSurface(dpy, surface);
}

/*
 * Hand the copy to the GPU.  When somebody has given up waiting, the memory
 * belongs to somebody else, and it is too late to begin.  Who gives up while
 * the driver thinks about it, as some do until their queue has room, finds a
 * GPU that is late.
 */
static VAStatus vaapi_import_start(VaapiImport *import, VABufferID buffer,
                                   VASurfaceID to)
{
    VADisplay dpy = import->display->dpy;
    VAStatus status;

    if (import->session && video_codec_session_is_overdue(import->session)) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    status = vaBeginPicture(dpy, import->context, to);
    if (status == VA_STATUS_SUCCESS) {
        status = vaRenderPicture(dpy, import->context, &buffer, 1);
        if (status == VA_STATUS_SUCCESS) {
            status = vaEndPicture(dpy, import->context);
        } else {
            vaEndPicture(dpy, import->context);
        }
    }
    return status;
}

static VAStatus vaapi_import_blit(VaapiImport *import,
                                  VAProcPipelineParameterBuffer *pipeline,
                                  VASurfaceID to)
{
    VADisplay dpy = import->display->dpy;
    VABufferID buffer;
    VAStatus status;

    status = vaCreateBuffer(dpy, import->context,
                            VAProcPipelineParameterBufferType,
                            sizeof(*pipeline), 1, pipeline, &buffer);
    if (status != VA_STATUS_SUCCESS) {
        return status;
    }
    status = vaapi_import_start(import, buffer, to);
    if (status == VA_STATUS_SUCCESS) {
        status = vaapi_import_sync(import, to);
    }
    vaDestroyBuffer(dpy, buffer);
    return status;
}

/* Say what YUV means, and that RGB is sRGB. */
static void vaapi_import_set_colours(const VaapiImport *import,
                                     VaapiColours colours, bool read,
                                     VAProcPipelineParameterBuffer *pipeline)
{
    VAProcColorStandardType rgb = import->srgb ? VAProcColorStandardSRGB
                                               : VAProcColorStandardNone;
    VAProcColorStandardType yuv =
        colours & (VAAPI_COLOURS_BT709 | VAAPI_COLOURS_BT709_FULL) ?
        VAProcColorStandardBT709 : VAProcColorStandardBT601;
    uint8_t range =
        colours & (VAAPI_COLOURS_BT601_FULL | VAAPI_COLOURS_BT709_FULL) ?
        VA_SOURCE_RANGE_FULL : VA_SOURCE_RANGE_REDUCED;

    pipeline->surface_color_standard = read ? rgb : yuv;
    pipeline->output_color_standard = read ? yuv : rgb;
    pipeline->input_color_properties.color_range =
        read ? VA_SOURCE_RANGE_FULL : range;
    pipeline->output_color_properties.color_range =
        read ? range : VA_SOURCE_RANGE_FULL;
}

VaapiCopyResult vaapi_import_copy(VaapiImport *import, VASurfaceID surface,
                                  const VaapiMemory *m, VaapiImportType type,
                                  int memfd, bool read)
{
    VaapiDisplay *display = import->display;
    VARectangle all = { .width = m->region.width, .height = m->region.height };
    VAProcPipelineParameterBuffer pipeline = { };
    VaapiCopyResult result;
    VASurfaceID imported;
    VAStatus status;

    result = type == VAAPI_IMPORT_UDMABUF ?
             vaapi_import_udmabuf(display, m, memfd, &imported) :
             vaapi_import_userptr(display, m, &imported);
    if (result != VAAPI_COPY_DONE) {
        return result;
    }
    pipeline.surface = read ? imported : surface;
    pipeline.surface_region = read ? &m->region : &all;
    pipeline.output_region = read ? &all : &m->region;
    if (m->colours) {
        vaapi_import_set_colours(import, m->colours, read, &pipeline);
    }
    status = vaapi_import_blit(import, &pipeline, read ? surface : imported);
    vaDestroySurfaces(display->dpy, &imported, 1);
    switch (status) {
    case VA_STATUS_SUCCESS:
        return VAAPI_COPY_DONE;
    case VA_STATUS_ERROR_TIMEDOUT:
        return VAAPI_COPY_HUNG;
    default:
        return VAAPI_COPY_FAILED;
    }
}

/* What a result says of the type for the buffers to come */
static void vaapi_import_learn(VaapiImport *import, unsigned i,
                               VaapiCopyResult result)
{
    switch (result) {
    case VAAPI_COPY_DONE:
        import->refusals[i] = 0;
        break;
    case VAAPI_COPY_REFUSED:
        if (++import->refusals[i] >= VAAPI_MAX_REFUSALS) {
            import->types &= ~(1u << i);
        }
        break;
    case VAAPI_COPY_FAILED:
        import->types &= ~(1u << i);
        break;
    default:
        break;
    }
}

/* Has the GPU proved to find its way in memory like this? */
static bool vaapi_import_fits(const VaapiTransfer *transfer,
                              const VaapiMemory *m, unsigned i)
{
    /* No driver says whether it takes addresses within a page */
    if (1u << i == VAAPI_IMPORT_USERPTR &&
        (uintptr_t)m->iov[0].iov_base % qemu_real_host_page_size()) {
        return false;
    }
    for (unsigned plane = 0; plane < vaapi_raws[m->raw].n_planes; plane++) {
        if (m->pitch[plane] % transfer->pitch_align[i] ||
            m->offset[plane] % transfer->offset_align[i]) {
            return false;
        }
    }
    return true;
}

/* vaapi_import_copy() as one of the types that work */
static VaapiCopyResult vaapi_import_copy_any(VaapiImport *import,
                                             VASurfaceID surface,
                                             const VaapiMemory *m, bool read)
{
    unsigned types = import->types & import->transfer->types[m->raw];
    VaapiCopyResult result = VAAPI_COPY_UNFIT;

    for (unsigned i = 0; i < VAAPI_N_IMPORT_TYPES; i++) {
        if (!(types & 1u << i) || !vaapi_import_fits(import->transfer, m, i)) {
            continue;
        }
        result = vaapi_import_copy(import, surface, m, 1u << i, -1, read);
        if (result == VAAPI_COPY_HUNG) {
            break;
        }
        /* If somebody has given up waiting, that is why it did not work */
        if (!video_codec_session_hold_direct(import->session)) {
            break;
        }
        video_codec_session_release_direct(import->session);
        vaapi_import_learn(import, i, result);
        if (result == VAAPI_COPY_DONE) {
            break;
        }
    }
    return result;
}

/*
 * Where the planes are.  @m gets a copy, as the original goes as soon as
 * somebody has given up waiting.
 * Returns: the copy, or NULL if it is not memory that can become one surface,
 * or not ours any more
 */
static struct iovec *vaapi_import_planes(VideoCodecSession *session,
                                         const VideoCodecPlane *planes,
                                         unsigned n_planes, VaapiMemory *m)
{
    const VideoCodecMem *mem = planes[0].mem;
    struct iovec *iov = NULL;

    for (unsigned i = 0; i < n_planes; i++) {
        if (planes[i].mem != mem) {
            return NULL;
        }
        m->offset[i] = planes[i].offset;
        m->pitch[i] = planes[i].stride;
    }
    if (!video_codec_session_hold_direct(session)) {
        return NULL;
    }
    if (mem->size <= UINT32_MAX && mem->niov <= VAAPI_MAX_ITEMS) {
        iov = g_memdup2(mem->iov, mem->niov * sizeof(*iov));
        m->niov = mem->niov;
        m->size = mem->size;
    }
    video_codec_session_release_direct(session);

    m->iov = iov;
    return iov;
}

/* It may still use the guest's memory: nothing else may be asked of it */
static void vaapi_import_lost(VaapiImport *import, const char *what)
{
    vaapi_display_lose(import->display);
    video_codec_session_fail(import->session, "the GPU is lost: it does not "
                             "%s a frame (%s)", what, import->display->driver);
}

/* @ours: nobody has given up waiting for the buffer */
static VaapiImportResult vaapi_import_end(VaapiCopyResult result, bool ours)
{
    if (!ours || result == VAAPI_COPY_HUNG) {
        return VAAPI_IMPORT_STOP;
    }
    return result == VAAPI_COPY_DONE ? VAAPI_IMPORT_DONE : VAAPI_IMPORT_UNFIT;
}

/*
 * What the GPU has to know to convert between YUV and RGB.  What is not said
 * is BT.601, as it is for the CPU.
 * Returns: NONE if it would be something else
 */
static VaapiColours vaapi_import_colours(const AVFrame *f)
{
    bool full = f->color_range == AVCOL_RANGE_JPEG;

    switch (f->colorspace) {
    case AVCOL_SPC_BT709:
        return full ? VAAPI_COLOURS_BT709_FULL : VAAPI_COLOURS_BT709;
    case AVCOL_SPC_UNSPECIFIED:
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
        return full ? VAAPI_COLOURS_BT601_FULL : VAAPI_COLOURS_BT601;
    default:
        return VAAPI_COLOURS_NONE;
    }
}

/*
 * What the GPU copies @f to, or from.
 * Returns: false if it can't, whatever the buffer
 */
static bool vaapi_import_set_raw(const VaapiImport *import, uint32_t fourcc,
                                 const AVFrame *f, VaapiMemory *m)
{
    const AVHWFramesContext *frames = (void *)f->hw_frames_ctx->data;

    for (m->raw = 0; vaapi_raws[m->raw].fourcc != fourcc;) {
        if (++m->raw == VAAPI_N_RAWS) {
            return false;
        }
    }
    if (!(import->types & import->transfer->types[m->raw])) {
        return false;
    }
    if (m->raw == VAAPI_RAW_XRGB8888) {
        m->colours = vaapi_import_colours(f);
        if (!(m->colours & import->transfer->colours)) {
            return false;
        }
    }
    return frames->sw_format == (m->raw == VAAPI_RAW_P010 ? AV_PIX_FMT_P010LE
                                                          : AV_PIX_FMT_NV12);
}

static VASurfaceID vaapi_import_surface(const AVFrame *f)
{
    return (uintptr_t)f->data[3];
}

VaapiImportResult vaapi_import_write(VaapiImport *import,
                                     VideoCodecSession *session,
                                     VideoCodecOutput *out, const AVFrame *f)
{
    VaapiCopyResult result = VAAPI_COPY_UNFIT;
    g_autofree struct iovec *iov = NULL;
    VaapiMemory m = {
        .width = out->width,
        .height = out->height,
        .region = { .width = out->width, .height = out->height },
    };

    if (!vaapi_import_set_raw(import, out->fourcc, f, &m)) {
        return VAAPI_IMPORT_UNFIT;
    }
    if (!video_codec_output_begin_direct(session, out)) {
        return VAAPI_IMPORT_STOP;
    }
    import->session = session;
    iov = vaapi_import_planes(session, out->planes, out->n_planes, &m);
    if (iov) {
        result = vaapi_import_copy_any(import, vaapi_import_surface(f), &m,
                                       false);
    }
    if (result == VAAPI_COPY_HUNG) {
        vaapi_import_lost(import, "write");
    }
    return vaapi_import_end(result,
                            video_codec_output_end_direct(session, out));
}

VaapiImportResult vaapi_import_read(VaapiImport *import,
                                    VideoCodecSession *session,
                                    const VideoCodecInput *in,
                                    const AVFrame *f)
{
    VaapiCopyResult result = VAAPI_COPY_UNFIT;
    g_autofree struct iovec *iov = NULL;
    VaapiMemory m = {
        .width = in->left + in->width,
        .height = in->top + in->height,
        .region = {
            .x = in->left,
            .y = in->top,
            .width = in->width,
            .height = in->height,
        },
    };

    if (!vaapi_import_set_raw(import, in->fourcc, f, &m)) {
        return VAAPI_IMPORT_UNFIT;
    }
    if (!video_codec_input_begin_direct(session, in)) {
        return VAAPI_IMPORT_STOP;
    }
    import->session = session;
    iov = vaapi_import_planes(session, in->planes, in->n_planes, &m);
    if (iov) {
        result = vaapi_import_copy_any(import, vaapi_import_surface(f), &m,
                                       true);
    }
    if (result == VAAPI_COPY_HUNG) {
        vaapi_import_lost(import, "read");
    }
    return vaapi_import_end(result, video_codec_input_end_direct(session, in));
}

void vaapi_import_cleanup(VaapiImport *import)
{
    if (import->display) {
        vaDestroyContext(import->display->dpy, import->context);
        vaDestroyConfig(import->display->dpy, import->config);
        import->display = NULL;
    }
}

/* Does the driver call RGB sRGB? */
static bool vaapi_import_has_srgb(const VaapiImport *import, bool read)
{
    VAProcPipelineCaps caps = { };
    const VAProcColorStandardType *standards;
    unsigned n;

    if (vaQueryVideoProcPipelineCaps(import->display->dpy, import->context,
                                     NULL, 0, &caps) != VA_STATUS_SUCCESS) {
        return false;
    }
    standards = read ? caps.input_color_standards : caps.output_color_standards;
    n = read ? caps.num_input_color_standards : caps.num_output_color_standards;
    for (unsigned i = 0; standards && i < n; i++) {
        if (standards[i] == VAProcColorStandardSRGB) {
            return true;
        }
    }
    return false;
}

void vaapi_import_init(VaapiImport *import, VaapiDisplay *display, bool read)
{
    VADisplay dpy = display->dpy;

    if (!vaapi_has_entrypoint(dpy, VAProfileNone, VAEntrypointVideoProc) ||
        vaCreateConfig(dpy, VAProfileNone, VAEntrypointVideoProc, NULL, 0,
                       &import->config) != VA_STATUS_SUCCESS) {
        return;
    }
    /* It has a size, but that is of no account for what surfaces it takes */
    if (vaCreateContext(dpy, import->config, VAAPI_CONTEXT_WIDTH,
                        VAAPI_CONTEXT_HEIGHT, VA_PROGRESSIVE, NULL, 0,
                        &import->context) != VA_STATUS_SUCCESS) {
        vaDestroyConfig(dpy, import->config);
        return;
    }
    import->display = display;
    import->transfer = read ? &display->read : &display->write;
    import->types = vaapi_transfer_types(import->transfer);
    import->srgb = vaapi_import_has_srgb(import, read);
}
