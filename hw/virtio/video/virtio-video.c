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
#include "qemu/iov.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-video-wire.h"
#include "migration/vmstate.h"
#include "tlv.h"
#include "trace.h"
#include "virtio-video-device.h"

/* A request that attaches all of a queue: 97,000 pages for 32 frames of 4K */
#define MAX_REQUEST_SIZE (2 * MiB)

/* Parameters of a set besides the attached resources */
#define MAX_SINGLE_PARAMS (8 + VIDEO_CONTROL__MAX)

static bool virtio_video_has_feature(VideoDevice *dev, unsigned feature)
{
    return virtio_vdev_has_feature(VIRTIO_DEVICE(dev), feature);
}

/*
 * Capabilities and config space
 */

/* The response to QUERY_CAPS; @features: the negotiated or offered ones */
static GByteArray *virtio_video_caps(VideoDevice *dev, uint64_t features)
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

static uint32_t virtio_video_caps_length(VideoDevice *dev, uint64_t features)
{
    g_autoptr(GByteArray) caps = virtio_video_caps(dev, features);

    return caps->len;
}

static void virtio_video_get_config(VirtIODevice *vdev, uint8_t *config)
{
    VideoDevice *dev = VIDEO_DEVICE(vdev);
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
    VideoDevice *dev = VIDEO_DEVICE(vdev);

    if (dev->ctx.caps.n_decoders) {
        virtio_add_feature(&features, VIRTIO_VIDEO_F_DECODER);
    }
    if (dev->ctx.caps.n_encoders) {
        virtio_add_feature(&features, VIRTIO_VIDEO_F_ENCODER);
    }
    virtio_add_feature(&features, VIRTIO_VIDEO_F_RESOURCE_GUEST_PAGES);
    virtio_add_feature(&features, VIRTIO_VIDEO_F_RESOURCE_NON_CONTIG);
    virtio_add_feature(&features, VIRTIO_VIDEO_F_V4L2_COMPATIBLE_LAST_BUFFER);
    if (VIRTIO_VIDEO(vdev)->v4l2_uapi) {
        virtio_add_feature(&features, VIRTIO_VIDEO_F_V4L2_UAPI);
    }
    return features;
}

/* Of all that the device can offer, whatever the guest negotiates */
static uint32_t virtio_video_caps_crc(VideoDevice *dev)
{
    uint64_t features = virtio_video_get_features(VIRTIO_DEVICE(dev), 0, NULL);
    g_autoptr(GByteArray) caps = virtio_video_caps(dev, features);

    return crc32(0, caps->data, caps->len);
}

/* Spec: "Feature bits", what the driver MUST negotiate */
static int virtio_video_validate_features(VirtIODevice *vdev)
{
    VideoDevice *dev = VIDEO_DEVICE(vdev);

    bool decoder = virtio_video_has_feature(dev, VIRTIO_VIDEO_F_DECODER);
    bool encoder = virtio_video_has_feature(dev, VIRTIO_VIDEO_F_ENCODER);

    if (!decoder && !encoder) {
        video_device_guest_error(dev, "neither encoder nor decoder "
                                 "negotiated");
        return -EINVAL;
    }
    if (!virtio_video_has_feature(dev, VIRTIO_VIDEO_F_RESOURCE_GUEST_PAGES)) {
        video_device_guest_error(dev, "no memory for resources negotiated");
        return -EINVAL;
    }
    if (virtio_video_has_feature(dev, VIRTIO_VIDEO_F_V4L2_UAPI) &&
        decoder && encoder) {
        video_device_guest_error(dev, "V4L2 is for a decoder or for an "
                                 "encoder");
        return -EINVAL;
    }
    return 0;
}

/*
 * V4L2's way: what the driver has chosen with VIRTIO_VIDEO_F_V4L2_UAPI
 */

static bool virtio_video_is_media(VideoDevice *dev)
{
    return virtio_video_has_feature(dev, VIRTIO_VIDEO_F_V4L2_UAPI);
}

static bool virtio_video_media_command(VideoDevice *dev,
                                       VirtQueueElement *elem)
{
    MediaState *m = &VIRTIO_VIDEO(dev)->media;

    /* A device for V4L2 is one of them */
    m->direction = virtio_video_has_feature(dev, VIRTIO_VIDEO_F_DECODER) ?
                   VIDEO_DECODE : VIDEO_ENCODE;
    return media_command(m, elem);
}

/*
 * Events
 */

/* Queue an event; @params, if any, follow its fixed part of @size bytes. */
static void virtio_video_event(VideoDevice *dev, const void *data, size_t size,
                               const VideoParams *params)
{
    const struct virtio_video_event_header *header = data;
    g_autoptr(GByteArray) buf = g_byte_array_new();

    trace_virtio_video_event(dev, le32_to_cpu(header->event_type),
                             le32_to_cpu(header->stream_id),
                             le32_to_cpu(header->async_response_cookie),
                             le32_to_cpu(header->event_flags));
    g_byte_array_append(buf, data, size);
    if (params) {
        tlv_write_params(buf, params);
    }
    video_device_add_event(dev, buf->data, buf->len);
}

