"""The JSON Schema of releases is that of the code, and takes the files of the catalogue. Run, this writes it anew."""

import json
from importlib import resources
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from kconvert.catalog.checked import json_schema
from kconvert.catalog.release import ReleaseFile
from kconvert.catalog.shelf import RELEASE_NAMES

FOLDER = resources.files("kconvert.catalog")


def schema() -> dict[str, Any]:
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A release of kconvert"}
    return {**about, **json_schema(ReleaseFile)}


def test_the_schema_in_the_package_is_that_of_the_code() -> None:
    assert json.loads((FOLDER / "release.schema.json").read_text()) == schema()


@pytest.mark.parametrize("name", RELEASE_NAMES)
def test_the_files_of_the_catalogue_are_of_it(name: str) -> None:
    content = yaml.safe_load((FOLDER / "releases" / f"{name}.yaml").read_text())
    jsonschema.Draft202012Validator(schema()).validate(content)


@pytest.mark.parametrize("wrong", [{"title": 7.5}, {"splits": []}, {"labels": {"order": "random"}}, {"x": 1}])
def test_what_is_wrong_is_not_of_it(wrong: dict[str, Any]) -> None:
    content = yaml.safe_load((FOLDER / "releases/k400.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate({**content, **wrong})


if __name__ == "__main__":
    (FOLDER / "release.schema.json").write_text(json.dumps(schema(), indent=1) + "\n")  # type: ignore[attr-defined]
