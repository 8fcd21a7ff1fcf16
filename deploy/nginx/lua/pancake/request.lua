-- The HTTP side of a delivery: read the request of a sender, write the answer. What to answer is decided in
-- pancake.delivery.
local cjson = require "cjson.safe"
local crypto = require "pancake.crypto"
local files = require "pancake.files"
local trace = require "pancake.trace"

local PATH_PREFIX = "/api/pancake/record/"
local MAX_TOKEN_CHARACTERS = 128
local BODY_TIMEOUT_SECONDS = 10
local EXCESS_BODY_TIMEOUT_SECONDS = 1
local RETRY_AFTER_SECONDS = 1
local UUID = "^" .. ("%x"):rep(8) .. ("%-" .. ("%x"):rep(4)):rep(3) .. "%-" .. ("%x"):rep(12) .. "$"

local M = {}

-- Answer with {"status": outcome}. more: further JSON members, beginning with a comma.
function M.answer(code, outcome, more)
    ngx.ctx.outcome = outcome
    local text = '{"status":"' .. outcome .. '"' .. (more or "") .. "}"
    ngx.status = code
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Content-Length"] = #text
    if code == 429 or code == 503 then
        ngx.header["Retry-After"] = RETRY_AFTER_SECONDS
    elseif code == 405 then
        ngx.header["Allow"] = "POST"
    end
    ngx.print(text)
end

-- Answer with the result of the handlers: its status, and event_id and error_code where they have the expected form.
function M.answer_result(result)
    local event_id, error_code = tonumber(result.event_id), result.error_code
    ngx.ctx.event_id = event_id and ("%.0f"):format(event_id) -- tostring would write 1e+15
    local has_error_code = type(error_code) == "string" and error_code:match("^[%w_]+$")
    M.answer(200, result.status, (',"event_id":%s,"error_code":%s'):format(
        ngx.ctx.event_id or "null",
        has_error_code and '"' .. error_code .. '"' or "null"))
end

-- Read and drop the rest of a body that is not needed; else nginx would take it for the next request. A malformed body
-- raises an error here: ignored, because the sender has its answer.
function M.discard_body()
    pcall(ngx.req.discard_body)
end

-- The token in the URI: the last segment, percent-decoded once. nil if the path is not that of a delivery.
-- Uses request_uri, the URI as sent: nginx's own `uri` is already decoded and merges slashes.
function M.token()
    local path = (ngx.var.request_uri or ""):match("^[^?]*")
    if path:sub(1, #PATH_PREFIX) ~= PATH_PREFIX then
        return nil
    end
    local segment = path:sub(#PATH_PREFIX + 1)
    if segment == "" or segment:find("/", 1, true) then
        return nil
    end
    -- unescape_uri turns "+" into a space, as in a query. In a path it is a plus.
    return ngx.unescape_uri((segment:gsub("%+", "%%2B")))
end

-- Whether a text has the form of a token. Only such a text is looked up, forwarded or stored: the alphabet needs no
-- escaping anywhere.
function M.is_token(text)
    return #text <= MAX_TOKEN_CHARACTERS and text:match("^[%w_-]+$") ~= nil
end

local function end_after_timeout(seconds)
    ngx.sleep(seconds)
    ngx.exit(408)
end

-- Read the body within a limited time. nginx's client_body_timeout starts anew with every byte, so a slow sender could
-- keep a request open without end. is_excess: the sender has too many requests open and must be quick.
function M.read_body(is_excess)
    local limit_seconds = is_excess and EXCESS_BODY_TIMEOUT_SECONDS or BODY_TIMEOUT_SECONDS
    local watchdog = ngx.thread.spawn(end_after_timeout, limit_seconds)
    ngx.req.read_body()
    ngx.thread.kill(watchdog)
    local body = ngx.req.get_body_data()
    if body then
        return body
    end
    -- A chunked body whose framing exceeds client_body_buffer_size is in a file.
    local path = ngx.req.get_body_file()
    return path and assert(files.read(path)) or ""
end

-- A header by its lower-case name. nginx joins the values of a repeated header with a comma, so that it proves nothing.
function M.header(name)
    return ngx.var["http_" .. name:gsub("-", "_")]
end

-- What a later check may need: the headers `x-…`, as those of a proof are called, without those that are repeated.
-- Which of them is a proof is not known: the connection may be younger than the policy. Cookies and the like are not
-- stored. nginx limits their size. In base64 a sender's bytes stay what they are in a file of JSON, and hardly grow.
function M.proof()
    local proof = {}
    for name, value in pairs(ngx.req.get_headers(0)) do -- 0: all, not the first 100; the names are in lower case
        if name:sub(1, 2) == "x-" and type(value) == "string" then -- a table if repeated
            proof[name] = ngx.encode_base64(value)
        end
    end
    return proof
end

-- The trace context of this request, the same at every call.
function M.traceparent()
    ngx.ctx.traceparent = ngx.ctx.traceparent or trace.of_request(ngx.var.http_traceparent, ngx.var.request_id)
    return ngx.ctx.traceparent
end

local function iso_time(seconds)
    local milliseconds = math.floor(seconds * 1000) % 1000
    return os.date("!%Y-%m-%dT%H:%M:%S", math.floor(seconds)) .. (".%03dZ"):format(milliseconds)
end

-- The record id in a body of any of Pancake's shapes, if it is a UUID; else nil. Any other id may be anything, a phone
-- too, and must not be logged.
function M.record_id(body)
    local record = cjson.decode(body)
    if type(record) == "table" and record.id == nil and type(record.data) == "table" then
        record = record.data
    end
    local id = type(record) == "table" and record.id
    return type(id) == "string" and id:match(UUID) or nil
end

-- A delivery as it is forwarded and stored: without the token. arrived_at: seconds since the epoch.
function M.to_delivery(token, body, arrived_at)
    ngx.ctx.body = body -- for the log
    return {
        token_sha256 = crypto.sha256_hex(token), raw = ngx.encode_base64(body), source_ip = ngx.var.remote_addr,
        arrived = arrived_at, arrived_at = iso_time(arrived_at),
        traceparent = M.traceparent(),
    }
end

return M
