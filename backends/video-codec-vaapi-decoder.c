/*
 * Video codec on a GPU with VA-API: decoding
 *
 * The decoder is video-codec-libav's, with libavcodec's VA-API acceleration:
 * libavcodec parses, the GPU decodes into surfaces, and their pixels are copied
 * into guest memory by the worker.
 *
 * A GPU's errors show at two places.  What the driver refuses when a picture is
 * handed over makes the input bad, and libavcodec may still bring the surface
 * that it was to be decoded to.  What goes wrong on the GPU itself shows only
 * when we wait for the surface.  Either way the frame is lost and its output is
 * marked, and decoding goes on if the GPU still does anything.  What comes
 * before the next key frame may refer to what was lost: it is shown, and
 * marked.
 *
 * All functions named vaapi_dec_* run in the worker thread of a session.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qapi/error.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "trace.h"
#include "video-codec-libav-decoder.h"
#include "video-codec-vaapi.h"

#include <libavutil/pixdesc.h>

/* Inputs whose frames may still come; more than any decoder holds back */
#define VAAPI_MAX_BAD 32
#define VAAPI_MAX_HELD 32

/*
 * An input whose frame has not come yet.
 * @losses: pictures that were lost before it, in the order of decoding
 */
typedef struct VaapiHeld {
    uint64_t timestamp;
    unsigned losses;
} VaapiHeld;

/* What LibavDecoder.hw is here */
typedef struct VaapiDecoder {
    VideoCodecVaapi *vaapi;
    VaapiDisplay *display;
    VideoCodecVaapiPath path;   /* of the last frame */
    VaapiImage image;           /* for those that the CPU copies */
    VaapiImport import;         /* for those that it does not */
    bool forced;                /* the user has chosen the path */
    bool software;              /* this stream is decoded in software */
    bool replace;               /* ... and needs another decoder for that */
    unsigned failures;          /* of pictures in a row */
    uint64_t bad[VAAPI_MAX_BAD];        /* timestamps, the oldest first */
    unsigned n_bad;
    bool last_was_bad;                  /* the last input */
    VaapiHeld held[VAAPI_MAX_HELD];     /* the oldest first */
    unsigned n_held;
    unsigned losses;                    /* of pictures, by the GPU */
    unsigned made_up;                   /* of these, before the last key */
} VaapiDecoder;

/* In order of preference.  Profiles for 10 bits come in a list of their own */
static const struct {
    VideoCodedFormat format;
    const char *decoder;
    VAProfile profiles[VAAPI_MAX_PROFILES];
    VAProfile deep_profile;
} vaapi_decoders[] = {
    { VIDEO_CODED_H264, "h264",
      { VAProfileH264High, VAProfileH264Main,
        VAProfileH264ConstrainedBaseline, VAProfileNone }, VAProfileNone },
    { VIDEO_CODED_HEVC, "hevc",
      { VAProfileHEVCMain, VAProfileNone }, VAProfileHEVCMain10 },
    { VIDEO_CODED_VP9, "vp9",
      { VAProfileVP9Profile0, VAProfileNone }, VAProfileVP9Profile2 },
    { VIDEO_CODED_VP8, "vp8",
      { VAProfileVP8Version0_3, VAProfileNone }, VAProfileNone },
    /* its main profile has both depths */
    { VIDEO_CODED_AV1, "av1",
      { VAProfileAV1Profile0, VAProfileNone }, VAProfileAV1Profile0 },
    { VIDEO_CODED_MPEG2, "mpeg2video",
      { VAProfileMPEG2Main, VAProfileMPEG2Simple, VAProfileNone },
      VAProfileNone },
    { VIDEO_CODED_MPEG4, "mpeg4",
      { VAProfileMPEG4AdvancedSimple, VAProfileMPEG4Simple, VAProfileNone },
      VAProfileNone },
};

/* The decoder for @format if libavcodec has it for GPUs, or NULL */
static const AVCodec *vaapi_find_decoder(const char *name)
{
    const AVCodec *codec = avcodec_find_decoder_by_name(name);
    const AVCodecHWConfig *config;

    for (int i = 0; codec && (config = avcodec_get_hw_config(codec, i)); i++) {
        if (config->device_type == AV_HWDEVICE_TYPE_VAAPI &&
            config->methods & AV_CODEC_HW_CONFIG_METHOD_HW_DEVICE_CTX) {
            return codec;
        }
    }
    return NULL;
}

