/*
 * QTest testcases of virtio-video: an encoder and a decoder with real codecs
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/module.h"
#include "virtio-video-encoder-fixture.h"

#define CLIP_FRAMES 8

/* A picture that moves: what differs from one frame to the next is little */
static uint8_t clip_byte(unsigned i, unsigned p, uint32_t y, uint32_t x)
{
    return p ? 96 + 2 * y + x / 2 : 32 + 2 * y + x + 3 * i;
}

static void store_clip_frame(TestStream *s, unsigned res, unsigned i)
{
    const QVVBuffer *buf = &s->in->res[res].buffer[0];

    for (unsigned p = 0; p < s->layout.n_planes; p++) {
        for (uint32_t y = 0; y < s->layout.rows[p]; y++) {
            uint8_t row[WIDTH];

            for (uint32_t x = 0; x < WIDTH; x++) {
                row[x] = clip_byte(i, p, y, x);
            }
            qvv_buffer_write(s->d, buf, s->layout.offset[p] +
                             y * s->layout.stride[p], row, WIDTH);
        }
    }
}

/* Mean difference of output @res and clip frame @i, for each byte */
static double clip_difference(TestStream *s, unsigned res, unsigned i)
{
    const QVVBuffer *buf = &s->out->res[res].buffer[0];
    unsigned n = 0, sum = 0;

    for (unsigned p = 0; p < s->layout.n_planes; p++) {
        for (uint32_t y = 0; y < s->layout.rows[p]; y++) {
            uint8_t row[WIDTH];

            qvv_buffer_read(s->d, buf, s->layout.offset[p] +
                            y * s->layout.stride[p], row, WIDTH);
            for (uint32_t x = 0; x < WIDTH; x++, n++) {
                sum += abs(row[x] - clip_byte(i, p, y, x));
            }
        }
    }
    return (double)sum / n;
}

/* Both streams of a transcoder, for NV12, on one device */
static TestStream *clip_encoder(Rig *r, uint32_t id, uint32_t coded)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s = bare_encoder(r, id);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_coded_format(set, coded);
    set_params_ok(s, set);
    set_raw_format(s, &f);
    add_frames(s, CLIP_FRAMES, QVV_SCATTERED);
    add_coded(s, CLIP_FRAMES, 65536);
    return s;
}

static TestStream *clip_decoder(Rig *r, uint32_t id, uint32_t coded)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s = bare_stream(r, id);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_coded_format(set, coded);
    set_params_ok(s, set);
    set_raw_format(s, &f);
    add_inputs_of(s, CLIP_FRAMES, 65536);
    add_outputs(s, CLIP_FRAMES, QVV_SCATTERED);
    return s;
}

/* Coded output @res of @from, @size bytes, is input @res of @to */
static uint32_t pass_on(TestStream *from, TestStream *to, unsigned res,
                        const QVVEvent *ev)
{
    g_autofree uint8_t *data = read_output(from, res, 0);
    uint32_t size = ev->data_sizes[0];

    g_assert_cmpuint(size, >, 0);
    qvv_buffer_write(to->d, &to->in->res[res].buffer[0], 0, data, size);
    return qvv_queue_input(to->d, to->id, res, ev->timestamp, 0, size);
}

static void transcode(Rig *r, uint32_t coded)
{
    TestStream *enc = clip_encoder(r, 0, coded);
    TestStream *dec = clip_decoder(r, 1, coded);
    uint32_t out[CLIP_FRAMES], frame[CLIP_FRAMES], drain;

    for (unsigned i = 0; i < CLIP_FRAMES; i++) {
        out[i] = get(enc, i);
        frame[i] = get(dec, i);
        store_clip_frame(enc, i, i);
        queue_frame(enc, i, 100 + i);
    }
    drain = qvv_drain(r->d, 0);
    for (unsigned i = 0; i < CLIP_FRAMES; i++) {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, out[i]);

        g_assert_cmphex(ev->flags, ==, F_OK);
        g_assert_cmpint(ctpop32(ev->queue_flags), ==, 1);
        g_assert_cmphex(ev->queue_flags & KEY, ==, i ? 0 : KEY);
        qvv_assert_ok(r->d, pass_on(enc, dec, i, ev));
    }
    qvv_assert_ok(r->d, drain);
    qvv_assert_ok(r->d, qvv_drain(r->d, 1));
    for (unsigned i = 0; i < CLIP_FRAMES; i++) {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, frame[i]);

        g_assert_cmphex(ev->flags, ==, F_OK);
        g_assert_cmpuint(ev->timestamp, ==, 100 + i);
        g_assert_cmpfloat(clip_difference(dec, i, i), <, 4);
    }
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    qvv_assert_ok(r->d, qvv_close(r->d, 1));
}

static void test_libav_transcodes(Rig *first)
{
    Rig *r = libav_rig(first);

    if (!r) {
        return;
    }
    g_autoptr(QVVCaps) caps = query_caps(r);
    for (unsigned i = 0; i < caps->n_coded; i++) {
        if (caps->has_link[ENCODER] && caps->links[ENCODER][i]) {
            transcode(r, caps->coded[i].format);
        }
    }
    qvv_stop(r->d);
    second_rig_free(r);
}

/*
 * All of them
 */

static const TestCase cases[] = {
    { "libav/transcodes-every-format", test_libav_transcodes },
};

static void register_virtio_video_transcode_test(void)
{
    virtio_video_add_tests(cases, ARRAY_SIZE(cases));
}

libqos_init(register_virtio_video_transcode_test);
