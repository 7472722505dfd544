# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real vLLM says what it can; a model that it cannot run is refused before anything changes."""

from __future__ import annotations

import json

import pytest

from support.playbook import AnsiblePlaybook
from support.sandbox import IMAGE, Spark

pytestmark = pytest.mark.usefixtures("served")

KEPT = "/var/lib/dgxspark/images"
STRANGE = "/srv/models/strange"
CONFIG = {
    "architectures": ["NoSuchForCausalLM"],
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 64,
    "max_position_embeddings": 40960,
}


def state(spark: Spark) -> str:
    return spark.root("ls -A /opt/vllm/releases; readlink /opt/vllm/current; docker ps --quiet --no-trunc")


def test_an_image_is_asked_once(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    ident = spark.root(f"docker image inspect --format '{{{{.Id}}}}' {IMAGE}").strip().removeprefix("sha256:")
    listed = spark.root(f"cd {KEPT}; stat --format '%a %U %n' *").strip()
    assert listed == f"644 root {ident}.json"  # the deployment has asked
    spark.root(f"rm {KEPT}/*")
    before = state(spark)
    for when in ("asked now", "asked earlier"):
        run = ansible_playbook("playbooks/probe_image.yml", spark.limit)
        assert run.code == 0, run.output
        assert run.count(spark.name, "changed") == 0, run.output
        assert f"{IMAGE} on {spark.name}, {when}" in run.output
        for line in ("vLLM: 0.32.0", "spans hosts by itself (--nnodes): yes", "options of vllm serve: 317"):
            assert line in run.output
        assert "nvcr.io/nvidia/vllm:25.09-py3: vllm: 0.32.0 digest: sha256:" in run.words  # the entry
    assert state(spark) == before


def test_a_model_that_the_image_does_not_know_is_refused(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    spark.write(f"{STRANGE}/config.json", json.dumps(CONFIG))
    spark.root(f"cd {STRANGE}; echo '{{}}' >tokenizer.json; printf '\\2\\0\\0\\0\\0\\0\\0\\0{{}}' >model.safetensors")
    before = state(spark)
    run = ansible_playbook("playbooks/deploy.yml", spark.limit, vllm_model=STRANGE)
    assert run.code != 0, run.output
    assert run.count(spark.name, "changed") == 0, run.output
    assert (
        'vllm_image: "nvcr.io/nvidia/vllm:25.09-py3" cannot run strange, its vLLM 0.32.0 has no NoSuchForCausalLM'
        " (it was asked itself); no image of the matrix is known to have it: use another model, or set"
        " vllm_image_allow: [cannot_run]"
    ) in run.words
    assert state(spark) == before
