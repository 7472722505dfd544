# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""prepare.yml on hosts that are as wanted but for one thing: only what differs costs calls, and nothing is missed.

The roles are as they are. Modules that would change the host are stand-ins that note their call; spark_info gives what
the test says of the host.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import typing as t

import pytest
import yaml

from support.paths import ROOT
from support.playbook import AnsiblePlaybook

ROLES = ("spark_host", "container_runtime", "hf_cache")
# What the roles change a host with.
STANDINS = (
    "ansible.builtin.apt",
    "ansible.builtin.blockinfile",
    "ansible.builtin.file",
    "ansible.builtin.lineinfile",
    "ansible.builtin.slurp",
    "ansible.builtin.stat",
    "ansible.builtin.systemd_service",
    "ansible.posix.acl",
    "ansible.posix.sysctl",
    "dgxspark.vllm.daemon_json",
    "dgxspark.vllm.host_record",
    "dgxspark.vllm.spark_info",
)
ACTION = """
import json, os
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _requires_connection = False
    def run(self, tmp=None, task_vars=None):
        with open(os.path.join(task_vars["calls"], task_vars["inventory_hostname"]), "a") as file:
            file.write({name!r} + "\\n")
        if {name!r} == "spark_info":
            return dict(changed=False, spark=task_vars["host"])
        if {name!r} == "slurp":
            return dict(changed=False, content="", encoding="base64")
        changed = {name!r} in ("daemon_json", "systemd_service")
        if {name!r} == "daemon_json" and "rejected" in task_vars["inventory_hostname"]:
            return dict(failed=True, msg="Docker rejects the file", invocation=self._task.args)
        apply = "none" if task_vars["inventory_hostname"] == "password_in_options" else "reload"
        answer = dict(apply=apply, containers=[], stat=dict(exists=False), stdout="", stdout_lines=[], rc=0)
        return dict(changed=changed, **answer)
"""
LIMITS = """\
# BEGIN dgxspark.vllm.spark_host
* -    memlock unlimited
* soft stack   65536
# END dgxspark.vllm.spark_host
"""
PASSWORD = "S3cretPassw0rd"
EARLYOOM = yaml.safe_load((ROOT / "roles/spark_host/defaults/main.yml").read_text())["spark_host_earlyoom_args"]
OPEN = "/var/lib/dgxspark/host.open.json"
TIMER = "/etc/systemd/system/dgxspark-hf-clean.timer"


def file(content: str | None = None, kind: str = "file", mode: str = "0644") -> dict[str, t.Any]:
    sha256 = None if content is None else hashlib.sha256(content.encode()).hexdigest()
    owner = {"owner": "root", "group": "root", "uid": 0, "gid": 0}
    return {"type": kind, "mode": mode, "content": content, "sha256": sha256, **owner}


# A DGX Spark on which prepare.yml has run.
READY: dict[str, t.Any] = {
    "architecture": "aarch64",
    "os": {"id": "ubuntu", "version_id": "24.04", "codename": "noble", "pretty_name": "Ubuntu 24.04.3 LTS"},
    "is_spark": True,
    "reasons": ["the GPU is NVIDIA GB10"],
    "gpu": {"name": "NVIDIA GB10"},
    "gpu_error": None,
    "throttle": {"throttled": None},
    "docker": {
        "client": "28.0.1",
        "server": "28.0.1",
        "running": True,
        "error": None,
        "compose": "2.39.1",
        "runtimes": ["nvidia", "runc"],
        "cdi_spec_dirs": ["/etc/cdi"],
    },
    "toolkit": {"version": "1.19.0", "cdi_devices": ["nvidia.com/gpu=all"]},
    "daemon_json": {
        "runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}},
        "features": {"cdi": True},
    },
    "daemon_json_error": None,
    "daemon_json_pending": False,
    "packages": {"docker-ce": "5:28", "docker.io": None, "earlyoom": "1.7"},
    "files": {
        "/etc/security/limits.d/dgxspark.conf": file(LIMITS),
        "/etc/sysctl.d/90-dgxspark.conf": file("vm.swappiness=10\n"),
        "/etc/default/earlyoom": file(f'EARLYOOM_ARGS="{EARLYOOM}"\n'),
        TIMER: {"type": "absent"},
        OPEN: {"type": "absent"},
        "/opt/hf": file(kind="directory", mode="0755"),
    },
    "sysctl": {"vm.swappiness": "10"},
    "units": {
        "earlyoom.service": {
            "load_state": "loaded",
            "active_state": "active",
            "unit_file_state": "enabled",
            "needs_reload": False,
        }
    },
    "commands": {"rsync": None, "setfacl": None},
    "cache": {"path": "/opt/hf", "folder": "/opt/hf"},
}
INSTALLED = ["host_record", "apt", "host_record"]
SPARK_HOST = ["host_record", "blockinfile", "sysctl", "lineinfile", "systemd_service", "host_record", "spark_info"]
DIRECTORY = ["file", "spark_info"]
APPLY = ["host_record", "daemon_json", "daemon_json", "systemd_service", "spark_info", "host_record"]
REPAIR = ["host_record", "systemd_service", "spark_info", "host_record"]
MERGE = ["host_record", "daemon_json", "host_record"]

