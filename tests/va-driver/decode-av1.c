/*
 * AV1: all headers made anew of VA's parameters, and tiles as they are
 *
 * VA does not tell which of the eight slots a picture will go to, only what is
 * in them when the next one comes.  So our stream has slots of its own, found
 * by surface.  A picture goes at once to a slot whose surface the client has no
 * more.  Where all eight are still in use, it is coded once without storing it,
 * and a second time when the next pictures tell that it was kept, and what not.
 *
 * What a slot holds besides pixels (CDFs, motion vectors, the segmentation map)
 * follows from that; where a header is coded relative to it (global motion), it
 * is kept here too.  Much is free to choose and does not change the pixels:
 * - Every picture is shown, as only those come out of the decoder.  A key frame
 *   that is not shown has to become an intra-only frame for that, as it would
 *   replace all slots.
 * - The size is in every frame header, so that it may change without a new
 *   sequence header; that one enables all that VA does not tell of.
 * - There is no error resilience, and switch frames are inter frames: what
 *   these imply is coded explicitly.
 * - Film grain is added by a second coding of the same picture, which is not
 *   stored, to the surface for display.
 *
 * Not supported: large scale tiles, and profiles but 0.
 *
 * Called by the context's worker.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"
#include "bits.h"

#include <string.h>

#define SLOTS 8
#define REFS 7
#define SEGMENTS 8
#define FEATURES 8
#define NO_PRIMARY 7

enum { OBU_SEQUENCE_HEADER = 1, OBU_TEMPORAL_DELIMITER = 2, OBU_FRAME = 6 };
enum { KEY_FRAME, INTER_FRAME, INTRA_ONLY_FRAME, SWITCH_FRAME };

typedef VADecPictureParameterBufferAV1 Pic;

/* What later headers depend on, besides pixels */
typedef struct Saved {
    bool valid;
    VASurfaceID surface;
    uint8_t order_hint;
    int32_t motion[REFS][6];
    uint8_t feature_mask[SEGMENTS];
    int16_t feature_data[SEGMENTS][FEATURES];
} Saved;

/* A picture that is not in a slot yet, as there was none */
typedef struct Later {
    Saved saved;
    GByteArray *packet;
    size_t refresh_at;          /* the bit where refresh_frame_flags begin */
} Later;

typedef struct State {
    Saved slots[SLOTS];
    Later later[SLOTS];         /* in the order of decoding */
    unsigned n_later;
} State;

/* A picture that is being coded */
typedef struct Frame {
    const Pic *pic;
    const Saved *slots;
    const Saved *primary;       /* or NULL */
    Saved saved;
    BitWriter w;
    size_t refresh_at;
    uint8_t refs[REFS];         /* slots */
    bool intra;
    bool mono;
    bool lossless;
    unsigned upscaled_width;
    unsigned width;
    unsigned height;
} Frame;

/* tile_log2() of the specification */
static unsigned log2_at_least(unsigned size, unsigned target)
{
    unsigned n = 0;

    while (size << n < target) {
        n++;
    }
    return n;
}

/* su(n) */
static void put_su(BitWriter *w, unsigned n, int value)
{
    put_bits(w, n, (unsigned)value);
}

/* ns(n): @value is less than @n */
static void put_ns(BitWriter *w, unsigned n, unsigned value)
{
    unsigned bits = g_bit_storage(n);
    unsigned m = (1u << bits) - n;

    if (value < m) {
        put_bits(w, bits - 1, value);
    } else {
        put_bits(w, bits, value + m);
    }
}

static void put_leb128(GByteArray *out, size_t value)
{
    do {
        uint8_t byte = (value & 0x7f) | (value > 0x7f ? 0x80 : 0);

        g_byte_array_append(out, &byte, 1);
        value >>= 7;
    } while (value);
}

/* An OBU with its size; frees the writer.  Returns: where its payload is. */
static size_t append_obu(GByteArray *out, unsigned type, BitWriter *w)
{
    const uint8_t head = type << 3 | 1 << 1;
    size_t at;

    g_byte_array_append(out, &head, 1);
    put_leb128(out, w->bytes->len);
    at = out->len;
    g_byte_array_append(out, w->bytes->data, w->bytes->len);
    bits_free(w);
    return at;
}

/*
 * Sequence header
 */

static void write_colour(BitWriter *w, const Pic *pic)
{
    put_flag(w, pic->bit_depth_idx);
    put_flag(w, pic->seq_info_fields.fields.mono_chrome);
    put_flag(w, 1);                             /* described: */
    put_bits(w, 8, 2);                          /* primaries unspecified */
    put_bits(w, 8, 2);                          /* transfer too */
    put_bits(w, 8, pic->matrix_coefficients);
    put_flag(w, pic->seq_info_fields.fields.color_range);
    if (!pic->seq_info_fields.fields.mono_chrome) {
        put_bits(w, 2, 0);                      /* sample position unknown */
        put_flag(w, 1);                         /* U and V have their own q */
    }
}

