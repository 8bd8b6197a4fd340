/*
 * Scripted video codec for protocol tests: the object and its decoder
 *
 * Decodes nothing: the coded buffers say what to do, see
 * system/video-codec-test.h.  So a test makes a codec reorder, change its
 * format, fail, be slow or hang exactly where it wants.  Its encoder is in
 * video-codec-test-encoder.c.
 *
 * Everything but the class functions runs in the worker thread of a session
 * and touches only that session's state.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/iov.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "system/video-codec.h"
#include "system/video-codec-test.h"
#include "video-codec-test-int.h"

OBJECT_DECLARE_SIMPLE_TYPE(VideoCodecTest, VIDEO_CODEC_TEST)

struct VideoCodecTest {
    VideoCodec parent;

    VideoCodecCaps caps;
};

typedef struct TestFrame {
    VideoCodecFormat format;
    uint64_t timestamp;
    uint32_t value;
    int32_t position;
    bool corrupt;
    QTAILQ_ENTRY(TestFrame) next;
} TestFrame;

typedef QTAILQ_HEAD(, TestFrame) TestFrameList;

/**
 * TestDecoder: a session's state.
 * @format: of the frames to come; width is 0 until it is set
 * @held: frames that wait for their turn, in presentation order
 * @ready: frames to come out, in this order
 * @n_frames: in both lists
 * @memory: bytes taken of the device's
 * @draining: submit(NULL) was called, its end was not yet told
 * @resume: offset in the input for which submit() said -EAGAIN
 * @again: how often it still has to say so
 */
typedef struct TestDecoder {
    VideoCodecSession *session;
    VideoCodecParams params;
    VideoCodecFormat format;
    TestFrameList held;
    TestFrameList ready;
    unsigned n_frames;
    unsigned n_held;
    uint32_t depth;
    uint32_t slow_emit_ms;
    uint64_t memory;
    uint32_t direct_ms;
    uint32_t direct_late_ms;
    uint32_t slow_stop_ms;
    bool draining;
    size_t resume;
    uint32_t again;
} TestDecoder;

static const VideoCodecCaps test_caps = {
    .decoders = {
        {
            .format = VIDEO_CODED_H264,
            .raw_mask = 0xf,
            .max_width = VIDEO_TEST_MAX_SIZE,
            .max_height = VIDEO_TEST_MAX_SIZE,
            .deep = {
                .min_width = VIDEO_TEST_MIN_SIZE,
                .min_height = VIDEO_TEST_MIN_SIZE,
                .max_width = VIDEO_TEST_DEEP_MAX_SIZE,
                .max_height = VIDEO_TEST_DEEP_MAX_SIZE,
            },
        }, {
            .format = VIDEO_CODED_VP8,
            .raw_mask = 0x1,
            .max_width = VIDEO_TEST_VP8_MAX_SIZE,
            .max_height = VIDEO_TEST_VP8_MAX_SIZE,
        }, {
            .format = VIDEO_CODED_VP9,
            .raw_mask = 0x1,
            .max_width = VIDEO_TEST_MAX_SIZE,
            .max_height = VIDEO_TEST_MAX_SIZE,
        },
    },
    .n_decoders = 3,
    .raws = {
        VIDEO_TEST_NV12,
        VIDEO_TEST_YUV420,
        VIDEO_TEST_P010,
        VIDEO_TEST_XRGB8888,
    },
    .n_raws = 4,
};

static const VideoCodecCaps *test_get_caps(VideoCodec *codec)
{
    return &VIDEO_CODEC_TEST(codec)->caps;
}

static void *test_start(VideoCodec *codec, VideoCodecSession *s,
                        const VideoCodecParams *params, Error **errp)
{
    TestDecoder *d;

    if (params->coded == VIDEO_CODED_VP9) {
        error_setg(errp, "test codec: VP9 never starts");
        return NULL;
    }
    d = g_new0(TestDecoder, 1);
    d->session = s;
    d->params = *params;
    QTAILQ_INIT(&d->held);
    QTAILQ_INIT(&d->ready);
    video_codec_session_set_engine(s, "script");
    return d;
}

