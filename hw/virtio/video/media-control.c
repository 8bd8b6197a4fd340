/*
 * Virtio media: controls
 *
 * A decoder has one, which says how many buffers it needs; an encoder has those
 * of its codec, for whatever coded formats they are.  The stream knows only
 * those of its present coded format: the others are inactive, and what the
 * guest chose for them is kept here.  Runs in the device's context with the BQL
 * held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/host-utils.h"
#include "hw/virtio/virtio-video-wire.h"
#include "control.h"
#include "media.h"

/* What has no VideoControl */
typedef enum ControlKind {
    CONTROL_CODEC,
    CONTROL_CLASS,
    CONTROL_MIN_BUFFERS,
} ControlKind;

#define DECODER (1 << VIDEO_DECODE)
#define ENCODER (1 << VIDEO_ENCODE)

static const char *const h264_profiles[] = {
    "Baseline", "Constrained Baseline", "Main", "Extended", "High", "High 10",
    "High 422", "High 444 Predictive", "High 10 Intra", "High 422 Intra",
    "High 444 Intra", "CAVLC 444 Intra", "Scalable Baseline",
    "Scalable High", "Scalable High Intra", "Stereo High",
    "Multiview High", "Constrained High", NULL
};
static const char *const h264_levels[] = {
    "1", "1b", "1.1", "1.2", "1.3", "2", "2.1", "2.2", "3", "3.1", "3.2", "4",
    "4.1", "4.2", "5", "5.1", "5.2", "6.0", "6.1", "6.2", NULL
};
static const char *const hevc_profiles[] = {
    "Main", "Main Still Picture", "Main 10", NULL
};
static const char *const hevc_levels[] = {
    "1", "2", "2.1", "3", "3.1", "4", "4.1", "5", "5.1", "5.2", "6", "6.1",
    "6.2", NULL
};
static const char *const vpx_profiles[] = { "0", "1", "2", "3", NULL };
static const char *const vp9_levels[] = {
    "1", "1.1", "2", "2.1", "3", "3.1", "4", "4.1", "5", "5.1", "5.2", "6",
    "6.1", "6.2", NULL
};
static const char *const mpeg2_profiles[] = {
    "Simple", "Main", "SNR Scalable", "Spatially Scalable", "High",
    "Multiview", NULL
};
static const char *const mpeg2_levels[] = {
    "Low", "Main", "High 1440", "High", NULL
};
static const char *const mpeg4_profiles[] = {
    "Simple", "Advanced Simple", "Core", "Simple Scalable",
    "Advanced Coding Efficiency", NULL
};
static const char *const mpeg4_levels[] = {
    "0", "0b", "1", "2", "3", "3b", "4", "5", NULL
};
static const char *const bitrate_modes[] = {
    "Variable Bitrate", "Constant Bitrate", "Constant Quality", NULL
};

/*
 * All controls by their ids.  Those of a codec are found with their id by
 * video_control_find_cid().
 */
