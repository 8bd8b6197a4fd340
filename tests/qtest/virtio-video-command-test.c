/*
 * QTest testcases of virtio-video: commands
 *
 * Well-formed and malformed commands, OPEN and CLOSE.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "virtio-video-fixture.h"

/*
 * Requests
 */

typedef struct Request {
    uint32_t type;
    uint32_t len;               /* of its fixed part */
    uint32_t queue;             /* one that it may go to */
} Request;

static const Request requests[] = {
    { VIRTIO_VIDEO_CMD_STREAM_OPEN, 20, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_CLOSE, 16, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, 16, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, 16, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_UNBLOCK, 16, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_DRAIN, 16, INPUT },
    { VIRTIO_VIDEO_CMD_STREAM_QUEUE_RESET, 20, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE, 96, INPUT },
};

/* Room for any request with a container of one or two TLVs */
typedef struct Command {
    uint32_t words[64];
} Command;

static Command command(uint32_t type, uint32_t stream, uint32_t queue)
{
    return (Command) { { cpu_to_le32(type), cpu_to_le32(stream),
                        cpu_to_le32(queue) } };
}

/* A well-formed command for @queue, whose answer is awaited */
static uint32_t send_request(Rig *r, const Request *q, uint32_t stream,
                             uint32_t queue)
{
    Command c = command(q->type, stream, queue);
    uint32_t len = q->len;

    if (q->type == VIRTIO_VIDEO_CMD_STREAM_QUEUE_RESET) {
        c.words[4] = cpu_to_le32(INPUT);
    } else if (q->type == VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS ||
               q->type == VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS) {
        c.words[4] = cpu_to_le32(CODED_SET);
        len += 8;
    }
    return qvv_cmd(r->d, &c, len);
}

static const QVVOptions few_events = { .event_buffers = 4 };

/* The first @len bytes of that request are malformed */
static void assert_malformed(Rig *r, const Request *q, uint32_t len)
{
    Command c = command(q->type, 0, q->queue);

    g_assert_cmpint(qvv_cmd_raw(r->d, &c, len, 0, NULL, 0, 0), ==, -1);
    assert_broken_then_restart(r, &few_events);
}

static void test_malformed_short(Rig *r)
{
    for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
        assert_malformed(r, &requests[i], 4);
        assert_malformed(r, &requests[i], 15);
        assert_malformed(r, &requests[i], requests[i].len - 1);
    }
}

static void test_malformed_no_type(Rig *r)
{
    uint8_t resp[16];

    for (unsigned len = 1; len < 4; len++) {
        assert_malformed(r, &requests[0], len);
    }
    g_assert_cmpint(qvv_cmd_raw(r->d, NULL, 0, 0, resp, sizeof(resp), 0),
                    ==, -1);
    assert_broken_then_restart(r, &few_events);
}

static void test_malformed_query_caps(Rig *r)
{
    uint32_t req = cpu_to_le32(VIRTIO_VIDEO_CMD_DEVICE_QUERY_CAPS);
    uint8_t resp[8];

    for (unsigned room = 0; room < 8; room++) {
        g_assert_cmpint(qvv_cmd_raw(r->d, &req, 4, 0, resp, room, 0), ==, -1);
        assert_broken_then_restart(r, &few_events);
    }
}

/* A broken device takes nothing and says nothing, whatever goes on */
static void test_malformed_mid_stream(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in = PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_HANG, 0), frame(1));
    uint32_t out = get(s, 0);
    Command c = command(VIRTIO_VIDEO_CMD_STREAM_OPEN, 1, MAIN);

    g_assert_cmpint(qvv_cmd_raw(r->d, &c, 19, 0, NULL, 0, 0), ==, -1);
    wait_broken(r);
    g_assert_cmpuint(count_answers(r->d, in, QUIET), ==, 0);
    g_assert_cmpuint(count_answers(r->d, out, 0), ==, 0);
    assert_broken_then_restart(r, NULL);
    assert_device_works(r);
}

static void test_request_split(Rig *r)
{
    Command c = command(VIRTIO_VIDEO_CMD_STREAM_OPEN, 0, MAIN);

    for (unsigned split = 1; split < 20; split += 3) {
        c.words[3] = cpu_to_le32(0x1000 + split);
        g_assert_cmpint(qvv_cmd_raw(r->d, &c, 20, split, NULL, 0, SOON),
                        ==, 0);
        expect(r->d, 0x1000 + split, F_OK);
        qvv_assert_ok(r->d, qvv_close(r->d, 0));
    }
}

