"""`python -m services.scheduler`: run one scheduler."""

from libs.common import service
from services.scheduler.app import App


def main() -> None:
    """Run a scheduler until it is told to stop."""
    service.run("scheduler", App)


if __name__ == "__main__":
    main()
