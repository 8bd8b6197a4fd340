/*
 * QTest testcases of virtio-video: the device's life
 *
 * Resets, stop and cont, unplug and migration with streams in all states.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "virtio-video-fixture.h"

#define CLOSING_MS 3000

/*
 * max-streams is 1 here.  Resets don't wait for codecs that hang, so there can
 * be more of them than streams: as many again.
 */
static void test_limits_closing_streams(Rig *r)
{
    int64_t begin = g_get_monotonic_time(), end = begin + 2 * SOON;
    uint32_t flags;

    for (unsigned i = 0; i < 2; i++) {
        TestStream *s = bare_stream(r, 0);

        add_inputs(s);
        /* The codec has understood that before the reset comes */
        qvv_assert_ok(r->d, PUT(s, 0, 0, insn(VIDEO_TEST_SLOW_STOP,
                                              CLOSING_MS)));
        restart(r);
    }
    do {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, qvv_open(r->d, 0, DECODER));
        int64_t now = g_get_monotonic_time();

        flags = ev->flags;
        /* Whatever has held us up, none of them can be gone before */
        if (now < begin + CLOSING_MS * MS) {
            g_assert_cmphex(flags, ==, F_ERROR);
        }
        g_assert_cmpint(now, <, end);
        g_usleep(20 * MS);
    } while (flags == F_ERROR);
    g_assert_cmphex(flags, ==, F_OK);
}

/*
 * Reset, stop and unplug
 */

/* Streams in all states: writing, hanging, blocked, draining, idle */
static TestStream *busy_streams(Rig *r)
{
    TestStream *writing = test_stream(r, 0);
    TestStream *s;

    get(writing, 0);
    fill_output(writing, 0, 0xee);
    PUT(writing, 0, 3, HEADER, insn(VIDEO_TEST_SLOW_EMIT, 30), frame(1));
    s = test_stream(r, 1);
    hang(s, 0);
    PUT(s, 1, 0, HEADER, frame(1));
    qvv_drain(r->d, 1);
    s = test_stream(r, 2);
    PUT(s, 0, 1, format(96, 80), frame(1), fail("too late"));
    get(s, 0);
    s = test_stream(r, 3);
    PUT(s, 0, 1, HEADER, frame(1), frame(2), frame(3));
    qvv_drain(r->d, 3);
    bare_stream(r, 4);
    s = test_stream(r, 5);
    get(s, 0);
    hang_hard(s, 0, 500);
    return writing;
}

/* After the reset nothing of the old streams is left */
static void assert_all_gone(Rig *r, TestStream *writing)
{
    fill_output(writing, 0, 0xdd);
    g_usleep(80 * MS);
    assert_output_is(writing, 0, 0xdd);
    wait_threads(r, r->threads);
    start(r, NULL);
    qvv_assert_quiet(r->d, QUIET);
    assert_device_works(r);
}

static void test_reset_device(Rig *r)
{
    TestStream *writing = busy_streams(r);
    int64_t began = g_get_monotonic_time();

    qvv_stop(r->d);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 450 * MS);
    assert_all_gone(r, writing);
}

static void test_reset_system(Rig *r)
{
    TestStream *writing = busy_streams(r);

    qtest_system_reset(r->qts);
    qvv_abandon(r->d);
    fill_output(writing, 0, 0xdd);
    g_usleep(80 * MS);
    assert_output_is(writing, 0, 0xdd);
    wait_threads(r, r->threads);
}

static void test_reset_device_often(Rig *r)
{
    for (unsigned i = 0; i < 20; i++) {
        TestStream *s = test_stream(r, i % 16);

        PUT(s, 0, i, HEADER, insn(VIDEO_TEST_DELAY, i % 4), frame(i));
        get(s, 0);
        qvv_drain(r->d, s->id);
        g_usleep(i % 5 * MS);
        restart(r);
    }
    qvv_assert_quiet(r->d, QUIET);
    assert_device_works(r);
}

/* The second reset finds streams that still end */
static void test_reset_while_closing(Rig *r)
{
    TestStream *closing = test_stream(r, 0), *failed = test_stream(r, 1);

    hang_hard(closing, 0, 200);
    PUT(failed, 0, 0, insn(VIDEO_TEST_HANG_HARD, 100), fail("too late"));
    qvv_close(r->d, 0);
    wait_commands(r->d);
    restart(r);
    assert_decodes(test_stream(r, 0));
    restart(r);
    qvv_assert_quiet(r->d, 250 * MS);
}

