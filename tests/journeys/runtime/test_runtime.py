# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker hands out the GPU after the role; without the toolkit it says its own, real error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.backend.base import CommandResult

from support.playbook import AnsiblePlaybook
from support.sandbox import REGISTRY, Spark

# The guide's reservation. The image holds one static program, so that nothing has to be pulled.
COMPOSE = """
services:
  probe:
    image: probe
    command: [/ldconfig, --version]
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              count: all
              capabilities: [gpu]
"""
PACKAGES = [
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
]


@pytest.fixture(scope="module")
def probe(spark: Spark) -> str:
    """A folder with a compose file that asks for the GPU."""
    folder = spark.check_output("mktemp -d")
    with spark.sudo():
        spark.check_output("tar --create --directory /usr/sbin ldconfig | docker import - probe")
    spark.check_output("printf %%s %s > %s/compose.yaml", COMPOSE, folder)
    return folder


def run_probe(spark: Spark, folder: str) -> CommandResult:
    with spark.sudo():
        spark.run("cd %s && docker compose down", folder)
        return spark.run("cd %s && docker compose up --exit-code-from probe", folder)


def daemon_json(spark: Spark) -> dict[str, Any]:
    with spark.sudo():
        return json.loads(spark.file("/etc/docker/daemon.json").content_string)


def test_the_gpu_reservation_is_accepted(spark: Spark, probe: str) -> None:
    result = run_probe(spark, probe)
    assert result.rc == 0, result.stdout + result.stderr
    with spark.sudo():
        (request,) = json.loads(
            spark.check_output(
                "docker inspect $(docker ps --all --quiet --filter label=com.docker.compose.service=probe)"
            )
        )[0]["HostConfig"]["DeviceRequests"]
    assert (request["Driver"], request["Count"], request["Capabilities"]) == ("nvidia", -1, [["gpu"]])


def test_a_cdi_device_is_injected(spark: Spark, probe: str) -> None:
    with spark.sudo():
        assert "nvidia.com/gpu=all" in spark.check_output("nvidia-ctk cdi list")
        assert spark.run("docker run --rm --device nvidia.com/gpu=all probe /ldconfig --version").rc == 0


def test_the_owners_settings_survive(spark: Spark) -> None:
    settings = daemon_json(spark)
    assert settings["log-opts"] == {"max-size": "7m"}
    assert settings["default-address-pools"] == [{"base": "10.201.0.0/16", "size": 24}]
    assert "registry.owner.example:5000" in settings["insecure-registries"]
    # beside those of the role and of the inventory
    assert REGISTRY in settings["insecure-registries"]
    assert "nvidia" in settings["runtimes"]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_toolkit_is_pinned(spark: Spark, package: str) -> None:
    assert spark.package(package).version == "1.19.0-1"


def test_the_toolkits_repository_is_signed(spark: Spark) -> None:
    source = spark.file("/etc/apt/sources.list.d/dgxspark-nvidia-container-toolkit.sources").content_string
    assert "Signed-By: /etc/apt/keyrings/dgxspark-nvidia-container-toolkit.asc" in source


def test_docker_starts_with_the_host(spark: Spark) -> None:
    assert spark.service("docker").is_running
    assert spark.service("docker").is_enabled


# It takes the toolkit away, sees Docker's own error, and lets the role repair it.
def test_no_toolkit_real_error_role_accepted(spark: Spark, probe: str, ansible_playbook: AnsiblePlaybook) -> None:
    with spark.sudo():
        spark.check_output("DEBIAN_FRONTEND=noninteractive apt-get -qq purge --yes %s %s %s %s", *PACKAGES)
        settings = daemon_json(spark)
        settings.pop("runtimes")
        spark.check_output("printf %%s %s > /etc/docker/daemon.json", json.dumps(settings))
        # Docker's unit refuses a fourth start within a minute; the role has to cope with the one that remains
        spark.check_output("systemctl reset-failed docker && systemctl restart docker")
    before = run_probe(spark, probe)
    assert before.rc != 0
    assert "could not select device driver" in before.stdout + before.stderr

    run = ansible_playbook("playbooks/prepare.yml", spark.limit)
    assert run.code == 0, run.output

    after = run_probe(spark, probe)
    assert after.rc == 0, after.stdout + after.stderr
    assert daemon_json(spark)["log-opts"] == {"max-size": "7m"}


def configured(spark: Spark) -> str:
    """All settings of the host, to the byte, with owner and mode. What stays is in docs/guides/uninstall.md."""
    stays = "-path /opt/hf -o -path /etc/cdi -o -name 'daemon.json.*~'"
    return spark.root(
        f"find /etc /opt /usr/local -xdev \\( {stays} \\) -prune -o -printf '%p %m %U %G %l\\n' | sort;"
        f" find /etc /opt /usr/local -xdev \\( {stays} \\) -prune -o -type f -exec sha256sum {{}} + | sort;"
        " cat /proc/sys/net/core/somaxconn;"
        " for verb in is-enabled is-active; do systemctl $verb earlyoom || true; done;"
        " docker info --format '{{range $name, $runtime := .Runtimes}}{{println $name}}{{end}}'"
    )


def test_no_one_gets_into_the_group_that_is_root(spark: Spark) -> None:
    assert spark.root("getent group docker").strip().endswith(":")


def test_what_the_roles_changed_can_be_put_back(spark: Spark, ansible_playbook: AnsiblePlaybook) -> None:
    for playbook in ("playbooks/uninstall.yml", "playbooks/restore_host.yml"):
        run = ansible_playbook(playbook, spark.limit)
        assert run.code == 0, run.output
    before = configured(spark)
    run = ansible_playbook("playbooks/prepare.yml", spark.limit, spark_host_sysctl={"net.core.somaxconn": 4095})
    assert run.code == 0, run.output
    prepared = configured(spark)
    assert prepared != before
    assert "600 0 0" in spark.root("stat --format '%a %u %g' /var/lib/dgxspark/host.json")

    look = ansible_playbook("playbooks/restore_host.yml", spark.limit, "--check", "--diff")
    assert (look.code, configured(spark)) == (0, prepared), look.output
    run = ansible_playbook("playbooks/restore_host.yml", spark.limit)
    assert run.code == 0, run.output
    assert configured(spark).splitlines() == before.splitlines()

    run = ansible_playbook("playbooks/prepare.yml", spark.limit)
    assert run.code == 0, run.output
