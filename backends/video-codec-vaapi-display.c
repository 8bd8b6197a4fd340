/*
 * Video codec on a GPU with VA-API: displays
 *
 * A display is what libva calls an opened render node.  The object has one;
 * each session holds a reference to that with which it began.  When the GPU is
 * lost, sessions on it fail, and the next one to begin opens the node again.
 * What is lost is closed by the last of its own sessions, as a driver may hang.
 *
 * Runs in the main thread while the object is made, in the workers of sessions
 * later: opening a node can take long.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/lockable.h"
#include "qapi/error.h"
#include "video-codec-vaapi.h"

#include <libavutil/hwcontext_vaapi.h>
#include <libavutil/imgutils.h>
#include <va/va_drm.h>

/* What drivers round the size of surfaces up to, at most */
#define VAAPI_ALIGN_WIDTH 128
#define VAAPI_ALIGN_HEIGHT 32

/* So many pictures don't fail in a row because of what is in them */
#define VAAPI_MAX_FAILURES 16

/* What libva would print */
#define VAAPI_TRYING "Trying to open "

static void vaapi_info(void *opaque, const char *message)
{
    VaapiDisplay *display = opaque;
    const char *file = strstr(message, VAAPI_TRYING);

    if (file) {
        QEMU_LOCK_GUARD(&display->lock);
        g_string_append_printf(display->tried, "%s%s",
                               display->tried->len ? ", " : "",
                               file + strlen(VAAPI_TRYING));
        g_strchomp(display->tried->str);
        display->tried->len = strlen(display->tried->str);
    }
}

static void vaapi_error(void *opaque, const char *message)
{
    VaapiDisplay *display = opaque;

    QEMU_LOCK_GUARD(&display->lock);
    g_free(display->message);
    display->message = g_strchomp(g_strdup(message));
}

static void vaapi_display_free(VaapiDisplay *display)
{
    av_buffer_unref(&display->device);
    if (display->dpy) {
        vaTerminate(display->dpy);
    }
    if (display->fd >= 0) {
        qemu_close(display->fd);
    }
    qemu_mutex_destroy(&display->lock);
    g_string_free(display->tried, true);
    g_free(display->message);
    g_free(display);
}

/* The name without version and chip: "Intel iHD driver" */
static void vaapi_display_name(VaapiDisplay *display)
{
    const char *vendor = vaQueryVendorString(display->dpy) ?: "unknown driver";
    const char *end = strstr(vendor, " driver");
    size_t n = end ? end - vendor + strlen(" driver") : strcspn(vendor, "-(");

    while (n && vendor[n - 1] == ' ') {
        n--;
    }
    g_strlcpy(display->driver, vendor, MIN(n + 1, sizeof(display->driver)));
}

static bool vaapi_display_init_device(VaapiDisplay *display)
{
    AVVAAPIDeviceContext *hw;

    display->device = av_hwdevice_ctx_alloc(AV_HWDEVICE_TYPE_VAAPI);
    if (!display->device) {
        return false;
    }
    hw = ((AVHWDeviceContext *)display->device->data)->hwctx;
    hw->display = display->dpy;
    return av_hwdevice_ctx_init(display->device) >= 0;
}

static void vaapi_no_access(const char *node, Error **errp)
{
    error_setg_errno(errp, errno, "can't open render node '%s'", node);
    if (errno == EACCES || errno == EPERM) {
        error_append_hint(errp, "The user that runs QEMU must be allowed to "
                          "read and write it: usually by being in the group "
                          "'render'.\n");
    } else {
        error_append_hint(errp, "Without a GPU, video-codec-libav works in "
                          "software.\n");
    }
}

static void vaapi_no_driver(VaapiDisplay *display, const char *node,
                            VAStatus status, Error **errp)
{
    const char *name = getenv("LIBVA_DRIVER_NAME");

    error_setg(errp, "can't use render node '%s' with VA-API: %s%s%s "
               "(driver tried: %s)", node, vaErrorStr(status),
               display->message ? ": " : "", display->message ?: "",
               display->tried->len ? display->tried->str :
               name ?: "none that libva knows for this GPU");
    error_append_hint(errp, "Is the GPU's VA-API driver installed?  Debian has "
                      "intel-media-va-driver, mesa-va-drivers and "
                      "nvidia-vaapi-driver.  'vainfo --display drm --device "
                      "%s' tells more.\n", node);
}

