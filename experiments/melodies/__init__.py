"""Melodies: the Note RNN and its tuning, the second paper's main results."""
