/*
 * Scripted video codec for protocol tests: its encoder
 *
 * Encodes nothing: what it makes of a frame says what it was given, and the
 * frame's own pixels may say what to do, see system/video-codec-test.h.
 *
 * Everything but test_encoder_init_caps() runs in the worker thread of a
 * session and touches only that session's state.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "system/video-codec.h"
#include "system/video-codec-test.h"
#include "video-codec-test-int.h"

QEMU_BUILD_BUG_ON(VIDEO_TEST_N_CONTROLS != VIDEO_CONTROL__MAX);

typedef struct TestCoded {
    VideoTestCoded coded;       /* in the host's byte order */
    int32_t position;
    bool corrupt;
    QTAILQ_ENTRY(TestCoded) next;
} TestCoded;

typedef QTAILQ_HEAD(, TestCoded) TestCodedList;

/**
 * TestEncoder: a session's state.
 * @controls: FORCE_KEY_FRAME is set from set_controls() to the next frame
 * @since_key: frames since the last key frame; -1: the next one is
 * @current: made of the frame that submit() works on
 * @script: instructions of that frame
 * @n_insns: in @script
 * @resume: the next one to run
 * @again: how often submit() still has to say -EAGAIN
 * @held: coded buffers that wait for their turn, by position
 * @ready: coded buffers to come out, in this order
 * @draining: submit(NULL) was called, its end was not yet told
 */
typedef struct TestEncoder {
    VideoCodecSession *session;
    VideoCodecParams params;
    VideoControls controls;
    uint32_t sequence;
    int since_key;
    TestCoded *current;
    VideoTestInsn script[VIDEO_TEST_MAX_INSNS];
    unsigned n_insns;
    unsigned resume;
    uint32_t again;
    TestCodedList held;
    TestCodedList ready;
    unsigned n_coded;
    unsigned n_held;
    uint32_t depth;
    uint32_t slow_emit_ms;
    uint32_t slow_read_ms;
    uint32_t direct_ms;
    uint32_t direct_late_ms;
    bool draining;
} TestEncoder;

static void *test_enc_start(VideoCodec *codec, VideoCodecSession *s,
                            const VideoCodecParams *params, Error **errp)
{
    TestEncoder *e;

    if (params->coded == VIDEO_CODED_VP9) {
        error_setg(errp, "test codec: VP9 never starts");
        return NULL;
    }
    e = g_new0(TestEncoder, 1);
    e->session = s;
    e->params = *params;
    e->controls = params->controls;
    e->since_key = -1;
    QTAILQ_INIT(&e->held);
    QTAILQ_INIT(&e->ready);
    video_codec_session_set_engine(s, "script");
    return e;
}

static void test_enc_free_coded(TestEncoder *e, TestCodedList *list)
{
    TestCoded *c;

    while ((c = QTAILQ_FIRST(list))) {
        QTAILQ_REMOVE(list, c, next);
        g_free(c);
    }
}

static void test_enc_flush(void *priv)
{
    TestEncoder *e = priv;

    test_enc_free_coded(e, &e->held);
    test_enc_free_coded(e, &e->ready);
    g_clear_pointer(&e->current, g_free);
    e->n_coded = 0;
    e->n_held = 0;
    e->again = 0;
    e->since_key = -1;
    e->draining = false;
}

static void test_enc_stop(void *priv)
{
    test_enc_flush(priv);
    g_free(priv);
}

/* Let go of held coded buffers until no more than @depth are left. */
static void test_enc_release(TestEncoder *e, uint32_t depth)
{
    while (e->n_held > depth) {
        TestCoded *c = QTAILQ_FIRST(&e->held);

        QTAILQ_REMOVE(&e->held, c, next);
        QTAILQ_INSERT_TAIL(&e->ready, c, next);
        e->n_held--;
    }
}

static void test_enc_hold(TestEncoder *e, TestCoded *c)
{
    TestCoded *before;

    e->n_coded++;
    e->n_held++;
    QTAILQ_FOREACH(before, &e->held, next) {
        if (c->position < before->position) {
            QTAILQ_INSERT_BEFORE(before, c, next);
            goto done;
        }
    }
    QTAILQ_INSERT_TAIL(&e->held, c, next);
done:
    test_enc_release(e, e->depth);
}

