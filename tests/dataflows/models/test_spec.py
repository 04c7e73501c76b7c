import pytest

from dataflows.models.spec import ModelError, read_model

GOOD = """
name = "risk"
version = 3
scorer = "ward:score"
features = ["hr.median", "spo2.min", "heart_rate.slope"]
require = ["hr"]
window_s = 3600
step_s = 60
"""


def test_a_declaration_is_read():
    model = read_model(GOOD)
    assert (model.device, model.version, model.columns) == (
        "model-risk", 3, ("hr.median", "spo2.min", "heart_rate.slope"),
    )  # fmt: skip
    assert model.needs_waves
    assert not read_model(GOOD.replace('"heart_rate.slope"', '"hr.slope"')).needs_waves
    assert model.digest != read_model(GOOD + "budget_s = 2\n").digest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("risk", "Risk!"), "name has up to 48"),
        (("version = 3", "version = 0"), "version counts from 1"),
        (("ward:score", "ward"), "scorer is"),
        (("hr.median", "rate.median"), "there is no signal rate"),
        (("hr.median", "model_score.last"), "there is no signal model_score"),
        (("hr.median", "hr.mode"), "mode is none of"),
        (("spo2.min", "hr.median"), "none twice"),
        (('require = ["hr"]', 'require = ["temp"]'), r"require names \['temp'\]"),
        (("step_s = 60", "step_s = 45"), "multiples of sample_s"),
        (("step_s = 60", "step_s = 0.5"), "step_s is a whole number"),
        (("window_s = 3600", "window_s = 604800"), "at most 2880 samples"),
        (("step_s = 60", "step_s = 60\nbudget_s = 0"), "budget_s is more than 0"),
        (("step_s = 60", "step_s = 60\nbatch = 0"), "batch is 1 to 4096"),
        (("step_s = 60", "step_s = 60\nbudget = 1"), "unknown field `budget`"),
        (("version = 3\n", ""), "missing required field `version`"),
        (("name =", "name"), "Expected"),
    ],
)
def test_what_cannot_be_is_refused_in_words(change, words):
    with pytest.raises(ModelError, match=words):
        read_model(GOOD.replace(*change))
