/*
 * Runs a fuzz target on files, with any compiler
 *
 * Each argument is a file, or a folder of which all files are taken; a line of
 * TAP for each.  What libFuzzer's own main() does for the fuzzer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "fuzz.h"

static unsigned n_run;

static void replay_file(const char *path)
{
    g_autofree char *name = g_path_get_basename(path);
    g_autofree char *data = NULL;
    size_t size;

    if (!g_file_get_contents(path, &data, &size, NULL)) {
        printf("not ok %u %s: %s\n", ++n_run, name, strerror(errno));
        exit(1);
    }
    LLVMFuzzerTestOneInput((const uint8_t *)data, size);
    printf("ok %u %s\n", ++n_run, name);
    /* The next one may be the last */
    fflush(stdout);
}

static void replay_path(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    if (!dir) {
        replay_file(path);
        return;
    }
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        replay_file(file);
    }
    g_dir_close(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        replay_path(argv[i]);
    }
    printf("1..%u\n", n_run);
    return 0;
}
