#!/usr/bin/python3
# video-codec-vaapi: with the software driver of tests/va-driver, no GPU needed.
#
# The driver imitates what those of GPUs do and fail to do, see VVSW_OPTIONS in
# tests/va-driver/options.c.  VAAPI_NODE names a render node to run what needs
# no such imitation on a real GPU.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import json
import os
import re
import signal
import socket
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import bitstream
import clips as made
import encode as enc
import vectors
from common import CODECS, QUICK, SANITIZE, TMP, VVCLIENT, Tap, clips, \
    ffmpeg, new_file, run

NODE = os.environ.get('VAAPI_NODE', '/dev/null')
REAL = NODE != '/dev/null'
DRIVER = Path(VVCLIENT).resolve().parents[1] / 'build/tools/tests/va-driver'
OBJECT = f'video-codec-vaapi,rendernode={NODE}'
PATHS = ['import', 'derive', 'getimage']
ENCODE_PATHS = [*PATHS]
# They begin with a key frame that is shown later
HIDDEN_KEY = ('av1/vkcts-av1-argon_test9354_2.obu',)
# Files for one QEMU
BATCH = 16
MIB = 1 << 20
CLIPS = [clip for clip in made.CLIPS if clip[0] != 'mpeg4']


def environment(options=''):
    """For a QEMU with the software driver in place of a GPU's."""
    env = dict(os.environ)
    if not REAL:
        env.update(
            LIBVA_DRIVER_NAME='vvsw', LIBVA_DRIVERS_PATH=str(DRIVER),
            LD_PRELOAD=str(DRIVER / 'libvvsw-preload.so'),
            VVSW_OPTIONS=options)
    if SANITIZE:
        env['ASAN_OPTIONS'] = 'verify_asan_link_order=0:' + \
            env.get('ASAN_OPTIONS', '')
    return env


def vvclient(*args, options='', **env):
    return run(VVCLIENT, *args, env={**environment(options), **env})


def said(result):
    return json.loads(result.stdout)


def some(ways):
    """One of them, the same on all machines if it can be."""
    return [way for way in ways if way != 'import'][:1] or ways


def decode(path, *props, options='', extra=(), env=None):
    """Returns: what vvclient says, whatever became of it."""
    result = vvclient('decode', path, '--md5', '--json', '--codec',
                      ','.join([OBJECT, *props]), *extra, options=options,
                      **(env or {}))
    try:
        return said(result)
    except json.JSONDecodeError:
        return {'ok': False, 'errors': [result.stderr]}


def stream(answer):
    """What QEMU has said of the first stream."""
    return answer['device']['streams'][0]


def wrong(answer, md5, engine):
    """What is not as it should be, or None."""
    if not answer['ok']:
        return '\n'.join(answer['errors'])
    if not re.fullmatch(engine, stream(answer)['engine']):
        return f'engine is {stream(answer)["engine"]}, not {engine}'
    return None if answer['md5'] == md5 else \
        f'MD5 is {answer["md5"]}, expected {md5}'


def engine(way):
    return rf'VA-API \w+ \(.*\), path {way}'


def through(path, way, md5=None, options='', extra=()):
    """A clip, all of it the way that was said."""
    answer = decode(path, f'x-path={way}', options=options, extra=extra)
    problem = wrong(answer, md5 or made.ffmpeg_md5(path), engine(way))
    if not problem:
        copied = stream(answer)['pixels-copied']
        if (way == 'import') != (copied == 0):
            problem = f'{copied} bytes copied'
        elif 'mmap' in extra and answer.get('memory') != 'mmap':
            problem = f'buffers are {answer.get("memory")} ones'
    return problem


def auto(path, way, options='', props=(), extra=()):
    """The way that is chosen."""
    return wrong(decode(path, *props, options=options, extra=extra),
                 made.ffmpeg_md5(path), engine(way))


def software(path, why, *props, options=''):
    return wrong(decode(path, 'fallback=software', *props, options=options),
                 made.ffmpeg_md5(path), why)


def refused(path, text, *props, options=''):
    answer = decode(path, *props, options=options)
    if answer['ok'] or text not in '\n'.join(answer['errors']):
        return f'expected to fail with "{text}":\n{answer}'
    return None


def as_in_software(path, *props):
    """Of a format whose decoders are not the same to the bit."""
    out = os.path.join(TMP, f'{os.path.basename(path)}-{"-".join(props)}.y4m')
    answer = decode(path, *props, extra=['-o', out])
    if not answer['ok']:
        return '\n'.join(answer['errors'])
    graph = ';'.join(f'[{i}:v]settb=1/25,setpts=N[{i}]' for i in (0, 1))
    result = run('ffmpeg', '-v', 'info', '-nostdin', '-i', out, '-i', path,
                 '-lavfi', f'{graph};[0][1]psnr', '-f', 'null', '-')
    os.unlink(out)
    found = re.search(r'average:([\d.]+|inf) ', result.stderr)
    return None if found and float(found[1]) > 40 else \
        f'PSNR is {found and found[1]}\n{result.stderr}'


def left_out(reason):
    return f'SKIP {reason}'


def vector(clip, way):
    """As vectors.py, on a GPU."""
    if REAL and clip['codec'] == 'mpeg2':
        return as_in_software(clip['path'], f'x-path={way}')
    refusal = vectors.EXCEPTIONS.get(clip['file'])
    answer = decode(clip['path'], f'x-path={way}')
    text = '\n'.join(answer['errors'])
    if clip['file'] in HIDDEN_KEY:
        return None if 'packet 0 could not be decoded' in text and \
            not answer['frames'] else f'it can be decoded: {answer}'
    if refusal or 'pixel format' in text or 'does not decode profile' in text:
        # of clips that software does not decode either, or no GPU does
        known = refusal or clip['pix_fmt'] not in ('yuv420p', 'yuv420p10le',
                                                   'yuvj420p') or \
            clip['file'] in vectors.TRAILING or \
            clip['profile'] in ('High 10', 'High 10 Intra', 'Rext')
        return None if known else text
    trailing = clip['file'] in vectors.TRAILING and 'breaks off' in text
    if not answer['ok'] and not trailing:
        return text
    if vectors.is_md5(clip, answer['md5']):
        return None
    return f'MD5 is {answer["md5"]}, expected {clip["ffmpeg_md5"]}'


