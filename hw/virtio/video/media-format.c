/*
 * Virtio media: formats, frame sizes, selections, frame rate
 *
 * V4L2 moves what it can't have to what it can; only the type of a buffer must
 * be right.  Runs in the device's context with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "media.h"
#include "trace.h"

/* Coded buffers are no smaller, and not larger for nothing */
#define MIN_CODED_SIZE (4 * KiB)
#define DEF_CODED_SIZE (512 * KiB)

/* Applications expect rows without more padding than they know from others */
#define STRIDE_ALIGN 16

/* Frames per second that an encoder has if nobody says, and at most */
#define DEF_RATE 30
#define MAX_RATE 1000

static const struct CodedInfo {
    uint32_t pixelformat;
    const char *name;
} coded_infos[VIDEO_CODED__MAX] = {
    [VIDEO_CODED_MPEG2] = { VM_PIX_FMT_MPEG2, "MPEG-2 ES" },
    [VIDEO_CODED_MPEG4] = { VM_PIX_FMT_MPEG4, "MPEG-4 Part 2 ES" },
    [VIDEO_CODED_H264] = { VM_PIX_FMT_H264, "H.264" },
    [VIDEO_CODED_HEVC] = { VM_PIX_FMT_HEVC, "HEVC" },
    [VIDEO_CODED_VP8] = { VM_PIX_FMT_VP8, "VP8" },
    [VIDEO_CODED_VP9] = { VM_PIX_FMT_VP9, "VP9" },
    [VIDEO_CODED_AV1] = { VM_PIX_FMT_AV1, "AV1" },
};

/* V4L2 has the same numbers as DRM for the raw formats that there are */
static const struct RawInfo {
    uint32_t fourcc;
    const char *name;
} raw_infos[] = {
    { VM_FOURCC('N', 'V', '1', '2'), "Y/UV 4:2:0" },
    { VM_FOURCC('Y', 'U', '1', '2'), "Planar YUV 4:2:0" },
    { VM_FOURCC('P', '0', '1', '0'), "10-bit Y/UV 4:2:0" },
    { VM_FOURCC('X', 'R', '2', '4'), "32-bit BGRX 8-8-8-8" },
};

static const VideoCodedCaps *session_coded(const MediaSession *s, unsigned *n)
{
    const VideoCodecCaps *caps = &s->m->dev->ctx.caps;

    *n = media_is_decoder(s) ? caps->n_decoders : caps->n_encoders;
    return media_is_decoder(s) ? caps->decoders : caps->encoders;
}

static const VideoCodedCaps *session_find_coded(const MediaSession *s,
                                                uint32_t pixelformat)
{
    unsigned n;
    const VideoCodedCaps *coded = session_coded(s, &n);

    for (unsigned i = 0; i < n; i++) {
        if (coded_infos[coded[i].format].pixelformat == pixelformat) {
            return &coded[i];
        }
    }
    return NULL;
}

static VideoStreamInfo session_info(const MediaSession *s)
{
    VideoStreamInfo info;

    video_stream_get_info(media_stream(s), &info);
    return info;
}

/* One parameter, in a stream where that needs no drain: applied at once */
static int session_set_param(MediaSession *s, VideoSet set, VideoParam param)
{
    VideoParams *params = video_params_new(set);

    s->refused = false;
    video_params_add(params, param);
    video_stream_set_params(media_stream(s), params, false, 0);
    return s->refused ? VM_EINVAL : 0;
}

bool media_init_format(MediaSession *s)
{
    VideoRawFormat raw = session_info(s).raw;
    int ret;

    s->coded_size = MIN(DEF_CODED_SIZE, s->m->dev->ctx.max_coded_size);
    s->pix.colorspace = cpu_to_le32(VM_COLORSPACE_REC709);
    s->rate = (struct vm_fract) { 1, DEF_RATE };

    /* That changed the output of a decoder that has none yet */
    raw.stride_align = STRIDE_ALIGN;
    ret = session_set_param(s, VIDEO_SET_RAW, (VideoParam) {
        .type = VIDEO_PARAM_RAW_FORMAT, .raw = raw,
    });
    video_stream_restart(media_stream(s));
    if (media_is_decoder(s)) {
        video_stream_expect_size(media_stream(s), raw.width, raw.height);
    }
    return !ret;
}

/*
 * Layouts
 */

