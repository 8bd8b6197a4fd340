#!/usr/bin/python3
# Write a clip's coded frames as v4l2-compliance and v4l2-ctl read them with
# --stream-from-hdr: each behind a magic number and its size, both big endian.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import struct
import subprocess
import sys

MAGIC = b'rdhV'


def packet_sizes(path):
    """The sizes of the packets in an elementary stream, which follow each
    other without a gap."""
    result = subprocess.run(
        ['ffprobe', '-v', 'error', '-show_entries', 'packet=size', '-of',
         'csv=p=0', path], check=True, stdout=subprocess.PIPE, text=True)
    return [int(line.strip(',')) for line in result.stdout.split()]


def main():
    if len(sys.argv) != 3:
        sys.exit('Usage: stream-hdr.py ELEMENTARY-STREAM OUTPUT')
    with open(sys.argv[1], 'rb') as f:
        data = f.read()
    sizes = packet_sizes(sys.argv[1])
    if sum(sizes) != len(data):
        sys.exit(f'{sys.argv[1]}: not an elementary stream')
    start = 0
    with open(sys.argv[2], 'wb') as f:
        for size in sizes:
            f.write(MAGIC + struct.pack('>I', size) + data[start:start + size])
            start += size


if __name__ == '__main__':
    main()
