/*
 * vvclient: how a long command goes, and what went wrong
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_REPORT_H
#define VVCLIENT_REPORT_H

#include "qobject/qlist.h"
#include "talk.h"

/**
 * vv_show_progress - a bar, if the standard error is a terminal
 * @total: 0: unknown
 * @seconds: since the start; negative: take the bar away
 */
void vv_show_progress(uint64_t done, uint64_t total, double seconds);

/**
 * vv_report_all - prints all errors of a command
 * @path: where they are from
 * @err: one more, or NULL; freed
 * @list: gets them, too
 *
 * Returns: their number
 */
unsigned vv_report_all(const char *path, const VVErrors *errors, Error *err,
                       QList *list);

#endif
