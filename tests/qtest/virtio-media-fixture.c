/*
 * Fixture of virtio-media's qtests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-media-fixture.h"

#define OUTPUT_SIZE 4096

Session *session_open(Rig *r)
{
    Session *s = g_new0(Session, 1);

    s->d = r->d;
    s->v = r->v;
    g_assert_cmpint(qvm_open(s->d, &s->id), ==, 0);
    g_assert_cmpint(qvm_subscribe(s->d, s->id, VM_EVENT_SOURCE_CHANGE, 0, 0),
                    ==, 0);
    g_assert_cmpint(qvm_subscribe(s->d, s->id, VM_EVENT_EOS, 0, 0), ==, 0);
    return s;
}

void session_free(Session *s)
{
    g_assert_cmpint(qvm_close(s->d, s->id), ==, 0);
    qvv_pool_free(s->d, s->out);
    qvv_pool_free(s->d, s->cap);
    g_free(s);
}

uint32_t best_memory(Rig *r)
{
    return r->v->pci ? VM_MEMORY_MMAP : VM_MEMORY_USERPTR;
}

void start_output(Session *s, uint32_t memory)
{
    struct vm_pix_format_mplane pix = {
        .pixelformat = cpu_to_le32(VM_PIX_FMT_H264),
        .plane_fmt[0].sizeimage = cpu_to_le32(OUTPUT_SIZE),
        .width = cpu_to_le32(WIDTH),
        .height = cpu_to_le32(HEIGHT),
    };

    s->memory = memory;
    s->n_out = N_INPUTS;
    s->out_size = OUTPUT_SIZE;
    g_assert_cmpint(qvm_s_fmt(s->d, s->id, QVM_OUTPUT, &pix), ==, 0);
    g_assert_cmphex(le32_to_cpu(pix.pixelformat), ==, VM_PIX_FMT_H264);
    g_assert_cmpuint(le32_to_cpu(pix.plane_fmt[0].sizeimage), ==, OUTPUT_SIZE);
    g_assert_cmpint(qvm_reqbufs(s->d, s->id, QVM_OUTPUT, memory, &s->n_out),
                    ==, 0);
    g_assert_cmpuint(s->n_out, ==, N_INPUTS);
    if (memory == VM_MEMORY_USERPTR) {
        uint64_t size = OUTPUT_SIZE;

        s->out = qvv_pool_new(s->d, s->n_out, 1, &size, QVV_CONTIGUOUS);
    }
    g_assert_cmpint(qvm_streamon(s->d, s->id, QVM_OUTPUT), ==, 0);
}

void start_capture(Session *s)
{
    uint64_t size;

    g_assert_cmpint(qvm_g_fmt(s->d, s->id, QVM_CAPTURE, &s->pix), ==, 0);
    size = le32_to_cpu(s->pix.plane_fmt[0].sizeimage);
    s->cap_size = size;
    s->n_cap = N_CAPTURES;
    g_assert_cmpint(qvm_reqbufs(s->d, s->id, QVM_CAPTURE, s->memory,
                                &s->n_cap), ==, 0);
    g_assert_cmpuint(s->n_cap, ==, N_CAPTURES);
    if (s->memory == VM_MEMORY_USERPTR) {
        s->cap = qvv_pool_new(s->d, s->n_cap, 1, &size, QVV_SCATTERED);
    }
    for (unsigned i = 0; i < s->n_cap; i++) {
        get_media(s, i);
    }
    g_assert_cmpint(qvm_streamon(s->d, s->id, QVM_CAPTURE), ==, 0);
}

void stop_capture(Session *s)
{
    uint32_t none = 0;

    g_assert_cmpint(qvm_streamoff(s->d, s->id, QVM_CAPTURE), ==, 0);
    g_assert_cmpint(qvm_reqbufs(s->d, s->id, QVM_CAPTURE, s->memory, &none),
                    ==, 0);
    qvv_pool_free(s->d, s->cap);
    s->cap = NULL;
    s->n_cap = 0;
    s->cap_size = 0;
}

Session *session_start(Rig *r, uint32_t memory, uint32_t width,
                       uint32_t height)
{
    Session *s = session_open(r);

    start_output(s, memory);
    PUT_MEDIA(s, 0, 0, format(width, height));
    expect_buffer(s, QVM_OUTPUT, 0);
    PUT_MEDIA(s, 0, 0, frame(1));
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    start_capture(s);
    expect_media_frame(s, 1, 0);
    return s;
}

/* Memory of an MMAP buffer, through the region */
static uint64_t map_buffer(Session *s, uint32_t type, unsigned index,
                           uint64_t *addr)
{
    struct vm_buffer b;
    struct vm_plane p;
    uint64_t size, len;

    g_assert_cmpint(qvm_querybuf(s->d, s->id, type, index, &b, &p), ==, 0);
    g_assert_cmpint(qvm_mmap(s->d, s->id, le64_to_cpu(p.m), addr, &len), ==,
                    0);
    g_assert_cmpuint(len, ==, le32_to_cpu(p.length));
    return qvm_region(s->v, &size) + *addr;
}

