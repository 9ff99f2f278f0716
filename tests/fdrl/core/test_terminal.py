"""Streams that cannot end anybody's work: no characters, no room, no reader, no stream at all."""

from __future__ import annotations

import errno
import io
import sys
from typing import cast

import pytest
from rich.table import Table

from fdrl.cli import main
from fdrl.core import terminal
from fdrl.core.errors import plain
from fdrl.core.terminal import Stream


class Failing(io.StringIO):
    """A stream that takes a few characters and then fails, as a full disk does."""

    def __init__(self, error: OSError, room: int) -> None:
        super().__init__()
        self.error, self.room = error, room

    def write(self, text: str) -> int:
        if self.tell() + len(text) > self.room:
            raise self.error
        return super().write(text)


def test_what_cannot_be_encoded_is_replaced_one_for_one() -> None:
    kept = io.BytesIO()
    stream = Stream(io.TextIOWrapper(kept, encoding="ascii", newline=""))
    shown = "a · b … ▁█ é ╭ \udcff"
    stream.write(shown)
    stream.flush()
    text = kept.getvalue().decode("ascii")
    assert text == "a - b . _# ? + ?"
    assert len(text) == len(shown)


@pytest.mark.parametrize(
    ("error", "gone", "why"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), False, "No space left on device"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), True, "Broken pipe"),
    ],
)
def test_a_stream_that_fails_says_nothing_more(
    monkeypatch: pytest.MonkeyPatch, error: OSError, gone: bool, why: str
) -> None:
    inner = Failing(error, room=6)
    monkeypatch.setattr(sys, "stdout", inner)
    with terminal.kept() as streams:
        print("hello")
        assert not streams.failure
        print("world")
        sys.stdout.writelines(["and ", "all"])
        assert (streams.gone, streams.failure) == (gone, why)
        if gone:
            with pytest.raises(BrokenPipeError):
                terminal.check_reader()
        else:
            terminal.check_reader()
    assert inner.getvalue() == "hello\n"
    assert sys.stdout is inner


def test_streams_that_are_not_there_swallow_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with terminal.kept() as streams:
        print("nobody")
        terminal.say("hears this")
        assert not streams.failure
    assert cast(object, sys.stdout) is None


def test_a_stream_that_somebody_closed_is_a_failure_and_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inner = io.StringIO()
    monkeypatch.setattr(sys, "stdout", inner)
    with terminal.kept() as streams:
        inner.close()
        print("to nobody")
        assert streams.failure


@pytest.mark.parametrize("text", ["0", "-1", "", "wide"])
def test_sizes_that_nobody_knows_are_forgotten(text: str) -> None:
    environ = {"COLUMNS": text, "LINES": text, "TERM": "xterm"}
    terminal.forget_unknown_sizes(environ)
    assert environ == {"TERM": "xterm"}


def test_sizes_that_somebody_knows_are_kept() -> None:
    environ = {"COLUMNS": "1", "LINES": "50"}
    terminal.forget_unknown_sizes(environ)
    assert environ == {"COLUMNS": "1", "LINES": "50"}


def test_a_terminal_that_cannot_move_its_cursor_is_not_redrawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    for term, redrawn in (("xterm", True), ("dumb", False)):
        monkeypatch.setenv("TERM", term)
        assert terminal.live(terminal.console()) is redrawn


def test_brackets_and_control_characters_mean_themselves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "a[/b] [red]c :smile:"
    table = Table.grid()
    table.add_row(name)
    terminal.console().print(table, name)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [name, name]
    assert plain("my\nrun \x1b[31m\x9b é") == r"my\nrun \x1b[31m\x9b é"


def test_an_error_is_one_line_whatever_a_name_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "no\nrun\x1b[2J"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert r"no\nrun\x1b[2J" in told
