/*
 * QTest testcases of virtio-video: the limits that are properties
 *
 * Each goes exactly one over and gets the answer that the documentation has for
 * it; the limit itself still works.  Decoders and encoders have the same ones.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "virtio-video-encoder-fixture.h"

static void assert_works(Rig *r, uint32_t id, uint32_t type)
{
    if (type == ENCODER) {
        assert_encodes(encoder(r, id));
    } else {
        assert_decodes(test_stream(r, id));
    }
}

/*
 * Streams: max-streams is 3 here
 */

static void test_streams(Rig *r)
{
    static const uint32_t types[] = { DECODER, ENCODER, DECODER };

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        assert_works(r, i, types[i]);
    }
    qvv_assert_error(r->d, qvv_open(r->d, 3, DECODER));
    qvv_assert_error(r->d, qvv_open(r->d, 3, ENCODER));
    /* Another can be had only instead of one */
    qvv_assert_error(r->d, qvv_open(r->d, 1, DECODER));
    qvv_assert_ok(r->d, qvv_close(r->d, 1));
    assert_works(r, 1, ENCODER);
}

/*
 * Resources: max-resources is 2 here
 */

/* @set attaches that memory to resource @id */
static void add_entries(GByteArray *set, uint32_t id, QVVEntry *entries,
                        unsigned n)
{
    const QVVResource res = {
        .id = id,
        .n_buffers = 1,
        .buffer[0] = { .n_entries = n, .entries = entries },
    };

    qvv_set_pages(set, &res);
}

static void check_resources(Rig *r, uint32_t type)
{
    static const uint32_t sets[] = { CODED_SET, RAW_SET };
    QVVEntry page = { guest_alloc(r->alloc, QVV_PAGE_SIZE), QVV_PAGE_SIZE };
    TestStream *s = bare_stream_of(r, 0, type);

    for (unsigned i = 0; i < ARRAY_SIZE(sets); i++) {
        GByteArray *set = qvv_set_new(sets[i]);

        g_assert_cmpuint(set_num(s, sets[i], 3), ==, 2);
        add_entries(set, 2, &page, 1);
        assert_set_error(s, set);
        set = qvv_set_new(sets[i]);
        add_entries(set, 1, &page, 1);
        g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    }
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 2, 0, 0, 40));
    qvv_assert_error(r->d, get(s, 2));
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
}

static void test_resources(Rig *r)
{
    check_resources(r, DECODER);
    check_resources(r, ENCODER);
}

/*
 * Entries: max-entries is 4 here
 */

/* Every other page, so that none continues another */
static void fill_entries(Rig *r, QVVEntry *entries, unsigned n)
{
    uint64_t mem = guest_alloc(r->alloc, 2 * n * QVV_PAGE_SIZE);

    for (unsigned i = 0; i < n; i++) {
        entries[i] = (QVVEntry) { mem + 2 * i * QVV_PAGE_SIZE,
                                  QVV_PAGE_SIZE };
    }
}

static void check_entries(Rig *r, uint32_t type, uint32_t container)
{
    TestStream *s = bare_stream_of(r, 0, type);
    GByteArray *set = qvv_set_new(container);
    QVVEntry entries[5];

    fill_entries(r, entries, 5);
    qvv_set_num_resources(set, 1);
    add_entries(set, 0, entries, 5);
    assert_set_error(s, set);
    set = qvv_set_new(container);
    qvv_set_num_resources(set, 1);
    add_entries(set, 0, entries, 4);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
}

static void test_entries(Rig *r)
{
    check_entries(r, DECODER, CODED_SET);
    check_entries(r, DECODER, RAW_SET);
    check_entries(r, ENCODER, CODED_SET);
    check_entries(r, ENCODER, RAW_SET);
}

/*
 * Sizes: max-width is 640 and max-height 480 here
 */

static void check_size_set(TestStream *s, uint32_t width, uint32_t height)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, width, height);

    f = set_and_get(s, &f);
    g_assert_cmpuint(f.width, ==, 640);
    g_assert_cmpuint(f.height, ==, 480);
}

/* What the driver asks for is moved to the closest */
static void test_size_of_driver(Rig *r)
{
    for (uint32_t type = ENCODER; type <= DECODER; type++) {
        TestStream *s = bare_stream_of(r, 0, type);

        check_size_set(s, 641, 480);
        check_size_set(s, 640, 481);
        qvv_assert_ok(r->d, qvv_close(r->d, 0));
    }
}

