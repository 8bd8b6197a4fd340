/*
 * QTest testcases of virtio-video: parameters
 *
 * TLVs that no driver should send, GET_PARAMS, SET_PARAMS and UNBLOCK.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "virtio-video-fixture.h"

/*
 * TLVs that no driver should send
 */

/* SET_PARAMS (or GET_PARAMS) with any bytes as its body is an ERROR */
static void assert_body_error(TestStream *s, uint32_t type, const void *body,
                              uint32_t len)
{
    g_autofree uint8_t *cmd = g_malloc0(16 + len);

    stl_le_p(cmd, type);
    stl_le_p(cmd + 4, s->id);
    stl_le_p(cmd + 8, MAIN);
    if (len) {
        memcpy(cmd + 16, body, len);
    }
    expect(s->d, qvv_cmd(s->d, cmd, 16 + len), F_ERROR);
}

#define BODY_ERROR(s, ...) do { \
        uint32_t body_[] = { __VA_ARGS__ }; \
        assert_words_error(s, body_, ARRAY_SIZE(body_)); \
    } while (0)

static void assert_words_error(TestStream *s, uint32_t *words, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        words[i] = cpu_to_le32(words[i]);
    }
    assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, words, n * 4);
}

static void test_tlv_none(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, NULL, 0);
    assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, NULL, 0);
}

static void test_tlv_half(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    const uint32_t half[] = { cpu_to_le32(CODED_SET), 0 };

    for (unsigned len = 1; len < 8; len++) {
        assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, half, len);
        assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, half, len);
    }
}

static void test_tlv_beyond_end(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    BODY_ERROR(s, CODED_SET, 4);
    BODY_ERROR(s, CODED_SET, 16, VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4, 1);
    BODY_ERROR(s, CODED_SET, 0xfffffffc, 6, 4, 1);
    BODY_ERROR(s, CODED_SET, 0xfffffff8, 6, 4, 1);
    /* The inner one is longer than its container */
    BODY_ERROR(s, CODED_SET, 12, VIRTIO_VIDEO_TLV_CODED_RESOURCES, 8, 1);
    BODY_ERROR(s, CODED_SET, 12, VIRTIO_VIDEO_TLV_CODED_RESOURCES, ~3u, 1);
    /* No room for a header in it */
    BODY_ERROR(s, CODED_SET, 4, VIRTIO_VIDEO_TLV_CODED_RESOURCES);
    BODY_ERROR(s, CODED_SET, 16, VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4, 1, 6);
}

static void test_tlv_odd_length(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    for (uint32_t odd = 1; odd < 4; odd++) {
        BODY_ERROR(s, CODED_SET, odd, 0);
        BODY_ERROR(s, CODED_SET, 12 + odd,
                   VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4, 1, 0);
        BODY_ERROR(s, CODED_SET, 16,
                   VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4 + odd, 1, 0);
    }
}

static void test_tlv_two_containers(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    BODY_ERROR(s, CODED_SET, 0, CODED_SET, 0);
    BODY_ERROR(s, CODED_SET, 0, RAW_SET, 0);
    BODY_ERROR(s, RAW_SET, 12, VIRTIO_VIDEO_TLV_RAW_RESOURCES, 4, 3,
               RAW_SET, 0);
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    g_assert_cmpuint(ev->params.num_resources, ==, 0);
}

static void test_tlv_trailing(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    BODY_ERROR(s, CODED_SET, 0, 0);
    BODY_ERROR(s, CODED_SET, 12, VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4, 1, 0);
}

static void test_tlv_no_container(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    for (uint32_t type = 0; type < 14; type++) {
        uint32_t body[] = { cpu_to_le32(type), 0 };

        if (type != CODED_SET && type != RAW_SET) {
            BODY_ERROR(s, type, 0);
            BODY_ERROR(s, type, 4, 1);
            assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, body, 8);
        }
    }
}

static void test_tlv_wrong_nesting(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    BODY_ERROR(s, CODED_SET, 8, CODED_SET, 0);
    BODY_ERROR(s, CODED_SET, 8, RAW_SET, 0);
    BODY_ERROR(s, RAW_SET, 8, CODED_SET, 0);
    BODY_ERROR(s, RAW_SET, 20, RAW_SET, 12,
               VIRTIO_VIDEO_TLV_RAW_RESOURCES, 4, 1);
    BODY_ERROR(s, CODED_SET, 24, VIRTIO_VIDEO_TLV_V4L2_CONTROLS, 16,
               VIRTIO_VIDEO_TLV_V4L2_CONTROLS, 8, 0, 0);
}

