# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One check for each program that the pages name."""

from __future__ import annotations

import importlib
import json
import re
import typing as t
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.query import check as check_query
from page_inventories import Inventory, divided, is_divided, run
from pages import Command

from support.paths import BIN, ROOT

# Commands that an operator types on the Spark, as the journeys run them.
ON_THE_HOST = {
    "sudo docker compose down": "docker compose down",
    "sudo docker compose up -d": "docker compose up -d",
    "sudo python3 -B /usr/local/lib/dgxspark/vllm guard forget vllm /opt/vllm": (
        "python3 -B /usr/local/lib/dgxspark/vllm guard forget vllm {HOME}"
    ),
    "sudo systemctl start vllm": "systemctl start vllm",
}


def runs_for_real(text: str) -> bool:
    """Whether a journey, or a test that runs the whole playbook on this machine, has it."""
    tests = [*ROOT.glob("tests/journeys/**/*.py"), *ROOT.glob("tests/playbooks/*.py")]
    return any(text in test.read_text(encoding="utf-8") for test in tests)


# ---- a stand-in for the server -----------------------------------------------------------------------------------


class Server(BaseHTTPRequestHandler):
    """Answers as vLLM does behind the proxy of docs/guides/expose-it-safely.md."""

    asked: t.ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "Qwen/Qwen3-8B-FP8"}]} if self.path == "/v1/models" else None)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions"
        assert body["model"] == "Qwen/Qwen3-8B-FP8"
        assert body["messages"][0]["role"] == "user"
        if body.get("stream"):
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
            chunk["choices"] = [{"index": 0, "delta": {"content": "Once"}, "finish_reason": None}]
            self._send("text/event-stream", f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n")
        else:
            message = {"role": "assistant", "content": "Memory that CPU and GPU share."}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._answer({"id": "1", "object": "chat.completion", "created": 1, "model": "x", "choices": [choice]})

    def _answer(self, answer: t.Any) -> None:
        if answer is None:
            self.send_error(404)
        else:
            self._send("application/json", json.dumps(answer))

    def _send(self, kind: str, text: str) -> None:
        Server.asked.append((self.command, self.path, self.headers.get("Authorization") or ""))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


SERVERS = r"https?://(localhost:800[01]|spark\.example\.com(:8000)?)(?=/)"


# ---- one check for each program ----------------------------------------------------------------------------------


def parsed(program: str, command: Command) -> t.Any:
    """The command line, as Ansible's own program reads it."""
    from ansible.cli.adhoc import AdHocCLI
    from ansible.cli.doc import DocCLI
    from ansible.cli.galaxy import GalaxyCLI
    from ansible.cli.playbook import PlaybookCLI
    from ansible.cli.vault import VaultCLI

    programs = {"ansible": AdHocCLI, "ansible-doc": DocCLI, "ansible-galaxy": GalaxyCLI}
    programs |= {"ansible-playbook": PlaybookCLI, "ansible-vault": VaultCLI}
    cli = programs[program]([program, *command.words[1:]])
    cli.init_parser()
    try:
        return cli.parser.parse_args(cli.args[1:])
    except SystemExit:
        pytest.fail(f"{command}: {program} does not take these arguments")


def is_playbook(name: str) -> None:
    """A command names a playbook by its path, or by its full name."""
    file = f"playbooks/{name.removeprefix('dgxspark.vllm.')}.yml" if name.startswith("dgxspark.vllm.") else name
    assert (ROOT / file).is_file(), name


def extra_vars(given: list[str]) -> dict[str, t.Any]:
    from ansible.parsing.splitter import parse_kv

    found: dict[str, t.Any] = {}
    for text in given:
        if not text.startswith("health_query="):  # an expression with blanks, which is checked apart
            found.update(yaml.safe_load(text) if text[0] in "{[" else parse_kv(text))
    return found


def limited(limit: str | None, hosts: Inventory, command: Command) -> list[str]:
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader

    if is_divided(hosts.folder):
        names = list(divided(hosts.folder, *(["--limit", limit] if limit else [])))
    else:
        manager = InventoryManager(loader=DataLoader(), sources=[str(hosts.folder / "hosts.yml")])
        manager.subset(limit)
        names = [host.name for host in manager.get_hosts("spark")]
    assert names, f"{command}: no such host"
    return names


class Look(t.NamedTuple):
    """What one command is checked with."""

    command: Command
    inventory: Inventory
    address: str
    folder: Path


def ansible_playbook(look: Look) -> None:
    options = parsed("ansible-playbook", look.command)
    for name in options.args:
        is_playbook(name)  # test_every_playbook_runs_for_real
    limited(options.subset, look.inventory, look.command)
    for given in options.extra_vars or []:  # names and values of others: test_variables
        if given.startswith("health_query="):
            check_query(given.removeprefix("health_query="))


def options_of(module: str) -> dict[str, t.Any]:
    """The options of a module of ours, those of its fragments included."""

    text = (ROOT / f"plugins/modules/{module}.py").read_text(encoding="utf-8")
    (documented,) = re.findall(r'(?ms)^DOCUMENTATION = r"""(.*?)"""', text)
    own = yaml.safe_load(documented)
    known: dict[str, t.Any] = {}
    for fragment in own.get("extends_documentation_fragment") or []:
        name, _dot, part = fragment.removeprefix("dgxspark.vllm.").partition(".")
        loaded = importlib.import_module(f"ansible_collections.dgxspark.vllm.plugins.doc_fragments.{name}")
        known.update(
            yaml.safe_load(getattr(loaded.ModuleDocFragment, part.upper() or "DOCUMENTATION")).get("options") or {}
        )
    return known | own.get("options", {})


def ansible(look: Look) -> None:
    from ansible.parsing.splitter import parse_kv

    options = parsed("ansible", look.command)
    assert options.args == "localhost" or options.args in ("spark", *look.inventory.hosts), look.command
    if options.module_name in ("ansible.builtin.debug", "dgxspark.vllm.check_variables"):  # these touch no host
        run(
            BIN / "ansible",
            *look.command.words[1:],
            "-i",
            look.inventory.folder,
            cwd=ROOT,
            ANSIBLE_CONFIG="ansible.cfg",
        )
        return
    known = options_of(options.module_name.removeprefix("dgxspark.vllm."))
    args = yaml.safe_load(options.module_args) if options.module_args[:1] == "{" else parse_kv(options.module_args)
    for name, value in args.items():
        assert name in known, f"{look.command}: no option {name}"
        if isinstance(value, str) and "choices" in known[name] and known[name].get("type") != "list":
            assert value in known[name]["choices"], look.command
    missing = {name for name, option in known.items() if option.get("required")} - set(args)
    assert not missing, f"{look.command}: lacks {missing}"


def ansible_inventory(look: Look) -> None:
    run(BIN / "ansible-inventory", *look.command.words[1:], "-i", look.inventory.folder)


def ansible_doc(look: Look) -> None:
    options = parsed("ansible-doc", look.command)
    for name in options.args:
        short = name.removeprefix("dgxspark.vllm")[1:]
        folder = {"module": "plugins/modules/{}.py", "role": "roles/{}"}.get(
            options.type, f"plugins/{options.type}/{{}}.py"
        )
        assert not short or short == "NAME" or (ROOT / folder.format(short)).exists(), look.command


def ansible_vault(look: Look) -> None:
    options = parsed("ansible-vault", look.command)
    for path in options.args:
        assert path.startswith(("inventories/mine/group_vars/spark/", "inventories/mine/group_vars/gateway/")), (
            look.command
        )


def ansible_galaxy(look: Look) -> None:
    options = parsed("ansible-galaxy", look.command)
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    for name in options.args:
        assert name in ("git+REPOSITORY", f"dgxspark-vllm-{version}.tar.gz"), look.command


def make(look: Look) -> None:
    run("make", "--dry-run", "--no-print-directory", *look.command.words[1:])


def ssh(look: Look) -> None:
    read = run("ssh", "-G", *look.command.words[1:])
    forwards = [word for word in look.command.words if ":127.0.0.1:" in word]
    assert read.count("localforward ") == len(forwards)


def curl(look: Look) -> None:
    words = [re.sub(SERVERS, look.address, word) for word in look.command.words[1:]]
    assert words != look.command.words[1:], look.command
    before = len(Server.asked)
    answer = run("curl", "--silent", "--show-error", *words, "--write-out", "\n%{http_code}")
    body, _line, code = answer.rpartition("\n")
    if "/invocations" in " ".join(words):
        assert code == "404"
    else:
        assert code == "200", answer
        assert len(Server.asked) == before + 1
        assert "Qwen/Qwen3-8B-FP8" in body or "choices" in body


def openssl(look: Look) -> None:
    from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.vllm import SHORTEST_KEY

    assert len(run(*look.command.words).strip()) >= SHORTEST_KEY


def cp(look: Look) -> None:
    """The example, or on the Spark a cache to a disk: links and hidden folders arrive."""
    *options, source, target = [word for word in look.command.words if word not in ("sudo", "cp")]
    if source.startswith("inventories/"):
        assert (ROOT / source).is_dir()
        return
    cache, disk = look.folder / "hf", look.folder / "models"
    model = cache / "models--a--b"
    for folder in (disk, model / "blobs", model / "snapshots" / "1", model / ".dgxspark"):
        folder.mkdir(parents=True)
    (model / "blobs" / "0").write_text("weights")
    (model / ".dgxspark" / "1.json").write_text("{}")
    (model / "snapshots" / "1" / "model.safetensors").symlink_to("../../blobs/0")
    run("cp", *options, source.replace("/opt/hf", str(cache)), target.replace("/mnt/models", str(disk)))
    assert (disk / "models--a--b/snapshots/1/model.safetensors").is_symlink()
    assert (disk / "models--a--b/snapshots/1/model.safetensors").read_text() == "weights"
    assert (disk / "models--a--b/.dgxspark/1.json").exists()


def editor(look: Look) -> None:
    (path,) = look.command.words[1:]
    assert (ROOT / path.replace("inventories/mine", "inventories/example")).is_file(), look.command


def pytest_or_python(look: Look) -> None:
    for word in look.command.words[1:]:
        assert word.startswith("-") or (ROOT / word).exists(), look.command


def known(look: Look) -> None:
    """git clone, cd and the virtual environment: README's first lines, the folder of an export, and nothing else."""
    allowed = (["git", "clone", "REPOSITORY", "dgxspark.vllm"], ["cd", "dgxspark.vllm"], [".", ".venv/bin/activate"])
    assert look.command.words in (*allowed, ["cd", "vllm-RELEASE"]), look.command


def install(look: Look) -> None:
    """The file for the secrets of an export: nobody else can read it."""
    (look.folder / "env.example").write_text("VLLM_API_KEY=\n")
    run(*look.command.words, cwd=look.folder)
    assert (look.folder / ".env").read_text() == "VLLM_API_KEY=\n"
    assert (look.folder / ".env").stat().st_mode & 0o777 == 0o600


def on_the_host(look: Look) -> None:
    text = " ".join(look.command.words)
    if look.command.words[:2] == ["sudo", "cp"]:
        cp(look)
        return
    assert text in ON_THE_HOST, f"{look.command}: nobody runs it"
    assert runs_for_real(ON_THE_HOST[text]), f"{look.command}: no journey runs it"


PROGRAMS: dict[str, Callable[[Look], None]] = {
    "$EDITOR": editor,
    ".": known,
    "ansible": ansible,
    "ansible-doc": ansible_doc,
    "ansible-galaxy": ansible_galaxy,
    "ansible-inventory": ansible_inventory,
    "ansible-playbook": ansible_playbook,
    "ansible-vault": ansible_vault,
    "cd": known,
    "cp": cp,
    "curl": curl,
    "git": known,
    "install": install,
    "make": make,
    "openssl": openssl,
    "pytest": pytest_or_python,
    "python": pytest_or_python,
    "ssh": ssh,
    "sudo": on_the_host,
}
