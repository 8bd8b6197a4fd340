/*
 * Video codec on a GPU with VA-API: encoding
 *
 * The encoder is video-codec-libav's, with libavcodec's encoders for VA-API.
 * The guest's pixels are copied into a surface, and the GPU encodes from that.
 * The GPU copies and converts them itself where it can; else the worker does.
 *
 * These encoders count to the next key frame themselves, since the rate control
 * of GPUs wants to know; and whatever is set can only be changed by opening
 * them again.  With frames of delay they would be faster on some GPUs; a guest
 * that has sent one frame waits for its data.
 *
 * All functions named vaapi_enc_* run in the worker thread of a session.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "video-codec-vaapi.h"

/* B frames for which no more than two references are needed */
#define VAAPI_MAX_B_FRAMES 4

/*
 * What an encoder holds in frames: those to encode, those to refer to, and room
 * for coded data, of which libavcodec makes each as large as two frames.
 */
#define VAAPI_ENC_FRAMES 8
#define VAAPI_ENC_FRAMES_PER_B 4

/* Without any rate control, where a driver has none; MPEG-2's end at 31 */
#define VAAPI_FIXED_QP 26
#define VAAPI_FIXED_QP_MPEG2 6

/* V4L2's quantisers of VP8 and VP9 go to 63, the index of VP9 to 255 */
#define VAAPI_VP9_QP_STEP 4

/* What the encoder's ops get */
typedef struct VaapiEncoding {
    VideoCodecVaapi *vaapi;
    VideoCodecSession *session;
    const VaapiEncoder *encoder;
    VaapiDisplay *display;
    VideoCodecVaapiPath path;   /* of the last frame */
    VaapiImage image;           /* for those that the CPU copies */
    VaapiImport import;         /* for those that it does not */
    bool forced;                /* the user has chosen the path */
    unsigned failures;          /* of pictures in a row */
    AVBufferRef *frames;        /* of the open encoder */
    AVFrame *frame;             /* on the GPU */
} VaapiEncoding;

/* V4L2's number of a profile, libva's and libavcodec's */
typedef struct VaapiProfile {
    uint8_t value;
    VAProfile profile;
    int av_profile;
} VaapiProfile;

static const struct {
    VideoCodedFormat format;
    const char *name;
    VaapiProfile profiles[VAAPI_MAX_PROFILES];
    unsigned n_profiles;
} vaapi_encoders[] = {
    { VIDEO_CODED_H264, "h264_vaapi", {
        { 1, VAProfileH264ConstrainedBaseline,
          FF_PROFILE_H264_CONSTRAINED_BASELINE },
        { 2, VAProfileH264Main, FF_PROFILE_H264_MAIN },
        { 4, VAProfileH264High, FF_PROFILE_H264_HIGH } }, 3 },
    { VIDEO_CODED_HEVC, "hevc_vaapi", {
        { 0, VAProfileHEVCMain, FF_PROFILE_HEVC_MAIN },
        { 2, VAProfileHEVCMain10, FF_PROFILE_HEVC_MAIN_10 } }, 2 },
    { VIDEO_CODED_VP9, "vp9_vaapi", {
        { 0, VAProfileVP9Profile0, FF_PROFILE_VP9_0 },
        { 2, VAProfileVP9Profile2, FF_PROFILE_VP9_2 } }, 2 },
    { VIDEO_CODED_VP8, "vp8_vaapi", {
        { 0, VAProfileVP8Version0_3, FF_PROFILE_UNKNOWN } }, 1 },
    { VIDEO_CODED_MPEG2, "mpeg2_vaapi", {
        { 0, VAProfileMPEG2Simple, FF_PROFILE_MPEG2_SIMPLE },
        { 1, VAProfileMPEG2Main, FF_PROFILE_MPEG2_MAIN } }, 2 },
};

/*
 * Opening an encoder
 */

static int vaapi_enc_level(const LibavEncoderInfo *info,
                           const LibavSettings *settings,
                           const LibavProfile *profile)
{
    const LibavLevel *level = libav_settings_level(settings, profile);

    switch (info->format) {
    case VIDEO_CODED_H264:
        /* Level 1b is 9 in x264 only; 1.1 allows more */
        return level ? MAX(level->number, 10) : FF_LEVEL_UNKNOWN;
    case VIDEO_CODED_HEVC:
        return level ? level->number * 3 : FF_LEVEL_UNKNOWN;
    case VIDEO_CODED_MPEG2:
        return (level ?: &profile->levels[profile->n_levels - 1])->number;
    default:
        return FF_LEVEL_UNKNOWN;
    }
}

