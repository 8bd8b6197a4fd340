/*
 * vvclient: a QEMU with a virtio-video device and no guest in it
 *
 * QEMU runs with -accel qtest: no CPU runs, the memory and the registers are
 * ours.  Guest RAM is a memfd that both processes map.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "libqos/generic-pcihost.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio-mmio.h"
#include "standard-headers/linux/virtio_config.h"
#include "guest.h"
#include "media-caps.h"

#define VV_RAM_SIZE         (2 * GiB)
/* Firmware and the like live at both ends of RAM; keep off */
#define VV_RAM_KEEP_OFF     (64 * MiB)
#define VV_PCI_SLOT         4
#define VV_LOG_ENDS         3
/* For MMAP buffers; libqos has room for twice as much, but not on virt */
#define VV_HOSTMEM          "128M"

typedef struct VVMachine {
    const char *name;
    const char *arch;
    const char *options;
    uint64_t ram_base;
    bool pci;
    /* virtio-mmio transports; none if count is 0 */
    uint64_t mmio_base;
    unsigned mmio_size;
    unsigned mmio_count;
} VVMachine;

static const VVMachine vv_machines[] = {
    { "pc", "x86_64", "-machine pc", .pci = true },
    { "q35", "x86_64", "-machine q35", .pci = true },
    { "microvm", "x86_64", "-machine microvm",
      .mmio_base = 0xfeb00000, .mmio_size = 512, .mmio_count = 24 },
    { "virt", "aarch64", "-machine virt -cpu max", .ram_base = 0x40000000,
      .pci = true,
      .mmio_base = 0x0a000000, .mmio_size = 512, .mmio_count = 32 },
};

static const char *const vv_protocols[] = {
    [VV_V10] = "v10",
    [VV_MEDIA] = "media",
    [VV_V4L2_UAPI] = "v4l2-uapi",
};

struct VVTransport {
    QPCIBus *pc_bus;
    QGenericPCIHost gpex;
    QVirtioPCIDevice *pci;
    QVirtioMMIODevice mmio;
};

const char *vv_protocol_name(VVProtocol protocol)
{
    return vv_protocols[protocol];
}

bool vv_protocol_find(const char *name, VVProtocol *protocol)
{
    for (unsigned i = 0; i < ARRAY_SIZE(vv_protocols); i++) {
        if (!strcmp(name, vv_protocols[i])) {
            *protocol = i;
            return true;
        }
    }
    return false;
}

/*
 * The end of QEMU
 */

static VVGuest *vv_guest;

static char *vv_read_fd(int fd, off_t from)
{
    GString *text = g_string_new(NULL);
    char buf[4096];
    ssize_t n;

    while ((n = pread(fd, buf, sizeof(buf), from)) > 0) {
        g_string_append_len(text, buf, n);
        from += n;
    }
    return g_string_free(text, false);
}

/* A trace event's name stands before what it says */
static const char *vv_line_text(const char *line)
{
    const char *space = g_str_has_prefix(line, "video_") ? strchr(line, ' ') :
                                                           NULL;

    return space ? space + 1 : line;
}

/*
 * The lines of @text that begin with @prefix, in one; NULL: none do.  Of many,
 * the first, which tells the cause of the others, and the last ones.
 */
static char *vv_some_lines(const char *text, const char *prefix)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GPtrArray) found = g_ptr_array_new();
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; lines[i]; i++) {
        const char *line = vv_line_text(lines[i]);

        if (line[0] && g_str_has_prefix(line, prefix)) {
            g_ptr_array_add(found, (char *)line);
        }
    }
    for (unsigned i = 0; i < found->len; i++) {
        if (i == VV_LOG_ENDS && found->len > 2 * VV_LOG_ENDS) {
            g_string_append(out, "; ...");
            i = found->len - VV_LOG_ENDS;
        }
        g_string_append_printf(out, "%s%s", out->len ? "; " : "",
                               (char *)found->pdata[i]);
    }
    return g_string_free(out, !out->len);
}

/*
 * libqtest can only abort() when QEMU is gone, and so do the driver's checks;
 * here is the handler.  QEMU's own words are on its stderr; those of a crash
 * are what the shell would say.
 */