static uint32_t raw_sizeimage(const VideoRawFormat *raw)
{
    VideoLayout layout;

    video_format_layout(raw, &layout);
    return layout.buffer_size[0];
}

uint32_t media_sizeimage(MediaSession *s, const MediaQueue *q)
{
    VideoStreamInfo info = session_info(s);

    return media_is_coded(s, q) ? s->coded_size : raw_sizeimage(&info.raw);
}

/* What a format has besides its size and its plane */
static void pix_fill(const struct vm_pix_format_mplane *colours,
                     uint32_t pixelformat, struct vm_pix_format_mplane *pix)
{
    *pix = (struct vm_pix_format_mplane) {
        .pixelformat = cpu_to_le32(pixelformat),
        .field = cpu_to_le32(VM_FIELD_NONE),
        .colorspace = colours->colorspace,
        .num_planes = 1,
        .ycbcr_enc = colours->ycbcr_enc,
        .quantization = colours->quantization,
        .xfer_func = colours->xfer_func,
    };
}

static void pix_fill_raw(const struct vm_pix_format_mplane *colours,
                         const VideoRawFormat *raw,
                         struct vm_pix_format_mplane *pix)
{
    VideoLayout layout;

    video_format_layout(raw, &layout);
    pix_fill(colours, raw->fourcc, pix);
    pix->width = cpu_to_le32(raw->width);
    pix->height = cpu_to_le32(raw->height);
    pix->plane_fmt[0].sizeimage = cpu_to_le32(layout.buffer_size[0]);
    pix->plane_fmt[0].bytesperline = cpu_to_le32(layout.planes[0].stride);
}

static void pix_fill_coded(const struct vm_pix_format_mplane *colours,
                           VideoCodedFormat coded, uint32_t width,
                           uint32_t height, uint32_t size,
                           struct vm_pix_format_mplane *pix)
{
    pix_fill(colours, coded_infos[coded].pixelformat, pix);
    pix->width = cpu_to_le32(width);
    pix->height = cpu_to_le32(height);
    pix->plane_fmt[0].sizeimage = cpu_to_le32(size);
}

/* The colours that a guest asks for, or those that there are */
static struct vm_pix_format_mplane pix_colours(const MediaSession *s,
    const struct vm_pix_format_mplane *asked, bool may_set)
{
    return may_set && asked->colorspace ? *asked : s->pix;
}

/*
 * Formats
 */

int media_enum_fmt(MediaSession *s, struct vm_fmtdesc *desc)
{
    MediaQueue *q = media_queue_of(s, le32_to_cpu(desc->type));
    const VideoCodecCaps *caps = &s->m->dev->ctx.caps;
    uint32_t index = le32_to_cpu(desc->index);
    const char *name = NULL;
    uint32_t pixelformat = 0, flags = 0;

    if (!q) {
        return VM_EINVAL;
    }
    if (media_is_coded(s, q)) {
        unsigned n;
        const VideoCodedCaps *coded = session_coded(s, &n);

        if (index >= n) {
            return VM_EINVAL;
        }
        pixelformat = coded_infos[coded[index].format].pixelformat;
        name = coded_infos[coded[index].format].name;
        flags = VM_FMT_FLAG_COMPRESSED |
                (media_is_decoder(s) ? VM_FMT_FLAG_DYN_RESOLUTION : 0);
    } else {
        for (unsigned i = 0; i < caps->n_raws && !name; i++) {
            if (video_stream_raw_linked(media_stream(s), caps->raws[i]) &&
                !index--) {
                for (unsigned j = 0; j < ARRAY_SIZE(raw_infos); j++) {
                    if (raw_infos[j].fourcc == caps->raws[i]) {
                        pixelformat = raw_infos[j].fourcc;
                        name = raw_infos[j].name;
                    }
                }
            }
        }
        if (!name) {
            return VM_EINVAL;
        }
    }

    *desc = (struct vm_fmtdesc) {
        .index = desc->index,
        .type = desc->type,
        .flags = cpu_to_le32(flags),
        .pixelformat = cpu_to_le32(pixelformat),
    };
    pstrcpy((char *)desc->description, sizeof(desc->description), name);
    return 0;
}

static void session_current(MediaSession *s, const MediaQueue *q,
                            struct vm_pix_format_mplane *pix)
{
    VideoStreamInfo info = session_info(s);

