"""Messages of the live WebSocket. Text frames are JSON with a `type`; binary frames are waves. docs/api.md.

A wave: a uint16 (little-endian) with the length of its header, the header (JSON), then int16 little-endian counts.
"""

import struct
from typing import Any

import msgspec

from dataflows.live import Mark, PatientView, Strip


def wave(view: PatientView, strip: Strip, *, kept: bool = False) -> bytes:
    """Returns a frame of a wave as a binary message; the header is padded so that the counts are aligned.

    Args:
        view: Whose it is.
        strip: The frame.
        kept: Whether it came earlier and is sent because a screen opened.
    """
    header = msgspec.json.encode(
        {
            "patient": view.patient,
            "device": strip.device,
            "boot": strip.boot,
            "signal": strip.signal,
            "seq": strip.seq,
            "ts_ns": strip.ts_ns,
            "fs_hz": strip.fs_hz,
            "lsb": strip.lsb,
            "status": strip.status,
            "first_sample": strip.first_sample,
            "kept": kept,
        }
    )
    header += b" " * (len(header) % 2)
    return struct.pack("<H", len(header)) + header + strip.counts.tobytes()


def marks(view: PatientView, found: list[Mark]) -> str:
    """Returns R peaks."""
    beats = [{"signal": mark.signal, "ts_ns": mark.ts_ns, "rr_ms": mark.rr_ms, "label": mark.label} for mark in found]
    return text("beats", patient=view.patient, beats=beats)


def text(kind: str, **fields: Any) -> str:
    """Returns a JSON message."""
    return msgspec.json.encode({"type": kind, **fields}).decode()
