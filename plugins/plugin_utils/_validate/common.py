# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: it may change at any time.
"""Rules that every role needs, and those of the roles that prepare a host. One line for each problem."""

from __future__ import annotations

import re
import typing as t

from .._catalog.catalog import Catalog, show
from .types import Checked

Lines = t.Iterator[str]

_HF_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
_ABSOLUTE = re.compile(r"(/[A-Za-z0-9._@+-]+)+/?")
_SYSTEM_FOLDERS = frozenset(
    ["/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/media", "/mnt", "/opt", "/proc", "/root", "/run"]
    + ["/sbin", "/srv", "/sys", "/tmp", "/usr", "/var"]
)


def folder(checked: Checked, name: str, example: str, empty: bool = False) -> Lines:
    if not checked.ok(name) or (empty and checked[name] == ""):
        return
    wrong = _wrong_folder(checked[name], example)
    if wrong:
        yield f"{name}: {show(checked[name])} {wrong}"


def _wrong_folder(value: t.Any, example: str) -> str | None:
    if not str(value).startswith("/"):
        return f"is not allowed; use an absolute path such as {example}"
    if value.rstrip("/") in _SYSTEM_FOLDERS or value.strip("/") == "":
        return f"is a folder of the system; use one of its own such as {example}"
    if not _ABSOLUTE.fullmatch(value) or {".", ".."} & set(value.split("/")):
        return "is not allowed; use letters, digits and . _ @ + - between the /, and no . or .."
    return None


def url(checked: Checked, name: str, example: str, empty: bool = False) -> Lines:
    if not checked.ok(name) or (empty and checked[name] == ""):
        return
    value = checked[name]
    if re.match(r"https?://[^/\s]*@", value):
        yield f"{name}: must not hold a user or password; use an address such as {example}"
    elif not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._~%()$/-]*)?", value):
        yield f"{name}: {show(value)} is not allowed; use an address such as {example}"


def at_least(checked: Checked, name: str, low: int, unit: str) -> Lines:
    if checked.ok(name) and checked[name] is not None and checked[name] < low:
        yield f"{name}: {show(checked[name])} is not allowed; use at least {low} {unit}"


def matches(checked: Checked, name: str, pattern: str, rule: str, empty: bool = False) -> Lines:
    if checked.ok(name) and not (empty and checked[name] == "") and not re.fullmatch(pattern, str(checked[name])):
        yield f"{name}: {show(checked[name])} is not allowed; use {rule}"


def holds_secret(value: t.Any, secrets: t.Sequence[str]) -> bool:
    """Whether a secret of the user, or what looks like a Hugging Face token, is somewhere in a value."""
    if isinstance(value, dict):
        return any(holds_secret(item, secrets) for pair in value.items() for item in pair)
    if isinstance(value, (list, tuple)):
        return any(holds_secret(item, secrets) for item in value)
    text = str(value)
    return mask(text, secrets) != text


def mask(text: str, secrets: t.Sequence[str]) -> str:
    for secret in secrets:
        if len(secret) >= 8:  # a shorter one would tear words apart, and could be guessed from the gaps
            text = text.replace(secret, "********")
    return _HF_TOKEN.sub("hf_********", text)


def spark_host(checked: Checked, catalog: Catalog) -> Lines:
    if checked.ok("spark_host_sysctl"):
        for key, value in checked["spark_host_sysctl"].items():
            where = f"spark_host_sysctl.{key}"
            if not re.fullmatch(r"[a-z0-9_]+([./][A-Za-z0-9_-]+)+", str(key)):
                yield f"{where}: is not the name of a kernel value; use one such as vm.swappiness"
            elif isinstance(value, (dict, list)) or value is None or re.search(r"[\r\n]", str(value)):
                yield f"{where}: {show(value)} is not allowed; use a number or one line of text"
    yield from matches(
        checked, "spark_host_earlyoom_args", r'[^"\r\n]*', "one line without a double quote, such as -M 2097152 -s 100"
    )


