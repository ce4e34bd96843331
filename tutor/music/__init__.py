"""The rules of music as a reward, with their environment, statistics and pictures."""
