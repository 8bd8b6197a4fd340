/*
 * libqos driver of virtio media
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "standard-headers/linux/pci_regs.h"
#include "standard-headers/linux/virtio_pci.h"
#include "qgraph.h"
#include "virtio-media.h"

/*
 * Commands
 */

/* @room: bytes that the answer must have if it is no error */
static int qvm_command(QVVDriver *d, const void *cmd, size_t size, void *resp,
                       size_t room, size_t *written)
{
    const struct virtio_media_resp_header *hdr = resp;
    int64_t used = qvv_cmd_raw(d, cmd, size, 0, resp, room, QVV_TIMEOUT_US);

    if (used < 0) {
        return QVM_NO_ANSWER;
    }
    if (written) {
        *written = used - MIN(used, sizeof(*hdr));
    }
    if (!room) {
        return 0;
    }
    if (used < sizeof(*hdr)) {
        return QVM_TOO_SHORT;
    }
    if (hdr->status) {
        return le32_to_cpu(hdr->status);
    }
    return used == room ? 0 : QVM_TOO_SHORT;
}

int qvm_open(QVVDriver *d, uint32_t *session)
{
    struct virtio_media_cmd_header cmd = {
        .cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_OPEN),
    };
    struct virtio_media_resp_open resp = { };
    int ret = qvm_command(d, &cmd, sizeof(cmd), &resp, sizeof(resp), NULL);

    *session = le32_to_cpu(resp.session_id);
    return ret;
}

int qvm_close(QVVDriver *d, uint32_t session)
{
    struct virtio_media_cmd_close cmd = {
        .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_CLOSE),
        .session_id = cpu_to_le32(session),
    };

    return qvm_command(d, &cmd, sizeof(cmd), NULL, 0, NULL);
}

int qvm_mmap_flags(QVVDriver *d, uint32_t session, uint32_t flags,
                   uint32_t offset, uint64_t *addr, uint64_t *len)
{
    struct virtio_media_cmd_mmap cmd = {
        .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_MMAP),
        .session_id = cpu_to_le32(session),
        .flags = cpu_to_le32(flags),
        .offset = cpu_to_le32(offset),
    };
    struct virtio_media_resp_mmap resp = { };
    int ret = qvm_command(d, &cmd, sizeof(cmd), &resp, sizeof(resp), NULL);

    *addr = le64_to_cpu(resp.driver_addr);
    *len = le64_to_cpu(resp.len);
    return ret;
}

int qvm_mmap(QVVDriver *d, uint32_t session, uint32_t offset, uint64_t *addr,
             uint64_t *len)
{
    return qvm_mmap_flags(d, session, VIRTIO_MEDIA_MMAP_FLAG_RW, offset, addr,
                          len);
}

int qvm_munmap(QVVDriver *d, uint64_t addr)
{
    struct virtio_media_cmd_munmap cmd = {
        .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_MUNMAP),
        .driver_addr = cpu_to_le64(addr),
    };
    struct virtio_media_resp_header resp = { };

    return qvm_command(d, &cmd, sizeof(cmd), &resp, sizeof(resp), NULL);
}

int qvm_ioctl_parts(QVVDriver *d, uint32_t session, uint32_t code,
                    const void *request, size_t request_size, void *answer,
                    size_t answer_size, size_t *written)
{
    struct virtio_media_cmd_ioctl cmd = {
        .hdr.cmd = cpu_to_le32(VIRTIO_MEDIA_CMD_IOCTL),
        .session_id = cpu_to_le32(session),
        .code = cpu_to_le32(code),
    };
    const size_t header = sizeof(struct virtio_media_resp_header);
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autofree uint8_t *resp = g_malloc0(header + answer_size);
    size_t n = 0;
    int ret;

    g_byte_array_append(bytes, (uint8_t *)&cmd, sizeof(cmd));
    g_byte_array_append(bytes, request, request_size);
    ret = qvm_command(d, bytes->data, bytes->len, resp, header + answer_size,
                      &n);
    if (n) {
        memcpy(answer, resp + header, n);
    }
    if (written) {
        *written = n;
    }
    return ret;
}

