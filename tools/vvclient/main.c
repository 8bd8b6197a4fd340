/*
 * vvclient: use virtio-video from the shell, without a guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qobject/qjson.h"
#include "qobject/qnum.h"
#include "talk.h"
#include "vvclient.h"

#include <libavutil/log.h>

static VVArgs args = {
    .streams = 1, .threads = 1, .limit = -1, .rounds = 3, .after = 1,
};

static GOptionEntry guest_options[] = {
    { "transport", 0, 0, G_OPTION_ARG_STRING, &args.transport,
      "how the device is attached: pci or mmio", "pci|mmio" },
    { "machine", 0, 0, G_OPTION_ARG_STRING, &args.machine,
      "pc, q35, microvm (mmio), or virt, which is aarch64", "MACHINE" },
    { "codec", 0, 0, G_OPTION_ARG_STRING, &args.codec,
      "codec object, such as video-codec-libav,threads=2", "TYPE[,PROP=...]" },
    { "ring", 0, 0, G_OPTION_ARG_STRING, &args.ring,
      "what virtqueues are: packed, indirect, event-idx, in-order",
      "KIND[,KIND...]" },
    { "unsealed", 0, 0, G_OPTION_ARG_NONE, &args.unsealed,
      "guest RAM that /dev/udmabuf does not take", NULL },
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
    { "memory", 0, 0, G_OPTION_ARG_STRING, &args.memory,
      "with V4L2, whose memory buffers are in: the guest's, or with media on "
      "PCI the device's; userptr", "userptr|mmap" },
    { "in-turn", 0, 0, G_OPTION_ARG_NONE, &args.in_turn,
      "each packet waits for the frame of the one before", NULL },
    { "again", 0, 0, G_OPTION_ARG_STRING, &args.again,
      "when all is drained, do it a second time; seek: after a QUEUE_RESET",
      "drain|seek" },
    { NULL }
};

/* Of commands that know all protocols */
static GOptionEntry protocol_options[] = {
    { "protocol", 0, 0, G_OPTION_ARG_STRING, &args.protocol,
      "what is spoken with the device: draft v10, virtio-media, or V4L2's way "
      "with virtio-video", "v10|media|v4l2-uapi" },
    { NULL }
};

/* What `encode` and `transcode` have in common */
static GOptionEntry encoder_options[] = {
    { "codec-format", 'c', 0, G_OPTION_ARG_STRING, &args.coded,
      "what to encode to", "h264|hevc|vp8|vp9|mpeg2|mpeg4" },
    { "bitrate", 'b', 0, G_OPTION_ARG_STRING, &args.bitrate,
      "bits per second of the video, such as 800k or 2M", "RATE" },
    { "profile", 0, 0, G_OPTION_ARG_STRING, &args.profile,
      "such as main or high; vp8 and vp9: 0 to 3", "PROFILE" },
    { "level", 0, 0, G_OPTION_ARG_STRING, &args.level,
      "such as 4.1; mpeg2: low, main, high-1440 or high", "LEVEL" },
    { "bitrate-mode", 0, 0, G_OPTION_ARG_STRING, &args.bitrate_mode,
      "constant bitrate or peaks", "vbr|cbr" },
    { "gop", 0, 0, G_OPTION_ARG_STRING, &args.gop,
      "frames from one key frame to the next", "N" },
    { "b-frames", 0, 0, G_OPTION_ARG_STRING, &args.b_frames,
      "B frames between two others", "N" },
    { "min-qp", 0, 0, G_OPTION_ARG_STRING, &args.min_qp,
      "lowest quantizer, in the coded format's units", "N" },
    { "max-qp", 0, 0, G_OPTION_ARG_STRING, &args.max_qp,
      "highest quantizer", "N" },
    { "no-prepend-headers", 0, 0, G_OPTION_ARG_NONE, &args.no_prepend,
      "headers only before the first key frame", NULL },
    { "force-key", 0, 0, G_OPTION_ARG_STRING, &args.force_key,
      "make these frames key frames, from 0", "FRAME[,FRAME...]" },
    { "set", 0, 0, G_OPTION_ARG_STRING_ARRAY, &args.set,
      "change a control at a frame; may be there several times",
      "FRAME:CONTROL=VALUE" },
    { "scatter", 0, 0, G_OPTION_ARG_NONE, &args.scatter,
      "back every resource with single, shuffled pages", NULL },
    { "verbose", 'v', 0, G_OPTION_ARG_NONE, &args.verbose,
      "say what the device took instead of what was asked for", NULL },
    { NULL }
};

