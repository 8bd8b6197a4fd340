/*
 * Profiles, entrypoints, attributes: what this "hardware" can do
 *
 * Any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

#include <stdio.h>
#include <string.h>
#include <va/va_str.h>

typedef struct Profile {
    VAProfile profile;
    uint32_t rt_format;
    uint32_t rate_control;      /* of its encoder; 0 if there is none */
    const char *encoder;        /* of libavcodec; without it there is none */
} Profile;

#define ALL_RC (VA_RC_CQP | VA_RC_CBR | VA_RC_VBR)

static const Profile profiles[] = {
    { VAProfileMPEG2Simple, VA_RT_FORMAT_YUV420, ALL_RC, "mpeg2video" },
    { VAProfileMPEG2Main, VA_RT_FORMAT_YUV420, ALL_RC, "mpeg2video" },
    { VAProfileH264ConstrainedBaseline, VA_RT_FORMAT_YUV420, ALL_RC,
      "libx264" },
    { VAProfileH264Main, VA_RT_FORMAT_YUV420, ALL_RC, "libx264" },
    { VAProfileH264High, VA_RT_FORMAT_YUV420, ALL_RC, "libx264" },
    { VAProfileHEVCMain, VA_RT_FORMAT_YUV420, ALL_RC, "libx265" },
    { VAProfileHEVCMain10, VA_RT_FORMAT_YUV420 | VA_RT_FORMAT_YUV420_10,
      ALL_RC, "libx265" },
    { VAProfileVP8Version0_3, VA_RT_FORMAT_YUV420, ALL_RC, "libvpx" },
    { VAProfileVP9Profile0, VA_RT_FORMAT_YUV420, ALL_RC, "libvpx-vp9" },
    { VAProfileVP9Profile2, VA_RT_FORMAT_YUV420_10 },
    { VAProfileAV1Profile0, VA_RT_FORMAT_YUV420 | VA_RT_FORMAT_YUV420_10 },
    { VAProfileJPEGBaseline, VA_RT_FORMAT_YUV420, VA_RC_CQP, "mjpeg" },
    { VAProfileNone, VA_RT_FORMAT_YUV420 | VA_RT_FORMAT_YUV420_10 |
                     VA_RT_FORMAT_RGB32 },
};

static uint32_t rt_formats(VvDriver *drv, const Profile *p)
{
    return p->rt_format & ~(drv->options.no_deep ? VA_RT_FORMAT_YUV420_10 : 0);
}

static bool is_named(const GPtrArray *names, VAProfile profile)
{
    const char *name = vaProfileStr(profile) + strlen("VAProfile");

    for (unsigned i = 0; i < names->len; i++) {
        if (!strcmp(names->pdata[i], name)) {
            return true;
        }
    }
    return false;
}

static bool is_missing(VvDriver *drv, VAProfile profile)
{
    return is_named(drv->options.no_profile, profile) ||
        (drv->no_codec && profile != VAProfileNone);
}

void vv_max_size(const VvOptions *o, VAProfile profile, unsigned *width,
                 unsigned *height)
{
    const char *name = vaProfileStr(profile) + strlen("VAProfile");
    size_t n = strlen(name);

    *width = o->max_width;
    *height = o->max_height;
    for (unsigned i = 0; i < o->max_size_of->len; i++) {
        const char *size = o->max_size_of->pdata[i];

        if (!strncmp(size, name, n) && size[n] == ':') {
            sscanf(size + n, ":%ux%u", width, height);
        }
    }
}

static const Profile *find_profile(VvDriver *drv, VAProfile profile)
{
    if (is_missing(drv, profile) && !drv->options.all_entrypoints) {
        return NULL;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(profiles); i++) {
        const VvCodec *codec = vv_codec_of(profiles[i].profile);

        if (profiles[i].profile == profile &&
            (!codec || !codec->decoder ||
             avcodec_find_decoder_by_name(codec->decoder))) {
            return &profiles[i];
        }
    }
    return NULL;
}

