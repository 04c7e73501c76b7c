"""`vitals rules`: look at a rule file before patients depend on it."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from connectors.cli.console import console, say
from connectors.devices.numerics import read_numerics
from connectors.devices.recording import RecordingError
from connectors.rules import read_rules
from dataflows._native import Messages, Reading, Signals, SignalsConfig, Validator
from dataflows.alerts.alert import Alert
from dataflows.alerts.commands import RecordedCommand
from dataflows.alerts.rules import Rule, RuleError, RuleSet
from dataflows.contracts.frames import NumericFramer, Origin, subject_of
from dataflows.contracts.tables import TABLES
from dataflows.monitor.judge import Judge, Verdict

app = typer.Typer(help="Check rule files, and try them on a series.", no_args_is_help=True)
_SECOND_NS = 1_000_000_000
_AFTER_S = 7200.0
"""Log time goes on for so long after the last reading, so that delays end."""


@app.command("check")
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Rule files, as a deployment would add them.")] = None,
) -> None:
    """Validate rule files together with the built-in ones, and print the rules that are judged on readings."""
    rules = read_rules(files or [])
    table = Table("rule", "code", "limit", "clear", "delay", "priority", "text", box=None, pad_edge=False)
    for rule in rules.rules.values():
        if rule.bounds is not None:
            table.add_row(*_cells(rule), rule.text)
    console.print(table)
    announced = sum(rule.bounds is None for rule in rules.rules.values())
    say(f"{len(rules.rules)} rules, {announced} of them for detectors and scores; digest {rules.version}")
    say(f"profiles: {', '.join(rules.profiles)}")


def _cells(rule: Rule) -> tuple[str, ...]:
    assert rule.bounds is not None  # noqa: S101  (asked by the caller)
    side = ">" if rule.upwards else "<"
    measure = "" if rule.measure == "value" else f" {rule.measure} in {rule.within_s:g} s"
    priority = rule.priority.value
    if rule.severe_priority is not None:
        priority += f", {rule.severe_priority.value} {side} {rule.bounds.severe:g}"
    limit = f"{side} {rule.bounds.limit:g} {rule.unit}{measure}"
    return rule.name, rule.code or "", limit, f"{rule.bounds.clear:g}", f"{rule.bounds.delay_s:g} s", priority


@app.command("test")
def try_on(
    file: Annotated[Path, typer.Argument(help="Rule file.")],
    series: Annotated[Path, typer.Argument(help="CSV with a column time_s and one for each code (spo2, hr, ...).")],
    *,
    profile: Annotated[str, typer.Option(help="Profile of the patient.")] = "adult",
    everything: Annotated[bool, typer.Option("--all", help="Also what the built-in rules say.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Run the rules of a file on a recorded or synthetic series, and print when they would fire.

    Times are seconds of the series; it goes on for two hours after its last reading, so that delays end. `not told`
    says what was over before its delay. What detectors and scores find is not part of it; `vitals batch` runs all.
    """
    rules = read_rules([file])
    own = rules.rules.keys() if everything else _names(file, rules)
    lines = [line for line in fired(rules, series, profile) if line["rule"] in own]
    for line in lines:
        if as_json:
            sys.stdout.write(json.dumps(line) + "\n")
        else:
            console.print(
                f"{line['at_s']:>10.1f} s  {line['rule']:<24} {line['event']:<12} {line['priority']:<7}"
                f" {line['value']:g} (limit {line['limit']:g}){line['note']}",
                soft_wrap=True,
            )
    if not as_json:
        raised = sum(line["event"] == "raised" for line in lines)
        say(f"{raised} alerts" if lines else "no rule of this file fires")


def _names(file: Path, rules: RuleSet) -> set[str]:
    before = read_rules([]).rules
    return {name for name, rule in rules.rules.items() if before.get(name) != rule}


def fired(rules: RuleSet, series: Path, profile: str = "adult") -> Iterator[dict[str, Any]]:
    """Yields what a rule set says of a series: transitions, and conditions that were too short.

    Raises:
        RecordingError: The series cannot be read, or the flow would reject some of it.
        RuleError: There is no such profile.
    """
    if profile not in rules.profiles:
        message = f"there is no profile {profile}; there are {', '.join(rules.profiles)}"
        raise RuleError(message)
    judge = Judge(rules, {})
    argument = json.dumps({"profile": profile})
    asked = RecordedCommand(
        name="profile", actor="test", idempotency_key="1", log_ns=0, log_seq=1, argument_json=argument
    )
    said, at_ns = judge.on_events("main", "series", [asked], 0), 0
    for at_ns, readings in _readings(series):
        said += judge.on_events("main", "series", readings, at_ns)
    said += judge.on_events("main", "series", [], at_ns + round(_AFTER_S * _SECOND_NS))
    for one in said:
        if (line := _line(rules, one)) is not None:
            yield line


def _readings(series: Path) -> Iterator[tuple[int, list[Reading]]]:
    """Log time and readings of each row, as the flow takes them: what no device can say is no reading here either."""
    track = read_numerics(series).numerics
    assert track is not None  # noqa: S101  (a table of numerics has a numeric track)
    framer, signals = NumericFramer(Origin("series", "recorded")), Signals(SignalsConfig(silence_reading_s=0))
    validator = Validator(max_ahead_s=1e9, keep_waves_h=1e6, keep_rows_h=1e6)
    for number, (time_s, readings) in enumerate(zip(track.times_s, track.readings, strict=True), 2):
        at_ns = round(time_s * _SECOND_NS)
        frame = framer.frame(readings, at_ns)
        subject = subject_of(frame).replace("vitals.v1.", "vp.0.").encode()
        message = Messages.build([(subject, number, at_ns, frame.SerializeToString())])
        items, rejects = validator.check("main/series", message)
        for reject in rejects:
            text = f"{series}: at {time_s:g} s: the flow would reject this as {reject.reason}: {reject.detail}"
            raise RecordingError(text)
        yield at_ns, [one for one in signals.on_items(items).events if isinstance(one, Reading)]


def _line(rules: RuleSet, said: Verdict) -> dict[str, Any] | None:
    if isinstance(said, Alert):
        return {
            "at_s": said.log_ns / _SECOND_NS,
            "rule": said.rule,
            "event": said.event.value,
            "priority": said.priority.value,
            "value": said.value,
            "limit": said.limit,
            "note": "",
        }
    if said.table != "suppressed":
        return None
    row = dict(zip((name for name, _ in TABLES["suppressed"].columns), said.row, strict=True))
    return {
        "at_s": row["ts"] / _SECOND_NS,
        "rule": row["rule"],
        "event": "not told",
        "priority": rules.rules[row["rule"]].priority.value,
        "value": row["value"],
        "limit": row["limit_value"],
        "note": f"  over after {row['held_ns'] / _SECOND_NS:g} s ({row['reason']})",
    }
