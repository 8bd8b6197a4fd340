/*
 * Virtio media on the wire: V4L2's ioctls over virtqueues (VIRTIO 1.4, device
 * type 48)
 *
 * Structs and constants of what device and driver exchange, and nothing else.
 * Every integer is little endian, whatever the guest is, and the V4L2 structs
 * have the layout that they have on 64-bit machines: so they stand here, and
 * the host's linux/videodev2.h is of no use.  Names are those of that header,
 * with a prefix.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VIRTIO_MEDIA_WIRE_H
#define HW_VIRTIO_MEDIA_WIRE_H

#include "qemu/compiler.h"

#define VIRTIO_MEDIA_DEVICE_ID              48

/* Virtqueues */
#define VIRTIO_MEDIA_VQ_COMMAND             0
#define VIRTIO_MEDIA_VQ_EVENT               1

/* Shared memory region of MMAP buffers */
#define VIRTIO_MEDIA_SHM_MMAP               0

struct virtio_media_config {
    uint32_t device_caps;       /* VM_CAP_* */
    uint32_t device_type;       /* 0: video */
    uint8_t card[32];           /* name, in UTF-8 */
};

#define VM_CAP_VIDEO_M2M_MPLANE             0x00004000
#define VM_CAP_STREAMING                    0x04000000

/*
 * Commands
 */

#define VIRTIO_MEDIA_CMD_OPEN               1
#define VIRTIO_MEDIA_CMD_CLOSE              2
#define VIRTIO_MEDIA_CMD_IOCTL              3
#define VIRTIO_MEDIA_CMD_MMAP               4
#define VIRTIO_MEDIA_CMD_MUNMAP             5

struct virtio_media_cmd_header {
    uint32_t cmd;
    uint32_t reserved;
};

struct virtio_media_resp_header {
    uint32_t status;            /* 0, or Linux's number of an error */
    uint32_t reserved;
};

struct virtio_media_resp_open {
    struct virtio_media_resp_header hdr;
    uint32_t session_id;
    uint32_t reserved;
};

struct virtio_media_cmd_close {
    struct virtio_media_cmd_header hdr;
    uint32_t session_id;
    uint32_t reserved;
};

struct virtio_media_cmd_ioctl {
    struct virtio_media_cmd_header hdr;
    uint32_t session_id;
    uint32_t code;              /* VM_IOC_* */
};

#define VIRTIO_MEDIA_MMAP_FLAG_RW           (1u << 0)

struct virtio_media_cmd_mmap {
    struct virtio_media_cmd_header hdr;
    uint32_t session_id;
    uint32_t flags;
    uint32_t offset;            /* vm_plane.mem_offset */
};

struct virtio_media_resp_mmap {
    struct virtio_media_resp_header hdr;
    uint64_t driver_addr;       /* offset in the shared memory region */
    uint64_t len;
};

struct virtio_media_cmd_munmap {
    struct virtio_media_cmd_header hdr;
    uint64_t driver_addr;
};

/* A piece of guest memory */
struct virtio_media_sg_entry {
    uint64_t start;
    uint32_t len;
    uint32_t reserved;
};

/* Linux's numbers of the errors that are answered */
#define VM_EIO                              5
#define VM_ENOMEM                           12
#define VM_EACCES                           13
#define VM_EBUSY                            16
#define VM_ENODEV                           19
#define VM_EINVAL                           22
#define VM_ENOTTY                           25
#define VM_ENOSPC                           28
#define VM_ERANGE                           34
#define VM_EBADR                            53
#define VM_ENOBUFS                          105

/*
 * Ioctls
 */

#define VM_IOC_ENUM_FMT                     2
#define VM_IOC_G_FMT                        4
#define VM_IOC_S_FMT                        5
#define VM_IOC_REQBUFS                      8
#define VM_IOC_QUERYBUF                     9
#define VM_IOC_QBUF                         15
#define VM_IOC_EXPBUF                       16
#define VM_IOC_STREAMON                     18
#define VM_IOC_STREAMOFF                    19
#define VM_IOC_G_PARM                       21
#define VM_IOC_S_PARM                       22
#define VM_IOC_G_CTRL                       27
#define VM_IOC_S_CTRL                       28
#define VM_IOC_QUERYCTRL                    36
#define VM_IOC_QUERYMENU                    37
#define VM_IOC_TRY_FMT                      64
#define VM_IOC_G_EXT_CTRLS                  71
#define VM_IOC_S_EXT_CTRLS                  72
#define VM_IOC_TRY_EXT_CTRLS                73
#define VM_IOC_ENUM_FRAMESIZES              74
#define VM_IOC_ENUM_FRAMEINTERVALS          75
#define VM_IOC_ENCODER_CMD                  77
#define VM_IOC_TRY_ENCODER_CMD              78
#define VM_IOC_SUBSCRIBE_EVENT              90
#define VM_IOC_UNSUBSCRIBE_EVENT            91
#define VM_IOC_CREATE_BUFS                  92
#define VM_IOC_PREPARE_BUF                  93
#define VM_IOC_G_SELECTION                  94
#define VM_IOC_S_SELECTION                  95
#define VM_IOC_DECODER_CMD                  96
#define VM_IOC_TRY_DECODER_CMD              97
#define VM_IOC_QUERY_EXT_CTRL               103

