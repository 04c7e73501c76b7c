"""A patient's waves and our annotations as WFDB files, which any WFDB tool opens.

https://wfdb.readthedocs.io, header-5, annot-5. One record for each sampling rate, 16-bit (format 16), counts as the
device sent them; what was not recorded or is invalid is -32768, WFDB's own mark for it. Annotators: `qrs` (beats, by
channel) and `alr` (alerts, comments on the first channel).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.export.record import ExportError, PatientRecord
from connectors.lake.rows import INVALID

MOST_SAMPLES = 500_000_000
"""Of a channel: beyond it the span is refused instead of filling the memory with gaps."""
_SYMBOLS = {"normal": "N", "ventricular": "V", "paced": "/"}
_US = 1000


@dataclass(frozen=True)
class Channel:
    """One signal of a record.

    Attributes:
        device: Which device sent it.
        signal: Signal of the contract.
        lsb: Physical units per count.
        counts: int16, 1-D, from the record's start on.
        places: Frames of it: boot, first_sample, samples, index of the first sample in `counts`.
    """

    device: str
    signal: str
    lsb: float
    counts: npt.NDArray[np.int16]
    places: pl.DataFrame


@dataclass(frozen=True)
class WfdbRecord:
    """Channels of one rate, in time.

    Attributes:
        name: Of the record.
        fs_hz: Sampling rate.
        start_ns: Time of index 0, a whole microsecond, since the header has no finer time.
        channels: In the order of their names.
    """

    name: str
    fs_hz: float
    start_ns: int
    channels: tuple[Channel, ...]


def layout(record: PatientRecord) -> list[WfdbRecord]:
    """Places every frame of a patient's waves on the sample grid of its rate.

    A frame that goes on where the one before it ended does so here, too, however its clock was corrected by less than
    half a sample; any other is placed by its time, rounded to the nearest sample.

    Raises:
        ExportError: The span is longer than memory.
    """
    found = []
    for (fs_hz,), frames in sorted(record["waveforms"].group_by(["fs_hz"]), key=lambda group: float(group[0][0])):
        start_ns = int(frames["ts"].cast(pl.Int64).min()) // _US * _US  # type: ignore[arg-type]
        by_channel = sorted(frames.group_by(["signal", "device", "lsb"]), key=lambda group: str(group[0]))
        channels = tuple(_channel(part, float(fs_hz), start_ns) for _, part in by_channel)
        longest = max(channel.counts.size for channel in channels)
        padded = tuple(
            Channel(one.device, one.signal, one.lsb, _pad(one.counts, longest), one.places) for one in channels
        )
        name = f"{record.patient}_{fs_hz:g}hz".replace(".", "_").replace("-", "_")
        found.append(WfdbRecord(name, float(fs_hz), start_ns, padded))
    return found


def _channel(frames: pl.DataFrame, fs_hz: float, start_ns: int) -> Channel:
    frames = frames.sort("boot", "first_sample", "ts")
    starts: list[int] = []
    before: tuple[int, int, int] | None = None  # boot, next sample, next index
    for ts, boot, first, length in frames.select(
        pl.col("ts").cast(pl.Int64), "boot", "first_sample", pl.col("samples").list.len()
    ).iter_rows():
        index = round((ts - start_ns) * fs_hz / 1e9)
        if before is not None and before[:2] == (boot, first) and abs(index - before[2]) <= 1:
            index = before[2]
        starts.append(index)
        before = (boot, first + length, index + length)
    places = frames.select("boot", "first_sample", pl.col("samples").list.len().alias("length"))
    places = places.with_columns(pl.Series("index", starts, pl.Int64))
    end = int((places["index"] + places["length"].cast(pl.Int64)).max() or 0)  # type: ignore[arg-type]
    if end > MOST_SAMPLES:
        message = f"{end} samples of {frames['signal'][0]}: export a shorter span"
        raise ExportError(message)
    counts = np.full(end, INVALID, np.int16)
    for index, samples in zip(starts, frames["samples"], strict=True):
        counts[index : index + len(samples)] = samples.to_numpy()
    row = frames.row(0, named=True)
    return Channel(row["device"], row["signal"], row["lsb"], counts, places)


def _pad(counts: npt.NDArray[np.int16], length: int) -> npt.NDArray[np.int16]:
    return np.concatenate([counts, np.full(length - counts.size, INVALID, np.int16)])


def channel_names(record: WfdbRecord) -> list[str]:
    """Returns the signals' names, with the device where several devices send the same one."""
    signals = [channel.signal for channel in record.channels]
    return [
        channel.signal if signals.count(channel.signal) == 1 else f"{channel.signal} {channel.device}"
        for channel in record.channels
    ]


