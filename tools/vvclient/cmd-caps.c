/*
 * vvclient caps: what the device can do
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qlist.h"
#include "options.h"

static uint64_t vv_links(const QVVCaps *caps, uint32_t stream_type,
                         unsigned coded)
{
    return caps->has_link[stream_type] ? caps->links[stream_type][coded] : 0;
}

static void vv_print_range(const char *name, const QVVRange *range)
{
    if (range->min == 1 && range->max == 1) {
        printf("%s", name);
    } else {
        printf("%s %u to %u", name, range->min, range->max);
    }
}

static void vv_print_menu(VVControl control, uint32_t format, uint32_t mask)
{
    printf("%s", vv_control_name(control));
    for (unsigned i = 0; i < 32; i++) {
        const char *name = vv_control_value_name(control, format, i);

        if (mask >> i & 1) {
            printf(" %s", name ?: "?");
        }
    }
}

static void vv_print_controls(const QVVCodedCaps *c)
{
    for (unsigned i = 0; i < c->n_controls; i++) {
        const QVVControlCaps *cc = &c->controls[i];
        VVControl control = vv_control_of(cc->id, c->format);

        printf("           ");
        if (control == VV_CONTROL__MAX) {
            printf("control 0x%x", cc->id);
        } else if (vv_control_is_menu(control)) {
            vv_print_menu(control, c->format, cc->mask);
        } else {
            vv_print_range(vv_control_name(control), &cc->range);
        }
        printf("%s\n", control != VV_CONTROL__MAX &&
               vv_control_extended(control) ? " (x-controls=on)" : "");
    }
}

/* The coded formats that can be decoded, or those that can be encoded */
static void vv_print_coded(const QVVCaps *caps, uint32_t stream_type)
{
    const char *verb = stream_type == VIRTIO_VIDEO_STREAM_TYPE_DECODER ?
                       "decodes to" : "encodes from";

    for (unsigned i = 0; i < caps->n_coded; i++) {
        const QVVCodedCaps *c = &caps->coded[i];
        uint64_t links = vv_links(caps, stream_type, i);
        const char *sep = " ";

        if (!links) {
            continue;
        }
        printf("  %-8s %s", qvv_coded_format_name(c->format), verb);
        for (unsigned j = 0; j < caps->n_raw; j++) {
            if (links >> j & 1) {
                printf("%s%s %ux%u to %ux%u", sep,
                       qvv_fourcc_name(caps->raw[j].fourcc),
                       caps->raw[j].width.min, caps->raw[j].height.min,
                       caps->raw[j].width.max, caps->raw[j].height.max);
                sep = ", ";
            }
        }
        printf("; %u to %u buffers of %u to %u bytes\n", c->num_resources.min,
               c->num_resources.max, c->resource_size.min,
               c->resource_size.max);
        vv_print_controls(c);
    }
}

static void vv_print_caps(const VVGuest *g)
{
    const QVVCaps *caps = g->caps;

    printf("%u streams, features", g->driver->max_streams);
    for (int i = 0; i < 24; i++) {
        if (g->driver->features & (1ull << i)) {
            printf(" %d", i);
        }
    }
    printf("\n\ndecoders\n");
    vv_print_coded(caps, VIRTIO_VIDEO_STREAM_TYPE_DECODER);
    printf("\nencoders\n");
    vv_print_coded(caps, VIRTIO_VIDEO_STREAM_TYPE_ENCODER);
    printf("\nraw formats\n");
    for (unsigned i = 0; i < caps->n_raw; i++) {
        const QVVRawCaps *r = &caps->raw[i];

        printf("  %-8s %ux%u to %ux%u, %u to %u buffers, alignment masks 0x%x "
               "stride, 0x%x height, 0x%x plane%s%s\n",
               qvv_fourcc_name(r->fourcc), r->width.min, r->height.min,
               r->width.max, r->height.max, r->num_resources.min,
               r->num_resources.max, r->stride_align_mask,
               r->height_align_mask, r->plane_align_mask,
               r->planes_layout_mask &
               VIRTIO_VIDEO_PLANES_LAYOUT_SINGLE_BUFFER ?
               ", single buffer" : "",
               r->planes_layout_mask &
               VIRTIO_VIDEO_PLANES_LAYOUT_MULTI_BUFFERS ?
               ", multi buffers" : "");
    }
}

static QDict *vv_range_json(const QVVRange *range)
{
    QDict *dict = qdict_new();

    qdict_put_int(dict, "min", range->min);
    qdict_put_int(dict, "max", range->max);
    qdict_put_int(dict, "step", range->step);
    return dict;
}

static QList *vv_menu_json(VVControl control, uint32_t format, uint32_t mask)
{
    QList *list = qlist_new();

    for (unsigned i = 0; i < 32; i++) {
        const char *name = vv_control_value_name(control, format, i);

        if (mask >> i & 1) {
            qlist_append_str(list, name ?: "?");
        }
    }
    return list;
}

