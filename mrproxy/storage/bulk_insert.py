"""Shell. Many rows into one table: by COPY into PostgreSQL, by one prepared statement into SQLite.

Both go to the driver directly: SQLAlchemy's own way would make a dict of each row. Runs on the asyncio side.
"""

from collections.abc import Sequence

from sqlalchemy import Table, bindparam, insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

_SQLITE = sqlite.dialect(paramstyle="qmark")


class BulkInsert:
    """Rows have a value for each of `columns`, in this order; `statement` is SQLite's."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        self.statement = str(insert(table).values({name: bindparam(name) for name in columns}).compile(dialect=_SQLITE))
        self._table_name = table.name
        self._columns = columns

    async def insert(self, connection: AsyncConnection, rows: Sequence[tuple[object, ...]]) -> None:
        if connection.dialect.name == "postgresql":
            raw = await connection.get_raw_connection()
            assert raw.driver_connection is not None
            copy = raw.driver_connection.copy_records_to_table
            await copy(self._table_name, records=rows, columns=self._columns)
        else:
            await connection.exec_driver_sql(self.statement, rows)
