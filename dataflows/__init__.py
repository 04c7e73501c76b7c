"""Computation: contracts, monitors, alerts, and the graph. No I/O, except that the graph wires connectors in."""
