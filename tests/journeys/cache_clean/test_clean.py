# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real downloads from the hub by the image's own client, one of them killed; playbooks/clean_cache.yml tells them apart."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testinfra.host import Host

HOST = "spark01"

HUB = "http://172.30.111.2:8080"
IMAGE = "172.30.111.3:5000/nvidia/vllm:25.09-py3"
MODEL = "Qwen/Qwen3-8B-FP8"
CACHE = "/opt/hf-journey"
DOWNLOAD = "from huggingface_hub import snapshot_download; snapshot_download('" + MODEL + "')"


def hub(**settings: Any) -> dict[str, Any]:
    """Changes the hub's settings and says how they are."""
    request = urllib.request.Request(f"{HUB}/control", json.dumps(settings).encode() if settings else None)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def slow_hub() -> Iterator[None]:
    """So slow that a download is still under way when the playbook looks at it."""
    before = hub()["rate_bytes_per_second"]
    hub(rate_bytes_per_second=1_000_000)
    yield
    hub(rate_bytes_per_second=before)


@pytest.fixture
def cache(spark: Host) -> Iterator[str]:
    with spark.sudo():
        spark.check_output("mkdir %s", CACHE)
    yield CACHE
    with spark.sudo():
        spark.run("docker rm --force journey-download")
        spark.check_output("rm -rf %s", CACHE)


def partials(spark: Host) -> dict[str, int]:
    """Partial downloads, and what each takes on the disk."""
    with spark.sudo():
        found = spark.check_output("find %s -name '*.incomplete' -printf '%%b %%p\\n'", CACHE)
    return {path: int(blocks) * 512 for blocks, path in (line.split(" ", 1) for line in found.splitlines())}


def download(spark: Host, until: Callable[..., Any]) -> None:
    """Starts a download, and comes back in the middle of it."""
    before = partials(spark)
    with spark.sudo():
        spark.run("docker rm --force journey-download")
        spark.check_output(
            "docker run --detach --name journey-download --volume %s:/root/.cache/huggingface"
            " --env HF_HUB_CACHE=/root/.cache/huggingface --env HF_ENDPOINT=%s --entrypoint python3 %s -c %s",
            CACHE,
            HUB,
            IMAGE,
            DOWNLOAD,
        )
    until(lambda: [path for path, size in partials(spark).items() if size and path not in before], "a partial download")


def cleaned(output: str) -> tuple[int, int]:
    """What the playbook reports: how many partials, how many bytes."""
    report = re.search(r"(\d+) dead partial downloads .* (\d+) bytes", " ".join(output.split()))
    assert report, output
    return int(report[1]), int(report[2])


@pytest.mark.usefixtures("slow_hub", "cache")
def test_a_killed_download_is_removed_and_a_live_one_is_not(
    spark: Host, playbook: Callable[..., Any], until: Callable[..., Any]
) -> None:
    clean = ("playbooks/clean_cache.yml", "--limit=spark01")

    download(spark, until)
    with spark.sudo():
        spark.check_output("docker kill --signal KILL journey-download")
    dead = partials(spark)
    assert dead
    look = playbook(*clean, "--check", "--diff", hf_cache_path=CACHE)
    assert look.code == 0, look.output
    assert partials(spark) == dead
    assert cleaned(look.output) == (len(dead), sum(dead.values()))

    run = playbook(*clean, hf_cache_path=CACHE)
    assert run.code == 0, run.output
    assert run.count("spark01", "changed") == 1
    assert cleaned(run.output) == (len(dead), sum(dead.values()))
    assert partials(spark) == {}

    download(spark, until)
    live = partials(spark)
    run = playbook(*clean, hf_cache_path=CACHE)
    assert run.code == 0, run.output
    assert run.count("spark01", "changed") == 0, run.output
    assert cleaned(run.output) == (0, 0)
    assert set(live) <= set(partials(spark))
    with spark.sudo():
        holder = spark.check_output("docker inspect --format '{{.State.Pid}}' journey-download")
    assert re.search(rf"left alone: .*\.incomplete: .*pid {holder}, .*python3", " ".join(run.output.split())), (
        run.output
    )

    hub(rate_bytes_per_second=0)
    with spark.sudo():
        assert spark.check_output("docker wait journey-download") == "0"
        assert spark.check_output("find %s -name '*.incomplete'", CACHE) == ""
