"""What both papers' packages need: configuration, data, training, results. Imports neither."""
