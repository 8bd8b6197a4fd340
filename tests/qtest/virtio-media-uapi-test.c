/*
 * QTest testcases for virtio-video with x-v4l2-uapi: one device, and the driver
 * chooses the protocol
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "virtio-media-fixture.h"

#define UAPI        ",x-v4l2-uapi=on"
#define COMMON      (VERSION_1 | FEATURE(RESOURCE_GUEST_PAGES) | \
                     FEATURE(RESOURCE_NON_CONTIG))
#define V4L2        (COMMON | FEATURE(V4L2_UAPI))

static void test_not_offered(Rig *r)
{
    g_assert_cmphex(qvv_offered_features(r->d) & FEATURE(V4L2_UAPI), ==, 0);
}

static void test_v4l2(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);
    uint32_t count = 1;

    for (unsigned i = 2; i < 6; i++) {
        assert_session_decodes(s, i);
    }
    /* The device has no shared memory region */
    stop_capture(s);
    g_assert_cmpint(qvm_reqbufs(r->d, s->id, QVM_CAPTURE, VM_MEMORY_MMAP,
                                &count), ==, VM_EINVAL);
}

static void test_encoder(Rig *r)
{
    uint32_t id;

    g_assert_cmpint(qvm_open(r->d, &id), ==, 0);
    g_assert_cmpint(qvm_decoder_cmd(r->d, id, VM_CODEC_CMD_STOP), ==,
                    VM_ENOTTY);
    g_assert_cmpint(qvm_encoder_cmd(r->d, id, VM_CODEC_CMD_STOP), ==, 0);
}

/* Commands of one protocol mean nothing in the other */
static void test_v10(Rig *r)
{
    uint32_t cmd[2] = { cpu_to_le32(VIRTIO_MEDIA_CMD_OPEN) };
    uint32_t resp[4] = { 0 };

    assert_device_works(r);
    g_assert_cmpint(qvv_cmd_raw(r->d, cmd, sizeof(cmd), 0, resp, sizeof(resp),
                                SOON), ==, 0);
    assert_device_works(r);
}

static void test_v10_command_in_v4l2(Rig *r)
{
    struct virtio_video_stream_open cmd = {
        .hdr.type = cpu_to_le32(VIRTIO_VIDEO_CMD_STREAM_OPEN),
    };
    uint32_t resp[4] = { 0 };

    g_assert_cmpint(qvv_cmd_raw(r->d, &cmd, sizeof(cmd), 0, resp,
                                sizeof(resp), SOON), ==, 8);
    g_assert_cmpuint(le32_to_cpu(resp[0]), ==, VM_ENOTTY);
    g_assert_null(qvv_next(r->d, QUIET));
}

static void test_other_after_reset(Rig *r)
{
    QVVOptions opts = { .features = V4L2 | FEATURE(DECODER) };
    QVVOptions v10 = { .features = COMMON | FEATURE(DECODER) };
    uint32_t id;

    g_assert_cmpint(qvm_open(r->d, &id), ==, 0);
    for (unsigned i = 0; i < 2; i++) {
        qvv_stop(r->d);
        start(r, &v10);
        assert_device_works(r);
        qvv_stop(r->d);
        start(r, &opts);
        g_assert_cmpint(qvm_open(r->d, &id), ==, 0);
    }
}

/* The device has no shared memory region */
static void assert_v4l2_works(Rig *r)
{
    g_autoptr(Session) s = session_start(r, VM_MEMORY_USERPTR, WIDTH, HEIGHT);

    assert_session_decodes(s, 77);
}

