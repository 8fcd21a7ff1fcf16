// Leads at a constant rate through the public URL, for operators: https://grafana.com/docs/k6
//
//   k6 run --env WEBHOOK_URL=… --env WEBHOOK_SECRET=… --env RATE=20 --env DURATION=5m deploy/k6/webhook.js
//
// WEBHOOK_URL and WEBHOOK_SECRET: URL and value of X-Pancake-Secret, as `leads connection create` prints them.
// Run it against staging. Each lead has another phone under 09 and a name that begins with "k6", and becomes an
// account, a contact and a ticket, unless the kill switch is on. One address may send 1,000 requests per second.
// What arrived is counted with: leads report, and psql -c "SELECT count(*), count(DISTINCT record_id) FROM
// pancake_webhook_event WHERE record_id LIKE 'k6-…-%'", which the run prints at its end.
import { check } from "k6";
import exec from "k6/execution";
import http from "k6/http";
import { Counter } from "k6/metrics";

const RUN = __ENV.RUN || `${Date.now()}`;
const RATE = Number(__ENV.RATE || 20);
const spooled = new Counter("pancake_spooled");

export const options = {
  scenarios: {
    leads: {
      executor: "constant-arrival-rate", // an open loop: a slow answer delays no later lead
      rate: RATE,
      timeUnit: "1s",
      duration: __ENV.DURATION || "5m",
      preAllocatedVUs: Math.max(10, RATE),
      maxVUs: Math.max(50, 10 * RATE),
    },
  },
  thresholds: {
    checks: ["rate==1"],
    dropped_iterations: ["count==0"],
    http_req_duration: ["p(95)<1000"],
  },
};

export default function () {
  const number = exec.scenario.iterationInTest;
  const now = new Date().toISOString();
  const phone = `09${String((Number(RUN) + number) % 100000000).padStart(8, "0")}`;
  const body = JSON.stringify({
    type: "records",
    event_type: "create",
    table_id: "lead",
    id: `k6-${RUN}-${number}`,
    name: `k6 ${number}`,
    phone_number: phone,
    source: [__ENV.SOURCE || "-1"],
    created_on: now,
    modified_on: now,
  });
  const headers = { "Content-Type": "application/json", "X-Pancake-Secret": __ENV.WEBHOOK_SECRET || "" };
  const answer = http.post(__ENV.WEBHOOK_URL, body, { headers, timeout: "10s", tags: { name: "webhook" } });
  const accepted = check(answer, { "is answered with 2xx": (each) => each.status >= 200 && each.status < 300 });
  if (accepted && answer.json("status") === "spooled") {
    spooled.add(1);
  }
}

export function setup() {
  if (!__ENV.WEBHOOK_URL) {
    throw new Error("WEBHOOK_URL is not set: give it the URL that leads connection create printed");
  }
}

export function teardown() {
  console.log(`record_id LIKE 'k6-${RUN}-%'`);
}
