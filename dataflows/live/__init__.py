"""What a screen shows of a patient right now: the same validator and detectors as the flow, on live frames only."""

from dataflows.live.view import Mark, PatientView, Shown, Strip

__all__ = ["Mark", "PatientView", "Shown", "Strip"]
