/*
 * Fixture of virtio-video's qtests: behind an IOMMU
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqos/qos_external.h"
#include "hw/i386/intel_iommu.h"
#include "standard-headers/linux/virtio_iommu.h"
#include "virtio-video-iommu-fixture.h"

/* Where resources are for the device, and how much may be there */
#define WINDOW              (8 * GiB)
#define WINDOW_SIZE         (2 * MiB)
/* Where the same pages are again and again */
#define MIRRORS             (16 * GiB)
#define MIRRORED            (2 * MiB)

#define DEVFN               QPCI_DEVFN(4, 0)
#define IOMMU_DEVFN         QPCI_DEVFN(5, 0)

/*
 * intel-iommu: tables in guest memory, as in Intel's "Virtualization Technology
 * for Directed I/O" before scalable mode; 39 bits, which are three levels
 */

#define VTD_RTADDR          (Q35_HOST_BRIDGE_IOMMU_ADDR + 0x20)
#define VTD_GCMD            (Q35_HOST_BRIDGE_IOMMU_ADDR + 0x18)
#define VTD_GCMD_SET_ROOT   (1u << 30)
#define VTD_GCMD_TRANSLATE  (1u << 31)
#define VTD_PRESENT         1
#define VTD_READ_WRITE      3
#define VTD_LARGE_PAGE      (1u << 7)
#define VTD_39_BITS         1
#define VTD_DOMAIN          (1 << 8)

static uint64_t vtd_table(Iommu *i)
{
    uint64_t table = guest_alloc(i->r->alloc, PAGE);

    qtest_memset(i->r->qts, table, 0, PAGE);
    return table;
}

static void vtd_set(Iommu *i, uint64_t table, unsigned index, uint64_t entry)
{
    qtest_writeq(i->r->qts, table + 8 * index, entry);
}

static void vtd_start(Iommu *i)
{
    QTestState *qts = i->r->qts;
    uint64_t root = vtd_table(i), context = vtd_table(i);
    uint64_t top = vtd_table(i), ram = vtd_table(i), window = vtd_table(i);

    i->top = top;
    i->ptes = vtd_table(i);
    vtd_set(i, root, 0, context | VTD_PRESENT);
    vtd_set(i, context, 2 * DEVFN, top | VTD_PRESENT);
    vtd_set(i, context, 2 * DEVFN + 1, VTD_DOMAIN | VTD_39_BITS);
    vtd_set(i, top, 0, ram | VTD_READ_WRITE);
    for (unsigned n = 0; n < MAPPED_RAM / (2 * MiB); n++) {
        vtd_set(i, ram, n, n * 2 * MiB | VTD_LARGE_PAGE | VTD_READ_WRITE);
    }
    vtd_set(i, top, WINDOW / GiB, window | VTD_READ_WRITE);
    vtd_set(i, window, 0, i->ptes | VTD_READ_WRITE);

    qtest_writeq(qts, VTD_RTADDR, root);
    qtest_writel(qts, VTD_GCMD, VTD_GCMD_SET_ROOT);
    qtest_writel(qts, VTD_GCMD, VTD_GCMD_TRANSLATE);
}

static void vtd_map(Iommu *i, uint64_t iova, uint64_t addr)
{
    vtd_set(i, i->ptes, (iova - WINDOW) / PAGE, addr | VTD_READ_WRITE);
}

/* Two tables are enough for any number of pages */
uint64_t iommu_map_mirrors(Iommu *i, unsigned n)
{
    uint64_t mirror = vtd_table(i), ptes = vtd_table(i);

    for (unsigned e = 0; e < 512; e++) {
        vtd_set(i, ptes, e, (MIRRORED + e * PAGE) | VTD_READ_WRITE);
        vtd_set(i, mirror, e, ptes | VTD_READ_WRITE);
    }
    for (unsigned g = 0; g < n; g++) {
        vtd_set(i, i->top, MIRRORS / GiB + g, mirror | VTD_READ_WRITE);
    }
    return MIRRORS;
}

/*
 * virtio-iommu
 */

/* @req: without its tail, which is written by the device */
static void viommu_request(Iommu *i, const void *req, size_t size)
{
    QTestState *qts = i->r->qts;
    struct virtio_iommu_req_tail tail = { .status = 0xff };
    uint64_t mem = guest_alloc(i->r->alloc, PAGE);
    uint64_t tail_addr = mem + PAGE / 2;
    uint32_t head;

    qtest_memwrite(qts, mem, req, size);
    qtest_memwrite(qts, tail_addr, &tail, sizeof(tail));
    head = qvirtqueue_add(qts, i->vq, mem, size, false, true);
    qvirtqueue_add(qts, i->vq, tail_addr, sizeof(tail), true, false);
    qvirtqueue_kick(qts, &i->pci->vdev, i->vq, head);
    qvirtio_wait_used_elem(qts, &i->pci->vdev, i->vq, head, NULL,
                           QVV_TIMEOUT_US);
    qtest_memread(qts, tail_addr, &tail, sizeof(tail));
    g_assert_cmpuint(tail.status, ==, VIRTIO_IOMMU_S_OK);
    guest_free(i->r->alloc, mem);
}

