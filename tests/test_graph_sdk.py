"""Microsoft's own client reads, moves and sends mail through the stand-in for Graph: a witness that
it is Graph that our plugin is tried against."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from postroom_test_servers.desk import mail
from postroom_test_servers.graph import GraphServer
from postroom_test_servers.graph_mailbox import GraphMailbox
from postroom_test_servers.graph_wire import refusal
from postroom_test_servers.tls import PrivateAuthority

SUPPORT = "support@example.org"
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the SDK's own making
]
Ask = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture
def mailbox(graph_server: GraphServer) -> GraphMailbox:
    """A mailbox with some mail."""
    made = graph_server.new_mailbox(SUPPORT)
    for number in range(25):
        made.put(mail(f"m{number}"))
    return made


@pytest.fixture
def connections(authority: PrivateAuthority) -> httpx.AsyncHTTPTransport:
    """The SDK's connections."""
    return httpx.AsyncHTTPTransport(verify=authority_context(authority), trust_env=False)


@pytest.fixture
def ask(connections: httpx.AsyncHTTPTransport) -> Ask:
    """Run what asks the server, and close the connections: the SDK has nothing that does."""

    def run(work: Callable[[], Awaitable[Any]]) -> Any:
        async def all_of_it() -> Any:
            try:
                return await work()
            finally:
                await connections.aclose()

        return asyncio.run(all_of_it())

    return run


@pytest.fixture
def user(graph_server: GraphServer, connections: httpx.AsyncHTTPTransport) -> Any:
    """The SDK's way to the mailbox, with a token of the server's."""
    from kiota_abstractions.authentication import AnonymousAuthenticationProvider
    from kiota_http.middleware.options import RetryHandlerOption
    from msgraph import GraphRequestAdapter, GraphServiceClient
    from msgraph_core import GraphClientFactory

    http = httpx.AsyncClient(
        transport=connections, headers={"Authorization": f"Bearer {graph_server.issue()}"}
    )
    client = GraphClientFactory.create_with_default_middleware(
        client=http, options={RetryHandlerOption.get_key(): RetryHandlerOption(delay=1)}
    )
    adapter = GraphRequestAdapter(AnonymousAuthenticationProvider(), client=client)
    adapter.base_url = graph_server.url
    return GraphServiceClient(request_adapter=adapter).users.by_user_id(SUPPORT)


def authority_context(authority: PrivateAuthority) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(authority.ca_file))


def test_it_lists_by_delta_page_by_page(ask: Ask, user: Any, mailbox: GraphMailbox):
    async def walk() -> list[str]:
        delta = user.mail_folders.by_mail_folder_id("inbox").messages.delta
        page, found = await delta.get(), []
        while True:
            found += [one.internet_message_id for one in page.value]
            if page.odata_next_link is None:
                assert page.odata_delta_link
                return found
            page = await delta.with_url(page.odata_next_link).get()

    found = ask(walk)

    assert sorted(found) == sorted(one.internet_id for one in mailbox.messages.values())


def test_it_reads_the_mime_marks_and_moves(ask: Ask, user: Any, mailbox: GraphMailbox):
    from msgraph.generated.models.message import Message
    from msgraph.generated.users.item.messages.item.move.move_post_request_body import (
        MovePostRequestBody,
    )

    async def work() -> tuple[bytes, Any]:
        page = await user.messages.get()
        one = user.messages.by_message_id(page.value[0].id)
        raw = await one.content.get()
        await one.patch(Message(is_read=True))
        moved = await one.move.post(MovePostRequestBody(destination_id="deleteditems"))
        return raw, moved

    raw, moved = ask(work)

    [message] = [m for m in mailbox.messages.values() if m.is_read]
    assert raw == message.mime()
    assert message.folder == mailbox.well_known["deleteditems"]
    assert moved.id == message.mutable_id


def test_it_sends_a_draft_and_a_message_in_one_go(ask: Ask, user: Any, mailbox: GraphMailbox):
    from msgraph.generated.models.body_type import BodyType
    from msgraph.generated.models.email_address import EmailAddress
    from msgraph.generated.models.item_body import ItemBody
    from msgraph.generated.models.message import Message
    from msgraph.generated.models.recipient import Recipient
    from msgraph.generated.users.item.send_mail.send_mail_post_request_body import (
        SendMailPostRequestBody,
    )

    def message(subject: str) -> Message:
        ann = Recipient(email_address=EmailAddress(address="ann@customer.example"))
        body = ItemBody(content_type=BodyType.Text, content="Five.")
        return Message(subject=subject, body=body, to_recipients=[ann])

    async def work() -> None:
        draft = await user.messages.post(message("drafted"))
        await user.messages.by_message_id(draft.id).send.post()
        request = SendMailPostRequestBody(message=message("at once"), save_to_sent_items=False)
        await user.send_mail.post(request)

    ask(work)

    assert [to for _, to, _ in mailbox.delivered] == [("ann@customer.example",)] * 2
    sent = mailbox.folders[mailbox.well_known["sentitems"]].present
    assert [mailbox.messages[ref].subject for ref in sent] == ["drafted"]


def test_it_understands_errors_and_waits_when_it_is_throttled(
    ask: Ask, user: Any, mailbox: GraphMailbox, graph_server: GraphServer
):
    from kiota_abstractions.api_error import APIError

    graph_server.on("GET .*/messages$", refusal(429, "TooManyRequests", retry_after="1"))

    async def work() -> tuple[Any, Any]:
        page = await user.messages.get()
        with pytest.raises(APIError) as caught:
            await user.messages.by_message_id("AAnothing").get()
        return page, caught.value

    page, error = ask(work)

    assert len(page.value) == 10
    assert graph_server.early == []
    assert error.error.code == "ErrorItemNotFound"
