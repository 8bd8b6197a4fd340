/*
 * virtio-media: what a hostile guest does, from bytes
 *
 * Commands are sent without waiting: the host part lets QEMU work.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "../libqtest.h"
#include "system/video-codec-test.h"
#include "virtio_media_actions.h"

#define N_SESSIONS      4
#define MEM_SIZE        (64 * 1024)     /* of scratch memory */
#define REQ_SIZE        1024
#define RESP_SIZE       1024
#define MAX_ACTIONS     200

struct VMA {
    QVVDriver *d;
    const VVAHost *host;
    bool encoder;
    uint64_t mem;               /* requests, answers, then USERPTR memory */
    uint32_t sessions[N_SESSIONS];
    const uint8_t *data;
    size_t size;
};

VMA *vma_new(QVirtioVideo *v, QGuestAllocator *alloc, QTestState *qts,
             const VVAHost *host, bool encoder)
{
    VMA *f = g_new0(VMA, 1);

    f->d = qvv_new(v, alloc, qts);
    f->host = host;
    f->encoder = encoder;
    f->mem = guest_alloc(alloc, MEM_SIZE);
    return f;
}

void vma_free(VMA *f)
{
    guest_free(f->d->alloc, f->mem);
    qvv_free(f->d);
    g_free(f);
}

/*
 * Bytes; those that are not there are 0
 */

static uint8_t byte(VMA *f)
{
    if (!f->size) {
        return 0;
    }
    f->size--;
    return *f->data++;
}

/* Mostly small */
static uint32_t number(VMA *f)
{
    uint8_t b = byte(f);

    switch (b & 7) {
    case 0:
        return UINT32_MAX - (b >> 3);
    case 1:
        return (uint32_t)byte(f) << (b >> 3);
    default:
        return b >> 3;
    }
}

static uint32_t buffer_type(VMA *f)
{
    uint8_t b = byte(f);

    return b & 0xf0 ? (b & 1 ? QVM_OUTPUT : QVM_CAPTURE) : b;
}

/*
 * Commands
 */

/* The request is at the start of the scratch memory, its answer behind it */
static void send_request(VMA *f, const void *req, size_t size, size_t room)
{
    QVVDesc desc[2] = { { f->mem, size } };
    unsigned n = 1;
    uint16_t head;

    while (qvv_queue_pop(f->d, &f->d->cmdq, &head, NULL)) {
        /* Nobody waits for it */
    }
    if (room) {
        desc[n++] = (QVVDesc) { f->mem + REQ_SIZE, room, true };
    }
    qvv_ram_write(&f->d->ram, f->mem, req, size);
    if (qvv_queue_add(f->d, &f->d->cmdq, desc, n) >= 0) {
        qvv_queue_kick(f->d, &f->d->cmdq);
    }
    f->host->settle(f->host->opaque);
}

static void do_open(VMA *f)
{
    struct virtio_media_cmd_header cmd = {
        .cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_OPEN),
    };
    struct virtio_media_resp_open resp;

    send_request(f, &cmd, sizeof(cmd), sizeof(resp));
    qvv_ram_read(&f->d->ram, f->mem + REQ_SIZE, &resp, sizeof(resp));
    f->sessions[byte(f) % N_SESSIONS] = le32_to_cpu(resp.session_id);
}

static uint32_t session(VMA *f)
{
    return f->sessions[byte(f) % N_SESSIONS];
}

static void do_close(VMA *f)
{
    struct virtio_media_cmd_close cmd = {
        .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_CLOSE),
        .session_id = cpu_to_le32(session(f)),
    };

    send_request(f, &cmd, sizeof(cmd), 0);
}

static void send_ioctl(VMA *f, uint32_t id, uint32_t code,
                       const void *payload, size_t size, size_t room)
{
    uint8_t req[REQ_SIZE];
    struct virtio_media_cmd_ioctl cmd = {
        .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL),
        .session_id = cpu_to_le32(id),
        .code = cpu_to_le32(code),
    };

    g_assert_cmpuint(size, <=, REQ_SIZE - sizeof(cmd));
    memcpy(req, &cmd, sizeof(cmd));
    memcpy(req + sizeof(cmd), payload, size);
    send_request(f, req, sizeof(cmd) + size, 8 + MIN(room, RESP_SIZE - 8));
}

