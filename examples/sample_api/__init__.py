"""A small API to run the examples against without internet: files, failures on request, and a stand-in AI provider.

``python -m examples.sample_api --port 0 --print-port`` starts it; ``make_app()`` gives it to tests.
"""

from examples.sample_api.app import make_app

__all__ = ["make_app"]
