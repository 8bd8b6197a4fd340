/*
 * QTest testcases for virtio-media: what V4L2 says of a decoder
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "virtio-media-fixture.h"

/*
 * The device
 */

static void test_config(Rig *r)
{
    char card[33] = "";

    g_assert_cmphex(qvirtio_config_readl(r->d->vdev, 0), ==,
                    VM_CAP_VIDEO_M2M_MPLANE | VM_CAP_STREAMING);
    g_assert_cmpuint(qvirtio_config_readl(r->d->vdev, 4), ==, 0);
    for (unsigned i = 0; i < 32; i++) {
        card[i] = qvirtio_config_readb(r->d->vdev, 8 + i);
    }
    g_assert_cmpstr(card, ==, "QEMU video decoder");
}

static void test_open_close(Rig *r)
{
    uint32_t a, b, c;

    g_assert_cmpint(qvm_open(r->d, &a), ==, 0);
    g_assert_cmpint(qvm_open(r->d, &b), ==, 0);
    g_assert_cmphex(a, !=, b);
    g_assert_cmpint(qvm_close(r->d, a), ==, 0);
    /* Events of the old one can't be taken for those of the new one */
    g_assert_cmpint(qvm_open(r->d, &c), ==, 0);
    g_assert_cmphex(c, !=, a);
    g_assert_cmphex(c, !=, b);
    g_assert_cmpint(qvm_close(r->d, b), ==, 0);
    g_assert_cmpint(qvm_close(r->d, c), ==, 0);
}

static void test_max_sessions(Rig *r)
{
    uint32_t ids[257];

    for (unsigned i = 0; i < 256; i++) {
        g_assert_cmpint(qvm_open(r->d, &ids[i]), ==, 0);
    }
    g_assert_cmpint(qvm_open(r->d, &ids[256]), ==, VM_EBUSY);
    g_assert_cmpint(qvm_close(r->d, ids[7]), ==, 0);
    g_assert_cmpint(qvm_open(r->d, &ids[256]), ==, 0);
}

/* An open file costs little; a codec is for those who have buffers */
static void test_max_streams(Rig *r)
{
    g_autoptr(Session) a = session_open(r);
    g_autoptr(Session) b = session_open(r);
    g_autoptr(Session) c = session_open(r);
    uint32_t count = 1;

    start_output(a, VM_MEMORY_USERPTR);
    start_output(b, VM_MEMORY_USERPTR);
    g_assert_cmpint(qvm_reqbufs(r->d, c->id, QVM_CAPTURE, VM_MEMORY_USERPTR,
                                &count), ==, VM_EBUSY);
    count = 0;
    g_assert_cmpint(qvm_reqbufs(r->d, a->id, QVM_OUTPUT, VM_MEMORY_USERPTR,
                                &count), ==, 0);
    count = 1;
    g_assert_cmpint(qvm_reqbufs(r->d, c->id, QVM_CAPTURE, VM_MEMORY_USERPTR,
                                &count), ==, 0);
}

/*
 * Formats
 */

static void test_enum_fmt(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_fmtdesc desc;
    unsigned n;

    for (n = 0; ; n++) {
        desc = (struct vm_fmtdesc) {
            .index = cpu_to_le32(n), .type = cpu_to_le32(QVM_OUTPUT),
        };
        if (qvm_ioctl(r->d, s->id, VM_IOC_ENUM_FMT, &desc, sizeof(desc))) {
            break;
        }
        g_assert_cmphex(le32_to_cpu(desc.flags), ==, VM_FMT_FLAG_COMPRESSED |
                        VM_FMT_FLAG_DYN_RESOLUTION);
        g_assert_cmpuint(desc.description[0], !=, 0);
    }
    g_assert_cmpuint(n, ==, 3);         /* of the scripted codec */
    for (n = 0; ; n++) {
        desc = (struct vm_fmtdesc) {
            .index = cpu_to_le32(n), .type = cpu_to_le32(QVM_CAPTURE),
        };
        if (qvm_ioctl(r->d, s->id, VM_IOC_ENUM_FMT, &desc, sizeof(desc))) {
            break;
        }
        g_assert_cmphex(le32_to_cpu(desc.flags), ==, 0);
    }
    g_assert_cmpuint(n, ==, 4);         /* of H264 */
    desc = (struct vm_fmtdesc) { .type = cpu_to_le32(1) };
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_ENUM_FMT, &desc,
                              sizeof(desc)), ==, VM_EINVAL);
}

/* An application may ask before the stream has told anything */
static void test_default_formats(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_pix_format_mplane pix = { };

    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_OUTPUT, &pix), ==, 0);
    g_assert_cmphex(le32_to_cpu(pix.pixelformat), ==, VM_PIX_FMT_H264);
    g_assert_cmpuint(le32_to_cpu(pix.plane_fmt[0].sizeimage), >, 0);
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    g_assert_cmphex(le32_to_cpu(pix.pixelformat), ==, VIDEO_TEST_NV12);
    g_assert_cmpuint(pix.num_planes, ==, 1);
    g_assert_cmpuint(le32_to_cpu(pix.width), >, 0);
    g_assert_cmpuint(le32_to_cpu(pix.field), ==, VM_FIELD_NONE);
    g_assert_cmpuint(le32_to_cpu(pix.colorspace), ==, VM_COLORSPACE_REC709);
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, 1, &pix), ==, VM_EINVAL);
}

static void test_s_fmt_adjusts(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_pix_format_mplane pix = {
        .pixelformat = cpu_to_le32(VM_FOURCC('n', 'o', 'n', 'e')),
        .width = cpu_to_le32(UINT32_MAX),
        .height = cpu_to_le32(1),
        .plane_fmt[0].sizeimage = cpu_to_le32(UINT32_MAX),
        .colorspace = cpu_to_le32(1),
    };

    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &pix), ==, 0);
    g_assert_cmphex(le32_to_cpu(pix.pixelformat), ==, VM_PIX_FMT_H264);
    g_assert_cmpuint(le32_to_cpu(pix.width), ==, VIDEO_TEST_MAX_SIZE);
    g_assert_cmpuint(le32_to_cpu(pix.height), ==, 1);
    g_assert_cmpuint(le32_to_cpu(pix.plane_fmt[0].sizeimage), ==, 16 << 20);
    /* CAPTURE follows, in size and colours */
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    g_assert_cmpuint(le32_to_cpu(pix.width), ==, VIDEO_TEST_MAX_SIZE);
    g_assert_cmpuint(le32_to_cpu(pix.colorspace), ==, 1);
    /* What does not go with the coded format is another */
    pix.pixelformat = cpu_to_le32(VM_PIX_FMT_VP8);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &pix), ==, 0);
    pix.pixelformat = cpu_to_le32(VIDEO_TEST_P010);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    g_assert_cmphex(le32_to_cpu(pix.pixelformat), ==, VIDEO_TEST_NV12);
}

static void test_try_fmt(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_pix_format_mplane before = { }, after = { };
    struct vm_format format = {
        .type = cpu_to_le32(QVM_OUTPUT),
        .pix_mp.pixelformat = cpu_to_le32(VM_PIX_FMT_VP9),
        .pix_mp.width = cpu_to_le32(333),
    };

    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_OUTPUT, &before), ==, 0);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_TRY_FMT, &format,
                              sizeof(format)), ==, 0);
    g_assert_cmphex(le32_to_cpu(format.pix_mp.pixelformat), ==,
                    VM_PIX_FMT_VP9);
    g_assert_cmpuint(le32_to_cpu(format.pix_mp.width), ==, 333);
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_OUTPUT, &after), ==, 0);
    g_assert_cmpmem(&before, sizeof(before), &after, sizeof(after));
}

static const uint32_t odd_numbers[] = {
    0, 1, 2, 17, 333, 4095, 4096, 4097, INT32_MAX, UINT32_MAX,
};

static uint32_t odd_number(void)
{
    return cpu_to_le32(odd_numbers[
        g_test_rand_int_range(0, ARRAY_SIZE(odd_numbers))]);
}

/* A format with all fields filled, in ways that make no sense together */
static struct vm_format odd_format(uint32_t type)
{
    static const uint32_t pixelformats[] = {
        0, VM_PIX_FMT_H264, VM_PIX_FMT_VP8, VIDEO_TEST_NV12,
        VIDEO_TEST_YUV420, VIDEO_TEST_P010, VIDEO_TEST_XRGB8888, UINT32_MAX,
    };
    struct vm_format format;

    memset(&format, 0xa5, sizeof(format));
    format.type = cpu_to_le32(type);
    format.pix_mp.pixelformat = cpu_to_le32(pixelformats[
        g_test_rand_int_range(0, ARRAY_SIZE(pixelformats))]);
    format.pix_mp.width = odd_number();
    format.pix_mp.height = odd_number();
    format.pix_mp.plane_fmt[0].sizeimage = odd_number();
    format.pix_mp.plane_fmt[0].bytesperline = odd_number();
    return format;
}

static void assert_format_is_sane(const struct vm_format *format)
{
    struct vm_pix_format_mplane pix = format->pix_mp;
    const uint8_t *rest = (const uint8_t *)&format->pix_mp + sizeof(pix);
    const uint8_t *end = (const uint8_t *)(format + 1);
    uint32_t width = le32_to_cpu(pix.width), height = le32_to_cpu(pix.height);

    g_assert_cmpuint(width - 1, <, VIDEO_TEST_MAX_SIZE);
    g_assert_cmpuint(height - 1, <, VIDEO_TEST_MAX_SIZE);
    g_assert_cmpuint(le32_to_cpu(pix.field), ==, VM_FIELD_NONE);
    g_assert_cmpuint(pix.num_planes, ==, 1);
    g_assert_cmpuint(pix.flags, ==, 0);
    g_assert_cmpuint(le32_to_cpu(pix.plane_fmt[0].sizeimage), >, 0);
    if (pix.plane_fmt[0].bytesperline) {
        g_assert_cmpuint(le32_to_cpu(pix.plane_fmt[0].bytesperline), >=,
                         width);
        g_assert_cmpuint(le32_to_cpu(pix.plane_fmt[0].sizeimage), >=,
                         width * height);
    }
    /* The other planes, what is reserved and the rest of the union */
    memset(&pix.plane_fmt[0], 0, 8);
    for (unsigned i = 0; i < sizeof(pix.plane_fmt); i++) {
        g_assert_cmpuint(((uint8_t *)pix.plane_fmt)[i], ==, 0);
    }
    for (unsigned i = 0; i < sizeof(pix.reserved); i++) {
        g_assert_cmpuint(pix.reserved[i], ==, 0);
    }
    for (; rest < end; rest++) {
        g_assert_cmpuint(*rest, ==, 0);
    }
}

static struct vm_format format_ioctl(Rig *r, uint32_t id, uint32_t code,
                                     struct vm_format format)
{
    g_assert_cmpint(qvm_ioctl(r->d, id, code, &format, sizeof(format)), ==, 0);
    assert_format_is_sane(&format);
    return format;
}

/*
 * Whatever is asked for, TRY_FMT says what S_FMT would do and does nothing, and
 * what it says is taken as it is.
 */
static void test_odd_formats(Rig *r)
{
    uint32_t id;

    g_assert_cmpint(qvm_open(r->d, &id), ==, 0);
    for (unsigned i = 0; i < 200; i++) {
        uint32_t type = i % 2 ? QVM_CAPTURE : QVM_OUTPUT;
        struct vm_format wish = odd_format(type), is, was, would;

        was = format_ioctl(r, id, VM_IOC_G_FMT, wish);
        would = format_ioctl(r, id, VM_IOC_TRY_FMT, wish);
        is = format_ioctl(r, id, VM_IOC_TRY_FMT, would);
        g_assert_cmpmem(&is, sizeof(is), &would, sizeof(would));
        is = format_ioctl(r, id, VM_IOC_G_FMT, wish);
        g_assert_cmpmem(&is, sizeof(is), &was, sizeof(was));
        is = format_ioctl(r, id, VM_IOC_S_FMT, wish);
        g_assert_cmpmem(&is, sizeof(is), &would, sizeof(would));
        is = format_ioctl(r, id, VM_IOC_G_FMT, wish);
        g_assert_cmpmem(&is, sizeof(is), &would, sizeof(would));
    }
    g_assert_cmpint(qvm_close(r->d, id), ==, 0);
}

