/*
 * vvclient: a session of a device that speaks V4L2
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "media-talk.h"

/* The lower part of a session's id is what QEMU calls the stream */
#define VM_SESSIONS     256
#define VM_MAX_ALIGN    4096

bool vv_media_do(VVMediaSession *m, int ret, const char *what)
{
    if (!ret) {
        return true;
    }
    if (ret > 0) {
        return vv_broken_rule(m->talk, "%s: error %d", what, ret);
    }
    return vv_broken_rule(m->talk, "%s: %s", what, ret == QVM_NO_ANSWER ?
                          "no answer" : "the answer is too short");
}

bool vv_media_try(VVMediaSession *m, int ret, const char *what)
{
    if (ret == VM_EIO) {
        m->failed = true;
        return true;
    }
    return vv_media_do(m, ret, what);
}

bool vv_media_open(VVMediaSession *m, VVTalk *talk)
{
    *m = (VVMediaSession) { .talk = talk };
    if (!vv_media_do(m, qvm_open(talk->drv, &m->id), "OPEN")) {
        return false;
    }
    m->open = true;
    return vv_media_do(m, qvm_subscribe(talk->drv, m->id, VM_EVENT_EOS, 0, 0),
                       "SUBSCRIBE to EOS");
}

bool vv_media_close(VVMediaSession *m)
{
    QVVDriver *d = m->talk->drv;
    QVMEvent ev;

    if (!m->open) {
        return true;
    }
    m->open = false;
    vv_guest_note_stream(m->talk->guest, m->id % VM_SESSIONS);
    if (!vv_media_do(m, qvm_close(d, m->id), "CLOSE")) {
        return false;
    }
    /* Nothing comes behind CLOSE */
    while (qvm_next(d, m->id, &ev, 0)) {
        continue;
    }
    return true;
}

bool vv_media_ask_failed(VVMediaSession *m)
{
    struct vm_pix_format_mplane pix = { };

    return vv_media_try(m, qvm_g_fmt(m->talk->drv, m->id, QVM_OUTPUT, &pix),
                        "G_FMT");
}

char *vv_media_log(const VVMediaSession *m)
{
    VVGuest *g = m->talk->guest;
    g_autofree char *prefix = g_strdup_printf("virtio-%s: stream %u: ",
                                              g->protocol == VV_MEDIA ?
                                              "media" : "video",
                                              m->id % VM_SESSIONS);

    return vv_guest_log(g, prefix);
}

bool vv_media_layout(VVMediaSession *m, const struct vm_pix_format_mplane *pix,
                     QVVRawFormat *raw, QVVLayout *layout)
{
    uint32_t size = le32_to_cpu(pix->plane_fmt[0].sizeimage);
    uint32_t stride = le32_to_cpu(pix->plane_fmt[0].bytesperline);

    *raw = (QVVRawFormat) {
        .planes_layout = VIRTIO_VIDEO_PLANES_LAYOUT_SINGLE_BUFFER,
        .fourcc = le32_to_cpu(pix->pixelformat),
        .width = le32_to_cpu(pix->width),
        .height = le32_to_cpu(pix->height),
        .height_align = 1,
        .plane_align = 1,
    };
    for (uint32_t align = 1; align <= VM_MAX_ALIGN; align *= 2) {
        raw->stride_align = align;
        if (qvv_layout(layout, raw) && layout->stride[0] == stride &&
            layout->buffer_size[0] == size) {
            return true;
        }
    }
    return vv_broken_rule(m->talk, "format %s of %ux%u makes no sense with "
                          "%u bytes per line and %u in all",
                          qvv_fourcc_name(raw->fourcc), raw->width,
                          raw->height, stride, size);
}

/*
 * Buffers
 */

static const char *queue_name(uint32_t type)
{
    return type == QVM_OUTPUT ? "OUTPUT" : "CAPTURE";
}

static uint32_t session_memory(const VVMediaSession *m)
{
    return m->talk->guest->mmap ? VM_MEMORY_MMAP : VM_MEMORY_USERPTR;
}

QVVPool *vv_media_new_buffers(VVMediaSession *m, uint32_t type, uint32_t count,
                              uint64_t size, bool scatter)
{
    g_autofree char *what = g_strdup_printf("REQBUFS of %s", queue_name(type));
    QVVDriver *d = m->talk->drv;
    QVVPool *pool;
    int ret;

    if (!vv_media_try(m, qvm_reqbufs(d, m->id, type, session_memory(m),
                                     &count), what) || m->failed) {
        return NULL;
    }
    if (!count || count > VV_MAX_BUFFERS) {
        vv_broken_rule(m->talk, "%s: %u buffers", what, count);
        return NULL;
    }
    if (!m->talk->guest->mmap) {
        return qvv_pool_new(d, count, 1, &size, scatter ? QVV_SCATTERED :
                                                          QVV_CONTIGUOUS);
    }
    pool = qvm_pool_map(d, m->id, type, count, &ret);
    if (!pool) {
        vv_media_do(m, ret, "MMAP");
    } else if (pool->res[0].buffer[0].size < size) {
        vv_broken_rule(m->talk, "an MMAP buffer of %s has %" PRIu64 " bytes, "
                       "not %" PRIu64, queue_name(type),
                       pool->res[0].buffer[0].size, size);
        qvm_pool_unmap(d, pool);
        qvv_pool_free(d, pool);
        return NULL;
    }
    return pool;
}

bool vv_media_unmap(VVMediaSession *m, const QVVPool *pool)
{
    return !pool || !m->talk->guest->mmap ||
           vv_media_do(m, qvm_pool_unmap(m->talk->drv, pool), "MUNMAP");
}

bool vv_media_drop_buffers(VVMediaSession *m, uint32_t type,
                           const QVVPool *pool)
{
    uint32_t none = 0;

    return vv_media_do(m, qvm_reqbufs(m->talk->drv, m->id, type,
                                      session_memory(m), &none),
                       "REQBUFS of no buffers") && vv_media_unmap(m, pool);
}

bool vv_media_stream(VVMediaSession *m, uint32_t type, bool on)
{
    QVVDriver *d = m->talk->drv;

    return on ? vv_media_try(m, qvm_streamon(d, m->id, type), "STREAMON") :
                vv_media_do(m, qvm_streamoff(d, m->id, type), "STREAMOFF");
}

bool vv_media_queue(VVMediaSession *m, uint32_t type, const QVVPool *pool,
                    unsigned index, uint32_t bytesused, uint64_t usec)
{
    const QVVBuffer *mem = &pool->res[index].buffer[0];
    int ret = qvm_qbuf(m->talk->drv, m->id, type, index, session_memory(m),
                       m->talk->guest->mmap ? NULL : mem, bytesused, usec);

    return vv_media_try(m, ret, type == QVM_OUTPUT ? "QBUF of OUTPUT" :
                                                     "QBUF of CAPTURE");
}