static void vv_guest_died(void *opaque)
{
    VVGuest *g = opaque;
    pid_t pid = qtest_pid(g->qts);
    g_autofree char *text = vv_read_fd(g->stderr_fd, 0);
    g_autofree char *log = vv_read_fd(g->log_fd, 0);
    g_autofree char *logged = vv_some_lines(log, "");
    int status = 0;

    /* -1: libqtest has seen and reported its end */
    if (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
        error_report("a check of the driver failed, see above");
    } else {
        error_report("QEMU ended unexpectedly");
    }
    if (WIFSIGNALED(status)) {
        error_printf("signal: %s\n", strsignal(WTERMSIG(status)));
    }
    if (*text) {
        error_printf("QEMU said:\n%s", text);
    }
    if (logged) {
        error_printf("QEMU logged: %s\n", logged);
    }
    fflush(NULL);
    if (pid > 0) {
        kill(pid, SIGKILL);
    }
    _exit(EXIT_FAILURE);
}

static void vv_sigchld(int sig)
{
    siginfo_t info = { 0 };
    pid_t pid = vv_guest && vv_guest->qts ? qtest_pid(vv_guest->qts) : -1;

    if (pid > 0 && waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) ==
        0 && info.si_pid) {
        vv_guest_died(vv_guest);
    }
}

char *vv_guest_stderr(VVGuest *g)
{
    g_autofree char *text = vv_read_fd(g->stderr_fd, 0);

    return vv_some_lines(text, "");
}

char *vv_guest_log(VVGuest *g, const char *prefix)
{
    g_autofree char *text = vv_read_fd(g->log_fd, g->log_seen);
    char *lines = prefix ? vv_some_lines(text, prefix) : NULL;

    g->log_seen += strlen(text);
    return lines ?: vv_some_lines(text, "");
}

/*
 * Start
 */

static const VVMachine *vv_find_machine(const char *name, Error **errp)
{
    for (int i = 0; i < ARRAY_SIZE(vv_machines); i++) {
        if (!strcmp(vv_machines[i].name, name)) {
            return &vv_machines[i];
        }
    }
    error_setg(errp, "there is no machine '%s': it is pc, q35, microvm or "
               "virt", name);
    return NULL;
}

static const VVMachine *vv_choose(const VVGuestConfig *config, VVGuest *g,
                                  Error **errp)
{
    const char *transport = config->transport;
    const char *name = config->machine;
    const VVMachine *m;

    if (transport && strcmp(transport, "pci") && strcmp(transport, "mmio")) {
        error_setg(errp, "there is no transport '%s': it is pci or mmio",
                   transport);
        return NULL;
    }
    if (!name) {
        name = transport && !strcmp(transport, "mmio") ? "microvm" : "pc";
    }
    m = vv_find_machine(name, errp);
    if (!m) {
        return NULL;
    }
    transport = transport ?: m->pci ? "pci" : "mmio";
    if (!strcmp(transport, "pci") ? !m->pci : !m->mmio_count) {
        error_setg(errp, "machine %s has no %s", m->name,
                   strcmp(transport, "pci") ? "virtio-mmio" : "PCI");
        return NULL;
    }
    g->machine = m->name;
    g->transport = strcmp(transport, "pci") ? "mmio" : "pci";
    return m;
}

/* QTEST_QEMU_BINARY, or its neighbour of another arch, or the build's */
static char *vv_find_qemu(const VVMachine *m, Error **errp)
{
    const char *env = getenv("QTEST_QEMU_BINARY");
    g_autofree char *name = g_strdup_printf("qemu-system-%s", m->arch);
    g_autofree char *base = env ? g_path_get_basename(env) : NULL;
    g_autofree char *dir = env ? g_path_get_dirname(env) :
                                 g_strdup(VV_QEMU_BUILD);
    g_autofree char *path = NULL;

    if (base && g_str_has_suffix(base, m->arch)) {
        path = g_strdup(env);
    } else {
        path = g_build_filename(dir, name, NULL);
    }
    if (access(path, X_OK) < 0) {
        error_setg_errno(errp, errno, "cannot run QEMU, %s", path);
        error_append_hint(errp, "Build it with scripts/setup, or name another "
                          "one in QTEST_QEMU_BINARY.\n");
        return NULL;
    }
    return g_steal_pointer(&path);
}

/* What the driver asks for */
static bool vv_parse_ring(const char *text, QVVOptions *opts, Error **errp)
{
    static const struct {
        const char *name;
        uint64_t feature;
    } kinds[] = {
        { "packed", 1ull << VIRTIO_F_RING_PACKED },
        { "indirect", 1ull << VIRTIO_RING_F_INDIRECT_DESC },
        { "event-idx", 1ull << VIRTIO_RING_F_EVENT_IDX },
        { "in-order", 1ull << VIRTIO_F_IN_ORDER },
    };
    g_auto(GStrv) names = g_strsplit(text ?: "", ",", -1);

    for (int i = 0; names[i]; i++) {
        int k = 0;

        while (k < ARRAY_SIZE(kinds) && strcmp(kinds[k].name, names[i])) {
            k++;
        }
        if (k == ARRAY_SIZE(kinds)) {
            error_setg(errp, "there are no virtqueues '%s': they are packed, "
                       "indirect, event-idx or in-order", names[i]);
            return false;
        }
        opts->more_features |= kinds[k].feature;
        opts->indirect |= !strcmp(names[i], "indirect");
    }
    return true;
}