static void test_s_fmt_busy(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);
    struct vm_pix_format_mplane pix = { };

    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &pix), ==, VM_EBUSY);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, VM_EBUSY);
    assert_session_decodes(s, 5);
}

/*
 * The format of OUTPUT decides on those that CAPTURE can have, so it stays what
 * it is while CAPTURE has buffers; that of CAPTURE is of CAPTURE's alone.
 */
static void test_s_fmt_with_other_buffers(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_pix_format_mplane p010 = {
        .pixelformat = cpu_to_le32(VIDEO_TEST_P010),
    };
    const struct vm_pix_format_mplane vp8 = {
        .pixelformat = cpu_to_le32(VM_PIX_FMT_VP8),
    };
    struct vm_pix_format_mplane pix, was;

    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &p010), ==, 0);
    g_assert_cmphex(le32_to_cpu(p010.pixelformat), ==, VIDEO_TEST_P010);
    set_buffers(s, QVM_CAPTURE, 1);
    pix = vp8;
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &pix), ==, VM_EBUSY);
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE, &was), ==, 0);
    g_assert_cmpmem(&was, sizeof(was), &p010, sizeof(p010));
    /* What is no other format is no change */
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_OUTPUT, &pix), ==, 0);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &pix), ==, 0);
    set_buffers(s, QVM_CAPTURE, 0);

    set_buffers(s, QVM_OUTPUT, 1);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &p010), ==, 0);
    set_buffers(s, QVM_OUTPUT, 0);

    pix = vp8;
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &pix), ==, 0);
    g_assert_cmphex(le32_to_cpu(pix.pixelformat), ==, VM_PIX_FMT_VP8);
    /* Which the test's VP8 has no P010 for */
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE, &was), ==, 0);
    g_assert_cmphex(le32_to_cpu(was.pixelformat), ==, VIDEO_TEST_NV12);
}

static void test_framesizes(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_frmsizeenum size = {
        .pixel_format = cpu_to_le32(VM_PIX_FMT_H264),
    };
    struct vm_frmivalenum ival = { .pixel_format = size.pixel_format };

    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_ENUM_FRAMESIZES, &size,
                              sizeof(size)), ==, 0);
    g_assert_cmpuint(le32_to_cpu(size.max_width), ==, VIDEO_TEST_MAX_SIZE);
    g_assert_cmpuint(le32_to_cpu(size.min_width), ==, 1);
    size.index = cpu_to_le32(1);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_ENUM_FRAMESIZES, &size,
                              sizeof(size)), ==, VM_EINVAL);
    /* Each coded format has its own */
    size.index = 0;
    size.pixel_format = cpu_to_le32(VM_PIX_FMT_VP8);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_ENUM_FRAMESIZES, &size,
                              sizeof(size)), ==, 0);
    g_assert_cmpuint(le32_to_cpu(size.max_width), ==, VIDEO_TEST_VP8_MAX_SIZE);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_ENUM_FRAMEINTERVALS, &ival,
                              sizeof(ival)), ==, VM_ENOTTY);
}

/*
 * Decoding
 */

static void decode(Rig *r, uint32_t memory)
{
    g_autoptr(Session) s = session_start(r, memory, WIDTH, HEIGHT);

    for (unsigned i = 2; i < 12; i++) {
        assert_session_decodes(s, i);
    }
}

static void test_decode_userptr(Rig *r)
{
    decode(r, VM_MEMORY_USERPTR);
}

static void test_decode_mmap(Rig *r)
{
    uint32_t count = 4;

    if (r->v->pci) {
        decode(r, VM_MEMORY_MMAP);
    } else {
        /* virtio-mmio has no shared memory regions */
        g_autoptr(Session) s = session_open(r);

        g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_OUTPUT, VM_MEMORY_MMAP,
                                    &count), ==, VM_EINVAL);
    }
}

static void test_visible_rectangle(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    QVVRect rect;

    start_output(s, best_memory(r));
    PUT_MEDIA(s, 0, 0, format_crop(128, 96, 2, 4, 120, 90, 8), frame(1));
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    g_assert_cmpint(qvm_g_selection(r->d, s->id, VM_BUF_TYPE_VIDEO_CAPTURE,
                                    VM_SEL_TGT_COMPOSE, &rect), ==, 0);
    g_assert_cmpuint(rect.left, ==, 2);
    g_assert_cmpuint(rect.top, ==, 4);
    g_assert_cmpuint(rect.width, ==, 120);
    g_assert_cmpuint(rect.height, ==, 90);
    g_assert_cmpint(qvm_g_selection(r->d, s->id, QVM_CAPTURE,
                                    VM_SEL_TGT_COMPOSE_BOUNDS, &rect), ==, 0);
    g_assert_cmpuint(rect.width, ==, 128);
    g_assert_cmpint(qvm_g_selection(r->d, s->id, QVM_OUTPUT,
                                    VM_SEL_TGT_CROP, &rect), ==, VM_EINVAL);
    start_capture(s);
    g_assert_cmpuint(le32_to_cpu(s->pix.width), ==, 128);
    expect_media_frame(s, 1, 0);
}

/* The format may be chosen between SOURCE_CHANGE and the buffers */
static void test_choose_raw_format(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_pix_format_mplane pix = {
        .pixelformat = cpu_to_le32(VIDEO_TEST_YUV420),
    };
    QVMEvent ev;

    start_output(s, best_memory(r));
    PUT_MEDIA(s, 0, 0, HEADER, frame(1));
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    g_assert_cmphex(le32_to_cpu(pix.pixelformat), ==, VIDEO_TEST_YUV420);
    start_capture(s);
    do {
        g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
    } while (ev.type != QVM_CAPTURE);
    g_autofree uint8_t *data = read_capture(s, ev.index, ev.bytesused);
    g_assert_cmphex(data[0], ==, video_test_byte(1, 0, 0, 0));
    g_assert_cmphex(data[le32_to_cpu(s->pix.plane_fmt[0].bytesperline) *
                         HEIGHT], ==, video_test_byte(1, 1, 0, 0));
}

static void test_drain(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);
    QVMEvent ev;

    PUT_MEDIA(s, 2, 7, insn(VIDEO_TEST_REORDER, 3), frame_at(2, 2),
              frame_at(1, 1));
    expect_buffer(s, QVM_OUTPUT, 0);
    expect_quiet(s);
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP), ==, 0);
    expect_media_frame(s, 1, 7);
    expect_media_frame(s, 2, 7);
    expect_event(s, VM_EVENT_EOS);
    ev = expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_LAST);
    g_assert_cmpuint(ev.bytesused, ==, 0);

    /* What comes behind waits for the application */
    for (unsigned i = 0; i < 3; i++) {
        get_media(s, (ev.index + 4 - i) % 4);
    }
    PUT_MEDIA(s, 3, 9, insn(VIDEO_TEST_REORDER, 0), frame(9));
    expect_quiet(s);
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_START), ==, 0);
    expect_media_frame(s, 9, 9);
}

/* With no buffer for it, the last one is the next that comes */
static void test_drain_waits_for_buffer(Rig *r)
{
    g_autoptr(Session) s = session_open(r);

    start_output(s, best_memory(r));
    PUT_MEDIA(s, 0, 0, HEADER, frame(1));
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP), ==, 0);
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP), ==,
                    VM_EBUSY);
    expect_quiet(s);
    start_capture(s);
    expect_media_frame(s, 1, 0);
    expect_event(s, VM_EVENT_EOS);
    expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_LAST);
}

/* One access unit is all that there is, and RGB is wanted of it */
static void test_drain_of_one_rgb_frame(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_pix_format_mplane pix = {
        .pixelformat = cpu_to_le32(VIDEO_TEST_XRGB8888),
    };
    g_autofree uint8_t *data = NULL;
    uint32_t stride;
    QVMEvent ev;

    start_output(s, best_memory(r));
    PUT_MEDIA(s, 0, 3, HEADER, frame(1));
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP), ==, 0);
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, 0);
    g_assert_cmphex(le32_to_cpu(pix.pixelformat), ==, VIDEO_TEST_XRGB8888);
    start_capture(s);
    stride = le32_to_cpu(s->pix.plane_fmt[0].bytesperline);
    ev = expect_buffer(s, QVM_CAPTURE, 0);
    g_assert_cmpuint(ev.usec, ==, 3);
    g_assert_cmpuint(ev.bytesused, ==, stride * HEIGHT);
    data = read_capture(s, ev.index, ev.bytesused);
    for (unsigned y = 0; y < HEIGHT; y += HEIGHT - 1) {
        for (unsigned x = 0; x < 4 * WIDTH; x++) {
            g_assert_cmphex(data[y * stride + x], ==,
                            video_test_byte(1, 0, y, x));
        }
    }
    expect_event(s, VM_EVENT_EOS);
    ev = expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_LAST);
    g_assert_cmpuint(ev.bytesused, ==, 0);
}

static void test_stop_without_streaming(Rig *r)
{
    g_autoptr(Session) s = session_open(r);

    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP), ==, 0);
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, 7), ==, VM_EINVAL);
    g_assert_cmpint(qvm_encoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP), ==,
                    VM_ENOTTY);
    expect_quiet(s);
}

/* STREAMOFF of OUTPUT takes back what was queued, at once */
static void test_seek(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);

    PUT_MEDIA(s, 2, 0, insn(VIDEO_TEST_HANG, 0));
    PUT_MEDIA(s, 3, 0, frame(3));
    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_OUTPUT), ==, 0);
    expect_quiet(s);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, 0);
    assert_session_decodes(s, 8);
}

/* A buffer that was queued before STREAMON is taken then */
static void test_queue_before_streamon(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);

    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_OUTPUT), ==, 0);
    PUT_MEDIA(s, 2, 5, frame(3));
    expect_quiet(s);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, 0);
    expect_media_frame(s, 3, 5);
}

static void test_resolution_change(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);

    PUT_MEDIA(s, 2, 4, frame(4), format(320, 240), frame(5));
    expect_media_frame(s, 4, 4);
    expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_LAST);
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    stop_capture(s);
    start_capture(s);
    g_assert_cmpuint(le32_to_cpu(s->pix.width), ==, 320);
    expect_media_frame(s, 5, 4);
    assert_session_decodes(s, 6);
}

/* An application may queue buffers of the old size until it knows better */
static void test_old_size_is_taken(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);

    PUT_MEDIA(s, 2, 4, format(320, 240), frame(5));
    g_usleep(20 * MS);
    get_media(s, 0);        /* that of the first frame */
    expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_LAST);
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    stop_capture(s);
    start_capture(s);
    expect_media_frame(s, 5, 4);
}

/* Buffers that are large enough can stay */
static void test_smaller_resolution_goes_on(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), 320, 240);

    PUT_MEDIA(s, 2, 4, format(WIDTH, HEIGHT), frame(5));
    expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_LAST);
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_START), ==, 0);
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE, &s->pix), ==, 0);
    g_assert_cmpuint(le32_to_cpu(s->pix.width), ==, WIDTH);
    expect_media_frame(s, 5, 4);
}

/*
 * An application may have CAPTURE buffers of the default format before the
 * first header, as ffmpeg does.  If they are right it just goes on.
 */
static void test_early_capture_fits(Rig *r)
{
    g_autoptr(Session) s = session_open(r);

    start_output(s, best_memory(r));
    start_capture(s);
    PUT_MEDIA(s, 0, 7, HEADER, frame(1));
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    expect_quiet(s);
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_START), ==, 0);
    expect_media_frame(s, 1, 7);
    for (unsigned i = 2; i < 8; i++) {
        assert_session_decodes(s, i);
    }
}

