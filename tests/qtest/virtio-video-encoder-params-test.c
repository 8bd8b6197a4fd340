/*
 * QTest testcases of virtio-video: an encoder's formats and resources
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "virtio-video-encoder-fixture.h"

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

/*
 * All of them
 */

static const TestCase cases[] = {
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
};

static void register_virtio_video_encoder_params_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_encoder_params_test);
