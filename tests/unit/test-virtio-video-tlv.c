/*
 * Unit tests for the TLVs of virtio video and for the layout of frames
 *
 * What the device does with them is for the qtests.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "hw/virtio/virtio-video-wire.h"
#include "hw/virtio/video/control.h"
#include "hw/virtio/video/tlv.h"

#define MAX_ENTRIES 8
#define MAX_PARAMS 40

/* Bytes of some 32-bit words */
#define WORDS(...) \
    words((uint32_t[]) { __VA_ARGS__ }, \
          sizeof((uint32_t[]) { __VA_ARGS__ }) / sizeof(uint32_t))

static GByteArray *words(const uint32_t *in, unsigned n)
{
    GByteArray *buf = g_byte_array_new();

    for (unsigned i = 0; i < n; i++) {
        uint32_t le = cpu_to_le32(in[i]);

        g_byte_array_append(buf, (const guint8 *)&le, sizeof(le));
    }
    return buf;
}

/*
 * tlv_read()
 */

static void test_read_empty(void)
{
    TlvReader reader = { (const uint8_t *)"", 0 };
    Tlv tlv;

    g_assert_cmpint(tlv_read(&reader, &tlv, &error_abort), ==, 0);
    g_assert_cmpint(tlv_read(&reader, &tlv, &error_abort), ==, 0);
}

static void test_read_sequence(void)
{
    g_autoptr(GByteArray) buf = WORDS(7, 8, 1, 2, 8, 0, 9, 4, 3);
    TlvReader reader = { buf->data, buf->len };
    Tlv tlv;

    g_assert_cmpint(tlv_read(&reader, &tlv, &error_abort), ==, 1);
    g_assert_cmpuint(tlv.type, ==, 7);
    g_assert_cmpuint(tlv.length, ==, 8);
    g_assert_true(tlv.value == buf->data + 8);
    g_assert_cmpint(tlv_read(&reader, &tlv, &error_abort), ==, 1);
    g_assert_cmpuint(tlv.type, ==, 8);
    g_assert_cmpuint(tlv.length, ==, 0);
    g_assert_cmpint(tlv_read(&reader, &tlv, &error_abort), ==, 1);
    g_assert_cmpuint(tlv.type, ==, 9);
    g_assert_cmpuint(ldl_le_p(tlv.value), ==, 3);
    g_assert_cmpint(tlv_read(&reader, &tlv, &error_abort), ==, 0);
}

static void assert_read_fails(const uint8_t *data, size_t size)
{
    TlvReader reader = { data, size };
    Error *err = NULL;
    Tlv tlv;

    g_assert_cmpint(tlv_read(&reader, &tlv, &err), ==, -EINVAL);
    g_assert_nonnull(err);
    error_free(err);
    /* For those who don't want to know why */
    reader = (TlvReader) { data, size };
    g_assert_cmpint(tlv_read(&reader, &tlv, NULL), ==, -EINVAL);
}

static void test_read_short(void)
{
    g_autoptr(GByteArray) buf = WORDS(7, 0);

    for (size_t size = 1; size < 8; size++) {
        assert_read_fails(buf->data, size);
    }
}

static void test_read_bad_length(void)
{
    static const uint32_t lengths[] = {
        1, 2, 3, 5, 6, 7, 8, 0x7fffffff, 0x80000000, 0xfffffff4, 0xfffffff8,
        0xfffffffc, 0xffffffff,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        g_autoptr(GByteArray) buf = WORDS(7, lengths[i], 0);

        assert_read_fails(buf->data, buf->len);
    }
}

/*
 * Parameters
 */

static VideoParams *read_ok(const GByteArray *buf)
{
    VideoParams *params = tlv_read_params(buf->data, buf->len, MAX_PARAMS,
                                          MAX_ENTRIES, &error_abort);

    g_assert_nonnull(params);
    return params;
}

/* @buf, which is freed, is not even a container */
static void assert_no_params(GByteArray *buf)
{
    Error *err = NULL;

    g_assert_null(tlv_read_params(buf->data, buf->len, MAX_PARAMS,
                                  MAX_ENTRIES, &err));
    g_assert_nonnull(err);
    error_free(err);
    g_byte_array_unref(buf);
}

/* In @buf, which is freed, parameter @i is the first that is wrong */
static void assert_invalid_at(GByteArray *buf, unsigned i)
{
    g_autoptr(VideoParams) params = read_ok(buf);

    g_assert_cmpuint(params->params->len, ==, i + 1);
    for (unsigned j = 0; j < i; j++) {
        g_assert_cmpint(video_params_get(params, j)->type, !=,
                        VIDEO_PARAM_INVALID);
    }
    g_assert_cmpint(video_params_get(params, i)->type, ==,
                    VIDEO_PARAM_INVALID);
    g_byte_array_unref(buf);
}

static void test_params_no_container(void)
{
    assert_no_params(g_byte_array_new());
    assert_no_params(WORDS(1));
    assert_no_params(WORDS(1, 4));
    assert_no_params(WORDS(1, 2, 0));
    assert_no_params(WORDS(0, 0));
    assert_no_params(WORDS(3, 0));
    assert_no_params(WORDS(6, 4, 1));
    assert_no_params(WORDS(11, 0));
}

static void test_params_two_containers(void)
{
    assert_no_params(WORDS(1, 0, 1, 0));
    assert_no_params(WORDS(1, 0, 2, 0));
    assert_no_params(WORDS(2, 0, 0));
    assert_no_params(WORDS(2, 12, 7, 4, 1, 2, 12, 7, 4, 2));
}

static void test_params_empty(void)
{
    for (uint32_t set = VIRTIO_VIDEO_TLV_CODED_SET;
         set <= VIRTIO_VIDEO_TLV_RAW_SET; set++) {
        g_autoptr(GByteArray) buf = WORDS(set, 0);
        g_autoptr(GByteArray) again = g_byte_array_new();
        g_autoptr(VideoParams) params = read_ok(buf);

        g_assert_cmpint(params->set, ==,
                        set == VIRTIO_VIDEO_TLV_CODED_SET ? VIDEO_SET_CODED :
                                                            VIDEO_SET_RAW);
        g_assert_cmpuint(params->params->len, ==, 0);
        tlv_write_params(again, params);
        g_assert_cmpmem(buf->data, buf->len, again->data, again->len);
    }
}