/* Another, as GStreamer does, starts anew in any case, and loses no frame */
static void test_early_capture_starts_anew(Rig *r)
{
    g_autoptr(Session) s = session_open(r);

    start_output(s, best_memory(r));
    start_capture(s);
    PUT_MEDIA(s, 0, 7, HEADER, frame(1));
    PUT_MEDIA(s, 2, 8, frame(2));
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    g_usleep(20 * MS);
    stop_capture(s);
    start_capture(s);
    expect_media_frame(s, 1, 7);
    expect_media_frame(s, 2, 8);
}

/* If they don't fit it has to; no buffer is a last one */
static void test_early_capture_does_not_fit(Rig *r)
{
    g_autoptr(Session) s = session_open(r);

    start_output(s, best_memory(r));
    start_capture(s);
    PUT_MEDIA(s, 0, 7, format(320, 240), frame(1));
    PUT_MEDIA(s, 2, 8, frame(2));
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    stop_capture(s);
    start_capture(s);
    expect_media_frame(s, 1, 7);
    expect_media_frame(s, 2, 8);
    for (unsigned i = 3; i < 8; i++) {
        assert_session_decodes(s, i);
    }
}

/* The same with a visible rectangle that is not all of the frame */
static void test_early_capture_is_cropped(Rig *r)
{
    g_autoptr(Session) s = session_open(r);

    start_output(s, best_memory(r));
    start_capture(s);
    PUT_MEDIA(s, 0, 7, format_crop(WIDTH, HEIGHT, 0, 0, WIDTH, 40, 8),
              frame(1));
    expect_event(s, VM_EVENT_SOURCE_CHANGE);
    expect_quiet(s);
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_START), ==, 0);
    expect_media_frame(s, 1, 7);
}

static void test_bad_data(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);

    PUT_MEDIA(s, 2, 4, insn(VIDEO_TEST_BAD, 0));
    expect_buffer(s, QVM_OUTPUT, VM_BUF_FLAG_ERROR);
    assert_session_decodes(s, 6);
    PUT_MEDIA(s, 2, 4, corrupt_frame(5));
    expect_buffer(s, QVM_OUTPUT, 0);
    expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_ERROR);
}

/* An ERROR event would free the session under its file: buffers say it */
static void test_failure(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);
    uint32_t none = 0;
    struct vm_pix_format_mplane pix = { };

    PUT_MEDIA(s, 2, 4, fail("of no use"));
    expect_buffer(s, QVM_OUTPUT, VM_BUF_FLAG_ERROR);
    for (unsigned i = 0; i < N_CAPTURES - 1; i++) {
        expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_ERROR);
    }
    expect_event(s, VM_EVENT_EOS);
    expect_quiet(s);
    g_assert_cmpint(qvm_qbuf(r->d, s->id, QVM_CAPTURE, 0, s->memory,
                             s->cap ? &s->cap->res[0].buffer[0] : NULL, 0, 0),
                    ==, VM_EIO);
    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE, &pix), ==, VM_EIO);
    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_CAPTURE), ==, 0);
    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_OUTPUT), ==, 0);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, VM_EIO);
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_CAPTURE, s->memory, &none),
                    ==, 0);
    assert_media_works(r);
}

/* The codec has failed, but has not ended: nobody asks it for anything */
static void test_failing(Rig *r)
{
    for (unsigned i = 0; i < 4; i++) {
        g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH,
                                             HEIGHT);
        struct vm_pix_format_mplane pix = { };
        uint32_t none = 0;

        /* The reason is told, then the worker sleeps for a while */
        PUT_MEDIA(s, 2, 4, fail("of no use"),
                  insn(VIDEO_TEST_HANG_HARD, 300));
        g_usleep(50 * MS);
        switch (i) {
        case 0:
            qvm_streamoff(r->d, s->id, QVM_OUTPUT);
            qvm_streamoff(r->d, s->id, QVM_CAPTURE);
            break;
        case 1:
            qvm_reqbufs(r->d, s->id, QVM_OUTPUT, s->memory, &none);
            qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &pix);
            break;
        case 2:
            qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP);
            qvm_streamoff(r->d, s->id, QVM_CAPTURE);
            qvm_streamon(r->d, s->id, QVM_CAPTURE);
            break;
        default:
            break;
        }
    }
    assert_media_works(r);
}

/*
 * No command waits for the codec: the driver gives up after five seconds
 */

#define AT_ONCE (2 * G_USEC_PER_SEC)

static void test_streamoff_at_once(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);
    int64_t start = g_get_monotonic_time();

    PUT_MEDIA(s, 2, 4, insn(VIDEO_TEST_HANG_HARD, 3000), frame(1));
    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_CAPTURE), ==, 0);
    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_OUTPUT), ==, 0);
    stop_capture(s);
    g_assert_cmpint(g_get_monotonic_time() - start, <, AT_ONCE);
}

static void test_close_at_once(Rig *r)
{
    int64_t start = g_get_monotonic_time();

    for (unsigned i = 0; i < 3; i++) {
        g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH,
                                             HEIGHT);

        PUT_MEDIA(s, 2, 4, insn(VIDEO_TEST_HANG_HARD, 3000), frame(1));
    }
    g_assert_cmpint(g_get_monotonic_time() - start, <, AT_ONCE);
}

/*
 * Nothing of a queue comes after its STREAMOFF: the answer waits until the
 * driver has given back the event buffers of before.
 */
static void test_streamoff_after_events(Rig *r)
{
    Session *s = session_open(r);
    uint32_t type = cpu_to_le32(QVM_OUTPUT);
    struct virtio_media_cmd_ioctl cmd = {
        .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL),
        .session_id = cpu_to_le32(s->id),
        .code = cpu_to_le32(VM_IOC_STREAMOFF),
    };
    uint64_t mem = guest_alloc(r->alloc, 4096);
    QVVDesc chain[] = { { mem, sizeof(cmd) + 4 }, { mem + 64, 8, true } };
    int64_t end = g_get_monotonic_time() + SOON;
    uint16_t head;

    start_output(s, VM_MEMORY_USERPTR);
    PUT_MEDIA(s, 0, 0, HEADER);
    g_usleep(200 * MS);     /* its event is written, but nobody looks */
    qvv_ram_write(&r->d->ram, mem, &cmd, sizeof(cmd));
    qvv_ram_write(&r->d->ram, mem + sizeof(cmd), &type, sizeof(type));
    qvv_queue_add(r->d, &r->d->cmdq, chain, 2);
    qvv_queue_kick(r->d, &r->d->cmdq);
    g_usleep(10 * MS);
    g_assert_false(qvv_queue_pop(r->d, &r->d->cmdq, &head, NULL));
    expect_buffer(s, QVM_OUTPUT, 0);
    while (!qvv_queue_pop(r->d, &r->d->cmdq, &head, NULL)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS);
    }
    guest_free(r->alloc, mem);
    session_free(s);
}

/* A driver with less event buffers than it had does not wait forever */
static void test_streamoff_without_buffers(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    int64_t start;

    r->d->opts.manual_events = true;
    PUT_MEDIA(s, 2, 0, frame(2));
    expect_media_frame(s, 2, 0);
    start = g_get_monotonic_time();
    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_OUTPUT), ==, 0);
    g_assert_cmpint(g_get_monotonic_time() - start, >, 50 * MS);
    g_assert_cmpint(g_get_monotonic_time() - start, <, AT_ONCE);
}

/* The driver's event buffers at every place of the ring, also around its end */
static void test_streamoff_around_ring(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_event_subscription all = { .type = VM_EVENT_ALL };
    unsigned size = r->d->eventq.vq->size, slow = 0;
    QVMEvent ev;

    start_output(s, VM_MEMORY_USERPTR);
    g_assert_cmpuint(size, <=, 1024);
    for (unsigned i = 0; i < size + 100; i++) {
        int64_t start;

        g_assert_cmpint(qvm_subscribe(r->d, s->id, VM_EVENT_CTRL,
                                      VM_CID_MIN_BUFFERS_FOR_CAPTURE,
                                      VM_EVENT_SUB_FL_SEND_INITIAL), ==, 0);
        g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
        g_assert_cmpint(qvm_ioctl_w(r->d, s->id, VM_IOC_UNSUBSCRIBE_EVENT,
                                    &all, sizeof(all)), ==, 0);
        start = g_get_monotonic_time();
        g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_OUTPUT), ==, 0);
        slow += g_get_monotonic_time() - start > 90 * MS;
        g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, 0);
    }
    /* It takes 100 ms when there seem to be fewer buffers than there were */
    g_assert_cmpuint(slow, <, 16);
}

/* How often the main loop had something to do */
static uint64_t n_wakeups(QTestState *qts)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status",
                                            (int)qtest_pid(qts));
    g_autofree char *text = NULL;
    const char *line;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, "\nvoluntary_ctxt_switches:");
    g_assert_nonnull(line);
    return g_ascii_strtoull(strchr(line, ':') + 1, NULL, 10);
}

/*
 * The answer waits for a stopped machine, too, and for a driver that has taken
 * DRIVER_OK back, but costs nothing there.
 */
static void streamoff_waits(Rig *r, void (*pause)(Rig *r), void (*cont)(Rig *r))
{
    Session *s = session_open(r);
    struct {
        struct virtio_media_cmd_ioctl cmd;
        uint32_t type;
    } QEMU_PACKED req = {
        .cmd.hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL),
        .cmd.session_id = cpu_to_le32(s->id),
        .cmd.code = cpu_to_le32(VM_IOC_STREAMOFF),
        .type = cpu_to_le32(QVM_OUTPUT),
    };
    uint64_t mem = guest_alloc(r->alloc, 4096);
    QVVDesc chain[] = { { mem, sizeof(req) }, { mem + 64, 8, true } };
    int64_t end = g_get_monotonic_time() + SOON;
    uint64_t wakeups;
    uint16_t head;

    start_output(s, VM_MEMORY_USERPTR);
    PUT_MEDIA(s, 0, 0, HEADER);
    g_usleep(20 * MS);
    qvv_ram_write(&r->d->ram, mem, &req, sizeof(req));
    qvv_queue_add(r->d, &r->d->cmdq, chain, 2);
    qvv_queue_kick(r->d, &r->d->cmdq);
    pause(r);
    wakeups = n_wakeups(r->qts);
    g_usleep(400 * MS);
    g_assert_cmpuint(n_wakeups(r->qts) - wakeups, <, 100);
    g_assert_false(qvv_queue_pop(r->d, &r->d->cmdq, &head, NULL));
    cont(r);
    while (!qvv_queue_pop(r->d, &r->d->cmdq, &head, NULL)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS);
    }
    expect_buffer(s, QVM_OUTPUT, 0);
    guest_free(r->alloc, mem);
    session_free(s);
}

static void machine_stop(Rig *r)
{
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'stop' }");
}

static void machine_cont(Rig *r)
{
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'cont' }");
}

static void test_stop_while_streamoff_waits(Rig *r)
{
    streamoff_waits(r, machine_stop, machine_cont);
}

static void driver_not_ok(Rig *r)
{
    QVirtioDevice *vdev = r->d->vdev;

    vdev->bus->set_status(vdev, vdev->bus->get_status(vdev) &
                                ~VIRTIO_CONFIG_S_DRIVER_OK);
}

static void driver_ok(Rig *r)
{
    QVirtioDevice *vdev = r->d->vdev;

    vdev->bus->set_status(vdev, vdev->bus->get_status(vdev) |
                                VIRTIO_CONFIG_S_DRIVER_OK);
}

static void test_not_ok_while_streamoff_waits(Rig *r)
{
    streamoff_waits(r, driver_not_ok, driver_ok);
}

