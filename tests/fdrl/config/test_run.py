"""One schema: files, names, defaults, digests, and errors that name the nearest right answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import fails

from fdrl.bench.suite import read_suite
from fdrl.cli.flags import apply_flags
from fdrl.config.errors import in_words
from fdrl.config.run import (
    LOCAL_FIELDS,
    differences,
    digest,
    make_run,
    parse,
    to_tables,
    to_toml,
    validated,
)
from fdrl.config.tables import merge_defaults, presets, read_tables
from fdrl.core.errors import FdrlError
from fdrl.core.registry import AGENTS, STRATEGIES, load_object
from fdrl.runs.folder import read_data

SMALL = st.integers(1, 9)
HETERO = st.one_of(
    st.just({"type": "none"}),
    st.builds(lambda x: {"type": "dynamics", "level": x}, st.floats(0, 0.99)),
    st.builds(lambda x: {"type": "outlier", "factor": x}, st.floats(0.1, 9)),
)
TABLES = st.fixed_dictionaries(
    {},
    optional={
        "env": st.text(min_size=1, max_size=20),
        "env_kwargs": st.dictionaries(
            st.text("abc_", min_size=1, max_size=4), st.integers() | st.booleans() | st.text()
        ),
        "agents": SMALL,
        "steps": SMALL,
        "seed": st.integers(0, 2**63 - 1),
        "same_init": st.booleans(),
        "hetero": HETERO,
        "proxy": st.sampled_from([{"type": "sobol", "size": 8}, {"type": "grid"}]),
        "strategy": st.sampled_from([{"type": name} for name in STRATEGIES.names()]),
        "agent": st.sampled_from([{"type": "ppo", "hidden": [4, 4]}, {"type": "a2c"}]),
        "out": st.text(max_size=8),
        "threads": SMALL,
        "tensorboard": st.booleans(),
    },
)


@settings(deadline=None)
@given(tables=TABLES)
def test_toml_reads_back_to_an_equal_run(tables: dict[str, Any]) -> None:
    run = parse(tables)
    back = parse(msgspec.toml.decode(to_toml(run)))
    assert back == run
    assert digest(back) == digest(run)
    assert differences(back, run) == []


@settings(deadline=None)
@given(tables=TABLES)
def test_checked_changes_nothing_that_is_right(tables: dict[str, Any]) -> None:
    run = parse(tables)
    assert validated(run) == run


def test_local_fields_do_not_change_the_digest() -> None:
    one = make_run()
    changes = {"out": "x", "checkpoint_every": 1, "threads": 3, "tensorboard": True}
    changes |= {"patience": 1.0, "patience_stop": 2.0}
    two = make_run(**changes)
    assert changes.keys() == set(LOCAL_FIELDS)
    assert digest(one) == digest(two)
    assert differences(one, two) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"steps": 1}, "steps"),
        ({"seed": 1}, "seed"),
        ({"env_kwargs": {"gravity": 1.0}}, "env_kwargs.gravity"),
        ({"agent": {"type": "ppo", "gamma": 0.5}}, "agent.gamma"),
        ({"hetero": "dynamics"}, "hetero.level"),
    ],
)
def test_everything_else_changes_the_digest(change: dict[str, Any], name: str) -> None:
    one, two = make_run(), make_run(**change)
    assert digest(one) != digest(two)
    assert name in differences(one, two)


def test_a_strategy_brings_its_own_defaults() -> None:
    run = make_run(strategy="fedavg")
    assert run.same_init is True
    assert to_tables(run)["proxy"]["type"] == "sobol"
    assert make_run(strategy="fedavg", same_init=False).same_init is False


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_a_part_of_an_inner_table_leaves_the_rest_as_the_strategy_has_it(name: str) -> None:
    """As on the command line, where one flag changes one setting."""
    usual = load_object(STRATEGIES.spec(name).settings)()
    if not hasattr(usual, "distill"):
        pytest.skip("does not distill")
    run = make_run(strategy={"type": name, "distill": {"kl_limit": 0.5}})
    assert run.strategy.distill == msgspec.structs.replace(usual.distill, kl_limit=0.5)
    run = make_run(strategy={"type": name, "distill": {"steps": 7}})
    assert run.strategy.distill == msgspec.structs.replace(usual.distill, steps=7, passes=0)
    run = make_run(strategy={"type": name, "distill": {"steps": 7, "passes": 3}})
    assert run.strategy.distill.passes == 3
    flagged = apply_flags({}, ["--strategy", name, "--strategy.distill.steps", "7"])
    assert flagged.strategy.distill == msgspec.structs.replace(usual.distill, steps=7, passes=0)
    flagged = apply_flags({}, ["--strategy", name, "--steps", "512"])
    assert flagged.strategy.distill == usual.distill


class Near(msgspec.Struct, frozen=True, tag="near"):
    steps: int = 1
    rate: float = 0.5


class Far(msgspec.Struct, frozen=True, tag="far"):
    steps: int = 2


class Outer(msgspec.Struct, frozen=True):
    inner: Near | Far = Near(rate=0.1)
    other: int = 3


def test_inner_tables_of_another_type_have_their_own_defaults() -> None:
    assert merge_defaults({"inner": {"steps": 5}}, Outer)["inner"] == {
        "type": "near", "steps": 5, "rate": 0.1,
    }  # fmt: skip
    assert merge_defaults({"inner": {"type": "far"}, "other": 4}, Outer) == {
        "inner": {"type": "far"}, "other": 4,
    }  # fmt: skip


def test_settings_may_be_names_tables_or_objects() -> None:
    named, table = make_run(strategy="fd"), make_run(strategy={"type": "fd"})
    assert named == table == make_run(strategy=named.strategy, agent=named.agent)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"stepz": 1}, "config: unknown field 'stepz'; did you mean 'steps'?"),
        (
            {"strategy": {"type": "fd", "betta": 1}},
            "config: unknown field 'betta'; did you mean 'beta'? (at strategy)",
        ),
        (
            {"strategy": {"type": "fd", "distill": {"stps": 1}}},
            "config: unknown field 'stps'; did you mean 'steps'? (at strategy.distill)",
        ),
        ({"strategy": {"type": "fedavgg"}}, "unknown strategy 'fedavgg'; did you mean 'fedavg'?"),
        ({"agent": {"type": "pop"}}, "unknown agent 'pop'; did you mean 'ppo'?"),
        (
            {"hetero": {"type": "dynamic"}},
            "config: unknown type 'dynamic'; did you mean 'dynamics'? (at hetero)",
        ),
        (
            {"hetero": {"type": "dynamics", "levl": 1}},
            "config: unknown field 'levl'; did you mean 'level'? (at hetero)",
        ),
        ({"proxy": {"type": "soboll"}}, "config: unknown type 'soboll'; did you mean 'sobol'?"),
        ({"steps": -5}, "config: expected a whole number of at least 1, got -5 (at steps)"),
        ({"steps": "many"}, "config: expected a whole number, got 'many' (at steps)"),
        (
            {"strategy": {"type": "fd", "unit": "step"}},
            "config: unknown value 'step'; did you mean 'steps'? (at strategy.unit)",
        ),
        ({"agent": "ppo"}, 'config: agent must be a table: [agent] type = "..."'),
        ({"agent_kwargs": [{}, {}], "agents": 3}, "agent_kwargs has 2 tables for 3 agents"),
        (
            {"cohorts": [{"agents": 0, "agent": {"type": "ppo"}}]},
            "config: expected a whole number of at least 1, got 0 (at cohorts[",
        ),
        (
            {"cohorts": [{"agents": 2, "agent": {"type": "ppo", "gama": 1.0}}]},
            "config: unknown field 'gama'; did you mean 'gamma'? (at cohorts[0].agent)",
        ),
        (
            {"cohorts": [{"agents": 2, "agent": {"type": "ppo"}}], "agents": 5},
            "agents = 5, but the cohorts have 2",
        ),
    ],
)
def test_errors_name_the_place_and_the_nearest_answer(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(FdrlError) as error:
        parse(raw)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_cohorts_decide_the_number_of_agents() -> None:
    cohorts = [{"agents": 2, "agent": {"type": "ppo"}}, {"agents": 3, "agent": {"type": "a2c"}}]
    assert parse({"cohorts": cohorts}).agents == 5


def test_every_registered_learner_and_strategy_has_default_settings() -> None:
    for name in AGENTS.names():
        assert make_run(agent=name).agent_name == name
    for name in STRATEGIES.names():
        assert make_run(strategy=name).strategy_name == name


def test_every_preset_is_a_run() -> None:
    assert "quickstart" in presets()
    for name in presets():
        run = parse(read_tables(name))
        assert run.steps > 0, name


def test_config_files_that_cannot_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("steps = \n")
    with fails(FdrlError, bad, "TOML"):
        read_tables(str(bad))
    with fails(FdrlError, tmp_path / "none.toml"):
        read_tables(str(tmp_path / "none.toml"))
    bad.write_bytes(b"\xff\xfe")
    with fails(FdrlError, bad):
        read_tables(str(bad))
    with fails(FdrlError, "'quickstrat'", nearest="quickstart"):
        read_tables("quickstrat")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch", 0, "expected a whole number of at least 1, got 0 (at strategy.distill.batch)"),
        ("steps", -1, "expected a whole number of at least 0, got -1 (at strategy.distill.steps)"),
        (
            "passes",
            -1,
            "expected a whole number of at least 0, got -1 (at strategy.distill.passes)",
        ),
        ("lr", -1e-3, "expected a number of at least 0, got -0.001 (at strategy.distill.lr)"),
        ("lr", float("inf"), "expected a finite number, got inf (at strategy.distill.lr)"),
        ("max_grad_norm", -1.0, "of at least 0, got -1.0 (at strategy.distill.max_grad_norm)"),
        ("kl_limit", float("nan"), "of at least 0, got nan (at strategy.distill.kl_limit)"),
    ],
)
def test_distillation_has_bounds(field: str, value: float, message: str) -> None:
    with pytest.raises(FdrlError) as error:
        make_run(strategy={"type": "fd", "distill": {field: value}})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_are_finite_everywhere() -> None:
    with pytest.raises(FdrlError, match=r"got inf \(at cohorts\[0\]\.agent\.vf_coef\)"):
        parse({"cohorts": [{"agents": 1, "agent": {"type": "ppo", "vf_coef": float("inf")}}]})
    # what a table holds is the environment's to judge
    assert make_run(env_kwargs={"x": float("inf")}).env_kwargs == {"x": float("inf")}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Expected `int` >= 1", "expected a whole number of at least 1"),
        ("Expected `float` < 0.5", "expected a number below 0.5"),
        ("Expected `float` > 0.0", "expected a number above 0"),
        ("Expected `int | null`", "expected a whole number"),
        ("Expected `array | str`", "expected a list or text"),
        ("Expected `array` of length >= 2", "expected a list with at least 2 entries"),
        ("Expected `object`", "expected a table"),
        ("Expected `bool`", "expected true or false"),
        ("Invalid something", "invalid something"),
    ],
)
def test_types_are_said_in_words(theirs: str, ours: str) -> None:
    assert in_words(theirs) == ours


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"steps": [1]}, "expected a whole number, got [1] (at steps)"),
        ({"steps": {"a": 1}}, "expected a whole number, got a table (at steps)"),
        ({"tensorboard": 1}, "expected true or false, got 1 (at tensorboard)"),
        ({"steps": True}, "expected a whole number, got true (at steps)"),
        ({"cohorts": [{"agents": 2}]}, "'agent' is missing (at cohorts[0])"),
    ],
)
def test_what_was_given_is_said_as_toml_has_it(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(FdrlError) as error:
        parse(tables)
    assert str(error.value) == f"config: {message}"


@pytest.mark.parametrize(("encoding", "named"), [
    ("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-32", "UTF-32"), ("latin-1", "Latin-1"),
])  # fmt: skip
def test_a_file_of_another_encoding_is_named(encoding: str, named: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes("agents = 2 # ä\n".encode(encoding))
    for read in (read_tables, read_suite):
        with fails(FdrlError, str(path), named, "UTF-8"):
            read(str(path))


def test_tables_nested_without_end_are_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"a = {'[' * 5_000}{']' * 5_000}\n")
    for read in (read_tables, read_suite):
        with fails(FdrlError, str(path), "TOML"):
            read(str(path))
    path.write_text(f"a = {'[' * 300}{']' * 300}\n")
    with fails(FdrlError, str(path), "inside one another"):
        read_data(tmp_path)
    path.write_text("env_kwargs." + ".".join("a" * 300) + " = 1\n")
    with fails(FdrlError, str(path), "inside one another"):
        read_data(tmp_path)


def test_what_no_reader_of_toml_bears_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"agents = {'9' * 5_000}\n")
    for read in (read_tables, read_suite):
        with fails(FdrlError, str(path), "digits"):
            read(str(path))
    run = apply_flags({}, ["--env_kwargs.gravity", "9" * 5_000])
    assert run.env_kwargs["gravity"] == "9" * 5_000  # for the environment to refuse
    path.unlink()
    os.mkfifo(path)
    for read in (read_tables, read_suite):
        with fails(FdrlError, str(path), "pipe"):
            read(str(path))


def test_a_byte_order_mark_before_a_config_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("agents = 2\n", encoding="utf-8-sig")
    assert read_tables(str(tmp_path / "config.toml")) == {"agents": 2}
    assert read_data(tmp_path).agents == 2
    with fails(FdrlError, "no file here.toml", "cannot read"):
        read_tables("no file here.toml")
