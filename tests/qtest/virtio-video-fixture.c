/*
 * Fixture of virtio-video's qtests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <dirent.h>
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "libqos/qos_external.h"
#include "virtio-video-fixture.h"

/*
 * Scripts
 */

VideoTestInsn insn(VideoTestOp op, uint32_t arg)
{
    return (VideoTestInsn) { VIDEO_TEST_MAGIC, op, { arg } };
}

VideoTestInsn direct(uint32_t ms, uint32_t late_ms)
{
    return (VideoTestInsn) { VIDEO_TEST_MAGIC, VIDEO_TEST_DIRECT,
                            { ms, late_ms } };
}

VideoTestInsn format_crop(uint32_t width, uint32_t height,
                          uint32_t left, uint32_t top,
                          uint32_t crop_width, uint32_t crop_height,
                          uint32_t bits)
{
    return (VideoTestInsn) { VIDEO_TEST_MAGIC, VIDEO_TEST_FORMAT,
                            { width, height, left, top, crop_width,
                              crop_height, bits } };
}

VideoTestInsn format(uint32_t width, uint32_t height)
{
    return format_crop(width, height, 0, 0, width, height, 8);
}

VideoTestInsn frame_at(uint32_t value, uint32_t position)
{
    return (VideoTestInsn) { VIDEO_TEST_MAGIC, VIDEO_TEST_FRAME,
                            { value, position } };
}

VideoTestInsn frame(uint32_t value)
{
    return frame_at(value, 0);
}

VideoTestInsn corrupt_frame(uint32_t value)
{
    return (VideoTestInsn) { VIDEO_TEST_MAGIC, VIDEO_TEST_FRAME,
                            { value, 0, VIDEO_TEST_FRAME_CORRUPT } };
}

VideoTestInsn fail(const char *reason)
{
    VideoTestInsn i = { VIDEO_TEST_MAGIC, VIDEO_TEST_FAIL };

    for (size_t at = 0; reason[at] && at < sizeof(i.args); at++) {
        i.args[at / 4] |= (uint32_t)(uint8_t)reason[at] << (at % 4 * 8);
    }
    return i;
}

void insns_to_le(VideoTestInsn *insns, unsigned n)
{
    uint32_t *words = (uint32_t *)insns;

    for (unsigned i = 0; i < n * sizeof(*insns) / 4; i++) {
        words[i] = cpu_to_le32(words[i]);
    }
}

uint32_t put(TestStream *s, unsigned res, uint64_t timestamp,
             VideoTestInsn *insns, unsigned n)
{
    insns_to_le(insns, n);
    qvv_buffer_write(s->d, &s->in->res[res].buffer[0], 0, insns,
                     n * sizeof(*insns));
    return qvv_queue_input(s->d, s->id, res, timestamp, 0,
                           n * sizeof(*insns));
}

uint32_t get(TestStream *s, unsigned res)
{
    return qvv_queue_output(s->d, s->id, res);
}

/*
 * Expectations
 */

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

void expect_order(QVVDriver *d, const Expected *want, unsigned n)
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

void expect(QVVDriver *d, uint32_t cookie, uint32_t flags)
{
    g_autoptr(QVVEvent) ev = qvv_wait(d, cookie);

    g_assert_cmphex(ev->flags, ==, flags);
}

