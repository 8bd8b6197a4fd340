/*
 * QTest testcases for virtio-media: what V4L2 says of an encoder
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "virtio-media-fixture.h"

#define ENCODER_ROLE ",role=encoder"

/* 64 x 48 as NV12 */
#define FRAME_SIZE (WIDTH * HEIGHT * 3 / 2)

/*
 * OUTPUT has frames, CAPTURE coded data, both USERPTR.  With these sizes,
 * neither has padding.
 */
static Session *encoder_open(Rig *r)
{
    Session *s = g_new0(Session, 1);
    struct vm_pix_format_mplane pix = {
        .pixelformat = cpu_to_le32(VIDEO_TEST_NV12),
        .width = cpu_to_le32(WIDTH),
        .height = cpu_to_le32(HEIGHT),
    };

    s->d = r->d;
    s->v = r->v;
    s->memory = VM_MEMORY_USERPTR;
    g_assert_cmpint(qvm_open(s->d, &s->id), ==, 0);
    g_assert_cmpint(qvm_subscribe(s->d, s->id, VM_EVENT_EOS, 0, 0), ==, 0);
    g_assert_cmpint(qvm_s_fmt(s->d, s->id, QVM_OUTPUT, &pix), ==, 0);
    g_assert_cmpuint(le32_to_cpu(pix.width), ==, WIDTH);
    g_assert_cmpuint(le32_to_cpu(pix.height), ==, HEIGHT);
    g_assert_cmpuint(le32_to_cpu(pix.plane_fmt[0].sizeimage), ==, FRAME_SIZE);
    return s;
}

static void encoder_start(Session *s)
{
    uint64_t out_size = FRAME_SIZE, cap_size;

    g_assert_cmpint(qvm_g_fmt(s->d, s->id, QVM_CAPTURE, &s->pix), ==, 0);
    cap_size = le32_to_cpu(s->pix.plane_fmt[0].sizeimage);
    s->n_out = s->n_cap = N_CAPTURES;
    s->out_size = out_size;
    s->cap_size = cap_size;
    g_assert_cmpint(qvm_reqbufs(s->d, s->id, QVM_OUTPUT, s->memory,
                                &s->n_out), ==, 0);
    g_assert_cmpint(qvm_reqbufs(s->d, s->id, QVM_CAPTURE, s->memory,
                                &s->n_cap), ==, 0);
    s->out = qvv_pool_new(s->d, s->n_out, 1, &out_size, QVV_SCATTERED);
    s->cap = qvv_pool_new(s->d, s->n_cap, 1, &cap_size, QVV_CONTIGUOUS);
    for (unsigned i = 0; i < s->n_cap; i++) {
        get_media(s, i);
    }
    g_assert_cmpint(qvm_streamon(s->d, s->id, QVM_OUTPUT), ==, 0);
    g_assert_cmpint(qvm_streamon(s->d, s->id, QVM_CAPTURE), ==, 0);
}

static Session *encoder_session(Rig *r)
{
    Session *s = encoder_open(r);

    encoder_start(s);
    return s;
}

/* A frame of @value, and the checksum of its pixels */
static uint32_t put_frame(Session *s, unsigned index, uint32_t value,
                          uint64_t usec)
{
    g_autofree uint8_t *data = g_malloc(FRAME_SIZE);
    uint32_t sum = VIDEO_TEST_CHECKSUM_INIT;

    for (unsigned p = 0, at = 0; p < 2; p++) {
        for (uint32_t y = 0; y < video_test_rows(p, HEIGHT); y++) {
            for (uint32_t x = 0; x < WIDTH; x++) {
                data[at++] = video_test_byte(value, p, y, x);
            }
        }
    }
    sum = video_test_checksum(sum, data, FRAME_SIZE);
    qvv_buffer_write(s->d, &s->out->res[index].buffer[0], 0, data,
                     FRAME_SIZE);
    g_assert_cmpint(qvm_qbuf(s->d, s->id, QVM_OUTPUT, index, s->memory,
                             &s->out->res[index].buffer[0], FRAME_SIZE, usec),
                    ==, 0);
    return sum;
}

/* The next coded data; the buffer is queued again */
static VideoTestCoded expect_coded(Session *s, uint32_t flags, uint64_t usec)
{
    QVMEvent ev = expect_buffer(s, QVM_CAPTURE, flags);
    VideoTestCoded coded;

    g_assert_cmpuint(ev.usec, ==, usec);
    g_assert_cmpuint(ev.bytesused, >=, sizeof(coded));
    qvv_buffer_read(s->d, &s->cap->res[ev.index].buffer[0], 0, &coded,
                    sizeof(coded));
    g_assert_cmphex(le32_to_cpu(coded.magic), ==, VIDEO_TEST_CODED_MAGIC);
    g_assert_cmpuint(le32_to_cpu(coded.size), ==, ev.bytesused);
    get_media(s, ev.index);
    return coded;
}

