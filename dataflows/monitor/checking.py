"""The validator with a deployment's bounds: the flow, the file runner and the tools ask the same one."""

from dataflows._native import Validator
from dataflows.settings import Settings


def validator(settings: Settings, *, models: bool = True) -> Validator:
    """Returns the validator; what storage would drop is refused at the door.

    Args:
        settings: The deployment's bounds.
        models: Whether `model-<name>` may speak: in the log, not at a gateway for devices.
    """
    return Validator(
        max_ahead_s=settings.flow.max_ahead_s,
        keep_waves_h=settings.questdb.waveform_ttl_h,
        keep_rows_h=settings.questdb.rows_ttl_d * 24,
        models=models,
    )