    if (!media_is_coded(s, q)) {
        pix_fill_raw(&s->pix, &info.raw, pix);
        return;
    }
    if (media_is_decoder(s)) {
        info.crop.width = info.raw.width;
        info.crop.height = info.raw.height;
    }
    pix_fill_coded(&s->pix, info.coded, info.crop.width, info.crop.height,
                   s->coded_size, pix);
}

static void format_answer(struct vm_format *format,
                          const struct vm_pix_format_mplane *pix)
{
    *format = (struct vm_format) { .type = format->type };
    format->pix_mp = *pix;
}

int media_g_fmt(MediaSession *s, struct vm_format *format)
{
    MediaQueue *q = media_queue_of(s, le32_to_cpu(format->type));
    struct vm_pix_format_mplane pix;

    if (!q) {
        return VM_EINVAL;
    }
    session_current(s, q, &pix);
    format_answer(format, &pix);
    return 0;
}

/* What a guest gets that asks for @pix on the coded side */
typedef struct CodedWish {
    const VideoCodedCaps *caps;
    uint32_t width, height, size;
} CodedWish;

static CodedWish session_wish_coded(MediaSession *s,
                                    const struct vm_pix_format_mplane *pix)
{
    VideoStreamInfo info = session_info(s);
    const VideoStreamContext *ctx = &s->m->dev->ctx;
    uint32_t size = le32_to_cpu(pix->plane_fmt[0].sizeimage);
    uint32_t width = le32_to_cpu(pix->width);
    uint32_t height = le32_to_cpu(pix->height);
    CodedWish wish = {
        .caps = session_find_coded(s, le32_to_cpu(pix->pixelformat)),
    };
    VideoSizes sizes;

    if (!wish.caps) {
        wish.caps = video_stream_coded_caps(media_stream(s), info.coded);
    }
    if (media_is_decoder(s)) {
        sizes = video_coded_sizes(wish.caps, 0, ctx->max_width,
                                  ctx->max_height);
        wish.width = video_range_closest(&sizes.width,
                                         width ?: info.raw.width);
        wish.height = video_range_closest(&sizes.height,
                                          height ?: info.raw.height);
        /* As much as half of an uncompressed frame */
        size = size ?: MAX(DEF_CODED_SIZE,
                           (uint64_t)wish.width * wish.height * 3 / 4);
    } else {
        /* The frames have the size */
        wish.width = info.crop.width;
        wish.height = info.crop.height;
        /* The guest can't know how large it can get, but that is safe */
        size = MAX(size, (uint64_t)wish.width * wish.height * 3 / 2);
        size = MAX(size, DEF_CODED_SIZE);
    }
    size = MIN(MAX(size, MIN_CODED_SIZE), ctx->max_coded_size);
    wish.size = size;
    return wish;
}

/* The same of the raw side; of its fourcc, if the coded format goes with it */
static VideoRawFormat session_wish_raw(MediaSession *s,
                                       const struct vm_pix_format_mplane *pix)
{
    VideoStreamInfo info = session_info(s);
    uint32_t fourcc = le32_to_cpu(pix->pixelformat);
    VideoRawFormat raw = info.raw;

    if (video_stream_raw_linked(media_stream(s), fourcc)) {
        raw.fourcc = fourcc;
    }
    if (!media_is_decoder(s)) {
        raw.width = le32_to_cpu(pix->width) ?: raw.width;
        raw.height = le32_to_cpu(pix->height) ?: raw.height;
    }
    video_stream_adjust_raw(media_stream(s), &raw);
    return raw;
}

static void session_try(MediaSession *s, const MediaQueue *q,
                        struct vm_pix_format_mplane *pix)
{
    struct vm_pix_format_mplane colours =
        pix_colours(s, pix, q->queue == VIDEO_QUEUE_INPUT);

    if (media_is_coded(s, q)) {
        CodedWish wish = session_wish_coded(s, pix);

        pix_fill_coded(&colours, wish.caps->format, wish.width, wish.height,
                       wish.size, pix);
    } else {
        VideoRawFormat raw = session_wish_raw(s, pix);

        pix_fill_raw(&colours, &raw, pix);
    }
}

int media_try_fmt(MediaSession *s, struct vm_format *format)
{
    MediaQueue *q = media_queue_of(s, le32_to_cpu(format->type));
    struct vm_pix_format_mplane pix;

    if (!q) {
        return VM_EINVAL;
    }
    pix = format->pix_mp;
    session_try(s, q, &pix);
    format_answer(format, &pix);
    return 0;
}

