/*
 * Virtio video on the wire: draft v10 of the specification
 * (virtio-comment, 13 February 2026)
 *
 * Structs and constants of what device and driver exchange, and nothing else.
 * Every integer is unsigned and little endian, whatever the guest is: use
 * ldl_le_p() and friends, or le32_to_cpu() on a copy.
 *
 * TLV values are only 4-byte aligned, so what holds a 64-bit field inside a
 * TLV is packed; that also keeps the sizes at what the draft says.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_VIRTIO_VIDEO_WIRE_H
#define HW_VIRTIO_VIDEO_WIRE_H

#include "qemu/compiler.h"

/* Proposed, being voted on */
#define VIRTIO_VIDEO_DEVICE_ID                      50

/* Virtqueues */
#define VIRTIO_VIDEO_VQ_COMMAND                     0
#define VIRTIO_VIDEO_VQ_EVENT                       1
#define VIRTIO_VIDEO_NUM_VQS                        2

/* Feature bits */
#define VIRTIO_VIDEO_F_ENCODER                      0
#define VIRTIO_VIDEO_F_DECODER                      1
#define VIRTIO_VIDEO_F_RESOURCE_GUEST_PAGES         2
#define VIRTIO_VIDEO_F_RESOURCE_NON_CONTIG          3
#define VIRTIO_VIDEO_F_RESOURCE_VIRTIO_OBJECT       4
#define VIRTIO_VIDEO_F_V4L2_COMPATIBLE_LAST_BUFFER  5
/* Experimental: commands and events are those of virtio-media instead */
#define VIRTIO_VIDEO_F_V4L2_UAPI                    6

struct virtio_video_config {
    uint32_t max_streams;       /* number of streams, > 0 */
    uint32_t caps_length;       /* bytes of the whole QUERY_CAPS response */
};

/*
 * Commands
 */

#define VIRTIO_VIDEO_CMD_DEVICE_QUERY_CAPS          0x100

#define VIRTIO_VIDEO_CMD_STREAM_OPEN                0x200
#define VIRTIO_VIDEO_CMD_STREAM_CLOSE               0x201
#define VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS          0x202
#define VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS          0x203
#define VIRTIO_VIDEO_CMD_STREAM_UNBLOCK             0x204
#define VIRTIO_VIDEO_CMD_STREAM_DRAIN               0x205
#define VIRTIO_VIDEO_CMD_STREAM_QUEUE_RESET         0x206
#define VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE      0x207

#define VIRTIO_VIDEO_RESULT_OK                      0
#define VIRTIO_VIDEO_RESULT_ERROR                   1

struct virtio_video_device_query_caps {
    uint32_t type;              /* VIRTIO_VIDEO_CMD_DEVICE_QUERY_CAPS */
};

struct virtio_video_device_query_caps_resp {
    uint32_t result;            /* VIRTIO_VIDEO_RESULT_* */
    uint8_t padding[4];
    /* TLVs up to caps_length, which counts from the start of this struct */
};

#define VIRTIO_VIDEO_QUEUE_TYPE_MAIN                0
#define VIRTIO_VIDEO_QUEUE_TYPE_INPUT               1
#define VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT              2

struct virtio_video_stream_cmd_header {
    uint32_t type;              /* VIRTIO_VIDEO_CMD_STREAM_* */
    uint32_t stream_id;
    uint32_t queue_type;        /* VIRTIO_VIDEO_QUEUE_TYPE_* */
    uint32_t async_response_cookie;
};

#define VIRTIO_VIDEO_STREAM_TYPE_DECODER            0
#define VIRTIO_VIDEO_STREAM_TYPE_ENCODER            1

struct virtio_video_stream_open {
    struct virtio_video_stream_cmd_header hdr;          /* main queue */
    uint32_t stream_type;       /* VIRTIO_VIDEO_STREAM_TYPE_* */
};

struct virtio_video_stream_close {
    struct virtio_video_stream_cmd_header hdr;          /* main queue */
};

/* Of SET_PARAMS and GET_PARAMS */
struct virtio_video_stream_get_set_params {
    struct virtio_video_stream_cmd_header hdr;          /* main or input */
    /* one container TLV, CODED_SET or RAW_SET */
};

struct virtio_video_stream_unblock {
    struct virtio_video_stream_cmd_header hdr;          /* main queue */
};

