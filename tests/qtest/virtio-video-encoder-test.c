/*
 * QTest testcases of virtio-video: encoders
 *
 * The scripted codec's encoder puts into its coded buffers what it has seen of
 * a frame and of the controls; a frame can begin with instructions for it.  See
 * system/video-codec-test.h.
 *
 * A stream here is a TestStream like that of a decoder, with frames in @in,
 * which @raw and @layout are about, and coded buffers in @out.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/host-utils.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "system/video-codec.h"
#include "virtio-video-fixture.h"

#define H264        VIRTIO_VIDEO_CODED_FORMAT_H264
#define VP8         VIRTIO_VIDEO_CODED_FORMAT_VP8

#define KEY         VIRTIO_VIDEO_QUEUE_FLAG_KEY_FRAME
#define P_FRAME     VIRTIO_VIDEO_QUEUE_FLAG_P_FRAME
#define B_FRAME     VIRTIO_VIDEO_QUEUE_FLAG_B_FRAME

#define CID(name)   VIRTIO_VIDEO_V4L2_CID_##name

#define N_FRAMES    8
#define N_CODED     8
#define CODED_SIZE  4096

/*
 * Streams
 */

static TestStream *bare_encoder(Rig *r, uint32_t id)
{
    TestStream *s = g_new0(TestStream, 1);

    s->d = r->d;
    s->id = id;
    g_ptr_array_add(r->streams, s);
    qvv_assert_ok(r->d, qvv_open(r->d, id, ENCODER));
    return s;
}

/* New memory for @n frames of the current format */
static void add_frames(TestStream *s, unsigned n, QVVPlacement placement)
{
    GByteArray *set = qvv_set_new(RAW_SET);

    read_raw_format(s);
    if (s->in) {
        qvv_set_num_resources(set, 0);
        qvv_pool_free(s->d, s->in);
    }
    s->in = qvv_pool_new(s->d, n, s->layout.n_buffers, s->layout.buffer_size,
                         placement);
    add_pool(set, s->in);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
}

static void add_coded(TestStream *s, unsigned n, uint64_t size)
{
    GByteArray *set = qvv_set_new(CODED_SET);

    g_assert_null(s->out);
    s->out = qvv_pool_new(s->d, n, 1, &size, QVV_CONTIGUOUS);
    add_pool(set, s->out);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
}

static TestStream *encoder_of(Rig *r, uint32_t id, const QVVRawFormat *format,
                              QVVPlacement placement)
{
    TestStream *s = bare_encoder(r, id);

    set_raw_format(s, format);
    add_frames(s, N_FRAMES, placement);
    add_coded(s, N_CODED, CODED_SIZE);
    return s;
}

static TestStream *encoder(Rig *r, uint32_t id)
{
    QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);

    return encoder_of(r, id, &raw, QVV_CONTIGUOUS);
}

/*
 * Frames
 */

/* Plane @p of frame @value, @offset bytes into its buffer */
static void store_plane(TestStream *s, unsigned res, unsigned p,
                        uint64_t offset, uint32_t value)
{
    const QVVBuffer *buf = &s->in->res[res].buffer[s->layout.buffer[p]];
    g_autofree uint8_t *row = g_malloc(s->layout.row_bytes[p]);

    for (uint32_t y = 0; y < s->layout.rows[p]; y++) {
        for (uint32_t x = 0; x < s->layout.row_bytes[p]; x++) {
            row[x] = video_test_byte(value, p, y, x);
        }
        qvv_buffer_write(s->d, buf, offset + y * s->layout.stride[p], row,
                         s->layout.row_bytes[p]);
    }
}

static void store_frame(TestStream *s, unsigned res, uint32_t value)
{
    for (unsigned p = 0; p < s->layout.n_planes; p++) {
        store_plane(s, res, p, s->layout.offset[p], value);
    }
}

static uint32_t queue_frame(TestStream *s, unsigned res, uint64_t timestamp)
{
    return qvv_queue_frame(s->d, s->id, res, timestamp, &s->layout);
}

/* Queue frame @value in input @res */
static uint32_t encode(TestStream *s, unsigned res, uint64_t timestamp,
                       uint32_t value)
{
    store_frame(s, res, value);
    return queue_frame(s, res, timestamp);
}

/* Instructions for the codec, in the first bytes of frame @res */
static void store_script(TestStream *s, unsigned res, VideoTestInsn *insns,
                         unsigned n)
{
    const QVVBuffer *buf = &s->in->res[res].buffer[0];
    const uint8_t *data = (const uint8_t *)insns;
    uint32_t bytes = s->layout.row_bytes[0];
    size_t left = n * sizeof(*insns);

    insns_to_le(insns, n);
    for (uint32_t y = 0; left; y++) {
        size_t part = MIN(left, bytes);

        qvv_buffer_write(s->d, buf, s->layout.offset[0] +
                         y * s->layout.stride[0], data, part);
        data += part;
        left -= part;
    }
}

/* Queue a frame with these instructions in input @res */
#define ENCODE(s, res, timestamp, ...) \
    encode_script(s, res, timestamp, (VideoTestInsn[]) { __VA_ARGS__ }, \
                  sizeof((VideoTestInsn[]) { __VA_ARGS__ }) / \
                  sizeof(VideoTestInsn))

static uint32_t encode_script(TestStream *s, unsigned res, uint64_t timestamp,
                              VideoTestInsn *insns, unsigned n)
{
    store_frame(s, res, 1);
    store_script(s, res, insns, n);
    return queue_frame(s, res, timestamp);
}

/* A coded buffer of @size bytes, @position in coding order, @type or 0 */
static VideoTestInsn coded(uint32_t size, uint32_t position,
                           VideoFrameType type)
{
    return (VideoTestInsn) { VIDEO_TEST_MAGIC, VIDEO_TEST_CODED,
                            { size, position, 0, type } };
}

static uint32_t plane_sum(TestStream *s, unsigned p, const QVVRect *rect,
                          uint32_t value, uint32_t sum)
{
    uint32_t bytes = video_test_row_bytes(s->raw.fourcc, p, rect->width);
    uint32_t rows = video_test_rows(p, rect->height);
    uint32_t x0 = video_test_row_bytes(s->raw.fourcc, p, rect->left);
    uint32_t y0 = video_test_rows(p, rect->top);

    for (uint32_t y = 0; y < rows; y++) {
        for (uint32_t x = 0; x < bytes; x++) {
            uint8_t byte = video_test_byte(value, p, y0 + y, x0 + x);

            sum = video_test_checksum(sum, &byte, 1);
        }
    }
    return sum;
}

/* Checksum of that part of frame @value */
static uint32_t picture_sum(TestStream *s, const QVVRect *rect, uint32_t value)
{
    uint32_t sum = VIDEO_TEST_CHECKSUM_INIT;

    for (unsigned p = 0; p < s->layout.n_planes; p++) {
        sum = plane_sum(s, p, rect, value, sum);
    }
    return sum;
}

static uint32_t frame_sum(TestStream *s, uint32_t value)
{
    const QVVRect all = { 0, 0, s->raw.width, s->raw.height };

    return picture_sum(s, &all, value);
}

/*
 * Coded data
 */

static VideoTestCoded read_coded(TestStream *s, unsigned res)
{
    g_autofree uint8_t *data = read_output(s, res, 0);
    VideoTestCoded c;

    memcpy(&c, data, sizeof(c));
    c.magic = le32_to_cpu(c.magic);
    c.size = le32_to_cpu(c.size);
    c.sequence = le32_to_cpu(c.sequence);
    c.type = le32_to_cpu(c.type);
    c.timestamp = le64_to_cpu(c.timestamp);
    c.fourcc = le32_to_cpu(c.fourcc);
    c.width = le32_to_cpu(c.width);
    c.height = le32_to_cpu(c.height);
    c.checksum = le32_to_cpu(c.checksum);
    for (unsigned i = 0; i < VIDEO_TEST_N_CONTROLS; i++) {
        c.controls[i] = le32_to_cpu(c.controls[i]);
    }
    return c;
}

/* @cookie, of output @res, is answered with coded data of just that @type */
static VideoTestCoded expect_coded(TestStream *s, unsigned res,
                                   uint32_t cookie, uint32_t type)
{
    g_autoptr(QVVEvent) ev = qvv_wait(s->d, cookie);
    VideoTestCoded c = read_coded(s, res);

    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_true(ev->has_buffer);
    g_assert_cmphex(ev->queue_flags, ==, type);
    g_assert_cmphex(c.magic, ==, VIDEO_TEST_CODED_MAGIC);
    g_assert_cmpuint(ev->offsets[0], ==, 0);
    g_assert_cmpuint(ev->data_sizes[0], ==, c.size);
    g_assert_cmpuint(ev->timestamp, ==, c.timestamp);
    for (unsigned i = 1; i < VIRTIO_VIDEO_MAX_PLANES; i++) {
        g_assert_cmpuint(ev->offsets[i], ==, 0);
        g_assert_cmpuint(ev->data_sizes[i], ==, 0);
    }
    return c;
}

/* Encode frame @value; what the codec has seen */
static VideoTestCoded encode_one(TestStream *s, uint32_t value, uint32_t type)
{
    uint32_t in = encode(s, 0, value, value), out = get(s, 0);
    VideoTestCoded c;

    qvv_assert_ok(s->d, in);
    c = expect_coded(s, 0, out, type);
    g_assert_cmpuint(c.timestamp, ==, value);
    return c;
}

/* Does this stream encode?  From any state */
static void assert_encodes(TestStream *s)
{
    uint32_t in = encode(s, 0, 4711, 99), out = get(s, 0);

    qvv_assert_ok(s->d, in);
    g_autoptr(QVVEvent) ev = qvv_wait(s->d, out);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_cmphex(read_coded(s, 0).checksum, ==, frame_sum(s, 99));
}

/*
 * Features, properties, capabilities
 */

static void test_features(Rig *r)
{
    QVVOptions opts = { .features = VERSION_1 | FEATURE(ENCODER) |
                                    FEATURE(RESOURCE_GUEST_PAGES) };

    g_assert_true(qvv_offered_features(r->d) & FEATURE(ENCODER));
    start(r, &opts);
    g_assert_cmphex(r->d->features, ==, opts.features);
    qvv_assert_error(r->d, qvv_open(r->d, 0, DECODER));
    qvv_assert_ok(r->d, qvv_open(r->d, 0, ENCODER));
    qvv_stop(r->d);
    opts.features = VERSION_1 | FEATURE(ENCODER);
    g_assert_false(qvv_start(r->d, &opts));
}

