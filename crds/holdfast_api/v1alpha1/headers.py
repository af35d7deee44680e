"""Headers of requests that tools make: plain ones, and those whose value is kept in a Secret."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from holdfast_api.v1alpha1.types import ApiModel, SecretKeyRef, list_map, unique

HeaderName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]


def _on_one_line(headers: dict[str, str]) -> dict[str, str]:
    """CEL over every header of every tool would cost more than the API server grants."""
    for name, value in headers.items():
        if "\r" in value or "\n" in value:
            raise ValueError(f"the value of header {name!r} has a line break: a header is one line")
    return headers


Headers = Annotated[
    dict[HeaderName, Annotated[str, StringConstraints(max_length=2048)]], AfterValidator(_on_one_line), Field(max_length=32)
]


class HeaderSource(ApiModel):
    """A request header whose value is kept in a Secret."""

    name: HeaderName = Field(description="Name of the header, for example Authorization.")
    prefix: Annotated[str, StringConstraints(max_length=64)] = Field(
        default="", description="Text before the value, for example `Bearer `."
    )
    secret_key_ref: SecretKeyRef = Field(description="The Secret's key that holds the value.")


HeaderSources = Annotated[list[HeaderSource], list_map("name", max_length=16), unique("name")]
