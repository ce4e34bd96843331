"""Many runs by one command: expanded, launched here or on Slurm, followed on disk."""
