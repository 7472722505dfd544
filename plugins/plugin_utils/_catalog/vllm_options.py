# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of `vllm serve`: from a mapping to arguments, and what each version of vLLM knows."""

from __future__ import annotations

import json
import math
import re
import typing as t
from functools import cache
from pathlib import Path

from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import mapping, parse_json

from .._common.plain import plain
from .option_words import in_full, of_mapping, written

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# Options that take one value each time: several are given by repeating the option.
_REPEATED = frozenset(["middleware"])
_NEGATIVE_NUMBER = re.compile(r"-(\d+|\d*\.\d+)")  # what argparse takes for one
DRAFTS = "num_speculative_tokens"
_JOINED = re.compile(r"(-{1,2}[A-Za-z][\w.-]*)(?:=|\s+)(\S.*)")


def name_and_value(name: t.Any) -> tuple[str, str] | None:
    """What a word of a command line joins, if it does."""
    found = _JOINED.fullmatch(str(name).strip())
    return (found[1], found[2]) if found else None


def misspelled(name: t.Any, value: t.Any = None) -> str | None:
    """How a name must be written if it is not written with underscores, or that it is no name.

    `--limit-mm-per-prompt.video 0` of a command line is a mapping here. With its value in the name, as in
    `--kv-cache-dtype=fp8`, it is a name and a value.
    """
    if isinstance(name, str) and NAME.fullmatch(name):
        return None
    if joined := name_and_value(name):
        inner = misspelled(*joined)
        word = inner.removeprefix("write ") if inner else joined[0]
        return f"write {word}" if ": " in word else f"write {word}: {joined[1]}"
    option, dot, rest = str(name).strip().lstrip("-").partition(".")
    option = option.replace("-", "_").lower()
    if dot and NAME.fullmatch(option) and all(rest.split(".")):
        inner = f"{json.dumps(plain(value), ensure_ascii=False, default=str)}"
        for key in reversed(rest.split(".")):
            inner = f"{{{key}: {inner}}}"
        return f"write {of_mapping(option)}: {inner}"
    flat = re.sub(r"[\s_-]+", "_", str(name).strip().strip("-")).lower()
    return f"write {in_full(flat, value)}" if NAME.fullmatch(flat) else "use lower case letters, digits and _"


def to_argv(options: t.Mapping[str, t.Any]) -> list[str]:
    """The arguments of `vllm serve` in the order of the mapping. Raises ValueError with one line."""
    argv: list[str] = []
    for name, value in options.items():
        wrong = misspelled(name, value)
        if wrong:
            raise ValueError(f"{name}: is not the name of an option; {wrong}")
        flag = "--" + name.replace("_", "-")
        if value is None:
            continue
        if value is True:
            argv.append(flag)
        elif value is False:
            argv.append("--no-" + flag[2:])
        elif isinstance(value, (list, tuple)):
            if not value:
                raise ValueError(f"{name}: is an empty list; use null to drop the option")
            words = [argument(item) for item in value]
            if any(_looks_like_an_option(word) for word in words):
                raise ValueError(f"{name}: a value in the list begins with -, vLLM would take it for an option")
            argv += [part for word in words for part in (flag, word)] if name in _REPEATED else [flag, *words]
        else:
            word = _utilization(value) if name == "gpu_memory_utilization" else argument(value)
            argv += [f"{flag}={word}"] if _looks_like_an_option(word) else [flag, word]
    return argv


def _utilization(value: t.Any) -> str:
    try:
        return share_text(float(value))
    except (TypeError, ValueError):
        raise ValueError(f"gpu_memory_utilization: {value!r} is no number; use a share such as 0.90") from None


def share_text(share: float) -> str:
    """With all its digits, and at least two of them: 0.90, 0.035."""
    text = f"{share:.10f}".rstrip("0")
    return f"{share:.2f}" if len(text.partition(".")[2]) < 2 else text


def _looks_like_an_option(word: str) -> bool:
    return word.startswith("-") and not _NEGATIVE_NUMBER.fullmatch(word)


