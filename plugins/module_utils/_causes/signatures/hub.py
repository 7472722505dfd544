# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Hugging Face hub."""

from __future__ import annotations

from ..entries import DOWNLOAD, Signature

REACH = (
    "check name resolution, proxy and firewall of the host; vllm_hf_endpoint names a mirror; if the model is in"
    " hf_cache_path, set vllm_hf_offline: true"
)

_CERTIFICATES = (
    "correct SSL_CERT_FILE and REQUESTS_CA_BUNDLE in vllm_extra_env: they are paths in the container, where the cache"
    " folder of vllm_home is /root/.cache; or remove them, if no proxy has a certificate of its own"
)

HUB: tuple[Signature, ...] = (
    Signature(
        "vocab_file",
        "fatal",
        "hub",
        ("vocab file", "openaipublic.blob", "harmonyerror", "tiktoken"),
        r"error downloading or loading vocab file|openaipublic\.blob\.core\.windows\.net|HarmonyError"
        r"|(?:o200k|cl100k)_\w+\.tiktoken",
        "gpt-oss needs vocabulary files that are not on the hub, and the container cannot download them",
        "put o200k_base.tiktoken and cl100k_base.tiktoken into the cache folder of vllm_home and set"
        " TIKTOKEN_ENCODINGS_BASE to that folder as the container sees it (/root/.cache/...) in vllm_extra_env; or give"
        " the host access to openaipublic.blob.core.windows.net",
        versions="openai_harmony with gpt-oss, vLLM 0.10.1 and later",
        known="report",
        source="vllm-project/vllm#22525, openai/harmony#46, #95",
        guide=DOWNLOAD,
    ),
    Signature(
        "xet",
        "exit",
        "hub",
        (
            "cas service error",
            "cas client error",
            "reqwestmiddleware",
            "hf_xet",
            "xet",
            "data processing error",
            "file reconstruction",
        ),
        r"CAS (?:service|client) [Ee]rror|ReqwestMiddleware Error|File reconstruction error|cas-(?:bridge"
        r"|server)\.xethub"
        r"|Data processing error: (?!IO Error)|(?:hf_xet|xet_core|XetDownload).{0,260}?(?:[Ee]rror|[Ff]ailed"
        r"|timed out)",
        "the connection to the hub's Xet store broke off",
        "check network and proxy of the host, set HF_HUB_DISABLE_XET: 1 in vllm_extra_env to download without that"
        " store, and deploy again; files that are complete are not downloaded again",
        versions="hf_xet 1, huggingface_hub 0.32 to 1",
        known="report",
        source="public log; huggingface/xet-core",
        guide=DOWNLOAD,
        unless=r"os error (?:5|13|28|30|122)\b|No space left|Permission denied|quota",
        sets=(("vllm_extra_env", "HF_HUB_DISABLE_XET", "1"),),
    ),
    Signature(
        "hf_transfer_missing",
        "fatal",
        "hub",
        ("hf_hub_enable_hf_transfer",),
        r"HF_HUB_ENABLE_HF_TRANSFER=1\)[^\n]{0,80}not available",
        "HF_HUB_ENABLE_HF_TRANSFER asks for a Python package that the image lacks",
        "set HF_HUB_ENABLE_HF_TRANSFER: 0 in vllm_extra_env, or remove it there: downloads need no such package",
        versions="huggingface_hub 0.14 to 0.36",
        known="source",
        source="huggingface_hub/file_download.py",
    ),
    Signature(
        "hf_gated_noauth",
        "exit",
        "hub",
        ("is restricted. you must have access", "is restricted. you must be authenticated"),
        r"Access to model (?P<repo>\S+) is restricted\. You must (?:have access|be authenticated)",
        "the model {repo} is gated and no valid token was sent",
        "accept the license on the model's page and set vllm_hf_token",
        versions="huggingface_hub 0.34 to 1",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_gated_denied",
        "exit",
        "hub",
        ("not in the authorized list", "your request to access model", "enable access to public gated"),
        r"you are not in the authorized list"
        r"|Your request to access model \S{1,200} (?:is awaiting a review|has been rejected)"
        r"|enable access to public gated repositories in your fine-grained token",
        "the model is gated and the token, or its account, has no access to it",
        "accept the license on the model's page with the account of vllm_hf_token; where the authors review requests,"
        " wait for their consent, and after a refusal use another vllm_model; a fine-grained token must also have the"
        " scope to read public gated repositories",
        versions="huggingface_hub 0.34 to 1",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_gated",
        "exit",
        "hub",
        ("trying to access a gated repo", "cannot access gated repo"),
        r"You are trying to access a gated repo|Cannot access gated repo for url",
        "the model is gated, and the hub gave no access to it",
        "accept the license on the model's page, and set vllm_hf_token to a token of the account that accepted it",
        versions="transformers 4 and 5, huggingface_hub 0.34 to 1",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
        generic=True,  # without a token and without access alike
    ),
    Signature(
        "hf_bad_token",
        "exit",
        "hub",
        ("invalid credentials in authorization header", "invalid username or password", "invalid user token"),
        r"Invalid credentials in Authorization header|Invalid username or password|Invalid user token",
        "the hub refuses the token (a wrong or revoked token breaks public models too)",
        "replace vllm_hf_token, or leave it empty for public models",
        versions="huggingface_hub 0.34 to 1",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_revision",
        "exit",
        "hub",
        ("revision not found for url", "revisionnotfounderror", "is not a valid git identifier"),
        r"Revision Not Found for url|RevisionNotFoundError|is not a valid git identifier",
        "the hub has no such revision of the model",
        "correct revision in vllm_extra_args",
        versions="huggingface_hub 0.34 to 1",
        known="seen",
        source="sandbox",
    ),
    Signature(
        "hf_repo_not_found",
        "exit",
        "hub",
        (
            "repository not found for url",
            "is not a valid model identifier",
            "repositorynotfounderror",
            "hfvalidationerror",
        ),
        r"Repository Not Found for url|is not a local folder and is not a valid model identifier"
        r"|RepositoryNotFoundError|HFValidationError(?!: Repo id must be in the form [^\n]{1,60}?: '\.{0,2}/)",
        "the hub has no such model, or it is private and the token has no access",
        "correct the id of the model (vllm_model, vllm_models), or set vllm_hf_token",
        versions="huggingface_hub 0.34 to 1",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_rate_limit",
        "exit",
        "hub",
        ("429 client error", "429 too many requests"),
        r"429 (?:Client Error|Too Many Requests)",
        "the hub refuses more requests from this address for now",
        "set vllm_hf_token and deploy again later; files that are complete are not downloaded again",
        versions="huggingface_hub 0.34 to 1",
        known="seen",
        source="sandbox, journey download",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_unavailable",
        "exit",
        "hub",
        ("server error",),
        r"(?P<status>50\d|52\d) Server Error: ?(?P<reason>[\w -]{0,40}?) for url: https?://(?P<host>[^/\s:]+)",
        "the hub ({host}) answers with an error of its own, {status}: {reason}",
        "try again later; vllm_hf_endpoint names a mirror; if the model is in hf_cache_path, set"
        " vllm_hf_offline: true",
        versions="huggingface_hub 0.30 to 1.10",
        known="report",
        source="huggingface_hub, hf_raise_for_status",
        retry=True,
    ),
    Signature(
        "hf_offline_missing",
        "exit",
        "hub",
        (
            "outgoing traffic has been disabled",
            "offlinemodeisenabled",
            "offline mode is enabled",
            "incompletesnapshoterror",
        ),
        r"outgoing traffic has been disabled|OfflineModeIsEnabled|offline mode is enabled|IncompleteSnapshotError",
        "offline mode is on and the cache lacks files of the model",
        "deploy once with vllm_hf_offline: false, or fill hf_cache_path from a host that has the model; if it was"
        " downloaded, and files of another repository are missing, set vllm_download: false, so that vLLM fetches them",
        versions="huggingface_hub 0.34 to 1",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_tls",
        "exit",
        "hub",
        ("certificate_verify_failed", "certificate verify failed", "sslcertverificationerror"),
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|SSLCertVerificationError",
        "the container does not trust the certificate that the hub, or a proxy before it, sends",
        "put the proxy's certificate into the cache folder of vllm_home and set SSL_CERT_FILE and REQUESTS_CA_BUNDLE to"
        " it as the container sees it (/root/.cache/...) in vllm_extra_env, or set vllm_hf_endpoint to a mirror",
        versions="requests, httpx, Python ssl",
        known="report",
        source="openai/harmony#46",
        guide=DOWNLOAD,
    ),
    Signature(
        "ca_bundle",
        "exit",
        "hub",
        ("suitable tls ca certificate bundle",),
        r"Could not find a suitable TLS CA certificate bundle, invalid path: (?P<path>\S{1,300})",
        "the file of certificates that the environment names is not in the container ({path})",
        _CERTIFICATES,
        versions="requests 2",
        known="source",
        source="requests/adapters.py: cert_verify",
        guide=DOWNLOAD,
    ),
    Signature(
        "ca_file",
        "exit",
        "hub",
        ("filenotfounderror: ", "permissionerror: ", "isadirectoryerror: ", "ssl.sslerror: "),
        r"^(?:FileNotFound|Permission|IsADirectory)Error: |^ssl\.SSLError: ",
        "the file of certificates that SSL_CERT_FILE names is not in the container, or cannot be read",
        _CERTIFICATES,
        versions="httpx 0.27 and 0.28, Python ssl",
        known="source",
        source="httpx/_config.py: create_ssl_context",
        guide=DOWNLOAD,
        frames=r"httpx/_config\.py:|:create_default_context: ",
    ),
    Signature(
        "hf_network",
        "exit",
        "hub",
        (
            "name or service not known",
            "temporary failure in name resolution",
            "network is unreachable",
            "max retries exceeded with url",
            ".connecterror",
            ".connecttimeout",
            ".proxyerror",
            "requests.exceptions.",
            "we couldn't connect to '",
        ),
        r"Name or service not known|Temporary failure in name resolution|Network is unreachable"
        r"|Max retries exceeded with url|http(?:core|x)2?\.(?:Connect(?:Error|Timeout)|ProxyError)"
        r"|requests\.exceptions\.(?:ConnectionError|ConnectTimeout|ReadTimeout|ProxyError)"
        r"|We couldn't connect to '(?P<endpoint>https?://[^']{1,200})' to load",
        "the container cannot reach the hub",
        REACH,
        versions="huggingface_hub 0.34 to 1",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
        unless=r"\bNCCL\b|torch/distributed|torch\.distributed|DistNetwork|DistBackend|\bgloo\b|TCPStore|\bray[./]"
        r"|zmq|c10d"
        r"|openaipublic",
    ),
    Signature(
        "dl_consistency",
        "exit",
        "hub",
        ("consistency check failed",),
        r"Consistency check failed: file should be of size (?P<wanted>\d+) but has size (?P<have>\d+)",
        "a download was cut short ({have} of {wanted} bytes)",
        "run playbooks/clean_cache.yml and deploy again",
        versions="huggingface_hub 0.34",
        known="source",
        source="huggingface_hub/file_download.py",
        guide=DOWNLOAD,
    ),
    Signature(
        "hub_retry",
        "hint",
        "hub",
        ("[retry ",),
        r"Retrying in \d{1,6}(?:\.\d{1,6})?s \[Retry (?P<number>\d{1,6})/(?P<of>\d{1,6})\]",
        "the hub does not answer, the client asks again (try {number} of {of})",
        REACH,
        versions="huggingface_hub 1",
        known="seen",
        source="sandbox",
        guide=DOWNLOAD,
    ),
    Signature(
        "hf_silent",
        "retry",
        "hub",
        ("error while downloading from",),
        r"Error while downloading from (?P<url>\S{1,300}): (?P<reason>.{1,120})",
        "the hub stops sending in the middle of a file ({reason})",
        "check proxy, firewall and connection between the host and the hub; vllm_hf_endpoint names a mirror; files that"
        " are complete are not downloaded again",
        versions="huggingface_hub 1",
        known="seen",
        source="sandbox, journey faults",
        guide=DOWNLOAD,
    ),
    Signature(
        "lock_wait",
        "hint",
        "hub",
        ("still waiting to acquire lock on",),
        r"Still waiting to acquire lock on (?P<path>\S+)",
        "another process holds the download lock {path}",
        "find it with `lslocks`; do not delete the lock file",
        versions="huggingface_hub 1",
        known="source",
        source="huggingface_hub/utils/_fixes.py",
        guide=DOWNLOAD,
    ),
)
