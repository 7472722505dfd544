# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module, with a server that answers as the hub does, and with caches as its client leaves them."""

from __future__ import annotations

import contextlib
import http.server
import json
import signal
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.dgxspark.vllm.plugins.modules import model_info

MODEL = "some-org/some-model"
TOKEN = "hf_aVerySecretToken"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "max_position_embeddings": 4096}
INDEX = {"metadata": {"total_size": 5_000_000}, "weight_map": {}}
EXPECTED = {
    "id": MODEL,
    "hidden_layers": 2,
    "layers": 2,
    "kv_heads": 4,
    "head_dim": 16,
    "native_context": 4096,
    "config_context": 4096,
    "hidden_size": 64,
    "attention_heads": 4,
    "activation_bytes": 2 * 2 * 64 + 7 * 4 * 64,
}
OR_ELSE = "; or describe it in vllm_models, or set vllm_enforce_memory_plan: false to try it without a plan"
PREFIX = f"/{MODEL}/resolve/main/"

Answer = tuple[int, dict[str, str], bytes]
Facts = dict[str, t.Any]


class Hub:
    """Answers by path; nothing else is there, and without a file not the repository either."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, str, str | None]] = []

    def file(self, name: str, content: t.Any, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.answers[PREFIX + name] = (200, headers, body)

    def lacks(self, *names: str) -> None:
        for name in names:
            self.answers[PREFIX + name] = (404, {"X-Error-Code": "EntryNotFound"}, b"Entry not found")


@pytest.fixture
def hub() -> t.Iterator[Hub]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.seen.append((self.command, self.path, self.headers.get("Authorization")))
            code = "EntryNotFound" if any(known.startswith(PREFIX) for known in found.answers) else "RepoNotFound"
            unknown = (404, {"X-Error-Code": code}, b"Not found")
            status, headers, body = found.answers.get(self.path, unknown)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_args: t.Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Hub(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> t.Callable[..., Facts]:
    def run(**options: t.Any) -> Facts:
        arguments = {"model": MODEL, "path": str(tmp_path), "endpoint": hub.address, **options}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            model_info.main()
        text = capsys.readouterr().out
        assert TOKEN not in text
        return t.cast(Facts, json.loads(text))

    return run


def cached(folder: Path, files: Facts) -> None:
    """The tree of huggingface_hub."""
    repository = folder / "models--some-org--some-model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name, content in files.items():
        (snapshot / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def test_from_the_hub(hub: Hub, run: t.Callable[..., Facts]) -> None:
    hub.file("config.json", CONFIG)
    hub.file("model.safetensors.index.json", INDEX)
    found = run()
    assert (found["entry"], found["source"]) == ({**EXPECTED, "weights_bytes": 5_000_000}, "hub")
    assert (found["assumed"], found["changed"]) == ([], False)
    assert {authorization for _method, _path, authorization in hub.seen} == {None}


def test_the_only_file_is_measured_and_not_read(hub: Hub, run: t.Callable[..., Facts]) -> None:
    hub.file("config.json", CONFIG)
    hub.lacks("model.safetensors.index.json")
    # large files lie elsewhere; the hub says how long they are
    hub.answers[PREFIX + "model.safetensors"] = (
        302,
        {"Location": "https://cdn.invalid/blob", "X-Linked-Size": "7000000"},
        b"",
    )
    assert run(token=TOKEN)["entry"]["weights_bytes"] == 7_000_000
    assert ("HEAD", PREFIX + "model.safetensors", f"Bearer {TOKEN}") in hub.seen


WEIGHTS = {
    "an index without a sum": (
        {
            "model.safetensors.index.json": {
                "metadata": {},
                "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
            },
            "model-00001-of-00002.safetensors": b"x" * 7,
            "model-00002-of-00002.safetensors": b"x" * 5,
        },
        12,
    ),
    "an index whose files are not all there": (
        {
            "model.safetensors.index.json": {"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}},
            "a.safetensors": b"x",
        },
        None,
    ),
    "one file for PyTorch": ({"pytorch_model.bin": b"x" * 9}, 9),
    "several for PyTorch": ({"pytorch_model.bin.index.json": {"metadata": {"total_size": 40}}}, 40),
    "both": ({"model.safetensors": b"x" * 4, "pytorch_model.bin": b"x" * 9}, 4),
    "Mistral's own": ({"consolidated.safetensors": b"x" * 8}, 8),
}


@pytest.mark.parametrize(("files", "size"), WEIGHTS.values(), ids=WEIGHTS)
def test_the_size_of_the_weights(run: t.Callable[..., Facts], tmp_path: Path, files: Facts, size: int | None) -> None:
    cached(tmp_path, {"config.json": CONFIG, **files})
    found = run(offline=True)
    assert (found["entry"]["weights_bytes"] if size else found.get("entry")) == size


def test_a_model_in_a_folder_of_the_host(hub: Hub, run: t.Callable[..., Facts], tmp_path: Path) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(b"x" * 999)
    (tmp_path / "link").symlink_to(folder)
    for path in (folder, tmp_path / "link"):
        found = run(model=str(path), path=str(tmp_path / "hf"))
        assert found["entry"] == {**EXPECTED, "id": str(path), "weights_bytes": 999}
        assert found["source"] == "folder"
    assert hub.seen == []


def test_a_folder_shows_nothing_that_lies_outside_of_it(run: t.Callable[..., Facts], tmp_path: Path) -> None:
    """But for the model cache: the container has all of it."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    folder = tmp_path / "cache" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").symlink_to("../../config.json")
    (folder / "model.safetensors").write_bytes(b"x" * 999)
    for cache, is_read in ((tmp_path / "hf", False), (tmp_path / "cache", False), (tmp_path, True)):
        assert ("entry" in run(model=str(folder), path=str(cache))) is is_read


