"""``fdrl channel``: the link budget it prints, and mistakes in one line."""

import pytest
from messages import says

from fdrl import cli, make_run
from fdrl.federation.build import make_channel
from fdrl.federation.groups import agent_ids


def printed(capsys, *argv):
    assert cli.main(["channel", *argv]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_table_holds_the_published_link_budget(capsys):
    lines = printed(capsys)
    up = next(x for x in lines if x[:1] == ["uplink,"])
    down = next(x for x in lines if x[:1] == ["downlink,"])
    assert up[3:] == ["1", "MHz", "17.0", "dB", "0.9419", "4,870"]
    assert down[2:] == ["10", "MHz", "24.0", "dB", "0.9881", "71,610"]
    slots = {x[0]: (float(x[2]), x[3], float(x[4])) for x in lines if x and x[0][0].isdigit()}
    assert slots["50,176"][0] == pytest.approx(83, rel=0.03)
    assert slots["50,176"][2] == pytest.approx(6.2, rel=0.03)
    assert slots["39,600"][0] == pytest.approx(66, rel=0.03)
    assert slots["79,615"][1] == "100.0%"
    assert slots["36,733"][1] == "0.0%"


def test_sizes_and_settings_of_ones_own(capsys):
    lines = printed(capsys, "1_000", "--agents", "1", "--channel.symmetric")
    assert any(x[:4] == ["uplink,", "1", "agents", "10"] for x in lines)
    (row,) = [x for x in lines if x[:1] == ["1,000"]]
    assert row == ["1,000", "8,000", row[2], "0.0%", row[4]]


def test_the_farthest_agent_decides(capsys):
    near = ["--agents", "2", "--channel.distances", "500", "2000", "--channel.deadline_slots", "9"]
    assert ["at", "2000", "m"] in printed(capsys, "10", *near)


def test_reach_is_what_as_many_agents_would_train_with(capsys):
    """One agent has ten times the band of ten, and so ten times the noise."""
    far = ["--channel.distance", "2500"]
    assert ["at", "2500", "m"] in printed(capsys, "10", *far)
    make_channel(make_run(channel={"type": "fading", "distance": 2500.0}), agent_ids(10))
    assert cli.main(["channel", "10", *far, "--agents", "1"]) == 2
    says(capsys.readouterr().err, "slots", "channel.deadline_slots")


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["x"], "SIZE is a message's bytes"),
        (["0"], "SIZE is a message's bytes"),
        (["--channel", "ideal"], "only a fading channel has a link budget"),
        (["--channel.bandwith", "3"], "did you mean '--channel.bandwidth'"),
        (["--channel.distance", "1e6"], "no message can meet"),
        (["--channel.distances", "500", "2000"], "2 distances for 10 agents"),
    ],
)
def test_mistakes_are_one_line(argv, text, capsys):
    assert cli.main(["channel", *argv]) == 2
    said = capsys.readouterr().err
    assert text in said
    assert said.count("\n") == 1
