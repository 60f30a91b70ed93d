-- Takes from every quota of a key, or from none.
--
-- KEYS: the key's buckets, a hash of quota to `t <full at> <expires at>`, or as
--       a closure wrote it, `c <tokens> <refilled at> <expires at>`; times are
--       ten digits, a dot and nine digits.
-- ARGV: the time (seconds, nanoseconds), how many milliseconds the server shall
--       keep what is written, and how many at least; then for each quota its
--       name, by how much the take moves the arrival time and the latest that it
--       fits at (each seconds, nanoseconds), and the new expiry as it is stored.
--
-- Answers each quota's bucket as it was, nil for a full one; the caller decides
-- by the same arithmetic. Beside one that a closure wrote nothing is taken.
--
-- A double holds seconds and nanoseconds exactly, and no whole time.

local call, number, sub = redis.call, tonumber, string.sub
local key, now_s, now_n = KEYS[1], number(ARGV[1]), number(ARGV[2])
local before, write, fits = {}, {}, true

for at = 5, #ARGV, 6 do
    local base_s, base_n = now_s, now_n
    local bucket = call('HGET', key, ARGV[at])
    if bucket then
        local s = number(sub(bucket, -20, -11))
        if s < now_s or (s == now_s and number(sub(bucket, -9)) <= now_n) then
            bucket = false
        elseif sub(bucket, 1, 1) == 't' then
            local tat_s, tat_n = number(sub(bucket, 3, 12)), number(sub(bucket, 14, 22))
            if tat_s > now_s or (tat_s == now_s and tat_n > now_n) then
                base_s, base_n = tat_s, tat_n
            end
        else
            fits = false
        end
    end
    before[#before + 1] = bucket
    local latest_s = number(ARGV[at + 3])
    if base_s > latest_s or (base_s == latest_s and base_n > number(ARGV[at + 4])) then
        fits = false
    end
    if fits then
        local s, n = base_s + number(ARGV[at + 1]), base_n + number(ARGV[at + 2])
        if n >= 1000000000 then
            s, n = s + 1, n - 1000000000
        end
        write[#write + 1] = ARGV[at]
        write[#write + 1] = string.format('t %010.0f.%09.0f %s', s, n, ARGV[at + 5])
    end
end

if fits then
    call('HSET', key, unpack(write))
    -- Not each time; and another quota of this key may have to be kept longer.
    if call('PTTL', key) < number(ARGV[4]) then
        call('PEXPIRE', key, ARGV[3])
    end
end
return before
