/*
 * QTest testcases of virtio-video: guests that mean harm
 *
 * What a single wrong request does is tested with the rule that it breaks.
 * Here are the guests that are after the host: they flood, loop, or pull memory
 * from under the device.  QEMU must stay quick for its user meanwhile, and keep
 * nothing.
 *
 * Each test has a QEMU of its own, whose memory is shared, so that many
 * thousand commands take seconds only.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqos/virtio-pci.h"
#include "standard-headers/linux/virtio_mem.h"
#include "standard-headers/linux/virtio_ring.h"
#include "virtio-video-encoder-fixture.h"

/*
 * Loops and floods
 */

/* Each time the codec is at work */
static void test_resets(Rig *rig)
{
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    watch_start(&w, h.r);
    for (unsigned i = 0; i < MANY; i++) {
        QVVDriver *d = h.r->d;

        if (i == SETTLED) {
            watch_settled(&w);
        }
        qvv_open(d, 0, DECODER);
        if (i % 50 == 0) {
            TestStream *s = test_stream(h.r, 1);

            hang(s, 0);
            get(s, 0);
            watch(&w);
        }
        watch_reset(&w);
        g_ptr_array_set_size(h.r->streams, 0);
        start(h.r, NULL);
    }
    watch_end(&w);
    assert_device_works(h.r);
    hostile_end(&h);
}

static void drop_events(QVVDriver *d)
{
    while (true) {
        g_autoptr(QVVEvent) ev = qvv_next(d, 0);

        if (!ev) {
            break;
        }
    }
}

/*
 * As many as there can be, from OPEN to CLOSE; half of them get a codec, too.
 * QMP is to answer while the device has all of that to do.
 */
static void open_and_close_all(QVVDriver *d, const QVVPool *pool, Watch *w)
{
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);
    uint32_t close[MAX_STREAMS];

    add_pool(set, pool);
    qvv_hold(d);
    for (unsigned id = 0; id < MAX_STREAMS; id++) {
        qvv_open(d, id, DECODER);
        if (id % 2) {
            qvv_set_params(d, id, MAIN, set);
            qvv_queue_input(d, id, 0, id, 0, 40);
        }
        close[id] = qvv_close(d, id);
    }
    qvv_flush(d);
    watch(w);
    for (unsigned id = 0; id < MAX_STREAMS; id++) {
        qvv_assert_ok(d, close[id]);
    }
    drop_events(d);
}

static void test_streams(Rig *rig)
{
    uint64_t size = QVV_PAGE_SIZE;
    QVVPool *pool;
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    watch_start(&w, h.r);
    pool = qvv_pool_new(h.r->d, 1, 1, &size, QVV_CONTIGUOUS);
    for (unsigned i = 0; i < MANY; i += MAX_STREAMS) {
        if (i == SETTLED) {
            watch_settled(&w);
        }
        open_and_close_all(h.r->d, pool, &w);
    }
    watch_end(&w);
    assert_device_works(h.r);
    qvv_pool_free(h.r->d, pool);
    hostile_end(&h);
}

/*
 * Real codecs: what is left of each round shows after hundreds of them
 */

#define CODER_ROUNDS    400
#define CODER_SETTLED   100
/* A sanitizer sees the first leak */
#define CODER_SANITIZED 20
#define CODER_SIZE      16384

/* In KiB: less than a kilobyte each round, and what libx265 is known to lose */
#define CODER_GROWTH    256
#define X265_GROWTH     (1280 * (CODER_ROUNDS - CODER_SETTLED) / 1024)

/*
 * An encoder of a frame, and a decoder of what has come out.  With @w, QMP is
 * to answer while they are at work.
 */
static void open_and_close(Rig *r, uint32_t format, const QVVPool *frames,
                           const QVVPool *coded, Watch *w)
{
    QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    g_autoptr(GByteArray) coded_set = qvv_set_new(CODED_SET);
    g_autoptr(GByteArray) raw_set = qvv_set_new(RAW_SET);
    g_autoptr(QVVEvent) ev = NULL;
    QVVDriver *d = r->d;
    uint32_t in, out, drain;
    QVVLayout layout;

    g_assert_true(qvv_layout(&layout, &raw));
    qvv_set_coded_format(coded_set, format);
    add_pool(coded_set, coded);
    qvv_set_raw_format(raw_set, &raw);
    add_pool(raw_set, frames);

    qvv_open(d, 0, ENCODER);
    qvv_set_params(d, 0, MAIN, coded_set);
    qvv_set_params(d, 0, MAIN, raw_set);
    qvv_unblock(d, 0);
    qvv_queue_frame(d, 0, 0, 1, &layout);
    out = qvv_queue_output(d, 0, 0);
    drain = qvv_drain(d, 0);
    if (w) {
        watch(w);
    }
    ev = qvv_wait(d, out);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_cmphex(ev->queue_flags, ==, KEY);
    qvv_assert_ok(d, drain);
    qvv_assert_ok(d, qvv_close(d, 0));

    qvv_open(d, 0, DECODER);
    qvv_set_params(d, 0, MAIN, coded_set);
    qvv_unblock(d, 0);
    in = qvv_queue_input(d, 0, 0, 1, 0, ev->data_sizes[0]);
    if (w) {
        watch(w);
    }
    qvv_assert_ok(d, in);
    qvv_assert_ok(d, qvv_close(d, 0));
    drop_events(d);
}

