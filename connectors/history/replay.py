"""Runs the flow over a range of the log's history in processes of its own, with a scratch recovery store."""

import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from nats.aio.client import Client

from connectors.history.compare import Window
from connectors.history.graph import PLAN, Range
from connectors.jetstream.history import bounds, messages, seq_at
from connectors.local.recovery import Position, RecoveryStore
from connectors.local.supervisor import Supervisor
from dataflows._native import tick_token
from dataflows.settings import Settings

_TICK_LOOK_BACK = 5_000
_ROUNDING_NS = 1_000_000
NS = 1_000_000_000


Times = tuple[int | None, int | None]
"""From and to, ns since 1970."""


async def plan_range(
    client: Client, settings: Settings, times: Times, warm_up_s: float, kept: Mapping[int, Position]
) -> tuple[Range, Window]:
    """Decides what to read and what to compare.

    Args:
        client: A connection.
        settings: Names.
        times: Server's times from which on and up to which is compared; None: the stream's first, its last message.
        warm_up_s: How much before the first time is read, where there is no kept snapshot.
        kept: Positions of a kept snapshot, which needs no warm-up.
    """
    stream = settings.streams.vitals
    since_ns, until_ns = times
    first, last = await bounds(client, stream)
    after_ns = {partition: position.log_ns for partition, position in kept.items()}
    after = {partition: position.seq for partition, position in kept.items()}
    if since_ns is not None:
        compared = await seq_at(client, stream, since_ns)
        read = compared if kept else await seq_at(client, stream, since_ns - int(warm_up_s * NS))
        # A warm-up that would reach beyond the stream's first message is none: that is where the flow began.
        if kept or read > first:
            partitions = range(settings.streams.partitions)
            after_ns = {partition: max(since_ns - 1, after_ns.get(partition, 0)) for partition in partitions}
            after = {partition: max(compared - 1, after.get(partition, 0)) for partition in partitions}
        first = max(first, read)
    if until_ns is not None:
        last = min(last, await seq_at(client, stream, until_ns) - 1)
    return Range(first, last), Window(after_ns, await last_ticks(client, settings, last), after, last)


async def last_ticks(client: Client, settings: Settings, last: int) -> dict[int, int]:
    """Returns the log time of each partition's last tick up to `last`: what was due by then has fired in both runs.

    The live flow may be beyond `last` already, by a tick at least: what it wrote there is not the replay's to make. A
    partition without any tick is absent, and so is every one where log time is a header.
    """
    count, stream = settings.streams.partitions, settings.streams.vitals
    if settings.streams.log_time == "header":
        return {}
    tokens = {tick_token(partition, count): partition for partition in range(count)}
    found: dict[int, int] = {}
    look_back = _TICK_LOOK_BACK
    while True:
        async for message in messages(client, stream, max(1, last - look_back), last, "vp.*.tick.>"):
            partition = tokens.get(message.subject.split(".")[3])
            if partition is not None:
                # The client rounds to microseconds, and a deadline at the very tick may be on either side.
                found[partition] = int(message.metadata.timestamp.timestamp() * 1e6) * 1_000 - _ROUNDING_NS
        if len(found) == count or look_back >= last:
            return found
        # A large ward writes thousands of messages between two ticks.
        look_back *= 20


class Replay:
    """A run of the flow over a range.

    Args:
        settings: As the live flow's; `settings.run` says how many processes and workers.
        scratch: An empty folder for its recovery store, logs and outputs.
        plan: What to read.
        say: Takes a line at a time.
        recovery: A kept recovery store to start from, in place of `plan.first`; it is copied.
    """

    def __init__(
        self, settings: Settings, scratch: Path, plan: Range, say: Callable[[str], None], recovery: Path | None = None
    ) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        (scratch / PLAN).write_bytes(msgspec.json.encode(plan))
        if recovery is not None:
            shutil.copytree(recovery, scratch / "recovery", dirs_exist_ok=True)
        store = RecoveryStore(scratch / "recovery", settings)
        graph = f"connectors.history.graph:replay({str(scratch)!r})"
        self.supervisor = Supervisor(settings, store, scratch, say, graph=graph, finite=True)

    def run(self) -> int:
        """Runs to the end of the range; returns 0 when it got there."""
        return self.supervisor.run()

    def in_background(self) -> threading.Thread:
        """Starts `run` in a thread."""
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        return thread
