/*
 * A client for what ffmpeg does not use: import, export, and their refusal
 *
 *   client TEST     with VVSW_OPTIONS as the test wants them, see main()
 *
 * Exit status: 0, or 1 with the reason on stderr.  Surfaces get a picture in
 * which each byte tells where it is, through images or through memory.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <drm_fourcc.h>
#include <fcntl.h>
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <va/va.h>
#include <va/va_drm.h>
#include <va/va_drmcommon.h>
#include <va/va_vpp.h>

#define WIDTH 96
#define HEIGHT 64

static VADisplay dpy;

/* NV12 or P010 */
typedef struct Format {
    uint32_t fourcc;
    unsigned rt_format;
    uint32_t drm;
    unsigned row;               /* bytes, of both planes */
} Format;

static const Format nv12 = {
    VA_FOURCC_NV12, VA_RT_FORMAT_YUV420, DRM_FORMAT_NV12, WIDTH,
};
static const Format p010 = {
    VA_FOURCC_P010, VA_RT_FORMAT_YUV420_10, DRM_FORMAT_P010, 2 * WIDTH,
};

static void expect_status(VAStatus status, VAStatus expected, const char *what,
                          int line)
{
    if (status != expected) {
        fprintf(stderr, "line %d: %s: %s, not %s\n", line, what,
                vaErrorStr(status), vaErrorStr(expected));
        exit(1);
    }
}

#define EXPECT(call, status) expect_status(call, status, #call, __LINE__)
#define OK(call) EXPECT(call, VA_STATUS_SUCCESS)

static void check_at(bool ok, const char *what, int line)
{
    if (!ok) {
        fprintf(stderr, "line %d: not so: %s\n", line, what);
        exit(1);
    }
}

#define CHECK(what) check_at(what, #what, __LINE__)

static void open_display(void)
{
    int fd = open("/dev/null", O_RDWR), major, minor;

    dpy = vaGetDisplayDRM(fd);
    CHECK(dpy);
    OK(vaInitialize(dpy, &major, &minor));
}

/*
 * Pictures
 */

static uint8_t byte_at(unsigned seed, unsigned plane, unsigned x, unsigned y)
{
    return seed * 31 + plane * 101 + y * 7 + x;
}

static void draw_rows(uint8_t *to, unsigned pitch, const Format *f,
                      unsigned seed, unsigned plane)
{
    for (unsigned y = 0; y < HEIGHT >> plane; y++) {
        for (unsigned x = 0; x < f->row; x++) {
            to[y * pitch + x] = byte_at(seed, plane, x, y);
        }
    }
}

static bool has_rows(const uint8_t *from, unsigned pitch, const Format *f,
                     unsigned seed, unsigned plane)
{
    for (unsigned y = 0; y < HEIGHT >> plane; y++) {
        for (unsigned x = 0; x < f->row; x++) {
            if (from[y * pitch + x] != byte_at(seed, plane, x, y)) {
                return false;
            }
        }
    }
    return true;
}

static VAImage new_image(const Format *f)
{
    VAImageFormat formats[32];
    VAImage image;
    int n = 0;

    CHECK(vaMaxNumImageFormats(dpy) <= 32);
    OK(vaQueryImageFormats(dpy, formats, &n));
    for (int i = 0; i < n; i++) {
        if (formats[i].fourcc == f->fourcc) {
            OK(vaCreateImage(dpy, &formats[i], WIDTH, HEIGHT, &image));
            return image;
        }
    }
    CHECK(!"there is such an image format");
    return image;
}

static void draw(VASurfaceID surface, const Format *f, unsigned seed)
{
    VAImage image = new_image(f);
    uint8_t *data;

    OK(vaMapBuffer(dpy, image.buf, (void **)&data));
    for (unsigned p = 0; p < 2; p++) {
        draw_rows(data + image.offsets[p], image.pitches[p], f, seed, p);
    }
    OK(vaUnmapBuffer(dpy, image.buf));
    OK(vaPutImage(dpy, surface, image.image_id, 0, 0, WIDTH, HEIGHT, 0, 0,
                  WIDTH, HEIGHT));
    OK(vaDestroyImage(dpy, image.image_id));
}

