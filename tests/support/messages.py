"""What a message must hold, in any wording: its class, and the facts a reader acts on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


def says(text: object, *facts: object, nearest: str | None = None) -> None:
    """Assert that one line of `text` holds every fact: names, numbers, places, flags.

    An exception counts as one line. A fact is found as a whole word, so that 3 is not found in 13;
    `nearest` is the right answer that the line must suggest. The order and the words between are
    free: sentences that are promised word by word stand in tests/test_messages.py.
    """
    whole = isinstance(text, BaseException)
    lines = [" ".join(str(text).split())] if whole else str(text).splitlines()
    wanted = [_pattern(str(fact)) for fact in facts]
    if nearest is not None:
        wanted.append(f"did you mean [^?]*{_pattern(repr(nearest))}")
    assert wanted, "name a fact"
    missing = [[w for w in wanted if not re.search(w, line)] for line in lines]
    closest = min(range(len(lines)), key=lambda i: len(missing[i]), default=None)
    assert closest is not None, f"nothing was said of {facts}"
    assert not missing[closest], f"{missing[closest]} are not in: {lines[closest]}"


@contextmanager
def fails(
    kind: type[BaseException], *facts: object, nearest: str | None = None
) -> Iterator[pytest.ExceptionInfo[BaseException]]:
    """Expect an error of class `kind` whose message holds every fact, as `says` finds them."""
    with pytest.raises(kind) as caught:
        yield caught
    try:
        says(caught.value, *facts, nearest=nearest)
    finally:
        del caught  # its traceback holds this frame: else both live until the next collection


def _pattern(fact: str) -> str:
    """The fact as a whole word: 0 is neither in 10 nor in 0.5, and 5 is in "after 5."."""
    before = r"(?<![\w])(?<!\d[.,])" if re.match(r"\w", fact) else ""
    after = r"(?!\w|[.,]\d)" if re.search(r"\w$", fact) else ""
    return before + re.escape(fact) + after
