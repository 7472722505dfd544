# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role vllm as it is, on hosts that are folders: Docker, systemd and vLLM are stand-ins that note their orders.

Real are all task files but those of REPLACED, the modules vllm_release and vllm_releases_info, and the links on disk.
"""

from __future__ import annotations

import json
import os
import shutil
import typing as t
from pathlib import Path

import yaml

from support.paths import ROOT
from support.playbook import THIS_MACHINE, AnsiblePlaybook

R1, R2, R3 = "1" * 12, "2" * 12, "3" * 12
# They give what the test has written for them: one answer after the other, the last one again and again. As actions
# they need no process of their own.
STANDINS = (
    "apt",
    "deploy_lock",
    "gateway_server",
    "reboot",
    "spark_info",
    "systemd",
    "vllm_conflicts_info",
    "vllm_health",
    "vllm_sources_info",
    "vllm_takeover",
    "wait_for_connection",
)
REPLACED = (
    "validate",
    "preflight/image",
    "deploy/probe_image",
    "deploy/memory_plan",
    "deploy/show_changes",
    "deploy/stage_release",
    "deploy/install_units",
)
STANDIN = """
import json, os
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        name, asked, folder = {name!r}, self._task.args, self._templar.template(task_vars["vllm_home"])
        if self._task.delegate_to:
            asked = {{**asked, "delegate_to": self._task.delegate_to}}
        with open(folder + "/calls", "a") as file:
            file.write(json.dumps([name, asked]) + "\\n")
        note = os.path.join(asked.get("home") or "", "taken_over.json")
        if name == "vllm_takeover" and asked.get("state") == "started" and os.path.exists(note):
            os.unlink(note)
        mine = answer(folder, name)
        if name == "vllm_takeover" and asked.get("state") == "stopped":
            with open(note, "w") as file:
                holders = answer(folder, "vllm_conflicts_info")["holders"]
                json.dump({{"holders": holders, "beside": asked["beside"]}}, file)
        if asked.get("home") and name == "vllm_health":  # it reads the host and the releases, too
            host, of = answer(folder, "spark_info"), "dgxspark.vllm.vllm_releases_info"
            service = asked["service"].removesuffix(".service")
            releases = self._execute_module(of, {{"home": asked["home"], "service": service}}, task_vars=task_vars)
            mine = {{**mine, **host, "releases": releases, "failed": releases.get("failed", False)}}
        return {{"changed": False, **mine}}

def answer(folder, name):
    with open(folder + "/answers.json") as file:
        answers = json.load(file)
    mine = answers.get(name) or [{{}}]
    if len(mine) > 1:
        with open(folder + "/answers.json", "w") as file:
            json.dump({{**answers, name: mine[1:]}}, file)
    return mine[0]
