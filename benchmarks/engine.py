"""The embedded server: what a sandbox costs, beside what the machine itself costs.

``make bench-engine`` runs it, on a server of its own, and prints the table for
``benchmarks/README.md``. Medians; ratios are of the same run.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import psutil

IMAGE = "python"
MANY = 100
BIG = 512 << 20
SETTLE = 2.5
"""Seconds after which a server that keeps a spare has one again."""


def main() -> None:
    """Print one row a figure."""
    with tempfile.TemporaryDirectory(prefix="osj-bench-") as home:
        Path(home).chmod(0o755)
        os.environ |= {"HOME": home, "OPENSANDBOX_JUPYTER_HOME": home}
        print("| figure | measured |\n| --- | --- |", flush=True)
        for name, figure in figures():
            print(f"| {name} | {figure} |", flush=True)


def figures() -> Iterator[tuple[str, str]]:
    """Measure one thing after the other."""
    from opensandbox_jupyter import SandboxSync

    start = time.perf_counter()
    with server(spares=1), ExitStack() as ends:
        first = SandboxSync.create(IMAGE)
        ends.callback(first.destroy)
        yield "first create of all, server start included", ms(time.perf_counter() - start)
        yield "create to ready, warm", ms(median(creates(rounds=7, settle=SETTLE)))
        yield from commands(Raw(first))
        yield from transfers(Raw(first))
    with server(spares=0):
        yield "create to ready, cold", ms(median(creates(rounds=7)))
        yield "memory of one idle sandbox and what makes them (PSS)", f"{one_idle():.0f} MB"
        yield from hundred()


@contextmanager
def server(spares: int) -> Iterator[None]:
    """Run a server of this benchmark's own."""
    from opensandbox_jupyter.local import ensure_server

    os.environ["OPENSANDBOX_JUPYTER_SPARES"] = str(spares)
    ensure_server()
    try:
        yield
    finally:
        subprocess.run([sys.executable, "-m", "opensandbox_jupyter.cli", "stop"], check=True)


def creates(rounds: int, settle: float = 0) -> Iterator[float]:
    """Yield the seconds of creates, each one's sandbox ended before the next."""
    from opensandbox_jupyter import SandboxSync

    for _ in range(rounds):
        time.sleep(settle)
        start = time.perf_counter()
        sandbox = SandboxSync.create(IMAGE)
        yield time.perf_counter() - start
        sandbox.destroy()


class Raw:
    """A sandbox's daemon, over the plainest client there is: one kept connection."""

    def __init__(self, sandbox: object) -> None:
        endpoint = sandbox.get_endpoint(44772)  # type: ignore[attr-defined]
        self.sandbox = sandbox
        self.headers = {**endpoint.headers, "Content-Type": "application/json"}
        self.address = endpoint.endpoint
        self.connection = http.client.HTTPConnection(self.address)

    def run(self, command: str, **headers: str) -> int:
        """Run a command and return the size of the answer in bytes."""
        body = json.dumps({"command": command})
        self.connection.request("POST", "/command", body, self.headers | headers)
        answer = self.connection.getresponse()
        size = 0
        while block := answer.read(1 << 20):
            size += len(block)
        return size


def commands(raw: Raw) -> Iterator[tuple[str, str]]:
    """Measure commands and their output."""
    bare = median(timed(lambda: subprocess.Popen(["bash", "-c", "true"]).wait(), 100))
    ours = median(timed(lambda: raw.run("true"), 200))
    yield (
        "`true` as a command, at a raw client",
        f"{ms(ours)}, {ours / bare:.1f} times a bare Popen",
    )
    with ThreadPoolExecutor(50) as pool:
        clients = [Raw(raw.sandbox) for _ in range(50)]
        one = median(timed(lambda: raw.run("sleep 0.2"), 3))
        together = median(timed(lambda: list(pool.map(lambda c: c.run("sleep 0.2"), clients)), 3))
        yield "50 commands of 0.2 s at once", f"{together / one:.1f} times one"
    line = "x" * 79
    lines = 1_000_000
    took = min(timed(lambda: raw.run(f"yes {line} | head -n {lines}"), 3))
    yield "output, one event a line", f"{lines / took:,.0f} lines/s"
    size = 1 << 30
    chunks = output_header()
    took = min(timed(lambda: raw.run(f"yes {line} | head -c {size}", **chunks), 2))
    yield "output in chunks", f"{size / took / 1e6:,.0f} MB/s"


