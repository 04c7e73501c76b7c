"""The fault matrix for as long as you like: kills in any order under live traffic, then the same oracles as the tests.

`python bench/chaos.py --kills 1000 --json chaos.json` starts NATS, QuestDB and the flow, publishes recorded patients
(ECG at 250 Hz, SpO2 at 1 Hz) in real time and breaks one part after another, drawn from the table of
tests/faults/faults.py. Every 25 kills everything must be in its place by the loss ledger; at the end the alerts must be
the bytes and the tables the rows of an uninterrupted run over the same log.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from report import publish

from tests.faults.faults import FAULTS, FLOW, INPUT, NETWORK, SCALE, SERVERS, STATE, STORAGE
from tests.faults.ground import QUESTDB, Fault, Ground
from tests.servers import NatsServer, QuestDB
from tests.waiting import until

KILL, TWO, SECOND, ONE = FLOW[0], *SCALE
WEIGHTS: dict[Fault, float] = {
    KILL: 60,
    **dict.fromkeys(SERVERS, 6),
    **dict.fromkeys((*FLOW[1:], *STORAGE, *NETWORK, *INPUT), 0.5),
    # The log is read from its beginning, which takes longer the longer this runs.
    **dict.fromkeys(STATE, 0.1),
}
BETWEEN_CHECKS = 25
PHASE = 20


class Chaos:
    """Breaks things and counts.

    Args:
        ground: Where.
        seed: Of the order.
    """

    def __init__(self, ground: Ground, seed: int) -> None:
        self._ground = ground
        self._seeded = random.Random(seed)
        self.times: Counter[str] = Counter()
        self.cuts: Counter[str] = Counter()
        self.worst_s = 0.0
        self.lost = self.doubled = 0
        ground.flow.allowed_deaths = sys.maxsize

    @property
    def kills(self) -> int:
        """Processes killed so far."""
        return self.cuts.total()

    def run(self, kills: int, until_s: float) -> None:
        """Goes on until so many processes were killed or the time is over."""
        processes, checked = 1, 0
        while self.kills < kills and time.monotonic() < until_s and not self.lost and not self.doubled:
            if self._seeded.random() < 1 / PHASE:
                self._break(TWO if processes == 1 else ONE)
                processes = 3 - processes
            (fault,) = self._seeded.choices(list(WEIGHTS), list(WEIGHTS.values()))
            self._break(SECOND if fault is KILL and processes == 2 and self._seeded.random() < 0.5 else fault)
            if self.kills - checked >= BETWEEN_CHECKS:
                checked = self.kills
                self.check()

    def _break(self, fault: Fault) -> None:
        # Half of them while it works, the others at any moment, also while it starts.
        if self._seeded.random() < 0.5:
            done = self._ground.flow.done_to()
            until(lambda: self._ground.flow.done_to() > done, 120, poll_s=0.05)
        threading.Event().wait(self._seeded.uniform(0.0, 1.5))
        short = Fault(fault.name, fault.promise, fault.inject, fault.heal, fault.bites, fault.hold_s / 4, fault.cuts)
        self._ground.break_with(short)
        self.times[fault.name] += 1
        self.cuts[fault.name] += fault.cuts

    def check(self) -> None:
        """Waits until everything is in its place and looks what is not."""
        self.worst_s = max(self.worst_s, self._ground.settle(300))
        self.lost = self._ground.balance().totals["lost"]
        self.doubled = self._ground.doubled()
        sys.stdout.write(
            f"{time.strftime('%H:%M:%S')} {self.kills} kills, {self._ground.devices.acknowledged} messages, "
            f"{self.lost} lost, {self.doubled} doubled, settled within {self.worst_s:.1f} s\n"
        )
        sys.stdout.flush()


def run(folder: Path, kills: int, minutes: float, patients: int, seed: int) -> dict[str, Any]:
    """One run; the result has a row per fault."""
    nats, questdb = NatsServer(folder / "nats").start(), QuestDB(folder / "questdb", QUESTDB).start()
    try:
        started = time.monotonic()
        ground = Ground(nats, questdb, folder, patients)
        chaos = Chaos(ground, seed)
        chaos.run(kills, started + 60 * minutes)
        chaos.check()
        ground.finish()
        traces = ground.traces() if chaos.doubled else []
        found = ground.differences()
    finally:
        questdb.stop()
        nats.stop()
    rows = [
        {"fault": fault.name, "times": chaos.times[fault.name], "cuts": chaos.cuts[fault.name]}
        for fault in FAULTS
        if chaos.times[fault.name]
    ]
    differing = sum(one.differing for one in found)
    return {
        "rows": [*rows, {"fault": "all", "times": chaos.times.total(), "cuts": chaos.kills}],
        "messages": ground.devices.acknowledged,
        "lost": chaos.lost,
        "doubled": chaos.doubled,
        "differing_from_calm_run": differing,
        "differences": [vars(one) for one in found if one.differing],
        "compared": {one.name: one.same for one in found},
        "longest_settle_s": chaos.worst_s,
        "minutes": (time.monotonic() - started) / 60,
        "seed": seed,
        "traces": traces,
    }


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=24 * 60, help="end sooner, after the next check")
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vitals-chaos-") as folder:
        found = run(Path(folder), arguments.kills, arguments.minutes, arguments.patients, arguments.seed)
    publish(found, arguments.json)
    for name in ("messages", "lost", "doubled", "differing_from_calm_run", "compared", "longest_settle_s", "minutes"):
        sys.stdout.write(f"{name}: {found[name]}\n")
    sys.exit(1 if found["lost"] or found["doubled"] or found["differing_from_calm_run"] else 0)


if __name__ == "__main__":
    main()
