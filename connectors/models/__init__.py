"""Models of users beside the flow: the graph that feeds them, and the process in which each runs (docs/models.md)."""
