# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which addresses get in each other's way on one TCP port. Pure."""

from __future__ import annotations

import ipaddress
import typing as t

EVERYWHERE = "0.0.0.0"

_Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def meet(address: str, other: str) -> bool:
    """Whether one TCP port cannot be had on both addresses. What is no address meets every one."""
    try:
        one, two = (_plain(ipaddress.ip_address(text)) for text in (address, other))
    except ValueError:
        return True
    return one == two or one.is_unspecified or two.is_unspecified


def _plain(address: _Address) -> _Address:
    """IPv4 in the place of the same address in IPv6."""
    return getattr(address, "ipv4_mapped", None) or address


def from_proc(text: str) -> str:
    """An address as /proc/net/tcp has it: words of four bytes, each of them backwards. Empty if it is none."""
    try:
        raw = bytes.fromhex(text)
        return str(ipaddress.ip_address(b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))))
    except ValueError:
        return ""
