from __future__ import annotations

import socket

from tests.instruments.protocols.conformance import Conformance
from tests.instruments.protocols.ioc_rig import IocRig, free_port


class SoftIoc(IocRig):
    """A soft IOC of its own process, by caproto."""

    protocol = "channel-access"
    library = "epicscorelibs"
    extra = "epics"
    module = "tests.instruments.protocols.soft_ioc"

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port(socket.SOCK_DGRAM)
        self.address = f"127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        return {
            "EPICS_CA_SERVER_PORT": str(self.port),
            "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
            "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
            "EPICS_CAS_BEACON_ADDR_LIST": "",
        }


class TestChannelAccess(Conformance):
    rig_class = SoftIoc
