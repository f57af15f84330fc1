"""What all executions of one harness share: resources, kept results, telemetry, and the rules for budgets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from pydantic import JsonValue

from harness.errors import UsageError
from harness.redaction import Redactor
from harness.tools.budget import Budget, OnBudget, OnRateLimit
from harness.tools.cache import ResultCache
from harness.tools.compensation import Ledger
from harness.tools.resource import Resources
from harness.tools.telemetry import Telemetry

__all__ = ["Economy"]


@dataclass(frozen=True)
class Economy:
    """Raises `UsageError` for settings that do not exist."""

    budget: Budget = field(default_factory=Budget)
    on_budget: OnBudget = "error"
    """Whether a call past a budget fails, or ends its execution. A rate that is used up ends nothing."""
    on_rate_limit: OnRateLimit = "error"
    """Whether a call past a rate fails, or waits for its turn, as long as that comes within ``wall_time``."""
    resources: Resources = field(default_factory=Resources)
    cache: ResultCache = field(default_factory=ResultCache)
    ledger: Ledger = field(default_factory=lambda: Ledger(Redactor()))
    telemetry: Telemetry = field(default_factory=Telemetry)

    def __post_init__(self) -> None:
        if not isinstance(self.budget, Budget):
            raise UsageError(f"budget is a Budget, such as Budget(cost_cents=50), not {self.budget!r}.")
        if self.on_budget not in ("error", "terminate"):
            raise UsageError(f"on_budget is 'error' or 'terminate', not {self.on_budget!r}.")
        if self.on_rate_limit not in ("error", "wait"):
            raise UsageError(f"on_rate_limit is 'error' or 'wait', not {self.on_rate_limit!r}.")
        if not isinstance(self.cache, ResultCache):
            raise UsageError(f"cache is a ResultCache, not {self.cache!r}.")
        if not isinstance(self.telemetry, Telemetry):
            raise UsageError(f"telemetry is a Telemetry, not {self.telemetry!r}.")

    def report(self) -> dict[str, JsonValue]:
        """How the resources and the cache stand, as plain data."""
        return {
            "resources": {name: report.model_dump(mode="json") for name, report in self.resources.report().items()},
            "cache": {"entries": len(self.cache), "bytes": self.cache.size, **asdict(self.cache.statistics)},
        }
