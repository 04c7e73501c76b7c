"""Re-analysis: the monitors over files, on many processors, with the rows that the flow would write."""
