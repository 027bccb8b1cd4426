"""The platform's edges: stores, outbound HTTP, calls to apps, loops, the API. Async, and deciding nothing."""
