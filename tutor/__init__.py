"""Sequence Tutor (Jaques et al., ICML 2017) as a library of pure functions and modules."""
