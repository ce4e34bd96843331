"""Named experiments: they compose common, highway and tutor, and own the command line."""
