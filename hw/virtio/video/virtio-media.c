/*
 * Virtio media device: a codec that speaks V4L2
 *
 * The device around media.c.  Everything runs in the main loop with the BQL
 * held.
 *
 * Spec: VIRTIO 1.4, "Media Device".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <zlib.h>
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "virtio-media-device.h"

static void virtio_media_get_config(VirtIODevice *vdev, uint8_t *config)
{
    VirtIOMedia *vm = VIRTIO_MEDIA(vdev);
    struct virtio_media_config cfg = {
        .device_caps = cpu_to_le32(VM_CAP_VIDEO_M2M_MPLANE | VM_CAP_STREAMING),
    };

    snprintf((char *)cfg.card, sizeof(cfg.card), "QEMU video %s",
             vm->media.direction == VIDEO_DECODE ? "decoder" : "encoder");
    memcpy(config, &cfg, sizeof(cfg));
}

static uint64_t virtio_media_get_features(VirtIODevice *vdev,
                                          uint64_t features, Error **errp)
{
    return features;
}

static bool virtio_media_command(VideoDevice *dev, VirtQueueElement *elem)
{
    return media_command(&VIRTIO_MEDIA(dev)->media, elem);
}

static bool virtio_media_is_busy(VideoDevice *dev)
{
    return media_is_busy(&VIRTIO_MEDIA(dev)->media);
}

static void virtio_media_go_on(VideoDevice *dev)
{
    media_go_on(&VIRTIO_MEDIA(dev)->media);
}

/* The numbers that a guest may have asked for, without what they don't fill */
static uint32_t virtio_media_caps_crc(VideoDevice *dev)
{
    const VideoCodecCaps *caps = &dev->ctx.caps;
    uint32_t role = dev->encoder;
    uint32_t crc = crc32(0, (const uint8_t *)caps->raws,
                         caps->n_raws * sizeof(caps->raws[0]));

    crc = crc32(crc, (const uint8_t *)&role, sizeof(role));
    for (unsigned i = 0; i < caps->n_decoders + caps->n_encoders; i++) {
        const VideoCodedCaps *coded = i < caps->n_decoders ?
            &caps->decoders[i] : &caps->encoders[i - caps->n_decoders];
        uint32_t words[] = {
            coded->format, coded->raw_mask, coded->max_width,
            coded->max_height, coded->min_width, coded->min_height,
            coded->deep.max_width, coded->deep.max_height,
            coded->deep.min_width, coded->deep.min_height,
            coded->size_step,
        };

        crc = crc32(crc, (const uint8_t *)words, sizeof(words));
    }
    return crc;
}

static void virtio_media_reset(VirtIODevice *vdev)
{
    media_reset(&VIRTIO_MEDIA(vdev)->media);
    video_device_reset(vdev);
}

static void virtio_media_realize(DeviceState *qdev, Error **errp)
{
    VirtIOMedia *vm = VIRTIO_MEDIA(qdev);
    VideoDevice *dev = VIDEO_DEVICE(qdev);
    VideoCodecDirection direction = VIDEO_DECODE;
    ERRP_GUARD();

    if (!g_strcmp0(vm->role, "encoder")) {
        direction = VIDEO_ENCODE;
    } else if (g_strcmp0(vm->role, "decoder")) {
        error_setg(errp, "'role' must be 'decoder' or 'encoder'");
        return;
    }
    if (!vm->media.has_region) {
        vm->media.hostmem = 0;      /* as on virtio-mmio: there is none */
    }
    if (!video_device_check_limit("max-mappings", vm->media.max_mappings,
                                  MEDIA_MAX_MAPPINGS, errp)) {
        return;
    }
    dev->decoder = direction == VIDEO_DECODE;
    dev->encoder = direction == VIDEO_ENCODE;
    dev->controls = true;
    dev->n_ids = MEDIA_MAX_SESSIONS;
    video_device_realize(qdev, errp);
    if (*errp) {
        return;
    }
    media_init(&vm->media, dev, direction);
}

static void virtio_media_unrealize(DeviceState *qdev)
{
    media_cleanup(&VIRTIO_MEDIA(qdev)->media);
    video_device_unrealize(qdev);
}

static const VMStateDescription vmstate_virtio_media = {
    .name = "virtio-media",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_VIRTIO_DEVICE,
        VMSTATE_UINT64_EQUAL(media.hostmem, VirtIOMedia,
                             "hostmem differs between the two sides"),
        VMSTATE_END_OF_LIST()
    },
};

static const Property virtio_media_properties[] = {
    DEFINE_PROP_STRING("role", VirtIOMedia, role),
    DEFINE_PROP_BOOL("x-av1", VirtIOMedia, parent_obj.av1, false),
    DEFINE_PROP_SIZE("hostmem", VirtIOMedia, media.hostmem, 1 * GiB),
    DEFINE_PROP_UINT32("max-mappings", VirtIOMedia, media.max_mappings, 256),
};

static void virtio_media_init(Object *obj)
{
    VIRTIO_MEDIA(obj)->role = g_strdup("decoder");
}

static void virtio_media_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(oc);
    VideoDeviceClass *vc = VIDEO_DEVICE_CLASS(oc);

    device_class_set_props(dc, virtio_media_properties);
    dc->vmsd = &vmstate_virtio_media;
    dc->desc = "Virtio media: a video codec for V4L2";

    vdc->realize = virtio_media_realize;
    vdc->unrealize = virtio_media_unrealize;
    vdc->get_config = virtio_media_get_config;
    vdc->get_features = virtio_media_get_features;
    vdc->reset = virtio_media_reset;

    vc->device_id = VIRTIO_MEDIA_DEVICE_ID;
    vc->config_size = sizeof(struct virtio_media_config);
    vc->command = virtio_media_command;
    vc->caps_crc = virtio_media_caps_crc;
    vc->is_busy = virtio_media_is_busy;
    vc->go_on = virtio_media_go_on;

    object_class_property_set_description(oc, "role",
        "what the device is, decoder or encoder (default: decoder)");
    object_class_property_set_description(oc, "x-av1",
        "offer AV1, which older applications don't know");
    object_class_property_set_description(oc, "hostmem",
        "size of the shared memory region for MMAP buffers, a power of two; "
        "0: the guest can use its own memory only");
    object_class_property_set_description(oc, "max-mappings",
        "buffers that can be mapped at once (1024 in all devices together)");
}

static const TypeInfo virtio_media_info = {
    .name = TYPE_VIRTIO_MEDIA,
    .parent = TYPE_VIDEO_DEVICE,
    .instance_size = sizeof(VirtIOMedia),
    .instance_init = virtio_media_init,
    .class_init = virtio_media_class_init,
};

static void virtio_media_register_types(void)
{
    type_register_static(&virtio_media_info);
}

type_init(virtio_media_register_types)
