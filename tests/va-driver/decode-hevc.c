/*
 * HEVC: as H.264, but a slice header refers to reference picture sets of an
 * SPS that VA does not give.  So each gets its set spelled out: that changes
 * its length, which extra slice header bits make up for to a whole byte, so
 * that all behind the set is copied without knowing what it is.
 *
 * Called by the context's worker.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "bits.h"
#include "vvsw.h"

#include <string.h>

enum {
    NAL_RADL_N = 6,
    NAL_RASL_N = 8,
    NAL_RASL_R = 9,
    NAL_BLA_W_LP = 16,
    NAL_IDR_W_RADL = 19,
    NAL_IDR_N_LP = 20,
    NAL_IRAP_LAST = 23,
};

typedef struct State {
    uint8_t bytes[512];         /* the last VPS and SPS */
    unsigned size;
} State;

static void write_profile_tier_level(BitWriter *w,
                                     const VAPictureParameterBufferHEVC *pic)
{
    unsigned profile = pic->bit_depth_luma_minus8 ? 2 : 1;

    put_bits(w, 2 + 1, 0);      /* general_profile_space, general_tier_flag */
    put_bits(w, 5, profile);
    put_bits(w, 32, 1u << (31 - profile));
    put_bits(w, 4 + 43 + 1, 0);
    put_bits(w, 8, 186);        /* general_level_idc: 6.2 */
}

static void write_vps(const VAPictureParameterBufferHEVC *pic, GByteArray *out)
{
    BitWriter w;

    bits_init(&w);
    put_bits(&w, 16, 32 << 9 | 1);
    put_bits(&w, 4, 0);         /* vps_video_parameter_set_id */
    put_bits(&w, 2, 3);
    put_bits(&w, 6, 0);         /* vps_max_layers_minus1 */
    put_bits(&w, 3, 0);         /* vps_max_sub_layers_minus1 */
    put_flag(&w, 1);
    put_bits(&w, 16, 0xffff);
    write_profile_tier_level(&w, pic);
    put_flag(&w, 1);            /* vps_sub_layer_ordering_info_present_flag */
    put_ue(&w, 15);
    put_ue(&w, 0);
    put_ue(&w, 0);
    put_bits(&w, 6, 0);         /* vps_max_layer_id */
    put_ue(&w, 0);              /* vps_num_layer_sets_minus1 */
    put_flag(&w, 0);            /* vps_timing_info_present_flag */
    put_flag(&w, 0);            /* vps_extension_flag */
    bits_append_nal(&w, out);
}

static void write_pcm(BitWriter *w, const VAPictureParameterBufferHEVC *pic)
{
    put_flag(w, pic->pic_fields.bits.pcm_enabled_flag);
    if (pic->pic_fields.bits.pcm_enabled_flag) {
        put_bits(w, 4, pic->pcm_sample_bit_depth_luma_minus1);
        put_bits(w, 4, pic->pcm_sample_bit_depth_chroma_minus1);
        put_ue(w, pic->log2_min_pcm_luma_coding_block_size_minus3);
        put_ue(w, pic->log2_diff_max_min_pcm_luma_coding_block_size);
        put_flag(w, pic->pic_fields.bits.pcm_loop_filter_disabled_flag);
    }
}

