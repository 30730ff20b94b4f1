import asyncio

raise asyncio.CancelledError  # HERE
