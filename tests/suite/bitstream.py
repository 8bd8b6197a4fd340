# What coded frames say of themselves.
#
# The headers of H.264, HEVC, VP9 and MPEG-2 are read by libavcodec (its
# trace_headers); those of VP8 (RFC 6386) and MPEG-4 part 2 (ISO/IEC 14496-2),
# which it does not print in all versions, here.
#
# SPDX-License-Identifier: GPL-2.0-or-later
import re
import struct
from dataclasses import dataclass, field

from common import run

H264_PROFILES = {66: 'constrained-baseline', 77: 'main', 100: 'high',
                 110: 'high10'}
HEVC_PROFILES = {1: 'main', 2: 'main10'}
MPEG2_PROFILES = {5: 'simple', 4: 'main'}
MPEG2_LEVELS = {10: 'low', 8: 'main', 6: 'high-1440', 4: 'high'}
# profile_and_level_indication, of ISO/IEC 14496-2, table G.1
MPEG4_PROFILES = {
    0x08: ('simple', '0'), 0x09: ('simple', '0b'), 0x01: ('simple', '1'),
    0x02: ('simple', '2'), 0x03: ('simple', '3'), 0x04: ('simple', '4'),
    0x05: ('simple', '5'),
    0xf0: ('advanced-simple', '0'), 0xf1: ('advanced-simple', '1'),
    0xf2: ('advanced-simple', '2'), 0xf3: ('advanced-simple', '3'),
    0xf7: ('advanced-simple', '3b'), 0xf4: ('advanced-simple', '4'),
    0xf5: ('advanced-simple', '5'),
}


@dataclass
class Frame:
    """A coded frame.

    kind: K, P or B
    headers: what describes the stream is there: SPS, sequence header, VOL
    profile, level: by vvclient's names; None where nothing says so
    qps: quantizers in its headers: of slices or segments, or of the frame
    """
    kind: str
    headers: bool = False
    profile: str = None
    level: str = None
    qps: list = field(default_factory=list)


