-- One page of a partition's collection, in bytewise order of id.
--
-- KEYS: the sorted set of its ids.
-- ARGV: the start and end of the range, as arguments of ZRANGEBYLEX; the time, as it is
--       stored; the maximum number of records and of bytes; the sorted set of deadlines;
--       '1' on a cluster.
--
-- Returns the id after which the next page begins (nil at the end), then ids and records.
-- A page may be empty without being the last, because a call examines at most LOOK_AT
-- ids.
--
-- If an id has no record, normally its deadline has passed. If on a cluster it has not,
-- the slot is being moved and its records are on two servers.

local LOOK_AT = 4000

local NEVER = '----------.---------'
local start, stop, now = ARGV[1], ARGV[2], ARGV[3]
local wanted, room = tonumber(ARGV[4]), tonumber(ARGV[5])
local page = { false }

-- Times have a fixed width, so they are compared as text.
local function is_expired(record)
    local expires = string.sub(record, 37, 56)
    return expires <= now and expires ~= NEVER
end

local function is_overdue(id)
    if ARGV[7] ~= '1' then
        return true
    end
    local deadline = redis.pcall('ZSCORE', ARGV[6], id)
    if type(deadline) ~= 'string' then
        return false
    end
    local clock = redis.call('TIME')
    return tonumber(deadline) <= clock[1] * 1000 + math.floor(clock[2] / 1000)
end

local looked_at, taken, last = 0, 0, nil
while true do
    local want = math.min(wanted - taken + 1, LOOK_AT - looked_at)
    if want <= 0 then
        page[1] = last
        return page
    end
    local ids = redis.call('ZRANGEBYLEX', KEYS[1], start, stop, 'LIMIT', 0, want)
    for _, id in ipairs(ids) do
        local record = redis.pcall('GET', KEYS[1] .. ':' .. id)
        if type(record) == 'string' then
            if not is_expired(record) then
                if taken == wanted or (taken > 0 and room < #record) then
                    page[1] = last
                    return page
                end
                taken = taken + 1
                room = room - #record
                page[#page + 1] = id
                page[#page + 1] = record
            end
        elseif type(record) == 'table' or not is_overdue(id) then
            return redis.error_reply('TRYAGAIN the slot is being moved')
        end
        last = id
    end
    if #ids < want then
        return page
    end
    looked_at = looked_at + #ids
    start = '(' .. last
end
