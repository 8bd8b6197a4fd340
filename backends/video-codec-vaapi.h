/*
 * Video codec on a GPU with VA-API: what the object, its displays, its decoder
 * and its encoder share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BACKENDS_VIDEO_CODEC_VAAPI_H
#define BACKENDS_VIDEO_CODEC_VAAPI_H

#include "qapi/qapi-types-qom.h"
#include "qemu/thread.h"
#include "system/video-codec.h"
#include "video-codec-libav-encoder.h"

#include <libavutil/buffer.h>
#include <libavutil/frame.h>
#include <libavutil/hwcontext.h>
#include <va/va.h>

OBJECT_DECLARE_SIMPLE_TYPE(VideoCodecVaapi, VIDEO_CODEC_VAAPI)

/* Of a driver's name in engine names and messages */
#define VAAPI_MAX_NAME 40

/**
 * VaapiImportType: what a GPU takes memory as; bits of a mask.
 * @VAAPI_IMPORT_UDMABUF: a DMA-BUF that the kernel makes of pages of a memfd
 * @VAAPI_IMPORT_USERPTR: an address
 */
typedef enum VaapiImportType {
    VAAPI_IMPORT_UDMABUF = 1 << 0,
    VAAPI_IMPORT_USERPTR = 1 << 1,
} VaapiImportType;
#define VAAPI_N_IMPORT_TYPES 2

/**
 * VaapiRaw: a raw format of guests that GPUs may read and write.
 * @fourcc: DRM's
 * @va_fourcc, @rt_format: libva's
 * @pix_fmt: libavcodec's
 * @n_planes: of it
 */
typedef struct VaapiRaw {
    uint32_t fourcc;
    uint32_t va_fourcc;
    unsigned rt_format;
    enum AVPixelFormat pix_fmt;
    unsigned n_planes;
} VaapiRaw;

typedef enum VaapiRawIndex {
    VAAPI_RAW_NV12,
    VAAPI_RAW_P010,
    VAAPI_RAW_YUV420,
    VAAPI_RAW_XRGB8888,
    VAAPI_N_RAWS
} VaapiRawIndex;

/**
 * VaapiColours: what YUV is, where it is converted from or to RGB; bits of a
 * mask.  RGB is sRGB of full range.
 */
typedef enum VaapiColours {
    VAAPI_COLOURS_NONE = 0,     /* the GPU is not to know */
    VAAPI_COLOURS_BT601 = 1 << 0,
    VAAPI_COLOURS_BT601_FULL = 1 << 1,
    VAAPI_COLOURS_BT709 = 1 << 2,
    VAAPI_COLOURS_BT709_FULL = 1 << 3,
} VaapiColours;
#define VAAPI_N_COLOURS 4

/**
 * VaapiTransfer: what a GPU's video processor has proved to copy between
 * surfaces and memory in one direction, and to convert meanwhile.
 * @types: by VaapiRawIndex: which memory of this format; bits of
 *         VaapiImportType.  From or to a surface of the same depth.
 * @pitch_align, @offset_align: by type: what the pitches and the offsets of
 *                              planes must be multiples of, in bytes
 * @colours: those that it knows; bits of VaapiColours
 */
typedef struct VaapiTransfer {
    unsigned types[VAAPI_N_RAWS];
    uint32_t pitch_align[VAAPI_N_IMPORT_TYPES];
    uint32_t offset_align[VAAPI_N_IMPORT_TYPES];
    unsigned colours;
} VaapiTransfer;

/**
 * VaapiDisplay: an opened render node.
 * @vaapi: whose it is
 * @refs: sessions, and the object; @vaapi->lock
 * @fd: of the node
 * @dpy: libva's
 * @device: libavutil's, around @dpy
 * @driver: what it calls itself, shortened
 * @path: the fastest way out of surfaces that has proved to work
 * @encode_path: the same for the way into them
 * @copy_path: either of them if the CPU has to copy
 * @write: how the GPU can write to memory
 * @read: how it can read it
 * @lost: the GPU has gone, or does nothing any more; atomic
 * @lock: guards what follows
 * @failures: of pictures of all sessions in a row
 * @tried: files that libva took for a driver
 * @message: the last error that libva told of
 */
