/*
 * Video codecs with libavcodec: what has to be known of AV1 before a decoder
 * gets it
 *
 * How large frames can be: libdav1d allocates its frames itself and tells
 * nobody, and a stream may have frames that are never shown.  But none is
 * larger than the sequence header says.  libdav1d reads that for us, one unit
 * (OBU) at a time: of many it would tell the last only, and of a unit before a
 * malformed one nothing, while it does decode with it.  It opens a decoder for
 * each, so only a few of them are read.
 *
 * And whether there is anything to refer to, for libavcodec's own decoder.
 *
 * Pure functions, called by a session's worker.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "video-codec-libav.h"
#ifdef CONFIG_DAV1D
#include <dav1d/dav1d.h>
#endif

/* AV1 specification, 5.3.2 and 6.2.2 */
#define AV1_OBU_TYPE(header) ((header) >> 3 & 0xf)
#define AV1_OBU_SEQUENCE_HEADER 1
#define AV1_OBU_FRAME_HEADER 3
#define AV1_OBU_FRAME 6
#define AV1_OBU_REDUNDANT_FRAME_HEADER 7
#define AV1_OBU_HAS_EXTENSION 4
#define AV1_OBU_HAS_SIZE 2

/* Of a sequence header in bytes: far more than it can have */
#define AV1_MAX_HEADER 1024

/* 5.9.2: a key frame has 0 */
#define AV1_SHOW_EXISTING_FRAME 0x80
#define AV1_FRAME_TYPE 0x60
#define AV1_SHOW_FRAME 0x10

/*
 * Where the payload begins of the OBU that @data begins with.
 * Returns: bytes of that OBU, from 1 to @size
 */
static size_t av1_obu_size(const uint8_t *data, size_t size, size_t *start)
{
    size_t at = data[0] & AV1_OBU_HAS_EXTENSION ? 2 : 1;
    uint64_t payload = 0;

    if (data[0] & AV1_OBU_HAS_SIZE) {
        for (unsigned i = 0; i < 8 && at < size; i++) {
            uint8_t byte = data[at++];

            payload |= (uint64_t)(byte & 0x7f) << (7 * i);
            if (!(byte & 0x80)) {
                break;
            }
        }
    } else {
        payload = size;
    }
    *start = MIN(at, size);
    return payload < size - *start ? *start + payload : size;
}

/*
 * @bits: the first of a frame's header
 * Returns: false if it may not be next
 */
static bool av1_next_frame(LibavAv1Beginning *begun, unsigned type,
                           uint8_t bits)
{
    switch (*begun) {
    case LIBAV_AV1_NO_FRAME:
        *begun = bits & AV1_SHOW_FRAME ? LIBAV_AV1_SHOWN_KEY_FRAME
                                       : LIBAV_AV1_HIDDEN_KEY_FRAME;
        return !(bits & (AV1_SHOW_EXISTING_FRAME | AV1_FRAME_TYPE));
    case LIBAV_AV1_HIDDEN_KEY_FRAME:
        *begun = LIBAV_AV1_SHOWN_KEY_FRAME;
        return type == AV1_OBU_FRAME_HEADER && bits & AV1_SHOW_EXISTING_FRAME;
    default:
        return false;
    }
}

/*
 * A key frame that is shown is in all places that others can refer to, be it
 * shown by itself or by the next header.  One of a still picture has no such
 * bits, and is not found.  A redundant header is one of a frame, too, if
 * libavcodec has seen no other.
 */
static bool av1_next_unit(LibavAv1Beginning *begun, const uint8_t *data,
                          size_t size)
{
    while (size) {
        size_t start;
        size_t n = av1_obu_size(data, size, &start);
        unsigned type = AV1_OBU_TYPE(data[0]);

        if ((type == AV1_OBU_FRAME || type == AV1_OBU_FRAME_HEADER ||
             type == AV1_OBU_REDUNDANT_FRAME_HEADER) &&
            (start == n || !av1_next_frame(begun, type, data[start]))) {
            return false;
        }
        data += n;
        size -= n;
    }
    return true;
}

bool libav_av1_begin(LibavAv1Beginning *begun, const uint8_t *data,
                     size_t size)
{
    if (*begun == LIBAV_AV1_HIDDEN_KEY_FRAME &&
        av1_next_unit(begun, data, size)) {
        return true;
    }
    *begun = LIBAV_AV1_NO_FRAME;
    if (av1_next_unit(begun, data, size)) {
        return true;
    }
    *begun = LIBAV_AV1_NO_FRAME;
    return false;
}

bool libav_av1_one_header(const uint8_t *data, size_t size)
{
    const uint8_t *header = NULL;
    size_t header_size = 0;

    while (size) {
        size_t start;
        size_t n = av1_obu_size(data, size, &start);

        if (AV1_OBU_TYPE(data[0]) == AV1_OBU_SEQUENCE_HEADER) {
            if (n > AV1_MAX_HEADER ||
                (header && (n != header_size || memcmp(data, header, n)))) {
                return false;
            }
            header = data;
            header_size = n;
        }
        data += n;
        size -= n;
    }
    return true;
}

#ifdef CONFIG_DAV1D

/* A unit that has more begins no real sequence: it may be of any size */
#define AV1_MAX_HEADERS 16

/* Two for each sample, in 4:4:4 */
#define AV1_MAX_BYTES_PER_PIXEL 6

/* dav1d makes room for whole superblocks */
#define AV1_SUPERBLOCK 128

static uint64_t av1_frame_size(const Dav1dSequenceHeader *header,
                               uint64_t max_pixels)
{
    static const unsigned samples_per_2_pixels[] = {
        [DAV1D_PIXEL_LAYOUT_I400] = 2,
        [DAV1D_PIXEL_LAYOUT_I420] = 3,
        [DAV1D_PIXEL_LAYOUT_I422] = 4,
        [DAV1D_PIXEL_LAYOUT_I444] = 6,
    };
    uint64_t width = ROUND_UP((uint64_t)header->max_width, AV1_SUPERBLOCK);
    uint64_t height = ROUND_UP((uint64_t)header->max_height, AV1_SUPERBLOCK);
    /* A frame may be smaller than its sequence, and is rounded up, too */
    uint64_t limit = max_pixels + AV1_SUPERBLOCK * (width + height);

    return MIN(width * height, limit) * (header->hbd ? 2 : 1) *
           samples_per_2_pixels[header->layout] / 2;
}

uint64_t libav_av1_frame_size(const uint8_t *data, size_t size,
                              uint64_t max_pixels)
{
    uint64_t largest = 0;
    unsigned headers = 0;

    while (size) {
        size_t start;
        size_t n = av1_obu_size(data, size, &start);
        Dav1dSequenceHeader header;

        if (AV1_OBU_TYPE(data[0]) == AV1_OBU_SEQUENCE_HEADER) {
            if (headers++ == AV1_MAX_HEADERS) {
                return MAX(largest, max_pixels * AV1_MAX_BYTES_PER_PIXEL);
            }
            if (dav1d_parse_sequence_header(&header, data, n) == 0) {
                largest = MAX(largest, av1_frame_size(&header, max_pixels));
            }
        }
        data += n;
        size -= n;
    }
    return largest;
}

#else

/* There is no libav_decoders[] for it */
uint64_t libav_av1_frame_size(const uint8_t *data, size_t size,
                              uint64_t max_pixels)
{
    g_assert_not_reached();
}

#endif