static void test_encode(Rig *r)
{
    g_autoptr(Session) s = encoder_session(r);

    for (unsigned i = 0; i < 6; i++) {
        uint32_t sum = put_frame(s, i % 4, i, 1000 * i + 1);
        VideoTestCoded coded = expect_coded(s, i ? VM_BUF_FLAG_PFRAME :
                                            VM_BUF_FLAG_KEYFRAME,
                                            1000 * i + 1);

        g_assert_cmphex(le32_to_cpu(coded.checksum), ==, sum);
        g_assert_cmpuint(le32_to_cpu(coded.width), ==, WIDTH);
        g_assert_cmpuint(le32_to_cpu(coded.height), ==, HEIGHT);
    }
}

static void test_encoder_config(Rig *r)
{
    char card[33] = "";

    for (unsigned i = 0; i < 32; i++) {
        card[i] = qvirtio_config_readb(r->d->vdev, 8 + i);
    }
    g_assert_cmpstr(card, ==, "QEMU video encoder");
}

static void test_encoder_drain(Rig *r)
{
    g_autoptr(Session) s = encoder_session(r);
    QVMEvent ev;

    put_frame(s, 0, 1, 5);
    expect_coded(s, VM_BUF_FLAG_KEYFRAME, 5);
    g_assert_cmpint(qvm_encoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP), ==, 0);
    do {
        g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
    } while (ev.event == VIRTIO_MEDIA_EVT_DQBUF);
    g_assert_cmpuint(ev.type, ==, VM_EVENT_EOS);
    ev = expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_LAST);
    g_assert_cmpuint(ev.bytesused, ==, 0);
    get_media(s, ev.index);
    put_frame(s, 1, 2, 6);
    expect_quiet(s);
    g_assert_cmpint(qvm_encoder_cmd(r->d, s->id, VM_CODEC_CMD_START), ==, 0);
    expect_coded(s, VM_BUF_FLAG_KEYFRAME, 6);
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP), ==,
                    VM_ENOTTY);
}

static void test_encoder_controls(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    uint32_t value;

    g_assert_cmpint(qvm_s_ctrl(r->d, s->id, VIRTIO_VIDEO_V4L2_CID_BITRATE,
                               1234567), ==, 0);
    g_assert_cmpint(qvm_g_ctrl(r->d, s->id, VIRTIO_VIDEO_V4L2_CID_BITRATE,
                               &value), ==, 0);
    g_assert_cmpuint(value, ==, 1234567);
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id, VIRTIO_VIDEO_V4L2_CID_BITRATE,
                               1), ==, 0);
    g_assert_cmpint(qvm_g_ctrl(r->d, s->id, VIRTIO_VIDEO_V4L2_CID_BITRATE,
                               &value), ==, 0);
    g_assert_cmpuint(value, ==, VIDEO_TEST_MIN_BITRATE);
    /* A menu with holes */
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id,
                               VIRTIO_VIDEO_V4L2_CID_H264_PROFILE, 3), ==,
                    VM_EINVAL);
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id,
                               VIRTIO_VIDEO_V4L2_CID_H264_PROFILE, 5), ==,
                    VM_ERANGE);
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id,
                               VIRTIO_VIDEO_V4L2_CID_H264_PROFILE, 4), ==, 0);
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id, VIRTIO_VIDEO_V4L2_CID_GOP_SIZE,
                               2), ==, 0);
    g_assert_cmpint(qvm_g_ctrl(r->d, s->id,
                               VIRTIO_VIDEO_V4L2_CID_FORCE_KEY_FRAME,
                               &value), ==, VM_EACCES);
    /* Of a coded format that is not chosen yet */
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id,
                               VIRTIO_VIDEO_V4L2_CID_VP8_PROFILE, 3), ==, 0);
    g_assert_cmpint(qvm_g_ctrl(r->d, s->id,
                               VIRTIO_VIDEO_V4L2_CID_VP8_PROFILE, &value),
                    ==, 0);
    g_assert_cmpuint(value, ==, 3);

    encoder_start(s);
    put_frame(s, 0, 1, 1);
    VideoTestCoded coded = expect_coded(s, VM_BUF_FLAG_KEYFRAME, 1);
    g_assert_cmpuint(le32_to_cpu(coded.controls[0]), ==,
                     VIDEO_TEST_MIN_BITRATE);
    g_assert_cmpuint(le32_to_cpu(coded.controls[1]), ==, 4);
    put_frame(s, 1, 1, 2);
    expect_coded(s, VM_BUF_FLAG_PFRAME, 2);
    put_frame(s, 2, 1, 3);
    expect_coded(s, VM_BUF_FLAG_KEYFRAME, 3);
    put_frame(s, 3, 1, 4);
    expect_coded(s, VM_BUF_FLAG_PFRAME, 4);
}

