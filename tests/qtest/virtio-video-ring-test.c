/*
 * QTest testcases of virtio-video: kinds of virtqueues
 *
 * Split and packed rings, with direct and indirect descriptors, with and
 * without VIRTIO_RING_F_EVENT_IDX and VIRTIO_F_IN_ORDER: the device does
 * the same with all of them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "virtio-video-fixture.h"

#define N_GROUPS    60

/*
 * Four frames out of presentation order.  More than one command is there when
 * the device looks.
 */
static void decode_group(TestStream *s, unsigned group)
{
    static const uint8_t positions[] = { 0, 3, 1, 2 };
    uint32_t out[4], drain, base = 4 * group;

    qvv_hold(s->d);
    for (unsigned i = 0; i < 4; i++) {
        out[i] = get(s, i);
    }
    for (unsigned i = 0; i < 4; i++) {
        uint32_t at = base + positions[i];

        PUT(s, i, at, i ? insn(VIDEO_TEST_NOP, 0) : HEADER,
            insn(VIDEO_TEST_REORDER, 2), frame_at(at, at));
    }
    qvv_flush(s->d);
    drain = qvv_drain(s->d, s->id);
    for (unsigned i = 0; i < 4; i++) {
        expect_frame(s, i, out[i], base + i, base + i);
    }
    expect(s->d, drain, F_OK);
}

/* A chain of three descriptors, the last one writable */
static void assert_split_query(Rig *r)
{
    static const uint8_t query[] = { 0, 1, 0, 0 };
    g_autofree uint8_t *caps = g_malloc(r->d->caps_length);

    g_assert_cmpint(qvv_cmd_raw(r->d, query, sizeof(query), 2, caps,
                                r->d->caps_length, SOON),
                    ==, r->d->caps_length);
    g_assert_cmpuint(ldl_le_p(caps), ==, VIRTIO_VIDEO_RESULT_OK);
}

static void assert_interrupt(Rig *r)
{
    qvv_interrupt(r->d);
    qvv_assert_error(r->d, qvv_close(r->d, 5));
    g_usleep(5 * MS);
    g_assert_true(qvv_interrupt(r->d));
}

/* Long enough for several rounds of both rings */
static void test_ring(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    g_assert_cmphex(r->d->features & (PACKED | EVENT_IDX | IN_ORDER), ==,
                    r->d->opts.more_features);
    for (unsigned i = 0; i < N_GROUPS; i++) {
        decode_group(s, i);
        assert_split_query(r);
    }
    assert_interrupt(r);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
}

/*
 * All of them
 */

#define RING(kind, features, tables) \
    { "ring/" kind, test_ring, .device = ALL_RINGS, \
      .opts = { .more_features = features, .indirect = tables } }

static const TestCase cases[] = {
    RING("split", 0, false),
    RING("split-in-order", IN_ORDER, false),
    RING("split-event-idx", EVENT_IDX, false),
    RING("split-event-idx-in-order", EVENT_IDX | IN_ORDER, false),
    RING("split-indirect", 0, true),
    RING("split-indirect-in-order", IN_ORDER, true),
    RING("split-indirect-event-idx", EVENT_IDX, true),
    RING("split-indirect-event-idx-in-order", EVENT_IDX | IN_ORDER, true),
    RING("packed", PACKED, false),
    RING("packed-in-order", PACKED | IN_ORDER, false),
    RING("packed-event-idx", PACKED | EVENT_IDX, false),
    RING("packed-event-idx-in-order", PACKED | EVENT_IDX | IN_ORDER, false),
    RING("packed-indirect", PACKED, true),
    RING("packed-indirect-in-order", PACKED | IN_ORDER, true),
    RING("packed-indirect-event-idx", PACKED | EVENT_IDX, true),
    RING("packed-indirect-event-idx-in-order", PACKED | EVENT_IDX | IN_ORDER,
         true),
};

static void register_virtio_video_ring_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_ring_test);
