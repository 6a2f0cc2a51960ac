"""Requests made from OpenAPI documents, thousands of them: nothing breaks, nothing drifts.

The programs' own documents are asked for at ``/openapi.json``. The vendor's are read from the
directory that SPECS names, since they are not ours to keep.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from opensandbox_jupyter import SandboxSync
from opensandbox_jupyter.constants import API_KEY_HEADER, DEFAULT_EXECD_PORT
from opensandbox_jupyter.local import ensure_server

pytestmark = pytest.mark.slow
SECONDS = 25
SPECS = os.environ.get("SPECS", "")

OURS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
    "unsupported_method",
    "ignored_auth",
    "use_after_free",
    "missing_required_header",
)
"""Left out: that all which fits the document is taken, and nothing else. Bounds are stricter than a
schema can say (a path must exist), and unknown keys are left alone, as the original does."""

THEIRS = ("not_a_server_error", "response_schema_conformance", "allow_header_conformance")
"""Left out besides: status codes. The vendor's documents know fewer than the vendor's servers
answer: 401 and 404 of execd, 404 of a create from a snapshot that is not there, 405 anywhere."""

ENDLESS = "/metrics/watch"


@dataclass
class Target:
    """A program that runs, and the header that it wants."""

    url: str
    header: str


@pytest.fixture(scope="module")
def server() -> Target:
    found = ensure_server()
    return Target(found.url, f"{API_KEY_HEADER}: {found.api_key}")


@pytest.fixture
def execd() -> Iterator[Target]:
    with SandboxSync.create("python") as sandbox:
        endpoint = sandbox.get_endpoint(DEFAULT_EXECD_PORT)
        [(name, value)] = endpoint.headers.items()
        yield Target(f"http://{endpoint.endpoint}", f"{name}: {value}")
        sandbox.kill()


def fuzz(schema: str, target: Target, checks: tuple[str, ...], *more: str, cwd: Path) -> None:
    """Ask for whatever the document allows, and for what it does not."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", schema, "--header", target.header,
        "--checks", ",".join(checks), "--max-time", str(SECONDS), "--max-examples", "20",
        "--request-timeout", "20", "--continue-on-failure", "--no-color", "--seed", "1", *more,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


def test_the_server_does_what_its_document_says(server: Target, tmp_path: Path) -> None:
    fuzz(f"{server.url}/openapi.json", server, OURS, cwd=tmp_path)


def test_execd_does_what_its_document_says(execd: Target, tmp_path: Path) -> None:
    avoid = ("--exclude-path", ENDLESS)
    fuzz(f"{execd.url}/openapi.json", execd, OURS, *avoid, cwd=tmp_path)


@pytest.mark.skipif(not SPECS, reason="SPECS does not name the vendor's documents")
def test_the_server_does_what_the_vendors_document_says(server: Target, tmp_path: Path) -> None:
    document = f"{SPECS}/sandbox-lifecycle.yml"
    fuzz(document, server, THEIRS, "--url", f"{server.url}/v1", cwd=tmp_path)


@pytest.mark.skipif(not SPECS, reason="SPECS does not name the vendor's documents")
def test_execd_does_what_the_vendors_document_says(execd: Target, tmp_path: Path) -> None:
    document = f"{SPECS}/execd-api.yaml"
    avoid = ("--exclude-path", ENDLESS)
    fuzz(document, execd, THEIRS, "--url", execd.url, *avoid, cwd=tmp_path)