VaapiDisplay *vaapi_display_open(VideoCodecVaapi *vaapi, const char *node,
                                 Error **errp)
{
    VaapiDisplay *display = g_new0(VaapiDisplay, 1);
    int major, minor;
    VAStatus status;

    display->vaapi = vaapi;
    display->refs = 1;
    qemu_mutex_init(&display->lock);
    display->tried = g_string_new(NULL);
    display->fd = qemu_open_old(node, O_RDWR);
    if (display->fd < 0) {
        vaapi_no_access(node, errp);
        vaapi_display_free(display);
        return NULL;
    }
    display->dpy = vaGetDisplayDRM(display->fd);
    if (!display->dpy) {
        error_setg(errp, "'%s' is not a render node of a GPU", node);
        vaapi_display_free(display);
        return NULL;
    }

    vaSetInfoCallback(display->dpy, vaapi_info, display);
    vaSetErrorCallback(display->dpy, vaapi_error, display);
    status = vaInitialize(display->dpy, &major, &minor);
    if (status != VA_STATUS_SUCCESS) {
        vaapi_no_driver(display, node, status, errp);
        vaapi_display_free(display);
        return NULL;
    }
    vaapi_display_name(display);
    if (!vaapi_display_init_device(display)) {
        error_setg(errp, "libavutil can't use render node '%s' with %s", node,
                   display->driver);
        vaapi_display_free(display);
        return NULL;
    }
    vaapi_probe(display);
    return display;
}

VaapiDisplay *vaapi_display_get(VideoCodecVaapi *vaapi, Error **errp)
{
    VaapiDisplay *display;

    /* Who begins has to wait for that, but nobody who ends */
    QEMU_LOCK_GUARD(&vaapi->open_lock);
    WITH_QEMU_LOCK_GUARD(&vaapi->lock) {
        display = vaapi->display;
        if (display) {
            display->refs++;
        }
    }
    if (display) {
        return display;
    }
    display = vaapi_display_open(vaapi, vaapi->node, errp);
    if (display) {
        QEMU_LOCK_GUARD(&vaapi->lock);
        display->refs++;
        vaapi->display = display;
    }
    return display;
}

void vaapi_display_put(VaapiDisplay *display)
{
    VideoCodecVaapi *vaapi = display->vaapi;
    bool last;

    WITH_QEMU_LOCK_GUARD(&vaapi->lock) {
        last = !--display->refs;
    }
    /* It may take long, or for ever: nobody else has to wait */
    if (last) {
        vaapi_display_free(display);
    }
}

void vaapi_display_lose(VaapiDisplay *display)
{
    VideoCodecVaapi *vaapi = display->vaapi;

    qatomic_set(&display->lost, true);
    QEMU_LOCK_GUARD(&vaapi->lock);
    if (vaapi->display == display) {
        /* The caller has a reference, too */
        display->refs--;
        vaapi->display = NULL;
    }
}

/* One that can't make a small surface, and find it idle, can do nothing. */
static bool vaapi_display_is_alive(VaapiDisplay *display)
{
    VASurfaceID surface;
    bool alive;

    if (qatomic_read(&display->lost)) {
        return false;
    }
    alive = vaCreateSurfaces(display->dpy, VA_RT_FORMAT_YUV420, 64, 64,
                             &surface, 1, NULL, 0) == VA_STATUS_SUCCESS;
    if (alive) {
        alive = vaSyncSurface(display->dpy, surface) == VA_STATUS_SUCCESS;
        vaDestroySurfaces(display->dpy, &surface, 1);
    }
    return alive;
}

static unsigned vaapi_count(unsigned failures, bool failed)
{
    return failed ? MIN(failures + 1, VAAPI_MAX_FAILURES) : 0;
}

