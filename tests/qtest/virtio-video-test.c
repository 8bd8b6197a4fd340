/*
 * QTest testcases of virtio-video
 *
 * The device's decoder through qgraph, on PCI and MMIO: each test is named
 * after the rule that it proves, as the draft or, where that is silent, this
 * device has it.  The scripted codec of system/video-codec-test.h does what the
 * tests' coded buffers say, so that every awkward moment can be had.
 *
 * Each test gets a Rig with a started device, and must leave a device that is
 * not broken and that has no thread left after its reset.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <dirent.h>
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqos/qgraph.h"
#include "libqos/qos_external.h"
#include "libqos/virtio-video.h"
#include "standard-headers/linux/virtio_config.h"
#include "system/video-codec-test.h"

#define MS                  1000                /* in microseconds */
#define QUIET               (30 * MS)           /* "nothing comes" */
#define SOON                (5 * G_USEC_PER_SEC)

#define MAIN                VIRTIO_VIDEO_QUEUE_TYPE_MAIN
#define INPUT               VIRTIO_VIDEO_QUEUE_TYPE_INPUT
#define OUTPUT              VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT
#define DECODER             VIRTIO_VIDEO_STREAM_TYPE_DECODER
#define ENCODER             VIRTIO_VIDEO_STREAM_TYPE_ENCODER
#define CODED_SET           VIRTIO_VIDEO_TLV_CODED_SET
#define RAW_SET             VIRTIO_VIDEO_TLV_RAW_SET
#define SINGLE              VIRTIO_VIDEO_PLANES_LAYOUT_SINGLE_BUFFER
#define MULTI               VIRTIO_VIDEO_PLANES_LAYOUT_MULTI_BUFFERS

#define F_OK                0
#define F_ERROR             VIRTIO_VIDEO_EVENT_FLAG_ERROR
#define F_STANDALONE        VIRTIO_VIDEO_EVENT_FLAG_STANDALONE
#define F_CANCELED          VIRTIO_VIDEO_EVENT_FLAG_CANCELED
#define F_BLOCKED           VIRTIO_VIDEO_EVENT_FLAG_BLOCKED

#define FEATURE(name)       (1ull << VIRTIO_VIDEO_F_##name)
#define VERSION_1           (1ull << VIRTIO_F_VERSION_1)

/* What a stream of test_stream() has */
#define N_INPUTS            8
#define N_OUTPUTS           4
#define WIDTH               64
#define HEIGHT              48

/**
 * Rig: what a test works with.
 * @v: the interface that qgraph found
 * @d: its driver, started with the case's options
 * @streams: TestStreams, freed after the device's reset
 * @threads: of QEMU before the device was started
 */
typedef struct Rig {
    QVirtioVideo *v;
    QVVDriver *d;
    QTestState *qts;
    QGuestAllocator *alloc;
    GPtrArray *streams;
    unsigned threads;
} Rig;

/**
 * TestCase: one test.
 * @name: the rule
 * @device: more properties of the device, each with a comma before it
 * @opts: of qvv_start()
 * @no_start: the test starts the driver itself
 * @breaks: the device may be broken or gone in the end
 * @more_threads: QEMU may have threads in the end that are not the device's
 */
typedef struct TestCase {
    const char *name;
    void (*test)(Rig *r);
    const char *device;
    QVVOptions opts;
    bool no_start;
    bool breaks;
    bool more_threads;
} TestCase;

/**
 * TestStream: an open decoder stream and its memory.
 * @in, @out: NULL until there are resources
 * @raw, @layout: of the frames in @out
 */
typedef struct TestStream {
    QVVDriver *d;
    uint32_t id;
    QVVPool *in, *out;
    QVVRawFormat raw;
    QVVLayout layout;
} TestStream;

/*
 * Scripts
 */

static VideoTestInsn insn(VideoTestOp op, uint32_t arg)
{
    return (VideoTestInsn) { VIDEO_TEST_MAGIC, op, { arg } };
}

static VideoTestInsn format_crop(uint32_t width, uint32_t height,
                                 uint32_t left, uint32_t top,
                                 uint32_t crop_width, uint32_t crop_height,
                                 uint32_t bits)
{
    return (VideoTestInsn) { VIDEO_TEST_MAGIC, VIDEO_TEST_FORMAT,
                            { width, height, left, top, crop_width,
                              crop_height, bits } };
}

static VideoTestInsn format(uint32_t width, uint32_t height)
{
    return format_crop(width, height, 0, 0, width, height, 8);
}

static VideoTestInsn frame_at(uint32_t value, uint32_t position)
{
    return (VideoTestInsn) { VIDEO_TEST_MAGIC, VIDEO_TEST_FRAME,
                            { value, position } };
}

static VideoTestInsn frame(uint32_t value)
{
    return frame_at(value, 0);
}

static VideoTestInsn corrupt_frame(uint32_t value)
{
    return (VideoTestInsn) { VIDEO_TEST_MAGIC, VIDEO_TEST_FRAME,
                            { value, 0, VIDEO_TEST_FRAME_CORRUPT } };
}

/* The reason ends up in QEMU's log */
static VideoTestInsn fail(const char *reason)
{
    VideoTestInsn i = { VIDEO_TEST_MAGIC, VIDEO_TEST_FAIL };

    for (size_t at = 0; reason[at] && at < sizeof(i.args); at++) {
        i.args[at / 4] |= (uint32_t)(uint8_t)reason[at] << (at % 4 * 8);
    }
    return i;
}

/* First header and first frame of the streams of test_stream() */
#define HEADER format(WIDTH, HEIGHT)

/* Queue a script in input @res, with one instruction after the other */
#define PUT(s, res, timestamp, ...) \
    put(s, res, timestamp, (VideoTestInsn[]) { __VA_ARGS__ }, \
        sizeof((VideoTestInsn[]) { __VA_ARGS__ }) / sizeof(VideoTestInsn))

static void insns_to_le(VideoTestInsn *insns, unsigned n)
{
    uint32_t *words = (uint32_t *)insns;

    for (unsigned i = 0; i < n * sizeof(*insns) / 4; i++) {
        words[i] = cpu_to_le32(words[i]);
    }
}

static uint32_t put(TestStream *s, unsigned res, uint64_t timestamp,
                    VideoTestInsn *insns, unsigned n)
{
    insns_to_le(insns, n);
    qvv_buffer_write(s->d, &s->in->res[res].buffer[0], 0, insns,
                     n * sizeof(*insns));
    return qvv_queue_input(s->d, s->id, res, timestamp, 0,
                           n * sizeof(*insns));
}

/* Lend output @res to the device */
static uint32_t get(TestStream *s, unsigned res)
{
    return qvv_queue_output(s->d, s->id, res);
}

/*
 * Expectations
 */

typedef struct Expected {
    uint32_t cookie;
    uint32_t flags;
} Expected;

/* The answers come in this order, with just these flags; others are dropped */
#define EXPECT_ORDER(d, ...) \
    expect_order(d, (Expected[]) { __VA_ARGS__ }, \
                 sizeof((Expected[]) { __VA_ARGS__ }) / sizeof(Expected))

static void assert_not_later(const QVVEvent *ev, const Expected *later,
                             unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (ev->cookie == later[i].cookie) {
            g_autofree char *str = qvv_event_str(ev);

            g_test_message("too early: %s", str);
            g_assert_not_reached();
        }
    }
}

static void expect_order(QVVDriver *d, const Expected *want, unsigned n)
{
    for (unsigned i = 0; i < n;) {
        g_autoptr(QVVEvent) ev = qvv_next(d, QVV_TIMEOUT_US);

        g_assert_nonnull(ev);
        if (ev->cookie == want[i].cookie) {
            g_assert_cmphex(ev->flags, ==, want[i].flags);
            i++;
        } else {
            assert_not_later(ev, want + i, n - i);
        }
    }
}

static void expect(QVVDriver *d, uint32_t cookie, uint32_t flags)
{
    g_autoptr(QVVEvent) ev = qvv_wait(d, cookie);

    g_assert_cmphex(ev->flags, ==, flags);
}

/* Before @last, which is OK, each of @cookies is canceled, in any order */
static void expect_canceled(QVVDriver *d, const uint32_t *cookies, unsigned n,
                            uint32_t last)
{
    for (unsigned seen = 0;;) {
        g_autoptr(QVVEvent) ev = qvv_next(d, QVV_TIMEOUT_US);

        g_assert_nonnull(ev);
        if (ev->cookie == last) {
            g_assert_cmphex(ev->flags, ==, F_OK);
            g_assert_cmpuint(seen, ==, n);
            return;
        }
        for (unsigned i = 0; i < n; i++) {
            if (ev->cookie == cookies[i]) {
                g_assert_cmphex(ev->flags, ==, F_CANCELED);
                seen++;
            }
        }
    }
}

/* How often one of these comes in @us; others are dropped */
static unsigned count_answers(QVVDriver *d, uint32_t cookie, int64_t us)
{
    int64_t end = g_get_monotonic_time() + us;
    unsigned n = 0;

    while (g_get_monotonic_time() < end) {
        g_autoptr(QVVEvent) ev = qvv_next(d, 1 * MS);

        n += ev && ev->cookie == cookie;
    }
    return n;
}

/* Rows of a frame hold what the script says */
static void assert_pixels(TestStream *s, unsigned res, uint32_t value)
{
    for (unsigned p = 0; p < s->layout.n_planes; p++) {
        uint32_t bytes = video_test_row_bytes(s->raw.fourcc, p, s->raw.width);
        uint32_t rows = video_test_rows(p, s->raw.height);
        uint32_t stride = s->layout.stride[p];
        g_autofree uint8_t *plane = g_malloc(stride * rows);

        g_assert_cmpuint(s->layout.rows[p], ==, rows);
        g_assert_cmpuint(s->layout.row_bytes[p], ==, bytes);
        qvv_buffer_read(s->d, &s->out->res[res].buffer[s->layout.buffer[p]],
                        s->layout.offset[p], plane, stride * rows);
        for (uint32_t y = 0; y < rows; y++) {
            for (uint32_t x = 0; x < bytes; x++) {
                g_assert_cmphex(plane[y * stride + x], ==,
                                video_test_byte(value, p, y, x));
            }
        }
    }
}

/* @cookie, of output @res, is answered with that frame */
static void expect_frame(TestStream *s, unsigned res, uint32_t cookie,
                         uint32_t value, uint64_t timestamp)
{
    g_autoptr(QVVEvent) ev = qvv_wait(s->d, cookie);

    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_true(ev->has_buffer);
    g_assert_cmpuint(ev->timestamp, ==, timestamp);
    assert_pixels(s, res, value);
}

/*
 * Streams
 */

static void test_stream_free(void *opaque)
{
    TestStream *s = opaque;

    if (s->in) {
        qvv_pool_free(s->d, s->in);
    }
    if (s->out) {
        qvv_pool_free(s->d, s->out);
    }
    g_free(s);
}

static TestStream *bare_stream(Rig *r, uint32_t id)
{
    TestStream *s = g_new0(TestStream, 1);

    s->d = r->d;
    s->id = id;
    g_ptr_array_add(r->streams, s);
    qvv_assert_ok(r->d, qvv_open(r->d, id, DECODER));
    return s;
}

/* SET_PARAMS of @set, which is freed; the answer */
static QVVEvent *set_params(TestStream *s, uint32_t queue, GByteArray *set)
{
    QVVEvent *ev = qvv_wait(s->d, qvv_set_params(s->d, s->id, queue, set));

    g_byte_array_unref(set);
    return ev;
}

static uint32_t set_params_flags(TestStream *s, GByteArray *set)
{
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);

    return ev->flags;
}

static QVVEvent *get_params(TestStream *s, uint32_t container)
{
    QVVEvent *ev = qvv_wait(s->d, qvv_get_params(s->d, s->id, MAIN,
                                                 container));

    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_true(ev->has_params);
    g_assert_cmpuint(ev->params.container, ==, container);
    return ev;
}

static void unblock(TestStream *s)
{
    qvv_assert_ok(s->d, qvv_unblock(s->d, s->id));
}

/* @set gets all of @pool's resources */
static void add_pool(GByteArray *set, const QVVPool *pool)
{
    qvv_set_num_resources(set, pool->n);
    for (unsigned i = 0; i < pool->n; i++) {
        qvv_set_pages(set, &pool->res[i]);
    }
}

/* @set_params must be OK; where it blocks the stream is unblocked */
static void set_params_ok(TestStream *s, GByteArray *set)
{
    uint32_t flags = set_params_flags(s, set);

    g_assert_cmphex(flags & ~F_BLOCKED, ==, F_OK);
    if (flags & F_BLOCKED) {
        unblock(s);
    }
}

static void add_inputs_of(TestStream *s, unsigned n, uint64_t size)
{
    GByteArray *set = qvv_set_new(CODED_SET);

    g_assert_null(s->in);
    s->in = qvv_pool_new(s->d, n, 1, &size, QVV_CONTIGUOUS);
    add_pool(set, s->in);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
}

static void add_inputs(TestStream *s)
{
    add_inputs_of(s, N_INPUTS, QVV_PAGE_SIZE);
}

/* What the device has as raw format, and the layout that follows from it */
static void read_raw_format(TestStream *s)
{
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);

    g_assert_true(qvv_params_has(&ev->params, VIRTIO_VIDEO_TLV_RAW_FORMAT));
    s->raw = ev->params.raw;
    g_assert_true(qvv_layout(&s->layout, &s->raw));
}

/* New memory for @n outputs of the current format, attached and all */
static void add_outputs(TestStream *s, unsigned n, QVVPlacement placement)
{
    GByteArray *set = qvv_set_new(RAW_SET);

    read_raw_format(s);
    if (s->out) {
        qvv_set_num_resources(set, 0);
        qvv_pool_free(s->d, s->out);
    }
    s->out = qvv_pool_new(s->d, n, s->layout.n_buffers,
                          s->layout.buffer_size, placement);
    add_pool(set, s->out);
    g_assert_cmphex(set_params_flags(s, set) & ~F_BLOCKED, ==, F_OK);
}

static QVVRawFormat raw_format(uint32_t fourcc, uint32_t width,
                               uint32_t height)
{
    return (QVVRawFormat){
        .planes_layout = SINGLE,
        .fourcc = fourcc,
        .width = width,
        .height = height,
        .stride_align = 64,
        .height_align = 1,
        .plane_align = 1,
    };
}

/* Another format of which frames fit the outputs of test_stream(), too */
static QVVRawFormat other_format(void)
{
    QVVRawFormat format = raw_format(VIDEO_TEST_YUV420, WIDTH, HEIGHT);

    format.stride_align = 32;
    return format;
}

static void set_raw_format(TestStream *s, const QVVRawFormat *format)
{
    GByteArray *set = qvv_set_new(RAW_SET);

    qvv_set_raw_format(set, format);
    set_params_ok(s, set);
}

/* A stream for frames of that format, ready to decode */
static TestStream *test_stream_of(Rig *r, uint32_t id,
                                  const QVVRawFormat *format,
                                  QVVPlacement placement)
{
    TestStream *s = bare_stream(r, id);

    add_inputs(s);
    set_raw_format(s, format);
    add_outputs(s, N_OUTPUTS, placement);
    return s;
}

static TestStream *test_stream(Rig *r, uint32_t id)
{
    QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);

    return test_stream_of(r, id, &raw, QVV_CONTIGUOUS);
}

/* Does this stream decode?  With a header of its own, from any state */
static void assert_decodes(TestStream *s)
{
    uint32_t in = PUT(s, 0, 4711, format(s->raw.width, s->raw.height),
                      frame(99));
    uint32_t out = get(s, 0);

    qvv_assert_ok(s->d, in);
    expect_frame(s, 0, out, 99, 4711);
}

/* A new stream works, and so does the device */
static void assert_device_works(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    assert_decodes(s);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
}

/* The device has taken all commands; the answers are another matter */
static void wait_commands(QVVDriver *d)
{
    int64_t end = g_get_monotonic_time() + SOON;

    while (qvv_cmds_in_flight(d)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS);
    }
}

/*
 * A DRAIN that lasts until it gets output 0, for frame 1 of input 0: all that
 * is put into the input queue meanwhile waits behind it.
 */
static uint32_t put_barrier(TestStream *s)
{
    PUT(s, 0, 1, HEADER, frame(1));
    return qvv_drain(s->d, s->id);
}

/* The codec is busy with input @res until a reset or close */
static uint32_t hang(TestStream *s, unsigned res)
{
    return PUT(s, res, 0, insn(VIDEO_TEST_HANG, 0));
}

/*
 * The codec does not listen for @ms, whatever anybody wants; then it decodes
 * frame 1.  It most likely has begun with that when this returns.
 */
static uint32_t hang_hard(TestStream *s, unsigned res, uint32_t ms)
{
    uint32_t in = PUT(s, res, 3, insn(VIDEO_TEST_HANG_HARD, ms), HEADER,
                      frame(1));

    wait_commands(s->d);
    g_usleep(10 * MS);
    return in;
}

/*
 * QEMU
 */

static unsigned n_threads(QTestState *qts)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", qtest_pid(qts));
    DIR *dir = opendir(path);
    unsigned n = 0;

    g_assert_nonnull(dir);
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        n += e->d_name[0] != '.';
    }
    closedir(dir);
    return n;
}

static void wait_threads(Rig *r, unsigned max)
{
    int64_t end = g_get_monotonic_time() + SOON;

    while (n_threads(r->qts) > max) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(2 * MS);
    }
}

static char *temp_file(void)
{
    char *name;
    int fd = g_file_open_tmp("qtest-virtio-video-XXXXXX", &name, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return name;
}

static void start(Rig *r, const QVVOptions *opts)
{
    g_assert_true(qvv_start(r->d, opts));
}

static void restart(Rig *r)
{
    qvv_stop(r->d);
    start(r, NULL);
}

static void wait_broken(Rig *r)
{
    int64_t end = g_get_monotonic_time() + SOON;

    while (!qvv_is_broken(r->d)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS / 2);
    }
}

/* The device is broken, and a reset mends it */
static void assert_broken_then_restart(Rig *r, const QVVOptions *opts)
{
    wait_broken(r);
    qvv_stop(r->d);
    start(r, opts);
    g_assert_false(qvv_is_broken(r->d));
}

static void run_test(void *obj, void *data, QGuestAllocator *alloc)
{
    const TestCase *t = data;
    Rig r = {
        .v = obj,
        .qts = global_qtest,
        .alloc = alloc,
        .streams = g_ptr_array_new_with_free_func(test_stream_free),
    };

    r.threads = n_threads(r.qts);
    r.d = qvv_new(r.v, alloc, r.qts);
    if (!t->no_start) {
        start(&r, &t->opts);
    }
    t->test(&r);
    if (!t->breaks) {
        g_assert_false(qvv_is_broken(r.d));
        qvv_stop(r.d);
    }
    g_ptr_array_unref(r.streams);
    qvv_free(r.d);
    if (!t->more_threads) {
        wait_threads(&r, r.threads);
    }
}

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

/* qvv_query_caps() knows the draft's rules of what is in which set */
static QVVCaps *query_caps(Rig *r)
{
    g_autofree char *why = NULL;
    QVVCaps *caps = qvv_query_caps(r->d, &why);

    if (!caps) {
        g_test_message("capabilities: %s", why);
    }
    g_assert_nonnull(caps);
    return caps;
}

