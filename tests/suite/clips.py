#!/usr/bin/python3
# Clips that ffmpeg makes here: each codec, raw format, machine and option.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import json
import os

from common import (MODES, SANITIZE, TMP, VVCLIENT, Tap, ffmpeg, new_file, run,
                    stream_problem)

# Name, encoder and its options, container
CLIPS = [
    ('h264', 'mp4', ['-c:v', 'libx264', '-bf', '3']),
    ('h264-interlaced', 'mp4', ['-c:v', 'libx264', '-flags', '+ildct+ilme',
                                '-s', '320x192']),
    ('hevc', 'mp4', ['-c:v', 'libx265', '-x265-params', 'log-level=none']),
    ('hevc-10', 'mp4', ['-c:v', 'libx265', '-pix_fmt', 'yuv420p10le',
                        '-x265-params', 'log-level=none']),
    ('vp8', 'webm', ['-c:v', 'libvpx', '-auto-alt-ref', '1', '-lag-in-frames',
                     '8']),
    ('vp9', 'webm', ['-c:v', 'libvpx-vp9', '-cpu-used', '8']),
    ('vp9-10', 'webm', ['-c:v', 'libvpx-vp9', '-cpu-used', '8', '-pix_fmt',
                        'yuv420p10le', '-profile:v', '2']),
    ('av1', 'mp4', ['-c:v', 'libsvtav1', '-preset', '12']),
    ('av1-10', 'mp4', ['-c:v', 'libsvtav1', '-preset', '12', '-pix_fmt',
                       'yuv420p10le']),
    ('mpeg2', 'mpg', ['-c:v', 'mpeg2video', '-bf', '2']),
    ('mpeg4', 'mp4', ['-c:v', 'mpeg4', '-bf', '2']),
]
# What a stream that is not 4:2:0 of 8 or 10 bits is said to be
REFUSED = [
    ('h264-422', ['-c:v', 'libx264', '-pix_fmt', 'yuv422p'], 'yuv422p'),
    ('h264-444', ['-c:v', 'libx264', '-pix_fmt', 'yuv444p'], 'yuv444p'),
    ('hevc-12', ['-c:v', 'libx265', '-pix_fmt', 'yuv420p12le',
                 '-x265-params', 'log-level=none'], 'yuv420p12le'),
]
MACHINES = [
    ('pc pci', ['--machine', 'pc', '--transport', 'pci']),
    ('q35 pci', ['--machine', 'q35', '--transport', 'pci']),
    ('microvm mmio', ['--machine', 'microvm', '--transport', 'mmio']),
    ('virt pci', ['--machine', 'virt', '--transport', 'pci']),
    ('virt mmio', ['--machine', 'virt', '--transport', 'mmio']),
]


def make(name, container, options, size='322x182', depth=None):
    """Make a clip of an odd size. Returns: its path, None if it can't be."""
    path = os.path.join(TMP, f'{name}.{container}')
    with new_file(path) as out:
        result = ffmpeg('-f', 'lavfi', '-i', f'testsrc2=size={size}:rate=25',
                        '-frames:v', '40', *([] if '-pix_fmt' in options else
                                             ['-pix_fmt', 'yuv420p']),
                        *options, out)
    return path if result.returncode == 0 else None


def native_md5(path):
    return run(VVCLIENT, 'native', path, '--md5').stdout.strip()


def ffmpeg_md5(path):
    # As the manual says it: the whole of it, in the stream's own format
    result = run('ffmpeg', '-v', 'error', '-i', path, '-map', '0:v:0',
                 '-fps_mode', 'passthrough', '-f', 'rawvideo', '-c:v',
                 'rawvideo', '-f', 'md5', '-')
    return result.stdout.strip().removeprefix('MD5=')


def decode(path, options, env=None):
    result = run(VVCLIENT, 'decode', path, '--md5', *options, env=env)
    if result.returncode:
        return f'exit status {result.returncode}\n{result.stderr}'
    md5, want = result.stdout.strip(), ffmpeg_md5(path)
    return None if md5 == want else f'MD5 is {md5}, ffmpeg has {want}'


def refused(path, what):
    result = run(VVCLIENT, 'decode', path)
    said = f'{what} is not supported' in result.stderr
    if result.returncode != 1 or not said:
        return f'exit status {result.returncode}, "{what}" not named\n' \
            f'{result.stderr}'
    return None


def sandboxed(path, options):
    """With everything denied that QEMU can deny."""
    wrapper = os.path.join(TMP, 'sandboxed', 'qemu-system-x86_64')
    os.makedirs(os.path.dirname(wrapper), exist_ok=True)
    with new_file(wrapper) as out:
        with open(out, 'w', encoding='utf-8') as f:
            f.write('#!/bin/sh\n'
                    f'exec {os.environ["QTEST_QEMU_BINARY"]} "$@" -sandbox '
                    'on,obsolete=deny,elevateprivileges=deny,spawn=deny,'
                    'resourcecontrol=deny\n')
        os.chmod(out, 0o755)
    return decode(path, options, {**os.environ, 'QTEST_QEMU_BINARY': wrapper})