/* Done at once, with nothing written: whatever the answer is, it's an event */
static void test_request_length_0(Rig *r)
{
    for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
        Command c = command(requests[i].type, 5, requests[i].queue);
        uint8_t resp[16];

        c.words[3] = cpu_to_le32(0x1000 + i);
        g_assert_cmpint(qvv_cmd_raw(r->d, &c, requests[i].len, 0, resp,
                                    sizeof(resp), SOON), ==, 0);
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, 0x1000 + i);
    }
}

static void test_unknown_command(Rig *r)
{
    static const uint32_t types[] = { 0, 0x101, 0x1ff, 0x208, 0x300, ~0u };

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        Command c = command(types[i], 0x77, 0);

        c.words[3] = cpu_to_le32(0x1000 + i);
        g_assert_cmpint(qvv_cmd_raw(r->d, &c, 16, 0, NULL, 0, SOON), ==, 0);
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, 0x1000 + i);
        g_assert_cmphex(ev->type, ==, types[i]);
        g_assert_cmphex(ev->stream, ==, 0x77);
        g_assert_cmphex(ev->flags, ==, F_ERROR);
        g_assert_cmpuint(ev->len, ==, 16);
    }
}

static void test_unknown_short_command(Rig *r)
{
    Command c = command(0x300, 0, 0);

    g_assert_cmpint(qvv_cmd_raw(r->d, &c, 12, 0, NULL, 0, SOON), ==, 0);
    qvv_assert_quiet(r->d, QUIET);
    g_assert_false(qvv_is_broken(r->d));
}

static void assert_wrong_queue(Rig *r, const Request *q, uint32_t queue)
{
    qvv_assert_error(r->d, send_request(r, q, 0, queue));
}

static void test_wrong_queue_type(Rig *r)
{
    bare_stream(r, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
        const Request *q = &requests[i];
        bool params = q->type == VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS ||
                      q->type == VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS;

        if (q->queue != MAIN) {
            assert_wrong_queue(r, q, MAIN);
        } else if (!params) {
            assert_wrong_queue(r, q, INPUT);
        }
        if (q->type != VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE) {
            assert_wrong_queue(r, q, OUTPUT);
        }
        assert_wrong_queue(r, q, 3);
        assert_wrong_queue(r, q, ~0u);
    }
    /* The stream was neither closed nor harmed */
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
}

static void assert_all_commands_fail(Rig *r, uint32_t stream)
{
    for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
        uint32_t cookie;

        if (requests[i].type == VIRTIO_VIDEO_CMD_STREAM_OPEN) {
            continue;
        }
        cookie = send_request(r, &requests[i], stream, requests[i].queue);
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, cookie);
        g_assert_cmphex(ev->type, ==, requests[i].type);
        g_assert_cmphex(ev->stream, ==, stream);
        g_assert_cmphex(ev->flags, ==, F_ERROR);
    }
}

/*
 * OPEN and CLOSE
 */

static void test_open_out_of_range(Rig *r)
{
    qvv_assert_error(r->d, qvv_open(r->d, r->d->max_streams, DECODER));
    qvv_assert_error(r->d, qvv_open(r->d, 0x80000000, DECODER));
    qvv_assert_error(r->d, qvv_open(r->d, ~0u, DECODER));
}

static void test_open_all_ids(Rig *r)
{
    for (uint32_t id = 0; id < r->d->max_streams; id++) {
        qvv_assert_ok(r->d, qvv_open(r->d, id, DECODER));
    }
    for (uint32_t id = 0; id < r->d->max_streams; id++) {
        qvv_assert_ok(r->d, qvv_close(r->d, id));
    }
}

static void test_open_twice(Rig *r)
{
    TestStream *s = test_stream(r, 7);

    qvv_assert_error(r->d, qvv_open(r->d, 7, DECODER));
    assert_decodes(s);
}

static void test_open_unknown_type(Rig *r)
{
    qvv_assert_error(r->d, qvv_open(r->d, 0, 2));
    qvv_assert_error(r->d, qvv_open(r->d, 0, ~0u));
    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
}

static void test_open_encoder_not_negotiated(Rig *r)
{
    qvv_assert_error(r->d, qvv_open(r->d, 0, ENCODER));
    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
}

