/*
 * QTest testcases of virtio-video: query-virtio-video, info virtio-video and
 * trace events
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qlist.h"
#include "virtio-video-encoder-fixture.h"
#include "virtio-video-monitor-fixture.h"

/* Instruction: what is coded is marked as bad */
static VideoTestInsn bad_coded(void)
{
    VideoTestInsn insn = coded(0, 0, 0);

    insn.args[2] = VIDEO_TEST_FRAME_CORRUPT;
    return insn;
}

static void test_device(Rig *r)
{
    g_autoptr(QDict) device = query_device(r);
    g_autofree char *path = NULL;

    g_assert_true(g_str_has_suffix(qdict_get_str(device, "path"),
                                   r->v->pci ? "/virtio-backend" : ""));
    g_assert_cmpstr(qdict_get_str(device, "codec"), ==, "video-codec-test");
    g_assert_cmpstr(qdict_get_str(device, "codec-path"), ==,
                    "/objects/codec0");
    g_assert_cmpint(qdict_get_int(device, "max-streams"), ==, 5);
    g_assert_cmpint(qdict_get_int(device, "memory"), ==, 0);
    g_assert_cmpint(qdict_get_int(device, "max-memory"), ==, 1 << 20);
    g_assert_cmpint(qdict_get_int(device, "events-waiting"), ==, 0);
    g_assert_true(qlist_empty(qdict_get_qlist(device, "streams")));
}

/* The codec takes at least so long */
#define CODEC_MS 20

/* Of what was answered, and only that */
static void test_counters(Rig *r)
{
    TestStream *s = test_stream(r, 3);
    g_autoptr(QDict) stream = NULL;
    uint32_t in[3], out[4];

    in[0] = PUT(s, 0, 0, HEADER, frame(1));
    in[1] = PUT(s, 1, 1, insn(VIDEO_TEST_HANG_HARD, CODEC_MS),
                insn(VIDEO_TEST_BAD, 0));
    in[2] = PUT(s, 2, 2, corrupt_frame(2));
    for (unsigned i = 0; i < 4; i++) {
        out[i] = get(s, i);
    }
    expect(r->d, in[0], F_OK);
    expect(r->d, in[1], F_ERROR);
    expect(r->d, in[2], F_OK);
    expect(r->d, out[0], F_OK);
    expect(r->d, out[1], F_ERROR);

    stream = query_stream(r);
    g_assert_cmpint(qdict_get_int(stream, "id"), ==, 3);
    g_assert_cmpstr(qdict_get_str(stream, "direction"), ==, "decoder");
    g_assert_cmpstr(qdict_get_str(stream, "state"), ==, "idle");
    g_assert_cmpstr(qdict_get_str(stream, "coded-format"), ==, "h264");
    g_assert_cmpstr(qdict_get_str(stream, "raw-format"), ==, "NV12");
    assert_size(stream, WIDTH, HEIGHT, &(QVVRect) { 0, 0, WIDTH, HEIGHT });
    g_assert_cmpstr(qdict_get_str(stream, "engine"), ==, "script");
    g_assert_cmpint(qdict_get_int(stream, "codec-time"), >=,
                    CODEC_MS * 1000 * 1000);
    /* That of the corrupt frame, too */
    g_assert_cmpint(qdict_get_int(stream, "pixels-copied"), ==,
                    2 * FRAME_BYTES);
    assert_queue(stream, "input", 0, 2, 3 * sizeof(VideoTestInsn), 1);
    assert_queue(stream, "output", 2, 1, FRAME_BYTES, 1);
    qvv_queue_reset(r->d, 3, OUTPUT);
    qvv_assert_canceled(r->d, out[2]);
    qvv_assert_canceled(r->d, out[3]);
}

/*
 * Two good frames and a bad one, then two of another size of the picture, with
 * a codec of its own; the last one's coded data are bad.  Two outputs are left.
 */
