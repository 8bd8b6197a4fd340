/*
 * libqos driver of virtio video, draft v10
 *
 * In this order: guest memory, virtqueues, set-up of the device, commands,
 * TLVs, events, capabilities, layout of frames, resources, qgraph nodes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/host-utils.h"
#include "qemu/module.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "qgraph.h"
#include "virtio-video.h"

/* How long the driver sleeps between two looks at a used ring */
#define QVV_POLL_US             200
/* The same for events; it grows as long as there are none */
#define QVV_EVENT_POLL_MIN_US   100
#define QVV_EVENT_POLL_MAX_US   500
#define QVV_DEFAULT_EVENTS      64
#define QVV_DEFAULT_EVENT_SIZE  2048

/*
 * Guest memory
 */

static uint8_t *qvv_ram_ptr(const QVVRam *ram, uint64_t addr, size_t len)
{
    /* What is not RAM, such as a device's memory, is not in the mapping */
    if (!ram->host || addr < ram->base || addr - ram->base > ram->size) {
        return NULL;
    }
    g_assert_cmphex(len, <=, ram->size - (addr - ram->base));
    return ram->host + (addr - ram->base);
}

void qvv_ram_read(const QVVRam *ram, uint64_t addr, void *buf, size_t len)
{
    uint8_t *ptr = qvv_ram_ptr(ram, addr, len);

    if (ptr) {
        memcpy(buf, ptr, len);
    } else if (len) {
        qtest_memread(ram->qts, addr, buf, len);
    }
}

void qvv_ram_write(const QVVRam *ram, uint64_t addr, const void *buf,
                   size_t len)
{
    uint8_t *ptr = qvv_ram_ptr(ram, addr, len);

    if (ptr) {
        memcpy(ptr, buf, len);
    } else if (len) {
        qtest_memwrite(ram->qts, addr, buf, len);
    }
}

/*
 * The ring's 16-bit fields are what device and driver watch of each other: in
 * shared memory they need one access and an order.
 */
static uint16_t qvv_ram_load_acquire16(const QVVRam *ram, uint64_t addr)
{
    uint16_t *ptr = (uint16_t *)qvv_ram_ptr(ram, addr, sizeof(*ptr));
    uint16_t val;

    if (ptr) {
        return le16_to_cpu(qatomic_load_acquire(ptr));
    }
    qtest_memread(ram->qts, addr, &val, sizeof(val));
    return le16_to_cpu(val);
}

static void qvv_ram_store_release16(const QVVRam *ram, uint64_t addr,
                                    uint16_t val)
{
    uint16_t *ptr = (uint16_t *)qvv_ram_ptr(ram, addr, sizeof(*ptr));

    val = cpu_to_le16(val);
    if (ptr) {
        qatomic_store_release(ptr, val);
    } else {
        qtest_memwrite(ram->qts, addr, &val, sizeof(val));
    }
}

QVVRamFile *qvv_ram_file_new(uint64_t size, bool sealed)
{
    QVVRamFile *file;
    uint8_t *host;
    int fd = memfd_create("guest-ram", MFD_ALLOW_SEALING);

    if (fd < 0) {
        return NULL;
    }
    if (ftruncate(fd, size) < 0 ||
        (sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)) {
        close(fd);
        return NULL;
    }
    host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (host == MAP_FAILED) {
        close(fd);
        return NULL;
    }
    file = g_new0(QVVRamFile, 1);
    file->fd = fd;
    file->host = host;
    file->size = size;
    return file;
}

void qvv_ram_file_free(QVVRamFile *file)
{
    if (file) {
        munmap(file->host, file->size);
        close(file->fd);
        g_free(file);
    }
}

char *qvv_ram_file_args(const QVVRamFile *file)
{
    return g_strdup_printf(" -m %" PRIu64 "k"
                           " -object memory-backend-file,id=qvv-ram"
                           ",size=%" PRIu64 ",mem-path=/proc/self/fd/%d"
                           ",share=on"
                           " -machine memory-backend=qvv-ram",
                           file->size / 1024, file->size, file->fd);
}

/*
 * Virtqueues
 */

/* Chain ends in the driver's own notes; UINT16_MAX is no descriptor */
#define QVV_CHAIN_END       UINT16_MAX
/* Descriptors of an indirect table; longer chains are direct ones */
#define QVV_TABLE_DESCS     4
#define QVV_TABLE_SIZE      (QVV_TABLE_DESCS * sizeof(struct vring_desc))

static bool qvv_has_feature(QVVDriver *d, unsigned feature)
{
    return d->features & (1ull << feature);
}

static void qvv_queue_init(QVVDriver *d, QVVQueue *q, QVirtQueue *vq)
{
    *q = (QVVQueue) {
        .vq = vq,
        .packed = qvv_has_feature(d, VIRTIO_F_RING_PACKED),
        .event_idx = qvv_has_feature(d, VIRTIO_RING_F_EVENT_IDX),
        .indirect = d->opts.indirect &&
                    qvv_has_feature(d, VIRTIO_RING_F_INDIRECT_DESC),
        .free_ids = g_new(uint16_t, vq->size),
        .chain_next = g_new(uint16_t, vq->size),
        .num_free = vq->size,
    };
    for (unsigned i = 0; i < vq->size; i++) {
        q->free_ids[i] = i;
    }
    if (q->indirect) {
        q->tables = guest_alloc(d->alloc, vq->size * QVV_TABLE_SIZE);
    }
    if (q->packed) {
        /* libqos has made a split ring of it; indexes count modulo 2^16 */
        g_autofree uint8_t *zeroes = g_malloc0(vq->size *
                                               sizeof(struct vring_desc));

        g_assert(is_power_of_2(vq->size));
        qvv_ram_write(&d->ram, vq->desc, zeroes,
                      vq->size * sizeof(struct vring_desc));
    }
}

static void qvv_queue_cleanup(QVVDriver *d, QVVQueue *q)
{
    if (q->tables) {
        guest_free(d->alloc, q->tables);
    }
    g_free(q->free_ids);
    g_free(q->chain_next);
    *q = (QVVQueue) { 0 };
}

/* The descriptor that the next chain begins with */
static uint16_t qvv_queue_next_id(const QVVQueue *q)
{
    return q->free_ids[q->free_head];
}

/* In turns, as a device with VIRTIO_F_IN_ORDER expects it */
static uint16_t qvv_queue_take_id(QVVQueue *q)
{
    uint16_t id = qvv_queue_next_id(q);

    q->free_head = (q->free_head + 1) % q->vq->size;
    q->num_free--;
    return id;
}

/* Returns: how many descriptors the chain had */
static unsigned qvv_queue_free_chain(QVVQueue *q, uint16_t id)
{
    unsigned n = 0;

    while (id != QVV_CHAIN_END) {
        g_assert_cmpuint(q->num_free, <, q->vq->size);
        q->free_ids[(q->free_head + q->num_free++) % q->vq->size] = id;
        id = q->chain_next[id];
        n++;
    }
    return n;
}

static struct vring_desc qvv_split_desc(const QVVDesc *desc, uint16_t flags,
                                        uint16_t next)
{
    return (struct vring_desc) {
        .addr = cpu_to_le64(desc->addr),
        .len = cpu_to_le32(desc->len),
        .flags = cpu_to_le16(flags | (desc->write ? VRING_DESC_F_WRITE : 0)),
        .next = cpu_to_le16(next),
    };
}

static struct vring_packed_desc qvv_packed_desc(const QVVDesc *desc,
                                                uint16_t flags, uint16_t id)
{
    return (struct vring_packed_desc) {
        .addr = cpu_to_le64(desc->addr),
        .len = cpu_to_le32(desc->len),
        .id = cpu_to_le16(id),
        .flags = cpu_to_le16(flags | (desc->write ? VRING_DESC_F_WRITE : 0)),
    };
}

/* The chain as a table; what stands for it in the ring */
static QVVDesc qvv_queue_write_table(QVVDriver *d, QVVQueue *q, uint16_t id,
                                     const QVVDesc *desc, unsigned n)
{
    QVVDesc table = {
        .addr = q->tables + id * QVV_TABLE_SIZE,
        .len = n * sizeof(struct vring_desc),
    };

    QEMU_BUILD_BUG_ON(sizeof(struct vring_desc) !=
                      sizeof(struct vring_packed_desc));
    for (unsigned i = 0; i < n; i++) {
        uint64_t addr = table.addr + i * sizeof(struct vring_desc);

        if (q->packed) {
            struct vring_packed_desc pd = qvv_packed_desc(&desc[i], 0, 0);

            qvv_ram_write(&d->ram, addr, &pd, sizeof(pd));
        } else {
            bool last = i + 1 == n;
            struct vring_desc vd = qvv_split_desc(&desc[i],
                                                  last ? 0 : VRING_DESC_F_NEXT,
                                                  last ? 0 : i + 1);

            qvv_ram_write(&d->ram, addr, &vd, sizeof(vd));
        }
    }
    return table;
}

static void qvv_split_add(QVVDriver *d, QVVQueue *q, uint16_t id,
                          const QVVDesc *desc, unsigned n, uint16_t flags)
{
    uint64_t ring = q->vq->avail + offsetof(struct vring_avail, ring);
    uint16_t head = cpu_to_le16(id);

    for (unsigned i = 0; i < n; i++) {
        bool last = i + 1 == n;
        uint16_t next = q->chain_next[id];
        struct vring_desc vd;

        vd = qvv_split_desc(&desc[i], flags | (last ? 0 : VRING_DESC_F_NEXT),
                            last ? 0 : next);
        qvv_ram_write(&d->ram, q->vq->desc + id * sizeof(vd), &vd, sizeof(vd));
        id = next;
    }
    qvv_ram_write(&d->ram, ring + q->avail_idx % q->vq->size * sizeof(head),
                  &head, sizeof(head));
    q->avail_idx++;
}

/*
 * Packed rings
 *
 * The counter is 1 in the first round, 0 in the second and so on; a descriptor
 * is available when AVAIL is the counter and USED is not, used when both are.
 */

static bool qvv_wrap_counter(const QVVQueue *q, uint16_t idx)
{
    return !(idx / q->vq->size % 2);
}

static uint64_t qvv_packed_addr(const QVVQueue *q, uint16_t idx)
{
    return q->vq->desc + idx % q->vq->size * sizeof(struct vring_packed_desc);
}

static uint64_t qvv_packed_flags_addr(const QVVQueue *q, uint16_t idx)
{
    return qvv_packed_addr(q, idx) + offsetof(struct vring_packed_desc, flags);
}

/*
 * The flags of the first descriptor that is not published yet come with
 * qvv_queue_publish(): so the device sees nothing before that.
 */