/* Buffer types; selections have those of single planes, too */
#define VM_BUF_TYPE_VIDEO_CAPTURE           1
#define VM_BUF_TYPE_VIDEO_OUTPUT            2
#define VM_BUF_TYPE_VIDEO_CAPTURE_MPLANE    9
#define VM_BUF_TYPE_VIDEO_OUTPUT_MPLANE     10

#define VM_MEMORY_MMAP                      1
#define VM_MEMORY_USERPTR                   2

#define VM_MAX_PLANES                       8
#define VM_FIELD_ANY                        0
#define VM_FIELD_NONE                       1
#define VM_COLORSPACE_REC709                3

#define VM_FOURCC(a, b, c, d) \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | \
     (uint32_t)(d) << 24)
#define VM_PIX_FMT_MPEG2                    VM_FOURCC('M', 'P', 'G', '2')
#define VM_PIX_FMT_MPEG4                    VM_FOURCC('M', 'P', 'G', '4')
#define VM_PIX_FMT_H264                     VM_FOURCC('H', '2', '6', '4')
#define VM_PIX_FMT_HEVC                     VM_FOURCC('H', 'E', 'V', 'C')
#define VM_PIX_FMT_VP8                      VM_FOURCC('V', 'P', '8', '0')
#define VM_PIX_FMT_VP9                      VM_FOURCC('V', 'P', '9', '0')
#define VM_PIX_FMT_AV1                      VM_FOURCC('A', 'V', '0', '1')

#define VM_FMT_FLAG_COMPRESSED              0x0001
#define VM_FMT_FLAG_DYN_RESOLUTION          0x0008

struct vm_fmtdesc {
    uint32_t index, type, flags;
    uint8_t description[32];
    uint32_t pixelformat;
    uint32_t mbus_code;
    uint32_t reserved[3];
};

struct vm_plane_pix_format {
    uint32_t sizeimage, bytesperline;
    uint16_t reserved[6];
};

struct vm_pix_format_mplane {
    uint32_t width, height, pixelformat, field, colorspace;
    struct vm_plane_pix_format plane_fmt[VM_MAX_PLANES];
    uint8_t num_planes, flags, ycbcr_enc, quantization, xfer_func;
    uint8_t reserved[7];
};

struct vm_format {
    uint32_t type, pad;
    union {
        struct vm_pix_format_mplane pix_mp;
        uint8_t raw_data[200];
    };
};

/* What a queue of buffers can do */
#define VM_BUF_CAP_SUPPORTS_MMAP            0x01
#define VM_BUF_CAP_SUPPORTS_USERPTR         0x02
#define VM_BUF_CAP_SUPPORTS_ORPHANED_BUFS   0x10
#define VM_BUF_CAP_MAX_NUM_BUFFERS          0x80

struct vm_requestbuffers {
    uint32_t count, type, memory, capabilities;
    uint8_t flags, reserved[3];
};

struct vm_create_buffers {
    uint32_t index, count, memory, pad;
    struct vm_format format;
    uint32_t capabilities, flags, max_num_buffers, reserved[5];
};

#define VM_BUF_FLAG_MAPPED                  0x00000001
#define VM_BUF_FLAG_QUEUED                  0x00000002
#define VM_BUF_FLAG_KEYFRAME                0x00000008
#define VM_BUF_FLAG_PFRAME                  0x00000010
#define VM_BUF_FLAG_BFRAME                  0x00000020
#define VM_BUF_FLAG_ERROR                   0x00000040
#define VM_BUF_FLAG_PREPARED                0x00000400
#define VM_BUF_FLAG_TIMESTAMP_COPY          0x00004000
#define VM_BUF_FLAG_TSTAMP_SRC_MASK         0x00070000
#define VM_BUF_FLAG_LAST                    0x00100000
#define VM_BUF_FLAG_REQUEST_FD              0x00800000

