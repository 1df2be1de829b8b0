"""The service: loads ``models/`` and answers over HTTP. It never imports ``training`` or torch."""

VERSION = "0.1.0"
