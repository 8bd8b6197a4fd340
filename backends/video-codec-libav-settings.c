/*
 * Video codec in software, with libavcodec: the encoders' settings
 *
 * From the controls of a session to an open encoder: which of libavcodec's
 * encoders there are, what each can do, and how it is told.  Nothing in here
 * keeps any state.
 *
 * Profiles and levels have V4L2's numbers on one side (linux/v4l2-controls.h)
 * and the bitstream's on the other.  The limits of the levels are those of the
 * standards; where two profiles differ in bits per second it is the lower one
 * that counts.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qapi/error.h"
#include "standard-headers/drm/drm_fourcc.h"
#include "system/video-codec.h"
#include "video-codec-libav-encoder.h"

#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>

#define LIBAV_MIN_BIT_RATE (10 * 1000)
#define LIBAV_MAX_BIT_RATE (200 * 1000 * 1000)
#define LIBAV_DEF_BIT_RATE (4 * 1000 * 1000)

/* VBR: peaks may be this many times the average */
#define LIBAV_VBR_PEAK 2

/* mpeg2video and mpeg4 make key frames by themselves from 600 on */
#define LIBAV_MAX_GOP 500
#define LIBAV_MPEG_GOP 600

#define LIBAV_VPX_MAX_QP 63
#define LIBAV_DEF_GOP 60
#define LIBAV_NO_GOP (1 << 30)

#define LIBAV_MAX_B_FRAMES 4

/* A set of parameters; of version 3.5, where only x265 could free it */
#define LIBAV_X265_LEAK 1200

/* Memory of each thread above the first; see LibavEncoderInfo.frames */
#define LIBAV_FRAMES_PER_THREAD 4

/* ITU-T H.264 (08/2021), table A-1; 1b is 9 for x264 */
static const LibavLevel h264_levels[] = {
    {  0, 10,     99,     1485,     64 },
    {  1,  9,     99,     1485,    128 },
    {  2, 11,    396,     3000,    192 },
    {  3, 12,    396,     6000,    384 },
    {  4, 13,    396,    11880,    768 },
    {  5, 20,    396,    11880,   2000 },
    {  6, 21,    792,    19800,   4000 },
    {  7, 22,   1620,    20250,   4000 },
    {  8, 30,   1620,    40500,  10000 },
    {  9, 31,   3600,   108000,  14000 },
    { 10, 32,   5120,   216000,  20000 },
    { 11, 40,   8192,   245760,  20000 },
    { 12, 41,   8192,   245760,  50000 },
    { 13, 42,   8704,   522240,  50000 },
    { 14, 50,  22080,   589824, 135000 },
    { 15, 51,  36864,   983040, 240000 },
    { 16, 52,  36864,  2073600, 240000 },
    { 17, 60, 139264,  4177920, 240000 },
    { 18, 61, 139264,  8355840, 480000 },
    { 19, 62, 139264, 16711680, 800000 },
};

/*
 * ITU-T H.265 (08/2021), tables A.8 and A.9; x265 goes to the high tier, where
 * there is one, if bits per second demand it
 */
static const LibavLevel hevc_levels[] = {
    {  0, 10,    144,     2160,    128 },
    {  1, 20,    480,    14400,   1500 },
    {  2, 21,    960,    28800,   3000 },
    {  3, 30,   2160,    64800,   6000 },
    {  4, 31,   3840,   129600,  10000 },
    {  5, 40,   8704,   261120,  30000 },
    {  6, 41,   8704,   522240,  50000 },
    {  7, 50,  34816,  1044480, 100000 },
    {  8, 51,  34816,  2088960, 160000 },
    {  9, 52,  34816,  4177920, 240000 },
    { 10, 60, 139264,  4177920, 240000 },
    { 11, 61, 139264,  8355840, 480000 },
    { 12, 62, 139264, 16711680, 800000 },
};

/*
 * "VP9 Levels" of the WebM project.  libvpx keeps bits per second below 80 %
 * of what the level allows.
 */
