# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is at the other end of a cable: everybody there answers one echo request to all nodes of the link (IPv6)."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
import typing as t

ALL_NODES = "ff02::1"
ECHO_REQUEST, ECHO_REPLY = 128, 129
SECONDS = 1.5


def request(identifier: int, sequence: int) -> bytes:
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, identifier, sequence) + b"dgxspark"  # the kernel adds the checksum


def is_reply(packet: bytes, identifier: int) -> bool:
    return len(packet) >= 8 and packet[0] == ECHO_REPLY and struct.unpack("!H", packet[4:6])[0] == identifier


def answers(interfaces: t.Mapping[str, int], seconds: float = SECONDS) -> list[tuple[str, str]]:
    """(interface, address that answered). INTERFACES are names with their index. None without IPv6 or without root."""
    names = {index: name for name, index in interfaces.items()}
    identifier = os.getpid() & 0xFFFF
    found: set[tuple[str, str]] = set()
    try:
        channel = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    except OSError:
        return []
    with channel:
        channel.setblocking(False)
        end = time.monotonic() + seconds
        for sequence in (1, 2):  # the first one may be lost while the other end looks for our address
            for index in names:
                try:
                    channel.sendto(request(identifier, sequence), (ALL_NODES, 0, 0, index))
                except OSError:  # no link-local address there
                    continue
            stop = end if sequence == 2 else time.monotonic() + seconds / 3
            while select.select([channel], [], [], max(0.0, stop - time.monotonic()))[0]:
                try:
                    packet, sender = channel.recvfrom(1500)
                except OSError:
                    continue
                if is_reply(packet, identifier) and sender[3] in names:
                    found.add((names[sender[3]], sender[0].partition("%")[0]))
    return sorted(found)
