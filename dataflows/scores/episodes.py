"""Findings of a scorer: where each came from, and which conditions of the patient hold."""

import math
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
    """A condition that holds: which source began it, and what was said last."""

    source: int
    onset_ns: int
    value: float
    severe: bool = False


class Episodes(msgspec.Struct, array_like=True):
    """The conditions of one scorer (or one device of it) that hold, by rule.

    A condition is told when it begins, when its value changes, and when it ends. All findings of an episode carry the
    device and the onset of its beginning, so that they belong to one alert whatever sensor decided.

    Attributes:
        standing: What holds.
        sources: Device, boot and signal that began some of it: once each, because names are long.
    """

    standing: dict[str, Episode] = {}
    sources: list[tuple[str, int, str]] = []

    def holds(self, rule: str) -> bool:
        """Whether the condition holds."""
        return rule in self.standing

    def end_all(self, anchor: Anchor, code: str) -> list[Finding]:
        """Ends what holds: nobody follows its source any more."""
        return [
            finding
            for rule, one in sorted(self.standing.items())
            for finding in self.tell(rule, holds=False, anchor=anchor, value=one.value, limit=math.nan, code=code)
        ]

    def tell(
        self,
        rule: str,
        holds: bool,
        anchor: Anchor,
        *,
        value: float,
        limit: float,
        code: str,
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
            onset_ns: Event time of the beginning, where it lies before the deciding message.
            severe: The condition is at the rule's severe level.
            details: Particulars for people.
        """
        episode = self.standing.get(rule)
        if episode is None:
            if not holds:
                return []
            episode = self.standing[rule] = self._begun(anchor, onset_ns, value)
        elif holds and episode.value == value and episode.severe == severe:
            return []
        # As a float, also where points were counted: a snapshot of what was restored is the same bytes.
        episode.value, episode.severe = float(value), severe
        device, boot, signal = self.sources[episode.source]
        if not holds:
            del self.standing[rule]
            self._forget_sources()
        return [
            Finding(
                rule=rule,
                raised=holds,
                device=device,
                boot=boot,
                signal=signal,
                seq=anchor.seq,
                code=code,
                onset=episode.onset_ns,
                onset_ns=episode.onset_ns,
                value=episode.value,
                limit=float(limit),
                evidence_ns=(episode.onset_ns, max(episode.onset_ns, anchor.ts_ns)),
                sample_ns=anchor.ts_ns,
                log_seq=anchor.log_seq,
                log_ns=anchor.log_ns,
                severe=severe,
                details=details,
            )
        ]

    def _begun(self, anchor: Anchor, onset_ns: int | None, value: float) -> Episode:
        return Episode(self._source(anchor), anchor.ts_ns if onset_ns is None else onset_ns, value)

    def _source(self, anchor: Anchor) -> int:
        source = (anchor.device, anchor.boot, anchor.signal)
        if source not in self.sources:
            self.sources.append(source)
        return self.sources.index(source)

    def _forget_sources(self) -> None:
        used = sorted({one.source for one in self.standing.values()})
        self.sources = [self.sources[place] for place in used]
        for one in self.standing.values():
            one.source = used.index(one.source)
