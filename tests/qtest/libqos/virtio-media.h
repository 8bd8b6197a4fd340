/*
 * libqos driver of virtio media
 *
 * V4L2's ioctls through the virtqueues of a QVVDriver, which keeps rings and
 * event buffers.  Every call waits for the device's answer, as the Linux driver
 * does, and returns its status; nothing is checked beyond that.
 *
 *     QVVDriver *d = qvv_new(v, alloc, qts);
 *     qvv_start(d, NULL);
 *     g_assert_cmpint(qvm_open(d, &session), ==, 0);
 *     ...
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_LIBQOS_VIRTIO_MEDIA_H
#define TESTS_LIBQOS_VIRTIO_MEDIA_H

#include "virtio-video.h"
#include "hw/virtio/virtio-media-wire.h"

/*
 * qgraph: nodes virtio-media-pci and virtio-media-device, both of which produce
 * the interface "virtio-media", a QVirtioVideo.
 */

/* What a call returns if the device has not answered, or not as it has to */
#define QVM_NO_ANSWER   (-1)
#define QVM_TOO_SHORT   (-2)

#define QVM_CAPTURE     VM_BUF_TYPE_VIDEO_CAPTURE_MPLANE
#define QVM_OUTPUT      VM_BUF_TYPE_VIDEO_OUTPUT_MPLANE

/*
 * OPEN, CLOSE, MMAP, with RW and with any flags, and MUNMAP; all return 0,
 * VM_E* or one of the above
 */
int qvm_open(QVVDriver *d, uint32_t *session);
int qvm_close(QVVDriver *d, uint32_t session);
int qvm_mmap(QVVDriver *d, uint32_t session, uint32_t offset, uint64_t *addr,
             uint64_t *len);
int qvm_mmap_flags(QVVDriver *d, uint32_t session, uint32_t flags,
                   uint32_t offset, uint64_t *addr, uint64_t *len);
int qvm_munmap(QVVDriver *d, uint64_t addr);

/**
 * qvm_ioctl - an ioctl that reads and writes its argument
 * @payload: little endian; what the device answers, if that is no error
 * @size: bytes of it
 */
int qvm_ioctl(QVVDriver *d, uint32_t session, uint32_t code, void *payload,
              size_t size);

/**
 * qvm_ioctl_parts - the same with parts of different length
 * @request, @request_size: what the device gets
 * @answer, @answer_size: room for what it answers
 * @written: set to how many bytes it has written there; may be NULL
 */
int qvm_ioctl_parts(QVVDriver *d, uint32_t session, uint32_t code,
                    const void *request, size_t request_size, void *answer,
                    size_t answer_size, size_t *written);

/* An ioctl that only reads its argument */
int qvm_ioctl_w(QVVDriver *d, uint32_t session, uint32_t code,
                const void *payload, size_t size);

/*
 * What is called most
 */

int qvm_subscribe(QVVDriver *d, uint32_t session, uint32_t type, uint32_t id,
                  uint32_t flags);
/* Fields of @pix are little endian; those that are 0 are the device's choice */
int qvm_s_fmt(QVVDriver *d, uint32_t session, uint32_t type,
              struct vm_pix_format_mplane *pix);
int qvm_g_fmt(QVVDriver *d, uint32_t session, uint32_t type,
              struct vm_pix_format_mplane *pix);
/* *count: how many are wanted, then how many there are */
int qvm_reqbufs(QVVDriver *d, uint32_t session, uint32_t type,
                uint32_t memory, uint32_t *count);
int qvm_querybuf(QVVDriver *d, uint32_t session, uint32_t type,
                 uint32_t index, struct vm_buffer *b, struct vm_plane *p);
int qvm_streamon(QVVDriver *d, uint32_t session, uint32_t type);
int qvm_streamoff(QVVDriver *d, uint32_t session, uint32_t type);
/* Of decoders: VM_CODEC_CMD_* */
int qvm_decoder_cmd(QVVDriver *d, uint32_t session, uint32_t cmd);
int qvm_encoder_cmd(QVVDriver *d, uint32_t session, uint32_t cmd);
int qvm_g_selection(QVVDriver *d, uint32_t session, uint32_t type,
                    uint32_t target, QVVRect *rect);
