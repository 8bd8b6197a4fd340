/*
 * QTest testcases of virtio-video: memory of resources
 *
 * What can be attached and what cannot, how much, and which memory is dirty.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "libqos/qos_external.h"
#include "virtio-video-fixture.h"

/*
 * Memory of resources
 */

/* Of the machines' default 128 MiB */
static uint64_t ram_end(void)
{
    return (is_x86() ? 0 : 0x40000000ull) + 128 * MiB;
}

static uint64_t mmio_addr(void)
{
    return is_x86() ? 0xfec00000 : 0x09000000;
}

static uint64_t rom_addr(void)
{
    return is_x86() ? 0xfffff000 : 0;
}

static uint64_t hole_addr(void)
{
    return is_x86() ? 0x40000000 : 0x3eff0000;
}

static void set_le64_entry(uint8_t *p, const QVVEntry *e, uint32_t padding)
{
    stq_le_p(p, e->addr);
    stl_le_p(p + 8, e->len);
    stl_le_p(p + 12, padding);
}

/*
 * RESOURCE_GUEST_PAGES with just these numbers: @counts are the first
 * num_entries[], @padding is what the padding is filled with
 */
static void set_entries(GByteArray *set, uint32_t id, const uint32_t *counts,
                        unsigned n_counts, const QVVEntry *entries,
                        unsigned n, uint32_t padding)
{
    g_autofree uint8_t *value = g_malloc0(40 + 16 * n);

    stl_le_p(value, id);
    stl_le_p(value + 4, padding);
    for (unsigned i = 0; i < n_counts; i++) {
        stl_le_p(value + 8 + 4 * i, counts[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        set_le64_entry(value + 40 + 16 * i, &entries[i], padding);
    }
    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES, value,
                40 + 16 * n);
}

/* A queue of a stream, to which memory can be attached. */
typedef struct Queue {
    TestStream *s;
    uint32_t container;
} Queue;

/* The answer's flags to attaching @entries, all of one buffer, to resource 0 */
static uint32_t attach_to(const Queue *q, const QVVEntry *entries, unsigned n)
{
    GByteArray *set = qvv_set_new(q->container);

    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { n }, 1, entries, n, 0);
    return set_params_flags(q->s, set);
}

/* The same with a decoder's input */
static uint32_t attach(TestStream *s, const QVVEntry *entries, unsigned n)
{
    const Queue q = { s, CODED_SET };

    return attach_to(&q, entries, n);
}

/* So neither queue takes resource 0; the other one has never had any */
static void assert_none_attached_to(const Queue *q)
{
    TestStream *s = q->s;
    g_autoptr(QVVEvent) ev = get_params(s, q->container);

    g_assert_cmpuint(ev->params.n_attached, ==, 0);
    qvv_assert_error(s->d, qvv_queue_input(s->d, s->id, 0, 0, 0, 40));
    qvv_assert_error(s->d, qvv_queue_output(s->d, s->id, 0));
}

static void assert_none_attached(TestStream *s)
{
    const Queue q = { s, CODED_SET };

    assert_none_attached_to(&q);
}

#define ATTACH_ERROR(q, ...) do { \
        QVVEntry e_[] = { __VA_ARGS__ }; \
        g_assert_cmphex(attach_to(q, e_, ARRAY_SIZE(e_)), ==, F_ERROR); \
        assert_none_attached_to(q); \
    } while (0)

static uint64_t alloc_pages(Rig *r, unsigned n)
{
    return guest_alloc(r->alloc, n * QVV_PAGE_SIZE);
}

/*
 * @check each queue of a decoder and of an encoder: what the device reads, and
 * what it writes.  Memory that is good can be attached after that.
 */
static void check_queues(Rig *r, void (*check)(Rig *r, const Queue *q))
{
    const struct {
        const char *name;
        uint32_t type, container;
    } queues[] = {
        { "a decoder's coded data", DECODER, CODED_SET },
        { "a decoder's frames", DECODER, RAW_SET },
        { "an encoder's frames", ENCODER, RAW_SET },
        { "an encoder's coded data", ENCODER, CODED_SET },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(queues); i++) {
        const Queue q = {
            .s = bare_stream_of(r, i, queues[i].type),
            .container = queues[i].container,
        };
        const QVVEntry good = { alloc_pages(r, 1), 4096 };

        g_test_message("%s", queues[i].name);
        check(r, &q);
        g_assert_cmphex(attach_to(&q, &good, 1), ==, F_OK);
    }
}