static char *vv_arguments(const VVGuest *g, const VVMachine *m,
                          const VVGuestConfig *config)
{
    GString *args = g_string_new(m->options);
    g_autofree char *ram = qvv_ram_file_args(g->ram);
    bool pci = !strcmp(g->transport, "pci");

    g_string_append_printf(args, " -nodefaults%s -d guest_errors"
                           " -trace video_stream_failed"
                           " -trace 'video_stream_bad_*'"
                           " -trace video_codec_lost"
                           " -D /proc/self/fd/%d", ram, g->log_fd);
    if (config->codec) {
        g_autofree char *object = g_strdup_printf("%s,id=codec0",
                                                  config->codec);
        g_autofree char *quoted = g_shell_quote(object);

        g_string_append_printf(args, " -object %s", quoted);
    }
    if (!pci) {
        g_string_append(args, " -global virtio-mmio.force-legacy=false");
    }
    g_string_append_printf(args, " -device virtio-%s-%s,x-av1=on"
                           ",max-streams=%u", config->protocol == VV_MEDIA ?
                           "media" : "video", pci ? "pci" : "device",
                           config->max_streams);
    if (config->protocol == VV_MEDIA) {
        g_string_append_printf(args, ",hostmem=%s,role=%s", config->mmap ?
                               VV_HOSTMEM : "0", config->encoder ?
                               "encoder" : "decoder");
    } else if (config->protocol == VV_V4L2_UAPI) {
        g_string_append(args, ",x-v4l2-uapi=on");
    }
    if (config->ring) {
        g_string_append(args, ",packed=on,in_order=on");
    }
    /* virtio-media has them anyway */
    if (config->x_controls && config->protocol != VV_MEDIA) {
        g_string_append(args, ",x-controls=on");
    }
    if (pci) {
        g_string_append_printf(args, ",addr=%02x.0", VV_PCI_SLOT);
    }
    if (config->codec) {
        g_string_append(args, ",codec=codec0");
    }
    g_string_append_printf(args, " </dev/null 2>/proc/self/fd/%d",
                           g->stderr_fd);
    return g_string_free(args, false);
}

static void vv_watch(bool on)
{
    struct sigaction act = { .sa_handler = on ? vv_sigchld : SIG_DFL };

    sigaction(SIGCHLD, &act, NULL);
}

static void vv_connect(VVGuest *g, const char *binary, const char *args)
{
    setenv("QTEST_QEMU_BINARY", binary, 1);
    g->qts = qtest_init_with_env_and_capabilities(NULL, args, NULL, false);
    vv_guest = g;
    qtest_add_abrt_handler(vv_guest_died, g);
    vv_watch(true);
    /* It may be dead already, and accept() would wait for long */
    vv_sigchld(SIGCHLD);
    qtest_connect(g->qts);
    qtest_qmp_handshake(g->qts, NULL);
}

static void vv_find_pci(VVGuest *g, const VVMachine *m)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(VV_PCI_SLOT, 0) };
    QPCIBus *bus;

    if (!strcmp(m->arch, "x86_64")) {
        bus = g->bus->pc_bus = qpci_new_pc(g->qts, &g->alloc);
    } else {
        qos_create_generic_pcihost(&g->bus->gpex, g->qts, &g->alloc);
        bus = &g->bus->gpex.pci.bus;
    }
    g->bus->pci = virtio_pci_new(bus, &addr);
    if (g->bus->pci) {
        qvirtio_pci_device_enable(g->bus->pci);
        g->video.vdev = &g->bus->pci->vdev;
        g->video.pci = g->bus->pci;
    }
}

static uint16_t vv_device_id(const VVGuest *g)
{
    return g->protocol == VV_MEDIA ? VIRTIO_MEDIA_DEVICE_ID :
                                     VIRTIO_VIDEO_DEVICE_ID;
}

