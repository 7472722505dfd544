# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof by what a server is for, against servers that answer as vLLM does for such models."""

from __future__ import annotations

import email
import email.message
import http.server
import io
import json
import threading
import typing as t
import wave
from collections.abc import Iterator

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._vllm.proof import prove

NO_PATH = (404, '{"detail": "Not Found"}')
NOT_SUPPORTED = (400, '{"error": {"message": "The model does not support Completions API", "code": 400}}')
NOT_IMPLEMENTED = (501, '{"error": {"message": "The model does not support Completions API", "code": 501}}')
NO_MODEL = (404, '{"error": {"message": "The model `embed` does not exist.", "code": 404}}')
NO_AUDIO = '{"error": {"message": "Please install vllm[audio] for audio support", "code": 500}}'
TOKEN = (200, '{"choices": [{"text": " I"}], "usage": {"completion_tokens": 1}}')

TRANSCRIPTIONS = "/v1/audio/transcriptions"

Answers = dict[str, tuple[int, str]]


def data(entry: t.Any) -> tuple[int, str]:
    return 200, json.dumps({"data": [entry]})


def fields(headers: email.message.Message, body: bytes) -> dict[str, t.Any]:
    """Of JSON, or of a form as the standard library reads it."""
    if headers["Content-Type"] == "application/json":
        return t.cast("dict[str, t.Any]", json.loads(body))
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    form = email.message_from_bytes(head + body)
    assert form.is_multipart()
    parts = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}
    assert parts["file"].get_filename() == "silence.wav"
    return {
        name: part.get_payload(decode=True) if name == "file" else part.get_payload() for name, part in parts.items()
    }


@pytest.fixture
def serve() -> Iterator[t.Callable[[Answers], tuple[str, list[str]]]]:
    servers = []

    def start(answers: Answers) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: t.Any) -> None:
                pass

            def do_POST(self) -> None:
                asked.append(self.path)
                sent = fields(self.headers, self.rfile.read(int(self.headers["Content-Length"])))
                assert sent["model"] == "embed"
                if self.path == TRANSCRIPTIONS:
                    with wave.open(io.BytesIO(sent["file"])) as sound:
                        assert (sound.getnframes(), sound.getframerate()) == (16_000, 16_000)
                assert self.headers["Authorization"] == "Bearer key"
                status, body = answers.get(self.path, NO_PATH)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


COMPLETIONS = "/v1/completions"
SPEECH = {COMPLETIONS: NOT_IMPLEMENTED, "/v1/embeddings": NO_PATH}


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ({COMPLETIONS: TOKEN, "/v1/embeddings": data({"embedding": [1]})}, " I"),
        ({"/v1/embeddings": data({"embedding": [0.1, 2, -3.5]})}, "an embedding of 3 numbers"),
        ({COMPLETIONS: NOT_SUPPORTED, "/v1/embeddings": data({"embedding": [0.1]})}, "an embedding of 1 numbers"),
        ({COMPLETIONS: NOT_IMPLEMENTED, "/v1/score": data({"score": 0.5})}, "a score"),
        ({"/v1/embeddings": NOT_SUPPORTED, "/classify": data({"probs": [0.5, 0.5]})}, "probabilities of 2 classes"),
        ({"/pooling": data({"data": [[0.1, 0.2], [0.3, 0.4]]})}, "4 pooled numbers"),
        ({**SPEECH, TRANSCRIPTIONS: (200, '{"text": " you", "usage": {"seconds": 1}}')}, "a transcription"),
        ({TRANSCRIPTIONS: (200, '{"text": ""}')}, "a transcription"),
    ],
)
def test_a_server_is_proven_by_what_it_is_for(serve: t.Any, answers: Answers, text: str) -> None:
    url, _asked = serve(answers)
    found = prove(url, "embed", 5, "key")
    assert (found.error, found.completion and found.completion.text) == (None, text)


@pytest.mark.parametrize(
    ("answers", "error", "asked"),
    [
        pytest.param({}, "HTTP 404", 6, id="nothing of it"),
        pytest.param({**SPEECH, TRANSCRIPTIONS: NOT_IMPLEMENTED}, "Completions", 6, id="speech only in its name"),
        pytest.param({**SPEECH, TRANSCRIPTIONS: (500, NO_AUDIO)}, "vllm[audio]", 6, id="a speech model that fails"),
        *(
            pytest.param({**SPEECH, TRANSCRIPTIONS: (200, body)}, "without a text", 6, id=f"speech {body[:20]}")
            for body in ("", "[]", '{"text": null}', '{"text": 7}', '{"error": "busy"}')
        ),
        pytest.param({COMPLETIONS: NO_MODEL}, "does not exist", 1, id="a wrong name is no other kind of server"),
        pytest.param({COMPLETIONS: (500, "boom")}, "HTTP 500: boom", 1, id="an error is no other kind of server"),
        pytest.param({"/v1/embeddings": (500, "boom")}, "HTTP 500: boom", 2, id="an embedding that fails"),
        *(
            pytest.param({"/v1/embeddings": (200, body)}, "without finite numbers", 2, id=body[:30])
            for body in (
                '{"data": [{"embedding": [NaN]}]}',
                '{"data": [{"embedding": []}]}',
                '{"data": [{"embedding": ["a"]}]}',
                '{"data": [{"embedding": null}]}',
                '{"data": [7]}',
                '{"data": []}',
                "[]",
                "[" * 100_000,
                "",
            )
        ),
    ],
)
def test_what_proves_nothing(serve: t.Any, answers: Answers, error: str, asked: int) -> None:
    url, paths = serve(answers)
    found = prove(url, "embed", 5, "key")
    assert found.completion is None
    assert error in str(found.error)
    assert len(paths) == asked


def test_a_server_that_gives_no_answer_is_asked_once() -> None:
    assert prove("http://127.0.0.1:9", "embed", 5, "key").error == "refused"