# What is different on the host, or wanted; and the calls after the first look.
CASES: dict[str, tuple[dict[str, t.Any], dict[str, t.Any], list[str]]] = {
    "as_wanted": ({}, {}, []),
    "limits_content": ({"files": {"/etc/security/limits.d/dgxspark.conf": file("other")}}, {}, SPARK_HOST),
    "limits_mode": ({"files": {"/etc/security/limits.d/dgxspark.conf": {"mode": "0600"}}}, {}, SPARK_HOST),
    "limits_owner": ({"files": {"/etc/security/limits.d/dgxspark.conf": {"owner": "dgx", "uid": 1}}}, {}, SPARK_HOST),
    "limits_gone": ({"files": {"/etc/security/limits.d/dgxspark.conf": {"type": "absent"}}}, {}, SPARK_HOST),
    "sysctl_value": ({"sysctl": {"vm.swappiness": "60"}}, {}, SPARK_HOST),
    "sysctl_file": ({"files": {"/etc/sysctl.d/90-dgxspark.conf": file("vm.swappiness=60\n")}}, {}, SPARK_HOST),
    "sysctl_wanted": ({}, {"spark_host_sysctl": {"vm.swappiness": 1}}, SPARK_HOST),
    "earlyoom_options": ({"files": {"/etc/default/earlyoom": file("EARLYOOM_ARGS=\n")}}, {}, SPARK_HOST),
    "earlyoom_mode": ({"files": {"/etc/default/earlyoom": {"mode": "0640"}}}, {}, SPARK_HOST),
    "earlyoom_stopped": ({"units": {"earlyoom.service": {"active_state": "inactive"}}}, {}, SPARK_HOST),
    "earlyoom_disabled": ({"units": {"earlyoom.service": {"unit_file_state": "disabled"}}}, {}, SPARK_HOST),
    "earlyoom_removed": (
        {"packages": {"earlyoom": None}},
        {},
        [*SPARK_HOST[:3], "apt", "host_record", *SPARK_HOST[3:]],
    ),
    "record_left_open": ({"files": {OPEN: file("")}}, {}, SPARK_HOST),
    "no_switch_is_on": (
        {"files": {"/etc/default/earlyoom": file("")}, "sysctl": {"vm.swappiness": "60"}},
        {"spark_host_earlyoom": False, "spark_host_sysctl": {}},
        [],
    ),
    "daemon_json": ({"daemon_json": {}}, {}, APPLY),
    "interrupted_before_docker_read_it": ({"daemon_json_pending": True}, {}, APPLY),
    "password_in_options": (
        {"daemon_json": {"http-proxy": "http://********@proxy"}},
        {"container_runtime_daemon_options": {"http-proxy": f"http://corp:{PASSWORD}@proxy"}},
        MERGE,
    ),
    "password_rejected": (
        {},
        {"container_runtime_daemon_options": {"http-proxy": f"http://corp:{PASSWORD}@proxy"}},
        MERGE,
    ),
    "docker_stopped": ({"docker": {"running": False, "server": None}}, {}, REPAIR),
    "docker_has_not_read_it": ({"docker": {"runtimes": ["runc"]}}, {}, APPLY),
    "cdi_not_listed": ({"toolkit": {"cdi_devices": []}}, {}, REPAIR),
    "directory_mode": ({}, {"hf_cache_mode": "0700"}, DIRECTORY),
    "directory_of_a_user": (
        {"files": {"/opt/hf": {"mode": "0700", "owner": "dgx", "uid": 1000, "group": "dgx", "gid": 1000}}},
        {},
        [],
    ),
    "directory_group": ({}, {"hf_cache_group": "users"}, DIRECTORY),
    "directory_gone": ({"files": {"/opt/hf": {"type": "absent"}}}, {}, DIRECTORY),
    "directory_is_link": ({"files": {"/opt/hf": {"type": "link"}}}, {}, DIRECTORY),
    "directory_not_read": ({}, {"hf_cache_path": "/data"}, DIRECTORY),
    "owner_by_number": ({}, {"hf_cache_owner": "0", "hf_cache_group": "0"}, []),
    "rsync_missing": ({}, {"hf_cache_source": "/mnt/models"}, [*INSTALLED, "spark_info"]),
    "rsync_there": ({"commands": {"rsync": "/usr/bin/rsync"}}, {"hf_cache_source": "/mnt/models"}, []),
    "acl": ({}, {"hf_cache_default_acl": ["user:root:rwX"]}, [*INSTALLED, "spark_info", "acl"]),
    "timer_of_others": ({"files": {TIMER: file("")}}, {}, ["slurp", "slurp"]),
}


