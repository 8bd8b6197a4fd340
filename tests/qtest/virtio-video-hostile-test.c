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
#include "libqos/qos_external.h"
#include "virtio-video-fixture.h"

#define RAM_SIZE            (256 * MiB)
#define MANY                10000
/* Of them let things settle before memory is measured */
#define SETTLED             2000

/* How long QMP may take to answer, in microseconds */
#define QMP_LIMIT           (100 * MS)
/* What MANY of something may leave behind, in KiB */
#define GROWTH_LIMIT        4096

/*
 * Measuring
 */

/* Microseconds for which the first thread of @pid was ready but not running */
static int64_t waited_for_cpu(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/schedstat", pid);
    g_autofree char *text = NULL;
    uint64_t ran, waited = 0;

    if (g_file_get_contents(path, &text, NULL, NULL)) {
        g_assert_cmpint(sscanf(text, "%" SCNu64 " %" SCNu64, &ran, &waited),
                        ==, 2);
    }
    return waited / 1000;
}

/*
 * QMP answers in time.  What other programs take of the host's CPUs is not
 * QEMU's fault.
 */
static void assert_qmp_is_quick(Rig *r)
{
    pid_t qemu = qtest_pid(r->qts);
    int64_t waited = waited_for_cpu(qemu) + waited_for_cpu(getpid());
    int64_t start = g_get_monotonic_time();
    int64_t us;

    qtest_qmp_assert_success(r->qts, "{ 'execute': 'query-status' }");
    us = g_get_monotonic_time() - start;
    waited = waited_for_cpu(qemu) + waited_for_cpu(getpid()) - waited;
    g_test_message("QMP: %" PRId64 " us", us - waited);
    g_assert_cmpint(us - waited, <, QMP_LIMIT);
}

/* Of QEMU, in KiB */
static int64_t anonymous_memory(Rig *r)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status",
                                            qtest_pid(r->qts));
    g_autofree char *text = NULL;
    const char *line;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, "\nRssAnon:");
    g_assert_nonnull(line);
    return g_ascii_strtoll(line + strlen("\nRssAnon:"), NULL, 10);
}

/* Is QEMU built so that it keeps what was freed? */
static bool keeps_freed_memory(Rig *r)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/maps",
                                            qtest_pid(r->qts));
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return strstr(text, "libasan") || strstr(text, "libtsan");
}

static void assert_not_grown(Rig *r, int64_t before)
{
    if (keeps_freed_memory(r)) {
        g_test_message("memory is not compared: a sanitizer keeps it");
        return;
    }
    g_assert_cmpint(anonymous_memory(r), <, before + GROWTH_LIMIT);
}

/*
 * QEMUs
 */

typedef struct Hostile {
    Rig *r;
    QVVRamFile *ram;
    unsigned threads;
} Hostile;

/* As the test's own QEMU, with @more options */
static Hostile hostile_start(const char *more)
{
    Hostile h = { .ram = qvv_ram_file_new(RAM_SIZE) };
    g_autofree char *ram_args = NULL;
    g_autofree char *args = NULL;

    g_assert_nonnull(h.ram);
    ram_args = qvv_ram_file_args(h.ram);
    args = g_strdup_printf("%s %s %s", qos_get_current_command_line(),
                           ram_args, more);
    h.r = second_rig(args);
    qvv_use_ram_file(h.r->d, h.ram, 0);
    h.threads = n_threads(h.r->qts);
    start(h.r, NULL);
    return h;
}

static void hostile_end(Hostile *h)
{
    g_assert_false(qvv_is_broken(h->r->d));
    qvv_stop(h->r->d);
    wait_threads(h->r, h->threads);
    second_rig_free(h->r);
    qvv_ram_file_free(h->ram);
}

/* What takes long and depends on no machine is done once */
static bool not_here(Rig *rig)
{
    bool here = is_x86() && rig->v->pci;

    if (!here) {
        g_test_skip("done with pc and PCI");
    }
    return !here;
}

/*
 * Tests
 */

/* Each time the codec is at work */
static void test_resets(Rig *rig)
{
    int64_t memory = 0;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("");
    for (unsigned i = 0; i < MANY; i++) {
        QVVDriver *d = h.r->d;

        if (i == SETTLED) {
            memory = anonymous_memory(h.r);
        }
        qvv_open(d, 0, DECODER);
        if (i % 50 == 0) {
            TestStream *s = test_stream(h.r, 1);

            hang(s, 0);
            get(s, 0);
            assert_qmp_is_quick(h.r);
        }
        qvv_stop(d);
        g_ptr_array_set_size(h.r->streams, 0);
        start(h.r, NULL);
    }
    assert_not_grown(h.r, memory);
    assert_device_works(h.r);
    hostile_end(&h);
}

