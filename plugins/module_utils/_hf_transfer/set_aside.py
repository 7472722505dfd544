# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a snapshot that somebody has edited are not the hub's, but they are not a broken download either.

They make room for the hub's file, and are kept: .dgxspark/set-aside/DATE-NAME.
"""

from __future__ import annotations

import os
import stat
import time
import typing as t

from .._hf_cache import beneath, verify
from .._hf_cache import files as hf_files

SET_ASIDE = os.path.join(".dgxspark", "set-aside")


class Own(t.NamedTuple):
    name: str  # in the snapshot
    path: str  # where it is now

    def __str__(self) -> str:
        return f"{self.name} was neither the hub's file nor a broken download, and is now {self.path}"

    @classmethod
    def of(cls, repository: str, name: str) -> Own:
        kept = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}-{name.replace('/', '--')[-150:]}"
        return cls(name, os.path.join(repository, SET_ASIDE, kept))


def is_own(root: str, name: str, path: str, listed: int, linked: bool) -> bool:
    """Whether the file, which is not as the hub has it, may be somebody's work: no broken download leaves it so.

    `listed` is its size on the hub, `linked` whether a link of the snapshot leads to it: where it does not, a client
    could make no links, or somebody has put a file in the place of one.
    """
    found = beneath.regular(root, path)
    if found is None or not found[0].st_size:
        return False
    size = found[0].st_size
    if name.endswith(verify.WEIGHTS):
        try:
            return name.endswith(".safetensors") and verify.safetensors_flaw(root, path, size) is None
        except OSError:
            return False
    return not linked or size > listed or (name.endswith(".json") and beneath.read_json(root, path) is not None)


def set_aside(root: str, path: str, judged: os.stat_result, own: Own) -> bool:
    """Move the very file that was judged. Returns whether it was still there."""
    with hf_files.made_folder(root, os.path.dirname(own.path)) as place:
        try:
            with beneath.open_folder(root, os.path.dirname(path)) as folder:
                name = os.path.basename(path)
                now = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not hf_files.same(now, judged) or not stat.S_ISREG(now.st_mode):
                    return False
                os.rename(name, os.path.basename(own.path), src_dir_fd=folder, dst_dir_fd=place)
                return True
        except (FileNotFoundError, NotADirectoryError):
            return False