static void write_sequence(GByteArray *out, const Pic *pic)
{
    const bool order_hint = pic->seq_info_fields.fields.enable_order_hint;
    BitWriter w;

    bits_init(&w);
    put_bits(&w, 3, 0);                         /* profile */
    put_bits(&w, 4, 0);     /* no still picture, timing, display delay */
    put_bits(&w, 5, 0);                         /* one operating point: */
    put_bits(&w, 12, 0);                        /* all layers */
    put_bits(&w, 5, 31);                        /* level: no limits */
    put_flag(&w, 0);                            /* tier */
    put_bits(&w, 4, 15);
    put_bits(&w, 4, 15);
    put_bits(&w, 16, 0xffff);                   /* the largest size */
    put_bits(&w, 16, 0xffff);
    put_flag(&w, 0);                            /* no frame ids */
    put_flag(&w, pic->seq_info_fields.fields.use_128x128_superblock);
    put_flag(&w, pic->seq_info_fields.fields.enable_filter_intra);
    put_flag(&w, pic->seq_info_fields.fields.enable_intra_edge_filter);
    put_flag(&w, pic->seq_info_fields.fields.enable_interintra_compound);
    put_flag(&w, pic->seq_info_fields.fields.enable_masked_compound);
    put_flag(&w, 1);                            /* warped motion */
    put_flag(&w, pic->seq_info_fields.fields.enable_dual_filter);
    put_flag(&w, order_hint);
    if (order_hint) {
        put_flag(&w, pic->seq_info_fields.fields.enable_jnt_comp);
        put_flag(&w, 1);                        /* motion vectors of others */
    }
    put_flag(&w, 1);        /* screen content tools: each frame says */
    put_flag(&w, 1);        /* integer motion vectors: too */
    if (order_hint) {
        put_bits(&w, 3, pic->order_hint_bits_minus_1);
    }
    put_flag(&w, 1);                            /* superres */
    put_flag(&w, pic->seq_info_fields.fields.enable_cdef);
    put_flag(&w, 1);                            /* restoration */
    write_colour(&w, pic);
    put_flag(&w, pic->seq_info_fields.fields.film_grain_params_present);
    put_trailing(&w);
    append_obu(out, OBU_SEQUENCE_HEADER, &w);
}

/*
 * Frame header, in the order of the specification's syntax
 */

static void write_size(Frame *f)
{
    const bool superres = f->pic->pic_info_fields.bits.use_superres;

    put_bits(&f->w, 16, f->pic->frame_width_minus1);
    put_bits(&f->w, 16, f->pic->frame_height_minus1);
    put_flag(&f->w, superres);
    if (superres) {
        put_bits(&f->w, 3, f->pic->superres_scale_denominator - 9);
    }
    put_flag(&f->w, 0);                         /* shown in the same size */
}

static void write_intra(Frame *f)
{
    write_size(f);
    if (f->pic->pic_info_fields.bits.allow_screen_content_tools &&
        f->width == f->upscaled_width) {
        put_flag(&f->w, f->pic->pic_info_fields.bits.allow_intrabc);
    }
}

static void write_inter(Frame *f)
{
    const Pic *pic = f->pic;

    if (pic->seq_info_fields.fields.enable_order_hint) {
        put_flag(&f->w, 0);                     /* no short signaling */
    }
    for (unsigned i = 0; i < REFS; i++) {
        put_bits(&f->w, 3, f->refs[i]);
    }
    put_bits(&f->w, REFS, 0);                   /* no size of a reference */
    write_size(f);
    if (!(pic->pic_info_fields.bits.allow_screen_content_tools &&
          pic->pic_info_fields.bits.force_integer_mv)) {
        put_flag(&f->w, pic->pic_info_fields.bits.allow_high_precision_mv);
    }
    put_flag(&f->w, pic->interp_filter == 4);   /* switchable */
    if (pic->interp_filter != 4) {
        put_bits(&f->w, 2, pic->interp_filter);
    }
    put_flag(&f->w, pic->pic_info_fields.bits.is_motion_mode_switchable);
    if (pic->seq_info_fields.fields.enable_order_hint) {
        put_flag(&f->w, pic->pic_info_fields.bits.use_ref_frame_mvs);
    }
}

/* @type may differ from that of the client's picture */
static void write_kind(Frame *f, unsigned type, uint8_t refresh)
{
    const Pic *pic = f->pic;

    put_flag(&f->w, 0);                         /* no existing frame */
    put_bits(&f->w, 2, type);
    put_flag(&f->w, 1);                         /* show it */
    if (type != KEY_FRAME) {
        put_flag(&f->w, 0);                     /* no error resilience */
    }
    put_flag(&f->w, pic->pic_info_fields.bits.disable_cdf_update);
    put_flag(&f->w, pic->pic_info_fields.bits.allow_screen_content_tools);
    if (pic->pic_info_fields.bits.allow_screen_content_tools) {
        put_flag(&f->w, pic->pic_info_fields.bits.force_integer_mv);
    }
    put_flag(&f->w, 1);                         /* has its own size */
    if (pic->seq_info_fields.fields.enable_order_hint) {
        put_bits(&f->w, pic->order_hint_bits_minus_1 + 1, pic->order_hint);
    }
    if (!f->intra) {
        put_bits(&f->w, 3, pic->primary_ref_frame);
    }
    f->refresh_at = bits_count(&f->w);
    if (type != KEY_FRAME) {
        put_bits(&f->w, 8, refresh);
    }
    if (f->intra) {
        write_intra(f);
    } else {
        write_inter(f);
    }
    if (!pic->pic_info_fields.bits.disable_cdf_update) {
        put_flag(&f->w,
                 pic->pic_info_fields.bits.disable_frame_end_update_cdf);
    }
}

/*
 * The logarithm for which @n superblocks make @tiles tiles, as increments
 *
 * Returns: it, or -1 if there is none
 */
