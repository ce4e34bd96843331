"""Language models on words and characters: the first paper's main results."""
