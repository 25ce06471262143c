"""The OpenAPI description of the HTTP API, made from the table of operations."""

from typing import Any

from pybroker import __version__
from pybroker.control.operations import OPERATIONS, Operation
from pybroker.control.reading import schema

_REFUSED = {
    "400": "An argument is wrong; the error says what is allowed.",
    "401": "The token is missing or wrong.",
    "404": "What an argument names is not there.",
    "408": "What was waited for has not come true in time.",
    "409": "The cluster refused.",
}


def describe() -> dict[str, Any]:
    """The description, as plain data."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pybroker's control API",
            "version": __version__,
            "description": "What a test may do to a running cluster.",
        },
        "paths": {f"/v1/{operation.name}": {"post": _operation(operation)} for operation in OPERATIONS},
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["kind", "error"],
                    "properties": {"kind": {"type": "string"}, "error": {"type": "string"}},
                }
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    arguments = schema(operation.arguments)
    refused = {
        status: {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        for status, text in _REFUSED.items()
    }
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "requestBody": {
            "required": "required" in arguments,
            "content": {"application/json": {"schema": arguments}},
        },
        "responses": {
            "200": {"description": "The result.", "content": {"application/json": {"schema": {}}}},
            **refused,
        },
    }
