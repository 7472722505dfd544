# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A package that cannot be installed: the reason is told, and check mode goes on.

test_prepare_second_run.py tests that only a missing command asks for one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from support.paths import ROOT
from support.playbook import AnsiblePlaybook

TASKS = ROOT / "roles/spark_host/tasks/install_package.yml"
NO_WAY = {"msg": "no way to the packages"}


@pytest.mark.parametrize("mode", [[], ["--check"]])
def test_a_package_that_cannot_be_installed(tmp_path: Path, ansible_playbook: AnsiblePlaybook, mode: list[str]) -> None:
    package = yaml.safe_load(TASKS.read_text())[1]
    install = package["block"][0]
    assert install.pop("ansible.builtin.apt")["name"] == "{{ __spark_host_package }}"
    (tmp_path / "install.yml").write_text(
        json.dumps([{**package, "block": [{**install, "fail": NO_WAY}], "always": []}])
    )
    variables = {
        "ansible_python_interpreter": sys.executable,
        "__spark_host_package": "package",
        "__spark_host_package_hint": ", or leave hf_cache_source empty",
    }
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "connection": "local",
        "vars": variables,
        "tasks": [{"include_tasks": str(tmp_path / "install.yml")}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    run = ansible_playbook(tmp_path / "play.yml", *mode, inventory="localhost,")
    # check mode does not update the package lists, so a failure says nothing there
    reason = "package cannot be installed on localhost: no way to the packages. Run `sudo apt-get update` there, or"
    assert (reason in run.words) is (not mode)
    assert (run.code != 0) is (not mode)
    assert ("changed=1" in run.output) is bool(mode)


def test_it_is_recorded_before_and_after() -> None:
    """Also if it cannot be installed: apt-get may have got half way."""
    first, package = yaml.safe_load(TASKS.read_text())
    steps = [first, *package["block"], *package["always"]]
    states = [step["dgxspark.vllm.host_record"]["state"] for step in steps if "dgxspark.vllm.host_record" in step]
    assert states == ["opened", "closed"]
    assert steps[0]["dgxspark.vllm.host_record"]["packages"] == ["{{ __spark_host_package }}"]
