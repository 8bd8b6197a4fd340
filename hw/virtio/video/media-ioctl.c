/*
 * Virtio media: which ioctl is what
 *
 * The payload of an ioctl is a private copy; what is said of its size is
 * checked here, what it says in the files that do it.  Runs in the device's
 * context with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "media.h"

/*
 * Buffers: v4l2_buffer, its planes, and the memory of USERPTR behind them
 */

static int ioctl_buffer(MediaIoctl *io)
{
    struct vm_buffer *b = (void *)io->payload;
    struct vm_plane *planes = (void *)(io->payload + sizeof(*b));
    size_t left = io->size - sizeof(*b);
    uint32_t n = le32_to_cpu(b->length);
    const struct virtio_media_sg_entry *sg;

    if (n > VM_MAX_PLANES || n * sizeof(*planes) > left) {
        return VM_EINVAL;
    }
    io->answer = sizeof(*b) + n * sizeof(*planes);
    left -= n * sizeof(*planes);
    sg = (const void *)&planes[n];

    if (io->code == VM_IOC_QUERYBUF) {
        return media_querybuf(io->s, b, n ? planes : NULL);
    }
    return media_qbuf(io->s, b, n ? planes : NULL, sg, left / sizeof(*sg),
                      io->code == VM_IOC_PREPARE_BUF);
}

/* v4l2_ext_controls, and the controls behind them: how many are there? */
static uint32_t ext_ctrls_present(const MediaIoctl *io)
{
    return (io->size - sizeof(struct vm_ext_controls)) /
           sizeof(struct vm_ext_control);
}

static int ioctl_ext_ctrls(MediaIoctl *io)
{
    struct vm_ext_controls *ec = (void *)io->payload;
    struct vm_ext_control *c = (void *)(io->payload + sizeof(*ec));
    uint32_t n = le32_to_cpu(ec->count);

    if (n > VM_CID_MAX_CTRLS || n > ext_ctrls_present(io)) {
        return VM_EINVAL;
    }
    return media_ext_ctrls(io->s, io->code, ec, c, n);
}

static int ioctl_reqbufs(MediaIoctl *io)
{
    io->settle = true;
    return media_reqbufs(io->s, (void *)io->payload);
}

static int ioctl_create_bufs(MediaIoctl *io)
{
    return media_create_bufs(io->s, (void *)io->payload);
}

static int ioctl_streaming(MediaIoctl *io)
{
    uint32_t type = ldl_le_p(io->payload);

    io->settle = io->code == VM_IOC_STREAMOFF;
    return io->code == VM_IOC_STREAMON ? media_streamon(io->s, type) :
                                         media_streamoff(io->s, type);
}

static int ioctl_codec_cmd(MediaIoctl *io)
{
    bool decoder = io->code == VM_IOC_DECODER_CMD ||
                   io->code == VM_IOC_TRY_DECODER_CMD;
    bool only_try = io->code == VM_IOC_TRY_DECODER_CMD ||
                    io->code == VM_IOC_TRY_ENCODER_CMD;
    uint32_t cmd = ldl_le_p(io->payload);

    if (decoder != media_is_decoder(io->s)) {
        return VM_ENOTTY;
    }
    /* Flags and details are those of tape recorders: there are none */
    memset(io->payload + sizeof(cmd), 0, io->size - sizeof(cmd));
    return media_codec_cmd(io->s, cmd, only_try);
}

/*
 * Formats and what belongs to them
 */

static int ioctl_enum_fmt(MediaIoctl *io)
{
    return media_enum_fmt(io->s, (void *)io->payload);
}

static int ioctl_fmt(MediaIoctl *io)
{
    struct vm_format *format = (void *)io->payload;

    switch (io->code) {
    case VM_IOC_G_FMT:
        return media_g_fmt(io->s, format);
    case VM_IOC_S_FMT:
        return media_s_fmt(io->s, format);
    default:
        return media_try_fmt(io->s, format);
    }
}

static int ioctl_enum_framesizes(MediaIoctl *io)
{
    return media_enum_framesizes(io->s, (void *)io->payload);
}

static int ioctl_enum_frameintervals(MediaIoctl *io)
{
    return media_enum_frameintervals(io->s, (void *)io->payload);
}

static int ioctl_selection(MediaIoctl *io)
{
    return media_selection(io->s, (void *)io->payload,
                           io->code == VM_IOC_S_SELECTION);
}

static int ioctl_parm(MediaIoctl *io)
{
    return media_parm(io->s, (void *)io->payload, io->code == VM_IOC_S_PARM);
}

