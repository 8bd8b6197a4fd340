/*
 * QTest testcases of virtio-video: a real codec
 *
 * Software decoding of a tiny clip; skipped where ffmpeg cannot make it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "virtio-video-fixture.h"
#include "virtio-video-iommu-fixture.h"

/* Coded and raw bytes of a tiny clip, made by ffmpeg */
typedef struct Clip {
    uint8_t *coded, *raw;
    size_t coded_len, raw_len;
} Clip;

#define CLIP_FRAMES 8
#define CLIP_UNIT   65536
#define NV12_SIZE   (WIDTH * HEIGHT * 3 / 2)

static bool run_quietly(const char *command)
{
    int status;

    return g_spawn_command_line_sync(command, NULL, NULL, &status, NULL) &&
           status == 0;
}

/* H.264 with B-frames and with an access unit delimiter before each frame */
static bool make_clip(Clip *clip)
{
    g_autofree char *h264 = temp_file();
    g_autofree char *nv12 = temp_file();
    g_autofree char *encode = g_strdup_printf(
        "ffmpeg -v quiet -y -f lavfi -i testsrc=size=%dx%d:rate=5"
        " -frames:v %d -pix_fmt yuv420p -c:v libx264 -bf 2"
        " -bsf:v h264_metadata=aud=insert -f h264 %s",
        WIDTH, HEIGHT, CLIP_FRAMES, h264);
    g_autofree char *decode = g_strdup_printf(
        "ffmpeg -v quiet -y -f h264 -i %s -pix_fmt nv12 -f rawvideo %s",
        h264, nv12);
    bool ok = run_quietly(encode) && run_quietly(decode) &&
              g_file_get_contents(h264, (char **)&clip->coded,
                                  &clip->coded_len, NULL) &&
              g_file_get_contents(nv12, (char **)&clip->raw,
                                  &clip->raw_len, NULL);

    unlink(h264);
    unlink(nv12);
    return ok && clip->raw_len == CLIP_FRAMES * NV12_SIZE;
}

static void clip_clear(Clip *clip)
{
    g_free(clip->coded);
    g_free(clip->raw);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Clip, clip_clear)

/* Where the access unit that starts at @at ends: at the next delimiter */
static size_t next_unit(const Clip *clip, size_t at)
{
    static const uint8_t delimiter[] = { 0, 0, 0, 1, 9 };

    for (at++; at + sizeof(delimiter) < clip->coded_len; at++) {
        if (!memcmp(clip->coded + at, delimiter, sizeof(delimiter))) {
            return at;
        }
    }
    return clip->coded_len;
}

static uint32_t put_bytes(TestStream *s, unsigned res, uint64_t timestamp,
                          const void *data, size_t len)
{
    qvv_buffer_write(s->d, &s->in->res[res].buffer[0], 0, data, len);
    return qvv_queue_input(s->d, s->id, res, timestamp, 0, len);
}

static void assert_nv12(TestStream *s, unsigned res, const uint8_t *want)
{
    const QVVBuffer *buf = &s->out->res[res].buffer[0];

    for (unsigned p = 0; p < 2; p++) {
        for (unsigned y = 0; y < s->layout.rows[p]; y++, want += WIDTH) {
            uint8_t row[WIDTH];

            qvv_buffer_read(s->d, buf, s->layout.offset[p] +
                            y * s->layout.stride[p], row, WIDTH);
            g_assert_cmpmem(row, WIDTH, want, WIDTH);
        }
    }
}

/* All units in, all frames out, each as ffmpeg has it */
static void decode_clip(TestStream *s, const Clip *clip)
{
    uint32_t out[CLIP_FRAMES];
    unsigned unit = 0;

    for (unsigned i = 0; i < CLIP_FRAMES; i++) {
        out[i] = get(s, i);
    }
    for (size_t at = 0, end; at < clip->coded_len; at = end, unit++) {
        end = next_unit(clip, at);
        qvv_assert_ok(s->d, put_bytes(s, unit % N_INPUTS, unit,
                                      clip->coded + at, end - at));
    }
    g_assert_cmpuint(unit, ==, CLIP_FRAMES);
    qvv_assert_ok(s->d, qvv_drain(s->d, s->id));
    for (unsigned i = 0; i < CLIP_FRAMES; i++) {
        qvv_assert_ok(s->d, out[i]);
        assert_nv12(s, i, clip->raw + i * NV12_SIZE);
    }
}