static void virtio_video_error_event(VideoDevice *dev, uint32_t type,
                                     uint32_t stream_id, uint32_t cookie)
{
    struct virtio_video_event_header header = {
        .event_type = cpu_to_le32(type),
        .stream_id = cpu_to_le32(stream_id),
        .async_response_cookie = cpu_to_le32(cookie),
        .event_flags = cpu_to_le32(VIRTIO_VIDEO_EVENT_FLAG_ERROR),
    };

    virtio_video_event(dev, &header, sizeof(header), NULL);
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
    VideoDeviceStream *vs = opaque;
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

static const VideoStreamOps stream_ops = {
    .event = virtio_video_stream_event,
    .overdue = video_device_stream_overdue,
    .closed = video_device_stream_closed,
};

/*
 * Commands.  A handler gets a whole, private copy of a request whose fixed part
 * is there, on a queue that the command can be on, for an open stream but for
 * OPEN.  It returns false if the answer is an error event.
 */

typedef struct Request {
    VideoDevice *dev;
    uint32_t type, stream_id, queue_type, cookie;
    VideoDeviceStream *vs;      /* NULL if it is not open */
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
    video_device_guest_error(req->dev, "stream %u, command 0x%x: %s",
                             req->stream_id, req->type, msg);
}

/* Returns: false if streams of that type have not been negotiated. */
static bool virtio_video_direction(VideoDevice *dev, uint32_t stream_type,
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

/* What was settled with the features */
static void virtio_video_set_context(VideoDevice *dev)
{
    dev->ctx.tell_all = false;
    dev->ctx.contiguous =
        !virtio_video_has_feature(dev, VIRTIO_VIDEO_F_RESOURCE_NON_CONTIG);
    dev->ctx.last_buffers =
        virtio_video_has_feature(dev,
                                 VIRTIO_VIDEO_F_V4L2_COMPATIBLE_LAST_BUFFER);
}

static bool virtio_video_open(Request *req)
{
    const struct virtio_video_stream_open *cmd = (const void *)req->data;
    VideoDevice *dev = req->dev;
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
        /* Streams that the guest has given up, but the codec has not yet */
        request_error(req, "too many streams are still closing");
        return false;
    }
    virtio_video_set_context(dev);
    if (!video_device_stream_new(dev, req->stream_id, direction, &stream_ops,
                                 NULL, &err)) {
        request_error(req, "%s", error_get_pretty(err));
        error_free(err);
        return false;
    }
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
static size_t virtio_video_max_request(VideoDevice *dev)
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
    VideoDevice *dev = req->dev;

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

/*
 * In the input queue nothing overtakes a DRAIN, not even the error that answers
 * a command which makes no sense.
 * Returns: false if the command is not for the input queue of an open stream.
 */
static bool virtio_video_refuse_in_turn(const Request *req)
{
    VideoDevice *dev = req->dev;
    VideoDeviceStream *vs = req->stream_id < dev->max_streams ?
                            dev->streams[req->stream_id] : NULL;
    VideoCommandType type;

    if (req->queue_type != VIRTIO_VIDEO_QUEUE_TYPE_INPUT || !vs ||
        !video_stream_is_open(vs->stream)) {
        return false;
    }
    switch (req->type) {
    case VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS:
        type = VIDEO_COMMAND_SET_PARAMS;
        break;
    case VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS:
        type = VIDEO_COMMAND_GET_PARAMS;
        break;
    case VIRTIO_VIDEO_CMD_STREAM_DRAIN:
        type = VIDEO_COMMAND_DRAIN;
        break;
    case VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE:
        type = VIDEO_COMMAND_RESOURCE_QUEUE;
        break;
    default:
        return false;
    }
    video_stream_refuse(vs->stream, type, NULL, req->cookie);
    return true;
}

/* Copy a request of @size bytes out of guest memory, once, and work on it. */
static void virtio_video_stream_command(VideoDevice *dev,
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
    trace_virtio_video_command(dev, req.type, req.stream_id, req.queue_type,
                               req.cookie, size);
    if (!data) {
        request_error(&req, "the request is too long");
    } else if (!info || info->type != req.type) {
        /* or the guest has changed it between the two looks */
        request_error(&req, "unknown command");
    } else if (virtio_video_dispatch(&req, info)) {
        return;
    }
    if (!virtio_video_refuse_in_turn(&req)) {
        virtio_video_error_event(dev, req.type, req.stream_id, req.cookie);
    }
}

/* Returns: false if the request is malformed. */
static bool virtio_video_query_caps(VideoDevice *dev, VirtQueueElement *elem)
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
        video_device_guest_error(dev, "%zu bytes for %zu of capabilities",
                                 room, size);
        data = &error;
        size = sizeof(error);
    }
    iov_from_buf(elem->in_sg, elem->in_num, 0, data, size);
    virtqueue_push(dev->command_vq, elem, size);
    trace_virtio_video_query_caps(dev, room, size);
    return true;
}

