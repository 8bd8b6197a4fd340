/*
 * QTest testcases of virtio-video: what the coded stream causes
 *
 * Dynamic parameters changes (DPC), crop rectangles and stream errors.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "virtio-video-fixture.h"

/*
 * What the device knows of the stream
 */

static void test_set_params_crop(Rig *r)
{
    const QVVRect wish = { 4, 4, 16, 16 };
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    PUT(s, 0, 0, format_crop(WIDTH, HEIGHT, 2, 4, 50, 40, 8), frame(1));
    qvv_assert_ok(r->d, get(s, 0));
    qvv_set_crop(set, &wish);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_cmpuint(ev->params.crop.left, ==, 2);
    g_assert_cmpuint(ev->params.crop.top, ==, 4);
    g_assert_cmpuint(ev->params.crop.width, ==, 50);
    g_assert_cmpuint(ev->params.crop.height, ==, 40);
}

static void test_set_params_size_of_stream(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, 2 * WIDTH, 3 * HEIGHT);

    assert_decodes(s);
    f = set_and_get(s, &f);
    g_assert_cmpuint(f.width, ==, WIDTH);
    g_assert_cmpuint(f.height, ==, HEIGHT);
    assert_decodes(s);
}

/*
 * Dynamic parameters change (DPC)
 */

static QVVEvent *wait_dpc(TestStream *s)
{
    QVVEvent *ev = qvv_wait_standalone(s->d,
                                       VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS);

    g_assert_cmpuint(ev->stream, ==, s->id);
    g_assert_true(ev->has_params);
    g_assert_cmpuint(ev->params.container, ==, RAW_SET);
    g_assert_true(qvv_params_has(&ev->params, VIRTIO_VIDEO_TLV_RAW_FORMAT));
    g_assert_true(qvv_params_has(&ev->params, VIRTIO_VIDEO_TLV_CROP));
    return ev;
}

/* A DPC that blocks, to a frame of that size */
static void expect_dpc(TestStream *s, uint32_t width, uint32_t height)
{
    g_autoptr(QVVEvent) ev = wait_dpc(s);

    g_assert_cmphex(ev->flags, ==, F_STANDALONE | F_BLOCKED);
    g_assert_cmpuint(ev->params.raw.width, ==, width);
    g_assert_cmpuint(ev->params.raw.height, ==, height);
    s->raw = ev->params.raw;
    g_assert_true(qvv_layout(&s->layout, &s->raw));
}

/* As a driver does it: new buffers for the new format, then on */
static void follow_dpc(TestStream *s)
{
    add_outputs(s, N_OUTPUTS, QVV_CONTIGUOUS);
    unblock(s);
}

static void test_dpc_first_header_same(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in = PUT(s, 0, 0, HEADER, frame(1));
    uint32_t out = get(s, 0);

    qvv_assert_ok(r->d, in);
    qvv_assert_ok(r->d, out);
    qvv_assert_quiet(r->d, QUIET);
}

static void test_dpc_first_header_other(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in = PUT(s, 0, 4, format(96, 80), frame(1));

    expect_dpc(s, 96, 80);
    qvv_assert_ok(r->d, in);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 4);
}

/* A driver that waits for the DPC before it has any output at all */
static void test_dpc_before_outputs(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    add_inputs(s);
    PUT(s, 0, 4, format(96, 80), frame(1));
    expect_dpc(s, 96, 80);
    add_outputs(s, 2, QVV_SCATTERED);
    unblock(s);
    expect_frame(s, 0, get(s, 0), 1, 4);
}

static void test_dpc_blocks(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out;

    PUT(s, 0, 4, format(96, 80), frame(1));
    expect_dpc(s, 96, 80);
    add_outputs(s, N_OUTPUTS, QVV_CONTIGUOUS);
    out = get(s, 0);
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    unblock(s);
    expect_frame(s, 0, out, 1, 4);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
}