static int session_set_coded(MediaSession *s, VideoCodedFormat coded)
{
    return session_set_param(s, VIDEO_SET_CODED, (VideoParam) {
        .type = VIDEO_PARAM_CODED_FORMAT, .coded = coded,
    });
}

/* The codec's last words may be that it has failed */
static int session_restart(MediaSession *s)
{
    if (!video_stream_restart(media_stream(s))) {
        return VM_EBUSY;
    }
    return media_is_alive(s) ? 0 : VM_EIO;
}

static int decoder_s_fmt_coded(MediaSession *s,
                               const struct vm_pix_format_mplane *pix)
{
    CodedWish wish = session_wish_coded(s, pix);
    VideoStreamInfo info = session_info(s);
    int ret;

    if (wish.caps->format != info.coded &&
        s->queues[VIDEO_QUEUE_OUTPUT].n_buffers) {
        return VM_EBUSY;
    }
    /* Without buffers on the OUTPUT queue there is nothing to be lost */
    ret = session_restart(s) ?: session_set_coded(s, wish.caps->format);
    if (ret) {
        return ret;
    }
    s->coded_size = wish.size;
    if (!s->queues[VIDEO_QUEUE_OUTPUT].n_buffers) {
        video_stream_expect_size(media_stream(s), wish.width, wish.height);
    }
    media_lend_buffers(s);
    return 0;
}

static int encoder_s_fmt_coded(MediaSession *s,
                               const struct vm_pix_format_mplane *pix)
{
    CodedWish wish = session_wish_coded(s, pix);
    uint64_t active;
    int ret;

    /* It may change the format of OUTPUT, too, so that has no buffers either */
    if (s->queues[VIDEO_QUEUE_INPUT].n_buffers) {
        return VM_EBUSY;
    }
    ret = session_restart(s);
    if (!ret) {
        active = media_active_controls(s);
        ret = session_set_coded(s, wish.caps->format);
    }
    if (!ret) {
        s->coded_size = wish.size;
        ret = media_apply_controls(s, active);
    }
    return ret;
}

/*
 * Coded buffers have room for frames of the present size.  V4L2 sets the format
 * of CAPTURE first, and looks at it again before it makes buffers.
 */
static void encoder_grow_coded(MediaSession *s)
{
    const struct vm_pix_format_mplane pix = {
        .plane_fmt[0].sizeimage = cpu_to_le32(s->coded_size),
    };

    if (!s->queues[VIDEO_QUEUE_OUTPUT].n_buffers) {
        s->coded_size = session_wish_coded(s, &pix).size;
    }
}

static int session_s_fmt_raw(MediaSession *s,
                             const struct vm_pix_format_mplane *pix)
{
    VideoRawFormat raw = session_wish_raw(s, pix);
    int ret;

    if (media_is_decoder(s)) {
        /* STREAMON lets it go on */
        video_stream_hold_output(media_stream(s));
    } else if (s->queues[VIDEO_QUEUE_OUTPUT].streaming) {
        return VM_EBUSY;
    } else {
        ret = session_restart(s);
        if (ret) {
            return ret;
        }
    }
    ret = session_set_param(s, VIDEO_SET_RAW, (VideoParam) {
        .type = VIDEO_PARAM_RAW_FORMAT, .raw = raw,
    });
    if (!ret && !media_is_decoder(s)) {
        encoder_grow_coded(s);
    }
    return ret;
}

int media_s_fmt(MediaSession *s, struct vm_format *format)
{
    MediaQueue *q = media_queue_of(s, le32_to_cpu(format->type));
    struct vm_pix_format_mplane pix;
    int ret;

    if (!q) {
        return VM_EINVAL;
    }
    if (q->n_buffers) {
        return VM_EBUSY;
    }
    pix = format->pix_mp;
    if (!media_is_coded(s, q)) {
        ret = session_s_fmt_raw(s, &pix);
    } else if (media_is_decoder(s)) {
        ret = decoder_s_fmt_coded(s, &pix);
    } else {
        ret = encoder_s_fmt_coded(s, &pix);
    }
    if (ret) {
        return ret;
    }
    if (q->queue == VIDEO_QUEUE_INPUT) {
        s->pix = pix_colours(s, &pix, true);
    }
    session_current(s, q, &pix);
    trace_media_format(s->m->dev, s->id, media_queue_type(q),
                       le32_to_cpu(pix.pixelformat), le32_to_cpu(pix.width),
                       le32_to_cpu(pix.height),
                       le32_to_cpu(pix.plane_fmt[0].sizeimage));
    format_answer(format, &pix);
    return 0;
}

