"""What our calls return, field by field, beside what the vendor's return, on the same server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from opensandbox_jupyter.local import ensure_server

TESTS = Path(__file__).resolve().parent.parent
PYTHONS = {
    "opensandbox": TESTS.parent / ".venvs" / "vendor" / "bin" / "python",
    "opensandbox_jupyter": Path(sys.executable),
}

ON_PURPOSE = {
    r".*:says": "an error of ours is one sentence and a hint; code and request id are attributes",
    r"(run_blank|create_of_nothing|never_ready|nobody_answers)\.error\.message": "the same",
    r"(bad_filter|blank_image|bad_rule|bad_opts)": "every bad argument is an "
    "InvalidArgumentException, in a model, too; its cause is pydantic's ValidationError",
    r"(.*info.*|.*patch.*|manager\.list\.sandbox_infos\[0\])\.extensions": "none is an empty "
    "dict, as for metadata, and never None",
    r".*\.image:alias\[image\]": "in wire names it is the server's own, uri",
    r"signed_endpoint": "a SandboxEndpoint whose repr does not show the address, which is a secret",
    r"(interrupt_none|code_gone|no_image)\.error\.(code|message)": "the vendor's does not read "
    "the server's reason there",
    r"code_gone\.response_body": "the same",
    r"code_rich\.result\[0\]\.extra_properties": "the vendor's keeps no type but plain text",
}
"""What differs, and why: a pattern of calls and their fields."""

ON_PURPOSE_BLOCKING = {
    r"(context|context_get|contexts\[0\])": "one class for both colours",
}
"""What differs in the blocking colour alone."""

pytestmark = pytest.mark.timeout(240)


def returned(sdk: str, colour: str) -> dict[str, str]:
    """Return what the calls of an SDK return, as ``call.field: type value``."""
    assert PYTHONS[sdk].exists(), "the vendor's SDK is not installed: run make vendor"
    server = ensure_server()
    env = os.environ | {
        "OPEN_SANDBOX_DOMAIN": server.url.removeprefix("http://"),
        "OPEN_SANDBOX_API_KEY": server.api_key,
    }
    command = [PYTHONS[sdk], "-m", "vendor.values", sdk, colour]
    done = subprocess.run(command, cwd=TESTS, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    calls: dict[str, dict[str, str]] = json.loads(done.stdout)
    return {f"{call}{path}": told for call, paths in calls.items() for path, told in paths.items()}


@pytest.mark.parametrize(
    ("colour", "known"),
    [
        ("async", ON_PURPOSE),
        pytest.param("blocking", ON_PURPOSE | ON_PURPOSE_BLOCKING, marks=pytest.mark.slow),
    ],
)
def test_every_field_is_the_same_or_listed_with_its_reason(
    colour: str, known: dict[str, str]
) -> None:
    theirs, ours = returned("opensandbox", colour), returned("opensandbox_jupyter", colour)

    differing = {
        path: f"{told} -> {ours.get(path, 'missing')}"
        for path, told in theirs.items()
        if ours.get(path) != told
    }

    used = {path: [one for one in known if re.fullmatch(one, path)] for path in differing}
    assert {path: differing[path] for path, reasons in used.items() if not reasons} == {}
    needed = {one for reasons in used.values() for one in reasons}
    assert known.keys() - needed == set(), "take them off the list"
