/*
 * virtio-video: what a hostile guest does, from bytes
 *
 * In this order: the input, guest memory, rings, commands, TLVs, coded data,
 * actions.  A SETUP action, or a few simple ones, bring a stream to where
 * frames flow; from there on mutations explore.
 *
 * Waits and loops of the scripted codec are cut short: a fuzzer has no time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <dirent.h>
#include "../libqtest.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
#include "system/video-codec-test.h"
#include "virtio_video_actions.h"

#define PAGE            QVV_PAGE_SIZE

/* Guest memory of a program, in pages */
#define N_STREAMS       3
#define N_INPUTS        8       /* of each stream, see SETUP */
#define INPUT_PAGES     2
#define N_OUTPUTS       4
#define OUTPUT_PAGES    12
#define STREAM_PAGES    (N_INPUTS * INPUT_PAGES + N_OUTPUTS * OUTPUT_PAGES)
#define DATA_PAGES      (N_STREAMS * STREAM_PAGES)
#define COMMAND_PAGES   8
#define EVENT_PAGES     1
#define ALL_PAGES       (DATA_PAGES + COMMAND_PAGES + EVENT_PAGES)

#define RAM_SIZE        (64 * MiB)      /* -m, in the fuzz build and the test */
#define BIG_BUFFER      (16 * MiB)      /* where SETUP has room for any frame */
#define BIG_SIZE        (2 * MiB)

#define MAX_ACTIONS     200
#define MAX_COMMAND     (COMMAND_PAGES * PAGE / 4)

typedef struct Reader {
    const uint8_t *data;
    size_t size;
} Reader;

/* A ring whose descriptors are used one after the other, free or not */
typedef struct Ring {
    QVirtQueue *vq;
    uint16_t next_desc;
    uint16_t avail_idx;
} Ring;

struct VVA {
    QVVDriver *d;
    QTestState *qts;
    const VVAHost *host;
    uint64_t memory;            /* ALL_PAGES of guest memory */
    Ring rings[2];
    Reader in;
    size_t command_used;        /* bytes of the pages for commands */
    uint32_t cookie;
    /* What SETUP has done: pages are the other way round; frames' layout */
    bool scattered[N_STREAMS];
    QVVLayout layout[N_STREAMS];
    /* What the next command has wrong, and how often more it is sent */
    uint8_t spoil_offset, spoil_xor, spoil_cut;
    bool spoil;
    uint8_t repeat;
};

/*
 * The input
 */

static uint8_t next_u8(VVA *f)
{
    if (!f->in.size) {
        return 0;
    }
    f->in.size--;
    return *f->in.data++;
}

static uint16_t next_u16(VVA *f)
{
    uint16_t low = next_u8(f);

    return low | next_u8(f) << 8;
}

static uint32_t next_u32(VVA *f)
{
    uint32_t low = next_u16(f);

    return low | (uint32_t)next_u16(f) << 16;
}

static uint64_t next_u64(VVA *f)
{
    uint64_t low = next_u32(f);

    return low | (uint64_t)next_u32(f) << 32;
}

/* Mostly a small number, now and then any */
static uint32_t next_number(VVA *f, unsigned below)
{
    uint8_t byte = next_u8(f);

    return byte == 0xff ? next_u32(f) : byte % below;
}

static size_t next_bytes(VVA *f, uint8_t *buf, size_t size)
{
    size = MIN(size, f->in.size);
    memcpy(buf, f->in.data, size);
    f->in.data += size;
    f->in.size -= size;
    return size;
}

/*
 * Guest memory
 */

static void ram_write(VVA *f, uint64_t addr, const void *buf, size_t size)
{
    qvv_ram_write(&f->d->ram, addr, buf, size);
}

static uint64_t input_memory(VVA *f, unsigned stream, unsigned i)
{
    return f->memory + PAGE * (stream % N_STREAMS * STREAM_PAGES +
                               i % N_INPUTS * INPUT_PAGES);
}

static uint64_t output_memory(VVA *f, unsigned stream, unsigned i)
{
    return f->memory + PAGE * (stream % N_STREAMS * STREAM_PAGES +
                               N_INPUTS * INPUT_PAGES +
                               i % N_OUTPUTS * OUTPUT_PAGES);
}

/*
 * An address of every kind.  Of RAM only what clear_memory() knows: what one
 * program writes must not be read by the next.
 */
static uint64_t next_address(VVA *f)
{
    uint8_t kind = next_u8(f);
    uint64_t page = (uint64_t)next_u8(f) * PAGE;

    switch (kind % 16) {
    case 8:
        return 0xa0000 + page % (384 * KiB);            /* VGA, ROMs */
    case 9:
        return RAM_SIZE - 4 * PAGE + page % (8 * PAGE); /* RAM and a hole */
    case 10:
        return 0xe0000000 + page;                       /* BARs, our own */
    case 11:
        return 0xfec00000 + page * 16;                  /* IOAPIC, APIC */
    case 12:
        return 0xfffc0000 + page;                       /* BIOS, 4 GiB */
    case 13:
        return -page;                                   /* wraps */
    case 14:
        return f->memory + page % (DATA_PAGES * PAGE) + next_u16(f);
    case 15:
        return next_u64(f) | 1ull << 40;                /* nothing there */
    default:
        return f->memory + page % (DATA_PAGES * PAGE);
    }
}