static void test_encoder_counters(Rig *r)
{
    const int64_t frame_bytes = WIDTH * HEIGHT * 3 / 2;
    const QVVRect picture = { 8, 4, 48, 32 };
    TestStream *s = encoder(r, 2);
    g_autoptr(QDict) stream = NULL;
    uint32_t in[5], out[6], bytes;

    for (unsigned i = 0; i < 6; i++) {
        out[i] = get(s, i);
    }
    in[0] = encode(s, 0, 0, 10);
    in[1] = ENCODE(s, 1, 1, insn(VIDEO_TEST_BAD, 0));
    in[2] = ENCODE(s, 2, 2, coded(1000, 2, VIDEO_FRAME_B));
    qvv_assert_ok(r->d, in[0]);
    qvv_assert_error(r->d, in[1]);
    qvv_assert_ok(r->d, in[2]);
    bytes = expect_coded(s, 0, out[0], KEY).size;
    bytes += expect_coded(s, 1, out[1], B_FRAME).size;
    g_assert_cmpuint(bytes, ==, sizeof(VideoTestCoded) + 1000);

    g_assert_cmpuint(set_crop(s, picture.left, picture.top, picture.width,
                              picture.height).width, ==, picture.width);
    qvv_assert_ok(r->d, encode(s, 3, 3, 11));
    bytes += expect_coded(s, 2, out[2], KEY).size;
    set_crop(s, 0, 0, picture.width, picture.height);
    qvv_assert_ok(r->d, ENCODE(s, 4, 4, bad_coded()));
    qvv_assert_error(r->d, out[3]);
    set_crop(s, picture.left, picture.top, picture.width, picture.height);

    stream = query_stream(r);
    g_assert_cmpint(qdict_get_int(stream, "id"), ==, 2);
    g_assert_cmpstr(qdict_get_str(stream, "direction"), ==, "encoder");
    g_assert_cmpstr(qdict_get_str(stream, "state"), ==, "idle");
    g_assert_cmpstr(qdict_get_str(stream, "coded-format"), ==, "h264");
    g_assert_cmpstr(qdict_get_str(stream, "raw-format"), ==, "NV12");
    g_assert_cmpint(qdict_get_int(stream, "width"), ==, WIDTH);
    g_assert_cmpint(qdict_get_int(stream, "height"), ==, HEIGHT);
    g_assert_cmpint(qdict_get_int(stream, "crop-left"), ==, picture.left);
    g_assert_cmpint(qdict_get_int(stream, "crop-top"), ==, picture.top);
    g_assert_cmpint(qdict_get_int(stream, "crop-width"), ==, picture.width);
    g_assert_cmpint(qdict_get_int(stream, "crop-height"), ==, picture.height);
    g_assert_cmpstr(qdict_get_str(stream, "engine"), ==, "script");
    g_assert_cmpint(qdict_get_int(stream, "codec-time"), >, 0);
    /* By the codec that there is now */
    g_assert_cmpint(qdict_get_int(stream, "pixels-copied"), ==,
                    2 * picture.width * picture.height * 3 / 2);
    assert_queue(stream, "input", 0, 4, 4 * frame_bytes, 1);
    assert_queue(stream, "output", 2, 3, bytes, 1);
}

static void test_states(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(QDict) stream = query_stream(r);
    uint32_t drain;

    /* No input yet, so no codec */
    g_assert_false(qdict_haskey(stream, "engine"));
    g_assert_cmpstr(qdict_get_str(stream, "state"), ==, "idle");
    hang(s, 0);
    assert_state(r, "running");
    drain = qvv_drain(r->d, 0);
    wait_commands(r->d);
    assert_state(r, "draining");
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    qvv_assert_canceled(r->d, drain);
    assert_state(r, "idle");

    PUT(s, 0, 0, format(WIDTH * 2, HEIGHT), frame(1));
    qvv_event_free(qvv_wait_standalone(r->d,
                                       VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS));
    assert_state(r, "blocked");
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
}

