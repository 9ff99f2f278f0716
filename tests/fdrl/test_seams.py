"""Where two kinds of thing meet that do not go together: one line says so, and nothing starts."""

from __future__ import annotations

from typing import Any

import pytest

from fdrl import FdrlError, Federation, make_run

AIR = {"type": "mac-analog"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"env": "Pendulum-v1", "strategy": "fld"}, "'fld' has discrete actions only"),
        ({"env": "Pendulum-v1", "strategy": "hfd"}, "'hfd' has discrete actions only"),
        ({"env": "Pendulum-v1", "channel": AIR}, "means and standard deviations cannot add up"),
        ({"env": "shared_worlds:Pair", "channel": AIR}, "several roles cannot add up in the air"),
        ({"env": "fdrl/Digits-v0", "strategy": "mixfld", "channel": AIR}, "samples of their own"),
        ({"env": "fdrl/Digits-v0", "strategy": "fd+faug", "channel": AIR}, "samples of their own"),
        ({"env": "fdrl/Digits-v0", "strategy": "fl+faug", "channel": AIR}, "samples of their own"),
    ],
)
def test_refused_in_one_line(fields: dict[str, Any], words: str) -> None:
    labels = fields["env"] == "fdrl/Digits-v0"
    agent = {"agent": "classifier", "agents": 2} if labels else {}
    with pytest.raises(FdrlError, match=words) as caught:
        Federation(make_run(**({"steps": 512, "seed": 1} | agent | fields)))
    assert "\n" not in str(caught.value)
