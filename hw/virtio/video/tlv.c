/*
 * TLVs of the virtio video device
 *
 * Pure functions of bytes, any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "hw/virtio/virtio-video-wire.h"
#include "control.h"
#include "tlv.h"

/* VideoCodedFormat <-> VIRTIO_VIDEO_CODED_FORMAT_* */
static const uint32_t coded_formats[VIDEO_CODED__MAX] = {
    [VIDEO_CODED_MPEG2] = VIRTIO_VIDEO_CODED_FORMAT_MPEG2,
    [VIDEO_CODED_MPEG4] = VIRTIO_VIDEO_CODED_FORMAT_MPEG4,
    [VIDEO_CODED_H264]  = VIRTIO_VIDEO_CODED_FORMAT_H264,
    [VIDEO_CODED_HEVC]  = VIRTIO_VIDEO_CODED_FORMAT_HEVC,
    [VIDEO_CODED_VP8]   = VIRTIO_VIDEO_CODED_FORMAT_VP8,
    [VIDEO_CODED_VP9]   = VIRTIO_VIDEO_CODED_FORMAT_VP9,
    [VIDEO_CODED_AV1]   = VIRTIO_VIDEO_CODED_FORMAT_AV1,
};

/*
 * Reading
 */

int tlv_read(TlvReader *reader, Tlv *tlv, Error **errp)
{
    const size_t header = sizeof(struct virtio_video_tlv);

    if (!reader->size) {
        return 0;
    }
    if (reader->size < header) {
        error_setg(errp, "%zu bytes are no TLV", reader->size);
        return -EINVAL;
    }
    tlv->type = ldl_le_p(reader->data);
    tlv->length = ldl_le_p(reader->data + 4);
    tlv->value = reader->data + header;
    if (tlv->length % 4 || tlv->length > reader->size - header) {
        error_setg(errp, "TLV of type %u has %u bytes, %zu are there",
                   tlv->type, tlv->length, reader->size - header);
        return -EINVAL;
    }
    reader->data = tlv->value + tlv->length;
    reader->size -= header + tlv->length;
    return 1;
}

static bool read_coded_format(const Tlv *tlv, VideoParam *param)
{
    uint32_t format;

    if (tlv->length != sizeof(struct virtio_video_tlv_coded_format)) {
        return false;
    }
    format = ldl_le_p(tlv->value);
    for (unsigned i = 0; i < VIDEO_CODED__MAX; i++) {
        if (coded_formats[i] == format) {
            param->type = VIDEO_PARAM_CODED_FORMAT;
            param->coded = i;
            return true;
        }
    }
    return false;
}

static bool read_raw_format(const Tlv *tlv, VideoParam *param)
{
    struct virtio_video_tlv_raw_format_val val;
    uint32_t layout;

    if (tlv->length != sizeof(val)) {
        return false;
    }
    memcpy(&val, tlv->value, sizeof(val));
    layout = le32_to_cpu(val.planes_layout);
    if (layout != VIRTIO_VIDEO_PLANES_LAYOUT_SINGLE_BUFFER &&
        layout != VIRTIO_VIDEO_PLANES_LAYOUT_MULTI_BUFFERS) {
        return false;
    }
    param->type = VIDEO_PARAM_RAW_FORMAT;
    param->raw = (VideoRawFormat) {
        .fourcc = le32_to_cpu(val.fourcc),
        .modifier = le64_to_cpu(val.modifier),
        .multi_buffers = layout == VIRTIO_VIDEO_PLANES_LAYOUT_MULTI_BUFFERS,
        .width = le32_to_cpu(val.width),
        .height = le32_to_cpu(val.height),
        .stride_align = le32_to_cpu(val.stride_align),
        .height_align = le32_to_cpu(val.height_align),
        .plane_align = le32_to_cpu(val.plane_align),
    };
    return true;
}

static bool read_num_resources(const Tlv *tlv, VideoParam *param)
{
    if (tlv->length != sizeof(struct virtio_video_tlv_resources_val)) {
        return false;
    }
    param->type = VIDEO_PARAM_NUM_RESOURCES;
    param->num_resources = ldl_le_p(tlv->value);
    return true;
}

