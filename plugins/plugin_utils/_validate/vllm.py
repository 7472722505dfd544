# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables of the role vllm. One line for each problem."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.dgxspark.vllm.plugins.module_utils._host.folders import lies_in, wrong_cache
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.health import PHASE_TIMEOUTS
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.log_lines import SINCE

from .._catalog.catalog import Catalog
from .._common.addresses import is_ipv4, reaches_others
from .._common.text import hint, show
from .._common.types import TypedValues, integer
from .._plan.names import home
from .common import PORT, WEEK, Lines, at_least, control_character, folder, holds_secret, matches, texts, url
from .environment import environment
from .model import choice
from .mounts import own_mounts

_ULIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc"),
    *("rss", "rtprio", "rttime", "sigpending", "stack"),
)

# Docker looks for a name without . and : at Docker Hub. Harbor, Nexus and Artifactory mirror into folders.
_REGISTRY = (
    rf"(?=[^/]*[.:]|localhost(/|$))[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:{PORT})?"
    r"(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
)


# S: in vLLM only the command `serve` reads the model that comes first.
_API_SERVER = "vllm.entrypoints.openai.api_server"


def vllm(checked: TypedValues, catalog: Catalog) -> Lines:
    yield from choice(checked, catalog)
    yield from _network(checked)
    yield from _reports(checked)
    yield from _logs(checked)
    yield from matches(checked, "vllm_export_folder", r"[^\r\n\0]+", "a folder on the controller, such as exports")
    yield from _names(checked)
    yield from own_mounts(checked, catalog)
    yield from _secrets(checked)
    if checked.valid("vllm_extra_env"):
        yield from environment("vllm_extra_env", checked["vllm_extra_env"], checked.secrets())
        yield from _frontend(checked)
    yield from _limits(checked)
    yield from _entrypoint(checked)
    yield from _user(checked)


def _user(checked: TypedValues) -> Lines:
    """Numbers: only the image knows the names in it. Those of root would lack what the role gives root."""
    name = "vllm_container_user"
    rule = 'the numbers of a user and a group in quotes, such as "1000:1000", or "" for the user of the image'
    yield from matches(checked, name, r"[1-9]\d{0,8}:(0|[1-9]\d{0,8})", rule, empty=True)
    if checked.valid(name, "vllm_nodes") and checked[name] and checked["vllm_nodes"]:
        yield f'{name}: {show(checked[name])} is not allowed with vllm_nodes, whose ranks lock memory for RDMA; use ""'


def _entrypoint(checked: TypedValues) -> Lines:
    name = "vllm_entrypoint"
    if wrong := list(texts(checked, name)):
        yield from wrong
        return
    words = checked[name] if checked.valid(name) else []
    if words and not words[0].strip():
        yield (
            f"{name}[0]: is empty; use the program that the container starts, such as bash, or [] for that of the image"
        )
    for number, word in enumerate(words):
        if holds_secret(word, checked.secrets()):
            yield (
                f"{name}[{number}]: holds a secret that every user of the host could read; use vllm_hf_token or"
                " vllm_api_key"
            )
        elif control := control_character(word):
            yield f"{name}[{number}]: holds the control character {control}; remove it"
        elif word == _API_SERVER:
            yield (
                f"{name}[{number}]: {word} takes the model as an option only, and would serve another one; remove"
                f" {name}, `vllm serve` is the same server"
            )


def _frontend(checked: TypedValues) -> Lines:
    name = "VLLM_USE_RUST_FRONTEND"
    if checked["vllm_api_key"] and str(checked["vllm_extra_env"].get(name, "0")).lower() not in ("", "0", "false"):
        yield (
            f"vllm_extra_env.{name}: is not allowed with vllm_api_key; that server loads no middleware, and would"
            " answer most paths without the key: remove it"
        )


def _reports(checked: TypedValues) -> Lines:
    mode = 'four octal digits in quotes, such as "0600"'  # without quotes 0640 is 416 to YAML
    yield from matches(checked, "vllm_report_mode", r"0[0-7]{3}", mode)
    yield from at_least(checked, "vllm_watch_interval", 1, "second", 86400)
    yield from at_least(checked, "vllm_watch_count", 0, "rounds")