def one_copied(path, options, *extra):
    """A buffer that the driver refuses is copied, but not the next ones."""
    answer = decode(path, options=options, extra=extra)
    problem = wrong(answer, made.ffmpeg_md5(path), engine('import'))
    if problem:
        return problem
    copied = stream(answer)['pixels-copied'] * answer['frames']
    everything = stream(decode(path, 'x-path=derive'))['pixels-copied']
    return None if copied == everything else \
        f'{copied} bytes copied, all would be {everything}'


def bench(path, way, options=''):
    """No stream of 16 starves, and nothing is copied where the GPU does that.

    What else is on the machine may slow a stream down: so try again.
    """
    for _ in range(3):
        result = vvclient('bench', path, '--rounds', '1', '--limit', '60',
                          '--json', '--codec', f'{OBJECT},x-path={way}',
                          options=options)
        if result.returncode:
            return result.stderr
        answer = said(result)
        slowest, copied = answer['slowest_streams16'], answer['copied_bytes']
        print(f'# {way}: the slowest of 16 has {slowest} of their mean, '
              f'{copied} bytes are copied of each frame', flush=True)
        if (copied == 0) != (way == 'import'):
            return f'{copied} bytes are copied of each frame'
        if slowest >= 0.7:
            return None
    return f'the slowest of 16 streams has {slowest} of their mean'


#
# Failures
#

def failed_frames(path, options, most_lost, *props):
    """One frame is lost, others are not, and the stream goes on."""
    whole = decode(path, *props)
    answer = decode(path, *props, options=options)
    text = '\n'.join(answer['errors'])
    if answer['ok'] or not text:
        return 'nobody has noticed'
    if 'stream failed' in text or 'is lost' in text:
        return text
    lost = whole['frames'] - answer['frames']
    bad = len(answer['errors'])
    if lost > most_lost or not 1 <= bad <= most_lost + 1:
        return f'{lost} frames are missing, errors: {text}'
    return None


def lost_until_key(path, number):
    """AV1's pictures behind one that was refused refer to it, so none comes.

    The frame of its input may come, and is marked.
    """
    answer = decode(path, options=f'fail-end-picture={number}')
    found = re.match(r'packet (\d+) could not be decoded',
                     answer['errors'][0] if answer['errors'] else '')
    return None if found and answer['frames'] in (
        int(found[1]), int(found[1]) + 1) and \
        answer['frames'] < number else \
        f'{answer["frames"]} frames; {answer["errors"]}'


def blamed(answer):
    """What has errors, without what QEMU had logged by then."""
    return [error.split(':')[0] for error in answer['errors']]


def failed_once(path, options, *extra):
    """What has failed is good when the same timestamps come again."""
    at_first = decode(path, options=options, extra=extra[2:])
    answer = decode(path, options=options, extra=extra)
    frames = at_first['frames'] + decode(path, extra=extra[2:])['frames']
    if at_first['ok'] or 'could not be decoded' not in at_first['errors'][0]:
        return f'nobody has noticed: {at_first["errors"]}'
    return None if blamed(answer) == blamed(at_first) and \
        answer['frames'] == frames else f'{answer["frames"]} frames, not ' \
        f'{frames}; errors: {answer["errors"]}'


def one_of_two(path, options, *props):
    """What fails for one stream the other does not notice."""
    answer = decode(path, *props, options=options, extra=['--streams', '2'])
    md5 = made.ffmpeg_md5(path)
    good = [i for i, found in enumerate(answer.get('md5s', []))
            if found == md5]
    if answer['ok'] or len(good) != 1:
        return f'MD5s of frames are not {md5} for one stream: {answer}'
    lost = [text for text in answer['errors']
            if text.startswith(f'stream {1 - good[0]}: ')]
    others = [text for text in answer['errors']
              if text not in lost and not text.startswith('the frames of')]
    return None if len(lost) == 1 and not others else f'{answer["errors"]}'


def device_loss(good, victim, options):
    """The stream fails, QEMU lives, and the next stream opens the GPU anew."""
    result = vvclient('survive', good, victim, '--codec', OBJECT,
                      options=options)
    if result.returncode or '1 of them with errors' not in result.stdout:
        return result.stdout + result.stderr
    return None


