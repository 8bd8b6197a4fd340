/*
 * A software VA-API driver for tests: what its files share
 *
 * libva loads vvsw_drv_video.so like any vendor's driver.  Decoding rebuilds
 * the bitstream from VA's buffers and gives it to libavcodec; encoding and
 * video processing work on the surfaces' memory.  Pictures are queued by
 * vaEndPicture and done by one worker thread for each context, so that whoever
 * forgets to sync reads old pixels, as on hardware.
 *
 * Threads: libva calls the driver from any of the client's threads.  All
 * objects belong to the display and are protected by its lock; functions whose
 * comment says "lock held" expect that, all others must be called without.  A
 * job belongs to its worker from vaEndPicture until it is done.
 *
 * Environment: VVSW_OPTIONS, see options.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef VVSW_H
#define VVSW_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <va/va.h>
#include <va/va_backend.h>
#include <va/va_backend_vpp.h>
#include <va/va_drmcommon.h>
#include <va/va_vpp.h>
#include <libavcodec/avcodec.h>

typedef struct VvDriver VvDriver;
typedef struct VvObject VvObject;
typedef struct VvConfig VvConfig;
typedef struct VvContext VvContext;
typedef struct VvSurface VvSurface;
typedef struct VvBuffer VvBuffer;
typedef struct VvImage VvImage;
typedef struct VvJob VvJob;
typedef struct VvDecoder VvDecoder;
typedef struct VvEncoder VvEncoder;

/* What VVSW_OPTIONS says; see options.c */
typedef struct VvOptions {
    unsigned fail_end_picture;
    unsigned fail_all_after;
    unsigned fail_sync;
    unsigned lose_device;
    unsigned terminate_ms;
    unsigned decode_ms;
    unsigned process_ms;
    unsigned end_process_ms;
    unsigned import_pitch;
    unsigned import_offset;
    unsigned get_image_ms;
    unsigned derive_pitch;
    unsigned max_width;
    unsigned max_height;
    unsigned min_width;
    unsigned min_height;
    GPtrArray *max_size_of;     /* of char * */
    bool no_import;
    bool no_import_decode;
    bool no_import_read;
    bool no_linear_decode;
    bool import_garbled;
    bool no_convert;
    bool convert_601;
    bool no_derive;
    bool derive_tiled;
    bool all_entrypoints;
    bool no_deep;
    bool derive_garbled;
    bool no_encode;
    bool b_frames;
    bool no_cbr;
    bool no_vbr;
    bool cqp_only;
    bool low_power;
    bool udmabuf;               /* preload.c's */
    GPtrArray *no_profile;      /* of char * */
    char *no_codec_at;
    char *no_driver_at;
    unsigned open_times;
    unsigned fail_import;
    GPtrArray *no_encode_profile;   /* the same */
    char *stats;
    bool stats_often;
} VvOptions;

/* What a display has done; protected by the lock */
typedef struct VvStats {
    uint64_t decoded;
    uint64_t encoded;
    uint64_t processed;
    uint64_t failed;
    uint64_t derived_images;
    uint64_t get_images;
    uint64_t get_image_bytes;
    uint64_t put_images;
    uint64_t put_image_bytes;
    uint64_t mapped_surface_bytes;
    uint64_t imported;
    uint64_t exported;
    uint64_t peak_bytes;        /* of surfaces, images and coded data */
} VvStats;

struct VvDriver {
    GMutex lock;
    GCond done;                 /* a job is done */
    GHashTable *objects;        /* id -> VvObject, which owns one reference */
    uint32_t next_id;
    VvOptions options;
    VvStats stats;
    uint64_t bytes;             /* of which peak_bytes is the most */
    unsigned pictures;          /* vaEndPicture of decoders and encoders */
    unsigned syncs;
    unsigned imports;
    bool lost;                  /* the device is gone for good */
    bool no_codec;              /* this node has none */
    char vendor[128];
};

typedef enum VvType {
    VV_CONFIG = 1,
    VV_CONTEXT,
    VV_SURFACE,
    VV_BUFFER,
    VV_IMAGE,
} VvType;

/* The head of all objects that have an id */
struct VvObject {
    VvType type;
    uint32_t id;
    unsigned refs;
    VvDriver *drv;
    void (*destroy)(VvObject *obj);     /* lock held */
};

struct VvConfig {
    VvObject obj;
    VAProfile profile;
    VAEntrypoint entrypoint;
    uint32_t rt_format;
    uint32_t rate_control;
    uint32_t packed_headers;
};

/* A pixel format of surfaces and images */
typedef struct VvFormat {
    uint32_t fourcc;            /* VA_FOURCC_* */
    enum AVPixelFormat av;
    uint32_t rt_format;         /* VA_RT_FORMAT_* */
    uint32_t drm_format;        /* of the whole */
    uint32_t drm_layers[3];     /* of each plane alone */
    unsigned planes;
    /* Of a plane: bytes a sample, and how much smaller it is than the picture */
    uint8_t bytes[3];
    uint8_t shift[3];
    VAImageFormat image;
} VvFormat;