static TestStream *clip_stream(Rig *r, uint32_t id, QVVPlacement placement)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s = bare_stream(r, id);

    add_inputs_of(s, N_INPUTS, CLIP_UNIT);
    set_raw_format(s, &f);
    add_outputs(s, CLIP_FRAMES, placement);
    return s;
}

/* The same behind an IOMMU */
static TestStream *mapped_clip_stream(Iommu *i)
{
    const QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    const uint64_t input_size = CLIP_UNIT;
    GByteArray *in = qvv_set_new(CODED_SET), *out = qvv_set_new(RAW_SET);
    TestStream *s = bare_stream(i->r, 0);

    s->in = qvv_pool_new(s->d, N_INPUTS, 1, &input_size, QVV_SCATTERED);
    iommu_map_pool(i, in, s->in);
    g_assert_cmphex(set_params_flags(s, in), ==, F_OK);
    set_raw_format(s, &raw);
    read_raw_format(s);
    s->out = qvv_pool_new(s->d, CLIP_FRAMES, 1, s->layout.buffer_size,
                          QVV_SCATTERED);
    iommu_map_pool(i, out, s->out);
    g_assert_cmphex(set_params_flags(s, out) & ~F_BLOCKED, ==, F_OK);
    return s;
}

static void test_libav_decodes(Rig *first)
{
    g_auto(Clip) clip = { };
    Rig *r;

    if (!make_clip(&clip)) {
        g_test_skip("no ffmpeg with libx264 to make a clip");
        return;
    }
    r = libav_rig(first);
    if (!r) {
        return;
    }
    decode_clip(clip_stream(r, 0, QVV_CONTIGUOUS), &clip);
    decode_clip(clip_stream(r, 1, QVV_SCATTERED), &clip);
    qvv_stop(r->d);
    second_rig_free(r);
}

/* What the device gets are no addresses of RAM; the frames are ffmpeg's */
static void test_libav_decodes_mapped(Rig *first)
{
    g_auto(Clip) clip = { };
    TestStream *s;
    Iommu i;

    if (!has_type(first->qts, "video-codec-libav")) {
        g_test_skip("video-codec-libav is not built");
        return;
    }
    if (!make_clip(&clip)) {
        g_test_skip("no ffmpeg with libx264 to make a clip");
        return;
    }
    if (!iommu_start_codec(&i, first, "video-codec-libav")) {
        return;
    }
    s = mapped_clip_stream(&i);
    /* The second time with a codec that has frames */
    decode_clip(s, &clip);
    decode_clip(s, &clip);
    qvv_assert_ok(s->d, qvv_close(s->d, 0));
    iommu_stop(&i);
}

/*
 * A single output, spoiled as soon as it's back, and queued again: later frames
 * refer to it all the same.
 */
static void decode_clip_spoiling(TestStream *s, const Clip *clip)
{
    uint32_t in[CLIP_FRAMES], out = get(s, 0);
    unsigned unit = 0;

    for (size_t at = 0, end; at < clip->coded_len; at = end, unit++) {
        end = next_unit(clip, at);
        in[unit] = put_bytes(s, unit, unit, clip->coded + at, end - at);
    }
    g_assert_cmpuint(unit, ==, CLIP_FRAMES);
    qvv_drain(s->d, s->id);
    for (unsigned i = 0; i < CLIP_FRAMES; i++) {
        qvv_assert_ok(s->d, out);
        assert_nv12(s, 0, clip->raw + i * NV12_SIZE);
        fill_output(s, 0, 0xaa);
        out = get(s, 0);
    }
    for (unsigned i = 0; i < CLIP_FRAMES; i++) {
        qvv_assert_ok(s->d, in[i]);
    }
}

