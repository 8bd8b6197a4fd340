/*
 * Video processing: copy, scale, convert
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "vvsw.h"

static VARectangle region(const VARectangle *given, const VvSurface *s)
{
    return given ? *given : (VARectangle) { 0, 0, s->width, s->height };
}

static bool is_within(const VARectangle *r, const VvSurface *s)
{
    return r->x >= 0 && r->y >= 0 && r->width && r->height &&
        (unsigned)r->x + r->width <= s->width &&
        (unsigned)r->y + r->height <= s->height;
}

/* How the pixels of @s are to be understood if they are converted */
static VvColours colours(const VvSurface *s, VAProcColorStandardType standard,
                         const VAProcColorProperties *properties)
{
    if (s->obj.drv->options.convert_601) {
        return (VvColours) { };
    }
    return (VvColours) {
        .bt709 = standard == VAProcColorStandardBT709,
        .full = properties->color_range == VA_SOURCE_RANGE_FULL,
    };
}

/* The rectangles are the client's memory, which is read before it goes */
VAStatus vv_process_render(VvJob *job, VvBuffer *buffer)
{
    const VAProcPipelineParameterBuffer *p = (const void *)buffer->data;
    VvPipeline pipe;

    if (buffer->size < sizeof(*p)) {
        return VA_STATUS_ERROR_INVALID_BUFFER;
    }
    pipe.source = vv_object(buffer->obj.drv, VV_SURFACE, p->surface);
    if (!pipe.source) {
        return VA_STATUS_ERROR_INVALID_SURFACE;
    }
    if (pipe.source->imported && buffer->obj.drv->options.no_import_read) {
        return VA_STATUS_ERROR_INVALID_SURFACE;
    }
    if (pipe.source->format != job->target->format &&
        buffer->obj.drv->options.no_convert) {
        return VA_STATUS_ERROR_INVALID_SURFACE;
    }
    if (p->num_filters || p->rotation_state || p->mirror_state) {
        return VA_STATUS_ERROR_UNSUPPORTED_FILTER;
    }
    pipe.from = region(p->surface_region, pipe.source);
    pipe.to = region(p->output_region, job->target);
    if (!is_within(&pipe.from, pipe.source) ||
        !is_within(&pipe.to, job->target)) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    pipe.from_colours = colours(pipe.source, p->surface_color_standard,
                                &p->input_color_properties);
    pipe.to_colours = colours(job->target, p->output_color_standard,
                              &p->output_color_properties);
    g_ptr_array_add(job->reads, vv_object_ref(pipe.source));
    g_array_append_val(job->pipelines, pipe);
    return VA_STATUS_SUCCESS;
}

/* Called by the worker */
VAStatus vv_process(VvContext *ctx, VvJob *job)
{
    if (!job->pipelines->len) {
        return VA_STATUS_ERROR_INVALID_PARAMETER;
    }
    for (unsigned i = 0; i < job->pipelines->len; i++) {
        const VvPipeline *pipe = &g_array_index(job->pipelines, VvPipeline, i);
        VvPixels dst, src;

        vv_surface_pixels(pipe->source, &src);
        vv_surface_pixels(job->target, &dst);
        src.colours = pipe->from_colours;
        dst.colours = pipe->to_colours;
        vv_pixels_crop(&src, pipe->from.x, pipe->from.y, pipe->from.width,
                       pipe->from.height);
        vv_pixels_crop(&dst, pipe->to.x, pipe->to.y, pipe->to.width,
                       pipe->to.height);
        if (!vv_pixels(&dst, &src)) {
            return VA_STATUS_ERROR_OPERATION_FAILED;
        }
    }
    return VA_STATUS_SUCCESS;
}

static VAStatus query_filters(VADriverContextP va, VAContextID context,
                              VAProcFilterType *filters, unsigned *num)
{
    *num = 0;
    return VA_STATUS_SUCCESS;
}

static VAStatus query_filter_caps(VADriverContextP va, VAContextID context,
                                  VAProcFilterType type, void *caps,
                                  unsigned *num)
{
    return VA_STATUS_ERROR_UNSUPPORTED_FILTER;
}

static VAStatus query_pipeline_caps(VADriverContextP va, VAContextID context,
                                    VABufferID *filters, unsigned num,
                                    VAProcPipelineCaps *caps)
{
    static VAProcColorStandardType standards[] = {
        VAProcColorStandardBT601, VAProcColorStandardBT709,
        VAProcColorStandardSRGB,
    };
    const VvOptions *o = &vv_driver(va)->options;

    *caps = (VAProcPipelineCaps) {
        .input_color_standards = standards,
        .num_input_color_standards = G_N_ELEMENTS(standards),
        .output_color_standards = standards,
        .num_output_color_standards = G_N_ELEMENTS(standards),
        .max_input_width = o->max_width,
        .max_input_height = o->max_height,
        .min_input_width = 1,
        .min_input_height = 1,
        .max_output_width = o->max_width,
        .max_output_height = o->max_height,
        .min_output_width = 1,
        .min_output_height = 1,
    };
    return VA_STATUS_SUCCESS;
}

void vv_vpp_vtable(struct VADriverVTableVPP *vtable)
{
    vtable->version = VA_DRIVER_VTABLE_VPP_VERSION;
    vtable->vaQueryVideoProcFilters = query_filters;
    vtable->vaQueryVideoProcFilterCaps = query_filter_caps;
    vtable->vaQueryVideoProcPipelineCaps = query_pipeline_caps;
}
