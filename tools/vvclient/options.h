/*
 * vvclient: what words on the command line stand for
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_OPTIONS_H
#define VVCLIENT_OPTIONS_H

#include "controls.h"
#include "guest.h"
#include "vvclient.h"

/* What the options of all commands say of the guest */
VVGuestConfig vv_guest_options(const VVArgs *args);

/**
 * struct VVRawInfo - a raw format
 * @name: of --raw
 * @fourcc: DRM_FORMAT_*
 * @depth: streams of more bits lose some
 * @lossy: so does every stream of YUV
 */
typedef struct VVRawInfo {
    const char *name;
    uint32_t fourcc;
    unsigned depth;
    bool lossy;
} VVRawInfo;

const VVRawInfo *vv_find_raw(const char *name, Error **errp);
/* The format of -c, which has to be there; false with @errp set */
bool vv_parse_coded(const VVArgs *args, uint32_t *format, Error **errp);
/* "FRAME,FRAME,..." or NULL, that @option was given: numbers for @frames */
bool vv_parse_frames(const char *option, const char *text, GArray *frames,
                     Error **errp);
/* All options that are controls; initialized and sorted here */
bool vv_parse_settings(const VVArgs *args, uint32_t format, VVSettings *s,
                       Error **errp);

#endif
