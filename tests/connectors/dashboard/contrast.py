"""Contrast of what a page shows, by WCAG 2.2: success criteria 1.4.3 (text) and 1.4.11 (edges of controls, curves).

Computed from the styles that the browser resolved, in every layer from the page's ground to the text: translucent
colours, gradients (each of their colours), opacity and grey filters of whole groups. What only a canvas knows, its
inks, is looked up where the scripts take them from.
"""

from pathlib import Path

COMPUTE = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
"""Gives what was looked at, and what is too faint, with its ratio and the one that it needs."""


def faint(page, at_least=1):
    """What is too faint on a page; fails where less than `at_least` things were found to look at."""
    looked = page.evaluate(COMPUTE)
    assert len(looked["found"]) >= at_least, looked["found"]
    return sorted(set(looked["faint"]))
