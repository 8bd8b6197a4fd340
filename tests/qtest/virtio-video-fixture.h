/*
 * Fixture of virtio-video's qtests
 *
 * What the files virtio-video-*test.c share: how a test is described and run,
 * streams that are ready to decode, scripts for the codec, and expectations.
 * The scripted codec of system/video-codec-test.h does what the tests' coded
 * buffers say, so that every awkward moment can be had.
 *
 * Each test gets a Rig with a started device, and must leave a device that is
 * not broken and that has no thread left after its reset.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_VIRTIO_VIDEO_FIXTURE_H
#define TESTS_VIRTIO_VIDEO_FIXTURE_H

#include "libqtest-single.h"
#include "libqos/qgraph.h"
#include "libqos/virtio-video.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
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

/* Kinds of rings, for QVVOptions.more_features, and a device that has all */
#define PACKED              (1ull << VIRTIO_F_RING_PACKED)
#define EVENT_IDX           (1ull << VIRTIO_RING_F_EVENT_IDX)
#define IN_ORDER            (1ull << VIRTIO_F_IN_ORDER)
#define ALL_RINGS           ",packed=on,in_order=on"

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

/* One instruction of system/video-codec-test.h each */
VideoTestInsn insn(VideoTestOp op, uint32_t arg);
VideoTestInsn direct(uint32_t ms, uint32_t late_ms);
VideoTestInsn format_crop(uint32_t width, uint32_t height,
                          uint32_t left, uint32_t top,
                          uint32_t crop_width, uint32_t crop_height,
                          uint32_t bits);
VideoTestInsn format(uint32_t width, uint32_t height);
VideoTestInsn frame_at(uint32_t value, uint32_t position);
VideoTestInsn frame(uint32_t value);
VideoTestInsn corrupt_frame(uint32_t value);

/* The reason ends up in QEMU's log */
VideoTestInsn fail(const char *reason);

/* First header and first frame of the streams of test_stream() */
#define HEADER format(WIDTH, HEIGHT)

/* Queue a script in input @res, with one instruction after the other */
#define PUT(s, res, timestamp, ...) \
    put(s, res, timestamp, (VideoTestInsn[]) { __VA_ARGS__ }, \
        sizeof((VideoTestInsn[]) { __VA_ARGS__ }) / sizeof(VideoTestInsn))

/* In place: @n instructions as a coded buffer has them */
void insns_to_le(VideoTestInsn *insns, unsigned n);

/* For PUT(); leaves @insns little-endian */
uint32_t put(TestStream *s, unsigned res, uint64_t timestamp,
             VideoTestInsn *insns, unsigned n);

/* Lend output @res to the device */
uint32_t get(TestStream *s, unsigned res);

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

void expect_order(QVVDriver *d, const Expected *want, unsigned n);

/* The answer to @cookie has just these flags; others are kept */
void expect(QVVDriver *d, uint32_t cookie, uint32_t flags);

/* Before @last, which is OK, each of @cookies is canceled, in any order */
void expect_canceled(QVVDriver *d, const uint32_t *cookies, unsigned n,
                     uint32_t last);

/* How often one of these comes in @us; others are dropped */
unsigned count_answers(QVVDriver *d, uint32_t cookie, int64_t us);

/* Rows of a frame hold what the script says */
void assert_pixels(TestStream *s, unsigned res, uint32_t value);

/* @cookie, of output @res, is answered with that frame */
void expect_frame(TestStream *s, unsigned res, uint32_t cookie,
                  uint32_t value, uint64_t timestamp);

/* CLOSE|ERROR|STANDALONE comes for @stream; others are dropped */
void expect_stream_error(QVVDriver *d, uint32_t stream);

/*
 * Streams
 */

/* For a Rig that a test makes itself: frees one of its streams */
void test_stream_free(void *opaque);

/* An open stream without resources; a decoder's, if nothing else is said */
TestStream *bare_stream(Rig *r, uint32_t id);
TestStream *bare_stream_of(Rig *r, uint32_t id, uint32_t type);

/* SET_PARAMS of @set, which is freed; the answer */
QVVEvent *set_params(TestStream *s, uint32_t queue, GByteArray *set);

/* The same on the main queue; the flags of the answer */
uint32_t set_params_flags(TestStream *s, GByteArray *set);

/* GET_PARAMS on the main queue, which must be OK */
QVVEvent *get_params(TestStream *s, uint32_t container);

/* UNBLOCK, which must be OK */
void unblock(TestStream *s);

/* @set gets all of @pool's resources */
void add_pool(GByteArray *set, const QVVPool *pool);

