"""report.html: the results as one file that opens anywhere and loads nothing."""
