"""Notifications: transitions of alerts out to people and programs, by signed webhooks."""
