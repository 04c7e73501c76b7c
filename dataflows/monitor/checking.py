"""The validator with a deployment's bounds: the flow, the file runner and the tools ask the same one."""

from dataflows._native import Validator
from dataflows.settings import Settings


def validator(settings: Settings) -> Validator:
    """Returns the validator; what storage would drop is refused at the door."""
    return Validator(
        max_ahead_s=settings.flow.max_ahead_s,
        keep_waves_h=settings.questdb.waveform_ttl_h,
        keep_rows_h=settings.questdb.rows_ttl_d * 24,
    )