static void test_property_encoder_off(Rig *r)
{
    g_assert_cmphex(qvv_offered_features(r->d) &
                    (FEATURE(ENCODER) | FEATURE(DECODER)), ==,
                    FEATURE(DECODER));
    qvv_assert_error(r->d, qvv_open(r->d, 0, ENCODER));
    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
    g_autoptr(QVVCaps) caps = query_caps(r);
    g_assert_cmpuint(caps->n_coded, ==, 3);
    g_assert_false(caps->has_link[ENCODER]);
}

static void test_property_decoder_off(Rig *r)
{
    g_assert_cmphex(qvv_offered_features(r->d) &
                    (FEATURE(ENCODER) | FEATURE(DECODER)), ==,
                    FEATURE(ENCODER));
    qvv_assert_error(r->d, qvv_open(r->d, 0, DECODER));
    qvv_assert_ok(r->d, qvv_open(r->d, 0, ENCODER));
    g_autoptr(QVVCaps) caps = query_caps(r);
    g_assert_cmpuint(caps->n_coded, ==, 3);
    g_assert_false(caps->has_link[DECODER]);
}

/* "device_add" with these properties fails, and says why */
static void assert_not_added(QTestState *qts, QDict *args, const char *why)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'device_add',"
                           " 'arguments': %p }", args);
    QDict *error = qdict_get_qdict(rsp, "error");

    g_assert_nonnull(error);
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), why));
    qobject_unref(rsp);
}

static void test_property_both_off(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    QVirtioPCIDevice *dev = obj;
    QDict *args = qdict_new();

    if (dev->pdev->bus->not_hotpluggable) {
        g_test_skip("pci bus does not support hotplug");
        return;
    }
    qdict_put_str(args, "driver", "virtio-video-pci");
    qdict_put_str(args, "codec", "codec0");
    qdict_put_bool(args, "decoder", false);
    qdict_put_bool(args, "encoder", false);
    assert_not_added(dev->pdev->bus->qts, args, "'encoder=off'");
}

/* Nothing but a frame that is smaller than any encoder's can be had */
static void test_property_small(Rig *r)
{
    g_assert_cmphex(qvv_offered_features(r->d) &
                    (FEATURE(ENCODER) | FEATURE(DECODER)), ==,
                    FEATURE(DECODER));
}

static bool has_control(const QVVCodedCaps *coded, uint32_t id)
{
    for (unsigned i = 0; i < coded->n_controls; i++) {
        if (coded->controls[i].id == id) {
            return true;
        }
    }
    return false;
}

/* Of a coded format two sets: that of the decoder is first, without controls */
static void test_caps_both(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);

    g_assert_cmpuint(caps->n_coded, ==, 6);
    g_assert_cmpuint(caps->n_raw, ==, 4);
    g_assert_true(caps->has_link[DECODER]);
    g_assert_true(caps->has_link[ENCODER]);
    for (unsigned i = 0; i < 6; i++) {
        bool encoder = i >= 3;

        g_assert_cmpuint(caps->coded[i].format, ==,
                         caps->coded[i % 3].format);
        g_assert_cmpint(caps->coded[i].n_controls > 0, ==, encoder);
        g_assert_cmpint(caps->links[ENCODER][i] != 0, ==, encoder);
        g_assert_cmpint(caps->links[DECODER][i] != 0, ==, !encoder);
        g_assert_true(caps->coded[i].guest_pages);
    }
}

static void test_caps_encoder(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);

    g_assert_cmpuint(caps->n_coded, ==, 3);
    g_assert_cmpuint(caps->n_raw, ==, 4);
    g_assert_false(caps->has_link[DECODER]);
    for (unsigned i = 0; i < caps->n_raw; i++) {
        uint32_t fourcc = caps->raw[i].fourcc;

        g_assert_cmpuint(caps->raw[i].width.min, ==, VIDEO_TEST_MIN_SIZE);
        g_assert_cmpuint(caps->raw[i].width.max, ==, VIDEO_TEST_MAX_SIZE);
        g_assert_cmpuint(caps->raw[i].width.step, ==, VIDEO_TEST_SIZE_STEP);
        g_assert_cmpuint(caps->raw[i].height.min, ==, VIDEO_TEST_MIN_SIZE);
        g_assert_true(qvv_caps_linked(caps, ENCODER, H264, fourcc));
        g_assert_cmpint(qvv_caps_linked(caps, ENCODER, VP8, fourcc), ==,
                        fourcc == VIDEO_TEST_NV12);
    }
}

/* Each has the controls of the draft for its own format, and no others */
static void test_caps_controls(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);
    const QVVCodedCaps *h264 = qvv_caps_coder(caps, ENCODER, H264);
    const QVVCodedCaps *vp8 = qvv_caps_coder(caps, ENCODER, VP8);

    g_assert_cmpuint(h264->n_controls, ==, 3);
    g_assert_cmphex(h264->controls[0].id, ==, CID(BITRATE));
    g_assert_cmpuint(h264->controls[0].range.min, ==, VIDEO_TEST_MIN_BITRATE);
    g_assert_cmpuint(h264->controls[0].range.max, ==, VIDEO_TEST_MAX_BITRATE);
    g_assert_cmphex(h264->controls[1].id, ==, CID(H264_PROFILE));
    g_assert_cmphex(h264->controls[1].mask, ==, VIDEO_TEST_PROFILES_H264);
    g_assert_cmphex(h264->controls[2].id, ==, CID(H264_LEVEL));
    g_assert_cmphex(h264->controls[2].mask, ==, VIDEO_TEST_LEVELS_H264);
    g_assert_cmpuint(vp8->n_controls, ==, 2);
    g_assert_true(has_control(vp8, CID(BITRATE)));
    g_assert_true(has_control(vp8, CID(VP8_PROFILE)));
}

static void test_caps_x_controls(Rig *r)
{
    static const uint32_t all[] = {
        CID(BITRATE), CID(H264_PROFILE), CID(H264_LEVEL), CID(BITRATE_MODE),
        CID(GOP_SIZE), CID(B_FRAMES), CID(FORCE_KEY_FRAME), CID(H264_MIN_QP),
        CID(H264_MAX_QP), CID(PREPEND_SPSPPS_TO_IDR),
    };
    g_autoptr(QVVCaps) caps = query_caps(r);
    const QVVCodedCaps *h264 = qvv_caps_coder(caps, ENCODER, H264);
    const QVVCodedCaps *vp8 = qvv_caps_coder(caps, ENCODER, VP8);

    g_assert_cmpuint(h264->n_controls, ==, ARRAY_SIZE(all));
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        g_assert_true(has_control(h264, all[i]));
    }
    g_assert_true(has_control(vp8, CID(VPX_MIN_QP)));
    g_assert_false(has_control(vp8, CID(H264_MIN_QP)));
    g_assert_false(has_control(vp8, CID(B_FRAMES)));
}

/*
 * OPEN
 */

static void test_open_defaults(Rig *r)
{
    TestStream *s = bare_encoder(r, 0);
    g_autoptr(QVVEvent) coded_set = get_params(s, CODED_SET);
    g_autoptr(QVVEvent) raw_set = get_params(s, RAW_SET);
    const QVVParams *p = &coded_set->params;

    g_assert_cmpuint(p->coded_format, ==, H264);
    g_assert_cmpuint(p->num_resources, ==, 0);
    g_assert_cmpuint(p->n_controls, ==, 3);
    g_assert_cmphex(p->controls[0].id, ==, CID(BITRATE));
    g_assert_cmpuint(p->controls[0].value, ==, VIDEO_TEST_DEF_BITRATE);
    g_assert_cmphex(p->controls[1].id, ==, CID(H264_PROFILE));
    g_assert_true(VIDEO_TEST_PROFILES_H264 & (1 << p->controls[1].value));
    g_assert_cmphex(p->controls[2].id, ==, CID(H264_LEVEL));
    g_assert_true(VIDEO_TEST_LEVELS_H264 & (1 << p->controls[2].value));
    p = &raw_set->params;
    g_assert_cmphex(p->raw.fourcc, ==, VIDEO_TEST_NV12);
    g_assert_cmpuint(p->raw.width, ==, 640);
    g_assert_cmpuint(p->raw.height, ==, 480);
    g_assert_cmpuint(p->crop.left + p->crop.top, ==, 0);
    g_assert_cmpuint(p->crop.width, ==, 640);
    g_assert_cmpuint(p->crop.height, ==, 480);
}

static void test_open_defaults_encode(Rig *r)
{
    TestStream *s = bare_encoder(r, 0);

    add_frames(s, 1, QVV_SCATTERED);
    add_coded(s, 1, CODED_SIZE);
    assert_encodes(s);
}

static void test_open_no_start(Rig *r)
{
    TestStream *s = bare_encoder(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_VP9);
    set_params_ok(s, set);
    add_frames(s, 1, QVV_CONTIGUOUS);
    queue_frame(s, 0, 1);
    expect_stream_error(r->d, 0);
}

/*
 * Frames in, coded data out
 */

static void check_layout(Rig *r, const QVVRawFormat *f, QVVPlacement placement)
{
    TestStream *s = encoder_of(r, 0, f, placement);
    VideoTestCoded c = encode_one(s, 7, KEY);

    g_assert_cmphex(c.fourcc, ==, f->fourcc);
    g_assert_cmpuint(c.width, ==, f->width);
    g_assert_cmpuint(c.height, ==, f->height);
    g_assert_cmphex(c.checksum, ==, frame_sum(s, 7));
    c = encode_one(s, 8, P_FRAME);
    g_assert_cmphex(c.checksum, ==, frame_sum(s, 8));
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
}

static void check_layouts(Rig *r, uint32_t planes_layout,
                          QVVPlacement placement)
{
    static const uint32_t fourccs[] = {
        VIDEO_TEST_NV12, VIDEO_TEST_YUV420, VIDEO_TEST_P010,
        VIDEO_TEST_XRGB8888,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(fourccs); i++) {
        QVVRawFormat f = raw_format(fourccs[i], 98, 50);

        f.planes_layout = planes_layout;
        check_layout(r, &f, placement);
        f.stride_align = 16;
        f.height_align = 16;
        f.plane_align = 4096;
        check_layout(r, &f, placement);
    }
}

static void test_layout_single(Rig *r)
{
    check_layouts(r, SINGLE, QVV_CONTIGUOUS);
}

static void test_layout_multi(Rig *r)
{
    check_layouts(r, MULTI, QVV_CONTIGUOUS);
}

static void test_layout_scattered(Rig *r)
{
    check_layouts(r, SINGLE, QVV_SCATTERED);
    check_layouts(r, MULTI, QVV_SCATTERED);
}

