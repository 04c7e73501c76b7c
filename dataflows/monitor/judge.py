"""The step `judge` of one patient: findings in, alerts out. No engine, no clock but the log's."""

import struct
from collections.abc import Sequence

import msgspec

from dataflows._native import Command, Detection
from dataflows.alerts.alert import Alert, State, alert_id
from dataflows.alerts.rules import RULES

_VERSION = 1


class _Standing(msgspec.Struct, array_like=True):
    """An alert whose condition holds."""

    alert_id: str
    transition: int
    onset: int
    onset_ns: int


class Judge:
    """The alerts of one patient.

    A condition that begins raises an alert, one that ends clears it; a second beginning of a standing condition is the
    same alert. Which conditions may alert, and how urgently, is in `dataflows.alerts.rules`.
    """

    def __init__(self) -> None:
        self._standing: dict[str, _Standing] = {}

    def on_events(self, tenant: str, patient: str, events: Sequence[Detection | Command]) -> list[Alert]:
        """Takes what the step `signals` found, in log order."""
        alerts = []
        for event in events:
            if isinstance(event, Command) or event.rule not in RULES:
                continue
            alert = self._judge(tenant, patient, event)
            if alert is not None:
                alerts.append(alert)
        return alerts

    def _judge(self, tenant: str, patient: str, found: Detection) -> Alert | None:
        place = f"{found.rule}/{found.device}/{found.signal}"
        standing = self._standing.get(place)
        if found.raised:
            if standing is not None:
                return None
            source = (found.device, found.boot, found.code or found.signal)
            name = alert_id(tenant, patient, found.rule, *source, found.onset)
            standing = self._standing[place] = _Standing(name, 0, found.onset, found.onset_ns)
        elif standing is None:
            return None
        else:
            del self._standing[place]
            standing.transition += 1
        rule = RULES[found.rule]
        evidence_from_ns, evidence_to_ns = found.evidence_ns
        return Alert(
            alert_id=standing.alert_id,
            transition=standing.transition,
            state=State.RAISED if found.raised else State.CLEARED,
            tenant=tenant,
            patient=patient,
            rule=found.rule,
            priority=rule.priority,
            device=found.device,
            boot=found.boot,
            signal=found.signal,
            code=found.code,
            onset=standing.onset,
            onset_ns=standing.onset_ns,
            value=found.value,
            limit=found.limit,
            unit=rule.unit,
            evidence_from_ns=evidence_from_ns,
            evidence_to_ns=evidence_to_ns,
            sample_ns=found.sample_ns,
            log_seq=found.log_seq,
            log_ns=found.log_ns,
            seq=found.seq,
        )

    def snapshot(self) -> bytes:
        """Version and standing alerts."""
        return struct.pack("<H", _VERSION) + msgspec.msgpack.encode(self._standing)

    @classmethod
    def restore(cls, snapshot: bytes) -> "Judge":
        """The judge of a snapshot.

        Raises:
            ValueError: it is damaged, or of a version this program does not know.
        """
        if len(snapshot) < 2:
            msg = "snapshot of the judge is too short"
            raise ValueError(msg)
        (version,) = struct.unpack_from("<H", snapshot)
        if version != _VERSION:
            msg = f"snapshot of the judge has version {version}, this program reads {_VERSION}"
            raise ValueError(msg)
        judge = cls()
        try:
            judge._standing = msgspec.msgpack.decode(snapshot[2:], type=dict[str, _Standing])
        except msgspec.MsgspecError as error:
            msg = f"snapshot of the judge is damaged: {error}"
            raise ValueError(msg) from error
        return judge
