-- Reads records together with the server's time, at one moment.
--
-- KEYS[i]   a record's key
-- returns   the time in microseconds, then for each key its value (nil when
--           there is none, 0 when it is no string) and the milliseconds left

local time = redis.call('TIME')
local reply = {string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))}
for i = 1, #KEYS do
  local value = redis.pcall('GET', KEYS[i])
  if type(value) == 'table' then
    if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return value end
    value = 0
  end
  reply[2 * i] = value
  reply[2 * i + 1] = redis.call('PTTL', KEYS[i])
end
return reply
