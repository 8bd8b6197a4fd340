#!/usr/bin/python3
# The device's threads: what ThreadSanitizer should see of real codecs, for
# scripts/check --tsan.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import os

from common import TMP, VVCLIENT, Tap, ffmpeg, run

# Name, encoder and its options
CLIPS = [
    ('h264', ['-c:v', 'libx264', '-bf', '3']),
    ('hevc', ['-c:v', 'libx265', '-x265-params', 'log-level=none']),
    ('vp8', ['-c:v', 'libvpx', '-auto-alt-ref', '1', '-lag-in-frames', '8']),
    ('vp9', ['-c:v', 'libvpx-vp9', '-cpu-used', '8']),
    ('av1', ['-c:v', 'libsvtav1', '-preset', '12']),
    ('mpeg4', ['-c:v', 'mpeg4', '-bf', '2']),
]
ENCODERS = ('h264', 'hevc', 'vp8', 'vp9', 'mpeg2', 'mpeg4')


def threads(n):
    return ['--codec', f'video-codec-libav,threads={n}']


def make(name, options):
    """Returns: the path of a clip, None if it can't be made here."""
    path = os.path.join(TMP, name)
    result = ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=192x112:rate=25',
                    '-frames:v', '20', '-pix_fmt', 'yuv420p', *options, path)
    return path if result.returncode == 0 else None


def vvclient(*args):
    result = run(VVCLIENT, *args)
    return result.stderr or 'failed' if result.returncode else None


def decode(path, options):
    want = run(VVCLIENT, 'native', path, '--md5').stdout
    result = run(VVCLIENT, 'decode', path, '--md5', *options)
    if result.returncode:
        return result.stderr or 'failed'
    return None if result.stdout == want else 'the frames are wrong'


def cases(clips, raw):
    for name, path in clips.items():
        yield f'decode {name}', decode, path, threads(1)
        yield f'decode {name} with threads', decode, path, threads(3)
    yield 'decode 16 streams', decode, clips['h264'], ['--streams', '16']
    for codec in ENCODERS:
        yield f'encode {codec}', vvclient, 'encode', raw, '-c', codec
    yield 'encode with threads', vvclient, 'encode', raw, '-c', 'h264', \
        *threads(3)
    yield 'encode 16 streams', vvclient, 'encode', raw, '-c', 'mpeg4', \
        '--streams', '16'
    yield 'transcode', vvclient, 'transcode', clips['h264'], \
        os.path.join(TMP, 'out.mkv'), '-c', 'vp8'


def main():
    tap = Tap()
    clips = {}
    for name, options in CLIPS:
        path = make(f'{name}.mkv', options)
        if path:
            clips[name] = path
        else:
            tap.skip(f'decode {name}', 'this ffmpeg cannot make such a clip')
    if 'h264' not in clips:
        tap.skip('all others', 'there is no ffmpeg with libx264')
        tap.exit()
    tap.run_all(cases(clips, make('raw.y4m', [])))
    tap.exit()


main()
