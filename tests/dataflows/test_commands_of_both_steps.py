"""Commands that both steps obey: `signals` and `judge` always agree on what was done, and by which limits."""

import json

import pytest

from dataflows._native import Messages, Validator
from dataflows.alerts.alert import Alert
from dataflows.alerts.rules import RuleError, RuleSet, builtin_files
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, WaveFramer, command_frame, subject_of
from dataflows.monitor.patient import Patient, run, signals_config
from dataflows.settings import Settings
from tests.dataflows.test_detector_limits import FS, SECOND_NS, START_NS, beats

HALF_A_DAY_S = 12 * 3600


class Log:
    """Writes a patient's log second by second: frames and commands, in the form that `run` takes."""

    def __init__(self):
        self.entries, self.second = [], 0
        self.patch = WaveFramer(Origin("p1", "patch"), pb.SIGNAL_ECG_II, FS * 1000, 0.005, START_NS)
        self.watch = NumericFramer(Origin("p1", "watch"))

    def put(self, frame, late_ns=0):
        subject = subject_of(frame).replace("vitals.v1.", "vp.0.").encode()
        log_ns = START_NS + self.second * SECOND_NS + late_ns
        self.entries.append((subject, len(self.entries) + 1, log_ns, frame.SerializeToString()))

    def hear(self, seconds, rate_bpm):
        counts = beats(seconds, rate_bpm)
        for number in range(seconds):
            self.second += 1
            self.put(self.patch.frame(counts[number * FS : (number + 1) * FS]))

    def read(self, hr, seconds, every_s=5):
        for _ in range(0, seconds, every_s):
            self.put(self.watch.frame([Reading(pb.CODE_HR, hr, pb.UNIT_PER_MIN)], START_NS + self.second * SECOND_NS))
            self.second += every_s

    def ask(self, name, key, **argument):
        self.second += 1
        self.put(command_frame("p1", name, actor="nurse", idempotency_key=key, argument_json=json.dumps(argument)))

    def pass_to(self, second):
        self.entries.append((b"", len(self.entries) + 1, START_NS + second * SECOND_NS, b""))

    def said(self, rules=None):
        rules = rules or RuleSet.load(builtin_files())
        steps = run(self.entries, Validator(), config=signals_config(Settings(), rules), rules=rules)
        return [one for step in steps for one in step.verdicts]


def results(said):
    """(name, result) of each command."""
    return [(one.row[3], one.row[7]) for one in said if not isinstance(one, Alert) and one.table == "commands"]


