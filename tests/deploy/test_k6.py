"""deploy/k6/webhook.js, run by Node.js with stand-ins for the modules of k6, which no registry has."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from leads.domain.body import read_body
from leads.domain.lead import read_lead
from leads.domain.phone import read_phones
from tests.support.programs import Done, run

SCRIPT = Path(__file__).parents[2] / "deploy/k6/webhook.js"
MODULES = {
    "k6": "export const check = (answer, checks) => Object.values(checks).every((each) => each(answer));",
    "k6/execution": "export default { scenario: { iterationInTest: 7 } };",
    "k6/http": "export default { post: (...call) => { calls.push(call); return answer; } };",
    "k6/metrics": "export class Counter { constructor(name) { counted[name] = 0; this.name = name; }"
    " add(number) { counted[this.name] += number; } }",
}
RUN = """
globalThis.calls = []; globalThis.counted = {};
globalThis.answer = { status: 200, json: () => "spooled" };
globalThis.__ENV = JSON.parse(process.argv[2]);
const script = await import("./webhook.mjs");
script.setup(); script.default(); script.teardown();
console.log(JSON.stringify({ calls, counted, options: script.options }));
"""

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None, reason="Node.js is not installed: apt-get install nodejs"
)


def run_script(folder: Path, environment: dict[str, str], code: int = 0) -> Done:
    for name, text in MODULES.items():
        package, _, file = name.partition("/")
        home = folder / "node_modules" / package
        home.mkdir(parents=True, exist_ok=True)
        (home / f"{file or 'index'}.js").write_text(text)
    files = {f"./{name}": f"./{name}.js" for name in ("execution", "http", "metrics")}
    package_file = folder / "node_modules/k6/package.json"
    exports = {".": "./index.js", **files}
    package_file.write_text(json.dumps({"name": "k6", "type": "module", "exports": exports}))
    shutil.copy(SCRIPT, folder / "webhook.mjs")
    (folder / "run.mjs").write_text(RUN)
    return run("node", "run.mjs", json.dumps(environment), cwd=folder, code=code)


@pytest.fixture
def ran(tmp_path: Path) -> dict[str, Any]:
    url = {"WEBHOOK_URL": "https://crm.example.com/x"}
    ended = run_script(tmp_path, {"WEBHOOK_SECRET": "s", "RUN": "1795689181978", "RATE": "30"} | url)
    assert ended.stderr == ""
    first, last = ended.stdout.splitlines()
    assert first == "record_id LIKE 'k6-1795689181978-%'"
    return dict(json.loads(last))


def test_it_posts_a_lead_that_the_handlers_understand(ran: dict[str, Any]) -> None:
    ((url, body, parameters),) = ran["calls"]
    assert url == "https://crm.example.com/x"
    assert parameters["headers"]["X-Pancake-Secret"] == "s"
    stored = read_body(body.encode())
    assert (stored.error_code, stored.notes, stored.source_ids) == (None, (), ("-1",))
    assert stored.modified_on is not None
    assert stored.modified_on.tzinfo is not None
    assert stored.record is not None
    lead = read_lead(stored.record)
    assert (lead.record_id, lead.is_deletion) == ("k6-1795689181978-7", False)
    (phone,) = lead.phones
    assert read_phones([phone]).usable


def test_it_keeps_its_rate_whatever_the_answers_are(ran: dict[str, Any]) -> None:
    scenario = ran["options"]["scenarios"]["leads"]
    assert (scenario["executor"], scenario["rate"]) == ("constant-arrival-rate", 30)
    assert ran["options"]["thresholds"]["dropped_iterations"] == ["count==0"]
    assert ran["counted"] == {"pancake_spooled": 1}


def test_a_missing_url_is_named(tmp_path: Path) -> None:
    ended = run_script(tmp_path, {}, code=1)
    assert "WEBHOOK_URL is not set" in ended.stderr
