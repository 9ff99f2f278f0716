"""Suite files: how tables are laid over each other, and what is wrong with them, all at once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import fails, says

from fdrl.bench import grid
from fdrl.bench.grid import Absent, absent, gap_lines, point_folder, points, select, untuned
from fdrl.bench.suite import (
    Best,
    Tuned,
    dotted,
    find_tuned,
    listed,
    merge,
    parse_suite,
    parse_tuned,
    read_suite,
    suites,
    write_tuned,
)
from fdrl.bench.tuning import choose, score
from fdrl.config.run import differences, digest, parse
from fdrl.config.tables import presets
from fdrl.core.errors import FdrlError
from fdrl.core.records import Summary


def raw(**changes: Any) -> dict[str, Any]:
    tables: dict[str, Any] = {
        "name": "tiny",
        "seeds": [0, 1],
        "tuning_seeds": [100],
        "base": {"steps": 512, "agents": 2, "agent": {"type": "ppo", "n_epochs": 2}},
        "settings": [
            {"name": "same"},
            {"name": "spread", "hetero": {"type": "dynamics", "level": 0.5}, "agents": 3},
        ],
        "methods": [
            {"name": "local", "strategy": {"type": "local"}},
            {
                "name": "fd",
                "strategy": {"type": "fd", "beta": 1.0},
                "overrides": [{"setting": "spread", "strategy": {"visit_power": 2.0}}],
            },
        ],
    }
    return tables | changes


def test_merge_lays_tables_over_tables() -> None:
    below = {"a": 1, "t": {"type": "x", "p": 1, "q": {"r": 1}}}
    assert merge(below, {"b": 2, "t": {"q": {"s": 2}}}) == {
        "a": 1, "b": 2, "t": {"type": "x", "p": 1, "q": {"r": 1, "s": 2}},
    }  # fmt: skip
    # another type's fields would be unknown to it
    assert merge(below, {"t": {"type": "y"}}) == {"a": 1, "t": {"type": "y"}}
    assert merge(below, {"t": {"type": "x", "p": 3}})["t"] == {"type": "x", "p": 3, "q": {"r": 1}}
    assert merge(below, {"a": [1], "t": 5}) == {"a": [1], "t": 5}


TABLES = st.recursive(
    st.integers(0, 3), lambda c: st.dictionaries(st.sampled_from("abc"), c), max_leaves=8
).filter(lambda v: isinstance(v, dict))


@given(TABLES, TABLES)
def test_merge_keeps_what_is_above(below: dict[str, Any], above: dict[str, Any]) -> None:
    merged = merge(below, above)
    assert merge(merged, above) == merged
    assert merge(below, {}) == below
    assert merge({}, above) == above
    assert {*merged} == {*below} | {*above}


def test_dotted() -> None:
    assert dotted("agent.learning_rate", 1e-3) == {"agent": {"learning_rate": 1e-3}}
    assert dotted("steps", 5) == {"steps": 5}


def test_cells_are_base_setting_method_override() -> None:
    cells = grid.cells(parse_suite(raw(), "tiny.toml"))
    assert [(c.seed, c.setting, c.method) for c in cells[:4]] == [
        (0, "same", "local"), (0, "same", "fd"), (0, "spread", "local"), (0, "spread", "fd"),
    ]  # fmt: skip
    assert len(cells) == 8
    assert [c.run.agents for c in cells[:4]] == [2, 2, 3, 3]
    assert cells[3].folder == "spread/fd/seed-000"
    assert cells[1].run.strategy.visit_power == 1.0
    assert cells[3].run.strategy.visit_power == 2.0
    assert cells[3].run.strategy.beta == 1.0
    assert {c.run.agent.n_epochs for c in cells} == {2}
    assert cells[7].run.seed == 1
    direct = parse({
        "steps": 512, "agents": 3, "seed": 1, "agent": {"type": "ppo", "n_epochs": 2},
        "hetero": {"type": "dynamics", "level": 0.5},
        "strategy": {"type": "fd", "beta": 1.0, "visit_power": 2.0},
    })  # fmt: skip
    assert digest(cells[7].run) == digest(direct)


def test_seed_ranges() -> None:
    suite = parse_suite(raw(seeds={"first": 3, "count": 4}), "tiny.toml")
    assert suite.evaluation_seeds == (3, 4, 5, 6)
    assert listed(suite.tuning_seeds) == (100,)


def test_not_applicable_is_left_out_with_its_reason() -> None:
    methods = raw()["methods"]
    methods[0]["skip"] = {"spread": "because"}
    suite = parse_suite(raw(methods=methods), "tiny.toml")
    assert absent(suite) == [Absent("spread", "local", "because")]
    assert ("spread", "local") not in {(c.setting, c.method) for c in grid.cells(suite)}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sedes": [1]}, "tiny.toml: unknown field 'sedes'; did you mean 'seeds'?"),
        ({"seeds": []}, "tiny.toml: seeds is empty"),
        ({"seeds": [1, 1]}, "seeds names 1 twice"),
        ({"seeds": [0, 100]}, "seeds and tuning_seeds share 100"),
        ({"seeds": {"first": 0, "counts": 3}}, "unknown field 'counts'; did you mean 'count'?"),
        ({"name": "../up"}, "suite '../up': a name is letters"),
        ({"methods": []}, "methods"),
        ({"settings": [{"name": "a"}, {"name": "a"}]}, "two settings are called 'a'"),
        ({"base": {"seed": 3}}, "base: 'seed' is set by the suite"),
        ({"tuning": {"score": ["return_men"]}}, "no number 'return_men'; did you mean"),
        (
            {"methods": [{"name": "m", "skip": {"sam": "x"}}]},
            "method 'm': unknown setting 'sam' in skip; did you mean 'same'?",
        ),
    ],
)
def test_a_bad_suite_is_named_in_one_line(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(FdrlError) as caught:
        parse_suite(raw(**changes), "tiny.toml")
    assert text in str(caught.value)
    assert str(caught.value).startswith("tiny.toml: ")


def test_all_bad_configs_are_reported_at_once() -> None:
    methods = [
        {"name": "one", "strategy": {"type": "fd", "beat": 1.0}},
        {"name": "two", "strategi": {"type": "fd"}},
    ]
    suite = parse_suite(raw(methods=methods), "tiny.toml")
    with pytest.raises(FdrlError) as caught:
        grid.cells(suite)
    lines = str(caught.value).splitlines()
    says(lines[0], "'tiny'", 4)
    says(lines[1], "one", "same", "'beat'", nearest="beta")
    says(lines[4], "two", "spread", "'strategi'", nearest="strategy")


def test_select() -> None:
    suite = parse_suite(raw(), "tiny.toml")
    cells = grid.cells(suite)

    def chosen(only: str, *seeds: int) -> list[str]:
        return [c.folder for c in select(suite, cells, only, seeds)]

    assert len(chosen("")) == 8
    assert chosen("fd/same", 1) == ["same/fd/seed-001"]
    assert chosen("fd", 0) == ["same/fd/seed-000", "spread/fd/seed-000"]
    assert chosen("*/spread", 0) == ["spread/local/seed-000", "spread/fd/seed-000"]
    assert chosen("fd/same, local/spread", 0) == ["same/fd/seed-000", "spread/local/seed-000"]
    with fails(FdrlError, "'fdd'", nearest="fd"):
        chosen("fdd")
    with fails(FdrlError, "'sprad'", nearest="spread"):
        chosen("fd/sprad")
    with fails(FdrlError, 7, "(0, 1)"):
        chosen("", 7)


def test_points_are_the_product_of_the_grid() -> None:
    methods = raw()["methods"]
    methods[0]["grid"] = {}
    grid_table = {"agent.learning_rate": [1e-3, 2e-3], "strategy.beta": [0.0, 1.0]}
    found = points(parse_suite(raw(grid=grid_table, methods=methods), "t"))
    assert {(p.method, p.setting) for p in found} == {("fd", "same"), ("fd", "spread")}
    assert [tuple(p.values.values()) for p in found[:4]] == [
        (1e-3, 0.0), (1e-3, 1.0), (2e-3, 0.0), (2e-3, 1.0),
    ]  # fmt: skip
    run = found[6].cells[0].run
    assert (run.agent.learning_rate, run.strategy.beta, run.seed) == (2e-3, 0.0, 100)
    assert run.strategy.visit_power == 2.0
    assert len({c.folder for p in found for c in p.cells}) == 8
    with fails(FdrlError, "tune", "grid"):
        points(parse_suite(raw(), "t"))
    with fails(FdrlError, "tuning_seeds"):
        points(parse_suite(raw(grid=grid_table, tuning_seeds=[]), "t"))
    with fails(FdrlError, "local", "same", "'rate'"):
        points(parse_suite(raw(grid={"agent.rate": [1]}), "t"))


def summary(mean: float, worst: float, auc: float = 0.0) -> Summary:
    return Summary(
        strategy="fd", env="e", seed=0, agents=2, env_steps=1, return_mean=mean,
        return_worst=worst, return_spread=0.0, return_stochastic=1.0, return_held_out=0.0, auc=auc,
        bytes_up=0.0, bytes_down=0.0, rounds=1, exchanges=0, gradient_steps=0.0,
        server_env_steps=0, parameters=[], returns=[], wall_seconds=0.0, steps_per_second=0.0,
        config="", versions={},
    )  # fmt: skip


def test_score_is_the_mean_over_seeds_of_a_sum() -> None:
    fields = ("return_mean", "return_worst")
    assert score([summary(3.0, 1.0), summary(5.0, 2.0)], fields) == 5.5
    assert score([summary(3.0, float("nan"))], fields) == float("-inf")


def test_choose_takes_the_best_and_breaks_ties_by_area(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = parse_suite(raw(grid={"agent.learning_rate": [1e-3, 2e-3, 3e-3]}), "t")
    found = [p for p in points(suite) if p.method == "fd"]
    table = {
        "same/fd/point-agent.learning_rate=0.001": summary(2.0, 1.0),
        "same/fd/point-agent.learning_rate=0.002": summary(9.0, 1.0),
        "same/fd/point-agent.learning_rate=0.003": summary(float("nan"), 99.0),
        "spread/fd/point-agent.learning_rate=0.001": summary(5.0, 5.0, auc=1.0),
        "spread/fd/point-agent.learning_rate=0.002": summary(5.0, 5.0, auc=3.0),
        "spread/fd/point-agent.learning_rate=0.003": summary(5.0, 5.0, auc=2.0),
    }
    monkeypatch.setattr(
        "fdrl.bench.tuning.read_summary",
        lambda path: table[path.parent.relative_to(tmp_path).as_posix()],
    )
    tuned = choose(suite, found, tmp_path)
    assert tuned.values("same", "fd") == {"agent.learning_rate": 2e-3}
    assert tuned.values("spread", "fd") == {"agent.learning_rate": 2e-3}
    assert tuned.best[0].score == 11.0
    assert [t.score for t in tuned.best[0].tried] == [4.0, 11.0, float("-inf")]
    write_tuned(tmp_path / "tuned.toml", tuned)
    assert find_tuned(suite, tmp_path, "") == (tuned, str(tmp_path / "tuned.toml"))


def test_a_setting_may_have_its_own_grid_or_share_tuned_values() -> None:
    """`same` tries two values of its own; `spread` takes what was found best for `same`."""
    tables = raw(grid={"agent.learning_rate": [1e-3, 2e-3, 3e-3]})
    tables["settings"][0]["grid"] = {"agent.learning_rate": [4e-3, 5e-3]}
    tables["settings"][1]["tuned_as"] = "same"
    suite = parse_suite(tables, "t")
    found = [(p.setting, p.values) for p in points(suite) if p.method == "fd"]
    assert found == [("same", {"agent.learning_rate": v}) for v in (4e-3, 5e-3)]
    best = Best(setting="same", method="fd", score=1.0, values={"agent.learning_rate": 5e-3})
    tuned = Tuned(suite="tiny", seeds=(100,), score=("auc",), best=(best,))
    runs = {(c.setting, c.method): c.run for c in grid.cells(suite, tuned)}
    assert runs["spread", "fd"].agent.learning_rate == 5e-3
    tables["methods"][1]["skip"] = {"same": "it would not fit"}
    with fails(FdrlError, "'fd'", "'spread'", "'same'"):
        parse_suite(tables, "t")
    tables["methods"][1]["grid"] = {}
    assert parse_suite(tables, "t")
    tables["settings"][1]["tuned_as"] = "sam"
    with fails(FdrlError, "tuned_as", "'sam'", nearest="same"):
        parse_suite(tables, "t")


def test_a_method_may_share_anothers_tuned_values() -> None:
    """A variant of `fd` runs at the learning rate that is best for `fd`, and is not tuned."""
    tables = raw(grid={"agent.learning_rate": [1e-3, 2e-3]})
    gated = {"type": "fd", "gate": 0.7}
    tables["methods"].append({"name": "gated", "tuned_as": "fd", "strategy": gated})
    suite = parse_suite(tables, "t")
    assert "gated" not in {p.method for p in points(suite)}
    best = Best(setting="same", method="fd", score=1.0, values={"agent.learning_rate": 2e-3})
    tuned = Tuned(suite="tiny", seeds=(100,), score=("auc",), best=(best,))
    runs = {(c.setting, c.method): c.run for c in grid.cells(suite, tuned)}
    assert runs["same", "gated"].agent.learning_rate == 2e-3
    assert runs["same", "gated"].strategy.gate == 0.7
    assert runs["same", "fd"].strategy.gate is None
    tables["methods"][1]["skip"] = {"same": "it would not fit"}
    with fails(FdrlError, "'gated'", "'fd'", "'same'"):
        parse_suite(tables, "t")
    tables["methods"][2]["tuned_as"] = "fb"
    with fails(FdrlError, "tuned_as", "'fb'", "fd, local"):
        parse_suite(tables, "t")


def test_tuned_values_are_laid_over_everything(tmp_path: Path) -> None:
    suite = parse_suite(raw(), "t")
    best = Best(setting="spread", method="fd", score=1.0, values={"strategy.visit_power": 0.5})
    tuned = Tuned(suite="tiny", seeds=(100,), score=("auc",), best=(best,))
    runs = {(c.setting, c.method): c.run for c in grid.cells(suite, tuned)}
    assert runs["spread", "fd"].strategy.visit_power == 0.5
    assert runs["same", "fd"].strategy.visit_power == 1.0
    assert find_tuned(suite, tmp_path, "") == (None, "")
    write_tuned(tmp_path / "other.toml", tuned)
    text = (tmp_path / "other.toml").read_text()
    assert find_tuned(suite, tmp_path, text)[0] == tuned
    with fails(FdrlError, "'tiny'", "'big'"):
        parse_tuned(text, "other.toml", parse_suite(raw(name="big"), "t"))
    with fails(FdrlError, "other.toml", "'seed'"):
        parse_tuned(text + "\n", "other.toml", suite) and parse_tuned(
            "seed = 3\n" + text, "other.toml", suite
        )


@pytest.mark.parametrize("name", suites())
def test_every_shipped_suite_is_sound(name: str) -> None:
    suite = read_suite(name)
    assert suite.name == name
    assert suite.about
    cells = grid.cells(suite)
    assert len({c.folder for c in cells}) == len(cells)
    assert len({digest(c.run) for c in cells}) == len(cells)
    assert name not in presets()
    if any(suite.grid_of(s, m) for s in suite.settings for m in suite.methods):
        assert len(points(suite)) >= 2


@pytest.mark.parametrize("name", ["fedhpd-cartpole", "fedhpd-lunarlander"])
def test_methods_of_fedhpd_differ_in_their_interval_alone(name: str) -> None:
    cells = [c for c in grid.cells(read_suite(name)) if c.seed == 0]
    runs = {c.method: c.run for c in cells if c.run.strategy_name == "fedhpd"}
    assert len(runs) >= 2
    first = next(iter(runs.values()))
    for method, run in runs.items():
        assert set(differences(first, run)) <= {"strategy.every"}
        assert run.strategy.every == int(method.removeprefix("fedhpd-d"))


def test_the_headline_is_what_it_says() -> None:
    suite = read_suite("headline")
    cells = grid.cells(suite)
    assert len(suite.evaluation_seeds) >= 10
    assert {c.run.env for c in cells} == {"CartPole-v1", "Acrobot-v1", "LunarLander-v3"}
    for setting in suite.settings:
        assert len({c.run.steps for c in cells if c.setting == setting.name}) == 1
    assert {c.run.agents for c in cells} == {10}
    assert {c.run.strategy_name for c in cells} == {
        "local", "self", "fedavg", "pd", "frd", "mixfrd", "fedhpd", "fd", "fdv",
        "pooled",
    }  # fmt: skip
    starts = {c.run.same_init for c in cells if c.run.strategy_name == "fedavg"}
    assert starts == {True, False}
    assert {a.setting.partition("-")[2] for a in absent(suite)} == {"networks"}
    assert all((c.run.networks == "arch") == c.setting.endswith("networks") for c in cells)


def test_reading_a_suite_that_is_not_there(tmp_path: Path) -> None:
    with fails(FdrlError, "'smok'", nearest="smoke"):
        read_suite("smok")
    with fails(FdrlError, tmp_path / "none.toml"):
        read_suite(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("name = ")
    with fails(FdrlError, tmp_path / "bad.toml", "TOML"):
        read_suite(str(tmp_path / "bad.toml"))


def test_budgets_of_episodes_and_goals_are_checked_instead_of_steps() -> None:
    from fdrl.bench.audit import check_budget
    from fdrl.config.run import make_run
    from fdrl.core.records import RoundRecord

    def found(run: Any, steps: list[int], episodes: list[int], completed: int | None = None) -> Any:
        last = RoundRecord(
            round=1, env_steps=steps, episodes=episodes, returns=[], return_mean=None,
            bytes_up=0.0, bytes_down=0.0, exchanged=True, completed=completed,
        )  # fmt: skip
        summary: Any = SimpleNamespace(env_steps=max(steps))
        return [*check_budget(run, summary, last)]

    run = make_run(agents=2, steps=100, episodes=9, agent="reinforce")
    assert found(run, [80, 90], [9, 9]) == []
    assert found(run, [80, 100], [9, 7]) == []  # its steps were used up
    says(found(run, [80, 90], [9, 7])[0], "agent 1", "7 episodes", "90 steps")
    assert found(run, [80, 90], [11, 9]) == []  # all of its last iteration's count
    goal = make_run(agents=2, steps=100, agent="reinforce", goal={"mean": 1.0})
    assert found(goal, [80, 90], [9, 7], completed=2) == []
    assert len(found(goal, [80, 90], [9, 7], completed=1)) == 2


def test_the_audit_passes_rollouts_that_end_beyond_their_last_episode() -> None:
    """Eight copies end episodes in the iteration in which the third one ends."""
    import fdrl
    from fdrl.bench.audit import check_budget

    agent = {"type": "ppo", "n_envs": 8, "n_steps": 64, "hidden": (8,), "n_epochs": 1}
    run = fdrl.make_run(
        agents=2, episodes=3, agent=agent, strategy="local", evaluation={"episodes": 1}
    )
    federation = fdrl.Federation(run)
    last = federation.round()
    assert federation.done
    assert min(last.episodes) > 3
    assert [*check_budget(run, federation.summary(), last)] == []
    federation.close()


def test_copies_do_not_make_another_budget() -> None:
    """The steps that a budget of episodes allows follow from the copies; chosen ones do not."""
    from fdrl.bench.audit import check_suite
    from fdrl.report.groups import key, setting_fields

    def suite(**more: Any) -> Any:
        tables = raw(base={"episodes": 60, "agents": 2, "agent": {"type": "ppo", "n_envs": 8}})
        del tables["settings"][1], tables["methods"][1]["overrides"]
        tables["methods"][0] |= {"agent": {"type": "ppo", "n_envs": 4}} | more
        return parse_suite(tables, "t")

    cells = grid.cells(suite())
    assert {c.run.steps for c in cells} == {68 * 500, 64 * 500}
    assert [*check_suite(suite(), cells, None)] == []
    assert len({key(setting_fields(c.run)) for c in cells}) == 1
    cells = grid.cells(suite(steps=800))
    (found,) = check_suite(suite(), cells, None)
    says(found, "steps", "800 (local)", "None (fd)")
    assert len({key(setting_fields(c.run)) for c in cells}) == 2


def test_a_rounds_mean_is_of_the_latest_known_returns() -> None:
    """Agent 1 keeps its 4 in round 2; what it ends in round 3 has no number, so 9 is alone."""
    from fdrl.bench.audit import check_means
    from fdrl.core.records import RoundRecord

    def log(*means: float | None) -> list[RoundRecord]:
        returns = [[None, None], [2.0, 4.0], [6.0, None], [9.0, None]]
        episodes = [[0, 0], [1, 1], [2, 1], [3, 2]]
        return [
            RoundRecord(
                round=n, env_steps=[n, n], episodes=e, returns=r, return_mean=m,
                bytes_up=0.0, bytes_down=0.0, exchanged=True,
            )
            for n, (r, e, m) in enumerate(zip(returns, episodes, means, strict=True), 1)
        ]  # fmt: skip

    assert [*check_means(log(None, 3.0, 5.0, 9.0))] == []
    assert [*check_means(log(None, 3.0, None, 9.0))] == []
    (found,) = check_means(log(None, 3.0, 6.0, 6.5))
    says(found, "metrics.jsonl", "return_mean", "round 3", 6.0, 5.0)


def test_pairs_without_tuned_values_are_named() -> None:
    """`fd` is tuned in one of two settings; `local` has no grid, `gated` takes those of `fd`."""
    tables = raw(grid={"agent.learning_rate": [1e-3, 2e-3]})
    tables["methods"][0]["grid"] = {}
    gated = {"type": "fd", "gate": 0.7}
    tables["methods"].append({"name": "gated", "tuned_as": "fd", "strategy": gated})
    suite = parse_suite(tables, "t")
    best = Best(setting="same", method="fd", score=1.0, values={"agent.learning_rate": 2e-3})
    tuned = Tuned(suite="tiny", seeds=(100,), score=("auc",), best=(best,))
    assert untuned(suite, tuned) == ["fd, gated in spread"]
    nothing = Tuned(suite="tiny", seeds=(), score=())
    assert untuned(suite, nothing) == ["fd, gated in same, spread"]


def test_nobody_goes_untuned_unnoticed() -> None:
    """`gated` in `spread` takes the values of `fd` in `same`, through both kinds of `tuned_as`."""
    tables = raw(grid={"agent.learning_rate": [1e-3, 2e-3]})
    tables["settings"][1]["tuned_as"] = "same"
    gated = {"name": "gated", "tuned_as": "fd", "strategy": {"type": "fd", "gate": 0.7}}
    tables["methods"].append(gated)
    suite = parse_suite(tables, "t")
    nothing = Tuned(suite="tiny", seeds=(), score=())
    assert untuned(suite, nothing) == ["local, fd, gated in same, spread"]
    tables["methods"][1]["skip"] = dict.fromkeys(("same", "spread"), "it would not fit")
    gated["skip"] = {"same": "it would not fit"}
    with fails(FdrlError, "'gated'", "'spread'", "'fd'", "'same'"):
        parse_suite(tables, "t")
    gated |= {"skip": {}, "grid": {"agent.learning_rate": [1e-3]}}
    del tables["methods"][1]["skip"]
    with fails(FdrlError, "'gated'", "grid"):
        parse_suite(tables, "t")


def test_tuning_folders_are_called_by_their_values() -> None:
    """A changed grid is another folder, not a run of another config in the old one."""
    grids: Any = {"agent.learning_rate": [1e-3, 2e-3], "agent.hidden": [[8], [8, 8]]}
    found = [p for p in points(parse_suite(raw(grid=grids), "t")) if p.method == "fd"]
    folders = [p.cells[0].folder for p in found if p.setting == "same"]
    assert folders[0] == "same/fd/point-agent.learning_rate=0.001,agent.hidden=_8_/seed-100"
    assert len(set(folders)) == 4
    assert point_folder({"x": "a/b"}, []) == "point-x=a_b"
    assert point_folder({"x": "a/b"}, ["point-x=a_b"]) == "point-x=a_b-1"


def test_gaps_of_one_reason_share_a_line() -> None:
    gaps = [
        Absent("nets", "fedavg", "no"),
        Absent("nets", "fedprox", "no"),
        Absent("nets", "pooled", "one only"),
        Absent("odd", "fedavg", "no"),
        Absent("odd", "fedprox", "no"),
    ]
    assert gap_lines(gaps) == ["fedavg, fedprox in nets, odd: no", "pooled in nets: one only"]