static void test_open_defaults(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    g_autoptr(QVVEvent) coded = get_params(s, CODED_SET);
    g_autoptr(QVVEvent) raw = get_params(s, RAW_SET);
    const QVVParams *p = &raw->params;

    g_assert_cmpuint(coded->params.coded_format, ==,
                     VIRTIO_VIDEO_CODED_FORMAT_H264);
    g_assert_cmpuint(coded->params.num_resources, ==, 0);
    g_assert_cmpuint(coded->params.n_attached, ==, 0);
    g_assert_cmphex(p->raw.fourcc, ==, VIDEO_TEST_NV12);
    g_assert_cmphex(p->raw.modifier, ==, 0);
    g_assert_cmpuint(p->raw.planes_layout, ==, SINGLE);
    g_assert_cmpuint(p->raw.width, ==, 640);
    g_assert_cmpuint(p->raw.height, ==, 480);
    g_assert_cmpuint(p->num_resources, ==, 0);
    g_assert_cmpuint(p->n_attached, ==, 0);
    g_assert_cmpuint(p->crop.left + p->crop.top, ==, 0);
    g_assert_cmpuint(p->crop.width, ==, 640);
    g_assert_cmpuint(p->crop.height, ==, 480);
}

static void test_open_defaults_decode(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint32_t out;

    add_inputs(s);
    add_outputs(s, 1, QVV_SCATTERED);
    out = get(s, 0);
    PUT(s, 0, 3, format(640, 480), frame(17));
    expect_frame(s, 0, out, 17, 3);
}

static void test_close_later_commands(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    assert_decodes(s);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    assert_all_commands_fail(r, 0);
}

static void test_close_not_open(Rig *r)
{
    assert_all_commands_fail(r, 3);
    assert_all_commands_fail(r, r->d->max_streams);
    assert_all_commands_fail(r, ~0u);
}

static void test_close_cancels(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    const uint32_t cookies[] = {
        hang(s, 0),
        PUT(s, 1, 0, HEADER, frame(1)),
        qvv_drain(r->d, 0),
        qvv_get_params(r->d, 0, INPUT, CODED_SET),
        get(s, 0),
        get(s, 1),
    };

    expect_canceled(r->d, cookies, ARRAY_SIZE(cookies),
                    qvv_close(r->d, 0));
    qvv_assert_quiet(r->d, QUIET);
}

static void test_close_not_canceled(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t close, reset;

    hang_hard(s, 0, 100);
    qvv_hold(r->d);
    close = qvv_close(r->d, 0);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    qvv_flush(r->d);
    qvv_assert_error(r->d, reset);
    qvv_assert_ok(r->d, close);
}

static void test_close_frees_id(Rig *r)
{
    for (unsigned i = 0; i < 5; i++) {
        TestStream *s = test_stream(r, 2);

        hang(s, 0);
        qvv_assert_ok(r->d, qvv_close(r->d, 2));
    }
    assert_decodes(test_stream(r, 2));
}

static void test_close_detaches(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(QVVEvent) coded = NULL;
    g_autoptr(QVVEvent) raw = NULL;

    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    s = bare_stream(r, 0);
    coded = get_params(s, CODED_SET);
    raw = get_params(s, RAW_SET);
    g_assert_cmpuint(coded->params.num_resources, ==, 0);
    g_assert_cmpuint(coded->params.n_attached, ==, 0);
    g_assert_cmpuint(raw->params.num_resources, ==, 0);
    g_assert_cmpuint(raw->params.n_attached, ==, 0);
}

/* One stream's codec that does not listen is no other stream's business */
static void test_close_hanging_codec(Rig *r)
{
    TestStream *bad = test_stream(r, 0);
    TestStream *good = test_stream(r, 1);
    int64_t began = g_get_monotonic_time();
    uint32_t close;

    hang_hard(bad, 0, 1000);
    close = qvv_close(r->d, 0);
    assert_decodes(good);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 900 * MS);
    qvv_assert_ok(r->d, close);
}

static void test_close_no_thread(Rig *r)
{
    unsigned before = n_threads(r->qts);

    for (uint32_t id = 0; id < 4; id++) {
        assert_decodes(test_stream(r, id));
    }
    for (uint32_t id = 0; id < 4; id++) {
        qvv_assert_ok(r->d, qvv_close(r->d, id));
    }
    wait_threads(r, before);
}

