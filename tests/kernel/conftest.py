from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import Kernel, living_kernel


@pytest.fixture(scope="module")
def shared() -> Iterator[Kernel]:
    """One kernel with one sandbox, for all tests of a module."""
    with living_kernel() as kernel:
        assert kernel.run("%sandbox create --name main").status == "ok"
        yield kernel


@pytest.fixture
def kernel(shared: Kernel) -> Kernel:
    """The shared kernel, with the shared sandbox in use."""
    assert shared.run("%sandbox use main").status == "ok"
    return shared
