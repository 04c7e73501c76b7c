"""The JavaScript of docs/devices.md against a real gateway."""

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin

NODE = shutil.which("node")
pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
]
APP = Path(__file__).parents[3] / "docs" / "firmware" / "app.mjs"


def node(*arguments):
    return subprocess.run([NODE, str(APP), *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_an_apps_readings_are_in_the_log(behind, served, log):
    key = served.knows(behind.enrol(Origin("js-app", "d"), by="http").secret)
    reading = {"code": "spo2", "value": 97, "unit": "%", "time": datetime.now(UTC).isoformat()}
    for duplicates in (0, 1):
        ran = node(served.url, key, json.dumps([reading]))
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout)["duplicates"] == duplicates
    ((_, payload, _),) = log("js-app")
    assert pb.Frame.FromString(payload).observations.items[0].value == 97
    refused = node(served.url, key, json.dumps([reading | {"value": 140}]))
    assert refused.returncode != 0
    assert "impossible_value" in refused.stderr
