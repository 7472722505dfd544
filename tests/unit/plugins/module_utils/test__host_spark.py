# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

import pytest
from ansible_collections.dgxspark.vllm.plugins.module_utils._host import services, spark
from ansible_collections.dgxspark.vllm.plugins.module_utils._host.addresses import from_proc
from hypothesis import given
from hypothesis import strategies as st

HOST_NETWORK_ID = "bb11bb22cc33dd44ee55ff6600112233445566778899aabbccddeeff00112233"
FIXTURES = Path(__file__).parents[3] / "fixtures" / "spark"


def fixture(name: str) -> str:
    return (FIXTURES / name).read_text()


def gpu(state: str) -> spark.Facts | None:
    return spark.parse_gpu(fixture(f"nvidia-smi-{state}.csv"), fixture("nvidia-smi-banner-580.txt"))


def test_os_keeps_the_newest_update_and_drops_the_serial_number() -> None:
    facts = spark.parse_os(fixture("os-release"), fixture("dgx-release"), "6.11.0-1016-nvidia")
    dgx = facts.pop("dgx_release")
    assert facts == {
        "id": "ubuntu",
        "version_id": "24.04",
        "codename": "noble",
        "pretty_name": "Ubuntu 24.04.3 LTS",
        "kernel": "6.11.0-1016-nvidia",
    }
    assert dgx["name"] == "DGX Spark"
    assert dgx["swbuild_version"] == "7.2.3"
    assert dgx["ota_version"] == "7.5.0"
    assert "1234567890123" not in str(dgx)


def test_os_without_files() -> None:
    facts = spark.parse_os(None, None, "6.1")
    assert facts["id"] is None
    assert facts["dgx_release"] is None


def test_memory_of_a_spark() -> None:
    memory = spark.parse_meminfo(fixture("meminfo"))
    assert round(memory["total_bytes"] / 1024**3, 1) == 121.7
    assert memory["page_cache_bytes"] == (196608 + 8414336 - 12288) * 1024
    assert memory["swap_total_bytes"] == memory["swap_free_bytes"] == 16777212 * 1024


def test_gpu_of_a_spark() -> None:
    assert gpu("idle") == {
        "name": "NVIDIA GB10",
        "driver": "580.95.05",
        "cuda": "13.0",
        "utilization_percent": 0,
        "temperature_c": 32,
        "power_w": 4.23,
        "sm_clock_mhz": 208,
        "memory": None,
    }


def test_gpu_fields_that_the_driver_does_not_answer_are_none() -> None:
    facts = gpu("na")
    assert facts is not None
    assert (facts["utilization_percent"], facts["power_w"], facts["sm_clock_mhz"]) == (None, None, None)
    assert facts["temperature_c"] == 32


def test_cuda_version_of_both_banners() -> None:
    row = fixture("nvidia-smi-idle.csv")
    new, none = spark.parse_gpu(row, fixture("nvidia-smi-banner-610.txt")), spark.parse_gpu(row, "")
    assert new is not None and new["cuda"] == "13.3"
    assert none is not None and none["cuda"] is None


@pytest.mark.parametrize("csv", ["", "\n", "No devices were found\n", fixture("nvidia-smi-failed.txt"), "a, b"])
def test_gpu_without_an_answer(csv: str) -> None:
    assert spark.parse_gpu(csv, "") is None


@pytest.mark.parametrize(
    ("state", "throttled", "says"),
    [
        ("idle", None, "0 % busy"),
        ("busy", False, "2418 MHz at 96 %"),
        ("throttled", True, "611 MHz at 96 % load, at least 1500 MHz expected; unplug"),
        ("na", None, "not known"),
    ],
)
def test_throttle_verdict(state: str, throttled: bool | None, says: str) -> None:
    verdict = spark.throttle_verdict(gpu(state))
    assert verdict["throttled"] is throttled
    assert says in verdict["reason"]


@pytest.mark.parametrize(
    ("load", "clock", "throttled"), [(80, 611, None), (81, 1499, True), (81, 1500, False), (100, 2400, False)]
)
def test_throttle_limits(load: int, clock: int, throttled: bool | None) -> None:
    facts = {"utilization_percent": load, "sm_clock_mhz": clock}
    assert spark.throttle_verdict(facts)["throttled"] is throttled


def test_throttle_without_gpu() -> None:
    assert spark.throttle_verdict(None)["throttled"] is None


def test_memory_of_an_idle_spark_is_not_low() -> None:
    verdict = spark.low_memory_verdict(spark.parse_meminfo(fixture("meminfo")))
    assert verdict == {"low": False, "reason": "116.0 GiB available, at least 3 GiB expected"}


