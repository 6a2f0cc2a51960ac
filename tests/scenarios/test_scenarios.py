"""The scenarios on the embedded server: the vendor's SDK unmodified, and ours, in each colour."""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opensandbox_jupyter.local import ensure_server

TESTS = Path(__file__).resolve().parent.parent
VENDOR = TESTS.parent / ".venvs" / "vendor" / "bin" / "python"
STEP = r"^([a-z_]+\.[a-z_]+) \([\d.]+ s\): (ok|(?:.*\n)+?)$"
PYTHONS = {"opensandbox": VENDOR, "opensandbox_jupyter": Path(sys.executable)}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An HTTP server that sandboxes may reach where their policy says so."""
    folder = str(tmp_path_factory.mktemp("www"))
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("sdk", "colour"),
    [
        ("opensandbox", "async"),
        pytest.param("opensandbox", "blocking", marks=pytest.mark.slow),
        ("opensandbox_jupyter", "async"),
        pytest.param("opensandbox_jupyter", "blocking", marks=pytest.mark.slow),
    ],
)
def test_a_person_can_do_everything(sdk: str, colour: str, place: str) -> None:
    assert PYTHONS[sdk].exists(), "the vendor's SDK is not installed: run make vendor"
    server = ensure_server()
    env = os.environ | {
        "OPEN_SANDBOX_DOMAIN": server.url.removeprefix("http://"),
        "OPEN_SANDBOX_API_KEY": server.api_key,
        "SCENARIO_PLACE": place,
    }

    told = subprocess.run(
        [PYTHONS[sdk], "-m", "scenarios", sdk, colour],
        cwd=TESTS,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    steps = re.findall(STEP, told.stdout, re.MULTILINE)
    assert steps, told.stdout
    assert [step for step in steps if step[1] != "ok"] == []
    assert told.returncode == 0, told.stdout
