-- The two ways a delivery can take, tried in order: Hasura's RESTified endpoint, then the handlers directly.
-- Only a 200 that carries a known status in the expected shape is success; everything else is a failure of that way.
local cjson = require "cjson.safe"
local claim = require "pancake.claim"
local clock = require "pancake.clock"
local http = require "pancake.http"
local metrics = require "pancake.metrics"
local settings = require "pancake.settings"

local dict = ngx.shared.edge_state

local KNOWN = {
    received = true, duplicate = true, skipped_kill_switch = true, skipped_source_disabled = true,
    dead_letter = true, unknown_token = true,
}
local AWAY = { [502] = true, [503] = true, [504] = true }
local REFUSALS_IN_A_ROW = 3
local PROBE_SECONDS = 2
local SHORTEST_SECONDS = 0.4 -- a try that must end sooner is not worth it
local PAUSE_SECONDS = 0.25 -- after a probe that came from the spool: it may have been the delivery

-- Written by hand: every value here is base64, hexadecimal, an address or a checked token, and the encoder at
-- hand escapes each slash of the base64.
local function arguments(delivery)
    return ('{"token":"%s","raw":"%s","source_ip":"%s","arrived_at":"%s"}'):format(
        delivery.token, delivery.raw, delivery.source_ip, delivery.arrived_at)
end

local function envelope(delivery)
    return '{"action":{"name":"pancake_ingest_record"},"input":' .. arguments(delivery)
        .. ',"session_variables":{"x-hasura-role":"pancake_edge"},"request_query":""}'
end

local PATHS = {
    {
        name = "hasura", endpoint = settings.hasura, path = "/api/rest/pancake/record", body = arguments,
        headers = { "Authorization: Bearer " .. settings.hasura_token },
        unwrap = function(document) return document.pancake_ingest_record end,
    },
    {
        name = "handlers", endpoint = settings.handlers, path = "/actions/ingest_record", body = envelope,
        headers = { "X-Edge-Secret: " .. settings.secret },
        unwrap = function(document) return document end,
    },
}

local M = { paths = PATHS }

-- A failing path is skipped for some seconds; after that one request at a time tries it, until one succeeds.
local function open(path)
    local skipped_until = dict:get(path.name .. ".skipped_until")
    if not skipped_until then
        return true
    end
    return clock.now() >= skipped_until and claim.take(dict, path.name .. ".probe", PROBE_SECONDS)
end

function M.skipping(name)
    return dict:get(name .. ".skipped_until") ~= nil
end

local function skip(path, seconds)
    dict:set(path.name .. ".skipped_until", clock.now() + seconds)
    claim.release(dict, path.name .. ".probe")
end

local function note_success(path)
    if M.skipping(path.name) then
        dict:delete(path.name .. ".skipped_until")
        claim.release(dict, path.name .. ".probe")
    end
    dict:set(path.name .. ".refusals", 0)
    dict:set("succeeded_at", clock.now())
end

-- One odd delivery must not take a path from all the others: refusals count only in a row, and what comes from
-- the spool again and again counts only as a probe.
local function note_failure(path, result, again)
    local gone = result == "down" and not again
    local refused = result == "refused" and not again and dict:incr(path.name .. ".refusals", 1, 0) or 0
    if gone or refused >= REFUSALS_IN_A_ROW or M.skipping(path.name) then
        skip(path, again and math.min(PAUSE_SECONDS, settings.skip_seconds) or settings.skip_seconds)
    end
end

-- When any path last took a delivery, by our clock, or nil.
function M.succeeded_at()
    return dict:get("succeeded_at")
end

-- The handlers' own answer if this is one, else nil.
local function unwrapped(path, code, body)
    local document = code == 200 and cjson.decode(body)
    local result = type(document) == "table" and path.unwrap(document)
    return type(result) == "table" and KNOWN[result.status] and result or nil
end

-- The answer, or nil and whether the path had the delivery before it failed.
local function attempt(path, delivery, seconds, again)
    local started = clock.now()
    local code, body, heard = http.request(path.endpoint, "POST", path.path, path.headers, path.body(delivery), seconds)
    local answer = code and unwrapped(path, code, body)
    local result = answer and "ok" or ((not code or AWAY[code]) and "down" or "refused")
    if result == "ok" then
        note_success(path)
    else
        note_failure(path, result, again)
    end
    metrics.observe("pancake_edge_upstream_seconds", ('upstream="%s",result="%s"'):format(path.name, result), clock.now() - started)
    return answer, code ~= nil or heard
end

-- How long a path may take when somebody waits until answer_by: nil if that is not worth a try.
local function patience(answer_by)
    local left = answer_by and answer_by - clock.now() or settings.path_seconds
    return left >= math.min(SHORTEST_SECONDS, settings.path_seconds) and math.min(left, settings.path_seconds) or nil
end

-- The handlers' answer {status, event_id, error_code} and the name of the path; or nil and how many paths had the
-- delivery in hand and yet did not take it.
-- answer_by: when the sender must have its answer, by our clock; nil for what comes from the spool.
function M.forward(delivery, answer_by)
    local heard_by = 0
    for _, path in ipairs(PATHS) do
        local seconds = patience(answer_by)
        if seconds and open(path) then
            local answer, heard = attempt(path, delivery, seconds, not answer_by)
            if answer then
                return answer, path.name
            end
            heard_by = heard_by + (heard and 1 or 0)
        end
    end
    return nil, heard_by
end

return M
