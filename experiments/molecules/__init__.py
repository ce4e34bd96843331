"""Molecules: a model of SMILES and its tuning, the second paper's other domain."""
