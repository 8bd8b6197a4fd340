/*
 * QTest testcases of virtio-video: behind an IOMMU
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "virtio-video-encoder-fixture.h"
#include "virtio-video-iommu-fixture.h"

/* Of a coded buffer for a real codec */
#define CLIP_SIZE           (8 * PAGE)
/* That one command can attach */
#define MOST_PAGES          (128 * KiB)

static TestStream *mapped_stream(Iommu *i)
{
    const QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    const uint64_t input_size = 3 * PAGE;
    GByteArray *in = qvv_set_new(CODED_SET), *out = qvv_set_new(RAW_SET);
    TestStream *s = bare_stream(i->r, 0);

    s->in = qvv_pool_new(s->d, N_INPUTS, 1, &input_size, QVV_SCATTERED);
    iommu_map_pool(i, in, s->in);
    set_params_ok(s, in);
    set_raw_format(s, &raw);
    read_raw_format(s);
    s->out = qvv_pool_new(s->d, N_OUTPUTS, 1, s->layout.buffer_size,
                          QVV_SCATTERED);
    iommu_map_pool(i, out, s->out);
    set_params_ok(s, out);
    return s;
}

/* An encoder for NV12, with coded buffers of @coded_size bytes */
static TestStream *mapped_encoder(Iommu *i, uint64_t coded_size)
{
    const QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    GByteArray *in = qvv_set_new(RAW_SET), *out = qvv_set_new(CODED_SET);
    TestStream *s = bare_encoder(i->r, 0);

    set_raw_format(s, &raw);
    read_raw_format(s);
    s->in = qvv_pool_new(s->d, N_FRAMES, 1, s->layout.buffer_size,
                         QVV_SCATTERED);
    iommu_map_pool(i, in, s->in);
    set_params_ok(s, in);
    s->out = qvv_pool_new(s->d, N_CODED, 1, &coded_size, QVV_SCATTERED);
    iommu_map_pool(i, out, s->out);
    set_params_ok(s, out);
    return s;
}

static void test_iommu_decode(Rig *first)
{
    TestStream *s;
    Iommu i;

    if (!iommu_start(&i, first)) {
        return;
    }
    s = mapped_stream(&i);
    for (unsigned n = 0; n < 20; n++) {
        uint32_t in = PUT(s, n % N_INPUTS, n, HEADER, frame(n));

        expect_frame(s, n % N_OUTPUTS, get(s, n % N_OUTPUTS), n, n);
        qvv_assert_ok(s->d, in);
    }
    qvv_assert_ok(s->d, qvv_close(s->d, 0));
    iommu_stop(&i);
}

static void test_iommu_encode(Rig *first)
{
    TestStream *s;
    Iommu i;

    if (!iommu_start(&i, first)) {
        return;
    }
    s = mapped_encoder(&i, 2 * PAGE);
    for (unsigned n = 0; n < 20; n++) {
        unsigned in = n % N_FRAMES, out = (n + 3) % N_CODED;

        qvv_assert_ok(s->d, encode(s, in, n, n));
        g_assert_cmphex(expect_coded(s, out, get(s, out), n ? P_FRAME : KEY)
                        .checksum, ==, frame_sum(s, n));
    }
    qvv_assert_ok(s->d, qvv_close(s->d, 0));
    iommu_stop(&i);
}

/* What a real codec makes of some frames, in one piece */
static GByteArray *encode_all(TestStream *s)
{
    GByteArray *all = g_byte_array_new();
    uint32_t out[N_CODED], drain;

    for (unsigned n = 0; n < N_CODED; n++) {
        out[n] = get(s, n);
        encode(s, n, n, 10 + n);
    }
    drain = qvv_drain(s->d, s->id);
    for (unsigned n = 0; n < N_CODED; n++) {
        g_autoptr(QVVEvent) ev = qvv_wait(s->d, out[n]);
        g_autofree uint8_t *data = read_output(s, n, 0);

        g_assert_cmphex(ev->flags, ==, F_OK);
        g_assert_cmpuint(ev->data_sizes[0], >, 0);
        g_byte_array_append(all, data, ev->data_sizes[0]);
    }
    qvv_assert_ok(s->d, drain);
    qvv_assert_ok(s->d, qvv_close(s->d, s->id));
    return all;
}

