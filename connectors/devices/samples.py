"""The recordings that come with the package: sample/README.md says what they show and what their licences ask."""

from pathlib import Path

FOLDER = Path(__file__).parent / "sample"

NORMAL = FOLDER / "100"
ARRHYTHMIA = FOLDER / "203"
ASYSTOLE = FOLDER / "a161l"
HYPOXEMIA = FOLDER / "uw_100006.csv"

ALL = (NORMAL, ARRHYTHMIA, ASYSTOLE, HYPOXEMIA)
