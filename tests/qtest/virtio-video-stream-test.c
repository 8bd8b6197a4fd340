/*
 * QTest testcases of virtio-video: the two queues of a stream
 *
 * RESOURCE_QUEUE, DRAIN and QUEUE_RESET.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "virtio-video-fixture.h"

#define HEADER_SIZE sizeof(struct virtio_video_stream_cmd_header)

/*
 * RESOURCE_QUEUE
 */

static void test_queue_not_attached(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, 0, 40));
    qvv_assert_error(r->d, get(s, 0));
    set_num(s, CODED_SET, 4);
    set_num(s, RAW_SET, 4);
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 3, 0, 0, 40));
    qvv_assert_error(r->d, get(s, 3));
}

static void test_queue_id(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    static const uint32_t ids[] = { N_INPUTS, 32, 0x80000000, ~0u };

    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        qvv_assert_error(r->d, qvv_queue_input(r->d, 0, ids[i], 0, 0, 40));
        qvv_assert_error(r->d, get(s, ids[i]));
    }
    assert_decodes(s);
}

static void test_queue_twice(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in, again, out;

    put_barrier(s);
    in = PUT(s, 1, 2, frame(2));
    again = qvv_queue_input(r->d, 0, 1, 3, 0, 40);
    qvv_assert_ok(r->d, get(s, 0));
    qvv_assert_error(r->d, again);
    qvv_assert_ok(r->d, in);
    expect_frame(s, 0, get(s, 0), 2, 2);

    out = get(s, 2);
    qvv_assert_error(r->d, get(s, 2));
    PUT(s, 1, 4, frame(3));
    expect_frame(s, 2, out, 3, 4);
}

static void test_queue_input_bounds(Rig *r)
{
    static const uint32_t bad[][2] = {
        { 0, 4097 }, { 1, 4096 }, { 4096, 1 }, { 4097, 0 },
        { 0xffffffff, 1 }, { 1, 0xffffffff }, { 0xffffffd8, 40 },
        { 0x80000000, 0x80000000 }, { 0, 0xffffffff },
    };
    TestStream *s = test_stream(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, bad[i][0],
                                               bad[i][1]));
    }
    assert_decodes(s);
}

static void test_queue_input_empty(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(QVVEvent) ev = qvv_wait(r->d, qvv_queue_input(r->d, 0, 0, 0, 0,
                                                            0));

    g_assert_true(ev->flags == F_OK || ev->flags == F_ERROR);
    assert_decodes(s);
}

static void test_queue_input_offset(Rig *r)
{
    VideoTestInsn script[] = { HEADER, frame(33) };
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), in;

    insns_to_le(script, ARRAY_SIZE(script));
    qvv_buffer_write(r->d, &s->in->res[0].buffer[0], 4096 - sizeof(script),
                     script, sizeof(script));
    in = qvv_queue_input(r->d, 0, 0, 8, 4096 - sizeof(script),
                         sizeof(script));
    qvv_assert_ok(r->d, in);
    expect_frame(s, 0, out, 33, 8);
}

/* Once the command is taken, the guest may do with the memory what it wants */
static void test_queue_input_copied(Rig *r)
{
    static const uint8_t garbage[QVV_PAGE_SIZE] = { 1, 2, 3 };
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), in;

    PUT(s, 0, 1, insn(VIDEO_TEST_DELAY, 50), HEADER);
    in = PUT(s, 1, 2, frame(77));
    wait_commands(r->d);
    qvv_buffer_write(r->d, &s->in->res[1].buffer[0], 0, garbage,
                     sizeof(garbage));
    qvv_assert_ok(r->d, in);
    expect_frame(s, 0, out, 77, 2);
}

static void test_queue_output_too_small(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint64_t size = QVV_PAGE_SIZE;
    QVVPool *small = qvv_pool_new(r->d, 1, 1, &size, QVV_CONTIGUOUS);
    GByteArray *set = qvv_set_new(RAW_SET);

    qvv_set_pages(set, &small->res[0]);
    set_params_ok(s, set);
    qvv_assert_error(r->d, get(s, 0));
    PUT(s, 0, 3, HEADER, frame(1));
    expect_frame(s, 1, get(s, 1), 1, 3);
    qvv_pool_free(r->d, small);
}

