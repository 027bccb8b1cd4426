"""The three examples as one app: ``stepwell dev examples/python/app.py``, with the sample API running."""

from example_client import client
from process_files import process_files
from retrieve_text_file import retrieve_text_file
from weather_function import weather_function

__all__ = ["client", "process_files", "retrieve_text_file", "weather_function"]
