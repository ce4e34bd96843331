"""Molecules: properties, the reward and its environment, what a set of them is like."""
