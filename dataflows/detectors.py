"""The streaming detectors: state in, samples in, events out; no I/O and no clock.

All of them are written in Rust, keep bounded memory, give the same events however a stream is cut, and carry their
state over a restart by `snapshot()` and `restore()`.
"""

from dataflows._native import (
    BankOutput,
    Desaturation,
    DesaturationDetector,
    LeadOutput,
    QrsBank,
    QrsDetector,
    SpO2Alarm,
    SpO2Bank,
    SpO2Indices,
    SpO2Limits,
    SpO2Series,
)

__all__ = [
    "BankOutput",
    "Desaturation",
    "DesaturationDetector",
    "LeadOutput",
    "QrsBank",
    "QrsDetector",
    "SpO2Alarm",
    "SpO2Bank",
    "SpO2Indices",
    "SpO2Limits",
    "SpO2Series",
]