/* Returns: false if the request is malformed; @elem is not given back then. */
static bool virtio_video_command(VideoDevice *dev, VirtQueueElement *elem)
{
    size_t size = iov_size(elem->out_sg, elem->out_num);
    const struct CommandInfo *info;
    uint32_t type;

    if (virtio_video_is_media(dev)) {
        return virtio_video_media_command(dev, elem);
    }
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
        video_device_guest_error(dev, "unknown command 0x%x of %zu bytes",
                                 type, size);
        virtqueue_push(dev->command_vq, elem, 0);
        return true;
    }
    virtio_video_stream_command(dev, elem, size, info);
    return true;
}

/* Of an event that does not fit: its header, with the flag that says so */
static size_t virtio_video_cut_event(VideoDevice *dev, uint8_t *event,
                                     size_t size, size_t room)
{
    struct virtio_video_event_header *h = (void *)event;

    if (virtio_video_is_media(dev) || room < sizeof(*h)) {
        return 0;
    }
    h->event_flags |= cpu_to_le32(VIRTIO_VIDEO_EVENT_FLAG_ERROR);
    return sizeof(*h);
}

/*
 * The device
 */

static bool virtio_video_is_busy(VideoDevice *dev)
{
    return media_is_busy(&VIRTIO_VIDEO(dev)->media);
}

static void virtio_video_go_on(VideoDevice *dev)
{
    media_go_on(&VIRTIO_VIDEO(dev)->media);
}

static void virtio_video_reset(VirtIODevice *vdev)
{
    media_reset(&VIRTIO_VIDEO(vdev)->media);
    video_device_reset(vdev);
}

static void virtio_video_realize(DeviceState *qdev, Error **errp)
{
    ERRP_GUARD();
    VirtIOVideo *vv = VIRTIO_VIDEO(qdev);
    VideoDevice *dev = VIDEO_DEVICE(qdev);

    if (vv->v4l2_uapi) {
        dev->n_ids = MEDIA_MAX_SESSIONS;
    }
    video_device_realize(qdev, errp);
    if (!*errp) {
        media_init(&vv->media, dev, VIDEO_DECODE);
    }
}

static void virtio_video_unrealize(DeviceState *qdev)
{
    media_cleanup(&VIRTIO_VIDEO(qdev)->media);
    video_device_unrealize(qdev);
}

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
    DEFINE_PROP_BOOL("decoder", VideoDevice, decoder, true),
    DEFINE_PROP_BOOL("encoder", VideoDevice, encoder, true),
    DEFINE_PROP_BOOL("x-av1", VideoDevice, av1, false),
    DEFINE_PROP_BOOL("x-controls", VideoDevice, controls, false),
    DEFINE_PROP_BOOL("x-v4l2-uapi", VirtIOVideo, v4l2_uapi, false),
};

static void virtio_video_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(oc);
    VideoDeviceClass *vc = VIDEO_DEVICE_CLASS(oc);

    device_class_set_props(dc, virtio_video_properties);
    dc->vmsd = &vmstate_virtio_video;

    vdc->realize = virtio_video_realize;
    vdc->unrealize = virtio_video_unrealize;
    vdc->reset = virtio_video_reset;
    vdc->get_config = virtio_video_get_config;
    vdc->get_features = virtio_video_get_features;
    vdc->validate_features = virtio_video_validate_features;

    vc->device_id = VIRTIO_VIDEO_DEVICE_ID;
    vc->config_size = sizeof(struct virtio_video_config);
    vc->command = virtio_video_command;
    vc->cut_event = virtio_video_cut_event;
    vc->caps_crc = virtio_video_caps_crc;
    vc->is_busy = virtio_video_is_busy;
    vc->go_on = virtio_video_go_on;

    object_class_property_set_description(oc, "decoder",
        "offer what the codec can decode");
    object_class_property_set_description(oc, "encoder",
        "offer what the codec can encode");
    object_class_property_set_description(oc, "x-av1",
        "offer AV1 as coded format 8, ahead of the specification");
    object_class_property_set_description(oc, "x-controls",
        "offer controls of encoders that the specification does not list");
    object_class_property_set_description(oc, "x-v4l2-uapi",
        "offer to speak virtio-media's commands instead, as feature bit 6");
}

static const TypeInfo virtio_video_info = {
    .name = TYPE_VIRTIO_VIDEO,
    .parent = TYPE_VIDEO_DEVICE,
    .instance_size = sizeof(VirtIOVideo),
    .class_init = virtio_video_class_init,
};

static void virtio_video_register_types(void)
{
    type_register_static(&virtio_video_info);
}

type_init(virtio_video_register_types)