def _logs(checked: TypedValues) -> Lines:
    since = "a span such as 2h or 1h30m, or a time in UTC such as 2026-11-29T05:00"
    yield from matches(checked, "vllm_logs_since", SINCE.pattern, since)
    yield from at_least(checked, "vllm_logs_lines", 1, "line", 1_000_000)
    if checked.valid("vllm_logs_pattern"):
        try:
            re.compile(checked["vllm_logs_pattern"])
        except re.error as error:
            wrong = show(checked["vllm_logs_pattern"])
            yield f"vllm_logs_pattern: {wrong} is no regular expression of Python; correct it: {error}"


def _network(checked: TypedValues) -> Lines:
    if checked.valid("vllm_port") and not 1 <= checked["vllm_port"] <= 65535:
        yield f"vllm_port: {show(checked['vllm_port'])} is not allowed; use a TCP port from 1 to 65535"
    yield from at_least(checked, "vllm_keep_releases", 1, "release", 1000)
    if checked.valid("vllm_publish_address"):
        value = checked["vllm_publish_address"]
        if not is_ipv4(value):
            yield (
                f"vllm_publish_address: {show(value)} is not allowed; use an IPv4 address of the host,"
                " 127.0.0.1 or 0.0.0.0"
            )
        elif (
            reaches_others(value)
            and checked.valid("vllm_api_key", "vllm_publish_without_api_key")
            and not checked["vllm_api_key"]
            and not checked["vllm_publish_without_api_key"]
        ):
            yield (
                f"vllm_publish_address: {show(value)} would publish the server to everybody without a key;"
                " set vllm_api_key, or vllm_publish_without_api_key: true"
            )
    yield from matches(
        checked,
        "vllm_image_registry",
        _REGISTRY,
        "host.domain or host:port, with the path in it if the mirror has one (harbor.example.org/nvcr), without https://",
        empty=True,
    )
    yield from url(checked, "vllm_hf_endpoint", "https://mirror.example.org", empty=True)
    if checked.valid("vllm_hf_endpoint", "vllm_hf_token", "vllm_hf_token_over_http"):
        endpoint = checked["vllm_hf_endpoint"]
        in_clear_text = re.match(r"http://(?!(localhost|127\.[0-9.]+)([:/]|$))", endpoint, re.IGNORECASE)
        if in_clear_text and checked["vllm_hf_token"] and not checked["vllm_hf_token_over_http"]:
            yield (
                f"vllm_hf_endpoint: {show(endpoint)} would get vllm_hf_token unencrypted; use https://, leave"
                " vllm_hf_token empty, or set vllm_hf_token_over_http: true"
            )


def _names(checked: TypedValues) -> Lines:
    control = control_character(checked["vllm_profile"]) if checked.valid("vllm_profile") else None
    if control:
        yield f"vllm_profile: holds the control character {control}; remove it, in vllm_profiles too"
    name_rule = "vllm, or vllm- and up to 25 lower case letters, digits and -: it names a systemd unit"
    wrong = list(matches(checked, "vllm_service_name", r"vllm(-[a-z0-9-]{1,25})?", name_rule))
    yield from matches(
        checked,
        "vllm_swap_group",
        r"[a-z0-9][a-z0-9-]{0,24}",
        "up to 25 lower case letters, digits and -, such as chat",
        empty=True,
    )
    yield from matches(
        checked,
        "vllm_container_name",
        r"[A-Za-z0-9][A-Za-z0-9_.-]{1,62}",
        "a letter or digit, then 1 to 62 letters, digits and . _ -",
        empty=True,
    )
    wrong += folder(checked, "vllm_home", "/opt/vllm", empty=True)
    wrong += folder(checked, "hf_cache_path", "/opt/hf", wrong_for=wrong_cache)
    yield from wrong
    if not wrong and checked.valid("vllm_home", "hf_cache_path", "vllm_service_name"):
        cache, mine = checked["hf_cache_path"], home(checked)
        if lies_in(cache, mine):
            at = show(cache.rstrip("/"))
            yield f"hf_cache_path: {at} lies in the folder of the service; use another such as /opt/hf"
        elif lies_in(mine, cache):  # the container could write what root runs
            yield f"vllm_home: {show(mine)} lies in hf_cache_path ({cache}); use another folder such as /opt/vllm"