/* Every type in the wrong set, and those that no set takes */
static void test_tlv_wrong_set(Rig *r)
{
    static const uint32_t coded[] = {
        0, VIRTIO_VIDEO_TLV_LINK, VIRTIO_VIDEO_TLV_RAW_FORMAT,
        VIRTIO_VIDEO_TLV_RAW_RESOURCES, VIRTIO_VIDEO_TLV_CROP, 12, 0x80000000,
    };
    static const uint32_t raw[] = {
        0, VIRTIO_VIDEO_TLV_LINK, VIRTIO_VIDEO_TLV_CODED_FORMAT,
        VIRTIO_VIDEO_TLV_CODED_RESOURCES, VIRTIO_VIDEO_TLV_V4L2_CONTROLS, 12,
    };
    TestStream *s = bare_stream(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(coded); i++) {
        BODY_ERROR(s, CODED_SET, 12, coded[i], 4, 1);
        BODY_ERROR(s, CODED_SET, 24, coded[i], 16, 0, 0, 32, 32);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(raw); i++) {
        BODY_ERROR(s, RAW_SET, 12, raw[i], 4, 1);
    }
}

static void assert_lengths(TestStream *s, uint32_t container, uint32_t type,
                           uint32_t right)
{
    static const uint8_t zeros[80];

    for (uint32_t len = 0; len <= right + 8; len += 4) {
        GByteArray *set;

        if (len == right) {
            continue;
        }
        set = qvv_set_new(container);
        qvv_set_tlv(set, type, zeros, len);
        assert_set_error(s, set);
    }
}

static void test_tlv_value_length(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    assert_lengths(s, CODED_SET, VIRTIO_VIDEO_TLV_CODED_FORMAT, 4);
    assert_lengths(s, CODED_SET, VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4);
    assert_lengths(s, RAW_SET, VIRTIO_VIDEO_TLV_RAW_RESOURCES, 4);
    assert_lengths(s, RAW_SET, VIRTIO_VIDEO_TLV_RAW_FORMAT, 36);
    assert_lengths(s, RAW_SET, VIRTIO_VIDEO_TLV_CROP, 16);
    assert_lengths(s, RAW_SET, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES, 40);
}

/* Objects of other devices were not negotiated; decoders have no controls */
static void test_tlv_not_offered(Rig *r)
{
    static const uint8_t uuid_of_0[24] = { 0, 0, 0, 0, 1 };
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RESOURCE_VIRTIO_OBJECT, uuid_of_0, 24);
    assert_set_error(s, set);
    set = qvv_set_new(CODED_SET);
    qvv_set_control(set, VIRTIO_VIDEO_V4L2_CID_BITRATE, 1000000);
    assert_set_error(s, set);
    assert_decodes(s);
}

/* Whether the answer fits the event buffer or not: nothing breaks */
static void test_tlv_many(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    for (unsigned i = 0; i < 4000; i++) {
        qvv_set_num_resources(set, 1 + i % 2);
    }
    set_params_flags(s, set);
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    g_assert_cmpuint(ev->params.num_resources, <=, 2);
}

/* max-entries is 4 here: no request that makes sense is so long */
static void test_tlv_too_long(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    for (unsigned i = 0; i < 4000; i++) {
        qvv_set_num_resources(set, 1);
    }
    assert_set_error(s, set);
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    g_assert_cmpuint(ev->params.num_resources, ==, 0);
}

/*
 * GET_PARAMS and SET_PARAMS
 */

static void test_get_params_all(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    g_autoptr(QVVEvent) coded = get_params(s, CODED_SET);
    g_autoptr(QVVEvent) raw = get_params(s, RAW_SET);

    g_assert_cmphex(coded->params.present, ==,
                    1 << VIRTIO_VIDEO_TLV_CODED_FORMAT |
                    1 << VIRTIO_VIDEO_TLV_CODED_RESOURCES);
    g_assert_cmphex(raw->params.present, ==,
                    1 << VIRTIO_VIDEO_TLV_RAW_FORMAT |
                    1 << VIRTIO_VIDEO_TLV_RAW_RESOURCES |
                    1 << VIRTIO_VIDEO_TLV_CROP);
}