static const struct MediaControl {
    uint32_t id;
    ControlKind kind;
    unsigned directions;
    uint32_t type;
    const char *name;
    const char *const *menu;
} controls[] = {
    { VM_CID_USER_CLASS, CONTROL_CLASS, DECODER | ENCODER,
      VM_CTRL_TYPE_CTRL_CLASS, "User Controls" },
    { VM_CID_MIN_BUFFERS_FOR_CAPTURE, CONTROL_MIN_BUFFERS, DECODER,
      VM_CTRL_TYPE_INTEGER, "Min Number of Capture Buffers" },
    { VM_CID_MIN_BUFFERS_FOR_OUTPUT, CONTROL_MIN_BUFFERS, ENCODER,
      VM_CTRL_TYPE_INTEGER, "Min Number of Output Buffers" },
    { VM_CID_CODEC_CLASS, CONTROL_CLASS, ENCODER, VM_CTRL_TYPE_CTRL_CLASS,
      "Codec Controls" },
    { VIRTIO_VIDEO_V4L2_CID_B_FRAMES, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_INTEGER, "Video B Frames" },
    { VIRTIO_VIDEO_V4L2_CID_GOP_SIZE, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_INTEGER, "Video GOP Size" },
    { VIRTIO_VIDEO_V4L2_CID_BITRATE_MODE, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "Video Bitrate Mode", bitrate_modes },
    { VIRTIO_VIDEO_V4L2_CID_BITRATE, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_INTEGER, "Video Bitrate" },
    { VIRTIO_VIDEO_V4L2_CID_FORCE_KEY_FRAME, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_BUTTON, "Force Key Frame" },
    { VIRTIO_VIDEO_V4L2_CID_MPEG2_LEVEL, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "MPEG2 Level", mpeg2_levels },
    { VIRTIO_VIDEO_V4L2_CID_MPEG2_PROFILE, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "MPEG2 Profile", mpeg2_profiles },
    { VIRTIO_VIDEO_V4L2_CID_H264_MIN_QP, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_INTEGER, "H264 Minimum QP Value" },
    { VIRTIO_VIDEO_V4L2_CID_H264_MAX_QP, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_INTEGER, "H264 Maximum QP Value" },
    { VIRTIO_VIDEO_V4L2_CID_H264_LEVEL, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "H264 Level", h264_levels },
    { VIRTIO_VIDEO_V4L2_CID_H264_PROFILE, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "H264 Profile", h264_profiles },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_MIN_QP, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_INTEGER, "MPEG4 Minimum QP Value" },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_MAX_QP, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_INTEGER, "MPEG4 Maximum QP Value" },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_LEVEL, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "MPEG4 Level", mpeg4_levels },
    { VIRTIO_VIDEO_V4L2_CID_MPEG4_PROFILE, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "MPEG4 Profile", mpeg4_profiles },
    { VIRTIO_VIDEO_V4L2_CID_VPX_MIN_QP, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_INTEGER, "VPX Minimum QP Value" },
    { VIRTIO_VIDEO_V4L2_CID_VPX_MAX_QP, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_INTEGER, "VPX Maximum QP Value" },
    { VIRTIO_VIDEO_V4L2_CID_VP8_PROFILE, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "VP8 Profile", vpx_profiles },
    { VIRTIO_VIDEO_V4L2_CID_VP9_PROFILE, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "VP9 Profile", vpx_profiles },
    { VIRTIO_VIDEO_V4L2_CID_VP9_LEVEL, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "VP9 Level", vp9_levels },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_MIN_QP, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_INTEGER, "HEVC Minimum QP Value" },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_MAX_QP, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_INTEGER, "HEVC Maximum QP Value" },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_PROFILE, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "HEVC Profile", hevc_profiles },
    { VIRTIO_VIDEO_V4L2_CID_HEVC_LEVEL, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_MENU, "HEVC Level", hevc_levels },
    { VIRTIO_VIDEO_V4L2_CID_PREPEND_SPSPPS_TO_IDR, CONTROL_CODEC, ENCODER,
      VM_CTRL_TYPE_BOOLEAN, "Prepend SPS/PPS to IDR" },
};

/* What a session has of a control */
typedef struct ControlState {
    const struct MediaControl *control;
    uint32_t flags;
    uint32_t min, max, step, def, value;
    uint32_t menu;              /* bit i: item i is there */
    bool current;               /* of the coded format that there is */
    VideoControl codec_control; /* CONTROL_CODEC */
    uint32_t formats;           /* CONTROL_CODEC */
} ControlState;

/*
 * The abilities behind a codec's control: with the present coded format, or
 * with the first that has it
 */