/* Words, most of them small, some of them a type of buffers */
static void do_any_ioctl(VMA *f)
{
    uint32_t id = session(f), code = byte(f) % 110;
    uint32_t words[100];
    unsigned n = byte(f) % ARRAY_SIZE(words);

    for (unsigned i = 0; i < n; i++) {
        words[i] = cpu_to_le32(i < 4 && byte(f) & 1 ? buffer_type(f) :
                               number(f));
    }
    send_ioctl(f, id, code, words, n * sizeof(words[0]), byte(f) * 4);
}

static void do_s_fmt(VMA *f)
{
    static const uint32_t formats[] = {
        VM_PIX_FMT_H264, VM_PIX_FMT_VP8, VM_PIX_FMT_VP9, VIDEO_TEST_NV12,
        VIDEO_TEST_YUV420, VIDEO_TEST_P010, VIDEO_TEST_XRGB8888, 0,
    };
    uint32_t id = session(f);
    struct vm_format format = { .type = cpu_to_le32(buffer_type(f)) };

    format.pix_mp.pixelformat = cpu_to_le32(formats[byte(f) % 8]);
    format.pix_mp.width = cpu_to_le32(number(f));
    format.pix_mp.height = cpu_to_le32(number(f));
    format.pix_mp.plane_fmt[0].sizeimage = cpu_to_le32(4096);
    send_ioctl(f, id, VM_IOC_S_FMT, &format, sizeof(format), sizeof(format));
}

static void do_reqbufs(VMA *f)
{
    uint32_t id = session(f);
    struct vm_requestbuffers req = {
        .type = cpu_to_le32(buffer_type(f)),
        .count = cpu_to_le32(byte(f) % 10),
        .memory = cpu_to_le32(byte(f) & 1 ? VM_MEMORY_MMAP :
                              VM_MEMORY_USERPTR),
    };

    send_ioctl(f, id, VM_IOC_REQBUFS, &req, sizeof(req), sizeof(req));
}

static void do_streaming(VMA *f)
{
    uint32_t id = session(f);
    uint32_t type = cpu_to_le32(buffer_type(f));

    send_ioctl(f, id, byte(f) & 3 ? VM_IOC_STREAMON : VM_IOC_STREAMOFF, &type,
               sizeof(type), 0);
}

static void do_codec_cmd(VMA *f)
{
    uint32_t id = session(f);
    /* That of encoders is the same, only shorter */
    struct vm_decoder_cmd cmd = { .cmd = cpu_to_le32(byte(f) % 3) };
    size_t size = f->encoder ? sizeof(struct vm_encoder_cmd) : sizeof(cmd);

    send_ioctl(f, id, f->encoder ? VM_IOC_ENCODER_CMD : VM_IOC_DECODER_CMD,
               &cmd, size, size);
}

/* Instructions of the scripted codec that end soon */
static unsigned script(VMA *f, VideoTestInsn *insns, unsigned max)
{
    static const VideoTestOp ops[] = {
        VIDEO_TEST_NOP, VIDEO_TEST_FORMAT, VIDEO_TEST_FRAME,
        VIDEO_TEST_REORDER, VIDEO_TEST_BAD, VIDEO_TEST_AGAIN, VIDEO_TEST_FAIL,
        VIDEO_TEST_HANG,
    };
    unsigned n = byte(f) % max + 1;

    for (unsigned i = 0; i < n; i++) {
        VideoTestOp op = ops[byte(f) % ARRAY_SIZE(ops)];

        insns[i] = (VideoTestInsn) {
            .magic = cpu_to_le32(VIDEO_TEST_MAGIC),
            .op = cpu_to_le32(op),
        };
        if (op == VIDEO_TEST_FORMAT) {
            uint32_t w = cpu_to_le32(byte(f) + 1), h = cpu_to_le32(byte(f) + 1);

            insns[i].args[0] = insns[i].args[4] = w;
            insns[i].args[1] = insns[i].args[5] = h;
            insns[i].args[6] = cpu_to_le32(8);
        } else {
            insns[i].args[0] = cpu_to_le32(byte(f) % 8);
        }
    }
    return n;
}