static void check_coder(Hostile *h, uint32_t format, const QVVPool *frames,
                        const QVVPool *coded)
{
    bool x265 = format == VIRTIO_VIDEO_CODED_FORMAT_HEVC;
    unsigned n = has_sanitizer(h->r) ? CODER_SANITIZED : CODER_ROUNDS;
    Watch w;

    g_test_message("%s", qvv_coded_format_name(format));
    watch_start(&w, h->r);
    for (unsigned i = 0; i < n; i++) {
        if (i == CODER_SETTLED) {
            watch_settled(&w);
        }
        open_and_close(h->r, format, frames, coded, i % 10 ? NULL : &w);
    }
    watch_end_growth(&w, CODER_GROWTH + (x265 ? X265_GROWTH : 0));
}

static void test_coders(Rig *rig)
{
    QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    g_autoptr(QVVCaps) caps = NULL;
    uint64_t size = CODER_SIZE;
    QVVPool *frames, *coded;
    QVVLayout layout;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    if (!has_type(rig->qts, "video-codec-libav")) {
        g_test_skip("video-codec-libav is not built");
        return;
    }
    h = hostile_start_codec("video-codec-libav");
    caps = query_caps(h.r);
    g_assert_true(qvv_layout(&layout, &raw));
    frames = qvv_pool_new(h.r->d, 1, 1, layout.buffer_size, QVV_SCATTERED);
    coded = qvv_pool_new(h.r->d, 1, 1, &size, QVV_SCATTERED);
    for (unsigned i = 0; i < caps->n_coded; i++) {
        uint32_t format = caps->coded[i].format;

        if (&caps->coded[i] == qvv_caps_coder(caps, ENCODER, format)) {
            check_coder(&h, format, frames, coded);
        }
    }
    qvv_pool_free(h.r->d, frames);
    qvv_pool_free(h.r->d, coded);
    hostile_end(&h);
}

/* Commands as fast as the ring takes them, and nobody takes the events */
static void test_flood(Rig *rig)
{
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    watch_start(&w, h.r);
    qvv_assert_ok(h.r->d, qvv_open(h.r->d, 0, DECODER));
    for (unsigned i = 0; i < 200; i++) {
        if (i == 50) {
            watch_settled(&w);
        }
        qvv_hold(h.r->d);
        for (unsigned j = 0; j < 60; j++) {
            qvv_get_params(h.r->d, 0, MAIN, RAW_SET);
        }
        qvv_flush(h.r->d);
        watch(&w);
        drop_events(h.r->d);
    }
    watch_end(&w);
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 0));
    assert_device_works(h.r);
    hostile_end(&h);
}

#define FLOOD_STREAMS   4
#define FLOOD_RESOURCES 4

/* What a flood's streams are given, whatever they are. */
typedef struct Flood {
    Rig *r;
    QVVPool *pool;
    GByteArray *set[2];         /* CODED_SET, RAW_SET */
    QVVLayout layout;
} Flood;

static void flood_init(Flood *f, Rig *r)
{
    QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);

    f->r = r;
    g_assert_true(qvv_layout(&f->layout, &raw));
    f->pool = qvv_pool_new(r->d, FLOOD_RESOURCES, 1, f->layout.buffer_size,
                           QVV_SCATTERED);
    f->set[0] = qvv_set_new(CODED_SET);
    f->set[1] = qvv_set_new(RAW_SET);
    qvv_set_raw_format(f->set[1], &raw);
    add_pool(f->set[0], f->pool);
    add_pool(f->set[1], f->pool);
}

static void flood_free(Flood *f)
{
    qvv_pool_free(f->r->d, f->pool);
    g_byte_array_unref(f->set[0]);
    g_byte_array_unref(f->set[1]);
}

/* A frame, bad data, a codec that is slow, one that waits for a reset */
static void flood_script(Flood *f, unsigned res)
{
    VideoTestInsn script[] = {
        HEADER, insn(g_test_rand_bit() ? VIDEO_TEST_SLOW_EMIT :
                     VIDEO_TEST_DELAY, g_test_rand_int_range(0, 3)),
        frame(1), insn(g_test_rand_int_range(0, 20) ? VIDEO_TEST_NOP :
                       VIDEO_TEST_HANG, 0),
    };

    insns_to_le(script, ARRAY_SIZE(script));
    qvv_buffer_write(f->r->d, &f->pool->res[res].buffer[0], 0, script,
                     sizeof(script));
}

/* Any command, to any of the streams; most often one that does something */
static void flood_command(Flood *f)
{
    QVVDriver *d = f->r->d;
    uint32_t id = g_test_rand_int_range(0, FLOOD_STREAMS + 1);
    unsigned res = g_test_rand_int_range(0, FLOOD_RESOURCES + 1);
    unsigned queue = g_test_rand_int_range(MAIN, OUTPUT + 1);

    switch (g_test_rand_int_range(0, 16)) {
    case 0:
        qvv_open(d, id, g_test_rand_bit() ? DECODER : ENCODER);
        break;
    case 1:
        qvv_close(d, id);
        break;
    case 2:
    case 3:
        qvv_set_params(d, id, queue, f->set[g_test_rand_bit()]);
        break;
    case 4:
        qvv_get_params(d, id, queue, g_test_rand_bit() ? RAW_SET : CODED_SET);
        break;
    case 5:
        qvv_unblock(d, id);
        break;
    case 6:
        qvv_drain(d, id);
        break;
    case 7:
        qvv_queue_reset(d, id, queue);
        break;
    case 8:
    case 9:
    case 10:
        qvv_queue_frame(d, id, res, 1, &f->layout);
        break;
    case 11:
    case 12:
        if (res < FLOOD_RESOURCES) {
            flood_script(f, res);
        }
        qvv_queue_input(d, id, res, 1, 0, 4 * sizeof(VideoTestInsn));
        break;
    default:
        qvv_queue_output(d, id, res);
        break;
    }
}

