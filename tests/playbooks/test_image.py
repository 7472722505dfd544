# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""deploy/image.yml on hosts that pull one after the other, with a stand-in for Docker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from support.playbook import THIS_MACHINE, AnsiblePlaybook

TASKS = {"include_role": {"name": "dgxspark.vllm.vllm", "tasks_from": "deploy/image.yml"}}
RELEASE = "0123456789ab"
REF = "registry.example/vllm:1"
A, B = ("registry.example/vllm@sha256:" + letter * 64 for letter in "ab")
DOCKER = """#!/bin/sh
[ "$1 $2 $4 $5" = "image inspect -- $IMAGE" ] && cat "$ANSWER"
"""


@pytest.mark.parametrize(
    ("first", "second", "known", "fails"),
    [
        ([A], [A], None, None),
        ([A], [B], None, f"sha256:{'b' * 64} on two and sha256:{'a' * 64} on one"),
        ([A, B], [B], None, None),
        ([A], None, None, None),
        (None, [A], None, None),
        ([A], [A], A.partition("@")[2], None),
        (None, [B], A.partition("@")[2], None),
    ],
)
def test_hosts_of_one_run_have_one_image(
    tmp_path: Path,
    ansible_playbook: AnsiblePlaybook,
    first: list[str],
    second: list[str],
    known: str | None,
    fails: str | None,
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(DOCKER)
    (tmp_path / "bin" / "docker").chmod(0o755)
    for host, digests in (("one", first), ("two", second)):
        (tmp_path / host / "releases" / RELEASE).mkdir(parents=True)
        (tmp_path / host / ".dgxspark-vllm").write_text(json.dumps({"service": "vllm", "made": []}))
        (tmp_path / host / "answer").write_text(json.dumps({"Id": f"sha256:{host}", "RepoDigests": digests}))
    home = f"{tmp_path}/{{{{ inventory_hostname }}}}"
    variables = {
        **THIS_MACHINE,
        "vllm_image": "nvcr.io/vllm:1",
        "__vllm_release": RELEASE,
        "__vllm_daemon_options": {},
        "__vllm_resolved": {"image_ref": REF, "home": home, "image": {"ref": "nvcr.io/vllm:1", "digest": known}},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"one": {}, "two": {}}, "vars": variables}}))
    play = {
        "hosts": "all",
        "serial": 1,
        "gather_facts": False,
        "environment": {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "IMAGE": REF, "ANSWER": f"{home}/answer"},
        "tasks": [TASKS],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    run = ansible_playbook(tmp_path / "play.yml", inventory=tmp_path / "hosts.yml", folder=tmp_path)
    assert (run.code != 0) is bool(fails), run.output
    warned = known is not None and any(known not in str(digests) for digests in (first, second) if digests)
    assert ("expects sha256:" in " ".join(run.output.split())) is warned
    if fails:
        said = " ".join(run.output.split())
        assert fails in said
        assert f"Set vllm_image to nvcr.io/vllm:1@sha256:{'a' * 64}" in said
    for host, digests in (("one", first), ("two", second)):
        recorded = json.loads((tmp_path / host / "releases" / RELEASE / "image.json").read_text())
        assert recorded == {"id": f"sha256:{host}", "digests": digests or []}


# What each host has, and in which order they ask.
EACH_ITS_OWN = """#!/bin/sh
echo "$HOST $1" >>"$FOLDER/asked"
case "$1" in
image) [ -e "$FOLDER/$HOST/has" ] || { echo "No such image: $IMAGE" >&2; exit 1; }; cat "$FOLDER/$HOST/answer" ;;
pull) touch "$FOLDER/$HOST/has" ;;
info) echo "{}" ;;
esac
"""


@pytest.mark.parametrize(
    ("source", "fails"), [("two", ""), ("nine", "hf_cache_source: nine is not a host of the inventory; use one of one")]
)
def test_the_source_pulls_first_and_without_a_copy_the_registry_is_asked(
    tmp_path: Path, ansible_playbook: AnsiblePlaybook, source: str, fails: str
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(EACH_ITS_OWN)
    (tmp_path / "bin" / "docker").chmod(0o755)
    for host in ("one", "two"):
        (tmp_path / host / "releases" / RELEASE).mkdir(parents=True)
        (tmp_path / host / ".dgxspark-vllm").write_text(json.dumps({"service": "vllm", "made": []}))
        (tmp_path / host / "answer").write_text(json.dumps({"Id": "sha256:1", "RepoDigests": [A]}))
    home = f"{tmp_path}/{{{{ inventory_hostname }}}}"
    variables = {
        **THIS_MACHINE,
        "hf_cache_source": source,
        "__vllm_release": RELEASE,
        "__vllm_resolved": {"image_ref": REF, "home": home, "image": {"ref": "nvcr.io/vllm:1", "digest": None}},
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"one": {}, "two": {}}, "vars": variables}}))
    names = {"HOST": "{{ inventory_hostname }}", "IMAGE": REF, "FOLDER": str(tmp_path)}
    play = {
        "hosts": "all",
        "gather_facts": False,
        "environment": {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", **names},
        "tasks": [TASKS],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    run = ansible_playbook(tmp_path / "play.yml", inventory=tmp_path / "hosts.yml", folder=tmp_path)
    assert (run.code != 0) is bool(fails), run.output
    if fails:
        assert fails in run.words
        assert not (tmp_path / "asked").exists()
        return
    # a delegated task has the environment of the host that copies: the source seems to lack the image
    assert (
        run.words.count(f"WARNING: {REF} is pulled from its registry, because it could not be copied from two (two)")
        == 1
    )
    assert run.count("one", "changed") == run.count("two", "changed") == 1
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked.index("two pull") < asked.index("one image")
    assert asked.count("one pull") == 1
    again = ansible_playbook(tmp_path / "play.yml", inventory=tmp_path / "hosts.yml", folder=tmp_path)
    assert (again.code, again.count("one", "changed"), again.count("two", "changed")) == (0, 0, 0), again.output
    assert "WARNING" not in again.output
