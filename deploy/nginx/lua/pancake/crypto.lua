-- libcrypto by FFI (nginx is linked to it; Debian packages no lua-resty-openssl): digests, comparison in
-- constant time, and AES-256-GCM for what lies on disk.
local ffi = require "ffi"
local settings = require "pancake.settings"
local C = ffi.C

ffi.cdef [[
typedef struct evp_cipher_ctx_st pancake_cipher_ctx;
unsigned char *SHA256(const unsigned char *d, size_t n, unsigned char *md);
const void *EVP_sha256(void);
unsigned char *HMAC(const void *md, const void *key, int key_len, const unsigned char *d, size_t n,
                    unsigned char *out, unsigned int *out_len);
int CRYPTO_memcmp(const void *a, const void *b, size_t len);
int RAND_bytes(unsigned char *buf, int num);
const void *EVP_aes_256_gcm(void);
pancake_cipher_ctx *EVP_CIPHER_CTX_new(void);
void EVP_CIPHER_CTX_free(pancake_cipher_ctx *ctx);
int EVP_CIPHER_CTX_ctrl(pancake_cipher_ctx *ctx, int type, int arg, void *ptr);
int EVP_EncryptInit_ex(pancake_cipher_ctx *ctx, const void *cipher, void *engine, const char *key, const char *iv);
int EVP_EncryptUpdate(pancake_cipher_ctx *ctx, unsigned char *out, int *outl, const char *in, int inl);
int EVP_EncryptFinal_ex(pancake_cipher_ctx *ctx, unsigned char *out, int *outl);
int EVP_DecryptInit_ex(pancake_cipher_ctx *ctx, const void *cipher, void *engine, const char *key, const char *iv);
int EVP_DecryptUpdate(pancake_cipher_ctx *ctx, unsigned char *out, int *outl, const char *in, int inl);
int EVP_DecryptFinal_ex(pancake_cipher_ctx *ctx, unsigned char *out, int *outl);
]]

local GET_TAG, SET_TAG = 0x10, 0x11
local NONCE, TAG = 12, 16
local MAGIC = "PE1"

local digest = ffi.new("unsigned char[32]")
local digest_length = ffi.new("unsigned int[1]")
local length = ffi.new("int[1]")

local M = {}

function M.sha256(text)
    C.SHA256(text, #text, digest)
    return ffi.string(digest, 32)
end

function M.hmac_sha256(key, text)
    C.HMAC(C.EVP_sha256(), key, #key, text, #text, digest, digest_length)
    return ffi.string(digest, 32)
end

-- Takes the same time wherever two strings of one length differ.
function M.equal(a, b)
    return #a == #b and C.CRYPTO_memcmp(a, b, #a) == 0
end

function M.random(n)
    local bytes = ffi.new("unsigned char[?]", n)
    assert(C.RAND_bytes(bytes, n) == 1, "no randomness from libcrypto")
    return ffi.string(bytes, n)
end

local hex_of, byte_of = {}, {}
for n = 0, 255 do
    local byte, pair = string.char(n), ("%02x"):format(n)
    hex_of[byte], byte_of[pair] = pair, byte
end

function M.hex(bytes)
    return (bytes:gsub(".", hex_of))
end

-- The bytes of 2 × n hexadecimal digits in either case; whatever is no digit stays as it is.
function M.unhex(text)
    return (text:lower():gsub("%x%x", byte_of))
end

local function context()
    return ffi.gc(C.EVP_CIPHER_CTX_new(), C.EVP_CIPHER_CTX_free)
end

-- magic | length of the key's id | id | nonce | ciphertext | tag; the purpose is authenticated with it,
-- so that a spooled delivery can never be passed off as a policy.
function M.seal(purpose, text)
    local current = settings.keys[1]
    local nonce, ctx = M.random(NONCE), context()
    local out, tag = ffi.new("unsigned char[?]", #text + TAG), ffi.new("unsigned char[?]", TAG)
    assert(C.EVP_EncryptInit_ex(ctx, C.EVP_aes_256_gcm(), nil, current.key, nonce) == 1)
    assert(C.EVP_EncryptUpdate(ctx, nil, length, purpose, #purpose) == 1)
    assert(C.EVP_EncryptUpdate(ctx, out, length, text, #text) == 1)
    local size = length[0]
    assert(C.EVP_EncryptFinal_ex(ctx, out + size, length) == 1)
    assert(C.EVP_CIPHER_CTX_ctrl(ctx, GET_TAG, TAG, tag) == 1)
    return table.concat { MAGIC, string.char(#current.id), current.id, nonce, ffi.string(out, size), ffi.string(tag, TAG) }
end

local function key_of(id)
    for _, entry in ipairs(settings.keys) do
        if entry.id == id then
            return entry.key
        end
    end
end

-- The text, or nil and why: torn, altered, or sealed with a key that is not in the ring.
function M.open(purpose, sealed)
    local id_length = sealed:byte(#MAGIC + 1)
    if sealed:sub(1, #MAGIC) ~= MAGIC or not id_length then
        return nil, "not a sealed file"
    end
    local start = #MAGIC + 2 + id_length
    local key = key_of(sealed:sub(#MAGIC + 2, start - 1))
    local size = #sealed - start + 1 - NONCE - TAG
    if not key or size < 0 then
        return nil, key and "cut short" or "sealed with a key that EDGE_STATE_KEYS does not hold"
    end
    local ctx, out = context(), ffi.new("unsigned char[?]", size + TAG)
    local nonce, tag = sealed:sub(start, start + NONCE - 1), ffi.new("unsigned char[?]", TAG)
    ffi.copy(tag, sealed:sub(-TAG), TAG)
    assert(C.EVP_DecryptInit_ex(ctx, C.EVP_aes_256_gcm(), nil, key, nonce) == 1)
    assert(C.EVP_DecryptUpdate(ctx, nil, length, purpose, #purpose) == 1)
    assert(C.EVP_DecryptUpdate(ctx, out, length, sealed:sub(start + NONCE, -TAG - 1), size) == 1)
    local written = length[0]
    C.EVP_CIPHER_CTX_ctrl(ctx, SET_TAG, TAG, tag)
    if C.EVP_DecryptFinal_ex(ctx, out + written, length) ~= 1 then
        return nil, "altered or torn"
    end
    return ffi.string(out, written)
end

return M
