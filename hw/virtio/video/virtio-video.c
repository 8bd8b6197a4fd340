/*
 * Virtio video device, draft v10
 *
 * Translates between the virtqueues and streams: takes commands off the
 * command queue, copies and checks them, calls stream.c, and writes what
 * stream.c has to say into event buffers.  Everything runs in the main loop
 * with the BQL held.
 *
 * Spec: virtio-video draft v10, virtio-comment, 13 February 2026.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <zlib.h>
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-bus.h"
#include "hw/virtio/virtio-video-wire.h"
#include "migration/blocker.h"
#include "migration/vmstate.h"
#include "qom/object_interfaces.h"
#include "tlv.h"
#include "trace.h"
#include "virtio-video-device.h"

#define COMMAND_QUEUE_SIZE 256
#define EVENT_QUEUE_SIZE 256

/* Commands, and bytes of them, taken before others may use the main loop */
#define COMMANDS_PER_PASS 64
#define BYTES_PER_PASS (256 * KiB)

/* A request that attaches all of a queue: 97,000 pages for 32 frames of 4K */
#define MAX_REQUEST_SIZE (2 * MiB)

/* Parameters of a set besides the attached resources */
#define MAX_SINGLE_PARAMS (8 + VIDEO_CONTROL__MAX)

/* Commands of one stream that may wait in its input queue */
#define MAX_STREAM_COMMANDS 256

/* An event that waits for a buffer. */
struct VirtIOVideoEvent {
    QSIMPLEQ_ENTRY(VirtIOVideoEvent) next;
    size_t size;
    uint8_t data[];
};

static bool virtio_video_has_feature(VirtIOVideo *dev, unsigned feature)
{
    return virtio_vdev_has_feature(VIRTIO_DEVICE(dev), feature);
}

/* May the queues be touched? */
static bool virtio_video_is_running(VirtIOVideo *dev)
{
    return runstate_is_running() &&
           (VIRTIO_DEVICE(dev)->status & VIRTIO_CONFIG_S_DRIVER_OK);
}

/*
 * Capabilities and config space
 */

/* The response to QUERY_CAPS; @features: the negotiated or offered ones */
static GByteArray *virtio_video_caps(VirtIOVideo *dev, uint64_t features)
{
    struct virtio_video_device_query_caps_resp resp = {
        .result = cpu_to_le32(VIRTIO_VIDEO_RESULT_OK),
    };
    TlvCaps caps = {
        .codec = &dev->ctx.caps,
        .max_width = dev->ctx.max_width,
        .max_height = dev->ctx.max_height,
        .max_coded_size = dev->ctx.max_coded_size,
        .max_resources = dev->ctx.max_resources,
        .decoder = virtio_has_feature(features, VIRTIO_VIDEO_F_DECODER),
        .encoder = virtio_has_feature(features, VIRTIO_VIDEO_F_ENCODER),
    };
    GByteArray *buf = g_byte_array_new();

    g_byte_array_append(buf, (const uint8_t *)&resp, sizeof(resp));
    tlv_write_caps(buf, &caps);
    return buf;
}

static uint32_t virtio_video_caps_length(VirtIOVideo *dev, uint64_t features)
{
    g_autoptr(GByteArray) caps = virtio_video_caps(dev, features);

    return caps->len;
}

static void virtio_video_get_config(VirtIODevice *vdev, uint8_t *config)
{
    VirtIOVideo *dev = VIRTIO_VIDEO(vdev);
    uint64_t features = vdev->status & VIRTIO_CONFIG_S_FEATURES_OK ?
                        vdev->guest_features : vdev->host_features;
    struct virtio_video_config cfg = {
        .max_streams = cpu_to_le32(dev->max_streams),
        .caps_length = cpu_to_le32(virtio_video_caps_length(dev, features)),
    };

    memcpy(config, &cfg, sizeof(cfg));
}

static uint64_t virtio_video_get_features(VirtIODevice *vdev,
                                          uint64_t features, Error **errp)
{
    VirtIOVideo *dev = VIRTIO_VIDEO(vdev);

    if (dev->ctx.caps.n_decoders) {
        virtio_add_feature(&features, VIRTIO_VIDEO_F_DECODER);
    }
    if (dev->ctx.caps.n_encoders) {
        virtio_add_feature(&features, VIRTIO_VIDEO_F_ENCODER);
    }
    virtio_add_feature(&features, VIRTIO_VIDEO_F_RESOURCE_GUEST_PAGES);
    virtio_add_feature(&features, VIRTIO_VIDEO_F_RESOURCE_NON_CONTIG);
    virtio_add_feature(&features, VIRTIO_VIDEO_F_V4L2_COMPATIBLE_LAST_BUFFER);
    return features;
}

/* Of all that the device can offer, whatever the guest negotiates */
static uint32_t virtio_video_caps_crc(VirtIOVideo *dev)
{
    uint64_t features = virtio_video_get_features(VIRTIO_DEVICE(dev), 0, NULL);
    g_autoptr(GByteArray) caps = virtio_video_caps(dev, features);

    return crc32(0, caps->data, caps->len);
}

/* Spec: "Feature bits", what the driver MUST negotiate */
static int virtio_video_validate_features(VirtIODevice *vdev)
{
    VirtIOVideo *dev = VIRTIO_VIDEO(vdev);

    if (!virtio_video_has_feature(dev, VIRTIO_VIDEO_F_DECODER) &&
        !virtio_video_has_feature(dev, VIRTIO_VIDEO_F_ENCODER)) {
        qemu_log_mask(LOG_GUEST_ERROR, "%s: neither encoder nor decoder "
                      "negotiated\n", vdev->name);
        return -EINVAL;
    }
    if (!virtio_video_has_feature(dev, VIRTIO_VIDEO_F_RESOURCE_GUEST_PAGES)) {
        qemu_log_mask(LOG_GUEST_ERROR, "%s: no memory for resources "
                      "negotiated\n", vdev->name);
        return -EINVAL;
    }
    return 0;
}

