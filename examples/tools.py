"""Tools of a small support desk: orders, parcels, stock and refunds, kept in memory.

harness run examples/transcript.md --tools examples/tools.py
harness tools --tools examples/tools.py
"""

from __future__ import annotations

from typing import Literal

import anyio
from pydantic import BaseModel

from harness import tool
from harness.errors import ToolExecutionError

OrderStatus = Literal["paid", "shipped", "delivered", "refunded"]


class Order(BaseModel):
    id: str
    customer: str
    sku: str
    cents: int
    status: OrderStatus


class Parcel(BaseModel):
    order_id: str
    carrier: str
    where: str
    days_late: int


class Receipt(BaseModel):
    order_id: str
    cents: int
    reference: str


ORDERS = {
    order.id: order
    for order in (
        Order(id="A-1001", customer="maria@example.org", sku="LAMP-2", cents=4_900, status="delivered"),
        Order(id="A-1002", customer="maria@example.org", sku="DESK-1", cents=32_900, status="shipped"),
        Order(id="A-1003", customer="maria@example.org", sku="CHAIR-7", cents=18_500, status="shipped"),
        Order(id="A-1004", customer="jun@example.org", sku="LAMP-2", cents=4_900, status="paid"),
    )
}
PARCELS = {
    "A-1001": Parcel(order_id="A-1001", carrier="Posthorn", where="delivered, left at the door", days_late=0),
    "A-1002": Parcel(order_id="A-1002", carrier="Posthorn", where="sorting centre Leipzig", days_late=6),
    "A-1003": Parcel(order_id="A-1003", carrier="Swiftly", where="out for delivery", days_late=0),
}
STOCK = {"LAMP-2": 14, "CHAIR-7": 3}


def _order(order_id: str) -> Order:
    order = ORDERS.get(order_id)
    if order is None:
        raise ToolExecutionError(f"There is no order {order_id}; find_orders lists a customer's orders.")
    return order


@tool(tags=["read"])
async def find_orders(customer: str, status: OrderStatus | None = None) -> list[Order]:
    """The orders of one customer, oldest first.

    Args:
        customer: E-mail address of the customer.
        status: Only orders with this status.
    """
    await anyio.sleep(0.02)
    return [order for order in ORDERS.values() if order.customer == customer and status in (None, order.status)]


@tool(tags=["read"])
async def track_parcel(order_id: str) -> Parcel:
    """Where the parcel of an order is now.

    Args:
        order_id: Such as A-1002.
    """
    await anyio.sleep(0.05)  # the carrier takes its time; several calls wait together
    _order(order_id)
    parcel = PARCELS.get(order_id)
    if parcel is None:
        raise ToolExecutionError(f"Order {order_id} has not been shipped yet.")
    return parcel


@tool(tags=["read"])
def check_stock(sku: str) -> int:
    """How many pieces of an article are in the warehouse.

    Args:
        sku: Article number, such as LAMP-2.
    """
    if sku not in STOCK:
        raise ToolExecutionError(f"The warehouse that keeps {sku} does not answer.", retryable=True)
    return STOCK[sku]


@tool(tags=["write"])
def reserve(sku: str, pieces: int = 1) -> int:
    """Put pieces aside for a customer. Returns how many are left.

    Args:
        sku: Article number.
        pieces: How many.
    """
    if STOCK.get(sku, 0) < pieces:
        raise ToolExecutionError(f"There are not {pieces} pieces of {sku}.")
    STOCK[sku] -= pieces
    return STOCK[sku]


@tool(approval=True, tags=["destructive"])
async def refund(order_id: str, cents: int, reason: str) -> Receipt:
    """Pay money back to the customer. Somebody has to approve it.

    Args:
        order_id: The order to refund.
        cents: How much, in cents; at most what was paid.
        reason: One sentence for the books.
    """
    order = _order(order_id)
    if not 0 < cents <= order.cents:
        raise ToolExecutionError(f"A refund for {order_id} is between 1 and {order.cents} cents, not {cents}.")
    await anyio.sleep(0.03)
    return Receipt(order_id=order_id, cents=cents, reference=f"R-{order_id}-{cents}: {reason}"[:80])


@tool(tags=["write"])
async def book_courier(order_id: str, day: str) -> str:
    """Book a courier to bring a replacement.

    Args:
        order_id: The order to replace.
        day: Day of delivery, such as 2026-11-24.
    """
    await anyio.sleep(0.01)
    raise ToolExecutionError(f"No courier is free on {day} for {order_id}; ask for another day.")