static void test_caps_sets(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);

    g_assert_cmpuint(caps->n_coded, ==, 3);
    g_assert_cmpuint(caps->n_raw, ==, 4);
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

static void test_caps_size_of_codec(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);

    for (unsigned i = 0; i < caps->n_raw; i++) {
        g_assert_cmpuint(caps->raw[i].width.max, ==, VIDEO_TEST_MAX_SIZE);
        g_assert_cmpuint(caps->raw[i].height.max, ==, VIDEO_TEST_MAX_SIZE);
    }
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
 * Requests
 */

typedef struct Request {
    uint32_t type;
    uint32_t len;               /* of its fixed part */
    uint32_t queue;             /* one that it may go to */
} Request;

static const Request requests[] = {
    { VIRTIO_VIDEO_CMD_STREAM_OPEN, 20, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_CLOSE, 16, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, 16, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, 16, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_UNBLOCK, 16, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_DRAIN, 16, INPUT },
    { VIRTIO_VIDEO_CMD_STREAM_QUEUE_RESET, 20, MAIN },
    { VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE, 96, INPUT },
};

/* Room for any request with a container of one or two TLVs */
typedef struct Command {
    uint32_t words[64];
} Command;

static Command command(uint32_t type, uint32_t stream, uint32_t queue)
{
    return (Command) { { cpu_to_le32(type), cpu_to_le32(stream),
                        cpu_to_le32(queue) } };
}

/* A well-formed command for @queue, whose answer is awaited */
static uint32_t send_request(Rig *r, const Request *q, uint32_t stream,
                             uint32_t queue)
{
    Command c = command(q->type, stream, queue);
    uint32_t len = q->len;

    if (q->type == VIRTIO_VIDEO_CMD_STREAM_QUEUE_RESET) {
        c.words[4] = cpu_to_le32(INPUT);
    } else if (q->type == VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS ||
               q->type == VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS) {
        c.words[4] = cpu_to_le32(CODED_SET);
        len += 8;
    }
    return qvv_cmd(r->d, &c, len);
}

static const QVVOptions few_events = { .event_buffers = 4 };

/* The first @len bytes of that request are malformed */
static void assert_malformed(Rig *r, const Request *q, uint32_t len)
{
    Command c = command(q->type, 0, q->queue);

    g_assert_cmpint(qvv_cmd_raw(r->d, &c, len, 0, NULL, 0, 0), ==, -1);
    assert_broken_then_restart(r, &few_events);
}

static void test_malformed_short(Rig *r)
{
    for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
        assert_malformed(r, &requests[i], 4);
        assert_malformed(r, &requests[i], 15);
        assert_malformed(r, &requests[i], requests[i].len - 1);
    }
}

static void test_malformed_no_type(Rig *r)
{
    uint8_t resp[16];

    for (unsigned len = 1; len < 4; len++) {
        assert_malformed(r, &requests[0], len);
    }
    g_assert_cmpint(qvv_cmd_raw(r->d, NULL, 0, 0, resp, sizeof(resp), 0),
                    ==, -1);
    assert_broken_then_restart(r, &few_events);
}

static void test_malformed_query_caps(Rig *r)
{
    uint32_t req = cpu_to_le32(VIRTIO_VIDEO_CMD_DEVICE_QUERY_CAPS);
    uint8_t resp[8];

    for (unsigned room = 0; room < 8; room++) {
        g_assert_cmpint(qvv_cmd_raw(r->d, &req, 4, 0, resp, room, 0), ==, -1);
        assert_broken_then_restart(r, &few_events);
    }
}

/* A broken device takes nothing and says nothing, whatever goes on */
static void test_malformed_mid_stream(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in = PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_HANG, 0), frame(1));
    uint32_t out = get(s, 0);
    Command c = command(VIRTIO_VIDEO_CMD_STREAM_OPEN, 1, MAIN);

    g_assert_cmpint(qvv_cmd_raw(r->d, &c, 19, 0, NULL, 0, 0), ==, -1);
    wait_broken(r);
    g_assert_cmpuint(count_answers(r->d, in, QUIET), ==, 0);
    g_assert_cmpuint(count_answers(r->d, out, 0), ==, 0);
    assert_broken_then_restart(r, NULL);
    assert_device_works(r);
}

static void test_request_split(Rig *r)
{
    Command c = command(VIRTIO_VIDEO_CMD_STREAM_OPEN, 0, MAIN);

    for (unsigned split = 1; split < 20; split += 3) {
        c.words[3] = cpu_to_le32(0x1000 + split);
        g_assert_cmpint(qvv_cmd_raw(r->d, &c, 20, split, NULL, 0, SOON),
                        ==, 0);
        expect(r->d, 0x1000 + split, F_OK);
        qvv_assert_ok(r->d, qvv_close(r->d, 0));
    }
}

/* Done at once, with nothing written: whatever the answer is, it's an event */
static void test_request_length_0(Rig *r)
{
    for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
        Command c = command(requests[i].type, 5, requests[i].queue);
        uint8_t resp[16];

        c.words[3] = cpu_to_le32(0x1000 + i);
        g_assert_cmpint(qvv_cmd_raw(r->d, &c, requests[i].len, 0, resp,
                                    sizeof(resp), SOON), ==, 0);
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, 0x1000 + i);
    }
}

static void test_unknown_command(Rig *r)
{
    static const uint32_t types[] = { 0, 0x101, 0x1ff, 0x208, 0x300, ~0u };

    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        Command c = command(types[i], 0x77, 0);

        c.words[3] = cpu_to_le32(0x1000 + i);
        g_assert_cmpint(qvv_cmd_raw(r->d, &c, 16, 0, NULL, 0, SOON), ==, 0);
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, 0x1000 + i);
        g_assert_cmphex(ev->type, ==, types[i]);
        g_assert_cmphex(ev->stream, ==, 0x77);
        g_assert_cmphex(ev->flags, ==, F_ERROR);
        g_assert_cmpuint(ev->len, ==, 16);
    }
}

static void test_unknown_short_command(Rig *r)
{
    Command c = command(0x300, 0, 0);

    g_assert_cmpint(qvv_cmd_raw(r->d, &c, 12, 0, NULL, 0, SOON), ==, 0);
    qvv_assert_quiet(r->d, QUIET);
    g_assert_false(qvv_is_broken(r->d));
}

static void assert_wrong_queue(Rig *r, const Request *q, uint32_t queue)
{
    qvv_assert_error(r->d, send_request(r, q, 0, queue));
}

static void test_wrong_queue_type(Rig *r)
{
    bare_stream(r, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
        const Request *q = &requests[i];
        bool params = q->type == VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS ||
                      q->type == VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS;

        if (q->queue != MAIN) {
            assert_wrong_queue(r, q, MAIN);
        } else if (!params) {
            assert_wrong_queue(r, q, INPUT);
        }
        if (q->type != VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE) {
            assert_wrong_queue(r, q, OUTPUT);
        }
        assert_wrong_queue(r, q, 3);
        assert_wrong_queue(r, q, ~0u);
    }
    /* The stream was neither closed nor harmed */
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
}

static void assert_all_commands_fail(Rig *r, uint32_t stream)
{
    for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
        uint32_t cookie;

        if (requests[i].type == VIRTIO_VIDEO_CMD_STREAM_OPEN) {
            continue;
        }
        cookie = send_request(r, &requests[i], stream, requests[i].queue);
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, cookie);
        g_assert_cmphex(ev->type, ==, requests[i].type);
        g_assert_cmphex(ev->stream, ==, stream);
        g_assert_cmphex(ev->flags, ==, F_ERROR);
    }
}

/*
 * OPEN and CLOSE
 */

static void test_open_out_of_range(Rig *r)
{
    qvv_assert_error(r->d, qvv_open(r->d, r->d->max_streams, DECODER));
    qvv_assert_error(r->d, qvv_open(r->d, 0x80000000, DECODER));
    qvv_assert_error(r->d, qvv_open(r->d, ~0u, DECODER));
}

static void test_open_all_ids(Rig *r)
{
    for (uint32_t id = 0; id < r->d->max_streams; id++) {
        qvv_assert_ok(r->d, qvv_open(r->d, id, DECODER));
    }
    for (uint32_t id = 0; id < r->d->max_streams; id++) {
        qvv_assert_ok(r->d, qvv_close(r->d, id));
    }
}

static void test_open_twice(Rig *r)
{
    TestStream *s = test_stream(r, 7);

    qvv_assert_error(r->d, qvv_open(r->d, 7, DECODER));
    assert_decodes(s);
}

static void test_open_unknown_type(Rig *r)
{
    qvv_assert_error(r->d, qvv_open(r->d, 0, 2));
    qvv_assert_error(r->d, qvv_open(r->d, 0, ~0u));
    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
}

static void test_open_encoder_not_negotiated(Rig *r)
{
    qvv_assert_error(r->d, qvv_open(r->d, 0, ENCODER));
    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
}

static void test_open_defaults(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    g_autoptr(QVVEvent) coded = get_params(s, CODED_SET);
    g_autoptr(QVVEvent) raw = get_params(s, RAW_SET);
    const QVVParams *p = &raw->params;

    g_assert_cmpuint(coded->params.coded_format, ==,
                     VIRTIO_VIDEO_CODED_FORMAT_H264);
    g_assert_cmpuint(coded->params.num_resources, ==, 0);
    g_assert_cmpuint(coded->params.n_attached, ==, 0);
    g_assert_cmphex(p->raw.fourcc, ==, VIDEO_TEST_NV12);
    g_assert_cmphex(p->raw.modifier, ==, 0);
    g_assert_cmpuint(p->raw.planes_layout, ==, SINGLE);
    g_assert_cmpuint(p->raw.width, ==, 640);
    g_assert_cmpuint(p->raw.height, ==, 480);
    g_assert_cmpuint(p->num_resources, ==, 0);
    g_assert_cmpuint(p->n_attached, ==, 0);
    g_assert_cmpuint(p->crop.left + p->crop.top, ==, 0);
    g_assert_cmpuint(p->crop.width, ==, 640);
    g_assert_cmpuint(p->crop.height, ==, 480);
}

static void test_open_defaults_decode(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint32_t out;

    add_inputs(s);
    add_outputs(s, 1, QVV_SCATTERED);
    out = get(s, 0);
    PUT(s, 0, 3, format(640, 480), frame(17));
    expect_frame(s, 0, out, 17, 3);
}

static void test_close_later_commands(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    assert_decodes(s);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    assert_all_commands_fail(r, 0);
}

static void test_close_not_open(Rig *r)
{
    assert_all_commands_fail(r, 3);
    assert_all_commands_fail(r, r->d->max_streams);
    assert_all_commands_fail(r, ~0u);
}

static void test_close_cancels(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    const uint32_t cookies[] = {
        hang(s, 0),
        PUT(s, 1, 0, HEADER, frame(1)),
        qvv_drain(r->d, 0),
        qvv_get_params(r->d, 0, INPUT, CODED_SET),
        get(s, 0),
        get(s, 1),
    };

    expect_canceled(r->d, cookies, ARRAY_SIZE(cookies),
                    qvv_close(r->d, 0));
    qvv_assert_quiet(r->d, QUIET);
}

static void test_close_not_canceled(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t close, reset;

    hang_hard(s, 0, 100);
    qvv_hold(r->d);
    close = qvv_close(r->d, 0);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    qvv_flush(r->d);
    qvv_assert_error(r->d, reset);
    qvv_assert_ok(r->d, close);
}

static void test_close_frees_id(Rig *r)
{
    for (unsigned i = 0; i < 5; i++) {
        TestStream *s = test_stream(r, 2);

        hang(s, 0);
        qvv_assert_ok(r->d, qvv_close(r->d, 2));
    }
    assert_decodes(test_stream(r, 2));
}

static void test_close_detaches(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(QVVEvent) coded = NULL;
    g_autoptr(QVVEvent) raw = NULL;

    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    s = bare_stream(r, 0);
    coded = get_params(s, CODED_SET);
    raw = get_params(s, RAW_SET);
    g_assert_cmpuint(coded->params.num_resources, ==, 0);
    g_assert_cmpuint(coded->params.n_attached, ==, 0);
    g_assert_cmpuint(raw->params.num_resources, ==, 0);
    g_assert_cmpuint(raw->params.n_attached, ==, 0);
}

/* One stream's codec that does not listen is no other stream's business */
static void test_close_hanging_codec(Rig *r)
{
    TestStream *bad = test_stream(r, 0);
    TestStream *good = test_stream(r, 1);
    int64_t began = g_get_monotonic_time();
    uint32_t close;

    hang_hard(bad, 0, 1000);
    close = qvv_close(r->d, 0);
    assert_decodes(good);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 900 * MS);
    qvv_assert_ok(r->d, close);
}

static void test_close_no_thread(Rig *r)
{
    unsigned before = n_threads(r->qts);

    for (uint32_t id = 0; id < 4; id++) {
        assert_decodes(test_stream(r, id));
    }
    for (uint32_t id = 0; id < 4; id++) {
        qvv_assert_ok(r->d, qvv_close(r->d, id));
    }
    wait_threads(r, before);
}

/* Each answer repeats type, stream and cookie */
static void test_events_echo(Rig *r)
{
    static const uint32_t cookies[] = { 0, 1, 0x80000000, ~0u };

    for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
        Command c = command(VIRTIO_VIDEO_CMD_STREAM_OPEN, 3 + i, MAIN);
        g_autoptr(QVVEvent) ev = NULL;

        c.words[3] = cpu_to_le32(cookies[i]);
        qvv_cmd_raw(r->d, &c, 20, 0, NULL, 0, SOON);
        ev = qvv_next(r->d, SOON);
        g_assert_nonnull(ev);
        g_assert_cmphex(ev->type, ==, VIRTIO_VIDEO_CMD_STREAM_OPEN);
        g_assert_cmphex(ev->stream, ==, 3 + i);
        g_assert_cmphex(ev->cookie, ==, cookies[i]);
        g_assert_cmphex(ev->flags, ==, F_OK);
        g_assert_cmpuint(ev->len, ==, 16);
    }
}

/*
 * TLVs that no driver should send
 */

/* SET_PARAMS (or GET_PARAMS) with any bytes as its body is an ERROR */
static void assert_body_error(TestStream *s, uint32_t type, const void *body,
                              uint32_t len)
{
    g_autofree uint8_t *cmd = g_malloc0(16 + len);

    stl_le_p(cmd, type);
    stl_le_p(cmd + 4, s->id);
    stl_le_p(cmd + 8, MAIN);
    if (len) {
        memcpy(cmd + 16, body, len);
    }
    expect(s->d, qvv_cmd(s->d, cmd, 16 + len), F_ERROR);
}

#define BODY_ERROR(s, ...) do { \
        uint32_t body_[] = { __VA_ARGS__ }; \
        assert_words_error(s, body_, ARRAY_SIZE(body_)); \
    } while (0)

static void assert_words_error(TestStream *s, uint32_t *words, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        words[i] = cpu_to_le32(words[i]);
    }
    assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, words, n * 4);
}

/* @set is refused as a whole, and it's freed */
static void assert_set_error(TestStream *s, GByteArray *set)
{
    g_assert_cmphex(set_params_flags(s, set), ==, F_ERROR);
}

static void test_tlv_none(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, NULL, 0);
    assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, NULL, 0);
}

static void test_tlv_half(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    const uint32_t half[] = { cpu_to_le32(CODED_SET), 0 };

    for (unsigned len = 1; len < 8; len++) {
        assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, half, len);
        assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, half, len);
    }
}

static void test_tlv_beyond_end(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    BODY_ERROR(s, CODED_SET, 4);
    BODY_ERROR(s, CODED_SET, 16, VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4, 1);
    BODY_ERROR(s, CODED_SET, 0xfffffffc, 6, 4, 1);
    BODY_ERROR(s, CODED_SET, 0xfffffff8, 6, 4, 1);
    /* The inner one is longer than its container */
    BODY_ERROR(s, CODED_SET, 12, VIRTIO_VIDEO_TLV_CODED_RESOURCES, 8, 1);
    BODY_ERROR(s, CODED_SET, 12, VIRTIO_VIDEO_TLV_CODED_RESOURCES, ~3u, 1);
    /* No room for a header in it */
    BODY_ERROR(s, CODED_SET, 4, VIRTIO_VIDEO_TLV_CODED_RESOURCES);
    BODY_ERROR(s, CODED_SET, 16, VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4, 1, 6);
}

static void test_tlv_odd_length(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    for (uint32_t odd = 1; odd < 4; odd++) {
        BODY_ERROR(s, CODED_SET, odd, 0);
        BODY_ERROR(s, CODED_SET, 12 + odd,
                   VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4, 1, 0);
        BODY_ERROR(s, CODED_SET, 16,
                   VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4 + odd, 1, 0);
    }
}

static void test_tlv_two_containers(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    BODY_ERROR(s, CODED_SET, 0, CODED_SET, 0);
    BODY_ERROR(s, CODED_SET, 0, RAW_SET, 0);
    BODY_ERROR(s, RAW_SET, 12, VIRTIO_VIDEO_TLV_RAW_RESOURCES, 4, 3,
               RAW_SET, 0);
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    g_assert_cmpuint(ev->params.num_resources, ==, 0);
}

static void test_tlv_trailing(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    BODY_ERROR(s, CODED_SET, 0, 0);
    BODY_ERROR(s, CODED_SET, 12, VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4, 1, 0);
}

static void test_tlv_no_container(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    for (uint32_t type = 0; type < 14; type++) {
        uint32_t body[] = { cpu_to_le32(type), 0 };

        if (type != CODED_SET && type != RAW_SET) {
            BODY_ERROR(s, type, 0);
            BODY_ERROR(s, type, 4, 1);
            assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, body, 8);
        }
    }
}

static void test_tlv_wrong_nesting(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    BODY_ERROR(s, CODED_SET, 8, CODED_SET, 0);
    BODY_ERROR(s, CODED_SET, 8, RAW_SET, 0);
    BODY_ERROR(s, RAW_SET, 8, CODED_SET, 0);
    BODY_ERROR(s, RAW_SET, 20, RAW_SET, 12,
               VIRTIO_VIDEO_TLV_RAW_RESOURCES, 4, 1);
    BODY_ERROR(s, CODED_SET, 24, VIRTIO_VIDEO_TLV_V4L2_CONTROLS, 16,
               VIRTIO_VIDEO_TLV_V4L2_CONTROLS, 8, 0, 0);
}

/* Every type in the wrong set, and those that no set takes */
static void test_tlv_wrong_set(Rig *r)
{
    static const uint32_t coded[] = {
        0, VIRTIO_VIDEO_TLV_LINK, VIRTIO_VIDEO_TLV_RAW_FORMAT,
        VIRTIO_VIDEO_TLV_RAW_RESOURCES, VIRTIO_VIDEO_TLV_CROP, 12, 0x80000000,
    };
    static const uint32_t raw[] = {
        0, VIRTIO_VIDEO_TLV_LINK, VIRTIO_VIDEO_TLV_CODED_FORMAT,
        VIRTIO_VIDEO_TLV_CODED_RESOURCES, VIRTIO_VIDEO_TLV_V4L2_CONTROLS, 12,
    };
    TestStream *s = bare_stream(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(coded); i++) {
        BODY_ERROR(s, CODED_SET, 12, coded[i], 4, 1);
        BODY_ERROR(s, CODED_SET, 24, coded[i], 16, 0, 0, 32, 32);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(raw); i++) {
        BODY_ERROR(s, RAW_SET, 12, raw[i], 4, 1);
    }
}

