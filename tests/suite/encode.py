#!/usr/bin/python3
# Encoding and transcoding through the device, judged by what came out.
#
# Nothing here believes what was set: frames, headers and bytes of the produced
# streams are looked at with ffprobe, or in this file.  The floor of quality is
# what libavcodec reaches in vvclient itself (vvclient encode --compare) with
# the same settings; tools/vvclient/native-encode.c keeps them as
# backends/video-codec-libav-settings.c has them.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import json
import os
import re

from common import QUICK, SANITIZE, TMP, VVCLIENT, Tap, ffmpeg, run

FPS = 30
SECONDS = 2 if QUICK else 4 if SANITIZE else 10
# Coded format, the file that it goes to, and a bitrate for the clip
CODECS = {
    'h264': ('h264', 400), 'hevc': ('hevc', 400), 'vp8': ('ivf', 400),
    'vp9': ('ivf', 400), 'mpeg2': ('m2v', 800), 'mpeg4': ('m4v', 600),
}
# dB that may be missing
PSNR_SLACK = 0.2
# libvpx counts VP8's and VP9's quantizers otherwise outside than inside
VP9_QP = 4


def path(name):
    return os.path.join(TMP, name)


def make(name, frames, *options, source='testsrc2', size='320x180', fps=FPS):
    """A clip that moves, unless there is one already."""
    out = path(name)
    result = ffmpeg('-f', 'lavfi', '-i', f'{source}=size={size}:rate={fps}',
                    '-frames:v', frames, *options, out)
    return out if result.returncode == 0 else None


class Failed(Exception):
    """What is wrong."""


def check(condition, text):
    if not condition:
        raise Failed(text)


def vvclient(*args, status=0):
    result = run(VVCLIENT, *args)
    check(result.returncode == status,
          f'exit status {result.returncode} of vvclient '
          f'{" ".join(map(str, args))}\n{result.stderr}')
    return result


def encode(clip, codec, *options, out=None):
    """Returns: what vvclient says about it."""
    args = ['encode', clip, '-c', codec, '--json', *options]
    said = json.loads(vvclient(*args, *(['-o', out] if out else [])).stdout)
    check(said['ok'], str(said['errors']))
    return said


def probe(out, entries, *options):
    """Rows of what ffprobe says of a file, each a dict."""
    section = entries.partition('=')[0]
    result = run('ffprobe', '-v', 'error', *options, '-show_entries', entries,
                 '-of', 'json', out)
    check(result.returncode == 0 and not result.stderr,
          f'ffprobe: {result.stderr}')
    return json.loads(result.stdout)[section + 's']


def frames(out):
    """The types of all frames in output order: K, P, B."""
    rows = probe(out, 'frame=key_frame,pict_type', '-select_streams', 'v')
    return ''.join('K' if row['key_frame'] else row['pict_type']
                   for row in rows)


def sizes(out):
    return [int(row['size']) for row in probe(out, 'packet=size')]


def hashes(out):
    return [row['data_hash'] for row in
            probe(out, 'packet=data_hash', '-show_data_hash', 'md5')]


def keys(types):
    return [i for i, t in enumerate(types) if t == 'K']


def expect_keys(n, gop, forced=()):
    """Each forced one begins a new GOP."""
    result, last = [], None
    for i in range(n):
        if last is None or i in forced or i - last == gop:
            result.append(i)
            last = i
    return result


def near(value, want, percent):
    return abs(value - want) <= want * percent / 100


def count(out):
    return int(probe(out, 'stream=nb_read_frames', '-count_frames')[0]
               ['nb_read_frames'])


# What a test is given besides its own arguments
class Clips:
    """The clips of all tests."""

    def __init__(self):
        n = FPS * SECONDS
        self.n = n
        self.plain = make('plain.y4m', n, '-pix_fmt', 'yuv420p')
        self.short = make('short.y4m', 60, '-pix_fmt', 'yuv420p')
        self.deep = make('deep.y4m', 45, '-pix_fmt', 'yuv420p10le', '-strict',
                         '-1')
        self.odd = make('odd.mkv', 30, '-vf', 'format=yuv444p,'
                        'crop=323:181:0:0:exact=1', '-c:v', 'ffv1',
                        size='324x182')
        self.fractal = make('fractal.y4m', 60, '-pix_fmt', 'yuv420p',
                            source='mandelbrot', fps=25)


