/*
 * Video codec on a GPU with VA-API: the object
 *
 * Everything here runs in the main thread.  What sessions do is in
 * video-codec-vaapi-decoder.c and -encoder.c, on top of video-codec-libav's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/module.h"
#include "qapi/error.h"
#include "qom/object_interfaces.h"
#include "video-codec-libav-decoder.h"
#include "video-codec-vaapi.h"

#define VAAPI_FIRST_NODE 128
#define VAAPI_N_NODES 64

static const VideoCodecCaps *video_codec_vaapi_get_caps(VideoCodec *codec)
{
    return &VIDEO_CODEC_VAAPI(codec)->caps;
}

static bool vaapi_has_coded(const VideoCodedCaps *coded, unsigned n,
                            VideoCodedFormat format)
{
    for (unsigned i = 0; i < n; i++) {
        if (coded[i].format == format) {
            return true;
        }
    }
    return false;
}

/* Add what @from has and @to has not. */
static unsigned vaapi_add_coded(VideoCodedCaps *to, unsigned n_to,
                                const VideoCodedCaps *from, unsigned n_from)
{
    for (unsigned i = 0; i < n_from; i++) {
        if (!vaapi_has_coded(to, n_to, from[i].format)) {
            to[n_to++] = from[i];
        }
    }
    return n_to;
}

/* What the GPU can do.  Returns: false if that is nothing */
static bool video_codec_vaapi_init_caps(VideoCodecVaapi *vaapi)
{
    VideoCodecCaps *caps = &vaapi->caps;
    VideoCodecCaps software = { };

    libav_software_caps(&software);
    *caps = (VideoCodecCaps) { .n_raws = software.n_raws };
    memcpy(caps->raws, software.raws, sizeof(caps->raws));
    vaapi->hw_decoders = 0;
    vaapi_decoder_caps(vaapi, vaapi->display, caps);
    vaapi_encoder_caps(vaapi, vaapi->display, caps);
    return caps->n_decoders || caps->n_encoders;
}

static void video_codec_vaapi_add_software(VideoCodecVaapi *vaapi)
{
    VideoCodecCaps *caps = &vaapi->caps;
    VideoCodecCaps software = { };

    libav_software_caps(&software);
    for (unsigned i = 0; i < caps->n_decoders; i++) {
        VideoCodedCaps *coded = &caps->decoders[i];

        if (!vaapi_has_coded(software.decoders, software.n_decoders,
                             coded->format)) {
            continue;
        }
        /* 10 bits, and frames that are too small for the GPU */
        coded->raw_mask = (1u << caps->n_raws) - 1;
        coded->deep = (VideoFrameLimits) { };
        coded->min_width = coded->min_height = 0;
    }
    caps->n_decoders = vaapi_add_coded(caps->decoders, caps->n_decoders,
                                       software.decoders,
                                       software.n_decoders);
    caps->n_encoders = vaapi_add_coded(caps->encoders, caps->n_encoders,
                                       software.encoders,
                                       software.n_encoders);
}

/* Take a node if it works, and has a codec unless @any_gpu. */
static bool video_codec_vaapi_try(VideoCodecVaapi *vaapi, const char *node,
                                  bool any_gpu, Error **errp)
{
    vaapi->display = vaapi_display_open(vaapi, node, errp);
    if (!vaapi->display) {
        return false;
    }
    if (!video_codec_vaapi_init_caps(vaapi) && !any_gpu) {
        error_setg(errp, "the GPU behind render node '%s' (%s) has no codec "
                   "of use", node, vaapi->display->driver);
        vaapi_display_put(vaapi->display);
        vaapi->display = NULL;
        return false;
    }
    return true;
}

/* The first node that works; of those that don't, the first one is told of */
static bool video_codec_vaapi_find(VideoCodecVaapi *vaapi, bool any_gpu,
                                   Error **errp)
{
    Error *first = NULL;

    for (int i = 0; i < VAAPI_N_NODES; i++) {
        g_autofree char *node = g_strdup_printf("/dev/dri/renderD%d",
                                                VAAPI_FIRST_NODE + i);
        Error *err = NULL;

        if (access(node, F_OK) < 0) {
            continue;
        }
        if (video_codec_vaapi_try(vaapi, node, any_gpu, &err)) {
            vaapi->node = g_steal_pointer(&node);
            error_free(first);
            return true;
        }
        if (first) {
            error_free(err);
        } else {
            first = err;
        }
    }
    if (first) {
        error_propagate(errp, first);
    } else {
        error_setg(errp, "there is no render node of a GPU: no "
                   "/dev/dri/renderD* here");
        error_append_hint(errp, "Without a GPU, video-codec-libav works in "
                          "software.\n");
    }
    return false;
}

static void video_codec_vaapi_complete(UserCreatable *uc, Error **errp)
{
    VideoCodecVaapi *vaapi = VIDEO_CODEC_VAAPI(uc);
    bool fallback = vaapi->fallback == VIDEO_CODEC_VAAPI_FALLBACK_SOFTWARE;
    bool found;

    if (vaapi->node) {
        found = video_codec_vaapi_try(vaapi, vaapi->node, fallback, errp);
    } else {
        /* Software has all codecs, but those of a GPU are preferred */
        found = (fallback && video_codec_vaapi_find(vaapi, false, NULL)) ||
                video_codec_vaapi_find(vaapi, fallback, errp);
    }
    if (!found) {
        return;
    }
    if (fallback) {
        video_codec_vaapi_add_software(vaapi);
    }
    vaapi->completed = true;
}

