"""Findings of a scorer: where each came from, and which conditions of the patient hold."""

from typing import Any

import msgspec

from dataflows.alerts.finding import AnyAnswers, AnyReading, Finding

LEAD_OFF, MOTION = 1, 2
"""Bits of `Status` in vitals.proto."""


def usable(reading: AnyReading) -> bool:
    """Whether a live score may rest on it: it has a value, came in time, with the sensor on and still."""
    return reading.value == reading.value and not reading.stored and not reading.status & (LEAD_OFF | MOTION)


class Anchor(msgspec.Struct, frozen=True, array_like=True):
    """The message that decided something. Times are ns since 1970, UTC."""

    device: str
    boot: int
    signal: str
    seq: int
    ts_ns: int
    log_seq: int
    log_ns: int

    @classmethod
    def of(cls, event: "AnyReading | AnyAnswers") -> "Anchor":
        """The anchor of an event."""
        return cls(event.device, event.boot, event.signal, event.seq, event.ts_ns, event.log_seq, event.log_ns)

    def at(self, log_ns: int) -> "Anchor":
        """The same message at a deadline that it armed."""
        return msgspec.structs.replace(self, log_ns=log_ns)


class Episode(msgspec.Struct, array_like=True):
    """A condition that holds: the message that began it, and what was said last."""

    anchor: Anchor
    onset_ns: int
    value: float
    severe: bool = False

    def finding(
        self, rule: str, holds: bool, anchor: Anchor, *, code: str, limit: float, details: dict[str, Any] | None
    ) -> Finding:
        """What is told now: of the device and onset that began it, decided by `anchor`."""
        return Finding(
            rule=rule,
            raised=holds,
            device=self.anchor.device,
            boot=self.anchor.boot,
            signal=self.anchor.signal,
            seq=anchor.seq,
            code=code,
            onset=self.onset_ns,
            onset_ns=self.onset_ns,
            value=self.value,
            limit=limit,
            evidence_ns=(self.onset_ns, max(self.onset_ns, anchor.ts_ns)),
            sample_ns=anchor.ts_ns,
            log_seq=anchor.log_seq,
            log_ns=anchor.log_ns,
            severe=self.severe,
            details=details,
        )


class Episodes(msgspec.Struct, array_like=True):
    """The conditions of one scorer that hold, by rule (and device where a rule is a device's).

    A condition is told when it begins, when its value changes, and when it ends. All findings of an episode carry the
    device and the onset of its beginning, so that they belong to one alert whatever sensor decided.
    """

    standing: dict[str, Episode] = {}

    def holds(self, rule: str, place: str = "") -> bool:
        """Whether the condition holds."""
        return f"{rule}/{place}" in self.standing

    def tell(
        self,
        rule: str,
        holds: bool,
        anchor: Anchor,
        *,
        value: float,
        limit: float,
        code: str,
        place: str = "",
        onset_ns: int | None = None,
        severe: bool = False,
        details: dict[str, Any] | None = None,
    ) -> list[Finding]:
        """Takes what is true now; answers with a finding if that is new.

        Args:
            rule: Stable name.
            holds: Whether the condition holds now.
            anchor: Message that decided.
            value: What was measured or scored.
            limit: What it was compared with.
            code: Code of the observation, or name of the score or instrument.
            place: Device, where several may be in the condition at once.
            onset_ns: Event time of the beginning, where it lies before the deciding message.
            severe: The condition is at the rule's severe level.
            details: Particulars for people.
        """
        key = f"{rule}/{place}"
        episode = self.standing.get(key)
        if episode is None:
            if not holds:
                return []
            begun = anchor.ts_ns if onset_ns is None else onset_ns
            episode = self.standing[key] = Episode(anchor, begun, float(value), severe)
        elif not holds:
            del self.standing[key]
        elif episode.value == value and episode.severe == severe:
            return []
        # As a float, also where points were counted: a snapshot of what was restored is the same bytes.
        episode.value, episode.severe = float(value), severe
        return [episode.finding(rule, holds, anchor, code=code, limit=float(limit), details=details)]
