-- luacheck (Debian's package lua-check) for the edge: luacheck --config deploy/nginx/.luacheckrc deploy/nginx/lua
std = "ngx_lua"
max_line_length = 120
-- luacheck 1.2 does not know this function of lua-nginx-module 0.10.23.
read_globals = { ngx = { fields = { run_worker_thread = {} } } }
