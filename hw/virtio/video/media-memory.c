/*
 * Virtio media: MMAP buffers and the shared memory region
 *
 * All MMAP buffers lie in one piece of RAM as large as the region; a buffer has
 * the same offset in both, which is its mem_offset, too.  The guest sees a
 * buffer while it is mapped, through a window in the region; the rest of the
 * region is empty.  Memory that is neither owned nor mapped goes back to the
 * host and is zero when it is used again.
 *
 * Runs in the device's context with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/madvise.h"
#include "qemu/units.h"
#include "exec/cpu-common.h"
#include "media.h"
#include "trace.h"

/* Windows of all devices */
static unsigned n_windows;

/* Guests with pages of up to this size can map them */
#define CHUNK_ALIGN (64 * KiB)

bool media_init_region(MediaState *m, Object *owner, Error **errp)
{
    if (!is_power_of_2(m->hostmem) || m->hostmem < CHUNK_ALIGN ||
        m->hostmem > MEDIA_MAX_HOSTMEM) {
        error_setg(errp, "'hostmem' must be 0 or a power of two from 64 KiB "
                   "to 4 GiB");
        return false;
    }
    /* Of this size, but it takes no more than what buffers use */
    if (!memory_region_init_ram_nomigrate(&m->ram, owner, "virtio-media.ram",
                                          m->hostmem, errp)) {
        return false;
    }
    memory_region_init(&m->region, owner, "virtio-media.hostmem", m->hostmem);
    m->has_region = true;
    return true;
}

/* The first gap of @size bytes; @before: the chunk behind it, or NULL */
static bool media_find_gap(MediaState *m, uint64_t size, hwaddr *offset,
                           MediaChunk **before)
{
    MediaChunk *chunk;
    hwaddr end = 0;

    QTAILQ_FOREACH(chunk, &m->chunks, next) {
        if (chunk->offset - end >= size) {
            break;
        }
        end = chunk->offset + chunk->size;
    }
    *offset = end;
    *before = chunk;
    return size <= m->hostmem - end;
}

/*
 * Give memory back to the host, which makes zeroes of it.  Not with
 * ram_block_discard_range(): that prints each failure, and how often it fails
 * is up to the guest.
 */
static bool media_give_back(MediaState *m, void *mem, uint64_t size)
{
    /* Pages that are pinned, as VFIO does, would be lost to who has them */
    if (ram_block_discard_is_disabled()) {
        return false;
    }
#ifdef CONFIG_LINUX
    /* Fails where memory is locked */
    return !qemu_madvise(mem, size, qemu_ram_is_shared(m->ram.ram_block) ?
                         QEMU_MADV_REMOVE : QEMU_MADV_DONTNEED);
#else
    return false;       /* elsewhere it need not be zero afterwards */
#endif
}

static void media_discard(MediaState *m, const MediaChunk *chunk)
{
    uint8_t *mem = memory_region_get_ram_ptr(&m->ram);

    if (!media_give_back(m, mem + chunk->offset, chunk->size)) {
        memset(mem + chunk->offset, 0, chunk->size);
    }
}

MediaChunk *media_chunk_new(MediaState *m, uint64_t size)
{
    MediaChunk *chunk, *before;
    hwaddr offset;

    size = ROUND_UP(MAX(size, 1), MAX(CHUNK_ALIGN,
                                      qemu_real_host_page_size()));
    if (!m->has_region || !media_find_gap(m, size, &offset, &before) ||
        !video_memory_take(m->dev->ctx.memory, size)) {
        return NULL;
    }

    chunk = g_new0(MediaChunk, 1);
    chunk->offset = offset;
    chunk->size = size;
    chunk->owned = true;
    if (before) {
        QTAILQ_INSERT_BEFORE(before, chunk, next);
    } else {
        QTAILQ_INSERT_TAIL(&m->chunks, chunk, next);
    }
    /* Who had begun to write to a window may have ended after it had gone */
    media_discard(m, chunk);
    return chunk;
}

static void media_chunk_free_unused(MediaState *m, MediaChunk *chunk)
{
    if (chunk->owned || chunk->n_mapped) {
        return;
    }
    media_discard(m, chunk);
    video_memory_give(m->dev->ctx.memory, chunk->size);
    QTAILQ_REMOVE(&m->chunks, chunk, next);
    g_free(chunk);
}

void media_chunk_disown(MediaState *m, MediaChunk *chunk)
{
    chunk->owned = false;
    media_chunk_free_unused(m, chunk);
}

/* With a name of its own, or QOM tries one number after the other for it */
static void media_chunk_show(MediaState *m, MediaChunk *chunk)
{
    g_autofree char *name = g_strdup_printf("virtio-media.window-%"
                                            HWADDR_PRIx, chunk->offset);

    m->n_mapped++;
    n_windows++;
    chunk->window = g_new0(MemoryRegion, 1);
    memory_region_init_alias(chunk->window, OBJECT(m->dev), name, &m->ram,
                             chunk->offset, chunk->size);
    memory_region_add_subregion(&m->region, chunk->offset, chunk->window);
}

int media_chunk_map(MediaState *m, MediaChunk *chunk)
{
    if (chunk->n_mapped == UINT32_MAX) {
        return VM_ENOMEM;
    }
    if (!chunk->n_mapped) {
        if (m->n_mapped >= m->max_mappings ||
            n_windows >= MEDIA_MAX_MAPPINGS) {
            return VM_ENOMEM;
        }
        media_chunk_show(m, chunk);
    }
    chunk->n_mapped++;
    trace_media_map(chunk->offset, chunk->size, chunk->n_mapped);
    return 0;
}

/* An alias is resolved to RAM when it is made visible: it can go at once */
static void media_chunk_hide(MediaState *m, MediaChunk *chunk)
{
    memory_region_del_subregion(&m->region, chunk->window);
    object_unparent(OBJECT(chunk->window));
    g_clear_pointer(&chunk->window, g_free);
    chunk->n_mapped = 0;
    m->n_mapped--;
    n_windows--;
}

int media_unmap(MediaState *m, uint64_t offset)
{
    MediaChunk *chunk;

    QTAILQ_FOREACH(chunk, &m->chunks, next) {
        if (chunk->offset == offset && chunk->n_mapped) {
            trace_media_unmap(chunk->offset, chunk->n_mapped);
            if (chunk->n_mapped > 1) {
                chunk->n_mapped--;
            } else {
                media_chunk_hide(m, chunk);
                media_chunk_free_unused(m, chunk);
            }
            return 0;
        }
    }
    return VM_EINVAL;
}

void media_unmap_all(MediaState *m)
{
    MediaChunk *chunk, *next;

    memory_region_transaction_begin();
    QTAILQ_FOREACH(chunk, &m->chunks, next) {
        if (chunk->n_mapped) {
            media_chunk_hide(m, chunk);
        }
    }
    memory_region_transaction_commit();

    /* Only now does the guest see none of it */
    QTAILQ_FOREACH_SAFE(chunk, &m->chunks, next, next) {
        media_chunk_free_unused(m, chunk);
    }
}
