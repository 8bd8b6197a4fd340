/*
 * Fuzz target for the TLVs of virtio-video
 *
 * What a guest may write is read, written back and read again: what a reader
 * has accepted must come back as it was.  The same bytes also make up a codec's
 * abilities, and the capabilities written from them must be whole TLVs.
 *
 * An input is: limit for parameters, limit for entries (a byte each, see
 * pick_limit()), two bytes for tlv_write_caps(), then the guest's bytes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/host-utils.h"
#include "qapi/error.h"
#include "hw/virtio/virtio-video-wire.h"
#include "hw/virtio/video/control.h"
#include "hw/virtio/video/tlv.h"
#include "fuzz.h"

/* Unlike assert() and g_assert(), it can't be compiled out or caught */
#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, \
                    #condition); \
            abort(); \
        } \
    } while (0)

#define PREFIX 4

/* None, few, the device's own, and no limit */
static uint32_t pick_limit(uint8_t byte)
{
    switch (byte & 3) {
    case 0:
        return byte >> 2;
    case 1:
        return 40;
    case 2:
        return 32768;
    default:
        return UINT32_MAX;
    }
}

/* The parameters in one container of bytes that were just written */
static VideoParams *read_written(const GByteArray *buf, uint32_t max_params)
{
    Error *err = NULL;
    VideoParams *params = tlv_read_params(buf->data, buf->len, max_params,
                                          UINT32_MAX, &err);

    CHECK(params && !err);
    return params;
}

/* A value that is all meaning, without padding or what an answer cuts off */
static bool is_verbatim(uint32_t type)
{
    switch (type) {
    case VIRTIO_VIDEO_TLV_CODED_FORMAT:
    case VIRTIO_VIDEO_TLV_RAW_FORMAT:
    case VIRTIO_VIDEO_TLV_CODED_RESOURCES:
    case VIRTIO_VIDEO_TLV_RAW_RESOURCES:
    case VIRTIO_VIDEO_TLV_CROP:
        return true;
    default:
        return false;
    }
}

/* The TLVs inside the container at @data, which was read without complaint */
static TlvReader container_reader(const uint8_t *data, size_t size)
{
    TlvReader outer = { data, size };
    Tlv tlv;

    CHECK(tlv_read(&outer, &tlv, NULL) == 1);
    return (TlvReader) { tlv.value, tlv.length };
}

/*
 * The written TLVs say what those say from which they were read.  An attached
 * resource is cut to its id; controls may be grouped in another way.
 */
static void compare_tlvs(const uint8_t *data, size_t size,
                         const GByteArray *written)
{
    TlvReader in = container_reader(data, size);
    TlvReader out = container_reader(written->data, written->len);
    Tlv from, to;

    while (tlv_read(&out, &to, NULL) == 1) {
        if (to.type == VIRTIO_VIDEO_TLV_V4L2_CONTROLS) {
            return;
        }
        CHECK(tlv_read(&in, &from, NULL) == 1);
        if (from.type == VIRTIO_VIDEO_TLV_V4L2_CONTROLS) {
            return;
        }
        CHECK(from.type == to.type);
        if (is_verbatim(from.type)) {
            CHECK(from.length == to.length);
            CHECK(!memcmp(from.value, to.value, to.length));
        } else {
            CHECK(to.length == VIRTIO_VIDEO_TLV_RESOURCE_RESP_LENGTH);
            CHECK(ldl_le_p(from.value) == ldl_le_p(to.value));
        }
    }
    CHECK(!out.size);
}

/* The entries of an attached resource are those in its TLV. */
static void compare_entries(const VideoParam *param)
{
    uint64_t n = 0, sum = 0;

    CHECK(param->attach.n_buffers <= VIDEO_MAX_PLANES);
    for (unsigned i = 0; i < param->attach.n_buffers; i++) {
        CHECK(param->attach.num_entries[i]);
        n += param->attach.num_entries[i];
    }
    for (uint64_t i = 0; i < n; i++) {
        sum += param->attach.entries[i].addr + param->attach.entries[i].length;
    }
    /* Only to look at them all, which address sanitizer does too */
    CHECK(n && (sum || !sum));
}