static void test_force_key_frame(Rig *r)
{
    g_autoptr(Session) s = encoder_session(r);

    put_frame(s, 0, 1, 1);
    expect_coded(s, VM_BUF_FLAG_KEYFRAME, 1);
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id,
                               VIRTIO_VIDEO_V4L2_CID_FORCE_KEY_FRAME, 0), ==,
                    0);
    put_frame(s, 1, 1, 2);
    expect_coded(s, VM_BUF_FLAG_KEYFRAME, 2);
    put_frame(s, 2, 1, 3);
    expect_coded(s, VM_BUF_FLAG_PFRAME, 3);
}

/* What was chosen for a coded format counts when that is chosen */
static void test_controls_follow_format(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    struct vm_pix_format_mplane pix = {
        .pixelformat = cpu_to_le32(VM_PIX_FMT_VP8),
    };

    g_assert_cmpint(qvm_s_ctrl(r->d, s->id,
                               VIRTIO_VIDEO_V4L2_CID_VP8_PROFILE, 3), ==, 0);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    g_assert_cmphex(le32_to_cpu(pix.pixelformat), ==, VM_PIX_FMT_VP8);
    encoder_start(s);
    put_frame(s, 0, 1, 1);
    VideoTestCoded coded = expect_coded(s, VM_BUF_FLAG_KEYFRAME, 1);
    g_assert_cmpuint(le32_to_cpu(coded.controls[1]), ==, 3);
}

static uint32_t control_flags(Session *s, uint32_t id)
{
    struct vm_queryctrl q = { .id = cpu_to_le32(id) };

    g_assert_cmpint(qvm_ioctl(s->d, s->id, VM_IOC_QUERYCTRL, &q, sizeof(q)),
                    ==, 0);
    return le32_to_cpu(q.flags);
}

/* What is not of the chosen coded format is there, but inactive */
static void test_inactive_controls(Rig *r)
{
    const uint32_t h264 = VIRTIO_VIDEO_V4L2_CID_H264_PROFILE;
    const uint32_t vp8 = VIRTIO_VIDEO_V4L2_CID_VP8_PROFILE;
    const uint32_t both = VIRTIO_VIDEO_V4L2_CID_BITRATE;
    g_autoptr(Session) s = encoder_open(r);
    const struct vm_pix_format_mplane wanted = {
        .pixelformat = cpu_to_le32(VM_PIX_FMT_VP8),
    };
    struct vm_pix_format_mplane pix = wanted;
    QVMEvent ev;

    g_assert_cmphex(control_flags(s, h264), ==, 0);
    g_assert_cmphex(control_flags(s, vp8), ==, VM_CTRL_FLAG_INACTIVE);
    g_assert_cmphex(control_flags(s, both), ==, 0);
    g_assert_cmpint(qvm_subscribe(r->d, s->id, VM_EVENT_CTRL, vp8, 0), ==, 0);
    g_assert_cmpint(qvm_subscribe(r->d, s->id, VM_EVENT_CTRL, both, 0), ==, 0);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
    g_assert_cmpuint(ev.type, ==, VM_EVENT_CTRL);
    g_assert_cmphex(ev.id, ==, vp8);
    g_assert_cmphex(ev.changes, ==, VM_EVENT_CTRL_CH_FLAGS);
    g_assert_cmphex(ev.flags, ==, 0);
    g_assert_cmphex(control_flags(s, h264), ==, VM_CTRL_FLAG_INACTIVE);
    g_assert_cmphex(control_flags(s, vp8), ==, 0);
    g_assert_cmphex(control_flags(s, both), ==, 0);
    /* The same once more changes nothing */
    pix = wanted;
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    expect_quiet(s);
}

/* CAPTURE's format comes first, but its buffers must do for OUTPUT's frames */
static void test_coded_size(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    struct vm_pix_format_mplane pix = { }, raw = {
        .pixelformat = cpu_to_le32(VIDEO_TEST_NV12),
        .width = cpu_to_le32(1024),
        .height = cpu_to_le32(1024),
    };
    struct vm_pix_format_mplane small = {
        .pixelformat = cpu_to_le32(VIDEO_TEST_NV12),
        .width = cpu_to_le32(WIDTH),
        .height = cpu_to_le32(HEIGHT),
    };
    uint32_t count = 1, before, after;

    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    before = le32_to_cpu(pix.plane_fmt[0].sizeimage);
    g_assert_cmpuint(before, <, 1024 * 1024);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &raw), ==, 0);
    g_assert_cmpuint(le32_to_cpu(raw.width), ==, 1024);
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    after = le32_to_cpu(pix.plane_fmt[0].sizeimage);
    g_assert_cmpuint(after, >=, 1024 * 1024);
    /* Buffers that are there stay as they are */
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &small), ==, 0);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &(
        struct vm_pix_format_mplane) { }), ==, 0);
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_CAPTURE, s->memory, &count),
                    ==, 0);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &raw), ==, 0);
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    g_assert_cmpuint(le32_to_cpu(pix.plane_fmt[0].sizeimage), ==, before);
}