/* Until the device takes no more, and then some.  Returns: how many it took */
static unsigned flood(Flood *f, Watch *w)
{
    QVVDriver *d = f->r->d;
    unsigned size = d->cmdq.vq->size, n = 0;

    qvv_hold(d);
    for (unsigned stuck = 0; stuck < 50;) {
        while (qvv_cmds_in_flight(d) < size) {
            flood_command(f);
            n++;
        }
        g_assert_cmpuint(n, <, 20 * MAX_EVENTS);
        qvv_flush(d);
        qvv_hold(d);
        d->vdev->bus->virtqueue_kick(d->vdev, d->cmdq.vq);
        d->vdev->bus->virtqueue_kick(d->vdev, d->eventq.vq);
        stuck += stuck ||
                 query_number(f->r, "events-waiting") >= MAX_EVENTS;
        watch(w);
    }
    g_assert_cmpuint(qvv_cmds_in_flight(d), ==, size);
    return n - size;
}

/*
 * A guest that gives the device no event buffer, ever, and floods it with all
 * that there is, is not served any more, but can begin anew with a reset
 */
static void test_flood_silent(Rig *rig)
{
    const QVVOptions silent = { .manual_events = true };
    unsigned taken = 0;
    Flood f;
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", &silent);
    flood_init(&f, h.r);
    watch_start(&w, h.r);
    for (unsigned i = 0; i < 40; i++) {
        unsigned n;

        if (i == 10) {
            watch_settled(&w);
        }
        for (uint32_t id = 0; id < FLOOD_STREAMS; id++) {
            qvv_open(h.r->d, id, id % 2 ? ENCODER : DECODER);
            qvv_set_params(h.r->d, id, MAIN, f.set[0]);
            qvv_set_params(h.r->d, id, MAIN, f.set[1]);
        }
        n = flood(&f, &w);
        g_assert_cmpuint(n, >, 0);
        taken += n;
        watch_reset(&w);
        start(h.r, &silent);
    }
    g_test_message("%u commands were taken", taken);
    watch_end(&w);
    qvv_stop(h.r->d);
    start(h.r, NULL);
    assert_device_works(h.r);
    flood_free(&f);
    hostile_end(&h);
}

/*
 * Memory
 */

/* SET_PARAMS that attaches @n resources of @entries pages each */
static GByteArray *attach_much(uint32_t container, uint64_t addr, unsigned n,
                               unsigned entries)
{
    const size_t size = 40 + 16 * (size_t)entries;
    g_autofree uint8_t *value = g_malloc0(size);
    GByteArray *set = qvv_set_new(container);

    stl_le_p(value + 8, entries);
    for (unsigned i = 0; i < entries; i++) {
        /* In an order that merges none and sorts badly */
        uint64_t page = (uint64_t)i * 7919 % entries;

        stq_le_p(value + 40 + 16 * i, addr + page * QVV_PAGE_SIZE);
        stl_le_p(value + 40 + 16 * i + 8, QVV_PAGE_SIZE);
    }
    qvv_set_num_resources(set, n);
    for (unsigned id = 0; id < n; id++) {
        stl_le_p(value, id);
        qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES, value, size);
    }
    return set;
}

/* As many pages in one request as there may be, and then some */
static void test_attach_all(Rig *rig)
{
    g_autoptr(GByteArray) most = NULL, more = NULL;
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    watch_start(&w, h.r);
    qvv_assert_ok(h.r->d, qvv_open(h.r->d, 0, DECODER));
    most = attach_much(RAW_SET, 0x100000, 32, 4000);
    more = attach_much(RAW_SET, 0x100000, 32, 32768);
    for (unsigned i = 0; i < 10; i++) {
        uint32_t ok = qvv_set_params(h.r->d, 0, MAIN, most);
        uint32_t error = qvv_set_params(h.r->d, 0, MAIN, more);

        watch(&w);
        watch(&w);
        qvv_assert_ok(h.r->d, ok);
        qvv_assert_error(h.r->d, error);
        if (i == 4) {
            watch_settled(&w);
        }
    }
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 0));
    watch_end(&w);
    assert_device_works(h.r);
    hostile_end(&h);
}

/*
 * Hundreds of megabytes of coded data, which QEMU copies: inputs that all have
 * the same memory, in which there is no script, so that they are bad.
 */
#define LARGE_SIZE  (16 * MiB)
#define N_LARGE     32

static void attach_large(QVVDriver *d, uint64_t addr)
{
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);

    qvv_set_num_resources(set, N_LARGE);
    for (unsigned i = 0; i < N_LARGE; i++) {
        uint8_t value[56] = { };

        stl_le_p(value, i);
        stl_le_p(value + 8, 1);
        stq_le_p(value + 40, addr);
        stl_le_p(value + 48, LARGE_SIZE);
        qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES, value,
                    sizeof(value));
    }
    qvv_assert_ok(d, qvv_set_params(d, 0, MAIN, set));
}

static void queue_large(QVVDriver *d, uint32_t *in)
{
    qvv_hold(d);
    for (unsigned i = 0; i < N_LARGE; i++) {
        in[i] = qvv_queue_input(d, 0, i, i, 0, LARGE_SIZE);
    }
    qvv_flush(d);
}

/*
 * All of @in are answered once, in their order, and then @last, which is OK.
 * QMP answers meanwhile.
 */
static void expect_large(Watch *w, const uint32_t *in, uint32_t last)
{
    int64_t end = g_get_monotonic_time() + QVV_TIMEOUT_US;
    unsigned n = 0, n_canceled = 0;

    while (true) {
        g_autoptr(QVVEvent) ev = qvv_next(w->r->d, 0);

        watch(w);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        if (ev && ev->cookie == last) {
            g_assert_cmphex(ev->flags, ==, F_OK);
            break;
        }
        if (ev) {
            g_assert_cmpuint(n, <, N_LARGE);
            g_assert_cmphex(ev->cookie, ==, in[n]);
            g_assert_true(ev->flags == F_ERROR || ev->flags == F_CANCELED);
            n_canceled += ev->flags == F_CANCELED;
            n++;
        }
    }
    g_assert_cmpuint(n, ==, N_LARGE);
    g_test_message("%u of %u canceled", n_canceled, N_LARGE);
}

