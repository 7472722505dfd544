# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image can do: how its own vLLM is asked (image_script.py), and what its answer may hold.

The answer comes from a foreign program: every value is of its type and of a plain form here, or it is left out.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import typing as t

from .._outside.text import plain
from .._outside.values import mapping, parse_json, sequence, text
from . import image_script

# Where answers are kept: one file for each image, named after its ID. Root's, like all that root decides by.
FOLDER = "/var/lib/dgxspark/images"
SECONDS = 300  # an image of 25 GB is read from the disk for the first time
MEMORY = "3g"  # a server may run beside it, and leave 4 GiB
MOST_BYTES = 2**20  # of the answer; that of vLLM 0.32 has 84 KiB
_MOST_ERROR_BYTES = 4000
_MOST_NAMES = 10000
SOURCE = "M: read from the image by playbooks/probe_image.yml"
VERSIONS = ("vllm", "torch", "cuda", "nccl", "ray")
NAMES = ("architectures", "transformers_architectures", "tool_parsers", "reasoning_parsers")

_ID = re.compile(r"sha256:([0-9a-f]{64})")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")
_NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._-]{0,127}")

# Standard output is cut after the answer's largest size, and what the image logs is kept only from its end.
_BOUNDED = (
    f'{{ {{ "$@" || echo "docker run ended with $?" >&2; }} 2>&1 1>&3 | tail -c {_MOST_ERROR_BYTES} >&2; }} 3>&1'
    f" | head -c {MOST_BYTES}"
)

Facts = dict[str, t.Any]


def script() -> str:
    return inspect.getsource(image_script)


def question() -> str:
    """Changes with the script: an answer to another question is not used."""
    return hashlib.sha256(script().encode()).hexdigest()[:12]


def file_name(ident: str) -> str | None:
    """The name of the file with the answer of an image; None if IDENT is not an ID."""
    found = _ID.fullmatch(ident)
    return f"{found[1]}.json" if found else None


def command(docker: str, ident: str, name: str) -> list[str]:
    """Runs the script from stdin in a container NAME that can reach nothing and change nothing."""
    return [
        *("/bin/sh", "-c", _BOUNDED, "probe", "timeout", "--signal=KILL", str(SECONDS)),
        *(docker, "run", "--rm", "--interactive", f"--name={name}", "--pull=never", "--network=none", "--read-only"),
        *("--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", f"--memory={MEMORY}"),
        # where memory is short it goes, and not a server that runs; void: Docker's default runtime may add the GPU
        *("--oom-score-adj=1000", "--pids-limit=1024", "--log-driver=none", "--env=NVIDIA_VISIBLE_DEVICES=void"),
        *("--env=HOME=/tmp", "--entrypoint=python3", ident, "-"),
    ]


def read_answer(output: str) -> Facts | None:
    """The fields of an answer, each of its type or None. None: it is no answer."""
    answer = parse_json(output)
    if not isinstance(answer, dict) or not isinstance(answer.get("errors"), dict):
        return None
    facts: Facts = {name: _version(answer.get(name)) for name in VERSIONS}
    facts.update({name: _names(answer.get(name)) for name in NAMES})
    options = _options(answer.get("options"))
    facts["options"] = options
    facts["multi_node"] = None if options is None else any(option["name"] == "nnodes" for option in options)
    known = (*VERSIONS, *NAMES, "options")
    errors = ((name, text(answer["errors"].get(name))) for name in known)
    facts["errors"] = {name: plain(error)[:300] for name, error in errors if error}
    return facts


def _version(value: t.Any) -> str | None:
    return value if isinstance(value, str) and _VERSION.fullmatch(value) else None


def _names(value: t.Any) -> list[str] | None:
    """An empty list is none: no image runs nothing."""
    names = {name for name in sequence(value)[:_MOST_NAMES] if isinstance(name, str) and _NAME.fullmatch(name)}
    return sorted(names) or None


def _options(value: t.Any) -> list[Facts] | None:
    found: dict[str, Facts] = {}
    for option in map(mapping, sequence(value)[:_MOST_NAMES]):
        name, kind = option.get("name"), option.get("kind")
        if isinstance(name, str) and _NAME.fullmatch(name) and kind in ("flag", "value"):
            marks = {mark: True for mark in ("negatable", "bare") if option.get(mark) is True}
            found[name] = {"name": name, "kind": kind, **marks}
    return [found[name] for name in sorted(found)] or None


def read_image(output: str) -> Facts | None:
    """The fields of `docker image inspect` that an entry of the image matrix may need; None if it is none."""
    found = mapping(parse_json(output))
    ident, config, size = text(found.get("Id")), mapping(found.get("Config")), found.get("Size")
    if not _ID.fullmatch(ident):
        return None
    return {
        "id": ident,
        "digests": [plain(digest) for digest in sequence(found.get("RepoDigests")) if isinstance(digest, str)],
        "entrypoint": _words(config.get("Entrypoint")),
        "cmd": _words(config.get("Cmd")),
        "architecture": plain(text(found.get("Architecture"))) or None,
        "bytes": size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
    }


def _words(value: t.Any) -> list[str]:
    return [plain(word)[:200] for word in sequence(value)[:50] if isinstance(word, str)]


def entry(image: Facts, answer: Facts) -> Facts:
    """The fields of the image matrix (catalog/images.yml) that were read, with their source."""
    version = text(answer["vllm"]).partition("+")[0] or None
    serves = image["entrypoint"][-2:] == ["vllm", "serve"]
    digests = [digest.partition("@")[2] for digest in image["digests"]]
    read: Facts = {
        "vllm": version,
        "cuda": answer["cuda"],
        "nccl": answer["nccl"],
        "digest": digests[0] if len(digests) == 1 else None,
        "unpacked_bytes": image["bytes"],
        "entrypoint": image["entrypoint"] or None,
        "command_prefix": [] if serves else ["vllm", "serve"],
        # of a released version catalog/architectures.yml says them
        "architectures": answer["architectures"] if version and re.search(r"dev|rc|[ab]\d", version) else None,
        "ray": None if "ray" in answer["errors"] else answer["ray"] is not None,
        "multi_node": answer["multi_node"],
    }
    known = {name: value for name, value in read.items() if value is not None}
    return {**known, "status": "unknown", "sources": dict.fromkeys(known, SOURCE)}


def last_line(output: str) -> str:
    """The last thing that was said, in one line."""
    lines = [line for line in (plain(line).strip() for line in output.splitlines()) if line]
    return lines[-1][:300] if lines else "it said nothing"