"""
STEP = {
    "ansible.builtin.fail": {"msg": "{{ inventory_hostname }} fails in {step}"},
    "when": "fails | default('') == '{step}'",
}
EXTRA = {
    "__vllm_is_controller": False,
    "__vllm_release_id": "{{ remedied if __vllm_remedy | default({}) else wanted }}",
    "__vllm_group_release_id": "{{ __vllm_release }}",
}


def health(verdict: str, release: str = "", unit: str = "active", **more: t.Any) -> dict[str, t.Any]:
    """What vllm_health says."""
    container = {"name": "vllm-x", "labels": {"dgxspark.vllm.release": release, "dgxspark.vllm.service": "vllm"}}
    return {
        "verdict": verdict,
        "cause": None,
        "model": "m",
        "vllm_version": "1",
        "max_model_len": 1000,
        "kv_cache_tokens": None,
        "completion": {"text": " I", "tokens": 1, "seconds": 0.1},
        "container": container if release else None,
        "service": {"active_state": unit},
        **more,
    }


def host_info(release: str | None = None, listener: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
    """What spark_info says."""
    mine = {"service": "vllm", "container": "vllm-x", "planned_bytes": None, "release": release}
    return {
        "spark": {
            "docker": {"running": True, "error": None},
            "gpu": None,
            "toolkit": {"cdi_devices": []},
            "memory": {"total_bytes": 2**37},
            "services": [mine] if release else [],
            "listener": listener,
            "time": 1795446245,
            "cache": None,
        }
    }


class Fleet:
    """Hosts by name, with their variables; beside those, answers (of the stand-ins), good and current (releases)."""

    def __init__(
        self, ansible_playbook: AnsiblePlaybook, folder: Path, hosts: t.Mapping[str, dict[str, t.Any]]
    ) -> None:
        self.ansible_playbook = ansible_playbook
        self.folder = folder
        self._collection()
        inventory: dict[str, t.Any] = {}
        for name, host in hosts.items():
            values = dict(host)
            self._host(name, values.pop("answers", {}), values.pop("good", []), values.pop("current", None))
            inventory[name] = values
        common = {
            **THIS_MACHINE,
            "vllm_home": f"{folder}/{{{{ inventory_hostname }}}}",
            "vllm_remove_old_images": False,
            "wanted": R2,
            "remedied": R3,
        }
        (folder / "hosts.yml").write_text(yaml.safe_dump({"spark": {"hosts": inventory, "vars": common}}))

    def _collection(self) -> None:
        """Beside the playbook: it wins over the one that is installed."""
        mine = self.folder / "collections" / "ansible_collections" / "dgxspark" / "vllm"
        for part in ("catalog", "plugins", "roles"):
            shutil.copytree(ROOT / part, mine / part, ignore=shutil.ignore_patterns("__pycache__"))
        for name in STANDINS:
            (mine / "plugins" / "action" / f"{name}.py").write_text(STANDIN.format(name=name))
        tasks = mine / "roles" / "vllm" / "tasks"
        for step in REPLACED:
            (tasks / f"{step}.yml").write_text(json.dumps([STEP]).replace("{step}", Path(step).name))
        for path in tasks.rglob("*.yml"):
            text = path.read_text().replace("ansible.builtin.systemd_service:", "dgxspark.vllm.systemd:")
            for name in ("apt", "reboot", "wait_for_connection"):
                text = text.replace(f"ansible.builtin.{name}:", f"dgxspark.vllm.{name}:")
            path.write_text(text.replace("{{ __vllm_program }} guard", "{{ guard | default('true') }}"))
        # the folders of these hosts are somewhere below /tmp
        safe = "def not_root_only(*_paths):\n    return None\n"
        (mine / "plugins" / "module_utils" / "_deploy" / "root_only.py").write_text(safe)

    def _host(self, name: str, answers: dict[str, t.Any], good: list[str], current: str | None) -> None:
        home = self.folder / name
        home.mkdir()
        (home / ".dgxspark-vllm").write_text(json.dumps({"service": "vllm", "made": []}))
        for release in (R1, R2, R3):
            (home / "releases" / release).mkdir(parents=True)
            for name in (".env", "compose.yaml"):
                (home / "releases" / release / name).touch()
            facts = {"container": f"vllm-{release[0]}", "url": f"http://127.0.0.1:800{release[0]}", "model": "m"}
            (home / "releases" / release / "release.json").write_text(json.dumps(facts))
        for number, release in enumerate(good, 1):
            (home / "releases" / release / "good").write_text(f"{number}\n")
        if good:
            (home / "good").symlink_to(f"releases/{good[-1]}")
        if current:
            (home / "current").symlink_to(f"releases/{current}")
        lock = {"holder": {"run": "x"}, "refused": False, "used_since": False}
        started = {
            "spark_info": [host_info()],
            "deploy_lock": [lock],
            "vllm_conflicts_info": [{"conflicts": [], "holders": []}],
        }
        (home / "answers.json").write_text(json.dumps({**started, **answers}))

    def run(
        self,
        playbook: str = "deploy.yml",
        path: str | None = None,
        one_batch: bool = False,
        extra: t.Mapping[str, t.Any] | None = None,
        check: bool = False,
    ) -> tuple[int, str]:
        """PATH is that of the tasks. ONE_BATCH: no host's failure keeps another one from its story. EXTRA: -e."""
        plays = yaml.safe_load((ROOT / "playbooks" / playbook).read_text())
        environment = {"STANDIN": "{{ vllm_home }}", **({"PATH": path} if path else {})}
        for play in plays:
            play.update(become=False, environment=environment)
            for keyword in ("serial", "max_fail_percentage") if one_batch else ():
                play.pop(keyword, None)
        (self.folder / "play.yml").write_text(yaml.safe_dump(plays))
        options = ["-e", json.dumps(EXTRA if extra is None else extra), *(["--check"] if check else [])]
        done = self.ansible_playbook("play.yml", *options, inventory="hosts.yml", folder=self.folder)
        return done.code, done.output

    def calls(self, host: str, *names: str) -> list[tuple[str, dict[str, t.Any]]]:
        """What was asked of the stand-ins with these names, in order."""
        made = self.folder / host / "calls"
        lines = made.read_text().splitlines() if made.exists() else []
        return [(name, asked) for name, asked in map(json.loads, lines) if name in names]

    def link(self, host: str, name: str) -> str:
        return os.readlink(self.folder / host / name).rpartition("/")[2]


def failure(output: str, host: str) -> str:
    """What the last task that failed said of the host, on one line."""
    blocks = [block for block in output.split("fatal: ")[1:] if block.startswith(f"[{host}]")]
    end = blocks[-1].split("\n\n")[0].split("[ERROR]")[0] if blocks else ""
    return " ".join(end.split())
