/*
 * Video devices: what the front ends share
 *
 * A front end translates between a protocol and streams.  What does not depend
 * on the protocol is here: the codec and what of it is offered, limits, the
 * list of streams, the way from the command queue and to the event queue, the
 * life of a device.  All state belongs to the device's context: the main loop
 * with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_DEVICE_H
#define HW_VIRTIO_VIDEO_DEVICE_H

#include "hw/virtio/virtio.h"
#include "hw/virtio/virtio-video.h"
#include "system/runstate.h"
#include "stream.h"

#define TYPE_VIDEO_DEVICE "virtio-video-base-device"
OBJECT_DECLARE_TYPE(VideoDevice, VideoDeviceClass, VIDEO_DEVICE)

typedef struct VideoDeviceEvent VideoDeviceEvent;

/**
 * VideoDeviceStream: a stream of a device.
 * @id: its index in VideoDevice.streams as long as the guest knows it
 * @opaque: for the front end
 */
typedef struct VideoDeviceStream {
    VideoDevice *dev;
    uint32_t id;
    VideoStream *stream;
    void *opaque;
    QTAILQ_ENTRY(VideoDeviceStream) next;
} VideoDeviceStream;

/**
 * VideoDevice: a device of any protocol.
 * @codec: property codec; the default codec if the user gave none
 * @controls: offer controls of encoders that draft v10 does not list, too
 * @n_ids: ids that streams can have: max_streams, unless the front end has set
 *         it before realize and bounds what is really used in another way
 * @streams: open and closing streams by their id, NULL if the id is free
 * @live: all streams that are not freed: those in @streams, and those whose
 *        worker had not ended when the guest gave up the id; @n_live of them
 * @n_opened, @n_failed: streams opened, and ended by an error, so far
 * @events: wait for the driver's event buffers; @n_events of them.  With
 *          max_events no more commands are taken, so there can be more only by
 *          what one command makes, and by what buffers that are queued make
 * @command_bh: takes commands that a handler left in the queue
 * @event_bh: puts @events into event buffers, with one notification for all
 * @held: a command that video_device_hold() has kept; no others are taken
 * @blocker: set while migration is blocked
 */
struct VideoDevice {
    VirtIODevice parent_obj;

    /* Properties */
    VideoCodec *codec;
    uint32_t max_streams;
    uint32_t max_events;

    /* Properties of some, constants of others */
    bool decoder;
    bool encoder;
    bool av1;
    bool controls;

    VideoStreamContext ctx;     /* has more properties: the limits */
    VirtQueue *command_vq;
    VirtQueue *event_vq;
    uint32_t n_ids;
    VideoDeviceStream **streams;
    QTAILQ_HEAD(, VideoDeviceStream) live;
    uint32_t n_live;
    uint64_t n_opened;
    uint64_t n_failed;
    QTAILQ_HEAD(, VideoDeviceEvent) events;
    uint32_t n_events;
    QEMUBH *command_bh;
    QEMUBH *event_bh;
    VirtQueueElement *held;
    Error *blocker;
    VMChangeStateEntry *vmstate_change;

    /* Migration only: refuses another configuration, takes @events along */
    uint32_t mig_caps_crc;
    uint32_t mig_events_size;
    uint8_t *mig_events;
};

/**
 * VideoDeviceClass: a protocol.
 * @device_id, @config_size: of the virtio device
 * @command: take a command, and give @elem back to the queue with
 *           virtqueue_push(); the caller notifies and frees.  Returns false if
 *           the request is malformed; then @elem was not given back.
 * @cut_event: what to write of an event of @size bytes that does not fit into
 *             @room; it may change @event.  Returns 0 if a driver must not have
 *             so small a buffer.  NULL: it must not.
 * @caps_crc: a checksum of all that the device can offer, for migration
 * @is_busy: is there something but streams that can't migrate?  May be NULL.
 * @go_on: there is DRIVER_OK again, and an answer is held.  NULL: none ever is.
 */
