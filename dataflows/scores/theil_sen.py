"""Theil-Sen slope of a short window, with the confidence interval of Sen and the test of Mann and Kendall.

The slope is the median of the slopes between all pairs: up to 29 % of wrong points do not move it (Sen, JASA
1968;63:1379). O(w^2) for a window of w points, which is why windows are short.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import erf, sqrt
from statistics import median

Z_95 = 1.959963984540054
MIN_POINTS = 5
"""With four points even a perfect order has a two-sided p above 0.08."""


@dataclass(frozen=True)
class Slope:
    """A slope per unit of x, its 95 % interval, and how sure its sign is (1 - p of Mann-Kendall, two-sided)."""

    slope: float
    low: float
    high: float
    confidence: float

    @property
    def significant(self) -> bool:
        """The interval leaves out 0."""
        return self.low > 0 or self.high < 0


def theil_sen(points: Sequence[tuple[float, float]]) -> Slope | None:
    """Slope through (x, y) points with distinct x, ascending.

    Args:
        points: At least five.

    Returns:
        The slope; None with fewer points, or when the interval is wider than all pairs.
    """
    n = len(points)
    if n < MIN_POINTS:
        return None
    slopes = sorted((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))
    concordance = sum((slope > 0) - (slope < 0) for slope in slopes)
    ties = Counter(y for _, y in points)
    variance = n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties.values())
    spread = sqrt(variance / 18)
    reach = Z_95 * spread
    lower, upper = int((len(slopes) - reach) / 2) - 1, len(slopes) - int((len(slopes) - reach) / 2)
    if lower < 0:
        return None
    z = max(0, abs(concordance) - 1) / spread if spread else 0.0
    return Slope(median(slopes), slopes[lower], slopes[min(upper, len(slopes) - 1)], erf(z / sqrt(2)))
