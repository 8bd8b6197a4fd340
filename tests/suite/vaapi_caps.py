# What QUERY_CAPS has of drivers that can do less.
#
# SPDX-License-Identifier: GPL-2.0-or-later
from vaapi_common import caps, said, vvclient


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
                del all_caps[way][coded]['P010']
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


def with_size(width, height, coded=None, raw=None, limit='max',
              ways=('decodes_to', 'encodes_from')):
    """All have this size, or just those of a coded or raw format."""
    def change(all_caps):
        for way in ways:
            for coded_, raws in all_caps[way].items():
                for raw_, sizes in raws.items():
                    if coded in (None, coded_) and raw in (None, raw_):
                        sizes['width'][limit] = width
                        sizes['height'][limit] = height
    return change


def with_both(*changes):
    def change(all_caps):
        for one in changes:
            one(all_caps)
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
