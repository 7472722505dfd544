# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed and latency of a link: what ping and ib_write_bw print, and a sender and a receiver where there is no RDMA."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
import typing as t

STREAMS = 4
SECONDS = 2.0
CHUNK = 2**20


class Ping(t.NamedTuple):
    sent: int
    received: int
    rtt_ms: float | None  # average


def parse_ping(text: str) -> Ping:
    counts = re.search(r"(\d+) packets transmitted, (\d+) (?:packets )?received", text)
    times = re.search(r"(?:rtt|round-trip) min/avg/max\S* = [\d.]+/([\d.]+)/", text)
    sent, received = (int(counts[1]), int(counts[2])) if counts else (0, 0)
    return Ping(sent, received, float(times[1]) if times else None)


def parse_ib_write_bw(text: str) -> float | None:
    """The average of `ib_write_bw --report_gbits`: bytes, iterations, peak, average, message rate."""
    found = re.findall(r"^\s*\d+\s+\d+\s+[\d.]+\s+([\d.]+)\s+[\d.]+\s*$", text, re.MULTILINE)
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
