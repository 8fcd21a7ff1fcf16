-- Does a delivery prove what its connection demands? Pure: no socket, no clock, no state.
local crypto = require "pancake.crypto"
local network = require "pancake.network"

local WINDOW_SECONDS = 300

local M = {}

local function in_window(timestamp, now)
    if not timestamp or not timestamp:match("^%d+%.?%d*$") or #timestamp > 20 then
        return false
    end
    return math.abs(now - tonumber(timestamp)) <= WINDOW_SECONDS
end

-- Every secret is tried, so that the time taken does not say which one is current.
local function any_equal(candidates, given)
    local found = false
    for _, candidate in ipairs(candidates) do
        found = crypto.equal(candidate, given) or found
    end
    return found
end

local function signed(secrets, timestamp, signature, body)
    if not signature or #signature ~= 64 or signature:find("%X") then
        return false
    end
    local expected = {}
    for i, secret in ipairs(secrets) do
        expected[i] = crypto.hmac_sha256(secret, timestamp .. "." .. body)
    end
    return any_equal(expected, crypto.unhex(signature))
end

-- A shared secret in a header is compared by its digest: the lengths may differ without telling.
local function carries_secret(secrets, given)
    local digests = {}
    for i, secret in ipairs(secrets) do
        digests[i] = crypto.sha256(secret)
    end
    return given ~= nil and any_equal(digests, crypto.sha256(given))
end

local function signature_failure(connection, request, now)
    local webhook, header = connection.webhook_secrets, connection.header_secrets
    if #webhook > 0 then
        local timestamp = request.header("x-pancake-timestamp")
        if not in_window(timestamp, now) then
            return "timestamp_out_of_window"
        end
        if not signed(webhook, timestamp, request.header("x-pancake-signature"), request.body) then
            return "hmac_invalid"
        end
    end
    if #header > 0 and not carries_secret(header, request.header(connection.header_name)) then
        return "secret_invalid"
    end
    -- Enforced without anything to enforce: nobody can prove anything.
    return #webhook + #header == 0 and "hmac_invalid" or nil
end

-- request: {ip, body, header(lower-case name) -> value or nil}; now: epoch seconds.
-- Returns the answer of the first enforced check that fails, or nil; and what monitor mode would have refused.
function M.check(connection, request, now)
    local refused, monitored = nil, nil
    if connection.allowlist_mode ~= "off" and not network.contains(connection.ranges, request.ip) then
        if connection.allowlist_mode == "enforce" then
            return "ip_not_allowed"
        end
        monitored = "ip_not_allowed"
    end
    if connection.signature_mode ~= "off" then
        local failure = signature_failure(connection, request, now)
        if failure and connection.signature_mode == "enforce" then
            refused = failure
        elseif failure then
            monitored = monitored and (monitored .. "," .. failure) or failure
        end
    end
    return refused, monitored
end

return M