static uint32_t next_length(VVA *f)
{
    uint8_t byte = next_u8(f);

    return byte == 0xff ? next_u32(f) : byte < 0x40 ? PAGE :
           byte < 0xf0 ? byte % 16 * PAGE : byte;
}

static void clear_memory(VVA *f)
{
    qtest_memset(f->qts, f->memory, 0, ALL_PAGES * PAGE);
    qtest_memset(f->qts, RAM_SIZE - 4 * PAGE, 0, 4 * PAGE);
}

/*
 * Rings
 */

/* The avail ring's index, at which the device looks when it is kicked */
static void ring_kick(VVA *f, Ring *ring)
{
    uint16_t idx = cpu_to_le16(ring->avail_idx);

    ram_write(f, ring->vq->avail + offsetof(struct vring_avail, idx), &idx,
              sizeof(idx));
    f->d->vdev->bus->virtqueue_kick(f->d->vdev, ring->vq);
}

/* Put @n descriptors into the ring as one chain. */
static void ring_add(VVA *f, Ring *ring, struct vring_desc *descs, unsigned n)
{
    uint16_t size = ring->vq->size;
    uint16_t head = cpu_to_le16(ring->next_desc);

    for (unsigned i = 0; i < n; i++) {
        uint16_t at = ring->next_desc;

        ring->next_desc = (at + 1) % size;
        descs[i].addr = cpu_to_le64(descs[i].addr);
        descs[i].len = cpu_to_le32(descs[i].len);
        descs[i].flags = cpu_to_le16(descs[i].flags |
                                     (i + 1 < n ? VRING_DESC_F_NEXT : 0));
        descs[i].next = cpu_to_le16(i + 1 < n ? ring->next_desc :
                                    descs[i].next);
        ram_write(f, ring->vq->desc + at * sizeof(*descs), &descs[i],
                  sizeof(*descs));
    }
    ram_write(f, ring->vq->avail + offsetof(struct vring_avail, ring) +
              ring->avail_idx % size * sizeof(head), &head, sizeof(head));
    ring->avail_idx++;
}

static void start(VVA *f, const QVVOptions *opts)
{
    static const QVVOptions defaults = { .manual_events = true };

    if (!qvv_start(f->d, opts)) {
        qvv_start(f->d, &defaults);
    }
    f->rings[VIRTIO_VIDEO_VQ_COMMAND] = (Ring) { f->d->cmdq.vq };
    f->rings[VIRTIO_VIDEO_VQ_EVENT] = (Ring) { f->d->eventq.vq };
}

/*
 * Commands
 */

static uint64_t command_memory(VVA *f, size_t size)
{
    uint64_t addr;

    size = ROUND_UP(size, 16);
    if (f->command_used + size > COMMAND_PAGES * PAGE) {
        /* Those from before may not have been read yet */
        f->host->settle(f->host->opaque);
        f->command_used = 0;
    }
    addr = f->memory + DATA_PAGES * PAGE + f->command_used;
    f->command_used += size;
    return addr;
}

static void send_once(VVA *f, const GByteArray *cmd)
{
    Ring *ring = &f->rings[VIRTIO_VIDEO_VQ_COMMAND];
    struct vring_desc desc = {
        .addr = command_memory(f, cmd->len),
        .len = cmd->len,
    };

    ram_write(f, desc.addr, cmd->data, cmd->len);
    ring_add(f, ring, &desc, 1);
    ring_kick(f, ring);
}

/* Send a command, spoilt if that was asked for. */
static void send_command(VVA *f, GByteArray *cmd)
{
    g_byte_array_set_size(cmd, MIN(cmd->len, MAX_COMMAND));
    if (f->spoil) {
        f->spoil = false;
        cmd->data[f->spoil_offset % cmd->len] ^= f->spoil_xor;
        g_byte_array_set_size(cmd, MAX(1, cmd->len - MIN(cmd->len,
                                                         f->spoil_cut)));
    }
    send_once(f, cmd);
    for (; f->repeat; f->repeat--) {
        send_once(f, cmd);
        if (f->repeat % 64 == 0) {
            f->host->settle(f->host->opaque);   /* the ring is short */
        }
    }
}

static void put_le32(GByteArray *buf, uint32_t value)
{
    value = cpu_to_le32(value);
    g_byte_array_append(buf, (uint8_t *)&value, sizeof(value));
}