/* Collect the instructions at the start of plane 0. */
static void test_enc_add_script(TestEncoder *e, size_t at, const uint8_t *row,
                                size_t bytes)
{
    if (at < sizeof(e->script)) {
        memcpy((uint8_t *)e->script + at, row,
               MIN(bytes, sizeof(e->script) - at));
    }
}

/* What a GPU would do that knows nothing of sessions */
static void test_enc_fetch(const VideoCodecInput *in, unsigned plane,
                           uint32_t row, uint32_t n_rows, size_t offset,
                           uint8_t *strip, size_t bytes)
{
    const VideoCodecPlane *p = &in->planes[plane];

    for (uint32_t i = 0; i < n_rows; i++) {
        size_t done = iov_to_buf(p->mem->iov, p->mem->niov, p->offset +
                                 (size_t)(row + i) * p->stride + offset,
                                 strip + i * bytes, bytes);

        assert(done == bytes);      /* else the memory has gone */
    }
}

static bool test_enc_read_rows(TestEncoder *e, const VideoCodecInput *in,
                               unsigned plane, uint32_t row, uint32_t n_rows,
                               size_t offset, uint8_t *strip, size_t bytes)
{
    if (e->direct_ms) {
        test_enc_fetch(in, plane, row, n_rows, offset, strip, bytes);
        return true;
    }
    test_wait(e->session, e->slow_read_ms, true);
    return video_codec_input_read_rows(e->session, in, plane, row, n_rows,
                                       offset, strip, bytes, bytes);
}

static bool test_enc_read_plane(TestEncoder *e, const VideoCodecInput *in,
                                unsigned plane)
{
    uint32_t bytes = video_test_row_bytes(in->fourcc, plane, in->width);
    uint32_t offset = video_test_row_bytes(in->fourcc, plane, in->left);
    uint32_t rows = video_test_rows(plane, in->height);
    uint32_t top = video_test_rows(plane, in->top);
    g_autofree uint8_t *strip = g_malloc((size_t)bytes * VIDEO_TEST_STRIP);
    VideoTestCoded *coded = &e->current->coded;

    for (uint32_t row = 0; row < rows; row += VIDEO_TEST_STRIP) {
        uint32_t n = MIN(rows - row, VIDEO_TEST_STRIP);

        if (!test_enc_read_rows(e, in, plane, top + row, n, offset, strip,
                                bytes)) {
            return false;
        }
        coded->checksum = video_test_checksum(coded->checksum, strip,
                                              (size_t)n * bytes);
        if (!plane) {
            test_enc_add_script(e, (size_t)row * bytes, strip,
                                (size_t)n * bytes);
        }
    }
    return true;
}

static bool test_enc_read_planes(TestEncoder *e, const VideoCodecInput *in)
{
    for (unsigned p = 0; p < in->n_planes; p++) {
        if (!test_enc_read_plane(e, in, p)) {
            return false;
        }
    }
    return true;
}

/* All at once.  Returns: false if it is overdue: not its to look at */
static bool test_enc_read_held(TestEncoder *e, const VideoCodecInput *in)
{
    e->current->coded.checksum = VIDEO_TEST_CHECKSUM_INIT;
    if (!video_codec_session_hold_direct(e->session)) {
        return false;
    }
    test_enc_read_planes(e, in);
    video_codec_session_release_direct(e->session);
    return true;
}

static bool test_enc_read_direct(TestEncoder *e, const VideoCodecInput *in)
{
    uint32_t checksum;

    if (!video_codec_input_begin_direct(e->session, in)) {
        return false;
    }
    test_wait(e->session, e->direct_late_ms, false);
    if (test_enc_read_held(e, in)) {
        checksum = e->current->coded.checksum;
        test_wait(e->session, e->direct_ms, false);
        if (test_enc_read_held(e, in) &&
            e->current->coded.checksum != checksum) {
            video_codec_session_fail(e->session, "pixels were changed while "
                                     "they were read");
        }
    }
    return video_codec_input_end_direct(e->session, in);
}