@pytest.mark.parametrize(("kib", "low"), [(3 * 1024**2, False), (3 * 1024**2 - 1, True), (0, True)])
def test_low_memory_limit(kib: int, low: bool) -> None:
    meminfo = f"MemTotal:       127601452 kB\nMemAvailable:   {kib} kB\n"
    assert spark.low_memory_verdict(spark.parse_meminfo(meminfo))["low"] is low


def test_memory_that_cannot_be_read_is_not_low() -> None:
    assert spark.low_memory_verdict(spark.parse_meminfo(""))["low"] is None


def test_firmware_of_a_spark() -> None:
    dgx = spark.parse_os(None, fixture("dgx-release"), "")["dgx_release"]
    adapters = [("MT4129", "28.45.4028")] * 4
    assert spark.firmware_versions("5.36_0ACUM018\n", "9A.0B.2D.00.00\n", adapters, dgx) == {
        "dgx_os": "7.5.0",
        "bios": "5.36_0ACUM018",
        "vbios": "9A.0B.2D.00.00",
        "connectx7": "28.45.4028",
    }


def test_firmware_without_an_update_over_the_air() -> None:
    assert spark.firmware_versions(None, "", [], {"swbuild_version": "7.2.3"}) == {"dgx_os": "7.2.3"}


@pytest.mark.parametrize("vbios", ["", "\n", "[N/A]\n", "[Unknown Error]"])
def test_firmware_that_is_not_known_is_left_out(vbios: str) -> None:
    assert spark.firmware_versions(None, vbios, [], None) == {}


def test_firmware_of_adapters_that_differ() -> None:
    adapters = [("MT4129", "28.45.4028"), ("MT4129", "28.40.1000"), ("MT4125", "22.1")]
    assert spark.firmware_versions(None, "", adapters, None) == {
        "connectx7": "28.40.1000, 28.45.4028",
        "mt4125": "22.1",
    }


def test_adapters(tmp_path: Path) -> None:
    for name in ("rocep1s0f0", "roceP2p1s0f0", "broken"):
        (tmp_path / name).mkdir()
    for name in ("rocep1s0f0", "roceP2p1s0f0"):
        (tmp_path / name / "hca_type").write_text("MT4129\n")
        (tmp_path / name / "fw_ver").write_text("28.45.4028\n")
    assert spark.read_adapters(str(tmp_path)) == [("MT4129", "28.45.4028")] * 2
    assert spark.read_adapters(str(tmp_path / "absent")) == []


@pytest.mark.parametrize(
    ("name", "release", "verdict"),
    [
        ("NVIDIA GB10", None, True),
        (None, {"name": "DGX Spark"}, True),  # the driver is broken, the machine is still a Spark
        ("NVIDIA H100", {"name": "DGX Server", "pretty_name": "NVIDIA DGX Server"}, False),
        (None, None, False),
    ],
)
def test_spark_verdict(name: str | None, release: dict[str, str] | None, verdict: bool) -> None:
    is_spark, reasons = spark.spark_verdict({"name": name} if name else None, release)
    assert is_spark is verdict
    assert len(reasons) == 2


def test_docker_of_a_spark() -> None:
    assert spark.parse_docker_info(fixture("docker-info.json")) == {
        "client": "28.3.3",
        "server": "28.3.3",
        "running": True,
        "compose": "2.39.1",
        "runtimes": ["io.containerd.runc.v2", "nvidia", "runc"],
        "default_runtime": "runc",
        "cdi_spec_dirs": ["/etc/cdi", "/var/run/cdi"],
        "cgroup_driver": "systemd",
        "root_dir": "/var/lib/docker",
    }


def test_docker_old_and_without_compose() -> None:
    docker = spark.parse_docker_info(fixture("docker-info-20.10.json"))
    assert (docker["server"], docker["compose"], docker["cdi_spec_dirs"]) == ("20.10.24+dfsg1", None, [])


def test_docker_without_a_daemon() -> None:
    docker = spark.parse_docker_info(fixture("docker-info-no-daemon.json"))
    assert (docker["client"], docker["server"], docker["running"]) == ("28.2.2", None, False)
    assert (docker["runtimes"], docker["default_runtime"]) == ([], None)


@pytest.mark.parametrize("text", ["", "garbage", "[]", "null", "{}"])
def test_docker_without_an_answer(text: str) -> None:
    docker = spark.parse_docker_info(text)
    assert docker.keys() == spark.parse_docker_info(fixture("docker-info.json")).keys()
    assert (docker["client"], docker["running"]) == (None, False)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (fixture("nvidia-ctk-version.txt"), "1.19.0"),
        ("Docker version 28.2.2, build e6534b4", "28.2.2"),
        ("v2.39.1\n", "2.39.1"),
        ("2.26.1-4", "2.26.1-4"),
        ("docker: unknown command", None),
        ("", None),
    ],
)
def test_version(text: str, version: str | None) -> None:
    assert spark.parse_version(text) == version


