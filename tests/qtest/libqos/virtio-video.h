/*
 * libqos driver of virtio video, draft v10
 *
 * A small but complete guest driver for tests and tools.  It keeps the two
 * virtqueues, builds commands, receives and parses events, gives memory to
 * resources and knows the layout of frames.  It never hides what the device
 * said: an ERROR answer is an event like any other.
 *
 * Guest memory is reached in one of two ways, see QVVRam: through the qtest
 * socket, which works with every machine, or through a mapping of guest RAM
 * that is shared with QEMU, where only kicks need the socket.
 *
 * Everything here belongs to one thread, that of the test.  What an allocation
 * or the sequence of set-up cannot mend is a g_assert(); what the device
 * answers never is, unless the function's name says "assert".
 *
 *     QVVDriver *d = qvv_new(v, alloc, qts);
 *     qvv_start(d, NULL);
 *     qvv_assert_ok(d, qvv_open(d, 0, VIRTIO_VIDEO_STREAM_TYPE_DECODER));
 *     ...
 *     qvv_free(d);
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_LIBQOS_VIRTIO_VIDEO_H
#define TESTS_LIBQOS_VIRTIO_VIDEO_H

#include "qgraph.h"
#include "virtio.h"
#include "virtio-pci.h"
#include "hw/virtio/virtio-video-wire.h"

#define QVV_PAGE_SIZE           4096
/* How long qvv_wait() and the asserts wait for an answer, in microseconds */
#define QVV_TIMEOUT_US          (30 * G_USEC_PER_SEC)
#define QVV_MAX_CONTROLS        16

/*
 * qgraph: nodes virtio-video-pci and virtio-video-device, both of which
 * produce the interface "virtio-video", a QVirtioVideo.
 */

typedef struct QVirtioVideo {
    QVirtioDevice *vdev;
    QVirtioPCIDevice *pci;      /* NULL with MMIO */
} QVirtioVideo;

typedef struct QVirtioVideoPCI {
    QVirtioPCIDevice pci_vdev;
    QVirtioVideo video;
} QVirtioVideoPCI;

typedef struct QVirtioVideoDevice {
    QOSGraphObject obj;
    QVirtioVideo video;
} QVirtioVideoDevice;

/* For the nodes of this and of another protocol with such queues */
void *qvirtio_video_device_create(void *virtio_dev, QGuestAllocator *t_alloc,
                                  void *addr);
void *qvirtio_video_pci_create(void *pci_bus, QGuestAllocator *t_alloc,
                               void *addr);

/*
 * Guest memory
 */

/**
 * struct QVVRam - how guest memory is reached
 * @qts: the qtest connection; used when @host is NULL and for kicks
 * @host: mapping of guest RAM shared with QEMU, or NULL
 * @base: guest physical address of @host[0]
 * @size: bytes of the mapping
 */
typedef struct QVVRam {
    QTestState *qts;
    uint8_t *host;
    uint64_t base;
    uint64_t size;
} QVVRam;

void qvv_ram_read(const QVVRam *ram, uint64_t addr, void *buf, size_t len);
void qvv_ram_write(const QVVRam *ram, uint64_t addr, const void *buf,
                   size_t len);

/**
 * struct QVVRamFile - a memfd that a test shares with QEMU as guest RAM
 * @fd: inherited by the QEMU that is started afterwards
 * @host: the mapping
 * @size: bytes
 */
typedef struct QVVRamFile {
    int fd;
    uint8_t *host;
    uint64_t size;
} QVVRamFile;

/**
 * qvv_ram_file_new - makes such a memory
 * @sealed: its size can't change, as that of QEMU's own memfds; /dev/udmabuf
 *          takes pages only if they stay
 *
 * Returns NULL with errno set if there is not so much memory
 */
QVVRamFile *qvv_ram_file_new(uint64_t size, bool sealed);
void qvv_ram_file_free(QVVRamFile *file);

/**
 * qvv_ram_file_args - QEMU's options for it
 *
 * Returns: " -m ... -object ... -machine memory-backend=...", to be freed
 * with g_free()
 */
char *qvv_ram_file_args(const QVVRamFile *file);

/*
 * The driver
 */