void put_media(Session *s, unsigned index, uint64_t usec,
               VideoTestInsn *insns, unsigned n)
{
    size_t size = n * sizeof(*insns);

    insns_to_le(insns, n);
    if (s->memory == VM_MEMORY_MMAP) {
        uint64_t addr, mem = map_buffer(s, QVM_OUTPUT, index, &addr);

        qtest_memwrite(s->d->qts, mem, insns, size);
        g_assert_cmpint(qvm_munmap(s->d, addr), ==, 0);
    } else {
        qvv_buffer_write(s->d, &s->out->res[index].buffer[0], 0, insns, size);
    }
    g_assert_cmpint(qvm_qbuf(s->d, s->id, QVM_OUTPUT, index, s->memory,
                             s->out ? &s->out->res[index].buffer[0] : NULL,
                             size, usec), ==, 0);
}

void get_media(Session *s, unsigned index)
{
    g_assert_cmpint(qvm_qbuf(s->d, s->id, QVM_CAPTURE, index, s->memory,
                             s->cap ? &s->cap->res[index].buffer[0] : NULL,
                             0, 0), ==, 0);
}

uint8_t *read_capture(Session *s, unsigned index, uint32_t size)
{
    uint8_t *data = g_malloc(size);

    if (s->memory == VM_MEMORY_MMAP) {
        uint64_t addr, mem = map_buffer(s, QVM_CAPTURE, index, &addr);

        qtest_memread(s->d->qts, mem, data, size);
        g_assert_cmpint(qvm_munmap(s->d, addr), ==, 0);
    } else {
        qvv_buffer_read(s->d, &s->cap->res[index].buffer[0], 0, data, size);
    }
    return data;
}

static void check_buffer(Session *s, const QVMEvent *ev)
{
    const bool output = ev->type == QVM_OUTPUT;

    g_assert_cmpuint(ev->index, <, output ? s->n_out : s->n_cap);
    g_assert_cmpuint(ev->memory, ==, s->memory);
    g_assert_cmpuint(ev->field, ==, VM_FIELD_NONE);
    g_assert_cmpuint(ev->n_planes, ==, 1);
    if (output) {
        /* Some tests have larger memory of their own */
        g_assert_cmpuint(ev->length, >=, s->out_size);
    } else {
        g_assert_cmpuint(ev->length, ==, s->cap ?
                         s->cap->res[ev->index].buffer[0].size : s->cap_size);
    }
    g_assert_cmpuint(ev->bytesused, <=, ev->length);
    g_assert_cmpuint(ev->data_offset, <=, output ? ev->bytesused : 0);
    /* It is the guest's now, and has its timestamp from an OUTPUT buffer */
    g_assert_cmphex(ev->flags & (VM_BUF_FLAG_QUEUED | VM_BUF_FLAG_PREPARED |
                                 VM_BUF_FLAG_TIMESTAMP_COPY), ==,
                    VM_BUF_FLAG_TIMESTAMP_COPY);
}

