/*
 * QTest testcases for virtio-media: drivers that break the rules
 *
 * A request that is no request breaks the device until a reset, one with wrong
 * values is answered; neither does anything to QEMU, or to other sessions.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "standard-headers/linux/virtio_pci.h"
#include "virtio-media-fixture.h"

static const uint32_t all_ioctls[] = {
    VM_IOC_ENUM_FMT, VM_IOC_G_FMT, VM_IOC_S_FMT, VM_IOC_REQBUFS,
    VM_IOC_QUERYBUF, VM_IOC_QBUF, VM_IOC_STREAMON, VM_IOC_STREAMOFF,
    VM_IOC_G_PARM, VM_IOC_S_PARM, VM_IOC_G_CTRL, VM_IOC_S_CTRL,
    VM_IOC_QUERYCTRL, VM_IOC_QUERYMENU, VM_IOC_TRY_FMT, VM_IOC_G_EXT_CTRLS,
    VM_IOC_S_EXT_CTRLS, VM_IOC_TRY_EXT_CTRLS, VM_IOC_ENUM_FRAMESIZES,
    VM_IOC_ENUM_FRAMEINTERVALS, VM_IOC_ENCODER_CMD, VM_IOC_TRY_ENCODER_CMD,
    VM_IOC_SUBSCRIBE_EVENT, VM_IOC_UNSUBSCRIBE_EVENT, VM_IOC_CREATE_BUFS,
    VM_IOC_PREPARE_BUF, VM_IOC_G_SELECTION, VM_IOC_S_SELECTION,
    VM_IOC_DECODER_CMD, VM_IOC_TRY_DECODER_CMD, VM_IOC_QUERY_EXT_CTRL,
};

static int64_t raw(Rig *r, const void *req, size_t len, size_t room)
{
    g_autofree uint8_t *resp = g_malloc0(room + 1);

    return qvv_cmd_raw(r->d, req, len, 0, resp, room, QUIET);
}

static void test_short_commands(Rig *r)
{
    uint32_t cmds[] = { 1, 2, 3, 4, 5 };
    uint32_t sizes[] = { 8, 16, 16, 20, 16 };

    for (unsigned i = 0; i < ARRAY_SIZE(cmds); i++) {
        uint32_t cmd[8] = { cpu_to_le32(cmds[i]) };

        g_assert_cmpint(raw(r, cmd, sizes[i] - 1, 64), ==, -1);
        assert_broken_then_restart(r, NULL);
    }
}

/* There is nowhere to say what is wrong */
static void test_no_room_for_answer(Rig *r)
{
    uint32_t cmd[5] = { cpu_to_le32(VIRTIO_MEDIA_CMD_OPEN) };

    g_assert_cmpint(raw(r, cmd, 8, 7), ==, -1);
    assert_broken_then_restart(r, NULL);
    cmd[0] = cpu_to_le32(VIRTIO_MEDIA_CMD_MMAP);
    g_assert_cmpint(raw(r, cmd, 20, 0), ==, -1);
    assert_broken_then_restart(r, NULL);
    assert_media_works(r);
}

static void test_unknown_command(Rig *r)
{
    uint32_t cmd[8] = { cpu_to_le32(77) };
    uint32_t resp[2] = { 0 };

    g_assert_cmpint(qvv_cmd_raw(r->d, cmd, sizeof(cmd), 0, resp, sizeof(resp),
                                SOON), ==, 8);
    g_assert_cmpuint(le32_to_cpu(resp[0]), ==, VM_ENOTTY);
    assert_media_works(r);
}

static void test_unknown_ioctl(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    uint8_t payload[256] = { 0 };

    for (uint32_t code = 0; code < 256; code++) {
        bool known = false;

        for (unsigned i = 0; i < ARRAY_SIZE(all_ioctls); i++) {
            known |= all_ioctls[i] == code;
        }
        if (!known) {
            g_assert_cmpint(qvm_ioctl(r->d, s->id, code, payload,
                                      sizeof(payload)), ==, VM_ENOTTY);
        }
    }
    g_assert_cmpint(qvm_ioctl(r->d, s->id, UINT32_MAX, payload, 8), ==,
                    VM_ENOTTY);
}

static void test_unknown_session(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_pix_format_mplane pix = { };
    uint32_t ids[] = { s->id + 1, s->id + 256, UINT32_MAX };

    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        g_assert_cmpint(qvm_g_fmt(r->d, ids[i], QVM_OUTPUT, &pix), ==,
                        VM_EINVAL);
        g_assert_cmpint(qvm_close(r->d, ids[i]), ==, 0);
    }
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_OUTPUT, &pix), ==, 0);
}

static void test_short_payloads(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    uint8_t payload[300] = { 0 };
    uint8_t answer[300];

    for (unsigned i = 0; i < ARRAY_SIZE(all_ioctls); i++) {
        for (size_t size = 0; size < 4; size++) {
            g_assert_cmpint(qvm_ioctl_parts(r->d, s->id, all_ioctls[i],
                                            payload, size, answer,
                                            sizeof(answer), NULL), ==,
                            VM_EINVAL);
        }
    }
}

/* Nothing is done if the answer has no place */
static void test_short_answers(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_requestbuffers req = {
        .count = cpu_to_le32(4),
        .type = cpu_to_le32(QVM_OUTPUT),
        .memory = cpu_to_le32(VM_MEMORY_USERPTR),
    };
    struct vm_buffer b;
    struct vm_plane p;

    g_assert_cmpint(qvm_ioctl_parts(r->d, s->id, VM_IOC_REQBUFS, &req,
                                    sizeof(req), &req, sizeof(req) - 1, NULL),
                    ==, VM_EINVAL);
    g_assert_cmpint(qvm_querybuf(r->d, s->id, QVM_OUTPUT, 0, &b, &p), ==,
                    VM_EINVAL);
}

