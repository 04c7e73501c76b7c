"""The step `judge` of one patient: findings in, alerts out. No engine, no clock but the log's."""

import struct
from collections.abc import Sequence

import msgspec

from dataflows._native import Answers, Command, Detection, Output, Reading
from dataflows.alerts.alert import Alert, State, alert_id
from dataflows.alerts.rules import RULES

_VERSION = 1

Event = Detection | Command | Reading | Answers


class _Episode(msgspec.Struct, array_like=True):
    """The last alert of a rule at a place: standing, or cleared and kept so that its transitions go on counting."""

    alert_id: str
    transition: int
    onset: int
    onset_ns: int
    signal: str
    standing: bool


class Judge:
    """The alerts of one patient.

    A condition that begins raises an alert, one that ends clears it; a second beginning of a standing condition is the
    same alert. So is one with the onset of the alert that was cleared last: a condition that flickers is raised again,
    with further transitions, because two messages must never share an identity. The leads of a device speak of one
    heart: the lead that raised an alert clears it, and the others add nothing while it stands. Which conditions may
    alert, and how urgently, is in `dataflows.alerts.rules`.
    """

    def __init__(self) -> None:
        self._episodes: dict[str, _Episode] = {}

    def on_output(self, output: Output) -> list[Alert]:
        """Takes what the step `signals` says of a list, also of one that held nothing but ticks."""
        events = output.events if output.has_events else ()
        return self.on_events(output.tenant, output.patient, events, output.log_ns)

    def on_events(self, tenant: str, patient: str, events: Sequence[Event], log_ns: int) -> list[Alert]:
        """Takes events in log order, then log time: it has come to `log_ns` when the last of them is over."""
        alerts = []
        for event in events:
            if isinstance(event, Command | Reading | Answers) or event.rule not in RULES or event.stored:
                continue
            alert = self._judge(tenant, patient, event)
            if alert is not None:
                alerts.append(alert)
        return alerts

    def _judge(self, tenant: str, patient: str, found: Detection) -> Alert | None:
        place = f"{found.rule}/{found.device}"
        episode = self._episodes.get(place)
        standing = episode is not None and episode.standing
        if found.raised == standing or (standing and episode is not None and episode.signal != found.signal):
            return None
        source = (found.device, found.boot, found.code or found.signal)
        name = alert_id(tenant, patient, found.rule, *source, found.onset)
        if found.raised and (episode is None or episode.alert_id != name):
            episode = self._episodes[place] = _Episode(
                name, 0, found.onset, found.onset_ns, found.signal, standing=True
            )
        elif episode is not None:
            episode.transition += 1
            episode.standing = found.raised
        else:
            return None
        rule = RULES[found.rule]
        evidence_from_ns, evidence_to_ns = found.evidence_ns
        return Alert(
            alert_id=episode.alert_id,
            transition=episode.transition,
            state=State.RAISED if found.raised else State.CLEARED,
            tenant=tenant,
            patient=patient,
            rule=found.rule,
            priority=rule.priority,
            device=found.device,
            boot=found.boot,
            signal=found.signal,
            code=found.code,
            onset=episode.onset,
            onset_ns=episode.onset_ns,
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
        """Version, and the last alert of each rule and place."""
        return struct.pack("<H", _VERSION) + msgspec.msgpack.encode(self._episodes)

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
            judge._episodes = msgspec.msgpack.decode(snapshot[2:], type=dict[str, _Episode])
        except msgspec.MsgspecError as error:
            msg = f"snapshot of the judge is damaged: {error}"
            raise ValueError(msg) from error
        return judge
