# What becomes of a stream, and of others, when the driver of a GPU fails.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import json
import re
import signal
import socket
import subprocess
import tempfile

import clips as made
from common import VVCLIENT
from vaapi_common import OBJECT, decode, environment, qemu_with, vvclient


def failed_frames(path, options, packet, *props):
    """One frame is lost, and others marked up to a key frame: each tenth.

    They come, whatever the order, and the stream goes on.
    """
    answer = decode(path, *props, options=options)
    bad = set()
    for text in answer['errors']:
        found = re.match(r'packet (\d+) could not be decoded', text) or \
            re.match(r'frame \d+ \(of packet (\d+)\) is corrupt', text)
        if not found:
            return text
        bad.add(int(found[1]))
    return None if bad == {*range(packet, packet // 10 * 10 + 10)} and \
        answer['frames'] >= 39 else \
        f'{answer["frames"]} frames; {answer["errors"]}'


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
    """What fails for one stream the other does not notice.

    Nor does the first one from the next key frame on.
    """
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
    return None if 1 <= len(lost) <= 10 and not others else \
        f'{answer["errors"]}'


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


def failed_all(path, prop, options):
    """No frame can be had this way: all are marked, none is made up."""
    answer = decode(path, prop, options=options)
    return 'frames were made up' if answer['ok'] else None
