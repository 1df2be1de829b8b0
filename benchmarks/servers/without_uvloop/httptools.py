"""Stands before the installed httptools, so that a server runs as where it is not installed."""

raise ImportError("hidden for the measurement")