def quality(said, what):
    psnr, native = said['psnr'], said['native']['psnr']
    check(psnr['depth'] == native['depth'], 'bits of samples differ')
    for plane in 'all', 'y', 'u', 'v':
        check(psnr[plane] >= native[plane] - PSNR_SLACK,
              f'{what}: PSNR ({plane}) is {psnr[plane]:.2f}, natively '
              f'{native[plane]:.2f}')


def basic(clips, codec, options):
    """Frames, bits a second, quality; and ffmpeg's own idea of quality."""
    extension, kbit = CODECS[codec]
    out = path(f'basic-{codec}{"".join(options)}.{extension}')
    said = encode(clips.plain, codec, '-b', f'{kbit}k', '--compare', *options,
                  out=out)
    types = frames(out)
    check(len(types) == clips.n, f'{len(types)} frames')
    check(keys(types) == expect_keys(clips.n, 60), f'frames are {types}')
    check(types.count('B') == 0 == said['b_frames'], f'frames are {types}')
    quality(said, codec)
    rate = sum(sizes(out)) * 8 * FPS / clips.n / 1000
    print(f'# {codec}: {rate:.1f} kbit/s for {kbit}, PSNR '
          f'{said["psnr"]["all"]:.2f} dB, natively '
          f'{said["native"]["psnr"]["all"]:.2f}', flush=True)
    # It takes some seconds until a beginning does not count any more
    check(SECONDS < 10 or near(rate, kbit, 10), f'{rate:.1f} kbit/s')
    result = run('ffmpeg', '-v', 'info', '-r', FPS, '-i', out, '-i',
                 clips.plain, '-lavfi', 'psnr', '-f', 'null', '-')
    psnr = float(re.search(r'average:([0-9.]+)', result.stderr)[1])
    check(abs(psnr - said['psnr']['all']) < 0.1,
          f'PSNR is {said["psnr"]["all"]}, ffmpeg says {psnr}')


def bitrate(clips, codec, kbit, mode):
    """Constant bits per second, measured by the second as well."""
    out = path(f'rate-{codec}-{kbit}-{mode}.{CODECS[codec][0]}')
    encode(clips.plain, codec, '-b', f'{kbit}k', '--bitrate-mode', mode,
           out=out)
    bits = [size * 8 / 1000 for size in sizes(out)]
    rate = sum(bits) * FPS / clips.n
    print(f'# {codec}: {rate:.1f} kbit/s for {kbit}, {mode}', flush=True)
    if mode == 'cbr':
        check(near(rate, kbit, 10), f'{rate:.1f} kbit/s')
        for i in range(0, clips.n, FPS):
            second = sum(bits[i:i + FPS])
            check(second < kbit * 2, f'{second:.1f} kbit in one second')
    else:
        check(rate < kbit * 1.5, f'{rate:.1f} kbit/s')


def other_rate(clips, codec):
    """RATE is that of the video, whatever frames it has a second."""
    out = path(f'other-{codec}.mkv')
    encode(clips.fractal, codec, '-b', '300k', out=out)
    seconds = 60 / 25
    rate = sum(sizes(out)) * 8 / seconds / 1000
    check(near(rate, 300, 25), f'{rate:.1f} kbit/s at 25 frames a second')


# Coded format, options, and what ffprobe has to find
HEADERS = [
    ('h264', ('constrained-baseline', '3'), 'Constrained Baseline', 30),
    ('h264', ('main', '4.1'), 'Main', 41),
    ('h264', ('high', '5.1'), 'High', 51),
    ('h264', ('high10', '4'), 'High 10', 40),
    ('hevc', ('main', '3.1'), 'Main', 93),
    ('hevc', ('main10', '5'), 'Main 10', 150),
    ('vp8', ('0', None), '0', None),
    ('vp8', ('1', None), '1', None),
    ('vp8', ('3', None), '3', None),
    # VP9 says nothing of levels in its headers
    ('vp9', ('0', '3'), 'Profile 0', None),
    ('vp9', ('2', None), 'Profile 2', None),
    ('mpeg2', ('simple', 'main'), 'Simple', 8),
    ('mpeg2', ('main', 'high-1440'), 'Main', 6),
    ('mpeg2', ('main', 'high'), 'Main', 4),
    ('mpeg4', ('simple', '5'), 'Simple Profile', 5),
    ('mpeg4', ('advanced-simple', '4'), 'Advanced Simple Profile', 4),
]


