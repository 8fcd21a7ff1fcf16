-- Addresses and CIDR ranges, for IPv4 and IPv6.
local ffi = require "ffi"
local bit = require "bit"
local C = ffi.C

ffi.cdef [[ int inet_pton(int family, const char *text, void *out); ]]

local AF_INET, AF_INET6 = 2, 10 -- of <sys/socket.h> on Linux
local out = ffi.new("unsigned char[16]")

local M = {}

local IPV4_MAPPED_PREFIX = ("\0"):rep(10) .. "\255\255" -- ::ffff:0:0/96

-- Return the 4 or 16 bytes of an address; else nil and an error. An IPv4 address written as IPv6 (::ffff:a.b.c.d) is an
-- IPv4 address; the second result is then true.
function M.parse(text)
    if C.inet_pton(AF_INET, text, out) == 1 then
        return ffi.string(out, 4)
    end
    if C.inet_pton(AF_INET6, text, out) ~= 1 then
        return nil, "'" .. text .. "' is not an address"
    end
    local bytes = ffi.string(out, 16)
    if bytes:sub(1, #IPV4_MAPPED_PREFIX) == IPV4_MAPPED_PREFIX then
        return bytes:sub(#IPV4_MAPPED_PREFIX + 1), true
    end
    return bytes
end

-- The part of an address that one sender usually has alone: an IPv4 address, or the first 64 bits of an IPv6 address.
function M.site(text)
    local bytes = M.parse(text) or text
    return #bytes == 16 and bytes:sub(1, 8) or bytes
end

local function parse_range(text)
    local address, prefix_bits = text:match("^([^/]+)/(%d+)$")
    local bytes, is_mapped = M.parse(address or text)
    if not bytes then
        return nil, "'" .. text .. "' is neither an address nor a CIDR range"
    end
    local max_bits = #bytes * 8
    -- The prefix of a mapped range counts the 96 bits before the IPv4 address.
    local bits = prefix_bits and tonumber(prefix_bits) - (is_mapped and 96 or 0) or max_bits
    if bits < 0 or bits > max_bits then
        return nil, "the prefix length of '" .. text .. "' is out of range"
    end
    return { bytes = bytes, bits = bits }
end

-- Loopback, private and link-local addresses, and endings that no public name has: leads/domain/hosts.py has
-- the same rule, and its reasons.
local PRIVATE_RANGES = {
    "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7",
    "fe80::/10",
}
local PRIVATE_SUFFIXES = { "%.localhost$", "%.local$", "%.internal$", "%.svc$", "%.home%.arpa$" }

-- Return a list of {bytes, bits}; nil and an error if one of the texts is not valid.
function M.parse_ranges(texts)
    local ranges = {}
    for i, text in ipairs(texts) do
        local range, err = parse_range(tostring(text))
        if not range then
            return nil, err
        end
        ranges[i] = range
    end
    return ranges
end

local function is_within(bytes, range)
    if #bytes ~= #range.bytes then
        return false
    end
    local whole_bytes, rest_bits = math.floor(range.bits / 8), range.bits % 8
    if bytes:sub(1, whole_bytes) ~= range.bytes:sub(1, whole_bytes) then
        return false
    end
    if rest_bits == 0 then
        return true
    end
    local shift = 8 - rest_bits
    return bit.rshift(bytes:byte(whole_bytes + 1), shift) == bit.rshift(range.bytes:byte(whole_bytes + 1), shift)
end

function M.contains(ranges, address)
    if #ranges == 0 then
        return false
    end
    local bytes = M.parse(address)
    for _, range in ipairs(ranges) do
        if bytes and is_within(bytes, range) then
            return true
        end
    end
    return false
end

-- Whether a host (IPv6 in brackets) is of this machine or of a private network, as far as its name tells.
function M.is_private(host)
    local address = host:match("^%[(.*)%]$") or host
    if M.parse(address) then
        return M.contains(M.parse_ranges(PRIVATE_RANGES), address)
    end
    local name = address:gsub("%.$", ""):lower()
    if not name:find(".", 1, true) then
        return name ~= "" and not name:find(":", 1, true)
    end
    for _, suffix in ipairs(PRIVATE_SUFFIXES) do
        if name:find(suffix) then
            return true
        end
    end
    return false
end

return M
