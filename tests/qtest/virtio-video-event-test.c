/*
 * QTest testcases of virtio-video: events
 *
 * How events wait for buffers, what they look like, and interrupts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "virtio-video-fixture.h"

static void test_events_wait(Rig *r)
{
    uint32_t open = qvv_open(r->d, 0, DECODER);
    uint32_t params = qvv_get_params(r->d, 0, MAIN, RAW_SET);

    qvv_assert_quiet(r->d, QUIET);
    g_assert_cmpuint(qvv_post_events(r->d, 2), ==, 2);
    EXPECT_ORDER(r->d, { open, F_OK }, { params, F_OK });
}

/* One buffer at a time, and the order stays */
static void test_events_order(Rig *r)
{
    uint32_t cookies[6];

    for (unsigned i = 0; i < 6; i++) {
        cookies[i] = i % 2 ? qvv_close(r->d, 0) : qvv_open(r->d, 0, DECODER);
    }
    for (unsigned i = 0; i < 6; i++) {
        qvv_post_events(r->d, 1);
        EXPECT_ORDER(r->d, { cookies[i], F_OK });
    }
}

static void test_events_small_buffer(Rig *r)
{
    uint32_t params;

    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
    params = qvv_get_params(r->d, 0, MAIN, RAW_SET);
    g_autoptr(QVVEvent) ev = qvv_wait(r->d, params);
    g_assert_cmphex(ev->type, ==, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS);
    g_assert_cmphex(ev->flags, ==, F_ERROR);
    g_assert_cmpuint(ev->len, ==, 16);
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
}

/* 16 bytes here: only headers fit, whatever is to be told */
static void test_events_header_only(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    const uint64_t size = QVV_PAGE_SIZE;
    GByteArray *set = qvv_set_new(CODED_SET);
    uint32_t in;

    s->in = qvv_pool_new(s->d, N_INPUTS, 1, &size, QVV_CONTIGUOUS);
    add_pool(set, s->in);
    /* It is done, only that cannot be told */
    g_assert_cmphex(set_params_flags(s, set), ==, F_ERROR);
    in = PUT(s, 0, 4, format(96, 80), frame(1));
    g_autoptr(QVVEvent) dpc = qvv_wait_standalone(r->d,
        VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS);
    g_assert_cmphex(dpc->flags, ==, F_ERROR | F_STANDALONE | F_BLOCKED);
    g_assert_cmpuint(dpc->len, ==, 16);
    unblock(s);
    g_autoptr(QVVEvent) done = qvv_wait(r->d, in);
    g_assert_cmphex(done->flags, ==, F_ERROR);
    g_assert_cmpuint(done->len, ==, 16);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
}

/* An event buffer may be of several pieces */
static void test_events_split_buffer(Rig *r)
{
    uint64_t mem = guest_alloc(r->alloc, QVV_PAGE_SIZE);
    const QVVDesc chain[] = {
        { mem, 7, true }, { mem + 7, 5, true }, { mem + 12, 4, true },
    };
    struct virtio_video_event_header h;
    int64_t end = g_get_monotonic_time() + SOON;
    uint32_t cookie, len;
    uint16_t head;

    g_assert_cmpint(qvv_queue_add(r->d, &r->d->eventq, chain, 3), >=, 0);
    qvv_queue_kick(r->d, &r->d->eventq);
    cookie = qvv_open(r->d, 3, DECODER);
    while (!qvv_queue_pop(r->d, &r->d->eventq, &head, &len)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_assert_cmpuint(len, ==, sizeof(h));
    qvv_ram_read(&r->d->ram, mem, &h, sizeof(h));
    g_assert_cmphex(le32_to_cpu(h.event_type), ==,
                    VIRTIO_VIDEO_CMD_STREAM_OPEN);
    g_assert_cmphex(le32_to_cpu(h.stream_id), ==, 3);
    g_assert_cmphex(le32_to_cpu(h.async_response_cookie), ==, cookie);
    g_assert_cmphex(le32_to_cpu(h.event_flags), ==, F_OK);
    guest_free(r->alloc, mem);
}

/* The rest of a stream that is closed while a DPC blocks it */
static void expect_dpc_then_close(Rig *r, uint32_t drain, uint32_t out,
                                  uint32_t close)
{
    g_autoptr(QVVEvent) dpc = qvv_next(r->d, SOON);

    g_assert_nonnull(dpc);
    g_assert_cmphex(dpc->type, ==, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS);
    g_assert_cmphex(dpc->flags, ==, F_STANDALONE | F_BLOCKED);
    expect_canceled(r->d, (uint32_t[]) { drain, out }, 2, close);
}

/*
 * The driver posts nothing for long, while everything goes on.  What has
 * happened is told in its order then.
 */
static void test_events_none_for_long(Rig *r)
{
    uint32_t in, drain, out[2], close;
    TestStream *s;

    qvv_post_events(r->d, 40);
    s = test_stream(r, 0);
    while (r->d->eventq.num_free < r->d->eventq.vq->size) {
        qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    }
    out[0] = get(s, 0);
    out[1] = get(s, 1);
    in = PUT(s, 0, 1, HEADER, frame(1), format(96, 80), frame(2));
    drain = qvv_drain(r->d, 0);
    wait_commands(r->d);
    g_usleep(50 * MS);
    close = qvv_close(r->d, 0);
    qvv_assert_quiet(r->d, 1000 * MS);
    qvv_post_events(r->d, 1);
    EXPECT_ORDER(r->d, { in, F_OK });
    qvv_post_events(r->d, 1);
    expect_frame(s, 0, out[0], 1, 1);
    qvv_post_events(r->d, 40);
    expect_dpc_then_close(r, drain, out[1], close);
}

static void test_events_tiny_buffer(Rig *r)
{
    qvv_open(r->d, 0, DECODER);
    assert_broken_then_restart(r, NULL);
    assert_device_works(r);
}

/* max-events is 8 here */
static void test_events_bound(Rig *r)
{
    int64_t end = g_get_monotonic_time() + SOON;
    uint32_t cookies[24];
    unsigned left;

    for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
        cookies[i] = qvv_close(r->d, i);
    }
    while (qvv_cmds_in_flight(r->d) > 24 - 8 + 1) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS);
    }
    qvv_assert_quiet(r->d, QUIET);
    left = qvv_cmds_in_flight(r->d);
    g_assert_cmpuint(left, >=, 24 - 8 - 1);
    for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
        qvv_post_events(r->d, 1);
        EXPECT_ORDER(r->d, { cookies[i], F_ERROR });
    }
    g_assert_cmpuint(qvv_cmds_in_flight(r->d), ==, 0);
}

