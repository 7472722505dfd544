# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small files of a model, from the Hugging Face hub or from a cache."""

from __future__ import annotations

import os
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from .._hf_cache import beneath
from .._hf_cache.layout import tree_roots
from .._outside.text import plain
from .._outside.values import parse_json
from .model_files import is_commit, read_ref, repository

HUB = "https://huggingface.co"
MAX_BODY = beneath.JSON_MAX  # the index of a mixture of experts has some hundred thousand lines
HOPS = 3
REDIRECTS = (301, 302, 307, 308)

Json = dict[str, t.Any]


class HubError(Exception):
    """One line that says why a file cannot be had."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: t.Any, **kwargs: t.Any) -> None:
        return None


class Hub:
    """A hub, asked for one model."""

    def __init__(self, endpoint: str, model: str, revision: str, token: str, timeout: float) -> None:
        self.base = (endpoint or HUB).rstrip("/")
        self.model, self.revision, self.token, self.timeout = model, revision, token, timeout

    def read_json(self, name: str) -> Json | None:
        """The content of a file; None if the model has none of that name."""
        answer = self._ask("GET", name)
        if answer is None:
            return None
        found = parse_json(answer[1].decode("utf-8", "replace"))
        if not isinstance(found, dict):
            raise HubError(f"{self.base} answers with something else than JSON for {name}")
        return found

    def size(self, name: str) -> int | None:
        """Length of a file, without reading it; None if the model has none of that name."""
        answer = self._ask("HEAD", name)
        if answer is None:
            return None
        length = answer[0].get("X-Linked-Size") or answer[0].get("Content-Length") or ""
        return int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None

    def _ask(self, method: str, name: str) -> tuple[t.Any, bytes] | None:
        revision = urllib.parse.quote(self.revision, safe="")
        url = f"{self.base}/{self.model}/resolve/{revision}/{urllib.parse.quote(name)}"
        home = urllib.parse.urlsplit(url)
        for _hop in range(HOPS):
            # a repository that was renamed, or a large file, which lies elsewhere; but the token goes to no other host
            token = self.token if urllib.parse.urlsplit(url).netloc == home.netloc else ""
            headers, body, status = self._request(method, url, token)
            if status not in REDIRECTS:
                break
            if method == "HEAD" and headers.get("X-Linked-Size"):
                return headers, body
            try:
                url = urllib.parse.urljoin(url, headers.get("Location") or "")
            except ValueError as error:
                raise HubError(f"{self.base} sends on to what is no address") from error
            if urllib.parse.urlsplit(url).scheme not in ("https", home.scheme):
                raise HubError(f"{self.base} sends on to {_origin(url)}, which is not encrypted")
        if status == 200:
            return headers, body
        if status == 404 and headers.get("X-Error-Code", "EntryNotFound") == "EntryNotFound":
            return None
        raise HubError(self._reason(status, headers))

    def _request(self, method: str, url: str, token: str) -> tuple[t.Any, bytes, int]:
        headers = {"User-Agent": "dgxspark.vllm", "Accept-Encoding": "identity"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(url, headers=headers, method=method)
        try:
            with urllib.request.build_opener(_NoRedirect()).open(request, timeout=self.timeout) as answer:
                return answer.headers, answer.read(MAX_BODY), int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.headers, b"", int(error.code)
        except Exception as error:
            inner = getattr(error, "reason", None)
            where = self.base if url.startswith(f"{self.base}/") else _origin(url)
            raise HubError(
                f"{where} cannot be reached ({plain(str(inner or error or type(error).__name__))})"
            ) from error

    def _reason(self, status: int, headers: t.Any) -> str:
        code = headers.get("X-Error-Code") or ""
        if code == "RevisionNotFound":
            return f"the hub has no revision {self.revision} of it"
        if status in (401, 403) or code == "GatedRepo":
            if code == "GatedRepo" or self.token:
                return (
                    f"the hub wants a token that has access to it ({status}); accept its terms on the hub, and set"
                    " vllm_hf_token"
                )
            return f"the hub does not show it to strangers ({status}); check its spelling, or set vllm_hf_token"
        if status == 404:
            return f"the hub has no such model (404 from {self.base}); check its spelling"
        return f"{self.base} answers with HTTP {status}"


def _origin(url: str) -> str:
    """Scheme and host alone: the rest of a large file's address is as good as a password."""
    scheme, host, *_rest = urllib.parse.urlsplit(url)
    return plain(f"{scheme}://{host}")


class Cache:
    """The same of a model that was downloaded, at least in part."""

    def __init__(self, path: str, model: str, revision: str) -> None:
        self.root = path
        self.folder: str | None = None
        for tree in tree_roots(path):
            self.folder = self.folder or _snapshot(path, repository(tree, model), revision)

    def read_json(self, name: str) -> Json | None:
        if self.folder is None:
            return None
        found = beneath.read_json(self.root, os.path.join(self.folder, name))
        return found if isinstance(found, dict) else None

    def size(self, name: str) -> int | None:
        found = beneath.regular(self.root, os.path.join(self.folder, name)) if self.folder else None
        return found[0].st_size if found else None


def _snapshot(root: str, repository: str, revision: str) -> str | None:
    commit = revision if is_commit(revision) else read_ref(root, repository, revision)
    folder = os.path.join(repository, "snapshots", commit)
    return folder if is_commit(commit) and beneath.is_folder(root, folder) else None