/*
 * Migration: streams have state in the codec that can't be moved yet
 */

static bool virtio_video_block_migration(VirtIOVideo *dev, Error **errp)
{
    if (dev->blocker) {
        return true;
    }
    error_setg(&dev->blocker, "%s: a video stream is open",
               VIRTIO_DEVICE(dev)->name);
    return migrate_add_blocker(&dev->blocker, errp) == 0;
}

static void virtio_video_update_blocker(VirtIOVideo *dev)
{
    if (!dev->blocker) {
        return;
    }
    for (uint32_t i = 0; i < dev->max_streams; i++) {
        if (dev->streams[i]) {
            return;
        }
    }
    migrate_del_blocker(&dev->blocker);
}

/* Events that wait for buffers go along, each behind its size. */
static int virtio_video_pre_save(void *opaque)
{
    VirtIOVideo *dev = opaque;
    GByteArray *buf = g_byte_array_new();
    VirtIOVideoEvent *event;

    QSIMPLEQ_FOREACH(event, &dev->events, next) {
        uint32_t size = cpu_to_le32(event->size);

        g_byte_array_append(buf, (const uint8_t *)&size, sizeof(size));
        g_byte_array_append(buf, event->data, event->size);
    }
    g_free(dev->mig_events);
    dev->mig_events_size = buf->len;
    dev->mig_events = g_byte_array_free(buf, false);
    return 0;
}

static void virtio_video_add_event(VirtIOVideo *dev, const void *data,
                                   size_t size)
{
    VirtIOVideoEvent *event = g_malloc(sizeof(*event) + size);

    event->size = size;
    memcpy(event->data, data, size);
    QSIMPLEQ_INSERT_TAIL(&dev->events, event, next);
    dev->n_events++;
    qemu_bh_schedule(dev->event_bh);
}

static int virtio_video_post_load(void *opaque, int version_id)
{
    VirtIOVideo *dev = opaque;
    const uint8_t *p = dev->mig_events;
    size_t left = dev->mig_events_size;

    while (left) {
        uint32_t size = left < sizeof(size) ? UINT32_MAX : ldl_le_p(p);

        if (size < sizeof(struct virtio_video_event_header) ||
            size > left - sizeof(size)) {
            error_report("%s: broken event", VIRTIO_DEVICE(dev)->name);
            return -EINVAL;
        }
        virtio_video_add_event(dev, p + sizeof(size), size);
        p += sizeof(size) + size;
        left -= sizeof(size) + size;
    }
    g_clear_pointer(&dev->mig_events, g_free);
    return 0;
}

/*
 * The event queue
 */

static void virtio_video_drop_events(VirtIOVideo *dev)
{
    while (!QSIMPLEQ_EMPTY(&dev->events)) {
        VirtIOVideoEvent *event = QSIMPLEQ_FIRST(&dev->events);

        QSIMPLEQ_REMOVE_HEAD(&dev->events, next);
        g_free(event);
    }
    dev->n_events = 0;
}

/* Queue an event; @params, if any, follow its fixed part of @size bytes. */
static void virtio_video_event(VirtIOVideo *dev, const void *data, size_t size,
                               const VideoParams *params)
{
    g_autoptr(GByteArray) buf = g_byte_array_new();

    g_byte_array_append(buf, data, size);
    if (params) {
        tlv_write_params(buf, params);
    }
    virtio_video_add_event(dev, buf->data, buf->len);
}

static void virtio_video_error_event(VirtIOVideo *dev, uint32_t type,
                                     uint32_t stream_id, uint32_t cookie)
{
    struct virtio_video_event_header header = {
        .event_type = cpu_to_le32(type),
        .stream_id = cpu_to_le32(stream_id),
        .async_response_cookie = cpu_to_le32(cookie),
        .event_flags = cpu_to_le32(VIRTIO_VIDEO_EVENT_FLAG_ERROR),
    };

    trace_virtio_video_refused(type, stream_id, cookie);
    virtio_video_event(dev, &header, sizeof(header), NULL);
}

/*
 * Put an event into the driver's buffer.
 * Returns: false if the device is broken now.
 */
static bool virtio_video_write_event(VirtIOVideo *dev, VirtQueueElement *elem,
                                     VirtIOVideoEvent *event)
{
    const size_t header = sizeof(struct virtio_video_event_header);
    size_t room = iov_size(elem->in_sg, elem->in_num);
    size_t size = event->size;

    if (room < size) {
        struct virtio_video_event_header *h = (void *)event->data;

        if (room < header) {
            virtio_error(VIRTIO_DEVICE(dev), "event buffer of %zu bytes",
                         room);
            return false;
        }
        h->event_flags |= cpu_to_le32(VIRTIO_VIDEO_EVENT_FLAG_ERROR);
        size = header;
    }
    iov_from_buf(elem->in_sg, elem->in_num, 0, event->data, size);
    virtqueue_push(dev->event_vq, elem, size);
    return true;
}

/* Returns: NULL if there is no buffer; then a new one will kick. */
static VirtQueueElement *virtio_video_event_buffer(VirtIOVideo *dev)
{
    VirtQueueElement *elem = virtqueue_pop(dev->event_vq, sizeof(*elem));

    if (!elem) {
        virtio_queue_set_notification(dev->event_vq, 1);
        elem = virtqueue_pop(dev->event_vq, sizeof(*elem));
    }
    return elem;
}