# The stand-ins mend nothing, and the role says so at its end.
STAYS_BROKEN = {"docker_stopped", "password_rejected", "docker_has_not_read_it", "cdi_not_listed"}


def merge(host: dict[str, t.Any], difference: dict[str, t.Any]) -> dict[str, t.Any]:
    merged = copy.deepcopy(host)
    for key, value in difference.items():
        deep = isinstance(value, dict) and value and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if deep else value
    return merged


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, ansible_playbook: AnsiblePlaybook
) -> dict[str, tuple[list[str], bool]]:
    """By host, all in one run: the calls, and whether it failed."""
    folder = tmp_path_factory.mktemp("prepare")
    mine = folder / "collections" / "ansible_collections" / "dgxspark" / "vllm"
    shutil.copytree(ROOT / "plugins", mine / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    for role in ROLES:
        shutil.copytree(ROOT / "roles" / role, mine / "roles" / role)
    for standin in STANDINS:
        name = standin.rpartition(".")[2]
        (mine / "plugins" / "action" / f"standin_{name}.py").write_text(ACTION.format(name=name))
    for path in mine.glob("roles/*/tasks/*.yml"):
        text = path.read_text()
        for standin in STANDINS:
            text = text.replace(f"{standin}:", f"dgxspark.vllm.standin_{standin.rpartition('.')[2]}:")
        path.write_text(text)
    (folder / "calls").mkdir()
    hosts = {name: {"host": merge(READY, difference), **wanted} for name, (difference, wanted, _calls) in CASES.items()}
    common = {"ansible_connection": "local", "calls": str(folder / "calls")}
    (folder / "hosts.json").write_text(json.dumps({"spark": {"hosts": hosts, "vars": common}}))
    (play,) = yaml.safe_load((ROOT / "playbooks" / "prepare.yml").read_text())
    play.update(become=False, serial="100%", max_fail_percentage=100)
    (folder / "play.yml").write_text(yaml.safe_dump([play]))
    run = ansible_playbook(folder / "play.yml", "-vvv", inventory=folder / "hosts.json", folder=folder)
    print(run.output)
    assert PASSWORD not in run.output
    assert "Docker rejects the file. Correct container_runtime_daemon_options" in run.output
    calls = {path.name: path.read_text().splitlines() for path in (folder / "calls").iterdir()}
    failed = {host: run.count(host, "failed") > 0 for host in CASES}
    return {name: (calls[name], failed[name]) for name in CASES}


@pytest.mark.parametrize("case", CASES)
def test_only_what_differs_costs_calls(case: str, runs: dict[str, tuple[list[str], bool]]) -> None:
    assert runs[case] == (["spark_info", *CASES[case][2]], case in STAYS_BROKEN)
