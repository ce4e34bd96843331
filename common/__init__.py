"""What both papers' packages need: configuration, data, training, runs, results. Imports neither."""
