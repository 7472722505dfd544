# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A home of releases in a folder, with a program that stands in for Docker."""

from __future__ import annotations

import json
import os
import time
import typing as t
from pathlib import Path
from types import ModuleType

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy import home as homes
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_release, vllm_releases_info

Result = dict[str, t.Any]
NOW = 1_795_644_000.0
# An image that a container has is refused, as Docker does.
DOCKER = """#!/bin/sh
if [ "$2" = inspect ]; then
    case "$5" in local*) echo "sha256:$5 0";; *) echo "sha256:$5 1";; esac
    exit
fi
echo "$*" >>"{folder}/calls"
case "$4" in used*) echo "conflict: container 1 is using its referenced image" >&2; exit 1;; esac
"""


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.home = folder / "opt" / "vllm"
        self.calls = folder / "calls"
        (folder / "bin").mkdir()
        docker = folder / "bin" / "docker"
        docker.write_text(DOCKER.format(folder=folder))
        docker.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}/bin:/usr/bin:/bin")
        monkeypatch.setattr(vllm_release, "UNITS", str(folder / "units"))
        monkeypatch.setattr(time, "time", lambda: NOW)

    def release(
        self,
        number: int,
        good: float | None = None,
        image: str = "",
        home: Path | None = None,
        is_pulled: bool = True,
    ) -> str:
        """Release NUMBER, staged at that time; GOOD and NUMBER in hours from a day ago. Its image was pulled for it."""
        name = f"{number:012x}"
        path = (home or self.home) / "releases" / name
        path.mkdir(parents=True)
        (path / "compose.yaml").touch()
        image = image or f"image:{number}"
        (path / "release.json").write_text(json.dumps({"image": image}))
        if is_pulled:
            self.pulled(home or self.home, image)
        if good is not None:
            (path / "good").write_text(f"{NOW - 86400 + good * 3600}\n")
        os.utime(path, (NOW - 86400 + number * 3600,) * 2)
        return name

    def pulled(self, home: Path, image: str) -> None:
        homes.mark(str(home), "vllm")
        homes.end_pull(str(home), image, f"sha256:{image}")

    def link(self, name: str, release: str) -> None:
        (self.home / name).unlink(missing_ok=True)
        (self.home / name).symlink_to(f"releases/{release}")

    def run(self, **options: t.Any) -> Result:
        return self.call(vllm_releases_info, **options)

    def call(self, module: ModuleType, **options: t.Any) -> Result:
        self.calls.write_text("")
        with patch_module_args({"home": str(self.home), **options}), pytest.raises(SystemExit):
            module.main()
        found: Result = json.loads(self.capsys.readouterr().out)
        assert "Traceback" not in json.dumps(found)
        return found

    def good(self, release: str, **options: t.Any) -> Result:
        return self.call(vllm_release, release=release, **options)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.home / "releases"))

    def asked(self) -> list[str]:
        return self.calls.read_text().splitlines()
