-- This function is prepended to each script that writes records.
--
-- Removes a few ids whose records have expired, more than a commit adds on average. If
-- all records have an expiry, the sorted sets expire with the last of them.
local function purge(ids, deadlines, now_ms)
    local overdue = redis.pcall('ZRANGEBYSCORE', deadlines, '-inf', now_ms, 'LIMIT', 0, 16)
    local expired = {}
    for _, id in ipairs(overdue) do
        if redis.pcall('EXISTS', ids .. ':' .. id) == 0 then
            expired[#expired + 1] = id
        end
    end
    if #expired > 0 then
        redis.pcall('ZREM', ids, unpack(expired))
        redis.pcall('ZREM', deadlines, unpack(expired))
    end
    local all, expiring = redis.pcall('ZCARD', ids), redis.pcall('ZCARD', deadlines)
    if type(all) == 'number' and all == expiring and all > 0 then
        local last = redis.pcall('ZREVRANGE', deadlines, 0, 0, 'WITHSCORES')[2]
        if last then
            redis.pcall('PEXPIREAT', ids, last)
            redis.pcall('PEXPIREAT', deadlines, last)
            return
        end
    end
    redis.pcall('PERSIST', ids)
    redis.pcall('PERSIST', deadlines)
end