static void test_queue_output_sizes(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    PUT(s, 0, 1, HEADER, frame(1));
    g_autoptr(QVVEvent) ev = qvv_wait(r->d, out);
    for (unsigned i = 0; i < VIRTIO_VIDEO_MAX_PLANES; i++) {
        bool used = i < s->layout.n_planes;

        g_assert_cmpuint(ev->offsets[i], ==, used ? s->layout.offset[i] : 0);
        g_assert_cmpuint(ev->data_sizes[i], ==,
                         used ? s->layout.stride[i] * s->layout.rows[i] : 0);
    }
}

/* What is not the frame's stays as the guest had it */
static void assert_rest_untouched(TestStream *s, unsigned res, uint8_t fill)
{
    for (unsigned b = 0; b < s->layout.n_buffers; b++) {
        g_autofree uint8_t *data = read_output(s, res, b);

        for (unsigned p = 0; p < s->layout.n_planes; p++) {
            uint8_t *plane = data + s->layout.offset[p];

            for (uint32_t y = 0; s->layout.buffer[p] == b &&
                                 y < s->layout.rows[p]; y++) {
                memset(plane + y * s->layout.stride[p], fill,
                       s->layout.row_bytes[p]);
            }
        }
        for (uint64_t i = 0; i < s->out->res[res].buffer[b].size; i++) {
            g_assert_cmphex(data[i], ==, fill);
        }
    }
}

static void check_format(Rig *r, const QVVRawFormat *f,
                         QVVPlacement placement)
{
    TestStream *s = test_stream_of(r, 0, f, placement);
    uint32_t out;

    g_assert_cmphex(s->raw.fourcc, ==, f->fourcc);
    g_assert_cmpuint(s->raw.planes_layout, ==, f->planes_layout);
    g_assert_cmpuint(s->raw.width, ==, f->width);
    g_assert_cmpuint(s->raw.height, ==, f->height);
    g_assert_cmpuint(s->raw.stride_align, ==, f->stride_align);
    g_assert_cmpuint(s->raw.height_align, ==, f->height_align);
    if (f->planes_layout == SINGLE) {
        g_assert_cmpuint(s->raw.plane_align, ==, f->plane_align);
    }
    fill_output(s, 1, 0xa5);
    out = get(s, 1);
    PUT(s, 0, 6, format(f->width, f->height), frame(200));
    expect_frame(s, 1, out, 200, 6);
    assert_rest_untouched(s, 1, 0xa5);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
}

static void check_layouts(Rig *r, uint32_t fourcc, uint32_t layout,
                          QVVPlacement placement)
{
    QVVRawFormat f = raw_format(fourcc, 50, 38);

    f.planes_layout = layout;
    check_format(r, &f, placement);
    f.stride_align = 256;
    f.height_align = 16;
    f.plane_align = 4096;
    check_format(r, &f, placement);
    f = raw_format(fourcc, 33, 17);
    f.planes_layout = layout;
    f.stride_align = 16;
    check_format(r, &f, placement);
}

static void test_queue_layout_single(Rig *r)
{
    check_layouts(r, VIDEO_TEST_NV12, SINGLE, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_YUV420, SINGLE, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_P010, SINGLE, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_XRGB8888, SINGLE, QVV_CONTIGUOUS);
}

static void test_queue_layout_multi(Rig *r)
{
    check_layouts(r, VIDEO_TEST_NV12, MULTI, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_YUV420, MULTI, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_P010, MULTI, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_XRGB8888, MULTI, QVV_CONTIGUOUS);
}

static void test_queue_layout_scattered(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_XRGB8888, 130, 70);

    check_layouts(r, VIDEO_TEST_NV12, SINGLE, QVV_SCATTERED);
    check_layouts(r, VIDEO_TEST_YUV420, MULTI, QVV_SCATTERED);
    check_layouts(r, VIDEO_TEST_P010, SINGLE, QVV_SCATTERED);
    check_format(r, &f, QVV_SCATTERED);
}

static void test_queue_presentation_order(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out[N_OUTPUTS];

    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        out[i] = get(s, i);
    }
    PUT(s, 0, 10, HEADER, insn(VIDEO_TEST_REORDER, 2), frame_at(1, 1));
    PUT(s, 1, 40, frame_at(4, 4));
    PUT(s, 2, 20, frame_at(2, 2));
    PUT(s, 3, 30, frame_at(3, 3));
    qvv_drain(r->d, 0);
    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        expect_frame(s, i, out[i], i + 1, 10 * (i + 1));
    }
}