static void assert_round_trip(GByteArray *buf)
{
    g_autoptr(VideoParams) params = read_ok(buf);
    g_autoptr(GByteArray) again = g_byte_array_new();

    tlv_write_params(again, params);
    g_assert_cmpmem(buf->data, buf->len, again->data, again->len);
    g_byte_array_unref(buf);
}

static void test_params_round_trip(void)
{
    for (uint32_t format = VIRTIO_VIDEO_CODED_FORMAT_MPEG2;
         format <= VIRTIO_VIDEO_CODED_FORMAT_VP9; format++) {
        assert_round_trip(WORDS(1, 36, 4, 4, format, 6, 4, 0, 6, 4, ~0u));
    }
    assert_round_trip(WORDS(2, 12 + 44 + 24, 7, 4, 3,
                            5, 36, 1, DRM_FORMAT_NV12, 0x11223344, 0x55667788,
                            640, 480, 64, 1, 4096,
                            10, 16, 1, 2, 3, 4));
    assert_round_trip(WORDS(2, 44, 5, 36, 2, 0, 0, 0, 0, 0, ~0u, ~0u, ~0u));
}

static void test_params_values(void)
{
    g_autoptr(GByteArray) buf = WORDS(2, 44 + 24,
        5, 36, 2, DRM_FORMAT_P010, 0x11223344, 0x55667788, 640, 480, 64, 2,
        4096, 10, 16, 1, 2, 3, 4);
    g_autoptr(VideoParams) params = read_ok(buf);
    const VideoRawFormat *raw = &video_params_get(params, 0)->raw;
    const VideoRect *crop = &video_params_get(params, 1)->crop;

    g_assert_cmpuint(params->params->len, ==, 2);
    g_assert_cmpint(video_params_get(params, 0)->type, ==,
                    VIDEO_PARAM_RAW_FORMAT);
    g_assert_true(raw->multi_buffers);
    g_assert_cmphex(raw->fourcc, ==, DRM_FORMAT_P010);
    g_assert_cmphex(raw->modifier, ==, 0x5566778811223344);
    g_assert_cmpuint(raw->width, ==, 640);
    g_assert_cmpuint(raw->height, ==, 480);
    g_assert_cmpuint(raw->stride_align, ==, 64);
    g_assert_cmpuint(raw->height_align, ==, 2);
    g_assert_cmpuint(raw->plane_align, ==, 4096);
    g_assert_cmpint(video_params_get(params, 1)->type, ==, VIDEO_PARAM_CROP);
    g_assert_cmpuint(crop->left, ==, 1);
    g_assert_cmpuint(crop->top, ==, 2);
    g_assert_cmpuint(crop->width, ==, 3);
    g_assert_cmpuint(crop->height, ==, 4);
}

/* Those before it count, those behind it don't */
static void test_params_invalid(void)
{
    assert_invalid_at(WORDS(1, 12 + 8 + 12, 6, 4, 1, 99, 0, 6, 4, 2), 1);
    assert_invalid_at(WORDS(1, 12 + 4, 6, 4, 1, 6), 1);
    assert_invalid_at(WORDS(1, 12 + 12, 6, 4, 1, 6, 8, 1), 1);
    assert_invalid_at(WORDS(1, 12, 6, 0xfffffffc, 1), 0);
    assert_invalid_at(WORDS(1, 12, 6, 3, 1), 0);
}

