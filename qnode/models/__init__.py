"""The words that the floors pass to each other: ids, filters, operations, queries, collection settings."""