static void test_get_params_not_empty(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    const uint32_t body[] = {
        cpu_to_le32(CODED_SET), cpu_to_le32(12),
        cpu_to_le32(VIRTIO_VIDEO_TLV_CODED_RESOURCES), cpu_to_le32(4), 0,
    };

    assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, body,
                      sizeof(body));
}

static void test_get_params_attached(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);
    g_autoptr(QVVEvent) coded = NULL;
    g_autoptr(QVVEvent) raw = NULL;

    qvv_set_num_resources(set, 3);
    qvv_set_num_resources(set, 5);
    set_params_ok(s, set);
    coded = get_params(s, CODED_SET);
    raw = get_params(s, RAW_SET);
    g_assert_cmpuint(coded->params.num_resources, ==, 5);
    g_assert_cmphex(coded->params.attached, ==, 0x7);
    g_assert_cmphex(raw->params.attached, ==, (1 << N_OUTPUTS) - 1);
    g_assert_cmpuint(raw->params.n_attached, ==, N_OUTPUTS);
}

static void test_get_params_in_order(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain = put_barrier(s);
    uint32_t ordered = qvv_get_params(r->d, 0, INPUT, RAW_SET);
    uint32_t now = qvv_get_params(r->d, 0, MAIN, RAW_SET);

    EXPECT_ORDER(r->d, { now, F_OK });
    get(s, 0);
    EXPECT_ORDER(r->d, { drain, F_OK }, { ordered, F_OK });
}

static void test_set_params_in_order(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(GByteArray) set14 = qvv_set_new(CODED_SET);
    g_autoptr(GByteArray) set19 = qvv_set_new(CODED_SET);
    uint32_t drain = put_barrier(s), ordered, now;

    qvv_set_num_resources(set14, 14);
    qvv_set_num_resources(set19, 19);
    ordered = qvv_set_params(r->d, 0, INPUT, set14);
    now = qvv_set_params(r->d, 0, MAIN, set19);
    EXPECT_ORDER(r->d, { now, F_OK });
    get(s, 0);
    EXPECT_ORDER(r->d, { drain, F_OK }, { ordered, F_OK });
    g_autoptr(QVVEvent) ev = get_params(s, CODED_SET);
    g_assert_cmpuint(ev->params.num_resources, ==, 14);
}

static void test_set_params_order_of_values(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);
    uint64_t size = QVV_PAGE_SIZE;

    s->in = qvv_pool_new(r->d, 2, 1, &size, QVV_CONTIGUOUS);
    qvv_set_num_resources(set, 2);
    qvv_set_pages(set, &s->in->res[1]);
    qvv_set_num_resources(set, 1);
    qvv_set_pages(set, &s->in->res[0]);
    qvv_set_num_resources(set, 2);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_autoptr(QVVEvent) now = get_params(s, CODED_SET);
    g_assert_cmpuint(now->params.num_resources, ==, 2);
    g_assert_cmphex(now->params.attached, ==, 1 << 0);

    /* The other way round there is nothing yet to attach to */
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
    set = qvv_set_new(CODED_SET);
    qvv_set_pages(set, &s->in->res[0]);
    qvv_set_num_resources(set, 1);
    assert_set_error(s, set);
}

static void test_set_params_stops_at_error(Rig *r)
{
    QVVRawFormat bad = raw_format(VIDEO_TEST_FOURCC('B', 'A', 'D', '!'),
                                  WIDTH, HEIGHT);
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    qvv_set_num_resources(set, 2);
    qvv_set_raw_format(set, &bad);
    qvv_set_num_resources(set, 7);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_ERROR);
    g_autoptr(QVVEvent) now = get_params(s, RAW_SET);
    g_assert_cmpuint(now->params.num_resources, ==, 2);
    g_assert_cmphex(now->params.raw.fourcc, ==, VIDEO_TEST_NV12);

    /* The answer says how far it came */
    g_assert_true(ev->has_params);
    g_assert_cmphex(ev->params.present, ==,
                    1 << VIRTIO_VIDEO_TLV_RAW_RESOURCES);
    g_assert_cmpuint(ev->params.num_resources, ==, 2);
}