static void assert_lengths(TestStream *s, uint32_t container, uint32_t type,
                           uint32_t right)
{
    static const uint8_t zeros[80];

    for (uint32_t len = 0; len <= right + 8; len += 4) {
        GByteArray *set;

        if (len == right) {
            continue;
        }
        set = qvv_set_new(container);
        qvv_set_tlv(set, type, zeros, len);
        assert_set_error(s, set);
    }
}

static void test_tlv_value_length(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    assert_lengths(s, CODED_SET, VIRTIO_VIDEO_TLV_CODED_FORMAT, 4);
    assert_lengths(s, CODED_SET, VIRTIO_VIDEO_TLV_CODED_RESOURCES, 4);
    assert_lengths(s, RAW_SET, VIRTIO_VIDEO_TLV_RAW_RESOURCES, 4);
    assert_lengths(s, RAW_SET, VIRTIO_VIDEO_TLV_RAW_FORMAT, 36);
    assert_lengths(s, RAW_SET, VIRTIO_VIDEO_TLV_CROP, 16);
    assert_lengths(s, RAW_SET, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES, 40);
}

/* Objects of other devices were not negotiated; decoders have no controls */
static void test_tlv_not_offered(Rig *r)
{
    static const uint8_t uuid_of_0[24] = { 0, 0, 0, 0, 1 };
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RESOURCE_VIRTIO_OBJECT, uuid_of_0, 24);
    assert_set_error(s, set);
    set = qvv_set_new(CODED_SET);
    qvv_set_control(set, VIRTIO_VIDEO_V4L2_CID_BITRATE, 1000000);
    assert_set_error(s, set);
    assert_decodes(s);
}

/* Whether the answer fits the event buffer or not: nothing breaks */
static void test_tlv_many(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    for (unsigned i = 0; i < 4000; i++) {
        qvv_set_num_resources(set, 1 + i % 2);
    }
    set_params_flags(s, set);
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    g_assert_cmpuint(ev->params.num_resources, <=, 2);
}

/* max-entries is 4 here: no request that makes sense is so long */
static void test_tlv_too_long(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    for (unsigned i = 0; i < 4000; i++) {
        qvv_set_num_resources(set, 1);
    }
    assert_set_error(s, set);
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    g_assert_cmpuint(ev->params.num_resources, ==, 0);
}

/*
 * GET_PARAMS and SET_PARAMS
 */

static void test_get_params_all(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    g_autoptr(QVVEvent) coded = get_params(s, CODED_SET);
    g_autoptr(QVVEvent) raw = get_params(s, RAW_SET);

    g_assert_cmphex(coded->params.present, ==,
                    1 << VIRTIO_VIDEO_TLV_CODED_FORMAT |
                    1 << VIRTIO_VIDEO_TLV_CODED_RESOURCES);
    g_assert_cmphex(raw->params.present, ==,
                    1 << VIRTIO_VIDEO_TLV_RAW_FORMAT |
                    1 << VIRTIO_VIDEO_TLV_RAW_RESOURCES |
                    1 << VIRTIO_VIDEO_TLV_CROP);
}

static void test_get_params_not_empty(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    const uint32_t body[] = {
        cpu_to_le32(CODED_SET), cpu_to_le32(12),
        cpu_to_le32(VIRTIO_VIDEO_TLV_CODED_RESOURCES), cpu_to_le32(4), 0,
    };

    assert_body_error(s, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, body,
                      sizeof(body));
}

static void test_get_params_attached(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);
    g_autoptr(QVVEvent) coded = NULL;
    g_autoptr(QVVEvent) raw = NULL;

    qvv_set_num_resources(set, 3);
    qvv_set_num_resources(set, 5);
    set_params_ok(s, set);
    coded = get_params(s, CODED_SET);
    raw = get_params(s, RAW_SET);
    g_assert_cmpuint(coded->params.num_resources, ==, 5);
    g_assert_cmphex(coded->params.attached, ==, 0x7);
    g_assert_cmphex(raw->params.attached, ==, (1 << N_OUTPUTS) - 1);
    g_assert_cmpuint(raw->params.n_attached, ==, N_OUTPUTS);
}

static void test_get_params_in_order(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain = put_barrier(s);
    uint32_t ordered = qvv_get_params(r->d, 0, INPUT, RAW_SET);
    uint32_t now = qvv_get_params(r->d, 0, MAIN, RAW_SET);

    EXPECT_ORDER(r->d, { now, F_OK });
    get(s, 0);
    EXPECT_ORDER(r->d, { drain, F_OK }, { ordered, F_OK });
}

static void test_set_params_in_order(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(GByteArray) set14 = qvv_set_new(CODED_SET);
    g_autoptr(GByteArray) set19 = qvv_set_new(CODED_SET);
    uint32_t drain = put_barrier(s), ordered, now;

    qvv_set_num_resources(set14, 14);
    qvv_set_num_resources(set19, 19);
    ordered = qvv_set_params(r->d, 0, INPUT, set14);
    now = qvv_set_params(r->d, 0, MAIN, set19);
    EXPECT_ORDER(r->d, { now, F_OK });
    get(s, 0);
    EXPECT_ORDER(r->d, { drain, F_OK }, { ordered, F_OK });
    g_autoptr(QVVEvent) ev = get_params(s, CODED_SET);
    g_assert_cmpuint(ev->params.num_resources, ==, 14);
}

static void test_set_params_order_of_values(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);
    uint64_t size = QVV_PAGE_SIZE;

    s->in = qvv_pool_new(r->d, 2, 1, &size, QVV_CONTIGUOUS);
    qvv_set_num_resources(set, 2);
    qvv_set_pages(set, &s->in->res[1]);
    qvv_set_num_resources(set, 1);
    qvv_set_pages(set, &s->in->res[0]);
    qvv_set_num_resources(set, 2);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_autoptr(QVVEvent) now = get_params(s, CODED_SET);
    g_assert_cmpuint(now->params.num_resources, ==, 2);
    g_assert_cmphex(now->params.attached, ==, 1 << 0);

    /* The other way round there is nothing yet to attach to */
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
    set = qvv_set_new(CODED_SET);
    qvv_set_pages(set, &s->in->res[0]);
    qvv_set_num_resources(set, 1);
    assert_set_error(s, set);
}

static void test_set_params_stops_at_error(Rig *r)
{
    QVVRawFormat bad = raw_format(VIDEO_TEST_FOURCC('B', 'A', 'D', '!'),
                                  WIDTH, HEIGHT);
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    qvv_set_num_resources(set, 2);
    qvv_set_raw_format(set, &bad);
    qvv_set_num_resources(set, 7);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_ERROR);
    g_autoptr(QVVEvent) now = get_params(s, RAW_SET);
    g_assert_cmpuint(now->params.num_resources, ==, 2);
    g_assert_cmphex(now->params.raw.fourcc, ==, VIDEO_TEST_NV12);

    /* The answer says how far it came */
    g_assert_true(ev->has_params);
    g_assert_cmphex(ev->params.present, ==,
                    1 << VIRTIO_VIDEO_TLV_RAW_RESOURCES);
    g_assert_cmpuint(ev->params.num_resources, ==, 2);
}

/* SET_PARAMS of @format, unblocked; what the device made of it */
static QVVRawFormat set_and_get(TestStream *s, const QVVRawFormat *format)
{
    GByteArray *set = qvv_set_new(RAW_SET);

    qvv_set_raw_format(set, format);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags & ~F_BLOCKED, ==, F_OK);
    g_assert_true(qvv_params_has(&ev->params, VIRTIO_VIDEO_TLV_RAW_FORMAT));
    if (ev->flags & F_BLOCKED) {
        unblock(s);
    }
    g_autoptr(QVVEvent) now = get_params(s, RAW_SET);
    g_assert_cmpmem(&ev->params.raw, sizeof(ev->params.raw),
                    &now->params.raw, sizeof(now->params.raw));
    return now->params.raw;
}

static void test_set_params_closest_format(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, 100000, 100001);

    f = set_and_get(s, &f);
    g_assert_cmpuint(f.width, ==, VIDEO_TEST_MAX_SIZE);
    g_assert_cmpuint(f.height, ==, VIDEO_TEST_MAX_SIZE);

    f = raw_format(VIDEO_TEST_NV12, 0, 0);
    f.stride_align = 100;
    f.height_align = 100;
    f.plane_align = 6000;
    f = set_and_get(s, &f);
    g_assert_cmpuint(f.width, >, 0);
    g_assert_cmpuint(f.height, >, 0);
    g_assert_cmpuint(f.stride_align, ==, 128);
    g_assert_cmpuint(f.height_align, ==, 64);
    g_assert_cmpuint(f.plane_align, ==, 8192);

    f.stride_align = 1;
    f.height_align = 0;
    f.plane_align = 0;
    f = set_and_get(s, &f);
    g_assert_cmpuint(f.stride_align, ==, 16);
    g_assert_cmpuint(f.height_align, ==, 1);
    g_assert_cmpuint(f.plane_align, ==, 1);

    f.stride_align = ~0u;
    f.height_align = 0x80000000;
    f.plane_align = ~0u;
    f = set_and_get(s, &f);
    g_assert_cmpuint(f.stride_align, ==, 4096);
    g_assert_cmpuint(f.height_align, ==, 64);
    g_assert_cmpuint(f.plane_align, ==, 65536);
}

static uint32_t set_num(TestStream *s, uint32_t container, uint32_t num)
{
    GByteArray *set = qvv_set_new(container);

    qvv_set_num_resources(set, num);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags & ~F_BLOCKED, ==, F_OK);
    g_assert_cmphex(ev->params.present, ==,
                    1 << (container == RAW_SET ?
                          VIRTIO_VIDEO_TLV_RAW_RESOURCES :
                          VIRTIO_VIDEO_TLV_CODED_RESOURCES));
    return ev->params.num_resources;
}

static void test_set_params_max_resources(Rig *r)
{
    g_autoptr(QVVCaps) caps = query_caps(r);
    TestStream *s = bare_stream(r, 0);

    for (unsigned i = 0; i < caps->n_raw; i++) {
        g_assert_cmpuint(caps->raw[i].num_resources.max, ==, 32);
    }
    for (unsigned i = 0; i < caps->n_coded; i++) {
        g_assert_cmpuint(caps->coded[i].num_resources.max, ==, 32);
    }
    g_assert_cmpuint(set_num(s, CODED_SET, 33), ==, 32);
    g_assert_cmpuint(set_num(s, RAW_SET, 33), ==, 32);
    g_assert_cmpuint(set_num(s, RAW_SET, ~0u), ==, 32);
}

static void test_set_params_few_resources(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    g_assert_cmpuint(set_num(s, CODED_SET, 3), ==, 2);
    g_assert_cmpuint(set_num(s, RAW_SET, 3), ==, 2);
}

/* Whatever is asked for, coded and raw format are always a linked pair */
static void test_set_params_linked_raw(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_YUV420, WIDTH, HEIGHT);
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_VP8);
    set_params_ok(s, set);
    set = qvv_set_new(RAW_SET);
    qvv_set_raw_format(set, &f);
    assert_set_error(s, set);
    read_raw_format(s);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_NV12);
}

static void test_set_params_linked_coded(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_YUV420, WIDTH, HEIGHT);
    GByteArray *set = qvv_set_new(CODED_SET);
    uint32_t flags;

    set_raw_format(s, &f);
    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_VP8);
    flags = set_params_flags(s, set);
    if (flags == F_ERROR) {
        return;
    }
    g_assert_cmphex(flags, ==, F_BLOCKED);
    read_raw_format(s);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_NV12);
}

static void test_set_params_coded_formats(Rig *r)
{
    static const uint32_t bad[] = {
        0, VIRTIO_VIDEO_CODED_FORMAT_MPEG2, VIRTIO_VIDEO_CODED_FORMAT_FWHT,
        VIRTIO_VIDEO_CODED_FORMAT_AV1, 9, 0x103, ~0u,
    };
    TestStream *s = bare_stream(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        GByteArray *set = qvv_set_new(CODED_SET);

        qvv_set_coded_format(set, bad[i]);
        assert_set_error(s, set);
    }
    g_autoptr(QVVEvent) ev = get_params(s, CODED_SET);
    g_assert_cmpuint(ev->params.coded_format, ==,
                     VIRTIO_VIDEO_CODED_FORMAT_H264);
}

/* An error or mended: but never taken */
static void assert_raw_not_taken(TestStream *s, const QVVRawFormat *bad)
{
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t flags;

    qvv_set_raw_format(set, bad);
    flags = set_params_flags(s, set);
    if (flags & F_BLOCKED) {
        unblock(s);
    }
    read_raw_format(s);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_NV12);
    g_assert_cmphex(s->raw.modifier, ==, 0);
    g_assert_true(s->raw.planes_layout == SINGLE ||
                  s->raw.planes_layout == MULTI);
}

static void test_set_params_raw_formats(Rig *r)
{
    static const uint32_t layouts[] = { 0, 3, 4, ~0u };
    TestStream *s = bare_stream(r, 0);
    QVVRawFormat f = raw_format(0, WIDTH, HEIGHT);

    assert_raw_not_taken(s, &f);
    f.fourcc = VIDEO_TEST_FOURCC('N', 'V', '2', '1');
    assert_raw_not_taken(s, &f);
    f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    f.modifier = 1;
    assert_raw_not_taken(s, &f);
    f.modifier = ~0ull;
    assert_raw_not_taken(s, &f);
    f.modifier = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++) {
        f.planes_layout = layouts[i];
        assert_raw_not_taken(s, &f);
    }
}

static void test_set_params_0_detaches(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    g_assert_cmpuint(set_num(s, CODED_SET, 0), ==, 0);
    g_assert_cmpuint(set_num(s, CODED_SET, N_INPUTS), ==, N_INPUTS);
    g_autoptr(QVVEvent) ev = get_params(s, CODED_SET);
    g_assert_cmpuint(ev->params.n_attached, ==, 0);
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, 0, 40));
}

/* "Growing" includes the first resources: nobody can have used them */
static void test_set_params_grow(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    for (uint32_t n = 1; n < 10; n += 4) {
        GByteArray *set = qvv_set_new(RAW_SET);

        qvv_set_num_resources(set, n);
        g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    }
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
}

static void test_set_params_shrink(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t out;

    qvv_set_num_resources(set, 2);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    g_assert_cmphex(ev->params.attached, ==, 0x3);

    out = get(s, 1);
    PUT(s, 0, 5, HEADER, frame(5));
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    unblock(s);
    expect_frame(s, 1, out, 5, 5);
    qvv_assert_error(r->d, get(s, 2));
}

/* Those that go come back, those that stay stay queued */
static void test_set_params_shrink_queued(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t out[N_OUTPUTS];

    assert_decodes(s);
    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        out[i] = get(s, i);
    }
    qvv_set_num_resources(set, 2);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    qvv_assert_canceled(r->d, out[2]);
    qvv_assert_canceled(r->d, out[3]);
    unblock(s);
    PUT(s, 0, 5, frame(5));
    expect_frame(s, 0, out[0], 5, 5);
}

/* The driver has just queued what it takes away */
static void test_set_params_shrink_inputs(Rig *r)
{
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);
    TestStream *s = test_stream(r, 0);
    uint32_t params, in;

    put_barrier(s);
    qvv_set_num_resources(set, 2);
    params = qvv_set_params(r->d, 0, MAIN, set);
    in = PUT(s, 3, 0, insn(VIDEO_TEST_NOP, 0));
    get(s, 0);
    qvv_assert_error(r->d, params);
    qvv_assert_ok(r->d, in);
    params = qvv_set_params(r->d, 0, MAIN, set);
    qvv_assert_ok(r->d, params);
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 3, 0, 0, 40));
    assert_decodes(s);
}

/* The main queue's changes overtake what the codec does not have yet */
static void test_set_params_before_input(Rig *r)
{
    g_autoptr(GByteArray) other = qvv_set_new(RAW_SET);
    g_autoptr(GByteArray) fewer = qvv_set_new(CODED_SET);
    QVVRawFormat f = other_format();
    TestStream *s = test_stream(r, 0);
    uint32_t drain = put_barrier(s), ordered, first, second, in;

    qvv_set_raw_format(other, &f);
    qvv_set_num_resources(fewer, 4);
    ordered = qvv_set_params(r->d, 0, INPUT, other);
    in = PUT(s, 1, 0, insn(VIDEO_TEST_NOP, 0));
    first = qvv_set_params(r->d, 0, MAIN, fewer);
    second = qvv_set_params(r->d, 0, MAIN, other);
    get(s, 0);
    EXPECT_ORDER(r->d, { drain, F_OK }, { first, F_OK },
                 { second, F_BLOCKED }, { ordered, F_OK }, { in, F_OK });
}

static void test_set_params_format_blocks(Rig *r)
{
    QVVRawFormat f = other_format();
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t out;

    qvv_set_raw_format(set, &f);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    read_raw_format(s);
    out = get(s, 0);
    PUT(s, 0, 5, HEADER, frame(5));
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    unblock(s);
    expect_frame(s, 0, out, 5, 5);
}

static void test_set_params_same_format(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    assert_decodes(s);
    qvv_set_raw_format(set, &s->raw);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    assert_decodes(s);
}

/* Frames that the codec still holds come before the answer */
static void check_implicit_drain(Rig *r, uint32_t queue)
{
    QVVRawFormat f = other_format();
    g_autoptr(GByteArray) set = qvv_set_new(RAW_SET);
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1), in, params;

    in = PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_REORDER, 4),
             insn(VIDEO_TEST_DELAY, 20), frame_at(1, 1), frame_at(2, 2));
    qvv_set_raw_format(set, &f);
    params = qvv_set_params(r->d, 0, queue, set);
    EXPECT_ORDER(r->d, { in, F_OK });
    EXPECT_ORDER(r->d, { out0, F_OK }, { out1, F_OK }, { params, F_BLOCKED });
    assert_pixels(s, 0, 1);
    assert_pixels(s, 1, 2);
}

static void test_set_params_drains_main(Rig *r)
{
    check_implicit_drain(r, MAIN);
}

static void test_set_params_drains_input(Rig *r)
{
    check_implicit_drain(r, INPUT);
}

/* What comes behind it in the input queue waits for the whole change */
static void test_set_params_input_waits(Rig *r)
{
    QVVRawFormat f = other_format();
    g_autoptr(GByteArray) set = qvv_set_new(RAW_SET);
    TestStream *s = test_stream(r, 0);
    uint32_t params, in, out;

    assert_decodes(s);
    PUT(s, 1, 0, insn(VIDEO_TEST_DELAY, 20));
    qvv_set_raw_format(set, &f);
    params = qvv_set_params(r->d, 0, INPUT, set);
    in = PUT(s, 2, 6, frame(6));
    EXPECT_ORDER(r->d, { params, F_BLOCKED });
    read_raw_format(s);
    out = get(s, 2);
    unblock(s);
    expect_frame(s, 2, out, 6, 6);
    qvv_assert_ok(r->d, in);
}

