/*
 * Fixture of virtio-video's qtests: behind an IOMMU
 *
 * The device under test is in a second QEMU, on PCI: x86 with intel-iommu on
 * q35, aarch64 with virtio-iommu.  The first 64 MiB of RAM are mapped one to
 * one, for virtqueues, commands and events.  The resources' memory is mapped
 * elsewhere, page by page: the addresses that the device gets are no addresses
 * of RAM.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_VIDEO_IOMMU_FIXTURE_H
#define TESTS_VIRTIO_VIDEO_IOMMU_FIXTURE_H

#include "qemu/units.h"
#include "virtio-video-fixture.h"

#define ACCESS_PLATFORM     (1ull << VIRTIO_F_ACCESS_PLATFORM)

#define RAM_BASE            (is_x86() ? 0 : 1 * GiB)
#define MAPPED_RAM          (64 * MiB)
#define UNMAPPED_RAM        (RAM_BASE + 100 * MiB)
#define PAGE                QVV_PAGE_SIZE

/**
 * Iommu: what maps.
 * @r: the second QEMU, with the device behind the IOMMU
 * @next: where the next page is mapped
 * @top, @ptes: intel-iommu: the first page table, and that of the window
 * @pci, @vq: virtio-iommu and its queue for requests
 */
typedef struct Iommu {
    Rig *r;
    uint64_t next;
    uint64_t top, ptes;
    QVirtioPCIDevice *pci;
    QVirtQueue *vq;
} Iommu;

/* Start that second QEMU and its device; false if the test is skipped */
bool iommu_start_codec(Iommu *i, Rig *first, const char *codec);
/* The same with the scripted codec */
bool iommu_start(Iommu *i, Rig *first);
void iommu_stop(Iommu *i);

/*
 * intel-iommu: @n GiB of pages, which are 2 MiB of RAM over and over.
 * Returns: where they begin
 */
uint64_t iommu_map_mirrors(Iommu *i, unsigned n);

/* The device sees as one piece, @entry, what is scattered in memory */
void iommu_map(Iommu *i, const QVVBuffer *buf, QVVEntry *entry);
/* The same with all of @pool; @set gets number and memory of resources */
void iommu_map_pool(Iommu *i, GByteArray *set, const QVVPool *pool);

#endif