static QDict *vv_controls_json(const QVVCodedCaps *c)
{
    QDict *dict = qdict_new();

    for (unsigned i = 0; i < c->n_controls; i++) {
        const QVVControlCaps *cc = &c->controls[i];
        VVControl control = vv_control_of(cc->id, c->format);

        if (control == VV_CONTROL__MAX) {
            continue;
        }
        if (vv_control_is_menu(control)) {
            qdict_put(dict, vv_control_name(control),
                      vv_menu_json(control, c->format, cc->mask));
        } else {
            qdict_put(dict, vv_control_name(control),
                      vv_range_json(&cc->range));
        }
    }
    return dict;
}

static QDict *vv_links_json(const QVVCaps *caps, uint64_t links)
{
    QDict *raws = qdict_new();

    for (unsigned j = 0; j < caps->n_raw; j++) {
        if (links >> j & 1) {
            QDict *sizes = qdict_new();

            qdict_put(sizes, "width", vv_range_json(&caps->raw[j].width));
            qdict_put(sizes, "height", vv_range_json(&caps->raw[j].height));
            qdict_put(raws, qvv_fourcc_name(caps->raw[j].fourcc), sizes);
        }
    }
    return raws;
}

static QDict *vv_coded_json(const QVVCaps *caps, unsigned index)
{
    const QVVCodedCaps *c = &caps->coded[index];
    uint64_t encodes = vv_links(caps, VIRTIO_VIDEO_STREAM_TYPE_ENCODER, index);
    uint64_t decodes = vv_links(caps, VIRTIO_VIDEO_STREAM_TYPE_DECODER, index);
    QDict *dict = qdict_new();

    qdict_put_str(dict, "format", qvv_coded_format_name(c->format));
    qdict_put(dict, "num_resources", vv_range_json(&c->num_resources));
    qdict_put(dict, "resource_size", vv_range_json(&c->resource_size));
    qdict_put_bool(dict, "guest_pages", c->guest_pages);
    if (decodes) {
        qdict_put(dict, "decodes_to", vv_links_json(caps, decodes));
    }
    if (encodes) {
        qdict_put(dict, "encodes_from", vv_links_json(caps, encodes));
        qdict_put(dict, "controls", vv_controls_json(c));
    }
    return dict;
}

static QDict *vv_raw_json(const QVVRawCaps *r)
{
    QDict *dict = qdict_new();

    qdict_put_str(dict, "format", qvv_fourcc_name(r->fourcc));
    qdict_put_int(dict, "fourcc", r->fourcc);
    qdict_put_int(dict, "modifier", r->modifier);
    qdict_put_int(dict, "planes_layout_mask", r->planes_layout_mask);
    qdict_put(dict, "width", vv_range_json(&r->width));
    qdict_put(dict, "height", vv_range_json(&r->height));
    qdict_put(dict, "num_resources", vv_range_json(&r->num_resources));
    qdict_put_int(dict, "stride_align_mask", r->stride_align_mask);
    qdict_put_int(dict, "height_align_mask", r->height_align_mask);
    qdict_put_int(dict, "plane_align_mask", r->plane_align_mask);
    qdict_put_bool(dict, "guest_pages", r->guest_pages);
    qdict_put_bool(dict, "crop", r->crop);
    return dict;
}

static void vv_print_caps_json(const VVGuest *g)
{
    QDict *dict = qdict_new();
    QList *coded = qlist_new();
    QList *raw = qlist_new();

    for (unsigned i = 0; i < g->caps->n_coded; i++) {
        qlist_append(coded, vv_coded_json(g->caps, i));
    }
    for (unsigned i = 0; i < g->caps->n_raw; i++) {
        qlist_append(raw, vv_raw_json(&g->caps->raw[i]));
    }
    qdict_put_str(dict, "machine", g->machine);
    qdict_put_str(dict, "transport", g->transport);
    qdict_put_int(dict, "features", g->driver->features);
    qdict_put_int(dict, "max_streams", g->driver->max_streams);
    qdict_put_int(dict, "caps_length", g->driver->caps_length);
    qdict_put(dict, "coded", coded);
    qdict_put(dict, "raw", raw);
    vv_print_json(dict);
}

int vv_cmd_caps(const VVArgs *args)
{
    VVGuestConfig config = vv_guest_options(args);
    g_autoptr(VVGuest) g = NULL;
    Error *err = NULL;

    config.max_streams = 16;
    config.x_controls = true;
    g = vv_guest_start(&config, &err);
    if (!g) {
        error_report_err(err);
        return EXIT_FAILURE;
    }
    if (args->json) {
        vv_print_caps_json(g);
    } else {
        vv_print_caps(g);
    }
    return EXIT_SUCCESS;
}