def output_header() -> dict[str, str]:
    """Return the header that asks for output in chunks."""
    from opensandbox_jupyter.constants import OUTPUT_HEADER

    return {OUTPUT_HEADER: "chunks"}


def transfers(raw: Raw) -> Iterator[tuple[str, str]]:
    """Measure a big file's way in and out."""
    raw.run(f"truncate -s {BIG} /tmp/big")

    def download() -> None:
        raw.connection.request("GET", "/files/download?path=/tmp/big", headers=raw.headers)
        answer = raw.connection.getresponse()
        buffer = bytearray(1 << 20)
        while answer.readinto(buffer):
            pass

    def upload() -> None:
        edge = "bench"
        parts = [
            f'--{edge}\r\nContent-Disposition: form-data; name="metadata"; filename="m"\r\n'
            f"Content-Type: application/json\r\n\r\n{json.dumps({'path': '/tmp/up'})}\r\n"
            f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n",
            f"\r\n--{edge}--\r\n",
        ]
        head, tail = (part.encode() for part in parts)
        link = raw.connection
        link.putrequest("POST", "/files/upload")
        for name, value in raw.headers.items():
            if name != "Content-Type":
                link.putheader(name, value)
        link.putheader("Content-Type", f"multipart/form-data; boundary={edge}")
        link.putheader("Content-Length", str(len(head) + BIG + len(tail)))
        link.endheaders(head)
        block = bytes(1 << 20)
        for _ in range(BIG >> 20):
            link.send(block)
        link.send(tail)
        link.getresponse().read()

    yield "file download", f"{BIG / min(timed(download, 3)) / 1e6:,.0f} MB/s"
    yield "file upload", f"{BIG / min(timed(upload, 3)) / 1e6:,.0f} MB/s"


def one_idle() -> float:
    """Return the megabytes below a server that has one sandbox, which nobody has used."""
    from opensandbox_jupyter import SandboxSync

    with SandboxSync.create(IMAGE) as sandbox:
        held = memory_below()
        sandbox.kill()
    return held


def memory_below() -> float:
    """Return the megabytes of all that runs below the server, each shared page counted once."""
    from opensandbox_jupyter.local import find_server

    found = find_server()
    assert found is not None
    below = psutil.Process(found.pid).children(recursive=True)
    return sum(process.memory_full_info().pss for process in below) / 1e6


def hundred() -> Iterator[tuple[str, str]]:
    """Make many sandboxes at once and let all of them answer."""
    from opensandbox_jupyter import SandboxSync

    swapped = psutil.swap_memory().sout
    with ThreadPoolExecutor(16) as pool:
        start = time.perf_counter()
        boxes = list(pool.map(lambda _: SandboxSync.create(IMAGE), range(MANY)))
        made = time.perf_counter() - start
        held = memory_below() / MANY
        start = time.perf_counter()
        try:
            answers = list(pool.map(lambda box: box.commands.run("echo here").stdout, boxes))
            ran = time.perf_counter() - start
        finally:
            list(pool.map(lambda box: box.destroy(), boxes))
    assert answers == ["here\n"] * MANY
    assert psutil.swap_memory().sout == swapped
    yield f"{MANY} sandboxes at once", f"created in {made:.1f} s, all answered in {ran:.1f} s"
    yield "memory of an idle sandbox, one of them (PSS)", f"{held:.1f} MB"


def timed(call: Callable[[], object], rounds: int) -> list[float]:
    """Return the seconds of each of ``rounds`` calls."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def ms(seconds: float) -> str:
    """Return a duration in words."""
    return f"{seconds * 1000:,.1f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"


if __name__ == "__main__":
    main()
