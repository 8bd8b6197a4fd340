/*
 * Virtio media device: PCI proxy
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
#include "virtio-media-device.h"

#define TYPE_VIRTIO_MEDIA_PCI "virtio-media-pci-base"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOMediaPCI, VIRTIO_MEDIA_PCI)

/* The BAR of the shared memory region, and where others go for it */
#define SHM_BAR         4
#define MSIX_BAR        1
#define MODERN_BAR      2
#define MODERN_IO_BAR   0   /* the legacy one, of which there is none */

struct VirtIOMediaPCI {
    VirtIOPCIProxy parent_obj;
    VirtIOMedia vdev;
};

static const Property virtio_media_pci_properties[] = {
    DEFINE_PROP_BIT("ioeventfd", VirtIOPCIProxy, flags,
                    VIRTIO_PCI_FLAG_USE_IOEVENTFD_BIT, true),
    DEFINE_PROP_UINT32("vectors", VirtIOPCIProxy, nvectors,
                       DEV_NVECTORS_UNSPECIFIED),
};

static bool virtio_media_pci_add_region(VirtIOPCIProxy *vpci_dev,
                                        MediaState *m, Error **errp)
{
    if (!media_init_region(m, OBJECT(vpci_dev), errp)) {
        return false;
    }
    vpci_dev->msix_bar_idx = MSIX_BAR;
    vpci_dev->modern_mem_bar_idx = MODERN_BAR;
    vpci_dev->modern_io_bar_idx = MODERN_IO_BAR;
    pci_register_bar(&vpci_dev->pci_dev, SHM_BAR,
                     PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_PREFETCH |
                     PCI_BASE_ADDRESS_MEM_TYPE_64, &m->region);
    virtio_pci_add_shm_cap(vpci_dev, SHM_BAR, 0, m->hostmem,
                           VIRTIO_MEDIA_SHM_MMAP);
    return true;
}

static void virtio_media_pci_realize(VirtIOPCIProxy *vpci_dev, Error **errp)
{
    VirtIOMediaPCI *dev = VIRTIO_MEDIA_PCI(vpci_dev);
    MediaState *m = &dev->vdev.media;

    if (vpci_dev->nvectors == DEV_NVECTORS_UNSPECIFIED) {
        vpci_dev->nvectors = 3;     /* config changes, commands, events */
    }
    if (m->hostmem && !virtio_media_pci_add_region(vpci_dev, m, errp)) {
        return;
    }
    virtio_pci_force_virtio_1(vpci_dev);
    qdev_realize(DEVICE(&dev->vdev), BUS(&vpci_dev->bus), errp);
}

static void virtio_media_pci_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    VirtioPCIClass *k = VIRTIO_PCI_CLASS(oc);
    PCIDeviceClass *pcidev_k = PCI_DEVICE_CLASS(oc);

    k->realize = virtio_media_pci_realize;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    dc->desc = "Virtio media: a video codec for V4L2";
    pcidev_k->class_id = PCI_CLASS_MULTIMEDIA_OTHER;
    device_class_set_props(dc, virtio_media_pci_properties);
}

static void virtio_media_pci_init(Object *obj)
{
    VirtIOMediaPCI *dev = VIRTIO_MEDIA_PCI(obj);

    virtio_instance_init_common(obj, &dev->vdev, sizeof(dev->vdev),
                                TYPE_VIRTIO_MEDIA);
}

static const VirtioPCIDeviceTypeInfo virtio_media_pci_info = {
    .base_name = TYPE_VIRTIO_MEDIA_PCI,
    .generic_name = "virtio-media-pci",
    .instance_size = sizeof(VirtIOMediaPCI),
    .instance_init = virtio_media_pci_init,
    .class_init = virtio_media_pci_class_init,
};

static void virtio_media_pci_register(void)
{
    virtio_pci_types_register(&virtio_media_pci_info);
}

type_init(virtio_media_pci_register)