static void test_dpc_earlier_frames_first(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1);

    PUT(s, 0, 4, HEADER, insn(VIDEO_TEST_REORDER, 8), frame_at(1, 1),
        frame_at(2, 2));
    PUT(s, 1, 5, format(96, 80), insn(VIDEO_TEST_REORDER, 0), frame(3));
    EXPECT_ORDER(r->d, { out0, F_OK }, { out1, F_OK });
    assert_pixels(s, 0, 1);
    assert_pixels(s, 1, 2);
    expect_dpc(s, 96, 80);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 3, 5);
}

/* It waits for the outputs that the frames before it need */
static void test_dpc_waits_for_outputs(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    PUT(s, 0, 4, HEADER, frame(1), format(96, 80), frame(2));
    g_usleep(20 * MS);
    expect_frame(s, 0, get(s, 0), 1, 4);
    expect_dpc(s, 96, 80);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 2, 4);
}

static void test_dpc_small_outputs_canceled(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1);

    PUT(s, 0, 4, format(128, 128), frame(1));
    expect_dpc(s, 128, 128);
    EXPECT_ORDER(r->d, { out0, F_CANCELED }, { out1, F_CANCELED });
    /* Those that come too late are no better */
    expect(r->d, get(s, 2), F_CANCELED);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 4);
}

static void test_dpc_large_outputs_used(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0);

    PUT(s, 0, 4, format(32, 32), frame(1));
    expect_dpc(s, 32, 32);
    g_assert_cmpuint(count_answers(r->d, out0, QUIET), ==, 0);
    unblock(s);
    expect_frame(s, 0, out0, 1, 4);
}

static void test_dpc_crop_only(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1);

    PUT(s, 0, 4, HEADER, frame(1),
        format_crop(WIDTH, HEIGHT, 8, 4, 40, 30, 8), frame(2));
    g_autoptr(QVVEvent) ev = wait_dpc(s);
    g_assert_cmphex(ev->flags, ==, F_STANDALONE);
    g_assert_cmpuint(ev->params.crop.left, ==, 8);
    g_assert_cmpuint(ev->params.crop.top, ==, 4);
    g_assert_cmpuint(ev->params.crop.width, ==, 40);
    g_assert_cmpuint(ev->params.crop.height, ==, 30);
    expect_frame(s, 0, out0, 1, 4);
    expect_frame(s, 1, out1, 2, 4);
}

static void assert_crop(const QVVParams *p, uint32_t left, uint32_t top,
                        uint32_t width, uint32_t height)
{
    g_assert_cmpuint(p->crop.left, ==, left);
    g_assert_cmpuint(p->crop.top, ==, top);
    g_assert_cmpuint(p->crop.width, ==, width);
    g_assert_cmpuint(p->crop.height, ==, height);
}

static void test_dpc_crop_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(QVVEvent) first = NULL;
    g_autoptr(QVVEvent) second = NULL;
    g_autoptr(QVVEvent) now = NULL;

    PUT(s, 0, 4, format_crop(96, 80, 2, 2, 90, 70, 8), frame(1));
    first = wait_dpc(s);
    assert_crop(&first->params, 2, 2, 90, 70);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 4);
    PUT(s, 0, 5, format(128, 64), frame(2));
    second = wait_dpc(s);
    assert_crop(&second->params, 0, 0, 128, 64);
    now = get_params(s, RAW_SET);
    assert_crop(&now->params, 0, 0, 128, 64);
}

/* A size that the driver sets makes the crop the full frame */
static void test_crop_reset_by_set_params(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, 200, 100);
    TestStream *s = bare_stream(r, 0);

    set_raw_format(s, &f);
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    assert_crop(&ev->params, 0, 0, 200, 100);
}

static void test_dpc_two(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    PUT(s, 0, 1, format(96, 80), frame(1), format(32, 16), frame(2));
    PUT(s, 1, 2, format(96, 80), frame(3));
    expect_dpc(s, 96, 80);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 1);
    expect_dpc(s, 32, 16);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 2, 1);
    expect_dpc(s, 96, 80);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 3, 2);
}

/* Nothing comes of the first format, so there is nothing to change for it */
static void test_dpc_no_frame(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    PUT(s, 0, 1, format(96, 80), format(32, 16), frame(2));
    expect_dpc(s, 32, 16);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 2, 1);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
}

