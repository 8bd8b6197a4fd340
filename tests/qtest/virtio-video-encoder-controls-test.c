/*
 * QTest testcases of virtio-video: an encoder's controls
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "system/video-codec.h"
#include "virtio-video-encoder-fixture.h"

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

/*
 * All of them
 */

#define X_CONTROLS .device = ",x-controls=on"

static const TestCase cases[] = {
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
};

static void register_virtio_video_encoder_controls_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_encoder_controls_test);
