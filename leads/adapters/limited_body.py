"""Read the body of an HTTP answer up to a limit, also if it is compressed."""

import zlib

import httpx


async def read_limited(response: httpx.Response, max_bytes: int) -> bytes:
    """Return the decoded body of a streamed answer; more than `max_bytes` if it is longer.

    httpx would decode a whole piece from the network at once: 64 KiB become 64 MiB, and more if they are
    compressed several times. Raises httpx.DecodingError for other encodings than gzip, and for a torn body.
    """
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "gzip"):
        raise httpx.DecodingError("unknown Content-Encoding")
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None  # 16: the format of gzip
    assert isinstance(response.stream, httpx.AsyncByteStream)
    content = bytearray()
    async for chunk in response.stream:
        try:
            content += gzip.decompress(chunk, max_bytes + 1 - len(content)) if gzip else chunk
        except zlib.error:
            raise httpx.DecodingError("not gzip") from None
        if len(content) > max_bytes:
            return bytes(content)
    if gzip and not gzip.eof:
        raise httpx.DecodingError("torn")
    return bytes(content)
