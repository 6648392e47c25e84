-- Reads records together with the server's time, at one moment. marker.lua and
-- positions.lua stand before it.
--
-- KEYS[i]   a record's key; with the packed layout, before them: the layout record;
--           with places, behind them: the chunks
-- ARGV      with the packed layout: its head; with places, then: their text
-- returns   the time in microseconds, then for each key its value (nil when
--           there is none, 0 when it is no record, 1 when a bit says that it is
--           done) and the microseconds left

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local reply, first, last, arg = {string.format('%.0f', now)}, 1, #KEYS, 1
local lookup, place, _
if ARGV[1] and string.find(ARGV[1], '^[GH]') then
  lookup, first, arg = markers(now, ARGV[1]), 2, 2
end
if ARGV[arg] then
  last, _, place = positions(ARGV[arg], first - 1)
end
for i = first, last do
  local value = redis.pcall('GET', KEYS[i])
  if type(value) == 'table' then
    if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
    value = 0
  end
  if value == 'F' then value = false end
  local left = redis.call('PTTL', KEYS[i]) * 1000
  if not value or value ~= 0 and string.find(value, '^[PRpq]') then
    local stamp, rest, problem
    if place then stamp, rest, problem = place(i) end
    if lookup and not stamp and not problem then stamp, rest, problem = lookup(KEYS[i]) end
    if stamp then value, left = stamp == '0' and 1 or stamp, rest end
    if problem == 'B' then value = 0 elseif problem then return problem end
  end
  reply[#reply + 1] = value
  reply[#reply + 1] = left
end
return reply
