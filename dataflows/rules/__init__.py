"""Rule files: what may alert, default limits by profile, and what happens when nobody answers."""
