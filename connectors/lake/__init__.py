"""The data lake: every table as Parquet files, written exactly once from the log (`dataflows.archive`). docs/lake.md."""
