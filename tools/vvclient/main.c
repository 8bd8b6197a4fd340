/*
 * vvclient: use virtio-video from the shell, without a guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qobject/qjson.h"
#include "qobject/qnum.h"
#include "vvclient.h"

#include <libavutil/log.h>

static VVArgs args = {
    .streams = 1, .threads = 1, .limit = -1, .rounds = 3,
};

static GOptionEntry guest_options[] = {
    { "transport", 0, 0, G_OPTION_ARG_STRING, &args.transport,
      "how the device is attached: pci or mmio", "pci|mmio" },
    { "machine", 0, 0, G_OPTION_ARG_STRING, &args.machine,
      "pc, q35, microvm (mmio), or virt, which is aarch64", "MACHINE" },
    { "codec", 0, 0, G_OPTION_ARG_STRING, &args.codec,
      "codec object, such as video-codec-libav,threads=2", "TYPE[,PROP=...]" },
    { "json", 0, 0, G_OPTION_ARG_NONE, &args.json,
      "print one JSON object on the standard output", NULL },
    { NULL }
};

static GOptionEntry decode_options[] = {
    { "raw", 0, 0, G_OPTION_ARG_STRING, &args.raw,
      "raw format; without it the one that loses nothing",
      "nv12|yu12|p010|xrgb" },
    { "output", 'o', 0, G_OPTION_ARG_FILENAME, &args.output,
      "write the frames there, - is the standard output", "OUT.y4m" },
    { "md5", 0, 0, G_OPTION_ARG_NONE, &args.md5,
      "print the MD5 of all frames as planar YUV", NULL },
    { "scatter", 0, 0, G_OPTION_ARG_NONE, &args.scatter,
      "back every resource with single, shuffled pages", NULL },
    { "streams", 0, 0, G_OPTION_ARG_INT, &args.streams,
      "decode the file so many times at once", "N" },
    { "limit", 0, 0, G_OPTION_ARG_INT, &args.limit,
      "only the first N packets", "N" },
    { NULL }
};

static GOptionEntry native_options[] = {
    { "output", 'o', 0, G_OPTION_ARG_FILENAME, &args.output,
      "write the frames there, - is the standard output", "OUT.y4m" },
    { "md5", 0, 0, G_OPTION_ARG_NONE, &args.md5,
      "print the MD5 of all frames as planar YUV", NULL },
    { "threads", 0, 0, G_OPTION_ARG_INT, &args.threads,
      "threads of libavcodec, 0 is one for each processor; 1", "N" },
    { "limit", 0, 0, G_OPTION_ARG_INT, &args.limit,
      "only the first N packets", "N" },
    { "json", 0, 0, G_OPTION_ARG_NONE, &args.json,
      "print one JSON object on the standard output", NULL },
    { NULL }
};

static GOptionEntry bench_options[] = {
    { "limit", 0, 0, G_OPTION_ARG_INT, &args.limit,
      "only the first N packets; 300, 0 is all", "N" },
    { "rounds", 0, 0, G_OPTION_ARG_INT, &args.rounds,
      "how often everything is measured; 3", "N" },
    { NULL }
};

static GOptionEntry survive_options[] = {
    { "cuts", 0, 0, G_OPTION_ARG_INT, &args.cuts,
      "instead, decode each BAD N times with a packet cut short", "N" },
    { "seed", 0, 0, G_OPTION_ARG_INT, &args.seed,
      "of the random numbers that say where", "N" },
    { NULL }
};

typedef struct VVCommandInfo {
    const char *name;
    const char *parameter;      /* "FILE", more with "...", or NULL */
    const char *summary;
    const char *description;
    GOptionEntry *options;
    bool guest;                 /* takes guest_options, too */
    int (*run)(const VVArgs *args);
} VVCommandInfo;

static const VVCommandInfo commands[] = {
    { "caps", NULL,
      "Prints what the device can do: coded formats, raw formats, and which "
      "goes with which. AV1 is there because vvclient sets x-av1=on.",
      NULL, NULL, true, vv_cmd_caps },
    { "decode", "FILE",
      "Decodes the video of FILE through the device.",
      "Exit status: 0 if every frame came without error, 1 if not (messages\n"
      "say which and why), 2 if the command line makes no sense.\n"
      "\n"
      "--md5 is that of all visible frames in output order, planar YUV at the\n"
      "stream's bit depth, each at its own size: the same as of\n"
      "ffmpeg -i FILE -f rawvideo. It needs a raw format that loses nothing.\n"
      "\n"
      "Examples:\n"
      "  vvclient decode clip.mp4 -o clip.y4m\n"
      "  vvclient decode clip.mp4 --md5 --transport mmio --scatter\n"
      "  vvclient decode clip.mp4 --codec video-codec-libav,threads=4",
      decode_options, true, vv_cmd_decode },
    { "native", "FILE",
      "Decodes the video of FILE with libavcodec in this process, for "
      "comparison.",
      "libavcodec gets the same bytes as a guest's driver would send.",
      native_options, false, vv_cmd_native },
    { "bench", "FILE",
      "Measures what the way through the device costs.",
      "Native decoding in this process and decoding through the device take\n"
      "turns, with the same decoder, the same threads and NV12 frames at the\n"
      "end of both. Each figure is the median of the rounds.\n"
      "\n"
      "  ratio                 device frames/s by native frames/s\n"
      "  ratio_scatter         with scattered pages by with contiguous ones\n"
      "  ratio_streams16       16 streams' frames/s by one stream's\n"
      "  main_thread_percent   of one core, QEMU's main thread, one stream\n"
      "  rss_idle_stream_kib   QEMU's memory for each open, idle stream\n"
      "\n"
      "Run it on an idle machine.",
      bench_options, true, vv_cmd_bench },
    { "survive", "GOOD BAD...",
      "Decodes each BAD file and then GOOD, all in one QEMU.",
      "GOOD, of 8 bits, must give the same frames every time. Prints TAP.",
      survive_options, true, vv_cmd_survive },
};

