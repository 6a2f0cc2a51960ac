from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from server_driving import STARTED, Box, Running, assert_nothing_left, create_box, start

from opensandbox_jupyter.hosting.removal import remove_tree


@pytest.fixture(scope="session")
def make_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Path]]:
    """Homes lie where an ordinary user may go, which pytest's own directories are not."""
    made: list[Path] = []

    def make(uid: int) -> Path:
        home = Path(tempfile.mkdtemp(prefix="osj-"))
        made.append(home)
        if uid != os.geteuid():
            os.chown(home, uid, uid)
        return home

    yield make
    for running in STARTED:
        running.stop()
    for home in made:
        with suppress(OSError):
            remove_tree(home)


@pytest.fixture
def server(make_home: Callable[[int], Path]) -> Iterator[Running]:
    running = start(make_home(os.geteuid()))
    yield running
    running.stop()
    assert_nothing_left(running.home)


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def create(client: httpx.Client) -> Callable[..., Box]:
    return lambda **more: create_box(client, **more)