/* @rect: what is wanted, then what there is */
int qvm_s_selection(QVVDriver *d, uint32_t session, uint32_t type,
                    uint32_t target, QVVRect *rect);
int qvm_g_ctrl(QVVDriver *d, uint32_t session, uint32_t id, uint32_t *value);
int qvm_s_ctrl(QVVDriver *d, uint32_t session, uint32_t id, uint32_t value);
/**
 * qvm_ext_ctrls - many controls at once
 * @code: VM_IOC_*_EXT_CTRLS
 * @controls: @n of any class, little endian; also what the device answers
 * @error_idx: set, as V4L2 has it; may be NULL
 */
int qvm_ext_ctrls(QVVDriver *d, uint32_t session, uint32_t code,
                  struct vm_ext_control *controls, unsigned n,
                  uint32_t *error_idx);
/* @time: of a frame in seconds: what is wanted, then what there is */
int qvm_s_parm(QVVDriver *d, uint32_t session, uint32_t type,
               struct vm_fract *time);

/**
 * qvm_qbuf - queue a buffer
 * @memory: VM_MEMORY_*
 * @mem: of USERPTR; its entries go along
 * @bytesused: of OUTPUT
 * @usec: timestamp of OUTPUT in microseconds
 */
int qvm_qbuf(QVVDriver *d, uint32_t session, uint32_t type, uint32_t index,
             uint32_t memory, const QVVBuffer *mem, uint32_t bytesused,
             uint64_t usec);

/*
 * Events
 */

/**
 * struct QVMEvent - an event in the host's byte order
 * @event: VIRTIO_MEDIA_EVT_*
 * @type: of EVENT: VM_EVENT_*; of DQBUF: of the buffer
 * @id: of EVENT
 * @sequence: of either
 * @flags: of DQBUF: VM_BUF_FLAG_*; of EVENT: VM_CTRL_FLAG_*, if of a control
 * @changes: of EVENT: VM_EVENT_SRC_CH_* or VM_EVENT_CTRL_CH_*
 * @value, @min, @max, @step, @def: of EVENT, if it is of a control
 * @index, @memory, @field, @usec, @n_planes: of DQBUF
 * @bytesused, @length, @data_offset, @offset: of DQBUF: of its plane; the last
 *                                             is that of an MMAP buffer
 * @malformed: it has not the length that it must have
 */
typedef struct QVMEvent {
    uint32_t event;
    uint32_t session;
    uint32_t type;
    uint32_t id;
    uint32_t sequence;
    uint32_t flags;
    uint32_t changes;
    int64_t value;
    int32_t min, max, step, def;
    uint32_t index;
    uint32_t memory;
    uint32_t field;
    uint64_t usec;
    uint32_t n_planes;
    uint32_t bytesused;
    uint32_t length;
    uint32_t data_offset;
    uint64_t offset;
    bool malformed;
} QVMEvent;

/* What an event says that came by qvv_next() and the like */
void qvm_parse(const QVVEvent *raw, QVMEvent *ev);

/* The next event of a session; false if there was none in that time */
bool qvm_next(QVVDriver *d, uint32_t session, QVMEvent *ev,
              int64_t timeout_us);

/* The same of any session */
bool qvm_next_any(QVVDriver *d, QVMEvent *ev, int64_t timeout_us);

/**
 * qvm_region - the shared memory region
 * @size: set to its bytes
 *
 * Maps the BAR at the first call for a device.
 *
 * Returns: its guest physical address, or 0 if there is none
 */
uint64_t qvm_region(QVirtioVideo *v, uint64_t *size);

/**
 * qvm_pool_map - maps MMAP buffers 0 .. @n - 1 of a queue
 * @ret: what failed, or 0
 *
 * Returns: their memory in the region, to be freed with qvv_pool_free(); or
 * NULL, with nothing mapped
 */
QVVPool *qvm_pool_map(QVVDriver *d, uint32_t session, uint32_t type,
                      unsigned n, int *ret);
/* MUNMAP of all of it; the first error, or 0 */
int qvm_pool_unmap(QVVDriver *d, const QVVPool *pool);

#endif
