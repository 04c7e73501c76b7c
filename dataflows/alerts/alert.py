"""One transition of an alert: identity, JSON body and database row.

The body is a function of the log alone, so a replayed alert is byte-identical; wall-clock times of detecting and
publishing travel as message headers. docs/alert.schema.json describes the body.
"""

import uuid
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from dataflows.monitor.rows import Row

NAMESPACE = uuid.UUID("6f1dbf62-8a5f-5d6c-9a5e-0c7e3a0f4b11")
"""UUIDv5 namespace of alert ids; changing it renames every alert."""


class Priority(StrEnum):
    """Priority by the thinking of IEC 60601-1-8: harm if nobody responds, and how soon it comes."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class State(StrEnum):
    """What the transition says of the condition."""

    RAISED = "raised"
    CLEARED = "cleared"


def _says(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A transition of an alert. Times are ns since 1970, UTC."""

    schema: Literal["vitals.alert.v1"] = "vitals.alert.v1"
    alert_id: Annotated[str, _says("UUIDv5 of tenant, patient, rule, device, boot, signal or code, and onset")]
    transition: Annotated[int, _says("0 when raised, then one more with each transition of the same alert")]
    state: State
    tenant: str
    patient: Annotated[str, _says("pseudonym")]
    rule: Annotated[str, _says("stable name of the rule")]
    priority: Priority
    device: str
    boot: Annotated[int, _says("start counter of the device")]
    signal: Annotated[str, _says("signal whose frame decided")]
    code: Annotated[str, _says("code of the observation; empty for waves")]
    onset: Annotated[int, _says("identity of the onset: sample index (waves) or device time in ns (observations)")]
    onset_ns: Annotated[int, _says("event time at which the condition began")]
    value: Annotated[float, _says("what was measured, in `unit`")]
    limit: Annotated[float, _says("the limit that it crossed, in `unit`")]
    unit: Annotated[str, _says("UCUM")]
    evidence_from_ns: Annotated[int, _says("event time at which the evidence begins")]
    evidence_to_ns: Annotated[int, _says("event time at which it ends")]
    sample_ns: Annotated[int, _says("event time of the sample that decided")]
    log_seq: Annotated[int, _says("sequence in VITALS of the deciding message")]
    log_ns: Annotated[int, _says("log time of the decision")]
    seq: Annotated[int, _says("frame of the device that holds the deciding sample")]

    @property
    def message_id(self) -> str:
        """`<alert id>.<transition>`: publishing it again changes nothing."""
        return f"{self.alert_id}.{self.transition}"

    def subject(self, root: str = "alerts.v1") -> str:
        """Subject below `root`."""
        return f"{root}.{self.tenant}.{self.patient}.{self.rule}"

    def body(self) -> bytes:
        """JSON, fields in the order of this class."""
        return msgspec.json.encode(self)

    def rows(self) -> list[tuple[str, list[Row]]]:
        """The row of table `alerts`."""
        row = (
            self.log_ns,
            self.tenant,
            self.patient,
            self.device,
            self.boot,
            self.signal,
            self.seq,
            self.alert_id,
            self.transition,
            self.rule,
            self.priority.value,
            self.state.value,
            self.onset_ns,
            self.value,
            self.limit,
            self.log_ns,
            self.log_seq,
            self.body().decode(),
        )
        return [("alerts", [row])]


def alert_id(*identity: str | int) -> str:
    """UUIDv5 of (tenant, patient, rule, device, boot, signal or code, onset)."""
    return str(uuid.uuid5(NAMESPACE, "/".join(map(str, identity))))


def json_schema() -> dict[str, Any]:
    """JSON Schema of the body; committed as docs/alert.schema.json and checked to be current."""
    return msgspec.json.schema(Alert)