static void viommu_map(Iommu *i, uint64_t iova, uint64_t addr, uint64_t len)
{
    const struct virtio_iommu_req_map map = {
        .head.type = VIRTIO_IOMMU_T_MAP,
        .domain = cpu_to_le32(1),
        .virt_start = cpu_to_le64(iova),
        .virt_end = cpu_to_le64(iova + len - 1),
        .phys_start = cpu_to_le64(addr),
        .flags = cpu_to_le32(VIRTIO_IOMMU_MAP_F_READ |
                             VIRTIO_IOMMU_MAP_F_WRITE),
    };

    viommu_request(i, &map, offsetof(struct virtio_iommu_req_map, tail));
}

static void viommu_start(Iommu *i)
{
    const struct virtio_iommu_req_attach attach = {
        .head.type = VIRTIO_IOMMU_T_ATTACH,
        .domain = cpu_to_le32(1),
        .endpoint = cpu_to_le32(DEVFN),
    };
    QPCIAddress addr = { .devfn = IOMMU_DEVFN };
    QVirtioDevice *vdev;

    i->pci = virtio_pci_new(i->r->v->pci->pdev->bus, &addr);
    g_assert_nonnull(i->pci);
    vdev = &i->pci->vdev;
    qvirtio_pci_device_enable(i->pci);
    qvirtio_start_device(vdev);
    qvirtio_set_features(vdev, qvirtio_get_features(vdev) &
                         ~(QVIRTIO_F_BAD_FEATURE | EVENT_IDX |
                           (1ull << VIRTIO_RING_F_INDIRECT_DESC)));
    i->vq = qvirtqueue_setup(vdev, i->r->alloc, 0);
    qvirtio_set_driver_ok(vdev);

    viommu_request(i, &attach, offsetof(struct virtio_iommu_req_attach, tail));
    viommu_map(i, RAM_BASE, RAM_BASE, MAPPED_RAM);
}

static void viommu_stop(Iommu *i)
{
    qvirtio_reset(&i->pci->vdev);
    qvirtqueue_cleanup(i->pci->vdev.bus, i->vq, i->r->alloc);
    qpci_iounmap(i->pci->pdev, i->pci->bar);
    g_free(i->pci->pdev);
    g_free(i->pci);
}

/*
 * Either
 */

/* Also with an IOMMU before all other devices */
static char *iommu_args(const char *codec)
{
    g_autofree char *args = codec_args(codec);
    g_auto(GStrv) parts = g_strsplit(args, "-device", 2);
    g_autofree char *machine = is_x86() ?
                               g_strdup("-M q35 -device intel-iommu") :
                               g_strdup_printf("%s -device virtio-iommu-pci,"
                                               "addr=05.0", parts[0]);

    return g_strdup_printf("%s -device%s", machine, parts[1]);
}

static void map_page(Iommu *i, uint64_t iova, uint64_t addr)
{
    g_assert_cmphex(iova, <, WINDOW + WINDOW_SIZE);
    if (is_x86()) {
        vtd_map(i, iova, addr);
    } else {
        viommu_map(i, iova, addr, PAGE);
    }
}

bool iommu_start_codec(Iommu *i, Rig *first, const char *codec)
{
    QVVOptions opts = { .more_features = ACCESS_PLATFORM };
    g_autofree char *args = NULL;

    if (!first->v->pci) {
        g_test_skip("this transport has no IOMMU");
        return false;
    }
    if (!has_type(first->qts, is_x86() ? "intel-iommu" : "virtio-iommu-pci")) {
        g_test_skip("QEMU has no IOMMU for this machine");
        return false;
    }
    args = iommu_args(codec);
    *i = (Iommu) { .r = second_rig(args), .next = WINDOW };
    if (is_x86()) {
        vtd_start(i);
    } else {
        viommu_start(i);
    }
    start(i->r, &opts);
    g_assert_true(i->r->d->features & ACCESS_PLATFORM);
    return true;
}

bool iommu_start(Iommu *i, Rig *first)
{
    return iommu_start_codec(i, first, "video-codec-test");
}

void iommu_stop(Iommu *i)
{
    qvv_stop(i->r->d);
    if (i->pci) {
        viommu_stop(i);
    }
    second_rig_free(i->r);
}

void iommu_map(Iommu *i, const QVVBuffer *buf, QVVEntry *entry)
{
    *entry = (QVVEntry) { .addr = i->next };
    for (unsigned e = 0; e < buf->n_entries; e++) {
        g_assert_cmpuint(buf->entries[e].len, ==, PAGE);
        map_page(i, i->next, buf->entries[e].addr);
        i->next += PAGE;
        entry->len += PAGE;
    }
}

void iommu_map_pool(Iommu *i, GByteArray *set, const QVVPool *pool)
{
    qvv_set_num_resources(set, pool->n);
    for (unsigned n = 0; n < pool->n; n++) {
        QVVEntry entry;
        QVVResource res = {
            .id = n,
            .n_buffers = 1,
            .buffer[0] = { .n_entries = 1, .entries = &entry },
        };

        iommu_map(i, &pool->res[n].buffer[0], &entry);
        qvv_set_pages(set, &res);
    }
}
