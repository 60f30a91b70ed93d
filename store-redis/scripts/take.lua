-- Takes from all given quotas of a key, or from none.
--
-- KEYS: the key's buckets: a hash of quota to `t <full at> <expires at>`, or, if a closure
--       wrote it, to `c <tokens> <refilled at> <expires at>`. A time is ten digits, a dot
--       and nine digits, so times are compared as text.
-- ARGV: the time; then for each quota
--         its name;
--         the value of the bucket after a take from a full bucket;
--         the earliest stored expiry for which the key's time to live is long enough;
--         the latest arrival time at which the take is allowed; then, each after a space,
--         by how much the take moves the arrival time of a bucket that is not full, and
--         the key's time to live in milliseconds.
--
-- Returns for each quota the time at which its bucket would have been full, nil if it was
-- full, or `c` if a closure wrote it, in which case nothing is taken. For one quota the
-- result is not a list. The caller computes the decision by the same arithmetic.
--
-- This script runs more often than any other. Values that are rarely needed are appended
-- to an argument that is always compared, because further arguments would cost more. They
-- do not change the result of the comparison.

local call, sub = redis.call, string.sub
local key, args = KEYS[1], ARGV
local now = args[1]
local before, fits, extend = {}, true, false

for at = 2, #args, 4 do
    local base, limits = now, args[at + 3]
    local bucket = call('HGET', key, args[at])
    local expires = bucket and sub(bucket, -20)
    if not bucket or expires <= now then
        extend = true
    elseif #bucket > 43 then
        base, fits = 'c', false
    else
        extend = extend or expires < args[at + 2]
        local tat = sub(bucket, 3, 22)
        if tat > now then
            base = tat
        end
    end
    before[#before + 1] = base ~= now and base
    fits = fits and base <= limits
    if fits and base ~= now then
        -- A double holds the seconds and the nanoseconds exactly, but not both in one.
        local s = sub(base, 1, 10) + sub(limits, 22, 31)
        local n = sub(base, 12) + sub(limits, 33, 41)
        if n >= 1000000000 then
            s, n = s + 1, n - 1000000000
        end
        args[at + 1] = string.format('t %010d.%09d %s', s, n, sub(args[at + 1], -20))
    end
end

if fits then
    local longest = 0
    for at = 2, #args, 4 do
        call('HSET', key, args[at], args[at + 1])
        if extend then
            longest = math.max(longest, sub(args[at + 3], 43))
        end
    end
    -- Another quota of this key may have to be stored longer.
    if extend and call('PTTL', key) < longest then
        call('PEXPIRE', key, longest)
    end
end
if #before == 1 then
    return before[1]
end
return before
