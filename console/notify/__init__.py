"""Notifications: who is told of what, by mail, webhook and in the pages.

A notification is an event of the site, written before anything is sent, and so is every try. What was told, to whom,
and what is still to be told is read from there: a console that was killed goes on where it was.
"""
