# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daily clean of the role hf_cache is taken off by tasks that a second run can go on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.host_code import Store

TASKS = Path(__file__).resolve().parents[3] / "roles" / "hf_cache" / "tasks" / "timer.yml"
BIN = Path(sys.executable).parent

# Knows one timer, which runs until it is stopped; it may refuse that.
SYSTEMCTL = """#!{python}
import pathlib, sys
here, (verb, *_rest) = pathlib.Path({folder!r}), sys.argv[1:]
runs = here / "runs"
if verb == "show":
    print("Id=dgxspark-hf-clean.timer\\nLoadState=loaded\\nActiveState=" + ("active" if runs.exists() else "inactive"))
elif verb == "is-enabled":
    print("enabled" if runs.exists() else "disabled")
elif verb == "stop":
    if (here / "broken").exists():
        sys.exit("Failed to stop dgxspark-hf-clean.timer: Connection timed out")
    runs.unlink()
"""


def take_off(folder: Path) -> subprocess.CompletedProcess[str]:
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "connection": "local",
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "hf_cache_clean_daily": False,
            "__hf_cache_clean": "dgxspark-hf-clean",
        },
        "tasks": [{"import_tasks": str(folder / "timer.yml")}],
    }
    (folder / "play.yml").write_text(json.dumps([play]))
    environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"}
    command = [BIN / "ansible-playbook", "-i", "localhost,", folder / "play.yml"]
    return subprocess.run(command, capture_output=True, check=False, text=True, env=environment, timeout=120)


def test_a_removal_that_broke_off_is_gone_on_with(tmp_path: Path) -> None:
    units = tmp_path / "units"
    for name in ("bin", "units"):
        (tmp_path / name).mkdir()
    tasks = TASKS.read_text().replace("/etc/systemd/system", str(units))
    absent = "        state: absent\n"
    there = '        name: "{{ __hf_cache_clean }}"\n'
    assert there + absent in tasks
    (tmp_path / "timer.yml").write_text(tasks.replace(there + absent, f"{there}{absent}        root: {tmp_path}/lib\n"))
    tool = tmp_path / "bin" / "systemctl"
    tool.write_text(SYSTEMCTL.format(python=sys.executable, folder=str(tmp_path)))
    tool.chmod(0o755)
    Store(str(tmp_path / "lib")).install("dgxspark-hf-clean", {"__main__.py": ""})
    for file in (units / "dgxspark-hf-clean.timer", units / "dgxspark-hf-clean.service", tmp_path / "runs"):
        file.touch()

    (tmp_path / "broken").touch()
    broken = take_off(tmp_path)
    assert broken.returncode != 0
    assert "Connection timed out" in broken.stdout, broken.stdout

    (tmp_path / "broken").unlink()
    again = take_off(tmp_path)
    assert again.returncode == 0, again.stdout
    assert not (tmp_path / "runs").exists()
    assert list(units.iterdir()) == []
    assert not (tmp_path / "lib").exists()
