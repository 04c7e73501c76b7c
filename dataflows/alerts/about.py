"""What is known of a patient beside measurements: ward, age band, oxygen therapy, where devices are worn.

It comes by the command `context`, holds from there on, and is forgotten at discharge. Rules use it (oxygen gives NEWS2
its points where no device says, NEWS2 and MEWS are silent for children), alerts carry it.
"""

from typing import Literal

import msgspec

MAX_DEVICES = 16
MAX_CHARS = 64

AgeBand = Literal["", "child", "adult", "older"]
"""Under 16 years; 16 to 64; 65 and more."""
Oxygen = Literal["", "air", "supplemental"]


class About(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an alert carries of it.

    Attributes:
        ward: Where the patient lies.
        age_band: By years of life.
        oxygen: What the patient breathes.
        placement: Where the device of the alert is worn.
    """

    ward: str = ""
    age_band: AgeBand = ""
    oxygen: Oxygen = ""
    placement: str = ""


class PatientContext(msgspec.Struct, frozen=True, array_like=True):
    """All of it; empty where nobody said.

    Attributes:
        ward: Where the patient lies.
        age_band: By years of life.
        oxygen: What the patient breathes.
        placement: Where each device is worn.
    """

    ward: str = ""
    age_band: AgeBand = ""
    oxygen: Oxygen = ""
    placement: dict[str, str] = {}

    def about(self, device: str) -> About | None:
        """What an alert of a device carries; None where nobody said anything."""
        found = About(self.ward, self.age_band, self.oxygen, self.placement.get(device, ""))
        return None if found == About() else found


UNKNOWN = PatientContext()
"""Nobody said anything."""
