-- Trace context of a delivery: the sender's if it is valid, else a new one. It is passed on to both paths, and kept
-- with a stored delivery. Formats: W3C Trace Context, and B3, which Hasura reads too.
local crypto = require "pancake.crypto"

local SPAN_BYTES = 8
local MAX_CHARACTERS = 512 -- of a version later than 00, which may have more fields

local M = {}

-- Whether a text is hexadecimal digits of this length, not all of them zero.
local function is_id(text, length)
    return #text == length and text:match("[^0]") ~= nil
end

-- Return the ids of the trace and the span, and whether the trace is sampled; nil if the traceparent is invalid.
local function read(traceparent)
    if not traceparent or #traceparent > MAX_CHARACTERS or traceparent:find("%u") then
        return nil
    end
    local version, trace_id, span_id, flags, more = traceparent:match("^(%x%x)%-(%x+)%-(%x+)%-(%x%x)(.*)$")
    if not version or version == "ff" or not is_id(trace_id, 32) or not is_id(span_id, 16) then
        return nil
    end
    if more ~= "" and (version == "00" or more:sub(1, 1) ~= "-") then
        return nil
    end
    return trace_id, span_id, tonumber(flags, 16) % 2 == 1
end

-- The trace context of a request as a traceparent: a new span in the sender's trace, or in one with the id of the
-- request, 32 hexadecimal digits.
function M.of_request(traceparent, request_id)
    local trace_id, _, is_sampled = read(traceparent)
    return ("00-%s-%s-%s"):format(
        trace_id or request_id, crypto.hex(crypto.random(SPAN_BYTES)), is_sampled and "01" or "00")
end

-- The header lines of a call; none for an invalid traceparent.
function M.header_lines(traceparent)
    local trace_id, span_id, is_sampled = read(traceparent)
    if not trace_id then
        return {}
    end
    local lines = { "traceparent: " .. traceparent, "X-B3-TraceId: " .. trace_id, "X-B3-SpanId: " .. span_id }
    if is_sampled then -- else Hasura decides
        lines[#lines + 1] = "X-B3-Sampled: 1"
    end
    return lines
end

-- The id of the trace; nil if the traceparent is invalid.
function M.id_of(traceparent)
    return (read(traceparent))
end

return M