static void qvv_packed_add(QVVDriver *d, QVVQueue *q, uint16_t id,
                           const QVVDesc *desc, unsigned n, uint16_t flags)
{
    for (unsigned i = 0; i < n; i++) {
        uint16_t f = flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0) |
                     1 << (qvv_wrap_counter(q, q->avail_idx) ?
                           VRING_PACKED_DESC_F_AVAIL :
                           VRING_PACKED_DESC_F_USED);
        struct vring_packed_desc pd = qvv_packed_desc(&desc[i], f, id);
        bool first = q->avail_idx == q->published_idx;

        if (first) {
            q->head_flags = le16_to_cpu(pd.flags);
        }
        qvv_ram_write(&d->ram, qvv_packed_addr(q, q->avail_idx), &pd,
                      first ? offsetof(struct vring_packed_desc, flags) :
                      sizeof(pd));
        q->avail_idx++;
    }
}

static bool qvv_packed_wants_kick(QVVDriver *d, QVVQueue *q)
{
    uint16_t flags = qvv_ram_load_acquire16(&d->ram, q->vq->used +
        offsetof(struct vring_packed_desc_event, flags));
    uint16_t new = q->avail_idx % q->vq->size;
    uint16_t event, off_wrap;

    if (flags != VRING_PACKED_EVENT_FLAG_DESC) {
        return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
    }
    off_wrap = qvv_ram_load_acquire16(&d->ram, q->vq->used +
        offsetof(struct vring_packed_desc_event, off_wrap));
    event = off_wrap & ~(1 << VRING_PACKED_EVENT_F_WRAP_CTR);
    if (off_wrap >> VRING_PACKED_EVENT_F_WRAP_CTR !=
        qvv_wrap_counter(q, q->avail_idx)) {
        event -= q->vq->size;
    }
    return vring_need_event(event, new,
                            new - (uint16_t)(q->avail_idx - q->kicked_idx));
}

static bool qvv_packed_pop(QVVDriver *d, QVVQueue *q, uint16_t *id,
                           uint32_t *len)
{
    bool counter = qvv_wrap_counter(q, q->used_idx);
    uint16_t flags = qvv_ram_load_acquire16(&d->ram,
        qvv_packed_flags_addr(q, q->used_idx));
    struct vring_packed_desc pd;

    if (!!(flags & (1 << VRING_PACKED_DESC_F_AVAIL)) != counter ||
        !!(flags & (1 << VRING_PACKED_DESC_F_USED)) != counter) {
        return false;
    }
    qvv_ram_read(&d->ram, qvv_packed_addr(q, q->used_idx), &pd, sizeof(pd));
    *id = le16_to_cpu(pd.id);
    *len = le32_to_cpu(pd.len);
    return true;
}

/* The next interrupt is wanted for the very next chain */
static void qvv_packed_set_event(QVVDriver *d, QVVQueue *q)
{
    uint16_t off_wrap = q->used_idx % q->vq->size |
                        qvv_wrap_counter(q, q->used_idx) <<
                        VRING_PACKED_EVENT_F_WRAP_CTR;

    qvv_ram_store_release16(&d->ram, q->vq->avail +
        offsetof(struct vring_packed_desc_event, off_wrap), off_wrap);
    qvv_ram_store_release16(&d->ram, q->vq->avail +
        offsetof(struct vring_packed_desc_event, flags),
        VRING_PACKED_EVENT_FLAG_DESC);
}

/*
 * Both kinds of ring
 */

int qvv_queue_add(QVVDriver *d, QVVQueue *q, const QVVDesc *desc, unsigned n)
{
    bool indirect = q->indirect && n <= QVV_TABLE_DESCS;
    uint16_t flags = indirect ? VRING_DESC_F_INDIRECT : 0;
    unsigned n_ids = indirect ? 1 : n;
    uint16_t head, id;
    QVVDesc table;

    g_assert_cmpuint(n, >, 0);
    if (n_ids > q->num_free) {
        return -1;
    }

    head = id = qvv_queue_take_id(q);
    for (unsigned i = 1; i < n_ids; i++) {
        q->chain_next[id] = qvv_queue_next_id(q);
        id = qvv_queue_take_id(q);
    }
    q->chain_next[id] = QVV_CHAIN_END;

    if (indirect) {
        table = qvv_queue_write_table(d, q, head, desc, n);
        desc = &table;
    }
    if (q->packed) {
        qvv_packed_add(d, q, head, desc, n_ids, flags);
    } else {
        qvv_split_add(d, q, head, desc, n_ids, flags);
    }
    return head;
}

static void qvv_queue_publish(QVVDriver *d, QVVQueue *q)
{
    if (q->published_idx == q->avail_idx) {
        return;
    }
    if (q->packed) {
        qvv_ram_store_release16(&d->ram,
                                qvv_packed_flags_addr(q, q->published_idx),
                                q->head_flags);
    } else {
        qvv_ram_store_release16(&d->ram, q->vq->avail +
                                offsetof(struct vring_avail, idx),
                                q->avail_idx);
    }
    q->published_idx = q->avail_idx;
}

static bool qvv_queue_wants_kick(QVVDriver *d, QVVQueue *q)
{
    uint64_t avail_event = q->vq->used + offsetof(struct vring_used, ring) +
                           q->vq->size * sizeof(struct vring_used_elem);

    /* The index must be seen before the device's wish is read */
    smp_mb();
    if (q->packed) {
        return qvv_packed_wants_kick(d, q);
    }
    if (q->event_idx) {
        return vring_need_event(qvv_ram_load_acquire16(&d->ram, avail_event),
                                q->avail_idx, q->kicked_idx);
    }
    return !(qvv_ram_load_acquire16(&d->ram, q->vq->used) &
             VRING_USED_F_NO_NOTIFY);
}

void qvv_queue_kick(QVVDriver *d, QVVQueue *q)
{
    qvv_queue_publish(d, q);
    if (qvv_queue_wants_kick(d, q)) {
        d->vdev->bus->virtqueue_kick(d->vdev, q->vq);
    }
    q->kicked_idx = q->avail_idx;
}

static bool qvv_split_pop(QVVDriver *d, QVVQueue *q, uint16_t *head,
                          uint32_t *len)
{
    struct vring_used_elem elem;

    if (qvv_ram_load_acquire16(&d->ram, q->vq->used +
                               offsetof(struct vring_used, idx)) ==
        q->used_idx) {
        return false;
    }
    qvv_ram_read(&d->ram, q->vq->used + offsetof(struct vring_used, ring) +
                 (q->used_idx % q->vq->size) * sizeof(elem),
                 &elem, sizeof(elem));
    g_assert_cmpuint(le32_to_cpu(elem.id), <, q->vq->size);
    *head = le32_to_cpu(elem.id);
    *len = le32_to_cpu(elem.len);
    return true;
}

static void qvv_split_set_event(QVVDriver *d, QVVQueue *q)
{
    qvv_ram_store_release16(&d->ram, q->vq->avail +
                            offsetof(struct vring_avail, ring) +
                            q->vq->size * sizeof(uint16_t), q->used_idx);
}

bool qvv_queue_pop(QVVDriver *d, QVVQueue *q, uint16_t *head, uint32_t *len)
{
    uint32_t used;
    unsigned n;

    if (!(q->packed ? qvv_packed_pop : qvv_split_pop)(d, q, head, &used)) {
        return false;
    }
    g_assert_cmpuint(*head, <, q->vq->size);
    if (len) {
        *len = used;
    }
    n = qvv_queue_free_chain(q, *head);
    q->used_idx += q->packed ? n : 1;
    if (q->event_idx) {
        (q->packed ? qvv_packed_set_event : qvv_split_set_event)(d, q);
    }
    return true;
}

/* VRING_AVAIL_F_NO_INTERRUPT, or what says so for a packed ring */
static void qvv_queue_no_interrupts(QVVDriver *d, QVVQueue *q)
{
    if (q->packed) {
        qvv_ram_store_release16(&d->ram, q->vq->avail +
            offsetof(struct vring_packed_desc_event, flags),
            VRING_PACKED_EVENT_FLAG_DISABLE);
    } else {
        qvv_ram_store_release16(&d->ram, q->vq->avail,
                                VRING_AVAIL_F_NO_INTERRUPT);
    }
}

/* At least @size bytes of guest memory that belong to descriptor @index */
static uint64_t qvv_cmd_memory(QVVDriver *d, uint16_t index, size_t size)
{
    if (d->cmd_mem_size[index] < size) {
        if (d->cmd_mem[index]) {
            guest_free(d->alloc, d->cmd_mem[index]);
        }
        size = QEMU_ALIGN_UP(size, QVV_PAGE_SIZE);
        d->cmd_mem[index] = guest_alloc(d->alloc, size);
        d->cmd_mem_size[index] = size;
    }
    return d->cmd_mem[index];
}

/* One event buffer, of the descriptor that is next; there must be one */
static void qvv_add_event_buffer(QVVDriver *d)
{
    uint16_t index = qvv_queue_next_id(&d->eventq);
    QVVDesc desc = { .len = d->opts.event_size, .write = true };

    if (!d->event_mem[index]) {
        d->event_mem[index] = guest_alloc(d->alloc, desc.len);
    }
    desc.addr = d->event_mem[index];
    qvv_queue_add(d, &d->eventq, &desc, 1);
}

unsigned qvv_post_events(QVVDriver *d, unsigned n)
{
    QVVQueue *q = &d->eventq;
    unsigned posted;

    for (posted = 0; posted < n && q->num_free; posted++) {
        qvv_add_event_buffer(d);
    }
    qvv_queue_kick(d, q);
    d->events_unkicked = 0;
    return posted;
}

/*
 * An event buffer for one that was used.  The device sees it at once if it
 * looks; it is notified only now and then, as it has others: before the last
 * quarter is used up.
 */
static void qvv_repost_event(QVVDriver *d)
{
    QVVQueue *q = &d->eventq;

    qvv_add_event_buffer(d);
    if (++d->events_unkicked > d->opts.event_buffers / 4) {
        qvv_queue_kick(d, q);
        d->events_unkicked = 0;
    } else {
        qvv_queue_publish(d, q);
    }
}

/*
 * Set-up
 */

QVVDriver *qvv_new(QVirtioVideo *v, QGuestAllocator *alloc, QTestState *qts)
{
    QVVDriver *d = g_new0(QVVDriver, 1);

    d->video = v;
    d->vdev = v->vdev;
    d->alloc = alloc;
    d->qts = qts;
    d->ram.qts = qts;
    d->next_cookie = 1;
    g_queue_init(&d->stash);
    return d;
}

void qvv_use_ram_file(QVVDriver *d, const QVVRamFile *file, uint64_t base)
{
    g_assert(!d->started);
    d->ram.host = file->host;
    d->ram.size = file->size;
    d->ram.base = base;
}

uint64_t qvv_offered_features(QVVDriver *d)
{
    return d->vdev->bus->get_features(d->vdev);
}

