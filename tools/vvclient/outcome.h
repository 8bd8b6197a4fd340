/*
 * vvclient: what came out of an encoder: a file, and how good it is
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_OUTCOME_H
#define VVCLIENT_OUTCOME_H

#include "qobject/qdict.h"
#include "muxer.h"
#include "quality.h"

/* From a number to another; INT_MAX and INT_MIN: there are none */
typedef struct VVRange {
    int min, max;
} VVRange;

/**
 * struct VVOutcome - frames of one size, coded
 * @coded: of VVCoded, in coding order; their frames are numbered from @first
 * @pts: int64_t of each frame
 * @mux: for the container; its pts is @pts
 * @first: number of the first frame
 * @keys, @p_frames, @b_frames: of each sort, as the flags say
 * @bytes: of all coded buffers
 * @quality: after vv_outcome_measure()
 * @has_qp: the decoder tells quantizers; then those of all blocks are from
 * @min_qp: to
 * @max_qp: in the coded format's own units
 * @qps: for each frame: VVRange of its blocks' quantizers, if @has_qp
 * @seen: for each frame: 1 if it is there
 */
typedef struct VVOutcome {
    GArray *coded;
    GArray *pts;
    VVMuxInfo mux;
    uint64_t first;
    unsigned keys;
    unsigned p_frames;
    unsigned b_frames;
    uint64_t bytes;
    VVQuality quality;
    bool has_qp;
    int min_qp;
    int max_qp;
    GArray *qps;
    GByteArray *seen;
} VVOutcome;

VVOutcome *vv_outcome_new(void);
void vv_outcome_free(VVOutcome *o);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VVOutcome, vv_outcome_free)

/* The next frame in the order of presentation is shown at @pts */
void vv_outcome_add_frame(VVOutcome *o, int64_t pts);
/* Takes VVCoded.av.  False with @errp set if there is no such frame */
bool vv_outcome_add_coded(VVOutcome *o, const VVCoded *coded, Error **errp);

/* Bits per second of the video */
double vv_outcome_bitrate(const VVOutcome *o);

/**
 * vv_outcome_measure - decodes it and compares it with its source
 * @source: path of a file of frames, whose first is the outcome's first
 */
bool vv_outcome_measure(VVOutcome *o, const char *source, Error **errp);

/* Writes it to the @n-th file (from 1) of a name: OUT.mp4, OUT-2.mp4, ... */
bool vv_outcome_write(const VVOutcome *o, const char *path, unsigned n,
                      Error **errp);

/* libavcodec's AV_CODEC_ID_* of a coded format */
enum AVCodecID vv_codec_id(uint32_t coded_format);
/* "PSNR 38.1 dB (Y 37.5, U 41.0, V 41.3)", to be freed with g_free() */
char *vv_psnr_text(const VVQuality *q);
/* "2 key, 58 P and 0 B frames, ...", as above */
char *vv_outcome_text(const VVOutcome *o);
/* The same for machines, into @dict; with the PSNR if it was measured */
void vv_outcome_json(const VVOutcome *o, QDict *dict);

#endif
