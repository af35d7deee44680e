"""Headers of requests that tools make: plain ones, and those whose value is kept in a Secret."""

from typing import Annotated

from pydantic import Field, StringConstraints

from holdfast_api.v1alpha1.types import ApiModel, SecretKeyRef, list_map, unique

HeaderName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
Headers = Annotated[dict[HeaderName, Annotated[str, StringConstraints(max_length=2048)]], Field(max_length=32)]


class HeaderSource(ApiModel):
    """A request header whose value is kept in a Secret."""

    name: HeaderName = Field(description="Name of the header, for example Authorization.")
    prefix: Annotated[str, StringConstraints(max_length=64)] = Field(
        default="", description="Text before the value, for example `Bearer `."
    )
    secret_key_ref: SecretKeyRef = Field(description="The Secret's key that holds the value.")


HeaderSources = Annotated[list[HeaderSource], list_map("name", max_length=16), unique("name")]