struct vm_timecode {
    uint32_t type, flags;
    uint8_t frames, seconds, minutes, hours, userbits[4];
};

struct vm_buffer {
    uint32_t index, type, bytesused, flags, field, pad0;
    uint64_t tv_sec, tv_usec;
    struct vm_timecode timecode;
    uint32_t sequence, memory;
    uint64_t m;
    uint32_t length, reserved2, request_fd, pad1;
};

struct vm_plane {
    uint32_t bytesused, length;
    uint64_t m;                 /* with MMAP: what VIRTIO_MEDIA_CMD_MMAP maps */
    uint32_t data_offset, reserved[11];
};

struct vm_fract {
    uint32_t numerator, denominator;
};

#define VM_CAP_TIMEPERFRAME                 0x1000

/* The same for both directions, as far as codecs go */
struct vm_streamparm {
    uint32_t type;
    uint32_t capability, mode;
    struct vm_fract timeperframe;
    uint32_t extendedmode, buffers, reserved[4];
    uint8_t pad[160];
};

/* Controls */

#define VM_CID_USER_CLASS                   0x00980001
#define VM_CID_MIN_BUFFERS_FOR_CAPTURE      0x00980927
#define VM_CID_MIN_BUFFERS_FOR_OUTPUT       0x00980928
#define VM_CID_CODEC_CLASS                  0x00990001

#define VM_CTRL_FLAG_NEXT_CTRL              0x80000000
#define VM_CTRL_FLAG_NEXT_COMPOUND          0x40000000
#define VM_CTRL_ID_MASK                     0x0fffffff
#define VM_CTRL_CLASS(id)                   ((id) & 0x0fff0000)
#define VM_CID_MAX_CTRLS                    1024

#define VM_CTRL_WHICH_CUR_VAL               0
#define VM_CTRL_WHICH_DEF_VAL               0x0f000000
#define VM_CTRL_WHICH_REQUEST_VAL           0x0f010000

#define VM_CTRL_TYPE_INTEGER                1
#define VM_CTRL_TYPE_BOOLEAN                2
#define VM_CTRL_TYPE_MENU                   3
#define VM_CTRL_TYPE_BUTTON                 4
#define VM_CTRL_TYPE_CTRL_CLASS             6

#define VM_CTRL_FLAG_READ_ONLY              0x0004
#define VM_CTRL_FLAG_INACTIVE               0x0010
#define VM_CTRL_FLAG_WRITE_ONLY             0x0040
#define VM_CTRL_FLAG_EXECUTE_ON_WRITE       0x0200

struct vm_control {
    uint32_t id, value;
};

struct vm_queryctrl {
    uint32_t id, type;
    uint8_t name[32];
    uint32_t minimum, maximum, step, default_value, flags, reserved[2];
};

struct QEMU_PACKED vm_query_ext_ctrl {
    uint32_t id, type;
    uint8_t name[32];
    uint64_t minimum, maximum, step, default_value;
    uint32_t flags, elem_size, elems, nr_of_dims, dims[4], reserved[32];
};

struct vm_querymenu {
    uint32_t id, index;
    uint8_t name[32];
    uint32_t reserved;
};

struct QEMU_PACKED vm_ext_controls {
    uint32_t which, count, error_idx, request_fd, reserved, pad;
    uint64_t controls;
};

struct QEMU_PACKED vm_ext_control {
    uint32_t id, size, reserved2;
    uint64_t value;
};

/* Sizes */

#define VM_FRMSIZE_TYPE_CONTINUOUS          2
#define VM_FRMSIZE_TYPE_STEPWISE            3

struct vm_frmsizeenum {
    uint32_t index, pixel_format, type;
    uint32_t min_width, max_width, step_width;
    uint32_t min_height, max_height, step_height;
    uint32_t reserved[2];
};

#define VM_FRMIVAL_TYPE_CONTINUOUS          2

struct vm_frmivalenum {
    uint32_t index, pixel_format, width, height, type;
    struct vm_fract min, max, step;
    uint32_t reserved[2];
};

#define VM_SEL_TGT_CROP                     0x0000
#define VM_SEL_TGT_CROP_DEFAULT             0x0001
#define VM_SEL_TGT_CROP_BOUNDS              0x0002
#define VM_SEL_TGT_COMPOSE                  0x0100
#define VM_SEL_TGT_COMPOSE_DEFAULT          0x0101
#define VM_SEL_TGT_COMPOSE_BOUNDS           0x0102
#define VM_SEL_TGT_COMPOSE_PADDED           0x0103

