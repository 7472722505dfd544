# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that lists its services, where other variables name it."""

from __future__ import annotations

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.hf_cache import unknown_source
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._validate.services import services

GROUPS = {"all": ["a-vllm", "a-vllm-b", "c"], "a": ["a-vllm", "a-vllm-b"]}


def test_a_source_that_lists_its_services_is_named_by_one_of_them() -> None:
    assert list(unknown_source("a", {"inventory_hostname": "c", "groups": GROUPS})) == [
        "hf_cache_source: a is not a host of the inventory; use one of a-vllm, a-vllm-b, or an absolute path such as"
        " /mnt/models"
    ]


def test_a_name_that_is_taken() -> None:
    listed = {"vllm_services": [{"name": "vllm"}]}
    assert list(services("a", listed, "vllm", GROUPS["all"])) == [
        "vllm_services: vllm would be a-vllm in the inventory, which has that name already"
    ]


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    assert list(services("c", {}, "vllm", GROUPS["all"])) == []
    assert list(services("a-vllm-b", {"dgxspark_host": "a"}, "vllm-b", GROUPS["all"])) == []