static void test_params_wrong_set(void)
{
    /* Types of the other set, of capabilities, containers, unknown ones */
    static const uint32_t coded[] = { 0, 1, 2, 3, 5, 7, 9, 10, 12, ~0u };
    static const uint32_t raw[] = { 0, 1, 2, 3, 4, 6, 9, 11, 12, ~0u };

    for (unsigned i = 0; i < ARRAY_SIZE(coded); i++) {
        assert_invalid_at(WORDS(1, 8, coded[i], 0), 0);
        assert_invalid_at(WORDS(1, 12, coded[i], 4, 1), 0);
        assert_invalid_at(WORDS(1, 24, coded[i], 16, 0, 0, 1, 1), 0);
        assert_invalid_at(WORDS(1, 44, coded[i], 36, 1, DRM_FORMAT_NV12, 0, 0,
                                1, 1, 16, 1, 1), 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(raw); i++) {
        assert_invalid_at(WORDS(2, 8, raw[i], 0), 0);
        assert_invalid_at(WORDS(2, 12, raw[i], 4, 1), 0);
    }
}

static void test_params_wrong_length(void)
{
    assert_invalid_at(WORDS(1, 8, 4, 0), 0);
    assert_invalid_at(WORDS(1, 16, 4, 8, 3, 0), 0);
    assert_invalid_at(WORDS(1, 8, 6, 0), 0);
    assert_invalid_at(WORDS(1, 16, 6, 8, 3, 0), 0);
    assert_invalid_at(WORDS(2, 8, 7, 0), 0);
    assert_invalid_at(WORDS(2, 16, 7, 8, 3, 0), 0);
    assert_invalid_at(WORDS(2, 20, 10, 12, 0, 0, 0), 0);
    assert_invalid_at(WORDS(2, 28, 10, 20, 0, 0, 0, 0, 0), 0);
    assert_invalid_at(WORDS(2, 40, 5, 32, 1, 0, 0, 0, 0, 0, 0, 0), 0);
    assert_invalid_at(WORDS(2, 48, 5, 40, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
}

static void test_params_impossible_value(void)
{
    static const uint32_t formats[] = { 0, 7, 9, 0x80000003, ~0u };
    static const uint32_t layouts[] = { 0, 3, 4, ~0u };

    for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
        assert_invalid_at(WORDS(1, 12, 4, 4, formats[i]), 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++) {
        assert_invalid_at(WORDS(2, 44, 5, 36, layouts[i], DRM_FORMAT_NV12,
                                0, 0, 1, 1, 16, 1, 1), 0);
    }
}

static void test_params_max_params(void)
{
    GByteArray *buf = WORDS(1, 12 * (MAX_PARAMS + 1));

    for (unsigned i = 0; i <= MAX_PARAMS; i++) {
        g_autoptr(GByteArray) param = WORDS(6, 4, i);

        g_byte_array_append(buf, param->data, param->len);
    }
    assert_invalid_at(buf, MAX_PARAMS);
}

/*
 * V4L2_CONTROLS
 */

#define CID(name) VIRTIO_VIDEO_V4L2_CID_##name

static void assert_control(const VideoParams *params, unsigned i,
                           VideoControl id, uint32_t formats, uint32_t value)
{
    const VideoParam *p = video_params_get(params, i);

    g_assert_cmpint(p->type, ==, VIDEO_PARAM_CONTROL);
    g_assert_cmpint(p->control.id, ==, id);
    g_assert_cmphex(p->control.formats, ==, formats);
    g_assert_cmphex(p->control.value, ==, value);
}

static void test_controls_values(void)
{
    const uint32_t h264 = 1 << VIDEO_CODED_H264;
    const uint32_t any = (1 << VIDEO_CODED__MAX) - 1;
    const uint32_t vpx = 1 << VIDEO_CODED_VP8 | 1 << VIDEO_CODED_VP9;
    g_autoptr(GByteArray) buf = WORDS(1, 12 + 8 + 48 + 12,
        4, 4, 3,
        11, 48, CID(BITRATE), 4, 0x12345678,
                CID(H264_PROFILE), 4, 0xffffff04,
                CID(H264_LEVEL), 4, 0x0b,
                CID(VPX_MIN_QP), 4, ~0u,
        6, 4, 7);
    g_autoptr(VideoParams) params = read_ok(buf);

    g_assert_cmpuint(params->params->len, ==, 6);
    assert_control(params, 1, VIDEO_CONTROL_BITRATE, any, 0x12345678);
    /* An enum value is one byte, whatever the padding is */
    assert_control(params, 2, VIDEO_CONTROL_PROFILE, h264, 4);
    assert_control(params, 3, VIDEO_CONTROL_LEVEL, h264, 11);
    assert_control(params, 4, VIDEO_CONTROL_MIN_QP, vpx, ~0u);
    g_assert_cmpint(video_params_get(params, 5)->type, ==,
                    VIDEO_PARAM_NUM_RESOURCES);
}

static void test_controls_round_trip(void)
{
    static const uint32_t all[] = {
        CID(BITRATE), CID(MPEG2_PROFILE), CID(MPEG2_LEVEL),
        CID(MPEG4_PROFILE), CID(MPEG4_LEVEL), CID(H264_PROFILE),
        CID(H264_LEVEL), CID(HEVC_PROFILE), CID(HEVC_LEVEL),
        CID(VP8_PROFILE), CID(VP9_PROFILE), CID(VP9_LEVEL),
        CID(BITRATE_MODE), CID(GOP_SIZE), CID(B_FRAMES),
        CID(FORCE_KEY_FRAME), CID(H264_MIN_QP), CID(H264_MAX_QP),
        CID(HEVC_MIN_QP), CID(HEVC_MAX_QP), CID(MPEG4_MIN_QP),
        CID(MPEG4_MAX_QP), CID(VPX_MIN_QP), CID(VPX_MAX_QP),
        CID(PREPEND_SPSPPS_TO_IDR),
    };

    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        assert_round_trip(WORDS(1, 20, 11, 12, all[i], 4, i));
    }
    /* Neighbours share a container, others have one each */
    assert_round_trip(WORDS(1, 32, 11, 24, CID(BITRATE), 4, 1,
                            CID(GOP_SIZE), 4, 2));
    assert_round_trip(WORDS(1, 20 + 12 + 20, 11, 12, CID(BITRATE), 4, 1,
                            6, 4, 3, 11, 12, CID(GOP_SIZE), 4, 2));
}

static void test_controls_empty(void)
{
    g_autoptr(GByteArray) buf = WORDS(1, 8, 11, 0);
    g_autoptr(GByteArray) want = WORDS(1, 0);
    g_autoptr(GByteArray) answer = g_byte_array_new();
    g_autoptr(VideoParams) params = read_ok(buf);

    tlv_write_params(answer, params);
    g_assert_cmpmem(answer->data, answer->len, want->data, want->len);
}

/* Those before the wrong one count, inside of the container, too */
static void test_controls_invalid(void)
{
    assert_invalid_at(WORDS(1, 12 + 8 + 24 + 12, 6, 4, 1,
                            11, 24, CID(BITRATE), 4, 1, 0x00990001, 4, 1,
                            6, 4, 2), 2);
    /* Other sets' TLVs, containers, unknown ones */
    assert_invalid_at(WORDS(1, 20, 11, 12, 4, 4, 3), 0);
    assert_invalid_at(WORDS(1, 20, 11, 12, 11, 4, 0), 0);
    assert_invalid_at(WORDS(1, 28, 11, 20, 11, 12, CID(BITRATE), 4, 1), 0);
    assert_invalid_at(WORDS(1, 20, 11, 12, 0, 4, 0), 0);
    assert_invalid_at(WORDS(1, 20, 11, 12, ~0u, 4, 0), 0);
    /* Bytes that are no TLV */
    assert_invalid_at(WORDS(1, 12, 11, 4, CID(BITRATE)), 0);
    assert_invalid_at(WORDS(1, 16, 11, 8, CID(BITRATE), 4), 0);
    assert_invalid_at(WORDS(1, 20, 11, 12, CID(BITRATE), 8, 1), 0);
    assert_invalid_at(WORDS(1, 20, 11, 12, CID(BITRATE), 0xfffffffc, 1), 0);
    assert_invalid_at(WORDS(1, 24, 11, 16, CID(BITRATE), 4, 1, 0), 1);
}

static void test_controls_wrong_length(void)
{
    static const uint32_t cids[] = { CID(BITRATE), CID(VP8_PROFILE) };

    for (unsigned i = 0; i < ARRAY_SIZE(cids); i++) {
        assert_invalid_at(WORDS(1, 16, 11, 8, cids[i], 0), 0);
        assert_invalid_at(WORDS(1, 24, 11, 16, cids[i], 8, 1, 0), 0);
        assert_invalid_at(WORDS(1, 32, 11, 24, cids[i], 16, 1, 2, 1, 0), 0);
    }
}

static void test_controls_twice(void)
{
    assert_invalid_at(WORDS(1, 32, 11, 24, CID(BITRATE), 4, 1,
                            CID(BITRATE), 4, 2), 1);
    assert_invalid_at(WORDS(1, 40, 11, 12, CID(BITRATE), 4, 1,
                            11, 12, CID(BITRATE), 4, 2), 1);
    assert_invalid_at(WORDS(1, 32, 11, 24, CID(H264_PROFILE), 4, 1,
                            CID(VP8_PROFILE), 4, 2), 1);
}

static void test_controls_raw_set(void)
{
    assert_invalid_at(WORDS(2, 8, 11, 0), 0);
    assert_invalid_at(WORDS(2, 20, 11, 12, CID(BITRATE), 4, 1), 0);
}

static void test_controls_max_params(void)
{
    GByteArray *buf = WORDS(1, 12 * MAX_PARAMS + 20);
    g_autoptr(GByteArray) control = WORDS(11, 12, CID(BITRATE), 4, 1);

    for (unsigned i = 0; i < MAX_PARAMS; i++) {
        g_autoptr(GByteArray) param = WORDS(6, 4, i);

        g_byte_array_append(buf, param->data, param->len);
    }
    g_byte_array_append(buf, control->data, control->len);
    assert_invalid_at(buf, MAX_PARAMS);
}

static void test_controls_of_formats(void)
{
    g_assert_true(video_control_exists(VIDEO_CODED_VP8, VIDEO_CONTROL_BITRATE,
                                       false));
    g_assert_true(video_control_exists(VIDEO_CODED_VP8, VIDEO_CONTROL_PROFILE,
                                       false));
    g_assert_false(video_control_exists(VIDEO_CODED_VP8, VIDEO_CONTROL_LEVEL,
                                        true));
    g_assert_false(video_control_exists(VIDEO_CODED_H264,
                                        VIDEO_CONTROL_GOP_SIZE, false));
    g_assert_true(video_control_exists(VIDEO_CODED_H264, VIDEO_CONTROL_GOP_SIZE,
                                       true));
    g_assert_false(video_control_exists(VIDEO_CODED_MPEG2, VIDEO_CONTROL_MIN_QP,
                                        true));
}

static void test_controls_closest(void)
{
    const VideoControlCaps menu = { .menu = 1u << 2 | 1u << 5 | 1u << 31 };
    const VideoControlCaps range = { .min = 10, .max = 1000 };
    static const uint32_t menu_values[][2] = {
        { 0, 2 }, { 1, 2 }, { 2, 2 }, { 4, 2 }, { 5, 5 }, { 30, 5 },
        { 31, 31 }, { 32, 31 }, { 255, 31 },
    };
    static const uint32_t range_values[][2] = {
        { 0, 10 }, { 10, 10 }, { 11, 11 }, { 1000, 1000 }, { 1001, 1000 },
        { ~0u, 1000 },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(menu_values); i++) {
        g_assert_cmpuint(video_control_closest(VIDEO_CONTROL_PROFILE, &menu,
                                               menu_values[i][0]), ==,
                         menu_values[i][1]);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(range_values); i++) {
        g_assert_cmpuint(video_control_closest(VIDEO_CONTROL_BITRATE, &range,
                                               range_values[i][0]), ==,
                         range_values[i][1]);
    }
}

/*
 * RESOURCE_GUEST_PAGES
 */

/* A RAW_SET with resource 3, these num_entries[], and @n entries */
static GByteArray *pages_with_entries(const uint32_t *counts, unsigned n)
{
    GByteArray *buf = WORDS(2, 48 + 16 * n, 8, 40 + 16 * n, 3, ~0u,
                            counts[0], counts[1], counts[2], counts[3],
                            counts[4], counts[5], counts[6], counts[7]);

    for (unsigned i = 0; i < n; i++) {
        g_autoptr(GByteArray) entry = WORDS(0x1000 * i, i, 4096 + i, ~0u);

        g_byte_array_append(buf, entry->data, entry->len);
    }
    return buf;
}

#define PAGES(n, ...) pages_with_entries((uint32_t[8]) { __VA_ARGS__ }, n)

static void test_pages_values(void)
{
    g_autoptr(GByteArray) buf = PAGES(4, 1, 3);
    g_autoptr(VideoParams) params = read_ok(buf);
    const VideoParam *p = video_params_get(params, 0);

    g_assert_cmpuint(params->params->len, ==, 1);
    g_assert_cmpint(p->type, ==, VIDEO_PARAM_RESOURCE);
    g_assert_cmpuint(p->attach.resource_id, ==, 3);
    g_assert_cmpuint(p->attach.n_buffers, ==, 2);
    g_assert_cmpuint(p->attach.num_entries[0], ==, 1);
    g_assert_cmpuint(p->attach.num_entries[1], ==, 3);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_cmphex(p->attach.entries[i].addr, ==,
                        0x1000 * i + ((uint64_t)i << 32));
        g_assert_cmpuint(p->attach.entries[i].length, ==, 4096 + i);
    }
    g_assert_cmpuint(video_params_host_bytes(params), >=,
                     4 * sizeof(VideoMemEntry));
}

/* An answer has the id only */
static void test_pages_answer(void)
{
    g_autoptr(GByteArray) buf = PAGES(4, 1, 3);
    g_autoptr(GByteArray) want = WORDS(2, 16, 8, 8, 3, 0);
    g_autoptr(GByteArray) answer = g_byte_array_new();
    g_autoptr(VideoParams) params = read_ok(buf);

    tlv_write_params(answer, params);
    g_assert_cmpmem(answer->data, answer->len, want->data, want->len);
}

static void test_pages_max_entries(void)
{
    g_autoptr(GByteArray) buf = PAGES(MAX_ENTRIES, MAX_ENTRIES - 2, 1, 1);
    g_autoptr(VideoParams) params = read_ok(buf);

    g_assert_cmpint(video_params_get(params, 0)->type, ==,
                    VIDEO_PARAM_RESOURCE);
    assert_invalid_at(PAGES(MAX_ENTRIES + 1, MAX_ENTRIES + 1), 0);
    assert_invalid_at(PAGES(MAX_ENTRIES + 1, MAX_ENTRIES, 1), 0);
}

static void test_pages_wrong_counts(void)
{
    const uint32_t half = 0x80000000;

    assert_invalid_at(PAGES(0, 0), 0);
    assert_invalid_at(PAGES(1, 0), 0);
    assert_invalid_at(PAGES(0, 1), 0);
    assert_invalid_at(PAGES(1, 2), 0);
    assert_invalid_at(PAGES(2, 1), 0);
    /* Right modulo 2^32, or once multiplied by the size of an entry */
    assert_invalid_at(PAGES(1, ~0u, 2), 0);
    assert_invalid_at(PAGES(1, half, half, 1), 0);
    assert_invalid_at(PAGES(0, half, half), 0);
    assert_invalid_at(PAGES(1, 0x10000001), 0);
    assert_invalid_at(PAGES(0, half, half, half, half, half, half, half,
                            half), 0);
}

/* Buffers without entries, and more buffers than a frame can have planes */
static void test_pages_wrong_buffers(void)
{
    assert_invalid_at(PAGES(1, 0, 1), 0);
    assert_invalid_at(PAGES(2, 1, 0, 1), 0);
    assert_invalid_at(PAGES(4, 1, 1, 1, 1), 0);
    assert_invalid_at(PAGES(2, 1, 0, 0, 0, 0, 0, 0, 1), 0);
}

static void test_pages_short(void)
{
    for (unsigned n = 0; n < 10; n++) {
        uint32_t value[14] = { 1, 8 + 4 * n, 8, 4 * n };

        assert_invalid_at(words(value, 4 + n), 0);
    }
}

/* Any change of a good request is read or refused, within its bounds */
static void test_params_random(void)
{
    for (unsigned i = 0; i < 50000; i++) {
        g_autoptr(GByteArray) buf = i % 2 ? PAGES(4, 1, 3) :
            WORDS(1, 12 + 8 + 36 + 12, 4, 4, 3, 11, 36, CID(BITRATE), 4, 1,
                  CID(H264_LEVEL), 4, 2, CID(GOP_SIZE), 4, 3, 6, 4, 7);
        g_autoptr(VideoParams) params = NULL;
        g_autofree uint8_t *exact = NULL;
        size_t size = g_test_rand_int_range(0, buf->len + 1);

        for (unsigned n = g_test_rand_int_range(0, 4); n > 0; n--) {
            stl_le_p(buf->data + 4 * g_test_rand_int_range(0, buf->len / 4),
                     g_test_rand_int_range(0, 40));
        }
        /* So that a sanitizer sees what is read behind it */
        exact = g_memdup2(buf->data, size);
        params = tlv_read_params(exact, size, MAX_PARAMS, MAX_ENTRIES, NULL);
        if (params) {
            g_assert_cmpuint(params->params->len, <=, size / 8);
        }
    }
}

/*
 * Capabilities
 */

static const VideoCodecCaps codec = {
    .decoders = {
        { VIDEO_CODED_VP8, 0x1, 4096, 2048 },
        { VIDEO_CODED_AV1, 0x7, 1024, 1024 },
    },
    .n_decoders = 2,
    .encoders = {
        { VIDEO_CODED_VP8, 0x1, 4096, 4096, 2, 2, { }, 2, {
            [VIDEO_CONTROL_BITRATE] = { true, .min = 1000, .max = 9000000 },
            [VIDEO_CONTROL_PROFILE] = { true, .menu = 0x9 },
            [VIDEO_CONTROL_B_FRAMES] = { true, .min = 0, .max = 2 },
            [VIDEO_CONTROL_MIN_QP] = { false, .min = 1, .max = 63 },
          } },
        { VIDEO_CODED_H264, 0x9, 1999, 1999, 17, 33, { }, 6, {
            [VIDEO_CONTROL_FORCE_KEY_FRAME] = { true, .min = 0, .max = 1 },
            [VIDEO_CONTROL_LEVEL] = { true, .menu = 0x80000001 },
          } },
    },
    .n_encoders = 2,
    .raws = { DRM_FORMAT_NV12, DRM_FORMAT_P010, DRM_FORMAT_XRGB8888,
              DRM_FORMAT_YUV420 },
    .n_raws = 4,
};

static Tlv next(TlvReader *reader, uint32_t type)
{
    Tlv tlv;

    g_assert_cmpint(tlv_read(reader, &tlv, &error_abort), ==, 1);
    g_assert_cmphex(tlv.type, ==, type);
    return tlv;
}

static void assert_range(const uint8_t *range, uint32_t min, uint32_t max,
                         uint32_t step)
{
    g_assert_cmpuint(ldl_le_p(range), ==, min);
    g_assert_cmpuint(ldl_le_p(range + 4), ==, max);
    g_assert_cmpuint(ldl_le_p(range + 8), ==, step);
    g_assert_cmpuint(ldl_le_p(range + 12), ==, 0);
}

/* Returns: what is behind RESOURCE_GUEST_PAGES */
static TlvReader next_coded_set(TlvReader *reader, uint32_t format)
{
    Tlv set = next(reader, VIRTIO_VIDEO_TLV_CODED_SET), tlv;
    TlvReader inner = { set.value, set.length };

    tlv = next(&inner, VIRTIO_VIDEO_TLV_CODED_FORMAT);
    g_assert_cmpuint(tlv.length, ==, 4);
    g_assert_cmpuint(ldl_le_p(tlv.value), ==, format);
    tlv = next(&inner, VIRTIO_VIDEO_TLV_CODED_RESOURCES);
    g_assert_cmpuint(tlv.length, ==, 32);
    assert_range(tlv.value, 1, 32, 1);
    assert_range(tlv.value + 16, 1, 1000, 1);
    tlv = next(&inner, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES);
    g_assert_cmpuint(tlv.length, ==, 0);
    return inner;
}

static void assert_end(TlvReader *reader)
{
    Tlv tlv;

    g_assert_cmpint(tlv_read(reader, &tlv, &error_abort), ==, 0);
}

static void assert_decoder_sets(TlvReader *reader)
{
    TlvReader vp8 = next_coded_set(reader, VIRTIO_VIDEO_CODED_FORMAT_VP8);
    TlvReader av1 = next_coded_set(reader, VIRTIO_VIDEO_CODED_FORMAT_AV1);

    assert_end(&vp8);
    assert_end(&av1);
}

static TlvReader next_controls(TlvReader *set)
{
    Tlv tlv = next(set, VIRTIO_VIDEO_TLV_V4L2_CONTROLS);

    assert_end(set);
    return (TlvReader) { tlv.value, tlv.length };
}

static void assert_int_caps(TlvReader *reader, uint32_t cid, uint32_t min,
                            uint32_t max)
{
    Tlv tlv = next(reader, cid);

    g_assert_cmpuint(tlv.length, ==, 16);
    assert_range(tlv.value, min, max, 1);
}

static void assert_enum_caps(TlvReader *reader, uint32_t cid, uint32_t mask)
{
    Tlv tlv = next(reader, cid);

    g_assert_cmpuint(tlv.length, ==, 4);
    g_assert_cmphex((uint32_t)ldl_le_p(tlv.value), ==, mask);
}

static void assert_encoder_sets(TlvReader *reader)
{
    TlvReader set = next_coded_set(reader, VIRTIO_VIDEO_CODED_FORMAT_VP8);
    TlvReader controls = next_controls(&set);

    assert_int_caps(&controls, CID(BITRATE), 1000, 9000000);
    assert_enum_caps(&controls, CID(VP8_PROFILE), 0x9);
    /* 0 is fine but can't be said */
    assert_int_caps(&controls, CID(B_FRAMES), 1, 2);
    assert_end(&controls);

    set = next_coded_set(reader, VIRTIO_VIDEO_CODED_FORMAT_H264);
    controls = next_controls(&set);
    assert_enum_caps(&controls, CID(H264_LEVEL), 0x80000001);
    assert_int_caps(&controls, CID(FORCE_KEY_FRAME), 1, 1);
    assert_end(&controls);
}

static void assert_raw_set(TlvReader *reader, uint32_t fourcc,
                           const VideoSizes *sizes)
{
    Tlv set = next(reader, VIRTIO_VIDEO_TLV_RAW_SET), tlv;
    TlvReader inner = { set.value, set.length };

    tlv = next(&inner, VIRTIO_VIDEO_TLV_RAW_FORMAT);
    g_assert_cmpuint(tlv.length, ==,
                     sizeof(struct virtio_video_tlv_raw_format_caps));
    g_assert_cmphex(ldl_le_p(tlv.value), ==,
                    VIRTIO_VIDEO_PLANES_LAYOUT_SINGLE_BUFFER |
                    VIRTIO_VIDEO_PLANES_LAYOUT_MULTI_BUFFERS);
    g_assert_cmphex(ldl_le_p(tlv.value + 4), ==, fourcc);
    g_assert_cmphex(ldq_le_p(tlv.value + 8), ==, DRM_FORMAT_MOD_LINEAR);
    assert_range(tlv.value + 16, sizes->width.min, sizes->width.max,
                 sizes->width.step);
    assert_range(tlv.value + 32, sizes->height.min, sizes->height.max,
                 sizes->height.step);
    tlv = next(&inner, VIRTIO_VIDEO_TLV_RAW_RESOURCES);
    g_assert_cmpuint(tlv.length, ==, 16);
    assert_range(tlv.value, 1, 32, 1);
    tlv = next(&inner, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES);
    tlv = next(&inner, VIRTIO_VIDEO_TLV_CROP);
    g_assert_cmpuint(tlv.length, ==, 0);
    assert_end(&inner);
}

#define LINK(reader, type, ...) \
    assert_link(reader, type, (uint64_t[]) { __VA_ARGS__ }, \
                sizeof((uint64_t[]) { __VA_ARGS__ }) / sizeof(uint64_t))

static void assert_link(TlvReader *reader, uint32_t type,
                        const uint64_t *words, unsigned n)
{
    Tlv tlv = next(reader, VIRTIO_VIDEO_TLV_LINK);

    g_assert_cmpuint(tlv.length, ==, 8 + n * 8);
    g_assert_cmpuint(ldl_le_p(tlv.value), ==, type);
    g_assert_cmpuint(ldl_le_p(tlv.value + 4), ==, 0);
    for (unsigned i = 0; i < n; i++) {
        g_assert_cmphex(ldq_le_p(tlv.value + 8 + 8 * i), ==, words[i]);
    }
}

static GByteArray *caps_of(bool decoder, bool encoder)
{
    const TlvCaps caps = { &codec, 3000, 2000, 1000, 32, decoder, encoder };
    GByteArray *buf = g_byte_array_new();

    tlv_write_caps(buf, &caps);
    return buf;
}

/* As large as the device's limit and the linked codec allow */
static const VideoSizes decoder_vp8 = { { 1, 3000, 1 }, { 1, 2000, 1 } };
static const VideoSizes decoder_av1 = { { 1, 1024, 1 }, { 1, 1024, 1 } };
static const VideoSizes encoder_vp8 = { { 2, 3000, 2 }, { 2, 2000, 2 } };
static const VideoSizes encoder_h264 = { { 18, 1998, 6 }, { 36, 1998, 6 } };

static void test_caps_decoder(void)
{
    g_autoptr(GByteArray) buf = caps_of(true, false);
    TlvReader reader = { buf->data, buf->len };

    assert_decoder_sets(&reader);
    assert_raw_set(&reader, DRM_FORMAT_NV12, &decoder_vp8);
    assert_raw_set(&reader, DRM_FORMAT_NV12, &decoder_av1);
    assert_raw_set(&reader, DRM_FORMAT_P010, &decoder_av1);
    assert_raw_set(&reader, DRM_FORMAT_XRGB8888, &decoder_av1);
    LINK(&reader, VIRTIO_VIDEO_STREAM_TYPE_DECODER, 0x1, 0xe);
    assert_end(&reader);
}

/* Raw formats are counted without those that have no set */
static void test_caps_encoder(void)
{
    g_autoptr(GByteArray) buf = caps_of(false, true);
    TlvReader reader = { buf->data, buf->len };

    assert_encoder_sets(&reader);
    assert_raw_set(&reader, DRM_FORMAT_NV12, &encoder_vp8);
    assert_raw_set(&reader, DRM_FORMAT_NV12, &encoder_h264);
    assert_raw_set(&reader, DRM_FORMAT_YUV420, &encoder_h264);
    LINK(&reader, VIRTIO_VIDEO_STREAM_TYPE_ENCODER, 0x1, 0x6);
    assert_end(&reader);
}

static void test_caps_both(void)
{
    g_autoptr(GByteArray) buf = caps_of(true, true);
    TlvReader reader = { buf->data, buf->len };

    assert_decoder_sets(&reader);
    assert_encoder_sets(&reader);
    assert_raw_set(&reader, DRM_FORMAT_NV12, &decoder_vp8);
    assert_raw_set(&reader, DRM_FORMAT_NV12, &decoder_av1);
    assert_raw_set(&reader, DRM_FORMAT_NV12, &encoder_vp8);
    assert_raw_set(&reader, DRM_FORMAT_NV12, &encoder_h264);
    assert_raw_set(&reader, DRM_FORMAT_P010, &decoder_av1);
    assert_raw_set(&reader, DRM_FORMAT_XRGB8888, &decoder_av1);
    assert_raw_set(&reader, DRM_FORMAT_YUV420, &encoder_h264);
    LINK(&reader, VIRTIO_VIDEO_STREAM_TYPE_DECODER, 0x1, 0x32, 0, 0);
    LINK(&reader, VIRTIO_VIDEO_STREAM_TYPE_ENCODER, 0, 0, 0x4, 0x48);
    assert_end(&reader);
}

/* Formats whose sizes are the same share a set, also if the device limits it */
static void test_caps_same_sizes(void)
{
    const TlvCaps caps = { &codec, 1000, 900, 1000, 32, true, false };
    const VideoSizes sizes = { { 1, 1000, 1 }, { 1, 900, 1 } };
    g_autoptr(GByteArray) buf = g_byte_array_new();
    TlvReader reader;

    tlv_write_caps(buf, &caps);
    reader = (TlvReader) { buf->data, buf->len };
    assert_decoder_sets(&reader);
    assert_raw_set(&reader, DRM_FORMAT_NV12, &sizes);
    assert_raw_set(&reader, DRM_FORMAT_P010, &sizes);
    assert_raw_set(&reader, DRM_FORMAT_XRGB8888, &sizes);
    LINK(&reader, VIRTIO_VIDEO_STREAM_TYPE_DECODER, 0x1, 0x7);
    assert_end(&reader);
}

/* Each format has sizes of its own: as many raw sets as there can be */
static void test_caps_most_sets(void)
{
    const unsigned n = 2 * VIDEO_CODED__MAX;
    VideoCodecCaps most = codec;
    const TlvCaps caps = { &most, 3000, 2000, 1000, 32, true, true };
    g_autoptr(GByteArray) buf = g_byte_array_new();
    TlvReader reader;
    Tlv tlv;

    most.n_decoders = most.n_encoders = VIDEO_CODED__MAX;
    for (unsigned i = 0; i < n; i++) {
        VideoCodedCaps *coded = i < n / 2 ? &most.decoders[i] :
                                            &most.encoders[i - n / 2];

        *coded = (VideoCodedCaps) {
            .format = i % (n / 2), .raw_mask = 0xf, .max_width = 100 + i,
            .max_height = 100, .size_step = i < n / 2 ? 0 : 2,
            .min_width = i < n / 2 ? 0 : 2 * i, .min_height = 2,
        };
    }
    tlv_write_caps(buf, &caps);
    reader = (TlvReader) { buf->data, buf->len };
    for (unsigned i = 0; i < n; i++) {
        next(&reader, VIRTIO_VIDEO_TLV_CODED_SET);
    }
    for (unsigned i = 0; i < n * VIDEO_MAX_RAWS; i++) {
        next(&reader, VIRTIO_VIDEO_TLV_RAW_SET);
    }
    for (unsigned d = 0; d < 2; d++) {
        tlv = next(&reader, VIRTIO_VIDEO_TLV_LINK);
        g_assert_cmpuint(tlv.length, ==, 8 + n * 8);
        for (unsigned i = 0; i < n; i++) {
            /* One of each raw format, and no two coded formats the same */
            g_assert_cmphex(ldq_le_p(tlv.value + 8 + 8 * i), ==,
                            i / (n / 2) == d ? 0x40010004001ull << i : 0);
        }
    }
    assert_end(&reader);
}

static void test_caps_none(void)
{
    g_autoptr(GByteArray) buf = caps_of(false, false);

    g_assert_cmpuint(buf->len, ==, 0);
}

/*
 * Layout of frames
 */

static VideoLayout layout(uint32_t fourcc, bool multi, uint32_t width,
                          uint32_t height)
{
    const VideoRawFormat format = {
        .fourcc = fourcc,
        .multi_buffers = multi,
        .width = width,
        .height = height,
        .stride_align = 64,
        .height_align = 16,
        .plane_align = 4096,
    };
    VideoLayout l;

    video_format_layout(&format, &l);
    return l;
}

static void assert_plane(const VideoLayout *l, unsigned plane,
                         uint32_t offset, uint32_t stride, uint32_t rows,
                         uint32_t padded)
{
    g_assert_cmpuint(l->planes[plane].offset, ==, offset);
    g_assert_cmpuint(l->planes[plane].stride, ==, stride);
    g_assert_cmpuint(l->planes[plane].rows, ==, rows);
    g_assert_cmpuint(l->planes[plane].padded_rows, ==, padded);
}

static void assert_row_bytes(const VideoLayout *l, unsigned plane,
                             uint32_t row_bytes)
{
    g_assert_cmpuint(l->planes[plane].row_bytes, ==, row_bytes);
}

static void test_layout_single(void)
{
    VideoLayout l = layout(DRM_FORMAT_NV12, false, 101, 51);

    g_assert_cmpuint(l.n_planes, ==, 2);
    g_assert_cmpuint(l.n_buffers, ==, 1);
    assert_plane(&l, 0, 0, 128, 51, 64);
    assert_plane(&l, 1, 8192, 128, 26, 32);
    g_assert_cmpuint(l.buffer_size[0], ==, 8192 + 128 * 32);

    assert_row_bytes(&l, 0, 101);
    assert_row_bytes(&l, 1, 102);

    l = layout(DRM_FORMAT_P010, false, 101, 51);
    assert_plane(&l, 0, 0, 256, 51, 64);
    assert_plane(&l, 1, 16384, 256, 26, 32);

    /* Luma's stride is twice that of chroma, whose own is aligned */
    l = layout(DRM_FORMAT_YUV420, false, 101, 51);
    g_assert_cmpuint(l.n_planes, ==, 3);
    assert_plane(&l, 0, 0, 128, 51, 64);
    assert_plane(&l, 1, 8192, 64, 26, 32);
    assert_plane(&l, 2, 12288, 64, 26, 32);
    g_assert_cmpuint(l.buffer_size[0], ==, 12288 + 64 * 32);

    assert_row_bytes(&l, 0, 101);
    assert_row_bytes(&l, 1, 51);
    assert_row_bytes(&l, 2, 51);

    l = layout(DRM_FORMAT_XRGB8888, false, 101, 51);
    g_assert_cmpuint(l.n_planes, ==, 1);
    assert_plane(&l, 0, 0, 448, 51, 64);
    assert_row_bytes(&l, 0, 404);
}

static void test_layout_multi(void)
{
    VideoLayout l = layout(DRM_FORMAT_YUV420, true, 101, 51);

    g_assert_cmpuint(l.n_buffers, ==, 3);
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmpuint(l.planes[i].buffer, ==, i);
        g_assert_cmpuint(l.planes[i].offset, ==, 0);
        g_assert_cmpuint(l.buffer_size[i], ==, i ? 64 * 32 : 128 * 64);
    }
}

