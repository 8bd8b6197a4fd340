/*
 * VP8 and VP9: frames are whole, but for the head of VP8's
 *
 * Called by the context's worker.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

static VAStatus build_vp8(void *state, VvJob *job, GByteArray *out)
{
    const VAPictureParameterBufferVP8 *pic =
        vv_job_param(job, VAPictureParameterBufferType, sizeof(*pic));
    g_autoptr(GArray) slices =
        vv_job_slices(job, sizeof(VASliceParameterBufferVP8));
    const VASliceParameterBufferVP8 *p;
    const VvSlice *slice;
    bool key;
    uint32_t first;

    if (!pic || !slices || slices->len != 1) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    slice = &g_array_index(slices, VvSlice, 0);
    p = slice->param;
    key = !pic->pic_fields.bits.key_frame;
    /* What is left of the first partition, and what the client has parsed */
    first = p->partition_size[0] + (p->macroblock_offset + 7) / 8;
    if (first >= 1u << 19) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    /* Every frame is shown: which ones are is the client's business */
    first = first << 5 | 1 << 4 | pic->pic_fields.bits.version << 1 | !key;
    g_byte_array_append(out, (uint8_t []) { first, first >> 8, first >> 16 },
                        3);
    if (key) {
        const uint8_t head[] = {
            0x9d, 0x01, 0x2a, pic->frame_width, pic->frame_width >> 8 & 0x3f,
            pic->frame_height, pic->frame_height >> 8 & 0x3f,
        };

        g_byte_array_append(out, head, sizeof(head));
    }
    g_byte_array_append(out, slice->data, slice->size);
    return VA_STATUS_SUCCESS;
}

static unsigned references_vp8(VvJob *job, VASurfaceID refs[16])
{
    const VAPictureParameterBufferVP8 *pic =
        vv_job_param(job, VAPictureParameterBufferType, sizeof(*pic));

    if (!pic || !pic->pic_fields.bits.key_frame) {
        return 0;
    }
    refs[0] = pic->last_ref_frame;
    refs[1] = pic->golden_ref_frame;
    refs[2] = pic->alt_ref_frame;
    return 3;
}

static VAStatus build_vp9(void *state, VvJob *job, GByteArray *out)
{
    g_autoptr(GArray) slices =
        vv_job_slices(job, sizeof(VASliceParameterBufferVP9));
    const VvSlice *slice;

    if (!slices || slices->len != 1) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    slice = &g_array_index(slices, VvSlice, 0);
    g_byte_array_append(out, slice->data, slice->size);
    return VA_STATUS_SUCCESS;
}

static unsigned references_vp9(VvJob *job, VASurfaceID refs[16])
{
    const VADecPictureParameterBufferVP9 *pic =
        vv_job_param(job, VAPictureParameterBufferType, sizeof(*pic));

    if (!pic || !pic->pic_fields.bits.frame_type) {
        return 0;               /* a key frame */
    }
    for (unsigned i = 0; i < 8; i++) {
        refs[i] = pic->reference_frames[i];
    }
    return 8;
}

const VvCodec vv_codec_vp8 = {
    .id = AV_CODEC_ID_VP8,
    .decoder = "vp8",
    .build = build_vp8,
    .references = references_vp8,
};

const VvCodec vv_codec_vp9 = {
    .id = AV_CODEC_ID_VP9,
    .decoder = "vp9",
    .build = build_vp9,
    .references = references_vp9,
};
