"""Every fault that the pipeline is tried with, in the order of the matrix. bench/chaos.py draws from the same table."""

import contextlib
import resource
import shutil
import time
from collections import Counter

from bench.traffic import NS
from connectors.local.process import StackError
from connectors.questdb.http import QuestDBUnavailableError
from connectors.questdb.reads import resume_sql
from connectors.questdb.schema import LOGGED, ROLLUPS
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, message_id, subject_of
from tests.faults.ground import REJECTS, Fault, Ground
from tests.waiting import until

NOTHING = "nothing lost, nothing twice"
RESUMES = 15
"""After so many tries a transaction is damaged: what a full disk alone suspends comes back with the first or second."""
DEATHS = 3
"""After so many deaths of the server it is not the full disk alone either."""
CALM_S = 3.0


def kill_flow(ground: Ground) -> None:
    ground.flow.kill()


def kill_second(ground: Ground) -> None:
    ground.flow.kill(1)


def drain(ground: Ground) -> None:
    ground.flow.stop()


def begin(ground: Ground) -> None:
    ground.flow.begin()


def kill_nats(ground: Ground) -> None:
    ground.nats.kill()


def start_nats(ground: Ground) -> None:
    ground.nats.start()


def kill_questdb(ground: Ground) -> None:
    ground.questdb.kill()


def start_questdb(ground: Ground) -> None:
    ground.questdb.start()


def kill_both(ground: Ground) -> None:
    ground.nats.kill()
    ground.questdb.kill()


def start_both(ground: Ground) -> None:
    ground.nats.start()
    ground.questdb.start()


def suspend(ground: Ground) -> None:
    """QuestDB forgets a suspension that meets a transaction being applied: it is said until it holds."""

    def suspended() -> bool:
        hidden = hides_rows(ground)
        if not hidden:
            ground.questdb.http.execute("ALTER TABLE observations SUSPEND WAL")
        return hidden

    until(suspended, 60, poll_s=0.5)


def resume(ground: Ground) -> None:
    ground.questdb.http.execute("ALTER TABLE observations RESUME WAL")


def make_read_only(ground: Ground) -> None:
    ground.questdb.kill()
    ground.questdb.extra["http.security.readonly"] = "true"
    ground.questdb.start()


def make_writable(ground: Ground) -> None:
    ground.questdb.kill()
    del ground.questdb.extra["http.security.readonly"]
    ground.questdb.start()


def fill_disk(ground: Ground) -> None:
    """No file of the database may grow: what a full disk is to it, without a disk that this test may fill."""
    resource.prlimit(ground.questdb.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))