def headers(clips, codec, wanted, profile, level):
    out = path(f'headers-{codec}-{"-".join(str(w) for w in wanted)}.mkv')
    options = ['--profile', wanted[0], '-b', '200k']
    encode(clips.short, codec, *options,
           *(['--level', wanted[1]] if wanted[1] else []), out=out)
    found = probe(out, 'stream=profile,level,pix_fmt', '-count_frames')[0]
    check(found['profile'] == profile, f'profile is {found["profile"]}')
    check(level is None or found['level'] == level,
          f'level is {found["level"]}')


def gop(clips, codec, b_frames=0):
    out = path(f'gop-{codec}-{b_frames}.{CODECS[codec][0]}')
    options = ['--b-frames', b_frames] if b_frames else []
    encode(clips.short, codec, '--gop', '13', *options, out=out)
    types = frames(out)
    check(keys(types) == expect_keys(60, 13), f'frames are {types}')


def force(clips, codec):
    """Exactly the frames that were asked for, and GOPs begin anew there."""
    forced = [7, 8, 25, 59]
    out = path(f'force-{codec}.{CODECS[codec][0]}')
    encode(clips.short, codec, '--gop', '30', '--force-key',
           ','.join(map(str, forced)), out=out)
    types = frames(out)
    check(keys(types) == expect_keys(60, 30, forced), f'frames are {types}')


def b_frames(clips, codec, n):
    """So many B frames between two others, as the flags say, too."""
    out = path(f'b-{codec}-{n}.{CODECS[codec][0]}')
    said = encode(clips.short, codec, '--b-frames', n, out=out)
    types = frames(out)
    check(len(types) == 60, f'{len(types)} frames')
    inner = [len(run_) for run_ in re.findall('B+', types)]
    # Only what is left before a key frame may be shorter
    check(inner and max(inner) == n and inner.count(n) >= 60 // (n + 1) - 2,
          f'frames are {types}')
    check((said['key_frames'], said['p_frames'], said['b_frames']) ==
          tuple(types.count(t) for t in 'KPB'),
          f'flags say {said["key_frames"]}, {said["p_frames"]} and '
          f'{said["b_frames"]} of {types}')


# The first byte of a header of the stream, after a start code
STREAM_HEADERS = {
    'h264': lambda byte: byte & 0x1f == 7,
    'hevc': lambda byte: byte >> 1 & 0x3f == 33,
    'mpeg4': lambda byte: 0x20 <= byte <= 0x2f,
}


def prepend(clips, codec, on):
    """Headers before each key frame, or the first one only."""
    out = path(f'prepend-{codec}-{on}.{CODECS[codec][0]}')
    encode(clips.short, codec, '--gop', '20',
           *([] if on else ['--no-prepend-headers']), out=out)
    with open(out, 'rb') as f:
        data = f.read()
    found = sum(STREAM_HEADERS[codec](data[match.end()])
                for match in re.finditer(b'\0\0\1', data)
                if match.end() < len(data))
    check(found == (3 if on else 1), f'{found} headers in 3 GOPs')
    check(len(frames(out)) == 60, 'not all frames can be decoded')


def qp(clips, codec, low, high):
    """Quantizers as the decoder finds them."""
    said = encode(clips.short, codec, '-b', '300k', '--min-qp', low,
                  '--max-qp', high)
    unit = VP9_QP if codec == 'vp9' else 1
    check(said['min_qp'] >= low * unit and said['max_qp'] <= high * unit,
          f'quantizers are from {said["min_qp"] / unit} to '
          f'{said["max_qp"] / unit}')


