/*
 * Jobs, and the thread of each context that does them in order
 *
 * A job waits for those that were queued before it and write to a surface that
 * it uses, of whatever context.  They cannot wait for it, so nothing hangs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

VvJob *vv_job_new(VvContext *ctx, VvSurface *target)
{
    VvJob *job = g_new0(VvJob, 1);

    job->refs = 1;
    job->ctx = ctx;
    job->target = vv_object_ref(target);
    job->params = g_array_new(false, false, sizeof(VvParam));
    job->pipelines = g_array_new(false, false, sizeof(VvPipeline));
    job->reads = g_ptr_array_new_with_free_func(vv_object_unref);
    job->deps = g_ptr_array_new_with_free_func((GDestroyNotify)vv_job_unref);
    return job;
}

VvJob *vv_job_ref(VvJob *job)
{
    job->refs++;
    return job;
}

/* What a job holds goes as soon as it is done: fences keep only the status */
static void release(VvJob *job)
{
    for (unsigned i = 0; i < job->params->len; i++) {
        VvBuffer *b = g_array_index(job->params, VvParam, i).buffer;

        if (!--b->jobs) {
            g_slist_free_full(b->retired, g_free);
            b->retired = NULL;
        }
        vv_object_unref(b);
    }
    g_array_set_size(job->params, 0);
    g_array_set_size(job->pipelines, 0);
    g_ptr_array_set_size(job->reads, 0);
    g_ptr_array_set_size(job->deps, 0);
    vv_object_unref(job->coded);
    job->coded = NULL;
    vv_object_unref(job->target);
    job->target = NULL;
    vv_object_unref(job->display);
    job->display = NULL;
}

void vv_job_unref(VvJob *job)
{
    if (!job || --job->refs) {
        return;
    }
    release(job);
    g_array_unref(job->params);
    g_array_unref(job->pipelines);
    g_ptr_array_unref(job->reads);
    g_ptr_array_unref(job->deps);
    g_free(job);
}

static VAStatus do_job(VvContext *ctx, VvJob *job)
{
    const VvOptions *o = &ctx->obj.drv->options;

    if (ctx->config->entrypoint == VAEntrypointVideoProc) {
        g_usleep(o->process_ms * 1000);
        return vv_process(ctx, job);
    }
    g_usleep(o->decode_ms * 1000);
    return vv_config_is_encoder(ctx->config) ? vv_encode(ctx, job) :
        vv_decode(ctx, job);
}

static void count(VvContext *ctx, VvStats *stats, VAStatus status)
{
    if (status) {
        stats->failed++;
    } else if (ctx->config->entrypoint == VAEntrypointVideoProc) {
        stats->processed++;
    } else if (vv_config_is_encoder(ctx->config)) {
        stats->encoded++;
    } else {
        stats->decoded++;
    }
}

static void *worker_thread(void *opaque)
{
    VvContext *ctx = opaque;
    VvDriver *drv = ctx->obj.drv;
    VvJob *job;

    g_mutex_lock(&drv->lock);
    while (true) {
        while (!ctx->quit && g_queue_is_empty(&ctx->jobs)) {
            g_cond_wait(&ctx->work, &drv->lock);
        }
        job = g_queue_pop_head(&ctx->jobs);
        if (!job) {
            break;
        }
        for (unsigned i = 0; i < job->deps->len; i++) {
            vv_job_wait(drv, job->deps->pdata[i], VA_TIMEOUT_INFINITE);
        }
        g_mutex_unlock(&drv->lock);
        job->status = do_job(ctx, job);
        g_mutex_lock(&drv->lock);

        count(ctx, &drv->stats, job->status);
        job->done = true;
        release(job);
        vv_job_unref(job);
        g_cond_broadcast(&drv->done);
    }
    g_mutex_unlock(&drv->lock);
    return NULL;
}

void vv_worker_start(VvContext *ctx)
{
    ctx->worker = g_thread_new("vvsw", worker_thread, ctx);
}

void vv_worker_stop(VvContext *ctx)
{
    VvDriver *drv = ctx->obj.drv;

    vv_job_unref(ctx->picture);
    ctx->picture = NULL;
    ctx->quit = true;
    g_cond_signal(&ctx->work);
    g_mutex_unlock(&drv->lock);
    g_thread_join(ctx->worker);
    g_mutex_lock(&drv->lock);
}

