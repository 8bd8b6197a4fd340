/*
 * QTest testcases of virtio-media: query-virtio-video, info virtio-video and
 * trace events
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "virtio-media-fixture.h"
#include "virtio-video-monitor-fixture.h"

/* OUTPUT buffer @index comes back with ERROR; others are dropped */
static void expect_bad_input(Session *s, uint32_t index)
{
    QVMEvent ev;

    do {
        g_assert_true(qvm_next(s->d, s->id, &ev, QVV_TIMEOUT_US));
    } while (ev.event != VIRTIO_MEDIA_EVT_DQBUF || ev.type != QVM_OUTPUT ||
             ev.index != index);
    g_assert_true(ev.flags & VM_BUF_FLAG_ERROR);
}

/* A session's stream is a stream like any other */
static void test_media_counters(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);
    g_autoptr(QDict) stream = NULL;

    PUT_MEDIA(s, 1, 1, corrupt_frame(2));
    expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_ERROR);
    PUT_MEDIA(s, 2, 2, insn(VIDEO_TEST_BAD, 0));
    expect_bad_input(s, 2);

    stream = query_stream(r);
    g_assert_cmpint(qdict_get_int(stream, "id"), ==, s->id % 256);
    g_assert_cmpstr(qdict_get_str(stream, "direction"), ==, "decoder");
    g_assert_cmpstr(qdict_get_str(stream, "state"), ==, "idle");
    g_assert_cmpstr(qdict_get_str(stream, "coded-format"), ==, "h264");
    g_assert_cmpstr(qdict_get_str(stream, "raw-format"), ==, "NV12");
    assert_size(stream, WIDTH, HEIGHT, &(QVVRect) { 0, 0, WIDTH, HEIGHT });
    g_assert_cmpstr(qdict_get_str(stream, "engine"), ==, "script");
    g_assert_cmpint(qdict_get_int(stream, "codec-time"), >, 0);
    g_assert_cmpint(qdict_get_int(stream, "pixels-copied"), ==,
                    2 * FRAME_BYTES);
    assert_queue(stream, "input", 0, 3, 3 * sizeof(VideoTestInsn), 1);
    assert_queue(stream, "output", N_CAPTURES - 2, 1, FRAME_BYTES, 1);
    assert_info(r);
}

static void test_media_states(Rig *r)
{
    g_autoptr(Session) s = session_open(r);

    assert_state(r, "idle");
    start_output(s, best_memory(r));
    PUT_MEDIA(s, 0, 0, insn(VIDEO_TEST_HANG, 0));
    assert_state(r, "running");
    g_assert_cmpint(qvm_decoder_cmd(s->d, s->id, VM_CODEC_CMD_STOP), ==, 0);
    assert_state(r, "draining");
    g_assert_cmpint(qvm_streamoff(s->d, s->id, QVM_OUTPUT), ==, 0);
    g_assert_cmpint(qvm_streamon(s->d, s->id, QVM_OUTPUT), ==, 0);
    assert_state(r, "idle");
    PUT_MEDIA(s, 0, 0, HEADER, frame(1));
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    assert_state(r, "blocked");
}

static void test_media_failed(Rig *r)
{
    g_autoptr(QDict) before = query_device(r);
    g_autoptr(Session) s = session_open(r);

    start_output(s, best_memory(r));
    PUT_MEDIA(s, 0, 0, fail("as the test wants"));
    expect_event(s, VM_EVENT_EOS);
    assert_one_failed(r, before);
}

