-- The rate limit and the deny list, from one JSON file that an operator may replace at any time:
--   {"rate": 1000, "burst": 200, "deny": ["203.0.113.9", "2001:db8::/32"]}
-- Every worker reads the file once a second. A file that is not valid leaves the last valid one active.
local cjson = require "cjson.safe"
local clock = require "pancake.clock"
local files = require "pancake.files"
local network = require "pancake.network"
local settings = require "pancake.settings"
local log = require "pancake.log"

local dict, state = ngx.shared.edge_rate, ngx.shared.edge_state

local NO_FILE = "\0" -- the value for a missing file; an empty file is an error
local MAX_FILE_BYTES = 1024 * 1024
local MAX_DENIED_RANGES = 1000 -- every request is compared with each of them
local MAX_NUMBER = 1e7 -- of requests per second and of the burst
local DEFAULT_RATE_PER_SECOND, DEFAULT_BURST_REQUESTS = 1000, 200
local DEFAULTS = {
    rate_per_second = DEFAULT_RATE_PER_SECOND, burst_requests = DEFAULT_BURST_REQUESTS, denied_ranges = {},
}

local M = {}

local active_text
local active = DEFAULTS

local KNOWN_KEYS = { rate = true, burst = true, deny = true }

local function find_unknown_key(document)
    for key in pairs(document) do
        if not KNOWN_KEYS[key] then
            return tostring(key)
        end
    end
end

-- Tell a JSON array from an object: #value alone would be 0 for an object.
local function is_list(value, max_items)
    if type(value) ~= "table" then
        return false
    end
    local count = 0
    for key in pairs(value) do
        count = count + 1
        if type(key) ~= "number" or count > max_items then
            return false
        end
    end
    return true
end

local function positive_number(value, default)
    if value == nil then
        return default
    end
    if type(value) ~= "number" or value <= 0 or value >= MAX_NUMBER then
        return nil, "rate and burst must be positive numbers"
    end
    return value
end

local function parse_numbers(document)
    local rate, burst, err
    rate, err = positive_number(document.rate, DEFAULT_RATE_PER_SECOND)
    if not rate then
        return nil, err
    end
    burst, err = positive_number(document.burst, DEFAULT_BURST_REQUESTS)
    if not burst then
        return nil, err
    end
    return { rate_per_second = rate, burst_requests = burst }
end

local function parse(text)
    if text == NO_FILE then
        return DEFAULTS
    end
    local document = cjson.decode(text)
    -- cjson reads [] and {} alike.
    if type(document) ~= "table" or not text:find("^%s*{") then
        return nil, "not a JSON object"
    end
    local unknown_key = find_unknown_key(document)
    if unknown_key then
        return nil, "unknown key '" .. unknown_key .. "'"
    end
    local deny = document.deny == nil and {} or document.deny
    if not is_list(deny, MAX_DENIED_RANGES) then
        return nil, "deny must be a list of at most " .. MAX_DENIED_RANGES .. " addresses or ranges"
    end
    local ranges, err = network.parse_ranges(deny)
    if not ranges then
        return nil, err
    end
    local limits
    limits, err = parse_numbers(document)
    if not limits then
        return nil, err
    end
    limits.denied_ranges = ranges
    return limits
end

-- Read the file. A missing file means the defaults. One that cannot be read or is not valid changes nothing; a worker
-- that starts meanwhile takes the text that the other workers use.
function M.reload()
    local text, err, is_missing = files.read_limited(settings.limits_file, MAX_FILE_BYTES)
    if is_missing then
        text = NO_FILE
    end
    if text and text == active_text then
        return
    end
    local limits
    if text then
        limits, err = parse(text)
    end
    if limits then
        state:set("limits", text)
    else
        log.error("limits", "file rejected: " .. settings.limits_file .. ": " .. err)
        text = active_text or state:get("limits") or NO_FILE
        limits = parse(text)
    end
    active, active_text = limits, text
end

function M.is_denied(address)
    return network.contains(active.denied_ranges, address)
end

function M.rate_per_second()
    return active.rate_per_second
end

function M.count_denied_ranges()
    return #active.denied_ranges
end

-- Take one request from the leaking bucket of a key, which has one of `shares` equal parts of rate and burst. Return
-- true while the key stays within them; a request that `is_due` is taken in any case.
-- The state of a bucket is one number, the time at which it will be empty. Reading and writing it is not atomic:
-- workers that read it in the same instant may admit one request too many.
local function take(key, shares, is_due)
    local now = clock.now()
    local seconds_per_request = shares / active.rate_per_second
    local burst_seconds = active.burst_requests / active.rate_per_second
    local expiry_seconds = burst_seconds + 1 -- an empty bucket is the same as none
    local empty_at = math.max(dict:get(key) or 0, now)
    local full = now + burst_seconds + seconds_per_request
    if empty_at > full then -- the bucket was filled under a lower rate: it empties at the present rate from now on
        empty_at = full
        dict:set(key, full, expiry_seconds)
    end
    if empty_at - now > burst_seconds and not is_due then
        return false
    end
    dict:set(key, empty_at + seconds_per_request, expiry_seconds)
    return true
end

function M.admit(key)
    return take(key, 1)
end

-- Admit a delivery within the rate of its address. Connections whose deliveries come from the same address, as those of
-- Pancake do, have each a fair share of it: a flood of one takes what the others leave, and not their shares.
function M.admit_delivery(address, connection_id, connection_count)
    local site = network.site(address)
    local is_due = take("share/" .. site .. "/" .. connection_id, connection_count)
    return take("delivery/" .. site, 1, is_due)
end

return M
