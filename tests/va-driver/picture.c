/*
 * Contexts, and a picture from begin to end
 *
 * Any thread, up to vaEndPicture: then it is the worker's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

static void context_destroy(VvObject *obj)
{
    VvContext *ctx = (VvContext *)obj;

    vv_decoder_unref(ctx->decoder);
    vv_encoder_free(ctx->encoder);
    vv_object_unref(ctx->config);
    g_cond_clear(&ctx->work);
}

static VAStatus create_context(VADriverContextP va, VAConfigID config_id,
                               int width, int height, int flag,
                               VASurfaceID *targets, int num, VAContextID *id)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvConfig *config = vv_object(drv, VV_CONFIG, config_id);
    unsigned max_width, max_height;
    VvContext *ctx;

    (void)locker;
    if (!config) {
        return VA_STATUS_ERROR_INVALID_CONFIG;
    }
    if (drv->lost) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    vv_max_size(&drv->options, config->profile, &max_width, &max_height);
    if (width < 0 || height < 0 ||
        (config->profile != VAProfileNone &&
         ((unsigned)width < drv->options.min_width ||
          (unsigned)height < drv->options.min_height)) ||
        (unsigned)width > max_width || (unsigned)height > max_height) {
        return VA_STATUS_ERROR_RESOLUTION_NOT_SUPPORTED;
    }
    for (int i = 0; i < num; i++) {
        if (!vv_object(drv, VV_SURFACE, targets[i])) {
            return VA_STATUS_ERROR_INVALID_SURFACE;
        }
    }
    ctx = vv_object_new(drv, VV_CONTEXT, sizeof(*ctx), context_destroy);
    ctx->config = vv_object_ref(config);
    ctx->width = width;
    ctx->height = height;
    g_queue_init(&ctx->jobs);
    g_cond_init(&ctx->work);
    vv_worker_start(ctx);
    *id = ctx->obj.id;
    return VA_STATUS_SUCCESS;
}

static VAStatus destroy_context(VADriverContextP va, VAContextID id)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvContext *ctx = vv_object(drv, VV_CONTEXT, id);

    (void)locker;
    if (!ctx) {
        return VA_STATUS_ERROR_INVALID_CONTEXT;
    }
    vv_object_ref(ctx);
    vv_object_remove(ctx);
    vv_worker_stop(ctx);
    vv_object_unref(ctx);
    if (drv->options.stats_often) {
        vv_stats_write(drv);
    }
    return VA_STATUS_SUCCESS;
}

static VAStatus begin_picture(VADriverContextP va, VAContextID id,
                              VASurfaceID target)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvContext *ctx = vv_object(drv, VV_CONTEXT, id);
    VvSurface *s = vv_object(drv, VV_SURFACE, target);

    (void)locker;
    if (!ctx) {
        return VA_STATUS_ERROR_INVALID_CONTEXT;
    }
    if (!s) {
        return VA_STATUS_ERROR_INVALID_SURFACE;
    }
    if (drv->lost) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    if (ctx->config->entrypoint == VAEntrypointVLD &&
        ((s->imported && drv->options.no_import_decode) ||
         (s->linear && drv->options.no_linear_decode))) {
        return VA_STATUS_ERROR_INVALID_SURFACE;
    }
    vv_job_unref(ctx->picture);
    ctx->picture = vv_job_new(ctx, s);
    return VA_STATUS_SUCCESS;
}

static void add_param(VvJob *job, VvBuffer *b)
{
    VvParam p = {
        .buffer = vv_object_ref(b),
        .type = b->type,
        .size = b->size,
        .elements = b->elements,
        .data = b->data,
    };

    b->jobs++;
    g_array_append_val(job->params, p);
}

static VAStatus render_picture(VADriverContextP va, VAContextID id,
                               VABufferID *buffers, int num)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvContext *ctx = vv_object(drv, VV_CONTEXT, id);

    (void)locker;
    if (!ctx || !ctx->picture) {
        return VA_STATUS_ERROR_INVALID_CONTEXT;
    }
    if (drv->lost) {
        return VA_STATUS_ERROR_OPERATION_FAILED;
    }
    for (int i = 0; i < num; i++) {
        VvBuffer *b = vv_object(drv, VV_BUFFER, buffers[i]);
        VAStatus status = VA_STATUS_SUCCESS;

        if (!b || b->memory) {
            return VA_STATUS_ERROR_INVALID_BUFFER;
        }
        if (b->type == VAProcPipelineParameterBufferType) {
            status = vv_process_render(ctx->picture, b);
        } else {
            add_param(ctx->picture, b);
        }
        if (status) {
            return status;
        }
    }
    return VA_STATUS_SUCCESS;
}

/* Does an option say that this picture fails? */
static bool is_to_fail(VvDriver *drv, const VvContext *ctx)
{
    const VvOptions *o = &drv->options;

    if (ctx->config->entrypoint != VAEntrypointVideoProc) {
        drv->pictures++;
        drv->lost |= o->lose_device && drv->pictures >= o->lose_device;
        if (drv->pictures == o->fail_end_picture) {
            return true;
        }
    }
    return drv->lost ||
        (o->fail_all_after && drv->pictures > o->fail_all_after);
}

