"""Every preset parses, builds and runs; the quickstart shows what it promises."""

import numpy as np
import pytest

import fdrl
from fdrl.config.run import parse
from fdrl.config.tables import presets, read_tables


@pytest.mark.parametrize("name", presets())
def test_preset_runs(name):
    if name.startswith("lunarlander"):
        pytest.importorskip("Box2D")
    tables = read_tables(name)
    few = {} if "cohorts" in tables else {"agents": 2}
    run = parse(tables | {"steps": 1024} | few)
    federation = fdrl.Federation(run)
    record = federation.round()
    federation.close()
    assert min(record.env_steps) > 0
    assert record.rejected == []


@pytest.mark.slow
def test_quickstart_solves_cartpoles_of_ten_lengths(tmp_path):
    run = parse(read_tables("quickstart"))
    summary = fdrl.train(run, out=tmp_path / "run")
    assert (tmp_path / "run" / "curves.png").stat().st_size > 10_000
    assert summary.env_steps == run.steps
    assert summary.return_mean > 400
    assert summary.return_worst > 400
    assert 50_000 < summary.bytes_up < 200_000


@pytest.mark.slow
def test_a2c_classic_learns():
    tables = read_tables("a2c-classic") | {"steps": 20_000, "seed": 1}
    federation = fdrl.Federation(parse(tables))
    returns = []
    while not federation.done:
        returns.append(federation.round().return_mean)
    federation.close()
    assert np.mean(returns[-3:]) > 2 * np.mean(returns[:2])