/*
 * From libavcodec
 */

static bool vaapi_dec_open(LibavDecoder *d, Error **errp)
{
    VaapiDecoder *v = d->hw;
    AVCodecContext *avctx = d->avctx;

    avctx->hw_device_ctx = av_buffer_ref(v->display->device);
    if (!avctx->hw_device_ctx) {
        error_setg(errp, "out of memory");
        return false;
    }
    /* Each thread would delay the output by a frame, and win nothing */
    avctx->thread_count = 1;
    /* Surfaces that we hold: libavcodec has a fixed number of them */
    avctx->extra_hw_frames = LIBAV_MAX_READY + 2;
    if (d->params.coded == VIDEO_CODED_H264) {
        avctx->strict_std_compliance = FF_COMPLIANCE_STRICT;
    }
    return true;
}

static bool vaapi_dec_offered(const enum AVPixelFormat *formats,
                              enum AVPixelFormat *software)
{
    bool found = false;

    *software = AV_PIX_FMT_NONE;
    for (; *formats != AV_PIX_FMT_NONE; formats++) {
        const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(*formats);

        found |= *formats == AV_PIX_FMT_VAAPI;
        if (desc && !(desc->flags & AV_PIX_FMT_FLAG_HWACCEL)) {
            *software = *formats;
        }
    }
    return found;
}

/*
 * Surfaces, which integrated GPUs have in the host's memory.  libavcodec makes
 * all of them at once, or makes them when it needs them, which
 * vaapi_dec_frame_bytes() counts.
 */

/*
 * Besides references, avcodec_get_hw_frames_parameters() counts one surface to
 * work with.  libavcodec wants four, and adds these where it makes the pool.
 */
#define VAAPI_EXTRA_SURFACES 3

/* All surfaces of a decoder */
typedef struct VaapiPool {
    VideoCodecSession *session;
    uint64_t bytes;
} VaapiPool;

static void vaapi_dec_free_pool(AVHWFramesContext *frames)
{
    VaapiPool *pool = frames->user_opaque;

    video_codec_session_give_memory(pool->session, pool->bytes);
    g_free(pool);
}

/* Returns: false if the session has failed */
static bool vaapi_dec_take_pool(LibavDecoder *d, AVHWFramesContext *frames)
{
    uint64_t bytes = frames->initial_pool_size * vaapi_surface_size(frames);
    VaapiPool *pool;

    if (!video_codec_session_take_memory(d->session, bytes)) {
        return false;
    }
    pool = g_new(VaapiPool, 1);
    *pool = (VaapiPool) { .session = d->session, .bytes = bytes };
    frames->user_opaque = pool;
    frames->free = vaapi_dec_free_pool;
    return true;
}

static int vaapi_dec_depth(enum AVPixelFormat format)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(format);

    return desc ? desc->comp[0].depth : 0;
}

/*
 * Make what libavcodec would make, but counted.
 * Returns: 0; -ENOSYS: the driver does not decode this; -ENOMEM: the session
 * has failed
 */
static int vaapi_dec_make_pool(LibavDecoder *d, AVCodecContext *avctx)
{
    VaapiDecoder *v = d->hw;
    AVBufferRef *ref = NULL;
    AVHWFramesContext *frames;

    if (avcodec_get_hw_frames_parameters(avctx, v->display->device,
                                         AV_PIX_FMT_VAAPI, &ref) < 0) {
        return -ENOSYS;
    }
    frames = (void *)ref->data;
    /* libavcodec would make do with 8 bits where the GPU has no more */
    if (vaapi_dec_depth(frames->sw_format) !=
        vaapi_dec_depth(avctx->sw_pix_fmt)) {
        av_buffer_unref(&ref);
        return -ENOSYS;
    }
    if (frames->initial_pool_size) {
        frames->initial_pool_size += VAAPI_EXTRA_SURFACES;
    }
    if (!vaapi_dec_take_pool(d, frames)) {
        av_buffer_unref(&ref);
        return -ENOMEM;
    }
    if (av_hwframe_ctx_init(ref) < 0) {
        av_buffer_unref(&ref);
        return -ENOSYS;
    }
    avctx->hw_frames_ctx = ref;
    return 0;
}