def qp_by_size(clips, codec, low, high):
    """Of codecs whose decoder does not tell: what limits do to bits."""
    plain = encode(clips.short, codec, '-b', '300k')
    coarse = encode(clips.short, codec, '-b', '300k', '--min-qp', high)
    fine = encode(clips.short, codec, '-b', '300k', '--max-qp', low)
    text = ', '.join(f'{said["bytes"]} bytes of {said["psnr"]["all"]:.1f} dB'
                     for said in (coarse, plain, fine))
    check(coarse['bytes'] < plain['bytes'] * 0.9 and
          coarse['psnr']['all'] < plain['psnr']['all'], text)
    check(fine['bytes'] > plain['bytes'] * 1.2 and
          fine['psnr']['all'] > plain['psnr']['all'], text)


def deep(clips, codec):
    """10 bits go in and come out."""
    out = path(f'deep-{codec}.mkv')
    said = encode(clips.deep, codec, '--compare', out=out)
    check(said['raw'] == 'P010', f'raw format is {said["raw"]}')
    found = probe(out, 'stream=pix_fmt')[0]['pix_fmt']
    check(found == 'yuv420p10le', f'pixel format is {found}')
    quality(said, codec)


def change(clips, codec, control, value, at=23):
    """Not a frame earlier, nor later."""
    extension = CODECS[codec][0]
    name = f'change-{codec}-{control}'
    before, after = path(f'{name}-1.{extension}'), path(f'{name}-2.{extension}')
    # The same start for both, x-controls=on included
    options = ['-b', '400k', '--gop', '100', '--limit', '50']
    encode(clips.short, codec, *options, out=before)
    encode(clips.short, codec, *options, '--set', f'{at}:{control}={value}',
           out=after)
    same = [a == b for a, b in zip(hashes(before), hashes(after))]
    first = same.index(False) if False in same else None
    check(first == at, f'the first frame that differs is {first}, not {at}')


def change_rate(clips, codec):
    """The bits of the second half are those of the second rate."""
    out = path(f'halves-{codec}.{CODECS[codec][0]}')
    first, second = CODECS[codec][1] * 2, CODECS[codec][1]
    half = clips.n // 2
    encode(clips.plain, codec, '-b', f'{first}k', '--set',
           f'{half}:bitrate={second}k', out=out)
    bits = [size * 8 / 1000 for size in sizes(out)]
    rates = [sum(bits[i:i + half]) * FPS / half for i in (0, half)]
    print(f'# {codec}: {rates[0]:.1f} and {rates[1]:.1f} kbit/s for {first} '
          f'and {second}', flush=True)
    check(near(rates[0], first, 20) and near(rates[1], second, 20),
          f'{rates[0]:.1f} and {rates[1]:.1f} kbit/s')


def raw(clips, codec, name):
    said = encode(clips.short, codec, '--raw', name, '--compare')
    if name == 'xrgb':
        # There and back costs something
        check(said['psnr']['all'] > 30, f'PSNR is {said["psnr"]}')
    else:
        quality(said, name)


def odd(clips, codec):
    """An odd row and column are left out."""
    out = path(f'odd-{codec}.mkv')
    encode(clips.odd, codec, out=out)
    found = probe(out, 'stream=width,height')[0]
    check((found['width'], found['height']) == (322, 180),
          f'{found["width"]}x{found["height"]}')


def container(clips, codec, extension, *options):
    """Times of showing and decoding that a player can live with."""
    out = path(f'container-{codec}.{extension}')
    encode(clips.fractal, codec, *options, out=out)
    check(count(out) == 60, f'{count(out)} frames')
    rows = probe(out, 'packet=pts_time,dts_time')
    pts = sorted(float(row['pts_time']) for row in rows)
    dts = [float(row['dts_time']) for row in rows if 'dts_time' in row]
    check(all(near(t - pts[0], i / 25, 1) or abs(t - pts[0] - i / 25) < 0.002
              for i, t in enumerate(pts)), f'pts are {pts}')
    check(dts == sorted(dts), f'dts are {dts}')


def streams(clips, codec, n, *options):
    said = encode(clips.short, codec, '--streams', n, '-b', '300k', *options)
    check(said['frames'] == 60 * n, f'{said["frames"]} frames')


def threads(clips, codec, option):
    out = path(f'threads-{codec}.mkv')
    said = encode(clips.short, codec, '--codec', f'video-codec-libav,{option}',
                  out=out)
    check(count(out) == 60, f'{count(out)} frames')
    check(said['psnr']['all'] > 30, f'PSNR is {said["psnr"]}')


