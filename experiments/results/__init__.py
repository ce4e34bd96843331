"""Records of runs, read and shown: verdicts, rows, tables, the report."""
