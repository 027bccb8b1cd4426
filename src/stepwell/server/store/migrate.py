"""Numbered, forward-only schema migrations: ``0001_name.sql``, ``0002_name.post.sql`` … in a folder of the package."""

from dataclasses import dataclass
from importlib.resources import files

from stepwell.server.store.base import StoreError


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema; after it the file has schema version ``number``."""

    number: int
    name: str
    sql: str

    @property
    def post(self) -> bool:
        """Whether processes of the version before could not work with it: ``0007_name.post.sql``."""
        return self.name.endswith(".post")


def load_migrations(package: str) -> list[Migration]:
    """The migrations in ``package``'s folder ``migrations``, in order; raises ValueError when one is missing."""
    found: list[Migration] = []
    for entry in files(package).joinpath("migrations").iterdir():
        stem, dot, suffix = entry.name.rpartition(".")
        if dot and suffix == "sql":
            number, _, name = stem.partition("_")
            found.append(Migration(int(number), name, entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.number)
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations of {package} are not numbered 1 to {len(found)}")
    return found


def pending(known: list[Migration], current: int, where: str) -> list[Migration]:
    """What brings a file from version ``current`` up to date. Raises StoreError when the file is newer than we are."""
    if current > len(known):
        raise StoreError(
            f"{where} was written by a newer Stepwell (schema {current}, this one knows {len(known)}): "
            "upgrade Stepwell, or use another database file."
        )
    return known[current:]


def reach(known: list[Migration], current: int, *, post: bool) -> int:
    """How far a schema of version ``current`` is brought: all the way with ``post``, or when it is new; else to the first
    migration that has to wait for the processes of older versions."""
    if post or not current:
        return len(known)
    return next((migration.number - 1 for migration in known[current:] if migration.post), len(known))


def check(known: list[Migration], version: int, oldest: int, where: str) -> None:
    """Raise StoreError unless this program can work with a schema of that version.

    An older one will do when only the last ``post`` migrations are missing; a newer one when this program knows the newest of
    its ``post`` migrations, ``oldest``.
    """
    needed = max((migration.number for migration in known if not migration.post), default=0)
    if version < needed:
        raise StoreError(f"{where} has schema {version}, this Stepwell needs {needed}: run `stepwell migrate`.")
    if oldest > len(known):
        pending(known, version, where)
