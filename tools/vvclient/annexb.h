/*
 * vvclient: HEVC as mp4 keeps it, and as decoders of V4L2's kind want it
 *
 * libavcodec 5.1's hevc_mp4toannexb puts the container's parameter sets after
 * those that a key frame has itself, and so undoes a change of size.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_ANNEXB_H
#define VVCLIENT_ANNEXB_H

/**
 * struct VVHvcc - what is kept of an hvcC box
 * @length_size: bytes of the length before each NAL unit
 * @headers: VPS, SPS and PPS with start codes
 */
typedef struct VVHvcc {
    unsigned length_size;
    GByteArray *headers;
} VVHvcc;

/* Is this an hvcC box at all, or Annex B already? */
bool vv_is_hvcc(const uint8_t *data, size_t size);
/* False if it is broken; @hvcc has to be cleaned up in any case */
bool vv_hvcc_parse(VVHvcc *hvcc, const uint8_t *data, size_t size);
void vv_hvcc_cleanup(VVHvcc *hvcc);

/**
 * vv_hevc_to_annexb - one access unit
 *
 * Key frames without parameter sets of their own get those of @hvcc.
 *
 * Returns: NULL if the lengths do not add up
 */
GByteArray *vv_hevc_to_annexb(const VVHvcc *hvcc, const uint8_t *data,
                              size_t size);

#endif
