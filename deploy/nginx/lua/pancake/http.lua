-- A small HTTP/1.1 client over nginx's sockets, with one deadline for the whole exchange. It works in timers
-- too, where subrequests do not. An answer is a status and a body; everything else is nil, why, and whether the
-- peer had the whole request.
local now = require("pancake.clock").now

local POOL_SECONDS, POOL_SIZE = 4, 64 -- uvicorn closes an idle connection after 5 s
local MAX_BODY = 4 * 1024 * 1024
local MAX_HEADERS = 100

local M = {}

local function arm(sock, deadline)
    local left = (deadline - now()) * 1000
    if left < 1 then
        return nil, "timeout"
    end
    sock:settimeout(left)
    return true
end

local function line(sock, deadline)
    local armed, why = arm(sock, deadline)
    if not armed then
        return nil, why
    end
    return sock:receive("*l")
end

local function bytes(sock, size, deadline)
    if size > MAX_BODY then
        return nil, "answer too large"
    end
    local armed, why = arm(sock, deadline)
    if not armed then
        return nil, why
    end
    return size == 0 and "" or sock:receive(size)
end

local function chunks(sock, deadline)
    local parts, total = {}, 0
    while true do
        local header, why = line(sock, deadline)
        local size = header and tonumber(header:match("^%x+") or "", 16)
        if not size then
            return nil, why or "malformed chunk"
        end
        total = total + size
        local part
        part, why = bytes(sock, total > MAX_BODY and total or size, deadline)
        if not part then
            return nil, why
        end
        line(sock, deadline)
        if size == 0 then
            return table.concat(parts)
        end
        parts[#parts + 1] = part
    end
end

local function headers(sock, deadline)
    local found = {}
    for _ = 1, MAX_HEADERS do
        local text, why = line(sock, deadline)
        if not text then
            return nil, why
        end
        if text == "" then
            return found
        end
        local name, value = text:match("^([^:]+):%s*(.-)%s*$")
        if name then
            found[name:lower()] = value
        end
    end
    return nil, "too many headers"
end

-- status, body, whether the connection can be used again; or nil, why, whether nothing at all was answered.
local function answer(sock, deadline)
    local first, why = line(sock, deadline)
    if not first then
        return nil, why, true
    end
    local status = tonumber(first:match("^HTTP/1%.[01] (%d%d%d)"))
    local fields
    fields, why = headers(sock, deadline)
    if not status or not fields then
        return nil, why or "not HTTP"
    end
    if status == 100 then
        return answer(sock, deadline)
    end
    local reusable = (fields.connection or ""):lower() ~= "close"
    local body
    if (fields["transfer-encoding"] or ""):lower() == "chunked" then
        body, why = chunks(sock, deadline)
    elseif fields["content-length"] then
        body, why = bytes(sock, tonumber(fields["content-length"]) or MAX_BODY + 1, deadline)
    elseif status == 204 or status == 304 then
        body = ""
    else
        reusable = false
        arm(sock, deadline)
        body, why = sock:receive("*a")
    end
    if not body then
        return nil, why
    end
    return status, body, reusable
end

local function connect(endpoint, deadline, attempt)
    local sock = ngx.socket.tcp()
    local armed, why = arm(sock, deadline)
    if not armed then
        return nil, why
    end
    local pool = endpoint.host .. ":" .. endpoint.port .. (attempt > 1 and ":fresh" or "")
    local connected
    connected, why = sock:connect(endpoint.host, endpoint.port, { pool = pool, pool_size = POOL_SIZE })
    if not connected then
        return nil, why
    end
    if endpoint.tls and sock:getreusedtimes() == 0 then
        armed, why = arm(sock, deadline)
        if not armed then
            return nil, why
        end
        -- It raises instead of saying so if it finds the certificate wrong without having had to wait.
        local ran, shaken, refused = pcall(sock.sslhandshake, sock, nil, endpoint.host, true)
        if not ran or not shaken then
            sock:close()
            return nil, refused or "no TLS with this peer"
        end
    end
    return sock
end

-- status, body; or nil, why, whether the peer had it all, whether a fresh connection may do better.
local function exchange(endpoint, text, deadline, attempt)
    local sock, why = connect(endpoint, deadline, attempt)
    if not sock then
        return nil, why
    end
    local reused = sock:getreusedtimes() > 0
    local sent
    arm(sock, deadline)
    sent, why = sock:send(text)
    local status, body, last
    if sent then
        status, body, last = answer(sock, deadline)
        if status then
            if last then
                sock:setkeepalive(POOL_SECONDS * 1000, POOL_SIZE)
            else
                sock:close()
            end
            return status, body
        end
        why = body
    end
    sock:close()
    -- The peer had closed an idle connection: that says nothing about its health.
    local stale = reused and why ~= "timeout" and (not sent or last)
    return nil, why, sent ~= nil and not stale, stale
end

-- fields: header lines without line ends. seconds: for everything, from connecting to the last byte.
function M.request(endpoint, method, path, fields, body, seconds)
    local deadline = now() + seconds
    local head = { method .. " " .. endpoint.base .. path .. " HTTP/1.1", "Host: " .. endpoint.authority }
    for _, field in ipairs(fields) do
        head[#head + 1] = field
    end
    if body then
        head[#head + 1] = "Content-Type: application/json"
        head[#head + 1] = "Content-Length: " .. #body
    end
    local text = { table.concat(head, "\r\n"), "\r\n\r\n", body or "" }
    local status, answered, heard, stale = exchange(endpoint, text, deadline, 1)
    if stale then
        status, answered, heard = exchange(endpoint, text, deadline, 2)
    end
    return status, answered, heard
end

return M
