import pytest

from dataflows.alerts.rules import RuleSet, builtin_files

DELIVERY = """
[policy.high]
ack_s = 60
levels = 3
max_snooze_s = 120
deliver_s = 20
keep_s = 86400
"""


@pytest.fixture
def with_delivery():
    """The rule set of a deployment that confirms deliveries."""
    return RuleSet.load([*builtin_files(), ("ward.toml", DELIVERY)])
