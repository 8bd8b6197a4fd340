/*
 * MPEG-2: slices are whole, the headers are written anew
 *
 * Called by the context's worker.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "bits.h"
#include "vvsw.h"

static void start_code(BitWriter *w, unsigned code)
{
    put_align(w);
    put_bits(w, 32, 0x100 | code);
}

static void write_sequence(BitWriter *w,
                           const VAPictureParameterBufferMPEG2 *pic)
{
    start_code(w, 0xb3);
    put_bits(w, 12, pic->horizontal_size);
    put_bits(w, 12, pic->vertical_size);
    put_bits(w, 4, 1);          /* square samples */
    put_bits(w, 4, 3);          /* 25 Hz */
    put_bits(w, 18, 0x3ffff);   /* bit_rate_value */
    put_bits(w, 1, 1);
    put_bits(w, 10, 0x3ff);     /* vbv_buffer_size_value */
    put_bits(w, 3, 0);          /* no matrices here */

    start_code(w, 0xb5);
    put_bits(w, 4, 1);
    put_bits(w, 8, 0x44);       /* main profile, high level */
    /* A frame must not be taken for progressive if the next has fields */
    put_bits(w, 1, 0);
    put_bits(w, 2, 1);          /* 4:2:0 */
    put_bits(w, 2, pic->horizontal_size >> 12);
    put_bits(w, 2, pic->vertical_size >> 12);
    put_bits(w, 12, 0);
    put_bits(w, 1, 1);
    put_bits(w, 8, 0);
    put_bits(w, 1, 0);          /* low_delay */
    put_bits(w, 7, 0);
}

static void write_matrix(BitWriter *w, bool load, const uint8_t *matrix)
{
    put_flag(w, load);
    for (unsigned i = 0; i < 64 && load; i++) {
        put_bits(w, 8, matrix[i]);
    }
}

static void write_picture(BitWriter *w,
                          const VAPictureParameterBufferMPEG2 *pic,
                          const VAIQMatrixBufferMPEG2 *iq)
{
    const unsigned type = pic->picture_coding_type;

    start_code(w, 0x00);
    put_bits(w, 10, 0);         /* temporal_reference */
    put_bits(w, 3, type);
    put_bits(w, 16, 0xffff);    /* vbv_delay */
    if (type == 2 || type == 3) {
        put_bits(w, 4, 7);
    }
    if (type == 3) {
        put_bits(w, 4, 7);
    }
    put_bits(w, 1, 0);

    start_code(w, 0xb5);
    put_bits(w, 4, 8);
    put_bits(w, 16, pic->f_code);
    put_bits(w, 2, pic->picture_coding_extension.bits.intra_dc_precision);
    put_bits(w, 2, pic->picture_coding_extension.bits.picture_structure);
    put_bits(w, 1, pic->picture_coding_extension.bits.top_field_first);
    put_bits(w, 1, pic->picture_coding_extension.bits.frame_pred_frame_dct);
    put_bits(w, 1,
             pic->picture_coding_extension.bits.concealment_motion_vectors);
    put_bits(w, 1, pic->picture_coding_extension.bits.q_scale_type);
    put_bits(w, 1, pic->picture_coding_extension.bits.intra_vlc_format);
    put_bits(w, 1, pic->picture_coding_extension.bits.alternate_scan);
    put_bits(w, 1, pic->picture_coding_extension.bits.repeat_first_field);
    put_bits(w, 1, pic->picture_coding_extension.bits.progressive_frame);
    put_bits(w, 1, pic->picture_coding_extension.bits.progressive_frame);
    put_bits(w, 1, 0);          /* composite_display_flag */

    if (iq) {
        start_code(w, 0xb5);
        put_bits(w, 4, 3);
        write_matrix(w, iq->load_intra_quantiser_matrix,
                     iq->intra_quantiser_matrix);
        write_matrix(w, iq->load_non_intra_quantiser_matrix,
                     iq->non_intra_quantiser_matrix);
        write_matrix(w, iq->load_chroma_intra_quantiser_matrix,
                     iq->chroma_intra_quantiser_matrix);
        write_matrix(w, iq->load_chroma_non_intra_quantiser_matrix,
                     iq->chroma_non_intra_quantiser_matrix);
    }
    put_align(w);
}

static VAStatus build(void *state, VvJob *job, GByteArray *out)
{
    const VAPictureParameterBufferMPEG2 *pic =
        vv_job_param(job, VAPictureParameterBufferType, sizeof(*pic));
    const VAIQMatrixBufferMPEG2 *iq =
        vv_job_param(job, VAIQMatrixBufferType, sizeof(*iq));
    g_autoptr(GArray) slices =
        vv_job_slices(job, sizeof(VASliceParameterBufferMPEG2));
    BitWriter w;

    if (!pic || !slices) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    bits_init(&w);
    write_sequence(&w, pic);
    write_picture(&w, pic, iq);
    g_byte_array_append(out, w.bytes->data, w.bytes->len);
    bits_free(&w);
    for (unsigned i = 0; i < slices->len; i++) {
        const VvSlice *slice = &g_array_index(slices, VvSlice, i);

        g_byte_array_append(out, slice->data, slice->size);
    }
    return VA_STATUS_SUCCESS;
}

const VvCodec vv_codec_mpeg2 = {
    .id = AV_CODEC_ID_MPEG2VIDEO,
    .decoder = "mpeg2video",
    .build = build,
};
