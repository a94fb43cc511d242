"""Control protocols: one client per protocol, and the devices that are wired to them by an instrument's profile.

Nothing is imported here: a protocol's library is needed only by who uses that protocol.
"""