/*
 * Sizes and rates
 */

/* Returns: false if @pixelformat is none of the session's */
static bool session_sizes(MediaSession *s, uint32_t pixelformat,
                          VideoSizes *sizes)
{
    const VideoCodedCaps *coded = session_find_coded(s, pixelformat);
    const VideoStreamContext *ctx = &s->m->dev->ctx;

    if (coded) {
        *sizes = video_coded_sizes(coded, 0, ctx->max_width, ctx->max_height);
        return true;
    }
    *sizes = video_stream_sizes(media_stream(s), pixelformat);
    return video_stream_raw_linked(media_stream(s), pixelformat);
}

int media_enum_framesizes(MediaSession *s, struct vm_frmsizeenum *size)
{
    VideoSizes sizes;

    if (size->index ||
        !session_sizes(s, le32_to_cpu(size->pixel_format), &sizes)) {
        return VM_EINVAL;
    }
    *size = (struct vm_frmsizeenum) {
        .pixel_format = size->pixel_format,
        .type = cpu_to_le32(sizes.width.step == 1 && sizes.height.step == 1 ?
                            VM_FRMSIZE_TYPE_CONTINUOUS :
                            VM_FRMSIZE_TYPE_STEPWISE),
        .min_width = cpu_to_le32(sizes.width.min),
        .max_width = cpu_to_le32(sizes.width.max),
        .step_width = cpu_to_le32(sizes.width.step),
        .min_height = cpu_to_le32(sizes.height.min),
        .max_height = cpu_to_le32(sizes.height.max),
        .step_height = cpu_to_le32(sizes.height.step),
    };
    return 0;
}

static bool in_range(const VideoRange *range, uint32_t value)
{
    return video_range_closest(range, value) == value;
}

int media_enum_frameintervals(MediaSession *s, struct vm_frmivalenum *ival)
{
    VideoSizes sizes;

    if (media_is_decoder(s)) {
        return VM_ENOTTY;
    }
    if (ival->index ||
        !session_sizes(s, le32_to_cpu(ival->pixel_format), &sizes) ||
        !in_range(&sizes.width, le32_to_cpu(ival->width)) ||
        !in_range(&sizes.height, le32_to_cpu(ival->height))) {
        return VM_EINVAL;
    }
    ival->type = cpu_to_le32(VM_FRMIVAL_TYPE_CONTINUOUS);
    ival->min = (struct vm_fract) { cpu_to_le32(1), cpu_to_le32(MAX_RATE) };
    ival->max = (struct vm_fract) { cpu_to_le32(1), cpu_to_le32(1) };
    ival->step = (struct vm_fract) { cpu_to_le32(1), cpu_to_le32(1) };
    memset(ival->reserved, 0, sizeof(ival->reserved));
    return 0;
}

/* Codecs store times in units of one second / denominator with 16 bits */
#define MAX_RATE_PART 65535

