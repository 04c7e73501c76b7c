"""Control charts of one signal against the patient's own baseline: EWMA and CUSUM, one step each, O(1).

EWMA: Roberts, Technometrics 1959;1:239, with the exact variance of its first steps. CUSUM: Page, Biometrika
1954;41:100. Vital signs are autocorrelated, so the average run lengths of the textbooks do not hold; the charts are
therefore fed medians of minutes, and a trend is told only when the distance matters clinically too (`trends.py`).
"""

from math import sqrt

import msgspec

LAMBDA = 0.2
"""Weight of the newest value."""
LIMIT_SIGMA = 3.0
"""EWMA limit in standard deviations of the average."""
ALLOWANCE = 0.5
"""CUSUM allowance k in standard deviations: half of the shift that it is to find."""
DECISION = 5.0
"""CUSUM decision interval h."""
_LARGEST = 3.0
"""Standardised values count at most this much, so that one artefact is no alarm."""
_WIND_UP = 2 * DECISION
"""Sums do not grow beyond, so that an alarm ends soon after its cause."""


class Charts(msgspec.Struct, array_like=True):
    """EWMA and both CUSUMs, in standard deviations from the baseline.

    Attributes:
        steps: Values taken since the start.
        ewma: Weighted average.
        up: Sum of excesses above the baseline.
        down: Sum of excesses below.
    """

    steps: int = 0
    ewma: float = 0.0
    up: float = 0.0
    down: float = 0.0

    def push(self, standardised: float) -> None:
        """Takes (value - baseline) / spread."""
        z = max(-_LARGEST, min(_LARGEST, standardised))
        self.steps += 1
        self.ewma += LAMBDA * (z - self.ewma)
        self.up = min(_WIND_UP, max(0.0, self.up + z - ALLOWANCE))
        self.down = min(_WIND_UP, max(0.0, self.down - z - ALLOWANCE))

    @property
    def sigma(self) -> float:
        """Standard deviation of the average after so many steps."""
        return sqrt(LAMBDA / (2 - LAMBDA) * (1 - (1 - LAMBDA) ** (2 * self.steps)))

    @property
    def shifted(self) -> int:
        """1 up, -1 down, 0 not: both charts must say so."""
        if not self.steps or abs(self.ewma) <= LIMIT_SIGMA * self.sigma:
            return 0
        if self.ewma > 0:
            return int(self.up > DECISION)
        return -int(self.down > DECISION)
