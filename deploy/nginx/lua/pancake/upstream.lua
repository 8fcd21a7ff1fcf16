-- The two paths of a delivery, tried in this order: Hasura's RESTified endpoint, then the handlers directly.
-- Only a 200 with a known status in the expected shape is a success. Any other answer is a failure of that path.
local cjson = require "cjson.safe"
local claim = require "pancake.claim"
local clock = require "pancake.clock"
local http = require "pancake.http"
local metrics = require "pancake.metrics"
local settings = require "pancake.settings"
local trace = require "pancake.trace"

local dict = ngx.shared.edge_state

local KNOWN_STATUSES = {
    received = true, duplicate = true, skipped_kill_switch = true, skipped_source_disabled = true,
    dead_letter = true, unknown_token = true,
}
local UNAVAILABLE_STATUSES = { [502] = true, [503] = true, [504] = true }
local MAX_REFUSALS_IN_A_ROW = 3
local PROBE_LEASE_SECONDS = 2 -- longer than any attempt
local MIN_TIMEOUT_SECONDS = 0.4 -- an attempt with less time would mostly fail and mark a working path as down
local DRAIN_PROBE_SKIP_SECONDS = 0.25 -- after a failed probe by the drain: the delivery itself may be the reason

-- JSON written by hand: all values are base64, hexadecimal, an address or a time, so nothing needs escaping.
-- cjson would escape every slash in the base64.
local function action_input(delivery)
    return ('{"token_sha256":"%s","raw":"%s","source_ip":"%s","arrived_at":"%s"}'):format(
        delivery.token_sha256, delivery.raw, delivery.source_ip, delivery.arrived_at)
end

-- The envelope in which Hasura calls an action.
local function action_call(delivery)
    return '{"action":{"name":"pancake_ingest_record"},"input":' .. action_input(delivery)
        .. ',"session_variables":{"x-hasura-role":"pancake_edge"},"request_query":""}'
end

local PATHS = {
    {
        name = "hasura", endpoint = settings.hasura_endpoint, path = "/api/rest/pancake/record",
        to_body = action_input,
        header = "Authorization: Bearer " .. settings.hasura_token,
        unwrap = function(document) return document.pancake_ingest_record end,
    },
    {
        name = "handlers", endpoint = settings.handlers_endpoint, path = "/actions/ingest_record",
        to_body = action_call,
        header = "X-Edge-Secret: " .. settings.edge_secret,
        unwrap = function(document) return document end,
    },
}

local M = { paths = PATHS }

-- Whether to try a path now. A failing path is skipped for some seconds. Then one delivery at a time probes it, until
-- one succeeds.
local function is_available(path)
    local skipped_until = dict:get(path.name .. ".skipped_until")
    if not skipped_until then
        return true
    end
    return clock.now() >= skipped_until and claim.take(dict, path.name .. ".probe", PROBE_LEASE_SECONDS)
end

function M.is_skipped(path_name)
    return dict:get(path_name .. ".skipped_until") ~= nil
end

-- What a path answered when it last failed: an HTTP status, 0 without an answer.
function M.failed_with(path_name)
    return dict:get(path_name .. ".failed_with")
end

local function skip(path, seconds)
    dict:set(path.name .. ".skipped_until", clock.now() + seconds)
    claim.release(dict, path.name .. ".probe")
end

local function note_success(path)
    if M.is_skipped(path.name) then
        dict:delete(path.name .. ".skipped_until")
        claim.release(dict, path.name .. ".probe")
    end
    dict:set(path.name .. ".refusals", 0)
    dict:set("succeeded_at", clock.now())
end

-- One odd delivery must not close a path for all others: refusals count only in a row, and a failure of a delivery from
-- the spool, which is tried again and again, counts only if it was a probe.
local function note_failure(path, result, is_from_spool)
    local is_down = result == "down" and not is_from_spool
    local is_refusal = result == "refused" and not is_from_spool
    local refusals = is_refusal and dict:incr(path.name .. ".refusals", 1, 0) or 0
    if is_down or refusals >= MAX_REFUSALS_IN_A_ROW or M.is_skipped(path.name) then
        skip(path, is_from_spool and math.min(DRAIN_PROBE_SKIP_SECONDS, settings.skip_seconds) or settings.skip_seconds)
    end
end

-- When any path last took a delivery, on pancake.clock; nil before the first.
function M.succeeded_at()
    return dict:get("succeeded_at")
end

-- The result of the action, if the answer is one; else nil and an error.
local function read_result(path, status, body)
    if status ~= 200 then
        return nil, status and "status " .. status or body
    end
    local document = cjson.decode(body)
    local result = type(document) == "table" and path.unwrap(document)
    if type(result) ~= "table" or not KNOWN_STATUSES[result.status] then
        return nil, "not an answer of pancake_ingest_record"
    end
    return result
end

-- Try one path. Return the result of the action; else nil, an error, and whether the path received the delivery.
local function attempt(path, delivery, timeout_seconds, is_from_spool)
    local started_at = clock.now()
    local headers = trace.header_lines(delivery.traceparent)
    headers[#headers + 1] = path.header
    local status, body, is_received = http.request(
        path.endpoint, "POST", path.path, headers, path.to_body(delivery), timeout_seconds)
    local result, err = read_result(path, status, body)
    local outcome = result and "ok" or ((not status or UNAVAILABLE_STATUSES[status]) and "down" or "refused")
    if result then
        note_success(path)
    else
        dict:set(path.name .. ".failed_with", status or 0)
        note_failure(path, outcome, is_from_spool)
    end
    metrics.observe("pancake_edge_upstream_seconds", ('upstream="%s",result="%s"'):format(path.name, outcome),
        clock.now() - started_at)
    return result, err, status ~= nil or is_received
end

-- Return the seconds that one attempt may take; nil and an error if too little time is left.
local function attempt_timeout(answer_by)
    if not answer_by then
        return settings.path_timeout_seconds
    end
    local left_seconds = answer_by - clock.now()
    if left_seconds < math.min(MIN_TIMEOUT_SECONDS, settings.path_timeout_seconds) then
        return nil, "timeout"
    end
    return math.min(left_seconds, settings.path_timeout_seconds)
end

-- Hand a delivery to the first path that takes it.
-- answer_by: when the sender must have its answer, on pancake.clock; nil for a delivery from the spool.
-- Return the result {status, event_id, error_code}, nil, and the name of the path; else nil, an error, and the number
-- of paths that received the delivery and did not take it.
function M.forward(delivery, answer_by)
    local received_by, last_err = 0, "every path is skipped"
    for _, path in ipairs(PATHS) do
        local timeout_seconds, err = attempt_timeout(answer_by)
        if timeout_seconds and is_available(path) then
            local result, is_received
            result, err, is_received = attempt(path, delivery, timeout_seconds, not answer_by)
            if result then
                return result, nil, path.name
            end
            received_by = received_by + (is_received and 1 or 0)
        end
        last_err = err or last_err
    end
    return nil, last_err, received_by
end

return M