static void test_large_inputs(Rig *rig)
{
    uint32_t in[N_LARGE];
    uint64_t mem;
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    mem = guest_alloc(h.r->alloc, LARGE_SIZE);
    qvv_assert_ok(h.r->d, qvv_open(h.r->d, 0, DECODER));
    attach_large(h.r->d, mem);
    queue_large(h.r->d, in);
    watch_start(&w, h.r);
    expect_large(&w, in, qvv_drain(h.r->d, 0));
    g_test_message("%u MiB of coded data",
                   (unsigned)(N_LARGE * LARGE_SIZE / MiB));

    /* In the midst of it */
    queue_large(h.r->d, in);
    expect_large(&w, in, qvv_queue_reset(h.r->d, 0, INPUT));
    queue_large(h.r->d, in);
    expect_large(&w, in, qvv_close(h.r->d, 0));
    watch_end_qmp(&w);
    assert_device_works(h.r);
    guest_free(h.r->alloc, mem);
    hostile_end(&h);
}

/* What needs a drain waits for inputs that are being copied, too */
static void test_params_behind_large(Rig *rig)
{
    g_autoptr(GByteArray) none = qvv_set_new(CODED_SET);
    uint32_t in[N_LARGE];
    uint64_t mem;
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    mem = guest_alloc(h.r->alloc, LARGE_SIZE);
    qvv_assert_ok(h.r->d, qvv_open(h.r->d, 0, DECODER));
    attach_large(h.r->d, mem);
    queue_large(h.r->d, in);
    qvv_set_num_resources(none, 0);
    watch_start(&w, h.r);
    expect_large(&w, in, qvv_set_params(h.r->d, 0, MAIN, none));
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 0));
    watch_end_qmp(&w);
    guest_free(h.r->alloc, mem);
    hostile_end(&h);
}

/* The guest's own eject, as ACPI has it on this machine */
static void eject_dimm(QTestState *qts)
{
    const uint16_t selector = 0xa00, control = 0xa14;

    qtest_outl(qts, selector, 0);
    qtest_outb(qts, control, 1 << 3);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
}

static uint32_t attach_two_pages(QVVDriver *d, uint64_t addr)
{
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);
    uint8_t value[56] = { };

    stl_le_p(value + 8, 1);
    stq_le_p(value + 40, addr);
    stl_le_p(value + 48, 2 * QVV_PAGE_SIZE);
    qvv_set_num_resources(set, 1);
    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES, value,
                sizeof(value));
    return qvv_set_params(d, 0, MAIN, set);
}

/* An entry across memories side by side is more than one piece */
static void test_more_pieces(Rig *rig)
{
    const uint64_t size = 128 * MiB;
    uint64_t addr;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start(" -global virtio-video-device.max-entries=1"
                      " -m slots=2,maxmem=2G"
                      " -object memory-backend-ram,id=more0,size=128M"
                      " -object memory-backend-ram,id=more1,size=128M"
                      " -device pc-dimm,id=dimm0,memdev=more0"
                      " -device pc-dimm,id=dimm1,memdev=more1", NULL);
    addr = dimm_addr(h.r->qts);
    qvv_assert_ok(h.r->d, qvv_open(h.r->d, 0, DECODER));
    qvv_assert_ok(h.r->d, attach_two_pages(h.r->d, addr));
    qvv_assert_ok(h.r->d, attach_two_pages(h.r->d, addr + size));
    qvv_assert_error(h.r->d, attach_two_pages(h.r->d,
                                              addr + size - QVV_PAGE_SIZE));
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 0));
    hostile_end(&h);
}

/*
 * Memory that can go away: a DIMM, or a block of virtio-mem.
 * @dev, @vq: virtio-mem and its queue; NULL: it is a DIMM
 * @addr: where it is
 */
typedef struct Plugged {
    QVirtioPCIDevice *dev;
    QVirtQueue *vq;
    uint64_t addr;
} Plugged;

/*
 * A driver of virtio-mem, just enough to plug and unplug
 */

#define MEM_SLOT        7
#define MEM_PLUGGED     "16M"

static QVirtioPCIDevice *mem_start(Rig *r, QVirtQueue **vq)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(MEM_SLOT, 0) };
    /* A bus of its own would give it the addresses of the other device */
    QPCIBus *bus = container_of(r->v->vdev, QVirtioPCIDevice, vdev)->pdev->bus;
    QVirtioPCIDevice *dev = virtio_pci_new(bus, &addr);
    QVirtioDevice *vdev = &dev->vdev;
    uint64_t features;

    g_assert_nonnull(dev);
    qvirtio_pci_device_enable(dev);
    qvirtio_start_device(vdev);
    features = qvirtio_get_features(vdev);
    qvirtio_set_features(vdev, features & ~(1ull << VIRTIO_RING_F_EVENT_IDX));
    *vq = qvirtqueue_setup(vdev, r->alloc, 0);
    qvirtio_set_driver_ok(vdev);
    return dev;
}

