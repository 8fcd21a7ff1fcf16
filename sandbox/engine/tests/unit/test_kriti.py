"""Kriti templates, and webhook transforms that use them."""

from typing import Any

import pytest

from graphql_engine.kriti import KritiError, parse_json_template, parse_text_template
from graphql_engine.webhooks.transforms import Outgoing, transform_request, transform_response

BODY = {
    "input": {"name": "Ann", "age": 7, "tags": ["a", "b"]},
    "people": [{"id": 1, "city": "Hue"}, {"id": 2, "city": "Vinh"}],
}
VARIABLES = {
    "$body": BODY,
    "$base_url": "http://h",
    "$session_variables": {"x-hasura-user-id": "7"},
    "$response": {"status": 200},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ('{"a": 1, "b": [true, null, -2.5, "t\\n"]}', {"a": 1, "b": [True, None, -2.5, "t\n"]}),
        ("{{ $body.input.name }}", "Ann"),
        ('{"n": {{ $body.input.name }}}', {"n": "Ann"}),
        ("{{ $body.people[1].city }}", "Vinh"),
        ("{{ $session_variables['x-hasura-user-id'] }}", "7"),
        ('"{{$base_url}}/v2/{{ $body.input.age }}"', "http://h/v2/7"),
        ("{{ $body?.nothing.here }}", None),
        ('{{ $body?.nothing ?? "none" }}', "none"),
        ("{{ if $body.input.age > 5 }} 1 {{ else }} 2 {{ end }}", 1),
        ("{{ if $body.input.age == 5 }} 1 {{ elif true }} 3 {{ else }} 2 {{ end }}", 3),
        ('{{ if "a" in $body.input.tags && not false }} 1 {{ else }} 2 {{ end }}', 1),
        ("{{ range i, x := $body.people }} {{ x.city }} {{ end }}", ["Hue", "Vinh"]),
        (
            '{{ range i, x := $body.people }} {{ if i > 0 }} {"c": {{x.city}}} {{ else }} null {{ end }}'
            " {{ end }}",
            [None, {"c": "Vinh"}],
        ),
        ("{{ escapeUri $body.people[0].city }}", "Hue"),
        ("{{ toUpper $body.input.name }}", "ANN"),
        ('{{ concat ["a", $body.input.name] }}', "aAnn"),
    ],
)
def test_templates_give_json(template: str, value: Any) -> None:
    assert parse_json_template(template)(VARIABLES) == value


@pytest.mark.parametrize(
    "template",
    [
        "{{ $body.nothing }}",
        "{{ $nowhere }}",
        "{",
        "{{ if true }} 1",
        "1 2",
        '"{{ $body }}"',
        "{{ $body.input[ }}",
    ],
)
def test_what_is_malformed_or_missing_is_an_error(template: str) -> None:
    with pytest.raises(KritiError):
        parse_json_template(template)(VARIABLES)


def test_text_templates_need_no_quotes() -> None:
    assert parse_text_template("{{$base_url}}/x?y={{$body.input.age}}")(VARIABLES) == "http://h/x?y=7"


def test_a_request_is_transformed() -> None:
    before = Outgoing("POST", "http://h", [("Content-Type", "application/json"), ("X-A", "1")], b"{}")
    transform = {
        "version": 2,
        "template_engine": "Kriti",
        "method": "put",
        "url": "{{$base_url}}/v2",
        "query_params": {"user": "{{$session_variables['x-hasura-user-id']}}", "empty": ""},
        "request_headers": {"add_headers": {"X-B": "{{$body.input.name}}"}, "remove_headers": ["x-a"]},
        "body": {"action": "transform", "template": '{"name": {{$body.input.name}}}'},
    }
    after = transform_request(transform, before, BODY, {"x-hasura-user-id": "7"})
    assert (after.method, after.url, after.content) == ("PUT", "http://h/v2?user=7", b'{"name":"Ann"}')
    assert after.headers == [("Content-Type", "application/json"), ("X-B", "Ann")]


def test_a_body_may_be_a_form_or_removed() -> None:
    before = Outgoing("POST", "http://h", [("Content-Type", "application/json")], b"{}")
    form = {"body": {"action": "x_www_form_urlencoded", "form_template": {"n": "{{$body.input.name}}"}}}
    after = transform_request(form, before, BODY, None)
    assert (after.content, after.headers) == (
        b"n=Ann",
        [("Content-Type", "application/json")],
    )
    assert transform_request({"body": {"action": "remove"}}, before, BODY, None).content == b""


def test_a_response_is_transformed() -> None:
    transform = {"version": 2, "body": {"action": "transform", "template": '{"s": {{$response.status}}}'}}
    assert transform_response(transform, {"a": 1}, 200, "http://h", None) == {"s": 200}
    assert transform_response(None, {"a": 1}, 200, "http://h", None) == {"a": 1}
