"""Writes ``models/``: one folder for each kind, and what the kinds share."""