static void test_planes(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    struct {
        struct vm_buffer b;
        struct vm_plane p[9];
    } buf = {
        .b.index = cpu_to_le32(2),
        .b.type = cpu_to_le32(QVM_OUTPUT),
        .b.memory = cpu_to_le32(VM_MEMORY_USERPTR),
    };
    uint32_t lengths[] = { 0, 9, UINT32_MAX };

    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        buf.b.length = cpu_to_le32(lengths[i]);
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QBUF, &buf,
                                  sizeof(buf)), ==, VM_EINVAL);
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERYBUF, &buf,
                                  sizeof(buf)), ==, VM_EINVAL);
    }
    /* More than what is there */
    buf.b.length = cpu_to_le32(3);
    g_assert_cmpint(qvm_ioctl_parts(r->d, s->id, VM_IOC_QUERYBUF, &buf,
                                    sizeof(buf.b) + 2 * sizeof(buf.p[0]),
                                    &buf, sizeof(buf), NULL), ==, VM_EINVAL);
    assert_session_decodes(s, 9);
}

static void test_ext_controls_count(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_ext_controls ec = { .count = cpu_to_le32(UINT32_MAX) };

    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_G_EXT_CTRLS, &ec,
                              sizeof(ec)), ==, VM_EINVAL);
}

/* Memory that is none, or not the guest's RAM */
static void test_userptr_memory(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    uint64_t size;
    uint64_t region = qvm_region(r->v, &size);
    uint64_t addrs[] = { UINT64_MAX, UINT64_MAX - 4095, 1ull << 45,
                         region ?: 1ull << 46 };

    for (unsigned i = 0; i < ARRAY_SIZE(addrs); i++) {
        QVVEntry entry = { addrs[i], 4096 };
        QVVBuffer buf = { .size = 4096, .n_entries = 1, .entries = &entry };

        g_assert_cmpint(qvm_qbuf(r->d, s->id, QVM_OUTPUT, 2,
                                 VM_MEMORY_USERPTR, &buf, 40, 0), ==,
                        VM_EINVAL);
    }
    assert_session_decodes(s, 9);
}

/* A window is RAM, but a buffer in it would outlive what is there */
static void test_userptr_in_window(Rig *r)
{
    uint64_t size, addr, len, region;
    struct vm_buffer b;
    struct vm_plane p;

    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    g_autoptr(Session) other = session_open(r);
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    start_output(other, VM_MEMORY_MMAP);
    g_assert_cmpint(qvm_querybuf(r->d, other->id, QVM_OUTPUT, 0, &b, &p), ==,
                    0);
    g_assert_cmpint(qvm_mmap(r->d, other->id, le64_to_cpu(p.m), &addr, &len),
                    ==, 0);
    region = qvm_region(r->v, &size);
    for (unsigned inside = 0; inside < 2; inside++) {
        uint64_t ram = guest_alloc(r->alloc, 4096);
        /* All of it, or only its second half */
        QVVEntry entries[] = {
            { inside ? ram : region + addr + 2048, 2048 },
            { region + addr, 2048 },
        };
        QVVBuffer buf = { .size = 4096, .n_entries = 2, .entries = entries };

        g_assert_cmpint(qvm_qbuf(r->d, s->id, QVM_OUTPUT, 2,
                                 VM_MEMORY_USERPTR, &buf, 40, 0), ==,
                        VM_EINVAL);
        guest_free(r->alloc, ram);
    }
    g_assert_cmpint(qvm_munmap(r->d, addr), ==, 0);
    assert_session_decodes(s, 9);
}

static void test_too_long(Rig *r)
{
    const size_t size = 600 * 1024;
    g_autofree uint32_t *cmd = g_malloc0(size);
    uint32_t resp[2] = { 0 };

    cmd[0] = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL);
    cmd[3] = cpu_to_le32(VM_IOC_QBUF);
    g_assert_cmpint(qvv_cmd_raw(r->d, cmd, size, 0, resp, sizeof(resp),
                                QVV_TIMEOUT_US), ==, 8);
    g_assert_cmpuint(le32_to_cpu(resp[0]), ==, VM_EINVAL);
    assert_media_works(r);
}

/*
 * The driver has one buffer for both directions of a payload, split over
 * descriptors: what was asked must be read before anything is answered.
 */
static void test_shared_payload(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct virtio_media_cmd_ioctl cmd = {
        .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL),
        .session_id = cpu_to_le32(s->id),
        .code = cpu_to_le32(VM_IOC_ENUM_FMT),
    };
    struct vm_fmtdesc desc = {
        .index = cpu_to_le32(1), .type = cpu_to_le32(QVM_CAPTURE),
    };
    uint64_t mem = guest_alloc(r->alloc, 4096);
    uint64_t payload = mem + 64, resp = mem + 32;
    QVVDesc chain[] = {
        { mem, 10 }, { mem + 10, 6 },
        { payload, 5 }, { payload + 5, 59 },
        { resp, 3, true }, { resp + 3, 5, true },
        { payload, 2, true }, { payload + 2, 62, true },
    };
    int64_t end = g_get_monotonic_time() + SOON;
    uint16_t head;
    uint32_t len = 0;

    qvv_ram_write(&r->d->ram, mem, &cmd, sizeof(cmd));
    qvv_ram_write(&r->d->ram, payload, &desc, sizeof(desc));
    g_assert_cmpint(qvv_queue_add(r->d, &r->d->cmdq, chain,
                                  ARRAY_SIZE(chain)), >=, 0);
    qvv_queue_kick(r->d, &r->d->cmdq);
    while (!qvv_queue_pop(r->d, &r->d->cmdq, &head, &len)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS);
    }
    g_assert_cmpuint(len, ==, 8 + sizeof(desc));
    qvv_ram_read(&r->d->ram, payload, &desc, sizeof(desc));
    g_assert_cmpuint(le32_to_cpu(desc.index), ==, 1);
    g_assert_cmphex(le32_to_cpu(desc.pixelformat), ==, VIDEO_TEST_YUV420);
    guest_free(r->alloc, mem);
}

