"""The name under which a secret is stored, which is not the secret."""

import hashlib


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a secret of ours in hex; 256 random bits need no slower hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
