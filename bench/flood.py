"""What a device that floods the log costs the flow: CPU per message, while other patients' alerts wait behind it.

`python bench/flood.py` starts NATS and the flow without storage, in one partition, on a log that is full of messages of
one kind: what no decoder takes, one number used over and over, and more than a device may send. It prints the CPU of
the flow (without the start of the interpreter) and of the server per message, and how many messages a second of wall
time.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import cpu_s, stack_settings, work_off
from report import publish
from traffic import Message, publisher

from connectors.local.flow import FlowProcess
from connectors.local.stack import Stack
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import subject_of


def frame(device: str, seq: int, first_sample: int) -> Message:
    """A reading of the bad patient; its number and its first sample are up to the caller."""
    made = pb.Frame(version=1, tenant="main", patient="bad", device=device, signal=pb.SIGNAL_NUMERIC, boot_id=1)
    made.seq, made.first_sample, made.device_ns = seq, first_sample, time.time_ns()
    made.observations.items.add(code=pb.CODE_SPO2, value=97.0, unit=pb.UNIT_PERCENT)
    return subject_of(made), [], made.SerializeToString()


def rubbish(count: int) -> list[Message]:
    """What no decoder takes."""
    return [("vitals.v1.main.bad.rubbish.numeric", [], b"\xff" * 40)] * count


def reused_numbers(count: int) -> list[Message]:
    """One number over and over, each time with other samples."""
    return [frame("reuser", 7, 7 + number) for number in range(count)]


def too_much(count: int) -> list[Message]:
    """A device that sends in a second what others send in hours."""
    return [frame("flood", number, number) for number in range(count)]


KINDS = (rubbish, reused_numbers, too_much)


def flood(make: Callable[[int], list[Message]], count: int) -> dict[str, Any]:
    """Fills the log, then starts the flow on it."""
    with tempfile.TemporaryDirectory(prefix="vitals-bench-") as folder:
        settings, api = stack_settings(Path(folder), questdb=False)
        streams = settings.streams.model_copy(update={"partitions": 1})
        settings = settings.model_copy(update={"streams": streams})
        with Stack(settings) as stack:
            last_seq = publisher(settings).publish_all(make(count))[-1]
            server_pid = stack.pids()["nats"]
            server_s = cpu_s(server_pid)
            flow = FlowProcess(settings, Path(folder) / "flow", stack.environment(), api)
            work = work_off(flow, last_seq)
            server_s = cpu_s(server_pid) - server_s
            flow.stop()
    return {
        "kind": make.__name__,
        "messages": count,
        "flow_us": (work.cpu_s - work.start_cpu_s) / count * 1e6,
        "server_us": server_s / count * 1e6,
        "messages_per_wall_s": count / (work.wall_s - work.start_s),
    }


def main() -> None:
    """Runs every kind and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=120_000)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    publish({"rows": [flood(make, arguments.messages) for make in KINDS]}, arguments.json)


if __name__ == "__main__":
    main()