static const LibavLevel vp9_levels[] = {
    {  0, 10,    144,     3240,    160 },
    {  1, 11,    288,    10800,    640 },
    {  2, 20,    480,    18000,   1440 },
    {  3, 21,    960,    36000,   2880 },
    {  4, 30,   2160,    81000,   5760 },
    {  5, 31,   3840,   144000,   9600 },
    {  6, 40,   8704,   326400,  14400 },
    {  7, 41,   8704,   626688,  24000 },
    {  8, 50,  34816,  1218560,  48000 },
    {  9, 51,  34816,  2297856,  96000 },
    { 10, 52,  34816,  4595712, 144000 },
    { 11, 60, 139264,  4595712, 144000 },
    { 12, 61, 139264,  9191424, 192000 },
    { 13, 62, 139264, 18382848, 384000 },
};

/* ITU-T H.262, tables 8-11 to 8-13 */
static const LibavLevel mpeg2_levels[] = {
    {  0, 10,  396,  11880,  4000,  352,  288 },
    {  1,  8, 1620,  40500, 15000,  720,  576 },
    {  2,  6, 6480, 183600, 60000, 1440, 1152 },
    {  3,  4, 8640, 244800, 80000, 1920, 1152 },
};

/* Simple profile has the main level only */
static const LibavLevel mpeg2_simple_levels[] = {
    {  1,  8, 1620,  40500, 15000,  720,  576 },
};

/* ISO/IEC 14496-2, table N.1; level 4 is what it calls 4a */
static const LibavLevel mpeg4_simple_levels[] = {
    {  0,  8,   99,   1485,    64 },
    {  1,  9,   99,   1485,   128 },
    {  2,  1,   99,   1485,    64 },
    {  3,  2,  396,   5940,   128 },
    {  4,  3,  396,  11880,   384 },
    {  6,  4, 1200,  36000,  4000 },
    {  7,  5, 1620,  40500,  8000 },
};

static const LibavLevel mpeg4_advanced_simple_levels[] = {
    {  0,  0,   99,   2970,   128 },
    {  2,  1,   99,   2970,   128 },
    {  3,  2,  396,   5940,   384 },
    {  4,  3,  396,  11880,   768 },
    {  5,  7,  396,  11880,  1500 },
    {  6,  4,  792,  23760,  3000 },
    {  7,  5, 1620,  48600,  8000 },
};

#define LEVELS(table) .levels = table, .n_levels = ARRAY_SIZE(table)

/* x264 knows no other baseline than the constrained one */
static const LibavProfile h264_profiles[] = {
    { 1, "baseline", LEVELS(h264_levels) },
    { 2, "main", .b_frames = true, LEVELS(h264_levels) },
    { 4, "high", .b_frames = true, LEVELS(h264_levels) },
    { 5, "high10", .deep = true, .b_frames = true, LEVELS(h264_levels) },
};

static const LibavProfile hevc_profiles[] = {
    { 0, "main", .b_frames = true, LEVELS(hevc_levels) },
    { 2, "main10", .deep = true, .b_frames = true, LEVELS(hevc_levels) },
};

static const LibavProfile vp8_profiles[] = {
    { 0, .number = 0 },
    { 1, .number = 1 },
    { 2, .number = 2 },
    { 3, .number = 3 },
};

static const LibavProfile vp9_profiles[] = {
    { 0, .number = 0, LEVELS(vp9_levels) },
    { 2, .number = 2, .deep = true, LEVELS(vp9_levels) },
};

static const LibavProfile mpeg2_profiles[] = {
    { 0, .number = 5, LEVELS(mpeg2_simple_levels) },
    { 1, .number = 4, .b_frames = true, LEVELS(mpeg2_levels) },
};

static const LibavProfile mpeg4_profiles[] = {
    { 0, .number = 0, LEVELS(mpeg4_simple_levels) },
    { 1, .number = 15, .b_frames = true, LEVELS(mpeg4_advanced_simple_levels) },
};

#undef LEVELS