/**
 * struct QVVQueue - own view of a virtqueue; libqos' QVirtQueue set it up
 * @packed, @event_idx, @indirect: what kind of ring it is
 * @free_ids: free descriptors, in the order in which they are taken; those of
 *            a packed ring are buffer IDs, of which a chain takes as many as
 *            it has descriptors, too
 * @free_head: index of the first one in @free_ids
 * @num_free: how many there are
 * @chain_next: per descriptor the next one of its chain, for freeing
 * @tables: indirect tables in guest memory, one per descriptor; or 0
 * @avail_idx: counts what was added, chains or, in a packed ring, descriptors
 * @published_idx: @avail_idx at the last time when the device could see it
 * @head_flags: with which the descriptor at @published_idx is published
 * @kicked_idx: @avail_idx at the last kick
 * @used_idx: counts what was taken back, as @avail_idx does
 */
typedef struct QVVQueue {
    QVirtQueue *vq;
    bool packed;
    bool event_idx;
    bool indirect;
    uint16_t *free_ids;
    uint16_t free_head;
    uint16_t num_free;
    uint16_t *chain_next;
    uint64_t tables;
    uint16_t avail_idx;
    uint16_t published_idx;
    uint16_t head_flags;
    uint16_t kicked_idx;
    uint16_t used_idx;
} QVVQueue;

/**
 * struct QVVOptions - what qvv_start() does; 0 means the default
 * @features: feature bits that the driver wants, of those offered; default:
 *            everything but VIRTIO_RING_F_EVENT_IDX, VIRTIO_F_RING_PACKED,
 *            VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_IN_ORDER and
 *            VIRTIO_VIDEO_F_V4L2_COMPATIBLE_LAST_BUFFER
 * @more_features: wanted in addition to @features or its default
 * @event_buffers: number of event buffers posted at start; default: as many
 *                 as the queue has room for, at most 64
 * @event_size: bytes of each event buffer; default 2048
 * @manual_events: event buffers are not posted, neither at start nor after an
 *                 event; the test does it with qvv_post_events()
 * @no_interrupts: tells the device so for both queues
 * @indirect: each chain is an indirect table, if VIRTIO_RING_F_INDIRECT_DESC
 *            was negotiated
 */
typedef struct QVVOptions {
    uint64_t features;
    uint64_t more_features;
    unsigned event_buffers;
    uint32_t event_size;
    bool manual_events;
    bool no_interrupts;
    bool indirect;
} QVVOptions;

typedef struct QVVDriver {
    QVirtioVideo *video;
    QVirtioDevice *vdev;
    QTestState *qts;
    QGuestAllocator *alloc;
    QVVRam ram;
    QVVOptions opts;
    uint64_t features;          /* negotiated */
    uint32_t max_streams;       /* of the config space */
    uint32_t caps_length;

    QVVQueue cmdq;
    QVVQueue eventq;
    uint64_t *cmd_mem;          /* per descriptor of cmdq: its memory */
    uint32_t *cmd_mem_size;
    uint64_t *event_mem;        /* per descriptor of eventq */
    bool hold;                  /* between qvv_hold() and qvv_flush() */
    unsigned events_unkicked;   /* event buffers posted since the last kick */
    uint32_t next_cookie;
    GQueue stash;               /* QVVEvents received but not yet asked for */
    bool started;
} QVVDriver;

/**
 * qvv_new - a driver for a device that libqos has found
 * @v: the "virtio-video" interface; not owned
 * @alloc: where guest memory comes from; not owned
 * @qts: the connection to QEMU; not owned
 *
 * The device is not touched before qvv_start().
 */
QVVDriver *qvv_new(QVirtioVideo *v, QGuestAllocator *alloc, QTestState *qts);

/**
 * qvv_use_ram_file - reach guest memory through the mapping
 * @base: guest physical address of RAM: 0 on x86, 0x40000000 on arm virt
 *
 * Call before qvv_start().
 */
void qvv_use_ram_file(QVVDriver *d, const QVVRamFile *file, uint64_t base);

/**
 * qvv_start - resets the device and brings it to DRIVER_OK
 * @opts: NULL for the defaults
 *
 * Negotiates features, sets up both queues, posts the event buffers and reads
 * the config space.  May be called again after qvv_stop().
 *
 * Returns: false if the device refused FEATURES_OK; it is in reset then.
 */
bool qvv_start(QVVDriver *d, const QVVOptions *opts);

