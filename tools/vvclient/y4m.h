/*
 * vvclient: frames into a YUV4MPEG2 file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_Y4M_H
#define VVCLIENT_Y4M_H

#include <libavutil/rational.h>
#include "frame.h"

typedef struct VVY4m VVY4m;

/**
 * vv_y4m_new - a writer; the file is made with the first frame
 * @path: of the file; "-" is the standard output
 * @rate: frames per second; 0/1 becomes 25
 * @aspect: of a pixel; 0/1 is unknown
 */
VVY4m *vv_y4m_new(const char *path, AVRational rate, AVRational aspect);

/**
 * vv_y4m_write - appends a frame
 *
 * The format has one size for a whole file.  A frame of another size starts a
 * further file: OUT.y4m, OUT-2.y4m and so on.
 */
bool vv_y4m_write(VVY4m *y4m, const VVFrame *f, Error **errp);

/* How many files there are */
unsigned vv_y4m_files(const VVY4m *y4m);

/* False with @errp set if the last bytes could not be written; frees it */
bool vv_y4m_close(VVY4m *y4m, Error **errp);

#endif
