"""Every test session has a home of its own: no test meets the person's server, profile or keys."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest

from opensandbox_jupyter.hosting.removal import remove_tree

OURS = ("OPEN_SANDBOX_", "OPENSANDBOX_", "JUPYTER_", "IPYTHON")
session_home = pytest.StashKey[Path]()
hypothesis.settings.register_profile(  # a busy machine is no fault
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    home = Path(tempfile.mkdtemp(prefix="opensandbox-tests-"))
    home.chmod(0o755)  # sandboxes of a server started by root run as somebody else
    config.stash[session_home] = home
    for name in [name for name in os.environ if name.startswith(OURS)]:
        del os.environ[name]
    real_home = os.environ.get("HOME", "/")
    os.environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", f"{real_home}/.cache/ms-playwright")
    os.environ.update(
        TESTS_REAL_HOME=real_home,
        HOME=str(home),
        XDG_CACHE_HOME=str(home / "cache"),
        IPYTHONDIR=str(home / "ipython"),
        JUPYTER_CONFIG_DIR=str(home / "jupyter/config"),
        JUPYTER_DATA_DIR=str(home / "jupyter/data"),
        JUPYTER_RUNTIME_DIR=str(home / "jupyter/run"),
        OPENSANDBOX_JUPYTER_HOME=str(home / "opensandbox"),
        PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Notebooks are compared with what they have stored: that must be the same each time."""
    with pytest.MonkeyPatch.context() as patch:
        if item.path.suffix == ".ipynb":
            patch.setenv("OPENSANDBOX_JUPYTER_PLAIN", "1")
        return (yield)


def pytest_unconfigure(config: pytest.Config) -> None:
    home = config.stash.get(session_home, None)
    if home is None:
        return
    if (home / "opensandbox").exists():
        stop = [sys.executable, "-m", "opensandbox_jupyter.cli", "stop"]
        subprocess.run(stop, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    with suppress(OSError):
        remove_tree(home)