struct virtio_video_stream_drain {
    struct virtio_video_stream_cmd_header hdr;          /* input queue */
};

struct virtio_video_queue_reset {
    struct virtio_video_stream_cmd_header hdr;          /* main queue */
    uint32_t reset_queue_type;  /* VIRTIO_VIDEO_QUEUE_TYPE_{INPUT,OUTPUT} */
};

#define VIRTIO_VIDEO_MAX_PLANES                     8

#define VIRTIO_VIDEO_QUEUE_FLAG_KEY_FRAME           (1 << 0)
#define VIRTIO_VIDEO_QUEUE_FLAG_P_FRAME             (1 << 1)
#define VIRTIO_VIDEO_QUEUE_FLAG_B_FRAME             (1 << 2)
/* Only from the device, with VIRTIO_VIDEO_F_V4L2_COMPATIBLE_LAST_BUFFER */
#define VIRTIO_VIDEO_QUEUE_FLAG_V4L2_DPC_LAST       (1 << 3)
#define VIRTIO_VIDEO_QUEUE_FLAG_V4L2_DRAIN_LAST     (1 << 4)

struct virtio_video_resource_queue {
    struct virtio_video_stream_cmd_header hdr;          /* input or output */
    uint32_t resource_id;
    uint32_t flags;             /* VIRTIO_VIDEO_QUEUE_FLAG_* */
    uint64_t timestamp;
    uint32_t offsets[VIRTIO_VIDEO_MAX_PLANES];          /* bytes */
    uint32_t data_sizes[VIRTIO_VIDEO_MAX_PLANES];       /* bytes */
};

/*
 * Events
 */

#define VIRTIO_VIDEO_EVENT_FLAG_ERROR               (1 << 0)
#define VIRTIO_VIDEO_EVENT_FLAG_STANDALONE          (1 << 1)
#define VIRTIO_VIDEO_EVENT_FLAG_CANCELED            (1 << 2)
#define VIRTIO_VIDEO_EVENT_FLAG_BLOCKED             (1 << 3)

struct virtio_video_event_header {
    uint32_t event_type;        /* VIRTIO_VIDEO_CMD_STREAM_* */
    uint32_t stream_id;
    uint32_t async_response_cookie;
    uint32_t event_flags;       /* VIRTIO_VIDEO_EVENT_FLAG_* */
};

/* Of SET_PARAMS and GET_PARAMS, and of the dynamic parameters change */
struct virtio_video_stream_get_set_params_async_resp {
    struct virtio_video_event_header hdr;
    /* one container TLV, CODED_SET or RAW_SET */
};

struct virtio_video_resource_queue_async_resp {
    struct virtio_video_event_header hdr;
    uint32_t flags;             /* VIRTIO_VIDEO_QUEUE_FLAG_* */
    uint8_t padding[4];
    uint64_t timestamp;
    uint32_t offsets[VIRTIO_VIDEO_MAX_PLANES];          /* bytes */
    uint32_t data_sizes[VIRTIO_VIDEO_MAX_PLANES];       /* bytes */
};

/*
 * TLVs
 */

#define VIRTIO_VIDEO_TLV_CODED_SET                  1   /* container */
#define VIRTIO_VIDEO_TLV_RAW_SET                    2   /* container */
#define VIRTIO_VIDEO_TLV_LINK                       3
#define VIRTIO_VIDEO_TLV_CODED_FORMAT               4
#define VIRTIO_VIDEO_TLV_RAW_FORMAT                 5
#define VIRTIO_VIDEO_TLV_CODED_RESOURCES            6
#define VIRTIO_VIDEO_TLV_RAW_RESOURCES              7
#define VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES       8
#define VIRTIO_VIDEO_TLV_RESOURCE_VIRTIO_OBJECT     9
#define VIRTIO_VIDEO_TLV_CROP                       10
#define VIRTIO_VIDEO_TLV_V4L2_CONTROLS              11  /* container */

struct virtio_video_tlv {
    uint32_t type;              /* VIRTIO_VIDEO_TLV_* */
    uint32_t length;            /* bytes of the value, a multiple of 4 */
    uint8_t value[];
};

/* x is in it if min <= x <= max and x == min + n * step; all are positive */
struct virtio_video_range {
    uint32_t min;
    uint32_t max;
    uint32_t step;
    uint8_t padding[4];
};