static const VideoControlCaps *control_caps(const MediaSession *s,
                                            ControlState *st)
{
    const VideoCodecCaps *caps = &s->m->dev->ctx.caps;
    const VideoControlCaps *found = NULL;
    VideoStreamInfo info;

    video_stream_get_info(media_stream(s), &info);
    for (unsigned i = 0; i < caps->n_encoders; i++) {
        const VideoCodedCaps *coded = &caps->encoders[i];
        const VideoControlCaps *c = &coded->controls[st->codec_control];

        if (!c->supported || !(st->formats & (1u << coded->format))) {
            continue;
        }
        if (coded->format == info.coded) {
            st->current = true;
            st->value = info.controls.value[st->codec_control];
            return c;
        }
        found = found ?: c;
    }
    return found;
}

static bool control_codec_state(const MediaSession *s, ControlState *st)
{
    const VideoControlInfo *info = video_control_find_cid(st->control->id);
    unsigned i = st->control - controls;
    const VideoControlCaps *caps;

    if (!info) {
        return false;
    }
    st->codec_control = info->control;
    st->formats = info->formats;
    caps = control_caps(s, st);
    if (!caps) {
        return false;
    }
    if (!st->current) {
        st->flags = VM_CTRL_FLAG_INACTIVE;
    }
    st->step = 1;
    if (video_control_is_menu(st->codec_control)) {
        st->menu = caps->menu;
        st->min = ctz32(caps->menu);
        st->max = 31 - clz32(caps->menu);
    } else if (st->control->type == VM_CTRL_TYPE_BUTTON) {
        st->flags |= VM_CTRL_FLAG_WRITE_ONLY | VM_CTRL_FLAG_EXECUTE_ON_WRITE;
        st->step = 0;
        return true;
    } else {
        st->min = caps->min;
        st->max = caps->max;
    }
    st->def = caps->def;
    if (!st->current) {
        st->value = s->chosen[i] ? s->values[i] : caps->def;
    }
    return true;
}

/* Returns: false if the session has no such control */
static bool control_state(const MediaSession *s, unsigned i, ControlState *st)
{
    *st = (ControlState) { .control = &controls[i] };
    if (!(controls[i].directions & (1 << s->m->direction))) {
        return false;
    }
    switch (controls[i].kind) {
    case CONTROL_CLASS:
        st->flags = VM_CTRL_FLAG_READ_ONLY | VM_CTRL_FLAG_WRITE_ONLY;
        return true;
    case CONTROL_MIN_BUFFERS:
        /* The codec's references are not the guest's buffers */
        st->flags = VM_CTRL_FLAG_READ_ONLY;
        st->min = st->step = st->def = st->value = 1;
        st->max = s->m->dev->ctx.max_resources;
        return true;
    default:
        return control_codec_state(s, st);
    }
}

static bool control_find(const MediaSession *s, uint32_t id, ControlState *st)
{
    for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
        if (controls[i].id == id) {
            return control_state(s, i, st);
        }
    }
    return false;
}

/* As QUERYCTRL has it: this one, or with a flag the next one */
static bool control_query(const MediaSession *s, uint32_t id, ControlState *st)
{
    uint32_t flags = id & (VM_CTRL_FLAG_NEXT_CTRL | VM_CTRL_FLAG_NEXT_COMPOUND);

    if (!flags) {
        return control_find(s, id, st);
    }
    if (!(flags & VM_CTRL_FLAG_NEXT_CTRL)) {
        return false;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
        if (controls[i].id > (id & VM_CTRL_ID_MASK) &&
            control_state(s, i, st)) {
            return true;
        }
    }
    return false;
}

void media_init_controls(MediaSession *s)
{
    s->values = g_new0(uint32_t, ARRAY_SIZE(controls));
    s->chosen = g_new0(bool, ARRAY_SIZE(controls));
}

void media_free_controls(MediaSession *s)
{
    g_free(s->values);
    g_free(s->chosen);
}

