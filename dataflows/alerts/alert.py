"""One transition of an alert: identity, JSON body and database row.

The body is a function of the log alone, so a replayed alert is byte-identical; wall-clock times of detecting and
publishing travel as message headers. docs/alert.schema.json describes the body, docs/alerts.md the states.
"""

import uuid
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from dataflows.alerts.about import About
from dataflows.monitor.rows import Row, told

NAMESPACE = uuid.UUID("6f1dbf62-8a5f-5d6c-9a5e-0c7e3a0f4b11")
"""UUIDv5 namespace of alert ids; changing it renames every alert."""


class Priority(StrEnum):
    """Priority by the thinking of IEC 60601-1-8: harm if nobody responds, and how soon it comes."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for the most urgent."""
        return _RANKS[self]


_RANKS = {Priority.HIGH: 0, Priority.MEDIUM: 1, Priority.LOW: 2}


class Kind(StrEnum):
    """Whether the alert speaks of the patient or of the equipment (IEC 60601-1-8 keeps them apart)."""

    PHYSIOLOGICAL = "physiological"
    TECHNICAL = "technical"


class State(StrEnum):
    """Where an alert stands after a transition. `pending` is never published: nobody has been told."""

    PENDING = "pending"
    ACTIVE = "active"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    ESCALATED = "escalated"
    CLEARED = "cleared"


class Event(StrEnum):
    """What a transition was."""

    RAISED = "raised"
    RECURRED = "recurred"
    WORSENED = "worsened"
    DOWNGRADED = "downgraded"
    ENDED = "ended"
    CLEARED = "cleared"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    SNOOZE_ENDED = "snooze_ended"
    ESCALATED = "escalated"
    HANDED_OVER = "handed_over"
    DELIVERED = "delivered"
    NOTED = "noted"


NOTIFIES = frozenset({Event.RAISED, Event.WORSENED, Event.SNOOZE_ENDED, Event.ESCALATED, Event.HANDED_OVER})
"""Transitions of which somebody has to be told, unless the alert is snoozed."""


def _says(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A transition of an alert. Times are ns since 1970, UTC."""

    schema: Literal["vitals.alert.v1"] = "vitals.alert.v1"
    alert_id: Annotated[str, _says("UUIDv5 of tenant, patient, rule, device, boot, signal or code, and onset")]
    transition: Annotated[int, _says("0 when raised, then one more with each transition of the same alert")]
    event: Annotated[Event, _says("what happened")]
    state: Annotated[State, _says("where the alert stands now")]
    condition: Annotated[bool, _says("whether the condition still holds; a latching alert outlives it")]
    notify: Annotated[bool, _says("whether somebody has to be told of this transition")]
    tenant: str
    patient: Annotated[str, _says("pseudonym")]
    rule: Annotated[str, _says("stable name of the rule")]
    kind: Kind
    priority: Priority
    text: Annotated[str, _says("what the rule means, in a sentence")]
    level: Annotated[int, _says("level of escalation, from 1")]
    responsible: Annotated[str, _says("who was handed the patient; empty where nobody was named")] = ""
    actor: Annotated[str, _says("who asked for this transition; empty where the log alone decided")] = ""
    reason: Annotated[str, _says("why: of a clearing, an escalation, a refusal to page; or a note's text")] = ""
    until_ns: Annotated[int | None, _says("log time at which a snooze ends")] = None
    device: str
    boot: Annotated[int, _says("start counter of the device")]
    signal: Annotated[str, _says("signal whose frame decided")]
    code: Annotated[str, _says("code of the observation or name of the score; empty for waves")]
    onset: Annotated[int, _says("identity of the onset: sample index (waves) or device time in ns (observations)")]
    onset_ns: Annotated[int, _says("event time at which the condition began")]
    value: Annotated[float, _says("what was measured, in `unit`")]
    limit: Annotated[float, _says("the limit that it crossed, in `unit`")]
    unit: Annotated[str, _says("UCUM")]
    evidence_from_ns: Annotated[int, _says("event time at which the evidence begins")]
    evidence_to_ns: Annotated[int, _says("event time at which it ends")]
    sample_ns: Annotated[int, _says("event time of the sample that decided")]
    repeats: Annotated[int, _says("findings that this alert took in without telling anybody again")] = 0
    limits_version: Annotated[int, _says("`log_seq` of the command that last changed the limits; 0 for the defaults")]
    rules_version: Annotated[str, _says("digest of the rule set")]
    details: Annotated[dict[str, Any] | None, _says("particulars of a score or trend")] = None
    log_seq: Annotated[int, _says("sequence in VITALS of the deciding message")]
    log_ns: Annotated[int, _says("log time of the decision")]
    seq: Annotated[int, _says("frame of the device that holds the deciding sample")]
    about: Annotated[
        About | msgspec.UnsetType, _says("ward, age band, oxygen, placement of the device, as far as said")
    ] = msgspec.UNSET

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
            self.event.value,
            self.kind.value,
            self.notify,
            self.level,
            self.actor,
            self.reason,
            self.limits_version,
        )
        return [("alerts", [told(row)])]


def alert_id(*identity: str | int) -> str:
    """UUIDv5 of (tenant, patient, rule, device, boot, signal or code, onset)."""
    return str(uuid.uuid5(NAMESPACE, "/".join(map(str, identity))))


def json_schema() -> dict[str, Any]:
    """JSON Schema of the body; committed as docs/alert.schema.json and checked to be current."""
    return msgspec.json.schema(Alert)