/* The answer that waits is dropped by a reset */
static void test_reset_while_streamoff_waits(Rig *r)
{
    Session *s = session_open(r);
    struct {
        struct virtio_media_cmd_ioctl cmd;
        uint32_t type;
    } QEMU_PACKED req = {
        .cmd.hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL),
        .cmd.session_id = cpu_to_le32(s->id),
        .cmd.code = cpu_to_le32(VM_IOC_STREAMOFF),
        .type = cpu_to_le32(QVM_OUTPUT),
    };
    uint64_t mem = guest_alloc(r->alloc, 4096);
    QVVDesc chain[] = { { mem, sizeof(req) }, { mem + 64, 8, true } };

    start_output(s, VM_MEMORY_USERPTR);
    PUT_MEDIA(s, 0, 0, HEADER);
    g_usleep(20 * MS);
    qvv_ram_write(&r->d->ram, mem, &req, sizeof(req));
    qvv_queue_add(r->d, &r->d->cmdq, chain, 2);
    qvv_queue_kick(r->d, &r->d->cmdq);
    g_usleep(10 * MS);
    restart(r);
    guest_free(r->alloc, mem);
    qvv_pool_free(r->d, s->out);
    g_free(s);
    assert_media_works(r);
}

/*
 * Buffers
 */

static void test_reqbufs(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    uint32_t count = 1000;

    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_OUTPUT, VM_MEMORY_USERPTR,
                                &count), ==, 0);
    g_assert_cmpuint(count, ==, 32);
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_OUTPUT, 4, &count), ==,
                    VM_EINVAL);
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, 2, VM_MEMORY_USERPTR, &count),
                    ==, VM_EINVAL);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_CAPTURE), ==, VM_EINVAL);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, 0);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, 0);
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_OUTPUT, VM_MEMORY_USERPTR,
                                &count), ==, VM_EBUSY);
    /* That is a STREAMOFF, too */
    count = 0;
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_OUTPUT, VM_MEMORY_USERPTR,
                                &count), ==, 0);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, VM_EINVAL);
}

static void test_create_bufs(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_create_buffers create = {
        .memory = cpu_to_le32(VM_MEMORY_USERPTR),
        .format.type = cpu_to_le32(QVM_CAPTURE),
    };
    struct vm_create_buffers wanted;

    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE,
                              &create.format.pix_mp), ==, 0);
    wanted = create;
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_CREATE_BUFS, &wanted,
                              sizeof(wanted)), ==, 0);
    g_assert_cmpuint(le32_to_cpu(wanted.index), ==, 0);
    g_assert_cmpuint(le32_to_cpu(wanted.max_num_buffers), ==, 32);
    for (unsigned i = 0; i < 32; i += 16) {
        wanted = create;
        wanted.count = cpu_to_le32(16);
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_CREATE_BUFS, &wanted,
                                  sizeof(wanted)), ==, 0);
        g_assert_cmpuint(le32_to_cpu(wanted.index), ==, i);
        g_assert_cmpuint(le32_to_cpu(wanted.count), ==, 16);
    }
    wanted = create;
    wanted.count = cpu_to_le32(1);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_CREATE_BUFS, &wanted,
                              sizeof(wanted)), ==, VM_ENOBUFS);
    wanted.format.pix_mp.plane_fmt[0].sizeimage = cpu_to_le32(1);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_CREATE_BUFS, &wanted,
                              sizeof(wanted)), ==, VM_EINVAL);
}

/*
 * What the application says of its content must be the same in what an OUTPUT
 * buffer comes back with and in what is made of it, as v4l2-compliance has it.
 * The codec tells neither, so it is dropped, and the time is that of the end.
 */
static void test_output_flags(Rig *r)
{
    const uint32_t dropped = VM_BUF_FLAG_KEYFRAME | VM_BUF_FLAG_PFRAME |
                             VM_BUF_FLAG_BFRAME | VM_BUF_FLAG_ERROR |
                             VM_BUF_FLAG_TSTAMP_SRC_MASK | VM_BUF_FLAG_LAST;
    struct {
        struct vm_buffer b;
        struct vm_plane p;
    } buf = { };
    QVMEvent ev;

    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    g_autoptr(Session) s = session_start(r, VM_MEMORY_MMAP, WIDTH, HEIGHT);
    /* Memory with a script in it, which is queued once more */
    PUT_MEDIA(s, 2, 0, frame(7));
    expect_buffer(s, QVM_OUTPUT, 0);
    expect_media_frame(s, 7, 0);
    buf.b.index = cpu_to_le32(2);
    buf.b.type = cpu_to_le32(QVM_OUTPUT);
    buf.b.memory = cpu_to_le32(s->memory);
    buf.b.length = cpu_to_le32(1);
    buf.b.flags = cpu_to_le32(dropped);
    buf.p.bytesused = cpu_to_le32(sizeof(VideoTestInsn));
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QBUF, &buf, sizeof(buf)), ==,
                    0);
    g_assert_cmphex(le32_to_cpu(buf.b.flags) & dropped, ==, 0);
    ev = expect_buffer(s, QVM_OUTPUT, 0);
    g_assert_cmpuint(ev.index, ==, 2);
    ev = expect_media_frame(s, 7, 0);
    g_assert_cmphex(ev.flags & dropped, ==, 0);
}

/* More than the 32 that V4L2's VIDEO_MAX_FRAME once was the limit for */
static void test_256_bufs(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_requestbuffers req = {
        .count = cpu_to_le32(300),
        .type = cpu_to_le32(QVM_OUTPUT),
        .memory = cpu_to_le32(VM_MEMORY_USERPTR),
    };
    struct vm_create_buffers create = {
        .memory = cpu_to_le32(VM_MEMORY_USERPTR),
        .format.type = cpu_to_le32(QVM_OUTPUT),
    };
    struct vm_buffer b;
    struct vm_plane p;

    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_REQBUFS, &req, sizeof(req)),
                    ==, 0);
    g_assert_cmpuint(le32_to_cpu(req.count), ==, 256);
    g_assert_cmphex(le32_to_cpu(req.capabilities) &
                    VM_BUF_CAP_MAX_NUM_BUFFERS, ==, 0);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_CREATE_BUFS, &create,
                              sizeof(create)), ==, 0);
    g_assert_cmpuint(le32_to_cpu(create.index), ==, 256);
    g_assert_cmpuint(le32_to_cpu(create.max_num_buffers), ==, 256);
    g_assert_cmphex(le32_to_cpu(create.capabilities) &
                    VM_BUF_CAP_MAX_NUM_BUFFERS, !=, 0);
    g_assert_cmpint(qvm_querybuf(r->d, s->id, QVM_OUTPUT, 255, &b, &p), ==, 0);
    g_assert_cmpint(qvm_querybuf(r->d, s->id, QVM_OUTPUT, 256, &b, &p), ==,
                    VM_EINVAL);
}

/* STOP is one command more than there are buffers, and is taken behind all */
static void test_stop_behind_256_bufs(Rig *r)
{
    const struct vm_pix_format_mplane h264 = {
        .pixelformat = cpu_to_le32(VM_PIX_FMT_H264),
        .plane_fmt[0].sizeimage = cpu_to_le32(4096),
        .width = cpu_to_le32(WIDTH),
        .height = cpu_to_le32(HEIGHT),
    };
    g_autoptr(Session) s = session_open(r);
    struct vm_pix_format_mplane pix = h264;
    uint64_t size = 4096;
    QVMEvent ev;

    s->memory = VM_MEMORY_USERPTR;
    s->n_out = 256;
    g_assert_cmpint(qvm_s_fmt(r->d, s->id, QVM_OUTPUT, &pix), ==, 0);
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_OUTPUT, s->memory,
                                &s->n_out), ==, 0);
    g_assert_cmpuint(s->n_out, ==, 256);
    s->out = qvv_pool_new(r->d, s->n_out, 1, &size, QVV_CONTIGUOUS);
    g_assert_cmpint(qvm_streamon(r->d, s->id, QVM_OUTPUT), ==, 0);

    /* The codec keeps this frame, and takes no other data, without CAPTURE */
    PUT_MEDIA(s, 0, 7, HEADER, frame(1));
    for (unsigned i = 0; i < 2; i++) {
        g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
        g_assert_true(ev.event != VIRTIO_MEDIA_EVT_DQBUF ||
                      ev.type == QVM_OUTPUT);
    }
    for (unsigned i = 0; i < s->n_out; i++) {
        PUT_MEDIA(s, i, i, insn(VIDEO_TEST_NOP, 0));
    }
    g_assert_cmpint(qvm_decoder_cmd(r->d, s->id, VM_CODEC_CMD_STOP), ==, 0);
    start_capture(s);
    expect_media_frame(s, 1, 7);
    expect_event(s, VM_EVENT_EOS);
    ev = expect_buffer(s, QVM_CAPTURE, VM_BUF_FLAG_LAST);
    g_assert_cmpuint(ev.bytesused, ==, 0);
}

static void test_qbuf_errors(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    const QVVBuffer *out = &s->out->res[2].buffer[0];
    QVVBuffer small = *out;
    QVVEntry hole = { .addr = 1ull << 40, .len = 4096 };
    QVVBuffer nowhere = { .size = 4096, .n_entries = 1, .entries = &hole };

#define QBUF(type, index, memory, mem, used) \
    qvm_qbuf(r->d, s->id, type, index, memory, mem, used, 0)
    g_assert_cmpint(QBUF(QVM_OUTPUT, 8, VM_MEMORY_USERPTR, out, 40), ==,
                    VM_EINVAL);
    g_assert_cmpint(QBUF(3, 2, VM_MEMORY_USERPTR, out, 40), ==, VM_EINVAL);
    g_assert_cmpint(QBUF(QVM_OUTPUT, 2, VM_MEMORY_MMAP, NULL, 40), ==,
                    VM_EINVAL);
    g_assert_cmpint(QBUF(QVM_OUTPUT, 2, VM_MEMORY_USERPTR, out, 4097), ==,
                    VM_EINVAL);
    g_assert_cmpint(QBUF(QVM_OUTPUT, 2, VM_MEMORY_USERPTR, NULL, 40), ==,
                    VM_EINVAL);
    g_assert_cmpint(QBUF(QVM_OUTPUT, 2, VM_MEMORY_USERPTR, &nowhere, 40), ==,
                    VM_EINVAL);
    small.n_entries = 0;
    g_assert_cmpint(QBUF(QVM_OUTPUT, 2, VM_MEMORY_USERPTR, &small, 40), ==,
                    VM_EINVAL);
    /* CAPTURE buffers 0 to 3 are queued but for the first frame's */
    g_assert_cmpint(QBUF(QVM_CAPTURE, 1, VM_MEMORY_USERPTR,
                         &s->cap->res[1].buffer[0], 0), ==, VM_EINVAL);
#undef QBUF
    assert_session_decodes(s, 3);
}

/*
 * Values that V4L2 refuses, one ioctl after another
 */

static int selection(Session *s, uint32_t code, uint32_t type, uint32_t target,
                     struct vm_selection *sel)
{
    *sel = (struct vm_selection) {
        .type = cpu_to_le32(type),
        .target = cpu_to_le32(target),
        .width = cpu_to_le32(8),
        .height = cpu_to_le32(8),
    };
    return qvm_ioctl(s->d, s->id, code, sel, sizeof(*sel));
}

/* What is composed is what is visible: it can be asked for, not chosen */
static void test_bad_selections(Rig *r)
{
    static const uint32_t codes[] = {
        VM_IOC_G_SELECTION, VM_IOC_S_SELECTION,
    };
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);
    struct vm_selection sel;

    g_assert_cmpint(selection(s, VM_IOC_S_SELECTION, QVM_CAPTURE,
                              VM_SEL_TGT_COMPOSE, &sel), ==, 0);
    g_assert_cmpuint(le32_to_cpu(sel.width), ==, WIDTH);
    g_assert_cmpuint(le32_to_cpu(sel.height), ==, HEIGHT);
    g_assert_cmpint(selection(s, VM_IOC_S_SELECTION, QVM_CAPTURE,
                              VM_SEL_TGT_CROP, &sel), ==, VM_EINVAL);
    g_assert_cmpint(selection(s, VM_IOC_S_SELECTION, QVM_CAPTURE,
                              VM_SEL_TGT_COMPOSE_BOUNDS, &sel), ==, VM_EINVAL);
    for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
        g_assert_cmpint(selection(s, codes[i], QVM_OUTPUT, VM_SEL_TGT_COMPOSE,
                                  &sel), ==, VM_EINVAL);
        g_assert_cmpint(selection(s, codes[i], 0, VM_SEL_TGT_COMPOSE, &sel),
                        ==, VM_EINVAL);
        g_assert_cmpint(selection(s, codes[i], QVM_CAPTURE, 0x4711, &sel), ==,
                        VM_EINVAL);
    }
}

