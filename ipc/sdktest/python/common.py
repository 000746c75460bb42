"""What the checks of this folder share.

EDGED_SOCKET: path of the daemon's socket. EDGED_MODEL: model id.
"""

import os

import httpx2

SOCKET, MODEL = os.environ["EDGED_SOCKET"], os.environ["EDGED_MODEL"]


def transport():
    return httpx2.HTTPTransport(uds=SOCKET)


def openai_client():
    import openai  # Anthropic's checks do without it

    return openai.OpenAI(
        base_url="http://localhost/v1",
        api_key="-",
        max_retries=0,
        http_client=openai.DefaultHttpx2Client(transport=transport()),
    )


def expect(condition, *context):
    if not condition:
        raise AssertionError(context)


def fails(error, call):
    try:
        call()
    except error as e:
        return e
    raise AssertionError(f"no {error.__name__}")
