"""A ward of recorded patients as load: ECG at 250 Hz and SpO2 at 1 Hz each, from the sample in this repository.

Records at other rates are resampled; each patient starts at another place of the records, and they loop. Run as a
program it publishes in real time, every patient's second at its own moment:
`python bench/traffic.py --patients 100 --seconds 60`.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import wfdb
from scipy.signal import resample_poly

from connectors.jetstream import native_options
from dataflows._native import Publisher
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import message_id, subject_of
from dataflows.settings import Settings

SAMPLE = Path(__file__).parents[1] / "connectors" / "devices" / "sample"
FS_HZ = 250
LSB_MV = 0.005
NS = 1_000_000_000
Message = tuple[str, list[tuple[str, str]], bytes]


def ecg_counts() -> npt.NDArray[np.int16]:
    """All ECG of the sample in a row, first lead, 250 Hz, in counts of 5 uV."""
    parts = []
    for header in sorted(SAMPLE.glob("*.hea")):
        record = wfdb.rdrecord(str(header.with_suffix("")), channels=[0])
        signal = np.nan_to_num(record.p_signal[:, 0])
        signal = signal - np.median(signal)
        if record.fs != FS_HZ:
            signal = resample_poly(signal, FS_HZ, int(record.fs))
        parts.append(np.clip(np.rint(signal / LSB_MV), -32767, 32767).astype(np.int16))
    return np.concatenate(parts)


def spo2_values() -> npt.NDArray[np.float64]:
    """SpO2 of the sample, one value a second."""
    table = pl.read_csv(SAMPLE / "uw_100006.csv")
    name = next(name for name in table.columns if "spo2" in name.lower())
    values = table[name].drop_nulls().to_numpy().astype(np.float64)
    return values[(values >= 50) & (values <= 100)]


class Ward:
    """Frames of any patient at any second."""

    def __init__(self, patients: int, start_ns: int, boot_id: int = 1, first: int = 0) -> None:
        self.patients = patients
        self.first = first
        self.start_ns = start_ns
        self.boot_id = boot_id
        self._ecg = ecg_counts()
        self._spo2 = spo2_values()

    def messages(self, patient: int, second: int) -> list[Message]:
        """The two messages of a patient's second."""
        name, device_ns = f"p{self.first + patient:05d}", self.start_ns + second * NS + patient * NS // self.patients
        seconds = self._ecg.size // FS_HZ
        at = ((patient * 37 + second) % seconds) * FS_HZ
        ecg = self._frame(name, "patch", pb.SIGNAL_ECG_II, second, device_ns)
        ecg.first_sample = second * FS_HZ
        ecg.waveform.fs_mhz = FS_HZ * 1000
        ecg.waveform.lsb = LSB_MV
        ecg.waveform.samples = self._ecg[at : at + FS_HZ].tobytes()
        oximeter = self._frame(name, "oximeter", pb.SIGNAL_NUMERIC, second, device_ns)
        oximeter.first_sample = second
        value = float(self._spo2[(patient * 101 + second) % self._spo2.size])
        oximeter.observations.items.add(code=pb.CODE_SPO2, value=value, unit=pb.UNIT_PERCENT)
        return [
            (subject_of(frame), [("Nats-Msg-Id", message_id(frame))], frame.SerializeToString())
            for frame in (ecg, oximeter)
        ]

    def _frame(self, patient: str, device: str, signal: pb.Signal, seq: int, device_ns: int) -> pb.Frame:
        return pb.Frame(
            version=1,
            tenant="main",
            patient=patient,
            device=device,
            boot_id=self.boot_id,
            signal=signal,
            seq=seq,
            device_ns=device_ns,
        )

    def seconds(self, seconds: int) -> Iterator[list[Message]]:
        """All patients' messages, second by second, for filling a stream."""
        for second in range(seconds):
            yield [message for patient in range(self.patients) for message in self.messages(patient, second)]


def publisher(settings: Settings) -> Publisher:
    """A connection for the load."""
    return Publisher(native_options(settings.nats, "load"))


def publish_live(ward: Ward, seconds: int, publish: Publisher, slot_s: float = 0.02) -> float:
    """Publishes in real time, each patient at its own moment of the second; returns how late it was at worst, in s."""
    worst_s = 0.0
    done = 0
    total = ward.patients * seconds
    while done < total:
        due = (time.time_ns() - ward.start_ns - NS) * ward.patients // NS
        due = max(0, min(due, total))
        batch = []
        for number in range(done, due):
            second, patient = divmod(number, ward.patients)
            batch += ward.messages(patient, second)
        if batch:
            moment_ns = ward.start_ns + NS + done * NS // ward.patients
            worst_s = max(worst_s, (time.time_ns() - moment_ns) / 1e9)
            publish.publish_all(batch)
        done = due
        time.sleep(slot_s)
    return worst_s


def fill(ward: Ward, seconds: int, publish: Publisher) -> tuple[int, int]:
    """Publishes as fast as the server takes it; returns how many messages, and the last one's sequence."""
    count = last_seq = 0
    for batch in ward.seconds(seconds):
        last_seq = publish.publish_all(batch)[-1]
        count += len(batch)
    return count, last_seq


def main() -> None:
    """Publishes in real time until done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--start-ns", type=int, default=0, help="device time of the first second; now when 0")
    parser.add_argument("--first", type=int, default=0, help="number of the first patient")
    arguments = parser.parse_args()
    ward = Ward(arguments.patients, arguments.start_ns or time.time_ns(), first=arguments.first)
    worst_s = publish_live(ward, arguments.seconds, publisher(Settings()))
    print(f"published {arguments.patients * arguments.seconds * 2} messages, at worst {worst_s * 1000:.0f} ms late")


if __name__ == "__main__":
    main()
