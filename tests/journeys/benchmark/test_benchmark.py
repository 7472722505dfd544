# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server is measured with its own client, and again with half the batch, which is a regression.

That a repeat is none is for the unit tests: beside another journey this machine may be half as fast the second time.
Half the batch shows on a machine of any speed: of the requests that keep a full batch busy, most wait then for as long
as another one takes, which is many times the first token of one that is served at once.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.playbook import AnsiblePlaybook, Run
from support.sandbox import MODEL, Spark

pytestmark = pytest.mark.usefixtures("served")

KEY = "correct-horse-battery"
BATCH = 64  # of the profile
FULL = {"name": "c64", "concurrency": BATCH, "prompts": 2 * BATCH, "input_tokens": 32, "output_tokens": 32}
# On a busy machine a step of 16 requests took as long as 16 steps of one (120 and 9 ms), and one of 64 half as long.
BUSY = {**FULL, "prompts": BATCH}
PLAIN = {"name": "c16", "concurrency": 16, "prompts": 16, "input_tokens": 32, "output_tokens": 16}
PREFIX = {
    "name": "prefix",
    "concurrency": 4,
    "prompts": 8,
    "prefix_tokens": 256,
    "input_tokens": 32,
    "output_tokens": 8,
}
STREAM = {"name": "c1", "concurrency": 1, "prompts": 4, "input_tokens": 32, "output_tokens": 16}
BLOCK = 128  # tokens, of a block of the KV cache on a CPU
LONG = {"name": "long", "concurrency": 1, "prompts": 1, "input_tokens": 40000, "output_tokens": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("benchmarks")


@pytest.fixture(scope="module")
def benchmark(spark: Spark, ansible_playbook: AnsiblePlaybook, folder: Path) -> Callable[..., Run]:
    def run(*flags: str, **variables: Any) -> Run:
        common = {"benchmark_repetitions": 1, "benchmark_folder": str(folder), "benchmark_settle_seconds": 5}
        return ansible_playbook("playbooks/benchmark.yml", spark.limit, *flags, **common, **variables)

    return run


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/*.json"))]


def line_of(run: Run, name: str) -> str:
    (line,) = [line for line in run.output.splitlines() if line.startswith(f"{name} ") and "tokens/s  TTFT" not in line]
    return line


def test_the_table_the_files_and_the_plots(
    spark: Spark, benchmark: Callable[..., Run], folder: Path, figure: Callable[[str], None]
) -> None:
    before = spark.inspect()["State"]
    run = benchmark(benchmark_cells=[FULL, STREAM, PREFIX, LONG], benchmark_export=True)
    assert run.code == 0, run.output
    assert run.count(spark.name, "changed") == 0

    assert spark.inspect()["State"]["StartedAt"] == before["StartedAt"]
    assert (
        spark.root("docker exec vllm-qwen3-8b-fp8 sh -c 'ls -d /tmp/tmp.* 2>/dev/null || echo none'").strip() == "none"
    )

    (record,) = records(folder)
    server = record["server"]
    assert (server["model"], server["profile"], server["vllm_version"]) == (MODEL, "throughput", "0.32.0")
    assert server["digest"].startswith("sha256:")
    assert server["revision"] == spark.root("cat /opt/hf/models--Qwen--Qwen3-8B-FP8/refs/main").strip()
    assert "--max-num-seqs" in server["options"]
    assert record["driver"] == "580.95.05"
    assert record["complete"]
    assert record["skipped"] == {"long": "needs 40008 tokens, the model is served with 32768"}
    assert [cell["name"] for cell in record["cells"]] == ["c64", "c1", "prefix"]
    for cell in record["cells"]:
        (one,) = cell["repetitions"]
        assert one["result"]["completed"] == cell["prompts"]
        asked = (cell["prompts"] + 1) * cell["output_tokens"]  # with the request before the run
        assert asked <= one["server"]["generation_tokens"] <= asked + 8, "the watchdog asks for one token at a time"
        assert one["settled"]["temperature_c"] == 41
    hits = {cell["name"]: cell["repetitions"][0]["server"]["prefix_cache_hits"] for cell in record["cells"]}
    # the client sends text: the last token of a prefix may become one with what follows, and its block another one
    assert hits["prefix"] >= PREFIX["prompts"] * (PREFIX["prefix_tokens"] - BLOCK)
    assert hits["c64"] < hits["prefix"]

    assert "first measurement" in line_of(run, "c64")
    assert "long: skipped, it needs 40008 tokens" in run.output
    assert "claimed at concurrency 64: 450 to 500 tokens/s" in run.output
    assert f"# {spark.name}: for the entry of {MODEL} in vllm_models or catalog/models" in run.output
    assert re.search(r"^tokens_per_second: \d+\.\d$", run.output, re.MULTILINE), run.output
    (drawing,) = folder.glob("*/*.svg")
    assert MODEL in drawing.read_text()
    ET.parse(drawing)
    figure(f"benchmark of the tiny model: {line_of(run, 'c64')}")


def test_half_the_batch_is_a_regression_and_the_key_stays_secret(
    spark: Spark,
    benchmark: Callable[..., Run],
    ansible_playbook: AnsiblePlaybook,
    folder: Path,
    figure: Callable[[str], None],
) -> None:
    deployment = ansible_playbook(
        "playbooks/deploy.yml", spark.limit, vllm_api_key=KEY, vllm_extra_args={"max_num_seqs": BATCH // 2}
    )
    assert deployment.code == 0, deployment.output
    run = benchmark(benchmark_cells=[FULL])
    assert run.code == 2, run.output
    assert re.search(r"regression: .*TTFT", line_of(run, "c64")), run.output
    assert "changed since the run before: options: --max-num-seqs 64 -> --max-num-seqs 32" in run.output
    assert "slower than before, beyond noise: c64" in run.words
    assert KEY not in run.output
    assert KEY not in "".join(path.read_text() for path in folder.glob("*/*"))
    figure(f"with half the batch: {line_of(run, 'c64')}")


def test_the_better_of_two_profiles(
    spark: Spark, ansible_playbook: AnsiblePlaybook, folder: Path, figure: Callable[[str], None]
) -> None:
    """The one of the inventory has a batch of one. The service ends with it, and the other one is proposed."""
    inventory = folder / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"spark": {"hosts": {spark.name: {"vllm_profile": "one"}}}}))
    one = {"max_model_len": 4096, "gpu_memory_utilization": 0.8, "max_num_seqs": 1}
    run = ansible_playbook(
        "playbooks/tune.yml",
        f"--inventory={inventory}",
        spark.limit,
        vllm_extra_args={"enforce_eager": True},
        vllm_profiles={"one": {"args": one}},
        benchmark_profiles=["one", "throughput"],
        benchmark_cells=[BUSY],
        benchmark_repetitions=1,
        benchmark_settle_seconds=5,
        benchmark_folder=str(folder / "tuned"),
    )
    assert run.code == 0, run.output
    assert "throughput has the most tokens/s" in run.words
    tuned = yaml.safe_load((folder / "tuned" / spark.name / "tuned.yml").read_text())
    assert tuned["vllm_profile"] == "tuned"
    assert tuned["vllm_profiles"]["tuned"]["args"]["max_num_seqs"] == 64
    assert spark.inspect()["Config"]["Labels"]["dgxspark.vllm.profile"] == "one"
    for name in ("one", "throughput"):
        figure(f"profile {line_of(run, name)}")


def test_a_server_that_is_down_is_refused_in_one_line(spark: Spark, benchmark: Callable[..., Run]) -> None:
    spark.root("systemctl stop vllm")
    run = benchmark("--check", benchmark_cells=[PLAIN])
    spark.root("systemctl start vllm")
    assert run.code == 2, run.output
    assert f"{spark.name} | not measured: service vllm does not run on this host; deploy it" in run.output