static void virtio_video_event_bh(void *opaque)
{
    VirtIOVideo *dev = opaque;
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    bool notify = false;

    if (!virtio_video_is_running(dev)) {
        return;
    }

    /* Buffers are of interest only while events wait for them */
    virtio_queue_set_notification(dev->event_vq, 0);
    while (!QSIMPLEQ_EMPTY(&dev->events)) {
        VirtIOVideoEvent *event = QSIMPLEQ_FIRST(&dev->events);
        VirtQueueElement *elem = virtio_video_event_buffer(dev);

        if (!elem) {
            break;
        }
        QSIMPLEQ_REMOVE_HEAD(&dev->events, next);
        dev->n_events--;
        if (virtio_video_write_event(dev, elem, event)) {
            notify = true;
        } else {
            virtqueue_detach_element(dev->event_vq, elem, 0);
        }
        g_free(elem);
        g_free(event);
    }
    if (notify) {
        virtio_notify(vdev, dev->event_vq);
        qemu_bh_schedule(dev->command_bh);  /* it may have been held up */
    }
}

/* Queues are worked on in guarded BHs: a guest's "memory" may be our own BAR */
static void virtio_video_handle_event(VirtIODevice *vdev, VirtQueue *vq)
{
    VirtIOVideo *dev = VIRTIO_VIDEO(vdev);

    if (!QSIMPLEQ_EMPTY(&dev->events)) {
        qemu_bh_schedule(dev->event_bh);
    }
}

/*
 * What a stream says
 */

static const uint32_t event_types[] = {
    [VIDEO_COMMAND_CLOSE] = VIRTIO_VIDEO_CMD_STREAM_CLOSE,
    [VIDEO_COMMAND_SET_PARAMS] = VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS,
    [VIDEO_COMMAND_GET_PARAMS] = VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS,
    [VIDEO_COMMAND_UNBLOCK] = VIRTIO_VIDEO_CMD_STREAM_UNBLOCK,
    [VIDEO_COMMAND_DRAIN] = VIRTIO_VIDEO_CMD_STREAM_DRAIN,
    [VIDEO_COMMAND_QUEUE_RESET] = VIRTIO_VIDEO_CMD_STREAM_QUEUE_RESET,
    [VIDEO_COMMAND_RESOURCE_QUEUE] = VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE,
};

static uint32_t event_flags(const VideoEvent *event)
{
    return (event->error ? VIRTIO_VIDEO_EVENT_FLAG_ERROR : 0) |
           (event->standalone ? VIRTIO_VIDEO_EVENT_FLAG_STANDALONE : 0) |
           (event->canceled ? VIRTIO_VIDEO_EVENT_FLAG_CANCELED : 0) |
           (event->blocked ? VIRTIO_VIDEO_EVENT_FLAG_BLOCKED : 0);
}

static uint32_t event_queue_flags(const VideoEvent *event)
{
    static const uint32_t frame_types[] = {
        [VIDEO_FRAME_UNKNOWN] = 0,
        [VIDEO_FRAME_KEY] = VIRTIO_VIDEO_QUEUE_FLAG_KEY_FRAME,
        [VIDEO_FRAME_P] = VIRTIO_VIDEO_QUEUE_FLAG_P_FRAME,
        [VIDEO_FRAME_B] = VIRTIO_VIDEO_QUEUE_FLAG_B_FRAME,
    };
    static const uint32_t lasts[] = {
        [VIDEO_LAST_NONE] = 0,
        [VIDEO_LAST_DRAIN] = VIRTIO_VIDEO_QUEUE_FLAG_V4L2_DRAIN_LAST,
        [VIDEO_LAST_DPC] = VIRTIO_VIDEO_QUEUE_FLAG_V4L2_DPC_LAST,
    };

    return frame_types[event->frame_type] | lasts[event->last];
}

static void virtio_video_stream_event(void *opaque, const VideoEvent *event)
{
    VirtIOVideoStream *vs = opaque;
    struct virtio_video_resource_queue_async_resp resp = {
        .hdr.event_type = cpu_to_le32(event_types[event->type]),
        .hdr.stream_id = cpu_to_le32(vs->id),
        .hdr.async_response_cookie = cpu_to_le32(event->cookie),
        .hdr.event_flags = cpu_to_le32(event_flags(event)),
        .flags = cpu_to_le32(event_queue_flags(event)),
        .timestamp = cpu_to_le64(event->timestamp),
    };

    if (event->type == VIDEO_COMMAND_CLOSE && event->standalone) {
        vs->dev->n_failed++;
    }
    if (event->type != VIDEO_COMMAND_RESOURCE_QUEUE) {
        virtio_video_event(vs->dev, &resp.hdr, sizeof(resp.hdr),
                           event->params);
        return;
    }
    for (unsigned i = 0; i < event->n_planes; i++) {
        resp.offsets[i] = cpu_to_le32(event->offsets[i]);
        resp.data_sizes[i] = cpu_to_le32(event->sizes[i]);
    }
    virtio_video_event(vs->dev, &resp, sizeof(resp), NULL);
}

static void virtio_video_stream_free(VirtIOVideoStream *vs)
{
    VirtIOVideo *dev = vs->dev;

    QTAILQ_REMOVE(&dev->live, vs, next);
    dev->n_live--;
    if (dev->streams[vs->id] == vs) {
        dev->streams[vs->id] = NULL;
    }
    video_stream_free(vs->stream);
    g_free(vs);
}

static void virtio_video_stream_closed(void *opaque)
{
    VirtIOVideoStream *vs = opaque;
    VirtIOVideo *dev = vs->dev;

    virtio_video_stream_free(vs);
    virtio_video_update_blocker(dev);
}

static const VideoStreamOps stream_ops = {
    .event = virtio_video_stream_event,
    .closed = virtio_video_stream_closed,
};

/*
 * Commands.  A handler gets a whole, private copy of a request whose fixed part
 * is there, on a queue that the command can be on, for an open stream but for
 * OPEN.  It returns false if the answer is an error event.
 */