/* Buffers that go away while the codec has them */
static void test_take_away(Rig *r)
{
    uint32_t none = 0;

    for (unsigned i = 0; i < 4; i++) {
        g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH,
                                             HEIGHT);

        PUT_MEDIA(s, 2, 4, insn(VIDEO_TEST_SLOW_EMIT, 30), frame(1), frame(2),
                  frame(3));
        g_usleep(10 * MS);
        g_assert_cmpint(qvm_reqbufs(r->d, s->id, i % 2 ? QVM_CAPTURE :
                                    QVM_OUTPUT, s->memory, &none), ==, 0);
        if (i > 1) {
            struct vm_pix_format_mplane pix = {
                .pixelformat = cpu_to_le32(VM_PIX_FMT_VP8),
            };

            g_assert_cmpint(qvm_reqbufs(r->d, s->id, i % 2 ? QVM_OUTPUT :
                                        QVM_CAPTURE, s->memory, &none), ==,
                            0);
            g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &pix), ==, 0);
        }
    }
    assert_media_works(r);
}

/* Whoever changes formats in a hurry leaves workers behind: not too many */
static void test_many_restarts(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_pix_format_mplane pix = { };
    unsigned threads = n_threads(r->qts);
    uint32_t none = 0;
    int ret = 0;

    for (unsigned i = 0; i < 40 && !ret; i++) {
        start_output(s, VM_MEMORY_USERPTR);
        PUT_MEDIA(s, 2, 4, insn(VIDEO_TEST_HANG_HARD, 2000));
        g_usleep(2 * MS);
        g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_OUTPUT, s->memory,
                                    &none), ==, 0);
        qvv_pool_free(r->d, s->out);
        s->out = NULL;
        ret = qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &pix);
    }
    g_assert_cmpint(ret, ==, VM_EBUSY);
    g_assert_cmpuint(n_threads(r->qts), <=, threads + 8);
}

/* Buffers that are gone leave a worker behind: it counts, too */
static void test_workers_without_buffers(Rig *r)
{
    g_autoptr(Session) a = session_open(r);
    g_autoptr(Session) b = session_open(r);
    struct vm_pix_format_mplane pix = { };
    unsigned threads = n_threads(r->qts);
    uint32_t count = 0;

    start_output(a, VM_MEMORY_USERPTR);
    PUT_MEDIA(a, 0, 0, HEADER);
    expect_buffer(a, QVM_OUTPUT, 0);
    g_assert_cmpint(qvm_reqbufs(r->d, a->id, QVM_OUTPUT, a->memory, &count),
                    ==, 0);
    g_assert_cmpuint(n_threads(r->qts), ==, threads + 1);
    count = 1;
    g_assert_cmpint(qvm_reqbufs(r->d, b->id, QVM_OUTPUT, VM_MEMORY_USERPTR,
                                &count), ==, VM_EBUSY);
    /* It may have new ones itself, and a new format ends the worker */
    count = 1;
    g_assert_cmpint(qvm_reqbufs(r->d, a->id, QVM_OUTPUT, a->memory, &count),
                    ==, 0);
    count = 0;
    g_assert_cmpint(qvm_reqbufs(r->d, a->id, QVM_OUTPUT, a->memory, &count),
                    ==, 0);
    g_assert_cmpint(qvm_s_fmt(r->d, a->id, QVM_OUTPUT, &pix), ==, 0);
    count = 1;
    g_assert_cmpint(qvm_reqbufs(r->d, b->id, QVM_OUTPUT, VM_MEMORY_USERPTR,
                                &count), ==, 0);
}

/*
 * max-streams is 2 here: so many codecs can hang behind sessions that were
 * closed, and those that have failed give no room for more, open as they are.
 */
static void test_hangs_beside_failures(Rig *r)
{
    Session *failed[8];
    uint32_t id = 0;
    unsigned n = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(failed); i++) {
        uint32_t none = 0;

        failed[i] = session_open(r);
        start_output(failed[i], VM_MEMORY_USERPTR);
        PUT_MEDIA(failed[i], 0, 0, fail("of no use"));
        expect_buffer(failed[i], QVM_OUTPUT, VM_BUF_FLAG_ERROR);
        expect_event(failed[i], VM_EVENT_EOS);
        g_assert_cmpint(qvm_reqbufs(r->d, failed[i]->id, QVM_OUTPUT,
                                    VM_MEMORY_USERPTR, &none), ==, 0);
    }
    /* One that has not begun to hang is no hindrance: it may take some more */
    while (n < ARRAY_SIZE(failed) && !qvm_open(r->d, &id)) {
        g_assert_cmpint(qvm_close(r->d, id), ==, 0);
        Session *s = session_open(r);

        start_output(s, VM_MEMORY_USERPTR);
        PUT_MEDIA(s, 0, 0, insn(VIDEO_TEST_HANG_HARD, 3000));
        g_usleep(50 * MS);
        session_free(s);
        n++;
    }
    g_assert_cmpuint(n, >=, 2);
    g_assert_cmpuint(n, <, ARRAY_SIZE(failed));
    for (unsigned i = 0; i < ARRAY_SIZE(failed); i++) {
        session_free(failed[i]);
    }
}

/* Any bytes as any ioctl, in a session that works */
static void test_random(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);
    uint32_t types[] = { QVM_OUTPUT, QVM_CAPTURE };
    uint8_t payload[400], answer[400];

    for (unsigned i = 0; i < 4000; i++) {
        uint32_t code = all_ioctls[g_test_rand_int_range(0,
                                               ARRAY_SIZE(all_ioctls))];
        size_t size = g_test_rand_int_range(4, sizeof(payload));

        for (size_t at = 0; at < size; at++) {
            payload[at] = g_test_rand_bit() ? 0 : g_test_rand_int();
        }
        /* Small numbers, and a type that exists, get further */
        for (size_t at = 0; at + 4 <= 24 && at + 4 <= size; at += 4) {
            if (g_test_rand_int_range(0, 3)) {
                stl_le_p(payload + at, g_test_rand_bit() ?
                         types[g_test_rand_bit()] :
                         g_test_rand_int_range(0, 5));
            }
        }
        g_assert_cmpint(qvm_ioctl_parts(r->d, s->id, code, payload, size,
                                        answer, sizeof(answer), NULL), !=,
                        QVM_NO_ANSWER);
    }
    /* It may have asked for all of the region's memory */
    session_free(g_steal_pointer(&s));
    assert_media_works(r);
}