def argument(value: t.Any) -> str:
    """As it stands on the command line."""
    if isinstance(value, str):
        return str(value)
    return json.dumps(plain(value), ensure_ascii=False)


def whole(value: t.Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def mapping_of(value: t.Any) -> dict[str, t.Any]:
    """What an option says that takes a mapping, also as JSON; empty if it is none."""
    return mapping(of_json(value) if isinstance(value, str) else value)


def speculative_of(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Speculative decoding, in both of vLLM's forms, of which each may have a part."""
    names = {"method": "spec_method", "model": "spec_model", DRAFTS: "spec_tokens"}
    single = {key: options[name] for key, name in names.items() if options.get(name)}
    joined = mapping_of(options.get("speculative_config"))
    return {**single, **{str(key).replace("-", "_"): value for key, value in joined.items()}}


def of_json(text: str) -> t.Any:
    """JSON as vLLM reads it, with numbers such as 20G outside of its texts; None if it is none."""
    parts = _QUOTED.split(text)
    parts[::2] = [_WITH_UNIT.sub(lambda found: str(tokens_of(found[0]) or found[0]), part) for part in parts[::2]]
    return parse_json("".join(parts))


def integer(text: str) -> int | None:
    """A whole number as Python, and thus vLLM, reads it: 16384, 16_384, +1, -1."""
    text = text.strip()
    return int(text) if _INTEGER.fullmatch(text) and len(text) <= _LONGEST_INTEGER else None


def tokens_of(value: t.Any) -> int | None:
    """A number of tokens, or bytes, as vLLM reads it: 16384, "16384", "16k" (1000) or "16K" (1024)."""
    if not isinstance(value, str):
        return whole(value)
    parts = re.fullmatch(r"(\d{1,18})((?:\.\d+)?)([kKmMgGtT])", value.strip(), re.ASCII)
    if not parts:
        number = integer(value)
        return None if number is None or number < 0 else number
    if parts[2] and parts[3] not in _DECIMAL:  # vLLM reads 25.6k, and neither 25.6K nor 25.6
        return None
    scale = {**_DECIMAL, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}[parts[3]]
    return int(float(parts[1] + parts[2]) * scale) if parts[2] else int(parts[1]) * scale


_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_INTEGER = re.compile(r"[+-]?\d+(?:_\d+)*", re.ASCII)
_LONGEST_INTEGER = 24  # more than any count or seed has
_QUOTED = re.compile(r'("(?:[^"\\]|\\(?:.|\Z))*(?:"|\Z))', re.DOTALL)  # an open one is the rest, once
_WITH_UNIT = re.compile(r"\b\d+(?:\.\d+)?[kKmMgGtT]\b", re.ASCII)


_STAGES = {"a": -3, "alpha": -3, "b": -2, "beta": -2, "rc": -1, "c": -1, "pre": -1, "preview": -1}
_VERSION = re.compile(  # whole words: no -aarch64, -cu130, -devel
    r"v?(?P<numbers>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<stage>alpha|a|beta|b|preview|pre|rc|c)[-_.]?(?P<of_stage>\d*)(?!(?!post|dev)[a-z]))?"
    r"(?P<post>[-_.]?post[-_.]?(?P<of_post>\d*)(?!(?!dev)[a-z]))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<of_dev>\d*)(?![a-z]))?",
    re.ASCII | re.IGNORECASE,
)
_NONE, _LAST = -1, math.inf


class Version(t.NamedTuple):
    """To compare two, by the order of PEP 440: 0.20 is 0.20.0, and 0.32.0rc1 comes before 0.32.0.

    Ansible brings no parser to all its plugins.
    """

    numbers: tuple[int, ...]  # without zeros at the end
    stage: tuple[int, int]
    post: int
    dev: float


@cache
def version_key(version: str) -> Version:
    """0.10.1.1+381074ae.nv25.09 -> 0.10.1.1; what follows the version, such as -py3, does not count."""
    found = _VERSION.match(version)
    if found is None:
        return Version((), (0, 0), _NONE, _LAST)
    numbers = [int(part) for part in found["numbers"].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    stage = _STAGES[found["stage"].lower()] if found["stage"] else 0
    if found["dev"] and not found["stage"] and not found["post"]:
        stage = min(_STAGES.values()) - 1  # before all others of this version
    return Version(
        tuple(numbers),
        (stage, int(found["of_stage"] or 0)),
        int(found["of_post"] or 0) if found["post"] else _NONE,
        int(found["of_dev"] or 0) if found["dev"] else _LAST,
    )


class Option(t.NamedTuple):
    flag: bool  # may stand alone
    value: bool  # may take a value
    negatable: bool  # has a --no- form


class Options:
    """The options of one version, or of the adjacent recorded ones when it was not recorded itself."""

    def __init__(
        self,
        versions: t.Sequence[str],
        lists: t.Sequence[t.Sequence[t.Mapping[str, t.Any]]],
        added: t.Iterable[str] = (),
    ) -> None:
        """ADDED are options that an image's own vLLM has beside those, of which nothing but the name is known."""
        self.versions = tuple(versions)
        self.by_name: dict[str, Option] = {
            str(name).lstrip("-").replace("-", "_"): Option(True, True, True) for name in added
        }
        for options in lists:
            for item in options:
                name = str(item["name"]).replace("-", "_")
                old = self.by_name.get(name, Option(False, False, False))
                self.by_name[name] = Option(
                    flag=old.flag or item["kind"] == "flag" or bool(item.get("bare")),
                    value=old.value or item["kind"] == "value",
                    negatable=old.negatable or bool(item.get("negatable")),
                )

    @property
    def title(self) -> str:
        if len(self.versions) > 2:  # the version is not known
            return f"{self.versions[0]} to {self.versions[-1]}"
        return " or ".join(self.versions)

    def problem(self, name: str, value: t.Any, nearest: t.Callable[[str, t.Iterable[str]], str | None]) -> str | None:
        """What is wrong with one option, without its name."""
        option = self.by_name.get(name)
        if option is None:
            positive = name.removeprefix("no_")
            if positive != name and self.by_name.get(positive, Option(False, False, False)).negatable:
                return f"unknown option of vLLM {self.title}; write {positive}: false"
            word = written(name, value)
            near = None if word else nearest(name, self.by_name)
            word = word or (f"did you mean {near}?" if near else "`vllm serve --help` lists what there is")
            return f"unknown option of vLLM {self.title}; {word}"
        if value is None:
            return None
        if value is True:
            return None if option.flag else "true is not allowed; give the option a value"
        if value is False:
            if option.negatable:
                return None
            return "false is not allowed; the option has no --no- form, use null to drop it"
        return None if option.value else "takes no value; use true, false or null"


class Recorded:
    """The lists that tools/record_options.py wrote, one file a version."""

    def __init__(self, folder: Path, read: t.Callable[[Path], t.Any]) -> None:
        self._folder = folder
        self._read = read
        self._made: dict[tuple[tuple[str, ...], tuple[str, ...]], Options] = {}

    def versions(self) -> list[str]:
        return sorted((path.stem for path in self._folder.glob("*.yml")), key=version_key)

    def options(self, version: str | None, added: t.Iterable[str] = ()) -> Options:
        key = tuple(adjacent_versions(version, self.versions())), tuple(added)
        if key not in self._made:  # of hundreds of options each
            lists = [self._read(self._folder / f"{item}.yml")["options"] for item in key[0]]
            self._made[key] = Options(key[0], lists, key[1])
        return self._made[key]


def adjacent_versions(version: str | None, recorded: t.Sequence[str]) -> list[str]:
    """The version itself, or those recorded just below and just above it; all when it is not known.

    Both, because an option may have gone or come in between: what either knows is not refused here.
    """
    if version is None:
        return list(recorded)
    key = version_key(version)
    same = [item for item in recorded if version_key(item) == key]
    if same:
        return same
    below = [item for item in recorded if version_key(item) < key]
    above = [item for item in recorded if version_key(item) > key]
    return below[-1:] + above[:1]