static bool holds(VASurfaceID surface, const Format *f, unsigned seed)
{
    VAImage image = new_image(f);
    uint8_t *data;
    bool same = true;

    OK(vaGetImage(dpy, surface, 0, 0, WIDTH, HEIGHT, image.image_id));
    OK(vaMapBuffer(dpy, image.buf, (void **)&data));
    for (unsigned p = 0; p < 2; p++) {
        same &= has_rows(data + image.offsets[p], image.pitches[p], f, seed, p);
    }
    OK(vaUnmapBuffer(dpy, image.buf));
    OK(vaDestroyImage(dpy, image.image_id));
    return same;
}

/*
 * Surfaces
 */

static VASurfaceID new_surface(const Format *f)
{
    VASurfaceID surface;

    OK(vaCreateSurfaces(dpy, f->rt_format, WIDTH, HEIGHT, &surface, 1, NULL,
                        0));
    return surface;
}

static VAStatus import(const Format *f, int memory_type, void *descriptor,
                       VASurfaceID *surface)
{
    VASurfaceAttrib attribs[] = {
        {
            .type = VASurfaceAttribMemoryType,
            .flags = VA_SURFACE_ATTRIB_SETTABLE,
            .value = { VAGenericValueTypeInteger, { .i = memory_type } },
        }, {
            .type = VASurfaceAttribExternalBufferDescriptor,
            .flags = VA_SURFACE_ATTRIB_SETTABLE,
            .value = { VAGenericValueTypePointer, { .p = descriptor } },
        },
    };

    return vaCreateSurfaces(dpy, f->rt_format, WIDTH, HEIGHT, surface, 1,
                            attribs, 2);
}

static VAStatus import_prime(const Format *f, VADRMPRIMESurfaceDescriptor *d,
                             VASurfaceID *surface)
{
    return import(f, VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2, d, surface);
}

static VAStatus import_address(uint8_t *memory, size_t size,
                               VASurfaceID *surface)
{
    uintptr_t address = (uintptr_t)memory;
    VASurfaceAttribExternalBuffers d = {
        .pixel_format = VA_FOURCC_NV12,
        .width = WIDTH,
        .height = HEIGHT,
        .data_size = size,
        .num_planes = 2,
        .pitches = { WIDTH, WIDTH },
        .offsets = { 0, WIDTH * HEIGHT },
        .buffers = &address,
        .num_buffers = 1,
    };

    return import(&nv12, VA_SURFACE_ATTRIB_MEM_TYPE_USER_PTR, &d, surface);
}

static VAStatus export_prime(VASurfaceID surface, unsigned flags,
                             VADRMPRIMESurfaceDescriptor *d)
{
    return vaExportSurfaceHandle(dpy, surface,
                                 VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2,
                                 VA_EXPORT_SURFACE_READ_WRITE | flags, d);
}

/* A file as a DMA-BUF would be, of one NV12 picture */
static VADRMPRIMESurfaceDescriptor file_of_nv12(size_t size)
{
    VADRMPRIMESurfaceDescriptor d = {
        .fourcc = VA_FOURCC_NV12,
        .width = WIDTH,
        .height = HEIGHT,
        .num_objects = 1,
        .objects[0] = {
            .fd = memfd_create("client", MFD_CLOEXEC),
            .size = size,
        },
        .num_layers = 1,
        .layers[0] = {
            .drm_format = DRM_FORMAT_NV12,
            .num_planes = 2,
            .offset = { 0, WIDTH * HEIGHT },
            .pitch = { WIDTH, WIDTH },
        },
    };

    CHECK(d.objects[0].fd >= 0 && !ftruncate(d.objects[0].fd, size));
    return d;
}

#define NV12_SIZE (WIDTH * HEIGHT * 3 / 2)

/*
 * Export and import again
 */