static void vaapi_enc_set_quantiser(const LibavEncoderInfo *info,
                                    const LibavSettings *settings,
                                    AVCodecContext *avctx)
{
    int step = info->format == VIDEO_CODED_VP9 ? VAAPI_VP9_QP_STEP : 1;

    /* 0 is the driver's own limit; not all take others */
    avctx->qmin = settings->min_qp * step;
    avctx->qmax = settings->max_qp == info->max_qp ? 0
                                                   : settings->max_qp * step;
}

static void vaapi_enc_set_rate(const LibavEncoderInfo *info,
                               const LibavSettings *settings,
                               AVCodecContext *avctx, AVDictionary **opts)
{
    bool vbr = settings->max_rate > settings->bit_rate;

    if (!info->bitrate_modes) {
        avctx->bit_rate = avctx->rc_max_rate = avctx->rc_buffer_size = 0;
        avctx->global_quality = info->format == VIDEO_CODED_MPEG2 ?
                                VAAPI_FIXED_QP_MPEG2 : VAAPI_FIXED_QP;
        av_dict_set(opts, "rc_mode", "CQP", 0);
        return;
    }
    av_dict_set(opts, "rc_mode", vbr ? "VBR" : "CBR", 0);
    avctx->rc_initial_buffer_occupancy = avctx->rc_buffer_size * 3LL / 4;
}

static void vaapi_enc_configure(const LibavEncoderInfo *info,
                                const LibavSettings *settings,
                                const LibavProfile *profile,
                                AVCodecContext *avctx, AVDictionary **opts)
{
    const VaapiEncoder *encoder = info->opaque;

    avctx->profile = encoder->av_profiles[settings->profile];
    avctx->level = vaapi_enc_level(info, settings, profile);
    avctx->gop_size = settings->gop;
    avctx->flags |= AV_CODEC_FLAG_CLOSED_GOP;
    vaapi_enc_set_quantiser(info, settings, avctx);
    vaapi_enc_set_rate(info, settings, avctx, opts);
    av_dict_set(opts, "async_depth", "1", 0);
    av_dict_set(opts, "low_power", encoder->low_power ? "1" : "0", 0);
    if (info->format == VIDEO_CODED_H264) {
        /* It would tell the guest which driver this is */
        av_dict_set(opts, "sei", "0", 0);
    }
}

static bool vaapi_enc_setup(void *hw, AVCodecContext *avctx, Error **errp)
{
    VaapiEncoding *v = hw;
    AVHWFramesContext *frames;

    av_frame_unref(v->frame);
    av_buffer_unref(&v->frames);
    v->frames = av_hwframe_ctx_alloc(v->display->device);
    if (!v->frames) {
        error_setg(errp, "out of memory");
        return false;
    }
    frames = (void *)v->frames->data;
    frames->format = AV_PIX_FMT_VAAPI;
    frames->sw_format = avctx->pix_fmt;
    frames->width = avctx->width;
    frames->height = avctx->height;
    if (av_hwframe_ctx_init(v->frames) < 0) {
        error_setg(errp, "%s has no surfaces of %dx%d", v->display->driver,
                   avctx->width, avctx->height);
        return false;
    }
    avctx->pix_fmt = AV_PIX_FMT_VAAPI;
    avctx->hw_frames_ctx = av_buffer_ref(v->frames);
    avctx->thread_count = 1;
    if (!avctx->hw_frames_ctx) {
        error_setg(errp, "out of memory");
        return false;
    }
    return true;
}

static void vaapi_enc_set_engine(VaapiEncoding *v)
{
    video_codec_session_set_engine(v->session, "VA-API %s (%s), path %s",
                                   v->encoder->info.name, v->display->driver,
                                   VideoCodecVaapiPath_str(v->path));
}

/* Tell of the path if it is another one than before. */
static void vaapi_enc_set_path(VaapiEncoding *v, VideoCodecVaapiPath path)
{
    if (v->path != path) {
        v->path = path;
        vaapi_enc_set_engine(v);
    }
}

