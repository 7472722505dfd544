# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of the role gateway. One line for each problem, which never holds a key."""

from __future__ import annotations

import re
import typing as t

from .._catalog.catalog import Catalog
from .._common.addresses import ANY_ADDRESS, is_ipv4
from .._common.text import show
from .._common.types import TypedValues, integer
from .._plan.gateway import KEY_FORM, LIMITS
from .._plan.virtual_address import virtual_problem
from .common import Lines

# Least and largest value. A body is in memory as a whole; 64 MiB of it are an hour of speech or some images.
BOUNDS = {
    "gateway_port": (1, 65535, "a port"),
    "gateway_stats_port": (1024, 65535, "a port"),
    "gateway_requests_per_minute": (1, 1_000_000, "requests"),
    "gateway_concurrent": (1, 100_000, "requests"),
    "gateway_body_bytes": (4096, 64 * 2**20, "bytes"),
    "gateway_connections": (10, 100_000, "connections"),
    "gateway_timeout": (60, 86400, "seconds"),
    "gateway_hold_requests": (1, 100_000, "requests"),
    "gateway_hold_seconds": (0, 3600, "seconds"),
}


def gateway(checked: TypedValues, catalog: Catalog) -> Lines:
    for name, (low, high, unit) in BOUNDS.items():
        if checked.valid(name) and not low <= checked[name] <= high:
            yield f"{name}: {show(checked[name])} is not allowed; use {unit} from {low} to {high}"
    if checked.valid("gateway_port", "gateway_stats_port") and checked["gateway_port"] == checked["gateway_stats_port"]:
        yield f"gateway_stats_port: {checked['gateway_stats_port']} is gateway_port, too; use another port"
    for name in ("gateway_address", "gateway_server_address"):
        is_empty = name == "gateway_server_address" and checked[name] == ""
        is_wrong = not is_ipv4(checked[name]) or (name == "gateway_server_address" and checked[name] == ANY_ADDRESS)
        if checked.valid(name) and not is_empty and is_wrong:
            yield f"{name}: {show(checked[name])} is not allowed; use an IPv4 address such as 192.168.1.40"
    yield from _virtual_address(checked)
    certificate = checked["gateway_certificate"]
    if checked.valid("gateway_certificate") and not re.fullmatch(r"|/[A-Za-z0-9._/@+-]+", certificate):
        yield (
            f"gateway_certificate: {show(certificate)} is not allowed; use the whole path of a PEM file on the gateway,"
            " such as /etc/ssl/private/gateway.pem"
        )
    if checked.valid("gateway_keys") and checked["gateway_state"] == "present":
        yield from _keys(checked, checked["gateway_keys"])


def _virtual_address(checked: TypedValues) -> Lines:
    virtual, listens = checked["gateway_virtual_address"], checked["gateway_address"]
    if not checked.valid("gateway_virtual_address") or not virtual:
        return
    if why := virtual_problem(virtual):
        yield f"gateway_virtual_address: {show(virtual)} is not allowed; {why}"
    elif checked.valid("gateway_address") and listens not in (ANY_ADDRESS, virtual.partition("/")[0]):
        yield (
            f"gateway_address: {show(listens)} is not gateway_virtual_address, so no one would answer there; use"
            f" {ANY_ADDRESS} or {virtual.partition('/')[0]}"
        )


def _keys(checked: TypedValues, keys: t.Sequence[t.Any]) -> Lines:
    names: set[str] = set()
    secrets: dict[str, str] = {}
    for number, entry in enumerate(keys):
        where = f"gateway_keys[{number}]"
        if not isinstance(entry, dict):
            yield f"{where}: is not a mapping; use {KEY_FORM}"
            continue
        for unknown in sorted(str(name) for name in set(entry) - {"name", "key", *LIMITS}):
            yield f"{where}.{unknown}: unknown; use name, key, {', '.join(LIMITS)}"
        name, secret = str(entry.get("name", "")), str(entry.get("key", ""))
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
            yield f"{where}.name: {show(name)} is not allowed; use up to 63 letters, digits and . _ -"
        elif name in names:
            yield f"{where}.name: {name} is there twice; give each key a name of its own"
        names.add(name)
        if not re.fullmatch(r"[!-~]{16,256}", secret):
            yield (
                f"{where}.key: its value is not allowed; use 16 to 256 characters of printable ASCII without blanks,"
                " such as those of `openssl rand -hex 24`"
            )
        elif secret in secrets:
            yield f"{where}.key: is that of {secrets[secret]}, too; give each name a key of its own"
        secrets[secret] = name
        yield from _limits(checked, where, entry)


def _limits(checked: TypedValues, where: str, entry: t.Mapping[str, t.Any]) -> Lines:
    for name in LIMITS:
        if name not in entry:
            continue
        low, high, unit = BOUNDS[f"gateway_{name}"]
        if name == "body_bytes" and checked.valid("gateway_body_bytes"):
            high = checked["gateway_body_bytes"]  # what HAProxy can hold
        try:
            fits = low <= integer(entry[name]) <= high
        except ValueError:
            fits = False
        if not fits:
            yield f"{where}.{name}: {show(entry[name])} is not allowed; use {unit} from {low} to {high}"
