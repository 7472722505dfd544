# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One download for two hosts, counted; broken off and gone on with; refused in one line; nothing left behind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from support.hub import HubServer
from support.playbook import AnsiblePlaybook, Run
from support.sandbox import IMAGE, Spark

from ..download.own_hub import needed_bytes
from .caches import CACHE, DISK, ENDPOINT, MODEL, PLAY, SOURCE, TARGET

FOLDER = f"{CACHE}/models--{MODEL.replace('/', '--')}"
LEFT_BEHIND = (
    "find /run/dgxspark-copy /run/dgxspark-export -mindepth 1 2>/dev/null; pgrep -ax rsync;"
    " systemctl list-units --all --plain --no-legend 'dgxspark-export-*';"
    " cat /root/.ssh/authorized_keys 2>/dev/null; true"
)

pytestmark = pytest.mark.usefixtures("hosts")


def variables(**more: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "image": IMAGE,
        "endpoint": ENDPOINT,
        "hf_cache_path": CACHE,
        "hf_cache_source": SOURCE,
        "hf_cache_keep_free_gib": 0.1,
        **more,
    }


def files(host: Spark, folder: str = FOLDER) -> dict[str, str]:
    """Every file with its hash, every link with its target; without what only the source keeps."""
    find = "cd %s && find . -path './.dgxspark/verif*' -prune -o -type f -exec sha256sum {} +"
    find += " -o -type l -printf '%%l  %%p\\n'"
    with host.sudo():
        lines = host.check_output(find, folder).splitlines()
    return {name: content for content, name in (line.split("  ", 1) for line in lines)}


def received(host: Spark) -> int:
    return int(host.check_output("cat /sys/class/net/eth0/statistics/rx_bytes"))


def copied(run: Run) -> tuple[str, int]:
    """What the play says came: how much, in how many files."""
    said = re.search(rf"{MODEL} copied from \S+: ([\d.]+ \w+) in (\d+) files", run.words)
    assert said, run.output
    return said[1], int(said[2])


def assert_nothing_left(*hosts: Spark) -> None:
    for host in hosts:
        with host.sudo():
            assert host.check_output(LEFT_BEHIND) == ""


def test_two_hosts_cost_one_download_and_each_byte_is_copied_once(
    hosts: tuple[Spark, Spark], ansible_playbook: AnsiblePlaybook, hub: HubServer, tmp_path: Path
) -> None:
    source, target = hosts
    hub.control(reset=True)
    shared = {"hf_cache_mode": "2775", "hf_cache_group": "users"}
    look = ansible_playbook(PLAY, "--check", **variables(**shared))
    assert look.code == 0, look.output
    assert f"{TARGET}: {MODEL} would be copied from {SOURCE}, once that has it" in look.words
    # packages that are missing come in before it is counted
    prepare = tmp_path / "prepare.yml"
    prepare.write_text("[{hosts: spark, gather_facts: false, become: true, roles: [dgxspark.vllm.hf_cache]}]")
    assert ansible_playbook(str(prepare), **variables(**shared)).code == 0
    assert ansible_playbook(PLAY, f"--limit={SOURCE}", **variables(**shared)).code == 0
    before = received(target)
    run = ansible_playbook(PLAY, **variables(**shared))
    came = received(target) - before
    assert run.code == 0, run.output
    assert hub.bytes == needed_bytes(hub)
    assert (run.count(SOURCE, "changed"), run.count(TARGET, "changed") > 0) == (0, True)
    size = needed_bytes(hub)
    print(f"{size} bytes of model, {came} bytes came in on {TARGET}'s interface, Ansible's own included")
    assert size <= came <= size * 1.02 + 6_000_000
    assert files(source) == files(target)
    assert copied(run)[1] == len([name for name in files(source) if "/blobs/" in name])
    assert_nothing_left(source, target)
    for host in hosts:  # a group shares what was downloaded, and what was copied
        with host.sudo():
            alone = "find %s ! -type l ! -path '*/.locks/*' ! \\( -group users -perm -g+w \\)"
            assert host.check_output(alone, FOLDER) == ""

    again = ansible_playbook(PLAY, **variables(**shared))
    assert (again.code, again.count(SOURCE, "changed"), again.count(TARGET, "changed")) == (0, 0, 0), again.output
    assert hub.bytes == size


