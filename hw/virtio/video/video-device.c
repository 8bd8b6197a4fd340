/*
 * Video devices: what the front ends share
 *
 * Everything runs in the main loop with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
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
#include "migration/blocker.h"
#include "migration/vmstate.h"
#include "qom/object_interfaces.h"
#include "standard-headers/linux/virtio_ring.h"
#include "control.h"
#include "trace.h"
#include "video-device.h"

#define COMMAND_QUEUE_SIZE 256
#define EVENT_QUEUE_SIZE 256

/* Commands, and bytes of them, taken before others may use the main loop */
#define COMMANDS_PER_PASS 64
#define BYTES_PER_PASS (256 * KiB)

/* No event is shorter: a word that says what it is, and the stream's id */
#define MIN_EVENT_SIZE 8

/*
 * Commands of one stream that may wait in its input queue; never less than all
 * of its resources and some that say what to do behind them
 */
#define MAX_STREAM_COMMANDS 256
#define SPARE_STREAM_COMMANDS 16

/* Workers that there can be, for each of max-streams, with those left behind */
#define WORKERS_PER_STREAM 8

/* An event that waits for a buffer. */
struct VideoDeviceEvent {
    QTAILQ_ENTRY(VideoDeviceEvent) next;
    size_t size;
    uint8_t data[];
};

void video_device_guest_error(VideoDevice *dev, const char *fmt, ...)
{
    g_autofree char *msg = NULL;
    va_list ap;

    va_start(ap, fmt);
    msg = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    trace_video_device_guest_error(dev, msg);
    qemu_log_mask(LOG_GUEST_ERROR, "%s: %s\n", VIRTIO_DEVICE(dev)->name, msg);
}

bool video_device_is_running(VideoDevice *dev)
{
    /* Features, on which all depends, can change while they are not settled */
    const uint8_t live = VIRTIO_CONFIG_S_FEATURES_OK |
                         VIRTIO_CONFIG_S_DRIVER_OK;

    return runstate_is_running() &&
           (VIRTIO_DEVICE(dev)->status & live) == live;
}

/*
 * Migration: streams have state in the codec that can't be moved yet
 */

bool video_device_block_migration(VideoDevice *dev, Error **errp)
{
    if (dev->blocker) {
        return true;
    }
    error_setg(&dev->blocker, "%s: a video stream is open",
               VIRTIO_DEVICE(dev)->name);
    return migrate_add_blocker(&dev->blocker, errp) == 0;
}

void video_device_update_blocker(VideoDevice *dev)
{
    VideoDeviceClass *vc = VIDEO_DEVICE_GET_CLASS(dev);

    if (!dev->blocker || dev->held || (vc->is_busy && vc->is_busy(dev))) {
        return;
    }
    for (uint32_t i = 0; i < dev->n_ids; i++) {
        if (dev->streams[i]) {
            return;
        }
    }
    migrate_del_blocker(&dev->blocker);
}

/* Events that wait for buffers go along, each behind its size. */
static int video_device_pre_save(void *opaque)
{
    VideoDevice *dev = opaque;
    GByteArray *buf = g_byte_array_new();
    VideoDeviceEvent *event;

    QTAILQ_FOREACH(event, &dev->events, next) {
        uint32_t size = cpu_to_le32(event->size);

        g_byte_array_append(buf, (const uint8_t *)&size, sizeof(size));
        g_byte_array_append(buf, event->data, event->size);
    }
    g_free(dev->mig_events);
    dev->mig_events_size = buf->len;
    dev->mig_events = g_byte_array_free(buf, false);
    return 0;
}

void video_device_add_event(VideoDevice *dev, const void *data, size_t size)
{
    VideoDeviceEvent *event = g_malloc(sizeof(*event) + size);

    event->size = size;
    memcpy(event->data, data, size);
    QTAILQ_INSERT_TAIL(&dev->events, event, next);
    dev->n_events++;
    qemu_bh_schedule(dev->event_bh);
}

