"""What the drives of one executor share: the world, the modules, and the limits."""

from datetime import timedelta

import msgspec

from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.payloads import Payloads
from services.executor.admission import Admissions
from services.executor.modules.contract import Services
from services.executor.modules.registry import Registry


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What drives share: the world, the modules, and the limits of this executor."""

    bus: Bus
    clock: Clock
    registry: Registry
    services: Services
    ack_wait_s: float
    output_bytes_max: int
    commit_bytes_soft_max: int
    payloads: Payloads
    history_age_max: timedelta
    log_age_max: timedelta
    admissions: Admissions