static VAEntrypoint encoder_of(VvDriver *drv, const Profile *p)
{
    if (!p->rate_control || drv->options.no_encode ||
        is_named(drv->options.no_encode_profile, p->profile) ||
        !avcodec_find_encoder_by_name(p->encoder)) {
        return 0;
    }
    if (p->profile == VAProfileJPEGBaseline) {
        return VAEntrypointEncPicture;
    }
    return drv->options.low_power ? VAEntrypointEncSliceLP :
        VAEntrypointEncSlice;
}

static uint32_t rate_control(VvDriver *drv, const Profile *p)
{
    const VvOptions *o = &drv->options;

    return p->rate_control &
        ~((o->no_cbr || o->cqp_only ? VA_RC_CBR : 0) |
          (o->no_vbr || o->cqp_only ? VA_RC_VBR : 0));
}

static bool has_entrypoint(VvDriver *drv, const Profile *p, VAEntrypoint e)
{
    if (p->profile == VAProfileNone) {
        return e == VAEntrypointVideoProc;
    }
    return e == VAEntrypointVLD || (e && e == encoder_of(drv, p));
}

bool vv_config_is_encoder(const VvConfig *config)
{
    return config->entrypoint == VAEntrypointEncSlice ||
        config->entrypoint == VAEntrypointEncSliceLP ||
        config->entrypoint == VAEntrypointEncPicture;
}

static VAStatus query_profiles(VADriverContextP va, VAProfile *list, int *num)
{
    VvDriver *drv = vv_driver(va);

    *num = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(profiles); i++) {
        if (find_profile(drv, profiles[i].profile) &&
            !is_missing(drv, profiles[i].profile)) {
            list[(*num)++] = profiles[i].profile;
        }
    }
    return VA_STATUS_SUCCESS;
}

static VAStatus query_entrypoints(VADriverContextP va, VAProfile profile,
                                  VAEntrypoint *list, int *num)
{
    VvDriver *drv = vv_driver(va);
    const Profile *p = find_profile(drv, profile);

    *num = 0;
    if (!p) {
        return VA_STATUS_ERROR_UNSUPPORTED_PROFILE;
    }
    if (profile == VAProfileNone) {
        list[(*num)++] = VAEntrypointVideoProc;
        return VA_STATUS_SUCCESS;
    }
    list[(*num)++] = VAEntrypointVLD;
    if (encoder_of(drv, p)) {
        list[(*num)++] = encoder_of(drv, p);
    }
    return VA_STATUS_SUCCESS;
}

static VAStatus check(VvDriver *drv, VAProfile profile, VAEntrypoint entrypoint,
                      const Profile **p)
{
    *p = find_profile(drv, profile);
    if (!*p) {
        return VA_STATUS_ERROR_UNSUPPORTED_PROFILE;
    }
    return has_entrypoint(drv, *p, entrypoint) ? VA_STATUS_SUCCESS :
        VA_STATUS_ERROR_UNSUPPORTED_ENTRYPOINT;
}

static bool is_h26x(VAProfile p)
{
    return p == VAProfileH264ConstrainedBaseline || p == VAProfileH264Main ||
        p == VAProfileH264High || p == VAProfileHEVCMain ||
        p == VAProfileHEVCMain10;
}

static bool is_hevc(VAProfile p)
{
    return p == VAProfileHEVCMain || p == VAProfileHEVCMain10;
}

static uint32_t encoder_attribute(VvDriver *drv, const Profile *p,
                                  VAConfigAttribType type)
{
    const VAConfigAttribValEncJPEG jpeg = { .bits = {
        .max_num_components = 3,
        .max_num_scans = 1,
        .max_num_huffman_tables = 2,
        .max_num_quantization_tables = 2,
    } };

    switch (type) {
    case VAConfigAttribRateControl:
        return rate_control(drv, p);
    case VAConfigAttribEncPackedHeaders:
        /* The encoders write their own; HEVC's window is in the client's only */
        return is_hevc(p->profile) ? VA_ENC_PACKED_HEADER_SEQUENCE :
            VA_ENC_PACKED_HEADER_NONE;
    case VAConfigAttribEncMaxRefFrames:
        /* In list 0; none in list 1: no B frames */
        return drv->options.b_frames && is_h26x(p->profile) ? 1 | 1 << 16 : 1;
    case VAConfigAttribEncMaxSlices:
        return is_h26x(p->profile) ? 1 : VA_ATTRIB_NOT_SUPPORTED;
    case VAConfigAttribEncQualityRange:
        return 8;
    case VAConfigAttribEncJPEG:
        return p->profile == VAProfileJPEGBaseline ? jpeg.value :
            VA_ATTRIB_NOT_SUPPORTED;
    default:
        return VA_ATTRIB_NOT_SUPPORTED;
    }
}

