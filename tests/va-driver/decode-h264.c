/*
 * H.264: slices are whole, what the parameter sets say is in VA's parameters
 *
 * Called by the context's worker.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "bits.h"
#include "vvsw.h"

#include <string.h>

typedef struct State {
    uint8_t bytes[256];         /* the last SPS */
    unsigned size;
} State;

static const uint8_t zigzag4[16] = {
    0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15,
};

static const uint8_t zigzag8[64] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
};

/* What a slice header says itself, and no parameter of VA */
typedef struct Header {
    unsigned type;              /* 0 P, 1 B, 2 I, 3 SP, 4 SI */
    unsigned pps_id;
} Header;

static bool read_header(const VvSlice *slice, Header *h)
{
    BitReader r = { slice->data + 1, (MAX(slice->size, 1) - 1) * 8 };

    get_ue(&r);                 /* first_mb_in_slice */
    h->type = get_ue(&r) % 5;
    h->pps_id = get_ue(&r);
    return !r.over && h->pps_id < 256;
}

static void write_sps(const VAPictureParameterBufferH264 *pic, GByteArray *out)
{
    BitWriter w;

    bits_init(&w);
    put_bits(&w, 8, 0x67);
    put_bits(&w, 8, 100);       /* High: has all that others have */
    put_bits(&w, 8, 0);
    put_bits(&w, 8, 62);        /* a level without limits that matter */
    put_ue(&w, 0);              /* seq_parameter_set_id */
    put_ue(&w, pic->seq_fields.bits.chroma_format_idc);
    put_ue(&w, pic->bit_depth_luma_minus8);
    put_ue(&w, pic->bit_depth_chroma_minus8);
    put_flag(&w, 0);            /* qpprime_y_zero_transform_bypass_flag */
    put_flag(&w, 0);            /* seq_scaling_matrix_present_flag */
    put_ue(&w, pic->seq_fields.bits.log2_max_frame_num_minus4);
    put_ue(&w, pic->seq_fields.bits.pic_order_cnt_type);
    if (pic->seq_fields.bits.pic_order_cnt_type == 0) {
        put_ue(&w, pic->seq_fields.bits.log2_max_pic_order_cnt_lsb_minus4);
    } else if (pic->seq_fields.bits.pic_order_cnt_type == 1) {
        /* The offsets are unknown, which matters to B slices alone */
        put_flag(&w, pic->seq_fields.bits.delta_pic_order_always_zero_flag);
        put_se(&w, 0);
        put_se(&w, 0);
        put_ue(&w, 0);          /* num_ref_frames_in_pic_order_cnt_cycle */
    }
    put_ue(&w, pic->num_ref_frames);
    put_flag(&w, pic->seq_fields.bits.gaps_in_frame_num_value_allowed_flag);
    put_ue(&w, pic->picture_width_in_mbs_minus1);
    if (pic->seq_fields.bits.frame_mbs_only_flag) {
        put_ue(&w, pic->picture_height_in_mbs_minus1);
    } else {
        put_ue(&w, (pic->picture_height_in_mbs_minus1 + 1) / 2 - 1);
    }
    put_flag(&w, pic->seq_fields.bits.frame_mbs_only_flag);
    if (!pic->seq_fields.bits.frame_mbs_only_flag) {
        put_flag(&w, pic->seq_fields.bits.mb_adaptive_frame_field_flag);
    }
    put_flag(&w, pic->seq_fields.bits.direct_8x8_inference_flag);
    put_flag(&w, 0);            /* frame_cropping_flag */
    put_flag(&w, 0);            /* vui_parameters_present_flag */
    bits_append_nal(&w, out);
}

static void write_list(BitWriter *w, const uint8_t *raster,
                       const uint8_t *zigzag, unsigned n)
{
    uint8_t last = 8;

    put_flag(w, 1);
    for (unsigned i = 0; i < n; i++) {
        uint8_t next = raster[zigzag[i]];

        put_se(w, (int8_t)(next - last));
        last = next;
    }
}

