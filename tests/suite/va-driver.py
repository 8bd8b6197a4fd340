#!/usr/bin/python3
# The software VA driver, by clients that know nothing of it: ffmpeg, vainfo,
# and the elements of GStreamer's plugin "va".
#
# What decodes to the right MD5 here is not tuned to our own client.  The
# driver's counts tell that it was used, as ffmpeg decodes in software where a
# VA driver refuses.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import itertools
import os
import re
import shutil
import time
from pathlib import Path

from common import QUICK, TMP, Tap, clips, ffmpeg, run

DRIVER = Path(os.environ.get(
    'VA_DRIVER',
    Path(__file__).resolve().parents[2] / 'build/tools/tests/va-driver'))
PROFILES = {
    'MPEG2Simple': 'VLD EncSlice', 'MPEG2Main': 'VLD EncSlice',
    'H264ConstrainedBaseline': 'VLD EncSlice',
    'H264Main': 'VLD EncSlice', 'H264High': 'VLD EncSlice',
    'HEVCMain': 'VLD EncSlice', 'HEVCMain10': 'VLD EncSlice',
    'VP8Version0_3': 'VLD EncSlice', 'VP9Profile0': 'VLD EncSlice',
    'VP9Profile2': 'VLD', 'AV1Profile0': 'VLD',
    'JPEGBaseline': 'VLD EncPicture', 'None': 'VideoProc',
}
CODECS = ('h264', 'hevc', 'vp8', 'vp9', 'av1', 'mpeg2', 'mjpeg')
# Pixel formats, and what they are in a surface
SURFACES = {'yuv420p': 'nv12', 'yuvj420p': 'nv12', 'yuv420p10le': 'p010'}
# Of these only the driver and the same libavcodec in software are compared
INEXACT = ('mpeg2', 'mjpeg')
# Clips that the driver can't decode, and why
EXCEPTIONS = {
    'hevc/hevcjs-i_64x64_10bit.265':
        'it uses range extensions, which the Main 10 profile has not',
    'av1/wpt-four-colors.mp4': 'it is RGB, which profile 0 has not',
    'av1/vkcts-av1-sizeup-fluster.ivf':
        'libavcodec goes on with the surfaces of the smaller size',
}
LIBAOM = ['-c:v', 'libaom-av1', '-cpu-used', '8', '-b:v', '400k']
# Clips that are made where there are no others
MADE = {
    'h264.mp4': ['-c:v', 'libx264', '-bf', '2'],
    'vp8.webm': ['-c:v', 'libvpx', '-b:v', '400k'],
    'vp9.webm': ['-c:v', 'libvpx-vp9', '-b:v', '400k', '-cpu-used', '8'],
    'av1.mp4': ['-c:v', 'libsvtav1', '-preset', '12'],
    'av1-10.mp4': ['-c:v', 'libsvtav1', '-preset', '12', '-pix_fmt',
                   'yuv420p10le'],
    'av1-libaom.mkv': [*LIBAOM],
    'av1-tiles.mkv': [*LIBAOM, '-tiles', '2x2'],
    'av1-grain.mkv': [*LIBAOM, '-aom-params', 'film-grain-test=2'],
    'av1-grain-10.mkv': [*LIBAOM, '-aom-params', 'film-grain-test=7',
                         '-pix_fmt', 'yuv420p10le'],
    'av1-lossless.mkv': [*LIBAOM, '-aom-params', 'lossless=1'],
    'av1-segments.mkv': [*LIBAOM, '-usage', 'realtime', '-aom-params',
                         'aq-mode=3'],
    'hevc.mp4': ['-c:v', 'libx265', '-x265-params', 'log-level=none'],
    'hevc-10.mp4': ['-c:v', 'libx265', '-x265-params', 'log-level=none',
                    '-pix_fmt', 'yuv420p10le'],
    'mpeg2.m2v': ['-c:v', 'mpeg2video', '-bf', '2'],
    'mjpeg.avi': ['-c:v', 'mjpeg', '-pix_fmt', 'yuvj420p'],
}
# Encoder, options, file, dB at least, kbit/s or None
ENCODERS = (
    ('h264_vaapi', ['-qp', '24'], 'h264', 38, None),
    ('h264_vaapi', ['-b:v', '400k', '-maxrate', '400k'], 'h264', 36, 400),
    ('h264_vaapi', ['-b:v', '400k', '-maxrate', '800k'], 'h264', 36, 400),
    ('hevc_vaapi', ['-qp', '24'], 'hevc', 38, None),
    ('hevc_vaapi', ['-b:v', '400k', '-maxrate', '400k'], 'hevc', 33, 400),
    ('hevc_vaapi', ['-profile:v', 'main10', '-b:v', '400k'], 'hevc', 33, 400),
    ('vp8_vaapi', ['-global_quality', '30'], 'ivf', 38, None),
    ('vp8_vaapi', ['-b:v', '400k', '-maxrate', '400k'], 'ivf', 33, 400),
    ('vp9_vaapi', ['-global_quality', '80'], 'ivf', 38, None),
    ('vp9_vaapi', ['-b:v', '400k', '-maxrate', '400k'], 'ivf', 33, 400),
    ('mpeg2_vaapi', ['-global_quality', '4'], 'm2v', 38, None),
    ('mpeg2_vaapi', ['-b:v', '1M', '-maxrate', '1M'], 'm2v', 33, 1000),
    ('mpeg2_vaapi', ['-b:v', '1M', '-maxrate', '2M'], 'm2v', 33, 1000),
    ('mjpeg_vaapi', ['-global_quality', '80'], 'mjpeg', 33, None),
)
# GStreamer's demuxer, parser and decoder for a clip
GST_DECODERS = {
    'h264.mp4': ('qtdemux', 'h264parse', 'vah264dec'),
    'hevc.mp4': ('qtdemux', 'h265parse', 'vah265dec'),
    'hevc-10.mp4': ('qtdemux', 'h265parse', 'vah265dec'),
    'vp8.webm': ('matroskademux', 'vavp8dec'),
    'vp9.webm': ('matroskademux', 'vp9parse', 'vavp9dec'),
    'av1.mp4': ('qtdemux', 'av1parse', 'vaav1dec'),
    'av1-10.mp4': ('qtdemux', 'av1parse', 'vaav1dec'),
    'mpeg2.m2v': ('mpegvideoparse', 'vampeg2dec'),
    'mjpeg.avi': ('avidemux', 'jpegparse', 'vajpegdec'),
}
# The video processor: from a format to a size and a format
CONVERSIONS = (
    ('nv12', '160x90', 'nv12'), ('nv12', '640x360', 'nv12'),
    ('nv12', '322x182', 'p010'), ('p010', '322x182', 'nv12'),
    ('p010', '160x90', 'p010'), ('nv12', '322x182', 'bgra'),
    ('bgra', '322x182', 'nv12'), ('p010', '640x360', 'rgba'),
)
GST_ENCODERS = {'vah264enc': 'h264', 'vah265enc': 'hevc'}
FRAMES = 30
numbers = itertools.count()


