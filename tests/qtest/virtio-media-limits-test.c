/*
 * QTest testcases for virtio-media: the limits that are properties
 *
 * Each goes exactly one over and gets the error that V4L2 has for it; the limit
 * itself still works.  Each runs with a decoder and with an encoder.  Mappings
 * and events, where that is no difference, are with the tests of what they
 * limit: media/max-mappings and media/no-event-buffers.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "virtio-media-fixture.h"

/* Both queues */
static const uint32_t types[] = { QVM_OUTPUT, QVM_CAPTURE };

static uint32_t open_session(Rig *r)
{
    uint32_t id;

    g_assert_cmpint(qvm_open(r->d, &id), ==, 0);
    return id;
}

static struct vm_pix_format_mplane get_format(Rig *r, uint32_t id,
                                              uint32_t type)
{
    struct vm_pix_format_mplane pix = { };

    g_assert_cmpint(qvm_g_fmt(r->d, id, type, &pix), ==, 0);
    return pix;
}

/* Coded data is in the buffers of this type */
static uint32_t coded_type(Rig *r, uint32_t id)
{
    struct vm_pix_format_mplane pix = get_format(r, id, QVM_OUTPUT);

    return le32_to_cpu(pix.pixelformat) == VM_PIX_FMT_H264 ? QVM_OUTPUT :
                                                             QVM_CAPTURE;
}

/* REQBUFS; how many there are */
static uint32_t request(Rig *r, uint32_t id, uint32_t type, uint32_t memory,
                        uint32_t count)
{
    g_assert_cmpint(qvm_reqbufs(r->d, id, type, memory, &count), ==, 0);
    return count;
}

/* CREATE_BUFS of one more, with @size bytes */
static int create(Rig *r, uint32_t id, uint32_t type, uint32_t memory,
                  uint32_t size)
{
    struct vm_create_buffers wanted = {
        .count = cpu_to_le32(1),
        .memory = cpu_to_le32(memory),
        .format.type = cpu_to_le32(type),
        .format.pix_mp = get_format(r, id, type),
    };

    wanted.format.pix_mp.plane_fmt[0].sizeimage = cpu_to_le32(size);
    return qvm_ioctl(r->d, id, VM_IOC_CREATE_BUFS, &wanted, sizeof(wanted));
}

/* QBUF of USERPTR buffer 0, which has @n pieces, @size bytes in all */
static int qbuf(Rig *r, uint32_t id, uint32_t type, QVVEntry *entries,
                unsigned n, uint32_t size)
{
    QVVBuffer buf = { .size = size, .n_entries = n, .entries = entries };

    return qvm_qbuf(r->d, id, type, 0, VM_MEMORY_USERPTR, &buf, 0, 0);
}

static bool has_region(Rig *r)
{
    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return false;
    }
    return true;
}

/* max-streams is 2 here: a session counts when it has buffers */
static void test_streams(Rig *r)
{
    uint32_t a = open_session(r), b = open_session(r), c = open_session(r);
    uint32_t count = 1;

    request(r, a, QVM_OUTPUT, VM_MEMORY_USERPTR, 1);
    request(r, b, QVM_CAPTURE, VM_MEMORY_USERPTR, 1);
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        g_assert_cmpint(qvm_reqbufs(r->d, c, types[i], VM_MEMORY_USERPTR,
                                    &count), ==, VM_EBUSY);
        g_assert_cmpint(create(r, c, types[i], VM_MEMORY_USERPTR, 1 * MiB),
                        ==, VM_EBUSY);
    }
    g_assert_cmpint(qvm_close(r->d, a), ==, 0);
    g_assert_cmpuint(request(r, c, QVM_OUTPUT, VM_MEMORY_USERPTR, 1), ==, 1);
}

/* max-resources is 2 here */
static void test_resources(Rig *r)
{
    uint32_t id = open_session(r);

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        struct vm_buffer b;
        struct vm_plane p;

        g_assert_cmpuint(request(r, id, types[i], VM_MEMORY_USERPTR, 3), ==,
                         2);
        g_assert_cmpint(create(r, id, types[i], VM_MEMORY_USERPTR, 1 * MiB),
                        ==, VM_ENOBUFS);
        g_assert_cmpint(qvm_querybuf(r->d, id, types[i], 1, &b, &p), ==, 0);
        g_assert_cmpint(qvm_querybuf(r->d, id, types[i], 2, &b, &p), ==,
                        VM_EINVAL);
    }
}