static void test_reset_command_ring(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in = PUT(s, 0, 3, HEADER, insn(VIDEO_TEST_DELAY, 20), frame(1));
    uint32_t out = get(s, 0);

    wait_commands(r->d);
    if (!qvv_ring_reset(r->d, VIRTIO_VIDEO_VQ_COMMAND)) {
        g_test_skip("this transport has no ring reset");
        return;
    }
    qvv_assert_ok(r->d, in);
    expect_frame(s, 0, out, 1, 3);
    assert_decodes(s);
}

static void test_reset_event_ring(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain = put_barrier(s), out;

    wait_commands(r->d);
    if (!qvv_ring_reset(r->d, VIRTIO_VIDEO_VQ_EVENT)) {
        g_test_skip("this transport has no ring reset");
        return;
    }
    out = get(s, 0);
    qvv_assert_quiet(r->d, QUIET);
    g_assert_cmpuint(qvv_post_events(r->d, 16), ==, 16);
    EXPECT_ORDER(r->d, { out, F_OK }, { drain, F_OK });
    assert_decodes(s);
}

static void qmp_ok(QTestState *qts, const char *command)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': %s }", command);

    g_assert_true(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
}

static void test_stop_memory(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autofree uint8_t *before = NULL;
    g_autofree uint8_t *after = NULL;
    uint32_t out = get(s, 0);

    fill_output(s, 0, 0xee);
    PUT(s, 0, 3, HEADER, insn(VIDEO_TEST_SLOW_EMIT, 40), frame(1));
    g_usleep(60 * MS);
    qmp_ok(r->qts, "stop");
    if (!count_answers(r->d, out, 2 * MS)) {
        /* Most likely in the midst of the frame */
        before = read_output(s, 0, 0);
        g_usleep(80 * MS);
        after = read_output(s, 0, 0);
        g_assert_cmpmem(before, s->out->res[0].buffer[0].size,
                        after, s->out->res[0].buffer[0].size);
        g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
        qmp_ok(r->qts, "cont");
        expect_frame(s, 0, out, 1, 3);
    } else {
        qmp_ok(r->qts, "cont");
    }
}

/* Neither stop nor what comes meanwhile waits for the codec */
static void test_stop_hanging_codec(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    int64_t began = g_get_monotonic_time();
    uint32_t in, out;

    out = get(s, 0);
    in = hang_hard(s, 0, 1000);
    qmp_ok(r->qts, "stop");
    g_assert_cmpint(g_get_monotonic_time() - began, <, 900 * MS);
    g_usleep(20 * MS);
    qmp_ok(r->qts, "cont");
    qvv_assert_ok(r->d, in);
    expect_frame(s, 0, out, 1, 3);
}

/* Nothing happens while the machine is stopped, and nothing is forgotten */
static void test_stop_commands(Rig *r)
{
    uint32_t open, close;

    qmp_ok(r->qts, "stop");
    open = qvv_open(r->d, 0, DECODER);
    close = qvv_close(r->d, 0);
    qvv_assert_quiet(r->d, QUIET);
    qmp_ok(r->qts, "cont");
    EXPECT_ORDER(r->d, { open, F_OK }, { close, F_OK });
}

static void test_stop_device_reset(Rig *r)
{
    TestStream *writing = busy_streams(r);

    qmp_ok(r->qts, "stop");
    qvv_stop(r->d);
    qmp_ok(r->qts, "cont");
    assert_all_gone(r, writing);
}

static void test_stop_often(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    for (unsigned i = 0; i < 10; i++) {
        uint32_t out = get(s, 0);

        PUT(s, 0, i, HEADER, insn(VIDEO_TEST_SLOW_EMIT, i % 3), frame(i));
        g_usleep(i * MS);
        qmp_ok(r->qts, "stop");
        qmp_ok(r->qts, "cont");
        expect_frame(s, 0, out, i, i);
    }
}

static void object_del_codec1(QTestState *qts, bool works)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'object-del',"
                           " 'arguments': { 'id': 'codec1' } }");

    g_assert_cmpint(qdict_haskey(rsp, "return"), ==, works);
    qobject_unref(rsp);
}