/* What the coded stream has can't be */
static void test_size_of_stream(Rig *r)
{
    static const uint32_t sizes[][2] = { { 641, 480 }, { 640, 481 } };
    QVVRawFormat largest = raw_format(VIDEO_TEST_NV12, 640, 480);
    TestStream *s;

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        s = test_stream(r, 0);
        PUT(s, 0, 1, format(sizes[i][0], sizes[i][1]), frame(1));
        expect_stream_error(r->d, 0);
    }
    s = test_stream_of(r, 0, &largest, QVV_CONTIGUOUS);
    PUT(s, 0, 1, format(640, 480), frame(7));
    expect_frame(s, 0, get(s, 0), 7, 1);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    assert_encodes(encoder_of(r, 0, &largest, QVV_CONTIGUOUS));
}

/*
 * Coded size: guest memory comes in pages, so max-coded-size is one page here,
 * or a byte less
 */

static void add_page(Rig *r, GByteArray *set)
{
    QVVEntry page = { guest_alloc(r->alloc, QVV_PAGE_SIZE), QVV_PAGE_SIZE };

    qvv_set_num_resources(set, 1);
    add_entries(set, 0, &page, 1);
}

static void test_coded_size_over(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);

    for (unsigned i = 0; i < caps->n_coded; i++) {
        g_assert_cmpuint(caps->coded[i].resource_size.max, ==, 4095);
    }
    for (uint32_t type = ENCODER; type <= DECODER; type++) {
        TestStream *s = bare_stream_of(r, 0, type);
        GByteArray *set = qvv_set_new(CODED_SET);

        add_page(r, set);
        assert_set_error(s, set);
        /* Frames have another limit */
        set = qvv_set_new(RAW_SET);
        add_page(r, set);
        g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
        qvv_assert_ok(r->d, qvv_close(r->d, 0));
    }
}

static void test_coded_size(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, 0, 4097));
    assert_decodes(s);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    s = encoder(r, 0);
    ENCODE(s, 0, 5, coded(4096, 0, 0));
    g_assert_cmpuint(expect_coded(s, 1, get(s, 1), KEY).size, ==, 4096);
}

/*
 * Host memory: max-mem is 1 MiB here
 */

#define MAX_MEM (1 * MiB)

/* Coded data that waits; that of an encoder is in the guest's memory only */
static void test_memory_of_coded(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint32_t half, last, over;
    int64_t left;

    add_inputs_of(s, 4, 1 * MiB);
    hang(s, 3);
    half = qvv_queue_input(r->d, 0, 0, 0, 0, MiB / 2);
    wait_commands(r->d);
    left = MAX_MEM - memory_used(r);
    g_assert_cmpint(left, >, MiB / 4);
    over = qvv_queue_input(r->d, 0, 1, 0, 0, left + 1);
    qvv_assert_error(r->d, over);
    last = qvv_queue_input(r->d, 0, 1, 0, 0, left);
    wait_commands(r->d);
    g_assert_cmpint(MAX_MEM - memory_used(r), ==, 0);
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 2, 0, 0, 1));
    qvv_queue_reset(r->d, 0, INPUT);
    qvv_assert_canceled(r->d, half);
    qvv_assert_canceled(r->d, last);
}

/* The codec's own frames: the others go on, and what it had is given back */
static void test_memory_of_codec(Rig *r)
{
    TestStream *other = test_stream(r, 1);

    for (unsigned over = 0; over < 2; over++) {
        TestStream *s = test_stream(r, 0);
        /* With the script itself, of which the codec has a copy */
        int64_t left = MAX_MEM - memory_used(r) -
                       2 * sizeof(VideoTestInsn);
        uint32_t in = PUT(s, 0, 0, HEADER,
                          insn(VIDEO_TEST_MEMORY, left + over));

        if (over) {
            expect_stream_error(r->d, 0);
        } else {
            qvv_assert_ok(r->d, in);
            qvv_assert_ok(r->d, qvv_close(r->d, 0));
        }
        assert_decodes(other);
    }
}

/* Attach that many pieces of memory; does the device take them? */
static bool takes_pieces(TestStream *s, uint32_t container, QVVEntry *entries,
                         unsigned n)
{
    GByteArray *set = qvv_set_new(container);
    uint32_t flags;

    qvv_set_num_resources(set, 1);
    add_entries(set, 0, entries, n);
    flags = set_params_flags(s, set);
    g_assert_true(flags == F_OK || flags == F_ERROR);
    return flags == F_OK;
}

/*
 * The tables of a resource, and those of the request: how many pieces there is
 * room for is looked for, then one more is too many, again and again.  max-mem
 * is 256 KiB here.
 */
