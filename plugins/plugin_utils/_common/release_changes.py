# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between two releases of a service, from their files compose.yaml and .env. No value of a secret."""

from __future__ import annotations

import ipaddress
import json
import re
import typing as t
from dataclasses import dataclass

import yaml
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.daemon_json import MASK, mask, mask_text
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import mapping, sequence, text

ADDRESS, COMMAND, ENVIRONMENT, IMAGE, MOUNTS = "address", "command line", "environment", "image", "mounts"
PROFILE, SECRETS, OTHER = "profile", "secrets", "container settings"
KINDS = (ADDRESS, IMAGE, COMMAND, ENVIRONMENT, MOUNTS, PROFILE, SECRETS, OTHER)
KEY = "VLLM_API_KEY"

# VLLM_MAX_TOKENS and a tokenizer name no secret
_SECRET_NAME = re.compile(
    r"(?i)(token|secret|pass(word|wd|phrase)?|credentials?|authorization|headers?|(api|access|private)_?key|_key|key_id)$"
)
_AUTHORIZATION = re.compile(r"(?i)\b(bearer|basic)(\s+|%20)\S+")
_SECRET = re.compile(r"^(\w+)=(.+)$", re.ASCII | re.MULTILINE)
_RELEASE = re.compile(r"/releases/[0-9a-f]*/")
_READ = {"image", "ports", "environment", "command", "volumes", "labels", "container_name"}

_LONGEST = 80  # characters of a value in a short line

Values = dict[str, str]


@dataclass(frozen=True)
class Access:
    """What a client of a server has to know."""

    address: str  # host:port where the server is published; empty if nothing is, or it is not known
    names: t.Sequence[str]  # by which it may ask for the model; none if they are not known
    has_key: bool | None  # None: not known
    key: str | None = None  # None also where only its existence is known


@dataclass(frozen=True)
class Files:
    """One release: the options of its container by kind, and its secrets by name, as they are written."""

    kinds: t.Mapping[str, Values]
    secrets: Values

    @property
    def access(self) -> Access:
        options, key = self.kinds[COMMAND], self.secrets.get(KEY)
        names = (options.get("--served-model-name") or options.get("model") or "").split()
        return Access(self.kinds[ADDRESS]["port"], names, key is not None, key)


@dataclass(frozen=True)
class Change:
    kind: str
    name: str
    before: str | None  # None: it is new
    after: str | None  # None: it is gone

    @property
    def short(self) -> str:
        """As a part of a line. Long values are left to `lines`."""
        if self.before is None:
            return f"new {_word(self.name, self.after if len(self.after or '') <= _LONGEST else None)}"
        if self.after is None:
            return f"without {self.name}"
        values = f"{self.before or 'none'} -> {self.after or 'none'}"
        return f"{self.name} {values if len(values) <= _LONGEST and self.before != self.after else 'changed'}"

    @property
    def lines(self) -> list[str]:
        sides = (("-", self.before), ("+", self.after))
        return [f"{sign} {_word(self.name, value)}" for sign, value in sides if value is not None]


def parse(compose: str, env: str) -> Files | None:
    """None if COMPOSE is no file of a release. ENV may be empty."""
    try:
        services = mapping(mapping(yaml.safe_load(compose)).get("services"))
    except (yaml.YAMLError, ValueError):
        return None
    if not services:
        return None
    service = mapping(next(iter(services.values())))  # a second one is that of Ray, which follows from the first
    if not service:
        return None
    environment = {str(name): _plain(value) for name, value in mapping(service.get("environment")).items()}
    used = set(re.findall(r"(?<!\$)\$\{(\w+)\}", compose, re.ASCII))
    secrets = {found[1]: found[2] for found in _SECRET.finditer(env) if found[2] != "''" and found[1] in used}
    kinds = {
        ADDRESS: {"port": text(next(iter(sequence(service.get("ports"))), "")).rpartition(":")[0]},
        IMAGE: {"image": text(service.get("image"))},
        COMMAND: _options([_plain(word) for word in sequence(service.get("command"))]),
        ENVIRONMENT: {name: value for name, value in environment.items() if not value.startswith("${")},
        MOUNTS: dict(map(_mount, sequence(service.get("volumes")))),
        PROFILE: {"profile": _plain(mapping(service.get("labels")).get("dgxspark.vllm.profile"))},
        OTHER: {
            key: json.dumps(value, sort_keys=True, default=str) for key, value in service.items() if key not in _READ
        },
    }
    return Files(kinds, secrets)


def changes(before: Files, after: Files) -> list[Change]:
    """In the order of KINDS. Values that may be a secret are masked."""
    found = []
    for kind in KINDS:
        old, new = (files.secrets if kind == SECRETS else files.kinds[kind] for files in (before, after))
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                found.append(Change(kind, name, *(_masked(kind, name, side.get(name)) for side in (old, new))))
    return found