static void test_queue_timestamp(Rig *r)
{
    static const uint64_t times[] = { 0, 1, ~0ull, 1ull << 63 };
    TestStream *s = test_stream(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(times); i++) {
        uint32_t out = get(s, i);

        PUT(s, i, times[i], HEADER, frame(i));
        expect_frame(s, i, out, i, times[i]);
    }
}

static void test_queue_corrupt_frame(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    PUT(s, 0, 12, HEADER, corrupt_frame(5));
    g_autoptr(QVVEvent) ev = qvv_wait(r->d, out);
    g_assert_cmphex(ev->flags, ==, F_ERROR);
    g_assert_cmpuint(ev->timestamp, ==, 12);
    assert_decodes(s);
}

static void test_queue_bad_data(Rig *r)
{
    static const uint8_t garbage[64] = { 0, 0, 0, 1, 0x67 };
    TestStream *s = test_stream(r, 0);

    /* No parameter set yet, an explicit error, and no script at all */
    qvv_assert_error(r->d, PUT(s, 0, 0, frame(1)));
    qvv_assert_error(r->d, PUT(s, 0, 0, HEADER, insn(VIDEO_TEST_BAD, 0)));
    qvv_buffer_write(r->d, &s->in->res[0].buffer[0], 0, garbage,
                     sizeof(garbage));
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, 0, 64));
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, 0, 3));
    assert_decodes(s);
}

/* One lost frame among those that are held back for their turn */
static void test_queue_bad_data_mid_gop(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out[3] = { get(s, 0), get(s, 1), get(s, 2) }, bad;

    PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_REORDER, 2), frame_at(1, 1));
    PUT(s, 1, 4, frame_at(4, 4));
    bad = PUT(s, 2, 2, insn(VIDEO_TEST_BAD, 0));
    PUT(s, 3, 3, frame_at(3, 3));
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    qvv_assert_error(r->d, bad);
    expect_frame(s, 0, out[0], 1, 1);
    expect_frame(s, 1, out[1], 3, 3);
    expect_frame(s, 2, out[2], 4, 4);
}

/*
 * The driver has the first output back and queues it again, spoiled, while
 * the codec still holds frames of the same group back.
 */
static void test_queue_referenced_output(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_REORDER, 2), frame_at(1, 1));
    PUT(s, 1, 3, frame_at(3, 3));
    PUT(s, 2, 2, frame_at(2, 2));
    qvv_drain(r->d, 0);
    for (unsigned i = 1; i <= 3; i++) {
        expect_frame(s, 0, out, i, i);
        fill_output(s, 0, 0xaa);
        out = get(s, 0);
    }
}

static void test_queue_many_frames(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out[3];

    for (unsigned i = 0; i < 3; i++) {
        out[i] = get(s, i);
    }
    PUT(s, 0, 5, HEADER, frame(1), frame(2), frame(3));
    for (unsigned i = 0; i < 3; i++) {
        expect_frame(s, i, out[i], 1 + i, 5);
    }
}

static void test_queue_no_frame(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    for (unsigned i = 0; i < N_INPUTS; i++) {
        qvv_assert_ok(r->d, PUT(s, i, 0, HEADER));
    }
    qvv_assert_quiet(r->d, QUIET);
    PUT(s, 0, 5, frame(1));
    expect_frame(s, 0, out, 1, 5);
}

static void test_queue_busy_codec(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1);
    uint32_t in = PUT(s, 0, 5, HEADER, frame(1), insn(VIDEO_TEST_AGAIN, 2),
                      frame(2));

    EXPECT_ORDER(r->d, { out0, F_OK }, { out1, F_OK });
    assert_pixels(s, 1, 2);
    assert_decodes(s);
    g_assert_cmpuint(in, !=, 0);
}

static void test_queue_frames_wait(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    PUT(s, 0, 5, HEADER, frame(1), frame(2));
    PUT(s, 1, 6, frame(3));
    g_usleep(10 * MS);
    expect_frame(s, 0, get(s, 0), 1, 5);
    expect_frame(s, 0, get(s, 0), 2, 5);
    expect_frame(s, 0, get(s, 0), 3, 6);
}