static void check_event(Session *s, const QVMEvent *ev)
{
    g_assert_cmpuint(ev->event, ==, VIRTIO_MEDIA_EVT_EVENT);
    g_assert_cmpuint(ev->sequence, ==, s->n_events++);
    switch (ev->type) {
    case VM_EVENT_SOURCE_CHANGE:
        g_assert_cmphex(ev->changes, ==, VM_EVENT_SRC_CH_RESOLUTION);
        g_assert_cmphex(ev->id, ==, 0);
        break;
    case VM_EVENT_EOS:
        g_assert_cmphex(ev->id, ==, 0);
        break;
    default:
        g_assert_cmpuint(ev->type, ==, VM_EVENT_CTRL);
        g_assert_cmphex(ev->changes, !=, 0);
        break;
    }
}

bool next_media(Session *s, QVMEvent *ev, int64_t timeout_us)
{
    if (!qvm_next(s->d, s->id, ev, timeout_us)) {
        return false;
    }
    g_assert_false(ev->malformed);
    if (ev->event == VIRTIO_MEDIA_EVT_DQBUF) {
        check_buffer(s, ev);
    } else {
        check_event(s, ev);
    }
    return true;
}

QVMEvent expect_buffer(Session *s, uint32_t type, uint32_t flags)
{
    QVMEvent ev;

    do {
        g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
        g_assert_cmpuint(ev.event, ==, VIRTIO_MEDIA_EVT_DQBUF);
    } while (ev.type == QVM_OUTPUT && type != QVM_OUTPUT);
    g_assert_cmpuint(ev.type, ==, type);
    g_assert_cmphex(ev.flags, ==, flags | VM_BUF_FLAG_TIMESTAMP_COPY);
    return ev;
}

void expect_event(Session *s, uint32_t type)
{
    QVMEvent ev;

    do {
        g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
    } while (ev.event == VIRTIO_MEDIA_EVT_DQBUF && ev.type == QVM_OUTPUT);
    g_assert_cmpuint(ev.event, ==, VIRTIO_MEDIA_EVT_EVENT);
    g_assert_cmpuint(ev.type, ==, type);
}

static void assert_media_pixels(Session *s, unsigned index, uint32_t size,
                                uint32_t value)
{
    g_autofree uint8_t *data = read_capture(s, index, size);
    uint32_t stride = le32_to_cpu(s->pix.plane_fmt[0].bytesperline);
    uint32_t width = le32_to_cpu(s->pix.width);
    uint32_t height = le32_to_cpu(s->pix.height);
    uint32_t fourcc = le32_to_cpu(s->pix.pixelformat);
    uint32_t offset = 0;

    g_assert_cmphex(fourcc, ==, VIDEO_TEST_NV12);
    for (unsigned p = 0; p < 2; p++) {
        uint32_t rows = video_test_rows(p, height);

        for (uint32_t y = 0; y < rows; y++) {
            for (uint32_t x = 0; x < video_test_row_bytes(fourcc, p, width);
                 x++) {
                g_assert_cmphex(data[offset + y * stride + x], ==,
                                video_test_byte(value, p, y, x));
            }
        }
        offset += rows * stride;
    }
    g_assert_cmpuint(offset, ==, size);
}

QVMEvent expect_media_frame(Session *s, uint32_t value, uint64_t usec)
{
    QVMEvent ev;

    do {
        g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
    } while (ev.event != VIRTIO_MEDIA_EVT_DQBUF || ev.type != QVM_CAPTURE);
    g_assert_cmphex(ev.flags & (VM_BUF_FLAG_ERROR | VM_BUF_FLAG_LAST), ==, 0);
    g_assert_cmpuint(ev.usec, ==, usec);
    assert_media_pixels(s, ev.index, ev.bytesused, value);
    return ev;
}

void expect_quiet(Session *s)
{
    QVMEvent ev;

    g_assert_false(qvm_next(s->d, s->id, &ev, QUIET));
}

void assert_session_decodes(Session *s, uint32_t value)
{
    uint64_t usec = 1000 * value + 3 * G_USEC_PER_SEC;
    QVMEvent ev;

    PUT_MEDIA(s, 1, usec, frame(value));
    ev = expect_media_frame(s, value, usec);
    get_media(s, ev.index);
}

void assert_media_works(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);

    assert_session_decodes(s, 77);
}

void set_buffers(Session *s, uint32_t type, uint32_t count)
{
    g_assert_cmpint(qvm_reqbufs(s->d, s->id, type, VM_MEMORY_USERPTR, &count),
                    ==, 0);
}
