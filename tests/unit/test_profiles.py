"""The profile file: what it says, who reads it, and that no change loses anything."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyring.backends import fail, null

from opensandbox_jupyter.exceptions import InvalidArgumentException, SandboxInternalException
from opensandbox_jupyter.profiles import choose, list_profiles, profile_path, writing
from opensandbox_jupyter.profiles.reading import read

KEY = "sk-very-secret"


class Drawer(KeyringBackend):
    """A keyring that works, in memory."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get(username)

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.held[username]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def drawer() -> Iterator[Drawer]:
    before = keyring.get_keyring()
    drawer = Drawer()
    keyring.set_keyring(drawer)
    yield drawer
    keyring.set_keyring(before)


def put(text: str) -> Path:
    path = profile_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_profile_says_what_it_wants_and_connection_says_the_rest() -> None:
    put('[connection]\ndomain = "c:1"\nrequest_timeout = 7\n[profiles.work]\ndomain = "w:1"\n')

    chosen = choose("work")

    assert chosen.setting("domain") == "w:1"
    assert chosen.setting("request_timeout") == 7
    assert choose().setting("domain") == "c:1"


def test_the_one_in_use_is_the_environments_else_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    put('profile = "a"\n[profiles.a]\n[profiles.b]\n')
    assert choose().name == "a"

    monkeypatch.setenv("OPENSANDBOX_PROFILE", "b")
    assert choose().name == "b"
    assert choose("default").name == "default"
    assert [p.name for p in list_profiles() if p.is_current] == ["b"]


def test_a_key_goes_only_to_the_server_that_it_is_for() -> None:
    put(f'[connection]\ndomain = "https://C:1/"\napi_key = "{KEY}"\n[profiles.w]\ndomain = "w:1"\n')

    assert choose().api_key("c:1") == KEY
    assert choose().api_key("other:1") is None
    assert choose("w").api_key("w:1") is None
    put(f'[connection]\napi_key = "{KEY}"\n')
    assert choose().api_key("any:1") == KEY


def test_an_unknown_name_lists_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    put("[profiles.a]\n[profiles.b]\n")
    monkeypatch.setenv("OPENSANDBOX_PROFILE", "c")

    with pytest.raises(InvalidArgumentException, match="no profile 'c'") as caught:
        choose()
    assert "default, a, b" in str(caught.value.hint)
    with pytest.raises(InvalidArgumentException, match="no profile"):
        writing.use("c")
    with pytest.raises(InvalidArgumentException, match="no profile"):
        writing.remove("c")


def test_from_add_to_remove() -> None:
    made = writing.add("work", domain="w:1", protocol="HTTPS", request_timeout=5, api_key=KEY)
    writing.use("work")

    assert (made.domain, made.protocol, made.request_timeout) == ("w:1", "https", 5)
    assert made.key_in == "file"
    assert KEY not in repr(made)
    assert choose().api_key("w:1") == KEY
    assert stat.S_IMODE(profile_path().stat().st_mode) == 0o600
    assert stat.S_IMODE(profile_path().parent.stat().st_mode) == 0o700
    assert os.listdir(profile_path().parent) == ["config.toml"]

    with pytest.raises(InvalidArgumentException, match="already"):
        writing.add("work")
    writing.add("work", domain="w:2", replace=True)
    assert choose().api_key("w:2") is None

    writing.remove("work")
    assert read() == {}
    assert choose().name == "default"


def test_an_empty_domain_is_the_embedded_server() -> None:
    put(f'[connection]\ndomain = "c:1"\napi_key = "{KEY}"\nprotocol = "https"\n')
    writing.add("here")

    chosen = choose("here")

    assert chosen.setting("domain") == ""
    assert chosen.api_key("") is None
    assert chosen.setting("protocol", "") is None


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("", {}, "name"),
        ("a b", {}, "name"),
        ("../x", {}, "name"),
        ("x" * 65, {}, "name"),
        ("a", {"domain": "h\n1"}, "domain"),
        ("a", {"protocol": "ftp"}, "protocol"),
        ("a", {"request_timeout": -1}, "request timeout"),
        ("a", {"request_timeout": float("nan")}, "request timeout"),
        ("a", {"api_key": "a\nb"}, "key"),
    ],
)
def test_what_could_not_be_used_is_refused(name: str, more: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgumentException, match=says):
        writing.add(name, **more)
    assert not profile_path().exists()


