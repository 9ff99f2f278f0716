"""Where words go: streams that cannot end the work of whoever writes to them.

A terminal that cannot show a character gets another one. A full disk behind the output, a reader
that has gone and a stream that was closed before the program began cost what is said, and nothing
else: the work goes on, and the exit code tells of it (`Streams.failure`).
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

PLAIN = {
    "·": "-", "…": ".", "—": "-", "±": "~", "≥": ">", "≤": "<",
    "▁": "_", "▂": ".", "▃": ":", "▄": "-", "▅": "=", "▆": "+", "▇": "*", "█": "#",
    "━": "-", "─": "-", "│": "|", "╸": "-", "╺": "-", "•": "*", "→": ">", "←": "<",
    "╭": "+", "╮": "+", "╰": "+", "╯": "+", "“": '"', "”": '"',
}  # fmt: skip
"""What stands for a character where it cannot be shown: one for one, so that columns stay."""
HANDLER = "fdrl.plain"
"""The name of the error handler that puts it there."""


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(PLAIN.get(c, "?") for c in bad), error.end


codecs.register_error(HANDLER, _plain)


class Stream:
    """A text stream whose writes never raise `OSError`; `failure` is the first one that did."""

    def __init__(self, inner: TextIO) -> None:
        self._inner = inner
        self.failure: OSError | None = None
        soften(inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._inner)

    def write(self, text: str) -> int:
        """Write, or say nothing any more."""
        with self._kept():
            self._inner.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write one after another."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, or say nothing any more."""
        with self._kept():
            self._inner.flush()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._fail(error)
        except ValueError:  # closed by somebody, or a character that no handler is asked about
            if self._inner.closed:
                self._fail(OSError("it is closed"))

    def _fail(self, error: OSError) -> None:
        """Remember why; what is still in the buffer, and all that comes, goes nowhere."""
        self.failure = self.failure or error
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._inner.fileno())
            os.close(nowhere)


class Nowhere(io.TextIOBase):
    """Stands in for a stream that was closed before the program began."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Write nothing."""
        return len(text)


class Streams:
    """Output and error output while `kept`."""

    def __init__(self, out: Stream, err: Stream) -> None:
        self.out, self.err = out, err

    @property
    def gone(self) -> bool:
        """Whether the reader of the output has gone (``| head``)."""
        return isinstance(self.out.failure, BrokenPipeError)

    @property
    def failure(self) -> str:
        """Why the output could not be written, in a few words; empty if it could."""
        error = self.out.failure
        return "" if error is None else error.strerror or str(error)


def soften(stream: Any) -> None:
    """Let a stream show something else for what it cannot encode."""
    with suppress(AttributeError, OSError, ValueError):
        stream.reconfigure(errors=HANDLER)


def _open_standard() -> None:
    """Fill the places of standard streams that were closed: the next file would get them."""
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                nowhere = os.open(os.devnull, flags)
                if nowhere != number:
                    os.dup2(nowhere, number)
                    os.close(nowhere)
                os.set_inheritable(number, True)


def guard() -> Streams:
    """Make output and error output safe to write to, for the rest of this process."""
    _open_standard()
    made = Streams(_stream(sys.stdout), _stream(sys.stderr))
    sys.stdout, sys.stderr = cast(TextIO, made.out), cast(TextIO, made.err)
    return made


def _stream(found: TextIO | None) -> Stream:
    if isinstance(found, Stream):
        return found
    if found is None:
        found = cast(TextIO, Nowhere())
    return Stream(found)


@contextmanager
def kept() -> Iterator[Streams]:
    """Make output and error output safe to write to; put back what was there."""
    before = sys.stdout, sys.stderr
    made = guard()
    try:
        yield made
    finally:
        made.out.flush()
        made.err.flush()
        sys.stdout, sys.stderr = before


def forget_unknown_sizes(environ: MutableMapping[str, str]) -> None:
    """Drop ``COLUMNS=0`` and its like: who does not know a size says 0, and 80 is meant."""
    for name in ("COLUMNS", "LINES"):
        text = environ.get(name)
        if text is not None and not (text.isascii() and text.isdigit() and int(text) > 0):
            del environ[name]


def console() -> Console:
    """Return a console on the output that raises nothing when its reader has gone.

    Brackets and colons mean themselves: a folder or an environment may be called anything.
    """
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            """Go on: Rich would end the program."""

    return Output(markup=False, emoji=False)


def live(console: Console) -> bool:
    """Say whether a console can redraw: it is a terminal, and one that moves its cursor."""
    return console.is_terminal and not console.is_dumb_terminal


def check_reader() -> None:
    """Raise `BrokenPipeError` once the reader of the output has gone: who goes on does so alone."""
    if isinstance(getattr(sys.stdout, "failure", None), BrokenPipeError):
        raise BrokenPipeError


def say(text: str) -> None:
    """Say one line on the error output, whatever has become of that; above a live table."""
    with suppress(OSError, ValueError, RuntimeError, AttributeError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def show_cursor() -> None:
    """Give the terminal its cursor back, in a process that is about to end at once."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, AttributeError):
            if stream is not None and stream.isatty():
                stream.write("\x1b[?25h\n")
                stream.flush()
                return