static void test_control_events(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    QVMEvent ev;

    g_assert_cmpint(qvm_subscribe(r->d, s->id, VM_EVENT_CTRL,
                                  VIRTIO_VIDEO_V4L2_CID_BITRATE, 0), ==, 0);
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id, VIRTIO_VIDEO_V4L2_CID_BITRATE,
                               1234567), ==, 0);
    expect_quiet(s);
    g_assert_cmpint(qvm_subscribe(r->d, s->id, VM_EVENT_CTRL,
                                  VIRTIO_VIDEO_V4L2_CID_BITRATE,
                                  VM_EVENT_SUB_FL_ALLOW_FEEDBACK), ==, 0);
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id, VIRTIO_VIDEO_V4L2_CID_BITRATE,
                               2345678), ==, 0);
    g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
    g_assert_cmphex(ev.id, ==, VIRTIO_VIDEO_V4L2_CID_BITRATE);
    g_assert_cmphex(ev.changes, ==, VM_EVENT_CTRL_CH_VALUE);
    g_assert_cmpint(ev.value, ==, 2345678);
    g_assert_cmphex(ev.flags, ==, 0);
    g_assert_cmpint(ev.min, ==, VIDEO_TEST_MIN_BITRATE);
    g_assert_cmpint(ev.max, ==, VIDEO_TEST_MAX_BITRATE);
    g_assert_cmpint(ev.step, ==, 1);
    g_assert_cmpint(ev.def, ==, VIDEO_TEST_DEF_BITRATE);
    /* What it is already is no change */
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id, VIRTIO_VIDEO_V4L2_CID_BITRATE,
                               2345678), ==, 0);
    expect_quiet(s);
    g_assert_cmpint(qvm_subscribe(r->d, s->id, VM_EVENT_SOURCE_CHANGE, 0, 0),
                    ==, VM_EINVAL);
}

static void test_encoder_crop(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    struct vm_selection sel = {
        .type = cpu_to_le32(VM_BUF_TYPE_VIDEO_OUTPUT),
        .target = cpu_to_le32(VM_SEL_TGT_CROP),
        .left = cpu_to_le32(8),
        .width = cpu_to_le32(32),
        .height = cpu_to_le32(16),
    };

    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_SELECTION, &sel,
                              sizeof(sel)), ==, 0);
    g_assert_cmpuint(le32_to_cpu(sel.width), ==, 32);
    encoder_start(s);
    g_assert_cmpuint(le32_to_cpu(s->pix.width), ==, 32);
    put_frame(s, 0, 1, 1);
    VideoTestCoded coded = expect_coded(s, VM_BUF_FLAG_KEYFRAME, 1);
    g_assert_cmpuint(le32_to_cpu(coded.width), ==, 32);
    g_assert_cmpuint(le32_to_cpu(coded.height), ==, 16);
    /* While it streams, only what is there already */
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_SELECTION, &sel,
                              sizeof(sel)), ==, 0);
    sel.width = cpu_to_le32(16);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_SELECTION, &sel,
                              sizeof(sel)), ==, VM_EBUSY);
}

static void test_encoder_bad_selections(Rig *r)
{
    static const struct {
        uint32_t type, target;
    } bad[] = {
        { VM_BUF_TYPE_VIDEO_CAPTURE, VM_SEL_TGT_CROP },
        { QVM_CAPTURE, VM_SEL_TGT_CROP },
        { QVM_OUTPUT, VM_SEL_TGT_COMPOSE },
        { QVM_OUTPUT, VM_SEL_TGT_COMPOSE_PADDED },
        { QVM_OUTPUT, 0x4711 },
        { 0, VM_SEL_TGT_CROP },
    };
    g_autoptr(Session) s = encoder_open(r);

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct vm_selection sel = {
            .type = cpu_to_le32(bad[i].type),
            .target = cpu_to_le32(bad[i].target),
            .width = cpu_to_le32(16),
            .height = cpu_to_le32(16),
        };

        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_G_SELECTION, &sel,
                                  sizeof(sel)), ==, VM_EINVAL);
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_SELECTION, &sel,
                                  sizeof(sel)), ==, VM_EINVAL);
    }
}

static void test_encoder_bad_commands(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    struct vm_encoder_cmd cmd = { .cmd = cpu_to_le32(7) };
    struct vm_decoder_cmd decoder = { };

    encoder_start(s);
    g_assert_cmpint(qvm_encoder_cmd(r->d, s->id, 7), ==, VM_EINVAL);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_TRY_ENCODER_CMD, &cmd,
                              sizeof(cmd)), ==, VM_EINVAL);
    cmd.cmd = cpu_to_le32(VM_CODEC_CMD_STOP);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_TRY_ENCODER_CMD, &cmd,
                              sizeof(cmd)), ==, 0);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_TRY_DECODER_CMD, &decoder,
                              sizeof(decoder)), ==, VM_ENOTTY);
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP), ==,
                    VM_ENOTTY);
    put_frame(s, 0, 1, 1);
    expect_coded(s, VM_BUF_FLAG_KEYFRAME, 1);
}

