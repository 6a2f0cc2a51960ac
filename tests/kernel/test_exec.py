"""``%%sandbox_exec`` in a live kernel, against the embedded server."""

from __future__ import annotations

import re

from kernels import Kernel, living_kernel

from opensandbox_jupyter import SandboxSync


def test_a_quick_command_is_one_display_and_a_footer(kernel: Kernel) -> None:
    cell = kernel.run("%%sandbox_exec\necho hello\necho oops >&2\n")
    assert cell.status == "ok"
    assert [m["msg_type"] for m in cell.messages] == ["display_data", "display_data"]
    output, footer = cell.displays
    assert sorted(output.splitlines()) == ["\x1b[31moops\x1b[0m", "hello"]
    assert re.fullmatch(r"exit 0 · [\d.]+ s · 2 lines \(1 on stderr\) · 11 B · run \d+", footer)


def test_a_silent_command_shows_its_footer_only(kernel: Kernel) -> None:
    assert len(kernel.run("%sandbox_exec true").displays) == 1


def test_output_is_shown_before_the_command_ends(kernel: Kernel) -> None:
    sandbox_id = kernel.value("sandbox.id")
    request = kernel.send(
        "%%sandbox_exec\nprintf partial\nuntil [ -e go ]; do sleep 0.05; done\necho ' line'"
    )
    assert kernel.collect(request, until="partial").displays == ["partial"]
    with SandboxSync.connect(sandbox_id) as sandbox:
        sandbox.files.write_file("/workspace/go", "")
    assert kernel.collect(request).displays[0] == "partial line"


def test_a_failed_command_is_an_error_after_all_of_its_output(kernel: Kernel) -> None:
    cell = kernel.run("%%sandbox_exec -o failed\necho out\nexit 3")
    assert cell.status == "error"
    assert cell.reply["ename"] == "CommandFailed"
    assert [m["msg_type"] for m in cell.messages] == ["display_data", "display_data", "error"]
    assert "exit 3" in cell.displays[1]
    (error,) = cell.errors
    assert "exit code 3" in error["evalue"]
    assert len(error["traceback"]) < 5
    assert kernel.value("(failed.exit_code, failed.text, failed.running)") == (3, "out\n", False)


def test_no_raise_goes_on(kernel: Kernel) -> None:
    cell = kernel.run("%%sandbox_exec --no-raise\nexit 4")
    assert cell.status == "ok"
    assert "exit 4" in cell.text


def test_the_line_form_gives_the_run(kernel: Kernel) -> None:
    cell = kernel.run("done = %sandbox_exec --no-raise echo $HOME {x}; exit 2")
    assert cell.status == "ok"
    assert kernel.value("done.exit_code") == 2
    assert kernel.value("done.text").endswith(" {x}\n")
    assert len(kernel.run("%sandbox_exec echo once").displays) == 2
    shown = kernel.run("done").displays
    assert shown == [kernel.value("repr(done)")]


def test_a_quoted_command_on_the_line_of_an_empty_cell(kernel: Kernel) -> None:
    assert kernel.run('%%sandbox_exec "echo a  b"').displays[0] == "a b"
    assert kernel.run('%%sandbox_exec "echo c"\n\n').displays[0] == "c"


def test_options_reach_the_command(kernel: Kernel) -> None:
    kernel.run("import os; os.environ['SECRET_WORD'] = 'sesame'")
    cell = kernel.run(
        "%%sandbox_exec --cwd /tmp --env A='1 2' --env SECRET_WORD\necho $PWD,$A,$SECRET_WORD"
    )
    assert cell.displays[0] == "/tmp,1 2,sesame"
    cell = kernel.run("%%sandbox_exec --timeout 1s\nsleep 600")
    assert cell.reply["ename"] == "CommandFailed"
    assert "its time limit of 1.00 s" in cell.reply["evalue"]
    assert "killed" in cell.displays[0]
    assert kernel.run("%sandbox_exec --quiet -o q echo unseen").messages == []
    assert kernel.value("q.text") == "unseen\n"


