"""What may be decided about definitions: pure rules, no I/O, no clock, no chance."""
