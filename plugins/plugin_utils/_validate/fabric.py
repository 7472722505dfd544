# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of the role fabric."""

from __future__ import annotations

import ipaddress

from .._catalog.catalog import Catalog
from .._common.text import show
from .._common.types import TypedValues
from .common import Lines

EXAMPLE = "192.168.100.0/22"
LARGEST, SMALLEST = 8, 27  # a ring has room for two hosts on each of its subnets then


def fabric(checked: TypedValues, catalog: Catalog) -> Lines:
    value = checked["fabric_network"]
    if checked.valid("fabric_network") and not _is_network(value):
        yield (
            f"fabric_network: {show(value)} is not allowed; use a private IPv4 network from /{LARGEST} to /{SMALLEST},"
            f" such as {EXAMPLE}"
        )
    mtu = checked["fabric_mtu"]
    if checked.valid("fabric_mtu") and mtu is not None and not 1280 <= mtu <= 9216:
        yield f"fabric_mtu: {show(mtu)} is not allowed; use bytes from 1280 to 9216, or null to leave it"


def _is_network(text: str) -> bool:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:  # host bits are set, too
        return False
    return "/" in text and network.is_private and LARGEST <= network.prefixlen <= SMALLEST
