/*
 * QTest testcases of virtio-video
 *
 * What the device says of itself: configuration, features, capabilities,
 * properties and codecs.
 *
 * The files virtio-video-*test.c test the device through qgraph, on PCI and
 * MMIO.  Each test is named after the rule that it proves, as the draft or,
 * where that is silent, this device has it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_pci.h"
#include "virtio-video-fixture.h"

/*
 * Identity, configuration and capabilities
 */

static void test_config_max_streams(Rig *r)
{
    g_assert_cmpuint(r->d->max_streams, ==, 16);
}

static void test_config_small_max_streams(Rig *r)
{
    g_assert_cmpuint(r->d->max_streams, ==, 3);
    for (uint32_t id = 0; id < 3; id++) {
        qvv_assert_ok(r->d, qvv_open(r->d, id, DECODER));
    }
    qvv_assert_error(r->d, qvv_open(r->d, 3, DECODER));
}

static void test_features_offered(Rig *r)
{
    uint64_t f = qvv_offered_features(r->d);

    g_assert_true(f & VERSION_1);
    g_assert_true(f & FEATURE(DECODER));
    g_assert_true(f & FEATURE(RESOURCE_GUEST_PAGES));
    g_assert_true(f & FEATURE(RESOURCE_NON_CONTIG));
    g_assert_false(f & FEATURE(RESOURCE_VIRTIO_OBJECT));
}

static bool starts_with(Rig *r, uint64_t features)
{
    QVVOptions opts = { .features = VERSION_1 | features };
    bool ok = qvv_start(r->d, &opts);

    if (ok) {
        g_assert_cmphex(r->d->features, ==, opts.features);
        qvv_stop(r->d);
    }
    return ok;
}

static void test_features_no_direction(Rig *r)
{
    g_assert_false(starts_with(r, FEATURE(RESOURCE_GUEST_PAGES)));
    g_assert_true(starts_with(r, FEATURE(RESOURCE_GUEST_PAGES) |
                                 FEATURE(DECODER)));
}

static void test_features_no_memory(Rig *r)
{
    g_assert_false(starts_with(r, FEATURE(DECODER)));
    g_assert_false(starts_with(r, FEATURE(DECODER) |
                                  FEATURE(RESOURCE_NON_CONTIG)));
}

/* No answer for a driver that does not want VIRTIO_F_VERSION_1 */
static void test_features_no_version_1(Rig *r)
{
    QVirtioDevice *vdev = r->d->vdev;
    QVirtioPCIDevice *pci = container_of(vdev, QVirtioPCIDevice, vdev);
    const uint32_t query[2] = {
        cpu_to_le32(VIRTIO_VIDEO_CMD_DEVICE_QUERY_CAPS),
    };
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    uint64_t common;
    uint32_t answer[2] = { 0 };

    if (!r->v->pci) {
        g_test_skip("without it, virtio-mmio is used in another way");
        return;
    }
    common = pci->common_cfg_offset;
    vdev->bus->set_status(vdev, status);
    /* libqos wants it always; it is the first bit of the second word */
    qpci_io_writel(pci->pdev, pci->bar, common +
                   offsetof(struct virtio_pci_common_cfg,
                            guest_feature_select), 1);
    qpci_io_writel(pci->pdev, pci->bar, common +
                   offsetof(struct virtio_pci_common_cfg, guest_feature), 0);
    status |= VIRTIO_CONFIG_S_FEATURES_OK;
    vdev->bus->set_status(vdev, status);
    vdev->bus->set_status(vdev, status | VIRTIO_CONFIG_S_DRIVER_OK);
    g_assert_cmpint(qvv_cmd_raw(r->d, query, sizeof(query), 0, answer,
                                sizeof(answer), QUIET), ==, -1);
    restart(r);
    assert_device_works(r);
}

/*
 * virtio-mmio is a legacy transport by default, which no driver of this device
 * can use.  It gets no answer, and QEMU's message names the property.
 */