static void write_sps(const VAPictureParameterBufferHEVC *pic, GByteArray *out)
{
    const bool lt =
        pic->slice_parsing_fields.bits.long_term_ref_pics_present_flag;
    BitWriter w;

    bits_init(&w);
    put_bits(&w, 16, 33 << 9 | 1);
    put_bits(&w, 4, 0);         /* sps_video_parameter_set_id */
    put_bits(&w, 3, 0);         /* sps_max_sub_layers_minus1 */
    put_flag(&w, 1);            /* sps_temporal_id_nesting_flag */
    write_profile_tier_level(&w, pic);
    put_ue(&w, 0);              /* sps_seq_parameter_set_id */
    put_ue(&w, pic->pic_fields.bits.chroma_format_idc);
    if (pic->pic_fields.bits.chroma_format_idc == 3) {
        put_flag(&w, pic->pic_fields.bits.separate_colour_plane_flag);
    }
    put_ue(&w, pic->pic_width_in_luma_samples);
    put_ue(&w, pic->pic_height_in_luma_samples);
    put_flag(&w, 0);            /* conformance_window_flag */
    put_ue(&w, pic->bit_depth_luma_minus8);
    put_ue(&w, pic->bit_depth_chroma_minus8);
    put_ue(&w, pic->log2_max_pic_order_cnt_lsb_minus4);
    put_flag(&w, 1);            /* sps_sub_layer_ordering_info_present_flag */
    put_ue(&w, 15);             /* as many pictures as there may be */
    put_ue(&w, 0);              /* and none waits for its turn */
    put_ue(&w, 0);
    put_ue(&w, pic->log2_min_luma_coding_block_size_minus3);
    put_ue(&w, pic->log2_diff_max_min_luma_coding_block_size);
    put_ue(&w, pic->log2_min_transform_block_size_minus2);
    put_ue(&w, pic->log2_diff_max_min_transform_block_size);
    put_ue(&w, pic->max_transform_hierarchy_depth_inter);
    put_ue(&w, pic->max_transform_hierarchy_depth_intra);
    put_flag(&w, pic->pic_fields.bits.scaling_list_enabled_flag);
    if (pic->pic_fields.bits.scaling_list_enabled_flag) {
        put_flag(&w, 0);        /* sps_scaling_list_data_present_flag */
    }
    put_flag(&w, pic->pic_fields.bits.amp_enabled_flag);
    put_flag(&w,
             pic->slice_parsing_fields.bits.sample_adaptive_offset_enabled_flag);
    write_pcm(&w, pic);
    put_ue(&w, 0);              /* num_short_term_ref_pic_sets */
    put_flag(&w, lt);
    if (lt) {
        put_ue(&w, pic->num_long_term_ref_pic_sps);
        for (unsigned i = 0; i < pic->num_long_term_ref_pic_sps; i++) {
            put_bits(&w, pic->log2_max_pic_order_cnt_lsb_minus4 + 4, 0);
            put_flag(&w, 0);
        }
    }
    put_flag(&w, pic->slice_parsing_fields.bits.sps_temporal_mvp_enabled_flag);
    put_flag(&w, pic->pic_fields.bits.strong_intra_smoothing_enabled_flag);
    put_flag(&w, 0);            /* vui_parameters_present_flag */
    put_flag(&w, 0);            /* sps_extension_present_flag */
    bits_append_nal(&w, out);
}

/* VA has the coefficients in rows, the bitstream along diagonals */
static void write_scaling_list(BitWriter *w, const uint8_t *list, int size,
                               int dc)
{
    uint8_t last = 8;

    put_flag(w, 1);             /* scaling_list_pred_mode_flag */
    if (dc >= 0) {
        put_se(w, dc - 8);
        last = dc;
    }
    for (int sum = 0; sum <= 2 * (size - 1); sum++) {
        for (int y = MIN(sum, size - 1); y >= 0 && sum - y < size; y--) {
            uint8_t next = list[y * size + sum - y];

            put_se(w, (int8_t)(next - last));
            last = next;
        }
    }
}

