"""The sink inside Bytewax: a recovered flow writes again what the last epoch held, and the table shows it once."""

from datetime import timedelta

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, cluster_main

from connectors.questdb.sink import QuestDBSink
from tests.connectors.questdb.rows import Output, Recorder, waveform

pytestmark = pytest.mark.services


@pytest.mark.parametrize("parts", [1, 3])
def test_an_aborted_flow_resumes_and_every_row_is_there_once(questdb, tmp_path, parts):
    patients = [f"flow{parts}-{n}" for n in range(4)]
    items = [(patient, Output([waveform(patient, seq)])) for seq in range(25) for patient in patients]
    inputs = [*items[:60], TestingSource.ABORT(), *items[60:], TestingSource.EOF()]
    recorder = Recorder()
    settings = questdb.settings.model_copy(update={"ack_timeout_ms": 20_000})
    flow = Dataflow("storage")
    stream = op.input("items", flow, TestingSource(inputs, batch_size=7))
    op.output("store", stream, QuestDBSink(settings, lambda: recorder, parts=parts))
    init_db_dir(tmp_path, 1)
    for _ in range(2):
        cluster_main(flow, [], 0, epoch_interval=timedelta(0), recovery_config=RecoveryConfig(str(tmp_path)))

    questdb.reader.wait_applied()
    where = f"patient LIKE 'flow{parts}-%'"
    assert recorder.messages == []
    assert questdb.reader.count("waveforms", where) == len(items)
    assert questdb.reader.query(f"SELECT patient FROM waveforms WHERE {where}")["patient"].n_unique() == len(patients)