static const char vv_help[] =
"NAME\n"
"  vvclient - use QEMU's virtio-video device from the shell, without a guest\n"
"\n"
"SYNOPSIS\n"
"  vvclient caps   [--json] [GUEST OPTIONS]\n"
"  vvclient decode FILE [--raw nv12|yu12|p010|xrgb] [-o OUT.y4m] [--md5]\n"
"                  [--scatter] [--streams N] [--json] [GUEST OPTIONS]\n"
"  vvclient native FILE [-o OUT.y4m] [--md5] [--threads N] [--json]\n"
"  vvclient bench  FILE [--limit N] [--rounds N] [--json] [GUEST OPTIONS]\n"
"  vvclient survive GOOD BAD... [--cuts N] [--seed N] [GUEST OPTIONS]\n"
"\n"
"DESCRIPTION\n"
"  Starts a QEMU whose machine has a virtio-video device and no guest, and\n"
"  drives the device as a guest's driver does. The video of FILE, in any\n"
"  container that libavformat knows, is decoded by the device; frames come\n"
"  back through memory that vvclient shares with QEMU.\n"
"\n"
"GUEST OPTIONS\n"
"  --transport pci|mmio   how the device is attached; pci\n"
"  --machine MACHINE      pc, q35, microvm (mmio), or virt, which is\n"
"                         aarch64; pc for pci, microvm for mmio\n"
"  --codec TYPE[,PROP=VALUE...]\n"
"                         codec object; without it the device's default\n"
"\n"
"  'vvclient COMMAND --help' explains the rest.\n"
"\n"
"ENVIRONMENT\n"
"  QTEST_QEMU_BINARY      the QEMU to run; without it that of the build\n"
"  QTEST_LOG, QTEST_TRACE as with QEMU's qtests\n"
"\n"
"EXIT STATUS\n"
"  0 all went well; 1 something did not, messages say what; 2 wrong usage\n";

double vv_fps(uint64_t frames, double seconds)
{
    return seconds > 0 ? frames / seconds : 0;
}

void vv_print_json(QDict *dict)
{
    g_autoptr(GString) json = qobject_to_json_pretty(QOBJECT(dict), true);

    puts(json->str);
    qobject_unref(dict);
}

void vv_put_number(QDict *dict, const char *key, double value, int digits)
{
    double scale = 1;

    while (digits--) {
        scale *= 10;
    }
    value = (int64_t)(value * scale + (value < 0 ? -0.5 : 0.5)) / scale;
    qdict_put(dict, key, qnum_from_double(value));
}

static void vv_usage_error(void)
{
    error_printf("Try 'vvclient --help'.\n");
    exit(2);
}

static void vv_check_args(const VVCommandInfo *cmd, int argc)
{
    if (cmd->parameter && strstr(cmd->parameter, "...")) {
        if (argc < 3) {
            error_report("%s takes %s", cmd->name, cmd->parameter);
            vv_usage_error();
        }
    } else if (argc != (cmd->parameter ? 2 : 1)) {
        error_report(cmd->parameter ? "%s takes one FILE" :
                     "%s takes no arguments", cmd->name);
        vv_usage_error();
    }
    if (args.streams < 1 || args.streams > 256) {
        error_report("--streams must be 1 to 256");
        vv_usage_error();
    }
    if (args.threads < 0) {
        error_report("--threads must not be negative");
        vv_usage_error();
    }
    if (args.cuts < 0) {
        error_report("--cuts must not be negative");
        vv_usage_error();
    }
    if (args.rounds < 1) {
        error_report("--rounds must be at least 1");
        vv_usage_error();
    }
}

static int vv_run_command(const VVCommandInfo *cmd, int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *name = g_strdup_printf("vvclient %s", cmd->name);
    GOptionContext *context = g_option_context_new(cmd->parameter);
    bool ok;

    g_set_prgname(name);
    g_option_context_set_summary(context, cmd->summary);
    if (cmd->description) {
        g_option_context_set_description(context, cmd->description);
    }
    if (cmd->options) {
        g_option_context_add_main_entries(context, cmd->options, NULL);
    }
    if (cmd->guest) {
        g_option_context_add_main_entries(context, guest_options, NULL);
    }
    ok = g_option_context_parse(context, &argc, &argv, &err);
    g_option_context_free(context);
    if (!ok) {
        error_report("%s", err->message);
        vv_usage_error();
    }
    vv_check_args(cmd, argc);
    args.file = argc > 1 ? argv[1] : NULL;
    args.more = argc > 2 ? argv + 2 : NULL;
    return cmd->run(&args);
}

/* In GLib's place: libqtest announces what it starts, as a test would */
void g_test_message(const char *format, ...)
{
}

int main(int argc, char **argv)
{
    error_init("vvclient");
    av_log_set_level(AV_LOG_QUIET);
    signal(SIGPIPE, SIG_IGN);

    if (argc < 2) {
        fputs(vv_help, stderr);
        return 2;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
        !strcmp(argv[1], "help")) {
        fputs(vv_help, stdout);
        return 0;
    }
    for (int i = 0; i < ARRAY_SIZE(commands); i++) {
        if (!strcmp(argv[1], commands[i].name)) {
            return vv_run_command(&commands[i], argc - 1, argv + 1);
        }
    }
    error_report("there is no command '%s'", argv[1]);
    vv_usage_error();
}
