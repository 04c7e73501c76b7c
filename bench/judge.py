"""What the step `judge` costs: CPU a patient-second, and a snapshot, on the ward of `traffic.py`.

`python bench/judge.py`: ECG at 250 Hz and SpO2 at 1 Hz of each patient for two minutes, ten seconds a list, go
through validator and `signals` first; timed is the judge alone, the best of three runs. The ward alarms far more often
than a real one.
"""

import argparse
import time
from pathlib import Path

from report import publish
from traffic import NS, Ward

from dataflows._native import Messages, Output, Signals, Validator
from dataflows.alerts.alert import Alert
from dataflows.monitor.judge import Judge

SECONDS, LIST_S = 120, 10
START_NS = 1_700_000_000 * NS


def heard(ward: Ward, patient: int) -> list[Output]:
    """What `signals` says of a patient, list by list."""
    signals, validator, outputs = Signals(), Validator(), []
    for first in range(0, SECONDS, LIST_S):
        entries = [
            (subject.replace("vitals.v1.", "vp.0.").encode(), 2 * second + number, START_NS + (second + 1) * NS, body)
            for second in range(first, first + LIST_S)
            for number, (subject, _, body) in enumerate(ward.messages(patient, second), 1)
        ]
        items, _ = validator.check(f"main/p{patient}", Messages.build(entries))
        outputs.append(signals.on_items(items))
    return outputs


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    ward = Ward(arguments.patients, START_NS)
    lists = [heard(ward, patient) for patient in range(arguments.patients)]
    judging, snapshots = [], []
    for _ in range(3):
        judges = [Judge() for _ in lists]
        begun = time.process_time()
        said = [
            one for judge, outputs in zip(judges, lists, strict=True) for out in outputs for one in judge.on_output(out)
        ]
        judging.append(time.process_time() - begun)
        begun = time.process_time()
        sizes = [len(judge.snapshot()) for judge in judges]
        snapshots.append(time.process_time() - begun)
    row = {
        "patients": arguments.patients,
        "us a patient-second": min(judging) / arguments.patients / SECONDS * 1e6,
        "us a snapshot": min(snapshots) / arguments.patients * 1e6,
        "bytes": sum(sizes) / len(sizes),
        "alerts a patient": sum(isinstance(one, Alert) for one in said) / arguments.patients,
    }
    publish({"rows": [row]}, arguments.json)


if __name__ == "__main__":
    main()