/* The planes are where the driver says, at odd offsets and in any order */
static void test_offsets(Rig *r)
{
    TestStream *s = encoder(r, 0);
    const uint32_t luma = s->layout.stride[0] * HEIGHT;
    const uint32_t chroma = s->layout.stride[1] * HEIGHT / 2;
    const uint32_t offsets[] = { chroma + 13, 3 };
    const uint32_t sizes[] = { luma, chroma };
    uint64_t size = 2 * s->layout.buffer_size[0];
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t out;

    qvv_set_num_resources(set, 0);
    qvv_pool_free(r->d, s->in);
    s->in = qvv_pool_new(r->d, 1, 1, &size, QVV_SCATTERED);
    add_pool(set, s->in);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    for (unsigned p = 0; p < 2; p++) {
        store_plane(s, 0, p, offsets[p], 5);
    }
    qvv_assert_ok(r->d, qvv_queue_planes(r->d, 0, 0, 5, 2, offsets, sizes));
    out = get(s, 0);
    g_assert_cmphex(expect_coded(s, 0, out, KEY).checksum, ==,
                    frame_sum(s, 5));
}

static uint32_t queue_planes(TestStream *s, uint32_t offset0, uint32_t size0,
                             uint32_t offset1, uint32_t size1)
{
    const uint32_t offsets[] = { offset0, offset1 };
    const uint32_t sizes[] = { size0, size1 };

    return qvv_queue_planes(s->d, s->id, 0, 1, 2, offsets, sizes);
}

/* All that is not within the buffer, and sizes without all rows */
static void test_bounds(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, 50, HEIGHT);
    TestStream *s = encoder_of(r, 0, &f, QVV_CONTIGUOUS);
    const uint32_t stride = s->layout.stride[0];
    const uint32_t luma = stride * (HEIGHT - 1) + 50;
    const uint32_t chroma = stride * (HEIGHT / 2 - 1) + 50;
    const uint32_t room = s->in->res[0].buffer[0].size;
    const uint32_t c = s->layout.offset[1];

    qvv_assert_error(r->d, queue_planes(s, 0, 0, c, chroma));
    qvv_assert_error(r->d, queue_planes(s, 0, luma - 1, c, chroma));
    qvv_assert_error(r->d, queue_planes(s, 0, luma, c, chroma - 1));
    qvv_assert_error(r->d, queue_planes(s, 0, luma, c, 0));
    qvv_assert_error(r->d, queue_planes(s, 0, room + 1, c, chroma));
    qvv_assert_error(r->d, queue_planes(s, 0, ~0u, c, chroma));
    qvv_assert_error(r->d, queue_planes(s, 0, luma, room, chroma));
    qvv_assert_error(r->d, queue_planes(s, 0, luma, room - chroma + 1,
                                        chroma));
    qvv_assert_error(r->d, queue_planes(s, room - luma + 1, luma, c, chroma));
    qvv_assert_error(r->d, queue_planes(s, ~0u, luma, c, chroma));
    qvv_assert_error(r->d, queue_planes(s, 0u - luma, luma, c, chroma));
    qvv_assert_error(r->d, queue_planes(s, 0, luma, ~0u, ~0u));
    qvv_assert_error(r->d, queue_planes(s, 0, luma, 0x80000000, 0x80000000));
    /* Up to the last byte, and as much as there is */
    get(s, 0);
    get(s, 1);
    qvv_assert_ok(r->d, queue_planes(s, 0, luma, room - chroma, chroma));
    qvv_assert_ok(r->d, queue_planes(s, 0, room, 0, room));
}

static void test_input_buffers(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s = encoder_of(r, 0, &f, QVV_CONTIGUOUS);

    /* The frames stay in one buffer, the format wants two */
    f.planes_layout = MULTI;
    set_raw_format(s, &f);
    qvv_assert_error(r->d, queue_frame(s, 0, 1));
    f.planes_layout = SINGLE;
    set_raw_format(s, &f);
    assert_encodes(s);
}

static void test_not_attached(Rig *r)
{
    TestStream *s = bare_encoder(r, 0);

    read_raw_format(s);
    qvv_assert_error(r->d, queue_frame(s, 0, 1));
    qvv_assert_error(r->d, get(s, 0));
    g_assert_cmpuint(set_num(s, RAW_SET, 2), ==, 2);
    g_assert_cmpuint(set_num(s, CODED_SET, 2), ==, 2);
    qvv_assert_error(r->d, queue_frame(s, 0, 1));
    qvv_assert_error(r->d, queue_frame(s, 2, 1));
    qvv_assert_error(r->d, queue_frame(s, ~0u, 1));
    qvv_assert_error(r->d, get(s, 0));
    qvv_assert_error(r->d, get(s, 2));
    qvv_assert_error(r->d, get(s, ~0u));
}

static void test_queued_twice(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out = get(s, 0), in;

    qvv_assert_error(r->d, get(s, 0));
    in = ENCODE(s, 0, 1, insn(VIDEO_TEST_DELAY, 100));
    qvv_assert_error(r->d, queue_frame(s, 0, 2));
    qvv_assert_ok(r->d, in);
    expect_coded(s, 0, out, KEY);
    assert_encodes(s);
}

/* The codec has its own copy: the frame comes back before the coded data */
static void test_input_first(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t in = encode(s, 0, 1, 11), out;

    qvv_assert_ok(r->d, in);
    store_frame(s, 0, 12);
    out = get(s, 0);
    g_assert_cmphex(expect_coded(s, 0, out, KEY).checksum, ==,
                    frame_sum(s, 11));
}

static void test_flags(Rig *r)
{
    static const VideoFrameType types[] = {
        VIDEO_FRAME_KEY, VIDEO_FRAME_P, VIDEO_FRAME_B,
    };
    static const uint32_t flags[] = { KEY, P_FRAME, B_FRAME };
    TestStream *s = encoder(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        ENCODE(s, 0, i, coded(0, i, types[i]));
        expect_coded(s, 0, get(s, 0), flags[i]);
    }
}

/* Outputs come in coding order, each with the timestamp of its frame */
static void test_coding_order(Rig *r)
{
    static const uint32_t positions[] = { 0, 3, 1, 2, 4 };
    static const uint64_t want[] = { 0x100000000, 3, 4, 2, ~0ull };
    static const uint64_t timestamps[] = { 0x100000000, 2, 3, 4, ~0ull };
    TestStream *s = encoder(r, 0);
    uint32_t out[5], drain;

    for (unsigned i = 0; i < 5; i++) {
        out[i] = get(s, i);
        ENCODE(s, i, timestamps[i], insn(VIDEO_TEST_REORDER, 3),
               coded(0, positions[i], VIDEO_FRAME_UNKNOWN));
    }
    drain = qvv_drain(r->d, 0);
    for (unsigned i = 0; i < 5; i++) {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, out[i]);

        g_assert_cmphex(ev->flags, ==, F_OK);
        g_assert_cmpuint(ev->timestamp, ==, want[i]);
    }
    qvv_assert_ok(r->d, drain);
}

static void expect_overflow(TestStream *s, uint32_t cookie)
{
    g_autoptr(QVVEvent) ev = qvv_wait(s->d, cookie);

    g_assert_cmphex(ev->flags, ==, F_ERROR);
    g_assert_true(ev->has_buffer);
    g_assert_cmpuint(ev->data_sizes[0], ==, 0);
    g_assert_cmpint(ctpop32(ev->queue_flags), ==, 1);
}

static void test_overflow(Rig *r)
{
    TestStream *s = encoder(r, 0);

    encode_one(s, 1, KEY);
    fill_output(s, 1, 0xaa);
    qvv_assert_ok(r->d, ENCODE(s, 0, 2, coded(CODED_SIZE + 1, 1, 0)));
    expect_overflow(s, get(s, 1));
    assert_output_is(s, 1, 0xaa);
    encode_one(s, 3, KEY);
    encode_one(s, 4, P_FRAME);
    /* As much as there is room for is fine */
    ENCODE(s, 0, 5, coded(CODED_SIZE, 4, 0));
    g_assert_cmpuint(expect_coded(s, 1, get(s, 1), P_FRAME).size, ==,
                     CODED_SIZE);
}

static void test_corrupt(Rig *r)
{
    TestStream *s = encoder(r, 0);
    VideoTestInsn corrupt = coded(0, 0, 0);

    corrupt.args[2] = VIDEO_TEST_FRAME_CORRUPT;
    qvv_assert_ok(r->d, ENCODE(s, 0, 1, corrupt));
    qvv_assert_error(r->d, get(s, 0));
    assert_encodes(s);
}

static void test_bad_frame(Rig *r)
{
    TestStream *s = encoder(r, 0);

    qvv_assert_error(r->d, ENCODE(s, 0, 1, insn(VIDEO_TEST_BAD, 0)));
    assert_encodes(s);
}

static void test_no_coded(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out = get(s, 0);

    qvv_assert_ok(r->d, ENCODE(s, 0, 1, insn(VIDEO_TEST_SKIP, 0)));
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    qvv_assert_ok(r->d, encode(s, 0, 2, 2));
    g_assert_cmpuint(expect_coded(s, 0, out, KEY).timestamp, ==, 2);
}

static void test_fail(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out = get(s, 0);

    ENCODE(s, 0, 1, fail("gone"));
    qvv_assert_canceled(r->d, out);
    expect_stream_error(r->d, 0);
    qvv_assert_error(r->d, queue_frame(s, 0, 1));
    assert_encodes(encoder(r, 0));
}

static void test_long_run(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t in[N_FRAMES], out[N_CODED];

    for (unsigned i = 0; i < 200; i++) {
        unsigned at = i % N_FRAMES;

        if (i >= N_FRAMES) {
            VideoTestCoded c;

            qvv_assert_ok(r->d, in[at]);
            c = expect_coded(s, at, out[at], (i - N_FRAMES) %
                             VIDEO_TEST_DEF_GOP ? P_FRAME : KEY);
            g_assert_cmpuint(c.sequence, ==, i - N_FRAMES);
            g_assert_cmphex(c.checksum, ==, frame_sum(s, i - N_FRAMES));
        }
        out[at] = get(s, at);
        in[at] = encode(s, at, i, i);
    }
}

/* A decoder and two encoders at once, each with its own data */
static void test_streams_apart(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_YUV420, 32, 80);
    TestStream *decoder = test_stream(r, 3);
    TestStream *one = encoder(r, 1);
    TestStream *two = encoder_of(r, 2, &f, QVV_SCATTERED);

    for (unsigned i = 0; i < 5; i++) {
        uint32_t frame_out = get(decoder, 0);
        uint32_t out1 = get(one, 0), out2 = get(two, 0);

        encode(one, 0, i, 10 + i);
        PUT(decoder, 0, 50 + i, HEADER, frame(20 + i));
        encode(two, 0, 90 + i, 30 + i);
        g_assert_cmphex(expect_coded(two, 0, out2, i ? P_FRAME : KEY).checksum,
                        ==, frame_sum(two, 30 + i));
        expect_frame(decoder, 0, frame_out, 20 + i, 50 + i);
        g_assert_cmphex(expect_coded(one, 0, out1, i ? P_FRAME : KEY).checksum,
                        ==, frame_sum(one, 10 + i));
    }
}