typedef struct VaapiDisplay {
    VideoCodecVaapi *vaapi;
    unsigned refs;
    int fd;
    VADisplay dpy;
    AVBufferRef *device;
    char driver[VAAPI_MAX_NAME];
    VideoCodecVaapiPath path, encode_path, copy_path;
    VaapiTransfer write, read;
    bool lost;

    QemuMutex lock;
    unsigned failures;
    GString *tried;
    char *message;
} VaapiDisplay;

/* Profiles of one coded format */
#define VAAPI_MAX_PROFILES 4

/**
 * VaapiEncoder: an encoder of the GPU.
 * @info: what video-codec-libav's encoder is told
 * @profiles, @av_profiles: those of @info that the GPU has, and libavcodec's
 *                          numbers of them
 * @low_power: the GPU has only its low-power encoder for it
 */
typedef struct VaapiEncoder {
    LibavEncoderInfo info;
    LibavProfile profiles[VAAPI_MAX_PROFILES];
    int av_profiles[VAAPI_MAX_PROFILES];
    bool low_power;
} VaapiEncoder;

/**
 * VideoCodecVaapi: the object.
 * @node: of the user, or the one that was found
 * @completed: all but @display is constant from now on
 * @caps: what sessions can be asked for
 * @hw_decoders: bit i is set if the GPU has VideoCodedFormat i
 * @encoders: those of the GPU, by VideoCodedFormat; without a name: none
 * @path: that the user forces, or auto
 * @open_lock: held while a node is opened, which can take long.  Comes first.
 * @lock: guards @display
 * @display: the current one.  Sessions keep that with which they began.
 */
struct VideoCodecVaapi {
    VideoCodec parent;

    char *node;
    VideoCodecVaapiFallback fallback;
    VideoCodecVaapiPath path;

    bool completed;
    VideoCodecCaps caps;
    uint32_t hw_decoders;
    VaapiEncoder encoders[VIDEO_CODED__MAX];

    QemuMutex open_lock;
    QemuMutex lock;
    VaapiDisplay *display;
};

/*
 * video-codec-vaapi-display.c.  Any thread.
 */

/**
 * vaapi_display_get: the object's display, opened if there is none.
 * Returns: a reference, or NULL with @errp set
 */
VaapiDisplay *vaapi_display_get(VideoCodecVaapi *vaapi, Error **errp);

/** vaapi_display_put: give a reference back.  The last one closes the node. */
void vaapi_display_put(VaapiDisplay *display);

/**
 * vaapi_display_lose: the GPU is of no more use to anybody.
 * For who has a reference of its own.  The object's display is another one
 * then.
 */
void vaapi_display_lose(VaapiDisplay *display);

/**
 * vaapi_display_open: open a render node.
 * Returns: a display with one reference, or NULL with @errp set
 */
VaapiDisplay *vaapi_display_open(VideoCodecVaapi *vaapi, const char *node,
                                 Error **errp);

/**
 * vaapi_display_note: the GPU has taken and finished a picture, or not.
 * @failures: those of the session in a row, in the beginning 0
 */
void vaapi_display_note(VaapiDisplay *display, unsigned *failures, bool failed);

/**
 * vaapi_display_check: after an error: does the GPU still do anything?
 * @failures: the session's count of vaapi_display_note()
 *
 * Returns: false if the session can't go on; @display is lost, unless the GPU
 * works for others
 */
bool vaapi_display_check(VaapiDisplay *display, unsigned failures);

/** vaapi_has_entrypoint: does the GPU have @profile, and this way to use it? */
bool vaapi_has_entrypoint(VADisplay dpy, VAProfile profile,
                          VAEntrypoint entrypoint);

/**
 * vaapi_query_limits: frame sizes for @profile and pixels of @rt_format.
 * @limits: what the driver takes; zero: it does not say
 *
 * Returns: false if the driver does not have that
 */
