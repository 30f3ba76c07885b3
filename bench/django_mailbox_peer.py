"""Runs django-mailbox in an environment that has it: messages into SQLite, attachments into files.

Not a part of postroom: `peers.py` starts it. The mail is deleted from the server, as it always is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Fetch all mail of BENCH_URI into a new database in the folder."""
    import django  # type: ignore[import-not-found]  # only where this runs
    from django.conf import settings  # type: ignore[import-not-found]
    from django.core.management import call_command  # type: ignore[import-not-found]

    settings.configure(
        INSTALLED_APPS=["django_mailbox"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / "d.db"}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        MEDIA_ROOT=str(folder / "media"),
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)
    from django_mailbox.models import Mailbox  # type: ignore[import-not-found]

    mailbox = Mailbox.objects.create(name="info", uri=os.environ["BENCH_URI"])
    print(sum(1 for _ in mailbox.get_new_mail()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
