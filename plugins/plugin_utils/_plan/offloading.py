# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory that vLLM takes beside its share for what it offloads. On a Spark it is the same memory. Pure.

S: vLLM 0.32's _post_init_kv_transfer_config, kv_offload/cpu/spec.py and simple_cpu_offload_connector.py; LMCache's
configuration, whose size is a process' own.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.dgxspark.vllm.plugins.module_utils._outside.values import real

from .._catalog.vllm_options import mapping_of, tokens_of
from .._common.text import show
from .words import GIB

# GiB: weights of each host, and a KV cache of all hosts together.
CPU_OFFLOAD, KV_OFFLOADING = ("cpu_offload_gb", "kv_offloading_size")
KV_TRANSFER = "kv_transfer_config"
OPTIONS = (CPU_OFFLOAD, KV_OFFLOADING, KV_TRANSFER)
# Connectors that keep a part of the cache in memory, with the bytes that they take if nobody says how many.
_SIMPLE = "SimpleCPUOffloadConnector"
_CONNECTORS = {"OffloadingConnector": 0, _SIMPLE: 8 * GIB}
_SIZES = ("cpu_bytes_to_use", "cpu_bytes_to_use_per_rank")
_OTHERS = ("FlexKVConnectorV1", "HiSparseConnector", "MooncakeStoreConnector")  # whose sizes are elsewhere
_LMCACHE = ("LMCacheConnector", "LMCacheConnectorV1", "LMCacheConnectorV1Dynamic")
_LMCACHE_GIB = 5.0
CPU_POOL = "VLLM_CPU_KVCACHE_SPACE"  # GiB: the one way to size the pool of vLLM's CPU build
POOL, POOL_BLOCKS = ("kv_cache_memory_bytes", "num_gpu_blocks_override")
_LMCACHE_SIZE = "LMCACHE_MAX_LOCAL_CPU_SIZE"
_LMCACHE_FILE = "LMCACHE_CONFIG_FILE"

Mapping = t.Mapping[str, t.Any]


def weights(args: Mapping) -> int:
    return _gib(args.get(CPU_OFFLOAD))


def cache(args: Mapping, environment: Mapping, parallel: int) -> int:
    """Bytes of the KV cache that PARALLEL processes keep beside the share, all of them together."""
    kept = [_kept(connector, args, environment, parallel) for connector in _connectors(args)]
    return _gib(args.get(KV_OFFLOADING)) + sum(kept)


def pool_option(args: Mapping, environment: Mapping) -> str | None:
    """What gives the size of the KV cache, if anything does: the first one counts, and 0 is none to vLLM, too."""
    given = {POOL_BLOCKS: tokens_of(args.get(POOL_BLOCKS)), CPU_POOL: environment.get(CPU_POOL)}
    return next((name for name, size in {**given, POOL: tokens_of(args.get(POOL))}.items() if size), None)


def wrong_size(name: str, value: t.Any) -> str | None:
    """What is wrong with a size in this option or variable of the environment, if vLLM or LMCache could not read it."""
    if value is None:
        return None
    if name in (_LMCACHE_SIZE, CPU_POOL) and real(value) is None:
        return f"{show(value)} is not allowed; use a number of GiB such as 5"
    for connector in _connectors({KV_TRANSFER: value}) if name == KV_TRANSFER else ():
        more = _more(connector)
        for key in _SIZES:
            size = more.get(key)
            if size is not None and (real(size) is None or (isinstance(size, str) and not size.strip().isdigit())):
                return f"{key} {show(size)} is not allowed; use a whole number of bytes such as {8 * GIB}"
    return None


def unknown(args: Mapping, environment: Mapping) -> str | None:
    """What may take memory of which nothing is known here."""
    names = [connector.get("kv_connector") for connector in _connectors(args)]
    if environment.get(_LMCACHE_FILE) and any(name in _LMCACHE for name in names):
        return f"what the file of {_LMCACHE_FILE} gives to LMCache"
    return next((f"what {name} keeps in memory" for name in _OTHERS if name in names), None)


def named(args: Mapping, environment: Mapping) -> list[str]:
    """The options that take such memory."""
    kept = cache({**args, KV_OFFLOADING: None}, environment, 1)
    return [name for name in OPTIONS if (kept if name == KV_TRANSFER else args.get(name))]


def _connectors(args: Mapping) -> list[Mapping]:
    """The one that is set, or those that it joins."""
    found = mapping_of(args.get(KV_TRANSFER))
    joined = _more(found).get("connectors")
    return [item for item in joined if isinstance(item, dict)] if isinstance(joined, list) else [found]


def _kept(connector: Mapping, args: Mapping, environment: Mapping, parallel: int) -> int:
    name, more = connector.get("kv_connector"), _more(connector)
    if name in _LMCACHE:
        return parallel * _lmcache(more, environment)
    if not isinstance(name, str) or name not in _CONNECTORS:
        return 0
    if name == _SIMPLE and (more.get("kv_offload_backend") == "disk" or args.get("enable_prefix_caching") is False):
        return 0  # on the disk, or nothing
    if "cpu_bytes_to_use_per_rank" in more:
        return parallel * _bytes(more["cpu_bytes_to_use_per_rank"])
    return _bytes(more.get("cpu_bytes_to_use", _CONNECTORS[name]))


def _lmcache(more: Mapping, environment: Mapping) -> int:
    """What the options say counts more than the environment; of a file nobody knows here."""

    def said(name: str) -> t.Any:
        return more.get(f"lmcache.{name}", environment.get(f"LMCACHE_{name.upper()}"))

    if environment.get(_LMCACHE_FILE) and said("max_local_cpu_size") is None:
        return 0
    if not boolean(said("local_cpu"), strict=False) and said("local_cpu") is not None:
        return 0
    size = said("max_local_cpu_size")
    return _gib(_LMCACHE_GIB if size is None else size)


def _more(connector: Mapping) -> Mapping:
    return mapping_of(connector.get("kv_connector_extra_config"))


def _bytes(value: t.Any) -> int:
    try:
        return max(0, int(float(value)))
    except (OverflowError, TypeError, ValueError):
        return 0


def _gib(value: t.Any) -> int:
    try:
        return max(0, int(float(value) * GIB))
    except (OverflowError, TypeError, ValueError):
        return 0