int media_queryctrl(MediaSession *s, struct vm_queryctrl *q)
{
    ControlState st;

    if (!control_query(s, le32_to_cpu(q->id), &st)) {
        return VM_EINVAL;
    }
    *q = (struct vm_queryctrl) {
        .id = cpu_to_le32(st.control->id),
        .type = cpu_to_le32(st.control->type),
        .minimum = cpu_to_le32(st.min),
        .maximum = cpu_to_le32(st.max),
        .step = cpu_to_le32(st.step),
        .default_value = cpu_to_le32(st.def),
        .flags = cpu_to_le32(st.flags),
    };
    pstrcpy((char *)q->name, sizeof(q->name), st.control->name);
    return 0;
}

int media_query_ext_ctrl(MediaSession *s, struct vm_query_ext_ctrl *q)
{
    ControlState st;

    if (!control_query(s, le32_to_cpu(q->id), &st)) {
        return VM_EINVAL;
    }
    *q = (struct vm_query_ext_ctrl) {
        .id = cpu_to_le32(st.control->id),
        .type = cpu_to_le32(st.control->type),
        .minimum = cpu_to_le64(st.min),
        .maximum = cpu_to_le64(st.max),
        .step = cpu_to_le64(st.step),
        .default_value = cpu_to_le64(st.def),
        .flags = cpu_to_le32(st.flags),
        .elem_size = cpu_to_le32(sizeof(uint32_t)),
        .elems = cpu_to_le32(1),
    };
    pstrcpy((char *)q->name, sizeof(q->name), st.control->name);
    return 0;
}

int media_querymenu(MediaSession *s, struct vm_querymenu *q)
{
    uint32_t index = le32_to_cpu(q->index);
    ControlState st;

    if (!control_find(s, le32_to_cpu(q->id), &st) || index > 31 ||
        !(st.menu & (1u << index))) {
        return VM_EINVAL;
    }
    memset(q->name, 0, sizeof(q->name));
    q->reserved = 0;
    if (index < g_strv_length((char **)st.control->menu)) {
        pstrcpy((char *)q->name, sizeof(q->name), st.control->menu[index]);
    } else {
        snprintf((char *)q->name, sizeof(q->name), "%u", index);
    }
    return 0;
}

/*
 * Values
 */

/* What @value becomes; returns 0 or VM_E* */
static int control_check(const ControlState *st, uint32_t *value)
{
    int32_t wanted = *value;

    if (st->flags & VM_CTRL_FLAG_READ_ONLY) {
        return VM_EACCES;
    }
    switch (st->control->type) {
    case VM_CTRL_TYPE_MENU:
        return *value < st->min || *value > st->max ? VM_ERANGE :
               st->menu & (1u << *value) ? 0 : VM_EINVAL;
    case VM_CTRL_TYPE_BOOLEAN:
        *value = !!wanted;
        return 0;
    case VM_CTRL_TYPE_BUTTON:
        *value = 1;
        return 0;
    default:
        *value = MIN(MAX(wanted, (int32_t)st->min), (int32_t)st->max);
        return 0;
    }
}

/* The stream may have too much to do, or no memory.  Returns: 0 or VM_E* */
static int session_send_controls(MediaSession *s, VideoParams *params)
{
    s->refused = false;
    video_stream_set_params(media_stream(s), params, false, 0);
    return s->refused ? VM_EBUSY : 0;
}

static void params_add_control(VideoParams *params, const ControlState *st,
                               uint32_t value)
{
    video_params_add(params, (VideoParam) {
        .type = VIDEO_PARAM_CONTROL,
        .control = {
            .id = st->codec_control,
            .formats = st->formats,
            .value = value,
        },
    });
}

uint64_t media_active_controls(const MediaSession *s)
{
    uint64_t active = 0;
    ControlState st;

    QEMU_BUILD_BUG_ON(ARRAY_SIZE(controls) > 64);
    for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
        if (control_state(s, i, &st) && !(st.flags & VM_CTRL_FLAG_INACTIVE)) {
            active |= 1ull << i;
        }
    }
    return active;
}