void expect_canceled(QVVDriver *d, const uint32_t *cookies, unsigned n,
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

unsigned count_answers(QVVDriver *d, uint32_t cookie, int64_t us)
{
    int64_t end = g_get_monotonic_time() + us;
    unsigned n = 0;

    while (g_get_monotonic_time() < end) {
        g_autoptr(QVVEvent) ev = qvv_next(d, 1 * MS);

        n += ev && ev->cookie == cookie;
    }
    return n;
}

void assert_pixels(TestStream *s, unsigned res, uint32_t value)
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

void expect_frame(TestStream *s, unsigned res, uint32_t cookie,
                  uint32_t value, uint64_t timestamp)
{
    g_autoptr(QVVEvent) ev = qvv_wait(s->d, cookie);

    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_true(ev->has_buffer);
    g_assert_cmpuint(ev->timestamp, ==, timestamp);
    assert_pixels(s, res, value);
}

void expect_stream_error(QVVDriver *d, uint32_t stream)
{
    g_autoptr(QVVEvent) ev =
        qvv_wait_standalone(d, VIRTIO_VIDEO_CMD_STREAM_CLOSE);

    g_assert_cmphex(ev->flags, ==, F_STANDALONE | F_ERROR);
    g_assert_cmpuint(ev->stream, ==, stream);
    g_assert_cmpuint(ev->len, ==, 16);
}

/*
 * Streams
 */

void test_stream_free(void *opaque)
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

TestStream *bare_stream_of(Rig *r, uint32_t id, uint32_t type)
{
    TestStream *s = g_new0(TestStream, 1);

    s->d = r->d;
    s->id = id;
    g_ptr_array_add(r->streams, s);
    qvv_assert_ok(r->d, qvv_open(r->d, id, type));
    return s;
}

TestStream *bare_stream(Rig *r, uint32_t id)
{
    return bare_stream_of(r, id, DECODER);
}

QVVEvent *set_params(TestStream *s, uint32_t queue, GByteArray *set)
{
    QVVEvent *ev = qvv_wait(s->d, qvv_set_params(s->d, s->id, queue, set));

    g_byte_array_unref(set);
    return ev;
}

uint32_t set_params_flags(TestStream *s, GByteArray *set)
{
    g_autoptr(QVVEvent) ev = set_params(s, MAIN, set);

    return ev->flags;
}

QVVEvent *get_params(TestStream *s, uint32_t container)
{
    QVVEvent *ev = qvv_wait(s->d, qvv_get_params(s->d, s->id, MAIN,
                                                 container));

    g_assert_cmphex(ev->flags, ==, F_OK);
    g_assert_true(ev->has_params);
    g_assert_cmpuint(ev->params.container, ==, container);
    return ev;
}

void unblock(TestStream *s)
{
    qvv_assert_ok(s->d, qvv_unblock(s->d, s->id));
}

void add_pool(GByteArray *set, const QVVPool *pool)
{
    qvv_set_num_resources(set, pool->n);
    for (unsigned i = 0; i < pool->n; i++) {
        qvv_set_pages(set, &pool->res[i]);
    }
}

void set_params_ok(TestStream *s, GByteArray *set)
{
    uint32_t flags = set_params_flags(s, set);

    g_assert_cmphex(flags & ~F_BLOCKED, ==, F_OK);
    if (flags & F_BLOCKED) {
        unblock(s);
    }
}

void add_inputs_of(TestStream *s, unsigned n, uint64_t size)
{
    GByteArray *set = qvv_set_new(CODED_SET);

    g_assert_null(s->in);
    s->in = qvv_pool_new(s->d, n, 1, &size, QVV_CONTIGUOUS);
    add_pool(set, s->in);
    g_assert_cmphex(set_params_flags(s, set), ==, F_OK);
}

void add_inputs(TestStream *s)
{
    add_inputs_of(s, N_INPUTS, QVV_PAGE_SIZE);
}

void read_raw_format(TestStream *s)
{
    g_autoptr(QVVEvent) ev = get_params(s, RAW_SET);

    g_assert_true(qvv_params_has(&ev->params, VIRTIO_VIDEO_TLV_RAW_FORMAT));
    s->raw = ev->params.raw;
    g_assert_true(qvv_layout(&s->layout, &s->raw));
}

void add_outputs(TestStream *s, unsigned n, QVVPlacement placement)
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

QVVRawFormat raw_format(uint32_t fourcc, uint32_t width, uint32_t height)
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

QVVRawFormat other_format(void)
{
    QVVRawFormat format = raw_format(VIDEO_TEST_YUV420, WIDTH, HEIGHT);

    format.stride_align = 32;
    return format;
}

void set_raw_format(TestStream *s, const QVVRawFormat *format)
{
    GByteArray *set = qvv_set_new(RAW_SET);

    qvv_set_raw_format(set, format);
    set_params_ok(s, set);
}

TestStream *test_stream_of(Rig *r, uint32_t id, const QVVRawFormat *format,
                           QVVPlacement placement)
{
    TestStream *s = bare_stream(r, id);

    add_inputs(s);
    set_raw_format(s, format);
    add_outputs(s, N_OUTPUTS, placement);
    return s;
}

TestStream *test_stream(Rig *r, uint32_t id)
{
    QVVRawFormat raw = raw_format(VIDEO_TEST_NV12, WIDTH, HEIGHT);

    return test_stream_of(r, id, &raw, QVV_CONTIGUOUS);
}

void assert_decodes(TestStream *s)
{
    uint32_t in = PUT(s, 0, 4711, format(s->raw.width, s->raw.height),
                      frame(99));
    uint32_t out = get(s, 0);

    qvv_assert_ok(s->d, in);
    expect_frame(s, 0, out, 99, 4711);
}

void assert_device_works(Rig *r)
{
    TestStream *s = test_stream(r, 0);

    assert_decodes(s);
    qvv_assert_ok(r->d, qvv_close(r->d, 0));
}

void wait_commands(QVVDriver *d)
{
    int64_t end = g_get_monotonic_time() + SOON;

    while (qvv_cmds_in_flight(d)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS);
    }
}