/* Both surfaces are the same memory, and it outlives the first */
static void round_trip(const Format *f, unsigned flags, unsigned layers)
{
    VASurfaceID a = new_surface(f), b;
    VADRMPRIMESurfaceDescriptor d;

    draw(a, f, 1);
    OK(export_prime(a, flags, &d));
    CHECK(d.fourcc == f->fourcc && d.width == WIDTH && d.height == HEIGHT);
    CHECK(d.num_objects == 1 && d.num_layers == layers);
    CHECK(layers > 1 || d.layers[0].drm_format == f->drm);
    OK(import_prime(f, &d, &b));
    close(d.objects[0].fd);
    CHECK(holds(b, f, 1));
    draw(b, f, 2);
    CHECK(holds(a, f, 2));
    OK(vaDestroySurfaces(dpy, &a, 1));
    CHECK(holds(b, f, 2));
    OK(vaDestroySurfaces(dpy, &b, 1));
}

static void test_export(void)
{
    const Format *formats[] = { &nv12, &p010 };

    for (unsigned i = 0; i < 2; i++) {
        round_trip(formats[i], VA_EXPORT_SURFACE_COMPOSED_LAYERS, 1);
        round_trip(formats[i], VA_EXPORT_SURFACE_SEPARATE_LAYERS, 2);
    }
}

/* What the exporter's memory holds is what the CPU sees in the file */
static void test_export_map(void)
{
    VASurfaceID surface = new_surface(&nv12);
    VADRMPRIMESurfaceDescriptor d;
    uint8_t *p;

    draw(surface, &nv12, 3);
    OK(export_prime(surface, VA_EXPORT_SURFACE_COMPOSED_LAYERS, &d));
    p = mmap(NULL, d.objects[0].size, PROT_READ, MAP_SHARED, d.objects[0].fd,
             0);
    CHECK(p != MAP_FAILED);
    for (unsigned i = 0; i < 2; i++) {
        CHECK(has_rows(p + d.layers[0].offset[i], d.layers[0].pitch[i], &nv12,
                       3, i));
    }
    munmap(p, d.objects[0].size);
    close(d.objects[0].fd);
}

static void test_import(void)
{
    VADRMPRIMESurfaceDescriptor d = file_of_nv12(NV12_SIZE), bad;
    g_autofree uint8_t *memory = g_malloc(NV12_SIZE);
    VASurfaceID surface;

    draw_rows(memory, WIDTH, &nv12, 4, 0);
    draw_rows(memory + WIDTH * HEIGHT, WIDTH, &nv12, 4, 1);
    CHECK(pwrite(d.objects[0].fd, memory, NV12_SIZE, 0) == NV12_SIZE);
    OK(import_prime(&nv12, &d, &surface));
    CHECK(holds(surface, &nv12, 4));
    OK(vaDestroySurfaces(dpy, &surface, 1));

    OK(import_address(memory, NV12_SIZE, &surface));
    CHECK(holds(surface, &nv12, 4));
    draw(surface, &nv12, 5);
    CHECK(has_rows(memory, WIDTH, &nv12, 5, 0));
    EXPECT(export_prime(surface, VA_EXPORT_SURFACE_COMPOSED_LAYERS, &bad),
           VA_STATUS_ERROR_UNSUPPORTED_MEMORY_TYPE);
    OK(vaDestroySurfaces(dpy, &surface, 1));

    /* Planes that are not in the memory, or not as wide as the picture */
    bad = d;
    bad.layers[0].offset[1] += 2 * WIDTH;
    EXPECT(import_prime(&nv12, &bad, &surface),
           VA_STATUS_ERROR_INVALID_PARAMETER);
    bad = d;
    bad.layers[0].pitch[0] = WIDTH - 1;
    EXPECT(import_prime(&nv12, &bad, &surface),
           VA_STATUS_ERROR_INVALID_PARAMETER);
    EXPECT(import_address(memory, NV12_SIZE - 1, &surface),
           VA_STATUS_ERROR_INVALID_PARAMETER);
    close(d.objects[0].fd);
}

/*
 * Drivers that refuse
 */

static void test_no_import(void)
{
    VADRMPRIMESurfaceDescriptor d = file_of_nv12(NV12_SIZE), e;
    g_autofree uint8_t *memory = g_malloc(NV12_SIZE);
    VASurfaceID surface;

    EXPECT(import_prime(&nv12, &d, &surface),
           VA_STATUS_ERROR_UNSUPPORTED_MEMORY_TYPE);
    EXPECT(import_address(memory, NV12_SIZE, &surface),
           VA_STATUS_ERROR_UNSUPPORTED_MEMORY_TYPE);
    surface = new_surface(&nv12);
    OK(export_prime(surface, VA_EXPORT_SURFACE_COMPOSED_LAYERS, &e));
    close(d.objects[0].fd);
    close(e.objects[0].fd);
}