static void test_set_params_closest_format(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, 100000, 100001);

    f = set_and_get(s, &f);
    g_assert_cmpuint(f.width, ==, VIDEO_TEST_MAX_SIZE);
    g_assert_cmpuint(f.height, ==, VIDEO_TEST_MAX_SIZE);

    f = raw_format(VIDEO_TEST_NV12, 0, 0);
    f.stride_align = 100;
    f.height_align = 100;
    f.plane_align = 6000;
    f = set_and_get(s, &f);
    g_assert_cmpuint(f.width, >, 0);
    g_assert_cmpuint(f.height, >, 0);
    g_assert_cmpuint(f.stride_align, ==, 128);
    g_assert_cmpuint(f.height_align, ==, 64);
    g_assert_cmpuint(f.plane_align, ==, 8192);

    f.stride_align = 1;
    f.height_align = 0;
    f.plane_align = 0;
    f = set_and_get(s, &f);
    g_assert_cmpuint(f.stride_align, ==, 16);
    g_assert_cmpuint(f.height_align, ==, 1);
    g_assert_cmpuint(f.plane_align, ==, 1);

    f.stride_align = ~0u;
    f.height_align = 0x80000000;
    f.plane_align = ~0u;
    f = set_and_get(s, &f);
    g_assert_cmpuint(f.stride_align, ==, 4096);
    g_assert_cmpuint(f.height_align, ==, 64);
    g_assert_cmpuint(f.plane_align, ==, 65536);
}

/* The sizes are those of the linked raw set */
static void test_set_params_size_of_coded(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, VIDEO_TEST_MAX_SIZE, 480);
    GByteArray *set = qvv_set_new(CODED_SET);

    set_and_get(s, &f);
    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_VP8);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_autoptr(QVVEvent) now = get_params(s, RAW_SET);
    g_assert_cmphex(ev->flags & ~F_BLOCKED, ==, F_OK);
    g_assert_cmpuint(now->params.raw.width, ==, VIDEO_TEST_VP8_MAX_SIZE);
    g_assert_cmpuint(now->params.raw.height, ==, 480);
    f = set_and_get(s, &f);
    g_assert_cmpuint(f.width, ==, VIDEO_TEST_VP8_MAX_SIZE);
}

static void test_set_params_size_of_deep(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_P010, VIDEO_TEST_MAX_SIZE, 1);

    f = set_and_get(s, &f);
    g_assert_cmphex(f.fourcc, ==, VIDEO_TEST_P010);
    g_assert_cmpuint(f.width, ==, VIDEO_TEST_DEEP_MAX_SIZE);
    g_assert_cmpuint(f.height, ==, VIDEO_TEST_MIN_SIZE);
}

static void test_set_params_max_resources(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);
    TestStream *s = bare_stream(r, 0);

    for (unsigned i = 0; i < caps->n_raw; i++) {
        g_assert_cmpuint(caps->raw[i].num_resources.max, ==, 32);
    }
    for (unsigned i = 0; i < caps->n_coded; i++) {
        g_assert_cmpuint(caps->coded[i].num_resources.max, ==, 32);
    }
    g_assert_cmpuint(set_num(s, CODED_SET, 33), ==, 32);
    g_assert_cmpuint(set_num(s, RAW_SET, 33), ==, 32);
    g_assert_cmpuint(set_num(s, RAW_SET, ~0u), ==, 32);
}

static void test_set_params_few_resources(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    g_assert_cmpuint(set_num(s, CODED_SET, 3), ==, 2);
    g_assert_cmpuint(set_num(s, RAW_SET, 3), ==, 2);
}

/* Whatever is asked for, coded and raw format are always a linked pair */
static void test_set_params_linked_raw(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_YUV420, WIDTH, HEIGHT);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_VP8);
    set_params_ok(s, set);
    set = qvv_set_new(RAW_SET);
    qvv_set_raw_format(set, &f);
    assert_set_error(s, set);
    read_raw_format(s);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_NV12);
}

static void test_set_params_linked_coded(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_YUV420, WIDTH, HEIGHT);
    GByteArray *set = qvv_set_new(CODED_SET);
    uint32_t flags;

    set_raw_format(s, &f);
    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_VP8);
    flags = set_params_flags(s, set);
    if (flags == F_ERROR) {
        return;
    }
    g_assert_cmphex(flags, ==, F_BLOCKED);
    read_raw_format(s);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_NV12);
}