uint32_t put_barrier(TestStream *s)
{
    PUT(s, 0, 1, HEADER, frame(1));
    return qvv_drain(s->d, s->id);
}

uint32_t hang(TestStream *s, unsigned res)
{
    return PUT(s, res, 0, insn(VIDEO_TEST_HANG, 0));
}

uint32_t hang_hard(TestStream *s, unsigned res, uint32_t ms)
{
    uint32_t in = PUT(s, res, 3, insn(VIDEO_TEST_HANG_HARD, ms), HEADER,
                      frame(1));

    wait_commands(s->d);
    g_usleep(10 * MS);
    return in;
}

void assert_set_error(TestStream *s, GByteArray *set)
{
    g_assert_cmphex(set_params_flags(s, set), ==, F_ERROR);
}

QVVRawFormat set_and_get(TestStream *s, const QVVRawFormat *format)
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

uint32_t set_num(TestStream *s, uint32_t container, uint32_t num)
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

void fill_output(TestStream *s, unsigned res, uint8_t value)
{
    for (unsigned b = 0; b < s->out->res[res].n_buffers; b++) {
        const QVVBuffer *buf = &s->out->res[res].buffer[b];
        g_autofree uint8_t *data = g_malloc(buf->size);

        memset(data, value, buf->size);
        qvv_buffer_write(s->d, buf, 0, data, buf->size);
    }
}

uint8_t *read_output(TestStream *s, unsigned res, unsigned buffer)
{
    const QVVBuffer *buf = &s->out->res[res].buffer[buffer];
    uint8_t *data = g_malloc(buf->size);

    qvv_buffer_read(s->d, buf, 0, data, buf->size);
    return data;
}

void assert_output_is(TestStream *s, unsigned res, uint8_t value)
{
    for (unsigned b = 0; b < s->out->res[res].n_buffers; b++) {
        g_autofree uint8_t *data = read_output(s, res, b);

        for (uint64_t i = 0; i < s->out->res[res].buffer[b].size; i++) {
            g_assert_cmphex(data[i], ==, value);
        }
    }
}

void attempt_often(Rig *r, bool (*attempt)(Rig *r))
{
    for (unsigned i = 0; !attempt(r); i++) {
        g_assert_cmpuint(i, <, 20);
        g_test_message("this machine was too slow: again");
        qvv_stop(r->d);
        g_ptr_array_set_size(r->streams, 0);
        wait_threads(r, r->threads);
        /* QEMU is as patient as before */
        g_usleep(2 * DIRECT_LIMIT);
        start(r, NULL);
    }
}

bool is_direct_late(int64_t asked)
{
    return g_get_monotonic_time() - asked > DIRECT_LIMIT - 10 * MS;
}

/*
 * QEMU
 */

unsigned n_threads(QTestState *qts)
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

void wait_threads(Rig *r, unsigned max)
{
    int64_t end = g_get_monotonic_time() + SOON;

    while (n_threads(r->qts) > max) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(2 * MS);
    }
}

