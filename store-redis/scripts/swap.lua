-- Replaces all buckets of a key if they are still as the caller read them.
--
-- KEYS: the key's buckets; see take.lua.
-- ARGV: the time; for how many milliseconds to store the new buckets; how many buckets
--       the caller read; the buckets that it read, each as quota and bucket; then the new
--       buckets in the same form.
--
-- Returns nil, or the current quotas and buckets.

local seen = tonumber(ARGV[3])
local old_end = 3 + 2 * seen

local all = redis.call('HGETALL', KEYS[1])
local current, count = {}, 0
for i = 1, #all, 2 do
    if string.sub(all[i + 1], -20) > ARGV[1] then
        current[all[i]] = all[i + 1]
        count = count + 1
    end
end
local same = count == seen
for at = 4, old_end, 2 do
    same = same and current[ARGV[at]] == ARGV[at + 1]
end
if not same then
    local answer = {}
    for quota, bucket in pairs(current) do
        answer[#answer + 1] = quota
        answer[#answer + 1] = bucket
    end
    return answer
end

-- New buckets are added before old ones are removed: an empty hash would be deleted, and
-- a slot that is being moved accepts no new keys.
local written = {}
if #ARGV > old_end then
    local write = {}
    for at = old_end + 1, #ARGV, 2 do
        written[ARGV[at]] = true
        write[#write + 1] = ARGV[at]
        write[#write + 1] = ARGV[at + 1]
    end
    redis.call('HSET', KEYS[1], unpack(write))
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
local removed = {}
for i = 1, #all, 2 do
    if not written[all[i]] then
        removed[#removed + 1] = all[i]
    end
end
if #removed > 0 then
    redis.call('HDEL', KEYS[1], unpack(removed))
end
return nil
