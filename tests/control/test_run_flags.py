"""A plain command line of `lbcore run` is read without typer: it means the same, and all that is not plain goes to typer."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbcore import cli
from lbcore.cli import run_flags
from lbcore.cli.run_flags import FLAGS, read_plainly

VALUES = st.sampled_from(["", "0", "tcp://127.0.0.1:0", "a=b", "/x y", "off"])


def _written(flag: run_flags.RunFlag) -> st.SearchStrategy[list[str]]:
    """A flag in one of its forms."""
    if flag.metavar is None:
        return st.sampled_from([[word] for word in flag.words])
    apart = st.tuples(st.sampled_from(flag.words), VALUES).map(list)
    return st.one_of(apart, VALUES.map(lambda value: [f"{flag.words[-1]}={value}"]))


LINES = st.lists(st.sampled_from(FLAGS).flatmap(_written), max_size=6).map(lambda parts: list(chain(*parts)))


def read_by_typer(arguments: list[str]) -> dict[str, Any]:
    """What `run` is called with."""
    with pytest.MonkeyPatch.context() as patched:
        calls: list[dict[str, Any]] = []
        patched.setattr(run_flags, "run", lambda said: calls.append(said) or 0)
        patched.setattr(run_flags, "read_plainly", lambda arguments: None)
        assert cli.run(["run", *arguments]) == 0
    return calls[0]


@settings(deadline=None, max_examples=60)
@given(LINES)
def test_a_plain_line_means_what_typer_reads(line: list[str]) -> None:
    assert read_plainly(line) == {name: None if value == [] else value for name, value in read_by_typer(line).items()}


@pytest.mark.parametrize(
    "line",
    [
        ["--help"],
        ["-h"],
        ["--zork"],
        ["--lis", "tcp://127.0.0.1:0"],
        ["--listen"],
        ["--listen", "--backend"],
        ["--pin=yes"],
        ["-clb.toml"],
        ["-c=lb.toml"],
        ["lb.toml"],
        ["--"],
        ["--", "--pin"],
        [""],
        ["--=x"],
    ],
)
def test_what_is_not_plain_is_left_to_typer(line: list[str]) -> None:
    assert read_plainly(line) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--zork"], "lbcore: No such option: --zork"),
        (["--listen"], "lbcore: Option '--listen' requires an argument."),
        (["x"], "lbcore: Got unexpected extra argument"),
        ([], "lbcore: listen: missing (give --listen MODE://HOST:PORT, or -c FILE)"),
    ],
)
def test_what_is_wrong_is_one_line(capsys: pytest.CaptureFixture[str], line: list[str], says: str) -> None:
    assert cli.run(["run", *line]) == 2
    said = capsys.readouterr().err
    assert said.startswith(says)
    assert said.count("\n") == 1
