"""One transaction's statements: what every part of a unit of work asks the database through."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from xstock_runtime.database import statement


class Statements:
    """Over the connection of one transaction."""

    _connection: AsyncConnection

    async def _rows(self, sql: str, **parameters: Any) -> Sequence[Any]:
        """What a statement answers."""
        return (await self._connection.execute(statement(sql), parameters)).all()

    async def _execute(self, sql: str, **parameters: Any) -> None:
        """A statement without an answer."""
        await self._connection.execute(statement(sql), parameters)