/* Requests that say more than the driver may are as if they did not */
static void test_request_flags(Rig *r)
{
    TestStream *s = encoder(r, 0);
    struct virtio_video_resource_queue cmd = {
        .hdr.type = cpu_to_le32(VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE),
        .hdr.queue_type = cpu_to_le32(INPUT),
        .flags = cpu_to_le32(~0u),
        .timestamp = cpu_to_le64(9),
        .data_sizes[0] = cpu_to_le32(s->layout.size[0]),
        .data_sizes[1] = cpu_to_le32(s->layout.size[1]),
        .offsets[1] = cpu_to_le32(s->layout.offset[1]),
        .offsets[2] = ~0u,
        .data_sizes[7] = ~0u,
    };

    encode_one(s, 1, KEY);
    qvv_assert_ok(r->d, qvv_cmd(r->d, &cmd, sizeof(cmd)));
    expect_coded(s, 0, get(s, 0), P_FRAME);
}

static void test_coded_buffers(Rig *r)
{
    TestStream *s = bare_encoder(r, 0);
    const uint64_t sizes[] = { CODED_SIZE, CODED_SIZE };
    GByteArray *set = qvv_set_new(CODED_SET);

    s->out = qvv_pool_new(r->d, 1, 2, sizes, QVV_CONTIGUOUS);
    add_pool(set, s->out);
    assert_set_error(s, set);
}

static void test_coded_size(Rig *r)
{
    TestStream *s = encoder(r, 0);
    const uint64_t size = 2 * CODED_SIZE;
    GByteArray *set = qvv_set_new(CODED_SET);
    QVVPool *pool = qvv_pool_new(r->d, 1, 1, &size, QVV_CONTIGUOUS);

    add_pool(set, pool);
    g_assert_cmphex(set_params_flags(s, set), ==, F_ERROR | F_BLOCKED);
    qvv_pool_free(r->d, pool);
}

/*
 * DRAIN, QUEUE_RESET, CLOSE, reset of the device
 */

static void test_drain(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1), drain, in;

    ENCODE(s, 0, 1, insn(VIDEO_TEST_REORDER, 5), insn(VIDEO_TEST_DELAY, 20));
    ENCODE(s, 1, 2, insn(VIDEO_TEST_NOP, 0));
    drain = qvv_drain(r->d, 0);
    in = encode(s, 2, 3, 3);
    EXPECT_ORDER(r->d, { out0, F_OK }, { out1, F_OK }, { drain, F_OK },
                 { in, F_OK });
}

static void test_drain_waits(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t in = encode(s, 0, 1, 1), drain = qvv_drain(r->d, 0), out;

    qvv_assert_ok(r->d, in);
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    out = get(s, 0);
    EXPECT_ORDER(r->d, { out, F_OK }, { drain, F_OK });
}

static void test_drain_idle(Rig *r)
{
    TestStream *s = encoder(r, 0);

    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    assert_encodes(s);
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    assert_encodes(s);
}

static void test_drain_canceled(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t drain, reset;

    qvv_assert_ok(r->d, encode(s, 0, 1, 1));
    drain = qvv_drain(r->d, 0);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { reset, F_OK });
    encode_one(s, 2, KEY);
}

/* Whether the codec has the frame, reads it, or does not have it yet */
static void test_reset_input(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t in[4], out = get(s, 0), reset;

    in[0] = ENCODE(s, 0, 1, insn(VIDEO_TEST_HANG, 0));
    for (unsigned i = 1; i < 4; i++) {
        in[i] = encode(s, i, i, i);
    }
    g_usleep(10 * MS);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    expect_canceled(r->d, in, 4, reset);
    encode(s, 0, 9, 9);
    g_assert_cmpuint(expect_coded(s, 0, out, KEY).timestamp, ==, 9);
}

static void test_reset_input_reading(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, 64, 1024);
    TestStream *s = encoder_of(r, 0, &f, QVV_SCATTERED);
    int64_t began;
    uint32_t in;

    ENCODE(s, 0, 1, insn(VIDEO_TEST_SLOW_READ, 5));
    expect_coded(s, 0, get(s, 0), KEY);
    in = encode(s, 1, 2, 2);
    wait_commands(r->d);
    g_usleep(30 * MS);
    began = g_get_monotonic_time();
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    g_assert_cmpint(g_get_monotonic_time() - began, <, 200 * MS);
    qvv_assert_canceled(r->d, in);
    /* From here on nobody looks at that memory */
    g_assert_cmpuint(set_num(s, RAW_SET, 0), ==, 0);
}

static void test_reset_drops(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out;

    qvv_assert_ok(r->d, encode(s, 0, 1, 1));
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    out = get(s, 0);
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    encode(s, 0, 2, 2);
    g_assert_cmpuint(expect_coded(s, 0, out, KEY).timestamp, ==, 2);
}

static void test_reset_output(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out[3], reset;

    for (unsigned i = 0; i < 3; i++) {
        out[i] = get(s, i);
    }
    reset = qvv_queue_reset(r->d, 0, OUTPUT);
    expect_canceled(r->d, out, 3, reset);
    qvv_assert_ok(r->d, encode(s, 0, 1, 1));
    expect_coded(s, 3, get(s, 3), KEY);
}

/* It is taken back while the codec is about to write */
/*
 * Coded data may be complete, and only the event missing, when the output is
 * reset.  What the driver gets first can be decoded all the same.
 */
static void test_reset_output_complete(Rig *r)
{
    TestStream *s = encoder(r, 0);

    for (unsigned i = 0; i < 20; i++) {
        uint32_t out, reset;
        g_autoptr(QVVEvent) ev = NULL;

        qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
        qvv_assert_ok(r->d, encode(s, 0, 1, 1));
        qvv_hold(r->d);
        out = get(s, 0);
        for (unsigned j = 0; j < 30; j++) {
            /* Gives the codec time, and the main loop none */
            qvv_get_params(r->d, 0, MAIN, CODED_SET);
        }
        reset = qvv_queue_reset(r->d, 0, OUTPUT);
        qvv_flush(r->d);
        ev = qvv_wait(r->d, out);
        qvv_assert_ok(r->d, reset);
        if (ev->flags == F_CANCELED) {
            /* The codec has kept the first, or makes another */
            encode(s, 1, 2, 2);
            expect_coded(s, 1, get(s, 1), KEY);
        } else {
            g_assert_cmphex(ev->flags, ==, F_OK);
            g_assert_cmphex(ev->queue_flags, ==, KEY);
        }
    }
}

static void test_reset_output_writing(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out = get(s, 0);

    fill_output(s, 0, 0x55);
    qvv_assert_ok(r->d, ENCODE(s, 0, 1, insn(VIDEO_TEST_SLOW_EMIT, 50)));
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, OUTPUT));
    qvv_assert_canceled(r->d, out);
    g_usleep(80 * MS);
    assert_output_is(s, 0, 0x55);
    expect_coded(s, 1, get(s, 1), KEY);
}

static void test_close(Rig *r)
{
    TestStream *s = encoder(r, 0);
    const uint32_t cookies[] = {
        ENCODE(s, 0, 1, insn(VIDEO_TEST_HANG, 0)),
        encode(s, 1, 2, 2),
        qvv_drain(r->d, 0),
        qvv_get_params(r->d, 0, INPUT, RAW_SET),
        get(s, 0),
    };

    expect_canceled(r->d, cookies, ARRAY_SIZE(cookies), qvv_close(r->d, 0));
    qvv_assert_error(r->d, queue_frame(s, 0, 1));
    assert_encodes(encoder(r, 0));
}

/* Encoders that read, hang, have something to write, and wait */
static TestStream *busy_encoders(Rig *r)
{
    QVVRawFormat large = raw_format(VIDEO_TEST_NV12, 64, 1024);
    TestStream *writing = encoder(r, 0), *s;

    get(writing, 0);
    fill_output(writing, 0, 0xee);
    ENCODE(writing, 0, 1, insn(VIDEO_TEST_SLOW_EMIT, 30));
    s = encoder_of(r, 1, &large, QVV_SCATTERED);
    ENCODE(s, 0, 1, insn(VIDEO_TEST_SLOW_READ, 5), insn(VIDEO_TEST_SKIP, 0));
    encode(s, 1, 1, 1);
    encode(s, 2, 1, 1);
    s = encoder(r, 2);
    ENCODE(s, 0, 1, insn(VIDEO_TEST_HANG, 0));
    encode(s, 1, 1, 1);
    qvv_drain(r->d, 2);
    s = encoder(r, 3);
    ENCODE(s, 0, 1, insn(VIDEO_TEST_HANG_HARD, 300));
    get(s, 0);
    s = encoder(r, 4);
    encode(s, 0, 1, 1);
    qvv_drain(r->d, 4);
    s = encoder(r, 5);
    get(s, 0);
    wait_commands(r->d);
    g_usleep(10 * MS);
    return writing;
}

static void test_device_reset(Rig *r)
{
    TestStream *writing = busy_encoders(r);

    qvv_stop(r->d);
    fill_output(writing, 0, 0xdd);
    g_usleep(80 * MS);
    assert_output_is(writing, 0, 0xdd);
    wait_threads(r, r->threads);
    start(r, NULL);
    qvv_assert_quiet(r->d, QUIET);
    assert_encodes(encoder(r, 0));
}

static void qmp_ok(QTestState *qts, const char *command)
{
    qtest_qmp_assert_success(qts, "{ 'execute': %s }", command);
}

/* Nothing is written while the VM is stopped, and nothing is forgotten */
static void test_stop(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out = get(s, 0), in;

    fill_output(s, 0, 0x77);
    in = ENCODE(s, 0, 5, insn(VIDEO_TEST_SLOW_EMIT, 20));
    wait_commands(r->d);
    qmp_ok(r->qts, "stop");
    g_usleep(60 * MS);
    assert_output_is(s, 0, 0x77);
    qmp_ok(r->qts, "cont");
    qvv_assert_ok(r->d, in);
    expect_coded(s, 0, out, KEY);
}

static void test_stop_often(Rig *r)
{
    TestStream *s = encoder(r, 0);

    for (unsigned i = 0; i < 10; i++) {
        uint32_t out = get(s, 0);

        ENCODE(s, 0, i, insn(VIDEO_TEST_SLOW_EMIT, i % 3));
        g_usleep(i * MS);
        qmp_ok(r->qts, "stop");
        qmp_ok(r->qts, "cont");
        expect_coded(s, 0, out, i ? P_FRAME : KEY);
    }
}