static int write_uniform(BitWriter *w, unsigned n, unsigned tiles, unsigned min,
                         unsigned max)
{
    for (unsigned i = min; i <= max; i++) {
        unsigned size = (n + (1u << i) - 1) >> i;

        if ((n + size - 1) / size == tiles) {
            put_bits(w, i - min, UINT64_MAX);
            if (i < max) {
                put_flag(w, 0);
            }
            return i;
        }
    }
    return -1;
}

/* Returns: the widest or highest, or 0 if sizes and @tiles do not fit @n */
static unsigned write_spacing(BitWriter *w, unsigned n, unsigned tiles,
                              const uint16_t *minus_1, unsigned max)
{
    unsigned at = 0, widest = 0;

    for (unsigned i = 0; i < tiles; i++) {
        unsigned left = n - at, most = MIN(left, max);
        /* That of the last need not be told */
        unsigned size = i + 1 < tiles ? minus_1[i] + 1u : left;

        if (size == 0 || size > most) {
            return 0;
        }
        put_ns(w, most, size - 1);
        at += size;
        widest = MAX(widest, size);
    }
    return at == n ? widest : 0;
}

/* Returns: the bits of a tile's number, or -1 */
static int write_uniform_tiles(Frame *f, unsigned cols, unsigned rows,
                               unsigned min_cols, unsigned min_tiles)
{
    const Pic *pic = f->pic;
    int c = write_uniform(&f->w, cols, pic->tile_cols, min_cols,
                          log2_at_least(1, MIN(cols, 64)));
    int r = c < 0 ? -1 :
        write_uniform(&f->w, rows, pic->tile_rows, MAX((int)min_tiles - c, 0),
                      log2_at_least(1, MIN(rows, 64)));

    return r < 0 ? -1 : c + r;
}

static int write_other_tiles(Frame *f, unsigned cols, unsigned rows,
                             unsigned max_width, unsigned min_tiles)
{
    const Pic *pic = f->pic;
    unsigned area = rows * cols >> (min_tiles ? min_tiles + 1 : 0);
    unsigned widest = write_spacing(&f->w, cols, pic->tile_cols,
                                    pic->width_in_sbs_minus_1, max_width);

    if (!widest || !write_spacing(&f->w, rows, pic->tile_rows,
                                  pic->height_in_sbs_minus_1,
                                  MAX(area / widest, 1))) {
        return -1;
    }
    return log2_at_least(1, pic->tile_cols) + log2_at_least(1, pic->tile_rows);
}

static bool write_tiles(Frame *f)
{
    const Pic *pic = f->pic;
    const bool uniform = pic->pic_info_fields.bits.uniform_tile_spacing_flag;
    /* In superblocks: the picture, and the largest tile */
    unsigned shift = pic->seq_info_fields.fields.use_128x128_superblock ? 7 : 6;
    unsigned cols = (f->width + (1 << shift) - 1) >> shift;
    unsigned rows = (f->height + (1 << shift) - 1) >> shift;
    unsigned max_width = 4096 >> shift;
    unsigned max_area = (4096 * 2304) >> (2 * shift);
    unsigned min_cols = log2_at_least(max_width, cols);
    unsigned min_tiles = MAX(min_cols, log2_at_least(max_area, rows * cols));
    int bits;

    put_flag(&f->w, uniform);
    bits = uniform ?
        write_uniform_tiles(f, cols, rows, min_cols, min_tiles) :
        write_other_tiles(f, cols, rows, max_width, min_tiles);
    if (bits > 0) {
        put_bits(&f->w, bits, pic->context_update_tile_id);
        put_bits(&f->w, 2, 3);                  /* four bytes for a size */
    }
    return bits >= 0;
}

static void write_delta(BitWriter *w, int delta)
{
    put_flag(w, delta);
    if (delta) {
        put_su(w, 7, delta);
    }
}

static void write_quantisers(Frame *f)
{
    const Pic *pic = f->pic;
    const bool v = pic->v_dc_delta_q != pic->u_dc_delta_q ||
        pic->v_ac_delta_q != pic->u_ac_delta_q;

    put_bits(&f->w, 8, pic->base_qindex);
    write_delta(&f->w, pic->y_dc_delta_q);
    if (!f->mono) {
        put_flag(&f->w, v);
        write_delta(&f->w, pic->u_dc_delta_q);
        write_delta(&f->w, pic->u_ac_delta_q);
        if (v) {
            write_delta(&f->w, pic->v_dc_delta_q);
            write_delta(&f->w, pic->v_ac_delta_q);
        }
    }
    put_flag(&f->w, pic->qmatrix_fields.bits.using_qmatrix);
    if (pic->qmatrix_fields.bits.using_qmatrix) {
        put_bits(&f->w, 4, pic->qmatrix_fields.bits.qm_y);
        put_bits(&f->w, 4, pic->qmatrix_fields.bits.qm_u);
        if (!f->mono) {
            put_bits(&f->w, 4, pic->qmatrix_fields.bits.qm_v);
        }
    }
}

static void write_features(Frame *f)
{
    static const uint8_t bits[FEATURES] = { 8, 6, 6, 6, 6, 3, 0, 0 };

    for (unsigned i = 0; i < SEGMENTS; i++) {
        for (unsigned j = 0; j < FEATURES; j++) {
            const bool enabled = f->saved.feature_mask[i] >> j & 1;

            put_flag(&f->w, enabled);
            if (enabled && j < 5) {
                put_su(&f->w, bits[j] + 1, f->saved.feature_data[i][j]);
            } else if (enabled) {
                put_bits(&f->w, bits[j], f->saved.feature_data[i][j]);
            }
        }
    }
}