def va(*args, options=''):
    """Run with the driver; also returns its counts as a dict."""
    stats = os.path.join(TMP, f'stats-{next(numbers)}')
    result = run(*args, env={
        **os.environ, 'LIBVA_DRIVERS_PATH': str(DRIVER),
        'LIBVA_DRIVER_NAME': 'vvsw', 'LIBVA_MESSAGING_LEVEL': '0',
        'LD_PRELOAD': f'{DRIVER}/libvvsw-preload.so:{DRIVER}/libvvsw-gudev.so',
        'GST_REGISTRY': os.path.join(TMP, 'gst-registry'),
        'GST_VA_ALL_DRIVERS': '1',      # also those that it does not know
        'VVSW_OPTIONS': f'{options},stats-often,stats={stats}'})
    counts = {}
    if os.path.exists(stats):
        text = Path(stats).read_text(encoding='ascii')
        for key, n in re.findall(r'([a-z-]+)=(\d+)', text):
            counts[key] = max(counts.get(key, 0), int(n))
    return result, counts


def vaapi(*args, options=''):
    return va('ffmpeg', '-nostdin', '-v', 'error', '-y', '-init_hw_device',
              'vaapi=va:/dev/null', *args, options=options)


def decode_args(path, codec, pix_fmt, hardware):
    vf, options = f'format={pix_fmt}', []
    if hardware:
        # No frame that software has decoded passes hwdownload; full range
        # stays so, as in the other
        vf = f'hwdownload,format={SURFACES[pix_fmt]},' \
            f'scale=in_range=pc:out_range=pc,{vf}'
        options = ['-hwaccel', 'vaapi', '-hwaccel_device', 'va',
                   '-hwaccel_output_format', 'vaapi',
                   '-hwaccel_flags', 'allow_profile_mismatch']
        if codec == 'av1':
            # The first of its decoders has no hardware
            options += ['-c:v', 'av1']
    return [*options, '-i', path, '-map', '0:v:0', '-fps_mode', 'passthrough',
            '-noautoscale', '-vf', vf, '-c:v', 'rawvideo', '-f', 'rawvideo',
            '-f', 'md5', '-']