/* Half of them get a codec, too */
static void test_streams(Rig *rig)
{
    int64_t memory = 0;
    uint64_t size = QVV_PAGE_SIZE;
    QVVPool *pool;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("");
    pool = qvv_pool_new(h.r->d, 1, 1, &size, QVV_CONTIGUOUS);
    for (unsigned i = 0; i < MANY; i++) {
        QVVDriver *d = h.r->d;

        if (i == SETTLED) {
            memory = anonymous_memory(h.r);
        }
        qvv_open(d, i % 4, DECODER);
        if (i % 2) {
            g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);

            add_pool(set, pool);
            qvv_set_params(d, i % 4, MAIN, set);
            qvv_queue_input(d, i % 4, 0, i, 0, 40);
        }
        qvv_assert_ok(d, qvv_close(d, i % 4));
        while (true) {
            g_autoptr(QVVEvent) ev = qvv_next(d, 0);

            if (!ev) {
                break;
            }
        }
        if (i % 100 == 0) {
            assert_qmp_is_quick(h.r);
        }
    }
    assert_not_grown(h.r, memory);
    assert_device_works(h.r);
    qvv_pool_free(h.r->d, pool);
    hostile_end(&h);
}

/* Commands as fast as the ring takes them, and nobody takes the events */
static void test_flood(Rig *rig)
{
    int64_t memory = 0;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("");
    qvv_assert_ok(h.r->d, qvv_open(h.r->d, 0, DECODER));
    for (unsigned i = 0; i < 200; i++) {
        if (i == 50) {
            memory = anonymous_memory(h.r);
        }
        qvv_hold(h.r->d);
        for (unsigned j = 0; j < 60; j++) {
            qvv_get_params(h.r->d, 0, MAIN, RAW_SET);
        }
        qvv_flush(h.r->d);
        assert_qmp_is_quick(h.r);
        while (true) {
            g_autoptr(QVVEvent) ev = qvv_next(h.r->d, 0);

            if (!ev) {
                break;
            }
        }
    }
    assert_not_grown(h.r, memory);
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 0));
    assert_device_works(h.r);
    hostile_end(&h);
}

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

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("");
    qvv_assert_ok(h.r->d, qvv_open(h.r->d, 0, DECODER));
    most = attach_much(RAW_SET, 0x100000, 32, 4000);
    more = attach_much(RAW_SET, 0x100000, 32, 32768);
    for (unsigned i = 0; i < 10; i++) {
        uint32_t ok = qvv_set_params(h.r->d, 0, MAIN, most);
        uint32_t error = qvv_set_params(h.r->d, 0, MAIN, more);

        assert_qmp_is_quick(h.r);
        assert_qmp_is_quick(h.r);
        qvv_assert_ok(h.r->d, ok);
        qvv_assert_error(h.r->d, error);
    }
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 0));
    assert_device_works(h.r);
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

static uint64_t dimm_addr(QTestState *qts)
{
    g_autoptr(QDict) resp = qtest_qmp(qts,
        "{ 'execute': 'query-memory-devices' }");
    QDict *dimm = qobject_to(QDict,
                             qlist_peek(qdict_get_qlist(resp, "return")));

    return qdict_get_int(qdict_get_qdict(dimm, "data"), "addr");
}

/* What is attached stays the device's; it can't be attached again */
static void test_unplugged_memory(Rig *rig)
{
    g_autoptr(GByteArray) set = NULL;
    uint32_t in, out;
    TestStream *s;
    uint64_t addr;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start(" -m slots=2,maxmem=2G"
                      " -object memory-backend-ram,id=more,size=128M"
                      " -device pc-dimm,id=dimm0,memdev=more");
    addr = dimm_addr(h.r->qts);
    s = test_stream(h.r, 0);
    set = attach_much(CODED_SET, addr, 1, 4);
    qvv_assert_ok(h.r->d, qvv_set_params(h.r->d, 0, MAIN, set));
    qtest_qmp_assert_success(h.r->qts, "{ 'execute': 'device_del',"
                             " 'arguments': { 'id': 'dimm0' } }");
    eject_dimm(h.r->qts);

    in = qvv_queue_input(h.r->d, 0, 0, 1, 0, 4 * QVV_PAGE_SIZE);
    out = get(s, 0);
    /* Nobody has written a script there */
    qvv_assert_error(h.r->d, in);
    qvv_queue_reset(h.r->d, 0, OUTPUT);
    qvv_assert_canceled(h.r->d, out);
    qvv_assert_error(h.r->d, qvv_set_params(h.r->d, 0, MAIN, set));
    qvv_assert_ok(h.r->d, qvv_close(h.r->d, 0));
    assert_device_works(h.r);
    hostile_end(&h);
}

/* QEMU ends although a codec does not listen */
static void test_quit(Rig *rig)
{
    int64_t begin;
    TestStream *s;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("");
    s = test_stream(h.r, 0);
    hang_hard(s, 0, VIDEO_TEST_MAX_WAIT);
    begin = g_get_monotonic_time();
    second_rig_free(h.r);
    qvv_ram_file_free(h.ram);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, SOON);
}

static const TestCase cases[] = {
    { "hostile/ten-thousand-resets", test_resets, .no_start = true },
    { "hostile/ten-thousand-streams", test_streams, .no_start = true },
    { "hostile/flood-of-commands", test_flood, .no_start = true },
    { "hostile/attach-all-that-can-be", test_attach_all, .no_start = true },
    { "hostile/memory-unplugged-while-attached", test_unplugged_memory,
      .no_start = true },
    { "hostile/quit-with-hanging-codec", test_quit, .no_start = true },
};

static void register_virtio_video_hostile_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_hostile_test);
