/*
 * Parameters of a stream, whatever the protocol
 *
 * Pure functions, any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/host-utils.h"
#include "params.h"

static void param_clear(void *data)
{
    VideoParam *param = data;

    if (param->type == VIDEO_PARAM_RESOURCE) {
        g_free(param->attach.entries);
    }
}

VideoParams *video_params_new(VideoSet set)
{
    VideoParams *params = g_new0(VideoParams, 1);

    params->set = set;
    params->params = g_array_new(false, false, sizeof(VideoParam));
    g_array_set_clear_func(params->params, param_clear);
    return params;
}

void video_params_free(VideoParams *params)
{
    g_array_unref(params->params);
    g_free(params);
}

VideoParam *video_params_get(const VideoParams *params, guint i)
{
    return &g_array_index(params->params, VideoParam, i);
}

void video_params_add(VideoParams *params, VideoParam param)
{
    g_array_append_val(params->params, param);
}

size_t video_params_host_bytes(const VideoParams *params)
{
    size_t bytes = sizeof(*params) + params->params->len * sizeof(VideoParam);

    for (guint i = 0; i < params->params->len; i++) {
        const VideoParam *param = video_params_get(params, i);

        if (param->type == VIDEO_PARAM_RESOURCE) {
            for (unsigned b = 0; b < param->attach.n_buffers; b++) {
                bytes += param->attach.num_entries[b] * sizeof(VideoMemEntry);
            }
        }
    }
    return bytes;
}

bool video_control_is_menu(VideoControl id)
{
    return id == VIDEO_CONTROL_PROFILE || id == VIDEO_CONTROL_LEVEL ||
           id == VIDEO_CONTROL_BITRATE_MODE;
}

uint32_t video_control_closest(VideoControl id, const VideoControlCaps *caps,
                               uint32_t value)
{
    uint32_t lower;

    if (!video_control_is_menu(id)) {
        return MIN(MAX(value, caps->min), caps->max);
    }
    lower = value < 31 ? caps->menu & MAKE_64BIT_MASK(0, value + 1) :
                         caps->menu;
    return lower ? 31 - clz32(lower) : ctz32(caps->menu);
}
