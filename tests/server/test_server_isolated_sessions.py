"""Isolated sessions in a real sandbox: what they can do, and what they cannot see."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from server_driving import ORDINARY_UID, Box, assert_nothing_left, create_box, start, wait_until

ENABLED = {"extensions": {"bootstrap.execd.isolation": "enable"}}
SESSION = "/v1/isolated/session"


@pytest.fixture(scope="module", params=["own uid", "ordinary uid"])
def client(
    request: pytest.FixtureRequest, make_home: Callable[[int], Path]
) -> Iterator[httpx.Client]:
    uid = os.geteuid() if request.param == "own uid" else ORDINARY_UID
    if request.param == "ordinary uid" and os.geteuid() != 0:
        pytest.skip("this server is an ordinary user's already")
    running = start(make_home(uid), uid)
    with running.client() as client:
        yield client
    running.stop()
    assert_nothing_left(running.home)


@pytest.fixture(scope="module")
def box(client: httpx.Client) -> Box:
    return create_box(client, **ENABLED)


@pytest.fixture(scope="module")
def execd(box: Box) -> Iterator[httpx.Client]:
    with box.execd() as execd:
        yield execd


@pytest.fixture
def session(execd: httpx.Client) -> Iterator[str]:
    with opened(execd) as session:
        yield session


@contextlib.contextmanager
def opened(execd: httpx.Client, **wanted: object) -> Iterator[str]:
    answer = execd.post(SESSION, json={"workspace": {"path": "/workspace", "mode": "rw"}, **wanted})
    assert answer.status_code == 201, answer.text
    path = f"{SESSION}/{answer.json()['session_id']}"
    yield path
    assert execd.delete(path).status_code == 204


def run(execd: httpx.Client, session: str, code: str, **more: object) -> tuple[str, str]:
    """Return what came out, and the exit code as text."""
    answer = execd.post(f"{session}/run", json={"code": code, **more})
    assert answer.status_code == 200, answer.text
    events = [json.loads(frame) for frame in answer.text.split("\n\n") if frame]
    assert {event["type"] for event in events} <= {"ping", "stdout", "error", "execution_complete"}
    out = "".join(event["text"] for event in events if event["type"] == "stdout")
    last = events[-1]
    if last["type"] == "error":
        assert last["error"]["ename"] == "ExitError"
        return out, last["error"]["evalue"]
    assert last["type"] == "execution_complete" and "execution_time" not in last
    return out, "0"


def test_a_run_sees_its_workspace_and_its_variables(execd: httpx.Client, session: str) -> None:
    code = "echo one >kept; pwd; echo $NAME; echo err >&2; exit 3"

    assert run(execd, session, code, envs={"NAME": "two"}) == ("/workspace\ntwo\nerr\n", "3")
    assert run(execd, session, "cat kept") == ("one\n", "0")


def test_a_run_that_takes_too_long_is_ended(execd: httpx.Client, session: str) -> None:
    assert run(execd, session, "sleep 600", timeout_seconds=1) == ("", "-1")


def test_a_session_sees_nothing_else(box: Box, execd: httpx.Client, session: str) -> None:
    box.output("mkdir -p /srv/secret /root/secret; echo s >/srv/secret/s; (sleep 4321 &)")
    assert "4321" in box.output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")

    assert run(execd, session, "ls /srv/secret /root/secret")[1] == "2"
    assert "4321" not in run(execd, session, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")[0]
    assert run(execd, session, "ls /opt/opensandbox/lib/.proc | wc -l") == ("0\n", "0")
    assert run(execd, session, "touch /etc/x /opt/x /usr/x /x")[1] == "1"


def test_a_session_has_a_network_only_when_it_shares_the_sandboxs(
    box: Box, execd: httpx.Client, session: str
) -> None:
    box.run("nohup python3 -m http.server 8123 --directory /srv >/dev/null 2>&1 &")
    ask = "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8123), 3)'"
    assert wait_until(lambda: box.run(ask)[0] == 0)

    assert run(execd, session, ask)[1] == "1"
    with opened(execd, share_net=True) as shared:
        assert run(execd, shared, ask) == ("", "0")


def test_a_copy_on_write_leaves_the_original_alone(box: Box, execd: httpx.Client) -> None:
    box.output(
        "rm -rf /srv/o,d; mkdir -p /srv/o,d/tree/out; cd /srv/o,d; echo a >a; echo b >tree/b"
    )
    copy = {"path": "/srv/o,d", "mode": "overlay"}
    through = [{"path": "/srv/o,d/tree/out", "mode": "rw"}]
    change = "echo more >>a; rm -r tree/b; mkdir new; mv a new; echo kept >tree/out/kept; ls"

    with (
        opened(execd, workspace=copy, overlays=through) as one,
        opened(execd, overlays=[{"path": "/srv/o,d"}]) as two,
    ):
        assert run(execd, one, change) == ("new\ntree\n", "0")
        assert run(execd, one, "cat new/a; ls tree; stat -c %a .") == ("a\nmore\nout\n755\n", "0")
        assert run(execd, two, "cd /srv/o,d; cat a tree/b tree/out/kept") == ("a\nb\nkept\n", "0")
        full, code = run(execd, two, "head -c 300000000 /dev/zero 2>&1 >/srv/o,d/big")
        assert "No space left" in full and code == "1"
    assert box.output("cd /srv/o,d; ls; cat a tree/b tree/out/kept") == "a\ntree\na\nb\nkept"
    assert "overlay" not in box.output("cat /proc/mounts | grep /srv; echo")


WALLS = """
import ctypes, errno, json
libc = ctypes.CDLL(None, use_errno=True)
found = {}
for name, arguments in {
    "unshare": (0x10000000,), "mount": (b"none", b"/tmp", b"tmpfs", 0, None),
    "umount2": (b"/proc", 2), "setns": (0, 0), "pivot_root": (b"/", b"/"),
}.items():
    code = getattr(libc, name, libc.unshare)(*arguments)
    found[name] = errno.errorcode.get(ctypes.get_errno()) if code else "done"
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(json.dumps([found, status["CapEff"].strip(), status["CapPrm"].strip(),
                  status["CapAmb"].strip(), status["NoNewPrivs"].strip()]))
