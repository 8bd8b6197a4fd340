/*
 * vvclient: what a device that speaks V4L2 can do
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "controls.h"
#include "media-caps.h"

/* Raw formats that QVVCaps.links have bits for */
#define VM_MAX_RAWS     64
#define VM_MAX_BUFFERS  32

static const uint32_t pixelformats[] = {
    [VIRTIO_VIDEO_CODED_FORMAT_MPEG2] = VM_PIX_FMT_MPEG2,
    [VIRTIO_VIDEO_CODED_FORMAT_MPEG4] = VM_PIX_FMT_MPEG4,
    [VIRTIO_VIDEO_CODED_FORMAT_H264] = VM_PIX_FMT_H264,
    [VIRTIO_VIDEO_CODED_FORMAT_HEVC] = VM_PIX_FMT_HEVC,
    [VIRTIO_VIDEO_CODED_FORMAT_VP8] = VM_PIX_FMT_VP8,
    [VIRTIO_VIDEO_CODED_FORMAT_VP9] = VM_PIX_FMT_VP9,
    [VIRTIO_VIDEO_CODED_FORMAT_AV1] = VM_PIX_FMT_AV1,
};

/* One query */
typedef struct MediaQuery {
    QVVDriver *d;
    uint32_t session;
    uint32_t coded_queue, raw_queue;
    bool encoder;
    QVVCaps *caps;
    char **why;
} MediaQuery;

uint32_t vv_media_pixelformat(uint32_t coded_format)
{
    return coded_format < ARRAY_SIZE(pixelformats) ?
           pixelformats[coded_format] : 0;
}

static bool G_GNUC_PRINTF(2, 3)
query_wrong(MediaQuery *q, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    *q->why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return false;
}

/* Does queue @type have a format number @index? */
static bool query_fmt(MediaQuery *q, uint32_t type, uint32_t index,
                      uint32_t *pixelformat)
{
    struct vm_fmtdesc desc = {
        .type = cpu_to_le32(type), .index = cpu_to_le32(index),
    };

    if (qvm_ioctl(q->d, q->session, VM_IOC_ENUM_FMT, &desc, sizeof(desc))) {
        return false;
    }
    *pixelformat = le32_to_cpu(desc.pixelformat);
    return true;
}

/*
 * Controls
 */

static uint32_t query_menu(MediaQuery *q, uint32_t id, uint32_t min,
                           uint32_t max)
{
    uint32_t mask = 0;

    for (uint32_t i = min; i <= max && i < 32; i++) {
        struct vm_querymenu menu = {
            .id = cpu_to_le32(id), .index = cpu_to_le32(i),
        };

        if (!qvm_ioctl(q->d, q->session, VM_IOC_QUERYMENU, &menu,
                       sizeof(menu))) {
            mask |= 1u << i;
        }
    }
    return mask;
}

static void query_control(MediaQuery *q, QVVCodedCaps *coded, uint32_t id)
{
    struct vm_queryctrl ctrl = { .id = cpu_to_le32(id) };
    QVVControlCaps *c = &coded->controls[coded->n_controls];

    if (qvm_ioctl(q->d, q->session, VM_IOC_QUERYCTRL, &ctrl, sizeof(ctrl)) ||
        (le32_to_cpu(ctrl.flags) & VM_CTRL_FLAG_INACTIVE)) {
        return;
    }
    *c = (QVVControlCaps) {
        .id = id,
        .range = {
            le32_to_cpu(ctrl.minimum), le32_to_cpu(ctrl.maximum),
            le32_to_cpu(ctrl.step),
        },
    };
    if (le32_to_cpu(ctrl.type) == VM_CTRL_TYPE_MENU) {
        c->mask = query_menu(q, id, c->range.min, c->range.max);
    }
    coded->n_controls++;
}

/*
 * Formats
 */

static void query_sizes(MediaQuery *q, uint32_t pixelformat, QVVRawCaps *raw)
{
    struct vm_frmsizeenum size = {
        .pixel_format = cpu_to_le32(pixelformat),
    };

    if (!qvm_ioctl(q->d, q->session, VM_IOC_ENUM_FRAMESIZES, &size,
                   sizeof(size))) {
        raw->width = (QVVRange) {
            le32_to_cpu(size.min_width), le32_to_cpu(size.max_width),
            le32_to_cpu(size.step_width),
        };
        raw->height = (QVVRange) {
            le32_to_cpu(size.min_height), le32_to_cpu(size.max_height),
            le32_to_cpu(size.step_height),
        };
    }
}