static void test_set_params_coded_formats(Rig *r)
{
    static const uint32_t bad[] = {
        0, VIRTIO_VIDEO_CODED_FORMAT_MPEG2, VIRTIO_VIDEO_CODED_FORMAT_FWHT,
        VIRTIO_VIDEO_CODED_FORMAT_AV1, 9, 0x103, ~0u,
    };
    TestStream *s = bare_stream(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        GByteArray *set = qvv_set_new(CODED_SET);

        qvv_set_coded_format(set, bad[i]);
        assert_set_error(s, set);
    }
    g_autoptr(QVVEvent) ev = get_params(s, CODED_SET);
    g_assert_cmpuint(ev->params.coded_format, ==,
                     VIRTIO_VIDEO_CODED_FORMAT_H264);
}

/* An error or mended: but never taken */
static void assert_raw_not_taken(TestStream *s, const QVVRawFormat *bad)
{
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t flags;

    qvv_set_raw_format(set, bad);
    flags = set_params_flags(s, set);
    if (flags & F_BLOCKED) {
        unblock(s);
    }
    read_raw_format(s);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_NV12);
    g_assert_cmphex(s->raw.modifier, ==, 0);
    g_assert_true(s->raw.planes_layout == SINGLE ||
                  s->raw.planes_layout == MULTI);
}

static void test_set_params_raw_formats(Rig *r)
{
    static const uint32_t layouts[] = { 0, 3, 4, ~0u };
    TestStream *s = bare_stream(r, 0);
    QVVRawFormat f = raw_format(0, WIDTH, HEIGHT);

    assert_raw_not_taken(s, &f);
    f.fourcc = VIDEO_TEST_FOURCC('N', 'V', '2', '1');
    assert_raw_not_taken(s, &f);
    f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    f.modifier = 1;
    assert_raw_not_taken(s, &f);
    f.modifier = ~0ull;
    assert_raw_not_taken(s, &f);
    f.modifier = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++) {
        f.planes_layout = layouts[i];
        assert_raw_not_taken(s, &f);
    }
}

static void test_set_params_0_detaches(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    g_assert_cmpuint(set_num(s, CODED_SET, 0), ==, 0);
    g_assert_cmpuint(set_num(s, CODED_SET, N_INPUTS), ==, N_INPUTS);
    g_autoptr(QVVEvent) ev = get_params(s, CODED_SET);
    g_assert_cmpuint(ev->params.n_attached, ==, 0);
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, 0, 40));
}

/* "Growing" includes the first resources: nobody can have used them */
static void test_set_params_grow(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    for (uint32_t n = 1; n < 10; n += 4) {
        GByteArray *set = qvv_set_new(RAW_SET);

        qvv_set_num_resources(set, n);
        g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    }
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
}

static void test_set_params_shrink(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t out;

    qvv_set_num_resources(set, 2);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    g_assert_cmphex(ev->params.attached, ==, 0x3);

    out = get(s, 1);
    PUT(s, 0, 5, HEADER, frame(5));
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    unblock(s);
    expect_frame(s, 1, out, 5, 5);
    qvv_assert_error(r->d, get(s, 2));
}

/* Those that go come back, those that stay stay queued */
static void test_set_params_shrink_queued(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t out[N_OUTPUTS];

    assert_decodes(s);
    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        out[i] = get(s, i);
    }
    qvv_set_num_resources(set, 2);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    qvv_assert_canceled(r->d, out[2]);
    qvv_assert_canceled(r->d, out[3]);
    unblock(s);
    PUT(s, 0, 5, frame(5));
    expect_frame(s, 0, out[0], 5, 5);
}

/* The driver has just queued what it takes away */
static void test_set_params_shrink_inputs(Rig *r)
{
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);
    TestStream *s = test_stream(r, 0);
    uint32_t params, in;

    put_barrier(s);
    qvv_set_num_resources(set, 2);
    params = qvv_set_params(r->d, 0, MAIN, set);
    in = PUT(s, 3, 0, insn(VIDEO_TEST_NOP, 0));
    get(s, 0);
    qvv_assert_error(r->d, params);
    qvv_assert_ok(r->d, in);
    params = qvv_set_params(r->d, 0, MAIN, set);
    qvv_assert_ok(r->d, params);
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 3, 0, 0, 40));
    assert_decodes(s);
}

