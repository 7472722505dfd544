# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/list_models.yml on this machine: every model, and a plan for each."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.images import GUIDES

from support.playbook import THIS_MACHINE, AnsiblePlaybook

TINY = {"id": "a/b", "weights_bytes": 1000, "layers": 1, "kv_heads": 1, "head_dim": 8, "native_context": 40960}


def catalog(ansible_playbook: AnsiblePlaybook, tmp_path: Path, **variables: t.Any) -> tuple[str, dict[str, list[str]]]:
    """What is printed, and of each model the cells from `fits?` on."""
    hosts = dict.fromkeys(("one", "two"), THIS_MACHINE)
    common = {"vllm_memory_reserve_gib": 0, **variables}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": hosts, "vars": common}}, sort_keys=False), encoding="utf-8")
    run = ansible_playbook("playbooks/list_models.yml", inventory=inventory)
    assert run.code == 0, run.output
    lines = run.output.splitlines()
    head = next(line for line in lines if line.startswith("model "))
    fits = head.index("fits?")
    assert "changed=0" in run.output
    return run.output, {
        line.split()[0]: line[fits:].replace("no, image", "image").split()
        for line in lines
        if line[fits:].startswith(("yes", "no ", "no, image"))
    }


def test_every_model_with_its_plan(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    models = {"tiny": TINY, "huge": {**TINY, "id": "a/c", "weights_bytes": 10**15}}
    text, seen = catalog(ansible_playbook, tmp_path, vllm_models=models, vllm_profile="latency")
    assert list(seen) == [*Catalog().models(), "tiny", "huge"]
    assert (seen["tiny"][0], seen["huge"][0]) == ("yes", "no")
    # no image is chosen: each model has its own, as site.yml would take it
    assert (seen["qwen3-8b-fp8"][-2], seen["gpt-oss-20b"][-2]) == (GUIDES, "nvcr.io/nvidia/vllm:26.04-py3")
    assert re.search(r"^one, .* profile latency, 16384 tokens of context", text, re.MULTILINE)


def test_a_profile_that_leaves_sizes_out_and_a_model_with_options_of_its_own(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook
) -> None:
    blocks = {"num_gpu_blocks_override": 1000}
    models = {"tiny": {**TINY, "args": blocks}, "half": {**TINY, "args": {**blocks, "max_model_len": 8000}}}
    profiles = {"few": {"args": {"max_num_seqs": 8}}}
    text, seen = catalog(ansible_playbook, tmp_path, vllm_models=models, vllm_profiles=profiles, vllm_profile="few")
    assert re.search(r"^one, .* profile few, each model's own context, 0\.9 of the memory", text, re.MULTILINE)
    # 999 blocks of 16 tokens: too few for 40960, twice as many as 8000
    assert (seen["tiny"][0], seen["half"][0], seen["half"][3]) == ("no", "yes", "2.0")


def test_the_image_counts(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """What it can run, and which options it brings with it."""
    image = "a/b:1"
    images = {image: {"vllm": "0.32.0", "args": {"num_gpu_blocks_override": 1000}}}
    text, seen = catalog(ansible_playbook, tmp_path, vllm_models={"tiny": TINY}, vllm_image=image, vllm_images=images)
    assert f"those of {image}" in text
    assert (seen["tiny"][1], seen["gpt-oss-20b"][0]) == ("16,000", "no")


def test_the_model_of_the_inventory_with_its_extra_options(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """What explain.yml says of it. Those of the inventory are for no other model."""
    text, seen = catalog(
        ansible_playbook,
        tmp_path,
        vllm_models={"tiny": TINY, "other": {**TINY, "id": "a/d"}},
        vllm_model="tiny",
        vllm_image=GUIDES,
        vllm_extra_args={"num_gpu_blocks_override": 1000},
    )
    assert list(seen) == [*Catalog().models(), "tiny", "other"]
    assert seen["tiny"][1] == "16,000"
    assert seen["other"][1] != "16,000"
    assert "; tiny with vllm_extra_args" in " ".join(text.split())
