"""One transition of an alert: identity, JSON body and database row.

The body is a function of the log alone, so a replayed alert is byte-identical; wall-clock times of detecting and
publishing travel as message headers. `alert.schema.json` beside this file describes the body.
"""

import uuid
from enum import StrEnum
from typing import Literal

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


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A transition of an alert. Times are ns since 1970, UTC; `sample_ns` and the evidence are event times."""

    schema: Literal["vitals.alert.v1"] = "vitals.alert.v1"
    alert_id: str
    transition: int
    state: State
    tenant: str
    patient: str
    rule: str
    priority: Priority
    device: str
    boot: int
    signal: str
    code: str
    onset: int
    """Sample index (waves) or device time in ns (observations) at which the condition began: the identity."""
    onset_ns: int
    value: float
    limit: float
    unit: str
    evidence_from_ns: int
    evidence_to_ns: int
    sample_ns: int
    log_seq: int
    log_ns: int
    seq: int

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