static void test_set_params_coded_change(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(CODED_SET);
    uint32_t in;

    assert_decodes(s);
    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_VP8);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    /* Another session: the parameter sets are gone */
    in = PUT(s, 0, 0, frame(3));
    qvv_assert_error(r->d, in);
    assert_decodes(s);
}

static void test_set_params_crop(Rig *r)
{
    const QVVRect wish = { 4, 4, 16, 16 };
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    PUT(s, 0, 0, format_crop(WIDTH, HEIGHT, 2, 4, 50, 40, 8), frame(1));
    qvv_assert_ok(r->d, get(s, 0));
    qvv_set_crop(set, &wish);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_cmpuint(ev->params.crop.left, ==, 2);
    g_assert_cmpuint(ev->params.crop.top, ==, 4);
    g_assert_cmpuint(ev->params.crop.width, ==, 50);
    g_assert_cmpuint(ev->params.crop.height, ==, 40);
}

static void test_set_params_size_of_stream(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, 2 * WIDTH, 3 * HEIGHT);

    assert_decodes(s);
    f = set_and_get(s, &f);
    g_assert_cmpuint(f.width, ==, WIDTH);
    g_assert_cmpuint(f.height, ==, HEIGHT);
    assert_decodes(s);
}

static void test_unblock_not_blocked(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    assert_decodes(s);
    g_assert_cmpuint(set_num(s, RAW_SET, 1), ==, 1);
    unblock(s);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    assert_decodes(s);
}

/*
 * Memory of resources
 */

static bool is_x86(void)
{
    return g_str_equal(qtest_get_arch(), "x86_64");
}

/* Of the machines' default 128 MiB */
static uint64_t ram_end(void)
{
    return (is_x86() ? 0 : 0x40000000ull) + 128 * MiB;
}

static uint64_t mmio_addr(void)
{
    return is_x86() ? 0xfec00000 : 0x09000000;
}

static uint64_t rom_addr(void)
{
    return is_x86() ? 0xfffff000 : 0;
}

static uint64_t hole_addr(void)
{
    return is_x86() ? 0x40000000 : 0x3eff0000;
}

static void set_le64_entry(uint8_t *p, const QVVEntry *e, uint32_t padding)
{
    stq_le_p(p, e->addr);
    stl_le_p(p + 8, e->len);
    stl_le_p(p + 12, padding);
}

/*
 * RESOURCE_GUEST_PAGES with just these numbers: @counts are the first
 * num_entries[], @padding is what the padding is filled with
 */
static void set_entries(GByteArray *set, uint32_t id, const uint32_t *counts,
                        unsigned n_counts, const QVVEntry *entries,
                        unsigned n, uint32_t padding)
{
    g_autofree uint8_t *value = g_malloc0(40 + 16 * n);

    stl_le_p(value, id);
    stl_le_p(value + 4, padding);
    for (unsigned i = 0; i < n_counts; i++) {
        stl_le_p(value + 8 + 4 * i, counts[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        set_le64_entry(value + 40 + 16 * i, &entries[i], padding);
    }
    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES, value,
                40 + 16 * n);
}

/* The answer's flags to attaching @entries, all of one buffer, to input 0 */
static uint32_t attach(TestStream *s, const QVVEntry *entries, unsigned n)
{
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { n }, 1, entries, n, 0);
    return set_params_flags(s, set);
}

static void assert_none_attached(TestStream *s)
{
    g_autoptr(QVVEvent) ev = get_params(s, CODED_SET);

    g_assert_cmpuint(ev->params.n_attached, ==, 0);
    qvv_assert_error(s->d, qvv_queue_input(s->d, s->id, 0, 0, 0, 40));
}

#define ATTACH_ERROR(s, ...) do { \
        QVVEntry e_[] = { __VA_ARGS__ }; \
        g_assert_cmphex(attach(s, e_, ARRAY_SIZE(e_)), ==, F_ERROR); \
        assert_none_attached(s); \
    } while (0)

static uint64_t alloc_pages(Rig *r, unsigned n)
{
    return guest_alloc(r->alloc, n * QVV_PAGE_SIZE);
}

static void test_attach_hole(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint64_t mem = alloc_pages(r, 1);

    ATTACH_ERROR(s, { hole_addr(), 4096 });
    ATTACH_ERROR(s, { mem, 4096 }, { hole_addr(), 4096 });
    ATTACH_ERROR(s, { hole_addr(), 4096 }, { mem, 4096 });
    ATTACH_ERROR(s, { 1ull << 62, 4096 });
}

static void test_attach_end_of_ram(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    ATTACH_ERROR(s, { ram_end(), 4096 });
    ATTACH_ERROR(s, { ram_end() - 4096, 8192 });
    ATTACH_ERROR(s, { ram_end() - 4096, 0xfffff000 });
}

static void test_attach_mmio(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint64_t mem = alloc_pages(r, 1);

    ATTACH_ERROR(s, { mmio_addr(), 4096 });
    ATTACH_ERROR(s, { mem, 4096 }, { mmio_addr(), 4096 });
}

static void test_attach_rom(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    if (is_x86() && !r->v->pci) {
        g_test_skip("microvm has its firmware in RAM");
        return;
    }
    ATTACH_ERROR(s, { rom_addr(), 4096 });
}

static void test_attach_wrap(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    ATTACH_ERROR(s, { 0xfffffffffffff000, 4096 });
    ATTACH_ERROR(s, { 0xfffffffffffff000, 8192 });
    ATTACH_ERROR(s, { 0xffffffff80000000, 0xfffff000 });
}

static void test_attach_unaligned(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint64_t mem = alloc_pages(r, 4);

    ATTACH_ERROR(s, { mem + 16, 4096 });
    ATTACH_ERROR(s, { mem + 2048, 4096 });
    ATTACH_ERROR(s, { mem, 4095 });
    ATTACH_ERROR(s, { mem, 100 });
    ATTACH_ERROR(s, { mem, 4096 }, { mem + 8192, 1 });
}

static void test_attach_zero_length(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint64_t mem = alloc_pages(r, 2);

    ATTACH_ERROR(s, { mem, 0 });
    ATTACH_ERROR(s, { mem, 4096 }, { mem + 4096, 0 });
}

static void test_attach_overlap(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint64_t mem = alloc_pages(r, 8);

    ATTACH_ERROR(s, { mem, 4096 }, { mem, 4096 });
    ATTACH_ERROR(s, { mem, 8192 }, { mem + 4096, 8192 });
    ATTACH_ERROR(s, { mem + 4096, 4096 }, { mem, 16384 });
    ATTACH_ERROR(s, { mem, 4096 }, { mem + 8192, 4096 }, { mem, 4096 });
}

static void test_attach_overlap_of_buffers(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s = bare_stream(r, 0);
    uint64_t mem = alloc_pages(r, 2);
    QVVEntry both[] = { { mem, 4096 }, { mem, 4096 } };
    GByteArray *set = qvv_set_new(RAW_SET);

    f.planes_layout = MULTI;
    set_raw_format(s, &f);
    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { 1, 1 }, 2, both, 2, 0);
    assert_set_error(s, set);
}

static void test_attach_id(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVEntry page = { alloc_pages(r, 1), 4096 };
    static const uint32_t ids[] = { 2, 32, 0x80000000, ~0u };

    set_num(s, CODED_SET, 2);
    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        GByteArray *set = qvv_set_new(CODED_SET);

        set_entries(set, ids[i], (uint32_t[]) { 1 }, 1, &page, 1, 0);
        assert_set_error(s, set);
    }
    assert_none_attached(s);
}

static void test_attach_no_resources(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVEntry page = { alloc_pages(r, 1), 4096 };
    GByteArray *set = qvv_set_new(CODED_SET);

    set_entries(set, 0, (uint32_t[]) { 1 }, 1, &page, 1, 0);
    assert_set_error(s, set);
}

static void assert_counts_error(TestStream *s, const uint32_t *counts,
                                unsigned n_counts, unsigned n_entries)
{
    GByteArray *set = qvv_set_new(CODED_SET);
    g_autofree QVVEntry *entries = g_new0(QVVEntry, n_entries);

    for (unsigned i = 0; i < n_entries; i++) {
        entries[i] = (QVVEntry) { ram_end() - (16 - i) * 4096, 4096 };
    }
    qvv_set_num_resources(set, 1);
    set_entries(set, 0, counts, n_counts, entries, n_entries, 0);
    assert_set_error(s, set);
    assert_none_attached(s);
}

/* Sums that are right only modulo 2^32, and counts of what isn't there */
static void test_attach_counts(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    const uint32_t half = 0x80000000;

    assert_counts_error(s, (uint32_t[]) { 2 }, 1, 1);
    assert_counts_error(s, (uint32_t[]) { 1 }, 1, 2);
    assert_counts_error(s, (uint32_t[]) { 1 }, 1, 0);
    assert_counts_error(s, (uint32_t[]) { ~0u }, 1, 1);
    assert_counts_error(s, (uint32_t[]) { ~0u, 2 }, 2, 1);
    assert_counts_error(s, (uint32_t[]) { half, half, 1 }, 3, 1);
    assert_counts_error(s, (uint32_t[]) { 0x10000001 }, 1, 1);
    assert_counts_error(s, (uint32_t[]) { 1, ~0u, 1 }, 3, 1);
    assert_counts_error(s, (uint32_t[]) { half, half, half, half, half, half,
                                         half, half }, 8, 0);
}

/* Coded data has no planes */
static void test_attach_coded_buffers(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint64_t mem = alloc_pages(r, 2);
    const QVVEntry both[] = { { mem, 4096 }, { mem + 4096, 4096 } };
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { 1, 1 }, 2, both, 2, 0);
    assert_set_error(s, set);
    assert_none_attached(s);
}

/* The second buffer is missing; the frame has no place then */
static void test_attach_missing_buffer(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    QVVEntry page = { alloc_pages(r, 2), 8192 };
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);

    f.planes_layout = MULTI;
    set_raw_format(s, &f);
    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { 1 }, 1, &page, 1, 0);
    set_params_flags(s, set);
    qvv_assert_error(r->d, get(s, 0));
}

static void test_attach_max_entries(Rig *r)
{
    uint64_t mem = alloc_pages(r, 16);
    TestStream *s = bare_stream(r, 0);
    QVVEntry e[5];

    for (unsigned i = 0; i < ARRAY_SIZE(e); i++) {
        e[i] = (QVVEntry) { mem + i * 8192, 4096 };
    }
    g_assert_cmphex(attach(s, e, 5), ==, F_ERROR);
    assert_none_attached(s);
    g_assert_cmphex(attach(s, e, 4), ==, F_OK);
}

static void test_attach_contiguous_only(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    uint64_t mem = alloc_pages(r, 2);
    const QVVEntry e[] = { { mem, 4096 }, { mem + 4096, 4096 } };

    g_assert_cmphex(r->d->features & FEATURE(RESOURCE_NON_CONTIG), ==, 0);
    g_assert_cmphex(attach(s, e, 2), ==, F_ERROR);
    assert_none_attached(s);
    g_assert_cmphex(attach(s, e, 1), ==, F_OK);
}

/* Each buffer may have one entry of its own, though */
static void test_attach_contiguous_buffers(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s;

    f.planes_layout = MULTI;
    s = test_stream_of(r, 0, &f, QVV_CONTIGUOUS);
    assert_decodes(s);
}

static void test_attach_padding(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    QVVEntry page = { alloc_pages(r, 1), 4096 };
    GByteArray *set = qvv_set_new(CODED_SET);

    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { 1 }, 1, &page, 1, ~0u);
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);
    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_cmphex(ev->params.attached, ==, 1);
    /* header, set, num_resources, pages: type, length, id and padding */
    g_assert_cmpuint(ev->len, ==, 16 + 8 + 12 + 16);
    g_assert_cmpuint(ldl_le_p(ev->raw + 16 + 8 + 12 + 4), ==, 8);
    g_assert_cmpuint(ldl_le_p(ev->raw + 16 + 8 + 12 + 8), ==, 0);
    g_assert_cmphex(ldl_le_p(ev->raw + 16 + 8 + 12 + 12), ==, 0);
}

static void fill_output(TestStream *s, unsigned res, uint8_t value)
{
    for (unsigned b = 0; b < s->out->res[res].n_buffers; b++) {
        const QVVBuffer *buf = &s->out->res[res].buffer[b];
        g_autofree uint8_t *data = g_malloc(buf->size);

        memset(data, value, buf->size);
        qvv_buffer_write(s->d, buf, 0, data, buf->size);
    }
}

static uint8_t *read_output(TestStream *s, unsigned res, unsigned buffer)
{
    const QVVBuffer *buf = &s->out->res[res].buffer[buffer];
    uint8_t *data = g_malloc(buf->size);

    qvv_buffer_read(s->d, buf, 0, data, buf->size);
    return data;
}

static void assert_output_is(TestStream *s, unsigned res, uint8_t value)
{
    for (unsigned b = 0; b < s->out->res[res].n_buffers; b++) {
        g_autofree uint8_t *data = read_output(s, res, b);

        for (uint64_t i = 0; i < s->out->res[res].buffer[b].size; i++) {
            g_assert_cmphex(data[i], ==, value);
        }
    }
}

/* Other memory for a resource that is not in use needs no drain */
static void test_attach_again(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    QVVPool *old = s->out;

    assert_decodes(s);
    fill_output(s, 0, 0xee);
    s->out = qvv_pool_new(r->d, 1, 1, s->layout.buffer_size, QVV_SCATTERED);
    qvv_set_pages(set, &s->out->res[0]);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    assert_decodes(s);

    qvv_pool_free(r->d, s->out);
    s->out = old;
    assert_output_is(s, 0, 0xee);
}

/* A resource in use: a change, and its old memory is left alone then */
static void test_attach_in_use(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    QVVPool *other;
    uint32_t out, flags;

    assert_decodes(s);
    out = get(s, 0);
    other = qvv_pool_new(r->d, 1, 1, s->layout.buffer_size, QVV_CONTIGUOUS);
    qvv_set_pages(set, &other->res[0]);
    flags = set_params_flags(s, set);
    if (flags == F_ERROR) {
        g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    } else {
        g_assert_cmphex(flags, ==, F_BLOCKED);
        expect(r->d, out, F_CANCELED);
        fill_output(s, 0, 0xee);
        out = get(s, 0);
        unblock(s);
        PUT(s, 0, 9, frame(8));
        qvv_assert_ok(r->d, out);
        assert_output_is(s, 0, 0xee);
    }
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
    qvv_pool_free(r->d, other);
}

/*
 * RESOURCE_QUEUE
 */

static void test_queue_not_attached(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, 0, 40));
    qvv_assert_error(r->d, get(s, 0));
    set_num(s, CODED_SET, 4);
    set_num(s, RAW_SET, 4);
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 3, 0, 0, 40));
    qvv_assert_error(r->d, get(s, 3));
}

static void test_queue_id(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    static const uint32_t ids[] = { N_INPUTS, 32, 0x80000000, ~0u };

    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        qvv_assert_error(r->d, qvv_queue_input(r->d, 0, ids[i], 0, 0, 40));
        qvv_assert_error(r->d, get(s, ids[i]));
    }
    assert_decodes(s);
}

static void test_queue_twice(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in, out;

    put_barrier(s);
    in = PUT(s, 1, 2, frame(2));
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 1, 3, 0, 40));
    qvv_assert_ok(r->d, get(s, 0));
    qvv_assert_ok(r->d, in);
    expect_frame(s, 0, get(s, 0), 2, 2);

    out = get(s, 2);
    qvv_assert_error(r->d, get(s, 2));
    PUT(s, 1, 4, frame(3));
    expect_frame(s, 2, out, 3, 4);
}

static void test_queue_input_bounds(Rig *r)
{
    static const uint32_t bad[][2] = {
        { 0, 4097 }, { 1, 4096 }, { 4096, 1 }, { 4097, 0 },
        { 0xffffffff, 1 }, { 1, 0xffffffff }, { 0xffffffd8, 40 },
        { 0x80000000, 0x80000000 }, { 0, 0xffffffff },
    };
    TestStream *s = test_stream(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, bad[i][0],
                                               bad[i][1]));
    }
    assert_decodes(s);
}

static void test_queue_input_empty(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(QVVEvent) ev = qvv_wait(r->d, qvv_queue_input(r->d, 0, 0, 0, 0,
                                                            0));

    g_assert_true(ev->flags == F_OK || ev->flags == F_ERROR);
    assert_decodes(s);
}

static void test_queue_input_offset(Rig *r)
{
    VideoTestInsn script[] = { HEADER, frame(33) };
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), in;

    insns_to_le(script, ARRAY_SIZE(script));
    qvv_buffer_write(r->d, &s->in->res[0].buffer[0], 4096 - sizeof(script),
                     script, sizeof(script));
    in = qvv_queue_input(r->d, 0, 0, 8, 4096 - sizeof(script),
                         sizeof(script));
    qvv_assert_ok(r->d, in);
    expect_frame(s, 0, out, 33, 8);
}

/* Once the command is taken, the guest may do with the memory what it wants */
static void test_queue_input_copied(Rig *r)
{
    static const uint8_t garbage[QVV_PAGE_SIZE] = { 1, 2, 3 };
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), in;

    PUT(s, 0, 1, insn(VIDEO_TEST_DELAY, 50), HEADER);
    in = PUT(s, 1, 2, frame(77));
    wait_commands(r->d);
    qvv_buffer_write(r->d, &s->in->res[1].buffer[0], 0, garbage,
                     sizeof(garbage));
    qvv_assert_ok(r->d, in);
    expect_frame(s, 0, out, 77, 2);
}

static void test_queue_output_too_small(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint64_t size = QVV_PAGE_SIZE;
    QVVPool *small = qvv_pool_new(r->d, 1, 1, &size, QVV_CONTIGUOUS);
    GByteArray *set = qvv_set_new(RAW_SET);

    qvv_set_pages(set, &small->res[0]);
    set_params_ok(s, set);
    qvv_assert_error(r->d, get(s, 0));
    PUT(s, 0, 3, HEADER, frame(1));
    expect_frame(s, 1, get(s, 1), 1, 3);
    qvv_pool_free(r->d, small);
}

static void test_queue_output_sizes(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    PUT(s, 0, 1, HEADER, frame(1));
    g_autoptr(QVVEvent) ev = qvv_wait(r->d, out);
    for (unsigned i = 0; i < VIRTIO_VIDEO_MAX_PLANES; i++) {
        bool used = i < s->layout.n_planes;

        g_assert_cmpuint(ev->offsets[i], ==, used ? s->layout.offset[i] : 0);
        g_assert_cmpuint(ev->data_sizes[i], ==,
                         used ? s->layout.stride[i] * s->layout.rows[i] : 0);
    }
}

/* What is not the frame's stays as the guest had it */
static void assert_rest_untouched(TestStream *s, unsigned res, uint8_t fill)
{
    for (unsigned b = 0; b < s->layout.n_buffers; b++) {
        g_autofree uint8_t *data = read_output(s, res, b);

        for (unsigned p = 0; p < s->layout.n_planes; p++) {
            uint8_t *plane = data + s->layout.offset[p];

            for (uint32_t y = 0; s->layout.buffer[p] == b &&
                                 y < s->layout.rows[p]; y++) {
                memset(plane + y * s->layout.stride[p], fill,
                       s->layout.row_bytes[p]);
            }
        }
        for (uint64_t i = 0; i < s->out->res[res].buffer[b].size; i++) {
            g_assert_cmphex(data[i], ==, fill);
        }
    }
}

