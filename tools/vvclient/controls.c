/*
 * vvclient: what can be set on an encoder, by name
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/ctype.h"
#include "qemu/cutils.h"
#include "controls.h"

#include <linux/v4l2-controls.h>

static const char *const vv_names[VV_CONTROL__MAX] = {
    [VV_BITRATE] = "bitrate",
    [VV_PROFILE] = "profile",
    [VV_LEVEL] = "level",
    [VV_BITRATE_MODE] = "bitrate-mode",
    [VV_GOP] = "gop",
    [VV_B_FRAMES] = "b-frames",
    [VV_FORCE_KEY] = "force-key",
    [VV_MIN_QP] = "min-qp",
    [VV_MAX_QP] = "max-qp",
    [VV_PREPEND_HEADERS] = "prepend-headers",
};

/* Names of values, numbered as in V4L2 */
static const char *const vv_h264_profiles[] = {
    "baseline", "constrained-baseline", "main", "extended", "high", "high10",
    "high422", "high444", "high10-intra", "high422-intra", "high444-intra",
    NULL
};
static const char *const vv_h264_levels[] = {
    "1", "1b", "1.1", "1.2", "1.3", "2", "2.1", "2.2", "3", "3.1", "3.2", "4",
    "4.1", "4.2", "5", "5.1", "5.2", "6", "6.1", "6.2", NULL
};
static const char *const vv_hevc_profiles[] = {
    "main", "main-still-picture", "main10", NULL
};
static const char *const vv_hevc_levels[] = {
    "1", "2", "2.1", "3", "3.1", "4", "4.1", "5", "5.1", "5.2", "6", "6.1",
    "6.2", NULL
};
static const char *const vv_mpeg2_profiles[] = {
    "simple", "main", "snr", "spatial", "high", "multiview", NULL
};
static const char *const vv_mpeg2_levels[] = {
    "low", "main", "high-1440", "high", NULL
};
static const char *const vv_mpeg4_profiles[] = {
    "simple", "advanced-simple", "core", "simple-scalable",
    "advanced-coding-efficiency", NULL
};
static const char *const vv_mpeg4_levels[] = {
    "0", "0b", "1", "2", "3", "3b", "4", "5", NULL
};
static const char *const vv_vpx_profiles[] = { "0", "1", "2", "3", NULL };
static const char *const vv_vp9_levels[] = {
    "1", "1.1", "2", "2.1", "3", "3.1", "4", "4.1", "5", "5.1", "5.2", "6",
    "6.1", "6.2", NULL
};
static const char *const vv_bitrate_modes[] = { "vbr", "cbr", NULL };