/*
 * Coded set i and raw set j, as they are counted in the caps from 0, go
 * together if bit j % 64 of links[i * ((n_raw + 63) / 64) + j / 64] is set.
 */
struct virtio_video_tlv_link {
    uint32_t stream_type;       /* VIRTIO_VIDEO_STREAM_TYPE_* */
    uint8_t padding[4];
    uint64_t links[];           /* n_coded * ((n_raw + 63) / 64) */
} QEMU_PACKED;

#define VIRTIO_VIDEO_CODED_FORMAT_MPEG2             1
#define VIRTIO_VIDEO_CODED_FORMAT_MPEG4             2   /* part 2 */
#define VIRTIO_VIDEO_CODED_FORMAT_H264              3
#define VIRTIO_VIDEO_CODED_FORMAT_HEVC              4
#define VIRTIO_VIDEO_CODED_FORMAT_VP8               5
#define VIRTIO_VIDEO_CODED_FORMAT_VP9               6
#define VIRTIO_VIDEO_CODED_FORMAT_FWHT              7
/* Ahead of the draft, which has no number for AV1 */
#define VIRTIO_VIDEO_CODED_FORMAT_AV1               8

/* In capabilities and as a value */
struct virtio_video_tlv_coded_format {
    uint32_t format;            /* VIRTIO_VIDEO_CODED_FORMAT_* */
};

struct virtio_video_tlv_coded_resources_caps {
    struct virtio_video_range num_resources_range;
    struct virtio_video_range resource_size_range;      /* bytes */
};

struct virtio_video_tlv_raw_resources_caps {
    struct virtio_video_range num_resources_range;
};

/* Value of CODED_RESOURCES and RAW_RESOURCES; 0 detaches all */
struct virtio_video_tlv_resources_val {
    uint32_t num_resources;
};

/* Each is a value, and the same number is its bit in a mask */
#define VIRTIO_VIDEO_PLANES_LAYOUT_SINGLE_BUFFER    1
#define VIRTIO_VIDEO_PLANES_LAYOUT_MULTI_BUFFERS    2

struct virtio_video_tlv_raw_format_caps {
    uint32_t planes_layout_mask; /* VIRTIO_VIDEO_PLANES_LAYOUT_* */
    uint32_t fourcc;            /* DRM_FORMAT_* */
    uint64_t modifier;          /* DRM_FORMAT_MOD_* */
    struct virtio_video_range width_range;              /* pixels */
    struct virtio_video_range height_range;             /* pixels */
    uint32_t stride_align_mask; /* a bit for each power of two, bytes */
    uint32_t height_align_mask; /* the same, rows */
    uint32_t plane_align_mask;  /* the same, bytes */
} QEMU_PACKED;

struct virtio_video_tlv_raw_format_val {
    uint32_t planes_layout;     /* VIRTIO_VIDEO_PLANES_LAYOUT_* */
    uint32_t fourcc;            /* DRM_FORMAT_* */
    uint64_t modifier;          /* DRM_FORMAT_MOD_* */
    uint32_t width;             /* pixels */
    uint32_t height;            /* pixels */
    uint32_t stride_align;      /* bytes */
    uint32_t height_align;      /* rows */
    uint32_t plane_align;       /* bytes */
} QEMU_PACKED;

/* Address and length are multiples of the guest's page size */
struct virtio_video_resource_sg_entry {
    uint64_t addr;
    uint32_t length;            /* bytes */
    uint8_t padding[4];
} QEMU_PACKED;

struct virtio_video_tlv_resource_guest_pages {
    uint32_t resource_id;
    uint8_t padding[4];
    uint32_t num_entries[VIRTIO_VIDEO_MAX_PLANES];      /* of each buffer */
    struct virtio_video_resource_sg_entry entries[];
} QEMU_PACKED;

struct virtio_video_resource_object {
    uint8_t uuid[16];
};

struct virtio_video_tlv_resource_virtio_object {
    uint32_t resource_id;
    uint32_t num_objects;       /* up to VIRTIO_VIDEO_MAX_PLANES */
    struct virtio_video_resource_object objects[];
};

/*
 * What a response holds of the value of RESOURCE_GUEST_PAGES and
 * RESOURCE_VIRTIO_OBJECT: the resource id and 4 bytes more.
 */
#define VIRTIO_VIDEO_TLV_RESOURCE_RESP_LENGTH       8

