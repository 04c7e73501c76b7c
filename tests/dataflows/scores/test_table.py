"""The point tables against the published ones, at every point of the grid."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.scores.table import ScoreTable, load, points_of, score

# As printed: points of a parameter by column (first and last value of the band), not derived from the tables in use.
NEWS2 = {
    "resp_rate": [(0, 8, 3), (9, 11, 1), (12, 20, 0), (21, 24, 2), (25, 120, 3)],
    "spo2": [(0, 91, 3), (92, 93, 2), (94, 95, 1), (96, 100, 0)],
    "oxygen": [(0, 0, 0), (1, 1, 2)],
    "sbp": [(0, 90, 3), (91, 100, 2), (101, 110, 1), (111, 219, 0), (220, 300, 3)],
    "pulse": [(0, 40, 3), (41, 50, 1), (51, 90, 0), (91, 110, 1), (111, 130, 2), (131, 300, 3)],
    "consciousness": [(0, 0, 0), (1, 4, 3)],
    "temp": [(20.0, 35.0, 3), (35.1, 36.0, 1), (36.1, 38.0, 0), (38.1, 39.0, 1), (39.1, 45.0, 2)],
}
SCALE_2 = {
    False: [(0, 83, 3), (84, 85, 2), (86, 87, 1), (88, 100, 0)],
    True: [(0, 83, 3), (84, 85, 2), (86, 87, 1), (88, 92, 0), (93, 94, 1), (95, 96, 2), (97, 100, 3)],
}
MEWS = {
    "sbp": [(0, 70, 3), (71, 80, 2), (81, 100, 1), (101, 199, 0), (200, 300, 2)],
    "pulse": [(0, 40, 2), (41, 50, 1), (51, 100, 0), (101, 110, 1), (111, 129, 2), (130, 300, 3)],
    "resp_rate": [(0, 8, 2), (9, 14, 0), (15, 20, 1), (21, 29, 2), (30, 120, 3)],
    "temp": [(20.0, 34.9, 2), (35.0, 38.4, 0), (38.5, 45.0, 2)],
    "consciousness": [(0, 0, 0), (2, 2, 1), (3, 3, 2), (4, 4, 3)],
}


def grid(printed, step):
    for first, last, points in printed:
        for number in range(round((last - first) / step) + 1):
            yield round(first + number * step, 1), points


@pytest.mark.parametrize(("name", "printed"), [("news2", NEWS2), ("mews", MEWS)])
def test_every_point_of_the_grid_has_the_published_points(name, printed):
    table = load(name)
    assert {one.name for one in table.parameters} == set(printed)
    checked = 0
    for parameter in table.parameters:
        for value, points in grid(printed[parameter.name], parameter.grid):
            assert points_of(parameter, value) == points, (parameter.name, value)
            checked += 1
    assert checked > 700


@pytest.mark.parametrize("on_oxygen", [False, True])
def test_every_saturation_has_the_published_points_on_scale_2(on_oxygen):
    (spo2,) = (one for one in load("news2").parameters if one.name == "spo2")
    for value, points in grid(SCALE_2[on_oxygen], 1):
        assert points_of(spo2, value, scale=2, on_oxygen=on_oxygen) == points, value


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [
        ("spo2", 91.49, 3),
        ("spo2", 91.5, 2),
        ("spo2", 92.5, 2),
        ("spo2", 95.5, 0),
        ("resp_rate", 8.4, 3),
        ("resp_rate", 8.5, 1),
        ("resp_rate", 24.5, 3),
        ("temp", 35.04, 3),
        ("temp", 35.05, 1),
        ("temp", 38.05, 1),
        ("temp", 39.04999, 1),
        ("temp", 36.049999999, 0),
        ("pulse", 40.5, 1),
        ("sbp", 219.5, 3),
    ],
)
def test_readings_between_two_bands_are_rounded_half_up(name, value, points):
    (parameter,) = (one for one in load("news2").parameters if one.name == name)
    assert points_of(parameter, value) == points


WELL = {"resp_rate": 16, "spo2": 97, "oxygen": 0, "sbp": 120, "pulse": 70, "consciousness": 0, "temp": 37.0}
WORST = {"resp_rate": 30, "spo2": 80, "oxygen": 1, "sbp": 70, "pulse": 150, "consciousness": 4, "temp": 34}


@pytest.mark.parametrize(
    ("changed", "total", "response"),
    [
        ({}, 0, "none"),
        ({"pulse": 95}, 1, "low"),
        ({"consciousness": 1}, 3, "low_medium"),
        ({"pulse": 115, "resp_rate": 22}, 4, "low"),
        ({"pulse": 115, "resp_rate": 22, "temp": 38.5}, 5, "medium"),
        ({"pulse": 140, "resp_rate": 22}, 5, "medium"),
        ({"pulse": 115, "resp_rate": 22, "oxygen": 1, "spo2": 95}, 7, "high"),
        (
            {"resp_rate": 30, "spo2": 80, "oxygen": 1, "sbp": 70, "pulse": 150, "consciousness": 4, "temp": 34},
            20,
            "high",
        ),
    ],
)
def test_the_response_follows_total_and_single_points(changed, total, response):
    found = score(load("news2"), WELL | changed)
    assert (found.total, found.response, found.complete) == (total, response, True)


def test_what_is_missing_is_listed_and_not_scored():
    found = score(load("news2"), {"spo2": 90})
    assert found.points == {"spo2": 3}
    assert found.missing == ("resp_rate", "oxygen", "sbp", "pulse", "consciousness", "temp")
    assert score(load("news2"), {}).missing == tuple(WELL)


def test_scale_2_has_no_points_where_they_depend_on_oxygen_that_nobody_stated():
    table = load("news2")
    assert score(table, {"spo2": 90}, scale=2).points == {"spo2": 0}
    assert score(table, {"spo2": 95}, scale=2).points == {}
    assert score(table, {"spo2": 95, "oxygen": 1}, scale=2).points == {"spo2": 2, "oxygen": 2}


@given(
    st.sampled_from(["resp_rate", "spo2", "sbp", "pulse", "temp"]),
    st.floats(-20, 300),
    st.floats(0, 50),
    st.booleans(),
)
def test_further_out_never_has_fewer_points(name, value, more, low):
    for table in (load("news2"), load("mews")):
        for parameter in (one for one in table.parameters if one.name == name):
            best = next(at for at in range(-20, 300) if points_of(parameter, at) == 0)
            away = min(value, best) - more if low else max(value, best) + more
            near = min(value, best) if low else max(value, best)
            assert (points_of(parameter, away) or 0) >= (points_of(parameter, near) or 0)


@given(st.dictionaries(st.sampled_from(list(WELL)), st.floats(0, 130), max_size=7), st.data())
def test_a_partial_total_is_a_lower_bound(values, data):
    table, fewer = load("news2"), dict(values)
    for name in data.draw(st.sets(st.sampled_from(list(WELL)))):
        fewer.pop(name, None)
    assert score(table, fewer).total <= score(table, values).total


@pytest.mark.parametrize(
    ("bands", "words"),
    [
        ([[8, 3], [7, 1], [1e999, 0]], "must ascend"),
        ([[8, 3], [20, 0]], "end with inf"),
        ([[8.5, 3], [1e999, 0]], "not on its grid"),
    ],
)
def test_a_table_that_is_none_is_refused_in_words(bands, words):
    table = msgspec.to_builtins(load("mews"))
    table["parameters"][0]["bands"] = bands
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(table, ScoreTable)


def test_tables_name_their_source():
    for name in ("news2", "mews"):
        assert json.dumps(load(name).source)
        assert load(name).source
