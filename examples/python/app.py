"""The three examples as one app: ``stepwell dev examples/python/app.py``, from the top of the repository."""

from examples.python.process_files import process_files
from examples.python.retrieve_text_file import retrieve_text_file
from examples.python.shared import client
from examples.python.weather_function import weather_function

__all__ = ["client", "process_files", "retrieve_text_file", "weather_function"]