/* An encoder's input waits for its codec, and a drain for its output */
static void test_encoder_states(Rig *r)
{
    TestStream *s = encoder(r, 0);
    g_autoptr(QDict) stream = query_stream(r);
    g_autoptr(QDict) busy = NULL;
    uint32_t in[2], drain, out;

    g_assert_false(qdict_haskey(stream, "engine"));
    g_assert_cmpstr(qdict_get_str(stream, "state"), ==, "idle");
    in[0] = ENCODE(s, 0, 0, insn(VIDEO_TEST_HANG, 0));
    in[1] = encode(s, 1, 1, 2);
    wait_commands(r->d);
    busy = query_stream(r);
    g_assert_cmpstr(qdict_get_str(busy, "state"), ==, "running");
    assert_queue(busy, "input", 2, 0, 0, 0);
    assert_queue(busy, "output", 0, 0, 0, 0);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    qvv_assert_canceled(r->d, in[0]);
    qvv_assert_canceled(r->d, in[1]);

    qvv_assert_ok(r->d, encode(s, 0, 2, 3));
    drain = qvv_drain(r->d, 0);
    wait_commands(r->d);
    assert_state(r, "draining");
    out = get(s, 0);
    expect_coded(s, 0, out, KEY);
    qvv_assert_ok(r->d, drain);
    assert_state(r, "idle");
}

/* The id is free again, but the codec does not let go */
static void test_closing(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t close;

    hang_hard(s, 0, 300);
    close = qvv_close(r->d, 0);
    wait_commands(r->d);
    assert_state(r, "closing");
    qvv_assert_ok(r->d, close);
}

/* Other tests may have had the same QEMU before */
static void test_failed(Rig *r)
{
    g_autoptr(QDict) before = query_device(r);
    TestStream *s = test_stream(r, 0);

    PUT(s, 0, 0, fail("as the test wants"));
    expect_stream_error(r->d, 0);
    assert_one_failed(r, before);
}

static void test_memory(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(QDict) device = query_device(r);
    g_autoptr(QDict) after = NULL;

    g_assert_nonnull(s);
    g_assert_cmpint(qdict_get_int(device, "memory"), >, 0);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    after = query_device(r);
    g_assert_cmpint(qdict_get_int(after, "memory"), ==, 0);
}

static void test_visible(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);
    g_autoptr(QDict) stream = NULL;

    PUT(s, 0, 0, format_crop(WIDTH, HEIGHT, 2, 4, 32, 24, 8), frame(1));
    expect_frame(s, 0, out, 1, 0);
    stream = query_stream(r);
    assert_size(stream, WIDTH, HEIGHT, &(QVVRect) { 2, 4, 32, 24 });
}

static void test_info(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autofree char *text = NULL;

    assert_decodes(s);
    qvv_assert_error(r->d, PUT(s, 1, 1, insn(VIDEO_TEST_BAD, 0)));
    text = qtest_hmp(r->qts, "info virtio-video");
    g_assert_nonnull(strstr(text, "video-codec-test (/objects/codec0)"));
    g_assert_nonnull(strstr(text, "stream 0: decoder, idle, h264 to NV12, "
                                  "64x48, visible 64x48+0+0"));
    g_assert_nonnull(strstr(text, "engine: script"));
    g_assert_nonnull(strstr(text, "4608 bytes copied"));
    g_assert_nonnull(strstr(text, "input: 0 queued, 1 buffers, 80 bytes, "
                                  "1 errors"));
    g_assert_nonnull(strstr(text, "output: 0 queued, 1 buffers, 4608 bytes, "
                                  "0 errors"));
    assert_info(r);
}

/*
 * Trace events
 */

#define COMMAND "^virtio_video_command " DEV
#define EVENT "^virtio_video_event " DEV