/*
 * Frames
 */

static VASurfaceID vaapi_enc_surface(VaapiEncoding *v)
{
    return (uintptr_t)v->frame->data[3];
}

/* Have v->frame be a new surface. */
static bool vaapi_enc_new_frame(VaapiEncoding *v)
{
    av_frame_unref(v->frame);
    return av_hwframe_get_buffer(v->frames, v->frame, 0) >= 0;
}

/* Without the CPU, if the GPU can. */
static int vaapi_enc_take(void *hw, const VideoCodecInput *in, AVFrame **frame)
{
    VaapiEncoding *v = hw;
    VaapiImportResult result = VAAPI_IMPORT_UNFIT;

    if (v->import.types) {
        if (!vaapi_enc_new_frame(v)) {
            return 0;           /* nor will the CPU get one, and that tells */
        }
        /* XRGB8888 is coded as BT.601, as if nothing were said */
        result = vaapi_import_read(&v->import, v->session, in, v->frame);
    }
    switch (result) {
    case VAAPI_IMPORT_DONE:
        vaapi_enc_set_path(v, VIDEO_CODEC_VAAPI_PATH_IMPORT);
        *frame = v->frame;
        return 1;
    case VAAPI_IMPORT_STOP:
        return -1;
    case VAAPI_IMPORT_UNFIT:
        break;
    }
    if (v->vaapi->path == VIDEO_CODEC_VAAPI_PATH_IMPORT) {
        video_codec_session_fail(v->session, "%s can't read this frame from "
                                 "the guest's memory, and x-path=import",
                                 v->display->driver);
        return -1;
    }
    vaapi_enc_set_path(v, v->image.path);
    return 0;
}

static VAStatus vaapi_enc_begin_image(VaapiEncoding *v)
{
    const AVHWFramesContext *frames = (void *)v->frames->data;

    return vaapi_image_begin_write(&v->image, vaapi_enc_surface(v),
                                   frames->width, frames->height,
                                   frames->sw_format);
}

static AVFrame *vaapi_enc_begin(void *hw)
{
    VaapiEncoding *v = hw;
    VAStatus status;

    if (!vaapi_enc_new_frame(v)) {
        return NULL;
    }
    status = vaapi_enc_begin_image(v);
    if (status != VA_STATUS_SUCCESS && !v->forced &&
        v->image.path == VIDEO_CODEC_VAAPI_PATH_DERIVE) {
        vaapi_image_unmap(&v->image);
        v->image.path = VIDEO_CODEC_VAAPI_PATH_GETIMAGE;
        vaapi_enc_set_path(v, v->image.path);
        status = vaapi_enc_begin_image(v);
    }
    if (status != VA_STATUS_SUCCESS) {
        vaapi_image_unmap(&v->image);
        return NULL;
    }
    return v->image.frame;
}

static AVFrame *vaapi_enc_end(void *hw, bool done)
{
    VaapiEncoding *v = hw;

    if (!done) {
        vaapi_image_unmap(&v->image);
        return NULL;
    }
    return vaapi_image_end_write(&v->image, vaapi_enc_surface(v)) ==
           VA_STATUS_SUCCESS ? v->frame : NULL;
}

static bool vaapi_enc_recover(void *hw, const char *what, int error)
{
    VaapiEncoding *v = hw;

    /* What the driver refuses, and what fails on the GPU, is EIO */
    if (error == AVERROR(EIO)) {
        vaapi_display_note(v->display, &v->failures, true);
    }
    if (!vaapi_display_check(v->display, v->failures)) {
        video_codec_session_fail(v->session, "the GPU is lost: %s %s (%s)",
                                 v->encoder->info.name, what,
                                 v->display->driver);
        return false;
    }
    return true;
}

static void vaapi_enc_encoded(void *hw)
{
    VaapiEncoding *v = hw;

    vaapi_display_note(v->display, &v->failures, false);
}

static void vaapi_enc_free(void *hw)
{
    VaapiEncoding *v = hw;

    av_frame_free(&v->frame);
    av_buffer_unref(&v->frames);
    vaapi_image_cleanup(&v->image);
    vaapi_import_cleanup(&v->import);
    vaapi_display_put(v->display);
    g_free(v);
}