const LibavLevel *libav_settings_level(const LibavSettings *settings,
                                       const LibavProfile *profile)
{
    return settings->level < 0 ? NULL : &profile->levels[settings->level];
}

/*
 * x264 as for little delay, but with B frames if asked for.  It takes each
 * frame's duration from the next one unless told that they are all the same.
 */
static void libav_configure_x264(const LibavEncoderInfo *info,
                                 const LibavSettings *settings,
                                 const LibavProfile *profile,
                                 AVCodecContext *avctx, AVDictionary **opts)
{
    const LibavLevel *level = libav_settings_level(settings, profile);
    /* Its quantiser starts at 0 for all depths, the standard's at -12 */
    int offset = profile->deep ? 12 : 0;

    avctx->gop_size = LIBAV_NO_GOP;
    avctx->level = level ? level->number : 0;
    avctx->qmin = settings->min_qp ? settings->min_qp + offset : 0;
    avctx->qmax = settings->max_qp + offset;
    av_dict_set(opts, "profile", profile->name, 0);
    av_dict_set(opts, "preset", "veryfast", 0);
    av_dict_set(opts, "forced-idr", "1", 0);
    av_dict_set(opts, "sc_threshold", "0", 0);
    av_dict_set(opts, "b_strategy", "0", 0);
    av_dict_set(opts, "b-pyramid", "0", 0);
    av_dict_set(opts, "mbtree", "0", 0);
    av_dict_set(opts, "rc-lookahead", "0", 0);
    av_dict_set(opts, "x264-params", "force-cfr=1:sync-lookahead=0", 0);
}

/*
 * x265 would print to stderr, and put a text about itself into the stream.  Up
 * to version 3.5 it leaks memory each time it is opened, the more the larger
 * the frame, unless sample adaptive offset is on; LIBAV_X265_LEAK is left then.
 */
static void libav_configure_x265(const LibavEncoderInfo *info,
                                 const LibavSettings *settings,
                                 const LibavProfile *profile,
                                 AVCodecContext *avctx, AVDictionary **opts)
{
    const LibavLevel *level = libav_settings_level(settings, profile);
    g_autoptr(GString) params = g_string_new(
        "log-level=none:info=0:keyint=-1:scenecut=0:open-gop=0:"
        "b-adapt=0:b-pyramid=0:cutree=0:sao=1:limit-sao=1");

    avctx->qmin = settings->min_qp;
    avctx->qmax = settings->max_qp;
    g_string_append_printf(params, ":rc-lookahead=%d",
                           settings->b_frames ? settings->b_frames + 1 : 0);
    if (level) {
        /* It refuses a level that is too low */
        g_string_append_printf(params, ":level-idc=%d", level->number);
    }
    if (avctx->thread_count == 1) {
        g_string_append(params, ":wpp=0:lookahead-slices=0");
    } else {
        g_string_append_printf(params, ":pools=%d", avctx->thread_count);
        if (avctx->thread_type == FF_THREAD_SLICE) {
            g_string_append(params, ":frame-threads=1");
        }
    }
    av_dict_set(opts, "profile", profile->name, 0);
    av_dict_set(opts, "preset", "superfast", 0);
    av_dict_set(opts, "forced-idr", "1", 0);
    av_dict_set(opts, "x265-params", params->str, 0);
}

static void libav_configure_vpx(const LibavSettings *settings,
                                AVCodecContext *avctx, AVDictionary **opts)
{
    avctx->gop_size = avctx->keyint_min = LIBAV_NO_GOP;
    avctx->qmin = settings->min_qp;
    avctx->qmax = settings->max_qp;
    if (settings->max_rate == settings->bit_rate) {
        avctx->rc_min_rate = settings->bit_rate;    /* that is CBR for it */
    }
    av_dict_set(opts, "deadline", "realtime", 0);
    av_dict_set(opts, "lag-in-frames", "0", 0);
    av_dict_set(opts, "auto-alt-ref", "0", 0);
}

/*
 * A negative speed is fixed; with a positive one quality would depend on what
 * else the host does.
 */