static void test_free_frames(TestDecoder *d, TestFrameList *list)
{
    TestFrame *f;

    while ((f = QTAILQ_FIRST(list))) {
        QTAILQ_REMOVE(list, f, next);
        d->n_frames--;
        g_free(f);
    }
}

static void test_flush(void *priv)
{
    TestDecoder *d = priv;

    test_free_frames(d, &d->held);
    test_free_frames(d, &d->ready);
    d->n_held = 0;
    d->draining = false;
    d->resume = 0;
    d->again = 0;
}

void test_wait(VideoCodecSession *s, uint32_t ms, bool interruptible)
{
    int64_t end = g_get_monotonic_time() +
                  MIN(ms, VIDEO_TEST_MAX_WAIT) * INT64_C(1000);

    while (g_get_monotonic_time() < end &&
           !(interruptible && video_codec_session_interrupted(s))) {
        g_usleep(1000);
    }
}

static void test_stop(void *priv)
{
    TestDecoder *d = priv;

    test_wait(d->session, d->slow_stop_ms, false);
    test_flush(d);
    video_codec_session_give_memory(d->session, d->memory);
    g_free(d);
}

void test_fail(VideoCodecSession *s, const void *args)
{
    size_t size = sizeof(((VideoTestInsn *)NULL)->args);
    g_autofree char *reason = g_strndup(args, size);

    video_codec_session_fail(s, "%s", reason);
}

/* Let go of held frames until no more than @depth are left. */
static void test_release(TestDecoder *d, uint32_t depth)
{
    while (d->n_held > depth) {
        TestFrame *f = QTAILQ_FIRST(&d->held);

        QTAILQ_REMOVE(&d->held, f, next);
        QTAILQ_INSERT_TAIL(&d->ready, f, next);
        d->n_held--;
    }
}

static int test_op_format(TestDecoder *d, const uint32_t *args)
{
    VideoCodecFormat format = {
        .fourcc = args[6] == 10 ? VIDEO_TEST_P010 : VIDEO_TEST_NV12,
        .width = args[0],
        .height = args[1],
        .crop = {
            .left = args[2],
            .top = args[3],
            .width = args[4],
            .height = args[5],
        },
    };
    bool deep = args[6] == 10;
    uint32_t max_width = deep ? d->params.deep_max_width
                              : d->params.max_width;
    uint32_t max_height = deep ? d->params.deep_max_height
                               : d->params.max_height;

    if (!args[0] || !args[1] || (args[6] != 8 && args[6] != 10) ||
        args[0] > VIDEO_TEST_MAX_SIZE || args[1] > VIDEO_TEST_MAX_SIZE ||
        args[2] >= args[0] || args[4] > args[0] - args[2] || !args[4] ||
        args[3] >= args[1] || args[5] > args[1] - args[3] || !args[5]) {
        return -EINVAL;
    }
    if (args[0] > max_width || args[1] > max_height) {
        video_codec_session_fail(d->session, "frames of %ux%u are too large",
                                 args[0], args[1]);
        return -EINVAL;
    }
    test_release(d, 0);
    d->format = format;
    return 0;
}

static int test_op_frame(TestDecoder *d, const uint32_t *args,
                         uint64_t timestamp)
{
    TestFrame *f, *before;

    if (!d->format.width || d->n_frames == VIDEO_TEST_MAX_FRAMES) {
        return -EINVAL;
    }
    f = g_new0(TestFrame, 1);
    f->format = d->format;
    f->timestamp = timestamp;
    f->value = args[0];
    f->position = args[1];
    f->corrupt = args[2] & VIDEO_TEST_FRAME_CORRUPT;
    d->n_frames++;
    d->n_held++;

    QTAILQ_FOREACH(before, &d->held, next) {
        if (f->position < before->position) {
            QTAILQ_INSERT_BEFORE(before, f, next);
            goto done;
        }
    }
    QTAILQ_INSERT_TAIL(&d->held, f, next);
done:
    test_release(d, d->depth);
    return 0;
}

