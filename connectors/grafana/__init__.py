"""Grafana and Prometheus files, generated: data sources, dashboards, alert rules for the pipeline. docs/grafana.md."""
