"""The golden frames, as code: what tests/vectors/ must hold. `python -m tests.contracts.vectors` writes new ones."""

import json
from pathlib import Path

import numpy as np
from google.protobuf import json_format

from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import (
    INVALID_SAMPLE,
    NumericFramer,
    Origin,
    Reading,
    WaveFramer,
    command_frame,
    message_id,
    questionnaire_frame,
    subject_of,
)

FOLDER = Path(__file__).parents[1] / "vectors"
START_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z."""
UNKNOWN_FIELD = bytes.fromhex("aa4b086e6f742079657421")
"""Field 1205, bytes `not yet!`: what a later version of the contract may add."""


def wave(signal: pb.Signal, fs_mhz: int, lsb: float, n: int, *, status: int = 0, stored: bool = False) -> pb.Frame:
    """A short frame (a real one lasts a second) in the middle of a run: seq 7."""
    origin = Origin("p0042", "patch7", boot_id=3)
    framer = WaveFramer(origin, signal, fs_mhz, lsb, START_NS, seq=7, next_sample=7 * fs_mhz // 1000)
    phase = np.arange(n) * (2 * np.pi / n)
    samples = np.rint(1000 * np.sin(phase)).astype(np.int16)
    samples[1] = INVALID_SAMPLE if status else -1
    return framer.frame(samples, status=status, stored=stored)


def spo2() -> pb.Frame:
    """One saturation with its quality."""
    framer = NumericFramer(Origin("p0042", "oxi-1", boot_id=1), averaging_s=4.0, seq=60, next_observation=60)
    return framer.frame([Reading(pb.CODE_SPO2, 97.0, pb.UNIT_PERCENT, quality_pct=88)], START_NS + 60_000_000_000)


def blood_pressure() -> pb.Frame:
    """Systolic, diastolic and mean of one measurement, 1.5 s after the frame's time."""
    framer = NumericFramer(Origin("p0042", "cuff-2", boot_id=12, tenant="ward7"), seq=2, next_observation=6)
    values = ((pb.CODE_SBP, 121.0), (pb.CODE_DBP, 78.0), (pb.CODE_MAP, 92.5))
    return framer.frame([Reading(code, value, pb.UNIT_MM_HG, offset_ms=1500) for code, value in values], START_NS)


def frames() -> dict[str, tuple[str, pb.Frame]]:
    """Name, what it shows, frame."""
    answers = questionnaire_frame(
        Origin("p0042", "phone", boot_id=1),
        "phq_2",
        [("interest", 1.0), ("mood", 0.0)],
        seq=4,
        device_ns=START_NS,
        instrument_version="1.0",
    )
    command = command_frame(
        "p0042",
        "acknowledge",
        actor="nurse-17",
        idempotency_key="01JGFJJZ00",
        argument_json='{"alert_id":"5b0e7b7e-3f0a-5f0e-9a53-0f4a3c1f8a55"}',
        device_ns=START_NS,
    )
    return {
        "ecg_ii": ("ECG lead II at 250 Hz, 0.005 mV a count", wave(pb.SIGNAL_ECG_II, 250_000, 0.005, 25)),
        "pleth": ("Plethysmogram at 125 Hz", wave(pb.SIGNAL_PLETH, 125_000, 1.0, 12)),
        "abp": ("Arterial pressure at 125 Hz, 0.0625 mmHg a count", wave(pb.SIGNAL_ABP, 125_000, 0.0625, 12)),
        "odd_rate": ("Respiration at 62.4725 Hz: 62472 mHz", wave(pb.SIGNAL_RESP, 62_472, 1.0, 6)),
        "lead_off": (
            "Electrode off: status bits 1 (lead off) and 2 (motion), an invalid sample (-32768)",
            wave(pb.SIGNAL_ECG_V1, 250_000, 0.005, 25, status=pb.STATUS_LEAD_OFF | pb.STATUS_MOTION),
        ),
        "stored": ("Kept on the device, uploaded later", wave(pb.SIGNAL_ECG, 128_000, 0.0024, 13, stored=True)),
        "spo2": ("One SpO2 reading, averaged over 4 s, quality 88 %", spo2()),
        "blood_pressure": (
            "Three codes of one measurement, in tenant ward7, 1.5 s after the frame's time",
            blood_pressure(),
        ),
        "questionnaire": ("Two answers of a questionnaire", answers),
        "command": ("A command of a person: device `control`, no signal", command),
        "unknown_field": (
            "A frame of a later version: field 1205 is ignored, and survives decoding and encoding where that is done",
            pb.Frame.FromString(spo2().SerializeToString(deterministic=True) + UNKNOWN_FIELD),
        ),
    }


def describe(what: str, frame: pb.Frame) -> dict[str, object]:
    """The vector's JSON: where it is published and its fields in Protobuf's canonical JSON, samples as numbers too."""
    fields = json_format.MessageToDict(frame, preserving_proto_field_name=True)
    description: dict[str, object] = {
        "what": what,
        "subject": subject_of(frame),
        "message_id": message_id(frame),
        "frame": fields,
    }
    if frame.WhichOneof("body") == "waveform":
        description["samples"] = np.frombuffer(frame.waveform.samples, "<i2").tolist()
    return description


def hex_lines(payload: bytes) -> str:
    """Payload as hex, 32 bytes a line."""
    text = payload.hex()
    return "".join(f"{text[start : start + 64]}\n" for start in range(0, len(text), 64))


def main() -> None:
    """Writes every vector."""
    FOLDER.mkdir(exist_ok=True)
    for name, (what, frame) in frames().items():
        payload = frame.SerializeToString(deterministic=True)
        (FOLDER / f"{name}.hex").write_text(hex_lines(payload))
        (FOLDER / f"{name}.json").write_text(json.dumps(describe(what, frame), indent=2) + "\n")


if __name__ == "__main__":
    main()
