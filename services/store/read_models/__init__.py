"""How events change tables: one file per noun, each with its fold and its SQL."""