typedef struct Request {
    VirtIOVideo *dev;
    uint32_t type, stream_id, queue_type, cookie;
    VirtIOVideoStream *vs;      /* NULL if it is not open */
    const uint8_t *data;        /* from the header on, @size bytes */
    size_t size;
} Request;

static void G_GNUC_PRINTF(2, 3)
request_error(const Request *req, const char *fmt, ...)
{
    g_autofree char *msg = NULL;
    va_list ap;

    va_start(ap, fmt);
    msg = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    qemu_log_mask(LOG_GUEST_ERROR, "%s: stream %u, command 0x%x: %s\n",
                  VIRTIO_DEVICE(req->dev)->name, req->stream_id, req->type,
                  msg);
}

/* Returns: false if streams of that type have not been negotiated. */
static bool virtio_video_direction(VirtIOVideo *dev, uint32_t stream_type,
                                   VideoCodecDirection *direction)
{
    switch (stream_type) {
    case VIRTIO_VIDEO_STREAM_TYPE_DECODER:
        *direction = VIDEO_DECODE;
        return virtio_video_has_feature(dev, VIRTIO_VIDEO_F_DECODER);
    case VIRTIO_VIDEO_STREAM_TYPE_ENCODER:
        *direction = VIDEO_ENCODE;
        return virtio_video_has_feature(dev, VIRTIO_VIDEO_F_ENCODER);
    default:
        return false;
    }
}

static VirtIOVideoStream *virtio_video_stream_new(VirtIOVideo *dev,
                                                  uint32_t id,
                                                  VideoCodecDirection direction)
{
    VirtIOVideoStream *vs = g_new0(VirtIOVideoStream, 1);
    g_autofree char *name = g_strdup_printf("%s: stream %u",
                                            VIRTIO_DEVICE(dev)->name, id);

    /* What was settled with the features: a vIOMMU may be in between */
    dev->ctx.as = VIRTIO_DEVICE(dev)->dma_as;
    dev->ctx.contiguous =
        !virtio_video_has_feature(dev, VIRTIO_VIDEO_F_RESOURCE_NON_CONTIG);
    dev->ctx.last_buffers =
        virtio_video_has_feature(dev,
                                 VIRTIO_VIDEO_F_V4L2_COMPATIBLE_LAST_BUFFER);

    vs->dev = dev;
    vs->id = id;
    vs->stream = video_stream_new(&dev->ctx, direction, name, &stream_ops, vs);
    dev->streams[id] = vs;
    QTAILQ_INSERT_TAIL(&dev->live, vs, next);
    dev->n_live++;
    dev->n_opened++;
    return vs;
}

static bool virtio_video_open(Request *req)
{
    const struct virtio_video_stream_open *cmd = (const void *)req->data;
    VirtIOVideo *dev = req->dev;
    VideoCodecDirection direction;
    Error *err = NULL;
    struct virtio_video_event_header header = {
        .event_type = cpu_to_le32(req->type),
        .stream_id = cpu_to_le32(req->stream_id),
        .async_response_cookie = cpu_to_le32(req->cookie),
    };

    if (req->stream_id >= dev->max_streams || dev->streams[req->stream_id]) {
        request_error(req, "no such id, or not free");
        return false;
    }
    if (!virtio_video_direction(dev, le32_to_cpu(cmd->stream_type),
                                &direction)) {
        request_error(req, "stream type %u", le32_to_cpu(cmd->stream_type));
        return false;
    }
    if (dev->n_live >= 2 * dev->max_streams) {
        /* Streams of before a reset whose codec has not let go yet */
        request_error(req, "too many streams are still closing");
        return false;
    }
    if (!virtio_video_block_migration(dev, &err)) {
        request_error(req, "%s", error_get_pretty(err));
        error_free(err);
        return false;
    }

    virtio_video_stream_new(dev, req->stream_id, direction);
    virtio_video_event(dev, &header, sizeof(header), NULL);
    return true;
}

static bool virtio_video_close(Request *req)
{
    video_stream_close(req->vs->stream, req->cookie);
    return true;
}

/* The parameters of SET_PARAMS or GET_PARAMS. */
static VideoParams *request_params(Request *req)
{
    const size_t header = sizeof(struct virtio_video_stream_cmd_header);
    VideoParams *params;
    Error *err = NULL;

    params = tlv_read_params(req->data + header, req->size - header,
                             req->dev->ctx.max_resources + MAX_SINGLE_PARAMS,
                             req->dev->ctx.max_entries, &err);
    if (!params) {
        request_error(req, "%s", error_get_pretty(err));
        error_free(err);
    }
    return params;
}

static bool virtio_video_set_params(Request *req)
{
    VideoParams *params = request_params(req);

    if (!params) {
        return false;
    }
    video_stream_set_params(req->vs->stream, params,
                            req->queue_type == VIRTIO_VIDEO_QUEUE_TYPE_INPUT,
                            req->cookie);
    return true;
}

static bool virtio_video_get_params(Request *req)
{
    g_autoptr(VideoParams) params = request_params(req);

    if (!params) {
        return false;
    }
    if (params->params->len) {
        request_error(req, "the set is not empty");
        return false;
    }
    video_stream_get_params(req->vs->stream, params->set,
                            req->queue_type == VIRTIO_VIDEO_QUEUE_TYPE_INPUT,
                            req->cookie);
    return true;
}

static bool virtio_video_unblock(Request *req)
{
    video_stream_unblock(req->vs->stream, req->cookie);
    return true;
}

static bool virtio_video_drain(Request *req)
{
    video_stream_drain(req->vs->stream, req->cookie);
    return true;
}