static VAContextID new_context(VAProfile profile, VAEntrypoint entrypoint)
{
    VAConfigID config;
    VAContextID context;

    OK(vaCreateConfig(dpy, profile, entrypoint, NULL, 0, &config));
    OK(vaCreateContext(dpy, config, WIDTH, HEIGHT, VA_PROGRESSIVE, NULL, 0,
                       &context));
    return context;
}

/* Returns: of the first call that refuses */
static VAStatus process_as(VAContextID context,
                           VAProcPipelineParameterBuffer pipeline,
                           VASurfaceID to)
{
    VABufferID buffer;
    VAStatus status;

    OK(vaCreateBuffer(dpy, context, VAProcPipelineParameterBufferType,
                      sizeof(pipeline), 1, &pipeline, &buffer));
    OK(vaBeginPicture(dpy, context, to));
    status = vaRenderPicture(dpy, context, &buffer, 1);
    if (status == VA_STATUS_SUCCESS) {
        status = vaEndPicture(dpy, context);
    } else {
        vaEndPicture(dpy, context);
    }
    OK(vaDestroyBuffer(dpy, buffer));
    return status;
}

static VAStatus process(VAContextID context, VASurfaceID from, VASurfaceID to)
{
    VAProcPipelineParameterBuffer pipeline = { .surface = from };

    return process_as(context, pipeline, to);
}

static void test_no_import_decode(void)
{
    VADRMPRIMESurfaceDescriptor d = file_of_nv12(NV12_SIZE);
    VAContextID decoder = new_context(VAProfileH264Main, VAEntrypointVLD);
    VAContextID processor = new_context(VAProfileNone, VAEntrypointVideoProc);
    VASurfaceID imported, own = new_surface(&nv12);

    OK(import_prime(&nv12, &d, &imported));
    OK(vaBeginPicture(dpy, decoder, own));
    EXPECT(vaBeginPicture(dpy, decoder, imported),
           VA_STATUS_ERROR_INVALID_SURFACE);
    draw(own, &nv12, 6);
    OK(process(processor, own, imported));
    OK(vaSyncSurface(dpy, imported));
    CHECK(holds(imported, &nv12, 6));
    close(d.objects[0].fd);
}

static VASurfaceID new_linear_surface(void)
{
    uint64_t linear = DRM_FORMAT_MOD_LINEAR;
    VADRMFormatModifierList list = { 1, &linear };
    VASurfaceAttrib attrib = {
        .type = VASurfaceAttribDRMFormatModifiers,
        .flags = VA_SURFACE_ATTRIB_SETTABLE,
        .value = { .type = VAGenericValueTypePointer, .value.p = &list },
    };
    VASurfaceID surface;

    OK(vaCreateSurfaces(dpy, VA_RT_FORMAT_YUV420, WIDTH, HEIGHT, &surface, 1,
                        &attrib, 1));
    return surface;
}

static void test_no_linear_decode(void)
{
    VADRMPRIMESurfaceDescriptor d = file_of_nv12(NV12_SIZE);
    VAContextID decoder = new_context(VAProfileH264Main, VAEntrypointVLD);
    VAContextID processor = new_context(VAProfileNone, VAEntrypointVideoProc);
    VASurfaceID imported, own = new_surface(&nv12);
    VASurfaceID linear = new_linear_surface();

    OK(import_prime(&nv12, &d, &imported));
    OK(vaBeginPicture(dpy, decoder, own));
    EXPECT(vaBeginPicture(dpy, decoder, imported),
           VA_STATUS_ERROR_INVALID_SURFACE);
    EXPECT(vaBeginPicture(dpy, decoder, linear),
           VA_STATUS_ERROR_INVALID_SURFACE);
    draw(own, &nv12, 12);
    OK(process(processor, own, linear));
    OK(vaSyncSurface(dpy, linear));
    CHECK(holds(linear, &nv12, 12));
    close(d.objects[0].fd);
}