static int test_op_memory(TestDecoder *d, const uint32_t *args)
{
    if (!video_codec_session_take_memory(d->session, args[0])) {
        return -ENOMEM;
    }
    d->memory += args[0];
    return 0;
}

/* -EAGAIN: it was the last one for now, @d->again says what then. */
static int test_run(TestDecoder *d, const VideoTestInsn *insn,
                    uint64_t timestamp)
{
    uint32_t args[ARRAY_SIZE(insn->args)];

    for (unsigned i = 0; i < ARRAY_SIZE(args); i++) {
        args[i] = le32_to_cpu(insn->args[i]);
    }
    switch (le32_to_cpu(insn->op)) {
    case VIDEO_TEST_NOP:
        return 0;
    case VIDEO_TEST_FORMAT:
        return test_op_format(d, args);
    case VIDEO_TEST_FRAME:
        return test_op_frame(d, args, timestamp);
    case VIDEO_TEST_REORDER:
        d->depth = args[0];
        test_release(d, d->depth);
        return 0;
    case VIDEO_TEST_AGAIN:
        d->again = args[0];
        return args[0] ? -EAGAIN : 0;
    case VIDEO_TEST_FAIL:
        test_fail(d->session, insn->args);
        return -EINVAL;
    case VIDEO_TEST_DELAY:
        test_wait(d->session, args[0], true);
        return 0;
    case VIDEO_TEST_HANG:
        test_wait(d->session, VIDEO_TEST_MAX_WAIT, true);
        return 0;
    case VIDEO_TEST_HANG_HARD:
        test_wait(d->session, args[0], false);
        return 0;
    case VIDEO_TEST_SLOW_EMIT:
        d->slow_emit_ms = args[0];
        return 0;
    case VIDEO_TEST_MEMORY:
        return test_op_memory(d, args);
    case VIDEO_TEST_DIRECT:
        d->direct_ms = args[0];
        d->direct_late_ms = args[1];
        return 0;
    case VIDEO_TEST_SLOW_STOP:
        d->slow_stop_ms = args[0];
        return 0;
    default:
        return -EINVAL;
    }
}

static int test_submit(void *priv, const VideoCodecInput *in)
{
    TestDecoder *d = priv;
    size_t at;

    if (!in) {
        test_release(d, 0);
        d->draining = true;
        return 0;
    }
    if (d->again && --d->again) {
        return -EAGAIN;
    }
    at = d->resume;
    d->resume = 0;
    for (; at < in->size; at += sizeof(VideoTestInsn)) {
        VideoTestInsn insn;
        int ret;

        if (in->size - at < sizeof(insn)) {
            return -EINVAL;
        }
        memcpy(&insn, in->data + at, sizeof(insn));
        if (le32_to_cpu(insn.magic) != VIDEO_TEST_MAGIC) {
            return -EINVAL;
        }
        ret = test_run(d, &insn, in->timestamp);
        if (ret == -EAGAIN) {
            d->resume = at + sizeof(insn);
        }
        if (ret) {
            return ret;
        }
    }
    return 0;
}

static int test_next(void *priv, VideoCodecFormat *format)
{
    TestDecoder *d = priv;
    TestFrame *f = QTAILQ_FIRST(&d->ready);

    if (f) {
        *format = f->format;
        return 1;
    }
    if (d->draining) {
        d->draining = false;
        return -ENODATA;
    }
    return 0;
}

/* Fill @strip with @n_rows rows of @bytes each, from @row of the plane on. */
static void test_fill(uint8_t *strip, uint32_t value, unsigned plane,
                      uint32_t row, uint32_t n_rows, uint32_t bytes)
{
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t i = 0; i < bytes; i++) {
            *strip++ = video_test_byte(value, plane, row + r, i);
        }
    }
}