bool qvv_is_broken(QVVDriver *d)
{
    return d->vdev->bus->get_status(d->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

bool qvv_interrupt(QVVDriver *d)
{
    return d->vdev->bus->get_queue_isr_status(d->vdev, d->eventq.vq);
}

static uint64_t qvv_default_features(void)
{
    return ~((1ull << VIRTIO_RING_F_EVENT_IDX) |
             (1ull << VIRTIO_F_RING_PACKED) |
             (1ull << VIRTIO_F_ACCESS_PLATFORM) |
             (1ull << VIRTIO_F_IN_ORDER) |
             (1ull << VIRTIO_F_NOTIFICATION_DATA) |
             QVIRTIO_F_BAD_FEATURE |
             (1ull << VIRTIO_VIDEO_F_V4L2_COMPATIBLE_LAST_BUFFER));
}

/* qvirtio_set_features() asserts what this returns */
static bool qvv_negotiate(QVVDriver *d)
{
    QVirtioDevice *vdev = d->vdev;
    uint64_t wanted = d->opts.features ?: qvv_default_features();
    uint8_t status;

    d->features = qvv_offered_features(d) &
                  (wanted | d->opts.more_features |
                   (1ull << VIRTIO_F_VERSION_1));
    vdev->features = d->features;
    vdev->bus->set_features(vdev, d->features);
    vdev->features_negotiated = true;
    if (!qvv_has_feature(d, VIRTIO_F_VERSION_1)) {
        return true;            /* a legacy transport has no FEATURES_OK */
    }
    status = vdev->bus->get_status(vdev) | VIRTIO_CONFIG_S_FEATURES_OK;
    vdev->bus->set_status(vdev, status);
    if (vdev->bus->get_status(vdev) != status) {
        qvirtio_reset(vdev);
        return false;
    }
    return true;
}

static void qvv_setup_queues(QVVDriver *d)
{
    qvv_queue_init(d, &d->cmdq, qvirtqueue_setup(d->vdev, d->alloc,
                                                 VIRTIO_VIDEO_VQ_COMMAND));
    qvv_queue_init(d, &d->eventq, qvirtqueue_setup(d->vdev, d->alloc,
                                                   VIRTIO_VIDEO_VQ_EVENT));
    d->cmd_mem = g_new0(uint64_t, d->cmdq.vq->size);
    d->cmd_mem_size = g_new0(uint32_t, d->cmdq.vq->size);
    d->event_mem = g_new0(uint64_t, d->eventq.vq->size);
    if (!d->opts.event_buffers) {
        d->opts.event_buffers = MIN(QVV_DEFAULT_EVENTS, d->eventq.vq->size);
    }
    if (d->opts.no_interrupts) {
        qvv_queue_no_interrupts(d, &d->cmdq);
        qvv_queue_no_interrupts(d, &d->eventq);
    }
}

bool qvv_start(QVVDriver *d, const QVVOptions *opts)
{
    g_assert(!d->started);
    d->opts = opts ? *opts : (QVVOptions) { 0 };
    d->opts.event_size = d->opts.event_size ?: QVV_DEFAULT_EVENT_SIZE;

    qvirtio_start_device(d->vdev);
    if (!qvv_negotiate(d)) {
        return false;
    }
    qvv_setup_queues(d);
    d->max_streams = qvirtio_config_readl(d->vdev,
        offsetof(struct virtio_video_config, max_streams));
    d->caps_length = qvirtio_config_readl(d->vdev,
        offsetof(struct virtio_video_config, caps_length));
    qvirtio_set_driver_ok(d->vdev);
    d->started = true;
    if (!d->opts.manual_events) {
        qvv_post_events(d, d->opts.event_buffers);
    }
    return true;
}

static void qvv_free_memory(QVVDriver *d, uint64_t *mem, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (mem[i]) {
            guest_free(d->alloc, mem[i]);
        }
    }
}

void qvv_abandon(QVVDriver *d)
{
    QVVEvent *ev;

    if (!d->started) {
        return;
    }
    qvv_free_memory(d, d->cmd_mem, d->cmdq.vq->size);
    qvv_free_memory(d, d->event_mem, d->eventq.vq->size);
    g_clear_pointer(&d->cmd_mem, g_free);
    g_clear_pointer(&d->cmd_mem_size, g_free);
    g_clear_pointer(&d->event_mem, g_free);
    qvirtqueue_cleanup(d->vdev->bus, d->cmdq.vq, d->alloc);
    qvirtqueue_cleanup(d->vdev->bus, d->eventq.vq, d->alloc);
    qvv_queue_cleanup(d, &d->cmdq);
    qvv_queue_cleanup(d, &d->eventq);
    while ((ev = g_queue_pop_head(&d->stash))) {
        qvv_event_free(ev);
    }
    d->hold = false;
    d->events_unkicked = 0;
    d->started = false;
}

void qvv_stop(QVVDriver *d)
{
    if (d->started) {
        qvirtio_reset(d->vdev);
        qvv_abandon(d);
    }
}

void qvv_free(QVVDriver *d)
{
    qvv_stop(d);
    g_free(d);
}

static void qvv_pci_write16(QVirtioPCIDevice *pci, unsigned reg, uint16_t val)
{
    qpci_io_writew(pci->pdev, pci->bar, pci->common_cfg_offset + reg, val);
}

bool qvv_ring_reset(QVVDriver *d, unsigned index)
{
    QVVQueue *q = index == VIRTIO_VIDEO_VQ_COMMAND ? &d->cmdq : &d->eventq;
    QVirtioPCIDevice *pci = d->video->pci;
    QVirtQueue *vq = q->vq;

    if (!pci || !qvv_has_feature(d, VIRTIO_F_RING_RESET)) {
        return false;
    }
    d->vdev->bus->queue_select(d->vdev, index);
    qvv_pci_write16(pci, VIRTIO_PCI_COMMON_Q_RESET, 1);
    while (qpci_io_readw(pci->pdev, pci->bar, pci->common_cfg_offset +
                         VIRTIO_PCI_COMMON_Q_RESET)) {
        g_usleep(QVV_POLL_US);
    }

    qvv_queue_cleanup(d, q);
    qvring_init(d->qts, d->alloc, vq, vq->desc);
    qvv_queue_init(d, q, vq);
    qvv_pci_write16(pci, VIRTIO_PCI_COMMON_Q_SIZE, vq->size);
    d->vdev->bus->set_queue_address(d->vdev, vq);
    qvv_pci_write16(pci, VIRTIO_PCI_COMMON_Q_ENABLE, 1);
    return true;
}

/*
 * Commands
 */

static void qvv_poll(QVVDriver *d);

static void qvv_reap_commands(QVVDriver *d)
{
    uint16_t head;

    while (qvv_queue_pop(d, &d->cmdq, &head, NULL)) {
        /* The memory stays with the descriptor */
    }
}

unsigned qvv_cmds_in_flight(QVVDriver *d)
{
    qvv_reap_commands(d);
    return d->cmdq.vq->size - d->cmdq.num_free;
}

/* Events are taken meanwhile: a device without event buffers takes nothing */
static void qvv_wait_cmd_slots(QVVDriver *d, unsigned n)
{
    int64_t end = g_get_monotonic_time() + QVV_TIMEOUT_US;

    while (d->cmdq.num_free < n) {
        qvv_reap_commands(d);
        if (d->cmdq.num_free >= n) {
            return;
        }
        qvv_queue_kick(d, &d->cmdq);
        qvv_poll(d);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(QVV_POLL_US);
    }
}

uint32_t qvv_cmd(QVVDriver *d, const void *cmd, size_t len)
{
    uint32_t cookie = d->next_cookie++;
    QVVDesc desc = { .len = len };
    uint8_t word[4];

    qvv_wait_cmd_slots(d, 1);
    desc.addr = qvv_cmd_memory(d, qvv_queue_next_id(&d->cmdq), len);
    qvv_ram_write(&d->ram, desc.addr, cmd, len);
    stl_le_p(word, cookie);
    qvv_ram_write(&d->ram, desc.addr +
                  offsetof(struct virtio_video_stream_cmd_header,
                           async_response_cookie), word, sizeof(word));
    qvv_queue_add(d, &d->cmdq, &desc, 1);
    if (!d->hold) {
        qvv_queue_kick(d, &d->cmdq);
    }
    if (!d->next_cookie) {
        d->next_cookie = 1;
    }
    return cookie;
}

int64_t qvv_cmd_raw(QVVDriver *d, const void *req, size_t req_len,
                    size_t split, void *resp, size_t resp_len,
                    int64_t timeout_us)
{
    int64_t end = g_get_monotonic_time() + timeout_us;
    QVVDesc desc[3];
    unsigned n = 0;
    uint64_t addr;
    uint16_t head;
    uint32_t used;
    int chain;

    qvv_wait_cmd_slots(d, ARRAY_SIZE(desc));
    addr = qvv_cmd_memory(d, qvv_queue_next_id(&d->cmdq),
                          MAX(1, req_len + resp_len));
    qvv_ram_write(&d->ram, addr, req, req_len);
    if (split && split < req_len) {
        desc[n++] = (QVVDesc) { .addr = addr, .len = split };
        desc[n++] = (QVVDesc) { .addr = addr + split, .len = req_len - split };
    } else if (req_len) {
        desc[n++] = (QVVDesc) { .addr = addr, .len = req_len };
    }
    if (resp_len) {
        desc[n++] = (QVVDesc) {
            .addr = addr + req_len, .len = resp_len, .write = true
        };
    }
    chain = qvv_queue_add(d, &d->cmdq, desc, n);
    qvv_queue_kick(d, &d->cmdq);

    for (;;) {
        while (qvv_queue_pop(d, &d->cmdq, &head, &used)) {
            if (head == chain) {
                if (resp) {
                    qvv_ram_read(&d->ram, addr + req_len, resp, resp_len);
                }
                return used;
            }
        }
        if (g_get_monotonic_time() >= end) {
            return -1;
        }
        qvv_poll(d);
        g_usleep(QVV_POLL_US);
    }
}

void qvv_hold(QVVDriver *d)
{
    d->hold = true;
}

void qvv_flush(QVVDriver *d)
{
    d->hold = false;
    if (d->cmdq.avail_idx != d->cmdq.kicked_idx) {
        qvv_queue_kick(d, &d->cmdq);
    }
}

static struct virtio_video_stream_cmd_header qvv_header(uint32_t type,
                                                        uint32_t stream,
                                                        uint32_t queue)
{
    return (struct virtio_video_stream_cmd_header) {
        .type = cpu_to_le32(type),
        .stream_id = cpu_to_le32(stream),
        .queue_type = cpu_to_le32(queue),
    };
}

uint32_t qvv_open(QVVDriver *d, uint32_t stream, uint32_t stream_type)
{
    struct virtio_video_stream_open cmd = {
        .hdr = qvv_header(VIRTIO_VIDEO_CMD_STREAM_OPEN, stream,
                          VIRTIO_VIDEO_QUEUE_TYPE_MAIN),
        .stream_type = cpu_to_le32(stream_type),
    };

    return qvv_cmd(d, &cmd, sizeof(cmd));
}

uint32_t qvv_close(QVVDriver *d, uint32_t stream)
{
    struct virtio_video_stream_close cmd = {
        .hdr = qvv_header(VIRTIO_VIDEO_CMD_STREAM_CLOSE, stream,
                          VIRTIO_VIDEO_QUEUE_TYPE_MAIN),
    };

    return qvv_cmd(d, &cmd, sizeof(cmd));
}

static uint32_t qvv_params_cmd(QVVDriver *d, uint32_t type, uint32_t stream,
                               uint32_t queue, const GByteArray *set)
{
    struct virtio_video_stream_get_set_params cmd = {
        .hdr = qvv_header(type, stream, queue),
    };
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    g_byte_array_append(bytes, (uint8_t *)&cmd, sizeof(cmd));
    g_byte_array_append(bytes, set->data, set->len);
    return qvv_cmd(d, bytes->data, bytes->len);
}

uint32_t qvv_set_params(QVVDriver *d, uint32_t stream, uint32_t queue,
                        const GByteArray *set)
{
    return qvv_params_cmd(d, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, stream,
                          queue, set);
}

uint32_t qvv_get_params(QVVDriver *d, uint32_t stream, uint32_t queue,
                        uint32_t container)
{
    g_autoptr(GByteArray) set = qvv_set_new(container);

    return qvv_params_cmd(d, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, stream,
                          queue, set);
}

uint32_t qvv_unblock(QVVDriver *d, uint32_t stream)
{
    struct virtio_video_stream_unblock cmd = {
        .hdr = qvv_header(VIRTIO_VIDEO_CMD_STREAM_UNBLOCK, stream,
                          VIRTIO_VIDEO_QUEUE_TYPE_MAIN),
    };

    return qvv_cmd(d, &cmd, sizeof(cmd));
}

uint32_t qvv_drain(QVVDriver *d, uint32_t stream)
{
    struct virtio_video_stream_drain cmd = {
        .hdr = qvv_header(VIRTIO_VIDEO_CMD_STREAM_DRAIN, stream,
                          VIRTIO_VIDEO_QUEUE_TYPE_INPUT),
    };

    return qvv_cmd(d, &cmd, sizeof(cmd));
}

uint32_t qvv_queue_reset(QVVDriver *d, uint32_t stream, uint32_t queue)
{
    struct virtio_video_queue_reset cmd = {
        .hdr = qvv_header(VIRTIO_VIDEO_CMD_STREAM_QUEUE_RESET, stream,
                          VIRTIO_VIDEO_QUEUE_TYPE_MAIN),
        .reset_queue_type = cpu_to_le32(queue),
    };

    return qvv_cmd(d, &cmd, sizeof(cmd));
}

uint32_t qvv_queue_input(QVVDriver *d, uint32_t stream, uint32_t resource,
                         uint64_t timestamp, uint32_t offset, uint32_t len)
{
    struct virtio_video_resource_queue cmd = {
        .hdr = qvv_header(VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE, stream,
                          VIRTIO_VIDEO_QUEUE_TYPE_INPUT),
        .resource_id = cpu_to_le32(resource),
        .timestamp = cpu_to_le64(timestamp),
        .offsets = { cpu_to_le32(offset) },
        .data_sizes = { cpu_to_le32(len) },
    };

    return qvv_cmd(d, &cmd, sizeof(cmd));
}

uint32_t qvv_queue_planes(QVVDriver *d, uint32_t stream, uint32_t resource,
                          uint64_t timestamp, unsigned n,
                          const uint32_t *offsets, const uint32_t *sizes)
{
    struct virtio_video_resource_queue cmd = {
        .hdr = qvv_header(VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE, stream,
                          VIRTIO_VIDEO_QUEUE_TYPE_INPUT),
        .resource_id = cpu_to_le32(resource),
        .timestamp = cpu_to_le64(timestamp),
    };

    for (unsigned i = 0; i < n; i++) {
        cmd.offsets[i] = cpu_to_le32(offsets[i]);
        cmd.data_sizes[i] = cpu_to_le32(sizes[i]);
    }
    return qvv_cmd(d, &cmd, sizeof(cmd));
}

uint32_t qvv_queue_frame(QVVDriver *d, uint32_t stream, uint32_t resource,
                         uint64_t timestamp, const QVVLayout *layout)
{
    uint32_t offsets[QVV_MAX_FRAME_PLANES], sizes[QVV_MAX_FRAME_PLANES];

    for (unsigned i = 0; i < layout->n_planes; i++) {
        offsets[i] = layout->offset[i];
        sizes[i] = layout->stride[i] * layout->rows[i];
    }
    return qvv_queue_planes(d, stream, resource, timestamp, layout->n_planes,
                            offsets, sizes);
}

uint32_t qvv_queue_output(QVVDriver *d, uint32_t stream, uint32_t resource)
{
    struct virtio_video_resource_queue cmd = {
        .hdr = qvv_header(VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE, stream,
                          VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT),
        .resource_id = cpu_to_le32(resource),
    };

    return qvv_cmd(d, &cmd, sizeof(cmd));
}

/*
 * TLVs: building
 */

GByteArray *qvv_set_new(uint32_t container)
{
    GByteArray *set = g_byte_array_new();

    g_byte_array_set_size(set, sizeof(struct virtio_video_tlv));
    stl_le_p(set->data, container);
    stl_le_p(set->data + 4, 0);
    return set;
}

void qvv_set_tlv(GByteArray *set, uint32_t type, const void *value,
                 uint32_t len)
{
    uint8_t header[sizeof(struct virtio_video_tlv)];

    stl_le_p(header, type);
    stl_le_p(header + 4, len);
    g_byte_array_append(set, header, sizeof(header));
    if (len) {
        g_byte_array_append(set, value, len);
    }
    stl_le_p(set->data + 4, set->len - sizeof(header));
}

void qvv_set_coded_format(GByteArray *set, uint32_t format)
{
    struct virtio_video_tlv_coded_format val = {
        .format = cpu_to_le32(format),
    };

    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_CODED_FORMAT, &val, sizeof(val));
}