static void test_dpc_two_during_drain(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, out;

    PUT(s, 0, 1, format(96, 80), frame(1));
    PUT(s, 1, 2, format(32, 16), frame(2));
    drain = qvv_drain(r->d, 0);
    expect_dpc(s, 96, 80);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 1);
    expect_dpc(s, 32, 16);
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    follow_dpc(s);
    out = get(s, 0);
    EXPECT_ORDER(r->d, { out, F_OK }, { drain, F_OK });
    assert_pixels(s, 0, 2);
}

/* The change is part of the drain, and so is what comes after it */
static void test_dpc_starts_in_drain(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, out;

    PUT(s, 0, 1, HEADER, frame(1));
    PUT(s, 1, 2, format(96, 80), frame(2));
    drain = qvv_drain(r->d, 0);
    wait_commands(r->d);
    g_usleep(10 * MS);
    expect_frame(s, 0, get(s, 0), 1, 1);
    expect_dpc(s, 96, 80);
    follow_dpc(s);
    out = get(s, 0);
    EXPECT_ORDER(r->d, { out, F_OK }, { drain, F_OK });
}

static void test_dpc_during_drain(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, out;

    PUT(s, 0, 1, format(96, 80), insn(VIDEO_TEST_REORDER, 4), frame(1));
    drain = qvv_drain(r->d, 0);
    expect_dpc(s, 96, 80);
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    follow_dpc(s);
    out = get(s, 0);
    EXPECT_ORDER(r->d, { out, F_OK }, { drain, F_OK });
    assert_pixels(s, 0, 1);
}

static void test_dpc_close(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, close;

    PUT(s, 0, 1, format(96, 80), frame(1));
    drain = qvv_drain(r->d, 0);
    expect_dpc(s, 96, 80);
    close = qvv_close(r->d, 0);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { close, F_OK });
    s = test_stream(r, 0);
    assert_decodes(s);
}

static void test_dpc_input_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, reset, out;

    PUT(s, 0, 1, format(96, 80), frame(1));
    drain = qvv_drain(r->d, 0);
    expect_dpc(s, 96, 80);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { reset, F_OK });
    /* The format stays changed, and blocked it stays too */
    follow_dpc(s);
    out = get(s, 0);
    PUT(s, 0, 2, frame(2));
    expect_frame(s, 0, out, 2, 2);
}

/*
 * Reset while the change still waits for the output that an earlier frame
 * needs: then the stream has never changed.
 */
static void test_dpc_reset_before(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, reset;

    PUT(s, 0, 4, HEADER, frame(1), format(96, 80), frame(2));
    drain = qvv_drain(r->d, 0);
    wait_commands(r->d);
    g_usleep(10 * MS);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { reset, F_OK });
    qvv_assert_quiet(r->d, QUIET);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    assert_decodes(s);
}

static void test_dpc_close_before(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, close;

    PUT(s, 0, 4, HEADER, frame(1), format(96, 80), frame(2));
    drain = qvv_drain(r->d, 0);
    wait_commands(r->d);
    g_usleep(10 * MS);
    close = qvv_close(r->d, 0);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { close, F_OK });
    qvv_assert_quiet(r->d, QUIET);
    assert_device_works(r);
}

static void test_dpc_output_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), reset;

    PUT(s, 0, 1, format(32, 16), frame(1));
    expect_dpc(s, 32, 16);
    reset = qvv_queue_reset(r->d, 0, OUTPUT);
    EXPECT_ORDER(r->d, { out, F_CANCELED }, { reset, F_OK });
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 1);
}

/* The driver chose nothing: 10 bits come as a format that has them */
static void test_dpc_10_bit(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    add_inputs(s);
    PUT(s, 0, 1, format_crop(96, 80, 0, 0, 96, 80, 10), frame(1));
    expect_dpc(s, 96, 80);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_P010);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 1);
}