def counted(path, opened, *options):
    """What QEMU counts is what comes out."""
    result = run(VVCLIENT, 'decode', path, '--streams', '2', '--json',
                 *options)
    if result.returncode:
        return result.stderr
    said = json.loads(result.stdout)
    device = said['device']
    if len(device['streams']) != 2 or device['streams-opened'] != opened or \
            device['streams-failed'] or not device['memory']:
        return f'QEMU says of the device: {device}'
    frames = (said['frames'] + said['hidden_frames']) // 2
    for stream in device['streams']:
        problem = stream_problem(stream, 'decoder', frames)
        if problem:
            return problem
        if stream['input']['buffers'] != said['packets'] or \
                stream['input']['bytes'] > os.path.getsize(path) or \
                stream['output']['bytes'] < frames * 322 * 182 * 3 // 2:
            return f'{said["packets"]} packets; QEMU says {stream}'
    return None


def bench(path, *options):
    """The numbers of a benchmark are there; none of them is judged."""
    result = run(VVCLIENT, 'bench', path, '--rounds', '1', '--limit', '8',
                 '--json', *options)
    if result.returncode:
        return f'exit status {result.returncode}\n{result.stderr}'
    said = json.loads(result.stdout)
    zero = [key for key in ('ratio', 'ratio_scatter', 'ratio_streams16',
                            'slowest_streams16', 'copied_bytes')
            if not said[key] > 0]
    return f'{", ".join(zero)}: {said}' if zero else None


def lossy_md5(path, raw):
    result = run(VVCLIENT, 'decode', path, '--md5', '--raw', raw)
    if result.returncode == 0 or 'loses something' not in result.stderr:
        return f'not refused\n{result.stderr}'
    return None


def xrgb(path):
    """XRGB8888 against what ffmpeg makes of it, with some rounding."""
    out = os.path.join(TMP, 'xrgb.y4m')
    result = run(VVCLIENT, 'decode', path, '--raw', 'xrgb', '-o', out)
    if result.returncode:
        return result.stderr
    result = run('ffmpeg', '-v', 'info', '-i', out, '-i', path, '-lavfi',
                 '[0:v]format=yuv420p[a];[1:v]format=yuv420p[b];[a][b]psnr',
                 '-f', 'null', '-')
    psnr = result.stderr.rpartition('average:')[2].split(' ')[0]
    try:
        good = psnr == 'inf' or float(psnr) > 30
    except ValueError:
        good = False
    return None if good else f'PSNR is {psnr!r}\n{result.stderr}'


def cases(h264, hevc10, made):
    for name, path in made.items():
        for mode, options in MODES.items():
            yield f'{name}, {mode}', decode, path, options
        yield f'{name} with low-delay=on', decode, path, \
            ['--codec', 'video-codec-libav,low-delay=on']
    for name in 'h264', 'hevc-10':
        for options in ['media', '--memory', 'mmap'], \
                ['media', '--scatter'], ['v4l2-uapi'], \
                ['v4l2-uapi', '--transport', 'mmio']:
            if name in made:
                yield f'{name}, {" ".join(options)}', decode, made[name], \
                    ['--protocol', *options]
    if 'vp9' in made:
        for protocol in 'v10', 'media':
            yield f'vp9 without delay, {protocol}', decode, made['vp9'], \
                ['--codec', 'video-codec-libav,low-delay=on', '--in-turn',
                 '--protocol', protocol]
    for name, options in MACHINES:
        if not SANITIZE or 'virt' not in name:
            yield f'h264 on {name}', decode, h264, options
    for raw in 'nv12', 'yu12', 'p010':
        yield f'h264 as {raw}', decode, h264, ['--raw', raw]
    yield 'h264 as xrgb', xrgb, h264
    yield "QEMU's numbers with --json", counted, h264, 2
    # One session asks what there is
    yield "QEMU's numbers with --json, media", counted, h264, 3, \
        '--protocol', 'media'
    yield 'measuring media', bench, h264, '--protocol', 'media'
    yield 'h264 as xrgb with --md5 is refused', lossy_md5, h264, 'xrgb'
    if hevc10:
        yield 'hevc-10 as p010', decode, hevc10, ['--raw', 'p010']
        yield 'hevc-10 as nv12 with --md5 is refused', lossy_md5, hevc10, 'nv12'
    yield '16 streams at once', decode, h264, ['--streams', '16']
    for option in 'threads=2', 'threads=0', 'threads=3,low-delay=on':
        yield f'h264 with {option}', decode, h264, \
            ['--codec', f'video-codec-libav,{option}']
    for name in 'h264', 'vp9', 'av1':
        if name in made and not SANITIZE:
            yield f'{name} in a sandbox', sandboxed, made[name], \
                ['--codec', 'video-codec-libav,threads=3']


def main():
    tap = Tap()
    made = {}
    for name, container, options in CLIPS:
        path = make(name, container, options)
        if path:
            made[name] = path
        else:
            tap.skip(name, 'this ffmpeg cannot make such a clip')
    if 'h264' not in made:
        tap.skip('all others', 'there is no ffmpeg with libx264')
        tap.exit()
    tap.run_all(cases(made['h264'], made.get('hevc-10'), made))
    if SANITIZE:
        tap.skip('h264 on virt', 'the sanitized QEMU is built for x86 only')
        tap.skip('in a sandbox', 'the leak checker needs what it denies')
    for name, options, what in REFUSED:
        path = make(name, 'mp4', options)
        if path:
            tap.result(f'{name} is refused by name', refused(path, what))
        else:
            tap.skip(name, 'this ffmpeg cannot make such a clip')
    tap.exit()


if __name__ == '__main__':
    main()
