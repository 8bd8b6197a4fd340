# Encoding with video-codec-vaapi: what comes out, each way of the pixels, and
# drivers that can do less or fail.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import json
import re

import bitstream
import encode as enc
from common import QUICK, run
from vaapi_common import ENCODE_PATHS, NODE, OBJECT, REAL, auto, caps, \
    engine, environment, imitate, in_turn, said, stream, vvclient

ENCODERS = {'h264': 'h264', 'hevc': 'hevc', 'vp8': 'ivf', 'vp9': 'ivf',
            'mpeg2': 'm2v'}


def as_native(clip, codec, extension, mode, profile, out):
    """As good as what ffmpeg makes with the same driver and settings."""
    reference = enc.path(f'native-{codec}-{mode}.{extension}')
    peak = 600 * (2 if mode == 'vbr' else 1)
    options = ['-profile:v', profile.replace('-', '_')] \
        if codec in ('h264', 'hevc') else []
    result = run('ffmpeg', '-nostdin', '-v', 'error', '-y', '-init_hw_device',
                 f'vaapi=va:{NODE}', '-i', clip, '-vf', 'format=nv12,hwupload',
                 '-c:v', f'{codec}_vaapi', '-rc_mode', mode.upper(),
                 '-b:v', '600k', '-maxrate', f'{peak}k', '-bufsize',
                 f'{peak}k', '-rc_init_occupancy', f'{peak * 3 // 4}k',
                 '-g', 20, '-bf', 0, '-async_depth', 1, *options, reference,
                 env=environment())
    enc.check(result.returncode == 0, result.stderr)
    psnr, want = (enc.ffmpeg_psnr(f, clip) for f in (out, reference))
    print(f'# {codec}, {mode}: PSNR {psnr:.2f} dB, with ffmpeg {want:.2f}',
          flush=True)
    enc.check(psnr >= want - enc.PSNR_SLACK,
              f'PSNR is {psnr:.2f}, with ffmpeg {want:.2f}')


def encodes(coded, codec, extension, mode, raw=None):
    """Frames, key frames, quality and bits per second."""
    out = enc.path(f'gpu-{codec}-{mode}-{raw}.{extension}')
    answer = enc.encode(coded.plain, codec, '-b', '600k', '--gop', '20',
                        '--bitrate-mode', mode,
                        *(['--raw', raw] if raw else []), out=out)
    types = enc.frames(out)
    enc.check(len(types) == coded.n, f'{len(types)} frames')
    enc.check(enc.keys(types) == enc.expect_keys(coded.n, 20),
              f'frames are {types}')
    enc.check((answer['key_frames'], answer['p_frames'], answer['b_frames']) ==
              tuple(types.count(t) for t in 'KPB'),
              f'flags say {answer["key_frames"]}, {answer["p_frames"]} and '
              f'{answer["b_frames"]} of {types}')
    enc.check(stream(answer)['engine'].startswith('VA-API'),
              stream(answer)['engine'])

    rate = sum(enc.sizes(out)) * 8 * enc.FPS / coded.n / 1000
    psnr = answer['psnr']['all']
    print(f'# {codec}, {mode}, {raw}: {rate:.1f} kbit/s for 600, PSNR '
          f'{psnr:.2f} dB, {stream(answer)["engine"]}', flush=True)
    # Others are the same, or have lost something on their way from RGB
    if not raw:
        profile = enc.answered(answer, 0, 'profile')
        as_native(coded.plain, codec, extension, mode, profile, out)
    enc.check(psnr > 30, f'PSNR is {psnr:.2f}')
    # It takes some seconds until a beginning does not count any more
    enc.check(enc.near(rate, 600, 10 if mode == 'cbr' and enc.SECONDS >= 10
                       else 40), f'{rate:.1f} kbit/s')


def rate_modes(coded, codec, extension):
    """What is hard may take more only with a variable bitrate."""
    found = {}
    for mode in 'cbr', 'vbr':
        out = enc.path(f'burst-{codec}-{mode}.{extension}')
        enc.encode(coded.burst, codec, '-b', '400k', '--bitrate-mode', mode,
                   out=out)
        found[mode] = enc.sizes(out)
    # The first half of the last second is where the hard part begins
    half = enc.FPS // 2
    kbits = {mode: sum(found[mode][4 * half:5 * half]) * 8 // 1000
             for mode in found}
    print(f'# {codec}: {kbits} kbit in half a second', flush=True)
    enc.check(found['vbr'] != found['cbr'], 'no difference')
    # libvpx allows VP8 as much for half a second
    enc.check(codec == 'vp8' or kbits['vbr'] > kbits['cbr'] * 1.1,
              f'{kbits} kbit')