/* A driver that gives no event buffers back is not served any more */
static void test_no_event_buffers(Rig *r)
{
    uint32_t id;
    unsigned n;

    g_assert_cmpint(qvm_open(r->d, &id), ==, 0);
    for (n = 0; n < 40; n++) {
        struct virtio_media_cmd_ioctl cmd = {
            .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL),
            .session_id = cpu_to_le32(id),
            .code = cpu_to_le32(VM_IOC_SUBSCRIBE_EVENT),
        };
        struct vm_event_subscription sub = {
            .type = cpu_to_le32(VM_EVENT_CTRL),
            .id = cpu_to_le32(VM_CID_MIN_BUFFERS_FOR_CAPTURE),
            .flags = cpu_to_le32(VM_EVENT_SUB_FL_SEND_INITIAL),
        };
        g_autoptr(GByteArray) req = g_byte_array_new();
        uint64_t resp;

        g_byte_array_append(req, (uint8_t *)&cmd, sizeof(cmd));
        g_byte_array_append(req, (uint8_t *)&sub, sizeof(sub));
        if (qvv_cmd_raw(r->d, req->data, req->len, 0, &resp, sizeof(resp),
                        QUIET) < 0) {
            break;
        }
    }
    g_assert_cmpuint(n, ==, 4);
    restart(r);
    assert_media_works(r);
}

/*
 * A STREAMOFF whose answer waits, because the driver keeps an event buffer, and
 * then goes to the register with which the device is reset: it is not written.
 */
static void test_held_answer_to_register(Rig *r)
{
    QVirtioPCIDevice *pci = r->v->pci;
    struct {
        struct virtio_media_cmd_ioctl cmd;
        uint32_t type;
    } QEMU_PACKED req = {
        .cmd.hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL),
        .cmd.code = cpu_to_le32(VM_IOC_STREAMOFF),
        .type = cpu_to_le32(QVM_OUTPUT),
    };
    uint64_t mem = guest_alloc(r->alloc, 4096);
    QVVDesc chain[] = { { mem, sizeof(req) }, { 0, 8, true } };
    int64_t end = g_get_monotonic_time() + SOON;
    uint16_t head;
    uint32_t id;

    if (!pci) {
        g_test_skip("without PCI, registers are where the machine wants");
        return;
    }
    chain[1].addr = pci->bar.addr + pci->common_cfg_offset +
                    VIRTIO_PCI_COMMON_STATUS;
    qvv_post_events(r->d, 4);
    g_assert_cmpint(qvm_open(r->d, &id), ==, 0);
    g_assert_cmpint(qvm_subscribe(r->d, id, VM_EVENT_CTRL,
                                  VM_CID_MIN_BUFFERS_FOR_CAPTURE,
                                  VM_EVENT_SUB_FL_SEND_INITIAL), ==, 0);
    req.cmd.session_id = cpu_to_le32(id);
    qvv_ram_write(&r->d->ram, mem, &req, sizeof(req));
    g_assert_cmpint(qvv_queue_add(r->d, &r->d->cmdq, chain, 2), >=, 0);
    qvv_queue_kick(r->d, &r->d->cmdq);
    while (!qvv_queue_pop(r->d, &r->d->cmdq, &head, NULL)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS);
    }
    g_assert_cmphex(r->d->vdev->bus->get_status(r->d->vdev) &
                    VIRTIO_CONFIG_S_DRIVER_OK, !=, 0);
    guest_free(r->alloc, mem);
    restart(r);
    assert_media_works(r);
}

/*
 * Event buffers that are all the same indirect table, as long as it can be, of
 * descriptors without a byte: nobody follows it only to see whether there are
 * buffers.
 */
#define N_TABLE     65536
#define N_OPENS     16

static void test_endless_event_buffers(Rig *r)
{
    QVVQueue *q = &r->d->eventq;
    uint64_t table = guest_alloc(r->alloc, N_TABLE * sizeof(struct vring_desc));
    g_autofree struct vring_desc *desc = g_new0(struct vring_desc, N_TABLE);
    struct vring_desc head = {
        .addr = cpu_to_le64(table),
        .len = cpu_to_le32(N_TABLE * sizeof(struct vring_desc)),
        .flags = cpu_to_le16(VRING_DESC_F_INDIRECT),
    };
    int64_t start;

    for (unsigned i = 0; i < N_TABLE; i++) {
        desc[i].addr = cpu_to_le64(table);
        desc[i].flags = cpu_to_le16(VRING_DESC_F_WRITE |
                                    (i + 1 < N_TABLE ? VRING_DESC_F_NEXT : 0));
        desc[i].next = cpu_to_le16(i + 1);
    }
    qvv_ram_write(&r->d->ram, table, desc, N_TABLE * sizeof(desc[0]));
    for (unsigned i = 0; i < q->vq->size; i++) {
        uint16_t index = cpu_to_le16(i);

        qvv_ram_write(&r->d->ram, q->vq->desc + i * sizeof(head), &head,
                      sizeof(head));
        qvv_ram_write(&r->d->ram, q->vq->avail + 4 + 2 * i, &index, 2);
    }
    qvv_ram_write(&r->d->ram, q->vq->avail + 2,
                  (uint16_t []) { cpu_to_le16(q->vq->size) }, 2);
    start = g_get_monotonic_time();
    for (unsigned i = 0; i < N_OPENS; i++) {
        uint32_t id;

        g_assert_cmpint(qvm_open(r->d, &id), ==, 0);
        g_assert_cmpint(qvm_streamoff(r->d, id, QVM_OUTPUT), ==, 0);
    }
    g_assert_cmpint(g_get_monotonic_time() - start, <, G_USEC_PER_SEC);
    restart(r);
    guest_free(r->alloc, table);
    assert_media_works(r);
}

/*
 * Loops and floods, and codecs that hang, each in a QEMU of its own
 */