static void test_bad_types(Rig *r)
{
    static const uint32_t types[] = {
        0, 3, 8, 11, UINT32_MAX,
    };
    g_autoptr(Session) s = session_open(r);

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        struct vm_format f = { .type = cpu_to_le32(types[i]) };
        struct vm_format asked = f;
        uint32_t count = 1;

        g_test_message("type %u", types[i]);
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_G_FMT, &asked,
                                  sizeof(asked)), ==, VM_EINVAL);
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_FMT, &asked,
                                  sizeof(asked)), ==, VM_EINVAL);
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_TRY_FMT, &asked,
                                  sizeof(asked)), ==, VM_EINVAL);
        g_assert_cmpint(qvm_streamon(r->d, s->id, types[i]), ==, VM_EINVAL);
        g_assert_cmpint(qvm_streamoff(r->d, s->id, types[i]), ==, VM_EINVAL);
        g_assert_cmpint(qvm_reqbufs(r->d, s->id, types[i],
                                    VM_MEMORY_USERPTR, &count), ==, VM_EINVAL);
    }
}

static void test_bad_codec_commands(Rig *r)
{
    g_autoptr(Session) s = session_start(r, best_memory(r), WIDTH, HEIGHT);
    static const uint32_t good[] = { VM_CODEC_CMD_START, VM_CODEC_CMD_STOP };
    struct vm_decoder_cmd cmd = { .cmd = cpu_to_le32(7) };
    struct vm_encoder_cmd encoder = { };

    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_TRY_DECODER_CMD, &cmd,
                              sizeof(cmd)), ==, VM_EINVAL);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_DECODER_CMD, &cmd,
                              sizeof(cmd)), ==, VM_EINVAL);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_TRY_ENCODER_CMD, &encoder,
                              sizeof(encoder)), ==, VM_ENOTTY);
    for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
        cmd.cmd = cpu_to_le32(good[i]);
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_TRY_DECODER_CMD, &cmd,
                                  sizeof(cmd)), ==, 0);
    }
    /* To try is not to do */
    assert_session_decodes(s, 5);
}

/* The frame rate is an encoder's */
static void test_no_parm_of_decoder(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_streamparm parm = { .type = cpu_to_le32(QVM_OUTPUT) };

    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_G_PARM, &parm,
                              sizeof(parm)), ==, VM_ENOTTY);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_S_PARM, &parm,
                              sizeof(parm)), ==, VM_ENOTTY);
}

static int create_bufs(Session *s, const struct vm_create_buffers *wanted)
{
    struct vm_create_buffers create = *wanted;

    return qvm_ioctl(s->d, s->id, VM_IOC_CREATE_BUFS, &create, sizeof(create));
}

static void test_create_bufs_errors(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_create_buffers good = {
        .count = cpu_to_le32(1),
        .memory = cpu_to_le32(VM_MEMORY_USERPTR),
        .format.type = cpu_to_le32(QVM_CAPTURE),
    };
    struct vm_create_buffers bad;

    g_assert_cmpint(qvm_g_fmt(r->d, s->id, QVM_CAPTURE, &good.format.pix_mp),
                    ==, 0);
    bad = good;
    bad.format.type = cpu_to_le32(3);
    g_assert_cmpint(create_bufs(s, &bad), ==, VM_EINVAL);
    bad = good;
    bad.memory = cpu_to_le32(4);    /* DMABUF */
    g_assert_cmpint(create_bufs(s, &bad), ==, VM_EINVAL);
    bad = good;
    bad.format.pix_mp.num_planes = 2;
    g_assert_cmpint(create_bufs(s, &bad), ==, VM_EINVAL);
    bad = good;
    bad.format.pix_mp.num_planes = 0;
    g_assert_cmpint(create_bufs(s, &bad), ==, VM_EINVAL);
    g_assert_cmpint(create_bufs(s, &good), ==, 0);
    /* A queue has one kind of memory */
    bad = good;
    bad.memory = cpu_to_le32(VM_MEMORY_MMAP);
    g_assert_cmpint(create_bufs(s, &bad), ==, VM_EINVAL);
    g_assert_cmpint(create_bufs(s, &good), ==, 0);
}

typedef struct QBuf {
    struct vm_buffer b;
    struct vm_plane p;
    struct virtio_media_sg_entry sg;
} QEMU_PACKED QBuf;

/* OUTPUT buffer 2 with @size bytes, of which the first @offset don't count */
static QBuf qbuf_of(Session *s, uint32_t offset, uint32_t size)
{
    return (QBuf) {
        .b.index = cpu_to_le32(2),
        .b.type = cpu_to_le32(QVM_OUTPUT),
        .b.memory = cpu_to_le32(VM_MEMORY_USERPTR),
        .b.length = cpu_to_le32(1),
        .p.bytesused = cpu_to_le32(size),
        .p.data_offset = cpu_to_le32(offset),
        .p.length = cpu_to_le32(4096),
        .sg.start = cpu_to_le64(s->out->res[2].buffer[0].entries[0].addr),
        .sg.len = cpu_to_le32(4096),
    };
}

static int qbuf(Session *s, const QBuf *buf)
{
    QBuf answer;

    return qvm_ioctl_parts(s->d, s->id, VM_IOC_QBUF, buf, sizeof(*buf),
                           &answer, sizeof(answer.b) + sizeof(answer.p), NULL);
}

static void test_data_offset(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    VideoTestInsn script[] = { insn(VIDEO_TEST_BAD, 0), frame(9) };
    const uint32_t half = sizeof(script[0]);
    QVMEvent ev;
    QBuf buf;

    insns_to_le(script, ARRAY_SIZE(script));
    qvv_buffer_write(r->d, &s->out->res[2].buffer[0], 0, script,
                     sizeof(script));
    buf = qbuf_of(s, 2 * half, 2 * half);
    g_assert_cmpint(qbuf(s, &buf), ==, VM_EINVAL);
    buf = qbuf_of(s, UINT32_MAX, 2 * half);
    g_assert_cmpint(qbuf(s, &buf), ==, VM_EINVAL);
    buf = qbuf_of(s, half, 2 * half);
    g_assert_cmpint(qbuf(s, &buf), ==, 0);
    do {
        g_assert_true(next_media(s, &ev, QVV_TIMEOUT_US));
        g_assert_cmpuint(ev.event, ==, VIRTIO_MEDIA_EVT_DQBUF);
    } while (ev.type != QVM_OUTPUT || ev.index != 2);
    g_assert_cmpuint(ev.data_offset, ==, half);
    g_assert_cmpuint(ev.bytesused, ==, 2 * half);
    expect_media_frame(s, 9, 0);
}

static void test_qbuf_bad_fields(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    QBuf buf = qbuf_of(s, 0, 64);

    buf.b.flags = cpu_to_le32(VM_BUF_FLAG_REQUEST_FD);
    g_assert_cmpint(qbuf(s, &buf), ==, VM_EBADR);
    buf = qbuf_of(s, 0, 64);
    buf.b.field = cpu_to_le32(2);   /* the top one */
    g_assert_cmpint(qbuf(s, &buf), ==, VM_EINVAL);
    assert_session_decodes(s, 3);
}

static void test_prepare_buf_errors(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    QBuf bad[] = {
        qbuf_of(s, 0, 64), qbuf_of(s, 0, 64), qbuf_of(s, 0, 64),
        qbuf_of(s, 0, 4097),
    };

    bad[0].b.index = cpu_to_le32(1000);
    bad[1].b.type = cpu_to_le32(3);
    bad[2].b.memory = cpu_to_le32(VM_MEMORY_MMAP);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        QBuf answer;

        g_assert_cmpint(qvm_ioctl_parts(s->d, s->id, VM_IOC_PREPARE_BUF,
                                        &bad[i], sizeof(bad[i]), &answer,
                                        sizeof(answer.b) + sizeof(answer.p),
                                        NULL), ==, VM_EINVAL);
    }
    assert_session_decodes(s, 3);
}

static void test_unknown_controls_and_formats(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_queryctrl q = { .id = cpu_to_le32(0x4711) };
    struct vm_querymenu menu = { .id = cpu_to_le32(0x4711) };
    struct vm_frmsizeenum size = { .pixel_format = cpu_to_le32(0x4711) };
    uint32_t value;

    g_assert_cmpint(qvm_g_ctrl(r->d, s->id, 0x4711, &value), ==, VM_EINVAL);
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id, 0x4711, 1), ==, VM_EINVAL);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERYCTRL, &q, sizeof(q)),
                    ==, VM_EINVAL);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERYMENU, &menu,
                              sizeof(menu)), ==, VM_EINVAL);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_ENUM_FRAMESIZES, &size,
                              sizeof(size)), ==, VM_EINVAL);
}

/* Pages of an application begin and end anywhere */
static void test_userptr_any_bytes(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    uint64_t base = s->out->res[4].buffer[0].entries[0].addr;
    QVVEntry entries[] = { { base + 100, 52 }, { base + 2048, 2048 },
                           { base - 4096, 4096 } };
    QVVBuffer buf = { .size = 4096, .n_entries = 3, .entries = entries };
    VideoTestInsn script[] = { frame(42), insn(VIDEO_TEST_NOP, 0) };

    insns_to_le(script, 2);
    qvv_ram_write(&r->d->ram, base + 100, script, 52);
    qvv_ram_write(&r->d->ram, base + 2048, (uint8_t *)script + 52,
                  sizeof(script) - 52);
    g_assert_cmpint(qvm_qbuf(r->d, s->id, QVM_OUTPUT, 2, VM_MEMORY_USERPTR,
                             &buf, sizeof(script), 11), ==, 0);
    expect_media_frame(s, 42, 11);
}

/* What an application calls its memory: an address that is none here */
#define USERPTR 0x7f0123456000

static void test_prepare_buf(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    struct {
        struct vm_buffer b;
        struct vm_plane p;
        struct virtio_media_sg_entry sg;
    } buf = {
        .b.index = cpu_to_le32(2),
        .b.type = cpu_to_le32(QVM_OUTPUT),
        .b.memory = cpu_to_le32(VM_MEMORY_USERPTR),
        .b.length = cpu_to_le32(1),
        .p.length = cpu_to_le32(4096),
        .p.bytesused = cpu_to_le32(40),
        .p.m = cpu_to_le64(USERPTR),
        .sg.start = cpu_to_le64(s->out->res[2].buffer[0].entries[0].addr),
        .sg.len = cpu_to_le32(4096),
    };
    struct vm_buffer b;
    struct vm_plane p;

    g_assert_cmpint(qvm_querybuf(r->d, s->id, QVM_OUTPUT, 2, &b, &p), ==, 0);
    g_assert_cmphex(le64_to_cpu(p.m), ==, 0);
    g_assert_cmpint(qvm_ioctl_parts(r->d, s->id, VM_IOC_PREPARE_BUF, &buf,
                                    sizeof(buf), &buf, 152, NULL), ==, 0);
    g_assert_cmphex(le32_to_cpu(buf.b.flags) & VM_BUF_FLAG_PREPARED, !=, 0);
    g_assert_cmphex(le64_to_cpu(buf.p.m), ==, USERPTR);
    g_assert_cmpint(qvm_querybuf(r->d, s->id, QVM_OUTPUT, 2, &b, &p), ==, 0);
    g_assert_cmphex(le32_to_cpu(b.flags) & VM_BUF_FLAG_PREPARED, !=, 0);
    g_assert_cmphex(le64_to_cpu(p.m), ==, USERPTR);
    g_assert_cmpint(qvm_ioctl_parts(r->d, s->id, VM_IOC_PREPARE_BUF, &buf,
                                    sizeof(buf), &buf, 152, NULL), ==,
                    VM_EINVAL);
    PUT_MEDIA(s, 2, 6, frame(12));
    expect_media_frame(s, 12, 6);
    g_assert_cmpint(qvm_querybuf(r->d, s->id, QVM_OUTPUT, 2, &b, &p), ==, 0);
    g_assert_cmphex(le64_to_cpu(p.m), ==, USERPTR);
}

