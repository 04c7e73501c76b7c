"""The loss ledger after the fact: every message of the log, and what became of it. Pure; the figures come in as frames.

received = stored + late + duplicate + rejected + spilled + left out + in flight + lost, and lost must be 0. A frame is
known by (tenant, patient, device, boot, signal, seq); a message is rejected by its own sequence in the log. A frame
counts as stored only when all its rows are there. Left out is a wave that somebody chose not to store.
"""

from dataclasses import dataclass, field

import polars as pl

IDENTITY = ("tenant", "patient", "device", "boot", "signal", "seq")
CHANNEL = ("tenant", "patient", "device", "signal")
OUTCOMES = ("stored", "late", "duplicate", "rejected", "spilled", "left_out", "in_flight", "lost")

_TEXT = {name: pl.String() for name in CHANNEL}
_IDENTITY_SCHEMA = {name: _TEXT.get(name, pl.Int64()) for name in IDENTITY}
RECEIVED_SCHEMA = {"log_seq": pl.Int64(), "partition": pl.Int64(), **_IDENTITY_SCHEMA, "rows": pl.Int64()}
"""A message: its place, whose it is, and how many rows it makes; boot, seq and rows are null where it says nothing."""
REJECTED_SCHEMA = {"log_seq": pl.Int64(), "reason": pl.String()}
ROWS_SCHEMA = {**_IDENTITY_SCHEMA, "rows": pl.Int64()}
"""How many rows of a frame are somewhere."""
CHOICES_SCHEMA = {"tenant": pl.String(), "patient": pl.String(), "since_seq": pl.Int64(), "keep": pl.String()}
"""What is stored of a patient's waves from a message of the log on."""
_NO_WAVES = ("numeric", "questionnaire")


@dataclass(frozen=True)
class Evidence:
    """What was found.

    Attributes:
        received: Messages of the log that are frames or pretend to be, as `RECEIVED_SCHEMA`, in log order.
        rejected: Messages in REJECTED, as `REJECTED_SCHEMA`.
        stored: Rows in the database, as `ROWS_SCHEMA`.
        late: Identities listed in `late_frames`.
        spilled: Rows that wait in SPILL, as `ROWS_SCHEMA`.
        refused: Rows that the database refused for their content, as `ROWS_SCHEMA`.
        durable: Sequence of the log up to which the flow is done, per partition; what is absent counts as done.
        choices: What commands said of waves, as `CHOICES_SCHEMA`; all are stored where nobody said anything.
    """

    received: pl.DataFrame
    rejected: pl.DataFrame
    stored: pl.DataFrame
    late: pl.DataFrame
    spilled: pl.DataFrame
    refused: pl.DataFrame
    durable: dict[int, int]
    choices: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CHOICES_SCHEMA))


@dataclass(frozen=True)
class Ledger:
    """The balance.

    Attributes:
        channels: One row per tenant, patient, device and signal: `received`, each of `OUTCOMES`, `missing`.
        partitions: The same per partition of the log.
        lost: Messages that are nowhere, in log order, with the rows they should have and have.
        missing: Frames that never came, by the numbers of those around them: first and last of each gap.
    """

    channels: pl.DataFrame
    partitions: pl.DataFrame
    lost: pl.DataFrame
    missing: pl.DataFrame

    @property
    def totals(self) -> dict[str, int]:
        """Sums over everything."""
        names = ("received", *OUTCOMES)
        return {name: int(self.partitions[name].sum()) for name in names} | {
            "missing": int(self.missing["frames"].sum())
        }


def account(evidence: Evidence) -> Ledger:
    """Gives every received message its outcome and adds up."""
    judged = _outcomes(evidence)
    missing = _gaps(judged)
    gaps = missing.group_by(CHANNEL).agg(pl.col("frames").sum().alias("missing"))
    channels = _sums(judged, CHANNEL).join(gaps, CHANNEL, "left").with_columns(pl.col("missing").fill_null(0))
    lost = judged.filter(pl.col("outcome") == "lost").select("log_seq", *IDENTITY, "rows", "found")
    return Ledger(channels.sort(CHANNEL), _sums(judged, ("partition",)).sort("partition"), lost, missing)


