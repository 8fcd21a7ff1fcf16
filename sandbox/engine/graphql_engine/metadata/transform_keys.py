"""The keys of request and response transforms.

Facts: documentation of REST connectors.
"""

from graphql_engine.metadata.shape import ANY, Either, OneOf, Shape

TEXT_OR_NONE: Shape = (str, type(None))
JSON_OBJECT: Shape = (dict, type(None))
TRANSFORM_BODY: Shape = {"action!": str, "template": TEXT_OR_NONE, "form_template": ANY}
REQUEST_TRANSFORM: Shape = {
    "version": OneOf((1, 2)),
    "template_engine": OneOf(("Kriti",)),
    "method": TEXT_OR_NONE,
    "url": TEXT_OR_NONE,
    "query_params": ANY,
    "content_type": TEXT_OR_NONE,
    "request_headers": {"add_headers": JSON_OBJECT, "remove_headers": [str]},
    "body": Either((str, TRANSFORM_BODY)),
}
RESPONSE_TRANSFORM: Shape = {
    "version": OneOf((1, 2)),
    "template_engine": OneOf(("Kriti",)),
    "body": Either((str, TRANSFORM_BODY)),
}