#define PCI_SLOT_HP 0x06

static void test_unplug(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioPCIDevice *dev = obj;
    QPCIBus *bus = dev->pdev->bus;
    QPCIAddress addr = { .devfn = QPCI_DEVFN(PCI_SLOT_HP, 0) };
    QVirtioVideo v;
    QVirtioPCIDevice *pci;
    TestStream *writing;
    Rig r = {
        .v = &v,
        .qts = bus->qts,
        .alloc = alloc,
        .streams = g_ptr_array_new_with_free_func(test_stream_free),
    };

    if (!is_x86() || bus->not_hotpluggable) {
        g_test_skip("this machine has no hotplug without a guest's help");
        return;
    }
    r.threads = n_threads(r.qts);
    qtest_qmp_device_add(r.qts, "virtio-video-pci", "video1",
                         "{ 'addr': %s, 'codec': 'codec0' }",
                         stringify(PCI_SLOT_HP));
    pci = virtio_pci_new(bus, &addr);
    g_assert_nonnull(pci);
    qvirtio_pci_device_enable(pci);
    v.vdev = &pci->vdev;
    r.d = qvv_new(r.v, alloc, r.qts);
    start(&r, NULL);
    writing = busy_encoders(&r);
    qpci_unplug_acpi_device_test(r.qts, "video1", PCI_SLOT_HP);
    fill_output(writing, 0, 0xdd);
    g_usleep(80 * MS);
    assert_output_is(writing, 0, 0xdd);
    wait_threads(&r, r.threads);
    qvv_abandon(r.d);
    g_ptr_array_unref(r.streams);
    qvv_free(r.d);
    qpci_iounmap(pci->pdev, pci->bar);
    g_free(pci->pdev);
    g_free(pci);
}

/*
 * Formats
 */

static void test_size_closest(Rig *r)
{
    TestStream *s = bare_encoder(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, 1, 0);

    f = set_and_get(s, &f);
    g_assert_cmpuint(f.width, ==, VIDEO_TEST_MIN_SIZE);
    g_assert_cmpuint(f.height, ==, VIDEO_TEST_MIN_SIZE);
    f.width = 101;
    f.height = 103;
    f = set_and_get(s, &f);
    g_assert_cmpuint(f.width, ==, 100);
    g_assert_cmpuint(f.height, ==, 102);
    f.width = ~0u;
    f.height = VIDEO_TEST_MAX_SIZE + 1;
    f = set_and_get(s, &f);
    g_assert_cmpuint(f.width, ==, VIDEO_TEST_MAX_SIZE);
    g_assert_cmpuint(f.height, ==, VIDEO_TEST_MAX_SIZE);
}

static QVVRect set_crop(TestStream *s, uint32_t left, uint32_t top,
                        uint32_t width, uint32_t height)
{
    const QVVRect rect = { left, top, width, height };
    GByteArray *set = qvv_set_new(RAW_SET);

    qvv_set_crop(set, &rect);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_autoptr(QVVEvent) now = get_params(s, RAW_SET);
    g_assert_cmpmem(&ev->params.crop, sizeof(rect), &now->params.crop,
                    sizeof(rect));
    return now->params.crop;
}

static void assert_rect(const QVVRect *rect, uint32_t left, uint32_t top,
                        uint32_t width, uint32_t height)
{
    g_assert_cmpuint(rect->left, ==, left);
    g_assert_cmpuint(rect->top, ==, top);
    g_assert_cmpuint(rect->width, ==, width);
    g_assert_cmpuint(rect->height, ==, height);
}

static void test_crop_closest(Rig *r)
{
    TestStream *s = encoder(r, 0);
    QVVRect rect;

    rect = set_crop(s, 5, 7, 21, 19);
    assert_rect(&rect, 4, 6, 20, 18);
    rect = set_crop(s, 0, 0, 0, 1);
    assert_rect(&rect, 0, 0, VIDEO_TEST_MIN_SIZE, VIDEO_TEST_MIN_SIZE);
    rect = set_crop(s, ~0u, 0x80000001, 32, 32);
    assert_rect(&rect, WIDTH - 32, HEIGHT - 32, 32, 32);
    rect = set_crop(s, 10, 10, ~0u, WIDTH);
    assert_rect(&rect, 0, 0, WIDTH, HEIGHT);
}

static void test_crop_encoded(Rig *r)
{
    static const uint32_t fourccs[] = {
        VIDEO_TEST_NV12, VIDEO_TEST_YUV420, VIDEO_TEST_P010,
        VIDEO_TEST_XRGB8888,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(fourccs); i++) {
        QVVRawFormat f = raw_format(fourccs[i], WIDTH, HEIGHT);
        TestStream *s = encoder_of(r, 0, &f, QVV_SCATTERED);
        QVVRect rect = set_crop(s, 6, 4, 30, 20);
        VideoTestCoded c = encode_one(s, 3, KEY);

        g_assert_cmpuint(c.width, ==, 30);
        g_assert_cmpuint(c.height, ==, 20);
        g_assert_cmphex(c.checksum, ==, picture_sum(s, &rect, 3));
        qvv_assert_ok(r->d, qvv_close(r->d, 0));
    }
}

/* Elsewhere in the frame is no change, another size is a new sequence */
static void test_crop_mid_stream(Rig *r)
{
    TestStream *s = encoder(r, 0);
    QVVRect rect = set_crop(s, 0, 0, 32, 32);

    g_assert_cmphex(encode_one(s, 1, KEY).checksum, ==,
                    picture_sum(s, &rect, 1));
    rect = set_crop(s, 32, 16, 32, 32);
    g_assert_cmphex(encode_one(s, 2, P_FRAME).checksum, ==,
                    picture_sum(s, &rect, 2));
    rect = set_crop(s, 0, 0, 48, 32);
    g_assert_cmphex(encode_one(s, 3, KEY).checksum, ==,
                    picture_sum(s, &rect, 3));
}

static void test_crop_reset(Rig *r)
{
    TestStream *s = encoder(r, 0);
    QVVRawFormat f = s->raw;

    set_crop(s, 2, 2, 32, 32);
    f.stride_align = 128;
    set_raw_format(s, &f);
    g_autoptr(QVVEvent) same = get_params(s, RAW_SET);
    assert_rect(&same->params.crop, 2, 2, 32, 32);
    f.width = 2 * WIDTH;
    set_raw_format(s, &f);
    g_autoptr(QVVEvent) full = get_params(s, RAW_SET);
    assert_rect(&full->params.crop, 0, 0, 2 * WIDTH, HEIGHT);
}

/* Frames before it come out before the answer; the output is not blocked */
static void check_raw_change(Rig *r, uint32_t queue)
{
    TestStream *s = encoder(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH / 2, HEIGHT);
    g_autoptr(GByteArray) set = qvv_set_new(RAW_SET);
    uint32_t out0 = get(s, 0), out1 = get(s, 1), out2 = get(s, 2), in, params;

    in = ENCODE(s, 0, 1, insn(VIDEO_TEST_REORDER, 4),
                insn(VIDEO_TEST_DELAY, 20));
    encode(s, 1, 2, 2);
    wait_commands(r->d);
    qvv_set_raw_format(set, &f);
    params = qvv_set_params(r->d, 0, queue, set);
    EXPECT_ORDER(r->d, { in, F_OK }, { out0, F_OK }, { out1, F_OK },
                 { params, F_OK });
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    read_raw_format(s);
    encode(s, 2, 3, 3);
    g_assert_cmphex(expect_coded(s, 2, out2, KEY).checksum, ==,
                    frame_sum(s, 3));
}

static void test_raw_change_main(Rig *r)
{
    check_raw_change(r, MAIN);
}

static void test_raw_change_input(Rig *r)
{
    check_raw_change(r, INPUT);
}

/* Strides are the frame's business, not the codec's; but it was drained */
static void test_raw_stride(Rig *r)
{
    TestStream *s = encoder(r, 0);
    QVVRawFormat f = s->raw;
    VideoTestCoded c;

    encode_one(s, 1, KEY);
    f.stride_align = 256;
    set_raw_format(s, &f);
    add_frames(s, 2, QVV_CONTIGUOUS);
    g_assert_cmpuint(s->layout.stride[0], ==, 256);
    c = encode_one(s, 2, KEY);
    g_assert_cmpuint(c.sequence, ==, 1);
    g_assert_cmphex(c.checksum, ==, frame_sum(s, 2));
}

/* What is queued behind it is laid out as it says */
static void test_raw_change_in_order(Rig *r)
{
    TestStream *s = encoder(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_YUV420, 32, 32);
    g_autoptr(GByteArray) set = qvv_set_new(RAW_SET);
    uint32_t out0 = get(s, 0), out1 = get(s, 1), old_sum, params, late;

    encode(s, 0, 1, 1);
    old_sum = frame_sum(s, 1);
    qvv_set_raw_format(set, &f);
    params = qvv_set_params(r->d, 0, INPUT, set);
    g_assert_true(qvv_layout(&s->layout, &f));
    s->raw = f;
    encode(s, 1, 2, 2);
    /* No frame of this format */
    late = queue_planes(s, 0, 64, 0, 64);
    g_assert_cmphex(expect_coded(s, 0, out0, KEY).checksum, ==, old_sum);
    qvv_assert_ok(r->d, params);
    g_assert_cmphex(expect_coded(s, 1, out1, KEY).checksum, ==,
                    frame_sum(s, 2));
    qvv_assert_error(r->d, late);
}

static void test_raw_not_linked(Rig *r)
{
    TestStream *s = bare_encoder(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_YUV420, WIDTH, HEIGHT);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_coded_format(set, VP8);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    set = qvv_set_new(RAW_SET);
    qvv_set_raw_format(set, &f);
    assert_set_error(s, set);
    read_raw_format(s);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_NV12);
}

static void test_raw_follows_coded(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_YUV420, WIDTH, HEIGHT);
    TestStream *s = encoder_of(r, 0, &f, QVV_CONTIGUOUS);
    GByteArray *set = qvv_set_new(CODED_SET);

    encode_one(s, 1, KEY);
    qvv_set_coded_format(set, VP8);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    unblock(s);
    read_raw_format(s);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_NV12);
    g_assert_cmpuint(s->raw.width, ==, WIDTH);
    g_assert_cmphex(encode_one(s, 2, KEY).fourcc, ==, VIDEO_TEST_NV12);
}

