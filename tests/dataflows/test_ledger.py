"""The balance of the loss ledger on made-up evidence: every message has one outcome, and what is lost is named."""

import polars as pl

from dataflows.ledger import CHOICES_SCHEMA, OUTCOMES, RECEIVED_SCHEMA, REJECTED_SCHEMA, ROWS_SCHEMA, Evidence, account


def message(log_seq, seq, rows=1, patient="p1", partition=0):
    return (log_seq, partition, "main", patient, "patch", 1, "ecg_ii", seq, rows)


def rows(*found, patient="p1"):
    return pl.DataFrame(
        [("main", patient, "patch", 1, "ecg_ii", seq, n) for seq, n in found], ROWS_SCHEMA, orient="row"
    )


def balance(received, *, rejected=(), stored=(), late=(), spilled=(), refused=(), durable=None, choices=()):
    return account(
        Evidence(
            pl.DataFrame(received, RECEIVED_SCHEMA, orient="row"),
            pl.DataFrame(list(rejected), REJECTED_SCHEMA, orient="row"),
            rows(*stored),
            rows(*late),
            rows(*spilled),
            rows(*refused),
            durable or {},
            pl.DataFrame(list(choices), CHOICES_SCHEMA, orient="row"),
        )
    )


def outcomes(ledger):
    return {name: count for name, count in ledger.totals.items() if count and name != "received"}


def test_each_message_has_one_outcome():
    received = [message(n, n) for n in range(8)] + [message(8, 3), message(9, 0, rows=None)]
    ledger = balance(
        received,
        rejected=[(7, "overlap"), (9, "undecodable"), (9, "wrong_version")],
        stored=[(n, 1) for n in range(5)],
        late=[(4, 1)],
        spilled=[(5, 1)],
        refused=[(6, 1)],
    )
    assert outcomes(ledger) == {"stored": 4, "late": 1, "spilled": 1, "rejected": 3, "duplicate": 1}
    assert sum(ledger.totals[name] for name in OUTCOMES) == ledger.totals["received"] == 10
    assert ledger.lost.is_empty()


def test_what_is_nowhere_is_lost_unless_the_flow_has_yet_to_come_to_it():
    received = [message(10, 0), message(11, 1), message(12, 2)]
    assert outcomes(balance(received, stored=[(0, 1)])) == {"stored": 1, "lost": 2}
    ledger = balance(received, stored=[(0, 1)], durable={0: 11})
    assert outcomes(ledger) == {"stored": 1, "lost": 1, "in_flight": 1}
    assert ledger.lost.row(0, named=True)["seq"] == 1


def test_a_wave_that_somebody_chose_not_to_store_is_not_lost_and_nothing_else_is_excused():
    received = [message(n, n) for n in range(10, 16)] + [message(16, 0, patient="p2")]
    numeric = (17, 0, "main", "p1", "patch", 1, "numeric", 3, 1)
    choices = [("main", "p1", 11, "around_alerts"), ("main", "p1", 14, "all")]
    ledger = balance([*received, numeric], stored=[(10, 1), (12, 1)], choices=choices)
    assert outcomes(ledger) == {"stored": 2, "left_out": 2, "lost": 4}
    assert ledger.lost["log_seq"].to_list() == [14, 15, 16, 17]


def test_a_frame_of_three_readings_of_which_one_row_is_gone_is_lost():
    ledger = balance([message(1, 0, rows=3)], stored=[(0, 2)])
    lost = ledger.lost.row(0, named=True)
    assert (lost["log_seq"], lost["rows"], lost["found"]) == (1, 3, 2)
    assert outcomes(balance([message(1, 0, rows=3)], stored=[(0, 2)], spilled=[(0, 1)])) == {"spilled": 1}


def test_numbers_that_a_device_skipped_are_named_by_channel():
    received = [message(1, 0), message(2, 1), message(3, 5), message(4, 7), message(5, 9, patient="p2")]
    ledger = balance(received, stored=[(0, 1), (1, 1), (5, 1), (7, 1)])
    assert ledger.missing.select("first_seq", "last_seq", "frames").rows() == [(2, 4, 3), (6, 6, 1)]
    assert ledger.channels.select("patient", "missing").rows() == [("p1", 4), ("p2", 0)]


def test_nothing_received_is_a_balance_too():
    assert balance([]).totals == dict.fromkeys(("received", *OUTCOMES, "missing"), 0)
