/*
 * Fixture of virtio-video's qtests: encoders
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "virtio-video-encoder-fixture.h"

/*
 * Streams
 */

TestStream *bare_encoder(Rig *r, uint32_t id)
{
    return bare_stream_of(r, id, ENCODER);
}

void add_frames(TestStream *s, unsigned n, QVVPlacement placement)
{
    GByteArray *set = qvv_set_new(RAW_SET);

    read_raw_format(s);
    if (s->in) {
        qvv_set_num_resources(set, 0);
        qvv_pool_free(s->d, s->in);
    }
    s->in = qvv_pool_new(s->d, n, s->layout.n_buffers, s->layout.buffer_size,
                         placement);
    add_pool(set, s->in);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
}

void add_coded(TestStream *s, unsigned n, uint64_t size)
{
    GByteArray *set = qvv_set_new(CODED_SET);

    g_assert_null(s->out);
    s->out = qvv_pool_new(s->d, n, 1, &size, QVV_CONTIGUOUS);
    add_pool(set, s->out);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
}

TestStream *encoder_of(Rig *r, uint32_t id, const QVVRawFormat *format,
                       QVVPlacement placement)
{
    TestStream *s = bare_encoder(r, id);

    set_raw_format(s, format);
    add_frames(s, N_FRAMES, placement);
    add_coded(s, N_CODED, CODED_SIZE);
    return s;
}

TestStream *encoder(Rig *r, uint32_t id)
{
    QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);

    return encoder_of(r, id, &raw, QVV_CONTIGUOUS);
}

QVVRect set_crop(TestStream *s, uint32_t left, uint32_t top,
                 uint32_t width, uint32_t height)
{
    const QVVRect rect = { left, top, width, height };
    GByteArray *set = qvv_set_new(RAW_SET);

    qvv_set_crop(set, &rect);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_autoptr(QVVEvent) now = get_params(s, RAW_SET);
    g_assert_cmpmem(&ev->params.crop, sizeof(rect), &now->params.crop,
                    sizeof(rect));
    return now->params.crop;
}

/*
 * Frames
 */

void store_plane(TestStream *s, unsigned res, unsigned p, uint64_t offset,
                 uint32_t value)
{
    const QVVBuffer *buf = &s->in->res[res].buffer[s->layout.buffer[p]];
    g_autofree uint8_t *row = g_malloc(s->layout.row_bytes[p]);

    for (uint32_t y = 0; y < s->layout.rows[p]; y++) {
        for (uint32_t x = 0; x < s->layout.row_bytes[p]; x++) {
            row[x] = video_test_byte(value, p, y, x);
        }
        qvv_buffer_write(s->d, buf, offset + y * s->layout.stride[p], row,
                         s->layout.row_bytes[p]);
    }
}

void store_frame(TestStream *s, unsigned res, uint32_t value)
{
    for (unsigned p = 0; p < s->layout.n_planes; p++) {
        store_plane(s, res, p, s->layout.offset[p], value);
    }
}

uint32_t queue_frame(TestStream *s, unsigned res, uint64_t timestamp)
{
    return qvv_queue_frame(s->d, s->id, res, timestamp, &s->layout);
}

uint32_t encode(TestStream *s, unsigned res, uint64_t timestamp,
                uint32_t value)
{
    store_frame(s, res, value);
    return queue_frame(s, res, timestamp);
}

/* Instructions for the codec, in the first bytes of frame @res */
static void store_script(TestStream *s, unsigned res, VideoTestInsn *insns,
                         unsigned n)
{
    const QVVBuffer *buf = &s->in->res[res].buffer[0];
    const uint8_t *data = (const uint8_t *)insns;
    uint32_t bytes = s->layout.row_bytes[0];
    size_t left = n * sizeof(*insns);

    insns_to_le(insns, n);
    for (uint32_t y = 0; left; y++) {
        size_t part = MIN(left, bytes);

        qvv_buffer_write(s->d, buf, s->layout.offset[0] +
                         y * s->layout.stride[0], data, part);
        data += part;
        left -= part;
    }
}

uint32_t encode_script(TestStream *s, unsigned res, uint64_t timestamp,
                       VideoTestInsn *insns, unsigned n)
{
    store_frame(s, res, 1);
    store_script(s, res, insns, n);
    return queue_frame(s, res, timestamp);
}