/* Begin with a frame: what it makes, and what it says. */
static bool test_enc_read(TestEncoder *e, const VideoCodecInput *in)
{
    uint32_t gop_size = e->controls.value[VIDEO_CONTROL_GOP_SIZE];
    bool force = e->controls.value[VIDEO_CONTROL_FORCE_KEY_FRAME];
    bool key = force || e->since_key < 0 || e->since_key >= gop_size;
    VideoTestCoded *coded;

    e->current = g_new0(TestCoded, 1);
    e->current->position = e->sequence;
    coded = &e->current->coded;
    *coded = (VideoTestCoded) {
        .magic = VIDEO_TEST_CODED_MAGIC,
        .size = sizeof(*coded),
        .sequence = e->sequence,
        .type = key ? VIDEO_FRAME_KEY : VIDEO_FRAME_P,
        .timestamp = in->timestamp,
        .fourcc = in->fourcc,
        .width = in->width,
        .height = in->height,
        .checksum = VIDEO_TEST_CHECKSUM_INIT,
    };
    memcpy(coded->controls, e->controls.value, sizeof(coded->controls));

    memset(e->script, 0, sizeof(e->script));
    if (!(e->direct_ms ? test_enc_read_direct(e, in)
                       : test_enc_read_planes(e, in))) {
        g_clear_pointer(&e->current, g_free);
        return false;
    }
    e->resume = 0;
    e->n_insns = 0;
    while (e->n_insns < VIDEO_TEST_MAX_INSNS &&
           le32_to_cpu(e->script[e->n_insns].magic) == VIDEO_TEST_MAGIC) {
        e->n_insns++;
    }
    return true;
}

/* The current frame is done with; @made: it makes a coded buffer. */
static void test_enc_finish(TestEncoder *e, bool made)
{
    TestCoded *c = g_steal_pointer(&e->current);

    e->sequence++;
    if (!made) {
        g_free(c);
        return;
    }
    if (c->coded.type == VIDEO_FRAME_KEY) {
        e->since_key = 0;
    }
    e->since_key++;
    e->controls.value[VIDEO_CONTROL_FORCE_KEY_FRAME] = 0;
    test_enc_hold(e, c);
}

static int test_enc_op_coded(TestEncoder *e, const uint32_t *args)
{
    TestCoded *c = e->current;

    if (args[0] > VIDEO_TEST_MAX_CODED || args[3] > VIDEO_FRAME_B) {
        return -EINVAL;
    }
    c->coded.size = MAX(args[0], sizeof(c->coded));
    c->position = args[1];
    c->corrupt = args[2] & VIDEO_TEST_FRAME_CORRUPT;
    if (args[3]) {
        c->coded.type = args[3];
    }
    return 0;
}

/*
 * Run one instruction.
 * Returns: 0; -EAGAIN: it was the last one for now, @e->again says what then;
 * -ENODATA: the frame makes no coded buffer; another negative errno: it is bad
 */
static int test_enc_run(TestEncoder *e, const VideoTestInsn *insn)
{
    uint32_t args[ARRAY_SIZE(insn->args)];

    for (unsigned i = 0; i < ARRAY_SIZE(args); i++) {
        args[i] = le32_to_cpu(insn->args[i]);
    }
    switch (le32_to_cpu(insn->op)) {
    case VIDEO_TEST_NOP:
        return 0;
    case VIDEO_TEST_CODED:
        return test_enc_op_coded(e, args);
    case VIDEO_TEST_SKIP:
        return -ENODATA;
    case VIDEO_TEST_REORDER:
        e->depth = args[0];
        test_enc_release(e, e->depth);
        return 0;
    case VIDEO_TEST_AGAIN:
        e->again = args[0];
        return args[0] ? -EAGAIN : 0;
    case VIDEO_TEST_FAIL:
        test_fail(e->session, insn->args);
        return -EINVAL;
    case VIDEO_TEST_DELAY:
        test_wait(e->session, args[0], true);
        return 0;
    case VIDEO_TEST_HANG:
        test_wait(e->session, VIDEO_TEST_MAX_WAIT, true);
        return 0;
    case VIDEO_TEST_HANG_HARD:
        test_wait(e->session, args[0], false);
        return 0;
    case VIDEO_TEST_SLOW_EMIT:
        e->slow_emit_ms = args[0];
        return 0;
    case VIDEO_TEST_SLOW_READ:
        e->slow_read_ms = args[0];
        return 0;
    case VIDEO_TEST_DIRECT:
        e->direct_ms = args[0];
        e->direct_late_ms = args[1];
        return 0;
    default:
        return -EINVAL;
    }
}

