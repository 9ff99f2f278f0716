"""The command `fdrl` without training: dispatch, listings, checks, and errors in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from messages import says
from tyro.conf import Positional

from fdrl import cli
from fdrl.cli import options
from fdrl.cli.listing import settings_rows
from fdrl.cli.options import Switch, argument, field_help, flag
from fdrl.config.run import make_run
from fdrl.core.errors import FdrlError
from fdrl.core.registry import AGENTS, ENVS, STRATEGIES
from fdrl.core.settings import Exchange, PositiveInt
from fdrl.core.threads import THREAD_VARIABLES

Capture = pytest.CaptureFixture[str]


def error_of(capsys: Capture, *argv: str) -> str:
    """Run a command that must fail; return its one line."""
    assert cli.main(argv) == 2
    out = capsys.readouterr()
    assert out.err.startswith("fdrl: error: ")
    assert out.err.count("\n") == 1
    assert out.out == ""
    return out.err.removeprefix("fdrl: error: ").strip()


def test_help_names_every_verb(capsys: Capture) -> None:
    for argv in ([], ["--help"], ["-h"], ["help"]):
        assert cli.main(argv) == 0
        text = capsys.readouterr().out
        assert all(f"  {verb} " in text for verb in cli.VERBS)
        assert max(map(len, text.splitlines())) <= 90


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(verb: str, capsys: Capture) -> None:
    assert cli.main([verb, "--help"]) == 0
    assert f"usage: fdrl {verb}" in capsys.readouterr().out


def test_version(capsys: Capture) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fdrl 0.")


def test_unknown_words_name_the_nearest(capsys: Capture) -> None:
    says(error_of(capsys, "trian"), "'trian'", nearest="train")
    says(error_of(capsys, "--versoin"), "'--versoin'")
    says(error_of(capsys, "eval", "x", "--epsodes", "3"), "'--epsodes'", nearest="--episodes")
    says(error_of(capsys, "strategies", "fedavgg"), "'fedavgg'", nearest="fedavg")
    says(error_of(capsys, "envs", "x"), "'x'")


def test_debug_shows_the_traceback(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDRL_DEBUG", "1")
    assert cli.main(["trian"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_listings_have_every_entry(capsys: Capture) -> None:
    for verb, registry in (("envs", ENVS), ("agents", AGENTS), ("strategies", STRATEGIES)):
        assert cli.main([verb]) == 0
        text = capsys.readouterr().out
        assert registry.names()  # type: ignore[attr-defined]
        for name in registry.names():  # type: ignore[attr-defined]
            assert any(line.startswith(name) for line in text.splitlines()), name


def test_settings_are_listed_with_defaults_and_help(capsys: Capture) -> None:
    assert cli.main(["strategies", "fd"]) == 0
    text = capsys.readouterr().out
    says(text, "--strategy.every", "integer", 1)
    says(text, "--strategy.distill.lr", "number")
    assert "Learning rate of the distillation's own Adam." in text
    for name in AGENTS.names():
        assert cli.main(["agents", name]) == 0
        assert f"--agent {name}" in capsys.readouterr().out


def test_every_setting_of_a_run_has_a_help_text() -> None:
    run = make_run()
    for value in (run, run.evaluation, run.agent, run.strategy, run.strategy.distill, run.proxy):
        helps = field_help(type(value))
        # a table's own fields say what it is for
        plain = [f for f in value.__struct_fields__ if not _is_table(getattr(value, f))]
        assert [f for f in plain if not helps.get(f)] == [], type(value)


def _is_table(value: object) -> bool:
    return isinstance(value, msgspec.Struct)


def test_settings_rows_say_types_as_a_config_file_would() -> None:
    rows = settings_rows(Exchange, "--strategy")
    assert [r[:3] for r in rows] == [
        ("--strategy.every", "integer", "1"),
        ("--strategy.unit", "iterations | steps | episodes", "iterations"),
    ]


def test_check_says_what_is_wrong_and_exits_with_1(capsys: Capture) -> None:
    assert cli.main(["check", "CartPole-v1"]) == 0
    says(capsys.readouterr().out, "CartPole-v1", "0 errors")
    assert cli.main(["check", "Blackjack-v1"]) == 0  # ends its episodes itself, without a limit
    says(capsys.readouterr().out, "warning", "episode limit")
    assert cli.main(["check", "zoo:OneAction"]) == 1
    text = capsys.readouterr().out
    says(text, "ERROR", "Discrete(1)")
    says(text, "zoo:OneAction", "not usable")
    assert cli.main(["check", "CartPle-v1"]) == 1
    says(capsys.readouterr().out, "'CartPle-v1'", nearest="CartPole-v1")


def test_check_hands_arguments_to_the_environment(capsys: Capture) -> None:
    assert cli.main(["check", "CartPole-v1", "--env_kwargs.gravity", "5.0"]) == 0
    capsys.readouterr()
    assert cli.main(["check", "CartPole-v1", "--env_kwargs.gravty", "5.0"]) == 1
    assert "gravity" in capsys.readouterr().out
    assert "takes --env_kwargs" in error_of(capsys, "check", "CartPole-v1", "--steps", "3")


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """Options of every kind."""

    run: Annotated[Positional[str], argument("RUN")]
    """A folder."""
    number: Annotated[PositiveInt | None, flag("N", "many")] = None
    """How many."""
    list: tuple[int, ...] = ()
    """Several."""
    switch_on: Switch = False
    """Whether."""
    inner: Exchange = Exchange()
    """Settings of their own."""


def words(*argv: str) -> Words:
    return options.read(Words, argv, "verb")


def test_options_are_read_in_any_order() -> None:
    assert words("run", "--number", "1e3", "--switch-on") == Words(
        run="run", number=1000, switch_on=True
    )
    assert words("--list", "1", "-2", "run", "--number=4") == Words(
        run="run", list=(1, -2), number=4
    )
    assert words("--switch_on", "run", "--list", "3,4").list == (3, 4)
    assert words("run", "--no-switch-on", "--inner.every", "5").inner == Exchange(every=5)
    assert words("--switch-on", "false", "run").switch_on is False


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--number"], "--number needs a value, N"),
        (["--number", "--switch-on"], "--number needs a value"),
        (["a", "b"], "unexpected argument 'b'"),
        (["a", "--nmber", "3"], "unknown flag '--nmber'; did you mean '--number'"),
        (["a", "--run", "3"], "unknown flag '--run'"),
        (["--switch-on"], "fdrl verb needs a folder: fdrl verb RUN"),
        (["a", "--number", "0"], r"whole number of at least 1, got 0 \(at --number\)"),
        (["a", "--number", "x"], "--number needs a whole number such as 100000, got 'x'"),
        (["a", "--number", "1.5"], "--number needs a whole number"),
        (["a", "--switch-on=maybe"], "--switch-on is true or false, not 'maybe'"),
        (["a", "--inner.unit", "days"], "--inner.unit is one of iterations, steps, episodes, not"),
        (["a", "--inner.every", "0"], r"at least 1, got 0 \(at --inner.every\)"),
    ],
)
def test_options_that_cannot_be_read(argv: list[str], message: str) -> None:
    with pytest.raises(FdrlError, match=message):
        words(*argv)


def test_options_are_spelled_as_they_are_read() -> None:
    asked = Words(run="a", number=3, list=(1, 2), switch_on=True)
    assert options.spell(asked) == ["--number", "3", "--list", "1", "2", "--switch-on"]
    assert words("a", *options.spell(asked)) == asked
    assert options.spell(asked, ["number", "list"]) == ["--switch-on"]


def python(code: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in THREAD_VARIABLES}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=kept | env, capture_output=True, text=True,
        check=True,
    )  # fmt: skip


HEAVY = ("numpy", "torch", "stable_baselines3", "gymnasium", "tyro", "matplotlib", "rich")


def test_help_and_version_import_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import sys
from fdrl.cli import main
assert main(["--help"]) == 0 and main(["--version"]) == 0 and main(["trian"]) == 2
print([m for m in {HEAVY} if m in sys.modules])
"""
    assert python(code, tmp_path).stdout.splitlines()[-1] == "[]"