uint32_t queue_planes(TestStream *s, uint32_t offset0, uint32_t size0,
                      uint32_t offset1, uint32_t size1)
{
    const uint32_t offsets[] = { offset0, offset1 };
    const uint32_t sizes[] = { size0, size1 };

    return qvv_queue_planes(s->d, s->id, 0, 1, 2, offsets, sizes);
}

VideoTestInsn coded(uint32_t size, uint32_t position, VideoFrameType type)
{
    return (VideoTestInsn) { VIDEO_TEST_MAGIC, VIDEO_TEST_CODED,
                            { size, position, 0, type } };
}

static uint32_t plane_sum(TestStream *s, unsigned p, const QVVRect *rect,
                          uint32_t value, uint32_t sum)
{
    uint32_t bytes = video_test_row_bytes(s->raw.fourcc, p, rect->width);
    uint32_t rows = video_test_rows(p, rect->height);
    uint32_t x0 = video_test_row_bytes(s->raw.fourcc, p, rect->left);
    uint32_t y0 = video_test_rows(p, rect->top);

    for (uint32_t y = 0; y < rows; y++) {
        for (uint32_t x = 0; x < bytes; x++) {
            uint8_t byte = video_test_byte(value, p, y0 + y, x0 + x);

            sum = video_test_checksum(sum, &byte, 1);
        }
    }
    return sum;
}

uint32_t picture_sum(TestStream *s, const QVVRect *rect, uint32_t value)
{
    uint32_t sum = VIDEO_TEST_CHECKSUM_INIT;

    for (unsigned p = 0; p < s->layout.n_planes; p++) {
        sum = plane_sum(s, p, rect, value, sum);
    }
    return sum;
}

uint32_t frame_sum(TestStream *s, uint32_t value)
{
    const QVVRect all = { 0, 0, s->raw.width, s->raw.height };

    return picture_sum(s, &all, value);
}

/*
 * Coded data
 */

static VideoTestCoded read_coded(TestStream *s, unsigned res)
{
    g_autofree uint8_t *data = read_output(s, res, 0);
    VideoTestCoded c;

    memcpy(&c, data, sizeof(c));
    c.magic = le32_to_cpu(c.magic);
    c.size = le32_to_cpu(c.size);
    c.sequence = le32_to_cpu(c.sequence);
    c.type = le32_to_cpu(c.type);
    c.timestamp = le64_to_cpu(c.timestamp);
    c.fourcc = le32_to_cpu(c.fourcc);
    c.width = le32_to_cpu(c.width);
    c.height = le32_to_cpu(c.height);
    c.checksum = le32_to_cpu(c.checksum);
    for (unsigned i = 0; i < VIDEO_TEST_N_CONTROLS; i++) {
        c.controls[i] = le32_to_cpu(c.controls[i]);
    }
    return c;
}

VideoTestCoded expect_coded(TestStream *s, unsigned res, uint32_t cookie,
                            uint32_t type)
{
    g_autoptr(QVVEvent) ev = qvv_wait(s->d, cookie);
    VideoTestCoded c = read_coded(s, res);

    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_true(ev->has_buffer);
    g_assert_cmphex(ev->queue_flags, ==, type);
    g_assert_cmphex(c.magic, ==, VIDEO_TEST_CODED_MAGIC);
    g_assert_cmpuint(ev->offsets[0], ==, 0);
    g_assert_cmpuint(ev->data_sizes[0], ==, c.size);
    g_assert_cmpuint(ev->timestamp, ==, c.timestamp);
    for (unsigned i = 1; i < VIRTIO_VIDEO_MAX_PLANES; i++) {
        g_assert_cmpuint(ev->offsets[i], ==, 0);
        g_assert_cmpuint(ev->data_sizes[i], ==, 0);
    }
    return c;
}

VideoTestCoded encode_one(TestStream *s, uint32_t value, uint32_t type)
{
    uint32_t in = encode(s, 0, value, value), out = get(s, 0);
    VideoTestCoded c;

    qvv_assert_ok(s->d, in);
    c = expect_coded(s, 0, out, type);
    g_assert_cmpuint(c.timestamp, ==, value);
    return c;
}

void assert_encodes(TestStream *s)
{
    uint32_t in = encode(s, 0, 4711, 99), out = get(s, 0);

    qvv_assert_ok(s->d, in);
    g_autoptr(QVVEvent) ev = qvv_wait(s->d, out);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_cmphex(read_coded(s, 0).checksum, ==, frame_sum(s, 99));
}