static bool read_crop(const Tlv *tlv, VideoParam *param)
{
    if (tlv->length != sizeof(struct virtio_video_tlv_crop_val)) {
        return false;
    }
    param->type = VIDEO_PARAM_CROP;
    param->crop = (VideoRect) {
        .left = ldl_le_p(tlv->value),
        .top = ldl_le_p(tlv->value + 4),
        .width = ldl_le_p(tlv->value + 8),
        .height = ldl_le_p(tlv->value + 12),
    };
    return true;
}

static bool read_guest_pages(const Tlv *tlv, uint32_t max_entries,
                             VideoParam *param)
{
    struct virtio_video_tlv_resource_guest_pages val;
    struct virtio_video_resource_sg_entry entry;
    VideoAttach attach = { };
    const uint8_t *p;
    uint64_t n = 0;
    bool end = false;

    if (tlv->length < sizeof(val)) {
        return false;
    }
    memcpy(&val, tlv->value, sizeof(val));
    attach.resource_id = le32_to_cpu(val.resource_id);
    for (unsigned i = 0; i < VIRTIO_VIDEO_MAX_PLANES; i++) {
        uint32_t num = le32_to_cpu(val.num_entries[i]);

        if (num && (end || i >= VIDEO_MAX_PLANES)) {
            return false;
        }
        if (num) {
            attach.num_entries[attach.n_buffers++] = num;
        }
        end = !num;
        n += num;
    }
    if (!n || n > max_entries ||
        tlv->length != sizeof(val) + n * sizeof(entry)) {
        return false;
    }

    attach.entries = g_new(VideoMemEntry, n);
    p = tlv->value + sizeof(val);
    for (uint64_t i = 0; i < n; i++, p += sizeof(entry)) {
        memcpy(&entry, p, sizeof(entry));
        attach.entries[i].addr = le64_to_cpu(entry.addr);
        attach.entries[i].length = le32_to_cpu(entry.length);
    }
    param->type = VIDEO_PARAM_RESOURCE;
    param->attach = attach;
    return true;
}

static bool params_have_control(const VideoParams *params, VideoControl id)
{
    for (guint i = 0; i < params->params->len; i++) {
        const VideoParam *param = video_params_get(params, i);

        if (param->type == VIDEO_PARAM_CONTROL && param->control.id == id) {
            return true;
        }
    }
    return false;
}

static bool read_control(const VideoParams *params, const Tlv *tlv,
                         VideoParam *param)
{
    const VideoControlInfo *info = video_control_find_cid(tlv->type);

    if (!info || params_have_control(params, info->control) ||
        tlv->length != sizeof(struct virtio_video_tlv_v4l2_int_val)) {
        return false;
    }
    param->type = VIDEO_PARAM_CONTROL;
    param->control = (VideoControlParam) {
        .id = info->control,
        .formats = info->formats,
        .value = video_control_is_menu(info->control) ? tlv->value[0] :
                                                        ldl_le_p(tlv->value),
    };
    return true;
}

/* Append what V4L2_CONTROLS holds. Returns: false at the first wrong one. */
static bool read_controls(VideoParams *params, const Tlv *container,
                          uint32_t max_params)
{
    TlvReader reader = { container->value, container->length };
    Tlv tlv;
    int ret;

    while ((ret = tlv_read(&reader, &tlv, NULL))) {
        VideoParam param;

        if (ret < 0 || params->params->len >= max_params ||
            !read_control(params, &tlv, &param)) {
            return false;
        }
        video_params_add(params, param);
    }
    return true;
}