static void depend(VvJob *job, VvJob *fence)
{
    if (fence && !fence->done) {
        g_ptr_array_add(job->deps, vv_job_ref(fence));
    }
}

static void set_fence(VvJob **fence, VvJob *job)
{
    vv_job_unref(*fence);
    *fence = vv_job_ref(job);
}

void vv_worker_queue(VvContext *ctx, VvJob *job)
{
    depend(job, job->target->fence);
    depend(job, job->target->reader);
    for (unsigned i = 0; i < job->reads->len; i++) {
        VvSurface *s = job->reads->pdata[i];

        depend(job, s->fence);
        set_fence(&s->reader, job);
    }
    set_fence(&job->target->fence, job);
    if (job->display) {
        depend(job, job->display->fence);
        set_fence(&job->display->fence, job);
    }
    if (job->coded) {
        set_fence(&job->coded->fence, job);
    }
    g_queue_push_tail(&ctx->jobs, vv_job_ref(job));
    g_cond_signal(&ctx->work);
}

bool vv_sync_fails(VvDriver *drv)
{
    return drv->lost ||
        (drv->pictures && ++drv->syncs == drv->options.fail_sync);
}

VAStatus vv_job_wait(VvDriver *drv, VvJob *job, uint64_t timeout_ns)
{
    bool forever = timeout_ns == VA_TIMEOUT_INFINITE;
    gint64 end = g_get_monotonic_time() + MIN(timeout_ns / 1000, 1u << 30);
    VAStatus status = VA_STATUS_SUCCESS;

    if (!job) {
        return VA_STATUS_SUCCESS;
    }
    vv_job_ref(job);
    while (!job->done && status == VA_STATUS_SUCCESS) {
        if (forever) {
            g_cond_wait(&drv->done, &drv->lock);
        } else if (!g_cond_wait_until(&drv->done, &drv->lock, end)) {
            status = job->done ? VA_STATUS_SUCCESS : VA_STATUS_ERROR_TIMEDOUT;
        }
    }
    if (job->done) {
        status = job->status;
    }
    vv_job_unref(job);
    return status;
}

const VvParam *vv_job_nth(const VvJob *job, VABufferType type, unsigned n)
{
    for (unsigned i = 0; i < job->params->len; i++) {
        const VvParam *p = &g_array_index(job->params, VvParam, i);

        if (p->type == type && !n--) {
            return p;
        }
    }
    return NULL;
}

const void *vv_job_param(const VvJob *job, VABufferType type, size_t size)
{
    const VvParam *p = vv_job_nth(job, type, 0);

    return p && (size_t)p->size * p->elements >= size ? p->data : NULL;
}

/* Each buffer of parameters has one of data, which may hold several slices */
GArray *vv_job_slices(const VvJob *job, size_t param_size)
{
    g_autoptr(GArray) slices = g_array_new(false, false, sizeof(VvSlice));
    const VvParam *p, *d;
    uint64_t bytes;

    for (unsigned n = 0;
         (p = vv_job_nth(job, VASliceParameterBufferType, n)); n++) {
        d = vv_job_nth(job, VASliceDataBufferType, n);
        if (!d || p->size < param_size) {
            return NULL;
        }
        bytes = (uint64_t)d->size * d->elements;
        for (unsigned i = 0; i < p->elements; i++) {
            /* All codecs' begin like this */
            const VASliceParameterBufferBase *base =
                (const void *)(p->data + (size_t)i * p->size);
            VvSlice slice = {
                .param = base,
                .data = d->data + base->slice_data_offset,
                .size = base->slice_data_size,
            };

            if (base->slice_data_offset > bytes) {
                return NULL;
            }
            /* GStreamer's size of VP8's counts what is before the offset */
            if (slice.size > bytes - base->slice_data_offset) {
                if (job->ctx->config->profile != VAProfileVP8Version0_3) {
                    return NULL;
                }
                slice.size = bytes - base->slice_data_offset;
            }
            g_array_append_val(slices, slice);
        }
    }
    return slices->len ? g_steal_pointer(&slices) : NULL;
}