char *temp_file(void)
{
    char *name;
    int fd = g_file_open_tmp("qtest-virtio-video-XXXXXX", &name, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return name;
}

void start(Rig *r, const QVVOptions *opts)
{
    g_assert_true(qvv_start(r->d, opts));
}

void restart(Rig *r)
{
    qvv_stop(r->d);
    start(r, NULL);
}

void wait_broken(Rig *r)
{
    int64_t end = g_get_monotonic_time() + SOON;

    while (!qvv_is_broken(r->d)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(MS / 2);
    }
}

void assert_broken_then_restart(Rig *r, const QVVOptions *opts)
{
    wait_broken(r);
    qvv_stop(r->d);
    start(r, opts);
    g_assert_false(qvv_is_broken(r->d));
}

QVVCaps *query_caps(Rig *r)
{
    g_autofree char *why = NULL;
    QVVCaps *caps = qvv_query_caps(r->d, &why);

    if (!caps) {
        g_test_message("capabilities: %s", why);
    }
    g_assert_nonnull(caps);
    return caps;
}

bool is_x86(void)
{
    return g_str_equal(qtest_get_arch(), "x86_64");
}

QVirtioPCIDevice *plug(QPCIBus *bus, const char *type, const char *codec)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(PCI_SLOT_HP, 0) };
    QVirtioPCIDevice *pci;

    qtest_qmp_device_add(bus->qts, type, "plugged",
                         "{ 'addr': %s, 'codec': %s }",
                         stringify(PCI_SLOT_HP), codec);
    pci = virtio_pci_new(bus, &addr);
    g_assert_nonnull(pci);
    qvirtio_pci_device_enable(pci);
    return pci;
}

void plugged_free(QVirtioPCIDevice *pci)
{
    qpci_iounmap(pci->pdev, pci->bar);
    g_free(pci->pdev);
    g_free(pci);
}

Rig *second_rig(const char *args)
{
    Rig *r = g_new0(Rig, 1);

    r->qts = qtest_init(args);
    r->v = qos_allocate_objects(r->qts, &r->alloc);
    r->streams = g_ptr_array_new_with_free_func(test_stream_free);
    r->d = qvv_new(r->v, r->alloc, r->qts);
    return r;
}

void second_rig_free(Rig *r)
{
    g_ptr_array_unref(r->streams);
    qvv_free(r->d);
    qtest_quit(r->qts);
    g_free(r);
}

bool has_type(QTestState *qts, const char *type)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'qom-list-types', 'arguments':"
                           " { 'implements': %s } }", type);
    QList *list = qdict_get_qlist(rsp, "return");
    bool has = list && !qlist_empty(list);

    qobject_unref(rsp);
    return has;
}

char *codec_args(const char *codec)
{
    g_auto(GStrv) parts = g_strsplit(qos_get_current_command_line(),
                                     "video-codec-test", 2);

    return g_strjoinv(codec, parts);
}

int64_t query_number(Rig *r, const char *what)
{
    g_autoptr(QDict) resp = qtest_qmp(r->qts,
                                      "{ 'execute': 'query-virtio-video' }");
    QList *list = qdict_get_qlist(resp, "return");

    return qdict_get_int(qobject_to(QDict, qlist_peek(list)), what);
}

int64_t memory_used(Rig *r)
{
    return query_number(r, "memory");
}

Rig *libav_rig(Rig *first)
{
    g_autofree char *args = codec_args("video-codec-libav");
    Rig *r;

    if (!has_type(first->qts, "video-codec-libav")) {
        g_test_skip("video-codec-libav is not built");
        return NULL;
    }
    r = second_rig(args);
    start(r, NULL);
    return r;
}

uint64_t dimm_addr(QTestState *qts)
{
    g_autoptr(QDict) resp = qtest_qmp(qts,
        "{ 'execute': 'query-memory-devices' }");
    QDict *dimm = qobject_to(QDict,
                             qlist_peek(qdict_get_qlist(resp, "return")));

    return qdict_get_int(qdict_get_qdict(dimm, "data"), "addr");
}

/*
 * Hostile guests
 */

#define HOSTILE_RAM (256 * MiB)