static void libav_configure_vp8(const LibavEncoderInfo *info,
                                const LibavSettings *settings,
                                const LibavProfile *profile,
                                AVCodecContext *avctx, AVDictionary **opts)
{
    libav_configure_vpx(settings, avctx, opts);
    avctx->profile = profile->number;
    av_dict_set(opts, "cpu-used", "-6", 0);
}

static void libav_configure_vp9(const LibavEncoderInfo *info,
                                const LibavSettings *settings,
                                const LibavProfile *profile,
                                AVCodecContext *avctx, AVDictionary **opts)
{
    const LibavLevel *level = libav_settings_level(settings, profile);

    libav_configure_vpx(settings, avctx, opts);
    /* its profile follows from the pixel format */
    av_dict_set(opts, "cpu-used", "8", 0);
    if (level && settings->max_qp >= LIBAV_VPX_MAX_QP) {
        /* It makes libvpx forget any other limit of the quantiser */
        g_autofree char *number = g_strdup_printf("%d.%d", level->number / 10,
                                                  level->number % 10);

        av_dict_set(opts, "level", number, 0);
    }
    if (avctx->thread_count > 1) {
        av_dict_set(opts, "row-mt", "1", 0);
        av_dict_set(opts, "tile-columns", "2", 0);
    }
}

static void libav_configure_mpeg(const LibavSettings *settings,
                                 const LibavProfile *profile,
                                 AVCodecContext *avctx, AVDictionary **opts)
{
    const LibavLevel *level = libav_settings_level(settings, profile) ?:
                              &profile->levels[profile->n_levels - 1];

    avctx->gop_size = LIBAV_MPEG_GOP;
    avctx->flags |= AV_CODEC_FLAG_CLOSED_GOP;
    avctx->profile = profile->number;
    avctx->level = level->number;
    av_dict_set(opts, "sc_threshold", "1000000000", 0);     /* no others */
}

static void libav_configure_mpeg2(const LibavEncoderInfo *info,
                                  const LibavSettings *settings,
                                  const LibavProfile *profile,
                                  AVCodecContext *avctx, AVDictionary **opts)
{
    libav_configure_mpeg(settings, profile, avctx, opts);
    if (!settings->b_frames) {
        avctx->flags |= AV_CODEC_FLAG_LOW_DELAY;
    }
}

static void libav_configure_mpeg4(const LibavEncoderInfo *info,
                                  const LibavSettings *settings,
                                  const LibavProfile *profile,
                                  AVCodecContext *avctx, AVDictionary **opts)
{
    libav_configure_mpeg(settings, profile, avctx, opts);
    /* Without this its user data tells the guest which libavcodec it is */
    avctx->flags |= AV_CODEC_FLAG_BITEXACT;
    avctx->qmin = settings->min_qp;
    avctx->qmax = settings->max_qp;
    av_dict_set_int(opts, "lmin", settings->min_qp * FF_QP2LAMBDA, 0);
    av_dict_set_int(opts, "lmax", settings->max_qp * FF_QP2LAMBDA, 0);
}

#define ENCODER_RATES \
    .max_b_frames = LIBAV_MAX_B_FRAMES, \
    .bitrate_modes = 1u << VIDEO_BITRATE_MODE_VBR | 1u << VIDEO_BITRATE_MODE_CBR
#define PROFILES(table) .profiles = table, .n_profiles = ARRAY_SIZE(table)