static void check_hole(Rig *r, const Queue *q)
{
    uint64_t mem = alloc_pages(r, 1);

    ATTACH_ERROR(q, { hole_addr(), 4096 });
    ATTACH_ERROR(q, { mem, 4096 }, { hole_addr(), 4096 });
    ATTACH_ERROR(q, { hole_addr(), 4096 }, { mem, 4096 });
    ATTACH_ERROR(q, { 1ull << 62, 4096 });
}

static void test_attach_hole(Rig *r)
{
    check_queues(r, check_hole);
}

static void check_end_of_ram(Rig *r, const Queue *q)
{
    ATTACH_ERROR(q, { ram_end(), 4096 });
    ATTACH_ERROR(q, { ram_end() - 4096, 8192 });
    ATTACH_ERROR(q, { ram_end() - 4096, 0xfffff000 });
}

static void test_attach_end_of_ram(Rig *r)
{
    check_queues(r, check_end_of_ram);
}

static void check_mmio(Rig *r, const Queue *q)
{
    uint64_t mem = alloc_pages(r, 1);

    ATTACH_ERROR(q, { mmio_addr(), 4096 });
    ATTACH_ERROR(q, { mem, 4096 }, { mmio_addr(), 4096 });
}

static void test_attach_mmio(Rig *r)
{
    check_queues(r, check_mmio);
}

/* The guest can't write there, so the device is not even to read */
static void check_rom(Rig *r, const Queue *q)
{
    uint64_t mem = alloc_pages(r, 1);

    ATTACH_ERROR(q, { rom_addr(), 4096 });
    ATTACH_ERROR(q, { mem, 4096 }, { rom_addr(), 4096 });
}

static void test_attach_rom(Rig *r)
{
    if (is_x86() && !r->v->pci) {
        g_test_skip("microvm has its firmware in RAM");
        return;
    }
    check_queues(r, check_rom);
}

static void check_wrap(Rig *r, const Queue *q)
{
    ATTACH_ERROR(q, { 0xfffffffffffff000, 4096 });
    ATTACH_ERROR(q, { 0xfffffffffffff000, 8192 });
    ATTACH_ERROR(q, { 0xffffffff80000000, 0xfffff000 });
}

static void test_attach_wrap(Rig *r)
{
    check_queues(r, check_wrap);
}

static void check_unaligned(Rig *r, const Queue *q)
{
    uint64_t mem = alloc_pages(r, 4);

    ATTACH_ERROR(q, { mem + 16, 4096 });
    ATTACH_ERROR(q, { mem + 2048, 4096 });
    ATTACH_ERROR(q, { mem, 4095 });
    ATTACH_ERROR(q, { mem, 100 });
    ATTACH_ERROR(q, { mem, 4096 }, { mem + 8192, 1 });
}

static void test_attach_unaligned(Rig *r)
{
    check_queues(r, check_unaligned);
}

static void check_zero_length(Rig *r, const Queue *q)
{
    uint64_t mem = alloc_pages(r, 2);

    ATTACH_ERROR(q, { mem, 0 });
    ATTACH_ERROR(q, { mem, 4096 }, { mem + 4096, 0 });
}

static void test_attach_zero_length(Rig *r)
{
    check_queues(r, check_zero_length);
}

static void check_overlap(Rig *r, const Queue *q)
{
    uint64_t mem = alloc_pages(r, 8);

    ATTACH_ERROR(q, { mem, 4096 }, { mem, 4096 });
    ATTACH_ERROR(q, { mem, 8192 }, { mem + 4096, 8192 });
    ATTACH_ERROR(q, { mem + 4096, 4096 }, { mem, 16384 });
    ATTACH_ERROR(q, { mem, 4096 }, { mem + 8192, 4096 }, { mem, 4096 });
}

static void test_attach_overlap(Rig *r)
{
    check_queues(r, check_overlap);
}

/*
 * RAM that the guest can read, but not write: part of what a file holds, in a
 * DIMM.  It is refused for what the device would only read, too.
 */

#define READ_ONLY_SIZE  (128 * MiB)

static void check_read_only(Rig *r, const Queue *q)
{
    uint64_t rom = dimm_addr(r->qts), mem = alloc_pages(r, 1);

    ATTACH_ERROR(q, { rom, 4096 });
    ATTACH_ERROR(q, { rom, READ_ONLY_SIZE });
    ATTACH_ERROR(q, { mem, 4096 }, { rom, 4096 });
    ATTACH_ERROR(q, { rom + READ_ONLY_SIZE - 4096, 4096 }, { mem, 4096 });
}

