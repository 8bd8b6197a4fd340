/*
 * Bits to write and to read, most significant first, and NAL units
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef VVSW_BITS_H
#define VVSW_BITS_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct BitWriter {
    GByteArray *bytes;
    uint8_t byte;
    unsigned n;                 /* bits in it */
} BitWriter;

static inline void bits_init(BitWriter *w)
{
    w->bytes = g_byte_array_new();
    w->byte = 0;
    w->n = 0;
}

static inline void bits_free(BitWriter *w)
{
    g_byte_array_unref(w->bytes);
}

static inline size_t bits_count(const BitWriter *w)
{
    return w->bytes->len * 8 + w->n;
}

static inline void put_bits(BitWriter *w, unsigned n, uint64_t value)
{
    while (n--) {
        w->byte = w->byte << 1 | (value >> n & 1);
        if (++w->n == 8) {
            g_byte_array_append(w->bytes, &w->byte, 1);
            w->byte = 0;
            w->n = 0;
        }
    }
}

static inline void put_flag(BitWriter *w, bool value)
{
    put_bits(w, 1, value);
}

/* ue(v) of H.264 and HEVC */
static inline void put_ue(BitWriter *w, uint32_t value)
{
    uint64_t v = (uint64_t)value + 1;
    unsigned n = g_bit_storage(v);

    put_bits(w, n - 1, 0);
    put_bits(w, n, v);
}

static inline void put_se(BitWriter *w, int32_t value)
{
    put_ue(w, value > 0 ? 2u * value - 1 : 2u * -(int64_t)value);
}

/* rbsp_trailing_bits(), which is also AV1's trailing_bits() */
static inline void put_trailing(BitWriter *w)
{
    put_flag(w, 1);
    while (w->n) {
        put_flag(w, 0);
    }
}

static inline void put_align(BitWriter *w)
{
    while (w->n) {
        put_flag(w, 0);
    }
}

/* Append a NAL unit in Annex B: start code, and no start code within */
static inline void append_nal(GByteArray *out, const uint8_t *rbsp, size_t size)
{
    static const uint8_t start[] = { 0, 0, 0, 1 };
    static const uint8_t three = 3;
    unsigned zeros = 0;

    g_byte_array_append(out, start, sizeof(start));
    for (size_t i = 0; i < size; i++) {
        if (zeros == 2 && rbsp[i] <= 3) {
            g_byte_array_append(out, &three, 1);
            zeros = 0;
        }
        zeros = rbsp[i] ? 0 : zeros + 1;
        g_byte_array_append(out, &rbsp[i], 1);
    }
}

/* Append what was written as a NAL unit, and free it */
static inline void bits_append_nal(BitWriter *w, GByteArray *out)
{
    put_trailing(w);
    append_nal(out, w->bytes->data, w->bytes->len);
    bits_free(w);
}

/* Past the end zeros are read, and @over is true */
typedef struct BitReader {
    const uint8_t *data;
    size_t size;                /* in bits */
    size_t pos;
    bool over;
} BitReader;

static inline uint32_t get_bits(BitReader *r, unsigned n)
{
    uint32_t value = 0;

    while (n--) {
        bool bit = false;

        if (r->pos < r->size) {
            bit = r->data[r->pos / 8] >> (7 - r->pos % 8) & 1;
            r->pos++;
        } else {
            r->over = true;
        }
        value = value << 1 | bit;
    }
    return value;
}

static inline uint32_t get_ue(BitReader *r)
{
    unsigned n = 0;

    while (n < 32 && !r->over && !get_bits(r, 1)) {
        n++;
    }
    return n >= 32 ? UINT32_MAX : (1u << n) - 1 + get_bits(r, n);
}

/* The payload of a NAL unit without emulation prevention */
static inline GByteArray *unescape_nal(const uint8_t *data, size_t size)
{
    GByteArray *out = g_byte_array_sized_new(size);
    unsigned zeros = 0;

    for (size_t i = 0; i < size; i++) {
        if (zeros >= 2 && data[i] == 3) {
            zeros = 0;
            continue;
        }
        zeros = data[i] ? 0 : zeros + 1;
        g_byte_array_append(out, &data[i], 1);
    }
    return out;
}

#endif