struct vm_selection {
    uint32_t type, target, flags;
    uint32_t left, top, width, height;
    uint32_t reserved[9];
};

/* Codec commands; START and STOP have the same numbers for both */

#define VM_CODEC_CMD_START                  0
#define VM_CODEC_CMD_STOP                   1

struct vm_encoder_cmd {
    uint32_t cmd, flags, data[8];
};

struct vm_decoder_cmd {
    uint32_t cmd, flags, data[16];
};

/*
 * Events
 */

#define VM_EVENT_ALL                        0
#define VM_EVENT_EOS                        2
#define VM_EVENT_CTRL                       3
#define VM_EVENT_SOURCE_CHANGE              5

#define VM_EVENT_SUB_FL_SEND_INITIAL        0x1
#define VM_EVENT_SUB_FL_ALLOW_FEEDBACK      0x2

#define VM_EVENT_SRC_CH_RESOLUTION          0x1
#define VM_EVENT_CTRL_CH_VALUE              0x1
#define VM_EVENT_CTRL_CH_FLAGS              0x2

struct vm_event_subscription {
    uint32_t type, id, flags, reserved[5];
};

struct QEMU_PACKED vm_event_ctrl {
    uint32_t changes, type;
    uint64_t value;
    uint32_t flags, minimum, maximum, step, default_value;
};

struct QEMU_PACKED vm_event {
    uint32_t type, pad0;
    union {
        struct vm_event_ctrl ctrl;
        uint32_t src_change;
        uint8_t data[64];
    };
    uint32_t pending, sequence;
    uint64_t tv_sec, tv_nsec;
    uint32_t id, reserved[8], pad1;
};

#define VIRTIO_MEDIA_EVT_ERROR              0
#define VIRTIO_MEDIA_EVT_DQBUF              1
#define VIRTIO_MEDIA_EVT_EVENT              2

struct virtio_media_event_header {
    uint32_t event, session_id;
};

struct virtio_media_event_error {
    struct virtio_media_event_header hdr;
    uint32_t error, reserved;
};

struct virtio_media_event_dqbuf {
    struct virtio_media_event_header hdr;
    struct vm_buffer buffer;
    struct vm_plane planes[VM_MAX_PLANES];
};

struct virtio_media_event_event {
    struct virtio_media_event_header hdr;
    struct vm_event event;
};

QEMU_BUILD_BUG_ON(sizeof(struct virtio_media_config) != 40);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_media_cmd_mmap) != 20);
QEMU_BUILD_BUG_ON(sizeof(struct vm_fmtdesc) != 64);
QEMU_BUILD_BUG_ON(sizeof(struct vm_format) != 208);
QEMU_BUILD_BUG_ON(sizeof(struct vm_requestbuffers) != 20);
QEMU_BUILD_BUG_ON(sizeof(struct vm_create_buffers) != 256);
QEMU_BUILD_BUG_ON(sizeof(struct vm_buffer) != 88);
QEMU_BUILD_BUG_ON(sizeof(struct vm_plane) != 64);
QEMU_BUILD_BUG_ON(sizeof(struct vm_streamparm) != 204);
QEMU_BUILD_BUG_ON(sizeof(struct vm_queryctrl) != 68);
QEMU_BUILD_BUG_ON(sizeof(struct vm_query_ext_ctrl) != 232);
QEMU_BUILD_BUG_ON(sizeof(struct vm_querymenu) != 44);
QEMU_BUILD_BUG_ON(sizeof(struct vm_ext_controls) != 32);
QEMU_BUILD_BUG_ON(sizeof(struct vm_ext_control) != 20);
QEMU_BUILD_BUG_ON(sizeof(struct vm_frmsizeenum) != 44);
QEMU_BUILD_BUG_ON(sizeof(struct vm_frmivalenum) != 52);
QEMU_BUILD_BUG_ON(sizeof(struct vm_selection) != 64);
QEMU_BUILD_BUG_ON(sizeof(struct vm_encoder_cmd) != 40);
QEMU_BUILD_BUG_ON(sizeof(struct vm_decoder_cmd) != 72);
QEMU_BUILD_BUG_ON(sizeof(struct vm_event_subscription) != 32);
QEMU_BUILD_BUG_ON(sizeof(struct vm_event) != 136);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_media_event_dqbuf) != 608);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_media_event_event) != 144);

#endif /* HW_VIRTIO_MEDIA_WIRE_H */