/* Those that were closed before may not have ended yet */
static uint32_t open_soon(QVVDriver *d)
{
    int64_t end = g_get_monotonic_time() + SOON;
    uint32_t id;
    int ret;

    while ((ret = qvm_open(d, &id)) == VM_EBUSY) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS);
    }
    g_assert_cmpint(ret, ==, 0);
    return id;
}

/* A session whose codec does that */
static Session *scripted_session(Rig *r, VideoTestInsn what)
{
    Session *s = g_new0(Session, 1);

    s->d = r->d;
    s->v = r->v;
    s->id = open_soon(r->d);
    start_output(s, VM_MEMORY_USERPTR);
    PUT_MEDIA(s, 0, 0, what);
    return s;
}

/* It was closed, in one way or another */
static void session_forget(Session *s)
{
    qvv_pool_free(s->d, s->out);
    g_free(s);
}

static void drop_events(QVVDriver *d)
{
    QVMEvent ev;

    while (qvm_next_any(d, &ev, 0)) {
        /* Nobody cares */
    }
}

/* With the next kick; does not wait for the answer, as qvm_close() does */
static void queue_close(QVVDriver *d, uint64_t mem, uint32_t id)
{
    const struct virtio_media_cmd_close cmd = {
        .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_CLOSE),
        .session_id = cpu_to_le32(id),
    };
    const QVVDesc chain[] = { { mem, sizeof(cmd) } };

    qvv_ram_write(&d->ram, mem, &cmd, sizeof(cmd));
    g_assert_cmpint(qvv_queue_add(d, &d->cmdq, chain, 1), >=, 0);
}

/*
 * As many as can have a codec, which half of them do.  QMP is to answer while
 * they are at work, and while the device has all of them to close.
 */
static void open_and_close_all(Rig *r, uint64_t mem, Watch *w)
{
    Session *sessions[MAX_STREAMS / 2];

    for (unsigned i = 0; i < ARRAY_SIZE(sessions); i++) {
        sessions[i] = scripted_session(r, HEADER);
        queue_close(r->d, mem, open_soon(r->d));
        mem += sizeof(struct virtio_media_cmd_close);
    }
    watch(w);
    for (unsigned i = 0; i < ARRAY_SIZE(sessions); i++) {
        queue_close(r->d, mem, sessions[i]->id);
        mem += sizeof(struct virtio_media_cmd_close);
    }
    qvv_queue_kick(r->d, &r->d->cmdq);
    watch(w);
    wait_commands(r->d);
    for (unsigned i = 0; i < ARRAY_SIZE(sessions); i++) {
        session_forget(sessions[i]);
    }
    drop_events(r->d);
    wait_threads(r, r->threads);
}

static void test_many_sessions(Rig *rig)
{
    uint64_t mem;
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    mem = guest_alloc(h.r->alloc, QVV_PAGE_SIZE);
    watch_start(&w, h.r);
    for (unsigned i = 0; i < MANY; i += MAX_STREAMS) {
        if (i == SETTLED) {
            watch_settled(&w);
        }
        open_and_close_all(h.r, mem, &w);
    }
    watch_end(&w);
    guest_free(h.r->alloc, mem);
    assert_media_works(h.r);
    hostile_end(&h);
}

static void test_many_resets(Rig *rig)
{
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    watch_start(&w, h.r);
    for (unsigned i = 0; i < MANY; i++) {
        Session *s = NULL;

        if (i == SETTLED) {
            watch_settled(&w);
        }
        open_soon(h.r->d);
        if (i % 50 == 0) {
            s = scripted_session(h.r, insn(VIDEO_TEST_HANG, 0));
            watch(&w);
        }
        watch_reset(&w);
        if (s) {
            session_forget(s);
        }
        start(h.r, NULL);
    }
    watch_end(&w);
    assert_media_works(h.r);
    hostile_end(&h);
}

#define FLOOD_SLOT      512
#define FLOOD_SESSIONS  4

/* An ioctl, or another command, at @mem with room for an answer behind it */
static void flood_command(QVVDriver *d, uint64_t mem, const uint32_t *ids)
{
    static const uint32_t cmds[] = {
        VIRTIO_MEDIA_CMD_OPEN, VIRTIO_MEDIA_CMD_CLOSE, VIRTIO_MEDIA_CMD_MMAP,
        VIRTIO_MEDIA_CMD_MUNMAP, VIRTIO_MEDIA_CMD_MMAP,
        VIRTIO_MEDIA_CMD_MUNMAP, VIRTIO_MEDIA_CMD_MMAP,
        VIRTIO_MEDIA_CMD_MUNMAP,
    };
    uint32_t req[FLOOD_SLOT / 8] = { };
    QVVDesc chain[] = {
        { mem, sizeof(req) }, { mem + sizeof(req), sizeof(req), true },
    };

    for (unsigned i = 4; i < ARRAY_SIZE(req); i++) {
        req[i] = cpu_to_le32(g_test_rand_int_range(0, 6));
    }
    req[0] = cpu_to_le32(g_test_rand_int_range(0, 16) ?
                         VIRTIO_MEDIA_CMD_IOCTL :
                         cmds[g_test_rand_int_range(0, ARRAY_SIZE(cmds))]);
    req[2] = cpu_to_le32(ids[g_test_rand_int_range(0, FLOOD_SESSIONS)]);
    req[3] = cpu_to_le32(all_ioctls[g_test_rand_int_range(0,
                                             ARRAY_SIZE(all_ioctls))]);
    /* The first one stays open, and tells of a control again and again */
    if (req[2] == cpu_to_le32(ids[0])) {
        struct vm_event_subscription sub = {
            .type = cpu_to_le32(VM_EVENT_CTRL),
            .id = cpu_to_le32(VM_CID_MIN_BUFFERS_FOR_CAPTURE),
            .flags = cpu_to_le32(VM_EVENT_SUB_FL_SEND_INITIAL),
        };

        req[0] = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL);
        req[3] = cpu_to_le32(VM_IOC_SUBSCRIBE_EVENT);
        memcpy(&req[4], &sub, sizeof(sub));
    }
    qvv_ram_write(&d->ram, mem, req, sizeof(req));
    g_assert_cmpint(qvv_queue_add(d, &d->cmdq, chain, 2), >=, 0);
}