def set_node(name):
    """What QMP says to another node for codec0."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        s.connect(name)
        with s.makefile('rw', encoding='utf-8') as f:
            f.readline()        # its greeting
            for command, arguments in ('qmp_capabilities', {}), (
                    'qom-set', {'path': '/objects/codec0', 'value': '/dev/zero',
                                'property': 'rendernode'}):
                f.write(json.dumps({'execute': command,
                                    'arguments': arguments}) + '\n')
                f.flush()
                answer = f.readline()
    return answer


def not_reopened(good, victim):
    """Nor are properties free to change when the GPU does not come back."""
    # As many streams as it takes to be still there after the first one.  A
    # socket's name must not be long.
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
            [VVCLIENT, 'survive', good, *[victim] * 50, '--codec', OBJECT],
            env={**environment('lose-device=100,open-times=1'), **qemu_with(
                'set-node', f'-qmp unix:{folder}/qmp,server=on,wait=off')},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True) as client:
        said_first = client.stdout.readline() + client.stdout.readline()
        client.send_signal(signal.SIGSTOP)
        try:
            answer = set_node(f'{folder}/qmp')
        finally:
            client.send_signal(signal.SIGCONT)
        rest = client.stdout.read()
    if 'not ok 1' not in said_first or 'the good file' not in said_first or \
            'ok 50' not in rest:
        return f'it comes back: {said_first}{rest}'
    return None if "can't be changed later" in answer else answer


def broken_stream(path):
    answer = decode(path, options='fail-end-picture=1')
    return None if not answer['ok'] and not answer['frames'] and \
        'device' in answer else f'not all are bad: {answer}'


def lost_stream(path, options):
    answer = decode(path, options=options)
    # Nothing is asked of QEMU then, and the last of many errors is left out
    if 'frames' not in answer or 'device' in answer:
        return f'it goes on: {answer}'
    # The picture that was lost is told of, before the stream is
    at = int(options.split('=')[1])
    return None if re.match(f'packet ({at - 1}|{at}) could not be decoded',
                            answer['errors'][0]) else f'{answer["errors"]}'


def qemu(*args, options='', **env):
    return run(os.environ['QTEST_QEMU_BINARY'], '-display', 'none', *args,
               timeout=60, env={**environment(options), **env})


def not_opened(node, texts, **env):
    result = qemu('-machine', 'none', '-object',
                  f'video-codec-vaapi,id=gpu0,rendernode={node}', **env)
    missing = [text for text in texts if text not in result.stderr]
    if result.returncode != 1 or missing:
        return f'exit status {result.returncode}, {missing} not in:\n' \
            f'{result.stderr}'
    return None


def no_permission():
    """Even root may not open a device on a file system without devices."""
    node = os.path.join(TMP, 'forbidden-node')
    Path(node).touch()
    script = 'mount --bind /dev/null "$0" && ' \
        'mount -o remount,bind,nodev "$0" && exec "$@"'
    command = ['unshare', '-rm', 'sh', '-c', script, node]
    if run(*command, 'true').returncode:
        return 'SKIP this machine gives tests no mounts of their own'
    result = run(*command, 'timeout', 60, os.environ['QTEST_QEMU_BINARY'],
                 '-display', 'none', '-machine', 'none', '-object',
                 f'video-codec-vaapi,id=gpu0,rendernode={node}',
                 env=environment())
    missing = [text for text in (node, 'Permission denied', "'render'")
               if text not in result.stderr]
    return f'exit status {result.returncode}, {missing} not in:\n' \
        f'{result.stderr}' if result.returncode != 1 or missing else None


def caps(options, *props):
    """Coded formats, and the raw formats that they go with; sizes of these;
    controls of encoders and their values."""
    answer = said(vvclient('caps', '--json', '--codec',
                           ','.join([OBJECT, *props]), options=options))
    found = {way: {coded['format']: coded[way] for coded in answer['coded']
                   if way in coded}
             for way in ('decodes_to', 'encodes_from', 'controls')}
    found['sizes'] = {raw['format']: (raw['width'], raw['height'])
                      for raw in answer['raw']}
    return found


def same_caps(options, change, *props):
    """QUERY_CAPS has just what the driver has: CHANGE says what differs."""
    expected, found = caps(''), caps(options, *props)
    change(expected)
    return None if found == expected else \
        f'capabilities are {found}, expected {expected}'


def without(coded):
    """The driver has it no more."""
    def change(all_caps):
        for formats in all_caps.values():
            formats.pop(coded, None)
    return change


def without_deep(coded, *ways):
    """The driver has only 8 bits of it."""
    def change(all_caps):
        for way in ways or ('decodes_to', 'encodes_from'):
            if coded in all_caps[way]:
                all_caps[way][coded].remove('P010')
        all_caps['controls'][coded]['profile'].remove('main10')
    return change


def without_encoders(all_caps):
    all_caps['encodes_from'] = all_caps['controls'] = {}


def without_encoder(coded):
    """It is only decoded."""
    def change(all_caps):
        for way in 'encodes_from', 'controls':
            del all_caps[way][coded]
    return change


def without_encoder_profile(coded, profile):
    def change(all_caps):
        all_caps['controls'][coded]['profile'].remove(profile)
    return change


def without_mode(mode):
    """Encoders have only the other bitrate mode."""
    def change(all_caps):
        for controls in all_caps['controls'].values():
            controls['bitrate-mode'].remove(mode)
    return change


def without_rates(all_caps):
    for controls in all_caps['controls'].values():
        del controls['bitrate-mode'], controls['bitrate']


def with_size(width, height):
    def change(all_caps):
        for sizes in all_caps['sizes'].values():
            sizes[0]['max'], sizes[1]['max'] = width, height
    return change


def same(all_caps):
    """The driver has the same in another way."""


def with_software(all_caps):
    """And mpeg4, and whatever libavcodec has."""
    answer = said(vvclient('caps', '--json', '--codec', 'video-codec-libav'))
    for coded in answer['coded']:
        for way, formats in all_caps.items():
            if way in coded and (way == 'decodes_to' or
                                 coded['format'] not in formats):
                formats[coded['format']] = coded[way]


def in_turn(*args):
    """Nothing is kept: neither thread_count nor async_depth adds a delay."""
    result = vvclient(*args, '--in-turn', '--codec', OBJECT)
    return result.stderr if result.returncode else None


def too_large(path):
    """The size that the driver tells is the limit: 322x182 in blocks."""
    problem = auto(path, r'\w+', 'max-size=336x192')
    return problem or refused(path, 'limit', options='max-size=320x180')


def with_nodes(*nodes):
    """A script that runs what it is given in a /dev with these render nodes.

    They are links, or folders if there is nothing to link to.
    """
    name = '-'.join(node or 'none' for node in nodes)
    script = os.path.join(TMP, f'with-{name}.sh')
    dev = os.path.join(TMP, f'dev-{name}')
    with new_file(script) as out, open(out, 'w', encoding='utf-8') as f:
        # A new /dev for this process only
        f.write('set -e\n'
                f'mkdir -p {dev}\n'
                f'mount -t tmpfs none {dev}\n'
                'for d in null zero urandom random shm; do\n'
                f'  [ -d /dev/$d ] && mkdir {dev}/$d || touch {dev}/$d\n'
                f'  mount --rbind /dev/$d {dev}/$d\n'
                'done\n'
                f'mkdir {dev}/dri\n'
                f'ln -s /proc/self/fd {dev}/fd\n')
        for number, node in enumerate(nodes, 128):
            f.write(f'ln -s ../{node} {dev}/dri/renderD{number}\n' if node
                    else f'mkdir {dev}/dri/renderD{number}\n')
        f.write(f'mount --move {dev} /dev\n'
                'exec "$@"\n')
    return script


def qemu_with_nodes(nodes, *args, options=''):
    """What QEMU says of a /dev with these nodes, and which of them gpu0 has."""
    result = run('unshare', '-rm', 'sh', with_nodes(*nodes), 'sh', '-c',
                 r'printf "qom-get gpu0 rendernode\nquit\n" | "$@"', 'sh',
                 os.environ['QTEST_QEMU_BINARY'], '-display', 'none', '-S',
                 '-monitor', 'stdio', *args, env=environment(options),
                 timeout=60)
    return result.stdout + result.stderr


def no_encoders():
    """A GPU that only decodes: no software in its place, but it is told of."""
    for option, told in ('', True), (',encoder=off', False):
        text = qemu_with_nodes(['null'], '-device',
                               f'virtio-video-pci{option}',
                               options='no-encode')
        said_so = 'this GPU has no encoders' in text and \
            'fallback=software' in text
        if 'virtio-video: decoding on the GPU' not in text or said_so != told:
            return f'a device{option} says:\n{text}'
    offered = said(run(*one_node(), VVCLIENT, 'caps', '--json',
                       env=environment('no-encode')))['coded']
    return None if all('decodes_to' in coded and 'encodes_from' not in coded
                       for coded in offered) else f'{offered} are offered'


def first_node():
    """Nodes that are of no use are passed over: the first one that works."""
    device = '-device', 'virtio-video-pci'
    # A folder, a node without a driver, one without codecs, and a good one
    nodes = None, 'random', 'zero', 'null'
    useless = 'no-driver-at=/dev/random,no-codec-at=/dev/zero'
    told = qemu_with_nodes(nodes, *device, options=useless)
    if 'on the GPU of /dev/dri/renderD131 ' not in told:
        return f'not the first that works: {told}'
    for some, props, text in (
            (nodes, '', '"/dev/dri/renderD131"'),
            (nodes[:3], '', "renderD128': Is a directory"),
            (nodes[1:3], '', "can't use render node '/dev/dri/renderD128'"),
            (nodes[2:3], '', "renderD128' (virtio-video software driver) has "
             "no codec of use"),
            # One without codecs will do then, but is not preferred
            (nodes, ',fallback=software', '"/dev/dri/renderD131"'),
            (nodes[:3], ',fallback=software', '"/dev/dri/renderD130"')):
        told = qemu_with_nodes(some, '-machine', 'none', '-object',
                               f'video-codec-vaapi,id=gpu0{props}',
                               options=useless)
        if text not in told:
            return f'{text} is not told of {some}{props}: {told}'
    return None


NO_NODE = 'SKIP this machine gives tests no /dev of their own'


def one_node():
    """What comes before a command that is to see one node; None: can't be."""
    command = ['unshare', '-rm', 'sh', with_nodes('null')]
    probe = run(*command, 'ls', '/dev/dri/renderD128')
    return None if probe.returncode else command