/* @set_params must be OK; where it blocks the stream is unblocked */
void set_params_ok(TestStream *s, GByteArray *set);

/* Memory for @n inputs of @size bytes, attached and all */
void add_inputs_of(TestStream *s, unsigned n, uint64_t size);
/* N_INPUTS of a page each */
void add_inputs(TestStream *s);

/* What the device has as raw format, and the layout that follows from it */
void read_raw_format(TestStream *s);

/* New memory for @n outputs of the current format, attached and all */
void add_outputs(TestStream *s, unsigned n, QVVPlacement placement);

/* A single buffer, strides aligned to 64 bytes */
QVVRawFormat raw_format(uint32_t fourcc, uint32_t width, uint32_t height);

/* Another format of which frames fit the outputs of test_stream(), too */
QVVRawFormat other_format(void);

/* SET_PARAMS of @format, which must be OK; unblocked */
void set_raw_format(TestStream *s, const QVVRawFormat *format);

/* A stream for frames of that format, ready to decode */
TestStream *test_stream_of(Rig *r, uint32_t id, const QVVRawFormat *format,
                           QVVPlacement placement);
/* The same for NV12 of WIDTH x HEIGHT in contiguous memory */
TestStream *test_stream(Rig *r, uint32_t id);

/* Does this stream decode?  With a header of its own, from any state */
void assert_decodes(TestStream *s);

/* A new stream works, and so does the device */
void assert_device_works(Rig *r);

/* The device has taken all commands; the answers are another matter */
void wait_commands(QVVDriver *d);

/*
 * A DRAIN that lasts until it gets output 0, for frame 1 of input 0: all that
 * is put into the input queue meanwhile waits behind it.
 */
uint32_t put_barrier(TestStream *s);

/* The codec is busy with input @res until a reset or close */
uint32_t hang(TestStream *s, unsigned res);

/*
 * The codec does not listen for @ms, whatever anybody wants; then it decodes
 * frame 1.  It most likely has begun with that when this returns.
 */
uint32_t hang_hard(TestStream *s, unsigned res, uint32_t ms);

/* @set is refused as a whole, and it's freed */
void assert_set_error(TestStream *s, GByteArray *set);

/* SET_PARAMS of @format, unblocked; what the device made of it */
QVVRawFormat set_and_get(TestStream *s, const QVVRawFormat *format);

/* SET_PARAMS of num_resources alone; what the device made of it */
uint32_t set_num(TestStream *s, uint32_t container, uint32_t num);

/* All bytes of output @res, padding included */
void fill_output(TestStream *s, unsigned res, uint8_t value);
/* Those of one buffer, to be freed with g_free() */
uint8_t *read_output(TestStream *s, unsigned res, unsigned buffer);
/* Nobody has written to it since fill_output() */
void assert_output_is(TestStream *s, unsigned res, uint8_t value);

/*
 * Devices that use guest memory themselves are waited for, but not for longer
 * than DIRECT_LIMIT, of which a loaded machine may take any part.  So @attempt
 * returns false if it was too slow to show something; the device is reset then,
 * and it gets another chance.
 */
#define DIRECT_LIMIT        (60 * MS)
void attempt_often(Rig *r, bool (*attempt)(Rig *r));
/* Was that too long ago to be sure that QEMU still waits? */
bool is_direct_late(int64_t asked);

/*
 * QEMU
 */

/* Threads of that QEMU */
unsigned n_threads(QTestState *qts);
/* Until there are not more than @max */
void wait_threads(Rig *r, unsigned max);
/* The name of a new file, to be removed and freed */
char *temp_file(void);
/* qvv_start(), which must work */
void start(Rig *r, const QVVOptions *opts);
/* With a reset before it, and the default options */
void restart(Rig *r);
/* Until the device says that it needs a reset */
void wait_broken(Rig *r);

/* The device is broken, and a reset mends it */
void assert_broken_then_restart(Rig *r, const QVVOptions *opts);

/* qvv_query_caps() knows the draft's rules of what is in which set */
QVVCaps *query_caps(Rig *r);

/* Of the machine under test */
bool is_x86(void);

/*
 * A device of @type that is plugged into @bus, with that codec object; QEMU
 * knows it as "plugged".  To be unplugged by its slot, and freed then.
 */
#define PCI_SLOT_HP 0x06
QVirtioPCIDevice *plug(QPCIBus *bus, const char *type, const char *codec);
void plugged_free(QVirtioPCIDevice *pci);

/*
 * A second QEMU, started with @args; its driver is not started.
 * The Rig goes with second_rig_free(), the driver stopped before.
 */