static uint64_t vaapi_dec_frame_bytes(LibavDecoder *d, const AVFrame *f)
{
    const AVHWFramesContext *frames = (void *)f->hw_frames_ctx->data;

    return frames->initial_pool_size ? 0 : vaapi_surface_size(frames);
}

static void vaapi_dec_set_engine(LibavDecoder *d)
{
    VaapiDecoder *v = d->hw;

    if (v->software) {
        video_codec_session_set_engine(d->session,
                                       "libavcodec %s, as the GPU can't",
                                       d->codec->name);
    } else {
        video_codec_session_set_engine(d->session, "VA-API %s (%s), path %s",
                                       d->codec->name, v->display->driver,
                                       VideoCodecVaapiPath_str(v->path));
    }
}

static void vaapi_dec_refuse_profile(LibavDecoder *d, AVCodecContext *avctx)
{
    const char *profile = avcodec_profile_name(avctx->codec_id,
                                               avctx->profile);

    libav_refuse(d, g_strdup_printf("the GPU does not decode profile %s of %s "
                                    "at %dx%d", profile ?: "(unknown)",
                                    d->codec->name, avctx->width,
                                    avctx->height));
}

/* AV1's decoder for GPUs does nothing else */
static bool vaapi_dec_has_software(LibavDecoder *d)
{
    return strcmp(d->codec->name, "av1");
}

/* A decoder that vaapi_dec_get_format() has asked for */
static bool vaapi_dec_replace(LibavDecoder *d)
{
    VaapiDecoder *v = d->hw;

    if (!v->replace) {
        return false;
    }
    v->replace = false;
    d->codec = libav_software_decoder(d->params.coded);
    vaapi_dec_set_engine(d);
    return true;
}

/*
 * libavcodec asks again, without the GPU's format, if the driver would not open
 * a decoder.
 */
static enum AVPixelFormat vaapi_dec_get_format(LibavDecoder *d,
                                               AVCodecContext *avctx,
                                               const enum AVPixelFormat *fmts)
{
    VaapiDecoder *v = d->hw;
    enum AVPixelFormat software;
    bool offered = vaapi_dec_offered(fmts, &software);
    bool was_software = v->software;
    int ret = 0;

    if (!libav_pix_fmt_supported(avctx->sw_pix_fmt)) {
        libav_refuse_pix_fmt(d, avctx->sw_pix_fmt);
        return AV_PIX_FMT_NONE;
    }
    /*
     * Baseline streams that are not constrained: libavcodec does not decode
     * what these have more than Main, and says so.
     */
    avctx->hwaccel_flags &= ~AV_HWACCEL_FLAG_ALLOW_PROFILE_MISMATCH;
    if (d->params.coded == VIDEO_CODED_H264 &&
        avctx->profile == FF_PROFILE_H264_BASELINE) {
        avctx->hwaccel_flags |= AV_HWACCEL_FLAG_ALLOW_PROFILE_MISMATCH;
    }

    if (offered && libav_size_allowed(d, avctx->sw_pix_fmt, avctx->width,
                                      avctx->height)) {
        ret = vaapi_dec_make_pool(d, avctx);
        if (ret == -ENOMEM) {
            return AV_PIX_FMT_NONE;
        }
    }
    offered &= !ret;

    v->software = !offered;
    if (v->software != was_software) {
        vaapi_dec_set_engine(d);
    }
    if (offered) {
        return AV_PIX_FMT_VAAPI;
    }
    if (v->vaapi->fallback == VIDEO_CODEC_VAAPI_FALLBACK_SOFTWARE) {
        if (vaapi_dec_has_software(d)) {
            if (software != AV_PIX_FMT_NONE) {
                return software;
            }
        } else if (libav_software_decoder(d->params.coded)) {
            v->replace = true;
            return AV_PIX_FMT_NONE;
        }
    }
    vaapi_dec_refuse_profile(d, avctx);
    return AV_PIX_FMT_NONE;
}