def default_codec(path):
    """Without codec=, in a /dev that has a render node, and none."""
    node = one_node()
    if not node:
        return NO_NODE
    result = run(*node, VVCLIENT, 'decode', path, '--json', env=environment())
    if result.returncode:
        return result.stderr
    found = stream(said(result))['engine']
    if not re.fullmatch(engine(r'\w+'), found):
        return f'engine is {found} with a node'
    told = qemu_with_nodes(['null'], '-device', 'virtio-video-pci')
    if 'on the GPU of /dev/dri/renderD128 (video-codec-vaapi)' not in told or \
            'fallback' in told:
        return f'QEMU does not tell of the GPU:\n{told}'
    problem = None if REAL else no_encoders() or first_node()
    if problem:
        return problem
    found = stream(said(vvclient('decode', path, '--json')))['engine']
    return None if found.startswith('libavcodec') or REAL else \
        f'engine is {found} without a node'


def without_module(path):
    """As where the package with the module is not installed."""
    node = one_node()
    if not node:
        return NO_NODE
    whole = Path(os.environ['QTEST_QEMU_BINARY'])
    folder = Path(TMP) / 'no-module'
    (folder / 'modules').mkdir(parents=True, exist_ok=True)
    # A link would lead to the modules beside what it links to
    binary = shutil.copy(whole, folder)
    for module in whole.parent.glob('*.so'):
        if 'vaapi' not in module.name:
            (folder / 'modules' / module.name).symlink_to(module)
    env = {**environment(), 'QEMU_MODULE_DIR': str(folder / 'modules'),
           'QTEST_QEMU_BINARY': binary}
    result = run(binary, '-display', 'none', '-machine', 'none', '-object',
                 'video-codec-vaapi,id=gpu0', env=env, timeout=60)
    if result.returncode != 1 or 'video-codec-vaapi' not in result.stderr:
        return f'exit status {result.returncode}\n{result.stderr}'
    result = run(*node, VVCLIENT, 'decode', path, '--json', env=env)
    if result.returncode:
        return result.stderr
    found = stream(said(result))['engine']
    return None if found == 'libavcodec h264' else f'engine is {found}'


def not_linked():
    """libva is loaded with the module only."""
    whole = Path(os.environ['QTEST_QEMU_BINARY'])
    for file, wanted in (whole, False), \
            (whole.parent / 'backends-video-codec-vaapi.so', True):
        result = run('readelf', '-d', file)
        if result.returncode or ('[libva.so' in result.stdout) != wanted:
            return f'{file}: {result.stdout}{result.stderr}'
    return None


def qemu_with(name, arguments):
    """Environment for a QEMU that gets these, too."""
    wrapper = os.path.join(TMP, name, 'qemu-system-x86_64')
    os.makedirs(os.path.dirname(wrapper), exist_ok=True)
    with open(wrapper, 'w', encoding='utf-8') as f:
        f.write(f'#!/bin/sh\nexec {os.environ["QTEST_QEMU_BINARY"]} "$@" '
                f'{arguments}\n')
    os.chmod(wrapper, 0o755)
    return {'QTEST_QEMU_BINARY': wrapper}


def sandboxed(path, way):
    answer = decode(path, f'x-path={way}', env=qemu_with(
        f'sandboxed-{way}', '-sandbox on,obsolete=deny,elevateprivileges=deny,'
        'spawn=deny,resourcecontrol=deny'))
    return wrong(answer, made.ffmpeg_md5(path), engine(way))


def ivf_frames(path):
    """The header, and the frames."""
    with open(path, 'rb') as f:
        data = f.read()
    frames, at = [], 32
    while at < len(data):
        size, = struct.unpack_from('<I', data, at)
        frames.append(data[at + 12:at + 12 + size])
        at += 12 + size
    return data[:32], frames


def write_ivf(name, header, frames):
    out = os.path.join(TMP, name)
    with open(out, 'wb') as f:
        f.write(header)
        for pts, frame in enumerate(frames):
            f.write(struct.pack('<IQ', len(frame), pts) + frame)
    return out