def container_runtime(checked: Checked, catalog: Catalog) -> Lines:
    for name, example in (
        ("container_runtime_docker_repository", "https://download.docker.com/linux"),
        ("container_runtime_docker_key_url", "https://download.docker.com/linux/ubuntu/gpg"),
        ("container_runtime_toolkit_repository", "https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH)"),
        ("container_runtime_toolkit_key_url", "https://nvidia.github.io/libnvidia-container/gpgkey"),
    ):
        yield from url(checked, name, example)
    yield from matches(
        checked,
        "container_runtime_toolkit_version",
        r"\d+\.\d+\.\d+(~rc\.\d+)?-\d+",
        "a version of the package such as 1.19.0-1",
    )
    if not checked.ok("container_runtime_daemon_options"):
        return
    options = checked["container_runtime_daemon_options"]
    for key in ("features", "runtimes"):
        if key in options and not isinstance(options[key], dict):
            where = f"container_runtime_daemon_options.{key}"
            yield f"{where}: {show(options[key])} is not allowed; use a mapping, as in Docker's daemon.json"
            return
    cdi = (options.get("features") or {}).get("cdi")
    if checked.ok("container_runtime_cdi") and checked["container_runtime_cdi"] and cdi is False:
        yield (
            "container_runtime_daemon_options.features.cdi: false contradicts container_runtime_cdi: true;"
            " set container_runtime_cdi to false"
        )
    default = options.get("default-runtime")
    if default is not None and default not in {"runc", "nvidia", *(options.get("runtimes") or {})}:
        yield (
            f"container_runtime_daemon_options.default-runtime: {show(default)} is not allowed;"
            " use runc, nvidia or one of your runtimes"
        )


def hf_cache(checked: Checked, catalog: Catalog) -> Lines:
    yield from folder(checked, "hf_cache_path", "/opt/hf")
    for name in ("hf_cache_owner", "hf_cache_group"):
        yield from matches(checked, name, r"[a-z_][a-z0-9_.-]*\$?|\d+", "a name such as root, or a number")
    if checked.ok("hf_cache_mode"):
        mode = checked["hf_cache_mode"]
        if not re.fullmatch(r"[0-7]{4}", mode):
            yield f'hf_cache_mode: {show(mode)} is not allowed; use four octal digits in quotes, such as "0755"'
        elif mode[1] != "7":
            yield f'hf_cache_mode: {show(mode)} locks the owner out; use "0755", or "2775" to share it with the group'
    yield from _default_acl(checked)
    if checked.ok("hf_cache_source") and str(checked["hf_cache_source"]).startswith("/"):
        yield from folder(checked, "hf_cache_source", "/mnt/models")
        if checked.ok("hf_cache_path") and _is_below(checked["hf_cache_source"], checked["hf_cache_path"]):
            yield f"hf_cache_source: {show(checked['hf_cache_source'])} is in hf_cache_path; use a folder outside of it"
    else:
        yield from matches(
            checked, "hf_cache_source", r"[\w.-]+", "a host of the inventory, or an absolute path", empty=True
        )
    yield from matches(
        checked,
        "hf_cache_source_address",
        r"[A-Za-z0-9_:][A-Za-z0-9._:%-]*",
        "an address or a name of the source such as 192.168.100.1",
        empty=True,
    )
    yield from at_least(checked, "hf_cache_space_bytes", 0, "bytes")
    yield from at_least(checked, "hf_cache_keep_free_gib", 0, "GiB")


def unknown_source(source: t.Any, variables: t.Mapping[str, t.Any]) -> Lines:
    """A source that is a name has to be a host of the inventory; VARIABLES are those of a task."""
    hosts = list((variables.get("groups") or {}).get("all") or [])
    if isinstance(source, str) and re.fullmatch(r"[\w.-]+", source) and source not in hosts:
        others = ", ".join(host for host in hosts if host != variables.get("inventory_hostname"))
        yield (
            f"hf_cache_source: {source} is not a host of the inventory;"
            f" use {f'one of {others}, or ' if others else ''}an absolute path such as /mnt/models"
        )


def one_cache(path: t.Any, service: t.Any) -> Lines:
    """What is prepared and cleaned has to be what the service uses. Of a folder that is none, its own role speaks."""
    bad = [value for value in (path, service) if _wrong_folder(value, "/opt/hf")]
    if not bad and path.rstrip("/") != service.rstrip("/"):
        yield (
            f"vllm_hf_cache: {show(service)} is not hf_cache_path ({path}), which is prepared and cleaned;"
            f" set hf_cache_path: {service} and remove vllm_hf_cache, which follows it"
        )


def _is_below(folder: str, other: str) -> bool:
    return f"{folder.rstrip('/')}/".startswith(f"{other.rstrip('/')}/")


def _default_acl(checked: Checked) -> Lines:
    for entry in checked["hf_cache_default_acl"] if checked.ok("hf_cache_default_acl") else []:
        if not re.fullmatch(r"(user|group):[A-Za-z0-9_.-]+\$?:[r-][w-][xX-]", str(entry)):
            yield f"hf_cache_default_acl: {show(entry)} is not allowed; use entries such as group:models:rwX"
