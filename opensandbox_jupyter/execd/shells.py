"""A bash that stays from run to run.

Each run is sourced, not evaluated in a function, so that what it declares stays. SIGINT unwinds a
run through a trap, so that bash itself, its variables and its functions outlive an interrupt.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence

from opensandbox_jupyter.execd.resident import Resident
from opensandbox_jupyter.execd.turns import Turn

__all__ = ["Shell"]

_LOOP = """\
shopt -s expand_aliases
trap '((${{#BASH_SOURCE[@]}})) && {{ set -T
  trap "((\\${{#BASH_SOURCE[@]}})) && return 130" DEBUG; return 130; }}' INT
while IFS= read -r -d '' -u {ask} __execd; do
  source /dev/fd/{text} {text}<<<"$__execd" {ask}<&- {answer}>&-
  __execd=$?
  printf '%d\\n' "$__execd" >&{answer}
  ((__execd != 130)) || {{ trap - DEBUG; set +T; }}
done
"""


class Shell(Resident):
    """The bash of one session."""

    def _command(self, ask: int, answer: int, env: Mapping[str, str]) -> Sequence[str]:
        bash = shutil.which("bash", path=env.get("PATH", os.defpath))
        if bash is None:
            raise FileNotFoundError("Sessions need bash, which this sandbox does not have.")
        loop = _LOOP.format(ask=ask, answer=answer, text=max(ask, answer) + 1)
        return [bash, "--norc", "--noprofile", "-c", loop, "bash"]

    def has_directory(self, wanted: str) -> bool:
        """Whether there is such a directory, seen from where the shell is."""
        return os.path.isdir(os.path.join(f"/proc/{self.process.pid}/cwd", wanted))

    def run(self, command: str, timeout: float | None) -> Turn:
        """Start a run; the shell must be free and alive."""
        turn = Turn(self)
        self._begin(turn, command.encode() + b"\0")
        if timeout:
            turn.timer = self._loop.call_later(timeout, self._time_out, turn, timeout)
        return turn

    def _answered(self, data: bytes) -> None:
        *lines, rest = (self._answers + data).split(b"\n")
        self._answers = rest[-16:]
        if lines and lines[-1].isdigit():
            code = int(lines[-1][-3:])
            self._finish(code, f"exit status {code}" if code else None)