/* In order of preference; what is not in the host's libavcodec is left out */
static const LibavEncoderInfo libav_encoders[] = {
    {
        .format = VIDEO_CODED_H264, .name = "libx264",
        .min_size = 16,
        .max_width = LIBAV_MAX_SIZE, .max_height = LIBAV_MAX_SIZE,
        PROFILES(h264_profiles), .def_profile = 4, .def_level = 11,
        .frames = 13, .frames_per_b = 5,
        .min_qp = 0, .max_qp = 51, .headers = true,
        ENCODER_RATES,
        /* Only x264 looks at it again, before each frame */
        .rate_changes = true,
        .configure = libav_configure_x264,
    }, {
        /* x265 crashes at level 5 and above if a side is less than that */
        .format = VIDEO_CODED_HEVC, .name = "libx265",
        .min_size = 32,
        .max_width = LIBAV_MAX_SIZE, .max_height = LIBAV_MAX_SIZE,
        PROFILES(hevc_profiles), .def_profile = 0, .def_level = 5,
        .frames = 32, .frames_per_b = 10, .leak = LIBAV_X265_LEAK,
        .min_qp = 0, .max_qp = 51, .headers = true,
        ENCODER_RATES,
        .configure = libav_configure_x265,
    }, {
        .format = VIDEO_CODED_VP9, .name = "libvpx-vp9",
        .min_size = 16,
        .max_width = LIBAV_MAX_SIZE, .max_height = LIBAV_MAX_SIZE,
        PROFILES(vp9_profiles), .def_profile = 0, .def_level = 6,
        .frames = 53,
        .min_qp = 0, .max_qp = LIBAV_VPX_MAX_QP,
        ENCODER_RATES,
        .configure = libav_configure_vp9,
    }, {
        .format = VIDEO_CODED_VP8, .name = "libvpx",
        .min_size = 16,
        .max_width = LIBAV_MAX_SIZE, .max_height = LIBAV_MAX_SIZE,
        PROFILES(vp8_profiles), .def_profile = 0,
        .frames = 22,
        .min_qp = 0, .max_qp = LIBAV_VPX_MAX_QP,
        ENCODER_RATES,
        .configure = libav_configure_vp8,
    }, {
        /* the lower 12 bits of its sizes must not be 0 */
        .format = VIDEO_CODED_MPEG2, .name = "mpeg2video",
        .min_size = 16,
        .max_width = 4094, .max_height = 4094,
        PROFILES(mpeg2_profiles), .def_profile = 1, .def_level = 1,
        .frames = 8, .frames_per_b = 2,
        ENCODER_RATES,
        .configure = libav_configure_mpeg2,
    }, {
        /* 13 bits for each size */
        .format = VIDEO_CODED_MPEG4, .name = "mpeg4",
        .min_size = 16,
        .max_width = 8190, .max_height = 8190,
        PROFILES(mpeg4_profiles), .def_profile = 1, .def_level = 7,
        .frames = 8, .frames_per_b = 2,
        .min_qp = 1, .max_qp = 31, .headers = true,
        ENCODER_RATES,
        .configure = libav_configure_mpeg4,
    },
};

#undef PROFILES
#undef ENCODER_RATES

const LibavEncoderInfo *libav_encoder_info(VideoCodedFormat format)
{
    for (unsigned i = 0; i < ARRAY_SIZE(libav_encoders); i++) {
        if (libav_encoders[i].format == format) {
            return &libav_encoders[i];
        }
    }
    g_assert_not_reached();
}

/*
 * From controls to settings
 */

static bool libav_has_pix_fmt(const AVCodec *codec, enum AVPixelFormat format)
{
    const enum AVPixelFormat *formats;

#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(61, 13, 100)
    const void *list;

    if (avcodec_get_supported_config(NULL, codec, AV_CODEC_CONFIG_PIX_FORMAT,
                                     0, &list, NULL) < 0) {
        return false;
    }
    formats = list;
#else
    formats = codec->pix_fmts;
#endif
    while (formats && *formats != AV_PIX_FMT_NONE) {
        if (*formats++ == format) {
            return true;
        }
    }
    return false;
}

static unsigned libav_choose_profile(const LibavEncoderInfo *info,
                                     unsigned value, bool deep)
{
    unsigned found = 0;

    for (unsigned i = 0; i < info->n_profiles; i++) {
        if (info->profiles[i].value == value) {
            found = i;
        }
    }
    for (unsigned i = found; deep && i < info->n_profiles; i++) {
        if (info->profiles[i].deep) {
            return i;
        }
    }
    return found;
}

