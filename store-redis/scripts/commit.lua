-- Applies one commit wholly or not at all.
--
-- KEYS: the records; then for each collection that is written to, the sorted
--       set of its ids and that of its deadlines.
-- ARGV: the time (seconds, nanoseconds) and how many records there are; then for
--       each what is expected (* anything, - absent, + present, or a version)
--       and what to do:
--         c                           nothing
--         d, collection, id           delete
--         p, collection, id, life, v  put v, to be removed in so many
--                                     milliseconds ('' for never)
--       where a collection is the place of its ids in KEYS. At the end a channel
--       and what is to be told there, if anything is.
--
-- Answers nothing, or for each expectation that failed the record's place and
-- what is there.
--
-- A slot may be moving to another server. Then this runs only where all KEYS
-- are, and a call fails on a key that is not there any more. So no key is
-- touched after what may have emptied it, but in `tidy`, which may fail.

local now_s, now_n = tonumber(ARGV[1]), tonumber(ARGV[2])
local WIDTH = { c = 2, d = 4, p = 6 }

local function is_absent(header)
    if header == '' then
        return true
    end
    local s = tonumber(string.sub(header, 37, 46))
    if not s then
        return false -- it never expires
    end
    return s < now_s or (s == now_s and tonumber(string.sub(header, 48, 56)) <= now_n)
end

local failed, found, at = {}, {}, 4
for i = 1, tonumber(ARGV[3]) do
    local expect = ARGV[at]
    if expect ~= '*' then
        local header = redis.call('GETRANGE', KEYS[i], 0, 55)
        local absent = is_absent(header)
        local holds
        if absent then
            holds = expect == '-'
        else
            holds = expect == '+' or expect == string.sub(header, 4, 35)
            found[i] = header
        end
        if not holds then
            failed[#failed + 1] = i
            failed[#failed + 1] = not absent and redis.call('GET', KEYS[i])
        end
    end
    at = at + WIDTH[ARGV[at + 1]]
end
if #failed > 0 then
    return failed
end

local now_ms
local function server_ms()
    if not now_ms then
        local clock = redis.call('TIME')
        now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
    end
    return now_ms
end

-- By collection: what goes into its sorted sets and what comes out of them.
local touched = {}
local function collection(place)
    touched[place] = touched[place]
        or { add = {}, remove = {}, add_deadline = {}, remove_deadline = {} }
    return touched[place]
end

at = 4
for i = 1, tonumber(ARGV[3]) do
    local change = ARGV[at + 1]
    local place, id = ARGV[at + 2], ARGV[at + 3]
    if change == 'p' then
        local life, value = ARGV[at + 4], ARGV[at + 5]
        if life ~= '' then
            local deadline = string.format('%.0f', server_ms() + tonumber(life))
            redis.call('SET', KEYS[i], value, 'PXAT', deadline)
            local c = collection(place)
            c.add[#c.add + 1] = '0'
            c.add[#c.add + 1] = id
            c.add_deadline[#c.add_deadline + 1] = deadline
            c.add_deadline[#c.add_deadline + 1] = id
        else
            redis.call('SET', KEYS[i], value)
            -- Over one that never expired, all is in place.
            if not found[i] or string.sub(found[i], 37, 37) ~= '-' then
                local c = collection(place)
                c.add[#c.add + 1] = '0'
                c.add[#c.add + 1] = id
                c.remove_deadline[#c.remove_deadline + 1] = id
            end
        end
    elseif change == 'd' then
        redis.call('DEL', KEYS[i])
        local c = collection(place)
        c.remove[#c.remove + 1] = id
        c.remove_deadline[#c.remove_deadline + 1] = id
    end
    at = at + WIDTH[change]
end

-- Forgets ids whose records are gone, a few at a time and more than one commit
-- adds on average, and lets the sets go with their last record if all expire.
local function tidy(ids, deadlines)
    local overdue = redis.pcall('ZRANGEBYSCORE', deadlines, '-inf', server_ms(), 'LIMIT', 0, 16)
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

for place, c in pairs(touched) do
    local ids, deadlines = KEYS[tonumber(place)], KEYS[tonumber(place) + 1]
    if #c.add > 0 then
        redis.call('ZADD', ids, unpack(c.add))
    end
    if #c.add_deadline > 0 then
        redis.call('ZADD', deadlines, unpack(c.add_deadline))
    end
    if #c.remove > 0 then
        redis.call('ZREM', ids, unpack(c.remove))
    end
    if #c.remove_deadline > 0 then
        redis.call('ZREM', deadlines, unpack(c.remove_deadline))
    end
    tidy(ids, deadlines)
end
if ARGV[at] then
    for i = at + 1, #ARGV do
        redis.pcall('PUBLISH', ARGV[at], ARGV[i])
    end
end
return nil