/*
 * Memory of surfaces: a memfd, or what was imported.  Counted by reference
 * (lock held), as derived images outlive their surfaces.
 */
typedef struct VvMemory {
    unsigned refs;
    int fd;                     /* -1: the user's own pointer */
    uint8_t *data;
    size_t size;
} VvMemory;

struct VvSurface {
    VvObject obj;
    const VvFormat *format;
    unsigned width;
    unsigned height;
    VvMemory *memory;
    uint32_t offset[3];
    uint32_t pitch[3];
    bool imported;
    bool linear;                /* the client wants it so */
    size_t bytes;               /* of the memory that was made for it */
    VvJob *fence;               /* the last job that writes here, or NULL */
    VvJob *reader;              /* the last one that reads, or NULL */
    VvDecoder *decoder;         /* which made this picture, or NULL */
};

struct VvBuffer {
    VvObject obj;
    VABufferType type;
    unsigned size;              /* of one element */
    unsigned elements;
    uint8_t *data;
    size_t bytes;               /* that count, of images and coded data */
    VvMemory *memory;           /* of a derived image, instead of data */
    unsigned jobs;              /* that will read the data */
    GSList *retired;            /* former data which jobs may still read */
    /* Coded buffers */
    VvJob *fence;               /* the last job that writes here, or NULL */
    VACodedBufferSegment segment;
};

struct VvImage {
    VvObject obj;
    VAImage image;
    const VvFormat *format;
};

/* A buffer at the time of vaRenderPicture, whatever happens to it then */
typedef struct VvParam {
    VvBuffer *buffer;
    VABufferType type;
    unsigned size;
    unsigned elements;
    const uint8_t *data;
} VvParam;

/* One picture, from vaBeginPicture on */
struct VvJob {
    unsigned refs;              /* lock held */
    VvContext *ctx;             /* valid until the job is done */
    VvSurface *target;
    VvSurface *display;         /* where its film grain goes, or NULL */
    GArray *params;             /* of VvParam, in order */
    GArray *pipelines;          /* of VvPipeline, see vpp.c */
    VvBuffer *coded;            /* of encoders */
    GPtrArray *reads;           /* VvSurface *: referenced */
    GPtrArray *deps;            /* VvJob *: what must be done before */
    bool done;
    VAStatus status;
};

struct VvContext {
    VvObject obj;
    VvConfig *config;
    unsigned width;
    unsigned height;
    VvJob *picture;             /* between begin and end */
    GQueue jobs;                /* VvJob *, referenced */
    GCond work;
    bool quit;
    GThread *worker;
    /* The worker's own */
    VvDecoder *decoder;
    VvEncoder *encoder;
};

/*
 * How a codec's bitstream is rebuilt.  The state is zeroed memory of
 * state_size bytes, which lives as long as the decoder.
 */
typedef struct VvCodec {
    enum AVCodecID id;
    const char *decoder;        /* by name; NULL: libavcodec's own of this id */
    size_t state_size;
    /* Append one packet to @out.  Called by the worker. */
    VAStatus (*build)(void *state, VvJob *job, GByteArray *out);
    /* The surfaces that a picture refers to; NULL if no context needs pictures
     * of another.  Returns: how many.  Called by the worker. */
    unsigned (*references)(VvJob *job, VASurfaceID refs[16]);
    /* Do the whole picture instead of build; NULL for most */
    VAStatus (*decode)(VvDecoder *dec, VvJob *job);
    /*
     * A surface that is written besides the target, or VA_INVALID_SURFACE; NULL
     * if there never is one.  Called by vaEndPicture, lock held.
     */
    VASurfaceID (*display)(const VvJob *job);
    /* Free what the state has allocated; NULL for most */
    void (*clear)(void *state);
} VvCodec;

extern const VvCodec vv_codec_h264;
extern const VvCodec vv_codec_hevc;
extern const VvCodec vv_codec_mpeg2;
extern const VvCodec vv_codec_jpeg;
extern const VvCodec vv_codec_vp8;
extern const VvCodec vv_codec_vp9;
extern const VvCodec vv_codec_av1;

/* options.c */
void vv_options_init(VvOptions *o);
void vv_options_clear(VvOptions *o);
void vv_stats_write(VvDriver *drv);

/* objects.c */
static inline VvDriver *vv_driver(VADriverContextP va)
{
    return va->pDriverData;
}

/**
 * vv_object_new() - Make an object; lock held.
 *
 * The display owns the reference that is returned until the id is removed.
 */
void *vv_object_new(VvDriver *drv, VvType type, size_t size,
                    void (*destroy)(VvObject *obj));
/** vv_object() - The object of this id and type, or NULL; lock held. */
void *vv_object(VvDriver *drv, VvType type, uint32_t id);
void *vv_object_ref(void *obj);
void vv_object_unref(void *obj);
/** vv_object_remove() - Forget the id and the display's reference. */
void vv_object_remove(void *obj);
/** vv_count_bytes() - So many more, or fewer; lock held. */
void vv_count_bytes(VvDriver *drv, int64_t bytes);

/* formats.c */
const VvFormat *vv_format(uint32_t fourcc);
const VvFormat *vv_format_of_rt(uint32_t rt_format);
const VvFormat *vv_format_at(unsigned i);