static bool libav_level_fits(const LibavLevel *level,
                             const VideoCodecParams *params, int max_rate)
{
    uint64_t width = DIV_ROUND_UP(params->width, 16);
    uint64_t height = DIV_ROUND_UP(params->height, 16);
    uint64_t blocks = width * height;

    if (level->width ? params->width > level->width ||
                       params->height > level->height
                     : MAX(width * width, height * height) >
                       8 * (uint64_t)level->blocks) {
        return false;
    }
    return blocks <= level->blocks &&
           blocks * params->rate_num <=
           (uint64_t)level->block_rate * params->rate_den &&
           max_rate <= (int64_t)level->kbit * 1000;
}

/* The level asked for, or the lowest above it that fits; -1: none does */
static int libav_choose_level(const LibavProfile *profile,
                              const VideoCodecParams *params, unsigned value,
                              int max_rate)
{
    for (unsigned i = 0; i < profile->n_levels; i++) {
        if (profile->levels[i].value >= value &&
            libav_level_fits(&profile->levels[i], params, max_rate)) {
            return i;
        }
    }
    return -1;
}

/*
 * Samples of 10 bits are encoded as such, and so is everything in a profile
 * for 10 bits.  x264 takes NV12 as it is.
 */
static enum AVPixelFormat libav_choose_pix_fmt(const LibavEncoderInfo *info,
                                               uint32_t fourcc, bool deep)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(info->name);

    if (info->packed) {
        return deep ? AV_PIX_FMT_P010LE : AV_PIX_FMT_NV12;
    }
    if (deep) {
        return AV_PIX_FMT_YUV420P10;
    }
    if (fourcc == DRM_FORMAT_NV12 &&
        libav_has_pix_fmt(codec, AV_PIX_FMT_NV12)) {
        return AV_PIX_FMT_NV12;
    }
    return AV_PIX_FMT_YUV420P;
}

void libav_settings(const LibavEncoderInfo *info,
                    const VideoCodecParams *params,
                    const VideoControls *controls, LibavSettings *settings)
{
    const uint32_t *value = controls->value;
    bool vbr = value[VIDEO_CONTROL_BITRATE_MODE] == VIDEO_BITRATE_MODE_VBR;
    const LibavProfile *profile;

    memset(settings, 0, sizeof(*settings));
    settings->bit_rate = MIN(MAX(value[VIDEO_CONTROL_BITRATE],
                                 LIBAV_MIN_BIT_RATE), LIBAV_MAX_BIT_RATE);
    settings->max_rate = settings->bit_rate * (vbr ? LIBAV_VBR_PEAK : 1);
    settings->gop = info->counts_gop ? value[VIDEO_CONTROL_GOP_SIZE] : 0;

    settings->profile = libav_choose_profile(info,
                                             value[VIDEO_CONTROL_PROFILE],
                                             params->fourcc == DRM_FORMAT_P010);
    profile = &info->profiles[settings->profile];
    settings->level = libav_choose_level(profile, params,
                                         value[VIDEO_CONTROL_LEVEL],
                                         settings->max_rate);
    settings->pix_fmt = libav_choose_pix_fmt(info, params->fourcc,
                                             profile->deep);
    if (profile->b_frames) {
        settings->b_frames = MIN(value[VIDEO_CONTROL_B_FRAMES],
                                 info->max_b_frames);
    }
    if (info->max_qp) {
        settings->min_qp = MIN(MAX(value[VIDEO_CONTROL_MIN_QP], info->min_qp),
                               info->max_qp);
        settings->max_qp = MIN(MAX(value[VIDEO_CONTROL_MAX_QP],
                                   settings->min_qp), info->max_qp);
    }
}