/*
 * Controls
 */

static int ioctl_queryctrl(MediaIoctl *io)
{
    return media_queryctrl(io->s, (void *)io->payload);
}

static int ioctl_query_ext_ctrl(MediaIoctl *io)
{
    return media_query_ext_ctrl(io->s, (void *)io->payload);
}

static int ioctl_querymenu(MediaIoctl *io)
{
    return media_querymenu(io->s, (void *)io->payload);
}

static int ioctl_ctrl(MediaIoctl *io)
{
    struct vm_control *c = (void *)io->payload;

    return io->code == VM_IOC_G_CTRL ? media_g_ctrl(io->s, c) :
                                       media_s_ctrl(io->s, c);
}

/*
 * Events
 */

static bool sub_equal(const struct vm_event_subscription *a,
                      const struct vm_event_subscription *b)
{
    return a->type == b->type && a->id == b->id;
}

static int ioctl_unsubscribe(MediaIoctl *io)
{
    const struct vm_event_subscription *payload = (const void *)io->payload;
    struct vm_event_subscription sub = {
        .type = le32_to_cpu(payload->type),
        .id = le32_to_cpu(payload->id),
    };
    GArray *subs = io->s->subscriptions;

    for (guint i = subs->len; i--; ) {
        if (sub.type == VM_EVENT_ALL ||
            sub_equal(&sub, &g_array_index(subs, struct vm_event_subscription,
                                           i))) {
            g_array_remove_index(subs, i);
        }
    }
    return 0;
}

static int ioctl_subscribe(MediaIoctl *io)
{
    const struct vm_event_subscription *payload = (const void *)io->payload;
    struct vm_event_subscription sub = {
        .type = le32_to_cpu(payload->type),
        .id = le32_to_cpu(payload->id),
        .flags = le32_to_cpu(payload->flags),
    };
    struct vm_event event = { };

    switch (sub.type) {
    case VM_EVENT_EOS:
        break;
    case VM_EVENT_SOURCE_CHANGE:
        if (!media_is_decoder(io->s)) {
            return VM_EINVAL;
        }
        break;
    case VM_EVENT_CTRL:
        if (!media_control_event(io->s, sub.id, &event)) {
            return VM_EINVAL;
        }
        break;
    default:
        return VM_EINVAL;
    }
    ioctl_unsubscribe(io);
    if (io->s->subscriptions->len >= MEDIA_MAX_SUBSCRIPTIONS) {
        return VM_ENOMEM;
    }
    g_array_append_val(io->s->subscriptions, sub);
    if (sub.type == VM_EVENT_CTRL &&
        event.ctrl.type != cpu_to_le32(VM_CTRL_TYPE_CTRL_CLASS) &&
        (sub.flags & VM_EVENT_SUB_FL_SEND_INITIAL)) {
        /* The guest looks for it as soon as it has the answer */
        media_event(io->s, sub.type, sub.id, &event);
        video_device_flush_events(io->s->m->dev);
    }
    return 0;
}

/*
 * All of them
 */

/*
 * @size: of the payload, at least
 * @answer: it is also that of the answer
 * @idle: also of a session whose stream has failed
 */