/* The largest frame with the largest alignments still fits 32 bits */
static void test_layout_largest(void)
{
    VideoRawFormat format = {
        .fourcc = DRM_FORMAT_XRGB8888,
        .width = VIDEO_MAX_DIMENSION,
        .height = VIDEO_MAX_DIMENSION,
        .stride_align = 4096,
        .height_align = 64,
        .plane_align = 65536,
    };
    VideoLayout l;

    video_format_layout(&format, &l);
    g_assert_cmpuint(l.buffer_size[0], ==, 1ull << 30);
    format.fourcc = DRM_FORMAT_P010;
    video_format_layout(&format, &l);
    g_assert_cmpuint(l.planes[1].offset, ==, 1ull << 29);
    g_assert_cmpuint(l.buffer_size[0], <, UINT32_MAX);
}

static void test_sizes_closest(void)
{
    const VideoCodedCaps coded = {
        .max_width = 100, .max_height = 1000, .min_width = 17,
        .min_height = 1, .size_step = 4,
    };
    VideoSizes sizes = video_coded_sizes(&coded, 0, 200, 203);
    static const uint32_t widths[][2] = {
        { 0, 20 }, { 20, 20 }, { 21, 20 }, { 23, 20 }, { 24, 24 },
        { 100, 100 }, { 101, 100 }, { ~0u, 100 },
    };

    g_assert_cmpuint(sizes.height.min, ==, 4);
    g_assert_cmpuint(sizes.height.max, ==, 200);
    for (unsigned i = 0; i < ARRAY_SIZE(widths); i++) {
        g_assert_cmpuint(video_range_closest(&sizes.width, widths[i][0]), ==,
                         widths[i][1]);
    }
    /* Nothing is left */
    sizes = video_coded_sizes(&coded, 0, 19, 3);
    g_assert_cmpuint(sizes.width.min, >, sizes.width.max);
    g_assert_cmpuint(sizes.height.min, >, sizes.height.max);
}