int qvm_ioctl(QVVDriver *d, uint32_t session, uint32_t code, void *payload,
              size_t size)
{
    return qvm_ioctl_parts(d, session, code, payload, size, payload, size,
                           NULL);
}

int qvm_ioctl_w(QVVDriver *d, uint32_t session, uint32_t code,
                const void *payload, size_t size)
{
    return qvm_ioctl_parts(d, session, code, payload, size, NULL, 0, NULL);
}

int qvm_subscribe(QVVDriver *d, uint32_t session, uint32_t type, uint32_t id,
                  uint32_t flags)
{
    struct vm_event_subscription sub = {
        .type = cpu_to_le32(type),
        .id = cpu_to_le32(id),
        .flags = cpu_to_le32(flags),
    };

    return qvm_ioctl_w(d, session, VM_IOC_SUBSCRIBE_EVENT, &sub, sizeof(sub));
}

static int qvm_fmt(QVVDriver *d, uint32_t session, uint32_t code,
                   uint32_t type, struct vm_pix_format_mplane *pix)
{
    struct vm_format format = { .type = cpu_to_le32(type) };
    int ret;

    format.pix_mp = *pix;
    ret = qvm_ioctl(d, session, code, &format, sizeof(format));
    *pix = format.pix_mp;
    return ret;
}

int qvm_s_fmt(QVVDriver *d, uint32_t session, uint32_t type,
              struct vm_pix_format_mplane *pix)
{
    return qvm_fmt(d, session, VM_IOC_S_FMT, type, pix);
}

int qvm_g_fmt(QVVDriver *d, uint32_t session, uint32_t type,
              struct vm_pix_format_mplane *pix)
{
    return qvm_fmt(d, session, VM_IOC_G_FMT, type, pix);
}

int qvm_reqbufs(QVVDriver *d, uint32_t session, uint32_t type,
                uint32_t memory, uint32_t *count)
{
    struct vm_requestbuffers req = {
        .count = cpu_to_le32(*count),
        .type = cpu_to_le32(type),
        .memory = cpu_to_le32(memory),
    };
    int ret = qvm_ioctl(d, session, VM_IOC_REQBUFS, &req, sizeof(req));

    *count = le32_to_cpu(req.count);
    return ret;
}

/* v4l2_buffer and one plane */
typedef struct QVMBuffer {
    struct vm_buffer b;
    struct vm_plane p;
} QVMBuffer;

int qvm_querybuf(QVVDriver *d, uint32_t session, uint32_t type,
                 uint32_t index, struct vm_buffer *b, struct vm_plane *p)
{
    QVMBuffer buf = {
        .b.index = cpu_to_le32(index),
        .b.type = cpu_to_le32(type),
        .b.length = cpu_to_le32(1),
    };
    int ret = qvm_ioctl(d, session, VM_IOC_QUERYBUF, &buf, sizeof(buf));

    *b = buf.b;
    *p = buf.p;
    return ret;
}

int qvm_streamon(QVVDriver *d, uint32_t session, uint32_t type)
{
    type = cpu_to_le32(type);
    return qvm_ioctl_w(d, session, VM_IOC_STREAMON, &type, sizeof(type));
}

int qvm_streamoff(QVVDriver *d, uint32_t session, uint32_t type)
{
    type = cpu_to_le32(type);
    return qvm_ioctl_w(d, session, VM_IOC_STREAMOFF, &type, sizeof(type));
}

int qvm_decoder_cmd(QVVDriver *d, uint32_t session, uint32_t cmd)
{
    struct vm_decoder_cmd c = { .cmd = cpu_to_le32(cmd) };

    return qvm_ioctl(d, session, VM_IOC_DECODER_CMD, &c, sizeof(c));
}

int qvm_encoder_cmd(QVVDriver *d, uint32_t session, uint32_t cmd)
{
    struct vm_encoder_cmd c = { .cmd = cpu_to_le32(cmd) };

    return qvm_ioctl(d, session, VM_IOC_ENCODER_CMD, &c, sizeof(c));
}

