"""``opensandbox-jupyter``: run, find, stop and examine the embedded server."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import select
import signal
import sys
from pathlib import Path

from opensandbox_jupyter import __version__
from opensandbox_jupyter.cli import images, profile
from opensandbox_jupyter.exceptions import LocalServerException, SandboxException, printable

__all__ = ["main"]

_DEFAULT_PORT = 8080
_IDLE_MINUTES = 15.0
_STOP_SECONDS = 30.0
_MOST_SPARES = 16


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except SandboxException as error:
        _say_error(error)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="opensandbox-jupyter", description="The embedded OpenSandbox of this user."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")
    serve = commands.add_parser("serve", help="run the server in the foreground")
    serve.add_argument("--host", default="127.0.0.1", help="a loopback address")
    serve.add_argument("--port", type=int, help=f"default {_DEFAULT_PORT}; 0 for any free port")
    serve.add_argument("--api-key", help="default: a new one, to be found in the runtime file")
    serve.add_argument("--data-dir", type=Path, help="where sandboxes and records are kept")
    serve.add_argument(
        "--idle-shutdown", type=float, metavar="MINUTES", help="end after so long without sandboxes"
    )
    serve.add_argument(
        "--spares", type=int, metavar="N", help="keep N ready sandboxes, so that create is fast"
    )
    serve.add_argument(
        "--allow-host-path",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="lend sandboxes that ask for it this directory, or one below; may be repeated",
    )
    serve.add_argument("--on-demand", action="store_true", help=argparse.SUPPRESS)
    serve.set_defaults(run=_serve)
    for name, run, text in (
        ("status", _status, "say whether a server runs, and where"),
        ("stop", _stop, "end the server; its sandboxes start again with the next one"),
        ("doctor", _doctor, "check what this host can do"),
    ):
        commands.add_parser(name, help=text).set_defaults(run=run)
    images.add_verbs(commands)
    profile.add_verbs(commands)
    return parser


def _serve(options: argparse.Namespace) -> int:
    from opensandbox_jupyter.runtime_file import places
    from opensandbox_jupyter.server.main import Options, serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    where = places()
    if options.data_dir is not None:
        where = dataclasses.replace(where, data=options.data_dir.absolute())
    idle = options.idle_shutdown
    if idle is None and options.on_demand:
        idle = _IDLE_MINUTES
    port = options.port
    if port is None:
        port = 0 if options.on_demand else _DEFAULT_PORT
    serve(
        Options(
            places=where,
            host=options.host,
            port=port,
            api_key=options.api_key,
            idle_seconds=None if idle is None else idle * 60,
            spares=_spares(options),
            host_paths=tuple(path.absolute() for path in options.allow_host_path),
            must_isolate=options.on_demand,
        )
    )
    return 0


def _spares(options: argparse.Namespace) -> int:
    """Return how many spares to keep: one where nobody chose and the server began by itself."""
    wanted = options.spares
    if wanted is None:
        text = os.environ.get("OPENSANDBOX_JUPYTER_SPARES", "")
        wanted = int(text) if text.isdecimal() else int(options.on_demand)
    return min(max(0, int(wanted)), _MOST_SPARES)


def _status(_: argparse.Namespace) -> int:
    from opensandbox_jupyter.local import find_server

    server = find_server()
    if server is None:
        print("No server runs.")
        return 3
    print(f"A server (version {server.version}, process {server.pid}) listens on {server.url}")
    return 0


def _stop(_: argparse.Namespace) -> int:
    from opensandbox_jupyter.local import find_server

    server = find_server()
    if server is None:
        print("No server runs.")
        return 0
    handle = os.pidfd_open(server.pid)
    signal.pidfd_send_signal(handle, signal.SIGTERM)
    ended = select.select([handle], [], [], _STOP_SECONDS)[0]
    os.close(handle)
    if not ended:
        raise LocalServerException(
            f"The server (process {server.pid}) did not end within {_STOP_SECONDS:.0f} s."
        )
    print("The server ended.")
    return 0


def _doctor(_: argparse.Namespace) -> int:
    from opensandbox_jupyter.server.doctor import examine

    findings = examine()
    for finding in findings:
        mark = {True: "ok     ", False: "missing", None: "weaker "}[finding.is_well]
        print(f"{mark} {finding.subject}: {finding.text}")
    return 1 if any(finding.is_well is False for finding in findings) else 0


def _say_error(error: SandboxException) -> None:
    kind = type(error).__name__
    print(f"error: {kind}: {printable(error.message or kind)}", file=sys.stderr)
    if error.hint:
        print(f"hint: {printable(error.hint)}", file=sys.stderr)
