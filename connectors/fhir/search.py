"""Search parameters of FHIR: each gives what it means for a query, or a `ProblemError` that names it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request

from connectors.api.problems import ProblemError
from connectors.api.requests import moment, token
from connectors.fhir import resources
from connectors.fhir.resources import PANEL, PRESSURES, Resource

_DATE = re.compile(r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d))?)?")
_MINUTE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d)(Z|[+-]\d\d:\d\d)")
_FRACTION = re.compile(r"\.(\d{1,9})(?=Z|[+-]\d\d:\d\d$|$)")
_PREFIXES = {"ge": (0, None), "gt": (1, None), "sa": (1, None), "lt": (None, 0), "eb": (None, 0), "le": (None, 1)}
"""From and to, each as the begin (0) or the end (1) of the period that the value names."""
CATEGORIES = ("vital-signs", "laboratory", "procedure")
INCLUDES = {
    "Observation": {"patient": "subject", "subject": "subject", "device": "device"},
    "Flag": {"patient": "subject", "subject": "subject", "author": "author"},
}


def period(text: str) -> tuple[int, int]:
    """Returns begin and end of what a date or time names: a year, month, day, minute, second or less; UTC for dates.

    Raises:
        ProblemError: It is none of these, or a time without its zone.
    """
    if (match := _DATE.fullmatch(text)) is not None:
        year, month, day = (int(match[name] or 0) for name in ("year", "month", "day"))
        try:
            begin = datetime(year, month or 1, day or 1, tzinfo=UTC)
            if day:
                end = datetime.fromordinal(begin.toordinal() + 1).replace(tzinfo=UTC)
            else:
                end = datetime(year + (not month or month == 12), month % 12 + 1 if month else 1, 1, tzinfo=UTC)
        except ValueError:
            raise ProblemError(400, f"date: there is no {text}") from None
        return int(begin.timestamp()) * 10**9, int(end.timestamp()) * 10**9
    if (match := _MINUTE.fullmatch(text.replace(" ", "+"))) is not None:
        at_ns = moment(f"{match[1]}:00{match[2]}", "date")
        return at_ns, at_ns + 60 * 10**9
    # Rows have nanoseconds, which `datetime` has not.
    fraction = _FRACTION.search(text)
    at_ns = moment(_FRACTION.sub("", text), "date") + (int(fraction[1].ljust(9, "0")) if fraction else 0)
    return at_ns, at_ns + 1


def dates(values: list[str]) -> tuple[int | None, int | None]:
    """Returns from (inclusive) and to (exclusive) of the parameters `date`, None where they say nothing.

    Raises:
        ProblemError: A value is no time with zone, or has an unknown prefix.
    """
    begin = end = None
    for value in values:
        prefix, text = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
        named = period(text)
        if prefix == "eq":
            bounds: tuple[int | None, int | None] = named
        elif prefix in _PREFIXES:
            first, last = _PREFIXES[prefix]
            bounds = (None if first is None else named[first], None if last is None else named[last])
        else:
            raise ProblemError(400, f"date: prefix one of eq, {', '.join(_PREFIXES)}, not {prefix}")
        begin = bounds[0] if begin is None else max(begin, bounds[0] or begin)
        end = bounds[1] if end is None else min(end, bounds[1] or end)
    return begin, end


def newest_first(request: Request) -> bool:
    """Returns whether `_sort` asks for the newest first; the oldest come first by themselves.

    Raises:
        ProblemError: It asks for another order.
    """
    asked = request.query_params.get("_sort", "date")
    if asked not in {"date", "-date"}:
        raise ProblemError(400, f"_sort: date or -date, not {asked}")
    return asked == "-date"


@dataclass(frozen=True)
class Wanted:
    """Which Observations are asked for.

    Attributes:
        codes: Codes of the rows that they are made of; none: all.
        signals: Signals, where frames of waves are asked for.
        fits: Whether a resource is one of them.
    """

    codes: tuple[str, ...]
    signals: tuple[str, ...]
    fits: Callable[[Resource], bool]


def _names(request: Request, parameter: str) -> list[str] | None:
    """Our names of the codes of a parameter; a comma is an or. None where it is not given."""
    asked = request.query_params.get(parameter)
    if not asked:
        return None
    found = []
    for one in asked.split(","):
        system, bar, value = one.rpartition("|")
        known = {"", resources.LOINC, f"{resources.BASE}/code", f"{resources.BASE}/signal"}
        if bar and system not in known:
            raise ProblemError(400, f"{parameter}: no system {system}")
        found.append(resources.by_loinc(value) or token(value, parameter))
    return found


def own_code(part: Resource) -> str:
    """Our name of what a resource or a component is about."""
    return str(part["code"]["coding"][-1]["code"])


def wanted(request: Request) -> Wanted:
    """Returns what `code`, `combo-code`, `component-code` and `category` ask for.

    Raises:
        ProblemError: A code of a system that is not served, waves and readings together, or an unknown category.
    """
    code, combo, component = (_names(request, name) for name in ("code", "combo-code", "component-code"))
    category = request.query_params.get("category")
    category = category and category.rpartition("|")[2]
    if category and category not in CATEGORIES:
        raise ProblemError(400, f"category: one of {', '.join(CATEGORIES)}, not {category}")
    names = [name for given in (code, combo, component) for name in given or ()]
    signals = tuple(name for name in code or () if name not in resources.CODES and name not in resources.OTHER_CODES)
    if signals and len(signals) < len(names):
        raise ProblemError(400, "code: waves and readings are searched one after the other")
    # A pressure is looked for with those of its moment: together they are one Observation.
    pressures = PRESSURES if {PANEL, *PRESSURES} & set(names) else ()
    rows = tuple(dict.fromkeys([name for name in names if name != PANEL] + list(pressures)))

    def fits(resource: Resource) -> bool:
        own, parts = own_code(resource), {own_code(part) for part in resource.get("component", ())}
        return (
            (code is None or own in code)
            and (combo is None or not parts.union({own}).isdisjoint(combo))
            and (component is None or not parts.isdisjoint(component))
            and (not category or resource["category"][0]["coding"][0]["code"] == category)
        )

    return Wanted(() if signals else rows, signals, fits)


def references(request: Request, kind: str, found: list[Resource]) -> list[tuple[str, str, str]]:
    """Returns what `_include` asks for beside results: type, name and patient of each resource once.

    Raises:
        ProblemError: Something else than what resources of this kind refer to.
    """
    asked: set[str] = set()
    for value in request.query_params.getlist("_include"):
        source, _, name = value.partition(":")
        if source != kind or name.partition(":")[0] not in INCLUDES[kind]:
            raise ProblemError(400, f"_include: one of {', '.join(f'{kind}:{one}' for one in INCLUDES[kind])}")
        asked.add(INCLUDES[kind][name.partition(":")[0]])
    unique: dict[tuple[str, str], str] = {}
    for resource in found:
        patient = resources.patient_id_of(resource["subject"]["reference"])
        for field in sorted(asked):
            what, _, name = resource[field]["reference"].partition("/")
            unique.setdefault((what, resources.patient_id_of(name)), patient)
    return [(what, name, patient) for (what, name), patient in unique.items()]