static int qvm_selection(QVVDriver *d, uint32_t session, uint32_t code,
                         uint32_t type, uint32_t target, QVVRect *rect)
{
    struct vm_selection sel = {
        .type = cpu_to_le32(type),
        .target = cpu_to_le32(target),
        .left = cpu_to_le32(rect->left),
        .top = cpu_to_le32(rect->top),
        .width = cpu_to_le32(rect->width),
        .height = cpu_to_le32(rect->height),
    };
    int ret = qvm_ioctl(d, session, code, &sel, sizeof(sel));

    *rect = (QVVRect) {
        .left = le32_to_cpu(sel.left),
        .top = le32_to_cpu(sel.top),
        .width = le32_to_cpu(sel.width),
        .height = le32_to_cpu(sel.height),
    };
    return ret;
}

int qvm_g_selection(QVVDriver *d, uint32_t session, uint32_t type,
                    uint32_t target, QVVRect *rect)
{
    *rect = (QVVRect) { };
    return qvm_selection(d, session, VM_IOC_G_SELECTION, type, target, rect);
}

int qvm_s_selection(QVVDriver *d, uint32_t session, uint32_t type,
                    uint32_t target, QVVRect *rect)
{
    return qvm_selection(d, session, VM_IOC_S_SELECTION, type, target, rect);
}

int qvm_g_ctrl(QVVDriver *d, uint32_t session, uint32_t id, uint32_t *value)
{
    struct vm_control c = { .id = cpu_to_le32(id) };
    int ret = qvm_ioctl(d, session, VM_IOC_G_CTRL, &c, sizeof(c));

    *value = le32_to_cpu(c.value);
    return ret;
}

int qvm_s_ctrl(QVVDriver *d, uint32_t session, uint32_t id, uint32_t value)
{
    struct vm_control c = {
        .id = cpu_to_le32(id),
        .value = cpu_to_le32(value),
    };

    return qvm_ioctl(d, session, VM_IOC_S_CTRL, &c, sizeof(c));
}

int qvm_ext_ctrls(QVVDriver *d, uint32_t session, uint32_t code,
                  struct vm_ext_control *controls, unsigned n,
                  uint32_t *error_idx)
{
    struct vm_ext_controls ec = { .count = cpu_to_le32(n) };
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    int ret;

    g_byte_array_append(bytes, (uint8_t *)&ec, sizeof(ec));
    g_byte_array_append(bytes, (uint8_t *)controls, n * sizeof(*controls));
    ret = qvm_ioctl(d, session, code, bytes->data, bytes->len);
    memcpy(&ec, bytes->data, sizeof(ec));
    memcpy(controls, bytes->data + sizeof(ec), n * sizeof(*controls));
    if (error_idx) {
        *error_idx = le32_to_cpu(ec.error_idx);
    }
    return ret;
}

int qvm_s_parm(QVVDriver *d, uint32_t session, uint32_t type,
               struct vm_fract *time)
{
    struct vm_streamparm parm = {
        .type = cpu_to_le32(type),
        .timeperframe.numerator = cpu_to_le32(time->numerator),
        .timeperframe.denominator = cpu_to_le32(time->denominator),
    };
    int ret = qvm_ioctl(d, session, VM_IOC_S_PARM, &parm, sizeof(parm));

    *time = (struct vm_fract) {
        le32_to_cpu(parm.timeperframe.numerator),
        le32_to_cpu(parm.timeperframe.denominator),
    };
    return ret;
}

int qvm_qbuf(QVVDriver *d, uint32_t session, uint32_t type, uint32_t index,
             uint32_t memory, const QVVBuffer *mem, uint32_t bytesused,
             uint64_t usec)
{
    QVMBuffer buf = {
        .b.index = cpu_to_le32(index),
        .b.type = cpu_to_le32(type),
        .b.memory = cpu_to_le32(memory),
        .b.length = cpu_to_le32(1),
        .b.tv_sec = cpu_to_le64(usec / G_USEC_PER_SEC),
        .b.tv_usec = cpu_to_le64(usec % G_USEC_PER_SEC),
        .p.bytesused = cpu_to_le32(bytesused),
    };
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    if (mem) {
        buf.p.length = cpu_to_le32(mem->size);
    }
    g_byte_array_append(bytes, (uint8_t *)&buf, sizeof(buf));
    for (unsigned i = 0; mem && i < mem->n_entries; i++) {
        struct virtio_media_sg_entry sg = {
            .start = cpu_to_le64(mem->entries[i].addr),
            .len = cpu_to_le32(mem->entries[i].len),
        };

        g_byte_array_append(bytes, (uint8_t *)&sg, sizeof(sg));
    }
    return qvm_ioctl_parts(d, session, VM_IOC_QBUF, bytes->data, bytes->len,
                           &buf, sizeof(buf), NULL);
}