static bool test_emit_plane(TestDecoder *d, const TestFrame *f,
                            VideoCodecOutput *out, unsigned plane)
{
    uint32_t bytes = video_test_row_bytes(out->fourcc, plane,
                                          f->format.width);
    uint32_t rows = video_test_rows(plane, f->format.height);
    g_autofree uint8_t *strip = g_malloc((size_t)bytes * VIDEO_TEST_STRIP);

    for (uint32_t row = 0; row < rows; row += VIDEO_TEST_STRIP) {
        uint32_t n = MIN(rows - row, VIDEO_TEST_STRIP);

        test_wait(d->session, d->slow_emit_ms, true);
        test_fill(strip, f->value, plane, row, n, bytes);
        if (!video_codec_output_write_rows(d->session, out, plane, row, n,
                                           strip, bytes, bytes)) {
            return false;
        }
    }
    return true;
}

/* What a GPU would do that knows nothing of sessions */
static void test_write_plane(const TestFrame *f, const VideoCodecOutput *out,
                             unsigned plane)
{
    const VideoCodecPlane *p = &out->planes[plane];
    uint32_t bytes = video_test_row_bytes(out->fourcc, plane,
                                          f->format.width);
    g_autofree uint8_t *strip = g_malloc(bytes);

    for (uint32_t row = 0; row < video_test_rows(plane, f->format.height);
         row++) {
        size_t done;

        test_fill(strip, f->value, plane, row, 1, bytes);
        done = iov_from_buf(p->mem->iov, p->mem->niov,
                            p->offset + (size_t)row * p->stride, strip, bytes);
        assert(done == bytes);      /* else the memory has gone */
    }
}

static bool test_emit_direct(TestDecoder *d, const TestFrame *f,
                             VideoCodecOutput *out)
{
    if (!video_codec_output_begin_direct(d->session, out)) {
        return false;
    }
    test_wait(d->session, d->direct_late_ms, false);
    /* Who is overdue has lost the right to look at @out */
    if (video_codec_session_hold_direct(d->session)) {
        for (unsigned p = 0; p < out->n_planes; p++) {
            test_write_plane(f, out, p);
        }
        video_codec_session_release_direct(d->session);
    }
    test_wait(d->session, d->direct_ms, false);
    return video_codec_output_end_direct(d->session, out);
}

static bool test_emit_planes(TestDecoder *d, const TestFrame *f,
                             VideoCodecOutput *out)
{
    for (unsigned p = 0; p < out->n_planes; p++) {
        if (!test_emit_plane(d, f, out, p)) {
            return false;
        }
    }
    return true;
}

static bool test_emit(void *priv, VideoCodecOutput *out)
{
    TestDecoder *d = priv;
    TestFrame *f = QTAILQ_FIRST(&d->ready);

    if (!(d->direct_ms ? test_emit_direct(d, f, out)
                    : test_emit_planes(d, f, out))) {
        return false;
    }
    out->timestamp = f->timestamp;
    out->corrupt = f->corrupt;
    QTAILQ_REMOVE(&d->ready, f, next);
    d->n_frames--;
    g_free(f);
    return true;
}

static const VideoCodecImpl test_decoder = {
    .start = test_start,
    .stop = test_stop,
    .submit = test_submit,
    .next = test_next,
    .emit = test_emit,
    .flush = test_flush,
};

static void test_init(Object *obj)
{
    VideoCodecTest *test = VIDEO_CODEC_TEST(obj);

    test->caps = test_caps;
    test_encoder_init_caps(&test->caps);
}

static void test_class_init(ObjectClass *klass, void *data)
{
    VideoCodecClass *vcc = VIDEO_CODEC_CLASS(klass);

    vcc->get_caps = test_get_caps;
    vcc->decoder = &test_decoder;
    vcc->encoder = &test_encoder;
}

static const TypeInfo test_info = {
    .name = TYPE_VIDEO_CODEC_TEST,
    .parent = TYPE_VIDEO_CODEC,
    .instance_size = sizeof(VideoCodecTest),
    .instance_init = test_init,
    .class_init = test_class_init,
};
module_obj(TYPE_VIDEO_CODEC_TEST);

static void test_register_types(void)
{
    type_register_static(&test_info);
}

type_init(test_register_types);
