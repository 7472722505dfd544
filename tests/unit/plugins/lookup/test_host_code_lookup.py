# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup names the very files that the module puts on a host, where it puts them."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleLookupError
from ansible_collections.dgxspark.vllm.plugins.lookup import host_code
from ansible_collections.dgxspark.vllm.plugins.module_utils._deploy.host_code import Store
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.configuration import read_file
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.host_code import collect
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._common.host_state import differences

PATHS = ["plugins/module_utils/_vllm/api.py", "roles/vllm/files/guard.py"]


def files(*paths: str, folder: str) -> dict[str, t.Any]:
    plugin = host_code.LookupModule()
    plugin._load_name = "host_code"  # as the plugin loader does
    options = yaml.safe_load(host_code.DOCUMENTATION)["options"]
    constants.config.initialize_plugin_configuration_definitions("lookup", "host_code", options)
    (found,) = plugin.run(list(paths), folder=folder)
    return found


def test_what_is_installed_is_no_difference(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.install("one", collect(PATHS))
    wanted = {"files": files(*PATHS, folder=f"{tmp_path}/one")}
    assert differences({"files": {path: read_file(path) for path in wanted["files"]}}, wanted) == []
    changed = next(path for path in wanted["files"] if path.endswith("/guard.py"))
    Path(changed).write_text("")
    read = {"files": {path: read_file(path) for path in wanted["files"]}}
    assert differences(read, wanted) == [f"{changed}: content differs"]


def test_all_of_it_counts() -> None:
    """Also what makes programs of the files."""
    found = files(*PATHS, folder="/x")
    assert {"/x/__main__.py", "/x/ansible_collections/dgxspark/vllm/roles/vllm/files/guard.py"} < set(found)


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(AnsibleLookupError, match=r"host_code: paths: nowhere\.py is not a file or a folder"):
        files("nowhere.py", folder="/x")
