"""Planners side by side, on problems whose answer is known."""