static const struct IoctlInfo {
    uint32_t code;
    size_t size;
    int (*handler)(MediaIoctl *io);
    bool no_answer;
    bool idle;
} ioctl_infos[] = {
    { VM_IOC_ENUM_FMT, sizeof(struct vm_fmtdesc), ioctl_enum_fmt },
    { VM_IOC_G_FMT, sizeof(struct vm_format), ioctl_fmt },
    { VM_IOC_S_FMT, sizeof(struct vm_format), ioctl_fmt },
    { VM_IOC_TRY_FMT, sizeof(struct vm_format), ioctl_fmt },
    { VM_IOC_REQBUFS, sizeof(struct vm_requestbuffers), ioctl_reqbufs,
      .idle = true },
    { VM_IOC_QUERYBUF, sizeof(struct vm_buffer), ioctl_buffer, .idle = true },
    { VM_IOC_QBUF, sizeof(struct vm_buffer), ioctl_buffer, .idle = true },
    { VM_IOC_PREPARE_BUF, sizeof(struct vm_buffer), ioctl_buffer,
      .idle = true },
    { VM_IOC_CREATE_BUFS, sizeof(struct vm_create_buffers),
      ioctl_create_bufs },
    { VM_IOC_STREAMON, sizeof(uint32_t), ioctl_streaming, .no_answer = true,
      .idle = true },
    { VM_IOC_STREAMOFF, sizeof(uint32_t), ioctl_streaming, .no_answer = true,
      .idle = true },
    { VM_IOC_DECODER_CMD, sizeof(struct vm_decoder_cmd), ioctl_codec_cmd },
    { VM_IOC_TRY_DECODER_CMD, sizeof(struct vm_decoder_cmd),
      ioctl_codec_cmd },
    { VM_IOC_ENCODER_CMD, sizeof(struct vm_encoder_cmd), ioctl_codec_cmd },
    { VM_IOC_TRY_ENCODER_CMD, sizeof(struct vm_encoder_cmd),
      ioctl_codec_cmd },
    { VM_IOC_ENUM_FRAMESIZES, sizeof(struct vm_frmsizeenum),
      ioctl_enum_framesizes },
    { VM_IOC_ENUM_FRAMEINTERVALS, sizeof(struct vm_frmivalenum),
      ioctl_enum_frameintervals },
    { VM_IOC_G_SELECTION, sizeof(struct vm_selection), ioctl_selection },
    { VM_IOC_S_SELECTION, sizeof(struct vm_selection), ioctl_selection },
    { VM_IOC_G_PARM, sizeof(struct vm_streamparm), ioctl_parm },
    { VM_IOC_S_PARM, sizeof(struct vm_streamparm), ioctl_parm },
    { VM_IOC_G_CTRL, sizeof(struct vm_control), ioctl_ctrl },
    { VM_IOC_S_CTRL, sizeof(struct vm_control), ioctl_ctrl },
    { VM_IOC_QUERYCTRL, sizeof(struct vm_queryctrl), ioctl_queryctrl },
    { VM_IOC_QUERYMENU, sizeof(struct vm_querymenu), ioctl_querymenu },
    { VM_IOC_QUERY_EXT_CTRL, sizeof(struct vm_query_ext_ctrl),
      ioctl_query_ext_ctrl },
    { VM_IOC_G_EXT_CTRLS, sizeof(struct vm_ext_controls), ioctl_ext_ctrls },
    { VM_IOC_S_EXT_CTRLS, sizeof(struct vm_ext_controls), ioctl_ext_ctrls },
    { VM_IOC_TRY_EXT_CTRLS, sizeof(struct vm_ext_controls), ioctl_ext_ctrls },
    { VM_IOC_SUBSCRIBE_EVENT, sizeof(struct vm_event_subscription),
      ioctl_subscribe, .no_answer = true },
    { VM_IOC_UNSUBSCRIBE_EVENT, sizeof(struct vm_event_subscription),
      ioctl_unsubscribe, .no_answer = true, .idle = true },
};

static const struct IoctlInfo *ioctl_find(uint32_t code)
{
    for (unsigned i = 0; i < ARRAY_SIZE(ioctl_infos); i++) {
        if (ioctl_infos[i].code == code) {
            return &ioctl_infos[i];
        }
    }
    return NULL;
}

/* Bytes that the guest must have room for, before anything is done */
static size_t ioctl_answer_size(const MediaIoctl *io,
                                const struct IoctlInfo *info)
{
    if (info->no_answer) {
        return 0;
    }
    if (info->handler == ioctl_buffer) {
        const struct vm_buffer *b = (const void *)io->payload;

        return sizeof(*b) + MIN(le32_to_cpu(b->length), VM_MAX_PLANES) *
               sizeof(struct vm_plane);
    }
    if (info->handler == ioctl_ext_ctrls) {
        const struct vm_ext_controls *ec = (const void *)io->payload;

        return sizeof(*ec) + MIN(le32_to_cpu(ec->count), ext_ctrls_present(io))
               * sizeof(struct vm_ext_control);
    }
    return info->size;
}

int media_ioctl(MediaIoctl *io, size_t room)
{
    const struct IoctlInfo *info = ioctl_find(io->code);

    if (!info) {
        return VM_ENOTTY;
    }
    if (io->size < info->size) {
        media_guest_error(io->s, "ioctl %u with %zu bytes, not %zu", io->code,
                          io->size, info->size);
        return VM_EINVAL;
    }
    io->answer = ioctl_answer_size(io, info);
    if (room < io->answer) {
        media_guest_error(io->s, "ioctl %u has room for %zu bytes, not %zu",
                          io->code, room, io->answer);
        return VM_EINVAL;
    }
    /* The guest's driver wants error_idx, and takes less for EINVAL */
    io->answer_always = info->handler == ioctl_ext_ctrls;
    if (!media_is_alive(io->s) && !info->idle) {
        return VM_EIO;
    }
    return info->handler(io);
}
