# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for Docker and systemd that do what these do, and can be interrupted at every call."""

from __future__ import annotations

import copy
import json
import os
import typing as t
from pathlib import Path
from types import ModuleType

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import services
from ansible_collections.dgxspark.vllm.plugins.modules import vllm_conflicts_info, vllm_takeover

Result = dict[str, t.Any]
Answer = tuple[int, str, str]
GUIDE = {"com.docker.compose.project": "llm", "com.docker.compose.service": "vllm"}
NAME = "vllm-qwen3-8b-fp8"
RELEASE = "0123456789ab"


def service_labels(service: str) -> dict[str, str]:
    return {**GUIDE, "dgxspark.vllm.service": service, "dgxspark.vllm.release": RELEASE}


class Killed(BaseException):
    pass


class Host:
    """Containers and units, and who asked for what."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.home = folder / "vllm"
        self.home.mkdir()
        self.note = self.home / "taken_over.json"
        self.unit_files = folder / "units"
        self.unit_files.mkdir()
        monkeypatch.setattr(services, "UNITS", str(self.unit_files))
        self.programs = {"docker", "systemctl"}
        self.containers: dict[str, dict[str, t.Any]] = {}
        self.units: dict[str, dict[str, t.Any]] = {}
        self.calls: list[str] = []
        self.warnings: list[str] = []
        self.daemon = True
        self.broken: str | None = None
        self.kill_at: int | None = None  # after so many calls that change something
        monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: self.warnings.append(text))
        monkeypatch.setattr(AnsibleModule, "run_command", lambda _module, words: self.command(words))

        def find(module: AnsibleModule, program: str, required: bool = False) -> str | None:
            if required and program not in self.programs:
                module.fail_json(msg=f"Failed to find required executable {program}")
            return f"/usr/bin/{program}" if program in self.programs else None

        monkeypatch.setattr(AnsibleModule, "get_bin_path", find)

    def container(self, name: str, running: bool = True, **values: t.Any) -> str:
        defaults = {
            "labels": {},
            "restart": "no",
            "image": "nvcr.io/nvidia/vllm:25.09-py3",
            "program": "vllm",
            "args": ["serve", "--api-key", "s3cret"],
            "auto_remove": False,
            "ports": "",
        }
        ident = f"{len(self.containers) + 1:064x}"
        self.containers[ident] = {**defaults, "name": name, "running": running, **values}
        return ident

    def service(self, name: str, container: str, active: str = "active", file: str = "enabled") -> str:
        self.installed(name)
        self.units[f"{name}.service"] = {"active": active, "file": file, "known": file, "starts": 3}
        return self.container(container, active == "active", labels=service_labels(name))

    def installed(self, name: str) -> None:
        """The unit of a service and its release, as the role writes them."""
        home = self.unit_files.parent / f"home of {name}"
        (home / "releases" / RELEASE).mkdir(parents=True, exist_ok=True)
        text = f"# Written by dgxspark.vllm. X\n[Service]\nWorkingDirectory={home}/current\n"
        (self.unit_files / f"{name}.service").write_text(text)

    def find(self, name: str) -> str | None:
        return next((key for key, box in self.containers.items() if name in (key, box["name"])), None)

    def command(self, words: list[str]) -> Answer:
        program, verb = os.path.basename(words[0]), words[1]
        call = " ".join([program, *words[1:]])
        looks = verb in ("inspect", "ps", "show")
        if not looks:
            if self.kill_at == 0:
                raise Killed
            self.calls.append(call)
        if self.broken and self.broken in call:
            return 1, "", f"Error response from daemon: {self.broken} is broken"
        answer = self.docker(verb, words) if program == "docker" else self.systemctl(verb, words)
        if not looks and self.kill_at is not None:
            self.kill_at -= 1
        return answer

    def docker(self, verb: str, words: list[str]) -> Answer:
        if not self.daemon:
            return 1, "", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock"
        if verb == "ps":
            up = [(key, box) for key, box in self.containers.items() if box["running"]]
            return 0, "".join(f"{key}\t{box['name']}\t{box['ports']}\n" for key, box in up), ""
        name = words[2] if verb == "rename" else words[-1]
        found = self.find(name)
        if found is None:
            return 1, "[]", f"Error response from daemon: No such container: {name}"
        box = self.containers[found]
        if verb == "inspect":
            return 0, json.dumps([self.inspected(found)]), ""
        if verb == "update":
            box["restart"] = words[3]
        elif verb == "stop":
            box["running"] = False
            if box["auto_remove"]:
                del self.containers[found]
        elif verb == "start":
            box["running"] = True
        elif verb == "rename":
            if self.find(words[3]):
                return 1, "", f'Conflict. The container name "/{words[3]}" is already in use'
            box["name"] = words[3]
        elif verb == "rm":
            assert not box["running"]
            del self.containers[found]
        else:
            raise AssertionError(words)
        return 0, "", ""

    def inspected(self, ident: str) -> dict[str, t.Any]:
        box = self.containers[ident]
        cache = f"{self.unit_files.parent}/home of {box['labels'].get('dgxspark.vllm.service')}/cache"
        return {
            "Mounts": [{"Type": "bind", "Source": cache}],
            "Id": ident,
            "Name": f"/{box['name']}",
            "State": {"Running": box["running"]},
            "Config": {"Image": box["image"], "Labels": box["labels"], "Env": ["HF_TOKEN=hf_secretsecret"]},
            "Path": box["program"],
            "Args": box["args"],
            "HostConfig": {"RestartPolicy": {"Name": box["restart"]}, "AutoRemove": box["auto_remove"]},
        }

    def systemctl(self, verb: str, words: list[str]) -> Answer:
        name = words[-1]
        if verb == "daemon-reload":
            assert not any(unit["active"] == "active" for unit in self.units.values())
            for unit in self.units.values():
                unit["known"] = unit["file"]
            return 0, "", ""
        unit = self.units.get(name)
        if verb == "show":
            load = "loaded" if unit else "not-found"
            state = unit or {"active": "inactive", "file": ""}
            return 0, f"LoadState={load}\nActiveState={state['active']}\nUnitFileState={state['file']}\n", ""
        if unit is None:
            return 1, "", f"Failed: Unit file {name} does not exist."
        if verb in ("enable", "disable"):
            assert "--no-reload" in words
            assert "--now" not in words
            unit["file"] = f"{verb}d"
        elif verb == "reset-failed":
            if not unit["starts"]:
                return 1, "", f"Failed to reset failed state of unit {name}: Unit {name} not loaded."
            unit["starts"] = 0
        elif verb == "start" and unit["starts"] >= 4:
            return 1, "", f"{name}: Start request repeated too quickly."
        else:
            unit["starts"] += verb == "start"
            was = unit["active"] == "active"
            unit["active"] = "active" if verb == "start" else "inactive"
            for box in self.containers.values():
                if f"{box['labels'].get('dgxspark.vllm.service')}.service" == name and (was or verb == "start"):
                    box["running"] = verb == "start"
        return 0, "", ""

    def after_restart_of_docker(self) -> set[str]:
        """Who runs when Docker, or the host, has started anew."""
        boxes = self.containers.values()
        up = {box["name"] for box in boxes if box["restart"] == "always"}
        up |= {box["name"] for box in boxes if box["running"] and box["restart"] == "unless-stopped"}
        return up | {name for name, unit in self.units.items() if "enabled" in (unit["file"], unit["known"])}

    def look(self) -> t.Any:
        units = {name: {**unit, "starts": None} for name, unit in self.units.items()}
        return copy.deepcopy((self.containers, units))

    def noted(self) -> list[Result]:
        return list(json.loads(self.note.read_text())["holders"]) if self.note.exists() else []

    def run(self, state: str, *containers: str, **options: t.Any) -> Result:
        names = {} if state == "started" else {"containers": list(containers)}
        return self.call(vllm_takeover, {"state": state, "home": str(self.home), **names, **options})

    def conflicts(self, **options: t.Any) -> Result:
        """Of the service vllm, which wants port 8000 and the name NAME."""
        return self.call(vllm_conflicts_info, {"service": "vllm", "port": 8000, "container": NAME, **options})

    def call(self, module: ModuleType, arguments: dict[str, t.Any]) -> Result:
        self.calls.clear()
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        output = self.capsys.readouterr().out
        assert "s3cret" not in output
        assert "secretsecret" not in output
        assert "Traceback" not in output
        found: Result = json.loads(output)
        return found
