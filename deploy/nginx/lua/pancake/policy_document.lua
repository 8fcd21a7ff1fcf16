-- The policy as JSON, as the handlers answer GET /edge/policy: check it and convert it to Lua. Pure: no state, no file.
local cjson = require "cjson.safe"
local network = require "pancake.network"

local MODES = { off = true, monitor = true, enforce = true }
local DEFAULT_HEADER_NAME = "X-Pancake-Secret"
-- ISO 8601: date, "T" or a space, time, fraction (dropped), rest. The rest is "Z", an offset, or empty (UTC).
local ISO_PATTERN = "^(%d+)-(%d+)-(%d+)[T ](%d+):(%d+):(%d+)%.?%d*(.*)$"
local OFFSET_PATTERN = "^([+-])(%d%d):?(%d%d)$"
local MAX_OFFSET_HOURS = 15 -- PostgreSQL knows offsets up to 15:59

local M = {}

-- Days since 1970-01-01 in the Gregorian calendar. The year begins in March here, so that the leap day is its last day
-- and (153 * m + 2) / 5 gives the days before a month; 719468 is the number of days from 0000-03-01 to 1970-01-01.
local function days_since_epoch(year, month, day)
    if month <= 2 then
        year, month = year - 1, month + 12
    end
    local leap_days = math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    return 365 * year + leap_days + math.floor((153 * (month - 3) + 2) / 5) + day - 1 - 719468
end

-- Seconds east of UTC; nil if the text is no offset.
local function parse_offset(text)
    if text == "" or text == "Z" then
        return 0
    end
    local sign, hours, minutes = text:match(OFFSET_PATTERN)
    if not sign or tonumber(hours) > MAX_OFFSET_HOURS or tonumber(minutes) > 59 then
        return nil
    end
    return (sign == "-" and -1 or 1) * (tonumber(hours) * 3600 + tonumber(minutes) * 60)
end

-- Seconds since the epoch. os.time would use the time zone of the machine.
local function parse_time(text)
    local year, month, day, hour, minute, second, rest = text:match(ISO_PATTERN)
    local offset_seconds = year and parse_offset(rest)
    if not offset_seconds then
        return nil, "a time is not in the form of ISO 8601"
    end
    local days = days_since_epoch(tonumber(year), tonumber(month), tonumber(day))
    return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second) - offset_seconds
end

local function decode_secrets(texts)
    local secrets = {}
    for i, text in ipairs(texts or {}) do
        secrets[i] = ngx.decode_base64(text)
        if not secrets[i] then
            return nil, "a secret is not base64"
        end
    end
    return secrets
end

-- Return {index of a secret -> seconds since the epoch} for the secrets that end.
local function parse_ends(times)
    local ends = {}
    for i = 1, #(times or {}) do
        if times[i] ~= cjson.null then
            local seconds, err = parse_time(times[i])
            if not seconds then
                return nil, err
            end
            ends[i] = seconds
        end
    end
    return ends
end

local function parse_connection(entry)
    local ranges, webhook_secrets, header_secrets, err
    ranges, err = network.parse_ranges(entry.allowed_ip_ranges or {})
    if not ranges then
        return nil, err
    end
    webhook_secrets, err = decode_secrets(entry.webhook_secrets)
    if not webhook_secrets then
        return nil, err
    end
    header_secrets, err = decode_secrets(entry.header_secrets)
    if not header_secrets then
        return nil, err
    end
    local webhook_secret_ends, header_secret_ends
    webhook_secret_ends, err = parse_ends(entry.webhook_secrets_expire_at)
    if not webhook_secret_ends then
        return nil, err
    end
    header_secret_ends, err = parse_ends(entry.header_secrets_expire_at)
    if not header_secret_ends then
        return nil, err
    end
    if not MODES[entry.signature_mode] or not MODES[entry.allowlist_mode] then
        return nil, "signature_mode or allowlist_mode is not off, monitor or enforce"
    end
    local id = tostring(entry.id)
    if not id:match("^[%w-]+$") then -- the id becomes a metric label and a word of the budget journal
        return nil, "the id of a connection is not of letters, digits and dashes"
    end
    return {
        id = id, ranges = ranges, webhook_secrets = webhook_secrets, header_secrets = header_secrets,
        webhook_secret_ends = webhook_secret_ends, header_secret_ends = header_secret_ends,
        signature_mode = entry.signature_mode, allowlist_mode = entry.allowlist_mode,
        header_name = (type(entry.header_name) == "string" and entry.header_name or DEFAULT_HEADER_NAME):lower(),
    }
end

local function parse_token(token)
    local expires_at, err
    if token.expires_at ~= nil and token.expires_at ~= cjson.null then
        expires_at, err = parse_time(token.expires_at)
        if not expires_at then
            return nil, err
        end
    end
    if not token.sha256:match("^%x+$") or #token.sha256 ~= 64 then
        return nil, "token_sha256 is not a SHA-256 hex digest"
    end
    return { sha256 = token.sha256:lower(), expires_at = expires_at }
end

local function add_connection(policy, entry)
    local connection, err = parse_connection(entry)
    if not connection then
        return nil, err
    end
    for _, item in ipairs(entry.token_sha256 or {}) do
        local token
        token, err = parse_token(item)
        if not token then
            return nil, err
        end
        policy.by_sha256[token.sha256] = { connection = connection, expires_at = token.expires_at }
    end
    policy.connection_ids[#policy.connection_ids + 1] = connection.id
    return true
end

-- A policy without connections.
function M.empty()
    return { by_sha256 = {}, connection_ids = {} }
end

local function parse(text)
    local document = cjson.decode(text or "")
    if type(document) ~= "table" or type(document.connections) ~= "table" then
        return nil, "not a policy"
    end
    local policy = M.empty()
    policy.version = tostring(document.version)
    local generated_at, fault = parse_time(document.generated_at)
    if not generated_at then
        return nil, fault
    end
    policy.generated_at = generated_at
    for _, entry in ipairs(document.connections) do
        local ok, err = add_connection(policy, entry)
        if not ok then
            return nil, err
        end
    end
    return policy
end

-- Return {by_sha256 = {digest of a token -> {connection, expires_at}}, connection_ids, version, generated_at}; else nil
-- and an error. Times are seconds since the epoch.
-- One malformed connection rejects the whole document.
function M.parse(text)
    -- A value of another type (a number where a text belongs, say) raises somewhere inside.
    local ok, policy, err = pcall(parse, text)
    if not ok then
        return nil, "malformed: " .. policy
    end
    return policy, err
end

return M
