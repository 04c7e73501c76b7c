"""Limits of the detectors by command, rows that detectors derive, and an oximeter that falls silent."""

import json
from collections.abc import Iterable

import numpy as np

from dataflows._native import Messages, Signals, Validator, check_threshold
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import (
    NumericFramer,
    Origin,
    Reading,
    WaveFramer,
    command_frame,
    subject_of,
)
from dataflows.contracts.tables import TABLES

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
FS = 250


def beats(seconds: int, rate_bpm: float) -> np.ndarray:
    """A lead with this many beats a minute, whose size goes up and down 15 times a minute with the breath."""
    time_s = np.arange(seconds * FS) / FS
    phase = (time_s * rate_bpm / 60) % 1.0
    breath = 1.0 + 0.15 * np.sin(2 * np.pi * time_s * 15 / 60)
    noise = np.random.default_rng(1).normal(0, 0.01, time_s.size)
    return ((breath * np.exp(-((phase - 0.5) ** 2) / 0.0004) + noise) * 200).astype(np.int16)


class Ward:
    """Builds a patient's log second by second, runs it, and keeps what came out."""

    def __init__(self) -> None:
        self.signals, self.validator = Signals(), Validator()
        self.ecg = WaveFramer(Origin("p1", "patch"), pb.SIGNAL_ECG_II, FS * 1000, 0.005, START_NS)
        self.oximeter = NumericFramer(Origin("p1", "oximeter"))
        self.second = 0
        self.sequence = 0
        self.rows: dict[str, list[tuple]] = {}
        self.raised: list[tuple[str, float, dict[str, float]]] = []

    def send(self, subject: bytes, payload: bytes, late_ns: int = 20_000_000) -> None:
        self.sequence += 1
        log_ns = START_NS + (self.second + 1) * SECOND_NS + late_ns
        messages = Messages.build([(subject, self.sequence, log_ns, payload)])
        items, rejects = self.validator.check("main/p1", messages)
        assert not rejects
        output = self.signals.on_items(items)
        for table, rows in output.rows():
            self.rows.setdefault(table, []).extend(rows)
        for event in output.events:
            if type(event).__name__ == "Detection" and event.raised:
                self.raised.append((event.rule, event.limit, event.details))
        self.signals = Signals.restore(self.signals.snapshot())

    def frame(self, frame: pb.Frame) -> None:
        self.send(subject_of(frame).replace("vitals.v1.", "vp.0.").encode(), frame.SerializeToString())

    def hear(self, counts: np.ndarray, spo2: Iterable[float | None]) -> None:
        """A second of ECG and a saturation for each; None sends another reading in its place."""
        for number, value in enumerate(spo2):
            self.frame(self.ecg.frame(counts[number * FS : (number + 1) * FS]))
            code, unit = (pb.CODE_SPO2, pb.UNIT_PERCENT) if value is not None else (pb.CODE_PULSE_RATE, pb.UNIT_PER_MIN)
            reading = Reading(code, 70.0 if value is None else value, unit)
            self.frame(self.oximeter.frame([reading], START_NS + self.second * SECOND_NS))
            self.second += 1

    def command(self, name: str, key: str, **argument: object) -> int:
        command = command_frame("p1", name, actor="nurse", idempotency_key=key, argument_json=json.dumps(argument))
        subject = f"vp.0.main.p1.control.{name}".encode()
        self.send(subject, command.SerializeToString(), late_ns=30_000_000)
        return self.sequence

    def rules(self) -> list[str]:
        return [rule for rule, _, _ in self.raised]


def test_a_command_moves_a_limit_from_there_on_and_says_so_in_the_evidence() -> None:
    ward, counts = Ward(), beats(120, 105.0)
    ward.hear(counts[: 60 * FS], [97.0] * 60)
    assert ward.raised == []
    version = ward.command("threshold", "k1", rule="tachycardia", limit=100)
    ward.command("threshold", "k1", rule="tachycardia", limit=250)  # the same key: no second effect
    ward.hear(counts[60 * FS :], [97.0] * 60)
    rule, limit, details = ward.raised[0]
    assert (rule, limit, details["limits_version"]) == ("tachycardia", 100.0, version)
    assert details["beats"] == 13
    assert details["quality"] > 0.8
    assert ward.rules() == ["tachycardia"]


def test_the_copd_profile_moves_the_range_and_a_chosen_limit_stays() -> None:
    usual, copd, chosen = Ward(), Ward(), Ward()
    copd.command("profile", "1", profile="copd")
    chosen.command("threshold", "1", rule="spo2_below_90", limit=93, delay_s=5)
    chosen.command("profile", "2", profile="copd")
    for ward in (usual, copd, chosen):
        ward.hear(beats(60, 70.0), [89.0] * 60)
        ward.hear(beats(60, 70.0), [91.0] * 60)
    assert "spo2_below_90" in usual.rules()
    assert copd.rules() == []
    assert [(rule, limit) for rule, limit, _ in chosen.raised if rule == "spo2_below_90"] == [("spo2_below_90", 93.0)]
    copd.hear(beats(360, 70.0), [97.0] * 360)
    assert copd.rules() == ["spo2_above_target"]


def test_what_cannot_be_kept_changes_nothing() -> None:
    assert check_threshold('{"rule": "spo2_below_90", "limit": 86, "delay_s": 30}') is None
    for argument in ("", "null", '{"rule": "spo2_below_90"}', '{"rule": "hr_high", "limit": 3}'):
        assert check_threshold(argument)
    refused = check_threshold('{"rule": "asystole", "limit": 60}')
    assert refused == "limit of asystole must be between 2 and 10, not 60"
    ward = Ward()
    ward.command("threshold", "1", rule="asystole", limit=60)
    ward.hear(np.concatenate([beats(20, 70.0), np.zeros(10 * FS, np.int16)]), [97.0] * 30)
    assert "asystole" in ward.rules()


def test_rates_variability_and_indices_are_rows_of_derived() -> None:
    ward = Ward()
    falls = [97.0 - 5.0 * max(0.0, 1 - abs(second % 100 - 50) / 20) for second in range(660)]
    ward.hear(beats(660, 75.0), falls)
    columns = [name for name, _ in TABLES["derived"].columns]
    found: dict[str, list[dict]] = {}
    for row in ward.rows["derived"]:
        named = dict(zip(columns, row, strict=True))
        found.setdefault(f"{named['scope']} {named['code']}", []).append(named)
    rates = found["window heart_rate"]
    assert len(rates) >= 64
    assert all(abs(row["value"] - 75.0) < 1.5 for row in rates[2:])
    assert len(found["window sdnn"]) == 2
    assert found["window sdnn"][0]["value"] < 10.0
    assert all(abs(row["value"] - 15.0) < 1.5 for row in found["window ecg_resp_rate"])
    assert len(found["window ecg_resp_rate"]) >= 8
    odi = found["hour odi3"][0]
    assert (odi["window_s"], odi["quality"]) == (600.0, 1.0)
    assert abs(odi["value"] - 36.0) <= 6.0  # one fall in 100 s
    assert found["hour t90"][0]["value"] == 0.0


def test_an_oximeter_that_falls_silent_beside_a_living_device_is_a_technical_alarm() -> None:
    ward = Ward()
    ward.hear(beats(80, 70.0), [97.0] * 20 + [None] * 60)
    assert ward.rules() == ["spo2_no_data"]
