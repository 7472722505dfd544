# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints of OpenPGP keys in ASCII (RFC 9580), without gpg. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t

_BLOCK = re.compile(
    r"^-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*$(.*?)^-----END PGP PUBLIC KEY BLOCK-----", re.MULTILINE | re.DOTALL
)
_PUBLIC_KEY = 6


def fingerprints(text: str) -> list[str]:
    """Of each primary key in the file, 40 hexadecimal digits; ValueError if it is none or cannot be read."""
    found = []
    for armor in _BLOCK.findall(text.replace("\r\n", "\n")):
        lines = re.split(r"\n[ \t]*\n", armor, maxsplit=1)[-1].split()  # headers end at the first empty line
        data = "".join(line for line in lines if not line.startswith("="))  # a checksum
        try:
            packets = list(_packets(base64.b64decode(data, validate=True)))
        except (binascii.Error, IndexError) as error:
            raise ValueError("the OpenPGP key cannot be read") from error
        for body in (body for tag, body in packets if tag == _PUBLIC_KEY):
            if body[:1] != b"\x04":
                raise ValueError("the OpenPGP key is not of version 4")
            hashed = b"\x99" + len(body).to_bytes(2, "big") + body
            found.append(hashlib.sha1(hashed, usedforsecurity=False).hexdigest().upper())
    if not found:
        raise ValueError("there is no OpenPGP key in ASCII")
    return found


def _packets(data: bytes) -> t.Iterator[tuple[int, bytes]]:
    """(tag, body) of each packet. Partial lengths are for messages, not for keys."""
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
        else:
            tag, size = (first & 0x3C) >> 2, 1 << (first & 3)
            length, at = int.from_bytes(data[at + 1 : at + 1 + size], "big"), at + 1 + size
        if not first & 0x80 or at + length > len(data):
            raise ValueError("the OpenPGP key cannot be read")
        yield tag, data[at : at + length]
        at += length
