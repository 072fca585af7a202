"""What a request may ask for, as the description of the server has it too."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from saddlepoint.export.service import Service
from saddlepoint.serve.api import refusals
from saddlepoint.serve.api.access import Limits

TINY = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAKklEQVR42mNgEFIx84"
    "jKqYPRExig9CIGKL2FAUofY4DSNxig9CsGKP0HAII1H4FUmdBFAAAAAElFTkSuQmCC"
)
"""A PNG of 8 x 8 grey pixels, as an example; smaller ones are refused."""


def _no_text(value: Any) -> Any:
    """Refuse text and truth values in the place of numbers; 3.0 is a whole number in JSON."""
    if isinstance(value, str | bool):
        raise ValueError("must be a number")
    return value


# After the bounds, which the description would lack otherwise.
_NUMBER = BeforeValidator(_no_text)
# Beyond 2**53 not every reader of JSON tells whole numbers apart.
_AskedSeed = Annotated[int, Field(ge=0, lt=2**53, description="The i-th sample depends on the seed and i only.")]
_AskedCount = Annotated[int, Field(ge=1, le=Limits.samples, description="How many.")]
_Seed = Annotated[_AskedSeed, _NUMBER]
_Count = Annotated[_AskedCount, _NUMBER]


class Body(BaseModel):
    """What all bodies have in common: no unknown fields, no more than so many, no infinite numbers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _few(cls, fields: Any) -> Any:
        # Each unknown field is an error of its own, and each error is put into words.
        if isinstance(fields, dict) and len(fields) > refusals.MOST_FIELDS:
            raise ValueError
        return fields


class SampleRequest(Body):
    """Samples of a seed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"n": 4, "seed": 1, "format": "json"}]})
    n: _Count = 1
    seed: _Seed = 0
    format: Literal["png", "npz", "json"] = "json"


class SeriesRequest(Body):
    """Windows of a time series in the units of its table."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"n": 10, "seed": 1, "format": "csv"}]})
    n: _Count = 1
    seed: _Seed = 0
    format: Literal["csv", "npz", "json"] = "csv"


class AskedSamples(Body):
    """Samples of a seed, asked for in an address."""

    n: _AskedCount = 1
    seed: _AskedSeed = 0
    format: Literal["png", "npz", "json"] = "png"


class AskedSeries(Body):
    """Windows of a time series in the units of its table, asked for in an address."""

    n: _AskedCount = 1
    seed: _AskedSeed = 0
    format: Literal["csv", "npz", "json"] = "csv"


class InterpolateRequest(Body):
    """A walk along straight lines through the latent points of seeds."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"seeds": [1, 2], "steps": 8, "format": "png"}]})
    seeds: Annotated[list[_Seed], Field(min_length=2, max_length=16)]
    steps: Annotated[int, Field(ge=2, le=Limits.samples), _NUMBER] = 8
    format: Literal["png", "npz", "json"] = "png"


class TranslateRequest(Body):
    """Pictures to be translated; they are cut or padded to the size of training, and the answers have that size."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"pictures": [TINY], "format": "png"}]})
    pictures: Annotated[
        list[str],
        Field(min_length=1, max_length=Limits.pictures, description="PNG, JPEG or other image files, each in base64."),
    ]
    seed: _Seed = 0
    format: Literal["png", "npz", "json"] = "png"


def fitted(kind: type[Body], service: Service) -> type[Body]:
    """Return a request with a label and a truncation only where the generator has them."""
    names = service.run.family.data.classes[: service.run.family.classes]
    fields: dict[str, Any] = {}
    in_address = kind in (AskedSamples, AskedSeries)
    rules = () if in_address else (_NUMBER,)
    if names:
        index = Annotated[(int, Field(ge=0, lt=len(names)), *rules)]
        told = "Name or index of a class; without it in the shares of the data."
        # An address has no null: there the label is left out.
        shape = Literal[names] | index if in_address else Literal[names] | index | None
        fields["label"] = (shape, Field(default=None, description=told))
    if kind in (SampleRequest, AskedSamples) and "mapping" in service.graphs:
        told = "0 is the mean of w, 1 changes nothing."
        fields["truncation"] = (Annotated[(float, Field(ge=0, le=2, description=told), *rules)], 1.0)
    return create_model(kind.__name__, __base__=kind, __doc__=kind.__doc__, **fields)
