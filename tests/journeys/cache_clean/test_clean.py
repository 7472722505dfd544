# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real downloads by the image's own client, one of them killed; playbooks/clean_cache.yml tells them apart."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from support.hub import HubClient
from support.playbook import AnsiblePlaybook
from support.sandbox import HUB, IMAGE, MODEL, Sandbox, Spark
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("prepared")

CACHE = "/opt/hf-journey"
DOWNLOAD = "from huggingface_hub import snapshot_download; snapshot_download('" + MODEL + "')"


@pytest.fixture
def hub(sandbox: Sandbox) -> Iterator[HubClient]:
    """So slow that a download is still under way when the playbook looks at it."""
    before = sandbox.hub.control()["rate_bytes_per_second"]
    sandbox.hub.set_rate(1_000_000)
    yield sandbox.hub
    sandbox.hub.set_rate(before)


@pytest.fixture
def cache(spark: Spark) -> Iterator[str]:
    spark.root(f"mkdir {CACHE}")
    yield CACHE
    spark.root(f"docker rm --force journey-download; rm -rf {CACHE}")


def partials(spark: Spark) -> dict[str, int]:
    """Partial downloads, and what each takes on the disk."""
    with spark.sudo():
        found = spark.check_output("find %s -name '*.incomplete' -printf '%%b %%p\\n'", CACHE)
    return {path: int(blocks) * 512 for blocks, path in (line.split(" ", 1) for line in found.splitlines())}


def download(spark: Spark) -> None:
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
    wait_until(
        lambda: [path for path, size in partials(spark).items() if size and path not in before], "a partial download"
    )


def cleaned(output: str) -> tuple[int, int]:
    """What the playbook reports: how many partials, how many bytes."""
    report = re.search(r"(\d+) dead partial downloads .* (\d+) bytes", " ".join(output.split()))
    assert report, output
    return int(report[1]), int(report[2])


@pytest.mark.usefixtures("cache")
def test_a_killed_download_is_removed_and_a_live_one_is_not(
    spark: Spark, ansible_playbook: AnsiblePlaybook, hub: HubClient
) -> None:
    clean = ("playbooks/clean_cache.yml", spark.limit)

    download(spark)
    with spark.sudo():
        spark.check_output("docker kill --signal KILL journey-download")
    dead = partials(spark)
    assert dead
    look = ansible_playbook(*clean, "--check", "--diff", hf_cache_path=CACHE)
    assert look.code == 0, look.output
    assert partials(spark) == dead
    assert cleaned(look.output) == (len(dead), sum(dead.values()))

    run = ansible_playbook(*clean, hf_cache_path=CACHE)
    assert run.code == 0, run.output
    assert run.count(spark.name, "changed") == 1
    assert cleaned(run.output) == (len(dead), sum(dead.values()))
    assert partials(spark) == {}

    download(spark)
    live = partials(spark)
    run = ansible_playbook(*clean, hf_cache_path=CACHE)
    assert run.code == 0, run.output
    assert run.count(spark.name, "changed") == 0, run.output
    assert cleaned(run.output) == (0, 0)
    assert set(live) <= set(partials(spark))
    with spark.sudo():
        holder = spark.check_output("docker inspect --format '{{.State.Pid}}' journey-download")
    assert re.search(rf"kept .*\.incomplete: .*pid {holder}, .*python3", run.words), run.output

    hub.set_rate(0)
    with spark.sudo():
        assert spark.check_output("docker wait journey-download") == "0"
        assert spark.check_output("find %s -name '*.incomplete'", CACHE) == ""