/* Ask for one block to be plugged or unplugged, which is to succeed */
static void mem_request(Rig *r, const Plugged *p, uint16_t type)
{
    struct virtio_mem_req req = {
        .type = cpu_to_le16(type),
        .u.plug.addr = cpu_to_le64(p->addr),    /* unplug is alike */
        .u.plug.nb_blocks = cpu_to_le16(1),
    };
    struct virtio_mem_resp resp;
    uint64_t mem = guest_alloc(r->alloc, sizeof(req) + sizeof(resp));
    uint32_t head;

    qtest_memwrite(r->qts, mem, &req, sizeof(req));
    head = qvirtqueue_add(r->qts, p->vq, mem, sizeof(req), false, true);
    qvirtqueue_add(r->qts, p->vq, mem + sizeof(req), sizeof(resp), true,
                   false);
    qvirtqueue_kick(r->qts, &p->dev->vdev, p->vq, head);
    qvirtio_wait_used_elem(r->qts, &p->dev->vdev, p->vq, head, NULL, SOON);
    qtest_memread(r->qts, mem + sizeof(req), &resp, sizeof(resp));
    g_assert_cmpuint(le16_to_cpu(resp.type), ==, VIRTIO_MEM_RESP_ACK);
    guest_free(r->alloc, mem);
}

/* A QEMU with such memory.  Returns: false if the test is skipped */
static bool plugged_start(Hostile *h, Plugged *p, Rig *rig, bool dimm)
{
    *p = (Plugged) { };
    if (not_here(rig)) {
        return false;
    }
    if (dimm) {
        *h = hostile_start(" -m slots=2,maxmem=2G"
                           " -object memory-backend-ram,id=more,size=128M"
                           " -device pc-dimm,id=dimm0,memdev=more", NULL);
        p->addr = dimm_addr(h->r->qts);
        return true;
    }
    if (!has_type(rig->qts, "virtio-mem-pci")) {
        g_test_skip("virtio-mem-pci is not built");
        return false;
    }
    *h = hostile_start(" -m slots=2,maxmem=2G"
                       " -object memory-backend-ram,id=more,size=128M"
                       " -device virtio-mem-pci,id=mem0,memdev=more,addr="
                       stringify(MEM_SLOT) ",requested-size=" MEM_PLUGGED,
                       NULL);
    p->dev = mem_start(h->r, &p->vq);
    p->addr = qvirtio_config_readq(&p->dev->vdev,
                                   offsetof(struct virtio_mem_config, addr));
    mem_request(h->r, p, VIRTIO_MEM_REQ_PLUG);
    return true;
}

/* The guest gives it back.  Of a DIMM, even QEMU's object is deleted. */
static void unplug(Hostile *h, Plugged *p)
{
    QTestState *qts = h->r->qts;

    if (p->dev) {
        mem_request(h->r, p, VIRTIO_MEM_REQ_UNPLUG);
        return;
    }
    qtest_qmp_assert_success(qts, "{ 'execute': 'device_del',"
                             " 'arguments': { 'id': 'dimm0' } }");
    eject_dimm(qts);
    qtest_qmp_assert_success(qts, "{ 'execute': 'object-del',"
                             " 'arguments': { 'id': 'more' } }");
}

static void plugged_end(Hostile *h, Plugged *p)
{
    assert_device_works(h->r);
    if (p->dev) {
        qvirtqueue_cleanup(p->dev->vdev.bus, p->vq, h->r->alloc);
        qvirtio_pci_device_disable(p->dev);
        g_free(p->dev->pdev);
        g_free(p->dev);
    }
    hostile_end(h);
}

/*
 * What is attached stays the device's, with zeroes if it was virtio-mem's.  A
 * DIMM that is gone can't be attached again.
 */
static void check_unplugged(Rig *rig, bool dimm)
{
    g_autoptr(GByteArray) set = NULL;
    uint32_t in, out;
    TestStream *s;
    Plugged p;
    Hostile h;

    if (!plugged_start(&h, &p, rig, dimm)) {
        return;
    }
    s = test_stream(h.r, 0);
    set = attach_much(CODED_SET, p.addr, 1, 4);
    qvv_assert_ok(h.r->d, qvv_set_params(h.r->d, 0, MAIN, set));
    qtest_memset(h.r->qts, p.addr, 0xff, 4 * QVV_PAGE_SIZE);
    unplug(&h, &p);

    in = qvv_queue_input(h.r->d, 0, 0, 1, 0, 4 * QVV_PAGE_SIZE);
    out = get(s, 0);
    /* Nobody has written a script there */
    qvv_assert_error(h.r->d, in);
    qvv_queue_reset(h.r->d, 0, OUTPUT);
    qvv_assert_canceled(h.r->d, out);
    if (dimm) {
        qvv_assert_error(h.r->d, qvv_set_params(h.r->d, 0, MAIN, set));
    }
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 0));
    plugged_end(&h, &p);
}

static void test_unplugged_memory(Rig *rig)
{
    check_unplugged(rig, true);
}

static void test_virtio_mem_unplugged(Rig *rig)
{
    check_unplugged(rig, false);
}

/* 64x1024: many strips of rows, each of which takes the codec a moment */
#define SLOW_HEIGHT     1024
#define SLOW_MS         200
#define SLOW_PAGES      24

/* Bytes of pixels that the first stream's codec has copied */
static int64_t pixels_copied(Rig *r)
{
    g_autoptr(QDict) resp = qtest_qmp(r->qts,
                                      "{ 'execute': 'query-virtio-video' }");
    QDict *dev = qobject_to(QDict,
                            qlist_peek(qdict_get_qlist(resp, "return")));
    QDict *s = qobject_to(QDict, qlist_peek(qdict_get_qlist(dev, "streams")));

    return qdict_get_int(s, "pixels-copied");
}

/* Until the codec has copied more than @bytes; how many then */
static int64_t wait_copied(Rig *r, int64_t bytes)
{
    int64_t end = g_get_monotonic_time() + SOON, n;

    while ((n = pixels_copied(r)) <= bytes) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS);
    }
    return n;
}

