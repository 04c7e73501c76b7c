"""Rule files from disk: those that come with the program, and those a deployment adds."""

from collections.abc import Sequence
from pathlib import Path

from dataflows.alerts.rules import BUILTIN, RuleError, RuleSet, builtin_files


def read_rules(paths: Sequence[Path]) -> RuleSet:
    """Returns the rule set of the built-in files and these, in this order.

    Raises:
        RuleError: A file cannot be read, or says something that cannot be kept.
    """
    if not paths:
        return BUILTIN
    return RuleSet.load([*builtin_files(), *((path.name, _text(path)) for path in paths)])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: not readable: {error}"
        raise RuleError(message) from error