/* Resets the device and frees the queues; resources' memory stays */
void qvv_stop(QVVDriver *d);
/* As qvv_stop(), but the device is gone already (unplugged): only frees */
void qvv_abandon(QVVDriver *d);
/* Includes qvv_stop() if it runs */
void qvv_free(QVVDriver *d);

/* Features that the device offers */
uint64_t qvv_offered_features(QVVDriver *d);
/* DEVICE_NEEDS_RESET is set: virtio_error() was called */
bool qvv_is_broken(QVVDriver *d);
/* Reads (and so clears) the interrupt status: was there one for a queue? */
bool qvv_interrupt(QVVDriver *d);

/**
 * qvv_ring_reset - VIRTIO_F_RING_RESET of one queue, and set it up anew
 * @index: VIRTIO_VIDEO_VQ_*
 *
 * Returns: false if the transport has no such thing (MMIO) or the feature was
 * not negotiated.  A reset event queue has no buffers: qvv_post_events().
 */
bool qvv_ring_reset(QVVDriver *d, unsigned index);

/*
 * Virtqueues by hand, for hostile tests
 */

/* One descriptor of a chain; VRING_DESC_F_NEXT is set as needed */
typedef struct QVVDesc {
    uint64_t addr;
    uint32_t len;
    bool write;
} QVVDesc;

/* Adds a chain; returns its head or, in a packed ring, ID; or -1 if full */
int qvv_queue_add(QVVDriver *d, QVVQueue *q, const QVVDesc *desc, unsigned n);
/* Publishes what was added and notifies the device if it wants that */
void qvv_queue_kick(QVVDriver *d, QVVQueue *q);
/* Takes the next used chain, whose descriptors become free; false: none */
bool qvv_queue_pop(QVVDriver *d, QVVQueue *q, uint16_t *head, uint32_t *len);

/* Posts up to @n event buffers of opts.event_size; returns how many */
unsigned qvv_post_events(QVVDriver *d, unsigned n);

/**
 * qvv_cmd_raw - any bytes on the command queue, answered or not
 * @req: readable part; split at @split if that is inside
 * @req_len: its length; 0: the chain has no readable part
 * @split: 0: one descriptor; else two, the first of so many bytes
 * @resp: the writable part is copied here; may be NULL
 * @resp_len: bytes of writable part; 0: the chain has none
 * @timeout_us: how long to wait for the chain to be used
 *
 * Returns: the used length, or -1 if the device did not give the chain back
 * (a broken device does not).
 */
int64_t qvv_cmd_raw(QVVDriver *d, const void *req, size_t req_len,
                    size_t split, void *resp, size_t resp_len,
                    int64_t timeout_us);

/*
 * Capabilities
 */

typedef struct QVVRange {
    uint32_t min;
    uint32_t max;
    uint32_t step;
} QVVRange;

/* Each is (id, caps): for an integer @range, for an enum @mask */
typedef struct QVVControlCaps {
    uint32_t id;
    QVVRange range;
    uint32_t mask;
} QVVControlCaps;

typedef struct QVVCodedCaps {
    uint32_t format;            /* VIRTIO_VIDEO_CODED_FORMAT_* */
    QVVRange num_resources;
    QVVRange resource_size;     /* bytes */
    bool guest_pages;
    bool virtio_object;
    unsigned n_controls;
    QVVControlCaps controls[QVV_MAX_CONTROLS];
} QVVCodedCaps;

typedef struct QVVRawCaps {
    uint32_t planes_layout_mask;
    uint32_t fourcc;
    uint64_t modifier;
    QVVRange width;
    QVVRange height;
    uint32_t stride_align_mask;
    uint32_t height_align_mask;
    uint32_t plane_align_mask;
    QVVRange num_resources;
    bool guest_pages;
    bool virtio_object;
    bool crop;
} QVVRawCaps;

/* @links[stream_type] holds, for coded set i, 1 << j for each raw set j */
typedef struct QVVCaps {
    unsigned n_coded;
    QVVCodedCaps *coded;
    unsigned n_raw;             /* at most 64 */
    QVVRawCaps *raw;
    bool has_link[2];
    uint64_t *links[2];         /* n_coded of them, or NULL */
} QVVCaps;