static void test_libav_referenced(Rig *first)
{
    g_auto(Clip) clip = { };
    Rig *r;

    if (!make_clip(&clip)) {
        g_test_skip("no ffmpeg with libx264 to make a clip");
        return;
    }
    r = libav_rig(first);
    if (!r) {
        return;
    }
    decode_clip_spoiling(clip_stream(r, 0, QVV_SCATTERED), &clip);
    qvv_stop(r->d);
    second_rig_free(r);
}

/* The kind of ring changes nothing: each of them, with one device */
static void test_libav_rings(Rig *first)
{
    static const uint64_t features[] = { PACKED, EVENT_IDX, IN_ORDER };
    g_auto(Clip) clip = { };
    Rig *r;

    if (!make_clip(&clip)) {
        g_test_skip("no ffmpeg with libx264 to make a clip");
        return;
    }
    r = libav_rig(first);
    if (!r) {
        return;
    }
    for (unsigned kind = 0; kind < 16; kind++) {
        QVVOptions opts = { .indirect = kind & 8 };

        for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
            opts.more_features |= kind & (1 << i) ? features[i] : 0;
        }
        qvv_stop(r->d);
        start(r, &opts);
        g_assert_cmphex(r->d->features & (PACKED | EVENT_IDX | IN_ORDER), ==,
                        opts.more_features);
        decode_clip(clip_stream(r, 0, QVV_SCATTERED), &clip);
    }
    qvv_stop(r->d);
    second_rig_free(r);
}

/* The first unit with a wrong byte: something comes of it, or nothing */
static void spoil_clip(TestStream *s, const Clip *clip, unsigned i)
{
    size_t len = next_unit(clip, 0);
    uint32_t in, out = get(s, 0);

    clip->coded[i * len / 20] ^= 0x55;
    in = put_bytes(s, 0, 0, clip->coded, len);
    clip->coded[i * len / 20] ^= 0x55;
    qvv_assert_ok(s->d, qvv_drain(s->d, s->id));
    qvv_queue_reset(s->d, s->id, OUTPUT);
    g_autoptr(QVVEvent) in_done = qvv_wait(s->d, in);
    g_autoptr(QVVEvent) out_done = qvv_wait(s->d, out);
}

/* Garbage is an ERROR or a frame that says so, and the stream recovers */
static void test_libav_bad_data(Rig *first)
{
    static const uint8_t garbage[] = { 0, 0, 0, 1, 0x65, 0x88, 0x84, 0, 1, 2 };
    g_auto(Clip) clip = { };
    TestStream *s;
    Rig *r;

    if (!make_clip(&clip)) {
        g_test_skip("no ffmpeg with libx264 to make a clip");
        return;
    }
    r = libav_rig(first);
    if (!r) {
        return;
    }
    s = clip_stream(r, 0, QVV_CONTIGUOUS);
    qvv_assert_error(r->d, put_bytes(s, 0, 0, garbage, sizeof(garbage)));
    decode_clip(s, &clip);
    for (unsigned i = 0; i < 20; i++) {
        spoil_clip(s, &clip, i);
    }
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    decode_clip(clip_stream(r, 0, QVV_SCATTERED), &clip);
    qvv_stop(r->d);
    second_rig_free(r);
}

/* The decoder's frames are counted, and given back with the stream */
static void test_libav_memory(Rig *first)
{
    g_auto(Clip) clip = { };
    int64_t before;
    Rig *r;

    if (!make_clip(&clip)) {
        g_test_skip("no ffmpeg with libx264 to make a clip");
        return;
    }
    r = libav_rig(first);
    if (!r) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        TestStream *s = clip_stream(r, i, QVV_CONTIGUOUS);

        before = memory_used(r);
        decode_clip(s, &clip);
        /* At least what the stream refers to and what comes out */
        g_assert_cmpint(memory_used(r), >, before + 2 * NV12_SIZE);
        qvv_assert_ok(r->d, qvv_close(r->d, i));
        g_assert_cmpint(memory_used(r), ==, 0);
    }
    qvv_stop(r->d);
    second_rig_free(r);
}

