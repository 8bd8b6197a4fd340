/*
 * vvclient: decoding through the device, as a guest's driver does
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_DECODE_H
#define VVCLIENT_DECODE_H

#include "demux.h"
#include "frame.h"
#include "talk.h"

typedef struct VVDecode VVDecode;

/**
 * struct VVRows - rows of the frames of a stream, as VVSource has them
 * @drv: reaches the memory
 * @layout: of the frames
 * @res: the frame
 * @row, @size: a row of each plane that is not in one piece
 */
typedef struct VVRows {
    QVVDriver *drv;
    const QVVLayout *layout;
    const QVVResource *res;
    uint8_t *row[QVV_MAX_FRAME_PLANES];
    size_t size[QVV_MAX_FRAME_PLANES];
} VVRows;

/* VVSource.row of a VVRows */
const uint8_t *vv_rows_get(void *opaque, unsigned plane, uint32_t y,
                           uint32_t x, uint32_t len);
void vv_rows_cleanup(VVRows *rows);

/**
 * struct VVPicture - a frame as the device gave it
 * @stream: index, from 0
 * @number: of the shown frames of this stream, from 0
 * @packet: index of the packet that it began with
 * @pool, @resource: the buffer that it is in
 * @raw: its format
 * @layout: the same in bytes
 * @crop: its visible part
 * @source: its pixels, for vv_frame_convert(); only during the callback
 */
typedef struct VVPicture {
    unsigned stream;
    uint64_t number;
    uint64_t packet;
    const QVVPool *pool;
    unsigned resource;
    const QVVRawFormat *raw;
    const QVVLayout *layout;
    QVVRect crop;
    VVSource source;
} VVPicture;

/**
 * enum VVAgain - how the same packets come a second time
 * @VV_AGAIN_DRAIN: they simply do, after the drain
 * @VV_AGAIN_SEEK: after a QUEUE_RESET of the input queue, too
 */
typedef enum VVAgain {
    VV_AGAIN_NO,
    VV_AGAIN_DRAIN,
    VV_AGAIN_SEEK,
} VVAgain;

/**
 * struct VVDecodeOptions - how to decode
 * @fourcc: raw format; 0: what the device chooses
 * @scatter: buffers are single pages all over the memory
 * @streams: the file is decoded as often at once
 * @limit: number of packets; 0: all
 * @in_turn: each packet waits for the frame of the one before
 * @again: when all is drained, decode all a second time; not with virtio-media
 * @picture: called for each frame that is shown; may be NULL.  True if the
 *           device may have the buffer again, false if vv_decode_release()
 *           will say so
 * @progress: called now and then with the packets that are done, of all
 *            streams together; may be NULL
 * @begin: called before anything is decoded; may be NULL, as those below
 * @event: called for the events of streams that are not the decoder's; false
 *         after VVErrors.broken was set
 * @settle: give all buffers back, and return as @event does.  Comes before a
 *          change of format, and once for each stream at its end
 * @opaque: for all of them
 */
typedef struct VVDecodeOptions {
    uint32_t fourcc;
    bool scatter;
    unsigned streams;
    unsigned limit;
    bool in_turn;
    VVAgain again;
    bool (*picture)(const VVPicture *pic, void *opaque);
    void (*progress)(uint64_t packets, uint64_t total, void *opaque);
    void (*begin)(VVDecode *dec, void *opaque);
    bool (*event)(const QVVEvent *ev, void *opaque);
    bool (*settle)(void *opaque);
    void *opaque;
} VVDecodeOptions;

/**
 * struct VVDecodeResult - what came of it
 * @frames: shown frames of all streams together
 * @hidden: frames that the edit list hides, of all streams together
 * @seconds: from the first coded buffer to the last stream's drain
 * @main_thread_ns: CPU time of QEMU's main thread in that time
 * @qemu_ns: the same of all its threads
 * @slowest: frames per second of the slowest stream, by the mean of all; a
 *           stream's time ends when it is drained
 * @errors: what went wrong
 * @raw: the last format, of stream 0
 * @format_changes: DPC events, of all streams together
 */
typedef struct VVDecodeResult {
    uint64_t frames;
    uint64_t hidden;
    double seconds;
    uint64_t main_thread_ns;
    uint64_t qemu_ns;
    double slowest;
    VVErrors errors;
    QVVRawFormat raw;
    unsigned format_changes;
} VVDecodeResult;

/**
 * vv_decode - decodes a file on one or more streams of the device
 *
 * What the device could not decode is in @result; it is initialized here and
 * has to be given to vv_decode_result_cleanup() in any case.
 *
 * Returns: false with @errp set if decoding could not even begin, or if the
 * device does not keep the rules
 */
bool vv_decode(VVGuest *g, const VVMedia *media, const VVDecodeOptions *opts,
               VVDecodeResult *result, Error **errp);
/**
 * vv_decode_media - the same through virtio-media, which vv_decode() calls
 *
 * Frames can't be kept: VVDecodeOptions.picture must return true.
 */
bool vv_decode_media(VVGuest *g, const VVMedia *media,
                     const VVDecodeOptions *opts, VVDecodeResult *result,
                     Error **errp);
/**
 * struct VVProgress - how far a vv_decode() is
 * @packets: that are done, of all streams together
 * @last: when VVDecodeOptions.progress was called
 */
typedef struct VVProgress {
    uint64_t packets;
    int64_t last;
} VVProgress;

/* A packet is done, of @total */
void vv_decode_progress(VVProgress *p, const VVDecodeOptions *opts,
                        uint64_t total);
/* VVDecodeResult.slowest, of the times of @n streams in microseconds */
double vv_decode_slowest(const int64_t *times, unsigned n);
/* A buffer that VVDecodeOptions.picture kept; only while vv_decode() runs */
void vv_decode_release(VVDecode *dec, unsigned stream, unsigned resource);
void vv_decode_result_cleanup(VVDecodeResult *result);

#endif
