/*
 * vvclient: use virtio-video from the shell, without a guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_H
#define VVCLIENT_H

#include "qobject/qdict.h"

/**
 * struct VVArgs - the command line
 * @file: the video
 * @more: the other files of `vvclient survive`
 * @raw: name of a raw format, or NULL
 * @output: path of a .y4m, or NULL
 * @machine: see VVGuestConfig, as @transport, @codec and @ring
 * @unsealed: see VVGuestConfig
 * @protocol: "v10", "media" or "v4l2-uapi", or NULL
 * @memory: "userptr" or "mmap", or NULL
 * @threads: of `vvclient native`
 * @limit: packets; -1: the command's default
 * @in_turn: each packet or frame waits for what the one before becomes
 * @again: of `vvclient decode`: "drain" or "seek", or NULL
 * @scribble: change frames while they are encoded
 * @rounds: of the benchmark
 * @coded: name of a coded format, as those below of `vvclient encode`
 * @bitrate, ..., @max_qp: values of controls, or NULL
 * @no_prepend: headers only before the first key frame
 * @force_key: "FRAME,FRAME,..." or NULL
 * @set: "FRAME:CONTROL=VALUE", or NULL
 * @drain: "FRAME,FRAME,..." or NULL
 * @raw_buffers: of frames to encode; 0: some
 * @compare: encode natively, too
 * @copy: of `vvclient transcode`: frames are copied
 * @verbose: say more
 * @cuts, @seed: of `vvclient survive`
 * @after: of `vvclient reset`: frames before it
 */
typedef struct VVArgs {
    char *file;
    char **more;
    char *raw;
    char *output;
    char *machine;
    char *transport;
    char *codec;
    char *ring;
    char *protocol;
    char *memory;
    char *again;
    gboolean md5;
    gboolean scatter;
    gboolean json;
    gboolean unsealed;
    int streams;
    int threads;
    int limit;
    gboolean in_turn;
    gboolean scribble;
    int rounds;
    char *coded;
    char *bitrate;
    char *profile;
    char *level;
    char *bitrate_mode;
    char *gop;
    char *b_frames;
    char *min_qp;
    char *max_qp;
    gboolean no_prepend;
    char *force_key;
    char **set;
    char *drain;
    int raw_buffers;
    gboolean compare;
    gboolean copy;
    gboolean verbose;
    int cuts;
    int seed;
    int after;
} VVArgs;

/* Each returns the exit status */
int vv_cmd_caps(const VVArgs *args);
int vv_cmd_decode(const VVArgs *args);
int vv_cmd_native(const VVArgs *args);
int vv_cmd_bench(const VVArgs *args);
int vv_cmd_encode(const VVArgs *args);
int vv_cmd_transcode(const VVArgs *args);
int vv_cmd_survive(const VVArgs *args);
int vv_cmd_reset(const VVArgs *args);

/* Frames a second, also if no time has passed */
double vv_fps(uint64_t frames, double seconds);
/* Prints @dict as JSON on the standard output and drops the reference */
void vv_print_json(QDict *dict);
/* Puts a number with @digits digits after the point */
void vv_put_number(QDict *dict, const char *key, double value, int digits);

#endif