/* False for what is not a parameter of @set, too. */
static bool read_param(VideoSet set, const Tlv *tlv, uint32_t max_entries,
                       VideoParam *param)
{
    bool coded = set == VIDEO_SET_CODED;

    switch (tlv->type) {
    case VIRTIO_VIDEO_TLV_CODED_FORMAT:
        return coded && read_coded_format(tlv, param);
    case VIRTIO_VIDEO_TLV_CODED_RESOURCES:
        return coded && read_num_resources(tlv, param);
    case VIRTIO_VIDEO_TLV_RAW_FORMAT:
        return !coded && read_raw_format(tlv, param);
    case VIRTIO_VIDEO_TLV_RAW_RESOURCES:
        return !coded && read_num_resources(tlv, param);
    case VIRTIO_VIDEO_TLV_CROP:
        return !coded && read_crop(tlv, param);
    case VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES:
        return read_guest_pages(tlv, max_entries, param);
    default:
        return false;
    }
}

/* Append what @tlv holds. Returns: false if, or where, that is wrong. */
static bool read_params(VideoParams *params, const Tlv *tlv,
                        uint32_t max_params, uint32_t max_entries)
{
    VideoParam param;

    if (params->set == VIDEO_SET_CODED &&
        tlv->type == VIRTIO_VIDEO_TLV_V4L2_CONTROLS) {
        return read_controls(params, tlv, max_params);
    }
    if (params->params->len >= max_params ||
        !read_param(params->set, tlv, max_entries, &param)) {
        return false;
    }
    video_params_add(params, param);
    return true;
}

VideoParams *tlv_read_params(const void *data, size_t size,
                             uint32_t max_params, uint32_t max_entries,
                             Error **errp)
{
    g_autoptr(VideoParams) params = NULL;
    TlvReader outer = { data, size }, inner;
    Tlv tlv;
    int ret;

    ret = tlv_read(&outer, &tlv, errp);
    if (ret < 0) {
        return NULL;
    }
    if (!ret || outer.size) {
        error_setg(errp, "expected one container, got %s",
                   ret ? "more" : "none");
        return NULL;
    }
    if (tlv.type != VIRTIO_VIDEO_TLV_CODED_SET &&
        tlv.type != VIRTIO_VIDEO_TLV_RAW_SET) {
        error_setg(errp, "TLV of type %u is no set of parameters", tlv.type);
        return NULL;
    }

    params = video_params_new(tlv.type == VIRTIO_VIDEO_TLV_CODED_SET ?
                              VIDEO_SET_CODED : VIDEO_SET_RAW);
    inner = (TlvReader) { tlv.value, tlv.length };
    while ((ret = tlv_read(&inner, &tlv, NULL))) {
        if (ret < 0 || !read_params(params, &tlv, max_params, max_entries)) {
            video_params_add(params, (VideoParam) {
                .type = VIDEO_PARAM_INVALID,
            });
            break;
        }
    }
    return g_steal_pointer(&params);
}

/*
 * Writing
 */

static void put(GByteArray *buf, const void *data, size_t size)
{
    g_byte_array_append(buf, data, size);
}

static void put_le32(GByteArray *buf, uint32_t val)
{
    val = cpu_to_le32(val);
    put(buf, &val, sizeof(val));
}

static void put_le64(GByteArray *buf, uint64_t val)
{
    val = cpu_to_le64(val);
    put(buf, &val, sizeof(val));
}

static void put_range(GByteArray *buf, const VideoRange *range)
{
    put_le32(buf, range->min);
    put_le32(buf, range->max);
    put_le32(buf, range->step);
    put_le32(buf, 0);
}

/* From @min to @max, which are moved to 1 since the draft wants it positive */
static void put_min_max(GByteArray *buf, uint32_t min, uint32_t max)
{
    VideoRange range = { MAX(min, 1), MAX(max, 1), 1 };

    put_range(buf, &range);
}

/* Returns: where the TLV starts, for tlv_end() */
static guint tlv_begin(GByteArray *buf, uint32_t type)
{
    guint start = buf->len;

    put_le32(buf, type);
    put_le32(buf, 0);
    return start;
}

static void tlv_end(GByteArray *buf, guint start)
{
    stl_le_p(buf->data + start + 4,
             buf->len - start - sizeof(struct virtio_video_tlv));
}