def test_the_streams_of_a_run_come_back_apart(kernel: Kernel) -> None:
    kernel.run("%%sandbox_exec -o both\necho out; echo err >&2; printf tail")
    assert kernel.value("(both.stdout, both.stderr)") == ("out\ntail", "err\n")
    assert kernel.value("(both.lines, both.error_lines)") == (3, 1)
    assert kernel.value("open(both.path).read() == both.open().read() == both.text")


def test_progress_is_saved_as_its_last_frame(kernel: Kernel) -> None:
    cell = kernel.run(
        "%%sandbox_exec\nfor i in $(seq 1 30); do printf '\\r%d%%' $i; sleep 0.02; done; echo"
    )
    assert cell.displays[0] == "30%"
    assert cell.count("display_data") == 2


def test_help_and_mistakes_are_short(kernel: Kernel) -> None:
    assert "--timeout TIME" in kernel.run("%%sandbox_exec -h\n").text
    assert "%sandbox create" in kernel.run("%sandbox").text
    assert "--memory SIZE" in kernel.run("%sandbox create -h").text
    for code in (
        "%%sandbox_exec --tiemout 3\nls",
        "%sandbox craete",
        "%sandbox_exec",
        "%sandbox show 999",
    ):
        cell = kernel.run(code)
        assert cell.reply["ename"] == "InvalidArgumentException"
        assert len(cell.errors[0]["traceback"]) == 2
        assert cell.displays == []


def test_past_runs_can_be_listed_and_shown(kernel: Kernel) -> None:
    kernel.run("%%sandbox_exec -o past\nseq 1 10")
    number = kernel.value("past.id")
    assert "seq 1 10" in kernel.run("%sandbox runs").text
    assert kernel.run(f"%sandbox show {number}").displays[0] == "\n".join(map(str, range(1, 11)))
    assert kernel.run(f"%sandbox show {number} --lines 3:4").displays[0] == "3\n4"


def test_a_cell_inside_a_cell_still_runs(kernel: Kernel) -> None:
    cell = kernel.run("get_ipython().run_cell('%%sandbox_exec\\necho nested').success")
    assert "nested" in cell.text
    assert cell.displays[-1] == "True"


def test_a_million_lines_are_bounded_everywhere_but_on_disk(kernel: Kernel) -> None:
    kernel.run("%sandbox_exec echo warm; import psutil")
    kernel.run("import psutil; before = psutil.Process().memory_info().rss")
    cell = kernel.run("%%sandbox_exec -o flood\nseq 1 1000000")
    grown = kernel.value("psutil.Process().memory_info().rss - before")
    sent = sum(len(m["content"].get("data", {}).get("text/plain", "")) for m in cell.messages)
    assert cell.status == "ok"
    assert grown < 50 * 2**20
    assert len(cell.messages) <= 20 * cell.seconds + 40
    assert sent <= 300_000 * cell.seconds + 1_300_000
    assert len(cell.text) < 2_000_000
    assert cell.displays[0].startswith("1\n2\n3\n")
    assert cell.displays[-2].endswith("\n999999\n1000000")
    hidden = re.search(r"([\d,]+) lines hidden — `%sandbox show \d+`", cell.displays[-2])
    shown = sum(text.count("\n") + 1 for text in cell.displays[:-1]) - 1
    assert int(hidden[1].replace(",", "")) + shown == 1_000_000
    assert kernel.value("flood.lines") == 1_000_000
    assert kernel.value("flood.path.stat().st_size") == len(
        "".join(f"{n}\n" for n in range(1, 1000001))
    )


def test_plain_output_is_the_same_every_time() -> None:
    cells = (
        "%sandbox create --name same",
        "%%sandbox_exec\nfor i in 1 2 3; do echo $i; sleep 0.2; done",
        "%%sandbox_exec --no-raise\nexit 7",
        "%sandbox info",
        "%sandbox kill",
    )
    outputs = []
    for _ in range(2):
        with living_kernel({"OPENSANDBOX_JUPYTER_PLAIN": "1"}) as kernel:
            outputs.append([kernel.run(code).messages for code in cells])
    first, second = (
        [[(m["msg_type"], m["content"]["data"]) for m in messages] for messages in output]
        for output in outputs
    )
    assert first == second
    assert [data["text/plain"] for _, data in first[1]] == ["1\n2\n3", "exit 0"]
    assert [kind for kind, _ in first[1]] == ["display_data", "display_data"]
