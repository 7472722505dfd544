# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on a host, as Docker describes them."""

from __future__ import annotations

import json
import re
import typing as t

from .._outside.text import plain
from .._outside.values import mapping, parse_json, sequence, text, whole

ID = re.compile(r"sha256:[0-9a-f]{64}")
# What the kernel calls a machine, and what an image calls it.
_ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64"}

# Command line in; exit code, output and errors out.
Run = t.Callable[[list[str]], tuple[int, str, str]]
Facts = dict[str, t.Any]


class ImageError(Exception):
    """Docker gave no usable answer; the message is for the user."""


class Image(t.NamedTuple):
    id: str
    digests: list[str]  # in registries; none if it was built or loaded here
    tags: list[str]
    size: int
    architecture: str


def find(run: Run, docker: str, name: str) -> Image | None:
    """The image with this name or ID; None if it is not on the host. Raises ImageError."""
    rc, out, err = run([docker, "image", "inspect", "--format={{json .}}", "--", name])
    if rc and "no such image" in err.lower():
        return None
    if rc:
        raise ImageError(f"docker image inspect {name} ended with {rc}: {plain(err.strip())}")
    facts = mapping(parse_json(out))
    if not text(facts.get("Id")):
        raise ImageError(f"docker image inspect {name} gave no ID: {plain(out.strip()[:200])}")
    return Image(
        plain(text(facts.get("Id"))),
        _texts(facts.get("RepoDigests")),
        _texts(facts.get("RepoTags")),
        whole(facts.get("Size")) or 0,
        plain(text(facts.get("Architecture"))),
    )


def named(run: Run, docker: str) -> set[str]:
    """The IDs of the images that have a name or a digest: someone wanted them."""
    form = "--format={{.ID}} {{.Repository}}"
    out = run([docker, "image", "ls", "--all", "--no-trunc", form])[1]
    return {line.split(" ")[0] for line in out.splitlines() if not line.endswith(" <none>")}


def _texts(value: t.Any) -> list[str]:
    return [plain(one) for one in sequence(value) if isinstance(one, str)]


def daemon(run: Run, docker: str) -> Facts:
    """What the daemon says of itself; empty without an answer."""
    _rc, out, _err = run(["timeout", "60", docker, "info", "--format={{json .}}"])
    return mapping(parse_json(out))


def architecture(info: t.Mapping[str, t.Any]) -> str:
    """That of the daemon's machine, as an image names it."""
    machine = plain(text(info.get("Architecture")))
    return _ARCHITECTURES.get(machine, machine)


def store(info: t.Mapping[str, t.Any]) -> str:
    """Where the daemon keeps images, which decides what their ID is: the hash of their config, or of their manifest."""
    return "containerd" if "io.containerd.snapshotter" in json.dumps(info.get("DriverStatus")) else "classic"