def without_key(good, path):
    """AV1 that refers to frames that are not there: QEMU lives."""
    ivf = os.path.join(TMP, 'with-key.ivf')
    if ffmpeg('-i', path, '-c', 'copy', ivf).returncode:
        return 'SKIP this ffmpeg cannot make such a clip'
    header, frames = ivf_frames(ivf)
    # It begins with a temporal delimiter and a sequence header, of short sizes
    if frames[0][:3] != b'\x12\x00\x0a' or frames[1][:2] != b'\x12\x00':
        return f'begins with {frames[0][:16]}'
    sequence = frames[0][:4 + frames[0][3]]
    key = frames[0][len(sequence):]
    # The key frame is of layer 1, while only layer 0 is decoded
    layers = bytearray(sequence)
    layers[5] |= 1
    layers[6] = 1
    hidden = bytes(layers) + bytes([key[0] | 4, 0x20]) + key[1:]
    # A redundant frame header that shows frame 0, alone and behind a key frame
    again = bytes([7 << 3 | 2, 1, 0x88])
    bad = [write_ivf(f'without-key-{name}.ivf', header, begin + frames[2:])
           for name, begin in (
               ('first', [sequence + frames[1][2:]]),
               ('headers', [sequence, frames[1]]),
               ('layers', [hidden, frames[1]]),
               ('joined', [hidden + frames[1][2:]]),
               ('redundant', [sequence + again]),
               ('behind', [frames[0] + again]))]
    result = vvclient('survive', good, *bad, '--codec', OBJECT)
    return None if result.returncode == 0 and \
        '6 of them with errors' in result.stdout else \
        result.stdout + result.stderr


def join_ivf(name, *parts):
    """One stream of several, as a camera that changes its size sends it."""
    files = [ivf_frames(part) for part in parts]
    return write_ivf(name, files[0][0],
                     [frame for _, frames in files for frame in frames])


def resized(codec, encoder, way):
    """Sizes that libavcodec would not tell the driver of."""
    parts = [made.make(f'{codec}-{w}', 'ivf', encoder, f'{w}x{h}')
             for w, h in ((160, 96), (320, 180), (128, 72))]
    if not all(parts):
        return 'SKIP this ffmpeg cannot make such a clip'
    path = join_ivf(f'resized-{codec}-{way}.ivf', *parts)
    native = run(VVCLIENT, 'native', path, '--md5').stdout.strip()
    answer = decode(path, f'x-path={way}')
    return wrong(answer, native, engine(way))


def scaled(mode, way):
    """AV1 frames of other sizes than that of the sequence header, which
    stays."""
    path = made.make(f'gpu-scaled-{mode}-{way}', 'ivf', [
        '-c:v', 'libsvtav1', '-preset', '12', '-svtav1-params',
        f'resize-mode={mode}:resize-denom=12'], size='320x192')
    sizes = path and {(row['width'], row['height'])
                      for row in enc.probe(path, 'frame=width,height')}
    if not path or len(sizes) == 1:
        return 'SKIP this ffmpeg cannot make such a clip'
    native = run(VVCLIENT, 'native', path, '--md5').stdout.strip()
    return wrong(decode(path, f'x-path={way}'), native, engine(way))


#
# Memory
#

def device_with(name, option):
    """A QEMU whose device has one property more."""
    return qemu_with(name, f'-global virtio-video-device.{option}')


def code_large(path, direction, way, options='', env=None):
    """A clip of few large frames: surfaces are most of what is in use."""
    coder = ['decode'] if direction == 'decode' else \
        ['encode', '-c', 'h264', '--raw', 'nv12']
    result = vvclient(*coder, path, '--json', '--codec',
                      f'{OBJECT},x-path={way}', options=options, **(env or {}))
    try:
        return said(result)
    except json.JSONDecodeError:
        return {'ok': False, 'errors': [result.stderr]}


def memory(path, direction, way):
    """What the driver holds is in the device's memory, and not much more."""
    stats = os.path.join(TMP, f'memory-{direction}-{way}')
    answer = code_large(path, direction, way, f'stats-often,stats={stats}')
    if not answer['ok']:
        return '\n'.join(answer['errors'])
    with open(stats, encoding='ascii') as f:
        peak = max(map(int, re.findall(r'peak-bytes=(\d+)', f.read())))
    used = answer['device']['memory']
    print(f'# {direction}, {way}: {used} bytes, the driver has {peak}',
          flush=True)
    return None if peak <= used <= peak * 2 else \
        f'{used} bytes are in use, the driver has {peak}'


def memory_limit(path, direction, way):
    """One byte less than what a stream takes is not enough."""
    answer = code_large(path, direction, way)
    if not answer['ok']:
        return '\n'.join(answer['errors'])
    used = answer['device']['memory']
    name = f'limit-{direction}-{way}'
    answer = code_large(path, direction, way, env=device_with(
        f'{name}-less', f'max-mem={used - 1}'))
    if answer['ok'] or 'max-mem' not in '\n'.join(answer['errors']):
        return f'{used - 1} bytes are enough: {answer}'
    # Coded data has gone when QEMU is asked
    answer = code_large(path, direction, way, env=device_with(
        f'{name}-more', f'max-mem={used + MIB}'))
    return None if answer['ok'] else '\n'.join(answer['errors'])


#
# Broken streams
#

def malformed(good, batch, way):
    result = run(VVCLIENT, 'survive', good, *batch, '--codec',
                 f'{OBJECT},fallback=software,x-path={way}', timeout=1500,
                 env=environment())
    if result.returncode or 'Sanitizer' in result.stderr:
        return '\n'.join(line for line in result.stdout.splitlines()
                         if line.startswith(('not ok', '#'))) + \
            f'\nexit status {result.returncode}\n{result.stderr}'
    return None


def malformed_cases(good):
    broken = [clip['path'] for clip in clips('malformed.tsv')]
    if QUICK:
        broken = broken[::8]
    for at in range(0, len(broken), BATCH):
        for way in some(PATHS) if QUICK else PATHS:
            yield f'malformed from {at + 1} on, {way}', malformed, good, \
                broken[at:at + BATCH], way


