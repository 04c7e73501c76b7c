"""The rules that may alert: priority, unit and text, by the stable names that the detectors use.

Priorities follow IEC 60601-1-8's table of harm and onset; definitions of the arrhythmias are those of the
PhysioNet/CinC Challenge 2015, limits of SpO2 those of common monitors (see docs/architecture.md).
"""

from dataclasses import dataclass

from dataflows.alerts.alert import Priority


@dataclass(frozen=True)
class Rule:
    """How a finding of this name is announced."""

    priority: Priority
    unit: str
    text: str


RULES: dict[str, Rule] = {
    "asystole": Rule(Priority.HIGH, "s", "No QRS complex for at least 4 s"),
    "extreme_bradycardia": Rule(Priority.HIGH, "/min", "Heart rate below 40/min over 5 beats"),
    "extreme_tachycardia": Rule(Priority.HIGH, "/min", "Heart rate above 140/min over 17 beats"),
    "ventricular_tachycardia": Rule(Priority.HIGH, "/min", "Five ventricular beats in a row above 100/min"),
    "ventricular_fibrillation": Rule(Priority.HIGH, "s", "Fibrillatory waveform for at least 4 s"),
    "pause": Rule(Priority.MEDIUM, "s", "No QRS complex for at least 3 s"),
    "atrial_fibrillation": Rule(Priority.MEDIUM, "s", "Atrial fibrillation by irregular intervals"),
    "bradycardia": Rule(Priority.MEDIUM, "/min", "Heart rate below its limit"),
    "tachycardia": Rule(Priority.MEDIUM, "/min", "Heart rate above its limit"),
    "spo2_desaturation": Rule(Priority.LOW, "%", "SpO2 fell by at least 3 points"),
    "spo2_below_90": Rule(Priority.MEDIUM, "%", "SpO2 below 90 % for 30 s"),
    "spo2_below_85": Rule(Priority.HIGH, "%", "SpO2 below 85 % for 10 s"),
}