static void test_attach_read_only(Rig *first)
{
    const char hello[] = "read me";
    g_autofree char *file = NULL;
    g_autofree char *args = NULL;
    char text[sizeof(hello)];
    uint64_t rom;
    Rig *r;

    if (!is_x86() || !first->v->pci) {
        g_test_skip("done with pc and PCI");
        return;
    }
    file = temp_file();
    g_assert_true(g_file_set_contents(file, hello, sizeof(hello), NULL));
    g_assert_cmpint(truncate(file, READ_ONLY_SIZE), ==, 0);
    args = g_strdup_printf("%s -m slots=1,maxmem=2G"
                           " -object memory-backend-file,id=ro,size=128M,"
                           "mem-path=%s,readonly=on,share=off"
                           " -device pc-dimm,id=dimm0,memdev=ro",
                           qos_get_current_command_line(), file);
    r = second_rig(args);
    unlink(file);
    start(r, NULL);

    rom = dimm_addr(r->qts);
    qtest_memset(r->qts, rom, 0xee, sizeof(hello));
    qtest_memread(r->qts, rom, text, sizeof(text));
    g_assert_cmpstr(text, ==, hello);
    check_queues(r, check_read_only);
    qvv_stop(r->d);
    second_rig_free(r);
}

static void test_attach_overlap_of_buffers(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s = bare_stream(r, 0);
    uint64_t mem = alloc_pages(r, 2);
    QVVEntry both[] = { { mem, 4096 }, { mem, 4096 } };
    GByteArray *set = qvv_set_new(RAW_SET);

    f.planes_layout = MULTI;
    set_raw_format(s, &f);
    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { 1, 1 }, 2, both, 2, 0);
    assert_set_error(s, set);
}

static void test_attach_id(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVEntry page = { alloc_pages(r, 1), 4096 };
    static const uint32_t ids[] = { 2, 32, 0x80000000, ~0u };

    set_num(s, CODED_SET, 2);
    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        GByteArray *set = qvv_set_new(CODED_SET);

        set_entries(set, ids[i], (uint32_t[]) { 1 }, 1, &page, 1, 0);
        assert_set_error(s, set);
    }
    assert_none_attached(s);
}

static void test_attach_no_resources(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVEntry page = { alloc_pages(r, 1), 4096 };
    GByteArray *set = qvv_set_new(CODED_SET);

    set_entries(set, 0, (uint32_t[]) { 1 }, 1, &page, 1, 0);
    assert_set_error(s, set);
}

static void assert_counts_error(TestStream *s, const uint32_t *counts,
                                unsigned n_counts, unsigned n_entries)
{
    GByteArray *set = qvv_set_new(CODED_SET);
    g_autofree QVVEntry *entries = g_new0(QVVEntry, n_entries);

    for (unsigned i = 0; i < n_entries; i++) {
        entries[i] = (QVVEntry) { ram_end() - (16 - i) * 4096, 4096 };
    }
    qvv_set_num_resources(set, 1);
    set_entries(set, 0, counts, n_counts, entries, n_entries, 0);
    assert_set_error(s, set);
    assert_none_attached(s);
}

/* Sums that are right only modulo 2^32, and counts of what isn't there */
static void test_attach_counts(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    const uint32_t half = 0x80000000;

    assert_counts_error(s, (uint32_t[]) { 2 }, 1, 1);
    assert_counts_error(s, (uint32_t[]) { 1 }, 1, 2);
    assert_counts_error(s, (uint32_t[]) { 1 }, 1, 0);
    assert_counts_error(s, (uint32_t[]) { ~0u }, 1, 1);
    assert_counts_error(s, (uint32_t[]) { ~0u, 2 }, 2, 1);
    assert_counts_error(s, (uint32_t[]) { half, half, 1 }, 3, 1);
    assert_counts_error(s, (uint32_t[]) { 0x10000001 }, 1, 1);
    assert_counts_error(s, (uint32_t[]) { 1, ~0u, 1 }, 3, 1);
    assert_counts_error(s, (uint32_t[]) { half, half, half, half, half, half,
                                         half, half }, 8, 0);
}

/* Coded data has no planes */
static void test_attach_coded_buffers(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint64_t mem = alloc_pages(r, 2);
    const QVVEntry both[] = { { mem, 4096 }, { mem + 4096, 4096 } };
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { 1, 1 }, 2, both, 2, 0);
    assert_set_error(s, set);
    assert_none_attached(s);
}