def monochrome(pix_fmt):
    """Frames, or the reason; libavcodec up to 7 has it on no GPU."""
    path = made.make(f'gpu-{pix_fmt}', 'mkv',
                     ['-c:v', 'libaom-av1', '-cpu-used', '8', '-pix_fmt',
                      pix_fmt])
    if not path:
        return 'SKIP this ffmpeg cannot make such a clip'
    answer = decode(path)
    text = '\n'.join(answer['errors'])
    if not answer['ok']:
        print(f'# {pix_fmt}: {text}', flush=True)
        return None if f'{pix_fmt} is not supported' in text and \
            not answer['frames'] else f'no reason: {answer}'
    planar = {'gray': 'yuv420p', 'gray10le': 'yuv420p10le'}[pix_fmt]
    result = ffmpeg('-i', path, '-pix_fmt', planar, '-f', 'md5', '-')
    return wrong(answer, result.stdout.strip().removeprefix('MD5='),
                 engine(r'\w+'))


#
# Encoders
#

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


def other_profile(clip, options, profile):
    """The best that there is without the usual one."""
    answer, out = less(clip, 'h264', 'h264', options)
    enc.check_header(answer, bitstream.read(out, 'h264'), 0, profile=profile)


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
    out = enc.path(f'gpu-headers-{codec}-{profile}.{extension}')
    options = ['--level', level] if level else []
    answer = enc.encode(coded.deep if profile == 'main10' else coded.short,
                        codec, '-b', '300k', '--profile', profile, '--limit',
                        10, *options, out=out)
    for name, value in ('profile', profile), ('level', level):
        enc.check(enc.answered(answer, 0, name) == value,
                  f'the device says {name} {enc.answered(answer, 0, name)}')
    wanted = {'level': level} if level and codec not in enc.NO_LEVELS else {}
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


def encode_other(clip, codec, way):
    """A format that has to be converted."""
    encode_way(clip, codec, way, '--raw', 'yu12')


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
    yield 'encode what the GPU does not take', encode_other, coded.short, \
        first, copied


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


ENCODERS = {'h264': 'h264', 'hevc': 'hevc', 'vp8': 'ivf', 'vp9': 'ivf',
            'mpeg2': 'm2v'}


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
        yield f'{codec}: CQP only', encode_with, coded.short, codec, \
            ENCODERS[codec], 'cqp-only'
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
    yield f'{first}: CBR only, VBR only', only_modes, coded.short, first, \
        extension
    yield f'{first}: low power', encode_with, coded.short, first, extension, \
        'low-power'
    yield 'h264: without its usual profile', other_profile, coded.short, \
        'no-encode-profile=H264High', 'main'


#
# All of it
#

def decoder_cases(paths):
    for name, path in paths.items():
        for way in PATHS:
            yield f'{name}, {way}', through, path, way
    for name in list(paths)[:1] if QUICK else paths:
        yield f'{name}, scattered', auto, paths[name], r'\w+', '', (), \
            ['--scatter']
        for raw in 'yu12', 'p010':
            yield f'{name} as {raw}', as_raw, paths[name], raw
    for codec, encoder in (
            ('vp8', ['-c:v', 'libvpx', '-g', '999']),
            ('av1', ['-c:v', 'libaom-av1', '-cpu-used', '8', '-usage',
                     'realtime'])):
        if codec not in paths:
            continue
        for way in some(PATHS) if QUICK else PATHS:
            yield f'{codec} of another size, {way}', resized, codec, \
                encoder, way
    if 'av1' in paths:
        # libsvtav1's: all but key frames are smaller, or at random
        for mode in '1', '2':
            for way in some(PATHS) if QUICK else PATHS:
                yield f'av1 of scaled frames, {mode}, {way}', scaled, mode, way
    if 'mpeg2' in paths:
        yield 'mpeg2 by PSNR', as_in_software, paths['mpeg2']
    if 'vp9' in paths:
        yield 'vp9 without delay', in_turn, 'decode', paths['vp9']
    if 'av1' in paths:
        for pix_fmt in 'gray', 'gray10le':
            yield f'av1 of {pix_fmt}', monochrome, pix_fmt
    for protocol in 'media', 'v4l2-uapi':
        for way in PATHS:
            yield f'h264, {way}, {protocol}', through, paths['h264'], way, \
                None, '', ['--protocol', protocol]
    # Memory of QEMU's, which has an address as the guest's has
    for way in PATHS:
        yield f'h264, {way}, media, mmap', through, paths['h264'], way, None, \
            '', ['--protocol', 'media', '--memory', 'mmap']
    yield '16 streams', through, paths['h264'], some(PATHS)[0], None, '', \
        ['--streams', '16']
    if not QUICK and not SANITIZE:
        yield '16 streams are served alike', bench, paths['h264'], \
            some(PATHS)[0]
    if not SANITIZE:
        for way in PATHS:
            yield f'in a sandbox, {way}', sandboxed, paths['h264'], way


def as_raw(path, raw):
    """Formats that the GPU does not make are converted."""
    depth10 = '-10' in path
    if depth10 and raw != 'p010':
        answer = decode(path, extra=['--raw', 'p010'])
    else:
        answer = decode(path, extra=['--raw', raw])
        if raw == 'p010' and not depth10 and not answer['ok'] and \
                'cannot decode' in '\n'.join(answer['errors']):
            return None         # a GPU without 10 bits does not offer it
    return wrong(answer, made.ffmpeg_md5(path), engine(r'\w+'))