static GOptionEntry encode_options[] = {
    { "raw", 0, 0, G_OPTION_ARG_STRING, &args.raw,
      "raw format; without it the one that loses nothing",
      "nv12|yu12|p010|xrgb" },
    { "output", 'o', 0, G_OPTION_ARG_FILENAME, &args.output,
      "write the video there", "OUT" },
    { "compare", 0, 0, G_OPTION_ARG_NONE, &args.compare,
      "encode natively with the same settings, too", NULL },
    { "streams", 0, 0, G_OPTION_ARG_INT, &args.streams,
      "encode the file so many times at once", "N" },
    { "limit", 0, 0, G_OPTION_ARG_INT, &args.limit,
      "only the first N frames", "N" },
    { "memory", 0, 0, G_OPTION_ARG_STRING, &args.memory,
      "with V4L2, whose memory buffers are in: the guest's, or with media on "
      "PCI the device's; userptr", "userptr|mmap" },
    { "in-turn", 0, 0, G_OPTION_ARG_NONE, &args.in_turn,
      "each frame waits for the coded data of the one before", NULL },
    { "drain", 0, 0, G_OPTION_ARG_STRING, &args.drain,
      "with draft v10, drain before these frames, from 0, and go on",
      "FRAME[,FRAME...]" },
    { "raw-buffers", 0, 0, G_OPTION_ARG_INT, &args.raw_buffers,
      "how many buffers frames go round in", "N" },
    { "scribble", 0, 0, G_OPTION_ARG_NONE, &args.scribble,
      "change all frames while they are encoded, as a hostile guest does",
      NULL },
    { NULL }
};