/* The codec's events wait, too, and none is lost */
static void test_events_bound_frames(Rig *r)
{
    TestStream *s;
    uint32_t in[N_INPUTS], out[N_OUTPUTS];

    qvv_post_events(r->d, 40);
    s = test_stream(r, 0);
    while (r->d->eventq.num_free < r->d->eventq.vq->size) {
        qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    }
    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        out[i] = get(s, i);
    }
    for (unsigned i = 0; i < N_INPUTS; i++) {
        in[i] = PUT(s, i, i, HEADER, frame(i));
    }
    qvv_assert_quiet(r->d, QUIET);
    qvv_post_events(r->d, 40);
    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        qvv_assert_ok(r->d, in[i]);
        expect_frame(s, i, out[i], i, i);
    }
}

static void test_events_reset_while_waiting(Rig *r)
{
    for (unsigned i = 0; i < 24; i++) {
        qvv_open(r->d, i, DECODER);
    }
    qvv_assert_quiet(r->d, QUIET);
    qvv_stop(r->d);
    wait_threads(r, r->threads);
    start(r, NULL);
    qvv_assert_quiet(r->d, QUIET);
    assert_device_works(r);
}

/* Fill the posted event buffers, so that what isn't written shows */
static void poison_events(QVVDriver *d)
{
    g_autofree uint8_t *ones = g_malloc(d->opts.event_size);

    memset(ones, 0xff, d->opts.event_size);
    for (unsigned i = 0; i < d->eventq.vq->size; i++) {
        if (d->event_mem[i]) {
            qvv_ram_write(&d->ram, d->event_mem[i], ones, d->opts.event_size);
        }
    }
}

static void test_events_padding(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out, in;

    poison_events(r->d);
    out = get(s, 0);
    in = PUT(s, 0, 1, HEADER, frame(1));
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, i ? out : in);
        uint32_t planes = i ? s->layout.n_planes : 0;

        g_assert_cmpuint(ev->len, ==, 96);
        g_assert_cmphex(ev->queue_flags, ==, 0);
        g_assert_cmphex(ldl_le_p(ev->raw + 20), ==, 0);
        for (unsigned p = planes ? planes : 1; p < 8; p++) {
            g_assert_cmphex(ev->offsets[p], ==, 0);
            g_assert_cmphex(ev->data_sizes[p], ==, 0);
        }
    }
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    for (uint32_t at = 24; at < ev->len; at += 8 + ldl_le_p(ev->raw + at + 4)) {
        if (ldl_le_p(ev->raw + at) == VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES) {
            g_assert_cmpuint(ldl_le_p(ev->raw + at + 4), ==, 8);
            g_assert_cmphex(ldl_le_p(ev->raw + at + 12), ==, 0);
        }
    }
}

/* Whether the driver gets an interrupt for an event that comes by itself */
static bool interrupt_for_event(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in = PUT(s, 0, 0, insn(VIDEO_TEST_DELAY, 150));

    wait_commands(r->d);
    qvv_interrupt(r->d);
    qvv_assert_ok(r->d, in);
    g_usleep(5 * MS);
    return qvv_interrupt(r->d);
}

static void test_events_interrupt(Rig *r)
{
    g_assert_true(interrupt_for_event(r));
}

static void test_events_no_interrupt(Rig *r)
{
    g_assert_false(interrupt_for_event(r));
}

/*
 * All of them
 */

static const TestCase cases[] = {
    { "events/wait-for-buffers", test_events_wait,
      .opts = { .manual_events = true } },
    { "events/keep-their-order", test_events_order,
      .opts = { .manual_events = true } },
    { "events/too-small-buffer-gets-error-header", test_events_small_buffer,
      .opts = { .event_size = 32 } },
    { "events/header-only-buffers", test_events_header_only,
      .opts = { .event_size = 16 } },
    { "events/split-buffer", test_events_split_buffer,
      .opts = { .manual_events = true } },
    { "events/no-buffer-for-long", test_events_none_for_long,
      .opts = { .manual_events = true } },
    { "events/tiny-buffer-breaks-device", test_events_tiny_buffer,
      .opts = { .event_size = 12 } },
    { "events/pending-bound-stops-commands", test_events_bound,
      .device = ",max-events=8", .opts = { .manual_events = true } },
    { "events/pending-bound-loses-no-frame", test_events_bound_frames,
      .device = ",max-events=8", .opts = { .manual_events = true } },
    { "events/none-left-after-reset", test_events_reset_while_waiting,
      .device = ",max-events=8", .opts = { .manual_events = true } },
    { "events/padding-is-zero", test_events_padding },
    { "events/interrupt", test_events_interrupt },
    { "events/no-interrupt-if-not-wanted", test_events_no_interrupt,
      .opts = { .no_interrupts = true } },
};

static void register_virtio_video_event_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_event_test);