/*
 * Until the device takes no more, and then some; it is stopped then.
 * Returns: how many it took
 */
static unsigned flood(Rig *r, uint64_t mem, Watch *w)
{
    QVVDriver *d = r->d;
    unsigned slots = d->cmdq.vq->size / 2, n = 0;
    Session *sessions[FLOOD_SESSIONS];
    uint32_t ids[FLOOD_SESSIONS];

    for (unsigned i = 0; i < FLOOD_SESSIONS; i++) {
        sessions[i] = scripted_session(r, insn(i % 2 ? VIDEO_TEST_HANG :
                                               VIDEO_TEST_DELAY, 2));
        ids[i] = sessions[i]->id;
    }
    for (unsigned stuck = 0; stuck < 50;) {
        while (qvv_cmds_in_flight(d) < 2 * slots) {
            flood_command(d, mem + n++ % slots * FLOOD_SLOT, ids);
        }
        g_assert_cmpuint(n, <, 20 * MAX_EVENTS);
        qvv_queue_kick(d, &d->cmdq);
        d->vdev->bus->virtqueue_kick(d->vdev, d->cmdq.vq);
        d->vdev->bus->virtqueue_kick(d->vdev, d->eventq.vq);
        /* Its answer is long with many sessions */
        stuck += stuck || query_number(r, "events-waiting") >= MAX_EVENTS;
        watch(w);
    }
    g_assert_cmpuint(qvv_cmds_in_flight(d), ==, 2 * slots);
    watch_reset(w);
    for (unsigned i = 0; i < FLOOD_SESSIONS; i++) {
        session_forget(sessions[i]);
    }
    return n - slots;
}

static void test_flood_silent(Rig *rig)
{
    const QVVOptions silent = { .manual_events = true };
    unsigned taken = 0;
    uint64_t mem;
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", &silent);
    mem = guest_alloc(h.r->alloc, h.r->d->cmdq.vq->size * FLOOD_SLOT);
    watch_start(&w, h.r);
    for (unsigned i = 0; i < 20; i++) {
        if (i == 5) {
            watch_settled(&w);
        }
        taken += flood(h.r, mem, &w);
        start(h.r, &silent);
    }
    g_test_message("%u commands were taken", taken);
    watch_end(&w);
    qvv_stop(h.r->d);
    start(h.r, NULL);
    guest_free(h.r->alloc, mem);
    assert_media_works(h.r);
    hostile_end(&h);
}

/* Nobody waits for it: not STREAMOFF, nor a new format, nor CLOSE */
static void test_hanging_codec(Rig *rig)
{
    struct vm_pix_format_mplane pix = { };
    int64_t begin;
    Session *s, *other;
    uint32_t none = 0;
    Hostile h;
    Watch w;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    watch_start(&w, h.r);
    other = session_start(h.r, best_memory(h.r), WIDTH, HEIGHT);
    for (unsigned i = 0; i < 4; i++) {
        s = scripted_session(h.r, insn(VIDEO_TEST_HANG_HARD,
                                       VIDEO_TEST_MAX_WAIT));
        g_usleep(10 * MS);
        begin = g_get_monotonic_time();
        g_assert_cmpint(qvm_streamoff(h.r->d, s->id, QVM_OUTPUT), ==, 0);
        g_assert_cmpint(qvm_reqbufs(h.r->d, s->id, QVM_OUTPUT, s->memory,
                                    &none), ==, 0);
        if (i % 2) {
            g_assert_cmpint(qvm_s_fmt(h.r->d, s->id, QVM_OUTPUT, &pix), ==,
                            0);
        }
        session_free(s);
        g_test_message("closed after %" PRId64 " ms",
                       (g_get_monotonic_time() - begin) / MS);
        g_assert_cmpint(g_get_monotonic_time() - begin, <, SOON);
        watch(&w);
        assert_session_decodes(other, 10 + i);
        assert_media_works(h.r);
    }
    g_assert_cmpuint(n_threads(h.r->qts), >=, h.r->threads + 4);
    session_free(other);
    watch_end_qmp(&w);
    g_assert_false(is_migration_blocked(h.r->qts));
    hostile_quit(&h);
}

/* An application hears that its codec has failed, even if that hangs then */
static void test_hanging_failure(Rig *rig)
{
    Session *s, *other;
    int64_t begin;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    other = session_start(h.r, best_memory(h.r), WIDTH, HEIGHT);
    s = session_start(h.r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    begin = g_get_monotonic_time();
    PUT_MEDIA(s, 2, 4, insn(VIDEO_TEST_SLOW_STOP, VIDEO_TEST_MAX_WAIT),
              fail("and hangs"));
    assert_session_decodes(other, 1);
    expect_buffer(s, QVM_OUTPUT, VM_BUF_FLAG_ERROR);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, SOON);
    session_free(s);
    assert_session_decodes(other, 2);
    assert_media_works(h.r);
    session_free(other);
    g_assert_false(is_migration_blocked(h.r->qts));
    hostile_quit(&h);
}

/*
 * Hundreds of megabytes of coded data: buffers that all have the same memory,
 * in which there is no script, so that they come back as bad.
 */
#define LARGE_SIZE  (16 * MiB)
#define N_LARGE     32

static void queue_large(Session *s, uint64_t mem, unsigned index)
{
    QVVEntry entry = { mem, LARGE_SIZE };
    QVVBuffer buf = { .size = LARGE_SIZE, .n_entries = 1, .entries = &entry };

    g_assert_cmpint(qvm_qbuf(s->d, s->id, QVM_OUTPUT, index,
                             VM_MEMORY_USERPTR, &buf, LARGE_SIZE, index), ==,
                    0);
}

static void expect_large(Session *s, unsigned index)
{
    QVMEvent ev = expect_buffer(s, QVM_OUTPUT, VM_BUF_FLAG_ERROR);

    g_assert_cmpuint(ev.index, ==, index);
    g_assert_cmpuint(ev.usec, ==, index);
}

