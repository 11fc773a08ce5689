"""What the tidy tests look at: the files that are, or are about to be, in the repository."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def files() -> tuple[Path, ...]:
    """Return every file that git tracks or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(
        path for name in sorted(listed.stdout.split("\0")) if name and (path := ROOT / name).is_file()
    )


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of each Python file with something in it, by its path below the root."""
    texts = {name(path): path.read_text() for path in files() if path.suffix == ".py"}
    return {path: ast.parse(text) for path, text in texts.items() if text.strip()}


def name(path: Path) -> str:
    """Return the path below the root."""
    return path.relative_to(ROOT).as_posix()