static const LibavEncoderOps vaapi_encoder_ops = {
    .setup = vaapi_enc_setup,
    .take = vaapi_enc_take,
    .begin = vaapi_enc_begin,
    .end = vaapi_enc_end,
    .recover = vaapi_enc_recover,
    .encoded = vaapi_enc_encoded,
    .free = vaapi_enc_free,
};

static void *vaapi_enc_start_gpu(VideoCodecVaapi *vaapi, VideoCodecSession *s,
                                 const VideoCodecParams *params, Error **errp)
{
    const VaapiEncoder *encoder = &vaapi->encoders[params->coded];
    VaapiDisplay *display = vaapi_display_get(vaapi, errp);
    VaapiEncoding *v;
    void *e;

    if (!display) {
        return NULL;
    }
    v = g_new0(VaapiEncoding, 1);
    v->vaapi = vaapi;
    v->session = s;
    v->encoder = encoder;
    v->display = display;
    v->forced = vaapi->path != VIDEO_CODEC_VAAPI_PATH_AUTO;
    v->path = v->forced ? vaapi->path : display->encode_path;
    if (v->path == VIDEO_CODEC_VAAPI_PATH_IMPORT) {
        vaapi_import_init(&v->import, display, true);
    }
    v->frame = av_frame_alloc();
    if (!vaapi_image_init(&v->image, display,
                          v->path == VIDEO_CODEC_VAAPI_PATH_IMPORT ?
                          display->copy_path : v->path, s) ||
        !v->frame) {
        error_setg(errp, "out of memory");
        vaapi_enc_free(v);
        return NULL;
    }
    e = libav_encoder_start(s, params, &encoder->info, &vaapi_encoder_ops, v,
                            1, errp);
    if (e) {
        vaapi_enc_set_engine(v);
    }
    return e;
}

void *vaapi_encoder_start(VideoCodec *codec, VideoCodecSession *s,
                          const VideoCodecParams *params, Error **errp)
{
    VideoCodecVaapi *vaapi = VIDEO_CODEC_VAAPI(codec);
    const LibavOptions options = { .threads = 1 };

    if (vaapi->encoders[params->coded].info.name) {
        return vaapi_enc_start_gpu(vaapi, s, params, errp);
    }
    return libav_software_encoder_start(s, params, &options, errp);
}

/*
 * Capabilities.  Main thread.
 */

void vaapi_settle_controls(VideoCodec *codec, const VideoCodecParams *params,
                           VideoControls *controls)
{
    const LibavEncoderInfo *info =
        &VIDEO_CODEC_VAAPI(codec)->encoders[params->coded].info;

    if (info->name) {
        libav_settle_controls(info, params, controls);
    } else {
        libav_software_settle_controls(codec, params, controls);
    }
}

static uint32_t vaapi_query_attrib(VADisplay dpy, VAProfile profile,
                                   VAEntrypoint entrypoint,
                                   VAConfigAttribType type)
{
    VAConfigAttrib attrib = { .type = type };

    if (vaGetConfigAttributes(dpy, profile, entrypoint, &attrib, 1) !=
        VA_STATUS_SUCCESS || attrib.value == VA_ATTRIB_NOT_SUPPORTED) {
        return 0;
    }
    return attrib.value;
}

static const LibavProfile *vaapi_find_profile(VideoCodedFormat format,
                                              uint8_t value)
{
    const LibavEncoderInfo *info = libav_encoder_info(format);

    for (unsigned i = 0; i < info->n_profiles; i++) {
        if (info->profiles[i].value == value) {
            return &info->profiles[i];
        }
    }
    g_assert_not_reached();
}

/* The first profile says what the encoder can do. */
static void vaapi_query_encoder(VADisplay dpy, VAProfile profile,
                                VAEntrypoint entrypoint, VaapiEncoder *encoder)
{
    LibavEncoderInfo *info = &encoder->info;
    uint32_t rates = vaapi_query_attrib(dpy, profile, entrypoint,
                                        VAConfigAttribRateControl);
    uint32_t refs = vaapi_query_attrib(dpy, profile, entrypoint,
                                       VAConfigAttribEncMaxRefFrames);

    encoder->low_power = entrypoint == VAEntrypointEncSliceLP;
    info->bitrate_modes = (rates & VA_RC_CBR ? 1u << VIDEO_BITRATE_MODE_CBR
                                             : 0) |
                          (rates & VA_RC_VBR ? 1u << VIDEO_BITRATE_MODE_VBR
                                             : 0);
    info->max_b_frames = refs >> 16 ? VAAPI_MAX_B_FRAMES : 0;
}