static int video_device_post_load(void *opaque, int version_id)
{
    VideoDevice *dev = opaque;
    const uint8_t *p = dev->mig_events;
    size_t left = dev->mig_events_size;

    while (left) {
        uint32_t size = left < sizeof(size) ? UINT32_MAX : ldl_le_p(p);

        if (size < MIN_EVENT_SIZE ||
            size > left - sizeof(size)) {
            error_report("%s: broken event", VIRTIO_DEVICE(dev)->name);
            return -EINVAL;
        }
        video_device_add_event(dev, p + sizeof(size), size);
        p += sizeof(size) + size;
        left -= sizeof(size) + size;
    }
    g_clear_pointer(&dev->mig_events, g_free);
    return 0;
}

/*
 * The event queue
 */

void video_device_drop_events(VideoDevice *dev,
                              bool (*match)(const uint8_t *event, size_t size,
                                            void *opaque), void *opaque)
{
    VideoDeviceEvent *event, *next;

    QTAILQ_FOREACH_SAFE(event, &dev->events, next, next) {
        if (!match || match(event->data, event->size, opaque)) {
            QTAILQ_REMOVE(&dev->events, event, next);
            dev->n_events--;
            g_free(event);
        }
    }
}

/*
 * Put an event into the driver's buffer.
 * Returns: false if the device is broken now.
 */
static bool video_device_write_event(VideoDevice *dev, VirtQueueElement *elem,
                                     VideoDeviceEvent *event)
{
    VideoDeviceClass *vc = VIDEO_DEVICE_GET_CLASS(dev);
    size_t room = iov_size(elem->in_sg, elem->in_num);
    size_t size = event->size;

    if (room < size) {
        trace_video_device_small_buffer(dev, size, room);
        size = vc->cut_event ? vc->cut_event(dev, event->data, size, room) : 0;
        if (!size) {
            virtio_error(VIRTIO_DEVICE(dev), "event buffer of %zu bytes",
                         room);
            return false;
        }
    }
    iov_from_buf(elem->in_sg, elem->in_num, 0, event->data, size);
    virtqueue_push(dev->event_vq, elem, size);
    return true;
}

/* What the driver's index is ahead of ours */
static unsigned video_device_count_split(VirtIODevice *vdev, int n)
{
    uint16_t index = address_space_lduw_le(
        vdev->dma_as, virtio_queue_get_avail_addr(vdev, n) +
                      offsetof(struct vring_avail, idx),
        MEMTXATTRS_UNSPECIFIED, NULL);

    return (uint16_t)(index - virtio_queue_get_last_avail_idx(vdev, n));
}

/* From our index on: those of this round, up to one that is not available */
static unsigned video_device_count_packed(VirtIODevice *vdev, int n)
{
    /* The driver may have made the ring larger than it was */
    unsigned num = virtio_queue_get_num(vdev, n);
    g_autofree struct vring_packed_desc *ring =
        g_new(struct vring_packed_desc, num);
    unsigned last = virtio_queue_get_last_avail_idx(vdev, n);
    unsigned i = last & 0x7fff;
    bool wrap = last & 0x8000;
    unsigned count;

    address_space_read(vdev->dma_as, virtio_queue_get_desc_addr(vdev, n),
                       MEMTXATTRS_UNSPECIFIED, ring, num * sizeof(ring[0]));
    for (count = 0; count < num && i < num; count++) {
        uint16_t flags = le16_to_cpu(ring[i].flags);
        bool avail = flags & (1 << VRING_PACKED_DESC_F_AVAIL);
        bool used = flags & (1 << VRING_PACKED_DESC_F_USED);

        if (avail != wrap || used == wrap) {
            break;
        }
        if (++i == num) {
            i = 0;
            wrap = !wrap;
        }
    }
    return count;
}

unsigned video_device_count_event_buffers(VideoDevice *dev)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    int n = virtio_get_queue_index(dev->event_vq);

    if (!virtio_queue_get_desc_addr(vdev, n)) {
        return 0;
    }
    return virtio_vdev_has_feature(vdev, VIRTIO_F_RING_PACKED) ?
           video_device_count_packed(vdev, n) :
           video_device_count_split(vdev, n);
}