static uint32_t attribute(VvDriver *drv, const Profile *p,
                          VAEntrypoint entrypoint, VAConfigAttribType type)
{
    unsigned width, height;

    vv_max_size(&drv->options, p->profile, &width, &height);
    switch (type) {
    case VAConfigAttribRTFormat:
        return rt_formats(drv, p);
    case VAConfigAttribMaxPictureWidth:
        return width;
    case VAConfigAttribMaxPictureHeight:
        return height;
    case VAConfigAttribDecSliceMode:
        return entrypoint == VAEntrypointVLD ? VA_DEC_SLICE_MODE_NORMAL :
            VA_ATTRIB_NOT_SUPPORTED;
    default:
        return entrypoint == encoder_of(drv, p) ?
            encoder_attribute(drv, p, type) : VA_ATTRIB_NOT_SUPPORTED;
    }
}

static VAStatus get_attributes(VADriverContextP va, VAProfile profile,
                               VAEntrypoint entrypoint, VAConfigAttrib *list,
                               int num)
{
    VvDriver *drv = vv_driver(va);
    const Profile *p;
    VAStatus status = check(drv, profile, entrypoint, &p);

    for (int i = 0; i < num && !status; i++) {
        list[i].value = attribute(drv, p, entrypoint, list[i].type);
    }
    return status;
}

static VAStatus create_config(VADriverContextP va, VAProfile profile,
                              VAEntrypoint entrypoint, VAConfigAttrib *list,
                              int num, VAConfigID *id)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    const Profile *p;
    VAStatus status = check(drv, profile, entrypoint, &p);
    uint32_t rt = 0, rc = 0, packed = 0;
    VvConfig *config;

    if (drv->lost) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    for (int i = 0; i < num && !status; i++) {
        switch (list[i].type) {
        case VAConfigAttribRTFormat:
            rt = list[i].value;
            if (!(rt & rt_formats(drv, p))) {
                status = VA_STATUS_ERROR_UNSUPPORTED_RT_FORMAT;
            }
            break;
        case VAConfigAttribRateControl:
            rc = list[i].value;
            if (rc & ~rate_control(drv, p)) {
                status = VA_STATUS_ERROR_INVALID_CONFIG;
            }
            break;
        case VAConfigAttribEncPackedHeaders:
            packed = list[i].value;
            break;
        default:
            break;
        }
    }
    if (status) {
        return status;
    }
    config = vv_object_new(drv, VV_CONFIG, sizeof(*config), NULL);
    config->profile = profile;
    config->entrypoint = entrypoint;
    config->rt_format = rt ? rt : rt_formats(drv, p);
    config->rate_control = rc ? rc : VA_RC_CQP;
    config->packed_headers = packed;
    *id = config->obj.id;
    (void)locker;
    return VA_STATUS_SUCCESS;
}

static VAStatus destroy_config(VADriverContextP va, VAConfigID id)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvConfig *config = vv_object(drv, VV_CONFIG, id);

    (void)locker;
    if (!config) {
        return VA_STATUS_ERROR_INVALID_CONFIG;
    }
    vv_object_remove(config);
    return VA_STATUS_SUCCESS;
}

