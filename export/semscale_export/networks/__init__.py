"""Networks that no library of the exporter defines, written from their papers."""
