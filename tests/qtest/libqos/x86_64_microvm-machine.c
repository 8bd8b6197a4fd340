/*
 * libqos machine node of x86 microvm, the x86 machine with virtio-mmio
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "../libqtest.h"
#include "qemu/module.h"
#include "qgraph.h"
#include "malloc-pc.h"
#include "virtio-mmio.h"

#define MICROVM_PAGE_SIZE       4096
#define MICROVM_MMIO_BASE       0xfeb00000
#define MICROVM_MMIO_SIZE       512
/* With the second I/O APIC, which is there by default */
#define MICROVM_MMIO_TRANSPORTS 24

typedef struct QMicrovmMachine {
    QOSGraphObject obj;
    QGuestAllocator alloc;
    QVirtioMMIODevice virtio_mmio;
} QMicrovmMachine;

static void microvm_destructor(QOSGraphObject *obj)
{
    QMicrovmMachine *machine = (QMicrovmMachine *) obj;
    alloc_destroy(&machine->alloc);
}

static void *microvm_get_driver(void *object, const char *interface)
{
    QMicrovmMachine *machine = object;
    if (!g_strcmp0(interface, "memory")) {
        return &machine->alloc;
    }

    fprintf(stderr, "%s not present in x86_64/microvm\n", interface);
    g_assert_not_reached();
}

static QOSGraphObject *microvm_get_device(void *obj, const char *device)
{
    QMicrovmMachine *machine = obj;
    if (!g_strcmp0(device, "virtio-mmio")) {
        return &machine->virtio_mmio.obj;
    }

    fprintf(stderr, "%s not present in x86_64/microvm\n", device);
    g_assert_not_reached();
}

/*
 * QEMU plugs the first virtio device into the transport that was created
 * last.  Look for it from there, so that a board with fewer transports or
 * another order of plugging is no surprise.
 */
static uint64_t microvm_find_transport(QTestState *qts)
{
    int i;

    for (i = MICROVM_MMIO_TRANSPORTS - 1; i > 0; i--) {
        uint64_t addr = MICROVM_MMIO_BASE + i * MICROVM_MMIO_SIZE;

        if (qtest_readl(qts, addr + QVIRTIO_MMIO_DEVICE_ID)) {
            return addr;
        }
    }
    return MICROVM_MMIO_BASE;
}

static void *qos_create_machine_microvm(QTestState *qts)
{
    QMicrovmMachine *machine = g_new0(QMicrovmMachine, 1);

    machine->obj.get_device = microvm_get_device;
    machine->obj.get_driver = microvm_get_driver;
    machine->obj.destructor = microvm_destructor;
    pc_alloc_init(&machine->alloc, qts, ALLOC_NO_FLAGS);
    qvirtio_mmio_init_device(&machine->virtio_mmio, qts,
                             microvm_find_transport(qts), MICROVM_PAGE_SIZE);

    return machine;
}

static void microvm_machine_register_nodes(void)
{
    qos_node_create_machine_args("x86_64/microvm", qos_create_machine_microvm,
                                 " -global virtio-mmio.force-legacy=false");
    qos_node_contains("x86_64/microvm", "virtio-mmio", NULL);
}

libqos_init(microvm_machine_register_nodes);