"""


def test_walls_hold_for_commands_beside_and_inside(
    box: Box, execd: httpx.Client, session: str
) -> None:
    probe = f"cat >/tmp/walls.py <<'E'\n{WALLS}\nE\npython3 /tmp/walls.py"
    none = "0" * 16

    for text in (box.output(probe), run(execd, session, probe)[0]):
        calls, *capabilities, no_new = json.loads(text)
        assert set(calls.values()) == {"EPERM"}, calls
        assert capabilities == [none] * 3 and no_new == "1"
    assert box.run("unshare -Ur true")[0] and box.run("bwrap --ro-bind / / true")[0]
    assert box.output("ls /opt/opensandbox/lib/.proc | wc -l") == "0"


INTRUDER = """
import glob, os
for path in glob.glob("/proc/[0-9]*"):
    pid = int(path.split("/")[2])
    command = open(path + "/cmdline", "rb").read()
    if b"bwrap" not in command and b"execd" not in command:
        continue
    for name, flags in (("mem", os.O_RDWR), ("environ", 0), ("root/.", 0), ("maps", 0)):
        try:
            os.close(os.open(f"{path}/{name}", flags))
            print("opened", pid, name)
        except OSError as error:
            print("kept", pid, name)
"""


def test_no_process_under_the_weaker_filter_can_be_entered(
    client: httpx.Client, box: Box, session: str
) -> None:
    probe = f"cat >/tmp/in.py <<'E'\n{INTRUDER}\nE\npython3 /tmp/in.py"
    found = box.output(probe).splitlines()

    assert "opened 1 mem" in create_box(client).output(probe).splitlines()  # the control
    outside = [line for line in found if line.startswith("opened")]
    assert outside == [] and len({line.split()[1] for line in found}) >= 5, found


def test_the_first_process_of_a_session_has_the_same_filters(
    execd: httpx.Client, session: str
) -> None:
    ask = "for p in 1 self; do grep -E '^(Seccomp_filters|CapEff)' /proc/$p/status; done"
    first, own = run(execd, session, ask)[0].split("CapEff")[1:]

    assert first.strip() == own.strip()


def test_files_can_be_moved_between_directories(box: Box) -> None:
    box.output("mkdir -p /srv/from /srv/to; touch /srv/from/it")
    box.output('python3 -c \'import os; os.rename("/srv/from/it", "/srv/to/it")\'')


def test_files_of_a_session_are_what_the_session_sees(
    box: Box, execd: httpx.Client, session: str
) -> None:
    box.output("mkdir -p /srv/out; echo secret >/srv/out/s; ln -sfn /srv/out /workspace/link")
    form = {
        "metadata": ("m", json.dumps({"path": "/workspace/made"}), "application/json"),
        "file": ("f", b"content"),
    }

    assert execd.get(f"{session}/files/download", params={"path": "link/s"}).status_code == 404
    assert execd.get("/files/download", params={"path": "link/s"}).text == "secret\n"
    assert execd.post(f"{session}/files/upload", files=form).status_code == 200
    assert box.output("cat /workspace/made") == "content"
    listed = execd.get(f"{session}/directories/list", params={"path": "/workspace"}).json()
    assert "/workspace/made" in [entry["path"] for entry in listed]


def test_binds_and_read_only_workspaces(box: Box, execd: httpx.Client) -> None:
    box.output("mkdir -p /srv/a /srv/b")
    binds = [{"source": "/srv/a", "dest": "/data/a"}, {"source": "/srv/b", "readonly": True}]
    with opened(execd, workspace={"path": "/workspace", "mode": "ro"}, binds=binds) as session:
        assert run(execd, session, "echo x >/data/a/x") == ("", "0")
        assert run(execd, session, "touch /workspace/no")[1] == "1"
        assert run(execd, session, "touch /srv/b/no")[1] == "1"
    assert box.output("cat /srv/a/x") == "x"


def test_a_balanced_session_reads_the_sandbox_and_a_user_may_be_mapped(
    box: Box, execd: httpx.Client
) -> None:
    box.output("echo here >/srv/here")
    with opened(execd, profile="balanced", uid=1000, gid=1001, uid_mode="userns") as session:
        assert run(execd, session, "cat /srv/here; id -u; id -g") == ("here\n1000\n1001\n", "0")
        assert run(execd, session, "touch /srv/no")[1] == "1"
        assert int(run(execd, session, "ls /proc | grep -c '^[0-9]'")[0]) < 8


def test_a_background_run_is_asked_for_its_state_and_its_log(
    execd: httpx.Client, session: str
) -> None:
    answer = execd.post(f"{session}/run", json={"code": "echo one; exit 4", "background": True})
    assert answer.status_code == 202
    started = answer.json()
    assert session.endswith(started["session_id"])
    where = f"{session}/runs/{started['run_id']}"
    assert wait_until(lambda: not execd.get(where).json()["running"])

    assert execd.get(where).json()["exit_code"] == 4
    log = execd.get(f"{where}/logs", params={"cursor": 1})
    assert (log.text, log.headers["EXECD-ISOLATED-TAIL-CURSOR"]) == ("ne\n", "4")


def test_all_of_a_session_ends_with_it(box: Box, execd: httpx.Client) -> None:
    with opened(execd) as session:
        execd.post(f"{session}/run", json={"code": "setsid sleep 8765 & wait", "background": True})
        assert wait_until(lambda: box.run("pgrep -f 'sleep 876[5]'")[0] == 0)

    assert wait_until(lambda: box.run("pgrep -f 'sleep 876[5]'")[0] == 1)
    assert execd.get(session).status_code == 404


def test_sessions_can_be_opened_at_once_and_a_busy_one_stays(execd: httpx.Client) -> None:
    wanted = {"workspace": {"path": "/workspace"}, "idle_timeout_seconds": 1}
    busy = ""

    def is_begun() -> bool:
        nonlocal busy  # on a slow machine a session may be gone before its run begins
        busy = f"{SESSION}/{execd.post(SESSION, json=wanted).json()['session_id']}"
        begun = execd.post(f"{busy}/run", json={"code": "sleep 600", "background": True})
        return begun.status_code == 202

    assert wait_until(is_begun)
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: execd.post(SESSION, json=wanted).json(), range(3)))
    idle = [f"{SESSION}/{one['session_id']}" for one in made]

    assert wait_until(lambda: all(execd.get(one).status_code == 404 for one in idle))
    assert execd.get(busy).json()["status"] == "active"
    assert execd.delete(busy).status_code == 204


def test_a_session_that_nobody_uses_ends(execd: httpx.Client) -> None:
    wanted = {"workspace": {"path": "/workspace"}, "idle_timeout_seconds": 1}
    made = execd.post(SESSION, json=wanted).json()
    assert made["idle_timeout_seconds"] == 1 and made["status"] == "active"

    def listed() -> list[str]:
        return [one["session_id"] for one in execd.get("/v1/isolated/sessions").json()["sessions"]]

    assert wait_until(lambda: made["session_id"] not in listed())


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"workspace": None}, 400),
        ({"workspace": {"path": "/missing"}}, 400),
        ({"workspace": {"path": "/proc"}}, 400),
        ({"workspace": {"path": "/workspace", "mode": "rw", "persist": False}}, 400),
        ({"overlays": [{"path": "/srv", "persist": True}]}, 503),
        ({"binds": [{"source": "/opt/opensandbox/lib/.proc", "dest": "/p"}]}, 400),
        ({"binds": [{"source": "/srv", "dest": "/usr/lib"}]}, 400),
        ({"profile": "none"}, 400),
        ({"uid": 1000}, 503),
        ({"overlays": [{"path": "/workspace", "mode": "rw"}]}, 400),
        ({"idle_timeout_seconds": -1}, 400),
    ],
)
def test_what_cannot_be_is_refused(execd: httpx.Client, wanted: dict, status: int) -> None:
    answer = execd.post(SESSION, json={"workspace": {"path": "/workspace"}, **wanted})

    assert answer.status_code == status and answer.json()["message"], answer.text


def test_a_sandbox_says_what_it_can_do(client: httpx.Client, execd: httpx.Client) -> None:
    able = execd.get("/v1/isolated/capabilities").json()
    assert able["available"] and able["isolator"] == "bubblewrap" and able["userns_available"]
    with create_box(client).execd() as plain:
        refused = plain.post(SESSION, json={"workspace": {"path": "/workspace"}})
        assert refused.status_code == 503
        assert "bootstrap.execd.isolation" in refused.json()["message"]
        assert plain.get("/v1/isolated/capabilities").json()["available"] is False


def test_files_are_those_of_the_one_user(box: Box, execd: httpx.Client) -> None:
    box.output("echo mine >/workspace/mine")
    ask = {"path": "mine"}

    assert execd.get("/v1/filesystem/0/0/files/download", params=ask).text == "mine\n"
    refused = execd.get("/v1/filesystem/1000/1000/files/download", params=ask)
    assert refused.status_code == 501 and refused.json()["code"] == "NOT_SUPPORTED"
    assert execd.get("/ready").status_code == 200
