# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image that hangs or fails while it checks its arguments keeps nobody from deploying."""

from __future__ import annotations

import json
import os
import re
import typing as t
from pathlib import Path

import pytest
from role_on_standins import R1, Fleet

from support.playbook import AnsiblePlaybook

DOCKER = """#!/bin/sh
{ echo "$*" | tr '\\n' ' '; echo; } >>"$STANDIN/docker" # one line, also with the text of a program
[ "$1" = rm ] || exec sleep 30
"""


PASSING = """#!/bin/sh
[ "$1" = rm ] && exit
cat >/dev/null # docker run --interactive reads the arguments
if [ $FAILURES -gt "$(ls "$STANDIN" | grep -c ^try)" ]; then
    mktemp -d "$STANDIN/tryXXXXXX" >/dev/null
    echo "docker: OCI runtime create failed: read init-p: connection reset by peer: unknown." >&2
    exit 125
fi
echo '["it was asked"]'
"""


@pytest.fixture(name="check_arguments")
def _check_arguments(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> t.Callable[..., str]:
    """What the check of the arguments says with such a docker, after so many seconds; it is all of the role."""

    def check(docker: str, seconds: int = 120) -> str:
        resolved = "{{ lookup('dgxspark.vllm.service') }}"
        files = [{"content": "x", "target": "/opt/files/x"}]
        mounts = [{"source": "/srv/data", "target": "/data", "read_only": False}]
        host = {"__vllm_lock": {"holder": {"run": "x"}}, "__vllm_resolved": resolved, "__vllm_release": R1}
        host |= {"vllm_files": files, "vllm_mounts": mounts}
        fleet = Fleet(ansible_playbook, tmp_path, {"h0": host})
        tasks = fleet.folder / "collections/ansible_collections/dgxspark/vllm/roles/vllm/tasks"
        check = (tasks / "deploy" / "check_arguments.yml").read_text()
        (tasks / "validate.yml").write_text(
            check.replace("'600'", f"'{seconds}'")
        )  # its first step is enough of the role
        (tasks / "deploy" / "inspect.yml").write_text(json.dumps([{"ansible.builtin.fail": {"msg": "it went on"}}]))
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "docker").write_text(docker)
        (tmp_path / "bin" / "docker").chmod(0o755)
        _code, output = fleet.run(path=f"{tmp_path}/bin:{os.environ['PATH']}")
        return output

    return check


def test_an_image_that_hangs_while_it_reads_its_arguments_is_left(
    tmp_path: Path, check_arguments: t.Callable[..., str]
) -> None:
    output = check_arguments(DOCKER, 2)
    assert "did not check its arguments: killed after 600 s, or at 3 GiB of memory" in " ".join(output.split()), output
    assert "it went on" in output
    run, removed = (tmp_path / "h0" / "docker").read_text().splitlines()
    assert run.startswith("run --rm --name=vllm-arguments-")
    for word in (
        *("--network=none", "--cap-drop=ALL", "--cap-add=DAC_OVERRIDE", "--security-opt=no-new-privileges"),
        *("--memory=3g", "--pids-limit=1024", "--oom-score-adj=1000"),
    ):
        assert f" {word} " in run
    # vLLM looks for a chat template while it reads its arguments
    placed = re.escape(f"--mount type=bind,readonly,source={tmp_path}/h0/releases/{R1}/files/") + "[0-9a-f]{16}"
    assert re.search(f"{placed},target=/opt/files/x --mount type=bind,readonly,source=/srv/data,target=/data", run)
    assert removed.split() == ["rm", "--force", run.partition("--name=")[2].split()[0]]


def test_a_passing_fault_of_docker_is_tried_once_more(check_arguments: t.Callable[..., str]) -> None:
    output = check_arguments(PASSING.replace("$FAILURES", "1"))
    assert "refuses its arguments: it was asked" in output, output
    assert output.count("FAILED - RETRYING") == 1


def test_a_fault_of_docker_that_stays_keeps_nobody_from_deploying(check_arguments: t.Callable[..., str]) -> None:
    output = check_arguments(PASSING.replace("$FAILURES", "9"))
    assert "did not check its arguments: docker: OCI runtime create failed" in " ".join(output.split()), output
    assert output.count("FAILED - RETRYING") == 1
    assert "it went on" in output
