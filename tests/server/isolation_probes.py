"""Tries to get out, one probe at a time. Runs inside a sandbox, and outside as the control.

Prints one JSON object: the name of each probe and what came of it.
"""

from __future__ import annotations

import ctypes
import errno
import glob
import json
import os
import platform
import socket
import sys
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
X86 = platform.machine() == "x86_64"
NUMBERS = {
    "keyctl": (250, 219), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "pidfd_getfd": (438, 438), "mount": (165, 40),
    "umount2": (166, 39), "fsopen": (430, 430), "open_tree": (428, 428),
    "mount_setattr": (442, 442), "setns": (308, 268), "unshare": (272, 97),
    "kexec_load": (246, 104), "init_module": (175, 105), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "clone3": (435, 435), "pivot_root": (155, 41),
    "add_key": (248, 217),
}  # fmt: skip


def name_of(number: int) -> str:
    return errno.errorcode.get(number, str(number)) if number else "done"


def attempt(action) -> str:
    try:
        action()
    except OSError as error:
        return name_of(error.errno or 0)
    return "done"


def call(number: int, *arguments: object) -> str:
    """Make a system call in a child, which it may harm."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        ctypes.set_errno(0)
        result = LIBC.syscall(ctypes.c_long(number), *arguments)
        os.write(write, name_of(ctypes.get_errno() if result == -1 else 0).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return text.removesuffix("done") or text or "killed"  # a clone answers twice


def calls() -> dict[str, str]:
    found = {}
    for name, (x86, arm) in NUMBERS.items():
        found[f"call {name}"] = call(x86 if X86 else arm, *[ctypes.c_long(0)] * 6)
    clone = 56 if X86 else 220
    for flag, name in ((CLONE_NEWUSER, "user"), (CLONE_NEWNS, "mount")):
        found[f"clone {name}"] = call(clone, ctypes.c_long(flag | 17), *[ctypes.c_long(0)] * 4)
    if X86:
        found["x32 getpid"] = call(0x40000000 | 39)
        found["x32 keyctl"] = call(0x40000000 | 250, *[ctypes.c_long(0)] * 5)
    return found


def families() -> dict[str, str]:
    found = {}
    for family in range(46):
        kind = socket.SOCK_RAW if family == 16 else socket.SOCK_STREAM
        result = attempt(lambda f=family, k=kind: socket.socket(f, k).close())
        if result == "done":
            found[str(family)] = result
    upper = call(
        41 if X86 else 198, ctypes.c_long(40 | 1 << 32), ctypes.c_long(1), ctypes.c_long(0)
    )
    return {"families": sorted(map(int, found)), "vsock, upper half set": upper}


def terminal() -> dict[str, str]:
    leader, follower = os.openpty()
    found = {}
    for name, request in (("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541C)):
        for bits in (0, 1 << 32):
            buffer = ctypes.create_string_buffer(b"x")
            number = 16 if X86 else 29
            found[f"{name} {'high' if bits else 'plain'}"] = call(
                number, ctypes.c_long(follower), ctypes.c_long(request | bits), buffer
            )
    os.close(leader)
    os.close(follower)
    return found


def reach(task: dict) -> dict[str, str]:
    """Look for what the test put on the host."""
    found = {}
    for name, path in task["files"].items():
        found[f"read {name}"] = attempt(lambda p=path: open(p, "rb").close())
    for name, path in task["writes"].items():
        found[f"write {name}"] = attempt(lambda p=path: os.close(os.open(p, os.O_WRONLY)))
    found["host port"] = attempt(
        lambda: socket.create_connection(("127.0.0.1", task["port"]), timeout=3).close()
    )
    for name, address in (("abstract", task["abstract"]), ("unix", task["unix"])):

        def connect(address=address) -> None:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(address.replace("@", "\0"))

        found[f"{name} socket"] = attempt(connect)
    return found


def needles(task: dict) -> list[str]:
    """Return which secrets show anywhere in what processes show of themselves."""
    found = set()
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        try:
            content = Path(path).read_bytes()
        except OSError:
            continue
        found |= {
            name
            for name, mirrored in task["mirrored needles"].items()  # or we would find ourselves
            if mirrored[::-1].encode() in content
        }
    return sorted(found)


def supervisor() -> dict[str, str]:
    """Try to read and rob execd, the child of the first process."""
    pids = sorted(int(path.split("/")[2]) for path in glob.glob("/proc/[0-9]*/cmdline"))
    execd = next(
        pid for pid in pids if pid > 1 and b"execd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    found = {
        f"execd {name}": attempt(lambda n=name: Path(f"/proc/{execd}/{n}").open("rb").close())
        for name in ("mem", "environ", "maps", "cwd/.", "root/.")
    }
    for number in range(12):
        link = f"/proc/{execd}/fd/{number}"
        found[f"execd descriptor {number}"] = attempt(lambda at=link: os.readlink(at))
    package = "/opt/opensandbox/lib/opensandbox_jupyter/__init__.py"
    program = os.path.realpath("/opt/opensandbox/python/bin/python3")
    found["execd code"] = attempt(lambda: os.close(os.open(package, os.O_WRONLY)))
    found["execd path"] = attempt(lambda: os.mkdir("/opt/opensandbox/lib/json"))
    found["execd program"] = attempt(lambda: os.close(os.open(program, os.O_WRONLY)))
    return found


def status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    wanted = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    pairs = (line.split(":", 1) for line in lines)
    return {key: value.strip() for key, value in pairs if key in wanted}


def make_device() -> None:
    path = f"/tmp/osj-device-{os.getpid()}"
    os.mknod(path, 0o020666, os.makedev(1, 5))
    os.unlink(path)


def core_limit() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_CORE)[1]


def main() -> None:
    task = json.loads(sys.argv[1])
    kinds = ("user", "pid", "mnt", "ipc", "uts", "net", "cgroup")
    found: dict[str, object] = {
        "namespaces": {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in kinds},
        "processes": sorted(int(pid) for pid in os.listdir("/proc") if pid.isdigit()),
        "needles": needles(task),
        "status": status(),
        "core limit": core_limit(),
        "devices": sorted(os.listdir("/dev")),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "leave": attempt(lambda: socket.create_connection(("192.0.2.1", 80), timeout=3)),
        "make device": attempt(make_device),
        **families(),
        **terminal(),
        **reach(task),
        **calls(),
    }
    if task["inside"]:
        found |= supervisor()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
