"""Code contexts in real sandboxes: state, rich output, failures, interrupts, hostile code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from server_driving import Box, create_box, start, wait_until

RUNNER = Path(__file__).parents[2] / "opensandbox_jupyter/execd/runner.py"
"""Nothing is imported from it: it is started."""


@pytest.fixture(scope="module")
def box(make_home: Callable[[int], Path]) -> Iterator[Box]:
    running = start(make_home(os.geteuid()))
    with running.client() as client:
        yield create_box(client)
    running.stop()


@pytest.fixture
def execd(box: Box) -> Iterator[httpx.Client]:
    with box.execd() as client:
        yield client
        for language in ("python", "bash"):
            client.delete("/code/contexts", params={"language": language})


class Events(list):
    """What a run said."""

    def text(self, kind: str = "stdout") -> str:
        return "".join(event["text"] for event in self if event["type"] == kind)

    def of(self, kind: str) -> list:
        return [event for event in self if event["type"] == kind]

    @property
    def shown(self) -> list[dict]:
        return [event["results"] for event in self.of("result")]

    @property
    def error(self) -> dict:
        [event] = self.of("error")
        assert self[-1] is event
        return event["error"]


def run(execd: httpx.Client, code: str, **context: str) -> Events:
    answer = execd.post("/code", json={"code": code, "context": context or None})
    assert answer.status_code == 200, answer.text
    assert "text/event-stream" in answer.headers["content-type"]
    events = Events(json.loads(line) for line in answer.text.split("\n\n") if line.strip())
    assert events[0]["type"] == "init"
    ends = [event for event in events if event["type"] in {"error", "execution_complete"}]
    assert ends == [events[-1]]
    return events


def test_state_stays_and_values_are_shown(execd: httpx.Client) -> None:
    first = run(execd, "import sys\nx = 20\nprint('out'); print('err', file=sys.stderr)\nx + 1")
    assert (first.text(), first.text("stderr")) == ("out\n", "err\n")
    assert first.shown == [{"text": "21"}]
    assert first.of("execution_count")[0]["execution_count"] == 1
    second = run(execd, "x += 2\nx * 2")
    assert second.shown == [{"text": "44"}]
    assert second.of("execution_count")[0]["execution_count"] == 2
    assert first[0]["text"] == second[0]["text"]


def test_rich_values_keep_every_type_and_their_place(execd: httpx.Client) -> None:
    code = """
from IPython.display import display, HTML
class Rich:
    def _repr_mimebundle_(self, **_):
        return {"text/plain": "plain", "application/json": {"a": [1]}, "image/png": b"PNG"}
