"""What the example functions share: the client, and where the sample API listens."""

import os

import stepwell

client = stepwell.Client(app_id="examples")

SAMPLE_API = os.environ.get("SAMPLE_API", "http://127.0.0.1:8300")
