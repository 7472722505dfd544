# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command and every piece of inventory in the documentation.

What can run without a Spark runs: Ansible's own parsers, the syntax of the playbooks, the check of all variables,
make's and ssh's own reading of their arguments, curl and Python against a stand-in server. What needs a Spark is run
by a journey, which must be there. A command that nothing here knows fails the test.
"""

from __future__ import annotations

import json
import re
import threading
import typing as t
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from command_checks import PROGRAMS, SERVERS, Look, Server, extra_vars, on_the_host, parsed, runs_for_real
from page_inventories import BLOCKS, ROLES, Inventory, inventory_of
from pages import PAGES, Block, Command, commands, inline_commands, name_of

from support.paths import ROOT
from support.playbook import AnsiblePlaybook

# Pages whose blocks a test of their own carries out, in order and for real.
OWN_TEST = {"docs/guides/add-a-model.md": "tests/unit/docs/test_add_a_model.py"}

VAULT = {
    "vault_hf_token": "hf_0123456789abcdef",
    "vault_vllm_api_key": "0123456789abcdef0123456789abcdef",
    "vault_monitoring_webhook": "https://chat.example.com/hooks/0123456789abcdef",
    "vault_gateway_ada": "1123456789abcdef0123456789abcdef",
    "vault_gateway_batch": "2123456789abcdef0123456789abcdef",
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Inventory]:
    made: dict[str, Inventory] = {}

    def of(page: str) -> Inventory:
        if page not in made:
            made[page] = inventory_of(page, tmp_path_factory.mktemp("page"))
        return made[page]

    return of


COMMANDS = [
    command for block in BLOCKS if block.language == "sh" and block.page not in OWN_TEST for command in commands(block)
]
COMMANDS += [command for page in PAGES for command in inline_commands(page)]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_command(command: Command, inventory: Callable[[str], Inventory], address: str, tmp_path: Path) -> None:
    assert command.words[0] in PROGRAMS, f"{command}: no check for this program"
    PROGRAMS[command.words[0]](Look(command, inventory(command.where.split(":")[0]), address, tmp_path))


def test_a_command_that_nobody_knows_is_noticed(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    made_up = Block(name_of(page), 1, "sh", "echo one && frobnicate --all  # two\n")
    assert [command.words for command in commands(made_up)] == [["echo", "one"], ["frobnicate", "--all"]]
    assert "frobnicate" not in PROGRAMS
    with pytest.raises(AssertionError, match="nobody runs it"):
        on_the_host(Look(Command("x", ["sudo", "reboot"]), Inventory(tmp_path, {}), "", tmp_path))


def test_a_wrong_option_is_noticed() -> None:
    with pytest.raises(pytest.fail.Exception, match="does not take"):
        parsed("ansible-playbook", Command("x", ["ansible-playbook", "site.yml", "--no-such-option"]))


@pytest.mark.parametrize("playbook", ["site.yml", *(f"playbooks/{path.name}" for path in ROOT.glob("playbooks/*.yml"))])
def test_every_playbook_runs_for_real(playbook: str) -> None:
    if playbook != "playbooks/site.yml":  # which site.yml imports
        assert runs_for_real(f'"{playbook}"')


@pytest.mark.parametrize("page", OWN_TEST)
def test_a_page_with_a_test_of_its_own(page: str) -> None:
    """Each of its sections with commands is one that the test follows."""
    text = (ROOT / page).read_text(encoding="utf-8")
    test = (ROOT / OWN_TEST[page]).read_text(encoding="utf-8")
    for heading, section in re.findall(r"(?ms)^## (.*?)\n(.*?)(?=^## |\Z)", text):
        assert "```" not in section or f'follow(copy, "{heading}")' in test, heading


# ---- everything of Ansible at once -------------------------------------------------------------------------------


def fragments() -> list[dict[str, t.Any]]:
    """Tasks and plays that the pages show, as plays."""
    plays: list[dict[str, t.Any]] = []
    for block in BLOCKS:
        if block.language != "yaml" or block.path or block.page in OWN_TEST:
            continue
        content = yaml.safe_load(block.text)
        assert isinstance(content, list), f"{block.where}: inventory content needs its path in the first line"
        if "hosts" in content[0]:
            plays += content
        else:
            plays.append({"name": block.where, "hosts": "spark", "gather_facts": False, "tasks": content})
    return plays


def test_syntax(tmp_path: Path, ansible_playbook: AnsiblePlaybook) -> None:
    """All playbooks that there are, and what the pages show of others."""
    shown = tmp_path / "shown.yml"
    shown.write_text(yaml.safe_dump(fragments(), sort_keys=False), encoding="utf-8")
    playbooks = [ROOT / "site.yml", *sorted(ROOT.glob("playbooks/*.yml"))]
    done = ansible_playbook(shown, "--syntax-check", *playbooks, inventory=ROOT / "inventories/example")
    assert done.code == 0, done.output


def test_variables(tmp_path: Path, inventory: Callable[[str], Inventory], ansible_playbook: AnsiblePlaybook) -> None:
    """check_variables accepts the inventory of every page, and what its commands say with -e; all in one run."""
    hosts: dict[str, dict[str, t.Any]] = {}
    for number, page in enumerate(sorted({block.page for block in BLOCKS} - set(OWN_TEST))):
        given: list[dict[str, t.Any]] = [{}]
        for command in COMMANDS:
            if command.words[0] == "ansible-playbook" and command.where.startswith(f"{page}:"):
                given.append(extra_vars(parsed("ansible-playbook", command).extra_vars or []))
        distinct = {json.dumps(extra, sort_keys=True): extra for extra in given}
        for variant, extra in enumerate(distinct.values()):
            names = {name: f"{name}.{variant}.{page.replace('/', '.')}" for name in inventory(page).hosts}
            for name, alias in names.items():
                own = {**inventory(page).hosts[name], **extra}
                own["ansible_host"] = f"{own.get('ansible_host', name)}.{number}-{variant}.example"
                if own.get("hf_cache_source") in names:
                    own["hf_cache_source"] = names[own["hf_cache_source"]]
                own.pop("vllm_swap_group", None)  # one of a list of services, which these hosts do not come from
                own["vllm_nodes"] = [names[node] for node in own.get("vllm_nodes", [])]
                hosts[alias] = own
    (tmp_path / "hosts.yml").write_text(
        json.dumps({"spark": {"hosts": hosts, "vars": VAULT}}),
        encoding="utf-8",  # JSON takes Ansible's own strings
    )
    for name in {
        name for block in BLOCKS for name in re.findall(r"\{\{ inventory_dir \}\}/(files/[\w.-]+)", block.text)
    }:
        file = tmp_path / name if "." in name else tmp_path / name / "in_it"  # without a suffix it is a folder
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    check = [{"name": "Check", "hosts": "spark", "gather_facts": False}]
    check[0]["tasks"] = [{"name": "Check", "dgxspark.vllm.check_variables": {"role": ROLES}}]  # type: ignore[assignment]
    (tmp_path / "check.yml").write_text(yaml.safe_dump(check), encoding="utf-8")
    done = ansible_playbook(tmp_path / "check.yml", inventory=tmp_path / "hosts.yml")
    assert done.code == 0, done.output


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "python"], ids=lambda block: block.where
)
def test_python(
    block: Block, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program runs, against the stand-in, in a folder with a report of playbooks/health.yml."""
    report = {"hosts": [{"host": "spark01", "verdict": "failed", "summary": "the engine died"}], "notes": []}
    (tmp_path / "health.json").write_text(json.dumps(report))
    monkeypatch.chdir(tmp_path)
    exec(compile(re.sub(SERVERS, address, block.text), block.where, "exec"), {})
    assert re.search("Memory that CPU and GPU share.*Once|spark01", capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "nginx"], ids=lambda block: block.where
)
def test_the_proxy_forwards_the_api_only(block: Block) -> None:
    locations = dict(re.findall(r"location (\S+) \{(.*?)\}", block.text, re.DOTALL))
    assert set(locations) == {"/v1/", "/"}
    assert "proxy_pass http://127.0.0.1:8000;" in locations["/v1/"]
    assert "proxy_set_header Host 127.0.0.1;" in locations["/v1/"]
    assert "proxy_buffering off;" in locations["/v1/"]
    assert locations["/"].strip() == "return 404;"
    assert block.text.count("{") == block.text.count("}")
