"""Kriti, the template language of Hasura's webhook transforms: JSON with `{{ expressions }}`.

Facts: the language's README and the engine's documentation of REST connectors.
"""

from graphql_engine.kriti.parser import parse_json_template, parse_text_template
from graphql_engine.kriti.scanner import KritiError, Template

__all__ = ["KritiError", "Template", "parse_json_template", "parse_text_template"]