static void test_dpc_chosen_fourcc(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_XRGB8888, WIDTH, HEIGHT);
    TestStream *s = test_stream_of(r, 0, &f, QVV_CONTIGUOUS);

    PUT(s, 0, 1, format_crop(96, 80, 0, 0, 96, 80, 10), frame(1));
    expect_dpc(s, 96, 80);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_XRGB8888);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 1);
}

/* P010 was chosen, but does not get that large: the stream's own is taken */
static void test_dpc_chosen_too_small(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_P010, WIDTH, HEIGHT);
    TestStream *s = test_stream_of(r, 0, &f, QVV_CONTIGUOUS);
    const uint32_t width = VIDEO_TEST_DEEP_MAX_SIZE + 16;
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t flags;

    PUT(s, 0, 1, format(width, 80), frame(1));
    expect_dpc(s, width, 80);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_NV12);
    /* Nor can it be chosen now */
    f = s->raw;
    f.fourcc = VIDEO_TEST_P010;
    qvv_set_raw_format(set, &f);
    flags = set_params_flags(s, set);
    g_assert_cmphex(flags & F_ERROR, ==, F_ERROR);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 1);
}

/* SET_PARAMS while blocked by a DPC: still one UNBLOCK for all */
static void test_dpc_set_params(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    QVVRawFormat f;
    uint32_t flags;

    PUT(s, 0, 1, format(96, 80), frame(1));
    expect_dpc(s, 96, 80);
    f = s->raw;
    f.fourcc = VIDEO_TEST_YUV420;
    qvv_set_raw_format(set, &f);
    flags = set_params_flags(s, set);
    g_assert_cmphex(flags & ~F_BLOCKED, ==, F_OK);
    add_outputs(s, N_OUTPUTS, QVV_CONTIGUOUS);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_YUV420);
    unblock(s);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    expect_frame(s, 0, get(s, 0), 1, 1);
}

/*
 * Stream errors
 */

static void test_error_cancels(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t cookies[3];

    /* The codec gets the second input when the first one's frame is out */
    PUT(s, 0, 1, HEADER, frame(1));
    PUT(s, 1, 1, fail("the test said so"));
    cookies[0] = PUT(s, 2, 2, frame(1));
    cookies[1] = qvv_drain(r->d, 0);
    qvv_hold(r->d);
    get(s, 0);
    cookies[2] = get(s, 1);
    qvv_flush(r->d);
    for (unsigned canceled = 0; canceled < ARRAY_SIZE(cookies);) {
        g_autoptr(QVVEvent) ev = qvv_next(r->d, SOON);

        g_assert_nonnull(ev);
        g_assert_false(ev->flags & F_STANDALONE);
        for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
            if (ev->cookie == cookies[i]) {
                g_assert_cmphex(ev->flags, ==, F_CANCELED);
                canceled++;
            }
        }
    }
    expect_stream_error(r->d, 0);
}

static void test_error_other_streams(Rig *r)
{
    TestStream *bad = test_stream(r, 0);
    TestStream *good = test_stream(r, 1);

    PUT(bad, 0, 1, fail("the test said so"));
    expect_stream_error(r->d, 0);
    assert_decodes(good);
}

/* Whether it's started at once or with the first work to do */
static void test_error_no_start(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);

    add_inputs(s);
    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_VP9);
    qvv_set_params(r->d, s->id, MAIN, set);
    PUT(s, 0, 0, insn(VIDEO_TEST_NOP, 0));
    expect_stream_error(r->d, 0);
    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
}

static void test_error_deep_too_large(Rig *r)
{
    const uint32_t max = VIDEO_TEST_DEEP_MAX_SIZE;
    TestStream *s = test_stream(r, 0);

    PUT(s, 0, 1, format_crop(max, 80, 0, 0, max, 80, 10), frame(1));
    expect_dpc(s, max, 80);
    s = test_stream(r, 1);
    PUT(s, 0, 1, format_crop(max + 1, 80, 0, 0, max, 80, 10), frame(1));
    expect_stream_error(r->d, 1);
}