/* While one queue streams, the other's format stays what it is */
static void test_encoder_formats_are_busy(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    struct vm_pix_format_mplane coded, raw;

    encoder_start(s);
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE, &coded), ==, 0);
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_OUTPUT, &raw), ==, 0);
    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_CAPTURE), ==, 0);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &coded), ==, VM_EBUSY);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_CAPTURE), ==, 0);
    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_OUTPUT), ==, 0);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &raw), ==, VM_EBUSY);
}

/*
 * The format of CAPTURE decides on those that OUTPUT can have, so neither queue
 * has buffers when it is set; that of OUTPUT is of OUTPUT's buffers alone.
 */
static void test_formats_with_other_buffers(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    struct vm_pix_format_mplane p010 = {
        .pixelformat = cpu_to_le32(VIDEO_TEST_P010),
        .width = cpu_to_le32(WIDTH),
        .height = cpu_to_le32(HEIGHT),
    };
    const struct vm_pix_format_mplane vp8 = {
        .pixelformat = cpu_to_le32(VM_PIX_FMT_VP8),
    };
    struct vm_pix_format_mplane pix, was;

    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &p010), ==, 0);
    g_assert_cmphex(le32_to_cpu(p010.pixelformat), ==, VIDEO_TEST_P010);
    set_buffers(s, QVM_OUTPUT, 1);
    pix = vp8;
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, VM_EBUSY);
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_OUTPUT, &was), ==, 0);
    g_assert_cmpmem(&was, sizeof(was), &p010, sizeof(p010));
    set_buffers(s, QVM_OUTPUT, 0);

    set_buffers(s, QVM_CAPTURE, 1);
    pix = vp8;
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, VM_EBUSY);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &p010), ==, 0);
    set_buffers(s, QVM_CAPTURE, 0);

    pix = vp8;
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    g_assert_cmphex(le32_to_cpu(pix.pixelformat), ==, VM_PIX_FMT_VP8);
    /* Which the test's VP8 has no P010 for */
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_OUTPUT, &was), ==, 0);
    g_assert_cmphex(le32_to_cpu(was.pixelformat), ==, VIDEO_TEST_NV12);
}

static void test_frame_rate(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    struct vm_streamparm parm = {
        .type = cpu_to_le32(QVM_OUTPUT),
        .timeperframe = { cpu_to_le32(1001), cpu_to_le32(60000) },
    };

    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_PARM, &parm,
                              sizeof(parm)), ==, 0);
    g_assert_cmpuint(le32_to_cpu(parm.timeperframe.denominator), ==, 60000);
    g_assert_cmphex(le32_to_cpu(parm.capability), ==, VM_CAP_TIMEPERFRAME);
    parm.timeperframe = (struct vm_fract) { 0, 0 };
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_PARM, &parm,
                              sizeof(parm)), ==, 0);
    g_assert_cmpuint(le32_to_cpu(parm.timeperframe.denominator), ==, 30);
    parm.type = cpu_to_le32(QVM_CAPTURE);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_G_PARM, &parm,
                              sizeof(parm)), ==, VM_EINVAL);
    parm.type = cpu_to_le32(3);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_PARM, &parm,
                              sizeof(parm)), ==, VM_EINVAL);
}

/* Whatever is asked for, what is in force can be encoded */
static void test_frame_rate_extremes(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    static const struct {
        uint32_t ask[2];
        uint32_t get[2];
    } rates[] = {
        { { 2, 50 }, { 1, 25 } },
        { { 1, UINT32_MAX }, { 1, 1000 } },
        { { UINT32_MAX, 1 }, { 1, 1 } },
        { { UINT32_MAX, UINT32_MAX }, { 1, 1 } },
        { { 0x80000000, 0x80000000 }, { 1, 1 } },
        { { 0, UINT32_MAX }, { 1, 30 } },
        { { 100100, 6000000 }, { 1001, 60000 } },
        { { 0x7fffffff, 0xfffffffd }, { 32767, 65535 } },
    };
    const uint64_t usec = 6;

    for (unsigned i = 0; i < ARRAY_SIZE(rates); i++) {
        struct vm_streamparm parm = {
            .type = cpu_to_le32(QVM_OUTPUT),
            .timeperframe = { cpu_to_le32(rates[i].ask[0]),
                              cpu_to_le32(rates[i].ask[1]) },
        };

        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_PARM, &parm,
                                  sizeof(parm)), ==, 0);
        g_assert_cmpuint(le32_to_cpu(parm.timeperframe.numerator), ==,
                         rates[i].get[0]);
        g_assert_cmpuint(le32_to_cpu(parm.timeperframe.denominator), ==,
                         rates[i].get[1]);
    }
    encoder_start(s);
    put_frame(s, 1, 2, usec);
    expect_coded(s, VM_BUF_FLAG_KEYFRAME, usec);
}

