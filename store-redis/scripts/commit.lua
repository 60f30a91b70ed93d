-- Applies one commit completely or not at all.
--
-- KEYS: the records; then for each collection that is written to, the sorted
--       set of its ids and that of its deadlines.
-- ARGV: the time, as it is stored, and the number of records; then for each record the
--       expectation (* anything, - absent, + present, or a version) and the change:
--         c                             nothing
--         d, collection                 delete
--         p, collection, v              put v without expiry
--         milliseconds, collection, v   put v and remove it after this time
--       A collection is given by the index of its sorted set of ids in KEYS. If changes
--       are announced, the channel and the messages follow.
--
-- Returns nil, or for each expectation that failed the record's index and value.
--
-- While a slot is moving to another server, this script runs only if the server has all
-- KEYS, and a command fails on a key that was moved or deleted. So no key is used after a
-- command that may have deleted it, except in `purge`, which may fail.
--
-- Times have a fixed width, so they are compared as text.

local call, sub = redis.call, string.sub
local NEVER = '----------.---------'
local now, count = ARGV[1], tonumber(ARGV[2])
local failed
local found, at = {}, 3

for i = 1, count do
    local expect, change = ARGV[at], ARGV[at + 1]
    if expect ~= '*' or change == 'p' then
        local header = call('GETRANGE', KEYS[i], 0, 55)
        local expires = sub(header, 37)
        local holds
        if expires <= now and expires ~= NEVER then
            holds = expect == '-' or expect == '*'
        else
            holds = expect == '+' or expect == '*' or expect == sub(header, 4, 35)
            found[i] = expires
        end
        if not holds then
            failed = failed or {}
            failed[#failed + 1] = i
            failed[#failed + 1] = found[i] and call('GET', KEYS[i]) or false
        end
    end
    at = at + (change == 'c' and 2 or change == 'd' and 3 or 4)
end
if failed then
    return failed
end

-- Whether no put makes its record much larger. The bound allows setting a flag or adding
-- a time.
local function is_no_growth()
    local at = 3
    for i = 1, count do
        local change = ARGV[at + 1]
        if change ~= 'c' and change ~= 'd' then
            local size = call('STRLEN', KEYS[i])
            if size == 0 or #ARGV[at + 3] > size + 64 then
                return false
            end
        end
        at = at + (change == 'c' and 2 or change == 'd' and 3 or 4)
    end
    return true
end

-- When memory is full the server refuses the first write of a script if that command may
-- need memory, but no later write. So that a key can be disabled then, an update that
-- needs no more memory begins with a command that is always allowed.
-- https://redis.io/docs/latest/develop/programmability/lua-api/#script_flags
local function set(key, ...)
    local answer = redis.pcall('SET', key, ...)
    if type(answer) == 'table' and answer.err then
        if string.find(answer.err, '^%-?OOM') and is_no_growth() then
            call('PERSIST', key)
            return call('SET', key, ...)
        end
        return error(answer)
    end
end

-- Whether the sorted sets change, and when each record must be removed.
local moved, clock, deadlines = false, nil, nil
at = 3
for i = 1, count do
    local change = ARGV[at + 1]
    if change == 'c' then
        at = at + 2
    elseif change == 'd' then
        call('DEL', KEYS[i])
        moved = true
        at = at + 3
    elseif change == 'p' then
        set(KEYS[i], ARGV[at + 3])
        -- If the put replaces a record without expiry, the sorted sets need no change.
        moved = moved or found[i] ~= NEVER
        at = at + 4
    else
        clock, deadlines = clock or call('TIME'), deadlines or {}
        local life = math.floor(clock[2] / 1000) + change
        deadlines[i] = string.format('%.0f', clock[1] * 1000 + life)
        set(KEYS[i], ARGV[at + 3], 'PXAT', deadlines[i])
        moved = true
        at = at + 4
    end
end
if ARGV[at] then
    for i = at + 1, #ARGV do
        redis.pcall('PUBLISH', ARGV[at], ARGV[i])
    end
end
if not moved then
    return nil
end

clock = clock or call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- The changes of each collection's sorted sets.
local collections = {}
at = 3
for i = 1, count do
    local change = ARGV[at + 1]
    if change == 'c' then
        at = at + 2
    else
        local place = tonumber(ARGV[at + 2])
        local id = sub(KEYS[i], #KEYS[place] + 2)
        local c = collections[place] or { add = {}, remove = {}, expire = {}, persist = {} }
        collections[place] = c
        if change == 'd' then
            c.remove[#c.remove + 1] = id
            c.persist[#c.persist + 1] = id
            at = at + 3
        else
            c.add[#c.add + 1] = 0
            c.add[#c.add + 1] = id
            if deadlines and deadlines[i] then
                c.expire[#c.expire + 1] = deadlines[i]
                c.expire[#c.expire + 1] = id
            else
                c.persist[#c.persist + 1] = id
            end
            at = at + 4
        end
    end
end
for place, c in pairs(collections) do
    local ids, expiring = KEYS[place], KEYS[place + 1]
    if #c.add > 0 then
        call('ZADD', ids, unpack(c.add))
    end
    if #c.expire > 0 then
        call('ZADD', expiring, unpack(c.expire))
    end
    if #c.remove > 0 then
        call('ZREM', ids, unpack(c.remove))
    end
    if #c.persist > 0 then
        call('ZREM', expiring, unpack(c.persist))
    end
    purge(ids, expiring, now_ms)
end
return nil
