/*
 * Virtio video device: PCI proxy
 *
 * Everything runs in the main loop with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-pci.h"
#include "virtio-video-device.h"

#define TYPE_VIRTIO_VIDEO_PCI "virtio-video-pci-base"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOVideoPCI, VIRTIO_VIDEO_PCI)

struct VirtIOVideoPCI {
    VirtIOPCIProxy parent_obj;
    VirtIOVideo vdev;
};

static const Property virtio_video_pci_properties[] = {
    DEFINE_PROP_BIT("ioeventfd", VirtIOPCIProxy, flags,
                    VIRTIO_PCI_FLAG_USE_IOEVENTFD_BIT, true),
    DEFINE_PROP_UINT32("vectors", VirtIOPCIProxy, nvectors,
                       DEV_NVECTORS_UNSPECIFIED),
};

static void virtio_video_pci_realize(VirtIOPCIProxy *vpci_dev, Error **errp)
{
    VirtIOVideoPCI *dev = VIRTIO_VIDEO_PCI(vpci_dev);

    if (vpci_dev->nvectors == DEV_NVECTORS_UNSPECIFIED) {
        vpci_dev->nvectors = 3;     /* config changes, commands, events */
    }
    virtio_pci_force_virtio_1(vpci_dev);
    qdev_realize(DEVICE(&dev->vdev), BUS(&vpci_dev->bus), errp);
}

static void virtio_video_pci_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    VirtioPCIClass *k = VIRTIO_PCI_CLASS(oc);
    PCIDeviceClass *pcidev_k = PCI_DEVICE_CLASS(oc);

    k->realize = virtio_video_pci_realize;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    dc->desc = "Virtio video codec";
    pcidev_k->class_id = PCI_CLASS_MULTIMEDIA_OTHER;
    device_class_set_props(dc, virtio_video_pci_properties);
}

static void virtio_video_pci_init(Object *obj)
{
    VirtIOVideoPCI *dev = VIRTIO_VIDEO_PCI(obj);

    virtio_instance_init_common(obj, &dev->vdev, sizeof(dev->vdev),
                                TYPE_VIRTIO_VIDEO);
}

static const VirtioPCIDeviceTypeInfo virtio_video_pci_info = {
    .base_name = TYPE_VIRTIO_VIDEO_PCI,
    .generic_name = "virtio-video-pci",
    .instance_size = sizeof(VirtIOVideoPCI),
    .instance_init = virtio_video_pci_init,
    .class_init = virtio_video_pci_class_init,
};

static void virtio_video_pci_register(void)
{
    virtio_pci_types_register(&virtio_video_pci_info);
}

type_init(virtio_video_pci_register)