static void test_queue_long_run(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out[2] = { get(s, 0), get(s, 1) };

    for (unsigned i = 0; i < 100; i++) {
        uint32_t in = PUT(s, i % N_INPUTS, i, HEADER, frame(i));

        expect_frame(s, i % 2, out[i % 2], i, i);
        out[i % 2] = get(s, i % 2);
        qvv_assert_ok(r->d, in);
    }
}

static void test_queue_32(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, 16, 16);
    TestStream *s = bare_stream(r, 0);
    uint32_t out[32], in[32];

    add_inputs_of(s, 32, QVV_PAGE_SIZE);
    set_raw_format(s, &f);
    add_outputs(s, 32, QVV_SCATTERED);
    qvv_hold(r->d);
    for (unsigned i = 0; i < 32; i++) {
        out[i] = get(s, i);
        in[i] = PUT(s, i, i, format(16, 16), frame(i));
    }
    qvv_flush(r->d);
    for (unsigned i = 0; i < 32; i++) {
        qvv_assert_ok(r->d, in[i]);
        expect_frame(s, i, out[i], i, i);
    }
}

static void test_queue_streams_apart(Rig *r)
{
    TestStream *s[4];
    uint32_t out[4];

    for (unsigned i = 0; i < 4; i++) {
        s[i] = test_stream(r, 3 * i);
        out[i] = get(s[i], i);
    }
    for (unsigned i = 0; i < 4; i++) {
        PUT(s[i], 0, 100 + i, HEADER, frame(50 * i));
    }
    for (unsigned i = 4; i-- > 0;) {
        expect_frame(s[i], i, out[i], 50 * i, 100 + i);
    }
}

/*
 * DRAIN
 */

static void test_drain_frames_first(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out[3], in, drain;

    for (unsigned i = 0; i < 3; i++) {
        out[i] = get(s, i);
    }
    in = PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_REORDER, 8), frame_at(1, 1),
             frame_at(3, 3), frame_at(2, 2), insn(VIDEO_TEST_DELAY, 10));
    drain = qvv_drain(r->d, 0);
    EXPECT_ORDER(r->d, { in, F_OK }, { out[0], F_OK }, { out[1], F_OK },
                 { out[2], F_OK }, { drain, F_OK });
    for (unsigned i = 0; i < 3; i++) {
        assert_pixels(s, i, i + 1);
    }
}

/* The drain can't end for want of an output; nothing may overtake it */
static void test_drain_later_commands(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, in, params, again, out0, out1;

    PUT(s, 0, 1, HEADER, frame(1));
    drain = qvv_drain(r->d, 0);
    params = qvv_get_params(r->d, 0, INPUT, CODED_SET);
    in = PUT(s, 1, 2, frame(2));
    again = qvv_drain(r->d, 0);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    out0 = get(s, 0);
    EXPECT_ORDER(r->d, { out0, F_OK }, { drain, F_OK }, { params, F_OK },
                 { in, F_OK });
    out1 = get(s, 1);
    EXPECT_ORDER(r->d, { out1, F_OK }, { again, F_OK });
    assert_pixels(s, 0, 1);
    assert_pixels(s, 1, 2);
}

/* A command in the input queue: a header, and then zeroes */
static uint32_t command_of_size(TestStream *s, uint32_t type, size_t size)
{
    g_autofree uint8_t *cmd = g_malloc0(size);

    stl_le_p(cmd, type);
    stl_le_p(cmd + 4, s->id);
    stl_le_p(cmd + 8, INPUT);
    return qvv_cmd(s->d, cmd, size);
}

/* Refused at first sight, for one reason each */
static void test_drain_refused_commands(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, bounds, twice, none, set, got, in, out0, out1;

    PUT(s, 0, 1, HEADER, frame(1));
    drain = qvv_drain(r->d, 0);
    in = PUT(s, 1, 2, frame(2));
    bounds = qvv_queue_input(r->d, 0, 2, 3, 0, ~0u);
    twice = qvv_queue_input(r->d, 0, 1, 4, 0, 40);
    none = qvv_queue_input(r->d, 0, N_INPUTS, 5, 0, 40);
    /* Of no set */
    set = command_of_size(s, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, HEADER_SIZE);
    got = command_of_size(s, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, HEADER_SIZE);
    g_assert_cmpuint(count_answers(r->d, bounds, QUIET), ==, 0);
    out0 = get(s, 0);
    out1 = get(s, 1);
    EXPECT_ORDER(r->d, { out0, F_OK }, { drain, F_OK }, { bounds, F_ERROR },
                 { twice, F_ERROR }, { none, F_ERROR }, { set, F_ERROR },
                 { got, F_ERROR }, { in, F_OK }, { out1, F_OK });
    assert_pixels(s, 1, 2);
}