static void check_memory_of_resource(Rig *r, uint32_t type, uint32_t container)
{
    const unsigned n = 8000;
    g_autofree QVVEntry *entries = g_new(QVVEntry, n);
    TestStream *s = bare_stream_of(r, 0, type);
    unsigned most = 1, over = n;

    fill_entries(r, entries, n);
    g_assert_true(takes_pieces(s, container, entries, most));
    g_assert_false(takes_pieces(s, container, entries, over));
    while (over - most > 1) {
        unsigned i = (most + over) / 2;

        *(takes_pieces(s, container, entries, i) ? &most : &over) = i;
    }
    for (unsigned i = 0; i < 3; i++) {
        g_assert_true(takes_pieces(s, container, entries, most));
        g_assert_false(takes_pieces(s, container, entries, over));
    }
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    guest_free(r->alloc, entries[0].addr);
}

static void test_memory_of_resources(Rig *r)
{
    check_memory_of_resource(r, DECODER, RAW_SET);
    check_memory_of_resource(r, ENCODER, RAW_SET);
    check_memory_of_resource(r, ENCODER, CODED_SET);
}

/* A second QEMU with software codecs and that much memory for them */
static Rig *small_libav_rig(int64_t max_mem)
{
    g_autofree char *args = codec_args("video-codec-libav");
    g_auto(GStrv) parts = g_strsplit(args, ",codec=codec0", 2);
    g_autofree char *with = g_strdup_printf(",codec=codec0,max-mem=%" PRIi64,
                                            max_mem);
    g_autofree char *all = g_strjoinv(with, parts);
    Rig *r = second_rig(all);

    start(r, NULL);
    return r;
}

/*
 * What an encoder takes is known when it is opened, with the first frame: as
 * much is enough, and one byte less is an error of the stream
 */
static int64_t encode_in(int64_t max_mem, bool enough)
{
    Rig *r = small_libav_rig(max_mem);
    TestStream *s = encoder(r, 0);
    uint32_t in = encode(s, 0, 1, 1);
    int64_t used = 0;

    if (enough) {
        qvv_assert_ok(r->d, in);
        used = memory_used(r);
        qvv_assert_ok(r->d, qvv_close(r->d, 0));
    } else {
        expect_stream_error(r->d, 0);
    }
    qvv_stop(r->d);
    second_rig_free(r);
    return used;
}

static void test_memory_of_encoder(Rig *first)
{
    int64_t used;

    if (!has_type(first->qts, "video-codec-libav")) {
        g_test_skip("video-codec-libav is not built");
        return;
    }
    used = encode_in(4 * GiB, true);
    g_assert_cmpint(used, >, WIDTH * HEIGHT * 3 / 2);
    g_assert_cmpint(encode_in(used, true), ==, used);
    encode_in(used - 1, false);
}

/*
 * libx265 leaks each time that it is opened.  That counts for as long as the
 * device lives, so that it can't be opened any number of times.
 */

/* Open it for a frame.  Returns: bytes used then, or 0: it could not be */
static int64_t encode_hevc(Rig *r)
{
    QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s = bare_encoder(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);
    int64_t used;
    uint32_t out;

    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_HEVC);
    set_params_ok(s, set);
    set_raw_format(s, &raw);
    add_frames(s, 1, QVV_CONTIGUOUS);
    add_coded(s, 1, 4 * QVV_PAGE_SIZE);
    out = get(s, 0);
    encode(s, 0, 1, 1);
    g_autoptr(QVVEvent) ev = qvv_wait(r->d, out);
    if (ev->flags != F_OK) {
        g_assert_cmphex(ev->flags, ==, F_CANCELED);
        expect_stream_error(r->d, 0);
        return 0;
    }
    used = memory_used(r);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    return used;
}

static void test_memory_of_leaks(Rig *first)
{
    const unsigned n = 5;
    g_autoptr(QVVCaps) caps = NULL;
    int64_t used, leak;
    Rig *r = libav_rig(first);

    if (!r) {
        return;
    }
    caps = query_caps(r);
    if (!qvv_caps_coder(caps, ENCODER, VIRTIO_VIDEO_CODED_FORMAT_HEVC)) {
        g_test_skip("libavcodec has no libx265");
    } else {
        used = encode_hevc(r);
        leak = memory_used(r);
        g_assert_cmpint(leak, >, 0);
        g_assert_cmpint(leak, <, used);
        qvv_stop(r->d);
        second_rig_free(r);

        r = small_libav_rig(used + (n - 1) * leak);
        for (unsigned i = 0; i < n; i++) {
            if (i == 2) {
                restart(r);
            }
            g_assert_cmpint(encode_hevc(r), ==, used + i * leak);
        }
        g_assert_cmpint(encode_hevc(r), ==, 0);
        g_assert_cmpint(memory_used(r), ==, n * leak);
        /* There is room for those that take less */
        qvv_assert_ok(r->d, encode(encoder(r, 0), 0, 1, 1));
    }
    qvv_stop(r->d);
    second_rig_free(r);
}