def less(clip, codec, extension, options, *args):
    """On a GPU that has less, or has it in another way."""
    out = enc.path(f'with-{codec}-{options}{"".join(args)}.{extension}')
    answer = encode_way(clip, codec, 'import', '--raw', 'nv12', *args, out=out,
                        options=options)
    enc.check(len(enc.frames(out)) == 60, f'frames are {enc.frames(out)}')
    enc.check(answer['psnr']['all'] > 30, f'PSNR is {answer["psnr"]}')
    return answer, out


def encode_with(*args):
    less(*args)


def encode_fixed(clip, codec, extension):
    """Without any rate control it is still a good picture."""
    answer, out = less(clip, codec, extension, 'cqp-only')
    rate = sum(enc.sizes(out)) * 8 * enc.FPS / 60 / 1000
    psnr = answer['psnr']['all']
    print(f'# {codec}: {rate:.1f} kbit/s, PSNR {psnr:.2f} dB', flush=True)
    enc.check(psnr > 35, f'PSNR is {psnr:.2f}')


def other_profile(clip, codec, options, profile):
    """The best that there is without the usual one."""
    answer, out = less(clip, codec, ENCODERS[codec], options)
    enc.check_header(answer, bitstream.read(out, codec), 0, profile=profile)


def only_modes(clip, codec, extension):
    """Who asks for the bitrate mode that is not there gets, and is told of,
    the other one."""
    for options, mode in ('no-cbr', 'vbr'), ('no-vbr', 'cbr'):
        for asked in 'vbr', 'cbr':
            answer, _ = less(clip, codec, extension, options,
                             '--bitrate-mode', asked)
            found = enc.answered(answer, 0, 'bitrate-mode')
            enc.check(found == mode, f'{asked} is {found} with {options}')


def headers(coded, codec, extension, profile, level):
    """What is asked for, or what the device says, is in the stream."""
    raised = enc.RAISED.get((codec, profile), {}).get(level, level)
    out = enc.path(f'gpu-headers-{codec}-{profile}.{extension}')
    options = ['--level', level] if level else []
    answer = enc.encode(coded.deep if profile == 'main10' else coded.short,
                        codec, '-b', '300k', '--profile', profile, '--limit',
                        10, *options, out=out)
    for name, value in ('profile', profile), ('level', raised):
        enc.check(enc.answered(answer, 0, name) == value,
                  f'the device says {name} {enc.answered(answer, 0, name)}')
    wanted = {'level': raised} if level and codec not in enc.NO_LEVELS else {}
    enc.check_header(answer, bitstream.read(out, codec), 0, profile=profile,
                     **wanted)


def encode_way(clip, codec, way, *args, out=None, options=''):
    """Returns: what vvclient says of a clip that has gone this way.

    Forced but for those in parentheses.
    """
    forced = '' if '(' in way else f',x-path={way}'
    result = vvclient('encode', clip, '-c', codec, '--json', '--codec',
                      OBJECT + forced, *(['-o', out] if out else []), *args,
                      options=options)
    answer = said(result)
    enc.check(answer['ok'], f'{answer["errors"]}')
    info = stream(answer)
    enc.check(re.fullmatch(engine(way), info['engine']), info['engine'])
    enc.check((info['pixels-copied'] == 0) == (way == 'import'),
              f'{info["pixels-copied"]} bytes copied')
    return answer


def encode_ways(clip, codec, extension, raw):
    """The same bytes, whichever way the pixels go."""
    found = {}
    for way in ENCODE_PATHS:
        out = enc.path(f'way-{codec}-{raw}-{way}.{extension}')
        encode_way(clip, codec, way, '--raw', raw, out=out)
        found[way] = enc.md5(out)
    enc.check(len(set(found.values())) == 1, f'streams are {found}')


def encode_like(clip, codec, extension, way, *args, options=''):
    """The same bytes as those that go another way."""
    outs = [enc.path(f'like-{codec}-{way}-{options}{"".join(args)}-{i}.'
                     f'{extension}') for i in range(2)]
    encode_way(clip, codec, 'derive', '--raw', 'nv12', out=outs[0])
    encode_way(clip, codec, way, '--raw', 'nv12', *args, out=outs[1],
               options=options)
    enc.check(enc.md5(outs[0]) == enc.md5(outs[1]), 'streams differ')


def encode_noise(clip, codec, extension, way):
    """All of the stream is there, whatever it shows."""
    out = enc.path(f'noise-{way}.{extension}')
    encode_way(clip, codec, way, '--raw', 'nv12', '--scribble', out=out)
    types = enc.frames(out)
    enc.check(len(types) == 60, f'{len(types)} frames')
    answer = encode_way(clip, codec, way, '--raw', 'nv12')
    noisy = encode_way(clip, codec, way, '--raw', 'nv12', '--scribble')
    enc.check(noisy['psnr']['all'] < answer['psnr']['all'] - 3,
              'nobody has changed a frame')


