-- The policy: which tokens are valid and what a delivery must prove, per connection. The handlers decide it. The edge
-- fetches it, keeps it sealed on disk, and uses the last one for as long as the handlers are unreachable.
local claim = require "pancake.claim"
local clock = require "pancake.clock"
local crypto = require "pancake.crypto"
local disk = require "pancake.disk"
local files = require "pancake.files"
local http = require "pancake.http"
local log = require "pancake.log"
local metrics = require "pancake.metrics"
local policy_document = require "pancake.policy_document"
local settings = require "pancake.settings"

local dict = ngx.shared.edge_policy
local FILE_NAME = "policy.sealed"
local NEWEST_NAME, NEWEST_PURPOSE = "policy-newest.sealed", "newest policy" -- when the newest stored policy was made
local STORE_AGAIN_SECONDS = 3600 -- a policy that does not change keeps a time that says so
local MAX_STORED_BYTES = 8 * 1024 * 1024 -- as much as the shared memory holds
local MAX_STORED_AGE_SECONDS = 3 * 86400 -- a weekend without the handlers, and a restart in it
local FETCH_LEASE_SECONDS = 3 -- longer than any fetch: after that the worker that holds the lease must be dead
local STORE_LEASE_SECONDS = 60 -- the same for a write
local FETCH_GAP_SECONDS = 0.1 -- at most ten fetches a second, however many unknown tokens arrive
local FETCH_TIMEOUT_SECONDS = 0.8 -- also the longest time for which a sender waits for a fetch
local UNREACHABLE_SECONDS = 1 -- after a failed fetch senders do not wait for another one
local RETRY_SECONDS = 2 -- interval of the scheduled fetches after a failure, at most
local BUSY_POLL_SECONDS = 0.01 -- while another worker fetches
local BUSY = "another worker fetches"

local M = {}

local cached_serial
local cached = policy_document.empty()

-- The active policy. The shared memory holds its text; each worker parses it once per serial number.
local function current()
    local serial = dict:get("serial")
    if serial ~= cached_serial then
        cached = policy_document.parse(dict:get("text")) or cached
        cached_serial = serial
    end
    return cached
end

-- The connection whose token has that SHA-256 and was valid at that time (seconds since the epoch), or nil.
function M.find(token_sha256, at)
    local entry = current().by_sha256[token_sha256]
    if entry and (not entry.expires_at or at < entry.expires_at) then
        return entry.connection
    end
    return nil
end

function M.connection_ids()
    return current().connection_ids
end

-- The start of the last fetch that brought or confirmed the active policy, on pancake.clock; nil before the first.
function M.confirmed_at()
    return dict:get("confirmed_at")
end

function M.confirmed_after(at)
    local confirmed_at = M.confirmed_at()
    return confirmed_at ~= nil and confirmed_at > at
end

local function activate(parsed, text)
    dict:set("version", parsed.version)
    dict:set("text", text)
    dict:incr("serial", 1, 0)
end

-- Write the policy to disk. Runs in a timer, so that no sender waits for the disk. After an error the next fetch tries
-- again.
local function store(_, version, text, generated_at)
    if not claim.take(dict, "storing", STORE_LEASE_SECONDS) then
        return
    end
    local ok, err = disk.write(settings.state_dir, FILE_NAME, crypto.seal("policy", text))
    if ok then -- in this order: a kill between the two leaves a policy that is newer than its mark, not an older one
        local mark = crypto.seal(NEWEST_PURPOSE, ("%d"):format(generated_at))
        ok, err = disk.write(settings.state_dir, NEWEST_NAME, mark)
    end
    if ok then
        dict:set("stored", version)
        dict:set("stored_at", clock.now())
    else
        log.error("policy", "policy not stored: " .. err)
    end
    claim.release(dict, "storing")
end

local function accept(parsed, text, started_at)
    -- Compare versions: the text differs each time, because it holds the time at which it was made.
    if dict:get("version") ~= parsed.version then
        activate(parsed, text)
    end
    dict:set("confirmed_at", started_at)
    if dict:get("stored") ~= parsed.version or clock.now() - (dict:get("stored_at") or 0) > STORE_AGAIN_SECONDS then
        ngx.timer.at(0, store, parsed.version, text, parsed.generated_at)
    end
