"""Who is told how a run is going. ``metrics.jsonl`` is always written (`fdrl.runs.folder`); a
`Tracker` is anything else that wants to know.
"""

from __future__ import annotations

import importlib
import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fdrl.config.run import Run
from fdrl.core.errors import FdrlError
from fdrl.core.files import file_errors, make_folder, open_file
from fdrl.core.records import RoundRecord, Summary


class Tracker(Protocol):
    """Follows a run from outside; nothing it does changes a number."""

    def start(self, run: Run, ids: Sequence[str], labels: Sequence[str]) -> None:
        """Hear which run begins or continues, its agents' ids, and a few words on each."""

    def round(self, record: RoundRecord) -> None:
        """Hear about a finished round."""

    def finish(self, summary: Summary) -> None:
        """Hear how the run ended; not called for a run that stops early."""

    def close(self) -> None:
        """Let go of files and screens; always called, once."""


def scalars(record: RoundRecord) -> dict[str, float]:
    """Return what a round says of the whole federation, under Stable-Baselines3's names."""
    named = {
        "rollout/ep_rew_mean": record.return_mean,
        "time/fps": record.steps_per_second,
        "time/total_timesteps": float(sum(record.env_steps)),
        "time/time_elapsed": record.wall_seconds,
        "time/iterations": float(record.round),
        "comm/bytes_up": record.bytes_up,
        "comm/bytes_down": record.bytes_down,
        "comm/rejected": float(len(record.rejected)),
        "time/simulated": record.sim_seconds or None,
    }
    return {k: v for k, v in {**named, **record.metrics}.items() if v is not None}


def summary_scalars(summary: Summary) -> dict[str, float]:
    """Return the final evaluation as ``eval/*``."""
    return {
        "eval/final_mean": summary.return_mean,
        "eval/final_worst": summary.return_worst,
        "eval/final_spread": summary.return_spread,
        "eval/final_stochastic": summary.return_stochastic,
        "eval/final_held_out": summary.return_held_out,
    }


class TensorBoard:
    """Writes TensorBoard files: ``FOLDER/federation`` for the means, ``FOLDER/AGENT`` for an agent.

    An agent is a sub-run with the same names as the mean, so TensorBoard draws them in one chart.
    The x axis is environment steps per agent. Written with tensorboard's own record writer: its
    usual one, and torch's, start a thread per file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self._event: Any = importlib.import_module("tensorboard.compat.proto.event_pb2")
            self._records: Any = importlib.import_module("tensorboard.summary.writer.record_writer")
        except ImportError as error:
            raise FdrlError(
                'TensorBoard files need the tensorboard package: pip install "fdrl[tensorboard]"'
            ) from error
        self._writers: dict[str, Any] = {}
        self._ids: Sequence[str] = ()
        self._steps = 0

    def start(self, run: Run, ids: Sequence[str], labels: Sequence[str]) -> None:
        """Remember the agents; files are made with the first round."""
        self._ids = ids

    def _writer(self, name: str, step: int) -> Any:
        """Open a file on first use; a resumed run makes TensorBoard forget what came after."""
        if name not in self._writers:
            folder = self.folder / name
            stamp = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
            stamp += f".{time.time_ns()}"  # TensorBoard reads files in the order of their names
            make_folder(self.folder.parent)
            make_folder(folder, self.folder.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            file = open_file(folder / stamp, flags, self.folder.parent)
            self._writers[name] = self._records.RecordWriter(os.fdopen(file, "wb"))
            self._put(name, wall_time=time.time(), file_version="brain.Event:2")
            start = {"status": self._event.SessionLog.START}
            self._put(name, wall_time=time.time(), step=step, session_log=start)
        return self._writers[name]

    def _put(self, name: str, **fields: Any) -> None:
        with file_errors("write", self.folder / name):
            self._writers[name].write(self._event.Event(**fields).SerializeToString())

    def _scalars(self, name: str, step: int, values: Mapping[str, float]) -> None:
        self._writer(name, step)
        named = [{"tag": tag, "simple_value": _float32(v)} for tag, v in values.items()]
        self._put(name, wall_time=time.time(), step=step, summary={"value": named})
        with file_errors("write", self.folder / name):
            self._writers[name].flush()

    def round(self, record: RoundRecord) -> None:
        """Write the round's means, and each agent's return, steps and episodes."""
        self._steps = sum(record.env_steps) // len(record.env_steps)
        self._scalars("federation", self._steps, scalars(record))
        for index, agent in enumerate(self._ids):
            steps, value = record.env_steps[index], record.returns[index]
            own: dict[str, float] = {"rollout/episodes": record.episodes[index]}
            if value is not None:
                own["rollout/ep_rew_mean"] = value
            self._scalars(agent, steps, own)

    def finish(self, summary: Summary) -> None:
        """Write the final evaluation."""
        self._scalars("federation", self._steps, summary_scalars(summary))
        for agent, value in zip(self._ids, summary.returns, strict=True):
            self._scalars(agent, self._steps, {"eval/final_mean": value})

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def _float32(value: float) -> float:
    """Return infinity for what does not fit into TensorBoard's float, which protobuf refuses."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