void qvv_set_raw_format(GByteArray *set, const QVVRawFormat *format)
{
    struct virtio_video_tlv_raw_format_val val = {
        .planes_layout = cpu_to_le32(format->planes_layout),
        .fourcc = cpu_to_le32(format->fourcc),
        .modifier = cpu_to_le64(format->modifier),
        .width = cpu_to_le32(format->width),
        .height = cpu_to_le32(format->height),
        .stride_align = cpu_to_le32(format->stride_align),
        .height_align = cpu_to_le32(format->height_align),
        .plane_align = cpu_to_le32(format->plane_align),
    };

    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RAW_FORMAT, &val, sizeof(val));
}

void qvv_set_num_resources(GByteArray *set, uint32_t num)
{
    struct virtio_video_tlv_resources_val val = {
        .num_resources = cpu_to_le32(num),
    };
    bool raw = ldl_le_p(set->data) == VIRTIO_VIDEO_TLV_RAW_SET;

    qvv_set_tlv(set, raw ? VIRTIO_VIDEO_TLV_RAW_RESOURCES :
                VIRTIO_VIDEO_TLV_CODED_RESOURCES, &val, sizeof(val));
}

void qvv_set_crop(GByteArray *set, const QVVRect *crop)
{
    struct virtio_video_tlv_crop_val val = {
        .left = cpu_to_le32(crop->left),
        .top = cpu_to_le32(crop->top),
        .width = cpu_to_le32(crop->width),
        .height = cpu_to_le32(crop->height),
    };

    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_CROP, &val, sizeof(val));
}

void qvv_set_pages(GByteArray *set, const QVVResource *res)
{
    struct virtio_video_tlv_resource_guest_pages val = {
        .resource_id = cpu_to_le32(res->id),
    };
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    g_byte_array_append(bytes, (uint8_t *)&val, sizeof(val));
    for (unsigned b = 0; b < res->n_buffers; b++) {
        const QVVBuffer *buf = &res->buffer[b];

        stl_le_p(bytes->data +
                 offsetof(struct virtio_video_tlv_resource_guest_pages,
                          num_entries) + b * 4, buf->n_entries);
        for (unsigned i = 0; i < buf->n_entries; i++) {
            struct virtio_video_resource_sg_entry entry = {
                .addr = cpu_to_le64(buf->entries[i].addr),
                .length = cpu_to_le32(buf->entries[i].len),
            };

            g_byte_array_append(bytes, (uint8_t *)&entry, sizeof(entry));
        }
    }
    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES, bytes->data,
                bytes->len);
}

void qvv_set_control(GByteArray *set, uint32_t id, uint32_t value)
{
    uint8_t tlv[sizeof(struct virtio_video_tlv) + 4];

    stl_le_p(tlv, id);
    stl_le_p(tlv + 4, 4);
    /* An enum is a byte with padding after it: the same bytes */
    stl_le_p(tlv + 8, value);
    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_V4L2_CONTROLS, tlv, sizeof(tlv));
}

/*
 * TLVs: reading
 */

typedef struct QVVTlvIter {
    const uint8_t *data;
    size_t len;
    uint32_t type;
    const uint8_t *value;
    uint32_t value_len;
} QVVTlvIter;

/* False at the end; bytes that are no TLV are left in it->len then */
static bool qvv_tlv_next(QVVTlvIter *it)
{
    uint32_t len;

    if (it->len < sizeof(struct virtio_video_tlv)) {
        return false;
    }
    len = ldl_le_p(it->data + 4);
    if (len % 4 || len > it->len - sizeof(struct virtio_video_tlv)) {
        return false;
    }
    it->type = ldl_le_p(it->data);
    it->value = it->data + sizeof(struct virtio_video_tlv);
    it->value_len = len;
    it->data = it->value + len;
    it->len -= sizeof(struct virtio_video_tlv) + len;
    return true;
}

static QVVTlvIter qvv_tlv_inside(const QVVTlvIter *it)
{
    return (QVVTlvIter) { .data = it->value, .len = it->value_len };
}

static bool qvv_parse_controls(const QVVTlvIter *container, QVVParams *p)
{
    QVVTlvIter it = qvv_tlv_inside(container);

    while (qvv_tlv_next(&it)) {
        if (it.value_len != 4 || p->n_controls == QVV_MAX_CONTROLS) {
            return false;
        }
        p->controls[p->n_controls].id = it.type;
        p->controls[p->n_controls].value = ldl_le_p(it.value);
        p->n_controls++;
    }
    return it.len == 0;
}