static void write_pps(const VAPictureParameterBufferH264 *pic,
                      const VAIQMatrixBufferH264 *iq,
                      const VASliceParameterBufferH264 *slice,
                      const Header *h, GByteArray *out)
{
    BitWriter w;

    bits_init(&w);
    put_bits(&w, 8, 0x68);
    put_ue(&w, h->pps_id);
    put_ue(&w, 0);              /* seq_parameter_set_id */
    put_flag(&w, pic->pic_fields.bits.entropy_coding_mode_flag);
    put_flag(&w, pic->pic_fields.bits.pic_order_present_flag);
    put_ue(&w, 0);              /* num_slice_groups_minus1 */
    /*
     * A slice that overrides the defaults ignores them, and for all others
     * they are what it uses
     */
    put_ue(&w, MIN(slice->num_ref_idx_l0_active_minus1, 31));
    put_ue(&w, MIN(slice->num_ref_idx_l1_active_minus1, 31));
    put_flag(&w, pic->pic_fields.bits.weighted_pred_flag);
    put_bits(&w, 2, pic->pic_fields.bits.weighted_bipred_idc);
    put_se(&w, pic->pic_init_qp_minus26);
    put_se(&w, pic->pic_init_qs_minus26);
    put_se(&w, pic->chroma_qp_index_offset);
    put_flag(&w, pic->pic_fields.bits.deblocking_filter_control_present_flag);
    put_flag(&w, pic->pic_fields.bits.constrained_intra_pred_flag);
    put_flag(&w, pic->pic_fields.bits.redundant_pic_cnt_present_flag);
    put_flag(&w, pic->pic_fields.bits.transform_8x8_mode_flag);
    put_flag(&w, iq != NULL);   /* pic_scaling_matrix_present_flag */
    if (iq) {
        for (unsigned i = 0; i < 6; i++) {
            write_list(&w, iq->ScalingList4x4[i], zigzag4, 16);
        }
        for (unsigned i = 0;
             i < 2 && pic->pic_fields.bits.transform_8x8_mode_flag; i++) {
            write_list(&w, iq->ScalingList8x8[i], zigzag8, 64);
        }
    }
    put_se(&w, pic->second_chroma_qp_index_offset);
    bits_append_nal(&w, out);
}

/* An SPS begins a new sequence for the decoder, so only if it is new */
static void add_sps(State *s, const VAPictureParameterBufferH264 *pic,
                    GByteArray *out)
{
    g_autoptr(GByteArray) sps = g_byte_array_new();

    write_sps(pic, sps);
    if (sps->len != s->size || memcmp(sps->data, s->bytes, s->size)) {
        s->size = MIN(sps->len, sizeof(s->bytes));
        memcpy(s->bytes, sps->data, s->size);
        g_byte_array_append(out, sps->data, sps->len);
    }
}

static VAStatus build(void *state, VvJob *job, GByteArray *out)
{
    static const uint8_t start[] = { 0, 0, 0, 1 };
    const VAPictureParameterBufferH264 *pic =
        vv_job_param(job, VAPictureParameterBufferType, sizeof(*pic));
    const VAIQMatrixBufferH264 *iq =
        vv_job_param(job, VAIQMatrixBufferType, sizeof(*iq));
    g_autoptr(GArray) slices =
        vv_job_slices(job, sizeof(VASliceParameterBufferH264));

    if (!pic || !slices) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    add_sps(state, pic, out);
    for (unsigned i = 0; i < slices->len; i++) {
        const VvSlice *slice = &g_array_index(slices, VvSlice, i);
        Header h;

        if (!read_header(slice, &h)) {
            return VA_STATUS_ERROR_DECODING_ERROR;
        }
        if (h.type == 1 && pic->seq_fields.bits.pic_order_cnt_type == 1) {
            return VA_STATUS_ERROR_UNIMPLEMENTED;
        }
        write_pps(pic, iq, slice->param, &h, out);
        g_byte_array_append(out, start, sizeof(start));
        g_byte_array_append(out, slice->data, slice->size);
    }
    return VA_STATUS_SUCCESS;
}

const VvCodec vv_codec_h264 = {
    .id = AV_CODEC_ID_H264,
    .decoder = "h264",
    .state_size = sizeof(State),
    .build = build,
};