static void check_format(Rig *r, const QVVRawFormat *f,
                         QVVPlacement placement)
{
    TestStream *s = test_stream_of(r, 0, f, placement);
    uint32_t out;

    g_assert_cmphex(s->raw.fourcc, ==, f->fourcc);
    g_assert_cmpuint(s->raw.planes_layout, ==, f->planes_layout);
    g_assert_cmpuint(s->raw.width, ==, f->width);
    g_assert_cmpuint(s->raw.height, ==, f->height);
    g_assert_cmpuint(s->raw.stride_align, ==, f->stride_align);
    g_assert_cmpuint(s->raw.height_align, ==, f->height_align);
    if (f->planes_layout == SINGLE) {
        g_assert_cmpuint(s->raw.plane_align, ==, f->plane_align);
    }
    fill_output(s, 1, 0xa5);
    out = get(s, 1);
    PUT(s, 0, 6, format(f->width, f->height), frame(200));
    expect_frame(s, 1, out, 200, 6);
    assert_rest_untouched(s, 1, 0xa5);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
}

static void check_layouts(Rig *r, uint32_t fourcc, uint32_t layout,
                          QVVPlacement placement)
{
    QVVRawFormat f = raw_format(fourcc, 50, 38);

    f.planes_layout = layout;
    check_format(r, &f, placement);
    f.stride_align = 256;
    f.height_align = 16;
    f.plane_align = 4096;
    check_format(r, &f, placement);
    f = raw_format(fourcc, 33, 17);
    f.planes_layout = layout;
    f.stride_align = 16;
    check_format(r, &f, placement);
}

static void test_queue_layout_single(Rig *r)
{
    check_layouts(r, VIDEO_TEST_NV12, SINGLE, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_YUV420, SINGLE, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_P010, SINGLE, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_XRGB8888, SINGLE, QVV_CONTIGUOUS);
}

static void test_queue_layout_multi(Rig *r)
{
    check_layouts(r, VIDEO_TEST_NV12, MULTI, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_YUV420, MULTI, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_P010, MULTI, QVV_CONTIGUOUS);
    check_layouts(r, VIDEO_TEST_XRGB8888, MULTI, QVV_CONTIGUOUS);
}

static void test_queue_layout_scattered(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_XRGB8888, 130, 70);

    check_layouts(r, VIDEO_TEST_NV12, SINGLE, QVV_SCATTERED);
    check_layouts(r, VIDEO_TEST_YUV420, MULTI, QVV_SCATTERED);
    check_layouts(r, VIDEO_TEST_P010, SINGLE, QVV_SCATTERED);
    check_format(r, &f, QVV_SCATTERED);
}

static void test_queue_presentation_order(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out[N_OUTPUTS];

    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        out[i] = get(s, i);
    }
    PUT(s, 0, 10, HEADER, insn(VIDEO_TEST_REORDER, 2), frame_at(1, 1));
    PUT(s, 1, 40, frame_at(4, 4));
    PUT(s, 2, 20, frame_at(2, 2));
    PUT(s, 3, 30, frame_at(3, 3));
    qvv_drain(r->d, 0);
    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        expect_frame(s, i, out[i], i + 1, 10 * (i + 1));
    }
}

static void test_queue_timestamp(Rig *r)
{
    static const uint64_t times[] = { 0, 1, ~0ull, 1ull << 63 };
    TestStream *s = test_stream(r, 0);

    for (unsigned i = 0; i < ARRAY_SIZE(times); i++) {
        uint32_t out = get(s, i);

        PUT(s, i, times[i], HEADER, frame(i));
        expect_frame(s, i, out, i, times[i]);
    }
}

static void test_queue_corrupt_frame(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    PUT(s, 0, 12, HEADER, corrupt_frame(5));
    g_autoptr(QVVEvent) ev = qvv_wait(r->d, out);
    g_assert_cmphex(ev->flags, ==, F_ERROR);
    g_assert_cmpuint(ev->timestamp, ==, 12);
    assert_decodes(s);
}

static void test_queue_bad_data(Rig *r)
{
    static const uint8_t garbage[64] = { 0, 0, 0, 1, 0x67 };
    TestStream *s = test_stream(r, 0);

    /* No parameter set yet, an explicit error, and no script at all */
    qvv_assert_error(r->d, PUT(s, 0, 0, frame(1)));
    qvv_assert_error(r->d, PUT(s, 0, 0, HEADER, insn(VIDEO_TEST_BAD, 0)));
    qvv_buffer_write(r->d, &s->in->res[0].buffer[0], 0, garbage,
                     sizeof(garbage));
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, 0, 64));
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, 0, 3));
    assert_decodes(s);
}

static void test_queue_many_frames(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out[3];

    for (unsigned i = 0; i < 3; i++) {
        out[i] = get(s, i);
    }
    PUT(s, 0, 5, HEADER, frame(1), frame(2), frame(3));
    for (unsigned i = 0; i < 3; i++) {
        expect_frame(s, i, out[i], 1 + i, 5);
    }
}

static void test_queue_no_frame(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    for (unsigned i = 0; i < N_INPUTS; i++) {
        qvv_assert_ok(r->d, PUT(s, i, 0, HEADER));
    }
    qvv_assert_quiet(r->d, QUIET);
    PUT(s, 0, 5, frame(1));
    expect_frame(s, 0, out, 1, 5);
}

static void test_queue_busy_codec(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1);
    uint32_t in = PUT(s, 0, 5, HEADER, frame(1), insn(VIDEO_TEST_AGAIN, 2),
                      frame(2));

    EXPECT_ORDER(r->d, { out0, F_OK }, { out1, F_OK });
    assert_pixels(s, 1, 2);
    assert_decodes(s);
    g_assert_cmpuint(in, !=, 0);
}

static void test_queue_frames_wait(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    PUT(s, 0, 5, HEADER, frame(1), frame(2));
    PUT(s, 1, 6, frame(3));
    g_usleep(10 * MS);
    expect_frame(s, 0, get(s, 0), 1, 5);
    expect_frame(s, 0, get(s, 0), 2, 5);
    expect_frame(s, 0, get(s, 0), 3, 6);
}

static void test_queue_long_run(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out[2] = { get(s, 0), get(s, 1) };

    for (unsigned i = 0; i < 100; i++) {
        uint32_t in = PUT(s, i % N_INPUTS, i, HEADER, frame(i));

        expect_frame(s, i % 2, out[i % 2], i, i);
        out[i % 2] = get(s, i % 2);
        qvv_assert_ok(r->d, in);
    }
}

static void test_queue_32(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, 16, 16);
    TestStream *s = bare_stream(r, 0);
    uint32_t out[32], in[32];

    add_inputs_of(s, 32, QVV_PAGE_SIZE);
    set_raw_format(s, &f);
    add_outputs(s, 32, QVV_SCATTERED);
    qvv_hold(r->d);
    for (unsigned i = 0; i < 32; i++) {
        out[i] = get(s, i);
        in[i] = PUT(s, i, i, format(16, 16), frame(i));
    }
    qvv_flush(r->d);
    for (unsigned i = 0; i < 32; i++) {
        qvv_assert_ok(r->d, in[i]);
        expect_frame(s, i, out[i], i, i);
    }
}

static void test_queue_streams_apart(Rig *r)
{
    TestStream *s[4];
    uint32_t out[4];

    for (unsigned i = 0; i < 4; i++) {
        s[i] = test_stream(r, 3 * i);
        out[i] = get(s[i], i);
    }
    for (unsigned i = 0; i < 4; i++) {
        PUT(s[i], 0, 100 + i, HEADER, frame(50 * i));
    }
    for (unsigned i = 4; i-- > 0;) {
        expect_frame(s[i], i, out[i], 50 * i, 100 + i);
    }
}

/*
 * DRAIN
 */

static void test_drain_frames_first(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out[3], in, drain;

    for (unsigned i = 0; i < 3; i++) {
        out[i] = get(s, i);
    }
    in = PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_REORDER, 8), frame_at(1, 1),
             frame_at(3, 3), frame_at(2, 2), insn(VIDEO_TEST_DELAY, 10));
    drain = qvv_drain(r->d, 0);
    EXPECT_ORDER(r->d, { in, F_OK }, { out[0], F_OK }, { out[1], F_OK },
                 { out[2], F_OK }, { drain, F_OK });
    for (unsigned i = 0; i < 3; i++) {
        assert_pixels(s, i, i + 1);
    }
}

/* The drain can't end for want of an output; nothing may overtake it */
static void test_drain_later_commands(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, in, params, again, out0, out1;

    PUT(s, 0, 1, HEADER, frame(1));
    drain = qvv_drain(r->d, 0);
    params = qvv_get_params(r->d, 0, INPUT, CODED_SET);
    in = PUT(s, 1, 2, frame(2));
    again = qvv_drain(r->d, 0);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    out0 = get(s, 0);
    EXPECT_ORDER(r->d, { out0, F_OK }, { drain, F_OK }, { params, F_OK },
                 { in, F_OK });
    out1 = get(s, 1);
    EXPECT_ORDER(r->d, { out1, F_OK }, { again, F_OK });
    assert_pixels(s, 0, 1);
    assert_pixels(s, 1, 2);
}

static void test_drain_keeps_parameter_sets(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    assert_decodes(s);
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    PUT(s, 0, 7, frame(70));
    expect_frame(s, 1, get(s, 1), 70, 7);
}

static void test_drain_idle(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    add_inputs(s);
    PUT(s, 0, 0, HEADER);
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
}

static void test_drain_canceled(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, reset;

    PUT(s, 0, 1, HEADER, frame(1));
    drain = qvv_drain(r->d, 0);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { reset, F_OK });
    assert_decodes(s);
}

static void test_drain_close(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, close;

    PUT(s, 0, 1, HEADER, frame(1));
    drain = qvv_drain(r->d, 0);
    close = qvv_close(r->d, 0);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { close, F_OK });
}

static void test_drain_output_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, reset, out;

    PUT(s, 0, 1, HEADER, frame(1), frame(2));
    drain = qvv_drain(r->d, 0);
    qvv_assert_ok(r->d, get(s, 0));
    reset = qvv_queue_reset(r->d, 0, OUTPUT);
    qvv_assert_ok(r->d, reset);
    out = get(s, 1);
    EXPECT_ORDER(r->d, { out, F_OK }, { drain, F_OK });
}

/*
 * QUEUE_RESET
 */

static void test_reset_input_cancels(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);
    uint32_t in0 = hang(s, 0);
    uint32_t in1 = PUT(s, 1, 0, HEADER, frame(1));
    uint32_t drain = qvv_drain(r->d, 0);
    uint32_t getp = qvv_get_params(r->d, 0, INPUT, CODED_SET);
    uint32_t setp = qvv_set_params(r->d, 0, INPUT, set);
    uint32_t in2 = PUT(s, 2, 0, frame(2));
    uint32_t reset = qvv_queue_reset(r->d, 0, INPUT);

    EXPECT_ORDER(r->d, { in0, F_CANCELED }, { in1, F_CANCELED },
                 { drain, F_CANCELED }, { getp, F_CANCELED },
                 { setp, F_CANCELED }, { in2, F_CANCELED }, { reset, F_OK });
    /* The other queue has nothing to do with it */
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    PUT(s, 1, 4, HEADER, frame(44));
    expect_frame(s, 0, out, 44, 4);
}

static void test_reset_output_cancels(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1), out2 = get(s, 2);
    uint32_t reset = qvv_queue_reset(r->d, 0, OUTPUT);

    EXPECT_ORDER(r->d, { out0, F_CANCELED }, { out1, F_CANCELED },
                 { out2, F_CANCELED }, { reset, F_OK });
    assert_decodes(s);
}

static void test_reset_idle(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, OUTPUT));
    assert_decodes(s);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, OUTPUT));
    assert_decodes(s);
}

static void test_reset_bad_queue(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    qvv_assert_error(r->d, qvv_queue_reset(r->d, 0, MAIN));
    qvv_assert_error(r->d, qvv_queue_reset(r->d, 0, 3));
    qvv_assert_error(r->d, qvv_queue_reset(r->d, 0, ~0u));
    PUT(s, 0, 4, HEADER, frame(3));
    expect_frame(s, 0, out, 3, 4);
}

static void test_reset_input_without_outputs(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    for (unsigned i = 0; i < N_INPUTS; i++) {
        PUT(s, i, 0, HEADER, frame(i), frame(i));
    }
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    assert_decodes(s);
}

static void test_reset_keeps_parameter_sets(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out;

    assert_decodes(s);
    hang(s, 0);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    out = get(s, 1);
    qvv_assert_ok(r->d, PUT(s, 0, 7, frame(70)));
    expect_frame(s, 1, out, 70, 7);
}

static void test_reset_drops_frames(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out;

    qvv_assert_ok(r->d, PUT(s, 0, 1, HEADER, insn(VIDEO_TEST_REORDER, 3),
                            frame_at(1, 1), frame_at(2, 2)));
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    out = get(s, 0);
    PUT(s, 0, 9, frame_at(3, 3));
    qvv_drain(r->d, 0);
    expect_frame(s, 0, out, 3, 9);
}

static void test_reset_output_keeps_frames(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    PUT(s, 0, 1, HEADER, frame(1), frame(2));
    expect_frame(s, 0, get(s, 0), 1, 1);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, OUTPUT));
    expect_frame(s, 1, get(s, 1), 2, 1);
}

static void test_reset_hanging_codec(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    int64_t began = g_get_monotonic_time();
    uint32_t in;

    in = hang_hard(s, 0, 1000);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, INPUT));
    qvv_assert_canceled(r->d, in);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 900 * MS);
    assert_decodes(s);
}

/* Taken back in the midst of a frame: not a byte is written afterwards */
static void test_reset_output_while_writing(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0);

    fill_output(s, 0, 0xee);
    PUT(s, 0, 3, HEADER, insn(VIDEO_TEST_SLOW_EMIT, 30), frame(1));
    g_usleep(45 * MS);
    qvv_assert_ok(r->d, qvv_queue_reset(r->d, 0, OUTPUT));
    qvv_assert_canceled(r->d, out);
    fill_output(s, 0, 0xdd);
    g_usleep(60 * MS);
    assert_output_is(s, 0, 0xdd);
    expect_frame(s, 1, get(s, 1), 1, 3);
    assert_output_is(s, 0, 0xdd);
}

/* Half a frame is no frame: the output gets the next one */
static void test_reset_input_while_writing(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), reset;

    PUT(s, 0, 3, HEADER, insn(VIDEO_TEST_SLOW_EMIT, 40), frame(1));
    g_usleep(60 * MS);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    PUT(s, 1, 4, HEADER, insn(VIDEO_TEST_SLOW_EMIT, 0), frame(2));
    for (bool is_reset = false; !is_reset;) {
        g_autoptr(QVVEvent) ev = qvv_next(r->d, SOON);

        g_assert_nonnull(ev);
        is_reset = ev->cookie == reset;
        if (ev->cookie == out) {
            return;             /* it was whole just before the reset */
        }
    }
    expect_frame(s, 0, out, 2, 4);
}

static void test_reset_often(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    for (unsigned i = 0; i < 50; i++) {
        uint32_t in = PUT(s, 0, i, HEADER, insn(VIDEO_TEST_DELAY, i % 3),
                          frame(i));
        uint32_t out = get(s, 0);
        uint32_t reset_in = qvv_queue_reset(r->d, 0, INPUT);
        uint32_t reset_out = qvv_queue_reset(r->d, 0, OUTPUT);
        g_autoptr(QVVEvent) in_done = qvv_wait(r->d, in);
        g_autoptr(QVVEvent) out_done = qvv_wait(r->d, out);

        g_assert_true(in_done->flags == F_OK || in_done->flags == F_CANCELED);
        g_assert_true(out_done->flags == F_OK ||
                      out_done->flags == F_CANCELED);
        qvv_assert_ok(r->d, reset_in);
        qvv_assert_ok(r->d, reset_out);
    }
    assert_decodes(s);
}

/*
 * Dynamic parameters change (DPC)
 */

static QVVEvent *wait_dpc(TestStream *s)
{
    QVVEvent *ev = qvv_wait_standalone(s->d,
                                       VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS);

    g_assert_cmpuint(ev->stream, ==, s->id);
    g_assert_true(ev->has_params);
    g_assert_cmpuint(ev->params.container, ==, RAW_SET);
    g_assert_true(qvv_params_has(&ev->params, VIRTIO_VIDEO_TLV_RAW_FORMAT));
    g_assert_true(qvv_params_has(&ev->params, VIRTIO_VIDEO_TLV_CROP));
    return ev;
}

/* A DPC that blocks, to a frame of that size */
static void expect_dpc(TestStream *s, uint32_t width, uint32_t height)
{
    g_autoptr(QVVEvent) ev = wait_dpc(s);

    g_assert_cmphex(ev->flags, ==, F_STANDALONE | F_BLOCKED);
    g_assert_cmpuint(ev->params.raw.width, ==, width);
    g_assert_cmpuint(ev->params.raw.height, ==, height);
    s->raw = ev->params.raw;
    g_assert_true(qvv_layout(&s->layout, &s->raw));
}

/* As a driver does it: new buffers for the new format, then on */
static void follow_dpc(TestStream *s)
{
    add_outputs(s, N_OUTPUTS, QVV_CONTIGUOUS);
    unblock(s);
}

static void test_dpc_first_header_same(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in = PUT(s, 0, 0, HEADER, frame(1));
    uint32_t out = get(s, 0);

    qvv_assert_ok(r->d, in);
    qvv_assert_ok(r->d, out);
    qvv_assert_quiet(r->d, QUIET);
}

static void test_dpc_first_header_other(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in = PUT(s, 0, 4, format(96, 80), frame(1));

    expect_dpc(s, 96, 80);
    qvv_assert_ok(r->d, in);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 4);
}

/* A driver that waits for the DPC before it has any output at all */
static void test_dpc_before_outputs(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    add_inputs(s);
    PUT(s, 0, 4, format(96, 80), frame(1));
    expect_dpc(s, 96, 80);
    add_outputs(s, 2, QVV_SCATTERED);
    unblock(s);
    expect_frame(s, 0, get(s, 0), 1, 4);
}

static void test_dpc_blocks(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out;

    PUT(s, 0, 4, format(96, 80), frame(1));
    expect_dpc(s, 96, 80);
    add_outputs(s, N_OUTPUTS, QVV_CONTIGUOUS);
    out = get(s, 0);
    g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
    unblock(s);
    expect_frame(s, 0, out, 1, 4);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
}

static void test_dpc_earlier_frames_first(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1);

    PUT(s, 0, 4, HEADER, insn(VIDEO_TEST_REORDER, 8), frame_at(1, 1),
        frame_at(2, 2));
    PUT(s, 1, 5, format(96, 80), insn(VIDEO_TEST_REORDER, 0), frame(3));
    EXPECT_ORDER(r->d, { out0, F_OK }, { out1, F_OK });
    assert_pixels(s, 0, 1);
    assert_pixels(s, 1, 2);
    expect_dpc(s, 96, 80);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 3, 5);
}