def test_mistrals_own_configuration(run: t.Callable[..., Facts], tmp_path: Path) -> None:
    params = {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "hidden_dim": 14336}
    cached(tmp_path, {"params.json": params, "consolidated.safetensors": b"x" * 8})
    assert run(offline=True)["entry"]["kv_heads"] == 8


def test_a_model_that_was_renamed(hub: Hub, run: t.Callable[..., Facts]) -> None:
    for name in ("config.json", "model.safetensors.index.json"):
        hub.answers[PREFIX + name] = (307, {"Location": f"/new-org/it/resolve/main/{name}"}, b"")
    hub.answers["/new-org/it/resolve/main/config.json"] = (200, {}, json.dumps(CONFIG).encode())
    hub.answers["/new-org/it/resolve/main/model.safetensors.index.json"] = (200, {}, json.dumps(INDEX).encode())
    assert run()["entry"] == {**EXPECTED, "weights_bytes": 5_000_000}


def test_the_token_goes_to_no_other_host(hub: Hub, run: t.Callable[..., Facts]) -> None:
    """A large index lies elsewhere, and is read there."""
    elsewhere = hub.address.replace("127.0.0.1", "localhost")
    hub.file("config.json", CONFIG)
    hub.answers[PREFIX + "model.safetensors.index.json"] = (302, {"Location": f"{elsewhere}/blob?signed=yes"}, b"")
    hub.answers["/blob?signed=yes"] = (200, {}, json.dumps(INDEX).encode())
    assert run(token=TOKEN)["entry"]["weights_bytes"] == 5_000_000
    tokens = [authorization for _method, path, authorization in hub.seen if path != PREFIX + "hf_quant_config.json"]
    assert tokens == [f"Bearer {TOKEN}"] * 2 + [None]


def test_a_large_file_that_cannot_be_had(hub: Hub, run: t.Callable[..., Facts]) -> None:
    hub.answers[PREFIX + "config.json"] = (302, {"Location": "http://127.0.0.1:9/blob?signed=yes"}, b"")
    msg = run()["msg"]
    assert "http://127.0.0.1:9 cannot be reached (" in msg
    assert "signed" not in msg


def test_an_encrypted_hub_sends_on_to_encrypted_hosts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def request(self: model_info.Hub, method: str, url: str, token: str) -> tuple[dict[str, str], bytes, int]:
        asked.append(url)
        return {"Location": "http://cdn.invalid/blob"}, b"", 302

    monkeypatch.setattr(model_info.Hub, "_request", request)
    with pytest.raises(model_info.HubError, match=r"sends on to http://cdn\.invalid, which is not encrypted"):
        model_info.Hub("https://hub.invalid", MODEL, "main", TOKEN, 1).read_json("config.json")
    assert len(asked) == 1


@pytest.mark.parametrize("location", ["http://[", "https://[::1", "http://x\x1b]0;owned\x07[/", "", "http://h\xae:x/"])
def test_a_hub_that_sends_on_to_nowhere(hub: Hub, run: t.Callable[..., Facts], location: str) -> None:
    hub.answers[PREFIX + "config.json"] = (302, {"Location": location}, b"")
    assert "cannot be planned: http" in run()["msg"]


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a": ' + b"[" * 100_000, b"9" * 5000, b"\xff", b"NaN"])
def test_a_hub_that_answers_with_nonsense(hub: Hub, run: t.Callable[..., Facts], body: bytes) -> None:
    hub.file("config.json", body)
    assert "answers with something else than JSON for config.json" in run()["msg"]


def test_a_hub_that_drips(run: t.Callable[..., Facts], monkeypatch: pytest.MonkeyPatch) -> None:
    """No single wait is long. The alarm rings after a tenth of its time."""
    monkeypatch.setattr(signal, "alarm", lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds / 10))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            with contextlib.suppress(OSError):
                connection = listener.accept()[0]
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while True:
                    connection.sendall(b" ")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        begin = time.monotonic()
        msg = run(endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=1)["msg"]
        assert "it takes more than 10 s" in msg
        assert time.monotonic() - begin < 60