/*
 * Mappings
 */

/* Where there is no memory some machines read zeroes and others ones */
static void assert_empty(Rig *r, uint64_t addr)
{
    uint64_t value = qtest_readq(r->qts, addr);

    g_assert_true(value == 0 || value == UINT64_MAX);
}

typedef struct Mapped {
    uint64_t region, offset, addr, len;
} Mapped;

static Mapped map_output(Session *s, unsigned index)
{
    struct vm_buffer b;
    struct vm_plane p;
    Mapped m;
    uint64_t size;

    g_assert_cmpint(qvm_querybuf(s->d, s->id, QVM_OUTPUT, index, &b, &p), ==,
                    0);
    m.offset = le64_to_cpu(p.m);
    g_assert_cmpint(qvm_mmap(s->d, s->id, m.offset, &m.addr, &m.len), ==, 0);
    m.region = qvm_region(s->v, &size);
    return m;
}

static void test_unmapped_is_empty(Rig *r)
{
    uint64_t size;
    uint64_t region = qvm_region(r->v, &size);

    if (!region) {
        g_test_skip("no shared memory region");
        return;
    }
    g_autoptr(Session) s = session_open(r);
    start_output(s, VM_MEMORY_MMAP);
    Mapped m = map_output(s, 0);
    g_assert_cmpuint(m.len, ==, 4096);
    g_assert_cmphex(qtest_readq(r->qts, region + m.addr), ==, 0);
    qtest_writeq(r->qts, region + m.addr, 4711);
    g_assert_cmphex(qtest_readq(r->qts, region + m.addr), ==, 4711);
    g_assert_cmpint(qvm_munmap(r->d, m.addr), ==, 0);
    assert_empty(r, region + m.addr);
    g_assert_cmpint(qvm_munmap(r->d, m.addr), ==, VM_EINVAL);
}

static void test_mappings_are_counted(Rig *r)
{
    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    g_autoptr(Session) s = session_open(r);
    start_output(s, VM_MEMORY_MMAP);
    Mapped m = map_output(s, 1);
    Mapped again = map_output(s, 1);
    g_assert_cmphex(m.addr, ==, again.addr);
    g_assert_cmpint(qvm_munmap(r->d, m.addr), ==, 0);
    qtest_writeq(r->qts, m.region + m.addr, 12);
    g_assert_cmphex(qtest_readq(r->qts, m.region + m.addr), ==, 12);
    g_assert_cmpint(qvm_munmap(r->d, m.addr), ==, 0);
    assert_empty(r, m.region + m.addr);
}

/* One that is only to be read is the same window, and counts as any other */
static void test_mapping_without_rw(Rig *r)
{
    uint64_t addr, len;

    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    g_autoptr(Session) s = session_open(r);
    start_output(s, VM_MEMORY_MMAP);
    Mapped m = map_output(s, 1);
    g_assert_cmpint(qvm_mmap_flags(r->d, s->id, 0, m.offset, &addr, &len), ==,
                    0);
    g_assert_cmphex(addr, ==, m.addr);
    g_assert_cmpuint(len, ==, m.len);
    qtest_writeq(r->qts, m.region + addr, 12);
    g_assert_cmpint(qvm_munmap(r->d, addr), ==, 0);
    g_assert_cmphex(qtest_readq(r->qts, m.region + addr), ==, 12);
    g_assert_cmpint(qvm_munmap(r->d, addr), ==, 0);
    assert_empty(r, m.region + addr);

    g_assert_cmpint(qvm_mmap_flags(r->d, s->id, 0, m.offset, &addr, &len), ==,
                    0);
    g_assert_cmphex(qtest_readq(r->qts, m.region + addr), ==, 12);
    qtest_writeq(r->qts, m.region + addr, 13);
    g_assert_cmphex(qtest_readq(r->qts, m.region + addr), ==, 13);
}

/* ... its buffer and its session, and then nobody sees what was in it */
static void test_mapping_outlives(Rig *r)
{
    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    Session *s = session_open(r);
    start_output(s, VM_MEMORY_MMAP);
    Mapped m = map_output(s, 0);
    qtest_writeq(r->qts, m.region + m.addr, 12);
    session_free(s);
    g_assert_cmphex(qtest_readq(r->qts, m.region + m.addr), ==, 12);

    g_autoptr(Session) other = session_open(r);
    start_output(other, VM_MEMORY_MMAP);
    Mapped o = map_output(other, 0);
    g_assert_cmphex(o.addr, !=, m.addr);
    g_assert_cmpint(qvm_munmap(r->d, m.addr), ==, 0);
    assert_empty(r, m.region + m.addr);

    /* The next buffer gets the same place */
    uint32_t count = 1;
    g_assert_cmpint(qvm_reqbufs(r->d, other->id, QVM_CAPTURE, VM_MEMORY_MMAP,
                                &count), ==, 0);
    struct vm_buffer b;
    struct vm_plane p;
    g_assert_cmpint(qvm_querybuf(r->d, other->id, QVM_CAPTURE, 0, &b, &p),
                    ==, 0);
    g_assert_cmpint(qvm_mmap(r->d, other->id, le64_to_cpu(p.m), &o.addr,
                             &o.len), ==, 0);
    for (uint64_t i = 0; i < 65536; i += 8) {
        g_assert_cmphex(qtest_readq(r->qts, m.region + o.addr + i), ==, 0);
    }
}

/* May QEMU lock memory, however much it is? */
static bool can_lock_memory(void)
{
    const size_t size = 64 * GiB;
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
                   MAP_NORESERVE, -1, 0);
    bool can = false;

    if (p != MAP_FAILED) {
        can = !mlock2(p, size, MLOCK_ONFAULT);
        munmap(p, size);
    }
    return can;
}

/* A buffer's memory is zero for the next one; QEMU does not speak of that */
static void assert_memory_is_cleared(const char *more)
{
    g_autofree char *log = NULL, *text = NULL, *args = NULL;
    int fd = g_file_open_tmp("virtio-media-XXXXXX", &log, NULL);
    Mapped m, o;
    Session *s;
    Rig *r;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    args = g_strdup_printf("%s %s 2>%s", qos_get_current_command_line(), more,
                           log);
    r = second_rig(args);
    start(r, NULL);
    for (unsigned i = 0; i < 2; i++) {
        s = session_open(r);
        start_output(s, VM_MEMORY_MMAP);
        m = map_output(s, 0);
        g_assert_cmphex(qtest_readq(r->qts, m.region + m.addr), ==, 0);
        qtest_writeq(r->qts, m.region + m.addr, 4711);
        g_assert_cmpint(qvm_munmap(r->d, m.addr), ==, 0);
        o = map_output(s, 0);
        g_assert_cmphex(o.addr, ==, m.addr);
        g_assert_cmphex(qtest_readq(r->qts, m.region + m.addr), ==, 4711);
        g_assert_cmpint(qvm_munmap(r->d, o.addr), ==, 0);
        session_free(s);
    }
    qvv_stop(r->d);
    second_rig_free(r);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    g_assert_null(strstr(text, "ram_block_discard_range"));
    unlink(log);
}

static void test_locked_memory(Rig *first)
{
    if (not_here(first)) {
        return;
    }
    if (!can_lock_memory()) {
        g_test_skip("memory may not be locked");
        return;
    }
    assert_memory_is_cleared("-overcommit mem-lock=on-fault");
}

static void test_shared_memory(Rig *first)
{
    if (not_here(first)) {
        return;
    }
    assert_memory_is_cleared("-machine aux-ram-share=on");
}

static uint32_t output_flags(Session *s, unsigned index)
{
    struct vm_buffer b;
    struct vm_plane p;

    g_assert_cmpint(qvm_querybuf(s->d, s->id, QVM_OUTPUT, index, &b, &p), ==,
                    0);
    g_assert_cmpuint(le32_to_cpu(b.index), ==, index);
    g_assert_cmpuint(le32_to_cpu(b.type), ==, QVM_OUTPUT);
    g_assert_cmpuint(le32_to_cpu(b.memory), ==, s->memory);
    g_assert_cmpuint(le32_to_cpu(b.field), ==, VM_FIELD_NONE);
    g_assert_cmpuint(le32_to_cpu(b.length), ==, 1);
    g_assert_cmpuint(le32_to_cpu(p.length), ==, s->out_size);
    return le32_to_cpu(b.flags);
}

/* What QUERYBUF and DQBUF say of the state of a buffer */
static void test_buffer_flags(Rig *r)
{
    const uint32_t copy = VM_BUF_FLAG_TIMESTAMP_COPY;
    VideoTestInsn hang = insn(VIDEO_TEST_HANG, 0);
    VideoTestInsn nop = insn(VIDEO_TEST_NOP, 0);
    QVMEvent ev;

    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    g_autoptr(Session) s = session_start(r, VM_MEMORY_MMAP, WIDTH, HEIGHT);
    g_assert_cmphex(output_flags(s, 2), ==, copy);
    Mapped m = map_output(s, 2);
    g_assert_cmphex(output_flags(s, 2), ==, copy | VM_BUF_FLAG_MAPPED);
    g_assert_cmphex(output_flags(s, 3), ==, copy);

    insns_to_le(&nop, 1);
    qtest_memwrite(r->qts, m.region + m.addr, &nop, sizeof(nop));
    g_assert_cmpint(qvm_qbuf(r->d, s->id, QVM_OUTPUT, 2, s->memory, NULL,
                             sizeof(nop), 11), ==, 0);
    ev = expect_buffer(s, QVM_OUTPUT, VM_BUF_FLAG_MAPPED);
    g_assert_cmpuint(ev.index, ==, 2);
    g_assert_cmpuint(ev.bytesused, ==, sizeof(nop));
    g_assert_cmpuint(ev.usec, ==, 11);
    g_assert_cmphex(ev.offset, ==, m.offset);
    g_assert_cmpuint(ev.length, ==, m.len);

    insns_to_le(&hang, 1);
    qtest_memwrite(r->qts, m.region + m.addr, &hang, sizeof(hang));
    g_assert_cmpint(qvm_qbuf(r->d, s->id, QVM_OUTPUT, 2, s->memory, NULL,
                             sizeof(hang), 12), ==, 0);
    PUT_MEDIA(s, 3, 13, insn(VIDEO_TEST_NOP, 0));
    g_assert_cmphex(output_flags(s, 3), ==, copy | VM_BUF_FLAG_QUEUED);
    g_assert_cmpint(qvm_munmap(r->d, m.addr), ==, 0);
    g_assert_cmpint(qvm_streamoff(r->d, s->id, QVM_OUTPUT), ==, 0);
    g_assert_cmphex(output_flags(s, 2), ==, copy);
    g_assert_cmphex(output_flags(s, 3), ==, copy);
}