/* Drained and blocked: then the codec takes nothing until UNBLOCK */
static void test_coded_change(Rig *r)
{
    TestStream *s = encoder(r, 0);
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);
    uint32_t out0 = get(s, 0), out1 = get(s, 1), params, in, drain;

    ENCODE(s, 0, 1, insn(VIDEO_TEST_REORDER, 4), insn(VIDEO_TEST_DELAY, 20));
    qvv_set_coded_format(set, VP8);
    params = qvv_set_params(r->d, 0, MAIN, set);
    EXPECT_ORDER(r->d, { out0, F_OK }, { params, F_BLOCKED });
    in = encode(s, 1, 2, 2);
    drain = qvv_drain(r->d, 0);
    g_assert_cmpuint(count_answers(r->d, in, QUIET), ==, 0);
    unblock(s);
    qvv_assert_ok(r->d, in);
    expect_coded(s, 1, out1, KEY);
    qvv_assert_ok(r->d, drain);
}

/* Twice without an UNBLOCK in between: no frame is lost */
static void test_coded_change_twice(Rig *r)
{
    TestStream *s = encoder(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);
    uint32_t out = get(s, 0), in;

    qvv_set_coded_format(set, VP8);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    in = encode(s, 0, 2, 2);
    set = qvv_set_new(CODED_SET);
    qvv_set_coded_format(set, H264);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    unblock(s);
    qvv_assert_ok(r->d, in);
    g_assert_cmphex(expect_coded(s, 0, out, KEY).checksum, ==,
                    frame_sum(s, 2));
}

static void test_coded_same(Rig *r)
{
    TestStream *s = encoder(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);

    encode_one(s, 1, KEY);
    qvv_set_coded_format(set, H264);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    encode_one(s, 2, P_FRAME);
}

/* Fewer coded buffers block the output, fewer frames don't */
static void test_shrink(Rig *r)
{
    TestStream *s = encoder(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t out[N_CODED], in;

    encode_one(s, 1, KEY);
    for (unsigned i = 0; i < N_CODED; i++) {
        out[i] = get(s, i);
    }
    qvv_set_num_resources(set, 2);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    qvv_assert_error(r->d, queue_frame(s, 2, 1));
    set = qvv_set_new(CODED_SET);
    qvv_set_num_resources(set, 1);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    for (unsigned i = 1; i < N_CODED; i++) {
        qvv_assert_canceled(r->d, out[i]);
    }
    in = encode(s, 0, 2, 2);
    g_assert_cmpuint(count_answers(r->d, in, QUIET), ==, 0);
    unblock(s);
    /* The same session goes on */
    g_assert_cmpuint(expect_coded(s, 0, out[0], KEY).sequence, ==, 1);
}

/* An output in use can't be attached anew, an input waits for the codec */
static void test_attach_in_use(Rig *r)
{
    TestStream *s = encoder(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);
    g_autoptr(GByteArray) frames = qvv_set_new(RAW_SET);
    uint32_t in, params;

    get(s, 1);
    qvv_set_pages(set, &s->out->res[1]);
    assert_set_error(s, set);
    in = ENCODE(s, 0, 1, insn(VIDEO_TEST_DELAY, 30));
    qvv_set_pages(frames, &s->in->res[0]);
    params = qvv_set_params(r->d, 0, MAIN, frames);
    EXPECT_ORDER(r->d, { in, F_OK }, { params, F_OK });
}

/*
 * Controls
 */

/* One control as SET_PARAMS; the value that it really has */
static uint32_t set_control(TestStream *s, uint32_t id, uint32_t value)
{
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_control(set, id, value);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_cmpuint(ev->params.n_controls, ==, 1);
    g_assert_cmphex(ev->params.controls[0].id, ==, id);
    return ev->params.controls[0].value;
}

static uint32_t get_control(TestStream *s, uint32_t id)
{
    g_autoptr(QVVEvent) ev = get_params(s, CODED_SET);

    for (unsigned i = 0; i < ev->params.n_controls; i++) {
        if (ev->params.controls[i].id == id) {
            return ev->params.controls[i].value;
        }
    }
    g_assert_not_reached();
}

static void assert_no_control(TestStream *s, uint32_t id)
{
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_control(set, id, 1);
    assert_set_error(s, set);
}

static void test_controls_closest(Rig *r)
{
    static const uint32_t values[][3] = {
        { CID(BITRATE), 0, VIDEO_TEST_MIN_BITRATE },
        { CID(BITRATE), 123456, 123456 },
        { CID(BITRATE), ~0u, VIDEO_TEST_MAX_BITRATE },
        { CID(H264_PROFILE), 0, 1 }, { CID(H264_PROFILE), 2, 2 },
        { CID(H264_PROFILE), 3, 2 }, { CID(H264_PROFILE), 255, 4 },
        { CID(H264_LEVEL), 0, 8 }, { CID(H264_LEVEL), 13, 11 },
        { CID(H264_LEVEL), 14, 14 }, { CID(H264_LEVEL), 33, 14 },
        /* Only the first byte of an enum counts */
        { CID(H264_LEVEL), 0xffffff09, 9 },
        { CID(BITRATE_MODE), 2, 1 }, { CID(BITRATE_MODE), 0, 0 },
        { CID(GOP_SIZE), 100000, VIDEO_TEST_MAX_GOP },
        { CID(B_FRAMES), 0, 0 }, { CID(B_FRAMES), 99, VIDEO_TEST_MAX_B_FRAMES },
        { CID(H264_MAX_QP), 52, VIDEO_TEST_MAX_QP },
        { CID(PREPEND_SPSPPS_TO_IDR), 0, 0 },
        { CID(PREPEND_SPSPPS_TO_IDR), 7, 1 },
    };
    TestStream *s = encoder(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
        g_assert_cmpuint(set_control(s, values[i][0], values[i][1]), ==,
                         values[i][2]);
        g_assert_cmpuint(get_control(s, values[i][0]), ==, values[i][2]);
    }
}

static void test_controls_start(Rig *r)
{
    TestStream *s = encoder(r, 0);
    VideoTestCoded c;

    set_control(s, CID(BITRATE), 777000);
    set_control(s, CID(H264_LEVEL), 9);
    c = encode_one(s, 1, KEY);
    g_assert_cmpuint(c.controls[VIDEO_CONTROL_BITRATE], ==, 777000);
    g_assert_cmpuint(c.controls[VIDEO_CONTROL_LEVEL], ==, 9);
}

/* On the main queue they count from the next frame that the codec takes */
static void test_controls_at_once(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out[3];

    for (unsigned i = 0; i < 3; i++) {
        out[i] = get(s, i);
        store_frame(s, i, i);
    }
    ENCODE(s, 0, 0, insn(VIDEO_TEST_DELAY, 300));
    queue_frame(s, 1, 1);
    queue_frame(s, 2, 2);
    wait_commands(r->d);
    g_usleep(10 * MS);
    set_control(s, CID(BITRATE), 50000);
    for (unsigned i = 0; i < 3; i++) {
        VideoTestCoded c = expect_coded(s, i, out[i], i ? P_FRAME : KEY);

        g_assert_cmpuint(c.controls[VIDEO_CONTROL_BITRATE], ==,
                         i ? 50000 : VIDEO_TEST_DEF_BITRATE);
    }
}

/* In the input queue they count from the next frame in the queue */
static void test_controls_in_order(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out[6], params[6];

    for (unsigned i = 0; i < 6; i++) {
        g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);

        out[i] = get(s, i);
        qvv_set_control(set, CID(BITRATE), 20000 + i);
        if (i % 2) {
            params[i] = qvv_set_params(r->d, 0, INPUT, set);
        }
        encode(s, i, i, i);
    }
    for (unsigned i = 0; i < 6; i++) {
        VideoTestCoded c = expect_coded(s, i, out[i], i ? P_FRAME : KEY);
        unsigned last = i - !(i % 2);

        g_assert_cmpuint(c.controls[VIDEO_CONTROL_BITRATE], ==,
                         i ? 20000 + last : VIDEO_TEST_DEF_BITRATE);
        if (i % 2) {
            qvv_assert_ok(r->d, params[i]);
        }
    }
}

/* Just the one frame, in order and at once, and it reads back as 0 */
static void test_controls_key_frame(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out[6];

    encode_one(s, 50, KEY);
    for (unsigned i = 0; i < 6; i++) {
        g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);

        out[i] = get(s, i);
        qvv_set_control(set, CID(FORCE_KEY_FRAME), 1);
        if (i == 3) {
            qvv_set_params(r->d, 0, INPUT, set);
        }
        encode(s, i, i, i);
    }
    for (unsigned i = 0; i < 6; i++) {
        expect_coded(s, i, out[i], i == 3 ? KEY : P_FRAME);
    }
    g_assert_cmpuint(get_control(s, CID(FORCE_KEY_FRAME)), ==, 0);
    g_assert_cmpuint(set_control(s, CID(FORCE_KEY_FRAME), 1), ==, 1);
    g_assert_cmpuint(get_control(s, CID(FORCE_KEY_FRAME)), ==, 1);
    /* Neither another control nor not asking takes it back */
    set_control(s, CID(BITRATE), 50000);
    set_control(s, CID(FORCE_KEY_FRAME), 0);
    encode_one(s, 7, KEY);
    g_assert_cmpuint(get_control(s, CID(FORCE_KEY_FRAME)), ==, 0);
    set_control(s, CID(BITRATE), 60000);
    encode_one(s, 8, P_FRAME);
}

static void test_controls_gop(Rig *r)
{
    TestStream *s = encoder(r, 0);

    set_control(s, CID(GOP_SIZE), 3);
    for (unsigned i = 0; i < 9; i++) {
        encode_one(s, i, i % 3 ? P_FRAME : KEY);
    }
}

static void test_controls_keep_session(Rig *r)
{
    TestStream *s = encoder(r, 0);

    encode_one(s, 1, KEY);
    set_control(s, CID(BITRATE), 300000);
    g_assert_cmpuint(encode_one(s, 2, P_FRAME).sequence, ==, 1);
    /* They outlive a session that another size ends, and a reset */
    set_crop(s, 0, 0, 32, 32);
    g_assert_cmpuint(encode_one(s, 3, KEY).controls[VIDEO_CONTROL_BITRATE],
                     ==, 300000);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    g_assert_cmpuint(encode_one(s, 4, KEY).controls[VIDEO_CONTROL_BITRATE],
                     ==, 300000);
}

static void test_controls_defaults(Rig *r)
{
    TestStream *s = encoder(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);

    set_control(s, CID(BITRATE), 300000);
    qvv_set_coded_format(set, VP8);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    g_assert_cmpuint(get_control(s, CID(BITRATE)), ==,
                     VIDEO_TEST_DEF_BITRATE);
    assert_no_control(s, CID(H264_PROFILE));
    assert_no_control(s, CID(VP9_PROFILE));
    g_assert_cmpuint(set_control(s, CID(VP8_PROFILE), 3), ==, 3);
}

