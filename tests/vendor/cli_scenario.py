"""A person at the vendor's command line, ``osb``, from create to kill. Prints ``done``."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OSB = Path(sys.executable).with_name("osb")


def say(*arguments: str, fails: bool = False) -> str:
    """Return what ``osb`` prints."""
    done = subprocess.run([OSB, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode != 0) is fails, (arguments, done.stdout, done.stderr)
    return done.stdout + (done.stderr if fails else "")


def tell(*arguments: str):
    """Return what ``osb`` prints, read as JSON."""
    return json.loads(say(*arguments, "-o", "json"))


def until(get, done) -> None:
    deadline = time.monotonic() + 30
    while not done(found := get()):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


box = tell("sandbox", "create", "--image", "python:3", "--timeout", "10m")["id"]
assert box in json.dumps(tell("sandbox", "list"))
assert tell("sandbox", "get", box)["status"]["state"] == "Running"
assert "true" in say("sandbox", "health", box, "-o", "json").lower()
assert tell("sandbox", "metrics", box)
assert "18999" in say("sandbox", "endpoint", box, "--port", "18999", "-o", "json")
say("sandbox", "renew", box, "--timeout", "20m")

assert say("command", "run", box, "-o", "raw", "--", "echo", "hello there").strip() == "hello there"
assert say("command", "run", box, "--argv", "-o", "raw", "--", "echo", "$HOME").strip() == "$HOME"
background = say(
    "command", "run", box, "--background", "-o", "json", "--", "bash", "-c", "sleep 0.3; echo late"
)
execution = json.loads(background)
execution = execution.get("execution_id") or execution.get("id")
until(lambda: say("command", "logs", box, execution, "-o", "raw"), lambda text: "late" in text)
assert "0" in say("command", "status", box, execution, "-o", "json")
session = tell("command", "session", "create", box)
session = session.get("session_id") or session.get("id")
say("command", "session", "run", box, session, "--", "export", "KEPT=yes")
assert "yes" in say("command", "session", "run", box, session, "--", "printenv", "KEPT")
say("command", "session", "delete", box, session)

with tempfile.TemporaryDirectory() as folder:
    local = Path(folder, "file.txt")
    local.write_text("from here\n")
    say("file", "upload", box, str(local), "/workspace/up.txt")
    assert say("file", "cat", box, "/workspace/up.txt") == "from here\n"
    say("file", "replace", box, "/workspace/up.txt", "--old", "here", "--new", "there")
    say("file", "download", box, "/workspace/up.txt", f"{folder}/back.txt")
    assert Path(folder, "back.txt").read_text() == "from there\n"
say("file", "write", box, "/workspace/w.py", "--content", "print(1)")
say("file", "chmod", box, "/workspace/w.py", "--mode", "0600")
assert "600" in say("file", "info", box, "/workspace/w.py", "-o", "json")
assert "w.py" in say("file", "search", box, "/workspace", "--pattern", "*.py", "-o", "json")
say("file", "mkdir", box, "/workspace/new")
say("file", "mv", box, "/workspace/w.py", "/workspace/new/v.py")
say("file", "rm", box, "/workspace/new/v.py")
say("file", "rmdir", box, "/workspace/new")

say("egress", "patch", box, "--rule", "allow=example.com")
assert "example.com" in say("egress", "get", box, "-o", "json")
assert "SANDBOX_RUNNING" in say("diagnostics", "events", box, "--scope", "runtime", "-o", "raw")
say("diagnostics", "logs", box, "--scope", "container", "-o", "raw")
say("devops", "summary", box)

snapshot = tell("snapshot", "create", box, "--name", "kept")["id"]
until(lambda: tell("snapshot", "get", snapshot)["status"]["state"], lambda state: state == "Ready")
second = tell("sandbox", "create", "--snapshot-id", snapshot, "--timeout", "10m")["id"]
assert say("file", "cat", second, "/workspace/up.txt") == "from there\n"
say("snapshot", "delete", snapshot)

template = tell("template", "create", "--image", "python:3", "--publish", "s3://here")
template = template.get("template_id") or template["templateId"]
until(lambda: tell("template", "get", template)["status"]["phase"], lambda it: it == "Succeeded")
third = tell("sandbox", "create", "--template", template, "--timeout", "10m")["id"]
assert say("command", "run", third, "-o", "raw", "--", "echo", "templated").strip() == "templated"
say("sandbox", "kill", third)
say("template", "delete", template)

say("sandbox", "pause", box)
until(lambda: tell("sandbox", "get", box)["status"]["state"], lambda state: state == "Paused")
say("sandbox", "resume", box)
say("sandbox", "kill", box, second)
assert "no sandbox" in say("sandbox", "get", box, fails=True)
print("done")