static void test_align(void)
{
    g_assert_cmpuint(video_align_closest(0, VIDEO_STRIDE_ALIGN_MASK), ==, 16);
    g_assert_cmpuint(video_align_closest(1, VIDEO_STRIDE_ALIGN_MASK), ==, 16);
    g_assert_cmpuint(video_align_closest(17, VIDEO_STRIDE_ALIGN_MASK), ==, 32);
    g_assert_cmpuint(video_align_closest(64, VIDEO_STRIDE_ALIGN_MASK), ==, 64);
    g_assert_cmpuint(video_align_closest(~0u, VIDEO_STRIDE_ALIGN_MASK), ==,
                     4096);
    g_assert_cmpuint(video_align_closest(0, VIDEO_HEIGHT_ALIGN_MASK), ==, 1);
    g_assert_cmpuint(video_align_closest(65, VIDEO_HEIGHT_ALIGN_MASK), ==, 64);
    g_assert_cmpuint(video_align_closest(0, VIDEO_PLANE_ALIGN_MASK), ==, 1);
    g_assert_cmpuint(video_align_closest(~0u, VIDEO_PLANE_ALIGN_MASK), ==,
                     65536);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tlv/read/empty", test_read_empty);
    g_test_add_func("/tlv/read/sequence", test_read_sequence);
    g_test_add_func("/tlv/read/short", test_read_short);
    g_test_add_func("/tlv/read/bad-length", test_read_bad_length);
    g_test_add_func("/tlv/params/no-container", test_params_no_container);
    g_test_add_func("/tlv/params/two-containers", test_params_two_containers);
    g_test_add_func("/tlv/params/empty", test_params_empty);
    g_test_add_func("/tlv/params/round-trip", test_params_round_trip);
    g_test_add_func("/tlv/params/values", test_params_values);
    g_test_add_func("/tlv/params/invalid", test_params_invalid);
    g_test_add_func("/tlv/params/wrong-set", test_params_wrong_set);
    g_test_add_func("/tlv/params/wrong-length", test_params_wrong_length);
    g_test_add_func("/tlv/params/impossible-value",
                    test_params_impossible_value);
    g_test_add_func("/tlv/params/max-params", test_params_max_params);
    g_test_add_func("/tlv/params/random", test_params_random);
    g_test_add_func("/tlv/pages/values", test_pages_values);
    g_test_add_func("/tlv/pages/answer", test_pages_answer);
    g_test_add_func("/tlv/pages/max-entries", test_pages_max_entries);
    g_test_add_func("/tlv/pages/wrong-counts", test_pages_wrong_counts);
    g_test_add_func("/tlv/pages/wrong-buffers", test_pages_wrong_buffers);
    g_test_add_func("/tlv/pages/short", test_pages_short);
    g_test_add_func("/tlv/controls/values", test_controls_values);
    g_test_add_func("/tlv/controls/round-trip", test_controls_round_trip);
    g_test_add_func("/tlv/controls/empty", test_controls_empty);
    g_test_add_func("/tlv/controls/invalid", test_controls_invalid);
    g_test_add_func("/tlv/controls/wrong-length", test_controls_wrong_length);
    g_test_add_func("/tlv/controls/twice", test_controls_twice);
    g_test_add_func("/tlv/controls/raw-set", test_controls_raw_set);
    g_test_add_func("/tlv/controls/max-params", test_controls_max_params);
    g_test_add_func("/tlv/controls/of-formats", test_controls_of_formats);
    g_test_add_func("/tlv/controls/closest", test_controls_closest);
    g_test_add_func("/tlv/caps/decoder", test_caps_decoder);
    g_test_add_func("/tlv/caps/encoder", test_caps_encoder);
    g_test_add_func("/tlv/caps/both", test_caps_both);
    g_test_add_func("/tlv/caps/same-sizes", test_caps_same_sizes);
    g_test_add_func("/tlv/caps/most-sets", test_caps_most_sets);
    g_test_add_func("/tlv/caps/none", test_caps_none);
    g_test_add_func("/sizes/closest", test_sizes_closest);
    g_test_add_func("/layout/single-buffer", test_layout_single);
    g_test_add_func("/layout/multi-buffers", test_layout_multi);
    g_test_add_func("/layout/largest", test_layout_largest);
    g_test_add_func("/layout/align", test_align);
    return g_test_run();
}