static void put_le64(GByteArray *buf, uint64_t value)
{
    put_le32(buf, value);
    put_le32(buf, value >> 32);
}

static GByteArray *command_new(VVA *f, uint32_t type, uint32_t stream,
                               uint32_t queue)
{
    GByteArray *cmd = g_byte_array_new();

    put_le32(cmd, type);
    put_le32(cmd, stream);
    put_le32(cmd, queue);
    put_le32(cmd, ++f->cookie);
    return cmd;
}

static uint32_t next_stream(VVA *f)
{
    return next_number(f, N_STREAMS + 1);
}

static void open_stream(VVA *f, uint32_t stream, uint32_t type)
{
    g_autoptr(GByteArray) cmd = command_new(f, VIRTIO_VIDEO_CMD_STREAM_OPEN,
                                            stream,
                                            VIRTIO_VIDEO_QUEUE_TYPE_MAIN);

    put_le32(cmd, type);
    send_command(f, cmd);
}

/* CLOSE, UNBLOCK, DRAIN: no more than a header */
static void simple_command(VVA *f, uint32_t type, uint32_t stream,
                           uint32_t queue)
{
    g_autoptr(GByteArray) cmd = command_new(f, type, stream, queue);

    send_command(f, cmd);
}

static void set_params(VVA *f, uint32_t stream, uint32_t queue,
                       const GByteArray *set)
{
    g_autoptr(GByteArray) cmd =
        command_new(f, VIRTIO_VIDEO_CMD_STREAM_SET_PARAMS, stream, queue);

    g_byte_array_append(cmd, set->data, set->len);
    send_command(f, cmd);
}

static void queue_resource(VVA *f, uint32_t stream, uint32_t queue,
                           uint32_t id, const uint32_t *offsets,
                           const uint32_t *sizes)
{
    g_autoptr(GByteArray) cmd =
        command_new(f, VIRTIO_VIDEO_CMD_STREAM_RESOURCE_QUEUE, stream, queue);

    put_le32(cmd, id);
    put_le32(cmd, 0);
    put_le64(cmd, f->cookie);
    for (unsigned i = 0; i < VIRTIO_VIDEO_MAX_PLANES; i++) {
        put_le32(cmd, offsets[i]);
    }
    for (unsigned i = 0; i < VIRTIO_VIDEO_MAX_PLANES; i++) {
        put_le32(cmd, sizes[i]);
    }
    send_command(f, cmd);
}

/*
 * TLVs
 */

static const uint32_t fourccs[] = {
    DRM_FORMAT_NV12, DRM_FORMAT_YUV420, DRM_FORMAT_P010, DRM_FORMAT_XRGB8888,
};

static const struct {
    uint16_t width, height;
} sizes[] = {
    { 64, 48 }, { 100, 60 }, { 128, 96 }, { 63, 47 }, { 1, 1 }, { 640, 480 },
    { 1024, 1024 }, { 1025, 16 },
};

static const uint32_t control_ids[] = {
    VIRTIO_VIDEO_V4L2_CID_BITRATE,
    VIRTIO_VIDEO_V4L2_CID_H264_PROFILE, VIRTIO_VIDEO_V4L2_CID_H264_LEVEL,
    VIRTIO_VIDEO_V4L2_CID_VP8_PROFILE, VIRTIO_VIDEO_V4L2_CID_VP9_PROFILE,
    VIRTIO_VIDEO_V4L2_CID_HEVC_PROFILE, VIRTIO_VIDEO_V4L2_CID_HEVC_LEVEL,
    VIRTIO_VIDEO_V4L2_CID_MPEG2_LEVEL,
    0x009909ce,     /* V4L2_CID_MPEG_VIDEO_BITRATE_MODE */
    0x009909cb,     /* ..._GOP_SIZE */
    0x009909ca,     /* ..._B_FRAMES */
    0x009909e5,     /* ..._FORCE_KEY_FRAME */
    0x00990a61,     /* ..._H264_MIN_QP */
    0x00990a62,     /* ..._H264_MAX_QP */
};

static void next_raw_format(VVA *f, QVVRawFormat *format)
{
    uint8_t byte = next_u8(f);
    unsigned size = next_u8(f);
    uint8_t align = next_u8(f);

    *format = (QVVRawFormat) {
        .planes_layout = byte & 4 ? VIRTIO_VIDEO_PLANES_LAYOUT_MULTI_BUFFERS :
                         VIRTIO_VIDEO_PLANES_LAYOUT_SINGLE_BUFFER,
        .fourcc = fourccs[byte % ARRAY_SIZE(fourccs)],
        .width = sizes[size % ARRAY_SIZE(sizes)].width,
        .height = sizes[size % ARRAY_SIZE(sizes)].height,
        .stride_align = 1u << align % 8,
        .height_align = 1u << align / 8 % 8,
        .plane_align = align >> 6,
    };
    if (byte & 8) {
        format->width = next_u16(f);
        format->height = next_u16(f);
    }
    if (byte & 16) {
        format->planes_layout = next_u8(f);
        format->modifier = next_u8(f);
    }
    if (byte & 32) {
        format->stride_align = next_u32(f);
        format->height_align = next_u32(f);
        format->plane_align = next_u32(f);
    }
}

