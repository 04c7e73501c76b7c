"""A peer that needs other versions than this project runs in a process and an environment of its own, made by uv.

Parent and child speak in lines: the path of a .npy file with millivolts and the rate, answered by JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

APART_COMMAND = Path(sys.executable).parent / "uv"

SYSTOLE = ("systole==0.3.1", "numpy==2.2.0")
"""systole holds NumPy at 2.2.0 or older."""


class Apart:
    """systole, started at the first record.

    Attributes:
        cpu_s: CPU seconds that the last record took in the child.
    """

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self._child: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory()

    def _start(self) -> subprocess.Popen[str]:
        packages = [word for package in SYSTOLE for word in ("--with", package)]
        python = ["--python", f"{sys.version_info[0]}.{sys.version_info[1]}", "python", str(Path(__file__).resolve())]
        command = [str(APART_COMMAND), "run", "--quiet", "--no-project", "--isolated", *packages, *python]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if child.stdout is None or not child.stdout.readline():
            message = f"{SYSTOLE[0]} cannot be installed: uv must reach a package registry"
            raise ImportError(message)
        return child

    def detect(self, signal: npt.NDArray[np.float64], fs_hz: float) -> npt.NDArray[np.float64]:
        """Returns the R peaks of a signal in millivolts.

        Raises:
            ImportError: The environment cannot be made.
            ValueError: The peer raised an error.
            ChildProcessError: The child died.
        """
        self._child = child = self._child or self._start()
        path = Path(self._folder.name) / "signal.npy"
        np.save(path, signal)
        if child.stdin is None or child.stdout is None:
            raise ChildProcessError
        child.stdin.write(json.dumps([str(path), fs_hz]) + "\n")
        child.stdin.flush()
        line = child.stdout.readline()
        if not line:
            self._child = None
            message = f"the process of {SYSTOLE[0]} died"
            raise ChildProcessError(message)
        answer: dict[str, Any] = json.loads(line)
        self.cpu_s = answer["cpu_s"]
        if "error" in answer:
            raise ValueError(answer["error"])
        return np.array(answer["peaks"], np.float64)


def systole_peaks(signal: npt.NDArray[np.float64], fs_hz: float) -> npt.NDArray[np.float64]:
    """Runs systole in this process."""
    from systole.detection import ecg_peaks

    _, peaks = ecg_peaks(signal, sfreq=round(fs_hz), method="pan-tompkins")
    return np.flatnonzero(peaks) / 1000.0 * fs_hz  # systole answers at 1000 Hz


def serve() -> None:
    """Answers requests until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a peer prints is no answer
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        path, fs_hz = json.loads(line)
        signal = np.load(path)
        begin = time.process_time()
        answer: dict[str, Any] = {}
        try:
            answer["peaks"] = systole_peaks(signal, fs_hz).tolist()
        except Exception as error:  # whatever a peer raises belongs into the table of failures
            answer["error"] = f"{type(error).__name__}: {error}"
        answer["cpu_s"] = time.process_time() - begin
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
