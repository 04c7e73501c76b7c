"""The monitors of one patient, engine-free, and their Bytewax shells."""
