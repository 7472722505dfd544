# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One pull for two hosts: the second one gets the image from the first one, with no registry, or pulls it after all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.paths import JOURNEYS
from support.playbook import AnsiblePlaybook
from support.sandbox import REGISTRY, Spark

from .caches import SOURCE, TARGET
from .test_replicate import assert_nothing_left

PLAY = JOURNEYS / "replicate" / "relay.yml"
HOME = "/opt/vllm-relay"
RECORD = f"{HOME}/releases/0123456789ab/image.json"
IMAGE = f"{REGISTRY}/journey/relay:1"
MIB = 64
# All of this image, which nothing else on the host has a part of.
REMOVE = f"docker image ls --quiet --no-trunc {REGISTRY}/journey/relay | xargs -r docker image rm --force; true"
FACTS = "docker image inspect --format '{{json .}}' %s"


def variables(**more: Any) -> dict[str, Any]:
    return {"image": IMAGE, "home": HOME, "hf_cache_source": SOURCE, **more}


def facts(host: Spark, name: str = IMAGE) -> dict[str, Any]:
    with host.sudo():
        found: dict[str, Any] = json.loads(host.check_output(FACTS, name))
    return found


def received(host: Spark) -> int:
    return int(host.check_output("cat /sys/class/net/eth0/statistics/rx_bytes"))


def recorded(host: Spark) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(host.root(f"cat {RECORD}"))
    return found


@contextlib.contextmanager
def without_registry(host: Spark) -> Iterator[None]:
    route = f"unreachable {REGISTRY.partition(':')[0]}/32"
    host.root(f"ip route add {route}")
    try:
        yield
    finally:
        host.root(f"ip route del {route}")


@pytest.fixture
def relay(hosts: tuple[Spark, Spark]) -> Iterator[tuple[Spark, Spark]]:
    """The registry has an image that no host has."""
    source, target = hosts
    source.root(
        f"head -c {MIB}M /dev/urandom >/tmp/journey-relay; tar --create --directory /tmp journey-relay"
        f" | docker import --change 'CMD [\"none\"]' - {IMAGE}; docker push --quiet {IMAGE}; rm /tmp/journey-relay"
    )
    for host in hosts:
        host.root(f"rm -rf {HOME}; {REMOVE}")
    yield source, target
    for host in hosts:
        host.root(f"rm -rf {HOME}; {REMOVE}")


def test_a_host_without_a_registry_gets_the_image_from_the_source(
    relay: tuple[Spark, Spark], ansible_playbook: AnsiblePlaybook
) -> None:
    source, target = relay
    before = received(target)
    with without_registry(target):
        run = ansible_playbook(PLAY, **variables())
        came = received(target) - before
        assert run.code == 0, run.output
        assert f"{TARGET}: {IMAGE} copied from {SOURCE}: 0.1 GB" in run.words
        assert "WARNING" not in run.output
        again = ansible_playbook(PLAY, **variables())
    assert (again.code, again.count(SOURCE, "changed"), again.count(TARGET, "changed")) == (0, 0, 0), again.output
    print(f"{MIB} MiB of image, {came} bytes came in on {TARGET}'s interface, Ansible's own included")
    assert MIB << 20 <= came <= (MIB << 20) * 1.05 + 6_000_000
    has, got = facts(source), facts(target)
    assert (got["Id"], got["RootFS"], got["RepoTags"]) == (has["Id"], has["RootFS"], has["RepoTags"])
    assert recorded(target) == recorded(source) == {"id": has["Id"], "digests": has["RepoDigests"]}
    assert_nothing_left(source, target)


def test_a_digest_costs_the_manifest_after_the_copy(
    relay: tuple[Spark, Spark], ansible_playbook: AnsiblePlaybook
) -> None:
    source, target = relay
    source.root(f"docker pull --quiet {IMAGE}")
    pinned = str(facts(source)["RepoDigests"][0])
    before = received(target)
    run = ansible_playbook(PLAY, **variables(image=pinned))
    came = received(target) - before
    assert run.code == 0, run.output
    assert f"{TARGET}: {pinned} copied from {SOURCE}" in run.words
    assert came <= (MIB << 20) * 1.05 + 6_000_000  # the layer came once
    assert facts(target, pinned)["RepoDigests"] == [pinned]
    assert ansible_playbook(PLAY, **variables(image=pinned)).count(TARGET, "changed") == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [({}, f"{IMAGE} is not there"), ({"hf_cache_source_address": "127.0.0.1"}, "Connection refused")],
)
def test_what_cannot_be_copied_is_pulled(
    relay: tuple[Spark, Spark], ansible_playbook: AnsiblePlaybook, more: dict[str, Any], said: str
) -> None:
    source, target = relay
    if more:
        source.root(f"docker pull --quiet {IMAGE}")
    run = ansible_playbook(PLAY, f"--limit={TARGET}", **variables(**more))
    assert run.code == 0, run.output
    assert f"WARNING: {IMAGE} is pulled from its registry, because it could not be copied from {SOURCE}" in run.words
    assert said in run.words
    assert recorded(target)["id"] == facts(target)["Id"]
    assert_nothing_left(source, target)


def test_a_copy_that_is_cut_leaves_nothing_and_the_image_is_pulled(
    relay: tuple[Spark, Spark], ansible_playbook: AnsiblePlaybook
) -> None:
    source, target = relay
    source.root(f"docker pull --quiet {IMAGE}")
    # as soon as the client of the copy is there, and nothing else that is called ssh
    target.root(
        "systemd-run --quiet --collect --unit=journey-cut --property=RuntimeMaxSec=300 sh -c"
        " 'until pkill -KILL -f \"[s]sh -F /dev/null .* root@source\"; do :; done'"
    )
    run = ansible_playbook(PLAY, f"--limit={TARGET}", **variables())
    target.root("systemctl stop journey-cut 2>/dev/null || true")
    assert run.code == 0, run.output
    assert "ssh to the source ended with -9" in run.words
    assert facts(target)["Id"] == facts(source)["Id"]
    assert target.root("docker image ls --quiet --filter dangling=true") == ""
    assert_nothing_left(source, target)


def test_a_source_that_is_no_host_is_refused_before_a_byte_moves(
    relay: tuple[Spark, Spark], ansible_playbook: AnsiblePlaybook
) -> None:
    _source, target = relay
    run = ansible_playbook(PLAY, f"--limit={TARGET}", **variables(hf_cache_source="spark99"))
    assert run.code != 0
    assert "hf_cache_source: spark99 is not a host of the inventory; use one of" in run.words
    with target.sudo():
        assert target.run("docker image inspect %s", IMAGE).rc != 0
