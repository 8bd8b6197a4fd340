/*
 * Virtio video device: its state
 *
 * All of it belongs to the device's context: the main loop with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_DEVICE_H
#define HW_VIRTIO_VIDEO_DEVICE_H

#include "hw/virtio/virtio.h"
#include "hw/virtio/virtio-video.h"
#include "system/runstate.h"
#include "stream.h"

typedef struct VirtIOVideoEvent VirtIOVideoEvent;

/** VirtIOVideoStream: a stream as this front end sees it. */
typedef struct VirtIOVideoStream {
    VirtIOVideo *dev;
    uint32_t id;
    VideoStream *stream;
    QTAILQ_ENTRY(VirtIOVideoStream) next;
} VirtIOVideoStream;

/**
 * VirtIOVideo: a draft-v10 device.
 * @codec: property codec; the default codec if the user gave none
 * @streams: open and closing streams by their id, NULL if the id is free
 * @live: all streams that are not freed: those in @streams, and those whose
 *        worker had not ended at the last reset; @n_live of them
 * @n_opened, @n_failed: streams opened, and ended by an error, so far
 * @events: wait for the driver's event buffers; @n_events of them
 * @command_bh: takes commands that a handler left in the queue
 * @event_bh: puts @events into event buffers, with one notification for all
 * @blocker: set while migration is blocked
 */
struct VirtIOVideo {
    VirtIODevice parent_obj;

    /* Properties */
    VideoCodec *codec;
    uint32_t max_streams;
    uint32_t max_events;
    bool decoder;
    bool encoder;
    bool av1;
    bool x_controls;

    VideoStreamContext ctx;     /* has more properties: the limits */
    VirtQueue *command_vq;
    VirtQueue *event_vq;
    VirtIOVideoStream **streams;
    QTAILQ_HEAD(, VirtIOVideoStream) live;
    uint32_t n_live;
    uint64_t n_opened;
    uint64_t n_failed;
    QSIMPLEQ_HEAD(, VirtIOVideoEvent) events;
    uint32_t n_events;
    QEMUBH *command_bh;
    QEMUBH *event_bh;
    Error *blocker;
    VMChangeStateEntry *vmstate_change;

    /* Migration only: refuses another configuration, takes @events along */
    uint32_t mig_caps_crc;
    uint32_t mig_events_size;
    uint8_t *mig_events;
};

#endif /* HW_VIRTIO_VIDEO_DEVICE_H */