static void write_raw_format(GByteArray *buf, const VideoRawFormat *raw)
{
    guint tlv = tlv_begin(buf, VIRTIO_VIDEO_TLV_RAW_FORMAT);

    put_le32(buf, raw->multi_buffers ?
                  VIRTIO_VIDEO_PLANES_LAYOUT_MULTI_BUFFERS :
                  VIRTIO_VIDEO_PLANES_LAYOUT_SINGLE_BUFFER);
    put_le32(buf, raw->fourcc);
    put_le64(buf, raw->modifier);
    put_le32(buf, raw->width);
    put_le32(buf, raw->height);
    put_le32(buf, raw->stride_align);
    put_le32(buf, raw->height_align);
    put_le32(buf, raw->plane_align);
    tlv_end(buf, tlv);
}

/* An enum value is one byte with three of padding: the same bytes */
static void write_control(GByteArray *buf, const VideoControlParam *control)
{
    const VideoControlInfo *info = video_control_find(control->id,
                                                      control->formats);
    guint tlv = tlv_begin(buf, info->cid);

    put_le32(buf, control->value);
    tlv_end(buf, tlv);
}

static void write_param(GByteArray *buf, VideoSet set, const VideoParam *param)
{
    guint tlv;

    switch (param->type) {
    case VIDEO_PARAM_CODED_FORMAT:
        tlv = tlv_begin(buf, VIRTIO_VIDEO_TLV_CODED_FORMAT);
        put_le32(buf, coded_formats[param->coded]);
        tlv_end(buf, tlv);
        break;
    case VIDEO_PARAM_RAW_FORMAT:
        write_raw_format(buf, &param->raw);
        break;
    case VIDEO_PARAM_NUM_RESOURCES:
        tlv = tlv_begin(buf, set == VIDEO_SET_CODED ?
                             VIRTIO_VIDEO_TLV_CODED_RESOURCES :
                             VIRTIO_VIDEO_TLV_RAW_RESOURCES);
        put_le32(buf, param->num_resources);
        tlv_end(buf, tlv);
        break;
    case VIDEO_PARAM_RESOURCE:
        /* Cut to the id; spec: SET_PARAMS, "lengths [...] are always 8" */
        tlv = tlv_begin(buf, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES);
        put_le32(buf, param->attach.resource_id);
        put_le32(buf, 0);
        tlv_end(buf, tlv);
        break;
    case VIDEO_PARAM_CROP:
        tlv = tlv_begin(buf, VIRTIO_VIDEO_TLV_CROP);
        put_le32(buf, param->crop.left);
        put_le32(buf, param->crop.top);
        put_le32(buf, param->crop.width);
        put_le32(buf, param->crop.height);
        tlv_end(buf, tlv);
        break;
    case VIDEO_PARAM_CONTROL:
        write_control(buf, &param->control);
        break;
    case VIDEO_PARAM_INVALID:
        g_assert_not_reached();
    }
}

/* Also for @i beside the set, at either end */
static bool is_control(const VideoParams *params, guint i)
{
    return i < params->params->len &&
           video_params_get(params, i)->type == VIDEO_PARAM_CONTROL;
}

void tlv_write_params(GByteArray *buf, const VideoParams *params)
{
    guint set = tlv_begin(buf, params->set == VIDEO_SET_CODED ?
                               VIRTIO_VIDEO_TLV_CODED_SET :
                               VIRTIO_VIDEO_TLV_RAW_SET);
    guint controls = 0;

    for (guint i = 0; i < params->params->len; i++) {
        bool control = is_control(params, i);

        if (control && !is_control(params, i - 1)) {
            controls = tlv_begin(buf, VIRTIO_VIDEO_TLV_V4L2_CONTROLS);
        }
        write_param(buf, params->set, video_params_get(params, i));
        if (control && !is_control(params, i + 1)) {
            tlv_end(buf, controls);
        }
    }
    tlv_end(buf, set);
}

static void write_empty(GByteArray *buf, uint32_t type)
{
    tlv_end(buf, tlv_begin(buf, type));
}

