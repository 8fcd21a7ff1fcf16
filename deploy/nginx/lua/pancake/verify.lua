-- Check whether a delivery proves what its connection demands. Pure: no socket, no clock, no state.
local crypto = require "pancake.crypto"
local network = require "pancake.network"

local WINDOW_SECONDS = 300 -- between the timestamp of a signature and its arrival, in both directions
local MAX_TIMESTAMP_CHARACTERS = 20

local TIMESTAMP, SIGNATURE = "x-pancake-timestamp", "x-pancake-signature"

local M = {}

local function is_in_window(timestamp, now)
    -- Decimal digits only: tonumber would also accept "0x10", "1e9" and "nan". No fraction: the signature is over
    -- timestamp.body, so that "1.5" with a body could be "1" with another one.
    if not timestamp or not timestamp:match("^%d+$") or #timestamp > MAX_TIMESTAMP_CHARACTERS then
        return false
    end
    return math.abs(now - tonumber(timestamp)) <= WINDOW_SECONDS
end

-- Compare with every candidate, so that the time taken does not say which secret is the current one.
local function equals_any(candidates, given)
    local found = false
    for _, candidate in ipairs(candidates) do
        found = crypto.equal(candidate, given) or found
    end
    return found
end

local function is_signed(secrets, timestamp, signature, body)
    if not body or not signature or #signature ~= 64 or signature:find("%X") then -- 64 hexadecimal digits
        return false
    end
    local expected = {}
    for i, secret in ipairs(secrets) do
        expected[i] = crypto.hmac_sha256(secret, timestamp .. "." .. body)
    end
    return equals_any(expected, crypto.unhex(signature))
end

-- Compare digests of the secrets: they have the same length, so the time does not tell the length of a secret.
local function carries_secret(secrets, given)
    local digests = {}
    for i, secret in ipairs(secrets) do
        digests[i] = crypto.sha256(secret)
    end
    return given ~= nil and equals_any(digests, crypto.sha256(given))
end

-- The secrets that have not ended. ends: {index of a secret -> seconds since the epoch}, or nil.
local function valid_secrets(secrets, ends, now)
    if not ends or next(ends) == nil then
        return secrets
    end
    local valid = {}
    for i, secret in ipairs(secrets) do
        if not ends[i] or now < ends[i] then
            valid[#valid + 1] = secret
        end
    end
    return valid
end

-- Return true; else nil and the outcome that names the missing proof.
local function check_proof(connection, request, now)
    local webhook_secrets = valid_secrets(connection.webhook_secrets, connection.webhook_secret_ends, now)
    local header_secrets = valid_secrets(connection.header_secrets, connection.header_secret_ends, now)
    if #webhook_secrets + #header_secrets == 0 then -- no proof is possible: refuse
        return nil, "hmac_invalid"
    end
    if #webhook_secrets > 0 then
        local timestamp = request.header(TIMESTAMP)
        if not is_in_window(timestamp, now) then
            return nil, "timestamp_out_of_window"
        end
        if not is_signed(webhook_secrets, timestamp, request.header(SIGNATURE), request.body) then
            return nil, "hmac_invalid"
        end
    end
    if #header_secrets > 0 and not carries_secret(header_secrets, request.header(connection.header_name)) then
        return nil, "secret_invalid"
    end
    return true
end

local function check_address(connection, request)
    if not network.contains(connection.ranges, request.ip) then
        return nil, "ip_not_allowed"
    end
    return true
end

local CHECKS = {
    { mode_field = "allowlist_mode", run = check_address },
    { mode_field = "signature_mode", run = check_proof },
}

-- Check a delivery. request: {ip, body, header(lower-case name) -> value or nil}; now: seconds since the epoch. Without
-- a body, because it did not arrive, a demanded signature fails: it is over the body.
-- Return the outcome of the first enforced check that fails, or nil; and the outcomes of failed checks in monitor mode,
-- separated by commas, or nil.
function M.check(connection, request, now)
    local monitored
    for _, check in ipairs(CHECKS) do
        local mode = connection[check.mode_field]
        if mode ~= "off" then
            local ok, outcome = check.run(connection, request, now)
            if not ok and mode == "enforce" then
                return outcome, monitored
            end
            if not ok then
                monitored = monitored and (monitored .. "," .. outcome) or outcome
            end
        end
    end
    return nil, monitored
end

return M