static void test_mmap_errors(Rig *r)
{
    uint64_t addr, len;

    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    g_autoptr(Session) s = session_open(r);
    g_autoptr(Session) other = session_open(r);
    start_output(s, VM_MEMORY_MMAP);
    Mapped m = map_output(s, 0);
    g_assert_cmpint(qvm_mmap(r->d, s->id, m.offset + 4096, &addr, &len), ==,
                    VM_EINVAL);
    g_assert_cmpint(qvm_mmap(r->d, other->id, m.offset, &addr, &len), ==,
                    VM_EINVAL);
    g_assert_cmpint(qvm_mmap(r->d, s->id, UINT32_MAX, &addr, &len), ==,
                    VM_EINVAL);
    g_assert_cmpint(qvm_munmap(r->d, UINT64_MAX), ==, VM_EINVAL);
}

static void test_max_mappings(Rig *r)
{
    uint64_t addr, len;
    struct vm_buffer b;
    struct vm_plane p;

    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    g_autoptr(Session) s = session_open(r);
    start_output(s, VM_MEMORY_MMAP);
    map_output(s, 0);
    map_output(s, 1);
    g_assert_cmpint(qvm_querybuf(r->d, s->id, QVM_OUTPUT, 2, &b, &p), ==, 0);
    g_assert_cmpint(qvm_mmap(r->d, s->id, le64_to_cpu(p.m), &addr, &len), ==,
                    VM_ENOMEM);
    /* The same once more is no other one */
    map_output(s, 1);
}

/*
 * 1024 windows, none next to another, are what a VM can have; then they go, and
 * can come back.
 */
static void test_most_mappings(Rig *r)
{
    const unsigned n_sessions = 16, n_buffers = 256;
    g_autofree uint32_t *ids = g_new(uint32_t, n_sessions);
    uint64_t addr, len;
    unsigned n = 0;
    int ret = 0;

    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    for (unsigned i = 0; i < n_sessions && !ret; i++) {
        struct vm_pix_format_mplane pix = {
            .pixelformat = cpu_to_le32(VM_PIX_FMT_H264),
            .plane_fmt[0].sizeimage = cpu_to_le32(4096),
        };
        uint32_t count = n_buffers;

        g_assert_cmpint(qvm_open(r->d, &ids[i]), ==, 0);
        g_assert_cmpint(qvm_s_fmt(r->d, ids[i], QVM_OUTPUT, &pix), ==, 0);
        g_assert_cmpint(qvm_reqbufs(r->d, ids[i], QVM_OUTPUT, VM_MEMORY_MMAP,
                                    &count), ==, 0);
        g_assert_cmpuint(count, ==, n_buffers);
        for (unsigned b = 0; b < n_buffers && !ret; b += 2) {
            struct vm_buffer buf;
            struct vm_plane p;

            g_assert_cmpint(qvm_querybuf(r->d, ids[i], QVM_OUTPUT, b, &buf,
                                         &p), ==, 0);
            ret = qvm_mmap(r->d, ids[i], le64_to_cpu(p.m), &addr, &len);
            n += !ret;
        }
    }
    g_assert_cmpint(ret, ==, VM_ENOMEM);
    g_assert_cmpuint(n, ==, 960);
    restart(r);
    assert_media_works(r);
}

/* Not more than what QEMU can have in a VM */
static void test_too_many_mappings(Rig *r)
{
    QDict *rsp, *error;

    if (!r->v->pci || r->v->pci->pdev->bus->not_hotpluggable) {
        g_test_skip("pci bus does not support hotplug");
        return;
    }
    rsp = qtest_qmp(r->qts, "{ 'execute': 'device_add', 'arguments': {"
                    " 'driver': 'virtio-media-pci', 'codec': 'codec0',"
                    " 'max-mappings': 1025 } }");
    error = qdict_get_qdict(rsp, "error");
    g_assert_nonnull(error);
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), "'max-mappings'"));
    qobject_unref(rsp);
}

/* MMAP buffers count for max-mem, and the region has an end */
static void test_mmap_memory(Rig *r)
{
    uint32_t count = 32;

    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    g_autoptr(Session) s = session_open(r);
    /* A default buffer has half a megabyte, and there are two in all */
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_OUTPUT, VM_MEMORY_MMAP,
                                &count), ==, 0);
    g_assert_cmpuint(count, <, 4);
    count = 32;
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_CAPTURE, VM_MEMORY_MMAP,
                                &count), ==, VM_ENOMEM);
    count = 0;
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_OUTPUT, VM_MEMORY_MMAP,
                                &count), ==, 0);
    count = 1;
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_CAPTURE, VM_MEMORY_MMAP,
                                &count), ==, 0);
}

/* A reset ends all mappings */
static void test_reset_unmaps(Rig *r)
{
    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    Session *s = session_open(r);
    start_output(s, VM_MEMORY_MMAP);
    Mapped m = map_output(s, 0);
    g_free(s);
    restart(r);
    assert_empty(r, m.region + m.addr);
    g_assert_cmpint(qvm_munmap(r->d, m.addr), ==, VM_EINVAL);
    assert_media_works(r);
}

/*
 * Controls and events
 */

static void test_decoder_controls(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_query_ext_ctrl q = { };
    uint32_t ids[] = { VM_CID_USER_CLASS, VM_CID_MIN_BUFFERS_FOR_CAPTURE };
    uint32_t value;

    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        q.id = cpu_to_le32(le32_to_cpu(q.id) | VM_CTRL_FLAG_NEXT_CTRL |
                           VM_CTRL_FLAG_NEXT_COMPOUND);
        g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERY_EXT_CTRL, &q,
                                  sizeof(q)), ==, 0);
        g_assert_cmphex(le32_to_cpu(q.id), ==, ids[i]);
    }
    q.id = cpu_to_le32(le32_to_cpu(q.id) | VM_CTRL_FLAG_NEXT_CTRL);
    g_assert_cmpint(qvm_ioctl(r->d, s->id, VM_IOC_QUERY_EXT_CTRL, &q,
                              sizeof(q)), ==, VM_EINVAL);
    g_assert_cmpint(qvm_g_ctrl(r->d, s->id, VM_CID_MIN_BUFFERS_FOR_CAPTURE,
                               &value), ==, 0);
    g_assert_cmpuint(value, ==, 1);
    g_assert_cmpint(qvm_s_ctrl(r->d, s->id, VM_CID_MIN_BUFFERS_FOR_CAPTURE,
                               2), ==, VM_EACCES);
    g_assert_cmpint(qvm_g_ctrl(r->d, s->id, 0x980900, &value), ==, VM_EINVAL);
}

/* The driver wants all of the answer even if there is an error */
static void test_ext_ctrls_error(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct {
        struct vm_ext_controls ec;
        struct vm_ext_control c[2];
    } QEMU_PACKED req = {
        .ec.count = cpu_to_le32(2),
        .c[0].id = cpu_to_le32(VM_CID_MIN_BUFFERS_FOR_CAPTURE),
        .c[1].id = cpu_to_le32(0x990999),
    }, resp = { };
    size_t written;

    g_assert_cmpint(qvm_ioctl_parts(r->d, s->id, VM_IOC_G_EXT_CTRLS, &req,
                                    sizeof(req), &resp, sizeof(resp),
                                    &written), ==, VM_EINVAL);
    g_assert_cmpuint(written, ==, sizeof(req));
    g_assert_cmpuint(le32_to_cpu(resp.ec.error_idx), ==, 2);
    g_assert_cmpint(qvm_ioctl_parts(r->d, s->id, VM_IOC_TRY_EXT_CTRLS, &req,
                                    sizeof(req), &resp, sizeof(resp),
                                    &written), ==, VM_EACCES);
    g_assert_cmpuint(written, ==, sizeof(req));
    g_assert_cmpuint(le32_to_cpu(resp.ec.error_idx), ==, 0);
    g_assert_cmpint(qvm_ioctl_parts(r->d, s->id, VM_IOC_S_EXT_CTRLS, &req,
                                    sizeof(req), &resp, sizeof(resp),
                                    &written), ==, VM_EACCES);
    g_assert_cmpuint(written, ==, sizeof(req));
    g_assert_cmpuint(le32_to_cpu(resp.ec.error_idx), ==, 2);
}

/* Also if the session has failed: else the driver makes EINVAL of EIO */
static void test_ext_ctrls_of_failed_session(Rig *r)
{
    static const uint32_t codes[] = {
        VM_IOC_G_EXT_CTRLS, VM_IOC_S_EXT_CTRLS, VM_IOC_TRY_EXT_CTRLS,
    };
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    struct {
        struct vm_ext_controls ec;
        struct vm_ext_control c;
    } QEMU_PACKED req = {
        .ec.count = cpu_to_le32(1),
        .ec.error_idx = cpu_to_le32(1),
        .c.id = cpu_to_le32(VM_CID_MIN_BUFFERS_FOR_CAPTURE),
    }, resp = { };
    size_t written;

    PUT_MEDIA(s, 2, 4, fail("of no use"));
    expect_buffer(s, QVM_OUTPUT, VM_BUF_FLAG_ERROR);
    for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
        g_assert_cmpint(qvm_ioctl_parts(r->d, s->id, codes[i], &req,
                                        sizeof(req), &resp, sizeof(resp),
                                        &written), ==, VM_EIO);
        g_assert_cmpuint(written, ==, sizeof(req));
        g_assert_cmpmem(&resp, sizeof(resp), &req, sizeof(req));
    }
}

/* Values that are somewhere else are listed behind the controls */
static void test_ext_ctrls_with_memory(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct {
        struct vm_ext_controls ec;
        struct vm_ext_control c;
        struct virtio_media_sg_entry sg;
    } QEMU_PACKED req = {
        .ec.count = cpu_to_le32(1),
        .c.id = cpu_to_le32(VM_CID_MIN_BUFFERS_FOR_CAPTURE),
        .c.size = cpu_to_le32(8),
        .sg.start = cpu_to_le64(4096),
        .sg.len = cpu_to_le32(8),
    };
    const size_t size = sizeof(req.ec) + sizeof(req.c);
    uint8_t resp[sizeof(req)] = { };
    size_t written;

    /* A number is no string, but its value comes back all the same */
    g_assert_cmpint(qvm_ioctl_parts(r->d, s->id, VM_IOC_TRY_EXT_CTRLS, &req,
                                    sizeof(req), resp, size, &written), ==,
                    VM_EACCES);
    g_assert_cmpuint(written, ==, size);
}

static void test_subscribe(Rig *r)
{
    g_autoptr(Session) s = session_open(r);
    struct vm_event_subscription all = { .type = VM_EVENT_ALL };
    QVMEvent ev;

    g_assert_cmpint(qvm_subscribe(r->d, s->id, 1, 0, 0), ==, VM_EINVAL);
    g_assert_cmpint(qvm_subscribe(r->d, s->id, VM_EVENT_CTRL, 1, 0), ==,
                    VM_EINVAL);
    /* The initial event is there before the answer */
    g_assert_cmpint(qvm_subscribe(r->d, s->id, VM_EVENT_CTRL,
                                  VM_CID_MIN_BUFFERS_FOR_CAPTURE,
                                  VM_EVENT_SUB_FL_SEND_INITIAL), ==, 0);
    g_assert_true(next_media(s, &ev, 0));
    g_assert_cmpuint(ev.type, ==, VM_EVENT_CTRL);
    g_assert_cmphex(ev.id, ==, VM_CID_MIN_BUFFERS_FOR_CAPTURE);
    g_assert_cmphex(ev.changes, ==, VM_EVENT_CTRL_CH_VALUE |
                    VM_EVENT_CTRL_CH_FLAGS);
    g_assert_cmphex(ev.flags, ==, VM_CTRL_FLAG_READ_ONLY);
    g_assert_cmpint(ev.value, ==, 1);
    g_assert_cmpint(ev.min, ==, 1);
    g_assert_cmpint(ev.max, ==, 32);
    g_assert_cmpint(qvm_ioctl_w(r->d, s->id, VM_IOC_UNSUBSCRIBE_EVENT, &all,
                                sizeof(all)), ==, 0);
    start_output(s, best_memory(r));
    PUT_MEDIA(s, 0, 0, HEADER, frame(1));
    expect_buffer(s, QVM_OUTPUT, 0);
    expect_quiet(s);
}