/* Each command is there, and each has one answer */
static void test_trace_commands(Rig *first)
{
    char *file;
    g_autofree char *log = NULL;
    g_autoptr(GMatchInfo) info = NULL;
    Rig *r = traced_rig(NULL, &file);
    TestStream *s;
    unsigned n = 0;

    if (!r) {
        return;
    }
    qvv_caps_free(query_caps(r));
    s = test_stream(r, 3);
    assert_decodes(s);
    qvv_event_free(get_params(s, RAW_SET));
    qvv_assert_ok(r->d, qvv_drain(r->d, 3));
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 3, OUTPUT));
    qvv_assert_error(r->d, qvv_unblock(r->d, 3));
    qvv_assert_ok(r->d, qvv_close(r->d, 3));
    log = traced_log(r, file);

    g_assert_cmpuint(count_lines(log, "^virtio_video_query_caps " DEV), ==, 1);
    for (uint32_t type = VIRTIO_VIDEO_CMD_STREAM_OPEN;
         type <= VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE; type++) {
        g_autofree char *command = g_strdup_printf(COMMAND "type 0x%x stream 3 "
                                                   "queue [012] cookie 0x",
                                                   type);

        g_assert_cmpuint(count_lines(log, command), >, 0);
    }
    info = match_lines(log, COMMAND "(type 0x2.. stream 3) queue [012] "
                       "(cookie 0x[0-9a-f]+) size ");
    for (; g_match_info_matches(info); g_match_info_next(info, NULL)) {
        g_autofree char *to = g_match_info_fetch(info, 1);
        g_autofree char *cookie = g_match_info_fetch(info, 2);
        g_autofree char *event = g_strdup_printf(EVENT "%s %s flags 0x",
                                                 to, cookie);

        g_assert_cmpuint(count_lines(log, event), ==, 1);
        n++;
    }
    g_assert_cmpuint(count_lines(log, EVENT), ==, n);
}

/* Who sets a format, guest or codec, is no matter */
static void test_trace_formats(Rig *first)
{
    char *file;
    g_autofree char *log = NULL;
    const char *at;
    Rig *r = traced_rig(NULL, &file);
    GByteArray *set = qvv_set_new(CODED_SET);

    if (!r) {
        g_byte_array_unref(set);
        return;
    }
    PUT(test_stream(r, 3), 0, 0,
        format_crop(WIDTH * 2, HEIGHT * 2, 2, 4, 100, 90, 8), frame(1));
    qvv_event_free(qvv_wait_standalone(r->d,
                                       VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS));
    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_VP8);
    set_params_ok(bare_stream(r, 1), set);
    at = log = traced_log(r, file);

    expect_line(&at, COMMAND "type 0x202 stream 3 ");
    expect_line(&at, "^video_stream_format virtio-video: stream 3: coded [0-9] "
                "fourcc 0x3231564e 64x48 visible \\+0\\+0 64x48$");
    expect_line(&at, EVENT "type 0x202 stream 3 ");
    expect_line(&at, "^video_stream_session virtio-video: stream 3: ");
    expect_line(&at, "^video_stream_dpc virtio-video: stream 3: changed 1 "
                "fourcc 0x3231564e 128x96 visible \\+2\\+4 100x90$");
    expect_line(&at, "^video_stream_format virtio-video: stream 3: coded [0-9] "
                "fourcc 0x3231564e 128x96 visible \\+2\\+4 100x90$");
    expect_line(&at, EVENT "type 0x202 stream 3 cookie 0x0 flags 0xa$");
    expect_line(&at, COMMAND "type 0x202 stream 1 ");
    expect_line(&at, "^video_stream_format virtio-video: stream 1: ");
    expect_line(&at, EVENT "type 0x202 stream 1 ");
    g_assert_cmpuint(count_lines(log, "^video_stream_format "), ==, 3);
}

