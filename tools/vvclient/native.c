/*
 * vvclient: the same video with libavcodec in this process, to compare with
 *
 * Decoder, threads and settings are those of video-codec-libav, so that what
 * differs is only the way through the device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "native.h"

#include <libavutil/hwcontext.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#define VV_NATIVE_MAX_THREADS   16
#define VV_NATIVE_BUFFERS       8
#define VV_NATIVE_ALIGN         64

typedef struct VVNative {
    const VVMedia *media;
    AVBufferRef *device;        /* a GPU, or NULL */
    AVCodecContext *avctx;
    AVPacket *packet;
    AVFrame *frame;
    VVNativeFn fn;
    void *opaque;
    VVNativeResult *result;
} VVNative;

static void vv_copy_plane(VVFrame *f, unsigned plane, const AVFrame *av)
{
    const unsigned shift = plane ? 1 : 0;
    const uint32_t len = vv_frame_row_bytes(f, plane);
    const size_t left = (av->crop_left >> shift) * (f->depth > 8 ? 2 : 1);
    const size_t top = av->crop_top >> shift;
    uint8_t *dst = vv_frame_plane(f, plane);

    for (uint32_t y = 0; y < vv_frame_rows(f, plane); y++, dst += len) {
        memcpy(dst, av->data[plane] +
               (ptrdiff_t)(top + y) * av->linesize[plane] + left, len);
    }
}

bool vv_native_check(const AVFrame *av, Error **errp)
{
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(av->format);

    if (desc->log2_chroma_w != 1 || desc->log2_chroma_h != 1) {
        error_setg(errp, "a frame is %s, not 4:2:0", desc->name);
        return false;
    }
    return true;
}

bool vv_native_picture(const AVFrame *av, VVFrame *f, Error **errp)
{
    if (!vv_native_check(av, errp)) {
        return false;
    }
    vv_frame_reset(f, av->width - av->crop_left - av->crop_right,
                   av->height - av->crop_top - av->crop_bottom,
                   av_pix_fmt_desc_get(av->format)->comp[0].depth, false);
    for (unsigned i = 0; i < VV_FRAME_PLANES; i++) {
        vv_copy_plane(f, i, av);
    }
    return true;
}

AVBufferRef *vv_native_device(const char *node, Error **errp)
{
    AVBufferRef *device = NULL;
    int ret = av_hwdevice_ctx_create(&device, AV_HWDEVICE_TYPE_VAAPI, node,
                                     NULL, 0);

    if (ret < 0) {
        error_setg(errp, "cannot open %s for VA-API: %s",
                   node ?: "the first render node", av_err2str(ret));
    }
    return device;
}

static enum AVPixelFormat vv_native_gpu_format(AVCodecContext *avctx,
                                               const enum AVPixelFormat *fmts)
{
    for (; *fmts != AV_PIX_FMT_NONE; fmts++) {
        if (*fmts == AV_PIX_FMT_VAAPI) {
            return *fmts;
        }
    }
    return AV_PIX_FMT_NONE;
}

static void vv_native_use_device(VVNative *n)
{
    n->avctx->hw_device_ctx = av_buffer_ref(n->device);
    n->avctx->get_format = vv_native_gpu_format;
    n->avctx->thread_count = 1;
}

static bool vv_native_open(VVNative *n, unsigned threads, int side_data,
                           Error **errp)
{
    const AVCodec *codec;

    if (n->media->codec_id == AV_CODEC_ID_AV1) {
        /* libavcodec's own is for GPUs only */
        codec = avcodec_find_decoder_by_name(n->device ? "av1" : "libdav1d");
    } else {
        codec = avcodec_find_decoder(n->media->codec_id);
    }
    if (!codec) {
        error_setg(errp, "libavcodec has no decoder for %s",
                   avcodec_get_name(n->media->codec_id));
        return false;
    }
    n->avctx = avcodec_alloc_context3(codec);
    n->avctx->apply_cropping = 0;
    n->avctx->export_side_data = side_data;
    n->avctx->thread_count = MIN(threads ?: g_get_num_processors(),
                                 VV_NATIVE_MAX_THREADS);
    n->avctx->thread_type = FF_THREAD_SLICE | FF_THREAD_FRAME;
    if (codec->id == AV_CODEC_ID_H264) {
        /* Order of frames without the container's knowledge of delay */
        n->avctx->strict_std_compliance = FF_COMPLIANCE_STRICT;
    }
    if (n->device) {
        vv_native_use_device(n);
    }
    if (avcodec_open2(n->avctx, codec, NULL) < 0) {
        error_setg(errp, "cannot open libavcodec's decoder %s", codec->name);
        return false;
    }
    n->packet = av_packet_alloc();
    n->frame = av_frame_alloc();
    return true;
}

static void vv_native_close(VVNative *n)
{
    av_frame_free(&n->frame);
    av_packet_free(&n->packet);
    avcodec_free_context(&n->avctx);
}

static void vv_native_receive(VVNative *n)
{
    int ret;

    while ((ret = avcodec_receive_frame(n->avctx, n->frame)) >= 0) {
        bool shown = n->frame->pts < 0 ||
                     n->frame->pts >= n->media->n_packets ||
                     !n->media->packets[n->frame->pts].discard;

        n->result->frames++;
        n->result->bad += n->frame->decode_error_flags ||
                          (n->frame->flags & AV_FRAME_FLAG_CORRUPT);
        n->fn(n->frame, shown, n->opaque);
        av_frame_unref(n->frame);
    }
    if (ret != AVERROR(EAGAIN) && ret != AVERROR_EOF) {
        n->result->bad++;
    }
}

