# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the engine of vLLM: it answers like `vllm serve` and computes nothing, so that a start takes a moment.

Runs in the real image, with the real arguments, in the place of the program `vllm`. With --quantization awq it fails
with the words of vLLM 0.32. Where a test is about deployments and not about the model, fifty of them take minutes.
"""

from __future__ import annotations

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MISMATCH = (
    "ValueError: Quantization method specified in the model config (fp8) does not match the quantization method"
    " specified in the `quantization` argument (awq)."
)


def option(name: str, default: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


MODEL = option("--served-model-name", sys.argv[2])
LENGTH = int(option("--max-model-len", "32768"))
ANSWERS = {
    "/health": None,
    "/version": {"version": "0.32.0"},
    "/v1/models": {
        "object": "list",
        "data": [{"id": MODEL, "object": "model", "root": MODEL, "max_model_len": LENGTH}],
    },
    "/v1/completions": {
        "model": MODEL,
        "choices": [{"index": 0, "text": " stand-in", "finish_reason": "length"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    },
}
METRICS = "".join(
    f'vllm:{name}{{engine="0",model_name="{MODEL}"}} {value}\n'
    for name, value in (("num_requests_running", 0.0), ("num_requests_waiting", 0.0), ("generation_tokens_total", 1.0))
)


class Handler(BaseHTTPRequestHandler):
    def answer(self) -> None:
        path = self.path.partition("?")[0]
        if path != "/metrics" and path not in ANSWERS:
            self.send_error(404)
            return
        content = ANSWERS.get(path)
        body = METRICS.encode() if path == "/metrics" else b"" if content is None else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain" if path == "/metrics" else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("(APIServer pid=1) INFO 01-01 00:00:00 [api_utils.py:347]        version 0.32.0", flush=True)
    if option("--quantization", "") == "awq":
        print(f"(APIServer pid=1) {MISMATCH}", flush=True)
        sys.exit(1)
    server = ThreadingHTTPServer(("", 8000), Handler)
    print("(APIServer pid=1) INFO:     Application startup complete.", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
