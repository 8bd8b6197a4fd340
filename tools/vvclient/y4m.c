/*
 * vvclient: frames into a YUV4MPEG2 file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "y4m.h"

struct VVY4m {
    char *path;
    AVRational rate;
    AVRational aspect;
    FILE *file;
    unsigned files;
    /* of the current file */
    uint32_t width;
    uint32_t height;
    unsigned depth;
    bool chroma_444;
};

VVY4m *vv_y4m_new(const char *path, AVRational rate, AVRational aspect)
{
    VVY4m *y4m = g_new0(VVY4m, 1);

    y4m->path = g_strdup(path);
    y4m->rate = rate.num > 0 && rate.den > 0 ? rate : (AVRational) { 25, 1 };
    y4m->aspect = aspect.num > 0 && aspect.den > 0 ? aspect :
                                                     (AVRational) { 0, 0 };
    return y4m;
}

unsigned vv_y4m_files(const VVY4m *y4m)
{
    return y4m->files;
}

static char *vv_y4m_file_name(const VVY4m *y4m)
{
    const char *dot = strrchr(y4m->path, '.');

    if (y4m->files < 2) {
        return g_strdup(y4m->path);
    }
    if (!dot || strchr(dot, '/')) {
        dot = y4m->path + strlen(y4m->path);
    }
    return g_strdup_printf("%.*s-%u%s", (int)(dot - y4m->path), y4m->path,
                           y4m->files, dot);
}

static bool vv_y4m_finish_file(VVY4m *y4m, Error **errp)
{
    FILE *file = y4m->file;
    bool bad;

    if (!file) {
        return true;
    }
    y4m->file = NULL;
    bad = ferror(file);
    if (file == stdout ? fflush(file) : fclose(file)) {
        bad = true;
    }
    if (bad) {
        error_setg_errno(errp, errno, "cannot write %s", y4m->path);
    }
    return !bad;
}

static bool vv_y4m_start_file(VVY4m *y4m, const VVFrame *f, Error **errp)
{
    g_autofree char *name = NULL;
    const char *chroma;

    if (!vv_y4m_finish_file(y4m, errp)) {
        return false;
    }
    y4m->files++;
    if (!strcmp(y4m->path, "-")) {
        if (y4m->files > 1) {
            error_setg(errp, "the frame size changes to %ux%u, which a pipe "
                       "of y4m cannot hold", f->width, f->height);
            return false;
        }
        y4m->file = stdout;
    } else {
        name = vv_y4m_file_name(y4m);
        y4m->file = fopen(name, "wb");
        if (!y4m->file) {
            error_setg_errno(errp, errno, "cannot write %s", name);
            return false;
        }
    }

    y4m->width = f->width;
    y4m->height = f->height;
    y4m->depth = f->depth;
    y4m->chroma_444 = f->chroma_444;
    if (f->chroma_444) {
        chroma = "C444";
    } else {
        chroma = f->depth > 8 ? "C420p10 XYSCSS=420P10" : "C420mpeg2";
    }
    fprintf(y4m->file, "YUV4MPEG2 W%u H%u F%d:%d Ip A%d:%d %s\n", f->width,
            f->height, y4m->rate.num, y4m->rate.den, y4m->aspect.num,
            y4m->aspect.den, chroma);
    return true;
}

bool vv_y4m_write(VVY4m *y4m, const VVFrame *f, Error **errp)
{
    if (!y4m->file || f->width != y4m->width || f->height != y4m->height ||
        f->depth != y4m->depth || f->chroma_444 != y4m->chroma_444) {
        if (!vv_y4m_start_file(y4m, f, errp)) {
            return false;
        }
    }
    if (fputs("FRAME\n", y4m->file) < 0 ||
        fwrite(f->data->data, 1, f->data->len, y4m->file) != f->data->len) {
        error_setg_errno(errp, errno, "cannot write %s", y4m->path);
        return false;
    }
    return true;
}

bool vv_y4m_close(VVY4m *y4m, Error **errp)
{
    bool ok = vv_y4m_finish_file(y4m, errp);

    g_free(y4m->path);
    g_free(y4m);
    return ok;
}
