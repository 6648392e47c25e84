-- Notes for entries that a consumer still has how long they have been idle and
-- how often they were delivered. Entries of others are left alone: XCLAIM itself
-- does not ask whose they are.
--
-- KEYS[1]  stream
-- ARGV     group, consumer, then for each entry: id, deliveries as they must be,
--          deliveries to note, idle time to note in ms
-- returns  for each entry "kept"; or "taken", it is another's by now; or "deleted",
--          it is no longer in the stream, and XCLAIM has dropped it
local out = {}
for i = 3, #ARGV, 4 do
  local id = ARGV[i]
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2])[1]
  if pending and pending[4] == tonumber(ARGV[i + 1]) then
    local ids = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'IDLE', ARGV[i + 3], 'RETRYCOUNT', ARGV[i + 2], 'JUSTID')
    out[#out + 1] = ids[1] and 'kept' or 'deleted'
  else
    out[#out + 1] = 'taken'
  end
end
return out
