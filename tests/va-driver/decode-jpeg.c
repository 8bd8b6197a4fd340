/*
 * JPEG: markers made of VA's parameters, and the scan as it is
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"
#include "bits.h"

static void put_marker(BitWriter *w, uint8_t code, unsigned length)
{
    put_bits(w, 8, 0xff);
    put_bits(w, 8, code);
    put_bits(w, 16, length);
}

static void put_bytes(BitWriter *w, const uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        put_bits(w, 8, p[i]);
    }
}

static void write_quantisers(BitWriter *w,
                             const VAIQMatrixBufferJPEGBaseline *iq)
{
    for (unsigned i = 0; iq && i < 4; i++) {
        if (iq->load_quantiser_table[i]) {
            put_marker(w, 0xdb, 2 + 1 + 64);
            put_bits(w, 8, i);
            put_bytes(w, iq->quantiser_table[i], 64);
        }
    }
}

/* @counts: codes of each length from 1 to 16 */
static void write_table(BitWriter *w, unsigned class_and_id,
                        const uint8_t counts[16], const uint8_t *values,
                        unsigned max)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 16; i++) {
        n += counts[i];
    }
    n = MIN(n, max);
    put_marker(w, 0xc4, 2 + 1 + 16 + n);
    put_bits(w, 8, class_and_id);
    put_bytes(w, counts, 16);
    put_bytes(w, values, n);
}

static void write_codes(BitWriter *w,
                        const VAHuffmanTableBufferJPEGBaseline *huffman)
{
    for (unsigned i = 0; huffman && i < 2; i++) {
        if (huffman->load_huffman_table[i]) {
            write_table(w, i, huffman->huffman_table[i].num_dc_codes,
                        huffman->huffman_table[i].dc_values, 12);
            write_table(w, 0x10 | i, huffman->huffman_table[i].num_ac_codes,
                        huffman->huffman_table[i].ac_values, 162);
        }
    }
}

static void write_frame(BitWriter *w,
                        const VAPictureParameterBufferJPEGBaseline *pp)
{
    put_marker(w, 0xc0, 8 + 3 * pp->num_components);
    put_bits(w, 8, 8);
    put_bits(w, 16, pp->picture_height);
    put_bits(w, 16, pp->picture_width);
    put_bits(w, 8, pp->num_components);
    for (unsigned i = 0; i < pp->num_components; i++) {
        put_bits(w, 8, pp->components[i].component_id);
        put_bits(w, 4, pp->components[i].h_sampling_factor);
        put_bits(w, 4, pp->components[i].v_sampling_factor);
        put_bits(w, 8, pp->components[i].quantiser_table_selector);
    }
}

static void write_scan(BitWriter *w,
                       const VASliceParameterBufferJPEGBaseline *sp)
{
    if (sp->restart_interval) {
        put_marker(w, 0xdd, 4);
        put_bits(w, 16, sp->restart_interval);
    }
    put_marker(w, 0xda, 6 + 2 * sp->num_components);
    put_bits(w, 8, sp->num_components);
    for (unsigned i = 0; i < sp->num_components; i++) {
        put_bits(w, 8, sp->components[i].component_selector);
        put_bits(w, 4, sp->components[i].dc_table_selector);
        put_bits(w, 4, sp->components[i].ac_table_selector);
    }
    put_bits(w, 24, 63 << 8);   /* the whole spectrum */
}

static VAStatus build(void *state, VvJob *job, GByteArray *out)
{
    static const uint8_t end[] = { 0xff, 0xd9 };
    const VAPictureParameterBufferJPEGBaseline *pp =
        vv_job_param(job, VAPictureParameterBufferType, sizeof(*pp));
    g_autoptr(GArray) slices =
        vv_job_slices(job, sizeof(VASliceParameterBufferJPEGBaseline));
    BitWriter w;

    if (!pp || !slices || pp->num_components > 4) {
        return VA_STATUS_ERROR_INVALID_BUFFER;
    }
    bits_init(&w);
    put_bits(&w, 16, 0xffd8);
    write_quantisers(&w, vv_job_param(job, VAIQMatrixBufferType,
                                      sizeof(VAIQMatrixBufferJPEGBaseline)));
    write_codes(&w, vv_job_param(job, VAHuffmanTableBufferType,
                                 sizeof(VAHuffmanTableBufferJPEGBaseline)));
    write_frame(&w, pp);
    for (unsigned i = 0; i < slices->len; i++) {
        const VvSlice *slice = &g_array_index(slices, VvSlice, i);
        const VASliceParameterBufferJPEGBaseline *sp = slice->param;

        if (sp->num_components > 4) {
            bits_free(&w);
            return VA_STATUS_ERROR_INVALID_BUFFER;
        }
        write_scan(&w, sp);
        g_byte_array_append(w.bytes, slice->data, slice->size);
    }
    g_byte_array_append(out, w.bytes->data, w.bytes->len);
    g_byte_array_append(out, end, sizeof(end));
    bits_free(&w);
    return VA_STATUS_SUCCESS;
}

const VvCodec vv_codec_jpeg = {
    .id = AV_CODEC_ID_MJPEG,
    .decoder = "mjpeg",
    .build = build,
};
