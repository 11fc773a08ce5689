"""Text as Postgres can hold it."""


def storable(text: str) -> str:
    """Return the text with U+FFFD for each U+0000, which no text column takes."""
    return text.replace("\0", "\ufffd") if "\0" in text else text
