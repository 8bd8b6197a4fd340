/*
 * QTest testcases of virtio-video: VIRTIO_VIDEO_F_V4L2_COMPATIBLE_LAST_BUFFER
 *
 * An empty output marks the end of a drain and of the frames before a dynamic
 * parameters change (DPC), in the way that V4L2 wants it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "virtio-video-fixture.h"

#define DRAIN_LAST VIRTIO_VIDEO_QUEUE_FLAG_V4L2_DRAIN_LAST
#define DPC_LAST   VIRTIO_VIDEO_QUEUE_FLAG_V4L2_DPC_LAST

/* @ev is an empty output with just @flag */
static void assert_last(const QVVEvent *ev, uint32_t cookie, uint32_t flag)
{
    g_assert_cmpuint(ev->cookie, ==, cookie);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_true(ev->has_buffer);
    g_assert_cmphex(ev->queue_flags, ==, flag);
    g_assert_cmpuint(ev->timestamp, ==, 0);
    for (unsigned i = 0; i < VIRTIO_VIDEO_MAX_PLANES; i++) {
        g_assert_cmpuint(ev->offsets[i], ==, 0);
        g_assert_cmpuint(ev->data_sizes[i], ==, 0);
    }
}

static void expect_last(QVVDriver *d, uint32_t cookie, uint32_t flag)
{
    g_autoptr(QVVEvent) ev = qvv_wait(d, cookie);

    assert_last(ev, cookie, flag);
}

/* @cookie, of an output, is answered with a frame that is not a last one */
static void expect_plain(QVVDriver *d, uint32_t cookie)
{
    g_autoptr(QVVEvent) ev = qvv_wait(d, cookie);

    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_cmphex(ev->queue_flags, ==, 0);
    g_assert_cmpuint(ev->data_sizes[0], >, 0);
}

/* The next event, which is the answer to @cookie, or DPC if that is 0 */
static QVVEvent *next_is(QVVDriver *d, uint32_t cookie)
{
    QVVEvent *ev = qvv_next(d, QVV_TIMEOUT_US);

    g_assert_nonnull(ev);
    g_assert_cmpuint(ev->cookie, ==, cookie);
    if (!cookie) {
        g_assert_cmphex(ev->flags, ==, F_STANDALONE | F_BLOCKED);
    }
    return ev;
}

static void test_drain(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1), out2 = get(s, 2), in, drain;

    in = PUT(s, 0, 7, HEADER, frame(1));
    drain = qvv_drain(r->d, 0);
    expect_plain(r->d, out0);
    qvv_assert_ok(r->d, in);
    g_autoptr(QVVEvent) last = next_is(r->d, out1);
    assert_last(last, out1, DRAIN_LAST);
    g_autoptr(QVVEvent) drained = next_is(r->d, drain);
    g_assert_cmphex(drained->flags, ==, F_OK);
    /* What is queued behind it stays for the next frame */
    PUT(s, 1, 8, frame(2));
    expect_frame(s, 2, out2, 2, 8);
}

static void test_drain_waits(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, params, out, out0 = get(s, 0);

    PUT(s, 0, 7, HEADER, frame(1));
    drain = qvv_drain(r->d, 0);
    params = qvv_get_params(r->d, 0, INPUT, CODED_SET);
    expect_plain(r->d, out0);
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    out = get(s, 0);
    g_autoptr(QVVEvent) last = next_is(r->d, out);
    assert_last(last, out, DRAIN_LAST);
    g_autoptr(QVVEvent) drained = next_is(r->d, drain);
    g_autoptr(QVVEvent) got = next_is(r->d, params);
    assert_decodes(s);
}

static void test_drain_idle(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain = qvv_drain(r->d, 0), in, out;

    in = PUT(s, 0, 1, HEADER, frame(1));
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    out = get(s, 0);
    g_autoptr(QVVEvent) last = next_is(r->d, out);
    assert_last(last, out, DRAIN_LAST);
    g_autoptr(QVVEvent) drained = next_is(r->d, drain);
    out = get(s, 0);
    expect_frame(s, 0, out, 1, 1);
    qvv_assert_ok(r->d, in);
}

static void test_drain_twice(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1);
    uint32_t drain0 = qvv_drain(r->d, 0), drain1 = qvv_drain(r->d, 0);

    EXPECT_ORDER(r->d, { out0, F_OK }, { drain0, F_OK }, { out1, F_OK },
                 { drain1, F_OK });
}