def test_comments_order_and_foreign_tables_stay() -> None:
    text = (
        '# mine\n[output]\ncolor = true  # yes\n\n[connection]\ndomain="c"\n\n'
        '[profiles.a]\nimage = "x"  # whose?\ndomain = "old"\n'
    )
    path = put(text)

    writing.add("b", domain="b:1")
    writing.add("a", domain="new", replace=True)
    writing.use("b")
    writing.use("default")
    writing.remove("b")

    lines = path.read_text().splitlines()
    assert [line for line in lines if line] == text.replace("old", "new").replace(
        "\n\n", "\n"
    ).splitlines()


def test_a_broken_file_is_named_and_not_touched() -> None:
    path = put("[connection\n")

    for change in (lambda: writing.add("a"), lambda: writing.use("default"), choose):
        with pytest.raises(InvalidArgumentException, match=r"config\.toml"):
            change()
    assert path.read_text() == "[connection\n"


@pytest.mark.parametrize("content", [b"\xff", b"a = " + b"[" * 50_000, b"#" * (1 << 20) + b"#"])
def test_what_is_no_text_or_too_much_is_an_error_of_ours(content: bytes) -> None:
    path = put("")
    path.write_bytes(content)

    with pytest.raises(InvalidArgumentException, match="cannot be read"):
        choose()


def test_a_pipe_in_its_place_is_not_waited_for() -> None:
    profile_path().parent.mkdir()
    os.mkfifo(profile_path())

    with pytest.raises(InvalidArgumentException, match="plain file"):
        choose()


@pytest.mark.parametrize(
    "text", ["profiles.a.x = 1\n[output]\nc = 1\n", "profiles = {a = {x = 1}}\n"]
)
def test_an_unusual_spelling_is_changed_well_or_not_at_all(text: str) -> None:
    path = put(text)
    try:
        writing.add("b", domain="h")
        writing.use("b")
    except InvalidArgumentException as error:
        assert "only you can change" in str(error)
        assert path.read_text() == text
    else:
        assert read()["profile"] == "b"
        assert read()["profiles"] == {"a": {"x": 1}, "b": {"domain": "h"}}


def test_a_link_to_the_file_stays_a_link(home: Path) -> None:
    real = home / "dotfiles" / "osb.toml"
    real.parent.mkdir()
    real.write_text("# in a repository\n")
    profile_path().parent.mkdir()
    profile_path().symlink_to(real)

    writing.add("a", domain="h")

    assert profile_path().is_symlink()
    assert real.read_text().startswith("# in a repository\n")
    assert choose("a").setting("domain") == "h"
    assert os.listdir(real.parent) == ["osb.toml"]


