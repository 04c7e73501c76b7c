"""Devices to play with: recorded patients published as if they were measured now."""
