"""Kriti, the template language of Hasura's webhook transforms: JSON with `{{ expressions }}`.

Facts: the language's README and the engine's documentation of REST connectors.
"""

from sandbox.hasura.kriti.parser import KritiError, Template, parse_json_template, parse_text_template

__all__ = ["KritiError", "Template", "parse_json_template", "parse_text_template"]
