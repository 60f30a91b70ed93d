-- Lets records that were to expire stay for good, all or none of them. They may be
-- long, and are changed where they are. Done twice it does no more.
--
-- KEYS: the records; the sorted set of their collection's ids; that of their
--       deadlines.
-- ARGV: the time, as it is stored; the records' ids.
--
-- Answers nothing, or which record is gone.
--
-- Moments are of one width, so they compare as texts.

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
tidy(KEYS[count + 1], KEYS[count + 2], clock[1] * 1000 + math.floor(clock[2] / 1000))
return nil