static GOptionEntry transcode_options[] = {
    { "raw", 0, 0, G_OPTION_ARG_STRING, &args.raw,
      "raw format between the streams", "nv12|yu12|p010|xrgb" },
    { "copy", 0, 0, G_OPTION_ARG_NONE, &args.copy,
      "copy frames, also where both streams could share them", NULL },
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

static GOptionEntry reset_options[] = {
    { "after", 0, 0, G_OPTION_ARG_INT, &args.after,
      "frames that come before; 1", "N" },
    { NULL }
};

typedef struct VVCommandInfo {
    const char *name;
    const char *parameter;      /* "FILE", "IN OUT", "A B...", or NULL */
    const char *summary;
    const char *description;
    GOptionEntry *options;
    bool guest;                 /* takes guest_options, too */
    int (*run)(const VVArgs *args);
    bool encoder;               /* takes encoder_options, too */
    bool protocol;              /* ... and protocol_options */
} VVCommandInfo;

static const VVCommandInfo commands[] = {
    { "caps", NULL,
      "Prints what the device can do: what it decodes and encodes, and to or "
      "from which raw formats. AV1 is there because vvclient sets x-av1=on, "
      "and some controls because it sets x-controls=on.",
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
      "--in-turn shows whether the codec keeps frames: then nothing comes any\n"
      "more, and after a minute vvclient gives up.\n"
      "\n"
      "Examples:\n"
      "  vvclient decode clip.mp4 -o clip.y4m\n"
      "  vvclient decode clip.mp4 --md5 --transport mmio --scatter\n"
      "  vvclient decode clip.mp4 --codec video-codec-libav,threads=4",
      decode_options, true, vv_cmd_decode, false, true },
    { "encode", "FILE",
      "Encodes the video of FILE, a .y4m or anything that libavcodec decodes, "
      "through the device.",
      "Exit status: 0 if every frame was encoded without error, 1 if not\n"
      "(messages say which and why), 2 if the command line makes no sense.\n"
      "\n"
      "The name of OUT says what is written: a container (.mp4, .mkv, .webm,\n"
      ".ivf) or the coded frames as they are (.h264, .hevc, .m2v, .m4v).\n"
      "\n"
      "What was encoded is decoded natively and compared with the source: the\n"
      "PSNR is that of the mean error of all frames, at the depth that was\n"
      "encoded. With --compare the same is done with what libavcodec makes\n"
      "natively with the same settings. Settings that change with --set and\n"
      "--force-key are the device's only.\n"
      "\n"
      "The draft has no frame rate: the device takes 30 frames for a second.\n"
      "RATE is scaled for that. With V4L2 the device is told the frame rate.\n"
      "\n"
      "--set changes controls in the input queue, so that they take effect\n"
      "at exactly that frame; with V4L2, which has no such queue, the frame\n"
      "waits until the device has taken those before it. Controls are\n"
      "bitrate, profile, level, bitrate-mode, gop, b-frames, force-key,\n"
      "min-qp, max-qp, prepend-headers. All but the first three are not in\n"
      "the draft; vvclient sets x-controls=on for them.\n"
      "\n"
      "Examples:\n"
      "  vvclient encode clip.y4m -c h264 -b 2M -o clip.mp4\n"
      "  vvclient encode clip.mp4 -c vp9 -b 800k --compare\n"
      "  vvclient encode clip.mp4 -c hevc --raw p010 --gop 30 -o clip.hevc\n"
      "  vvclient encode clip.mp4 -c h264 --set 100:bitrate=300k "
      "--force-key 50\n"
      "  vvclient encode clip.mp4 -c h264 --protocol media --memory mmap",
      encode_options, true, vv_cmd_encode, true, true },
    { "transcode", "IN OUT",
      "Decodes the video of IN and encodes it to OUT, with two streams of one "
      "device at once.",
      "Frames go from the decoder's output buffers into the encoder without a\n"
      "copy: the same guest memory is attached to both. Where the size of the\n"
      "frames changes, another file is begun: OUT, then OUT-2 and so on. For\n"
      "the options see 'vvclient encode --help'. There is no --protocol: a\n"
      "device that speaks V4L2 decodes or encodes, so it would take two.\n"
      "\n"
      "Example:\n"
      "  vvclient transcode clip.mp4 clip.webm -c vp9 -b 1M",
      transcode_options, true, vv_cmd_transcode, true },
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
      bench_options, true, vv_cmd_bench, false, true },
    { "survive", "GOOD BAD...",
      "Decodes each BAD file and then GOOD, all in one QEMU.",
      "GOOD, of 8 bits, must give the same frames every time. Prints TAP.",
      survive_options, true, vv_cmd_survive },
    { "reset", "FILE",
      "Resets the device in the midst of decoding FILE.",
      "Fails if the device writes to a frame after that, or has a stream left.",
      reset_options, true, vv_cmd_reset },
};

