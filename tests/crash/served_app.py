"""The demo load behind HTTP: ``python -m tests.crash.served_app PORT``. Outlives the platform."""

import sys

import uvicorn

from stepwell.frameworks import asgi
from tests.crash.load_app import client

if __name__ == "__main__":
    uvicorn.run(asgi.serve(None, client), port=int(sys.argv[1]), log_level="warning", lifespan="off")
