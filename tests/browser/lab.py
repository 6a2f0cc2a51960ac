"""A real JupyterLab, and what a person does with a notebook in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Locator, Page, Playwright, expect

SCREENSHOTS = Path(__file__).resolve().parents[2] / "screenshots"
PATIENCE = 30_000  # milliseconds; how long something may take before it counts as never

SETTINGS = {
    # All cells are in the page, also those that one would have to scroll to.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # A notebook is saved when a test says so.
    "docmanager-extension/plugin": {"autosave": False},
}
KERNEL_IS_IDLE = """() => {
    const session = window.jupyterapp.shell.currentWidget?.context?.sessionContext;
    return session?.isReady && session.session?.kernel?.status === "idle";
}"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def launch_browser(playwright: Playwright) -> Browser:
    """Start the system's Chromium or Chrome; Playwright's own where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=found, args=args)


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address with a slash at the end, its token, its folder."""

    url: str
    token: str
    root: Path

    @classmethod
    @contextmanager
    def running(cls, base: Path) -> Iterator[Lab]:
        """Run a JupyterLab whose every file is below ``base``."""
        root, run = base / "notebooks", base / "run"
        root.mkdir()
        for name, settings in SETTINGS.items():
            path = base / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings), encoding="utf-8")
        page_config = base / "config/labconfig/page_config.json"
        page_config.parent.mkdir(parents=True)
        news = {"@jupyterlab/apputils-extension:announcements": True}
        page_config.write_text(json.dumps({"disabledExtensions": news}), encoding="utf-8")
        environment = os.environ | {
            "JUPYTER_CONFIG_DIR": str(base / "config"),
            "JUPYTER_DATA_DIR": str(base / "data"),
            "JUPYTER_RUNTIME_DIR": str(run),
            "JUPYTERLAB_SETTINGS_DIR": str(base / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(base / "workspaces"),
        }
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
        command += ["--ServerApp.port=0", f"--ServerApp.root_dir={root}"]
        command += ["--LabApp.expose_app_in_browser=True"]
        with (base / "lab.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield cls._found(process, run, root, base / "lab.log")
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    @classmethod
    def _found(cls, process: subprocess.Popen[bytes], run: Path, root: Path, log: Path) -> Lab:
        info = run / f"jpserver-{process.pid}.json"
        deadline = time.monotonic() + PATIENCE / 1000
        while process.poll() is None and time.monotonic() < deadline:
            if info.exists() and (text := info.read_text(encoding="utf-8")):
                facts = json.loads(text)
                return cls(facts["url"], facts["token"], root)
            time.sleep(0.05)
        raise AssertionError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')}")

    def write(self, name: str, cells: Sequence[str]) -> str:
        """Make a notebook of code cells and return its name."""
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = new_notebook(
            cells=[new_code_cell(source) for source in cells], metadata={"kernelspec": kernel}
        )
        nbformat.write(notebook, self.root / name)
        return name


class Notebook:
    """A notebook open in a browser. Cells are counted from 0, those of text included."""

    def __init__(self, page: Page, lab: Lab, name: str) -> None:
        self.page = page
        self.path = lab.root / name
        page.set_default_timeout(PATIENCE)
        page.goto(f"{lab.url}lab/tree/{name}?reset&token={lab.token}")
        self._panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        expect(self._panel.locator(".jp-Notebook")).to_be_visible(timeout=PATIENCE)
        self.wait_idle()
        expect(page.locator(".jp-Dialog")).to_have_count(0)

    def cell(self, index: int) -> Locator:
        """Return a cell."""
        return self._panel.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        """Return what a cell shows below its source."""
        return self.cell(index).locator(".jp-Cell-outputWrapper")

    def prompt(self, index: int) -> Locator:
        """Return a cell's ``[3]:``."""
        return self.cell(index).locator(".jp-InputPrompt")

    def errors(self) -> Locator:
        """Return the error outputs of all cells."""
        return self._panel.locator('[data-mime-type="application/vnd.jupyter.error"]')

    def run(self, index: int) -> None:
        """Start one cell."""
        self.cell(index).locator(".jp-InputPrompt").click()
        self._command("notebook:run-cell")

    def run_all(self) -> None:
        """Start all cells, as the Run menu does."""
        self._command("notebook:run-all-cells")

    def interrupt(self) -> None:
        """Press the toolbar's stop button."""
        self._panel.locator('[data-jp-item-name="interrupt"] jp-button').click()

    def save(self) -> nbformat.NotebookNode:
        """Save, and return what is then in the file."""
        before = self.path.stat().st_mtime_ns
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        assert self.path.stat().st_mtime_ns > before, "nothing was written"
        return nbformat.read(self.path, as_version=4)

    def type_into(self, index: int, text: str) -> None:
        """Click into a cell and type at the end of its source."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+End")
        self.page.keyboard.type(text)

    def wait_text(self, index: int, text: str) -> None:
        """Wait until a cell shows ``text``."""
        expect(self.output(index)).to_contain_text(text, timeout=PATIENCE)

    def wait_running(self, index: int) -> None:
        """Wait until a cell is running or waits for its turn."""
        expect(self.prompt(index)).to_have_text("[*]:", timeout=PATIENCE)

    def wait_done(self, index: int, patience: int = PATIENCE) -> None:
        """Wait until a cell has a number: it ran, well or not."""
        expect(self.prompt(index)).to_have_text(re.compile(r"^\[\d+\]:$"), timeout=patience)

    def wait_idle(self) -> None:
        """Wait until the kernel has answered and has nothing to do."""
        self.page.wait_for_function(KERNEL_IS_IDLE)

    def screenshot(self, name: str) -> Path:
        """Keep a picture of the page for a person to look at."""
        path = SCREENSHOTS / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        self.page.screenshot(path=path)
        return path

    def _command(self, name: str) -> None:
        # Its promise ends with the cell, so it is not waited for.
        self.page.evaluate("name => { void window.jupyterapp.commands.execute(name); }", name)


Open = Callable[[Sequence[str]], Notebook]
"""Opens a notebook of the given code cells: the fixture ``open_cells``."""