static const char vv_help[] =
"NAME\n"
"  vvclient - use QEMU's virtio-video device from the shell, without a guest\n"
"\n"
"SYNOPSIS\n"
"  vvclient caps   [--json] [GUEST OPTIONS]\n"
"  vvclient decode FILE [--raw nv12|yu12|p010|xrgb] [-o OUT.y4m] [--md5]\n"
"                  [--scatter] [--streams N] [--limit N] [--in-turn]\n"
"                  [--again drain|seek]\n"
"                  [--protocol v10|media|v4l2-uapi] [--memory userptr|mmap]\n"
"                  [--json] [GUEST OPTIONS]\n"
"  vvclient encode FILE -c h264|hevc|vp8|vp9|mpeg2|mpeg4 [-o OUT] [-b RATE]\n"
"                  [--raw nv12|yu12|p010|xrgb] [--profile P] [--level L]\n"
"                  [--bitrate-mode vbr|cbr] [--gop N] [--b-frames N]\n"
"                  [--min-qp N] [--max-qp N] [--no-prepend-headers]\n"
"                  [--force-key FRAME,...] [--set FRAME:CONTROL=VALUE]...\n"
"                  [--compare] [--scatter] [--streams N] [--limit N]\n"
"                  [--protocol v10|media|v4l2-uapi] [--memory userptr|mmap]\n"
"                  [--in-turn] [--drain FRAME,...] [--raw-buffers N]\n"
"                  [--scribble] [--verbose] [--json] [GUEST OPTIONS]\n"
"  vvclient transcode IN OUT -c CODEC [--copy] [options as with encode]\n"
"  vvclient native FILE [-o OUT.y4m] [--md5] [--threads N] [--json]\n"
"  vvclient bench  FILE [--limit N] [--rounds N]\n"
"                  [--protocol v10|media|v4l2-uapi] [--json] [GUEST OPTIONS]\n"
"  vvclient survive GOOD BAD... [--cuts N] [--seed N] [GUEST OPTIONS]\n"
"  vvclient reset  FILE [--after N] [GUEST OPTIONS]\n"
"\n"
"DESCRIPTION\n"
"  Starts a QEMU whose machine has a virtio-video device and no guest, and\n"
"  drives the device as a guest's driver does. The video of FILE, in any\n"
"  container that libavformat knows, is decoded by the device; frames come\n"
"  back through memory that vvclient shares with QEMU. Frames that are to be\n"
"  encoded go the other way.\n"
"\n"
"GUEST OPTIONS\n"
"  --transport pci|mmio   how the device is attached; pci\n"
"  --machine MACHINE      pc, q35, microvm (mmio), or virt, which is\n"
"                         aarch64; pc for pci, microvm for mmio\n"
"  --codec TYPE[,PROP=VALUE...]\n"
"                         codec object; without it the device's default\n"
"  --ring KIND[,KIND...]  virtqueues with packed, indirect, event-idx or\n"
"                         in-order; without it split ones\n"
"  --unsealed             guest RAM that /dev/udmabuf does not take\n"
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

static void vv_check_protocol(void)
{
    VVProtocol protocol = VV_V10;

    if (args.protocol && !vv_protocol_find(args.protocol, &protocol)) {
        error_report("--protocol must be v10, media or v4l2-uapi");
        vv_usage_error();
    }
    if (args.memory && strcmp(args.memory, "userptr") &&
        strcmp(args.memory, "mmap")) {
        error_report("--memory must be userptr or mmap");
        vv_usage_error();
    }
    if (args.memory && protocol == VV_V10) {
        error_report("--memory is for --protocol media and v4l2-uapi");
        vv_usage_error();
    }
    if (args.drain && protocol != VV_V10) {
        error_report("--drain is for --protocol v10");
        vv_usage_error();
    }
    if (args.again && strcmp(args.again, "drain") &&
        strcmp(args.again, "seek")) {
        error_report("--again must be drain or seek");
        vv_usage_error();
    }
    if (args.again && protocol != VV_V10) {
        error_report("--again is for --protocol v10");
        vv_usage_error();
    }
    if (args.scatter && !g_strcmp0(args.memory, "mmap")) {
        error_report("--scatter is for the guest's memory, not for MMAP "
                     "buffers");
        vv_usage_error();
    }
}

static void vv_check_args(const VVCommandInfo *cmd, int argc)
{
    if (cmd->parameter && strchr(cmd->parameter, ' ')) {
        if (argc < 3 || (argc > 3 && !strstr(cmd->parameter, "..."))) {
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
    vv_check_protocol();
    if (args.raw_buffers < 0 || args.raw_buffers > VV_MAX_BUFFERS) {
        error_report("--raw-buffers must be 1 to %d", VV_MAX_BUFFERS);
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
    if (args.after < 1) {
        error_report("--after must be at least 1");
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
    if (cmd->encoder) {
        g_option_context_add_main_entries(context, encoder_options, NULL);
    }
    if (cmd->options) {
        g_option_context_add_main_entries(context, cmd->options, NULL);
    }
    if (cmd->protocol) {
        g_option_context_add_main_entries(context, protocol_options, NULL);
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