static void qvv_parse_raw_format(const uint8_t *value, QVVRawFormat *raw)
{
    struct virtio_video_tlv_raw_format_val val;

    memcpy(&val, value, sizeof(val));
    *raw = (QVVRawFormat) {
        .planes_layout = le32_to_cpu(val.planes_layout),
        .fourcc = le32_to_cpu(val.fourcc),
        .modifier = le64_to_cpu(val.modifier),
        .width = le32_to_cpu(val.width),
        .height = le32_to_cpu(val.height),
        .stride_align = le32_to_cpu(val.stride_align),
        .height_align = le32_to_cpu(val.height_align),
        .plane_align = le32_to_cpu(val.plane_align),
    };
}

static bool qvv_parse_param(const QVVTlvIter *it, QVVParams *p)
{
    uint32_t id;

    switch (it->type) {
    case VIRTIO_VIDEO_TLV_CODED_FORMAT:
        p->coded_format = it->value_len == 4 ? ldl_le_p(it->value) : 0;
        return it->value_len == 4;
    case VIRTIO_VIDEO_TLV_CODED_RESOURCES:
    case VIRTIO_VIDEO_TLV_RAW_RESOURCES:
        p->num_resources = it->value_len == 4 ? ldl_le_p(it->value) : 0;
        return it->value_len == 4;
    case VIRTIO_VIDEO_TLV_RAW_FORMAT:
        if (it->value_len != sizeof(struct virtio_video_tlv_raw_format_val)) {
            return false;
        }
        qvv_parse_raw_format(it->value, &p->raw);
        return true;
    case VIRTIO_VIDEO_TLV_CROP:
        if (it->value_len != sizeof(struct virtio_video_tlv_crop_val)) {
            return false;
        }
        p->crop = (QVVRect) {
            ldl_le_p(it->value), ldl_le_p(it->value + 4),
            ldl_le_p(it->value + 8), ldl_le_p(it->value + 12)
        };
        return true;
    case VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES:
    case VIRTIO_VIDEO_TLV_RESOURCE_VIRTIO_OBJECT:
        if (it->value_len != VIRTIO_VIDEO_TLV_RESOURCE_RESP_LENGTH) {
            return false;
        }
        id = ldl_le_p(it->value);
        p->n_attached++;
        if (id < 64) {
            p->attached |= 1ull << id;
        }
        return true;
    case VIRTIO_VIDEO_TLV_V4L2_CONTROLS:
        return qvv_parse_controls(it, p);
    default:
        return false;
    }
}

/* The body of SET_PARAMS and GET_PARAMS: exactly one container */
static bool qvv_parse_params(const uint8_t *data, size_t len, QVVParams *p)
{
    QVVTlvIter outer = { .data = data, .len = len };
    QVVTlvIter it;

    if (!qvv_tlv_next(&outer) || outer.len ||
        (outer.type != VIRTIO_VIDEO_TLV_CODED_SET &&
         outer.type != VIRTIO_VIDEO_TLV_RAW_SET)) {
        return false;
    }
    p->container = outer.type;
    it = qvv_tlv_inside(&outer);
    while (qvv_tlv_next(&it)) {
        if (!qvv_parse_param(&it, p)) {
            return false;
        }
        p->present |= 1u << it.type;
    }
    return it.len == 0;
}

/*
 * Events
 */

static void qvv_parse_buffer(QVVEvent *ev)
{
    struct virtio_video_resource_queue_async_resp resp;

    memcpy(&resp, ev->raw, sizeof(resp));
    ev->has_buffer = true;
    ev->queue_flags = le32_to_cpu(resp.flags);
    ev->timestamp = le64_to_cpu(resp.timestamp);
    for (int i = 0; i < VIRTIO_VIDEO_MAX_PLANES; i++) {
        ev->offsets[i] = le32_to_cpu(resp.offsets[i]);
        ev->data_sizes[i] = le32_to_cpu(resp.data_sizes[i]);
    }
    for (int i = 0; i < sizeof(resp.padding); i++) {
        ev->malformed |= resp.padding[i] != 0;
    }
}

static void qvv_parse_event(QVVEvent *ev)
{
    struct virtio_video_event_header hdr;

    if (ev->len < sizeof(hdr)) {
        ev->malformed = true;
        return;
    }
    memcpy(&hdr, ev->raw, sizeof(hdr));
    ev->type = le32_to_cpu(hdr.event_type);
    ev->stream = le32_to_cpu(hdr.stream_id);
    ev->cookie = le32_to_cpu(hdr.async_response_cookie);
    ev->flags = le32_to_cpu(hdr.event_flags);

    switch (ev->type) {
    case VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS:
    case VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS:
        if (ev->len > sizeof(hdr)) {
            ev->has_params = qvv_parse_params(ev->raw + sizeof(hdr),
                                              ev->len - sizeof(hdr),
                                              &ev->params);
            ev->malformed = !ev->has_params;
        }
        break;
    case VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE:
        if (ev->len ==
            sizeof(struct virtio_video_resource_queue_async_resp)) {
            qvv_parse_buffer(ev);
        } else {
            ev->malformed = ev->len != sizeof(hdr);
        }
        break;
    default:
        ev->malformed = ev->len != sizeof(hdr);
    }
}

void qvv_event_free(QVVEvent *ev)
{
    g_free(ev);
}

static QVVEvent *qvv_read_event(QVVDriver *d, uint16_t index, uint32_t len)
{
    QVVEvent *ev;

    g_assert_cmpuint(len, <=, d->opts.event_size);
    ev = g_malloc0(sizeof(*ev) + len);
    ev->len = len;
    qvv_ram_read(&d->ram, d->event_mem[index], ev->raw, len);
    qvv_parse_event(ev);
    return ev;
}

/* Moves everything that the device has written to the stash */
static void qvv_poll(QVVDriver *d)
{
    uint16_t index;
    uint32_t len;

    while (qvv_queue_pop(d, &d->eventq, &index, &len)) {
        g_queue_push_tail(&d->stash, qvv_read_event(d, index, len));
        if (!d->opts.manual_events) {
            qvv_repost_event(d);
        }
    }
}

typedef bool (*QVVMatch)(const QVVEvent *ev, uint32_t arg);

/* The first of the stash that matches, taken out of it */
static QVVEvent *qvv_take(QVVDriver *d, QVVMatch match, uint32_t arg)
{
    for (GList *l = d->stash.head; l; l = l->next) {
        QVVEvent *ev = l->data;

        if (!match || match(ev, arg)) {
            g_queue_delete_link(&d->stash, l);
            return ev;
        }
    }
    return NULL;
}

static QVVEvent *qvv_wait_match(QVVDriver *d, QVVMatch match, uint32_t arg,
                                int64_t timeout_us)
{
    int64_t end = g_get_monotonic_time() + timeout_us;
    unsigned pause = QVV_EVENT_POLL_MIN_US;
    QVVEvent *ev;

    for (;;) {
        qvv_poll(d);
        ev = qvv_take(d, match, arg);
        if (ev || g_get_monotonic_time() >= end) {
            return ev;
        }
        g_usleep(pause);
        pause = MIN(2 * pause, QVV_EVENT_POLL_MAX_US);
    }
}

static bool qvv_match_cookie(const QVVEvent *ev, uint32_t cookie)
{
    return ev->cookie == cookie &&
           !(ev->flags & VIRTIO_VIDEO_EVENT_FLAG_STANDALONE);
}

static bool qvv_match_standalone(const QVVEvent *ev, uint32_t type)
{
    return ev->type == type &&
           (ev->flags & VIRTIO_VIDEO_EVENT_FLAG_STANDALONE);
}

QVVEvent *qvv_next(QVVDriver *d, int64_t timeout_us)
{
    return qvv_wait_match(d, NULL, 0, timeout_us);
}

static bool qvv_match_stream(const QVVEvent *ev, uint32_t stream)
{
    return ev->stream == stream;
}

QVVEvent *qvv_next_of(QVVDriver *d, uint32_t stream, int64_t timeout_us)
{
    return qvv_wait_match(d, qvv_match_stream, stream, timeout_us);
}

QVVEvent *qvv_wait_cookie(QVVDriver *d, uint32_t cookie, int64_t timeout_us)
{
    return qvv_wait_match(d, qvv_match_cookie, cookie, timeout_us);
}

QVVEvent *qvv_wait(QVVDriver *d, uint32_t cookie)
{
    QVVEvent *ev = qvv_wait_cookie(d, cookie, QVV_TIMEOUT_US);

    g_assert_nonnull(ev);
    return ev;
}

QVVEvent *qvv_wait_standalone(QVVDriver *d, uint32_t type)
{
    QVVEvent *ev = qvv_wait_match(d, qvv_match_standalone, type,
                                  QVV_TIMEOUT_US);

    g_assert_nonnull(ev);
    return ev;
}

static void qvv_assert_flags(QVVDriver *d, uint32_t cookie, uint32_t want)
{
    g_autoptr(QVVEvent) ev = qvv_wait(d, cookie);
    uint32_t flags = ev->flags & (VIRTIO_VIDEO_EVENT_FLAG_ERROR |
                                  VIRTIO_VIDEO_EVENT_FLAG_CANCELED);

    if (flags != want || ev->malformed) {
        g_autofree char *text = qvv_event_str(ev);

        g_test_message("unexpected event: %s", text);
    }
    g_assert_cmphex(flags, ==, want);
    g_assert_false(ev->malformed);
}

void qvv_assert_ok(QVVDriver *d, uint32_t cookie)
{
    qvv_assert_flags(d, cookie, 0);
}

void qvv_assert_error(QVVDriver *d, uint32_t cookie)
{
    qvv_assert_flags(d, cookie, VIRTIO_VIDEO_EVENT_FLAG_ERROR);
}

void qvv_assert_canceled(QVVDriver *d, uint32_t cookie)
{
    qvv_assert_flags(d, cookie, VIRTIO_VIDEO_EVENT_FLAG_CANCELED);
}

void qvv_assert_quiet(QVVDriver *d, int64_t timeout_us)
{
    g_autoptr(QVVEvent) ev = qvv_next(d, timeout_us);

    if (ev) {
        g_autofree char *text = qvv_event_str(ev);

        g_test_message("unexpected event: %s", text);
    }
    g_assert_null(ev);
}

static const char *qvv_cmd_name(uint32_t type)
{
    static const char *const names[] = {
        "OPEN", "CLOSE", "SET_PARAMS", "GET_PARAMS", "UNBLOCK", "DRAIN",
        "QUEUE_RESET", "RESOURCE_QUEUE",
    };

    type -= VIRTIO_VIDEO_CMD_STREAM_OPEN;
    return type < ARRAY_SIZE(names) ? names[type] : "UNKNOWN";
}