static void write_segmentation(Frame *f)
{
    const VASegmentationStructAV1 *seg = &f->pic->seg_info;
    bool update_data = true;

    put_flag(&f->w, seg->segment_info_fields.bits.enabled);
    if (!seg->segment_info_fields.bits.enabled) {
        return;
    }
    if (f->primary) {
        update_data = seg->segment_info_fields.bits.update_data;
        put_flag(&f->w, seg->segment_info_fields.bits.update_map);
        if (seg->segment_info_fields.bits.update_map) {
            put_flag(&f->w, seg->segment_info_fields.bits.temporal_update);
        }
        put_flag(&f->w, update_data);
    }
    if (update_data) {
        memcpy(f->saved.feature_mask, seg->feature_mask,
               sizeof(f->saved.feature_mask));
        memcpy(f->saved.feature_data, seg->feature_data,
               sizeof(f->saved.feature_data));
        write_features(f);
    } else {
        memcpy(f->saved.feature_mask, f->primary->feature_mask,
               sizeof(f->saved.feature_mask));
        memcpy(f->saved.feature_data, f->primary->feature_data,
               sizeof(f->saved.feature_data));
    }
}

/* CodedLossless: no segment has a quantiser but 0 */
static bool is_lossless(const Frame *f)
{
    const Pic *pic = f->pic;

    for (unsigned i = 0; i < SEGMENTS; i++) {
        int q = pic->base_qindex;

        if (f->saved.feature_mask[i] & 1) {
            q += f->saved.feature_data[i][0];
        }
        if (q > 0) {
            return false;
        }
    }
    return !pic->y_dc_delta_q && !pic->u_dc_delta_q && !pic->u_ac_delta_q &&
        !pic->v_dc_delta_q && !pic->v_ac_delta_q;
}

static void write_block_deltas(Frame *f)
{
    const Pic *pic = f->pic;

    if (!pic->base_qindex) {
        return;
    }
    put_flag(&f->w, pic->mode_control_fields.bits.delta_q_present_flag);
    if (!pic->mode_control_fields.bits.delta_q_present_flag) {
        return;
    }
    put_bits(&f->w, 2, pic->mode_control_fields.bits.log2_delta_q_res);
    if (pic->pic_info_fields.bits.allow_intrabc) {
        return;
    }
    put_flag(&f->w, pic->mode_control_fields.bits.delta_lf_present_flag);
    if (pic->mode_control_fields.bits.delta_lf_present_flag) {
        put_bits(&f->w, 2, pic->mode_control_fields.bits.log2_delta_lf_res);
        put_flag(&f->w, pic->mode_control_fields.bits.delta_lf_multi);
    }
}

static void write_loop_filter(Frame *f)
{
    const Pic *pic = f->pic;

    put_bits(&f->w, 6, pic->filter_level[0]);
    put_bits(&f->w, 6, pic->filter_level[1]);
    if (!f->mono && (pic->filter_level[0] || pic->filter_level[1])) {
        put_bits(&f->w, 6, pic->filter_level_u);
        put_bits(&f->w, 6, pic->filter_level_v);
    }
    put_bits(&f->w, 3, pic->loop_filter_info_fields.bits.sharpness_level);
    put_flag(&f->w, pic->loop_filter_info_fields.bits.mode_ref_delta_enabled);
    if (!pic->loop_filter_info_fields.bits.mode_ref_delta_enabled) {
        return;
    }
    /* All are told, whatever the primary reference had */
    put_flag(&f->w, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(pic->ref_deltas); i++) {
        put_flag(&f->w, 1);
        put_su(&f->w, 7, pic->ref_deltas[i]);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(pic->mode_deltas); i++) {
        put_flag(&f->w, 1);
        put_su(&f->w, 7, pic->mode_deltas[i]);
    }
}

static void write_cdef(Frame *f)
{
    const Pic *pic = f->pic;

    put_bits(&f->w, 2, pic->cdef_damping_minus_3);
    put_bits(&f->w, 2, pic->cdef_bits);
    for (unsigned i = 0; i < 1u << (pic->cdef_bits & 3); i++) {
        put_bits(&f->w, 6, pic->cdef_y_strengths[i]);
        if (!f->mono) {
            put_bits(&f->w, 6, pic->cdef_uv_strengths[i]);
        }
    }
}

static void write_restoration(Frame *f)
{
    /* none, Wiener, self-guided, switchable: as lr_type counts them */
    static const uint8_t lr_type[] = { 0, 2, 3, 1 };
    const Pic *pic = f->pic;
    const unsigned y =
        pic->loop_restoration_fields.bits.yframe_restoration_type;
    const unsigned cb = f->mono ? 0 :
        pic->loop_restoration_fields.bits.cbframe_restoration_type;
    const unsigned cr = f->mono ? 0 :
        pic->loop_restoration_fields.bits.crframe_restoration_type;
    const unsigned shift = pic->loop_restoration_fields.bits.lr_unit_shift;

    put_bits(&f->w, 2, lr_type[y]);
    if (!f->mono) {
        put_bits(&f->w, 2, lr_type[cb]);
        put_bits(&f->w, 2, lr_type[cr]);
    }
    if (!(y | cb | cr)) {
        return;
    }
    if (pic->seq_info_fields.fields.use_128x128_superblock) {
        put_flag(&f->w, shift > 1);
    } else {
        put_flag(&f->w, shift);
        if (shift) {
            put_flag(&f->w, shift > 1);
        }
    }
    if (cb | cr) {
        put_flag(&f->w, pic->loop_restoration_fields.bits.lr_uv_shift);
    }
}