static void remove_unwritable(VideoParams *params)
{
    for (guint i = params->params->len; i--;) {
        VideoParam *param = video_params_get(params, i);

        if (param->type == VIDEO_PARAM_INVALID) {
            CHECK(i == params->params->len - 1);
            g_array_set_size(params->params, i);
        } else if (param->type == VIDEO_PARAM_RESOURCE) {
            compare_entries(param);
        }
    }
}

static void remove_resources(VideoParams *params)
{
    for (guint i = params->params->len; i--;) {
        if (video_params_get(params, i)->type == VIDEO_PARAM_RESOURCE) {
            g_array_remove_index(params->params, i);
        }
    }
}

static void fuzz_params(const uint8_t *data, size_t size, uint32_t max_params,
                        uint32_t max_entries)
{
    g_autoptr(GByteArray) first = g_byte_array_new();
    g_autoptr(GByteArray) second = g_byte_array_new();
    g_autoptr(GByteArray) third = g_byte_array_new();
    g_autoptr(VideoParams) params = NULL;
    g_autoptr(VideoParams) again = NULL;
    Error *err = NULL;

    params = tlv_read_params(data, size, max_params, max_entries, &err);
    CHECK(!params == !!err);
    if (!params) {
        error_free(err);
        return;
    }
    CHECK(video_params_host_bytes(params) >=
          params->params->len * sizeof(VideoParam));
    remove_unwritable(params);
    CHECK(params->params->len <= max_params);
    tlv_write_params(first, params);
    compare_tlvs(data, size, first);

    /* What an answer says of resources can't be read again */
    remove_resources(params);
    tlv_write_params(second, params);
    again = read_written(second, max_params);
    CHECK(again->set == params->set);
    CHECK(again->params->len == params->params->len);
    tlv_write_params(third, again);
    CHECK(third->len == second->len);
    CHECK(!memcmp(third->data, second->data, third->len));
}

static uint32_t next_word(TlvReader *from)
{
    uint8_t word[4] = { };
    size_t n = MIN(sizeof(word), from->size);

    for (size_t i = 0; i < n; i++) {
        word[i] = from->data[i];
    }
    from->data += n;
    from->size -= n;
    return ldl_le_p(word);
}

/* Returns: one of the two, for a choice */
static uint32_t next_range(TlvReader *from, uint32_t *min, uint32_t *max)
{
    uint32_t a = next_word(from), b = next_word(from);

    *min = MIN(a, b);
    *max = MAX(a, b);
    return b;
}

static void make_control(VideoCodedCaps *coded, VideoControl id,
                         TlvReader *from)
{
    VideoControlCaps *control = &coded->controls[id];

    control->supported = next_range(from, &control->min, &control->max) & 1 &&
                         video_control_exists(coded->format, id, true);
    control->menu = control->max;
    control->def = control->min;
}

static void make_coded(VideoCodedCaps *coded, VideoCodedFormat format,
                       unsigned n_raws, TlvReader *from)
{
    uint32_t min;

    *coded = (VideoCodedCaps) {
        .format = format,
        .raw_mask = next_word(from) & MAKE_64BIT_MASK(0, n_raws),
    };
    next_range(from, &min, &coded->max_width);
    next_range(from, &min, &coded->max_height);
}

