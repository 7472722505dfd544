# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._hf_cache import beneath, verify
from hypothesis import given
from hypothesis import strategies as st


def sha1_of_git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def flaw(data: bytes, name: str = "model.safetensors") -> verify.Flaw | None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return verify.header_flaw(os.path.dirname(file.name), file.name, name, len(data))


def whole(sizes: list[int], metadata: bool = False) -> bytes:
    header: dict[str, t.Any] = {"__metadata__": {"format": "pt"}} if metadata else {}
    end = 0
    for number, size in enumerate(sizes):
        header[f"t{number}"] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"w" * end


@given(sizes=st.lists(st.integers(0, 50), max_size=4), metadata=st.booleans(), data=st.data())
def test_a_header_tells_the_size(sizes: list[int], metadata: bool, data: st.DataObject) -> None:
    content = whole(sizes, metadata)
    assert flaw(content) is None
    assert flaw(content + b"x") is not None
    at = data.draw(st.integers(0, len(content) - 1))
    found = flaw(content[:at])
    assert found is not None and found.state == "truncated"


@given(st.binary(max_size=200))
def test_no_header_is_a_crash(data: bytes) -> None:
    found = flaw(data)
    assert found is None or found.state in ("truncated", "lfs_pointers")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"[]", "its header is not valid"),
        (b'{"a": 1}', "its header is not valid"),
        (b'{"a": {"data_offsets": []}}', "its header is not valid"),
        (b'{"a": {"data_offsets": [0, "x"]}}', "its header is not valid"),
        (b"[" * 50_000, "its header is not valid"),
        (b'{"a": {"data_offsets": [0, 9]}}', "39 bytes instead of 48"),
    ],
)
def test_headers_that_are_wrong(header: bytes, reason: str) -> None:
    assert flaw(struct.pack("<Q", len(header)) + header) == ("truncated", reason)


def test_a_pointer_of_git_lfs() -> None:
    text = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 4900000000\n"
    for name in ("model.safetensors", "pytorch_model.bin", "model.gguf"):
        found = flaw(text, name)
        assert found is not None and found.state == "lfs_pointers"
    assert flaw(text, "notes.txt") is None


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", b"{}", None),
        ("config.json", b"", "not valid JSON"),
        ("config.json", b"[]", "not a JSON object"),
        ("config.json", b"[" * 100_000, "not valid JSON"),
        ("config.json", b"\xff", "not valid JSON"),
        ("model.safetensors.index.json", b"{", "not valid JSON"),
        ("sub/model.safetensors.index.json", b"{", None),
        ("tokenizer.json", b"{", None),
    ],
)
def test_json_that_a_model_needs(name: str, content: bytes, reason: str | None) -> None:
    found = flaw(content, name)
    assert (found and found.reason) == reason


@pytest.mark.parametrize("size", [0, 1, verify.BUFFER - 1, verify.BUFFER, 3 * verify.BUFFER + 7])
def test_both_hashes(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    buffer = bytearray(verify.BUFFER)
    for etag in (hashlib.sha256(data).hexdigest(), sha1_of_git(data)):
        with beneath.open_file(str(tmp_path), str(tmp_path / "file")) as file:
            assert verify.digest(file, etag, buffer) == (etag, size)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_every_job_gets_its_own_answer(tmp_path: Path, threads: int) -> None:
    jobs = []
    for number in range(100):
        path = tmp_path / str(number)
        path.write_text(f"{number}")
        name = hashlib.sha256(path.read_bytes()).hexdigest() if number % 3 else "0" * 64
        jobs.append(verify.Job(str(tmp_path), str(path), name, number))
    jobs.append(verify.Job(str(tmp_path), str(tmp_path / "absent"), "0" * 64, 100))
    results = {result.job.owner: result.matches for result in verify.hash_all(jobs, threads)}
    assert results == {**{number: bool(number % 3) for number in range(100)}, 100: None}


@pytest.mark.parametrize(("written", "is_read"), [(0, False), (1 << 20, False), (65 << 20, True)])
def test_a_file_that_was_hardly_written_is_damaged_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int, is_read: bool
) -> None:
    """As large as a disk, it would be hashed for a day."""
    read: list[int] = []

    def readv(_descriptor: int, _views: t.Any) -> int:
        read.append(1)
        return 0

    monkeypatch.setattr(verify.os, "readv", readv)
    path = tmp_path / ("a" * 64)
    with path.open("wb") as file:
        file.write(b"x" * written)
        file.truncate(1 << 30)
    (result,) = verify.hash_all([verify.Job(str(tmp_path), str(path), path.name, None)])
    assert (result.matches, bool(read)) == (False, is_read)


def test_where_the_file_system_knows_no_holes_the_content_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 1 << 30)
    monkeypatch.setattr(verify.os, "lseek", lambda _descriptor, _at, whence: 1 << 30 if whence == os.SEEK_HOLE else 0)
    with path.open("rb") as file:
        assert not verify.is_mostly_holes(file.fileno())


def test_a_crash_among_the_jobs_is_not_lost() -> None:
    before = threading.active_count()

    def jobs() -> t.Iterator[verify.Job]:
        yield verify.Job("/dev", "/dev/null", "0" * 64, None)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        list(verify.hash_all(jobs(), 2))
    assert threading.active_count() == before


def test_who_stops_reading_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    (tmp_path / "file").write_bytes(b"x")
    jobs = (verify.Job(str(tmp_path), str(tmp_path / "file"), "0" * 64, None) for _number in range(5000))
    results = verify.hash_all(jobs, 2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
