# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cause of a failed download, by the errors of the client."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_transfer import download_causes

ROOT = Path(__file__).resolve().parents[4]
OUTER = "huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to locate the file on the Hub"


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        (["requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://x", OUTER],)
        + ("hf_rate_limit",),
        (["httpx.HTTPStatusError: Client error '429 Too Many Requests' for url 'https://x'", OUTER], "hf_rate_limit"),
        (
            [
                "httpx.HTTPStatusError: Client error '401 Unauthorized' for url 'https://x'",
                "x.GatedRepoError: 401 Client Error.\n\nCannot access gated repo for url x\n"
                "Access to model a/b is restricted. You must have access to it and be authenticated to access it.",
            ],
            "hf_gated_noauth",
        ),
        (
            [
                "x.RepositoryNotFoundError: 401 Client Error.\n\nRepository Not Found for url: x\n"
                "Invalid username or password."
            ],
            "hf_repo_not_found",
        ),
        (["x.RevisionNotFoundError: 404 Client Error.\n\nRevision Not Found for url: x"], "hf_revision"),
        (["OSError: [Errno 28] No space left on device"], "disk_full"),
        (["socket.gaierror: [Errno -2] Name or service not known", "httpx.ConnectError: [Errno -2]"], "hf_network"),
        (["httpx.ReadTimeout: The read operation timed out"], "hub_silent"),
        (["TimeoutError: no answer of the hub within 120 s"], "hub_silent"),
        (["httpx.HTTPStatusError: Server error '503 Service Unavailable' for url"], "hub_error"),
        (["requests.exceptions.HTTPError: 502 Server Error: Bad Gateway for url"], "hub_error"),
        (["httpx.HTTPStatusError: Client error '403 Forbidden' for url 'x'", OUTER], "hub_refused"),
        (["ConnectionResetError: [Errno 104] Connection reset by peer"], "hub_connection"),
        (["httpx.RemoteProtocolError: peer closed connection without sending complete message body"], "hub_connection"),
        (["ModuleNotFoundError: No module named 'huggingface_hub'"], "no_client"),
        (["ValueError: something", "RuntimeError: else"], "client_failed"),
        ([], "client_failed"),
    ],
)
def test_explain(errors: list[str], expected: str) -> None:
    cause = download_causes.explain(errors)
    assert cause["id"] == expected
    assert cause["meaning"]
    assert cause["remedy"]
    assert "\n" not in cause["evidence"]
    assert len(cause["evidence"]) <= 300


def test_an_unknown_error_is_shown() -> None:
    assert download_causes.explain(["ValueError: inner", "RuntimeError: outer"])["evidence"] == "ValueError: inner"


def test_tokens_are_masked() -> None:
    assert "hf_abcdefghij" not in str(download_causes.explain(["ValueError: hf_abcdefghijklmn"]))


def test_no_space_in_figures() -> None:
    cause = download_causes.no_space_cause("/opt/hf", 9_400_000_000, 5_000_000_000, 2_147_483_648)
    assert cause["evidence"] == "9.4 GB are needed in /opt/hf and 2.1 GB have to stay free there, 5.0 GB are free"
    assert "make room for 6.5 GB there" in cause["remedy"]


def test_offline() -> None:
    cause = download_causes.offline_cause("missing: config.json")
    assert (cause["id"], cause["evidence"]) == ("hf_offline_missing", "missing: config.json")


@pytest.mark.parametrize("name", sorted(download_causes._OWN))
def test_every_cause_is_in_the_documentation(name: str) -> None:
    anchors = re.findall(r"^### `(\w+)`$", (ROOT / "docs" / "reference" / "download.md").read_text(), re.MULTILINE)
    assert name in anchors
    assert download_causes.own_cause(name)["link"] == f"docs/reference/download.md#{name}"
