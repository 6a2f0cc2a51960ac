"""Runs code in a namespace that stays. Started by the sandbox's own Python, of whatever version.

``python3 runner.py ASK ANSWER LIBRARY``: reads requests from the descriptor ASK and answers on the
descriptor ANSWER, one JSON object a line. What code prints goes to the usual descriptors. IPython
is taken from where the sandbox has it, else from LIBRARY; where neither can be imported, plain
Python does the same with fewer conveniences.
"""

import sys

if __name__ == "__main__":
    sys.path[0] = ""  # as in an interactive interpreter, and never the directory of this file

import ast
import base64
import builtins
import json
import os
import signal
import subprocess
import time
import traceback

__all__ = ["main"]

INLINE = "module://matplotlib_inline.backend_inline"


class NoInput(Exception):
    """Code asked for input, which nobody can give."""


class Interrupts:
    """SIGINT, heard only where code runs: elsewhere it would break an answer or end this program.

    Execd presses again and again until a run ends; code feels that once a second, so that it can
    put its things in order.
    """

    SPACING = 1.0

    def __init__(self):
        self._heard = False
        self._felt = 0.0

    def _pressed(self, *_):
        if self._heard and time.monotonic() >= self._felt + self.SPACING:
            self._felt = time.monotonic()
            raise KeyboardInterrupt

    def listen(self):
        """Hear it, for the first time in this run, whatever the run before made of SIGINT."""
        self._felt = -self.SPACING
        signal.signal(signal.SIGINT, self._pressed)
        self._heard = True

    def ignore(self):
        """Hear it no longer."""
        while True:
            try:
                self._heard = False
                signal.signal(signal.SIGINT, self._pressed)
                return
            except KeyboardInterrupt:
                pass

    def pause(self):
        """Do not hear it for now; return what :meth:`go_on` takes."""
        heard, self._heard = self._heard, False
        return heard

    def go_on(self, heard):
        """Hear it as before."""
        self._heard = heard


class Line:
    """The line to execd."""

    def __init__(self, ask, answer, interrupts):
        self._ask = os.fdopen(ask, "rb")
        self._answer = answer
        self._interrupts = interrupts

    def read(self):
        """Return the next request, ``None`` at the end."""
        line = self._ask.readline()
        return json.loads(line.decode("utf-8")) if line else None

    def say(self, kind, **more):
        """Answer."""
        text = json.dumps(dict(more, type=kind), default=str, allow_nan=False)
        data = memoryview(text.encode("utf-8", "backslashreplace") + b"\n")
        heard = self._interrupts.pause()
        try:
            flush()
            while data:
                data = data[os.write(self._answer, data) :]
        finally:
            self._interrupts.go_on(heard)

    def show(self, data):
        """Show a value by MIME type, and wait until all that was printed before has been read."""
        self.say("result", data={kind: plain(value) for kind, value in data.items()})
        self._ask.readline()


def flush():
    """Send on what code has printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass


def plain(value):
    """Return a value of a MIME type as JSON can hold it."""
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(bytes(value)).decode("ascii")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)
    return value


def no_input(*_):
    """Refuse to ask a person."""
    raise NoInput("Code cannot ask for input here: put the value into the code.")


class Plain:
    """Python without IPython."""

    def __init__(self, line):
        self._line = line
        self._count = 0
        self.names = {"__name__": "__main__", "__builtins__": builtins}
        self.is_over = False

    def run(self, code):
        self._count += 1
        self._line.say("count", count=self._count)
        try:
            tree = ast.parse(code, "<cell>")
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "<cell>", "exec"), self.names)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), self.names)
                if value is not None:
                    self._line.show({"text/plain": repr(value)})
        except SystemExit:
            self.is_over = True
        except BaseException as error:
            return told(error, traceback.format_exception(type(error), error, error.__traceback__))
        return None


def told(error, lines):
    """Return what was raised, as an answer holds it."""
    return {
        "ename": type(error).__name__,
        "evalue": str(error),
        "traceback": [str(line) for line in lines],
    }


def wait_for(path, patience=20.0):
    """Wait for a file: a server that has just begun is still copying what is beside it."""
    deadline = time.monotonic() + patience
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.05)


def with_ipython(line):
    """Return what runs code by IPython."""
    from traitlets.config import Config

    hook, publisher = shown_by(line)
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "Linux"
    shell = shell_class(line).instance(
        config=config, displayhook_class=hook, display_pub_class=publisher
    )
    try:
        import matplotlib_inline  # noqa: F401

        os.environ.setdefault("MPLBACKEND", INLINE)
    except ImportError:
        pass
    return shell


def shown_by(line):
    """Return what shows last values, and what shows all others."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher

    class Hook(DisplayHook):
        def start_displayhook(self):
            self.shown = {}

        def write_output_prompt(self):
            pass

        def write_format_data(self, format_dict, md_dict=None):
            self.shown = format_dict

        def finish_displayhook(self):
            if self.shown:
                line.show(self.shown)

    class Publisher(DisplayPublisher):
        def publish(self, data, metadata=None, *args, **kwargs):
            line.show(data)

        def clear_output(self, wait=False):
            pass

    return Hook, Publisher


def shell_class(line):
    """Return the class of the shell."""
    from IPython.core.interactiveshell import InteractiveShell

    class Shell(InteractiveShell):
        failure = None
        is_over = False

        def _showtraceback(self, etype, evalue, stb):
            self.failure = told(evalue, stb)

        def ask_exit(self):
            self.is_over = True

        def enable_gui(self, gui=None):
            pass

        def system(self, cmd):
            flush()
            command = self.var_expand(cmd, depth=1)
            self.user_ns["_exit_code"] = subprocess.call(command, shell=True)

        def run(self, code):
            self.failure = None
            line.say("count", count=self.execution_count)
            result = self.run_cell(code, store_history=True)
            error = result.error_before_exec or result.error_in_exec
            if isinstance(error, SystemExit):
                self.is_over = True
                return None
            if error is None:
                return None
            return self.failure or told(error, [])

    return Shell


def main():
    """Run what is asked for, until there is no more."""
    interrupts = Interrupts()
    interrupts.ignore()
    line = Line(int(sys.argv[1]), int(sys.argv[2]), interrupts)
    for end in (int(sys.argv[1]), int(sys.argv[2])):
        os.set_inheritable(end, False)
    wait_for(os.path.join(sys.argv[3], ".whole"))
    sys.path.append(sys.argv[3])
    sys.argv = [""]
    builtins.input = no_input
    try:
        shell = with_ipython(line)
    except Exception:  # whatever keeps it from being imported
        shell = Plain(line)
    while not shell.is_over:
        request = line.read()
        if request is None:
            break
        if "code" not in request:
            continue  # an answer for a run that was interrupted before it came
        try:
            interrupts.listen()
            failure = shell.run(request["code"])
            interrupts.ignore()
        except KeyboardInterrupt as error:
            interrupts.ignore()
            failure = told(error, ["KeyboardInterrupt"])
        line.say("done", error=failure, over=shell.is_over)


if __name__ == "__main__":
    main()