/*
 * Memory goes away while the codec copies: it goes on there, and nothing
 * happens.  What is in the midst of a frame is told by QMP.
 */
static void unplug_while_copying(Hostile *h, Plugged *p, int64_t before)
{
    int64_t n = wait_copied(h->r, before);

    unplug(h, p);
    n = MAX(n, pixels_copied(h->r));
    n = wait_copied(h->r, n) - before;
    g_test_message("went away within the first %" PRId64 " bytes of %u", n,
                   WIDTH * SLOW_HEIGHT * 3 / 2);
    g_assert_cmpint(n, <, WIDTH * SLOW_HEIGHT * 3 / 2);
}

static void check_unplugged_output(Rig *rig, bool dimm)
{
    QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, SLOW_HEIGHT);
    g_autoptr(GByteArray) set = NULL;
    TestStream *s;
    Plugged p;
    Hostile h;
    uint32_t out;

    if (!plugged_start(&h, &p, rig, dimm)) {
        return;
    }
    s = bare_stream(h.r, 0);
    add_inputs(s);
    set_raw_format(s, &raw);
    set = attach_much(RAW_SET, p.addr, 1, SLOW_PAGES);
    qvv_assert_ok(h.r->d, qvv_set_params(h.r->d, 0, MAIN, set));

    out = get(s, 0);
    PUT(s, 0, 1, format(WIDTH, SLOW_HEIGHT), insn(VIDEO_TEST_SLOW_EMIT,
                                                  SLOW_MS), frame(1));
    unplug_while_copying(&h, &p, 0);
    /* Canceled in the midst; the next one to its end */
    qvv_queue_reset(h.r->d, 0, OUTPUT);
    qvv_assert_canceled(h.r->d, out);
    qvv_assert_ok(h.r->d, qvv_queue_reset(h.r->d, 0, INPUT));
    PUT(s, 0, 2, insn(VIDEO_TEST_SLOW_EMIT, 0), frame(2));
    qvv_assert_ok(h.r->d, get(s, 0));
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 0));
    plugged_end(&h, &p);
}

static void test_unplugged_output(Rig *rig)
{
    check_unplugged_output(rig, true);
}

static void test_virtio_mem_unplugged_output(Rig *rig)
{
    check_unplugged_output(rig, false);
}

static void check_unplugged_input(Rig *rig, bool dimm)
{
    QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, SLOW_HEIGHT);
    g_autoptr(GByteArray) set = NULL;
    int64_t before;
    TestStream *s;
    Plugged p;
    Hostile h;
    uint32_t in;

    if (!plugged_start(&h, &p, rig, dimm)) {
        return;
    }
    s = encoder_of(h.r, 0, &raw, QVV_CONTIGUOUS);
    /* Slow from the next frame on, which is the one in that memory */
    ENCODE(s, 0, 1, insn(VIDEO_TEST_SLOW_READ, SLOW_MS));
    expect_coded(s, 0, get(s, 0), KEY);
    before = pixels_copied(h.r);
    set = attach_much(RAW_SET, p.addr, 1, SLOW_PAGES);
    set_params_ok(s, g_byte_array_ref(set));
    in = queue_frame(s, 0, 2);
    unplug_while_copying(&h, &p, before);
    qvv_queue_reset(h.r->d, 0, INPUT);
    qvv_assert_canceled(h.r->d, in);
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 0));
    plugged_end(&h, &p);
}

static void test_unplugged_input(Rig *rig)
{
    check_unplugged_input(rig, true);
}

static void test_virtio_mem_unplugged_input(Rig *rig)
{
    check_unplugged_input(rig, false);
}

/*
 * Codecs that hang
 */

/* The codec of a stream ignores all for so long */
static TestStream *hang_stream(Rig *r, uint32_t id, uint32_t type, uint32_t ms)
{
    TestStream *s;

    if (type == DECODER) {
        s = test_stream(r, id);
        hang_hard(s, 0, ms);
    } else {
        s = encoder(r, id);
        ENCODE(s, 0, 1, insn(VIDEO_TEST_HANG_HARD, ms));
        wait_commands(r->d);
        g_usleep(10 * MS);
    }
    return s;
}

/* The flags of the answer to @cookie; another stream works until then */
static uint32_t wait_while_decoding(TestStream *other, uint32_t cookie,
                                    Watch *w)
{
    int64_t begin = g_get_monotonic_time();
    QVVEvent *ev;
    uint32_t flags;

    while (!(ev = qvv_wait_cookie(other->d, cookie, 20 * MS))) {
        assert_decodes(other);
        watch(w);
        g_assert_cmpint(g_get_monotonic_time() - begin, <, SOON);
    }
    g_test_message("answered after %" PRId64 " ms",
                   (g_get_monotonic_time() - begin) / MS);
    flags = ev->flags;
    qvv_event_free(ev);
    return flags;
}