def test_a_copy_that_is_killed_is_not_complete_and_goes_on(
    hosts: tuple[Spark, Spark], ansible_playbook: AnsiblePlaybook, hub: HubServer
) -> None:
    source, target = hosts
    with target.sudo():
        target.check_output("rm -rf %s", CACHE)
        # as soon as a part of a weight file is there; the copy is over in a second, and is held still for each look
        kill = f"pkill -STOP -x rsync; find {FOLDER} -name '*.incomplete' -size +1M 2>/dev/null | grep -q ."
        kill = f"while :; do {kill} && pkill -KILL -x rsync; pkill -CONT -x rsync; done"
        unit = "--unit=journey-kill --property=RuntimeMaxSec=300"
        target.check_output(f"systemd-run --quiet --collect {unit} sh -c %s", kill)
    broken = ansible_playbook(PLAY, **variables())
    with target.sudo():
        target.run("systemctl stop journey-kill")
    assert broken.code != 0, broken.output
    assert f"{MODEL} cannot be copied from {SOURCE}" in broken.words
    assert "Traceback" not in broken.output
    with target.sudo():
        left = int(target.check_output("find %s -type f -printf '%%s\\n' | awk '{n += $1} END {print n}'", FOLDER))
        assert target.run("ls %s/snapshots %s/refs", FOLDER, FOLDER).rc != 0
    assert 0 < left < needed_bytes(hub)
    assert_nothing_left(source, target)

    before = received(target)
    run = ansible_playbook(PLAY, **variables())
    came = received(target) - before
    assert run.code == 0, run.output
    assert came <= (needed_bytes(hub) - left) * 1.02 + 6_000_000, (came, left)
    assert files(source) == files(target)
    assert_nothing_left(source, target)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"hf_cache_source": "spark99"}, "hf_cache_source: spark99 is not a host of the inventory; use one of"),
        (
            {"hf_cache_source_address": "127.0.0.1"},
            "(127.0.0.1) to {target}: the address of the source cannot be reached",
        ),
        ({"model": "org/other"}, "cannot export org/other: org/other (main) is not there in {cache}"),
        ({"hf_cache_source": "/mnt/empty"}, "source: /mnt/empty is not a folder of this host; is its disk mounted?"),
        ({"hf_cache_source": f"{CACHE}/x"}, "is in hf_cache_path; use a folder outside of it"),
    ],
)
def test_what_cannot_be_is_one_line(
    hosts: tuple[Spark, Spark], ansible_playbook: AnsiblePlaybook, more: dict[str, Any], said: str
) -> None:
    source, target = hosts
    with target.sudo():
        target.check_output("rm -rf %s", FOLDER)
    run = ansible_playbook(PLAY, f"--limit={TARGET}", **variables(**more))
    assert run.code != 0, run.output
    assert said.format(target=TARGET, cache=CACHE) in run.words, run.output
    assert "Traceback" not in run.output
    assert_nothing_left(source, target)
    with target.sudo():
        assert target.run("ls %s/snapshots", FOLDER).rc != 0


def test_a_corrupt_source_is_named_before_a_byte_moves(
    hosts: tuple[Spark, Spark], ansible_playbook: AnsiblePlaybook
) -> None:
    source, target = hosts
    with source.sudo():
        blob = source.check_output("readlink -f %s/snapshots/*/model-00001-of-*", FOLDER)
        source.check_output(
            "cp %s %s.good && printf x | dd of=%s bs=1 seek=5000 conv=notrunc status=none", blob, blob, blob
        )
    run = ansible_playbook(PLAY, f"--limit={TARGET}", **variables())
    with source.sudo():
        source.check_output("mv %s.good %s", blob, blob)
    assert run.code != 0
    assert "model-00001-of-00002.safetensors (its content is not what its name says)" in run.words
    with target.sudo():
        assert target.run("ls %s/blobs", FOLDER).rc != 0


def test_a_disk_without_links_is_copied_from(hosts: tuple[Spark, Spark], ansible_playbook: AnsiblePlaybook) -> None:
    source, target = hosts
    assert ansible_playbook(PLAY, f"--limit={TARGET}", **variables()).code == 0
    with target.sudo():
        # as on a stick for all systems: links become files
        target.check_output("mkdir %s && cp -rL %s %s/ && rm -rf %s/*/blobs %s", DISK, FOLDER, DISK, DISK, FOLDER)
    run = ansible_playbook(PLAY, f"--limit={TARGET}", **variables(hf_cache_source=DISK))
    assert run.code == 0, run.output
    assert files(source) == files(target)