void libav_settle_controls(const LibavEncoderInfo *info,
                           const VideoCodecParams *params,
                           VideoControls *controls)
{
    uint32_t *value = controls->value;
    const LibavProfile *profile;
    LibavSettings settings;

    libav_settings(info, params, controls, &settings);
    profile = &info->profiles[settings.profile];
    value[VIDEO_CONTROL_PROFILE] = profile->value;
    if (profile->n_levels) {
        /* Without one that fits it is the highest */
        value[VIDEO_CONTROL_LEVEL] = profile->levels[
            settings.level < 0 ? profile->n_levels - 1 : settings.level].value;
    }
    value[VIDEO_CONTROL_B_FRAMES] = settings.b_frames;
    if (info->max_qp) {
        value[VIDEO_CONTROL_MIN_QP] = settings.min_qp;
        value[VIDEO_CONTROL_MAX_QP] = settings.max_qp;
    }
}

void libav_software_settle_controls(VideoCodec *codec,
                                    const VideoCodecParams *params,
                                    VideoControls *controls)
{
    libav_settle_controls(libav_encoder_info(params->coded), params, controls);
}

/*
 * From settings to an encoder
 */

static void libav_set_rate(AVCodecContext *avctx,
                           const LibavSettings *settings)
{
    avctx->bit_rate = settings->bit_rate;
    avctx->rc_max_rate = settings->max_rate;
    avctx->rc_buffer_size = settings->max_rate;     /* a second */
}

bool libav_change_rate(const LibavEncoderInfo *info, AVCodecContext *avctx,
                       const LibavSettings *from, const LibavSettings *to)
{
    LibavSettings settings = *from;

    settings.bit_rate = to->bit_rate;
    settings.max_rate = to->max_rate;
    if (!info->rate_changes || memcmp(&settings, to, sizeof(settings))) {
        return false;
    }
    libav_set_rate(avctx, to);
    return true;
}

static void libav_set_format(AVCodecContext *avctx,
                             const VideoCodecParams *params,
                             const LibavSettings *settings)
{
    avctx->width = params->width;
    avctx->height = params->height;
    avctx->pix_fmt = settings->pix_fmt;
    avctx->time_base = (AVRational) { params->rate_den, params->rate_num };
    avctx->framerate = (AVRational) { params->rate_num, params->rate_den };
    if (params->fourcc == DRM_FORMAT_XRGB8888) {
        /* what we convert it to; of all others only the guest knows */
        avctx->colorspace = AVCOL_SPC_SMPTE170M;
        avctx->color_range = AVCOL_RANGE_MPEG;
    }
}

AVCodecContext *libav_open_encoder(const LibavEncoderInfo *info,
                                   const VideoCodecParams *params,
                                   const LibavSettings *settings,
                                   const LibavEncoderOps *ops, void *hw,
                                   Error **errp)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(info->name);
    AVCodecContext *avctx = avcodec_alloc_context3(codec);
    AVDictionary *opts = NULL;
    int ret;

    if (!avctx) {
        error_setg(errp, "out of memory");
        return NULL;
    }
    libav_set_format(avctx, params, settings);
    libav_set_rate(avctx, settings);
    avctx->max_b_frames = settings->b_frames;
    if (info->headers) {
        avctx->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    }
    if (!ops->setup(hw, avctx, errp)) {
        avcodec_free_context(&avctx);
        return NULL;
    }
    info->configure(info, settings, &info->profiles[settings->profile], avctx,
                    &opts);

    ret = avcodec_open2(avctx, codec, &opts);
    av_dict_free(&opts);
    if (ret < 0) {
        error_setg(errp, "can't open libavcodec's encoder %s for %ux%u: %s",
                   info->name, params->width, params->height,
                   av_err2str(ret));
        avcodec_free_context(&avctx);
    }
    return avctx;
}

/*
 * No encoder tells what it holds.  LibavEncoderInfo.frames was measured at
 * 1080p with one thread.
 */
uint64_t libav_encoder_memory(const LibavEncoderInfo *info,
                              const VideoCodecParams *params,
                              const LibavSettings *settings, unsigned threads)
{
    uint64_t frames = info->frames +
                      info->frames_per_b * settings->b_frames +
                      LIBAV_FRAMES_PER_THREAD * (threads - 1);

    return frames * av_image_get_buffer_size(settings->pix_fmt, params->width,
                                             params->height, 1);
}

/*
 * Capabilities
 */

