# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of hf_download: its options, and the result that the steps fill in."""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .._hf_cache.files import creation_mask
from .._vllm.api import dotenv_value
from . import model_files


class DownloadTask:
    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.check_mode: bool = module.check_mode
        self.options: dict[str, t.Any] = module.params
        self.model: str = module.params["model"]
        # the cache, and the tree in it that has the model, or gets it
        self.cache: str = os.path.normpath(module.params["path"])
        self.path: str = model_files.tree_of(self.cache, self.model)
        self.revision: str = module.params["revision"]
        # what a branch is to be, so that it is the same on all hosts of a run; a commit is what it is
        fixed = None if model_files.is_commit(self.revision) else module.params["commit"]
        self.wanted: str = fixed or self.revision
        self.folder = model_files.repository(self.path, self.model)
        self.token = read_token(module.params["env_file"])
        # new files get the rights of the cache's folder, so a cache shared by a group stays shared
        self.umask = creation_mask(self.path)
        os.umask(self.umask)
        self.before = self.after = ""
        self.result: dict[str, t.Any] = {
            "changed": False,
            "status": "complete",
            "commit": None,
            "snapshot": None,
            "files": [],
            "missing": [],
            "removed": [],
            "set_aside": [],
            "bytes": None,
            "expected_bytes": module.params["expected_bytes"],
            "client": None,
            "joined": False,
            "container": None,
            "cause": None,
        }

    def look_up(self) -> model_files.Snapshot:
        """The snapshot as it is on the disk; the result gets its numbers."""
        snapshot = model_files.look_up(self.path, self.model, self.wanted)
        files = model_files.wanted(model_files.recorded(self.folder, snapshot.commit or ""))
        self.result.update(commit=snapshot.commit, snapshot=snapshot.path)
        if files:
            self.result.update(
                bytes=model_files.blob_bytes(self.folder, files),
                expected_bytes=sum(model_files.by_blob(files).values()),
            )
        return snapshot

    def point(self) -> None:
        """Have the revision name the wanted commit: vLLM looks it up by its name."""
        if self.wanted == self.revision:
            return
        if model_files.look_up(self.path, self.model, self.revision).commit != self.wanted:
            self.result["changed"] = True
            if not self.check_mode:
                model_files.point(self.folder, self.revision, self.wanted)

    def report_missing(self, snapshot: model_files.Snapshot) -> str:
        """Put the missing files into the result, and return them as evidence."""
        self.result["missing"] = snapshot.missing + snapshot.damaged or ["the snapshot"]
        return "missing: " + ", ".join(self.result["missing"][:5])


def read_token(path: str | None) -> str:
    if not path:
        return ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return dotenv_value(file.read(), "HF_TOKEN") or ""
    except OSError:  # without a file there is no token; the hub says so if it needs one
        return ""
