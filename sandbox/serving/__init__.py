"""Simulated laboratories served over the protocols of real instruments: the same core, physics, faults and witness log.

`python -m athanor.sandbox.serving NAME --protocol channel-access|opcua|scpi`.
"""
