"""What a reader runs to check the claims about speed and accuracy."""
