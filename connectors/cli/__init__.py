"""The command `vitals`: a stack to play with, recorded patients to replay, and looking at what came of them."""

from connectors.cli.app import main

__all__ = ["main"]
