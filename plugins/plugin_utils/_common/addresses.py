# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv4 addresses in variables: text in, yes or no out; what is no address is none of it."""

from __future__ import annotations

import ipaddress

LOOPBACK = "127.0.0.1"
ANY_ADDRESS = "0.0.0.0"  # of a host: a server listens there, and no one reaches it


def _parsed(text: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None


def is_ipv4(text: str) -> bool:
    return _parsed(text) is not None


def is_loopback(text: str) -> bool:
    found = _parsed(text)
    return found is not None and found.is_loopback


def is_reachable(text: str) -> bool:
    """Whether others can send something there: neither loopback nor "all addresses of this host"."""
    found = _parsed(text)
    return found is not None and not (found.is_loopback or found.is_unspecified)


def reaches_others(text: str) -> bool:
    """Whether a port that is published there can be reached from other hosts."""
    return is_ipv4(text) and not is_loopback(text)