def encode_refused(clip, codec, options, *args):
    result = vvclient('encode', clip, '-c', codec, '--json', '--raw', 'nv12',
                      '--codec', f'{OBJECT},x-path=import', *args,
                      options=options)
    enc.check(result.returncode == 1 and "can't read this frame" in
              result.stdout + result.stderr, result.stdout + result.stderr)


def encode_path_cases(coded, names):
    for codec in names[:1] if QUICK else names:
        yield f'encode {codec} on each path', encode_ways, coded.short, codec, \
            ENCODERS[codec], 'nv12'
    if 'P010' in caps('')['encodes_from'].get('hevc', []):
        yield 'encode hevc on each path, 10 bits', encode_ways, coded.deep, \
            'hevc', 'hevc', 'p010'
    if REAL:
        return
    first, extension = names[0], ENCODERS[names[0]]
    like = encode_like, coded.short, first, extension
    copied = '(derive|getimage)'
    yield 'encode from a DMA-BUF', imitate, 'udmabuf', *like, 'import'
    yield 'encode from a DMA-BUF of scattered pages', imitate, 'udmabuf', \
        *like, 'import', '--scatter'
    yield 'encode from scattered pages', *like, copied, '--scatter'
    yield 'encode, no DMA-BUF of this RAM', imitate, 'udmabuf', *like, \
        'import', '--unsealed'
    yield 'encode from scattered pages, forced', encode_refused, coded.short, \
        first, '', '--scatter'
    yield 'encode, no import', imitate, 'no-import', *like, copied
    yield 'encode, an import that reads something else', imitate, \
        'import-garbled', *like, copied
    garbled = 'derive-garbled,get-image-ms=2'
    yield 'encode, derived images of something else', imitate, \
        f'{garbled},no-import', *like, '(getimage)'
    yield 'encode, no import, forced', encode_refused, coded.short, first, \
        'no-import'
    yield 'encode, no import but for decoders', imitate, 'no-import-read', \
        *like, copied
    yield 'decode, no import but for decoders', auto, coded.clip, 'import', \
        'no-import-read'
    yield 'encode, a slow video processor', imitate, 'process-ms=20', *like, \
        'import'
    for way in ENCODE_PATHS:
        yield f'encode while the guest changes frames, {way}', encode_noise, \
            coded.short, first, extension, way
    # Each second sync is that of the copy, the others are the encoder's
    yield 'encode, a copy that fails', imitate, 'fail-sync=20', *like, \
        '(import|derive|getimage)'


def encode_failure(coded, codec, extension, options, *props):
    """A frame without data, then a key frame."""
    out = enc.path(f'gpu-{options}.{extension}')
    result = vvclient('encode', coded.short, '-c', codec, '--json', '--codec',
                      ','.join([OBJECT, *props]), '-o', out, options=options)
    answer = said(result)
    enc.check(not answer['ok'], 'nobody has noticed')
    types = enc.frames(out)
    enc.check(58 <= len(types) <= 59, f'{len(types)} frames')
    enc.check(len(enc.keys(types)) == 2, f'frames are {types}')


def encode_all_lost(coded, codec):
    """Frames that were in the making are lost with the one that fails."""
    result = vvclient('encode', coded.short, '-c', codec, '--json', '--codec',
                      OBJECT, '--b-frames', 3,
                      options='b-frames,fail-end-picture=20')
    answer = said(result)
    output = stream(answer)['output']
    lost = re.findall(r'the coded data of frame (\d+) is lost',
                      '\n'.join(answer['errors']))
    # The software driver makes no B frames, so their order is wrong
    enc.check(len(lost) > 1, f'errors are {answer["errors"]}')
    enc.check(output['errors'] == len(lost) == 60 - output['buffers'],
              f'{len(lost)} are lost, output is {output}')


def encode_loss(coded, codec, options):
    result = vvclient('encode', coded.short, '-c', codec, '--json', '--codec',
                      OBJECT, options=options)
    enc.check(result.returncode == 1 and 'the GPU is lost' in
              result.stdout + result.stderr, result.stdout + result.stderr)


def encode_software(clip, codec, extension, encoder, options=''):
    """What the GPU does not encode is as video-codec-libav makes it."""
    found = {}
    for name in f'{OBJECT},fallback=software', 'video-codec-libav':
        out = enc.path(f'{name.partition(",")[0]}-{codec}.{extension}')
        answer = said(vvclient('encode', clip, '-c', codec, '--json',
                               '--codec', name, '-o', out, options=options))
        enc.check(answer['ok'], f'{name}: {answer["errors"]}')
        enc.check(stream(answer)['engine'] == f'libavcodec {encoder}',
                  f'{name}: engine is {stream(answer)["engine"]}')
        found[name] = enc.md5(out)
    enc.check(len(enc.frames(out)) == 60, f'frames are {enc.frames(out)}')
    enc.check(len(set(found.values())) == 1, f'streams are {found}')