def _secrets(checked: TypedValues) -> Lines:
    """Secrets are written to an env file in single quotes. The message never shows a part of one."""
    for name, what in (("vllm_hf_token", "token"), ("vllm_api_key", "key")):
        if not checked.valid(name) or not checked[name]:
            continue
        secret = checked[name]
        bad = next((label for pattern, label in _NOT_IN_SECRET if re.search(pattern, secret)), None)
        if bad:
            yield f"{name}: its value holds {bad}; use the {what} alone, one word of printable ASCII without quotes"
        elif secret in ("hf_your_token_here", "changeme"):
            yield f"{name}: its value is the placeholder of a guide; use your own {what}, or leave it empty"
        elif "{{" in secret or "${" in secret:
            yield f"{name}: its value is a template that was not filled in; use the {what} itself"
        elif name == "vllm_api_key" and len(secret) < SHORTEST_KEY:
            yield f"{name}: its value is shorter than {SHORTEST_KEY} characters; use one from `openssl rand -hex 24`"


# A short key can be guessed, over the network and from the release's name, which is a hash of secrets and settings.
SHORTEST_KEY = 16
LEAST_MEMORY_GIB = 4  # Python, torch and the pages that loading reads
_NOT_IN_SECRET = (
    (r"[\r\n]", "a line break"),
    (r"\s", "a blank"),
    (r"""['"`]""", "a quote"),
    (r"\\", "a backslash"),
    (r"[^!-~]", "a character that is not printable ASCII"),
)


def _limits(checked: TypedValues) -> Lines:
    if checked.valid("vllm_ulimits"):
        for name, value in checked["vllm_ulimits"].items():
            at = f"vllm_ulimits.{name}"
            values = list(value.values()) if isinstance(value, dict) else [value]
            if name not in _ULIMITS:
                yield f"{at}: unknown limit; {hint(str(name), _ULIMITS)}"
            elif isinstance(value, dict) and set(value) != {"soft", "hard"}:
                yield f"{at}: is not allowed; use a number, or soft and hard"
            elif not all(_is_limit(item) for item in values):
                yield f"{at}: {show(value)} is not allowed; use a whole number without leading zeros, -1 for no limit"
    yield from matches(
        checked,
        "vllm_ipc",
        r"host|private|shareable|none|(service|container):[A-Za-z0-9][A-Za-z0-9_.-]*",
        "host, private, shareable, none, service:NAME or container:NAME",
    )
    limit = checked["vllm_container_memory_gib"] if checked.valid("vllm_container_memory_gib") else 0
    if limit and not LEAST_MEMORY_GIB <= limit <= 4096:
        yield (
            f"vllm_container_memory_gib: {show(limit)} is not allowed; use 0 for no limit, or"
            f" {LEAST_MEMORY_GIB} to 4096 GiB"
        )
    if checked.valid("vllm_memory_reserve_gib") and not 0 <= checked["vllm_memory_reserve_gib"] <= 100:
        yield f"vllm_memory_reserve_gib: {show(checked['vllm_memory_reserve_gib'])} is not allowed; use 0 to 100 GiB"
    if checked.valid("vllm_drain_timeout") and not 0 <= checked["vllm_drain_timeout"] <= 3600:
        yield f"vllm_drain_timeout: {show(checked['vllm_drain_timeout'])} is not allowed; use 0 to 3600 seconds"
    yield from at_least(checked, "vllm_start_timeout", 60, "seconds", WEEK)
    yield from at_least(checked, "vllm_stall_timeout", 30, "seconds", WEEK)
    for phase, seconds in (checked["vllm_phase_timeouts"] if checked.valid("vllm_phase_timeouts") else {}).items():
        at = f"vllm_phase_timeouts.{phase}"
        if phase not in PHASE_TIMEOUTS:
            yield f"{at}: unknown phase; {hint(str(phase), PHASE_TIMEOUTS)}"
        elif wrong := _wrong_time(seconds):
            yield f"{at}: {show(seconds)} is not allowed; use whole seconds, {wrong}"


def _wrong_time(value: t.Any) -> str | None:
    try:
        seconds = integer(value)
    except ValueError:
        seconds = 0
    if seconds < 1:
        return "at least 1"
    return f"at most {WEEK}" if seconds > WEEK else None


def _is_limit(value: t.Any) -> bool:
    if isinstance(value, str) and not re.fullmatch(r"-?(0|[1-9][0-9]*)", value):  # to YAML, 010 is 8
        return False
    try:
        return integer(value) >= -1
    except ValueError:
        return False