static void tlv_pages(VVA *f, GByteArray *set)
{
    g_autoptr(GByteArray) tlv = g_byte_array_new();
    uint32_t id = next_number(f, N_INPUTS + 1);
    uint8_t shape = next_u8(f);
    unsigned n_buffers = shape % 5, n = 0;

    put_le32(tlv, id);
    put_le32(tlv, 0);
    for (unsigned i = 0; i < VIRTIO_VIDEO_MAX_PLANES; i++) {
        uint32_t num = i < n_buffers ? next_number(f, 20) : 0;

        put_le32(tlv, num);
        n += MIN(num, 80);
    }
    /* One more or one less than it says */
    n += shape >> 6 == 1 ? 1 : shape >> 6 == 2 && n ? -1 : 0;
    for (unsigned i = 0; i < n; i++) {
        put_le64(tlv, next_address(f));
        put_le32(tlv, next_length(f));
        put_le32(tlv, 0);
    }
    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES, tlv->data,
                tlv->len);
}

static void tlv_controls(VVA *f, GByteArray *set)
{
    g_autoptr(GByteArray) tlv = g_byte_array_new();
    unsigned n = next_u8(f) % 6;

    for (unsigned i = 0; i < n; i++) {
        uint8_t id = next_u8(f);

        put_le32(tlv, id == 0xff ? next_u32(f) :
                      control_ids[id % ARRAY_SIZE(control_ids)]);
        put_le32(tlv, id & 0x40 ? next_u8(f) : 4);
        put_le32(tlv, id & 0x80 ? next_u32(f) : next_u8(f));
    }
    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_V4L2_CONTROLS, tlv->data, tlv->len);
}

static void tlv_bytes(VVA *f, GByteArray *set)
{
    uint32_t type = next_u8(f);
    uint8_t value[64];
    size_t size = next_bytes(f, value, next_u8(f) % sizeof(value));

    qvv_set_tlv(set, type, value, ROUND_DOWN(size, 4));
}

static void next_tlv(VVA *f, GByteArray *set, bool coded)
{
    uint8_t kind = next_u8(f);
    guint start = set->len;
    QVVRawFormat format;
    QVVRect crop;

    coded ^= kind >> 6 == 1;    /* a parameter of the other set */
    switch (kind % 8) {
    case 0:
        if (coded) {
            qvv_set_coded_format(set, next_number(f, 10));
        } else {
            next_raw_format(f, &format);
            qvv_set_raw_format(set, &format);
        }
        break;
    case 1: {
        uint32_t num = cpu_to_le32(next_number(f, N_INPUTS + 2));

        qvv_set_tlv(set, coded ? VIRTIO_VIDEO_TLV_CODED_RESOURCES :
                    VIRTIO_VIDEO_TLV_RAW_RESOURCES, &num, sizeof(num));
        break;
    }
    case 2:
    case 3:
        tlv_pages(f, set);
        break;
    case 4:
        crop.left = next_number(f, 128);
        crop.top = next_number(f, 128);
        crop.width = next_number(f, 128);
        crop.height = next_number(f, 128);
        qvv_set_crop(set, &crop);
        break;
    case 5:
        tlv_controls(f, set);
        break;
    case 6: {
        uint8_t object[24] = { next_u8(f), 0, 0, 0, 1 };

        qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RESOURCE_VIRTIO_OBJECT, object,
                    sizeof(object));
        break;
    }
    case 7:
        tlv_bytes(f, set);
        break;
    }
    if (kind >> 6 == 3) {
        stl_le_p(set->data + start + 4, next_number(f, 64));
    }
}

/* Resource @id with @n_buffers of @pages each, from @addr on */
static void tlv_good_pages(GByteArray *set, uint32_t id, unsigned n_buffers,
                           unsigned pages, uint64_t addr, bool scattered)
{
    g_autoptr(GByteArray) tlv = g_byte_array_new();

    put_le32(tlv, id);
    put_le32(tlv, 0);
    for (unsigned i = 0; i < VIRTIO_VIDEO_MAX_PLANES; i++) {
        put_le32(tlv, i >= n_buffers ? 0 : scattered ? pages : 1);
    }
    for (unsigned b = 0; b < n_buffers; b++, addr += pages * PAGE) {
        for (unsigned i = 0; i < (scattered ? pages : 1); i++) {
            /* Backwards, so that the pieces stay pieces */
            put_le64(tlv, addr + (scattered ? pages - 1 - i : 0) * PAGE);
            put_le32(tlv, scattered ? PAGE : pages * PAGE);
            put_le32(tlv, 0);
        }
    }
    qvv_set_tlv(set, VIRTIO_VIDEO_TLV_RESOURCE_GUEST_PAGES, tlv->data,
                tlv->len);
}