/* max-entries is 4 here, so that a request has less than 8 KiB */
static void test_drain_too_long(Rig *r)
{
    static const uint32_t types[] = {
        VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS,
        VIRTIO_VIDEO_CMD_STREAM_DRAIN, VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE,
    };
    TestStream *s = test_stream(r, 0);
    uint32_t drain = put_barrier(s), cookies[ARRAY_SIZE(types)], out;

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        cookies[i] = command_of_size(s, types[i], 8 * KiB);
    }
    g_assert_cmpuint(count_answers(r->d, cookies[0], QUIET), ==, 0);
    out = get(s, 0);
    EXPECT_ORDER(r->d, { out, F_OK }, { drain, F_OK }, { cookies[0], F_ERROR },
                 { cookies[1], F_ERROR }, { cookies[2], F_ERROR },
                 { cookies[3], F_ERROR });
}

static void test_drain_refused_canceled(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, in, bad, reset;

    PUT(s, 0, 1, HEADER, frame(1));
    drain = qvv_drain(r->d, 0);
    bad = qvv_queue_input(r->d, 0, 0, 3, 0, ~0u);
    in = PUT(s, 1, 2, frame(2));
    reset = qvv_queue_reset(r->d, 0, INPUT);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { bad, F_CANCELED },
                 { in, F_CANCELED }, { reset, F_OK });
    assert_decodes(s);
}

static void test_drain_keeps_parameter_sets(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    assert_decodes(s);
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    PUT(s, 0, 7, frame(70));
    expect_frame(s, 1, get(s, 1), 70, 7);
}

static void test_drain_idle(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    add_inputs(s);
    PUT(s, 0, 0, HEADER);
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
}

static void test_drain_canceled(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, reset;

    PUT(s, 0, 1, HEADER, frame(1));
    drain = qvv_drain(r->d, 0);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { reset, F_OK });
    assert_decodes(s);
}

static void test_drain_close(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, close;

    PUT(s, 0, 1, HEADER, frame(1));
    drain = qvv_drain(r->d, 0);
    close = qvv_close(r->d, 0);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { close, F_OK });
}

/* The codec is in the midst of it, and one frame is out already */
static void test_drain_close_busy(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, close, in, out0 = get(s, 0), out1 = get(s, 1);

    PUT(s, 0, 1, HEADER, frame(1));
    in = hang(s, 1);
    drain = qvv_drain(r->d, 0);
    expect_frame(s, 0, out0, 1, 1);
    close = qvv_close(r->d, 0);
    expect_canceled(r->d, (uint32_t[]) { in, drain, out1 }, 3, close);
    assert_device_works(r);
}

static void test_drain_output_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, reset, out;

    PUT(s, 0, 1, HEADER, frame(1), frame(2));
    drain = qvv_drain(r->d, 0);
    qvv_assert_ok(r->d, get(s, 0));
    reset = qvv_queue_reset(r->d, 0, OUTPUT);
    qvv_assert_ok(r->d, reset);
    out = get(s, 1);
    EXPECT_ORDER(r->d, { out, F_OK }, { drain, F_OK });
}

/*
 * QUEUE_RESET
 */

static void test_reset_input_cancels(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);
    uint32_t in0 = hang(s, 0);
    uint32_t in1 = PUT(s, 1, 0, HEADER, frame(1));
    uint32_t drain = qvv_drain(r->d, 0);
    uint32_t getp = qvv_get_params(r->d, 0, INPUT, CODED_SET);
    uint32_t setp = qvv_set_params(r->d, 0, INPUT, set);
    uint32_t in2 = PUT(s, 2, 0, frame(2));
    uint32_t reset = qvv_queue_reset(r->d, 0, INPUT);

    EXPECT_ORDER(r->d, { in0, F_CANCELED }, { in1, F_CANCELED },
                 { drain, F_CANCELED }, { getp, F_CANCELED },
                 { setp, F_CANCELED }, { in2, F_CANCELED }, { reset, F_OK });
    /* The other queue has nothing to do with it */
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    PUT(s, 1, 4, HEADER, frame(44));
    expect_frame(s, 0, out, 44, 4);
}

