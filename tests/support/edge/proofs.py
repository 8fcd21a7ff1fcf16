"""Cases of signature checks and their expected outcomes."""

from tests.support.edge.fakes import Connection

CURRENT, PREVIOUS, WRONG = b"current secret", b"previous secret", b"wrong secret"
MODES = ("off", "monitor", "enforce")
SHIFTS_SECONDS = (-360, -240, 240, 360)
"""Distances of a signature's timestamp from now. The window is 300 s."""
SIGNERS = {"current": CURRENT, "previous": PREVIOUS, "wrong": WRONG, "missing": None}
"""Secrets by name; None stands for a delivery without signature."""


def connection_for(
    number: int, signature_mode: str, allowlist_mode: str = "off", ranges: list[str] | None = None
) -> Connection:
    """Return a connection with the token `token-<number>` and two webhook secrets."""
    return Connection(
        id=f"00000000-0000-0000-0000-{number:012d}",
        tokens={f"token-{number}": None},
        signature_mode=signature_mode,
        allowlist_mode=allowlist_mode,
        allowed_ip_ranges=ranges or [],
        webhook_secrets=[CURRENT, PREVIOUS],
    )


def expected_outcome(mode: str, shift_seconds: int, signer: str) -> str:
    """Return the outcome that the specification demands."""
    if mode == "enforce" and abs(shift_seconds) > 300:
        return "timestamp_out_of_window"
    if mode == "enforce" and signer in ("wrong", "missing"):
        return "hmac_invalid"
    return "received"
