/*
 * vvclient: what words on the command line stand for
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "options.h"

VVGuestConfig vv_guest_options(const VVArgs *args)
{
    VVGuestConfig config = {
        .machine = args->machine,
        .transport = args->transport,
        .codec = args->codec,
        .ring = args->ring,
        .mmap = !g_strcmp0(args->memory, "mmap"),
        .unsealed = args->unsealed,
    };

    if (args->protocol) {
        vv_protocol_find(args->protocol, &config.protocol);
    }
    return config;
}

static const VVRawInfo vv_raws[] = {
    { "nv12", DRM_FORMAT_NV12, 8 },
    { "yu12", DRM_FORMAT_YUV420, 8 },
    { "p010", DRM_FORMAT_P010, 10 },
    { "xrgb", DRM_FORMAT_XRGB8888, 8, true },
};

const VVRawInfo *vv_find_raw(const char *name, Error **errp)
{
    for (int i = 0; i < ARRAY_SIZE(vv_raws); i++) {
        if (!strcmp(name, vv_raws[i].name)) {
            return &vv_raws[i];
        }
    }
    error_setg(errp, "there is no raw format '%s': it is nv12, yu12, p010 or "
               "xrgb", name);
    return NULL;
}

bool vv_parse_coded(const VVArgs *args, uint32_t *format, Error **errp)
{
    static const uint32_t formats[] = {
        VIRTIO_VIDEO_CODED_FORMAT_H264, VIRTIO_VIDEO_CODED_FORMAT_HEVC,
        VIRTIO_VIDEO_CODED_FORMAT_VP8, VIRTIO_VIDEO_CODED_FORMAT_VP9,
        VIRTIO_VIDEO_CODED_FORMAT_MPEG2, VIRTIO_VIDEO_CODED_FORMAT_MPEG4,
    };

    for (int i = 0; args->coded && i < ARRAY_SIZE(formats); i++) {
        if (!strcmp(args->coded, qvv_coded_format_name(formats[i]))) {
            *format = formats[i];
            return true;
        }
    }
    error_setg(errp, "say with -c what to encode to: h264, hevc, vp8, vp9, "
               "mpeg2 or mpeg4");
    return false;
}

bool vv_parse_frames(const char *option, const char *text, GArray *frames,
                     Error **errp)
{
    g_auto(GStrv) words = g_strsplit(text ?: "", ",", -1);

    for (int i = 0; words[i]; i++) {
        uint64_t frame;

        if (qemu_strtou64(words[i], NULL, 10, &frame) < 0) {
            error_setg(errp, "%s: '%s' is no number of a frame", option,
                       words[i]);
            return false;
        }
        g_array_append_val(frames, frame);
    }
    return true;
}

static bool vv_parse_force_key(const VVArgs *args, VVSettings *s,
                               Error **errp)
{
    g_autoptr(GArray) frames = g_array_new(false, false, sizeof(uint64_t));

    if (!vv_parse_frames("--force-key", args->force_key, frames, errp)) {
        return false;
    }
    for (unsigned i = 0; i < frames->len; i++) {
        vv_settings_add(s, false, g_array_index(frames, uint64_t, i),
                        VV_FORCE_KEY, 1);
    }
    return true;
}

/* FRAME:CONTROL=VALUE */
static bool vv_parse_set(const char *text, VVSettings *s, Error **errp)
{
    const char *colon = strchr(text, ':');
    const char *equals = colon ? strchr(colon, '=') : NULL;
    g_autofree char *number = NULL;
    g_autofree char *name = NULL;
    uint64_t frame;

    if (equals) {
        number = g_strndup(text, colon - text);
        name = g_strndup(colon + 1, equals - colon - 1);
    }
    if (!equals || qemu_strtou64(number, NULL, 10, &frame) < 0) {
        error_setg(errp, "--set: '%s' is not FRAME:CONTROL=VALUE", text);
        return false;
    }
    return vv_settings_parse(s, false, frame, name, equals + 1, errp);
}

bool vv_parse_settings(const VVArgs *args, uint32_t format, VVSettings *s,
                       Error **errp)
{
    const struct {
        VVControl control;
        const char *value;
    } options[] = {
        { VV_BITRATE, args->bitrate },
        { VV_PROFILE, args->profile },
        { VV_LEVEL, args->level },
        { VV_BITRATE_MODE, args->bitrate_mode },
        { VV_GOP, args->gop },
        { VV_B_FRAMES, args->b_frames },
        { VV_MIN_QP, args->min_qp },
        { VV_MAX_QP, args->max_qp },
        { VV_PREPEND_HEADERS, args->no_prepend ? "0" : NULL },
    };

    vv_settings_init(s, format);
    for (int i = 0; i < ARRAY_SIZE(options); i++) {
        if (options[i].value &&
            !vv_settings_parse(s, true, 0, vv_control_name(options[i].control),
                               options[i].value, errp)) {
            return false;
        }
    }
    if (!vv_parse_force_key(args, s, errp)) {
        return false;
    }
    for (int i = 0; args->set && args->set[i]; i++) {
        if (!vv_parse_set(args->set[i], s, errp)) {
            return false;
        }
    }
    vv_settings_sort(s);
    return true;
}
