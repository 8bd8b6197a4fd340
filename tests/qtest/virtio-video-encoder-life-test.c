/*
 * QTest testcases of virtio-video: how an encoder's work ends
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "virtio-video-encoder-fixture.h"

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

/* It is taken back while the codec is about to write */
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

/* Encoders that read, by themselves too, hang, have to write, and wait */
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
    s = encoder(r, 6);
    ENCODE(s, 0, 1, insn(VIDEO_TEST_DIRECT, 60), insn(VIDEO_TEST_SKIP, 0));
    encode(s, 1, 1, 1);
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
    in = ENCODE(s, 0, 5, insn(VIDEO_TEST_SLOW_EMIT, 500));
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

static void test_unplug(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioPCIDevice *dev = obj;
    QPCIBus *bus = dev->pdev->bus;
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
    pci = plug(bus, "virtio-video-pci", "codec0");
    v.vdev = &pci->vdev;
    r.d = qvv_new(r.v, alloc, r.qts);
    start(&r, NULL);
    writing = busy_encoders(&r);
    qpci_unplug_acpi_device_test(r.qts, "plugged", PCI_SLOT_HP);
    fill_output(writing, 0, 0xdd);
    g_usleep(80 * MS);
    assert_output_is(writing, 0, 0xdd);
    wait_threads(&r, r.threads);
    qvv_abandon(r.d);
    g_ptr_array_unref(r.streams);
    qvv_free(r.d);
    plugged_free(pci);
}

/*
 * Devices that read guest memory
 */

/* What nobody waits for; in milliseconds */
#define DIRECT_LONG     1500
#define DIRECT_SOON     (1000 * MS)

/*
 * A stream whose frames are read by a device, which takes @ms for each after
 * having waited for @late_ms
 */
static TestStream *late_encoder(Rig *r, uint32_t ms, uint32_t late_ms)
{
    TestStream *s = encoder(r, 0);

    ENCODE(s, 0, 1, direct(ms, late_ms));
    expect_coded(s, 0, get(s, 0), KEY);
    return s;
}

static TestStream *direct_encoder(Rig *r, uint32_t ms)
{
    return late_encoder(r, ms, 0);
}

/* Queue a frame, and wait until the device reads it: it should by then. */
static uint32_t encode_direct(TestStream *s, unsigned ms)
{
    uint32_t in = encode(s, 1, 2, 2);

    wait_commands(s->d);
    g_usleep(ms * MS);
    return in;
}

static void test_direct_frame(Rig *r)
{
    TestStream *s = direct_encoder(r, 1);

    g_assert_cmphex(encode_one(s, 7, P_FRAME).checksum, ==, frame_sum(s, 7));
}

static bool attempt_direct_reset(Rig *r)
{
    const uint32_t ms = 40;
    TestStream *s = direct_encoder(r, ms);
    int64_t began = g_get_monotonic_time(), asked;
    uint32_t in = encode_direct(s, 15), reset;
    g_autoptr(QVVEvent) ev = NULL;

    asked = g_get_monotonic_time();
    reset = qvv_queue_reset(r->d, 0, INPUT);
    ev = qvv_wait(r->d, in);
    qvv_assert_ok(r->d, reset);
    if (ev->flags == F_OK || is_direct_late(asked) ||
        g_get_monotonic_time() - began < ms * MS) {
        return false;       /* done, given up, or not begun */
    }
    g_assert_cmphex(ev->flags, ==, F_CANCELED);
    /* A device that still read would tell */
    encode(s, 1, 3, 3);
    expect_coded(s, 1, get(s, 1), KEY);
    assert_encodes(s);
    return true;
}

/* The frame is the guest's again when the device has finished */
static void test_direct_reset(Rig *r)
{
    attempt_often(r, attempt_direct_reset);
}

/* Reading is no reason to keep a VM from stopping */
static void test_direct_stop(Rig *r)
{
    TestStream *s = direct_encoder(r, 40);
    uint32_t in = encode_direct(s, 15), out;

    qmp_ok(r->qts, "stop");
    qmp_ok(r->qts, "cont");
    qvv_assert_ok(r->d, in);
    out = get(s, 1);
    expect_coded(s, 1, out, P_FRAME);
}

/* Nobody waits for one that hangs; the stream is given up */
static void test_direct_overdue(Rig *r)
{
    TestStream *s = direct_encoder(r, DIRECT_LONG);
    uint32_t in = encode_direct(s, 100), reset;
    int64_t began = g_get_monotonic_time();

    reset = qvv_queue_reset(r->d, 0, INPUT);
    qvv_assert_canceled(r->d, in);
    qvv_assert_ok(r->d, reset);
    g_assert_cmpint(g_get_monotonic_time() - began, <, DIRECT_SOON);
    expect_stream_error(r->d, 0);
    assert_encodes(encoder(r, 1));
}

/* A worker that comes too late does not look at what has gone */
static void test_direct_late(Rig *r)
{
    TestStream *s = late_encoder(r, 1, 300);
    uint32_t in = encode_direct(s, 100), close;

    close = qvv_close(r->d, 0);
    qvv_assert_canceled(r->d, in);
    qvv_assert_ok(r->d, close);
    assert_encodes(encoder(r, 1));
}

static void test_direct_device_reset(Rig *r)
{
    TestStream *s = direct_encoder(r, DIRECT_LONG);
    int64_t began;

    encode_direct(s, 100);
    began = g_get_monotonic_time();
    qvv_stop(r->d);
    g_assert_cmpint(g_get_monotonic_time() - began, <, DIRECT_SOON);
    start(r, NULL);
    assert_encodes(encoder(r, 0));
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
 * All of them
 */

#define LAST .opts = { .features = VERSION_1 | FEATURE(ENCODER) | \
                                   FEATURE(RESOURCE_GUEST_PAGES) | \
                                   FEATURE(V4L2_COMPATIBLE_LAST_BUFFER) }

static const TestCase cases[] = {
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
    { "encoder/direct/a-device-reads-a-frame", test_direct_frame },
    { "encoder/direct/reset-waits-for-the-device", test_direct_reset },
    { "encoder/direct/stop-does-not", test_direct_stop },
    { "encoder/direct/nobody-waits-for-long", test_direct_overdue },
    { "encoder/direct/late-after-close", test_direct_late },
    { "encoder/direct/device-reset-does-not-either",
      test_direct_device_reset },
    { "encoder/last/drain-gives-one", test_last, LAST },
    { "encoder/last/set-params-gives-none", test_last_change, LAST },
    { "encoder/last/waits-for-unblock", test_last_blocked, LAST },
};

static void register_virtio_video_encoder_life_test(void)
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
}

libqos_init(register_virtio_video_encoder_life_test);