/* Streams in all states; then the codec is free, too */
static void check_unplug(QVirtioPCIDevice *dev, QGuestAllocator *alloc,
                         bool stopped)
{
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
    qtest_qmp_assert_success(r.qts, "{ 'execute': 'object-add', 'arguments': {"
                             " 'qom-type': 'video-codec-test',"
                             " 'id': 'codec1' } }");
    pci = plug(bus, "virtio-video-pci", "codec1");
    v.vdev = &pci->vdev;
    r.d = qvv_new(r.v, alloc, r.qts);
    start(&r, NULL);
    object_del_codec1(r.qts, false);
    writing = busy_streams(&r);
    if (stopped) {
        qmp_ok(r.qts, "stop");
    }
    qpci_unplug_acpi_device_test(r.qts, "plugged", PCI_SLOT_HP);
    fill_output(writing, 0, 0xdd);
    g_usleep(80 * MS);
    assert_output_is(writing, 0, 0xdd);
    wait_threads(&r, r.threads);
    object_del_codec1(r.qts, true);
    if (stopped) {
        qmp_ok(r.qts, "cont");
        g_usleep(QUIET);
        assert_output_is(writing, 0, 0xdd);
    }
    qvv_abandon(r.d);
    g_ptr_array_unref(r.streams);
    qvv_free(r.d);
    plugged_free(pci);
}

static void test_hotplug_unplug(void *obj, void *data, QGuestAllocator *alloc)
{
    check_unplug(obj, alloc, false);
}

static void test_hotplug_unplug_stopped(void *obj, void *data,
                                        QGuestAllocator *alloc)
{
    check_unplug(obj, alloc, true);
}

/*
 * A second QEMU, for migration and other codecs
 */

/* @d works on with the device @v of the QEMU that @qts talks to */
static void move_driver(QVVDriver *d, QVirtioVideo *v, QTestState *qts)
{
    v->vdev->features = d->features;
    v->vdev->features_negotiated = true;
    d->video = v;
    d->vdev = v->vdev;
    d->qts = qts;
    d->ram.qts = qts;
    if (d->started) {
        d->cmdq.vq->vdev = v->vdev;
        d->eventq.vq->vdev = v->vdev;
    }
}

static void assert_driver_ok(QVVDriver *d)
{
    g_assert_cmphex(d->vdev->bus->get_status(d->vdev), ==,
                    VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                    VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* To another QEMU, where the driver goes on with its queues as they are */
static Rig *migrate(Rig *r)
{
    g_autofree char *file = temp_file();
    g_autofree char *uri = g_strdup_printf("file:%s", file);
    g_autofree char *args = g_strdup_printf("%s -incoming defer",
                                            qos_get_current_command_line());
    Rig *to;

    qos_invalidate_command_line();
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'migrate', 'arguments':"
                             " { 'uri': %s } }", uri);
    wait_migration(r->qts, "completed");
    to = second_rig(args);
    qtest_qmp_assert_success(to->qts, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s } }", uri);
    wait_migration(to->qts, "completed");
    unlink(file);
    move_driver(r->d, to->v, to->qts);
    assert_driver_ok(r->d);
    return to;
}

static void migrate_end(Rig *r, Rig *to)
{
    qvv_stop(r->d);
    move_driver(r->d, r->v, r->qts);
    second_rig_free(to);
}

static void test_migrate_idle(Rig *r)
{
    Rig *to;

    assert_device_works(r);
    to = migrate(r);
    assert_decodes(test_stream(r, 3));
    migrate_end(r, to);
}

/* What the driver has not got yet, it gets from the other side */
static void test_migrate_events(Rig *r)
{
    uint32_t a = qvv_close(r->d, 5), b = qvv_close(r->d, 6), open;
    Rig *to;

    wait_commands(r->d);
    to = migrate(r);
    qvv_post_events(r->d, 3);
    EXPECT_ORDER(r->d, { a, F_ERROR }, { b, F_ERROR });
    open = qvv_open(r->d, 5, DECODER);
    EXPECT_ORDER(r->d, { open, F_OK });
    migrate_end(r, to);
}

/* The destination offers other sizes, in capabilities of the same length */
static void test_migrate_other_caps(Rig *r)
{
    assert_other_side_refused(r, "codec=codec0", "codec=codec0,max-width=640");
}

static void test_migrate_open_stream(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    QDict *rsp = qtest_qmp(r->qts, "{ 'execute': 'migrate', 'arguments':"
                           " { 'uri': 'exec:cat > /dev/null' } }");
    QDict *error = qdict_get_qdict(rsp, "error");

    g_assert_nonnull(error);
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), "virtio-video"));
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), "stream"));
    qobject_unref(rsp);
    assert_decodes(s);
}