bool vaapi_query_limits(VADisplay dpy, VAProfile profile,
                        VAEntrypoint entrypoint, uint32_t rt_format,
                        VideoFrameLimits *limits);

/**
 * vaapi_surface_size: bytes of each surface of @frames, about.
 * Drivers don't tell before they have made one.
 */
uint64_t vaapi_surface_size(const AVHWFramesContext *frames);

/*
 * video-codec-vaapi-image.c: pixels of surfaces for the CPU.  Worker.
 */

/**
 * VaapiImage: how a surface's pixels are read.
 * @display, @path: DERIVE or GETIMAGE; set by the user of the struct
 * @session: whose memory images count in; NULL for the probe
 * @frame: what is mapped: data, linesize, format and size
 * The rest is private.
 */
typedef struct VaapiImage {
    VaapiDisplay *display;
    VideoCodecVaapiPath path;
    VideoCodecSession *session;
    AVFrame *frame;
    VAImage image;              /* image_id is VA_INVALID_ID: none */
    bool mapped;
    int pix_fmt;                /* of @image, for GETIMAGE */
    uint64_t memory;            /* bytes that @image has taken, for GETIMAGE */
} VaapiImage;

bool vaapi_image_init(VaapiImage *img, VaapiDisplay *display,
                      VideoCodecVaapiPath path, VideoCodecSession *session);
void vaapi_image_cleanup(VaapiImage *img);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VaapiImage, vaapi_image_cleanup)

/**
 * vaapi_image_map: read a surface that is ready.
 * @width, @height: of the surface
 * @format: NV12 or P010
 *
 * Returns: VA_STATUS_SUCCESS with @img->frame valid until vaapi_image_unmap();
 * VA_STATUS_ERROR_INVALID_IMAGE_FORMAT if the driver has it in another layout;
 * or what libva says.
 */
VAStatus vaapi_image_map(VaapiImage *img, VASurfaceID surface, int width,
                         int height, enum AVPixelFormat format);
void vaapi_image_unmap(VaapiImage *img);

/**
 * vaapi_image_begin_write: let the CPU put a picture into a surface.
 * The same as vaapi_image_map(), but what the frame holds is undefined;
 * vaapi_image_end_write() brings it to the surface.
 */
VAStatus vaapi_image_begin_write(VaapiImage *img, VASurfaceID surface,
                                 int width, int height,
                                 enum AVPixelFormat format);
VAStatus vaapi_image_end_write(VaapiImage *img, VASurfaceID surface);

/*
 * video-codec-vaapi-import.c: pixels of surfaces without the CPU.  Worker.
 */

/* By VaapiRawIndex */
extern const VaapiRaw vaapi_raws[VAAPI_N_RAWS];

/**
 * VaapiImport: a GPU that writes to guest memory, or reads it.
 * @display: NULL: it does not
 * @transfer: @display->write or @display->read; NULL for the probe
 * @session: whose output it writes, or whose input it reads; NULL for the probe
 * @types: those that have not failed with this session; 0: it can't be done
 * @refusals: by type, buffers in a row that the driver has refused
 * @srgb: the driver knows this name for RGB, which it reads or writes
 */
typedef struct VaapiImport {
    VaapiDisplay *display;
    const VaapiTransfer *transfer;
    VideoCodecSession *session;
    unsigned types;
    unsigned refusals[VAAPI_N_IMPORT_TYPES];
    VAConfigID config;
    VAContextID context;
    bool srgb;
} VaapiImport;

typedef enum VaapiImportResult {
    VAAPI_IMPORT_DONE,
    VAAPI_IMPORT_UNFIT,         /* this buffer can't be given to the GPU */
    VAAPI_IMPORT_STOP,          /* the buffer was taken back, or worse */
} VaapiImportResult;

/**
 * vaapi_transfer_types: all ways that the GPU has to any raw format.
 * Returns: bits of VaapiImportType
 */
unsigned vaapi_transfer_types(const VaapiTransfer *transfer);

/**
 * vaapi_import_init: begin.
 * @read: the GPU is to read memory, not to write it
 *
 * Leaves @import->display NULL and @import->types 0 if the GPU can't.
 */