static void libav_set_range(VideoControlCaps *caps, uint32_t min, uint32_t max,
                            uint32_t def)
{
    caps->supported = true;
    caps->min = min;
    caps->max = max;
    caps->def = def;
}

static void libav_set_menu(VideoControlCaps *caps, uint32_t menu, uint32_t def)
{
    caps->supported = true;
    caps->menu = menu;
    caps->def = def;
}

static void libav_init_controls(const LibavEncoderInfo *info, bool deep,
                                VideoControlCaps *controls)
{
    uint32_t profiles = 0, levels = 0;
    bool b_frames = false;

    for (unsigned i = 0; i < info->n_profiles; i++) {
        const LibavProfile *profile = &info->profiles[i];

        if (profile->deep && !deep) {
            continue;
        }
        profiles |= 1u << profile->value;
        b_frames |= profile->b_frames;
        for (unsigned j = 0; j < profile->n_levels; j++) {
            levels |= 1u << profile->levels[j].value;
        }
    }

    if (info->bitrate_modes) {
        libav_set_range(&controls[VIDEO_CONTROL_BITRATE], LIBAV_MIN_BIT_RATE,
                        LIBAV_MAX_BIT_RATE, LIBAV_DEF_BIT_RATE);
        libav_set_menu(&controls[VIDEO_CONTROL_BITRATE_MODE],
                       info->bitrate_modes, 31 - clz32(info->bitrate_modes));
    }
    libav_set_menu(&controls[VIDEO_CONTROL_PROFILE], profiles,
                   info->def_profile);
    if (levels) {
        libav_set_menu(&controls[VIDEO_CONTROL_LEVEL], levels,
                       info->def_level);
    }
    libav_set_range(&controls[VIDEO_CONTROL_GOP_SIZE], 1, LIBAV_MAX_GOP,
                    LIBAV_DEF_GOP);
    libav_set_range(&controls[VIDEO_CONTROL_FORCE_KEY_FRAME], 0, 1, 0);
    if (b_frames && info->max_b_frames) {
        libav_set_range(&controls[VIDEO_CONTROL_B_FRAMES], 0,
                        info->max_b_frames, 0);
    }
    if (info->max_qp) {
        libav_set_range(&controls[VIDEO_CONTROL_MIN_QP], info->min_qp,
                        info->max_qp, info->min_qp);
        libav_set_range(&controls[VIDEO_CONTROL_MAX_QP], info->min_qp,
                        info->max_qp, info->max_qp);
    }
    if (info->headers) {
        libav_set_range(&controls[VIDEO_CONTROL_PREPEND_HEADERS], 0, 1, 1);
    }
}

void libav_encoder_add_caps(const LibavEncoderInfo *info, bool deep,
                            VideoCodecCaps *caps)
{
    VideoCodedCaps *coded = &caps->encoders[caps->n_encoders++];

    *coded = (VideoCodedCaps) {
        .format = info->format,
        .max_width = info->max_width,
        .max_height = info->max_height,
        .min_width = info->min_size,
        .min_height = info->min_size,
        .size_step = 2,
    };
    for (unsigned i = 0; i < caps->n_raws; i++) {
        if (caps->raws[i] != DRM_FORMAT_P010 || deep) {
            coded->raw_mask |= 1u << i;
        }
    }
    libav_init_controls(info, deep, coded->controls);
}

void libav_encoder_init_caps(VideoCodecCaps *caps)
{
    QEMU_BUILD_BUG_ON(ARRAY_SIZE(libav_encoders) >
                      ARRAY_SIZE(caps->encoders));

    for (unsigned i = 0; i < ARRAY_SIZE(libav_encoders); i++) {
        const LibavEncoderInfo *info = &libav_encoders[i];
        const AVCodec *codec = avcodec_find_encoder_by_name(info->name);

        if (codec && libav_has_pix_fmt(codec, AV_PIX_FMT_YUV420P)) {
            libav_encoder_add_caps(info, libav_has_pix_fmt(
                codec, AV_PIX_FMT_YUV420P10), caps);
        }
    }
}