def test_a_hub_that_sends_in_circles(hub: Hub, run: t.Callable[..., Facts]) -> None:
    hub.answers[PREFIX + "config.json"] = (307, {"Location": PREFIX + "config.json"}, b"")
    assert "answers with HTTP 307" in run()["msg"]
    assert len(hub.seen) == 3


def test_the_cache_is_asked_first(hub: Hub, run: t.Callable[..., Facts], tmp_path: Path) -> None:
    cached(tmp_path / "hub", {"config.json": CONFIG, "model.safetensors": b"x" * 999})
    found = run()
    assert (found["entry"]["weights_bytes"], found["source"]) == (999, "cache")
    assert run(revision=COMMIT)["source"] == "cache"
    assert hub.seen == []


def test_a_download_that_has_just_begun_is_not_enough(hub: Hub, run: t.Callable[..., Facts], tmp_path: Path) -> None:
    cached(tmp_path, {"config.json": CONFIG})
    hub.file("config.json", CONFIG)
    hub.file("model.safetensors.index.json", INDEX)
    assert run()["source"] == "hub"


def test_offline(hub: Hub, run: t.Callable[..., Facts], tmp_path: Path) -> None:
    msg = run(offline=True)["msg"]
    assert f"it is not in {tmp_path}, and vllm_hf_offline forbids to ask the hub" in msg
    assert hub.seen == []
    cached(tmp_path, {"config.json": CONFIG, "model.safetensors.index.json": INDEX})
    assert run(offline=True)["entry"]["weights_bytes"] == 5_000_000


def test_a_second_cache_is_looked_into(hub: Hub, run: t.Callable[..., Facts], tmp_path: Path) -> None:
    source = tmp_path / "mnt"
    assert f"it is not in {tmp_path} or {source}, and" in run(offline=True, source=str(source))["msg"]
    cached(source, {"config.json": CONFIG, "model.safetensors": b"x" * 999})
    found = run(source=str(source))
    assert (found["entry"]["weights_bytes"], found["source"]) == (999, "cache")
    assert hub.seen == []


@pytest.mark.parametrize(
    ("answer", "options", "words"),
    [
        ((404, {"X-Error-Code": "RepoNotFound"}, b""), {}, "the hub has no such model (404 from http://127.0.0.1:"),
        ((404, {"X-Error-Code": "RevisionNotFound"}, b""), {"revision": "v9"}, "the hub has no revision v9 of it"),
        ((401, {}, b""), {}, "the hub does not show it to strangers (401); check its spelling, or set vllm_hf_token"),
        ((401, {"X-Error-Code": "GatedRepo"}, b""), {}, "the hub wants a token that has access to it (401)"),
        ((403, {"X-Error-Code": "GatedRepo"}, b""), {"token": TOKEN}, "accept its terms on the hub, and set vllm_hf_"),
        ((404, {"X-Error-Code": "EntryNotFound"}, b""), {}, "it has no config.json, or no weights: none of model.safe"),
        ((500, {}, b""), {}, "answers with HTTP 500"),
        ((200, {}, b"<html>"), {}, "answers with something else than JSON for config.json"),
        ((200, {}, b"[]"), {}, "answers with something else than JSON for config.json"),
    ],
    ids=["unknown", "revision", "private", "gated", "no access", "no config", "broken", "html", "list"],
)
def test_refused_with_one_line(
    hub: Hub, run: t.Callable[..., Facts], answer: Answer, options: Facts, words: str
) -> None:
    hub.answers[f"/{MODEL}/resolve/{options.get('revision', 'main')}/config.json"] = answer
    found = run(**options)
    assert found["failed"]
    assert found["msg"].startswith(f"vllm_model: {MODEL} cannot be planned: ")
    assert words in found["msg"]
    assert found["msg"].endswith(OR_ELSE)
    assert found["msg"] == f"{found['reason']}; or {found['advice']}"
    assert "\n" not in found["msg"]


def test_a_hub_that_is_not_there(run: t.Callable[..., Facts]) -> None:
    assert "http://127.0.0.1:9 cannot be reached (" in run(endpoint="http://127.0.0.1:9")["msg"]


def test_a_model_of_an_unknown_kind(hub: Hub, run: t.Callable[..., Facts]) -> None:
    hub.file("config.json", {"model_type": "mystery"})
    hub.file("model.safetensors.index.json", INDEX)
    assert f"its config.json has no num_hidden_layers{OR_ELSE}" in run()["msg"]


def test_what_a_quantized_checkpoint_asks_for(hub: Hub, run: t.Callable[..., Facts]) -> None:
    """In config.json, of older ones in a file of its own."""
    hub.file("model.safetensors.index.json", INDEX)
    hub.file("config.json", {**CONFIG, "quantization_config": {"quant_method": "modelopt"}})
    hub.file("hf_quant_config.json", {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}})
    assert "kv_cache_dtype" not in run()["entry"]
    hub.file("config.json", CONFIG)
    assert run()["entry"]["kv_cache_dtype"] == "fp8"