def write_wfdb(record: PatientRecord, folder: Path) -> list[Path]:
    """Writes a patient's waves with annotations; returns the header files.

    Raises:
        ExportError: There are no waves, or the span is too long.
    """
    records = layout(record)
    if not records:
        message = f"{record.patient} has no waves in this span"
        raise ExportError(message)
    import wfdb  # noqa: PLC0415  (half of the command line's start-up time)

    folder.mkdir(parents=True, exist_ok=True)
    for one in records:
        wfdb.wrsamp(
            one.name,
            fs=one.fs_hz,
            units=["mV" if channel.signal.startswith("ecg") else "NU" for channel in one.channels],
            sig_name=channel_names(one),
            d_signal=np.stack([channel.counts for channel in one.channels], axis=1),
            fmt=["16"] * len(one.channels),
            adc_gain=[1.0 / channel.lsb for channel in one.channels],
            baseline=[0] * len(one.channels),
            base_datetime=datetime.fromtimestamp(one.start_ns / 1e9, UTC).replace(tzinfo=None),
            comments=[
                f"patient {record.patient} of {record.tenant}; times are UTC; start_ns {one.start_ns}",
                *(f"{channel.signal}: device {channel.device}, lsb {channel.lsb!r}" for channel in one.channels),
            ],
            write_dir=str(folder),
        )
        _annotate(wfdb, record, one, folder)
    return [folder / f"{one.name}.hea" for one in records]


def _annotate(wfdb: Any, record: PatientRecord, one: WfdbRecord, folder: Path) -> None:
    beats = [
        (index, channel, _SYMBOLS.get(label, "Q"))
        for channel, found in enumerate(one.channels)
        for index, label in _beats(record["beats"], found)
    ]
    if beats:
        beats.sort()
        index, channels, symbols = (list(column) for column in zip(*beats, strict=True))
        wfdb.wrann(
            one.name, "qrs", np.array(index), symbols, chan=np.array(channels), fs=one.fs_hz, write_dir=str(folder)
        )
    length = one.channels[0].counts.size
    alerts = [
        (math.floor((onset - one.start_ns) * one.fs_hz / 1e9), f"{event} {priority} {rule}")
        for onset, event, priority, rule in record["alerts"].select("onset_ns", "event", "priority", "rule").iter_rows()
        if event == "raised"
    ]
    inside = sorted((index, note) for index, note in alerts if 0 <= index < length)
    if inside:
        places, notes = np.array([index for index, _ in inside]), [note for _, note in inside]
        symbols = ['"'] * len(inside)
        wfdb.wrann(one.name, "alr", places, symbols, aux_note=notes, fs=one.fs_hz, write_dir=str(folder))


def _beats(beats: pl.DataFrame, channel: Channel) -> Iterator[tuple[int, str]]:
    """Beats of a channel as index and label: a beat lies in the frame that holds its sample."""
    mine = beats.filter(pl.col("device") == channel.device, pl.col("signal") == channel.signal).sort("sample_index")
    places = channel.places.sort("first_sample")
    joined = mine.join_asof(places, left_on="sample_index", right_on="first_sample", by="boot", check_sortedness=False)
    inside = joined.with_columns(offset=pl.col("sample_index") - pl.col("first_sample")).filter(
        pl.col("offset") < pl.col("length")
    )
    for index, offset, label in inside.select("index", "offset", "label").iter_rows():
        yield index + offset, label or ""
