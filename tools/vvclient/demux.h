/*
 * vvclient: coded video out of a file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_DEMUX_H
#define VVCLIENT_DEMUX_H

#include <libavcodec/avcodec.h>

/**
 * struct VVPacket - what goes into one coded buffer
 * @data: the bytes as V4L2 defines them for the format: one access unit or
 *        frame, parameter sets and all
 * @size: bytes
 * @discard: the edit list hides the frames that start here: they have to be
 *           decoded, but are not shown
 */
typedef struct VVPacket {
    const uint8_t *data;
    size_t size;
    bool discard;
    AVPacket *av;               /* owns the bytes */
} VVPacket;

/**
 * struct VVMedia - the video of a file, all of it in memory
 * @path: for messages
 * @codec_id: libavcodec's name for the codec
 * @coded_format: VIRTIO_VIDEO_CODED_FORMAT_*
 * @pix_fmt: as the container or a look at the stream says;
 *           AV_PIX_FMT_NONE if neither does
 * @width: the same, a hint; 0 if unknown
 * @height: see @width
 * @time_base: of VVPacket.av->pts
 * @frame_rate: 0/1 if unknown
 * @sample_aspect: 0/1 if unknown
 * @packets: in coding order
 * @n_packets: their number
 * @max_packet: size of the largest in bytes
 * @trouble: the file ended with an error, which is this; else NULL
 */
typedef struct VVMedia {
    char *path;
    enum AVCodecID codec_id;
    uint32_t coded_format;
    enum AVPixelFormat pix_fmt;
    int width;
    int height;
    AVRational time_base;
    AVRational frame_rate;
    AVRational sample_aspect;
    VVPacket *packets;
    unsigned n_packets;
    size_t max_packet;
    char *trouble;
} VVMedia;

/**
 * vv_demux - reads the best video stream of a file
 *
 * A file that breaks off is no error as long as it has a packet: see
 * VVMedia.trouble.
 *
 * Returns: NULL with @errp set if there is no video that could be decoded
 */
VVMedia *vv_demux(const char *path, Error **errp);
void vv_media_free(VVMedia *media);

/* 25 instead of what is unknown or makes no sense, as with a broken .ivf */
AVRational vv_sane_rate(AVRational rate);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VVMedia, vv_media_free)

#endif