static void write_scaling_lists(BitWriter *w, const VAIQMatrixBufferHEVC *iq)
{
    for (unsigned i = 0; i < 6; i++) {
        write_scaling_list(w, iq->ScalingList4x4[i], 4, -1);
    }
    for (unsigned i = 0; i < 6; i++) {
        write_scaling_list(w, iq->ScalingList8x8[i], 8, -1);
    }
    for (unsigned i = 0; i < 6; i++) {
        write_scaling_list(w, iq->ScalingList16x16[i], 8,
                           iq->ScalingListDC16x16[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        write_scaling_list(w, iq->ScalingList32x32[i], 8,
                           iq->ScalingListDC32x32[i]);
    }
}

static void write_tiles(BitWriter *w, const VAPictureParameterBufferHEVC *pic)
{
    unsigned columns = MIN(pic->num_tile_columns_minus1, 19);
    unsigned rows = MIN(pic->num_tile_rows_minus1, 21);

    put_ue(w, columns);
    put_ue(w, rows);
    put_flag(w, 0);             /* uniform_spacing_flag */
    for (unsigned i = 0; i < columns; i++) {
        put_ue(w, pic->column_width_minus1[i]);
    }
    for (unsigned i = 0; i < rows; i++) {
        put_ue(w, pic->row_height_minus1[i]);
    }
    put_flag(w, pic->pic_fields.bits.loop_filter_across_tiles_enabled_flag);
}

static void write_pps(const VAPictureParameterBufferHEVC *pic,
                      const VAIQMatrixBufferHEVC *iq, unsigned id,
                      unsigned extra_bits, GByteArray *out)
{
    BitWriter w;

    bits_init(&w);
    put_bits(&w, 16, 34 << 9 | 1);
    put_ue(&w, id);
    put_ue(&w, 0);              /* pps_seq_parameter_set_id */
    put_flag(&w, pic->slice_parsing_fields.bits.
             dependent_slice_segments_enabled_flag);
    put_flag(&w, pic->slice_parsing_fields.bits.output_flag_present_flag);
    put_bits(&w, 3, extra_bits);
    put_flag(&w, pic->pic_fields.bits.sign_data_hiding_enabled_flag);
    put_flag(&w, pic->slice_parsing_fields.bits.cabac_init_present_flag);
    put_ue(&w, pic->num_ref_idx_l0_default_active_minus1);
    put_ue(&w, pic->num_ref_idx_l1_default_active_minus1);
    put_se(&w, pic->init_qp_minus26);
    put_flag(&w, pic->pic_fields.bits.constrained_intra_pred_flag);
    put_flag(&w, pic->pic_fields.bits.transform_skip_enabled_flag);
    put_flag(&w, pic->pic_fields.bits.cu_qp_delta_enabled_flag);
    if (pic->pic_fields.bits.cu_qp_delta_enabled_flag) {
        put_ue(&w, pic->diff_cu_qp_delta_depth);
    }
    put_se(&w, pic->pps_cb_qp_offset);
    put_se(&w, pic->pps_cr_qp_offset);
    put_flag(&w, pic->slice_parsing_fields.bits.
             pps_slice_chroma_qp_offsets_present_flag);
    put_flag(&w, pic->pic_fields.bits.weighted_pred_flag);
    put_flag(&w, pic->pic_fields.bits.weighted_bipred_flag);
    put_flag(&w, pic->pic_fields.bits.transquant_bypass_enabled_flag);
    put_flag(&w, pic->pic_fields.bits.tiles_enabled_flag);
    put_flag(&w, pic->pic_fields.bits.entropy_coding_sync_enabled_flag);
    if (pic->pic_fields.bits.tiles_enabled_flag) {
        write_tiles(&w, pic);
    }
    put_flag(&w,
             pic->pic_fields.bits.pps_loop_filter_across_slices_enabled_flag);
    put_flag(&w, 1);            /* deblocking_filter_control_present_flag */
    put_flag(&w, pic->slice_parsing_fields.bits.
             deblocking_filter_override_enabled_flag);
    put_flag(&w,
             pic->slice_parsing_fields.bits.pps_disable_deblocking_filter_flag);
    if (!pic->slice_parsing_fields.bits.pps_disable_deblocking_filter_flag) {
        put_se(&w, pic->pps_beta_offset_div2);
        put_se(&w, pic->pps_tc_offset_div2);
    }
    put_flag(&w, iq != NULL);   /* pps_scaling_list_data_present_flag */
    if (iq) {
        write_scaling_lists(&w, iq);
    }
    put_flag(&w,
             pic->slice_parsing_fields.bits.lists_modification_present_flag);
    put_ue(&w, pic->log2_parallel_merge_level_minus2);
    put_flag(&w, pic->slice_parsing_fields.bits.
             slice_segment_header_extension_present_flag);
    put_flag(&w, 0);            /* pps_extension_present_flag */
    bits_append_nal(&w, out);
}

/* One side of the short-term set: pictures before or behind this one */
typedef struct Side {
    unsigned n;
    int delta[15];              /* away from it: 1, 2, ... */
    bool used[15];
} Side;

static void add_to_side(Side *side, int delta, bool used)
{
    unsigned i = side->n++;

    for (; i > 0 && side->delta[i - 1] > delta; i--) {
        side->delta[i] = side->delta[i - 1];
        side->used[i] = side->used[i - 1];
    }
    side->delta[i] = delta;
    side->used[i] = used;
}

static void write_side(BitWriter *w, const Side *side)
{
    for (unsigned i = 0, last = 0; i < side->n; i++) {
        put_ue(w, side->delta[i] - last - 1);
        put_flag(w, side->used[i]);
        last = side->delta[i];
    }
}

/* st_ref_pic_set() of what VA says are the references */
static void write_short_term_set(BitWriter *w,
                                 const VAPictureParameterBufferHEVC *pic)
{
    Side before = { 0 }, after = { 0 };

    for (unsigned i = 0; i < G_N_ELEMENTS(pic->ReferenceFrames); i++) {
        const VAPictureHEVC *ref = &pic->ReferenceFrames[i];
        int delta = ref->pic_order_cnt - pic->CurrPic.pic_order_cnt;
        bool used = ref->flags & (VA_PICTURE_HEVC_RPS_ST_CURR_BEFORE |
                                  VA_PICTURE_HEVC_RPS_ST_CURR_AFTER);

        if (ref->picture_id == VA_INVALID_SURFACE || !delta ||
            (ref->flags & (VA_PICTURE_HEVC_INVALID |
                           VA_PICTURE_HEVC_LONG_TERM_REFERENCE))) {
            continue;
        }
        add_to_side(delta < 0 ? &before : &after, ABS(delta), used);
    }
    put_ue(w, before.n);
    put_ue(w, after.n);
    write_side(w, &before);
    write_side(w, &after);
}

static unsigned ceil_log2(unsigned n)
{
    return n > 1 ? g_bit_storage(n - 1) : 0;
}

static unsigned ctbs(const VAPictureParameterBufferHEVC *pic)
{
    unsigned log2 = pic->log2_min_luma_coding_block_size_minus3 + 3 +
                    pic->log2_diff_max_min_luma_coding_block_size;
    unsigned size = 1u << MIN(log2, 6);

    return ((pic->pic_width_in_luma_samples + size - 1) / size) *
           ((pic->pic_height_in_luma_samples + size - 1) / size);
}

/* A slice header that is being copied, with a set of its own */
typedef struct Rewrite {
    const VAPictureParameterBufferHEVC *pic;
    GByteArray *rbsp;           /* without emulation prevention */
    BitReader in;
    BitWriter out;
    unsigned nal_type;
    unsigned pps_id;
} Rewrite;

static uint32_t copy_bits(Rewrite *r, unsigned n)
{
    uint32_t value = get_bits(&r->in, n);

    put_bits(&r->out, n, value);
    return value;
}

static uint32_t copy_ue(Rewrite *r)
{
    uint32_t value = get_ue(&r->in);

    put_ue(&r->out, value);
    return value;
}

/*
 * Copy up to the set, with @extra extra bits.  Returns: whether there is one,
 * which is then the next to be read.
 */
static bool copy_up_to_set(Rewrite *r, unsigned extra)
{
    const VAPictureParameterBufferHEVC *pic = r->pic;
    bool first;

    first = copy_bits(r, 1);
    if (r->nal_type >= NAL_BLA_W_LP && r->nal_type <= NAL_IRAP_LAST) {
        copy_bits(r, 1);        /* no_output_of_prior_pics_flag */
    }
    r->pps_id = copy_ue(r);
    if (!first) {
        bool dependent = false;

        if (pic->slice_parsing_fields.bits.
            dependent_slice_segments_enabled_flag) {
            dependent = copy_bits(r, 1);
        }
        copy_bits(r, ceil_log2(ctbs(pic)));
        if (dependent) {
            return false;
        }
    }
    get_bits(&r->in, pic->num_extra_slice_header_bits);
    put_bits(&r->out, extra, 0);
    copy_ue(r);                 /* slice_type */
    if (pic->slice_parsing_fields.bits.output_flag_present_flag) {
        copy_bits(r, 1);
    }
    if (pic->pic_fields.bits.separate_colour_plane_flag) {
        copy_bits(r, 2);
    }
    if (r->nal_type == NAL_IDR_W_RADL || r->nal_type == NAL_IDR_N_LP) {
        return false;
    }
    copy_bits(r, pic->log2_max_pic_order_cnt_lsb_minus4 + 4);
    return true;
}

static void replace_set(Rewrite *r)
{
    const VAPictureParameterBufferHEVC *pic = r->pic;

    if (get_bits(&r->in, 1)) {
        get_bits(&r->in, ceil_log2(pic->num_short_term_ref_pic_sets));
    } else {
        for (unsigned n = pic->st_rps_bits; n && !r->in.over; n--) {
            get_bits(&r->in, 1);
        }
    }
    put_flag(&r->out, 0);       /* short_term_ref_pic_set_sps_flag */
    write_short_term_set(&r->out, pic);
}

/* Returns: the bits by which the new header is longer, up to whole bytes */
static unsigned try_rewrite(Rewrite *r, unsigned extra)
{
    r->in.pos = 16;
    bits_init(&r->out);
    put_bits(&r->out, 16, r->rbsp->data[0] << 8 | r->rbsp->data[1]);
    if (copy_up_to_set(r, extra)) {
        replace_set(r);
    }
    return (bits_count(&r->out) - r->in.pos) & 7;
}

/* RASL pictures come here only if they can be decoded, but a decoder that
 * began with their CRA picture would not believe it.  RADL are the same else. */
static void disguise_rasl(uint8_t *nal)
{
    unsigned type = nal[0] >> 1 & 0x3f;

    if (type == NAL_RASL_N || type == NAL_RASL_R) {
        type = NAL_RADL_N + (type - NAL_RASL_N);
        nal[0] = (nal[0] & 0x81) | type << 1;
    }
}

static void copy_rest(Rewrite *r)
{
    while (r->in.pos & 7) {
        copy_bits(r, 1);
    }
    g_byte_array_append(r->out.bytes, r->rbsp->data + r->in.pos / 8,
                        r->rbsp->len - r->in.pos / 8);
}

/*
 * @extra: how many extra bits its PPS says that there are; -1 to choose.
 * Returns: what was chosen, or -1 if that cannot be made to fit
 */
static int rewrite_slice(const VAPictureParameterBufferHEVC *pic,
                         const VvSlice *slice, int extra, unsigned *pps_id,
                         GByteArray *out)
{
    Rewrite r = { .pic = pic };
    unsigned longer;

    if (slice->size < 3) {
        return -1;
    }
    r.rbsp = unescape_nal(slice->data, slice->size);
    disguise_rasl(r.rbsp->data);
    r.nal_type = r.rbsp->data[0] >> 1 & 0x3f;
    r.in = (BitReader) { r.rbsp->data, (size_t)r.rbsp->len * 8 };

    longer = try_rewrite(&r, MAX(extra, 0));
    if (extra < 0) {
        extra = -longer & 7;
        bits_free(&r.out);
        longer = try_rewrite(&r, extra);
    }
    *pps_id = r.pps_id;
    if (longer || r.in.over) {
        extra = -1;
    } else {
        copy_rest(&r);
        append_nal(out, r.out.bytes->data, r.out.bytes->len);
    }
    bits_free(&r.out);
    g_byte_array_unref(r.rbsp);
    return extra;
}

/* An SPS begins a new sequence for the decoder, so only if it is new */
static void add_sets(State *s, const VAPictureParameterBufferHEVC *pic,
                     GByteArray *out)
{
    g_autoptr(GByteArray) sets = g_byte_array_new();

    write_vps(pic, sets);
    write_sps(pic, sets);
    if (sets->len != s->size || memcmp(sets->data, s->bytes, s->size)) {
        s->size = MIN(sets->len, sizeof(s->bytes));
        memcpy(s->bytes, sets->data, s->size);
        g_byte_array_append(out, sets->data, sets->len);
    }
}

static VAStatus build(void *state, VvJob *job, GByteArray *out)
{
    const VAPictureParameterBufferHEVC *pic =
        vv_job_param(job, VAPictureParameterBufferType, sizeof(*pic));
    const VAIQMatrixBufferHEVC *iq =
        vv_job_param(job, VAIQMatrixBufferType, sizeof(*iq));
    g_autoptr(GArray) slices =
        vv_job_slices(job, sizeof(VASliceParameterBufferHEVC));
    g_autoptr(GByteArray) nals = g_byte_array_new();
    int extra = -1;
    unsigned id, pps_id = 0;

    if (!pic || !slices) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    add_sets(state, pic, out);
    for (unsigned i = 0; i < slices->len; i++) {
        extra = rewrite_slice(pic, &g_array_index(slices, VvSlice, i), extra,
                              &id, nals);
        if (extra < 0 || id > 63 || (i && id != pps_id)) {
            return VA_STATUS_ERROR_DECODING_ERROR;
        }
        pps_id = id;
    }
    if (!pic->pic_fields.bits.scaling_list_enabled_flag) {
        iq = NULL;
    }
    write_pps(pic, iq, pps_id, extra, out);
    g_byte_array_append(out, nals->data, nals->len);
    return VA_STATUS_SUCCESS;
}

const VvCodec vv_codec_hevc = {
    .id = AV_CODEC_ID_HEVC,
    .decoder = "hevc",
    .state_size = sizeof(State),
    .build = build,
};
