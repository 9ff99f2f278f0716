"""Proxy sets: the same on every machine, refreshed from cells, and named by their hash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from messages import fails

from fdrl.core.errors import BadMessage, FdrlError
from fdrl.core.message import ProxyUpdate
from fdrl.proxies.sets import (
    ProxySet,
    build,
    from_update,
    grid_of,
    load_saved,
    refresh,
    restore,
    saved,
    to_update,
)
from fdrl.proxies.settings import File, Grid, Mix, ProxySettings, Rollout, Sobol, Uniform, Visited
from fdrl.wire.codec import decode, encode

LOW, HIGH = np.array([-1.0, 0.0], np.float32), np.array([1.0, 9.0], np.float32)
KINDS: list[ProxySettings] = [
    Grid(bins=5),
    Uniform(size=10),
    Sobol(size=16),
    Visited(size=8, bins=4),
    Mix(size=8, bins=4, wide=0.25),
]


def over_the_wire(proxies: ProxySet, settings: ProxySettings, seed: int = 3) -> ProxySet:
    """What an agent makes of the server's message."""
    update = decode(encode(to_update(proxies, settings, 0)))
    assert isinstance(update, ProxyUpdate)
    return from_update(update, settings, LOW, HIGH, seed)


@pytest.mark.parametrize("settings", KINDS)
def test_agents_rebuild_the_set_from_a_recipe(settings: ProxySettings) -> None:
    proxies = build(settings, LOW, HIGH, 3)
    assert len(encode(to_update(proxies, settings, 0))) < 120
    rebuilt = over_the_wire(proxies, settings)
    np.testing.assert_array_equal(rebuilt.states, proxies.states)
    assert (rebuilt.version, rebuilt.kind) == (proxies.version, proxies.kind)
    assert len(proxies.states) == getattr(settings, "size", 0)
    assert proxies.states.dtype == np.float32
    assert ((proxies.states >= LOW) & (proxies.states <= HIGH)).all()


def test_the_hash_names_everything_the_set_is_made_from() -> None:
    sets = [build(s, LOW, HIGH, seed) for s in KINDS for seed in (0, 1)]
    sets += [build(s, LOW, HIGH + 1, 0) for s in KINDS]
    sets += [build(s, LOW, HIGH, 0) for s in (Grid(6), Mix(size=8, bins=5, wide=0.25))]
    versions = [s.version for s in sets]
    assert len(set(versions)) == len(versions)
    assert all(len(v) == 8 and int(v, 16) >= 0 for v in versions)


def test_hashes_do_not_change_between_releases() -> None:
    """A federation may mix machines; these were written down once."""
    assert [build(s, LOW, HIGH, 3).version for s in KINDS] == VERSIONS


VERSIONS = ["8fd0efa9", "d2205a56", "993051b7", "e8c003ba", "81f5083a"]


def test_a_grid_has_no_states_of_its_own() -> None:
    proxies = build(Grid(bins=5), LOW, HIGH, 0)
    assert proxies.states.shape == (0, 2)
    grid = grid_of(Grid(bins=5), LOW, HIGH)
    assert grid is not None
    assert grid.count == 25
    assert grid_of(Sobol(), LOW, HIGH) is None


def test_visited_states_are_the_most_visited_cells_then_sobol() -> None:
    """bins=4: cell 6 is column 1 of x (center -0.25) and column 2 of y (center 5.625)."""
    settings = Visited(size=4, bins=4)
    first = build(settings, LOW, HIGH, 3)
    fresh = refresh(settings, first, {6: 5.0, 2: 1.0}, LOW, HIGH, 3)
    np.testing.assert_allclose(fresh.states[:2], [[-0.75, 5.625], [-0.25, 5.625]])
    np.testing.assert_array_equal(fresh.states[2:], first.states[:2])
    assert fresh.cells is not None
    assert fresh.cells.tolist() == [2, 6]
    assert fresh.version != first.version
    full = refresh(settings, fresh, dict.fromkeys(range(16), 1.0), LOW, HIGH, 3)
    assert full.cells is not None
    assert full.cells.tolist() == [0, 1, 2, 3]