/* Properties count when the object is completed; the display comes and goes */
static bool video_codec_vaapi_settable(Object *obj, const char *name,
                                       Error **errp)
{
    if (VIDEO_CODEC_VAAPI(obj)->completed) {
        error_setg(errp, "property '%s' can't be changed later", name);
        return false;
    }
    return true;
}

static char *video_codec_vaapi_get_rendernode(Object *obj, Error **errp)
{
    return g_strdup(VIDEO_CODEC_VAAPI(obj)->node);
}

static void video_codec_vaapi_set_rendernode(Object *obj, const char *value,
                                             Error **errp)
{
    VideoCodecVaapi *vaapi = VIDEO_CODEC_VAAPI(obj);

    if (video_codec_vaapi_settable(obj, "rendernode", errp)) {
        g_free(vaapi->node);
        vaapi->node = g_strdup(value);
    }
}

static int video_codec_vaapi_get_fallback(Object *obj, Error **errp)
{
    return VIDEO_CODEC_VAAPI(obj)->fallback;
}

static void video_codec_vaapi_set_fallback(Object *obj, int value,
                                           Error **errp)
{
    if (video_codec_vaapi_settable(obj, "fallback", errp)) {
        VIDEO_CODEC_VAAPI(obj)->fallback = value;
    }
}

static int video_codec_vaapi_get_path(Object *obj, Error **errp)
{
    return VIDEO_CODEC_VAAPI(obj)->path;
}

static void video_codec_vaapi_set_path(Object *obj, int value, Error **errp)
{
    if (video_codec_vaapi_settable(obj, "x-path", errp)) {
        VIDEO_CODEC_VAAPI(obj)->path = value;
    }
}

static void video_codec_vaapi_init(Object *obj)
{
    qemu_mutex_init(&VIDEO_CODEC_VAAPI(obj)->lock);
    qemu_mutex_init(&VIDEO_CODEC_VAAPI(obj)->open_lock);
}

/* Sessions have a reference to the object, so none is left */
static void video_codec_vaapi_finalize(Object *obj)
{
    VideoCodecVaapi *vaapi = VIDEO_CODEC_VAAPI(obj);

    if (vaapi->display) {
        vaapi_display_put(vaapi->display);
    }
    qemu_mutex_destroy(&vaapi->lock);
    qemu_mutex_destroy(&vaapi->open_lock);
    g_free(vaapi->node);
}

static VideoCodecImpl vaapi_decoder, vaapi_encoder;

static void video_codec_vaapi_class_init(ObjectClass *oc, void *data)
{
    VideoCodecClass *vcc = VIDEO_CODEC_CLASS(oc);
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);

    vaapi_decoder = libav_decoder;
    vaapi_decoder.start = vaapi_decoder_start;
    vcc->get_caps = video_codec_vaapi_get_caps;
    vcc->decoder = &vaapi_decoder;
    vaapi_encoder = libav_encoder;
    vaapi_encoder.start = vaapi_encoder_start;
    vcc->encoder = &vaapi_encoder;
    vcc->settle_controls = vaapi_settle_controls;
    ucc->complete = video_codec_vaapi_complete;

    object_class_property_add_str(oc, "rendernode",
                                  video_codec_vaapi_get_rendernode,
                                  video_codec_vaapi_set_rendernode);
    object_class_property_set_description(oc, "rendernode",
        "Render node of the GPU (default: the first /dev/dri/renderD* that "
        "works)");
    object_class_property_add_enum(oc, "fallback", "VideoCodecVaapiFallback",
                                   &VideoCodecVaapiFallback_lookup,
                                   video_codec_vaapi_get_fallback,
                                   video_codec_vaapi_set_fallback);
    object_class_property_set_description(oc, "fallback",
        "software: what the GPU can't do is done in software (default: off)");
    object_class_property_add_enum(oc, "x-path", "VideoCodecVaapiPath",
                                   &VideoCodecVaapiPath_lookup,
                                   video_codec_vaapi_get_path,
                                   video_codec_vaapi_set_path);
    object_class_property_set_description(oc, "x-path",
        "How frames get between the GPU and the guest, for tests (default: "
        "auto, the fastest way that works)");
}

static const TypeInfo video_codec_vaapi_info = {
    .name = TYPE_VIDEO_CODEC_VAAPI,
    .parent = TYPE_VIDEO_CODEC,
    .instance_size = sizeof(VideoCodecVaapi),
    .instance_init = video_codec_vaapi_init,
    .instance_finalize = video_codec_vaapi_finalize,
    .class_init = video_codec_vaapi_class_init,
};
module_obj(TYPE_VIDEO_CODEC_VAAPI);
module_dep("backends-video-codec-libav");

static void video_codec_vaapi_register_types(void)
{
    type_register_static(&video_codec_vaapi_info);
}

type_init(video_codec_vaapi_register_types);