/* The size in a VP8 key frame's header */
static bool vaapi_dec_vp8_size(const VideoCodecInput *in, int *width,
                               int *height)
{
    static const uint8_t start[] = { 0x9d, 0x01, 0x2a };

    if (in->size < 10 || in->data[0] & 1 ||
        memcmp(in->data + 3, start, sizeof(start))) {
        return false;
    }
    *width = lduw_le_p(in->data + 6) & 0x3fff;
    *height = lduw_le_p(in->data + 8) & 0x3fff;
    return true;
}

/*
 * Surfaces have the size of the first frame, and libavcodec keeps them for VP8
 * whatever comes, and for AV1 whatever a new sequence header says.
 */
static bool vaapi_dec_must_reopen(LibavDecoder *d, const VideoCodecInput *in)
{
    int width, height;

    if (!d->avctx->hw_frames_ctx) {
        return false;
    }
    switch (d->params.coded) {
    case VIDEO_CODED_VP8:
        return vaapi_dec_vp8_size(in, &width, &height) &&
               (width != d->avctx->width || height != d->avctx->height);
    case VIDEO_CODED_AV1:
        return d->av1_new_header;
    default:
        return false;
    }
}

/*
 * Failures
 */

/* After an error: go on if the GPU does. */
static void vaapi_dec_check_device(LibavDecoder *d, const char *what)
{
    VaapiDecoder *v = d->hw;

    if (!vaapi_display_check(v->display, v->failures)) {
        video_codec_session_fail(d->session, "the GPU is lost: %s (%s)", what,
                                 v->display->driver);
    }
}

/*
 * What is decoded after a lost picture can refer to it, up to a key frame.
 * That is the order of inputs, and frames come in another one.
 * @after: the first of v->held that was decoded after it
 */
static void vaapi_dec_note_loss(VaapiDecoder *v, unsigned after)
{
    v->losses++;
    for (unsigned i = after; i < v->n_held; i++) {
        v->held[i].losses++;
    }
}

static void vaapi_dec_forget_held(VaapiDecoder *v, unsigned i)
{
    v->n_held--;
    memmove(&v->held[i], &v->held[i + 1], (v->n_held - i) * sizeof(v->held[0]));
}

static void vaapi_dec_hold(VaapiDecoder *v, uint64_t timestamp)
{
    if (v->n_held == VAAPI_MAX_HELD) {
        vaapi_dec_forget_held(v, 0);
    }
    v->held[v->n_held++] = (VaapiHeld) {
        .timestamp = timestamp,
        .losses = v->losses,
    };
}

/*
 * A frame has come.
 * @losses: set to those before its input; if nobody knows that, to all
 * Returns: the first of v->held that was decoded after it
 */
static unsigned vaapi_dec_take_held(VaapiDecoder *v, const AVFrame *f,
                                    unsigned *losses)
{
    for (unsigned i = 0; i < v->n_held; i++) {
        if (v->held[i].timestamp == f->pts) {
            *losses = v->held[i].losses;
            vaapi_dec_forget_held(v, i);
            return i;
        }
    }
    *losses = v->losses;
    return 0;
}

static void vaapi_dec_forget_bad(VaapiDecoder *v, unsigned i)
{
    v->n_bad--;
    memmove(&v->bad[i], &v->bad[i + 1], (v->n_bad - i) * sizeof(v->bad[0]));
}

static void vaapi_dec_bad_input(LibavDecoder *d, const VideoCodecInput *in,
                                int error)
{
    VaapiDecoder *v = d->hw;

    if (v->n_bad == VAAPI_MAX_BAD) {
        vaapi_dec_forget_bad(v, 0);
    }
    v->bad[v->n_bad++] = in->timestamp;
    v->last_was_bad = true;
    if (!v->software) {
        /* What the driver refuses is EIO; what is broken is something else */
        if (error == AVERROR(EIO)) {
            vaapi_display_note(v->display, &v->failures, true);
            vaapi_dec_note_loss(v, v->n_held);
        }
        vaapi_dec_check_device(d, "it does not take a picture");
    }
}