/* QEMU plugs the first device into the last transport */
static void vv_find_mmio(VVGuest *g, const VVMachine *m)
{
    for (int i = m->mmio_count - 1; i >= 0; i--) {
        uint64_t addr = m->mmio_base + i * m->mmio_size;

        if (qtest_readl(g->qts, addr + QVIRTIO_MMIO_DEVICE_ID) ==
            vv_device_id(g)) {
            qvirtio_mmio_init_device(&g->bus->mmio, g->qts, addr,
                                     QVV_PAGE_SIZE);
            g->video.vdev = &g->bus->mmio.vdev;
            return;
        }
    }
}

/* Those of virtio-video: one that speaks V4L2 is a decoder or an encoder */
static uint64_t vv_features(const VVGuestConfig *config)
{
    if (config->protocol != VV_V4L2_UAPI) {
        return 0;
    }
    return 1ull << VIRTIO_VIDEO_F_V4L2_UAPI |
           1ull << VIRTIO_VIDEO_F_RESOURCE_GUEST_PAGES |
           1ull << VIRTIO_VIDEO_F_RESOURCE_NON_CONTIG |
           1ull << (config->encoder ? VIRTIO_VIDEO_F_ENCODER :
                                      VIRTIO_VIDEO_F_DECODER);
}

static bool vv_check_mmap(const VVGuest *g, Error **errp)
{
    uint64_t size;

    if (g->mmap && (g->protocol != VV_MEDIA ||
                    !qvm_region(g->driver->video, &size))) {
        error_setg(errp, "only virtio-media on PCI has MMAP buffers");
        return false;
    }
    return true;
}

static bool vv_bring_up(VVGuest *g, const VVMachine *m,
                        const VVGuestConfig *config, const QVVOptions *opts,
                        Error **errp)
{
    g_autofree char *why = NULL;

    g->bus = g_new0(struct VVTransport, 1);
    if (!strcmp(g->transport, "pci")) {
        vv_find_pci(g, m);
    } else {
        vv_find_mmio(g, m);
    }
    if (!g->video.vdev || g->video.vdev->device_type != vv_device_id(g)) {
        error_setg(errp, "machine %s does not show the device", m->name);
        return false;
    }
    g->driver = qvv_new(&g->video, &g->alloc, g->qts);
    qvv_use_ram_file(g->driver, g->ram, m->ram_base);
    if (!qvv_start(g->driver, opts)) {
        error_setg(errp, "the device refused the features");
        return false;
    }
    if (opts->more_features & ~g->driver->features) {
        error_setg(errp, "the device has no such virtqueues");
        return false;
    }
    if (!vv_check_mmap(g, errp)) {
        return false;
    }
    if (vv_guest_is_media(g)) {
        g->max_streams = config->max_streams;
        g->caps = vv_media_query_caps(g->driver, config->encoder, &why);
    } else {
        g->max_streams = g->driver->max_streams;
        g->caps = qvv_query_caps(g->driver, &why);
    }
    if (!g->caps) {
        error_setg(errp, "the device's capabilities are wrong: %s", why);
        return false;
    }
    return true;
}

VVGuest *vv_guest_start(const VVGuestConfig *config, Error **errp)
{
    g_autoptr(VVGuest) g = g_new0(VVGuest, 1);
    const VVMachine *m = vv_choose(config, g, errp);
    g_autofree char *binary = m ? vv_find_qemu(m, errp) : NULL;
    g_autofree char *args = NULL;
    QVVOptions opts = { .features = vv_features(config) };

    g->log_fd = g->stderr_fd = -1;
    g->streams = qlist_new();
    g->protocol = config->protocol;
    g->mmap = config->mmap;
    if (!binary || !vv_parse_ring(config->ring, &opts, errp)) {
        return NULL;
    }
    g->log_fd = memfd_create("qemu-log", 0);
    g->stderr_fd = memfd_create("qemu-stderr", 0);
    g->ram = qvv_ram_file_new(VV_RAM_SIZE, !config->unsealed);
    if (g->log_fd < 0 || g->stderr_fd < 0 || !g->ram) {
        error_setg_errno(errp, errno, "cannot make the guest's memory");
        return NULL;
    }
    alloc_init(&g->alloc, ALLOC_NO_FLAGS, m->ram_base + VV_RAM_KEEP_OFF,
               m->ram_base + VV_RAM_SIZE - VV_RAM_KEEP_OFF, QVV_PAGE_SIZE);
    g->ram_free = VV_RAM_SIZE - 3 * VV_RAM_KEEP_OFF;

    args = vv_arguments(g, m, config);
    vv_connect(g, binary, args);
    return vv_bring_up(g, m, config, &opts, errp) ? g_steal_pointer(&g) : NULL;
}

