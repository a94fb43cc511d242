"""What people do, by whichever door they come: the command line, the HTTP API and the pages call these.

Each command is for one person by name, asks no question and prints nothing. Who may do what is not decided here: the
command line belongs to the account it runs in, and the API asks `athanor.governance.rights` first.
"""