/*
 * Frames of bad inputs need not come, and a guest may use a timestamp again:
 * then it means another frame.  But the input right after a bad one may be the
 * other field of the same frame.
 */
static void vaapi_dec_good_input(LibavDecoder *d, const VideoCodecInput *in)
{
    VaapiDecoder *v = d->hw;

    for (unsigned i = v->n_bad; i-- > 0;) {
        if (v->bad[i] == in->timestamp &&
            !(v->last_was_bad && i == v->n_bad - 1)) {
            vaapi_dec_forget_bad(v, i);
        }
    }
    v->last_was_bad = false;
    vaapi_dec_hold(v, in->timestamp);
}

static void vaapi_dec_reset(LibavDecoder *d)
{
    VaapiDecoder *v = d->hw;

    v->n_bad = 0;
    v->last_was_bad = false;
    v->n_held = 0;
}

/* Is the current frame that of a bad input?  It will not be asked again. */
static bool vaapi_dec_take_bad(LibavDecoder *d)
{
    VaapiDecoder *v = d->hw;

    for (unsigned i = 0; i < v->n_bad; i++) {
        if (v->bad[i] == d->current->pts) {
            vaapi_dec_forget_bad(v, i);
            return true;
        }
    }
    return false;
}

/*
 * Frames
 */

static VASurfaceID vaapi_dec_surface(const AVFrame *f)
{
    return (uintptr_t)f->data[3];
}

static bool vaapi_forced_import(const VaapiDecoder *v)
{
    return v->vaapi->path == VIDEO_CODEC_VAAPI_PATH_IMPORT;
}

static void vaapi_dec_lost(LibavDecoder *d, const char *what, VAStatus status)
{
    trace_video_codec_lost(d->object, d->codec->name, what,
                           vaErrorStr(status));
    vaapi_dec_check_device(d, what);
}

static bool vaapi_dec_wait(LibavDecoder *d)
{
    VaapiDecoder *v = d->hw;
    const AVFrame *f = d->current;
    const AVHWFramesContext *frames = (void *)f->hw_frames_ctx->data;
    unsigned losses, after;
    VAStatus status;

    if (vaapi_dec_take_bad(d) ||
        f->width > frames->width || f->height > frames->height) {
        return false;
    }
    after = vaapi_dec_take_held(v, f, &losses);
    status = vaSyncSurface(v->display->dpy, vaapi_dec_surface(f));
    /* Broken data is no failure of the GPU */
    vaapi_display_note(v->display, &v->failures, status != VA_STATUS_SUCCESS &&
                       status != VA_STATUS_ERROR_DECODING_ERROR);
    if (status != VA_STATUS_SUCCESS) {
        vaapi_dec_note_loss(v, after);
        vaapi_dec_lost(d, "waiting for it", status);
        return false;
    }
    if (libav_is_key(f)) {
        v->made_up = MAX(v->made_up, losses);
    }
    d->current_corrupt |= losses > v->made_up;
    return true;
}

/* Tell of the path if it is another one than before. */
static void vaapi_dec_set_path(LibavDecoder *d, VideoCodecVaapiPath path)
{
    VaapiDecoder *v = d->hw;

    if (v->path != path) {
        v->path = path;
        vaapi_dec_set_engine(d);
    }
}

/* Without the CPU, if the GPU can. */
static int vaapi_dec_write(LibavDecoder *d, VideoCodecOutput *out)
{
    VaapiDecoder *v = d->hw;
    VaapiImportResult result = VAAPI_IMPORT_UNFIT;

    if (v->import.types) {
        result = vaapi_import_write(&v->import, d->session, out, d->current);
    }
    switch (result) {
    case VAAPI_IMPORT_DONE:
        vaapi_dec_set_path(d, VIDEO_CODEC_VAAPI_PATH_IMPORT);
        return 1;
    case VAAPI_IMPORT_STOP:
        return -1;
    case VAAPI_IMPORT_UNFIT:
        break;
    }
    if (vaapi_forced_import(v)) {
        video_codec_session_fail(d->session, "%s can't write this frame into "
                                 "the guest's memory, and x-path=import",
                                 v->display->driver);
        return -1;
    }
    vaapi_dec_set_path(d, v->image.path);
    return 0;
}

