"""Alerts: what a finding becomes for people and programs."""