def test_a_file_that_others_may_open_is_warned_of_once_it_holds_a_key() -> None:
    path = put('[connection]\ndomain = "h"\n')
    path.chmod(0o644)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose()

    put(f'[connection]\napi_key = "{KEY}"\n').chmod(0o644)
    with pytest.warns(UserWarning, match="chmod 600") as caught:
        choose()
    assert KEY not in str(caught[0].message)

    writing.add("a")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_many_writers_lose_nothing() -> None:
    threads = [
        threading.Thread(target=writing.add, args=(f"t{n}",), kwargs={"domain": "h"})
        for n in range(12)
    ]
    script = (
        "import sys; from opensandbox_jupyter.profiles import writing\n"
        "for n in range(6): writing.add(f'{sys.argv[1]}{n}', domain='h')"
    )
    others = [subprocess.Popen([sys.executable, "-c", script, name]) for name in "pq"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [other.wait(50) for other in others] == [0, 0]
    assert len(list_profiles()) == 1 + 12 + 12


def test_a_writer_that_knows_no_lock_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    path = put("[output]\ncolor = true\n")
    fsync, calls = os.fsync, []

    def meanwhile(descriptor: int) -> None:
        if not calls:
            path.write_text("[output]\ncolor = false\n")
        calls.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    writing.add("a", domain="h")

    assert read() == {"output": {"color": False}, "profiles": {"a": {"domain": "h"}}}


def test_a_full_disk_leaves_the_file_as_it_was() -> None:
    path = put("# mine\n")
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "from opensandbox_jupyter.profiles import writing\n"
        "writing.add('a', domain='much-too-long', api_key='sk-very-secret')"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert "SandboxInternalException" in done.stderr
    assert "It is as it was" in done.stderr
    assert KEY not in done.stderr.replace(script, "")
    assert path.read_text() == "# mine\n"
    assert os.listdir(path.parent) == ["config.toml"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 10


def test_a_directory_that_cannot_be_made_is_one_sentence(home: Path) -> None:
    (home / ".opensandbox").write_text("a file")

    with pytest.raises(SandboxInternalException, match="cannot be written"):
        writing.add("a")
    assert choose().name == "default"


# -- keys in the keyring ---------------------------------------------------------------------------


def test_a_key_is_in_the_keyring_where_that_works(drawer: Drawer) -> None:
    made = writing.add("work", domain="w:1", api_key=KEY)

    assert made.key_in == "keyring"
    assert KEY not in profile_path().read_text()
    assert choose("work").api_key("w:1") == KEY

    writing.add("work", domain="w:1", api_key="other", replace=True)
    assert list(drawer.held.values()) == ["other"]
    writing.remove("work")
    assert drawer.held == {}


def test_the_key_that_osb_reads_is_in_the_file(drawer: Drawer) -> None:
    assert writing.add("default", domain="w:1", api_key=KEY).key_in == "file"
    assert writing.add("a", domain="w:1", api_key=KEY, key_in_file=True).key_in == "file"
    assert drawer.held == {}


@pytest.mark.parametrize("backend", [fail.Keyring, null.Keyring])
def test_a_keyring_that_keeps_nothing_is_not_trusted(drawer: Drawer, backend: Any) -> None:
    keyring.set_keyring(backend())

    assert writing.add("work", domain="w:1", api_key=KEY).key_in == "file"
    assert choose("work").api_key("w:1") == KEY


def test_a_key_that_the_keyring_lost_is_said_to_be_lost(drawer: Drawer) -> None:
    writing.add("work", domain="w:1", api_key=KEY)
    drawer.held.clear()
    with pytest.raises(InvalidArgumentException, match="not in the keyring"):
        choose("work").api_key("w:1")

    keyring.set_keyring(fail.Keyring())
    with pytest.raises(InvalidArgumentException, match="does not give the key"):
        choose("work").api_key("w:1")


def test_a_change_that_fails_leaves_no_key_behind(drawer: Drawer) -> None:
    writing.add("work", domain="w:1", api_key=KEY)

    with pytest.raises(InvalidArgumentException, match="already"):
        writing.add("work", domain="evil:1", api_key="other")

    assert list(drawer.held.values()) == [KEY]
    assert choose("work").api_key("w:1") == KEY


def test_without_the_package_keys_go_to_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert writing.add("work", domain="w:1", api_key=KEY).key_in == "file"

    put('[profiles.a]\napi_key_in_keyring = "a-1"\n')
    with pytest.raises(InvalidArgumentException, match="not installed"):
        choose("a").api_key(None)


# -- whatever the file holds -----------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8)
values = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
tables = st.dictionaries(words, st.dictionaries(words, values, max_size=3), max_size=4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables, tables)
def test_a_change_loses_nothing_whatever_was_there(
    foreign: dict[str, Any], named: dict[str, Any]
) -> None:
    foreign.pop("profile", None)
    named = {name: table for name, table in named.items() if name not in ("new", "default")}
    before = {**foreign, "profiles": named} if named else foreign
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", folder)
        put(tomlkit.dumps(before))
        writing.add("new", domain="h")
        writing.use("new")
        with_it = {**before, "profile": "new"}
        with_it["profiles"] = {**before.get("profiles", {}), "new": {"domain": "h"}}
        assert read() == with_it

        writing.remove("new")
        after = read()

    assert {name: table for name, table in after.items() if name != "profiles"} == {
        name: table for name, table in before.items() if name != "profiles"
    }
    assert after.get("profiles", {}) == before.get("profiles", {})
