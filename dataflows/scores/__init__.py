"""Scores of a patient: early warning, trends, glucose and questionnaires. Pure: no engine, no clock, no I/O."""