/* max-entries is 4 here */
static void test_entries(Rig *r)
{
    uint32_t id = open_session(r);

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        struct vm_pix_format_mplane pix = get_format(r, id, types[i]);
        uint32_t size = le32_to_cpu(pix.plane_fmt[0].sizeimage);
        uint32_t piece = ROUND_UP(size / 4, QVV_PAGE_SIZE);
        uint64_t mem = guest_alloc(r->alloc, 10 * piece);
        QVVEntry entries[5];

        for (unsigned n = 0; n < ARRAY_SIZE(entries); n++) {
            entries[n] = (QVVEntry) { mem + n * 2 * piece, piece };
        }
        request(r, id, types[i], VM_MEMORY_USERPTR, 1);
        g_assert_cmpint(qbuf(r, id, types[i], entries, 5, 5 * piece), ==,
                        VM_EINVAL);
        g_assert_cmpint(qbuf(r, id, types[i], entries, 4, 4 * piece), ==, 0);
        guest_free(r->alloc, mem);
    }
    g_assert_cmpint(qvm_close(r->d, id), ==, 0);
}

/* max-width is 640 and max-height 480 here */
static void test_sizes(Rig *r)
{
    static const uint32_t over[][2] = { { 641, 480 }, { 640, 481 } };
    uint32_t id = open_session(r);

    for (unsigned i = 0; i < ARRAY_SIZE(over); i++) {
        struct vm_pix_format_mplane pix = get_format(r, id, QVM_OUTPUT);

        pix.width = cpu_to_le32(over[i][0]);
        pix.height = cpu_to_le32(over[i][1]);
        g_assert_cmpint(qvm_s_fmt(r->d, id, QVM_OUTPUT, &pix), ==, 0);
        g_assert_cmpuint(le32_to_cpu(pix.width), ==, 640);
        g_assert_cmpuint(le32_to_cpu(pix.height), ==, 480);
        pix = get_format(r, id, QVM_CAPTURE);
        g_assert_cmpuint(le32_to_cpu(pix.width), ==, 640);
        g_assert_cmpuint(le32_to_cpu(pix.height), ==, 480);
    }
}

/* max-coded-size is 8192 here */
static void test_coded_size(Rig *r)
{
    uint32_t id = open_session(r), type = coded_type(r, id);
    struct vm_pix_format_mplane pix = get_format(r, id, type);
    QVVEntry entry = { guest_alloc(r->alloc, 3 * QVV_PAGE_SIZE) };

    pix.plane_fmt[0].sizeimage = cpu_to_le32(8193);
    g_assert_cmpint(qvm_s_fmt(r->d, id, type, &pix), ==, 0);
    g_assert_cmpuint(le32_to_cpu(pix.plane_fmt[0].sizeimage), ==, 8192);
    request(r, id, type, VM_MEMORY_USERPTR, 1);
    entry.len = 8193;
    g_assert_cmpint(qbuf(r, id, type, &entry, 1, 8193), ==, VM_EINVAL);
    entry.len = 8192;
    g_assert_cmpint(qbuf(r, id, type, &entry, 1, 8192), ==, 0);
    g_assert_cmpint(qvm_close(r->d, id), ==, 0);

    if (r->v->pci) {
        id = open_session(r);
        g_assert_cmpint(create(r, id, type, VM_MEMORY_MMAP, 8193), ==,
                        VM_ENOMEM);
        g_assert_cmpint(create(r, id, type, VM_MEMORY_MMAP, 8192), ==, 0);
    }
}

/* hostmem is 128 KiB here */
static void test_hostmem(Rig *r)
{
    uint32_t id, type;

    if (!has_region(r)) {
        return;
    }
    id = open_session(r);
    type = coded_type(r, id);
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpint(create(r, id, type, VM_MEMORY_MMAP, 65536), ==, 0);
    }
    g_assert_cmpint(create(r, id, type, VM_MEMORY_MMAP, 65536), ==,
                    VM_ENOMEM);
    g_assert_cmpuint(request(r, id, type, VM_MEMORY_MMAP, 3), ==, 2);
}

/* max-mem is 1 MiB here */
static void test_memory(Rig *r)
{
    const int64_t chunk = 64 * KiB, max = 1 * MiB;
    uint32_t id, type;
    int64_t took, left;
    unsigned n;

    if (!has_region(r)) {
        return;
    }
    id = open_session(r);
    type = coded_type(r, id);
    left = max - memory_used(r);
    g_assert_cmpint(create(r, id, type, VM_MEMORY_MMAP, 4096), ==, 0);
    took = left - (max - memory_used(r));
    g_assert_cmpint(took, >=, chunk);
    left -= took;
    for (n = 1; !create(r, id, type, VM_MEMORY_MMAP, 4096); n++) {
        g_assert_cmpint(left, >=, took);
        left -= took;
    }
    g_assert_cmpint(left, <, took);
    g_assert_cmpint(max - memory_used(r), ==, left);
    /* It's given back */
    request(r, id, type, VM_MEMORY_MMAP, 0);
    g_assert_cmpuint(request(r, id, type, VM_MEMORY_MMAP, n + 1), ==, n);
}

/* QBUF of USERPTR buffer @index in @n pieces, the last of which would do */
static int qbuf_pieces(Rig *r, uint32_t id, uint32_t index, uint64_t mem,
                       unsigned n, uint32_t size)
{
    g_autofree QVVEntry *entries = g_new(QVVEntry, n);
    QVVBuffer buf = { .n_entries = n, .entries = entries };

    for (unsigned i = 0; i < n; i++) {
        entries[i] = (QVVEntry) { mem + 2 * i, i < n - 1 ? 1 : size };
        buf.size += entries[i].len;
    }
    return qvm_qbuf(r->d, id, QVM_OUTPUT, index, VM_MEMORY_USERPTR, &buf, 0,
                    0);
}