def told(said, rule):
    """(second, event, limit, reason) of the transitions of a rule."""
    alerts = [one for one in said if isinstance(one, Alert) and one.rule == rule]
    return [((one.log_ns - START_NS) // SECOND_NS, one.event.value, one.limit, one.reason) for one in alerts]


def test_an_old_limit_that_is_sent_again_holds_in_neither_step_however_much_was_said_meanwhile():
    log = Log()
    log.ask("threshold", "a", rule="tachycardia", limit=100)
    log.ask("threshold", "b", rule="tachycardia", limit=130)
    for number in range(100):
        log.ask("note", f"n{number}", text="seen")
    log.ask("threshold", "a", rule="tachycardia", limit=100)
    log.hear(40, 110.0)
    said = log.said()
    assert results(said)[-1] == ("threshold", "repeated")
    assert told(said, "tachycardia") == []


def test_a_key_that_was_used_for_another_limit_is_a_repetition_in_both_steps():
    log = Log()
    log.ask("threshold", "1", rule="hr_high", limit=120)
    log.ask("threshold", "1", rule="tachycardia", limit=100)
    log.hear(40, 110.0)
    said = log.said()
    assert results(said) == [("threshold", "done"), ("threshold", "repeated")]
    assert told(said, "tachycardia") == []


@pytest.mark.parametrize("argument", [{"bed": 4}, {"device": "patch"}])
def test_a_discharge_that_is_refused_changes_neither_step(argument):
    log, plain = Log(), Log()
    for one in (log, plain):
        one.hear(40, 150.0)
        one.ask("discharge" if one is log else "note", "1", **(argument if one is log else {"text": "x"}))
        one.hear(20, 150.0)
    said = log.said()
    assert results(said) == [("discharge", "refused")]
    assert told(said, "extreme_tachycardia") == told(plain.said(), "extreme_tachycardia")


def test_a_profile_of_a_deployment_moves_the_limits_of_the_detectors_that_it_names():
    own = '[profiles.cardiac]\ntext = "x"\ndetectors = "home"\n[profiles.plain]\ntext = "y"\n'
    rules = RuleSet.load([*builtin_files(), ("own.toml", own)])
    raised = {}
    for profile in ("adult", "cardiac", "home"):
        log = Log()
        log.ask("profile", "1", profile=profile)
        log.hear(40, 125.0)
        said = log.said(rules)
        assert results(said) == [("profile", "done")]
        raised[profile] = [(event, limit) for _, event, limit, _ in told(said, "tachycardia")]
    assert raised["cardiac"] == raised["home"] == []
    assert raised["adult"] == [("raised", 120.0)]
    log = Log()
    log.ask("profile", "1", profile="home")
    log.ask("profile", "2", profile="plain")  # without a word about detectors: those of the adult
    log.hear(40, 125.0)
    assert told(log.said(rules), "tachycardia")[0][1:3] == ("raised", 120.0)


def test_detectors_have_four_profiles_and_their_rules_no_limit_in_a_file():
    for text, reason in (
        ('[profiles.x]\ntext = "x"\ndetectors = "cardiac"\n', "Invalid enum value 'cardiac'"),
        ('[rules.tachycardia]\ntext = "x"\nunit = "/min"\npriority = "low"\nrange = [1, 2]\n', "its detector's"),
    ):
        with pytest.raises(RuleError, match=reason):
            RuleSet.load([*builtin_files(), ("own.toml", text)])


def test_what_stands_of_a_device_that_is_taken_off_clears_and_is_told_anew_when_it_is_worn_again():
    log = Log()
    log.ask("context", "0", placement={"watch": "left wrist"})
    log.read(150, 100)
    off_s = log.second + 1
    log.ask("remove", "1", device="watch")
    log.pass_to(log.second + 600)
    said = log.said()
    assert told(said, "hr_high")[-1] == (off_s, "cleared", 130.0, "removed")
    assert told(said, "silence") == []
    contexts = [one.row[6] for one in said if not isinstance(one, Alert) and one.table == "contexts"]
    assert contexts == ['{"watch":"left wrist"}', "{}"]
    log.entries.pop()
    log.read(150, 70)
    assert [event for _, event, _, _ in told(log.said(), "hr_high")].count("raised") == 2


def test_nobody_has_to_take_off_what_has_been_silent_for_half_a_day():
    log = Log()
    log.read(140, 200)
    last_s = log.second - 5
    log.pass_to(last_s + 60 + HALF_A_DAY_S)
    said = log.said()
    for rule in ("hr_high", "silence"):
        assert told(said, rule)[-1][0::3] == (last_s + 60 + HALF_A_DAY_S, "removed"), rule
    assert results(said) == [("remove", "done")]
    log.entries[-1] = (b"", len(log.entries), START_NS + (last_s + 60 + HALF_A_DAY_S) * SECOND_NS - 1, b"")
    assert [told(log.said(), rule)[-1][1] for rule in ("hr_high", "silence")] == ["escalated", "escalated"]


def test_a_restart_between_any_two_messages_changes_nothing():
    log = Log()
    for number in range(70):
        log.ask("threshold", f"k{number}", rule="tachycardia", limit=100 + number % 2)
    log.read(140, 100)
    log.ask("remove", "1", device="watch")
    for number in (0, 69):
        log.ask("threshold", f"k{number}", rule="tachycardia", limit=100 + number % 2)
    rules = RuleSet.load(builtin_files())
    patient, said = Patient("main/p1", Validator(), signals_config(Settings(), rules), rules), []
    for entry in log.entries:
        said += patient.on_messages(Messages.build([entry]))[1]
        patient.restore(patient.snapshot())
    assert [one.rows() for one in said] == [one.rows() for one in log.said(rules)]
    # The first key is older than 64 others: both steps have forgotten it, and both act.
    assert results(said)[-2:] == [("threshold", "done"), ("threshold", "repeated")]