static void write_control_caps(GByteArray *buf, const VideoCodedCaps *coded)
{
    guint container = tlv_begin(buf, VIRTIO_VIDEO_TLV_V4L2_CONTROLS);
    const VideoControlInfo *info;

    for (unsigned i = 0; (info = video_control_get(i)); i++) {
        const VideoControlCaps *caps = &coded->controls[info->control];
        guint tlv;

        if (!caps->supported || !(info->formats & (1u << coded->format))) {
            continue;
        }
        tlv = tlv_begin(buf, info->cid);
        if (video_control_is_menu(info->control)) {
            put_le32(buf, caps->menu);
        } else {
            put_min_max(buf, caps->min, caps->max);
        }
        tlv_end(buf, tlv);
    }
    tlv_end(buf, container);
}

static void write_coded_set(GByteArray *buf, const TlvCaps *caps,
                            VideoCodecDirection direction,
                            const VideoCodedCaps *coded)
{
    guint set = tlv_begin(buf, VIRTIO_VIDEO_TLV_CODED_SET);
    guint tlv;

    tlv = tlv_begin(buf, VIRTIO_VIDEO_TLV_CODED_FORMAT);
    put_le32(buf, coded_formats[coded->format]);
    tlv_end(buf, tlv);

    tlv = tlv_begin(buf, VIRTIO_VIDEO_TLV_CODED_RESOURCES);
    put_min_max(buf, 1, caps->max_resources);
    put_min_max(buf, 1, caps->max_coded_size);
    tlv_end(buf, tlv);

    write_empty(buf, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES);
    if (direction == VIDEO_ENCODE) {
        write_control_caps(buf, coded);
    }
    tlv_end(buf, set);
}

/* The coded sets of one direction. Returns: their number, 0 if it is off */
static unsigned caps_coded(const TlvCaps *caps, VideoCodecDirection direction,
                           const VideoCodedCaps **coded)
{
    if (direction == VIDEO_ENCODE) {
        *coded = caps->codec->encoders;
        return caps->encoder ? caps->codec->n_encoders : 0;
    }
    *coded = caps->codec->decoders;
    return caps->decoder ? caps->codec->n_decoders : 0;
}

static void write_coded_sets(GByteArray *buf, const TlvCaps *caps,
                             VideoCodecDirection direction)
{
    const VideoCodedCaps *coded;
    unsigned n = caps_coded(caps, direction, &coded);

    for (unsigned i = 0; i < n; i++) {
        write_coded_set(buf, caps, direction, &coded[i]);
    }
}

/* A raw format, by its place among the codec's, and sizes that it can have */
typedef struct RawSet {
    unsigned index;
    VideoSizes sizes;
} RawSet;

typedef struct RawSets {
    RawSet sets[64];            /* as many as a LINK has room for in one word */
    unsigned n;
} RawSets;

/* Returns: the bit of the set with these sizes, 0 if there is none */
static uint64_t find_raw_set(const RawSets *all, const RawSet *set)
{
    for (unsigned i = 0; i < all->n; i++) {
        if (all->sets[i].index == set->index &&
            !memcmp(&all->sets[i].sizes, &set->sizes, sizeof(set->sizes))) {
            return 1ull << i;
        }
    }
    return 0;
}

static RawSet coded_raw_set(const TlvCaps *caps, const VideoCodedCaps *coded,
                            unsigned raw)
{
    return (RawSet) {
        .index = raw,
        .sizes = video_coded_sizes(coded, caps->codec->raws[raw],
                                   caps->max_width, caps->max_height),
    };
}

/* Add the sets that raw format @raw has with the formats of one direction. */
static void add_raw_sets(RawSets *all, const TlvCaps *caps, unsigned raw,
                         VideoCodecDirection direction)
{
    const VideoCodedCaps *coded;
    unsigned n = caps_coded(caps, direction, &coded);

    for (unsigned i = 0; i < n; i++) {
        RawSet set = coded_raw_set(caps, &coded[i], raw);

        if (coded[i].raw_mask & (1u << raw) && !find_raw_set(all, &set)) {
            all->sets[all->n++] = set;
        }
    }
}

