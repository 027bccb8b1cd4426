"""What a platform is told at its start: by flags, the environment, a TOML file, in this order; then the defaults."""

from stepwell.server.settings.check import check, require_keys
from stepwell.server.settings.fields import FIELDS, Field
from stepwell.server.settings.load import DEFAULT_FILE, Loaded, load, load_settings
from stepwell.server.settings.model import (
    DEFAULT_DB,
    DEFAULT_PORT,
    Kind,
    Settings,
    SettingsError,
    database_path,
    is_postgres,
)

__all__ = [
    "DEFAULT_DB",
    "DEFAULT_FILE",
    "DEFAULT_PORT",
    "FIELDS",
    "Field",
    "Kind",
    "Loaded",
    "Settings",
    "SettingsError",
    "check",
    "database_path",
    "is_postgres",
    "load",
    "load_settings",
    "require_keys",
]
