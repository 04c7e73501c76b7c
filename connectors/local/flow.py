"""The dataflow as a child process, and how far it is by its own metrics."""

import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from connectors.local.process import ServerProcess
from dataflows.settings import Settings

LOOPBACK = "127.0.0.1"


def settings_environment(settings: Settings) -> dict[str, str]:
    """Returns the settings that were set, as environment variables for a child process."""
    found: dict[str, str] = {}
    for part in type(settings).model_fields:
        section = getattr(settings, part)
        for name in section.model_fields_set:
            value = getattr(section, name)
            if value is not None:
                plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
                found[f"VITALS_{part.upper()}__{name.upper()}"] = str(plain)
    return found


class FlowProcess(ServerProcess):
    """`python -m bytewax.run dataflows.vitals` as a child.

    Args:
        settings: Handed down through the environment.
        directory: Where it runs and logs; Bytewax writes a dataflow.json there.
        recovery: Environment of the recovery store (`Stack.environment`); empty: from the stream's first message.
        api_port: Port of the metrics; 0 for none.
    """

    def __init__(self, settings: Settings, directory: Path, recovery: Mapping[str, str], api_port: int = 0) -> None:
        environment = {**os.environ, **settings_environment(settings), **recovery}
        if api_port:
            environment |= {"BYTEWAX_DATAFLOW_API_ENABLED": "1", "BYTEWAX_DATAFLOW_API_PORT": str(api_port)}
        directory.mkdir(parents=True, exist_ok=True)
        self._metrics_url = f"http://{LOOPBACK}:{api_port}/metrics"
        # Wherever this checkout or package is, the child finds the same modules.
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, "-m", "bytewax.run", "dataflows.vitals"]
        super().__init__(
            "flow", command, directory / "flow.log", directory / "flow.pid", env=environment, cwd=directory
        )

    def metrics(self) -> dict[str, list[float]]:
        """Returns each metric's values, one per set of labels; empty while the flow does not answer."""
        values: dict[str, list[float]] = {}
        for name, value in self.samples().items():
            values.setdefault(name.partition("{")[0], []).append(value)
        return values

    def samples(self) -> dict[str, float]:
        """Returns every sample of the metrics by its name and labels as they are written."""
        try:
            with urllib.request.urlopen(self._metrics_url, timeout=2) as answer:  # noqa: S310  (loopback)
                text = answer.read().decode()
        except OSError:
            return {}
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}
