"""The part of the Dockerfile language that images are built from."""

from __future__ import annotations

import pytest

from opensandbox_jupyter.cli.dockerfile import Copy, Env, Run, Workdir, read_dockerfile
from opensandbox_jupyter.exceptions import InvalidArgumentException

WHOLE = """\
# syntax=docker/dockerfile:1

FROM python:3.11
ENV A=1 B="two words"
ENV C three words
WORKDIR /srv
RUN pip install \\
    # a comment between
    requests && \\
    echo done
RUN ["echo", "$A"]
RUN <<EOF
set -e
echo $A
EOF
COPY --chmod=755 a.py b.py ./
COPY <<'END' /etc/text
hello
  world
END
USER root
EXPOSE 80
LABEL x=y
ENTRYPOINT ["python3"]
CMD -V
"""


def test_all_that_is_understood() -> None:
    found = read_dockerfile(WHOLE)
    assert found.base == "python:3.11"
    assert found.steps == [
        Env(4, "A", "1"),
        Env(4, "B", "two words"),
        Env(5, "C", "three words"),
        Workdir(6, "/srv"),
        Run(7, "pip install requests && echo done"),
        Run(11, ["echo", "$A"]),
        Run(12, "set -e\necho $A\n"),
        Copy(16, ["a.py", "b.py"], "./", mode=755),
        Copy(17, [], "/etc/text", "hello\n  world\n"),
    ]
    assert (found.entrypoint, found.command) == (["python3"], ["/bin/sh", "-c", "-V"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: a Dockerfile begins with FROM"),
        ("RUN x", "line 1: a Dockerfile begins"),
        ("FROM a\nFROM b", "line 2: several stages"),
        ("FROM a AS b", "line 1: FROM takes"),
        ("FROM a\n\nADD http://x /", "line 3: ADD is not supported"),
        ("FROM a\nARG x", "line 2: ARG is not"),
        ("FROM a\nUSER nobody", "line 2: there is no user but root"),
        ("FROM a\nRUN --mount=type=cache x", "line 2: options of RUN"),
        ("FROM a\nRUN", "line 2: RUN needs"),
        ("FROM a\nCOPY --from=x a b", "line 2: the option --from"),
        ("FROM a\nCOPY a", "line 2: COPY needs"),
        ("FROM a\nCOPY <<X /a\nno end", "line 2: the text up to X"),
        ("FROM a\nENV 1x=y", "line 2: '1x=y' is not"),
        ("FROM a\nENV 'x", "line 2: No closing quotation"),
        ("FROM a\nCMD [1]", "line 2: the words must be"),
    ],
)
def test_what_is_refused_by_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentException) as caught:
        read_dockerfile(text)
    assert str(caught.value).startswith(message)
