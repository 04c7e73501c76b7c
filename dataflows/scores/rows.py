"""Rows of table `scores`: every score of every kind, with its parts as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from dataflows.alerts.finding import Context, TableRow
from dataflows.scores.episodes import Anchor


def score_row(
    score: str,
    value: float | None,
    anchor: Anchor,
    context: Context,
    *,
    parts: Mapping[str, Any],
    state: str = "complete",
    device: str = "",
    ts_ns: int | None = None,
) -> TableRow:
    """A row of `scores`.

    Args:
        score: Name of the score.
        value: Total or figure; None where there is none.
        anchor: Message that decided.
        context: The patient.
        parts: What it is made of, and what is missing.
        state: `complete` or `partial`.
        device: Device, where each has its own score.
        ts_ns: Time of the row; the decision's log time unless the score is of a day.
    """
    return TableRow(
        "scores",
        (
            anchor.log_ns if ts_ns is None else ts_ns,
            context.tenant,
            context.patient,
            device,
            score,
            value,
            state,
            json.dumps(parts, separators=(",", ":")),
            context.limits_version,
            anchor.ts_ns,
            anchor.log_ns,
            anchor.log_seq,
        ),
    )
