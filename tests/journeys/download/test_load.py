# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each broken state of docs/reference/cache.md: made, found, removed, downloaded anew, loaded by real vLLM."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from support.hub import HubServer
from support.models import make
from support.playbook import AnsiblePlaybook
from support.sandbox import IMAGE, Spark

from .damage import DAMAGE
from .own_hub import CACHE, ENDPOINT, HERE

pytestmark = pytest.mark.usefixtures("prepared")

MODELS = [f"journey/{name}" for name in DAMAGE]
DOWNLOAD = "import sys, huggingface_hub as h; [h.snapshot_download(name) for name in sys.argv[1:]]"
IN_IMAGE = (
    f"docker run --rm --network host --ipc host --volume {CACHE}:/c --volume /tmp/load.py:/load.py"
    f" --env HF_HUB_CACHE=/c --env HF_HOME=/c --env HF_ENDPOINT={ENDPOINT} --entrypoint python3 {IMAGE}"
)


def test_what_was_broken_is_loaded_by_vllm(
    spark: Spark, ansible_playbook: AnsiblePlaybook, hub: HubServer, cache: str, tmp_path: Path
) -> None:
    make(hub.models / "journey/whole", shards=2, vocabulary=20_000, hidden=64, heads=4, head_dim=32)
    for name in MODELS[1:]:
        shutil.copytree(hub.models / "journey/whole", hub.models / name, copy_function=os.link)
    spark.copy(HERE / "load.py", HERE / "damage.py")
    hub.restart()  # it reads its models once
    with spark.sudo():
        spark.check_output(f"{IN_IMAGE} -c %s {' '.join(MODELS)}", DOWNLOAD)
        spark.check_output("python3 /tmp/damage.py %s", CACHE)
    answer = tmp_path / "answer.json"
    run = ansible_playbook(HERE / "repair.yml", spark.limit, path=CACHE, models=MODELS, answer=str(answer))
    assert run.code == 0, run.output

    found = json.loads(answer.read_text())
    states: dict[str, list[str]] = {name: [] for name in MODELS}
    for state, entry in [(e["state"], e) for e in found["broken"]] + [("partials", e) for e in found["partials"]]:
        states[entry["repo_id"]].append(state)
    assert states == {f"journey/{name}": states for name, (_breaks, states) in DAMAGE.items()}
    harmless = {"whole", "partial", "staleref", "waste", "probe", "foreign"}  # that partial is of no file of the commit
    complete = {model["repo_id"].split("/")[1] for model in found["models"] if model["complete"]}
    assert complete == harmless
    (half,) = [model["missing"] for model in found["models"] if model["repo_id"] == "journey/halftree"]
    assert half == [f"config.json (it is in {CACHE}/hub/models--journey--halftree)"]

    with spark.sudo():
        spark.check_output(f"{IN_IMAGE} -c %s {' '.join(MODELS)}", DOWNLOAD)
        said = spark.check_output(f"{IN_IMAGE} /load.py {' '.join(MODELS)}").splitlines()[-1]
    loaded = json.loads(said)
    whole = loaded["journey/whole"]
    assert whole[0] > 0, whole
    assert loaded == dict.fromkeys(MODELS, whole)