static void vv_native_send(VVNative *n, unsigned index)
{
    const VVPacket *vp = &n->media->packets[index];
    int ret;

    if (av_packet_ref(n->packet, vp->av) < 0) {
        g_error("out of memory");
    }
    /* As the device does: numbers, and no side data of the container's */
    av_packet_free_side_data(n->packet);
    n->packet->flags = 0;
    n->packet->pts = index;
    n->packet->dts = AV_NOPTS_VALUE;
    while ((ret = avcodec_send_packet(n->avctx, n->packet)) ==
           AVERROR(EAGAIN)) {
        vv_native_receive(n);
    }
    av_packet_unref(n->packet);
    n->result->bad += ret < 0;
    vv_native_receive(n);
}

static uint64_t vv_own_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static bool vv_native_run(VVNative *n, unsigned threads, unsigned limit,
                          int side_data, Error **errp)
{
    const VVMedia *media = n->media;
    VVNativeResult *result = n->result;
    uint64_t cpu;
    int64_t start;

    memset(result, 0, sizeof(*result));
    if (!vv_native_open(n, threads, side_data, errp)) {
        vv_native_close(n);
        return false;
    }
    limit = limit ? MIN(limit, media->n_packets) : media->n_packets;
    cpu = vv_own_cpu_ns();
    start = g_get_monotonic_time();
    for (unsigned i = 0; i < limit; i++) {
        vv_native_send(n, i);
    }
    avcodec_send_packet(n->avctx, NULL);
    vv_native_receive(n);
    result->seconds = (g_get_monotonic_time() - start) / 1e6;
    result->cpu_ns = vv_own_cpu_ns() - cpu;
    vv_native_close(n);
    return true;
}

bool vv_native_decode(const VVMedia *media, unsigned threads, unsigned limit,
                      int side_data, VVNativeFn fn, void *opaque,
                      VVNativeResult *result, Error **errp)
{
    VVNative n = {
        .media = media, .fn = fn, .opaque = opaque, .result = result
    };

    return vv_native_run(&n, threads, limit, side_data, errp);
}

typedef struct VVNv12 {
    struct SwsContext *sws;
    uint8_t *buffer[VV_NATIVE_BUFFERS];
    size_t size;
    unsigned next;
} VVNv12;

static void vv_to_nv12(const AVFrame *frame, bool shown, void *opaque)
{
    VVNv12 *nv12 = opaque;
    const int w = frame->width;
    const int h = frame->height;
    const int stride = ROUND_UP(ROUND_UP(w, 2), VV_NATIVE_ALIGN);
    const size_t size = (size_t)stride * (h + DIV_ROUND_UP(h, 2));
    uint8_t *dst[4];
    const int strides[4] = { stride, stride };

    if (nv12->size < size) {
        for (int i = 0; i < VV_NATIVE_BUFFERS; i++) {
            g_free(nv12->buffer[i]);
            nv12->buffer[i] = g_malloc(size);
            memset(nv12->buffer[i], 0, size);
        }
        nv12->size = size;
    }
    dst[0] = nv12->buffer[nv12->next++ % VV_NATIVE_BUFFERS];
    dst[1] = dst[0] + (size_t)stride * h;
    dst[2] = dst[3] = NULL;
    nv12->sws = sws_getCachedContext(nv12->sws, w, h, frame->format, w, h,
                                     AV_PIX_FMT_NV12, SWS_POINT, NULL, NULL,
                                     NULL);
    if (nv12->sws) {
        sws_scale(nv12->sws, (const uint8_t *const *)frame->data,
                  frame->linesize, 0, h, dst, strides);
    }
}

typedef struct VVDownload {
    AVFrame *frame[VV_NATIVE_BUFFERS];
    unsigned next;
} VVDownload;

static void vv_download(const AVFrame *frame, bool shown, void *opaque)
{
    VVDownload *download = opaque;
    AVFrame *f = download->frame[download->next++ % VV_NATIVE_BUFFERS];

    if (f->width != frame->width || f->height != frame->height) {
        av_frame_unref(f);
        f->format = AV_PIX_FMT_NV12;
        f->width = frame->width;
        f->height = frame->height;
        if (av_frame_get_buffer(f, 0) < 0) {
            g_error("out of memory");
        }
    }
    if (av_hwframe_transfer_data(f, frame, 0) < 0) {
        f->width = 0;           /* try again with another one */
    }
}

static bool vv_native_download(VVNative *n, unsigned limit, Error **errp)
{
    VVDownload download = { };
    bool ok;

    for (int i = 0; i < VV_NATIVE_BUFFERS; i++) {
        download.frame[i] = av_frame_alloc();
    }
    n->fn = vv_download;
    n->opaque = &download;
    ok = vv_native_run(n, 1, limit, 0, errp);
    for (int i = 0; i < VV_NATIVE_BUFFERS; i++) {
        av_frame_free(&download.frame[i]);
    }
    return ok;
}

bool vv_native_decode_nv12(const VVMedia *media, AVBufferRef *device,
                           unsigned threads, unsigned limit,
                           VVNativeResult *result, Error **errp)
{
    VVNv12 nv12 = { 0 };
    VVNative n = {
        .media = media, .device = device, .fn = vv_to_nv12, .opaque = &nv12,
        .result = result
    };
    bool ok;

    if (device) {
        return vv_native_download(&n, limit, errp);
    }
    ok = vv_native_run(&n, threads, limit, 0, errp);
    sws_freeContext(nv12.sws);
    for (int i = 0; i < VV_NATIVE_BUFFERS; i++) {
        g_free(nv12.buffer[i]);
    }
    return ok;
}
