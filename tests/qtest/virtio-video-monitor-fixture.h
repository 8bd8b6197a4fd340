/*
 * Fixture of the tests of query-virtio-video and trace events, of both
 * protocols
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_VIDEO_MONITOR_FIXTURE_H
#define TESTS_VIRTIO_VIDEO_MONITOR_FIXTURE_H

#include "qobject/qdict.h"
#include "virtio-video-fixture.h"

/* Bytes of a frame of test_stream() */
#define FRAME_BYTES (WIDTH * HEIGHT * 3 / 2)

/* What query-virtio-video says of the only device; for qobject_unref() */
QDict *query_device(Rig *r);
/* Since it said @before, one stream was opened, and has failed */
void assert_one_failed(Rig *r, QDict *before);
/* What it says of the only stream; for qobject_unref() */
QDict *query_stream(Rig *r);

/* Numbers of one queue, "input" or "output" */
void assert_queue(QDict *stream, const char *name, int64_t queued,
                  int64_t buffers, int64_t bytes, int64_t errors);
void assert_size(QDict *stream, int64_t width, int64_t height,
                 const QVVRect *crop);
/* Of the only stream */
void assert_state(Rig *r, const char *state);
/* What info virtio-video prints is all that the query has */
void assert_info(Rig *r);

/**
 * traced_rig: a second QEMU that writes all of the device's trace events, and
 * what the guest does wrong, into a file; its driver is started with @opts.
 * @file: set to its name, for traced_log()
 *
 * Returns: NULL, and the test is skipped, where QEMU does not trace to its log
 */
Rig *traced_rig(const QVVOptions *opts, char **file);

/* The end of that QEMU; what is in the file, which is removed */
char *traced_log(Rig *r, char *file);

/* Lines of @log that are like that regular expression */
GMatchInfo *match_lines(const char *log, const char *pattern);
unsigned count_lines(const char *log, const char *pattern);

/* There is a line like that regular expression; @log is set behind it */
void G_GNUC_PRINTF(2, 3)
expect_line(const char **log, const char *fmt, ...);

/* In a line: the device */
#define DEV "dev 0x[0-9a-f]+ "

#endif