static bool virtio_video_queue_reset(Request *req)
{
    const struct virtio_video_queue_reset *cmd = (const void *)req->data;

    switch (le32_to_cpu(cmd->reset_queue_type)) {
    case VIRTIO_VIDEO_QUEUE_TYPE_INPUT:
        video_stream_reset(req->vs->stream, VIDEO_QUEUE_INPUT, req->cookie);
        return true;
    case VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT:
        video_stream_reset(req->vs->stream, VIDEO_QUEUE_OUTPUT, req->cookie);
        return true;
    default:
        request_error(req, "queue type %u can't be reset",
                      le32_to_cpu(cmd->reset_queue_type));
        return false;
    }
}

static bool virtio_video_resource_queue(Request *req)
{
    const struct virtio_video_resource_queue *cmd = (const void *)req->data;
    uint32_t offsets[VIDEO_MAX_PLANES], sizes[VIDEO_MAX_PLANES];
    uint32_t id = le32_to_cpu(cmd->resource_id);

    if (req->queue_type == VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT) {
        video_stream_queue_output(req->vs->stream, id, req->cookie);
        return true;
    }
    for (unsigned i = 0; i < VIDEO_MAX_PLANES; i++) {
        offsets[i] = le32_to_cpu(cmd->offsets[i]);
        sizes[i] = le32_to_cpu(cmd->data_sizes[i]);
    }
    video_stream_queue_input(req->vs->stream, id, offsets, sizes,
                             le64_to_cpu(cmd->timestamp), req->cookie);
    return true;
}

#define ON_MAIN   (1 << VIRTIO_VIDEO_QUEUE_TYPE_MAIN)
#define ON_INPUT  (1 << VIRTIO_VIDEO_QUEUE_TYPE_INPUT)
#define ON_OUTPUT (1 << VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT)

/* Bytes of the fixed part, queues on which the command can be */
static const struct CommandInfo {
    uint32_t type;
    size_t size;
    unsigned queues;
    bool (*handler)(Request *req);
} command_infos[] = {
    { VIRTIO_VIDEO_CMD_STREAM_OPEN,
      sizeof(struct virtio_video_stream_open), ON_MAIN, virtio_video_open },
    { VIRTIO_VIDEO_CMD_STREAM_CLOSE,
      sizeof(struct virtio_video_stream_close), ON_MAIN, virtio_video_close },
    { VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS,
      sizeof(struct virtio_video_stream_get_set_params), ON_MAIN | ON_INPUT,
      virtio_video_set_params },
    { VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS,
      sizeof(struct virtio_video_stream_get_set_params), ON_MAIN | ON_INPUT,
      virtio_video_get_params },
    { VIRTIO_VIDEO_CMD_STREAM_UNBLOCK,
      sizeof(struct virtio_video_stream_unblock), ON_MAIN,
      virtio_video_unblock },
    { VIRTIO_VIDEO_CMD_STREAM_DRAIN,
      sizeof(struct virtio_video_stream_drain), ON_INPUT, virtio_video_drain },
    { VIRTIO_VIDEO_CMD_STREAM_QUEUE_RESET,
      sizeof(struct virtio_video_queue_reset), ON_MAIN,
      virtio_video_queue_reset },
    { VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE,
      sizeof(struct virtio_video_resource_queue), ON_INPUT | ON_OUTPUT,
      virtio_video_resource_queue },
};

static const struct CommandInfo *command_find(uint32_t type)
{
    for (unsigned i = 0; i < ARRAY_SIZE(command_infos); i++) {
        if (command_infos[i].type == type) {
            return &command_infos[i];
        }
    }
    return NULL;
}

/*
 * The longest request that is worked on: with all resources attached at once,
 * but no longer than what the main loop can do in a blink.
 */
static size_t virtio_video_max_request(VirtIOVideo *dev)
{
    const size_t header = sizeof(struct virtio_video_tlv) +
                          sizeof(struct virtio_video_tlv_resource_guest_pages);
    const size_t entry = sizeof(struct virtio_video_resource_sg_entry);

    return MIN(4 * KiB + dev->ctx.max_resources *
               (header + dev->ctx.max_entries * entry), MAX_REQUEST_SIZE);
}

/* A stream command of known type and sufficient size. */
static bool virtio_video_dispatch(Request *req, const struct CommandInfo *info)
{
    VirtIOVideo *dev = req->dev;

    if (req->queue_type > VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT ||
        !(info->queues & (1 << req->queue_type))) {
        request_error(req, "can't be on queue %u", req->queue_type);
        return false;
    }
    if (req->stream_id < dev->max_streams) {
        req->vs = dev->streams[req->stream_id];
    }
    if (info->type != VIRTIO_VIDEO_CMD_STREAM_OPEN &&
        (!req->vs || !video_stream_is_open(req->vs->stream))) {
        request_error(req, "the stream is not open");
        return false;
    }
    return info->handler(req);
}

/* Copy a request of @size bytes out of guest memory, once, and work on it. */
static void virtio_video_stream_command(VirtIOVideo *dev,
                                        VirtQueueElement *elem, size_t size,
                                        const struct CommandInfo *info)
{
    struct virtio_video_stream_cmd_header hdr;
    g_autofree uint8_t *data = NULL;
    Request req;

    if (size <= virtio_video_max_request(dev)) {
        data = g_try_malloc(size);
    }
    if (data) {
        iov_to_buf(elem->out_sg, elem->out_num, 0, data, size);
        memcpy(&hdr, data, sizeof(hdr));
    } else {
        iov_to_buf(elem->out_sg, elem->out_num, 0, &hdr, sizeof(hdr));
    }
    virtqueue_push(dev->command_vq, elem, 0);

    req = (Request) {
        .dev = dev,
        .type = le32_to_cpu(hdr.type),
        .stream_id = le32_to_cpu(hdr.stream_id),
        .queue_type = le32_to_cpu(hdr.queue_type),
        .cookie = le32_to_cpu(hdr.async_response_cookie),
        .data = data,
        .size = size,
    };
    trace_virtio_video_command(req.type, req.stream_id, req.queue_type,
                               req.cookie, size);
    if (!data) {
        request_error(&req, "the request is too long");
    } else if (!info || info->type != req.type) {
        /* or the guest has changed it between the two looks */
        request_error(&req, "unknown command");
    } else if (virtio_video_dispatch(&req, info)) {
        return;
    }
    virtio_video_error_event(dev, req.type, req.stream_id, req.cookie);
}

