"""`python -m services.gateway`: run one gateway."""

from libs.common import service
from services.gateway.app import App


def main() -> None:
    """Run a gateway until it is told to stop."""
    service.run("gateway", App)


if __name__ == "__main__":
    main()
