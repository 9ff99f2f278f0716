"""A newcomer's machine: fdrl as it is here, and a folder that pip installs plugins into."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fdrl

ROOT = Path(fdrl.__file__).resolve().parent.parent


class Machine:
    """Runs commands in `home`; `install` puts a project into a folder that only they see."""

    def __init__(self, home: Path) -> None:
        self.home, self.site = home, home / "site"
        self.site.mkdir()

    def python(self, *argv: str, cwd: Path | None = None) -> str:
        """Run ``python argv`` and return its output; it must succeed."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("FDRL_", "PYTEST_"))}
        done = subprocess.run(
            [sys.executable, *argv],
            cwd=cwd or self.home,
            env=plain | {"PYTHONPATH": str(self.site), "COLUMNS": "120"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def fdrl(self, *argv: str, cwd: Path | None = None) -> str:
        """Run ``fdrl argv``."""
        return self.python("-m", "fdrl", *argv, cwd=cwd)

    def install(self, project: Path) -> None:
        """``pip install`` a project, without a network."""
        pip = ["-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index"]
        self.python(*pip, "--disable-pip-version-check", "--target", str(self.site), str(project))
