"""The image classifier: its data, its networks, its training."""
