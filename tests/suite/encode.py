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
import functools
import hashlib
import json
import os
import re
import threading

import bitstream
from common import (QUICK, SANITIZE, TMP, VVCLIENT, Tap, ffmpeg, run,
                    stream_problem)

FPS = 30
SECONDS = 2 if QUICK else 4 if SANITIZE else 10
# Coded format, the file that it goes to, and a bitrate for the clip
CODECS = {
    'h264': ('h264', 400), 'hevc': ('hevc', 400), 'vp8': ('ivf', 400),
    'vp9': ('ivf', 400), 'mpeg2': ('m2v', 800), 'mpeg4': ('m4v', 600),
}
# A quick test has every third: pc and aarch64's virt, with PCI
MACHINES = (('pc', 'pci'), ('q35', 'pci'), ('microvm', 'mmio'),
            ('virt', 'pci'), ('virt', 'mmio'))
# dB that may be missing
PSNR_SLACK = 0.2
# More options of `vvclient encode`, for suites that test other codec objects
OBJECT = []
# libvpx counts VP8's and VP9's quantizers otherwise outside than inside: the
# controls' numbers are these in the streams
VP9_QP = 4
VP8_QP = {10: 12, 50: 88}


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
    args = ['encode', clip, '-c', codec, '--json', *OBJECT, *options]
    said = json.loads(vvclient(*args, *(['-o', out] if out else [])).stdout)
    check(said['ok'], str(said['errors']))
    check_counts(said['device']['streams'], 'encoder',
                 said['frames'] // said['streams'], said['bytes'])
    return said


def check_counts(streams, direction, n_frames, n_bytes=None):
    """What QEMU has counted is what vvclient has seen."""
    found = [s for s in streams if s['direction'] == direction]
    check(found, f'QEMU knows of no {direction}')
    problem = stream_problem(found[0], direction, n_frames, n_bytes)
    check(not problem, problem)


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


def md5(out):
    with open(out, 'rb') as f:
        return hashlib.md5(f.read()).hexdigest()


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
        self.tiny = make('tiny.y4m', 60, '-pix_fmt', 'yuv420p', size='64x64')
        # The last second is hard
        self.burst = make('burst.y4m', 3 * FPS, '-pix_fmt', 'yuv420p', '-vf',
                          'noise=all_strength=60:all_flags=t:'
                          f'enable=gte(n\\,{2 * FPS})')


def quality(said, what):
    psnr, native = said['psnr'], said['native']['psnr']
    check(psnr['depth'] == native['depth'], 'bits of samples differ')
    for plane in 'all', 'y', 'u', 'v':
        check(psnr[plane] >= native[plane] - PSNR_SLACK,
              f'{what}: PSNR ({plane}) is {psnr[plane]:.2f}, natively '
              f'{native[plane]:.2f}')


def ffmpeg_psnr(out, clip):
    """Frames are taken in order, whatever times they have."""
    result = run('ffmpeg', '-v', 'info', '-r', FPS, '-i', out, '-i', clip,
                 '-lavfi', 'psnr', '-f', 'null', '-')
    return float(re.search(r'average:([0-9.]+)', result.stderr)[1])


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
    psnr = ffmpeg_psnr(out, clips.plain)
    check(abs(psnr - said['psnr']['all']) < 0.1,
          f'PSNR is {said["psnr"]["all"]}, ffmpeg says {psnr}')


def everywhere(clips, codec, machines):
    """The machine and the transport make no difference to a single byte."""
    found = {}
    for machine, transport in machines:
        out = path(f'everywhere-{codec}-{machine}-{transport}.'
                   f'{CODECS[codec][0]}')
        encode(clips.short, codec, '-b', '400k', '--machine', machine,
               '--transport', transport, out=out)
        found[f'{machine} {transport}'] = md5(out)
    print(f'# {codec}: md5 {next(iter(found.values()))} on '
          f'{", ".join(found)}', flush=True)
    check(len(set(found.values())) == 1, f'streams are {found}')


# The encoders have a buffer of a second, which empties with this many times the
# bitrate
PEAK = {'cbr': 1, 'vbr': 2}
# libvpx has no limit for VBR, but VP8 keeps it
UNLIMITED = ('vp9',)


def seconds_waiting(bits, rate):
    """How full a buffer gets that RATE bits a second leave, in seconds."""
    level = most = 0
    for size in bits:
        level = max(level - rate / FPS, 0) + size
        most = max(most, level)
    return most / rate


def bitrate(clips, codec, kbit, mode):
    """The average, and what is not as hard to do as in peaks()."""
    out = path(f'rate-{codec}-{kbit}-{mode}.{CODECS[codec][0]}')
    encode(clips.plain, codec, '-b', f'{kbit}k', '--bitrate-mode', mode,
           out=out)
    bits = [size * 8 / 1000 for size in sizes(out)]
    rate = sum(bits) * FPS / clips.n
    print(f'# {codec}: {rate:.1f} kbit/s for {kbit}, {mode}', flush=True)
    check(near(rate, kbit, 10 if mode == 'cbr' else 25), f'{rate:.1f} kbit/s')
    check_buffer(codec, bits, kbit, mode)


def check_buffer(codec, bits, kbit, mode):
    most = max(sum(bits[i:i + FPS]) for i in range(len(bits) - FPS + 1))
    waiting = seconds_waiting(bits, kbit * PEAK[mode])
    print(f'# {codec}, {mode}: {most / kbit:.2f} times the bitrate in a second,'
          f' the buffer has {waiting:.2f} s', flush=True)
    check(waiting <= 1 or (mode == 'vbr' and codec in UNLIMITED),
          f'{waiting:.2f} seconds wait')


def peaks(clips, codec, mode):
    """A second that is hard after two that were not, as finely as it can be."""
    kbit = CODECS[codec][1] * 4
    out = path(f'peaks-{codec}-{mode}.{CODECS[codec][0]}')
    encode(clips.burst, codec, '-b', f'{kbit}k', '--bitrate-mode', mode,
           out=out)
    bits = [size * 8 / 1000 for size in sizes(out)]
    check_buffer(codec, bits, kbit, mode)
    # A constant one can have twice of it, if nothing was needed before
    last = sum(bits[2 * FPS:])
    check(mode == 'cbr' or last > kbit * 1.5, f'{last:.1f} kbit of {kbit}')


def other_rate(clips, codec):
    """RATE is that of the video, whatever frames it has a second."""
    out = path(f'other-{codec}.mkv')
    encode(clips.fractal, codec, '-b', '300k', out=out)
    seconds = 60 / 25
    rate = sum(sizes(out)) * 8 / seconds / 1000
    check(near(rate, 300, 25), f'{rate:.1f} kbit/s at 25 frames a second')


# Both, and the libraries' own words for them: coded format, options, and what
# ffprobe has to find
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


@functools.cache
def capabilities():
    """Of the encoders, by coded format."""
    said = json.loads(vvclient('caps', '--json').stdout)
    return {c['format']: c for c in said['coded'] if 'encodes_from' in c}


# Levels that a coded format has, but not in this profile, and what they become
RAISED = {
    ('mpeg2', 'simple'): {'low': 'main', 'high-1440': 'main', 'high': 'main'},
    ('mpeg4', 'simple'): {'3b': '4'},
    ('mpeg4', 'advanced-simple'): {'0b': '1'},
}


def all_levels(clips, codec, profile):
    """Each level in two frames of one stream, as the device says."""
    levels = capabilities()[codec]['controls'].get('level', [None])
    raised = RAISED.get((codec, profile), {})
    wanted = [raised.get(level, level) for level in levels]
    out = path(f'levels-{codec}-{profile}.{CODECS[codec][0]}')
    options = ['--level', levels[0]] if levels[0] else []
    for i, level in enumerate(levels[1:]):
        options += ['--set', f'{2 * i + 2}:level={level}']
    said = encode(clips.tiny, codec, '--profile', profile, '-b', '40k',
                  '--limit', 2 * len(levels), *options, out=out)
    coded = bitstream.read(out, codec)
    check(len(coded) == 2 * len(levels), f'{len(coded)} frames')
    check(all(answered(said, 2 * i, 'level') == level
              for i, level in enumerate(wanted) if level),
          f'the device says {said["controls"]}')
    found = [frame.level for frame in coded[::2]]
    for i, level in enumerate(found):
        found[i] = level or found[i - 1]
    check({frame.profile for frame in coded if frame.headers} == {profile},
          f'profiles are {[frame.profile for frame in coded]}')
    for i, level in enumerate(wanted):
        if i == 0 or level != wanted[i - 1]:
            check(coded[2 * i].kind == 'K' and coded[2 * i].headers,
                  f'frame {2 * i} is {coded[2 * i]}')
            check(codec in NO_LEVELS or found[i] == level,
                  f'levels are {found}, not {wanted}')
        check(coded[2 * i + 1].kind == 'P', f'frames are {kinds(coded)}')
    if codec in NO_LEVELS:
        print(f'# {codec} {profile}: no level in its headers', flush=True)
    else:
        print(f'# {codec} {profile}: levels {" ".join(found)}', flush=True)


# Their streams say nothing of levels
NO_LEVELS = ('vp8', 'vp9')
# The lowest levels for 320x180 at 30 frames a second with 300 kbit/s and with
# 3 Mbit/s, by the tables of the standards
LOWEST = {'h264': ('1.3', '2.1'), 'hevc': ('2', '2.1'),
          'mpeg2': ('low', 'low'), 'mpeg4': ('3', '4')}


def raised_level(clips, codec):
    """By the size, by the bitrate, and back; no level can be too low."""
    lowest = capabilities()[codec]['controls']['level'][0]
    out = path(f'raised-{codec}.{CODECS[codec][0]}')
    said = encode(clips.short, codec, '-b', '300k', '--level', lowest,
                  '--set', '10:bitrate=3M', '--set', f'10:level={lowest}',
                  '--set', '20:bitrate=300k', '--set', f'20:level={lowest}',
                  '--limit', 30, out=out)
    coded = bitstream.read(out, codec)
    low, high = LOWEST[codec]
    for at, level in (0, low), (10, high), (20, low):
        check(answered(said, at, 'level') == level,
              f'the device says {answered(said, at, "level")}, not {level}')
        check_header(said, coded, at, level=level)


def raised_profile(clips, codec, asked, profile):
    """By samples of 10 bits."""
    out = path(f'raised-profile-{codec}.{CODECS[codec][0]}')
    said = encode(clips.deep, codec, '--profile', asked, '--limit', 5, out=out)
    check(answered(said, 0, 'profile') == profile,
          f'the device says {answered(said, 0, "profile")}')
    check_header(said, bitstream.read(out, codec), 0, profile=profile)


def no_b_frames(clips, codec, profile):
    """In a profile that has none."""
    out = path(f'no-b-{codec}.{CODECS[codec][0]}')
    said = encode(clips.short, codec, '--profile', profile, '--b-frames', 2,
                  '--limit', 20, out=out)
    check(answered(said, 0, 'b-frames') == 0,
          f'the device says {answered(said, 0, "b-frames")}')
    check(frames(out) == 'K' + 19 * 'P', f'frames are {frames(out)}')


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


#
# Changes in mid-stream.  What they do is seen in the stream itself, and that
# nothing was different before.
#

AT = 23


@functools.cache
def unchanged(clip, codec, *options):
    out = path(f'unchanged-{hash((clip, codec, options, threading.get_ident()))}'
               f'.{CODECS[codec][0]}')
    encode(clip, codec, *options, out=out)
    return hashes(out), sizes(out)


def changed(clip, codec, changes, *start, differs=AT, late=False):
    """Make changes (frame, control, value).

    differs: the first frame that is not as without them
    late: that may be a later one
    Returns: the frames in coding order, what vvclient says, and how large the
    frames are, without the changes and with them.
    """
    tag = '-'.join([*start, *(f'{frame}{control}{value}'
                              for frame, control, value in changes)])
    out = path(f'changed-{codec}-{tag}.{CODECS[codec][0]}')
    # The same start for both, x-controls=on included
    options = ['-b', '400k', '--gop', '100', *start]
    sets = [word for frame, control, value in changes
            for word in ('--set', f'{frame}:{control}={value}')]
    said = encode(clip, codec, *options, *sets, out=out)
    (before, old), after = unchanged(clip, codec, *options), hashes(out)
    same = [a == b for a, b in zip(before, after)]
    first = same.index(False) if False in same else None
    check(first == differs or (late and first and first > differs),
          f'the first frame that differs is {first}, not {differs}')
    coded = bitstream.read(out, codec)
    check(len(coded) == len(after) == said['frames'],
          f'{len(coded)} frames can be read of {len(after)}')
    return coded, said, (old, sizes(out))


def kinds(coded):
    return ''.join(frame.kind for frame in coded)


def answered(said, frame, control):
    """What the device has said of a change, or of the start."""
    answers = [a for a in said['controls'] if a['frame'] == frame]
    return answers[-1][control] if control in answers[-1] else None


def check_header(said, coded, at, **wanted):
    """A new sequence begins there, and is what the device has said."""
    frame = coded[at]
    check(frame.kind == 'K' and frame.headers, f'frame {at} is {frame}')
    for name, value in wanted.items():
        found = getattr(frame, name)
        check(found == value, f'{name} is {found}, not {value}, from {at} on')
        told = answered(said, at, name)
        check(told in (value, None), f'the device says {name} {told}, not '
                                     f'{value}')


def change(clips, codec, control, value, at=AT):
    """Not a frame earlier, nor later."""
    changed(clips.short, codec, [(at, control, value)], '--limit', '50')


def new_profile(clips, codec, names):
    """From one to the next: only at these frames there are headers."""
    places = [AT + 9 * i for i in range(len(names) - 1)]
    coded, said, _ = changed(
        clips.short, codec, [(at, 'profile', name)
                             for at, name in zip(places, names[1:])],
        '--profile', names[0])
    check(keys(kinds(coded)) == [0, *places], f'frames are {kinds(coded)}')
    for at, name in zip([0, *places], names):
        check_header(said, coded, at, profile=name)
    check(sum(frame.headers for frame in coded) == len(names),
          'there are more headers')


def new_level(clips, codec, first, second):
    coded, said, _ = changed(clips.short, codec, [(AT, 'level', second)],
                             '--level', first)
    check(keys(kinds(coded)) == [0, AT], f'frames are {kinds(coded)}')
    for at, level in (0, first), (AT, second):
        check(answered(said, at, 'level') == level,
              f'the device says {answered(said, at, "level")}')
        # VP9's headers have none
        check_header(said, coded, at,
                     **({} if codec == 'vp9' else {'level': level}))


def new_gop(clips, codec):
    """Shorter, shorter when one is just over, and longer again."""
    coded, *_ = changed(clips.short, codec, [(AT, 'gop', 9), (45, 'gop', 4),
                                             (55, 'gop', 30)])
    found = keys(kinds(coded))
    check(found == [0, 23, 32, 41, 45, 49, 53], f'key frames are {found}')


def new_b_frames(clips, codec):
    """Two of them, and then none any more."""
    coded, said, _ = changed(clips.short, codec, [(AT, 'b-frames', 2),
                                                  (41, 'b-frames', 0)])
    types = kinds(coded)
    # In coding order.  Nobody knows of the last two yet that they are that
    check(re.fullmatch('KP{22}K(PBB){5}P[BP]KP{18}', types),
          f'frames are {types}')
    check(said['b_frames'] == types.count('B'), f'{said["b_frames"]} flags')


def quantizers(codec, coded, said):
    """Of each frame, of whose blocks the decoder tells."""
    result = [frame.qps for frame in coded]
    if 'qps' in said:
        check(len(said['qps']) == len(coded), f'{len(said["qps"])} frames')
        result = [a + b for a, b in zip(result, said['qps'])]
    return result


# By coded format: the highest that there are at good quality, and the lowest
# at bad quality
QP_LIMITS = {'h264': (18, 40), 'hevc': (18, 40), 'vp8': (10, 50),
             'vp9': (10, 50), 'mpeg4': (8, 20)}


def in_stream(codec, value):
    return {'vp8': VP8_QP.get(value), 'vp9': value * VP9_QP}.get(codec, value)


def new_min_qp(clips, codec, mode='cbr'):
    low = QP_LIMITS[codec][1]
    coded, said, _ = changed(clips.short, codec, [(AT, 'min-qp', low)],
                             '--bitrate-mode', mode)
    if codec == 'vp8' and mode == 'cbr':
        # Blocks that libvpx refreshes in turn have half the quantizer
        print('# vp8: half the lowest quantizer in segment 1', flush=True)
        for frame in coded:
            del frame.qps[1:2]
    found, limit = quantizers(codec, coded, said), in_stream(codec, low)
    check(max(map(min, found[:AT])) < limit, f'quantizers are {found[:AT]}')
    check(min(map(min, found[AT:])) >= limit, f'quantizers are {found[AT:]}')


def new_max_qp(clips, codec):
    high = QP_LIMITS[codec][0]
    coded, said, _ = changed(clips.short, codec, [(AT, 'max-qp', high)], '-b',
                             '100k')
    found, limit = quantizers(codec, coded, said), in_stream(codec, high)
    check(max(map(max, found[1:AT])) > limit, f'quantizers are {found[:AT]}')
    check(max(map(max, found[AT:])) <= limit, f'quantizers are {found[AT:]}')


def new_prepend(clips, codec, *options):
    """Not of a key frame that is still in the making."""
    coded, *_ = changed(clips.short, codec, [
        (21, 'prepend-headers', 0), (45, 'prepend-headers', 1)], '--gop', '10',
        *options, differs=30)
    check(keys(kinds(coded)) == list(range(0, 60, 10)),
          f'frames are {kinds(coded)}')
    found = [i for i, frame in enumerate(coded) if frame.headers]
    check(found == [0, 10, 20, 50], f'headers are before frames {found}')


def new_mode(clips, codec):
    """What is hard may take as much as before only as long as it is VBR."""
    half = FPS // 2
    *_, found = changed(clips.burst, codec, [(3 * half, 'bitrate-mode', 'cbr')],
                        '--bitrate-mode', 'vbr', '--gop', '200',
                        # x264 goes on with the same quantizers if it can
                        differs=3 * half, late=codec == 'h264')
    bits = [sum(sizes_[4 * half:5 * half]) * 8 / 1000 for sizes_ in found]
    print(f'# {codec}: {bits[0]:.0f} kbit in the first half of a hard second, '
          f'{bits[1]:.0f} kbit with CBR', flush=True)
    check(bits[0] > bits[1] * 1.1, f'{bits[1]:.0f} of {bits[0]:.0f} kbit')


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


# What is said of RGB, which becomes BT.601 of limited range; VP8 has no other,
# and libavcodec's encoder of MPEG-4 part 2 says nothing
COLORS = {'vp8': ('bt470bg', 'tv'), 'mpeg4': (None, None)}


def raw(clips, codec, name):
    out = path(f'raw-{codec}-{name}.{CODECS[codec][0]}')
    said = encode(clips.short, codec, '--raw', name, '--compare', out=out)
    quality(said, name)
    row = probe(out, 'frame=color_space,color_range', '-read_intervals',
                '%+#1')[0]
    found = row.get('color_space'), row.get('color_range')
    rgb = COLORS.get(codec, ('smpte170m', 'tv'))
    if name == 'xrgb':
        check(found == rgb, f'the stream says {found}')
    else:
        # Only the guest knows
        check(found[0] is None or codec in COLORS, f'the stream says {found}')


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


# Twice before a frame, and with a single one in between
DRAINS = [20, 20, 21, 40]


def drained(clips, codec, *options, delay=False):
    """All of what came before, and on: anew only if frames were in the making.

    vvclient looks that a drain is answered behind all frames before it, and
    only there, and compares each frame with that of its timestamp.
    """
    outs = [path(f'drain-{codec}-{"".join(options)}-{i}.{CODECS[codec][0]}')
            for i in (0, 1)]
    options = ['-b', '400k', *options]
    encode(clips.short, codec, *options, out=outs[0])
    said = encode(clips.short, codec, *options, '--drain',
                  ','.join(map(str, DRAINS)), out=outs[1])
    types = frames(outs[1])
    check(len(types) == 60 == said['frames'], f'{len(types)} frames')
    check(keys(types) == expect_keys(60, 60, DRAINS if delay else ()),
          f'frames are {types}')
    check(said['key_frames'] == len(keys(types)),
          f'{said["key_frames"]} flags of {types}')
    check(said['psnr']['all'] > 30, f'PSNR is {said["psnr"]}')
    check((hashes(outs[0]) == hashes(outs[1])) != delay,
          'a drain changes frames' if not delay else 'a drain changes nothing')


def streams(clips, codec, n, *options):
    said = encode(clips.short, codec, '--streams', n, '-b', '300k', *options)
    check(said['frames'] == 60 * n, f'{said["frames"]} frames')


def one_buffer(clips, codec, *options):
    """A frame's buffer is free when it is read, not when it is coded."""
    outs = [path(f'{n}-buffers-{codec}.{CODECS[codec][0]}') for n in (1, 6)]
    for n, out in zip((1, 6), outs):
        encode(clips.short, codec, '-b', '400k', '--raw-buffers', n, *options,
               out=out)
    types = frames(outs[0])
    check(len(types) == 60, f'{len(types)} frames')
    check(('B' in types) == ('--b-frames' in options), f'frames are {types}')
    check(hashes(outs[0]) == hashes(outs[1]), 'frames are not the same')


# All kinds of virtqueues but the usual one
RINGS = [','.join(kind for i, kind in enumerate(
    ('packed', 'indirect', 'event-idx', 'in-order')) if bits >> i & 1)
    for bits in range(1, 16)]


def rings(clips, codec, kinds_, *options):
    """The same bytes, whatever the virtqueues are."""
    found = {}
    for kind in ['', *kinds_]:
        out = path(f'ring-{codec}-{kind}{"".join(options)}.{CODECS[codec][0]}')
        encode(clips.short, codec, '-b', '400k', '--limit', 30,
               *(['--ring', kind] if kind else []), *options, out=out)
        found[kind or 'split'] = md5(out)
    print(f'# {codec}: md5 {found["split"]}, {len(found)} times', flush=True)
    check(len(set(found.values())) == 1, f'streams are {found}')


def threads(clips, codec, option):
    out = path(f'threads-{codec}-{option}.{CODECS[codec][0]}')
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
    for direction in 'decoder', 'encoder':
        check_counts(said['device']['streams'], direction, said['frames'])
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
    found = capabilities()
    check(set(found) == set(CODECS), f'encoders are {sorted(found)}')
    for codec, caps in found.items():
        check({'bitrate', 'profile', 'gop', 'force-key'} <=
              set(caps['controls']), f'{codec}: {sorted(caps["controls"])}')
        check({'NV12', 'YUV420', 'XRGB8888'} <= set(caps['encodes_from']),
              f'{codec}: {caps["encodes_from"]}')


def basic_cases(clips):
    few = QUICK or SANITIZE
    for codec in CODECS:
        yield f'{codec}, pci', basic, clips, codec, []
    yield 'h264, mmio', basic, clips, 'h264', ['--transport', 'mmio']
    yield 'h264, pci scattered', basic, clips, 'h264', ['--scatter']
    # There is no aarch64 with sanitizers
    machines = MACHINES[:3] if SANITIZE else MACHINES[::3] if QUICK else MACHINES
    for codec in ('h264',) if few else CODECS:
        yield f'{codec}, the same bytes on every machine', everywhere, clips, \
            codec, machines
    if not few:
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
    for codec in CODECS:
        for profile in capabilities()[codec]['controls']['profile']:
            if not few or codec in ('h264', 'vp8'):
                yield f'{codec} of profile {profile}, all levels', \
                    all_levels, clips, codec, profile
    for codec in ('h264',) if few else LOWEST:
        yield f'{codec} with a level that is too low', raised_level, clips, \
            codec
    for codec, asked, profile in ('h264', 'main', 'high10'), \
            ('hevc', 'main', 'main10'), ('vp9', '0', '2'):
        yield f'{codec} of 10 bits in profile {asked}', raised_profile, \
            clips, codec, asked, profile
    for codec, profile in ('h264', 'constrained-baseline'), \
            ('mpeg2', 'simple'), ('mpeg4', 'simple'):
        yield f'{codec} without B frames in {profile}', no_b_frames, clips, \
            codec, profile
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
    for codec in CODECS:
        yield f'{codec} at another bitrate in the second half', change_rate, \
            clips, codec
        yield f'{codec}, CBR', bitrate, clips, codec, \
            CODECS[codec][1] * 3 // 2, 'cbr'
        # So little that the clip needs it
        yield f'{codec}, VBR', bitrate, clips, codec, \
            CODECS[codec][1] * 3 // 4, 'vbr'
        for mode in PEAK:
            yield f'{codec}, peaks of {mode.upper()}', peaks, clips, codec, \
                mode
        yield f'{codec} of 25 frames a second', other_rate, clips, codec


def change_cases(clips):
    for codec in ('h264',) if QUICK or SANITIZE else CODECS:
        controls = capabilities()[codec]['controls']
        yield f'{codec}, other profiles', new_profile, clips, codec, \
            controls['profile']
        if 'level' in controls:
            yield f'{codec}, another level', new_level, clips, codec, \
                *controls['level'][-2:]
        yield f'{codec}, other GOP sizes', new_gop, clips, codec
        if 'b-frames' in controls:
            yield f'{codec}, other B frames', new_b_frames, clips, codec
        if 'min-qp' in controls:
            for mode in ('cbr', 'vbr') if codec == 'vp8' else ('cbr',):
                yield f'{codec}, another lowest quantizer, {mode}', \
                    new_min_qp, clips, codec, mode
            yield f'{codec}, another highest quantizer', new_max_qp, clips, \
                codec
        if 'prepend-headers' in controls:
            yield f'{codec}, headers before fewer key frames', new_prepend, \
                clips, codec
            yield f'{codec}, the same with B frames', new_prepend, clips, \
                codec, '--b-frames', '2'
        yield f'{codec}, another bitrate mode', new_mode, clips, codec
        yield f'{codec}, a variable bitrate from a frame on', change, clips, \
            codec, 'bitrate-mode', 'vbr'


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
    for codec in ('h264',) if few else CODECS:
        yield f'{codec}, drained in mid-stream', drained, clips, codec
    for codec in ('h264',) if few else ('h264', 'hevc', 'mpeg2', 'mpeg4'):
        yield f'{codec} with B frames, drained in mid-stream', \
            functools.partial(drained, delay=True), clips, codec, \
            '--b-frames', '2'
    yield 'h264 with threads, drained in mid-stream', \
        functools.partial(drained, delay=True), clips, 'h264', '--codec', \
        'video-codec-libav,threads=3'
    for codec in ('h264',) if few else ('h264', 'hevc', 'mpeg2', 'mpeg4'):
        yield f'{codec} with B frames from one buffer', one_buffer, clips, \
            codec, '--b-frames', 3
    yield 'h264 on other virtqueues', rings, clips, 'h264', \
        RINGS[::5] if few else RINGS
    yield 'h264 on other virtqueues, mmio', rings, clips, 'h264', RINGS[-1:], \
        '--transport', 'mmio', '--scatter'
    if few:
        return
    yield 'vp8, 16 streams at once', streams, clips, 'vp8', 16, '--scatter'
    yield 'hevc, 3 streams at once', streams, clips, 'hevc', 3, \
        '--transport', 'mmio'
    for codec in 'vp8', 'vp9':
        yield f'{codec} from one buffer', one_buffer, clips, codec
    for codec in CODECS:
        if codec != 'h264':
            yield f'{codec} on other virtqueues', rings, clips, codec, \
                [RINGS[0], RINGS[-1]]
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
            return fn(*args)
        except Failed as e:
            return str(e)
        except (KeyError, IndexError, ValueError, TypeError) as e:
            return f'unexpected answer: {e!r}'
    return wrapped


def main():
    tap = Tap()
    clips = Clips()
    if not all(vars(clips).values()):
        tap.skip('encoding', 'this ffmpeg cannot make the clips')
        tap.exit()
    try:
        capabilities()
    except Failed as e:
        tap.result('caps', str(e))
        tap.exit()
    cases = [('caps', offered), *basic_cases(clips), *control_cases(clips),
             *change_cases(clips), *format_cases(clips), *load_cases(clips), *transcode_cases(),
             *refused_cases(clips)]
    tap.run_all((name, no_exception(fn), *args) for name, fn, *args in cases)
    tap.exit()


if __name__ == '__main__':
    main()