end

local function request_policy()
    local status, body = http.request(settings.handlers_endpoint, "GET", "/edge/policy",
        { "X-Edge-Secret: " .. settings.edge_secret }, nil, FETCH_TIMEOUT_SECONDS)
    if status ~= 200 then
        return nil, status and "status " .. status or body
    end
    local parsed, err = policy_document.parse(body)
    if not parsed then
        return nil, err
    end
    return parsed, body
end

-- Fetch the policy, one worker at a time. Return true; else nil and BUSY or another error.
local function fetch()
    if not claim.take(dict, "fetching", FETCH_LEASE_SECONDS) then
        return nil, BUSY
    end
    local started_at = clock.now()
    local parsed, result = request_policy() -- result: the text, or an error
    if parsed then
        accept(parsed, result, started_at)
    else
        dict:set("unreachable_until", clock.now() + UNREACHABLE_SECONDS)
        log.error("policy", "policy not fetched: " .. result)
    end
    metrics.count("pancake_edge_policy_refresh_total", parsed and 'result="ok"' or 'result="failed"')
    claim.release(dict, "fetching", FETCH_GAP_SECONDS)
    if not parsed then
        return nil, result
    end
    return true
end

-- Ask the handlers about a token that the active policy does not hold. Return the connection; nil if the token is
-- unknown to them as well; nil and an error if they did not answer in time.
function M.confirm(token_sha256, arrived_at)
    local asked_at = clock.now()
    while not M.confirmed_after(asked_at) do
        local now = clock.now()
        if now < (dict:get("unreachable_until") or 0) then
            return nil, "the handlers are unreachable"
        end
        if now >= asked_at + FETCH_TIMEOUT_SECONDS then
            return nil, "timeout"
        end
        local ok, err = fetch()
        if ok then
            break
        end
        if err ~= BUSY then
            return nil, err
        end
        ngx.sleep(BUSY_POLL_SECONDS)
    end
    return M.find(token_sha256, arrived_at)
end

local function read_stored(name)
    return files.read_untrusted(settings.state_dir .. "/" .. name, MAX_STORED_BYTES)
end

-- Return nil and an error if a policy from the disk is older than the newest one stored there, or too old.
local function check_age(parsed)
    local newest_at
    local mark, err, is_missing = read_stored(NEWEST_NAME)
    if is_missing then
        return nil, "no " .. NEWEST_NAME
    end
    if mark then
        newest_at, err = crypto.open(NEWEST_PURPOSE, mark)
    end
    if not newest_at then
        return nil, NEWEST_NAME .. ": " .. err
    end
    if parsed.generated_at < tonumber(newest_at) then
        return nil, "older than the newest one that was stored"
    end
    if ngx.time() - parsed.generated_at > MAX_STORED_AGE_SECONDS then
        return nil, "older than three days"
    end
    return true
end

-- Return the policy on the disk and its text; else nil, an error, and whether there is none.
local function open_stored()
    local text, parsed, ok
    local sealed, err, is_missing = read_stored(FILE_NAME)
    if not sealed then
        return nil, err, is_missing
    end
    text, err = crypto.open("policy", sealed)
    if not text then
        return nil, err
    end
    parsed, err = policy_document.parse(text)
    if not parsed then
        return nil, err
    end
    ok, err = check_age(parsed)
    if not ok then
        return nil, err
    end
    return parsed, text
end

-- Activate the policy on disk until the handlers answer. Called in the master at start; after a reload the policy is
-- still in memory.
function M.restore()
    if dict:get("serial") then
        return
    end
    local parsed, result, is_missing = open_stored() -- result: the text, or an error
    if parsed then
        activate(parsed, result)
    elseif not is_missing then -- as at the first start
        log.error("policy", "policy not restored: " .. result)
    end
end

-- Fetch the policy and return the seconds until the next scheduled fetch.
function M.refresh()
    local ok, err = fetch()
    if ok or err == BUSY then
        return settings.policy_interval_seconds
    end
    return math.min(settings.policy_interval_seconds, RETRY_SECONDS)
end

return M
