# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`docker compose config` of our service and of the guide's own block, field by field, for each of its three profiles.

tests/fixtures/guide holds the guide's blocks word for word. differences() and LEFT_OUT are all that may differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.paths import FIXTURES, ROOT
from support.playbook import AnsiblePlaybook
from support.sandbox import CONTAINER as SERVICE
from support.sandbox import IMAGE, MODEL, Spark

pytestmark = pytest.mark.usefixtures("prepared")

GUIDE = FIXTURES / "guide"
PROFILES = ["throughput", "latency", "concurrency"]
CACHE = "/root/.cache/huggingface"


def flags(profile: str) -> list[str]:
    """The guide's flags of a profile, without its comments."""
    lines = (GUIDE / f"{profile}.txt").read_text().splitlines()
    return [word for line in lines for word in line.partition("#")[0].split()]


def guides_command(profile: str) -> list[str]:
    """The guide's command line, with the flags that it prints for that profile."""
    command = yaml.safe_load((GUIDE / "compose.yaml").read_text())["services"][SERVICE]["command"]
    assert command[5:-1] == flags("throughput"), "the guide's block is its throughput profile"
    return command[:5] + flags(profile) + command[-1:]


def differences(profile: str, home: str) -> dict[str, Any]:
    """Field -> what we say instead, or in addition."""
    return {
        # systemd supervises, with a limit: an endless restart loop leaks memory on this machine until sshd dies
        "restart": "no",
        # secure by default: without an API key nobody but the host itself gets in; Docker's ports bypass ufw
        "ports": [{"mode": "ingress", "host_ip": "127.0.0.1", "target": 8000, "published": "8000", "protocol": "tcp"}],
        # - HF_HUB_CACHE says the same as --download-dir, and config and tokenizer land in the same tree as the weights
        # - Qwen3 is part of vLLM: no code of the model's repository has to be trusted
        # - offline, vLLM would call the model by its folder in the metrics
        "command": ["vllm", "serve", MODEL, *flags(profile), "--served-model-name", MODEL],
        "environment.HF_HUB_CACHE": CACHE,
        # the model is complete before the server starts, and a start must not need the hub
        "environment.HF_HUB_OFFLINE": "1",
        # so the container has the models read-only: the code of a model (trust_remote_code) goes to the other volume
        "environment.HF_MODULES_CACHE": "/root/.cache/huggingface-modules",
        "security_opt": ["no-new-privileges:true"],
        # who gets into the server has no raw sockets, no device nodes, no chroot
        "cap_drop": ["ALL"],
        "cap_add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"],
        # compiled kernels outlive the container: the second start is quicker
        "environment.TRITON_CACHE_DIR": "/root/.cache/triton",
        f"volumes.{CACHE.rpartition('/')[0]}": f"{home}/cache",
        # the guide's container logs grow without an end
        "logging.driver": "json-file",
        "logging.options.max-size": "20m",
        "logging.options.max-file": "5",
        # how a later run knows what it finds
        "labels.dgxspark.vllm.service": "vllm-guide",
        "labels.dgxspark.vllm.model": "qwen3-8b-fp8",
        "labels.dgxspark.vllm.profile": profile,
    }


# The server needs no token: the model is complete before it starts. The download reads it from .env.
LEFT_OUT = {"environment.HF_TOKEN", "environment.HUGGING_FACE_HUB_TOKEN"}


def fields(value: Any, path: str = "") -> dict[str, Any]:
    """A service as flat fields; volumes by where they are mounted, and without what Compose adds to each."""
    if path == "volumes":
        value = {volume["target"]: volume["source"] for volume in value}
    if isinstance(value, dict) and value:
        return {
            name: leaf
            for key, inner in value.items()
            for name, leaf in fields(inner, f"{path}.{key}" if path else key).items()
        }
    return {path: value}


def compose_config(spark: Spark, folder: str) -> dict[str, Any]:
    with spark.sudo():
        config = json.loads(spark.check_output("cd %s && docker compose config --format json", folder))
    assert list(config["services"]) == [SERVICE]
    return fields(config["services"][SERVICE])


@pytest.fixture
def guide(spark: Spark, profile: str) -> Iterator[dict[str, Any]]:
    block = yaml.safe_load((GUIDE / "compose.yaml").read_text())
    block["services"][SERVICE]["command"] = guides_command(profile)
    folder = spark.check_output("mktemp --directory")
    spark.check_output("printf %%s %s >%s/compose.yaml", yaml.safe_dump(block), folder)
    spark.check_output("echo HF_TOKEN=hf_sandboxgranted >%s/.env", folder)
    yield compose_config(spark, folder)
    spark.check_output("rm -r %s", folder)


@pytest.fixture
def ours(spark: Spark, profile: str, ansible_playbook: AnsiblePlaybook) -> Iterator[dict[str, Any]]:
    """What the role stages with its own defaults: everything that the sandbox's inventory sets is set back."""
    defaults = yaml.safe_load((ROOT / "roles/vllm/defaults/main.yml").read_text())
    (service,) = yaml.safe_load((GUIDE / "compose.yaml").read_text())["services"].values()
    guides_image = service["image"]
    inventory = yaml.safe_load((ROOT / "inventories/sandbox/group_vars/spark/main.yml").read_text())
    set_back = {name: defaults[name] for name in inventory if name in defaults and name != "vllm_hf_token"}
    home = f"/opt/guide-{profile}"
    with spark.sudo():
        # staging pulls the image unless it is there; the stand-in is, under the name of the sandbox's registry
        spark.check_output("docker tag %s %s", IMAGE, guides_image)
        spark.check_output("rm -rf %s", home)
    run = ansible_playbook(
        "playbooks/stage.yml",
        spark.limit,
        **set_back,
        vllm_profile=profile,
        # a service of its own: that of the sandbox is installed elsewhere, perhaps
        vllm_service_name="vllm-guide",
        vllm_container_name=SERVICE,
        vllm_home=home,
        # the guide's reservation; on a host that offers CDI the default is CDI
        vllm_gpu="nvidia",
        # the sandbox has less memory than a Spark, and the wish of the profile would be capped
        vllm_memory_reserve_gib=0,
        vllm_enforce_memory_plan=False,
    )
    assert run.code == 0, run.output
    with spark.sudo():
        (release,) = spark.check_output("find %s/releases -mindepth 1 -maxdepth 1", home).split()
    yield compose_config(spark, release)
    with spark.sudo():
        spark.check_output("rm -r %s", home)


@pytest.mark.parametrize("profile", PROFILES)
def test_our_service_is_the_guides(guide: dict[str, Any], ours: dict[str, Any], profile: str) -> None:
    assert ours.pop("labels.dgxspark.vllm.release")  # named after its content
    # what a second service and playbooks/health.yml want to know of it
    assert int(ours.pop("labels.dgxspark.vllm.planned_bytes"))
    planned, least = (int(ours.pop(f"labels.dgxspark.vllm.planned_tokens{end}")) for end in ("", "_least"))
    assert planned >= least > 0
    wanted = {**guide, **differences(profile, f"/opt/guide-{profile}")}
    assert set(guide) >= LEFT_OUT
    assert ours == {name: value for name, value in wanted.items() if name not in LEFT_OUT}
