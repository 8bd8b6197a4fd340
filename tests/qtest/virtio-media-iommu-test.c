/*
 * QTest testcases for virtio-media: USERPTR buffers behind an IOMMU
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "virtio-media-fixture.h"
#include "virtio-video-iommu-fixture.h"

#define N_FRAMES    20
#define FRAME_SIZE  (WIDTH * HEIGHT * 3 / 2)

/**
 * Mapped: where the device sees a session's buffers.
 * @out, @cap: one entry for each
 */
typedef struct Mapped {
    QVVEntry out[N_INPUTS], cap[N_CAPTURES];
} Mapped;

static void queue_mapped(Session *s, uint32_t type, unsigned index,
                         QVVEntry *entry, uint32_t used, uint64_t usec)
{
    const QVVBuffer buf = {
        .size = entry->len, .n_entries = 1, .entries = entry,
    };

    g_assert_cmpint(qvm_qbuf(s->d, s->id, type, index, VM_MEMORY_USERPTR, &buf,
                             used, usec), ==, 0);
}

/* Buffers of one queue in scattered pages, each mapped in one piece */
static QVVPool *add_mapped(Iommu *i, Session *s, uint32_t type, uint32_t n,
                           QVVEntry *entries)
{
    struct vm_pix_format_mplane pix = { };
    uint32_t count = n;
    QVVPool *pool;
    uint64_t size;

    g_assert_cmpint(qvm_g_fmt(s->d, s->id, type, &pix), ==, 0);
    size = ROUND_UP(le32_to_cpu(pix.plane_fmt[0].sizeimage), PAGE);
    g_assert_cmpint(qvm_reqbufs(s->d, s->id, type, VM_MEMORY_USERPTR, &count),
                    ==, 0);
    g_assert_cmpuint(count, ==, n);
    pool = qvv_pool_new(s->d, n, 1, &size, QVV_SCATTERED);
    for (unsigned b = 0; b < n; b++) {
        iommu_map(i, &pool->res[b].buffer[0], &entries[b]);
    }
    return pool;
}

static void start_mapped_output(Iommu *i, Session *s, Mapped *m)
{
    s->memory = VM_MEMORY_USERPTR;
    s->n_out = N_INPUTS;
    s->out = add_mapped(i, s, QVM_OUTPUT, N_INPUTS, m->out);
    g_assert_cmpint(qvm_streamon(s->d, s->id, QVM_OUTPUT), ==, 0);
}

static void start_mapped_capture(Iommu *i, Session *s, Mapped *m)
{
    s->n_cap = N_CAPTURES;
    s->cap = add_mapped(i, s, QVM_CAPTURE, N_CAPTURES, m->cap);
    g_assert_cmpint(qvm_g_fmt(s->d, s->id, QVM_CAPTURE, &s->pix), ==, 0);
    for (unsigned b = 0; b < N_CAPTURES; b++) {
        queue_mapped(s, QVM_CAPTURE, b, &m->cap[b], 0, 0);
    }
    g_assert_cmpint(qvm_streamon(s->d, s->id, QVM_CAPTURE), ==, 0);
}

static void put_mapped(Session *s, Mapped *m, unsigned index, const void *data,
                       size_t size, uint64_t usec)
{
    qvv_buffer_write(s->d, &s->out->res[index].buffer[0], 0, data, size);
    queue_mapped(s, QVM_OUTPUT, index, &m->out[index], size, usec);
}

static void test_iommu_decode(Rig *first)
{
    struct vm_pix_format_mplane pix = {
        .pixelformat = cpu_to_le32(VM_PIX_FMT_H264),
        .plane_fmt[0].sizeimage = cpu_to_le32(PAGE),
        .width = cpu_to_le32(WIDTH),
        .height = cpu_to_le32(HEIGHT),
    };
    Session *s;
    Mapped m;
    Iommu i;

    if (!iommu_start(&i, first)) {
        return;
    }
    s = session_open(i.r);
    g_assert_cmpint(qvm_s_fmt(s->d, s->id, QVM_OUTPUT, &pix), ==, 0);
    start_mapped_output(&i, s, &m);
    for (unsigned n = 0; n < N_FRAMES; n++) {
        VideoTestInsn script[] = { format(WIDTH, HEIGHT), frame(n) };
        QVMEvent ev;

        insns_to_le(script, ARRAY_SIZE(script));
        put_mapped(s, &m, n % N_INPUTS, script, sizeof(script), n);
        if (!n) {
            expect_event(s, VM_EVENT_SOURCE_CHANGE);
            start_mapped_capture(&i, s, &m);
        }
        ev = expect_media_frame(s, n, n);
        queue_mapped(s, QVM_CAPTURE, ev.index, &m.cap[ev.index], 0, 0);
    }
    session_free(s);
    iommu_stop(&i);
}

static void fill_frame(uint8_t *data, uint32_t value)
{
    for (unsigned p = 0; p < 2; p++) {
        for (uint32_t y = 0; y < video_test_rows(p, HEIGHT); y++) {
            for (uint32_t x = 0; x < WIDTH; x++) {
                *data++ = video_test_byte(value, p, y, x);
            }
        }
    }
}

/* The scripted encoder tells what it has seen of the frame */
static void test_iommu_encode(Rig *first)
{
    struct vm_pix_format_mplane pix = {
        .pixelformat = cpu_to_le32(VIDEO_TEST_NV12),
        .width = cpu_to_le32(WIDTH),
        .height = cpu_to_le32(HEIGHT),
    };
    Session *s;
    Mapped m;
    Iommu i;

    if (!iommu_start(&i, first)) {
        return;
    }
    s = g_new0(Session, 1);
    s->d = i.r->d;
    s->v = i.r->v;
    g_assert_cmpint(qvm_open(s->d, &s->id), ==, 0);
    g_assert_cmpint(qvm_s_fmt(s->d, s->id, QVM_OUTPUT, &pix), ==, 0);
    g_assert_cmpuint(le32_to_cpu(pix.plane_fmt[0].sizeimage), ==, FRAME_SIZE);
    start_mapped_output(&i, s, &m);
    start_mapped_capture(&i, s, &m);
    for (unsigned n = 0; n < N_FRAMES; n++) {
        uint8_t data[FRAME_SIZE];
        VideoTestCoded coded;
        QVMEvent ev;

        fill_frame(data, n);
        put_mapped(s, &m, n % N_INPUTS, data, FRAME_SIZE, n);
        ev = expect_buffer(s, QVM_CAPTURE, n ? VM_BUF_FLAG_PFRAME :
                                               VM_BUF_FLAG_KEYFRAME);
        qvv_buffer_read(s->d, &s->cap->res[ev.index].buffer[0], 0, &coded,
                        sizeof(coded));
        g_assert_cmphex(le32_to_cpu(coded.checksum), ==,
                        video_test_checksum(VIDEO_TEST_CHECKSUM_INIT, data,
                                            FRAME_SIZE));
        queue_mapped(s, QVM_CAPTURE, ev.index, &m.cap[ev.index], 0, 0);
    }
    session_free(s);
    iommu_stop(&i);
}

/* max-coded-size leaves room for all buffers in what the fixture maps */
static const TestCase cases[] = {
    { "media/iommu/decodes-scattered-pages", test_iommu_decode,
      .device = ",iommu_platform=on,max-coded-size=8192", .no_start = true },
    { "media/iommu/encodes-scattered-pages", test_iommu_encode,
      .device = ",iommu_platform=on,max-coded-size=8192,role=encoder",
      .no_start = true },
};

static void register_virtio_media_iommu_tests(void)
{
    virtio_media_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_media_iommu_tests);