/* A codec is no enemy: it keeps what video-codec.h promises, but no more. */
static void make_codec(VideoCodecCaps *codec, TlvReader *from, uint8_t byte)
{
    codec->n_raws = 1 + byte % ARRAY_SIZE(codec->raws);
    codec->n_decoders = (byte >> 3) % 4;
    codec->n_encoders = byte >> 5;
    for (unsigned i = 0; i < codec->n_raws; i++) {
        codec->raws[i] = next_word(from);
    }
    for (unsigned i = 0; i < codec->n_decoders; i++) {
        make_coded(&codec->decoders[i], i, codec->n_raws, from);
    }
    for (unsigned i = 0; i < codec->n_encoders; i++) {
        VideoCodedCaps *coded = &codec->encoders[i];

        make_coded(coded, i, codec->n_raws, from);
        coded->size_step = 1 << next_word(from) % 5;
        coded->min_width = MIN(16, coded->max_width);
        coded->min_height = MIN(16, coded->max_height);
        for (VideoControl id = 0; id < VIDEO_CONTROL__MAX; id++) {
            make_control(coded, id, from);
        }
    }
}

/* How many of the raw formats go with a coded format that is there */
static unsigned count_raws(const TlvCaps *caps)
{
    uint32_t used = 0;

    for (unsigned i = 0; caps->decoder && i < caps->codec->n_decoders; i++) {
        used |= caps->codec->decoders[i].raw_mask;
    }
    for (unsigned i = 0; caps->encoder && i < caps->codec->n_encoders; i++) {
        used |= caps->codec->encoders[i].raw_mask;
    }
    return ctpop32(used);
}

/* Every TLV is whole, down to those in sets. Returns: how many there are */
static unsigned check_caps(const uint8_t *data, size_t size, unsigned depth)
{
    TlvReader reader = { data, size };
    unsigned n = 0;
    Tlv tlv;
    int ret;

    while ((ret = tlv_read(&reader, &tlv, NULL)) == 1) {
        n++;
        if (tlv.type == VIRTIO_VIDEO_TLV_CODED_SET ||
            tlv.type == VIRTIO_VIDEO_TLV_RAW_SET) {
            CHECK(!depth);
            CHECK(check_caps(tlv.value, tlv.length, depth + 1));
        } else if (tlv.type == VIRTIO_VIDEO_TLV_V4L2_CONTROLS) {
            CHECK(depth == 1);
            check_caps(tlv.value, tlv.length, depth + 1);
        }
    }
    CHECK(!ret);
    return n;
}

static void fuzz_caps(const uint8_t *data, size_t size, const uint8_t *bytes)
{
    g_autoptr(GByteArray) buf = g_byte_array_new();
    g_autoptr(GByteArray) again = g_byte_array_new();
    TlvReader from = { data, size };
    VideoCodecCaps codec = { };
    TlvCaps caps = {
        .codec = &codec,
        .decoder = (bytes[1] & 3) != 2,         /* at least one */
        .encoder = bytes[1] & 2,
    };
    unsigned n, n_raw;

    make_codec(&codec, &from, bytes[0]);
    caps.max_width = next_word(&from);
    caps.max_height = next_word(&from);
    caps.max_coded_size = next_word(&from);
    caps.max_resources = next_word(&from);
    tlv_write_caps(buf, &caps);
    n = check_caps(buf->data, buf->len, 0);
    n_raw = n - (caps.decoder ? codec.n_decoders + 1 : 0) -
            (caps.encoder ? codec.n_encoders + 1 : 0);
    CHECK(n_raw >= count_raws(&caps) && n_raw <= 64);

    /* Appended behind what is there, and the same each time */
    g_byte_array_append(again, buf->data, buf->len);
    tlv_write_caps(again, &caps);
    CHECK(again->len == 2 * buf->len);
    CHECK(!memcmp(again->data + buf->len, buf->data, buf->len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree uint8_t *copy = NULL;

    if (size < PREFIX) {
        return 0;
    }
    /* A request is in memory of just its size: reading past it is seen */
    copy = g_memdup2(data + PREFIX, size - PREFIX);
    fuzz_params(copy, size - PREFIX, pick_limit(data[0]), pick_limit(data[1]));
    fuzz_caps(copy, size - PREFIX, data + 2);
    return 0;
}