/**
 * qvv_query_caps - QUERY_CAPS, parsed and checked against the draft's rules
 * @why: what is wrong with the answer; to be freed with g_free(); may be NULL
 *
 * Returns: the capabilities, or NULL with @why set
 */
QVVCaps *qvv_query_caps(QVVDriver *d, char **why);
/* The same from bytes, the 8 bytes of the response header included */
QVVCaps *qvv_caps_parse(const uint8_t *data, size_t len, char **why);
void qvv_caps_free(QVVCaps *caps);
/* NULL if there is none */
const QVVCodedCaps *qvv_caps_coded(const QVVCaps *caps, uint32_t format);
/* That of the two which a decoder, or an encoder, has: what its LINK says */
const QVVCodedCaps *qvv_caps_coder(const QVVCaps *caps, uint32_t stream_type,
                                   uint32_t format);
/* The first one: other coded formats may have another, of other sizes */
const QVVRawCaps *qvv_caps_raw(const QVVCaps *caps, uint32_t fourcc);
/* That which goes with the coded format; NULL if there is none */
const QVVRawCaps *qvv_caps_linked_raw(const QVVCaps *caps,
                                      uint32_t stream_type, uint32_t format,
                                      uint32_t fourcc);
bool qvv_caps_linked(const QVVCaps *caps, uint32_t stream_type,
                     uint32_t format, uint32_t fourcc);
/* "h264", "NV12"; never NULL */
const char *qvv_coded_format_name(uint32_t format);
const char *qvv_fourcc_name(uint32_t fourcc);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(QVVCaps, qvv_caps_free)

/*
 * Parameters
 */

typedef struct QVVRawFormat {
    uint32_t planes_layout;     /* VIRTIO_VIDEO_PLANES_LAYOUT_* */
    uint32_t fourcc;
    uint64_t modifier;
    uint32_t width;             /* pixels */
    uint32_t height;
    uint32_t stride_align;      /* bytes */
    uint32_t height_align;      /* rows */
    uint32_t plane_align;       /* bytes */
} QVVRawFormat;

typedef struct QVVRect {
    uint32_t left;
    uint32_t top;
    uint32_t width;
    uint32_t height;
} QVVRect;

/* What a container in an event holds */
typedef struct QVVParams {
    uint32_t container;         /* VIRTIO_VIDEO_TLV_CODED_SET or RAW_SET */
    uint32_t present;           /* 1 << VIRTIO_VIDEO_TLV_* of what was there */
    uint32_t coded_format;
    QVVRawFormat raw;
    uint32_t num_resources;
    QVVRect crop;
    unsigned n_attached;        /* resources with a backing */
    uint64_t attached;          /* the first 64 of them: 1 << id */
    unsigned n_controls;
    struct {
        uint32_t id;
        uint32_t value;
    } controls[QVV_MAX_CONTROLS];
} QVVParams;

static inline bool qvv_params_has(const QVVParams *p, uint32_t tlv_type)
{
    return p->present & (1u << tlv_type);
}

/*
 * Building a container for SET_PARAMS: a GByteArray that is always whole and
 * can be sent at any time.  Free it with g_byte_array_unref(), or use
 * g_autoptr(GByteArray).
 */

struct QVVResource;

GByteArray *qvv_set_new(uint32_t container);
void qvv_set_tlv(GByteArray *set, uint32_t type, const void *value,
                 uint32_t len);
void qvv_set_coded_format(GByteArray *set, uint32_t format);
void qvv_set_raw_format(GByteArray *set, const QVVRawFormat *format);
/* CODED_RESOURCES or RAW_RESOURCES, whichever the container wants */
void qvv_set_num_resources(GByteArray *set, uint32_t num);
void qvv_set_crop(GByteArray *set, const QVVRect *crop);
/* Attach: RESOURCE_GUEST_PAGES with the entries of @res */
void qvv_set_pages(GByteArray *set, const struct QVVResource *res);
/* V4L2_CONTROLS with one value; @id is VIRTIO_VIDEO_V4L2_CID_* */
void qvv_set_control(GByteArray *set, uint32_t id, uint32_t value);

/*
 * Layout of frames
 */

#define QVV_MAX_FRAME_PLANES    3