char *qvv_event_str(const QVVEvent *ev)
{
    static const char *const flags[] = {
        "ERROR", "STANDALONE", "CANCELED", "BLOCKED",
    };
    GString *s = g_string_new(NULL);

    g_string_append_printf(s, "%s stream %u cookie %u", qvv_cmd_name(ev->type),
                           ev->stream, ev->cookie);
    for (int i = 0; i < ARRAY_SIZE(flags); i++) {
        if (ev->flags & (1u << i)) {
            g_string_append_printf(s, " %s", flags[i]);
        }
    }
    if (ev->has_buffer) {
        g_string_append_printf(s, " timestamp %" PRIu64, ev->timestamp);
    }
    if (ev->malformed) {
        g_string_append_printf(s, " malformed (%u bytes)", ev->len);
    }
    return g_string_free(s, false);
}

/*
 * Capabilities
 */

static const struct {
    uint32_t id;
    uint32_t format;            /* the only one that may have it; 0: any */
    uint32_t format2;           /* another one that may have it */
    bool range;                 /* an integer: its caps are no mask */
} qvv_control_formats[] = {
    { VIRTIO_VIDEO_V4L2_CID_BITRATE, .range = true },
    { VIRTIO_VIDEO_V4L2_CID_MPEG2_LEVEL, VIRTIO_VIDEO_CODED_FORMAT_MPEG2 },
    { VIRTIO_VIDEO_V4L2_CID_MPEG2_PROFILE, VIRTIO_VIDEO_CODED_FORMAT_MPEG2 },
    { VIRTIO_VIDEO_V4L2_CID_H264_LEVEL, VIRTIO_VIDEO_CODED_FORMAT_H264 },
    { VIRTIO_VIDEO_V4L2_CID_H264_PROFILE, VIRTIO_VIDEO_CODED_FORMAT_H264 },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_LEVEL, VIRTIO_VIDEO_CODED_FORMAT_MPEG4 },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_PROFILE, VIRTIO_VIDEO_CODED_FORMAT_MPEG4 },
    { VIRTIO_VIDEO_V4L2_CID_VP8_PROFILE, VIRTIO_VIDEO_CODED_FORMAT_VP8 },
    { VIRTIO_VIDEO_V4L2_CID_VP9_PROFILE, VIRTIO_VIDEO_CODED_FORMAT_VP9 },
    { VIRTIO_VIDEO_V4L2_CID_VP9_LEVEL, VIRTIO_VIDEO_CODED_FORMAT_VP9 },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_PROFILE, VIRTIO_VIDEO_CODED_FORMAT_HEVC },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_LEVEL, VIRTIO_VIDEO_CODED_FORMAT_HEVC },
    /* Not in the draft */
    { VIRTIO_VIDEO_V4L2_CID_BITRATE_MODE },
    { VIRTIO_VIDEO_V4L2_CID_GOP_SIZE, .range = true },
    { VIRTIO_VIDEO_V4L2_CID_B_FRAMES, .range = true },
    { VIRTIO_VIDEO_V4L2_CID_FORCE_KEY_FRAME, .range = true },
    { VIRTIO_VIDEO_V4L2_CID_H264_MIN_QP, VIRTIO_VIDEO_CODED_FORMAT_H264,
      .range = true },
    { VIRTIO_VIDEO_V4L2_CID_H264_MAX_QP, VIRTIO_VIDEO_CODED_FORMAT_H264,
      .range = true },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_MIN_QP, VIRTIO_VIDEO_CODED_FORMAT_HEVC,
      .range = true },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_MAX_QP, VIRTIO_VIDEO_CODED_FORMAT_HEVC,
      .range = true },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_MIN_QP, VIRTIO_VIDEO_CODED_FORMAT_MPEG4,
      .range = true },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_MAX_QP, VIRTIO_VIDEO_CODED_FORMAT_MPEG4,
      .range = true },
    { VIRTIO_VIDEO_V4L2_CID_VPX_MIN_QP, VIRTIO_VIDEO_CODED_FORMAT_VP8,
      VIRTIO_VIDEO_CODED_FORMAT_VP9, .range = true },
    { VIRTIO_VIDEO_V4L2_CID_VPX_MAX_QP, VIRTIO_VIDEO_CODED_FORMAT_VP8,
      VIRTIO_VIDEO_CODED_FORMAT_VP9, .range = true },
    { VIRTIO_VIDEO_V4L2_CID_PREPEND_SPSPPS_TO_IDR,
      VIRTIO_VIDEO_CODED_FORMAT_H264, VIRTIO_VIDEO_CODED_FORMAT_HEVC,
      .range = true },
};

/* What is being parsed and the first thing that was wrong */
typedef struct QVVCapsParser {
    QVVCaps *caps;
    char *why;
} QVVCapsParser;

static bool G_GNUC_PRINTF(2, 3)
qvv_caps_bad(QVVCapsParser *p, const char *fmt, ...)
{
    va_list ap;

    if (!p->why) {
        va_start(ap, fmt);
        p->why = g_strdup_vprintf(fmt, ap);
        va_end(ap);
    }
    return false;
}

static bool qvv_parse_range(QVVCapsParser *p, const uint8_t *value,
                            const char *name, QVVRange *range)
{
    *range = (QVVRange) {
        ldl_le_p(value), ldl_le_p(value + 4), ldl_le_p(value + 8)
    };
    if (!range->min || !range->max || !range->step) {
        return qvv_caps_bad(p, "%s: a number of the range is 0", name);
    }
    if (range->min > range->max) {
        return qvv_caps_bad(p, "%s: min > max", name);
    }
    if (ldl_le_p(value + 12)) {
        return qvv_caps_bad(p, "%s: padding of the range is not 0", name);
    }
    return true;
}

/* The place of a control that @format may have; -1: there is none */
static int qvv_find_control(uint32_t id, uint32_t format)
{
    for (int i = 0; i < ARRAY_SIZE(qvv_control_formats); i++) {
        if (qvv_control_formats[i].id == id &&
            (!qvv_control_formats[i].format ||
             qvv_control_formats[i].format == format ||
             qvv_control_formats[i].format2 == format)) {
            return i;
        }
    }
    return -1;
}

static bool qvv_parse_control_caps(QVVCapsParser *p,
                                   const QVVTlvIter *container,
                                   QVVCodedCaps *coded)
{
    QVVTlvIter it = qvv_tlv_inside(container);

    while (qvv_tlv_next(&it)) {
        QVVControlCaps *control = &coded->controls[coded->n_controls];
        int i = qvv_find_control(it.type, coded->format);

        if (i < 0 || coded->n_controls == QVV_MAX_CONTROLS) {
            return qvv_caps_bad(p, "coded format %u has control 0x%x",
                                coded->format, it.type);
        }
        control->id = it.type;
        if (qvv_control_formats[i].range) {
            if (it.value_len != sizeof(struct virtio_video_range) ||
                !qvv_parse_range(p, it.value, "control", &control->range)) {
                return qvv_caps_bad(p, "control 0x%x is no range", it.type);
            }
        } else if (it.value_len == 4) {
            control->mask = ldl_le_p(it.value);
        } else {
            return qvv_caps_bad(p, "control 0x%x is no mask", it.type);
        }
        coded->n_controls++;
    }
    return it.len == 0 ? true : qvv_caps_bad(p, "broken V4L2_CONTROLS");
}

/* Checks type and length of a TLV and that it is the first of its type */
static bool qvv_caps_tlv(QVVCapsParser *p, const QVVTlvIter *it,
                         uint32_t *seen, size_t want_len)
{
    if (*seen & (1u << it->type)) {
        return qvv_caps_bad(p, "two TLVs of type %u in one set", it->type);
    }
    *seen |= 1u << it->type;
    if (it->value_len != want_len) {
        return qvv_caps_bad(p, "TLV of type %u has length %u, not %zu",
                            it->type, it->value_len, want_len);
    }
    return true;
}

static bool qvv_parse_coded_tlv(QVVCapsParser *p, const QVVTlvIter *it,
                                uint32_t *seen, QVVCodedCaps *coded)
{
    switch (it->type) {
    case VIRTIO_VIDEO_TLV_CODED_FORMAT:
        if (!qvv_caps_tlv(p, it, seen, 4)) {
            return false;
        }
        coded->format = ldl_le_p(it->value);
        return true;
    case VIRTIO_VIDEO_TLV_CODED_RESOURCES:
        return qvv_caps_tlv(p, it, seen, 32) &&
               qvv_parse_range(p, it->value, "coded num_resources",
                               &coded->num_resources) &&
               qvv_parse_range(p, it->value + 16, "resource_size",
                               &coded->resource_size);
    case VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES:
        coded->guest_pages = true;
        return qvv_caps_tlv(p, it, seen, 0);
    case VIRTIO_VIDEO_TLV_RESOURCE_VIRTIO_OBJECT:
        coded->virtio_object = true;
        return qvv_caps_tlv(p, it, seen, 0);
    case VIRTIO_VIDEO_TLV_V4L2_CONTROLS:
        return qvv_caps_tlv(p, it, seen, it->value_len) &&
               qvv_parse_control_caps(p, it, coded);
    default:
        return qvv_caps_bad(p, "TLV of type %u in a CODED_SET", it->type);
    }
}

static bool qvv_parse_raw_format_caps(QVVCapsParser *p, const uint8_t *value,
                                      QVVRawCaps *raw)
{
    const size_t width = offsetof(struct virtio_video_tlv_raw_format_caps,
                                  width_range);
    const size_t height = offsetof(struct virtio_video_tlv_raw_format_caps,
                                   height_range);
    const size_t masks = offsetof(struct virtio_video_tlv_raw_format_caps,
                                  stride_align_mask);

    raw->planes_layout_mask = ldl_le_p(value);
    raw->fourcc = ldl_le_p(value + 4);
    raw->modifier = ldq_le_p(value + 8);
    raw->stride_align_mask = ldl_le_p(value + masks);
    raw->height_align_mask = ldl_le_p(value + masks + 4);
    raw->plane_align_mask = ldl_le_p(value + masks + 8);
    if (!raw->planes_layout_mask || raw->planes_layout_mask &
        ~(VIRTIO_VIDEO_PLANES_LAYOUT_SINGLE_BUFFER |
          VIRTIO_VIDEO_PLANES_LAYOUT_MULTI_BUFFERS)) {
        return qvv_caps_bad(p, "planes_layout_mask 0x%x",
                            raw->planes_layout_mask);
    }
    if (!raw->stride_align_mask || !raw->height_align_mask ||
        !raw->plane_align_mask) {
        return qvv_caps_bad(p, "an alignment mask of %s is 0",
                            qvv_fourcc_name(raw->fourcc));
    }
    return qvv_parse_range(p, value + width, "width", &raw->width) &&
           qvv_parse_range(p, value + height, "height", &raw->height);
}