/* Of V4L2: commands and their answers, buffers and events */
static void test_media_trace(Rig *first)
{
    char *file;
    g_autofree char *log = NULL;
    const char *at;
    Rig *r = traced_rig(NULL, &file);
    Session *s;
    uint32_t id;
    QVMEvent ev;

    if (!r) {
        return;
    }
    s = session_start(r, best_memory(r), WIDTH * 2, HEIGHT * 2);
    id = s->id;
    PUT_MEDIA(s, 1, 71, insn(VIDEO_TEST_BAD, 0));
    expect_bad_input(s, 1);
    g_assert_cmpint(qvm_streamon(s->d, id, 4711), ==, VM_EINVAL);
    PUT_MEDIA(s, 2, 73, fail("as the test wants"));
    do {
        g_assert_true(qvm_next(s->d, id, &ev, QVV_TIMEOUT_US));
    } while (ev.event != VIRTIO_MEDIA_EVT_EVENT);
    session_free(s);
    at = log = traced_log(r, file);

    expect_line(&at, "^media_command " DEV "cmd %u ", VIRTIO_MEDIA_CMD_OPEN);
    expect_line(&at, "^media_open " DEV "session 0x%x$", id);
    expect_line(&at, "^media_answer " DEV "status 0 size 8$");
    expect_line(&at, "^media_ioctl " DEV "session 0x%x ioctl %u ", id,
                VM_IOC_S_FMT);
    expect_line(&at, "^video_stream_format virtio-media: stream %u: coded [0-9]"
                " fourcc 0x3231564e 64x48 visible \\+0\\+0 64x48$", id % 256);
    expect_line(&at, "^media_format " DEV "session 0x%x type %u pixelformat "
                "0x%08x 64x48 sizeimage 4096$", id, QVM_OUTPUT,
                VM_PIX_FMT_H264);
    expect_line(&at, "^media_answer " DEV "status 0 size %zu$",
                sizeof(struct vm_format));
    expect_line(&at, "^media_qbuf " DEV "session 0x%x type %u index 0 ", id,
                QVM_OUTPUT);
    expect_line(&at, "^video_stream_dpc virtio-media: stream %u: changed 1 "
                "fourcc 0x3231564e 128x96 visible \\+0\\+0 128x96$", id % 256);
    expect_line(&at, "^video_stream_format virtio-media: stream %u: coded [0-9]"
                " fourcc 0x3231564e 128x96 ", id % 256);
    expect_line(&at, "^media_event " DEV "session 0x%x type %u ", id,
                VM_EVENT_SOURCE_CHANGE);
    expect_line(&at, "^media_dqbuf " DEV "session 0x%x type %u index 0 flags "
                "0x[0-9a-f]+ bytesused 18432$", id, QVM_CAPTURE);
    expect_line(&at, "^video_stream_bad_input virtio-media: stream %u: the "
                "input of timestamp 71000 is bad$", id % 256);
    expect_line(&at, "^media_dqbuf " DEV "session 0x%x type %u index 1 ", id,
                QVM_OUTPUT);
    expect_line(&at, "^media_ioctl " DEV "session 0x%x ioctl %u size 4$", id,
                VM_IOC_STREAMON);
    expect_line(&at, "^media_answer " DEV "status %u size 0$", VM_EINVAL);
    expect_line(&at, "^video_stream_failed virtio-media: stream %u: as the "
                "test wants$", id % 256);
    expect_line(&at, "^media_event " DEV "session 0x%x type %u ", id,
                VM_EVENT_EOS);
    expect_line(&at, "^media_command " DEV "cmd %u ", VIRTIO_MEDIA_CMD_CLOSE);
    expect_line(&at, "^media_close " DEV "session 0x%x$", id);
    /* All but the CLOSE */
    g_assert_cmpuint(count_lines(log, "^media_command "), ==,
                     count_lines(log, "^media_answer ") + 1);
    g_assert_cmpuint(count_lines(log, "^virtio-media: "), ==, 0);
}

static const TestCase cases[] = {
    { "media/query/counts-at-completion", test_media_counters },
    { "media/query/states-of-a-session", test_media_states },
    { "media/query/failed-sessions", test_media_failed },
    { "media/trace/commands-formats-and-failures", test_media_trace },
};

static void register_virtio_media_monitor_test(void)
{
    virtio_media_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_media_monitor_test);
