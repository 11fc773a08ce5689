"""The words of the system: one file per aggregate, with its commands, events and views."""
