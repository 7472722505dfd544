# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command and every piece of inventory in the documentation.

What can run without a Spark runs: Ansible's own parsers, the syntax of the playbooks, the check of all variables,
make's and ssh's own reading of their arguments, curl and Python against a stand-in server. What needs a Spark is run
by a journey, which must be there. A command that nothing here knows fails the test.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import shutil
import subprocess
import threading
import typing as t
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.query import check as check_query
from pages import PAGES, Block, Command, blocks, commands, inline_commands, name_of

from support.paths import BIN, ROOT
from support.playbook import AnsiblePlaybook

BLOCKS = [block for page in PAGES for block in blocks(page)]

# Pages whose blocks a test of their own carries out, in order and for real.
OWN_TEST = {"docs/guides/add-a-model.md": "tests/unit/docs/test_add_a_model.py"}

# Commands that an operator types on the Spark, as the journeys run them.
ON_THE_HOST = {
    "sudo docker compose down": "docker compose down",
    "sudo docker compose up -d": "docker compose up -d",
    "sudo python3 -B /usr/local/lib/dgxspark/vllm guard forget vllm /opt/vllm": (
        "python3 -B /usr/local/lib/dgxspark/vllm guard forget vllm {HOME}"
    ),
    "sudo systemctl start vllm": "systemctl start vllm",
}

VAULT = {
    "vault_hf_token": "hf_0123456789abcdef",
    "vault_vllm_api_key": "0123456789abcdef0123456789abcdef",
    "vault_monitoring_webhook": "https://chat.example.com/hooks/0123456789abcdef",
    "vault_gateway_ada": "1123456789abcdef0123456789abcdef",
    "vault_gateway_batch": "2123456789abcdef0123456789abcdef",
}
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


def runs_for_real(text: str) -> bool:
    """Whether a journey, or a unit test that runs the whole playbook on this machine, has it."""
    tests = [*ROOT.glob("tests/journeys/**/*.py"), *ROOT.glob("tests/unit/playbooks/*.py")]
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


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


SERVERS = r"https?://(localhost:800[01]|spark\.example\.com(:8000)?)(?=/)"


# ---- the inventory of each page ----------------------------------------------------------------------------------


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


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Inventory]:
    made: dict[str, Inventory] = {}

    def of(page: str) -> Inventory:
        if page not in made:
            made[page] = inventory_of(page, tmp_path_factory.mktemp("page"))
        return made[page]

    return of


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


def test_a_wrong_option_is_noticed(tmp_path: Path) -> None:
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