/* The same without an IOMMU */
static GByteArray *encode_all_unmapped(void)
{
    const QVVOptions opts = { .more_features = ACCESS_PLATFORM };
    const QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    g_autofree char *args = codec_args("video-codec-libav");
    Rig *r = second_rig(args);
    GByteArray *all;
    TestStream *s;

    start(r, &opts);
    s = bare_encoder(r, 0);
    set_raw_format(s, &raw);
    add_frames(s, N_FRAMES, QVV_CONTIGUOUS);
    add_coded(s, N_CODED, CLIP_SIZE);
    all = encode_all(s);
    qvv_stop(r->d);
    second_rig_free(r);
    return all;
}

static void test_iommu_encode_libav(Rig *first)
{
    g_autoptr(GByteArray) mapped = NULL, unmapped = NULL;
    Iommu i;

    if (!has_type(first->qts, "video-codec-libav")) {
        g_test_skip("video-codec-libav is not built");
        return;
    }
    if (!iommu_start_codec(&i, first, "video-codec-libav")) {
        return;
    }
    mapped = encode_all(mapped_encoder(&i, CLIP_SIZE));
    iommu_stop(&i);
    unmapped = encode_all_unmapped();
    g_assert_cmpmem(mapped->data, mapped->len, unmapped->data, unmapped->len);
}

/* The last input is attached to @n pages at @iova, which is an ERROR */
static void assert_attach_error(TestStream *s, uint64_t iova, unsigned n)
{
    QVVEntry entry = { .addr = iova, .len = n * PAGE };
    QVVResource res = {
        .id = N_INPUTS - 1,
        .n_buffers = 1,
        .buffer[0] = { .n_entries = 1, .entries = &entry },
    };
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_pages(set, &res);
    assert_set_error(s, set);
}

static void test_iommu_unmapped(Rig *first)
{
    TestStream *s;
    Iommu i;

    if (!iommu_start(&i, first)) {
        return;
    }
    s = mapped_stream(&i);
    assert_attach_error(s, i.next, 1);
    assert_attach_error(s, UNMAPPED_RAM, 1);
    /* The last page is not there, and then the first ones neither */
    assert_attach_error(s, i.next - 2 * PAGE, 3);
    assert_attach_error(s, RAM_BASE + MAPPED_RAM - PAGE, 2);
    g_assert_false(qvv_is_broken(s->d));
    assert_decodes(s);
    iommu_stop(&i);
}

/* Attaches @size bytes at @addr to resource @id */
static GByteArray *attach_at(uint32_t container, uint32_t id, uint64_t addr,
                             uint64_t size)
{
    QVVEntry entries[] = {
        { .addr = addr, .len = MIN(size, 2 * GiB) },
        { .addr = addr + 2 * GiB, .len = size - MIN(size, 2 * GiB) },
    };
    QVVResource res = {
        .id = id,
        .n_buffers = 1,
        .buffer[0] = {
            .n_entries = entries[1].len ? 2 : 1, .entries = entries,
        },
    };
    GByteArray *set = qvv_set_new(container);

    qvv_set_pages(set, &res);
    return set;
}

