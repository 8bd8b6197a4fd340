/*
 * vvclient: what can be set on an encoder, by name
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_CONTROLS_H
#define VVCLIENT_CONTROLS_H

#include "libqos/virtio-video.h"

/* What the device's rate control counts on, as the draft has no frame rate */
#define VV_DEVICE_FPS 30

typedef enum VVControl {
    VV_BITRATE,
    VV_PROFILE,
    VV_LEVEL,
    VV_BITRATE_MODE,
    VV_GOP,
    VV_B_FRAMES,
    VV_FORCE_KEY,
    VV_MIN_QP,
    VV_MAX_QP,
    VV_PREPEND_HEADERS,
    VV_CONTROL__MAX,
} VVControl;

/* The device has it only with x-controls=on: it is not in the draft */
static inline bool vv_control_extended(VVControl control)
{
    return control > VV_LEVEL;
}

/* Its values are a list of names */
static inline bool vv_control_is_menu(VVControl control)
{
    return control == VV_PROFILE || control == VV_LEVEL ||
           control == VV_BITRATE_MODE;
}

/* "bitrate", "b-frames" and so on, as options and --set have them */
const char *vv_control_name(VVControl control);
/* V4L2_CID_* of @control for a coded format; 0: that has none */
uint32_t vv_control_id(VVControl control, uint32_t format);
/* The way back; VV_CONTROL__MAX: unknown */
VVControl vv_control_of(uint32_t id, uint32_t format);
/* The name of a value of a menu, or NULL */
const char *vv_control_value_name(VVControl control, uint32_t format,
                                  uint32_t value);

/**
 * struct VVSetting - a control that gets a value
 * @frame: before which; @at_start: before the stream begins
 */
typedef struct VVSetting {
    uint64_t frame;
    bool at_start;
    VVControl control;
    uint32_t value;
} VVSetting;

/**
 * struct VVSettings - all of them, those of the start first
 * @format: the coded format
 * @list: of VVSetting, by frame
 */
typedef struct VVSettings {
    uint32_t format;
    GArray *list;
} VVSettings;

void vv_settings_init(VVSettings *s, uint32_t format);
void vv_settings_cleanup(VVSettings *s);
/* From a name and a text; the value of a bitrate may be 800k or 2M */
bool vv_settings_parse(VVSettings *s, bool at_start, uint64_t frame,
                       const char *name, const char *value, Error **errp);
void vv_settings_add(VVSettings *s, bool at_start, uint64_t frame,
                     VVControl control, uint32_t value);
/* Order by frame; those of one frame stay in the order they were given */
void vv_settings_sort(VVSettings *s);
bool vv_settings_extended(const VVSettings *s);
/* For a device that counts on VV_DEVICE_FPS */
void vv_settings_scale_bitrates(VVSettings *s, double fps);
/* False with @errp set if the encoder has no such control */
bool vv_settings_check(const VVSettings *s, const QVVCodedCaps *caps,
                       Error **errp);

/* V4L2_CONTROLS with the settings from @first to before @end */
void vv_settings_append(const VVSettings *s, GByteArray *set, unsigned first,
                        unsigned end);

#endif