static void queue_all_large(Session *s, uint64_t mem)
{
    uint32_t count = N_LARGE;

    g_assert_cmpint(qvm_reqbufs(s->d, s->id, QVM_OUTPUT, VM_MEMORY_USERPTR,
                                &count), ==, 0);
    g_assert_cmpuint(count, ==, N_LARGE);
    s->memory = VM_MEMORY_USERPTR;
    s->n_out = count;
    for (unsigned i = 0; i < N_LARGE; i++) {
        queue_large(s, mem, i);
    }
}

/* A session that has just begun to take @n large buffers */
static Session *session_with_large(Rig *r, uint64_t mem, unsigned n)
{
    Session *s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);

    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_OUTPUT), ==, 0);
    for (unsigned i = 0; i < n; i++) {
        queue_large(s, mem, i);
    }
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, 0);
    return s;
}

/* What came before it was known that no more is wanted */
static void drop_large(Session *s)
{
    QVMEvent ev;
    unsigned n;

    for (n = 0; qvm_next(s->d, s->id, &ev, 0); n++) {
        g_assert_cmpuint(ev.type, ==, QVM_OUTPUT);
    }
    g_test_message("%u buffers were done", n);
}

/* The answer is not waited for: QMP answers meanwhile */
static void start_streaming(Session *s, Watch *w, uint64_t mem)
{
    struct {
        struct virtio_media_cmd_ioctl cmd;
        uint32_t type;
    } QEMU_PACKED req = {
        .cmd.hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL),
        .cmd.session_id = cpu_to_le32(s->id),
        .cmd.code = cpu_to_le32(VM_IOC_STREAMON),
        .type = cpu_to_le32(QVM_OUTPUT),
    };
    QVVDesc chain[] = { { mem, sizeof(req) }, { mem + 64, 8, true } };
    int64_t end = g_get_monotonic_time() + QVV_TIMEOUT_US;
    uint16_t head;

    qvv_ram_write(&s->d->ram, mem, &req, sizeof(req));
    qvv_queue_add(s->d, &s->d->cmdq, chain, ARRAY_SIZE(chain));
    qvv_queue_kick(s->d, &s->d->cmdq);
    do {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        watch(w);
    } while (!qvv_queue_pop(s->d, &s->d->cmdq, &head, NULL));
}

static void test_streamon_large(Rig *r)
{
    uint64_t mem, cmd;
    unsigned done = 0;
    Watch w;

    if (!is_x86() || !r->v->pci) {
        g_test_skip("done with pc and PCI");
        return;
    }
    g_autoptr(Session) s = session_open(r);
    mem = guest_alloc(r->alloc, LARGE_SIZE);
    cmd = guest_alloc(r->alloc, QVV_PAGE_SIZE);
    queue_all_large(s, mem);
    watch_start(&w, r);
    start_streaming(s, &w, cmd);
    while (done < N_LARGE) {
        QVMEvent ev;

        watch(&w);
        if (qvm_next(r->d, s->id, &ev, 0)) {
            g_assert_cmpuint(ev.usec, ==, done);
            done++;
        }
    }
    g_test_message("%u MiB of coded data",
                   (unsigned)(N_LARGE * LARGE_SIZE / MiB));
    watch_end_qmp(&w);
    guest_free(r->alloc, mem);
    guest_free(r->alloc, cmd);
}

/* Every byte arrives, wherever the copying was interrupted */
static void test_large_data(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    const unsigned n = 30000;
    uint64_t size = n * sizeof(VideoTestInsn);
    QVVPool *pool = qvv_pool_new(r->d, 1, 1, &size, QVV_SCATTERED);
    g_autofree VideoTestInsn *insns = g_new(VideoTestInsn, n);
    QVMEvent ev;

    for (unsigned i = 0; i < n; i++) {
        insns[i] = insn(VIDEO_TEST_NOP, i);
    }
    insns[n - 1] = frame(7);
    insns_to_le(insns, n);
    qvv_buffer_write(r->d, &pool->res[0].buffer[0], 0, insns, size);
    g_assert_cmpint(qvm_qbuf(r->d, s->id, QVM_OUTPUT, 2, VM_MEMORY_USERPTR,
                             &pool->res[0].buffer[0], size, 70), ==, 0);
    ev = expect_buffer(s, QVM_OUTPUT, 0);
    g_assert_cmpuint(ev.index, ==, 2);
    expect_media_frame(s, 7, 70);
    qvv_pool_free(r->d, pool);
}

/* What is queued later comes later, in this session */
static void test_behind_large(Rig *r)
{
    uint64_t mem = guest_alloc(r->alloc, LARGE_SIZE);
    g_autoptr(Session) other = session_start(r, VM_MEMORY_USERPTR, WIDTH,
                                             HEIGHT);
    g_autoptr(Session) s = session_with_large(r, mem, 6);
    QVMEvent ev;

    PUT_MEDIA(s, 6, 60, frame(6));
    assert_session_decodes(other, 5);
    queue_large(s, mem, 7);
    for (unsigned i = 0; i < 6; i++) {
        expect_large(s, i);
    }
    ev = expect_buffer(s, QVM_OUTPUT, 0);
    g_assert_cmpuint(ev.index, ==, 6);
    expect_media_frame(s, 6, 60);
    expect_large(s, 7);
    guest_free(r->alloc, mem);
}

static void test_drain_behind_large(Rig *r)
{
    uint64_t mem = guest_alloc(r->alloc, LARGE_SIZE);
    g_autoptr(Session) s = session_with_large(r, mem, N_INPUTS);

    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP), ==, 0);
    for (unsigned i = 0; i < N_INPUTS; i++) {
        expect_large(s, i);
    }
    expect_event(s, VM_EVENT_EOS);
    expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_LAST);
    guest_free(r->alloc, mem);
}

static void test_streamoff_large(Rig *r)
{
    uint64_t mem = guest_alloc(r->alloc, LARGE_SIZE);
    g_autoptr(Session) s = session_with_large(r, mem, N_INPUTS);

    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_OUTPUT), ==, 0);
    drop_large(s);
    expect_quiet(s);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, 0);
    assert_session_decodes(s, 8);
    guest_free(r->alloc, mem);
}

