"""The catalogue of error codes: stable names, what each means, and the one next thing to do.

The administrator's page of errors is generated from here. A plugin may add codes of its own with
`Code(...)`; the name is then prefixed with the plugin's (``MYMAIL-QUOTA``).
"""

from __future__ import annotations

from dataclasses import dataclass

CATALOGUE: dict[str, Code] = {}


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of error. `meaning` and `next_step` are sentences for an administrator."""

    name: str
    meaning: str
    next_step: str

    def __post_init__(self) -> None:
        CATALOGUE.setdefault(self.name, self)

    def __str__(self) -> str:
        return self.name


# What an administrator must edit, here or on the other side
SETTINGS_INVALID = Code(
    "SETTINGS-INVALID",
    "A setting of the mailbox is missing or wrong.",
    "Correct the field that is named, with `postroom mailbox incoming` or `outgoing`.",
)
PLUGIN_MISSING = Code(
    "PLUGIN-MISSING",
    "The transport of this mailbox is not installed, or its plugin is broken.",
    "See `postroom plugin list`, then install the plugin that offers it.",
)
CREDENTIAL_MISSING = Code(
    "CREDENTIAL-MISSING",
    "The transport needs a credential and none is named.",
    "Name one with --credential, or give user name and password.",
)
CREDENTIAL_UNKNOWN = Code(
    "CREDENTIAL-UNKNOWN",
    "The credential that the mailbox names does not exist.",
    "See `postroom credential list`; add it, or name another.",
)
CREDENTIAL_UNFIT = Code(
    "CREDENTIAL-UNFIT",
    "The credential has no tokens for what the mailbox needs one for.",
    "Name another credential for this side of the mailbox.",
)
TLS_UNTRUSTED = Code(
    "TLS-UNTRUSTED",
    "The server's certificate was not issued by an authority that is trusted here.",
    "If the server has a private authority, give its file as ca_file.",
)
TLS_EXPIRED = Code(
    "TLS-EXPIRED",
    "The server's certificate has expired, or is not valid yet.",
    "Have the server's certificate renewed, and check the clocks of both machines.",
)
TLS_WRONG_HOST = Code(
    "TLS-WRONG-HOST",
    "The server's certificate is for another host name.",
    "Use the host name that stands in the certificate.",
)
TLS_FAILED = Code(
    "TLS-FAILED",
    "The server and postroom could not agree on an encrypted connection.",
    "Check that port and security fit together (implicit TLS or STARTTLS).",
)
STARTTLS_REFUSED = Code(
    "STARTTLS-REFUSED",
    "The server does not offer STARTTLS, or refused it; nothing was sent in clear.",
    'Set security to "tls" with the port for it, or have STARTTLS enabled on the server.',
)
CA_FILE_UNREADABLE = Code(
    "CA-FILE-UNREADABLE",
    "The file of trusted certificates cannot be read.",
    "Check the path in ca_file, its permissions, and that it holds certificates in PEM form.",
)
FOLDER_MISSING = Code(
    "FOLDER-MISSING",
    "A configured folder does not exist on the server.",
    "Correct the folder's name; `postroom mailbox test ADDRESS` shows those that exist.",
)
FOLDER_READ_ONLY = Code(
    "FOLDER-READ-ONLY",
    "The folder may only be read, so messages cannot be marked, moved or deleted there.",
    'Give the account the right to write, or set disposition = "leave".',
)
DISPOSITION_UNSUPPORTED = Code(
    "DISPOSITION-UNSUPPORTED",
    "The transport cannot do what the mailbox's disposition asks for.",
    'Choose another disposition, "leave" always works.',
)
DISPOSITION_REFUSED = Code(
    "DISPOSITION-REFUSED",
    "The server refuses to mark, move or delete messages; they are stored, and stay there as they "
    "are.",
    "Read the server's reason: mend rights, quota or the target folder, or choose another "
    "disposition.",
)
SERVER_UNFIT = Code(
    "SERVER-UNFIT",
    "The server lacks a capability that is needed to retrieve without loss.",
    "Have it enabled on the server, or use another protocol.",
)
# Credentials
AUTH_REFUSED = Code(
    "AUTH-REFUSED",
    "The server refused the user name or the password.",
    "Check user name and password; some providers want an app password, or have password "
    "sign-in switched off.",
)
AUTH_EXPIRED = Code(
    "AUTH-EXPIRED",
    "The password or token has expired.",
    "Set a new one.",
)
AUTH_UNSUPPORTED = Code(
    "AUTH-UNSUPPORTED",
    "The server offers no way to log in that can be used with these settings.",
    "Check security and user name; many servers allow passwords on encrypted connections only.",
)
AUTH_NOT_ALLOWED = Code(
    "AUTH-NOT-ALLOWED",
    "The account is known but may not use this mailbox or protocol.",
    "Have the protocol enabled for the account, and its rights on the mailbox checked.",
)
TOKEN_REFUSED = Code(
    "TOKEN-REFUSED",
    "The server refuses the tokens of the credential, also those issued just now.",
    "See `postroom credential check NAME`: the application may lack a right on this mailbox.",
)
SIGN_IN_NEEDED = Code(
    "SIGN-IN-NEEDED",
    "The credential works on behalf of a person, who has to sign in.",
    "Run `postroom credential sign-in NAME`, and sign in at the address it shows.",
)
CREDENTIAL_EXPIRING = Code(
    "CREDENTIAL-EXPIRING",
    "The secret or certificate of a credential ends soon; its mailboxes stop then.",
    "Make a new one at the issuer, then give it with `postroom credential replace NAME`.",
)
# Passing troubles
HOST_UNKNOWN = Code(
    "HOST-UNKNOWN",
    "The host name cannot be found.",
    "Check the spelling of the host, and this machine's name service.",
)
PORT_REFUSED = Code(
    "PORT-REFUSED",
    "Nothing accepts connections on that host and port.",
    "Check host and port, and that the server runs and the firewall lets postroom through.",
)
TIMEOUT = Code(
    "TIMEOUT",
    "The server did not answer in time.",
    "Nothing if it passes by itself; else check host, port and firewall, and that port and "
    "security fit together (implicit TLS or STARTTLS).",
)
CONNECTION_LOST = Code(
    "CONNECTION-LOST",
    "The connection broke.",
    "Nothing, it is tried again; if it lasts, look at the server's log.",
)
SERVER_BUSY = Code(
    "SERVER-BUSY",
    "The server asked us to come back later.",
    "Nothing, it is tried again; if it lasts, check limits and quotas on the server.",
)
PROTOCOL = Code(
    "PROTOCOL",
    "The server said something that does not fit the protocol.",
    "Check that host and port belong to a server of this protocol.",
)
# Single messages
MESSAGE_UNREADABLE = Code(
    "MESSAGE-UNREADABLE",
    "The server has the message but would not hand it out.",
    "See `postroom quarantine list`; open the message with a mail program and forward it.",
)
MESSAGE_WITHOUT_ID = Code(
    "MESSAGE-WITHOUT-ID",
    "The server gives the message no id, so it could not be told from those retrieved before.",
    "Open it with a mail program, forward it to the mailbox and delete it there; have the server "
    "make ids of its own.",
)
MESSAGE_UNSTORABLE = Code(
    "MESSAGE-UNSTORABLE",
    "The message was retrieved but could not be turned into a question.",
    "See `postroom quarantine show`; release it, or report it with its raw bytes.",
)
TOO_LARGE = Code(
    "TOO-LARGE",
    "The message is larger than max_message_bytes and was left on the server.",
    "Raise max_message_bytes with `postroom mailbox set`, or handle it by hand.",
)
# Sending
RECIPIENT_REFUSED = Code(
    "RECIPIENT-REFUSED",
    "The outgoing server refused a recipient for good.",
    "Check the address. If it is right, `postroom outbox retry` asks again for those who have not "
    "got the message; else close it with `postroom outbox cancel`.",
)
RECIPIENT_UNSUPPORTED = Code(
    "RECIPIENT-UNSUPPORTED",
    "A recipient's address has letters beyond ASCII, and the outgoing server lacks SMTPUTF8, which "
    "such an address needs.",
    "Have SMTPUTF8 enabled on the server, or set another with `postroom mailbox outgoing`, then "
    "`postroom outbox retry`; or reach this person in another way, and `postroom outbox cancel`.",
)
SENDER_REFUSED = Code(
    "SENDER-REFUSED",
    "The outgoing server does not let this account send from this address.",
    "Set send_as to an address the account may use, or have the right granted.",
)
MESSAGE_REFUSED = Code(
    "MESSAGE-REFUSED",
    "The outgoing server refused the message for good.",
    "Read the server's reason; change the answer and send it again.",
)
MESSAGE_TOO_LARGE = Code(
    "MESSAGE-TOO-LARGE",
    "The answer is larger than the outgoing server takes.",
    "Send smaller attachments.",
)
OUTCOME_UNKNOWN = Code(
    "OUTCOME-UNKNOWN",
    "The connection broke when the message may already have been accepted.",
    "Ask the recipient or look into the server's log; then `postroom outbox mark-sent` or `retry`.",
)
# The core's own
PLUGIN_BUG = Code(
    "PLUGIN-BUG",
    "A plugin failed in a way it should not; the log has the details.",
    "Report it to the plugin's author with the log; other mailboxes are not affected.",
)
PLUGIN_HANGS = Code(
    "PLUGIN-HANGS",
    "A plugin does not come back, not even when it is interrupted.",
    "Restart the runner, and report it to the plugin's author; other mailboxes are not affected.",
)
OUTGOING_MISSING = Code(
    "OUTGOING-MISSING",
    "The mailbox has no outgoing side, so its answers wait.",
    "Configure it with `postroom mailbox outgoing`.",
)
DATABASE = Code(
    "DATABASE",
    "The database cannot be used.",
    "Check POSTROOM_DATABASE and the database server; nothing was removed from any mailbox.",
)
DISK_FULL = Code(
    "DISK-FULL",
    "There is no space left to store messages.",
    "Free some space; retrieval goes on by itself, nothing was removed from any mailbox.",
)
KEY_UNREADABLE = Code(
    "KEY-UNREADABLE",
    "The key that opens sealed secrets cannot be read, or is another one.",
    "Point POSTROOM_KEY_FILE to the key this database was set up with, readable for this user.",
)