static void test_reset_output_cancels(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1), out2 = get(s, 2);
    uint32_t reset = qvv_queue_reset(r->d, 0, OUTPUT);

    EXPECT_ORDER(r->d, { out0, F_CANCELED }, { out1, F_CANCELED },
                 { out2, F_CANCELED }, { reset, F_OK });
    assert_decodes(s);
}

static void test_reset_idle(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, OUTPUT));
    assert_decodes(s);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, OUTPUT));
    assert_decodes(s);
}

static void test_reset_bad_queue(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    qvv_assert_error(r->d, qvv_queue_reset(r->d, 0, MAIN));
    qvv_assert_error(r->d, qvv_queue_reset(r->d, 0, 3));
    qvv_assert_error(r->d, qvv_queue_reset(r->d, 0, ~0u));
    PUT(s, 0, 4, HEADER, frame(3));
    expect_frame(s, 0, out, 3, 4);
}

static void test_reset_input_without_outputs(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    for (unsigned i = 0; i < N_INPUTS; i++) {
        PUT(s, i, 0, HEADER, frame(i), frame(i));
    }
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    assert_decodes(s);
}

static void test_reset_keeps_parameter_sets(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out;

    assert_decodes(s);
    hang(s, 0);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    out = get(s, 1);
    qvv_assert_ok(r->d, PUT(s, 0, 7, frame(70)));
    expect_frame(s, 1, out, 70, 7);
}

static void test_reset_drops_frames(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out;

    qvv_assert_ok(r->d, PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_REORDER, 3),
                            frame_at(1, 1), frame_at(2, 2)));
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    out = get(s, 0);
    PUT(s, 0, 9, frame_at(3, 3));
    qvv_drain(r->d, 0);
    expect_frame(s, 0, out, 3, 9);
}

static void test_reset_output_keeps_frames(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    PUT(s, 0, 1, HEADER, frame(1), frame(2));
    expect_frame(s, 0, get(s, 0), 1, 1);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, OUTPUT));
    expect_frame(s, 1, get(s, 1), 2, 1);
}

static void test_reset_hanging_codec(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    int64_t began = g_get_monotonic_time();
    uint32_t in;

    in = hang_hard(s, 0, 1000);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    qvv_assert_canceled(r->d, in);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 900 * MS);
    assert_decodes(s);
}

/* Taken back in the midst of a frame: not a byte is written afterwards */
static void test_reset_output_while_writing(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    fill_output(s, 0, 0xee);
    PUT(s, 0, 3, HEADER, insn(VIDEO_TEST_SLOW_EMIT, 30), frame(1));
    g_usleep(45 * MS);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, OUTPUT));
    qvv_assert_canceled(r->d, out);
    fill_output(s, 0, 0xdd);
    g_usleep(60 * MS);
    assert_output_is(s, 0, 0xdd);
    expect_frame(s, 1, get(s, 1), 1, 3);
    assert_output_is(s, 0, 0xdd);
}

/* Half a frame is no frame: the output gets the next one */
static void test_reset_input_while_writing(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), reset;

    PUT(s, 0, 3, HEADER, insn(VIDEO_TEST_SLOW_EMIT, 40), frame(1));
    g_usleep(60 * MS);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    PUT(s, 1, 4, HEADER, insn(VIDEO_TEST_SLOW_EMIT, 0), frame(2));
    for (bool is_reset = false; !is_reset;) {
        g_autoptr(QVVEvent) ev = qvv_next(r->d, SOON);

        g_assert_nonnull(ev);
        is_reset = ev->cookie == reset;
        if (ev->cookie == out) {
            return;             /* it was whole just before the reset */
        }
    }
    expect_frame(s, 0, out, 2, 4);
}

static void test_reset_often(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    for (unsigned i = 0; i < 50; i++) {
        uint32_t in = PUT(s, 0, i, HEADER, insn(VIDEO_TEST_DELAY, i % 3),
                          frame(i));
        uint32_t out = get(s, 0);
        uint32_t reset_in = qvv_queue_reset(r->d, 0, INPUT);
        uint32_t reset_out = qvv_queue_reset(r->d, 0, OUTPUT);
        g_autoptr(QVVEvent) in_done = qvv_wait(r->d, in);
        g_autoptr(QVVEvent) out_done = qvv_wait(r->d, out);

        g_assert_true(in_done->flags == F_OK || in_done->flags == F_CANCELED);
        g_assert_true(out_done->flags == F_OK ||
                      out_done->flags == F_CANCELED);
        qvv_assert_ok(r->d, reset_in);
        qvv_assert_ok(r->d, reset_out);
    }
    assert_decodes(s);
}