/* What YUV means where it becomes RGB or was that: else BT.601, limited */
typedef struct VvColours {
    bool bt709;
    bool full;
} VvColours;

/**
 * vv_pixels() - Copy or convert a picture; no lock.
 *
 * Planar 4:2:0 of libavcodec to NV12 and P010, equal formats of equal size, and
 * by libswscale whatever else.
 */
typedef struct VvPixels {
    enum AVPixelFormat format;
    uint8_t *data[4];
    int pitch[4];
    int width;
    int height;
    VvColours colours;
} VvPixels;

bool vv_pixels(const VvPixels *dst, const VvPixels *src);
/** vv_pixels_crop() - Move to a part of it; even numbers where subsampled */
void vv_pixels_crop(VvPixels *p, int x, int y, int width, int height);

/* config.c */
bool vv_config_is_encoder(const VvConfig *config);
/** vv_max_size() - The largest picture of a profile. */
void vv_max_size(const VvOptions *o, VAProfile profile, unsigned *width,
                 unsigned *height);
void vv_config_vtable(struct VADriverVTable *vtable);
VAStatus vv_query_surface_attributes(VADriverContextP va, VAConfigID config,
                                     VASurfaceAttrib *attribs, unsigned *num);

/* surface.c */
void vv_surface_vtable(struct VADriverVTable *vtable);
VvMemory *vv_memory_ref(VvMemory *m);
void vv_memory_unref(VvMemory *m);
void vv_surface_pixels(VvSurface *s, VvPixels *p);

/* buffer.c */
void vv_buffer_vtable(struct VADriverVTable *vtable);
VvBuffer *vv_buffer_new(VvDriver *drv, VABufferType type, unsigned size,
                        unsigned elements, const void *data);

/* image.c */
void vv_image_vtable(struct VADriverVTable *vtable);

/* picture.c */
void vv_picture_vtable(struct VADriverVTable *vtable);

/* worker.c: all with the lock held */
VvJob *vv_job_new(VvContext *ctx, VvSurface *target);
VvJob *vv_job_ref(VvJob *job);
void vv_job_unref(VvJob *job);
void vv_worker_start(VvContext *ctx);
/** vv_worker_stop() - Do what is queued and end; gives the lock away. */
void vv_worker_stop(VvContext *ctx);
void vv_worker_queue(VvContext *ctx, VvJob *job);
/** vv_sync_fails() - Is this sync to fail?  Counts it. */
bool vv_sync_fails(VvDriver *drv);
/** vv_job_wait() - Wait at most @timeout_ns; returns its status. */
VAStatus vv_job_wait(VvDriver *drv, VvJob *job, uint64_t timeout_ns);
/** vv_job_param() - The first buffer of a type that is big enough, or NULL */
const void *vv_job_param(const VvJob *job, VABufferType type, size_t size);
/** vv_job_nth() - The n-th buffer of a type, or NULL */
const VvParam *vv_job_nth(const VvJob *job, VABufferType type, unsigned n);

/* A slice: its parameters and its data */
typedef struct VvSlice {
    const void *param;
    const uint8_t *data;
    size_t size;
} VvSlice;

/**
 * vv_job_slices() - Find all slices of a picture.
 * @param_size: of the codec's slice parameters
 *
 * Returns: an array of VvSlice for g_array_unref(), or NULL if sizes or offsets
 * are out of bounds.
 */
GArray *vv_job_slices(const VvJob *job, size_t param_size);

/* decode.c: called by the worker */
struct VvDecoder {
    gatomicrefcount refs;
    GMutex lock;                /* two contexts may share one decoder */
    const VvCodec *codec;
    AVCodecContext *av;
    AVPacket *packet;
    AVFrame *current;           /* the buffer which the decoder asked for last */
    AVFrame *frame;             /* what it gave out last */
    bool got_buffer;
    VASurfaceID target;         /* of the last picture */
    void *state;
};

const VvCodec *vv_codec_of(VAProfile profile);
VAStatus vv_decode(VvContext *ctx, VvJob *job);
/** vv_decoder_send() - Decode a packet; what it gives out last is in @frame. */
bool vv_decoder_send(VvDecoder *dec, const GByteArray *bytes);
void vv_decoder_unref(VvDecoder *dec);
VAStatus vv_decoder_store(VvJob *job, VvSurface *target, const AVFrame *frame);

/* encode.c: called by the worker, but for the first */
VAStatus vv_encode_check(VvJob *job);   /* lock held */
VAStatus vv_encode(VvContext *ctx, VvJob *job);
void vv_encoder_free(VvEncoder *enc);

/* vpp.c */
typedef struct VvPipeline {
    VvSurface *source;          /* owned by the job's reads */
    VARectangle from;
    VARectangle to;
    VvColours from_colours;
    VvColours to_colours;
} VvPipeline;

VAStatus vv_process_render(VvJob *job, VvBuffer *buffer);   /* lock held */
VAStatus vv_process(VvContext *ctx, VvJob *job);
void vv_vpp_vtable(struct VADriverVTableVPP *vtable);

#endif