/* Each answer repeats type, stream and cookie */
static void test_events_echo(Rig *r)
{
    static const uint32_t cookies[] = { 0, 1, 0x80000000, ~0u };

    for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
        Command c = command(VIRTIO_VIDEO_CMD_STREAM_OPEN, 3 + i, MAIN);
        g_autoptr(QVVEvent) ev = NULL;

        c.words[3] = cpu_to_le32(cookies[i]);
        qvv_cmd_raw(r->d, &c, 20, 0, NULL, 0, SOON);
        ev = qvv_next(r->d, SOON);
        g_assert_nonnull(ev);
        g_assert_cmphex(ev->type, ==, VIRTIO_VIDEO_CMD_STREAM_OPEN);
        g_assert_cmphex(ev->stream, ==, 3 + i);
        g_assert_cmphex(ev->cookie, ==, cookies[i]);
        g_assert_cmphex(ev->flags, ==, F_OK);
        g_assert_cmpuint(ev->len, ==, 16);
    }
}

static void test_error_closes(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t bad, later;

    assert_decodes(s);
    qvv_hold(r->d);
    bad = PUT(s, 0, 1, fail("the test said so"));
    later = PUT(s, 1, 2, HEADER, frame(1));
    qvv_flush(r->d);
    /* That it was what has failed is told of one only */
    qvv_assert_error(r->d, bad);
    qvv_assert_canceled(r->d, later);
    expect_stream_error(r->d, 0);
    assert_all_commands_fail(r, 0);
    assert_device_works(r);
}

/*
 * Limits
 */

/* That wait in a stream's input queue, with the one that is worked on */
#define MAX_COMMANDS 256

/*
 * More commands than the device keeps for a stream, which are errors: none is
 * lost, though
 */
static void test_limits_commands(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);
    uint32_t over, reset, cookies[MAX_COMMANDS + 40];
    uint32_t first = hang(s, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
        cookies[i] = i % 4 == 0 ? qvv_get_params(r->d, 0, INPUT, RAW_SET) :
                     i % 4 == 1 ? qvv_set_params(r->d, 0, INPUT, set) :
                                  qvv_drain(r->d, 0);
    }
    over = qvv_set_params(r->d, 0, MAIN, set);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    qvv_assert_error(r->d, over);
    for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
        expect(r->d, cookies[i],
               i < MAX_COMMANDS - 1 ? F_CANCELED : F_ERROR);
    }
    qvv_assert_canceled(r->d, first);
    qvv_assert_ok(r->d, reset);
    assert_decodes(s);
}

/*
 * All of them
 */

static const TestCase cases[] = {
    { "malformed/short-command-breaks-device", test_malformed_short,
      .opts = { .event_buffers = 4 } },
    { "malformed/no-type-breaks-device", test_malformed_no_type,
      .opts = { .event_buffers = 4 } },
    { "malformed/query-caps-without-room-breaks-device",
      test_malformed_query_caps, .opts = { .event_buffers = 4 } },
    { "malformed/broken-device-is-silent", test_malformed_mid_stream },

    { "commands/may-be-split", test_request_split },
    { "commands/complete-with-length-0", test_request_length_0 },
    { "commands/unknown-is-error", test_unknown_command },
    { "commands/unknown-without-header-is-ignored",
      test_unknown_short_command },
    { "commands/wrong-queue-type-is-error", test_wrong_queue_type },

    { "open/id-out-of-range-is-error", test_open_out_of_range },
    { "open/all-ids-at-once", test_open_all_ids },
    { "open/open-id-is-error", test_open_twice },
    { "open/unknown-stream-type-is-error", test_open_unknown_type },
    { "open/encoder-not-negotiated-is-error",
      test_open_encoder_not_negotiated,
      .opts = { .features = VERSION_1 | FEATURE(DECODER) |
                            FEATURE(RESOURCE_GUEST_PAGES) } },
    { "open/defaults-can-be-read", test_open_defaults },
    { "open/defaults-decode", test_open_defaults_decode },

    { "close/every-later-command-is-error", test_close_later_commands },
    { "close/not-open-is-error", test_close_not_open },
    { "close/all-canceled-before-response", test_close_cancels },
    { "close/cannot-be-canceled", test_close_not_canceled },
    { "close/frees-the-id", test_close_frees_id },
    { "close/detaches-all", test_close_detaches },
    { "close/hanging-codec-delays-no-other-stream",
      test_close_hanging_codec },
    { "close/leaves-no-thread", test_close_no_thread },

    { "stream-error/closes-the-stream", test_error_closes },

    { "events/type-stream-and-cookie-are-repeated", test_events_echo },

    { "limits/commands-of-a-stream", test_limits_commands },
};

static void register_virtio_video_command_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_command_test);