/* The second buffer is missing; the frame has no place then */
static void test_attach_missing_buffer(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    QVVEntry page = { alloc_pages(r, 2), 8192 };
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    f.planes_layout = MULTI;
    set_raw_format(s, &f);
    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { 1 }, 1, &page, 1, 0);
    set_params_flags(s, set);
    qvv_assert_error(r->d, get(s, 0));
}

static void test_attach_max_entries(Rig *r)
{
    uint64_t mem = alloc_pages(r, 16);
    TestStream *s = bare_stream(r, 0);
    QVVEntry e[5];

    for (unsigned i = 0; i < ARRAY_SIZE(e); i++) {
        e[i] = (QVVEntry) { mem + i * 8192, 4096 };
    }
    g_assert_cmphex(attach(s, e, 5), ==, F_ERROR);
    assert_none_attached(s);
    g_assert_cmphex(attach(s, e, 4), ==, F_OK);
}

static void test_attach_contiguous_only(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint64_t mem = alloc_pages(r, 2);
    const QVVEntry e[] = { { mem, 4096 }, { mem + 4096, 4096 } };

    g_assert_cmphex(r->d->features & FEATURE(RESOURCE_NON_CONTIG), ==, 0);
    g_assert_cmphex(attach(s, e, 2), ==, F_ERROR);
    assert_none_attached(s);
    g_assert_cmphex(attach(s, e, 1), ==, F_OK);
}

/* Each buffer may have one entry of its own, though */
static void test_attach_contiguous_buffers(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s;

    f.planes_layout = MULTI;
    s = test_stream_of(r, 0, &f, QVV_CONTIGUOUS);
    assert_decodes(s);
}

static void test_attach_padding(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVEntry page = { alloc_pages(r, 1), 4096 };
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { 1 }, 1, &page, 1, ~0u);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_cmphex(ev->params.attached, ==, 1);
    /* header, set, num_resources, pages: type, length, id and padding */
    g_assert_cmpuint(ev->len, ==, 16 + 8 + 12 + 16);
    g_assert_cmpuint(ldl_le_p(ev->raw + 16 + 8 + 12 + 4), ==, 8);
    g_assert_cmpuint(ldl_le_p(ev->raw + 16 + 8 + 12 + 8), ==, 0);
    g_assert_cmphex(ldl_le_p(ev->raw + 16 + 8 + 12 + 12), ==, 0);
}

/* Other memory for a resource that is not in use needs no drain */
static void test_attach_again(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    QVVPool *old = s->out;

    assert_decodes(s);
    fill_output(s, 0, 0xee);
    s->out = qvv_pool_new(r->d, 1, 1, s->layout.buffer_size, QVV_SCATTERED);
    qvv_set_pages(set, &s->out->res[0]);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    assert_decodes(s);

    qvv_pool_free(r->d, s->out);
    s->out = old;
    assert_output_is(s, 0, 0xee);
}

/* A resource in use: a change, and its old memory is left alone then */
static void test_attach_in_use(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    QVVPool *other;
    uint32_t out, flags;

    assert_decodes(s);
    out = get(s, 0);
    other = qvv_pool_new(r->d, 1, 1, s->layout.buffer_size, QVV_CONTIGUOUS);
    qvv_set_pages(set, &other->res[0]);
    flags = set_params_flags(s, set);
    if (flags == F_ERROR) {
        g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    } else {
        g_assert_cmphex(flags, ==, F_BLOCKED);
        expect(r->d, out, F_CANCELED);
        fill_output(s, 0, 0xee);
        out = get(s, 0);
        unblock(s);
        PUT(s, 0, 9, frame(8));
        qvv_assert_ok(r->d, out);
        assert_output_is(s, 0, 0xee);
    }
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    qvv_pool_free(r->d, other);
}

/*
 * Dirty memory
 */

#define VGA_SLOT    0x02

static void vbe_write(QTestState *qts, uint16_t index, uint16_t value)
{
    qtest_outw(qts, 0x1ce, index);
    qtest_outw(qts, 0x1cf, value);
}

