"""The contracts of tools on record, once for each set of them, under their hash."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from harness.contracts.values import ContractSet
from harness.errors import JournalConflictError, JournalDamagedError
from harness.journal.journal import Journal
from harness.journal.payloads import Contracts
from harness.tools.tool import Tool

__all__ = ["ContractShelf"]

_MOST_KNOWN = 64


class ContractShelf:
    """Keeps them in one journal, and remembers which are there."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: OrderedDict[tuple[Tool, ...], str] = OrderedDict()

    async def keep(self, tools: Iterable[Tool]) -> str:
        """Put the contracts of these tools on record, if they are not yet; their hash."""
        key = tuple(tools)
        digest = self._known.get(key)
        if digest is None:
            contracts = ContractSet.of(key)
            digest = contracts.content_hash()
            await self._write(digest, contracts)
            self._known[key] = digest
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return digest

    async def _write(self, digest: str, contracts: ContractSet) -> None:
        stream = _stream(digest)
        if await self._journal.events(stream):
            return
        try:
            await self._journal.begin(stream).write(Contracts(contracts=contracts))
        except JournalConflictError:
            # Another run has done it meanwhile.
            return

    async def read(self, digest: str) -> ContractSet:
        """The contracts with this hash. Raises `JournalDamagedError` if they are not there."""
        events = await self._journal.read(_stream(digest))
        payload = events[0].payload if events else None
        if not isinstance(payload, Contracts) or payload.contracts.content_hash() != digest:
            raise JournalDamagedError(
                "The contracts that this run began with are missing from the journal, or changed."
            )
        return payload.contracts


def _stream(digest: str) -> str:
    return f"contracts_{digest}"
