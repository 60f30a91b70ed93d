-- Adds the id of a record that was written by `SET` to the sorted sets, with the record's
-- current expiry. The record may be long and is not read.
--
-- KEYS: the record; the sorted set of its collection's ids; that of their
--       deadlines.
-- ARGV: its id.

local deadline = redis.call('PEXPIRETIME', KEYS[1])
if deadline == -2 then
    return nil
end
redis.call('ZADD', KEYS[2], 0, ARGV[1])
if deadline == -1 then
    redis.call('ZREM', KEYS[3], ARGV[1])
else
    redis.call('ZADD', KEYS[3], deadline, ARGV[1])
end
local clock = redis.call('TIME')
purge(KEYS[2], KEYS[3], clock[1] * 1000 + math.floor(clock[2] / 1000))
return nil