static void test_close_large(Rig *r)
{
    uint64_t mem = guest_alloc(r->alloc, LARGE_SIZE);
    int64_t used = memory_used(r);
    uint32_t none = 0;

    for (unsigned i = 0; i < 2; i++) {
        Session *s = session_with_large(r, mem, N_INPUTS);

        if (i) {
            g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_OUTPUT, s->memory,
                                        &none), ==, 0);
            drop_large(s);
            expect_quiet(s);
        }
        session_free(s);
        wait_threads(r, r->threads);
        g_assert_cmpint(memory_used(r), ==, used);
        assert_media_works(r);
        wait_threads(r, r->threads);
    }
    guest_free(r->alloc, mem);
}

static void test_reset_large(Rig *r)
{
    uint64_t mem = guest_alloc(r->alloc, LARGE_SIZE);
    Session *s = session_with_large(r, mem, N_INPUTS);

    restart(r);
    qvv_pool_free(r->d, s->out);
    qvv_pool_free(r->d, s->cap);
    g_free(s);
    assert_media_works(r);
    guest_free(r->alloc, mem);
}

/*
 * Of what was queued but not copied when the VM was stopped, that counts which
 * its memory says later.  (A few buffers are copied ahead; whether one of them
 * is while it stands still can't be told from here.)
 */
static void test_stop_large(Rig *r)
{
    uint64_t mem = guest_alloc(r->alloc, LARGE_SIZE);
    g_autoptr(Session) s = session_open(r);
    VideoTestInsn script = fail("of new memory");

    queue_all_large(s, mem);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, 0);
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'stop' }");
    g_usleep(1000 * MS);    /* enough for all of it */
    insns_to_le(&script, 1);
    qvv_ram_write(&r->d->ram, mem, &script, sizeof(script));
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'cont' }");
    expect_event(s, VM_EVENT_EOS);
    assert_media_works(r);
    guest_free(r->alloc, mem);
}

static void test_unplug_large(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioPCIDevice *first = obj, *pci;
    QPCIBus *bus = first->pdev->bus;
    QVirtioVideo v = { };
    Rig r = { .v = &v, .qts = bus->qts, .alloc = alloc };
    Session *s;

    if (!is_x86() || bus->not_hotpluggable) {
        g_test_skip("this machine has no hotplug without a guest's help");
        return;
    }
    r.threads = n_threads(r.qts);
    pci = plug(bus, "virtio-media-pci", "codec0");
    v.vdev = &pci->vdev;
    r.d = qvv_new(r.v, alloc, r.qts);
    start(&r, NULL);
    s = session_with_large(&r, guest_alloc(alloc, LARGE_SIZE), N_INPUTS);

    qpci_unplug_acpi_device_test(r.qts, "plugged", PCI_SLOT_HP);
    wait_threads(&r, r.threads);
    g_assert_false(is_migration_blocked(r.qts));
    qvv_pool_free(r.d, s->out);
    qvv_pool_free(r.d, s->cap);
    g_free(s);
    qvv_abandon(r.d);
    qvv_free(r.d);
    plugged_free(pci);
}

static const TestCase cases[] = {
    { "media/short-commands-break-device", test_short_commands },
    { "media/no-room-for-answer-breaks-device", test_no_room_for_answer },
    { "media/unknown-command", test_unknown_command },
    { "media/unknown-ioctl", test_unknown_ioctl },
    { "media/unknown-session", test_unknown_session },
    { "media/short-payloads", test_short_payloads },
    { "media/short-answers", test_short_answers },
    { "media/planes", test_planes },
    { "media/ext-controls-count", test_ext_controls_count },
    { "media/userptr-memory", test_userptr_memory },
    { "media/userptr-in-window", test_userptr_in_window },
    { "media/too-long", test_too_long },
    { "media/shared-payload", test_shared_payload },
    { "media/take-away", test_take_away },
    { "media/many-restarts", test_many_restarts, ",max-streams=1" },
    { "media/workers-without-buffers", test_workers_without_buffers,
      ",max-streams=1" },
    /* No other test has this device, as its codecs still hang at the end */
    { "media/hangs-beside-failures", test_hangs_beside_failures,
      ",max-streams=2,max-resources=16", .more_threads = true },
    { "media/random", test_random },
    { "media/no-event-buffers", test_no_event_buffers, ",max-events=4",
      .opts.manual_events = true },
    { "media/endless-event-buffers", test_endless_event_buffers,
      .opts.manual_events = true },
    { "media/held-answer-to-register", test_held_answer_to_register,
      .opts.manual_events = true },
    { "media/ten-thousand-sessions", test_many_sessions, .no_start = true },
    { "media/ten-thousand-resets", test_many_resets, .no_start = true },
    { "media/flood-without-event-buffers", test_flood_silent,
      .no_start = true },
    { "media/close-of-hanging-codec", test_hanging_codec, .no_start = true },
    { "media/failure-of-hanging-codec", test_hanging_failure,
      .no_start = true },
    { "media/large/streamon", test_streamon_large },
    { "media/large/all-bytes-arrive", test_large_data },
    { "media/large/qbuf-behind", test_behind_large },
    { "media/large/drain-behind", test_drain_behind_large },
    { "media/large/streamoff-meanwhile", test_streamoff_large },
    { "media/large/close-meanwhile", test_close_large },
    { "media/large/reset-meanwhile", test_reset_large },
    { "media/large/stop-meanwhile", test_stop_large },
};

static void register_virtio_media_hostile_tests(void)
{
    QOSGraphTestOptions on_pci = {
        .edge = {
            .extra_device_opts = "codec=codec0",
            .after_cmd_line = CODEC,
        },
    };

    virtio_media_add_tests(cases, ARRAY_SIZE(cases));
    qos_add_test("media/large/unplug-meanwhile", "virtio-media-pci",
                 test_unplug_large, &on_pci);
}

libqos_init(register_virtio_media_hostile_tests);
