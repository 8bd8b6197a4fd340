/*
 * vvclient: how a long command goes, and what went wrong
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "report.h"

#define VV_BAR  30
#define VV_LINE 60

void vv_show_progress(uint64_t done, uint64_t total, double seconds)
{
    double fps = seconds > 0 ? done / seconds : 0;
    char bar[VV_BAR + 1];

    if (!isatty(STDERR_FILENO)) {
        return;
    }
    if (seconds < 0) {
        fprintf(stderr, "\r%*s\r", VV_LINE, "");
        return;
    }
    if (total) {
        done = MIN(done, total);
        memset(bar, '.', VV_BAR);
        memset(bar, '#', done * VV_BAR / total);
        bar[VV_BAR] = 0;
        fprintf(stderr, "\r[%s] %3d %%  %.0f frames/s ", bar,
                (int)(done * 100 / total), fps);
    } else {
        fprintf(stderr, "\r%" PRIu64 " frames, %.0f frames/s ", done, fps);
    }
    fflush(stderr);
}

static void vv_report_one(const char *path, const char *text, QList *list)
{
    error_report("%s: %s", path, text);
    qlist_append_str(list, text);
}

unsigned vv_report_all(const char *path, const VVErrors *errors, Error *err,
                       QList *list)
{
    unsigned n = errors->n;

    for (unsigned i = 0; i < errors->list->len; i++) {
        vv_report_one(path, errors->list->pdata[i], list);
    }
    if (errors->n > errors->list->len) {
        g_autofree char *more = g_strdup_printf("and %u errors more",
                                                errors->n -
                                                errors->list->len);

        vv_report_one(path, more, list);
    }
    if (err) {
        vv_report_one(path, error_get_pretty(err), list);
        error_free(err);
        n++;
    }
    return n;
}