static void write_filters(Frame *f)
{
    const Pic *pic = f->pic;

    f->lossless = is_lossless(f);
    if (pic->pic_info_fields.bits.allow_intrabc) {
        return;
    }
    if (!f->lossless) {
        write_loop_filter(f);
        if (pic->seq_info_fields.fields.enable_cdef) {
            write_cdef(f);
        }
    }
    if (!f->lossless || f->width != f->upscaled_width) {
        write_restoration(f);
    }
}

/* get_relative_dist() of the specification */
static int distance(const Frame *f, unsigned a, unsigned b)
{
    int m = 1 << f->pic->order_hint_bits_minus_1;
    int diff = (int)a - (int)b;

    return (diff & (m - 1)) - (diff & m);
}

/* Is there a reference on each side, or are there two before? */
static bool may_skip(const Frame *f)
{
    const unsigned now = f->pic->order_hint;
    int before = -1, after = -1, second = -1;

    for (unsigned i = 0; i < REFS; i++) {
        int hint = f->slots[f->refs[i]].order_hint;
        int d = distance(f, hint, now);

        if (d < 0 && (before < 0 || distance(f, hint, before) > 0)) {
            before = hint;
        } else if (d > 0 && (after < 0 || distance(f, hint, after) < 0)) {
            after = hint;
        }
    }
    for (unsigned i = 0; before >= 0 && i < REFS; i++) {
        int hint = f->slots[f->refs[i]].order_hint;

        if (distance(f, hint, before) < 0) {
            second = hint;
        }
    }
    return before >= 0 && (after >= 0 || second >= 0);
}

static void write_modes(Frame *f)
{
    const Pic *pic = f->pic;

    if (!f->lossless) {
        put_flag(&f->w, pic->mode_control_fields.bits.tx_mode == 2);
    }
    if (!f->intra) {
        put_flag(&f->w, pic->mode_control_fields.bits.reference_select);
        if (pic->mode_control_fields.bits.reference_select &&
            pic->seq_info_fields.fields.enable_order_hint && may_skip(f)) {
            put_flag(&f->w, pic->mode_control_fields.bits.skip_mode_present);
        }
        put_flag(&f->w, pic->pic_info_fields.bits.allow_warped_motion);
    }
    put_flag(&f->w, pic->mode_control_fields.bits.reduced_tx_set_used);
}

/*
 * Global motion, relative to that of the primary reference
 */

/* decode_subexp() of the specification: @value is less than @n */
static void put_subexp(BitWriter *w, unsigned n, unsigned value)
{
    unsigned base = 0;

    for (unsigned i = 0; ; i++) {
        unsigned bits = i ? i + 2 : 3;

        if (n <= base + 3 * (1u << bits)) {
            put_ns(w, n - base, value - base);
            return;
        }
        put_flag(w, value >= base + (1u << bits));
        if (value < base + (1u << bits)) {
            put_bits(w, bits, value - base);
            return;
        }
        base += 1u << bits;
    }
}

static unsigned recentre(unsigned ref, unsigned value)
{
    return value > 2 * ref ? value :
        value >= ref ? 2 * (value - ref) : 2 * (ref - value) - 1;
}

static bool put_near(BitWriter *w, unsigned n, int ref, int value)
{
    if (ref < 0 || value < 0 || (unsigned)ref >= n || (unsigned)value >= n) {
        return false;
    }
    if (2u * ref <= n) {
        put_subexp(w, n, recentre(ref, value));
    } else {
        put_subexp(w, n, recentre(n - 1 - ref, n - 1 - value));
    }
    return true;
}

static bool write_motion_param(Frame *f, unsigned type, unsigned ref,
                               unsigned i)
{
    unsigned bits = 12, precision = 15, drop;
    int32_t value = f->saved.motion[ref][i];
    int32_t near = i == 2 || i == 5 ? 1 << 16 : 0;
    int32_t one = i == 2 || i == 5 ? 1 << 16 : 0;

    if (i < 2 && type == VAAV1TransformationTranslation) {
        bool low = !f->pic->pic_info_fields.bits.allow_high_precision_mv;

        bits = 9 - low;
        precision = 3 - low;
    } else if (i < 2) {
        precision = 6;
    }
    if (f->primary) {
        near = f->primary->motion[ref][i];
    }
    drop = 16 - precision;
    near = (near >> drop) - (one >> drop);
    value = (value >> drop) - (one >> drop);
    return put_near(&f->w, (2u << bits) + 1, near + (1 << bits),
                    value + (1 << bits));
}

