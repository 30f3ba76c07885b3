"""Credentials and the tokens that were fetched with them."""

from __future__ import annotations

from typing import Any

import peewee as pw


def up(migrator: Any, db: Any) -> None:  # noqa: ARG001 - the runner's signature
    """Create both tables."""

    class Table(pw.Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Credential(Table):
        id = pw.AutoField()
        name = pw.TextField()
        name_key = pw.TextField(unique=True)
        kind = pw.TextField()
        settings_version = pw.IntegerField()
        settings = pw.TextField()
        secret_fields = pw.TextField()
        set_secrets = pw.TextField()
        sealed = pw.BlobField(null=True)
        state = pw.BlobField(null=True)
        created_at = pw.BigIntegerField()
        changed_at = pw.BigIntegerField()
        expires_at = pw.BigIntegerField(null=True)
        found_expires_at = pw.BigIntegerField(null=True)
        warned_days = pw.IntegerField(null=True)
        generation = pw.IntegerField()
        lease_owner = pw.TextField(null=True)
        leased_until = pw.BigIntegerField(null=True)
        last_success_at = pw.BigIntegerField(null=True)
        failed_at = pw.BigIntegerField(null=True)
        next_try_at = pw.BigIntegerField(null=True)
        error_kind = pw.TextField(null=True)
        code = pw.TextField(null=True)
        sentence = pw.TextField(null=True)
        next_step = pw.TextField(null=True)
        refused_keys = pw.TextField()

    class CredentialToken(Table):
        id = pw.AutoField()
        credential = pw.ForeignKeyField(Credential, on_delete="CASCADE", index=False)
        key = pw.TextField()
        sealed = pw.BlobField()
        fetched_at = pw.BigIntegerField()
        refresh_at = pw.BigIntegerField(null=True)
        expires_at = pw.BigIntegerField(null=True)
        refused_until = pw.BigIntegerField(null=True)

        class Meta:
            indexes = ((("credential", "key"), True),)

    db.create_tables([Credential, CredentialToken])