struct virtio_video_tlv_crop_val {
    uint32_t left;              /* pixels, as all of them */
    uint32_t top;
    uint32_t width;
    uint32_t height;
};

/* TLV types inside V4L2_CONTROLS are V4L2_CID_* of linux/v4l2-controls.h */
#define VIRTIO_VIDEO_V4L2_CID_BITRATE               0x009909cf
#define VIRTIO_VIDEO_V4L2_CID_MPEG2_LEVEL           0x00990a0e
#define VIRTIO_VIDEO_V4L2_CID_MPEG2_PROFILE         0x00990a0f
#define VIRTIO_VIDEO_V4L2_CID_H264_LEVEL            0x00990a67
#define VIRTIO_VIDEO_V4L2_CID_H264_PROFILE          0x00990a6b
#define VIRTIO_VIDEO_V4L2_CID_MPEG4_LEVEL           0x00990a95
#define VIRTIO_VIDEO_V4L2_CID_MPEG4_PROFILE         0x00990a96
#define VIRTIO_VIDEO_V4L2_CID_VP8_PROFILE           0x00990aff
#define VIRTIO_VIDEO_V4L2_CID_VP9_PROFILE           0x00990b00
#define VIRTIO_VIDEO_V4L2_CID_VP9_LEVEL             0x00990b01
#define VIRTIO_VIDEO_V4L2_CID_HEVC_PROFILE          0x00990b67
#define VIRTIO_VIDEO_V4L2_CID_HEVC_LEVEL            0x00990b68

/* Beyond the draft's list: only for devices that have been told to */
#define VIRTIO_VIDEO_V4L2_CID_B_FRAMES              0x009909ca
#define VIRTIO_VIDEO_V4L2_CID_GOP_SIZE              0x009909cb
#define VIRTIO_VIDEO_V4L2_CID_BITRATE_MODE          0x009909ce
#define VIRTIO_VIDEO_V4L2_CID_FORCE_KEY_FRAME       0x009909e5
#define VIRTIO_VIDEO_V4L2_CID_H264_MIN_QP           0x00990a61
#define VIRTIO_VIDEO_V4L2_CID_H264_MAX_QP           0x00990a62
#define VIRTIO_VIDEO_V4L2_CID_MPEG4_MIN_QP          0x00990a93
#define VIRTIO_VIDEO_V4L2_CID_MPEG4_MAX_QP          0x00990a94
#define VIRTIO_VIDEO_V4L2_CID_VPX_MIN_QP            0x00990afb
#define VIRTIO_VIDEO_V4L2_CID_VPX_MAX_QP            0x00990afc
#define VIRTIO_VIDEO_V4L2_CID_HEVC_MIN_QP           0x00990b58
#define VIRTIO_VIDEO_V4L2_CID_HEVC_MAX_QP           0x00990b59
#define VIRTIO_VIDEO_V4L2_CID_PREPEND_SPSPPS_TO_IDR 0x00990b84

struct virtio_video_tlv_v4l2_int_caps {
    struct virtio_video_range range;
};

struct virtio_video_tlv_v4l2_int_val {
    uint32_t value;
};

struct virtio_video_tlv_v4l2_enum_caps {
    uint32_t bitmask;           /* of 1 << <enum value> */
};

struct virtio_video_tlv_v4l2_enum_val {
    uint8_t value;
    uint8_t padding[3];
};

/* The sizes that the draft gives */
#define VIRTIO_VIDEO_ASSERT_SIZE(name, size) \
    _Static_assert(sizeof(struct name) == (size), #name " has a wrong size")
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_config, 8);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_stream_cmd_header, 16);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_stream_open, 20);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_queue_reset, 20);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_resource_queue, 96);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_event_header, 16);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_resource_queue_async_resp, 96);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_device_query_caps_resp, 8);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_tlv, 8);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_range, 16);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_tlv_link, 8);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_tlv_coded_resources_caps, 32);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_tlv_raw_format_caps, 60);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_tlv_raw_format_val, 36);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_resource_sg_entry, 16);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_tlv_resource_guest_pages, 40);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_tlv_resource_virtio_object, 8);
VIRTIO_VIDEO_ASSERT_SIZE(virtio_video_tlv_crop_val, 16);
#undef VIRTIO_VIDEO_ASSERT_SIZE

#endif