static int test_enc_submit(void *priv, const VideoCodecInput *in)
{
    TestEncoder *e = priv;
    int ret = 0;

    if (!in) {
        test_enc_release(e, 0);
        e->draining = true;
        return 0;
    }
    if (e->again && --e->again) {
        return -EAGAIN;
    }
    if (!e->current) {
        if (e->n_coded == VIDEO_TEST_MAX_FRAMES) {
            return -EINVAL;
        }
        if (!test_enc_read(e, in)) {
            return -ECANCELED;
        }
    }
    while (!ret && e->resume < e->n_insns) {
        ret = test_enc_run(e, &e->script[e->resume++]);
    }
    if (ret == -EAGAIN) {
        return ret;
    }
    test_enc_finish(e, !ret);
    return ret == -ENODATA ? 0 : ret;
}

static int test_enc_next(void *priv, VideoCodecFormat *format)
{
    TestEncoder *e = priv;

    if (!QTAILQ_EMPTY(&e->ready)) {
        return 1;
    }
    if (e->draining) {
        e->draining = false;
        e->since_key = -1;
        return -ENODATA;
    }
    return 0;
}

static bool test_enc_write(TestEncoder *e, VideoCodecOutput *out,
                           const VideoTestCoded *coded)
{
    g_autofree uint8_t *data = g_malloc(coded->size);
    VideoTestCoded le = {
        .magic = cpu_to_le32(coded->magic),
        .size = cpu_to_le32(coded->size),
        .sequence = cpu_to_le32(coded->sequence),
        .type = cpu_to_le32(coded->type),
        .timestamp = cpu_to_le64(coded->timestamp),
        .fourcc = cpu_to_le32(coded->fourcc),
        .width = cpu_to_le32(coded->width),
        .height = cpu_to_le32(coded->height),
        .checksum = cpu_to_le32(coded->checksum),
    };

    for (unsigned i = 0; i < VIDEO_TEST_N_CONTROLS; i++) {
        le.controls[i] = cpu_to_le32(coded->controls[i]);
    }
    memcpy(data, &le, sizeof(le));
    for (uint32_t i = sizeof(le); i < coded->size; i++) {
        data[i] = video_test_byte(coded->sequence, 0, 0, i);
    }
    return video_codec_output_write_rows(e->session, out, 0, 0, 1, data,
                                         coded->size, coded->size);
}

static bool test_enc_emit(void *priv, VideoCodecOutput *out)
{
    TestEncoder *e = priv;
    TestCoded *c = QTAILQ_FIRST(&e->ready);

    test_wait(e->session, e->slow_emit_ms, true);
    if (c->coded.size > out->planes[0].stride) {
        out->corrupt = true;
        e->since_key = -1;
    } else {
        if (!test_enc_write(e, out, &c->coded)) {
            return false;
        }
        out->size = c->coded.size;
        out->corrupt = c->corrupt;
    }
    out->timestamp = c->coded.timestamp;
    out->frame_type = c->coded.type;
    QTAILQ_REMOVE(&e->ready, c, next);
    e->n_coded--;
    g_free(c);
    return true;
}

static void test_enc_set_controls(void *priv, const VideoControls *controls)
{
    TestEncoder *e = priv;
    uint32_t *force = &e->controls.value[VIDEO_CONTROL_FORCE_KEY_FRAME];
    uint32_t pending = *force;

    e->controls = *controls;
    *force |= pending;
}

static void test_enc_lost(void *priv)
{
    TestEncoder *e = priv;

    e->since_key = -1;
}