static void test_drain_reset_input(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, reset;

    assert_decodes(s);
    drain = qvv_drain(r->d, 0);
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { reset, F_OK });
    /* Nothing is owed any more */
    assert_decodes(s);
}

static void test_drain_reset_output(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, out;

    assert_decodes(s);
    drain = qvv_drain(r->d, 0);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, OUTPUT));
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    out = get(s, 1);
    expect_last(r->d, out, DRAIN_LAST);
    qvv_assert_ok(r->d, drain);
}

static void test_drain_close(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, close;

    assert_decodes(s);
    drain = qvv_drain(r->d, 0);
    close = qvv_close(r->d, 0);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { close, F_OK });
}

static void test_drain_device_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    assert_decodes(s);
    qvv_drain(r->d, 0);
    wait_commands(r->d);
    restart(r);
    qvv_assert_quiet(r->d, QUIET);
    assert_device_works(r);
}

/* A blocked output can't be had, even for that */
static void test_drain_blocked(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    QVVRawFormat f = other_format();
    uint32_t drain, out;

    assert_decodes(s);
    qvv_set_raw_format(set, &f);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    out = get(s, 0);
    drain = qvv_drain(r->d, 0);
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    unblock(s);
    expect_last(r->d, out, DRAIN_LAST);
    qvv_assert_ok(r->d, drain);
}

static void test_set_params(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    QVVRawFormat f = other_format();
    uint32_t out0, out1;

    assert_decodes(s);
    out0 = get(s, 0);
    out1 = get(s, 1);
    qvv_set_raw_format(set, &f);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    unblock(s);
    read_raw_format(s);
    PUT(s, 0, 1, frame(1), frame(2));
    expect_plain(r->d, out0);
    expect_plain(r->d, out1);
}

static void test_dpc(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0, out1;

    assert_decodes(s);
    out0 = get(s, 0);
    out1 = get(s, 1);
    PUT(s, 0, 5, format(WIDTH, HEIGHT / 2), frame(2), frame(3));
    g_autoptr(QVVEvent) last = qvv_wait(r->d, out0);
    assert_last(last, out0, DPC_LAST);
    g_autoptr(QVVEvent) dpc =
        qvv_wait_standalone(r->d, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS);
    g_assert_cmphex(dpc->flags, ==, F_STANDALONE | F_BLOCKED);
    /* One is enough */
    g_assert_cmpuint(count_answers(r->d, out1, QUIET), ==, 0);
    unblock(s);
    expect_plain(r->d, out1);
    out0 = get(s, 0);
    expect_plain(r->d, out0);
}

static void test_dpc_order(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1), in;

    in = PUT(s, 0, 5, HEADER, frame(1), format(WIDTH, HEIGHT / 2), frame(2));
    qvv_assert_ok(r->d, in);
    g_autoptr(QVVEvent) first = next_is(r->d, out0);
    g_autoptr(QVVEvent) last = next_is(r->d, out1);
    assert_last(last, out1, DPC_LAST);
    g_autoptr(QVVEvent) dpc = next_is(r->d, 0);
    g_assert_true(dpc->has_params);
}

static void test_dpc_no_output(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0, out1;

    assert_decodes(s);
    PUT(s, 0, 5, format(WIDTH, HEIGHT / 2), frame(2));
    g_autoptr(QVVEvent) dpc =
        qvv_wait_standalone(r->d, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS);
    out0 = get(s, 0);
    expect_last(r->d, out0, DPC_LAST);
    out1 = get(s, 1);
    g_assert_cmpuint(count_answers(r->d, out1, QUIET), ==, 0);
    unblock(s);
    expect_plain(r->d, out1);
}

/* It stays empty, so it may as well be too small for the new format */
static void test_dpc_small_output(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    assert_decodes(s);
    PUT(s, 0, 5, format(4 * WIDTH, 4 * HEIGHT), frame(2));
    g_autoptr(QVVEvent) dpc =
        qvv_wait_standalone(r->d, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS);
    expect_last(r->d, get(s, 0), DPC_LAST);
    qvv_assert_canceled(r->d, get(s, 0));
}

static void test_dpc_unblock(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    assert_decodes(s);
    PUT(s, 0, 5, format(WIDTH, HEIGHT / 2), frame(2));
    g_autoptr(QVVEvent) dpc =
        qvv_wait_standalone(r->d, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS);
    unblock(s);
    expect_plain(r->d, get(s, 0));
}