def sandboxed(clips, codec):
    """With everything denied that QEMU can deny."""
    wrapper = path('sandboxed/qemu-system-x86_64')
    os.makedirs(os.path.dirname(wrapper), exist_ok=True)
    with open(wrapper + codec, 'w', encoding='utf-8') as f:
        f.write('#!/bin/sh\n'
                f'exec {os.environ["QTEST_QEMU_BINARY"]} "$@" -sandbox '
                'on,obsolete=deny,elevateprivileges=deny,spawn=deny,'
                'resourcecontrol=deny\n')
    os.chmod(wrapper + codec, 0o755)
    os.replace(wrapper + codec, wrapper)
    result = run(VVCLIENT, 'encode', clips.short, '-c', codec, '--codec',
                 'video-codec-libav,threads=2',
                 env={**os.environ, 'QTEST_QEMU_BINARY': wrapper})
    check(result.returncode == 0, result.stderr)


# A coded format, what ffmpeg makes such a clip with, and what it becomes
TRANSCODES = [
    ('h264', ['-c:v', 'libx264', '-bf', '2', '-pix_fmt', 'yuv420p'], 'vp9'),
    ('hevc-10', ['-c:v', 'libx265', '-pix_fmt', 'yuv420p10le', '-x265-params',
                 'log-level=none'], 'vp9'),
    ('hevc-10 too deep', ['-c:v', 'libx265', '-pix_fmt', 'yuv420p10le',
                          '-x265-params', 'log-level=none'], 'mpeg4'),
    ('vp8', ['-c:v', 'libvpx', '-pix_fmt', 'yuv420p'], 'h264'),
    ('vp9', ['-c:v', 'libvpx-vp9', '-cpu-used', '8', '-pix_fmt', 'yuv420p'],
     'hevc'),
    ('mpeg2', ['-c:v', 'mpeg2video', '-bf', '2', '-pix_fmt', 'yuv420p'],
     'vp8'),
    ('mpeg4', ['-c:v', 'mpeg4', '-pix_fmt', 'yuv420p'], 'mpeg2'),
    ('av1', ['-c:v', 'libaom-av1', '-cpu-used', '8', '-pix_fmt', 'yuv420p'],
     'h264'),
]


def transcode(source, codec, *options, out):
    said = json.loads(vvclient('transcode', source, out, '-c', codec, '--json',
                               *options).stdout)
    check(said['ok'], str(said['errors']))
    return said


def pair(name, options, codec, more):
    tag = re.sub('[^a-z0-9]', '-', f'{name} {codec} {"".join(more)}')
    source, out = make(f'from-{tag}.mkv', 60, *options), path(f'to-{tag}.mkv')
    said = transcode(source, codec, '-b', '1M', *more, out=out)
    check(count(out) == 60 == said['frames'], f'{said["frames"]} frames')
    check(said['copied_frames'] == (60 if '--copy' in more else 0),
          f'{said["copied_frames"]} frames were copied')
    check(said['sizes'][0]['psnr']['all'] > 32,
          f'PSNR is {said["sizes"][0]["psnr"]}')
    times = [[row['pts_time'] for row in probe(f, 'frame=pts_time')]
             for f in (source, out)]
    check(times[0] == times[1], 'frames are not shown when they were')


def sharing(options, codec):
    """In shared memory or copied, the same comes out."""
    source = make('sharing.mkv', 60, *options)
    outs = [path(f'sharing-{i}.mkv') for i in range(3)]
    for out, more in zip(outs, ([], ['--copy'], ['--scatter'])):
        transcode(source, codec, *more, out=out)
    check(hashes(outs[0]) == hashes(outs[1]) == hashes(outs[2]),
          'frames are not the same')