static Hostile hostile_start_with(const char *machine, const char *more,
                                  const QVVOptions *opts)
{
    Hostile h = { .ram = qvv_ram_file_new(HOSTILE_RAM, true) };
    g_autofree char *ram_args = NULL;
    g_autofree char *args = NULL;

    g_assert_nonnull(h.ram);
    ram_args = qvv_ram_file_args(h.ram);
    args = g_strdup_printf("%s %s %s", machine, ram_args, more);
    h.r = second_rig(args);
    qvv_use_ram_file(h.r->d, h.ram, 0);
    h.r->threads = n_threads(h.r->qts);
    start(h.r, opts);
    return h;
}

Hostile hostile_start(const char *more, const QVVOptions *opts)
{
    return hostile_start_with(qos_get_current_command_line(), more, opts);
}

Hostile hostile_start_codec(const char *codec)
{
    g_autofree char *machine = codec_args(codec);

    return hostile_start_with(machine, "", NULL);
}

void hostile_end(Hostile *h)
{
    g_assert_false(qvv_is_broken(h->r->d));
    qvv_stop(h->r->d);
    wait_threads(h->r, h->r->threads);
    hostile_quit(h);
}

void hostile_quit(Hostile *h)
{
    second_rig_free(h->r);
    qvv_ram_file_free(h->ram);
}

bool not_here(Rig *rig)
{
    bool here = is_x86() && rig->v->pci;

    if (!here) {
        g_test_skip("done with pc and PCI");
    }
    return !here;
}

/* A number of QEMU's /proc/PID/status */
static int64_t proc_status(Rig *r, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status",
                                            qtest_pid(r->qts));
    g_autofree char *key = g_strdup_printf("\n%s:", name);
    g_autofree char *text = NULL;
    const char *line;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, key);
    g_assert_nonnull(line);
    return g_ascii_strtoll(line + strlen(key), NULL, 10);
}

static Sched thread_sched(pid_t pid, const char *tid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%s/schedstat", pid,
                                            tid);
    g_autofree char *text = NULL;
    uint64_t ran = 0, waited = 0;

    if (g_file_get_contents(path, &text, NULL, NULL)) {
        g_assert_cmpint(sscanf(text, "%" SCNu64 " %" SCNu64, &ran, &waited),
                        ==, 2);
    }
    return (Sched) { ran / 1000, waited / 1000 };
}

/* This thread, QEMU's main thread, and all others it has without a stream */
static void watch_sched(const Watch *w, Sched *self, Sched *main_thread,
                        Sched *others)
{
    g_autofree char *test = g_strdup_printf("%d", getpid());
    pid_t pid = qtest_pid(w->r->qts);
    g_autofree char *qemu = g_strdup_printf("%d", pid);

    *self = thread_sched(getpid(), test);
    *main_thread = thread_sched(pid, qemu);
    *others = (Sched) { };
    for (char **tid = w->tids; *tid; tid++) {
        if (!g_str_equal(*tid, qemu)) {
            others->waited += thread_sched(pid, *tid).waited;
        }
    }
}

static char **list_threads(Rig *r)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task",
                                            qtest_pid(r->qts));
    GPtrArray *tids = g_ptr_array_new();
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    g_assert_nonnull(dir);
    while ((name = g_dir_read_name(dir))) {
        g_ptr_array_add(tids, g_strdup(name));
    }
    g_ptr_array_add(tids, NULL);
    g_dir_close(dir);
    return (char **)g_ptr_array_free(tids, false);
}

bool has_sanitizer(Rig *r)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/maps",
                                            qtest_pid(r->qts));
    g_autofree char *text = NULL;

    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return strstr(text, "libasan") || strstr(text, "libtsan");
}

void watch_start(Watch *w, Rig *r)
{
    *w = (Watch) { .r = r, .tids = list_threads(r) };
    watch_settled(w);
}

void watch_settled(Watch *w)
{
    w->resident = proc_status(w->r, "VmRSS");
    w->guest = proc_status(w->r, "RssShmem");
}

void watch_begin(Watch *w)
{
    watch_sched(w, &w->self, &w->main_thread, &w->others);
    w->began = g_get_monotonic_time();
}

