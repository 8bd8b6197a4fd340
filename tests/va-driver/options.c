/*
 * What imitates the ways of real drivers: VVSW_OPTIONS, read when a display is
 * opened.  Options are separated by commas; N counts from 1 within the display,
 * syncs and imports from the first vaEndPicture of a decoder or encoder on:
 * clients may try some out before.
 *
 *   fail-end-picture=N  the N-th vaEndPicture of decoders and encoders fails
 *   fail-all-after=N    every vaEndPicture does after the N-th of decoders and
 *                       encoders, but all else works
 *   fail-sync=N         the N-th sync of a surface or buffer fails
 *   lose-device=N       from the N-th vaEndPicture on (decoders and encoders)
 *                       every call fails until the display is opened anew
 *   terminate-ms=N      vaTerminate takes N milliseconds then
 *   decode-ms=N         a picture takes N milliseconds more
 *   process-ms=N        so does what the video processor does
 *   end-process-ms=N    its vaEndPicture waits for N milliseconds before it does
 *                       anything, from the first picture on
 *   no-convert          it does not convert between formats
 *   convert-601         it does, but takes all YUV for BT.601 of limited range
 *   no-import           surfaces cannot be made of the client's memory
 *   fail-import=N       the N-th cannot
 *   no-import-decode    they can, but not be decoded into
 *   no-import-read      nor can the video processor read them
 *   no-linear-decode    nor can those that must be linear (client.c has some)
 *   import-garbled      the second plane of such surfaces is at a wrong place
 *   import-pitch=N      their lines begin at multiples of N bytes, whatever the
 *                       client says
 *   import-offset=N     so do their planes
 *   no-derive           vaDeriveImage is not implemented
 *   derive-tiled        vaDeriveImage fails, as if the surface were tiled
 *   derive-garbled      vaDeriveImage shows tiles as if they were lines
 *   derive-pitch=N      lines of surfaces begin at multiples of N bytes
 *   get-image-ms=N      vaGetImage takes N milliseconds more
 *   no-profile=NAME     this profile is missing (H264High, VP9Profile0, ...);
 *                       can be given several times
 *   all-entrypoints     it has no place in the list, but all else, as with
 *                       nvidia-vaapi-driver
 *   no-deep             nothing has 10 bits
 *   no-encode           there are no encoders
 *   b-frames            encoders of H.264 and HEVC say that they have B frames,
 *                       but code these as P frames, in coding order
 *   no-codec-at=PATH    the node that is PATH has no profile at all
 *   no-driver-at=PATH   it can't be opened
 *   open-times=N        no display is opened after the N-th of the process
 *   no-encode-profile=NAME  none of this profile, as with no-profile
 *   no-cbr, no-vbr      encoders have no constant or no variable bitrate
 *   cqp-only            nor any other
 *   low-power           encoders are those of VAEntrypointEncSliceLP
 *   udmabuf             there is a /dev/udmabuf, see preload.c
 *   max-size=WxH        neither decoders nor encoders do more
 *   max-size-of=NAME:WxH  nor do those of this profile, as with no-profile
 *   min-size=WxH        nor do they do less
 *   stats=FILE          vaTerminate appends a line of counts to FILE
 *   stats-often         so does vaDestroyContext, for who does not terminate
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

#include <stdio.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool is_flag(const char *option, const char *name, bool *flag)
{
    if (strcmp(option, name)) {
        return false;
    }
    *flag = true;
    return true;
}

static bool is_number(const char *option, const char *name, unsigned *number)
{
    size_t n = strlen(name);

    if (strncmp(option, name, n) || option[n] != '=') {
        return false;
    }
    *number = strtoul(option + n + 1, NULL, 0);
    return true;
}

static bool is_string(const char *option, const char *name, char **string)
{
    size_t n = strlen(name);

    if (strncmp(option, name, n) || option[n] != '=') {
        return false;
    }
    g_free(*string);
    *string = g_strdup(option + n + 1);
    return true;
}

static void parse(VvOptions *o, const char *option)
{
    if (is_flag(option, "no-import", &o->no_import) ||
        is_flag(option, "no-import-decode", &o->no_import_decode) ||
        is_flag(option, "no-import-read", &o->no_import_read) ||
        is_flag(option, "no-linear-decode", &o->no_linear_decode) ||
        is_flag(option, "import-garbled", &o->import_garbled) ||
        is_flag(option, "no-convert", &o->no_convert) ||
        is_flag(option, "convert-601", &o->convert_601) ||
        is_flag(option, "no-derive", &o->no_derive) ||
        is_flag(option, "derive-garbled", &o->derive_garbled) ||
        is_flag(option, "derive-tiled", &o->derive_tiled) ||
        is_flag(option, "all-entrypoints", &o->all_entrypoints) ||
        is_flag(option, "no-deep", &o->no_deep) ||
        is_flag(option, "no-encode", &o->no_encode) ||
        is_flag(option, "b-frames", &o->b_frames) ||
        is_flag(option, "no-cbr", &o->no_cbr) ||
        is_flag(option, "no-vbr", &o->no_vbr) ||
        is_flag(option, "cqp-only", &o->cqp_only) ||
        is_flag(option, "low-power", &o->low_power) ||
        is_flag(option, "udmabuf", &o->udmabuf) ||
        is_flag(option, "stats-often", &o->stats_often) ||
        is_number(option, "fail-end-picture", &o->fail_end_picture) ||
        is_number(option, "fail-all-after", &o->fail_all_after) ||
        is_number(option, "fail-sync", &o->fail_sync) ||
        is_number(option, "lose-device", &o->lose_device) ||
        is_number(option, "terminate-ms", &o->terminate_ms) ||
        is_number(option, "decode-ms", &o->decode_ms) ||
        is_number(option, "process-ms", &o->process_ms) ||
        is_number(option, "end-process-ms", &o->end_process_ms) ||
        is_number(option, "import-pitch", &o->import_pitch) ||
        is_number(option, "import-offset", &o->import_offset) ||
        is_number(option, "get-image-ms", &o->get_image_ms) ||
        is_number(option, "open-times", &o->open_times) ||
        is_number(option, "fail-import", &o->fail_import) ||
        is_number(option, "derive-pitch", &o->derive_pitch) ||
        is_string(option, "no-codec-at", &o->no_codec_at) ||
        is_string(option, "no-driver-at", &o->no_driver_at) ||
        is_string(option, "stats", &o->stats)) {
        return;
    }
    if (g_str_has_prefix(option, "no-profile=")) {
        g_ptr_array_add(o->no_profile, g_strdup(strchr(option, '=') + 1));
    } else if (g_str_has_prefix(option, "no-encode-profile=")) {
        g_ptr_array_add(o->no_encode_profile,
                        g_strdup(strchr(option, '=') + 1));
    } else if (g_str_has_prefix(option, "max-size-of=")) {
        g_ptr_array_add(o->max_size_of, g_strdup(strchr(option, '=') + 1));
    } else if (sscanf(option, "max-size=%ux%u", &o->max_width,
                      &o->max_height) != 2 &&
               sscanf(option, "min-size=%ux%u", &o->min_width,
                      &o->min_height) != 2) {
        fprintf(stderr, "vvsw: unknown option '%s' in VVSW_OPTIONS\n", option);
    }
}

void vv_options_init(VvOptions *o)
{
    const char *env = g_getenv("VVSW_OPTIONS");
    g_auto(GStrv) list = g_strsplit(env ? env : "", ",", -1);

    *o = (VvOptions) {
        .derive_pitch = 64,
        .import_pitch = 1,
        .import_offset = 1,
        .max_width = 8192,
        .max_height = 8192,
        .min_width = 1,
        .min_height = 1,
        .max_size_of = g_ptr_array_new_with_free_func(g_free),
        .no_profile = g_ptr_array_new_with_free_func(g_free),
        .no_encode_profile = g_ptr_array_new_with_free_func(g_free),
    };
    for (unsigned i = 0; list[i]; i++) {
        if (*list[i]) {
            parse(o, list[i]);
        }
    }
    o->derive_pitch = CLAMP(o->derive_pitch, 1, 65536);
    o->import_pitch = MAX(o->import_pitch, 1);
    o->import_offset = MAX(o->import_offset, 1);
}

void vv_options_clear(VvOptions *o)
{
    g_ptr_array_unref(o->max_size_of);
    g_ptr_array_unref(o->no_profile);
    g_ptr_array_unref(o->no_encode_profile);
    g_free(o->stats);
    g_free(o->no_codec_at);
    g_free(o->no_driver_at);
}

void vv_stats_write(VvDriver *drv)
{
    const VvStats *s = &drv->stats;
    FILE *f = drv->options.stats ? fopen(drv->options.stats, "a") : NULL;

    if (!f) {
        return;
    }
    fprintf(f, "decoded=%" PRIu64 " encoded=%" PRIu64 " processed=%" PRIu64
            " failed=%" PRIu64 " derived-images=%" PRIu64
            " get-images=%" PRIu64 " get-image-bytes=%" PRIu64
            " put-images=%" PRIu64 " put-image-bytes=%" PRIu64
            " mapped-surface-bytes=%" PRIu64
            " imported=%" PRIu64 " exported=%" PRIu64
            " peak-bytes=%" PRIu64 "\n",
            s->decoded, s->encoded, s->processed, s->failed,
            s->derived_images, s->get_images, s->get_image_bytes,
            s->put_images, s->put_image_bytes, s->mapped_surface_bytes,
            s->imported, s->exported, s->peak_bytes);
    fclose(f);
}