/* What is before the wrong one is set, what is behind it is not */
static void test_controls_stop_at_error(Rig *r)
{
    const uint32_t controls[] = {
        cpu_to_le32(CID(BITRATE)), cpu_to_le32(4), cpu_to_le32(54321),
        cpu_to_le32(CID(VP8_PROFILE)), cpu_to_le32(4), 0,
        cpu_to_le32(CID(H264_LEVEL)), cpu_to_le32(4), cpu_to_le32(9),
    };
    TestStream *s = encoder(r, 0);
    uint32_t level = get_control(s, CID(H264_LEVEL));
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_num_resources(set, N_CODED);
    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_V4L2_CONTROLS, controls,
                sizeof(controls));
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_ERROR);
    g_assert_cmpuint(ev->params.num_resources, ==, N_CODED);
    g_assert_cmpuint(ev->params.n_controls, ==, 1);
    g_assert_cmpuint(ev->params.controls[0].value, ==, 54321);
    g_assert_cmpuint(get_control(s, CID(BITRATE)), ==, 54321);
    g_assert_cmpuint(get_control(s, CID(H264_LEVEL)), ==, level);
    g_assert_cmpuint(encode_one(s, 1, KEY).controls[VIDEO_CONTROL_BITRATE],
                     ==, 54321);
}

/* The coded format and its controls, in this order, in one set */
static void test_controls_with_format(Rig *r)
{
    TestStream *s = encoder(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_coded_format(set, VP8);
    qvv_set_control(set, CID(VP8_PROFILE), 3);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    unblock(s);
    g_assert_cmpuint(encode_one(s, 1, KEY).controls[VIDEO_CONTROL_PROFILE],
                     ==, 3);
    set = qvv_set_new(CODED_SET);
    qvv_set_control(set, CID(H264_PROFILE), 2);
    qvv_set_coded_format(set, H264);
    assert_set_error(s, set);
    g_autoptr(QVVEvent) ev = get_params(s, CODED_SET);
    g_assert_cmpuint(ev->params.coded_format, ==, VP8);
}

static void test_controls_unknown(Rig *r)
{
    static const uint32_t ids[] = {
        0, 1, VIRTIO_VIDEO_TLV_CODED_FORMAT, VIRTIO_VIDEO_TLV_V4L2_CONTROLS,
        0x00990001, CID(BITRATE) + 1, CID(MPEG2_PROFILE), CID(HEVC_LEVEL),
        CID(VP8_PROFILE), CID(VPX_MIN_QP), CID(MPEG4_MAX_QP), 0x80000000, ~0u,
    };
    TestStream *s = encoder(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        assert_no_control(s, ids[i]);
    }
    qvv_set_control(set, CID(BITRATE), 50000);
    assert_set_error(s, set);
    assert_encodes(s);
}

static void test_controls_garbage(Rig *r)
{
    static const uint32_t lengths[] = { 0, 8, 16, 0xfffffffc };
    TestStream *s = encoder(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        const uint32_t control[] = {
            cpu_to_le32(CID(BITRATE)), cpu_to_le32(lengths[i]),
            cpu_to_le32(50000), 0, 0, 0,
        };
        size_t len = 8 + (lengths[i] <= 16 ? lengths[i] : 4);
        GByteArray *set = qvv_set_new(CODED_SET);

        qvv_set_tlv(set, VIRTIO_VIDEO_TLV_V4L2_CONTROLS, control, len);
        assert_set_error(s, set);
    }
    for (uint32_t len = 4; len < 12; len += 4) {
        static const uint32_t zeros[3];
        GByteArray *set = qvv_set_new(CODED_SET);

        qvv_set_tlv(set, VIRTIO_VIDEO_TLV_V4L2_CONTROLS, zeros, len);
        assert_set_error(s, set);
    }
    g_assert_cmpuint(get_control(s, CID(BITRATE)), ==, VIDEO_TEST_DEF_BITRATE);
}

static void test_controls_twice(Rig *r)
{
    TestStream *s = encoder(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_control(set, CID(BITRATE), 50000);
    qvv_set_control(set, CID(BITRATE), 60000);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_ERROR);
    g_assert_cmpuint(get_control(s, CID(BITRATE)), ==, 50000);
}

static void test_controls_closed_list(Rig *r)
{
    static const uint32_t ids[] = {
        CID(BITRATE_MODE), CID(GOP_SIZE), CID(B_FRAMES), CID(FORCE_KEY_FRAME),
        CID(H264_MIN_QP), CID(H264_MAX_QP), CID(PREPEND_SPSPPS_TO_IDR),
    };
    TestStream *s = encoder(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        assert_no_control(s, ids[i]);
    }
    set_control(s, CID(BITRATE), 50000);
}

static void test_controls_decoder(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);

    assert_no_control(s, CID(BITRATE));
    assert_no_control(s, CID(H264_PROFILE));
    /* None at all is nothing to object to */
    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_V4L2_CONTROLS, NULL, 0);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    g_autoptr(QVVEvent) ev = get_params(s, CODED_SET);
    g_assert_cmpuint(ev->params.n_controls, ==, 0);
    g_assert_false(qvv_params_has(&ev->params,
                                  VIRTIO_VIDEO_TLV_V4L2_CONTROLS));
}

/*
 * VIRTIO_VIDEO_F_V4L2_COMPATIBLE_LAST_BUFFER
 */

/* The last output has no coded data, so it's none of KEY, P and B */
static void test_last(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1), drain;

    encode(s, 0, 1, 1);
    drain = qvv_drain(r->d, 0);
    expect_coded(s, 0, out0, KEY);
    g_autoptr(QVVEvent) ev = qvv_wait(r->d, out1);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_cmphex(ev->queue_flags, ==,
                    VIRTIO_VIDEO_QUEUE_FLAG_V4L2_DRAIN_LAST);
    g_assert_cmpuint(ev->data_sizes[0], ==, 0);
    qvv_assert_ok(r->d, drain);
    assert_encodes(s);
}

/* A change of parameters is the driver's own: it gives none */
static void test_last_change(Rig *r)
{
    TestStream *s = encoder(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);
    uint32_t out;

    assert_encodes(s);
    out = get(s, 0);
    set_crop(s, 0, 0, 32, 32);
    qvv_set_coded_format(set, VP8);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    unblock(s);
    encode(s, 0, 2, 2);
    expect_coded(s, 0, out, KEY);
}

/* A DRAIN that waits behind a block gets its output after UNBLOCK */
static void test_last_blocked(Rig *r)
{
    TestStream *s = encoder(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);
    uint32_t out, drain;

    assert_encodes(s);
    qvv_set_coded_format(set, VP8);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    drain = qvv_drain(r->d, 0);
    out = get(s, 0);
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    unblock(s);
    EXPECT_ORDER(r->d, { out, F_OK }, { drain, F_OK });
}

/*
 * A real codec
 */

#define CLIP_FRAMES 8

/* A picture that moves: what differs from one frame to the next is little */
static uint8_t clip_byte(unsigned i, unsigned p, uint32_t y, uint32_t x)
{
    return p ? 96 + 2 * y + x / 2 : 32 + 2 * y + x + 3 * i;
}

static void store_clip_frame(TestStream *s, unsigned res, unsigned i)
{
    const QVVBuffer *buf = &s->in->res[res].buffer[0];

    for (unsigned p = 0; p < s->layout.n_planes; p++) {
        for (uint32_t y = 0; y < s->layout.rows[p]; y++) {
            uint8_t row[WIDTH];

            for (uint32_t x = 0; x < WIDTH; x++) {
                row[x] = clip_byte(i, p, y, x);
            }
            qvv_buffer_write(s->d, buf, s->layout.offset[p] +
                             y * s->layout.stride[p], row, WIDTH);
        }
    }
}

/* Mean difference of output @res and clip frame @i, for each byte */
static double clip_difference(TestStream *s, unsigned res, unsigned i)
{
    const QVVBuffer *buf = &s->out->res[res].buffer[0];
    unsigned n = 0, sum = 0;

    for (unsigned p = 0; p < s->layout.n_planes; p++) {
        for (uint32_t y = 0; y < s->layout.rows[p]; y++) {
            uint8_t row[WIDTH];

            qvv_buffer_read(s->d, buf, s->layout.offset[p] +
                            y * s->layout.stride[p], row, WIDTH);
            for (uint32_t x = 0; x < WIDTH; x++, n++) {
                sum += abs(row[x] - clip_byte(i, p, y, x));
            }
        }
    }
    return (double)sum / n;
}

/* Both streams of a transcoder, for NV12, on one device */
static TestStream *clip_encoder(Rig *r, uint32_t id, uint32_t coded)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s = bare_encoder(r, id);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_coded_format(set, coded);
    set_params_ok(s, set);
    set_raw_format(s, &f);
    add_frames(s, CLIP_FRAMES, QVV_SCATTERED);
    add_coded(s, CLIP_FRAMES, 65536);
    return s;
}

static TestStream *clip_decoder(Rig *r, uint32_t id, uint32_t coded)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s = bare_stream(r, id);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_coded_format(set, coded);
    set_params_ok(s, set);
    set_raw_format(s, &f);
    add_inputs_of(s, CLIP_FRAMES, 65536);
    add_outputs(s, CLIP_FRAMES, QVV_SCATTERED);
    return s;
}

/* Coded output @res of @from, @size bytes, is input @res of @to */
static uint32_t pass_on(TestStream *from, TestStream *to, unsigned res,
                        const QVVEvent *ev)
{
    g_autofree uint8_t *data = read_output(from, res, 0);
    uint32_t size = ev->data_sizes[0];

    g_assert_cmpuint(size, >, 0);
    qvv_buffer_write(to->d, &to->in->res[res].buffer[0], 0, data, size);
    return qvv_queue_input(to->d, to->id, res, ev->timestamp, 0, size);
}

static void transcode(Rig *r, uint32_t coded)
{
    TestStream *enc = clip_encoder(r, 0, coded);
    TestStream *dec = clip_decoder(r, 1, coded);
    uint32_t out[CLIP_FRAMES], frame[CLIP_FRAMES], drain;

    for (unsigned i = 0; i < CLIP_FRAMES; i++) {
        out[i] = get(enc, i);
        frame[i] = get(dec, i);
        store_clip_frame(enc, i, i);
        queue_frame(enc, i, 100 + i);
    }
    drain = qvv_drain(r->d, 0);
    for (unsigned i = 0; i < CLIP_FRAMES; i++) {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, out[i]);

        g_assert_cmphex(ev->flags, ==, F_OK);
        g_assert_cmpint(ctpop32(ev->queue_flags), ==, 1);
        g_assert_cmphex(ev->queue_flags & KEY, ==, i ? 0 : KEY);
        qvv_assert_ok(r->d, pass_on(enc, dec, i, ev));
    }
    qvv_assert_ok(r->d, drain);
    qvv_assert_ok(r->d, qvv_drain(r->d, 1));
    for (unsigned i = 0; i < CLIP_FRAMES; i++) {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, frame[i]);

        g_assert_cmphex(ev->flags, ==, F_OK);
        g_assert_cmpuint(ev->timestamp, ==, 100 + i);
        g_assert_cmpfloat(clip_difference(dec, i, i), <, 4);
    }
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    qvv_assert_ok(r->d, qvv_close(r->d, 1));
}