struct VideoDeviceClass {
    VirtioDeviceClass parent_class;

    uint16_t device_id;
    size_t config_size;
    bool (*command)(VideoDevice *dev, VirtQueueElement *elem);
    size_t (*cut_event)(VideoDevice *dev, uint8_t *event, size_t size,
                        size_t room);
    uint32_t (*caps_crc)(VideoDevice *dev);
    bool (*is_busy)(VideoDevice *dev);
    void (*go_on)(VideoDevice *dev);
};

/**
 * video_device_guest_error: the guest has done something wrong; say what, in
 * the log and in the trace.  For what streams have to say there is
 * video_stream_guest_error().
 */
void G_GNUC_PRINTF(2, 3)
video_device_guest_error(VideoDevice *dev, const char *fmt, ...);

/** video_device_block_migration: something is there that can't be moved. */
bool video_device_block_migration(VideoDevice *dev, Error **errp);

/** video_device_update_blocker: that may have been the last of it. */
void video_device_update_blocker(VideoDevice *dev);

/**
 * video_device_add_event: queue an event for the driver.
 * @data, @size: copied
 */
void video_device_add_event(VideoDevice *dev, const void *data, size_t size);

/**
 * video_device_drop_events: forget events that wait.
 * @match: says which; NULL: all
 */
void video_device_drop_events(VideoDevice *dev,
                              bool (*match)(const uint8_t *event, size_t size,
                                            void *opaque), void *opaque);

/** video_device_flush_events: write events to the driver's buffers, now. */
void video_device_flush_events(VideoDevice *dev);

/**
 * video_device_count_event_buffers: those that the driver has given and that no
 * event is in.  In a packed ring, the descriptors of them.
 *
 * Takes a short time, whatever a guest has put there: no descriptor chain is
 * followed.
 */
unsigned video_device_count_event_buffers(VideoDevice *dev);

/** video_device_is_running: may the queues be touched? */
bool video_device_is_running(VideoDevice *dev);

/**
 * video_device_hold: answer a command later, and take no other until then.
 * For VideoDeviceClass.command(), which then returns true; @elem stays until
 * video_device_answer_held(), or is dropped in a reset.
 */
void video_device_hold(VideoDevice *dev, VirtQueueElement *elem);

/**
 * video_device_answer_held: give the held command back to the queue.
 * @data, @size: its answer
 *
 * In a guarded BH, as all that touches a queue.  The command is not the
 * device's any more when its memory is written to: what a guest calls memory
 * may be registers with which the device can be reset.
 */
void video_device_answer_held(VideoDevice *dev, const void *data, size_t size);

/**
 * video_device_stream_new: open a stream.  The front end keeps n_live within
 * bounds: each of those that live can have a worker.
 * @id: free, less than n_ids
 *
 * Returns: NULL with @errp set if it is not to be
 */
VideoDeviceStream *video_device_stream_new(VideoDevice *dev, uint32_t id,
                                           VideoCodecDirection direction,
                                           const VideoStreamOps *ops,
                                           void *opaque, Error **errp);

/** video_device_stream_overdue: a VideoStreamOps.overdue; frees the id. */
void video_device_stream_overdue(void *opaque);

/** video_device_stream_closed: a VideoStreamOps.closed; frees the stream. */
void video_device_stream_closed(void *opaque);

/** video_device_stream_abandon: abort a stream; its id is free at once. */
void video_device_stream_abandon(VideoDeviceStream *vs);

/* Of VirtioDeviceClass and DeviceClass, for front ends that do more there */
void video_device_reset(VirtIODevice *vdev);
void video_device_realize(DeviceState *qdev, Error **errp);
void video_device_unrealize(DeviceState *qdev);

/** video_device_check_limit: is property @name from 1 to @max? */
bool video_device_check_limit(const char *name, uint32_t value, uint32_t max,
                              Error **errp);

#endif /* HW_VIRTIO_VIDEO_DEVICE_H */
