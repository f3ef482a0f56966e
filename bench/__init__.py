"""Benchmarks: each module has `async def rows(data: Path) -> list[Row]`."""
