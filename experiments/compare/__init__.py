"""Runs side by side: in what they were made differently, and in what that shows."""
