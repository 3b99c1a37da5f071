"""`groups.csv`: the rows of `groups.parquet` for programs that read no Parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from semscale.errors import StoreError
from semscale.files import replacing
from semscale.report.groups import without_nan


def write_csv(groups: Path, path: Path) -> None:
    """Write every row of the table `groups`, a batch at a time; undefined numbers are empty cells.

    Text is as it was found, so a spreadsheet should import it as text: see docs/report.md. Raises StoreError.
    """
    try:
        with pq.ParquetFile(groups) as table, replacing(path) as temporary:
            schema = pa.schema([field for field in table.schema_arrow if not pa.types.is_nested(field.type)])
            with csv.CSVWriter(temporary, schema) as writer:
                for batch in table.iter_batches(columns=schema.names):
                    writer.write_table(without_nan(pa.Table.from_batches([batch])))
    except pa.ArrowException as error:
        raise StoreError(f"{groups}: cannot be written as CSV ({error}); score again") from error