static void test_features_legacy_mmio(Rig *first)
{
    const char *line = qos_get_current_command_line();
    g_auto(GStrv) parts = g_strsplit(line, "force-legacy=false", 2);
    const uint32_t query = cpu_to_le32(VIRTIO_VIDEO_CMD_DEVICE_QUERY_CAPS);
    g_autofree char *args = NULL;
    uint8_t caps[64];
    Rig *r;

    if (first->v->pci) {
        g_test_skip("virtio-pci never is a legacy transport here");
        return;
    }
    args = g_strjoinv("force-legacy=true", parts);
    r = second_rig(args);
    start(r, NULL);
    g_assert_false(r->d->features & VERSION_1);
    g_assert_cmpint(qvv_cmd_raw(r->d, &query, sizeof(query), 0, caps,
                                sizeof(caps), QUIET), ==, -1);
    qvv_open(r->d, 0, DECODER);
    qvv_assert_quiet(r->d, QUIET);
    qvv_stop(r->d);
    second_rig_free(r);
}

#define CAPS_GUARD 64

/* The whole answer to QUERY_CAPS, written to memory that was all 0xff */
static uint8_t *read_caps(Rig *r, uint32_t room, uint32_t *used)
{
    uint32_t req = cpu_to_le32(VIRTIO_VIDEO_CMD_DEVICE_QUERY_CAPS);
    uint64_t mem = guest_alloc(r->alloc, 16 + room);
    uint8_t *data = g_malloc(room);
    QVVDesc chain[] = { { mem, 4, false }, { mem + 16, room, true } };
    int64_t end = g_get_monotonic_time() + SOON;
    uint16_t head;

    memset(data, 0xff, room);
    qvv_ram_write(&r->d->ram, mem, &req, sizeof(req));
    qvv_ram_write(&r->d->ram, mem + 16, data, room);
    g_assert_cmpint(qvv_queue_add(r->d, &r->d->cmdq, chain, 2), >=, 0);
    qvv_queue_kick(r->d, &r->d->cmdq);
    while (!qvv_queue_pop(r->d, &r->d->cmdq, &head, used)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    qvv_ram_read(&r->d->ram, mem + 16, data, room);
    guest_free(r->alloc, mem);
    return data;
}

static void test_caps_length(Rig *r)
{
    uint32_t len = r->d->caps_length, used, at = 8;
    g_autofree uint8_t *caps = read_caps(r, len + CAPS_GUARD, &used);

    g_assert_cmpuint(used, ==, len);
    g_assert_cmpuint(ldl_le_p(caps), ==, VIRTIO_VIDEO_RESULT_OK);
    while (at < len) {
        g_assert_cmpuint(len - at, >=, 8);
        g_assert_cmpuint(ldl_le_p(caps + at + 4) % 4, ==, 0);
        at += 8 + ldl_le_p(caps + at + 4);
    }
    g_assert_cmpuint(at, ==, len);
    for (at = len; at < len + CAPS_GUARD; at++) {
        g_assert_cmphex(caps[at], ==, 0xff);
    }
}

/* It is long enough, so the second one has nothing of it */
static void test_caps_first_descriptor(Rig *r)
{
    uint32_t len = r->d->caps_length, used;
    uint32_t req = cpu_to_le32(VIRTIO_VIDEO_CMD_DEVICE_QUERY_CAPS);
    uint64_t mem = guest_alloc(r->alloc, 16 + 2 * len);
    g_autofree uint8_t *data = g_malloc(2 * len);
    const QVVDesc chain[] = {
        { mem, 4, false }, { mem + 16, len, true },
        { mem + 16 + len, len, true },
    };
    int64_t end = g_get_monotonic_time() + SOON;
    uint16_t head;

    memset(data, 0xff, 2 * len);
    qvv_ram_write(&r->d->ram, mem, &req, sizeof(req));
    qvv_ram_write(&r->d->ram, mem + 16, data, 2 * len);
    g_assert_cmpint(qvv_queue_add(r->d, &r->d->cmdq, chain, 3), >=, 0);
    qvv_queue_kick(r->d, &r->d->cmdq);
    while (!qvv_queue_pop(r->d, &r->d->cmdq, &head, &used)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_assert_cmpuint(used, ==, len);
    qvv_ram_read(&r->d->ram, mem + 16, data, 2 * len);
    g_assert_cmpuint(ldl_le_p(data), ==, VIRTIO_VIDEO_RESULT_OK);
    for (uint32_t i = len; i < 2 * len; i++) {
        g_assert_cmphex(data[i], ==, 0xff);
    }
    guest_free(r->alloc, mem);
}

static void test_caps_small_room(Rig *r)
{
    const uint32_t rooms[] = { 8, 12, r->d->caps_length - 1 };

    for (unsigned i = 0; i < ARRAY_SIZE(rooms); i++) {
        uint32_t used;
        g_autofree uint8_t *caps = read_caps(r, rooms[i], &used);

        g_assert_cmpuint(used, >=, 4);
        g_assert_cmpuint(used, <=, rooms[i]);
        g_assert_cmpuint(ldl_le_p(caps), ==, VIRTIO_VIDEO_RESULT_ERROR);
    }
}

static void test_caps_order(Rig *r)
{
    uint32_t used, last = 0, n_links = 0;
    g_autofree uint8_t *caps = read_caps(r, r->d->caps_length, &used);

    for (uint32_t at = 8; at < used; at += 8 + ldl_le_p(caps + at + 4)) {
        uint32_t type = ldl_le_p(caps + at);

        g_assert_cmpuint(type, >=, last);
        g_assert_cmpuint(type, <=, VIRTIO_VIDEO_TLV_LINK);
        n_links += type == VIRTIO_VIDEO_TLV_LINK;
        last = type;
    }
    g_assert_cmpuint(last, ==, VIRTIO_VIDEO_TLV_LINK);
    g_assert_cmpuint(n_links, ==, 1);
}

static void test_caps_sets(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);

    g_assert_cmpuint(caps->n_coded, ==, 3);
    g_assert_cmpuint(caps->n_raw, ==, 5);
    g_assert_cmpuint(caps->coded[0].format, ==,
                     VIRTIO_VIDEO_CODED_FORMAT_H264);
    g_assert_cmphex(caps->raw[0].fourcc, ==, VIDEO_TEST_NV12);
    for (unsigned i = 0; i < caps->n_coded; i++) {
        g_assert_true(caps->coded[i].guest_pages);
        g_assert_false(caps->coded[i].virtio_object);
        g_assert_cmpuint(caps->coded[i].n_controls, ==, 0);
    }
    for (unsigned i = 0; i < caps->n_raw; i++) {
        g_assert_true(caps->raw[i].guest_pages);
        g_assert_true(caps->raw[i].crop);
        g_assert_cmphex(caps->raw[i].planes_layout_mask, ==, SINGLE | MULTI);
    }
}

static void test_caps_links(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);

    g_assert_true(caps->has_link[DECODER]);
    g_assert_false(caps->has_link[ENCODER]);
    for (unsigned i = 0; i < caps->n_raw; i++) {
        uint32_t fourcc = caps->raw[i].fourcc;

        g_assert_true(qvv_caps_linked(caps, DECODER,
                                      VIRTIO_VIDEO_CODED_FORMAT_H264,
                                      fourcc));
        g_assert_cmpint(qvv_caps_linked(caps, DECODER,
                                        VIRTIO_VIDEO_CODED_FORMAT_VP8,
                                        fourcc), ==,
                        fourcc == VIDEO_TEST_NV12);
    }
}

