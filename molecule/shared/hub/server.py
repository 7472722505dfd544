#!/usr/bin/env python3
"""Stand-in for the Hugging Face Hub: serves a folder of models with the hub's own protocol, throttled and counted.

    server.py --models FOLDER [--port 8080] [--apt FOLDER] [--rate BYTES_PER_SECOND]

Models are FOLDER/OWNER/NAME; GATED below need a token. Under /libnvidia-container/ it serves the package repository.
GET /control tells the counters and the settings, POST /control changes them:
    {"rate_bytes_per_second": 1000000}      0: as fast as it goes
    {"fail": [{"match": "00002-of", "status": 503, "times": 2}]}
                                            also "after_bytes": N (cut the connection then) or "hang": true
                                            (send nothing more until the rule is gone); without "times": always;
                                            a status is answered to HEAD too, which clients send first;
                                            with "client": ADDRESS for that client only
    {"fail": []}   {"reset": true}          no faults; counters to zero
What a client is authorized with is never printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

GATED = {"sandbox/gated"}
GRANTED = "hf_sandboxgranted"  # the beginning, so that a test can have a token that no other test has used
DENIED = "hf_sandboxnogrant"
LARGE = 1_000_000  # from here on a file is kept as the hub keeps large files: named by its SHA-256
CHUNK = 1 << 16
DATE = "2025-05-01T00:00:00.000Z"
FAULT_KEYS = {"match", "status", "after_bytes", "hang", "times", "client"}


@dataclass(frozen=True)
class File:
    path: str
    disk: Path
    size: int
    oid: str
    sha256: str | None

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid

    def entry(self) -> dict:
        """As the tree and paths-info calls list it."""
        found = {"type": "file", "oid": self.oid, "size": self.size, "path": self.path}
        return found | ({"lfs": self.lfs(), "xetHash": None} if self.sha256 else {})

    def lfs(self) -> dict:
        return {"oid": self.sha256, "size": self.size, "pointerSize": 134}

    def sibling(self, blobs: bool) -> dict:
        found: dict = {"rfilename": self.path}
        if blobs:
            found |= {"size": self.size, "blobId": self.oid}
            if self.sha256:
                found["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": 134}
        return found


class Model:
    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.gated = name in GATED
        self.files = {}
        for disk in sorted(path for path in folder.rglob("*") if path.is_file()):
            data = disk.read_bytes()
            path = disk.relative_to(folder).as_posix()
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            sha256 = hashlib.sha256(data).hexdigest() if len(data) >= LARGE or disk.suffix == ".safetensors" else None
            self.files[path] = File(path, disk, len(data), oid, sha256)
        self.commit = hashlib.sha1("".join(file.path + file.etag for file in self.files.values()).encode()).hexdigest()

    def info(self, blobs: bool) -> dict:
        return {
            "_id": self.commit[:24],
            "id": self.name,
            "modelId": self.name,
            "author": self.name.partition("/")[0],
            "sha": self.commit,
            "lastModified": DATE,
            "createdAt": DATE,
            "private": False,
            "disabled": False,
            "gated": "manual" if self.gated else False,
            "downloads": 0,
            "likes": 0,
            "tags": ["safetensors", "qwen3", "text-generation"],
            "pipeline_tag": "text-generation",
            "library_name": "transformers",
            "siblings": [file.sibling(blobs) for file in self.files.values()],
        }

    def tree(self, folder: str, recursive: bool) -> list[dict]:
        found, folders = [], set()
        for file in self.files.values():
            if folder and not file.path.startswith(f"{folder}/"):
                continue
            below = file.path[len(folder) + 1 if folder else 0 :]
            if "/" in below:
                child = file.path[: len(file.path) - len(below)] + below.partition("/")[0]
                if child not in folders:
                    folders.add(child)
                    oid = hashlib.sha1(child.encode()).hexdigest()
                    found.append({"type": "directory", "oid": oid, "size": 0, "path": child})
                if not recursive:
                    continue
            found.append(file.entry())
        return found


class Throttle:
    """One rate for all clients together: each piece is given its slot of time."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._next = 0.0
        self._lock = threading.Lock()

    def set(self, rate: int) -> None:
        with self._lock:
            self.rate = rate
            self._next = 0.0

    def piece(self) -> int:
        """How much to send at once: small where the rate is small, so that progress is even."""
        return max(1024, min(CHUNK, self.rate // 10)) if self.rate else CHUNK

    def wait(self, size: int) -> None:
        rate = self.rate
        if not rate:
            return
        with self._lock:
            slot = self._next = max(self._next, time.monotonic() - 0.05) + size / rate
        # A rate that is changed meanwhile counts at once, also for those who wait.
        while (pause := slot - time.monotonic()) > 0 and self.rate == rate:
            time.sleep(min(pause, 0.2))


class Hub:
    def __init__(self, models: Path, apt: Path | None, rate: int) -> None:
        folders = {path.parent.relative_to(models).as_posix(): path.parent for path in models.rglob("config.json")}
        self.models = {name: Model(name, folder) for name, folder in sorted(folders.items())}
        self.apt = apt
        self.throttle = Throttle(rate)
        self.rules: list[dict] = []
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.bytes = 0
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()

    def report(self) -> dict:
        with self.lock:
            return {
                "rate_bytes_per_second": self.throttle.rate,
                "fail": self.rules,
                "bytes": self.bytes,
                "requests": sum(self.requests.values()),
                "paths": dict(self.requests),
                "statuses": dict(self.statuses),
                "models": {
                    name: {"commit": model.commit, "bytes": sum(file.size for file in model.files.values())}
                    for name, model in self.models.items()
                },
            }

    def control(self, change: dict) -> None:
        unknown = set(change) - {"rate_bytes_per_second", "fail", "reset"}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: rate_bytes_per_second, fail, reset")
        rules = change.get("fail", self.rules) or []
        for rule in [rules] if isinstance(rules, dict) else rules:
            if "match" not in rule or set(rule) - FAULT_KEYS:
                raise ValueError(f"a fault has match and some of {', '.join(sorted(FAULT_KEYS))}; this one: {rule}")
        with self.lock:
            if "rate_bytes_per_second" in change:
                self.throttle.set(max(0, int(change["rate_bytes_per_second"])))
            self.rules = [rules] if isinstance(rules, dict) else list(rules)
            if change.get("reset"):
                self.reset()

    def fault(self, client: str, method: str, path: str) -> dict:
        """The first rule that this request meets, used up once. Where nothing is sent, only a status is a fault."""
        with self.lock:
            for rule in self.rules:
                if (method == "HEAD" and "status" not in rule) or rule.get("client", client) != client:
                    continue
                if rule["match"] in path and rule.get("times", 1) > 0:
                    if "times" in rule:
                        rule["times"] -= 1
                    return rule
        return {}


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str, commit: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.commit = status, code, message, commit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "sandbox-hub"
    hub: Hub

    # --- the four methods -------------------------------------------------------------------------------------------
    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/control":
            self.control(body)
            return
        with self.hub.lock:
            self.hub.requests[path] += 1
        fault = self.hub.fault(self.client_address[0], self.command, path)
        try:
            if "status" in fault:
                raise Refused(fault["status"], "", HTTPStatus(fault["status"]).phrase)
            self.route(path, parse_qs(url.query), body, fault)
        except Refused as refused:
            told = {"X-Error-Code": refused.code, "X-Error-Message": refused.message, "X-Repo-Commit": refused.commit}
            headers = {key: value for key, value in told.items() if value}
            self.json({"error": refused.message}, refused.status, headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def route(self, path: str, query: dict, body: bytes, fault: dict) -> None:
        if path == "/health":
            self.json({"models": sorted(self.hub.models)})
        elif path.startswith("/libnvidia-container/"):
            self.package(path)
        elif path == "/api/whoami-v2":
            self.whoami()
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(tree|paths-info)/([^/]+)/?(.*)", path):
            model, _revision = self.find(match[1], match[3])
            if match[2] == "tree":
                self.json(model.tree(match[4].rstrip("/"), "true" in map(str.lower, query.get("recursive", []))))
            else:
                self.json([model.files[path].entry() for path in self.wanted(body) if path in model.files])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            model, _revision = self.find(match[1], match[2] or "main")
            self.json(model.info(blobs="true" in map(str.lower, query.get("blobs", []))))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.resolve(*self.find(match[1], match[2]), match[3], fault)
        else:
            raise Refused(404, "", "Not Found")

    # --- who may have what ------------------------------------------------------------------------------------------
    def token(self) -> str:
        """The client's token, "" without one. A token that nobody knows is refused, as the hub does."""
        kind, _space, token = (self.headers.get("Authorization") or "").partition(" ")
        if kind.lower() == "bearer" and token:
            if not token.startswith(GRANTED) and token != DENIED:
                raise Refused(401, "", "Invalid credentials in Authorization header")
            return token
        return ""

    def find(self, name: str, revision: str) -> tuple[Model, str]:
        token = self.token()
        model = self.hub.models.get(name)
        if model is None and token:
            raise Refused(404, "RepoNotFound", "Repository not found")
        if model is None:
            raise Refused(401, "RepoNotFound", "Invalid username or password.")
        if revision not in ("main", model.commit):
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return model, token

    def whoami(self) -> None:
        token = self.token()
        if not token:
            raise Refused(401, "", "Invalid username or password.")
        role = {"displayName": "sandbox", "role": "read"}
        self.json({"type": "user", "id": "0" * 24, "name": token[3:], "auth": {"accessToken": role}})

    def wanted(self, body: bytes) -> list[str]:
        if "json" in (self.headers.get("Content-Type") or ""):
            paths = json.loads(body).get("paths", [])
            return [paths] if isinstance(paths, str) else paths
        return parse_qs(body.decode()).get("paths", [])

    # --- files ------------------------------------------------------------------------------------------------------
    def resolve(self, model: Model, token: str, path: str, fault: dict) -> None:
        if model.gated and not token.startswith(GRANTED):
            told = f"Access to model {model.name} is restricted"
            if token:
                told += f" and you are not in the authorized list. Visit the page of {model.name} to ask for access."
                raise Refused(403, "GatedRepo", told)
            told += ". You must have access to it and be authenticated to access it. Please log in."
            raise Refused(401, "GatedRepo", told)
        file = model.files.get(path)
        if file is None:
            raise Refused(404, "EntryNotFound", "Entry not found", model.commit)
        headers = {"ETag": f'"{file.etag}"', "X-Repo-Commit": model.commit, "Accept-Ranges": "bytes"}
        if file.sha256:
            headers |= {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.etag}"'}
        start, end = self.range(file.size)
        if start >= file.size > 0:
            self.head(416, {"Content-Range": f"bytes */{file.size}", "Content-Length": "0"})
            return
        if (start, end) != (0, file.size):
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(end - start)}
        self.head(206 if "Content-Range" in headers else 200, headers)
        if self.command != "HEAD":
            self.send(file.disk, start, end, fault)

    def range(self, size: int) -> tuple[int, int]:
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if not match or not (match[1] or match[2]):
            return 0, size
        if not match[1]:
            return max(0, size - int(match[2])), size
        return int(match[1]), min(size, int(match[2]) + 1) if match[2] else size

    def send(self, disk: Path, start: int, end: int, fault: dict) -> None:
        stop = min(end, start + fault.get("after_bytes", end - start))
        with disk.open("rb") as handle:
            handle.seek(start)
            while start < stop:
                data = handle.read(min(self.hub.throttle.piece(), stop - start))
                self.hub.throttle.wait(len(data))
                while fault.get("hang") and fault in self.hub.rules:
                    time.sleep(0.1)
                self.wfile.write(data)
                start += len(data)
                with self.hub.lock:
                    self.hub.bytes += len(data)
        if stop < end:
            self.close_connection = True

    def package(self, path: str) -> None:
        root = self.hub.apt.resolve() if self.hub.apt else None
        disk = (root / path.lstrip("/")).resolve() if root else Path()
        if root is None or root not in disk.parents or not disk.is_file():
            raise Refused(404, "", "Not Found")
        data = disk.read_bytes()
        self.head(200, {"Content-Type": "application/octet-stream", "Content-Length": str(len(data))})
        if self.command != "HEAD":
            self.wfile.write(data)

    # --- answers ----------------------------------------------------------------------------------------------------
    def control(self, body: bytes) -> None:
        try:
            if self.command == "POST":
                self.hub.control(json.loads(body))
        except (ValueError, TypeError, AttributeError) as problem:
            self.json({"error": str(problem)}, 400)
            return
        self.json(self.hub.report())

    def json(self, content: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.head(status, {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(data)

    def head(self, status: int, headers: dict[str, str]) -> None:
        if self.path != "/control":
            with self.hub.lock:
                self.hub.statuses[str(status)] += 1
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        print(f"{self.address_string()} {format % args}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--apt", type=Path)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--rate", type=int, default=10_000_000, help="bytes per second for all clients together")
    options = parser.parse_args()
    Handler.hub = Hub(options.models, options.apt, options.rate)
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("0.0.0.0", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