/* What the codec can't do is not logged as the guest's fault */
static void test_trace_failures(Rig *first)
{
    char *file;
    g_autofree char *log = NULL;
    const char *at;
    Rig *r = traced_rig(NULL, &file);
    TestStream *s;
    uint32_t in, out;

    if (!r) {
        return;
    }
    s = test_stream(r, 3);
    qvv_assert_error(r->d, qvv_open(r->d, 3, DECODER));
    out = get(s, 0);
    in = PUT(s, 0, 71, insn(VIDEO_TEST_BAD, 0));
    expect(r->d, in, F_ERROR);
    PUT(s, 1, 72, HEADER, corrupt_frame(1));
    expect(r->d, out, F_ERROR);
    PUT(s, 2, 73, fail("as the test wants"));
    expect_stream_error(r->d, 3);
    at = log = traced_log(r, file);

    expect_line(&at, COMMAND "type 0x200 stream 3 queue 0 cookie 0x");
    expect_line(&at, EVENT "type 0x200 stream 3 cookie 0x[0-9a-f]+ flags 0x0$");
    expect_line(&at, "^video_device_guest_error " DEV
                "stream 3, command 0x200: ");
    expect_line(&at, "^virtio-video: stream 3, command 0x200: ");
    expect_line(&at, EVENT "type 0x200 stream 3 cookie 0x[0-9a-f]+ flags 0x1$");
    expect_line(&at, "^video_stream_bad_input virtio-video: stream 3: the "
                "input of timestamp 71 is bad$");
    expect_line(&at, EVENT "type 0x207 stream 3 cookie 0x%x flags 0x1$", in);
    expect_line(&at, "^video_stream_bad_output virtio-video: stream 3: what "
                "was made of timestamp 72 ");
    expect_line(&at, EVENT "type 0x207 stream 3 cookie 0x%x flags 0x1$", out);
    expect_line(&at, "^video_stream_failed virtio-video: stream 3: as the test "
                "wants$");
    expect_line(&at, EVENT "type 0x201 stream 3 cookie 0x0 flags 0x3$");
    g_assert_cmpuint(count_lines(log, "as the test wants$"), ==, 1);
    g_assert_cmpuint(count_lines(log, "^virtio-video: "), ==, 1);
}

/* A codec that hangs when its stream is closed */
static void test_trace_overdue(Rig *first)
{
    char *file;
    g_autofree char *log = NULL;
    const char *at;
    Rig *r = traced_rig(NULL, &file);

    if (!r) {
        return;
    }
    hang_hard(test_stream(r, 3), 0, VIDEO_TEST_MAX_WAIT);
    qvv_assert_ok(r->d, qvv_close(r->d, 3));
    at = log = traced_log(r, file);
    expect_line(&at, COMMAND "type 0x201 stream 3 ");
    expect_line(&at, "^video_stream_overdue virtio-video: stream 3: the codec "
                "has not let go$");
    expect_line(&at, EVENT "type 0x201 stream 3 cookie 0x[0-9a-f]+ flags 0x0$");
}

/* Buffers that are too small, and commands that are none */
static void test_trace_malformed(Rig *first)
{
    const QVVOptions opts = { .event_size = 32 };
    const uint32_t type = cpu_to_le32(VIRTIO_VIDEO_CMD_STREAM_OPEN);
    char *file;
    g_autofree char *log = NULL;
    const char *at;
    Rig *r = traced_rig(&opts, &file);

    if (!r) {
        return;
    }
    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
    qvv_assert_error(r->d, qvv_get_params(r->d, 0, MAIN, RAW_SET));
    qvv_cmd(r->d, &type, sizeof(type));
    wait_broken(r);
    at = log = traced_log(r, file);
    expect_line(&at, COMMAND "type 0x203 stream 0 ");
    expect_line(&at, EVENT "type 0x203 stream 0 cookie 0x[0-9a-f]+ flags 0x0$");
    expect_line(&at, "^video_device_small_buffer " DEV "event of [0-9]+ bytes, "
                "room for 32$");
    expect_line(&at, "^video_device_malformed " DEV "command of 4 bytes, room "
                "for 0$");
    expect_line(&at, "^video_device_reset " DEV "drops 1 streams 0 events$");
}

static const TestCase cases[] = {
    { "query/device-without-streams", test_device,
      .device = ",max-streams=5,max-mem=1M" },
    { "query/counts-at-completion", test_counters },
    { "query/encoder-counts-at-completion", test_encoder_counters },
    { "query/states-of-a-stream", test_states },
    { "query/states-of-an-encoder", test_encoder_states },
    { "query/closing-stream", test_closing },
    { "query/failed-streams", test_failed },
    { "query/memory-of-requests", test_memory },
    { "query/visible-rectangle", test_visible },
    { "query/info-prints-the-same", test_info },
    { "trace/commands-and-answers", test_trace_commands },
    { "trace/formats", test_trace_formats },
    { "trace/failures", test_trace_failures },
    { "trace/codec-that-hangs", test_trace_overdue },
    { "trace/malformed-command-and-small-buffer", test_trace_malformed },
};

static void register_virtio_video_monitor_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_monitor_test);