/* Resets don't wait at all, CLOSE only so long; then the id is free */
static void check_hanging(Rig *rig, uint32_t type)
{
    TestStream *s, *other;
    uint32_t in[2], out;
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    watch_start(&w, h.r);
    other = test_stream(h.r, 1);
    s = hang_stream(h.r, 0, type, VIDEO_TEST_MAX_WAIT);
    in[0] = type == DECODER ? PUT(s, 1, 1, frame(1)) : encode(s, 1, 1, 1);
    in[1] = qvv_drain(h.r->d, 0);
    out = get(s, 0);
    g_assert_cmphex(wait_while_decoding(
        other, qvv_queue_reset(h.r->d, 0, INPUT), &w), ==, F_OK);
    qvv_assert_canceled(h.r->d, in[0]);
    qvv_assert_canceled(h.r->d, in[1]);
    g_assert_cmphex(wait_while_decoding(
        other, qvv_queue_reset(h.r->d, 0, OUTPUT), &w), ==, F_OK);
    qvv_assert_canceled(h.r->d, out);

    out = get(s, 0);
    g_assert_cmphex(wait_while_decoding(other, qvv_close(h.r->d, 0), &w), ==,
                    F_OK);
    qvv_assert_canceled(h.r->d, out);
    qvv_assert_error(h.r->d, qvv_drain(h.r->d, 0));
    assert_device_works(h.r);
    assert_decodes(other);
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 1));
    /* What is left is nothing that a migration would have to take along */
    g_assert_false(is_migration_blocked(h.r->qts));
    wait_threads(h.r, h.r->threads + 1);
    g_assert_cmpuint(n_threads(h.r->qts), ==, h.r->threads + 1);
    watch_end_qmp(&w);
    hostile_quit(&h);
}

static void test_hanging_decoder(Rig *rig)
{
    check_hanging(rig, DECODER);
}

static void test_hanging_encoder(Rig *rig)
{
    check_hanging(rig, ENCODER);
}

/* The same when the codec hangs because it has failed */
static void test_hanging_failure(Rig *rig)
{
    TestStream *s, *other;
    int64_t begin;
    uint32_t out;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    other = test_stream(h.r, 1);
    s = test_stream(h.r, 0);
    out = get(s, 0);
    PUT(s, 0, 1, insn(VIDEO_TEST_SLOW_STOP, VIDEO_TEST_MAX_WAIT),
        fail("and hangs"));
    qvv_assert_canceled(h.r->d, out);
    assert_decodes(other);
    begin = g_get_monotonic_time();
    expect_stream_error(h.r->d, 0);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, SOON);
    assert_device_works(h.r);
    assert_decodes(other);
    hostile_quit(&h);
}

/* What the codec does late reaches no memory, and then it is gone */
static void test_hanging_ends(Rig *rig)
{
    TestStream *s, *e;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    s = hang_stream(h.r, 0, DECODER, 4000);
    e = hang_stream(h.r, 1, ENCODER, 4000);
    get(s, 0);
    get(e, 0);
    qvv_close(h.r->d, 0);
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 1));
    g_assert_cmpuint(n_threads(h.r->qts), >, h.r->threads);
    fill_output(s, 0, 0xdd);
    fill_output(e, 0, 0xdd);
    wait_threads(h.r, h.r->threads);
    assert_output_is(s, 0, 0xdd);
    assert_output_is(e, 0, 0xdd);
    g_assert_cmpint(memory_used(h.r), ==, 0);
    drop_events(h.r->d);
    qvv_assert_quiet(h.r->d, QUIET);
    assert_device_works(h.r);
    hostile_end(&h);
}

/* A stopped machine does not hear that a stream is closed */
static void test_hanging_stopped(Rig *rig)
{
    uint32_t close;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    hang_stream(h.r, 0, DECODER, VIDEO_TEST_MAX_WAIT);
    close = qvv_close(h.r->d, 0);
    wait_commands(h.r->d);
    qtest_qmp_assert_success(h.r->qts, "{ 'execute': 'stop' }");
    g_usleep(2500 * MS);
    g_assert_true(is_migration_blocked(h.r->qts));
    qtest_qmp_assert_success(h.r->qts, "{ 'execute': 'cont' }");
    qvv_assert_ok(h.r->d, close);
    g_assert_false(is_migration_blocked(h.r->qts));
    assert_device_works(h.r);
    hostile_quit(&h);
}

/* Codecs that are left behind are not more than as many as there are streams */
static void test_hanging_many(Rig *rig)
{
    uint32_t close[2];
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start(" -global virtio-video-device.max-streams=2", NULL);
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned id = 0; id < 2; id++) {
            hang_stream(h.r, id, id ? ENCODER : DECODER, VIDEO_TEST_MAX_WAIT);
        }
        qvv_assert_error(h.r->d, qvv_open(h.r->d, 2, DECODER));
        for (unsigned id = 0; id < 2; id++) {
            close[id] = qvv_close(h.r->d, id);
            /* It is not free yet */
            qvv_assert_error(h.r->d, qvv_open(h.r->d, id, DECODER));
        }
        for (unsigned id = 0; id < 2; id++) {
            qvv_assert_ok(h.r->d, close[id]);
        }
    }
    qvv_assert_error(h.r->d, qvv_open(h.r->d, 0, DECODER));
    qvv_assert_error(h.r->d, qvv_open(h.r->d, 1, ENCODER));
    /* Not even after a reset */
    qvv_stop(h.r->d);
    start(h.r, NULL);
    qvv_assert_error(h.r->d, qvv_open(h.r->d, 0, DECODER));
    g_assert_cmpuint(n_threads(h.r->qts), ==, h.r->threads + 4);
    hostile_quit(&h);
}

/* Nor are they more if it is another format that leaves them behind */
static void test_hanging_formats(Rig *rig)
{
    uint32_t flags = F_OK;
    TestStream *s;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start(" -global virtio-video-device.max-streams=1", NULL);
    s = test_stream(h.r, 0);
    for (unsigned i = 0; i < 20; i++) {
        GByteArray *set = qvv_set_new(CODED_SET);

        qvv_assert_ok(h.r->d, PUT(s, 0, i, insn(VIDEO_TEST_SLOW_STOP,
                                                VIDEO_TEST_MAX_WAIT)));
        qvv_set_coded_format(set, i % 2 ? H264 : VP8);
        flags = set_params_flags(s, set);
        if (flags == F_ERROR) {
            break;
        }
        g_assert_cmphex(flags & ~F_BLOCKED, ==, F_OK);
        if (flags & F_BLOCKED) {
            unblock(s);
        }
    }
    g_assert_cmphex(flags, ==, F_ERROR);
    g_assert_cmpuint(n_threads(h.r->qts), ==, h.r->threads + 8);
    /* It goes on as it was */
    read_raw_format(s);
    assert_decodes(s);
    hostile_quit(&h);
}

