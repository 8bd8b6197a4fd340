/*
 * What a fuzz target is to libFuzzer, and to replay.c
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

/* Run one input. Returns: 0; what is wrong ends the process */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