/*
 * Coded data
 */

/* Write to the start of a buffer of SETUP that has @pages at @addr. */
static void write_buffer(VVA *f, uint32_t stream, uint64_t addr,
                         unsigned pages, const uint8_t *data)
{
    for (unsigned i = 0; i < MIN(pages, INPUT_PAGES); i++) {
        unsigned page = f->scattered[stream % N_STREAMS] ? pages - 1 - i : i;

        ram_write(f, addr + page * PAGE, data + i * PAGE, PAGE);
    }
}

static void limit_arg(uint8_t *insn, uint32_t below)
{
    uint8_t *arg = insn + offsetof(VideoTestInsn, args);

    stl_le_p(arg, ldl_le_p(arg) % below);
}

/*
 * Whatever looks like an instruction must not take long.  The device may be
 * told to read from any offset, so look at each.
 */
static void tame_script(uint8_t *data, size_t size)
{
    for (size_t at = 0; at + sizeof(VideoTestInsn) <= size; at++) {
        if (ldl_le_p(data + at) != VIDEO_TEST_MAGIC) {
            continue;
        }
        switch (ldl_le_p(data + at + offsetof(VideoTestInsn, op))) {
        case VIDEO_TEST_DELAY:
        case VIDEO_TEST_HANG_HARD:
        case VIDEO_TEST_SLOW_EMIT:
        case VIDEO_TEST_SLOW_EMIT + 1:      /* of an encoder: SLOW_READ */
        case VIDEO_TEST_DIRECT:
        case VIDEO_TEST_SLOW_STOP:
            limit_arg(data + at, 2);
            break;
        case VIDEO_TEST_AGAIN:
            limit_arg(data + at, 64);
            break;
        }
    }
}

static void next_insn(VVA *f, VideoTestInsn *insn)
{
    uint8_t op = next_u8(f);
    uint8_t size;

    *insn = (VideoTestInsn) { VIDEO_TEST_MAGIC, op % 16 };
    switch (insn->op) {
    case VIDEO_TEST_FORMAT:
        size = next_u8(f);
        insn->args[0] = sizes[size % ARRAY_SIZE(sizes)].width;
        insn->args[1] = sizes[size % ARRAY_SIZE(sizes)].height;
        insn->args[4] = insn->args[0];
        insn->args[5] = insn->args[1];
        insn->args[6] = size & 8 ? 10 : 8;
        if (size & 16) {
            insn->args[2] = next_u8(f);
            insn->args[3] = next_u8(f);
            insn->args[4] = next_u8(f);
            insn->args[5] = next_u8(f);
        }
        break;
    case VIDEO_TEST_FRAME:
        insn->args[0] = next_u8(f);
        insn->args[1] = op & 0x40 ? next_u8(f) : 0;
        insn->args[2] = op >> 7;
        break;
    default:
        insn->args[0] = next_u8(f);
        insn->args[3] = op >> 6;
        break;
    }
}

static size_t next_script(VVA *f, uint8_t *data)
{
    unsigned n = next_u8(f) % 8;

    for (unsigned i = 0; i < n; i++) {
        VideoTestInsn insn;

        next_insn(f, &insn);
        for (unsigned w = 0; w < sizeof(insn) / 4; w++) {
            stl_le_p(data + i * sizeof(insn) + w * 4, ((uint32_t *)&insn)[w]);
        }
    }
    return n * sizeof(VideoTestInsn);
}

/*
 * Actions
 */

static void action_open(VVA *f)
{
    uint32_t stream = next_stream(f);

    open_stream(f, stream, next_number(f, 3));
}

