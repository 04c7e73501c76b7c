"""A patient's record out of the pipeline: WFDB, CSV, Parquet, a report to print. docs/export.md."""
