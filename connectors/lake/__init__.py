"""The data lake: every table as Parquet files, once each, from the log (`dataflows.archive`). docs/lake.md."""
