/*
 * TLVs of the virtio video device
 *
 * Reading what a guest wrote, and writing capabilities, parameters and answers.
 * Pure functions of bytes: no device state, any thread.  The reader trusts
 * nothing; it works on a private copy of the request, never on guest memory.
 * Spec: "Device Operation: TLV format", "Device capabilities and parameters".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef HW_VIRTIO_VIDEO_TLV_H
#define HW_VIRTIO_VIDEO_TLV_H

#include "params.h"

/**
 * TlvReader: what is left of a sequence of TLVs.
 */
typedef struct TlvReader {
    const uint8_t *data;
    size_t size;
} TlvReader;

/**
 * Tlv: one TLV.
 * @value: @length bytes, 4-byte aligned if the sequence was
 */
typedef struct Tlv {
    uint32_t type;
    uint32_t length;
    const uint8_t *value;
} Tlv;

/**
 * tlv_read: take the next TLV.
 *
 * Returns: 1, 0 at the end of the sequence, or -EINVAL with @errp set if there
 * is less than the TLV says or its length is not a multiple of 4.
 */
int tlv_read(TlvReader *reader, Tlv *tlv, Error **errp);

/**
 * tlv_read_params: read the container of a SET_PARAMS or GET_PARAMS command.
 * @data, @size: all that follows the command's header
 * @max_params: limit for the number of parameters
 * @max_entries: limit for the guest page entries of one resource
 * @errp: what is wrong
 *
 * A missing or broken container is an error.  Inside it, a TLV that is broken,
 * can't be a parameter of the set, has an impossible value or is one too many
 * becomes a VIDEO_PARAM_INVALID, since the ones before it must still be
 * applied; nothing behind it is read.
 *
 * Returns: the parameters, or NULL with @errp set.
 */
VideoParams *tlv_read_params(const void *data, size_t size,
                             uint32_t max_params, uint32_t max_entries,
                             Error **errp);

/** tlv_write_params: append @params as a container TLV to @buf. */
void tlv_write_params(GByteArray *buf, const VideoParams *params);

/**
 * TlvCaps: what QUERY_CAPS tells.
 * @codec: what the codec can do, within the limits below; supported controls
 *         are those that video_control_exists()
 * @max_width, @max_height: in pixels
 * @max_coded_size: of a coded resource in bytes
 * @max_resources: of a queue
 * @decoder, @encoder: which directions are negotiated
 */
typedef struct TlvCaps {
    const VideoCodecCaps *codec;
    uint32_t max_width, max_height;
    uint32_t max_coded_size;
    uint32_t max_resources;
    bool decoder, encoder;
} TlvCaps;

/**
 * tlv_write_caps: append CODED_SETs, RAW_SETs and LINKs to @buf.
 *
 * A format that can be both decoded and encoded has two CODED_SETs, since only
 * that of an encoder has controls; those of decoders come first.  A raw format
 * has a RAW_SET for each range of sizes that it has with some of them.
 */
void tlv_write_caps(GByteArray *buf, const TlvCaps *caps);

#endif /* HW_VIRTIO_VIDEO_TLV_H */