def encode_not_offered(clip, codec, options=''):
    """Nor is it encoded in software unless that is asked for."""
    result = vvclient('encode', clip, '-c', codec, '--json', '--codec', OBJECT,
                      options=options)
    text = result.stdout + result.stderr
    enc.check(result.returncode == 1 and 'cannot encode' in text, text)


def transcode(path, codec, out):
    """On the GPU both times, and still a good picture."""
    answer = enc.transcode(path, codec, '-b', '1M', '--codec', OBJECT,
                           out=enc.path(out))
    enc.check(enc.count(enc.path(out)) == 40 == answer['frames'],
              'frames are missing')
    engines = [info['engine'] for info in answer['device']['streams']]
    psnr = answer['sizes'][0]['psnr']['all']
    print(f'# {codec}: PSNR {psnr:.2f} dB, {engines}', flush=True)
    enc.check(len(engines) == 2 and
              all(text.startswith('VA-API') for text in engines),
              f'engines are {engines}')
    enc.check(psnr > 32, f'PSNR is {psnr:.2f}')


def encoder_cases(coded, names, paths):
    for codec in names:
        extension = ENCODERS[codec]
        yield f'encode {codec}', encodes, coded, codec, extension, 'cbr'
        controls = caps('')['controls'][codec]
        for profile in controls['profile']:
            yield f'{codec} of profile {profile}', headers, coded, codec, \
                extension, profile, controls.get('level', [None] * 4)[-4]
        if QUICK:
            continue
        for raw in 'yu12', 'xrgb':
            yield f'encode {codec} from {raw}', encodes, coded, codec, \
                extension, 'cbr', raw
        yield f'encode {codec}, vbr', encodes, coded, codec, extension, 'vbr'
        yield f'{codec}: CBR and VBR', rate_modes, coded, codec, extension
        yield f'{codec}: forced key frames', enc.force, coded, codec
        for control, value in ('bitrate', '2M'), ('gop', '10'):
            yield f'{codec}: another {control}', enc.change, coded, codec, \
                control, value
        yield f'{codec}: streams', enc.streams, coded, codec, 4
        yield f'{codec}: without delay', in_turn, 'encode', coded.short, '-c', \
            codec
    first = names[0]
    for name in ('h264', 'vp9')[:1 if QUICK else 2]:
        yield f'transcode {name} to {first}', transcode, paths[name], first, \
            f'transcoded-{name}.{ENCODERS[first]}'


def encoder_imitation_cases(coded, names):
    for codec in names[:1] if QUICK else names:
        yield f'{codec}: CQP only', encode_fixed, coded.short, codec, \
            ENCODERS[codec]
    first, extension = names[0], ENCODERS[names[0]]
    yield f'{first}: a failure', encode_failure, coded, first, extension, \
        'fail-end-picture=20'
    # No sync but the encoder's own is where the CPU copies
    yield f'{first}: a failure behind its back', encode_failure, coded, first, \
        extension, 'fail-sync=30', 'x-path=derive'
    if first == 'h264':
        yield f'{first}: a failure of B frames', encode_all_lost, coded, \
            first
    for how in 'lose-device', 'fail-all-after':
        yield f'{first}: the GPU is lost, {how}', encode_loss, coded, first, \
            f'{how}=20'
    for codec, extension, encoder, options in (
            ('mpeg4', 'm4v', 'mpeg4', ''),
            ('h264', 'h264', 'libx264', 'no-encode')):
        yield f'{codec} is not encoded by this GPU', encode_not_offered, \
            coded.short, codec, options
        yield f'{codec} is not encoded by this GPU, fallback', \
            encode_software, coded.short, codec, extension, encoder, options
    yield f'{first}: CBR only, VBR only', only_modes, coded.short, first, \
        extension
    yield f'{first}: low power', encode_with, coded.short, first, extension, \
        'low-power'
    for codec, usual, profile in (('h264', 'H264High', 'main'),
                                  ('mpeg2', 'MPEG2Main', 'simple')):
        yield f'{codec}: without its usual profile', other_profile, \
            coded.short, codec, f'no-encode-profile={usual}', profile


def encode_short(coded, codec, *props):
    result = vvclient('encode', coded.short, '-c', codec, '--json', '--raw',
                      'nv12', '--codec', ','.join([OBJECT, *props]))
    try:
        return said(result)
    except json.JSONDecodeError:
        return {'ok': False, 'errors': [result.stderr]}


def encoder_names():
    """Those that the driver has."""
    return [name for name in ENCODERS if name in caps('')['encodes_from']]