static void test_dpc_crop(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out;

    assert_decodes(s);
    out = get(s, 0);
    PUT(s, 0, 5, format_crop(WIDTH, HEIGHT, 0, 0, 32, 32, 8), frame(2));
    g_autoptr(QVVEvent) dpc =
        qvv_wait_standalone(r->d, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS);
    g_assert_cmphex(dpc->flags, ==, F_STANDALONE);
    expect_plain(r->d, out);
}

static void test_dpc_drain(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out[4], drain;

    assert_decodes(s);
    for (unsigned i = 0; i < ARRAY_SIZE(out); i++) {
        out[i] = get(s, i);
    }
    PUT(s, 0, 5, frame(1), format(WIDTH, HEIGHT / 2), frame(2));
    drain = qvv_drain(r->d, 0);
    expect_plain(r->d, out[0]);
    expect_last(r->d, out[1], DPC_LAST);
    unblock(s);
    expect_plain(r->d, out[2]);
    expect_last(r->d, out[3], DRAIN_LAST);
    qvv_assert_ok(r->d, drain);
}

static void test_dpc_input_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    assert_decodes(s);
    PUT(s, 0, 5, format(WIDTH, HEIGHT / 2), frame(2));
    g_autoptr(QVVEvent) dpc =
        qvv_wait_standalone(r->d, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    expect_last(r->d, get(s, 0), DPC_LAST);
    unblock(s);
    read_raw_format(s);
    assert_decodes(s);
}

static void test_request_flags(Rig *r)
{
    struct virtio_video_resource_queue cmd = {
        .hdr.type = cpu_to_le32(VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE),
        .hdr.queue_type = cpu_to_le32(OUTPUT),
        .flags = cpu_to_le32(~0u),
    };
    TestStream *s = test_stream(r, 0);
    uint32_t out = qvv_cmd(r->d, &cmd, sizeof(cmd));

    PUT(s, 0, 1, HEADER, frame(1));
    expect_plain(r->d, out);
    assert_pixels(s, 0, 1);
}

static void test_not_negotiated(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out;

    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    assert_decodes(s);
    out = get(s, 0);
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    PUT(s, 0, 5, format(WIDTH, HEIGHT / 2), frame(2));
    g_autoptr(QVVEvent) dpc =
        qvv_wait_standalone(r->d, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS);
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    unblock(s);
    expect_plain(r->d, out);
}

static void test_offered(Rig *r)
{
    g_assert_true(qvv_offered_features(r->d) &
                  FEATURE(V4L2_COMPATIBLE_LAST_BUFFER));
}

#define LAST .opts = { .features = VERSION_1 | FEATURE(DECODER) | \
                                   FEATURE(RESOURCE_GUEST_PAGES) | \
                                   FEATURE(V4L2_COMPATIBLE_LAST_BUFFER) }

static const TestCase cases[] = {
    { "last/is-offered", test_offered },
    { "last/none-if-not-negotiated", test_not_negotiated },
    { "last/drain-gives-one-before-response", test_drain, LAST },
    { "last/drain-waits-for-one", test_drain_waits, LAST },
    { "last/idle-drain-gives-one", test_drain_idle, LAST },
    { "last/each-drain-gives-one", test_drain_twice, LAST },
    { "last/input-reset-cancels-waiting-drain", test_drain_reset_input,
      LAST },
    { "last/output-reset-does-not-end-waiting-drain",
      test_drain_reset_output, LAST },
    { "last/close-cancels-waiting-drain", test_drain_close, LAST },
    { "last/device-reset-while-drain-waits", test_drain_device_reset, LAST },
    { "last/blocked-output-is-not-used", test_drain_blocked, LAST },
    { "last/implicit-drain-gives-none", test_set_params, LAST },
    { "last/dpc-gives-one", test_dpc, LAST },
    { "last/dpc-gives-one-between-frames-and-event", test_dpc_order, LAST },
    { "last/dpc-without-outputs-takes-the-next", test_dpc_no_output, LAST },
    { "last/dpc-takes-too-small-output", test_dpc_small_output, LAST },
    { "last/unblock-ends-the-duty", test_dpc_unblock, LAST },
    { "last/crop-alone-gives-none", test_dpc_crop, LAST },
    { "last/dpc-and-drain-give-one-each", test_dpc_drain, LAST },
    { "last/input-reset-does-not-end-the-duty", test_dpc_input_reset, LAST },
    { "last/flags-of-a-request-are-ignored", test_request_flags, LAST },
};

static void register_virtio_video_last_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_last_test);
