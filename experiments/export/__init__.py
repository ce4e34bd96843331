"""A run's model in one file, with what is known of it; and a run made of such a file again."""