def test_mix_keeps_its_wide_states() -> None:
    settings = Mix(size=8, bins=4, wide=0.25)
    first = build(settings, LOW, HIGH, 3)
    counts = (np.arange(16), np.arange(16.0))
    fresh = refresh(settings, first, counts, LOW, HIGH, 3)
    np.testing.assert_array_equal(fresh.states[:2], first.states[:2])
    assert fresh.cells is not None
    assert fresh.cells.tolist() == [10, 11, 12, 13, 14, 15]
    again = refresh(settings, fresh, counts, LOW, HIGH, 3)
    assert again.version == fresh.version
    few = refresh(settings, fresh, {9: 1.0}, LOW, HIGH, 3)
    np.testing.assert_array_equal(few.states[[0, 1, 3, 4, 5, 6, 7]], first.states[:7])


@pytest.mark.parametrize("settings", KINDS[3:])
def test_agents_rebuild_a_refreshed_set(settings: ProxySettings) -> None:
    first = build(settings, LOW, HIGH, 3)
    fresh = refresh(settings, first, {9: 2.0, 1: 7.0}, LOW, HIGH, 3)
    assert over_the_wire(fresh, settings).version == fresh.version
    assert restore(settings, LOW, HIGH, 3, fresh.cells).version == fresh.version
    assert restore(settings, LOW, HIGH, 3, None).version == first.version


@pytest.mark.parametrize("settings", KINDS[:3])
def test_other_kinds_never_change(settings: ProxySettings) -> None:
    first = build(settings, LOW, HIGH, 3)
    assert refresh(settings, first, {1: 1.0}, LOW, HIGH, 3) is first


def update(**fields: Any) -> ProxyUpdate:
    settings = Mix(size=8, bins=4)
    proxies = build(settings, LOW, HIGH, 3)
    made = to_update(proxies, settings, 0)
    return ProxyUpdate(**{"round": 0, "version": made.version, "recipe": made.recipe, **fields})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": "00000000"}, "'00000000'"),
        ({"recipe": {"kind": "mix", "size": 9}}, "size.*9.*8"),
        ({"recipe": {"kind": "sobol", "size": 8}}, "kind.*sobol.*mix"),
        ({"recipe": {}}, "kind.*None.*mix"),
        ({"cells": np.array([3, 99])}, "cell 99"),
        ({"cells": np.arange(5)}, "5 cells.*4"),
        ({"cells": np.array([3])}, "proxy set"),
    ],
)
def test_an_update_that_does_not_fit_is_refused(fields: dict[str, Any], reason: str) -> None:
    assert from_update(update(), Mix(size=8, bins=4), LOW, HIGH, 3).kind == "mix"
    with pytest.raises(BadMessage, match=reason):
        from_update(update(**fields), Mix(size=8, bins=4), LOW, HIGH, 3)


def test_another_seed_is_noticed() -> None:
    with fails(BadMessage, "proxy set", "seed"):
        over_the_wire(build(Sobol(8), LOW, HIGH, 3), Sobol(8), seed=4)


def test_cells_for_a_kind_without_any() -> None:
    with fails(FdrlError, "'uniform'", "grid cells"):
        restore(Uniform(8), LOW, HIGH, 3, np.array([1]))