/* What a new stream has is what the device likes best */
static void test_caps_preference(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);
    TestStream *s = bare_stream(r, 0);

    read_raw_format(s);
    g_assert_cmphex(caps->raw[0].fourcc, ==, s->raw.fourcc);
}

/* A layout is taken if and only if the mask has it */
static void test_caps_layouts(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);
    TestStream *s = bare_stream(r, 0);

    for (unsigned i = 0; i < caps->n_raw; i++) {
        for (uint32_t layout = SINGLE; layout <= MULTI; layout <<= 1) {
            QVVRawFormat f = raw_format(caps->raw[i].fourcc, WIDTH, HEIGHT);
            bool has = caps->raw[i].planes_layout_mask & layout;

            f.planes_layout = layout;
            f = set_and_get(s, &f);
            g_assert_cmpint(f.planes_layout == layout, ==, has);
        }
    }
}

static void test_caps_size_of_codec(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);
    const QVVRawCaps *h264 = qvv_caps_linked_raw(
        caps, DECODER, VIRTIO_VIDEO_CODED_FORMAT_H264, VIDEO_TEST_NV12);
    const QVVRawCaps *vp8 = qvv_caps_linked_raw(
        caps, DECODER, VIRTIO_VIDEO_CODED_FORMAT_VP8, VIDEO_TEST_NV12);
    const QVVRawCaps *vp9 = qvv_caps_linked_raw(
        caps, DECODER, VIRTIO_VIDEO_CODED_FORMAT_VP9, VIDEO_TEST_NV12);

    g_assert_cmpuint(h264->width.max, ==, VIDEO_TEST_MAX_SIZE);
    g_assert_cmpuint(h264->height.max, ==, VIDEO_TEST_MAX_SIZE);
    g_assert_cmpuint(vp8->width.max, ==, VIDEO_TEST_VP8_MAX_SIZE);
    g_assert_cmpuint(vp8->height.max, ==, VIDEO_TEST_VP8_MAX_SIZE);
    g_assert_true(vp9 == h264);
}