/* It waits for the outputs that the frames before it need */
static void test_dpc_waits_for_outputs(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    PUT(s, 0, 4, HEADER, frame(1), format(96, 80), frame(2));
    g_usleep(20 * MS);
    expect_frame(s, 0, get(s, 0), 1, 4);
    expect_dpc(s, 96, 80);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 2, 4);
}

static void test_dpc_small_outputs_canceled(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1);

    PUT(s, 0, 4, format(128, 128), frame(1));
    expect_dpc(s, 128, 128);
    EXPECT_ORDER(r->d, { out0, F_CANCELED }, { out1, F_CANCELED });
    /* Those that come too late are no better */
    expect(r->d, get(s, 2), F_CANCELED);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 4);
}

static void test_dpc_large_outputs_used(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0);

    PUT(s, 0, 4, format(32, 32), frame(1));
    expect_dpc(s, 32, 32);
    g_assert_cmpuint(count_answers(r->d, out0, QUIET), ==, 0);
    unblock(s);
    expect_frame(s, 0, out0, 1, 4);
}

static void test_dpc_crop_only(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out0 = get(s, 0), out1 = get(s, 1);

    PUT(s, 0, 4, HEADER, frame(1),
        format_crop(WIDTH, HEIGHT, 8, 4, 40, 30, 8), frame(2));
    g_autoptr(QVVEvent) ev = wait_dpc(s);
    g_assert_cmphex(ev->flags, ==, F_STANDALONE);
    g_assert_cmpuint(ev->params.crop.left, ==, 8);
    g_assert_cmpuint(ev->params.crop.top, ==, 4);
    g_assert_cmpuint(ev->params.crop.width, ==, 40);
    g_assert_cmpuint(ev->params.crop.height, ==, 30);
    expect_frame(s, 0, out0, 1, 4);
    expect_frame(s, 1, out1, 2, 4);
}

static void assert_crop(const QVVParams *p, uint32_t left, uint32_t top,
                        uint32_t width, uint32_t height)
{
    g_assert_cmpuint(p->crop.left, ==, left);
    g_assert_cmpuint(p->crop.top, ==, top);
    g_assert_cmpuint(p->crop.width, ==, width);
    g_assert_cmpuint(p->crop.height, ==, height);
}

static void test_dpc_crop_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(QVVEvent) first = NULL;
    g_autoptr(QVVEvent) second = NULL;
    g_autoptr(QVVEvent) now = NULL;

    PUT(s, 0, 4, format_crop(96, 80, 2, 2, 90, 70, 8), frame(1));
    first = wait_dpc(s);
    assert_crop(&first->params, 2, 2, 90, 70);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 4);
    PUT(s, 0, 5, format(128, 64), frame(2));
    second = wait_dpc(s);
    assert_crop(&second->params, 0, 0, 128, 64);
    now = get_params(s, RAW_SET);
    assert_crop(&now->params, 0, 0, 128, 64);
}

/* A size that the driver sets makes the crop the full frame */
static void test_crop_reset_by_set_params(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, 200, 100);
    TestStream *s = bare_stream(r, 0);

    set_raw_format(s, &f);
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    assert_crop(&ev->params, 0, 0, 200, 100);
}

static void test_dpc_two(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    PUT(s, 0, 1, format(96, 80), frame(1), format(32, 16), frame(2));
    PUT(s, 1, 2, format(96, 80), frame(3));
    expect_dpc(s, 96, 80);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 1);
    expect_dpc(s, 32, 16);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 2, 1);
    expect_dpc(s, 96, 80);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 3, 2);
}

static void test_dpc_during_drain(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, out;

    PUT(s, 0, 1, format(96, 80), insn(VIDEO_TEST_REORDER, 4), frame(1));
    drain = qvv_drain(r->d, 0);
    expect_dpc(s, 96, 80);
    g_assert_cmpuint(count_answers(r->d, drain, QUIET), ==, 0);
    follow_dpc(s);
    out = get(s, 0);
    EXPECT_ORDER(r->d, { out, F_OK }, { drain, F_OK });
    assert_pixels(s, 0, 1);
}

static void test_dpc_close(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, close;

    PUT(s, 0, 1, format(96, 80), frame(1));
    drain = qvv_drain(r->d, 0);
    expect_dpc(s, 96, 80);
    close = qvv_close(r->d, 0);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { close, F_OK });
    s = test_stream(r, 0);
    assert_decodes(s);
}

static void test_dpc_input_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain, reset, out;

    PUT(s, 0, 1, format(96, 80), frame(1));
    drain = qvv_drain(r->d, 0);
    expect_dpc(s, 96, 80);
    reset = qvv_queue_reset(r->d, 0, INPUT);
    EXPECT_ORDER(r->d, { drain, F_CANCELED }, { reset, F_OK });
    /* The format stays changed, and blocked it stays too */
    follow_dpc(s);
    out = get(s, 0);
    PUT(s, 0, 2, frame(2));
    expect_frame(s, 0, out, 2, 2);
}

static void test_dpc_output_reset(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out = get(s, 0), reset;

    PUT(s, 0, 1, format(32, 16), frame(1));
    expect_dpc(s, 32, 16);
    reset = qvv_queue_reset(r->d, 0, OUTPUT);
    EXPECT_ORDER(r->d, { out, F_CANCELED }, { reset, F_OK });
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 1);
}

/* The driver chose nothing: 10 bits come as a format that has them */
static void test_dpc_10_bit(Rig *r)
{
    TestStream *s = bare_stream(r, 0);

    add_inputs(s);
    PUT(s, 0, 1, format_crop(96, 80, 0, 0, 96, 80, 10), frame(1));
    expect_dpc(s, 96, 80);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_P010);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 1);
}

static void test_dpc_chosen_fourcc(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_XRGB8888, WIDTH, HEIGHT);
    TestStream *s = test_stream_of(r, 0, &f, QVV_CONTIGUOUS);

    PUT(s, 0, 1, format_crop(96, 80, 0, 0, 96, 80, 10), frame(1));
    expect_dpc(s, 96, 80);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_XRGB8888);
    follow_dpc(s);
    expect_frame(s, 0, get(s, 0), 1, 1);
}

/* SET_PARAMS while blocked by a DPC: still one UNBLOCK for all */
static void test_dpc_set_params(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    QVVRawFormat f;
    uint32_t flags;

    PUT(s, 0, 1, format(96, 80), frame(1));
    expect_dpc(s, 96, 80);
    f = s->raw;
    f.fourcc = VIDEO_TEST_YUV420;
    qvv_set_raw_format(set, &f);
    flags = set_params_flags(s, set);
    g_assert_cmphex(flags & ~F_BLOCKED, ==, F_OK);
    add_outputs(s, N_OUTPUTS, QVV_CONTIGUOUS);
    g_assert_cmphex(s->raw.fourcc, ==, VIDEO_TEST_YUV420);
    unblock(s);
    qvv_assert_error(r->d, qvv_unblock(r->d, 0));
    expect_frame(s, 0, get(s, 0), 1, 1);
}

/*
 * Stream errors
 */

static void expect_stream_error(QVVDriver *d, uint32_t stream)
{
    g_autoptr(QVVEvent) ev =
        qvv_wait_standalone(d, VIRTIO_VIDEO_CMD_STREAM_CLOSE);

    g_assert_cmphex(ev->flags, ==, F_STANDALONE | F_ERROR);
    g_assert_cmpuint(ev->stream, ==, stream);
    g_assert_cmpuint(ev->len, ==, 16);
}

static void test_error_cancels(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t cookies[3];

    /* The codec gets the second input when the first one's frame is out */
    PUT(s, 0, 1, HEADER, frame(1));
    PUT(s, 1, 1, fail("the test said so"));
    cookies[0] = PUT(s, 2, 2, frame(1));
    cookies[1] = qvv_drain(r->d, 0);
    qvv_hold(r->d);
    get(s, 0);
    cookies[2] = get(s, 1);
    qvv_flush(r->d);
    for (unsigned canceled = 0; canceled < ARRAY_SIZE(cookies);) {
        g_autoptr(QVVEvent) ev = qvv_next(r->d, SOON);

        g_assert_nonnull(ev);
        g_assert_false(ev->flags & F_STANDALONE);
        for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
            if (ev->cookie == cookies[i]) {
                g_assert_cmphex(ev->flags, ==, F_CANCELED);
                canceled++;
            }
        }
    }
    expect_stream_error(r->d, 0);
}

static void test_error_closes(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    assert_decodes(s);
    PUT(s, 0, 1, fail("the test said so"));
    expect_stream_error(r->d, 0);
    assert_all_commands_fail(r, 0);
    assert_device_works(r);
}

static void test_error_other_streams(Rig *r)
{
    TestStream *bad = test_stream(r, 0);
    TestStream *good = test_stream(r, 1);

    PUT(bad, 0, 1, fail("the test said so"));
    expect_stream_error(r->d, 0);
    assert_decodes(good);
}

/* Whether it's started at once or with the first work to do */
static void test_error_no_start(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);

    add_inputs(s);
    qvv_set_coded_format(set, VIRTIO_VIDEO_CODED_FORMAT_VP9);
    qvv_set_params(r->d, s->id, MAIN, set);
    PUT(s, 0, 0, insn(VIDEO_TEST_NOP, 0));
    expect_stream_error(r->d, 0);
    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
}

/* max-width=640, max-height=480 */
static void test_error_frame_too_large(Rig *r)
{
    static const uint32_t sizes[][2] = { { 656, 480 }, { 640, 496 } };
    TestStream *s;

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        s = test_stream(r, 0);
        PUT(s, 0, 1, format(sizes[i][0], sizes[i][1]), frame(1));
        expect_stream_error(r->d, 0);
    }
    s = test_stream(r, 0);
    PUT(s, 0, 1, format(640, 480), frame(1));
    expect_dpc(s, 640, 480);
}

/* The failure comes while the output queue is blocked */
static void test_error_while_blocked(Rig *r)
{
    QVVRawFormat f = other_format();
    TestStream *s = test_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    uint32_t out;

    qvv_set_raw_format(set, &f);
    g_assert_cmphex(set_params_flags(s, set), ==, F_BLOCKED);
    out = get(s, 0);
    PUT(s, 1, 1, fail("blocked"));
    expect(r->d, out, F_CANCELED);
    expect_stream_error(r->d, 0);
    assert_device_works(r);
}

/*
 * Events
 */

static void test_events_wait(Rig *r)
{
    uint32_t open = qvv_open(r->d, 0, DECODER);
    uint32_t params = qvv_get_params(r->d, 0, MAIN, RAW_SET);

    qvv_assert_quiet(r->d, QUIET);
    g_assert_cmpuint(qvv_post_events(r->d, 2), ==, 2);
    EXPECT_ORDER(r->d, { open, F_OK }, { params, F_OK });
}

/* One buffer at a time, and the order stays */
static void test_events_order(Rig *r)
{
    uint32_t cookies[6];

    for (unsigned i = 0; i < 6; i++) {
        cookies[i] = i % 2 ? qvv_close(r->d, 0) : qvv_open(r->d, 0, DECODER);
    }
    for (unsigned i = 0; i < 6; i++) {
        qvv_post_events(r->d, 1);
        EXPECT_ORDER(r->d, { cookies[i], F_OK });
    }
}

static void test_events_small_buffer(Rig *r)
{
    uint32_t params;

    qvv_assert_ok(r->d, qvv_open(r->d, 0, DECODER));
    params = qvv_get_params(r->d, 0, MAIN, RAW_SET);
    g_autoptr(QVVEvent) ev = qvv_wait(r->d, params);
    g_assert_cmphex(ev->type, ==, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS);
    g_assert_cmphex(ev->flags, ==, F_ERROR);
    g_assert_cmpuint(ev->len, ==, 16);
    qvv_assert_ok(r->d, qvv_drain(r->d, 0));
}

static void test_events_tiny_buffer(Rig *r)
{
    qvv_open(r->d, 0, DECODER);
    assert_broken_then_restart(r, NULL);
    assert_device_works(r);
}

/* max-events is 8 here */
static void test_events_bound(Rig *r)
{
    int64_t end = g_get_monotonic_time() + SOON;
    uint32_t cookies[24];
    unsigned left;

    for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
        cookies[i] = qvv_close(r->d, i);
    }
    while (qvv_cmds_in_flight(r->d) > 24 - 8 + 1) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS);
    }
    qvv_assert_quiet(r->d, QUIET);
    left = qvv_cmds_in_flight(r->d);
    g_assert_cmpuint(left, >=, 24 - 8 - 1);
    for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
        qvv_post_events(r->d, 1);
        EXPECT_ORDER(r->d, { cookies[i], F_ERROR });
    }
    g_assert_cmpuint(qvv_cmds_in_flight(r->d), ==, 0);
}

/* The codec's events wait, too, and none is lost */
static void test_events_bound_frames(Rig *r)
{
    TestStream *s;
    uint32_t in[N_INPUTS], out[N_OUTPUTS];

    qvv_post_events(r->d, 40);
    s = test_stream(r, 0);
    while (r->d->eventq.num_free < r->d->eventq.vq->size) {
        qvv_assert_ok(r->d, qvv_drain(r->d, 0));
    }
    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        out[i] = get(s, i);
    }
    for (unsigned i = 0; i < N_INPUTS; i++) {
        in[i] = PUT(s, i, i, HEADER, frame(i));
    }
    qvv_assert_quiet(r->d, QUIET);
    qvv_post_events(r->d, 40);
    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        qvv_assert_ok(r->d, in[i]);
        expect_frame(s, i, out[i], i, i);
    }
}

static void test_events_reset_while_waiting(Rig *r)
{
    for (unsigned i = 0; i < 24; i++) {
        qvv_open(r->d, i, DECODER);
    }
    qvv_assert_quiet(r->d, QUIET);
    qvv_stop(r->d);
    wait_threads(r, r->threads);
    start(r, NULL);
    qvv_assert_quiet(r->d, QUIET);
    assert_device_works(r);
}

/* Fill the posted event buffers, so that what isn't written shows */
static void poison_events(QVVDriver *d)
{
    g_autofree uint8_t *ones = g_malloc(d->opts.event_size);

    memset(ones, 0xff, d->opts.event_size);
    for (unsigned i = 0; i < d->eventq.vq->size; i++) {
        if (d->event_mem[i]) {
            qvv_ram_write(&d->ram, d->event_mem[i], ones, d->opts.event_size);
        }
    }
}

static void test_events_padding(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t out, in;

    poison_events(r->d);
    out = get(s, 0);
    in = PUT(s, 0, 1, HEADER, frame(1));
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, i ? out : in);
        uint32_t planes = i ? s->layout.n_planes : 0;

        g_assert_cmpuint(ev->len, ==, 96);
        g_assert_cmphex(ev->queue_flags, ==, 0);
        g_assert_cmphex(ldl_le_p(ev->raw + 20), ==, 0);
        for (unsigned p = planes ? planes : 1; p < 8; p++) {
            g_assert_cmphex(ev->offsets[p], ==, 0);
            g_assert_cmphex(ev->data_sizes[p], ==, 0);
        }
    }
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);
    for (uint32_t at = 24; at < ev->len; at += 8 + ldl_le_p(ev->raw + at + 4)) {
        if (ldl_le_p(ev->raw + at) == VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES) {
            g_assert_cmpuint(ldl_le_p(ev->raw + at + 4), ==, 8);
            g_assert_cmphex(ldl_le_p(ev->raw + at + 12), ==, 0);
        }
    }
}

/* Whether the driver gets an interrupt for an event that comes by itself */
static bool interrupt_for_event(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in = PUT(s, 0, 0, insn(VIDEO_TEST_DELAY, 150));

    wait_commands(r->d);
    qvv_interrupt(r->d);
    qvv_assert_ok(r->d, in);
    g_usleep(5 * MS);
    return qvv_interrupt(r->d);
}

static void test_events_interrupt(Rig *r)
{
    g_assert_true(interrupt_for_event(r));
}

static void test_events_no_interrupt(Rig *r)
{
    g_assert_false(interrupt_for_event(r));
}

/*
 * Limits
 */

/* max-coded-size is 4096 here */
static void test_limits_coded_size(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    g_autoptr(QVVCaps) caps = query_caps(r);
    QVVEntry two_pages = { alloc_pages(r, 2), 8192 };

    g_assert_cmpuint(caps->coded[0].resource_size.max, ==, 4096);
    ATTACH_ERROR(s, two_pages);
    g_assert_cmphex(set_num(s, CODED_SET, 0), ==, 0);
    add_inputs(s);
    qvv_assert_error(r->d, qvv_queue_input(r->d, 0, 0, 0, 0, 4097));
    qvv_assert_ok(r->d, PUT(s, 0, 0, insn(VIDEO_TEST_NOP, 0)));
}

/* max-mem is 64 KiB here: coded bytes that wait are held in host memory */
static void test_limits_memory(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    unsigned errors = 0;
    uint32_t in[8];

    add_inputs_of(s, 9, 16384);
    hang(s, 8);
    for (unsigned i = 0; i < 8; i++) {
        in[i] = qvv_queue_input(r->d, 0, i, 0, 0, 16384);
    }
    qvv_queue_reset(r->d, 0, INPUT);
    for (unsigned i = 0; i < 8; i++) {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, in[i]);

        errors += ev->flags == F_ERROR;
        g_assert_true(ev->flags == F_ERROR || ev->flags == F_CANCELED);
    }
    g_assert_cmpuint(errors, >=, 4);
    g_assert_cmpuint(errors, <, 8);
    /* It's given back: the same again */
    hang(s, 8);
    in[0] = qvv_queue_input(r->d, 0, 0, 0, 0, 16384);
    qvv_queue_reset(r->d, 0, INPUT);
    qvv_assert_canceled(r->d, in[0]);
}

/* So are the pieces of a resource: these are too many for it */
static void test_limits_memory_of_resource(Rig *r)
{
    TestStream *s = bare_stream(r, 0);
    const unsigned n = 4000;
    uint64_t mem = alloc_pages(r, 2 * n);
    g_autofree QVVEntry *entries = g_new(QVVEntry, n);

    for (unsigned i = 0; i < n; i++) {
        entries[i] = (QVVEntry) { mem + i * 8192, 4096 };
    }
    g_assert_cmphex(attach(s, entries, n), ==, F_ERROR);
    assert_none_attached(s);
    g_assert_cmphex(attach(s, entries, 10), ==, F_OK);
}

/* More commands than the device keeps for a stream: none is lost, though */
static void test_limits_commands(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autoptr(GByteArray) set = qvv_set_new(CODED_SET);
    uint32_t reset, cookies[400];
    unsigned errors = 0;

    hang(s, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
        cookies[i] = i % 4 == 0 ? qvv_get_params(r->d, 0, INPUT, RAW_SET) :
                     i % 4 == 1 ? qvv_set_params(r->d, 0, INPUT, set) :
                                  qvv_drain(r->d, 0);
    }
    reset = qvv_queue_reset(r->d, 0, INPUT);
    for (unsigned i = 0; i < ARRAY_SIZE(cookies); i++) {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, cookies[i]);

        errors += ev->flags == F_ERROR;
        g_assert_true(ev->flags == F_ERROR || ev->flags == F_CANCELED);
    }
    g_assert_cmpuint(errors, >, 0);
    g_assert_cmpuint(errors, <=, 200);
    qvv_assert_ok(r->d, reset);
    assert_decodes(s);
}

/*
 * max-streams is 1 here.  Resets don't wait for codecs that hang, so there can
 * be more of them than streams; but not any number.
 */
