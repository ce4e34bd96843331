"""Sequence Tutor (Jaques et al., ICML 2017) as a library of modules and functions."""