static void vv_free_bus(struct VVTransport *bus)
{
    if (bus) {
        if (bus->pci) {
            qvirtio_pci_device_disable(bus->pci);
            g_free(bus->pci->pdev);
            g_free(bus->pci);
        }
        if (bus->pc_bus) {
            qpci_free_pc(bus->pc_bus);
        }
        g_free(bus);
    }
}

void vv_guest_stop(VVGuest *g)
{
    if (!g) {
        return;
    }
    if (g->driver) {
        qvv_free(g->driver);
    }
    qvv_caps_free(g->caps);
    vv_free_bus(g->bus);
    if (g->qts) {
        /* From here on its end is what we want */
        vv_watch(false);
        vv_guest = NULL;
        qtest_quit(g->qts);
        qtest_remove_abrt_handler(g);
        alloc_destroy(&g->alloc);
    }
    qvv_ram_file_free(g->ram);
    qobject_unref(g->device);
    qobject_unref(g->streams);
    if (g->log_fd >= 0) {
        close(g->log_fd);
    }
    if (g->stderr_fd >= 0) {
        close(g->stderr_fd);
    }
    g_free(g);
}

/*
 * What QEMU says of the device
 */

void vv_guest_note_stream(VVGuest *g, unsigned id)
{
    g_autoptr(QDict) resp = qtest_qmp(g->qts,
                                      "{ 'execute': 'query-virtio-video' }");
    QList *devices = qdict_get_qlist(resp, "return");
    QDict *device = devices ? qobject_to(QDict, qlist_peek(devices)) : NULL;
    const QListEntry *e;

    if (!device) {
        return;
    }
    QLIST_FOREACH_ENTRY(qdict_get_qlist(device, "streams"), e) {
        QDict *stream = qobject_to(QDict, qlist_entry_obj(e));

        if (qdict_get_int(stream, "id") == id) {
            qlist_append(g->streams, qobject_ref(stream));
        }
    }
    qobject_unref(g->device);
    g->device = qobject_ref(device);
}

char *vv_guest_text(const VVGuest *g)
{
    static const char *const names[] = {
        [VV_V10] = "virtio-video",
        [VV_MEDIA] = "virtio-media",
        [VV_V4L2_UAPI] = "virtio-video (V4L2)",
    };

    return g_strdup_printf("%s on %s (%s)", names[g->protocol], g->machine,
                           g->transport);
}

void vv_guest_json(const VVGuest *g, QDict *dict)
{
    qdict_put_str(dict, "machine", g->machine);
    qdict_put_str(dict, "transport", g->transport);
    qdict_put_str(dict, "protocol", vv_protocol_name(g->protocol));
    if (vv_guest_is_media(g)) {
        qdict_put_str(dict, "memory", g->mmap ? "mmap" : "userptr");
    }
    if (g->device) {
        qdict_put(g->device, "streams", qobject_ref(g->streams));
        qdict_put(dict, "device", qobject_ref(g->device));
    }
}

/*
 * Usage
 */

/* The first number of schedstat: nanoseconds on a CPU */
static uint64_t vv_schedstat(const char *path)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        return 0;
    }
    return g_ascii_strtoull(text, NULL, 10);
}

static uint64_t vv_all_threads_ns(const char *tasks)
{
    GDir *dir = g_dir_open(tasks, 0, NULL);
    const char *tid;
    uint64_t ns = 0;

    while (dir && (tid = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(tasks, tid, "schedstat",
                                                 NULL);

        ns += vv_schedstat(path);
    }
    if (dir) {
        g_dir_close(dir);
    }
    return ns;
}

static uint64_t vv_status_kib(const char *status, const char *name)
{
    const char *line = strstr(status, name);

    return line ? g_ascii_strtoull(line + strlen(name), NULL, 10) : 0;
}

VVUsage vv_guest_usage(VVGuest *g)
{
    pid_t pid = qtest_pid(g->qts);
    g_autofree char *tasks = g_strdup_printf("/proc/%d/task", (int)pid);
    g_autofree char *main_thread = g_strdup_printf("%s/%d/schedstat", tasks,
                                                   (int)pid);
    g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)pid);
    g_autofree char *status = NULL;
    VVUsage usage = {
        .main_thread_ns = vv_schedstat(main_thread),
        .all_threads_ns = vv_all_threads_ns(tasks),
    };

    if (g_file_get_contents(path, &status, NULL, NULL)) {
        usage.rss_kib = vv_status_kib(status, "RssAnon:");
    }
    return usage;
}
