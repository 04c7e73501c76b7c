"""Draws one induced desaturation as its oximeters showed it, with events and alarms."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.oximetry_data import UW_OXIMETERS, Recording
from dataflows.detectors import SpO2Series


def plot(found: list[Recording], path: Path) -> None:
    """Writes the picture; the first recorded subject, or the first recording where there is none."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    subject = next((one.name.rsplit("/", 1)[0] for one in found if one.group == "uw_hypoxemia"), None)
    chosen = [one for one in found if subject and one.name.startswith(subject)] or found[:1]
    figure, axes = pyplot.subplots(len(chosen), 1, figsize=(10, 2.2 * len(chosen)), sharex=True, squeeze=False)
    for axis, recording in zip(axes[:, 0], chosen, strict=True):
        series = SpO2Series(recording.fs_hz)
        events, alarms = series.push(recording.values)
        events += series.flush()[0]
        second = np.arange(len(recording.values)) / recording.fs_hz
        inside = (recording.values >= 50) & (recording.values <= 100)
        axis.plot(second, np.where(inside, recording.values, np.nan), color="black", linewidth=0.8)
        for event in events:
            if event.kind != "provisional":
                axis.axvspan(event.onset_s, event.end_s, color="tab:blue", alpha=0.15)
        for alarm in alarms:
            if alarm.raised and alarm.rule != "spo2_no_data":
                axis.axvline(alarm.decided_s, color="tab:red", linewidth=0.8)
                axis.text(alarm.decided_s, 99, alarm.rule.removeprefix("spo2_"), rotation=90, fontsize=6, va="top")
        name = recording.name.rsplit("/", 1)[-1]
        axis.set_title(UW_OXIMETERS.get(name.replace("oximeter_", "SpO2 "), name), fontsize=8, loc="left")
        axis.set_ylabel("SpO2, %")
        axis.set_ylim(60, 101)
    axes[-1, 0].set_xlabel("s")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
