"""The room for people: the command line and the report. It reads the ledger and writes decisions and requests."""