static void vaapi_limit_encoder(LibavEncoderInfo *info,
                                const VideoFrameLimits *limits)
{
    info->min_size = MAX(info->min_size,
                         ROUND_UP(MAX(limits->min_width, limits->min_height),
                                  2));
    info->max_width = MIN(info->max_width, limits->max_width ?: UINT32_MAX);
    info->max_height = MIN(info->max_height, limits->max_height ?: UINT32_MAX);
}

/* Returns: false if the GPU has not got the profile */
static bool vaapi_add_profile(VADisplay dpy, const VaapiProfile *p,
                              VaapiEncoder *encoder)
{
    LibavEncoderInfo *info = &encoder->info;
    const LibavProfile *profile = vaapi_find_profile(info->format, p->value);
    VAEntrypoint entrypoint = VAEntrypointEncSlice;
    VideoFrameLimits limits;

    if (!vaapi_has_entrypoint(dpy, p->profile, entrypoint)) {
        entrypoint = VAEntrypointEncSliceLP;
        if (!vaapi_has_entrypoint(dpy, p->profile, entrypoint)) {
            return false;
        }
    }
    if ((info->n_profiles &&
         encoder->low_power != (entrypoint == VAEntrypointEncSliceLP)) ||
        !vaapi_query_limits(dpy, p->profile, entrypoint, profile->deep ?
                            VA_RT_FORMAT_YUV420_10 : VA_RT_FORMAT_YUV420,
                            &limits)) {
        return false;
    }
    if (!info->n_profiles) {
        vaapi_query_encoder(dpy, p->profile, entrypoint, encoder);
    }
    vaapi_limit_encoder(info, &limits);
    encoder->av_profiles[info->n_profiles] = p->av_profile;
    encoder->profiles[info->n_profiles++] = *profile;
    return true;
}

static void vaapi_init_encoder(VaapiEncoder *encoder, VideoCodedFormat format)
{
    const LibavEncoderInfo *software = libav_encoder_info(format);
    LibavEncoderInfo *info = &encoder->info;

    *info = *software;
    info->profiles = encoder->profiles;
    info->n_profiles = 0;
    /* Parameter sets are before each key frame, whatever is asked for */
    info->headers = false;
    info->packed = true;
    info->frames = VAAPI_ENC_FRAMES;
    info->frames_per_b = VAAPI_ENC_FRAMES_PER_B;
    info->rate_changes = false;
    info->counts_gop = true;
    info->configure = vaapi_enc_configure;
    info->opaque = encoder;
}

/* The default profile is one that the GPU has: the best of 8 bits */
static void vaapi_default_profile(LibavEncoderInfo *info)
{
    unsigned best = 0;

    for (unsigned i = 0; i < info->n_profiles; i++) {
        if (info->profiles[i].value == info->def_profile) {
            return;
        }
        if (!info->profiles[i].deep) {
            best = i;
        }
    }
    info->def_profile = info->profiles[best].value;
}

void vaapi_encoder_caps(VideoCodecVaapi *vaapi, VaapiDisplay *display,
                        VideoCodecCaps *caps)
{
    for (unsigned i = 0; i < ARRAY_SIZE(vaapi_encoders); i++) {
        VideoCodedFormat format = vaapi_encoders[i].format;
        VaapiEncoder *encoder = &vaapi->encoders[format];
        bool deep = false;

        if (!avcodec_find_encoder_by_name(vaapi_encoders[i].name)) {
            continue;
        }
        vaapi_init_encoder(encoder, format);
        encoder->info.name = NULL;
        for (unsigned j = 0; j < vaapi_encoders[i].n_profiles; j++) {
            if (vaapi_add_profile(display->dpy, &vaapi_encoders[i].profiles[j],
                                  encoder)) {
                deep |= encoder->profiles[encoder->info.n_profiles - 1].deep;
            }
        }
        if (!encoder->info.n_profiles || encoder->profiles[0].deep) {
            continue;
        }
        encoder->info.name = vaapi_encoders[i].name;
        vaapi_default_profile(&encoder->info);
        libav_encoder_add_caps(&encoder->info, deep, caps);
    }
}