def resized(codec, *options):
    """Frames of another size: another file, and nothing is lost."""
    parts = [make(f'resized-{codec}-{size}{"".join(options)}.h264', 30,
                  '-c:v', 'libx264', '-pix_fmt', 'yuv420p', '-bf', '2',
                  size=size) for size in ('320x180', '176x144', '400x300')]
    whole = path(f'resized-{codec}{"".join(options)}.h264')
    with open(whole, 'wb') as f:
        for part in parts:
            with open(part, 'rb') as g:
                f.write(g.read())
    out = path(f'resized-{codec}{"".join(options)}.mkv')
    said = transcode(whole, codec, *options, out=out)
    found = [(s['width'], s['height'], s['frames']) for s in said['sizes']]
    check(found == [(320, 180, 30), (176, 144, 30), (400, 300, 30)],
          f'sizes are {found}')
    for i, size in enumerate(found):
        name = out if i == 0 else out.replace('.mkv', f'-{i + 1}.mkv')
        row = probe(name, 'stream=width,height')[0]
        check((row['width'], row['height']) == size[:2] and count(name) == 30,
              f'{name} is {row}')


def refused(args, said):
    result = run(VVCLIENT, *args)
    check(result.returncode in (1, 2) and said in result.stderr,
          f'exit status {result.returncode}: {result.stderr}')


def offered():
    """The capabilities: everything that is tested here is there."""
    said = json.loads(vvclient('caps', '--json').stdout)
    found = {c['format']: c for c in said['coded'] if 'encodes_from' in c}
    check(set(found) == set(CODECS), f'encoders are {sorted(found)}')
    for codec, caps in found.items():
        check({'bitrate', 'profile', 'gop', 'force-key'} <=
              set(caps['controls']), f'{codec}: {sorted(caps["controls"])}')
        check({'NV12', 'YUV420', 'XRGB8888'} <= set(caps['encodes_from']),
              f'{codec}: {caps["encodes_from"]}')


def basic_cases(clips):
    for codec in CODECS:
        yield f'{codec}, pci', basic, clips, codec, []
    yield 'h264, mmio', basic, clips, 'h264', ['--transport', 'mmio']
    yield 'h264, pci scattered', basic, clips, 'h264', ['--scatter']
    if not QUICK and not SANITIZE:
        yield 'vp9, mmio scattered', basic, clips, 'vp9', \
            ['--transport', 'mmio', '--scatter']
        yield 'mpeg4, q35', basic, clips, 'mpeg4', ['--machine', 'q35']
        yield 'h264 on virt', basic, clips, 'h264', ['--machine', 'virt']


def control_cases(clips):
    few = QUICK or SANITIZE
    for codec, wanted, profile, level in HEADERS:
        if not few or codec == 'h264':
            yield f'{codec} of profile {wanted[0]}, level {wanted[1]}', \
                headers, clips, codec, wanted, profile, level
    for codec in ('h264', 'vp8', 'mpeg2') if few else CODECS:
        yield f'{codec} with a GOP of 13', gop, clips, codec
        yield f'{codec} with forced key frames', force, clips, codec
        # x264 looks back at what frames have cost, so less would show later
        yield f'{codec}, another bitrate from a frame on', change, clips, \
            codec, 'bitrate', '20k' if codec == 'h264' else '200k'
    for codec in ('h264',) if few else ('h264', 'hevc', 'mpeg2', 'mpeg4'):
        for n in 1, 2, 3:
            yield f'{codec} with {n} B frames', b_frames, clips, codec, n
        yield f'{codec} with a GOP of 13 and B frames', gop, clips, codec, 2
    for codec in ('h264',) if few else STREAM_HEADERS:
        yield f'{codec}, headers before key frames', prepend, clips, codec, \
            True
        if codec != 'mpeg4':
            # V4L2's control is of SPS and PPS
            yield f'{codec}, headers only once', prepend, clips, codec, False
    yield 'h264, quantizers from 25 to 30', qp, clips, 'h264', 25, 30
    if few:
        return
    yield 'vp9, quantizers from 20 to 30', qp, clips, 'vp9', 20, 30
    yield 'mpeg4, quantizers from 5 to 7', qp, clips, 'mpeg4', 5, 7
    yield 'hevc, limits of quantizers', qp_by_size, clips, 'hevc', 18, 40
    yield 'vp8, limits of quantizers', qp_by_size, clips, 'vp8', 10, 50
    for control, value in ('profile', 'main'), ('level', '5'), \
            ('b-frames', '2'), ('min-qp', '40'), ('max-qp', '10'), \
            ('bitrate-mode', 'vbr'), ('force-key', '1'):
        yield f'h264, another {control} from a frame on', change, clips, \
            'h264', control, value
    for codec in CODECS:
        yield f'{codec} at another bitrate in the second half', change_rate, \
            clips, codec
        yield f'{codec}, CBR', bitrate, clips, codec, \
            CODECS[codec][1] * 3 // 2, 'cbr'
        yield f'{codec}, VBR', bitrate, clips, codec, CODECS[codec][1], 'vbr'
        yield f'{codec} of 25 frames a second', other_rate, clips, codec