/* A stream that is ready to decode or encode */
static void action_setup(VVA *f)
{
    uint32_t stream = next_u8(f) % N_STREAMS;
    uint8_t flags = next_u8(f);
    bool scattered = flags & 1, big = flags & 2;
    g_autoptr(GByteArray) coded = qvv_set_new(VIRTIO_VIDEO_TLV_CODED_SET);
    g_autoptr(GByteArray) raw = qvv_set_new(VIRTIO_VIDEO_TLV_RAW_SET);
    QVVLayout *layout = &f->layout[stream];
    QVVRawFormat format;

    f->scattered[stream] = scattered;
    open_stream(f, stream, flags >> 7);

    qvv_set_coded_format(coded, next_number(f, 9));
    qvv_set_num_resources(coded, N_INPUTS);
    for (unsigned i = 0; i < N_INPUTS; i++) {
        tlv_good_pages(coded, i, 1, INPUT_PAGES, input_memory(f, stream, i),
                       scattered);
    }
    set_params(f, stream, VIRTIO_VIDEO_QUEUE_TYPE_MAIN, coded);

    next_raw_format(f, &format);
    if (!qvv_layout(layout, &format)) {
        *layout = (QVVLayout) { .n_buffers = 1 };
    }
    qvv_set_raw_format(raw, &format);
    qvv_set_num_resources(raw, N_OUTPUTS);
    for (unsigned i = 0; i < N_OUTPUTS; i++) {
        if (big) {
            tlv_good_pages(raw, i, layout->n_buffers, BIG_SIZE / PAGE,
                           BIG_BUFFER + i * 4 * BIG_SIZE, false);
        } else {
            tlv_good_pages(raw, i, layout->n_buffers,
                           OUTPUT_PAGES / layout->n_buffers,
                           output_memory(f, stream, i), scattered);
        }
    }
    set_params(f, stream, VIRTIO_VIDEO_QUEUE_TYPE_MAIN, raw);

    /* A new format blocks the output */
    if (!(flags & 4)) {
        simple_command(f, VIRTIO_VIDEO_CMD_STREAM_UNBLOCK, stream,
                       VIRTIO_VIDEO_QUEUE_TYPE_MAIN);
    }
}

static void action_set_params(VVA *f)
{
    uint32_t stream = next_stream(f);
    uint8_t flags = next_u8(f);
    uint32_t queue = flags & 0x80 ? next_u8(f) : flags & 1;
    bool coded = flags & 2;
    uint32_t container = flags & 0x40 ? next_u8(f) :
                         coded ? VIRTIO_VIDEO_TLV_CODED_SET :
                         VIRTIO_VIDEO_TLV_RAW_SET;
    unsigned n = (flags >> 2) % 8;
    g_autoptr(GByteArray) set = qvv_set_new(container);

    for (unsigned i = 0; i < n; i++) {
        next_tlv(f, set, coded);
    }
    if (!(flags & 0x20)) {
        stl_le_p(set->data + 4, set->len - sizeof(struct virtio_video_tlv));
    }
    set_params(f, stream, queue, set);
}

static void action_get_params(VVA *f)
{
    uint32_t stream = next_stream(f);
    uint8_t flags = next_u8(f);
    g_autoptr(GByteArray) cmd =
        command_new(f, VIRTIO_VIDEO_CMD_STREAM_GET_PARAMS, stream, flags & 3);

    put_le32(cmd, flags & 0x80 ? next_u8(f) : 1 + (flags >> 2) % 2);
    put_le32(cmd, flags & 0x40 ? next_u8(f) : 0);
    send_command(f, cmd);
}

static void action_simple(VVA *f, uint32_t type, uint32_t queue)
{
    simple_command(f, type, next_stream(f), queue);
}

static void action_queue_reset(VVA *f)
{
    uint32_t stream = next_stream(f);
    g_autoptr(GByteArray) cmd =
        command_new(f, VIRTIO_VIDEO_CMD_STREAM_QUEUE_RESET, stream,
                    VIRTIO_VIDEO_QUEUE_TYPE_MAIN);

    put_le32(cmd, 1 + next_number(f, 3));
    send_command(f, cmd);
}

/* Offsets and sizes of planes that are not just 0 */
static void next_planes(VVA *f, uint32_t *offsets, uint32_t *data_sizes)
{
    unsigned n = next_u8(f) % (VIRTIO_VIDEO_MAX_PLANES + 1);

    for (unsigned i = 0; i < n; i++) {
        offsets[i] = next_u8(f) & 1 ? next_u32(f) : next_u16(f);
        data_sizes[i] = next_u16(f);
    }
}

/* Coded data, written to where SETUP has the resource */
static void action_queue_coded(VVA *f)
{
    uint32_t stream = next_stream(f);
    uint8_t flags = next_u8(f);
    uint32_t id = flags % 16 == 15 ? next_u32(f) : flags % 16;
    uint32_t offsets[VIRTIO_VIDEO_MAX_PLANES] = { };
    uint32_t data_sizes[VIRTIO_VIDEO_MAX_PLANES] = { };
    uint8_t data[INPUT_PAGES * PAGE] = { };
    size_t size;

    if (flags & 0x10) {
        size = next_bytes(f, data, next_u16(f) % (sizeof(data) + 1));
    } else {
        size = next_script(f, data);
    }
    tame_script(data, size);
    write_buffer(f, stream, input_memory(f, stream, id), INPUT_PAGES, data);
    data_sizes[0] = size;
    if (flags & 0x20) {
        next_planes(f, offsets, data_sizes);
    }
    queue_resource(f, stream, flags & 0x80 ? VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT :
                   VIRTIO_VIDEO_QUEUE_TYPE_INPUT, id, offsets, data_sizes);
}

