-- Reads records together with the server's time, at one moment. With the packed
-- layout marker.lua stands before it.
--
-- KEYS[i]   a record's key; with the packed layout, before them: the layout record
-- ARGV[1]   with the packed layout: its head
-- returns   the time in microseconds, then for each key its value (nil when
--           there is none, 0 when it is no record) and the microseconds left

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local reply, first, lookup = {string.format('%.0f', now)}, 1, nil
if ARGV[1] then
  lookup, first = markers(now, ARGV[1]), 2
end
for i = first, #KEYS do
  local value = redis.pcall('GET', KEYS[i])
  if type(value) == 'table' then
    if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
    value = 0
  end
  local left = redis.call('PTTL', KEYS[i]) * 1000
  if lookup and (not value or value ~= 0 and string.find(value, '^[PR]')) then
    local stamp, rest, problem = lookup(KEYS[i])
    if stamp then value, left = stamp, rest end
    if problem == 'B' then value = 0 elseif problem then return problem end
  end
  reply[#reply + 1] = value
  reply[#reply + 1] = left
end
return reply
