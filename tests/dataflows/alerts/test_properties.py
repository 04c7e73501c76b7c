"""Interleavings of findings, late data, restarts, cuts of the log, ticks, answers and limit changes.

Two judges hear the same log: one gets every event by itself, with ticks in between and restarts from snapshots; the
other gets the whole log in one list. They must say the same. What the first says is held against the rules of a life
cycle at every step.
"""

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dataflows.alerts.alert import Alert, Event, State
from dataflows.alerts.rules import BUILTIN
from dataflows.monitor.judge import Judge
from tests.dataflows.alerts.story import SECOND_NS, START_NS, command, finding, ns, reading

STEPS_S = st.sampled_from([0, 0, 0.5, 1, 5, 30, 61, 119, 300, 2000, 90_000])
ANSWERED = {State.ACKNOWLEDGED, State.SNOOZED, State.CLEARED}
NEXT = {
    State.ACTIVE: {State.ACTIVE, State.ACKNOWLEDGED, State.SNOOZED, State.ESCALATED, State.CLEARED},
    State.ESCALATED: {State.ACTIVE, State.ACKNOWLEDGED, State.SNOOZED, State.ESCALATED, State.CLEARED},
    State.ACKNOWLEDGED: {State.ACTIVE, State.ACKNOWLEDGED, State.SNOOZED, State.CLEARED},
    State.SNOOZED: {State.ACTIVE, State.ESCALATED, State.ACKNOWLEDGED, State.SNOOZED, State.CLEARED},
    State.CLEARED: {State.ACTIVE, State.SNOOZED},
}
"""What may follow what; a cleared alert comes back only where its condition flickers at one onset."""


class Ward(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.judge = Judge()
        self.log, self.said, self.last = [], [], {}
        self.now_s, self.number = 0.0, 0

    def tell(self, build, step_s):
        self.now_s += step_s
        self.number += 1
        event = build(self.now_s, self.number)
        self.log.append(event)
        self.hear(self.judge.on_events("main", "p1", [event], event.log_ns))

    def hear(self, said):
        for one in said:
            self.said.append(one)
            if isinstance(one, Alert):
                self.check(one)

    def check(self, alert):
        before = self.last.get(alert.alert_id)
        assert alert.transition == (0 if before is None else before.transition + 1)
        if before is None:
            assert alert.event is Event.RAISED
        else:
            assert alert.state in NEXT[before.state]
            assert alert.log_ns >= before.log_ns
            if before.state is State.CLEARED:
                assert alert.event is Event.RAISED
            if alert.notify and before.state in (State.ACKNOWLEDGED, State.SNOOZED):
                assert alert.event in (Event.WORSENED, Event.SNOOZE_ENDED, Event.HANDED_OVER)
        if alert.state is State.CLEARED:
            assert not alert.condition
        if not alert.condition and alert.state is not State.CLEARED:
            assert BUILTIN.rules[alert.rule].latching
        self.last[alert.alert_id] = alert

    @rule(
        name=st.sampled_from(["asystole", "pause", "tachycardia", "lead_off", "poor_quality", "silence"]),
        raised=st.booleans(), device=st.sampled_from("ab"), signal=st.sampled_from(["ecg_ii", "ecg_v5"]),
        value=st.sampled_from([120.0, 130.0, 150.0]), same_onset=st.booleans(), step_s=STEPS_S,
    )  # fmt: skip
    def found(self, *, name, raised, device, signal, value, same_onset, step_s):
        def build(at_s, number):
            changes = {"device": device, "signal": signal, "value": value}
            if same_onset:
                changes["onset"] = 7
            return finding(at_s, name, raised, number, **changes)

        self.tell(build, step_s)

    @rule(
        code=st.sampled_from(["hr", "sbp", "temp", "battery", "weight", "spo2", "o2_flow"]),
        device=st.sampled_from("ab"),
        value=st.sampled_from([4.0, 14.0, 37.0, 41.5, 80.0, 83.0, 89.0, 131.0, 160.0, float("nan")]),
        late_s=st.sampled_from([0, 0, 0, 40, 4000]), status=st.sampled_from([0, 0, 1]), step_s=STEPS_S,
    )  # fmt: skip
    def read(self, *, code, device, value, late_s, status, step_s):
        def build(at_s, number):
            changes = {"device": device, "status": status, "log_seq": number, "stored": late_s > 0}
            return reading(at_s, code, value, **changes, ts_ns=ns(at_s - late_s))

        self.tell(build, step_s)

    @rule(
        asked=st.sampled_from(
            [
                ("ack", {}), ("ack", {"rule": "asystole"}), ("snooze", {"for_s": 60}), ("silence", {"for_s": 90}),
                ("silence", {"for_s": 0}), ("silence", {"for_s": 600, "kind": "technical"}), ("handover", {"to": "x"}),
                ("threshold", {"rule": "hr_high", "limit": 150, "delay_s": 5}),
                ("threshold", {"rule": "sbp_low", "limit": 70}), ("profile", {"profile": "home"}), ("discharge", {}),
                ("threshold", {"rule": "news2_medium", "limit": 3}), ("spo2_scale", {"scale": 1}),
                ("spo2_scale", {"scale": 2, "reason": "blood gas"}),
                ("profile", {"profile": "post_op"}), ("admit", {}), ("note", {"text": "x"}), ("threshold", {}),
                ("remove", {"device": "a"}),
            ]
        ),
        key=st.sampled_from(["", "", "", "k1", "k2"]), step_s=STEPS_S,
    )  # fmt: skip
    def ask(self, asked, key, step_s):
        def build(at_s, number):
            one = command(at_s, asked[0], key or str(number), **asked[1])
            return msgspec.structs.replace(one, log_seq=number)

        self.tell(build, step_s)

    @rule(step_s=STEPS_S)
    def tick(self, step_s):
        self.now_s += step_s
        self.hear(self.judge.on_events("main", "p1", [], ns(self.now_s)))

    @precondition(lambda self: self.log)
    @rule()
    def restart(self):
        snapshot = self.judge.snapshot()
        self.judge = Judge.restore(snapshot)
        assert self.judge.snapshot() == snapshot

    @invariant()
    def nobody_is_forgotten(self):
        now_ns = START_NS + round(self.now_s * SECOND_NS)
        for alert in self.last.values():
            policy = BUILTIN.policy[alert.priority]
            if alert.state in ANSWERED or alert.level >= policy.levels:
                continue
            waited_s = (now_ns - alert.log_ns) / SECOND_NS
            assert waited_s <= max(policy.ack_s, BUILTIN.policy[BUILTIN.rules[alert.rule].priority].ack_s)

    @invariant()
    def no_snooze_outlives_its_end(self):
        now_ns = START_NS + round(self.now_s * SECOND_NS)
        assert all(alert.until_ns > now_ns for alert in self.last.values() if alert.state is State.SNOOZED)

    @invariant()
    def one_alert_stands_at_a_place(self):
        standing = [alert for alert in self.last.values() if alert.state is not State.CLEARED]
        places = [BUILTIN.rules[one.rule].place(one.device, one.signal, one.code) for one in standing]
        assert len(set(places)) == len(places)

    def teardown(self):
        whole = Judge().on_events("main", "p1", self.log, ns(self.now_s))
        assert [one.rows() for one in whole] == [one.rows() for one in self.said]


TestWard = Ward.TestCase
TestWard.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
