-- The rate limit and the deny list, from one JSON file that an operator may replace at any moment:
--   {"rate": 1000, "burst": 200, "deny": ["203.0.113.9", "2001:db8::/32"]}
-- Every worker looks at the file once a second; a file that cannot be read as this leaves the last good one in force.
local cjson = require "cjson.safe"
local clock = require "pancake.clock"
local files = require "pancake.files"
local network = require "pancake.network"
local settings = require "pancake.settings"
local log = require "pancake.log"

local dict, state = ngx.shared.edge_rate, ngx.shared.edge_state

local NO_FILE = "\0" -- for the text of a file that is not there; an empty one is a mistake
local MAX_DENIED = 1000 -- looked through one by one for every request
local DEFAULT = { rate = 1000, burst = 200, deny = {} }

local M = {}

local seen_text
local current = DEFAULT

local KNOWN = { rate = true, burst = true, deny = true }

local function unknown_key(file)
    for key in pairs(file) do
        if not KNOWN[key] then
            return tostring(key)
        end
    end
end

-- Whether a decoded value is a JSON array of at most that many: the length of an object would be 0.
local function is_list(value, most)
    if type(value) ~= "table" then
        return false
    end
    local count = 0
    for key in pairs(value) do
        count = count + 1
        if type(key) ~= "number" or count > most then
            return false
        end
    end
    return true
end

local function positive(value, default)
    if value == nil then
        return default
    end
    return type(value) == "number" and value > 0 and value < 1e7 and value or nil
end

local function parse(text)
    local file = cjson.decode(text)
    if type(file) ~= "table" then
        return nil, "not a JSON object"
    end
    local stranger = unknown_key(file)
    if stranger then
        return nil, "there is no '" .. stranger .. "'"
    end
    local deny = file.deny == nil and {} or file.deny
    if not is_list(deny, MAX_DENIED) then
        return nil, "deny must be a list of at most " .. MAX_DENIED .. " addresses or ranges"
    end
    local ranges, why = network.ranges(deny)
    local rate, burst = positive(file.rate, DEFAULT.rate), positive(file.burst, DEFAULT.burst)
    if not ranges or not rate or not burst then
        return nil, why or "rate and burst must be positive numbers"
    end
    return { rate = rate, burst = burst, deny = ranges }
end

-- The limits that a text means; no file means the defaults. Nil and why if it means none.
local function meant_by(text)
    if text == NO_FILE then
        return DEFAULT
    end
    return parse(text)
end

-- Called once a second by every worker. A missing file means the defaults; one that cannot be read or makes no sense
-- changes nothing, also for a worker that begins with it: it goes by what the others went by.
function M.reload()
    local text, why, missing = files.read(settings.limits_file)
    text = missing and NO_FILE or text
    if text and text == seen_text then
        return
    end
    local meant
    if text then
        meant, why = meant_by(text)
    end
    if meant then
        state:set("limits", text)
    else
        log.error("limits", settings.limits_file .. " is not in force: " .. why)
        text = seen_text or state:get("limits") or NO_FILE
        meant = meant_by(text)
    end
    current, seen_text = meant, text
end

function M.denied(address)
    return network.contains(current.deny, address)
end

function M.current()
    return current
end

-- A leaking bucket per key: true while the key stays within rate and burst. Stored as the moment at which the
-- bucket will be empty, so that one number is the whole state. Workers that read it in the same instant may let
-- one too many through.
function M.admit(key)
    local now = clock.now()
    local step = 1 / current.rate
    local empty_at = math.max(dict:get(key) or 0, now)
    local full = now + (current.burst + 1) * step
    if empty_at > full then -- filled under a lower rate: from now on it leaks at this one
        empty_at = full
        dict:set(key, full, current.burst * step + 1)
    end
    if empty_at - now > current.burst * step then
        return false
    end
    dict:set(key, empty_at + step, current.burst * step + 1)
    return true
end

return M
