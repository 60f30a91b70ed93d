-- Takes from every quota of a key, or from none.
--
-- KEYS: the key's buckets, a hash of quota to `t <full at> <expires at>`, or as
--       a closure wrote it, `c <tokens> <refilled at> <expires at>`; times are
--       ten digits, a dot and nine digits, so they compare as texts.
-- ARGV: the time, how many milliseconds the server shall keep what is written,
--       and how many at least; then for each quota its name, by how much the
--       take moves the arrival time (seconds, nanoseconds, each of which a
--       double holds exactly), the latest that it fits at, and what a full
--       bucket becomes.
--
-- Answers each quota's bucket as it was, nil for a full one; the caller decides
-- by the same arithmetic. Beside one that a closure wrote nothing is taken.

local call, sub = redis.call, string.sub
local key, now = KEYS[1], ARGV[1]
local before, write, fits = {}, {}, true

for at = 4, #ARGV, 5 do
    local base = now
    local bucket = call('HGET', key, ARGV[at])
    if bucket then
        if sub(bucket, -20) <= now then
            bucket = false
        elseif sub(bucket, 1, 1) ~= 't' then
            fits = false
        elseif sub(bucket, 3, 22) > now then
            base = sub(bucket, 3, 22)
        end
    end
    before[#before + 1] = bucket
    fits = fits and base <= ARGV[at + 3]
    if fits then
        local new = ARGV[at + 4]
        if base ~= now then
            local s, n = sub(base, 1, 10) + ARGV[at + 1], sub(base, 12) + ARGV[at + 2]
            if n >= 1000000000 then
                s, n = s + 1, n - 1000000000
            end
            new = string.format('t %010d.%09d %s', s, n, sub(new, -20))
        end
        write[#write + 1] = ARGV[at]
        write[#write + 1] = new
    end
end

if fits then
    call('HSET', key, unpack(write))
    -- Not each time; and another quota of this key may have to be kept longer.
    if call('PTTL', key) < tonumber(ARGV[3]) then
        call('PEXPIRE', key, ARGV[2])
    end
end
return before