def format_cases(clips):
    few = QUICK or SANITIZE
    for codec in ('hevc', 'vp9') if few else ('h264', 'hevc', 'vp9'):
        yield f'{codec} of 10 bits', deep, clips, codec
    for codec in ('h264',) if few else CODECS:
        for name in 'nv12', 'yu12', 'xrgb':
            yield f'{codec} from {name}', raw, clips, codec, name
        yield f'{codec} of an odd size', odd, clips, codec
    for args in ('h264', 'mp4', '--b-frames', '2'), ('hevc', 'mkv'), \
            ('vp8', 'webm'), ('vp9', 'ivf'), ('mpeg4', 'mp4'), \
            ('h264', 'mkv', '--b-frames', '3'):
        if not few or args[1] == 'mp4':
            yield f'{args[0]} in .{args[1]}', container, clips, *args


def load_cases(clips):
    few = QUICK or SANITIZE
    yield 'h264, 4 streams at once', streams, clips, 'h264', 4
    if few:
        return
    yield 'vp8, 16 streams at once', streams, clips, 'vp8', 16, '--scatter'
    yield 'hevc, 3 streams at once', streams, clips, 'hevc', 3, \
        '--transport', 'mmio'
    for codec in 'h264', 'hevc', 'vp9':
        for option in 'threads=3', 'threads=2,low-delay=on':
            yield f'{codec} with {option}', threads, clips, codec, option
        yield f'{codec} in a sandbox', sandboxed, clips, codec


def transcode_cases():
    few = QUICK or SANITIZE
    for name, options, codec in TRANSCODES[:2] if few else TRANSCODES:
        yield f'{name} to {codec}', pair, name, options, codec, []
    yield 'h264 to h264, shared or copied', sharing, TRANSCODES[0][1], 'h264'
    yield 'h264 to vp8 when the size changes', resized, 'vp8'
    if not few:
        yield 'h264 to hevc when the size changes, copied', resized, 'hevc', \
            '--copy'
        yield 'h264 to vp9, mmio', pair, 'h264', TRANSCODES[0][1], 'vp9', \
            ['--transport', 'mmio']
        yield 'h264 to mpeg4, copied', pair, 'h264', TRANSCODES[0][1], \
            'mpeg4', ['--copy']


def refused_cases(clips):
    args = ['encode', clips.short, '-c']
    yield 'no such profile', refused, args + ['h264', '--profile', 'best'], \
        'it is one of'
    yield 'vp8 has no B frames', refused, args + ['vp8', '--b-frames', '1'], \
        'has no control'
    yield 'vp8 has no 10 bits', refused, args + ['vp8', '--raw', 'p010'], \
        'cannot encode P010'
    yield 'no frame to change something at', refused, \
        args + ['h264', '--set', '60:bitrate=1M'], 'never came'
    yield 'a container for others', refused, args + ['vp8', '-o',
                                                     path('x.h264')], \
        'cannot hold'


def no_exception(fn):
    def wrapped(*args):
        try:
            fn(*args)
        except Failed as e:
            return str(e)
        except (KeyError, IndexError, ValueError, TypeError) as e:
            return f'unexpected answer: {e!r}'
        return None
    return wrapped


def main():
    tap = Tap()
    clips = Clips()
    if not all(vars(clips).values()):
        tap.skip('encoding', 'this ffmpeg cannot make the clips')
        tap.exit()
    cases = [('caps', offered), *basic_cases(clips), *control_cases(clips),
             *format_cases(clips), *load_cases(clips), *transcode_cases(),
             *refused_cases(clips)]
    tap.run_all((name, no_exception(fn), *args) for name, fn, *args in cases)
    tap.exit()


main()
