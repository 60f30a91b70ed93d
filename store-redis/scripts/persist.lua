-- Removes the expiry of all given records or of none. Records may be long, so they are
-- changed in place. Running the script again changes nothing.
--
-- KEYS: the records; the sorted set of their collection's ids; that of their
--       deadlines.
-- ARGV: the time, as it is stored; the ids of the records.
--
-- Returns nil, or the index of a record that does not exist or has expired.
--
-- Times have a fixed width, so they are compared as text.

local call = redis.call
local NEVER = '----------.---------'
local count = #KEYS - 2

for i = 1, count do
    local expires = call('GETRANGE', KEYS[i], 36, 55)
    if expires == '' or (expires <= ARGV[1] and expires ~= NEVER) then
        return i
    end
end
for i = 1, count do
    call('SETRANGE', KEYS[i], 36, NEVER)
    call('PERSIST', KEYS[i])
end
call('ZREM', KEYS[count + 2], unpack(ARGV, 2))
local clock = call('TIME')
purge(KEYS[count + 1], KEYS[count + 2], clock[1] * 1000 + math.floor(clock[2] / 1000))
return nil