Rig *second_rig(const char *args);
void second_rig_free(Rig *r);

/* Is QEMU built so that it is slow and keeps what was freed? */
bool has_sanitizer(Rig *r);

/* QEMU, with its modules, knows that QOM type */
bool has_type(QTestState *qts, const char *type);

/* The command line of the first QEMU, with another type of codec */
char *codec_args(const char *codec);

/* A number that query-virtio-video tells of the first device */
int64_t query_number(Rig *r, const char *what);

/* Bytes that count for max-mem, of the first device */
int64_t memory_used(Rig *r);

/*
 * A second QEMU whose device has software codecs; its driver is started.
 * NULL, and the test is skipped, where QEMU has no such object.
 */
Rig *libav_rig(Rig *first);

/* Where the first memory device is */
uint64_t dimm_addr(QTestState *qts);

/*
 * Hostile guests: each has a QEMU of its own, whose memory is shared, so that
 * many thousand commands take seconds only
 */

/* A loop's rounds, and how many of them let memory settle */
#define MANY                10000
#define SETTLED             2000

/* By default: max-streams, of which both are multiples */
#define MAX_STREAMS         16

typedef struct Hostile {
    Rig *r;
    QVVRamFile *ram;
} Hostile;

/* As the test's own QEMU, with @more options; the driver is started */
Hostile hostile_start(const char *more, const QVVOptions *opts);
/* The same with another type of codec, which QEMU has */
Hostile hostile_start_codec(const char *codec);
/* The device works, and no thread is left */
void hostile_end(Hostile *h);
/* QEMU ends, whatever its codecs do */
void hostile_quit(Hostile *h);

/* What takes long and depends on no machine is done once; skips the test */
bool not_here(Rig *rig);

/* Events that may wait by default: max-events */
#define MAX_EVENTS          1024

/* How long QMP may take to answer, in microseconds */
#define QMP_LIMIT           (100 * MS)
/* What a loop may leave behind beside the guest's own RAM, in KiB */
#define GROWTH_LIMIT        1024

/* Microseconds for which a thread has run, and was ready but did not run */
typedef struct Sched {
    int64_t ran, waited;
} Sched;

/**
 * Watch: what a guest does to QEMU meanwhile.
 * @tids: QEMU's threads before
 * @n: answers so far, of QMP and to what was timed
 * @longest: that one took, in microseconds
 * @longest_own: the same without waits for a CPU
 * @began, @self, @main_thread, @others: at the last watch_begin()
 * @threads: most there were
 * @resident, @guest: VmRSS, and the guest's RAM in it, before; in KiB
 */
typedef struct Watch {
    Rig *r;
    char **tids;
    unsigned n;
    int64_t longest, longest_own;
    int64_t began;
    Sched self, main_thread, others;
    int64_t threads;
    int64_t resident, guest;
} Watch;

/* No stream is open */
void watch_start(Watch *w, Rig *r);
/* Memory counts from here on */
void watch_settled(Watch *w);
/* Let QMP answer once */
void watch(Watch *w);
/*
 * What the main loop does between the two may take no longer than an answer of
 * QMP, which would have to wait for it
 */
void watch_begin(Watch *w);
void watch_done(Watch *w);
/* Reset the device, and be through with it, in that time */
void watch_reset(Watch *w);
/* The same for what stops and goes on with the machine */
void watch_qmp(Watch *w, const char *command);
/* Print all, and compare it with what may be; no stream is left */
void watch_end(Watch *w);
/* The same, with another limit of memory in KiB */
void watch_end_growth(Watch *w, int64_t limit);
/* The same of QMP alone, instead of it */
void watch_end_qmp(Watch *w);

/*
 * Migration
 */

/* Until a migration of @qts has that status, which is not "failed" */
void wait_migration(QTestState *qts, const char *wanted);

/*
 * The device's state is not taken by a QEMU whose command line has @other for
 * @here; the machine goes on at this side.
 */
void assert_other_side_refused(Rig *r, const char *here, const char *other);

/* Does something keep @qts from being migrated? */
bool is_migration_blocked(QTestState *qts);

/*
 * All of them
 */

/* Properties of a device that is small enough to be outgrown */
#define SMALL_FRAMES ",max-width=640,max-height=480"
/* The codec of the device under test */
#define CODEC "-object video-codec-test,id=codec0"

/* Adds one test per case to qgraph, for every machine and transport */
void virtio_video_add_tests(const TestCase *cases, unsigned n);
/* The same for devices that speak V4L2 */
void virtio_media_add_tests(const TestCase *cases, unsigned n);

#endif
