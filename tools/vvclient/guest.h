/*
 * vvclient: a QEMU with a virtio-video device and no guest in it
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VVCLIENT_GUEST_H
#define VVCLIENT_GUEST_H

#include "libqos/virtio-video.h"

/**
 * struct VVGuestConfig - what to start
 * @machine: "pc", "q35", "microvm" or "virt"; NULL: the transport's usual one
 * @transport: "pci" or "mmio"; NULL: the machine's usual one
 * @codec: type and properties of a codec object; NULL: the device's own
 * @max_streams: of the device
 * @x_controls: controls that are not in the draft
 */
typedef struct VVGuestConfig {
    const char *machine;
    const char *transport;
    const char *codec;
    unsigned max_streams;
    bool x_controls;
} VVGuestConfig;

/**
 * struct VVGuest - the running machine
 * @driver: started, with a mapping of guest RAM
 * @caps: what the device can do
 * @machine: as chosen
 * @transport: as chosen
 * @ram_free: bytes of guest RAM that can be allocated
 */
typedef struct VVGuest {
    QVVDriver *driver;
    QVVCaps *caps;
    const char *machine;
    const char *transport;
    uint64_t ram_free;

    QTestState *qts;
    QVVRamFile *ram;
    QGuestAllocator alloc;
    QVirtioVideo video;
    struct VVTransport *bus;
    int log_fd;
    int stderr_fd;
    off_t log_seen;
} VVGuest;

/**
 * vv_guest_start - starts QEMU and brings the device up
 *
 * Only one at a time.  If QEMU ends by itself, now or later, the process
 * exits with QEMU's last words: there is nothing that could be done then.
 *
 * Returns: NULL with @errp set if the configuration makes no sense
 */
VVGuest *vv_guest_start(const VVGuestConfig *config, Error **errp);
void vv_guest_stop(VVGuest *g);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VVGuest, vv_guest_stop)

/**
 * vv_guest_log - what QEMU has logged since the last call
 * @prefix: lines that begin so are preferred to all others; may be NULL
 *
 * Returns: the last lines, joined with "; "; NULL if there are none; to be
 * freed with g_free()
 */
char *vv_guest_log(VVGuest *g, const char *prefix);

/* The last lines of QEMU's stderr, as above */
char *vv_guest_stderr(VVGuest *g);

/**
 * struct VVUsage - what QEMU uses of the host
 * @main_thread_ns: CPU time of QEMU's main thread so far
 * @all_threads_ns: of all threads that there are now
 * @rss_kib: resident anonymous memory: neither the guest's RAM nor programs
 */
typedef struct VVUsage {
    uint64_t main_thread_ns;
    uint64_t all_threads_ns;
    uint64_t rss_kib;
} VVUsage;

VVUsage vv_guest_usage(VVGuest *g);

#endif
