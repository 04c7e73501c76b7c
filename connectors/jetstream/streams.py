"""Creates the streams and the broker's ticks; reports what exists with other settings and never alters it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamSource, SubjectTransform
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from connectors.jetstream.connection import connect
from dataflows._native import tick_token
from dataflows.settings import Settings

LOG_TIME = "vitals.log_time"
FENCE = "fence"
"""Root of the subjects `fence.<stream>.<writer>`: a stream that a flow writes holds the fences of its writers. In the
log of record, where models write, it is `fence.<stream>.<device>.<writer>`."""
ORIGIN = "bridges.origin.alerts"
"""Subject of the time (ns since 1970) when ALERTS was made."""
PARTITIONS = "vitals.partitions"
"""Metadata of VITALS: what log time is, and into how many partitions the stream maps its subjects."""


def is_fence(subject: str) -> bool:
    """Whether a message of a stream is a writer's fence, which tells a reader nothing."""
    return subject.startswith(f"{FENCE}.")


class StreamSetupError(RuntimeError):
    """A stream cannot be created; says which and why."""


@dataclass
class StreamReport:
    """What the set-up found and did.

    Attributes:
        created: Streams that were made now.
        existing: Streams that were there.
        differences: What an existing stream has other than the settings say, one sentence each.
        scheduled: Schedules of ticks that were made now.
    """

    created: list[str] = field(default_factory=list)
    existing: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    scheduled: list[str] = field(default_factory=list)


def stream_configs(settings: Settings) -> list[StreamConfig]:
    """Returns the configuration of every stream by the settings."""
    streams = settings.streams

    def config(name: str, subjects: Sequence[str], **options: Any) -> StreamConfig:
        common = {
            "retention": RetentionPolicy.LIMITS,
            "discard": DiscardPolicy.OLD,
            "storage": StorageType.FILE,
            "num_replicas": streams.replicas,
            "duplicate_window": streams.dedupe_window_s,
        }
        return StreamConfig(name=name, subjects=list(subjects), **{**common, **options})

    tokens = ".".join(f"{{{{wildcard({n})}}}}" for n in (1, 2, 3, 4))
    # A stream that schedules messages obeys the headers Nats-Schedule and Nats-Rollup of everybody who may publish on
    # it: a device could write in another patient's name, or erase the log (tests/connectors/identity/test_headers.py).
    # So the schedules have a stream that no device can reach, and VITALS takes the ticks from there. One message a
    # subject: a tick that VITALS did not take in time is worth nothing.
    ticking = streams.log_time == "server"
    ticks = config(
        streams.ticks, ["vp.*.tick.*.broker.tick", "ticks.sched.*"], max_msgs_per_subject=1, allow_msg_schedules=True
    )
    vitals = config(
        streams.vitals,
        ["vitals.v1.*.*.*.*", f"{FENCE}.{streams.vitals}.*.*"],
        max_age=streams.vitals_max_age_h * 3600,
        max_bytes=streams.vitals_max_bytes,
        subject_transform=SubjectTransform(
            src="vitals.v1.*.*.*.*", dest=f"vp.{{{{partition({streams.partitions},1,2)}}}}.{tokens}"
        ),
        sources=[StreamSource(name=streams.ticks, filter_subject="vp.>")] if ticking else None,
        metadata={LOG_TIME: streams.log_time, PARTITIONS: str(streams.partitions)},
    )
    alerts = config(
        streams.alerts, ["alerts.v1.>", f"{FENCE}.{streams.alerts}.*"], max_age=streams.alerts_max_age_h * 3600
    )
    rejected = config(
        streams.rejected,
        ["rejected.v1.>", f"{FENCE}.{streams.rejected}.*"],
        max_age=streams.rejected_max_age_h * 3600,
        max_bytes=streams.rejected_max_bytes,
    )
    # A work list: an acknowledgement deletes. What does not fit is refused, never pushed out.
    spill = config(
        streams.spill,
        ["spill.v1.>"],
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.NEW,
        max_bytes=streams.spill_max_bytes,
    )
    # Who did what cannot be taken back by whoever holds the pipeline's credentials.
    audit = config(
        streams.audit, ["audit.v1.>"], max_age=streams.audit_max_age_h * 3600, deny_delete=True, deny_purge=True
    )
    # The last message of a subject is where a bridge stands. No key-value bucket: one obeys Nats-Rollup, with which the
    # bridge of one organisation could make those of others forget.
    bridges = config(streams.bridges, ["bridges.v1.*.*", ORIGIN], max_msgs_per_subject=1, allow_direct=True)
    return [*([ticks] if ticking else []), vitals, alerts, rejected, spill, audit, bridges]