static bool write_motion_of(Frame *f, unsigned ref)
{
    const VAWarpedMotionParamsAV1 *wm = &f->pic->wm[ref];
    const unsigned type = wm->wmtype;
    bool ok = type <= VAAV1TransformationAffine;

    put_flag(&f->w, type != VAAV1TransformationIdentity);
    if (type == VAAV1TransformationIdentity) {
        return true;
    }
    for (unsigned i = 0; i < 6; i++) {
        f->saved.motion[ref][i] = wm->wmmat[i];
    }
    put_flag(&f->w, type == VAAV1TransformationRotzoom);
    if (type != VAAV1TransformationRotzoom) {
        put_flag(&f->w, type == VAAV1TransformationTranslation);
    }
    if (type >= VAAV1TransformationRotzoom) {
        ok = ok && write_motion_param(f, type, ref, 2) &&
            write_motion_param(f, type, ref, 3);
    }
    if (type == VAAV1TransformationAffine) {
        ok = ok && write_motion_param(f, type, ref, 4) &&
            write_motion_param(f, type, ref, 5);
    }
    return ok && write_motion_param(f, type, ref, 0) &&
        write_motion_param(f, type, ref, 1);
}

static bool write_motion(Frame *f)
{
    bool ok = true;

    memset(f->saved.motion, 0, sizeof(f->saved.motion));
    for (unsigned ref = 0; ref < REFS; ref++) {
        f->saved.motion[ref][2] = f->saved.motion[ref][5] = 1 << 16;
    }
    for (unsigned ref = 0; ok && !f->intra && ref < REFS; ref++) {
        ok = write_motion_of(f, ref);
    }
    return ok;
}

/*
 * Film grain
 */

static void write_points(BitWriter *w, unsigned n, const uint8_t *value,
                         const uint8_t *scaling)
{
    put_bits(w, 4, n);
    for (unsigned i = 0; i < n; i++) {
        put_bits(w, 8, value[i]);
        put_bits(w, 8, scaling[i]);
    }
}

static void write_coefficients(BitWriter *w, unsigned n, const int8_t *c)
{
    for (unsigned i = 0; i < n; i++) {
        put_bits(w, 8, c[i] + 128);
    }
}

static void write_multipliers(BitWriter *w, unsigned mult, unsigned luma_mult,
                              unsigned offset)
{
    put_bits(w, 8, mult);
    put_bits(w, 8, luma_mult);
    put_bits(w, 9, offset);
}

static void write_grain(Frame *f)
{
    const VAFilmGrainStructAV1 *g = &f->pic->film_grain_info;
    const bool from_luma =
        g->film_grain_info_fields.bits.chroma_scaling_from_luma;
    const bool chroma = !f->mono && !from_luma && g->num_y_points;
    const unsigned cb = chroma ? g->num_cb_points : 0;
    const unsigned cr = chroma ? g->num_cr_points : 0;
    const unsigned lag = g->film_grain_info_fields.bits.ar_coeff_lag;
    const unsigned n = 2 * lag * (lag + 1);
    BitWriter *w = &f->w;

    put_bits(w, 16, g->grain_seed);
    if (!f->intra) {
        put_flag(w, 1);                         /* all is told */
    }
    write_points(w, g->num_y_points, g->point_y_value, g->point_y_scaling);
    if (!f->mono) {
        put_flag(w, from_luma);
    }
    if (chroma) {
        write_points(w, cb, g->point_cb_value, g->point_cb_scaling);
        write_points(w, cr, g->point_cr_value, g->point_cr_scaling);
    }
    put_bits(w, 2, g->film_grain_info_fields.bits.grain_scaling_minus_8);
    put_bits(w, 2, lag);
    if (g->num_y_points) {
        write_coefficients(w, n, g->ar_coeffs_y);
    }
    if (from_luma || cb) {
        write_coefficients(w, n + !!g->num_y_points, g->ar_coeffs_cb);
    }
    if (from_luma || cr) {
        write_coefficients(w, n + !!g->num_y_points, g->ar_coeffs_cr);
    }
    put_bits(w, 2, g->film_grain_info_fields.bits.ar_coeff_shift_minus_6);
    put_bits(w, 2, g->film_grain_info_fields.bits.grain_scale_shift);
    if (cb) {
        write_multipliers(w, g->cb_mult, g->cb_luma_mult, g->cb_offset);
    }
    if (cr) {
        write_multipliers(w, g->cr_mult, g->cr_luma_mult, g->cr_offset);
    }
    put_flag(w, g->film_grain_info_fields.bits.overlap_flag);
    put_flag(w, g->film_grain_info_fields.bits.clip_to_restricted_range);
}

static bool write_header(Frame *f, unsigned type, uint8_t refresh, bool grain)
{
    write_kind(f, type, refresh);
    if (!write_tiles(f)) {
        return false;
    }
    write_quantisers(f);
    write_segmentation(f);
    write_block_deltas(f);
    write_filters(f);
    write_modes(f);
    if (!write_motion(f)) {
        return false;
    }
    if (f->pic->seq_info_fields.fields.film_grain_params_present) {
        put_flag(&f->w, grain);
        if (grain) {
            write_grain(f);
        }
    }
    put_align(&f->w);
    return true;
}

/*
 * Packets
 */

/* All tiles, in one group */
static bool write_tile_group(Frame *f, GArray *slices)
{
    const unsigned n = f->pic->tile_cols * f->pic->tile_rows;

    if (slices->len != n) {
        return false;
    }
    if (n > 1) {
        put_flag(&f->w, 0);                     /* from the first to the last */
        put_align(&f->w);
    }
    for (unsigned i = 0; i < n; i++) {
        const VvSlice *s = &g_array_index(slices, VvSlice, i);
        const VASliceParameterBufferAV1 *sp = s->param;
        const uint32_t size = GUINT32_TO_LE(s->size - 1);

        if (!s->size ||
            sp->tile_row * f->pic->tile_cols + sp->tile_column != i) {
            return false;
        }
        if (i + 1 < n) {
            g_byte_array_append(f->w.bytes, (const void *)&size, sizeof(size));
        }
        g_byte_array_append(f->w.bytes, s->data, s->size);
    }
    return true;
}

