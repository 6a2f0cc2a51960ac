"""One JupyterLab and one browser for a module of tests; a page of its own for each test.

Playwright is stopped after each module: while it runs, no other event loop can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from lab import Lab, Notebook, Open, launch_browser
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(180))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch_browser(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.running(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        yield context.new_page()


@pytest.fixture
def open_cells(lab: Lab, page: Page, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open a notebook made of the given code cells; a picture of its last state is kept."""
    opened: list[Notebook] = []

    def open_cells(cells: Sequence[str]) -> Notebook:
        name = f"{request.node.name}.ipynb"
        opened.append(Notebook(page, lab, lab.write(name, cells)))
        return opened[-1]

    yield open_cells
    for notebook in opened:
        notebook.screenshot(request.node.name)
