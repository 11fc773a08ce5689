"""`python -m services.store` runs one store."""

from libs.common.service import run
from services.store.app import App


def main() -> None:
    """Run until SIGTERM."""
    run("store", App)


if __name__ == "__main__":
    main()
