/*
 * QTest testcases of virtio-video: encoders
 *
 * What they offer, and what they make of frames.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "virtio-video-encoder-fixture.h"

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
    /* Encoders have other sizes, and a decoder has others than the rest */
    g_assert_cmpuint(caps->n_raw, ==, 9);
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
 * All of them
 */

#define ENCODER_ONLY .opts = { .features = VERSION_1 | FEATURE(ENCODER) | \
                                           FEATURE(RESOURCE_GUEST_PAGES) | \
                                           FEATURE(RESOURCE_NON_CONTIG) }
#define X_CONTROLS .device = ",x-controls=on"

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
    qos_add_test("properties/neither-decoder-nor-encoder-is-refused",
                 "virtio-video-pci", test_property_both_off, &on_pci);
}

libqos_init(register_virtio_video_encoder_test);
