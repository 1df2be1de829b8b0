"""The sentiment of texts: its data, its tokenizer, its networks, its training."""