/* Returns: NULL if there is no buffer; then a new one will kick. */
static VirtQueueElement *video_device_event_buffer(VideoDevice *dev)
{
    VirtQueueElement *elem = virtqueue_pop(dev->event_vq, sizeof(*elem));

    if (!elem) {
        virtio_queue_set_notification(dev->event_vq, 1);
        elem = virtqueue_pop(dev->event_vq, sizeof(*elem));
    }
    return elem;
}

void video_device_flush_events(VideoDevice *dev)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    bool notify = false;

    if (!video_device_is_running(dev)) {
        return;
    }

    /* Buffers are of interest only while events wait for them */
    virtio_queue_set_notification(dev->event_vq, 0);
    while (!QTAILQ_EMPTY(&dev->events)) {
        VideoDeviceEvent *event = QTAILQ_FIRST(&dev->events);
        VirtQueueElement *elem = video_device_event_buffer(dev);

        if (!elem) {
            break;
        }
        QTAILQ_REMOVE(&dev->events, event, next);
        dev->n_events--;
        if (video_device_write_event(dev, elem, event)) {
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

static void video_device_event_bh(void *opaque)
{
    video_device_flush_events(opaque);
}

/* Queues are worked on in guarded BHs: a guest's "memory" may be our own BAR */
static void video_device_handle_event(VirtIODevice *vdev, VirtQueue *vq)
{
    VideoDevice *dev = VIDEO_DEVICE(vdev);

    if (!QTAILQ_EMPTY(&dev->events)) {
        qemu_bh_schedule(dev->event_bh);
    }
}

/*
 * Streams
 */

static void video_device_stream_free(VideoDeviceStream *vs)
{
    VideoDevice *dev = vs->dev;

    QTAILQ_REMOVE(&dev->live, vs, next);
    dev->n_live--;
    if (dev->streams[vs->id] == vs) {
        dev->streams[vs->id] = NULL;
    }
    video_stream_free(vs->stream);
    g_free(vs);
}

/* It stays in the list of those that live, which limits how many there are */
void video_device_stream_overdue(void *opaque)
{
    VideoDeviceStream *vs = opaque;
    VideoDevice *dev = vs->dev;

    assert(dev->streams[vs->id] == vs);
    dev->streams[vs->id] = NULL;
    video_device_update_blocker(dev);
}

void video_device_stream_closed(void *opaque)
{
    VideoDeviceStream *vs = opaque;
    VideoDevice *dev = vs->dev;

    video_device_stream_free(vs);
    video_device_update_blocker(dev);
}

VideoDeviceStream *video_device_stream_new(VideoDevice *dev, uint32_t id,
                                           VideoCodecDirection direction,
                                           const VideoStreamOps *ops,
                                           void *opaque, Error **errp)
{
    VideoDeviceStream *vs;
    g_autofree char *name = g_strdup_printf("%s: stream %u",
                                            VIRTIO_DEVICE(dev)->name, id);

    if (!video_device_block_migration(dev, errp)) {
        return NULL;
    }

    /* A vIOMMU may be in between: that is settled with the features */
    dev->ctx.as = VIRTIO_DEVICE(dev)->dma_as;

    vs = g_new0(VideoDeviceStream, 1);
    vs->dev = dev;
    vs->id = id;
    vs->opaque = opaque;
    vs->stream = video_stream_new(&dev->ctx, direction, name, ops, vs);
    dev->streams[id] = vs;
    QTAILQ_INSERT_TAIL(&dev->live, vs, next);
    dev->n_live++;
    dev->n_opened++;
    return vs;
}

void video_device_stream_abandon(VideoDeviceStream *vs)
{
    vs->dev->streams[vs->id] = NULL;
    video_stream_abort(vs->stream);
}

/*
 * Commands
 */

static void video_device_command_bh(void *opaque)
{
    VideoDevice *dev = opaque;
    VideoDeviceClass *vc = VIDEO_DEVICE_GET_CLASS(dev);
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    size_t bytes = 0;
    unsigned n;

    if (!video_device_is_running(dev)) {
        return;
    }
    for (n = 0; dev->n_events < dev->max_events && !dev->held; n++) {
        VirtQueueElement *elem;

        if (n == COMMANDS_PER_PASS || bytes >= BYTES_PER_PASS ||
            video_stream_turn_is_over(&dev->ctx)) {
            qemu_bh_schedule(dev->command_bh);
            break;
        }
        elem = virtqueue_pop(dev->command_vq, sizeof(*elem));
        if (!elem) {
            break;
        }
        bytes += iov_size(elem->out_sg, elem->out_num);
        if (!vc->command(dev, elem)) {
            trace_video_device_malformed(dev,
                                         iov_size(elem->out_sg, elem->out_num),
                                         iov_size(elem->in_sg, elem->in_num));
            virtio_error(vdev, "malformed command");
            virtqueue_detach_element(dev->command_vq, elem, 0);
            g_free(elem);
            break;
        }
        if (elem != dev->held) {
            g_free(elem);
        }
    }
    if (n) {
        virtio_notify(vdev, dev->command_vq);
    }
}

static void video_device_handle_command(VirtIODevice *vdev, VirtQueue *vq)
{
    if (!virtio_vdev_has_feature(vdev, VIRTIO_F_VERSION_1)) {
        virtio_error(vdev, "%s has no legacy interface: for virtio-mmio, set "
                     "force-legacy=false", vdev->name);
        return;
    }
    qemu_bh_schedule(VIDEO_DEVICE(vdev)->command_bh);
}

/*
 * Life of the device
 */

void video_device_hold(VideoDevice *dev, VirtQueueElement *elem)
{
    dev->held = elem;
}

void video_device_answer_held(VideoDevice *dev, const void *data, size_t size)
{
    g_autofree VirtQueueElement *elem = g_steal_pointer(&dev->held);

    iov_from_buf(elem->in_sg, elem->in_num, 0, data, size);
    virtqueue_push(dev->command_vq, elem, size);
    virtio_notify(VIRTIO_DEVICE(dev), dev->command_vq);
    qemu_bh_schedule(dev->command_bh);
    video_device_update_blocker(dev);
}

static void video_device_drop_held(VideoDevice *dev)
{
    if (dev->held) {
        virtqueue_detach_element(dev->command_vq, dev->held, 0);
        g_clear_pointer(&dev->held, g_free);
    }
}

static void video_device_queue_reset(VirtIODevice *vdev, uint32_t index)
{
    VideoDevice *dev = VIDEO_DEVICE(vdev);

    if (virtio_get_queue(vdev, index) == dev->command_vq) {
        video_device_drop_held(dev);
    }
}

void video_device_reset(VirtIODevice *vdev)
{
    VideoDevice *dev = VIDEO_DEVICE(vdev);
    uint32_t streams = 0;

    video_device_drop_held(dev);
    qemu_bh_cancel(dev->command_bh);
    qemu_bh_cancel(dev->event_bh);
    for (uint32_t i = 0; i < dev->n_ids; i++) {
        VideoDeviceStream *vs = dev->streams[i];

        if (vs) {
            video_device_stream_abandon(vs);
            streams++;
        }
    }
    if (streams || dev->n_events) {
        trace_video_device_reset(dev, streams, dev->n_events);
    }
    video_device_drop_events(dev, NULL, NULL);
    video_device_update_blocker(dev);
}

/*
 * What was opened under some features must not be reached with others.  They
 * can change without a reset, but not without FEATURES_OK going away first.
 */
static void video_device_set_status(VirtIODevice *vdev, uint8_t status)
{
    VideoDevice *dev = VIDEO_DEVICE(vdev);
    VideoDeviceClass *vc = VIDEO_DEVICE_GET_CLASS(dev);

    if (vdev->status & ~status & VIRTIO_CONFIG_S_FEATURES_OK) {
        VIRTIO_DEVICE_GET_CLASS(vdev)->reset(vdev);
    }
    /* Drivers may kick before DRIVER_OK */
    if (status & VIRTIO_CONFIG_S_DRIVER_OK) {
        qemu_bh_schedule(dev->event_bh);
        qemu_bh_schedule(dev->command_bh);
        if (dev->held && vc->go_on) {
            vc->go_on(dev);
        }
    }
}

static void video_device_vmstate_change(void *opaque, bool running,
                                        RunState state)
{
    VideoDevice *dev = opaque;
    VideoDeviceStream *vs;

    QTAILQ_FOREACH(vs, &dev->live, next) {
        video_stream_pause(vs->stream, !running);
    }
    if (running) {
        qemu_bh_schedule(dev->event_bh);
        qemu_bh_schedule(dev->command_bh);
    }
}

bool video_device_check_limit(const char *name, uint32_t value, uint32_t max,
                              Error **errp)
{
    if (value < 1 || value > max) {
        error_setg(errp, "'%s' must be between 1 and %u", name, max);
        return false;
    }
    return true;
}

static bool video_device_check_properties(VideoDevice *dev, Error **errp)
{
    VideoStreamContext *ctx = &dev->ctx;

    if (!ctx->max_mem) {
        error_setg(errp, "'max-mem' must be more than 0");
        return false;
    }
    return video_device_check_limit("max-streams", dev->max_streams, 256,
                                    errp) &&
           video_device_check_limit("max-events", dev->max_events, 65536,
                                    errp) &&
           video_device_check_limit("max-width", ctx->max_width,
                                    VIDEO_MAX_DIMENSION, errp) &&
           video_device_check_limit("max-height", ctx->max_height,
                                    VIDEO_MAX_DIMENSION, errp) &&
           video_device_check_limit("max-coded-size", ctx->max_coded_size,
                                    256 * MiB, errp) &&
           video_device_check_limit("max-resources", ctx->max_resources, 256,
                                    errp) &&
           video_device_check_limit("max-entries", ctx->max_entries,
                                    256 * KiB, errp);
}

/* Make @type the device's codec. */
static bool video_device_try_codec(VideoDevice *dev, const char *type,
                                   Error **errp)
{
    g_autoptr(Object) obj = NULL;

    if (!module_object_class_by_name(type)) {
        error_setg(errp, "there is no %s in this QEMU: set 'codec' to the id "
                   "of another codec object", type);
        return false;
    }
    obj = object_new(type);
    object_property_add_child(OBJECT(dev), "default-codec", obj);
    if (!user_creatable_complete(USER_CREATABLE(obj), errp)) {
        object_unparent(obj);
        return false;
    }
    object_property_set_link(OBJECT(dev), "codec", obj, &error_abort);
    return true;
}

/*
 * The codec object of the user who did not choose one: on the first GPU that
 * works, else in software.
 */
static bool video_device_default_codec(VideoDevice *dev, Error **errp)
{
    return video_device_try_codec(dev, TYPE_VIDEO_CODEC_VAAPI, NULL) ||
           video_device_try_codec(dev, TYPE_VIDEO_CODEC_LIBAV, errp);
}

/* What was asked for that a GPU has not got; software may well have it */
static const char *video_device_missing(VideoDevice *dev)
{
    const VideoCodecCaps *caps = video_codec_get_caps(dev->codec);

    return dev->encoder && !caps->n_encoders ? "encoders" :
           dev->decoder && !caps->n_decoders ? "decoders" : NULL;
}

/* For those who did not choose the codec: what they have got */
static void video_device_report_codec(VideoDevice *dev)
{
    const VideoCodecCaps *caps = &dev->ctx.caps;
    const char *type = object_get_typename(OBJECT(dev->codec));
    g_autofree char *node = object_property_get_str(OBJECT(dev->codec),
                                                    "rendernode", NULL);
    g_autofree char *where = node ? g_strdup_printf("on the GPU of %s", node)
                                  : g_strdup("in software");

    info_report("%s: %s %s (%s)", VIRTIO_DEVICE(dev)->name,
                !caps->n_encoders ? "decoding" :
                !caps->n_decoders ? "encoding" : "decoding and encoding",
                where, type);
    if (node && video_device_missing(dev)) {
        info_report("%s: this GPU has no %s; with -object %s,id=ID,"
                    "fallback=software and codec=ID those of software are "
                    "offered", VIRTIO_DEVICE(dev)->name,
                    video_device_missing(dev), type);
    }
}

/* The raw formats that go with @coded of the codec in sizes of the device */
static uint32_t video_device_choose_raws(VideoDevice *dev,
                                         const VideoCodedCaps *coded)
{
    const VideoCodecCaps *caps = &dev->ctx.caps;
    uint32_t mask = 0;

    for (unsigned i = 0; i < caps->n_raws; i++) {
        VideoSizes sizes = video_coded_sizes(coded, caps->raws[i],
                                             dev->ctx.max_width,
                                             dev->ctx.max_height);

        if (sizes.width.min <= sizes.width.max &&
            sizes.height.min <= sizes.height.max) {
            mask |= coded->raw_mask & (1u << i);
        }
    }
    return mask;
}

static unsigned video_device_choose_coded(VideoDevice *dev,
                                          const VideoCodedCaps *from,
                                          unsigned n, VideoCodedCaps *to)
{
    unsigned n_to = 0;

    for (unsigned i = 0; i < n; i++) {
        uint32_t mask = video_device_choose_raws(dev, &from[i]);

        if (mask && (from[i].format != VIDEO_CODED_AV1 || dev->av1)) {
            to[n_to] = from[i];
            to[n_to++].raw_mask = mask;
        }
    }
    return n_to;
}

static void video_device_choose_controls(VideoDevice *dev,
                                         VideoCodedCaps *coded)
{
    for (VideoControl i = 0; i < VIDEO_CONTROL__MAX; i++) {
        if (!video_control_exists(coded->format, i, dev->controls)) {
            coded->controls[i].supported = false;
        }
    }
}

/* What of the codec's abilities this device offers. */
static bool video_device_choose_caps(VideoDevice *dev, Error **errp)
{
    const VideoCodecCaps *from = video_codec_get_caps(dev->codec);
    VideoCodecCaps *to = &dev->ctx.caps;

    *to = *from;
    to->n_decoders = dev->decoder ?
        video_device_choose_coded(dev, from->decoders, from->n_decoders,
                                  to->decoders) : 0;
    to->n_encoders = dev->encoder ?
        video_device_choose_coded(dev, from->encoders, from->n_encoders,
                                  to->encoders) : 0;
    for (unsigned i = 0; i < to->n_encoders; i++) {
        video_device_choose_controls(dev, &to->encoders[i]);
    }

    if (!to->n_decoders && !to->n_encoders) {
        error_setg(errp, "codec '%s' has nothing to offer with 'decoder=%s' "
                   "and 'encoder=%s'", object_get_typename(OBJECT(dev->codec)),
                   dev->decoder ? "on" : "off", dev->encoder ? "on" : "off");
        return false;
    }
    return true;
}

void video_device_realize(DeviceState *qdev, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(qdev);
    VideoDevice *dev = VIDEO_DEVICE(qdev);
    VideoDeviceClass *vc = VIDEO_DEVICE_GET_CLASS(dev);
    bool chosen = dev->codec;

    if (!video_device_check_properties(dev, errp)) {
        return;
    }
    virtio_init(vdev, vc->device_id, vc->config_size);
    if ((!chosen && !video_device_default_codec(dev, errp)) ||
        !video_device_choose_caps(dev, errp)) {
        virtio_cleanup(vdev);
        return;
    }
    if (!chosen) {
        video_device_report_codec(dev);
    }

    video_codec_use(dev->codec);
    dev->ctx.codec = dev->codec;
    dev->ctx.memory = video_memory_new(dev->ctx.max_mem);
    dev->ctx.max_commands = MAX(MAX_STREAM_COMMANDS, dev->ctx.max_resources +
                                                     SPARE_STREAM_COMMANDS);
    dev->ctx.max_workers = WORKERS_PER_STREAM * dev->max_streams;
    video_stream_context_init(&dev->ctx);
    dev->mig_caps_crc = vc->caps_crc(dev);
    dev->n_ids = dev->n_ids ?: dev->max_streams;
    dev->streams = g_new0(VideoDeviceStream *, dev->n_ids);
    QTAILQ_INIT(&dev->live);
    QTAILQ_INIT(&dev->events);
    dev->command_vq = virtio_add_queue(vdev, COMMAND_QUEUE_SIZE,
                                       video_device_handle_command);
    dev->event_vq = virtio_add_queue(vdev, EVENT_QUEUE_SIZE,
                                     video_device_handle_event);
    dev->command_bh = virtio_bh_new_guarded(qdev, video_device_command_bh, dev);
    dev->event_bh = virtio_bh_new_guarded(qdev, video_device_event_bh, dev);
    dev->vmstate_change = qdev_add_vm_change_state_handler(
        qdev, video_device_vmstate_change, dev);
}

void video_device_unrealize(DeviceState *qdev)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(qdev);
    VideoDevice *dev = VIDEO_DEVICE(qdev);

    qemu_del_vm_change_state_handler(dev->vmstate_change);
    while (!QTAILQ_EMPTY(&dev->live)) {
        video_device_stream_free(QTAILQ_FIRST(&dev->live));
    }
    video_stream_context_cleanup(&dev->ctx);
    video_device_drop_held(dev);
    video_device_drop_events(dev, NULL, NULL);
    video_device_update_blocker(dev);
    qemu_bh_delete(dev->command_bh);
    qemu_bh_delete(dev->event_bh);
    virtio_delete_queue(dev->command_vq);
    virtio_delete_queue(dev->event_vq);
    g_free(dev->streams);
    g_free(dev->mig_events);
    video_memory_unref(dev->ctx.memory);
    video_codec_unuse(dev->codec);
    virtio_cleanup(vdev);
}

static const VMStateDescription vmstate_video_device = {
    .name = "virtio-video-base-device",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = video_device_pre_save,
    .post_load = video_device_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32_EQUAL(max_streams, VideoDevice,
                             "max-streams differs between the two sides"),
        VMSTATE_UINT32_EQUAL(mig_caps_crc, VideoDevice,
                             "the capabilities of the two sides differ"),
        VMSTATE_UINT32(mig_events_size, VideoDevice),
        VMSTATE_VBUFFER_ALLOC_UINT32(mig_events, VideoDevice, 1, NULL,
                                     mig_events_size),
        VMSTATE_END_OF_LIST()
    },
};

