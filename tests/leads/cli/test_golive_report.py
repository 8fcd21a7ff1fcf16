"""The signed report: what is flipped, removed or reordered in it, in its records or its evidence is found."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from leads.adapters.signing import SignatureRefused, SigningKey, VerifyKey
from leads.cli.__main__ import app
from leads.cli.golive.records import Records
from leads.cli.golive.statement import PAYLOAD_TYPE
from sandbox.postgres.server import Cluster
from tests.support.golive_keys import write_keys
from tests.support.golive_pilot import Pilot
from tests.support.golive_prometheus import fake_prometheus

NAMES = ("report.html", "report.json", "report.xml", "report.prom", "criteria.json", "records.jsonl")


class Signed(NamedTuple):
    """A report in its folder, the folder of its records, and the keys."""

    report: Path
    records: Path
    private: Path
    public: Path

    def verify(self, *words: str) -> Result:
        arguments = ["golive", "verify", str(self.report / "report.dsse.json")]
        arguments += ["--public-key", str(self.public), "--records", str(self.records), *words]
        return CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})


@pytest.fixture(scope="module")
def made(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    """A report of gate W1 with three records, made once."""
    folder = tmp_path_factory.mktemp("report")
    name = f"{template}_report"
    with fake_prometheus() as prometheus:
        pilot = Pilot(cluster.create_database(name, template), folder / "records", prometheus.url)
        pilot.seed()
        proof = folder / "proof.pdf"
        proof.write_text("signed")
        assert pilot.golive("begin", "W1", "--by", "Lan").exit_code == 0
        for criterion in ("G-1", "G-2"):
            words = ["attest", criterion, "--value", "1", "--evidence", str(proof), "--by", "Lan"]
            assert pilot.golive(*words).exit_code == 0
        private, public = write_keys(folder)
        result = pilot.golive("report", "W1", "--key", str(private), "--to", str(folder / "reports"))
        assert result.exit_code == 1, result.output
    (report,) = (folder / "reports").iterdir()
    yield Signed(report, folder / "records", private, public)
    cluster.drop_database(name)


@pytest.fixture
def signed(made: Signed, tmp_path: Path) -> Signed:
    """A copy that a test may change."""
    shutil.copytree(made.report, tmp_path / "report")
    shutil.copytree(made.records, tmp_path / "records")
    return made._replace(report=tmp_path / "report", records=tmp_path / "records")


def test_an_unchanged_report_is_what_was_signed(signed: Signed) -> None:
    result = signed.verify()
    assert result.exit_code == 0, result.output
    assert "DIFFERS" not in result.stdout
    assert "The report is what was signed: gate W1 was closed at" in result.stdout
    document = json.loads(signed.verify("--json").stdout)
    assert document["is_right"]
    assert {each["name"] for each in document["checks"]} >= {*NAMES, "evidence proof.pdf"}


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_of_a_file_is_found(signed: Signed, name: str) -> None:
    path = signed.report / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = signed.verify()
    assert result.exit_code == 1
    assert f"DIFFERS   {name} it was changed" in result.stdout
    path.unlink()
    assert "cannot be read" in signed.verify().stdout


def test_a_flipped_bit_of_every_byte_of_what_was_signed_is_found(signed: Signed) -> None:
    path = signed.report / "report.dsse.json"
    envelope = json.loads(path.read_text())
    payload = base64.b64decode(envelope["payload"])
    key = VerifyKey.read(signed.public)
    for position in range(0, len(payload), 7):
        changed = bytearray(payload)
        changed[position] ^= 1
        encoded = base64.b64encode(changed).decode()
        with pytest.raises(SignatureRefused, match="or was changed"):
            key.open(json.dumps(envelope | {"payload": encoded}).encode(), PAYLOAD_TYPE)
    path.write_text(json.dumps(envelope | {"payload": base64.b64encode(payload + b" ").decode()}))
    result = signed.verify()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "was not signed by the key" in result.stderr


def test_another_key_and_another_type_are_refused(signed: Signed, tmp_path: Path) -> None:
    _, other = write_keys(tmp_path)
    result = signed._replace(public=other).verify()
    assert result.exit_code == 1
    assert "was not signed by the key" in result.stderr
    envelope = SigningKey.read(signed.private).envelope("text/plain", b"{}")
    (signed.report / "report.dsse.json").write_text(json.dumps(envelope))
    assert "The payload is 'text/plain'" in signed.verify().stderr


@pytest.mark.parametrize("change", ["flip", "remove", "reorder", "append", "empty"])
def test_what_happened_to_the_records_is_found(signed: Signed, change: str) -> None:
    path = Records(signed.records).path
    lines = path.read_bytes().splitlines(keepends=True)
    changed = {
        "flip": [lines[0].replace(b'"Lan"', b'"Lam"'), *lines[1:]],
        "remove": lines[:-1],
        "reorder": [lines[1], lines[0], *lines[2:]],
        "append": [*lines, lines[-1]],
        "empty": [],
    }[change]
    path.write_bytes(b"".join(changed))
    result = signed.verify()
    assert result.exit_code == 1
    assert "DIFFERS   records in" in result.stdout


def test_later_records_are_no_difference_and_a_rewritten_chain_is(signed: Signed) -> None:
    before = Records(signed.records).read()
    Records(signed.records).add(before[-1].statement)
    assert signed.verify().exit_code == 0
    rewritten = Records(signed.records.with_name("rewritten"))
    for record in before[1:]:
        rewritten.add(record.statement)
    shutil.copytree(signed.records / "evidence", rewritten.folder / "evidence")
    result = signed._replace(records=rewritten.folder).verify()
    assert result.exit_code == 1
    assert "do not begin with the 3 records of the report" in " ".join(result.stdout.split())


def test_changed_and_missing_evidence_is_found(signed: Signed) -> None:
    evidence = Records(signed.records).read()[1].evidence[0]
    path = Records(signed.records).evidence_path(evidence)
    path.write_text("Signed")
    assert "DIFFERS   evidence proof.pdf The evidence proof.pdf was changed" in signed.verify().stdout
    path.unlink()
    assert signed.verify().exit_code == 1


def test_a_name_that_leaves_the_folder_is_refused(signed: Signed) -> None:
    key = SigningKey.read(signed.private)
    payload = json.loads(base64.b64decode(_envelope(signed)["payload"]))
    payload["subject"].append({"name": "../records/records.head", "digest": {"sha256": "0" * 64}})
    envelope = key.envelope(PAYLOAD_TYPE, json.dumps(payload).encode())
    (signed.report / "report.dsse.json").write_text(json.dumps(envelope))
    assert "it is no name of a file of a report" in " ".join(signed.verify().stdout.split())


def _envelope(signed: Signed) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((signed.report / "report.dsse.json").read_text())
    return document


def test_openssl_verifies_the_signature(signed: Signed, tmp_path: Path) -> None:
    """The envelope is what the protocol says, by another implementation of Ed25519."""
    envelope = _envelope(signed)
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    (tmp_path / "signed").write_bytes(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(signed.public), "-rawin"]
    files = ["-in", str(tmp_path / "signed"), "-sigfile", str(tmp_path / "signature")]
    assert subprocess.run([*words, *files], capture_output=True, check=False).returncode == 0
    statement = json.loads(payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert {each["name"] for each in statement["subject"]} >= set(NAMES)


def test_the_files_for_programs_are_valid(signed: Signed) -> None:
    suite = ElementTree.parse(signed.report / "report.xml").getroot().find("testsuite")
    assert suite is not None
    document = json.loads((signed.report / "report.json").read_text())
    assert suite.get("errors") == str(document["counts"]["inconclusive"])
    assert len(suite.findall("testcase")) == len(document["criteria"])
    text = (signed.report / "report.prom").read_text()
    assert 'pancake_golive_gate_open{gate="W1"} 0\n' in text
    if tool := shutil.which("promtool"):
        done = subprocess.run(
            [tool, "check", "metrics"], input=text, text=True, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"", 0o600, "is not a private key in PEM"),
        (None, 0o644, "can be read by others"),
        (None, None, "cannot be read"),
    ],
)
def test_a_key_that_cannot_sign_is_refused(
    signed: Signed, tmp_path: Path, content: bytes | None, mode: int | None, message: str
) -> None:
    path = tmp_path / "key.pem"
    if mode is not None:
        path.write_bytes(signed.private.read_bytes() if content is None else content)
        path.chmod(mode)
    words = ["golive", "report", "W1", "--key", str(path), "--to", str(tmp_path), "--records", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in " ".join(result.output.split())


def test_a_public_key_does_not_sign_and_a_private_one_does_not_verify(signed: Signed) -> None:
    result = signed._replace(public=signed.private).verify()
    assert result.exit_code == 2
    assert "is not a public key in PEM" in " ".join(result.output.split())