/* A frame to encode: a script in its first pixels, all planes whole */
static void put_frame(VVA *f, uint32_t stream, uint32_t id, uint32_t *offsets,
                      uint32_t *data_sizes)
{
    const QVVLayout *layout = &f->layout[stream % N_STREAMS];
    uint8_t data[INPUT_PAGES * PAGE] = { };

    tame_script(data, next_script(f, data));
    write_buffer(f, stream, output_memory(f, stream, id),
                 OUTPUT_PAGES / MAX(1, layout->n_buffers), data);
    for (unsigned i = 0; i < layout->n_planes; i++) {
        offsets[i] = layout->offset[i];
        data_sizes[i] = layout->size[i];
    }
}

/* Some resources of the raw side, lent for frames or holding them */
static void action_queue_raw(VVA *f)
{
    uint32_t stream = next_stream(f);
    uint8_t flags = next_u8(f);
    bool encode = flags & 0x80;
    uint32_t id = flags % 16 == 15 ? next_u32(f) : flags % 16;
    unsigned n = 1 + (flags >> 4) % 4;
    uint32_t offsets[VIRTIO_VIDEO_MAX_PLANES] = { };
    uint32_t data_sizes[VIRTIO_VIDEO_MAX_PLANES] = { };

    if (encode) {
        put_frame(f, stream, id, offsets, data_sizes);
    }
    if (flags & 0x40) {
        next_planes(f, offsets, data_sizes);
    }
    for (unsigned i = 0; i < n; i++) {
        queue_resource(f, stream, encode ? VIRTIO_VIDEO_QUEUE_TYPE_INPUT :
                       VIRTIO_VIDEO_QUEUE_TYPE_OUTPUT, id + i, offsets,
                       data_sizes);
    }
}

static void action_bytes(VVA *f)
{
    g_autoptr(GByteArray) cmd = g_byte_array_new();
    uint8_t bytes[256];
    size_t size = next_bytes(f, bytes, next_u8(f));

    /* All types of commands are of this form; a mutation can change it */
    put_le32(cmd, 0x200 + next_number(f, 9));
    g_byte_array_append(cmd, bytes, size);
    send_command(f, cmd);
}

static void action_query_caps(VVA *f)
{
    uint64_t addr = command_memory(f, PAGE);
    uint32_t type = cpu_to_le32(VIRTIO_VIDEO_CMD_DEVICE_QUERY_CAPS);
    uint8_t size = next_u8(f);
    struct vring_desc descs[] = {
        { .addr = addr, .len = sizeof(type) },
        { .addr = addr + 16, .len = size & 1 ? size * 8 : PAGE - 16,
          .flags = VRING_DESC_F_WRITE },
    };

    ram_write(f, addr, &type, sizeof(type));
    ring_add(f, &f->rings[VIRTIO_VIDEO_VQ_COMMAND], descs,
             size == 2 ? 1 : 2);
    ring_kick(f, &f->rings[VIRTIO_VIDEO_VQ_COMMAND]);
}

static void action_post_events(VVA *f)
{
    static const uint32_t event_sizes[] = {
        2048, 2048, 96, 24, 16, 15, 8, 1
    };
    Ring *ring = &f->rings[VIRTIO_VIDEO_VQ_EVENT];
    uint8_t byte = next_u8(f);
    uint64_t addr = f->memory + (DATA_PAGES + COMMAND_PAGES) * PAGE;

    for (unsigned i = 0; i <= byte % 32; i++) {
        uint32_t size = event_sizes[byte >> 5];
        struct vring_desc descs[] = {
            { .addr = addr, .len = DIV_ROUND_UP(size, 2),
              .flags = VRING_DESC_F_WRITE },
            { .addr = addr + 2048, .len = MAX(1, size / 2),
              .flags = VRING_DESC_F_WRITE },
        };

        ring_add(f, ring, descs, 2);
    }
    ring_kick(f, ring);
}

/* A chain of any form, in either queue */
static void action_chain(VVA *f)
{
    uint8_t byte = next_u8(f);
    Ring *ring = &f->rings[byte & 1];
    struct vring_desc descs[8];
    unsigned n = 1 + (byte >> 1) % ARRAY_SIZE(descs);

    for (unsigned i = 0; i < n; i++) {
        uint8_t flags = next_u8(f);

        descs[i] = (struct vring_desc) {
            .addr = next_address(f),
            .len = flags & 0x80 ? next_u32(f) : next_u8(f),
            .flags = flags & 7,
            .next = flags & 0x40 ? next_u16(f) : 0,
        };
    }
    ring_add(f, ring, descs, n);
    if (byte & 0x80) {
        ring->avail_idx += next_u16(f);     /* more than the ring has */
    }
    ring_kick(f, ring);
}

