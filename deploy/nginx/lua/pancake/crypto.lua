-- libcrypto by FFI: digests, comparison in constant time, and AES-256-GCM for files. nginx is linked to libcrypto;
-- Debian has no package of lua-resty-openssl.
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
void *BIO_new_mem_buf(const void *buf, int len);
int BIO_free(void *bio);
void *PEM_read_bio_X509(void *bio, void *x, void *password, void *argument);
const void *X509_get0_notAfter(const void *x);
void X509_free(void *x);
void ERR_clear_error(void);
int ASN1_TIME_diff(int *days, int *seconds, const void *from, const void *to);
]]

local GET_TAG, SET_TAG = 0x10, 0x11 -- EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG of <openssl/evp.h>
local NONCE_BYTES, TAG_BYTES = 12, 16 -- the usual sizes for GCM
local DIGEST_BYTES = 32 -- of SHA-256
local MAGIC = "PE1" -- first bytes of a sealed file: the format and its version

-- Output buffers for all calls. A worker runs one Lua coroutine at a time, and no call yields.
local digest = ffi.new("unsigned char[?]", DIGEST_BYTES)
local digest_length = ffi.new("unsigned int[1]")
local length = ffi.new("int[1]")

local M = {}

function M.sha256(text)
    C.SHA256(text, #text, digest)
    return ffi.string(digest, DIGEST_BYTES)
end

function M.hmac_sha256(key, text)
    C.HMAC(C.EVP_sha256(), key, #key, text, #text, digest, digest_length)
    return ffi.string(digest, DIGEST_BYTES)
end

-- Return in how many seconds the first certificate of a PEM text ends, nil if there is none.
function M.certificate_seconds(pem)
    local bio = C.BIO_new_mem_buf(pem, #pem)
    local certificate = C.PEM_read_bio_X509(bio, nil, nil, nil)
    C.BIO_free(bio)
    if certificate == nil then
        C.ERR_clear_error() -- else nginx takes it for an error of the next TLS connection
        return nil
    end
    local days, seconds = ffi.new("int[1]"), ffi.new("int[1]")
    local is_known = C.ASN1_TIME_diff(days, seconds, nil, C.X509_get0_notAfter(certificate)) == 1 -- from now on
    C.X509_free(certificate)
    return is_known and days[0] * 86400 + seconds[0] or nil
end

-- Compare in a time that does not depend on where two strings of the same length differ.
function M.equal(a, b)
    return #a == #b and C.CRYPTO_memcmp(a, b, #a) == 0
end

function M.random(size_bytes)
    local bytes = ffi.new("unsigned char[?]", size_bytes)
    assert(C.RAND_bytes(bytes, size_bytes) == 1, "libcrypto has no random bytes")
    return ffi.string(bytes, size_bytes)
end

-- Tables in both directions: gsub with a table is several times faster than with a function.
local hex_of, byte_of = {}, {}
for n = 0, 255 do
    local byte, digits = string.char(n), ("%02x"):format(n)
    hex_of[byte], byte_of[digits] = digits, byte
end

function M.hex(bytes)
    return (bytes:gsub(".", hex_of)) -- parentheses drop gsub's second result
end

-- Decode hexadecimal digits in either case. Other characters stay as they are: check the text first.
function M.unhex(text)
    return (text:lower():gsub("%x%x", byte_of))
end

-- The digest by which tokens are known outside this program, in hexadecimal digits.
function M.sha256_hex(text)
    return M.hex(M.sha256(text))
end

local function new_context()
    return ffi.gc(C.EVP_CIPHER_CTX_new(), C.EVP_CIPHER_CTX_free)
end

-- Encrypt with the first key of EDGE_STATE_KEYS. Format: magic | length of the key id | key id | nonce | ciphertext |
-- tag. The purpose is authenticated data: a sealed delivery cannot be used as a policy.
function M.seal(purpose, text)
    local current = settings.state_keys[1]
    local nonce, ctx = M.random(NONCE_BYTES), new_context()
    local out, tag = ffi.new("unsigned char[?]", #text + TAG_BYTES), ffi.new("unsigned char[?]", TAG_BYTES)
    assert(C.EVP_EncryptInit_ex(ctx, C.EVP_aes_256_gcm(), nil, current.key, nonce) == 1)
    assert(C.EVP_EncryptUpdate(ctx, nil, length, purpose, #purpose) == 1) -- no output buffer: authenticated data
    assert(C.EVP_EncryptUpdate(ctx, out, length, text, #text) == 1)
    local size = length[0]
    assert(C.EVP_EncryptFinal_ex(ctx, out + size, length) == 1)
    assert(C.EVP_CIPHER_CTX_ctrl(ctx, GET_TAG, TAG_BYTES, tag) == 1)
    return table.concat {
        MAGIC, string.char(#current.id), current.id, nonce, ffi.string(out, size), ffi.string(tag, TAG_BYTES),
    }
end

local function find_key(id)
    for _, entry in ipairs(settings.state_keys) do
        if entry.id == id then
            return entry.key
        end
    end
    return nil, "sealed with a key that EDGE_STATE_KEYS does not hold"
end

local function decrypt(purpose, key, nonce, ciphertext, tag)
    local ctx, out = new_context(), ffi.new("unsigned char[?]", #ciphertext + TAG_BYTES)
    local expected_tag = ffi.new("unsigned char[?]", TAG_BYTES)
    ffi.copy(expected_tag, tag, TAG_BYTES)
    assert(C.EVP_DecryptInit_ex(ctx, C.EVP_aes_256_gcm(), nil, key, nonce) == 1)
    assert(C.EVP_DecryptUpdate(ctx, nil, length, purpose, #purpose) == 1)
    assert(C.EVP_DecryptUpdate(ctx, out, length, ciphertext, #ciphertext) == 1)
    local size = length[0]
    C.EVP_CIPHER_CTX_ctrl(ctx, SET_TAG, TAG_BYTES, expected_tag)
    -- The last step compares the tags.
    if C.EVP_DecryptFinal_ex(ctx, out + size, length) ~= 1 then
        return nil, "altered or torn"
    end
    return ffi.string(out, size)
end

-- Return the text; nil and an error if the file is torn, altered, or sealed with an unknown key.
function M.open(purpose, sealed)
    local id_length = sealed:byte(#MAGIC + 1)
    if sealed:sub(1, #MAGIC) ~= MAGIC or not id_length then
        return nil, "not a sealed file"
    end
    local nonce_at = #MAGIC + 2 + id_length
    local key, err = find_key(sealed:sub(#MAGIC + 2, nonce_at - 1))
    if not key then
        return nil, err
    end
    if #sealed < nonce_at - 1 + NONCE_BYTES + TAG_BYTES then
        return nil, "cut short"
    end
    local nonce = sealed:sub(nonce_at, nonce_at + NONCE_BYTES - 1)
    local ciphertext = sealed:sub(nonce_at + NONCE_BYTES, -TAG_BYTES - 1)
    return decrypt(purpose, key, nonce, ciphertext, sealed:sub(-TAG_BYTES))
end

return M