/*
 * Events
 */

static void qvm_parse_dqbuf(QVMEvent *ev, const void *raw)
{
    const struct virtio_media_event_dqbuf *dqbuf = raw;

    ev->type = le32_to_cpu(dqbuf->buffer.type);
    ev->index = le32_to_cpu(dqbuf->buffer.index);
    ev->flags = le32_to_cpu(dqbuf->buffer.flags);
    ev->sequence = le32_to_cpu(dqbuf->buffer.sequence);
    ev->usec = le64_to_cpu(dqbuf->buffer.tv_sec) * G_USEC_PER_SEC +
               le64_to_cpu(dqbuf->buffer.tv_usec);
    ev->memory = le32_to_cpu(dqbuf->buffer.memory);
    ev->field = le32_to_cpu(dqbuf->buffer.field);
    ev->n_planes = le32_to_cpu(dqbuf->buffer.length);
    ev->bytesused = le32_to_cpu(dqbuf->planes[0].bytesused);
    ev->length = le32_to_cpu(dqbuf->planes[0].length);
    ev->data_offset = le32_to_cpu(dqbuf->planes[0].data_offset);
    ev->offset = le64_to_cpu(dqbuf->planes[0].m);
}

static void qvm_parse_event(QVMEvent *ev, const void *raw)
{
    const struct virtio_media_event_event *event = raw;

    ev->type = le32_to_cpu(event->event.type);
    ev->id = le32_to_cpu(event->event.id);
    ev->sequence = le32_to_cpu(event->event.sequence);
    if (ev->type == VM_EVENT_SOURCE_CHANGE) {
        ev->changes = le32_to_cpu(event->event.src_change);
    } else if (ev->type == VM_EVENT_CTRL) {
        const struct vm_event_ctrl *ctrl = &event->event.ctrl;

        ev->changes = le32_to_cpu(ctrl->changes);
        ev->value = le64_to_cpu(ctrl->value);
        ev->flags = le32_to_cpu(ctrl->flags);
        ev->min = le32_to_cpu(ctrl->minimum);
        ev->max = le32_to_cpu(ctrl->maximum);
        ev->step = le32_to_cpu(ctrl->step);
        ev->def = le32_to_cpu(ctrl->default_value);
    }
}

void qvm_parse(const QVVEvent *raw, QVMEvent *ev)
{
    /* As words, an event of either protocol begins with what and whose it is */
    *ev = (QVMEvent) { .event = raw->type, .session = raw->stream };
    switch (ev->event) {
    case VIRTIO_MEDIA_EVT_DQBUF:
        ev->malformed = raw->len != sizeof(struct virtio_media_event_dqbuf);
        if (!ev->malformed) {
            qvm_parse_dqbuf(ev, raw->raw);
        }
        break;
    case VIRTIO_MEDIA_EVT_EVENT:
        ev->malformed = raw->len != sizeof(struct virtio_media_event_event);
        if (!ev->malformed) {
            qvm_parse_event(ev, raw->raw);
        }
        break;
    default:
        ev->malformed = raw->len != sizeof(struct virtio_media_event_error);
        break;
    }
}

bool qvm_next(QVVDriver *d, uint32_t session, QVMEvent *ev,
              int64_t timeout_us)
{
    g_autoptr(QVVEvent) raw = qvv_next_of(d, session, timeout_us);

    if (raw) {
        qvm_parse(raw, ev);
    }
    return raw != NULL;
}

bool qvm_next_any(QVVDriver *d, QVMEvent *ev, int64_t timeout_us)
{
    g_autoptr(QVVEvent) raw = qvv_next(d, timeout_us);

    if (raw) {
        qvm_parse(raw, ev);
    }
    return raw != NULL;
}

