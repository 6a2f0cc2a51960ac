"""``opensandbox-jupyter profile``: servers by name. Their keys are asked for, or piped in."""

from __future__ import annotations

import argparse
import getpass
import os
import sys

from opensandbox_jupyter.exceptions import printable
from opensandbox_jupyter.profiles import PROFILE_VARIABLE, Profile, list_profiles, reading, writing

__all__ = ["add_verbs"]

_EMBEDDED = "the embedded server"
_MOST_KEY = 65_536


def add_verbs(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the command line."""
    profile = commands.add_parser("profile", help="list, choose, add and remove servers by name")
    verbs = profile.add_subparsers(required=True, metavar="verb")
    verbs.add_parser("list", help="list profiles; * marks the one in use").set_defaults(run=_list)
    show = verbs.add_parser("show", help="show what a profile says, but not its key")
    show.add_argument("name", nargs="?", help="default: the one in use")
    show.set_defaults(run=_show)
    use = verbs.add_parser("use", help="use a profile from now on")
    use.add_argument("name", help="'default' is what osb uses")
    use.set_defaults(run=_use)
    remove = verbs.add_parser("remove", help="remove a profile and its key")
    remove.add_argument("name")
    remove.set_defaults(run=_remove)
    _add_options(verbs.add_parser("add", help="add a profile; its key is asked for, or read"))


def _add_options(add: argparse.ArgumentParser) -> None:
    add.add_argument("name", help="'default' is what osb uses")
    add.add_argument("--domain", default="", help=f"host[:port]; left out: {_EMBEDDED}")
    add.add_argument("--protocol", choices=("http", "https"))
    add.add_argument("--request-timeout", type=float, metavar="SECONDS")
    add.add_argument("--use-server-proxy", action=argparse.BooleanOptionalAction)
    add.add_argument("--no-key", action="store_true", help="do not ask for a key")
    add.add_argument("--key-in-file", action="store_true", help="do not use the keyring")
    add.add_argument("--replace", action="store_true", help="change a profile that exists")
    add.add_argument("--use", action="store_true", help="use it from now on")
    add.set_defaults(run=_add)


def _add(options: argparse.Namespace) -> int:
    profile = writing.add(
        options.name,
        domain=options.domain,
        protocol=options.protocol,
        request_timeout=options.request_timeout,
        use_server_proxy=options.use_server_proxy,
        api_key=_ask() if options.domain and not options.no_key else None,
        key_in_file=options.key_in_file,
        replace=options.replace,
    )
    print(f"added {profile.name}: {_line(profile)}")
    return _use(options) if options.use else 0


def _ask() -> str:
    """Return a key from the terminal, unseen, or the first line of what is piped in."""
    if sys.stdin.isatty():
        return getpass.getpass("API key (empty for none): ")
    return sys.stdin.readline(_MOST_KEY)


def _list(_: argparse.Namespace) -> int:
    for profile in list_profiles():
        print(f"{'*' if profile.is_current else ' '} {profile.name}  {_line(profile)}")
    _warn_of_environment()
    return 0


def _show(options: argparse.Namespace) -> int:
    name = reading.choose(options.name).name
    profile = next(each for each in list_profiles() if each.name == name)
    print(f"profile: {printable(name)}{' (in use)' if profile.is_current else ''}")
    print(f"domain: {_domain(profile)}")
    for what in ("protocol", "request_timeout", "use_server_proxy"):
        value = getattr(profile, what)
        if value is not None:
            print(f"{what}: {printable(str(value))}")
    print(f"key: {f'in the {profile.key_in}' if profile.key_in else 'none'}")
    print(f"file: {reading.profile_path()}")
    _warn_of_environment()
    return 0


def _use(options: argparse.Namespace) -> int:
    writing.use(options.name)
    print(f"using {options.name}")
    _warn_of_environment()
    return 0


def _remove(options: argparse.Namespace) -> int:
    writing.remove(options.name)
    print(f"removed {options.name}")
    return 0


def _warn_of_environment() -> None:
    """Say which variables go before every profile."""
    names = [PROFILE_VARIABLE, "OPEN_SANDBOX_DOMAIN", "OPEN_SANDBOX_API_KEY"]
    if found := [name for name in names if os.environ.get(name)]:
        print(f"note: {', '.join(found)} of the environment goes before it", file=sys.stderr)


def _line(profile: Profile) -> str:
    key = f", key in the {profile.key_in}" if profile.key_in else ""
    return f"{_domain(profile)}{key}"


def _domain(profile: Profile) -> str:
    if profile.domain:
        return printable(profile.domain)
    return "as in default" if profile.domain is None and profile.name != "default" else _EMBEDDED
