# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks for the API key on every path, where vLLM itself asks on some. Runs in the container of the server.

    vllm serve MODEL --middleware dgxspark_require_key.RequireKey

The path is the one that routes are chosen by (scope["path"]), never what a Host header makes of it. The keys are those
of vLLM, from the same environment variable. Needs nothing but Python 3.10.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import typing as t

# Whether the server lives, and nothing else.
OPEN_PATHS = frozenset(["/health"])

Scope = t.Mapping[str, t.Any]
Send = t.Callable[[dict[str, t.Any]], t.Awaitable[None]]


def permits(scope: Scope, keys: t.Iterable[str]) -> bool:
    """Whether a request may pass: it has one of the keys, or needs none."""
    if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in OPEN_PATHS):
        return True
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.lower(), value)  # of several the first, as vLLM takes it
    # Browsers send no key with the request that asks whether they may send one; CORS answers it, no route does.
    if scope.get("method") == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers:
        return True
    scheme, _blank, given = headers.get(b"authorization", b"").partition(b" ")
    # every key is compared, and none faster than another
    same = [hmac.compare_digest(_digest(given), _digest(key.encode())) for key in keys if key]
    return scheme.lower() == b"bearer" and any(same)


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


class RequireKey:
    """The middleware. Without a key in the environment there is no server."""

    def __init__(self, app: t.Callable[..., t.Awaitable[None]]) -> None:
        self.app = app
        self.keys = (os.environ["VLLM_API_KEY"],)

    async def __call__(self, scope: Scope, receive: t.Any, send: Send) -> None:
        if permits(scope, self.keys):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: HTTP 403
        else:
            body = b'{"error":"Unauthorized"}'
            headers = {b"content-type": b"application/json", b"www-authenticate": b"Bearer"}
            headers[b"content-length"] = str(len(body)).encode()
            await send({"type": "http.response.start", "status": 401, "headers": list(headers.items())})
            await send({"type": "http.response.body", "body": body})