void watch_done(Watch *w)
{
    int64_t us = g_get_monotonic_time() - w->began;
    Sched self, main_thread, others;
    int64_t asleep;

    watch_sched(w, &self, &main_thread, &others);
    w->longest = MAX(w->longest, us);

    /*
     * What other programs take of the host's CPUs is not QEMU's fault.  Its
     * main thread may also sleep because a thread that holds the big lock does
     * not get a CPU.
     */
    us -= self.waited - w->self.waited;
    us -= main_thread.waited - w->main_thread.waited;
    asleep = us - (self.ran - w->self.ran) -
             (main_thread.ran - w->main_thread.ran);
    us -= MIN(MAX(asleep, 0), others.waited - w->others.waited);
    w->longest_own = MAX(w->longest_own, us);
    w->threads = MAX(w->threads, proc_status(w->r, "Threads"));
    w->n++;
}

void watch_qmp(Watch *w, const char *command)
{
    watch_begin(w);
    qtest_qmp_assert_success(w->r->qts, "{ 'execute': %s }", command);
    watch_done(w);
}

void watch(Watch *w)
{
    watch_qmp(w, "query-status");
}

void watch_reset(Watch *w)
{
    /* The main loop does what a vCPU would wait for */
    watch_begin(w);
    qvirtio_reset(w->r->d->vdev);
    watch_done(w);
    qvv_abandon(w->r->d);
}

void watch_end_qmp(Watch *w)
{
    g_test_message("longest of %u answers: %" PRId64 " us, %" PRId64
                   " us without waits for a CPU", w->n, w->longest,
                   w->longest_own);
    if (has_sanitizer(w->r)) {
        g_test_message("a sanitizer is slow: no limit");
    } else {
        g_assert_cmpint(w->longest_own, <, QMP_LIMIT);
    }
    g_clear_pointer(&w->tids, g_strfreev);
}

void watch_end_growth(Watch *w, int64_t limit)
{
    int64_t resident = proc_status(w->r, "VmRSS") - w->resident;
    int64_t guest = proc_status(w->r, "RssShmem") - w->guest;
    int64_t threads;

    wait_threads(w->r, w->r->threads);
    threads = proc_status(w->r, "Threads");
    g_test_message("memory: VmRSS grew by %" PRId64 " KiB, %" PRId64
                   " KiB of them the guest's RAM", resident, guest);
    g_test_message("threads: %u before, %" PRId64 " at most, %" PRId64
                   " after", w->r->threads, w->threads, threads);
    watch_end_qmp(w);
    g_assert_cmpint(threads, <=, w->r->threads);
    if (has_sanitizer(w->r)) {
        g_test_message("a sanitizer keeps memory: no limit");
    } else {
        g_assert_cmpint(resident - guest, <, limit);
    }
}

void watch_end(Watch *w)
{
    watch_end_growth(w, GROWTH_LIMIT);
}

/*
 * Migration
 */

static char *migration_status(QTestState *qts)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-migrate' }");
    char *status = g_strdup(qdict_get_try_str(rsp, "status"));

    qobject_unref(rsp);
    return status;
}

void wait_migration(QTestState *qts, const char *wanted)
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

void assert_other_side_refused(Rig *r, const char *here, const char *other)
{
    g_auto(GStrv) parts = g_strsplit(qos_get_current_command_line(),
                                     here, 2);
    g_autofree char *there = g_strjoinv(other, parts);
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
    qtest_qmp_assert_success(r->qts, "{ 'execute': 'cont' }");
}

bool is_migration_blocked(QTestState *qts)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-migrate' }");
    bool blocked = qdict_haskey(rsp, "blocked-reasons");

    qobject_unref(rsp);
    return blocked;
}

/*
 * All of them
 */

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

static void add_tests(const char *interface, const TestCase *cases, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        g_autofree char *device = g_strconcat("codec=codec0",
                                              cases[i].device, NULL);
        QOSGraphTestOptions opts = {
            .arg = (void *)&cases[i],
            .edge = {
                .extra_device_opts = device,
                .after_cmd_line = CODEC,
            },
        };

        qos_add_test(cases[i].name, interface, run_test, &opts);
    }
}

void virtio_video_add_tests(const TestCase *cases, unsigned n)
{
    add_tests("virtio-video", cases, n);
}

void virtio_media_add_tests(const TestCase *cases, unsigned n)
{
    add_tests("virtio-media", cases, n);
}