static void make_raw_sets(RawSets *all, const TlvCaps *caps)
{
    QEMU_BUILD_BUG_ON(ARRAY_SIZE(caps->codec->raws) * 2 * VIDEO_CODED__MAX >
                      ARRAY_SIZE(all->sets));

    all->n = 0;
    for (unsigned i = 0; i < caps->codec->n_raws; i++) {
        add_raw_sets(all, caps, i, VIDEO_DECODE);
        add_raw_sets(all, caps, i, VIDEO_ENCODE);
    }
}

static void write_raw_set(GByteArray *buf, const TlvCaps *caps,
                          const RawSet *raw)
{
    guint set = tlv_begin(buf, VIRTIO_VIDEO_TLV_RAW_SET);
    guint tlv;

    tlv = tlv_begin(buf, VIRTIO_VIDEO_TLV_RAW_FORMAT);
    put_le32(buf, VIRTIO_VIDEO_PLANES_LAYOUT_SINGLE_BUFFER |
                  VIRTIO_VIDEO_PLANES_LAYOUT_MULTI_BUFFERS);
    put_le32(buf, caps->codec->raws[raw->index]);
    put_le64(buf, DRM_FORMAT_MOD_LINEAR);
    put_range(buf, &raw->sizes.width);
    put_range(buf, &raw->sizes.height);
    put_le32(buf, VIDEO_STRIDE_ALIGN_MASK);
    put_le32(buf, VIDEO_HEIGHT_ALIGN_MASK);
    put_le32(buf, VIDEO_PLANE_ALIGN_MASK);
    tlv_end(buf, tlv);

    tlv = tlv_begin(buf, VIRTIO_VIDEO_TLV_RAW_RESOURCES);
    put_min_max(buf, 1, caps->max_resources);
    tlv_end(buf, tlv);

    write_empty(buf, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES);
    write_empty(buf, VIRTIO_VIDEO_TLV_CROP);
    tlv_end(buf, set);
}

/* Returns: a bit for each set that @coded goes with */
static uint64_t link_word(const TlvCaps *caps, const VideoCodedCaps *coded,
                          const RawSets *all)
{
    uint64_t word = 0;

    for (unsigned i = 0; i < caps->codec->n_raws; i++) {
        RawSet set = coded_raw_set(caps, coded, i);

        if (coded->raw_mask & (1u << i)) {
            word |= find_raw_set(all, &set);
        }
    }
    return word;
}

/*
 * One word for each coded set, of which there are those of decoders and then
 * those of encoders.
 */
static void write_link(GByteArray *buf, const TlvCaps *caps,
                       VideoCodecDirection direction, const RawSets *all)
{
    guint tlv = tlv_begin(buf, VIRTIO_VIDEO_TLV_LINK);

    put_le32(buf, direction == VIDEO_ENCODE ?
                  VIRTIO_VIDEO_STREAM_TYPE_ENCODER :
                  VIRTIO_VIDEO_STREAM_TYPE_DECODER);
    put_le32(buf, 0);
    for (VideoCodecDirection d = VIDEO_DECODE; d <= VIDEO_ENCODE; d++) {
        const VideoCodedCaps *coded;
        unsigned n = caps_coded(caps, d, &coded);

        for (unsigned i = 0; i < n; i++) {
            put_le64(buf, d == direction ?
                          link_word(caps, &coded[i], all) : 0);
        }
    }
    tlv_end(buf, tlv);
}

void tlv_write_caps(GByteArray *buf, const TlvCaps *caps)
{
    RawSets all;

    make_raw_sets(&all, caps);
    write_coded_sets(buf, caps, VIDEO_DECODE);
    write_coded_sets(buf, caps, VIDEO_ENCODE);
    for (unsigned i = 0; i < all.n; i++) {
        write_raw_set(buf, caps, &all.sets[i]);
    }
    if (caps->decoder) {
        write_link(buf, caps, VIDEO_DECODE, &all);
    }
    if (caps->encoder) {
        write_link(buf, caps, VIDEO_ENCODE, &all);
    }
}