def ensure_streams(settings: Settings) -> StreamReport:
    """Creates the streams that are missing and the ticks of VITALS; calling it again changes nothing.

    Raises:
        StreamSetupError: A stream cannot be created.
        nats.errors.Error: The server refuses the connection.
        OSError: Nobody answers.
    """
    return asyncio.run(ensure_streams_async(settings))


async def ensure_streams_async(settings: Settings) -> StreamReport:
    """As `ensure_streams`, inside an event loop."""
    connection = await connect(settings.nats, "vitals set-up")
    try:
        jetstream = connection.jetstream(timeout=settings.nats.ack_timeout_s)
        report = StreamReport()
        for wanted in stream_configs(settings):
            await _ensure(jetstream, wanted, report)
        await _schedule_ticks(jetstream, settings, report)
        await _note_origin(jetstream, settings)
        return report
    finally:
        await connection.close()


async def _ensure(jetstream: JetStreamContext, wanted: StreamConfig, report: StreamReport) -> None:
    name = str(wanted.name)
    try:
        found = (await jetstream.stream_info(name)).config
    except NotFoundError:
        try:
            await jetstream.add_stream(wanted)
        except APIError as error:
            message = f"stream {name} cannot be created: {error.description} (code {error.err_code})"
            raise StreamSetupError(message) from error
        report.created.append(name)
        return
    report.existing.append(name)
    report.differences += differences(wanted, found)


def differences(wanted: StreamConfig, found: StreamConfig) -> list[str]:
    """Returns what an existing stream has other than the settings say, one sentence each."""
    sentences = []
    have, want = _comparable(found), _comparable(wanted)
    for name, value in want.items():
        if have.get(name) != value:
            sentences.append(
                f"stream {wanted.name}: {name} is {have.get(name)!r}, the settings say {value!r}; it was left as it is"
            )
    return sentences


def _comparable(config: StreamConfig) -> dict[str, object]:
    values: Mapping[str, Any] = config.as_dict()
    names = ("retention", "discard", "storage", "num_replicas")
    metadata = config.metadata or {}
    transform = values.get("subject_transform") or {}
    return {
        **{name: values.get(name) for name in names},
        "subjects": sorted(config.subjects or []),
        "max_age_s": config.max_age or 0.0,
        "max_bytes": config.max_bytes if config.max_bytes and config.max_bytes > 0 else -1,
        "duplicate_window_s": config.duplicate_window,
        "subject_transform": transform and (transform["src"], transform["dest"]),
        "sources": [source["name"] for source in values.get("sources") or []],
        "allow_msg_schedules": bool(config.allow_msg_schedules),
        LOG_TIME: metadata.get(LOG_TIME),
        PARTITIONS: metadata.get(PARTITIONS),
    }


async def _note_origin(jetstream: JetStreamContext, settings: Settings) -> None:
    """Notes when ALERTS was made, for bridges, which may not ask: places in another stream of its name mean nothing."""
    streams = settings.streams
    created = (await jetstream.stream_info(streams.alerts)).created
    origin = str(round(created.timestamp() * 1e6) * 1000 if created else 0).encode()
    try:
        if (await jetstream.get_last_msg(streams.bridges, ORIGIN)).data == origin:
            return
    except NotFoundError:
        pass
    await jetstream.publish(ORIGIN, origin)


async def _schedule_ticks(jetstream: JetStreamContext, settings: Settings, report: StreamReport) -> None:
    """Schedules one tick a second in each partition, as the stream (not the settings) defines partitions.

    In a stream whose log time is a header ticks would mean nothing. A schedule is a message of TICKS, which
    has no maximum age: it goes on for ever.
    """
    name = settings.streams.vitals
    metadata = (await jetstream.stream_info(name)).config.metadata or {}
    if metadata.get(LOG_TIME) != "server" or not metadata.get(PARTITIONS, "").isdigit():
        return
    partitions = int(metadata[PARTITIONS])
    for partition in range(partitions):
        token = tick_token(partition, partitions)
        subject = f"ticks.sched.{token}"
        try:
            await jetstream.get_last_msg(settings.streams.ticks, subject)
        except NotFoundError:
            headers = {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": f"vp.{partition}.tick.{token}.broker.tick"}
            await jetstream.publish(subject, b"", headers=headers)
            report.scheduled.append(subject)