/* Those of 10 bits are not those of 8 bits */
static void test_caps_size_of_deep(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);
    const QVVRawCaps *nv12 = qvv_caps_linked_raw(
        caps, DECODER, VIRTIO_VIDEO_CODED_FORMAT_H264, VIDEO_TEST_NV12);
    const QVVRawCaps *p010 = qvv_caps_linked_raw(
        caps, DECODER, VIRTIO_VIDEO_CODED_FORMAT_H264, VIDEO_TEST_P010);

    g_assert_cmpuint(nv12->width.min, ==, 1);
    g_assert_cmpuint(nv12->height.max, ==, VIDEO_TEST_MAX_SIZE);
    g_assert_cmpuint(p010->width.min, ==, VIDEO_TEST_MIN_SIZE);
    g_assert_cmpuint(p010->width.max, ==, VIDEO_TEST_DEEP_MAX_SIZE);
    g_assert_cmpuint(p010->height.min, ==, VIDEO_TEST_MIN_SIZE);
    g_assert_cmpuint(p010->height.max, ==, VIDEO_TEST_DEEP_MAX_SIZE);
}

/* The device is smaller than all frames of 10 bits */
static void test_caps_no_size_left(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);

    g_assert_null(qvv_caps_raw(caps, VIDEO_TEST_P010));
    g_assert_nonnull(qvv_caps_raw(caps, VIDEO_TEST_YUV420));
}

/* A raw format has a set for each range of sizes, the preferred one first */
static void test_caps_set_of_size(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);

    for (unsigned i = 0; i < caps->n_raw; i++) {
        for (unsigned j = 0; j < i; j++) {
            const QVVRawCaps *a = &caps->raw[i], *b = &caps->raw[j];

            g_assert_true(a->fourcc != b->fourcc ||
                          memcmp(&a->width, &b->width, sizeof(a->width)) ||
                          memcmp(&a->height, &b->height, sizeof(a->height)));
        }
    }
    g_assert_cmphex(caps->raw[0].fourcc, ==, VIDEO_TEST_NV12);
    g_assert_cmphex(caps->raw[1].fourcc, ==, VIDEO_TEST_NV12);
}

static void test_caps_size_of_device(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);

    for (unsigned i = 0; i < caps->n_raw; i++) {
        g_assert_cmpuint(caps->raw[i].width.max, ==, 640);
        g_assert_cmpuint(caps->raw[i].height.max, ==, 480);
    }
}

static void assert_range_padding(const uint8_t *range)
{
    g_assert_cmpuint(ldl_le_p(range), >, 0);
    g_assert_cmpuint(ldl_le_p(range), <=, ldl_le_p(range + 4));
    g_assert_cmpuint(ldl_le_p(range + 8), >, 0);
    g_assert_cmpuint(ldl_le_p(range + 12), ==, 0);
}

/* @data, @len: the inside of a set */
static void assert_set_padding(const uint8_t *data, uint32_t len)
{
    for (uint32_t at = 0; at < len; at += 8 + ldl_le_p(data + at + 4)) {
        const uint8_t *value = data + at + 8;

        switch (ldl_le_p(data + at)) {
        case VIRTIO_VIDEO_TLV_RAW_FORMAT:
            assert_range_padding(value + 16);
            assert_range_padding(value + 32);
            break;
        case VIRTIO_VIDEO_TLV_CODED_RESOURCES:
            assert_range_padding(value + 16);
            /* fall through */
        case VIRTIO_VIDEO_TLV_RAW_RESOURCES:
            assert_range_padding(value);
            break;
        }
    }
}