def test_a_file_of_states(tmp_path: Path) -> None:
    states = np.array([[0.5, 100.0], [-7.0, 3.0]])
    np.save(tmp_path / "a.npy", states)
    np.save(tmp_path / "b.npy", states.astype(np.float32))
    settings = File(str(tmp_path / "a.npy"))
    proxies = build(settings, LOW, HIGH, 3)
    np.testing.assert_array_equal(proxies.states, states)
    # Neither the path, nor the seed, nor the box (which may be infinite) make another set.
    other = build(File(str(tmp_path / "b.npy")), np.full(2, -np.inf), HIGH, 4)
    assert other.version == proxies.version
    arrived = over_the_wire(proxies, File("elsewhere.npy"))
    np.testing.assert_array_equal(arrived.states, states)
    with pytest.raises(BadMessage, match="expected states"):
        from_update(to_update(proxies, settings, 0), settings, LOW[:1], HIGH[:1], 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.ones((3, 4)), r"has shape \[3, 4\], not \[N, 2\]"),
        (np.ones((0, 2)), r"has shape \[0, 2\]"),
        (np.array([[np.nan, 1]]), "NaN"),
        (np.array([[1e300, 1]]), "infinity"),
        (np.array([["a", "b"]]), "numbers"),
        (np.array([[None, 1]]), ".npy"),
        (b"not numpy", ".npy"),
        (b"", ".npy"),
        (None, "no such file"),
    ],
)
def test_unusable_files(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "states.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(FdrlError, match=reason):
        build(File(str(path)), LOW, HIGH, 0)


def test_an_archive_is_not_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "states.npz", a=np.ones((3, 2)))
    opened: list[Any] = []
    real = np.load

    def load(*args: Any, **options: Any) -> Any:
        opened.append(real(*args, **options))
        return opened[-1]

    monkeypatch.setattr(np, "load", load)
    with fails(FdrlError, tmp_path / "states.npz", "np.save"):
        build(File(str(tmp_path / "states.npz")), LOW, HIGH, 0)
    assert opened[0].zip is None  # closed
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no zip")
    with fails(FdrlError, tmp_path / "broken.npz", "plain"):
        build(File(str(tmp_path / "broken.npz")), LOW, HIGH, 0)


@pytest.mark.parametrize("settings", KINDS)
def test_an_unbounded_box_is_refused(settings: ProxySettings) -> None:
    with pytest.raises(FdrlError, match="component 1 is"):
        build(settings, LOW, np.array([1, np.inf]), 0)


def test_settings_from_a_config() -> None:
    read = msgspec.toml.decode('type = "mix"\nsize = 64', type=ProxySettings)
    assert read == Mix(size=64, bins=40, refresh=8, wide=0.5)
    with pytest.raises(msgspec.ValidationError, match="sise"):
        msgspec.convert({"type": "mix", "sise": 3}, ProxySettings)
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: Sobol(size=0), "proxy.size must be between 1 and"),
        (lambda: Grid(bins=-1), "proxy.bins must be between 1 and"),
        (lambda: Mix(refresh=0), "proxy.refresh must be between 1 and"),
        (lambda: Mix(wide=1.5), "proxy.wide must be between 0 and 1"),
        (lambda: msgspec.convert({"type": "sobol", "size": 0}, ProxySettings), "proxy.size"),
    ]
    for make, reason in refused:
        with pytest.raises(FdrlError, match=reason):
            make()


def test_a_set_of_images() -> None:
    low = np.zeros((2, 3), np.float32)
    proxies = build(Mix(size=8, bins=3), low, low + 1, 0)
    assert proxies.states.shape == (8, 2, 3)
    fresh = refresh(Mix(size=8, bins=3), proxies, {0: 1.0}, low, low + 1, 0)
    np.testing.assert_allclose(fresh.states[4], np.full((2, 3), 1 / 6), rtol=1e-6)


def test_rollout_states_are_sent_and_kept() -> None:
    settings = Rollout(size=3)
    states = np.array([[0.0, 1.0], [0.5, 2.0], [-0.5, 3.0]], np.float32)
    made = build(settings, LOW, HIGH, 3, lambda count: states[:count])
    rebuilt = over_the_wire(made, settings)
    np.testing.assert_array_equal(rebuilt.states, states)
    assert (rebuilt.version, rebuilt.kind) == (made.version, "rollout")
    again = load_saved(saved(made), settings, LOW, HIGH, 3, made.version)
    np.testing.assert_array_equal(again.states, states)
    short = build(Rollout(size=4), LOW, HIGH, 3, lambda count: states)
    with pytest.raises(BadMessage, match="3 states, not 4"):
        from_update(to_update(short, Rollout(size=4), 0), Rollout(size=4), LOW, HIGH, 3)
    with fails(FdrlError, "'rollout'", "--proxy mix or file"):
        build(settings, LOW, HIGH, 3)
    with fails(FdrlError, "'rollout'", "settings"):
        restore(settings, LOW, HIGH, 3, None)