def short_lines(found: t.Iterable[Change]) -> list[str]:
    """One line for each kind."""
    kinds: dict[str, list[Change]] = {}
    for change in found:
        kinds.setdefault(change.kind, []).append(change)
    lines = []
    for kind, its in kinds.items():
        one = its[0]
        is_single = kind in (ADDRESS, IMAGE, PROFILE)
        what = f"{one.before or 'none'} -> {one.after or 'none'}" if is_single else ", ".join(one.short for one in its)
        lines.append(f"{kind}: {what}")
    return lines


def long_lines(found: t.Iterable[Change]) -> list[str]:
    """Each value before (-) and after (+), below its kind."""
    lines: list[str] = []
    kind = None
    for change in found:
        lines += [] if change.kind == kind else [f"{change.kind}:"]
        lines += change.lines
        kind = change.kind
    return lines


def is_secret(name: str, value: str) -> bool:
    """Whether a variable of the environment, or an option, may hold a secret."""
    return MASK in (_masked(ENVIRONMENT, name, value) or "") and MASK not in value


def secret_options(files: Files) -> list[str]:
    """Options of the command line that may hold a secret."""
    return [name for name, value in files.kinds[COMMAND].items() if is_secret(name, value)]


def lost_access(before: Access, after: Access) -> list[str]:
    """Which clients of the server before lose access by the switch, or get it. True before the switch and after it."""
    lines = address_lines(before.address, after.address, bool(after.has_key))
    if before.has_key is False and after.has_key:
        lines.append("clients that send no API key are refused")
    elif before.has_key and not after.has_key:
        lines.append("the API key is no longer asked for")
    elif before.has_key and before.key is None:
        lines.append("clients that send another API key than vllm_api_key are refused")
    elif before.has_key and before.key != after.key:
        lines.append("clients that send the API key of before are refused")
    gone = [name for name in before.names if name not in after.names]
    if gone and after.names:
        lines.append(f"requests for the model {', '.join(gone)} fail; the server has {', '.join(after.names)} instead")
    return lines


def address_lines(before: str, after: str, has_key: bool) -> list[str]:
    """The same of two addresses host:port alone."""
    (old, old_port), (new, new_port) = (_split(address) for address in (before, after))
    if not old or not new:
        return []
    lines = []
    if old_port != new_port:
        lines.append(f"clients of port {old_port} lose access; the new port is {new_port}")
    if old != new and _width(new) != _ALL and _width(old) != _LOOPBACK:
        others = "clients of other machines" if _width(new) == _LOOPBACK else f"clients that do not use {new}"
        lines.append(f"{others} lose access: address {old} -> {new}")
    elif _width(old) < _width(new):
        key = "with the API key" if has_key else "without an API key"
        lines.append(f"other machines can use the server, {key}: address {old} -> {new}")
        if _width(new) != _ALL:
            lines.append(f"clients on the host itself that use {old} lose access")
    return lines


_LOOPBACK, _ONE, _ALL = 0, 1, 2


def _width(host: str) -> int:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _ONE
    return _LOOPBACK if address.is_loopback else _ALL if address.is_unspecified else _ONE


def _split(address: str) -> tuple[str, str]:
    host, _colon, port = address.rpartition(":")
    return host.strip("[]"), port


def _options(words: t.Sequence[str]) -> Values:
    """argv by option. What comes first is the program; its last word is the model."""
    found: Values = {}
    first = next((at for at, word in enumerate(words) if word.startswith("--")), len(words))
    if first:
        found = {"program": " ".join(words[: first - 1]), "model": words[first - 1]}
    name = ""
    for word in words[first:]:
        if word.startswith("--"):
            name, _sign, value = word.partition("=")
            found[name] = value
        else:
            found[name] = f"{found[name]} {word}".strip()
    return found


def _mount(volume: t.Any) -> tuple[str, str]:
    """Target and source. The folder of the release is another one each time, and says nothing."""
    if isinstance(volume, str):
        source, _colon, target = volume.partition(":")
        target, _colon, mode = target.partition(":")
        return target, f"{source} ({'read-only' if mode == 'ro' else 'writable'})"
    its = mapping(volume)
    source = _RELEASE.sub("/releases/RELEASE/", text(its.get("source")))
    return text(its.get("target")), f"{source} ({'read-only' if its.get('read_only') else 'writable'})"


def _plain(value: t.Any) -> str:
    """As the container gets it: Compose reads $$ as a dollar sign."""
    return "" if value is None else str(value).replace("$$", "$")


def _masked(kind: str, name: str, value: str | None) -> str | None:
    if value is None:
        return None
    is_secret = kind == SECRETS or (value and _SECRET_NAME.search(name.replace("-", "_")))
    return MASK if is_secret else _masked_text(value)


def _masked_text(value: str) -> str:
    """An option may hold JSON with keys of its own."""
    if value[:1] in ("{", "["):
        try:
            return json.dumps(mask(json.loads(value)))
        except (ValueError, RecursionError):
            pass
    return _AUTHORIZATION.sub(rf"\1 {MASK}", mask_text(value))


def _word(name: str, value: str | None) -> str:
    if value in (None, ""):
        return name
    return f"{name} {value}" if name.startswith("--") else f"{name}: {value}"