def dotted(tens):
    return f'{tens // 10}.{tens % 10}' if tens % 10 else str(tens // 10)


#
# What libavcodec prints: in each packet, a list of values for each name
#

def trace(path):
    result = run('ffmpeg', '-v', 'info', '-nostats', '-i', path, '-c', 'copy',
                 '-bsf:v', 'trace_headers', '-f', 'null', '-')
    packets = []
    for line in result.stderr.splitlines():
        if re.search(r'\] Packet: \d+ bytes', line):
            packets.append({'key': ', key frame' in line})
            continue
        match = re.search(r'\] \d+ +(\S+) +[01]* = (-?\d+)$', line)
        if match and packets:
            packets[-1].setdefault(match[1], []).append(int(match[2]))
    return packets


def h264_profile(p):
    name = H264_PROFILES.get(p['profile_idc'][0], p['profile_idc'][0])
    if name == 'constrained-baseline' and not p['constraint_set1_flag'][0]:
        name = 'baseline'
    level = p['level_idc'][0]
    # Annex A: 1b is 9, but in these profiles another flag of 1.1
    if level == 9 or (level == 11 and p['constraint_set3_flag'][0] and
                      name in ('constrained-baseline', 'main')):
        return name, '1b'
    return name, dotted(level)


def read_h264(path):
    init = 0
    for p in trace(path):
        frame = Frame('K' if p['key'] else 'PBI'[p['slice_type'][0] % 5])
        if 'profile_idc' in p:
            frame.headers = True
            frame.profile, frame.level = h264_profile(p)
        if 'pic_init_qp_minus26' in p:
            init = 26 + p['pic_init_qp_minus26'][0]
        frame.qps = [init + qp for qp in p['slice_qp_delta']]
        yield frame


def read_hevc(path):
    init = 0
    for p in trace(path):
        frame = Frame('K' if p['key'] else 'BPI'[p['slice_type'][0]])
        # The last one is the SPS's; the first one may be the VPS's
        if 'sps_seq_parameter_set_id' in p:
            frame.headers = True
            profile = p['general_profile_idc'][-1]
            frame.profile = HEVC_PROFILES.get(profile, profile)
            frame.level = dotted(p['general_level_idc'][-1] // 3)
        if 'init_qp_minus26' in p:
            init = 26 + p['init_qp_minus26'][0]
        frame.qps = [init + qp for qp in p['slice_qp_delta']]
        yield frame


def read_vp9(path):
    for p in trace(path):
        key = p['frame_type'][0] == 0
        profile = p['profile_low_bit'][0] + 2 * p['profile_high_bit'][0]
        yield Frame('K' if key else 'P', key, str(profile), None,
                    p['base_q_idx'])


def read_mpeg2(path):
    for p in trace(path):
        frame = Frame('K' if p['key'] else
                      '?IPB'[p['picture_coding_type'][0]])
        if 'profile_and_level_indication' in p:
            both = p['profile_and_level_indication'][0]
            frame.headers = True
            frame.profile = MPEG2_PROFILES.get(both >> 4, both)
            frame.level = MPEG2_LEVELS.get(both & 15, both)
        frame.qps = p['quantiser_scale_code']
        yield frame


#
# VP8
#

class BoolDecoder:
    """RFC 6386, chapter 7."""

    def __init__(self, data):
        self.data, self.at = data, 2
        self.value = int.from_bytes(data[:2], 'big')
        self.range, self.bits = 255, 0

    def flag(self, probability=128):
        split = 1 + ((self.range - 1) * probability >> 8)
        bit = self.value >= split << 8
        if bit:
            self.range -= split
            self.value -= split << 8
        else:
            self.range = split
        while self.range < 128:
            self.value <<= 1
            self.range <<= 1
            self.bits += 1
            if self.bits == 8:
                self.bits = 0
                self.value |= self.data[self.at]
                self.at += 1
        return int(bit)

    def number(self, bits):
        value = 0
        for _ in range(bits):
            value = 2 * value + self.flag()
        return value

    def signed(self, bits):
        value = self.number(bits)
        return -value if self.flag() else value

    def maybe(self, bits):
        return self.signed(bits) if self.flag() else 0


def vp8_segments(bools, old):
    """update_segmentation(): (absolute, quantizers), or what was before."""
    update_map, update_data = bools.flag(), bools.flag()
    segments = old
    if update_data:
        absolute = bools.flag()
        segments = absolute, [bools.maybe(7) for _ in range(4)]
        for _ in range(4):
            bools.maybe(6)              # loop filters
    if update_map:
        for _ in range(3):
            if bools.flag():
                bools.number(8)
    return segments


def vp8_quantizers(bools, key, segments):
    """Returns: all of the frame's, and the segments for the next one."""
    if key:
        bools.number(2)                 # colour space, clamping
        segments = None
    enabled = bools.flag()
    if enabled:
        segments = vp8_segments(bools, segments)
    bools.number(1 + 6 + 3)             # loop filter
    if bools.flag() and bools.flag():   # its deltas, an update of them
        for _ in range(8):
            bools.maybe(6)
    bools.number(2)                     # partitions
    base = bools.number(7)
    if not enabled or not segments:
        return [base], segments
    absolute, values = segments
    return [min(max(value if absolute else base + value, 0), 127)
            for value in values], segments


def ivf_frames(path):
    with open(path, 'rb') as f:
        data = f.read()
    at = struct.unpack_from('<H', data, 6)[0]
    while at < len(data):
        size = struct.unpack_from('<I', data, at)[0]
        yield data[at + 12:at + 12 + size]
        at += 12 + size


def read_vp8(path):
    segments = None
    for data in ivf_frames(path):
        key = not data[0] & 1
        bools = BoolDecoder(data[10 if key else 3:])
        qps, segments = vp8_quantizers(bools, key, segments)
        yield Frame('K' if key else 'P', key, str(data[0] >> 1 & 7), None, qps)


#
# MPEG-4 part 2
#

class Bits:
    def __init__(self, data):
        self.value, self.left = int.from_bytes(data, 'big'), 8 * len(data)

    def number(self, bits):
        self.left -= bits
        return self.value >> self.left & ((1 << bits) - 1)


def mpeg4_time_bits(data):
    """Of a VOL: how long vop_time_increment is."""
    bits = Bits(data)
    bits.number(1 + 8)                  # random access, type
    if bits.number(1):
        bits.number(4 + 3)              # version, priority
    if bits.number(4) == 15:
        bits.number(16)                 # aspect ratio
    if bits.number(1):
        bits.number(2 + 1)              # chroma, low delay
        if bits.number(1):
            bits.number(79)             # VBV
    bits.number(2 + 1)                  # shape, marker
    return max((bits.number(16) - 1).bit_length(), 1)


def mpeg4_vop(data, time_bits):
    bits = Bits(data)
    kind = 'KPBS'[bits.number(2)]
    while bits.number(1):
        pass                            # seconds
    bits.number(1 + time_bits + 1)
    if not bits.number(1):
        return Frame(kind)              # not coded
    if kind == 'P':
        bits.number(1)                  # rounding
    bits.number(3)
    return Frame(kind, qps=[bits.number(5)])


def read_mpeg4(path):
    with open(path, 'rb') as f:
        data = f.read()
    starts = [match.end() for match in re.finditer(b'\0\0\1', data)]
    profile, vol, time_bits = (None, None), False, 16
    for at in starts:
        code, rest = data[at], data[at + 1:at + 40]
        if code == 0xb0:
            profile = MPEG4_PROFILES.get(rest[0], (rest[0], rest[0]))
        elif 0x20 <= code <= 0x2f:
            vol, time_bits = True, mpeg4_time_bits(rest)
        elif code == 0xb6:
            frame = mpeg4_vop(rest, time_bits)
            if vol:
                frame.headers = True
                frame.profile, frame.level = profile
            vol = False
            yield frame


READERS = {'h264': read_h264, 'hevc': read_hevc, 'vp8': read_vp8,
           'vp9': read_vp9, 'mpeg2': read_mpeg2, 'mpeg4': read_mpeg4}


def read(path, codec):
    """All frames in coding order."""
    return list(READERS[codec](path))
