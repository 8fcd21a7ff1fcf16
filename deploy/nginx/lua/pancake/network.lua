-- Addresses and ranges: "is this address in one of these CIDRs", for IPv4 and IPv6.
local ffi = require "ffi"
local bit = require "bit"
local C = ffi.C

ffi.cdef [[ int inet_pton(int family, const char *text, void *out); ]]

local IPV4, IPV6 = 2, 10
local out = ffi.new("unsigned char[16]")

local M = {}

local MAPPED = ("\0"):rep(10) .. "\255\255"

-- 4 or 16 bytes, or nil; an IPv4 address written as IPv6 (::ffff:a.b.c.d) is an IPv4 address, and true comes with it.
function M.parse(text)
    if C.inet_pton(IPV4, text, out) == 1 then
        return ffi.string(out, 4)
    end
    if C.inet_pton(IPV6, text, out) ~= 1 then
        return nil
    end
    local bytes = ffi.string(out, 16)
    if bytes:sub(1, 12) == MAPPED then
        return bytes:sub(13), true
    end
    return bytes
end

-- What one sender is likely to have to himself: an IPv4 address, or the 64 bits of an IPv6 network.
function M.site(text)
    local bytes = M.parse(text) or text
    return #bytes == 16 and bytes:sub(1, 8) or bytes
end

-- {bytes, bits} or nil and why.
function M.range(text)
    local address, bits = text:match("^([^/]+)/(%d+)$")
    local bytes, mapped = M.parse(address or text)
    if not bytes then
        return nil, "'" .. text .. "' is neither an address nor a CIDR"
    end
    bits = bits and tonumber(bits) - (mapped and 96 or 0) or #bytes * 8
    if bits < 0 or bits > #bytes * 8 then
        return nil, "'" .. text .. "' has no such prefix"
    end
    return { bytes = bytes, bits = bits }
end

-- A list of texts as ranges; nil and why if one of them is none.
function M.ranges(texts)
    local parsed = {}
    for i, text in ipairs(texts) do
        local range, why = M.range(tostring(text))
        if not range then
            return nil, why
        end
        parsed[i] = range
    end
    return parsed
end

local function within(bytes, range)
    if #bytes ~= #range.bytes then
        return false
    end
    local whole, rest = math.floor(range.bits / 8), range.bits % 8
    if bytes:sub(1, whole) ~= range.bytes:sub(1, whole) then
        return false
    end
    if rest == 0 then
        return true
    end
    local shift = 8 - rest
    return bit.rshift(bytes:byte(whole + 1), shift) == bit.rshift(range.bytes:byte(whole + 1), shift)
end

function M.contains(ranges, address)
    if #ranges == 0 then
        return false
    end
    local bytes = M.parse(address)
    for _, range in ipairs(ranges) do
        if bytes and within(bytes, range) then
            return true
        end
    end
    return false
end

return M