static const Property video_device_properties[] = {
    DEFINE_PROP_LINK("codec", VideoDevice, codec, TYPE_VIDEO_CODEC,
                     VideoCodec *),
    DEFINE_PROP_UINT32("max-streams", VideoDevice, max_streams, 16),
    DEFINE_PROP_UINT32("max-events", VideoDevice, max_events, 1024),
    DEFINE_PROP_UINT32("max-width", VideoDevice, ctx.max_width, 8192),
    DEFINE_PROP_UINT32("max-height", VideoDevice, ctx.max_height, 8192),
    DEFINE_PROP_SIZE32("max-coded-size", VideoDevice, ctx.max_coded_size,
                       16 * MiB),
    DEFINE_PROP_UINT32("max-resources", VideoDevice, ctx.max_resources, 32),
    DEFINE_PROP_UINT32("max-entries", VideoDevice, ctx.max_entries, 32768),
    DEFINE_PROP_SIZE("max-mem", VideoDevice, ctx.max_mem, 4 * GiB),
};

static void video_device_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(oc);

    device_class_set_props(dc, video_device_properties);
    dc->desc = "Virtio video codec";
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);

    vdc->realize = video_device_realize;
    vdc->unrealize = video_device_unrealize;
    vdc->set_status = video_device_set_status;
    vdc->reset = video_device_reset;
    vdc->queue_reset = video_device_queue_reset;
    vdc->vmsd = &vmstate_video_device;

    object_class_property_set_description(oc, "codec",
        "id of the video-codec object that does the work "
        "(default: video-codec-vaapi on the first GPU that works, else "
        "video-codec-libav)");
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
        "host memory in bytes that the guest's requests and the codec's frames "
        "can take in all");
}

static const TypeInfo video_device_info = {
    .name = TYPE_VIDEO_DEVICE,
    .parent = TYPE_VIRTIO_DEVICE,
    .instance_size = sizeof(VideoDevice),
    .class_size = sizeof(VideoDeviceClass),
    .class_init = video_device_class_init,
    .abstract = true,
};

static void video_device_register_types(void)
{
    type_register_static(&video_device_info);
}

type_init(video_device_register_types)