void vaapi_display_note(VaapiDisplay *display, unsigned *failures, bool failed)
{
    QEMU_LOCK_GUARD(&display->lock);
    display->failures = vaapi_count(display->failures, failed);
    *failures = vaapi_count(*failures, failed);
}

/*
 * Drivers have many ways to say that they can't go on.  After a reset of the
 * GPU some have everything but pictures, and some have everything for others.
 */
bool vaapi_display_check(VaapiDisplay *display, unsigned failures)
{
    bool alive = vaapi_display_is_alive(display);

    WITH_QEMU_LOCK_GUARD(&display->lock) {
        alive &= display->failures < VAAPI_MAX_FAILURES;
    }
    if (!alive) {
        vaapi_display_lose(display);
    }
    return alive && failures < VAAPI_MAX_FAILURES;
}

/* Some drivers have entry points even for profiles that the GPU lacks */
static bool vaapi_has_profile(VADisplay dpy, VAProfile profile)
{
    int n = vaMaxNumProfiles(dpy);
    g_autofree VAProfile *profiles = g_new0(VAProfile, MAX(n, 1));

    if (vaQueryConfigProfiles(dpy, profiles, &n) != VA_STATUS_SUCCESS) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (profiles[i] == profile) {
            return true;
        }
    }
    return false;
}

bool vaapi_has_entrypoint(VADisplay dpy, VAProfile profile,
                          VAEntrypoint entrypoint)
{
    int n = vaMaxNumEntrypoints(dpy);
    g_autofree VAEntrypoint *points = g_new0(VAEntrypoint, MAX(n, 1));

    if (!vaapi_has_profile(dpy, profile) ||
        vaQueryConfigEntrypoints(dpy, profile, points, &n) !=
        VA_STATUS_SUCCESS) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        if (points[i] == entrypoint) {
            return true;
        }
    }
    return false;
}

static void vaapi_limit(VideoFrameLimits *limits,
                        const VASurfaceAttrib *attrib)
{
    uint32_t value = MAX(attrib->value.value.i, 0);

    switch (attrib->type) {
    case VASurfaceAttribMinWidth:
        limits->min_width = value;
        break;
    case VASurfaceAttribMinHeight:
        limits->min_height = value;
        break;
    case VASurfaceAttribMaxWidth:
        limits->max_width = value;
        break;
    case VASurfaceAttribMaxHeight:
        limits->max_height = value;
        break;
    default:
        break;
    }
}

bool vaapi_query_limits(VADisplay dpy, VAProfile profile,
                        VAEntrypoint entrypoint, uint32_t rt_format,
                        VideoFrameLimits *limits)
{
    VAConfigAttrib attrib = { .type = VAConfigAttribRTFormat };
    g_autofree VASurfaceAttrib *attribs = NULL;
    unsigned n = 0;
    VAConfigID config;

    if (vaGetConfigAttributes(dpy, profile, entrypoint, &attrib, 1) !=
        VA_STATUS_SUCCESS || attrib.value == VA_ATTRIB_NOT_SUPPORTED ||
        !(attrib.value & rt_format)) {
        return false;
    }
    attrib.value = rt_format;
    if (vaCreateConfig(dpy, profile, entrypoint, &attrib, 1, &config) !=
        VA_STATUS_SUCCESS) {
        return false;
    }

    *limits = (VideoFrameLimits) { };
    if (vaQuerySurfaceAttributes(dpy, config, NULL, &n) == VA_STATUS_SUCCESS) {
        attribs = g_new0(VASurfaceAttrib, n);
        if (vaQuerySurfaceAttributes(dpy, config, attribs, &n) ==
            VA_STATUS_SUCCESS) {
            for (unsigned i = 0; i < n; i++) {
                vaapi_limit(limits, &attribs[i]);
            }
        }
    }
    vaDestroyConfig(dpy, config);
    return true;
}

uint64_t vaapi_surface_size(const AVHWFramesContext *frames)
{
    return av_image_get_buffer_size(frames->sw_format,
                                    ROUND_UP(frames->width, VAAPI_ALIGN_WIDTH),
                                    ROUND_UP(frames->height,
                                             VAAPI_ALIGN_HEIGHT), 1);
}
