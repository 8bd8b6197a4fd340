/*
 * vvclient: HEVC as mp4 keeps it, and as decoders of V4L2's kind want it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "annexb.h"

#define HVCC_SIZE           23
#define HEVC_IRAP_FIRST     16
#define HEVC_IRAP_LAST      23
#define HEVC_SPS            33
#define HEVC_AUD            35

static const uint8_t start_code[4] = { 0, 0, 0, 1 };

bool vv_is_hvcc(const uint8_t *data, size_t size)
{
    return size >= HVCC_SIZE && (data[0] || data[1] || data[2] > 1);
}

static void vv_append_nal(GByteArray *out, const uint8_t *nal, size_t size)
{
    g_byte_array_append(out, start_code, sizeof(start_code));
    g_byte_array_append(out, nal, size);
}

bool vv_hvcc_parse(VVHvcc *hvcc, const uint8_t *data, size_t size)
{
    size_t pos = HVCC_SIZE;
    unsigned arrays = data[HVCC_SIZE - 1];

    hvcc->length_size = (data[HVCC_SIZE - 2] & 3) + 1;
    hvcc->headers = g_byte_array_new();
    while (arrays--) {
        unsigned nals;

        if (size - pos < 3) {
            return false;
        }
        nals = lduw_be_p(data + pos + 1);
        pos += 3;
        while (nals--) {
            size_t len;

            if (size - pos < 2) {
                return false;
            }
            len = lduw_be_p(data + pos);
            pos += 2;
            if (size - pos < len) {
                return false;
            }
            vv_append_nal(hvcc->headers, data + pos, len);
            pos += len;
        }
    }
    return true;
}

void vv_hvcc_cleanup(VVHvcc *hvcc)
{
    g_clear_pointer(&hvcc->headers, g_byte_array_unref);
}

/* The next NAL unit of @data; false at the end and at nonsense: *pos tells */
static bool vv_next_nal(const VVHvcc *hvcc, const uint8_t *data, size_t size,
                        size_t *pos, const uint8_t **nal, size_t *len)
{
    if (size - *pos < hvcc->length_size) {
        return false;
    }
    *len = 0;
    for (unsigned i = 0; i < hvcc->length_size; i++) {
        *len = *len << 8 | data[*pos + i];
    }
    if (!*len || size - *pos - hvcc->length_size < *len) {
        return false;
    }
    *nal = data + *pos + hvcc->length_size;
    *pos += hvcc->length_size + *len;
    return true;
}

static unsigned vv_nal_type(const uint8_t *nal)
{
    return nal[0] >> 1 & 63;
}

static bool vv_needs_headers(const VVHvcc *hvcc, const uint8_t *data,
                             size_t size)
{
    bool irap = false;
    const uint8_t *nal;
    size_t pos = 0;
    size_t len;

    while (vv_next_nal(hvcc, data, size, &pos, &nal, &len)) {
        unsigned type = vv_nal_type(nal);

        irap |= type >= HEVC_IRAP_FIRST && type <= HEVC_IRAP_LAST;
        if (type == HEVC_SPS) {
            return false;
        }
    }
    return irap;
}

GByteArray *vv_hevc_to_annexb(const VVHvcc *hvcc, const uint8_t *data,
                              size_t size)
{
    g_autoptr(GByteArray) out = g_byte_array_sized_new(size + 64);
    bool headers = vv_needs_headers(hvcc, data, size);
    const uint8_t *nal;
    size_t pos = 0;
    size_t len;

    while (vv_next_nal(hvcc, data, size, &pos, &nal, &len)) {
        /* An access unit delimiter has to be the first */
        if (headers && vv_nal_type(nal) != HEVC_AUD) {
            g_byte_array_append(out, hvcc->headers->data, hvcc->headers->len);
            headers = false;
        }
        vv_append_nal(out, nal, len);
    }
    return pos == size ? g_steal_pointer(&out) : NULL;
}
