"""Recurrent Highway Networks (Zilly et al., ICML 2017) as a library of modules and functions."""