/*
 * All of them
 */

static const TestCase cases[] = {
    { "resource-queue/not-attached-is-error", test_queue_not_attached },
    { "resource-queue/id-out-of-range-is-error", test_queue_id },
    { "resource-queue/already-queued-is-error", test_queue_twice },
    { "resource-queue/data-outside-buffer-is-error",
      test_queue_input_bounds },
    { "resource-queue/empty-input", test_queue_input_empty },
    { "resource-queue/input-offset", test_queue_input_offset },
    { "resource-queue/input-is-copied", test_queue_input_copied },
    { "resource-queue/too-small-output-is-error",
      test_queue_output_too_small },
    { "resource-queue/response-has-offsets-and-sizes",
      test_queue_output_sizes },
    { "resource-queue/layout-of-single-buffer", test_queue_layout_single },
    { "resource-queue/layout-of-multi-buffers", test_queue_layout_multi },
    { "resource-queue/layout-of-scattered-pages",
      test_queue_layout_scattered },
    { "resource-queue/presentation-order", test_queue_presentation_order },
    { "resource-queue/timestamp-is-that-of-the-input", test_queue_timestamp },
    { "resource-queue/corrupt-frame-is-error-buffer",
      test_queue_corrupt_frame },
    { "resource-queue/bad-data-is-error-and-stream-goes-on",
      test_queue_bad_data },
    { "resource-queue/bad-data-in-mid-gop", test_queue_bad_data_mid_gop },
    { "resource-queue/referenced-output-queued-again",
      test_queue_referenced_output },
    { "resource-queue/many-frames-of-one-input", test_queue_many_frames },
    { "resource-queue/no-frame-of-an-input", test_queue_no_frame },
    { "resource-queue/busy-codec", test_queue_busy_codec },
    { "resource-queue/frames-wait-for-outputs", test_queue_frames_wait },
    { "resource-queue/long-run", test_queue_long_run },
    { "resource-queue/32-of-each", test_queue_32 },
    { "resource-queue/streams-are-apart", test_queue_streams_apart },

    { "drain/frames-before-response", test_drain_frames_first },
    { "drain/later-commands-answered-after", test_drain_later_commands },
    { "drain/refused-commands-answered-after", test_drain_refused_commands },
    { "drain/too-long-commands-answered-after", test_drain_too_long,
      .device = ",max-entries=4" },
    { "drain/refused-commands-canceled-by-reset",
      test_drain_refused_canceled },
    { "drain/parameter-sets-survive", test_drain_keeps_parameter_sets },
    { "drain/idle-stream", test_drain_idle },
    { "drain/canceled-by-reset", test_drain_canceled },
    { "drain/canceled-by-close", test_drain_close },
    { "drain/canceled-by-close-while-decoding", test_drain_close_busy },
    { "drain/output-reset-does-not-end-it", test_drain_output_reset },

    { "queue-reset/all-canceled-before-response", test_reset_input_cancels },
    { "queue-reset/all-outputs-canceled-before-response",
      test_reset_output_cancels },
    { "queue-reset/idle-queue", test_reset_idle },
    { "queue-reset/wrong-queue-is-error", test_reset_bad_queue },
    { "queue-reset/input-never-waits-for-output",
      test_reset_input_without_outputs },
    { "queue-reset/parameter-sets-survive", test_reset_keeps_parameter_sets },
    { "queue-reset/input-drops-frames-in-the-making",
      test_reset_drops_frames },
    { "queue-reset/output-keeps-frames", test_reset_output_keeps_frames },
    { "queue-reset/never-waits-for-the-codec", test_reset_hanging_codec },
    { "queue-reset/nothing-written-after-cancel",
      test_reset_output_while_writing },
    { "queue-reset/input-while-writing", test_reset_input_while_writing },
    { "queue-reset/often", test_reset_often },
};

static void register_virtio_video_stream_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_stream_test);