/* max-mem is 16 KiB here, more than what is coded and less than two frames */
static void test_libav_out_of_memory(Rig *first)
{
    g_auto(Clip) clip = { };
    Rig *r;

    if (!make_clip(&clip)) {
        g_test_skip("no ffmpeg with libx264 to make a clip");
        return;
    }
    r = libav_rig(first);
    if (!r) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        put_bytes(clip_stream(r, i, QVV_CONTIGUOUS), 0, 0, clip.coded,
                  next_unit(&clip, 0));
        expect_stream_error(r->d, i);
        g_assert_cmpint(memory_used(r), ==, 0);
    }
    qvv_stop(r->d);
    second_rig_free(r);
}

/*
 * AV1: @n times the sequence header of a still picture of @width x @height,
 * each of them less than 4096
 */
static void put_av1_headers(TestStream *s, unsigned n, uint32_t width,
                            uint32_t height)
{
    g_autoptr(GByteArray) unit = g_byte_array_new();
    const uint8_t delimiter[] = { 0x12, 0 };
    uint8_t header[2 + 8] = { 0x0a, 8 };

    /*
     * Profile (3 bits), still, reduced, level (5 bits), the widths of the next
     * two less one (4 bits each), width, height; nothing else is on
     */
    stq_be_p(header + 2, 0x3ull << 59 | 0xbbull << 46 |
                         (uint64_t)(width - 1) << 34 |
                         (uint64_t)(height - 1) << 22 | 0x80);
    g_byte_array_append(unit, delimiter, sizeof(delimiter));
    while (n--) {
        g_byte_array_append(unit, header, sizeof(header));
    }
    qvv_event_free(qvv_wait(s->d, put_bytes(s, 0, 0, unit->data, unit->len)));
}

static TestStream *av1_stream(Rig *r, uint32_t id)
{
    TestStream *s = bare_stream(r, id);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_AV1);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    add_inputs(s);
    return s;
}

/*
 * libdav1d does not tell of its frames, so what the sequence header allows is
 * taken for them: 11 frames of 4:2:0 in whole superblocks.  max-mem is 16 MiB.
 */
static void test_libav_av1_memory(Rig *first)
{
#ifdef CONFIG_DAV1D
    const int64_t frames = 640 * 512 * 3 / 2 * 11;
    Rig *r = libav_rig(first);
    TestStream *s;
    int64_t before;

    if (!r) {
        return;
    }
    s = av1_stream(r, 0);
    before = memory_used(r);
    put_av1_headers(s, 1, 640, 500);
    g_assert_cmpint(memory_used(r), ==, before + frames);
    put_av1_headers(s, 16, 64, 64);
    g_assert_cmpint(memory_used(r), ==, before + frames);
    put_av1_headers(av1_stream(r, 1), 1, 3840, 2160);
    expect_stream_error(r->d, 1);
    /* So many may mean anything; they are not all read */
    put_av1_headers(av1_stream(r, 2), 17, 64, 64);
    expect_stream_error(r->d, 2);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    g_assert_cmpint(memory_used(r), ==, 0);
    qvv_stop(r->d);
    second_rig_free(r);
#else
    g_test_skip("libdav1d's headers were not there when QEMU was built");
#endif
}

/*
 * All of them
 */

static const TestCase cases[] = {
    { "libav/decodes-h264", test_libav_decodes },
    { "iommu/libav-decodes-the-same-frames", test_libav_decodes_mapped,
      .device = ",iommu_platform=on", .no_start = true },
    { "libav/same-frames-with-every-ring", test_libav_rings,
      .device = ALL_RINGS },
    { "libav/referenced-output-queued-again", test_libav_referenced },
    { "libav/bad-data-is-error", test_libav_bad_data },
    { "libav/frames-count-as-memory", test_libav_memory },
    { "libav/frames-beyond-max-mem-fail", test_libav_out_of_memory,
      .device = ",max-mem=16K" },
    { "libav/frames-of-av1-count-as-memory", test_libav_av1_memory,
      .device = ",x-av1=on,max-mem=16M" },
};

static void register_virtio_video_libav_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_libav_test);