/**
 * struct QVVLayout - where the planes of a raw frame lie
 * @n_planes: 1 (XRGB8888), 2 (NV12, P010) or 3 (YUV420)
 * @n_buffers: 1, or @n_planes with MULTI_BUFFERS
 * @stride: bytes from row to row
 * @row_bytes: bytes of a row that hold pixels
 * @rows: rows of the plane that hold pixels
 * @size: bytes of the plane, all padding included
 * @buffer: the buffer that holds the plane
 * @offset: of the plane in that buffer
 * @buffer_size: bytes of each buffer, not rounded up to pages
 */
typedef struct QVVLayout {
    unsigned n_planes;
    unsigned n_buffers;
    uint32_t stride[QVV_MAX_FRAME_PLANES];
    uint32_t row_bytes[QVV_MAX_FRAME_PLANES];
    uint32_t rows[QVV_MAX_FRAME_PLANES];
    uint64_t size[QVV_MAX_FRAME_PLANES];
    unsigned buffer[QVV_MAX_FRAME_PLANES];
    uint64_t offset[QVV_MAX_FRAME_PLANES];
    uint64_t buffer_size[QVV_MAX_FRAME_PLANES];
} QVVLayout;

/* False if the fourcc is unknown or a number makes no sense */
bool qvv_layout(QVVLayout *layout, const QVVRawFormat *format);

/*
 * Resources
 */

typedef struct QVVEntry {
    uint64_t addr;
    uint32_t len;
} QVVEntry;

/* One buffer of a resource: @size bytes, in @entries in this order */
typedef struct QVVBuffer {
    uint64_t size;
    unsigned n_entries;
    QVVEntry *entries;
} QVVBuffer;

typedef enum QVVPlacement {
    QVV_CONTIGUOUS,             /* each buffer one entry */
    QVV_SCATTERED,              /* an entry for each page, shuffled */
} QVVPlacement;

typedef struct QVVResource {
    uint32_t id;
    unsigned n_buffers;
    QVVBuffer buffer[VIRTIO_VIDEO_MAX_PLANES];
} QVVResource;

/**
 * struct QVVPool - resources 0 .. n-1 of one queue and their memory
 * @base: guest physical address of all of it; 0: it is not the guest's RAM
 */
typedef struct QVVPool {
    uint64_t base;
    unsigned n;
    QVVResource *res;
} QVVPool;

/**
 * qvv_pool_new - memory for @n resources
 * @n_buffers: buffers of each resource
 * @sizes: bytes of each of those; rounded up to pages
 *
 * The pages of QVV_SCATTERED are shuffled over the whole pool, always in the
 * same way.  Nothing is told to the device.
 */
QVVPool *qvv_pool_new(QVVDriver *d, unsigned n, unsigned n_buffers,
                      const uint64_t *sizes, QVVPlacement placement);
/* The device must not use it any more */
void qvv_pool_free(QVVDriver *d, QVVPool *pool);

void qvv_buffer_write(QVVDriver *d, const QVVBuffer *buf, uint64_t offset,
                      const void *data, size_t len);
void qvv_buffer_read(QVVDriver *d, const QVVBuffer *buf, uint64_t offset,
                     void *data, size_t len);
/**
 * qvv_buffer_ptr - the mapping at @offset
 * @len: bytes that can be reached from there
 *
 * Returns: NULL without a mapping, see qvv_use_ram_file()
 */
uint8_t *qvv_buffer_ptr(QVVDriver *d, const QVVBuffer *buf, uint64_t offset,
                        size_t *len);

/*
 * Commands.  Each returns its cookie, never 0, at once; the answer is an event
 * with that cookie.  Nothing is checked: wrong arguments are the device's
 * business.
 */

/* Until qvv_flush() commands are only collected, for one kick */
void qvv_hold(QVVDriver *d);
void qvv_flush(QVVDriver *d);

uint32_t qvv_open(QVVDriver *d, uint32_t stream, uint32_t stream_type);
uint32_t qvv_close(QVVDriver *d, uint32_t stream);
/* @queue: VIRTIO_VIDEO_QUEUE_TYPE_* */
uint32_t qvv_set_params(QVVDriver *d, uint32_t stream, uint32_t queue,
                        const GByteArray *set);
/* @container: VIRTIO_VIDEO_TLV_CODED_SET or RAW_SET */
uint32_t qvv_get_params(QVVDriver *d, uint32_t stream, uint32_t queue,
                        uint32_t container);
