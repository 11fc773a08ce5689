"""Modules that greet: `greet` computes, `greet-post` says it to the world (docs/write-a-module.md)."""
