-- Reads buckets of the packed layout together with the server's time. marker.lua
-- stands before it.
--
-- KEYS[1]    the layout record
-- KEYS[2..]  buckets
-- ARGV[1]    the head of the packed layout
-- returns    the time in microseconds, then for each marker that is alive its
--            digest (empty when the bucket is none), its stamp (0 when the
--            marker is none) and the microseconds left

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local reply = {string.format('%.0f', now)}
local _, _, _, contents = markers(now, ARGV[1])
for i = 2, #KEYS do
  local list, problem = contents(KEYS[i])
  if problem == 'B' then list = {'', 0, 0} elseif problem then return problem end
  for _, part in ipairs(list) do reply[#reply + 1] = part end
end
return reply
