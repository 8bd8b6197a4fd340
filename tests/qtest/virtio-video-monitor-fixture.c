/*
 * Fixture of the tests of query-virtio-video and trace events
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qlist.h"
#include "libqos/qos_external.h"
#include "virtio-video-monitor-fixture.h"

QDict *query_device(Rig *r)
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

void assert_one_failed(Rig *r, QDict *before)
{
    g_autoptr(QDict) after = query_device(r);

    g_assert_cmpint(qdict_get_int(after, "streams-opened"), ==,
                    qdict_get_int(before, "streams-opened") + 1);
    g_assert_cmpint(qdict_get_int(after, "streams-failed"), ==,
                    qdict_get_int(before, "streams-failed") + 1);
}

QDict *query_stream(Rig *r)
{
    g_autoptr(QDict) device = query_device(r);
    QList *list = qdict_get_qlist(device, "streams");
    QDict *stream;

    g_assert_cmpuint(qlist_size(list), ==, 1);
    stream = qobject_to(QDict, qlist_peek(list));
    qobject_ref(stream);
    return stream;
}

void assert_queue(QDict *stream, const char *name, int64_t queued,
                  int64_t buffers, int64_t bytes, int64_t errors)
{
    QDict *queue = qdict_get_qdict(stream, name);

    g_assert_cmpint(qdict_get_int(queue, "queued"), ==, queued);
    g_assert_cmpint(qdict_get_int(queue, "buffers"), ==, buffers);
    g_assert_cmpint(qdict_get_int(queue, "bytes"), ==, bytes);
    g_assert_cmpint(qdict_get_int(queue, "errors"), ==, errors);
}

void assert_size(QDict *stream, int64_t width, int64_t height,
                 const QVVRect *crop)
{
    g_assert_cmpint(qdict_get_int(stream, "width"), ==, width);
    g_assert_cmpint(qdict_get_int(stream, "height"), ==, height);
    g_assert_cmpint(qdict_get_int(stream, "crop-left"), ==, crop->left);
    g_assert_cmpint(qdict_get_int(stream, "crop-top"), ==, crop->top);
    g_assert_cmpint(qdict_get_int(stream, "crop-width"), ==, crop->width);
    g_assert_cmpint(qdict_get_int(stream, "crop-height"), ==, crop->height);
}

void assert_state(Rig *r, const char *state)
{
    g_autoptr(QDict) stream = query_stream(r);

    g_assert_cmpstr(qdict_get_str(stream, "state"), ==, state);
}

void assert_info(Rig *r)
{
    g_autoptr(QDict) device = query_device(r);
    g_autoptr(QDict) stream = query_stream(r);
    g_autofree char *text = qtest_hmp(r->qts, "info virtio-video");
    static const char *const queues[] = { "input", "output" };
    g_autofree char *want = NULL;
    GString *s = g_string_new(NULL);

    g_string_printf(s, "%s: %s (%s)\r\n  memory: %" PRId64 " of %" PRId64
                    " bytes, %" PRId64 " events waiting, streams: %" PRId64
                    " opened, %" PRId64 " failed\r\n",
                    qdict_get_str(device, "path"),
                    qdict_get_str(device, "codec"),
                    qdict_get_str(device, "codec-path"),
                    qdict_get_int(device, "memory"),
                    qdict_get_int(device, "max-memory"),
                    qdict_get_int(device, "events-waiting"),
                    qdict_get_int(device, "streams-opened"),
                    qdict_get_int(device, "streams-failed"));
    g_string_append_printf(s, "  stream %" PRId64 ": %s, %s, %s to %s, "
                           "%" PRId64 "x%" PRId64 ", visible %" PRId64 "x%"
                           PRId64 "+%" PRId64 "+%" PRId64 "\r\n",
                           qdict_get_int(stream, "id"),
                           qdict_get_str(stream, "direction"),
                           qdict_get_str(stream, "state"),
                           qdict_get_str(stream, "coded-format"),
                           qdict_get_str(stream, "raw-format"),
                           qdict_get_int(stream, "width"),
                           qdict_get_int(stream, "height"),
                           qdict_get_int(stream, "crop-width"),
                           qdict_get_int(stream, "crop-height"),
                           qdict_get_int(stream, "crop-left"),
                           qdict_get_int(stream, "crop-top"));
    g_string_append_printf(s, "    engine: %s, %" PRId64 " ms, %" PRId64
                           " bytes copied\r\n",
                           qdict_get_str(stream, "engine"),
                           qdict_get_int(stream, "codec-time") / 1000000,
                           qdict_get_int(stream, "pixels-copied"));
    for (unsigned i = 0; i < G_N_ELEMENTS(queues); i++) {
        QDict *q = qdict_get_qdict(stream, queues[i]);

        g_string_append_printf(s, "    %s: %" PRId64 " queued, %" PRId64
                               " buffers, %" PRId64 " bytes, %" PRId64
                               " errors\r\n", queues[i],
                               qdict_get_int(q, "queued"),
                               qdict_get_int(q, "buffers"),
                               qdict_get_int(q, "bytes"),
                               qdict_get_int(q, "errors"));
    }
    want = g_string_free(s, false);
    g_assert_cmpstr(text, ==, want);
}

/*
 * Trace events
 */

Rig *traced_rig(const QVVOptions *opts, char **file)
{
#ifdef CONFIG_TRACE_LOG
    g_autofree char *args = NULL;
    Rig *r;

    *file = temp_file();
    args = g_strdup_printf("%s -d guest_errors -trace 'virtio_video_*'"
                           " -trace 'video_*' -trace 'media_*' -D %s",
                           qos_get_current_command_line(), *file);
    r = second_rig(args);
    start(r, opts);
    return r;
#else
    g_test_skip("QEMU was built without the trace backend 'log'");
    return NULL;
#endif
}

char *traced_log(Rig *r, char *file)
{
    char *log;

    qvv_stop(r->d);
    second_rig_free(r);
    g_assert_true(g_file_get_contents(file, &log, NULL, NULL));
    unlink(file);
    g_free(file);
    return log;
}

GMatchInfo *match_lines(const char *log, const char *pattern)
{
    g_autoptr(GRegex) re = g_regex_new(pattern, G_REGEX_MULTILINE, 0, NULL);
    GMatchInfo *info;

    g_assert_nonnull(re);
    g_regex_match(re, log, 0, &info);
    return info;
}

unsigned count_lines(const char *log, const char *pattern)
{
    g_autoptr(GMatchInfo) info = match_lines(log, pattern);
    unsigned n = 0;

    for (; g_match_info_matches(info); g_match_info_next(info, NULL)) {
        n++;
    }
    return n;
}

void expect_line(const char **log, const char *fmt, ...)
{
    g_autofree char *pattern = NULL;
    g_autoptr(GMatchInfo) info = NULL;
    va_list ap;
    int end;

    va_start(ap, fmt);
    pattern = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    info = match_lines(*log, pattern);
    if (!g_match_info_matches(info)) {
        g_test_message("no line '%s' in: %s", pattern, *log);
        g_assert_not_reached();
    }
    g_match_info_fetch_pos(info, 0, NULL, &end);
    *log += end;
}