/* A migration that takes long because nobody lets it end */
static void test_migrate_no_open(Rig *r)
{
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'migrate-set-parameters',"
                             " 'arguments': { 'max-bandwidth': 4096 } }");
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'migrate', 'arguments':"
                             " { 'uri': 'exec:cat > /dev/null' } }");
    wait_migration(r->qts, "active");
    qvv_assert_error(r->d, qvv_open(r->d, 0, DECODER));
    qmp_ok(r->qts, "migrate_cancel");
    wait_migration(r->qts, "cancelled");
    assert_device_works(r);
    qos_invalidate_command_line();
}


/*
 * Devices that write to guest memory
 */

/* What is waited for, and what nobody waits for; in milliseconds */
#define DIRECT_SHORT    30
#define DIRECT_LONG     1500
#define DIRECT_SOON     (1000 * MS)
/* For how long a worker does nothing with the memory that it has taken */
#define DIRECT_LATE     600
/* When it should have taken it, even where others want the CPUs */
#define DIRECT_BEGINS   100

/*
 * Put frame 1, which a device writes for @ms, and wait until it does.
 * Returns: a time before that
 */
static int64_t put_direct(TestStream *s, uint32_t ms)
{
    uint64_t size = s->out->res[0].buffer[0].size;
    g_autofree uint8_t *filled = NULL;
    int64_t began;

    fill_output(s, 0, 0xee);
    filled = read_output(s, 0, 0);
    began = g_get_monotonic_time();
    PUT(s, 0, 3, HEADER, insn(VIDEO_TEST_DIRECT, ms), frame(1));
    /* It writes at once, and then keeps the memory */
    while (true) {
        g_autofree uint8_t *now = read_output(s, 0, 0);

        if (memcmp(filled, now, size)) {
            return began;
        }
        g_assert_cmpint(g_get_monotonic_time() - began, <, SOON);
        g_usleep(MS);
    }
}

static void test_direct_frame(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    put_direct(s, 1);
    expect_frame(s, 0, out, 1, 3);
}

static bool attempt_direct_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), reset;
    int64_t began = put_direct(s, DIRECT_SHORT);
    int64_t asked = g_get_monotonic_time();
    g_autoptr(QVVEvent) ev = NULL;

    reset = qvv_queue_reset(r->d, 0, OUTPUT);
    ev = qvv_wait(r->d, out);
    qvv_assert_ok(r->d, reset);
    if (ev->flags == F_OK || is_direct_late(asked)) {
        return false;
    }
    g_assert_cmphex(ev->flags, ==, F_CANCELED);
    g_assert_cmpint(g_get_monotonic_time() - began, >=, DIRECT_SHORT * MS);
    fill_output(s, 0, 0xdd);
    g_usleep(100 * MS);
    assert_output_is(s, 0, 0xdd);
    expect_frame(s, 1, get(s, 1), 1, 3);
    return true;
}

/* The buffer is the guest's again when the device has finished */
static void test_direct_reset(Rig *r)
{
    attempt_often(r, attempt_direct_reset);
}

static bool attempt_direct_stop(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);
    int64_t began = put_direct(s, DIRECT_SHORT);
    int64_t asked = g_get_monotonic_time();
    g_autoptr(QVVEvent) ev = NULL;
    g_autofree uint8_t *before = NULL;
    g_autofree uint8_t *after = NULL;
    bool late;

    qmp_ok(r->qts, "stop");
    late = is_direct_late(asked);
    ev = qvv_wait_cookie(r->d, out, 0);
    if (ev || late) {
        qmp_ok(r->qts, "cont");
        return false;
    }
    g_assert_cmpint(g_get_monotonic_time() - began, >=, DIRECT_SHORT * MS);
    before = read_output(s, 0, 0);
    g_usleep(100 * MS);
    after = read_output(s, 0, 0);
    g_assert_cmpmem(before, s->out->res[0].buffer[0].size,
                    after, s->out->res[0].buffer[0].size);
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    qmp_ok(r->qts, "cont");
    expect_frame(s, 0, out, 1, 3);
    return true;
}

static void test_direct_stop(Rig *r)
{
    attempt_often(r, attempt_direct_stop);
}

/* Nobody waits for one that hangs; the stream is given up */
static void test_direct_overdue(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), reset;
    int64_t began = put_direct(s, DIRECT_LONG);

    reset = qvv_queue_reset(r->d, 0, OUTPUT);
    qvv_assert_canceled(r->d, out);
    qvv_assert_ok(r->d, reset);
    g_assert_cmpint(g_get_monotonic_time() - began, <, DIRECT_SOON);
    expect_stream_error(r->d, 0);
    assert_device_works(r);
}