/* Other drivers, or other surfaces, than those that were probed */
static VAStatus vaapi_dec_map_other(LibavDecoder *d, VAStatus status)
{
    VaapiDecoder *v = d->hw;
    const AVHWFramesContext *frames = (void *)d->current->hw_frames_ctx->data;

    if (v->forced || v->image.path != VIDEO_CODEC_VAAPI_PATH_DERIVE) {
        return status;
    }
    vaapi_image_unmap(&v->image);
    v->image.path = VIDEO_CODEC_VAAPI_PATH_GETIMAGE;
    vaapi_dec_set_path(d, v->image.path);
    return vaapi_image_map(&v->image, vaapi_dec_surface(d->current),
                           frames->width, frames->height, frames->sw_format);
}

static const AVFrame *vaapi_dec_map(LibavDecoder *d)
{
    VaapiDecoder *v = d->hw;
    const AVFrame *f = d->current;
    const AVHWFramesContext *frames = (void *)f->hw_frames_ctx->data;
    AVFrame *mapped = v->image.frame;
    VAStatus status;

    status = vaapi_image_map(&v->image, vaapi_dec_surface(f), frames->width,
                             frames->height, frames->sw_format);
    if (status != VA_STATUS_SUCCESS) {
        status = vaapi_dec_map_other(d, status);
    }
    if (status != VA_STATUS_SUCCESS) {
        vaapi_dec_lost(d, "reading it", status);
        return NULL;
    }
    mapped->width = f->width;
    mapped->height = f->height;
    mapped->colorspace = f->colorspace;
    mapped->color_range = f->color_range;
    return mapped;
}

static void vaapi_dec_unmap(LibavDecoder *d)
{
    VaapiDecoder *v = d->hw;

    vaapi_image_unmap(&v->image);
}

static void vaapi_dec_free(LibavDecoder *d)
{
    VaapiDecoder *v = d->hw;

    vaapi_image_cleanup(&v->image);
    vaapi_import_cleanup(&v->import);
    vaapi_display_put(v->display);
    g_free(v);
}

static const LibavDecoderOps vaapi_decoder_ops = {
    .open = vaapi_dec_open,
    .get_format = vaapi_dec_get_format,
    .must_reopen = vaapi_dec_must_reopen,
    .replace = vaapi_dec_replace,
    .bad_input = vaapi_dec_bad_input,
    .good_input = vaapi_dec_good_input,
    .reset = vaapi_dec_reset,
    .frame_bytes = vaapi_dec_frame_bytes,
    .wait = vaapi_dec_wait,
    .write = vaapi_dec_write,
    .map = vaapi_dec_map,
    .unmap = vaapi_dec_unmap,
    .free = vaapi_dec_free,
};

static const AVCodec *vaapi_dec_codec(VideoCodedFormat format)
{
    for (unsigned i = 0; i < ARRAY_SIZE(vaapi_decoders); i++) {
        if (vaapi_decoders[i].format == format) {
            return vaapi_find_decoder(vaapi_decoders[i].decoder);
        }
    }
    g_assert_not_reached();
}

static void *vaapi_dec_start_gpu(VideoCodec *codec, VideoCodecSession *s,
                                 const VideoCodecParams *params, Error **errp)
{
    VideoCodecVaapi *vaapi = VIDEO_CODEC_VAAPI(codec);
    VaapiDisplay *display = vaapi_display_get(vaapi, errp);
    VaapiDecoder *v;
    LibavDecoder *d;

    if (!display) {
        return NULL;
    }
    v = g_new0(VaapiDecoder, 1);
    v->vaapi = vaapi;
    v->display = display;
    v->forced = vaapi->path != VIDEO_CODEC_VAAPI_PATH_AUTO;
    v->path = v->forced ? vaapi->path : display->path;
    if (v->path == VIDEO_CODEC_VAAPI_PATH_IMPORT) {
        vaapi_import_init(&v->import, display, false);
    }
    if (!vaapi_image_init(&v->image, display,
                          v->path == VIDEO_CODEC_VAAPI_PATH_IMPORT ?
                          display->copy_path : v->path, s)) {
        error_setg(errp, "out of memory");
        vaapi_display_put(display);
        g_free(v);
        return NULL;
    }
    d = libav_decoder_start(codec, s, params, vaapi_dec_codec(params->coded),
                            &vaapi_decoder_ops, v, errp);
    if (d) {
        vaapi_dec_set_engine(d);
    }
    return d;
}

