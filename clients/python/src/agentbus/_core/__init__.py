"""The client without I/O: requests, answers, and what to do next. The sync and the asyncio client share it."""