def imitation_cases(paths):
    h264 = paths['h264']
    yield 'no import', auto, h264, '(derive|getimage)', 'no-import'
    yield 'no import, forced', imitate, 'no-import', refused, h264, \
        'and x-path=import', 'x-path=import'
    yield 'nothing is decoded into imported memory', auto, h264, 'import', \
        'no-import-decode'
    yield 'nor into linear surfaces', auto, h264, 'import', 'no-linear-decode'
    yield 'an import that writes something else', auto, h264, \
        '(derive|getimage)', 'import-garbled'
    yield 'an import that writes something else, DMA-BUF', auto, h264, \
        '(derive|getimage)', 'import-garbled,udmabuf'
    for name in 'h264', 'hevc-10', 'vp8':
        yield f'{name} in a DMA-BUF', through, paths[name], 'import', None, \
            'udmabuf'
        yield f'{name} in a DMA-BUF of scattered pages', through, paths[name], \
            'import', None, 'udmabuf', ['--scatter']
    yield 'no DMA-BUF of this RAM', through, h264, 'import', None, 'udmabuf', \
        ['--unsealed']
    yield 'no DMA-BUF of this RAM, scattered', auto, h264, \
        '(derive|getimage)', 'udmabuf', (), ['--unsealed', '--scatter']
    for options in 'fail-import=20', 'fail-import=20,udmabuf':
        yield f'a buffer that is refused, {options}', one_copied, h264, \
            options, '--scatter' if 'udmabuf' in options else '--json'
    yield 'scattered pages without udmabuf, forced', scattered_refused, h264
    if not QUICK and not SANITIZE:
        yield '16 streams are served alike in DMA-BUFs', imitate, 'udmabuf', \
            bench, h264, 'import'
    yield 'too many pages for one DMA-BUF', auto, paths['large'], \
        '(derive|getimage)', 'udmabuf', (), ['--scatter']
    yield 'no derive', auto, h264, 'getimage', 'no-derive,no-import'
    yield 'tiled surfaces', auto, h264, 'getimage', 'derive-tiled,no-import'
    # They are the faster ones
    garbled = 'derive-garbled,get-image-ms=2'
    yield 'derived images of something else', auto, h264, 'getimage', \
        f'{garbled},no-import'
    yield 'no derive, forced', failed_all, h264, 'x-path=derive', 'no-derive'
    for pitch in 256, 1024:
        yield f'pitch {pitch}', through, h264, 'derive', None, \
            f'derive-pitch={pitch}'
    yield 'caps without VP9', same_caps, \
        'no-profile=VP9Profile0,no-profile=VP9Profile2', without('vp9')
    yield 'caps without AV1', same_caps, 'no-profile=AV1Profile0', \
        without('av1')
    yield 'caps without 10 bits', same_caps, 'no-profile=HEVCMain10', \
        without_deep('hevc')
    yield 'caps without encoders', same_caps, 'no-encode', without_encoders
    yield 'caps without encoders of a profile', same_caps, \
        'no-encode-profile=H264High', without_encoder_profile('h264', 'high')
    yield 'caps without encoders of 10 bits', same_caps, \
        'no-encode-profile=HEVCMain10', without_deep('hevc', 'encodes_from')
    yield 'caps without an encoder', same_caps, ','.join(
        f'no-encode-profile=H264{name}'
        for name in ('ConstrainedBaseline', 'Main', 'High')), \
        without_encoder('h264')
    yield 'caps without CBR', same_caps, 'no-cbr', without_mode('cbr')
    yield 'caps without VBR', same_caps, 'no-vbr', without_mode('vbr')
    yield 'caps with CQP only', same_caps, 'cqp-only', without_rates
    yield 'caps with low power encoders', same_caps, 'low-power', same
    yield 'caps of small sizes', same_caps, 'max-size=336x192', \
        with_size(336, 192)
    yield 'caps with fallback', same_caps, '', with_software, \
        'fallback=software'
    yield 'h264 without delay', in_turn, 'decode', paths['plain']
    yield 'the driver has a limit', too_large, h264
    yield 'a profile is missing', imitate, 'no-profile=HEVCMain10', refused, \
        paths['hevc-10'], 'does not decode profile'
    yield 'a profile is missing, fallback', imitate, \
        'no-profile=HEVCMain10', software, paths['hevc-10'], \
        "libavcodec hevc, as the GPU can't"
    yield '10 bits of av1 are missing', imitate, 'no-deep', refused, \
        paths['av1-10'], 'does not decode profile'
    yield '10 bits of av1 are missing, fallback', imitate, 'no-deep', \
        software, paths['av1-10'], "libavcodec libdav1d, as the GPU can't"
    yield 'a format is missing', imitate, 'no-profile=VP9Profile0', refused, \
        paths['vp9'], 'cannot decode'
    yield 'a format is missing, fallback', imitate, 'no-profile=VP9Profile0', \
        software, paths['vp9'], 'libavcodec vp9'
    yield 'no fallback unless asked for', refused, paths['mpeg4'], \
        'cannot decode'
    yield 'fallback', software, paths['mpeg4'], 'libavcodec mpeg4'
    yield 'a picture is refused', failed_frames, paths['plain'], \
        'fail-end-picture=20', 1
    for number in 1, 20:
        yield f'picture {number} of av1 is refused', lost_until_key, \
            paths['av1'], number
    yield 'av1 without a key frame', without_key, h264, paths['av1']
    # VP9's drain leaves all as it is, others' may forget all
    yield 'a refused picture comes again, drain', failed_once, paths['vp9'], \
        'fail-end-picture=20', '--again', 'drain'
    for name in 'plain', 'vp9':
        yield f'a refused picture comes again, seek, {name}', failed_once, \
            paths[name], 'fail-end-picture=1', '--again', 'seek', '--limit', 1
    for way in PATHS:
        # With import, each second one is that of the GPU's copy
        yield f'a picture that fails, {way}', failed_frames, paths['plain'], \
            f'fail-sync={60 if way == "import" else 30}', 1, f'x-path={way}'
    yield 'a picture of one of two streams is refused', one_of_two, \
        paths['plain'], 'fail-end-picture=20'
    yield 'a picture of one of two streams fails', one_of_two, \
        paths['plain'], 'fail-sync=30', 'x-path=derive'
    for way in PATHS:
        yield f'a slow decoder is waited for, {way}', through, \
            paths['plain'], way, None, 'decode-ms=10'
    for way in PATHS:
        # What takes time is the copy that the GPU makes, or the picture
        slow = 'process-ms=20' if way == 'import' else 'decode-ms=200'
        yield f'a reset while the GPU is busy, {way}', imitate, slow, reset, \
            paths['plain'], way
    yield 'a reset while the GPU is busy, DMA-BUF', imitate, \
        'process-ms=20,udmabuf', reset, paths['plain'], 'import'
    # It does nothing, or has all but pictures
    for how in 'lose-device', 'fail-all-after':
        yield f'the GPU is lost, {how}', lost_stream, h264, f'{how}=20'
        yield f'the GPU comes back, {how}', device_loss, h264, \
            paths['long'], f'{how}=100'
    # Nothing can be decoded any more, but that is not the GPU's fault
    yield 'all that refers to a refused picture', broken_stream, paths['vp9']
    yield 'the GPU does not come back', not_reopened, h264, paths['long']
    for way in PATHS:
        for direction in 'decode', 'encode':
            yield f'memory, {direction}, {way}', memory, paths['large'], \
                direction, way
            if way != 'derive':
                yield f'max-mem, {direction}, {way}', memory_limit, \
                    paths['large'], direction, way
    yield 'no such node', not_opened, '/dev/dri/renderD999', \
        ['/dev/dri/renderD999', 'No such file', 'video-codec-libav']
    yield 'no such driver', no_driver
    yield 'no permission', no_permission


