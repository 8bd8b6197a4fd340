/*
 * Guest memory as the buffers of a video resource
 *
 * Runs in the device's context with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "qemu/rcu.h"
#include "exec/address-spaces.h"
#include "system/tcg.h"
#include "resource.h"

/* A buffer that is being built, piece by piece. */
typedef struct Pieces {
    GArray *iov;        /* struct iovec */
    GArray *regions;    /* MemoryRegion * */
    GArray *xlat;       /* hwaddr */
} Pieces;

static void pieces_init(Pieces *p)
{
    *p = (Pieces) {
        .iov = g_array_new(false, false, sizeof(struct iovec)),
        .regions = g_array_new(false, false, sizeof(MemoryRegion *)),
        .xlat = g_array_new(false, false, sizeof(hwaddr)),
    };
}

static int entry_compare(const void *a, const void *b)
{
    const VideoMemEntry *x = a, *y = b;

    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

/* What can be said of the entries without looking at memory. */
static bool entries_check(const VideoMemEntry *entries, size_t n,
                          bool any_bytes, Error **errp)
{
    uint64_t align = any_bytes ? 1 : VIDEO_GUEST_PAGE_SIZE;
    g_autofree VideoMemEntry *sorted = g_memdup2(entries, n * sizeof(*entries));

    for (size_t i = 0; i < n; i++) {
        const VideoMemEntry *e = &entries[i];

        if (!e->length ||
            !QEMU_IS_ALIGNED(e->addr | e->length, align)) {
            error_setg(errp, "entry %zu, 0x%" PRIx64 " + 0x%x, "
                       "is not made of whole pages", i, e->addr, e->length);
            return false;
        }
        if (e->addr + e->length - 1 < e->addr) {
            error_setg(errp, "entry %zu, 0x%" PRIx64 " + 0x%x, wraps",
                       i, e->addr, e->length);
            return false;
        }
    }

    qsort(sorted, n, sizeof(*sorted), entry_compare);
    for (size_t i = 1; i < n; i++) {
        if (sorted[i].addr - sorted[i - 1].addr < sorted[i - 1].length) {
            error_setg(errp, "entries overlap at 0x%" PRIx64, sorted[i].addr);
            return false;
        }
    }
    return true;
}

/*
 * Add RAM to a buffer, as part of the last piece where it continues that one:
 * contiguous memory then costs no more than one piece, whatever the entries.
 */
static void pieces_add(Pieces *p, MemoryRegion *mr, hwaddr xlat, size_t len)
{
    uint8_t *host = (uint8_t *)memory_region_get_ram_ptr(mr) + xlat;
    struct iovec iov = { host, len };

    if (p->iov->len) {
        guint last = p->iov->len - 1;
        struct iovec *prev = &g_array_index(p->iov, struct iovec, last);

        if (g_array_index(p->regions, MemoryRegion *, last) == mr &&
            g_array_index(p->xlat, hwaddr, last) + prev->iov_len == xlat) {
            prev->iov_len += len;
            return;
        }
    }
    memory_region_ref(mr);
    g_array_append_val(p->iov, iov);
    g_array_append_val(p->regions, mr);
    g_array_append_val(p->xlat, xlat);
}

static bool is_plain_ram(MemoryRegion *mr)
{
    return memory_region_is_ram(mr) && !memory_region_is_ram_device(mr) &&
           !memory_region_is_romd(mr) && !mr->readonly;
}

static bool pieces_add_entry(Pieces *p, AddressSpace *as,
                             const VideoMemEntry *entry,
                             const MemoryRegion *never, bool is_write,
                             unsigned max_pieces, unsigned *lookups,
                             Error **errp)
{
    hwaddr addr = entry->addr;
    hwaddr left = entry->length;

    RCU_READ_LOCK_GUARD();
    while (left) {
        hwaddr xlat, len = left;
        MemoryRegion *mr;

        if (!*lookups) {
            error_setg(errp, "too many pages at once");
            return false;
        }
        --*lookups;
        mr = address_space_translate(as, addr, &xlat, &len, is_write,
                                     MEMTXATTRS_UNSPECIFIED);
        if (!len || !is_plain_ram(mr)) {
            error_setg(errp, "0x%" HWADDR_PRIx " is not RAM", addr);
            return false;
        }
        if (mr == never) {
            error_setg(errp, "0x%" HWADDR_PRIx " is the device's", addr);
            return false;
        }
        pieces_add(p, mr, xlat, len);
        if (p->iov->len > max_pieces) {
            error_setg(errp, "more than %u pieces of memory", max_pieces);
            return false;
        }
        addr += len;
        left -= len;
    }
    return true;
}

/* Turn the pieces into a buffer, which owns their memory. */
static void pieces_finish(Pieces *p, VideoBuffer *buf)
{
    unsigned niov = p->iov->len;
    struct iovec *iov = (struct iovec *)g_array_free(p->iov, false);

    buf->mem = (VideoCodecMem) {
        .iov = iov,
        .offset = g_new(size_t, niov),
        .niov = niov,
    };
    for (unsigned i = 0; i < niov; i++) {
        buf->mem.offset[i] = buf->mem.size;
        buf->mem.size += iov[i].iov_len;
    }
    buf->regions = (MemoryRegion **)g_array_free(p->regions, false);
    buf->xlat = (hwaddr *)g_array_free(p->xlat, false);
}

static bool buffer_map(VideoBuffer *buf, AddressSpace *as,
                       const VideoMemEntry *entries, uint32_t n,
                       const MemoryRegion *never, bool is_write,
                       unsigned max_pieces, unsigned *lookups, Error **errp)
{
    Pieces p;
    bool ok = true;

    pieces_init(&p);
    for (uint32_t i = 0; ok && i < n; i++) {
        ok = pieces_add_entry(&p, as, &entries[i], never, is_write, max_pieces,
                              lookups, errp);
    }
    pieces_finish(&p, buf);
    return ok;
}

static void buffer_unmap(VideoBuffer *buf)
{
    for (unsigned i = 0; i < buf->mem.niov; i++) {
        memory_region_unref(buf->regions[i]);
    }
    g_free(buf->mem.iov);
    g_free(buf->mem.offset);
    g_free(buf->regions);
    g_free(buf->xlat);
    *buf = (VideoBuffer) { };
}

static size_t buffer_host_bytes(const VideoBuffer *buf)
{
    return buf->mem.niov * (sizeof(struct iovec) + sizeof(size_t) +
                            sizeof(MemoryRegion *) + sizeof(hwaddr));
}

bool video_resource_attach(VideoResource *res, AddressSpace *as,
                           const VideoAttach *attach, bool is_write,
                           unsigned max_pieces, unsigned *lookups,
                           Error **errp)
{
    const VideoMemEntry *entries = attach->entries;
    size_t n = 0;

    assert(!res->n_buffers && !res->queued);
    for (unsigned i = 0; i < attach->n_buffers; i++) {
        n += attach->num_entries[i];
    }
    if (!entries_check(entries, n, attach->any_bytes, errp)) {
        return false;
    }

    for (unsigned i = 0; i < attach->n_buffers; i++) {
        res->n_buffers++;
        if (!buffer_map(&res->buffers[i], as, entries, attach->num_entries[i],
                        attach->never, is_write, max_pieces, lookups,
                        errp)) {
            video_resource_detach(res);
            return false;
        }
        res->host_bytes += buffer_host_bytes(&res->buffers[i]);
        entries += attach->num_entries[i];
    }
    return true;
}

void video_resource_attach_ram(VideoResource *res, MemoryRegion *ram,
                               hwaddr offset, size_t size)
{
    Pieces p;

    assert(!res->n_buffers && !res->queued);
    pieces_init(&p);
    pieces_add(&p, ram, offset, size);
    pieces_finish(&p, &res->buffers[0]);
    res->n_buffers = 1;
    res->host_bytes = buffer_host_bytes(&res->buffers[0]);
}

void video_resource_detach(VideoResource *res)
{
    for (unsigned i = 0; i < res->n_buffers; i++) {
        buffer_unmap(&res->buffers[i]);
    }
    res->n_buffers = 0;
    res->host_bytes = 0;
}

void video_resource_read(const VideoResource *res, size_t offset, void *dst,
                         size_t size)
{
    const VideoCodecMem *mem = &res->buffers[0].mem;

    iov_to_buf(mem->iov, mem->niov, offset, dst, size);
}

static void piece_set_dirty(const VideoBuffer *buf, unsigned i, size_t offset,
                            size_t size)
{
    MemoryRegion *mr = buf->regions[i];

    if (!tcg_enabled()) {
        memory_region_set_dirty(mr, buf->xlat[i] + offset, size);
        return;
    }
    /*
     * TCG may have translated code that was there.  What ends a mapping tells
     * it, other than memory_region_set_dirty(), but looks the memory up again,
     * which counts with hundreds of pieces for each frame.
     */
    memory_region_ref(mr);
    address_space_unmap(&address_space_memory,
                        (uint8_t *)buf->mem.iov[i].iov_base + offset, size,
                        true, size);
}

void video_resource_set_dirty(const VideoResource *res, unsigned index,
                              size_t offset, size_t size)
{
    const VideoBuffer *buf = &res->buffers[index];

    for (unsigned i = 0; size && i < buf->mem.niov; i++) {
        size_t start = buf->mem.offset[i];
        size_t len = buf->mem.iov[i].iov_len;

        if (offset < start + len) {
            size_t n = MIN(size, start + len - offset);

            piece_set_dirty(buf, i, offset - start, n);
            offset += n;
            size -= n;
        }
    }
}