static bool is_valid(const Pic *pic)
{
    const VAFilmGrainStructAV1 *g = &pic->film_grain_info;

    return pic->tile_cols && pic->tile_cols <= 64 && pic->tile_rows &&
        pic->tile_rows <= 64 && pic->bit_depth_idx <= 1 &&
        pic->order_hint_bits_minus_1 < 8 && pic->interp_filter <= 4 &&
        pic->primary_ref_frame <= NO_PRIMARY && g->num_y_points <= 14 &&
        g->num_cb_points <= 10 && g->num_cr_points <= 10 &&
        (!pic->pic_info_fields.bits.use_superres ||
         (pic->superres_scale_denominator >= 9 &&
          pic->superres_scale_denominator <= 16));
}

static int find_slot(const State *st, VASurfaceID surface)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (st->slots[i].valid && st->slots[i].surface == surface) {
            return i;
        }
    }
    return -1;
}

/* The first slot that has a picture, or the first that has none, or -1 */
static int first_slot(const State *st, bool valid)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (st->slots[i].valid == valid) {
            return i;
        }
    }
    return -1;
}

/*
 * A picture that is not there, as its decoding has failed, is replaced by
 * another: what is made of it is wrong, and yet goes on, as on hardware.
 *
 * Returns: false if there are none at all
 */
static bool find_references(Frame *f, const State *st)
{
    const Pic *pic = f->pic;

    for (unsigned i = 0; i < REFS && !f->intra; i++) {
        int slot = pic->ref_frame_idx[i] < SLOTS ?
            find_slot(st, pic->ref_frame_map[pic->ref_frame_idx[i]]) : -1;

        if (slot < 0) {
            slot = first_slot(st, true);
        }
        if (slot < 0) {
            return false;
        }
        f->refs[i] = slot;
    }
    if (!f->intra && pic->primary_ref_frame != NO_PRIMARY) {
        f->primary = &st->slots[f->refs[pic->primary_ref_frame]];
    }
    return true;
}

static bool frame_init(Frame *f, const State *st, const Pic *pic)
{
    const unsigned type = pic->pic_info_fields.bits.frame_type;

    *f = (Frame) {
        .pic = pic,
        .slots = st->slots,
        .intra = type == KEY_FRAME || type == INTRA_ONLY_FRAME,
        .mono = pic->seq_info_fields.fields.mono_chrome,
        .upscaled_width = pic->frame_width_minus1 + 1,
        .width = pic->frame_width_minus1 + 1,
        .height = pic->frame_height_minus1 + 1,
        .saved = {
            .valid = true,
            .surface = pic->current_frame,
            .order_hint = pic->order_hint,
        },
    };
    if (pic->pic_info_fields.bits.use_superres) {
        unsigned d = pic->superres_scale_denominator;

        f->width = (f->upscaled_width * 8 + d / 2) / d;
    }
    return find_references(f, st);
}

/*
 * A packet of one frame.
 * @saved: set to what a slot will have to remember, if not NULL
 * @refresh_at: set to the bit where refresh_frame_flags begin, if not NULL
 */
static VAStatus build(const State *st, VvJob *job, unsigned type,
                      uint8_t refresh, bool grain, GByteArray *out,
                      Saved *saved, size_t *refresh_at)
{
    static const uint8_t delimiter[] = {
        OBU_TEMPORAL_DELIMITER << 3 | 1 << 1, 0
    };
    const Pic *pic = vv_job_param(job, VAPictureParameterBufferType,
                                  sizeof(*pic));
    g_autoptr(GArray) slices =
        vv_job_slices(job, sizeof(VASliceParameterBufferAV1));
    Frame f;
    size_t at;

    if (!slices || !is_valid(pic)) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    if (!frame_init(&f, st, pic)) {
        return VA_STATUS_ERROR_DECODING_ERROR;
    }
    bits_init(&f.w);
    if (!write_header(&f, type, refresh, grain) ||
        !write_tile_group(&f, slices)) {
        bits_free(&f.w);
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    g_byte_array_append(out, delimiter, sizeof(delimiter));
    write_sequence(out, pic);
    at = append_obu(out, OBU_FRAME, &f.w);
    if (saved) {
        *saved = f.saved;
        *refresh_at = at * 8 + f.refresh_at;
    }
    return VA_STATUS_SUCCESS;
}

static void set_refresh(GByteArray *packet, size_t at, uint8_t flags)
{
    for (unsigned i = 0; i < 8; i++, at++) {
        const uint8_t bit = 0x80 >> at % 8;

        packet->data[at / 8] &= ~bit;
        packet->data[at / 8] |= flags >> (7 - i) & 1 ? bit : 0;
    }
}

/*
 * Slots
 */

static bool in_map(const Pic *pic, VASurfaceID surface)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (pic->ref_frame_map[i] == surface) {
            return true;
        }
    }
    return false;
}

/* Key frames may come with a map of nothing, and yet leave pictures */
static bool has_map(const Pic *pic)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (pic->ref_frame_map[i] != VA_INVALID_SURFACE) {
            return true;
        }
    }
    return false;
}