/* In the coded formats' own classes of controls */
static const struct {
    uint32_t format;            /* 0: all that are not listed themselves */
    VVControl control;
    uint32_t id;
    const char *const *values;
} vv_ids[] = {
    { 0, VV_BITRATE, V4L2_CID_MPEG_VIDEO_BITRATE },
    { 0, VV_BITRATE_MODE, V4L2_CID_MPEG_VIDEO_BITRATE_MODE,
      vv_bitrate_modes },
    { 0, VV_GOP, V4L2_CID_MPEG_VIDEO_GOP_SIZE },
    { 0, VV_B_FRAMES, V4L2_CID_MPEG_VIDEO_B_FRAMES },
    { 0, VV_FORCE_KEY, V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME },
    { 0, VV_PREPEND_HEADERS, V4L2_CID_MPEG_VIDEO_PREPEND_SPSPPS_TO_IDR },
    { VIRTIO_VIDEO_CODED_FORMAT_H264, VV_PROFILE,
      V4L2_CID_MPEG_VIDEO_H264_PROFILE, vv_h264_profiles },
    { VIRTIO_VIDEO_CODED_FORMAT_H264, VV_LEVEL,
      V4L2_CID_MPEG_VIDEO_H264_LEVEL, vv_h264_levels },
    { VIRTIO_VIDEO_CODED_FORMAT_H264, VV_MIN_QP,
      V4L2_CID_MPEG_VIDEO_H264_MIN_QP },
    { VIRTIO_VIDEO_CODED_FORMAT_H264, VV_MAX_QP,
      V4L2_CID_MPEG_VIDEO_H264_MAX_QP },
    { VIRTIO_VIDEO_CODED_FORMAT_HEVC, VV_PROFILE,
      V4L2_CID_MPEG_VIDEO_HEVC_PROFILE, vv_hevc_profiles },
    { VIRTIO_VIDEO_CODED_FORMAT_HEVC, VV_LEVEL,
      V4L2_CID_MPEG_VIDEO_HEVC_LEVEL, vv_hevc_levels },
    { VIRTIO_VIDEO_CODED_FORMAT_HEVC, VV_MIN_QP,
      V4L2_CID_MPEG_VIDEO_HEVC_MIN_QP },
    { VIRTIO_VIDEO_CODED_FORMAT_HEVC, VV_MAX_QP,
      V4L2_CID_MPEG_VIDEO_HEVC_MAX_QP },
    { VIRTIO_VIDEO_CODED_FORMAT_VP8, VV_PROFILE,
      V4L2_CID_MPEG_VIDEO_VP8_PROFILE, vv_vpx_profiles },
    { VIRTIO_VIDEO_CODED_FORMAT_VP8, VV_MIN_QP,
      V4L2_CID_MPEG_VIDEO_VPX_MIN_QP },
    { VIRTIO_VIDEO_CODED_FORMAT_VP8, VV_MAX_QP,
      V4L2_CID_MPEG_VIDEO_VPX_MAX_QP },
    { VIRTIO_VIDEO_CODED_FORMAT_VP9, VV_PROFILE,
      V4L2_CID_MPEG_VIDEO_VP9_PROFILE, vv_vpx_profiles },
    { VIRTIO_VIDEO_CODED_FORMAT_VP9, VV_LEVEL,
      V4L2_CID_MPEG_VIDEO_VP9_LEVEL, vv_vp9_levels },
    { VIRTIO_VIDEO_CODED_FORMAT_VP9, VV_MIN_QP,
      V4L2_CID_MPEG_VIDEO_VPX_MIN_QP },
    { VIRTIO_VIDEO_CODED_FORMAT_VP9, VV_MAX_QP,
      V4L2_CID_MPEG_VIDEO_VPX_MAX_QP },
    { VIRTIO_VIDEO_CODED_FORMAT_MPEG2, VV_PROFILE,
      V4L2_CID_MPEG_VIDEO_MPEG2_PROFILE, vv_mpeg2_profiles },
    { VIRTIO_VIDEO_CODED_FORMAT_MPEG2, VV_LEVEL,
      V4L2_CID_MPEG_VIDEO_MPEG2_LEVEL, vv_mpeg2_levels },
    { VIRTIO_VIDEO_CODED_FORMAT_MPEG4, VV_PROFILE,
      V4L2_CID_MPEG_VIDEO_MPEG4_PROFILE, vv_mpeg4_profiles },
    { VIRTIO_VIDEO_CODED_FORMAT_MPEG4, VV_LEVEL,
      V4L2_CID_MPEG_VIDEO_MPEG4_LEVEL, vv_mpeg4_levels },
    { VIRTIO_VIDEO_CODED_FORMAT_MPEG4, VV_MIN_QP,
      V4L2_CID_MPEG_VIDEO_MPEG4_MIN_QP },
    { VIRTIO_VIDEO_CODED_FORMAT_MPEG4, VV_MAX_QP,
      V4L2_CID_MPEG_VIDEO_MPEG4_MAX_QP },
};

const char *vv_control_name(VVControl control)
{
    return vv_names[control];
}

/* Index into vv_ids, or -1 */
static int vv_find(VVControl control, uint32_t format)
{
    for (int i = 0; i < ARRAY_SIZE(vv_ids); i++) {
        if (vv_ids[i].control == control &&
            (!vv_ids[i].format || vv_ids[i].format == format)) {
            return i;
        }
    }
    return -1;
}

uint32_t vv_control_id(VVControl control, uint32_t format)
{
    int i = vv_find(control, format);

    return i < 0 ? 0 : vv_ids[i].id;
}

VVControl vv_control_of(uint32_t id, uint32_t format)
{
    for (int i = 0; i < ARRAY_SIZE(vv_ids); i++) {
        if (vv_ids[i].id == id &&
            (!vv_ids[i].format || vv_ids[i].format == format)) {
            return vv_ids[i].control;
        }
    }
    return VV_CONTROL__MAX;
}

const char *vv_control_value_name(VVControl control, uint32_t format,
                                  uint32_t value)
{
    int i = vv_find(control, format);

    if (i < 0 || !vv_ids[i].values) {
        return NULL;
    }
    for (uint32_t n = 0; vv_ids[i].values[n]; n++) {
        if (n == value) {
            return vv_ids[i].values[n];
        }
    }
    return NULL;
}

/*
 * Settings
 */

void vv_settings_init(VVSettings *s, uint32_t format)
{
    s->format = format;
    s->list = g_array_new(false, false, sizeof(VVSetting));
}

void vv_settings_cleanup(VVSettings *s)
{
    g_clear_pointer(&s->list, g_array_unref);
}

void vv_settings_add(VVSettings *s, bool at_start, uint64_t frame,
                     VVControl control, uint32_t value)
{
    VVSetting setting = {
        .frame = frame, .at_start = at_start, .control = control,
        .value = value,
    };

    g_array_append_val(s->list, setting);
}