def test_cdi_devices_without_the_log_line() -> None:
    devices = spark.parse_cdi_devices(fixture("nvidia-ctk-cdi-list.txt"))
    uuid = "GPU-00000000-0000-0000-0000-000000000000"
    assert devices == ["nvidia.com/gpu=0", f"nvidia.com/gpu={uuid}", "nvidia.com/gpu=all"]
    assert spark.parse_cdi_devices('level=info msg="Found 0 CDI devices"') == []


def test_packages_only_the_installed_ones() -> None:
    assert spark.parse_packages(fixture("dpkg-query.txt")) == {
        "docker.io": None,  # removed, its configuration is left
        "docker-ce": "5:28.3.3-1~ubuntu.24.04~noble",
        "docker-compose": None,
        "docker-compose-v2": None,
        "docker-compose-plugin": "2.39.1-1~ubuntu.24.04~noble",
        "nvidia-container-toolkit": "1.19.0-1",  # held
        "earlyoom": None,
    }


@pytest.mark.parametrize(
    ("table", "port", "inodes"),
    [
        ("proc-net-tcp", 8000, {"41234"}),
        ("proc-net-tcp", 18000, {"41235"}),
        ("proc-net-tcp", 22, set()),
        ("proc-net-tcp6", 8000, {"41240"}),
    ],
)
def test_listening_inodes(table: str, port: int, inodes: set[str]) -> None:
    assert spark.listening_inodes(fixture(table), port) == inodes


@pytest.mark.parametrize(
    ("port", "cgroup", "name"),
    [
        (8000, "", "vllm-qwen3-8b-fp8"),
        (9091, "", "monitoring"),
        (8001, "", None),  # exposed, not published
        (8002, f"0::/system.slice/docker-{HOST_NETWORK_ID}.scope", "host-network"),
    ],
)
def test_container_of(port: int, cgroup: str, name: str | None) -> None:
    assert spark.container_of(fixture("docker-ps.txt"), port, cgroup) == name


def test_socket_owner_finds_this_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inodes = spark.listening_inodes(Path("/proc/net/tcp").read_text(), port)
        assert spark.socket_owner(inodes) == os.getpid()
    assert spark.socket_owner({"0"}) is None


def test_interfaces_with_their_addresses(tmp_path: Path) -> None:
    text = (
        '[{"ifname":"lo","addr_info":[{"family":"inet","local":"127.0.0.1"}]},{"ifname":"enp1s0f0np0","addr_info":'
        '[{"local":"192.168.100.1"},{"local":"192.168.101.1"}]},{"ifname":"enp1s0f1np1","addr_info":[]},{},3]'
    )
    assert spark.parse_interfaces(text) == [
        {"name": "lo", "addresses": ["127.0.0.1"]},
        {"name": "enp1s0f0np0", "addresses": ["192.168.100.1", "192.168.101.1"]},
    ]
    for nonsense in ("", "{", '{"a": 1}', '[{"ifname": 3, "addr_info": [{"local": "x"}]}]', "[null]"):
        assert spark.parse_interfaces(nonsense) == []
    (tmp_path / "uverbs0").touch()
    assert (spark.read_infiniband(str(tmp_path)), spark.read_infiniband(str(tmp_path / "no"))) == (["uverbs0"], [])


def test_nics_only_physical_ones(tmp_path: Path) -> None:
    port = tmp_path / "net" / "enp1s0f0np0"
    driver = tmp_path / "drivers" / "mlx5_core"
    (tmp_path / "net" / "docker0").mkdir(parents=True)
    (port / "device").mkdir(parents=True)
    driver.mkdir(parents=True)
    (port / "device" / "driver").symlink_to(driver)
    for name, value in {"speed": "200000\n", "operstate": "up\n", "mtu": "9000\n"}.items():
        (port / name).write_text(value)
    nic = {"name": "enp1s0f0np0", "driver": "mlx5_core", "state": "up", "speed_mbps": 200000, "mtu": 9000}
    assert spark.read_nics(str(tmp_path / "net")) == [nic]
    (port / "speed").write_text("-1\n")
    assert spark.read_nics(str(tmp_path / "net")) == [nic | {"speed_mbps": None}]
    assert spark.read_nics(str(tmp_path / "absent")) == []