def free_disk(ground: Ground) -> None:
    """Room again, and what an operator does then: docs/guarantees.md, "After a full disk".

    A table that met the full disk is suspended until somebody resumes it, and one more may be a moment later, for a
    write that failed before there was room. A server that ended is started again.
    """
    with contextlib.suppress(ProcessLookupError):  # it ended while the disk was full
        resource.prlimit(ground.questdb.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    resumed, deaths, suspended_at = Counter(), 0, time.monotonic()

    def damaged() -> set[str]:
        return {name for (name, _), times in resumed.items() if times > RESUMES}

    def mended() -> bool:
        nonlocal deaths, suspended_at
        if not ground.questdb.alive:
            deaths, suspended_at = deaths + 1, time.monotonic()
            with contextlib.suppress(StackError):  # it ended again while it started
                ground.questdb.start()
            return False
        try:
            tables = wal_tables(ground)
        except QuestDBUnavailableError:  # it ends just now
            return False
        for table in (table for table in tables if table["suspended"]):
            suspended_at = time.monotonic()
            resumed[table["name"], int(table["writerTxn"])] += 1
            ground.questdb.http.execute(resume_sql(table["name"]))
        return not any(map(waits, tables)) and ground.whole.is_drained() and time.monotonic() > suspended_at + CALM_S

    until(lambda: damaged() or deaths > DEATHS or mended(), poll_s=0.2)
    if damaged() or deaths > DEATHS:
        leave_out(ground, damaged())
        until(mended, poll_s=0.2)


def wal_tables(ground: Ground) -> list[dict[str, object]]:
    """How far the log of each table and roll-up is, and whether it is applied."""
    rows = ground.questdb.http.rows("SELECT * FROM wal_tables()")
    return [row for row in rows if row["name"] in LOGGED]


def waits(table: dict[str, object]) -> bool:
    """Whether a table's log holds what is not applied."""
    return int(table["sequencerTxn"]) > int(table["writerTxn"])


def leave_out(ground: Ground, damaged: set[str]) -> None:
    """Gives up what a table's log holds and cannot be applied, and has the flow write every row of the log again.

    Now and then QuestDB has damaged a transaction that it acknowledged (texts that point nowhere): no resuming helps,
    or the server ends whenever it applies it, and then any table that waits may be the one. Neither will the next ones
    be applied, whose writer goes on in the damaged file. So it is done by a server that applies nothing; one that was
    restarted begins another file.
    """
    ground.flow.stop()
    ground.questdb.kill()
    ground.questdb.extra["cairo.wal.apply.enabled"] = "false"
    ground.questdb.start()
    http = ground.questdb.http
    left_out = [table for table in wal_tables(ground) if waits(table) and (not damaged or table["name"] in damaged)]
    for table in left_out:
        resume = resume_sql(table["name"])
        http.execute(resume.replace("RESUME", "SUSPEND"))  # nothing is skipped of a table that is not suspended
        http.execute(f"{resume} FROM TXN {int(table['sequencerTxn']) + 1}")
    ground.questdb.kill()
    del ground.questdb.extra["cairo.wal.apply.enabled"]
    ground.questdb.start()
    names = sorted(table["name"] for table in left_out)
    for name in ROLLUPS.keys() & set(names):
        http.execute(f"REFRESH MATERIALIZED VIEW {name} FULL")
    shutil.rmtree(ground.flow.store.folder)
    ground.flow.begin()
    ground.notes.append(f"QuestDB damaged what it had acknowledged for {names}: written again from the log")


def slow_questdb(ground: Ground) -> None:
    ground.questdb_wire.slow(0.7)


def cut_questdb(ground: Ground) -> None:
    ground.questdb_wire.cut()


def join_questdb(ground: Ground) -> None:
    ground.questdb_wire.heal()


def cut_nats(ground: Ground) -> None:
    ground.nats_wire.cut()


def join_nats(ground: Ground) -> None:
    ground.nats_wire.heal()


def two_processes(ground: Ground) -> None:
    ground.flow.stop()
    ground.flow.begin(2)


def one_process(ground: Ground) -> None:
    ground.flow.stop()
    ground.flow.begin(1)


def poison(ground: Ground) -> None:
    """Bytes that are no frame, an empty message, one that is too large, and a frame of somebody else."""
    _, _, payload = ground.ward.messages(0, 0)[0]
    subject = "vitals.v1.main.p00000.poison.ecg_ii"
    ground.devices.also(
        (subject, [], b"\xff" * 40), (subject, [], b""), (subject, [], bytes(70_000)), (subject, [], payload)
    )


def jump_clock(ground: Ground) -> None:
    """A device whose clock goes an hour back, an hour forward, and to 1970."""
    for boot, offset_s in enumerate((0, -3600, 3600, -time.time()), 1):
        origin = Origin("p00000", f"jumper{time.monotonic_ns()}", boot)
        frame = origin.frame(pb.SIGNAL_NUMERIC, 0, 0, time.time_ns() + int(offset_s * NS))
        frame.observations.items.add(code=pb.CODE_SPO2, value=97, unit=pb.UNIT_PERCENT)
        headers = [("Nats-Msg-Id", message_id(frame))]
        ground.devices.also((subject_of(frame), headers, frame.SerializeToString()))


def lose_recovery(ground: Ground) -> None:
    ground.flow.stop()
    shutil.rmtree(ground.flow.store.folder)


def corrupt_recovery(ground: Ground) -> None:
    ground.flow.stop()
    for file in ground.flow.store.files():
        file.write_bytes(b"no database" + file.read_bytes()[11:])
    ground.flow.begin()
    until(lambda: ground.flow.code is not None, 30)


def mend_recovery(ground: Ground) -> None:
    assert "is damaged" in ground.flow.said[-1], ground.flow.said[-3:]
    shutil.rmtree(ground.flow.store.folder)
    ground.flow.begin()


def restarted(ground: Ground) -> bool:
    """The flow died and was started again."""
    return ground.flow.total_restarts > ground.restarts_before


def spills(ground: Ground) -> bool:
    """Rows go by SPILL."""
    return ground.last_of("SPILL") > ground.spilled_before


def hides_rows(ground: Ground) -> bool:
    """A table acknowledges rows and does not show them."""
    return any(state.suspended and state.pending_transactions for state in ground.questdb.reader.health())


def has_no_room(ground: Ground) -> bool:
    """The database refuses rows, or has suspended a table."""
    return spills(ground) or hides_rows(ground)


def rejects(ground: Ground) -> bool:
    """Messages went to REJECTED."""
    return ground.last_of("REJECTED", REJECTS) > ground.rejected_before


FLOW = (
    Fault("kill -9 of the flow", NOTHING, kill_flow, bites=restarted, cuts=1),
    Fault("SIGTERM of the flow", f"{NOTHING}; ends at an epoch's end", drain, begin),
    Fault("flow away for longer than the dedupe window", NOTHING, drain, begin, hold_s=4.0),
)
SERVERS = (
    Fault("kill -9 of NATS", f"{NOTHING} that was acknowledged", kill_nats, start_nats, cuts=1),
    Fault("kill -9 of QuestDB", f"{NOTHING}; alerts do not wait", kill_questdb, start_questdb, bites=spills, cuts=1),
    Fault("kill -9 of NATS and QuestDB", f"{NOTHING} that was acknowledged", kill_both, start_both, cuts=2),
)
STORAGE = (
    Fault("suspended table", f"{NOTHING}; visible once it is resumed", suspend, resume, hides_rows),
    Fault("read-only database", NOTHING, make_read_only, make_writable, spills, cuts=2),
    Fault(
        "full disk of the database", f"{NOTHING}; visible once there is room", fill_disk, free_disk, has_no_room, 3.0
    ),
    Fault("slow database", f"{NOTHING}; rows go by SPILL", slow_questdb, join_questdb, spills, 3.0),
)
NETWORK = (
    Fault("network cut to the database, no reset", NOTHING, cut_questdb, join_questdb, spills, 3.0),
    Fault("network cut to NATS, no reset", f"{NOTHING}; noticed by heartbeats", cut_nats, join_nats, restarted, 3.0),
)
INPUT = (
    Fault("poison messages", "rejected with their bytes; neighbours are not touched", poison, bites=rejects),
    Fault("clock jumps of a device", "stored or rejected, never dropped", jump_clock, bites=rejects),
)
SCALE = (
    Fault("rescale to two processes", NOTHING, two_processes),
    Fault("kill -9 of one of two processes", NOTHING, kill_second, bites=restarted, cuts=1),
    Fault("rescale to one process", NOTHING, one_process),
)
STATE = (
    Fault("recovery folder lost", f"{NOTHING}; the log is read from its first message", lose_recovery, begin),
    Fault("recovery folder corrupt", f"refused in words; removed, {NOTHING}", corrupt_recovery, mend_recovery),
)
FAULTS = (*FLOW, *SERVERS, *STORAGE, *NETWORK, *INPUT, *SCALE, *STATE)
"""The matrix."""