def decode(path, codec, pix_fmt, want=None, frames=None):
    if want is None:
        want = ffmpeg(*decode_args(path, codec, pix_fmt, False)).stdout
        want = want.strip().removeprefix('MD5=')
    result, counts = vaapi(*decode_args(path, codec, pix_fmt, True))
    md5 = result.stdout.strip().removeprefix('MD5=')
    if result.returncode or not want or md5 != want:
        return f'MD5 is {md5}, expected {want}\n{result.stderr}'
    if not counts.get('decoded') or counts['failed'] or \
            counts['decoded'] < (frames or 1):
        return f'{frames} frames; the driver says {counts}'
    return None


def vainfo(options=''):
    result, _ = va('vainfo', '--display', 'drm', '--device', '/dev/null',
                   options=options)
    found = {}
    for profile, entrypoint in re.findall(
            r'VAProfile(\w+)\s*:\s*VAEntrypoint(\w+)', result.stdout):
        found.setdefault(profile, []).append(entrypoint)
    return result, found


def lists_profiles():
    result, found = vainfo()
    for profile, entrypoints in PROFILES.items():
        if found.get(profile) != entrypoints.split():
            return f'{profile}: {found.get(profile)}\n{result.stderr}'
    return None


def no_profile():
    _, found = vainfo('no-profile=H264High,no-profile=VP9Profile0')
    missing = set(PROFILES) - set(found)
    return None if missing == {'H264High', 'VP9Profile0'} else f'{missing}'


def no_encode():
    _, found = vainfo('no-encode')
    entrypoints = {e for all_of_one in found.values() for e in all_of_one}
    return None if entrypoints == {'VLD', 'VideoProc'} else f'{entrypoints}'


def make(name, *options, size='320x180'):
    out = os.path.join(TMP, name)
    result = ffmpeg('-f', 'lavfi', '-i', f'testsrc2=size={size}:rate=30',
                    '-frames:v', FRAMES, '-pix_fmt', 'yuv420p', *options, out)
    return out if result.returncode == 0 else None


def made_of(name):
    """Codec and pixel format of a clip in MADE."""
    codec = re.split(r'[-.]', name)[0]
    return codec, 'yuvj420p' if codec == 'mjpeg' else \
        'yuv420p10le' if '-10.' in name else 'yuv420p'


def encode_to(source, encoder, options, out, knobs=''):
    pix_fmt = 'p010' if 'main10' in options else 'nv12'
    # JPEG's samples are of full range, which the driver cannot know
    full = encoder == 'mjpeg_vaapi'
    scale = 'scale=out_range=pc,' if full else ''
    return vaapi('-i', source, '-vf', f'{scale}format={pix_fmt},hwupload',
                 *(['-color_range', 'pc'] if full else []), '-c:v', encoder,
                 *options, out, options=knobs)


def psnr(path, source):
    graph = ';'.join(f'[{i}:v]settb=1/30,setpts=N,format=yuv420p[{i}]' for i in (0, 1))
    result = run('ffmpeg', '-nostdin', '-v', 'info', '-i', path, '-i', source,
                 '-lavfi', f'{graph};[0][1]psnr', '-f', 'null', '-')
    found = re.search(r'average:([\d.]+)', result.stderr)
    return float(found[1]) if found else 0


def encode(source, size, encoder, options, suffix, least, rate):
    out = os.path.join(TMP, f'encoded-{next(numbers)}.{suffix}')
    result, counts = encode_to(source, encoder, options, out)
    if result.returncode or counts.get('encoded') != FRAMES or counts['failed']:
        return f'the driver says {counts}\n{result.stderr}'
    return encoded(source, size, out, least, rate)


def encoded(source, size, out, least, rate):
    said = run('ffprobe', '-v', 'error', '-count_frames', '-show_entries',
               'stream=width,height,nb_read_frames', '-of', 'csv=p=0', out)
    want = f'{size.replace("x", ",")},{FRAMES}'
    # A stream with side data has one more comma
    if said.stdout.strip(',\n') != want or said.stderr:
        return f'ffprobe: {said.stdout}, expected {want}\n{said.stderr}'
    quality = psnr(out, source)
    if quality < least:
        return f'PSNR is {quality}, less than {least}'
    kbits = os.path.getsize(out) * 8 / FRAMES * 30 / 1000
    if rate and not rate * 0.5 < kbits < rate * 1.6:
        return f'{kbits} kbit/s instead of {rate}'
    return None


