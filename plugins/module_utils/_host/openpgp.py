# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints of OpenPGP keys in ASCII (RFC 9580), without gpg. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t

_BEGIN, _END = (f"-----{word} PGP PUBLIC KEY BLOCK-----" for word in ("BEGIN", "END"))
_BLOCK = re.compile(rf"^{_BEGIN}[ \t]*$(.*?)^{_END}", re.MULTILINE | re.DOTALL)
_PUBLIC_KEY = 6


class Keys(t.NamedTuple):
    fingerprints: list[str]  # of each primary key, 40 hexadecimal digits
    text: str  # these keys and nothing else, for a file that apt reads


def parse(text: str) -> Keys:
    """The keys in a file; ValueError if it has none or cannot be read.

    What apt's programs take for a key differs: some read any block of base64. So the file itself is not for them.
    """
    found, read = [], b""
    for armor in _BLOCK.findall(text.replace("\r\n", "\n")):
        lines = re.split(r"\n[ \t]*\n", armor, maxsplit=1)[-1].split()  # headers end at the first empty line
        data = "".join(line for line in lines if not line.startswith("="))  # a checksum
        try:
            decoded = base64.b64decode(data, validate=True)
            packets = list(_packets(decoded))
        except (binascii.Error, IndexError) as error:
            raise ValueError("the OpenPGP key cannot be read") from error
        for body in (body for tag, body in packets if tag == _PUBLIC_KEY):
            if body[:1] != b"\x04":
                raise ValueError("the OpenPGP key is not of version 4")
            hashed = b"\x99" + len(body).to_bytes(2, "big") + body
            found.append(hashlib.sha1(hashed, usedforsecurity=False).hexdigest().upper())
        read += decoded
    if not found:
        raise ValueError("there is no OpenPGP key in ASCII")
    lines = re.findall(".{1,64}", base64.b64encode(read).decode())
    return Keys(found, "\n".join([_BEGIN, "", *lines, _END, ""]))


def _packets(data: bytes) -> t.Iterator[tuple[int, bytes]]:
    """(tag, body) of each packet. Lengths that are partial or not given are for messages, not for keys."""
    at = 0
    while at < len(data):
        first = data[at]
        if first & 0x40:  # the new format
            tag, length = first & 0x3F, data[at + 1]
            at += 2
            if 192 <= length < 224:
                length, at = (length - 192 << 8) + data[at] + 192, at + 1
            elif length == 255:
                length, at = int.from_bytes(data[at : at + 4], "big"), at + 4
            elif length >= 224:
                raise ValueError("the OpenPGP key cannot be read")
        elif first & 3 == 3:  # up to the end, wherever that is
            raise ValueError("the OpenPGP key cannot be read")
        else:
            tag, size = (first & 0x3C) >> 2, 1 << (first & 3)
            length, at = int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size
        if not first & 0x80 or at + length > len(data):
            raise ValueError("the OpenPGP key cannot be read")
        yield tag, data[at : at + length]
        at += length