/* Returns: false if the request is malformed. */
static bool virtio_video_query_caps(VirtIOVideo *dev, VirtQueueElement *elem)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    g_autoptr(GByteArray) caps = virtio_video_caps(dev, vdev->guest_features);
    struct virtio_video_device_query_caps_resp error = {
        .result = cpu_to_le32(VIRTIO_VIDEO_RESULT_ERROR),
    };
    size_t room = iov_size(elem->in_sg, elem->in_num);
    const void *data = caps->data;
    size_t size = caps->len;

    if (room < sizeof(error)) {
        return false;
    }
    if (room < size) {
        qemu_log_mask(LOG_GUEST_ERROR, "%s: %zu bytes for %zu of capabilities"
                      "\n", vdev->name, room, size);
        data = &error;
        size = sizeof(error);
    }
    iov_from_buf(elem->in_sg, elem->in_num, 0, data, size);
    virtqueue_push(dev->command_vq, elem, size);
    trace_virtio_video_query_caps(size);
    return true;
}

/* Returns: false if the request is malformed; @elem is not given back then. */
static bool virtio_video_command(VirtIOVideo *dev, VirtQueueElement *elem)
{
    size_t size = iov_size(elem->out_sg, elem->out_num);
    const struct CommandInfo *info;
    uint32_t type;

    if (iov_to_buf(elem->out_sg, elem->out_num, 0, &type, sizeof(type)) <
        sizeof(type)) {
        return false;
    }
    type = le32_to_cpu(type);
    if (type == VIRTIO_VIDEO_CMD_DEVICE_QUERY_CAPS) {
        return virtio_video_query_caps(dev, elem);
    }

    info = command_find(type);
    if (info && size < info->size) {
        return false;
    }
    if (size < sizeof(struct virtio_video_stream_cmd_header)) {
        /* Who knows what it is; there is nothing to address an answer to */
        qemu_log_mask(LOG_GUEST_ERROR, "%s: unknown command 0x%x\n",
                      VIRTIO_DEVICE(dev)->name, type);
        virtqueue_push(dev->command_vq, elem, 0);
        return true;
    }
    virtio_video_stream_command(dev, elem, size, info);
    return true;
}

static void virtio_video_command_bh(void *opaque)
{
    VirtIOVideo *dev = opaque;
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    size_t bytes = 0;
    unsigned n;

    if (!virtio_video_is_running(dev)) {
        return;
    }
    for (n = 0; dev->n_events < dev->max_events; n++) {
        VirtQueueElement *elem;

        if (n == COMMANDS_PER_PASS || bytes >= BYTES_PER_PASS) {
            qemu_bh_schedule(dev->command_bh);
            break;
        }
        elem = virtqueue_pop(dev->command_vq, sizeof(*elem));
        if (!elem) {
            break;
        }
        bytes += iov_size(elem->out_sg, elem->out_num);
        if (!virtio_video_command(dev, elem)) {
            virtio_error(vdev, "malformed command");
            virtqueue_detach_element(dev->command_vq, elem, 0);
            g_free(elem);
            break;
        }
        g_free(elem);
    }
    if (n) {
        virtio_notify(vdev, dev->command_vq);
    }
}

static void virtio_video_handle_command(VirtIODevice *vdev, VirtQueue *vq)
{
    if (!virtio_vdev_has_feature(vdev, VIRTIO_F_VERSION_1)) {
        virtio_error(vdev, "virtio-video has no legacy interface: "
                     "for virtio-mmio, set force-legacy=false");
        return;
    }
    qemu_bh_schedule(VIRTIO_VIDEO(vdev)->command_bh);
}

/*
 * Life of the device
 */

static void virtio_video_reset(VirtIODevice *vdev)
{
    VirtIOVideo *dev = VIRTIO_VIDEO(vdev);

    qemu_bh_cancel(dev->command_bh);
    qemu_bh_cancel(dev->event_bh);
    for (uint32_t i = 0; i < dev->max_streams; i++) {
        VirtIOVideoStream *vs = dev->streams[i];

        if (vs) {
            dev->streams[i] = NULL;
            video_stream_abort(vs->stream);
        }
    }
    virtio_video_drop_events(dev);
    virtio_video_update_blocker(dev);
}

/* Drivers may kick before DRIVER_OK */
static void virtio_video_set_status(VirtIODevice *vdev, uint8_t status)
{
    VirtIOVideo *dev = VIRTIO_VIDEO(vdev);

    if (status & VIRTIO_CONFIG_S_DRIVER_OK) {
        qemu_bh_schedule(dev->event_bh);
        qemu_bh_schedule(dev->command_bh);
    }
}

static void virtio_video_vmstate_change(void *opaque, bool running,
                                        RunState state)
{
    VirtIOVideo *dev = opaque;
    VirtIOVideoStream *vs;

    QTAILQ_FOREACH(vs, &dev->live, next) {
        video_stream_pause(vs->stream, !running);
    }
    if (running) {
        qemu_bh_schedule(dev->event_bh);
        qemu_bh_schedule(dev->command_bh);
    }
}

static bool virtio_video_check_limit(const char *name, uint32_t value,
                                     uint32_t max, Error **errp)
{
    if (value < 1 || value > max) {
        error_setg(errp, "'%s' must be between 1 and %u", name, max);
        return false;
    }
    return true;
}