/* The surface that a decoder writes besides its target, if there is one */
static VAStatus find_display(VvDriver *drv, VvContext *ctx, VvJob *job)
{
    const VvCodec *codec = vv_codec_of(ctx->config->profile);
    VASurfaceID id = codec && codec->display ? codec->display(job) :
        VA_INVALID_SURFACE;
    VvSurface *s;

    if (id == VA_INVALID_SURFACE || id == job->target->obj.id) {
        return VA_STATUS_SUCCESS;
    }
    s = vv_object(drv, VV_SURFACE, id);
    if (!s) {
        return VA_STATUS_ERROR_INVALID_SURFACE;
    }
    job->display = vv_object_ref(s);
    return VA_STATUS_SUCCESS;
}

/* As if its queue were full.  Lock held, but not while it waits */
static void wait_for_room(VvContext *ctx)
{
    VvDriver *drv = ctx->obj.drv;
    unsigned ms = drv->pictures ? drv->options.end_process_ms : 0;

    if (ms && ctx->config->entrypoint == VAEntrypointVideoProc) {
        g_mutex_unlock(&drv->lock);
        g_usleep(ms * 1000);
        g_mutex_lock(&drv->lock);
    }
}

static VAStatus end_picture(VADriverContextP va, VAContextID id)
{
    VvDriver *drv = vv_driver(va);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&drv->lock);
    VvContext *ctx = vv_object(drv, VV_CONTEXT, id);
    VAStatus status = VA_STATUS_SUCCESS;
    VvJob *job;

    (void)locker;
    if (!ctx || !ctx->picture) {
        return VA_STATUS_ERROR_INVALID_CONTEXT;
    }
    job = ctx->picture;
    ctx->picture = NULL;
    if (drv->lost || is_to_fail(drv, ctx)) {
        status = VA_STATUS_ERROR_OPERATION_FAILED;
    } else if (vv_config_is_encoder(ctx->config)) {
        status = vv_encode_check(job);
    } else {
        status = find_display(drv, ctx, job);
    }
    if (status == VA_STATUS_SUCCESS) {
        wait_for_room(ctx);
        vv_worker_queue(ctx, job);
    }
    vv_job_unref(job);
    return status;
}

void vv_picture_vtable(struct VADriverVTable *vtable)
{
    vtable->vaCreateContext = create_context;
    vtable->vaDestroyContext = destroy_context;
    vtable->vaBeginPicture = begin_picture;
    vtable->vaRenderPicture = render_picture;
    vtable->vaEndPicture = end_picture;
}