static void do_qbuf(VMA *f)
{
    struct {
        struct vm_buffer b;
        struct vm_plane p;
        struct virtio_media_sg_entry sg[4];
    } buf = {
        .b.length = cpu_to_le32(1),
    };
    uint32_t id = session(f);
    VideoTestInsn insns[4];
    unsigned n_sg = byte(f) % 5;
    uint64_t at = f->mem + REQ_SIZE + RESP_SIZE;
    unsigned n;

    buf.b.type = cpu_to_le32(buffer_type(f));
    buf.b.index = cpu_to_le32(byte(f) % 9);
    buf.b.memory = cpu_to_le32(byte(f) & 1 ? VM_MEMORY_MMAP :
                               VM_MEMORY_USERPTR);
    n = script(f, insns, ARRAY_SIZE(insns));
    qvv_ram_write(&f->d->ram, at, insns, n * sizeof(insns[0]));
    buf.p.length = cpu_to_le32(n_sg * 4096);
    /* A frame is as long as its format says */
    buf.p.bytesused = f->encoder ? buf.p.length :
                                   cpu_to_le32(n * sizeof(insns[0]));
    for (unsigned i = 0; i < n_sg; i++) {
        buf.sg[i].start = cpu_to_le64(at + i * 4096 + number(f));
        buf.sg[i].len = cpu_to_le32(byte(f) & 7 ? 4096 : number(f));
    }
    send_ioctl(f, id, byte(f) & 15 ? VM_IOC_QBUF : VM_IOC_PREPARE_BUF, &buf,
               sizeof(buf.b) + sizeof(buf.p) + n_sg * sizeof(buf.sg[0]),
               sizeof(buf.b) + sizeof(buf.p));
}

static void do_subscribe(VMA *f)
{
    uint32_t id = session(f);
    struct vm_event_subscription sub = {
        .type = cpu_to_le32(byte(f) % 7),
        .id = cpu_to_le32(byte(f) & 1 ? 0 : VM_CID_MIN_BUFFERS_FOR_CAPTURE),
        .flags = cpu_to_le32(byte(f) & 3),
    };

    send_ioctl(f, id, VM_IOC_SUBSCRIBE_EVENT, &sub, sizeof(sub), 0);
}

static void do_mmap(VMA *f)
{
    struct virtio_media_cmd_mmap cmd = {
        .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_MMAP),
        .session_id = cpu_to_le32(session(f)),
        .offset = cpu_to_le32((byte(f) & 31) << 16),
    };

    send_request(f, &cmd, sizeof(cmd), sizeof(struct virtio_media_resp_mmap));
}

static void do_munmap(VMA *f)
{
    struct virtio_media_cmd_munmap cmd = {
        .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_MUNMAP),
        .driver_addr = cpu_to_le64((uint64_t)(byte(f) & 31) << 16),
    };

    send_request(f, &cmd, sizeof(cmd), 8);
}

static void do_raw(VMA *f)
{
    uint8_t req[64];
    unsigned n = byte(f) % sizeof(req) + 1;

    for (unsigned i = 0; i < n; i++) {
        req[i] = byte(f);
    }
    send_request(f, req, n, byte(f));
}

static void do_events(VMA *f)
{
    QVVEvent *ev;

    while ((ev = qvv_next(f->d, 0))) {
        qvv_event_free(ev);
    }
}

static void do_pause(VMA *f)
{
    f->host->pause(f->host->opaque, byte(f) & 1);
}