static bool virtio_video_check_properties(VirtIOVideo *dev, Error **errp)
{
    VideoStreamContext *ctx = &dev->ctx;

    return virtio_video_check_limit("max-streams", dev->max_streams, 256,
                                    errp) &&
           virtio_video_check_limit("max-events", dev->max_events, 65536,
                                    errp) &&
           virtio_video_check_limit("max-width", ctx->max_width,
                                    VIDEO_MAX_DIMENSION, errp) &&
           virtio_video_check_limit("max-height", ctx->max_height,
                                    VIDEO_MAX_DIMENSION, errp) &&
           virtio_video_check_limit("max-coded-size", ctx->max_coded_size,
                                    256 * MiB, errp) &&
           virtio_video_check_limit("max-resources", ctx->max_resources, 256,
                                    errp) &&
           virtio_video_check_limit("max-entries", ctx->max_entries,
                                    256 * KiB, errp);
}

/* The codec object of the user who did not choose one. */
static bool virtio_video_default_codec(VirtIOVideo *dev, Error **errp)
{
    g_autoptr(Object) obj = NULL;

    if (!module_object_class_by_name(TYPE_VIDEO_CODEC_LIBAV)) {
        error_setg(errp, "there is no " TYPE_VIDEO_CODEC_LIBAV
                   " in this QEMU: set 'codec' to the id of another codec "
                   "object");
        return false;
    }
    obj = object_new(TYPE_VIDEO_CODEC_LIBAV);
    object_property_add_child(OBJECT(dev), "default-codec", obj);
    if (!user_creatable_complete(USER_CREATABLE(obj), errp)) {
        object_unparent(obj);
        return false;
    }
    object_property_set_link(OBJECT(dev), "codec", obj, &error_abort);
    return true;
}

/* For those who did not choose the codec: what they have got */
static void virtio_video_report_codec(VirtIOVideo *dev)
{
    const VideoCodecCaps *caps = &dev->ctx.caps;

    info_report("%s: %s in software (" TYPE_VIDEO_CODEC_LIBAV ")",
                VIRTIO_DEVICE(dev)->name,
                !caps->n_encoders ? "decoding" :
                !caps->n_decoders ? "encoding" : "decoding and encoding");
}

/* Does the device offer @coded of its codec? */
static bool virtio_video_offers(VirtIOVideo *dev, const VideoCodedCaps *coded)
{
    VideoSizes sizes = video_coded_sizes(coded, dev->ctx.max_width,
                                         dev->ctx.max_height);

    return (coded->format != VIDEO_CODED_AV1 || dev->av1) &&
           sizes.width.min <= sizes.width.max &&
           sizes.height.min <= sizes.height.max;
}

static unsigned virtio_video_choose_coded(VirtIOVideo *dev,
                                          const VideoCodedCaps *from,
                                          unsigned n, VideoCodedCaps *to)
{
    unsigned n_to = 0;

    for (unsigned i = 0; i < n; i++) {
        if (virtio_video_offers(dev, &from[i])) {
            to[n_to++] = from[i];
        }
    }
    return n_to;
}

static void virtio_video_choose_controls(VirtIOVideo *dev,
                                         VideoCodedCaps *coded)
{
    for (VideoControl i = 0; i < VIDEO_CONTROL__MAX; i++) {
        if (!tlv_has_control(coded->format, i, dev->x_controls)) {
            coded->controls[i].supported = false;
        }
    }
}

/* What of the codec's abilities this device offers. */
static bool virtio_video_choose_caps(VirtIOVideo *dev, Error **errp)
{
    const VideoCodecCaps *from = video_codec_get_caps(dev->codec);
    VideoCodecCaps *to = &dev->ctx.caps;

    *to = *from;
    to->n_decoders = dev->decoder ?
        virtio_video_choose_coded(dev, from->decoders, from->n_decoders,
                                  to->decoders) : 0;
    to->n_encoders = dev->encoder ?
        virtio_video_choose_coded(dev, from->encoders, from->n_encoders,
                                  to->encoders) : 0;
    for (unsigned i = 0; i < to->n_encoders; i++) {
        virtio_video_choose_controls(dev, &to->encoders[i]);
    }

    if (!to->n_decoders && !to->n_encoders) {
        error_setg(errp, "codec '%s' has nothing to offer with 'decoder=%s' "
                   "and 'encoder=%s'", object_get_typename(OBJECT(dev->codec)),
                   dev->decoder ? "on" : "off", dev->encoder ? "on" : "off");
        return false;
    }
    return true;
}

static void virtio_video_realize(DeviceState *qdev, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(qdev);
    VirtIOVideo *dev = VIRTIO_VIDEO(qdev);
    bool chosen = dev->codec;

    if (!virtio_video_check_properties(dev, errp)) {
        return;
    }
    virtio_init(vdev, VIRTIO_VIDEO_DEVICE_ID,
                sizeof(struct virtio_video_config));
    if ((!chosen && !virtio_video_default_codec(dev, errp)) ||
        !virtio_video_choose_caps(dev, errp)) {
        virtio_cleanup(vdev);
        return;
    }
    if (!chosen) {
        virtio_video_report_codec(dev);
    }

    video_codec_use(dev->codec);
    dev->ctx.codec = dev->codec;
    dev->ctx.max_commands = MAX_STREAM_COMMANDS;
    dev->mig_caps_crc = virtio_video_caps_crc(dev);
    dev->streams = g_new0(VirtIOVideoStream *, dev->max_streams);
    QTAILQ_INIT(&dev->live);
    QSIMPLEQ_INIT(&dev->events);
    dev->command_vq = virtio_add_queue(vdev, COMMAND_QUEUE_SIZE,
                                       virtio_video_handle_command);
    dev->event_vq = virtio_add_queue(vdev, EVENT_QUEUE_SIZE,
                                     virtio_video_handle_event);
    dev->command_bh = virtio_bh_new_guarded(qdev, virtio_video_command_bh, dev);
    dev->event_bh = virtio_bh_new_guarded(qdev, virtio_video_event_bh, dev);
    dev->vmstate_change = qdev_add_vm_change_state_handler(
        qdev, virtio_video_vmstate_change, dev);
}

