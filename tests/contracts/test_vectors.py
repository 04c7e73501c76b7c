"""The golden frames: what firmware is checked against must stay what this program writes and reads."""

import json

import numpy as np
import pytest
from google.protobuf import json_format

from dataflows.contracts import vitals_pb2 as pb
from tests.contracts.vectors import FOLDER, UNKNOWN_FIELD, describe, frames

NAMES = sorted(path.stem for path in FOLDER.glob("*.hex"))


def payload(name: str) -> bytes:
    return bytes.fromhex((FOLDER / f"{name}.hex").read_text())


def description(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def test_every_vector_is_described_and_built_by_the_program():
    assert NAMES == sorted(frames()) == sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_decoding_gives_the_described_fields(name):
    frame = pb.Frame.FromString(payload(name))
    expected = description(name)
    assert json_format.MessageToDict(frame, preserving_proto_field_name=True) == expected["frame"]
    if "samples" in expected:
        assert np.frombuffer(frame.waveform.samples, "<i2").tolist() == expected["samples"]


@pytest.mark.parametrize("name", NAMES)
def test_encoding_the_described_fields_gives_the_bytes(name):
    frame = json_format.ParseDict(description(name)["frame"], pb.Frame())
    known = payload(name).removesuffix(UNKNOWN_FIELD)
    assert frame.SerializeToString(deterministic=True) == known


@pytest.mark.parametrize("name", NAMES)
def test_the_frame_builders_give_the_bytes_and_the_description(name):
    what, frame = frames()[name]
    assert frame.SerializeToString(deterministic=True) == payload(name)
    assert describe(what, frame) == description(name)


def test_an_unknown_field_survives():
    original = payload("unknown_field")
    assert original.endswith(UNKNOWN_FIELD)
    assert pb.Frame.FromString(original).SerializeToString() == original
