-- Stands before each script that writes records.
--
-- Forgets ids whose records are gone, a few at a time and more than one commit
-- adds on average, and lets the sets go with their last record if all expire.
local function tidy(ids, deadlines, now_ms)
    local overdue = redis.pcall('ZRANGEBYSCORE', deadlines, '-inf', now_ms, 'LIMIT', 0, 16)
    local gone = {}
    for _, id in ipairs(overdue) do
        if redis.pcall('EXISTS', ids .. ':' .. id) == 0 then
            gone[#gone + 1] = id
        end
    end
    if #gone > 0 then
        redis.pcall('ZREM', ids, unpack(gone))
        redis.pcall('ZREM', deadlines, unpack(gone))
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
