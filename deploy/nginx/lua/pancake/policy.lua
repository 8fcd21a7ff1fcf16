-- Per-connection policy: which tokens are valid, what a delivery must prove. The handlers decide it; the edge
-- fetches it, keeps it sealed on disk and goes by the last one it got for as long as the handlers are away.
local cjson = require "cjson.safe"
local claim = require "pancake.claim"
local clock = require "pancake.clock"
local crypto = require "pancake.crypto"
local disk = require "pancake.disk"
local files = require "pancake.files"
local http = require "pancake.http"
local log = require "pancake.log"
local metrics = require "pancake.metrics"
local network = require "pancake.network"
local settings = require "pancake.settings"

local dict = ngx.shared.edge_policy
local FILE = "policy.sealed"
local MODES = { off = true, monitor = true, enforce = true }
local FETCH_SECONDS = 3     -- after that a worker that fetches must be dead
local STORE_SECONDS = 60    -- or one that stores
local FETCH_GAP = 0.1       -- at most ten fetches a second, however many unknown tokens come
local CONFIRM_SECONDS = 0.8
local UNREACHABLE_SECONDS = 1

local M = {}

local cached_serial
local cached = { by_hash = {}, ids = {} }

local function epoch(text)
    local y, mo, d, h, mi, s, rest = text:match("^(%d+)-(%d+)-(%d+)[T ](%d+):(%d+):(%d+)%.?%d*(.*)$")
    if not y then
        return nil
    end
    y, mo, d = tonumber(y), tonumber(mo), tonumber(d)
    if mo <= 2 then
        y, mo = y - 1, mo + 12
    end
    local days = 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400)
        + math.floor((153 * (mo - 3) + 2) / 5) + d - 1 - 719468
    local sign, oh, om = rest:match("^([+-])(%d%d):?(%d%d)$")
    local offset = sign and (tonumber(oh) * 3600 + tonumber(om) * 60) * (sign == "-" and -1 or 1) or 0
    return days * 86400 + tonumber(h) * 3600 + tonumber(mi) * 60 + tonumber(s) - offset
end

local function secrets(list)
    local decoded = {}
    for i, text in ipairs(list or {}) do
        decoded[i] = ngx.decode_base64(text)
        if not decoded[i] then
            return nil, "a secret is not base64"
        end
    end
    return decoded
end

local function connection(entry)
    local ranges, why = network.ranges(entry.allowed_ip_ranges or {})
    local webhook = ranges and secrets(entry.webhook_secrets)
    local header = webhook and secrets(entry.header_secrets)
    if not header then
        return nil, why or "a secret is not base64"
    end
    if not MODES[entry.signature_mode] or not MODES[entry.allowlist_mode] or not tostring(entry.id):match("^[%w-]+$") then
        return nil, "a mode or an id is none"
    end
    return {
        id = tostring(entry.id), ranges = ranges, webhook_secrets = webhook, header_secrets = header,
        signature_mode = entry.signature_mode, allowlist_mode = entry.allowlist_mode,
        header_name = (type(entry.header_name) == "string" and entry.header_name or "X-Pancake-Secret"):lower(),
    }
end

local function tokens(parsed, entry, known)
    for _, token in ipairs(entry.token_sha256 or {}) do
        local expires = token.expires_at
        if expires == cjson.null then
            expires = nil
        elseif expires ~= nil then
            expires = epoch(expires)
            if not expires then
                return nil, "expires_at is not ISO 8601"
            end
        end
        if not token.sha256:match("^%x+$") or #token.sha256 ~= 64 then
            return nil, "a sha256 is none"
        end
        parsed.by_hash[token.sha256:lower()] = { connection = known, expires_at = expires }
    end
    return true
end

