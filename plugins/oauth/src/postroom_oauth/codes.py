"""The plugin's codes of errors: what an issuer refuses, and the next step."""

from __future__ import annotations

from postroom.api import Code

SECRET_WRONG = Code(
    "OAUTH-SECRET-WRONG",
    "The issuer does not know the client secret.",
    "Copy the secret's Value (not its ID) from the app registration's page Certificates & secrets, "
    "and give it with `postroom credential replace NAME`.",
)
SECRET_EXPIRED = Code(
    "OAUTH-SECRET-EXPIRED",
    "The client secret of the app registration has expired.",
    "Make a new client secret on the page Certificates & secrets, and give its Value and its end "
    "with `postroom credential replace NAME`.",
)
SECRET_MISSING = Code(
    "OAUTH-SECRET-MISSING",
    "The issuer wants a client secret or a certificate, or does not let this app do without.",
    "Give a client secret or certificate; for a sign-in by device code, switch on Allow public "
    "client flows on the app registration's page Authentication.",
)
CERTIFICATE_UNKNOWN = Code(
    "OAUTH-CERTIFICATE-UNKNOWN",
    "The issuer does not take the certificate.",
    "Upload its public part to the app registration's page Certificates & secrets, and check that "
    "it has not expired and that this machine's clock is right.",
)
APP_UNKNOWN = Code(
    "OAUTH-APP-UNKNOWN",
    "There is no application with this client id in the tenant.",
    "Check client_id and tenant_id on the app registration's page Overview; an app of another "
    "tenant needs the consent of this one's administrator first.",
)
APP_DISABLED = Code(
    "OAUTH-APP-DISABLED",
    "The application is switched off in the tenant.",
    "Open Enterprise applications, choose the application, and on its page Properties set Enabled "
    "for users to sign-in to Yes.",
)
TENANT_UNKNOWN = Code(
    "OAUTH-TENANT-UNKNOWN",
    "The issuer knows no such tenant.",
    "Copy the Directory (tenant) ID from the app registration's page Overview, and check that "
    "authority is the one of your cloud.",
)
CONSENT_MISSING = Code(
    "OAUTH-CONSENT-MISSING",
    "The application has no consent for what is needed.",
    "On the app registration's page API permissions add what is missing, and choose Grant admin "
    "consent.",
)
USER_UNKNOWN = Code(
    "OAUTH-USER-UNKNOWN",
    "The issuer knows no such account.",
    "Check the address; it has to be an account of this tenant or domain, no group or alias.",
)
USER_REFUSED = Code(
    "OAUTH-USER-REFUSED",
    "The account may not sign in.",
    "Have the account checked by its administrator: disabled, locked, an expired password, or not "
    "assigned to the application.",
)
SIGN_IN_AGAIN = Code(
    "OAUTH-SIGN-IN-AGAIN",
    "The sign-in has ended, and a person has to sign in again.",
    "Run `postroom credential sign-in NAME`.",
)
POLICY = Code(
    "OAUTH-POLICY",
    "A Conditional Access policy of the tenant blocks the sign-in.",
    "Have the policy changed: exclude the application, or allow this machine's address; some "
    "policies forbid sign-in by device code.",
)
SCOPE_REFUSED = Code(
    "OAUTH-SCOPE-REFUSED",
    "The issuer does not know what a token was asked for.",
    "Check that authority is the one of your cloud; else report it.",
)
RESOURCE_UNKNOWN = Code(
    "OAUTH-RESOURCE-UNKNOWN",
    "The tenant does not have the service that a token was asked for.",
    "Check that the tenant has Exchange Online, and that authority is the one of your cloud.",
)
DECLINED = Code(
    "OAUTH-DECLINED",
    "The person declined to sign in.",
    "Run `postroom credential sign-in NAME` again.",
)
CODE_EXPIRED = Code(
    "OAUTH-CODE-EXPIRED",
    "Nobody signed in while the code was valid.",
    "Run `postroom credential sign-in NAME` again, and type the code in within 15 minutes.",
)
OTHER_ACCOUNT = Code(
    "OAUTH-OTHER-ACCOUNT",
    "Another account signed in than the one that the credential is for.",
    "Sign in again with the right account, in a private window of the browser.",
)
NOT_DELEGATED = Code(
    "OAUTH-NOT-DELEGATED",
    "The service account may not act for the accounts of the domain.",
    "In Google's Admin console, under Security, API controls, Domain-wide delegation, add the "
    "service account's client id with the scope https://mail.google.com/.",
)
KEY_REFUSED = Code(
    "OAUTH-KEY-REFUSED",
    "Google does not take the key of the service account.",
    "Make a new JSON key for the service account, give it with `postroom credential replace NAME`, "
    "and check that this machine's clock is right.",
)
CLIENT_REFUSED = Code(
    "OAUTH-CLIENT-REFUSED",
    "Google does not know the client id and secret.",
    "Copy both from Google's Cloud console, page Credentials.",
)
CONSENT_ENDED = Code(
    "OAUTH-CONSENT-ENDED",
    "The refresh token has expired or was revoked.",
    "Have the owner of the account consent again, and give the new refresh token with `postroom "
    "credential replace NAME`; while the app is in testing, Google ends it after 7 days.",
)
ISSUER_REFUSED = Code(
    "OAUTH-REFUSED",
    "The issuer refuses to give a token.",
    "Read the issuer's words; Microsoft explains its codes at "
    "https://login.microsoftonline.com/error.",
)
NOT_AN_ISSUER = Code(
    "OAUTH-NOT-AN-ISSUER",
    "What answers at the issuer's address does not answer as an issuer does.",
    "Check the address in authority or token_uri, and whether a proxy stands in between.",
)