/*
 * Events: max-events is 8 here
 */

static void test_events(Rig *r)
{
    uint32_t cookies[9];

    /* Every second one is about a stream that is open */
    for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
        cookies[i] = i % 2 ? qvv_drain(r->d, 0) :
                     qvv_open(r->d, i / 2, i % 4 ? ENCODER : DECODER);
    }
    qvv_assert_quiet(r->d, QUIET);
    g_assert_cmpuint(qvv_cmds_in_flight(r->d), ==, 1);
    qvv_post_events(r->d, 1);
    qvv_assert_ok(r->d, cookies[0]);
    wait_commands(r->d);
    for (unsigned i = 1; i < ARRAY_SIZE(cookies); i++) {
        qvv_post_events(r->d, 1);
        qvv_assert_ok(r->d, cookies[i]);
    }
}

/* Post buffers until that is answered with just these flags */
static void expect_late(Rig *r, uint32_t cookie, uint32_t flags)
{
    qvv_post_events(r->d, 1);
    expect(r->d, cookie, flags);
}

/* What was taken before is answered, by the last command that is taken */
static void test_events_of_reset(Rig *r)
{
    uint32_t first, drains[100], get[7], reset, over;
    TestStream *s;

    qvv_post_events(r->d, 40);
    s = test_stream(r, 0);
    while (r->d->eventq.num_free < r->d->eventq.vq->size) {
        qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    }
    first = hang(s, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(drains); i++) {
        drains[i] = qvv_drain(r->d, 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(get); i++) {
        get[i] = qvv_get_params(r->d, 0, MAIN, RAW_SET);
    }
    wait_commands(r->d);
    g_assert_cmpint(query_number(r, "events-waiting"), ==, ARRAY_SIZE(get));

    reset = qvv_queue_reset(r->d, 0, INPUT);
    over = qvv_drain(r->d, 0);
    qvv_assert_quiet(r->d, QUIET);
    g_assert_cmpuint(qvv_cmds_in_flight(r->d), ==, 1);
    g_assert_cmpint(query_number(r, "events-waiting"), ==,
                    ARRAY_SIZE(get) + 1 + ARRAY_SIZE(drains) + 1);
    for (unsigned i = 0; i < ARRAY_SIZE(get); i++) {
        expect_late(r, get[i], F_OK);
    }
    expect_late(r, first, F_CANCELED);
    for (unsigned i = 0; i < ARRAY_SIZE(drains); i++) {
        expect_late(r, drains[i], F_CANCELED);
    }
    expect_late(r, reset, F_OK);
    expect_late(r, over, F_OK);
}

/*
 * All of them
 */

static const TestCase cases[] = {
    { "limits/streams", test_streams, .device = ",max-streams=3" },
    { "limits/resources", test_resources, .device = ",max-resources=2" },
    { "limits/entries", test_entries, .device = ",max-entries=4" },
    { "limits/size-of-driver", test_size_of_driver, .device = SMALL_FRAMES },
    { "limits/size-of-stream", test_size_of_stream, .device = SMALL_FRAMES },
    { "limits/coded-size-is-enough", test_coded_size,
      .device = ",max-coded-size=4096" },
    { "limits/coded-size-one-over", test_coded_size_over,
      .device = ",max-coded-size=4095" },
    { "limits/memory-of-coded-data", test_memory_of_coded,
      .device = ",max-mem=1M" },
    { "limits/memory-of-codec", test_memory_of_codec,
      .device = ",max-mem=1M" },
    { "limits/memory-of-resources", test_memory_of_resources,
      .device = ",max-mem=256K" },
    { "limits/memory-of-encoder", test_memory_of_encoder },
    { "limits/memory-of-leaks", test_memory_of_leaks },
    { "limits/events", test_events, .device = ",max-events=8",
      .opts = { .manual_events = true } },
    { "limits/events-of-a-reset", test_events_of_reset,
      .device = ",max-events=8", .opts = { .manual_events = true } },
};

static void register_virtio_video_limits_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_limits_test);