static void action_reset_device(VVA *f)
{
    QVVOptions opts = { .manual_events = true };
    uint8_t byte = next_u8(f);

    if (byte & 1) {
        opts.features = next_u64(f) & ~((1ull << VIRTIO_F_RING_PACKED) |
                                        (1ull << VIRTIO_F_ACCESS_PLATFORM) |
                                        (1ull << VIRTIO_F_NOTIFICATION_DATA) |
                                        QVIRTIO_F_BAD_FEATURE);
    }
    qvv_stop(f->d);
    start(f, &opts);
}

static void action_reset_ring(VVA *f)
{
    unsigned index = next_u8(f) & 1;

    if (qvv_ring_reset(f->d, index)) {
        f->rings[index] = (Ring) { f->rings[index].vq };
    }
}

static void action_spoil(VVA *f)
{
    f->spoil = true;
    f->spoil_offset = next_u8(f);
    f->spoil_xor = next_u8(f);
    f->spoil_cut = next_u8(f) & 1 ? next_u8(f) : 0;
}

static void action_repeat(VVA *f)
{
    f->repeat = next_u8(f);
}

static void run_action(VVA *f)
{
    switch (next_u8(f) % 25) {
    case 0:
        action_open(f);
        break;
    case 1:
        action_simple(f, VIRTIO_VIDEO_CMD_STREAM_CLOSE,
                      VIRTIO_VIDEO_QUEUE_TYPE_MAIN);
        break;
    case 2:
    case 3:
        action_setup(f);
        break;
    case 4:
    case 5:
        action_set_params(f);
        break;
    case 6:
        action_get_params(f);
        break;
    case 7:
        action_simple(f, VIRTIO_VIDEO_CMD_STREAM_UNBLOCK,
                      VIRTIO_VIDEO_QUEUE_TYPE_MAIN);
        break;
    case 8:
        action_simple(f, VIRTIO_VIDEO_CMD_STREAM_DRAIN,
                      VIRTIO_VIDEO_QUEUE_TYPE_INPUT);
        break;
    case 9:
        action_queue_reset(f);
        break;
    case 10:
    case 11:
    case 12:
        action_queue_coded(f);
        break;
    case 13:
    case 14:
        action_queue_raw(f);
        break;
    case 15:
        action_bytes(f);
        break;
    case 16:
        action_query_caps(f);
        break;
    case 17:
        action_post_events(f);
        break;
    case 18:
        f->host->settle(f->host->opaque);
        break;
    case 19:
        action_chain(f);
        break;
    case 20:
        action_reset_device(f);
        break;
    case 21:
        action_reset_ring(f);
        break;
    case 22:
        action_spoil(f);
        break;
    case 23:
        f->host->pause(f->host->opaque, next_u8(f) & 1);
        break;
    case 24:
        action_repeat(f);
        break;
    }
}

VVA *vva_new(QVirtioVideo *v, QGuestAllocator *alloc, QTestState *qts,
             const VVAHost *host)
{
    VVA *f = g_new0(VVA, 1);

    f->d = qvv_new(v, alloc, qts);
    f->qts = qts;
    f->host = host;
    f->memory = guest_alloc(alloc, ALL_PAGES * PAGE);
    return f;
}

void vva_free(VVA *f)
{
    qvv_free(f->d);
    g_free(f);
}

void vva_run(VVA *f, const uint8_t *data, size_t size)
{
    static const QVVOptions opts = { .manual_events = true };

    f->in = (Reader) { data, size };
    f->cookie = 0;
    f->command_used = 0;
    f->spoil = false;
    f->repeat = 0;
    memset(f->scattered, 0, sizeof(f->scattered));
    memset(f->layout, 0, sizeof(f->layout));
    clear_memory(f);
    start(f, &opts);
    for (unsigned i = 0; f->in.size && i < MAX_ACTIONS; i++) {
        run_action(f);
    }
    f->host->settle(f->host->opaque);
    f->host->pause(f->host->opaque, false);
    f->host->settle(f->host->opaque);
    qvv_stop(f->d);
}

/*
 * Threads
 */

static bool task_sleeps(const char *tasks, const char *tid)
{
    g_autofree char *path = g_build_filename(tasks, tid, "stat", NULL);
    g_autofree char *stat = NULL;
    const char *state;

    if (!g_file_get_contents(path, &stat, NULL, NULL)) {
        return true;    /* it has ended */
    }
    state = strrchr(stat, ')');
    return state && (state[2] == 'S' || state[2] == 'Z');
}

bool vva_all_sleep(pid_t pid)
{
    g_autofree char *tasks = pid ? g_strdup_printf("/proc/%d/task", pid) :
                             g_strdup("/proc/self/task");
    g_autofree char *self = g_strdup_printf("%d", pid ? 0 : getpid());
    g_autoptr(GDir) dir = g_dir_open(tasks, 0, NULL);
    const char *tid;

    while (dir && (tid = g_dir_read_name(dir))) {
        if (strcmp(tid, self) && !task_sleeps(tasks, tid)) {
            return false;
        }
    }
    return true;
}