void vaapi_import_init(VaapiImport *import, VaapiDisplay *display, bool read);
void vaapi_import_cleanup(VaapiImport *import);

/**
 * vaapi_import_write: let the GPU write a frame to @out.
 * @f: in a surface that is ready.  Converted if @out has another format.
 */
VaapiImportResult vaapi_import_write(VaapiImport *import,
                                     VideoCodecSession *session,
                                     VideoCodecOutput *out, const AVFrame *f);

/**
 * vaapi_import_read: let the GPU read @in, and put it into a surface.
 * @f: with the surface, at least as large as @in's picture.  Converted if it
 *     has another format than @in.
 *
 * When this returns, the GPU has done with the guest's memory.
 */
VaapiImportResult vaapi_import_read(VaapiImport *import,
                                    VideoCodecSession *session,
                                    const VideoCodecInput *in,
                                    const AVFrame *f);

/**
 * VaapiMemory: memory that is to become a surface.
 * @iov, @niov: where it is
 * @size: of all of that in bytes
 * @raw: the format
 * @width, @height: in pixels
 * @offset, @pitch: by plane, in bytes
 * @region: what of it is copied
 * @colours: of the other side, if this is RGB, or of this, if that is
 */
typedef struct VaapiMemory {
    const struct iovec *iov;
    unsigned niov;
    size_t size;
    VaapiRawIndex raw;
    uint32_t width, height;
    uint32_t offset[3], pitch[3];
    VARectangle region;
    VaapiColours colours;
} VaapiMemory;

/* What became of a copy */
typedef enum VaapiCopyResult {
    VAAPI_COPY_DONE,
    VAAPI_COPY_UNFIT,           /* this buffer can't go this way */
    VAAPI_COPY_REFUSED,         /* the driver has said that */
    VAAPI_COPY_FAILED,
    VAAPI_COPY_HUNG,
} VaapiCopyResult;

/**
 * vaapi_import_copy: let the GPU copy between a surface and memory.
 * @surface: the surface
 * @m: the memory
 * @type: how it is given to the GPU
 * @memfd: what @m is of; -1: guest RAM, or no matter
 * @read: from memory; else to it
 *
 * For the probe: it asks nobody whether that has proved to work.
 */
VaapiCopyResult vaapi_import_copy(VaapiImport *import, VASurfaceID surface,
                                  const VaapiMemory *m, VaapiImportType type,
                                  int memfd, bool read);

/*
 * video-codec-vaapi-probe.c.  Whoever opens the display.
 */

/**
 * vaapi_probe: which way to pixels is the fastest that works?
 * Draws into surfaces and memory, and looks how it comes out on the other side.
 * Sets @display->path, @encode_path, @copy_path, @write and @read.
 */
void vaapi_probe(VaapiDisplay *display);

/*
 * video-codec-vaapi-decoder.c
 */

/** vaapi_decoder_caps: ask @display; fills in @caps->decoders. */
void vaapi_decoder_caps(VideoCodecVaapi *vaapi, VaapiDisplay *display,
                        VideoCodecCaps *caps);

/** vaapi_decoder_start: as VideoCodecImpl.start(); the rest is libav's */
void *vaapi_decoder_start(VideoCodec *codec, VideoCodecSession *s,
                          const VideoCodecParams *params, Error **errp);

/*
 * video-codec-vaapi-encoder.c
 */

/** vaapi_encoder_caps: ask @display; fills in @caps->encoders. */
void vaapi_encoder_caps(VideoCodecVaapi *vaapi, VaapiDisplay *display,
                        VideoCodecCaps *caps);

/** vaapi_encoder_start: as VideoCodecImpl.start(); the rest is libav's */
void *vaapi_encoder_start(VideoCodec *codec, VideoCodecSession *s,
                          const VideoCodecParams *params, Error **errp);

/** vaapi_settle_controls: as VideoCodecClass.settle_controls() */
void vaapi_settle_controls(VideoCodec *codec, const VideoCodecParams *params,
                           VideoControls *controls);

#endif /* BACKENDS_VIDEO_CODEC_VAAPI_H */
