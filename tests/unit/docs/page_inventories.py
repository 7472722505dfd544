# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that a reader of a page has: the example, and the page's own blocks over it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import yaml
from pages import PAGES, Block, blocks

from support.paths import BIN, ROOT

BLOCKS = [block for page in PAGES for block in blocks(page)]
ROLES = ["spark_host", "container_runtime", "hf_cache", "vllm", "monitoring", "gateway", "fabric", "benchmark"]


def run(*words: object, cwd: Path = ROOT, **environment: str) -> str:
    """The output of a program that ends well."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}"
    return done.stdout


class Inventory(t.NamedTuple):
    """inventories/mine as a reader of the page has it: the example, and the page's own blocks over it."""

    folder: Path
    hosts: dict[str, dict[str, t.Any]]  # variables as they are written, templates included


def put(folder: Path, block: Block) -> None:
    """Blocks of one file add up: the page shows the lines to add."""
    target = folder / block.path.removeprefix("inventories/mine/")
    assert target.is_relative_to(folder)
    assert block.path.startswith("inventories/mine/"), block.where
    target.parent.mkdir(parents=True, exist_ok=True)
    there = yaml.safe_load(target.read_text(encoding="utf-8")) if target.exists() else {}
    new = yaml.safe_load(block.text)
    assert isinstance(new, dict), block.where
    both = new if target.name == "hosts.yml" else {**(there or {}), **new}
    target.write_text(yaml.safe_dump(both, sort_keys=False), encoding="utf-8")


def is_divided(folder: Path) -> bool:
    """Whether a page has a host that lists services: only Ansible's own program loads the plugin that divides it."""
    return any("vllm_services" in path.read_text(encoding="utf-8") for path in folder.glob("host_vars/*.yml"))


@functools.cache
def divided(folder: Path, *limit: str) -> dict[str, dict[str, t.Any]]:
    listed = json.loads(run(BIN / "ansible-inventory", "-i", folder, "--list", *limit))
    # test_variables gives each host another name, so what divided it is no longer right
    mine = {"dgxspark_host", "vllm_services"}
    return {
        host: {name: value for name, value in variables.items() if name not in mine}
        for host, variables in listed["_meta"]["hostvars"].items()
    }


def inventory_of(page: str, folder: Path) -> Inventory:
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.manager import VariableManager

    mine = folder / "inventories" / "mine"
    shutil.copytree(ROOT / "inventories" / "example", mine)
    for block in BLOCKS:
        if block.page == page and block.path:
            put(mine, block)
    if is_divided(mine):
        return Inventory(mine, divided(mine))
    loader = DataLoader()
    loader.set_basedir(str(folder))
    manager = InventoryManager(loader=loader, sources=[str(mine / "hosts.yml")])
    variables = VariableManager(loader=loader, inventory=manager)
    hosts = {
        host.name: {
            name: value
            for name, value in variables.get_vars(host=host, include_hostvars=False).items()
            if name.startswith(("ansible_host", "ansible_user", *(f"{role}_" for role in ROLES)))
        }
        for host in manager.get_hosts("spark")
    }
    return Inventory(mine, hosts)
