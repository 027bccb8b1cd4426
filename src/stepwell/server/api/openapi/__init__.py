"""The API described as OpenAPI 3.1, served at ``/v1/openapi.json``."""
