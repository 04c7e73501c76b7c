"""The flow over the stream's history: the same graph between another source and other sinks, and the comparison."""