/* 2M is two million bits a second, not 2 * 1024 * 1024 */
static bool vv_parse_bitrate(const char *text, uint32_t *value)
{
    char *end;
    double number = g_ascii_strtod(text, &end);

    if (end == text) {
        return false;
    }
    if (!strcmp(end, "k") || !strcmp(end, "K")) {
        number *= 1e3;
    } else if (!strcmp(end, "M")) {
        number *= 1e6;
    } else if (*end) {
        return false;
    }
    *value = number;
    return number >= 1 && number <= INT32_MAX;
}

/* "4.0" is the level "4" */
static bool vv_same_value(const char *text, const char *name)
{
    size_t len = strlen(name);

    return !g_ascii_strcasecmp(text, name) ||
           (qemu_isdigit(name[0]) && !strncmp(text, name, len) &&
            !strcmp(text + len, ".0"));
}

static bool vv_parse_menu(int index, const char *text, uint32_t *value,
                          Error **errp)
{
    g_autofree char *all = NULL;

    for (uint32_t i = 0; vv_ids[index].values[i]; i++) {
        if (vv_same_value(text, vv_ids[index].values[i])) {
            *value = i;
            return true;
        }
    }
    all = g_strjoinv(", ", (char **)vv_ids[index].values);
    error_setg(errp, "there is no %s '%s': it is one of %s",
               vv_names[vv_ids[index].control], text, all);
    return false;
}

bool vv_settings_parse(VVSettings *s, bool at_start, uint64_t frame,
                       const char *name, const char *value, Error **errp)
{
    VVControl control = 0;
    uint32_t number;
    bool ok;
    int i;

    while (control < VV_CONTROL__MAX && strcmp(vv_names[control], name)) {
        control++;
    }
    if (control == VV_CONTROL__MAX) {
        error_setg(errp, "there is no control '%s'", name);
        return false;
    }
    i = vv_find(control, s->format);
    if (i < 0) {
        error_setg(errp, "%s has no control '%s'",
                   qvv_coded_format_name(s->format), name);
        return false;
    }
    if (vv_ids[i].values) {
        ok = vv_parse_menu(i, value, &number, errp);
    } else {
        ok = control == VV_BITRATE ? vv_parse_bitrate(value, &number) :
                                     !qemu_strtoui(value, NULL, 0, &number);
        if (!ok) {
            error_setg(errp, "'%s' is no %s", value, name);
        }
    }
    if (ok) {
        vv_settings_add(s, at_start, frame, control, number);
    }
    return ok;
}

static gint vv_compare_settings(gconstpointer a, gconstpointer b)
{
    const VVSetting *x = a;
    const VVSetting *y = b;

    if (x->at_start != y->at_start) {
        return x->at_start ? -1 : 1;
    }
    return (x->frame > y->frame) - (x->frame < y->frame);
}

void vv_settings_sort(VVSettings *s)
{
    /* GLib's is stable */
    g_array_sort(s->list, vv_compare_settings);
}

bool vv_settings_extended(const VVSettings *s)
{
    for (unsigned i = 0; i < s->list->len; i++) {
        VVControl c = g_array_index(s->list, VVSetting, i).control;

        if (vv_control_extended(c)) {
            return true;
        }
    }
    return false;
}

void vv_settings_scale_bitrates(VVSettings *s, double fps)
{
    for (unsigned i = 0; i < s->list->len; i++) {
        VVSetting *setting = &g_array_index(s->list, VVSetting, i);

        if (setting->control == VV_BITRATE) {
            double value = setting->value * (double)VV_DEVICE_FPS / fps + 0.5;

            setting->value = MIN(value, INT32_MAX);
        }
    }
}

bool vv_settings_check(const VVSettings *s, const QVVCodedCaps *caps,
                       Error **errp)
{
    for (unsigned i = 0; i < s->list->len; i++) {
        VVControl control = g_array_index(s->list, VVSetting, i).control;
        uint32_t id = vv_control_id(control, s->format);
        bool found = false;

        for (unsigned j = 0; j < caps->n_controls; j++) {
            found |= caps->controls[j].id == id;
        }
        if (!found) {
            error_setg(errp, "the device's %s encoder has no control '%s'",
                       qvv_coded_format_name(s->format), vv_names[control]);
            return false;
        }
    }
    return true;
}

void vv_settings_append(const VVSettings *s, GByteArray *set, unsigned first,
                        unsigned end)
{
    g_autoptr(GByteArray) controls = g_byte_array_new();

    for (unsigned i = first; i < end; i++) {
        const VVSetting *setting = &g_array_index(s->list, VVSetting, i);
        uint8_t tlv[sizeof(struct virtio_video_tlv) + 4];

        stl_le_p(tlv, vv_control_id(setting->control, s->format));
        stl_le_p(tlv + 4, 4);
        /* An enum is a byte and three of padding: the same bytes */
        stl_le_p(tlv + 8, setting->value);
        g_byte_array_append(controls, tlv, sizeof(tlv));
    }
    if (controls->len) {
        qvv_set_tlv(set, VIRTIO_VIDEO_TLV_V4L2_CONTROLS, controls->data,
                    controls->len);
    }
}
