# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a download failed: the causes that only a download has, and the known ones."""

from __future__ import annotations

import re
import typing as t

from .._causes.causes import Cause, recognize
from .._causes.signatures import SIGNATURES
from .._causes.text import mask, shorten
from .._outside.text import plain


class Failed(Exception):
    """The download cannot be done, for this cause."""

    def __init__(self, cause: dict[str, t.Any]) -> None:
        super().__init__(cause["meaning"])
        self.cause = cause


# Causes that only a download has; id: meaning, remedy. docs/reference/download.md explains them.
_OWN = {
    "no_space": ("the model does not fit on the disk", "{remedy}"),
    "hub_silent": (
        "the hub accepts the connection and sends nothing",
        "try again; if it stays so, check proxy and firewall of the host, or name a mirror with vllm_hf_endpoint",
    ),
    "hub_error": (
        "the hub answers with an error of its own",
        "try again later, or name a mirror with vllm_hf_endpoint",
    ),
    "hub_refused": (
        "the hub, or something between it and the host, refuses a file",
        "check that the account of vllm_hf_token may read this model, and that no proxy or firewall refuses it",
    ),
    "hub_connection": (
        "the connection to the hub broke off",
        "try again; files that are complete are not loaded again",
    ),
    "no_client": (
        "the image has no huggingface_hub",
        "use an image with vLLM (vllm_image), or set vllm_download: false",
    ),
    "no_weights": (
        "the repository holds no weights in a form that vLLM loads from it (safetensors, bin, pt)",
        "choose another vllm_model, or set vllm_download: false",
    ),
    "client_killed": (
        "the download was killed",
        "look for `out of memory` in `dmesg`, and try again",
    ),
    "incomplete": (
        "the client ended without an error, and the model is not complete",
        "try again; if it stays so, remove the model's folder from the cache",
    ),
    "client_failed": (
        "the client failed with an error that this collection does not know",
        "look at what was seen, and try again",
    ),
    "docker_missing": ("Docker is not installed", "run playbooks/prepare.yml"),
}
_OWN_LINES = (
    ("hub_error", r"\b5\d\d (?:Server Error|Internal|Bad Gateway|Service|Gateway)|Server error '5\d\d"),
    ("hub_refused", r"\b40[13] (?:Client Error|Forbidden|Unauthorized)"),
    ("hub_silent", r"Timeout(?:Error|Exception)?\b|timed out"),
    ("hub_connection", r"Connection(?:Reset|Aborted)?Error|ProtocolError|Remote\w*Error|IncompleteRead|ReadError"),
    ("no_client", r"No module named '(?:huggingface_hub|_hf_)|ImportError"),
)


def own_cause(name: str, evidence: str = "", **words: str) -> dict[str, t.Any]:
    meaning, remedy = _OWN[name]
    return {
        "id": name,
        "meaning": meaning,
        "remedy": remedy.format(**words) if words else remedy,
        "evidence": shorten(mask(" ".join(plain(evidence).split()))),
        "link": f"docs/reference/download.md#{name}",
    }


def known_cause(found: Cause) -> dict[str, t.Any]:
    names = ("id", "meaning", "remedy", "evidence", "link")
    return {name: getattr(found, name) for name in names}


def offline_cause(evidence: str) -> dict[str, t.Any]:
    found = next(entry for entry in SIGNATURES if entry.id == "hf_offline_missing")
    return known_cause(Cause(found.id, found.meaning, found.remedy, evidence))


def explain(errors: t.Sequence[str]) -> dict[str, t.Any]:
    """The cause that the exceptions name, the innermost first."""
    for text in errors:
        found = recognize(text)
        if found is not None:
            return known_cause(found)
    for name, pattern in _OWN_LINES:
        for text in errors:
            if re.search(pattern, text):
                return own_cause(name, text)
    return own_cause("client_failed", errors[0] if errors else "")


def no_space_cause(path: str, needed: int, free: int, keep_free: int) -> dict[str, t.Any]:
    def gigabytes(number: int) -> str:
        return f"{number / 1e9:.1f} GB"

    room = (
        f"make room for {gigabytes(needed + keep_free - free)} there (playbooks/clean_cache.yml removes dead partial"
        " downloads), or set hf_cache_path to a folder on a larger disk"
    )
    evidence = (
        f"{gigabytes(needed)} are needed in {path} and {gigabytes(keep_free)} have to stay free there,"
        f" {gigabytes(free)} are free"
    )
    return own_cause("no_space", evidence, remedy=room)
