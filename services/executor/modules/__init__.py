"""The modules that flows are made of; `registry` finds them, `contract` says what one is."""