/*
 * GPUs that hang
 */

#define GPU_STREAMS 8
#define GPU_MS      2000

/* A stream whose GPU uses the guest's memory for GPU_MS from now on */
static TestStream *gpu_stream(Rig *r, uint32_t id, uint32_t type)
{
    TestStream *s;

    if (type == DECODER) {
        s = test_stream(r, id);
        get(s, 0);
        PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_DIRECT, GPU_MS), frame(1));
    } else {
        s = encoder(r, id);
        get(s, 0);
        ENCODE(s, 0, 1, insn(VIDEO_TEST_DIRECT, GPU_MS));
        encode(s, 1, 2, 2);
    }
    return s;
}

static void gpu_streams(Rig *r)
{
    for (uint32_t id = 0; id < GPU_STREAMS; id++) {
        gpu_stream(r, id, id % 2 ? ENCODER : DECODER);
    }
    wait_commands(r->d);
    g_usleep(100 * MS);
}

/* After a reset: the GPU has come back, and the device works again. */
static void gpu_restart(Rig *r)
{
    g_ptr_array_set_size(r->streams, 0);
    wait_threads(r, r->threads);
    start(r, NULL);
    assert_device_works(r);
}

/*
 * The main loop waits for a GPU that it may end, but for many it waits no
 * longer than for one
 */
static void test_hanging_gpu(Rig *rig)
{
    uint32_t close[GPU_STREAMS];
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    watch_start(&w, h.r);

    gpu_streams(h.r);
    watch_reset(&w);
    gpu_restart(h.r);

    gpu_streams(h.r);
    watch_qmp(&w, "stop");
    watch_qmp(&w, "cont");
    watch_reset(&w);
    gpu_restart(h.r);

    /* All in one pass of the device */
    gpu_streams(h.r);
    qvv_hold(h.r->d);
    for (uint32_t id = 0; id < GPU_STREAMS; id++) {
        close[id] = qvv_close(h.r->d, id);
    }
    watch_begin(&w);
    qvv_flush(h.r->d);
    wait_commands(h.r->d);
    watch_done(&w);
    for (uint32_t id = 0; id < GPU_STREAMS; id++) {
        qvv_assert_ok(h.r->d, close[id]);
    }
    watch_reset(&w);
    gpu_restart(h.r);
    watch_end_qmp(&w);
    hostile_end(&h);
}

/* QEMU ends although no codec listens, whatever the streams wait for */
static void test_quit(Rig *rig)
{
    int64_t begin;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    for (unsigned id = 0; id < 4; id++) {
        hang_stream(h.r, id, id % 2 ? ENCODER : DECODER, VIDEO_TEST_MAX_WAIT);
    }
    qvv_drain(h.r->d, 0);
    qvv_drain(h.r->d, 1);
    qvv_close(h.r->d, 2);
    qvv_close(h.r->d, 3);
    wait_commands(h.r->d);
    begin = g_get_monotonic_time();
    hostile_quit(&h);
    g_test_message("ended after %" PRId64 " ms",
                   (g_get_monotonic_time() - begin) / MS);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, SOON);
}

static const TestCase cases[] = {
    { "hostile/ten-thousand-resets", test_resets, .no_start = true },
    { "hostile/ten-thousand-streams", test_streams, .no_start = true },
    { "hostile/real-codecs-opened-often", test_coders, .no_start = true },
    { "hostile/flood-of-commands", test_flood, .no_start = true },
    { "hostile/flood-without-event-buffers", test_flood_silent,
      .no_start = true },
    { "hostile/attach-all-that-can-be", test_attach_all, .no_start = true },
    { "hostile/large-inputs", test_large_inputs, .no_start = true },
    { "hostile/params-behind-large-inputs", test_params_behind_large,
      .no_start = true },
    { "hostile/more-pieces-than-entries", test_more_pieces },
    { "hostile/memory-unplugged-while-attached", test_unplugged_memory,
      .no_start = true },
    { "hostile/virtio-mem-unplugged-while-attached", test_virtio_mem_unplugged,
      .no_start = true },
    { "hostile/memory-unplugged-while-written", test_unplugged_output,
      .no_start = true },
    { "hostile/virtio-mem-unplugged-while-written",
      test_virtio_mem_unplugged_output, .no_start = true },
    { "hostile/memory-unplugged-while-read", test_unplugged_input,
      .no_start = true },
    { "hostile/virtio-mem-unplugged-while-read",
      test_virtio_mem_unplugged_input, .no_start = true },
    { "hostile/close-of-hanging-decoder", test_hanging_decoder,
      .no_start = true },
    { "hostile/close-of-hanging-encoder", test_hanging_encoder,
      .no_start = true },
    { "hostile/failure-of-hanging-codec", test_hanging_failure,
      .no_start = true },
    { "hostile/hanging-codec-ends-late", test_hanging_ends,
      .no_start = true },
    { "hostile/hanging-codec-while-stopped", test_hanging_stopped,
      .no_start = true },
    { "hostile/hanging-codecs-are-bounded", test_hanging_many,
      .no_start = true },
    { "hostile/hanging-codecs-of-other-formats", test_hanging_formats,
      .no_start = true },
    { "hostile/many-streams-of-a-hanging-gpu", test_hanging_gpu,
      .no_start = true },
    { "hostile/quit-with-hanging-codec", test_quit, .no_start = true },
};

static void register_virtio_video_hostile_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_hostile_test);
