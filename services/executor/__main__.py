"""`python -m services.executor`: run one executor."""

from libs.common import service
from services.executor.app import App


def main() -> None:
    """Run an executor until it is told to stop."""
    service.run("executor", App)


if __name__ == "__main__":
    main()
