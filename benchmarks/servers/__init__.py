"""The peers and the floor, each a small server in its own documented idiom, all of the same model file."""
