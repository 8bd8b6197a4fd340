/*
 * vvclient caps: what the device can do
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qlist.h"
#include "guest.h"
#include "vvclient.h"

static void vv_print_links(const QVVCaps *caps, unsigned coded)
{
    const char *sep = "";

    for (unsigned j = 0; j < caps->n_raw; j++) {
        if (caps->links[VIRTIO_VIDEO_STREAM_TYPE_DECODER] &&
            (caps->links[VIRTIO_VIDEO_STREAM_TYPE_DECODER][coded] >> j & 1)) {
            printf("%s%s", sep, qvv_fourcc_name(caps->raw[j].fourcc));
            sep = ", ";
        }
    }
    printf("\n");
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
    printf("\n\ncoded formats\n");
    for (unsigned i = 0; i < caps->n_coded; i++) {
        const QVVCodedCaps *c = &caps->coded[i];

        printf("  %-8s %u to %u buffers of %u to %u bytes; decodes to ",
               qvv_coded_format_name(c->format), c->num_resources.min,
               c->num_resources.max, c->resource_size.min,
               c->resource_size.max);
        vv_print_links(caps, i);
    }
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

static QDict *vv_coded_json(const QVVCaps *caps, unsigned index)
{
    const QVVCodedCaps *c = &caps->coded[index];
    QDict *dict = qdict_new();
    QList *raws = qlist_new();

    qdict_put_str(dict, "format", qvv_coded_format_name(c->format));
    qdict_put(dict, "num_resources", vv_range_json(&c->num_resources));
    qdict_put(dict, "resource_size", vv_range_json(&c->resource_size));
    qdict_put_bool(dict, "guest_pages", c->guest_pages);
    for (unsigned j = 0; j < caps->n_raw; j++) {
        if (qvv_caps_linked(caps, VIRTIO_VIDEO_STREAM_TYPE_DECODER, c->format,
                            caps->raw[j].fourcc)) {
            qlist_append_str(raws, qvv_fourcc_name(caps->raw[j].fourcc));
        }
    }
    qdict_put(dict, "decodes_to", raws);
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
    VVGuestConfig config = {
        .machine = args->machine,
        .transport = args->transport,
        .codec = args->codec,
        .max_streams = 16,
    };
    Error *err = NULL;
    g_autoptr(VVGuest) g = vv_guest_start(&config, &err);

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