/*
 * Migration
 */

/* The guest has a session open until it has closed it, in whatever state */
static void test_migrate_failed_session(Rig *r)
{
    Session *s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);

    g_assert_true(is_migration_blocked(r->qts));
    PUT_MEDIA(s, 2, 4, fail("of no use"));
    expect_buffer(s, QVM_OUTPUT, VM_BUF_FLAG_ERROR);
    wait_threads(r, r->threads);
    g_usleep(20 * MS);
    g_assert_true(is_migration_blocked(r->qts));
    session_free(s);
    g_assert_false(is_migration_blocked(r->qts));
}

static void test_migrate_mapping(Rig *r)
{
    Session *s;
    struct vm_buffer b;
    struct vm_plane p;
    uint64_t addr, len;

    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    s = session_open(r);
    start_output(s, VM_MEMORY_MMAP);
    g_assert_cmpint(qvm_querybuf(r->d, s->id, QVM_OUTPUT, 0, &b, &p), ==, 0);
    g_assert_cmpint(qvm_mmap(r->d, s->id, le64_to_cpu(p.m), &addr, &len), ==,
                    0);
    session_free(s);
    wait_threads(r, r->threads);
    g_usleep(20 * MS);
    g_assert_true(is_migration_blocked(r->qts));
    g_assert_cmpint(qvm_munmap(r->d, addr), ==, 0);
    g_assert_false(is_migration_blocked(r->qts));
}

static void test_migrate_other_role(Rig *r)
{
    assert_other_side_refused(r, "codec=codec0", "codec=codec0,role=encoder");
}

/* The size of a BAR that the guest knows */
static void test_migrate_other_hostmem(Rig *r)
{
    if (!r->v->pci) {
        g_test_skip("no shared memory region");
        return;
    }
    assert_other_side_refused(r, "hostmem=16M", "hostmem=32M");
}

/* What is not there can't differ, whatever was asked for */
static void test_hostmem_without_region(Rig *r)
{
    QDict *rsp = qtest_qmp(r->qts, "{ 'execute': 'qom-get', 'arguments': {"
                           " 'path': '/machine/peripheral/media0',"
                           " 'property': 'hostmem' } }");

    if (r->v->pci) {
        g_assert_cmpint(qdict_get_int(rsp, "return"), ==, 16 * MiB);
    } else {
        g_assert_cmpint(qdict_get_int(rsp, "return"), ==, 0);
    }
    qobject_unref(rsp);
}

/* QEMU must stay migratable, and a session makes that impossible */
static void test_migrate_only_migratable(Rig *first)
{
    g_autofree char *args = g_strdup_printf("%s -only-migratable",
                                            qos_get_current_command_line());
    Rig *r = second_rig(args);
    uint32_t id;

    start(r, NULL);
    for (unsigned i = 0; i < 300; i++) {
        g_assert_cmpint(qvm_open(r->d, &id), ==, VM_EBUSY);
    }
    qvv_stop(r->d);
    second_rig_free(r);
}

/*
 * Properties and hotplug
 */

/* The message names the property */
static void test_properties(void *obj, void *data, QGuestAllocator *alloc)
{
    static const char *const bad[][2] = {
        { "role", "transcoder" }, { "hostmem", "32K" }, { "hostmem", "3M" },
        { "hostmem", "8G" }, { "max-mappings", "0" },
        { "max-mappings", "100000" },
    };
    QVirtioPCIDevice *dev = obj;
    QTestState *qts = dev->pdev->bus->qts;

    if (dev->pdev->bus->not_hotpluggable) {
        g_test_skip("pci bus does not support hotplug");
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        g_autofree char *line = g_strdup_printf(
            "device_add virtio-media-pci,codec=codec0,%s=%s", bad[i][0],
            bad[i][1]);
        g_autofree char *answer = qtest_hmp(qts, "%s", line);

        g_assert_nonnull(strstr(answer, bad[i][0]));
    }
}

static void test_unplug(void *obj, void *data, QGuestAllocator *alloc)
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
    s = session_start(&r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    assert_session_decodes(s, 2);
    PUT_MEDIA(s, 2, 4, insn(VIDEO_TEST_HANG, 0));

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

/* The BARs of the device @id as letters, i for ports, m for memory, or NULL */
static char *bars_of(QTestState *qts, const char *id)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-pci' }");
    QDict *bus = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));
    const QListEntry *e, *f;
    char *bars = NULL;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(bus, "devices"), e) {
        QDict *dev = qobject_to(QDict, qlist_entry_obj(e));

        if (g_strcmp0(qdict_get_str(dev, "qdev_id"), id)) {
            continue;
        }
        bars = g_strdup("------");
        QLIST_FOREACH_ENTRY(qdict_get_qlist(dev, "regions"), f) {
            QDict *region = qobject_to(QDict, qlist_entry_obj(f));

            bars[qdict_get_int(region, "bar")] =
                qdict_get_str(region, "type")[0];
        }
    }
    qobject_unref(rsp);
    return bars;
}

/* Notifications by port have a BAR of their own, too */
static void test_pio_notify(Rig *first)
{
    g_autofree char *args = NULL, *with = NULL, *without = NULL;
    QTestState *qts;

    if (not_here(first)) {
        return;
    }
    args = g_strdup_printf("%s -device virtio-media-pci,codec=codec0,id=with,"
                           "modern-pio-notify=on",
                           qos_get_current_command_line());
    qts = qtest_init(args);
    without = bars_of(qts, "media0");
    g_assert_cmpstr(without, ==, "-mm-m-");
    with = bars_of(qts, "with");
    g_assert_cmpstr(with, ==, "imm-m-");
    qtest_quit(qts);
}

static const TestCase cases[] = {
    { "media/config", test_config },
    { "media/pio-notify", test_pio_notify, .no_start = true },
    { "media/open-close", test_open_close },
    { "media/max-sessions", test_max_sessions },
    { "media/max-streams", test_max_streams, .device = ",max-streams=2" },
    { "media/enum-fmt", test_enum_fmt },
    { "media/default-formats", test_default_formats },
    { "media/s-fmt-adjusts", test_s_fmt_adjusts },
    { "media/try-fmt", test_try_fmt },
    { "media/odd-formats", test_odd_formats },
    { "media/odd-formats-of-encoder", test_odd_formats, ",role=encoder" },
    { "media/s-fmt-busy", test_s_fmt_busy },
    { "media/s-fmt-with-other-buffers", test_s_fmt_with_other_buffers },
    { "media/framesizes", test_framesizes },
    { "media/decode-userptr", test_decode_userptr },
    { "media/decode-mmap", test_decode_mmap },
    { "media/visible-rectangle", test_visible_rectangle },
    { "media/choose-raw-format", test_choose_raw_format },
    { "media/drain", test_drain },
    { "media/drain-waits-for-buffer", test_drain_waits_for_buffer },
    { "media/drain-of-one-rgb-frame", test_drain_of_one_rgb_frame },
    { "media/stop-without-streaming", test_stop_without_streaming },
    { "media/seek", test_seek },
    { "media/queue-before-streamon", test_queue_before_streamon },
    { "media/resolution-change", test_resolution_change },
    { "media/old-size-is-taken", test_old_size_is_taken },
    { "media/smaller-resolution-goes-on", test_smaller_resolution_goes_on },
    { "media/early-capture-fits", test_early_capture_fits },
    { "media/early-capture-starts-anew", test_early_capture_starts_anew },
    { "media/early-capture-does-not-fit", test_early_capture_does_not_fit },
    { "media/early-capture-is-cropped", test_early_capture_is_cropped },
    { "media/bad-data", test_bad_data },
    { "media/failure", test_failure },
    { "media/failing", test_failing },
    { "media/streamoff-at-once", test_streamoff_at_once },
    { "media/close-at-once", test_close_at_once },
    { "media/streamoff-after-events", test_streamoff_after_events },
    { "media/streamoff-without-buffers", test_streamoff_without_buffers },
    { "media/streamoff-after-events-packed", test_streamoff_after_events,
      .device = ALL_RINGS, .opts.more_features = PACKED },
    { "media/streamoff-without-buffers-packed", test_streamoff_without_buffers,
      .device = ALL_RINGS, .opts.more_features = PACKED },
    { "media/streamoff-around-ring", test_streamoff_around_ring },
    { "media/streamoff-around-ring-packed", test_streamoff_around_ring,
      .device = ALL_RINGS, .opts.more_features = PACKED },
    { "media/stop-while-streamoff-waits", test_stop_while_streamoff_waits },
    { "media/not-ok-while-streamoff-waits", test_not_ok_while_streamoff_waits },
    { "media/reset-while-streamoff-waits", test_reset_while_streamoff_waits },
    { "media/reqbufs", test_reqbufs },
    { "media/create-bufs", test_create_bufs },
    { "media/output-flags", test_output_flags },
    { "media/256-bufs", test_256_bufs, ",max-resources=256" },
    { "media/stop-behind-256-bufs", test_stop_behind_256_bufs,
      ",max-resources=256" },
    { "media/qbuf-errors", test_qbuf_errors },
    { "media/userptr-any-bytes", test_userptr_any_bytes },
    { "media/prepare-buf", test_prepare_buf },
    { "media/unmapped-is-empty", test_unmapped_is_empty },
    { "media/mappings-are-counted", test_mappings_are_counted },
    { "media/mapping-without-rw", test_mapping_without_rw },
    { "media/mapping-outlives", test_mapping_outlives },
    { "media/locked-memory-is-cleared", test_locked_memory },
    { "media/shared-memory-is-cleared", test_shared_memory },
    { "media/buffer-flags", test_buffer_flags },
    { "media/mmap-errors", test_mmap_errors },
    { "media/max-mappings", test_max_mappings, .device = ",max-mappings=2" },
    { "media/most-mappings", test_most_mappings,
      .device = ",hostmem=128M,max-mappings=960,max-resources=256" },
    { "media/too-many-mappings", test_too_many_mappings },
    { "media/mmap-memory", test_mmap_memory, .device = ",max-mem=1200K" },
    { "media/reset-unmaps", test_reset_unmaps },
    { "media/decoder-controls", test_decoder_controls },
    { "media/ext-ctrls-error", test_ext_ctrls_error },
    { "media/ext-ctrls-of-failed-session", test_ext_ctrls_of_failed_session },
    { "media/ext-ctrls-with-memory", test_ext_ctrls_with_memory },
    { "media/subscribe", test_subscribe },
    { "media/bad-selections", test_bad_selections },
    { "media/bad-types", test_bad_types },
    { "media/bad-codec-commands", test_bad_codec_commands },
    { "media/no-parm-of-decoder", test_no_parm_of_decoder },
    { "media/create-bufs-errors", test_create_bufs_errors },
    { "media/data-offset", test_data_offset },
    { "media/qbuf-bad-fields", test_qbuf_bad_fields },
    { "media/prepare-buf-errors", test_prepare_buf_errors },
    { "media/unknown-controls-and-formats",
      test_unknown_controls_and_formats },
    { "media/migrate/failed-session", test_migrate_failed_session },
    { "media/migrate/mapping", test_migrate_mapping },
    { "media/migrate/other-role", test_migrate_other_role },
    { "media/migrate/other-hostmem", test_migrate_other_hostmem },
    { "media/migrate/hostmem-without-region", test_hostmem_without_region },
    { "media/migrate/only-migratable", test_migrate_only_migratable },
};

static void register_virtio_media_tests(void)
{
    QOSGraphTestOptions on_pci = {
        .edge = {
            .extra_device_opts = "codec=codec0",
            .after_cmd_line = CODEC,
        },
    };

    virtio_media_add_tests(cases, ARRAY_SIZE(cases));
    qos_add_test("media/bad-properties-are-refused", "virtio-media-pci",
                 test_properties, &on_pci);
    qos_add_test("media/unplug-while-decoding", "virtio-media-pci",
                 test_unplug, &on_pci);
}

libqos_init(register_virtio_media_tests);