local function read(text)
    local document = cjson.decode(text or "")
    if type(document) ~= "table" or type(document.connections) ~= "table" then
        return nil, "not a policy"
    end
    local parsed = { by_hash = {}, ids = {}, version = tostring(document.version) }
    for _, entry in ipairs(document.connections) do
        local known, why = connection(entry)
        if known then
            known, why = tokens(parsed, entry, known) and known
        end
        if not known then
            return nil, why or "a token is malformed"
        end
        parsed.ids[#parsed.ids + 1] = known.id
    end
    return parsed
end

-- Everything or nothing: one malformed connection and the whole answer is refused, the last good one stays.
local function parse(text)
    local ran, parsed, why = pcall(read, text)
    if not ran then
        return nil, "malformed: " .. parsed
    end
    return parsed, why
end

local function current()
    local serial = dict:get("serial")
    if serial ~= cached_serial then
        cached = parse(dict:get("text")) or cached
        cached_serial = serial
    end
    return cached
end

-- The connection whose token this is at that moment, by the policy in force, or nil.
function M.find(token, at)
    local entry = current().by_hash[crypto.hex(crypto.sha256(token))]
    if entry and (not entry.expires_at or at < entry.expires_at) then
        return entry.connection
    end
end

function M.connection_ids()
    return current().ids
end

-- When the fetch began that last brought (or confirmed) the policy in force, by our clock; nil before the first one.
function M.confirmed_at()
    return dict:get("confirmed_at")
end

-- Whether a fetch that began after that moment brought it.
function M.confirmed_after(moment)
    local confirmed = M.confirmed_at()
    return confirmed ~= nil and confirmed > moment
end

-- The version, not the text, says whether it is another one: the text carries the time it was made.
local function put_in_force(parsed, text)
    dict:set("version", parsed.version)
    dict:set("text", text)
    dict:incr("serial", 1, 0)
end

-- By one worker at a time, in a timer: nobody who asked about a token waits for the disk. A write that failed is tried
-- again after the next fetch.
local function store(_, version, text)
    if not claim.take(dict, "storing", STORE_SECONDS) then
        return
    end
    local written, why = disk.write(settings.state, FILE, crypto.seal("policy", text))
    if written then
        dict:set("stored", version)
    else
        log.error("policy", "the policy is in force but not on disk: " .. why)
    end
    claim.release(dict, "storing")
end

local function keep(parsed, text, started)
    if dict:get("version") ~= parsed.version then
        put_in_force(parsed, text)
    end
    dict:set("confirmed_at", started)
    if dict:get("stored") ~= parsed.version then
        ngx.timer.at(0, store, parsed.version, text)
    end
end

-- One fetch at a time for all workers. True, or nil and whether somebody else is at it.
local function fetch()
    if not claim.take(dict, "fetching", FETCH_SECONDS) then
        return nil, true
    end
    local started = clock.now()
    local status, body = http.request(settings.handlers, "GET", "/edge/policy",
        { "X-Edge-Secret: " .. settings.secret }, nil, CONFIRM_SECONDS)
    local parsed, why
    if status == 200 then
        parsed, why = parse(body)
    else
        why = status and "status " .. status or body
    end
    if not parsed then
        dict:set("unreachable_until", clock.now() + UNREACHABLE_SECONDS)
        log.error("policy", "no policy from the handlers: " .. why)
    else
        keep(parsed, body, started)
    end
    metrics.count("pancake_edge_policy_refresh_total", parsed and 'result="ok"' or 'result="failed"')
    claim.release(dict, "fetching", FETCH_GAP)
    return parsed ~= nil, false
end

-- The handlers' word on a token we do not know, asked from now on: the connection and true; nil and true if it is
-- unknown for certain; nil and false if nobody could be asked in time.
function M.confirm(token, arrived)
    local asked = clock.now()
    while not M.confirmed_after(asked) do
        local now = clock.now()
        if now < (dict:get("unreachable_until") or 0) or now >= asked + CONFIRM_SECONDS then
            return nil, false
        end
        local fetched, busy = fetch()
        if fetched then
            break
        end
        if not busy then
            return nil, false
        end
        ngx.sleep(0.01)
    end
    return M.find(token, arrived), true
end

-- In the master at start: the policy from disk is in force until the handlers say otherwise.
function M.restore()
    if dict:get("serial") then
        return
    end
    local sealed = files.read(settings.state .. "/" .. FILE)
    if not sealed then
        return
    end
    local text, why = crypto.open("policy", sealed)
    local parsed = text and parse(text)
    if parsed then
        put_in_force(parsed, text)
    else
        ngx.log(ngx.ERR, "the policy on disk is not in force: ", why or "malformed")
    end
end

-- Seconds until the next one is due: after a failure sooner.
function M.refresh()
    local fetched, busy = fetch()
    return (fetched or busy) and settings.policy_seconds or math.min(settings.policy_seconds, 2)
end

return M