static void test_libav_transcodes(Rig *first)
{
    Rig *r = libav_rig(first);

    if (!r) {
        return;
    }
    g_autoptr(QVVCaps) caps = query_caps(r);
    for (unsigned i = 0; i < caps->n_coded; i++) {
        if (caps->has_link[ENCODER] && caps->links[ENCODER][i]) {
            transcode(r, caps->coded[i].format);
        }
    }
    qvv_stop(r->d);
    second_rig_free(r);
}

/*
 * All of them
 */

#define ENCODER_ONLY .opts = { .features = VERSION_1 | FEATURE(ENCODER) | \
                                           FEATURE(RESOURCE_GUEST_PAGES) | \
                                           FEATURE(RESOURCE_NON_CONTIG) }
#define LAST .opts = { .features = VERSION_1 | FEATURE(ENCODER) | \
                                   FEATURE(RESOURCE_GUEST_PAGES) | \
                                   FEATURE(V4L2_COMPATIBLE_LAST_BUFFER) }
#define X_CONTROLS .device = ",x-controls=on"

/* In all the set shrinks the resources, though not below what there was */
static void test_num_resources_twice(Rig *r)
{
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);
    QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, 2 * WIDTH, HEIGHT);
    g_autoptr(GByteArray) raw_set = qvv_set_new(RAW_SET);
    TestStream *s = encoder(r, 0);
    uint32_t in, change, drain;

    qvv_set_num_resources(set, N_CODED + 1);
    qvv_set_num_resources(set, N_CODED);
    qvv_set_raw_format(raw_set, &raw);
    store_frame(s, 0, 1);
    qvv_hold(r->d);
    in = queue_frame(s, 0, 1);
    change = qvv_set_params(r->d, 0, MAIN, set);
    qvv_set_params(r->d, 0, MAIN, raw_set);
    qvv_unblock(r->d, 0);
    drain = qvv_drain(r->d, 0);
    qvv_flush(r->d);
    get(s, 0);
    qvv_assert_ok(r->d, in);
    expect(r->d, change, F_BLOCKED);
    qvv_unblock(r->d, 0);
    qvv_assert_ok(r->d, drain);
}

/* Nor does it block the output */
static void test_coded_refused(Rig *r)
{
    TestStream *s = encoder(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_assert_ok(r->d, encode(s, 0, 1, 1));
    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_MPEG2);
    g_assert_cmphex(set_params_flags(s, set), ==, F_ERROR);
    expect_coded(s, 0, get(s, 0), KEY);
}

/* The codec waits for an output meanwhile; all count as one for it */
static void test_controls_many(Rig *r)
{
    TestStream *s = encoder(r, 0);
    uint32_t bitrate = 0;

    qvv_assert_ok(r->d, encode(s, 0, 1, 1));
    for (unsigned i = 0; i < 1000; i++) {
        g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);

        bitrate = 100000 + i;
        qvv_set_control(set, VIRTIO_VIDEO_V4L2_CID_BITRATE, bitrate);
        qvv_assert_ok(r->d, qvv_set_params(r->d, 0, INPUT, set));
    }
    expect_coded(s, 0, get(s, 0), KEY);
    qvv_assert_ok(r->d, encode(s, 1, 2, 2));
    g_assert_cmpuint(expect_coded(s, 1, get(s, 1), P_FRAME)
                     .controls[VIDEO_CONTROL_BITRATE], ==, bitrate);
}

static const TestCase cases[] = {
    { "encoder/features/is-offered-and-enough", test_features,
      .no_start = true },
    { "encoder/properties/encoder-off", test_property_encoder_off,
      .device = ",encoder=off" },
    { "encoder/properties/decoder-off", test_property_decoder_off,
      .device = ",decoder=off" },
    { "encoder/properties/not-offered-if-no-size-is-left",
      test_property_small, .device = ",max-width=15" },
    { "encoder/caps/two-sets-of-a-format", test_caps_both },
    { "encoder/caps/sizes-and-links", test_caps_encoder, ENCODER_ONLY },
    { "encoder/caps/controls-of-the-format-only", test_caps_controls },
    { "encoder/caps/x-controls", test_caps_x_controls, X_CONTROLS },
    { "encoder/open/defaults-can-be-read", test_open_defaults },
    { "encoder/open/defaults-encode", test_open_defaults_encode },
    { "encoder/open/codec-does-not-start", test_open_no_start },

    { "encoder/input/layout-of-single-buffer", test_layout_single },
    { "encoder/input/layout-of-multi-buffers", test_layout_multi },
    { "encoder/input/layout-of-scattered-pages", test_layout_scattered },
    { "encoder/input/planes-are-at-the-offsets", test_offsets },
    { "encoder/input/outside-of-buffer-is-error", test_bounds },
    { "encoder/input/wrong-number-of-buffers-is-error", test_input_buffers },
    { "encoder/resource-queue/not-attached-is-error", test_not_attached },
    { "encoder/resource-queue/already-queued-is-error", test_queued_twice },
    { "encoder/resource-queue/flags-of-a-request-are-ignored",
      test_request_flags },
    { "encoder/input/is-back-before-the-coded-data", test_input_first },
    { "encoder/input/bad-frame-is-error", test_bad_frame },
    { "encoder/output/has-one-of-three-flags", test_flags },
    { "encoder/output/coding-order", test_coding_order },
    { "encoder/output/too-small-is-error-then-key-frame", test_overflow },
    { "encoder/output/corrupt-is-error", test_corrupt },
    { "encoder/output/no-coded-data-of-a-frame", test_no_coded },
    { "encoder/output/coded-resource-has-one-buffer", test_coded_buffers },
    { "encoder/output/max-coded-size", test_coded_size,
      .device = ",max-coded-size=4096" },
    { "encoder/long-run", test_long_run },
    { "encoder/streams-are-apart", test_streams_apart },
    { "encoder/stream-error/closes-the-stream", test_fail },

    { "encoder/drain/coded-data-before-response", test_drain },
    { "encoder/drain/waits-for-outputs", test_drain_waits },
    { "encoder/drain/idle-stream", test_drain_idle },
    { "encoder/drain/canceled-by-reset", test_drain_canceled },
    { "encoder/queue-reset/input-cancels-all", test_reset_input },
    { "encoder/queue-reset/input-while-reading", test_reset_input_reading },
    { "encoder/queue-reset/input-drops-coded-data", test_reset_drops },
    { "encoder/queue-reset/output-cancels-all", test_reset_output },
    { "encoder/queue-reset/output-when-complete",
      test_reset_output_complete },
    { "encoder/queue-reset/output-while-writing",
      test_reset_output_writing },
    { "encoder/close/all-canceled-before-response", test_close },
    { "encoder/reset/no-late-answer", test_device_reset },
    { "encoder/stop/memory-unchanged-while-stopped", test_stop },
    { "encoder/stop/often", test_stop_often },

    { "encoder/set-params/size-moved-to-the-closest", test_size_closest },
    { "encoder/crop/moved-to-the-closest", test_crop_closest },
    { "encoder/crop/is-what-is-encoded", test_crop_encoded },
    { "encoder/crop/place-is-no-change", test_crop_mid_stream },
    { "encoder/crop/reset-by-another-size", test_crop_reset },
    { "encoder/set-params/raw-format-drains-at-once", test_raw_change_main },
    { "encoder/set-params/raw-format-drains-in-order",
      test_raw_change_input },
    { "encoder/set-params/stride-keeps-the-session", test_raw_stride },
    { "encoder/set-params/later-input-has-new-layout",
      test_raw_change_in_order },
    { "encoder/set-params/raw-must-be-linked-to-coded",
      test_raw_not_linked },
    { "encoder/set-params/raw-follows-coded", test_raw_follows_coded },
    { "encoder/set-params/coded-format-blocks-output", test_coded_change },
    { "encoder/set-params/coded-format-while-blocked",
      test_coded_change_twice },
    { "encoder/set-params/same-coded-format-is-no-change", test_coded_same },
    { "encoder/set-params/shrinking-outputs-blocks", test_shrink },
    { "encoder/set-params/resource-in-use", test_attach_in_use },
    { "encoder/set-params/growing-and-shrinking-drains",
      test_num_resources_twice },
    { "encoder/set-params/refused-coded-format-is-no-change",
      test_coded_refused },
    { "encoder/controls/many-take-no-memory", test_controls_many },

    { "encoder/controls/moved-to-the-closest", test_controls_closest,
      X_CONTROLS },
    { "encoder/controls/count-from-the-start", test_controls_start },
    { "encoder/controls/at-once", test_controls_at_once },
    { "encoder/controls/in-order", test_controls_in_order },
    { "encoder/controls/key-frame-is-the-asked-one",
      test_controls_key_frame, X_CONTROLS },
    { "encoder/controls/gop-size", test_controls_gop, X_CONTROLS },
    { "encoder/controls/outlive-the-session", test_controls_keep_session },
    { "encoder/controls/defaults-with-another-format",
      test_controls_defaults },
    { "encoder/controls/rest-not-set-after-error",
      test_controls_stop_at_error },
    { "encoder/controls/with-the-coded-format", test_controls_with_format },
    { "encoder/controls/unknown-is-error", test_controls_unknown,
      X_CONTROLS },
    { "encoder/controls/garbage-is-error", test_controls_garbage },
    { "encoder/controls/twice-is-error", test_controls_twice },
    { "encoder/controls/not-on-the-list-is-error",
      test_controls_closed_list },
    { "encoder/controls/decoder-has-none", test_controls_decoder },

    { "encoder/last/drain-gives-one", test_last, LAST },
    { "encoder/last/set-params-gives-none", test_last_change, LAST },
    { "encoder/last/waits-for-unblock", test_last_blocked, LAST },

    { "libav/transcodes-every-format", test_libav_transcodes },
};

static void register_virtio_video_encoder_test(void)
{
    QOSGraphTestOptions on_pci = {
        .edge = {
            .extra_device_opts = "codec=codec0",
            .after_cmd_line = CODEC,
        },
    };

    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
    qos_add_test("hotplug/unplug-while-encoding", "virtio-video-pci",
                 test_unplug, &on_pci);
    qos_add_test("properties/neither-decoder-nor-encoder-is-refused",
                 "virtio-video-pci", test_property_both_off, &on_pci);
}

libqos_init(register_virtio_video_encoder_test);
