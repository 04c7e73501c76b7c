"""A patient's record as files: read back equal by the WFDB package, the same from database and lake, printed."""

import os
import re
import shutil
import time

import numpy as np
import polars as pl
import pytest
import wfdb
from playwright.sync_api import sync_playwright
from polars.testing import assert_frame_equal

from connectors.batch.work import steps
from connectors.devices import samples
from connectors.devices.load import load
from connectors.devices.plan import Plan
from connectors.export.drawing import gain_of, strip
from connectors.export.record import ExportError, PatientRecord, from_lake, from_questdb
from connectors.export.report import RANGES, html, in_range
from connectors.export.tables import write_tables
from connectors.export.wfdb_files import layout, write_wfdb
from connectors.lake.rows import INVALID, compact, frame_of
from connectors.lake.sink import LakePartition
from connectors.questdb.sink import QuestDBSink
from dataflows.contracts.tables import TABLES
from dataflows.monitor.rows import StoredRows
from dataflows.settings import LakeSettings, Settings

START_NS = 1_795_000_000_000_000_000
DAY_NS = 86_400_000_000_000
RECORDS = {path.name.removesuffix(".csv"): load(path) for path in samples.ALL}


def rows_of(name, tenant="main", start_ns=START_NS):
    """What the flow makes of a recording, by table."""
    rows = {}
    plan = Plan([RECORDS[name]], speed=0, start_ns=start_ns, boot=1, tenant=tenant)
    for step in steps(Settings(), plan):
        for source in (step.output, *step.verdicts):
            for table, found in source.rows():
                rows.setdefault(table, []).extend(found)
    return rows


