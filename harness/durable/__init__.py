"""Runs on record: started once for each key, resumed, recovered, settled, replayed and swept.

Each module holds one of these; `Durable` is all of them for one harness.
"""

from __future__ import annotations

import time

from harness.durable.continuing import Continuing
from harness.durable.flights import Flights, Open
from harness.durable.looking import Looking
from harness.durable.settlements import Settlements
from harness.durable.starting import Order, Starter, Starting
from harness.journal.contracts import ContractShelf
from harness.run import Settings

__all__ = ["Durable", "Order"]


class Durable:
    """The runs of one harness and its journal."""

    def __init__(self, settings: Settings, open_runtime: Open) -> None:
        shelf = ContractShelf(settings.journal)
        flights = Flights(open_runtime)
        self.settlements = Settlements(settings.journal, flights, settings.clock or time.time)
        self.looking = Looking(settings, open_runtime)
        self.continuing = Continuing(settings, flights, shelf, self.settlements, self.looking)
        self.starting: Starter = Starting(settings, flights, shelf, self.continuing)