static void test_caps_padding(Rig *r)
{
    uint32_t used;
    g_autofree uint8_t *caps = read_caps(r, r->d->caps_length, &used);

    g_assert_cmpuint(ldl_le_p(caps + 4), ==, 0);
    for (uint32_t at = 8; at < used; at += 8 + ldl_le_p(caps + at + 4)) {
        if (ldl_le_p(caps + at) == VIRTIO_VIDEO_TLV_LINK) {
            g_assert_cmpuint(ldl_le_p(caps + at + 12), ==, 0);
        } else {
            assert_set_padding(caps + at + 8, ldl_le_p(caps + at + 4));
        }
    }
}

static void test_caps_unused_link_bits(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);

    for (unsigned i = 0; i < caps->n_coded; i++) {
        g_assert_cmphex(caps->links[DECODER][i] >> caps->n_raw, ==, 0);
        g_assert_cmphex(caps->links[DECODER][i], !=, 0);
    }
}

/*
 * Properties and codecs
 */

/**
 * Range: the values that a property can have.
 * @driver: device that has it
 */
typedef struct Range {
    const char *driver;
    const char *name;
    uint64_t min, max;
} Range;

static const Range ranges[] = {
    { "virtio-video-pci", "max-streams", 1, 256 },
    { "virtio-video-pci", "max-events", 1, 65536 },
    { "virtio-video-pci", "max-width", 1, 16384 },
    { "virtio-video-pci", "max-height", 1, 16384 },
    { "virtio-video-pci", "max-coded-size", 1, 256 * MiB },
    { "virtio-video-pci", "max-resources", 1, 256 },
    { "virtio-video-pci", "max-entries", 1, 256 * KiB },
    { "virtio-video-pci", "max-mem", 1, INT64_MAX },
    { "virtio-media-pci", "max-streams", 1, 256 },
    { "virtio-media-pci", "max-mappings", 1, 1024 },
    { "virtio-media-pci", "hostmem", 64 * KiB, 4 * GiB },
};

/* "device_add" with that one value */
static QDict *add_device(QTestState *qts, const Range *range, const char *id,
                         uint64_t value)
{
    return qtest_qmp(qts, "{ 'execute': 'device_add', 'arguments': "
                     "{ 'driver': %s, 'id': %s, 'codec': 'codec0',"
                     "  %s: %" PRIu64 " } }",
                     range->driver, id, range->name, value);
}

/* The message names the property, and says what it could be */
static void assert_refused(QTestState *qts, const Range *range, uint64_t value)
{
    QDict *rsp = add_device(qts, range, "refused", value);
    QDict *error = qdict_get_qdict(rsp, "error");
    g_autofree char *quoted = g_strdup_printf("'%s' must be ", range->name);

    g_assert_nonnull(error);
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), quoted));
    qobject_unref(rsp);
}

static void test_properties(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioPCIDevice *dev = obj;
    QTestState *qts = dev->pdev->bus->qts;

    if (dev->pdev->bus->not_hotpluggable) {
        g_test_skip("pci bus does not support hotplug");
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
        const Range *range = &ranges[i];

        /* Without a region there is one more, which is 0 */
        assert_refused(qts, range, range->min > 1 ? range->min - 1 : 0);
        if (range->max < INT64_MAX) {
            assert_refused(qts, range, range->max + 1);
        }
    }
}

/*
 * What is just in the range is taken, but for sizes of frames, which the codec
 * has to have as well
 */
static void test_property_ends(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioPCIDevice *dev = obj;
    QTestState *qts = dev->pdev->bus->qts;

    if (dev->pdev->bus->not_hotpluggable) {
        g_test_skip("pci bus does not support hotplug");
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
        const Range *range = &ranges[i];
        bool is_size = g_str_equal(range->name, "max-width") ||
                       g_str_equal(range->name, "max-height");

        for (unsigned end = is_size; end < 2; end++) {
            g_autofree char *id = g_strdup_printf("video%u-%u", i, end);
            QDict *rsp = add_device(qts, range, id,
                                    end ? range->max : range->min);

            g_assert_true(qdict_haskey(rsp, "return"));
            qobject_unref(rsp);
        }
    }
}

static void test_codec_in_use(Rig *r)
{
    QDict *rsp = qtest_qmp(r->qts, "{ 'execute': 'object-del',"
                           " 'arguments': { 'id': 'codec0' } }");

    g_assert_true(qdict_haskey(rsp, "error"));
    qobject_unref(rsp);
    assert_device_works(r);
}

