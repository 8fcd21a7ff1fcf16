"""Request and response transforms of webhooks, written in Kriti.

Facts: documentation of REST connectors; the engine's `RQL/DDL/Webhook/Transform`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

from graphql_engine.kriti import KritiError, Template, parse_json_template, parse_text_template
from graphql_engine.rawjson import canonical

Json = Any


@dataclass(frozen=True)
class Outgoing:
    """A request to a webhook."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    content: bytes


def transform_request(
    transform: Mapping[str, Any] | None, outgoing: Outgoing, body: Json, session: Mapping[str, str] | None
) -> Outgoing:
    """Return the transformed request. Raises KritiError."""
    if not transform:
        return outgoing
    variables = {"$body": body, "$base_url": outgoing.url, "$session_variables": dict(session or {})}
    if transform.get("method"):
        outgoing = replace(outgoing, method=str(transform["method"]).upper())
    if transform.get("url"):
        outgoing = replace(outgoing, url=_text(transform["url"], variables))
    if transform.get("query_params"):
        query = _query(transform["query_params"], variables)
        joint = "&" if "?" in outgoing.url else "?"
        outgoing = replace(outgoing, url=outgoing.url + (joint + query if query else ""))
    outgoing = _with_body(outgoing, transform.get("body"), variables)
    return replace(outgoing, headers=_headers(outgoing.headers, transform, variables))


def transform_response(
    transform: Mapping[str, Any] | None,
    body: Json,
    status: int,
    base_url: str,
    session: Mapping[str, str] | None,
) -> Json:
    """Return the transformed JSON of a webhook's response. Raises KritiError."""
    spec = (transform or {}).get("body")
    if not spec:
        return body
    variables = {
        "$body": body,
        "$base_url": base_url,
        "$session_variables": dict(session or {}),
        "$response": {"status": status, "body": body},
    }
    if isinstance(spec, str):
        return parse_json_template(spec)(variables)
    if spec.get("action") == "remove":
        return None
    return parse_json_template(str(spec["template"]))(variables)


def parse_templates(transform: Mapping[str, Any] | None) -> None:
    """Parse every template of a transform. Raises KritiError for the first that is malformed."""
    spec = transform or {}
    query = spec.get("query_params")
    texts = [spec.get("url"), *((spec.get("request_headers") or {}).get("add_headers") or {}).values()]
    texts += [*query, *query.values()] if isinstance(query, dict) else [query]
    body = spec.get("body")
    whole: dict[str, Any] = {"template": body} if isinstance(body, str) else body or {}
    texts += (whole.get("form_template") or {}).values()
    for text in texts:
        if isinstance(text, str):
            _parsed(text)
    if isinstance(whole.get("template"), str):
        parse_json_template(whole["template"])


def _text(template: str, variables: dict[str, Any]) -> str:
    return str(_parsed(template)(variables))


def _parsed(template: str) -> Template:
    text = template.strip()
    if text.startswith('"') and text.endswith('"'):
        return parse_json_template(text)
    return parse_text_template(template)


def _query(spec: Mapping[str, str | None] | str, variables: dict[str, Any]) -> str:
    if isinstance(spec, str):
        return _text(spec, variables)
    pairs = {_text(k, variables): _text(v, variables) if v is not None else "" for k, v in spec.items()}
    kept = {key: value for key, value in pairs.items() if value not in ("", "null")}
    return urlencode(kept, quote_via=quote)


def _with_body(
    outgoing: Outgoing, spec: Mapping[str, Any] | str | None, variables: dict[str, Any]
) -> Outgoing:
    if spec is None:
        return outgoing
    if isinstance(spec, str):
        spec = {"action": "transform", "template": spec}
    action = spec.get("action")
    if action == "remove":
        return replace(outgoing, content=b"")
    if action == "transform":
        return replace(outgoing, content=canonical(parse_json_template(spec["template"])(variables)).encode())
    if action == "x_www_form_urlencoded":
        fields = {key: _text(value, variables) for key, value in spec["form_template"].items()}
        return replace(outgoing, content=urlencode(fields, quote_via=quote).encode())
    raise KritiError(f"unknown body action {action!r}")


def _headers(
    headers: list[tuple[str, str]], transform: Mapping[str, Any], variables: dict[str, Any]
) -> list[tuple[str, str]]:
    spec = transform.get("request_headers") or {}
    removed = {name.lower() for name in spec.get("remove_headers") or []}
    added = {name: _text(value, variables) for name, value in (spec.get("add_headers") or {}).items()}
    if transform.get("content_type"):
        added.setdefault("Content-Type", transform["content_type"])
    dropped = removed | {name.lower() for name in added}
    return [(name, value) for name, value in headers if name.lower() not in dropped] + list(added.items())