/* 64x48 pixels of 8 bits, whose palette is grey; the linear frame buffer */
static uint64_t vga_start(QTestState *qts, QPCIBus *bus, QPCIDevice **vga)
{
    QPCIBar bar;

    *vga = qpci_device_find(bus, QPCI_DEVFN(VGA_SLOT, 0));
    g_assert_nonnull(*vga);
    qpci_device_enable(*vga);
    bar = qpci_iomap(*vga, 0, NULL);
    vbe_write(qts, 1, WIDTH);
    vbe_write(qts, 2, HEIGHT);
    vbe_write(qts, 3, 8);
    vbe_write(qts, 4, 0xc1);
    qtest_inb(qts, 0x3da);
    qtest_outb(qts, 0x3c0, 0x20);
    qtest_outb(qts, 0x3c8, 0);
    for (unsigned i = 0; i < 256 * 3; i++) {
        qtest_outb(qts, 0x3c9, i / 3 >> 2);
    }
    return bar.addr;
}

/* The first pixel of the screen, in the DAC's 6 bits */
static uint8_t first_pixel(QTestState *qts)
{
    g_autofree char *file = temp_file();
    g_autofree uint8_t *ppm = NULL;
    unsigned width, height;
    size_t len;
    int at = 0;

    qtest_qmp_assert_success(qts, "{ 'execute': 'screendump', 'arguments':"
                             " { 'filename': %s } }", file);
    g_assert_true(g_file_get_contents(file, (char **)&ppm, &len, NULL));
    unlink(file);
    g_assert_cmpint(sscanf((char *)ppm, "P6 %u %u 255%n", &width, &height,
                           &at), ==, 2);
    g_assert_cmpuint(width, ==, WIDTH);
    g_assert_cmpuint(height, ==, HEIGHT);
    return ppm[at + 1] >> 2;
}

/* Video memory is RAM, and the screen shows only what is known to be dirty */
static void test_dirty_video_memory(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    QVVEntry screen = { .len = 8192 };
    QPCIDevice *vga;

    if (!r->v->pci || !is_x86() || !qtest_has_device("VGA")) {
        g_test_skip("this machine has no VGA");
        return;
    }
    screen.addr = vga_start(r->qts, r->v->pci->pdev->bus, &vga);
    qtest_memset(r->qts, screen.addr, 0x40, screen.len);
    /* The first draws all, the second looks what is dirty and cleans it */
    g_assert_cmphex(first_pixel(r->qts), ==, 0x40 >> 2);
    g_assert_cmphex(first_pixel(r->qts), ==, 0x40 >> 2);

    add_inputs(s);
    set_raw_format(s, &f);
    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { 1 }, 1, &screen, 1, 0);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    PUT(s, 0, 0, HEADER, frame(0xc0));
    qvv_assert_ok(r->d, get(s, 0));
    g_assert_cmphex(first_pixel(r->qts), ==, 0xc0 >> 2);
    g_free(vga);
}

/*
 * All of them
 */

static const TestCase cases[] = {
    { "attach/hole-is-error", test_attach_hole },
    { "attach/end-of-ram-is-error", test_attach_end_of_ram },
    { "attach/mmio-is-error", test_attach_mmio },
    { "attach/rom-is-error", test_attach_rom },
    { "attach/read-only-ram-is-error", test_attach_read_only,
      .no_start = true },
    { "attach/wrapping-is-error", test_attach_wrap },
    { "attach/unaligned-is-error", test_attach_unaligned },
    { "attach/zero-length-is-error", test_attach_zero_length },
    { "attach/overlap-is-error", test_attach_overlap },
    { "attach/overlap-of-buffers-is-error", test_attach_overlap_of_buffers },
    { "attach/id-out-of-range-is-error", test_attach_id },
    { "attach/no-resources-is-error", test_attach_no_resources },
    { "attach/wrong-counts-are-error", test_attach_counts },
    { "attach/coded-resource-has-one-buffer", test_attach_coded_buffers },
    { "attach/missing-buffer-is-error", test_attach_missing_buffer },
    { "attach/too-many-entries-is-error", test_attach_max_entries,
      .device = ",max-entries=4" },
    { "attach/contiguous-only-takes-one-entry", test_attach_contiguous_only,
      .opts = { .features = VERSION_1 | FEATURE(DECODER) |
                            FEATURE(RESOURCE_GUEST_PAGES) } },
    { "attach/contiguous-only-takes-many-buffers",
      test_attach_contiguous_buffers,
      .opts = { .features = VERSION_1 | FEATURE(DECODER) |
                            FEATURE(RESOURCE_GUEST_PAGES) } },
    { "attach/padding-does-not-matter", test_attach_padding },
    { "attach/unused-resource-is-no-change", test_attach_again },
    { "attach/resource-in-use-is-a-change", test_attach_in_use },

    { "dirty/written-memory-is-dirty", test_dirty_video_memory },
};

static void register_virtio_video_memory_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_memory_test);