/* The session is told of flags whether it wants feedback or not, as by Linux */
static void controls_tell_flags(MediaSession *s, uint64_t changed)
{
    for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
        struct vm_event event = { };

        if ((changed & 1ull << i) &&
            media_control_event(s, controls[i].id, &event)) {
            event.ctrl.changes = cpu_to_le32(VM_EVENT_CTRL_CH_FLAGS);
            media_event(s, VM_EVENT_CTRL, controls[i].id, &event);
        }
    }
}

int media_apply_controls(MediaSession *s, uint64_t active)
{
    VideoParams *params = video_params_new(VIDEO_SET_CODED);
    ControlState st;
    int ret;

    for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
        if (s->chosen[i] && control_state(s, i, &st) && st.current) {
            params_add_control(params, &st, s->values[i]);
        }
    }
    ret = session_send_controls(s, params);
    controls_tell_flags(s, active ^ media_active_controls(s));
    return ret;
}

/* The session is told of what it changed itself only if it wants that */
static void control_changed(MediaSession *s, uint32_t id)
{
    for (guint i = 0; i < s->subscriptions->len; i++) {
        const struct vm_event_subscription *sub =
            &g_array_index(s->subscriptions, struct vm_event_subscription, i);

        if (sub->type == VM_EVENT_CTRL && sub->id == id &&
            (sub->flags & VM_EVENT_SUB_FL_ALLOW_FEEDBACK)) {
            struct vm_event event = { };

            media_control_event(s, id, &event);
            event.ctrl.changes = cpu_to_le32(VM_EVENT_CTRL_CH_VALUE);
            media_event(s, VM_EVENT_CTRL, id, &event);
        }
    }
}

/* Returns: 0, or VM_E* and nothing has changed */
static int control_set(MediaSession *s, const ControlState *st, uint32_t value)
{
    unsigned i = st->control - controls;

    if (st->current) {
        VideoParams *params = video_params_new(VIDEO_SET_CODED);
        int ret;

        params_add_control(params, st, value);
        ret = session_send_controls(s, params);
        if (ret) {
            return ret;
        }
    }
    if (st->control->type != VM_CTRL_TYPE_BUTTON) {
        s->values[i] = value;
        s->chosen[i] = true;
        if (value != st->value) {
            control_changed(s, st->control->id);
        }
    }
    return 0;
}

int media_g_ctrl(MediaSession *s, struct vm_control *c)
{
    ControlState st;

    if (!control_find(s, le32_to_cpu(c->id), &st)) {
        return VM_EINVAL;
    }
    if (st.flags & VM_CTRL_FLAG_WRITE_ONLY) {
        return VM_EACCES;
    }
    c->value = cpu_to_le32(st.value);
    return 0;
}

int media_s_ctrl(MediaSession *s, struct vm_control *c)
{
    uint32_t value = le32_to_cpu(c->value);
    ControlState st;
    int ret;

    if (!control_find(s, le32_to_cpu(c->id), &st)) {
        return VM_EINVAL;
    }
    ret = control_check(&st, &value);
    if (!ret) {
        c->value = cpu_to_le32(value);
        ret = control_set(s, &st, value);
    }
    return ret;
}

bool media_control_event(MediaSession *s, uint32_t id, struct vm_event *event)
{
    ControlState st;

    if (!control_find(s, id, &st)) {
        return false;
    }
    event->ctrl = (struct vm_event_ctrl) {
        .changes = cpu_to_le32(VM_EVENT_CTRL_CH_VALUE |
                               VM_EVENT_CTRL_CH_FLAGS),
        .type = cpu_to_le32(st.control->type),
        .value = cpu_to_le64(st.value),
        .flags = cpu_to_le32(st.flags),
        .minimum = cpu_to_le32(st.min),
        .maximum = cpu_to_le32(st.max),
        .step = cpu_to_le32(st.step),
        .default_value = cpu_to_le32(st.def),
    };
    if (st.flags & VM_CTRL_FLAG_WRITE_ONLY) {
        event->ctrl.changes = cpu_to_le32(VM_EVENT_CTRL_CH_FLAGS);
    }
    return true;
}

