"""The client for asyncio, and the worker."""