/* A frame that does not fill its planes is not encoded */
static void test_short_frame(Rig *r)
{
    g_autoptr(Session) s = encoder_session(r);

    g_assert_cmpint(qvm_qbuf(r->d, s->id, QVM_OUTPUT, 0, s->memory,
                             &s->out->res[0].buffer[0], FRAME_SIZE - 1, 1),
                    ==, 0);
    expect_buffer(s, QVM_OUTPUT, VM_BUF_FLAG_ERROR);
    put_frame(s, 1, 2, 6);
    expect_coded(s, VM_BUF_FLAG_KEYFRAME, 6);
}

static void test_streamoff_encoder(Rig *r)
{
    g_autoptr(Session) s = encoder_session(r);

    put_frame(s, 0, 2, 6);
    expect_coded(s, VM_BUF_FLAG_KEYFRAME, 6);
    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_CAPTURE), ==, 0);
    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_OUTPUT), ==, 0);
    for (unsigned i = 0; i < s->n_cap; i++) {
        get_media(s, i);
    }
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_CAPTURE), ==, 0);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, 0);
    put_frame(s, 1, 3, 7);
    expect_coded(s, VM_BUF_FLAG_KEYFRAME, 7);
}

#define N_EXT_CTRLS 1025
#define BITRATE     VIRTIO_VIDEO_V4L2_CID_BITRATE

/* A list of as many controls as V4L2 allows, and of one more */
static void test_many_ext_controls(Rig *r)
{
    const size_t head = sizeof(struct vm_ext_controls);
    g_autoptr(Session) s = encoder_open(r);
    g_autofree struct vm_ext_controls *ec =
        g_malloc0(head + N_EXT_CTRLS * sizeof(struct vm_ext_control));
    struct vm_ext_control *c = (void *)(ec + 1);
    QVMEvent ev;
    uint32_t value;

    for (unsigned i = 0; i < N_EXT_CTRLS; i++) {
        c[i].id = cpu_to_le32(BITRATE);
        c[i].value = cpu_to_le64(i % 2 ? 2000000 : 3000000);
    }
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id, BITRATE, 1000000), ==, 0);
    g_assert_cmpint(qvm_subscribe(r->d, s->id, VM_EVENT_CTRL, BITRATE,
                                  VM_EVENT_SUB_FL_ALLOW_FEEDBACK), ==, 0);
    ec->count = cpu_to_le32(N_EXT_CTRLS);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_EXT_CTRLS, ec,
                              head + N_EXT_CTRLS * sizeof(*c)), ==, VM_EINVAL);
    g_assert_cmpint(qvm_g_ctrl(r->d, s->id, BITRATE, &value), ==, 0);
    g_assert_cmpuint(value, ==, 1000000);
    expect_quiet(s);

    /* The last one counts, and only that is told */
    ec->count = cpu_to_le32(N_EXT_CTRLS - 1);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_EXT_CTRLS, ec,
                              head + (N_EXT_CTRLS - 1) * sizeof(*c)), ==, 0);
    g_assert_cmpint(qvm_g_ctrl(r->d, s->id, BITRATE, &value), ==, 0);
    g_assert_cmpuint(value, ==, 2000000);
    g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
    g_assert_cmpuint(ev.type, ==, VM_EVENT_CTRL);
    g_assert_cmphex(ev.id, ==, BITRATE);
    g_assert_cmpint(ev.value, ==, 2000000);
    expect_quiet(s);
}

/* What of controls QUERYCTRL and QUERY_EXT_CTRL tell is the same */
static void test_query_controls(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    struct vm_query_ext_ctrl ext = { };
    struct vm_queryctrl q = { };
    unsigned n;

    for (n = 0;; n++) {
        ext.id = q.id = cpu_to_le32(le32_to_cpu(q.id) | VM_CTRL_FLAG_NEXT_CTRL);
        if (qvm_ioctl(r->d, s->id, VM_IOC_QUERYCTRL, &q, sizeof(q))) {
            break;
        }
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERY_EXT_CTRL, &ext,
                                  sizeof(ext)), ==, 0);
        g_assert_cmphex(q.id, ==, ext.id);
        g_assert_cmphex(q.type, ==, ext.type);
        g_assert_cmpmem(q.name, sizeof(q.name), ext.name, sizeof(ext.name));
        g_assert_cmpuint(le32_to_cpu(q.minimum), ==, le64_to_cpu(ext.minimum));
        g_assert_cmpuint(le32_to_cpu(q.maximum), ==, le64_to_cpu(ext.maximum));
        g_assert_cmpuint(le32_to_cpu(q.step), ==, le64_to_cpu(ext.step));
        g_assert_cmpuint(le32_to_cpu(q.default_value), ==,
                         le64_to_cpu(ext.default_value));
        g_assert_cmphex(q.flags, ==, ext.flags);
    }
    /* Two classes, the buffers, and some of the codec */
    g_assert_cmpuint(n, >, 8);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERY_EXT_CTRL, &ext,
                              sizeof(ext)), ==, VM_EINVAL);

    q.id = cpu_to_le32(VIRTIO_VIDEO_V4L2_CID_BITRATE);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERYCTRL, &q, sizeof(q)),
                    ==, 0);
    g_assert_cmpstr((char *)q.name, ==, "Video Bitrate");
    g_assert_cmpuint(le32_to_cpu(q.type), ==, VM_CTRL_TYPE_INTEGER);
    g_assert_cmpuint(le32_to_cpu(q.minimum), ==, VIDEO_TEST_MIN_BITRATE);
}

