-- A small HTTP/1.1 client over nginx's sockets with one deadline for the whole exchange. Unlike subrequests it also
-- works in timers.
local now = require("pancake.clock").now

-- uvicorn closes an idle connection after 5 s: close it earlier, so that few requests meet a closed one.
local POOL_IDLE_SECONDS = 4
local MAX_POOLED_CONNECTIONS = 64 -- per worker and peer
local MAX_BODY_BYTES = 4 * 1024 * 1024
local MAX_HEADER_LINES = 100

local M = {}

-- Limit the next operation of a socket to the time that is left.
local function set_timeout(sock, deadline)
    local left_ms = (deadline - now()) * 1000
    if left_ms < 1 then -- 0 would mean nginx's default timeout
        return nil, "timeout"
    end
    sock:settimeout(left_ms)
    return true
end

local function read_line(sock, deadline)
    local ok, err = set_timeout(sock, deadline)
    if not ok then
        return nil, err
    end
    return sock:receive("*l")
end

local function read_bytes(sock, size_bytes, deadline)
    if size_bytes > MAX_BODY_BYTES then
        return nil, "answer too large"
    end
    local ok, err = set_timeout(sock, deadline)
    if not ok then
        return nil, err
    end
    if size_bytes == 0 then -- receive(0) would wait for data
        return ""
    end
    return sock:receive(size_bytes)
end

local function read_chunks(sock, deadline)
    local parts, total_bytes = {}, 0
    while true do
        local line, err = read_line(sock, deadline)
        local size_bytes = line and tonumber(line:match("^%x+") or "", 16) -- an extension after the size is ignored
        if not size_bytes then
            return nil, err or "malformed chunk"
        end
        total_bytes = total_bytes + size_bytes
        if total_bytes > MAX_BODY_BYTES then
            return nil, "answer too large"
        end
        local part
        part, err = read_bytes(sock, size_bytes, deadline)
        if not part then
            return nil, err
        end
        read_line(sock, deadline) -- the line end after the chunk
        if size_bytes == 0 then
            return table.concat(parts)
        end
        parts[#parts + 1] = part
    end
end

-- Header lines by lower-case name; of a repeated one the last.
local function read_headers(sock, deadline)
    local headers = {}
    for _ = 1, MAX_HEADER_LINES do
        local line, err = read_line(sock, deadline)
        if not line then
            return nil, err
        end
        if line == "" then
            return headers
        end
        local name, value = line:match("^([^:]+):%s*(.-)%s*$") -- the value without the spaces around it
        if name then
            headers[name:lower()] = value
        end
    end
    return nil, "too many headers"
end

local function is_chunked(headers)
    return (headers["transfer-encoding"] or ""):lower() == "chunked"
end

local function read_body(sock, status, headers, deadline)
    if is_chunked(headers) then
        return read_chunks(sock, deadline)
    end
    if headers["content-length"] then
        local size_bytes = tonumber(headers["content-length"]) or MAX_BODY_BYTES + 1 -- a malformed length is too large
        return read_bytes(sock, size_bytes, deadline)
    end
    if status == 204 or status == 304 then -- these have no body by definition
        return ""
    end
    set_timeout(sock, deadline)
    return sock:receive("*a") -- the body ends where the connection ends
end

local function is_reusable(status, headers)
    local has_known_end = is_chunked(headers) or headers["content-length"] or status == 204 or status == 304
    return has_known_end and (headers.connection or ""):lower() ~= "close"
end

-- Return status, body, whether the connection can be used again; else nil, an error, whether the peer sent nothing.
local function read_answer(sock, deadline)
    local line, err = read_line(sock, deadline)
    if not line then
        return nil, err, true
    end
    local status = tonumber(line:match("^HTTP/1%.[01] (%d%d%d)"))
    local headers
    headers, err = read_headers(sock, deadline)
    if not status or not headers then
        return nil, err or "not HTTP"
    end
    if status == 100 then -- 100 Continue: the answer follows
        return read_answer(sock, deadline)
    end
    local body
    body, err = read_body(sock, status, headers, deadline)
    if not body then
        return nil, err
    end
    return status, body, is_reusable(status, headers)
end

local function shake_hands(sock, host, deadline)
    local ok, err = set_timeout(sock, deadline)
    if not ok then
        return nil, err
    end
    -- sslhandshake raises an error instead of returning it if it rejects the certificate without having yielded.
    local session
    ok, session, err = pcall(sock.sslhandshake, sock, nil, host, true)
    if not ok or not session then
        sock:close()
        return nil, err or "TLS handshake failed"
    end
    return true
end

-- A second attempt uses its own pool: in the first one every connection may have been closed by the peer.
local function connect(endpoint, deadline, attempt)
    local sock = ngx.socket.tcp()
    local ok, err = set_timeout(sock, deadline)
    if not ok then
        return nil, err
    end
    local pool = endpoint.host .. ":" .. endpoint.port .. (attempt > 1 and ":fresh" or "")
    ok, err = sock:connect(endpoint.host, endpoint.port, { pool = pool, pool_size = MAX_POOLED_CONNECTIONS })
    if not ok then
        return nil, err
    end
    if endpoint.is_tls and sock:getreusedtimes() == 0 then
        ok, err = shake_hands(sock, endpoint.host, deadline)
        if not ok then
            return nil, err
        end
    end
    return sock
end

-- Return status, body; else nil, an error, whether the peer received the request, and whether the connection was stale.
local function exchange(endpoint, text, deadline, attempt)
    local sock, err = connect(endpoint, deadline, attempt)
    if not sock then
        return nil, err
    end
    local is_pooled = sock:getreusedtimes() > 0
    set_timeout(sock, deadline)
    local sent, status, body, flag
    sent, err = sock:send(text)
    if sent then
        status, body, flag = read_answer(sock, deadline) -- flag: reusable, or after an error silent
    end
    if status and flag then
        sock:setkeepalive(POOL_IDLE_SECONDS * 1000, MAX_POOLED_CONNECTIONS)
    else
        sock:close()
    end
    if status then
        return status, body
    end
    err = sent and body or err
    -- The peer had closed an idle connection: this says nothing about its health.
    local is_stale = is_pooled and err ~= "timeout" and (not sent or flag)
    return nil, err, sent ~= nil and not is_stale, is_stale
end

-- Send a request. headers: lines without line ends. timeout_seconds: from connecting to the last byte of the answer.
-- Return status, body; else nil, an error, and whether the peer received the whole request.
function M.request(endpoint, method, path, headers, body, timeout_seconds)
    local deadline = now() + timeout_seconds
    local head = { method .. " " .. endpoint.base_path .. path .. " HTTP/1.1", "Host: " .. endpoint.authority }
    for _, line in ipairs(headers) do
        head[#head + 1] = line
    end
    if body then
        head[#head + 1] = "Content-Type: application/json"
        head[#head + 1] = "Content-Length: " .. #body
    end
    local text = { table.concat(head, "\r\n"), "\r\n\r\n", body or "" }
    local status, answer, is_received, is_stale = exchange(endpoint, text, deadline, 1)
    if is_stale then
        status, answer, is_received = exchange(endpoint, text, deadline, 2)
    end
    return status, answer, is_received
end

return M
