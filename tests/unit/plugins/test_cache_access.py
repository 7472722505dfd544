# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a model cache are opened and changed in two files: _hf_cache/beneath.py and _hf_cache/files.py."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
ALLOWED = ("module_utils/_hf_cache/beneath.py", "module_utils/_hf_cache/files.py")
FILES = sorted(
    path
    for pattern in ("module_utils/_hf_cache/*.py", "module_utils/_hf_transfer/*.py", "modules/hf_*.py")
    for path in PLUGINS.glob(pattern)
)
FILES += [PLUGINS / "modules/model_info.py", PLUGINS / "modules/vllm_sources_info.py"]
FILES += [PLUGINS / "module_utils/_vllm/model_config.py"]
# Those that take a path, and follow links on the way; with dir_fd they do not.
BY_PATH = {
    *("open", "os.open", "io.open", "os.makedirs", "os.mkdir", "os.mknod", "os.mkfifo", "os.link", "os.symlink"),
    *("os.unlink", "os.remove", "os.rmdir", "os.removedirs", "os.rename", "os.renames", "os.replace", "os.truncate"),
    *("os.chmod", "os.chown", "os.utime", "os.setxattr", "tempfile.mkdtemp", "tempfile.mkstemp"),
}
OF_PATHS = ("read_text", "read_bytes", "write_text", "write_bytes", "touch")
# What does not touch a cache: file, call, argument.
ELSEWHERE = {
    ("memory.py", "open", "'/proc/self/statm'"),
    ("locks.py", "open", "'/proc/self/mountinfo'"),
    ("locks.py", "open", "f'/proc/{pid}/cmdline'"),
    ("locks.py", "open", "f'/proc/{pid}/maps'"),
    ("export.py", "open", "'/proc/sys/kernel/random/boot_id'"),
    ("export.py", "os.makedirs", "run"),  # /run/dgxspark-export
    ("copy.py", "shutil.rmtree", "folder"),  # of a key, in /run
    ("hf_cache_copy_key.py", "os.makedirs", "copy.KEYS"),
    ("hf_cache_copy_key.py", "tempfile.mkdtemp", "dir"),
    ("hf_cache_copy_key.py", "open", "f'{folder}/key.pub'"),
    ("download_task.py", "open", "path"),  # the file with the token, of the service
    ("download_container.py", "os.makedirs", "RUN"),  # /run/dgxspark-download, as are the next ones
    ("download_container.py", "tempfile.mkdtemp", "prefix"),
    ("download_container.py", "os.open", "os.path.join(folder, name)"),
    # the cache itself, whose parents are not others' to change
    ("download_container.py", "os.makedirs", "task.cache"),
    ("hf_cache_copy.py", "os.makedirs", "self.path"),
    # runs in the container of the download, not on the host
    ("download_client.py", "open", "argv[1]"),
    ("download_client.py", "os.unlink", "argv[1]"),
    ("download_client.py", "os.chmod", "manifest"),
}


def calls(path: Path) -> t.Iterator[tuple[str, str, str]]:
    """Accesses by path: file, call, and what the first argument, or the first keyword, is."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        module, _dot, method = name.rpartition(".")
        by_path = name in BY_PATH or module == "shutil"
        by_path |= method in OF_PATHS and module not in ("", "beneath", "hf_files")
        by_path |= method == "open" and isinstance(node.func, ast.Attribute) and module not in ("os", "io")
        by_path &= not any((keyword.arg or "").endswith("dir_fd") for keyword in node.keywords)
        by_path &= "build_opener" not in name  # of a URL
        if by_path:
            first = ast.unparse(node.args[0]) if node.args else str(node.keywords[0].arg if node.keywords else "")
            yield path.name, name, first


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_else_opens_or_changes_files_of_a_cache(path: Path) -> None:
    if path.relative_to(PLUGINS).as_posix() in ALLOWED:
        return
    found = set(calls(path)) - ELSEWHERE
    assert not found, f"{found}: use _hf_cache/beneath.py or _hf_cache/files.py; they follow no link out of the cache"


def test_what_is_allowed_is_there() -> None:
    assert {call for path in FILES for call in calls(path)} >= ELSEWHERE
