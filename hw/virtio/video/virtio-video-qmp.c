/*
 * Virtio video device: query-virtio-video and info virtio-video
 *
 * What devices and streams count while they work, for those who run the VM.
 * Main loop, BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/qapi-commands-virtio-video.h"
#include "qapi/util.h"
#include "qemu/timer.h"
#include "video-device.h"

static const char *const coded_names[VIDEO_CODED__MAX] = {
    [VIDEO_CODED_MPEG2] = "mpeg2",
    [VIDEO_CODED_MPEG4] = "mpeg4",
    [VIDEO_CODED_H264] = "h264",
    [VIDEO_CODED_HEVC] = "hevc",
    [VIDEO_CODED_VP8] = "vp8",
    [VIDEO_CODED_VP9] = "vp9",
    [VIDEO_CODED_AV1] = "av1",
};

static char *fourcc_name(uint32_t fourcc)
{
    return g_strdup_printf("%c%c%c%c", fourcc & 0xff, fourcc >> 8 & 0xff,
                           fourcc >> 16 & 0xff, fourcc >> 24);
}

static VirtioVideoStreamState stream_state(const VideoStreamInfo *info)
{
    if (info->closing) {
        return VIRTIO_VIDEO_STREAM_STATE_CLOSING;
    }
    if (info->blocked) {
        return VIRTIO_VIDEO_STREAM_STATE_BLOCKED;
    }
    if (info->draining) {
        return VIRTIO_VIDEO_STREAM_STATE_DRAINING;
    }
    return info->queued[VIDEO_QUEUE_INPUT] ?
           VIRTIO_VIDEO_STREAM_STATE_RUNNING : VIRTIO_VIDEO_STREAM_STATE_IDLE;
}

static VirtioVideoStreamQueue *stream_queue(const VideoStreamInfo *info,
                                            VideoQueue queue)
{
    VirtioVideoStreamQueue *q = g_new0(VirtioVideoStreamQueue, 1);

    q->queued = info->queued[queue];
    q->buffers = info->counters[queue].buffers;
    q->bytes = info->counters[queue].bytes;
    q->errors = info->counters[queue].errors;
    return q;
}

static VirtioVideoStream *stream_info(const VideoDeviceStream *vs)
{
    VirtioVideoStream *s = g_new0(VirtioVideoStream, 1);
    VideoStreamInfo info;

    video_stream_get_info(vs->stream, &info);
    s->id = vs->id;
    s->direction = info.direction == VIDEO_DECODE ?
                   VIRTIO_VIDEO_DIRECTION_DECODER :
                   VIRTIO_VIDEO_DIRECTION_ENCODER;
    s->state = stream_state(&info);
    s->coded_format = g_strdup(coded_names[info.coded]);
    s->raw_format = fourcc_name(info.raw.fourcc);
    s->width = info.raw.width;
    s->height = info.raw.height;
    s->crop_left = info.crop.left;
    s->crop_top = info.crop.top;
    s->crop_width = info.crop.width;
    s->crop_height = info.crop.height;
    s->engine = *info.codec.engine ? g_strdup(info.codec.engine) : NULL;
    s->codec_time = info.codec.busy_ns;
    s->pixels_copied = info.codec.copied;
    s->input = stream_queue(&info, VIDEO_QUEUE_INPUT);
    s->output = stream_queue(&info, VIDEO_QUEUE_OUTPUT);
    return s;
}

static VirtioVideoInfo *device_info(VideoDevice *dev)
{
    VirtioVideoInfo *info = g_new0(VirtioVideoInfo, 1);
    VirtioVideoStreamList **tail = &info->streams;
    VideoDeviceStream *vs;

    info->path = object_get_canonical_path(OBJECT(dev));
    info->codec = g_strdup(object_get_typename(OBJECT(dev->codec)));
    info->codec_path = object_get_canonical_path(OBJECT(dev->codec));
    info->max_streams = dev->max_streams;
    info->memory = video_memory_used(dev->ctx.memory);
    info->max_memory = dev->ctx.max_mem;
    info->events_waiting = dev->n_events;
    info->streams_opened = dev->n_opened;
    info->streams_failed = dev->n_failed;
    QTAILQ_FOREACH(vs, &dev->live, next) {
        QAPI_LIST_APPEND(tail, stream_info(vs));
    }
    return info;
}

static int collect_device(Object *obj, void *opaque)
{
    VirtioVideoInfoList ***tail = opaque;
    VideoDevice *dev;

    dev = (VideoDevice *)object_dynamic_cast(obj, TYPE_VIDEO_DEVICE);
    if (dev && DEVICE(dev)->realized) {
        QAPI_LIST_APPEND(*tail, device_info(dev));
    }
    return 0;
}

VirtioVideoInfoList *qmp_query_virtio_video(Error **errp)
{
    VirtioVideoInfoList *list = NULL, **tail = &list;

    object_child_foreach_recursive(object_get_root(), collect_device, &tail);
    return list;
}

static void print_queue(Monitor *mon, const char *name,
                        const VirtioVideoStreamQueue *q)
{
    monitor_printf(mon, "    %s: %" PRIu32 " queued, %" PRIu64 " buffers, "
                   "%" PRIu64 " bytes, %" PRIu64 " errors\n", name, q->queued,
                   q->buffers, q->bytes, q->errors);
}

static void print_stream(Monitor *mon, const VirtioVideoStream *s)
{
    bool decoder = s->direction == VIRTIO_VIDEO_DIRECTION_DECODER;

    monitor_printf(mon, "  stream %" PRIu32 ": %s, %s, %s %s %s, "
                   "%" PRIu32 "x%" PRIu32 ", visible %" PRIu32 "x%" PRIu32
                   "+%" PRIu32 "+%" PRIu32 "\n", s->id,
                   VirtioVideoDirection_str(s->direction),
                   VirtioVideoStreamState_str(s->state),
                   decoder ? s->coded_format : s->raw_format, "to",
                   decoder ? s->raw_format : s->coded_format,
                   s->width, s->height, s->crop_width, s->crop_height,
                   s->crop_left, s->crop_top);
    if (s->engine) {
        monitor_printf(mon, "    engine: %s, %" PRIu64 " ms, %" PRIu64
                       " bytes copied\n", s->engine,
                       s->codec_time / SCALE_MS, s->pixels_copied);
    }
    print_queue(mon, "input", s->input);
    print_queue(mon, "output", s->output);
}

void hmp_info_virtio_video(Monitor *mon, const QDict *qdict)
{
    g_autoptr(VirtioVideoInfoList) list = qmp_query_virtio_video(NULL);

    for (VirtioVideoInfoList *i = list; i; i = i->next) {
        const VirtioVideoInfo *info = i->value;

        monitor_printf(mon, "%s: %s (%s)\n", info->path, info->codec,
                       info->codec_path);
        monitor_printf(mon, "  memory: %" PRIu64 " of %" PRIu64 " bytes, "
                       "%" PRIu32 " events waiting, streams: %" PRIu64
                       " opened, %" PRIu64 " failed\n", info->memory,
                       info->max_memory, info->events_waiting,
                       info->streams_opened, info->streams_failed);
        for (VirtioVideoStreamList *s = info->streams; s; s = s->next) {
            print_stream(mon, s->value);
        }
    }
}
