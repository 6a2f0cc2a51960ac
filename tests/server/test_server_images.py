"""Images that bring their own file system: imported, run, replaced, removed, and refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from server_driving import (
    Box,
    Running,
    assert_nothing_left,
    command_of,
    create_box,
    environment,
    start,
)

from opensandbox_jupyter.server import unpacking
from opensandbox_jupyter.server.archives import unpack
from opensandbox_jupyter.server.tar_files import ArchiveRefused

PROGRAMS = (
    "bash",
    "cat",
    "echo",
    "env",
    "id",
    "ls",
    "mkdir",
    "rm",
    "sleep",
    "tail",
    "touch",
    "true",
)


class Tar:
    """A tar file that is being made."""

    def __init__(self) -> None:
        self.buffer = io.BytesIO()
        self.file = tarfile.TarFile(fileobj=self.buffer, mode="w")

    def add(self, name: str, content: bytes = b"", mode: int = 0o644, **more: object) -> Tar:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), mode
        for key, value in more.items():
            setattr(member, key, value)
        self.file.addfile(member, io.BytesIO(content))
        return self

    def link(self, name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Tar:
        return self.add(name, type=kind, linkname=target)

    def directory(self, name: str, mode: int = 0o755) -> Tar:
        return self.add(name, type=tarfile.DIRTYPE, mode=mode)

    def bytes(self) -> bytes:
        self.file.close()
        return self.buffer.getvalue()


def system(tar: Tar) -> Tar:
    """Add a small system: bash, some programs and the libraries that they need."""
    needed = set()
    tar.directory("usr").directory("usr/bin").link("bin", "usr/bin").directory("etc")
    for name in PROGRAMS:
        path = Path("/usr/bin", name).resolve()
        tar.add(f"usr/bin/{name}", path.read_bytes(), 0o755)
        said = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        needed |= set(re.findall(r"(/\S+) \(0x", said))
    tar.link("usr/bin/sh", "bash")
    for library in sorted(needed):
        tar.add(library[1:], Path(library).read_bytes(), 0o755)
    return tar.add("etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n")


@pytest.fixture(scope="module")
def export() -> bytes:
    return system(Tar()).add("hello.txt", b"from the image").bytes()


def command_line(
    home: Path, *arguments: str, uid: int | None = None
) -> subprocess.CompletedProcess:
    command, variables = command_of(os.geteuid() if uid is None else uid)
    return subprocess.run(
        [*command, *arguments],
        env={**environment(home), **variables},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def imported(home: Path, archive: bytes, name: str, uid: int | None = None) -> str:
    path = home / "archive.tar"
    path.write_bytes(archive)
    path.chmod(0o644)
    done = command_line(home, "image", "import", str(path), "--name", name, uid=uid)
    path.unlink()
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("uid", [os.geteuid(), 23_456], ids=["own", "ordinary"])
def test_a_containers_export(make_home: Callable[[int], Path], export: bytes, uid: int) -> None:
    home = make_home(uid)
    assert "small:1" in imported(home, gzip.compress(export), "small:1", uid)
    running = start(home, uid)
    with running.client() as client:
        box = create_box(client, image={"uri": "small:1"}, env={"MINE": "yes"})
        said = box.output("cat /hello.txt; echo; echo $MINE; id -u; pwd")
        assert said.splitlines() == ["from the image", "yes", "0", "/workspace"]
        assert "brings its own file system" in box.info["status"]["message"]
        assert box.run("python3 -c 1")[0] == 127
        assert box.output("touch /usr/bin/new && rm /usr/bin/env && ls /usr/bin | cat") != ""
        with box.execd() as execd:
            assert execd.get("/files/download?path=/hello.txt").content == b"from the image"
            assert execd.get("/metrics").json()["mem_used_mib"] > 0
        again = create_box(client, image={"uri": "small:1"})
        assert again.run("env")[0] == 0
        answer = client.post(f"/v1/sandboxes/{box.id}/snapshots")
        assert answer.status_code == 202
    running.kill()
    assert_nothing_left(home)
    second = start(home, uid)
    with second.client() as client:
        assert Box(client, box.info).output("ls /usr/bin/new") == "/usr/bin/new"
        assert (
            "small:1"
            in client.post(
                "/v1/sandboxes",
                json={"image": {"uri": "none"}, "resourceLimits": {}, "entrypoint": ["x"]},
            ).json()["message"]
        )
    second.stop()
    assert_nothing_left(home)
    assert "small:1" in command_line(home, "image", "list", uid=uid).stdout
    assert command_line(home, "image", "remove", "small:1", uid=uid).returncode == 0
    assert command_line(home, "image", "remove", "small:1", uid=uid).returncode == 1
    assert "small:1" not in command_line(home, "image", "list", uid=uid).stdout


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def layered(export: bytes) -> list[bytes]:
    """Return the system below, and a layer above that hides, changes and adds."""
    above = (
        Tar()
        .add(".wh.hello.txt")
        .add("added.txt", b"above")
        .add("bin/tool", b"#!/bin/sh\necho tool\n", 0o755)
    )
    return [export, above.bytes()]


CONFIG = {
    "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
    "config": {"Env": ["PATH=/usr/bin", "FROM=image"], "WorkingDir": "/srv", "Cmd": ["bash"]},
}


def docker_save(layers: list[bytes]) -> bytes:
    tar = Tar()
    names = [f"{digest(layer)}/layer.tar" for layer in layers]
    for name, layer in zip(names, layers, strict=True):
        tar.directory(name.split("/")[0]).add(name, layer)
    tar.add("config.json", json.dumps(CONFIG).encode())
    return tar.add(
        "manifest.json", json.dumps([{"Config": "config.json", "Layers": names}]).encode()
    ).bytes()


def oci_layout(layers: list[bytes]) -> bytes:
    tar = Tar().add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    blobs = [json.dumps(CONFIG).encode(), *map(gzip.compress, layers)]
    for blob in blobs:
        tar.add(f"blobs/sha256/{digest(blob)}", blob)
    config, *packed = ({"digest": f"sha256:{digest(blob)}"} for blob in blobs)
    manifest = json.dumps({"config": config, "layers": packed}).encode()
    tar.add(f"blobs/sha256/{digest(manifest)}", manifest)
    index = {"manifests": [{"digest": f"sha256:{digest(manifest)}"}]}
    return tar.add("index.json", json.dumps(index).encode()).bytes()


@pytest.mark.parametrize("pack", [docker_save, oci_layout])
def test_layers(server: Running, export: bytes, pack: Callable[[list[bytes]], bytes]) -> None:
    imported(server.home, pack(layered(export)), "layered")
    with server.client() as client:
        box = create_box(client, image={"uri": "layered"}, env={"MINE": "yes"})
        said = box.output("ls /hello.txt || cat /added.txt; echo; tool; echo $FROM $MINE; pwd")
        assert said.split() == ["above", "tool", "image", "yes", "/srv"]


def test_an_image_of_another_processor_is_refused(server: Running, export: bytes) -> None:
    other = json.dumps({**CONFIG, "architecture": "s390x"}).encode()
    path = server.home / "other.tar"
    path.write_bytes(docker_save([export]).replace(json.dumps(CONFIG).encode(), other))
    done = command_line(server.home, "image", "import", str(path), "--name", "x")
    assert done.returncode == 1


def bomb() -> bytes:
    return gzip.compress(Tar().add("zeros", bytes(24 << 20)).bytes(), 9)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "up": lambda: Tar().add("../escaped", b"x").bytes(),
    "up inside": lambda: Tar().add("a/../../escaped", b"x").bytes(),
    "a link, then through it": lambda: Tar().link("a", "..").add("a/../escaped", b"x").bytes(),
    "a hard link to nothing here": lambda: Tar().link("x", "/etc/shadow", tarfile.LNKTYPE).bytes(),
    "links in a circle": lambda: Tar().link("a", "b").link("b", "a").add("a/x", b"x").bytes(),
    "a file as a directory": lambda: Tar().add("a", b"x").add("a/b", b"x").bytes(),
    "a bomb": bomb,
    "very deep": lambda: Tar().add("d/" * 300 + "x", b"x").bytes(),
    "no archive": lambda: b"#!/bin/sh\nrm -rf /\n" * 100,
    "cut off": lambda: Tar().add("a", b"x" * 100_000).bytes()[:50_000],
    "half a compressed one": lambda: gzip.compress(system(Tar()).bytes())[:100_000],
    "a manifest without layers": lambda: Tar().add("manifest.json", b"[]").bytes(),
}


@pytest.mark.parametrize("kind", list(HOSTILE))
def test_what_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_FREE", 8 << 20)  # beyond it, a ratio counts
    (tmp_path / "archive").write_bytes(HOSTILE[kind]())
    (tmp_path / "top").mkdir()
    with pytest.raises(ArchiveRefused):
        unpack(tmp_path / "archive", tmp_path / "top")
    assert not (tmp_path / "escaped").exists()


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}


@pytest.mark.parametrize(
    ("content", "more", "said"),
    [
        (bytes(32 << 20), {"type": tarfile.XHDTYPE}, "a header of 33554432 bytes"),
        (bytes(32 << 20), {"type": tarfile.GNUTYPE_LONGNAME}, "a header of 33554432 bytes"),
        (b"", {"type": tarfile.GNUTYPE_SPARSE}, "sparse files"),
        (b"1\n" * 100, {"pax_headers": SPARSE}, "sparse files"),
    ],
)
def test_what_would_be_kept_in_memory_is_refused(
    tmp_path: Path, content: bytes, more: dict[str, object], said: str
) -> None:
    (tmp_path / "archive").write_bytes(gzip.compress(Tar().add("x", content, **more).bytes()))
    (tmp_path / "top").mkdir()
    with pytest.raises(ArchiveRefused, match=said):
        unpack(tmp_path / "archive", tmp_path / "top")


def test_what_is_contained(tmp_path: Path) -> None:
    """Names and links that would lead out lead to a place inside, as they would in a chroot."""
    outside = tmp_path / "outside"
    outside.mkdir()
    tar = (
        Tar()
        .link("up", "../../../outside")
        .add("up/one", b"1")
        .link("abs", str(outside))
        .add("abs/two", b"2")
        .add("/three", b"3", mode=0o4755)
        .link("five", "/etc/shadow")
        .add("five", b"5")
        .add("device", type=tarfile.CHRTYPE, devmajor=1, devminor=5)
        .link("hard", "three", tarfile.LNKTYPE)
        .directory("shut", 0o000)
        .add("shut/six", b"6")
    )
    (tmp_path / "archive").write_bytes(tar.bytes())
    top = tmp_path / "top"
    top.mkdir()
    unpack(tmp_path / "archive", top)
    assert list(outside.iterdir()) == []
    assert (top / "outside/one").read_text() == "1"
    assert (top / str(outside)[1:] / "two").read_text() == "2"
    assert (top / "three").stat().st_mode & 0o7777 == 0o755
    assert (top / "five").read_text() == "5"
    assert not os.path.lexists(top / "device")
    assert (top / "hard").stat().st_ino == (top / "three").stat().st_ino
    assert (top / "shut/six").read_text() == "6"


def test_an_import_that_is_refused_leaves_nothing(server: Running) -> None:
    path = server.home / "bad.tar"
    path.write_bytes(HOSTILE["cut off"]())
    done = command_line(server.home, "image", "import", str(path), "--name", "bad")
    assert (done.returncode, done.stdout) == (1, "")
    assert "unexpected end of data" in done.stderr
    assert list((server.home / "opensandbox/data/images").iterdir()) == []
    done = command_line(server.home, "image", "import", str(path), "--name", "Not A Name")
    assert "small letters" in done.stderr


def test_gc_removes_what_nobody_knows(make_home: Callable[[int], Path]) -> None:
    home = make_home(os.geteuid())
    running = start(home)
    with running.client() as client:
        kept = create_box(client)
        kept.output("echo precious > /workspace/file")
        busy = command_line(home, "gc")
        assert (busy.returncode, busy.stdout) == (0, "freed 0 B\n")
    running.kill()
    assert_nothing_left(home)
    data = home / "opensandbox/data"
    leftovers = [data / "sandboxes/nobodys", data / "trash/old", data / "images/.half-x"]
    for path in leftovers:
        path.mkdir()
        (path / "file").write_bytes(b"x" * 100_000)
    asked = command_line(home, "gc", "--dry-run").stdout
    assert asked.count("kB") == 4
    assert "would free" in asked
    assert all(path.exists() for path in leftovers)
    assert "freed 3" in command_line(home, "gc").stdout
    assert not any(path.exists() for path in leftovers)
    second = start(home)
    with second.client() as client:
        assert Box(client, kept.info).output("cat /workspace/file") == "precious"
    second.stop()


RECIPE = """\
FROM small:1
ENV GREETING="hello there"
WORKDIR /srv/app
COPY data ./data
COPY one.txt two.txt ./
COPY --chmod=755 <<END /usr/bin/greet
#!/bin/sh
echo $GREETING $(cat /srv/app/data/deep/file)
END
RUN echo building && greet > greeted
RUN ["sh", "-c", "echo $GREETING > words"]
CMD ["greet"]
"""


def test_an_image_is_built(server: Running, export: bytes, tmp_path: Path) -> None:
    imported(server.home, export, "small:1")
    (tmp_path / "data/deep").mkdir(parents=True)
    (tmp_path / "data/deep/file").write_text("friend")
    (tmp_path / "one.txt").write_text("1")
    (tmp_path / "two.txt").write_text("2")
    (tmp_path / "Dockerfile").write_text(RECIPE)
    done = command_line(server.home, "image", "build", str(tmp_path), "--name", "built")
    assert done.returncode == 0, done.stderr
    assert "building" in done.stdout
    assert "built built" in done.stdout
    with server.client() as client:
        assert client.get("/v1/sandboxes").json()["items"] == []
        box = create_box(client, image={"uri": "built"})
        assert box.output("greet; cat greeted words; ls; pwd").split("\n") == [
            "hello there friend",
            "hello there friend",
            "hello there",
            *["data", "greeted", "one.txt", "two.txt", "words"],
            "/srv/app",
        ]


def test_an_image_on_this_hosts_system_is_built(server: Running, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN touch /opt/mine\nWORKDIR /opt\n")
    assert (
        command_line(server.home, "image", "build", str(tmp_path), "--name", "mine").returncode == 0
    )
    assert "on python" in command_line(server.home, "image", "list").stdout
    with server.client() as client:
        box = create_box(client, image={"uri": "mine"})
        assert box.output("ls mine; python3 -c 'print(6 * 7)'").split() == ["mine", "42"]
        assert "lies on this host's" in box.info["status"]["message"]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            "FROM python\nRUN echo started; exit 3\nRUN echo never",
            "line 2: the command failed: exit code 3",
        ),
        ("FROM python\nRUN echo never\nCOPY absent .", "line 3: there is no 'absent' to copy"),
        ("FROM python\nCOPY ../outside .", "line 2: "),
        ("FROM python\nRUN echo never\nADD x y", "line 3: ADD is not supported here"),
        ("FROM nothing:9", "no image 'nothing:9'"),
    ],
)
def test_a_build_that_fails_keeps_nothing(
    server: Running, tmp_path: Path, recipe: str, message: str
) -> None:
    (tmp_path / "outside").write_text("x")
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(recipe)
    done = command_line(server.home, "image", "build", str(context), "--name", "bad")
    assert done.returncode == 1
    assert message in done.stderr
    assert "never" not in done.stdout.replace("RUN echo never", "")
    assert command_line(server.home, "image", "list").stdout == ""
    with server.client() as client:
        assert client.get("/v1/sandboxes").json()["items"] == []