static VAStatus query_config(VADriverContextP va, VAConfigID id,
                             VAProfile *profile, VAEntrypoint *entrypoint,
                             VAConfigAttrib *list, int *num)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvConfig *config = vv_object(drv, VV_CONFIG, id);

    (void)locker;
    if (!config) {
        return VA_STATUS_ERROR_INVALID_CONFIG;
    }
    *profile = config->profile;
    *entrypoint = config->entrypoint;
    *num = 0;
    list[(*num)++] = (VAConfigAttrib) { VAConfigAttribRTFormat,
                                        config->rt_format };
    if (vv_config_is_encoder(config)) {
        list[(*num)++] = (VAConfigAttrib) { VAConfigAttribRateControl,
                                            config->rate_control };
    }
    return VA_STATUS_SUCCESS;
}

static void add_attrib(GArray *all, VASurfaceAttribType type, unsigned flags,
                       int value)
{
    VASurfaceAttrib a = {
        .type = type,
        .flags = flags,
        .value = { .type = VAGenericValueTypeInteger, .value.i = value },
    };

    g_array_append_val(all, a);
}

VAStatus vv_query_surface_attributes(VADriverContextP va, VAConfigID id,
                                     VASurfaceAttrib *attribs, unsigned *num)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvConfig *config = vv_object(drv, VV_CONFIG, id);
    g_autoptr(GArray) all = g_array_new(false, true, sizeof(VASurfaceAttrib));
    int memory = VA_SURFACE_ATTRIB_MEM_TYPE_VA;
    const unsigned get = VA_SURFACE_ATTRIB_GETTABLE;
    const unsigned set = get | VA_SURFACE_ATTRIB_SETTABLE;
    const VvFormat *f;
    VASurfaceAttrib desc = {
        .type = VASurfaceAttribExternalBufferDescriptor,
        .flags = VA_SURFACE_ATTRIB_SETTABLE,
        .value.type = VAGenericValueTypePointer,
    };
    unsigned max_width, max_height;
    bool video;

    (void)locker;
    if (!config) {
        return VA_STATUS_ERROR_INVALID_CONFIG;
    }
    video = config->profile != VAProfileNone;
    for (unsigned i = 0; (f = vv_format_at(i)); i++) {
        /* Codecs have no planar surfaces */
        if ((f->rt_format & config->rt_format) && (!video || f->planes == 2)) {
            add_attrib(all, VASurfaceAttribPixelFormat, set, f->fourcc);
        }
    }
    vv_max_size(&drv->options, config->profile, &max_width, &max_height);
    add_attrib(all, VASurfaceAttribMinWidth, get,
               video ? drv->options.min_width : 1);
    add_attrib(all, VASurfaceAttribMaxWidth, get, max_width);
    add_attrib(all, VASurfaceAttribMinHeight, get,
               video ? drv->options.min_height : 1);
    add_attrib(all, VASurfaceAttribMaxHeight, get, max_height);
    if (!drv->options.no_import &&
        !(config->entrypoint == VAEntrypointVLD &&
          drv->options.no_import_decode)) {
        memory |= VA_SURFACE_ATTRIB_MEM_TYPE_USER_PTR |
            VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME |
            VA_SURFACE_ATTRIB_MEM_TYPE_DRM_PRIME_2;
        g_array_append_val(all, desc);
    }
    add_attrib(all, VASurfaceAttribMemoryType, set, memory);

    if (attribs && *num < all->len) {
        *num = all->len;
        return VA_STATUS_ERROR_MAX_NUM_EXCEEDED;
    }
    if (attribs) {
        memcpy(attribs, all->data, all->len * sizeof(*attribs));
    }
    *num = all->len;
    return VA_STATUS_SUCCESS;
}

void vv_config_vtable(struct VADriverVTable *vtable)
{
    vtable->vaQueryConfigProfiles = query_profiles;
    vtable->vaQueryConfigEntrypoints = query_entrypoints;
    vtable->vaGetConfigAttributes = get_attributes;
    vtable->vaCreateConfig = create_config;
    vtable->vaDestroyConfig = destroy_config;
    vtable->vaQueryConfigAttributes = query_config;
    vtable->vaQuerySurfaceAttributes = vv_query_surface_attributes;
}
