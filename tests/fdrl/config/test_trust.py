"""A run folder is data: what one names is not imported unless it is registered or vouched for."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli_w
from messages import fails, says

import fdrl
from fdrl import cli
from fdrl.config.run import parse, to_tables
from fdrl.config.trust import begun_here, command, remember, unregistered
from fdrl.core.errors import FdrlError
from fdrl.core.registry import load_object
from fdrl.report import collect
from fdrl.runs.folder import check_same, read_data, read_run
from fdrl.vector.gym import check_maker
from fdrl.vector.parallel import _team_spec, team_spec

Capture = pytest.CaptureFixture[str]
SMALL: dict[str, Any] = {
    "agents": 2,
    "steps": 64,
    "agent": {"type": "ppo", "n_envs": 2, "n_steps": 32, "batch_size": 32, "hidden": [8]},
    "evaluation": {"episodes": 1},
}
EVIL = """
from pathlib import Path
Path("imported").touch()
import gymnasium
if "Evil-v0" not in gymnasium.registry:
    gymnasium.register("Evil-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv")
"""
HOSTILE: list[dict[str, Any]] = [
    {"env": "evil:Walk"},
    {"env": "evil:Evil-v0"},
    {"env": "evil:evil/Evil-v0"},
    {"env": "subprocess:Popen", "env_kwargs": {"args": "touch imported", "shell": True}},
    {"env": "gymnasium.envs.registration:make", "env_kwargs": {"id": "evil:Evil-v0"}},
    {"env_kwargs": {"maker": "evil:Walk"}},
    {"env_kwargs": {"env_id": "evil:Evil-v0"}},
    {"agent_kwargs": [{}, {"inner": ["evil:evil/Evil-v0"]}]},
    {"agent": {"type": "evil:Learner"}},
    {"strategy": {"type": "evil:Strategy"}},
    {"agent": {"type": "sb3", "factory": "evil:make"}},
    {"agent": {"type": "sb3", "model": {"class": {"@object": "evil:Model"}}}},
    {"agent": {"type": "sb3", "kwargs": {"policy_kwargs": {"optimizer_class": "evil:Adam"}}}},
    {"cohorts": [{"agents": 2, "agent": {"type": "evil:Learner"}}]},
    {"cohorts": [{"agents": 2, "agent": {"type": "sb3", "factory": "evil:make"}}]},
]


def tables_of(**more: Any) -> dict[str, Any]:
    return to_tables(fdrl.make_run(**SMALL)) | more


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A trained run of somebody else's, with a module that tells when it is imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path))
    fdrl.train(fdrl.make_run(**SMALL), out="s", curves=False)
    yield tmp_path / "s"
    sys.modules.pop("evil", None)


def test_no_verb_imports_or_calls_what_a_run_folder_names(stranger: Path, capsys: Capture) -> None:
    stopped = Path(shutil.copytree(stranger, "stopped"))
    (stopped / "summary.json").unlink()
    for more in HOSTILE:
        for folder in (stranger, stopped):
            (folder / "config.toml").write_text(tomli_w.dumps(tables_of(**more)))
        place, name = next(unregistered(tables_of(**more)))
        for words in (["train", "--resume"], ["eval"], ["export"]):
            assert cli.main([*words, "stopped"]) == 2
            said = capsys.readouterr().err
            assert len(said.splitlines()) == 1
            says(said, "stopped:", place, name, "--trust")
        assert cli.main(["train", "--resume", "s"]) == 0
        says(capsys.readouterr().out, "s", "finished", "--trust")
        entry = collect.read("s")
        assert entry.run is None or entry.finished
        with fails(FdrlError, name, "trust=True"):
            read_run("s")
        assert not Path("imported").exists(), more
        assert "evil" not in sys.modules


def test_a_page_of_runs_by_own_parts_needs_none_of_them(stranger: Path, capsys: Capture) -> None:
    own = tables_of(env="evil:Walk", strategy={"type": "evil:Strategy", "share": 0.5})
    own["agent"] = {"type": "evil:Learner", "n_envs": 4}
    (stranger / "config.toml").write_text(tomli_w.dumps(own))
    assert cli.main(["report", "s", "--out", "r"]) == 0
    says(capsys.readouterr().out, "1 of 1 run finished")
    assert "evil:Strategy" in Path("r/report.html").read_text(encoding="utf-8")
    assert read_data("s").strategy_name == "evil:Strategy"
    assert not Path("imported").exists()


def test_what_the_user_types_or_vouches_for_is_imported(stranger: Path, capsys: Capture) -> None:
    named = tables_of(env="evil:Walk")
    (stranger / "config.toml").write_text(tomli_w.dumps(named))
    other = ["--env", "evil:Evil-v0"]
    assert cli.main(["train", "--resume", "s", *other]) == 2
    says(capsys.readouterr().err, "evil:Walk", "--trust")
    assert not Path("imported").exists()
    assert cli.main(["train", "--resume", "s", *other, "--trust"]) == 2
    says(capsys.readouterr().err, "another config")
    for words in (["train", "--resume", "s", "--env", "evil:Walk"], ["eval", "s", "--trust"]):
        Path("imported").unlink(missing_ok=True)
        _team_spec.cache_clear()
        sys.modules.pop("evil", None)
        assert cli.main(words) in (0, 2)
        capsys.readouterr()
        assert Path("imported").exists(), words


def test_a_results_folder_names_nothing_that_the_suite_does_not(
    stranger: Path, capsys: Capture
) -> None:
    suite = {
        "name": "own", "out": "results", "seeds": [0], "base": {"agents": 2, "steps": 64},
        "settings": [{"name": "plain"}], "methods": [{"name": "fd"}],
    }  # fmt: skip
    Path("suite.toml").write_text(tomli_w.dumps(suite))
    Path("results").mkdir()
    for name, value in (("env", "evil:Walk"), ("agent", {"type": "sb3", "factory": "evil:make"})):
        best = {"setting": "plain", "method": "fd", "score": 1.0, "values": {name: value}}
        tuned = {"suite": "own", "seeds": [9], "score": ["return_mean"], "best": [best]}
        Path("results/tuned.toml").write_text(tomli_w.dumps(tuned))
        for words in (["--audit"], ["--dry-run"]):
            assert cli.main(["bench", "suite.toml", *words]) == 2
            says(capsys.readouterr().err, "tuned.toml", name, "suite")
    assert not Path("imported").exists()
    suite["methods"] = [{"name": "fd", "grid": {"env": ["evil:Evil-v0"]}}]
    best["values"] = {"env": "evil:Evil-v0"}
    tuned["best"] = [best]
    Path("suite.toml").write_text(tomli_w.dumps(suite))
    Path("results/tuned.toml").write_text(tomli_w.dumps(tuned))
    cli.main(["bench", "suite.toml", "--audit"])
    assert Path("imported").exists()  # the suite, which the user named, says so too


def test_registered_names_need_no_trust() -> None:
    layer = {"@object": "torch.nn.modules.activation:Tanh"}
    model = {"kwargs": {"activation_fn": layer}, "class": {"@object": "stable_baselines3:PPO"}}
    for more in (
        {},
        {"env": "LunarLander-v3"},
        {"env": "fdrl/SpectrumAccess-v0"},
        {"agent": {"type": "sb3", "model": model}},
        {"device": "cuda:0"},
        {"groups": [["radio:a", "radio:b"]]},
    ):
        assert list(unregistered(tables_of(**more))) == []
    for name in ("torch.nn:init", "torch.nnevil:Tanh", "os:Tanh", "torch.nn:Tanh.forward"):
        more = {"agent": {"type": "sb3", "model": {"class": {"@object": name}}}}
        assert list(unregistered(tables_of(**more))) == [("agent.model.class.@object", name)]


@pytest.mark.parametrize("name", ["evil", "evil file:x", "evil:", ":x", "a/b:c", "evil:x y"])
def test_what_is_no_module_and_attribute_is_never_imported(name: str) -> None:
    with fails(FdrlError, repr(name)):
        load_object(name)


def test_a_run_read_as_data_is_the_run() -> None:
    run = fdrl.make_run(**SMALL, strategy="fedavg")
    assert parse(to_tables(run), data=True) == run
    own = to_tables(run) | {"strategy": {"type": "evil:Strategy", "share": 0.5}}
    assert to_tables(parse(own, data=True)) == own


def test_a_folder_of_another_config_is_compared_as_data(stranger: Path) -> None:
    run = fdrl.make_run(**SMALL)
    (stranger / "config.toml").write_text(tomli_w.dumps(tables_of(env="evil:Walk")))
    with fails(FdrlError, "env", "another config"):
        check_same("s", run)
    with fails(FdrlError, "evil:Walk", "--trust"):
        check_same("s")
    assert "evil" not in sys.modules


def test_the_zip_that_is_named_is_the_one_that_was_written(stranger: Path, capsys: Capture) -> None:
    Path("here").mkdir()
    for given, written in (("here", "here/agent-01.zip"), ("a b/", "a b/agent-01.zip"),
                           ("plain", "plain.zip"), ("x.zip", "x.zip")):  # fmt: skip
        assert cli.main(["export", "s", "--agent", "1", "--out", given]) == 0
        assert capsys.readouterr().out == f"{written}\n"
        assert Path(written).is_file()
    assert cli.main(["export", "s", "--agent", "1", "--out", "model.pt"]) == 2
    says(capsys.readouterr().err, "--out model.pt", "model.zip")
    assert list(Path().glob("model*")) == []


def test_a_command_can_be_pasted() -> None:
    run = msgspec.structs.replace(fdrl.make_run(**SMALL), env="my_file:Walk")
    line = command("fdrl eval", "my run; rm -r $HOME", run, "--video")
    words = shlex.split(line)
    assert words == ["fdrl", "eval", "my run; rm -r $HOME", "--video", "--trust"]
    assert command("fdrl eval", "--out") == "fdrl eval ./--out"


class NoWorld:
    def __init__(self) -> None:
        raise AssertionError("it was called")


def no_world() -> int:
    raise AssertionError("it was called")


def anything() -> object:
    raise AssertionError("it was called")


def whatever() -> Any:
    raise AssertionError("it was called")


@pytest.mark.parametrize("name", [
    "os:abort", "subprocess:Popen", "shutil:rmtree", "builtins:exec", f"{__name__}:NoWorld",
    f"{__name__}:no_world",
])  # fmt: skip
def test_what_makes_no_environment_is_refused_before_it_is_called(
    name: str, capsys: Capture
) -> None:
    with fails(FdrlError, repr(name)):
        team_spec(name, {})
    assert cli.main(["train", "--quiet", "--env", name]) == 2
    says(capsys.readouterr().err, repr(name), "gymnasium.Env")
    for function in (anything, whatever):  # who does not say what it returns may be called
        check_maker("x:anything", function)


def test_a_run_that_was_begun_here_needs_no_trust_and_its_copy_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FDRL_STATE", str(tmp_path / "state"))
    text = "from gymnasium.envs.classic_control import CartPoleEnv\nclass Own(CartPoleEnv): ...\n"
    Path("own_of_mine.py").write_text(text)
    words = ["--agents", "2", "--steps", "64", "--agent.n_envs", "2", "--agent.n_steps", "32"]
    words += ["--agent.hidden", "8", "--evaluation.episodes", "1", "--quiet"]
    limit = ["--env_kwargs.max_episode_steps", "20"]
    assert cli.main(["train", "--env", "own_of_mine:Own", *limit, *words, "--out", "a"]) == 0
    Path("a/summary.json").unlink()
    assert cli.main(["train", "--resume", "a", "--quiet"]) == 0
    assert cli.main(["eval", "a", "--episodes", "1"]) == 0
    shutil.copytree("a", "b")
    for state in (tmp_path / "state", tmp_path / "elsewhere"):
        monkeypatch.setenv("FDRL_STATE", str(state))
        assert cli.main(["eval", "b", "--episodes", "1"]) == 2
    assert cli.main(["eval", "a", "--episodes", "1"]) == 2  # nobody remembers it elsewhere
    monkeypatch.setenv("FDRL_STATE", str(tmp_path / "state"))
    config = Path("a/config.toml")
    config.write_text(config.read_text().replace("max_episode_steps = 20", "seconds = 20"))
    assert cli.main(["eval", "a", "--episodes", "1"]) == 2
    assert capsys.readouterr().err.count("--trust") == 4
    sys.modules.pop("own_of_mine")


def test_where_nothing_can_be_remembered_a_run_trains_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FDRL_STATE", str(tmp_path / "file" / "below"))
    tables = {"env": "some_module:Env"}
    remember(tmp_path, tables)
    assert not begun_here(tmp_path, tables)
    monkeypatch.setenv("FDRL_STATE", str(tmp_path / "state"))
    remember(tmp_path, {"env": "CartPole-v1"})
    assert not (tmp_path / "state").exists()  # there is nothing to vouch for
    remember(tmp_path, tables)
    assert begun_here(tmp_path, {**tables, "threads": 2})
    assert not begun_here(tmp_path, {**tables, "seed": 2})
    assert (tmp_path / "state" / "own-runs").stat().st_mode & 0o077 == 0