/* A worker that comes too late finds that the memory is not its own any more */
static bool attempt_direct_late(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), reset;
    int64_t asked;

    fill_output(s, 0, 0xee);
    PUT(s, 0, 3, HEADER, direct(1, DIRECT_LATE), frame(1));
    g_usleep(DIRECT_BEGINS * MS);
    asked = g_get_monotonic_time();
    reset = qvv_queue_reset(r->d, 0, OUTPUT);
    qvv_assert_canceled(r->d, out);
    qvv_assert_ok(r->d, reset);
    if (!is_direct_late(asked)) {
        return false;           /* nobody had to be waited for */
    }
    fill_output(s, 0, 0xdd);
    /* The worker tells when it has ended its work on the frame */
    expect_stream_error(r->d, 0);
    assert_output_is(s, 0, 0xdd);
    assert_device_works(r);
    return true;
}

static void test_direct_late(Rig *r)
{
    attempt_often(r, attempt_direct_late);
}

/* Nor is it there to be looked at */
static void test_direct_late_close(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), close;

    PUT(s, 0, 3, HEADER, direct(1, DIRECT_LATE), frame(1));
    g_usleep(DIRECT_BEGINS * MS);
    close = qvv_close(r->d, 0);
    qvv_assert_canceled(r->d, out);
    qvv_assert_ok(r->d, close);
    assert_device_works(r);
}

static void test_direct_device_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    int64_t began;

    get(s, 0);
    began = put_direct(s, DIRECT_LONG);
    qvv_stop(r->d);
    g_assert_cmpint(g_get_monotonic_time() - began, <, DIRECT_SOON);
    start(r, NULL);
    assert_device_works(r);
}

/*
 * All of them
 */

static const TestCase cases[] = {
    { "limits/closing-streams", test_limits_closing_streams,
      .device = ",max-streams=1" },

    { "reset/no-late-answer", test_reset_device },
    { "reset/of-the-machine", test_reset_system, .breaks = true },
    { "reset/often", test_reset_device_often },
    { "reset/while-closing", test_reset_while_closing },
    { "reset/command-ring", test_reset_command_ring },
    { "reset/event-ring", test_reset_event_ring },
    { "reset/packed-command-ring", test_reset_command_ring,
      .device = ALL_RINGS, .opts = { .more_features = PACKED } },
    { "reset/packed-event-ring", test_reset_event_ring,
      .device = ALL_RINGS, .opts = { .more_features = PACKED } },

    { "stop/memory-unchanged-while-stopped", test_stop_memory },
    { "stop/never-waits-for-the-codec", test_stop_hanging_codec },
    { "stop/commands-wait-until-cont", test_stop_commands },
    { "stop/device-reset-while-stopped", test_stop_device_reset },
    { "stop/often", test_stop_often },

    { "direct/a-device-writes-a-frame", test_direct_frame },
    { "direct/reset-waits-for-the-device", test_direct_reset },
    { "direct/stop-waits-for-the-device", test_direct_stop },
    { "direct/nobody-waits-for-long", test_direct_overdue },
    { "direct/late-after-reset", test_direct_late },
    { "direct/late-after-close", test_direct_late_close },
    { "direct/device-reset-does-not-either", test_direct_device_reset },

    { "migrate/idle-device", test_migrate_idle, .more_threads = true },
    { "migrate/waiting-events-go-along", test_migrate_events,
      .opts = { .manual_events = true }, .more_threads = true },
    { "migrate/packed-rings-go-along", test_migrate_events,
      .device = ALL_RINGS, .opts = {
          .manual_events = true, .more_features = PACKED | EVENT_IDX
      }, .more_threads = true },
    { "migrate/other-capabilities-are-refused", test_migrate_other_caps,
      .more_threads = true },
    { "migrate/open-stream-is-refused", test_migrate_open_stream },
    { "migrate/no-open-while-migrating", test_migrate_no_open,
      .more_threads = true },
};

static void register_virtio_video_life_test(void)
{
    QOSGraphTestOptions on_pci = {
        .edge = {
            .extra_device_opts = "codec=codec0",
            .after_cmd_line = CODEC,
        },
    };

    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
    qos_add_test("hotplug/unplug-while-decoding", "virtio-video-pci",
                 test_hotplug_unplug, &on_pci);
    qos_add_test("hotplug/unplug-of-a-stopped-machine", "virtio-video-pci",
                 test_hotplug_unplug_stopped, &on_pci);
}

libqos_init(register_virtio_video_life_test);