/* All succeeds, and all is wrong */
static void test_garbled(void)
{
    VADRMPRIMESurfaceDescriptor d = file_of_nv12(NV12_SIZE);
    VAContextID processor = new_context(VAProfileNone, VAEntrypointVideoProc);
    VASurfaceID imported, own = new_surface(&nv12);
    uint8_t memory[NV12_SIZE], *data;
    VAImage image;

    draw(own, &nv12, 13);
    CHECK(holds(own, &nv12, 13));
    OK(vaDeriveImage(dpy, own, &image));
    OK(vaMapBuffer(dpy, image.buf, (void **)&data));
    CHECK(!has_rows(data + image.offsets[0], image.pitches[0], &nv12, 13, 0));

    OK(import_prime(&nv12, &d, &imported));
    OK(process(processor, own, imported));
    OK(vaSyncSurface(dpy, imported));
    CHECK(pread(d.objects[0].fd, memory, NV12_SIZE, 0) == NV12_SIZE);
    CHECK(!has_rows(memory + WIDTH * HEIGHT, WIDTH, &nv12, 13, 1));
    close(d.objects[0].fd);
}

static void test_no_import_read(void)
{
    VADRMPRIMESurfaceDescriptor d = file_of_nv12(NV12_SIZE);
    VAContextID processor = new_context(VAProfileNone, VAEntrypointVideoProc);
    VASurfaceID imported, own = new_surface(&nv12);

    OK(import_prime(&nv12, &d, &imported));
    draw(own, &nv12, 7);
    OK(process(processor, own, imported));
    OK(vaSyncSurface(dpy, imported));
    CHECK(holds(imported, &nv12, 7));
    EXPECT(process(processor, imported, own), VA_STATUS_ERROR_INVALID_SURFACE);
    close(d.objects[0].fd);
}

static void test_no_derive(void)
{
    VASurfaceID surface = new_surface(&nv12);
    VAImage image;

    EXPECT(vaDeriveImage(dpy, surface, &image), VA_STATUS_ERROR_UNIMPLEMENTED);
    draw(surface, &nv12, 8);
    CHECK(holds(surface, &nv12, 8));
}

/*
 * An image of a surface has its planes where any other of this size has them,
 * which GStreamer 1.22 relies on
 */
static void test_layout(void)
{
    const int width = 322, height = 182;
    VAImageFormat format = { .fourcc = VA_FOURCC_NV12 };
    VAImage derived, made;
    VASurfaceID surface;

    OK(vaCreateSurfaces(dpy, VA_RT_FORMAT_YUV420, width, height, &surface, 1,
                        NULL, 0));
    OK(vaDeriveImage(dpy, surface, &derived));
    OK(vaCreateImage(dpy, &format, width, height, &made));
    CHECK(made.width == width && made.height == height);
    CHECK(made.data_size == derived.data_size);
    for (unsigned p = 0; p < 2; p++) {
        CHECK(made.offsets[p] == derived.offsets[p]);
        CHECK(made.pitches[p] == derived.pitches[p]);
    }
}

static void test_derive_tiled(void)
{
    VASurfaceID surface = new_surface(&nv12);
    VAImage image;

    EXPECT(vaDeriveImage(dpy, surface, &image),
           VA_STATUS_ERROR_OPERATION_FAILED);
    draw(surface, &nv12, 9);
    CHECK(holds(surface, &nv12, 9));
}

/*
 * Colours
 */

/* A picture of one colour */
static VASurfaceID plain_surface(uint8_t y, uint8_t u, uint8_t v)
{
    VASurfaceID surface = new_surface(&nv12);
    VAImage image = new_image(&nv12);
    uint8_t *data;

    OK(vaMapBuffer(dpy, image.buf, (void **)&data));
    memset(data + image.offsets[0], y, image.pitches[0] * HEIGHT);
    for (unsigned i = 0; i < image.pitches[1] * HEIGHT / 2; i += 2) {
        data[image.offsets[1] + i] = u;
        data[image.offsets[1] + i + 1] = v;
    }
    OK(vaUnmapBuffer(dpy, image.buf));
    OK(vaPutImage(dpy, surface, image.image_id, 0, 0, WIDTH, HEIGHT, 0, 0,
                  WIDTH, HEIGHT));
    OK(vaDestroyImage(dpy, image.image_id));
    return surface;
}

