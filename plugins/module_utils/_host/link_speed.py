# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed and latency of a link: pings that are not fragmented, perftest, and TCP streams where there is no RDMA."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import statistics
import struct
import threading
import time
import typing as t

STREAMS = 4
SECONDS = 2.0
CHUNK = 2**20
ANSWER = 0.4  # seconds; a cable needs less than a millisecond
# of linux/in.h: set "don't fragment", and ask no memory of earlier paths
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3


class Ping(t.NamedTuple):
    sent: int
    received: int
    rtt_ms: float | None  # median: the first one waits for ARP


def checksum(data: bytes) -> int:
    """Of ICMP (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(identifier: int, sequence: int, size: int) -> bytes:
    """SIZE is that of the packet with the headers of IPv4 and ICMP."""
    head = struct.pack("!BBHHH", 8, 0, 0, identifier, sequence)
    data = bytes((size - 20 - len(head)) // 2 * 2)  # the checksum is over pairs
    return struct.pack("!BBHHH", 8, 0, checksum(head + data), identifier, sequence) + data


def is_answer(packet: bytes, identifier: int, sequence: int) -> bool:
    """PACKET begins with the header of IPv4."""
    icmp = packet[(packet[0] & 15) * 4 :] if packet else b""
    return len(icmp) >= 8 and icmp[0] == 0 and struct.unpack("!HH", icmp[4:8]) == (identifier, sequence)


def ping(source: str, target: str, size: int, count: int) -> Ping:
    """Packets of SIZE bytes, which nobody on the way may fragment. Raises OSError without root."""
    times = []
    identifier = os.getpid() & 0xFFFF
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as channel:
        channel.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
        channel.bind((source, 0))
        channel.connect((target, 0))
        for sequence in range(1, count + 1):
            begin = time.monotonic()
            with contextlib.suppress(OSError):  # larger than the MTU, no answer
                channel.send(echo_request(identifier, sequence, size))
                while True:
                    channel.settimeout(max(0.001, begin + ANSWER - time.monotonic()))
                    if is_answer(channel.recv(65536), identifier, sequence):
                        times.append((time.monotonic() - begin) * 1000)
                        break
    return Ping(count, len(times), round(statistics.median(times), 3) if times else None)


def parse_ib_write_bw(text: str) -> float | None:
    """The average of `ib_write_bw --report_gbits`: bytes, iterations, peak, average, message rate."""
    found = re.findall(r"^\s*\d+\s+\d+\s+[\d.]+\s+([\d.]+)\s+[\d.]+\s*$", text, re.MULTILINE)
    return float(found[-1]) if found else None


def parse_ib_write_lat(text: str) -> float | None:
    """The median of `ib_write_lat -n`, in µs: bytes, iterations, least, most, typical, and in later versions more."""
    found = re.findall(r"^\s*\d+\s+\d+\s+[\d.]+\s+[\d.]+\s+(\d+\.\d+)(?:\s+[\d.]+)*\s*$", text, re.MULTILINE)
    return float(found[-1]) if found else None


def listen(address: str, port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(STREAMS)
    return server


def receive(server: socket.socket, timeout: float) -> None:
    """One measurement: counts what arrives on each stream, and says how much it was."""
    server.settimeout(timeout)
    threads = []
    with server, contextlib.suppress(OSError):
        for _each in range(STREAMS):
            stream, _address = server.accept()
            stream.settimeout(timeout)
            threads.append(threading.Thread(target=_count, args=(stream,)))
            threads[-1].start()
    for thread in threads:
        thread.join()


def _count(stream: socket.socket) -> None:
    buffer = bytearray(CHUNK)
    total = 0
    with stream, contextlib.suppress(OSError):
        while True:
            got = stream.recv_into(buffer)
            if not got:
                break
            total += got
        stream.sendall(struct.pack("!Q", total))


def send(source: str, address: str, port: int, seconds: float = SECONDS) -> float:
    """Gb/s that have arrived at the other end. Raises OSError."""
    streams = [socket.create_connection((address, port), 5, (source, 0)) for _each in range(STREAMS)]
    totals: list[int] = []
    begin = time.monotonic()
    threads = [threading.Thread(target=_fill, args=(stream, begin + seconds, totals)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(totals) < STREAMS:
        raise OSError("the connection was lost during the measurement")
    return sum(totals) * 8 / (time.monotonic() - begin) / 1e9


def _fill(stream: socket.socket, end: float, totals: list[int]) -> None:
    data = bytes(CHUNK)
    with stream, contextlib.suppress(OSError):
        stream.settimeout(10)
        while time.monotonic() < end:
            stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
        answer = stream.recv(8, socket.MSG_WAITALL)
        if len(answer) == 8:
            totals.append(struct.unpack("!Q", answer)[0])
