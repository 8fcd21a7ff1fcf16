-- The environment, read once in the master and inherited by every worker. A missing or malformed value raises an error
-- that says what to set: the start fails, not the first delivery.
local network = require "pancake.network"

local MIN_SECRET_CHARACTERS = 32

local function optional(name)
    local text = os.getenv(name)
    return text ~= "" and text or nil
end

local function number(name, default, min, max)
    local text = optional(name)
    local value = text == nil and default or tonumber(text)
    if not value or not (value >= min and value <= max) then -- written so that "nan", which is a number, fails too
        error(("%s must be a number from %.14g to %.14g, not '%s'"):format(name, min, max, text), 0)
    end
    return value
end

local function required(name)
    return optional(name) or error("set " .. name .. " (see deploy/nginx/README.md)", 0)
end

-- A secret of that length at least, as in the handlers. The message does not show it.
local function secret(name)
    local text = required(name)
    if #text < MIN_SECRET_CHARACTERS then
        error(("%s is shorter than %d characters"):format(name, MIN_SECRET_CHARACTERS), 0)
    end
    return text
end

-- Parse "http://host:port/base".
local function endpoint(name)
    local url = required(name):gsub("/+$", "")
    local scheme, authority, base_path = url:match("^(https?)://([^/]+)(.*)$")
    if not scheme then
        error(name .. " must be an http or https URL", 0)
    end
    local host, port = authority:match("^(.-):(%d+)$")
    host = host or authority
    if host == "localhost" then -- nginx's resolver does not read /etc/hosts
        host = "127.0.0.1"
    end
    local is_tls = scheme == "https"
    local is_loopback = host:match("^127%.%d+%.%d+%.%d+$") ~= nil or host == "[::1]"
    return {
        is_tls = is_tls, host = host, port = tonumber(port) or (is_tls and 443 or 80), base_path = base_path,
        authority = authority, is_private = is_tls or is_loopback,
    }
end

-- Parse "id:base64,id:base64". The first key seals, every key opens.
local function key_ring(name)
    local ring = {}
    for entry in (required(name) .. ","):gmatch("%s*(.-)%s*,") do -- the added comma ends the last entry
        local id, text = entry:match("^([%w_-]+):([%w+/=_-]+)$")
        local key = text and ngx.decode_base64((text:gsub("-", "+"):gsub("_", "/"))) -- URL-safe base64 is accepted too
        if not key or #key ~= 32 then
            error(("%s: key %d must read id:base64 of 32 bytes"):format(name, #ring + 1), 0)
        end
        ring[#ring + 1] = { id = id, key = key }
    end
    return ring
end

local state_dir = optional("EDGE_STATE_DIR") or "/var/lib/pancake-edge"

local M = {
    hasura_endpoint = endpoint("HASURA_URL"),
    handlers_endpoint = endpoint("HANDLERS_URL"),
    hasura_token = required("HASURA_EDGE_TOKEN"),
    edge_secret = secret("EDGE_SECRET"),
    state_keys = key_ring("EDGE_STATE_KEYS"),
    state_dir = state_dir,
    folder_paths = {
        spool = state_dir .. "/spool", unknown = state_dir .. "/unknown", quarantine = state_dir .. "/quarantine",
    },
    certificate_file = (optional("EDGE_TLS_DIR") or "/etc/pancake-edge/tls") .. "/fullchain.pem",
    limits_file = optional("EDGE_LIMITS_FILE") or (state_dir .. "/limits.json"),
    path_timeout_seconds = number("EDGE_PATH_TIMEOUT_MS", 800, 50, 1600) / 1000,
    skip_seconds = number("EDGE_SKIP_SECONDS", 5, 0.1, 300),
    policy_interval_seconds = number("EDGE_POLICY_SECONDS", 30, 0.1, 3600),
    spool_max_files = number("EDGE_SPOOL_MAX_FILES", 50000, 1, 1e6),
    spool_max_bytes = number("EDGE_SPOOL_MAX_BYTES", 2 * 1024 * 1024 * 1024, 1e5, 1e12),
    unknown_max_files = number("EDGE_UNKNOWN_MAX_FILES", 1000, 1, 1e6),
    quarantine_max_files = number("EDGE_QUARANTINE_MAX_FILES", 20000, 1, 1e6),
    max_drained_per_second = number("EDGE_DRAIN_PER_SECOND", 200, 1, 10000),
    max_log_lines_per_second = number("EDGE_LOG_PER_SECOND", 200, 1, 10000),
    -- Pancake suspends a webhook at 300 failures within 30 minutes (and > 80 % errors): choose at most half of them.
    budget_max_failures = 150,
    budget_window_minutes = 30,
}

-- The only hop that the edge may be told to leave without TLS.
local allowed = optional("ALLOW_CLEAR_TEXT")
if allowed and allowed ~= "hasura" then
    error("ALLOW_CLEAR_TEXT of the edge must be 'hasura' or empty, not '" .. allowed .. "'", 0)
end
local hasura = M.hasura_endpoint
if not (hasura.is_tls or allowed or network.is_private(hasura.host)) then
    error("HASURA_URL is http to a public host: use https, or allow clear text with ALLOW_CLEAR_TEXT=hasura", 0)
end
if not M.handlers_endpoint.is_private then
    error("HANDLERS_URL must be https or a loopback address: the policy carries secrets", 0)
end

return M