def reset(path, way, options):
    """Nothing comes to guest memory once the device is reset.

    QEMU does not wait for long, and a busy machine may be late: so try again.
    """
    for _ in range(3):
        result = vvclient('reset', path, '--after', '3', '--codec',
                          f'{OBJECT},x-path={way}', options=options)
        print(f'# {way}: {result.stdout}{result.stderr}'.strip(), flush=True)
        if result.returncode == 0:
            return None
    return result.stderr


def imitate(options, fn, *args):
    return fn(*args, options=options)


def scattered_refused(path):
    answer = decode(path, 'x-path=import', extra=['--scatter'])
    text = '\n'.join(answer['errors'])
    return None if "can't write this frame" in text else f'not told: {answer}'


def failed_all(path, prop, options):
    """No frame can be had this way: all are marked, none is made up."""
    answer = decode(path, prop, options=options)
    return 'frames were made up' if answer['ok'] else None


def no_driver():
    return not_opened('/dev/null', [
        '/dev/null', 'nosuch_drv_video.so', 'libva', 'vainfo', 'mesa-va'],
        LIBVA_DRIVER_NAME='nosuch')


def vector_cases():
    small = QUICK or SANITIZE
    known = caps('')['decodes_to']
    for clip in clips():
        if clip['codec'] not in CODECS:
            yield clip['file'], left_out, f'{clip["codec"]} is no coded ' \
                'format of draft v10'
            continue
        if clip['codec'] not in known:
            yield clip['file'], left_out, 'the driver does not decode it'
            continue
        if small and (int(clip['bytes']) > 60000 or '3840' in clip['sizes']):
            continue
        for way in some(PATHS) if small else PATHS:
            yield f'{clip["file"]}, {way}', vector, clip, way


def has_decoder(name):
    """The driver's, for a clip of that name."""
    codec, _, depth = name.partition('-')
    raws = caps('')['decodes_to'].get(codec)
    return bool(raws) and (depth != '10' or 'P010' in raws)


def make_clips():
    paths = {name: made.make(name, container, options)
             for name, container, options in CLIPS}
    paths['mpeg4'] = made.make('mpeg4', 'mp4', ['-c:v', 'mpeg4', '-bf', '2'])
    # Frames of more pages than /dev/udmabuf takes
    paths['large'] = made.make('gpu-large', 'mp4', [
        '-c:v', 'libx264', '-preset', 'ultrafast', '-frames:v', '5'],
        size='2048x1400')
    for name, n in ('plain', 40), ('long', 150):
        path = os.path.join(TMP, f'gpu-{name}.mp4')
        result = ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=25',
                        '-frames:v', n, '-pix_fmt', 'yuv420p', '-c:v',
                        'libx264', '-bf', 0, path)
        paths[name] = path if result.returncode == 0 else None
    return paths


def leave_out(tap, ways, what, code):
    """Take from the ways those that this GPU's driver has not.

    code: does something, on a way if it is given one; returns vvclient's answer
    """
    chosen = code()
    for way in [*ways]:
        answer = code(f'x-path={way}')
        reason = None if answer['ok'] else answer['errors'][0]
        # The one that is the fastest where it works
        if way == 'import' and not reason and \
                not stream(chosen)['engine'].endswith('path import'):
            reason = f'{stream(chosen)["engine"]} is chosen'
        if reason:
            ways.remove(way)
            tap.skip(f'{what}, {way}', reason.splitlines()[0])


def encode_short(coded, codec, *props):
    result = vvclient('encode', coded.short, '-c', codec, '--json', '--raw',
                      'nv12', '--codec', ','.join([OBJECT, *props]))
    try:
        return said(result)
    except json.JSONDecodeError:
        return {'ok': False, 'errors': [result.stderr]}


def checked(tap, cases):
    tap.run_all((name, enc.no_exception(fn), *args)
                for name, fn, *args in cases)


def encoder_names():
    """Those that the driver has."""
    return [name for name in ENCODERS if name in caps('')['encodes_from']]


def main():
    tap = Tap()
    if not REAL and not (DRIVER / 'vvsw_drv_video.so').exists():
        tap.result('the software driver', f'{DRIVER} has none')
        tap.exit()
    paths = make_clips()
    if not all(paths.values()):
        tap.skip('VA-API', 'this ffmpeg cannot make the clips')
        tap.exit()
    usable = {}
    for name, path in paths.items():
        if name in ('plain', 'long', 'large', 'mpeg4'):
            continue
        if has_decoder(name):
            usable[name] = path
        elif REAL:
            tap.skip(name, 'the driver does not decode it')
        else:
            tap.result(name, 'the software driver does not decode it')
    if REAL and usable:
        first = next(iter(usable.values()))
        leave_out(tap, PATHS, 'decode', lambda *props: decode(first, *props))
    cases = [*decoder_cases(usable)]
    if not REAL:
        cases += [*imitation_cases(paths),
                  ('default codec', default_codec, paths['h264']),
                  ('no module', without_module, paths['h264']),
                  ('no libva but in the module', not_linked)]
    checked(tap, cases)
    checked(tap, vector_cases())
    checked(tap, malformed_cases(paths['plain']))
    if not clips('malformed.tsv'):
        tap.skip('malformed', 'there is no folder of test clips')

    enc.OBJECT = ['--codec', OBJECT]
    names = encoder_names()
    coded = enc.Clips()
    os.environ.update(environment())
    coded.clip = paths['h264']
    if names and all(vars(coded).values()):
        if REAL:
            leave_out(tap, ENCODE_PATHS, 'encode', lambda *props:
                      encode_short(coded, names[0], *props))
        checked(tap, encoder_cases(coded, names, paths))
        checked(tap, encode_path_cases(coded, names))
        if not REAL:
            checked(tap, encoder_imitation_cases(coded, names))
    else:
        tap.skip('encoders', 'the driver has none')
    tap.exit()


if __name__ == '__main__':
    main()