/* Other features without a reset; rings and their positions stay */
static void renegotiate(Rig *r, uint8_t status, uint64_t features)
{
    QVirtioDevice *vdev = r->d->vdev;

    vdev->bus->set_status(vdev, status);
    vdev->bus->set_features(vdev, features);
    status |= VIRTIO_CONFIG_S_FEATURES_OK;
    vdev->bus->set_status(vdev, status);
    g_assert_cmphex(vdev->bus->get_status(vdev), ==, status);
    vdev->bus->set_status(vdev, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

#define BEFORE_FEATURES (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)

/* Without FEATURES_OK, nothing is done; also if DRIVER_OK is there */
static void test_no_features_ok(Rig *r)
{
    QVVOptions opts = { .features = V4L2 | FEATURE(DECODER) };
    QVirtioDevice *vdev = r->d->vdev;
    uint32_t cmd[2] = { cpu_to_le32(VIRTIO_MEDIA_CMD_OPEN) };
    uint32_t resp[4] = { 0 };

    vdev->bus->set_status(vdev, BEFORE_FEATURES | VIRTIO_CONFIG_S_DRIVER_OK);
    g_assert_cmpint(qvv_cmd_raw(r->d, cmd, sizeof(cmd), 0, resp, sizeof(resp),
                                QUIET), ==, -1);
    qvv_stop(r->d);
    start(r, &opts);
    assert_v4l2_works(r);
}

/* A session is not a stream of the other protocol, with a cookie that it has */
static void test_v10_after_session(Rig *r)
{
    g_autofree Session *s = session_start(r, VM_MEMORY_USERPTR, WIDTH,
                                          HEIGHT);
    struct virtio_video_resource_queue cmd = {
        .hdr.type = cpu_to_le32(VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE),
        .hdr.stream_id = cpu_to_le32(s->id),
        .hdr.queue_type = cpu_to_le32(INPUT),
        .hdr.async_response_cookie = cpu_to_le32(0x1000000),
        .resource_id = cpu_to_le32(7),
    };
    unsigned threads = n_threads(r->qts);

    renegotiate(r, BEFORE_FEATURES, COMMON | FEATURE(DECODER));
    wait_threads(r, threads - 1);
    g_assert_cmpint(qvv_cmd_raw(r->d, &cmd, sizeof(cmd), 0, NULL, 0, SOON), ==,
                    0);
    g_autoptr(QVVEvent) ev = qvv_next(r->d, SOON);
    g_assert_nonnull(ev);
    g_assert_cmphex(ev->type, ==, VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE);
    g_assert_cmphex(ev->cookie, ==, 0x1000000);
    g_assert_cmphex(ev->flags, ==, F_ERROR);
    qvv_pool_free(r->d, s->out);
    qvv_pool_free(r->d, s->cap);
    assert_device_works(r);
}

/* And a stream of that protocol is gone when the driver speaks V4L2 */
static void test_session_after_v10(Rig *r)
{
    unsigned threads = n_threads(r->qts);

    assert_decodes(test_stream(r, 0));
    g_assert_cmpuint(n_threads(r->qts), >, threads);
    renegotiate(r, BEFORE_FEATURES, V4L2 | FEATURE(DECODER));
    wait_threads(r, threads);
    assert_v4l2_works(r);
}

/* A decoder's session is not one of the encoder that the device is now */
static void test_other_direction(Rig *r)
{
    struct vm_pix_format_mplane pix = { };
    uint32_t id;

    g_assert_cmpint(qvm_open(r->d, &id), ==, 0);
    renegotiate(r, BEFORE_FEATURES, V4L2 | FEATURE(ENCODER));
    g_assert_cmpint(qvm_g_fmt(r->d, id, QVM_OUTPUT, &pix), ==, VM_EINVAL);
    test_encoder(r);
}

static void test_both_directions(Rig *r)
{
    QVVOptions opts = {
        .features = V4L2 | FEATURE(DECODER) | FEATURE(ENCODER),
    };

    g_assert_false(qvv_start(r->d, &opts));
}

/*
 * max-streams is 1 here: what a driver of draft v10 has left behind is bounded
 * as in a device without V4L2, though sessions have many more ids.
 */
static void test_v10_left_behind(Rig *r)
{
    QVVOptions v10 = { .features = COMMON | FEATURE(DECODER) };
    unsigned n;

    for (n = 0; n < 8; n++) {
        g_autoptr(QVVEvent) ev =
            qvv_wait(r->d, qvv_open(r->d, 0,
                                    VIRTIO_VIDEO_STREAM_TYPE_DECODER));

        if (ev->flags & F_ERROR) {
            break;
        }
        qvv_assert_ok(r->d, qvv_close(r->d, 0));
        hang_hard(test_stream(r, 0), 0, 3000);
        qvv_stop(r->d);
        start(r, &v10);
    }
    g_assert_cmpuint(n, >=, 2);
    g_assert_cmpuint(n, <, 8);
}

static const TestCase cases[] = {
    { "media/uapi-is-not-offered-by-default", test_not_offered },
    { "media/uapi-v4l2", test_v4l2, UAPI,
      { .features = V4L2 | FEATURE(DECODER) } },
    { "media/uapi-encoder", test_encoder, UAPI,
      { .features = V4L2 | FEATURE(ENCODER) } },
    { "media/uapi-v10", test_v10, UAPI,
      { .features = COMMON | FEATURE(DECODER) } },
    { "media/uapi-v10-command-in-v4l2", test_v10_command_in_v4l2, UAPI,
      { .features = V4L2 | FEATURE(DECODER) } },
    { "media/uapi-other-after-reset", test_other_after_reset, UAPI,
      { .features = V4L2 | FEATURE(DECODER) } },
    { "media/uapi-no-features-ok", test_no_features_ok, UAPI,
      { .features = V4L2 | FEATURE(DECODER) } },
    { "media/uapi-v10-left-behind", test_v10_left_behind,
      UAPI ",max-streams=1", { .features = COMMON | FEATURE(DECODER) },
      .more_threads = true },
    { "media/uapi-v10-after-session", test_v10_after_session, UAPI,
      { .features = V4L2 | FEATURE(DECODER) } },
    { "media/uapi-session-after-v10", test_session_after_v10, UAPI,
      { .features = COMMON | FEATURE(DECODER) } },
    { "media/uapi-other-direction", test_other_direction, UAPI,
      { .features = V4L2 | FEATURE(DECODER) } },
    { "media/uapi-both-directions-are-refused", test_both_directions, UAPI,
      .no_start = true },
};

static void register_virtio_media_uapi_tests(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_media_uapi_tests);