void *vaapi_decoder_start(VideoCodec *codec, VideoCodecSession *s,
                          const VideoCodecParams *params, Error **errp)
{
    const LibavOptions options = { .threads = 1 };

    if (VIDEO_CODEC_VAAPI(codec)->hw_decoders & 1u << params->coded) {
        return vaapi_dec_start_gpu(codec, s, params, errp);
    }
    return libav_software_start(codec, s, params, &options, errp);
}

/*
 * Capabilities.  Main thread.
 */

/* Returns: false if the GPU does not decode @profile */
static bool vaapi_query_profile(VADisplay dpy, VAProfile profile,
                                uint32_t rt_format, VideoFrameLimits *limits)
{
    if (profile == VAProfileNone ||
        !vaapi_has_entrypoint(dpy, profile, VAEntrypointVLD) ||
        !vaapi_query_limits(dpy, profile, VAEntrypointVLD, rt_format,
                            limits)) {
        return false;
    }
    limits->max_width = MIN(limits->max_width ?: LIBAV_MAX_SIZE,
                            LIBAV_MAX_SIZE);
    limits->max_height = MIN(limits->max_height ?: LIBAV_MAX_SIZE,
                             LIBAV_MAX_SIZE);
    return true;
}

/* Returns: false if the GPU has no profile of it */
static bool vaapi_query_decoder(VADisplay dpy, const VAProfile *profiles,
                                VAProfile deep_profile, VideoCodedCaps *coded,
                                bool *deep)
{
    VideoFrameLimits limits;
    bool found = false;

    for (int i = 0; profiles[i] != VAProfileNone && !found; i++) {
        found = vaapi_query_profile(dpy, profiles[i], VA_RT_FORMAT_YUV420,
                                    &limits);
    }
    if (!found) {
        return false;
    }
    coded->min_width = limits.min_width;
    coded->min_height = limits.min_height;
    coded->max_width = limits.max_width;
    coded->max_height = limits.max_height;
    *deep = vaapi_query_profile(dpy, deep_profile, VA_RT_FORMAT_YUV420_10,
                                &limits);
    if (*deep) {
        /* A guest may want any frame as NV12 */
        coded->deep = (VideoFrameLimits) {
            .min_width = MAX(limits.min_width, coded->min_width),
            .min_height = MAX(limits.min_height, coded->min_height),
            .max_width = MIN(limits.max_width, coded->max_width),
            .max_height = MIN(limits.max_height, coded->max_height),
        };
    }
    return true;
}

void vaapi_decoder_caps(VideoCodecVaapi *vaapi, VaapiDisplay *display,
                        VideoCodecCaps *caps)
{
    for (unsigned i = 0; i < ARRAY_SIZE(vaapi_decoders); i++) {
        VideoCodedCaps *coded = &caps->decoders[caps->n_decoders];
        bool deep;

        *coded = (VideoCodedCaps) { };
        if (!vaapi_find_decoder(vaapi_decoders[i].decoder) ||
            !vaapi_query_decoder(display->dpy, vaapi_decoders[i].profiles,
                                 vaapi_decoders[i].deep_profile, coded,
                                 &deep)) {
            continue;
        }
        coded->format = vaapi_decoders[i].format;
        for (unsigned j = 0; j < caps->n_raws; j++) {
            /* P010 says that the GPU can do 10 bits */
            if (caps->raws[j] != DRM_FORMAT_P010 || deep) {
                coded->raw_mask |= 1u << j;
            }
        }
        vaapi->hw_decoders |= 1u << coded->format;
        caps->n_decoders++;
    }
}