def gst(*elements):
    """A pipeline; elements with properties are lists of words."""
    words = []
    for element in elements:
        words += ['!', *([element] if isinstance(element, str) else element)]
    return va('gst-launch-1.0', '-q', *words[1:])


def gst_decode(path, pix_fmt, elements):
    out = os.path.join(TMP, f'gst-{next(numbers)}.yuv')
    result, counts = gst(['filesrc', f'location={path}'], *elements,
                         ['filesink', f'location={out}'])
    if result.returncode or counts.get('decoded') != FRAMES or counts['failed']:
        return f'the driver says {counts}\n{result.stderr}'
    want = ffmpeg('-i', path, '-vf', 'scale=in_range=pc:out_range=pc,format='
                  f'{SURFACES[pix_fmt].replace("p010", "p010le")}',
                  '-f', 'rawvideo', f'{out}.want')
    if want.returncode:
        return want.stderr
    same = Path(out).read_bytes() == Path(f'{out}.want').read_bytes()
    return None if same else 'frames are not those of ffmpeg'


def gst_encode(source, size, element, suffix):
    out = os.path.join(TMP, f'gst-{next(numbers)}.{suffix}')
    result, counts = gst(['filesrc', f'location={source}'], 'y4mdec',
                         'videoconvert', 'video/x-raw,format=NV12', element,
                         ['filesink', f'location={out}'])
    if result.returncode or counts.get('encoded') != FRAMES or counts['failed']:
        return f'the driver says {counts}\n{result.stderr}'
    return encoded(source, size, out, 38, None)


def gst_cases(tap, source, size, made):
    """Those of which there are elements; others are skipped."""
    found = ''
    if shutil.which('gst-inspect-1.0'):
        # This makes the registry, too, before there are two at once
        found = va('gst-inspect-1.0', 'va')[0].stdout
    for name, elements in GST_DECODERS.items():
        if f' {elements[-1]}:' in found:
            yield f'GStreamer {elements[-1]}, {name}', gst_decode, made[name], \
                made_of(name)[1], elements
        else:
            tap.skip(f'GStreamer, {name}', f'there is no {elements[-1]}')
    for element, suffix in GST_ENCODERS.items():
        if f' {element}:' in found:
            yield f'GStreamer {element}', gst_encode, source, size, element, \
                suffix
        else:
            tap.skip(f'GStreamer, {suffix}', f'there is no {element}')


def process(source, before, size, after):
    """What the video processor makes is what libswscale makes."""
    width, height = size.split('x')
    flags = 'flags=bicubic+accurate_rnd+full_chroma_int'
    # ffmpeg thinks that what comes from RGB has its range, and says so
    graph = f'[0:v]format={before},split[a][b];[a]hwupload,' \
        f'scale_vaapi={width}:{height}:format={after}:out_range=tv,' \
        'hwdownload,' \
        f'format={after},setparams=range=tv:colorspace=unknown[x];' \
        f'[b]scale={width}:{height}:{flags},format={after},' \
        'setparams=range=tv:colorspace=unknown[y];[x][y]psnr'
    result, counts = va('ffmpeg', '-nostdin', '-v', 'info', '-y',
                        '-init_hw_device', 'vaapi=va:/dev/null', '-i', source,
                        '-lavfi', graph, '-f', 'null', '-')
    found = re.search(r'PSNR .*average:([\d.]+|inf) ', result.stderr)
    if result.returncode or not found or float(found[1]) < 50 or \
            counts.get('processed') != FRAMES or counts['failed']:
        return f'PSNR is {found and found[1]}, the driver says {counts}\n' \
            f'{result.stderr}'
    return None


def client(test, options=''):
    """What tests/va-driver/client.c finds wrong, or None."""
    result, _ = va(DRIVER / 'client', test, options=options)
    return None if result.returncode == 0 else \
        result.stderr or f'exit status {result.returncode}'


def uploads(source, knob, count):
    """The same bytes, whichever way the pixels go."""
    outs = []
    for knobs in '', knob:
        outs.append(os.path.join(TMP, f'upload-{next(numbers)}.h264'))
        result, counts = encode_to(source, 'h264_vaapi', ['-qp', '24'],
                                   outs[-1], knobs)
        if result.returncode:
            return result.stderr
    if counts[count] < FRAMES or (count == 'put-images' and
                                  counts['derived-images']):
        return f'the driver says {counts}'
    same = Path(outs[0]).read_bytes() == Path(outs[1]).read_bytes()
    return None if same else 'the streams differ'


