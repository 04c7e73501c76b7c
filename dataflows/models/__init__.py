"""Models of users: what they are given of a patient, and how their scores become frames of the log (docs/models.md)."""