/*
 * The shared memory region
 */

/* A virtio capability of PCI, from its start */
#define CAP_TYPE        3
#define CAP_BAR         4
#define CAP_ID          5
#define CAP_OFFSET      8
#define CAP_LENGTH      12

uint64_t qvm_region(QVirtioVideo *v, uint64_t *size)
{
    QPCIDevice *dev = v->pci ? v->pci->pdev : NULL;
    uint8_t cap = 0;

    while (dev && (cap = qpci_find_capability(dev, PCI_CAP_ID_VNDR, cap))) {
        if (qpci_config_readb(dev, cap + CAP_TYPE) ==
            VIRTIO_PCI_CAP_SHARED_MEMORY_CFG &&
            qpci_config_readb(dev, cap + CAP_ID) == VIRTIO_MEDIA_SHM_MMAP) {
            unsigned bar = qpci_config_readb(dev, cap + CAP_BAR);
            uint64_t addr;

            *size = qpci_config_readl(dev, cap + CAP_LENGTH);
            addr = qpci_config_readl(dev, PCI_BASE_ADDRESS_0 + 4 * bar) &
                   PCI_BASE_ADDRESS_MEM_MASK;
            if (!addr) {
                addr = qpci_iomap(dev, bar, NULL).addr;
            }
            return addr + qpci_config_readl(dev, cap + CAP_OFFSET);
        }
    }
    return 0;
}

QVVPool *qvm_pool_map(QVVDriver *d, uint32_t session, uint32_t type,
                      unsigned n, int *ret)
{
    uint64_t size, region = qvm_region(d->video, &size);
    QVVPool *pool = g_new0(QVVPool, 1);

    pool->res = g_new0(QVVResource, n);
    *ret = 0;
    while (pool->n < n) {
        QVVResource *res = &pool->res[pool->n];
        QVVBuffer *buf = &res->buffer[0];
        struct vm_buffer b;
        struct vm_plane p;
        uint64_t addr;

        *ret = qvm_querybuf(d, session, type, pool->n, &b, &p) ?:
               qvm_mmap(d, session, le64_to_cpu(p.m), &addr, &buf->size);
        if (*ret) {
            qvm_pool_unmap(d, pool);
            qvv_pool_free(d, pool);
            return NULL;
        }
        res->id = pool->n++;
        res->n_buffers = buf->n_entries = 1;
        buf->entries = g_new(QVVEntry, 1);
        buf->entries[0] = (QVVEntry) { region + addr, buf->size };
    }
    return pool;
}

int qvm_pool_unmap(QVVDriver *d, const QVVPool *pool)
{
    uint64_t size, region = qvm_region(d->video, &size);
    int ret = 0;

    for (unsigned i = 0; i < pool->n; i++) {
        int one = qvm_munmap(d, pool->res[i].buffer[0].entries[0].addr -
                                region);

        ret = ret ?: one;
    }
    return ret;
}

/*
 * qgraph nodes
 */

static void virtio_media_register_nodes(void)
{
    QPCIAddress addr = {
        .devfn = QPCI_DEVFN(4, 0),
    };
    QOSGraphEdgeOptions opts = {
        .extra_device_opts = "id=media0,addr=04.0,hostmem=16M",
    };

    /* virtio-media-device */
    qos_node_create_driver("virtio-media-device",
                           qvirtio_video_device_create);
    qos_node_consumes("virtio-media-device", "virtio-bus",
                      &(QOSGraphEdgeOptions) {
                          .extra_device_opts = "id=media0",
                      });
    qos_node_produces("virtio-media-device", "virtio");
    qos_node_produces("virtio-media-device", "virtio-media");

    /* virtio-media-pci */
    add_qpci_address(&opts, &addr);
    qos_node_create_driver("virtio-media-pci", qvirtio_video_pci_create);
    qos_node_consumes("virtio-media-pci", "pci-bus", &opts);
    qos_node_produces("virtio-media-pci", "pci-device");
    qos_node_produces("virtio-media-pci", "virtio");
    qos_node_produces("virtio-media-pci", "virtio-media");
}

libqos_init(virtio_media_register_nodes);
