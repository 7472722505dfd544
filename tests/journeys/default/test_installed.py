# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as it is published, installed into an empty controller: it sees the host as this clone does."""

from __future__ import annotations

from pathlib import Path

from support.built import build, install
from support.paths import ROOT
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import Spark


def test_dgxspark_vllm_site(served: Run, spark: Spark, ansible_playbook: AnsiblePlaybook, tmp_path: Path) -> None:
    install(build(tmp_path), tmp_path)
    empty = {"HOME": str(tmp_path), "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    run = ansible_playbook(
        "dgxspark.vllm.site",
        spark.limit,
        "-vv",
        inventory=ROOT / "inventories" / "sandbox",
        folder=tmp_path,
        config=tmp_path / "none.cfg",
        environment=empty,
    )
    assert run.code == 0, run.output
    assert run.count(spark.name, "changed") == 0, run.output
    assert f"task path: {tmp_path}/ansible_collections/dgxspark/vllm/roles/vllm/" in run.output
    assert str(ROOT / "roles") not in run.output
