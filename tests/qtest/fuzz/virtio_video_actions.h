/*
 * virtio-video: what a hostile guest does, from bytes
 *
 * An input is a program: each byte that starts an action says which one, and
 * the bytes behind it are its arguments.  Bytes that are not there read as 0,
 * so every input means something.  The fuzz target runs such programs inside
 * the fuzzer's process; the test of the committed inputs runs the same ones
 * against a QEMU of its own through qtest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_QTEST_VIRTIO_VIDEO_ACTIONS_H
#define TESTS_QTEST_VIRTIO_VIDEO_ACTIONS_H

#include "../libqos/virtio-video.h"

/* Small limits, so that they can be reached */
#define VVA_DEVICE "codec=codec0,max-streams=3,max-events=64," \
                   "max-resources=8,max-entries=64,max-mem=1M," \
                   "max-coded-size=65536,max-width=1024,max-height=1024," \
                   "x-controls=on"
#define VVA_CODEC_TEST "-object video-codec-test,id=codec0"
/* With threads=1, so that what happens does not depend on the machine */
#define VVA_CODEC_LIBAV "-object video-codec-libav,id=codec0,threads=1"

/**
 * VVAHost: what the program can't do through the device.
 * @settle: let QEMU work until it has nothing to do, or for a bounded time
 * @pause: stop the VM, or let it go on
 */
typedef struct VVAHost {
    void (*settle)(void *opaque);
    void (*pause)(void *opaque, bool paused);
    void *opaque;
} VVAHost;

typedef struct VVA VVA;

/**
 * vva_new: takes a part of guest memory for good.
 * @v, @alloc, @qts: as for qvv_new()
 * @host: not copied
 */
VVA *vva_new(QVirtioVideo *v, QGuestAllocator *alloc, QTestState *qts,
             const VVAHost *host);
void vva_free(VVA *f);

/**
 * vva_run: start the device, run a program, reset the device.
 *
 * Does the same each time: memory that a program can read is zero when it
 * starts.  The caller waits until what the device still does after the reset
 * has come to an end.
 */
void vva_run(VVA *f, const uint8_t *data, size_t size);

/**
 * vva_all_sleep: do all threads of a process sleep, but for this one?
 * @pid: 0 for this process
 */
bool vva_all_sleep(pid_t pid);

#endif
