"""The dashboard: static files without a build step, served beside the API. Everything it shows comes from the API."""

from pathlib import Path

PAGES = Path(__file__).parent / "static"
"""Folder of the files."""