static void test_query_menu(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    struct vm_querymenu menu = {
        .id = cpu_to_le32(VIRTIO_VIDEO_V4L2_CID_H264_PROFILE),
        .index = cpu_to_le32(4),
        .reserved = 7,
    };

    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERYMENU, &menu,
                              sizeof(menu)), ==, 0);
    g_assert_cmpstr((char *)menu.name, ==, "High");
    g_assert_cmpuint(menu.reserved, ==, 0);
    for (uint32_t i = 3; i < UINT32_MAX / 16; i = 16 * i + 15) {
        /* A hole, and what is beyond the menu and beyond all menus */
        menu.index = cpu_to_le32(i);
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERYMENU, &menu,
                                  sizeof(menu)), ==, VM_EINVAL);
    }
    /* No menu at all */
    menu.id = cpu_to_le32(VIRTIO_VIDEO_V4L2_CID_BITRATE);
    menu.index = 0;
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERYMENU, &menu,
                              sizeof(menu)), ==, VM_EINVAL);
}

/* V4L2 has no other values of a boolean than 0 and 1 */
static void test_boolean_control(Rig *r)
{
    const uint32_t id = VIRTIO_VIDEO_V4L2_CID_PREPEND_SPSPPS_TO_IDR;
    g_autoptr(Session) s = encoder_open(r);
    uint32_t value;

    for (uint32_t v = 0; v < 4; v++) {
        g_assert_cmpint(qvm_s_ctrl(r->d, s->id, id, v), ==, 0);
        g_assert_cmpint(qvm_g_ctrl(r->d, s->id, id, &value), ==, 0);
        g_assert_cmpuint(value, ==, v > 0);
    }
}

/* Of a button, an event tells no value */
static void test_button_event(Rig *r)
{
    const uint32_t id = VIRTIO_VIDEO_V4L2_CID_FORCE_KEY_FRAME;
    g_autoptr(Session) s = encoder_open(r);
    QVMEvent ev;

    g_assert_cmpint(qvm_subscribe(r->d, s->id, VM_EVENT_CTRL, id,
                                  VM_EVENT_SUB_FL_SEND_INITIAL), ==, 0);
    g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
    g_assert_cmpuint(ev.type, ==, VM_EVENT_CTRL);
    g_assert_cmphex(ev.id, ==, id);
    g_assert_cmphex(ev.changes, ==, VM_EVENT_CTRL_CH_FLAGS);
    g_assert_cmphex(ev.flags, ==, VM_CTRL_FLAG_WRITE_ONLY |
                    VM_CTRL_FLAG_EXECUTE_ON_WRITE);
    g_assert_cmpint(ev.value, ==, 0);
}

/* Lists of the controls of one class, and of default values */
static void test_ext_controls_which(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    static const struct {
        uint32_t which;
        int get, set;
        uint32_t value;
    } all[] = {
        { VM_CTRL_CLASS(VM_CID_CODEC_CLASS), 0, 0, 1234567 },
        { VM_CTRL_CLASS(VM_CID_USER_CLASS), VM_EINVAL, VM_EINVAL },
        { VM_CTRL_WHICH_DEF_VAL, 0, VM_EINVAL, 0 },
        { 0x00a00000, VM_EINVAL, VM_EINVAL },
        { VM_CID_CODEC_CLASS, VM_EINVAL, VM_EINVAL },
    };
    struct vm_queryctrl q = { .id = cpu_to_le32(BITRATE) };

    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERYCTRL, &q, sizeof(q)),
                    ==, 0);
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id, BITRATE, 1234567), ==, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        struct {
            struct vm_ext_controls ec;
            struct vm_ext_control c;
        } QEMU_PACKED req = {
            .ec.which = cpu_to_le32(all[i].which),
            .ec.count = cpu_to_le32(1),
            .c.id = cpu_to_le32(BITRATE),
        };

        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_G_EXT_CTRLS, &req,
                                  sizeof(req)), ==, all[i].get);
        if (!all[i].get) {
            g_assert_cmpuint(le64_to_cpu(req.c.value), ==, all[i].value ?:
                             le32_to_cpu(q.default_value));
        }
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_EXT_CTRLS, &req,
                                  sizeof(req)), ==, all[i].set);
    }
}