static bool qvv_parse_raw_tlv(QVVCapsParser *p, const QVVTlvIter *it,
                              uint32_t *seen, QVVRawCaps *raw)
{
    switch (it->type) {
    case VIRTIO_VIDEO_TLV_RAW_FORMAT:
        return qvv_caps_tlv(p, it, seen,
                            sizeof(struct virtio_video_tlv_raw_format_caps)) &&
               qvv_parse_raw_format_caps(p, it->value, raw);
    case VIRTIO_VIDEO_TLV_RAW_RESOURCES:
        return qvv_caps_tlv(p, it, seen, 16) &&
               qvv_parse_range(p, it->value, "raw num_resources",
                               &raw->num_resources);
    case VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES:
        raw->guest_pages = true;
        return qvv_caps_tlv(p, it, seen, 0);
    case VIRTIO_VIDEO_TLV_RESOURCE_VIRTIO_OBJECT:
        raw->virtio_object = true;
        return qvv_caps_tlv(p, it, seen, 0);
    case VIRTIO_VIDEO_TLV_CROP:
        raw->crop = true;
        return qvv_caps_tlv(p, it, seen, 0);
    default:
        return qvv_caps_bad(p, "TLV of type %u in a RAW_SET", it->type);
    }
}

static bool qvv_parse_coded_set(QVVCapsParser *p, const QVVTlvIter *set)
{
    QVVTlvIter it = qvv_tlv_inside(set);
    const uint32_t must = 1u << VIRTIO_VIDEO_TLV_CODED_FORMAT |
                          1u << VIRTIO_VIDEO_TLV_CODED_RESOURCES;
    QVVCodedCaps *coded;
    uint32_t seen = 0;

    p->caps->coded = g_renew(QVVCodedCaps, p->caps->coded,
                             p->caps->n_coded + 1);
    coded = &p->caps->coded[p->caps->n_coded++];
    memset(coded, 0, sizeof(*coded));
    while (qvv_tlv_next(&it)) {
        if (!qvv_parse_coded_tlv(p, &it, &seen, coded)) {
            return false;
        }
    }
    if (it.len || (seen & must) != must) {
        return qvv_caps_bad(p, "CODED_SET %u is broken or lacks a TLV",
                            p->caps->n_coded - 1);
    }
    return true;
}

static bool qvv_parse_raw_set(QVVCapsParser *p, const QVVTlvIter *set)
{
    QVVTlvIter it = qvv_tlv_inside(set);
    const uint32_t must = 1u << VIRTIO_VIDEO_TLV_RAW_FORMAT |
                          1u << VIRTIO_VIDEO_TLV_RAW_RESOURCES;
    QVVRawCaps *raw;
    uint32_t seen = 0;

    p->caps->raw = g_renew(QVVRawCaps, p->caps->raw, p->caps->n_raw + 1);
    raw = &p->caps->raw[p->caps->n_raw++];
    memset(raw, 0, sizeof(*raw));
    while (qvv_tlv_next(&it)) {
        if (!qvv_parse_raw_tlv(p, &it, &seen, raw)) {
            return false;
        }
    }
    if (it.len || (seen & must) != must) {
        return qvv_caps_bad(p, "RAW_SET %u is broken or lacks a TLV",
                            p->caps->n_raw - 1);
    }
    return true;
}

static bool qvv_parse_link(QVVCapsParser *p, const QVVTlvIter *it)
{
    QVVCaps *caps = p->caps;
    uint32_t type;

    if (caps->n_raw > 64) {
        return qvv_caps_bad(p, "more raw sets than this driver can take");
    }
    if (it->value_len != sizeof(struct virtio_video_tlv_link) +
        8 * caps->n_coded) {
        return qvv_caps_bad(p, "LINK has length %u", it->value_len);
    }
    type = ldl_le_p(it->value);
    if (type > VIRTIO_VIDEO_STREAM_TYPE_ENCODER || caps->has_link[type]) {
        return qvv_caps_bad(p, "LINK of type %u, or two of it", type);
    }
    caps->has_link[type] = true;
    caps->links[type] = g_new(uint64_t, caps->n_coded);
    for (unsigned i = 0; i < caps->n_coded; i++) {
        caps->links[type][i] = ldq_le_p(it->value + 8 + 8 * i);
        if (caps->n_raw < 64 && caps->links[type][i] >> caps->n_raw) {
            return qvv_caps_bad(p, "LINK to a raw set that is not there");
        }
    }
    return true;
}

/* Every set takes part in a link */
static bool qvv_check_links(QVVCapsParser *p)
{
    QVVCaps *caps = p->caps;
    uint64_t raws = 0;

    for (unsigned i = 0; i < caps->n_coded; i++) {
        uint64_t links = (caps->links[0] ? caps->links[0][i] : 0) |
                         (caps->links[1] ? caps->links[1][i] : 0);

        if (!links) {
            return qvv_caps_bad(p, "CODED_SET %u has no link", i);
        }
        raws |= links;
    }
    if (!caps->n_coded || !caps->n_raw) {
        return qvv_caps_bad(p, "no CODED_SET or no RAW_SET");
    }
    if (raws != MAKE_64BIT_MASK(0, caps->n_raw)) {
        return qvv_caps_bad(p, "a RAW_SET has no link");
    }
    return true;
}

static bool qvv_parse_caps_tlvs(QVVCapsParser *p, QVVTlvIter *it)
{
    uint32_t last = VIRTIO_VIDEO_TLV_CODED_SET;

    while (qvv_tlv_next(it)) {
        bool ok;

        if (it->type < last) {
            return qvv_caps_bad(p, "TLV %u after %u", it->type, last);
        }
        last = it->type;
        switch (it->type) {
        case VIRTIO_VIDEO_TLV_CODED_SET:
            ok = qvv_parse_coded_set(p, it);
            break;
        case VIRTIO_VIDEO_TLV_RAW_SET:
            ok = qvv_parse_raw_set(p, it);
            break;
        case VIRTIO_VIDEO_TLV_LINK:
            ok = qvv_parse_link(p, it);
            break;
        default:
            ok = qvv_caps_bad(p, "TLV of type %u between the sets", it->type);
        }
        if (!ok) {
            return false;
        }
    }
    return it->len ? qvv_caps_bad(p, "%zu bytes at the end are no TLV",
                                  it->len) : qvv_check_links(p);
}

QVVCaps *qvv_caps_parse(const uint8_t *data, size_t len, char **why)
{
    const size_t header = sizeof(struct virtio_video_device_query_caps_resp);
    QVVCapsParser p = { .caps = g_new0(QVVCaps, 1) };
    bool ok;

    if (len < header || ldl_le_p(data) != VIRTIO_VIDEO_RESULT_OK ||
        ldl_le_p(data + 4)) {
        ok = qvv_caps_bad(&p, "the result is not OK, or its padding not 0");
    } else {
        QVVTlvIter it = { .data = data + header, .len = len - header };

        ok = qvv_parse_caps_tlvs(&p, &it);
    }
    if (!ok) {
        g_clear_pointer(&p.caps, qvv_caps_free);
    }
    if (why) {
        *why = p.why;
    } else {
        g_free(p.why);
    }
    return p.caps;
}

QVVCaps *qvv_query_caps(QVVDriver *d, char **why)
{
    struct virtio_video_device_query_caps cmd = {
        .type = cpu_to_le32(VIRTIO_VIDEO_CMD_DEVICE_QUERY_CAPS),
    };
    g_autofree uint8_t *resp = g_malloc0(d->caps_length + 1);
    int64_t used;

    used = qvv_cmd_raw(d, &cmd, sizeof(cmd), 0, resp, d->caps_length,
                       QVV_TIMEOUT_US);
    if (used != d->caps_length) {
        if (why) {
            *why = g_strdup_printf("QUERY_CAPS gave %" PRId64 " bytes, "
                                   "caps_length is %u", used, d->caps_length);
        }
        return NULL;
    }
    return qvv_caps_parse(resp, used, why);
}

void qvv_caps_free(QVVCaps *caps)
{
    if (caps) {
        g_free(caps->coded);
        g_free(caps->raw);
        g_free(caps->links[0]);
        g_free(caps->links[1]);
        g_free(caps);
    }
}

const QVVCodedCaps *qvv_caps_coded(const QVVCaps *caps, uint32_t format)
{
    for (unsigned i = 0; i < caps->n_coded; i++) {
        if (caps->coded[i].format == format) {
            return &caps->coded[i];
        }
    }
    return NULL;
}

const QVVCodedCaps *qvv_caps_coder(const QVVCaps *caps, uint32_t stream_type,
                                   uint32_t format)
{
    for (unsigned i = 0; caps->has_link[stream_type] && i < caps->n_coded;
         i++) {
        if (caps->coded[i].format == format && caps->links[stream_type][i]) {
            return &caps->coded[i];
        }
    }
    return NULL;
}

const QVVRawCaps *qvv_caps_raw(const QVVCaps *caps, uint32_t fourcc)
{
    for (unsigned i = 0; i < caps->n_raw; i++) {
        if (caps->raw[i].fourcc == fourcc) {
            return &caps->raw[i];
        }
    }
    return NULL;
}

const QVVRawCaps *qvv_caps_linked_raw(const QVVCaps *caps,
                                      uint32_t stream_type, uint32_t format,
                                      uint32_t fourcc)
{
    const QVVCodedCaps *coded = qvv_caps_coder(caps, stream_type, format);

    for (unsigned i = 0; coded && i < caps->n_raw; i++) {
        if (caps->raw[i].fourcc == fourcc &&
            caps->links[stream_type][coded - caps->coded] & (1ull << i)) {
            return &caps->raw[i];
        }
    }
    return NULL;
}

bool qvv_caps_linked(const QVVCaps *caps, uint32_t stream_type,
                     uint32_t format, uint32_t fourcc)
{
    return qvv_caps_linked_raw(caps, stream_type, format, fourcc);
}

const char *qvv_coded_format_name(uint32_t format)
{
    static const char *const names[] = {
        [VIRTIO_VIDEO_CODED_FORMAT_MPEG2] = "mpeg2",
        [VIRTIO_VIDEO_CODED_FORMAT_MPEG4] = "mpeg4",
        [VIRTIO_VIDEO_CODED_FORMAT_H264] = "h264",
        [VIRTIO_VIDEO_CODED_FORMAT_HEVC] = "hevc",
        [VIRTIO_VIDEO_CODED_FORMAT_VP8] = "vp8",
        [VIRTIO_VIDEO_CODED_FORMAT_VP9] = "vp9",
        [VIRTIO_VIDEO_CODED_FORMAT_FWHT] = "fwht",
        [VIRTIO_VIDEO_CODED_FORMAT_AV1] = "av1",
    };

    return format < ARRAY_SIZE(names) && names[format] ? names[format] :
           "unknown";
}

const char *qvv_fourcc_name(uint32_t fourcc)
{
    switch (fourcc) {
    case DRM_FORMAT_NV12:
        return "NV12";
    case DRM_FORMAT_P010:
        return "P010";
    case DRM_FORMAT_YUV420:
        return "YUV420";
    case DRM_FORMAT_XRGB8888:
        return "XRGB8888";
    default:
        return "unknown";
    }
}