def _outcomes(evidence: Evidence) -> pl.DataFrame:
    # A message may have been rejected for several reasons by several versions: one is enough.
    rejected = evidence.rejected.unique("log_seq", keep="first")
    known = evidence.received.join(rejected, "log_seq", "left")
    again = pl.int_range(pl.len()).over(IDENTITY, order_by="log_seq") > 0
    accepted = known.filter(pl.col("reason").is_null()).with_columns(again.alias("again"))
    for name, rows in (("stored", evidence.stored), ("spilled", evidence.spilled), ("refused", evidence.refused)):
        counted = rows.group_by(IDENTITY).agg(pl.col("rows").sum().alias(f"{name}_rows"))
        accepted = accepted.join(counted, IDENTITY, "left").with_columns(pl.col(f"{name}_rows").fill_null(0))
    late = evidence.late.select(IDENTITY).unique().with_columns(pl.lit(value=True).alias("is_late"))
    done = pl.DataFrame(
        {"partition": list(evidence.durable), "done_seq": list(evidence.durable.values())},
        {"partition": pl.Int64(), "done_seq": pl.Int64()},
    )
    accepted = accepted.join(late, IDENTITY, "left").join(done, "partition", "left").sort("log_seq")
    choices = evidence.choices.sort("since_seq")
    by = ["tenant", "patient"]
    accepted = accepted.join_asof(
        choices, left_on="log_seq", right_on="since_seq", by=by, check_sortedness=False, strategy="backward"
    )
    chosen = ~pl.col("keep").fill_null("all").eq("all") & ~pl.col("signal").is_in(_NO_WAVES)
    stored, spilled = pl.col("stored_rows"), pl.col("spilled_rows")
    outcome = (
        pl.when(pl.col("again"))
        .then(pl.lit("duplicate"))
        .when(stored >= pl.col("rows"))
        .then(pl.when(pl.col("is_late")).then(pl.lit("late")).otherwise(pl.lit("stored")))
        .when(stored + spilled >= pl.col("rows"))
        .then(pl.lit("spilled"))
        .when(stored + spilled + pl.col("refused_rows") >= pl.col("rows"))
        .then(pl.lit("rejected"))
        .when(pl.col("log_seq") > pl.col("done_seq"))
        .then(pl.lit("in_flight"))
        .when(chosen)
        .then(pl.lit("left_out"))
        .otherwise(pl.lit("lost"))
    )
    columns = (*RECEIVED_SCHEMA, "outcome", "found")
    judged = accepted.with_columns(outcome.alias("outcome"), (stored + spilled).alias("found")).select(columns)
    refused = known.filter(pl.col("reason").is_not_null()).with_columns(
        pl.lit("rejected").alias("outcome"), pl.lit(0, pl.Int64).alias("found")
    )
    return pl.concat([judged, refused.select(columns)]).sort("log_seq")


def _sums(judged: pl.DataFrame, by: tuple[str, ...]) -> pl.DataFrame:
    counts = [(pl.col("outcome") == name).sum().cast(pl.Int64).alias(name) for name in OUTCOMES]
    return judged.group_by(by).agg(pl.len().cast(pl.Int64).alias("received"), *counts)


def _gaps(judged: pl.DataFrame) -> pl.DataFrame:
    """Numbers that a device skipped within a boot, between frames that were taken."""
    taken = judged.filter(~pl.col("outcome").is_in(["rejected", "duplicate"])).select(IDENTITY).unique().sort(IDENTITY)
    start = (*CHANNEL, "boot")
    before = pl.col("seq").shift(1).over(start, order_by="seq")
    gaps = taken.with_columns((before + 1).alias("first_seq"), (pl.col("seq") - 1).alias("last_seq"))
    gaps = gaps.filter(pl.col("first_seq") <= pl.col("last_seq"))
    frames = (pl.col("last_seq") - pl.col("first_seq") + 1).alias("frames")
    return gaps.select(*CHANNEL, "boot", "first_seq", "last_seq", frames)
