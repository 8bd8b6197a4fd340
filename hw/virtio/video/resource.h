/*
 * Guest memory as the buffers of a video resource
 *
 * A resource holds one frame or one unit of coded data in up to
 * VIDEO_MAX_PLANES buffers, each made of pieces of guest RAM.  Everything here
 * runs in the device's context with the BQL held; a codec's worker sees only
 * the VideoCodecMem inside, which stays in place while the resource is queued.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_RESOURCE_H
#define HW_VIRTIO_VIDEO_RESOURCE_H

#include "exec/memory.h"
#include "params.h"

/* Entries are whole pages of this size */
#define VIDEO_GUEST_PAGE_SIZE 4096

/**
 * VideoBuffer: one buffer, pinned and mapped.
 * @mem: its pieces for the codec
 * @regions: @regions[i] is the RAM of piece i, referenced
 * @xlat: @xlat[i] is the offset of piece i in @regions[i], in bytes
 */
typedef struct VideoBuffer {
    VideoCodecMem mem;
    MemoryRegion **regions;
    hwaddr *xlat;
} VideoBuffer;

/**
 * VideoResource: a resource of a stream's queue.
 * @buffers, @n_buffers: attached memory; none if @n_buffers is 0
 * @host_bytes: host memory that the tables of @buffers take
 * @queued: the driver has queued it and has no answer yet
 * @lent: @output is with the codec session
 * @cookie: of the command that queued it
 * @output: for the codec
 */
typedef struct VideoResource {
    VideoBuffer buffers[VIDEO_MAX_PLANES];
    unsigned n_buffers;
    size_t host_bytes;
    bool queued;
    bool lent;
    uint64_t cookie;
    VideoCodecOutput output;
    QTAILQ_ENTRY(VideoResource) next;
} VideoResource;

/**
 * video_resource_attach: check, pin and map guest memory.
 * @res: a resource without memory
 * @as: the device's DMA address space
 * @attach: what to map
 * @is_write: the device will write to it
 * @max_pieces: limit for the number of pieces in host memory
 * @lookups: how many times memory may be looked up; what is left of them
 * @errp: what is wrong with which entry
 *
 * Every byte must be plain RAM; entries must be page-aligned (unless @attach
 * says that they need not be), not empty, must not wrap and not overlap.
 * Spec: RESOURCE_GUEST_PAGES.
 *
 * The memory is pinned: with a vIOMMU, what the guest unmaps there stays the
 * device's until the resource is detached.  There each page is looked up, so
 * that an entry of 16 bytes can stand for a million lookups.
 *
 * Returns: false if it can't be used; nothing is attached then.
 */
bool video_resource_attach(VideoResource *res, AddressSpace *as,
                           const VideoAttach *attach, bool is_write,
                           unsigned max_pieces, unsigned *lookups,
                           Error **errp);

/**
 * video_resource_attach_ram: @size bytes from @offset of the device's own RAM
 * become the one buffer of a resource without memory.
 */
void video_resource_attach_ram(VideoResource *res, MemoryRegion *ram,
                               hwaddr offset, size_t size);

/** video_resource_detach: undo attach; harmless if there is no memory. */
void video_resource_detach(VideoResource *res);

/**
 * video_resource_read: copy out of a resource's first buffer.
 * The caller has checked that @offset + @size is within it.
 */
void video_resource_read(const VideoResource *res, size_t offset, void *dst,
                         size_t size);

/**
 * video_resource_set_dirty: @size bytes from @offset of buffer @index were
 * written; tells those who watch guest memory.
 */
void video_resource_set_dirty(const VideoResource *res, unsigned index,
                              size_t offset, size_t size);

#endif /* HW_VIRTIO_VIDEO_RESOURCE_H */