uint32_t qvv_unblock(QVVDriver *d, uint32_t stream);
uint32_t qvv_drain(QVVDriver *d, uint32_t stream);
/* @queue: the queue to be reset */
uint32_t qvv_queue_reset(QVVDriver *d, uint32_t stream, uint32_t queue);
/* Decoder input: @len bytes at @offset of the resource's buffer */
uint32_t qvv_queue_input(QVVDriver *d, uint32_t stream, uint32_t resource,
                         uint64_t timestamp, uint32_t offset, uint32_t len);
/* Encoder input: @n planes, @sizes[i] bytes at @offsets[i] of their buffers */
uint32_t qvv_queue_planes(QVVDriver *d, uint32_t stream, uint32_t resource,
                          uint64_t timestamp, unsigned n,
                          const uint32_t *offsets, const uint32_t *sizes);
/* The same, laid out as the device lays out a decoder's frames */
uint32_t qvv_queue_frame(QVVDriver *d, uint32_t stream, uint32_t resource,
                         uint64_t timestamp, const QVVLayout *layout);
/* Output of a decoder or encoder */
uint32_t qvv_queue_output(QVVDriver *d, uint32_t stream, uint32_t resource);
/* A command as it is, header and all; its cookie is replaced */
uint32_t qvv_cmd(QVVDriver *d, const void *cmd, size_t len);
/* Commands that the device has not given back yet (nor been asked for) */
unsigned qvv_cmds_in_flight(QVVDriver *d);

/*
 * Events
 */

typedef struct QVVEvent {
    uint32_t type;              /* VIRTIO_VIDEO_CMD_STREAM_* */
    uint32_t stream;
    uint32_t cookie;
    uint32_t flags;             /* VIRTIO_VIDEO_EVENT_FLAG_* */

    bool has_params;            /* SET_PARAMS, GET_PARAMS with a container */
    QVVParams params;

    bool has_buffer;            /* RESOURCE_QUEUE with a whole body */
    uint32_t queue_flags;       /* VIRTIO_VIDEO_QUEUE_FLAG_* */
    uint64_t timestamp;
    uint32_t offsets[VIRTIO_VIDEO_MAX_PLANES];
    uint32_t data_sizes[VIRTIO_VIDEO_MAX_PLANES];

    bool malformed;             /* shorter or other than the draft says */
    uint32_t len;               /* bytes that the device wrote */
    uint8_t raw[];              /* the bytes */
} QVVEvent;

void qvv_event_free(QVVEvent *ev);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(QVVEvent, qvv_event_free)

/**
 * qvv_next - the next event in the order in which the device wrote them
 * @timeout_us: 0: only look
 *
 * Its buffer is posted again, but for opts.manual_events.
 *
 * Returns: the caller's, or NULL if there was none in that time
 */
QVVEvent *qvv_next(QVVDriver *d, int64_t timeout_us);

/* The same of one stream; the others' stay for later */
QVVEvent *qvv_next_of(QVVDriver *d, uint32_t stream, int64_t timeout_us);

/**
 * qvv_wait_cookie - the answer to one command
 *
 * Other events that come in between are kept for qvv_next(), in order.
 *
 * Returns: the caller's, or NULL if there was none in that time
 */
QVVEvent *qvv_wait_cookie(QVVDriver *d, uint32_t cookie, int64_t timeout_us);

/* As above, with QVV_TIMEOUT_US and an assertion that it comes */
QVVEvent *qvv_wait(QVVDriver *d, uint32_t cookie);
/* The next STANDALONE event of that type, an assertion that it comes */
QVVEvent *qvv_wait_standalone(QVVDriver *d, uint32_t type);
/* The answer has neither ERROR nor CANCELED */
void qvv_assert_ok(QVVDriver *d, uint32_t cookie);
void qvv_assert_error(QVVDriver *d, uint32_t cookie);
void qvv_assert_canceled(QVVDriver *d, uint32_t cookie);
/* Nothing comes for that long, and nothing is stashed */
void qvv_assert_quiet(QVVDriver *d, int64_t timeout_us);
/* "SET_PARAMS stream 0 cookie 7 ERROR|BLOCKED", to be freed with g_free() */
char *qvv_event_str(const QVVEvent *ev);

#endif
