-- Takes from every quota of a key, or from none.
--
-- KEYS: the key's buckets, a hash of quota to `t <full at> <expires at>`, or as
--       a closure wrote it, `c <tokens> <refilled at> <expires at>`.
-- ARGV: the time (seconds, nanoseconds), how many milliseconds what is written
--       shall be kept, then for each quota its name, by how much the take moves
--       the arrival time and the latest that it fits at (each seconds,
--       nanoseconds), and the new expiry as it is stored.
--
-- Answers each quota's bucket as it was, nil for a full one; the caller decides
-- by the same arithmetic. Beside one that a closure wrote nothing is taken.
--
-- A double holds seconds and nanoseconds exactly, and no whole time.

local now_s, now_n, keep = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function is_after(s, n, other_s, other_n)
    return s > other_s or (s == other_s and n > other_n)
end

local before, write, fits = {}, {}, true
for at = 4, #ARGV, 6 do
    local quota, expires_at = ARGV[at], ARGV[at + 5]
    local latest_s, latest_n = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    local base_s, base_n = now_s, now_n
    local bucket = redis.call('HGET', KEYS[1], quota)
    local found = false
    if bucket then
        local s, n = string.match(bucket, '(%d+)%.(%d+)$')
        if is_after(tonumber(s), tonumber(n), now_s, now_n) then
            found = bucket
            if string.sub(bucket, 1, 1) == 't' then
                local tat_s, tat_n = tonumber(string.sub(bucket, 3, 12)), tonumber(string.sub(bucket, 14, 22))
                if is_after(tat_s, tat_n, now_s, now_n) then
                    base_s, base_n = tat_s, tat_n
                end
            else
                fits = false
            end
        end
    end
    if is_after(base_s, base_n, latest_s, latest_n) then
        fits = false
    end
    before[#before + 1] = found
    local s, n = base_s + tonumber(ARGV[at + 1]), base_n + tonumber(ARGV[at + 2])
    if n >= 1000000000 then
        s, n = s + 1, n - 1000000000
    end
    write[#write + 1] = quota
    write[#write + 1] = string.format('t %010.0f.%09.0f %s', s, n, expires_at)
end
if fits then
    redis.call('HSET', KEYS[1], unpack(write))
    -- Another quota of this key may have to be kept longer.
    if redis.call('PTTL', KEYS[1]) < keep then
        redis.call('PEXPIRE', KEYS[1], keep)
    end
end
return before
