#!/usr/bin/env python3
"""Put an image into a registry, layer by layer from tar streams.

    push.py --registry HOST:PORT --config FILE --layer COMMAND [--layer COMMAND …] NAME:TAG [NAME:TAG …]
    push.py --registry HOST:PORT --known NAME:TAG        exit status 0 if the registry has it

A layer is the standard output of a shell command. It is sent as it is made, uncompressed: on one machine compressing
costs far more time than it saves (`docker push` of this image takes minutes, this takes seconds). FILE is the image's
"config" (Env, WorkingDir, …) as JSON. Several tags are of one NAME and name one image.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import io
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
CHUNK = 1 << 20
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass
class Blob:
    """What was read of a stream so far."""

    size: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)

    def read(self, stream: IO[bytes]) -> Iterator[bytes]:
        while data := stream.read(CHUNK):
            self.sha256.update(data)
            self.size += len(data)
            yield data

    def descriptor(self, kind: str) -> dict[str, Any]:
        return {"mediaType": kind, "size": self.size, "digest": f"sha256:{self.sha256.hexdigest()}"}


class Registry:
    def __init__(self, address: str, name: str) -> None:
        self.address = address
        self.name = name

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/octet-stream") -> str:
        """The Location that the registry answers with."""
        connection = http.client.HTTPConnection(self.address, timeout=600)
        connection.request(method, path, body, {"Content-Type": kind}, encode_chunked=isinstance(body, Iterator))
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status >= 300:
            raise SystemExit(f"push: {method} {path.partition('?')[0]}: {answer.status} {text[:200]}")
        url = urlsplit(answer.headers.get("Location", ""))
        return f"{url.path}?{url.query}"

    def upload(self, stream: IO[bytes], kind: str) -> dict[str, Any]:
        blob = Blob()
        where = self.call("POST", f"/v2/{self.name}/blobs/uploads/")
        where = self.call("PATCH", where, blob.read(stream))
        found = blob.descriptor(kind)
        self.call("PUT", f"{where}&digest={found['digest']}", b"")
        return found

    def layer(self, command: str) -> dict[str, Any]:
        with subprocess.Popen(["bash", "-o", "pipefail", "-c", command], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            found = self.upload(process.stdout, LAYER)
        if process.returncode:
            raise SystemExit(f"push: a layer's command failed ({process.returncode}): {command}")
        return found

    def push(self, tags: list[str], settings: dict[str, Any], commands: list[str]) -> None:
        layers = [self.layer(command) for command in commands]
        config = {
            "architecture": MACHINES[platform.machine()],
            "os": "linux",
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "config": settings,
            # Uncompressed layers: what they are called inside and outside is the same.
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
        about = self.upload(io.BytesIO(json.dumps(config).encode()), CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": about, "layers": layers}
        for tag in tags:
            self.call("PUT", f"/v2/{self.name}/manifests/{tag}", json.dumps(manifest).encode(), MANIFEST)

    def known(self, tag: str) -> bool:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        connection.request("HEAD", f"/v2/{self.name}/manifests/{tag}", headers={"Accept": MANIFEST})
        return connection.getresponse().status == 200


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--registry", required=True)
    parser.add_argument("--known", action="store_true")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--layer", action="append", default=[])
    parser.add_argument("images", nargs="+")
    options = parser.parse_args()
    names, tags = zip(*(image.rsplit(":", 1) for image in options.images), strict=True)
    registry = Registry(options.registry, names[0])
    if options.known:
        return 0 if registry.known(tags[0]) else 1
    registry.push(list(tags), json.loads(options.config.read_text()), options.layer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
