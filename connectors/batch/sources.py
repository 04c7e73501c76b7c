"""What there is to analyse: recordings in files and folders, patients in a data lake; and each as a log."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from connectors.devices.load import load, signal_selection
from connectors.devices.plan import CLOSING_TICK_S, Log, Plan
from connectors.devices.recording import Recording, RecordingError
from connectors.devices.replay import merged
from connectors.gateway.vocabulary import CODES, UCUM
from connectors.lake.read import current, scan
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import signal_of
from dataflows.monitor.patient import Entry

_CLOSING_NS = CLOSING_TICK_S * 1_000_000_000


@dataclass(frozen=True)
class Recorded:
    """A recording in files.

    Attributes:
        path: WFDB record or numerics.
        signals: Which signals, as on the command line; None for all.
        duration_s: Only the first seconds; None for all.
        start_ns: Time of its begin, ns since 1970.
    """

    path: Path
    signals: str | None
    duration_s: float | None
    start_ns: int

    @property
    def name(self) -> str:
        """For people."""
        return self.path.name

    def read(self) -> Recording:
        """Reads it.

        Raises:
            RecordingError: It cannot be read.
        """
        recording = load(self.path, signal_selection(self.signals) if self.signals else None)
        return recording if self.duration_s is None else recording.cut(self.duration_s)

    def log(self) -> Iterator[Entry]:
        """Yields the log that a replay of it would give, and a tick at its end."""
        yield from entries(Plan([self.read()], speed=0, start_ns=self.start_ns), self.start_ns)


@dataclass(frozen=True)
class Archived:
    """A patient in a data lake."""

    root: Path
    tenant: str
    patient: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.tenant}/{self.patient}"

    def log(self) -> Iterator[Entry]:
        """Yields the frames as they came, and a tick at their end.

        Frames are made again from their rows: `log_ns` is the live one, `log_seq` counts from 1, by
        name where signals share a log time (the live log has a time for each message). Commands are no frames: limits
        are those of the rules.
        """
        frames = sorted(self._waves() + self._readings(), key=lambda frame: frame[:4])
        number = log_ns = 0
        for number, (log_ns, device, signal, _, payload) in enumerate(frames, 1):
            yield f"vp.0.{self.tenant}.{self.patient}.{device}.{signal}".encode(), number, log_ns, payload
        yield b"", number + 1, log_ns + _CLOSING_NS, b""

    def _rows(self, table: str) -> pl.DataFrame:
        mine = (pl.col("tenant") == self.tenant) & (pl.col("patient") == self.patient)
        return scan(self.root, table).filter(mine).collect()

    def _frame(self, row: dict[str, object]) -> pb.Frame:
        wanted = {"boot": "boot_id", "seq": "seq", "first_sample": "first_sample", "device_ns": "device_ns"}
        numbers = {field: row[column] for column, field in wanted.items()}
        return pb.Frame(
            version=1,
            tenant=self.tenant,
            patient=self.patient,
            device=str(row["device"]),
            signal=signal_of(str(row["signal"])),
            stored=bool(row["stored"]),
            **numbers,  # type: ignore[arg-type]
        )

    def _waves(self) -> list[tuple[int, str, str, int, bytes]]:
        found = []
        for row in self._rows("waveforms").iter_rows(named=True):
            frame = self._frame(row)
            frame.waveform.fs_mhz = round(row["fs_hz"] * 1000)
            frame.waveform.lsb = row["lsb"]
            frame.waveform.status = row["status"] or 0
            frame.waveform.samples = pl.Series(row["samples"], dtype=pl.Int16).to_numpy().astype("<i2").tobytes()
            found.append((row["log_ns"], row["device"], row["signal"], row["seq"], frame.SerializeToString()))
        return found

    def _readings(self) -> list[tuple[int, str, str, int, bytes]]:
        rows = self._rows("observations").sort("first_sample", "ts", maintain_order=True)
        found = []
        for _, group in rows.group_by(["device", "boot", "signal", "seq"], maintain_order=True):
            first = group.row(0, named=True)
            frame = self._frame(first)
            frame.averaging_s = first["averaging_s"] or 0.0
            for row in group.iter_rows(named=True):
                # The clock's correction is the same for all readings of a frame; the first one is its time.
                offset_ms = (row["ts"] - first["ts"]).total_seconds() * 1000
                frame.observations.items.add(
                    code=CODES[row["code"]],
                    value=float("nan") if row["value"] is None else row["value"],
                    unit=UCUM[row["unit"]],
                    quality_pct=row["quality_pct"] or 0,
                    offset_ms=round(offset_ms),
                    status=row["status"] or 0,
                )
            found.append((first["log_ns"], first["device"], first["signal"], first["seq"], frame.SerializeToString()))
        return found


Source = Recorded | Archived


def entries(plan: Plan, now_ns: int) -> Iterator[Entry]:
    """Yields the log that a replay of a plan would give, and a tick at its end."""
    number = log_ns = 0
    for number, publication in enumerate(merged(plan.replays(Log(True, 1, 0), now_ns)), 1):
        log_ns = publication.log_ns
        yield publication.subject.encode(), number, log_ns, publication.payload
    yield b"", number + 1, log_ns + _CLOSING_NS, b""


def is_lake(path: Path) -> bool:
    """Whether a folder is a data lake."""
    return any(current(path, table) for table in ("waveforms", "observations"))


def patients(root: Path) -> list[Archived]:
    """Returns every patient of a data lake."""
    frames = [
        scan(root, table).select("tenant", "patient").unique().collect() for table in ("waveforms", "observations")
    ]
    return [Archived(root, *row) for row in sorted(set(pl.concat(frames).iter_rows()))]


def recordings_in(path: Path) -> list[Path]:
    """Returns the recordings of a folder and the folders in it: WFDB records and tables of numerics.

    Raises:
        RecordingError: There are none.
    """
    records = [header.with_suffix("") for header in path.rglob("*.hea")]
    found = sorted(records + list(path.rglob("*.csv")))
    if not found:
        message = f"{path} holds no WFDB record, no numerics (.csv) and no data lake"
        raise RecordingError(message)
    return found