/* Is the middle of the plane, byte by byte, about that? */
static bool is_about(VASurfaceID surface, const Format *f, unsigned plane,
                     const uint8_t *expected, unsigned n)
{
    VAImage image = new_image(f);
    const uint8_t *at;
    bool same = true;
    uint8_t *data;

    OK(vaSyncSurface(dpy, surface));
    OK(vaGetImage(dpy, surface, 0, 0, WIDTH, HEIGHT, image.image_id));
    OK(vaMapBuffer(dpy, image.buf, (void **)&data));
    at = data + image.offsets[plane] +
        (HEIGHT >> plane) / 2 * image.pitches[plane] + f->row / 2;
    for (unsigned i = 0; i < n; i++) {
        same &= abs(at[i] - expected[i]) <= 2;
    }
    OK(vaUnmapBuffer(dpy, image.buf));
    OK(vaDestroyImage(dpy, image.image_id));
    return same;
}

static const Format bgrx = {
    VA_FOURCC_BGRX, VA_RT_FORMAT_RGB32, DRM_FORMAT_XRGB8888, 4 * WIDTH,
};

/* What one colour of YUV is, by the standard's matrix, as blue, green, red */
static const uint8_t plain_yuv[] = { 100, 90, 170 };
static const struct {
    VAProcColorStandardType standard;
    uint8_t range;
    uint8_t bgr[3];
} plain_colours[] = {
    { VAProcColorStandardBT601, VA_SOURCE_RANGE_REDUCED, { 21, 79, 165 } },
    { VAProcColorStandardBT601, VA_SOURCE_RANGE_FULL, { 33, 83, 159 } },
    { VAProcColorStandardBT709, VA_SOURCE_RANGE_REDUCED, { 18, 84, 173 } },
    { VAProcColorStandardBT709, VA_SOURCE_RANGE_FULL, { 29, 87, 166 } },
};

/* From YUV that is said to be the n-th of plain_colours to RGB */
static void convert(VAContextID processor, VASurfaceID from, unsigned n,
                    VASurfaceID to)
{
    VAProcPipelineParameterBuffer pipeline = {
        .surface = from,
        .surface_color_standard = plain_colours[n].standard,
        .input_color_properties.color_range = plain_colours[n].range,
    };

    OK(process_as(processor, pipeline, to));
}

static void test_convert(void)
{
    VAContextID processor = new_context(VAProfileNone, VAEntrypointVideoProc);
    const uint8_t *yuv = plain_yuv;
    VASurfaceID from = plain_surface(yuv[0], yuv[1], yuv[2]);
    VASurfaceID to = new_surface(&bgrx), back = new_surface(&nv12);

    for (unsigned i = 0; i < G_N_ELEMENTS(plain_colours); i++) {
        VAProcPipelineParameterBuffer pipeline = {
            .surface = to,
            .output_color_standard = plain_colours[i].standard,
            .output_color_properties.color_range = plain_colours[i].range,
        };

        convert(processor, from, i, to);
        CHECK(is_about(to, &bgrx, 0, plain_colours[i].bgr, 3));
        OK(process_as(processor, pipeline, back));
        CHECK(is_about(back, &nv12, 0, yuv, 1));
        CHECK(is_about(back, &nv12, 1, yuv + 1, 2));
    }
}

static void test_convert_601(void)
{
    VAContextID processor = new_context(VAProfileNone, VAEntrypointVideoProc);
    const uint8_t *yuv = plain_yuv;
    VASurfaceID from = plain_surface(yuv[0], yuv[1], yuv[2]);
    VASurfaceID to = new_surface(&bgrx);

    for (unsigned i = 0; i < G_N_ELEMENTS(plain_colours); i++) {
        convert(processor, from, i, to);
        CHECK(is_about(to, &bgrx, 0, plain_colours[0].bgr, 3));
    }
}