static void test_limits_closing_streams(Rig *r)
{
    int64_t end = g_get_monotonic_time() + 2 * SOON;
    uint32_t flags = F_OK;
    unsigned n;

    for (n = 0; n < 10; n++) {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, qvv_open(r->d, 0, DECODER));
        TestStream s = { .d = r->d };

        flags = ev->flags;
        if (flags == F_ERROR) {
            break;
        }
        add_inputs(&s);
        hang_hard(&s, 0, 2500);
        qvv_pool_free(r->d, s.in);
        restart(r);
    }
    g_assert_cmphex(flags, ==, F_ERROR);
    g_assert_cmpuint(n, >=, 2);
    while (flags == F_ERROR) {
        g_autoptr(QVVEvent) ev = qvv_wait(r->d, qvv_open(r->d, 0, DECODER));

        flags = ev->flags;
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(20 * MS);
    }
}

/*
 * Reset, stop and unplug
 */

/* Streams in all states: writing, hanging, blocked, draining, idle */
static TestStream *busy_streams(Rig *r)
{
    TestStream *writing = test_stream(r, 0);
    TestStream *s;

    get(writing, 0);
    fill_output(writing, 0, 0xee);
    PUT(writing, 0, 3, HEADER, insn(VIDEO_TEST_SLOW_EMIT, 30), frame(1));
    s = test_stream(r, 1);
    hang(s, 0);
    PUT(s, 1, 0, HEADER, frame(1));
    qvv_drain(r->d, 1);
    s = test_stream(r, 2);
    PUT(s, 0, 1, format(96, 80), frame(1), fail("too late"));
    get(s, 0);
    s = test_stream(r, 3);
    PUT(s, 0, 1, HEADER, frame(1), frame(2), frame(3));
    qvv_drain(r->d, 3);
    bare_stream(r, 4);
    s = test_stream(r, 5);
    get(s, 0);
    hang_hard(s, 0, 500);
    return writing;
}

/* After the reset nothing of the old streams is left */
static void assert_all_gone(Rig *r, TestStream *writing)
{
    fill_output(writing, 0, 0xdd);
    g_usleep(80 * MS);
    assert_output_is(writing, 0, 0xdd);
    wait_threads(r, r->threads);
    start(r, NULL);
    qvv_assert_quiet(r->d, QUIET);
    assert_device_works(r);
}

static void test_reset_device(Rig *r)
{
    TestStream *writing = busy_streams(r);
    int64_t began = g_get_monotonic_time();

    qvv_stop(r->d);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 450 * MS);
    assert_all_gone(r, writing);
}

static void test_reset_system(Rig *r)
{
    TestStream *writing = busy_streams(r);

    qtest_system_reset(r->qts);
    qvv_abandon(r->d);
    fill_output(writing, 0, 0xdd);
    g_usleep(80 * MS);
    assert_output_is(writing, 0, 0xdd);
    wait_threads(r, r->threads);
}

static void test_reset_device_often(Rig *r)
{
    for (unsigned i = 0; i < 20; i++) {
        TestStream *s = test_stream(r, i % 16);

        PUT(s, 0, i, HEADER, insn(VIDEO_TEST_DELAY, i % 4), frame(i));
        get(s, 0);
        qvv_drain(r->d, s->id);
        g_usleep(i % 5 * MS);
        restart(r);
    }
    qvv_assert_quiet(r->d, QUIET);
    assert_device_works(r);
}

/* The second reset finds streams that still end */
static void test_reset_while_closing(Rig *r)
{
    TestStream *closing = test_stream(r, 0), *failed = test_stream(r, 1);

    hang_hard(closing, 0, 200);
    PUT(failed, 0, 0, insn(VIDEO_TEST_HANG_HARD, 100), fail("too late"));
    qvv_close(r->d, 0);
    wait_commands(r->d);
    restart(r);
    assert_decodes(test_stream(r, 0));
    restart(r);
    qvv_assert_quiet(r->d, 250 * MS);
}

static void test_reset_command_ring(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t in = PUT(s, 0, 3, HEADER, insn(VIDEO_TEST_DELAY, 20), frame(1));
    uint32_t out = get(s, 0);

    wait_commands(r->d);
    if (!qvv_ring_reset(r->d, VIRTIO_VIDEO_VQ_COMMAND)) {
        g_test_skip("this transport has no ring reset");
        return;
    }
    qvv_assert_ok(r->d, in);
    expect_frame(s, 0, out, 1, 3);
    assert_decodes(s);
}

static void test_reset_event_ring(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    uint32_t drain = put_barrier(s), out;

    wait_commands(r->d);
    if (!qvv_ring_reset(r->d, VIRTIO_VIDEO_VQ_EVENT)) {
        g_test_skip("this transport has no ring reset");
        return;
    }
    out = get(s, 0);
    qvv_assert_quiet(r->d, QUIET);
    g_assert_cmpuint(qvv_post_events(r->d, 16), ==, 16);
    EXPECT_ORDER(r->d, { out, F_OK }, { drain, F_OK });
    assert_decodes(s);
}

static void qmp_ok(QTestState *qts, const char *command)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': %s }", command);

    g_assert_true(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
}

static void test_stop_memory(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    g_autofree uint8_t *before = NULL;
    g_autofree uint8_t *after = NULL;
    uint32_t out = get(s, 0);

    fill_output(s, 0, 0xee);
    PUT(s, 0, 3, HEADER, insn(VIDEO_TEST_SLOW_EMIT, 40), frame(1));
    g_usleep(60 * MS);
    qmp_ok(r->qts, "stop");
    if (!count_answers(r->d, out, 2 * MS)) {
        /* Most likely in the midst of the frame */
        before = read_output(s, 0, 0);
        g_usleep(80 * MS);
        after = read_output(s, 0, 0);
        g_assert_cmpmem(before, s->out->res[0].buffer[0].size,
                        after, s->out->res[0].buffer[0].size);
        g_assert_cmpuint(count_answers(r->d, out, QUIET), ==, 0);
        qmp_ok(r->qts, "cont");
        expect_frame(s, 0, out, 1, 3);
    } else {
        qmp_ok(r->qts, "cont");
    }
}

/* Neither stop nor what comes meanwhile waits for the codec */
static void test_stop_hanging_codec(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    int64_t began = g_get_monotonic_time();
    uint32_t in, out;

    out = get(s, 0);
    in = hang_hard(s, 0, 1000);
    qmp_ok(r->qts, "stop");
    g_assert_cmpint(g_get_monotonic_time() - began, <, 900 * MS);
    g_usleep(20 * MS);
    qmp_ok(r->qts, "cont");
    qvv_assert_ok(r->d, in);
    expect_frame(s, 0, out, 1, 3);
}

/* Nothing happens while the machine is stopped, and nothing is forgotten */
static void test_stop_commands(Rig *r)
{
    uint32_t open, close;

    qmp_ok(r->qts, "stop");
    open = qvv_open(r->d, 0, DECODER);
    close = qvv_close(r->d, 0);
    qvv_assert_quiet(r->d, QUIET);
    qmp_ok(r->qts, "cont");
    EXPECT_ORDER(r->d, { open, F_OK }, { close, F_OK });
}

static void test_stop_device_reset(Rig *r)
{
    TestStream *writing = busy_streams(r);

    qmp_ok(r->qts, "stop");
    qvv_stop(r->d);
    qmp_ok(r->qts, "cont");
    assert_all_gone(r, writing);
}

static void test_stop_often(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    for (unsigned i = 0; i < 10; i++) {
        uint32_t out = get(s, 0);

        PUT(s, 0, i, HEADER, insn(VIDEO_TEST_SLOW_EMIT, i % 3), frame(i));
        g_usleep(i * MS);
        qmp_ok(r->qts, "stop");
        qmp_ok(r->qts, "cont");
        expect_frame(s, 0, out, i, i);
    }
}

#define PCI_SLOT_HP 0x06

static QVirtioPCIDevice *plug(QTestState *qts, QPCIBus *bus)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(PCI_SLOT_HP, 0) };
    QVirtioPCIDevice *pci;

    qtest_qmp_assert_success(qts, "{ 'execute': 'object-add', 'arguments': {"
                             " 'qom-type': 'video-codec-test',"
                             " 'id': 'codec1' } }");
    qtest_qmp_device_add(qts, "virtio-video-pci", "video1",
                         "{ 'addr': %s, 'codec': 'codec1' }",
                         stringify(PCI_SLOT_HP));
    pci = virtio_pci_new(bus, &addr);
    g_assert_nonnull(pci);
    qvirtio_pci_device_enable(pci);
    return pci;
}

static void object_del_codec1(QTestState *qts, bool works)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'object-del',"
                           " 'arguments': { 'id': 'codec1' } }");

    g_assert_cmpint(qdict_haskey(rsp, "return"), ==, works);
    qobject_unref(rsp);
}

/* Unplugged with streams in all states; then the codec is free, too */
static void test_hotplug_unplug(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtioPCIDevice *dev = obj;
    QPCIBus *bus = dev->pdev->bus;
    QVirtioVideo v;
    QVirtioPCIDevice *pci;
    TestStream *writing;
    Rig r = {
        .v = &v,
        .qts = bus->qts,
        .alloc = alloc,
        .streams = g_ptr_array_new_with_free_func(test_stream_free),
    };

    if (!is_x86() || bus->not_hotpluggable) {
        g_test_skip("this machine has no hotplug without a guest's help");
        return;
    }
    r.threads = n_threads(r.qts);
    pci = plug(r.qts, bus);
    v.vdev = &pci->vdev;
    r.d = qvv_new(r.v, alloc, r.qts);
    start(&r, NULL);
    object_del_codec1(r.qts, false);
    writing = busy_streams(&r);
    qpci_unplug_acpi_device_test(r.qts, "video1", PCI_SLOT_HP);
    fill_output(writing, 0, 0xdd);
    g_usleep(80 * MS);
    assert_output_is(writing, 0, 0xdd);
    wait_threads(&r, r.threads);
    object_del_codec1(r.qts, true);
    qvv_abandon(r.d);
    g_ptr_array_unref(r.streams);
    qvv_free(r.d);
    qpci_iounmap(pci->pdev, pci->bar);
    g_free(pci->pdev);
    g_free(pci);
}

/* The message names the property and what it could be */
static void test_properties(void *obj, void *data, QGuestAllocator *alloc)
{
    static const struct {
        const char *name;
        uint64_t value;
    } bad[] = {
        { "max-streams", 0 }, { "max-streams", 1 << 20 },
        { "max-events", 0 }, { "max-width", 0 }, { "max-height", 0 },
        { "max-width", 1 << 20 }, { "max-height", 1 << 20 },
        { "max-coded-size", 0 }, { "max-coded-size", 1 << 30 },
        { "max-resources", 0 }, { "max-resources", 1 << 20 },
        { "max-entries", 0 }, { "max-entries", 1 << 30 },
    };
    QVirtioPCIDevice *dev = obj;
    QTestState *qts = dev->pdev->bus->qts;

    if (dev->pdev->bus->not_hotpluggable) {
        g_test_skip("pci bus does not support hotplug");
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        QDict *rsp = qtest_qmp(qts, "{ 'execute': 'device_add', 'arguments': "
                               "{ 'driver': 'virtio-video-pci',"
                               "  'codec': 'codec0', %s: %" PRIu64 " } }",
                               bad[i].name, bad[i].value);
        QDict *error = qdict_get_qdict(rsp, "error");

        g_assert_nonnull(error);
        g_assert_nonnull(strstr(qdict_get_str(error, "desc"), bad[i].name));
        qobject_unref(rsp);
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

/*
 * Dirty memory
 */

#define VGA_SLOT    0x02

static void vbe_write(QTestState *qts, uint16_t index, uint16_t value)
{
    qtest_outw(qts, 0x1ce, index);
    qtest_outw(qts, 0x1cf, value);
}

/* 64x48 pixels of 8 bits, whose palette is grey; the linear frame buffer */
static uint64_t vga_start(QTestState *qts, QPCIBus *bus, QPCIDevice **vga)
{
    QPCIBar bar;

    *vga = qpci_device_find(bus, QPCI_DEVFN(VGA_SLOT, 0));
    g_assert_nonnull(*vga);
    qpci_device_enable(*vga);
    bar = qpci_iomap(*vga, 0, NULL);
    vbe_write(qts, 1, WIDTH);
    vbe_write(qts, 2, HEIGHT);
    vbe_write(qts, 3, 8);
    vbe_write(qts, 4, 0xc1);
    qtest_inb(qts, 0x3da);
    qtest_outb(qts, 0x3c0, 0x20);
    qtest_outb(qts, 0x3c8, 0);
    for (unsigned i = 0; i < 256 * 3; i++) {
        qtest_outb(qts, 0x3c9, i / 3 >> 2);
    }
    return bar.addr;
}

/* The first pixel of the screen, in the DAC's 6 bits */
static uint8_t first_pixel(QTestState *qts)
{
    g_autofree char *file = temp_file();
    g_autofree uint8_t *ppm = NULL;
    unsigned width, height;
    size_t len;
    int at = 0;

    qtest_qmp_assert_success(qts, "{ 'execute': 'screendump', 'arguments':"
                             " { 'filename': %s } }", file);
    g_assert_true(g_file_get_contents(file, (char **)&ppm, &len, NULL));
    unlink(file);
    g_assert_cmpint(sscanf((char *)ppm, "P6 %u %u 255%n", &width, &height,
                           &at), ==, 2);
    g_assert_cmpuint(width, ==, WIDTH);
    g_assert_cmpuint(height, ==, HEIGHT);
    return ppm[at + 1] >> 2;
}

/* Video memory is RAM, and the screen shows only what is known to be dirty */
static void test_dirty_video_memory(Rig *r)
{
    QVVRawFormat f = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);
    TestStream *s = bare_stream(r, 0);
    GByteArray *set = qvv_set_new(RAW_SET);
    QVVEntry screen = { .len = 8192 };
    QPCIDevice *vga;

    if (!r->v->pci || !is_x86()) {
        g_test_skip("this machine has no VGA");
        return;
    }
    screen.addr = vga_start(r->qts, r->v->pci->pdev->bus, &vga);
    qtest_memset(r->qts, screen.addr, 0x40, screen.len);
    /* The first draws all, the second looks what is dirty and cleans it */
    g_assert_cmphex(first_pixel(r->qts), ==, 0x40 >> 2);
    g_assert_cmphex(first_pixel(r->qts), ==, 0x40 >> 2);

    add_inputs(s);
    set_raw_format(s, &f);
    qvv_set_num_resources(set, 1);
    set_entries(set, 0, (uint32_t[]) { 1 }, 1, &screen, 1, 0);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
    PUT(s, 0, 0, HEADER, frame(0xc0));
    qvv_assert_ok(r->d, get(s, 0));
    g_assert_cmphex(first_pixel(r->qts), ==, 0xc0 >> 2);
    g_free(vga);
}

/*
 * A second QEMU, for migration and other codecs
 */

static Rig *second_rig(const char *args)
{
    Rig *r = g_new0(Rig, 1);

    r->qts = qtest_init(args);
    r->v = qos_allocate_objects(r->qts, &r->alloc);
    r->streams = g_ptr_array_new_with_free_func(test_stream_free);
    r->d = qvv_new(r->v, r->alloc, r->qts);
    return r;
}

static void second_rig_free(Rig *r)
{
    g_ptr_array_unref(r->streams);
    qvv_free(r->d);
    qtest_quit(r->qts);
    g_free(r);
}

static char *migration_status(QTestState *qts)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-migrate' }");
    char *status = g_strdup(qdict_get_try_str(rsp, "status"));

    qobject_unref(rsp);
    return status;
}

static void wait_migration(QTestState *qts, const char *wanted)
{
    int64_t end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

    for (bool done = false; !done;) {
        g_autofree char *status = migration_status(qts);

        g_assert_cmpstr(status, !=, "failed");
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        done = g_strcmp0(status, wanted) == 0;
        g_usleep(5 * MS);
    }
}

/* @d works on with the device @v of the QEMU that @qts talks to */
static void move_driver(QVVDriver *d, QVirtioVideo *v, QTestState *qts)
{
    v->vdev->features = d->features;
    v->vdev->features_negotiated = true;
    d->video = v;
    d->vdev = v->vdev;
    d->qts = qts;
    d->ram.qts = qts;
    if (d->started) {
        d->cmdq.vq->vdev = v->vdev;
        d->eventq.vq->vdev = v->vdev;
    }
}

static void assert_driver_ok(QVVDriver *d)
{
    g_assert_cmphex(d->vdev->bus->get_status(d->vdev), ==,
                    VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                    VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* To another QEMU, where the driver goes on with its queues as they are */
static Rig *migrate(Rig *r)
{
    g_autofree char *file = temp_file();
    g_autofree char *uri = g_strdup_printf("file:%s", file);
    g_autofree char *args = g_strdup_printf("%s -incoming defer",
                                            qos_get_current_command_line());
    Rig *to;

    qos_invalidate_command_line();
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'migrate', 'arguments':"
                             " { 'uri': %s } }", uri);
    wait_migration(r->qts, "completed");
    to = second_rig(args);
    qtest_qmp_assert_success(to->qts, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s } }", uri);
    wait_migration(to->qts, "completed");
    unlink(file);
    move_driver(r->d, to->v, to->qts);
    assert_driver_ok(r->d);
    return to;
}

static void migrate_end(Rig *r, Rig *to)
{
    qvv_stop(r->d);
    move_driver(r->d, r->v, r->qts);
    second_rig_free(to);
}

static void test_migrate_idle(Rig *r)
{
    Rig *to;

    assert_device_works(r);
    to = migrate(r);
    assert_decodes(test_stream(r, 3));
    migrate_end(r, to);
}

/* What the driver has not got yet, it gets from the other side */
static void test_migrate_events(Rig *r)
{
    uint32_t a = qvv_close(r->d, 5), b = qvv_close(r->d, 6), open;
    Rig *to;

    wait_commands(r->d);
    to = migrate(r);
    qvv_post_events(r->d, 3);
    EXPECT_ORDER(r->d, { a, F_ERROR }, { b, F_ERROR });
    open = qvv_open(r->d, 5, DECODER);
    EXPECT_ORDER(r->d, { open, F_OK });
    migrate_end(r, to);
}

/* The destination offers other sizes, in capabilities of the same length */
static void test_migrate_other_caps(Rig *r)
{
    g_auto(GStrv) parts = g_strsplit(qos_get_current_command_line(),
                                     "codec=codec0", 2);
    g_autofree char *there = g_strjoinv("codec=codec0,max-width=640", parts);
    g_autofree char *args = g_strdup_printf("%s -incoming defer", there);
    g_autofree char *file = temp_file();
    g_autofree char *uri = g_strdup_printf("file:%s", file);
    g_autofree char *status = NULL;
    QTestState *to;

    qos_invalidate_command_line();
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'migrate', 'arguments':"
                             " { 'uri': %s } }", uri);
    wait_migration(r->qts, "completed");
    to = qtest_init(args);
    qtest_qmp_assert_success(to, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s,"
                             " 'exit-on-error': false } }", uri);
    for (int i = 0; i < 4000 && g_strcmp0(status, "failed"); i++) {
        g_usleep(5 * MS);
        g_free(status);
        status = migration_status(to);
        g_assert_cmpstr(status, !=, "completed");
    }
    g_assert_cmpstr(status, ==, "failed");
    unlink(file);
    qtest_quit(to);
    qmp_ok(r->qts, "cont");
}

