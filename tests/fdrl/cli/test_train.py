"""``fdrl train``: flags, every bad input in one line, stopping, and resuming."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_federation import STEPS, FakeFederation
from fdrl.agents.ppo import PPO
from fdrl.agents.sb3.settings import SB3
from messages import fails, says
from msgspec.structs import asdict

from fdrl import cli
from fdrl.cli.flags import apply_flags, choose_types
from fdrl.cli.train import few_exchanges_note, read_command
from fdrl.config.run import Run, make_run, parse, to_toml
from fdrl.core.errors import FdrlError, Notice
from fdrl.core.records import WALL_CLOCK
from fdrl.core.watch import NO_ANSWER, PULSE
from fdrl.federation import loop as loop_module
from fdrl.runs import display as display_module
from fdrl.runs import train as train_module
from fdrl.runs.folder import latest_checkpoint, read_records, read_run, read_summary
from fdrl.runs.train import train

Capture = pytest.CaptureFixture[str]
SMALL = ["--agents", "2", "--steps", str(3 * STEPS)]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_module, "draw_curves", lambda folder: None)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "Federation", FakeFederation)


def error_of(capsys: Capture, *argv: str) -> str:
    """Run ``fdrl train`` with a mistake; return its one line. Nothing may be left behind."""
    before = sorted(Path().rglob("*"))
    assert cli.main(["train", *argv]) == 2
    out = capsys.readouterr()
    assert out.err.startswith("fdrl: error: ")
    assert out.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return out.err.removeprefix("fdrl: error: ").strip()


def flags(*words: str, **tables: Any) -> Run:
    return apply_flags(tables, words)


def test_no_flag_changes_nothing() -> None:
    assert flags() == make_run()
    assert flags(steps=7, hetero={"type": "dynamics", "level": 0.5}) == make_run(
        steps=7, hetero={"type": "dynamics", "level": 0.5}
    )


def test_flags_of_every_kind() -> None:
    run = flags(
        "--env", "Acrobot-v1", "--agents=3", "--seed", "4", "--agent.hidden", "8", "16",
        "--agent.learning_rate", "1e-3", "--strategy.distill.steps", "5", "--tensorboard",
        "--checkpoint-every", "0", "--evaluation.episodes", "2", "--same_init", "True",
        "--strategy.unit", "steps",
    )  # fmt: skip
    assert (run.env, run.agents, run.seed, run.same_init) == ("Acrobot-v1", 3, 4, True)
    assert (run.agent.hidden, run.agent.learning_rate) == ((8, 16), 1e-3)
    assert (run.strategy.distill.steps, run.strategy.unit) == (5, "steps")
    assert (run.tensorboard, run.checkpoint_every, run.evaluation.episodes) == (True, 0, 2)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--agent.normalize_advantage", "False"], False),
        (["--agent.normalize-advantage=false"], False),
        (["--agent.no-normalize-advantage"], False),
        (["--agent.no_normalize_advantage"], False),
        (["--agent.normalize-advantage"], True),
        (["--agent.normalize-advantage", "TRUE", "--seed", "1"], True),
        (["--agent.normalize-advantage", "--seed", "1"], True),
    ],
)
def test_a_switch_can_be_turned_both_ways(words: list[str], value: bool) -> None:
    agent = {"type": "ppo", "normalize_advantage": not value}
    assert flags(*words, agent=agent).agent.normalize_advantage is value
    assert flags(*words).agent.normalize_advantage is value


def test_a_value_may_look_like_a_flag() -> None:
    assert read_command(["--agents", "2", "--out=-dash"]).folder == Path("-dash")


def test_switches_that_are_off_or_unset() -> None:
    assert flags("--strategy.confidence", "True").strategy.confidence is True
    assert flags("--tensorboard").tensorboard is True
    assert flags("--no-tensorboard", tensorboard=True).tensorboard is False
    assert flags("--no-same-init", same_init=True).same_init is False
    assert flags("--same-init", same_init=False).same_init is True
    # unset is what the strategy asks for: fedavg starts from the same weights
    assert flags("--strategy", "fedavg", "--same-init", "none", same_init=False).same_init is True


def test_a_name_chooses_the_type_and_drops_the_other_types_table() -> None:
    tables: dict[str, Any] = {"strategy": {"type": "fd", "beta": 2.0}, "seed": 3}
    assert flags("--strategy", "fd", **tables).strategy.beta == 2.0
    run = flags("--strategy", "fedavg", "--strategy.prox", "0.5", **tables)
    assert (run.strategy_name, run.strategy.prox, run.seed) == ("fedavg", 0.5, 3)
    assert run.same_init is True
    assert flags("--strategy.type=fedavg", **tables).strategy_name == "fedavg"
    run = flags("--hetero", "outlier", "--hetero.factor", "2", "--proxy", "sobol", "--agent", "a2c")
    assert (run.hetero.factor, run.proxy.size, run.agent_name) == (2.0, 256, "a2c")  # type: ignore[union-attr]


def test_keyword_arguments_of_the_environment() -> None:
    run = flags(
        "--env_kwargs.gravity", "-5", "--env-kwargs.name", "moon", "--env_kwargs.on=true",
        "--env_kwargs.sizes", "[1, 2]", env_kwargs={"kept": 1, "gravity": 9},
    )  # fmt: skip
    assert run.env_kwargs == {"kept": 1, "gravity": -5, "name": "moon", "on": True, "sizes": [1, 2]}


def test_tables_without_flags_are_kept() -> None:
    cohorts = [{"agents": 2, "agent": {"type": "ppo", "hidden": [4]}}]
    run = flags("--seed", "3", cohorts=cohorts)
    assert run == parse({"cohorts": cohorts, "seed": 3})
    run = flags("--seed", "3", agents=2, agent_kwargs=[{"length": 0.1}, {"length": 0.2}])
    assert run.agent_kwargs == ({"length": 0.1}, {"length": 0.2})
    with fails(FdrlError, "cohorts", "learners"):
        flags("--agent", "a2c", cohorts=cohorts)


def test_flags_equal_the_same_file(tmp_path: Path) -> None:
    by_flags = flags("--strategy", "fedavg", "--steps", "99", "--strategy.part", "policy")
    by_file = parse({"strategy": {"type": "fedavg", "part": "policy"}, "steps": 99})
    assert by_flags == by_file
    (tmp_path / "my.toml").write_text(to_toml(by_file))
    assert read_command(["my.toml", "--quiet"])[0] == by_file


def test_a_named_proxy_set_alone_is_taken() -> None:
    run = flags("--env", "CartPole-v1", "--proxy", "sobol")
    assert run == make_run(proxy="sobol")
    assert (
        flags("--proxy.bins", "7", strategy={"type": "fd"}).proxy
        == make_run(proxy={"type": "mix", "bins": 7}).proxy
    )


def test_the_config_is_parsed_once(fake: None, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[object] = []

    def counted(raw: Any) -> Run:
        parsed.append(raw)
        return parse(raw)

    for module in ("fdrl.config.run", "fdrl.cli.flags", "fdrl.cli.train"):
        monkeypatch.setattr(f"{module}.parse", counted)
    words = [*SMALL, "--strategy.every", "2", "--proxy.bins", "9", "--hetero", "outlier"]
    assert cli.main(["train", *words, "--out", "a", "--quiet"]) == 0
    assert len(parsed) == 1
    run = read_run("a")
    assert (run.strategy.every, run.proxy.bins, run.hetero.factor) == (2, 9, 3.6)  # type: ignore[union-attr]


def test_choose_types_leaves_other_flags_alone() -> None:
    chosen, rest = choose_types({}, ["--agent", "a2c", "--agent.hidden", "4", "5", "--seed=2"])
    assert chosen == {"agent": {"type": "a2c"}}
    assert rest == [("--agent.hidden", ["4", "5"]), ("--seed", ["2"])]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--env", "CartPle-v1"], "unknown environment 'CartPle-v1'; did you mean 'CartPole-v1'?"),
        (
            ["--env", "Pendulum-v1", "--agent", "reinforce"],
            "agent 'reinforce' has discrete actions",
        ),
        (["--strategy", "fedavgg"], "unknown strategy 'fedavgg'; did you mean 'fedavg'?"),
        (["--agent", "pop"], "unknown agent 'pop'; did you mean 'ppo'?"),
        (["--hetero", "dynamic"], "unknown type 'dynamic'; did you mean 'dynamics'? (at hetero)"),
        (["--stps", "4"], "unknown flag '--stps'; did you mean '--steps'?"),
        (
            ["--agent.hiden", "4"],
            "unknown flag '--agent.hiden' of agent 'ppo'; did you mean '--agent.hidden'?",
        ),
        (["--strategy", "local", "--strategy.beta", "1"], "'--strategy.beta' of strategy 'local'"),
        (["--quite"], "unknown flag '--quite'; did you mean '--quiet'?"),
        (["quickstrat"], "unknown preset 'quickstrat'; did you mean 'quickstart'?"),
        (["quickstart", "other"], "unexpected argument 'other'"),
        (["--steps", "-5"], "flags: expected a whole number of at least 1, got -5 (at --steps)"),
        (["--steps", "many"], "flags: --steps needs a whole number such as 100000, got 'many'"),
        (["--steps", "1.5"], "flags: --steps needs a whole number such as 100000, got '1.5'"),
        (
            ["--strategy", "fedavg", "--strategy.visit_power", "0"],
            "'--strategy.visit_power' of strategy 'fedavg'; cd, fd, ",
        ),
        (
            ["--hetero", "none", "--hetero.level", "1"],
            "; dynamics, init and conflict have that setting",
        ),
        (["--bogus", "1"], "unknown flag '--bogus' (fdrl train --help lists all flags)"),
        (["--agent.zzz", "1"], "of agent 'ppo' (fdrl train --help lists all flags)"),
        (["--env", "Zzz"], "no Gymnasium id and not registered"),
        (["--steps"], "flags: --steps needs a value"),
        (["--seed", "1", "2"], "unexpected argument '2'"),
        (["--strategy.unit", "hours"], "is one of iterations, steps, episodes, not 'hours'"),
        (["--strategy"], "flag --strategy takes one value, got none"),
        (["--cohorts", "3"], "--cohorts can only be set in a TOML file"),
        (["--hetero.level", "1.5"], "level is 1.5, but must lie in [0, 1)"),
        (["--env_kwargs.gravty", "1"], "did you mean 'gravity'?"),
        (["--tensorboard", "maybe"], "--tensorboard is true or false, not 'maybe'"),
        (["--tensorboard", "none"], "--tensorboard is true or false, not 'none'"),
        (["--no-tensorboard", "true"], "--no-tensorboard takes no value; say --tensorboard true"),
        (["--no-steps"], "unknown flag '--no-steps'"),
        (["--agent.no-hidden"], "unknown flag '--agent.no-hidden' of agent 'ppo'"),
        (
            ["--agent.learning_rate", "inf"],
            "flags: expected a finite number, got inf (at --agent.learning",
        ),
        (
            ["--agent.learning_rate", "nan"],
            "a number of at least 0, got nan (at --agent.learning_rate)",
        ),
        (["--agent.ent_coef", "nan"], "a finite number, got nan (at --agent.ent_coef)"),
        (["--strategy.distill.lr", "inf"], "a finite number, got inf (at --strategy.distill.lr)"),
        (["--strategy.distill.batch", "0"], "of at least 1, got 0 (at --strategy.distill.batch)"),
        (["--env_kwargs.max_episode_steps", "0"], "max_episode_steps must be a whole number"),
        (["--env_kwargs.max_episode_stps", "9"], "did you mean 'max_episode_steps'?"),
        (["--resume"], "--resume needs a value, a run folder"),
        (["--resume", "nothing"], "nothing is not a run folder: no such folder"),
        (["missing.toml"], "cannot read the config missing.toml: No such file or directory"),
        (["--agent.hidden", "64,a"], "--agent.hidden needs a whole number such as 100000, got 'a'"),
        (["--agent.hidden"], "--agent.hidden needs one or more whole numbers, such as 64 64"),
        (
            ["--agent.learning_rate", "high"],
            "learning_rate takes a number such as 0.001, not",
        ),
        (["--agent.gamma", "7"], "flags: expected a number of at most 1, got 7.0 (at --agent.ga"),
        (["--agent.gamma", "7", "--steps", "2"], "got 7.0 (at --agent.gamma)"),
        (["--steps", "1e30"], "--steps is too large: 1e30 is not below 1e+15"),
        (["--steps", "1,000"], "--steps needs a whole number such as 100000, got '1,000'"),
        (["--env", "Acrobot-v1", "--hetero.level", "0.5"], "--hetero dynamics --hetero.level VAL"),
        (["--strategy", "mix2fld"], "strategy 'mix2fld' as it is set needs agents with labeled"),
        (["--agent", "classifier"], "'classifier' learns from labeled samples, which environm"),
        (["--agent", "sb3", "--agent.algorithm", "SAC"], "algorithm is one of PPO, A2C, DQN, no"),
        (["--env", "./my_env.py"], "name what is in that file, my_env:ClassName or an id that it"),
        (["--agent", "dqn"], "did you mean --agent sb3 --agent.algorithm DQN?"),
        (["--agent", "PPO"], "unknown agent 'PPO'; did you mean 'ppo'?"),
        (["--env", "pendulum"], "'Pendulum-v1'? (the preset of that name: fdrl train pendulum, wi"),
        (["--env", "mixed"], "'mixed' (the preset of that name: fdrl train mixed, without --env)"),
        (["--lr", "1e-3"], "unknown flag '--lr'; did you mean '--agent.learning_rate'?"),
        (["--agent.lr", "1e-3"], "did you mean '--agent.learning_rate'?"),
        (["--n_agents", "3"], "did you mean '--agents'?"),
        (["--config"], "--config needs a value, a preset or FILE.toml"),
        (["--config", "pendulm"], "unknown preset 'pendulm'; did you mean 'pendulum'?"),
        (["digits", "--config", "mixed"], "two configs: digits and --config mixed"),
        (["/"], "/ is a folder, not a preset or FILE.toml"),
        (["--env", ":"], "environment ':'"),
    ],
)
def test_every_mistake_is_one_line(argv: list[str], message: str, capsys: Capture) -> None:
    assert message in error_of(capsys, *argv)


def test_help_spells_settings_as_files_do_and_names_the_presets(capsys: Capture) -> None:
    assert cli.main(["help", "train"]) == 0
    text = capsys.readouterr().out
    assert "--agent.max_grad_norm" in text
    assert not re.search(r"--[a-z_.]*-[a-z]", text)
    assert "presets: a2c-classic, digits" in text


@pytest.mark.parametrize("flag", ["--agent.max_grad_norm", "--agent.max-grad-norm"])
def test_both_spellings_of_a_setting_are_taken(flag: str) -> None:
    assert flags(flag, "0.25") == make_run(agent={"type": "ppo", "max_grad_norm": 0.25})


@pytest.mark.parametrize("words", [["64,32"], ["64,", "32"], ["[64, 32]"], ["64", "32"]])
def test_lists_may_have_commas(words: list[str]) -> None:
    assert flags("--agent.hidden", *words) == make_run(agent={"type": "ppo", "hidden": [64, 32]})


def test_the_config_may_be_named_by_a_flag() -> None:
    assert (
        read_command(["--seed", "4", "--config", "digits"])[0]
        == (read_command(["digits", "--seed", "4"])[0])
    )


def test_a_run_folder_is_no_config(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(to_toml(make_run()))
    told = error_of(capsys, str(tmp_path / "run"))
    says(told, f"fdrl train --resume {tmp_path / 'run'}")
    told = error_of(capsys, "--resume", str(tmp_path / "run" / "config.toml"))
    says(told, tmp_path / "run" / "config.toml", "file")


def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def build(run: Run) -> None:
        raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setattr(loop_module, "Federation", build)
    says(error_of(capsys), "memory", "7 TiB")


@pytest.mark.parametrize("columns", ["0", "1", "5", "20"])
@pytest.mark.usefixtures("fake")
def test_values_are_folded_on_narrow_screens_and_never_dropped(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert cli.main(["train", *SMALL, "--out", "a"]) == 0
    out = capsys.readouterr().out
    shown = out[out.index("final") if columns in ("0", "20") else 0 :]
    assert "fdrlevala" in re.sub(r"\s", "", shown)
    assert "".join(f"{read_summary('a').return_mean:.2f}".split()) in re.sub(r"\s", "", shown)  # type: ignore[union-attr]


@pytest.mark.usefixtures("fake")
def test_a_terminal_that_encodes_little_and_a_full_disk_cost_no_run(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shown = io.BytesIO()
    narrow = io.TextIOWrapper(shown, encoding="ascii")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", narrow)
        assert cli.main(["train", *SMALL, "--out", "a"]) == 0
    assert b"mean" in shown.getvalue()
    full = Path("/dev/full")
    if not full.exists():
        return
    for argv, code in (
        (["train", *SMALL, "--out", "b"], 0),
        (["train", *SMALL, "--out", "c", "--quiet"], 0),
        (["strategies", "fd"], 1),
    ):
        with monkeypatch.context() as patched, full.open("w") as stream:
            patched.setattr(sys, "stdout", stream)
            assert cli.main(argv) == code
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        says(told, "No space left on device")
    assert read_summary("b") is not None
    assert read_summary("c") is not None


@pytest.mark.usefixtures("fake")
def test_start_up_says_what_it_does_and_answers_ctrl_c_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    class Slow(FakeFederation):
        def __init__(self, run: Run) -> None:
            PULSE.phase("measuring the ranges of Moor-v0")
            PULSE.count(3, 1000)
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)

    monkeypatch.setattr(loop_module, "Federation", Slow)
    monkeypatch.setattr(display_module, "START", 0.05)
    begun = time.monotonic()
    assert cli.main(["train", *SMALL, "--out", "a"]) == 130
    assert time.monotonic() - begun < 20
    says(capsys.readouterr().err, "measuring the ranges of Moor-v0", "3 of 1,000 steps")
    assert not Path("a").exists()


def test_a_reader_that_leaves_stops_the_run_and_is_told_how_to_go_on(tmp_path: Path) -> None:
    code = "import sys; from fdrl.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["train", "--agents", "2", "--steps", "4096", "--out", str(tmp_path / "a")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    told = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 141
    says(told, f"fdrl train --resume {tmp_path / 'a'}")


def test_a_misspelt_key_in_a_file_names_the_nearest(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "my.toml").write_text('[strategy]\ntype = "fd"\nbetta = 2\n')
    message = error_of(capsys, "my.toml")
    says(message, "my.toml", "'betta'", "strategy", nearest="beta")
    (tmp_path / "my.toml").write_text('agents = "four"\n')
    says(error_of(capsys, "my.toml"), "my.toml", "'four'", "agents")
    (tmp_path / "my.toml").write_text("agents = 4\n")
    assert error_of(capsys, "my.toml", "--hetero", "x").startswith("config: unknown type 'x'")


def test_where_the_config_comes_from(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("agents = 4\n")
    assert read_command([]).source == "preset quickstart"
    assert read_command(["my.toml"]).source == "my.toml"
    assert read_command(["--env", "CartPole-v1"]).source == "defaults"


@pytest.mark.parametrize("text", ["1e5", "100_000", "100000"])
def test_whole_numbers_may_be_spelled_shortly(text: str) -> None:
    assert flags("--steps", text).steps == 100_000
    assert flags("--agent.hidden", "1e2", "8").agent.hidden == (100, 8)


def test_folders_that_cannot_be_used(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    says(error_of(capsys, *SMALL, "--out", "file/run"), "file/run")
    says(error_of(capsys, *SMALL, "--out", "file"), "file", "folder")
    says(error_of(capsys, *SMALL, "--out", "full"), "full", "empty")


@pytest.mark.usefixtures("fake")
def test_training_writes_the_default_folder_and_says_so(capsys: Capture) -> None:
    assert cli.main(["train", *SMALL, "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "100% round 3" in out
    assert "fdrl eval runs/CartPole-v1-fdv-3" in re.sub(r"\s+", " ", out)
    assert cli.main(["train", *SMALL, "--seed", "3", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.rstrip().endswith("in runs/CartPole-v1-fdv-3-2")
    one, two = read_records("runs/CartPole-v1-fdv-3"), read_records("runs/CartPole-v1-fdv-3-2")
    assert one == two
    assert len(one) == 3


@pytest.mark.usefixtures("fake")
def test_resuming_a_finished_run_says_so_and_changes_nothing(capsys: Capture) -> None:
    assert cli.main(["train", *SMALL, "--out", "a", "--quiet"]) == 0
    before = {p: p.stat().st_mtime_ns for p in Path("a").rglob("*")}
    capsys.readouterr()
    assert cli.main(["train", "--resume", "a"]) == 0
    assert capsys.readouterr().out.startswith("a is finished: nothing to resume")
    assert {p: p.stat().st_mtime_ns for p in Path("a").rglob("*")} == before


@pytest.mark.usefixtures("fake")
def test_resume_with_another_config_names_the_fields(capsys: Capture) -> None:
    assert cli.main(["train", *SMALL, "--out", "a", "--quiet"]) == 0
    capsys.readouterr()
    message = error_of(capsys, "--resume", "a", "--seed", "9", "--strategy.beta", "1.5")
    says(message, "a", "seed, strategy.beta", "--out")
    says(error_of(capsys, "quickstart", "--resume", "a"), "agents, steps")
    assert cli.main(["train", "--resume", "a", "--checkpoint_every", "3"]) == 0
    message = "a holds a run already: delete it, choose another --out, or continue it with"
    says(error_of(capsys, *SMALL, "--out", "a"), "a", "--out", "fdrl train --resume a")


@pytest.mark.usefixtures("fake")
def test_from_python_the_errors_speak_python() -> None:
    run = make_run(agents=2, steps=STEPS)
    summary = train(run, out="a")
    with fails(FdrlError, "resume=True", "out"):
        train(run, out="a")
    assert train(run, out="a", resume=True).returns == summary.returns
    with fails(FdrlError, "seed", "out"):
        train(make_run(agents=2, steps=STEPS, seed=1), out="a", resume=True)


@pytest.mark.usefixtures("fake")
def test_resume_does_not_ignore_an_out_folder(capsys: Capture) -> None:
    assert cli.main(["train", *SMALL, "--out", "a", "--quiet"]) == 0
    capsys.readouterr()
    message = error_of(capsys, "--resume", "a", "--out", "b")
    says(message, "--resume a", "folder b")
    assert cli.main(["train", "--resume", "a", "--out", "./a"]) == 0


@pytest.mark.usefixtures("fake")
def test_a_stopped_run_says_how_to_go_on(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: FakeFederation) -> Any:
        if self.rounds_done == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(self)

    learn = FakeFederation.round
    monkeypatch.setattr(FakeFederation, "round", stop)
    assert cli.main(["train", *SMALL, "--out", "a", "--quiet"]) == 130
    err = capsys.readouterr().err
    says(err, "round 2", "fdrl train --resume a")
    monkeypatch.setattr(FakeFederation, "round", learn)
    assert cli.main(["train", "--resume", "a", "--quiet"]) == 0
    assert [r.round for r in read_records("a")] == [1, 2, 3]


REAL = [
    "--agents", "2", "--steps", "327680", "--agent.n-envs", "2", "--agent.n-steps", "32",
    "--agent.hidden", "8", "--agent.n-epochs", "1", "--evaluation.episodes", "2",
    "--proxy.size", "16", "--quiet", "--out", "a",
]  # fmt: skip


def test_ctrl_c_stops_a_real_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fdrl", "train"]
    process = subprocess.Popen(
        [*command, *REAL], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    log = tmp_path / "a" / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert out == ""
    match = re.search(r"stopped after round (\d+); continue with: fdrl train --resume a\n$", err)
    assert match
    assert "Traceback" not in err
    assert len(read_records(tmp_path / "a")) == int(match.group(1))
    assert read_summary(tmp_path / "a") is None
    assert read_run(tmp_path / "a").steps == 327680


def test_a_signal_to_the_whole_group_leaves_the_workers_alone(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "fdrl", "train", *REAL, "--threads", "2"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    log = tmp_path / "a" / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "exit code" not in err
    says(err, "fdrl train --resume a")


TINY = [
    "--steps", "2048", "--agent.n_envs", "2", "--agent.n_steps", "32", "--agent.batch_size", "32",
    "--agent.n_epochs", "1", "--agent.hidden", "8", "--evaluation.episodes", "1", "--quiet",
]  # fmt: skip
HANGS = """
import time
import gymnasium
import numpy as np