/* The bit of a raw format and its sizes; new ones are added to those known */
static uint64_t query_raw(MediaQuery *q, uint32_t fourcc)
{
    QVVCaps *caps = q->caps;
    QVVRawCaps raw = {
        .planes_layout_mask = VIRTIO_VIDEO_PLANES_LAYOUT_SINGLE_BUFFER,
        .fourcc = fourcc,
        .num_resources = { 1, VM_MAX_BUFFERS, 1 },
        .guest_pages = true,
        .crop = q->encoder,
    };
    unsigned i;

    query_sizes(q, fourcc, &raw);
    for (i = 0; i < caps->n_raw; i++) {
        const QVVRawCaps *known = &caps->raw[i];

        if (known->fourcc == fourcc &&
            !memcmp(&known->width, &raw.width, sizeof(raw.width)) &&
            !memcmp(&known->height, &raw.height, sizeof(raw.height))) {
            return 1ull << i;
        }
    }
    if (i == VM_MAX_RAWS) {
        return 0;
    }
    caps->raw[caps->n_raw++] = raw;
    return 1ull << i;
}

/* What there is while @coded is chosen */
static bool query_coded(MediaQuery *q, QVVCodedCaps *coded, uint64_t *links)
{
    const uint32_t pixelformat = vv_media_pixelformat(coded->format);
    struct vm_pix_format_mplane pix = {
        .pixelformat = cpu_to_le32(pixelformat),
    };
    uint32_t fourcc;

    if (qvm_s_fmt(q->d, q->session, q->coded_queue, &pix) ||
        le32_to_cpu(pix.pixelformat) != pixelformat) {
        return query_wrong(q, "it offers %s and does not take it",
                           qvv_coded_format_name(coded->format));
    }
    for (uint32_t i = 0; query_fmt(q, q->raw_queue, i, &fourcc); i++) {
        *links |= query_raw(q, fourcc);
    }
    for (VVControl i = 0; q->encoder && i < VV_CONTROL__MAX; i++) {
        uint32_t id = vv_control_id(i, coded->format);

        if (id) {
            query_control(q, coded, id);
        }
    }
    return true;
}

static bool query_all(MediaQuery *q)
{
    const uint32_t direction = q->encoder ? VIRTIO_VIDEO_STREAM_TYPE_ENCODER :
                                            VIRTIO_VIDEO_STREAM_TYPE_DECODER;
    QVVCaps *caps = q->caps;
    uint32_t pixelformat;

    caps->coded = g_new0(QVVCodedCaps, ARRAY_SIZE(pixelformats));
    caps->raw = g_new0(QVVRawCaps, VM_MAX_RAWS);
    caps->links[direction] = g_new0(uint64_t, ARRAY_SIZE(pixelformats));
    caps->has_link[direction] = true;
    for (uint32_t i = 0; query_fmt(q, q->coded_queue, i, &pixelformat); i++) {
        for (unsigned j = 0; j < ARRAY_SIZE(pixelformats); j++) {
            if (pixelformats[j] == pixelformat &&
                !qvv_caps_coded(caps, j)) {
                caps->coded[caps->n_coded++] = (QVVCodedCaps) {
                    .format = j,
                    .num_resources = { 1, VM_MAX_BUFFERS, 1 },
                    .resource_size = { 1, UINT32_MAX, 1 },
                    .guest_pages = true,
                };
            }
        }
    }
    for (unsigned i = 0; i < caps->n_coded; i++) {
        if (!query_coded(q, &caps->coded[i], &caps->links[direction][i])) {
            return false;
        }
    }
    return caps->n_coded || query_wrong(q, "it has no coded format");
}

QVVCaps *vv_media_query_caps(QVVDriver *d, bool encoder, char **why)
{
    MediaQuery q = {
        .d = d,
        .coded_queue = encoder ? QVM_CAPTURE : QVM_OUTPUT,
        .raw_queue = encoder ? QVM_OUTPUT : QVM_CAPTURE,
        .encoder = encoder,
        .why = why,
    };
    bool ok;

    if (qvm_open(d, &q.session)) {
        query_wrong(&q, "no session can be opened");
        return NULL;
    }
    q.caps = g_new0(QVVCaps, 1);
    ok = query_all(&q);
    if (qvm_close(d, q.session) && ok) {
        ok = query_wrong(&q, "CLOSE was not answered");
    }
    if (!ok) {
        g_clear_pointer(&q.caps, qvv_caps_free);
    }
    return q.caps;
}