static void test_migrate_open_stream(Rig *r)
{
    TestStream *s = test_stream(r, 0);
    QDict *rsp = qtest_qmp(r->qts, "{ 'execute': 'migrate', 'arguments':"
                           " { 'uri': 'exec:cat > /dev/null' } }");
    QDict *error = qdict_get_qdict(rsp, "error");

    g_assert_nonnull(error);
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), "virtio-video"));
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), "stream"));
    qobject_unref(rsp);
    assert_decodes(s);
}

/* A migration that takes long because nobody lets it end */
static void test_migrate_no_open(Rig *r)
{
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'migrate-set-parameters',"
                             " 'arguments': { 'max-bandwidth': 4096 } }");
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'migrate', 'arguments':"
                             " { 'uri': 'exec:cat > /dev/null' } }");
    wait_migration(r->qts, "active");
    qvv_assert_error(r->d, qvv_open(r->d, 0, DECODER));
    qmp_ok(r->qts, "migrate_cancel");
    wait_migration(r->qts, "cancelled");
    assert_device_works(r);
    qos_invalidate_command_line();
}


/* For the one who looks for the cause */
static void test_error_logged(Rig *first)
{
    g_autofree char *file = temp_file();
    g_autofree char *args = g_strdup_printf("%s -d guest_errors -D %s",
                                            qos_get_current_command_line(),
                                            file);
    g_autofree char *log = NULL;
    Rig *r = second_rig(args);

    start(r, NULL);
    PUT(test_stream(r, 0), 0, 1, fail("the cause of it all"));
    expect_stream_error(r->d, 0);
    qvv_stop(r->d);
    second_rig_free(r);
    g_assert_true(g_file_get_contents(file, &log, NULL, NULL));
    unlink(file);
    g_assert_nonnull(strstr(log, "stream 0: the cause of it all"));
}

/*
 * With a real codec
 */

/* Coded and raw bytes of a tiny clip, made by ffmpeg */
typedef struct Clip {
    uint8_t *coded, *raw;
    size_t coded_len, raw_len;
} Clip;

#define CLIP_FRAMES 8
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

static bool has_type(QTestState *qts, const char *type)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'qom-list-types', 'arguments':"
                           " { 'implements': %s } }", type);
    QList *list = qdict_get_qlist(rsp, "return");
    bool has = list && !qlist_empty(list);

    qobject_unref(rsp);
    return has;
}

static Rig *libav_rig(Rig *first)
{
    g_auto(GStrv) parts = g_strsplit(qos_get_current_command_line(),
                                     "video-codec-test", 2);
    g_autofree char *args = g_strjoinv("video-codec-libav", parts);
    Rig *r;

    if (!has_type(first->qts, "video-codec-libav")) {
        g_test_skip("video-codec-libav is not built");
        return NULL;
    }
    r = second_rig(args);
    start(r, NULL);
    return r;
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

    add_inputs_of(s, N_INPUTS, 65536);
    set_raw_format(s, &f);
    add_outputs(s, CLIP_FRAMES, placement);
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

/*
 * All of them
 */

#define SMALL_FRAMES ",max-width=640,max-height=480"

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

    { "caps/too-little-room-is-error", test_caps_small_room },
    { "caps/links-are-last", test_caps_order },
    { "caps/sets-are-complete", test_caps_sets },
    { "caps/links-are-those-of-the-codec", test_caps_links },
    { "caps/every-coded-set-is-linked", test_caps_unused_link_bits },
    { "caps/sizes-are-bounded-by-the-codec", test_caps_size_of_codec },
    { "caps/sizes-are-bounded-by-the-device", test_caps_size_of_device,
      .device = SMALL_FRAMES },
    { "caps/padding-is-zero", test_caps_padding },

    { "malformed/short-command-breaks-device", test_malformed_short,
      .opts = { .event_buffers = 4 } },
    { "malformed/no-type-breaks-device", test_malformed_no_type,
      .opts = { .event_buffers = 4 } },
    { "malformed/query-caps-without-room-breaks-device",
      test_malformed_query_caps, .opts = { .event_buffers = 4 } },
    { "malformed/broken-device-is-silent", test_malformed_mid_stream },
    { "commands/may-be-split", test_request_split },
    { "commands/complete-with-length-0", test_request_length_0 },
    { "commands/unknown-is-error", test_unknown_command },
    { "commands/unknown-without-header-is-ignored",
      test_unknown_short_command },
    { "commands/wrong-queue-type-is-error", test_wrong_queue_type },

    { "open/id-out-of-range-is-error", test_open_out_of_range },
    { "open/all-ids-at-once", test_open_all_ids },
    { "open/open-id-is-error", test_open_twice },
    { "open/unknown-stream-type-is-error", test_open_unknown_type },
    { "open/encoder-not-negotiated-is-error",
      test_open_encoder_not_negotiated },
    { "open/defaults-can-be-read", test_open_defaults },
    { "open/defaults-decode", test_open_defaults_decode },

    { "close/every-later-command-is-error", test_close_later_commands },
    { "close/not-open-is-error", test_close_not_open },
    { "close/all-canceled-before-response", test_close_cancels },
    { "close/cannot-be-canceled", test_close_not_canceled },
    { "close/frees-the-id", test_close_frees_id },
    { "close/detaches-all", test_close_detaches },
    { "close/hanging-codec-delays-no-other-stream",
      test_close_hanging_codec },
    { "close/leaves-no-thread", test_close_no_thread },

    { "tlv/none-is-error", test_tlv_none },
    { "tlv/half-a-header-is-error", test_tlv_half },
    { "tlv/beyond-the-end-is-error", test_tlv_beyond_end },
    { "tlv/length-not-multiple-of-4-is-error", test_tlv_odd_length },
    { "tlv/two-containers-is-error", test_tlv_two_containers },
    { "tlv/trailing-bytes-is-error", test_tlv_trailing },
    { "tlv/no-container-is-error", test_tlv_no_container },
    { "tlv/wrong-nesting-is-error", test_tlv_wrong_nesting },
    { "tlv/wrong-set-is-error", test_tlv_wrong_set },
    { "tlv/wrong-value-length-is-error", test_tlv_value_length },
    { "tlv/not-offered-is-error", test_tlv_not_offered },
    { "tlv/very-many", test_tlv_many },
    { "tlv/too-long-request-is-error", test_tlv_too_long,
      .device = ",max-entries=4" },

    { "get-params/all-supported-are-there", test_get_params_all },
    { "get-params/set-not-empty-is-error", test_get_params_not_empty },
    { "get-params/attached-resources-are-there", test_get_params_attached },
    { "get-params/input-queue-is-in-order", test_get_params_in_order },

    { "set-params/input-queue-is-in-order", test_set_params_in_order },
    { "set-params/values-applied-in-order", test_set_params_order_of_values },
    { "set-params/rest-not-applied-after-error",
      test_set_params_stops_at_error },
    { "set-params/moved-to-the-closest-value",
      test_set_params_closest_format },
    { "set-params/max-resources", test_set_params_max_resources },
    { "set-params/max-resources-is-the-property",
      test_set_params_few_resources, .device = ",max-resources=2" },
    { "set-params/raw-must-be-linked-to-coded", test_set_params_linked_raw },
    { "set-params/coded-must-be-linked-to-raw",
      test_set_params_linked_coded },
    { "set-params/unknown-coded-format-is-error",
      test_set_params_coded_formats },
    { "set-params/unknown-raw-format-is-not-taken",
      test_set_params_raw_formats },
    { "set-params/num-resources-0-detaches-all", test_set_params_0_detaches },
    { "set-params/growing-is-no-change", test_set_params_grow },
    { "set-params/shrinking-blocks-output", test_set_params_shrink },
    { "set-params/shrinking-cancels-queued-outputs",
      test_set_params_shrink_queued },
    { "set-params/shrinking-used-inputs-is-error",
      test_set_params_shrink_inputs },
    { "set-params/at-once-goes-before-waiting-input",
      test_set_params_before_input },
    { "set-params/raw-format-blocks-output", test_set_params_format_blocks },
    { "set-params/same-format-is-no-change", test_set_params_same_format },
    { "set-params/drains-at-once", test_set_params_drains_main },
    { "set-params/drains-in-order", test_set_params_drains_input },
    { "set-params/later-input-waits", test_set_params_input_waits },
    { "set-params/coded-format-is-a-new-session",
      test_set_params_coded_change },
    { "set-params/unblock-not-blocked-is-error", test_unblock_not_blocked },

    { "attach/hole-is-error", test_attach_hole },
    { "attach/end-of-ram-is-error", test_attach_end_of_ram },
    { "attach/mmio-is-error", test_attach_mmio },
    { "attach/rom-is-error", test_attach_rom },
    { "attach/wrapping-is-error", test_attach_wrap },
    { "attach/unaligned-is-error", test_attach_unaligned },
    { "attach/zero-length-is-error", test_attach_zero_length },
    { "attach/overlap-is-error", test_attach_overlap },
    { "attach/overlap-of-buffers-is-error", test_attach_overlap_of_buffers },
    { "attach/id-out-of-range-is-error", test_attach_id },
    { "attach/no-resources-is-error", test_attach_no_resources },
    { "attach/wrong-counts-are-error", test_attach_counts },
    { "attach/coded-resource-has-one-buffer", test_attach_coded_buffers },
    { "attach/missing-buffer-is-error", test_attach_missing_buffer },
    { "attach/too-many-entries-is-error", test_attach_max_entries,
      .device = ",max-entries=4" },
    { "attach/contiguous-only-takes-one-entry", test_attach_contiguous_only,
      .opts = { .features = VERSION_1 | FEATURE(DECODER) |
                            FEATURE(RESOURCE_GUEST_PAGES) } },
    { "attach/contiguous-only-takes-many-buffers",
      test_attach_contiguous_buffers,
      .opts = { .features = VERSION_1 | FEATURE(DECODER) |
                            FEATURE(RESOURCE_GUEST_PAGES) } },
    { "attach/padding-does-not-matter", test_attach_padding },
    { "attach/unused-resource-is-no-change", test_attach_again },
    { "attach/resource-in-use-is-a-change", test_attach_in_use },

    { "resource-queue/not-attached-is-error", test_queue_not_attached },
    { "resource-queue/id-out-of-range-is-error", test_queue_id },
    { "resource-queue/already-queued-is-error", test_queue_twice },
    { "resource-queue/data-outside-buffer-is-error",
      test_queue_input_bounds },
    { "resource-queue/empty-input", test_queue_input_empty },
    { "resource-queue/input-offset", test_queue_input_offset },
    { "resource-queue/input-is-copied", test_queue_input_copied },
    { "resource-queue/too-small-output-is-error",
      test_queue_output_too_small },
    { "resource-queue/response-has-offsets-and-sizes",
      test_queue_output_sizes },
    { "resource-queue/layout-of-single-buffer", test_queue_layout_single },
    { "resource-queue/layout-of-multi-buffers", test_queue_layout_multi },
    { "resource-queue/layout-of-scattered-pages",
      test_queue_layout_scattered },
    { "resource-queue/presentation-order", test_queue_presentation_order },
    { "resource-queue/timestamp-is-that-of-the-input", test_queue_timestamp },
    { "resource-queue/corrupt-frame-is-error-buffer",
      test_queue_corrupt_frame },
    { "resource-queue/bad-data-is-error-and-stream-goes-on",
      test_queue_bad_data },
    { "resource-queue/many-frames-of-one-input", test_queue_many_frames },
    { "resource-queue/no-frame-of-an-input", test_queue_no_frame },
    { "resource-queue/busy-codec", test_queue_busy_codec },
    { "resource-queue/frames-wait-for-outputs", test_queue_frames_wait },
    { "resource-queue/long-run", test_queue_long_run },
    { "resource-queue/32-of-each", test_queue_32 },
    { "resource-queue/streams-are-apart", test_queue_streams_apart },

    { "drain/frames-before-response", test_drain_frames_first },
    { "drain/later-commands-answered-after", test_drain_later_commands },
    { "drain/parameter-sets-survive", test_drain_keeps_parameter_sets },
    { "drain/idle-stream", test_drain_idle },
    { "drain/canceled-by-reset", test_drain_canceled },
    { "drain/canceled-by-close", test_drain_close },
    { "drain/output-reset-does-not-end-it", test_drain_output_reset },

    { "queue-reset/all-canceled-before-response", test_reset_input_cancels },
    { "queue-reset/all-outputs-canceled-before-response",
      test_reset_output_cancels },
    { "queue-reset/idle-queue", test_reset_idle },
    { "queue-reset/wrong-queue-is-error", test_reset_bad_queue },
    { "queue-reset/input-never-waits-for-output",
      test_reset_input_without_outputs },
    { "queue-reset/parameter-sets-survive", test_reset_keeps_parameter_sets },
    { "queue-reset/input-drops-frames-in-the-making",
      test_reset_drops_frames },
    { "queue-reset/output-keeps-frames", test_reset_output_keeps_frames },
    { "queue-reset/never-waits-for-the-codec", test_reset_hanging_codec },
    { "queue-reset/nothing-written-after-cancel",
      test_reset_output_while_writing },
    { "queue-reset/input-while-writing", test_reset_input_while_writing },
    { "queue-reset/often", test_reset_often },

    { "dpc/equal-first-header-is-no-change", test_dpc_first_header_same },
    { "dpc/first-header-with-other-size", test_dpc_first_header_other },
    { "dpc/before-any-output", test_dpc_before_outputs },
    { "dpc/blocks-until-unblock", test_dpc_blocks },
    { "dpc/earlier-frames-come-first", test_dpc_earlier_frames_first },
    { "dpc/waits-for-outputs-of-earlier-frames",
      test_dpc_waits_for_outputs },
    { "dpc/too-small-outputs-are-canceled", test_dpc_small_outputs_canceled },
    { "dpc/outputs-that-fit-are-used", test_dpc_large_outputs_used },
    { "dpc/crop-alone-does-not-block", test_dpc_crop_only },
    { "dpc/twice", test_dpc_two },
    { "dpc/drain-answered-after", test_dpc_during_drain },
    { "dpc/close", test_dpc_close },
    { "dpc/input-reset", test_dpc_input_reset },
    { "dpc/output-reset", test_dpc_output_reset },
    { "dpc/10-bit-stream-takes-10-bit-format", test_dpc_10_bit },
    { "dpc/fourcc-of-the-driver-stays", test_dpc_chosen_fourcc },
    { "dpc/set-params-while-blocked", test_dpc_set_params },

    { "crop/reset-on-resolution-change", test_dpc_crop_reset },
    { "crop/reset-by-set-params", test_crop_reset_by_set_params },
    { "crop/is-that-of-the-stream", test_set_params_crop },
    { "crop/size-is-that-of-the-stream", test_set_params_size_of_stream },

    { "stream-error/all-canceled-before", test_error_cancels },
    { "stream-error/closes-the-stream", test_error_closes },
    { "stream-error/other-streams-go-on", test_error_other_streams },
    { "stream-error/codec-does-not-start", test_error_no_start },
    { "stream-error/frame-too-large", test_error_frame_too_large,
      .device = SMALL_FRAMES },
    { "stream-error/while-blocked", test_error_while_blocked },
    { "stream-error/reason-is-logged", test_error_logged },

    { "events/type-stream-and-cookie-are-repeated", test_events_echo },
    { "events/wait-for-buffers", test_events_wait,
      .opts = { .manual_events = true } },
    { "events/keep-their-order", test_events_order,
      .opts = { .manual_events = true } },
    { "events/too-small-buffer-gets-error-header", test_events_small_buffer,
      .opts = { .event_size = 32 } },
    { "events/tiny-buffer-breaks-device", test_events_tiny_buffer,
      .opts = { .event_size = 12 } },
    { "events/pending-bound-stops-commands", test_events_bound,
      .device = ",max-events=8", .opts = { .manual_events = true } },
    { "events/pending-bound-loses-no-frame", test_events_bound_frames,
      .device = ",max-events=8", .opts = { .manual_events = true } },
    { "events/none-left-after-reset", test_events_reset_while_waiting,
      .device = ",max-events=8", .opts = { .manual_events = true } },
    { "events/padding-is-zero", test_events_padding },
    { "events/interrupt", test_events_interrupt },
    { "events/no-interrupt-if-not-wanted", test_events_no_interrupt,
      .opts = { .no_interrupts = true } },

    { "limits/coded-size", test_limits_coded_size,
      .device = ",max-coded-size=4096" },
    { "limits/host-memory", test_limits_memory, .device = ",max-mem=65536" },

    { "limits/host-memory-of-resources", test_limits_memory_of_resource,
      .device = ",max-mem=65536" },
    { "limits/commands-of-a-stream", test_limits_commands },
    { "limits/closing-streams", test_limits_closing_streams,
      .device = ",max-streams=1" },

    { "reset/no-late-answer", test_reset_device },
    { "reset/of-the-machine", test_reset_system, .breaks = true },
    { "reset/often", test_reset_device_often },
    { "reset/while-closing", test_reset_while_closing },
    { "reset/command-ring", test_reset_command_ring },
    { "reset/event-ring", test_reset_event_ring },

    { "stop/memory-unchanged-while-stopped", test_stop_memory },
    { "stop/never-waits-for-the-codec", test_stop_hanging_codec },
    { "stop/commands-wait-until-cont", test_stop_commands },
    { "stop/device-reset-while-stopped", test_stop_device_reset },
    { "stop/often", test_stop_often },

    { "dirty/written-memory-is-dirty", test_dirty_video_memory },
    { "codec/in-use-cannot-be-deleted", test_codec_in_use },
    { "codec/default-is-libav", test_codec_default },
    { "caps/av1-only-with-x-av1", test_caps_av1 },
    { "migrate/idle-device", test_migrate_idle, .more_threads = true },
    { "migrate/waiting-events-go-along", test_migrate_events,
      .opts = { .manual_events = true }, .more_threads = true },
    { "migrate/other-capabilities-are-refused", test_migrate_other_caps,
      .more_threads = true },
    { "migrate/open-stream-is-refused", test_migrate_open_stream },
    { "migrate/no-open-while-migrating", test_migrate_no_open,
      .more_threads = true },

    { "libav/decodes-h264", test_libav_decodes },
    { "libav/bad-data-is-error", test_libav_bad_data },
};

#define CODEC "-object video-codec-test,id=codec0"

static void register_virtio_video_test(void)
{
    QOSGraphTestOptions on_pci = {
        .edge = {
            .extra_device_opts = "codec=codec0",
            .after_cmd_line = CODEC,
        },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *device = g_strconcat("codec=codec0",
                                              cases[i].device, NULL);
        QOSGraphTestOptions opts = {
            .arg = (void *)&cases[i],
            .edge = {
                .extra_device_opts = device,
                .after_cmd_line = CODEC,
            },
        };

        qos_add_test(cases[i].name, "virtio-video", run_test, &opts);
    }
    qos_add_test("hotplug/unplug-while-decoding", "virtio-video-pci",
                 test_hotplug_unplug, &on_pci);
    qos_add_test("properties/out-of-range-is-refused", "virtio-video-pci",
                 test_properties, &on_pci);
}

libqos_init(register_virtio_video_test);