static void forget_later(State *st)
{
    for (unsigned i = 0; i < st->n_later; i++) {
        g_byte_array_unref(st->later[i].packet);
    }
    st->n_later = 0;
}

static VAStatus send(VvDecoder *dec, GByteArray *packet)
{
    return vv_decoder_send(dec, packet) && dec->frame->buf[0] ?
        VA_STATUS_SUCCESS : VA_STATUS_ERROR_DECODING_ERROR;
}

/*
 * Follow what the client has done since: forget what it has not kept, and store
 * what waits for a slot.
 */
static VAStatus update_slots(VvDecoder *dec, const Pic *pic)
{
    State *st = dec->state;
    VAStatus status = VA_STATUS_SUCCESS;

    if (!has_map(pic)) {
        return status;
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        st->slots[i].valid &= in_map(pic, st->slots[i].surface);
    }
    for (unsigned i = 0; i < st->n_later && !status; i++) {
        Later *later = &st->later[i];
        int slot = first_slot(st, false);

        if (in_map(pic, later->saved.surface)) {
            if (slot < 0) {
                status = VA_STATUS_ERROR_DECODING_ERROR;
                break;
            }
            set_refresh(later->packet, later->refresh_at, 1 << slot);
            status = send(dec, later->packet);
            st->slots[slot] = later->saved;
        }
    }
    forget_later(st);
    return status;
}

/* A key frame that is shown replaces everything, even what waits */
static VAStatus decode_key(VvDecoder *dec, VvJob *job)
{
    g_autoptr(GByteArray) packet = g_byte_array_new();
    State *st = dec->state;
    Saved saved;
    size_t at;
    VAStatus status = build(st, job, KEY_FRAME, 0xff, false, packet, &saved,
                            &at);

    if (!status) {
        status = send(dec, packet);
    }
    if (!status) {
        forget_later(st);
        /* In all slots, of which one is enough */
        memset(st->slots, 0, sizeof(st->slots));
        st->slots[0] = saved;
    }
    return status;
}

static VAStatus decode_other(VvDecoder *dec, VvJob *job, unsigned type)
{
    g_autoptr(GByteArray) packet = g_byte_array_new();
    State *st = dec->state;
    int slot = first_slot(st, false);
    Saved saved;
    size_t at;
    VAStatus status = build(st, job, type, slot < 0 ? 0 : 1 << slot, false,
                            packet, &saved, &at);

    if (!status) {
        status = send(dec, packet);
    }
    if (status) {
        return status;
    }
    if (slot >= 0) {
        st->slots[slot] = saved;
    } else if (st->n_later == SLOTS) {
        return VA_STATUS_ERROR_DECODING_ERROR;
    } else {
        st->later[st->n_later++] = (Later) {
            .saved = saved,
            .packet = g_byte_array_ref(packet),
            .refresh_at = at,
        };
    }
    return status;
}

static VAStatus decode(VvDecoder *dec, VvJob *job)
{
    const Pic *pic = vv_job_param(job, VAPictureParameterBufferType,
                                  sizeof(*pic));
    g_autoptr(GByteArray) grain = g_byte_array_new();
    unsigned type;
    bool key;
    VAStatus status;

    if (!pic) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    if (pic->profile || pic->pic_info_fields.bits.large_scale_tile) {
        return VA_STATUS_ERROR_UNIMPLEMENTED;
    }
    type = pic->pic_info_fields.bits.frame_type;
    key = type == KEY_FRAME && pic->pic_info_fields.bits.show_frame;
    type = type == KEY_FRAME ? INTRA_ONLY_FRAME :
        type == SWITCH_FRAME ? INTER_FRAME : type;

    status = key ? VA_STATUS_SUCCESS : update_slots(dec, pic);
    if (!status && job->display) {
        /* By references that are still as they were */
        status = build(dec->state, job, type, 0, true, grain, NULL, NULL);
    }
    if (!status) {
        status = key ? decode_key(dec, job) : decode_other(dec, job, type);
    }
    if (!status) {
        status = vv_decoder_store(job, job->target, dec->frame);
    }
    if (!status && job->display) {
        status = send(dec, grain);
        if (!status) {
            status = vv_decoder_store(job, job->display, dec->frame);
        }
    }
    return status;
}

static unsigned references(VvJob *job, VASurfaceID refs[16])
{
    const Pic *pic = vv_job_param(job, VAPictureParameterBufferType,
                                  sizeof(*pic));

    if (!pic || pic->pic_info_fields.bits.frame_type == KEY_FRAME) {
        return 0;
    }
    memcpy(refs, pic->ref_frame_map, sizeof(pic->ref_frame_map));
    return SLOTS;
}

static VASurfaceID display(const VvJob *job)
{
    const Pic *pic = vv_job_param(job, VAPictureParameterBufferType,
                                  sizeof(*pic));

    return pic && pic->film_grain_info.film_grain_info_fields.bits.apply_grain ?
        pic->current_display_picture : VA_INVALID_SURFACE;
}

static void clear(void *state)
{
    forget_later(state);
}

const VvCodec vv_codec_av1 = {
    .id = AV_CODEC_ID_AV1,
    .decoder = "libdav1d",
    .state_size = sizeof(State),
    .decode = decode,
    .references = references,
    .display = display,
    .clear = clear,
};