/* The main queue's changes overtake what the codec does not have yet */
static void test_set_params_before_input(Rig *r)
{
    g_autoptr(GByteArray) other = qvv_set_new(RAW_SET);
    g_autoptr(GByteArray) fewer = qvv_set_new(CODED_SET);
    QVVRawFormat f = other_format();
    TestStream *s = test_stream(r, 0);
    uint32_t drain = put_barrier(s), ordered, first, second, in;

    qvv_set_raw_format(other, &f);
    qvv_set_num_resources(fewer, 4);
    ordered = qvv_set_params(r->d, 0, INPUT, other);
    in = PUT(s, 1, 0, insn(VIDEO_TEST_NOP, 0));
    first = qvv_set_params(r->d, 0, MAIN, fewer);
    second = qvv_set_params(r->d, 0, MAIN, other);
    get(s, 0);
    EXPECT_ORDER(r->d, { drain, F_OK }, { first, F_OK },
                 { second, F_BLOCKED }, { ordered, F_OK }, { in, F_OK });
}

static void test_set_params_format_blocks(Rig *r)
{
    QVVRawFormat f = other_format();
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t out;

    qvv_set_raw_format(set, &f);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    read_raw_format(s);
    out = get(s, 0);
    PUT(s, 0, 5, HEADER, frame(5));
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    unblock(s);
    expect_frame(s, 0, out, 5, 5);
}

static void test_set_params_same_format(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    assert_decodes(s);
    qvv_set_raw_format(set, &s->raw);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    assert_decodes(s);
}

/* Frames that the codec still holds come before the answer */
static void check_implicit_drain(Rig *r, uint32_t queue)
{
    QVVRawFormat f = other_format();
    g_autoptr(GByteArray) set = qvv_set_new(RAW_SET);
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1), in, params;

    in = PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_REORDER, 4),
             insn(VIDEO_TEST_DELAY, 20), frame_at(1, 1), frame_at(2, 2));
    qvv_set_raw_format(set, &f);
    params = qvv_set_params(r->d, 0, queue, set);
    EXPECT_ORDER(r->d, { in, F_OK });
    EXPECT_ORDER(r->d, { out0, F_OK }, { out1, F_OK }, { params, F_BLOCKED });
    assert_pixels(s, 0, 1);
    assert_pixels(s, 1, 2);
}

static void test_set_params_drains_main(Rig *r)
{
    check_implicit_drain(r, MAIN);
}

static void test_set_params_drains_input(Rig *r)
{
    check_implicit_drain(r, INPUT);
}

/* What comes behind it in the input queue waits for the whole change */
static void test_set_params_input_waits(Rig *r)
{
    QVVRawFormat f = other_format();
    g_autoptr(GByteArray) set = qvv_set_new(RAW_SET);
    TestStream *s = test_stream(r, 0);
    uint32_t params, in, out;

    assert_decodes(s);
    PUT(s, 1, 0, insn(VIDEO_TEST_DELAY, 20));
    qvv_set_raw_format(set, &f);
    params = qvv_set_params(r->d, 0, INPUT, set);
    in = PUT(s, 2, 6, frame(6));
    EXPECT_ORDER(r->d, { params, F_BLOCKED });
    read_raw_format(s);
    out = get(s, 2);
    unblock(s);
    expect_frame(s, 2, out, 6, 6);
    qvv_assert_ok(r->d, in);
}

/* One in its place of the input queue, one that waits for its drain */
static void check_canceled(Rig *r, bool close)
{
    QVVRawFormat f = other_format();
    g_autoptr(GByteArray) set = qvv_set_new(RAW_SET);
    TestStream *s = test_stream(r, 0);
    uint32_t in, in_order, at_once;

    qvv_set_raw_format(set, &f);
    in = hang(s, 0);
    in_order = qvv_set_params(r->d, 0, INPUT, set);
    at_once = qvv_set_params(r->d, 0, MAIN, set);
    g_assert_cmpuint(count_answers(r->d, at_once, QUIET), ==, 0);
    expect_canceled(r->d, (uint32_t[]) { in, in_order, at_once }, 3,
                    close ? qvv_close(r->d, 0) :
                            qvv_queue_reset(r->d, 0, INPUT));
    if (!close) {
        g_autoptr(QVVEvent) now = get_params(s, RAW_SET);

        g_assert_cmphex(now->params.raw.fourcc, ==, s->raw.fourcc);
        assert_decodes(s);
    }
}