def record_of(name):
    tables = {table: frame_of(table, compact(table, rows)).sort("ts") for table, rows in rows_of(name).items()}
    return PatientRecord("main", name, START_NS, START_NS + DAY_NS // 24, tables)


def test_wfdb_reads_back_every_count_and_beat_of_a_recording(tmp_path):
    record = record_of("203")
    (header,) = write_wfdb(record, tmp_path)
    found = wfdb.rdrecord(str(header.with_suffix("")), physical=False)
    waves = sorted(RECORDS["203"].waves, key=lambda wave: wave.signal)
    assert found.fs == waves[0].fs_mhz / 1000
    assert found.fmt == ["16"] * len(waves)
    by_name = dict(zip(found.sig_name, found.d_signal.T, strict=True))
    originals = {wave.name.lower(): wave for wave in waves}
    for name, counts in by_name.items():
        np.testing.assert_array_equal(counts, originals[name.removeprefix("ecg_")].counts)
    physical = wfdb.rdrecord(str(header.with_suffix("")))
    first = originals[physical.sig_name[0].removeprefix("ecg_")]
    np.testing.assert_allclose(physical.p_signal[:, 0], first.counts * first.lsb, atol=first.lsb / 1000)
    assert physical.units == ["mV"] * len(waves)

    beats = wfdb.rdann(str(header.with_suffix("")), "qrs")
    for channel, name in enumerate(found.sig_name):
        expected = record["beats"].filter(signal=name)["sample_index"].sort().to_list()
        assert beats.sample[beats.chan == channel].tolist() == expected
    assert {"N", "V"} <= set(beats.symbol)
    alerts = wfdb.rdann(str(header.with_suffix("")), "alr")
    raised = record["alerts"].filter(pl.col("event") == "raised")
    assert len(alerts.sample) == raised.height > 0
    assert any("tachycardia" in note for note in alerts.aux_note)


def test_a_gap_is_invalid_and_frames_stand_where_their_time_puts_them():
    record = record_of("100")
    waveforms = record["waveforms"].filter(~pl.col("seq").is_in([5, 6]))
    one = layout(PatientRecord("main", "100", 0, 1, {"waveforms": waveforms}))[0]
    counts = one.channels[0].counts
    fs = int(one.fs_hz)
    assert (counts[5 * fs : 7 * fs] == INVALID).all()
    original = next(wave for wave in RECORDS["100"].waves if one.channels[0].signal.endswith(wave.name.lower()))
    np.testing.assert_array_equal(counts[7 * fs :], original.counts[7 * fs :])


def test_rates_are_records_of_their_own_and_a_span_beyond_memory_is_refused(tmp_path):
    record = record_of("100")
    other = record["waveforms"].filter(signal="ecg_v5").with_columns(fs_hz=pl.lit(180.0), signal=pl.lit("pleth"))
    both = pl.concat([record["waveforms"], other])
    headers = write_wfdb(PatientRecord("main", "p-1", 0, 1, {"waveforms": both}), tmp_path)
    assert sorted(header.name for header in headers) == ["p_1_180hz.hea", "p_1_360hz.hea"]
    late = record["waveforms"].with_columns(ts=pl.col("ts").dt.offset_by("30d"), boot=pl.lit(2, pl.Int64))
    with pytest.raises(ExportError, match="shorter span"):
        layout(PatientRecord("main", "p", 0, 1, {"waveforms": pl.concat([record["waveforms"], late])}))
    with pytest.raises(ExportError, match="no waves"):
        write_wfdb(PatientRecord("main", "p", 0, 1, {}), tmp_path)


@pytest.mark.services
def test_database_and_lake_give_the_same_record(questdb, tmp_path):
    # Of today: others write into the same database, which drops waves that are three days older than its newest.
    start_ns = time.time_ns() - DAY_NS // 24
    rows = [StoredRows(list(rows_of("a161l", tenant="export", start_ns=start_ns).items()))]
    patient = questdb.settings.model_copy(update={"ack_timeout_ms": 60_000})
    sink = QuestDBSink(patient, lambda: None).build_part("rows", "questdb/0", None)
    sink.write_batch(rows)
    sink.snapshot()
    lake = LakePartition(LakeSettings(root=tmp_path), 0, "6a1b", None)
    lake.write_batch(rows)
    lake.snapshot()
    questdb.reader.wait_applied()
    span = (start_ns, start_ns + DAY_NS)
    stored = from_questdb(questdb.reader, ("export", "a161l"), span)
    kept = from_lake(tmp_path, ("export", "a161l"), span)
    assert stored["alerts"].height > 0
    assert stored["waveforms"].height > 0
    for name in stored.tables:
        by = list(TABLES[name].dedup)
        assert_frame_equal(stored[name].sort(by), kept[name].sort(by))
    assert from_questdb(questdb.reader, ("export", "no'body"), span).empty


def test_tables_come_back_from_csv_and_parquet(tmp_path):
    record = record_of("uw_100006")
    written = write_tables(record, tmp_path, "csv") + write_tables(record, tmp_path, "parquet")
    assert {path.name for path in written} >= {"observations.csv", "observations.parquet", "desaturations.csv"}
    assert_frame_equal(pl.read_parquet(tmp_path / "observations.parquet"), record["observations"])
    text = pl.read_csv(tmp_path / "observations.csv")
    assert text["value"].to_list() == record["observations"]["value"].to_list()
    assert text["ts"][0].startswith("2026-11-18T")


def test_time_in_range_lets_a_reading_hold_until_the_next_one_but_not_over_a_gap():
    spo2 = next(wanted for wanted in RANGES if wanted.code == "spo2")
    frame = pl.DataFrame({"ts_s": [0.0, 1.0, 2.0, 3.0, 1000.0], "value": [97.0, 97.0, 90.0, 97.0, 90.0]})
    # 1 + 1 in range, 1 out; the reading before the gap holds 3 s; the last one a usual pause, out of range.
    assert in_range(frame, spo2) == pytest.approx(5 / 7)
    assert in_range(frame.head(1), spo2) is None


@pytest.mark.parametrize(("span_mv", "gain"), [(0.0, 10), (3.7, 10), (3.9, 5), (7.5, 5), (8.0, 2.5)])
def test_a_strip_is_drawn_whole_at_a_gain_of_paper(span_mv, gain):
    samples = np.array([0.3, 0.3 - span_mv / 3, 0.3 + 2 * span_mv / 3, np.nan])
    assert gain_of(samples) == gain
    drawn = strip(samples, 250.0, in_mv=True, marks=[])
    path = drawn.partition('class="line"')[0].rpartition("d=")[2]
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ (-?[\d.]+)", path)]
    assert len(heights) == 3
    assert min(heights) >= 0
    assert max(heights) <= 38
    assert max(heights) - min(heights) == pytest.approx(span_mv * gain, abs=0.02)


def test_the_report_says_what_the_tables_say_and_prints(tmp_path):
    record = record_of("203")
    text = html(record)
    raised = record["alerts"].filter(pl.col("event") == "raised")
    assert text.count('class="strip"') == raised.height
    assert f"{raised.height} alerts," in text
    assert "&lt;b&gt;" in html(PatientRecord("main", "<b>", 0, 1, {}))
    path = tmp_path / "report.html"
    path.write_text(text)
    names = (os.environ.get("VITALS_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if name and (found := shutil.which(name))), None)
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium: name one in VITALS_CHROMIUM")
    with sync_playwright() as browser:
        chromium = browser.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = chromium.new_page()
        page.goto(path.as_uri())
        width_mm = page.locator("svg.strip").first.evaluate("e => e.getBoundingClientRect().width") / 96 * 25.4
        pdf = page.pdf(prefer_css_page_size=True, path=tmp_path / "report.pdf")
        chromium.close()
    assert width_mm == pytest.approx(175, abs=0.1)  # 7 s at 25 mm/s
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert 2 <= pages <= raised.height