/* max-width=640, max-height=480 */
static void test_error_frame_too_large(Rig *r)
{
    static const uint32_t sizes[][2] = { { 656, 480 }, { 640, 496 } };
    TestStream *s;

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        s = test_stream(r, 0);
        PUT(s, 0, 1, format(sizes[i][0], sizes[i][1]), frame(1));
        expect_stream_error(r->d, 0);
    }
    s = test_stream(r, 0);
    PUT(s, 0, 1, format(640, 480), frame(1));
    expect_dpc(s, 640, 480);
}

/* The failure comes while the output queue is blocked */
/* Frames that wait for their turn in presentation order are lost with it */
static void test_error_mid_gop(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out[3] = { get(s, 0), get(s, 1), get(s, 2) };

    PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_REORDER, 2), frame_at(1, 1),
        frame_at(4, 4));
    PUT(s, 1, 2, frame_at(2, 2));
    PUT(s, 2, 3, fail("in mid-GOP"));
    expect_frame(s, 0, out[0], 1, 1);
    EXPECT_ORDER(r->d, { out[1], F_CANCELED }, { out[2], F_CANCELED });
    expect_stream_error(r->d, 0);
    assert_device_works(r);
}

static void test_error_while_blocked(Rig *r)
{
    QVVRawFormat f = other_format();
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t out;

    qvv_set_raw_format(set, &f);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    out = get(s, 0);
    PUT(s, 1, 1, fail("blocked"));
    expect(r->d, out, F_CANCELED);
    expect_stream_error(r->d, 0);
    assert_device_works(r);
}

/*
 * All of them
 */

static const TestCase cases[] = {
    { "dpc/equal-first-header-is-no-change", test_dpc_first_header_same },
    { "dpc/first-header-with-other-size", test_dpc_first_header_other },
    { "dpc/before-any-output", test_dpc_before_outputs },
    { "dpc/blocks-until-unblock", test_dpc_blocks },
    { "dpc/earlier-frames-come-first", test_dpc_earlier_frames_first },
    { "dpc/waits-for-outputs-of-earlier-frames",
      test_dpc_waits_for_outputs },
    { "dpc/too-small-outputs-are-canceled", test_dpc_small_outputs_canceled },
    { "dpc/outputs-that-fit-are-used", test_dpc_large_outputs_used },
    { "dpc/crop-alone-does-not-block", test_dpc_crop_only },
    { "dpc/twice", test_dpc_two },
    { "dpc/format-without-a-frame-is-no-change", test_dpc_no_frame },
    { "dpc/twice-during-drain", test_dpc_two_during_drain },
    { "dpc/begins-during-drain", test_dpc_starts_in_drain },
    { "dpc/drain-answered-after", test_dpc_during_drain },
    { "dpc/close", test_dpc_close },
    { "dpc/close-before-the-change", test_dpc_close_before },
    { "dpc/input-reset", test_dpc_input_reset },
    { "dpc/input-reset-before-the-change", test_dpc_reset_before },
    { "dpc/output-reset", test_dpc_output_reset },
    { "dpc/10-bit-stream-takes-10-bit-format", test_dpc_10_bit },
    { "dpc/fourcc-of-the-driver-stays", test_dpc_chosen_fourcc },
    { "dpc/fourcc-too-small-for-the-stream", test_dpc_chosen_too_small },
    { "dpc/set-params-while-blocked", test_dpc_set_params },

    { "crop/reset-on-resolution-change", test_dpc_crop_reset },
    { "crop/reset-by-set-params", test_crop_reset_by_set_params },
    { "crop/is-that-of-the-stream", test_set_params_crop },
    { "crop/size-is-that-of-the-stream", test_set_params_size_of_stream },

    { "stream-error/all-canceled-before", test_error_cancels },
    { "stream-error/other-streams-go-on", test_error_other_streams },
    { "stream-error/codec-does-not-start", test_error_no_start },
    { "stream-error/frame-of-10-bits-too-large", test_error_deep_too_large },
    { "stream-error/frame-too-large", test_error_frame_too_large,
      .device = SMALL_FRAMES },
    { "stream-error/while-blocked", test_error_while_blocked },
    { "stream-error/in-mid-gop", test_error_mid_gop },
};

static void register_virtio_video_dpc_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_dpc_test);