static void virtio_video_unrealize(DeviceState *qdev)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(qdev);
    VirtIOVideo *dev = VIRTIO_VIDEO(qdev);

    qemu_del_vm_change_state_handler(dev->vmstate_change);
    while (!QTAILQ_EMPTY(&dev->live)) {
        virtio_video_stream_free(QTAILQ_FIRST(&dev->live));
    }
    virtio_video_drop_events(dev);
    virtio_video_update_blocker(dev);
    qemu_bh_delete(dev->command_bh);
    qemu_bh_delete(dev->event_bh);
    virtio_delete_queue(dev->command_vq);
    virtio_delete_queue(dev->event_vq);
    g_free(dev->streams);
    g_free(dev->mig_events);
    video_codec_unuse(dev->codec);
    virtio_cleanup(vdev);
}

static const VMStateDescription vmstate_virtio_video_device = {
    .name = "virtio-video-device",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = virtio_video_pre_save,
    .post_load = virtio_video_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32_EQUAL(max_streams, VirtIOVideo,
                             "max-streams differs between the two sides"),
        VMSTATE_UINT32_EQUAL(mig_caps_crc, VirtIOVideo,
                             "the capabilities of the two sides differ"),
        VMSTATE_UINT32(mig_events_size, VirtIOVideo),
        VMSTATE_VBUFFER_ALLOC_UINT32(mig_events, VirtIOVideo, 1, NULL,
                                     mig_events_size),
        VMSTATE_END_OF_LIST()
    },
};

static const VMStateDescription vmstate_virtio_video = {
    .name = "virtio-video",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_VIRTIO_DEVICE,
        VMSTATE_END_OF_LIST()
    },
};

static const Property virtio_video_properties[] = {
    DEFINE_PROP_LINK("codec", VirtIOVideo, codec, TYPE_VIDEO_CODEC,
                     VideoCodec *),
    DEFINE_PROP_UINT32("max-streams", VirtIOVideo, max_streams, 16),
    DEFINE_PROP_UINT32("max-events", VirtIOVideo, max_events, 1024),
    DEFINE_PROP_UINT32("max-width", VirtIOVideo, ctx.max_width, 8192),
    DEFINE_PROP_UINT32("max-height", VirtIOVideo, ctx.max_height, 8192),
    DEFINE_PROP_SIZE32("max-coded-size", VirtIOVideo, ctx.max_coded_size,
                       16 * MiB),
    DEFINE_PROP_UINT32("max-resources", VirtIOVideo, ctx.max_resources, 32),
    DEFINE_PROP_UINT32("max-entries", VirtIOVideo, ctx.max_entries, 32768),
    DEFINE_PROP_SIZE("max-mem", VirtIOVideo, ctx.max_mem, 1 * GiB),
    DEFINE_PROP_BOOL("decoder", VirtIOVideo, decoder, true),
    DEFINE_PROP_BOOL("encoder", VirtIOVideo, encoder, true),
    DEFINE_PROP_BOOL("x-av1", VirtIOVideo, av1, false),
    DEFINE_PROP_BOOL("x-controls", VirtIOVideo, x_controls, false),
};

static void virtio_video_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(oc);

    device_class_set_props(dc, virtio_video_properties);
    dc->vmsd = &vmstate_virtio_video;
    dc->desc = "Virtio video codec";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);

    vdc->realize = virtio_video_realize;
    vdc->unrealize = virtio_video_unrealize;
    vdc->get_config = virtio_video_get_config;
    vdc->get_features = virtio_video_get_features;
    vdc->validate_features = virtio_video_validate_features;
    vdc->set_status = virtio_video_set_status;
    vdc->reset = virtio_video_reset;
    vdc->vmsd = &vmstate_virtio_video_device;

    object_class_property_set_description(oc, "codec",
        "id of the video-codec object that does the work "
        "(default: software, a video-codec-libav)");
    object_class_property_set_description(oc, "max-streams",
        "streams that can be open at once");
    object_class_property_set_description(oc, "max-events",
        "events that can wait for the driver's buffers before the device "
        "stops taking commands");
    object_class_property_set_description(oc, "max-width",
        "widest frame in pixels");
    object_class_property_set_description(oc, "max-height",
        "highest frame in pixels");
    object_class_property_set_description(oc, "max-coded-size",
        "largest buffer of coded data in bytes");
    object_class_property_set_description(oc, "max-resources",
        "resources of each queue of a stream");
    object_class_property_set_description(oc, "max-entries",
        "guest page entries of each resource");
    object_class_property_set_description(oc, "max-mem",
        "host memory in bytes that the guest's requests can take in all, "
        "without the codec's own frames");
    object_class_property_set_description(oc, "decoder",
        "offer what the codec can decode");
    object_class_property_set_description(oc, "encoder",
        "offer what the codec can encode");
    object_class_property_set_description(oc, "x-av1",
        "offer AV1 as coded format 8, ahead of the specification");
    object_class_property_set_description(oc, "x-controls",
        "offer controls of encoders that the specification does not list");
}

static const TypeInfo virtio_video_info = {
    .name = TYPE_VIRTIO_VIDEO,
    .parent = TYPE_VIRTIO_DEVICE,
    .instance_size = sizeof(VirtIOVideo),
    .class_init = virtio_video_class_init,
};

static void virtio_video_register_types(void)
{
    type_register_static(&virtio_video_info);
}

type_init(virtio_video_register_types)