/* So many sets at once that it takes too long if they are applied at once */
static void attach_outputs(Watch *w, TestStream *s, uint32_t queue,
                           uint64_t addr)
{
    GByteArray *num = qvv_set_new(RAW_SET);
    uint32_t cookies[32] = { 0 }, drain = 0;

    qvv_set_num_resources(num, ARRAY_SIZE(cookies));
    set_params_ok(s, num);
    if (queue == INPUT) {
        drain = put_barrier(s);
    }
    qvv_hold(s->d);
    for (unsigned id = N_OUTPUTS; id < ARRAY_SIZE(cookies); id++) {
        g_autoptr(GByteArray) set = attach_at(RAW_SET, id, addr, 128 * MiB);

        cookies[id] = qvv_set_params(s->d, s->id, queue, set);
    }
    if (drain) {
        get(s, 0);
    }
    qvv_flush(s->d);
    for (unsigned id = N_OUTPUTS; id < ARRAY_SIZE(cookies); id++) {
        watch(w);
        qvv_assert_ok(s->d, cookies[id]);
    }
    qvv_assert_ok(s->d, qvv_close(s->d, s->id));
}

/*
 * Gigabytes of pages cost a guest two page tables and an entry, but each has to
 * be looked up.
 */
static void test_iommu_much(Rig *first)
{
    uint64_t addr;
    TestStream *s;
    Iommu i;
    Watch w;

    if (!is_x86()) {
        g_test_skip("it is about the tables of intel-iommu");
        return;
    }
    if (!iommu_start(&i, first)) {
        return;
    }
    s = mapped_stream(&i);
    addr = iommu_map_mirrors(&i, 4);
    watch_start(&w, i.r);
    set_params_ok(s, attach_at(RAW_SET, 0, addr, MOST_PAGES * PAGE));
    for (unsigned n = 0; n < 8; n++) {
        g_autoptr(GByteArray) more =
            attach_at(n % 2 ? CODED_SET : RAW_SET, 0, addr,
                      n < 2 ? (MOST_PAGES + 1) * PAGE : 4 * GiB - PAGE);
        uint32_t cookie = qvv_set_params(s->d, s->id, MAIN, more);

        watch(&w);
        qvv_assert_error(s->d, cookie);
    }
    qvv_assert_ok(s->d, qvv_close(s->d, 0));

    attach_outputs(&w, mapped_stream(&i), MAIN, addr);
    attach_outputs(&w, mapped_stream(&i), INPUT, addr);
    watch_end_qmp(&w);
    iommu_stop(&i);
}

/*
 * What a command reads where nothing is mapped is the transport's business:
 * QEMU's reads zeroes, and there is no such command.
 */
static void test_iommu_unmapped_command(Rig *first)
{
    const QVVOptions opts = { .more_features = ACCESS_PLATFORM };
    QVVDesc desc = { .len = 16 };
    TestStream *s;
    Iommu i;

    if (!iommu_start(&i, first)) {
        return;
    }
    desc.addr = UNMAPPED_RAM;
    g_assert_cmpint(qvv_queue_add(i.r->d, &i.r->d->cmdq, &desc, 1), >=, 0);
    qvv_queue_kick(i.r->d, &i.r->d->cmdq);
    g_usleep(QUIET);
    qvv_stop(i.r->d);
    start(i.r, &opts);
    s = mapped_stream(&i);
    assert_decodes(s);
    iommu_stop(&i);
}

/*
 * All of them
 */

static const TestCase cases[] = {
    { "iommu/decodes-scattered-pages", test_iommu_decode,
      .device = ",iommu_platform=on", .no_start = true },
    { "iommu/encodes-scattered-pages", test_iommu_encode,
      .device = ",iommu_platform=on", .no_start = true },
    { "iommu/libav-encodes-the-same-bytes", test_iommu_encode_libav,
      .device = ",iommu_platform=on", .no_start = true },
    { "iommu/unmapped-is-error", test_iommu_unmapped,
      .device = ",iommu_platform=on", .no_start = true },
    { "iommu/much-memory-is-error", test_iommu_much,
      .device = ",iommu_platform=on", .no_start = true },
    { "iommu/unmapped-command-does-no-harm", test_iommu_unmapped_command,
      .device = ",iommu_platform=on", .no_start = true },
};

static void register_virtio_video_iommu_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_iommu_test);