def fails(clip, knob, said, decoded):
    """Where ffmpeg gives up it does not close the display: no counts."""
    result, counts = vaapi(*decode_args(clip, 'h264', 'yuv420p', True),
                           options=knob)
    if said not in result.stderr or counts.get('decoded') not in decoded:
        return f'{result.stderr}\nthe driver says {counts}'
    return None


def slow(clip):
    start = time.monotonic()
    problem = decode_slow(clip)
    took = time.monotonic() - start
    return problem or (None if took > FRAMES * 0.02 else f'took {took} s')


def decode_slow(clip):
    result, counts = vaapi(*decode_args(clip, 'h264', 'yuv420p', True),
                           options='decode-ms=20')
    return None if counts.get('decoded') == FRAMES else result.stderr


def knob_cases(source, clip):
    yield 'no-profile', no_profile
    yield 'no-encode', no_encode
    yield 'no-derive', uploads, source, 'no-derive', 'put-images'
    yield 'derive-tiled', uploads, source, 'derive-tiled', 'put-images'
    yield 'derive-pitch', uploads, source, 'derive-pitch=4096', \
        'derived-images'
    yield 'fail-end-picture', fails, clip, 'fail-end-picture=5', \
        'Failed to end picture decode', [FRAMES - 1]
    yield 'fail-sync', fails, clip, 'fail-sync=3', 'Failed to sync surface', \
        [None, *range(3, FRAMES + 1)]
    yield 'lose-device', fails, clip, 'lose-device=5', 'Failed to', \
        [None, *range(1, 5)]
    yield 'max-size', fails, clip, 'max-size=160x90', 'hwaccel', [None, 0]
    yield 'decode-ms', slow, clip


def client_cases():
    for test in 'export', 'export-map', 'import', 'layout', 'convert':
        yield f'client: {test}', client, test
    for knob in ('no-import', 'no-import-decode', 'no-import-read',
                 'no-linear-decode', 'no-derive', 'derive-tiled',
                 'derive-garbled,import-garbled', 'convert-601',
                 'no-convert'):
        yield f'client: {knob}', client, knob, knob
    yield 'client: process-ms', client, 'process-ms', 'process-ms=1000'
    yield 'client: end-process-ms', client, 'end-process-ms', \
        'end-process-ms=500'
    yield 'client: import-pitch and import-offset', client, 'import-layout', \
        'import-pitch=64,import-offset=64'


def clip_cases():
    """Of each codec the first clips only where it must be quick."""
    seen = {}
    for clip in clips():
        codec, pix_fmt = clip['codec'], clip['pix_fmt']
        if codec not in CODECS or pix_fmt not in SURFACES:
            continue
        if clip['file'] in EXCEPTIONS:
            continue
        seen[codec] = seen.get(codec, 0) + 1
        if QUICK and seen[codec] > 4:
            continue
        md5 = None if codec in INEXACT else clip['ffmpeg_md5']
        # Others have fields, or show a picture twice
        frames = int(clip['frames'])
        yield clip['file'], decode, clip['path'], codec, pix_fmt, md5, \
            frames if codec in ('vp8', 'mpeg2', 'mjpeg') else 1


def main():
    tap = Tap()
    if not (DRIVER / 'vvsw_drv_video.so').exists():
        tap.result('the driver is built', f'it is not in {DRIVER}')
        tap.exit()
    size = '322x182'
    source = make('source.y4m', size=size)
    made = {name: make(name, *options) for name, options in MADE.items()}
    if not source or None in made.values():
        tap.result('clips are made', f'{source} {made}')
        tap.exit()
    tap.result('vainfo lists the profiles', lists_profiles())
    tap.run_all([(f'made {name}', decode, path, *made_of(name))
                 for name, path in made.items()])
    tap.run_all([(f'{encoder} {" ".join(options)}', encode, source, size,
                  encoder, options, *rest)
                 for encoder, options, *rest in ENCODERS])
    tap.run_all([(f'{before} to {after}, {size}', process, source, before,
                  size, after) for before, size, after in CONVERSIONS])
    tap.run_all(gst_cases(tap, source, size, made))
    tap.run_all(client_cases())
    tap.run_all(knob_cases(source, made['h264.mp4']))
    tap.run_all(clip_cases())
    for name, reason in EXCEPTIONS.items():
        tap.skip(name, reason)
    tap.exit()


main()
