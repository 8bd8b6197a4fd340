/*
 * query-virtio-video in a QEMU without virtio video devices
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "qapi/qapi-commands-virtio-video.h"

VirtioVideoInfoList *qmp_query_virtio_video(Error **errp)
{
    return NULL;
}

void hmp_info_virtio_video(Monitor *mon, const QDict *qdict)
{
    monitor_printf(mon, "This QEMU has no virtio video devices\n");
}