/*
 * max-mem is 128 KiB here: when nothing of it is left, a control stays what it
 * was and the guest is told so, and who opens a session gets a whole one or
 * none.
 */
static void test_controls(Rig *r)
{
    const uint32_t bitrate = VIRTIO_VIDEO_V4L2_CID_BITRATE;
    uint32_t id = open_session(r), other = open_session(r), more, value;
    uint32_t size = le32_to_cpu(get_format(r, id, QVM_OUTPUT).
                                plane_fmt[0].sizeimage);
    uint64_t mem = guest_alloc(r->alloc, size + 4096);
    struct vm_ext_control c[] = {
        { .id = cpu_to_le32(bitrate), .value = cpu_to_le64(2345678) },
    };
    uint32_t index = 0, n_bufs, error_idx;

    g_assert_cmpint(qvm_s_ctrl(r->d, id, bitrate, 1234567), ==, 0);
    g_assert_cmpint(qvm_subscribe(r->d, id, VM_EVENT_CTRL, bitrate,
                                  VM_EVENT_SUB_FL_ALLOW_FEEDBACK), ==, 0);
    n_bufs = request(r, id, QVM_OUTPUT, VM_MEMORY_USERPTR, 32);
    while (!qvm_open(r->d, &more)) {
        /* as many as there can be */
    }
    for (unsigned n = 1024; n; n /= 2) {
        while (!qbuf_pieces(r, id, index, mem, n, size)) {
            g_assert_cmpuint(++index, <, n_bufs);
        }
    }

    g_assert_cmpint(qvm_s_ctrl(r->d, id, bitrate, 2345678), ==, VM_EBUSY);
    g_assert_cmpint(qvm_g_ctrl(r->d, id, bitrate, &value), ==, 0);
    g_assert_cmpuint(value, ==, 1234567);
    g_assert_cmpint(qvm_ext_ctrls(r->d, id, VM_IOC_S_EXT_CTRLS, c, 1,
                                  &error_idx), ==, VM_EBUSY);
    g_assert_cmpuint(error_idx, ==, 0);
    g_assert_cmpint(qvm_g_ctrl(r->d, id, bitrate, &value), ==, 0);
    g_assert_cmpuint(value, ==, 1234567);

    /* What it leaves is enough for another, but for its parameters */
    g_assert_cmpint(qvm_close(r->d, other), ==, 0);
    g_assert_cmpint(qvm_open(r->d, &more), ==, VM_EBUSY);

    request(r, id, QVM_OUTPUT, VM_MEMORY_USERPTR, 0);
    g_assert_cmpint(qvm_s_ctrl(r->d, id, bitrate, 2345678), ==, 0);
    g_assert_cmpint(qvm_g_ctrl(r->d, id, bitrate, &value), ==, 0);
    g_assert_cmpuint(value, ==, 2345678);
    g_assert_cmpint(qvm_open(r->d, &more), ==, 0);
    guest_free(r->alloc, mem);
}

#define ENCODER_ROLE ",role=encoder"

static const TestCase cases[] = {
    { "media/limits/streams", test_streams, ",max-streams=2" },
    { "media/limits/encoder-streams", test_streams,
      ENCODER_ROLE ",max-streams=2" },
    { "media/limits/resources", test_resources, ",max-resources=2" },
    { "media/limits/encoder-resources", test_resources,
      ENCODER_ROLE ",max-resources=2" },
    { "media/limits/entries", test_entries, ",max-entries=4" },
    { "media/limits/encoder-entries", test_entries,
      ENCODER_ROLE ",max-entries=4" },
    { "media/limits/sizes", test_sizes, SMALL_FRAMES },
    { "media/limits/encoder-sizes", test_sizes, ENCODER_ROLE SMALL_FRAMES },
    { "media/limits/coded-size", test_coded_size, ",max-coded-size=8192" },
    { "media/limits/encoder-coded-size", test_coded_size,
      ENCODER_ROLE ",max-coded-size=8192" },
    { "media/limits/hostmem", test_hostmem,
      ",hostmem=128K,max-coded-size=65536" },
    { "media/limits/encoder-hostmem", test_hostmem,
      ENCODER_ROLE ",hostmem=128K,max-coded-size=65536" },
    { "media/limits/memory", test_memory, ",max-mem=1M,max-coded-size=4096" },
    { "media/limits/encoder-controls", test_controls,
      ENCODER_ROLE ",max-mem=128K" },
    { "media/limits/encoder-memory", test_memory,
      ENCODER_ROLE ",max-mem=1M,max-coded-size=4096" },
};

static void register_virtio_media_limits_tests(void)
{
    virtio_media_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_media_limits_tests);
