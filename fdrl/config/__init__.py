"""One schema for files, flags and Python."""

from fdrl.config.run import Run, make_run

__all__ = ["Run", "make_run"]