class Hangs(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps > 200:
            time.sleep(1000)
        return np.zeros(2, np.float32), 1.0, self.steps % 10 == 0, False, {}

gymnasium.register("Hangs-v0", Hangs, max_episode_steps=10)
"""


@pytest.mark.slow
def test_an_environment_that_hangs_ends_the_run_with_its_last_round(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    words = ["--env", "hangs:Hangs-v0", "--agents", "2", "--out", "a", *TINY]
    done = subprocess.run(
        [sys.executable, "-m", "fdrl", "train", *words, "--patience", "1", "--patience-stop", "2"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == NO_ANSWER
    rounds = len(read_records(tmp_path / "a"))
    assert rounds > 0
    says(done.stderr.splitlines()[0], "'hangs:Hangs-v0'", "agent 0 copy 0", "step", "pid")
    says(done.stderr.splitlines()[-1], f"round {rounds}", "fdrl train --resume a")
    checkpoint = latest_checkpoint(tmp_path / "a")
    assert checkpoint is not None
    assert checkpoint.round == rounds


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children cannot be listed")
def test_a_run_whose_workers_are_killed_is_the_same_to_the_bit(tmp_path: Path) -> None:
    words = ["train", "--agents", "3", *TINY]
    assert cli.main([*words, "--out", str(tmp_path / "whole")]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "fdrl", *words, "--threads", "2", "--out", "killed"],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    log = tmp_path / "killed" / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.stat().st_size):
        time.sleep(0.005)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err.count("SIGKILL") == 2
    whole, killed = (
        [{k: v for k, v in r.items() if k not in WALL_CLOCK} for r in map(asdict, records)]
        for records in (read_records(tmp_path / "whole"), read_records(tmp_path / "killed"))
    )
    assert whole == killed


# ---- What is said where agents would exchange only a few times, and of an exported team member


UNSET = SB3()


def test_few_exchanges_by_a_default_are_told() -> None:
    note = few_exchanges_note(make_run(steps=10_000), UNSET, 2048)
    says(note, "2,048 steps", "5 times", "--agent.n_steps 256")
    says(few_exchanges_note(make_run(steps=64), UNSET, 2048), "once")


def test_nothing_is_said_where_the_user_chose_or_nothing_is_exchanged() -> None:
    few = make_run(steps=10_000)
    assert not few_exchanges_note(few, SB3(n_steps=2048), 2048)
    assert not few_exchanges_note(few, PPO(), 2048)
    assert not few_exchanges_note(make_run(steps=20_480), UNSET, 2048)
    assert not few_exchanges_note(make_run(steps=10_000, strategy="local"), UNSET, 2048)
    chosen = {"type": "fd", "every": 4_096, "unit": "steps"}
    assert not few_exchanges_note(make_run(steps=10_000, strategy=chosen), UNSET, 2048)


@pytest.mark.slow
def test_train_says_it_before_it_trains(tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "--env", "CartPole-v1", "--agent", "sb3", "--agents", "1", "--steps", "64"]
    assert cli.main([*words, "--out", str(tmp_path / "a")]) == 0
    says(capsys.readouterr().err, "fdrl: note:", "once")
    assert cli.main([*words, "--out", str(tmp_path / "b"), "--quiet"]) == 0
    assert "note" not in capsys.readouterr().err


@pytest.mark.slow
def test_an_exported_member_of_a_shared_world_says_which_it_is(
    tmp_path: Path, capsys: Capture
) -> None:
    pytest.importorskip("mpe2")
    world = ["--env", "mpe2:simple_speaker_listener_v4", "--steps", "256", "--quiet"]
    assert cli.main(["train", *world, "--out", str(tmp_path / "run")]) == 0
    assert cli.main(["export", str(tmp_path / "run"), "--trust", "--agent", "1"]) == 0
    said = capsys.readouterr()
    assert said.out.strip().endswith("agent-01.zip")
    says(said.err, "'listener_0'", "mpe2:simple_speaker_listener_v4")
    says(said.err, "(11,)", "5 actions")


def test_a_run_whose_agents_died_says_so_and_ends_with_three(capsys: Capture) -> None:
    words = "--agents 2 --steps 64 --strategy local --evaluation.episodes 1 --agent.hidden 8"
    words += " --agent.n_envs 2 --agent.n_steps 16 --agent.n_epochs 2 --agent.max_grad_norm 0"
    absurd = [*words.split(), "--env", "CartPole-v1", "--agent.learning_rate", "1e30"]
    with pytest.warns(Notice) as said:
        assert cli.main(["train", *absurd, "--out", "a", "--quiet"]) == 3
    rate, died = (note.message for note in said)
    says(rate, "agent.learning_rate", "1e+30")
    says(died, "agent-00", "round 1", "agent.learning_rate")
    says(capsys.readouterr().out, "stopped", "agent-00", "agent-01")
    summary = read_summary("a")
    assert summary is not None
    assert summary.stopped == ["agent-00", "agent-01"]
    with pytest.warns(Notice):
        assert cli.main(["train", *absurd, "--out", "b"]) == 3
    says(capsys.readouterr().out, "agents stopped", "agent-00", "agent-01")