/* Any rate from one frame to 1000 in a second, of sizes that there are */
static void test_frame_intervals(Rig *r)
{
    g_autoptr(Session) s = encoder_open(r);
    const struct vm_frmivalenum good = {
        .pixel_format = cpu_to_le32(VM_PIX_FMT_H264),
        .width = cpu_to_le32(WIDTH),
        .height = cpu_to_le32(HEIGHT),
    };
    struct vm_frmivalenum bad[] = { good, good, good, good }, ival = good;

    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_ENUM_FRAMEINTERVALS, &ival,
                              sizeof(ival)), ==, 0);
    g_assert_cmpuint(le32_to_cpu(ival.type), ==, VM_FRMIVAL_TYPE_CONTINUOUS);
    g_assert_cmpuint(le32_to_cpu(ival.min.numerator), ==, 1);
    g_assert_cmpuint(le32_to_cpu(ival.min.denominator), ==, 1000);
    g_assert_cmpuint(le32_to_cpu(ival.max.numerator), ==, 1);
    g_assert_cmpuint(le32_to_cpu(ival.max.denominator), ==, 1);

    bad[0].index = cpu_to_le32(1);
    bad[1].pixel_format = 0;
    bad[2].width = cpu_to_le32(VIDEO_TEST_MAX_SIZE + 1);
    bad[3].height = cpu_to_le32(UINT32_MAX);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_ENUM_FRAMEINTERVALS,
                                  &bad[i], sizeof(bad[i])), ==, VM_EINVAL);
    }
}

/* Nobody waits for it, and QEMU ends */
static void test_encoder_hangs(Rig *rig)
{
    VideoTestInsn script = insn(VIDEO_TEST_HANG_HARD, VIDEO_TEST_MAX_WAIT);
    Session *s, *other;
    int64_t begin;
    Hostile h;

    if (not_here(rig)) {
        return;
    }
    h = hostile_start("", NULL);
    other = encoder_session(h.r);
    s = encoder_session(h.r);
    insns_to_le(&script, 1);
    qvv_buffer_write(s->d, &s->out->res[0].buffer[0], 0, &script,
                     sizeof(script));
    g_assert_cmpint(qvm_qbuf(s->d, s->id, QVM_OUTPUT, 0, s->memory,
                             &s->out->res[0].buffer[0], FRAME_SIZE, 1), ==, 0);
    g_usleep(10 * MS);
    begin = g_get_monotonic_time();
    g_assert_cmpint(qvm_streamoff(h.r->d, s->id, QVM_OUTPUT), ==, 0);
    g_assert_cmpint(qvm_streamoff(h.r->d, s->id, QVM_CAPTURE), ==, 0);
    session_free(s);
    g_test_message("closed after %" PRId64 " ms",
                   (g_get_monotonic_time() - begin) / MS);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, SOON);
    put_frame(other, 0, 1, 5);
    expect_coded(other, VM_BUF_FLAG_KEYFRAME, 5);
    session_free(other);
    g_assert_cmpuint(n_threads(h.r->qts), >, h.r->threads);
    hostile_quit(&h);
}

static const TestCase cases[] = {
    { "media/encoder-config", test_encoder_config, ENCODER_ROLE },
    { "media/encode", test_encode, ENCODER_ROLE },
    { "media/encoder-drain", test_encoder_drain, ENCODER_ROLE },
    { "media/encoder-controls", test_encoder_controls, ENCODER_ROLE },
    { "media/force-key-frame", test_force_key_frame, ENCODER_ROLE },
    { "media/controls-follow-format", test_controls_follow_format,
      ENCODER_ROLE },
    { "media/inactive-controls", test_inactive_controls, ENCODER_ROLE },
    { "media/coded-size-follows-frames", test_coded_size, ENCODER_ROLE },
    { "media/control-events", test_control_events, ENCODER_ROLE },
    { "media/many-ext-controls", test_many_ext_controls, ENCODER_ROLE },
    { "media/encoder-crop", test_encoder_crop, ENCODER_ROLE },
    { "media/encoder-bad-selections", test_encoder_bad_selections,
      ENCODER_ROLE },
    { "media/encoder-bad-commands", test_encoder_bad_commands, ENCODER_ROLE },
    { "media/encoder-formats-are-busy", test_encoder_formats_are_busy,
      ENCODER_ROLE },
    { "media/encoder-formats-with-other-buffers",
      test_formats_with_other_buffers, ENCODER_ROLE },
    { "media/frame-rate", test_frame_rate, ENCODER_ROLE },
    { "media/frame-rate-extremes", test_frame_rate_extremes, ENCODER_ROLE },
    { "media/short-frame", test_short_frame, ENCODER_ROLE },
    { "media/streamoff-encoder", test_streamoff_encoder, ENCODER_ROLE },
    { "media/query-controls", test_query_controls, ENCODER_ROLE },
    { "media/query-menu", test_query_menu, ENCODER_ROLE },
    { "media/boolean-control", test_boolean_control, ENCODER_ROLE },
    { "media/button-event", test_button_event, ENCODER_ROLE },
    { "media/ext-controls-which", test_ext_controls_which, ENCODER_ROLE },
    { "media/frame-intervals", test_frame_intervals, ENCODER_ROLE },
    { "media/close-of-hanging-encoder", test_encoder_hangs, ENCODER_ROLE,
      .no_start = true },
};

static void register_virtio_media_encoder_tests(void)
{
    virtio_media_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_media_encoder_tests);
