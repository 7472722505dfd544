# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of the GPU and of the host, which are one on the GB10."""

from __future__ import annotations

from ..entries import MEMORY, Signature

MEMORY_SIGNATURES: tuple[Signature, ...] = (
    Signature(
        "sleep_mode",
        "exit",
        "memory",
        ("cumem_allocator.cpp",),
        # a fault of a kernel stays with the GPU, and every later call meets it
        r"CUDA Error: (?P<detail>(?!out of memory|an illegal |device-side assert|unspecified launch|misaligned address)"
        r"[^\n]{1,80}?) at \S{0,120}cumem_allocator\.cpp:\d+",
        "the allocator that enable_sleep_mode switches on failed ({detail}); there may be memory enough",
        "remove enable_sleep_mode from vllm_extra_args: the server needs it only to give its memory back while it"
        " runs; or use a newer vllm_image",
        versions="vLLM 0.8 to 0.17",
        known="report",
        source="vllm-project/vllm#35612, modelscope/ms-swift#9613",
        refines=("memory", "weights_oom", "cuda_oom", "memory_taken"),
    ),
    Signature(
        "shm_too_small",
        "fatal",
        "memory",
        ("/dev/shm", "shared memory", "are out of shared", "to file </torch_"),
        r"Insufficient space in /dev/shm|No space left on device: '/dev/shm|Error while creating shared memory segment"
        r"|unable to (?:allocate|open|write to) shared memory|unable to write to file </torch_\d"
        r"|It is possible that dataloader's workers are out of shared",
        "the shared memory (/dev/shm) of the container is too small",
        "keep vllm_ipc: host, and give the host's /dev/shm at least 1 GiB",
        versions="PyTorch, NCCL, Python",
        known="seen",
        source="sandbox, journey faults",
        refines=("network", "nccl"),
    ),
    Signature(
        "bus_error",
        "fatal",
        "memory",
        ("bus error", "sigbus"),
        r"Fatal Python error: Bus error|\bSIGBUS received\b|\(core dumped\)[^\n]{0,40}Bus error|signal 7: Bus error",
        "a process touched memory that has nothing behind it: the shared memory (/dev/shm) is full, or a weight file"
        " that is mapped cannot be read",
        "keep vllm_ipc: host, give the host's /dev/shm at least 1 GiB, and check `dmesg` for errors of the disk with"
        " hf_cache_path",
        versions="Python, PyTorch, Ray, NCCL",
        known="report",
        source="vllm-project/vllm#1091, #1771",
        guide=MEMORY,
        refines=("network", "unknown"),
    ),
    Signature(
        "ray_memory",
        "fatal",
        "memory",
        ("ray.exceptions.outofmemoryerror", "node running low on memory", "memory monitor"),
        r"(?:ray\.exceptions\.OutOfMemoryError: )?\d{0,6} ?worker\(s\) were killed due to the node running low on"
        r" memory(?:.{0,200}?was (?P<used>[\d.]+ ?GB)"
        r" / (?P<total>[\d.]+ ?GB))?|ray\.exceptions\.OutOfMemoryError",
        "Ray's memory monitor killed a worker: it counts the unified memory of the GPU as used memory of the host"
        " ({used} of {total})",
        "set RAY_memory_monitor_refresh_ms: 0 in vllm_extra_env, which turns that monitor off, or lower"
        " vllm_gpu_memory_utilization",
        versions="Ray 2, vLLM with distributed_executor_backend: ray",
        known="report",
        source="public log; Ray documentation, out-of-memory prevention",
        guide=MEMORY,
        sets=(("vllm_extra_env", "RAY_memory_monitor_refresh_ms", "0"),),
    ),
    Signature(
        "mem_free_below_util",
        "fatal",
        "memory",
        ("is less than desired gpu memory utilization",),
        r"Free memory on device(?: \S+)? \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than desired"
        r" GPU memory utilization \((?P<util>[\d.]+), (?P<wanted>[\d.]+) GiB\)",
        "{free} of {total} GiB were free at the start, vllm_gpu_memory_utilization {util} asks for {wanted} GiB",
        "set vllm_gpu_memory_utilization to {suggested}: {free} of {total} GiB were free; or stop what else uses the"
        " memory, and leave vllm_drop_page_cache on: on unified memory vLLM counts the page cache as used. If `free -g`"
        " and `nvidia-smi` show no one who holds it, reboot the host: servers that were killed can leave it taken",
        versions="vLLM 0.10.1.1 to 0.32",
        known="seen",
        source="H200 run of vLLM 0.24",
        guide=MEMORY,
    ),
    Signature(
        "mem_profiling_assert",
        "fatal",
        "memory",
        ("error in memory profiling",),
        r"Error in memory profiling\. Initial free memory (?P<before>[\d.]+) GiB,"
        r" current free memory (?P<after>[\d.]+) GiB",
        "something else released memory while vLLM measured it ({before} GiB free before, {after} GiB after)",
        "deploy again while nothing else starts or stops; leave vllm_drop_page_cache on",
        versions="vLLM 0.10.1.1 to 0.32",
        known="source",
        source="vllm/v1/worker/gpu_worker.py",
        guide=MEMORY,
    ),
    Signature(
        "kv_none",
        "fatal",
        "memory",
        ("no available memory for the cache blocks",),
        r"No available memory for the cache blocks",
        "weights and activations already fill the share of the memory, so nothing is left for the KV cache",
        "raise vllm_gpu_memory_utilization if memory is free, lower max_num_batched_tokens in vllm_extra_args, or"
        " select a smaller vllm_model",
        versions="vLLM 0.10.1.1 to 0.32",
        known="report",
        source="eugr/spark-vllm-docker#256",
        guide=MEMORY,
    ),
    Signature(
        "kv_too_small",
        "fatal",
        "memory",
        ("to serve at least one request",),
        r"To serve at least one request with the models?(?:'s)? max(?:imum)? seq len \((?P<length>\d+)\),"
        r" \(?(?P<need>[\d.]+) GiB (?:of )?KV cache is needed, which is larger than the available KV cache memory"
        r" \((?P<have>[\d.]+) GiB\)"
        r"(?:.{0,80}?estimated maximum model length is (?P<estimate>\d+))?",
        "one request of {length} tokens needs {need} GiB of KV cache, {have} GiB are there",
        "set vllm_max_model_len to {suggested}: {have} of {need} GiB were there, and that differs a little between"
        " starts; or set kv_cache_dtype: fp8 in vllm_extra_args, or raise vllm_gpu_memory_utilization",
        versions="vLLM 0.10.1.1 to 0.32",
        known="seen",
        source="sandbox, journey faults; H200 run of vLLM 0.24; eugr/spark-vllm-docker#396",
        guide=MEMORY,
    ),
    Signature(
        "kv_length",
        "fatal",
        "memory",
        ("is larger than the maximum number of tokens that can be stored in kv cache",),
        r"max(?:imum)? seq len \((?P<length>\d+)\) is larger than the maximum number of tokens that can be stored in KV"
        r" cache \((?P<have>\d+)\)",
        "the KV cache holds {have} tokens, vllm_max_model_len asks for {length}",
        "set vllm_max_model_len below {have}, set kv_cache_dtype: fp8 in vllm_extra_args, or raise"
        " vllm_gpu_memory_utilization",
        versions="vLLM 0.6 to 0.10",
        known="source",
        source="vllm/v1/core/kv_cache_utils.py and its predecessors",
        guide=MEMORY,
    ),
    Signature(
        "mamba_blocks",
        "fatal",
        "memory",
        ("mamba cache blocks",),
        r"max_num_seqs \((?P<asked>\d+)\) exceeds available Mamba cache blocks \((?P<have>\d+)\)",
        "each request of a hybrid model needs a block of state, {have} fit, and max_num_seqs allows {asked} requests",
        "set max_num_seqs in vllm_extra_args well below {have}, which differs a little between starts; or raise"
        " vllm_gpu_memory_utilization",
        versions="vLLM 0.23 to 0.33, hybrid models (Mamba, gated delta net)",
        known="report",
        source="vllm-project/vllm#49064",
        guide=MEMORY,
    ),
    Signature(
        "sampler_oom",
        "fatal",
        "memory",
        ("warming up sampler",),
        r"CUDA out of memory occurred when warming up sampler with (?P<requests>\d+) dummy requests",
        "the sampler's buffers for {requests} requests do not fit",
        "lower max_num_seqs in vllm_extra_args, or vllm_gpu_memory_utilization",
        versions="vLLM 0.10.1.1 to 0.32",
        known="source",
        source="vllm/v1/worker/gpu_model_runner.py",
        guide=MEMORY,
    ),
    Signature(
        "offload_oom",
        "fatal",
        "memory",
        ("out of memory", "cudaerrormemoryallocation"),
        r"CUDA (?:driver )?error: out of memory|cudaErrorMemoryAllocation|CUDA out of memory",
        "no memory was left for what is offloaded to the host: on unified memory that is the memory of the GPU",
        "remove cpu_offload_gb and kv_offloading_size from vllm_extra_args: they give no room on unified memory; if the"
        " model does not fit without them, select a smaller vllm_model or one with a stronger quantization",
        versions="vLLM 0.10 to 0.32 on the GB10",
        known="source",
        source="vllm/model_executor/offloader, vllm/v1/kv_offload",
        guide=MEMORY,
        frames=r"offload_to_cpu|_offload_param|/kv_offload/",
    ),
    Signature(
        "memory_taken",
        "fatal",
        "memory",
        ("out of memory", "cudaerrormemoryallocation", "cuda_error_out_of_memory"),
        r"CUDA (?:driver )?error: out of memory|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY",
        "no memory at the very first call to CUDA: the page cache or another process holds the unified memory",
        "stop what holds the memory (`nvidia-smi` and `free -g` on the host show it), leave vllm_drop_page_cache on,"
        " and"
        " deploy again; lowering vllm_gpu_memory_utilization does not help",
        versions="vLLM 0.12 to 0.32 on the GB10",
        known="report",
        source="public log; vllm-project/vllm#48140",
        guide=MEMORY,
        frames=r"cudaMemGetInfo|mem_get_info|\binit_device\b|set_device|_lazy_init|_cuda_init|MemorySnapshot"
        r"|current_stream|get_device_(?:properties|capability|name)|manual_seed",
        unless=r"Tried to allocate|load_model|load_weights|profile_run|determine_available_memory|execute_model"
        r"|capture",
    ),
    Signature(
        "memory_of_another",
        "fatal",
        "memory",
        ("cuda out of memory",),
        r"CUDA out of memory\.[^\n]{0,300}?Process (?P<pid>\d{1,9}) has (?P<other>\d[\d.]{0,9} GiB) memory in use",
        "the GPU ran out of memory after the check at the start, and another process (pid {pid}) holds {other}",
        "stop that process (`nvidia-smi` on the host names it), or lower vllm_gpu_memory_utilization so that both fit;"
        " max_num_batched_tokens is not the cause",
        versions="PyTorch; vLLM 0.24",
        known="seen",
        source="vLLM 0.24 on an H200",
        guide=MEMORY,
    ),
    Signature(
        "weights_oom",
        "fatal",
        "memory",
        ("outofmemoryerror", "out of memory"),
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory",
        "the GPU ran out of memory while it loaded the weights",
        "select a smaller vllm_model or one with a stronger quantization, or stop what else uses the memory; lowering"
        " vllm_gpu_memory_utilization does not help, because it does not limit the weights",
        versions="vLLM 0.24",
        known="seen",
        source="vLLM 0.24 on an H200",
        guide=MEMORY,
        frames=r"create_weights|load_weights|process_weights_after_loading",
    ),
    Signature(
        "cublas_handle",
        "fatal",
        "memory",
        ("cublas_status_not_initialized", "cudnn_status_not_initialized"),
        r"CU(?:BLAS|DNN)_STATUS_NOT_INITIALIZED",
        "CUDA's library of matrix products could not be set up: mostly because no memory is left for it",
        "stop what else uses the memory, and leave vllm_drop_page_cache on; lower vllm_gpu_memory_utilization; if"
        " memory is free, use another vllm_image",
        versions="PyTorch with cuBLAS 12 and 13",
        known="report",
        source="pytorch/pytorch, aten/src/ATen/cuda/CublasHandlePool.cpp",
        guide=MEMORY,
    ),
    Signature(
        "encoder_oom",
        "fatal",
        "memory",
        ("outofmemoryerror", "out of memory"),
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory",
        "the GPU ran out of memory while the model's encoder took in images, video or audio; at the start vLLM tries"
        " the largest ones that limit_mm_per_prompt allows",
        "set limit_mm_per_prompt in vllm_extra_args to what you serve ({{image: 1, video: 0}}; zero for text only); if"
        " it served already, lower vllm_gpu_memory_utilization: at the start that does not help",
        versions="vLLM 0.10 to 0.33",
        known="report",
        source="vllm-project/vllm#50819",
        guide=MEMORY,
        frames=r"embed_multimodal|get_multimodal_embeddings|_execute_mm_encoder|vision_tower"
        r"|_process_(?:image|video|audio)_input",
    ),
    Signature(
        "profile_oom",
        "fatal",
        "memory",
        ("outofmemoryerror", "out of memory"),
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory",
        "the GPU ran out of memory while vLLM tried the largest step, before there was a KV cache",
        "lower max_num_batched_tokens, then max_num_seqs in vllm_extra_args; stop what else uses the memory, and leave"
        " vllm_drop_page_cache on; lowering vllm_gpu_memory_utilization does not help, because it does not limit this",
        versions="vLLM 0.10 to 0.33",
        known="source",
        source="vllm/v1/worker/gpu_worker.py: determine_available_memory",
        guide=MEMORY,
        frames=r":profile_run: |:determine_available_memory: ",
    ),
    Signature(
        "graphs_oom",
        "fatal",
        "memory",
        ("outofmemoryerror", "out of memory", "api call failed"),
        # operators of the stable ABI leave out why an allocation failed
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory"
        r"|torch_call_dispatcher\(\s*\"aten::(?:new_)?empty\w*\"[^\n]{0,300}API call failed",
        "an allocation failed while CUDA graphs were captured: no memory was left for them",
        "lower kv_cache_memory_bytes if vllm_extra_args sets it, or else vllm_gpu_memory_utilization; fewer graphs need"
        " less: lower max_num_seqs or the cudagraph_capture_sizes of compilation_config in vllm_extra_args;"
        " enforce_eager: true needs none, and is slower",
        versions="vLLM 0.32",
        known="seen",
        source="vLLM 0.32 on an H200",
        guide=MEMORY,
        frames=r":capture_model: ",
        unless=r"_init_minimal_kv_cache",
    ),
    Signature(
        "kv_oom",
        "fatal",
        "memory",
        ("outofmemoryerror", "out of memory"),
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory",
        "the GPU ran out of memory while it allocated the KV cache",
        "lower kv_cache_memory_bytes if vllm_extra_args sets it: it counts whatever vllm_gpu_memory_utilization says;"
        " or else lower vllm_gpu_memory_utilization",
        versions="vLLM 0.32",
        known="seen",
        source="vLLM 0.32 on an H200",
        guide=MEMORY,
        frames=r":_?allocate_kv_cache\w*: ",
    ),
    Signature(
        "cuda_oom",
        "fatal",
        "memory",
        (
            "outofmemoryerror",
            "out of memory",
            "cudaerrormemoryallocation",
            "cuda_error_out_of_memory",
            "status_alloc_failed",
            "nvml_success",
        ),
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA out of memory|CUDA (?:driver )?error: out of memory"
        r"|cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED"
        r"|NVML_SUCCESS == [^\n]{0,80}INTERNAL ASSERT FAILED|NCCL WARN Cuda failure (?:\d+ )?'out of memory'",
        "the GPU ran out of memory after the check at the start",
        "lower vllm_gpu_memory_utilization (leave 10 to 15 % to the system) or, if vllm_extra_args sets it,"
        " kv_cache_memory_bytes; or max_num_batched_tokens and max_num_seqs in vllm_extra_args",
        versions="vLLM 0.10.1.1 to 0.32, PyTorch",
        known="report",
        source="vllm-project/vllm#49476, #46307",
        refines=("nccl",),  # that NCCL met it first makes it no question of the network
        guide=MEMORY,
    ),
    Signature(
        "host_oom",
        "fatal",
        "memory",
        ("cannot allocate memory", "unable to allocate", "std::bad_alloc", "defaultcpuallocator", "llvm error: out of"),
        r"\[Errno 12\] Cannot allocate memory|Cannot allocate memory \(12\)|std::bad_alloc"
        r"|DefaultCPUAllocator: can't allocate memory|LLVM ERROR: out of memory"
        r"|Unable to allocate [\d.]+ [KMGT]iB for an array",
        "the host ran out of memory; GPU and processor share it",
        "stop what else uses the memory, or lower vllm_gpu_memory_utilization so that more is left for the host",
        versions="Python, PyTorch",
        known="report",
        source="errno 12",
        guide=MEMORY,
        unless=r"\bibv_|\bNCCL (?:WARN|INFO)\b",  # of RDMA: a limit, and NCCL may go on without it
    ),
)