static uint32_t gcd(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/*
 * The time of a frame that is in force if @time is asked for: between a second
 * and 1 / MAX_RATE, in numbers that encoders can have.
 */
static struct vm_fract rate_adjust(struct vm_fract time)
{
    uint32_t div;

    if (!time.numerator || !time.denominator) {
        return (struct vm_fract) { 1, DEF_RATE };
    }
    if (time.numerator > time.denominator) {
        return (struct vm_fract) { 1, 1 };
    }
    if ((uint64_t)time.numerator * MAX_RATE < time.denominator) {
        return (struct vm_fract) { 1, MAX_RATE };
    }
    div = gcd(time.numerator, time.denominator);
    time.numerator /= div;
    time.denominator /= div;
    /* The numerator is not so much smaller that nothing would be left of it */
    while (time.denominator > MAX_RATE_PART) {
        time.numerator >>= 1;
        time.denominator >>= 1;
    }
    return time;
}

int media_parm(MediaSession *s, struct vm_streamparm *parm, bool set)
{
    MediaQueue *q = media_queue_of(s, le32_to_cpu(parm->type));

    if (media_is_decoder(s)) {
        return VM_ENOTTY;
    }
    if (!q || q->queue != VIDEO_QUEUE_INPUT) {
        return VM_EINVAL;
    }
    if (set) {
        s->rate = rate_adjust((struct vm_fract) {
            le32_to_cpu(parm->timeperframe.numerator),
            le32_to_cpu(parm->timeperframe.denominator),
        });
        video_stream_set_rate(media_stream(s), s->rate.denominator,
                              s->rate.numerator);
    }
    *parm = (struct vm_streamparm) {
        .type = parm->type,
        .capability = cpu_to_le32(VM_CAP_TIMEPERFRAME),
        .timeperframe.numerator = cpu_to_le32(s->rate.numerator),
        .timeperframe.denominator = cpu_to_le32(s->rate.denominator),
    };
    return 0;
}

/*
 * Selections: a decoder composes what is visible into its frames, an encoder
 * crops its frames to what it encodes.
 */

static int selection_get(MediaSession *s, uint32_t target, VideoRect *rect)
{
    VideoStreamInfo info = session_info(s);
    VideoRect full = { .width = info.raw.width, .height = info.raw.height };

    switch (target) {
    case VM_SEL_TGT_CROP:
        *rect = info.crop;
        return 0;
    case VM_SEL_TGT_CROP_DEFAULT:
        *rect = media_is_decoder(s) ? info.crop : full;
        return 0;
    case VM_SEL_TGT_CROP_BOUNDS:
        *rect = full;
        return 0;
    case VM_SEL_TGT_COMPOSE:
    case VM_SEL_TGT_COMPOSE_DEFAULT:
        *rect = info.crop;
        return media_is_decoder(s) ? 0 : VM_EINVAL;
    case VM_SEL_TGT_COMPOSE_BOUNDS:
    case VM_SEL_TGT_COMPOSE_PADDED:
        *rect = full;
        return media_is_decoder(s) ? 0 : VM_EINVAL;
    default:
        return VM_EINVAL;
    }
}

static int encoder_set_crop(MediaSession *s, const struct vm_selection *sel)
{
    VideoStreamInfo info = session_info(s);
    VideoRect crop = {
        .left = MAX(0, (int32_t)le32_to_cpu(sel->left)),
        .top = MAX(0, (int32_t)le32_to_cpu(sel->top)),
        .width = le32_to_cpu(sel->width),
        .height = le32_to_cpu(sel->height),
    };
    int ret;

    if (s->queues[VIDEO_QUEUE_INPUT].streaming ||
        s->queues[VIDEO_QUEUE_OUTPUT].streaming) {
        return crop.width == info.crop.width &&
               crop.height == info.crop.height &&
               crop.left == info.crop.left && crop.top == info.crop.top ?
               0 : VM_EBUSY;
    }
    ret = session_restart(s);
    if (ret) {
        return ret;
    }
    return session_set_param(s, VIDEO_SET_RAW, (VideoParam) {
        .type = VIDEO_PARAM_CROP, .crop = crop,
    });
}

int media_selection(MediaSession *s, struct vm_selection *sel, bool set)
{
    uint32_t type = le32_to_cpu(sel->type);
    uint32_t target = le32_to_cpu(sel->target);
    bool raw_side = media_is_decoder(s) ?
        type == VM_BUF_TYPE_VIDEO_CAPTURE ||
        type == VM_BUF_TYPE_VIDEO_CAPTURE_MPLANE :
        type == VM_BUF_TYPE_VIDEO_OUTPUT ||
        type == VM_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
    VideoRect rect;
    int ret = raw_side ? selection_get(s, target, &rect) : VM_EINVAL;

    if (!ret && set) {
        if (!media_is_decoder(s) && target == VM_SEL_TGT_CROP) {
            ret = encoder_set_crop(s, sel);
        } else if (!media_is_decoder(s) || target != VM_SEL_TGT_COMPOSE) {
            ret = VM_EINVAL;
        }
        if (!ret) {
            ret = selection_get(s, target, &rect);
        }
    }
    if (ret) {
        return ret;
    }
    sel->left = cpu_to_le32(rect.left);
    sel->top = cpu_to_le32(rect.top);
    sel->width = cpu_to_le32(rect.width);
    sel->height = cpu_to_le32(rect.height);
    return 0;
}
