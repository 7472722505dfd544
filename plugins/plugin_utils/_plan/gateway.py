# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which units a gateway forwards to, by the model that they serve. Pure.

A unit is a host of the group spark. Names of backends and servers are those in the configuration of HAProxy.
"""

from __future__ import annotations

import re
import typing as t
from zlib import crc32

from .._common.addresses import LOOPBACK, is_loopback, is_reachable
from .inventory import Server
from .virtual_address import Member, virtual_address

# What answers without a key: whether there is a unit. The same as the middleware of the units has open.
OPEN = ("/health",)
# What clients may ask for. All have the model in a JSON body. vLLM's other paths stay behind the gateway:
# those that change the server or show its state, and transcriptions, whose model is in a form.
FORWARDED = (
    *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages", "/v1/messages/count_tokens"),
    *("/v1/rerank", "/v1/responses", "/v1/score", "/classify", "/pooling", "/rerank", "/score", "/tokenize"),
    "/detokenize",
)
KEY_FORM = '{name: ada, key: "{{ vault_gateway_ada }}"}'
_NO_KEYS = f"gateway_keys: is empty, so nobody could use the gateway; add a key such as {KEY_FORM}"


class Unit(t.NamedTuple):
    name: str  # in the inventory
    machine: str  # where Ansible connects to
    model: str  # name of the model in requests
    port: int
    published: str  # vllm_publish_address
    key: str  # a digest of vllm_api_key, to compare keys; empty without one
    reached: str  # ansible_host
    address: str  # gateway_server_address
    swap_group: str = ""  # vllm_swap_group


class Model(t.NamedTuple):
    """A model and its units. KEY_OF is the unit whose API key all of them have; empty without a key.

    TAKES_TURNS_WITH are models of which one is served at a time with this one, by a unit of it.
    """

    name: str
    backend: str
    key_of: str
    servers: list[dict[str, str]]  # name, and address with the port
    takes_turns_with: list[str]


# Limits of a key. Those of all keys are variables of the role.
LIMITS = ("requests_per_minute", "concurrent", "body_bytes")


class Gateway(t.NamedTuple):
    """What a gateway forwards, to whom, and for whom."""

    models: list[dict[str, t.Any]]
    clients: list[dict[str, t.Any]]  # name and limits of each key
    forwarded: list[str]  # paths
    open_paths: list[str]
    virtual: dict[str, t.Any] | None  # gateway_virtual_address, for keepalived; None without one
    problems: list[str]


def gateway(
    server: Server,
    units: t.Sequence[Unit],
    keys: t.Sequence[t.Mapping[str, t.Any]],
    limits: t.Mapping[str, int],
    members: t.Sequence[Member] = (),
) -> Gateway:
    """The gateway on SERVER, one of the MEMBERS of its group. KEYS are gateway_keys, LIMITS those of a key without."""
    names = list(dict.fromkeys(unit.model for unit in units))
    models = [_model(name, units, server) for name in names]
    virtual, moving = virtual_address(server.name, members, {unit.name: unit.address or unit.reached for unit in units})
    return Gateway(
        models=[model._asdict() for model in models],
        clients=[{"name": key["name"], **{name: key.get(name, limits[name]) for name in LIMITS}} for key in keys],
        forwarded=list(FORWARDED),
        open_paths=list(OPEN),
        virtual=virtual._asdict() if virtual else None,
        problems=[*([] if keys else [_NO_KEYS]), *_problems(server, units), *moving],
    )


def _model(name: str, everybody: t.Sequence[Unit], server: Server) -> Model:
    """The sum keeps names apart that differ only in what a backend's name cannot have. It does not depend on the other
    models: by this name HAProxy remembers over a reload who is out and who waits."""
    units = [unit for unit in everybody if unit.model == name]
    groups = {(unit.machine, unit.swap_group) for unit in units if unit.swap_group}
    others = [unit.model for unit in everybody if unit.model != name and (unit.machine, unit.swap_group) in groups]
    return Model(
        name=name,
        backend=f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}-{crc32(name.encode()):08x}",
        key_of=units[0].name if units[0].key else "",
        servers=[{"name": unit.name, "address": f"{_address(unit, server)}:{unit.port}"} for unit in units],
        takes_turns_with=list(dict.fromkeys(others)),
    )


def _address(unit: Unit, server: Server) -> str:
    if unit.published != "0.0.0.0":
        return unit.published
    return LOOPBACK if unit.machine == server.machine else unit.address or unit.reached


def _problems(server: Server, units: t.Sequence[Unit]) -> t.Iterator[str]:
    if not units:
        yield "the group spark has no hosts, so the gateway has nothing to forward to"
    keys: dict[str, Unit] = {}
    for unit in units:
        if not re.fullmatch(r"[A-Za-z0-9_.:-]+", unit.name):
            yield f"{unit.name!r} cannot be the name of a server in HAProxy; use letters, digits and . _ : - only"
        if not re.fullmatch(r"[A-Za-z0-9_./:@+-]+", unit.model):
            yield (
                f"{unit.name} serves {unit.model!r}; with a gateway, the name of a model has letters, digits and"
                " . _ / : @ + - only: set served_model_name in vllm_extra_args"
            )
        first = keys.setdefault(unit.model, unit)
        if first.key != unit.key:
            yield (
                f"vllm_api_key of {unit.name} differs from that of {first.name}, and both serve {unit.model}; the"
                " gateway has one key for each model: set the same"
            )
        if unit.machine == server.machine:
            continue
        if is_loopback(unit.published):
            yield (
                f"vllm_publish_address: {unit.published} of {unit.name} cannot be reached from {server.name} of the"
                " group gateway; publish it with vllm_api_key: docs/guides/one-address.md"
            )
        elif not is_reachable(_address(unit, server)):
            yield (
                f"gateway_server_address: {_address(unit, server)!r} is not an IPv4 address at which {server.name} can"
                f" reach {unit.name}; set it to one, such as 192.168.1.41"
            )
