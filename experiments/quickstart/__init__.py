"""The quickstart: a small model of each paper, on data that ship with the package."""
