-- What the environment says, read once in the master process and inherited by every worker.
-- Raises at start, with a sentence that says what to set, rather than at the first delivery.
local function optional(name)
    local text = os.getenv(name)
    return text ~= "" and text or nil
end

local function number(name, default, least, most)
    local text = optional(name)
    local value = text == nil and default or tonumber(text)
    if not value or not (value >= least and value <= most) then -- "nan" is a number too
        error(("%s must be a number from %.14g to %.14g, not '%s'"):format(name, least, most, text), 0)
    end
    return value
end

local function required(name)
    return optional(name) or error("set " .. name .. " (see deploy/nginx/README.md)", 0)
end

-- "http://host:port/base" -> {tls, host, port, base}
local function endpoint(name)
    local url = required(name):gsub("/+$", "")
    local scheme, authority, base = url:match("^(https?)://([^/]+)(.*)$")
    if not scheme then
        error(name .. " must be an http or https URL", 0)
    end
    local host, port = authority:match("^(.-):(%d+)$")
    host = host or authority
    if host == "localhost" then
        host = "127.0.0.1"
    end
    local tls = scheme == "https"
    return {
        tls = tls, host = host, port = tonumber(port) or (tls and 443 or 80), base = base, authority = authority,
        private = tls or host:match("^127%.%d+%.%d+%.%d+$") ~= nil or host == "[::1]",
    }
end

-- "id:base64,id:base64": the first key seals, all of them open.
local function keys(name)
    local ring = {}
    for entry in (required(name) .. ","):gmatch("%s*(.-)%s*,") do
        local id, text = entry:match("^([%w_-]+):([%w+/=_-]+)$")
        local key = text and ngx.decode_base64((text:gsub("-", "+"):gsub("_", "/")))
        if not key or #key ~= 32 then
            error(("%s: key %d must read id:base64 of 32 bytes"):format(name, #ring + 1), 0)
        end
        ring[#ring + 1] = { id = id, key = key }
    end
    return ring
end

local state = optional("EDGE_STATE_DIR") or "/var/lib/pancake-edge"

local M = {
    hasura = endpoint("HASURA_URL"),
    handlers = endpoint("HANDLERS_URL"),
    hasura_token = required("HASURA_EDGE_TOKEN"),
    secret = required("EDGE_SECRET"),
    keys = keys("EDGE_STATE_KEYS"),
    state = state,
    spool = state .. "/spool",
    unknown = state .. "/unknown",
    quarantine = state .. "/quarantine",
    limits_file = optional("EDGE_LIMITS_FILE") or (state .. "/limits.json"),
    path_seconds = number("EDGE_PATH_TIMEOUT_MS", 800, 50, 1600) / 1000,
    skip_seconds = number("EDGE_SKIP_SECONDS", 5, 0.1, 300),
    policy_seconds = number("EDGE_POLICY_SECONDS", 30, 0.1, 3600),
    spool_max_files = number("EDGE_SPOOL_MAX_FILES", 50000, 1, 1e6),
    spool_max_bytes = number("EDGE_SPOOL_MAX_BYTES", 2 * 1024 * 1024 * 1024, 1e5, 1e12),
    unknown_max_files = number("EDGE_UNKNOWN_MAX_FILES", 1000, 1, 1e6),
    quarantine_max_files = number("EDGE_QUARANTINE_MAX_FILES", 20000, 1, 1e6),
    drain_per_second = number("EDGE_DRAIN_PER_SECOND", 200, 1, 10000),
    log_per_second = number("EDGE_LOG_PER_SECOND", 200, 1, 10000),
    -- Pancake suspends at 300 failures within 30 minutes (and > 80 % errors): never more than half is spent.
    budget = 150,
    budget_minutes = 30,
}

if not M.handlers.private then
    error("HANDLERS_URL must be https or a loopback address: the policy carries secrets", 0)
end

return M
