# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models and hosts whose memory is planned."""

from __future__ import annotations

import typing as t

from ansible_collections.dgxspark.vllm.plugins.plugin_utils._catalog.catalog import Catalog
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.memory import Host
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.remedies import plan_with_remedies
from ansible_collections.dgxspark.vllm.plugins.plugin_utils._plan.words import GIB

Values = dict[str, t.Any]

SPARK = Host(int(121.7 * GIB), highest=0.91)  # S: MemTotal of current DGX OS
GUIDE = {
    "max_model_len": 32768,
    "gpu_memory_utilization": 0.9,
    "max_num_batched_tokens": 16384,
    "max_num_seqs": 64,
}
ANY = {"id": "a/b", "weights_bytes": 10 * GIB, "layers": 32, "kv_heads": 8, "head_dim": 128, "native_context": 65536}
# of DeepSeek V2 Lite, and of Qwen3-Next
LATENT = {**ANY, "layers": 27, "kv_heads": 16, "latent_dim": 576}
STATEFUL = {**ANY, "layers": 12, "kv_heads": 2, "head_dim": 256, "state_layers": 36, "state_bytes": 2146304}


def plan(entry: str | Values, host: Host = SPARK, environment: Values | None = None, **args: t.Any) -> Values:
    model = Catalog().model(entry) if isinstance(entry, str) else entry
    return plan_with_remedies(model, host, {**GUIDE, **args}, environment or {}, Catalog().models(), "0.32.0")
