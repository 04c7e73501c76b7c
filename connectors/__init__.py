"""Everything that touches the outside world; it decides nothing."""
