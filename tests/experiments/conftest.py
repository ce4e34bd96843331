"""Lies here so that tests in the folders below can import `run_case`."""