/* A device without codec=, but with @property */
static void check_default_codec(const char *property, bool av1)
{
    g_auto(GStrv) parts = g_strsplit(qos_get_current_command_line(),
                                     ",codec=codec0", 2);
    g_autofree char *args = g_strjoinv(property, parts);
    Rig *r = second_rig(args);

    start(r, NULL);
    g_autoptr(QVVCaps) caps = query_caps(r);
    g_assert_nonnull(qvv_caps_coded(caps, VIRTIO_VIDEO_CODED_FORMAT_H264));
    g_assert_cmpint(av1, ==,
                    qvv_caps_coded(caps, VIRTIO_VIDEO_CODED_FORMAT_AV1) !=
                    NULL);
    bare_stream(r, 0);
    qvv_stop(r->d);
    second_rig_free(r);
}

static void test_codec_default(Rig *r)
{
    if (!has_type(r->qts, "video-codec-libav")) {
        g_test_skip("video-codec-libav is not built");
        return;
    }
    check_default_codec("", false);
}

static void test_caps_av1(Rig *r)
{
    if (!has_type(r->qts, "video-codec-libav")) {
        g_test_skip("video-codec-libav is not built");
        return;
    }
    check_default_codec(",x-av1=on", true);
    check_default_codec(",x-av1=off", false);
}

/*
 * All of them
 */

#define DECODER_ONLY .opts = { .features = VERSION_1 | FEATURE(DECODER) | \
                                           FEATURE(RESOURCE_GUEST_PAGES) }

static const TestCase cases[] = {
    { "config/max-streams-is-16-by-default", test_config_max_streams },
    { "config/max-streams-is-the-property", test_config_small_max_streams,
      .device = ",max-streams=3" },
    { "config/caps-length-is-exact", test_caps_length },

    { "features/decoder-and-guest-pages-are-offered", test_features_offered },
    { "features/no-decoder-no-features-ok", test_features_no_direction,
      .no_start = true },
    { "features/no-guest-pages-no-features-ok", test_features_no_memory,
      .no_start = true },
    { "features/no-version-1-no-answer", test_features_no_version_1 },
    { "features/legacy-mmio-is-refused", test_features_legacy_mmio,
      .no_start = true },

    { "caps/answer-is-in-the-first-descriptor", test_caps_first_descriptor },
    { "caps/too-little-room-is-error", test_caps_small_room },
    { "caps/links-are-last", test_caps_order, DECODER_ONLY },
    { "caps/sets-are-complete", test_caps_sets, DECODER_ONLY },
    { "caps/links-are-those-of-the-codec", test_caps_links, DECODER_ONLY },
    { "caps/every-coded-set-is-linked",
      test_caps_unused_link_bits, DECODER_ONLY },
    { "caps/sizes-are-bounded-by-the-codec", test_caps_size_of_codec },
    { "caps/one-raw-set-for-each-size", test_caps_set_of_size },
    { "caps/sizes-of-10-bits", test_caps_size_of_deep },
    { "caps/no-raw-set-without-a-size", test_caps_no_size_left,
      .device = ",max-width=15" },
    { "caps/sizes-are-bounded-by-the-device", test_caps_size_of_device,
      .device = SMALL_FRAMES },
    { "caps/padding-is-zero", test_caps_padding },
    { "caps/preferred-raw-format-first", test_caps_preference,
      .opts = { .features = FEATURE(DECODER) |
                            FEATURE(RESOURCE_GUEST_PAGES) } },
    { "caps/plane-layouts-are-those-that-work", test_caps_layouts,
      .opts = { .features = FEATURE(DECODER) |
                            FEATURE(RESOURCE_GUEST_PAGES) } },

    { "codec/in-use-cannot-be-deleted", test_codec_in_use },
    { "codec/default-is-libav", test_codec_default },

    { "caps/av1-only-with-x-av1", test_caps_av1 },
};

static void register_virtio_video_test(void)
{
    QOSGraphTestOptions on_pci = {
        .edge = {
            .extra_device_opts = "codec=codec0",
            .after_cmd_line = CODEC,
        },
    };

    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
    qos_add_test("properties/out-of-range-is-refused", "virtio-video-pci",
                 test_properties, &on_pci);
    qos_add_test("properties/ends-of-the-range-are-taken", "virtio-video-pci",
                 test_property_ends, &on_pci);
}

libqos_init(register_virtio_video_test);
