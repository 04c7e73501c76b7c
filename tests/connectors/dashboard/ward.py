"""A ward for the browser: the whole pipeline in real time, with recorded patients that come to their alarms soon."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np

from connectors.devices.load import load
from connectors.devices.plan import Log, Plan
from connectors.devices.publisher import Publisher, play
from connectors.devices.recording import NumericTrack, Recording
from connectors.devices.replay import merged
from connectors.devices.samples import ARRHYTHMIA, ASYSTOLE, HYPOXEMIA, NORMAL
from connectors.jetstream.connection import connect
from dataflows.contracts import vitals_pb2 as pb
from dataflows.settings import Settings


def turned(recording: Recording, begin_s: float, times: int = 20) -> Recording:
    """The recording from `begin_s` on, again and again: a loop that starts elsewhere."""

    def loop(counts: np.ndarray, fs_mhz: int) -> np.ndarray:
        return np.tile(np.roll(counts, -int(begin_s * fs_mhz / 1000)), times)

    return replace(recording, waves=tuple(replace(w, counts=loop(w.counts, w.fs_mhz)) for w in recording.waves))


def from_second(recording: Recording, begin_s: float) -> Recording:
    """The numerics of a recording from `begin_s` on."""
    numerics = recording.numerics
    kept = [at for at, time_s in enumerate(numerics.times_s) if time_s >= begin_s]
    times = tuple(numerics.times_s[at] - begin_s for at in kept)
    return replace(recording, numerics=NumericTrack(times, tuple(numerics.readings[at] for at in kept)))


def patients(tenant: str, fall_s: float) -> Plan:
    """A normal rhythm, an arrhythmia, an asystole after half a minute, a fall of SpO2 soon."""
    recordings = [
        turned(load(NORMAL, None), 0.0),
        turned(load(ARRHYTHMIA, None), 0.0),
        turned(load(ASYSTOLE, None), 35.0),
        from_second(load(HYPOXEMIA, None), fall_s),
    ]
    return Plan(recordings, tenant=tenant, device="monitor", speed=1)


def first_below(recording: Recording, percent: float) -> float:
    """When SpO2 first falls below `percent`, in s."""
    numerics = recording.numerics
    for time_s, readings in zip(numerics.times_s, numerics.readings, strict=True):
        if any(reading.value < percent and reading.code == pb.CODE_SPO2 for reading in readings):
            return time_s
    raise AssertionError


class Ward(threading.Thread):
    """Publishes the patients in real time until it is stopped."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        super().__init__(daemon=True)
        self._settings, self._plan = settings, plan
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        """Runs the loop."""
        self._task = self._loop.create_task(self._play())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass

    def stop(self) -> None:
        """Devices fall silent."""
        # nats-py swallows a cancellation that meets it in the midst of a flush.
        while self.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
            self.join(0.5)

    async def _play(self) -> None:
        import time

        client = await connect(self._settings.nats, "devices")
        try:
            publisher = Publisher(client, 5.0, with_log_time=False)
            replays = self._plan.replays(Log(False, 8, 0), time.time_ns())
            await play(merged(replays), publisher, speed=1)
        finally:
            await client.close()


def screenshots() -> Path:
    """Where the browser tests leave what they saw."""
    import os

    folder = Path(os.environ.get("VITALS_SCREENSHOTS", "test-screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