const VideoCodecImpl test_encoder = {
    .start = test_enc_start,
    .stop = test_enc_stop,
    .submit = test_enc_submit,
    .next = test_enc_next,
    .emit = test_enc_emit,
    .flush = test_enc_flush,
    .set_controls = test_enc_set_controls,
    .lost = test_enc_lost,
};

static const VideoCodedCaps test_encoders[] = {
    {
        .format = VIDEO_CODED_H264,
        .raw_mask = 0xf,
        .controls = {
            [VIDEO_CONTROL_PROFILE] = {
                .supported = true, .menu = VIDEO_TEST_PROFILES_H264, .def = 4,
            },
            [VIDEO_CONTROL_LEVEL] = {
                .supported = true, .menu = VIDEO_TEST_LEVELS_H264, .def = 11,
            },
            [VIDEO_CONTROL_B_FRAMES] = {
                .supported = true, .max = VIDEO_TEST_MAX_B_FRAMES,
            },
            [VIDEO_CONTROL_MIN_QP] = {
                .supported = true, .max = VIDEO_TEST_MAX_QP,
            },
            [VIDEO_CONTROL_MAX_QP] = {
                .supported = true, .max = VIDEO_TEST_MAX_QP,
                .def = VIDEO_TEST_MAX_QP,
            },
            [VIDEO_CONTROL_PREPEND_HEADERS] = {
                .supported = true, .max = 1, .def = 1,
            },
        },
    }, {
        .format = VIDEO_CODED_VP8,
        .raw_mask = 0x1,
        .controls = {
            [VIDEO_CONTROL_PROFILE] = {
                .supported = true, .menu = VIDEO_TEST_PROFILES_VP8,
            },
            [VIDEO_CONTROL_MIN_QP] = { .supported = true, .max = 63 },
            [VIDEO_CONTROL_MAX_QP] = {
                .supported = true, .max = 63, .def = 63,
            },
        },
    }, {
        .format = VIDEO_CODED_VP9,
        .raw_mask = 0x1,
        .controls = {
            [VIDEO_CONTROL_PROFILE] = {
                .supported = true, .menu = VIDEO_TEST_PROFILES_VP9,
            },
            [VIDEO_CONTROL_LEVEL] = {
                .supported = true, .menu = VIDEO_TEST_LEVELS_VP9, .def = 6,
            },
            [VIDEO_CONTROL_MIN_QP] = { .supported = true, .max = 63 },
            [VIDEO_CONTROL_MAX_QP] = {
                .supported = true, .max = 63, .def = 63,
            },
        },
    },
};

void test_encoder_init_caps(VideoCodecCaps *caps)
{
    for (unsigned i = 0; i < ARRAY_SIZE(test_encoders); i++) {
        VideoCodedCaps *coded = &caps->encoders[caps->n_encoders++];

        *coded = test_encoders[i];
        coded->min_width = coded->min_height = VIDEO_TEST_MIN_SIZE;
        coded->max_width = coded->max_height = VIDEO_TEST_MAX_SIZE;
        coded->size_step = VIDEO_TEST_SIZE_STEP;
        /* What all of them have */
        coded->controls[VIDEO_CONTROL_BITRATE] = (VideoControlCaps) {
            .supported = true,
            .min = VIDEO_TEST_MIN_BITRATE,
            .max = VIDEO_TEST_MAX_BITRATE,
            .def = VIDEO_TEST_DEF_BITRATE,
        };
        coded->controls[VIDEO_CONTROL_BITRATE_MODE] = (VideoControlCaps) {
            .supported = true,
            .menu = 1u << VIDEO_BITRATE_MODE_VBR |
                    1u << VIDEO_BITRATE_MODE_CBR,
            .def = VIDEO_BITRATE_MODE_CBR,
        };
        coded->controls[VIDEO_CONTROL_GOP_SIZE] = (VideoControlCaps) {
            .supported = true,
            .min = 1,
            .max = VIDEO_TEST_MAX_GOP,
            .def = VIDEO_TEST_DEF_GOP,
        };
        coded->controls[VIDEO_CONTROL_FORCE_KEY_FRAME] = (VideoControlCaps) {
            .supported = true,
            .max = 1,
        };
    }
}