/*
 * Many at once
 */

/* Check control @c of a list: what it is, and when it is set, its value */
static int ext_check(MediaSession *s, uint32_t code, uint32_t which,
                     struct vm_ext_control *c, ControlState *st)
{
    uint32_t id = le32_to_cpu(c->id);
    uint32_t value = le64_to_cpu(c->value);
    int ret;

    if ((which != VM_CTRL_WHICH_CUR_VAL && which != VM_CTRL_WHICH_DEF_VAL &&
         VM_CTRL_CLASS(id) != which) || !control_find(s, id, st)) {
        return VM_EINVAL;
    }
    if (code == VM_IOC_G_EXT_CTRLS) {
        return st->flags & VM_CTRL_FLAG_WRITE_ONLY ? VM_EACCES : 0;
    }
    ret = control_check(st, &value);
    if (!ret) {
        c->value = cpu_to_le64((uint64_t)value);
    }
    return ret;
}

static bool class_exists(MediaSession *s, uint32_t which)
{
    ControlState st;

    return control_find(s, which | 1, &st) &&
           st.control->kind == CONTROL_CLASS;
}

static int ext_check_which(MediaSession *s, uint32_t code, uint32_t which)
{
    if (which == VM_CTRL_WHICH_CUR_VAL) {
        return 0;
    }
    if (which == VM_CTRL_WHICH_DEF_VAL) {
        return code == VM_IOC_G_EXT_CTRLS ? 0 : VM_EINVAL;
    }
    return which == VM_CTRL_CLASS(which) && class_exists(s, which) ?
           0 : VM_EINVAL;
}

/*
 * Set checked controls of a list, each to the last value that it has there, as
 * V4L2 has it: so one command can make only so many events.
 *
 * Returns: 0, or VM_E* with @failed set to the one that could not be set
 */
static int ext_set(MediaSession *s, const struct vm_ext_control *c,
                   uint32_t n, uint32_t *failed)
{
    uint32_t last[ARRAY_SIZE(controls)];
    ControlState st;

    for (uint32_t i = 0; i < n; i++) {
        if (control_find(s, le32_to_cpu(c[i].id), &st)) {
            last[st.control - controls] = i;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        if (control_find(s, le32_to_cpu(c[i].id), &st) &&
            last[st.control - controls] == i) {
            int ret = control_set(s, &st, le64_to_cpu(c[i].value));

            if (ret) {
                *failed = i;
                return ret;
            }
        }
    }
    return 0;
}

int media_ext_ctrls(MediaSession *s, uint32_t code, struct vm_ext_controls *ec,
                    struct vm_ext_control *c, uint32_t n)
{
    uint32_t which = le32_to_cpu(ec->which);
    int ret = ext_check_which(s, code, which);
    ControlState st;

    ec->error_idx = cpu_to_le32(n);
    if (ret) {
        return ret;
    }
    for (uint32_t i = 0; i < n; i++) {
        ret = ext_check(s, code, which, &c[i], &st);
        if (ret) {
            /* Nothing has been done, and only who tries is told why */
            if (code == VM_IOC_TRY_EXT_CTRLS) {
                ec->error_idx = cpu_to_le32(i);
            }
            return ret;
        }
        if (code == VM_IOC_G_EXT_CTRLS) {
            c[i].value = cpu_to_le64((uint64_t)
                (which == VM_CTRL_WHICH_DEF_VAL ? st.def : st.value));
        }
    }
    if (code == VM_IOC_S_EXT_CTRLS) {
        uint32_t failed = n;

        ret = ext_set(s, c, n, &failed);
        ec->error_idx = cpu_to_le32(failed);
    }
    return ret;
}