def test_space_of_a_path_that_is_not_there_yet(tmp_path: Path) -> None:
    space = spark.filesystem_space(str(tmp_path / "not" / "yet"))
    assert space["total_bytes"] == spark.filesystem_space(str(tmp_path))["total_bytes"] > 0
    assert 0 <= space["free_bytes"] <= space["total_bytes"]


@pytest.mark.parametrize(
    ("table", "address", "inodes"),
    [
        ("proc-net-tcp", "127.0.0.1", {"41234"}),
        ("proc-net-tcp", "192.168.1.9", set()),
        ("proc-net-tcp6", "192.168.1.9", {"41240"}),
    ],
)
def test_listening_at_an_address(table: str, address: str, inodes: set[str]) -> None:
    assert spark.listening_inodes(fixture(table), 8000, address) == inodes


@pytest.mark.parametrize(
    ("ports", "address", "is_taken"),
    [
        ("0.0.0.0:8000->514/udp", "0.0.0.0", False),
        ("0.0.0.0:8000->514/udp, 0.0.0.0:8000->514/tcp", "127.0.0.1", True),
        ("192.168.1.9:8000->80/tcp", "127.0.0.1", False),
        ("192.168.1.9:8000->80/tcp", "0.0.0.0", True),
        ("192.168.1.9:8000->80/tcp", "192.168.1.9", True),
        ("[::1]:8000->80/tcp", "127.0.0.1", False),
        ("[::ffff:127.0.0.1]:8000->80/tcp", "127.0.0.1", True),
        (":::7000-9000->7000-9000/tcp", "127.0.0.1", True),
        ("what:8000->80/tcp", "127.0.0.1", True),
    ],
)
def test_the_port_of_another_protocol_or_address_is_free(ports: str, address: str, is_taken: bool) -> None:
    assert spark.container_of(f"f\tsyslog\t{ports}\n", 8000, "", address) == ("syslog" if is_taken else None)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0901A8C0", "192.168.1.9"),
        ("0000000000000000FFFF00000100007F", "::ffff:7f00:1"),
        ("", ""),
        ("x", ""),
        ("1", ""),
    ],
)
def test_addresses_of_the_kernel(text: str, address: str) -> None:
    found = from_proc(text)
    assert found == address or (address and ipaddress.ip_address(found) == ipaddress.ip_address(address))


@given(st.text())
def test_no_parser_crashes_on_garbage(text: str) -> None:
    spark.parse_os(text, text, "")
    spark.low_memory_verdict(spark.parse_meminfo(text))
    spark.firmware_versions(text, text, [(text, text)], {"ota_version": text})
    spark.parse_gpu(text, text)
    spark.parse_docker_info(text)
    spark.parse_version(text)
    spark.parse_cdi_devices(text)
    spark.parse_packages(text)
    spark.listening_inodes(text, 8000)
    spark.container_of(text, 8000, text)


def test_services_of_the_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label alone makes none: not the memory of a stranger, and nothing that breaks the look at the host."""
    monkeypatch.setattr(services, "UNITS", str(tmp_path))
    (tmp_path / "home" / "releases" / "0123456789ab").mkdir(parents=True)
    for name in ("vllm", "vllm-b"):
        text = f"# Written by dgxspark.vllm.\n[Service]\nWorkingDirectory={tmp_path}/home/current\n"
        (tmp_path / f"{name}.service").write_text(text)
    cache = f"{tmp_path}/home/cache"
    text = (
        f"vllm-qwen3-8b-fp8\tvllm\t117606941982\t0123456789ab\trunning\t/opt/hf,{cache}\n"
        f"plain\tvllm-b\t\t0123456789ab\texited\t{cache}s/1000\nother\t\t5\t\n"
        "label\tvllm\t999999999999\t0123456789ab\trunning\t/srv\nlabels\tvllm\t5\t0123456789ab\trunning\n"
        "x\tvllm\t999999999999\t\ny\tvllm-c\t999999999999\t0123456789ab\nz\tvllm\t5\tba9876543210\n"
        f"odd\tvllm-b\t²\t0123456789ab\t\t{cache}\nlong\tvllm-b\t{'9' * 5000}\t0123456789ab\t\t{cache}\n"
    )
    found = {"planned_bytes": None, "release": "0123456789ab", "running": False}
    serves = {"planned_bytes": 117606941982, "release": "0123456789ab", "running": True}
    assert spark.parse_services(text) == [
        {"service": "vllm", "container": "vllm-qwen3-8b-fp8", **serves},
        *({"service": "vllm-b", "container": container, **found} for container in ("plain", "odd", "long")),
    ]
    assert spark.parse_services("") == []