static void test_set_params_reset(Rig *r)
{
    check_canceled(r, false);
}

static void test_set_params_close(Rig *r)
{
    check_canceled(r, true);
}

static void test_set_params_coded_change(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);
    uint32_t in;

    assert_decodes(s);
    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_VP8);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    /* Another session: the parameter sets are gone */
    in = PUT(s, 0, 0, frame(3));
    qvv_assert_error(r->d, in);
    assert_decodes(s);
}

static void test_unblock_not_blocked(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    assert_decodes(s);
    g_assert_cmpuint(set_num(s, RAW_SET, 1), ==, 1);
    unblock(s);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    assert_decodes(s);
}

/*
 * All of them
 */

static const TestCase cases[] = {
    { "tlv/none-is-error", test_tlv_none },
    { "tlv/half-a-header-is-error", test_tlv_half },
    { "tlv/beyond-the-end-is-error", test_tlv_beyond_end },
    { "tlv/length-not-multiple-of-4-is-error", test_tlv_odd_length },
    { "tlv/two-containers-is-error", test_tlv_two_containers },
    { "tlv/trailing-bytes-is-error", test_tlv_trailing },
    { "tlv/no-container-is-error", test_tlv_no_container },
    { "tlv/wrong-nesting-is-error", test_tlv_wrong_nesting },
    { "tlv/wrong-set-is-error", test_tlv_wrong_set },
    { "tlv/wrong-value-length-is-error", test_tlv_value_length },
    { "tlv/not-offered-is-error", test_tlv_not_offered },
    { "tlv/very-many", test_tlv_many },
    { "tlv/too-long-request-is-error", test_tlv_too_long,
      .device = ",max-entries=4" },

    { "get-params/all-supported-are-there", test_get_params_all },
    { "get-params/set-not-empty-is-error", test_get_params_not_empty },
    { "get-params/attached-resources-are-there", test_get_params_attached },
    { "get-params/input-queue-is-in-order", test_get_params_in_order },

    { "set-params/input-queue-is-in-order", test_set_params_in_order },
    { "set-params/values-applied-in-order", test_set_params_order_of_values },
    { "set-params/rest-not-applied-after-error",
      test_set_params_stops_at_error },
    { "set-params/moved-to-the-closest-value",
      test_set_params_closest_format },
    { "set-params/max-resources", test_set_params_max_resources },
    { "set-params/max-resources-is-the-property",
      test_set_params_few_resources, .device = ",max-resources=2" },
    { "set-params/raw-must-be-linked-to-coded", test_set_params_linked_raw },
    { "set-params/coded-must-be-linked-to-raw",
      test_set_params_linked_coded },
    { "set-params/size-is-that-of-the-linked-set",
      test_set_params_size_of_coded },
    { "set-params/size-of-10-bits", test_set_params_size_of_deep },
    { "set-params/unknown-coded-format-is-error",
      test_set_params_coded_formats },
    { "set-params/unknown-raw-format-is-not-taken",
      test_set_params_raw_formats },
    { "set-params/num-resources-0-detaches-all", test_set_params_0_detaches },
    { "set-params/growing-is-no-change", test_set_params_grow },
    { "set-params/shrinking-blocks-output", test_set_params_shrink },
    { "set-params/shrinking-cancels-queued-outputs",
      test_set_params_shrink_queued },
    { "set-params/shrinking-used-inputs-is-error",
      test_set_params_shrink_inputs },
    { "set-params/at-once-goes-before-waiting-input",
      test_set_params_before_input },
    { "set-params/raw-format-blocks-output", test_set_params_format_blocks },
    { "set-params/same-format-is-no-change", test_set_params_same_format },
    { "set-params/drains-at-once", test_set_params_drains_main },
    { "set-params/drains-in-order", test_set_params_drains_input },
    { "set-params/later-input-waits", test_set_params_input_waits },
    { "set-params/canceled-by-reset", test_set_params_reset },
    { "set-params/canceled-by-close", test_set_params_close },
    { "set-params/coded-format-is-a-new-session",
      test_set_params_coded_change },
    { "set-params/unblock-not-blocked-is-error", test_unblock_not_blocked },
};

static void register_virtio_video_params_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_params_test);