static void test_no_convert(void)
{
    VAContextID processor = new_context(VAProfileNone, VAEntrypointVideoProc);
    VASurfaceID from = new_surface(&nv12);

    OK(process(processor, from, new_surface(&nv12)));
    EXPECT(process(processor, from, new_surface(&bgrx)),
           VA_STATUS_ERROR_INVALID_SURFACE);
}

/* What is not a multiple of 64 is moved to one, without a word */
static void test_import_layout(void)
{
    const unsigned size = 2 * NV12_SIZE;
    VADRMPRIMESurfaceDescriptor d = file_of_nv12(size);
    VASurfaceID surface;
    uint8_t *memory = mmap(NULL, size, PROT_READ, MAP_SHARED, d.objects[0].fd,
                           0);

    CHECK(memory != MAP_FAILED);
    d.layers[0].pitch[0] = 128;
    d.layers[0].pitch[1] = 144;
    d.layers[0].offset[1] = 128 * HEIGHT + 16;
    OK(import_prime(&nv12, &d, &surface));
    draw(surface, &nv12, 14);
    CHECK(has_rows(memory, 128, &nv12, 14, 0));
    CHECK(has_rows(memory + 128 * HEIGHT, 128, &nv12, 14, 1));
    munmap(memory, size);
    close(d.objects[0].fd);
}

/* Here it is vaEndPicture() that waits, but not before there was a picture */
static void test_end_process_ms(void)
{
    VAContextID processor = new_context(VAProfileNone, VAEntrypointVideoProc);
    VAContextID decoder = new_context(VAProfileH264Main, VAEntrypointVLD);
    VASurfaceID from = new_surface(&nv12), to = new_surface(&nv12);
    gint64 begin = g_get_monotonic_time();

    draw(from, &nv12, 15);
    OK(process(processor, from, to));
    OK(vaSyncSurface(dpy, to));
    CHECK(g_get_monotonic_time() - begin < G_USEC_PER_SEC / 2);
    OK(vaBeginPicture(dpy, decoder, new_surface(&nv12)));
    OK(vaEndPicture(dpy, decoder));
    begin = g_get_monotonic_time();
    OK(process(processor, from, to));
    CHECK(g_get_monotonic_time() - begin >= G_USEC_PER_SEC / 2);
    OK(vaSyncSurface(dpy, to));
    CHECK(holds(to, &nv12, 15));
}

/* Who does not wait sees what was there before */
static void test_process_ms(void)
{
    VAContextID processor = new_context(VAProfileNone, VAEntrypointVideoProc);
    VASurfaceID from = new_surface(&nv12), to = new_surface(&nv12);
    VASurfaceStatus status;
    gint64 begin;

    draw(from, &nv12, 10);
    draw(to, &nv12, 11);
    begin = g_get_monotonic_time();
    OK(process(processor, from, to));
    OK(vaQuerySurfaceStatus(dpy, to, &status));
    CHECK(status == VASurfaceRendering);
    CHECK(holds(to, &nv12, 11));
    OK(vaSyncSurface(dpy, to));
    CHECK(g_get_monotonic_time() - begin >= G_USEC_PER_SEC);
    CHECK(holds(to, &nv12, 10));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        { "export", test_export },
        { "export-map", test_export_map },
        { "import", test_import },
        { "no-import", test_no_import },
        { "no-import-decode", test_no_import_decode },
        { "no-import-read", test_no_import_read },
        { "layout", test_layout },
        { "no-linear-decode", test_no_linear_decode },
        { "derive-garbled,import-garbled", test_garbled },
        { "no-derive", test_no_derive },
        { "derive-tiled", test_derive_tiled },
        { "process-ms", test_process_ms },
        { "end-process-ms", test_end_process_ms },
        { "convert", test_convert },
        { "convert-601", test_convert_601 },
        { "no-convert", test_no_convert },
        { "import-layout", test_import_layout },
    };

    for (unsigned i = 0; argc == 2 && i < G_N_ELEMENTS(tests); i++) {
        if (!strcmp(argv[1], tests[i].name)) {
            open_display();
            tests[i].run();
            OK(vaTerminate(dpy));
            return 0;
        }
    }
    fprintf(stderr, "%s: there is no such test\n", argv[0]);
    return 2;
}
