/*
 * QTest testcases of virtio-video: query-virtio-video and info virtio-video
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "virtio-video-fixture.h"

/* What it says of the only device; to be freed with qobject_unref() */
static QDict *query(Rig *r)
{
    g_autoptr(QDict) resp = qtest_qmp(r->qts,
                                      "{ 'execute': 'query-virtio-video' }");
    QList *list = qdict_get_qlist(resp, "return");
    QDict *device;

    g_assert_nonnull(list);
    g_assert_cmpuint(qlist_size(list), ==, 1);
    device = qobject_to(QDict, qlist_peek(list));
    qobject_ref(device);
    return device;
}

/* What it says of the only stream; to be freed with qobject_unref() */
static QDict *query_stream(Rig *r)
{
    g_autoptr(QDict) device = query(r);
    QList *list = qdict_get_qlist(device, "streams");
    QDict *stream;

    g_assert_cmpuint(qlist_size(list), ==, 1);
    stream = qobject_to(QDict, qlist_peek(list));
    qobject_ref(stream);
    return stream;
}

static void assert_queue(QDict *stream, const char *name, int64_t queued,
                         int64_t buffers, int64_t bytes, int64_t errors)
{
    QDict *queue = qdict_get_qdict(stream, name);

    g_assert_cmpint(qdict_get_int(queue, "queued"), ==, queued);
    g_assert_cmpint(qdict_get_int(queue, "buffers"), ==, buffers);
    g_assert_cmpint(qdict_get_int(queue, "bytes"), ==, bytes);
    g_assert_cmpint(qdict_get_int(queue, "errors"), ==, errors);
}

static void assert_state(Rig *r, const char *state)
{
    g_autoptr(QDict) stream = query_stream(r);

    g_assert_cmpstr(qdict_get_str(stream, "state"), ==, state);
}

static void test_device(Rig *r)
{
    g_autoptr(QDict) device = query(r);
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

/* Of what was answered, and only that */
static void test_counters(Rig *r)
{
    const int64_t frame_bytes = WIDTH * HEIGHT * 3 / 2;
    TestStream *s = test_stream(r, 3);
    g_autoptr(QDict) stream = NULL;
    uint32_t in[3], out[4];

    in[0] = PUT(s, 0, 0, HEADER, frame(1));
    in[1] = PUT(s, 1, 1, insn(VIDEO_TEST_BAD, 0));
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
    g_assert_cmpint(qdict_get_int(stream, "width"), ==, WIDTH);
    g_assert_cmpint(qdict_get_int(stream, "height"), ==, HEIGHT);
    g_assert_cmpint(qdict_get_int(stream, "crop-width"), ==, WIDTH);
    g_assert_cmpint(qdict_get_int(stream, "crop-height"), ==, HEIGHT);
    g_assert_cmpstr(qdict_get_str(stream, "engine"), ==, "script");
    g_assert_cmpint(qdict_get_int(stream, "codec-time"), >, 0);
    assert_queue(stream, "input", 0, 2, 3 * sizeof(VideoTestInsn), 1);
    assert_queue(stream, "output", 2, 1, frame_bytes, 1);
    qvv_queue_reset(r->d, 3, OUTPUT);
    qvv_assert_canceled(r->d, out[2]);
    qvv_assert_canceled(r->d, out[3]);
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
    g_autoptr(QDict) before = query(r);
    TestStream *s = test_stream(r, 0);
    g_autoptr(QDict) after = NULL;

    PUT(s, 0, 0, fail("as the test wants"));
    expect_stream_error(r->d, 0);
    after = query(r);
    g_assert_cmpint(qdict_get_int(after, "streams-opened"), ==,
                    qdict_get_int(before, "streams-opened") + 1);
    g_assert_cmpint(qdict_get_int(after, "streams-failed"), ==,
                    qdict_get_int(before, "streams-failed") + 1);
}

static void test_memory(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(QDict) device = query(r);
    g_autoptr(QDict) after = NULL;

    g_assert_nonnull(s);
    g_assert_cmpint(qdict_get_int(device, "memory"), >, 0);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    after = query(r);
    g_assert_cmpint(qdict_get_int(after, "memory"), ==, 0);
}

static void test_info(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autofree char *text = NULL;

    assert_decodes(s);
    text = qtest_hmp(r->qts, "info virtio-video");
    g_assert_nonnull(strstr(text, "video-codec-test (/objects/codec0)"));
    g_assert_nonnull(strstr(text, "stream 0: decoder, idle, h264 to NV12, "
                                  "64x48, visible 64x48+0+0"));
    g_assert_nonnull(strstr(text, "engine: script"));
    g_assert_nonnull(strstr(text, "input: 0 queued, 1 buffers"));
    g_assert_nonnull(strstr(text, "output: 0 queued, 1 buffers"));
}

static const TestCase cases[] = {
    { "query/device-without-streams", test_device,
      .device = ",max-streams=5,max-mem=1M" },
    { "query/counts-at-completion", test_counters },
    { "query/states-of-a-stream", test_states },
    { "query/closing-stream", test_closing },
    { "query/failed-streams", test_failed },
    { "query/memory-of-requests", test_memory },
    { "query/info-prints-the-same", test_info },
};

static void register_virtio_video_monitor_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_monitor_test);
