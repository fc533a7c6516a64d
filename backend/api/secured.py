"""The application, whose OpenAPI document says which scope each route needs."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from backend.api.needs import needs_at

SCHEME: Final = "key"


class SecuredApp(FastAPI):
    """FastAPI that describes keys; who may what is decided by the guard."""

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["securitySchemes"] = {
                SCHEME: {"type": "http", "scheme": "bearer", "bearerFormat": "ap_ID_SECRET"}
            }
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    need = needs_at(path).get(method.upper())
                    if need is not None and need.scope is not None:
                        operation["security"] = [{SCHEME: [need.scope.value]}]
        return self.openapi_schema or {}
