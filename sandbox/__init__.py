"""Simulated laboratories: physics in a controller process of its own, Ophyd devices, faults, reference optima.

Nothing imports this room: a simulated laboratory is found by name, as a real one is (`athanor.laboratories`).
"""