/* Of encoders */
static void do_control(VMA *f)
{
    static const uint32_t ids[] = {
        VIRTIO_VIDEO_V4L2_CID_BITRATE,
        VIRTIO_VIDEO_V4L2_CID_MPEG2_LEVEL,
        VIRTIO_VIDEO_V4L2_CID_MPEG2_PROFILE,
        VIRTIO_VIDEO_V4L2_CID_H264_LEVEL,
        VIRTIO_VIDEO_V4L2_CID_H264_PROFILE,
        VIRTIO_VIDEO_V4L2_CID_MPEG4_LEVEL,
        VIRTIO_VIDEO_V4L2_CID_MPEG4_PROFILE,
        VIRTIO_VIDEO_V4L2_CID_VP8_PROFILE,
        VIRTIO_VIDEO_V4L2_CID_VP9_PROFILE,
        VIRTIO_VIDEO_V4L2_CID_VP9_LEVEL,
        VIRTIO_VIDEO_V4L2_CID_HEVC_PROFILE,
        VIRTIO_VIDEO_V4L2_CID_HEVC_LEVEL,
        VIRTIO_VIDEO_V4L2_CID_B_FRAMES,
        VIRTIO_VIDEO_V4L2_CID_GOP_SIZE,
        VIRTIO_VIDEO_V4L2_CID_BITRATE_MODE,
        VIRTIO_VIDEO_V4L2_CID_FORCE_KEY_FRAME,
        VIRTIO_VIDEO_V4L2_CID_H264_MIN_QP,
        VIRTIO_VIDEO_V4L2_CID_H264_MAX_QP,
        VIRTIO_VIDEO_V4L2_CID_MPEG4_MIN_QP,
        VIRTIO_VIDEO_V4L2_CID_MPEG4_MAX_QP,
        VIRTIO_VIDEO_V4L2_CID_VPX_MIN_QP,
        VIRTIO_VIDEO_V4L2_CID_VPX_MAX_QP,
        VIRTIO_VIDEO_V4L2_CID_HEVC_MIN_QP,
        VIRTIO_VIDEO_V4L2_CID_HEVC_MAX_QP,
        VIRTIO_VIDEO_V4L2_CID_PREPEND_SPSPPS_TO_IDR,
    };
    uint32_t id = session(f);
    struct vm_control control = {
        .id = cpu_to_le32(ids[byte(f) % ARRAY_SIZE(ids)]),
        .value = cpu_to_le32(number(f)),
    };

    send_ioctl(f, id, VM_IOC_S_CTRL, &control, sizeof(control),
               sizeof(control));
}

static void do_crop_or_rate(VMA *f)
{
    uint32_t id = session(f);

    if (byte(f) & 1) {
        struct vm_selection sel = {
            .type = cpu_to_le32(QVM_OUTPUT),
            .target = cpu_to_le32(byte(f) & 7 ? VM_SEL_TGT_CROP : byte(f)),
            .left = cpu_to_le32(number(f)),
            .top = cpu_to_le32(number(f)),
            .width = cpu_to_le32(number(f)),
            .height = cpu_to_le32(number(f)),
        };

        send_ioctl(f, id, VM_IOC_S_SELECTION, &sel, sizeof(sel), sizeof(sel));
    } else {
        struct vm_streamparm parm = {
            .type = cpu_to_le32(QVM_OUTPUT),
            .timeperframe.numerator = cpu_to_le32(number(f)),
            .timeperframe.denominator = cpu_to_le32(number(f)),
        };

        send_ioctl(f, id, VM_IOC_S_PARM, &parm, sizeof(parm), sizeof(parm));
    }
}

/* Behind those that decoders have, too, are those of encoders */
static void (*const actions[])(VMA *f) = {
    do_open, do_close, do_any_ioctl, do_s_fmt, do_reqbufs, do_reqbufs,
    do_streaming, do_streaming, do_codec_cmd, do_qbuf, do_qbuf, do_qbuf,
    do_subscribe, do_mmap, do_munmap, do_raw, do_events, do_pause,
    do_control, do_control, do_crop_or_rate,
};
#define N_ENCODER_ACTIONS 3

void vma_run(VMA *f, const uint8_t *data, size_t size)
{
    const unsigned n = ARRAY_SIZE(actions) -
                       (f->encoder ? 0 : N_ENCODER_ACTIONS);
    g_autofree uint8_t *zeroes = g_malloc0(MEM_SIZE);

    f->data = data;
    f->size = size;
    memset(f->sessions, 0, sizeof(f->sessions));
    qvv_ram_write(&f->d->ram, f->mem, zeroes, MEM_SIZE);
    g_assert_true(qvv_start(f->d, NULL));
    /* Most programs want one that works */
    do_open(f);
    for (unsigned i = 0; f->size && i < MAX_ACTIONS; i++) {
        actions[byte(f) % n](f);
    }
    f->host->pause(f->host->opaque, false);
    qvv_stop(f->d);
}
