/*
 * For tests: what the program finds in place of a GPU's device nodes
 *
 * libva takes any file for a render node, such as /dev/null.  And if udmabuf is
 * one of VVSW_OPTIONS there is a /dev/udmabuf, which wants what the kernel's
 * wants; only our driver can map what it makes.
 *
 * Any thread; no state.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "udmabuf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xf86drm.h>

int ioctl(int fd, unsigned long request, ...);
int open(const char *path, int flags, ...);
int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags) __attribute__((alias("__open_2")));

int drmGetNodeTypeFromFd(int fd)
{
    return DRM_NODE_RENDER;
}

/* To be freed with libdrm's drmFreeVersion() */
drmVersionPtr drmGetVersion(int fd)
{
    drmVersionPtr version = calloc(1, sizeof(*version));

    if (version) {
        version->name = strdup("vvsw");
        version->name_len = version->name ? strlen(version->name) : 0;
    }
    return version;
}

/*
 * /dev/udmabuf
 */

static bool has_udmabuf(void)
{
    const char *options = getenv("VVSW_OPTIONS");

    return options && strstr(options, "udmabuf");
}

static int open_file(const char *path, int flags, int mode)
{
    if (path && !strcmp(path, "/dev/udmabuf") && has_udmabuf()) {
        return memfd_create("udmabuf", MFD_CLOEXEC);
    }
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    int mode = 0;

    if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) {
        va_list ap;

        va_start(ap, flags);
        mode = va_arg(ap, int);
        va_end(ap);
    }
    return open_file(path, flags, mode);
}

/* Those of _FORTIFY_SOURCE */
int __open_2(const char *path, int flags)
{
    return open_file(path, flags, 0);
}

/* Pages of a memfd that can't be taken away while the GPU uses them */
static bool is_good(const struct udmabuf_create_item *item)
{
    int seals = fcntl(item->memfd, F_GET_SEALS);
    uint64_t mask = getpagesize() - 1;

    return seals >= 0 && (seals & F_SEAL_SHRINK) && !(seals & F_SEAL_WRITE) &&
        item->size && !(item->size & mask) && !(item->offset & mask);
}

static int create_list(const struct udmabuf_create_list *list)
{
    static const VvUdmabuf empty;
    VvUdmabuf *u;
    uint64_t size = 0;
    int fd;

    if (!list->count || list->count > VV_UDMABUF_MAX_ITEMS) {
        errno = EINVAL;
        return -1;
    }
    for (unsigned i = 0; i < list->count; i++) {
        size += list->list[i].size;
        if (!is_good(&list->list[i]) || size > VV_UDMABUF_MAX_SIZE) {
            errno = EINVAL;
            return -1;
        }
    }

    u = malloc(sizeof(*u));
    if (!u) {
        errno = ENOMEM;
        return -1;
    }
    *u = empty;
    memcpy(u->magic, VV_UDMABUF_MAGIC, sizeof(u->magic));
    u->count = list->count;
    memcpy(u->items, list->list, list->count * sizeof(u->items[0]));
    fd = memfd_create("dmabuf", MFD_CLOEXEC);
    /* No list is longer than its pages, but the array for all may be */
    if (fd >= 0 && (pwrite(fd, u, sizeof(*u), 0) != sizeof(*u) ||
                    ftruncate(fd, size) < 0)) {
        close(fd);
        fd = -1;
    }
    free(u);
    return fd;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (request == UDMABUF_CREATE_LIST && has_udmabuf()) {
        return create_list(arg);
    }
    return syscall(SYS_ioctl, fd, request, arg);
}