def test_listings_do_not_import_learners(tmp_path: Path) -> None:
    code = """
import sys
from fdrl.cli import main
assert main(["envs"]) == main(["agents"]) == main(["strategies"]) == 0
print([m for m in ("torch", "stable_baselines3", "gymnasium") if m in sys.modules])
"""
    assert python(code, tmp_path).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shells_completion_knows_verbs_flags_and_names(shell: str, tmp_path: Path) -> None:
    code = f"""
import sys
from fdrl.cli import main
assert main(["completion", {shell!r}]) == 0
print([m for m in ("torch", "stable_baselines3") if m in sys.modules])
"""
    text = python(code, tmp_path).stdout
    assert text.splitlines()[-1] == "[]"
    for word in (*cli.VERBS, "distill", "hidden", "fedavg", "dry-run"):
        assert word in text, word


def test_tyros_own_flag_prints_the_same_script(capsys: Capture) -> None:
    assert cli.main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert cli.main(["train", "--tyro-print-completion", "bash"]) == 0
    assert capsys.readouterr().out == script
    told = error_of(capsys, "completion", "tcsh")
    assert all(shell in told for shell in ("bash", "zsh", "fish", "'tcsh'"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_a_strategy(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    code = """
source ./script
COMP_WORDS=(fdrl train --strategy fedav) COMP_CWORD=3
$(complete -p fdrl | sed 's/.*-F \\([^ ]*\\).*/\\1/')
echo "${COMPREPLY[@]}"
"""
    done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["fedavg"]


def test_thread_pools_are_limited_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    code = """
import os
from fdrl.cli import main
main(["--version"])
from fdrl.core.threads import THREAD_VARIABLES
print([os.environ[n] for n in THREAD_VARIABLES])
"""
    assert "['4', '1', '1', '1', '1']" in python(code, tmp_path, OMP_NUM_THREADS="4").stdout


def test_python_m_fdrl_works_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fdrl", "bogus"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("fdrl: error: unknown verb 'bogus'")


def test_a_closed_pipe_is_not_an_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m fdrl agents ppo | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode in (0, 141)