/*
 * Layout of frames
 */

/* Planes of one fourcc: strides before alignment and rows of luma */
static bool qvv_layout_planes(QVVLayout *l, const QVVRawFormat *f)
{
    const uint32_t sa = f->stride_align;
    const uint32_t half = DIV_ROUND_UP(f->width, 2);

    switch (f->fourcc) {
    case DRM_FORMAT_NV12:
    case DRM_FORMAT_P010:
        l->n_planes = 2;
        l->row_bytes[0] = f->width * (f->fourcc == DRM_FORMAT_P010 ? 2 : 1);
        l->row_bytes[1] = half * (f->fourcc == DRM_FORMAT_P010 ? 4 : 2);
        l->stride[0] = l->stride[1] = ROUND_UP(l->row_bytes[1], sa);
        return true;
    case DRM_FORMAT_YUV420:
        l->n_planes = 3;
        l->row_bytes[0] = f->width;
        l->row_bytes[1] = l->row_bytes[2] = half;
        l->stride[1] = l->stride[2] = ROUND_UP(half, sa);
        l->stride[0] = 2 * l->stride[1];
        return true;
    case DRM_FORMAT_XRGB8888:
        l->n_planes = 1;
        l->row_bytes[0] = 4 * f->width;
        l->stride[0] = ROUND_UP(l->row_bytes[0], sa);
        return true;
    default:
        return false;
    }
}

bool qvv_layout(QVVLayout *l, const QVVRawFormat *f)
{
    bool multi = f->planes_layout == VIRTIO_VIDEO_PLANES_LAYOUT_MULTI_BUFFERS;
    uint32_t padded_rows;

    memset(l, 0, sizeof(*l));
    if (!f->width || !f->height || f->width > UINT16_MAX ||
        f->height > UINT16_MAX || !is_power_of_2(f->stride_align) ||
        !is_power_of_2(f->height_align) ||
        (!multi && !is_power_of_2(f->plane_align)) ||
        !qvv_layout_planes(l, f)) {
        return false;
    }

    padded_rows = ROUND_UP(f->height, f->height_align);
    l->n_buffers = multi ? l->n_planes : 1;
    for (unsigned i = 0; i < l->n_planes; i++) {
        l->rows[i] = i ? DIV_ROUND_UP(f->height, 2) : f->height;
        l->size[i] = (uint64_t)l->stride[i] *
                     (i ? DIV_ROUND_UP(padded_rows, 2) : padded_rows);
        l->buffer[i] = multi ? i : 0;
        if (i && !multi) {
            l->offset[i] = ROUND_UP(l->offset[i - 1] + l->size[i - 1],
                                    f->plane_align);
        }
        l->buffer_size[l->buffer[i]] = l->offset[i] + l->size[i];
    }
    return true;
}

/*
 * Resources
 */

/* The same order in every run: a failure can be repeated */
static void qvv_shuffle(uint64_t *pages, unsigned n)
{
    uint32_t seed = 0x76696465;

    for (unsigned i = n - 1; n && i > 0; i--) {
        unsigned j;
        uint64_t tmp = pages[i];

        seed = seed * 1664525 + 1013904223;
        j = ((uint64_t)seed * (i + 1)) >> 32;
        pages[i] = pages[j];
        pages[j] = tmp;
    }
}

static void qvv_fill_buffer(QVVBuffer *buf, uint64_t size,
                            const uint64_t *pages, QVVPlacement placement)
{
    bool scattered = placement == QVV_SCATTERED;

    buf->size = size;
    buf->n_entries = scattered ? size / QVV_PAGE_SIZE : 1;
    buf->entries = g_new(QVVEntry, buf->n_entries);
    for (unsigned i = 0; i < buf->n_entries; i++) {
        buf->entries[i].addr = pages[i];
        buf->entries[i].len = scattered ? QVV_PAGE_SIZE : size;
    }
}

QVVPool *qvv_pool_new(QVVDriver *d, unsigned n, unsigned n_buffers,
                      const uint64_t *sizes, QVVPlacement placement)
{
    QVVPool *pool = g_new0(QVVPool, 1);
    g_autofree uint64_t *pages = NULL;
    uint64_t total = 0;
    unsigned page = 0;

    g_assert_cmpuint(n_buffers, <=, VIRTIO_VIDEO_MAX_PLANES);
    for (unsigned b = 0; b < n_buffers; b++) {
        total += QEMU_ALIGN_UP(sizes[b], QVV_PAGE_SIZE);
    }
    total *= n;
    pool->n = n;
    pool->res = g_new0(QVVResource, n);
    pool->base = guest_alloc(d->alloc, total);
    pages = g_new(uint64_t, total / QVV_PAGE_SIZE + 1);
    for (unsigned i = 0; i < total / QVV_PAGE_SIZE; i++) {
        pages[i] = pool->base + (uint64_t)i * QVV_PAGE_SIZE;
    }
    if (placement == QVV_SCATTERED) {
        qvv_shuffle(pages, total / QVV_PAGE_SIZE);
    }

    for (unsigned i = 0; i < n; i++) {
        QVVResource *res = &pool->res[i];

        res->id = i;
        res->n_buffers = n_buffers;
        for (unsigned b = 0; b < n_buffers; b++) {
            uint64_t size = QEMU_ALIGN_UP(sizes[b], QVV_PAGE_SIZE);

            qvv_fill_buffer(&res->buffer[b], size, pages + page, placement);
            page += size / QVV_PAGE_SIZE;
        }
    }
    return pool;
}

void qvv_pool_free(QVVDriver *d, QVVPool *pool)
{
    if (!pool) {
        return;
    }
    for (unsigned i = 0; i < pool->n; i++) {
        for (unsigned b = 0; b < pool->res[i].n_buffers; b++) {
            g_free(pool->res[i].buffer[b].entries);
        }
    }
    if (pool->base) {
        guest_free(d->alloc, pool->base);
    }
    g_free(pool->res);
    g_free(pool);
}

/* Where @offset lies, and how many bytes follow it there */
static uint64_t qvv_buffer_addr(const QVVBuffer *buf, uint64_t offset,
                                size_t *len)
{
    const QVVEntry *entry = buf->entries;

    g_assert_cmpuint(offset, <, buf->size);
    if (buf->n_entries > 1 && entry->len == QVV_PAGE_SIZE) {
        /* As qvv_pool_new() makes them: all of one length */
        entry += offset / QVV_PAGE_SIZE;
        offset %= QVV_PAGE_SIZE;
    }
    while (offset >= entry->len) {
        offset -= entry->len;
        entry++;
    }
    *len = entry->len - offset;
    return entry->addr + offset;
}

uint8_t *qvv_buffer_ptr(QVVDriver *d, const QVVBuffer *buf, uint64_t offset,
                        size_t *len)
{
    uint64_t addr = qvv_buffer_addr(buf, offset, len);

    return qvv_ram_ptr(&d->ram, addr, *len);
}

void qvv_buffer_write(QVVDriver *d, const QVVBuffer *buf, uint64_t offset,
                      const void *data, size_t len)
{
    while (len) {
        size_t part;
        uint64_t addr = qvv_buffer_addr(buf, offset, &part);

        part = MIN(part, len);
        qvv_ram_write(&d->ram, addr, data, part);
        data = (const uint8_t *)data + part;
        offset += part;
        len -= part;
    }
}

void qvv_buffer_read(QVVDriver *d, const QVVBuffer *buf, uint64_t offset,
                     void *data, size_t len)
{
    while (len) {
        size_t part;
        uint64_t addr = qvv_buffer_addr(buf, offset, &part);

        part = MIN(part, len);
        qvv_ram_read(&d->ram, addr, data, part);
        data = (uint8_t *)data + part;
        offset += part;
        len -= part;
    }
}

/*
 * qgraph nodes
 */

static void *qvirtio_video_get_driver(QVirtioVideo *video,
                                      const char *interface)
{
    if (!g_strcmp0(interface, "virtio-video") ||
        !g_strcmp0(interface, "virtio-media")) {
        return video;
    }
    if (!g_strcmp0(interface, "virtio")) {
        return video->vdev;
    }

    fprintf(stderr, "%s not present in virtio-video\n", interface);
    g_assert_not_reached();
}

static void *qvirtio_video_device_get_driver(void *object,
                                             const char *interface)
{
    QVirtioVideoDevice *dev = object;

    return qvirtio_video_get_driver(&dev->video, interface);
}

void *qvirtio_video_device_create(void *virtio_dev, QGuestAllocator *t_alloc,
                                  void *addr)
{
    QVirtioVideoDevice *dev = g_new0(QVirtioVideoDevice, 1);

    dev->video.vdev = virtio_dev;
    dev->obj.get_driver = qvirtio_video_device_get_driver;

    return &dev->obj;
}

static void *qvirtio_video_pci_get_driver(void *object, const char *interface)
{
    QVirtioVideoPCI *dev = object;

    if (!g_strcmp0(interface, "pci-device")) {
        return dev->pci_vdev.pdev;
    }
    return qvirtio_video_get_driver(&dev->video, interface);
}

void *qvirtio_video_pci_create(void *pci_bus, QGuestAllocator *t_alloc,
                               void *addr)
{
    QVirtioVideoPCI *dev = g_new0(QVirtioVideoPCI, 1);
    QOSGraphObject *obj = &dev->pci_vdev.obj;

    virtio_pci_init(&dev->pci_vdev, pci_bus, addr);
    dev->video.vdev = &dev->pci_vdev.vdev;
    dev->video.pci = &dev->pci_vdev;
    obj->get_driver = qvirtio_video_pci_get_driver;

    return obj;
}

static void virtio_video_register_nodes(void)
{
    QPCIAddress addr = {
        .devfn = QPCI_DEVFN(4, 0),
    };
    QOSGraphEdgeOptions opts = {
        .extra_device_opts = "id=video0,addr=04.0",
    };

    /* virtio-video-device */
    qos_node_create_driver("virtio-video-device",
                           qvirtio_video_device_create);
    qos_node_consumes("virtio-video-device", "virtio-bus",
                      &(QOSGraphEdgeOptions) {
                          .extra_device_opts = "id=video0",
                      });
    qos_node_produces("virtio-video-device", "virtio");
    qos_node_produces("virtio-video-device", "virtio-video");

    /* virtio-video-pci */
    add_qpci_address(&opts, &addr);
    qos_node_create_driver("virtio-video-pci", qvirtio_video_pci_create);
    qos_node_consumes("virtio-video-pci", "pci-bus", &opts);
    qos_node_produces("virtio-video-pci", "pci-device");
    qos_node_produces("virtio-video-pci", "virtio");
    qos_node_produces("virtio-video-pci", "virtio-video");
}

libqos_init(virtio_video_register_nodes);
