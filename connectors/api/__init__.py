"""The HTTP and WebSocket interface for apps and the dashboard: reads, commands, live strips. docs/api.md."""
