# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In a container of the image, offline: vLLM's own loader reads the weights of each model in argv from the cache.

The last line says for each how many parameters were loaded and a digest of them, or why it failed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

os.environ.update(HF_HUB_OFFLINE="1", VLLM_LOGGING_LEVEL="ERROR")

import torch
from vllm.config import set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.model_loader import get_model

torch.accelerator.empty_cache = lambda: None  # the loader calls it, and this build has no accelerator
loaded = {}
for number, name in enumerate(sys.argv[1:]):
    try:
        config = EngineArgs(model=name, enforce_eager=True, max_model_len=512).create_engine_config()
        with set_current_vllm_config(config):
            if not number:
                init_distributed_environment(1, 0, "tcp://127.0.0.1:29555", 0, "gloo")
                initialize_model_parallel(1)
            model = get_model(vllm_config=config)
        state = hashlib.sha256()
        parameters = sorted(model.named_parameters())
        for _name, tensor in parameters:
            state.update(tensor.detach().float().cpu().numpy().tobytes())
        loaded[name] = [len(parameters), state.hexdigest()]
    except Exception as error:
        loaded[name] = [0, f"{type(error).__name__}: {error}"]
sys.stdout.write("\n" + json.dumps(loaded) + "\n")