print("before")
display(HTML("<b>x</b>"))
print("between")
display(Rich())
print("after")
"""
    events = run(execd, code)
    order = [event["type"] for event in events if event["type"] in {"stdout", "result"}]
    assert order == ["stdout", "result", "stdout", "result", "stdout"]
    assert events.shown[0]["text/html"] == "<b>x</b>"
    assert events.shown[1] == {"text": "plain", "application/json": {"a": [1]}, "image/png": "UE5H"}


def test_what_is_raised_is_told(execd: httpx.Client) -> None:
    error = run(execd, "def f():\n    1 / 0\nf()").error
    assert (error["ename"], error["evalue"]) == ("ZeroDivisionError", "division by zero")
    shown = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error["traceback"]))
    assert "1 / 0" in shown
    assert run(execd, "x = (").error["ename"] in {"SyntaxError", "_IncompleteInputError"}
    assert "put the value into the code" in run(execd, "input('name? ')").error["evalue"]
    assert run(execd, "1 + 1").shown == [{"text": "2"}]


def test_what_else_runs(execd: httpx.Client) -> None:
    assert run(execd, "import asyncio\nawait asyncio.sleep(0.01)\n'awaited'").shown == [
        {"text": "'awaited'"}
    ]
    assert run(execd, "!echo from a shell; pwd").text() == "from a shell\n/workspace\n"
    written = run(execd, "import os; os.write(1, b'raw'); os.system('echo child')")
    assert written.text() == "rawchild\n"
    count = 300_000
    assert run(execd, f"for n in range({count}): print(n)").text().count("\n") == count
    assert run(execd, "%pwd").shown == [{"text": "'/workspace'"}]


def test_contexts_are_apart(execd: httpx.Client) -> None:
    made = [execd.post("/code/context", json={"language": "python"}).json() for _ in range(2)]
    one, two = (context["id"] for context in made)
    run(execd, "x = 1", id=one)
    assert run(execd, "x", id=two).error["ename"] == "NameError"
    assert run(execd, "x", id=one).shown == [{"text": "1"}]
    listed = execd.get("/code/contexts", params={"language": "python"}).json()
    assert {context["id"] for context in listed} == {one, two}
    assert execd.get(f"/code/contexts/{one}").json()["language"] == "python"
    assert execd.delete(f"/code/contexts/{one}").status_code == 200
    answer = execd.get(f"/code/contexts/{one}")
    assert (answer.status_code, answer.json()["code"]) == (404, "CONTEXT_NOT_FOUND")
    where = execd.post("/code/context", json={"language": "python", "cwd": "/tmp"}).json()["id"]
    assert run(execd, "import os; os.getcwd()", id=where).shown == [{"text": "'/tmp'"}]
    assert execd.delete("/code/contexts", params={"language": "python"}).status_code == 200
    assert execd.get("/code/contexts").json() == []


def test_bash_keeps_its_state(execd: httpx.Client) -> None:
    run(execd, "x=5; f() { echo f$x; }", language="bash")
    assert run(execd, "f; echo $0 >&2", language="bash").text() == "f5\n"
    assert run(execd, "exit 3", language="bash").error["evalue"] == "3"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"code": " "}, 400),
        ({"code": "1", "context": {"language": "ruby"}}, 400),
        ({"code": "1", "context": {"id": "none"}}, 404),
        ({}, 400),
    ],
)
def test_what_is_refused(execd: httpx.Client, body: dict, status: int) -> None:
    answer = execd.post("/code", json=body)
    assert answer.status_code == status
    assert answer.json()["message"]


def test_an_interrupt_ends_the_run_and_keeps_the_state(execd: httpx.Client) -> None:
    run(execd, "x = 7")
    context_id = execd.get("/code/contexts").json()[0]["id"]
    for code in ("import time\nwhile True: time.sleep(0.1)", "!sleep 600", "while True: pass"):
        timer = threading.Timer(0.5, lambda: execd.delete("/code", params={"id": context_id}))
        timer.start()
        events = run(execd, code)
        timer.join()
        if not code.startswith("!"):
            assert events.error["ename"] == "KeyboardInterrupt"
    assert run(execd, "x").shown == [{"text": "7"}]
    stubborn = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
    timer = threading.Timer(0.5, lambda: execd.delete("/command", params={"id": context_id}))
    timer.start()
    assert run(execd, stubborn).error["ename"] == "InterpreterDied"
    timer.join()
    assert execd.delete("/code", params={"id": context_id}).status_code == 404
    fresh = run(execd, "1")
    assert "begins with a new one" in fresh.text("stderr")


def test_a_busy_context_says_so_before_any_event(execd: httpx.Client) -> None:
    context_id = execd.post("/code/context", json={"language": "python"}).json()["id"]
    body = {"code": "import time; time.sleep(1.5); 'slept'", "context": {"id": context_id}}
    with execd.stream("POST", "/code", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        refused = execd.post("/code", json={"code": "1", "context": {"id": context_id}})
        assert (refused.status_code, refused.json()["code"]) == (409, "RUNTIME_ERROR")
        assert any("slept" in line for line in lines)


def test_a_client_that_leaves_does_not_end_the_run(execd: httpx.Client) -> None:
    context_id = execd.post("/code/context", json={"language": "python"}).json()["id"]
    code = "import time\nfor n in range(20): print(n, flush=True); time.sleep(0.05)\ndone = True"
    body = {"code": code, "context": {"id": context_id}}
    with execd.stream("POST", "/code", json=body) as answer:
        next(answer.iter_lines())
    where = {"code": "done", "context": {"id": context_id}}
    assert wait_until(lambda: execd.post("/code", json=where).status_code == 200)
    assert run(execd, "done", id=context_id).shown == [{"text": "True"}]


@pytest.mark.parametrize(
    "code",
    [
        "import os; os._exit(0)",
        "import os; os.kill(os.getpid(), 9)",
        "import ctypes; ctypes.string_at(0)",
        "import os, time\nfor n in range(3, 300):\n    try: os.write(n, b'not json\\n')\n"
        "    except OSError: pass\ntime.sleep(5)",
        "import os\nfor n in range(3, 300):\n    try: os.close(n)\n    except OSError: pass",
    ],
)
def test_a_process_that_dies_or_lies_is_replaced(execd: httpx.Client, code: str) -> None:
    run(execd, "x = 1")
    assert run(execd, code).error["ename"] == "InterpreterDied"
    fresh = run(execd, "'x' in dir()")
    assert fresh.shown == [{"text": "False"}]
    assert "had ended" in fresh.text("stderr")


def test_leaving_is_no_failure(execd: httpx.Client) -> None:
    run(execd, "x = 1")
    assert run(execd, "exit()")[-1]["type"] == "execution_complete"
    assert run(execd, "'x' in dir()").shown == [{"text": "False"}]


def test_contexts_have_an_end(execd: httpx.Client) -> None:
    made = [execd.post("/code/context", json={"language": "bash"}) for _ in range(65)]
    assert [answer.status_code for answer in made] == [200] * 64 + [409]


def test_someone_answers_where_clients_look_for_kernels(box: Box) -> None:
    assert box.output("bash -c ': < /dev/tcp/127.0.0.1/44771' && echo there") == "there"


class Running:
    """The program of a context, without a daemon around it."""

    def __init__(self, folder: Path, *options: str) -> None:
        (folder / ".whole").touch()
        ask, answer = os.pipe(), os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, *options, RUNNER, str(ask[0]), str(answer[1]), str(folder)],
            pass_fds=(ask[0], answer[1]),
            stdout=subprocess.PIPE,
            cwd=folder,
        )
        os.close(ask[0])
        os.close(answer[1])
        self.tell = os.fdopen(ask[1], "w")
        self.hear = os.fdopen(answer[0])

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.tell.close()
        self.hear.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert self.process.wait(10) == 0

    def _send(self, request: dict) -> None:
        self.tell.write(json.dumps(request) + "\n")
        self.tell.flush()

    def run(self, code: str) -> list[dict]:
        self._send({"code": code})
        said = []
        while not said or said[-1]["type"] != "done":
            said.append(json.loads(self.hear.readline()))
            if said[-1]["type"] == "result":
                self._send({})
        return said


def test_plain_python_does_without_ipython(tmp_path: Path) -> None:
    """As in an image whose Python is too old for the IPython that is here."""
    codes = ("x = 1\nprint('out')\nx + 1", "1 / 0", "raise SystemExit")
    with Running(tmp_path, "-S") as running:
        said = [one for code in codes for one in running.run(code)]
        assert running.process.stdout is not None
        assert running.process.stdout.read() == b"out\n"
    kinds = [one["type"] for one in said]
    assert kinds == ["count", "result", "done", "count", "done", "count", "done"]
    assert said[1]["data"] == {"text/plain": "2"}
    assert said[4]["error"]["ename"] == "ZeroDivisionError"
    assert said[6]["over"] is True


@pytest.mark.parametrize("options", [("-S",), ()], ids=["plain", "ipython"])
def test_a_storm_of_interrupts_ends_runs_and_nothing_else(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Execd presses until a run has ended: what comes too late hits no later run."""
    with Running(tmp_path, *options) as running:
        running.run("import time")
        calm = threading.Event()

        def press() -> None:
            while not calm.wait(0.002):
                running.process.send_signal(signal.SIGINT)

        storm = threading.Thread(target=press)
        storm.start()
        try:
            for number in range(15):
                said = running.run(f"{number}\ntime.sleep(600)")
                assert said[-1]["error"]["ename"] == "KeyboardInterrupt", said
        finally:
            calm.set()
            storm.join()
        assert running.run("6 * 7")[1]["data"] == {"text/plain": "42"}


def test_interrupted_code_has_time_to_save(execd: httpx.Client) -> None:
    context_id = execd.post("/code/context", json={"language": "python"}).json()["id"]
    code = (
        "import time\ntry:\n    print('begun', flush=True)\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n    time.sleep(0.4)\n    print('saved')"
    )
    body = {"code": code, "context": {"id": context_id}}
    with execd.stream("POST", "/code", json=body) as answer:
        lines = answer.iter_lines()
        assert any("begun" in line for line in lines)
        assert execd.delete("/code", params={"id": context_id}).status_code == 200
        assert any("saved" in line for line in lines)
